"""featx plan: what an extraction will cost, before any GPU is asked for."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx_cli import wanted as ask
from featx_cli.console import SOME_FAILED, say, say_codes

if TYPE_CHECKING:
    from featx.extraction.cost import NetworkCost, Probe
    from featx.extraction.job import Job
    from featx.extraction.plan import Request
    from featx.images.image import Image

DEVICES = (1, 2, 4, 8)
SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def command(
    images: ask.Images,
    network: ask.Network = [],  # noqa: B006 - typer copies it
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The feature file: what it holds already is not done again.")
    ] = Path("features.h5"),
    probe: Annotated[
        int, typer.Option(min=0, help="Images to extract for the estimate of hours; 0 for none of it.")
    ] = 10,
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
    batch_size: ask.BatchSize = "auto",
    workers: ask.Workers = -1,
    threads: ask.Threads = False,
    shard: Annotated[str, typer.Option(help="3/20: the third of twenty parts of the images.")] = "",
    recipe: ask.Recipe = None,
) -> None:
    """What an extraction will cost: images, operations, bytes, disk, memory, and hours on 1, 2, 4 and 8 devices.

    Takes those options of `featx extract` that change the cost. Operations are counted without weights and without a
    GPU. Hours come from a probe: a few images, evenly spread, go through the engine on this machine's device into a
    file that is thrown away. `--probe 0` leaves that out, and downloads nothing. The exit code is 3 where images of
    the probe fail.

    \b
    Example:
    featx plan images.csv -n squeezenet1_0.imagenet -n sfcn.ukb_age --resample
    """
    from featx.api.wanting import running_of
    from featx.extraction.jobarray import take_shard
    from featx.images.contract import check_accepted
    from featx.images.index import index_images

    requests = ask.requests_of(network, weights, tap, axis, pool, slices, size, channels, resample, recipe, missing)
    check_accepted(accept)
    found = take_shard(index_images(images), shard)
    ask.check_torch("plan")
    from featx.extraction import cost
    from featx.extraction.device import choose_device
    from featx.extraction.parts import read_precisions

    on = choose_device(device)
    ways = {"precision": "float32" if shard and precision == "auto" else precision, "held": read_precisions(output)}
    jobs = ask.load_jobs(requests, on, accept, **ways) if probe or all(map(ask.at_hand, requests)) else None
    todo = _say_images(found, jobs, output)
    costs = [cost.count_cost(one) for one in requests]
    _say_costs(costs, requests, len(todo), output)
    if not (probe and todo and jobs):
        return
    running = running_of(on, batch_size, workers, threads)
    measured = cost.run_probe(cost.spread(todo, probe), jobs, device=on, running=running)
    _say_probe(measured, on, len(todo))
    if measured.n_failed:
        raise typer.Exit(SOME_FAILED)


def _say_images(found: list[Image], jobs: list[Job] | None, output: Path) -> list[Image]:
    """Say how many images there are and are done; those that are to do."""
    from featx.extraction.cost import bytes_to_read
    from featx.extraction.engine import missing_jobs

    if jobs is None:
        todo = found
        say(f"{len(found)} images; what of them is done in {output} is told once the weights are here")
    else:
        missing = missing_jobs(found, jobs, output)
        todo = [image for image in found if missing[image.image_id]]
        say(f"{len(found)} images, {len(found) - len(todo)} done before, {len(todo)} to do: {output}")
    if todo:
        size = bytes_to_read(todo)
        say(f"  about {short(size)}B to read and decode, {short(size / len(todo))}B an image")
    return todo


def _say_costs(costs: Sequence[NetworkCost], requests: Sequence[Request], n_images: int, output: Path) -> None:
    from featx.extraction.cost import bytes_of_features

    for cost, request in zip(costs, requests, strict=True):
        n_sets = len(cost.widths)
        note = "" if ask.at_hand(request) else ", to be downloaded"
        say(
            f"{cost.name}, weights {cost.weights}{note}: {short(cost.n_parameters)} parameters, "
            f"{short(cost.flop)}FLOP an image, {n_sets} feature set{'s' * (n_sets != 1)}, {sum(cost.widths)} features"
        )
    flop = sum(cost.flop for cost in costs)
    say(f"in all {short(flop)}FLOP an image, {short(flop * n_images)}FLOP (a product and its sum are two)")
    new = bytes_of_features(n_images, costs)
    old = output.stat().st_size if output.is_file() else 0
    say(
        f"disk: {output} will be about {short(old + new)}B; while parts are merged, about {short(2 * (old + new))}B "
        "beside each other"
    )


def _say_probe(probe: Probe, device: str, n_images: int) -> None:
    from featx.extraction.cost import decode_limit, rate_of

    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cuda = device.startswith("cuda")
    memory = f"{short(probe.host_bytes)}B of memory at most" + (
        f", {short(probe.device_bytes)}B of the GPU" if cuda else ""
    )
    say(f"probe: {probe.n_images} images on {device}, {probe.n_failed} failed; {memory}")
    if probe.failures:
        say_codes(
            Counter(code for code, _ in {(row["code"], row["image_id"]) for row in probe.failures}),
            {row["code"]: row for row in reversed(probe.failures)},
        )
    if not probe.images_per_s:
        say("  none came through: no hours can be told")
        return
    say(f"  {probe.images_per_s:.2f} images/s after the first; {probe.decode_s:.3f} s of a core to decode one")
    what = "GPUs of this machine" if cuda else "machines like this"
    say(f"hours for {n_images} images, on this many {what}:")
    for n in DEVICES:
        rate = rate_of(n, probe, n_cores, shared=cuda)
        held = ", held up by decoding" if rate < 0.99 * n * probe.images_per_s else ""
        say(f"  {n}: {hours(n_images / rate)} ({rate:.2f} images/s{held})")
    say("  (assumed proportional to their number, on disks that keep up)")
    if cuda:
        say(f"  (the {n_cores} cores of this machine decode {decode_limit(probe, n_cores):.1f} images/s)")


def short(number: float) -> str:
    """A number with three figures and the letter of its scale, ready for a unit.

    Examples
    --------
    >>> short(1_235_000) + "B", short(999.96e6) + "B", short(12) + "B"
    ('1.24 MB', '1 GB', '12 B')
    """
    for scale, letter in SCALES:
        if number >= 0.9995 * scale:
            return f"{number / scale:.3g} {letter}"
    return f"{number:.3g} "


def hours(seconds: float) -> str:
    """Hours, or minutes where they are few.

    Examples
    --------
    >>> hours(90), hours(7200), hours(1e6)
    ('1.5 minutes', '2.0 hours', '278 hours')
    """
    if seconds < 3600:
        return f"{math.ceil(seconds / 6) / 10:.1f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 360_000 else f"{seconds / 3600:.0f} hours"
