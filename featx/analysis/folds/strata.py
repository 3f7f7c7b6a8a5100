"""Dealing people out to folds: groups stay whole, and every fold gets its share of every stratum."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS, ORDINAL

MOST_QUANTILES = 10
NUMBERS = (CONTINUOUS, ORDINAL)
CLASSES = (BINARY, MULTICLASS)

Rows = NDArray[np.intp]
Labels = NDArray[np.object_] | NDArray[np.str_]
Values = NDArray[np.float64] | NDArray[np.int64]


def make_folds(
    y: Values, groups: Labels, *, kind: str, n_splits: int, random_state: int, sites: Labels | None = None
) -> NDArray[np.int64]:
    """Fold number of every row.

    Groups, not rows, are dealt out, sorted by id, so that their images stay together. A group counts to the
    stratum of the median of its values, or of its commonest class (the first of equally common ones). With sites,
    a site's part of a stratum is a stratum of its own where it has as many groups as there are folds.
    """
    people, person = np.unique(groups, return_inverse=True)
    if kind in NUMBERS:
        strata = _quantiles(_medians(y.astype(np.float64), person), n_splits)
    else:
        strata = commonest(y, person, len(people))
    if sites is not None:
        first = np.unique(person, return_index=True)[1]
        strata = _cross(strata, np.unique(np.asarray(sites, dtype=str)[first], return_inverse=True)[1], n_splits)
    fold = np.empty(len(people), dtype=np.int64)
    dealer = StratifiedKFold(n_splits, shuffle=True, random_state=random_state)
    for number, (_, test) in enumerate(dealer.split(np.zeros(len(people)), strata)):
        fold[test] = number
    of_rows: NDArray[np.int64] = fold[person]
    return of_rows


def commonest(y: Values, person: Rows, n_people: int) -> NDArray[np.int64]:
    """The commonest class of every person."""
    counts = np.zeros((n_people, int(y.max()) + 1), dtype=np.int64)
    np.add.at(counts, (person, y.astype(np.int64)), 1)
    return np.asarray(counts.argmax(axis=1), dtype=np.int64)


def _medians(y: NDArray[np.float64], person: Rows) -> NDArray[np.float64]:
    return np.asarray(pd.Series(y).groupby(person).median(), dtype=np.float64)


def _quantiles(values: NDArray[np.float64], n_splits: int) -> NDArray[np.int64]:
    """Strata of equal size by rank, each with at least n_splits people; ties are broken by the order of the ids."""
    n_strata = max(1, min(MOST_QUANTILES, len(values) // n_splits))
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return rank * n_strata // len(values)


def _cross(strata: NDArray[np.int64], sites: Rows, n_splits: int) -> NDArray[np.int64]:
    """Stratum and site together; what is too small to be dealt goes back to its stratum's rest, or the largest."""
    _, cell, size = np.unique(np.column_stack([strata, sites]), axis=0, return_inverse=True, return_counts=True)
    merged = np.where(size[cell] < n_splits, strata, len(strata) + cell.ravel())
    left, place, rest = np.unique(merged, return_inverse=True, return_counts=True)
    return np.where(rest[place] < n_splits, left[rest.argmax()], merged)


def smallest(y: Values, groups: Labels, kind: str) -> int:
    """Groups in the smallest class, each counted once, to their commonest; all groups for numbers."""
    people, person = np.unique(groups, return_inverse=True)
    if kind in NUMBERS:
        return len(people)
    strata = commonest(y, person, len(people))
    return min(int((strata == level).sum()) for level in np.unique(y))
