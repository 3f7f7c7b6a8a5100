"""Folds that are given: a table of splits of an earlier run, or a column of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.people import people_of
from featx.analysis.features import Images
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.errors import CohortError, TargetError

TRAIN, TEST = "train", "test"


def read_splits(path: Path) -> pd.DataFrame:
    """Read a table of splits: the splits.csv of a run, or one made by hand.

    Parameters
    ----------
    path : Path
        Columns of `featx.schema.SPLITS`; ``repeat`` may be left out (0), and ``target`` (all of them), and
        ``image_id`` (then a person's images share a fold).

    Raises
    ------
    CohortError
        No such table, or one that is empty, lacks a column, or tells folds twice or not in whole numbers.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise CohortError(
            f"a table of splits must be a readable CSV file; {path} is not ({type(error).__name__}); give the "
            "splits.csv of a run"
        ) from error
    for name, default in {"target": schema.SHARED, "repeat": "0", schema.IMAGE_ID: ""}.items():
        if name not in table:
            table[name] = default
    for name in (schema.PARTICIPANT_ID, "fold"):
        if name not in table:
            raise CohortError(
                f"a table of splits must have a column {name!r}; {path} has {', '.join(map(repr, table))}; add it"
            )
    for name, lowest in {"repeat": 0, "fold": TRAIN_ONLY}.items():
        table[name] = _whole_numbers(table[name], lowest, path)
    if not len(table):
        raise CohortError(f"a table of splits must have a row; {path} has none; give the splits.csv of a run")
    _check_told_once(table, path)
    _check_repeats(table, path)
    return table[schema.names(schema.SPLITS)]


def _whole_numbers(cells: pd.Series, lowest: int, path: Path) -> pd.Series:
    numbers = pd.to_numeric(cells, errors="coerce")
    bad = ~(np.isfinite(numbers) & (numbers % 1 == 0) & (numbers >= lowest))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise CohortError(
            f"the column {str(cells.name)!r} of a table of splits must hold whole numbers from {lowest}; {path} has "
            f"{cells.iloc[at]!r} in line {at + 2}; repair that line"
        )
    return numbers.astype(np.int64)


def _check_told_once(table: pd.DataFrame, path: Path) -> None:
    person = people_of(table[schema.PARTICIPANT_ID])
    twice = table.assign(person=person).duplicated(["person", schema.IMAGE_ID, "target", "repeat"]).to_numpy()
    if twice.any():
        raise CohortError(
            f"a table of splits must tell one fold per image, target and repeat; {path} tells two of "
            f"{str(table[schema.PARTICIPANT_ID].iloc[twice.argmax()])!r}; keep one"
        )


def _check_repeats(table: pd.DataFrame, path: Path) -> None:
    for target, own in table.groupby("target", sort=False)["repeat"]:
        found = sorted(set(own))
        if found != list(range(len(found))):
            raise CohortError(
                f"repeats of a table of splits must be counted from 0 without a gap; {path} has "
                f"{', '.join(map(str, found))} for {str(target)!r}; count them anew"
            )


def splits_from_labels(phenotypes: pd.DataFrame, column: str) -> pd.DataFrame:
    """Splits from a column of 'train' and 'test', or of names of folds, each of which is test in turn.

    Parameters
    ----------
    phenotypes : DataFrame
        With participant_id; people whose label is missing are left out.
    column : str

    Raises
    ------
    CohortError
        There is no such column, a person has two labels, or there are not two labels.

    Examples
    --------
    >>> people = pd.DataFrame({"participant_id": ["a", "b"], "cohort": ["train", "test"]})
    >>> splits_from_labels(people, "cohort")["fold"].tolist()
    [-1, 0]
    """
    if column not in phenotypes:
        raise CohortError(
            f"the column of splits must be in the phenotype table; {column!r} is not; it has "
            f"{', '.join(map(repr, list(phenotypes)[:20]))}"
        )
    table = pd.DataFrame({"person": people_of(phenotypes[schema.PARTICIPANT_ID]), "label": phenotypes[column]})
    table = table.dropna().astype(str).drop_duplicates()
    twice = table[table["person"].duplicated()]
    if len(twice):
        raise CohortError(
            f"a person must be on one side; {twice['person'].iloc[0]!r} has two labels in {column!r}; give one"
        )
    labels = sorted(set(table["label"]))
    if len(labels) < 2:
        has = ", ".join(map(repr, labels)) or "none"
        raise CohortError(
            f"the column of splits must have two labels or more; {column!r} has {has}; "
            "write 'train' and 'test', or the folds' names"
        )
    plain = {label.strip().casefold() for label in labels}
    is_cohort = plain == {TRAIN, TEST} and len(labels) == 2
    if not is_cohort and plain & {TRAIN, TEST}:
        raise CohortError(
            f"the column of splits must hold 'train' and 'test' and nothing else, or names of folds; {column!r} has "
            f"{', '.join(map(repr, labels))}; leave other people empty, or rename the folds"
        )
    cohorts = {label: TRAIN_ONLY if label.strip().casefold() == TRAIN else 0 for label in labels}
    code = cohorts if is_cohort else {label: at for at, label in enumerate(labels)}
    return pd.DataFrame(
        {
            "target": schema.SHARED,
            schema.IMAGE_ID: "",
            schema.PARTICIPANT_ID: table["person"].to_numpy(),
            "repeat": 0,
            "fold": [code[one] for one in table["label"]],
        }
    )


def given_folds(table: pd.DataFrame | None, images: Images, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Folds of images by a table of splits.

    Parameters
    ----------
    table : DataFrame
        Columns of `featx.schema.SPLITS`. A row without an image_id is of all images of its person.
    images : Images
    name : str
        The target, or `featx.schema.SHARED`. Where the table does not tell of a target, what it tells of all; for
        all targets, the folds of the only one that it tells of.

    Returns
    -------
    fold : ndarray of shape (n_repeats, n_images), int
        `TRAIN_ONLY` where the table says so, or says nothing.
    known : ndarray of shape (n_images,), bool
        Whether the table tells of the image in every repeat.

    Raises
    ------
    CohortError
        There is no table.
    TargetError
        not-in-splits.
    """
    if table is None:
        raise CohortError("given folds must come with a table of splits; there is none; give --splits FILE")
    own = table[table["target"] == name]
    own = own if len(own) else table[table["target"] == schema.SHARED]
    if not len(own) and name == schema.SHARED and table["target"].nunique() == 1:
        own = table  # the folds of one target, for all of them
    if not len(own):
        raise TargetError(
            "not-in-splits",
            f"given splits must tell the folds of a target, or those of all ({schema.SHARED!r}); {name!r} is not "
            f"there; they tell of {', '.join(map(repr, sorted(set(table['target']))))}; add it, or let folds be made",
        )
    n_repeats = int(own["repeat"].max()) + 1
    fold = np.full((n_repeats, len(images.image_id)), TRAIN_ONLY, dtype=np.int64)
    told = np.zeros_like(fold, dtype=bool)
    by_image = {
        (str(image), int(repeat)): int(number)
        for image, repeat, number in zip(own[schema.IMAGE_ID], own["repeat"], own["fold"], strict=True)
    }
    people = people_of(own[schema.PARTICIPANT_ID])
    by_person = {
        (str(person), int(repeat)): int(number)
        for person, repeat, number, image in zip(
            people, own["repeat"], own["fold"], own[schema.IMAGE_ID], strict=True
        )
        if not image
    }
    for at, (image, person) in enumerate(zip(images.image_id, people_of(images.participant_id), strict=True)):
        for repeat in range(n_repeats):
            number = by_image.get((str(image), repeat), by_person.get((str(person), repeat)))
            if number is not None:
                fold[repeat, at], told[repeat, at] = number, True
    return fold, np.asarray(told.all(axis=0), dtype=bool)
