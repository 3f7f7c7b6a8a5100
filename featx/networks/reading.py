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
from featx.networks.sheet import CHANNELS_LAST, CLIP, PICTURES, SET, Network, View
from featx.networks.taps import Place, find_tap, poolings_of

# Bounds the memory of a batch of volumes. A CPU gains nothing from more; a GPU is not busy with fewer.
SLICES_AT_ONCE = {"cpu": 17, "cuda": 272}

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
        A tap names no module of the network.
    """
    places = {tap: find_tap(sheet, tap) for tap in taps}
    _check_modules(network, sheet, places)
    memory = memory_format(sheet)
    grey = optimised and optimise(network, sheet)
    calls: dict[str, int] = {}
    paths = {tap: place.module for tap, place in places.items()}

    def of_pictures(x: Tensor) -> Rows:
        keep = {tap: _within(sheet, place) for tap, place in places.items()}
        parts: dict[str, list[Tensor]] = {tap: [] for tap in places}
        pictures = x.flatten(0, 1).contiguous(memory_format=memory)
        for some in torch.tensor_split(pictures, math.ceil(len(pictures) / SLICES_AT_ONCE[x.device.type])):
            for tap, rows in read_taps(network, some, paths, keep, calls).items():
                parts[tap].append(rows)
        by_slice = {tap: torch.cat(rows).reshape(*x.shape[:2], -1) for tap, rows in parts.items()}
        return {(tap, how): pool(rows, how, 1) for tap, rows in by_slice.items() for how in poolings}

    def of_whole(x: Tensor) -> Rows:
        keep = {tap: _over(sheet, place, poolings_of(sheet, tap, tuple(poolings))) for tap, place in places.items()}
        found = read_taps(network, x, paths, keep, calls)
        return {(tap, how): rows for tap, pooled in found.items() for how, rows in pooled.items()}

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


def _within(sheet: Network, place: Place) -> Keep:
    """One vector per picture."""
    return lambda output: _pooled(output, sheet, place, place.how)


def _over(sheet: Network, place: Place, poolings: Sequence[str]) -> Keep:
    """One vector per input and pooling."""
    cls = place.how == "cls"
    return lambda output: {how: _pooled(output, sheet, place, "cls" if cls else how) for how in poolings}


def _pooled(output: Tensor, sheet: Network, place: Place, how: str) -> Tensor:
    """A module's output (N, C), (N, L, C), (N, C, ...) or (N, ..., C) as rows."""
    if output.ndim == 2:
        return output
    if output.ndim == 3:
        return output[:, 0] if how == "cls" else pool(output[:, sheet.class_tokens :], how, 1)
    if how == "cls":
        raise NetworkError(
            f"a class token is read from tokens; {place.module} of {sheet.name} gives maps; leave :cls out"
        )
    last = sheet.layout == CHANNELS_LAST
    return pool(output, how, tuple(range(1, output.ndim - 1)) if last else tuple(range(2, output.ndim)))
