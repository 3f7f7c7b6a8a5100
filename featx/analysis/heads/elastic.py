"""Elastic net for numbers: many columns, of which few are to be used.

Penalties are a path: from the weakest that leaves no column down to a hundredth of it. The intercept and free columns
are not penalised: the rest is fitted to what they leave, which is exact (Frisch & Waugh 1933, Econometrica 1:387).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import enet_path
from sklearn.model_selection import check_cv

from featx.analysis.folds.strata import Rows
from featx.analysis.heads.inputs import apply_prepare, fit_coordinates, orthonormal, to_columns, to_coordinates
from featx.analysis.scaling import Floats

L1_RATIOS = (0.1, 0.5, 0.9)
N_ALPHAS = 30
LEAST = 1e-2  # of the strongest penalty
TOLERANCE = 1e-4  # as a share of the target's squares: the duality gap at which coordinate descent stops
VIOLATION = 1e-3  # of the lasso penalty
MOST_SWEEPS = 10_000


@dataclass(frozen=True)
class Rest:
    """Training rows in which neither the intercept nor the free columns are left; rows times the roots of weights.

    Attributes
    ----------
    nuisance : ndarray of shape (n, q)
        The intercept and the free columns, made orthonormal.
    back : ndarray of shape (1 + n_free, q)
        From their coefficients to those of the intercept and the free columns.
    shift : ndarray of shape (q, p)
        What they explain of the penalised columns.
    R : ndarray of shape (n, p)
        What they leave of these; in Fortran's order.
    gram : ndarray of shape (p, p) or False
        Products of the columns of R, where there are fewer columns than rows.
    root : ndarray of shape (n, 1)
        Roots of the weights.
    """

    nuisance: Floats
    back: Floats
    shift: Floats
    R: Floats
    gram: Any
    root: Floats

    def outer(self, inner: Floats, w: Floats) -> tuple[Floats, Floats]:
        """Coefficients of all columns, shape (..., d), and intercepts, from those of nuisance and R, by column."""
        own = self.back @ (inner - self.shift @ w)
        return np.concatenate([own[1:], w]).T, own[0]


def take_out(Z: Floats, n_free: int, weights: Floats | None = None) -> Rest:
    """Remove the intercept and the first n_free columns from the others, by weighted least squares."""
    weights = np.ones(len(Z)) if weights is None else weights
    root = np.sqrt(weights)[:, None]
    columns, back = orthonormal(Z[:, :n_free], weights)
    nuisance = columns * root
    penalised = Z[:, n_free:] * root
    shift = nuisance.T @ penalised
    R = np.asfortranarray(penalised - nuisance @ shift)
    gram = R.T @ R if R.shape[1] < len(R) else False
    return Rest(nuisance, back, shift, R, gram, root)


def strongest(R: Floats, residual: Floats) -> float:
    """Weakest lasso penalty that leaves no column, for residuals of shape (n, ...) of the fit without columns.

    Examples
    --------
    >>> strongest(np.array([[1.0], [-1.0]]), np.array([3.0, -1.0]))
    2.0
    """
    return float(np.abs(R.T @ residual).max(initial=0.0)) / len(R)


def make_alphas(most: float, n_alphas: int, l1_ratio: float, least: float = LEAST) -> Floats:
    """Penalties from the weakest that leaves no column down to a share of it.

    Examples
    --------
    >>> make_alphas(2.0, 3, 0.5).round(6).tolist()
    [4.0, 0.4, 0.04]
    """
    alphas: Floats = max(most, 1e-100) / l1_ratio * np.geomspace(1.0, least, n_alphas)
    return alphas


def descend(
    rest: Rest,
    target: Floats,
    alphas: Floats,
    l1_ratio: float,
    *,
    start: Floats | None = None,
    tol: float | None = None,
) -> tuple[Floats, bool]:
    """Elastic-net coefficients by scikit-learn's coordinate descent, each fit beginning at the one before.

    Least is ``|target - R w|^2 / 2n + alpha (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|^2)``, to a duality gap of tol
    (`TOLERANCE` where there is none) times the squared norm of the target.

    Parameters
    ----------
    rest : Rest
    target : ndarray of shape (n,)
    alphas : ndarray of shape (n_alphas,)
        From strong to weak.
    l1_ratio : float
    start : ndarray of shape (p,), optional
    tol : float, optional

    Returns
    -------
    w : ndarray of shape (p, n_alphas)
    converged : bool
        Whether no fit needed more than `MOST_SWEEPS`.
    """
    Xy = rest.R.T @ target if rest.gram is not False else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by what is returned
        _, w, _, n_sweeps = enet_path(
            rest.R,
            target,
            l1_ratio=l1_ratio,
            alphas=alphas,
            precompute=rest.gram,
            Xy=Xy,
            coef_init=None if start is None else start.copy(),  # it is written to
            return_n_iter=True,
            check_input=False,
            tol=TOLERANCE if tol is None else tol,
            max_iter=MOST_SWEEPS,
        )
    return w, max(n_sweeps) < MOST_SWEEPS


def fit_path(rest: Rest, target: Floats, alphas: Floats, l1_ratio: float) -> tuple[Floats, bool]:
    """What `descend` finds; where there are more columns than rows, on the columns that are in use or ask to be.

    A fit on some columns is the fit on all once no other column's slope exceeds the lasso penalty (by more than
    `VIOLATION` times it); those that do are taken in and the fit is done again. It begins with those that are likely
    to (Tibshirani et al. 2012, JRSS B 74:245).
    """
    if rest.gram is not False:
        return descend(rest, target, alphas, l1_ratio)
    n, path, converged = len(rest.R), [], True
    w, slope, before = np.zeros(rest.R.shape[1]), rest.R.T @ target / len(rest.R), float(alphas[0])
    for alpha in alphas:
        lasso, squares = alpha * l1_ratio, alpha * (1 - l1_ratio)
        used = (w != 0) | (np.abs(slope) > 2 * lasso - before * l1_ratio)
        while True:
            R = np.asfortranarray(rest.R[:, used])
            some = replace(rest, R=R, gram=R.T @ R if R.shape[1] < n else False)
            own, is_there = descend(some, target, np.array([alpha]), l1_ratio, start=w[used])
            w = np.zeros(len(w))
            w[used] = own[:, 0]
            slope = rest.R.T @ (target - R @ own[:, 0]) / n - squares * w
            more = ~used & (np.abs(slope) > lasso * (1 + VIOLATION))
            if not more.any():
                break
            used |= more
        path.append(w)
        converged, before = converged and is_there, float(alpha)
    return np.array(path).T, converged


# --- numbers --------------------------------------------------------------------------------------------------


class ElasticNetPath(RegressorMixin, BaseEstimator):
    """Elastic net on standardised columns; penalty and mixture have the least squared error over the inner folds.

    Parameters
    ----------
    l1_ratios : tuple of float
        Shares of the lasso penalty, above 0.
    n_alphas : int
        Penalties, from the weakest that leaves no column of the training rows down to `LEAST` times it. Inner folds
        have the same.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds. Of equally good pairs the first is taken: by mixture, then the strongest penalty.
    prepare : Prepare, optional
        Fitted to the columns before, anew in every training set; its first `n_free_` columns have no penalty.

    Attributes
    ----------
    alpha_, l1_ratio_ : float
        As scikit-learn counts them, on standardised columns.
    coef_ : ndarray of shape (n_features,), float64
        In units of y per unit of the (prepared) columns.
    intercept_ : float
    errors_ : ndarray of shape (n_l1_ratios, n_alphas)
        Mean over inner folds of the mean squared error.
    prepare_ : Prepare or None
    converged_ : bool
    """

    def __init__(
        self, l1_ratios: tuple[float, ...] = L1_RATIOS, n_alphas: int = N_ALPHAS, cv: Any = 5, prepare: Any = None
    ) -> None:
        self.l1_ratios = l1_ratios
        self.n_alphas = n_alphas
        self.cv = cv
        self.prepare = prepare

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose penalty and mixture on the inner folds, then fit on all rows."""
        y = np.asarray(y, dtype=np.float64)
        place, Z = fit_coordinates(X, self.prepare, rotate=False)
        rest = take_out(Z, place.n_free)
        residual = y - rest.nuisance @ (rest.nuisance.T @ y)
        most = strongest(rest.R, residual)
        grids = [make_alphas(most, self.n_alphas, ratio) for ratio in self.l1_ratios]
        folds = check_cv(self.cv, y).split(X, y)
        self.errors_ = np.mean([self._errors(X, y, pair, grids) for pair in folds], axis=0)
        which, at = np.unravel_index(int(np.argmin(self.errors_)), self.errors_.shape)
        self.alpha_, self.l1_ratio_ = float(grids[which][at]), float(self.l1_ratios[which])
        w, self.converged_ = fit_path(rest, residual, grids[which][: at + 1], self.l1_ratio_)
        coef, intercept = to_columns(*rest.outer(rest.nuisance.T @ y, w[:, -1]), place)
        self.coef_, self.intercept_, self.prepare_ = coef, float(intercept), place.prepare
        return self

    def _errors(
        self, X: NDArray[np.floating], y: Floats, pair: tuple[Rows, Rows], grids: list[Floats]
    ) -> list[Floats]:
        """Mean squared error of every mixture and penalty on one inner fold."""
        train, valid = pair
        place, Z = fit_coordinates(X[train], self.prepare, rotate=False)
        rest, held = take_out(Z, place.n_free), to_coordinates(X[valid], place)
        inner = rest.nuisance.T @ y[train]
        errors = []
        for ratio, alphas in zip(self.l1_ratios, grids, strict=True):
            w, _ = fit_path(rest, y[train] - rest.nuisance @ inner, alphas, ratio)
            coef, intercept = rest.outer(inner[:, None], w)
            errors.append(np.mean((y[valid, None] - held @ coef.T - intercept) ** 2, axis=0))
        return errors

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Predictions, in the unit of y."""
        predicted: Floats = apply_prepare(self.prepare_, X) @ self.coef_ + self.intercept_
        return predicted
