"""The brain of the MNI152 template, which every registered brain should overlap.

``mni152.nii.gz`` is the T1 template ICBM 152 2009a, skull-stripped, on the 2 mm grid of FSL's MNI152 (LAS), as 8-bit
grey: made from the template that nilearn ships by trilinear resampling and rounding. Copyright (C) 1993-2004 Louis
Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University; permission to use, copy,
modify and distribute it for any purpose without fee is granted, provided that this notice appears in all copies.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from featx.images.volume import MNI152_2MM, Grid, Volume, read_volume, resample

_FILE = Path(__file__).parent / "mni152.nii.gz"


def read_template() -> Volume:
    """The template's brain on the 2 mm grid, LAS, 0 to 255."""
    return read_volume(_FILE)


def template_on(grid: Grid) -> Volume:
    """The template's brain on another grid of the same space, trilinear, rounded to whole numbers.

    Examples
    --------
    >>> from featx.images.volume import MNI152_1MM
    >>> template_on(MNI152_1MM).data.shape
    (182, 218, 182)
    """
    if grid == MNI152_2MM:
        return read_template()
    volume = resample(read_template(), grid)
    return Volume(np.rint(volume.data), volume.affine)


def template_mask() -> NDArray[np.bool_]:
    """Where the template has brain, shape (91, 109, 91), on the 2 mm grid (LAS)."""
    mask: NDArray[np.bool_] = read_template().data > 0
    return mask


def template_depth_mm() -> NDArray[np.float32]:
    """How deep inside the template's brain a voxel of the 2 mm grid lies, in mm; negative outside.

    Examples
    --------
    >>> depth = template_depth_mm()
    >>> depth.shape, bool(((depth > 0) == template_mask()).all())
    ((91, 109, 91), True)
    """
    mask = template_mask()
    inside, outside = (ndimage.distance_transform_edt(one) for one in (mask, ~mask))
    depth: NDArray[np.float32] = ((inside - outside) * MNI152_2MM.voxel_mm).astype(np.float32)
    return depth
