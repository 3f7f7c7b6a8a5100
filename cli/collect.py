"""featx collect: parts, and feature files of other outputs, into one feature file."""

from __future__ import annotations

import math
from pathlib import Path

import typer

from featx_cli.console import say, say_reasons, write_failures


def command(
    output: Path = typer.Argument(help="The feature file; its own parts, if there are any, are merged into it."),
    others: list[Path] = typer.Argument(
        None, help="Feature files of other outputs (with the parts beside them), or folders of parts. They stay."
    ),
) -> None:
    """Merge parts into their feature file, and feature files of other jobs into one.

    `featx extract` does it at its end. This is for jobs that did not come to theirs, and for a job array whose jobs
    wrote to outputs of their own. The file is replaced in one step; after a kill the same command goes on, and doing
    it again changes nothing. Files that were made in different ways are refused. Of two rows of one image in one set
    the first is kept: they were made the same way.

    \b
    Example:
    featx collect features.h5 job-*/features.h5
    """
    from featx import store
    from featx.extraction.jobarray import gather

    store.check_writable(output)
    n_files = gather(output, others or [])
    say(f"{n_files} file{'s' * (n_files != 1)} collected: {output}")
    for name, shape in store.read_shapes(output).items():
        say(f"  {name}: {shape[0]} images, {math.prod(shape[1:])} features")
    failures = store.read_failures(output)
    table = output.with_suffix(".failures.csv")
    write_failures(failures, table)
    if failures:
        say(f"{len({row['image_id'] for row in failures})} images failed:")
        say_reasons(failures, table)
