"""Ridge with its penalty chosen on inner folds: functions on arrays, then a thin scikit-learn estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import check_cv

from featx.analysis.scaling import Floats, apply_scale, fit_scale, unscale
from featx.analysis.splits import Pairs


def default_alphas(n_features: int) -> Floats:
    """Twenty penalties around the number of features, from 1e-4 to 1e4 times it.

    With standardised columns the cross-products of the rows grow with the number of features, and so does the
    penalty that matters.

    Examples
    --------
    >>> default_alphas(100)[[0, -1]].tolist()
    [0.01, 1000000.0]
    """
    alphas: Floats = n_features * np.logspace(-4, 4, 20)
    return alphas


def solve_path(Z: Floats, y: Floats, alphas: Floats) -> Floats:
    """Ridge coefficients for every penalty, by one eigendecomposition.

    Parameters
    ----------
    Z : ndarray of shape (n, p)
        Columns with mean zero. For p >= n the n x n products of the rows are decomposed, else the p x p ones of
        the columns.
    y : ndarray of shape (n,)
        With mean zero.
    alphas : ndarray of shape (n_alphas,)
        Penalties, above zero: ``|y - Z w|^2 + alpha |w|^2`` is least.

    Returns
    -------
    ndarray of shape (p, n_alphas)

    Examples
    --------
    >>> solve_path(np.array([[1.0], [-1.0]]), np.array([2.0, -2.0]), np.array([0.0, 2.0])).tolist()
    [[2.0, 1.0]]
    """
    n, p = Z.shape
    if p >= n:
        squares, U = np.linalg.eigh(Z @ Z.T)
        dual = U @ ((U.T @ y)[:, None] / (squares[:, None] + alphas))
        return Z.T @ dual
    squares, V = np.linalg.eigh(Z.T @ Z)
    return V @ ((V.T @ (Z.T @ y))[:, None] / (squares[:, None] + alphas))


def fit_ridge(X: NDArray[np.floating], y: Floats, alpha: float) -> tuple[Floats, float]:
    """Coefficients and intercept, in the units of X and y, of ridge on standardised columns."""
    scale = fit_scale(X)
    centre = float(y.mean())
    coef = solve_path(apply_scale(X, scale), y - centre, np.array([alpha]))[:, 0]
    own, intercept = unscale(coef, centre, scale)
    return own, float(intercept)


def validation_errors(X: NDArray[np.floating], y: Floats, cv: Pairs, alphas: Floats) -> Floats:
    """Mean squared error of every penalty in every fold; columns are standardised within the fold.

    Returns
    -------
    ndarray of shape (n_folds, n_alphas)
        In the squared unit of y.
    """
    errors = []
    for train, valid in cv:
        scale = fit_scale(X[train])
        centre = y[train].mean()
        coef = solve_path(apply_scale(X[train], scale), y[train] - centre, alphas)
        predicted = apply_scale(X[valid], scale) @ coef + centre
        errors.append(np.mean((y[valid, None] - predicted) ** 2, axis=0))
    return np.array(errors)


class RidgePath(RegressorMixin, BaseEstimator):
    """Ridge on standardised columns; the penalty has the least mean squared error over the inner folds.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), optional
        Penalties; `default_alphas` where there are none. Of equally good ones the first is taken.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds.

    Attributes
    ----------
    alpha_ : float
    coef_ : ndarray of shape (n_features,), float64
        In units of y per unit of X: the standardisation is folded in.
    intercept_ : float
    alphas_ : ndarray of shape (n_alphas,)
    errors_ : ndarray of shape (n_alphas,)
        Mean over inner folds of the mean squared error.
    """

    def __init__(self, alphas: ArrayLike | None = None, cv: Any = 5) -> None:
        self.alphas = alphas
        self.cv = cv

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose the penalty on the inner folds, then fit on all rows."""
        y = np.asarray(y, dtype=np.float64)
        self.alphas_ = default_alphas(X.shape[1]) if self.alphas is None else np.asarray(self.alphas, np.float64)
        folds = check_cv(self.cv, y).split(X, y)
        self.errors_ = validation_errors(X, y, folds, self.alphas_).mean(axis=0)
        self.alpha_ = float(self.alphas_[np.argmin(self.errors_)])
        self.coef_, self.intercept_ = fit_ridge(X, y, self.alpha_)
        return self

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Predictions, in the unit of y."""
        return X @ self.coef_ + self.intercept_
