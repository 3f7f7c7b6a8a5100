"""Measure the quality of images and draw them, for `featx qc`.

What is measured is kept as it comes, so that a run that was killed goes on, and a later one measures what is new.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx import schema
from featx.extraction.loader import attempt, load_ahead
from featx.featureset import digest
from featx.images.check import check_values
from featx.images.image import Image, where
from featx.images.pictures import encode_picture, mid_slices
from featx.images.pictures import picture_name as picture_name
from featx.images.quality import Quality, measure
from featx.images.volume import read_image
from featx.store import Failure

PICTURE_HEIGHT = 218  # pixels: every voxel of a 1 mm brain on its grid
NUMBERS = tuple(one.name for one in dataclasses.fields(Quality))
_MEASURED = ".measured.jsonl"
_VERSION = "2"  # of the numbers and pictures: a change makes all of them anew

Numbers = dict[str, str]


@dataclass(frozen=True)
class _Found:
    numbers: Numbers
    picture: bytes


def measured_before(images: Sequence[Image], folder: Path) -> dict[str, Numbers]:
    """Numbers that an earlier run left in a folder, by image: of files that have not changed since."""
    rows = _read(folder / _MEASURED)
    found = {}
    for image in images:
        row = rows.get(image.image_id)
        if row and row["key"] == _key(image) and (_pictures(folder) / picture_name(image.image_id)).is_file():
            found[image.image_id] = {name: str(row["numbers"][name]) for name in NUMBERS}
    return found


def measure_images(
    images: Sequence[Image], folder: Path, workers: int
) -> Iterator[tuple[Image, Numbers | None, Failure | None]]:
    """Numbers of each image, or the row of the failures table that says why there are none.

    Numbers and picture are on disk before they are given, so that a run that is killed costs the images that were
    being read.

    Parameters
    ----------
    images : sequence of Image
    folder : Path
        Where `measured_before` finds them.
    workers : int
        Threads that read and measure; at most `workers` + 2 images are held at a time.
    """
    _pictures(folder).mkdir(parents=True, exist_ok=True)
    _end_line(folder / _MEASURED)
    with (folder / _MEASURED).open("a", newline="\n", encoding="utf-8") as file:
        for image, (found, key, failure) in load_ahead(images, _measure_image, workers):
            if found is None:
                yield image, None, failure
                continue
            (_pictures(folder) / picture_name(image.image_id)).write_bytes(found.picture)
            row = {"image_id": image.image_id, "numbers": found.numbers, "key": key}
            file.write(json.dumps(row) + "\n")
            file.flush()
            yield image, found.numbers, None


def _measure_image(image: Image) -> tuple[_Found | None, str, Failure | None]:
    key = _key(image)  # before it is read: a file that changes meanwhile is read again
    volume, failure = attempt(lambda: read_image(image), image.image_id, "", "read")
    if volume is None:
        return None, key, failure

    def look() -> _Found:
        check_values(volume, where(image))
        numbers = dataclasses.asdict(measure(volume))
        told = {name: f"{number:.6g}" if math.isfinite(number) else "" for name, number in numbers.items()}
        return _Found(told, encode_picture(mid_slices(volume, height=PICTURE_HEIGHT), "webp"))

    found, failure = attempt(look, image.image_id, "", "check")
    return found, key, failure


def _pictures(folder: Path) -> Path:
    return folder / schema.QC_PICTURES_DIR


def _key(image: Image) -> str:
    """Digest of where an image is (of a URL all, also what `where` leaves out), and of size and time of its files."""
    facts: list[object] = [_VERSION, str(image.path), image.member, image.mask]
    for path in (image.path, image.mask):
        try:
            stat = os.stat(path)
        except OSError:  # a URL, or nothing
            continue
        facts.append([stat.st_size, stat.st_mtime_ns])
    return digest(facts)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Rows that earlier runs left, the last one of each image; lines that a kill cut short are none."""
    rows: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return rows
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                rows[row["image_id"]] = row
    return rows


def _end_line(path: Path) -> None:
    """End the last line, where a kill cut it short."""
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
