"""Images decoded once for all epochs of training: the voxels that a recipe keeps, in files that are mapped. No torch.

A file holds one image: a line of JSON behind a checksum of all that follows, filled up with spaces to whole pages,
then the voxels as they are stored, integers wherever the image's are. Its name is a digest of the recipe, the
contract, the image's id, and its file's place, size and time: of an image that changed there is another file, and no
file ever changes. So any number of processes may fill one folder, and whatever kills them costs the images under way.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import mmap
import time
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from featx import schema
from featx.errors import StoreError, first_line
from featx.extraction.checking import wants_of
from featx.extraction.loader import load_ahead
from featx.extraction.loading import Loaded, Need, load_image
from featx.featureset import digest
from featx.images.image import Image
from featx.images.opening import is_url
from featx.networks.recipe import Packed
from featx.store import Failure

FORMAT = "featx-voxels-1"
ABANDONED_S = 3600.0  # writing an image takes less than a second
_PAGE = 4096
_SUM = 9  # characters: the checksum in hex, and a space
_DAMAGED = (OSError, ValueError, TypeError, LookupError)  # what a file that is none of ours raises


@dataclass(frozen=True)
class Kept:
    """The first line of a file of the cache: how its voxels are to be seen, and what was found of the image.

    Attributes
    ----------
    image_id : str
    dtype : str
        As numpy writes it, with its byte order.
    shape, axes, points
        Of `featx.networks.recipe.Packed`.
    told : mapping of str to str
        Sentences by reason code; one that begins with the network's name lacks it.
    accepted : tuple of str
        Codes of those that are misfits which were let through.
    format : str
    """

    image_id: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[int, int, int]
    points: tuple[tuple[str, float], ...]
    told: Mapping[str, str]
    accepted: tuple[str, ...]
    format: str = FORMAT


@dataclass(frozen=True)
class Cache:
    """Where the voxels of images lie.

    Attributes
    ----------
    paths : mapping of str to Path
        By image id.
    sound : set of str
        Images whose checksum was seen to hold; it is computed once, when an image is read first.
    """

    paths: Mapping[str, Path]
    sound: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Filled:
    """What became of images that were to be cached.

    Attributes
    ----------
    cache : Cache
    image_ids : tuple of str
        That are in it, in the order of the images.
    failures : tuple of dict
        Rows of `featx.schema.FAILURES`, of the others.
    told : mapping of str to str
        By reason code, what was found of the first of the images that it was found of.
    accepted : tuple of dict
        Rows of the misfits that were let through.
    n_now, n_before : int
        Images decoded now, and found in the cache.
    """

    cache: Cache
    image_ids: tuple[str, ...]
    failures: tuple[Failure, ...]
    told: Mapping[str, str]
    accepted: tuple[Failure, ...]
    n_now: int
    n_before: int


@dataclass(frozen=True)
class _Entry:
    """What became of one image: its file's first line, or why there is none."""

    path: Path
    kept: Kept | None
    failures: Sequence[Failure] = ()
    is_new: bool = False


# --- fill -----------------------------------------------------------------------------------------------------


def fill_cache(
    images: Sequence[Image],
    need: Need,
    folder: Path,
    *,
    workers: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Filled:
    """Decode images that are not in a cache yet, held against the network's contract. Failures are not kept.

    Parameters
    ----------
    images : sequence of Image
    need : Need
        Of the network.
    folder : Path
        Made if it is not there.
    workers : int
        Threads that decode; 0 for none beside the caller's.
    on_progress : callable, optional
        Called after every image with how many are finished, those found in the cache among them, and with how many
        there are.

    Raises
    ------
    StoreError
        The folder or a file cannot be written. What was finished stays.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
    except OSError as error:
        raise _unwritten(folder, error) from error
    entries: dict[str, _Entry] = {}
    for finished, (image, entry) in enumerate(
        load_ahead(images, functools.partial(_find_or_decode, need=need, folder=folder), workers), start=1
    ):
        entries[image.image_id] = entry
        if on_progress:
            on_progress(finished, len(images))
    return _gather(entries, need)


def open_cache(images: Sequence[Image], need: Need, folder: Path) -> Cache:
    """The cache as another process filled it; images that are not in it, or are in it whole no more, are left out."""
    paths = {image.image_id: folder / voxels_of(image, need) for image in images}
    return Cache({image_id: path for image_id, path in paths.items() if _suits(_read_kept(path), need)})


def _find_or_decode(image: Image, need: Need, folder: Path) -> _Entry:
    path = folder / voxels_of(image, need)  # of the image as it is now: what changes later is decoded again
    kept = _read_kept(path)
    if _suits(kept, need):
        return _Entry(path, kept)
    loaded = load_image(image, [need])
    if need.recipe_key not in loaded.packed:
        return _Entry(path, None, loaded.failures)
    packed = loaded.packed[need.recipe_key]
    kept = _describe(image, packed, loaded, need)
    _write(path, kept, packed)
    return _Entry(path, kept, is_new=True)


def _suits(kept: Kept | None, need: Need) -> bool:
    """Whether a file is there and whole, and let no misfit through that is not to be let through now."""
    return kept is not None and set(kept.accepted) <= set(need.accept)


def _describe(image: Image, packed: Packed, loaded: Loaded, need: Need) -> Kept:
    return Kept(
        image.image_id,
        packed.stored.dtype.str,
        packed.stored.shape,
        packed.axes,
        packed.points,
        {code: sentence.removeprefix(need.network) for code, sentence in loaded.told.items()},
        tuple(row["code"] for row in loaded.accepted),
    )


def _gather(entries: Mapping[str, _Entry], need: Need) -> Filled:
    having = {image_id: entry for image_id, entry in entries.items() if entry.kept}
    told: dict[str, str] = {}
    accepted: list[Failure] = []
    for image_id, entry in having.items():
        for code, sentence in entry.kept.told.items() if entry.kept else ():
            whole = _with_subject(sentence, need.network)
            told.setdefault(code, whole)
            if entry.kept and code in entry.kept.accepted:
                row = {schema.IMAGE_ID: image_id, "network": need.label, "step": "check", "code": code}
                accepted.append({**row, "sentence": whole})
    return Filled(
        cache=Cache({image_id: entry.path for image_id, entry in having.items()}),
        image_ids=tuple(having),
        failures=tuple(row for entry in entries.values() for row in entry.failures),
        told=told,
        accepted=tuple(accepted),
        n_now=sum(entry.is_new for entry in having.values()),
        n_before=sum(not entry.is_new for entry in having.values()),
    )


def _with_subject(sentence: str, network: str) -> str:
    """A sentence that lacks the network's name at its head, with it: networks share voxels, and are told by name.

    Examples
    --------
    >>> _with_subject(" wants a brain", "sfcn.ukb_age"), _with_subject("a voxel is hot", "sfcn.ukb_age")
    ('sfcn.ukb_age wants a brain', 'a voxel is hot')
    """
    return network + sentence if sentence.startswith(" ") else sentence


# --- files ----------------------------------------------------------------------------------------------------


def voxels_of(image: Image, need: Need) -> str:
    """Name of the file of an image's voxels: another one where the image's own file is another, or has changed."""
    wants = replace(wants_of(need.recipe, "", resampling=need.resampling), network="")
    places = [_place(image.path), image.member, _place(image.mask)]
    return digest([FORMAT, need.recipe_key, asdict(wants), image.image_id, places])[:32] + ".voxels"


def _place(path: Path | str) -> list[str | int]:
    """Where a file is, and of one on a disk its size in bytes and time of change; of one that is not there, where."""
    if not str(path) or is_url(path):
        return [str(path)]
    whole = Path(path).absolute()
    try:
        status = whole.stat()
    except OSError:
        return [str(whole)]
    return [str(whole), status.st_size, status.st_mtime_ns]


def _write(path: Path, kept: Kept, packed: Packed) -> None:
    """A file under its name when it is whole. No fsync: after a power cut its size or checksum tells."""
    text = json.dumps(asdict(kept)).encode()
    line = text.ljust(-(-(_SUM + len(text) + 1) // _PAGE) * _PAGE - _SUM - 1) + b"\n"
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(b"%08x " % zlib.crc32(packed.stored.data, zlib.crc32(line)))
            file.write(line)
            file.write(packed.stored.data)
        beside.replace(path)
    except OSError as error:
        raise _unwritten(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def _unwritten(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"a cache of volumes must be in a folder with room; {path} could not be written ({first_line(error)}); see "
        "to space and permissions there and run the same command again: what was finished is kept"
    )


def _remove_abandoned(folder: Path) -> None:
    """What killed writers left behind."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # of another writer, who has just finished it
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()


def _read_kept(path: Path) -> Kept | None:
    """The first line of a file that has the size that it tells; None where there is no such file."""
    try:
        with path.open("rb") as file:
            line = file.readline()
        kept = _parse(line)
        return kept if path.stat().st_size == len(line) + _n_bytes(kept) else None
    except _DAMAGED:
        return None


def _parse(line: bytes) -> Kept:
    facts = json.loads(line[_SUM:])
    i, j, k = facts["axes"]
    points = tuple((str(word), float(number)) for word, number in facts["points"])
    tuples = {name: tuple(facts[name]) for name in ("shape", "accepted")}
    kept = Kept(**{**facts, **tuples, "axes": (i, j, k), "points": points})
    if kept.format != FORMAT:
        raise ValueError(f"it is of the format {kept.format}")
    return kept


def _n_bytes(kept: Kept) -> int:
    return math.prod(kept.shape) * np.dtype(kept.dtype).itemsize


# --- read -----------------------------------------------------------------------------------------------------


def read_packed(cache: Cache, image_id: str) -> Packed:
    """The voxels of an image, mapped from its file: nothing is copied, and they are let go with the array.

    Returns
    -------
    Packed
        Its array can be written to; that changes neither the file nor what others read.

    Raises
    ------
    StoreError
        The image is not in the cache, or its file is not what was written.
    """
    if image_id not in cache.paths:
        raise StoreError(
            f"an image must be in the cache before it is read; {image_id!r} is not among its {len(cache.paths)}; "
            "fill the cache first, and leave out the images that failed"
        )
    path = cache.paths[image_id]
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        packed = _see(mapped, image_id)
        if image_id not in cache.sound:
            if zlib.crc32(memoryview(mapped)[_SUM:]) != int(mapped[: _SUM - 1], 16):
                raise ValueError("its checksum does not hold")
            cache.sound.add(image_id)
    except _DAMAGED as error:
        raise StoreError(
            f"a cache of volumes must read back as it was written; {path} of {image_id!r} does not "
            f"({first_line(error)}); remove it and run the same command again: only that image is decoded anew"
        ) from error
    return packed


def _see(mapped: mmap.mmap, image_id: str) -> Packed:
    line = mapped.readline()
    kept = _parse(line)
    if kept.image_id != image_id:
        raise ValueError(f"it is of {kept.image_id!r}")
    if len(mapped) != len(line) + _n_bytes(kept):
        raise ValueError(f"it has {len(mapped)} bytes, not {len(line) + _n_bytes(kept)}")
    stored = np.frombuffer(mapped, kept.dtype, math.prod(kept.shape), len(line)).reshape(kept.shape)
    return Packed(stored, kept.axes, kept.points)
