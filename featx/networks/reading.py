"""Read the taps of a frozen network over views of volumes, and pool them (torch).

Forward hooks read the taps and pool them at once, so that no activation outlives its layer; when the last one is
read, the rest of the network is not run.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from featx.errors import NetworkError
from featx.networks.look import look
from featx.networks.optimise import memory_format, optimise
from featx.networks.sheet import CHANNELS_FIRST, CHANNELS_LAST, CLIP, PICTURES, SET, Network, View
from featx.networks.taps import Place, find_tap, poolings_of

# Bounds the memory of a batch of volumes. A CPU gains nothing from more; a GPU is not busy with fewer.
SLICES_AT_ONCE = {"cpu": 17, "cuda": 272}

# Classes whose outputs keep their features in the second axis, whatever the network around them does.
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)

Rows = dict[tuple[str, str], Tensor]
Keep = Callable[[Tensor], Any]


def make_reader(
    network: nn.Module, sheet: Network, taps: Sequence[str], poolings: Sequence[str], *, optimised: bool = True
) -> Callable[[Tensor, View], Rows]:
    """A function from volumes (N, 1, I, J, K) and a view to pooled taps, ``{(tap, pooling): rows}``.

    Parameters
    ----------
    network : Module
        Frozen, on its device; it is changed in place if it is to be optimised.
    taps : sequence of str
        As in `featx.networks.taps.find_tap`.
    poolings : sequence of str
        Rows are (N, n_features), those of the pooling "slices" (N, S, n_features).
    optimised : bool
        Fold, sum and lay out in memory for speed; the answers are the same up to rounding.

    Raises
    ------
    NetworkError
        A tap names no module of the network; from the function: a module does not run, or does not give one array
        per input.
    """
    places = {tap: find_tap(sheet, tap) for tap in taps}
    _check_modules(network, sheet, places)
    paths = {tap: place.module for tap, place in places.items()}
    layouts = {tap: layout_of(network.get_submodule(path), sheet.layout) for tap, path in paths.items()}
    memory = memory_format(sheet)
    grey = optimised and optimise(network, sheet, set(paths.values()))
    calls: dict[str, int] = {}

    def rows_of(tap: str, poolings: Sequence[str]) -> Keep:
        ways = {pooling: "cls" if places[tap].how == "cls" else pooling for pooling in poolings}
        return lambda output: {
            pooling: output_rows(output, layouts[tap], sheet.class_tokens, way) for pooling, way in ways.items()
        }

    def of_pictures(x: Tensor) -> Rows:
        keep = {tap: rows_of(tap, [place.how]) for tap, place in places.items()}
        parts: dict[str, list[Tensor]] = {tap: [] for tap in places}
        pictures = x.flatten(0, 1).contiguous(memory_format=memory)
        most = SLICES_AT_ONCE.get(x.device.type, SLICES_AT_ONCE["cuda"])
        for some in torch.tensor_split(pictures, math.ceil(len(pictures) / most)):
            for tap, found in read_taps(network, some, paths, keep, calls).items():
                parts[tap].append(_one_each(found[places[tap].how], len(some), tap, sheet))
        by_slice = {tap: torch.cat(rows).reshape(*x.shape[:2], -1) for tap, rows in parts.items()}
        return {(tap, how): pool(rows, how, 1) for tap, rows in by_slice.items() for how in poolings}

    def of_whole(x: Tensor) -> Rows:
        keep = {tap: rows_of(tap, poolings_of(sheet, tap, tuple(poolings))) for tap in places}
        found = read_taps(network, x, paths, keep, calls)
        return {
            (tap, how): _one_each(rows, len(x), tap, sheet) for tap, by in found.items() for how, rows in by.items()
        }

    def forward(volumes: Tensor, view: View) -> Rows:
        x = look(volumes, [step for step in view.steps if not (grey and step.name == "normalise")])
        if sheet.takes == PICTURES:
            return of_pictures(x)
        if sheet.takes == CLIP:
            x = x.transpose(1, 2)
        return of_whole(x if sheet.takes == SET else x.contiguous(memory_format=memory))

    return forward


# --- hooks ----------------------------------------------------------------------------------------------------


class _AllRead(Exception):  # noqa: N818 - it is no error
    """Every tap has been read: the rest of the network is of no use."""


def read_taps(
    network: nn.Module, x: Tensor, modules: Mapping[str, str], keep: Mapping[str, Keep], calls: dict[str, int]
) -> dict[str, Any]:
    """Run a network and read modules: ``{tap: keep[tap](output)}``, of the last call where one is called often.

    Parameters
    ----------
    modules : mapping of str to str
        Tap to module path. Of a tuple, the first output is read.
    keep : mapping of str to callable
        Called on the module's output at once.
    calls : dict
        How often each tap's module runs in a pass: learned from the first one, which runs to its end, so that the
        others end with the last tap.

    Raises
    ------
    NetworkError
        A module does not run.
    """
    found: dict[str, Any] = {}
    seen = dict.fromkeys(modules, 0)

    def hook(tap: str) -> Callable[[nn.Module, Any, Any], None]:
        def store(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found[tap] = keep[tap](output[0] if isinstance(output, tuple) else output)
            seen[tap] += 1
            if seen == calls:
                raise _AllRead

        return store

    handles = [network.get_submodule(path).register_forward_hook(hook(tap)) for tap, path in modules.items()]
    try:
        with contextlib.suppress(_AllRead):
            network(x)
        for tap, path in modules.items():
            if not seen[tap]:
                raise NetworkError(
                    f"a tap must be a module that runs in a pass; {tap!r} ({path}) does not; name another one"
                )
        calls.update(seen)
        return found
    finally:
        for handle in handles:
            handle.remove()


def _check_modules(network: nn.Module, sheet: Network, places: Mapping[str, Place]) -> None:
    there = dict(network.named_modules())
    for tap, place in places.items():
        if place.module not in there:
            near = get_close_matches(place.module, [*sheet.taps, *there], n=6, cutoff=0.4)
            raise NetworkError(
                f"a tap must be one of the sheet or the path of a module; {tap!r} is neither in {sheet.name}; "
                f"known are {', '.join(sheet.taps)}" + (f"; similar: {', '.join(near)}" if near else "")
            )


# --- from a module's output to rows ---------------------------------------------------------------------------


def pool(values: Tensor, how: str, dim: int | tuple[int, ...]) -> Tensor:
    """Pool over axes: mean, max, std (population, so that one position gives 0); concat and slices over axis 1."""
    if how == "mean":
        return values.mean(dim)
    if how == "max":
        return values.amax(dim)
    if how == "std":
        return values.std(dim, correction=0)
    return values.flatten(1) if how == "concat" else values


def layout_of(module: nn.Module, layout: str) -> str:
    """Where a module's output keeps its features: as torch defines it for the module's class, else as in the sheet.

    Examples
    --------
    >>> layout_of(nn.Conv2d(1, 1, 1), CHANNELS_LAST), layout_of(nn.GELU(), CHANNELS_LAST)
    ('channels-first', 'channels-last')
    """
    if isinstance(module, _CHANNELS_FIRST):
        return CHANNELS_FIRST
    if type(module) in (nn.Linear, nn.LayerNorm):  # not what is made of them to work on channels
        return CHANNELS_LAST
    dims = getattr(module, "dims", None)  # torchvision's Permute
    if dims and list(dims) in ([0, 3, 1, 2], [0, 4, 1, 2, 3]):
        return CHANNELS_FIRST
    if dims and list(dims) in ([0, 2, 3, 1], [0, 2, 3, 4, 1]):
        return CHANNELS_LAST
    return layout


def output_rows(output: Any, layout: str, class_tokens: int, how: str) -> Tensor:
    """A module's output (N, C), (N, L, C), (N, C, ...) or (N, ..., C) as rows.

    Parameters
    ----------
    output : Tensor
    layout : str
        Of outputs with more than three axes.
    class_tokens : int
        Tokens that are left out by all poolings but cls.
    how : str
        cls, or as in `pool`.

    Raises
    ------
    NetworkError
        A class token is asked for where there are no tokens, or the output is no such array.
    """
    if not isinstance(output, Tensor) or output.ndim < 2:
        told = f"{output.ndim} axes" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise NetworkError(
            f"a tap must give an array of two axes or more; this one gives {told}; name another module"
        )
    if output.ndim == 2:
        return output
    if output.ndim == 3:
        return output[:, 0] if how == "cls" else pool(output[:, class_tokens:], how, 1)
    if how == "cls":
        raise NetworkError(
            f"a class token is read from tokens; this tap gives a map of {tuple(output.shape[1:])}; leave :cls out"
        )
    last = layout == CHANNELS_LAST
    return pool(output, how, tuple(range(1, output.ndim - 1)) if last else tuple(range(2, output.ndim)))


def _one_each(rows: Tensor, wanted: int, tap: str, sheet: Network) -> Tensor:
    """The rows, if there is one per input: modules that see windows or heads one by one give more."""
    if len(rows) != wanted:
        raise NetworkError(
            f"a tap must give one output per input; {tap!r} of {sheet.name} gives {len(rows)} for {wanted}; "
            "name a module that sees all of the input at once, such as the one that it is part of"
        )
    return rows
