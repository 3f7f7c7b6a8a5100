"""Maps of single people on disk, and their average. Needs no torch.

Each person's maps are a file, written beside its place and renamed, so that whatever stops the work costs one person.
A file is known by the digest of all that decides it: what another head or another wish left is not taken.
"""

from __future__ import annotations

import hashlib
import io
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.analysis.scaling import Floats

RANDOM = "random_"  # before the name of a map through random weights
_ANSWER = "answer"


@dataclass(frozen=True)
class PersonMaps:
    """What was found of one image.

    Attributes
    ----------
    answer : float
        Of the head to the image as it is.
    maps : mapping of str to ndarray of shape (n,), float32
        By kind: a value per voxel of the template's brain, or per cube.
    """

    answer: float
    maps: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Average:
    """Maps averaged over people.

    Attributes
    ----------
    n : int
    mean, sd : mapping of str to ndarray of shape (n,), float64
        By kind; sd with the divisor n - 1, NaN of one person.
    split_half_r : mapping of str to float
        Correlation, over voxels or cubes, of the means of every other person; NaN where a half is empty or constant.
    random_r : mapping of str to float
        Correlation with the mean through random weights, of kinds that have one.
    """

    n: int
    mean: Mapping[str, Floats]
    sd: Mapping[str, Floats]
    split_half_r: Mapping[str, float]
    random_r: Mapping[str, float]


def part_path(workshop: Path, key: str, image_id: str) -> Path:
    """Where the maps of an image stay until all are there; an id may hold what no file's name may."""
    return workshop / key[:16] / f"{hashlib.sha256(image_id.encode()).hexdigest()[:24]}.npz"


def write_part(path: Path, found: PersonMaps) -> None:
    """Write beside the place, and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        with beside.open("wb") as file:
            arrays: dict[str, Any] = {_ANSWER: np.float64(found.answer), **found.maps}
            np.savez(file, **arrays)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_part(path: Path) -> PersonMaps | None:
    """The maps of an image, None where there are none or the file is damaged: they are then made again."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return PersonMaps(float(arrays.pop(_ANSWER)), arrays)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def average(people: Iterable[PersonMaps]) -> Average:
    """Mean and SD over people, in one pass over them, and how alike the two halves are.

    Examples
    --------
    >>> found = average(PersonMaps(1.0, {"signed": np.float32(one)}) for one in ([1, 2, 4], [3, 4, 6]))
    >>> found.mean["signed"].tolist(), round(found.split_half_r["signed"], 6)
    ([2.0, 3.0, 5.0], 1.0)
    """
    n = 0
    halves: tuple[dict[str, Floats], dict[str, Floats]] = ({}, {})
    mean: dict[str, Floats] = {}
    squares: dict[str, Floats] = {}
    for one in people:
        for kind, values in one.maps.items():
            half = halves[n % 2]
            half[kind] = half.get(kind, 0.0) + values.astype(np.float64)
            before = mean.get(kind, np.zeros(len(values)))
            mean[kind] = before + (values - before) / (n + 1)
            squares[kind] = squares.get(kind, 0.0) + (values - before) * (values - mean[kind])
        n += 1
    kinds = [kind for kind in mean if not kind.startswith(RANDOM)]
    return Average(
        n,
        mean,
        {kind: np.sqrt(total / (n - 1)) if n > 1 else np.full(len(total), np.nan) for kind, total in squares.items()},
        {kind: correlation(halves[0][kind], halves[1].get(kind)) for kind in kinds},
        {kind: correlation(mean[kind], mean[RANDOM + kind]) for kind in kinds if RANDOM + kind in mean},
    )


def correlation(first: Floats, second: Floats | None) -> float:
    """Pearson's r; NaN where there is no second, or one of them is constant.

    Examples
    --------
    >>> correlation(np.array([1.0, 2.0]), np.array([4.0, 2.0])), correlation(np.ones(2), np.ones(2))
    (-1.0, nan)
    """
    if second is None or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return round(float(np.corrcoef(first, second)[0, 1]), 12)
