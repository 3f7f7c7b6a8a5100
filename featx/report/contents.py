"""People, classes, folds, and what is missing: a run's tables as what the page says. Nothing here draws or reads.

The columns of every table are those of `featx.schema`. Nothing is made up: where a run does not say, the page does
not either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from featx import schema
from featx.analysis.cohort.people import people_of
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.folds.strata import NUMBERS
from featx.report.privacy import ends_of, hidden
from featx.report.wording import count, decimals, number

MOST_ROWS = 200


@dataclass(frozen=True)
class Group:
    """Rows of exclusions or failures of one reason, most frequent first."""

    code: str
    meaning: str
    n: int
    shown: str
    where: str


@dataclass(frozen=True)
class Listing:
    """Rows of a stored table, as many as the page shows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int


# --- people ---------------------------------------------------------------------------------------------------


def first_repeat(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions as figures show them: of the first repeat, less what confounds say of a residualised target.

    Parameters
    ----------
    predictions : DataFrame
        Columns of `featx.schema.PREDICTIONS`, rows of one target.

    Returns
    -------
    DataFrame
        As given; observed and predicted are float64 numbers in rows that have a confounds' part.
    """
    own = predictions[predictions["repeat"] == 0]
    if schema.CONFOUND_PART not in own or not (has_part := own[schema.CONFOUND_PART].notna()).any():
        return own
    own = own.astype({"observed": object, "predicted": object})
    for name in ("observed", "predicted"):
        own.loc[has_part, name] = own.loc[has_part, name].astype(float) - own.loc[has_part, schema.CONFOUND_PART]
    return own


def scored_images(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per scored image, whatever arm and repeat it was scored in."""
    return predictions.drop_duplicates(schema.IMAGE_ID)


def numeric_summary(images: pd.DataFrame, least: int = 0) -> dict[str, str]:
    """n, mean, SD, median and range of a target of numbers over its scored images.

    Parameters
    ----------
    images : DataFrame
    least : int
        Where it is not 0, the range is that of the 5th to the 95th percentile, and of fewer people nothing is told.
    """
    values = images["observed"].astype(float)
    places = decimals([values.std(ddof=1) / 20]) if len(values) > 1 else None
    low, high = ends_of(values) if least else (values.min(), values.max())
    told = {
        "mean": number(values.mean(), places),
        "SD": number(values.std(ddof=1), places) if len(values) > 1 else "–",
        "median": number(values.median(), places),
        "5th to 95th percentile" if least else "range": f"{number(low, places)} to {number(high, places)}",
    }
    return size_summary(images) | (dict.fromkeys(told, "–") if len(images) < least else told)


def size_summary(images: pd.DataFrame) -> dict[str, str]:
    """Images and people of a target."""
    return {"images": f"{len(images):,}", "people": f"{len(set(people_of(images[schema.PARTICIPANT_ID]))):,}"}


def class_summary(images: pd.DataFrame, levels: Mapping[str, str], least: int = 0) -> list[tuple[str, str, str]]:
    """Label, images and share of each level over the scored images.

    Parameters
    ----------
    images : DataFrame
    levels : mapping of str to str
        Level as observed, to its label.
    least : int
        Levels of fewer images are not counted.
    """
    found = images["observed"].value_counts()
    counts = {label: int(found.get(level, 0)) for level, label in levels.items()}
    return [
        (label, "–", "–") if gone else (label, f"{n:,}", f"{100 * n / max(1, len(images)):.0f} %")
        for (label, n), gone in zip(counts.items(), hidden(list(counts.values()), least), strict=True)
    ]


def levels_of(facts: Mapping[str, Any], predictions: pd.DataFrame) -> list[str]:
    """Levels of a target of classes, in the order of its probability columns."""
    start = len(schema.PROBABILITY)
    columns = [str(name)[start:] for name in predictions.columns if str(name).startswith(schema.PROBABILITY)]
    return columns or [str(level) for level in facts.get("classes", ())]


def ordinal_levels(facts: Mapping[str, Any], images: pd.DataFrame) -> dict[str, str]:
    """Numbers of an ordinal target as they are written, in rising order, to their labels.

    A label is taken where the run names as many levels as there are numbers; else a number is its own.

    Examples
    --------
    >>> ordinal_levels({"classes": ["low", "high"]}, pd.DataFrame({"observed": ["2", "1", "1"]}))
    {'1': 'low', '2': 'high'}
    """
    found = sorted(set(images["observed"]), key=float)
    labels = [str(one) for one in facts.get("classes", ())]
    return dict(zip(found, labels if len(labels) == len(found) else found, strict=True))


def is_number(facts: Mapping[str, Any]) -> bool:
    """Whether a target is predicted as a number: continuous or ordinal."""
    return facts.get("kind") in NUMBERS


def confusion(
    predictions: pd.DataFrame, levels: Sequence[str], least: int = 0
) -> list[tuple[str, list[tuple[str, float]], str]]:
    """Rows of true level: its name, (count, share of the row) per predicted level, and the row's sum.

    Parameters
    ----------
    predictions : DataFrame
    levels : sequence of str
    least : int
        Counts below it are not told.
    """
    pairs = Counter(zip(predictions["observed"], predictions["predicted"], strict=True))
    rows = []
    for level in levels:
        counts = [pairs[level, guess] for guess in levels]
        total = sum(counts)
        cells = [
            ("–", 0.0) if gone else (f"{one:,}", one / total if total else 0.0)
            for one, gone in zip(counts, hidden(counts, least), strict=True)
        ]
        rows.append((level, cells, "–" if 0 < total < least else f"{total:,}"))
    return rows


# --- folds ----------------------------------------------------------------------------------------------------


def people_in_two_folds(splits: pd.DataFrame) -> int:
    """How many times a participant is on two sides in one repeat of a target: 0 in a sound run.

    Two sides are two folds, or a fold and those who only train.
    """
    person = pd.Series(people_of(splits[schema.PARTICIPANT_ID]), index=splits.index)
    folds = splits.groupby([splits["target"], splits["repeat"], person])["fold"].nunique()
    return int((folds > 1).sum())


def folds(facts: Mapping[str, Any], splits: pd.DataFrame) -> list[str]:
    """How it was cross-validated, as far as the run says and its table of splits shows.

    Parameters
    ----------
    facts : mapping
        run.json.
    splits : DataFrame
        Columns of `featx.schema.SPLITS`.
    """
    if not len(splits):
        return []
    arguments = facts.get("arguments") or {}
    asked, columns = arguments.get("folding") or {}, arguments.get("columns") or {}
    said = [_counted(splits)]
    if asked.get("scheme") == "site":
        said.append(f"Each fold is a site of the column {columns.get('site', '')!r}, left out whole.")
    if asked.get("scheme") == "given":
        said.append("The folds were given, not drawn.")
    if columns.get("group"):
        said.append(f"Whoever shares a value of {columns['group']!r} is never divided.")
    if "n_inner" in asked:
        said.append(f"{asked['n_inner']} inner folds were asked for, to choose the heads' parameters.")
    if "random_state" in asked:
        said.append(f"Seed (random_state) {asked['random_state']}.")
    twice = people_in_two_folds(splits)
    if twice:
        said.append(f"Warning: {count(twice, 'time')} a person is on two sides in one repeat of a target.")
    else:
        said.append("Checked in splits.csv: nobody is on two sides in one repeat of a target.")
    return said


def _counted(splits: pd.DataFrame) -> str:
    tested = splits[splits["fold"] != TRAIN_ONLY]
    counts = sorted({int(n) for n in tested.groupby(["target", "repeat"])["fold"].nunique()})
    repeats = int(splits["repeat"].max()) + 1
    said = f"{' or '.join(map(str, counts))} outer {'fold' if counts == [1] else 'folds'}, counted in splits.csv"
    said += f", in {count(repeats, 'repeat')}" if repeats > 1 else ""
    said += ", shared by all targets" if set(splits["target"]) == {schema.SHARED} else ""
    only = int(
        (splits[splits["repeat"] == 0].groupby("target")["fold"].agg(lambda one: (one == TRAIN_ONLY).sum())).max()
    )
    return said + (
        f"; up to {count(only, 'image')} of a target only {'trains' if only == 1 else 'train'}." if only else "."
    )


# --- what is missing ------------------------------------------------------------------------------------------


def groups(table: pd.DataFrame, where: str, least: int = 0) -> list[Group]:
    """Rows by reason code, most frequent first.

    Parameters
    ----------
    table : DataFrame
        Columns of `featx.schema.FAILURES` or `EXCLUSIONS`.
    where : str
        The column that says where: "step" or "target".
    least : int
        Numbers of rows below it are not told.
    """
    parts = [(str(code), rows) for code, rows in table.groupby("code", sort=True)]
    found = []
    for (code, rows), gone in zip(parts, hidden([len(rows) for _, rows in parts], least), strict=True):
        places = some([one or "all" for one in dict.fromkeys(rows[where])])
        shown = "some" if gone else f"{len(rows):,}"
        found.append(Group(code, schema.REASONS.get(code, ""), len(rows), shown, places))
    return sorted(found, key=lambda group: (-group.n, group.code))


def some(names: Sequence[str], most: int = 12) -> str:
    """The first of many names, and how many more there are.

    Examples
    --------
    >>> some(["a", "b"]), some(["a", "b", "c"], most=1)
    ('a, b', 'a and 2 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def listing(table: pd.DataFrame, most: int = MOST_ROWS) -> Listing:
    """The first rows of a table, and how many are left out."""
    rows = tuple(tuple(str(value) for value in row) for row in table.head(most).itertuples(index=False))
    return Listing(tuple(str(name) for name in table.columns), rows, max(0, len(table) - most))


def skipped(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """What was not fitted: one sentence per head and reason, with the targets.

    Examples
    --------
    >>> skipped([{"target": one, "head": "ridge", "sentence": "it does not suit"} for one in ("sex", "site")])
    ['ridge for sex, site: it does not suit']
    """
    found: dict[tuple[str, str], list[str]] = {}
    for one in rows:
        found.setdefault((one["head"], one["sentence"]), []).append(one["target"])
    return [f"{head} for {some(targets)}: {sentence}" for (head, sentence), targets in found.items()]


@dataclass(frozen=True)
class Cautions:
    """Cautions of one code: their sentences, each with its target ("" where it concerns all)."""

    code: str
    sentences: tuple[tuple[str, str], ...]


def cautions(rows: Sequence[Mapping[str, str]]) -> list[Cautions]:
    """A run's cautions by code, in its order."""
    found: dict[str, list[tuple[str, str]]] = {}
    for one in rows:
        found.setdefault(one["code"], []).append((one["sentence"], one.get("target", "")))
    return [Cautions(code, tuple(sentences)) for code, sentences in found.items()]
