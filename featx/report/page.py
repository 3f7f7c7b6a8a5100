"""Read a run, fill the template, write the page: one HTML file that asks nothing of anyone."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup, escape

import featx
from featx import schema
from featx.analysis.cohort.targets import BINARY
from featx.analysis.inference.points import calibration_points, roc_points
from featx.analysis.rundir import Run, read_run
from featx.errors import AnalysisError
from featx.report import contents, figures
from featx.report.contents import Answer, Group, Listing, ScoreRow, ScoreTable
from featx.report.wording import count, number, short_metric


@dataclass(frozen=True)
class Panel:
    """One figure with what it is of."""

    letter: str
    title: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Confusion:
    """True against predicted levels of one head."""

    row: ScoreRow
    rows: list[tuple[str, list[tuple[str, float]], str]]


@dataclass(frozen=True)
class TargetPart:
    """What the page shows of one target."""

    name: str
    kind: str
    unit: str
    levels: list[str]
    summary: Mapping[str, str]
    classes: list[tuple[str, str, str]]
    answer: Answer
    table: ScoreTable
    strips: list[Markup]
    panels: list[Panel]
    confusions: list[Confusion]


def write_report(run_dir: Path, output: Path | None = None) -> Path:
    """Write one self-contained HTML page about a run.

    Parameters
    ----------
    run_dir : Path
        A folder that `featx fit` wrote.
    output : Path, optional
        The page; default report.html in the run.

    Returns
    -------
    Path
        Of the page. The same run gives the same bytes.

    Raises
    ------
    AnalysisError
        The folder is no run, a part of it is missing or damaged, or the page cannot be written there.
    """
    page = render(read_run(run_dir))
    output = run_dir / schema.REPORT_HTML if output is None else output
    try:
        _write_page(page, output)
    except OSError as error:
        raise AnalysisError(
            f"a report must be written to a file in a folder; {output} cannot be ({error.strerror}); "
            "choose another name with -o"
        ) from error
    return output


def _write_page(page: str, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.resolve().with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.write_text(page, encoding="utf-8", newline="\n")
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)


def render(run: Run) -> str:
    """The page of a run as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("featx.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["two_lines"] = _two_lines
    environment.filters["short_metric"] = short_metric
    targets = [_target_part(run, facts, at) for at, facts in enumerate(run.facts["targets"])]
    return environment.get_template("report.html.j2").render(
        title=run.path.resolve().name,
        version=featx.__version__,
        targets=targets,
        flow=contents.flow(
            {"images_failed": run.failures[schema.IMAGE_ID].nunique(), **(run.facts.get("flow") or {})}
        ),
        scored=[(part.name, part.summary["images"], part.summary["people"]) for part in targets],
        most_figures=contents.MOST_FIGURES,
        exclusions=_missing(run.exclusions, "target", schema.EXCLUSIONS_CSV),
        failures=_missing(run.failures, "step", schema.FAILURES_CSV),
        skipped=run.facts.get("skipped") or [],
        folds=_folds(run),
        sets=_feature_sets(run.facts.get("features") or []),
        heads=[one | {"parameters": _parameters(one)} for one in run.facts.get("heads") or []],
        phenotypes=_pairs(run.facts.get("phenotypes")),
        command=contents.command(run.facts),
        arguments=_pairs(run.facts.get("arguments")),
        versions=_pairs(run.facts.get("versions")),
    )


# --- one target -----------------------------------------------------------------------------------------------


def _target_part(run: Run, facts: Mapping[str, Any], at: int) -> TargetPart:
    name = str(facts["name"])
    scores = run.scores[run.scores["target"] == name]
    predictions = run.predictions[name]
    unit = contents.unit_of(facts)
    table = contents.score_table(scores, unit)
    images = contents.scored_images(predictions)
    continuous = contents.is_continuous(facts)
    levels = [] if continuous else contents.levels_of(facts, predictions)
    drawn = [row for row in table.rows if row.letter]
    of = {row.letter: _rows_of(predictions, row) for row in drawn}
    if continuous:
        panels = _scatters(f"{name} ({unit})" if unit else name, table, drawn, of, f"t{at}")
    elif facts["kind"] == BINARY:
        panels = _binary_panels(name, levels[-1], drawn, of, f"t{at}")
    else:
        panels = [_one_against_rest(name, levels, drawn[0], of[drawn[0].letter], f"t{at}")] if drawn else []
    return TargetPart(
        name=name,
        kind=str(facts["kind"]),
        unit=unit,
        levels=levels,
        summary=contents.numeric_summary(images) if continuous else contents.size_summary(images),
        classes=[] if continuous else contents.class_summary(images, levels),
        answer=contents.answer(name, table, scores, unit),
        table=table,
        strips=[Markup(figures.strip(*row.numbers, table.ends)) for row in table.rows],
        panels=panels,
        confusions=[Confusion(row, contents.confusion(of[row.letter], levels)) for row in drawn if levels],
    )


def _rows_of(predictions: pd.DataFrame, row: ScoreRow) -> pd.DataFrame:
    return predictions[(predictions["features"] == row.features) & (predictions["head"] == row.head)]


def _scatters(
    name: str, table: ScoreTable, drawn: Sequence[ScoreRow], of: Mapping[str, pd.DataFrame], prefix: str
) -> list[Panel]:
    numbers = {letter: rows[["observed", "predicted"]].to_numpy(np.float64) for letter, rows in of.items()}
    every = np.concatenate(list(numbers.values())) if numbers else np.zeros((1, 2))
    panels = []
    for row in drawn:
        scores = dict(zip(table.metrics, row.cells, strict=True))
        note = [f"{short_metric(metric)} {scores[metric]}" for metric in ("mae", "r") if metric in scores]
        svg = figures.scatter(
            numbers[row.letter][:, 0],
            numbers[row.letter][:, 1],
            ends=(float(every.min()), float(every.max())),
            target=name,
            note="\n".join(note),
            alt=f"Predicted against true {name}, {row.head} on {row.features}: {'; '.join(note)}",
            prefix=f"{prefix}{row.letter}",
        )
        said = f"{contents.count_images(row.n)}, out of fold; dashed: predicted equals true."
        panels.append(Panel(row.letter, _title(row), Markup(svg), said))
    return panels


def _binary_panels(
    name: str, level: str, drawn: Sequence[ScoreRow], of: Mapping[str, pd.DataFrame], prefix: str
) -> list[Panel]:
    curves, panels = [], []
    for row in drawn:
        rows = of[row.letter]
        positive = (rows["observed"] == level).to_numpy()
        probability = rows[schema.PROBABILITY + level].to_numpy(np.float64)
        roc = roc_points(positive, probability)
        label = f"{row.letter}  {row.cells[0]}"
        x, y = (roc[f"{rate}_positive_rate"].to_numpy(np.float64) for rate in ("false", "true"))
        curves.append(figures.Curve(label, x, y))
        points = calibration_points(positive, probability)
        parts = (points[column].to_numpy(np.float64) for column in ("predicted", "observed", "low", "high"))
        svg = figures.calibration(
            *parts,
            probability=probability,
            level=level,
            alt=f"Calibration of {name}, {row.head} on {row.features}",
            prefix=f"{prefix}{row.letter}",
        )
        said = f"Calibration: {len(points)} bins of about equally many images; grey: where the predictions lie."
        panels.append(Panel(row.letter, _title(row), Markup(svg), said))
    if not curves:
        return []
    areas = "; ".join(curve.label for curve in curves)
    svg = figures.roc(curves, alt=f"ROC curves of {name}; AUC: {areas}", prefix=prefix)
    said = f"Letters as in the table, with the AUC. The class that is found is {level}."
    return [Panel("", "ROC", Markup(svg), said), *panels]


def _one_against_rest(name: str, levels: Sequence[str], row: ScoreRow, rows: pd.DataFrame, prefix: str) -> Panel:
    curves = []
    for level in levels[: contents.MOST_FIGURES]:
        roc = roc_points(rows["observed"] == level, rows[schema.PROBABILITY + level])
        x, y = (roc[f"{rate}_positive_rate"].to_numpy(np.float64) for rate in ("false", "true"))
        area = float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())
        curves.append(figures.Curve(f"{figures.cut(level)}  {area:.2f}", x, y))
    more = len(levels) - len(curves)
    said = "Each class against the others, with its AUC."
    if more:
        said += f" {count(more, 'class', 'classes')} not drawn."
    svg = figures.roc(curves, alt=f"ROC curves of {name}, each class against the others", prefix=prefix)
    return Panel(row.letter, _title(row), Markup(svg), said)


def _title(row: ScoreRow) -> str:
    return f"{row.head} on {row.features}"


# --- the rest of the page -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Missing:
    """A table of what is missing: by reason, then row by row."""

    n: int
    groups: list[Group]
    listing: Listing
    file: str


def _missing(table: pd.DataFrame, where: str, file: str) -> Missing:
    return Missing(len(table), contents.groups(table, where), contents.listing(table), file)


def _feature_sets(features: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Every feature set once, with what run.json says of it in the order of featx.schema."""
    found: dict[str, list[tuple[str, str]]] = {}
    wanted = ("n_features", *schema.names(schema.PROVENANCE), schema.KEY)
    for combination in features:
        for one in combination["sets"]:
            facts = dict(one.get("provenance") or {}) | dict(one)
            found[str(one["name"])] = [(name, str(facts[name])) for name in wanted if name in facts]
    return list(found.items())


def _folds(run: Run) -> list[str]:
    """How it was cross-validated, as far as the run says and the splits show."""
    if not len(run.splits):
        return []
    asked = run.facts.get("arguments") or {}
    folds = {int(n) for n in run.splits.groupby("target")["fold"].nunique()}
    said = [f"{' or '.join(str(n) for n in sorted(folds))} outer folds, counted in splits.csv."]
    if "n_inner" in asked:
        said.append(f"{asked['n_inner']} inner folds were asked for, to choose the heads' parameters.")
    if "random_state" in asked:
        said.append(f"Seed (random_state) {asked['random_state']}.")
    twice = contents.people_in_two_folds(run.splits)
    if twice:
        said.append(f"Warning: {count(twice, 'person is', 'people are')} test in more than one fold of a target.")
    else:
        said.append("Checked in splits.csv: nobody is test in two folds of one target.")
    return said


def _parameters(head: Mapping[str, Any]) -> str:
    chosen = head.get("parameters") or {}
    return ", ".join(f"{name} {number(float(value))}" for name, value in chosen.items())


def _pairs(value: Any) -> list[tuple[str, str]]:
    """A mapping of run.json as text; what is not text is shown as JSON."""
    if not isinstance(value, Mapping):
        return []
    return [(str(key), one if isinstance(one, str) else json.dumps(one)) for key, one in value.items()]


def _breakable(text: object) -> Markup:
    """Escaped text that may break after the separators of names and paths, but not inside a number."""
    return Markup(re.sub(r"([/_+]|\.(?=[^\W\d]))", r"\1<wbr>", str(escape(text))))


def _two_lines(cell: str) -> Markup:
    """A score with its interval beneath."""
    value, bracket, interval = cell.partition(" [")
    if not bracket:
        return escape(cell)
    return Markup('{} <span class="interval">[{}</span>').format(value, interval)
