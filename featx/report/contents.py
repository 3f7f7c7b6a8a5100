"""A run's tables as what the page says: sentences, counts, rows. Nothing here draws, reads or writes.

The columns of every table are those of `featx.schema`. Nothing is made up: where a run does not say, the page does
not either.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from featx import schema
from featx.analysis.cohort.people import people_of
from featx.analysis.cohort.targets import CONTINUOUS
from featx.analysis.inference.scores import METRICS
from featx.report.wording import (
    NO_BETTER,
    UNKNOWN,
    VERDICTS,
    decimals,
    higher_is_better,
    metric_title,
    number,
    short_metric,
    verdict,
    with_interval,
)

BASELINE = "baseline"
MOST_FIGURES = 6
MOST_ROWS = 200
LETTERS = "ABCDEF"
_OPTIONS = {
    "--folds": "n_splits",
    "--inner-folds": "n_inner",
    "--bootstrap": "n_bootstrap",
    "--seed": "random_state",
}
_FLOW = {
    "images_indexed": "images indexed",
    "images_extracted": "images extracted",
    "images_failed": "images that failed",
    "images_with_features": "images with features",
    "images_with_all_features": "of these, in every feature set",
    "images_matched": "of these, matched to a row of the phenotype table",
    "people_matched": "people behind these images",
    "people_in_phenotypes": "people in the phenotype table",
}


@dataclass(frozen=True)
class Answer:
    """What the run says of one target, in sentences.

    Attributes
    ----------
    target : str
    verdict : str
        Key of `featx.report.wording.VERDICTS`.
    headline, detail, caution : str
        The answer; whom and what it rests on; what to hold against it ("" for nothing).
    """

    target: str
    verdict: str
    headline: str
    detail: str
    caution: str


@dataclass(frozen=True)
class ScoreRow:
    """One row of a scores table. `letter` names it in the figures; "" where it is not drawn."""

    letter: str
    features: str
    head: str
    cells: tuple[str, ...]
    n: str
    numbers: tuple[float, float, float, float]  # first metric: value, low, high, baseline
    is_best: bool
    is_baseline: bool


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one target, best first by the first metric, the baseline last."""

    metrics: tuple[str, ...]
    legend: str
    rows: tuple[ScoreRow, ...]
    ends: tuple[float, float]

    @property
    def n_heads(self) -> int:
        """Combinations of features and head, the baseline left out."""
        return sum(not row.is_baseline for row in self.rows)


@dataclass(frozen=True)
class Group:
    """Rows of exclusions or failures of one reason, most frequent first."""

    code: str
    meaning: str
    n: int
    where: str


@dataclass(frozen=True)
class Listing:
    """Rows of a stored table, as many as the page shows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int


# --- scores ---------------------------------------------------------------------------------------------------


def unit_of(facts: Mapping[str, Any]) -> str:
    """A target's unit, where the run names one."""
    return str(facts.get("unit") or facts.get("units") or "")


def score_table(scores: pd.DataFrame, unit: str = "") -> ScoreTable:
    """The scores of one target as rows of feature set and head.

    Parameters
    ----------
    scores : DataFrame
        Columns of `featx.schema.SCORES`, rows of one target; value, low, high and baseline as numbers.
    unit : str
        The target's, "" where unknown.
    """
    metrics = [name for name in METRICS if name in set(scores["metric"])]
    metrics += [name for name in dict.fromkeys(scores["metric"]) if name not in METRICS]
    places = {name: _places(scores[scores["metric"] == name]) for name in metrics}
    combinations = [
        _Combination(str(features), str(head), rows.set_index("metric").to_dict("index"))
        for (features, head), rows in scores.groupby(["features", "head"], sort=False)
    ]
    heads = [one for one in combinations if one.head != BASELINE]
    ranked = sorted(heads, key=lambda one: _rank(one, metrics[0]))
    rows = [
        _score_row(one, metrics, places, letter=LETTERS[at] if at < MOST_FIGURES else "", is_best=at == 0)
        for at, one in enumerate(ranked)
    ]
    rows += [_score_row(one, metrics, places) for one in combinations if one.head == BASELINE]
    return ScoreTable(tuple(metrics), _legend(metrics, unit), tuple(rows), _ends(rows))


@dataclass(frozen=True)
class _Combination:
    features: str
    head: str
    scores: Mapping[Any, Mapping[Any, Any]]  # metric, then column


def _places(scores: pd.DataFrame) -> int | None:
    """Decimals of one metric's column; one without a unit is never told to more than three."""
    heads = scores[scores["head"] != BASELINE]
    has_unit = any(METRICS[name].has_unit for name in scores["metric"] if name in METRICS)
    return decimals(((heads["high"] - heads["low"]) / 2).tolist(), most=6 if has_unit else 3)


def _rank(one: _Combination, metric: str) -> float:
    value = float(one.scores[metric]["value"]) if metric in one.scores else math.nan
    if math.isnan(value):
        return math.inf
    return -value if higher_is_better(metric) else value


def _score_row(
    one: _Combination,
    metrics: Sequence[str],
    places: Mapping[str, int | None],
    letter: str = "",
    is_best: bool = False,
) -> ScoreRow:
    cells = [
        with_interval(found["value"], found["low"], found["high"], places[name])
        if (found := one.scores.get(name))
        else "–"
        for name in metrics
    ]
    first = one.scores.get(metrics[0], {})
    numbers = tuple(float(first.get(column, math.nan)) for column in ("value", "low", "high", "baseline"))
    sizes = sorted({int(found["n"]) for found in one.scores.values()})
    return ScoreRow(
        letter=letter,
        features="" if one.head == BASELINE else one.features,
        head=one.head,
        cells=tuple(cells),
        n=" or ".join(f"{n:,}" for n in sizes),
        numbers=(numbers[0], numbers[1], numbers[2], numbers[3]),
        is_best=is_best,
        is_baseline=one.head == BASELINE,
    )


def _legend(metrics: Sequence[str], unit: str) -> str:
    said = []
    for name in metrics:
        title = metric_title(name)
        in_unit = f", in {unit}" if unit and name in METRICS and METRICS[name].has_unit else ""
        direction = "higher" if higher_is_better(name) else "lower"
        if title != short_metric(name) or in_unit:
            said.append(f"{short_metric(name)}: {title}{in_unit} ({direction} is better)")
        else:
            said.append(f"{title} ({direction} is better)")
    return "; ".join(said)


def _ends(rows: Sequence[ScoreRow]) -> tuple[float, float]:
    found = [number for row in rows for number in row.numbers if math.isfinite(number)]
    return (min(found), max(found)) if found else (0.0, 1.0)


# --- the answer -----------------------------------------------------------------------------------------------


def answer(target: str, table: ScoreTable, scores: pd.DataFrame, unit: str = "") -> Answer:
    """The best combination against the baseline, plainly.

    Parameters
    ----------
    target : str
    table : ScoreTable
        Of this target.
    scores : DataFrame
        The rows it was made from.
    unit : str
        The target's, "" where unknown.
    """
    best = next((row for row in table.rows if row.is_best), None)
    if best is None or math.isnan(best.numbers[0]):
        return Answer(target, UNKNOWN, "No head was scored.", "", "")
    metric = table.metrics[0]
    value, low, high, baseline = best.numbers
    word = verdict(metric, low, high, baseline)
    places = _places(scores[scores["metric"] == metric])
    in_unit = f" {unit}" if unit and metric in METRICS and METRICS[metric].has_unit else ""
    against = "" if math.isnan(baseline) else f" against {number(baseline, places)}{in_unit} for the baseline"
    headline = f"{metric_title(metric)} {with_interval(value, low, high, places)}{in_unit}{against}"
    if word == NO_BETTER:
        headline = f"No better than the baseline: {headline}, which the interval includes"
    elif word != UNKNOWN:
        headline = f"{VERDICTS[word]}: {headline}"
    else:
        headline = f"{headline}; {VERDICTS[word]}"
    rest = zip(table.metrics[1:], best.cells[1:], strict=True)
    others = "; ".join(f"{short_metric(name)} {cell}" for name, cell in rest if cell != "–")
    detail = f"{best.head} on {best.features}, {count_images(best.n)} out of fold{f' ({others})' if others else ''}"
    return Answer(target, word, headline[0].upper() + headline[1:] + ".", detail + ".", _caution(table.n_heads))


def count_images(n: str) -> str:
    """A number of images, already written, with its noun."""
    return f"{n} image" if n == "1" else f"{n} images"


def _caution(n_heads: int) -> str:
    if n_heads < 2:
        return ""
    return (
        f"The best of {n_heads:,} combinations of features and head, chosen by this very score, which is optimistic."
    )


# --- people ---------------------------------------------------------------------------------------------------


def flow(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The counts that the run wrote down on the way from images to matched people, in its order."""
    return [
        (_FLOW.get(name, name.replace("_", " ")), f"{value:,}")
        for name, value in facts.items()
        if isinstance(value, int) and not isinstance(value, bool)
    ]


def command(facts: Mapping[str, Any]) -> str:
    """The call of `featx fit` that made a run; the feature file's name is not stored, for only its keys matter.

    Examples
    --------
    >>> arguments = {"targets": ["age"], "heads": ["ridge"], "combinations": {"a.x": []}, "random_state": 0}
    >>> command({"arguments": arguments, "phenotypes": {"file": "people of 2026.tsv"}})
    "featx fit features.h5 'people of 2026.tsv' --target age --head ridge --features a.x --seed 0"
    """
    arguments = facts.get("arguments") or {}
    words = ["featx", "fit", "features.h5", (facts.get("phenotypes") or {}).get("file") or "phenotypes.tsv"]
    for option, values in (
        ("--target", arguments.get("targets", ())),
        ("--head", arguments.get("heads", ())),
        ("--features", arguments.get("combinations", ())),
        ("--kind", [f"{name}={kind}" for name, kind in arguments.get("kinds", {}).items()]),
    ):
        words += [word for value in values for word in (option, str(value))]
    for option, name in _OPTIONS.items():
        words += [option, str(arguments[name])] if name in arguments else []
    return shlex.join(words)


def scored_images(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per scored image, whatever head it was scored with."""
    return predictions.drop_duplicates(schema.IMAGE_ID)


def numeric_summary(images: pd.DataFrame) -> dict[str, str]:
    """n, mean, SD, median and range of a continuous target over its scored images."""
    values = images["observed"].astype(float)
    places = decimals([values.std(ddof=1) / 20]) if len(values) > 1 else None
    return size_summary(images) | {
        "mean": number(values.mean(), places),
        "SD": number(values.std(ddof=1), places) if len(values) > 1 else "–",
        "median": number(values.median(), places),
        "range": f"{number(values.min(), places)} to {number(values.max(), places)}",
    }


def size_summary(images: pd.DataFrame) -> dict[str, str]:
    """Images and people of a target of classes."""
    return {"images": f"{len(images):,}", "people": f"{len(set(people_of(images[schema.PARTICIPANT_ID]))):,}"}


def class_summary(images: pd.DataFrame, levels: Sequence[str]) -> list[tuple[str, str, str]]:
    """Level, images and share of each class over the scored images."""
    counts = images["observed"].value_counts()
    return [
        (level, f"{int(counts.get(level, 0)):,}", f"{100 * counts.get(level, 0) / max(1, len(images)):.0f} %")
        for level in levels
    ]


def levels_of(facts: Mapping[str, Any], predictions: pd.DataFrame) -> list[str]:
    """Levels of a target in the order of its probability columns."""
    start = len(schema.PROBABILITY)
    columns = [str(name)[start:] for name in predictions.columns if str(name).startswith(schema.PROBABILITY)]
    return columns or [str(level) for level in facts.get("classes", ())]


def is_continuous(facts: Mapping[str, Any]) -> bool:
    """Whether a target's kind is continuous."""
    return bool(facts.get("kind") == CONTINUOUS)


def confusion(predictions: pd.DataFrame, levels: Sequence[str]) -> list[tuple[str, list[tuple[str, float]], str]]:
    """Rows of true level: its name, (count, share of the row) per predicted level, and the row's sum."""
    pairs = Counter(zip(predictions["observed"], predictions["predicted"], strict=True))
    rows = []
    for level in levels:
        counts = [pairs[level, guess] for guess in levels]
        total = sum(counts)
        rows.append((level, [(f"{one:,}", one / total if total else 0.0) for one in counts], f"{total:,}"))
    return rows


def people_in_two_folds(splits: pd.DataFrame) -> int:
    """How many times a participant is test in more than one fold of a target: 0 in a sound run."""
    person = pd.Series(people_of(splits[schema.PARTICIPANT_ID]), index=splits.index)
    folds = splits.groupby([splits["target"], person])["fold"].nunique()
    return int((folds > 1).sum())


# --- what is missing ------------------------------------------------------------------------------------------


def groups(table: pd.DataFrame, where: str) -> list[Group]:
    """Rows by reason code, most frequent first.

    Parameters
    ----------
    table : DataFrame
        Columns of `featx.schema.FAILURES` or `EXCLUSIONS`.
    where : str
        The column that says where: "step" or "target".
    """
    found = []
    for code, rows in table.groupby("code", sort=True):
        places = ", ".join(one or "all" for one in dict.fromkeys(rows[where]))
        found.append(Group(str(code), schema.REASONS.get(str(code), ""), len(rows), places))
    return sorted(found, key=lambda group: (-group.n, group.code))


def listing(table: pd.DataFrame, most: int = MOST_ROWS) -> Listing:
    """The first rows of a table, and how many are left out."""
    rows = tuple(tuple(str(value) for value in row) for row in table.head(most).itertuples(index=False))
    return Listing(tuple(str(name) for name in table.columns), rows, max(0, len(table) - most))
