"""The same answers, faster: batch norm folded, grey summed into the first convolution, channels last, 3D convolutions
plane by plane on a CPU, and, where it is asked for, compiled (torch)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from featx.networks import NETWORKS
from featx.networks.described import OWN
from featx.networks.sheet import PICTURES, SET, Network
from featx.networks.trained import innermost, read_inside
from featx.networks.winograd import by_planes

_HALVES = ("cpu", "cuda")  # devices with autocast; there are no numbers on "meta"


def memory_format(sheet: Network) -> torch.memory_format:
    """Channels last, in two or three dimensions; of a network of one's own as torch has it, for it may use views."""
    within = innermost(sheet)
    if within.architecture == OWN:
        return torch.contiguous_format
    return torch.channels_last if within.takes in (PICTURES, SET) else torch.channels_last_3d


def optimise(network: nn.Module, sheet: Network, taps: Collection[str] = ()) -> bool:
    """Fold, sum and lay out a network in place; whether its first convolution takes grey, unnormalised input now.

    Parameters
    ----------
    taps : collection of str
        Paths of modules whose output is read, and so must stay what it is; those that a trained network reads itself
        come to them.
    """
    taps = {*taps, *read_inside(sheet)}
    known = innermost(sheet).architecture in {one.architecture for one in NETWORKS.values()}
    fold_batch_norm(network, taps, by_registration=known)
    norms = [step for view in sheet.recipe.views for step in view.steps if step.name == "normalise"]
    grey = bool(sheet.stem and norms) and not any(
        step.settings.get("channels") == "neighbours" for view in sheet.recipe.views for step in view.steps
    )
    if grey:
        sum_into_grey(network, sheet.stem, **cast(dict[str, Any], norms[0].settings))
    memory = memory_format(sheet)
    lay_out(network, memory)
    if memory == torch.channels_last_3d:
        by_planes(network, {one for one, times in _uses(network, taps).items() if times == 1})
    return grey


def lay_out(network: nn.Module, memory: torch.memory_format) -> None:
    """Lay out the weights of convolutions in memory, in place; other parameters may have any number of axes."""
    axes = {torch.channels_last: 4, torch.channels_last_3d: 5}.get(memory)
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd | GreyConvolution) and module.weight.ndim == axes:
            module.to(memory_format=memory)


def fold_batch_norm(network: nn.Module, taps: Collection[str] = (), *, by_registration: bool = True) -> nn.Module:
    """Fold every batch norm that directly follows a convolution into it, in place; the network must be in eval mode.

    A module that is used in several places, or is read itself, stays what it is.

    Parameters
    ----------
    taps : collection of str
        Paths of modules that are read.
    by_registration : bool
        "Follows" is read from the order in which any module registers its children, which is the order of use in all
        architectures of the table (tested). If not, as for networks that nobody has looked at, only in `Sequential`.
    """
    everywhere = _uses(network, taps)
    for parent in network.modules():
        in_order = by_registration or type(parent).forward is nn.Sequential.forward
        children = list(parent.named_children()) if in_order else []
        for (name, child), (next_name, follower) in pairwise(children):
            if (
                _is_convolution(child, subclasses=by_registration)
                and isinstance(follower, nn.BatchNorm2d | nn.BatchNorm3d)
                and type(follower) in (nn.BatchNorm2d, nn.BatchNorm3d)  # what is made of them may do more
                and (child.out_channels, follower.running_var is None) == (follower.num_features, False)
                and everywhere[id(child)] == everywhere[id(follower)] == 1
            ):
                setattr(parent, name, fuse_conv_bn_eval(child, follower))
                setattr(parent, next_name, nn.Identity())
    return network


def compile_blocks(network: nn.Module, taps: Collection[str]) -> list[str]:
    """Let torch compile the forward pass of the largest modules without a tap inside, in place; their paths.

    The hooks that read the taps stay outside, so that no compiled graph is broken by one, or by the exception that
    ends a pass at its last tap. Single layers are left alone: there is nothing to fuse.
    """
    compiled: list[str] = []

    def go(path: str, module: nn.Module) -> None:
        children = list(module.named_children())
        inside = f"{path}." if path else ""
        if not children or isinstance(module, torch.jit.ScriptModule):
            return
        if any(tap.startswith(inside) and tap != path for tap in taps) or type(module).forward is nn.Module.forward:
            for name, child in children:
                go(f"{inside}{name}", child)
        else:
            module.forward = torch.compile(module.forward)
            compiled.append(path)

    go("", network)
    return compiled


def _uses(network: nn.Module, taps: Collection[str]) -> Counter[int]:
    """In how many places each module is used, by its id; to be read is one more."""
    everywhere = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    everywhere.update(id(network.get_submodule(path)) for path in taps)
    return everywhere


def _is_convolution(module: nn.Module, *, subclasses: bool) -> TypeGuard[nn.Conv2d | nn.Conv3d]:
    """Of networks that nobody has looked at, a subclass may do more than convolve (standardise its weights, say)."""
    return isinstance(module, nn.Conv2d | nn.Conv3d) and (subclasses or type(module) in (nn.Conv2d, nn.Conv3d))


def sum_into_grey(network: nn.Module, stem: str, mean: Sequence[float], std: Sequence[float]) -> None:
    """Put a `GreyConvolution` in the place of a network's first convolution, in place."""
    parent, _, name = stem.rpartition(".")
    convolution = network.get_submodule(stem)
    setattr(network.get_submodule(parent), name, GreyConvolution(convolution, mean, std))


class GreyConvolution(nn.Module):
    """A convolution of normalised grey input replicated to its channels, done on the grey input itself.

    With w_c, mean_c and std_c of channel c: ``conv(sum w_c / std_c, grey) - conv(sum w_c mean_c / std_c, ones)``. The
    second part depends on the input's size alone (not constant, for the border is padded with zeros) and is kept.

    Parameters
    ----------
    convolution : Conv2d or Conv3d
        Of three channels in one group.
    mean, std : sequence of float
        One per input channel.
    """

    weight: Tensor
    offset: Tensor
    bias: Tensor | None

    def __init__(self, convolution: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if (
            not isinstance(convolution, nn.Conv2d | nn.Conv3d)
            or type(convolution) not in (nn.Conv2d, nn.Conv3d)  # what is made of them may pad in its own way
            or (convolution.in_channels, convolution.groups) != (len(mean), 1)
            or convolution.padding_mode != "zeros"
        ):
            raise TypeError(
                f"a stem must be a plain convolution of {len(mean)} channels in one group, padded with zeros; "
                f"got {convolution}; leave the sheet's stem empty"
            )
        weight = convolution.weight.detach().double()
        shape = (1, -1, *[1] * (weight.ndim - 2))
        centre, scale = (
            torch.tensor(values, dtype=torch.float64, device=weight.device).view(shape) for values in (mean, std)
        )
        self.stride, self.padding, self.dilation = convolution.stride, convolution.padding, convolution.dilation
        self.register_buffer("weight", (weight / scale).sum(1, keepdim=True).float())
        self.register_buffer("offset", (weight * (centre / scale)).sum(1, keepdim=True).float())
        self.register_buffer("bias", None if convolution.bias is None else convolution.bias.detach().clone())
        self.kept: tuple[torch.Size, Tensor] | None = None

    def forward(self, grey: Tensor) -> Tensor:
        """Output for (N, 1, H, W) or (N, 1, T, H, W)."""
        size = grey.shape[2:]
        if self.kept is None or self.kept[0] != size or self.kept[1].device != grey.device:
            ones = torch.ones((1, 1, *size), device=grey.device)
            full: AbstractContextManager[Any] = (
                torch.autocast(grey.device.type, enabled=False) if grey.device.type in _HALVES else nullcontext()
            )
            with full:  # it is taken from what is much of its size
                self.kept = (size, self._convolve(ones, self.offset, None))
        return self._convolve(grey, self.weight, self.bias) - self.kept[1]

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        convolve: Callable[..., Tensor] = functional.conv2d if weight.ndim == 4 else functional.conv3d
        return convolve(x, weight, bias, self.stride, self.padding, self.dilation)
