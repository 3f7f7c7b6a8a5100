"""Metrics of out-of-fold predictions, with 95 % intervals by bootstrap over people.

Every metric takes weights, one per row, so that one draw of people with replacement is one row of weights, and many
draws are one matrix: no prediction is ever copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS
from featx.errors import AnalysisError

Floats = NDArray[np.float64]
Observed = NDArray[np.float64] | NDArray[np.int64]

LEVEL = 95.0
CHUNK = 1 << 20  # weights held at a time: 8 MiB


@dataclass(frozen=True)
class Metric:
    """Facts of one metric.

    Attributes
    ----------
    title : str
    kinds : tuple of str
        Kinds of target it is for.
    function : callable
        (observed (n,), predicted (n,) or probabilities (n, n_classes), weights (n_draws, n)) -> (n_draws,);
        NaN where a draw leaves the metric undefined.
    higher_is_better : bool
    has_unit : bool
        Whether it is in the unit of the target.
    baseline : float or None
        Its value for a constant prediction where that is a matter of definition (NaN: undefined).
    """

    title: str
    kinds: tuple[str, ...]
    function: Callable[[Observed, Floats, Floats], Floats]
    higher_is_better: bool = True
    has_unit: bool = False
    baseline: float | None = None


@dataclass(frozen=True)
class Score:
    """A metric's value and the ends of its 95 % interval; NaN where undefined."""

    metric: str
    value: float
    low: float
    high: float


# --- metrics --------------------------------------------------------------------------------------------------


def _mean(values: Floats, weights: Floats) -> Floats:
    mean: Floats = (weights @ values) / weights.sum(axis=1)
    return mean


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN where the divisor is not above zero."""
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)


def _mae(observed: Observed, predicted: Floats, weights: Floats) -> Floats:
    return _mean(np.abs(observed - predicted), weights)


def _rmse(observed: Observed, predicted: Floats, weights: Floats) -> Floats:
    return np.sqrt(_mean((observed - predicted) ** 2, weights))


def _variance(values: Floats, weights: Floats) -> Floats:
    """Weighted variance (divisor: the weights' sum); exactly 0 where rounding is all there is."""
    centred = values - values.mean()
    square = _mean(centred**2, weights)
    variance = square - _mean(centred, weights) ** 2
    floor = 1e-14 * square + (1e-14 * np.abs(values).max()) ** 2
    return np.where(variance > floor, variance, 0.0)


def _r(observed: Observed, predicted: Floats, weights: Floats) -> Floats:
    a, b = observed - observed.mean(), predicted - predicted.mean()
    covariance = _mean(a * b, weights) - _mean(a, weights) * _mean(b, weights)
    return _ratio(covariance, np.sqrt(_variance(a, weights) * _variance(b, weights)))


def _r2(observed: Observed, predicted: Floats, weights: Floats) -> Floats:
    error = _mean((observed - predicted) ** 2, weights)
    return 1.0 - _ratio(error, _variance(observed.astype(np.float64), weights))


def _auc_one(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """Weighted area under the ROC curve: the share of pairs in right order, a tie counting half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])  # first row of each run of equal scores
    sorted_weights = weights[:, order]
    above = np.add.reduceat(sorted_weights * positive[order], starts, axis=1)
    below = np.add.reduceat(sorted_weights * ~positive[order], starts, axis=1)
    beaten = np.cumsum(below, axis=1) - below / 2
    return _ratio((above * beaten).sum(axis=1), above.sum(axis=1) * below.sum(axis=1))


def _auc(observed: Observed, probabilities: Floats, weights: Floats) -> Floats:
    n_classes = probabilities.shape[1]
    classes = [1] if n_classes == 2 else range(n_classes)
    each = [_auc_one(observed == one, probabilities[:, one], weights) for one in classes]
    return np.asarray(np.mean(each, axis=0))


def _hits(observed: Observed, probabilities: Floats) -> Floats:
    hits: Floats = (probabilities.argmax(axis=1) == observed).astype(np.float64)
    return hits


def _accuracy(observed: Observed, probabilities: Floats, weights: Floats) -> Floats:
    return _mean(_hits(observed, probabilities), weights)


def _balanced_accuracy(observed: Observed, probabilities: Floats, weights: Floats) -> Floats:
    hits = _hits(observed, probabilities)
    members = [(observed == one).astype(np.float64) for one in range(probabilities.shape[1])]
    return np.asarray(np.mean([_ratio(weights @ (one * hits), weights @ one) for one in members], axis=0))


def _log_loss(observed: Observed, probabilities: Floats, weights: Floats) -> Floats:
    """Mean of -log(probability of the true class); a probability below 2e-16 counts as that, as in scikit-learn."""
    own = probabilities[np.arange(len(observed)), observed.astype(np.int64)]
    return _mean(-np.log(np.maximum(own, np.finfo(np.float64).eps)), weights)


_CLASSES = (BINARY, MULTICLASS)
METRICS: dict[str, Metric] = {
    "mae": Metric("mean absolute error", (CONTINUOUS,), _mae, higher_is_better=False, has_unit=True),
    "rmse": Metric("root mean squared error", (CONTINUOUS,), _rmse, higher_is_better=False, has_unit=True),
    "r": Metric("Pearson correlation", (CONTINUOUS,), _r, baseline=float("nan")),
    "r2": Metric("share of variance explained", (CONTINUOUS,), _r2),
    "auc": Metric("area under the ROC curve", _CLASSES, _auc, baseline=0.5),
    "balanced_accuracy": Metric("mean of the classes' recalls", _CLASSES, _balanced_accuracy),
    "accuracy": Metric("share of right answers", _CLASSES, _accuracy),
    "log_loss": Metric("log loss", _CLASSES, _log_loss, higher_is_better=False),
}


# --- scores with intervals ------------------------------------------------------------------------------------


def score(
    kind: str,
    observed: Observed,
    predicted: Floats,
    groups: NDArray[np.object_],
    *,
    n_bootstrap: int = 2000,
    random_state: int = 0,
) -> list[Score]:
    """All metrics of a kind, with percentile intervals by bootstrap over people.

    Parameters
    ----------
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    observed : ndarray of shape (n,)
        Numbers, or class codes.
    predicted : ndarray of shape (n,) or (n, n_classes)
        Out-of-fold numbers, or probabilities.
    groups : ndarray of shape (n,)
        Participants; all rows of a person are drawn together.
    n_bootstrap : int
        Draws; 0 for no intervals. A draw that leaves a metric undefined (a class was not drawn) is left out of
        that metric's interval; where most draws do, there is none (NaN).
    random_state : int
        The same seed and people give the same draws, so that heads are compared on the same ones.

    Raises
    ------
    AnalysisError
        A prediction is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(predicted.reshape(len(predicted), -1)).all(axis=1))
    if len(bad):
        raise AnalysisError(
            f"predictions must be finite to be scored; {len(bad)} of {len(predicted)} are not, the first in row "
            f"{bad[0]} (participant {str(groups[bad[0]])!r}); look at the features of that image"
        )
    metrics = {name: one for name, one in METRICS.items() if kind in one.kinds}
    whole = np.ones((1, len(observed)))
    values = {name: float(one.function(observed, predicted, whole)[0]) for name, one in metrics.items()}
    draws: dict[str, list[Floats]] = {name: [] for name in metrics}
    for weights in _draws(groups, n_bootstrap, random_state):
        for name, one in metrics.items():
            draws[name].append(one.function(observed, predicted, weights))
    return [Score(name, values[name], *_interval(draws[name])) for name in metrics]


def score_baseline(
    kind: str,
    observed: Observed,
    predicted: Floats,
    groups: NDArray[np.object_],
    *,
    n_bootstrap: int = 2000,
    random_state: int = 0,
) -> list[Score]:
    """As `score`, for the baseline: metrics that a constant prediction has by definition have no interval.

    Its predictions differ a little from fold to fold, for each fold has its own training people; a correlation
    with them, or a ranking by them, would measure the folds.
    """
    found = score(kind, observed, predicted, groups, n_bootstrap=n_bootstrap, random_state=random_state)
    return [_by_definition(one) for one in found]


def _by_definition(found: Score) -> Score:
    value = METRICS[found.metric].baseline
    return found if value is None else Score(found.metric, value, float("nan"), float("nan"))


def _draws(groups: NDArray[np.object_], n_bootstrap: int, random_state: int) -> Iterator[Floats]:
    """Weights of the rows, shape (n_chunk, n), how often each one's participant was drawn."""
    people, person = np.unique(groups.astype(str), return_inverse=True)
    rng = np.random.default_rng(random_state)
    rows = max(1, CHUNK // len(groups))
    for start in range(0, n_bootstrap, rows):
        counts = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), min(rows, n_bootstrap - start))
        yield counts[:, person].astype(np.float64)


def _interval(draws: list[Floats]) -> tuple[float, float]:
    values = np.concatenate(draws) if draws else np.empty(0)
    defined = values[np.isfinite(values)]
    if not len(values) or len(defined) <= len(values) / 2:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)
