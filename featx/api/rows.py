"""Rows of features of images, each made once: kept in memory, and in a folder where one is given (torch).

A row is known by how it was made (the keys of its feature sets, the device, what was let through) and by its image: a
file's path, size and time; the voxels of an image in memory. What lies behind a URL is not kept.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import uuid
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx.api.pictured import Item, read_item, stamp
from featx.api.wanting import load_jobs, requests_of
from featx.errors import ImageError
from featx.extraction.loading import Loaded, load_image
from featx.extraction.plan import Request
from featx.featureset import digest, feature_key
from featx.images.image import Image

if TYPE_CHECKING:
    from featx.extraction.job import Job

Row = NDArray[np.float32]
MOST_BYTES = 1 << 30  # of rows in memory; the oldest go
_KEPT: OrderedDict[tuple[str, str], Row] = OrderedDict()


@dataclass(frozen=True)
class Wanted:
    """What decides a loaded network, in values that can be told apart.

    Attributes
    ----------
    network : str
        NAME or NAME@WEIGHTS.
    weights : tuple of str
        NAME=FILE, or a bare FILE.
    wish : tuple of (str, value)
        Fields of `featx.extraction.wishes.Wish`.
    recipe : str
        JSON of what a recipe of one's own holds, else "".
    accept : tuple of str
    device, precision : str
    home : Path
    """

    network: str
    weights: tuple[str, ...]
    wish: tuple[tuple[str, Any], ...]
    recipe: str
    accept: tuple[str, ...]
    device: str
    precision: str
    home: Path


@dataclass(frozen=True)
class Loading:
    """A network on its device, and what its rows are made of.

    Attributes
    ----------
    job : Job
    device : str
    shapes : mapping of str to tuple of int
        Of each feature set, in their order, one image's.
    key : str
        Digest of all that decides a row but its image.
    """

    job: Job
    device: str
    shapes: dict[str, tuple[int, ...]]
    key: str

    @property
    def width(self) -> int:
        """Features of a row."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def load(wanted: Wanted) -> Loading:
    """The network that is wanted, loaded once for all who want the same, as long as its files are the same.

    Raises
    ------
    NetworkError, WeightsError, DeviceError, DependencyError
        See `featx.extraction.plan.make_requests` and `featx.extraction.job.load_job`.
    """
    (request,) = _requests(wanted)
    path = Path(request.weights)
    stats = path.stat() if path.is_file() else None
    return _load(wanted, (stats.st_size, stats.st_mtime_ns) if stats else None)


@functools.lru_cache(maxsize=2)
def _load(wanted: Wanted, file: tuple[int, int] | None) -> Loading:
    import torch

    from featx.extraction.device import choose_device, full_float32

    device = choose_device(wanted.device)
    (job,) = load_jobs(_requests(wanted), device, wanted.home, accept=wanted.accept, precision=wanted.precision)
    with full_float32(device):
        made = job.run(torch.zeros((1, 1, *job.shape), device=device))
    shapes = {one.name: tuple(made[one.name].shape[1:]) for one in job.sets}
    keys = [[one.name, feature_key(one.provenance)] for one in job.sets]
    return Loading(job, device, shapes, digest([keys, device, list(wanted.accept)]))


def _requests(wanted: Wanted) -> list[Request]:
    return requests_of(
        wanted.network,
        home=wanted.home,
        weights=wanted.weights,
        recipe=json.loads(wanted.recipe) if wanted.recipe else None,
        **dict(wanted.wish),
    )


# --- rows -----------------------------------------------------------------------------------------------------


def rows_of(
    items: Sequence[Item], there: Loading, *, memory: Path | None, workers: int, batch_size: int, on_error: str
) -> Row:
    """Features of images, shape (n_images, n_features).

    Parameters
    ----------
    items : sequence of Item
    there : Loading
    memory : Path or None
        A folder that keeps rows for other processes, and for later.
    workers : int
        Threads that decode ahead.
    batch_size : int
        0 where the device is to choose.
    on_error : str
        "raise", or "nan" for a row of NaN, with a warning.

    Raises
    ------
    ImageError
        With "raise": the first image that cannot be used.
    """
    stamps = [stamp(item) for item in items]
    rows: dict[int, Row] = {}
    first: dict[str, int] = {}  # of images that are the same, one is run
    for at, one in enumerate(stamps):
        kept = _kept(there.key, one, memory) if one and one not in first else None
        if kept is not None:
            rows[at] = kept
        first.setdefault(one or f"#{at}", at)
    todo = [at for at in first.values() if at not in rows]
    sentences = []
    for at, row, failure in _made([items[at] for at in todo], todo, there, (workers, batch_size)):
        if failure is not None and on_error == "raise":
            raise ImageError(failure["code"], failure["sentence"])
        if failure is not None:
            sentences.append(failure["sentence"])
            row = np.full(there.width, np.nan, dtype=np.float32)
        elif stamps[at]:
            _keep(there.key, stamps[at], row, memory)
        rows[at] = row
    if sentences:
        told = (
            f"{len(sentences)} of {len(items)} images have no features, and a row of NaN; the first: {sentences[0]}"
        )
        warnings.warn(told, UserWarning, stacklevel=4)
    return np.stack([rows[first[one or f"#{at}"]] for at, one in enumerate(stamps)])


def _made(
    items: Sequence[Item], places: Sequence[int], there: Loading, how: tuple[int, int]
) -> Iterator[tuple[int, Row, dict[str, str] | None]]:
    """(place, row, failure) of each image, run through the network."""
    if not items:
        return
    from featx.extraction.batches import Limits, find_batch_size, run_batches
    from featx.extraction.device import default_workers, full_float32
    from featx.extraction.loader import load_ahead

    workers, batch_size = how
    job, device = there.job, there.device
    n_workers = workers if workers >= 0 else default_workers(device)

    def loaded(item: Item) -> Loaded:
        return load_image(item.image, [job.need], lambda image: read_item(item))

    with full_float32(device):
        limits = Limits({job.label: batch_size or find_batch_size(job, device)})
        ahead = load_ahead(items, loaded, n_workers)
        ready: Iterator[tuple[Image, Loaded, Any]] = ((item.image, one, _nothing) for item, one in ahead)
        done = run_batches(ready, [job], device, limits, _nothing)
        for at, (result, _) in zip(places, done, strict=True):
            failure = result.failures[0] if result.failures else None
            row = np.concatenate([result.rows[name].ravel() for name in there.shapes]) if not failure else np.empty(0)
            yield at, row.astype(np.float32), failure


def _nothing(*told: object) -> None:
    pass


# --- what is kept ---------------------------------------------------------------------------------------------


def _kept(key: str, image: str, memory: Path | None) -> Row | None:
    row = _KEPT.get((key, image))
    if row is None and memory is not None and (path := _place(key, image, memory)).is_file():
        row = np.load(path, allow_pickle=False)
        _remember(key, image, row)
    return row


def _keep(key: str, image: str, row: Row, memory: Path | None) -> None:
    _remember(key, image, row)
    if memory is None:
        return
    path = _place(key, image, memory)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    with beside.open("wb") as file:
        np.save(file, row, allow_pickle=False)
    beside.replace(path)


def _remember(key: str, image: str, row: Row) -> None:
    _KEPT[key, image] = row
    while len(_KEPT) * row.nbytes > MOST_BYTES:
        _KEPT.popitem(last=False)


def _place(key: str, image: str, memory: Path) -> Path:
    return memory / key[:32] / f"{hashlib.sha256(image.encode()).hexdigest()[:32]}.npy"
