"""Whether runs scored the same people on the same folds, target by target; refused where they did not.

Runs that test the same people in the same folds, and differ in who else trains, are of several sizes: those of the
largest size are compared, the smaller ones are points of curves. So are, on demand, runs of smaller cohorts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.people import people_of
from featx.analysis.comparing.reading import Entry
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.folds.strata import NUMBERS, Values
from featx.errors import AnalysisError

MOST_NAMED = 5
Folds = NDArray[np.int64]


@dataclass(frozen=True)
class Side:
    """Who was tested, and when, for one target of one run.

    Attributes
    ----------
    name : str
        Of the run.
    target : mapping
        Its facts, of run.json.
    people : Series
        participant_id by image_id, of images that were tested, in the order of their ids.
    observed : Series
        Text, in the same order.
    units : Series, optional
        What draws of people keep whole, a person or a group, where the run tells.
    fold : ndarray of shape (n_repeats, n), int
        The fold in which each of these images was test; -1 where it was not. Seeds are no repeats here.
    trainers : frozenset of str
        Images that are never tested.
    shares : bool
        Whether all targets share the folds; `trainers` hold images without a value of this one as well then.
    n_people : float
        People who train, mean over folds.
    n_train, n_test : float
        Images that train and that test, mean over folds.
    """

    name: str
    target: Mapping[str, Any]
    people: pd.Series
    observed: pd.Series
    units: pd.Series | None
    fold: Folds
    trainers: frozenset[str]
    shares: bool
    n_people: float
    n_train: float
    n_test: float


@dataclass(frozen=True)
class Common:
    """What the runs of one target have in common.

    Attributes
    ----------
    name, kind, unit : str
    classes : tuple of str
    images : ndarray of shape (n,), object (str)
    people, units : ndarray of shape (n,), object (str)
        Participants, and what draws of people keep whole.
    observed : ndarray of shape (n,)
        Numbers, or class codes.
    fold : ndarray of shape (n_repeats, n), int
        -1 where a repeat does not test an image.
    n_people, n_train, n_test : float
        As of `Side`.
    runs : tuple of str
        Those that are compared.
    smaller : mapping of str to int
        Runs that were trained on fewer people, to how many: points of curves.
    """

    name: str
    kind: str
    unit: str
    classes: tuple[str, ...]
    images: NDArray[np.object_]
    people: NDArray[np.object_]
    units: NDArray[np.object_]
    observed: Values
    fold: Folds
    n_people: float
    n_train: float
    n_test: float
    runs: tuple[str, ...]
    smaller: Mapping[str, int]


def side_of(entry: Entry, target: Mapping[str, Any]) -> Side:
    """Who was tested in a run, for one of its targets."""
    if entry.run is None:
        raise TypeError(f"a side must be of a run; {entry.name} is none; report this as a fault of featx")
    name, n_seeds = str(target["name"]), int(target.get("n_seeds", 1))
    predictions = entry.run.predictions[name]
    first = predictions.groupby(["features", "head", "confounds"], sort=False).ngroup() == 0
    own = predictions[first & (predictions["repeat"] % n_seeds == 0)]
    fold = own.assign(repeat=own["repeat"] // n_seeds).pivot(
        index="repeat", columns=schema.IMAGE_ID, values="fold"
    )  # sorted by both
    once = own.drop_duplicates(schema.IMAGE_ID).set_index(schema.IMAGE_ID).loc[list(fold.columns)]
    splits = entry.run.splits[entry.run.splits["target"].isin([name, schema.SHARED])]
    tests = own.groupby(["repeat", "fold"])
    n_test = float(tests.size().mean())
    n_tested = float(np.mean([len(set(people_of(rows[schema.PARTICIPANT_ID]))) for _, rows in tests]))
    return Side(
        name=entry.name,
        target=target,
        people=once[schema.PARTICIPANT_ID],
        observed=once["observed"],
        units=_units(entry.run.people, once.index),
        fold=fold.fillna(TRAIN_ONLY).to_numpy(dtype=np.int64),
        trainers=frozenset(splits[schema.IMAGE_ID]) - frozenset(once.index),
        shares=bool((splits["target"] == schema.SHARED).any()),
        n_people=float(target["n_people"]) - n_tested,
        n_train=float(target["n_images"]) - n_test,
        n_test=n_test,
    )


def _units(people: pd.DataFrame, images: pd.Index) -> pd.Series | None:
    """Groups of these images, as the run tells them."""
    if (people["group"] == "").all():
        return None
    found: pd.Series = people.set_index(schema.IMAGE_ID)["group"].loc[images]
    return found


def by_people(sides: Sequence[Side]) -> list[list[Side]]:
    """Sides that tested the same images, those that trained on most people first.

    Raises
    ------
    AnalysisError
        They differ in the phenotype, or in what was observed of one image.
    """
    found: dict[frozenset[str], list[Side]] = {}
    for side in sides:
        _check_target(sides[0], side)
        for other in found.values():
            _check_observed(other[0], side, [one for one in other[0].people.index if one in side.people.index])
        found.setdefault(frozenset(side.people.index), []).append(side)
    return sorted(found.values(), key=lambda own: -max(side.n_people for side in own))


def match(sides: Sequence[Side], *, shared: bool) -> Common:
    """What the sides of one target have in common.

    Parameters
    ----------
    sides : sequence of Side
        The first is what the others are held against.
    shared : bool
        Whether only the images that all have are compared; who trained is another matter then.

    Raises
    ------
    AnalysisError
        They differ in the phenotype, in who was tested, in what was observed, in the folds, or in who trained.
    """
    first = sides[0]
    for other in sides[1:]:
        _check_target(first, other)
        if not shared:
            _check_people(first, other)
    images = [one for one in first.people.index if all(one in side.people.index for side in sides[1:])]
    if not images:
        raise AnalysisError(
            f"runs must share people to be compared; {_runs(sides)} share none for {first.target['name']!r}; "
            "fit them on one cohort"
        )
    n_repeats = min(len(side.fold) for side in sides)
    for other in sides[1:]:
        _check_observed(first, other, images)
        _check_folds(first, other, images, n_repeats)
    whole, smaller = list(sides), {}
    if not shared:
        whole = [side for side in sides if side.n_train == max(one.n_train for one in sides)]
        smaller = {side.name: round(side.n_people) for side in sides if side not in whole}
        for other in whole[1:]:
            _check_trainers(whole[0], other)
    return _common(whole, images, n_repeats, smaller)


def _common(whole: Sequence[Side], images: Sequence[str], n_repeats: int, smaller: Mapping[str, int]) -> Common:
    first = whole[0]
    kind, classes = str(first.target["kind"]), [str(level) for level in first.target["classes"]]
    text = first.observed.loc[list(images)]
    people = people_of(first.people.loc[list(images)])
    units = next((side.units for side in whole if side.units is not None), None)
    codes: Mapping[str, float] = {} if kind in NUMBERS else {level: at for at, level in enumerate(classes)}
    observed = np.array([codes[one] if codes else float(one) for one in text])
    return Common(
        name=str(first.target["name"]),
        kind=kind,
        unit=str(first.target.get("unit", "")),
        classes=tuple(classes),
        images=np.array(images, dtype=object),
        people=people,
        units=people if units is None else units.loc[list(images)].to_numpy(dtype=object),
        observed=observed.astype(np.int64) if codes else observed,
        fold=_folds(first, images, n_repeats),
        n_people=float(np.mean([side.n_people for side in whole])),
        n_train=float(np.mean([side.n_train for side in whole])),
        n_test=float(np.mean([side.n_test for side in whole])),
        runs=tuple(side.name for side in whole),
        smaller=smaller,
    )


def _folds(side: Side, images: Sequence[str], n_repeats: int) -> Folds:
    """Folds of these images, shape (n_repeats, n)."""
    return np.asarray(side.fold[:n_repeats][:, side.people.index.get_indexer(pd.Index(images))])


def _runs(sides: Sequence[Side]) -> str:
    return " and ".join(side.name for side in sides)


def _named(images: Sequence[str]) -> str:
    more = f" and {len(images) - MOST_NAMED} more" if len(images) > MOST_NAMED else ""
    return ", ".join(images[:MOST_NAMED]) + more


# --- what is refused ------------------------------------------------------------------------------------------


def _check_target(first: Side, other: Side) -> None:
    for what in ("kind", "classes"):
        a, b = first.target[what], other.target[what]
        if a != b:
            raise AnalysisError(
                f"a target must be the same phenotype in all runs; the {what} of {first.target['name']!r} is {a} in "
                f"{first.name} and {b} in {other.name}; fit both on one phenotype table"
            )


def _check_people(first: Side, other: Side) -> None:
    a, b = set(first.people.index), set(other.people.index)
    if a == b:
        return
    lacks = [
        f"{len(gone)} of {there.name} are not in {here.name} ({_named(sorted(gone))})"
        for gone, there, here in ((a - b, first, other), (b - a, other, first))
        if gone
    ]
    raise AnalysisError(
        f"runs must have tested the same images to be compared; for {first.target['name']!r}, {' and '.join(lacks)}; "
        f"fit both with --splits {first.name}/{schema.SPLITS_CSV}, or compare whom they share with --shared-people, "
        "or cohorts of several sizes with --over-n"
    )


def _check_observed(first: Side, other: Side, images: Sequence[str]) -> None:
    a, b = (side.observed.loc[list(images)].to_numpy() for side in (first, other))
    if first.target["kind"] in NUMBERS:
        a, b = a.astype(np.float64), b.astype(np.float64)
    differ = np.flatnonzero(a != b)
    if len(differ):
        at = int(differ[0])
        raise AnalysisError(
            f"a phenotype must have the same values in all runs; {first.target['name']!r} differs for {len(differ)} "
            f"of {len(images)} images, the first {images[at]}: {a[at]} in {first.name}, {b[at]} in {other.name}; fit "
            "both on one phenotype table"
        )


def _check_folds(first: Side, other: Side, images: Sequence[str], n_repeats: int) -> None:
    """Folds may have other numbers; they must be the same people."""
    a, b = (_folds(side, images, n_repeats) for side in (first, other))
    for repeat in range(n_repeats):
        differ = np.flatnonzero(_renumbered(a[repeat]) != _renumbered(b[repeat]))
        if len(differ):
            raise AnalysisError(
                f"runs must have the same folds to be compared; for {first.target['name']!r}, {first.name} and "
                f"{other.name} differ in {len(differ)} of {len(images)} images of repeat {repeat}, the first "
                f"{images[int(differ[0])]}; fit one of them with --splits of the other"
            )


def _renumbered(fold: Folds) -> Folds:
    """Folds numbered in the order in which they first come, -1 staying -1."""
    order = {number: at for at, number in enumerate(dict.fromkeys(int(one) for one in fold if one != TRAIN_ONLY))}
    return np.array([order.get(int(one), TRAIN_ONLY) for one in fold], dtype=np.int64)


def _check_trainers(first: Side, other: Side) -> None:
    if first.trainers == other.trainers or first.shares != other.shares:
        return  # of folds of two kinds the sets cannot be told; their sizes are equal
    differ = sorted(first.trainers ^ other.trainers)
    raise AnalysisError(
        f"runs must have trained on the same images to be compared; for {first.target['name']!r}, {len(differ)} only "
        f"train in one of {first.name} and {other.name} ({_named(differ)}); fit one of them with --splits of the "
        "other, or compare all the same with --shared-people"
    )
