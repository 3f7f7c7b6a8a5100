"""extract: images through frozen networks into a feature file (torch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.api import inputs
from featx.api.added import home_of
from featx.api.wanting import (
    Download,
    batch_size_of,
    check_torch,
    load_jobs,
    precision_of,
    requests_of,
    running_of,
    write_failures_beside,
)
from featx.api.words import Words, many
from featx.extraction.jobarray import take_shard
from featx.images.contract import check_accepted
from featx.landing import check_writable

if TYPE_CHECKING:
    from featx.extraction.engine import Summary, Tally


def extract(
    images: inputs.Images,
    network: str | Sequence[str],
    *,
    output: Path | str = "features.h5",
    weights: Words = (),
    tap: str | Sequence[str] = (),
    axis: str | Sequence[str] = (),
    pool: str | Sequence[str] = (),
    slices: int | None = None,
    size: str | int = "",
    channels: str = "",
    missing: str | Sequence[str] = (),
    resample: bool = False,
    accept: str | Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
    compile_: bool = False,
    batch_size: str | int = "auto",
    workers: int = -1,
    threads: bool = False,
    shard: str = "",
    recipe: Path | str | Mapping[str, Any] | None = None,
    home: Path | str | None = None,
    on_progress: Callable[[Tally], None] | None = None,
    on_download: Download | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Summary:
    """Run frozen networks over images once and store their pooled features: `featx extract` from Python.

    What the output holds is not done again, and is added to; killed, the same call goes on. An image that fails costs
    only itself. Every option means what it means there, and has its default (`featx extract --help`).

    Parameters
    ----------
    images : str, Path, DataFrame or sequence of Image
        images.csv of `featx index` or anything that it takes, the table of `featx.index` or some of its rows, or
        images.
    network : str or sequence of str
        NAME, or NAME@WEIGHTS such as resnet18.imagenet@random:0.
    output : Path or str
        The feature file; features.failures.csv beside it tells of images that failed.
    weights : mapping of str to str, or sequence of str
        {"sfcn.ukb_age": "run_20190719_00_epoch_best_mae.p"}, or ["NAME=FILE"].
    tap, axis, pool, missing, accept : str or sequence of str
    recipe : Path, str or mapping, optional
        TOML file for a network of one's own, or what it holds.
    home : Path or str, optional
        featx's own folder, where official weights are kept once downloaded.
    on_progress : callable, optional
        Called after every image with a `featx.extraction.engine.Tally`: finished, failed, total, elapsed_s.
    on_download : callable, optional
        Called as (bytes, bytes in all).
    on_note : callable, optional
        Called with sentences that are told at once.

    Returns
    -------
    Summary
        n_images, n_before, n_now, n_failed, failures (a row each), and the shape of each feature set.

    Raises
    ------
    NetworkError, WeightsError, DeviceError, StoreError, IndexingError, DependencyError
        As `featx extract` refuses it.

    Examples
    --------
    >>> import featx
    >>> summary = featx.extract("images.csv", "squeezenet1_0.imagenet")  # doctest: +SKIP
    >>> summary.n_failed, list(summary.sets)[:1]  # doctest: +SKIP
    (0, ['squeezenet1_0.imagenet/axial/features/mean'])
    """
    own, place = home_of(home), Path(output)
    wish: dict[str, Any] = {"taps": many(tap), "views": many(axis), "poolings": many(pool), "n_slices": slices}
    wish |= {"size": str(size), "channels": channels, "missing": many(missing), "resampling": resample}
    requests = requests_of(network, home=own, weights=weights, recipe=recipe, **wish)
    check_accepted(many(accept))
    batch_size_of(batch_size)
    found = take_shard(inputs.images_of(images), shard)
    check_writable(place)
    check_torch("extract")
    from featx.extraction import engine
    from featx.extraction.device import choose_device
    from featx.extraction.parts import read_precisions

    held, on = read_precisions(place), choose_device(device)
    word = precision_of(precision, held, spread=bool(shard))
    ways: dict[str, Any] = {"accept": many(accept), "precision": word, "compiled": compile_, "held": held}
    jobs = load_jobs(requests, on, own, on_download, **ways)
    running = running_of(on, batch_size, workers, threads, shard)
    silent: Callable[[object], None] = lambda told: None  # noqa: E731
    summary = engine.extract(
        found, jobs, place, device=on, running=running, on_progress=on_progress or silent, on_note=on_note or silent
    )
    write_failures_beside(place)
    return summary
