"""From images to maps of all of them, resumable (torch)."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featx.analysis.runs.bundle import Bundle
from featx.analysis.scaling import Floats
from featx.extraction.batches import guarded
from featx.extraction.device import keep_pages
from featx.extraction.loader import attempt, load_ahead
from featx.extraction.loading import Loaded, load_image
from featx.featureset import digest
from featx.images.image import Image, where
from featx.images.template import template_on
from featx.images.volume import Grid
from featx.networks.recipe import pack
from featx.networks.weights import Progress
from featx.relevance.answering import GRADIENT, Beside, answers, weights_at
from featx.relevance.cubes import brain_on, make_cubes, smooth
from featx.relevance.looking import Seen, gradients, n_passes, occlusions, see
from featx.relevance.maps import RANDOM, PersonMaps, part_path, read_part, write_part
from featx.relevance.sources import Reader, Source, load_reader
from featx.relevance.wish import ABSOLUTE, DIFFERENCE, SIGNED, TIMES_INPUT, Wish
from featx.store import Failure

Told = Callable[[float, int, int], None]
Cubes = tuple[Floats, Callable[[int], None]]
_TIMED_CUBES = 16


@dataclass(frozen=True)
class Look:
    """What is looked at, and how.

    Attributes
    ----------
    bundle : Bundle
    level : int
        Of `featx.relevance.answering.find_level`.
    wish : Wish
    sources : tuple of Source
    accept : tuple of str
        Misfits of images that are let through.
    device : str
    batch_size : int
        0 chooses.
    """

    bundle: Bundle
    level: int
    wish: Wish
    sources: tuple[Source, ...]
    accept: tuple[str, ...] = ()
    device: str = "cpu"
    batch_size: int = 0

    @property
    def grid(self) -> Grid:
        """Of the maps: the finest of the networks' own."""
        return min((one.request.recipe.grid for one in self.sources), key=lambda grid: grid.voxel_mm)

    @property
    def n_features(self) -> int:
        """Columns of the head."""
        return sum(int(one["n_features"]) for one in self.bundle.contract["sets"])


@dataclass(frozen=True)
class Readers:
    """Networks on the device: those of the head and, where they are wanted, the same with random weights."""

    real: tuple[Reader, ...]
    random: tuple[Reader, ...]


@dataclass(frozen=True)
class Estimate:
    """What a map would cost.

    Attributes
    ----------
    n_cubes : int
        0 of a gradient.
    n_passes : int
        Of whole volumes (or, where one alone can be run again, slices) through a network, for one person.
    seconds : float
        For one person, as measured on the template's brain on this machine.
    """

    n_cubes: int
    n_passes: int
    seconds: float


def key_of(look: Look, head_sha256: str) -> str:
    """The digest of all that decides the map of a person."""
    wish = {name: value for name, value in vars(look.wish).items() if name != "show"}
    return digest({"head": head_sha256, "wish": wish, "accept": sorted(look.accept)})


def load_readers(look: Look, cache: Path, on_progress: Progress | None = None) -> Readers:
    """Load all networks of a head onto the device.

    Raises
    ------
    WeightsError
        See `featx.relevance.sources.load_reader`.
    """
    differentiable = look.wish.method == GRADIENT

    def load(random: bool) -> tuple[Reader, ...]:
        return tuple(
            load_reader(one, look.device, cache, on_progress, differentiable=differentiable, random=random)
            for one in look.sources
        )

    return Readers(load(random=False), load(random=True) if look.wish.sanity else ())


def make_maps(
    look: Look,
    readers: Readers,
    images: Sequence[Image],
    beside: Mapping[str, Beside],
    workshop: tuple[Path, str],
    *,
    on_progress: Told = lambda done, total, failed: None,
) -> list[Failure]:
    """Make the maps of all images that have none yet, and leave each in a file of its own.

    Parameters
    ----------
    beside : mapping of str to Beside
        By image id; an image without is a failure.
    workshop : Path and str
        The folder of the files, and the key.
    on_progress : callable
        Given how many images are done by this call (in parts of one, where there are cubes), of how many, and how
        many failed.

    Returns
    -------
    list of dict
        Rows of the failures table.
    """
    folder, key = workshop
    todo = [image for image in images if read_part(part_path(folder, key, image.image_id)) is None]
    failures = [_lacking(image, look) for image in todo if image.image_id not in beside]
    having = [image for image in todo if image.image_id in beside]
    needs = [need for one in look.sources for need in one.needs(look.accept)]
    corners = (
        make_cubes(look.wish.patch_mm, look.wish.stride_mm) if look.wish.method != GRADIENT else np.empty((0, 3))
    )
    with _exact(look.device):
        for at, (image, loaded) in enumerate(load_ahead(having, lambda image: load_image(image, needs), 1)):
            tell = functools.partial(_tell_cubes, on_progress, (at, len(having), len(failures)), len(corners))
            rows = loaded.failures[:1]
            if not rows:
                make = functools.partial(_make_one, look, readers, (image, loaded), beside, (corners, tell))
                found, failure = attempt(guarded(make, look.device), image.image_id, look.sources[0].name, "network")
                rows = [failure] if failure else []
                if found is not None:
                    write_part(part_path(folder, key, image.image_id), found)
            failures += rows
            on_progress(at + 1, len(having), len(failures))
    return failures


def _tell_cubes(on_progress: Told, now: tuple[int, int, int], n_cubes: int, done: int) -> None:
    before, total, failed = now
    on_progress(before + done / n_cubes, total, failed)


def _make_one(
    look: Look, readers: Readers, image: tuple[Image, Loaded], beside: Mapping[str, Beside], cubes: Cubes
) -> PersonMaps:
    one, loaded = image
    packed = [loaded.packed[reader.source.needs()[1].recipe_key] for reader in readers.real]
    seen = [see(found, reader, where(one)) for found, reader in zip(packed, readers.real, strict=True)]
    return person_maps(look, readers, seen, beside[one.image_id], cubes)


def _lacking(image: Image, look: Look) -> Failure:
    return {
        "image_id": image.image_id,
        "network": "",
        "step": "index",
        "code": "missing-confound",
        "sentence": f"a person must have all that the head for {look.bundle.contract['target']!r} needs beside the "
        "image; a table, confound or site has no value; fill it in",
    }


@contextlib.contextmanager
def _exact(device: str) -> Iterator[None]:
    """Full float32, and a CPU allocator that keeps its pages."""
    if device == "cpu":
        keep_pages()
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def person_maps(look: Look, readers: Readers, seen: Sequence[Seen], beside: Beside, cubes: Cubes) -> PersonMaps:
    """The maps of one brain, through the head's networks and, where it is wanted, through random ones.

    Parameters
    ----------
    seen : sequence of Seen
        By network.
    cubes : ndarray of shape (n, 3), and callable
        Lower corners in mm, none of a gradient; told how many are done.
    """
    row, maps = _maps(look, readers.real, seen, beside, cubes)
    if readers.random:
        _, others = _maps(look, readers.random, seen, beside, (cubes[0], lambda done: None))
        maps |= {RANDOM + kind: values for kind, values in others.items()}
    return PersonMaps(float(answers(look.bundle, look.level, beside, row[None])[0]), maps)


def _maps(
    look: Look,
    readers: Sequence[Reader],
    seen: Sequence[Seen],
    beside: Beside,
    cubes: Cubes,
) -> tuple[Any, dict[str, Any]]:
    corners, tell = cubes
    if look.wish.method != GRADIENT:
        row, differences = occlusions(
            readers,
            seen,
            (corners, look.wish.patch_mm),
            look.n_features,
            answer=lambda rows: answers(look.bundle, look.level, beside, rows),
            batch_size=look.batch_size,
            on_cubes=tell,
        )
        return row, {DIFFERENCE: differences.astype(np.float32)}
    weigh = lambda row: weights_at(look.bundle, look.level, beside, row)  # noqa: E731
    row, found = gradients(readers, seen, look.n_features, weigh, look.grid)
    by_kind = {SIGNED: found.signed, ABSOLUTE: found.absolute, TIMES_INPUT: found.times_input}
    brain = brain_on(look.grid)
    return row, {kind: smooth(values, look.grid, look.wish.smooth_mm)[brain] for kind, values in by_kind.items()}


# --- what it would cost -----------------------------------------------------------------------------------------


def estimate(look: Look, readers: Readers) -> Estimate:
    """What the map of one person costs, by trying it out on the template's brain; of cubes, on a few of them.

    The first try is not timed: it is slower than those that follow.
    """
    seen = [_template_seen(one) for one in readers.real]
    is_gradient = look.wish.method == GRADIENT
    corners = np.empty((0, 3)) if is_gradient else make_cubes(look.wish.patch_mm, look.wish.stride_mm)
    some = corners[:: max(1, len(corners) // _TIMED_CUBES)]
    factor = 1 + bool(readers.random)
    zeros = np.zeros(look.n_features)
    with _exact(look.device):
        for _ in range(2):
            start = time.perf_counter()
            if is_gradient:
                gradients(readers.real, seen, look.n_features, lambda row: zeros, look.grid)
            else:
                cubes = (some, look.wish.patch_mm)
                answer = lambda rows: np.zeros(len(rows))  # noqa: E731
                occlusions(readers.real, seen, cubes, look.n_features, answer=answer, batch_size=look.batch_size)
            elapsed_s = time.perf_counter() - start
    if is_gradient:
        n_views = sum(len(one.request.recipe.views) for one in look.sources)
        return Estimate(0, 2 * n_views * factor, elapsed_s * factor)
    edge_mm = look.wish.patch_mm
    passes, timed = (sum(n_passes(one, many, edge_mm) for one in readers.real) for many in (corners, some))
    return Estimate(len(corners), passes * factor, elapsed_s * factor * passes / max(timed, 1))


def _template_seen(reader: Reader) -> Seen:
    need = reader.source.needs()[1]
    return see(pack(template_on(reader.grid), need.recipe, need.network, "the template"), reader, "the template")
