"""Run a frozen network over views of volumes and pool its taps (torch).

Forward hooks read the taps and pool them at once, so that no activation outlives its layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from featx.networks import View

AXES = {"sagittal": 2, "coronal": 3, "axial": 4}  # of a tensor (N, C, I, J, K) whose voxel axes are L/R, P/A, I/S

Pool = Callable[[Tensor], Tensor]


def slice_positions(first: int, last: int, count: int) -> list[int]:
    """Evenly spaced voxel positions, both ends included, rounded half to even.

    Examples
    --------
    >>> slice_positions(14, 76, 4)
    [14, 35, 55, 76]
    """
    return [int(at) for at in np.rint(np.linspace(first, last, count))]


def take_slices(volumes: Tensor, *, axis: str, first: int, last: int, count: int) -> Tensor:
    """Slices of volumes (N, 1, I, J, K) along an axis, as (N, count, H, W), shown as a radiologist sees them.

    Width runs along the first remaining voxel axis, height downwards along the last one.
    """
    at = torch.tensor(slice_positions(first, last, count), device=volumes.device)
    slices = volumes.index_select(AXES[axis], at).squeeze(1).movedim(AXES[axis] - 1, 1)
    return slices.transpose(2, 3).flip(2)


def resize(slices: Tensor, *, size: int) -> Tensor:
    """Bilinear resize of (N, S, H, W) to (N, S, size, size); corners are pixel areas, not points."""
    return functional.interpolate(slices, size=(size, size), mode="bilinear", align_corners=False)


def to_channels(slices: Tensor, *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Grey (N, S, H, W) in [0, 1] replicated to three channels and normalised: (N, S, 3, H, W)."""
    shape = (1, 1, 3, 1, 1)
    centre = torch.tensor(mean, device=slices.device).view(shape)
    scale = torch.tensor(std, device=slices.device).view(shape)
    return (slices.unsqueeze(2) - centre) / scale


_STEPS: Mapping[str, Callable[..., Tensor]] = {"slices": take_slices, "resize": resize, "normalise": to_channels}


def look(volumes: Tensor, view: View) -> Tensor:
    """Do the steps of a view on volumes (N, 1, I, J, K)."""
    for step in view.steps:
        volumes = _STEPS[step.name](volumes, **step.settings)
    return volumes


def pool(values: Tensor, how: str, dim: int | tuple[int, ...]) -> Tensor:
    """Pool over axes: mean, max, or std (population, so that one position gives 0)."""
    if how == "mean":
        return values.mean(dim)
    if how == "max":
        return values.amax(dim)
    return values.std(dim, correction=0)


@contextmanager
def read_taps(
    network: nn.Module, modules: Mapping[str, str], keep: Callable[[Tensor], Any]
) -> Iterator[dict[str, Any]]:
    """Read modules while the network runs: ``{tap: keep(output)}`` after the forward pass.

    Parameters
    ----------
    modules : mapping of str to str
        Tap to module path.
    keep : callable
        Called on the module's output at once.
    """
    found: dict[str, Any] = {}

    def hook(tap: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def store(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found[tap] = keep(output)

        return store

    handles = [network.get_submodule(path).register_forward_hook(hook(tap)) for tap, path in modules.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold every batch norm that directly follows a convolution into it, in place; the network must be in eval mode.

    "Follows" is read from the order in which a module registers its children, which is the order of use in all
    architectures of the table (tested: folded and unfolded networks give the same features).
    """
    for parent in network.modules():
        children = list(parent.named_children())
        for (name, child), (next_name, follower) in pairwise(children):
            if isinstance(child, nn.Conv2d | nn.Conv3d) and isinstance(follower, nn.BatchNorm2d | nn.BatchNorm3d):
                setattr(parent, name, fuse_conv_bn_eval(child, follower))
                setattr(parent, next_name, nn.Identity())
    return network
