"""featx report: one HTML page of a run."""

from __future__ import annotations

from pathlib import Path

import typer

from featx_cli.console import say


def command(
    run: Path = typer.Argument(help="The folder that `featx fit` wrote."),
    output: Path | None = typer.Option(None, "--output", "-o", help="The page; RUN/report.html if not given."),
) -> None:
    """Write one self-contained page: the answer, cautions, the people, scores with intervals, comparisons, figures,
    failures, provenance.

    Of more than 30 targets all stand in one table, and the 30 best are shown in full. The page asks for nothing from
    outside and opens offline.
    """
    from featx.report.page import write_report

    say(str(write_report(run, output)))
