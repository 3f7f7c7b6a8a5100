"""Run frozen networks over images, once, and write what they say.

One read of an image feeds every network. Rows gather in memory and land as small immutable part files beside the
output, at least one a minute; at the end all parts are merged into the output in one step. So whatever kills the
process costs the last minute at most, any number of processes may write for one output, and running again does
only what is missing.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import itertools
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featx import __version__, store
from featx.errors import DeviceError, StoreError
from featx.extraction.loader import attempt, load_ahead
from featx.extraction.plan import PlannedSet, Request, label, plan_sets, still_to_do
from featx.images.check import check_values
from featx.images.index import Image
from featx.images.volume import Volume, read_volume
from featx.networks import View
from featx.networks.recipe import Array, describe, prepare
from featx.networks.weights import Progress, architecture, load_network
from featx.store import Failure, FeatureSet

PART_SECONDS = 30.0
PART_ROWS = 256
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

Rows = dict[str, NDArray[np.float32]]  # set name -> (n_features,)


@dataclass(frozen=True)
class Job:
    """One network, loaded and ready on its device, with the sets it is to make."""

    label: str
    recipe_key: str  # jobs with equal ones share their arrays
    request: Request
    sets: tuple[PlannedSet, ...]
    run: Callable[[torch.Tensor], Rows]


@dataclass(frozen=True)
class Result:
    """What came out for one image: a row per set, and why some sets have none."""

    image: Image
    rows: Rows
    failures: list[Failure]


@dataclass(frozen=True)
class Tally:
    """How far an extraction is: images finished by now (failed ones among them) of those that are to do."""

    finished: int
    failed: int
    total: int
    elapsed_s: float


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
    """

    n_images: int
    n_before: int
    n_now: int
    n_failed: int
    failures: list[Failure]
    elapsed_s: float
    sets: Mapping[str, tuple[int, int]]


# --- device ---------------------------------------------------------------------------------------------------


def choose_device(wanted: str) -> str:
    """ "auto" takes a GPU if torch sees one; anything else is taken at its word.

    Raises
    ------
    DeviceError
        CUDA was asked for and is not there.
    """
    there = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if there else "cpu"
    if wanted.startswith("cuda") and not there:
        raise DeviceError(
            f"--device {wanted} needs a GPU that torch sees; torch {torch.__version__} sees none; "
            "look at nvidia-smi and at the driver, or ask for --device cpu"
        )
    if wanted != "cpu" and not wanted.startswith("cuda"):
        raise DeviceError(f"a device must be auto, cpu or cuda; got {wanted!r}")
    return wanted


def default_workers(device: str) -> int:
    """Threads that decode: one beside a network on the CPU, else up to eight, as many as there are cores to spare."""
    return 1 if device == "cpu" else max(1, min(8, (os.cpu_count() or 2) - 1))


def keep_pages() -> bool:
    """Tell glibc to keep the pages of large blocks instead of giving each back to the kernel, which zeroes it anew.

    Activations of 3D networks are hundreds of MB; half of the forward time on a CPU goes into that zeroing.
    Returns whether the allocator took it (other C libraries do not know the setting; nothing else changes there).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    most = 2**31 - 1
    return bool(mallopt(_M_MMAP_THRESHOLD, most)) and bool(mallopt(_M_TRIM_THRESHOLD, most))


def load_job(request: Request, device: str, cache: Path, on_progress: Progress | None = None) -> Job:
    """Load the network of a request and put it on a device.

    Raises
    ------
    WeightsError
        See `featx.networks.weights.load_network`.
    """
    loaded = load_network(request.sheet, request.weights, cache, on_progress)
    arch = architecture(request.sheet)
    network = arch.optimise(loaded.network).to(device)
    modules = arch.modules(request.taps, **request.sheet.arguments)
    weights = {"weights": loaded.weights, "weights_sha256": loaded.sha256}
    sets = plan_sets(request, weights, loaded.tag, library_versions())

    def run(volumes: torch.Tensor) -> Rows:
        rows: Rows = {}
        for view in request.recipe.views:
            found = arch.forward(network, volumes, view, modules, request.poolings)
            here = {(one.tap, one.pooling): one.name for one in sets if one.view == view}
            rows |= {here[place]: values.float().cpu().numpy() for place, values in found.items()}
        return rows

    recipe_key = describe(request.recipe, View("volume"), resampling=request.resampling)
    return Job(label(request.sheet.name, loaded.tag), recipe_key, request, sets, run)


def library_versions() -> str:
    """Versions that made the features, as JSON."""
    libraries = ("torch", "torchvision", "numpy", "nibabel")
    return json.dumps({"featx": __version__, **{name: version(name) for name in libraries}}, sort_keys=True)


# --- the run --------------------------------------------------------------------------------------------------


def extract(
    images: Sequence[Image],
    jobs: Sequence[Job],
    output: Path,
    *,
    device: str,
    batch_size: int = 0,
    workers: int = 1,
    part_seconds: float = PART_SECONDS,
    on_progress: Callable[[Tally], None] = lambda tally: None,
) -> Summary:
    """Extract what is missing and merge it into the output.

    Parameters
    ----------
    images : sequence of Image
    jobs : sequence of Job
        From `load_job`, on the same device.
    output : Path
        The feature file; parts land in the folder ``<output>.parts`` until they are merged.
    batch_size : int
        Images per forward pass; 0 chooses 1 on a CPU and 8 on a GPU.
    workers : int
        Threads that decode ahead.
    part_seconds : float
        A part file is written when the last one is this old.

    Raises
    ------
    StoreError
        The output is damaged, holds one of the sets made another way, or cannot be written.
    """
    todo = images_to_do(images, jobs, output)
    batch = batch_size or (8 if device.startswith("cuda") else 1)
    failures: list[Failure] = []
    failed: set[str] = set()
    start = time.perf_counter()
    with _float32(device), _parts(output, jobs, part_seconds) as add:
        for finished, result in enumerate(_results(todo, jobs, device, batch, workers), start=1):
            add(result)
            failures += result.failures
            failed |= {failure["image_id"] for failure in result.failures}
            on_progress(Tally(finished, len(failed), len(todo), time.perf_counter() - start))
    elapsed_s = time.perf_counter() - start
    collect(output)
    shapes = store.read_shapes(output) if output.is_file() else {}
    return Summary(
        n_images=len(images),
        n_before=len(images) - len(todo),
        n_now=len(todo) - len(failed),
        n_failed=len(failed),
        failures=failures,
        elapsed_s=elapsed_s,
        sets={one.name: shapes[one.name] for job in jobs for one in job.sets if one.name in shapes},
    )


def images_to_do(images: Sequence[Image], jobs: Sequence[Job], output: Path) -> list[Image]:
    """Images that lack a row of some job, in the output and its parts."""
    done: dict[str, tuple[str, set[str]]] = {}
    for path in _sources(output):
        for name, (key, ids) in store.read_ids(path).items():
            done[name] = (key, done[name][1] | ids) if name in done else (key, ids)
    missing = {image.image_id for job in jobs for image in still_to_do(images, job.sets, done)}
    return [image for image in images if image.image_id in missing]


@contextlib.contextmanager
def _float32(device: str) -> Iterator[None]:
    """No gradients; full float32 on a GPU, where cuDNN would take TF32; a CPU allocator that keeps its pages."""
    if device == "cpu":
        keep_pages()
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        yield


def _results(todo: Sequence[Image], jobs: Sequence[Job], device: str, batch: int, workers: int) -> Iterator[Result]:
    loaded = load_ahead(todo, lambda image: _load(image, jobs), workers)
    while group := list(itertools.islice(loaded, batch)):
        yield from _run_group(group, jobs, device)


def _load(image: Image, jobs: Sequence[Job]) -> tuple[dict[str, Array], list[Failure]]:
    """Arrays of an image by recipe, and the failures of the jobs that cannot have it. One read for all."""
    volume, failure = attempt(lambda: read_volume(image.path), image.image_id, "", "read")
    if volume is not None:
        _, failure = attempt(functools.partial(check_values, volume, str(image.path)), image.image_id, "", "check")
    if volume is None or failure:
        return {}, [failure] if failure else []
    arrays: dict[str, Array] = {}
    failures: list[Failure] = []
    for job in jobs:
        if job.recipe_key in arrays:
            continue
        array, failure = attempt(functools.partial(_prepare, volume, job, image), image.image_id, job.label, "recipe")
        if array is not None:
            arrays[job.recipe_key] = array
        elif failure:
            failures.append(failure)
    return arrays, failures


def _prepare(volume: Volume, job: Job, image: Image) -> Array:
    request = job.request
    data = prepare(volume, request.recipe, request.sheet.name, str(image.path), resampling=request.resampling)
    return np.ascontiguousarray(data)


def _run_group(
    group: Sequence[tuple[Image, tuple[dict[str, Array], list[Failure]]]], jobs: Sequence[Job], device: str
) -> Iterator[Result]:
    rows: dict[str, Rows] = {image.image_id: {} for image, _ in group}
    failures = {image.image_id: list(bad) for image, (_, bad) in group}
    for job in jobs:
        having = [
            (image.image_id, arrays[job.recipe_key]) for image, (arrays, _) in group if job.recipe_key in arrays
        ]
        for image_id, found, failure in _forward(job, having, device):
            if found is not None:
                rows[image_id] |= found
            elif failure is not None:
                failures[image_id].append(failure)
    for image, _ in group:
        yield Result(image, rows[image.image_id], failures[image.image_id])


def _forward(
    job: Job, having: Sequence[tuple[str, Array]], device: str
) -> list[tuple[str, Rows | None, Failure | None]]:
    """Run a batch; if it fails, halve it until only the images that fail alone are left out."""
    if not having:
        return []
    arrays = [array for _, array in having]
    found, failure = attempt(lambda: _run(job, arrays, device), having[0][0], job.label, "network")
    if found is not None:
        alone = [{name: values[at] for name, values in found.items()} for at in range(len(having))]
        return [_finite(image_id, one, job) for (image_id, _), one in zip(having, alone, strict=True)]
    if len(having) == 1:
        return [(having[0][0], None, failure)]
    middle = len(having) // 2
    return _forward(job, having[:middle], device) + _forward(job, having[middle:], device)


def _run(job: Job, arrays: Sequence[Array], device: str) -> Rows:
    volumes = torch.from_numpy(np.stack(arrays)[:, None])
    if device.startswith("cuda"):
        volumes = volumes.pin_memory()
    try:
        return job.run(volumes.to(device, non_blocking=True))
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise MemoryError(str(error).splitlines()[0]) from error


def _finite(image_id: str, rows: Rows, job: Job) -> tuple[str, Rows | None, Failure | None]:
    bad = sorted(name for name, values in rows.items() if not np.isfinite(values).all())
    if not bad:
        return image_id, rows, None
    sentence = f"features must be finite; {len(bad)} sets are not, such as {bad[0]}; look at the image's intensities"
    return (
        image_id,
        None,
        {
            "image_id": image_id,
            "network": job.label,
            "step": "network",
            "code": "non-finite-features",
            "sentence": sentence,
        },
    )


# --- parts ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _parts(output: Path, jobs: Sequence[Job], part_seconds: float) -> Iterator[Callable[[Result], None]]:
    """A function that takes results and writes them to part files now and then; the rest is written at the end.

    Rows are copied into blocks that are made once: kept where the network's activations come and go, they would
    leave holes in the heap and cost twenty megabytes an image until they are written.
    """
    planned = {one.name: one for job in jobs for one in job.sets}
    blocks: dict[str, NDArray[np.float32]] = {}
    images: dict[str, list[Image]] = {name: [] for name in planned}
    failures: list[Failure] = []
    since = time.monotonic()

    def flush() -> None:
        nonlocal since
        sets = [_part_set(planned[name], here, blocks[name]) for name, here in images.items() if here]
        if sets or failures:
            name = f"part-{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.h5"
            store.write_sets(_parts_folder(output) / name, sets, failures)
        for here in images.values():
            here.clear()
        failures.clear()
        since = time.monotonic()

    def add(result: Result) -> None:
        failures.extend(result.failures)
        for name, row in result.rows.items():
            if name not in blocks:
                blocks[name] = np.empty((PART_ROWS, len(row)), np.float32)
            blocks[name][len(images[name])] = row
            images[name].append(result.image)
        full = any(len(here) == PART_ROWS for here in images.values())
        if full or time.monotonic() - since > part_seconds:
            flush()

    try:
        yield add
    except StoreError:  # the disk is full, say: writing once more would only hide why
        raise
    except BaseException:  # Ctrl-C too must not cost what is finished
        flush()
        raise
    else:
        flush()


def _part_set(one: PlannedSet, images: Sequence[Image], block: NDArray[np.float32]) -> FeatureSet:
    return FeatureSet(
        one.name,
        block[: len(images)],
        np.array([image.image_id for image in images], dtype=object),
        np.array([image.participant_id for image in images], dtype=object),
        np.array([image.session_id for image in images], dtype=object),
        one.provenance,
    )


def _parts_folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.parts")


def _sources(output: Path) -> list[Path]:
    """The output, if it is there, and its parts from old to new."""
    return ([output] if output.is_file() else []) + sorted(_parts_folder(output).glob("part-*.h5"))


def collect(output: Path) -> None:
    """Merge all parts into the output, in one step; done again after a kill, it gives the same file.

    Writers of parts need no lock. Two merges at a time would, so this one takes a lock that dies with its process.
    """
    folder = _parts_folder(output)
    if not folder.is_dir():
        return
    with _lock(folder / "merge.lock"):
        parts = sorted(folder.glob("part-*.h5"))
        if parts:
            store.merge_files(_sources(output), output)
        for part in parts:
            part.unlink()
    with contextlib.suppress(OSError):  # another writer's parts have come meanwhile
        folder.rmdir()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock file; it is removed by its holder, and whoever waited for a removed one tries anew."""
    while True:
        with path.open("a") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                continue
            try:
                yield
            finally:
                path.unlink()
            return
