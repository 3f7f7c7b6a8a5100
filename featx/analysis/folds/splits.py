"""Outer and inner folds. A group (a person's sessions, a family) is never on two sides; row order does not matter.

A `Design` is a list of `Split` values, whatever made them: (repeated) K-fold, leave-one-site-out, the labels of a
column, a table of an earlier run. What is fitted and scored on them does not ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from featx.analysis.folds.strata import CLASSES, NUMBERS, Labels, Rows, Values, make_folds, smallest
from featx.errors import TargetError

TRAIN_ONLY = -1

Pairs = Iterable[tuple[Rows, Rows]]


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
    """All divisions of a nested cross-validation.

    Attributes
    ----------
    fold : ndarray of shape (n_repeats, n_rows), int
        The outer fold in which a row is test, from 0; `TRAIN_ONLY` where it never is.
    splits : tuple of Split
        Repeat by repeat, fold by fold.
    final : Split
        Without test rows: for the head that is kept. It trains on every row that trains anywhere, so that a test
        cohort stays untouched.
    """

    fold: NDArray[np.int64]
    splits: tuple[Split, ...]
    final: Split

    @property
    def n_repeats(self) -> int:
        """How often everybody is tested."""
        return len(self.fold)


@dataclass(frozen=True)
class Folding:
    """How people are to be divided.

    Attributes
    ----------
    scheme : str
        "kfold", "site" (leave one site out) or "given" (the folds of a column or of a table).
    n_splits, n_inner, n_repeats : int
        `n_splits` and `n_repeats` are for "kfold". Where training people do not suffice, inner folds are fewer: as
        many as the smallest class has people, or half the people for numbers; at least two.
    by_site : bool
        Whether K folds are stratified by site as well.
    random_state : int
    """

    scheme: str = "kfold"
    n_splits: int = 10
    n_inner: int = 5
    n_repeats: int = 1
    by_site: bool = False
    random_state: int = 0


SCHEMES = ("kfold", "site", "given")


# --- groups ---------------------------------------------------------------------------------------------------


def join_groups(people: Iterable[object], families: Iterable[object] | None = None) -> NDArray[np.object_]:
    """The units that must not be divided: people, and all people who are linked by families.

    Parameters
    ----------
    people : iterable of length n_rows
    families : iterable of length n_rows, optional
        Any label that links people. A person may have rows in several families: then all of them are one unit.

    Returns
    -------
    ndarray of shape (n_rows,), object (str)
        The first of the unit's people, in order of their ids.

    Examples
    --------
    >>> join_groups(["a", "b", "c", "a"], ["1", "1", "2", "2"]).tolist()
    ['a', 'a', 'a', 'a']
    >>> join_groups(["a", "b"]).tolist()
    ['a', 'b']
    """
    own = np.array([str(one) for one in people], dtype=object)
    if families is None:
        return own
    leader = {person: person for person in own}

    def lead(person: str) -> str:
        while leader[person] != person:
            leader[person] = leader[leader[person]]
            person = leader[person]
        return person

    first: dict[str, str] = {}
    for person, family in zip(own, map(str, families), strict=True):
        one, other = lead(person), lead(first.setdefault(family, person))
        leader[max(one, other)] = min(one, other)
    return np.array([lead(person) for person in own], dtype=object)


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


# --- designs --------------------------------------------------------------------------------------------------


def make_design(
    y: Values,
    groups: Labels,
    folding: Folding,
    *,
    kind: str,
    name: str = "y",
    sites: Labels | None = None,
    given: NDArray[np.int64] | None = None,
) -> Design:
    """Outer folds, and inner folds within the training rows of each.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        Numbers, or class codes: folds are stratified by quantile of numbers, else by class.
    groups : ndarray of shape (n_rows,)
        From `join_groups`.
    folding : Folding
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    name : str
        The target, for messages.
    sites : ndarray of shape (n_rows,), optional
        For the scheme "site", and for folds that are stratified by site.
    given : ndarray of shape (n_repeats, n_rows), optional
        For the scheme "given": fold of every row, `TRAIN_ONLY` for rows that are never test.

    Raises
    ------
    TargetError
        too-few-people, too-few-sites, or divided-group where given folds divide a group.
    """
    groups = np.asarray(groups, dtype=str)
    if folding.scheme == "site" and sites is not None:
        fold = _by_site(groups, np.asarray(sites, dtype=str), name)[None]
    elif folding.scheme == "given" and given is not None:
        fold = given
        _check_undivided(fold, groups, name)
        if (fold == TRAIN_ONLY).all(axis=1).any():  # a repeat tests nobody
            raise TargetError("too-few-people", _emptied(name, len(y)))
    else:
        _check_enough(y, groups, kind=kind, name=name, n_splits=folding.n_splits)
        strata_of = sites if folding.by_site else None
        fold = np.stack([_deal(y, groups, kind, folding, (repeat, strata_of)) for repeat in range(folding.n_repeats)])
    splits = [
        _make_split((y, groups, kind, name), folding, (repeat, int(number)), fold[repeat])
        for repeat in range(len(fold))
        for number in np.unique(fold[repeat][fold[repeat] != TRAIN_ONLY])
    ]
    trains = np.unique(np.concatenate([split.train for split in splits]))
    final = Split(
        0, len(splits), trains, np.empty(0, dtype=np.intp), inner_folds((y, groups, kind, name), folding, trains)
    )
    return Design(fold, tuple(splits), final)


def restrict(design: Design, rows: Rows, y: Values, *, kind: str, name: str) -> Design:
    """The same folds for some rows only, such as those with a value of a phenotype; rows are counted anew.

    Raises
    ------
    TargetError
        too-few-people: a split is left without test or training people, or without a class.
    """
    place = np.full(design.fold.shape[1], -1, dtype=np.intp)
    place[rows] = np.arange(len(rows))

    def take(split: Split) -> Split:
        kept = place[split.train] >= 0
        test = place[split.test]
        inner = np.unique(split.inner[kept], return_inverse=True)[1]
        return replace(split, train=place[split.train][kept], test=test[test >= 0], inner=inner)

    restricted = Design(design.fold[:, rows], tuple(map(take, design.splits)), take(design.final))
    for split in (*restricted.splits, restricted.final):
        inner = [split.train[a] for a, _ in split.inner_pairs()]
        fewest = min([len(split.train), *map(len, inner)])
        if fewest < 2 or (split is not restricted.final and not len(split.test)):
            raise TargetError("too-few-people", _emptied(name, len(rows)))
        if kind in CLASSES and any(len(np.unique(y[a])) < len(np.unique(y)) for a in [split.train, *inner]):
            raise TargetError("too-few-people", _class_gone(name))
    return restricted


def sub_splits(split: Split) -> list[Split]:
    """The inner folds of a split as splits of their own, for out-of-fold predictions of its training rows.

    The inner folds of each are the remaining ones, so that no group is divided and nothing is dealt anew; there
    must be three or more.
    """
    return [
        Split(
            split.repeat,
            at,
            train=split.train[train],
            test=split.train[valid],
            inner=np.unique(split.inner[train], return_inverse=True)[1],
        )
        for at, (train, valid) in enumerate(split.inner_pairs())
    ]


def _deal(
    y: Values, groups: Labels, kind: str, folding: Folding, which: tuple[int, Labels | None]
) -> NDArray[np.int64]:
    repeat, sites = which
    seed = folding.random_state
    if repeat:
        seed = int(np.random.SeedSequence([folding.random_state, repeat]).generate_state(1)[0])
    return make_folds(y, groups, kind=kind, n_splits=folding.n_splits, random_state=seed, sites=sites)


def _by_site(groups: Labels, sites: Labels, name: str) -> NDArray[np.int64]:
    labels, fold = np.unique(sites, return_inverse=True)
    if len(labels) < 2:
        raise TargetError(
            "too-few-sites",
            f"leave-one-site-out must have two sites or more; the people of {name!r} are all of {str(labels[0])!r}; "
            "use K folds",
        )
    _check_undivided(fold[None], groups, name)
    return fold


def _check_undivided(fold: NDArray[np.int64], groups: Labels, name: str) -> None:
    for number, one in enumerate(fold):
        table = pd.DataFrame({"group": groups, "fold": one})
        divided = table.groupby("group")["fold"].nunique()
        divided = divided[divided > 1]
        if len(divided):
            raise TargetError(
                "divided-group",
                f"a group must be in one fold; {str(divided.index[0])!r} is in {int(divided.iloc[0])} of repeat "
                f"{number}, for {name!r}; give all images of a person or family one fold (or one site)",
            )


Problem = tuple[Values, Labels, str, str]


def _make_split(problem: Problem, folding: Folding, at: tuple[int, int], fold: NDArray[np.int64]) -> Split:
    train, test = np.flatnonzero(fold != at[1]), np.flatnonzero(fold == at[1])
    y, _, kind, name = problem
    if not len(train):
        raise TargetError("too-few-people", _emptied(name, len(y)))
    if kind in CLASSES and len(np.unique(y[train])) < len(np.unique(y)):
        raise TargetError("too-few-people", _class_gone(name))
    return Split(*at, train, test, inner_folds(problem, folding, train))


def inner_folds(problem: Problem, folding: Folding, train: Rows) -> NDArray[np.int64]:
    """Inner fold of every training row; a row that is there twice is in one fold.

    Parameters
    ----------
    problem : (y, groups, kind, name)
    folding : Folding
    train : ndarray of shape (n_train,), int

    Raises
    ------
    TargetError
        too-few-people.
    """
    y, groups, kind, name = problem
    most = smallest(y[train], groups[train], kind) // (2 if kind in NUMBERS else 1)
    if most < 2:
        raise TargetError("too-few-people", _too_few_inside(name, kind, len(np.unique(groups[train]))))
    n_splits = min(folding.n_inner, most)
    inner = make_folds(y[train], groups[train], kind=kind, n_splits=n_splits, random_state=folding.random_state)
    if kind in CLASSES and any(len(np.unique(y[train][a])) < len(np.unique(y[train])) for a, _ in fold_pairs(inner)):
        raise TargetError("too-few-people", _class_gone(name))
    return inner


# --- sentences ------------------------------------------------------------------------------------------------


def _check_enough(y: Values, groups: Labels, *, kind: str, name: str, n_splits: int) -> None:
    least = smallest(y, groups, kind)
    needed = 2 * n_splits if kind in NUMBERS else n_splits
    if least < needed:
        what = "people" if kind in NUMBERS else "people in each class"
        counted = f"{least} {'person or group' if least == 1 else 'people or groups'}"
        got = counted if kind in NUMBERS else f"a class with {counted}"
        raise TargetError(
            "too-few-people",
            f"a {kind} target must have at least {needed} {what} (or groups) for {n_splits} folds; "
            f"{name!r} has {got}; use fewer --folds, or add people",
        )


def _class_gone(name: str) -> str:
    return (
        f"every class must be in the training people of every fold; {name!r} has one whose people are all test in "
        "one fold; use fewer --folds, other splits, or add people"
    )


def _emptied(name: str, n: int) -> str:
    return (
        f"every fold must have test people and enough training people; {name!r}, with {n} images, leaves one "
        "without; use fewer --folds, other splits, or add people"
    )


def _too_few_inside(name: str, kind: str, n_people: int) -> str:
    needed = "four people" if kind in NUMBERS else "two people of every class"
    return (
        f"inner folds must have {needed} to choose a penalty on; {name!r} has fewer among the {n_people} people who "
        "train in one fold; add people, or use more --folds so that more of them train"
    )
