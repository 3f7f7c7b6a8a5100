"""What of a network trains, in which mode, and how its activations are kept (torch)."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.utils.checkpoint import checkpoint

from featx.errors import AnalysisError, FeatxError, NetworkError, first_line
from featx.images.volume import Volume, grid_affine
from featx.networks.architectures.trained import Trained
from featx.networks.look import look, to_volumes
from featx.networks.recipe import pack
from featx.networks.sheet import PICTURES, SET
from featx.networks.trained import INSIDE, innermost
from featx.training.arms import ALL, OUTPUT

_INSIDE = f"{INSIDE}."
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# What torch and its networks raise where an input does not suit them, or has no numbers.
_OF_TORCH = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)


# --- what trains ----------------------------------------------------------------------------------------------


def trainable(network: Trained, phase: str) -> None:
    """Set what trains in a phase, by `requires_grad`.

    In OUTPUT that is the last layer and what puts slices together; in ALL it is everything that the answers hang on.
    What they do not, such as the classifier that a network came with, never trains.

    Parameters
    ----------
    network : Trained
    phase : str
        OUTPUT or ALL, of `featx.training.arms`.
    """
    idle = find_idle(network)
    for name, values in network.named_parameters():
        values.requires_grad_(name not in idle and (phase == ALL or not name.startswith(_INSIDE)))


def set_mode(network: Trained, phase: str) -> None:
    """Set what is in training mode in a phase.

    In OUTPUT the network inside is in eval mode: a batch norm or a dropout in training mode would change features
    that are said to be frozen, whether its parameters train or not.
    """
    network.train()
    if phase == OUTPUT:
        network.network.eval()


def find_idle(network: Trained) -> frozenset[str]:
    """Names of the parameters that the answers do not hang on; found once, by a backward pass of a made volume.

    The pass is one of shapes alone (torch's device "meta"), but where a network needs numbers to run.

    Raises
    ------
    NetworkError
        The network does not run on its view.
    """
    if network.idle is None:
        shadow, network.idle = _looked_at(network)
        for own, seen in zip(network.modules(), shadow.modules(), strict=True):
            if isinstance(own, Trained) and isinstance(seen, Trained):
                own.n_calls = seen.n_calls  # so that no pass in training runs beyond the tap
    return network.idle


def _looked_at(network: Trained) -> tuple[Trained, frozenset[str]]:
    """A copy of a network that ran once, and its parameters without a gradient."""
    with contextlib.suppress(*_OF_TORCH):
        shadow = copy.deepcopy(network)
        return shadow, _without_gradient(shadow, "meta")
    shadow, view = copy.deepcopy(network), network.sheet.recipe.views[0]
    try:
        return shadow, _without_gradient(shadow, str(next(network.parameters()).device))
    except (FeatxError, torch.OutOfMemoryError):
        raise
    except _OF_TORCH as error:
        raise NetworkError(
            f"{network.sheet.name} must run on its view to be trained; on {view.name} it does not "
            f"({first_line(error)[:200]}); choose another size, number of slices, or axis"
        ) from error


def _without_gradient(network: Trained, device: str) -> frozenset[str]:
    network.to(device).eval().requires_grad_(True)
    names, values = zip(*network.named_parameters(), strict=True)
    with torch.enable_grad():
        total = network.answer(network.vector(_made_input(network, device))).sum()
        found = torch.autograd.grad(total, values, allow_unused=True)
    return frozenset(name for name, one in zip(names, found, strict=True) if one is None)


def _made_input(network: Trained, device: str) -> Tensor:
    """What a network looks at, of one made volume; one slice where each goes through it by itself."""
    sheet = network.sheet
    grid = sheet.recipe.grid
    ramp = np.linspace(0, 255, int(np.prod(grid.shape)), dtype=np.float32).reshape(grid.shape, order="F")
    packed = pack(Volume(ramp, grid_affine(grid)), sheet.recipe, sheet.name, "a made volume")
    x = look(to_volumes([packed], device), sheet.recipe.views[0].steps)
    return x[:, :1] if innermost(sheet).takes in (PICTURES, SET) else x


# --- batch norms to other people --------------------------------------------------------------------------------


@dataclass
class _Seen:
    """Values of a batch norm's input, added up by channel."""

    count: int
    total: Tensor
    squares: Tensor


def adapt_batch_norm(network: Trained, inputs: Iterable[Tensor]) -> None:
    """Re-estimate the means and variances of batch norms on inputs without labels, in place; nothing else changes.

    They are those of all values that reach a batch norm in one pass over the inputs, each batch normalised by its own
    statistics on the way, whatever the batches' sizes: not the running mean of torch, and not the mean of variances
    within batches. The variance is the unbiased one, which torch keeps.

    Parameters
    ----------
    inputs : iterable of Tensor
        As `Trained` takes them, on the network's device.

    Raises
    ------
    AnalysisError
        There are no inputs.
    """
    find_idle(network)
    norms = [one for one in network.network.modules() if isinstance(one, _BatchNorm) and one.running_mean is not None]
    seen: dict[nn.Module, _Seen] = {}
    handles = [one.register_forward_pre_hook(functools.partial(_add, seen)) for one in norms]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    n_inputs = 0
    try:
        for one in norms:
            one.train()
            one.track_running_stats = False  # by the batch, and none is kept
        with torch.no_grad():
            for x in inputs:
                network.still(x)
                n_inputs += len(x)
    finally:
        for handle in handles:
            handle.remove()
        for one in norms:
            one.track_running_stats = True
        for module, training in modes.items():
            module.training = training
    if not n_inputs:
        raise AnalysisError(
            "batch norms must be adapted to one image or more; none came; give training images, or leave them as "
            "they are"
        )
    for norm in (one for one in norms if one in seen):
        sums = seen[norm]
        mean = sums.total / sums.count
        variance = (sums.squares / sums.count - mean**2).clamp_min(0) * (sums.count / max(sums.count - 1, 1))
        for kept, found in ((norm.running_mean, mean), (norm.running_var, variance)):
            if kept is not None:
                kept.copy_(found)


def _add(seen: dict[nn.Module, _Seen], norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    values = inputs[0]
    axes = [0, *range(2, values.ndim)]
    variance, mean = (one.double() for one in torch.var_mean(values.float(), axes, correction=0))
    count = values.numel() // values.shape[1]
    found = _Seen(count, count * mean, count * (variance + mean**2))
    before = seen.get(norm)
    if before is not None:
        found = _Seen(before.count + count, before.total + found.total, before.squares + found.squares)
    seen[norm] = found


# --- activations computed anew ----------------------------------------------------------------------------------


def checkpoint_activations(network: Trained) -> None:
    """Let the blocks of the network inside keep their inputs alone, in place; a step takes longer.

    What is within a block is computed anew in the backward pass (Chen et al. 2016, arXiv 1604.06174), with the same
    dropout, and without a second update of batch norms. Blocks are the modules that stand in a row (torch's
    Sequential, ModuleList, ModuleDict) and are made of layers; a network that is one row of layers, such as VGG, is
    one block.

    Memory falls to that of the blocks' inputs and of the largest block. It falls little where one block has most of
    it: the first block of SFCN does, whose peak stays as it was; there, smaller batches whose gradients are added up
    are what helps.
    """
    above = _above_taps(network)
    for block in _blocks(network.network, above):
        if "forward" not in vars(block):  # not twice
            block.forward = functools.partial(_computed_anew, block, block.forward)


def _above_taps(network: Trained) -> set[nn.Module]:
    """Modules that a tap lies within: the hook that ends a pass there must not end a computation anew."""
    above: set[nn.Module] = set()
    for one in network.modules():
        if isinstance(one, Trained):
            parts = one.path.split(".") if one.path else []
            above |= {one, *(one.network.get_submodule(".".join(parts[:at])) for at in range(len(parts)))}
    return above


def _blocks(module: nn.Module, above: set[nn.Module]) -> Iterator[nn.Module]:
    if module in above or any(map(_is_row, module.modules())):
        for child in module.children():
            yield from _blocks(child, above)
    elif any(True for _ in module.children()) and any(True for _ in module.parameters()):
        yield module


def _is_row(module: nn.Module) -> bool:
    """Whether a module is a row of two or more modules that have layers of their own."""
    made = [child for child in module.children() if any(True for _ in child.children())]
    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict) and len(made) > 1


def _computed_anew(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    own = [list(one) if isinstance(one, list) else one for one in args]  # a DenseNet's list grows behind its layers
    return checkpoint(
        forward,
        *own,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _statistics_kept(block)),
        **kwargs,
    )


@contextlib.contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let batch norms in a block work on copies of their statistics."""
    norms = [one for one in block.modules() if isinstance(one, _NormBase) and one.running_mean is not None]
    kept = [(one.running_mean, one.running_var, one.num_batches_tracked) for one in norms]
    for one in norms:
        for name in _STATISTICS:
            setattr(one, name, getattr(one, name).clone())
    try:
        yield
    finally:
        for one, statistics in zip(norms, kept, strict=True):
            for name, values in zip(_STATISTICS, statistics, strict=True):
                setattr(one, name, values)
