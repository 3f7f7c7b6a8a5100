"""Cubes of the template's space, what they are filled with, and maps on grids of that space. Needs no torch.

A cube that is occluded is filled with the mean grey value of the **shell** around it, half a cube wide: what was
inside becomes like what is beside it. Black would be no such thing: in a brain it looks like fluid, and fluid is what
age leaves behind. Cube and shell are taken inside the template's brain, so that nothing bright appears outside it.
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from featx.analysis.scaling import Floats
from featx.errors import AnalysisError
from featx.images.template import template_mask, template_on
from featx.images.volume import MNI152_2MM, Grid, Volume, grid_affine, resample

LEAST_MM, MOST_MM = 2.0, 60.0
FWHM_OVER_SIGMA = float(np.sqrt(8 * np.log(2)))

Boxes = NDArray[np.int16]


@cache
def brain_on(grid: Grid) -> NDArray[np.bool_]:
    """Where the template has brain, on a grid."""
    return np.asarray(template_on(grid).data > 0)


def check_cubes(patch_mm: float, stride_mm: float) -> None:
    """Refuse cubes that are too small, too large, or leave gaps.

    Raises
    ------
    AnalysisError
    """
    if not (LEAST_MM <= patch_mm <= MOST_MM and LEAST_MM <= stride_mm <= patch_mm):
        raise AnalysisError(
            f"cubes must be {LEAST_MM:g} to {MOST_MM:g} mm wide, and stand no further apart than that; they are "
            f"{patch_mm:g} mm wide, {stride_mm:g} mm apart; choose, say, --patch 12mm --stride 12mm"
        )


def make_cubes(patch_mm: float, stride_mm: float) -> Floats:
    """The lower corners, in RAS+ mm, of all cubes that hold some of the template's brain; shape (n, 3).

    Examples
    --------
    >>> make_cubes(60.0, 60.0).shape
    (27, 3)
    """
    mask = template_mask()
    lows = []
    for axis, centres in enumerate(_centres(MNI152_2MM)):
        inside = centres[mask.any(axis=tuple({0, 1, 2} - {axis}))]
        lows.append(np.arange(inside.min() - 1.0, inside.max(), stride_mm))
    corners = np.array(list(itertools.product(*lows)))
    holds = [bool(mask[_cut(box)].any()) for box in boxes_on(MNI152_2MM, corners, patch_mm)]
    return corners[holds]


def boxes_on(grid: Grid, corners: Floats, size_mm: float) -> Boxes:
    """The voxels whose centres lie in cubes: first, and one past the last, per axis of a grid; shape (n, 3, 2)."""
    found = np.zeros((len(corners), 3, 2), dtype=np.int16)
    for axis, (centres, world) in enumerate(zip(_centres(grid), _worlds(grid), strict=True)):
        low = corners[:, world, None]
        inside = (centres >= low - 1e-6) & (centres < low + size_mm - 1e-6)
        count = inside.sum(axis=1)
        first = np.where(count > 0, inside.argmax(axis=1), 0)
        found[:, axis] = np.stack([first, first + count], axis=1)
    return found


def _worlds(grid: Grid) -> list[int]:
    """For each axis of a grid, the axis of the space that it runs along."""
    return [int(one) for one in np.abs(grid_affine(grid)[:3, :3]).argmax(axis=0)]


def _centres(grid: Grid) -> list[Floats]:
    """For each axis of a grid, where its voxels lie along that axis of the space, in mm."""
    affine = grid_affine(grid)
    return [
        affine[world, 3] + affine[world, axis] * np.arange(grid.shape[axis])
        for axis, world in enumerate(_worlds(grid))
    ]


def _cut(box: Boxes) -> tuple[slice, ...]:
    return tuple(slice(int(first), int(last)) for first, last in box)


def shell_means(volume: NDArray[np.floating], grid: Grid, corners: Floats, patch_mm: float) -> NDArray[np.float32]:
    """For each cube, the mean of what is around it: half a cube wide, inside the template's brain; shape (n,).

    Where that is nothing, the mean of the brain.
    """
    brain = brain_on(grid)
    inner = boxes_on(grid, corners, patch_mm)
    outer = boxes_on(grid, corners - patch_mm / 2, 2 * patch_mm)
    bright = np.where(brain, volume, 0.0)
    found = np.full(len(corners), bright.sum(dtype=np.float64) / brain.sum(), dtype=np.float32)
    for at, (near, far) in enumerate(zip(inner, outer, strict=True)):
        count = int(brain[_cut(far)].sum()) - int(brain[_cut(near)].sum())
        if count:
            total = bright[_cut(far)].sum(dtype=np.float64) - bright[_cut(near)].sum(dtype=np.float64)
            found[at] = total / count
    return found


def cubes_to_map(values: Floats, grid: Grid, corners: Floats, patch_mm: float) -> NDArray[np.float32]:
    """The mean of the values of all cubes that a voxel lies in; 0 outside the template's brain."""
    total, count = np.zeros(grid.shape), np.zeros(grid.shape, dtype=np.int32)
    for value, box in zip(values, boxes_on(grid, corners, patch_mm), strict=True):
        total[_cut(box)] += value
        count[_cut(box)] += 1
    return np.where(brain_on(grid), total / np.maximum(count, 1), 0.0).astype(np.float32)


def smooth(values: NDArray[np.floating], grid: Grid, fwhm_mm: float) -> NDArray[np.float32]:
    """A map inside the template's brain, smoothed by a Gaussian; what is outside counts as 0, and stays 0.

    Parameters
    ----------
    fwhm_mm : float
        Full width at half maximum; 0 for none.
    """
    brain = brain_on(grid)
    inside = np.where(brain, values, 0.0).astype(np.float32)
    sigma = fwhm_mm / FWHM_OVER_SIGMA / grid.voxel_mm
    return np.where(brain, ndimage.gaussian_filter(inside, sigma, mode="constant"), 0.0).astype(np.float32)


def onto(values: NDArray[np.floating], grid: Grid, finest: Grid) -> NDArray[np.float32]:
    """A map of densities on another grid of the same space, trilinear; the same where the grids are equal."""
    same = np.asarray(values, dtype=np.float32)
    return same if grid == finest else resample(Volume(same, grid_affine(grid)), finest).data
