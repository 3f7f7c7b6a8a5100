"""Whatever stands for one image each in X of scikit-learn: a path, an Image, an image in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx.errors import ImageError, IndexingError
from featx.images.image import Image, where
from featx.images.opening import is_url, located
from featx.images.volume import Volume, read_image

_WANTED = "X must be a list of images: paths, featx Images, images of nibabel, or a column of paths"


@dataclass(frozen=True)
class Item:
    """One image of X.

    Attributes
    ----------
    image : Image
        Its id is its place in X.
    given : object, optional
        The image itself, where it is in memory: with an affine, and voxels (`dataobj`, or what numpy makes of it).
    """

    image: Image
    given: Any = None


def items_of(X: Any) -> list[Item]:
    """Images of X, in its order; no file is read.

    Parameters
    ----------
    X : list, ndarray, Series or DataFrame
        Of paths and URLs, of `featx.images.image.Image`, or of images in memory such as those of nibabel. Of a table
        the column "path" counts (with "member" and "mask", as `featx.index` gives them), or the only column.

    Raises
    ------
    IndexingError
        It is no such list, or it is empty.

    Examples
    --------
    >>> [str(item.image.path) for item in items_of(["a.nii.gz", "b.nii.gz"])]
    ['a.nii.gz', 'b.nii.gz']
    """
    if isinstance(X, pd.DataFrame) and "path" in X:
        return _of_index(X)
    values = _values(X)
    if not len(values):
        raise IndexingError(f"{_WANTED}; got none of them (0 samples); give one or more")
    return [_item(one, at) for at, one in enumerate(values)]


def _values(X: Any) -> Sequence[Any]:
    """The entries of a list or of a single column."""
    if isinstance(X, str | bytes | Path | Image) or not hasattr(X, "__len__") or hasattr(X, "affine"):
        raise IndexingError(f"{_WANTED}; got {type(X).__name__}; write [image] where there is one only")
    if isinstance(X, list | tuple):
        return X
    array = np.asarray(X)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise IndexingError(f"{_WANTED}; got an array of shape {array.shape}; choose the column that holds them")
    values: list[Any] = array.tolist()
    return values


def _of_index(table: pd.DataFrame) -> list[Item]:
    texts = {
        name: ["" if pd.isna(one) else str(one) for one in table[name]]
        for name in ("path", "member", "mask")
        if name in table
    }
    if not len(table):
        raise IndexingError(f"{_WANTED}; got none of them (0 samples); give one or more")
    nothing = [""] * len(table)
    rows = zip(texts["path"], texts.get("member", nothing), texts.get("mask", nothing), strict=True)
    items = []
    for at, (path, member, mask) in enumerate(rows):
        item = _item(path, at)
        items.append(replace(item, image=replace(item.image, member=member or item.image.member, mask=mask)))
    return items


def _item(one: Any, at: int) -> Item:
    if isinstance(one, Image):
        return Item(replace(one, image_id=str(at)))
    if isinstance(one, Path):
        return Item(Image(str(at), str(at), "", "", one))
    if isinstance(one, str) and one:
        path, member = located(one)
        return Item(Image(str(at), str(at), "", "", path, member))
    if hasattr(one, "affine") and (hasattr(one, "dataobj") or hasattr(one, "__array__")):
        return Item(Image(str(at), str(at), "", "", Path(f"image {at} of X")), one)
    raise IndexingError(f"{_WANTED}; got {_said(one)} at place {at}; give the path of an image there")


def _said(one: Any) -> str:
    return repr(one) if isinstance(one, int | float | str | None) else type(one).__name__


def read_item(item: Item) -> Volume:
    """The volume of an image, of a file or in memory.

    Raises
    ------
    ImageError
        See `featx.images.volume.read_image`; not-3d, bad-affine and unsupported-format of one in memory too.
    """
    if item.given is None:
        return read_image(item.image)
    here = where(item.image)
    voxels = _voxels(item.given)
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3 or not voxels.size:
        raise ImageError(
            "not-3d",
            f"an image must be one 3D volume; {here} has shape {voxels.shape}; choose one frame (or their mean)",
        )
    if voxels.dtype.kind not in "iuf":
        raise ImageError(
            "unsupported-format",
            f"an image's voxels must be plain numbers; those of {here} are of the type {voxels.dtype}; make them so",
        )
    affine = np.asarray(item.given.affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError(
            "bad-affine",
            f"an image's affine must be finite, invertible and 4 x 4; that of {here} is {affine.tolist()}; mend it",
        )
    plain = voxels.dtype.name in ("int8", "uint8", "int16")
    return Volume(voxels if plain else voxels.astype(np.float32), affine)


def _voxels(given: Any) -> np.ndarray[Any, Any]:
    return np.asanyarray(given.dataobj if hasattr(given, "dataobj") else given)


def stamp(item: Item) -> str:
    """By what an image is known again; "" where nothing tells whether it is still the same.

    Parameters
    ----------
    item : Item
        A file by path, size and time of change, with member and mask; an image in memory by voxels and affine.
    """
    image = item.image
    if item.given is not None:
        voxels, total = _voxels(item.given), hashlib.sha256()
        told = (voxels.dtype.str, voxels.shape, np.asarray(item.given.affine, dtype=np.float64).tolist())
        total.update(repr(told).encode())
        total.update(np.ascontiguousarray(voxels).data)
        return total.hexdigest()
    files = [image.path, *([image.mask] if image.mask else [])]
    if any(is_url(one) for one in files):
        return ""
    try:
        stats = [Path(one).stat() for one in files]
    except OSError:  # the sentence is the reader's to say
        return ""
    return repr(
        [str(Path(one).absolute()) for one in files] + [image.member] + [(s.st_size, s.st_mtime_ns) for s in stats]
    )
