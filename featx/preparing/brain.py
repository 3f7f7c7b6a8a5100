"""From a head to a brain in template space: what is done to one volume, in order.

1. N4 divides the coil's field out, measured where there is no air.
2. The brain is a given mask, or what is not 0 of an image that is one already, or is extracted: each candidate of
   `featx.preparing.rough` is registered to the template's brain; the one that overlaps it best is kept, what lies
   far outside the registered template mask is cut off, what lies deep inside it is filled, and bright vessels and
   fat are taken off its rim.
3. The extracted brain is registered to the template's brain, with the degrees of freedom that were asked for.
4. Brain and mask are interpolated once, trilinearly, onto the grid. Trilinear, because splines and windowed sinc
   make values below 0 at the brain's edge, which networks never saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from featx.errors import ImageError
from featx.images.contract import LITRES
from featx.images.findings import Findings
from featx.images.template import read_template, template_depth_mm, template_mask
from featx.images.volume import MNI152_2MM, Grid, Volume, resample, voxel_sizes_mm
from featx.preparing.register import COARSE, FINE, align, correct_bias
from featx.preparing.rough import Mask, coarsen, head_mask, list_rough_brains, look_at_head, points_mm

Matrix = NDArray[np.float64]

GOOD_DICE = 0.935  # of a rough brain with the template's: no other candidate is tried
LEAST_ROUGH_DICE = 0.85
CUT_MM, FILL_MM = 6.0, 12.0  # outside, and inside, the registered mask of the template
RIM_MM, HOT = 6.0, 1.5  # trimmed are voxels of the rim so much brighter than white matter
WHITE = 110.0  # as FreeSurfer scales white matter, so that networks that divide by 255 can take it
OWN, GIVEN, NONE = "template", "given mask", "none: a brain already"  # how a brain was extracted
_TURNS_DEGREES = (0.0, 25.0, -25.0)  # a nod forwards or backwards, where the header's own position does not do


@dataclass(frozen=True)
class Prepared:
    """A brain on the template's grid.

    Attributes
    ----------
    brain : Volume
        float32, 0 outside the mask; the 90th percentile inside it is 110.
    mask : ndarray of the shape of `brain`
    matrix : ndarray of shape (4, 4)
        Template's RAS+ millimetres to the image's.
    extraction : str
        `OWN`, `GIVEN` or `NONE`.
    dice : float
        Overlap of the mask with the template's, on the 2 mm grid.
    """

    brain: Volume
    mask: Mask
    matrix: Matrix
    extraction: str
    dice: float


def dice(first: Mask, second: Mask) -> float:
    """Overlap of two masks: twice what they share over the sum of both.

    Examples
    --------
    >>> dice(np.array([True, True, False]), np.array([False, True, False])) == 2 / 3
    True
    """
    both = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2 * int(np.count_nonzero(first & second)) / both if both else 0.0


def is_brain(findings: Findings) -> bool:
    """Whether an image shows a brain without its skull: all 0 around it, and not larger than a brain."""
    return findings.background == 0 and findings.at_background > 0.9 and 0 < findings.litres <= LITRES[1]


def prepare(volume: Volume, grid: Grid, dof: int, *, given: Mask | None, stripped: bool) -> Prepared:
    """Prepare one volume.

    Parameters
    ----------
    volume : Volume
        Finite, grey values from 0 on.
    grid : Grid
        Of the template's space.
    dof : int
        6, 7 or 12.
    given : ndarray of the shape of `volume` or None
        Where the brain is, if somebody has found out.
    stripped : bool
        The image is a brain already.

    Raises
    ------
    ImageError
        not-prepared: no brain was found, or ANTs gave up.
    """
    tissue = given if given is not None else volume.data > 0 if stripped else head_mask(volume.data)
    even = Volume(correct_bias(volume, tissue), volume.affine)
    if given is None and not stripped:
        mask, start = extract_brain(even)
    else:
        mask = tissue
        start = _start(_coarse_mask(mask, even))
    small = coarsen(Volume(np.where(mask, even.data, 0).astype(np.float32), even.affine))
    full = align(read_template(), small, start, 12, FINE)
    matrix = full if dof == 12 else align(read_template(), small, reduce_dof(full, dof), dof, FINE)
    brain, on_grid = place(even, mask, matrix, grid)
    here = resample(_moved(mask.astype(np.float32), even.affine, matrix), MNI152_2MM).data > 0.5
    how = GIVEN if given is not None else NONE if stripped else OWN
    return Prepared(brain, on_grid, matrix, how, dice(here, template_mask()))


def extract_brain(volume: Volume) -> tuple[Mask, Matrix]:
    """Find the brain of a head.

    Parameters
    ----------
    volume : Volume
        Bias-corrected.

    Returns
    -------
    ndarray of the shape of `volume`, and ndarray of shape (4, 4)
        The mask, and how the template's brain lies in the head (12 degrees of freedom).

    Raises
    ------
    ImageError
        not-prepared.
    """
    head = look_at_head(volume)
    candidates = list_rough_brains(head)
    best: tuple[float, Mask, Matrix] | None = None
    for degrees in _TURNS_DEGREES:
        best = max([*filter(None, [best]), *_register(candidates, head.volume, degrees)], key=_overlap, default=None)
        if best is None or _overlap(best) >= LEAST_ROUGH_DICE:
            break
    if best is None or _overlap(best) < LEAST_ROUGH_DICE:
        got = f"the best candidate overlaps it by {best[0]:.2f}" if best else "no body of its size comes loose"
        raise ImageError(
            "not-prepared",
            f"a head must hold a brain that resembles the template's, with a Dice overlap of {LEAST_ROUGH_DICE:g} or "
            f"more; {got} in it; give its brain mask (column mask of the table, or --mask-suffix)",
        )
    _, rough, matrix = best
    bounded = bound(rough, head.volume.affine, matrix)
    return trim(refine(bounded, head.volume.affine, volume), volume, HOT * head.white), matrix


def _overlap(candidate: tuple[float, Mask, Matrix]) -> float:
    return candidate[0]


def _register(candidates: list[Mask], head: Volume, degrees: float) -> Iterator[tuple[float, Mask, Matrix]]:
    """Each candidate with its overlap and transform, until one is good."""
    for rough in candidates:
        masked = Volume(np.where(rough, head.data, 0).astype(np.float32), head.affine)
        matrix = align(read_template(), masked, _start((rough, head.affine), degrees), 12, COARSE)
        on_template = resample(_moved(rough.astype(np.float32), head.affine, matrix), MNI152_2MM).data > 0.5
        overlap = dice(on_template, template_mask())
        yield overlap, rough, matrix
        if overlap >= GOOD_DICE:
            return


def _start(rough: tuple[Mask, Matrix], nod_degrees: float = 0.0) -> Matrix:
    """The template's brain scaled to the volume of another one and moved to its middle."""
    mask, affine = rough
    template, at = template_mask(), read_template().affine
    middle = _middle(template, at)
    volumes = np.count_nonzero(mask) * abs(np.linalg.det(affine)) / (np.count_nonzero(template) * 8.0)
    angle = np.radians(nod_degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.cbrt(volumes)
    matrix[:3, 3] = _middle(mask, affine) - matrix[:3, :3] @ middle
    return matrix


def _middle(mask: Mask, affine: Matrix) -> NDArray[np.float64]:
    if not mask.any():
        raise ImageError(
            "not-prepared", "a brain mask must hold a brain; it is 0 everywhere; give the mask of this very image"
        )
    middle: NDArray[np.float64] = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    return middle


def _coarse_mask(mask: Mask, volume: Volume) -> tuple[Mask, Matrix]:
    coarse = coarsen(Volume(mask.astype(np.float32), volume.affine))
    return coarse.data > 0.5, coarse.affine


def bound(rough: Mask, affine: Matrix, matrix: Matrix) -> Mask:
    """Cut off what lies far outside the registered mask of the template, fill what lies deep inside, keep one body.

    Parameters
    ----------
    rough : ndarray of shape (I, J, K)
    affine : ndarray of shape (4, 4)
        Its voxels to millimetres.
    matrix : ndarray of shape (4, 4)
        Template's millimetres to those.
    """
    points = points_mm(rough.shape, np.linalg.inv(read_template().affine) @ np.linalg.inv(matrix) @ affine)
    depth = ndimage.map_coordinates(template_depth_mm(), np.moveaxis(points, -1, 0), order=1, cval=-999.0)
    kept = (rough & (depth > -CUT_MM)) | (depth > FILL_MM)
    loose = ndimage.binary_opening(kept)
    labels, n = ndimage.label(loose)
    if n:
        body = labels == np.bincount(labels.ravel())[1:].argmax() + 1
        kept = kept & ndimage.binary_dilation(body)
    filled: Mask = ndimage.binary_fill_holes(kept)
    return filled


def refine(mask: Mask, affine: Matrix, onto: Volume) -> Mask:
    """A mask of coarse voxels, smoothed, on the voxels of a volume."""
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), 0.8)
    change = np.linalg.inv(affine) @ onto.affine
    fine = ndimage.affine_transform(
        smooth, change[:3, :3], change[:3, 3], output_shape=onto.stored.shape, order=1, output=np.float32
    )
    result: Mask = fine > 0.5
    return result


def trim(mask: Mask, volume: Volume, hot: float) -> Mask:
    """Take vessels and fat off the rim of a mask: what is brighter than `hot` within 6 mm of it.

    Parameters
    ----------
    mask : ndarray of the shape of `volume`
    volume : Volume
    hot : float
        Grey value that no tissue of a brain has.
    """
    sizes = voxel_sizes_mm(volume.affine)
    core = ndimage.binary_erosion(mask, iterations=max(1, round(RIM_MM / float(sizes.min()))))
    bright = ndimage.binary_dilation((volume.data > hot) & mask & ~core)
    trimmed: Mask = mask & ~(bright & ~core)
    return trimmed


def reduce_dof(matrix: Matrix, dof: int) -> Matrix:
    """The nearest transform of 6 or 7 degrees of freedom that brings the template's middle to the same place.

    Examples
    --------
    >>> reduce_dof(np.diag([2.0, 2.0, 2.0, 1.0]), 6)[:3, :3].tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    middle = _middle(template_mask(), read_template().affine)
    left, scales, right = np.linalg.svd(matrix[:3, :3])
    turn = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    reduced = np.eye(4)
    reduced[:3, :3] = turn * (np.cbrt(np.prod(scales)) if dof == 7 else 1.0)
    reduced[:3, 3] = matrix[:3, :3] @ middle + matrix[:3, 3] - reduced[:3, :3] @ middle
    return reduced


def place(volume: Volume, mask: Mask, matrix: Matrix, grid: Grid) -> tuple[Volume, Mask]:
    """Interpolate a brain and its mask onto a grid, once; scale white matter to 110.

    Returns
    -------
    Volume and ndarray of the grid's shape
        Grey values are 0 outside the mask.
    """
    on_grid = resample(_moved(mask.astype(np.float32), volume.affine, matrix), grid).data > 0.5
    values = resample(_moved(volume.data, volume.affine, matrix), grid)
    inside = values.data[on_grid & (values.data > 0)]
    if not inside.size:
        raise ImageError(
            "not-prepared",
            "a brain must lie inside the grid; after registration there is none on it; look whether the mask is that "
            "of this image",
        )
    brain = np.where(on_grid, values.data, 0) * np.float32(WHITE / np.percentile(inside, 90))
    return Volume(np.asfortranarray(brain, dtype=np.float32), values.affine), on_grid


def _moved(data: NDArray[np.float32], affine: Matrix, matrix: Matrix) -> Volume:
    """Voxels as they are, with a header that says where they lie in the template's space."""
    return Volume(data, np.linalg.inv(matrix) @ affine)
