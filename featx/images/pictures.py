"""An image as a small picture: a slice through the middle along each axis, as a radiologist sees them."""

from __future__ import annotations

import hashlib
import io
import re
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage

from featx.images.volume import Volume, reorient, voxel_sizes_mm

Grey = NDArray[np.uint8]

WHITE_PERCENTILE = 99.5  # of the voxels above 0, so that a few bright vessels leave no dark brain
GAP = 2  # pixels between the planes
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
QUALITY = {"webp": 72, "jpeg": 82}
KINDS = ("webp", "jpeg", "png")
_LATTICE_MM = 4.0
_FOREGROUND = 0.1  # of the bright tissue
_BELOW = 0.05  # of white: what lies further below 0 is no trace of a spline


def picture_name(image_id: str) -> str:
    """Name of an image's picture, safe on any disk and no other image's.

    Examples
    --------
    >>> picture_name("sub-01_ses-2")
    'sub-01_ses-2-ae51ca8c.webp'
    """
    mark = hashlib.sha256(image_id.encode(errors="surrogateescape")).hexdigest()[:8]  # a file's name may be no UTF-8
    return f"{_UNSAFE.sub('_', image_id)[:100]}-{mark}.webp"


def mid_slices(volume: Volume, *, height: int = 96) -> Grey:
    """Sagittal, coronal and axial slice side by side, through the middle of what is bright.

    Anterior is right in the sagittal plane and up in the axial one, superior is up, and the patient's left is right.
    The whole field of view is shown, with square pixels of one size in all planes. Black is 0 (or the darkest
    voxels, where grey values were standardised), white the 99.5th percentile of the voxels above 0.

    Parameters
    ----------
    volume : Volume
        In any orientation; finite. Oblique axes are shown as the nearest straight ones.
    height : int
        Pixels; the longer one of the two axes that run upwards fills it.

    Returns
    -------
    ndarray of shape (height, width), uint8

    Examples
    --------
    >>> from featx.images.template import read_template
    >>> mid_slices(read_template(), height=109).shape
    (109, 295)
    """
    turned = reorient(volume, "LAS")
    return _side_by_side(_greys(turned), _sizes(turned, height), height)


def with_outline(
    volume: Volume, mask: NDArray[np.bool_], *, height: int = 96, colour: tuple[int, int, int] = (255, 90, 60)
) -> NDArray[np.uint8]:
    """The same picture with the outline of a mask drawn over it, one pixel wide.

    Parameters
    ----------
    volume : Volume
    mask : ndarray of shape (I, J, K), bool
        On the voxels of the volume.
    height : int
    colour : tuple of 3 int
        Red, green and blue, 0 to 255.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8

    Raises
    ------
    ValueError
        The mask has another shape than the volume.
    """
    if mask.shape != volume.stored.shape:
        raise ValueError(f"a mask must have the shape of its volume, {volume.stored.shape}; got {mask.shape}")
    turned = reorient(volume, "LAS")
    painted = reorient(Volume(mask.astype(np.uint8) * np.uint8(255), volume.affine), "LAS")
    sizes = _sizes(turned, height)
    grey = _side_by_side(_greys(turned), sizes, height)
    inside = _side_by_side([one.astype(np.uint8) for one in _planes(painted, _middle(turned))], sizes, height) > 127
    edge = inside & ~ndimage.binary_erosion(inside, border_value=1)
    picture = np.repeat(grey[..., None], 3, axis=2)
    picture[edge] = colour
    return picture


def encode_picture(picture: NDArray[np.uint8], kind: str) -> bytes:
    """The bytes of a picture file.

    Parameters
    ----------
    picture : ndarray of shape (height, width) or (height, width, 3), uint8
    kind : str
        "webp", "jpeg" or "png". The same picture gives the same bytes with the same Pillow.

    Raises
    ------
    ValueError
        Another kind.

    Examples
    --------
    >>> encode_picture(np.zeros((8, 8), np.uint8), "png")[1:4]
    b'PNG'
    """
    if kind not in KINDS:
        raise ValueError(f"a picture must be of the kind webp, jpeg or png; got {kind!r}")
    file = io.BytesIO()
    settings = {"quality": QUALITY[kind]} if kind in QUALITY else {"optimize": True}
    Picture.fromarray(np.ascontiguousarray(picture)).save(file, kind, **settings)
    return file.getvalue()


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture as its name says, .png, .jpg, .jpeg or .webp; the name means that the file is whole.

    Raises
    ------
    ValueError
        The name ends otherwise.
    """
    kind = {".jpg": "jpeg"}.get(path.suffix.lower(), path.suffix.lower().removeprefix("."))
    encoded = encode_picture(picture, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.write_bytes(encoded)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


# --- how it is done -------------------------------------------------------------------------------------------


def _lattice(volume: Volume) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Grey values of every few voxels, and how many voxels are stepped over along each axis."""
    every = np.maximum(1, np.rint(_LATTICE_MM / voxel_sizes_mm(volume.affine))).astype(np.intp)
    some = volume.stored[tuple(slice(None, None, step) for step in every)]
    return some.astype(np.float32) * np.float32(volume.slope), every


def _middle(volume: Volume) -> tuple[int, int, int]:
    """Voxel in the middle of the foreground: the median along each axis; of the volume where nothing is bright."""
    some, every = _lattice(volume)
    above = some[some > 0]
    bright = float(np.percentile(above, 90)) if above.size else 0.0
    found = np.argwhere(some > _FOREGROUND * bright) if above.size else np.empty((0, 3))
    if not len(found):
        i, j, k = (length // 2 for length in volume.stored.shape)
        return i, j, k
    at = np.minimum(np.rint(np.median(found, axis=0)) * every, np.array(volume.stored.shape) - 1)
    return int(at[0]), int(at[1]), int(at[2])


def _greys(volume: Volume) -> list[Grey]:
    """The three slices through the middle as 8-bit grey."""
    some, _ = _lattice(volume)
    above = some[some > 0]
    white = float(np.percentile(above, WHITE_PERCENTILE)) if above.size else float(some.max())
    dark = float(np.percentile(some, 0.5))
    black = dark if dark < -_BELOW * abs(white) else 0.0
    scale = 255.0 / (white - black) if white > black else 0.0
    planes = [one.astype(np.float32) * np.float32(volume.slope) for one in _planes(volume, _middle(volume))]
    return [np.rint(((one - black) * scale).clip(0, 255)).astype(np.uint8) for one in planes]


def _planes(volume: Volume, middle: tuple[int, int, int]) -> list[NDArray[np.generic]]:
    """Stored voxels of three slices of an LAS volume, rows from the top."""
    i, j, k = middle
    of = volume.stored
    return [np.flipud(plane.T) for plane in (of[i], of[:, j], of[:, :, k])]


def _sizes(volume: Volume, height: int) -> list[tuple[int, int]]:
    """Height and width of each plane in pixels."""
    left, front, up = voxel_sizes_mm(volume.affine) * volume.stored.shape
    scale = height / max(front, up)
    return [
        (max(1, round(tall * scale)), max(1, round(wide * scale)))
        for tall, wide in ((up, front), (up, left), (front, left))
    ]


def _side_by_side(planes: Sequence[Grey], sizes: Sequence[tuple[int, int]], height: int) -> Grey:
    """Planes at their sizes on black, in the middle of the height."""
    canvas = np.zeros((height, sum(wide for _, wide in sizes) + GAP * (len(sizes) - 1)), np.uint8)
    left = 0
    for plane, (tall, wide) in zip(planes, sizes, strict=True):
        shown = Picture.fromarray(np.ascontiguousarray(plane)).resize((wide, tall), Picture.Resampling.BICUBIC)
        top = (height - tall) // 2
        canvas[top : top + tall, left : left + wide] = np.asarray(shown)
        left += wide + GAP
    return canvas
