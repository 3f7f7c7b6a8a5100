"""The figures of one target, with what they are of: arms of a run to panels of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.cohort.targets import BINARY, ORDINAL
from featx.analysis.inference.points import calibration_points, roc_points
from featx.report import contents
from featx.report.answers import MOST_FIGURES, ScoreRow, ScoreTable, count_images, n_only_training
from featx.report.blocks import Panel
from featx.report.evidence import CORRECTIONS, rows_of
from featx.report.figures import predictions
from featx.report.figures.canvas import cut
from featx.report.wording import count, short_metric


@dataclass(frozen=True)
class Scored:
    """One target as its figures need it.

    Attributes
    ----------
    facts : mapping
        The target's, of run.json.
    table : ScoreTable
    drawn : mapping of str to DataFrame
        Letter to the arm's predictions, as `featx.report.contents.first_repeat` gives them.
    levels : mapping of str to str
        Levels as observed, in order, to their labels; none for a continuous target.
    prefix : str
        Of the figures' ids; unique on the page.
    """

    facts: Mapping[str, Any]
    table: ScoreTable
    drawn: Mapping[str, pd.DataFrame]
    levels: Mapping[str, str]
    prefix: str

    @property
    def name(self) -> str:
        """The phenotype's name."""
        return str(self.facts["name"])

    @property
    def rows(self) -> list[ScoreRow]:
        """Arms that are drawn."""
        return [row for row in self.table.rows if row.letter]

    @property
    def repeats(self) -> str:
        """What is said where there are several repeats."""
        n = int(self.facts.get("n_repeats", 1))
        return f", first of {n} repeats" if n > 1 else ""


def panels(scored: Scored) -> list[Panel]:
    """Figures of predictions: numbers against numbers, or ROC and calibration."""
    if contents.is_number(scored.facts):
        return _numbers(scored)
    if scored.facts["kind"] == BINARY:
        return _binary(scored)
    return _one_against_rest(scored)


def _numbers(scored: Scored) -> list[Panel]:
    pairs = {letter: rows[["observed", "predicted"]].to_numpy(np.float64) for letter, rows in scored.drawn.items()}
    whole = [pairs[row.letter] for row in scored.rows if not row.is_residual]
    every = np.concatenate(whole) if whole else np.zeros((1, 2))
    name = f"{scored.name} ({scored.table.unit})" if scored.table.unit else scored.name
    found = []
    for row in scored.rows:
        own = pairs[row.letter]
        scores = dict(zip(scored.table.metrics, row.cells, strict=True))
        note = [f"{short_metric(one)} {scores[one]}" for one in ("spearman", "mae", "r") if one in scores][:2]
        common: dict[str, Any] = {
            "target": f"{name} less confounds" if row.is_residual else name,
            "note": "\n".join(note),
            "alt": f"Predicted against true {name}, {row.words}: {'; '.join(note)}",
            "prefix": f"{scored.prefix}{row.letter}",
        }
        if scored.facts["kind"] == ORDINAL and not row.is_residual:
            levels = {float(number): label for number, label in scored.levels.items()}
            drawing = predictions.by_level(own[:, 0], own[:, 1], levels=levels, **common)
            said = "orange: the median of each true level"
        else:
            ends = own if row.is_residual else every
            drawing = predictions.scatter(own[:, 0], own[:, 1], ends=(float(ends.min()), float(ends.max())), **common)
            said = "dashed: predicted equals true"
        if row.is_residual:
            said += "; true and predicted less what the confounds say of the target"
        found.append(Panel(row.letter, row.words, drawing, f"{_whom(scored, row)}; {said}."))
    return found


def _whom(scored: Scored, row: ScoreRow) -> str:
    return f"{count_images(row.n)}, {'tested' if n_only_training(scored.facts) else 'out of fold'}{scored.repeats}"


def _binary(scored: Scored) -> list[Panel]:
    level = list(scored.levels)[-1]
    curves, found = [], []
    for row in scored.rows:
        rows = scored.drawn[row.letter]
        positive = (rows["observed"] == level).to_numpy()
        if positive.all() or not positive.any():
            continue  # test people of one class: there is no curve
        probability = rows[schema.PROBABILITY + level].to_numpy(np.float64)
        roc = roc_points(positive, probability)
        x, y = (roc[f"{rate}_positive_rate"].to_numpy(np.float64) for rate in ("false", "true"))
        curves.append(predictions.Curve(f"{row.letter}  {row.cells[0]}", x, y))
        points = calibration_points(positive, probability)
        parts = (points[column].to_numpy(np.float64) for column in ("predicted", "observed", "low", "high"))
        brier = dict(zip(scored.table.metrics, row.cells, strict=True)).get("brier")
        drawing = predictions.calibration(
            *parts,
            probability=probability,
            level=level,
            alt=f"Calibration of {scored.name}, {row.words}",
            prefix=f"{scored.prefix}{row.letter}",
        )
        said = f"Calibration{scored.repeats}: {len(points)} bins of about equally many images; grey: where the "
        said += f"predictions lie.{f' Brier score {brier}.' if brier else ''}"
        found.append(Panel(row.letter, row.words, drawing, said))
    if not curves:
        return []
    areas = "; ".join(curve.label for curve in curves)
    drawing = predictions.roc(curves, alt=f"ROC curves of {scored.name}; AUC: {areas}", prefix=scored.prefix)
    said = f"Letters as in the table, with the AUC{scored.repeats and '; curves: ' + scored.repeats[2:]}."
    return [Panel("", "ROC", drawing, f"{said} The class that is found is {level}."), *found]


def _one_against_rest(scored: Scored) -> list[Panel]:
    row = min(scored.rows, key=lambda row: not row.is_best, default=None)
    if row is None:
        return []
    rows, curves = scored.drawn[row.letter], []
    levels = [level for level in scored.levels if 0 < (rows["observed"] == level).sum() < len(rows)]
    for level in levels[:MOST_FIGURES]:
        roc = roc_points(rows["observed"] == level, rows[schema.PROBABILITY + level])
        x, y = (roc[f"{rate}_positive_rate"].to_numpy(np.float64) for rate in ("false", "true"))
        area = float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())
        curves.append(predictions.Curve(f"{cut(level)}  {area:.2f}", x, y))
    if not curves:
        return []
    said = f"Each class against the others, with its AUC{scored.repeats}."
    more = len(scored.levels) - len(curves)
    if more:
        said += f" {count(more, 'class', 'classes')} not drawn."
    drawing = predictions.roc(
        curves, alt=f"ROC curves of {scored.name}, each class against the others", prefix=scored.prefix
    )
    return [Panel(row.letter, row.words, drawing, said)]


def bias_panel(scored: Scored) -> Panel | None:
    """Delta against age, raw beside corrected, of the best drawn arm whose predictions were corrected."""
    for row in sorted(scored.rows, key=lambda row: not row.is_best):
        own = scored.drawn[row.letter]
        columns = {"raw": "predicted"} | {
            title: schema.CORRECTED + method
            for method, title in CORRECTIONS.items()
            if schema.CORRECTED + method in own and own[schema.CORRECTED + method].notna().all()
        }
        if len(columns) > 1:
            drawing = predictions.delta(
                own["observed"].to_numpy(np.float64),
                {title: own[column].to_numpy(np.float64) for title, column in columns.items()},
                unit=scored.table.unit,
                alt=f"Predicted less own age against age, {row.words}: {', '.join(columns)}",
                prefix=f"{scored.prefix}bias",
            )
            said = f"{_whom(scored, row)}; orange: the line through the points, dashed: no difference."
            return Panel(row.letter, row.words, drawing, said)
    return None


def drawn_rows(table_of_target: pd.DataFrame, table: ScoreTable) -> dict[str, pd.DataFrame]:
    """Predictions of the first repeat by letter, of the arms that are drawn."""
    first = contents.first_repeat(table_of_target)
    return {row.letter: rows_of(first, row) for row in table.rows if row.letter}


def strip(value: float, low: float, high: float, baseline: float, ends: tuple[float, float]) -> str:
    """A table cell's line: the interval, the value on it, and the baseline as an upright.

    Parameters
    ----------
    value, low, high, baseline : float
        Whatever is NaN is left out.
    ends : tuple of float
        Ends of the axis that the column shares.
    """
    width, height, span = 120.0, 16.0, (ends[1] - ends[0]) or 1.0

    def x(number: float) -> str:
        return f"{6 + (width - 12) * (number - ends[0]) / span:.1f}"

    parts = [f'<svg class="strip" viewBox="0 0 {width:.0f} {height:.0f}" width="120" height="16" aria-hidden="true">']
    if math.isfinite(baseline):
        parts.append(f'<line x1="{x(baseline)}" x2="{x(baseline)}" y1="0" y2="16" class="strip-baseline"/>')
    if math.isfinite(low) and math.isfinite(high):
        parts.append(f'<line x1="{x(low)}" x2="{x(high)}" y1="8" y2="8" class="strip-interval"/>')
    if math.isfinite(value):
        parts.append(f'<circle cx="{x(value)}" cy="8" r="3.6" class="strip-value"/>')
    return "".join([*parts, "</svg>"])
