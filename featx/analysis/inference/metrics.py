"""The table of metrics. They take weights, so that a draw of people is a row of weights, and no prediction is copied.

A function takes (observed (n,), predicted (n,) or probabilities (n, n_classes), weights (n_draws, n)) and returns
(n_draws,); a row with weight 2 counts as two equal rows, and NaN says that a draw leaves the metric undefined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.analysis.cohort.targets import CONTINUOUS, KINDS, ORDINAL
from featx.analysis.folds.strata import CLASSES, NUMBERS, Values
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, known


@dataclass(frozen=True)
class Metric:
    """Facts of one metric.

    Attributes
    ----------
    title : str
    kinds : tuple of str
        Kinds of target it is for.
    function : callable
        See the module's docstring.
    higher_is_better : bool
    has_unit : bool
        Whether it is in the unit of the target.
    baseline : float or None
        Its value for a constant prediction where that is a matter of definition (NaN: undefined).
    """

    title: str
    kinds: tuple[str, ...]
    function: Callable[[Values, Floats, Floats], Floats]
    higher_is_better: bool = True
    has_unit: bool = False
    baseline: float | None = None


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN where the divisor is not above zero."""
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)


def _mean(values: Floats, weights: Floats) -> Floats:
    return _ratio(weights @ values, weights.sum(axis=1))


# --- numbers --------------------------------------------------------------------------------------------------


def _mae(observed: Values, predicted: Floats, weights: Floats) -> Floats:
    return _mean(np.abs(observed - predicted), weights)


def _rmse(observed: Values, predicted: Floats, weights: Floats) -> Floats:
    return np.sqrt(_mean((observed - predicted) ** 2, weights))


def _variance(values: Floats, weights: Floats) -> Floats:
    """Weighted variance (divisor: the weights' sum); exactly 0 where rounding is all there is."""
    centred = values - values.mean()
    square = _mean(centred**2, weights)
    variance = square - _mean(centred, weights) ** 2
    floor = 1e-14 * square + (1e-14 * np.abs(values).max()) ** 2
    return np.where(variance > floor, variance, 0.0)


def _r(observed: Values, predicted: Floats, weights: Floats) -> Floats:
    a, b = observed - observed.mean(), predicted - predicted.mean()
    covariance = _mean(a * b, weights) - _mean(a, weights) * _mean(b, weights)
    return _ratio(covariance, np.sqrt(_variance(a, weights) * _variance(b, weights)))


def _r2(observed: Values, predicted: Floats, weights: Floats) -> Floats:
    error = _mean((observed - predicted) ** 2, weights)
    return 1.0 - _ratio(error, _variance(observed.astype(np.float64), weights))


# --- ranks ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Runs:
    """Rows in the order of their values, and where each run of equal values begins."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    run: NDArray[np.intp]  # of every row, in the rows' own order


def _runs(values: Values) -> _Runs:
    levels, run = np.unique(values, return_inverse=True)
    order = np.argsort(run, kind="stable")
    return _Runs(order, np.searchsorted(run[order], np.arange(len(levels))), run)


def _beaten(mass: Floats) -> Floats:
    """Weight below each run, a tie counting half."""
    below: Floats = np.cumsum(mass, axis=1)
    below -= mass / 2
    return below


def _midranks(values: Values, weights: Floats) -> Floats:
    """Rank of every row in every draw, equal values sharing the mean of theirs; counted from the middle rank."""
    runs = _runs(values)
    mass = np.add.reduceat(weights[:, runs.order], runs.starts, axis=1)
    ranks: Floats = (_beaten(mass) - weights.sum(axis=1, keepdims=True) / 2)[:, runs.run]
    return ranks


def _spearman(observed: Values, predicted: Floats, weights: Floats) -> Floats:
    """Pearson's correlation of the midranks that every draw has."""
    a, b = _midranks(observed, weights), _midranks(predicted, weights)  # their weighted means are zero
    weighted = weights * a
    squares = np.einsum("ij,ij->i", weighted, a) * np.einsum("ij,ij,ij->i", weights, b, b)
    return _ratio(np.einsum("ij,ij->i", weighted, b), np.sqrt(squares))


def _kendall(observed: Values, predicted: Floats, weights: Floats) -> Floats:
    """Kendall's tau-b, exact for draws: two copies of a row are tied in both.

    Goes level by level of the observed, in O(n) each, and is made for few: pairs of a level's rows with rows of lower
    levels that are in right order, less those in wrong order.
    """
    levels, runs = _runs(observed), _runs(predicted)
    sorted_weights, sorted_level = weights[:, runs.order], levels.run[runs.order]
    sorted_run = runs.run[runs.order]
    surplus = np.zeros(len(weights))
    for level in range(1, len(levels.starts)):
        own = np.flatnonzero(sorted_level == level)
        lower = np.add.reduceat(sorted_weights * (sorted_level < level), runs.starts, axis=1)
        mine = sorted_weights[:, own]
        right = np.einsum("ij,ij->i", mine, _beaten(lower)[:, sorted_run[own]])
        surplus += 2 * right - mine.sum(axis=1) * lower.sum(axis=1)
    untied = [_untied(weights[:, one.order], one.starts) for one in (levels, runs)]
    return _ratio(2 * surplus, np.sqrt(untied[0] * untied[1]))


def _untied(sorted_weights: Floats, starts: NDArray[np.intp]) -> Floats:
    """Twice the number of pairs that differ."""
    mass = np.add.reduceat(sorted_weights, starts, axis=1)
    untied: Floats = mass.sum(axis=1) ** 2 - np.einsum("ij,ij->i", mass, mass)
    return untied


# --- classes --------------------------------------------------------------------------------------------------


def _auc_one(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """Weighted area under the ROC curve: the share of pairs in right order, a tie counting half."""
    runs = _runs(score)
    sorted_weights, sorted_positive = weights[:, runs.order], positive[runs.order]
    above = np.add.reduceat(sorted_weights * sorted_positive, runs.starts, axis=1)
    below = np.add.reduceat(sorted_weights * ~sorted_positive, runs.starts, axis=1)
    right = np.einsum("ij,ij->i", above, _beaten(below))
    return _ratio(right, above.sum(axis=1) * below.sum(axis=1))


def _auc(observed: Values, probabilities: Floats, weights: Floats) -> Floats:
    n_classes = probabilities.shape[1]
    classes = [1] if n_classes == 2 else range(n_classes)
    each = [_auc_one(observed == one, probabilities[:, one], weights) for one in classes]
    return np.asarray(np.mean(each, axis=0))


def _hits(observed: Values, probabilities: Floats) -> Floats:
    hits: Floats = (probabilities.argmax(axis=1) == observed).astype(np.float64)
    return hits


def _accuracy(observed: Values, probabilities: Floats, weights: Floats) -> Floats:
    return _mean(_hits(observed, probabilities), weights)


def _balanced_accuracy(observed: Values, probabilities: Floats, weights: Floats) -> Floats:
    hits = _hits(observed, probabilities)
    members = [(observed == one).astype(np.float64) for one in range(probabilities.shape[1])]
    return np.asarray(np.mean([_ratio(weights @ (one * hits), weights @ one) for one in members], axis=0))


def _log_loss(observed: Values, probabilities: Floats, weights: Floats) -> Floats:
    return _mean(surprise(observed, probabilities), weights)


def _brier(observed: Values, probabilities: Floats, weights: Floats) -> Floats:
    """Squared error of the second of two probabilities; of more, summed (Brier 1950, Mon Weather Rev 78:1)."""
    truth = observed.astype(np.int64)[:, None] == np.arange(probabilities.shape[1])
    squares = (probabilities - truth) ** 2
    return _mean(squares[:, 1] if squares.shape[1] == 2 else squares.sum(axis=1), weights)


def surprise(observed: Values, probabilities: Floats) -> Floats:
    """-log(probability of the true class) of every row; a probability below 2e-16 counts as that, as in scikit-learn.

    Parameters
    ----------
    observed : ndarray of shape (n,)
        Class codes.
    probabilities : ndarray of shape (n, n_classes)
        NaN stays NaN.

    Examples
    --------
    >>> surprise(np.array([0, 1]), np.array([[1.0, 0.0], [0.5, 0.5]])).round(3).tolist()
    [-0.0, 0.693]
    """
    own = probabilities[np.arange(len(observed)), observed.astype(np.int64)]
    losses: NDArray[np.float64] = -np.log(np.maximum(own, np.finfo(np.float64).eps))
    return losses


# --- the table ------------------------------------------------------------------------------------------------

_UNDEFINED = float("nan")

METRICS: dict[str, Metric] = {
    "spearman": Metric("Spearman correlation", (ORDINAL,), _spearman, baseline=_UNDEFINED),
    "kendall": Metric("Kendall's tau-b", (ORDINAL,), _kendall, baseline=_UNDEFINED),
    "mae": Metric("mean absolute error", NUMBERS, _mae, higher_is_better=False, has_unit=True),
    "rmse": Metric("root mean squared error", (CONTINUOUS,), _rmse, higher_is_better=False, has_unit=True),
    "r": Metric("Pearson correlation", NUMBERS, _r, baseline=_UNDEFINED),
    "r2": Metric("share of variance explained", (CONTINUOUS,), _r2),
    "auc": Metric("area under the ROC curve", CLASSES, _auc, baseline=0.5),
    "balanced_accuracy": Metric("mean of the classes' recalls", CLASSES, _balanced_accuracy),
    "accuracy": Metric("share of right answers", CLASSES, _accuracy),
    "log_loss": Metric("log loss", CLASSES, _log_loss, higher_is_better=False),
    "brier": Metric("Brier score", CLASSES, _brier, higher_is_better=False),
}


def metrics_of(kind: str) -> dict[str, Metric]:
    """The metrics of a kind of target, in the order of the table.

    Raises
    ------
    AnalysisError
        Unknown kind.

    Examples
    --------
    >>> list(metrics_of("ordinal"))
    ['spearman', 'kendall', 'mae', 'r']
    """
    if kind not in KINDS:
        raise AnalysisError(f"the kind of a target must be known to be scored; {kind!r} is not; {known(KINDS)}")
    return {name: one for name, one in METRICS.items() if kind in one.kinds}
