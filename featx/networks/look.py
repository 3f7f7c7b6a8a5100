"""From packed voxels to a batch of volumes, and the steps of a view on them (torch, on the device)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from featx.networks.missing import BLANK, NOISE
from featx.networks.recipe import Packed
from featx.networks.sheet import Step

AXES = {"sagittal": 2, "coronal": 3, "axial": 4}  # of a tensor (N, C, I, J, K) whose voxel axes are L/R, P/A, I/S


# In place, with float32's own rounding, as `featx.networks.recipe.to_grey` does it.
_POINT: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "times": Tensor.mul_,
    "divided-by": Tensor.div_,
    "minus": Tensor.sub_,
    "at-least": Tensor.clamp_min_,
    "at-most": Tensor.clamp_max_,
}


def to_volumes(packed: Sequence[Packed], device: str) -> Tensor:
    """A batch of volumes (N, 1, I, J, K), float32, from packed voxels of one recipe.

    Voxels travel to the device as they are stored, and become grey values there.

    Raises
    ------
    ValueError
        Their shapes differ.
    """
    first = packed[0]
    shape = torch.Size(first.stored.shape[axis] for axis in first.axes)
    volumes = torch.empty((len(packed), 1, *shape), dtype=torch.float32, device=device)
    for volume, one in zip(volumes[:, 0], packed, strict=True):
        stored = torch.from_numpy(one.stored).to(device, non_blocking=True).permute(one.axes)
        if stored.shape != shape:
            raise ValueError(f"volumes of a batch must have one shape; got {tuple(shape)} and {tuple(stored.shape)}")
        volume.copy_(stored)
        for word, number in one.points:
            _POINT[word](volume, float(np.float32(number)))
    return volumes


def slice_positions(first: int, last: int, count: int) -> list[int]:
    """Evenly spaced voxel positions, both ends included, rounded half to even; a single one lies in the middle.

    Examples
    --------
    >>> slice_positions(14, 76, 4), slice_positions(14, 76, 1)
    ([14, 35, 55, 76], [45])
    """
    if count == 1:
        return [int(np.rint((first + last) / 2))]
    return [int(at) for at in np.rint(np.linspace(first, last, count))]


def take_slices(
    volumes: Tensor,
    *,
    axis: str,
    first: int,
    last: int,
    count: int,
    channels: str = "replicate",
    shown: Sequence[int] = (),
    blank: str = "",
) -> Tensor:
    """Slices of volumes (N, 1, I, J, K) along an axis, as (N, S, C, H, W), shown as a radiologist sees them.

    Width runs along the first remaining voxel axis, height downwards along the last one. C is 1; with channels
    "neighbours" it is 3: the slice before, the slice, the slice behind (2.5D). S is `count`; where slices are missing
    (`featx.networks.missing.slices_shown`) it is the number of those shown, blank ones being zeros or noise.
    """
    there = slice_positions(first, last, count)
    positions = torch.tensor([there[at] for at in shown] if shown else there, device=volumes.device)
    steps = (-1, 0, 1) if channels == "neighbours" else (0,)
    at = torch.stack([positions + step for step in steps], dim=1).flatten().clamp(0, volumes.shape[AXES[axis]] - 1)
    slices = volumes.index_select(AXES[axis], at).squeeze(1).movedim(AXES[axis] - 1, 1)
    n, _, width, height = slices.shape
    seen = slices.transpose(2, 3).flip(2).reshape(n, len(positions), len(steps), height, width)
    if BLANK in shown:
        at = torch.tensor([place == BLANK for place in shown], device=volumes.device)
        seen[:, at] = make_noise(volumes, seen[:, at].shape[1:]) if blank == NOISE else 0.0
    return seen


def make_noise(volumes: Tensor, shape: Sequence[int]) -> Tensor:
    """Gaussian noise (N, *shape) with each volume's mean and standard deviation, by a checksum of its own voxels.

    So the same volume has the same noise in any batch, and on any device up to the rounding of these two.
    """
    noise = []
    for volume in volumes:
        rng = np.random.default_rng(zlib.crc32(volume.detach().cpu().contiguous().numpy().tobytes()))
        std, mean = torch.std_mean(volume.double(), correction=0)
        drawn = torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32)).to(volume.device)
        noise.append(drawn * std.float() + mean.float())
    return torch.stack(noise)


def resize(slices: Tensor, *, size: int) -> Tensor:
    """Bilinear resize of (N, S, C, H, W) to (N, S, C, size, size); corners are pixel areas, not points."""
    flat = functional.interpolate(slices.flatten(1, 2), size=(size, size), mode="bilinear", align_corners=False)
    return flat.reshape(*slices.shape[:3], size, size)


def normalise(slices: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Grey or three-channel (N, S, C, H, W) in [0, 1], normalised by channel: (N, S, 3, H, W); grey is replicated."""
    shape = (1, 1, len(mean), 1, 1)
    centre = torch.tensor(mean, device=slices.device).view(shape)
    scale = torch.tensor(std, device=slices.device).view(shape)
    return (slices - centre) / scale


def shrink(volumes: Tensor, *, factor: int) -> Tensor:
    """Means of cubes of voxels: (N, 1, I, J, K) to (N, 1, I // factor, ...); what fills no cube is left out."""
    return functional.avg_pool3d(volumes, factor)


STEPS: Mapping[str, Callable[..., Tensor]] = {
    "shrink": shrink,
    "slices": take_slices,
    "resize": resize,
    "normalise": normalise,
}


def look(volumes: Tensor, steps: Sequence[Step]) -> Tensor:
    """Do the steps of a view on volumes (N, 1, I, J, K)."""
    for step in steps:
        volumes = STEPS[step.name](volumes, **step.settings)
    return volumes
