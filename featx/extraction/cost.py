"""What an extraction will cost, before it is run: operations, bytes, hours from a probe on a few images (torch)."""

from __future__ import annotations

import contextlib
import math
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from featx.errors import ImageError, NetworkError
from featx.extraction.checking import find_out
from featx.extraction.engine import Running, Tally, extract
from featx.extraction.job import Job
from featx.extraction.plan import Request
from featx.images.image import Image, where
from featx.images.opening import read_bytes
from featx.images.volume import Volume, grid_affine, read_image
from featx.networks.reading import make_reader
from featx.networks.recipe import prepare
from featx.networks.weights import build
from featx.store import Failure

T = TypeVar("T")
TURNS = 20  # that the images of a probe take beside a GPU
STATTED, READ = 1000, 5  # files whose size is asked for, and archives or addresses that are read for theirs
ROW_BYTES, SET_BYTES = 120, 8_000  # of an image's ids in a feature set; of its provenance and HDF5's own


@dataclass(frozen=True)
class NetworkCost:
    """What one network costs per image.

    Attributes
    ----------
    n_parameters : int
        Of the network, heads and what lies behind the last tap among them.
    flop : int
        Floating-point operations per image up to the last tap, of matrix products and convolutions; a product and
        its sum are two.
    widths : tuple of int
        Numbers per image, of each feature set.
    """

    name: str
    weights: str
    n_parameters: int
    flop: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Probe:
    """What was measured on a few images.

    Attributes
    ----------
    n_images, n_failed : int
    images_per_s : float
        From the first ones to the last; 0 if none came through.
    decode_s : float
        Median seconds of one core to read, decode and check an image that lies in the page cache.
    host_bytes, device_bytes : int
        Largest memory of this process; of the GPU, 0 without one.
    """

    n_images: int
    n_failed: int
    images_per_s: float
    decode_s: float
    host_bytes: int
    device_bytes: int
    failures: list[Failure] = field(default_factory=list)


def count_cost(request: Request) -> NetworkCost:
    """Count operations, parameters and features of a network, without its weights and without running it.

    Shapes alone go through it; a network of one's own that looks at its numbers is run on a volume of zeros.

    Raises
    ------
    NetworkError
        It does not run on its views.
    """
    try:
        return _count(request, "meta")
    except (RuntimeError, NetworkError):  # it asks for a number, which shapes do not have
        return _count(request, "cpu")


def _count(request: Request, device: str) -> NetworkCost:
    network = build(request.sheet).to(device).eval()
    n_parameters = sum(one.numel() for one in network.parameters())
    read = make_reader(network, replace(request.sheet, recipe=request.recipe), request.taps, request.poolings)
    volume = torch.zeros((1, 1, *shape_behind(request)), device=device)
    flop, widths = 0, []
    with torch.inference_mode(), _counted_attention():
        for view in request.recipe.views:
            rows = read(volume, view)  # the first time, a reader may look at the network: that does not count
            with FlopCounterMode(display=False) as counter:
                read(volume, view)
            flop += counter.get_total_flops()
            widths += [math.prod(values.shape[1:]) for values in rows.values()]
    return NetworkCost(request.sheet.name, request.weights, n_parameters, flop, tuple(widths))


def shape_behind(request: Request) -> tuple[int, ...]:
    """Shape (I, J, K) of a volume behind the steps of a recipe, which crop and pad."""
    grid = request.recipe.grid
    ramp = np.linspace(0, 255, math.prod(grid.shape), dtype=np.float32).reshape(grid.shape, order="F")
    return prepare(Volume(ramp, grid_affine(grid)), request.recipe, request.sheet.name, "a made volume").shape


@contextlib.contextmanager
def _counted_attention() -> Iterator[None]:
    """Without torch's fused path of attention, whose operations its counter does not know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# --- bytes ----------------------------------------------------------------------------------------------------


def spread(items: Sequence[T], n: int) -> list[T]:
    """At most n items, evenly spread, both ends among them.

    Examples
    --------
    >>> spread("abcdefghi", 3), spread("ab", 3), spread("ab", 0)
    (['a', 'e', 'i'], ['a', 'b'], [])
    """
    if n < 1:
        return []
    return [items[at] for at in sorted({int(at) for at in np.linspace(0, len(items) - 1, min(n, len(items)))})]


def bytes_to_read(images: Sequence[Image]) -> int:
    """About how many bytes the images are, as they are stored.

    Files are asked for their size, a thousand at most; of members of archives and of what lies behind an address a
    few are read. What cannot be opened counts as the mean of the others.
    """
    plain = [image for image in images if not image.member and isinstance(image.path, Path)]
    other = [image for image in images if image.member or not isinstance(image.path, Path)]
    total = 0.0
    for group, size, n in ((plain, _size, STATTED), (other, _read_size, READ)):
        sizes = [found for image in spread(group, n) if (found := size(image)) is not None]
        total += len(group) * statistics.fmean(sizes) if sizes else 0.0
    return round(total)


def _size(image: Image) -> int | None:
    try:
        return Path(image.path).stat().st_size
    except OSError:
        return None


def _read_size(image: Image) -> int | None:
    try:
        return len(read_bytes(image.path, image.member))
    except ImageError:
        return None


def bytes_of_features(n_images: int, costs: Sequence[NetworkCost]) -> int:
    """About how many bytes the rows of images add to a feature file.

    Examples
    --------
    >>> bytes_of_features(1000, [NetworkCost("", "", 0, 0, (512, 512))])
    4352000
    """
    return sum(SET_BYTES + n_images * (4 * width + ROW_BYTES) for cost in costs for width in cost.widths)


# --- time -----------------------------------------------------------------------------------------------------


def run_probe(images: Sequence[Image], jobs: Sequence[Job], *, device: str, running: Running) -> Probe:
    """Extract a few images into a file that is thrown away, and measure from the first ones to the last.

    Beside a GPU they go through many times under other names, for a batch may hold more than there are.

    Parameters
    ----------
    images : sequence of Image
        A few; see `spread`.
    jobs : sequence of Job
        On the device.
    """
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    ids = {image.image_id for image in images}
    turns = range(TURNS if cuda else 1)
    many = [replace(one, image_id=f"{one.image_id}{f' {turn}' * (turn > 0)}") for turn in turns for one in images]
    seen: list[Tally] = []
    with tempfile.TemporaryDirectory(prefix="featx-probe-") as folder:
        done = extract(
            many,
            jobs,
            Path(folder) / "probe.h5",
            device=device,
            running=running,
            merge=False,
            on_progress=seen.append,
        )
    return Probe(
        n_images=len(images),
        n_failed=len({row["image_id"] for row in done.failures} & ids),
        images_per_s=steady_rate([(one.finished - one.failed, one.elapsed_s) for one in seen]),
        decode_s=_decode_s(images),
        host_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        device_bytes=torch.cuda.max_memory_allocated(device) if cuda else 0,
        failures=[row for row in done.failures if row["image_id"] in ids],
    )


def steady_rate(seen: Sequence[tuple[int, float]]) -> float:
    """Images per second behind the first quarter, in which processes start and memory is taken.

    Parameters
    ----------
    seen : sequence of (int, float)
        Images that came through, and seconds since the start, after every image. Where all that did are in the first
        quarter, their own time counts.

    Examples
    --------
    >>> steady_rate([(1, 9.0), (2, 10.0), (3, 10.5), (4, 11.0), (5, 11.5)]), steady_rate([(1, 4.0)])
    (2.0, 0.25)
    """
    last, end_s = next(one for one in seen if one[0] == seen[-1][0])
    first, start_s = seen[round(len(seen) / 4)] if len(seen) > 1 else (0, 0.0)
    if last == first:
        first, start_s = 0, 0.0
    return (last - first) / (end_s - start_s) if end_s > start_s else 0.0


def _decode_s(images: Sequence[Image]) -> float:
    """Median of those that can be read; 0 where none can."""
    taken = []
    for image in images:
        start = time.perf_counter()
        with contextlib.suppress(ImageError):
            find_out(read_image(image), where(image))
            taken.append(time.perf_counter() - start)
    return statistics.median(taken) if taken else 0.0


def rate_of(n_devices: int, probe: Probe, n_cores: int, *, shared: bool) -> float:
    """Images per second to be expected of several devices: proportional, as far as the cores decode.

    Parameters
    ----------
    n_cores : int
        Cores of one machine.
    shared : bool
        Whether all devices are in one machine and share its cores; else each brings its own.

    Examples
    --------
    >>> probe = Probe(10, 0, 40.0, 0.1, 0, 0)
    >>> [rate_of(n, probe, 8, shared=True) for n in (1, 2, 4)], rate_of(4, probe, 8, shared=False)
    ([40.0, 80.0, 80.0], 160.0)
    """
    rate = n_devices * probe.images_per_s
    if shared and n_devices > 1 and probe.decode_s:
        return max(probe.images_per_s, min(rate, decode_limit(probe, n_cores)))
    return rate


def decode_limit(probe: Probe, n_cores: int) -> float:
    """Images per second that the cores of one machine can read and decode, and do nothing else."""
    return n_cores / probe.decode_s if probe.decode_s else math.inf
