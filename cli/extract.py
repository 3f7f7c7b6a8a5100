"""featx extract: images through frozen networks into a feature file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featx_cli.console import SOME_FAILED, cache_dir, progress, say, say_codes, say_reasons, write_failures

if TYPE_CHECKING:
    from featx.extraction.engine import Summary
    from featx.extraction.job import Job
    from featx.extraction.plan import Request


def command(
    images: str = typer.Argument(help="images.csv of `featx index`, or anything that `featx index` takes."),
    network: list[str] = typer.Option(
        [], "--network", "-n", help="NAME, or NAME@WEIGHTS such as resnet18.imagenet@random:0. May be repeated."
    ),
    output: Path = typer.Option(Path("features.h5"), "--output", "-o", help="The feature file; it is added to."),
    weights: list[str] = typer.Option(
        [],
        help="NAME=FILE, NAME=random:SEED, NAME=reinit:SEED (redrawn at the official ones' scale) or NAME=official "
        "(the default: downloaded once, verified, cached).",
    ),
    tap: list[str] = typer.Option(
        [],
        help="Where the network is read: a tap of its sheet, 'all' of them, or the path of any module; behind it "
        "':max' for the largest value of a slice, ':cls' for the class token. May be repeated.",
    ),
    axis: list[str] = typer.Option([], help="For networks on slices: sagittal, coronal, axial. May be repeated."),
    pool: list[str] = typer.Option(
        [],
        help="mean, max, std, concat (slices one behind the other) or slices (each slice's row is kept, and "
        "`featx fit` chooses later). May be repeated.",
    ),
    slices: int | None = typer.Option(None, min=1, help="Slices (frames) per axis, instead of the network's number."),
    size: str = typer.Option("", help="Edge of the slices in pixels, instead of the network's; 'native' for none."),
    channels: str = typer.Option("", help="replicate (a slice to red, green and blue) or neighbours (2.5D)."),
    resample: bool = typer.Option(False, help="Resample volumes on another grid by their affine, not refuse them."),
    accept: list[str] = typer.Option(
        [],
        help="Let a misfit through, knowingly: background-not-zero, standardised, not-a-scan, not-skull-stripped, "
        "too-little-brain, not-registered or wrong-range (`featx check` tells them). May be repeated.",
    ),
    device: str = typer.Option("auto", help="auto, cpu or cuda."),
    batch_size: int = typer.Option(0, min=0, help="Images per forward pass; 0 chooses (CPU 1, GPU what fits)."),
    workers: int = typer.Option(-1, min=-1, help="Who decode ahead; -1 chooses (CPU 1, GPU a core each, up to 16)."),
    threads: bool = typer.Option(False, help="Decode in threads, not in processes, beside a GPU too."),
    dry_run: bool = typer.Option(False, help="Say what would be done, and stop."),
    recipe: Path | None = typer.Option(
        None,
        help="TOML file for a network of your own, --network python:package.module:factory: the volume it takes, the "
        "steps to its input, its taps.",
    ),
) -> None:
    """Run frozen networks over images once and store their pooled features.

    One read of an image feeds every network. Each network gets the images that keep its contract (see `featx check`).
    An image that fails costs only itself: it gets a row with a reason in the failures table, and the exit code is 3.
    Finished work lands in small files beside the output at least once a minute; after a kill, the same command does
    only what is missing. Another network, tap or axis adds to the file.

    \b
    Example:
    featx extract images.csv -n squeezenet1_0.imagenet -n squeezenet1_0.imagenet@random:0 -o features.h5
    """
    from featx import store
    from featx.errors import DependencyError
    from featx.extraction.plan import make_requests
    from featx.images.contract import check_accepted
    from featx.images.index import index_images
    from featx.networks.described import read_recipe

    requests = make_requests(
        network,
        weights,
        recipe=None if recipe is None else read_recipe(recipe),
        taps=tap,
        views=axis,
        poolings=pool,
        n_slices=slices,
        size=size,
        channels=channels,
        resampling=resample,
    )
    check_accepted(accept)
    found = index_images(images)
    store.check_writable(output)
    try:
        from featx.extraction import device as devices
        from featx.extraction import engine
        from featx.extraction.job import load_job
    except ImportError as error:
        what = f"{error.name} is not there" if error.name else f"one of them does not load ({error})"
        raise DependencyError(
            f"`featx extract` needs torch and torchvision; {what}; run pip install 'featx[torch]'"
        ) from error
    on = devices.choose_device(device)
    if dry_run:
        requests = [one for one in requests if _say_download(one)]
    with progress("weights", "bytes") as update:
        jobs = [
            load_job(one, on, cache_dir(), lambda done, all_: update(done, all_, ""), accept=accept)
            for one in requests
        ]
    todo = sum(map(bool, engine.missing_jobs(found, jobs, output).values()))
    _say_plan(jobs, len(found), todo, on, output)
    if dry_run:
        return
    with progress("images", "images") as update:
        summary = engine.extract(
            found,
            jobs,
            output,
            device=on,
            running=engine.Running(
                batch_size=batch_size,
                workers=workers if workers >= 0 else devices.default_workers(on),
                processes=on != "cpu" and not threads,
            ),
            on_note=say,
            on_progress=lambda at: update(at.finished, at.total, f", {at.failed} failed" if at.failed else ""),
        )
    _say_summary(summary, output)


def _say_download(request: Request) -> bool:
    """Whether a request's weights are at hand; if not, says what would be downloaded."""
    from featx.networks.download import find_cached
    from featx.networks.weights import needs_official

    weights = request.sheet.weights
    if not needs_official(request.weights) or weights is None:
        return True
    at_hand = find_cached(weights, cache_dir()) is not None
    if not at_hand:
        say(f"{request.sheet.name}: all images to do, after downloading {weights.url}")
    return at_hand


def _say_plan(jobs: list[Job], n_images: int, todo: int, device: str, output: Path) -> None:
    for job in jobs:
        width = len(job.sets)
        say(f"{job.label}: {width} feature set{'s' * (width != 1)}, weights {job.sets[0].provenance['weights']}")
    say(f"{n_images} images, {n_images - todo} done before, {todo} to do, on {device}: {output}")


def _by_network(sets: Mapping[str, tuple[int, ...]]) -> dict[str, list[tuple[int, ...]]]:
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for name, shape in sets.items():
        shapes.setdefault(name.split("/")[0], []).append(shape)
    return shapes


def _say_summary(summary: Summary, output: Path) -> None:
    from featx import store

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
    table = output.with_suffix(".failures.csv")
    write_failures(store.read_failures(output) if output.is_file() else [], table)
    if summary.n_failed:
        say(f"{summary.n_failed} images failed, the others are whole:")
        say_reasons(summary.failures, table)
        raise typer.Exit(SOME_FAILED)
