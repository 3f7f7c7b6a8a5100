"""From a volume to what a network's views take: the input contract, and the steps on the whole volume (numpy).

The steps of a view (slices, resize, normalise) run on the device, with the network: see `featx.networks.look`.
A recipe is told by its canonical JSON; its digest is part of every feature's key.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ImageError
from featx.images.check import check_grid, check_values
from featx.images.volume import Volume, reorient, resample
from featx.networks.sheet import Recipe, Step, View

Array = NDArray[np.float32]

_LINES = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}  # anatomical directions by the line that they lie on


def prepare(volume: Volume, recipe: Recipe, network: str, where: str, *, resampling: bool = False) -> Array:
    """Check that a volume lies on a recipe's grid and do the recipe's steps.

    Its values are the reader's to check, once for all networks (`featx.images.check.check_values`).

    Parameters
    ----------
    volume : Volume
        As read.
    network, where : str
        For the sentence of a refusal.
    resampling : bool
        Resample the volume onto the recipe's grid by its affine instead of refusing another grid.

    Returns
    -------
    ndarray of shape (I, J, K), float32
        In the orientation of the recipe's grid, Fortran order.

    Raises
    ------
    ImageError
        wrong-grid, oblique; constant, where nothing is left after resampling.
    """
    if resampling:
        volume = resample(volume, recipe.grid)
        check_values(volume, f"{where} after resampling to {recipe.grid.name}")
    else:
        volume = reorient(volume, recipe.grid.orientation)
        check_grid(volume, recipe.grid, network, where)
    data = volume.data
    for step in recipe.steps:
        data = STEPS[step.name](data, where, **step.settings)
    return data


def divide_by_mean(data: Array, where: str) -> Array:
    """Divide by the mean of all voxels, background included (Peng 2021)."""
    mean = float(data.mean(dtype=np.float64))
    if mean <= 0:
        raise ImageError(
            "constant",
            f"a brain's mean intensity must be above 0 to divide by it; it is {mean:g} in {where}; "
            "the background should be 0 and the brain bright: look at the image",
        )
    return data / np.float32(mean)


def percentile_to_unit(data: Array, where: str, *, percentile: float) -> Array:
    """Scale so that 0 stays 0 and this percentile of the voxels above 0 becomes 1; what lies outside is cut off."""
    bright = data[data > 0]
    if not bright.size:
        raise ImageError(
            "constant", f"a brain must have voxels above 0; {where} has none; look at its intensities and header"
        )
    top = np.float32(np.percentile(bright, percentile))
    scaled: Array = np.clip(data / top, np.float32(0), np.float32(1))
    return scaled


def crop(data: Array, where: str, *, box: tuple[tuple[int, int], ...]) -> Array:
    """Keep a box given as (first, one past the last) per axis; it must lie inside the volume."""
    if any(low < 0 or high > length for (low, high), length in zip(box, data.shape, strict=True)):
        raise ImageError(
            "wrong-grid", f"a volume must hold the box {box}; {where} is {data.shape}; register it again"
        )
    return data[tuple(slice(low, high) for low, high in box)]


def divide_by(data: Array, where: str, *, value: float) -> Array:
    """Divide by a number: 255 for images of eight bits (Leonardsen 2022: not by the image's own maximum)."""
    del where
    return data / np.float32(value)


def shift_and_scale(data: Array, where: str, *, mean: float, std: float) -> Array:
    """Subtract one number and divide by another: what a network for grey input was trained with."""
    del where
    return (data - np.float32(mean)) / np.float32(std)


def z_score(data: Array, where: str) -> Array:
    """Mean 0 and standard deviation 1 over all voxels, background included (Gupta 2021)."""
    mean, std = float(data.mean(dtype=np.float64)), float(data.std(dtype=np.float64))
    if std == 0:
        raise ImageError("constant", f"an image must show something; all voxels of {where} are equal; look at it")
    return (data - np.float32(mean)) / np.float32(std)


def pad(data: Array, where: str, *, shape: tuple[int, int, int]) -> Array:
    """Continue the border on both sides, up to a shape; of an odd number of voxels the larger half comes behind."""
    missing = [wanted - have for wanted, have in zip(shape, data.shape, strict=True)]
    if min(missing) < 0:
        raise ImageError("wrong-grid", f"a volume must fit into {shape}; {where} is {data.shape}; register it again")
    return np.pad(data, [(width // 2, width - width // 2) for width in missing], mode="edge")


def turn(data: Array, where: str, *, stored: str, wanted: str) -> Array:
    """Flip and swap axes that grow towards `stored`, such as "LAS", until they grow towards `wanted`.

    Examples
    --------
    >>> turn(np.arange(24, dtype=np.float32).reshape(2, 3, 4), "here", stored="LAS", wanted="LIA")[0, :, 0]
    array([3., 2., 1., 0.], dtype=float32)
    """
    del where
    lines = [_LINES[towards] for towards in stored]
    order = [lines.index(_LINES[towards]) for towards in wanted]
    flips = (slice(None, None, 1 if towards in stored else -1) for towards in wanted)
    return data.transpose(order)[tuple(flips)]


def crop_around_brain(data: Array, where: str, *, shape: tuple[int, int, int]) -> Array:
    """A box whose centre is that of the box around all voxels that are not 0, moved to lie inside the volume.

    Axes that are not longer than the box are left as they are (Leonardsen 2025); `pad` can follow. A centre between
    two voxels is rounded half to even; of a box of even length the smaller half lies behind its centre.
    """
    brain = data != 0
    box = []
    for axis, wanted in enumerate(shape):
        inside = np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))
        if not inside.size:
            raise ImageError("constant", f"a brain must have voxels that are not 0; {where} has none; look at it")
        centre = int(np.rint((inside[0] + inside[-1]) / 2))
        last = max(0, data.shape[axis] - wanted)  # from where the box can start
        first = min(max(0, centre - wanted // 2), last)
        box.append(slice(first, first + wanted))
    return data[tuple(box)]


STEPS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "divide-by-mean": divide_by_mean,
        "divide-by": divide_by,
        "percentile-to-unit": percentile_to_unit,
        "z-score": z_score,
        "shift-and-scale": shift_and_scale,
        "crop": crop,
        "pad": pad,
        "turn": turn,
        "crop-around-brain": crop_around_brain,
    }
)


def describe(recipe: Recipe, view: View, *, resampling: bool) -> str:
    """Canonical JSON of everything between the file and the network, for one view."""

    def plain(step: Step) -> dict[str, Any]:
        return {"step": step.name, **step.settings}

    return json.dumps(
        {
            "grid": {name: value for name, value in dataclasses.asdict(recipe.grid).items() if value is not False},
            "resampled": resampling,
            "steps": [plain(step) for step in recipe.steps],
            "view": [plain(step) for step in view.steps],
        },
        sort_keys=True,
    )
