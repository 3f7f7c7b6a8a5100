"""Read a run, fill the template, write the page: one HTML file that asks nothing of anyone, and figures beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

import featx
from featx import schema
from featx.analysis.inference.breakdown import LEAST_PEOPLE
from featx.analysis.runs.rundir import Run, read_run
from featx.analysis.runs.runwriter import file_stems, slug
from featx.errors import AnalysisError
from featx.report import contents, evidence
from featx.report.answers import MOST_FIGURES, ScoreTable, score_table, strength
from featx.report.blocks import Extras, Grid, Panel, Section
from featx.report.contents import Group, Listing
from featx.report.export import MOST_WITH_PDF, check_folder, write_figures
from featx.report.flow import Flow, flow
from featx.report.privacy import few, private
from featx.report.said.methods import Methods, methods
from featx.report.said.published import PROTOCOLS, published
from featx.report.said.repeat import command
from featx.report.sections.gather import sections_of_run
from featx.report.targets import TargetPart, target_part
from featx.report.templating import environment, write_page
from featx.report.wording import features_words, number

MOST_TARGETS = 30  # of more, the page shows these in full and all of them in one table
MOST_WORDS = 1500  # letters of a command that stands open
LEAST_PRIVATE = 2


@dataclass(frozen=True)
class Page:
    """All that a page shows, before it is text.

    Attributes
    ----------
    run : Run
        Without ids and small cells where the page is private.
    title : str
    tables : mapping of str to ScoreTable
        By target, in the order of the run.
    targets : tuple of TargetPart
        Those that are shown in full.
    sections : tuple of Section
        What concerns all targets.
    flow : Flow or None
    methods : Methods
    folds : tuple of str
        How it was cross-validated, in sentences.
    least : int
        People of a cell that may be shown; 0 where everything may be.
    protocol : str
        Whose published numbers are shown; "" for none.
    is_trained : bool
        Whether its arms are networks that were trained.
    """

    run: Run
    title: str
    tables: Mapping[str, ScoreTable]
    targets: tuple[TargetPart, ...]
    sections: tuple[Section, ...]
    flow: Flow | None
    methods: Methods
    folds: tuple[str, ...]
    least: int
    protocol: str
    is_trained: bool


def write_report(
    run_dir: Path, output: Path | None = None, extras: Extras | None = None, *, with_figures: bool = True
) -> Path:
    """Write one self-contained HTML page about a run; beside it its figures as files, its methods text and BibTeX.

    Parameters
    ----------
    run_dir : Path
        A folder that `featx fit` or `featx train` wrote.
    output : Path, optional
        The page; default report.html in the run. Beside it stand figures/, methods.md and citations.bib, or
        NAME.figures/, NAME.methods.md and NAME.citations.bib where the page is called NAME.html.
    extras : Extras, optional
        What else is shown. Relevance maps in the run's own folder are found without being named.
    with_figures : bool
        Whether figures are written as files too. Without, older ones stay, but for those beside a private page.

    Returns
    -------
    Path
        Of the page. The same run gives the same bytes.

    Raises
    ------
    AnalysisError
        The folder is no run, a part of it is missing or damaged, or the page cannot be written there.
    """
    extras = extras or Extras()
    made = make_page(read_run(run_dir), extras)
    own = run_dir / schema.REPORT_HTML
    output = own if output is None else output
    before = "" if output.resolve() == own.resolve() else f"{output.stem}."
    folder = output.with_name(f"{before}{schema.FIGURES_DIR}")
    if with_figures or extras.is_private:
        check_folder(folder)
    write_page(render(made, with_figures=with_figures), output)
    write_page(made.methods.markdown, output.with_name(f"{before}{schema.METHODS_MD}"))
    write_page(made.methods.bibtex, output.with_name(f"{before}{schema.CITATIONS_BIB}"))
    if with_figures:
        write_figures(named_panels(made), folder, with_pdf=len(made.tables) <= MOST_WITH_PDF)
    elif extras.is_private and folder.exists():  # of an earlier page, which may have shown single people
        shutil.rmtree(folder)
    return output


def make_page(run: Run, extras: Extras) -> Page:
    """All that the page of a run shows.

    Raises
    ------
    AnalysisError
        The protocol is unknown, a private page is to show groups of one person, or a file or folder of `extras` is
        not what it must be.
    """
    extras = _found(run, extras)
    least = extras.least if extras.is_private else 0
    if extras.is_private and least < LEAST_PRIVATE:
        raise AnalysisError(
            f"a group that is shown on a private page must have at least {LEAST_PRIVATE} people; {least} was asked "
            "for; choose a larger --least"
        )
    told = flow(run, least)
    training = _training(run)
    folds = contents.folds(run.facts, run.splits)
    whole, run = run, private(run, least) if least else run
    tables = _score_tables(run)
    targets = [
        target_part(run, facts, tables[str(facts["name"])], f"t{at}", extras) for at, facts in _shown(run, tables)
    ]
    beside = extras.protocol if any(one.published for one in targets) else ""
    section = methods(whole, training, is_private=extras.is_private, protocol=beside)
    return Page(
        run,
        run.path.resolve().name,
        tables,
        tuple(targets),
        tuple(sections_of_run(run, extras)),
        told,
        section,
        tuple(folds),
        least,
        extras.protocol,
        training is not None,
    )


def _found(run: Run, extras: Extras) -> Extras:
    """With the relevance maps that lie in the run."""
    folder = run.path / schema.RELEVANCE_DIR
    inside = sorted(one.parent for one in (*folder.glob("relevance.json"), *folder.glob("*/relevance.json")))
    relevance = (*extras.relevance, *(one for one in inside if one not in extras.relevance))
    if extras.protocol:
        published(extras.protocol)  # refuses an unknown one
    return replace(extras, relevance=relevance)


def _training(run: Run) -> Mapping[str, Any] | None:
    """training.json of a run whose networks were trained; None for others."""
    path = run.path / schema.TRAINING_JSON
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AnalysisError(
            f"a run must be whole; {path} cannot be read ({type(error).__name__}); train again"
        ) from error
    return found if isinstance(found, dict) else None


def render(page: Page, *, with_figures: bool = False) -> str:
    """The page as text.

    Parameters
    ----------
    page : Page
    with_figures : bool
        Whether it names the files of its figures.
    """
    run, facts, least = page.run, page.run.facts, page.least
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=page.title,
            version=featx.__version__,
            least=least,
            is_trained=page.is_trained,
            targets=page.targets,
            sections=page.sections,
            overview=_overview(page),
            cautions=contents.cautions(facts.get("cautions") or []),
            flow=page.flow,
            protocol=PROTOCOLS.get(page.protocol, ""),
            most_figures=MOST_FIGURES,
            least_people=max(LEAST_PEOPLE, least),
            exclusions=_missing(run.exclusions, "target", schema.EXCLUSIONS_CSV, least),
            failures=_missing(run.failures, "step", schema.FAILURES_CSV, least),
            skipped=contents.skipped(facts.get("skipped") or []),
            folds=page.folds,
            sets=_feature_sets(facts.get("features") or []),
            heads=[
                one | {"parameters": _parameters(one), "arm": features_words(one["features"], one["confounds"])}
                for one in facts.get("heads") or []
            ],
            methods=page.methods,
            figures=[(name, one.title) for name, one in named_panels(page).items()] if with_figures else [],
            files=_files(facts),
            command=command(facts) if facts.get("arguments") else "",
            most_words=MOST_WORDS,
            arguments=_arguments(facts.get("arguments")),
            versions=_pairs(facts.get("versions")),
        )
    )


def named_panels(page: Page) -> dict[str, Panel]:
    """Every figure of a page by the name of its files: its target or section, then what it is."""
    stems = file_stems(part.name for part in page.targets)
    found: dict[str, Panel] = {}
    for part in page.targets:
        for panel in part.every_panel:
            rest = panel.drawing.prefix.removeprefix(part.prefix).strip("-") or "figure"
            found[f"{stems[part.name]}--{slug(rest)}"] = panel
    for section in page.sections:
        for panel in section.panels:
            rest = panel.drawing.prefix.removeprefix(section.key).strip("-")
            found["--".join(map(slug, filter(None, (section.key, rest))))] = panel
    return found


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


def _overview(page: Page) -> Grid | None:
    tables = page.tables
    if len(tables) <= MOST_TARGETS:
        return None
    kinds = {str(one["name"]): str(one["kind"]) for one in page.run.facts["targets"]}
    ranked = sorted(tables, key=lambda name: -strength(tables[name]))
    return evidence.overview([(name, kinds[name], tables[name]) for name in ranked], page.run.permutations)


# --- the rest of the page -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Missing:
    """A table of what is missing: by reason, then row by row where people may be named."""

    n: int
    shown: str
    groups: list[Group]
    listing: Listing | None
    file: str


def _missing(table: pd.DataFrame, where: str, file: str, least: int) -> Missing:
    listing = None if least else contents.listing(table)
    return Missing(len(table), few(len(table), least), contents.groups(table, where, least), listing, file)


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
