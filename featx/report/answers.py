"""Scores of one target as rows, best first, and what they say as sentences.

An arm is features, head and treatment of confounds. Arms whose target was residualised are scored on what confounds
leave of it, which is another target: they stand below the others, and none of them is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from featx.analysis.crossval import ADDED, BASELINE, IGNORED, ONLY, RESIDUAL
from featx.analysis.heads import HEADS
from featx.analysis.inference.metrics import METRICS
from featx.analysis.request import NO_FEATURES
from featx.report.wording import (
    BETTER,
    CHANCE,
    NO_BETTER,
    UNKNOWN,
    VERDICTS,
    arm,
    count,
    decimals,
    held_against,
    higher_is_better,
    metric_title,
    number,
    short_metric,
    treatment,
    verdict,
    with_interval,
)

GAIN = "gain over confounds"
OVER_BASELINE = "over the baseline"
MOST_FIGURES = 6
LETTERS = "ABCDEF"
ARM = ["features", "head", "confounds"]


@dataclass(frozen=True)
class ScoreRow:
    """One row of a scores table. `letter` names it in the figures; "" where it is not drawn."""

    letter: str
    features: str
    head: str
    confounds: str
    cells: tuple[str, ...]
    n: str
    n_people: str
    numbers: tuple[float, float, float, float]  # first metric: value, low, high, and what it is held against
    is_best: bool

    @property
    def is_baseline(self) -> bool:
        """Whether it knows neither features nor confounds."""
        return self.head == BASELINE

    @property
    def is_residual(self) -> bool:
        """Whether it is scored on what confounds leave of the target."""
        return self.confounds in RESIDUAL

    @property
    def words(self) -> str:
        """The arm."""
        return arm(self.features, self.head, self.confounds)

    @property
    def under(self) -> list[str]:
        """What stands under the head: features, treatment of confounds."""
        return [
            one for one in ("" if self.features == NO_FEATURES else self.features, treatment(self.confounds)) if one
        ]


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one target, best first by the first metric, residualised arms below, the baseline last."""

    metrics: tuple[str, ...]
    legend: str
    rows: tuple[ScoreRow, ...]
    ends: tuple[float, float]
    unit: str

    @property
    def best(self) -> ScoreRow | None:
        """The row that is the answer."""
        return next((row for row in self.rows if row.is_best), None)

    @property
    def is_correlation(self) -> bool:
        """Whether the first metric is held against 0, for a baseline has none."""
        return self.metrics[0] in CHANCE

    @property
    def n_arms(self) -> int:
        """Arms that were scored, the baseline left out."""
        return sum(not row.is_baseline for row in self.rows)

    @property
    def n_candidates(self) -> int:
        """Arms among which the best was chosen."""
        return sum(_can_be_best(row.features, row.confounds) for row in self.rows)


@dataclass(frozen=True)
class Answer:
    """What the run says of one target, in sentences; "" where there is nothing to say.

    Attributes
    ----------
    target : str
    verdict : str
        Key of `featx.report.wording.VERDICTS`.
    headline, detail, gain, caution : str
        The answer; which arm, and on whom; what confounds alone reach, and what features add to them; what to hold
        against it.
    """

    target: str
    verdict: str
    headline: str
    detail: str
    gain: str
    caution: str


# --- the table ------------------------------------------------------------------------------------------------


def score_table(scores: pd.DataFrame, unit: str = "") -> ScoreTable:
    """The scores of one target as rows of features, head and treatment of confounds.

    Parameters
    ----------
    scores : DataFrame
        Columns of `featx.schema.SCORES`, rows of one target.
    unit : str
        The target's, "" where unknown.
    """
    metrics = [name for name in METRICS if name in set(scores["metric"])]
    metrics += [name for name in dict.fromkeys(scores["metric"]) if name not in METRICS]
    places = {name: places_of(scores[scores["metric"] == name]) for name in metrics}
    arms = [
        _Arm(str(features), str(head), str(confounds), rows.set_index("metric").to_dict("index"))
        for (features, head, confounds), rows in scores.groupby(ARM, sort=False)
    ]
    heads = [one for one in arms if one.head != BASELINE]
    ranked = sorted(heads, key=lambda one: (one.confounds in RESIDUAL, _rank(one, metrics[0])))
    best = next((one for one in ranked if _can_be_best(one.features, one.confounds)), None)
    rows = [
        _score_row(one, metrics, places, letter=LETTERS[at] if at < MOST_FIGURES else "", is_best=one is best)
        for at, one in enumerate(ranked)
    ]
    rows += [_score_row(one, metrics, places) for one in arms if one.head == BASELINE]
    return ScoreTable(tuple(metrics), _legend(metrics, unit), tuple(rows), _ends(rows), unit)


@dataclass(frozen=True)
class _Arm:
    features: str
    head: str
    confounds: str
    scores: Mapping[Any, Mapping[Any, Any]]  # metric, then column


def _can_be_best(features: str, confounds: str) -> bool:
    return features != NO_FEATURES and confounds not in RESIDUAL


def places_of(scores: pd.DataFrame) -> int | None:
    """Decimals of one metric's column; one without a unit is never told to more than three.

    Parameters
    ----------
    scores : DataFrame
        With metric, low and high, and head where there is a baseline; NaN in them is passed over.
    """
    heads = scores[scores["head"] != BASELINE]
    has_unit = any(METRICS[name].has_unit for name in scores["metric"] if name in METRICS)
    return decimals(((heads["high"] - heads["low"]) / 2).tolist(), most=6 if has_unit else 3)


def _rank(one: _Arm, metric: str) -> float:
    value = float(one.scores[metric]["value"]) if metric in one.scores else math.nan
    if math.isnan(value):
        return math.inf
    return -value if higher_is_better(metric) else value


def _score_row(
    one: _Arm,
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
    value, low, high, baseline = (float(first.get(name, math.nan)) for name in ("value", "low", "high", "baseline"))
    return ScoreRow(
        letter=letter,
        features=one.features,
        head=one.head,
        confounds=one.confounds,
        cells=tuple(cells),
        n=_sizes(one, "n"),
        n_people=_sizes(one, "n_people"),
        numbers=(value, low, high, _against(one, metrics[0], baseline)),
        is_best=is_best,
    )


def _against(one: _Arm, metric: str, baseline: float) -> float:
    """What a score is held against: the baseline, which is not that of what confounds leave; 0 for a correlation."""
    if metric in CHANCE and one.head != BASELINE:
        return CHANCE[metric]
    return math.nan if one.confounds in RESIDUAL else baseline


def _sizes(one: _Arm, column: str) -> str:
    return " or ".join(f"{n:,}" for n in sorted({int(found[column]) for found in one.scores.values()}))


def _legend(metrics: Sequence[str], unit: str) -> str:
    said = []
    for name in metrics:
        title, own = metric_title(name), in_unit(name, unit)
        direction = "higher" if higher_is_better(name) else "lower"
        if title != short_metric(name) or own:
            said.append(f"{short_metric(name)}: {title}{', in' + own if own else ''} ({direction} is better)")
        else:
            said.append(f"{title} ({direction} is better)")
    return "; ".join(said)


def in_unit(metric: str, unit: str) -> str:
    """A metric's unit with a blank before it; "" where it has none.

    Examples
    --------
    >>> in_unit("mae", "years"), in_unit("r", "years"), in_unit("mae", "")
    (' years', '', '')
    """
    return f" {unit}" if unit and metric in METRICS and METRICS[metric].has_unit else ""


def _ends(rows: Sequence[ScoreRow]) -> tuple[float, float]:
    found = [number for row in rows for number in row.numbers if math.isfinite(number)]
    return (min(found), max(found)) if found else (0.0, 1.0)


# --- the answer -----------------------------------------------------------------------------------------------


def answer(
    facts: Mapping[str, Any], table: ScoreTable, scores: pd.DataFrame, comparisons: pd.DataFrame | None = None
) -> Answer:
    """The best arm with features against the baseline, plainly, and against confounds alone where these were given.

    Parameters
    ----------
    facts : mapping
        The target's, of run.json.
    table : ScoreTable
        Of this target.
    scores : DataFrame
        The rows it was made from.
    comparisons : DataFrame, optional
        Rows of this target.
    """
    target, best = str(facts["name"]), table.best
    if best is None or math.isnan(best.numbers[0]):
        return Answer(target, UNKNOWN, "No head was scored on features.", "", "", "")
    metric = table.metrics[0]
    paired = None if comparisons is None else _compared(comparisons, (OVER_BASELINE, metric, best, best.confounds))
    word, headline = _headline(table, best, places_of(scores[scores["metric"] == metric]), paired)
    rest = zip(table.metrics[1:], best.cells[1:], strict=True)
    others = "; ".join(f"{short_metric(name)} {cell}" for name, cell in rest if cell != "–")
    detail = f"{best.words}: {_whom(facts, best)}{f' ({others})' if others else ''}."
    gain = _gain(table, best, scores, comparisons)
    return Answer(target, word, headline, detail, gain, _caution(table))


def _headline(
    table: ScoreTable, best: ScoreRow, places: int | None, paired: Mapping[Any, Any] | None
) -> tuple[str, str]:
    """The verdict and its sentence: by the paired difference from the baseline where there is one."""
    metric, unit = table.metrics[0], in_unit(table.metrics[0], table.unit)
    value, low, high, against = best.numbers
    word, name = verdict(metric, low, high, against), held_against(metric)
    said = f"{metric_title(metric)} {with_interval(value, low, high, places)}{unit}"
    if not math.isnan(against):
        said += f" against {number(against, places)}{unit} {'by chance' if metric in CHANCE else 'for the baseline'}"
    by_pairs = paired is not None and math.isfinite(paired["low"])
    if paired is not None and by_pairs:
        word = verdict("", paired["low"], paired["high"], 0.0)
        gained = with_interval(paired["difference"], paired["low"], paired["high"], places)
        said += f", a paired difference of {gained}{unit}"
    judged = VERDICTS[word].format(name)
    if word == UNKNOWN:
        headline = f"{said}; {judged}"
    else:
        headline = f"{judged}: {said}{', which the interval includes' if word == NO_BETTER and not by_pairs else ''}"
    return word, headline[0].upper() + headline[1:] + "."


def _whom(facts: Mapping[str, Any], row: ScoreRow) -> str:
    people = "" if row.n_people == row.n else f" of {row.n_people} {'person' if row.n_people == '1' else 'people'}"
    repeats = int(facts.get("n_repeats", 1))
    mean = f", mean over {repeats} repeats" if repeats > 1 else ""
    n_training = n_only_training(facts)
    others = f"; {count(n_training, 'other image')} only trained" if n_training else ""
    return f"{count_images(row.n)}{people}{', tested' if n_training else ', out of fold'}{mean}{others}"


def n_only_training(facts: Mapping[str, Any]) -> int:
    """Images of a target that are never tested: those that a test cohort is predicted from.

    Examples
    --------
    >>> n_only_training({"n_images": 100, "n_tested": 30}), n_only_training({})
    (70, 0)
    """
    return int(facts["n_images"]) - int(facts["n_tested"]) if "n_tested" in facts and "n_images" in facts else 0


def count_images(n: str) -> str:
    """A number of images, already written, with its noun.

    Examples
    --------
    >>> count_images("1"), count_images("1,200")
    ('1 image', '1,200 images')
    """
    return f"{n} image" if n == "1" else f"{n} images"


def _gain(table: ScoreTable, best: ScoreRow, scores: pd.DataFrame, comparisons: pd.DataFrame | None) -> str:
    """What confounds alone reach with the best arm's head, and what its features add to them."""
    metric, unit = table.metrics[0], in_unit(table.metrics[0], table.unit)
    alone = [row for row in table.rows if row.confounds == ONLY]
    if not alone:
        return ""
    only = next((row for row in alone if row.head == best.head), alone[0])
    said = f"Confounds alone reach {short_metric(metric)} {only.cells[0]}{unit} ({only.head})"
    found = None if comparisons is None else _compared(comparisons, (GAIN, metric, best, ADDED))
    if found is None:
        return said + "."
    places = places_of(scores[scores["metric"] == metric])
    gained = with_interval(found["difference"], found["low"], found["high"], places)
    word = verdict("", found["low"], found["high"], 0.0)
    told = "adds nothing that is sure: the interval includes 0" if word == NO_BETTER else "makes it worse"
    ending = "" if word in (BETTER, UNKNOWN) else f", which {told}"
    return f"{said}; adding {best.features} to them gains {gained}{unit}{ending}."


def _compared(comparisons: pd.DataFrame, what: tuple[str, str, ScoreRow, str]) -> Mapping[Any, Any] | None:
    """The row that answers a question of a metric for an arm."""
    question, metric, best, confounds = what
    own = comparisons[
        (comparisons["question"] == question)
        & (comparisons["metric"] == metric)
        & (comparisons["features_a"] == best.features)
        & (comparisons["head"] == best.head)
        & (comparisons["confounds_a"] == confounds)
    ]
    return own.iloc[0].to_dict() if len(own) else None


def _caution(table: ScoreTable) -> str:
    if table.n_candidates < 2:
        return ""
    treated = any(row.confounds not in (IGNORED, ONLY) for row in table.rows if not row.is_residual)
    what = "features, head and treatment of confounds" if treated else "features and head"
    are_heads = any(row.head in HEADS or row.head.startswith("sklearn:") for row in table.rows)
    whom = f"combinations of {what}" if are_heads else "arms"
    return f"The best of {table.n_candidates:,} {whom}, chosen by this very score, which is optimistic."


def strength(table: ScoreTable) -> float:
    """How far the best score lies on the good side of what it is held against, in half-widths of its interval.

    A rank for targets of different kinds and units; -inf where there is no such number.
    """
    if table.best is None:
        return -math.inf
    value, low, high, against = table.best.numbers
    half = (high - low) / 2
    if not (math.isfinite(value + against) and half > 0):
        return -math.inf
    return (value - against) / half * (1 if higher_is_better(table.metrics[0]) else -1)
