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
import pandas as pd
from markupsafe import Markup, escape

import featx
from featx import schema
from featx.analysis.cohort.targets import CONTINUOUS, ORDINAL
from featx.analysis.inference.breakdown import LEAST_PEOPLE
from featx.analysis.runs.rundir import Run, read_run
from featx.errors import AnalysisError
from featx.report import contents, evidence, panels
from featx.report.answers import MOST_FIGURES, Answer, ScoreRow, ScoreTable, answer, score_table, strength
from featx.report.blocks import Grid, Panel
from featx.report.contents import Group, Listing
from featx.report.evidence import Compared, Parts
from featx.report.figures.canvas import as_svg
from featx.report.panels import Scored
from featx.report.repeat import command
from featx.report.wording import features_words, number, short_metric

MOST_TARGETS = 30  # of more, the page shows these in full and all of them in one table
MOST_WORDS = 1500  # letters of a command that stands open


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

    @property
    def part_words(self) -> str:
        """What the people are broken down by."""
        captions = dict.fromkeys(grid.caption for part in self.parts for grid in part.grids)
        return ", ".join([next(iter(captions)), *(one.lower() for one in list(captions)[1:])])


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
    environment.filters["as_svg"] = lambda drawing: Markup(as_svg(drawing))
    environment.filters["breakable"] = _breakable
    environment.filters["two_lines"] = _two_lines
    environment.filters["short_metric"] = short_metric
    tables = _score_tables(run)
    shown = _shown(run, tables)
    targets = [_target_part(run, facts, tables[str(facts["name"])], f"t{at}") for at, facts in shown]
    return environment.get_template("report.html.j2").render(
        title=run.path.resolve().name,
        version=featx.__version__,
        targets=targets,
        overview=_overview(run, tables),
        cautions=contents.cautions(run.facts.get("cautions") or []),
        flow=contents.flow(
            {"images_failed": run.failures[schema.IMAGE_ID].nunique(), **(run.facts.get("flow") or {})}
        ),
        scored=[(part.name, part.summary["images"], part.summary["people"]) for part in targets],
        most_figures=MOST_FIGURES,
        least_people=LEAST_PEOPLE,
        exclusions=_missing(run.exclusions, "target", schema.EXCLUSIONS_CSV),
        failures=_missing(run.failures, "step", schema.FAILURES_CSV),
        skipped=contents.skipped(run.facts.get("skipped") or []),
        folds=contents.folds(run.facts, run.splits),
        sets=_feature_sets(run.facts.get("features") or []),
        heads=[
            one | {"parameters": _parameters(one), "arm": features_words(one["features"], one["confounds"])}
            for one in run.facts.get("heads") or []
        ],
        files=_files(run.facts),
        command=command(run.facts),
        most_words=MOST_WORDS,
        arguments=_arguments(run.facts.get("arguments")),
        versions=_pairs(run.facts.get("versions")),
    )


# --- targets --------------------------------------------------------------------------------------------------


def _score_tables(run: Run) -> dict[str, ScoreTable]:
    """By target, in the order of the run."""
    units = {str(one["name"]): str(one.get("unit", "")) for one in run.facts["targets"]}
    own = dict(list(run.scores.groupby("target", sort=False)))
    return {name: score_table(own[name], unit) for name, unit in units.items()}


def _shown(run: Run, tables: Mapping[str, ScoreTable]) -> list[tuple[int, Mapping[str, Any]]]:
    """Targets that are shown in full, with their place in the run: all in its order, or the best of very many."""
    every = list(enumerate(run.facts["targets"]))
    if len(every) <= MOST_TARGETS:
        return every
    return sorted(every, key=lambda one: -strength(tables[str(one[1]["name"])]))[:MOST_TARGETS]


def _overview(run: Run, tables: Mapping[str, ScoreTable]) -> Grid | None:
    if len(tables) <= MOST_TARGETS:
        return None
    kinds = {str(one["name"]): str(one["kind"]) for one in run.facts["targets"]}
    ranked = sorted(tables, key=lambda name: -strength(tables[name]))
    return evidence.overview([(name, kinds[name], tables[name]) for name in ranked], run.permutations)


def _target_part(run: Run, facts: Mapping[str, Any], table: ScoreTable, prefix: str) -> TargetPart:
    name, is_number = str(facts["name"]), contents.is_number(facts)
    every = (run.scores, run.comparisons, run.permutations, run.breakdowns, run.age_bias)
    scores, comparisons, permutations, breakdowns, age_bias = (one[one["target"] == name] for one in every)
    predictions = run.predictions[name]
    images = contents.scored_images(predictions)
    levels = _levels(facts, predictions, images)
    scored = Scored(facts, table, panels.drawn_rows(predictions, table), levels, prefix)
    drawn = [(row, scored.drawn[row.letter]) for row in scored.rows]
    chance, bias = evidence.chance(permutations), evidence.age_bias(age_bias, table)
    n_repeats = int(predictions["repeat"].max()) + 1
    return TargetPart(
        name=name,
        kind=str(facts["kind"]),
        unit=table.unit,
        is_number=is_number,
        levels=list(levels),
        summary=contents.numeric_summary(images) if is_number else contents.size_summary(images),
        classes=contents.class_summary(images, levels),
        answer=answer(facts, table, scores, comparisons),
        table=table,
        strips=[Markup(panels.strip(*row.numbers, table.ends)) for row in table.rows],
        panels=panels.panels(scored),
        confusions=[]
        if is_number
        else [Confusion(row, contents.confusion(rows, list(levels))) for row, rows in drawn],
        n_repeats=n_repeats,
        compared=evidence.compared(comparisons, table),
        chance=Told(chance[0], (chance[1],)) if chance else None,
        parts=evidence.parts(breakdowns, table),
        worst=evidence.worst(
            breakdowns, contents.first_repeat(predictions), table, is_number=is_number, n_repeats=n_repeats
        ),
        bias=Told(*bias, panels.bias_panel(scored)) if bias else None,
    )


def _levels(facts: Mapping[str, Any], predictions: pd.DataFrame, images: pd.DataFrame) -> dict[str, str]:
    """Levels as observed to their labels; none for a continuous target."""
    if facts["kind"] == CONTINUOUS:
        return {}
    if facts["kind"] == ORDINAL:
        return contents.ordinal_levels(facts, images)
    return {level: level for level in contents.levels_of(facts, predictions)}


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


def _parameters(head: Mapping[str, Any]) -> str:
    chosen = head.get("parameters") or {}
    return ", ".join(f"{name} {one if isinstance(one, str) else number(float(one))}" for name, one in chosen.items())


def _files(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and digest of the files that the run read: features and tables, then the phenotype table."""
    every = [*(facts.get("sources") or []), facts.get("phenotypes") or {}]
    return [(str(one["file"]), str(one.get("sha256", ""))) for one in every if one.get("file")]


def _arguments(arguments: Any) -> list[tuple[str, str]]:
    """Arguments of a run, parts of parts under 'part: name'."""
    found = []
    for name, value in (arguments or {}).items():
        nested = isinstance(value, Mapping) and name in ("folding", "columns", "adjusting", "inferring", "options")
        found += [(f"{name}: {key}", text) for key, text in _pairs(value)] if nested else _pairs({name: value})
    return found


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
