"""What is wanted of which network: options that `featx extract` and `featx plan` share, and the requests of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx_cli.console import cache_dir, progress

if TYPE_CHECKING:
    from featx.extraction.job import Job
    from featx.extraction.plan import Request

Images = Annotated[str, typer.Argument(help="images.csv of `featx index`, or anything that `featx index` takes.")]
Network = Annotated[
    list[str],
    typer.Option(
        "--network", "-n", help="NAME, or NAME@WEIGHTS such as resnet18.imagenet@random:0. May be repeated."
    ),
]
Weights = Annotated[
    list[str],
    typer.Option(
        help="NAME=FILE, NAME=random:SEED, NAME=reinit:SEED (redrawn at the official ones' scale) or NAME=official "
        "(the default: downloaded once, verified, cached).",
    ),
]
Tap = Annotated[
    list[str],
    typer.Option(
        help="Where the network is read: a tap of its sheet, 'all' of them, or the path of any module; behind it "
        "':max' for the largest value of a slice, ':cls' for the class token. May be repeated.",
    ),
]
Axis = Annotated[list[str], typer.Option(help="For networks on slices: sagittal, coronal, axial. May be repeated.")]
Pool = Annotated[
    list[str],
    typer.Option(
        help="mean, max, std, concat (slices one behind the other) or slices (each slice's row is kept, and "
        "`featx fit` chooses later). May be repeated.",
    ),
]
Slices = Annotated[int | None, typer.Option(min=1, help="Slices (frames) per axis, instead of the network's number.")]
Size = Annotated[str, typer.Option(help="Edge of the slices in pixels, instead of the network's; 'native' for none.")]
Channels = Annotated[str, typer.Option(help="replicate (a slice to red, green and blue) or neighbours (2.5D).")]
Missing = Annotated[
    list[str],
    typer.Option(
        help="Slices that are missing, each a feature set of its own beside 'none': drop:4 (of every 4 neighbouring "
        "ones the middle one is there, the others are left out), fill:4 (the nearest one there instead), zeros:4, "
        "noise:4; with :random:SEED behind it one in 4 of all, by lot. May be repeated.",
    ),
]
Resample = Annotated[bool, typer.Option(help="Resample volumes on another grid by their affine, not refuse them.")]
Accept = Annotated[
    list[str],
    typer.Option(
        help="Let a misfit through, knowingly: background-not-zero, standardised, not-a-scan, not-skull-stripped, "
        "too-little-brain, not-registered or wrong-range (`featx check` tells them). May be repeated.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
BatchSize = Annotated[str, typer.Option(help="Images per forward pass; auto: 1 on a CPU, on a GPU what fits.")]
Workers = Annotated[
    int, typer.Option(min=-1, help="Who decode ahead; -1 chooses (CPU 1, GPU a core each, up to 16).")
]
Threads = Annotated[bool, typer.Option(help="Decode in threads, not in processes, beside a GPU too.")]
Precision = Annotated[
    str,
    typer.Option(
        help="auto, float32, tf32, float16 or bfloat16. auto is what the output holds already, else float32, or the "
        "fastest that `featx doctor --precision` measured to be within 1e-3 of it on this device (not with --shard, "
        "--gpus or --scheduler, where devices may differ). What ran stands in the feature file.",
    ),
]
Recipe = Annotated[
    Path | None,
    typer.Option(
        help="TOML file for a network of your own, --network python:package.module:factory: the volume it takes, the "
        "steps to its input, its taps.",
    ),
]


def requests_of(
    network: Sequence[str],
    weights: Sequence[str],
    tap: Sequence[str],
    axis: Sequence[str],
    pool: Sequence[str],
    slices: int | None,
    size: str,
    channels: str,
    resample: bool,
    recipe: Path | None,
    missing: Sequence[str] = (),
) -> list[Request]:
    """Requests of what the options say; a sentence where a network cannot have it."""
    from featx.api import wanting

    return wanting.requests_of(
        network,
        home=cache_dir(),
        weights=weights,
        recipe=recipe,
        taps=tap,
        views=axis,
        poolings=pool,
        n_slices=slices,
        size=size,
        channels=channels,
        resampling=resample,
        missing=missing,
    )


def check_torch(verb: str) -> None:
    """Refuse, with a sentence, a verb that needs torch where it is not."""
    from featx.api import wanting

    wanting.check_torch(verb)


def load_jobs(requests: Sequence[Request], device: str, accept: Sequence[str], **ways: Any) -> list[Job]:
    """The networks that are wanted, on their device; shows what is downloaded.

    Parameters
    ----------
    ways
        precision, compiled and held, as `featx.extraction.job.load_job` takes them.
    """
    from featx.api import wanting

    with progress("weights", "bytes") as update:
        return wanting.load_jobs(
            requests, device, cache_dir(), lambda done, all_: update(done, all_, ""), accept=accept, **ways
        )


def at_hand(request: Request) -> bool:
    """Whether a request's weights need no download."""
    from featx.networks.download import find_cached
    from featx.networks.weights import needs_official

    weights = request.sheet.weights
    return not needs_official(request.weights) or weights is None or find_cached(weights, cache_dir()) is not None
