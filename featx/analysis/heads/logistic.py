"""L2 logistic regression, binary and multinomial, with its penalty chosen on inner folds.

The Hessian of the loss is never larger than a fixed matrix: a quarter of the columns' products for two classes, half
of them for more (Böhning 1992, Ann Inst Stat Math 44:197). One eigendecomposition of these products turns the
problem into coordinates in which that bound plus the penalty is the identity, for every penalty of the path, and
there L-BFGS needs few steps. No step solves a system: its cost is two products with the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import check_cv

from featx.analysis.heads.inputs import (
    Axes,
    Coordinates,
    apply_prepare,
    fit_axes,
    fit_coordinates,
    to_columns,
    to_coordinates,
)
from featx.analysis.heads.minimise import minimise
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError

PENALTIES = tuple(float(one) for one in np.logspace(3, -3, 13))
LEAST_CURVATURE = 1e-8
TOLERANCE = 1e-8


@dataclass(frozen=True)
class Solved:
    """Coefficients for every penalty of a path.

    Attributes
    ----------
    path : list of (coef, intercept)
        coef of shape (1, d) for two classes, else (k, d); intercept of shape (1,) or (k,).
    converged : tuple of bool
        Whether the gradient became as small as it was to be.
    """

    path: list[tuple[Floats, Floats]]
    converged: tuple[bool, ...]


def solve_path(
    R: Floats, y: NDArray[np.int64], penalties: Floats, *, n_free: int = 0, weights: Floats | None = None
) -> Solved:
    """Coefficients and intercepts for every penalty, each fit beginning at the one before.

    Parameters
    ----------
    R : ndarray of shape (n, d)
        Columns with mean zero.
    y : ndarray of shape (n,)
        Class codes 0..k-1, all of them present.
    penalties : ndarray of shape (n_penalties,)
        Above zero, from strong to weak.
    n_free : int
        The first columns have no penalty; where they are linearly dependent their coefficients are the smallest.
    weights : ndarray of shape (n,), optional
        Of the rows; 1 where there are none.
    """
    n_classes = int(y.max()) + 1
    levels = np.arange(n_classes) if n_classes > 2 else np.array([1])
    return solve_shares(R, (y[:, None] == levels).astype(np.float64), penalties, n_free=n_free, weights=weights)


def solve_shares(
    R: Floats,
    shares: Floats,
    penalties: Floats,
    *,
    n_free: int = 0,
    weights: Floats | None = None,
    curvature: Floats | None = None,
    tolerance: float = TOLERANCE,
) -> Solved:
    """As `solve_path`, for rows that belong to each class by a share.

    The sum of the (weighted) cross-entropies plus ``penalty / 2 |w|^2`` is least, to a gradient whose norm is the
    tolerance times the root of the number of rows, in coordinates in which the Hessian is at most the identity.
    Where probabilities are not close to 0 or 1, linear predictors are then off by about twice the tolerance.

    Parameters
    ----------
    shares : ndarray of shape (n, k)
        Rows add up to 1; a single column is the second of two classes.
    curvature : ndarray of shape (k,), optional
        What stands for Böhning's bound in the coordinates of each class, where there are many and unequal ones.
    tolerance : float
    """
    weights = np.ones(len(R)) if weights is None else weights
    axes, path, converged = fit_axes(R, n_free, weights), [], []
    inner = _without_columns(axes, shares, weights)
    w = np.zeros((len(axes.V), shares.shape[1]))
    for penalty in penalties:
        inner, w, is_there = _solve(axes, (shares, weights, curvature, tolerance), float(penalty), inner, w)
        outer = axes.outer(inner, w)
        path.append((np.concatenate([outer[1:], w]).T, outer[0]))
        converged.append(is_there)
    return Solved(path, tuple(converged))


def _without_columns(axes: Axes, shares: Floats, weights: Floats) -> Floats:
    """Coefficients of the nuisance columns where the intercept alone is fitted."""
    mean = np.clip(np.average(shares, axis=0, weights=weights), 1e-12, 1 - 1e-12)
    inner = np.zeros((axes.nuisance.shape[1], shares.shape[1]))
    inner[0] = np.sqrt(weights.sum()) * (np.log(mean) - np.log1p(-mean) if len(mean) == 1 else np.log(mean))
    return inner


def _solve(
    axes: Axes, rows: tuple[Floats, Floats, Floats | None, float], penalty: float, inner: Floats, w: Floats
) -> tuple[Floats, Floats, bool]:
    """Coefficients of the nuisance and of the penalised columns for one penalty, from those of another."""
    shares, weights, curvature, tolerance = rows
    q, k = inner.shape
    loss = _binary_loss if k == 1 else _multinomial_loss
    # A class that nobody is of has no curvature; the floor keeps its step finite.
    bound = np.full(k, 0.25 if k == 1 else 0.5) if curvature is None else np.maximum(curvature, LEAST_CURVATURE)
    root = np.sqrt(bound * axes.squares[:, None] + penalty)
    inner_root = np.sqrt(bound)

    def objective(flat: Floats) -> tuple[float, Floats]:
        u = flat.reshape(-1, k)
        v = u[q:] / root
        value, slope = loss(axes.nuisance @ (u[:q] / inner_root) + axes.penalised @ (axes.V @ v), shares, weights)
        own = (axes.V.T @ (axes.penalised.T @ slope) + penalty * v) / root
        gradient = np.concatenate([axes.nuisance.T @ slope / inner_root, own])
        return value + 0.5 * penalty * float(np.vdot(v, v)), gradient.ravel()

    start = np.concatenate([inner * inner_root, (axes.V.T @ w) * root]).ravel()
    found = minimise(objective, start, tolerance * np.sqrt(weights.sum()))
    u = found.x.reshape(-1, k)
    return u[:q] / inner_root, axes.V @ (u[q:] / root), found.converged


def _binary_loss(z: Floats, shares: Floats, weights: Floats) -> tuple[float, Floats]:
    """Sum of cross-entropies and its slope in the linear predictor, shape (n, 1)."""
    lost = np.logaddexp(0.0, z[:, 0]) - shares[:, 0] * z[:, 0]
    return float(weights @ lost), weights[:, None] * (expit(z) - shares)


def _multinomial_loss(z: Floats, shares: Floats, weights: Floats) -> tuple[float, Floats]:
    """Sum of cross-entropies and its slope in the linear predictors, shape (n, k)."""
    z = z - z.max(axis=1, keepdims=True)
    given = np.exp(z)
    total = given.sum(axis=1, keepdims=True)
    lost = np.log(total[:, 0]) - np.einsum("ij,ij->i", shares, z)
    return float(weights @ lost), weights[:, None] * (given / total - shares)


def probabilities(X: NDArray[np.floating], coef: Floats, intercept: Floats) -> Floats:
    """Probability of every class, shape (n, n_classes), from coefficients of shape (1 or n_classes, n_features).

    Examples
    --------
    >>> probabilities(np.zeros((1, 2)), np.ones((1, 2)), np.zeros(1)).tolist()
    [[0.5, 0.5]]
    """
    z = X @ coef.T + intercept
    if z.shape[1] > 1:
        return np.asarray(softmax(z, axis=1))
    return np.column_stack([expit(-z[:, 0]), expit(z[:, 0])])


def class_weights(y: NDArray[np.int64]) -> Floats:
    """Weight of every class so that each counts alike and the rows' mean weight is 1; 0 for one that is not there.

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 1])).round(3).tolist()
    [0.667, 2.0]
    """
    counts = np.bincount(y)
    return np.where(counts > 0, len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)


def balanced_weights(y: NDArray[np.int64]) -> Floats:
    """Weight of every row under `class_weights`."""
    weights: Floats = class_weights(y)[y]
    return weights


def check_classes(y: NDArray[np.int64], train: NDArray[np.intp]) -> None:
    """Refuse an inner training set that lacks a class.

    Raises
    ------
    AnalysisError
    """
    n_classes, found = int(y.max()) + 1, len(np.unique(y[train]))
    if found < n_classes:
        raise AnalysisError(
            f"every class must be among the training rows of every inner fold; {n_classes} classes were given and "
            f"{found} are there; stratify the folds, or use fewer"
        )


class LinearClassifier(ClassifierMixin, BaseEstimator):
    """What is predicted from coefficients of classes: classes_, coef_, intercept_ and prepare_, once fitted."""

    def predict_proba(self, X: NDArray[np.floating]) -> Floats:
        """Probability of every class, shape (n, n_classes)."""
        return probabilities(apply_prepare(self.prepare_, X), self.coef_, self.intercept_)

    def predict(self, X: NDArray[np.floating]) -> NDArray[Any]:
        """The likeliest class; the first of equally likely ones."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest


class LogisticPath(LinearClassifier):
    """L2 logistic regression on standardised columns; the penalty has the least log loss over the inner folds.

    Parameters
    ----------
    penalties : array-like of shape (n_penalties,), optional
        Penalty per feature, from strong to weak: scikit-learn's C on standardised columns is
        ``1 / (penalty * n_features)``. Of equally good ones the first, that is the strongest, is taken.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds.
    prepare : Prepare, optional
        Fitted to the columns before, anew in every training set; its first `n_free_` columns have no penalty.
    class_weight : None or "balanced"
        "balanced" weighs rows so that every class counts alike, in training and in the losses of the inner folds.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    C_ : float
        As scikit-learn counts it, on standardised columns.
    coef_ : ndarray of shape (1 or n_classes, n_features), float64
        Per unit of the (prepared) columns: the standardisation is folded in.
    intercept_ : ndarray of shape (1 or n_classes,), float64
    Cs_, losses_ : ndarray of shape (n_penalties,)
        Mean over inner folds of the mean log loss.
    prepare_ : Prepare or None
    converged_ : bool
        Whether the solver came as close as `solve_path` says, for the chosen penalty.
    """

    def __init__(
        self,
        penalties: ArrayLike | None = None,
        cv: Any = 5,
        prepare: Any = None,
        class_weight: str | None = None,
    ) -> None:
        self.penalties = penalties
        self.cv = cv
        self.prepare = prepare
        self.class_weight = class_weight

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose the penalty on the inner folds, then fit on all rows.

        Raises
        ------
        AnalysisError
            A class is missing in the training rows of an inner fold.
        """
        penalties = np.asarray(PENALTIES if self.penalties is None else self.penalties, dtype=np.float64)
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        folds = check_cv(self.cv, codes, classifier=True).split(X, codes)
        losses = [self._losses(X, codes, train, valid, penalties) for train, valid in folds]
        self.losses_ = np.mean(losses, axis=0)
        best = int(np.argmin(self.losses_))
        solved, place = self._solve(X, codes, penalties[: best + 1])
        self.prepare_, self.converged_ = place.prepare, solved.converged[-1]
        self.Cs_ = 1.0 / (penalties * place.divisor**2)
        self.C_ = float(self.Cs_[best])
        self.coef_, self.intercept_ = to_columns(*solved.path[-1], place)
        return self

    def _solve(self, X: NDArray[np.floating], y: NDArray[np.int64], penalties: Floats) -> tuple[Solved, Coordinates]:
        place, R = fit_coordinates(X, self.prepare)
        weights = balanced_weights(y) if self.class_weight == "balanced" else None
        return solve_path(R, y, penalties, n_free=place.n_free, weights=weights), place

    def _losses(
        self,
        X: NDArray[np.floating],
        y: NDArray[np.int64],
        train: NDArray[np.intp],
        valid: NDArray[np.intp],
        penalties: Floats,
    ) -> Floats:
        """Mean log loss of every penalty on one inner fold."""
        check_classes(y, train)
        solved, place = self._solve(X[train], y[train], penalties)
        R = to_coordinates(X[valid], place)
        weights = np.ones(len(valid))
        if self.class_weight == "balanced":
            weights = class_weights(y[train])[y[valid]]
        eps = np.finfo(np.float64).eps
        own = [probabilities(R, coef, at)[np.arange(len(valid)), y[valid]] for coef, at in solved.path]
        return np.array([np.average(-np.log(np.maximum(one, eps)), weights=weights) for one in own])
