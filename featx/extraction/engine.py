"""Run frozen networks over images, once, and write what they say.

One read of an image feeds every network. Rows gather in memory and land as small immutable part files beside the
output, at least one a minute; at the end all parts are merged into the output in one step. So whatever kills the
process costs the last minute at most, any number of processes may write for one output, and running again does
only what is missing.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from featx import store
from featx.extraction.checking import find_out, hold, wants_of
from featx.extraction.device import full_float32
from featx.extraction.job import Job
from featx.extraction.loader import attempt, load_ahead
from featx.extraction.parts import PART_SECONDS, Result, Rows, collect, read_done, write_parts
from featx.extraction.plan import still_to_do
from featx.images.image import Image, where
from featx.images.volume import Volume, read_image
from featx.networks.recipe import Array, prepare
from featx.store import Failure


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
class Loaded:
    """What became of one image before any network ran.

    Attributes
    ----------
    arrays : dict of str to ndarray
        By job.
    failures : list of dict
        Of the jobs that cannot have it.
    told : dict of str to str
        Sentences by reason code: notes, and misfits that are accepted.
    accepted : list of dict
        Rows of the misfits that are accepted, by job.
    """

    arrays: dict[str, Array] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    accepted: list[Failure] = field(default_factory=list)


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
        From `featx.extraction.job.load_job`, on the same device.
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
    missing = missing_jobs(images, jobs, output)
    todo = [image for image in images if missing[image.image_id]]
    planned = {one.name: one for job in jobs for one in job.sets}
    batch = batch_size or (8 if device.startswith("cuda") else 1)
    failures: list[Failure] = []
    failed: set[str] = set()
    told: dict[str, Told] = {}
    loaded = load_ahead(todo, lambda image: _load(image, missing[image.image_id]), workers)
    start = time.perf_counter()
    with full_float32(device), write_parts(output, planned, part_seconds) as add:
        for finished, (result, found) in enumerate(_results(loaded, missing, device, batch), start=1):
            add(result)
            _tell(told, result.image.image_id, found)
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
        told=told,
    )


def missing_jobs(images: Sequence[Image], jobs: Sequence[Job], output: Path) -> dict[str, list[Job]]:
    """The jobs that each image still needs, by image id, as the output and its parts tell."""
    done = read_done(output)
    missing: dict[str, list[Job]] = {image.image_id: [] for image in images}
    for job in jobs:
        for image in still_to_do(images, job.sets, done):
            missing[image.image_id].append(job)
    return missing


def _tell(told: dict[str, Told], image_id: str, found: Mapping[str, str]) -> None:
    for code, sentence in found.items():
        first = told.get(code, Told(0, image_id, sentence))
        told[code] = replace(first, n_images=first.n_images + 1)


def _results(
    loaded: Iterator[tuple[Image, Loaded]], missing: Mapping[str, Sequence[Job]], device: str, batch: int
) -> Iterator[tuple[Result, dict[str, str]]]:
    jobs = {job.label: job for needed in missing.values() for job in needed}
    while group := list(itertools.islice(loaded, batch)):
        told = {image.image_id: one.told for image, one in group}
        for result in _run_group(group, list(jobs.values()), device):
            yield result, told[result.image.image_id]


def _load(image: Image, jobs: Sequence[Job]) -> Loaded:
    """Arrays of an image by job, and the failures of the jobs that cannot have it. One read, one look for all."""
    volume, failure = attempt(lambda: read_image(image), image.image_id, "", "read")
    findings = None
    if volume is not None:
        look = functools.partial(find_out, volume, where(image))
        findings, failure = attempt(look, image.image_id, "", "check")
    if volume is None or findings is None:
        return Loaded(failures=[{**failure, "network": job.label} for job in jobs] if failure else [])
    by_recipe: dict[str, Array] = {}
    loaded = Loaded()
    for job in jobs:
        wants = wants_of(job.request.recipe, job.request.sheet.name, resampling=job.request.resampling)
        held = functools.partial(hold, findings, wants, where(image), job.accept)
        told, failure = attempt(held, image.image_id, job.label, "check")
        loaded.told.update(told or {})
        loaded.accepted.extend(
            {"image_id": image.image_id, "network": job.label, "step": "check", "code": code, "sentence": sentence}
            for code, sentence in (told or {}).items()
            if code in job.accept
        )
        if failure:
            loaded.failures.append(failure)
        elif job.recipe_key in by_recipe:
            loaded.arrays[job.label] = by_recipe[job.recipe_key]
        else:
            call = functools.partial(_prepare, volume, job, image)
            array, failure = attempt(call, image.image_id, job.label, "recipe")
            if array is not None:
                loaded.arrays[job.label] = by_recipe[job.recipe_key] = array
            elif failure:
                loaded.failures.append(failure)
    return loaded


def _prepare(volume: Volume, job: Job, image: Image) -> Array:
    request = job.request
    data = prepare(volume, request.recipe, request.sheet.name, where(image), resampling=request.resampling)
    return np.ascontiguousarray(data)


def _run_group(group: Sequence[tuple[Image, Loaded]], jobs: Sequence[Job], device: str) -> Iterator[Result]:
    rows: dict[str, Rows] = {image.image_id: {} for image, _ in group}
    failures = {image.image_id: list(one.failures) for image, one in group}
    for job in jobs:
        having = [(image.image_id, one.arrays[job.label]) for image, one in group if job.label in one.arrays]
        for image_id, found, failure in _forward(job, having, device):
            if found is not None:
                rows[image_id] |= found
            elif failure is not None:
                failures[image_id].append(failure)
    for image, one in group:
        accepted = [row for row in one.accepted if row["network"] in one.arrays]
        yield Result(image, rows[image.image_id], failures[image.image_id], accepted)


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
