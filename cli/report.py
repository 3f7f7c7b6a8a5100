"""featx report: one HTML page of a run, its figures as files, its methods text and its citations."""

from __future__ import annotations

from pathlib import Path

import typer

from featx_cli.console import say


def command(
    run: Path = typer.Argument(help="The folder that `featx fit` or `featx train` wrote."),
    output: Path | None = typer.Option(None, "--output", "-o", help="The page; RUN/report.html if not given."),
    features: list[Path] = typer.Option(
        [],
        "--features",
        "-f",
        help="A feature file of the run, for maps of its features; may be given several times.",
    ),
    qc: Path | None = typer.Option(
        None, "--qc", help="A folder of `featx qc`: the images predicted worst are shown with their slices."
    ),
    curve: list[Path] = typer.Option([], "--curve", help="A folder of `featx curve`; may be given several times."),
    relevance: list[Path] = typer.Option(
        [], "--relevance", help="A folder of `featx relevance`; those in RUN/relevance/ are found without it."
    ),
    protocol: str = typer.Option(
        "", "--protocol", help="Show what this work published beside one's own scores: holderrieth2022 and so on."
    ),
    privacy: bool = typer.Option(
        False, "--privacy", help="Leave out every id, single points, ranges and groups of few people; see --least."
    ),
    least: int = typer.Option(10, "--least", min=2, help="With --privacy: people of a group that may be shown."),
    figures: bool = typer.Option(
        True, "--figures/--no-figures", help="Write each figure as SVG and PDF, and its numbers as CSV."
    ),
) -> None:
    """Write one self-contained page: the answer, cautions, the flow of people, scores with intervals, comparisons,
    figures, failures, a methods text with citations, provenance.

    Of more than 30 targets all stand in one table, and the 30 best are shown in full. The page asks for nothing from
    outside and opens offline. Beside it: figures/ (SVG, PDF, CSV; of more than 10 targets no PDF), methods.md and
    citations.bib, written from what the run did.

    To pass it on, name another page, which gets figures of its own:

    \b
        featx report run/ --features features.h5 --qc qc/
        featx report run/ --privacy -o public/age.html
    """
    from featx.report.blocks import Extras
    from featx.report.page import write_report

    extras = Extras(
        features=tuple(features),
        qc=qc,
        curves=tuple(curve),
        relevance=tuple(relevance),
        protocol=protocol,
        is_private=privacy,
        least=least,
    )
    say(str(write_report(run, output, extras, with_figures=figures)))
