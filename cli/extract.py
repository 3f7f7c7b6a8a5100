"""featx extract: images through frozen networks into a feature file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx_cli import wanted as ask
from featx_cli.console import (
    SOME_FAILED,
    cache_dir,
    peak_memory,
    progress,
    say,
    say_codes,
    say_reasons,
)

if TYPE_CHECKING:
    from featx.extraction.engine import Running, Summary
    from featx.extraction.job import Job
    from featx.extraction.plan import Request
    from featx.images.image import Image


def command(
    images: ask.Images,
    network: ask.Network = [],  # noqa: B006 - typer copies it
    output: Annotated[Path, typer.Option("--output", "-o", help="The feature file; it is added to.")] = Path(
        "features.h5"
    ),
    weights: ask.Weights = [],  # noqa: B006
    tap: ask.Tap = [],  # noqa: B006
    axis: ask.Axis = [],  # noqa: B006
    pool: ask.Pool = [],  # noqa: B006
    slices: ask.Slices = None,
    size: ask.Size = "",
    channels: ask.Channels = "",
    missing: ask.Missing = [],  # noqa: B006
    resample: ask.Resample = False,
    accept: ask.Accept = [],  # noqa: B006
    device: ask.Device = "auto",
    precision: ask.Precision = "auto",
    compile_: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Let torch compile the blocks between the taps: up to a minute before the first image. It needs a "
            "C++ compiler, and did not pay on a CPU.",
        ),
    ] = False,
    batch_size: ask.BatchSize = "auto",
    workers: ask.Workers = -1,
    threads: ask.Threads = False,
    gpus: Annotated[
        str,
        typer.Option(help="GPUs of this machine, a process for each: all, a number, or 0,1 (extra dask)."),
    ] = "",
    scheduler: Annotated[str, typer.Option(help="Address of a running dask scheduler: its workers extract.")] = "",
    scheduler_file: Annotated[Path | None, typer.Option(help="The file of a running dask scheduler.")] = None,
    shard: Annotated[
        str, typer.Option(help="3/20: the third of twenty parts of the images, for a job array without a scheduler.")
    ] = "",
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, and stop; see `featx plan` too.")] = False,
    recipe: ask.Recipe = None,
) -> None:
    """Run frozen networks over images once and store their pooled features.

    One read of an image feeds every network. Each network gets the images that keep its contract (see `featx check`).
    An image that fails costs only itself: it gets a row with a reason in the failures table, and the exit code is 3.
    Finished work lands in small files beside the output at least once a minute; after a kill, the same command does
    only what is missing; `featx status` tells how far it is. Another network, tap or axis adds to the file.

    \b
    Example:
    featx extract images.csv -n squeezenet1_0.imagenet -n squeezenet1_0.imagenet@random:0 -o features.h5
    """
    from featx import store
    from featx.api.wanting import batch_size_of, precision_of, running_of
    from featx.extraction.jobarray import take_shard
    from featx.images.contract import check_accepted
    from featx.images.index import index_images

    requests = ask.requests_of(network, weights, tap, axis, pool, slices, size, channels, resample, recipe, missing)
    check_accepted(accept)
    batch_size_of(batch_size)
    found = take_shard(index_images(images), shard)
    store.check_writable(output)
    ask.check_torch("extract")
    from featx.extraction.device import choose_device
    from featx.extraction.parts import read_precisions

    held = read_precisions(output)
    precision = precision_of(precision, held, spread=bool(shard or gpus or scheduler or scheduler_file))
    if (gpus or scheduler or scheduler_file) and not dry_run:
        from featx.extraction.engine import Running
        from featx_cli.cluster import extract_there

        summary = extract_there(
            found,
            requests,
            output,
            gpus=gpus,
            scheduler=scheduler,
            scheduler_file=scheduler_file,
            device=device,
            loading={"accept": tuple(accept), "precision": precision, "compiled": compile_},
            running=Running(
                batch_size=batch_size_of(batch_size), workers=workers, processes=not threads, shard=shard
            ),
        )
    else:
        on = choose_device(device)
        here = [one for one in requests if not dry_run or _at_hand(one)]
        jobs = ask.load_jobs(here, on, accept, precision=precision, compiled=compile_, held=held)
        _say_plan(jobs, found, on, output, precision)
        if dry_run:
            return
        summary = _extract(found, jobs, output, on, running_of(on, batch_size, workers, threads, shard))
    _say_summary(summary, output)


def _at_hand(request: Request) -> bool:
    """Whether a request's weights are at hand; if not, says what would be downloaded."""
    if ask.at_hand(request) or request.sheet.weights is None:
        return True
    say(f"{request.sheet.name}: all images to do, after downloading {request.sheet.weights.url}")
    return False


def _extract(images: list[Image], jobs: list[Job], output: Path, device: str, running: Running) -> Summary:
    from featx.extraction.engine import extract

    with progress("images", "images") as update:
        summary = extract(
            images,
            jobs,
            output,
            device=device,
            running=running,
            on_note=say,
            on_progress=lambda at: update(at.finished, at.total, f", {at.failed} failed" if at.failed else ""),
        )
    if summary.n_now:
        beside = ", beside the processes that decode" if running.processes else ""
        say(f"{peak_memory() / 1e9:.2f} GB of memory at most{beside}")
    return summary


def _say_plan(jobs: list[Job], images: list[Image], device: str, output: Path, precision: str) -> None:
    from featx.extraction.engine import missing_jobs
    from featx.extraction.precision import FLOAT32, read_noted, why

    for job in jobs:
        width, made = len(job.sets), job.sets[0].provenance
        told = ""
        if device != "cpu" or made["precision"] != FLOAT32:
            noted = read_noted(made["network"], made["weights_sha256"], cache_dir(), device)
            told = f", in {made['precision']} ({why(precision, noted, made['network'])})"
        say(f"{job.label}: {width} feature set{'s' * (width != 1)}, weights {made['weights']}{told}")
    todo = sum(map(bool, missing_jobs(images, jobs, output).values()))
    say(f"{len(images)} images, {len(images) - todo} done before, {todo} to do, on {device}: {output}")


def _by_network(sets: Mapping[str, tuple[int, ...]]) -> dict[str, list[tuple[int, ...]]]:
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for name, shape in sets.items():
        shapes.setdefault(name.split("/")[0], []).append(shape)
    return shapes


def _say_summary(summary: Summary, output: Path) -> None:
    from featx.api.wanting import write_failures_beside

    rate = f", {summary.n_now / summary.elapsed_s:.2f} images/s" if summary.n_now else ""
    say(f"{summary.n_now} images extracted in {summary.elapsed_s:.1f} s{rate}; {summary.n_before} were done before")
    for network, shapes in _by_network(summary.sets).items():
        rows = sorted({shape[0] for shape in shapes})
        images = f"{rows[0]}" if len(rows) == 1 else f"{rows[0]} to {rows[-1]}"
        width = sum(math.prod(shape[1:]) for shape in shapes)
        say(f"  {network}: {images} images, {len(shapes)} sets, {width} features")
    if summary.told:
        say("found of images, and no reason to refuse them:")
        first = {code: {"image_id": one.image_id, "sentence": one.sentence} for code, one in summary.told.items()}
        say_codes({code: one.n_images for code, one in summary.told.items()}, first)
    table = write_failures_beside(output)
    if summary.n_failed:
        say(f"{summary.n_failed} images failed, the others are whole:")
        say_reasons(summary.failures, table)
        raise typer.Exit(SOME_FAILED)
