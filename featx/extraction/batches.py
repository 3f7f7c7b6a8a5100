"""Batches on the device: packed images in, a row per image and set out (torch).

A batch that fails is halved until only the images that fail alone are left out. Where the device computes beside the
caller, a batch is fetched when the next one has been sent, so that the device never waits.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

from featx.errors import DeviceError, first_line
from featx.extraction.job import Job
from featx.extraction.loader import attempt
from featx.extraction.loading import Loaded
from featx.extraction.parts import Result, Rows
from featx.images.image import Image
from featx.networks.look import to_volumes
from featx.networks.recipe import Packed
from featx.store import Failure

Ready = tuple[Image, Loaded, Callable[[], None]]
MOST_AT_ONCE = 64

Note = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How many images each job takes at a time; lowered when a batch does not fit. `noted`: who has been told of."""

    images: dict[str, int]
    noted: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Sent:
    """A part of a batch on the device: whose rows, and the rows, or why there are none."""

    image_ids: tuple[str, ...]
    rows: Mapping[str, torch.Tensor] | None
    failure: Failure | None


def find_batch_size(job: Job, device: str) -> int:
    """Images per forward pass: 1 on a CPU, where more gain nothing; on a GPU what fits and pays.

    Two passes of made volumes, of one and of two images, tell what an image costs.
    """
    if not device.startswith("cuda"):
        return 1
    peaks = []
    for n in (1, 2):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        try:
            job.run(torch.zeros((n, 1, *job.shape), device=device))
        except torch.OutOfMemoryError:
            return 1
        peaks.append(torch.cuda.max_memory_allocated(device))
    torch.cuda.empty_cache()
    return fitting(peaks[0], peaks[1], torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_allocated(device))


def fitting(one: int, two: int, there: int) -> int:
    """Images that fit into nine tenths of the memory that is there: a power of two, 64 at most.

    Parameters
    ----------
    one, two : int
        Peak bytes of a pass of one image, and of two.
    there : int
        Bytes.

    Examples
    --------
    >>> fitting(3 * 10**9, 5 * 10**9, 40 * 10**9), fitting(10**8, 10**8, 10**9), fitting(3 * 10**9, 5 * 10**9, 10**9)
    (16, 64, 1)
    """
    each = max(two - one, 1)
    most = max(1, min(MOST_AT_ONCE, int((0.9 * there - one) // each) + 1))
    return int(2 ** math.floor(math.log2(most)))


def run_batches(
    ready: Iterator[Ready], jobs: Sequence[Job], device: str, limits: Limits, note: Note
) -> Iterator[tuple[Result, Mapping[str, str]]]:
    """Results in the order of the images, each with what was found of its image.

    Parameters
    ----------
    ready : iterator of (Image, Loaded, callable)
        The callable is called when nothing looks at the image's voxels any more.
    jobs : sequence of Job
    device : str
    limits : Limits
        Changed where a batch does not fit.
    note : callable
        Told once of each job whose batches were halved.

    Raises
    ------
    DeviceError
        The device is lost: no image is to blame.
    """
    behind = 0 if device == "cpu" else 1
    on_device: deque[tuple[list[Ready], list[tuple[Job, list[Sent]]]]] = deque()
    while group := list(itertools.islice(ready, max(limits.images.values(), default=1))):
        on_device.append((group, [(job, _send(job, group, device, limits, note)) for job in jobs]))
        while len(on_device) > behind:
            yield from _fetch(*on_device.popleft())
    while on_device:
        yield from _fetch(*on_device.popleft())


def _send(job: Job, group: Sequence[Ready], device: str, limits: Limits, note: Note) -> list[Sent]:
    """Put the images that a job can have on the device, and run them."""
    having = [
        (image.image_id, loaded.packed[loaded.recipe_of[job.label]])
        for image, loaded, _ in group
        if job.label in loaded.recipe_of
    ]
    sent: list[Sent] = []
    while having:
        most = limits.images[job.label]
        sent += _forward(job, having[:most], device, limits, note)
        having = having[most:]
    return sent


def _forward(job: Job, having: Sequence[tuple[str, Packed]], device: str, limits: Limits, note: Note) -> list[Sent]:
    image_ids = tuple(image_id for image_id, _ in having)
    call = guarded(lambda: job.run(to_volumes([packed for _, packed in having], device)), device)
    rows, failure = attempt(call, image_ids[0], job.label, "network")
    if rows is not None or len(having) == 1:
        return [Sent(image_ids, rows, failure)]
    middle = len(having) // 2
    if failure and failure["code"] == "out-of-memory":
        limits.images[job.label] = min(limits.images[job.label], middle)
        if job.label not in limits.noted:
            limits.noted.add(job.label)
            note(
                f"{len(having)} images at a time do not fit the device for {job.label}; fewer are taken from here on"
            )
    return [
        *_forward(job, having[:middle], device, limits, note),
        *_forward(job, having[middle:], device, limits, note),
    ]


def guarded(call: Callable[[], T], device: str) -> Callable[[], T]:
    """A call whose torch errors tell memory from a lost device.

    Raises
    ------
    MemoryError
        From the call: the device's memory, or the host's, does not suffice.
    DeviceError
        From the call: CUDA cannot go on in this process.
    """

    def guard() -> T:
        try:
            return call()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError(first_line(error)) from error
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                raise MemoryError(first_line(error)[:200]) from error
            if is_lost(error):
                raise DeviceError(
                    f"a GPU must stay until its images are done; {device} was lost ({first_line(error)[:200]}); "
                    "what was finished is kept: look at nvidia-smi and dmesg, then run the same command again"
                ) from error
            raise

    return guard


def is_lost(error: RuntimeError) -> bool:
    """Whether an error of torch says that CUDA is of no use any more in this process.

    Examples
    --------
    >>> is_lost(RuntimeError("CUDA error: unspecified launch failure")), is_lost(RuntimeError("shape mismatch"))
    (True, False)
    """
    return "CUDA error" in str(error) and not isinstance(error, torch.OutOfMemoryError)


def _fetch(
    group: Sequence[Ready], sent: Sequence[tuple[Job, Sequence[Sent]]]
) -> Iterator[tuple[Result, Mapping[str, str]]]:
    """Rows from the device, image by image; the images' voxels are let go."""
    rows: dict[str, Rows] = {image.image_id: {} for image, _, _ in group}
    failures = {image.image_id: list(loaded.failures) for image, loaded, _ in group}
    for job, parts in sent:
        for image_id, found, failure in itertools.chain.from_iterable(_alone(job, part) for part in parts):
            rows[image_id] |= found
            failures[image_id] += failure
    for _, _, give_back in group:
        give_back()
    for image, loaded, _ in group:
        accepted = [row for row in loaded.accepted if row["network"] in loaded.recipe_of]
        yield Result(image, rows[image.image_id], failures[image.image_id], accepted), loaded.told


def _alone(job: Job, part: Sent) -> Iterator[tuple[str, Rows, list[Failure]]]:
    """(id, rows, failures) of each image of a part."""
    if part.rows is None:
        failure = [part.failure] if part.failure else []
        yield from ((image_id, {}, failure) for image_id in part.image_ids)
        return
    tensors = part.rows
    arrays = guarded(lambda: {name: values.float().cpu().numpy() for name, values in tensors.items()}, "the GPU")()
    for at, image_id in enumerate(part.image_ids):
        rows = {name: values[at] for name, values in arrays.items()}
        bad = sorted(name for name, values in rows.items() if not np.isfinite(values).all())
        yield (image_id, {}, [_not_finite(image_id, job, bad)]) if bad else (image_id, rows, [])


def _not_finite(image_id: str, job: Job, bad: Sequence[str]) -> Failure:
    sentence = f"features must be finite; {len(bad)} sets are not, such as {bad[0]}; look at the image's intensities"
    return {
        "image_id": image_id,
        "network": job.label,
        "step": "network",
        "code": "non-finite-features",
        "sentence": sentence,
    }
