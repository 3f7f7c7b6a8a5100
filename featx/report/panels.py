"""The figures of one target, with what they are of: arms of a run to panels of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.targets import BINARY, ORDINAL
from featx.analysis.inference.points import calibration_points, roc_points
from featx.report import contents
from featx.report.answers import MOST_FIGURES, ScoreRow, ScoreTable, count_images, n_only_training
from featx.report.blocks import Panel
from featx.report.evidence import CORRECTIONS, rows_of
from featx.report.figures import predictions
from featx.report.figures.canvas import Drawing, cut
from featx.report.figures.densities import densities
from featx.report.privacy import cells, hidden
from featx.report.wording import count, short_metric

Floats = NDArray[np.float64]


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
    least : int
        People of a cell that may be drawn; 0 where single people may be.
    """

    facts: Mapping[str, Any]
    table: ScoreTable
    drawn: Mapping[str, pd.DataFrame]
    levels: Mapping[str, str]
    prefix: str
    least: int = 0

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
            "prefix": f"{scored.prefix}-predicted-{row.letter}",
        }
        data = _points(scored.drawn[row.letter], own)
        if scored.least:
            drawing, data = _densities(scored, row, own, common)
            said = f"people in each cell, of fewer than {scored.least} none; dashed: predicted equals true"
        elif scored.facts["kind"] == ORDINAL and not row.is_residual:
            levels = {float(number): label for number, label in scored.levels.items()}
            drawing = predictions.by_level(own[:, 0], own[:, 1], levels=levels, **common)
            said = "orange: the median of each true level"
        else:
            ends = own if row.is_residual else every
            drawing = predictions.scatter(own[:, 0], own[:, 1], ends=(float(ends.min()), float(ends.max())), **common)
            said = "dashed: predicted equals true"
        if row.is_residual:
            said += "; true and predicted less what the confounds say of the target"
        found.append(Panel(row.letter, row.words, drawing, f"{_whom(scored, row)}; {said}.", data))
    return found


def _points(rows: pd.DataFrame, own: Floats) -> pd.DataFrame:
    """What is drawn, for a file: the image, true and predicted."""
    return pd.DataFrame({schema.IMAGE_ID: rows[schema.IMAGE_ID], "observed": own[:, 0], "predicted": own[:, 1]})


def _densities(scored: Scored, row: ScoreRow, own: Floats, common: Mapping[str, Any]) -> tuple[Drawing, pd.DataFrame]:
    people = scored.drawn[row.letter][schema.PARTICIPANT_ID].to_numpy(dtype=object)
    counted = cells(own[:, 0], own[:, 1], people, scored.least)
    drawing = densities(
        {"": counted},
        labels=(f"true {common['target']}", f"predicted {common['target']}"),
        line="equal",
        note=common["note"].replace("\n", "; "),
        alt=f"{common['alt']}; people in cells",
        prefix=common["prefix"],
    )
    return drawing, counted


def _whom(scored: Scored, row: ScoreRow) -> str:
    return f"{count_images(row.n)}, {'tested' if n_only_training(scored.facts) else 'out of fold'}{scored.repeats}"


def _binary(scored: Scored) -> list[Panel]:
    level = list(scored.levels)[-1]
    curves, found, data = [], [], []
    for row in scored.rows:
        rows = _apart(scored.drawn[row.letter], scored.least)
        positive = (rows["observed"] == level).to_numpy()
        if positive.all() or not positive.any():
            continue  # test people of one class: there is no curve
        probability = rows[schema.PROBABILITY + level].to_numpy(np.float64)
        roc = _roc(positive, probability, scored.least)
        curves.append(predictions.Curve(f"{row.letter}  {row.cells[0]}", *_rates(roc)))
        data.append(roc.assign(letter=row.letter, arm=row.words))
        found += _calibration(scored, row, positive, probability)
    if not curves:
        return []
    areas = "; ".join(curve.label for curve in curves)
    drawing = predictions.roc(curves, alt=f"ROC curves of {scored.name}; AUC: {areas}", prefix=f"{scored.prefix}-roc")
    said = f"Letters as in the table, with the AUC{scored.repeats and '; curves: ' + scored.repeats[2:]}."
    said += f" The class that is found is {level}."
    return [Panel("", "ROC", drawing, said + _thinned(scored), pd.concat(data)), *found]


def _apart(rows: pd.DataFrame, least: int) -> pd.DataFrame:
    """An image for each person where people are counted; all images where they are not."""
    return rows.drop_duplicates(schema.PARTICIPANT_ID) if least else rows


def _thinned(scored: Scored) -> str:
    return f" Between points that lie {scored.least} people apart the curves are straight." if scored.least else ""


def _rates(roc: pd.DataFrame) -> tuple[Floats, Floats]:
    return roc["false_positive_rate"].to_numpy(np.float64), roc["true_positive_rate"].to_numpy(np.float64)


def _roc(positive: NDArray[np.bool_], probability: Floats, least: int) -> pd.DataFrame:
    """A ROC curve; of people who may not be told apart, at steps of `least` of those without the class."""
    roc = roc_points(positive, probability)
    if not least:
        return roc
    false, true = _rates(roc)
    n_steps = max(1, int((~positive).sum()) // least)
    x = np.linspace(0.0, 1.0, n_steps + 1)
    return pd.DataFrame({"false_positive_rate": x, "true_positive_rate": np.r_[0.0, np.interp(x[1:], false, true)]})


def _calibration(scored: Scored, row: ScoreRow, positive: NDArray[np.bool_], probability: Floats) -> list[Panel]:
    level, least = list(scored.levels)[-1], scored.least
    points = _private_bins(positive, probability, least) if least else calibration_points(positive, probability, 10)
    if least:
        bins = np.minimum((probability * 20).astype(int), 19)
        probability = probability[np.bincount(bins, minlength=20)[bins] >= least]
    if not len(points) or not len(probability):
        return []
    parts = (points[column].to_numpy(np.float64) for column in ("predicted", "observed", "low", "high"))
    brier = dict(zip(scored.table.metrics, row.cells, strict=True)).get("brier")
    drawing = predictions.calibration(
        *parts,
        probability=probability,
        level=level,
        alt=f"Calibration of {scored.name}, {row.words}",
        prefix=f"{scored.prefix}-calibration-{row.letter}",
    )
    kept = f", those with fewer than {least} people of a class left out" if least else ""
    said = (
        f"Calibration{scored.repeats}: {count(len(points), 'bin')} of about equally many images{kept}; grey: where "
    )
    said += f"the predictions lie.{f' Brier score {brier}.' if brier else ''}"
    return [Panel(row.letter, row.words, drawing, said, points)]


def _private_bins(positive: NDArray[np.bool_], probability: Floats, least: int) -> pd.DataFrame:
    """Bins of a calibration curve without those in which a few are of one class: of as many bins as leave most in."""
    kept: list[pd.DataFrame] = []
    for n_bins in range(1, min(10, len(probability) // least) + 1):
        points = calibration_points(positive, probability, n_bins)
        n_positive = (points["observed"] * points["n"]).round().astype(int)
        fewest = [min(one for one in pair if one) for pair in zip(n_positive, points["n"] - n_positive, strict=True)]
        kept.append(points[~np.array(hidden(fewest, least))])
    return max(reversed(kept), key=lambda one: one["n"].sum(), default=pd.DataFrame())


def _one_against_rest(scored: Scored) -> list[Panel]:
    row = min(scored.rows, key=lambda row: not row.is_best, default=None)
    if row is None:
        return []
    rows = _apart(scored.drawn[row.letter], scored.least)
    curves, data = [], []
    n = {level: int((rows["observed"] == level).sum()) for level in scored.levels}
    levels = [level for level in scored.levels if max(1, scored.least) <= n[level] < len(rows)]
    for level in levels[:MOST_FIGURES]:
        positive = (rows["observed"] == level).to_numpy()
        x, y = _rates(roc_points(positive, rows[schema.PROBABILITY + level]))
        area = float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())
        roc = _roc(positive, rows[schema.PROBABILITY + level].to_numpy(np.float64), scored.least)
        curves.append(predictions.Curve(f"{cut(level)}  {area:.2f}", *_rates(roc)))
        data.append(roc.assign(level=level))
    if not curves:
        return []
    said = f"Each class against the others, with its AUC{scored.repeats}."
    more = len(scored.levels) - len(curves)
    if more:
        said += f" {count(more, 'class', 'classes')} not drawn."
    drawing = predictions.roc(
        curves, alt=f"ROC curves of {scored.name}, each class against the others", prefix=f"{scored.prefix}-roc"
    )
    return [Panel(row.letter, row.words, drawing, said + _thinned(scored), pd.concat(data))]


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
            return _bias(scored, row, {title: own[column].to_numpy(np.float64) for title, column in columns.items()})
    return None


def _bias(scored: Scored, row: ScoreRow, predicted: Mapping[str, Floats]) -> Panel:
    own = scored.drawn[row.letter]
    age = own["observed"].to_numpy(np.float64)
    common = {
        "alt": f"Predicted less own age against age, {row.words}: {', '.join(predicted)}",
        "prefix": f"{scored.prefix}-age-bias",
    }
    unit = scored.table.unit
    if not scored.least:
        drawing = predictions.delta(age, predicted, unit=unit, **common)
        data = pd.DataFrame({schema.IMAGE_ID: own[schema.IMAGE_ID], "age": age, **predicted})
        said = "orange: the line through the points, dashed: no difference"
    else:
        people = own[schema.PARTICIPANT_ID].to_numpy(dtype=object)
        counted = {title: cells(age, one - age, people, scored.least) for title, one in predicted.items()}
        of = f" ({unit})" if unit else ""
        drawing = densities(counted, labels=(f"age{of}", f"predicted − age{of}"), line="zero", **common)
        data = pd.concat([one.assign(correction=title) for title, one in counted.items()])
        said = f"people in each cell, of fewer than {scored.least} none; dashed: no difference"
    return Panel(row.letter, row.words, drawing, f"{_whom(scored, row)}; {said}.", data)


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
