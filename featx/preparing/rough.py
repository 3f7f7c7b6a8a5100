"""Find the brain in a head, roughly: without a template, by grey values and thickness.

In a T1-weighted head the brain is the one thick body of bright tissue in the upper head: skull and CSF, which are
dark, part it from the scalp but for thin bridges (nerves, veins, dura). So tissue is eroded until the bridges break,
the body in the middle is kept and grown back. How dark tissue may be and how much must be eroded differs between
heads: `list_rough_brains` gives one candidate per darkness, and the registration to the template decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from featx.images.volume import Volume, voxel_sizes_mm

WORKING_MM = 2.0
DARKEST = (0.45, 0.35, 0.55)  # of white matter: where tissue may begin
BRIGHTEST = 1.35  # of it; what is brighter is fat
RADII_MM = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
LITRES = (0.5, 1.8)
STABLE = 0.1  # share of its volume that a brain may lose when a little more is eroded
UPPER_HEAD_MM = 130.0
HEAD = 0.5  # of Otsu's threshold
_CORE_MM, _MIDDLE_MM, _DEEP_MM = 55.0, 40.0, 20.0
_CLOSING = 5  # voxels

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Head:
    """A head on a coarse lattice, and what was found of it.

    Attributes
    ----------
    volume : Volume
        Voxels of `WORKING_MM`, its hottest voxels cut off.
    from_centre_mm : ndarray of shape (I, J, K)
        Distance from the middle of the upper head.
    white : float
        Grey value of white matter.
    """

    volume: Volume
    from_centre_mm: NDArray[np.float64]
    white: float


def otsu(values: NDArray[np.float32]) -> float:
    """The threshold that parts grey values best into two classes (Otsu 1979).

    Examples
    --------
    >>> 10 < otsu(np.array([0, 10, 100, 110] * 9, np.float32)) < 100
    True
    """
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    weight, total = np.cumsum(counts)[:-1], np.cumsum(counts * centres)
    n = counts.sum()
    between = (total[-1] * weight / n - total[:-1]) ** 2 / np.maximum(weight * (n - weight), 1)
    return float(centres[:-1][between.argmax()])


def without_hot(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey values up to the 99.5th percentile, for thresholds; nothing that is written is cut off."""
    return np.minimum(data, np.percentile(data, 99.5)).astype(np.float32)


def head_mask(data: NDArray[np.float32]) -> Mask:
    """Where a head is not air: brighter than half of Otsu's threshold."""
    shown = without_hot(data)
    mask: Mask = shown > HEAD * otsu(shown)
    return mask


def coarsen(volume: Volume, voxel_mm: float = WORKING_MM) -> Volume:
    """A volume on isotropic voxels along its own axes, smoothed by as much as they grow; trilinear.

    Examples
    --------
    >>> coarsen(Volume(np.ones((10, 10, 5), np.float32), np.diag([1.0, 1, 2, 1]))).stored.shape
    (5, 5, 5)
    """
    step = voxel_mm / voxel_sizes_mm(volume.affine)
    shape = tuple(int(np.ceil(length / by)) for length, by in zip(volume.stored.shape, step, strict=True))
    affine = volume.affine @ np.diag([*step, 1.0])
    smooth = ndimage.gaussian_filter(volume.data, np.where(step > 1, 0.4 * step, 0), mode="nearest")
    data = ndimage.affine_transform(smooth, np.diag(step), output_shape=shape, order=1, mode="nearest")
    return Volume(data.astype(np.float32), affine)


def points_mm(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """RAS+ millimetres of every voxel, shape (I, J, K, 3)."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    points: NDArray[np.float64] = voxels @ affine[:3, :3].T + affine[:3, 3]
    return points


def look_at_head(volume: Volume) -> Head:
    """Coarsen a head, find the middle of its upper part and the grey value of its white matter.

    Parameters
    ----------
    volume : Volume
        Bias-corrected.
    """
    coarse = coarsen(volume)
    data = without_hot(coarse.data)
    inside = data > HEAD * otsu(data)
    points = points_mm(data.shape, coarse.affine)
    height = points[..., 2][ndimage.binary_opening(inside)]
    top = np.percentile(height, 99.9) if height.size else points[..., 2].max()
    upper = inside & (points[..., 2] > top - UPPER_HEAD_MM)
    from_centre = np.linalg.norm(points - points[upper].mean(axis=0), axis=-1)
    whole = ndimage.binary_fill_holes(ndimage.binary_closing(inside, iterations=3))
    deep = ndimage.distance_transform_edt(whole) * WORKING_MM > _DEEP_MM
    core = data[(from_centre < _CORE_MM) & deep]
    core = core if core.size else data[inside]
    low, high = np.percentile(core, [2, 98])
    tissue = core[(core >= low) & (core <= high)]
    white = float(np.median(tissue[tissue >= otsu(tissue)]))
    return Head(Volume(data, coarse.affine), from_centre, white)


def list_rough_brains(head: Head) -> list[Mask]:
    """Candidates for the brain, on the head's lattice; none where nothing of a brain's volume comes loose."""
    found = [_loosen(head, darkest) for darkest in DARKEST]
    return [one for one in found if one is not None]


def _loosen(head: Head, darkest: float) -> Mask | None:
    """Erode by more and more, until what is left in the middle is of a brain's size and stays so."""
    data = head.volume.data
    tissue = (data > darkest * head.white) & (data < BRIGHTEST * head.white)
    depth = ndimage.distance_transform_edt(tissue) * WORKING_MM
    before: Mask | None = None
    for radius_mm in RADII_MM:
        body = _middle_body(depth > radius_mm, head.from_centre_mm)
        if body is None:
            break
        grown = (ndimage.distance_transform_edt(~body) * WORKING_MM <= radius_mm + 1) & tissue
        litres = grown.sum() * WORKING_MM**3 / 1e6
        if before is not None and grown.sum() > (1 - STABLE) * before.sum():
            return _closed(before)
        before = grown if LITRES[0] <= litres <= LITRES[1] else None
    return None


def _middle_body(mask: Mask, from_centre_mm: NDArray[np.float64]) -> Mask | None:
    labels, n = ndimage.label(mask)
    counts = np.bincount(labels[from_centre_mm < _MIDDLE_MM], minlength=n + 1)[1:]
    return labels == counts.argmax() + 1 if n and counts.any() else None


def _closed(mask: Mask) -> Mask:
    """Sulci and ventricles closed."""
    around = np.pad(mask, _CLOSING + 1)
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(around, iterations=_CLOSING))
    inner = (slice(_CLOSING + 1, -_CLOSING - 1),) * 3
    result: Mask = closed[inner]
    return result
