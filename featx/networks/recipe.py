"""From a volume to what a network's views take: the input contract, and the steps on the whole volume (numpy).

Steps that move voxels are done on the voxels as they are stored; of steps that change grey values only the numbers
are found, as **point operations**, which the device does (`featx.networks.look.to_volumes`). So integers travel as
integers, and only the voxels that a recipe keeps. The steps of a view (slices, resize, normalise) run on the device
as well.
A recipe is told by its canonical JSON; its digest is part of every feature's key.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ImageError
from featx.images.check import check_grid, check_values
from featx.images.volume import Volume, reorient, resample
from featx.networks.sheet import Recipe, Step, View

Array = NDArray[np.float32]
Moved = NDArray[Any]

_LINES = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}  # anatomical directions by the line that they lie on


# A word and a number, such as ("divided-by", 255.0): what is done to every voxel, in float32.
Points = tuple[tuple[str, float], ...]

_POINT: Mapping[str, np.ufunc] = MappingProxyType(
    {
        "times": np.multiply,
        "divided-by": np.divide,
        "minus": np.subtract,
        "at-least": np.maximum,
        "at-most": np.minimum,
    }
)
_BLIND = ("crop", "pad", "turn")  # steps that move voxels without a look at their values
_SCALES = ("times", "divided-by")  # by numbers above 0, so that what is 0 stays 0, and what is more stays more


@dataclass(frozen=True)
class Packed:
    """The voxels that a recipe keeps, and what is left to be done to them.

    Attributes
    ----------
    stored : ndarray, three axes, C order
        int8, uint8, int16 or float32.
    axes : tuple of 3 int
        For I, J, K of the recipe's grid, the axis of `stored`: arrays keep the order in memory that they come in.
    points : tuple of (str, float)
        Point operations that make grey values of them.
    """

    stored: NDArray[np.generic]
    axes: tuple[int, int, int]
    points: Points


def prepare(volume: Volume, recipe: Recipe, network: str, where: str, *, resampling: bool = False) -> Array:
    """Check that a volume lies on a recipe's grid and do the recipe's steps: `pack`, then its point operations.

    Returns
    -------
    ndarray of shape (I, J, K), float32
        In the orientation of the recipe's grid.
    """
    packed = pack(volume, recipe, network, where, resampling=resampling)
    return to_grey(packed.stored.transpose(packed.axes), packed.points)


def pack(volume: Volume, recipe: Recipe, network: str, where: str, *, resampling: bool = False) -> Packed:
    """Check that a volume lies on a recipe's grid, keep the voxels of the recipe's steps, and find their numbers.

    Its values are the reader's to check, once for all networks (`featx.images.check.check_values`).

    Parameters
    ----------
    volume : Volume
        As read.
    network, where : str
        For the sentence of a refusal.
    resampling : bool
        Resample the volume onto the recipe's grid by its affine instead of refusing another grid.

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
    data: NDArray[np.generic] = volume.stored
    points: Points = () if volume.slope == 1 else (("times", float(np.float32(volume.slope))),)
    for step in recipe.steps:
        if step.name not in _BLIND and any(word not in _SCALES for word, _ in points):
            data, points = to_grey(data, points), ()
        if step.name in POINTS:
            points += POINTS[step.name](data, _scale(points), where, **step.settings)
        else:
            data = MOVES[step.name](data, where, **step.settings)
    order = tuple(int(axis) for axis in np.argsort([-abs(stride) for stride in data.strides], kind="stable"))
    i, j, k = (order.index(axis) for axis in range(3))
    return Packed(np.array(data.transpose(order), order="C"), (i, j, k), points)  # a copy: the file's bytes can go


def to_grey(stored: NDArray[np.generic], points: Points) -> Array:
    """Do point operations, one after the other, in float32.

    Examples
    --------
    >>> to_grey(np.array([0, 51, 255], np.uint8), (("divided-by", 127.5), ("at-most", 1.0)))
    array([0. , 0.4, 1. ], dtype=float32)
    """
    values: Array = stored.astype(np.float32)
    for word, number in points:
        _POINT[word](values, np.float32(number), out=values)
    return values


def _scale(points: Points) -> float:
    """What a stored 1 is after scales.

    Examples
    --------
    >>> _scale((("times", 6.0), ("divided-by", 2.0)))
    3.0
    """
    scale = 1.0
    for word, number in points:
        scale = scale * number if word == "times" else scale / number
    return scale


# --- steps that change grey values: their numbers, found on stored voxels of which 1 stands for `scale` -----------


def divide_by_mean(data: NDArray[Any], scale: float, where: str) -> Points:
    """Divide by the mean of all voxels, background included (Peng 2021)."""
    mean = float(data.mean(dtype=np.float64)) * scale
    if mean <= 0:
        raise ImageError(
            "constant",
            f"a brain's mean intensity must be above 0 to divide by it; it is {mean:g} in {where}; "
            "the background should be 0 and the brain bright: look at the image",
        )
    return (("divided-by", mean),)


def percentile_to_unit(data: NDArray[Any], scale: float, where: str, *, percentile: float) -> Points:
    """Scale so that 0 stays 0 and this percentile of the voxels above 0 becomes 1; what lies outside is cut off."""
    bright = data[data > 0]
    if not bright.size:
        raise ImageError(
            "constant", f"a brain must have voxels above 0; {where} has none; look at its intensities and header"
        )
    top = float(np.percentile(bright, percentile)) * scale
    return (("divided-by", top), ("at-least", 0.0), ("at-most", 1.0))


def divide_by(data: NDArray[Any], scale: float, where: str, *, value: float) -> Points:
    """Divide by a number: 255 for images of eight bits (Leonardsen 2022: not by the image's own maximum)."""
    del data, scale, where
    return (("divided-by", value),)


def shift_and_scale(data: NDArray[Any], scale: float, where: str, *, mean: float, std: float) -> Points:
    """Subtract one number and divide by another: what a network for grey input was trained with."""
    del data, scale, where
    return (("minus", mean), ("divided-by", std))


def z_score(data: NDArray[Any], scale: float, where: str) -> Points:
    """Mean 0 and standard deviation 1 over all voxels, background included (Gupta 2021)."""
    mean, std = float(data.mean(dtype=np.float64)) * scale, float(data.std(dtype=np.float64)) * scale
    if std == 0:
        raise ImageError("constant", f"an image must show something; all voxels of {where} are equal; look at it")
    return (("minus", mean), ("divided-by", std))


# --- steps that move voxels -------------------------------------------------------------------------------------


def crop(data: Moved, where: str, *, box: tuple[tuple[int, int], ...]) -> Moved:
    """Keep a box given as (first, one past the last) per axis; it must lie inside the volume."""
    if any(low < 0 or high > length for (low, high), length in zip(box, data.shape, strict=True)):
        raise ImageError(
            "wrong-grid", f"a volume must hold the box {box}; {where} is {data.shape}; register it again"
        )
    return data[tuple(slice(low, high) for low, high in box)]


def pad(data: Moved, where: str, *, shape: tuple[int, int, int]) -> Moved:
    """Continue the border on both sides, up to a shape; of an odd number of voxels the larger half comes behind."""
    missing = [wanted - have for wanted, have in zip(shape, data.shape, strict=True)]
    if min(missing) < 0:
        raise ImageError("wrong-grid", f"a volume must fit into {shape}; {where} is {data.shape}; register it again")
    return np.pad(data, [(width // 2, width - width // 2) for width in missing], mode="edge")


def turn(data: Moved, where: str, *, stored: str, wanted: str) -> Moved:
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


def crop_around_brain(data: Moved, where: str, *, shape: tuple[int, int, int]) -> Moved:
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


POINTS: Mapping[str, Callable[..., Points]] = MappingProxyType(
    {
        "divide-by-mean": divide_by_mean,
        "divide-by": divide_by,
        "percentile-to-unit": percentile_to_unit,
        "z-score": z_score,
        "shift-and-scale": shift_and_scale,
    }
)
MOVES: Mapping[str, Callable[..., Moved]] = MappingProxyType(
    {"crop": crop, "pad": pad, "turn": turn, "crop-around-brain": crop_around_brain}
)
STEPS: Mapping[str, Callable[..., Any]] = MappingProxyType({**POINTS, **MOVES})


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
