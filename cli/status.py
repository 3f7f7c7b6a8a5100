"""featx status: how far an extraction is."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from featx_cli.console import say, say_codes

if TYPE_CHECKING:
    from featx.extraction.status import Progress, Status, Writer

MOST_WRITERS = 20  # that are told


def command(
    job: Path = typer.Argument(
        help="The feature file that `featx extract -o` names, whether it is there yet or not."
    ),
    as_json: bool = typer.Option(False, "--json", help="All of it as one line of JSON."),
    watch: bool = typer.Option(False, "--watch", help="Look again and again, until nobody writes any more."),
    every: float = typer.Option(10.0, min=0.1, help="With --watch: seconds between looks."),
) -> None:
    """How far an extraction is: images done, failed and left, images per second, time left, and who writes.

    It reads the feature file, the parts beside it and what their writers tell of themselves, on this machine or on
    others, and changes nothing. It may be asked at any moment, and after the end.

    \b
    Example:
    featx status features.h5 --watch
    """
    from featx.extraction.record import WRITING
    from featx.extraction.status import read_status

    while True:
        status = read_status(job)
        if watch and sys.stdout.isatty():
            typer.clear()
        say(json.dumps(_plain(status))) if as_json else _say_status(status, job)
        if not watch or not any(one.state == WRITING for one in status.writers):
            return
        time.sleep(every)


def _plain(status: Status) -> dict[str, Any]:
    """The status as JSON has it; failures are told by the feature file."""
    told = dataclasses.asdict(status)
    del told["failures"]
    for writer in told["writers"]:
        del writer["record"]["samples"]
    return told


def _say_status(status: Status, job: Path) -> None:
    say(f"{job}: {_told(status.images)}")
    if status.recent:
        left = f"; {_clock(status.left_s)} left" if status.left_s is not None else ""
        say(f"  {status.recent:.2f} images/s in the last minutes, {status.overall:.2f} overall{left}")
    elif status.overall:
        say(f"  {status.overall:.2f} images/s when it ran last")
    for label, progress in status.networks.items():
        say(f"  {label}: {_told(progress)}")
    if status.failures:
        say("failed:")
        say_codes(status.codes, _first(status))
    writing = _say_writers(status)
    if status.images.left and not writing:
        say("nobody writes: the same `featx extract` again does what is left")


def _first(status: Status) -> Mapping[str, Mapping[str, str]]:
    return {row["code"]: row for row in reversed(status.failures)}


def _told(progress: Progress) -> str:
    if progress.asked is None:
        return f"{progress.done} images done, {progress.failed} failed; nobody told how many were asked for"
    return f"{progress.done} of {progress.asked} images done, {progress.failed} failed, {progress.left} left"


def _say_writers(status: Status) -> bool:
    """Say who writes, the last ones; whether anybody does."""
    from featx.extraction.record import WRITING

    shown = sorted(status.writers, key=lambda one: (one.state == WRITING, one.record.last))[-MOST_WRITERS:]
    if shown:
        say(
            "writers:"
            if len(shown) == len(status.writers)
            else f"the last {len(shown)} of {len(status.writers)} writers:"
        )
    for one in reversed(shown):
        say(f"  {_writer(one)}")
    return any(one.state == WRITING for one in status.writers)


_STATES = {
    "died": "died (its process is gone)",
    "silent": "silent: it may be dead",
    "stopped": "stopped by an error or by hand",
}


def _writer(one: Writer) -> str:
    record = one.record
    todo = record.n_images - record.n_before
    shard = f", shard {record.shard}" if record.shard else ""
    device = f" on {record.device}" if record.device else ""
    return (
        f"{record.host}, process {record.pid}{device}{shard}: {_STATES.get(one.state, one.state)}, "
        f"{record.finished} of {todo} finished, {record.failed} failed, "
        f"last sign of life {_clock(one.silent_s)} ago"
    )


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
