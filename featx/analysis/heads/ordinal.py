"""The cumulative logit: ordered levels by one linear predictor and its thresholds (proportional odds).

With thresholds t_1 < ... < t_(k-1), level j or lower has the odds exp(t_j - x w) (McCullagh 1980, JRSS B 42:109).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import check_cv

from featx.analysis.folds.strata import Rows
from featx.analysis.heads.inputs import (
    Axes,
    Coordinates,
    apply_prepare,
    fit_axes,
    fit_coordinates,
    to_columns,
    to_coordinates,
)
from featx.analysis.heads.logistic import PENALTIES, TOLERANCE
from featx.analysis.heads.minimise import minimise
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError

Path = list[tuple[Floats, Floats]]


def solve_path(
    R: Floats, y: NDArray[np.int64], penalties: Floats, n_levels: int, n_free: int = 0
) -> tuple[Path, bool]:
    """Coefficients and thresholds for every penalty, each fit beginning at the one before.

    The sum of the log losses plus ``penalty / 2 |w|^2`` is least, in the sense of
    `featx.analysis.heads.logistic.solve_shares`.

    Parameters
    ----------
    R : ndarray of shape (n, d)
        Columns with mean zero.
    y : ndarray of shape (n,)
        Codes of the levels, 0..n_levels-1; one that is not there gets almost no probability.
    penalties : ndarray of shape (n_penalties,)
        From strong to weak.
    n_levels : int
    n_free : int
        The first columns have no penalty.

    Returns
    -------
    path : list of (coef, thresholds)
        Shapes (d,) and (n_levels - 1,).
    converged : bool
        For the last penalty.
    """
    axes, path, converged = fit_axes(R, n_free, np.ones(len(R))), [], True
    shares = (np.bincount(y, minlength=n_levels) + 0.5) / (len(y) + 0.5 * n_levels)
    below = np.cumsum(shares)[:-1]
    at = np.concatenate([_steps(np.log(below / (1 - below))), np.zeros(axes.nuisance.shape[1] - 1)])
    w = np.zeros(len(axes.V))
    for penalty in penalties:
        at, w, converged = _solve(axes, y, (float(penalty), n_levels), at, w)
        inner = np.concatenate([[0.0], at[n_levels - 1 :]])
        outer = axes.outer(inner, w)
        path.append((np.concatenate([outer[1:], w]), _thresholds(at[: n_levels - 1]) - outer[0]))
    return path, converged


def _solve(
    axes: Axes, y: NDArray[np.int64], sizes: tuple[float, int], at: Floats, w: Floats
) -> tuple[Floats, Floats, bool]:
    """Steps, coefficients of the free and of the penalised columns for one penalty, from those of another."""
    penalty, n_levels = sizes
    bound = 0.25 if n_levels == 2 else 0.5
    m, q = n_levels - 1, len(at)
    free = axes.nuisance[:, 1:]
    root = np.sqrt(bound * axes.squares + penalty)
    scale = np.concatenate([np.full(m, np.sqrt(bound * len(y))), np.full(q - m, np.sqrt(bound))])

    def objective(u: Floats) -> tuple[float, Floats]:
        own, v = u[:q] / scale, u[q:] / root
        value, by_z, by_step = _loss(free @ own[m:] + axes.penalised @ (axes.V @ v), y, own[:m])
        by_v = axes.V.T @ (axes.penalised.T @ by_z) + penalty * v
        gradient = np.concatenate([np.concatenate([by_step, free.T @ by_z]) / scale, by_v / root])
        return value + 0.5 * penalty * float(v @ v), gradient

    start = np.concatenate([at * scale, (axes.V.T @ w) * root])
    found = minimise(objective, start, TOLERANCE * np.sqrt(len(y)))
    return found.x[:q] / scale, axes.V @ (found.x[q:] / root), found.converged


def _loss(z: Floats, y: NDArray[np.int64], steps: Floats) -> tuple[float, Floats, Floats]:
    """Sum of log losses, and its slopes in the linear predictor and in the steps.

    The probability of a level between the thresholds a and b is sigma(b - z) sigma(z - a) (1 - exp(a - b)): of these
    the last depends on the steps alone.
    """
    thresholds, n_levels = _thresholds(steps), len(steps) + 1
    has_upper, has_lower = y < n_levels - 1, y > 0
    upper = np.where(has_upper, z - thresholds[np.minimum(y, n_levels - 2)], -np.inf)
    lower = np.where(has_lower, thresholds[np.maximum(y - 1, 0)] - z, -np.inf)
    gaps = np.exp(steps[1:])
    inside = np.bincount(y, minlength=n_levels)[1:-1]
    value = np.logaddexp(0.0, upper).sum() + np.logaddexp(0.0, lower).sum() - inside @ np.log(-np.expm1(-gaps))
    over, under = expit(upper), expit(lower)
    by_threshold = np.bincount(y[has_lower] - 1, under[has_lower], n_levels - 1)
    by_threshold -= np.bincount(y[has_upper], over[has_upper], n_levels - 1)
    onwards = np.cumsum(by_threshold[::-1])[::-1]
    by_step = np.concatenate([onwards[:1], gaps * (onwards[1:] - inside / np.expm1(gaps))])
    return float(value), over - under, by_step


def _thresholds(steps: Floats) -> Floats:
    """The first threshold as it is, and after it logarithms of distances: ordered, whatever they are."""
    return np.cumsum(np.concatenate([steps[:1], np.exp(steps[1:])]))


def _steps(thresholds: Floats) -> Floats:
    return np.concatenate([thresholds[:1], np.log(np.diff(thresholds))])


def level_probabilities(Z: NDArray[np.floating], coef: Floats, thresholds: Floats) -> Floats:
    """Probability of every level, shape (n, n_levels).

    Examples
    --------
    >>> level_probabilities(np.zeros((1, 1)), np.ones(1), np.log([1 / 3, 3.0])).round(6).tolist()
    [[0.25, 0.5, 0.25]]
    """
    z = (Z @ coef)[:, None]
    least, most = np.full((len(z), 1), -np.inf), np.full((len(z), 1), np.inf)
    upper = np.concatenate([thresholds - z, most], axis=1)
    lower = np.concatenate([least, thresholds - z], axis=1)
    gaps = np.concatenate([[1.0], -np.expm1(-np.diff(thresholds)), [1.0]]) if len(thresholds) > 1 else np.ones(2)
    shares: Floats = expit(upper) * expit(-lower) * gaps
    return shares


def expected_level(Z: NDArray[np.floating], coef: Floats, thresholds: Floats, levels: Floats) -> Floats:
    """Mean of the levels under their probabilities, shape (n,).

    Examples
    --------
    >>> levels = np.array([1.0, 2.0, 3.0])
    >>> expected_level(np.zeros((1, 1)), np.ones(1), np.log([1 / 3, 3.0]), levels).round(6).tolist()
    [2.0]
    """
    return level_probabilities(Z, coef, thresholds) @ levels


class CumulativeLogit(RegressorMixin, BaseEstimator):
    """Proportional odds with an L2 penalty on standardised columns, chosen by the log loss over the inner folds.

    Parameters
    ----------
    penalties : array-like of shape (n_penalties,), optional
        As for `featx.analysis.heads.logistic.LogisticPath`.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds.
    prepare : Prepare, optional
        Fitted to the columns before, anew in every training set; its first `n_free_` columns have no penalty.

    Attributes
    ----------
    levels_ : ndarray of shape (n_levels,)
        Numbers, in order.
    C_ : float
        As scikit-learn counts it, on standardised columns.
    coef_ : ndarray of shape (n_features,), float64
        Per unit of the (prepared) columns; large predictors mean high levels.
    thresholds_ : ndarray of shape (n_levels - 1,)
    Cs_, losses_ : ndarray of shape (n_penalties,)
        Mean over inner folds of the mean log loss.
    prepare_ : Prepare or None
    converged_ : bool
    """

    def __init__(self, penalties: ArrayLike | None = None, cv: Any = 5, prepare: Any = None) -> None:
        self.penalties = penalties
        self.cv = cv
        self.prepare = prepare

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose the penalty on the inner folds, then fit on all rows.

        Raises
        ------
        AnalysisError
            Fewer than two levels.
        """
        penalties = np.asarray(PENALTIES if self.penalties is None else self.penalties, dtype=np.float64)
        self.levels_, codes = np.unique(np.asarray(y, dtype=np.float64), return_inverse=True)
        if len(self.levels_) < 2:
            raise AnalysisError(
                f"a cumulative logit must have two levels or more; the {len(codes)} training rows have "
                f"{len(self.levels_)}; add people, or choose another target"
            )
        folds = check_cv(self.cv, codes).split(X, codes)
        self.losses_ = np.mean([self._losses(X, codes, pair, penalties) for pair in folds], axis=0)
        best = int(np.argmin(self.losses_))
        path, self.converged_, place = self._path(X, codes, penalties[: best + 1])
        self.prepare_ = place.prepare
        self.Cs_ = 1.0 / (penalties * place.divisor**2)
        self.C_ = float(self.Cs_[best])
        coef, thresholds = path[-1]
        self.coef_, intercept = to_columns(coef, np.zeros(()), place)
        self.thresholds_ = thresholds - intercept
        return self

    def _path(
        self, X: NDArray[np.floating], codes: NDArray[np.int64], penalties: Floats
    ) -> tuple[Path, bool, Coordinates]:
        place, R = fit_coordinates(X, self.prepare)
        path, converged = solve_path(R, codes, penalties, len(self.levels_), place.n_free)
        return path, converged, place

    def _losses(
        self, X: NDArray[np.floating], codes: NDArray[np.int64], pair: tuple[Rows, Rows], penalties: Floats
    ) -> list[float]:
        """Mean log loss of every penalty on one inner fold."""
        train, valid = pair
        path, _, place = self._path(X[train], codes[train], penalties)
        R, eps = to_coordinates(X[valid], place), np.finfo(np.float64).eps
        own = [level_probabilities(R, coef, at)[np.arange(len(valid)), codes[valid]] for coef, at in path]
        return [float(-np.log(np.maximum(one, eps)).mean()) for one in own]

    def predict_levels_proba(self, X: NDArray[np.floating]) -> Floats:
        """Probability of every level, shape (n, n_levels)."""
        return level_probabilities(apply_prepare(self.prepare_, X), self.coef_, self.thresholds_)

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Mean of the levels under their probabilities, shape (n,)."""
        return expected_level(apply_prepare(self.prepare_, X), self.coef_, self.thresholds_, self.levels_)
