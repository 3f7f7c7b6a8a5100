"""Is a volume what a network wants? Each check returns nothing, or raises an `ImageError` with its reason code."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from featx.errors import ImageError
from featx.images.volume import Grid, Volume, orientation, voxel_sizes_mm

VOXEL_TOLERANCE_MM = 0.01
OBLIQUE_TOLERANCE = 0.01


def check_values(volume: Volume, where: str) -> None:
    """Refuse NaN, infinities, and a volume of one value.

    Raises
    ------
    ImageError
        non-finite or constant.
    """
    low, high = (
        float(one) * volume.slope for one in (volume.stored.min(), volume.stored.max())
    )  # NaN goes through both
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int((~np.isfinite(volume.data)).sum())
        raise ImageError(
            "non-finite",
            f"voxels must be finite; {bad} of {volume.stored.size} are NaN or infinite in {where}; "
            "find the step that made them (a division by an empty mask, mostly); featx fills nothing in",
        )
    if low == high:
        raise ImageError(
            "constant",
            f"an image must show something; every voxel is {low:g} in {where}; "
            "look at the step before (brain extraction or registration may have failed)",
        )


def check_grid(volume: Volume, grid: Grid, network: str, where: str) -> None:
    """Refuse a volume that is not on the network's grid. Flipped or swapped axes fit: they are undone without loss.

    Parameters
    ----------
    volume : Volume
        In the orientation of the grid (see `featx.images.volume.reorient`).
    grid : Grid
        What the network wants.
    network, where : str
        For the sentence.

    Raises
    ------
    ImageError
        wrong-grid, oblique or wrong-place.
    """
    check_lattice(volume.stored.shape, volume.affine, grid, network, where)


def check_lattice(shape: tuple[int, ...], affine: NDArray[np.float64], grid: Grid, network: str, where: str) -> None:
    """The same from the header's facts alone: the shape and affine of a volume in the orientation of the grid.

    Raises
    ------
    ImageError
        wrong-grid, oblique or wrong-place.
    """
    sizes = voxel_sizes_mm(affine)
    fits = grid.anywhere or shape == grid.shape
    if not fits or np.abs(sizes - grid.voxel_mm).max() > VOXEL_TOLERANCE_MM:
        wanted = "" if grid.anywhere else f"{_shape(grid.shape)} "
        raise ImageError(
            "wrong-grid",
            f"{network} wants a brain on the {grid.name} grid, {wanted}voxels of {grid.voxel_mm:g} mm "
            f"in {grid.orientation}; got {_shape(shape)} voxels of {' x '.join(f'{mm:.4g}' for mm in sizes)} mm "
            f"in {orientation(affine)} in {where}; register it to that template, or, if it lies in that "
            "space already, ask for --resample",
        )
    if grid.anywhere:
        return
    directions = np.abs(affine[:3, :3]) / sizes
    if (directions - np.eye(3)).max() > OBLIQUE_TOLERANCE or directions.diagonal().min() < 1 - OBLIQUE_TOLERANCE:
        raise ImageError(
            "oblique",
            f"{network} wants voxel axes along the axes of {grid.name}; those of {where} are rotated by up to "
            f"{np.degrees(np.arccos(directions.diagonal().min().clip(0, 1))):.1f} degrees; register it to that "
            "template, or, if it lies in that space already, ask for --resample",
        )
    _check_place(affine, grid, network, where)


def _check_place(affine: NDArray[np.float64], grid: Grid, network: str, where: str) -> None:
    origin = affine[:3, 3]
    if np.abs(origin - grid.origin_mm).max() > grid.voxel_mm:
        raise ImageError(
            "wrong-place",
            f"{network} wants a brain in {grid.name} space, where voxel (0, 0, 0) lies at "
            f"{_place(grid.origin_mm)} mm; in {where} it lies at {_place(origin)} mm; register it to it, or "
            "mend the header if the image was",
        )


def _place(millimetres: Iterable[float]) -> str:
    return "(" + ", ".join(f"{mm:g}" for mm in millimetres) + ")"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
