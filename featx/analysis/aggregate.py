"""Slices that are kept apart in a feature file become one row per image; which sets there are to choose from then."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featx.errors import AnalysisError, StoreError, known
from featx.featureset import FeatureSet

SLICES = "slices"  # the pooling of sets of shape (n_images, n_slices, n_features)
CONCAT = "concat"
AGGREGATIONS = ("mean", "max", "std", CONCAT)


def check_aggregation(how: str) -> None:
    """Refuse an unknown way to pool slices.

    Raises
    ------
    AnalysisError
    """
    if how not in AGGREGATIONS:
        raise AnalysisError(f"a way to aggregate slices must be known; {how!r} is not; {known(AGGREGATIONS)}")


def aggregated_name(name: str, how: str) -> str:
    """The name that a set of slices has once they are pooled; that of any other set is its own.

    Raises
    ------
    AnalysisError
        An unknown way to pool.

    Examples
    --------
    >>> aggregated_name("a.x/axial/t/slices", "max"), aggregated_name("a.x/axial/t/mean", "max")
    ('a.x/axial/t/max', 'a.x/axial/t/mean')
    """
    check_aggregation(how)
    place, _, pooling = name.rpartition("/")
    return f"{place}/{how}" if place and pooling == SLICES else name


def sources_of(stored: Iterable[str], how: str) -> dict[str, str]:
    """The sets that can be chosen, each with the stored one that it is made of.

    Where a file holds a set of the very name that slices would get, that one is taken.

    Examples
    --------
    >>> sources_of(["a.x/axial/t/slices", "a.x/axial/t/max"], "mean")
    {'a.x/axial/t/mean': 'a.x/axial/t/slices', 'a.x/axial/t/max': 'a.x/axial/t/max'}
    >>> sources_of(["a.x/axial/t/slices", "a.x/axial/t/mean"], "mean")
    {'a.x/axial/t/mean': 'a.x/axial/t/mean'}
    """
    check_aggregation(how)
    stored = list(stored)
    made = {aggregated_name(one, how): one for one in stored}
    return made | {one: one for one in stored if aggregated_name(one, how) == one}


def source_of(name: str, stored: Iterable[str]) -> str | None:
    """The stored set that a set of this name is, or can be made of; None where there is none.

    Examples
    --------
    >>> source_of("a.x/axial/t/max", ["a.x/axial/t/mean", "a.x/axial/t/slices"])
    'a.x/axial/t/slices'
    >>> source_of("volumes", ["a.x/axial/t/slices"])
    """
    there = set(stored)
    if name in there:
        return name
    place, _, how = name.rpartition("/")
    return f"{place}/{SLICES}" if how in AGGREGATIONS and f"{place}/{SLICES}" in there else None


def aggregate(one: FeatureSet, how: str) -> FeatureSet:
    """One row per image of a set whose slices are apart, as if it had been extracted with that pooling.

    Parameters
    ----------
    one : FeatureSet
        X of shape (n_images, n_slices, n_features). A set with one row per image is given back as it is.
    how : str
        One of `AGGREGATIONS`: over slices the mean, the largest value or the standard deviation (divisor n_slices),
        or all of them one behind the other.

    Returns
    -------
    FeatureSet
        Of shape (n_images, n_features), or (n_images, n_slices * n_features); float32, sums are in float64. Name and
        provenance have the new pooling, so that its key is that of a set that was extracted so.

    Raises
    ------
    AnalysisError
        An unknown way to pool.
    StoreError
        Name, provenance and shape of the set contradict each other.
    """
    name = aggregated_name(one.name, how)
    apart = (name != one.name, one.provenance["pooling"] == SLICES, one.X.ndim == 3)
    if not any(apart):
        return one
    if not all(apart):
        raise StoreError(
            f"a feature set with the pooling {SLICES!r} must be of images, slices and features; {one.name!r} has the "
            f"pooling {one.provenance['pooling']!r} and the shape {one.X.shape}; extract again"
        )
    return replace(one, name=name, X=_pooled(one.X, how), provenance={**one.provenance, "pooling": how})


def _pooled(X: NDArray[np.floating], how: str) -> NDArray[np.floating]:
    """Over the second axis; no copy is larger than what comes out, in float64."""
    if how == CONCAT:
        return np.asarray(X.reshape(len(X), -1))
    if how == "max":
        return np.asarray(X.max(axis=1))
    mean = np.asarray(X.mean(axis=1, dtype=np.float64))
    if how == "mean":
        return np.asarray(mean, dtype=X.dtype)
    squares = np.zeros_like(mean)
    for slice_ in np.moveaxis(X, 1, 0):
        squares += (slice_ - mean) ** 2
    return np.asarray(np.sqrt(squares / X.shape[1]), dtype=X.dtype)


def n_slices(provenance: Mapping[str, str], n_features: int) -> int:
    """How many slices stand one behind the other in a row, by the recipe; 0 where they do not.

    Examples
    --------
    >>> recipe = '{"view": [{"step": "slices", "count": 17}, {"step": "resize", "size": 224}]}'
    >>> n_slices({"pooling": "concat", "recipe": recipe}, 17 * 512), n_slices({"pooling": "mean", "recipe": ""}, 512)
    (17, 0)
    """
    if provenance["pooling"] != CONCAT:
        return 0
    try:
        steps = json.loads(provenance["recipe"])["view"]
        count = next((len(one.get("shown", ())) or int(one["count"]) for one in steps if one["step"] == SLICES), 0)
    except (ValueError, KeyError, TypeError):
        return 0
    return count if count > 0 and n_features % count == 0 else 0
