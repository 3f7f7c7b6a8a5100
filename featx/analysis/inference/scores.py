"""Metrics of out-of-fold predictions, with 95 % intervals by bootstrap over people.

The heads are held as they were fitted: an interval says how a score depends on who was tested, not on who trained
(`featx.analysis.inference.paired.corrected_t` speaks of both).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.analysis.folds.strata import CLASSES, Labels, Values
from featx.analysis.inference.metrics import METRICS, Metric, metrics_of
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError

LEVEL = 95.0
CHUNK = 1 << 20  # weights held at a time: 8 MiB

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Bootstrapped:
    """A metric's value, and what it is in every draw of people.

    Attributes
    ----------
    value : float
        Mean over repeats; NaN where the metric is undefined.
    draws : ndarray of shape (n_bootstrap,)
        NaN in draws that leave the metric undefined.
    """

    value: float
    draws: Floats


@dataclass(frozen=True)
class Repeats:
    """Predictions of every repeat, checked.

    Attributes
    ----------
    observed : ndarray of shape (n_repeats, n)
    predicted : ndarray of shape (n_repeats, n) or (n_repeats, n, n_classes)
    tested : ndarray of shape (n_repeats, n), bool
        Rows that a repeat tested.
    """

    observed: NDArray[Any]
    predicted: Floats
    tested: Mask


def as_repeats(
    kind: str, observed: Values, predicted: Floats, groups: Labels, *, tested: Mask | None = None
) -> Repeats:
    """Predictions in the shape of repeats, finite wherever they were tested.

    Parameters
    ----------
    kind, observed, predicted, groups, tested
        As for `bootstrap`.

    Raises
    ------
    AnalysisError
        See `bootstrap`.
    """
    predicted = np.asarray(predicted, dtype=np.float64)
    if predicted.ndim == (2 if kind in CLASSES else 1):
        predicted = predicted[None]
    shape = predicted.shape[:2]
    cells = predicted.reshape(*shape, -1)
    tested = np.broadcast_to(~np.isnan(cells).all(axis=2) if tested is None else tested, shape)
    bad = np.argwhere(tested & ~np.isfinite(cells).all(axis=2))
    if len(bad):
        repeat, row = (int(one) for one in bad[0])
        of = f" of repeat {repeat}" if shape[0] > 1 else ""
        raise AnalysisError(
            f"predictions must be finite to be scored; {len(bad)} of {int(tested.sum())} are not, the first in row "
            f"{row}{of} (participant {str(groups[row])!r}); look at the features of that image"
        )
    empty = np.flatnonzero(~tested.any(axis=1))
    if len(empty):
        raise AnalysisError(
            f"every repeat must have tested someone to be scored; repeat {empty[0]} has no prediction; leave it out"
        )
    return Repeats(np.broadcast_to(np.asarray(observed), shape), predicted, tested)


def bootstrap(
    kind: str,
    observed: Values,
    predicted: Floats,
    groups: Labels,
    *,
    tested: Mask | None = None,
    n_bootstrap: int = 2000,
    random_state: int = 0,
) -> dict[str, Bootstrapped]:
    """All metrics of a kind, over repeats, and what they are in draws of people with replacement.

    Parameters
    ----------
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    observed : ndarray of shape (n,) or (n_repeats, n)
        Numbers, or class codes.
    predicted : ndarray of shape (n_repeats, n) or (n_repeats, n, n_classes)
        Out-of-fold numbers, or probabilities; without the first axis for a single repeat.
    groups : ndarray of shape (n,)
        People, or larger units such as families; all rows of one are drawn together.
    tested : ndarray of shape (n,) or (n_repeats, n), bool, optional
        Rows that a repeat tested; where it is left out, those whose prediction is not NaN.
    n_bootstrap : int
        Draws; 0 for none.
    random_state : int
        The same seed and groups give the same draws, so that those of two arms are paired.

    Returns
    -------
    dict of str to Bootstrapped
        By metric. The value is the mean over repeats of the metric over the rows that the repeat tested. So is that
        of a draw, over the repeats that leave the metric defined.

    Raises
    ------
    AnalysisError
        A tested prediction is not finite, a repeat tested nobody, or the kind is unknown.

    Examples
    --------
    >>> found = bootstrap("continuous", np.array([1.0, 2.0]), np.array([1.0, 4.0]), np.array(["a", "b"]))
    >>> found["mae"].value, found["mae"].draws.shape
    (1.0, (2000,))
    """
    metrics = metrics_of(kind)
    repeats = as_repeats(kind, observed, predicted, groups, tested=tested)
    values = _each(metrics, repeats, np.ones((1, len(groups))))
    draws: dict[str, list[Floats]] = {name: [np.empty(0)] for name in metrics}
    for weights in _draws(groups, n_bootstrap, random_state):
        for name, one in _each(metrics, repeats, weights).items():
            draws[name].append(one)
    return {name: Bootstrapped(float(values[name][0]), np.concatenate(draws[name])) for name in metrics}


def _each(metrics: dict[str, Metric], repeats: Repeats, weights: Floats) -> dict[str, Floats]:
    """Every metric in every draw, mean over repeats."""
    found: dict[str, list[Floats]] = {name: [] for name in metrics}
    for observed, predicted, tested in zip(repeats.observed, repeats.predicted, repeats.tested, strict=True):
        drawn = weights if tested.all() else weights[:, tested]
        for name, one in metrics.items():
            found[name].append(one.function(observed[tested], predicted[tested], drawn))
    return {name: _mean_where_defined(np.array(each)) for name, each in found.items()}


def _mean_where_defined(each: Floats) -> Floats:
    """Mean over the first axis without the NaN; NaN where there is nothing else."""
    defined = np.isfinite(each)
    count = defined.sum(axis=0).astype(np.float64)
    total = np.where(defined, each, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def _draws(groups: Labels, n_bootstrap: int, random_state: int) -> Iterator[Floats]:
    """Weights of the rows, shape (n_chunk, n), how often each one's group was drawn."""
    people, person = np.unique(groups.astype(str), return_inverse=True)
    rng = np.random.default_rng(random_state)
    rows = max(1, CHUNK // len(groups))
    for start in range(0, n_bootstrap, rows):
        counts = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), min(rows, n_bootstrap - start))
        yield counts[:, person].astype(np.float64)


def interval(draws: Floats) -> tuple[float, float]:
    """Ends of the 95 % percentile interval.

    Parameters
    ----------
    draws : ndarray of shape (n_bootstrap,)
        NaN are left out; where most are NaN, or there are none, so are the ends.

    Examples
    --------
    >>> interval(np.arange(201.0)), interval(np.empty(0))
    ((5.0, 195.0), (nan, nan))
    """
    defined = draws[np.isfinite(draws)]
    if not len(draws) or len(defined) <= len(draws) / 2:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)


def by_definition(found: dict[str, Bootstrapped]) -> dict[str, Bootstrapped]:
    """The baseline's metrics, where a constant prediction has one by definition that instead, in all draws.

    Its predictions differ a little from fold to fold, for each fold has its own training people; a correlation
    with them, or a ranking by them, would measure the folds.

    Examples
    --------
    >>> chance = by_definition({"auc": Bootstrapped(0.43, np.array([0.4, 0.45]))})["auc"]
    >>> chance.value, chance.draws.tolist()
    (0.5, [0.5, 0.5])
    """
    return {name: _constant(name, one) for name, one in found.items()}


def _constant(metric: str, found: Bootstrapped) -> Bootstrapped:
    value = METRICS[metric].baseline
    return found if value is None else Bootstrapped(value, np.full_like(found.draws, value))
