"""Elastic-net logistic regression, binary and multinomial, by reweighted least squares on the columns in use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_softmax, softmax
from sklearn.model_selection import check_cv

from featx.analysis.folds.strata import Rows
from featx.analysis.heads.elastic import L1_RATIOS, descend, make_alphas, strongest, take_out
from featx.analysis.heads.inputs import Coordinates, fit_coordinates, to_columns, to_coordinates
from featx.analysis.heads.logistic import (
    LinearClassifier,
    balanced_weights,
    check_classes,
    class_weights,
    probabilities,
)
from featx.analysis.scaling import Floats

N_PENALTIES = 8
LEAST = 0.03  # of the strongest penalty
VIOLATION = 1e-2  # of the lasso penalty
MOST_ROUNDS = 200
_LOOSE, _TIGHT = 1e-4, 1e-12  # of the target's squares: coordinate descent in the first round, and at the most
_SHORTEST, _FARTHEST = 1e-6, 64  # of a step

Penalties = tuple[float, float]


@dataclass(frozen=True)
class State:
    """Coefficients: of the intercept and the free columns, shape (1 + f, k), and of the others, shape (p, k)."""

    outer: Floats
    w: Floats
    converged: bool


def solve_classes(Z: Floats, onehot: Floats, weights: Floats, penalties: Penalties, state: State) -> State:
    """Logistic elastic net for one penalty, from the coefficients of another.

    Class by class the loss is replaced by the parabola with its slope and its curvature in the linear predictor. The
    least-squares elastic net of that is solved by `descend`, on the columns that are in use or ask to be (Friedman,
    Hastie & Tibshirani 2010, J Stat Softw 33:1). Steps are halved until they lower the value, and a round over three
    classes or more goes on in its direction as long as the value falls. The end is where no condition of the minimum,
    over all columns, is violated by more than `VIOLATION` times the lasso penalty.

    Parameters
    ----------
    Z : ndarray of shape (n, f + p)
        Free columns first.
    onehot : ndarray of shape (n, k)
        1 where a row is of a class; one column, for the second of two, where there are two.
    weights : ndarray of shape (n,)
        Of the rows.
    penalties : (lasso, squares)
        Least is the mean log loss plus ``lasso |w|_1 + squares / 2 |w|^2``.
    state : State
        Where to begin.
    """
    lasso, squares = penalties
    goal = _Goal(onehot, weights, lasso, squares)
    n_free = len(state.outer) - 1
    free, penalised = Z[:, :n_free], Z[:, n_free:]
    now = _Point(state.outer, state.w, state.outer[0] + free @ state.outer[1:] + penalised @ state.w)
    before, tol = np.inf, _LOOSE
    for _ in range(MOST_ROUNDS):
        w, residual = now.w, weights[:, None] * (onehot - _shares(now.z))
        slope = penalised.T @ residual / len(Z) - squares * w
        off = np.where(w != 0, np.abs(slope - lasso * np.sign(w)), np.maximum(np.abs(slope) - lasso, 0.0))
        left = np.abs(np.column_stack([np.ones(len(Z)), free]).T @ residual).max() / len(Z)
        violation = max(off.max(initial=0.0), left)
        if violation <= VIOLATION * lasso:
            return State(now.outer, w, True)
        tol = max(0.1 * tol, _TIGHT) if violation > 0.95 * before else tol
        before = violation
        used = np.flatnonzero((w != 0).any(axis=1) | (np.abs(slope) > lasso).any(axis=1))
        now = _round(Z, used, goal, now, tol)
    return State(now.outer, now.w, False)


@dataclass(frozen=True)
class _Goal:
    """What is to be least; see `solve_classes`."""

    onehot: Floats
    weights: Floats
    lasso: float
    squares: float

    def value(self, z: Floats, w: Floats) -> float:
        """For linear predictors of all classes, and the coefficients of those classes that change."""
        size = self.lasso * float(np.abs(w).sum()) + 0.5 * self.squares * float(np.vdot(w, w))
        return _loss(z, self.onehot, self.weights) + size


@dataclass(frozen=True)
class _Point:
    """Coefficients as in `State`, and the linear predictors, shape (n, k), that they make."""

    outer: Floats
    w: Floats
    z: Floats


def _round(Z: Floats, used: Rows, goal: _Goal, start: _Point, tol: float) -> _Point:
    """One step of every class; of three or more, then on in the same direction as long as it pays."""
    n_free = len(start.outer) - 1
    small = np.concatenate([Z[:, :n_free], Z[:, n_free + used]], axis=1)
    outer, w, z = start.outer.copy(), start.w.copy(), start.z.copy()
    for at in range(z.shape[1]):
        outer[:, at], w[used, at], z[:, at] = _step(small, z, goal, (outer[:, at], w[used, at]), (at, tol))
    best, length = _Point(outer, w, z), 1.0
    if z.shape[1] == 1:
        return best
    change = _Point(outer - start.outer, w - start.w, z - start.z)
    least = goal.value(z, w)
    while length < _FARTHEST:
        own = _Point(best.outer + length * change.outer, best.w + length * change.w, best.z + length * change.z)
        value = goal.value(own.z, own.w)
        if value >= least:
            break
        best, least, length = own, value, 2 * length
    return best


def _step(
    small: Floats, z: Floats, goal: _Goal, now: tuple[Floats, Floats], how: tuple[int, float]
) -> tuple[Floats, Floats, Floats]:
    """Better coefficients of one class on some columns, and its linear predictor."""
    (outer, w), (at, tol) = now, how
    shares = _shares(z)[:, at]
    curvature = goal.weights * np.maximum(shares * (1 - shares), 1e-6)
    rest = take_out(small, len(outer) - 1, curvature)
    target = rest.root[:, 0] * (z[:, at] + goal.weights * (goal.onehot[:, at] - shares) / curvature)
    inner = rest.nuisance.T @ target
    alpha = goal.lasso + goal.squares
    left = target - rest.nuisance @ inner
    own = descend(rest, left, np.array([alpha]), goal.lasso / alpha, start=w, tol=tol)[0][:, 0]
    coef, intercept = rest.outer(inner, own)
    change = small @ coef + intercept - z[:, at]
    outer_change = np.concatenate([[intercept], coef[: len(outer) - 1]]) - outer
    before, length = goal.value(z, w), 1.0
    new_z = z.copy()
    while length > _SHORTEST:
        new_z[:, at] = z[:, at] + length * change
        new_w = w + length * (own - w)
        if goal.value(new_z, new_w) <= before:
            return outer + length * outer_change, new_w, new_z[:, at]
        length /= 2
    return outer, w, z[:, at]


def _shares(z: Floats) -> Floats:
    """Probabilities of the classes that have a linear predictor."""
    shares: Floats = expit(z) if z.shape[1] == 1 else softmax(z, axis=1)
    return shares


def _loss(z: Floats, onehot: Floats, weights: Floats) -> float:
    """Mean log loss."""
    if z.shape[1] == 1:
        lost = np.logaddexp(0.0, z[:, 0]) - onehot[:, 0] * z[:, 0]
    else:
        lost = -(onehot * log_softmax(z, axis=1)).sum(axis=1)
    return float(weights @ lost) / len(z)


@dataclass(frozen=True)
class Training:
    """Training rows as `solve_classes` takes them, and where they are from."""

    place: Coordinates
    Z: Floats
    onehot: Floats
    weights: Floats

    def without_columns(self) -> State:
        """The fit of the intercept and the free columns alone."""
        n_free, k = self.place.n_free, self.onehot.shape[1]
        empty = State(np.zeros((1 + n_free, k)), np.zeros((self.Z.shape[1] - n_free, k)), True)
        free = replace(empty, w=empty.w[:0])
        found = solve_classes(self.Z[:, :n_free], self.onehot, self.weights, (1e-6, 0.0), free)
        return replace(empty, outer=found.outer)

    def strongest(self) -> float:
        """Weakest lasso penalty that leaves no column."""
        outer = self.without_columns().outer
        z = outer[0] + self.Z[:, : self.place.n_free] @ outer[1:]
        return strongest(self.Z[:, self.place.n_free :], self.weights[:, None] * (self.onehot - _shares(z)))

    def path(self, alphas: Floats, l1_ratio: float) -> list[State]:
        """Fits for all penalties, each beginning at the one before; the same where no column has a penalty."""
        state, path = self.without_columns(), []
        if not state.w.size:  # the weakest penalty that leaves no column is 0, and no end is close enough to it
            return [state] * len(alphas)
        for alpha in alphas:
            penalties = (float(alpha) * l1_ratio, float(alpha) * (1 - l1_ratio))
            state = solve_classes(self.Z, self.onehot, self.weights, penalties, state)
            path.append(state)
        return path


class ElasticNetLogistic(LinearClassifier):
    """Elastic-net logistic regression on standardised columns, chosen by the log loss over the inner folds.

    Parameters
    ----------
    l1_ratios : tuple of float
        Shares of the lasso penalty, above 0.
    n_penalties : int
        From the weakest that leaves no column of the training rows down to `LEAST` times it. Inner folds have the
        same.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds. Of equally good pairs the first is taken: by mixture, then the strongest penalty.
    prepare : Prepare, optional
        Fitted to the columns before, anew in every training set; its first `n_free_` columns have no penalty.
    class_weight : None or "balanced"
        "balanced" weighs rows so that every class counts alike, in training and in the losses of the inner folds.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    C_, l1_ratio_ : float
        As scikit-learn counts them, on standardised columns.
    coef_ : ndarray of shape (1 or n_classes, n_features), float64
        Per unit of the (prepared) columns.
    intercept_ : ndarray of shape (1 or n_classes,), float64
    losses_ : ndarray of shape (n_l1_ratios, n_penalties)
        Mean over inner folds of the mean log loss.
    prepare_ : Prepare or None
    converged_ : bool
        Whether the conditions of the minimum were met within `MOST_ROUNDS`.
    """

    def __init__(
        self,
        l1_ratios: tuple[float, ...] = L1_RATIOS,
        n_penalties: int = N_PENALTIES,
        cv: Any = 5,
        prepare: Any = None,
        class_weight: str | None = None,
    ) -> None:
        self.l1_ratios = l1_ratios
        self.n_penalties = n_penalties
        self.cv = cv
        self.prepare = prepare
        self.class_weight = class_weight

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose penalty and mixture on the inner folds, then fit on all rows.

        Raises
        ------
        AnalysisError
            A class is missing in the training rows of an inner fold.
        """
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        rows = self._rows(X, codes, len(self.classes_))
        most = rows.strongest()
        grids = [make_alphas(most, self.n_penalties, ratio, LEAST) for ratio in self.l1_ratios]
        folds = check_cv(self.cv, codes, classifier=True).split(X, codes)
        self.losses_ = np.mean([self._losses(X, codes, pair, grids) for pair in folds], axis=0)
        which, at = np.unravel_index(int(np.argmin(self.losses_)), self.losses_.shape)
        self.l1_ratio_ = float(self.l1_ratios[which])
        last = rows.path(grids[which][: at + 1], self.l1_ratio_)[-1]
        self.C_ = 1.0 / (len(codes) * float(grids[which][at]))
        self.coef_, self.intercept_ = to_columns(_whole(last), last.outer[0], rows.place)
        self.prepare_, self.converged_ = rows.place.prepare, last.converged
        return self

    def _rows(self, X: NDArray[np.floating], y: NDArray[np.int64], n_classes: int) -> Training:
        place, Z = fit_coordinates(X, self.prepare, rotate=False)
        levels = np.arange(n_classes) if n_classes > 2 else np.array([1])
        weights = balanced_weights(y) if self.class_weight == "balanced" else np.ones(len(y))
        return Training(place, Z, (y[:, None] == levels).astype(np.float64), weights)

    def _losses(
        self, X: NDArray[np.floating], y: NDArray[np.int64], pair: tuple[Rows, Rows], grids: list[Floats]
    ) -> list[list[float]]:
        """Mean log loss of every mixture and penalty on one inner fold."""
        train, valid = pair
        check_classes(y, train)
        rows = self._rows(X[train], y[train], len(self.classes_))
        held = to_coordinates(X[valid], rows.place)
        weights = class_weights(y[train])[y[valid]] if self.class_weight == "balanced" else np.ones(len(valid))
        return [
            [held_loss(held, y[valid], _whole(one), one.outer[0], weights) for one in rows.path(alphas, ratio)]
            for ratio, alphas in zip(self.l1_ratios, grids, strict=True)
        ]


def held_loss(held: Floats, y: NDArray[np.int64], coef: Floats, intercept: Floats, weights: Floats) -> float:
    """Mean log loss of rows that were held out, for one fit; a probability of 0 counts as the least above it.

    Parameters
    ----------
    held : ndarray of shape (n, d)
    y : ndarray of shape (n,)
        Class codes.
    coef, intercept : ndarray of shape (1 or n_classes, d) and (1 or n_classes,)
    weights : ndarray of shape (n,)
    """
    given = probabilities(held, coef, intercept)[np.arange(len(y)), y]
    return float(np.average(-np.log(np.maximum(given, np.finfo(np.float64).eps)), weights=weights))


def _whole(state: State) -> Floats:
    """Coefficients of all columns, shape (k, f + p)."""
    coefficients: Floats = np.concatenate([state.outer[1:], state.w]).T
    return coefficients
