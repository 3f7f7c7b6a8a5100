"""What the page shows of one target: its answer, scores, figures, and all that stands beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from featx.analysis.cohort.targets import CONTINUOUS, ORDINAL
from featx.analysis.runs.rundir import Run
from featx.report import beside, contents, evidence, panels
from featx.report.answers import Answer, ScoreRow, ScoreTable, answer
from featx.report.beside import Beside
from featx.report.blocks import Extras, Grid, Panel, Section
from featx.report.evidence import Compared, Parts
from featx.report.panels import Scored
from featx.report.sections.gather import sections_of_target


@dataclass(frozen=True)
class Confusion:
    """True against predicted levels of one arm."""

    row: ScoreRow
    rows: list[tuple[str, list[tuple[str, float]], str]]


@dataclass(frozen=True)
class Told:
    """Tables with the sentence that says how to read them, and a figure where there is one."""

    note: str
    grids: tuple[Grid, ...]
    panel: Panel | None = None


@dataclass(frozen=True)
class TargetPart:
    """What the page shows of one target; None and empty lists where the run says nothing."""

    name: str
    kind: str
    unit: str
    prefix: str
    is_number: bool
    levels: list[str]
    summary: Mapping[str, str]
    classes: list[tuple[str, str, str]]
    answer: Answer
    table: ScoreTable
    strips: list[Markup]
    panels: list[Panel]
    confusions: list[Confusion]
    n_repeats: int
    compared: Compared | None
    chance: Told | None
    parts: list[Parts]
    worst: Grid | None
    bias: Told | None
    published: Beside | None = None
    sections: list[Section] = field(default_factory=list)

    @property
    def part_words(self) -> str:
        """What the people are broken down by."""
        captions = dict.fromkeys(grid.caption for part in self.parts for grid in part.grids)
        return ", ".join([next(iter(captions)), *(one.lower() for one in list(captions)[1:])])

    @property
    def every_panel(self) -> list[Panel]:
        """All its figures, in the order of the page."""
        own = [*self.panels, *([self.bias.panel] if self.bias and self.bias.panel else [])]
        return own + [panel for section in self.sections for panel in section.panels]


def target_part(run: Run, facts: Mapping[str, Any], table: ScoreTable, prefix: str, extras: Extras) -> TargetPart:
    """What the page shows of one target.

    Parameters
    ----------
    run : Run
    facts : mapping
        The target's, of run.json.
    table : ScoreTable
        Of the same target.
    prefix : str
        Of ids on the page.
    extras : Extras
    """
    name, is_number, least = str(facts["name"]), contents.is_number(facts), extras.least * extras.is_private
    every = (run.scores, run.comparisons, run.permutations, run.breakdowns, run.age_bias)
    scores, comparisons, permutations, breakdowns, age_bias = (one[one["target"] == name] for one in every)
    predictions = run.predictions[name]
    images = contents.scored_images(predictions)
    levels = _levels(facts, predictions, images)
    scored = Scored(facts, table, panels.drawn_rows(predictions, table), levels, prefix, least)
    drawn = [(row, scored.drawn[row.letter]) for row in scored.rows]
    chance, bias = evidence.chance(permutations), evidence.age_bias(age_bias, table)
    n_repeats = int(predictions["repeat"].max()) + 1
    return TargetPart(
        name=name,
        kind=str(facts["kind"]),
        unit=table.unit,
        prefix=prefix,
        is_number=is_number,
        levels=list(levels),
        summary=contents.numeric_summary(images, least) if is_number else contents.size_summary(images),
        classes=contents.class_summary(images, levels, least),
        answer=answer(facts, table, scores, comparisons),
        table=table,
        strips=[Markup(panels.strip(*row.numbers, table.ends)) for row in table.rows],
        panels=panels.panels(scored),
        confusions=[]
        if is_number
        else [Confusion(row, contents.confusion(rows, list(levels), least)) for row, rows in drawn],
        n_repeats=n_repeats,
        compared=evidence.compared(comparisons, table),
        chance=Told(chance[0], (chance[1],)) if chance else None,
        parts=evidence.parts(breakdowns, table),
        worst=evidence.worst(
            breakdowns, contents.first_repeat(predictions), table, is_number=is_number, n_repeats=n_repeats
        ),
        bias=Told(*bias, panels.bias_panel(scored)) if bias else None,
        published=beside.beside(table, scores, name, extras.protocol),
        sections=sections_of_target(run, scored, extras),
    )


def _levels(facts: Mapping[str, Any], predictions: pd.DataFrame, images: pd.DataFrame) -> dict[str, str]:
    """Levels as observed to their labels; none for a continuous target."""
    if facts["kind"] == CONTINUOUS:
        return {}
    if facts["kind"] == ORDINAL:
        return contents.ordinal_levels(facts, images)
    return {level: level for level in contents.levels_of(facts, predictions)}
