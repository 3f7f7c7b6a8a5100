"""Numbers that other people published on their own data, on one scale with one's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from featx.report.answers import ScoreTable
from featx.report.evidence import rows_of
from featx.report.panels import strip
from featx.report.said.published import PROTOCOLS, Published, published
from featx.report.wording import number

_ALSO = {"sex": ("gender",)}


@dataclass(frozen=True)
class Line:
    """One row: whose number it is, on which data, of how many people who trained, and the number drawn."""

    arm: str
    data: str
    n: str
    score: str
    strip: Markup
    is_own: bool


@dataclass(frozen=True)
class Beside:
    """Own and published numbers of one phenotype.

    Attributes
    ----------
    metric : str
        Of the lines.
    lines : tuple of Line
        Own ones first, then the published ones as their work lists them.
    others : tuple of str
        What is published in another measure, in words.
    source : str
        The protocol, in words.
    """

    metric: str
    lines: tuple[Line, ...]
    others: tuple[str, ...]
    source: str


def beside(table: ScoreTable, scores: pd.DataFrame, target: str, protocol: str) -> Beside | None:
    """Published numbers of a phenotype beside the run's; None without a protocol, or where it tells of another one.

    Parameters
    ----------
    table : ScoreTable
        Of the target.
    scores : DataFrame
        Rows of the target, columns of `featx.schema.SCORES`.
    target : str
        Names are compared without regard to capitals; "gender" is sex.
    protocol : str
        A key of `featx.report.said.published.PROTOCOLS`; "" for none.

    Raises
    ------
    AnalysisError
        The protocol is unknown.
    """
    every = published(protocol) if protocol else ()
    found = [one for one in every if target.casefold() in (one.phenotype.casefold(), *_ALSO.get(one.phenotype, ()))]
    if not found:
        return None
    metric = next((name for name in (one.metric for one in found) if name in table.metrics), "")
    shown = [one for one in found if one.metric == metric]
    others = tuple(
        f"{one.arm}{f' on {one.dataset}' if one.dataset else ''}: {one.metric} {number(one.value)} ({one.source})"
        for one in found
        if one.metric != metric
    )
    lines = _lines(table, scores[scores["metric"] == metric], shown) if metric else ()
    return Beside(metric, lines, others, PROTOCOLS[protocol])


def _lines(table: ScoreTable, scores: pd.DataFrame, shown: Sequence[Published]) -> tuple[Line, ...]:
    at = table.metrics.index(shown[0].metric)
    own = [
        (row, [float(one) for one in rows_of(scores, row)[["value", "low", "high"]].iloc[0]])
        for row in table.rows
        if row.letter or row.is_baseline
    ]
    every = [value for _, three in own for value in three] + [one.value for one in shown]
    finite = [value for value in every if math.isfinite(value)]
    ends = (min(finite), max(finite))
    found = [
        Line(
            row.words, "this run", row.n, row.cells[at], Markup(strip(value, low, high, math.nan, ends)), is_own=True
        )
        for row, (value, low, high) in own
    ]
    is_one = len({one.source for one in shown}) == 1
    return tuple(found) + tuple(
        Line(
            one.arm,
            one.dataset if is_one and one.dataset else "; ".join(filter(None, (one.dataset, one.source))),
            "–" if one.n is None else f"{one.n:,}",
            number(one.value),
            Markup(strip(one.value, math.nan, math.nan, math.nan, ends)),
            is_own=False,
        )
        for one in shown
    )
