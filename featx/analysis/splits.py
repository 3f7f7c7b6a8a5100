"""Outer and inner folds. A participant is never on two sides, and the order of the rows does not matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedKFold

from featx.analysis.cohort.targets import CONTINUOUS
from featx.errors import TargetError

MOST_QUANTILES = 10
TEST = -1

Rows = NDArray[np.intp]
Pairs = Iterable[tuple[Rows, Rows]]
Labels = NDArray[np.object_] | NDArray[np.str_]


@dataclass(frozen=True)
class Split:
    """One division of the rows.

    Attributes
    ----------
    repeat, fold : int
        Counted from 0.
    train : ndarray of shape (n_train,), int
        Rows; one may be there several times (draws with replacement).
    test : ndarray of shape (n_test,), int
        Rows; none for the head that is fitted on everybody.
    inner : ndarray of shape (n_train,), int
        Inner fold of each entry of `train`, from 0.
    """

    repeat: int
    fold: int
    train: Rows
    test: Rows
    inner: NDArray[np.int64]

    def inner_pairs(self) -> list[tuple[Rows, Rows]]:
        """Training and validation entries of the inner folds, as positions within `train`."""
        return list(fold_pairs(self.inner))


@dataclass(frozen=True)
class Design:
    """All folds of a nested cross-validation.

    Attributes
    ----------
    fold : ndarray of shape (n_images,), int
        The outer fold in which a row is test, from 0.
    inner : tuple of ndarray of shape (n_images,), int
        inner[k] is the inner fold of each training row while outer fold k is test, and `TEST` for the test
        rows; the last entry is for the head that is fitted on all rows.
    """

    fold: NDArray[np.int64]
    inner: tuple[NDArray[np.int64], ...]

    @property
    def n_splits(self) -> int:
        """Number of outer folds."""
        return len(self.inner) - 1

    def rows(self, k: int) -> tuple[Rows, Rows]:
        """Training and test rows of outer fold k; all rows and none for k = n_splits."""
        return np.flatnonzero(self.fold != k), np.flatnonzero(self.fold == k)

    def inner_pairs(self, k: int) -> list[tuple[Rows, Rows]]:
        """Training and validation rows of the inner folds, counted within the training rows of outer fold k."""
        inner = self.inner[k][self.fold != k]
        return list(fold_pairs(inner))


def fold_pairs(fold: ArrayLike) -> Iterator[tuple[Rows, Rows]]:
    """Rows outside and inside of each fold, in the order of the folds' numbers.

    Examples
    --------
    >>> [(a.tolist(), b.tolist()) for a, b in fold_pairs([0, 1, 0])]
    [([1], [0, 2]), ([0, 2], [1])]
    """
    fold = np.asarray(fold)
    for number in np.unique(fold):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def make_design(
    y: NDArray[np.float64] | NDArray[np.int64],
    groups: Labels,
    *,
    kind: str,
    name: str = "y",
    n_splits: int = 10,
    n_inner: int = 5,
    random_state: int = 0,
) -> Design:
    """Outer folds, and inner folds within the training rows of each.

    Parameters
    ----------
    y : ndarray of shape (n_images,)
        Numbers, or class codes.
    groups : ndarray of shape (n_images,)
        Participants.
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`: folds are stratified by quantile for numbers, else by class.
    name : str
        The target, for messages.
    n_splits, n_inner : int
        Outer and inner folds. Where training people do not suffice, inner folds are fewer: as many as the
        smallest class has people, or half the people for numbers; at least two.
    random_state : int

    Raises
    ------
    TargetError
        too-few-people.
    """
    groups = np.asarray(groups, dtype=str)
    _check_enough(y, groups, kind=kind, name=name, n_splits=n_splits)
    fold = make_folds(y, groups, kind=kind, n_splits=n_splits, random_state=random_state)
    if kind != CONTINUOUS:
        _check_classes_everywhere(y, fold, name)
    inner = []
    for k in range(n_splits + 1):
        train = np.flatnonzero(fold != k)
        most = _smallest(y[train], groups[train], kind) // (2 if kind == CONTINUOUS else 1)
        if most < 2:
            raise TargetError("too-few-people", _too_few_inside(name, kind, k, n_splits))
        within = np.full(len(y), TEST, dtype=np.int64)
        within[train] = make_folds(
            y[train], groups[train], kind=kind, n_splits=min(n_inner, most), random_state=random_state
        )
        if kind != CONTINUOUS:
            _check_classes_everywhere(y[train], within[train], name)
        inner.append(within)
    return Design(fold, tuple(inner))


def make_folds(
    y: NDArray[np.float64] | NDArray[np.int64],
    groups: Labels,
    *,
    kind: str,
    n_splits: int,
    random_state: int,
) -> NDArray[np.int64]:
    """Fold number of every row.

    People, not rows, are dealt out, sorted by id, so that a person's images stay together. A person counts to the
    stratum of the median of their values, or of their commonest class (the first of equally common ones).
    """
    people, person = np.unique(groups, return_inverse=True)
    if kind == CONTINUOUS:
        strata = _quantiles(_medians(y.astype(np.float64), person), n_splits)
    else:
        strata = _commonest(y, person, len(people))
    fold = np.empty(len(people), dtype=np.int64)
    dealer = StratifiedKFold(n_splits, shuffle=True, random_state=random_state)
    for number, (_, test) in enumerate(dealer.split(np.zeros(len(people)), strata)):
        fold[test] = number
    of_rows: NDArray[np.int64] = fold[person]
    return of_rows


def _commonest(y: NDArray[np.float64] | NDArray[np.int64], person: Rows, n_people: int) -> NDArray[np.int64]:
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


def _smallest(y: NDArray[np.float64] | NDArray[np.int64], groups: Labels, kind: str) -> int:
    """People in the smallest class, each counted once, to their commonest; all people for numbers."""
    people, person = np.unique(groups, return_inverse=True)
    if kind == CONTINUOUS:
        return len(people)
    strata = _commonest(y, person, len(people))
    return min(int((strata == level).sum()) for level in np.unique(y))


def _check_enough(
    y: NDArray[np.float64] | NDArray[np.int64], groups: Labels, *, kind: str, name: str, n_splits: int
) -> None:
    smallest = _smallest(y, groups, kind)
    needed = 2 * n_splits if kind == CONTINUOUS else n_splits
    if smallest < needed:
        what = "people" if kind == CONTINUOUS else "people in each class"
        got = f"{smallest} people" if kind == CONTINUOUS else f"a class with {smallest} people"
        raise TargetError(
            "too-few-people",
            f"a {kind} target must have at least {needed} {what} for {n_splits} folds; {name!r} has {got}; "
            "use fewer --folds, or add people",
        )


def _check_classes_everywhere(y: NDArray[np.int64] | NDArray[np.float64], fold: NDArray[np.int64], name: str) -> None:
    n_classes = len(np.unique(y))
    for train, test in fold_pairs(fold):
        if len(np.unique(y[train])) < n_classes:
            raise TargetError(
                "too-few-people",
                f"every class must be in the training people of every fold; {name!r} has one whose people are all "
                f"among the {len(test)} test rows of one fold; use fewer --folds, or add people",
            )


def _too_few_inside(name: str, kind: str, k: int, n_splits: int) -> str:
    where = "all people" if k == n_splits else f"the training people of outer fold {k}"
    needed = "four people" if kind == CONTINUOUS else "two people of every class"
    return (
        f"inner folds must have {needed} to choose a penalty on; {name!r} has fewer in {where}; "
        "add people, or use more --folds so that more of them train"
    )
