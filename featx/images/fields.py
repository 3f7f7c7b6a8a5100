"""Numbers on the MNI152 2 mm grid: smooth random fields, and looking them up between voxels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SHAPE = (91, 109, 91)
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])  # LAS
COARSE_MM = 4  # grid of the random fields

Array = NDArray[np.float32]


def world_mm() -> Array:
    """World coordinates (3, n) of every voxel of the grid, in C order."""
    grid = np.stack(np.meshgrid(*[np.arange(size) for size in SHAPE], indexing="ij")).reshape(3, -1)
    return np.asarray(AFFINE[:3, :3] @ grid + AFFINE[:3, 3:], np.float32)


def random_field(rng: np.random.Generator, sigma_mm: float) -> Array:
    """Smooth noise of unit variance on the coarse grid.

    Examples
    --------
    >>> field = random_field(np.random.default_rng(0), 20.0)
    >>> field.shape, round(float(field.std()), 3)
    ((46, 55, 46), 1.0)
    """
    shape = [-(-size * 2 // COARSE_MM) for size in SHAPE]
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, sigma_mm / COARSE_MM, mode="wrap", truncate=3.0)
    return np.asarray(smooth / smooth.std(), np.float32)


def sample(array: Array, points_mm: Array, to_voxel: NDArray[np.float64]) -> Array:
    """Linear interpolation at world points (3, n) of an array on any grid; 0 outside it."""
    at = to_voxel[:3, :3].astype(np.float32) @ points_mm + to_voxel[:3, 3:].astype(np.float32)
    return np.asarray(ndimage.map_coordinates(array, at, order=1, mode="constant", prefilter=False))


def sample_grid(array: Array, points_mm: Array, spacing_mm: int = 2) -> Array:
    """Linear interpolation at world points (3, n) on the grid, or a coarser one; its edge goes on outside."""
    steps = np.array([[-spacing_mm], [spacing_mm], [spacing_mm]], np.float32)
    at = (points_mm - AFFINE[:3, 3:].astype(np.float32)) / steps
    return np.asarray(ndimage.map_coordinates(array, at, order=1, mode="nearest", prefilter=False))


def below(value: Array, limit: float, width: float) -> Array:
    """1 well below the limit, 0 well above it.

    Examples
    --------
    >>> below(np.array([-9, 5, 19], np.float32), 5.0, 1.0).round(2).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.asarray(1 / (1 + np.exp((value - limit) / width)), np.float32)
