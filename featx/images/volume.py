"""Read one image into a volume, and put a volume on another grid. The only module that imports nibabel.

Arrays keep the axes of the file, ``(I, J, K)``, and its memory order (Fortran for NIfTI); the affine maps voxel
indices to RAS+ millimetres, as in nibabel. Reorientation only flips and swaps axes: no voxel is interpolated
unless `resample` is called, which nothing does without being asked.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray
from scipy import ndimage

from featx.errors import ImageError, first_line
from featx.images.image import Image, shown, where
from featx.images.opening import MOST_MEMBER_BYTES, file_name, read_bytes

unpacking: Any = gzip.GzipFile
_INFLATE_ERRORS: tuple[type[Exception], ...] = (zlib.error,)
with contextlib.suppress(ImportError):  # three times as fast; there are platforms without it
    from isal import igzip, igzip_lib

    unpacking = igzip.IGzipFile
    _INFLATE_ERRORS += (cast(Any, igzip_lib).IsalError,)  # its stub says an instance, it is a class

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")
AFFINE_TOLERANCE_MM = 1e-3
_NIFTI2_HEADER_BYTES = 540
SLACK_BYTES = 16 << 20  # that may follow the voxels: FreeSurfer's tags
_TAIL_BYTES = 1 << 16  # of them that are looked for at once: room that is not needed costs time
_DEFLATE = 1032  # bytes that one of gzip can stand for, at most
# What gzip and nibabel raise on bytes that are not an image (nibabel's own errors derive from Exception alone).
_DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    *_INFLATE_ERRORS,
    struct.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)


@dataclass(frozen=True)
class Volume:
    """A 3D image in memory.

    Attributes
    ----------
    stored : ndarray of shape (I, J, K)
        As on disk: int8, uint8 or int16 where that is what the file holds, else float32. It may be read-only.
    affine : ndarray of shape (4, 4), float64
        Voxel index to RAS+ millimetres.
    slope : float
        Grey value of a stored 1, above 0; 1 for float32.
    """

    stored: NDArray[np.generic]
    affine: NDArray[np.float64]
    slope: float = 1.0

    @property
    def data(self) -> NDArray[np.float32]:
        """Grey values, shape (I, J, K): a new array, unless float32 is what is stored."""
        values: NDArray[np.float32] = self.stored.astype(np.float32, copy=False)
        return values if self.slope == 1 else values * np.float32(self.slope)


@dataclass(frozen=True)
class Grid:
    """A lattice of voxels in a space: what a network wants its volume to lie on.

    Attributes
    ----------
    name : str
        As people call it.
    shape : tuple of 3 int
        Voxels along I, J, K in `orientation`.
    voxel_mm : float
        Edge of the isotropic voxel.
    orientation : str
        Anatomical directions towards which I, J, K grow, such as "LAS".
    origin_mm : tuple of 3 float
        RAS+ millimetres of voxel (0, 0, 0).
    anywhere : bool
        Only orientation and voxel size are wanted; shape and origin are those of a usual image.
    """

    name: str
    shape: tuple[int, int, int]
    voxel_mm: float
    orientation: str
    origin_mm: tuple[float, float, float]
    anywhere: bool = False


# FSL's MNI152 templates, stored LAS; UK Biobank's T1_brain_to_MNI lies on the 1 mm one.
MNI152_1MM = Grid("MNI152 1 mm (FSL)", (182, 218, 182), 1.0, "LAS", (90.0, -126.0, -72.0))
MNI152_2MM = Grid("MNI152 2 mm (FSL)", (91, 109, 91), 2.0, "LAS", (90.0, -126.0, -72.0))
# Voxels of 1 mm wherever the head lies, as FreeSurfer conforms images (there in another order of the axes).
NATIVE_1MM = Grid("1 mm, anywhere", (256, 256, 256), 1.0, "LAS", (128.0, -128.0, -128.0), anywhere=True)


def grid_affine(grid: Grid) -> NDArray[np.float64]:
    """Affine of a grid, shape (4, 4).

    Examples
    --------
    >>> grid_affine(MNI152_2MM)[:3].tolist()
    [[-2.0, 0.0, 0.0, 90.0], [0.0, 2.0, 0.0, -126.0], [0.0, 0.0, 2.0, -72.0]]
    """
    turn = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(tuple(grid.orientation)), (1, 1, 1))
    towards = turn[:3, :3].T  # that matrix goes from RAS axes to the grid's
    affine = np.eye(4)
    affine[:3, :3] = towards * grid.voxel_mm + 0.0  # + 0.0: no negative zeros
    affine[:3, 3] = grid.origin_mm
    return affine


def orientation(affine: NDArray[np.float64]) -> str:
    """Directions towards which the voxel axes grow, the nearest ones if they are oblique.

    Examples
    --------
    >>> orientation(np.diag([-1.0, 1.0, 1.0, 1.0]))
    'LAS'
    """
    return "".join(nib.aff2axcodes(affine))


def voxel_sizes_mm(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edge lengths of a voxel along I, J, K; shape (3,)."""
    sizes: NDArray[np.float64] = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return sizes


def read_image(image: Image) -> Volume:
    """Read the volume of an image, under its mask if it has one; see `read_volume`.

    Raises
    ------
    ImageError
        mask-mismatch besides those.
    """
    volume = read_volume(image.path, image.member)
    if not image.mask:
        return volume
    mask = read_volume(image.mask)
    if mask.stored.shape != volume.stored.shape or np.abs(mask.affine - volume.affine).max() > AFFINE_TOLERANCE_MM:
        raise ImageError(
            "mask-mismatch",
            f"a brain mask must lie on the grid of its image; {shown(image.mask)} ({_by(mask.stored.shape)}) does "
            f"not lie on that of {where(image)} ({_by(volume.stored.shape)}); take the mask of the same space and "
            "resolution",
        )
    return replace(volume, stored=np.where(mask.data > 0, volume.stored, volume.stored.dtype.type(0)))


def read_volume(path: Path | str, member: str = "") -> Volume:
    """Read .nii, .nii.gz, .mgz or .mgh; a fourth axis of length one is dropped.

    Parameters
    ----------
    path, member
        As in `featx.images.opening.read_bytes`.

    Raises
    ------
    ImageError
        With codes missing-file, missing-member, unsupported-format (complex numbers and colours among them),
        truncated, unreadable, not-3d, unknown-orientation, bad-affine, out-of-memory. Values are not judged here: see
        `featx.images.check`.
    """
    here = f"{shown(path)}: {member}" if member else shown(path)
    image, raw = _load(path, member, here)
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        raise ImageError(
            "unsupported-format",
            f"an image's voxels must be plain numbers; those of {here} are of the type {_told(kind)}; save their "
            "magnitude (of complex numbers) or one channel (of colours) as a file of its own",
        )
    shape = tuple(int(length) for length in image.shape)
    _check_3d(shape, here)
    if isinstance(image, nib.Nifti1Image) and not (image.header["sform_code"] or image.header["qform_code"]):
        raise ImageError(
            "unknown-orientation",
            f"an image must state its orientation; {here} has sform and qform codes 0; "
            "set one of them (fslorient -setsformcode) if you know the orientation",
        )
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError(
            "bad-affine",
            f"an image's affine must be finite and invertible; that of {here} is {affine[:3].tolist()}; "
            "repair the header, or convert the original again",
        )
    stored, slope = _voxels(image, raw, here)
    return Volume(stored.reshape(shape[:3], order="F"), affine, slope)


def _is_3d(shape: Sequence[int]) -> bool:
    return len(shape) >= 3 and all(length == 1 for length in shape[3:]) and 0 not in shape


def _check_3d(shape: Sequence[int], here: str) -> None:
    if not _is_3d(shape):
        raise ImageError(
            "not-3d",
            f"an image must be one 3D volume; {here} has shape {_by(shape)}; "
            "choose one frame (or their mean) and save it as a file of its own",
        )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _told(kind: np.dtype[Any]) -> str:
    return "colours" if kind.names else kind.name


def _voxels(image: Any, raw: bytes, here: str) -> tuple[NDArray[np.generic], float]:
    """Voxels as they are stored, without a copy where their bytes allow it, and the value of a stored 1."""
    voxels, kind = image.dataobj, image.get_data_dtype()
    slope, inter = float(voxels.slope), float(voxels.inter)
    plain = kind.kind in "iu" and kind.itemsize <= 2 and kind.name != "uint16" and 0 < slope < np.inf
    count = math.prod(image.shape)
    try:
        if inter == 0 and (plain or (kind.name == "float32" and slope == 1)):
            stored = np.frombuffer(raw, kind, count, int(voxels.offset))
            return stored.astype(kind.newbyteorder("="), copy=False).reshape(image.shape, order="F"), slope
        return np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged")), 1.0
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ImageError(
            "truncated",
            f"an image must be whole; {here} ends before its {_by(image.shape)} voxels "
            f"({first_line(error)}); copy or download it again",
        ) from error
    except MemoryError as error:
        raise ImageError(
            "out-of-memory",
            f"an image must fit in memory; the header of {here} announces {_by(image.shape)} "
            "voxels; if that is wrong, the file is damaged",
        ) from error


def _load(path: Path | str, member: str, here: str) -> tuple[Any, bytes]:
    """A parsed header with its array, and the bytes that both are in."""
    name = file_name(path, member).lower()
    if not name.endswith(SUFFIXES):
        raise ImageError(
            "unsupported-format",
            f"an image must be named {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}; got {here}; "
            "convert it to NIfTI (dcm2niix for DICOM)",
        )
    packed = read_bytes(path, member)
    try:
        raw = _unpacked(packed, name, here) if name.endswith((".gz", ".mgz")) else packed
        return _parse(raw, name), raw
    except ImageError:  # a ValueError too
        raise
    except EOFError as error:
        raise ImageError(
            "truncated",
            f"an image must be whole; {here} ends before its compressed data do; copy or download it again",
        ) from error
    except _DAMAGED as error:
        raise ImageError(
            "unreadable",
            f"an image must be what its name says; {here} is not ({first_line(error)}); "
            "look at its first bytes: it may be another format, or an error page saved under this name",
        ) from error


def _unpacked(packed: bytes, name: str, here: str) -> bytes:
    """Bytes behind gzip, no more of them than their own header announces: some kB can stand for some GB."""
    with unpacking(fileobj=io.BytesIO(packed)) as file:
        announced = _announced(file.read(_NIFTI2_HEADER_BYTES), name, here)
    with unpacking(fileobj=io.BytesIO(packed)) as file:  # an unknown end would be reached by ever longer copies
        raw: bytes = file.read(min(announced + _TAIL_BYTES, len(packed) * _DEFLATE))
        more = file.read(min(SLACK_BYTES, len(packed) * _DEFLATE)) if len(raw) >= announced + _TAIL_BYTES else b""
    raw = raw + more if more else raw
    if len(raw) >= announced + SLACK_BYTES:
        raise ImageError(
            "unreadable",
            f"a compressed image must hold what its header announces; {here} holds more than the {announced} bytes "
            "of its header and voxels; it is damaged or no image: make it anew",
        )
    return raw


def _announced(head: bytes, name: str, here: str) -> int:
    """Bytes of header and voxels, as the header says, if it is of a volume that can be held."""
    header = _header(head, name, check=False)
    shape = tuple(int(length) for length in header.get_data_shape())
    size = int(header.get_data_offset()) + math.prod(shape) * int(header.get_data_dtype().itemsize)
    if not 0 <= size <= MOST_MEMBER_BYTES or not _is_3d(shape):
        _header(head, name, check=True)  # what is no header is refused as that, not for its numbers
    _check_3d(shape, here)
    if size > MOST_MEMBER_BYTES:
        raise ImageError(
            "out-of-memory",
            f"a compressed image must have at most {MOST_MEMBER_BYTES >> 30} GiB; the header of {here} announces "
            f"{_by(shape)} voxels, {size / 2**30:.1f} GiB; if that is wrong, the file is damaged",
        )
    return max(0, size)


def _header(head: bytes, name: str, *, check: bool) -> Any:
    """A header without its extensions; nibabel mends small faults, and says so, where it is told to check it."""
    kind = _kind(head, name)
    if kind is nib.MGHImage:
        return kind.header_class.from_fileobj(io.BytesIO(head), check=check)
    pair = (nib.Nifti2Pair if kind is nib.Nifti2Image else nib.Nifti1Pair).header_class
    return pair(head[: pair.template_dtype.itemsize], check=check)


def _kind(head: bytes, name: str) -> Any:
    if name.endswith((".mgz", ".mgh")):
        return nib.MGHImage
    header_bytes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    return nib.Nifti2Image if _NIFTI2_HEADER_BYTES in header_bytes else nib.Nifti1Image


def _parse(raw: bytes, name: str) -> Any:
    kind = _kind(raw, name)
    return kind.from_file_map({"image": nib.FileHolder(fileobj=io.BytesIO(raw))})


def reorient(volume: Volume, codes: str) -> Volume:
    """Flip and swap axes until they grow towards `codes`; values are only moved.

    The result is Fortran-contiguous whatever came in, so that sums over it do not depend on how the file was
    stored.
    """
    here = nib.orientations.io_orientation(volume.affine)
    there = nib.orientations.axcodes2ornt(tuple(codes))
    change = nib.orientations.ornt_transform(here, there)
    stored = np.asfortranarray(nib.orientations.apply_orientation(volume.stored, change))
    affine = volume.affine @ nib.orientations.inv_ornt_aff(change, volume.stored.shape)
    return Volume(stored, affine, volume.slope)


def resample(volume: Volume, grid: Grid) -> Volume:
    """Interpolate a volume onto a grid by the two affines: trilinear, zero outside the field of view."""
    affine = grid_affine(grid)
    to_source = np.linalg.inv(volume.affine) @ affine
    data = ndimage.affine_transform(
        volume.data, to_source[:3, :3], to_source[:3, 3], output_shape=grid.shape, order=1, output=np.float32
    )
    return Volume(np.asfortranarray(data), affine)


def write_volume(path: Path, data: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write an array as NIfTI (.nii or .nii.gz) in its own dtype; sform and qform get code 4 (MNI152).

    The same array gives the same bytes: the gzip header carries no time and no name.
    """
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, code=4)
    image.set_qform(affine, code=4)
    raw = image.to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw, compresslevel=6, mtime=0) if path.name.endswith(".gz") else raw)
