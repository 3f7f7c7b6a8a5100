"""Run frozen networks over images, once, and write what they say.

One read of an image feeds every network. Rows gather in memory and land as small immutable part files beside the
output, at least one a minute; at the end all parts are merged into the output in one step. So whatever kills the
process costs the last minute at most, any number of processes may write for one output, and running again does
only what is missing.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx import store
from featx.extraction.batches import Limits, Ready, find_batch_size, run_batches
from featx.extraction.device import full_float32, pinned
from featx.extraction.job import Job
from featx.extraction.loader import load_ahead
from featx.extraction.loading import load_image
from featx.extraction.parts import PART_SECONDS, collect, parts_folder, read_done, write_parts
from featx.extraction.plan import still_to_do
from featx.extraction.record import keep_record, pack_records
from featx.extraction.workers import Item, count_slots, processes, slot_bytes
from featx.images.image import Image
from featx.store import Failure


@dataclass(frozen=True)
class Running:
    """How an extraction runs; nothing of it changes what comes out.

    Attributes
    ----------
    batch_size : int
        Images per forward pass; 0 chooses: 1 on a CPU, what fits on a GPU.
    workers : int
        Threads or processes that decode ahead; 0 decodes when asked.
    processes : bool
        Processes of their own, not threads.
    part_seconds : float
        A part file is written when the last one is this old.
    shard : str
        "3/20" of a job array, for the record; else "".
    """

    batch_size: int = 0
    workers: int = 1
    processes: bool = False
    part_seconds: float = PART_SECONDS
    shard: str = ""


@dataclass(frozen=True)
class Tally:
    """How far an extraction is: images finished by now (failed ones among them) of those that are to do."""

    finished: int
    failed: int
    total: int
    elapsed_s: float


@dataclass(frozen=True)
class Told:
    """How many images something was found of that is no failure, and what of the first of them."""

    n_images: int
    image_id: str
    sentence: str


@dataclass(frozen=True)
class Summary:
    """What an extraction did.

    Attributes
    ----------
    n_images, n_before, n_now, n_failed : int
        Images asked for; complete before this run; completed by it; with at least one failure.
    failures : list of dict
        Rows of `featx.schema.FAILURES`.
    elapsed_s : float
        From the first image to the last.
    sets : mapping of str to tuple of int
        Name and shape of the feature sets.
    told : mapping of str to Told
        By reason code: what was found of images and did not cost them their rows.
    """

    n_images: int
    n_before: int
    n_now: int
    n_failed: int
    failures: list[Failure]
    elapsed_s: float
    sets: Mapping[str, tuple[int, ...]]
    told: Mapping[str, Told] = field(default_factory=dict)


# --- the run --------------------------------------------------------------------------------------------------


def extract(
    images: Sequence[Image],
    jobs: Sequence[Job],
    output: Path,
    *,
    device: str,
    running: Running | None = None,
    merge: bool = True,
    on_progress: Callable[[Tally], None] = lambda tally: None,
    on_note: Callable[[str], None] = lambda sentence: None,
) -> Summary:
    """Extract what is missing and merge it into the output.

    Parameters
    ----------
    images : sequence of Image
    jobs : sequence of Job
        From `featx.extraction.job.load_job`, on the same device.
    output : Path
        The feature file; parts land in the folder ``<output>.parts`` until they are merged.
    device : str
    running : Running, optional
    merge : bool
        Merge all parts into the output at the end; without, they stay for `featx.extraction.parts.collect`.
    on_progress, on_note : callable
        Called after every image; called with sentences that are to be told at once.

    Raises
    ------
    StoreError
        The output is damaged, holds one of the sets made another way, or cannot be written.
    DeviceError
        The GPU was lost. What was finished is kept.
    """
    how = running or Running()
    missing = missing_jobs(images, jobs, output)
    todo = [image for image in images if missing[image.image_id]]
    n_before = len(images) - len(todo)
    names = {job.label: [one.name for one in job.sets] for job in jobs}
    folder = parts_folder(output)
    keep = keep_record(folder, images, names, n_before=n_before, device=device, shard=how.shard)
    record = keep if merge else _unheard()  # who merges keeps it
    start = time.perf_counter()
    with record as heard:

        def tell(finished: int, failed: int) -> None:
            heard(finished, failed)
            on_progress(Tally(finished, failed, len(todo), time.perf_counter() - start))

        items = [(image, missing[image.image_id]) for image in todo]
        failures, told = _run(items, output, (device, how), tell, on_note)
    elapsed_s = time.perf_counter() - start
    shapes = _merge(output) if merge else {}
    n_failed = len({row["image_id"] for row in failures})
    return Summary(
        n_images=len(images),
        n_before=n_before,
        n_now=len(todo) - n_failed,
        n_failed=n_failed,
        failures=failures,
        elapsed_s=elapsed_s,
        sets={one.name: shapes[one.name] for job in jobs for one in job.sets if one.name in shapes},
        told=told,
    )


@contextlib.contextmanager
def _unheard() -> Iterator[Callable[[int, int], None]]:
    yield lambda finished, failed: None


def _run(
    items: Sequence[tuple[Image, Sequence[Job]]],
    output: Path,
    where: tuple[str, Running],
    tell: Callable[[int, int], None],
    note: Callable[[str], None],
) -> tuple[list[Failure], dict[str, Told]]:
    """Load, run and write; what failed, and what was found."""
    device, how = where
    jobs = list({job.label: job for _, needed in items for job in needed}.values())
    failures: list[Failure] = []
    failed: set[str] = set()
    told: dict[str, Told] = {}
    with (
        full_float32(device),
        write_parts(output, {one.name: one for job in jobs for one in job.sets}, how.part_seconds) as add,
        contextlib.ExitStack() as stack,
    ):
        limits = Limits({job.label: how.batch_size or find_batch_size(job, device) for job in jobs})
        if how.processes and how.workers and items:
            n, size = _slots(jobs, how, limits)
            note(f"{how.workers} processes decode ahead, into {n} places of {size / 1e6:.0f} MB in shared memory")
        ready = stack.enter_context(_loading(items, jobs, how, limits, device))
        for finished, (result, found) in enumerate(run_batches(ready, jobs, device, limits, note), start=1):
            add(result)
            for code, sentence in found.items():
                first = told.get(code, Told(0, result.image.image_id, sentence))
                told[code] = replace(first, n_images=first.n_images + 1)
            failures += result.failures
            failed |= {failure["image_id"] for failure in result.failures}
            tell(finished, len(failed))
    return failures, told


def _merge(output: Path) -> dict[str, tuple[int, ...]]:
    """Merge all that stands in parts into the output; the shapes of what it holds then."""
    pack_records(parts_folder(output))
    collect(output)
    return store.read_shapes(output) if output.is_file() else {}


@contextlib.contextmanager
def _loading(
    images: Sequence[tuple[Image, Sequence[Job]]], jobs: Sequence[Job], how: Running, limits: Limits, device: str
) -> Iterator[Iterator[Ready]]:
    """Images with their voxels, loaded ahead in threads or in processes."""
    items: list[Item] = [(image, [job.need for job in needed]) for image, needed in images]
    if not (how.processes and how.workers and items):
        loaded = load_ahead(items, lambda item: load_image(*item), how.workers)
        yield ((image, one, lambda: None) for (image, _), one in loaded)
        return
    with (
        processes(how.workers, *_slots(jobs, how, limits)) as pool,
        pinned(pool.memories.values(), device),
    ):
        yield pool.load(items)


def _slots(jobs: Sequence[Job], how: Running, limits: Limits) -> tuple[int, int]:
    """How many places for images in shared memory, of how many bytes."""
    voxels = {job.need.recipe_key: math.prod(job.shape) for job in jobs}
    return count_slots(how.workers, max(limits.images.values())), slot_bytes(voxels.values())


def missing_jobs(images: Sequence[Image], jobs: Sequence[Job], output: Path) -> dict[str, list[Job]]:
    """The jobs that each image still needs, by image id, as the output and its parts tell."""
    done = read_done(output)
    missing: dict[str, list[Job]] = {image.image_id: [] for image in images}
    for job in jobs:
        for image in still_to_do(images, job.sets, done):
            missing[image.image_id].append(job)
    return missing
