"""Read the taps of a frozen network over views of volumes, and pool them (torch).

Forward hooks read the taps and pool them at once, so that no activation outlives its layer; when the last one is
read, the rest of the network is not run.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from featx.errors import NetworkError
from featx.networks.architectures.gupta import placed
from featx.networks.look import look
from featx.networks.missing import places_of
from featx.networks.optimise import compile_blocks, memory_format, optimise
from featx.networks.sheet import CHANNELS_FIRST, CHANNELS_LAST, CLIP, PICTURES, SET, Network, View
from featx.networks.taps import Place, find_tap, poolings_of
from featx.networks.trained import innermost, read_inside

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

REDUCED = ("mean", "max", "std")  # poolings that make new numbers; the other ones show those that are there

_HALF = (torch.float16, torch.bfloat16)

Rows = dict[tuple[str, str], Tensor]
Keep = Callable[[Tensor], Any]


def make_reader(
    network: nn.Module,
    sheet: Network,
    taps: Sequence[str],
    poolings: Sequence[str],
    *,
    optimised: bool = True,
    compiled: bool = False,
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
    compiled : bool
        Let torch compile the blocks between the taps: the first pass over inputs of a new size takes a minute or so,
        the others may be faster; the answers are the same up to rounding. It raises what `torch.compile` raises.

    Raises
    ------
    NetworkError
        A tap names no module of the network; from the function: a module does not run, does not give one array per
        input, has no class token, or gives heads or windows whose features are not to be told from their places.
    """
    places = {tap: find_tap(sheet, tap) for tap in taps}
    _check_modules(network, sheet, places)
    _check_apart(sheet, places, poolings)
    paths = {tap: place.module for tap, place in places.items()}
    foreign = bool(set(paths.values()) - _modules_of(sheet))
    own_layouts = {path: own_layout(module) for path, module in network.named_modules()}  # before any is replaced
    memory = memory_format(sheet)
    grey = optimised and optimise(network, sheet, set(paths.values()))
    if compiled:
        compile_blocks(network, {*paths.values(), *read_inside(sheet)})
    calls: dict[str, int] = {}
    looked: dict[torch.Size, _Looked] = {}

    def rows_of(x: Tensor, tap: str, poolings: Sequence[str]) -> Keep:
        if foreign and x.shape[1:] not in looked:
            looked[x.shape[1:]] = _look_at(network, sheet, x[:1], own_layouts)
        form = _form_of(paths[tap], sheet, looked.get(x.shape[1:]), own_layouts)
        ways = {pooling: "cls" if places[tap].how == "cls" else pooling for pooling in poolings}
        return lambda output: {
            pooling: output_rows(*_told(output, form, way, tap, sheet), way) for pooling, way in ways.items()
        }

    def of_pictures(x: Tensor) -> Rows:
        parts: dict[str, list[Tensor]] = {tap: [] for tap in places}
        pictures = x.flatten(0, 1).contiguous(memory_format=memory)
        keep = {tap: rows_of(pictures, tap, [place.how]) for tap, place in places.items()}
        most = SLICES_AT_ONCE.get(x.device.type, SLICES_AT_ONCE["cuda"])
        for some in torch.tensor_split(pictures, math.ceil(len(pictures) / most)):
            for tap, found in read_taps(network, some, paths, keep, calls).items():
                parts[tap].append(_one_each(found[places[tap].how], len(some), tap, sheet))
        by_slice = {tap: torch.cat(rows).reshape(*x.shape[:2], -1) for tap, rows in parts.items()}
        return {(tap, how): pool(rows, how, 1) for tap, rows in by_slice.items() for how in poolings}

    def of_whole(x: Tensor) -> Rows:
        keep = {tap: rows_of(x, tap, poolings_of(sheet, tap, tuple(poolings))) for tap in places}
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
        fits = sheet.takes != SET or memory == torch.contiguous_format  # a set has an axis more than its pictures
        with placed(network, places_of(view)):
            return of_whole(x.contiguous(memory_format=memory) if fits else x)

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
            similar = f"; similar: {', '.join(near)}" if near else ""
            if tap.partition(":")[0] in sheet.taps:
                raise NetworkError(
                    f"a sheet's taps must be modules of its network; {tap!r} of {sheet.name} is to be "
                    f"{place.module!r}, and there is no such module{similar}"
                )
            raise NetworkError(
                f"a tap must be one of the sheet or the path of a module; {tap!r} is neither in {sheet.name}; "
                f"known are {', '.join(sheet.taps)}{similar}"
            )


def _check_apart(sheet: Network, places: Mapping[str, Place], poolings: Sequence[str]) -> None:
    """Refuse to keep slices apart where a clip's frames went through a network together."""
    together = sheet.takes == SET and innermost(sheet).takes == CLIP
    apart = [how for how in poolings if how not in REDUCED]
    spread = [tap for tap, place in places.items() if place.positions]
    if together and apart and spread:
        raise NetworkError(
            f"slices must go through a network one by one to be kept apart; those of {sheet.name} go together, and "
            f"{spread[0]!r} is to be pooled by {apart[0]!r}; pool it by {', '.join(REDUCED)}"
        )


# --- taps that are not of the sheet -----------------------------------------------------------------------------

_LAYOUT = "featx_layout"  # a mark on tensors: a table of tensors would keep them in memory


@dataclass(frozen=True)
class _Looked:
    """What one pass shows.

    Attributes
    ----------
    layouts : mapping of str to str
        Where outputs keep their features, by module path; "" where it does not show.
    tokens : frozenset of int
        How many tokens the places of the sheet have, those before the picture's among them.
    maps : bool
        Whether a place of the sheet has a map.
    """

    layouts: Mapping[str, str]
    tokens: frozenset[int]
    maps: bool


@dataclass(frozen=True)
class _Form:
    """What is known of a tap's output before it is there.

    Attributes
    ----------
    layout : str
        "" where only the sheet's is left.
    tokens : frozenset of int or None
        Numbers of tokens that have class tokens among them; None where all numbers have.
    certain : bool
        Whether a map must have a layout of its own, for the sheet's says nothing of it.
    """

    layout: str
    tokens: frozenset[int] | None
    certain: bool


def _modules_of(sheet: Network) -> set[str]:
    return {tap.module for tap in sheet.taps.values()}


def _look_at(network: nn.Module, sheet: Network, x: Tensor, own_layouts: Mapping[str, str]) -> _Looked:
    """Run a network on one input and note the layouts of its outputs, and how many tokens the sheet's places have.

    A module's output is laid out as torch says of its class, else as the module within it that made it, else as its
    input, if it has the same shape.
    """
    layouts: dict[str, str] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def note(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            if isinstance(first, Tensor):
                layout = own_layouts.get(path) or getattr(first, _LAYOUT, "") or _inherited(inputs, first)
                setattr(first, _LAYOUT, layout)
                layouts[path], shapes[path] = layout, tuple(first.shape)

        return hook

    open_to_hooks = [one for one in network.named_modules() if not isinstance(one[1], torch.jit.ScriptModule)]
    handles = [module.register_forward_hook(note(path)) for path, module in open_to_hooks]
    try:
        network(x)
    finally:
        for handle in handles:
            handle.remove()
    there = [path for path in _modules_of(sheet) if path in shapes]
    tokens = {shapes[path][1] for path in there if len(shapes[path]) == 3 and own_layouts[path] != CHANNELS_FIRST}
    return _Looked(layouts, frozenset(tokens), any(len(shapes[path]) > 3 for path in there))


def _inherited(inputs: Sequence[Any], output: Tensor) -> str:
    """The layout of the first input, if the output has its shape."""
    first = inputs[0] if inputs else None
    same = isinstance(first, Tensor) and first.shape == output.shape
    return getattr(first, _LAYOUT, "") if same else ""


def _form_of(path: str, sheet: Network, looked: _Looked | None, own_layouts: Mapping[str, str]) -> _Form:
    """A place of the sheet is as the sheet says; of another one it is known what a pass shows."""
    if looked is None or path in _modules_of(sheet):
        return _Form(own_layouts[path], None, certain=False)
    only_tokens = bool(looked.tokens) and not looked.maps and sheet.takes != SET
    certain = sheet.class_tokens > 0 or only_tokens
    return _Form(looked.layouts.get(path, ""), looked.tokens or None, certain)


def _told(output: Any, form: _Form, how: str, tap: str, sheet: Network) -> tuple[Any, str, int]:
    """An output, its layout and the class tokens in it, as `output_rows` takes them."""
    layout, axes = form.layout or sheet.layout, output.ndim if isinstance(output, Tensor) else 0
    if axes == 3:
        sequence = form.layout == CHANNELS_FIRST  # of a convolution in one dimension
        known = not sequence and (form.tokens is None or output.shape[1] in form.tokens)
        if how == "cls" and not known:
            raise NetworkError(
                f"a class token is read where a network has one; {tap!r} of {sheet.name} gives an array of "
                f"{tuple(output.shape[1:])} without one; leave :cls out, or name a module behind it"
            )
        return output.mT if sequence else output, layout, sheet.class_tokens if known else 0
    if axes > 3 and how != "cls" and form.certain and form.layout != CHANNELS_FIRST:
        raise NetworkError(
            f"a tap of a network on tokens must give tokens, a vector or a map with its features first; {tap!r} of "
            f"{sheet.name} gives an array of {tuple(output.shape[1:])}, of which that is not known; name another "
            "module, such as the one that it is part of"
        )
    return output, layout, sheet.class_tokens


# --- from a module's output to rows ---------------------------------------------------------------------------


def pool(values: Tensor, how: str, dim: int | tuple[int, ...]) -> Tensor:
    """Pool over axes: mean, max, std (population, so that one position gives 0); concat and slices over axis 1.

    Values of half precision are pooled in float32: their mean would be rounded to half.
    """
    if how == "mean":
        return values.mean(dim, dtype=torch.float32 if values.dtype in _HALF else None)
    if how == "max":
        return _whole(values.amax(dim))
    if how == "std":
        return _whole(values).std(dim, correction=0)
    return _whole(values.flatten(1) if how == "concat" else values)


def _whole(values: Tensor) -> Tensor:
    """Half precision as float32; anything else as it is."""
    return values.float() if values.dtype in _HALF else values


def layout_of(module: nn.Module, layout: str) -> str:
    """Where a module's output keeps its features: as torch defines it for the module's class, else as in the sheet.

    Examples
    --------
    >>> layout_of(nn.Conv2d(1, 1, 1), CHANNELS_LAST), layout_of(nn.GELU(), CHANNELS_LAST)
    ('channels-first', 'channels-last')
    """
    return own_layout(module) or layout


def own_layout(module: nn.Module) -> str:
    """Where a module's output keeps its features by its class; "" where that says nothing."""
    if isinstance(module, _CHANNELS_FIRST):
        return CHANNELS_FIRST
    if type(module) in (nn.Linear, nn.LayerNorm):  # not what is made of them to work on channels
        return CHANNELS_LAST
    dims = getattr(module, "dims", None)  # torchvision's Permute
    if dims and list(dims) in ([0, 3, 1, 2], [0, 4, 1, 2, 3]):
        return CHANNELS_FIRST
    if dims and list(dims) in ([0, 2, 3, 1], [0, 2, 3, 4, 1]):
        return CHANNELS_LAST
    return ""


def output_rows(output: Any, layout: str, class_tokens: int, how: str) -> Tensor:
    """A module's output (N, C), (N, L, C), (N, C, ...) or (N, ..., C) as rows that the rest of the pass leaves alone.

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
        return _whole(output.clone())  # the next layer may work in place
    if output.ndim == 3:
        rows = _whole(output[:, 0]) if how == "cls" else pool(output[:, class_tokens:], how, 1)
        return rows if how in REDUCED else rows.clone()
    if how == "cls":
        raise NetworkError(
            f"a class token is read from tokens; this tap gives a map of {tuple(output.shape[1:])}; leave :cls out"
        )
    last = layout == CHANNELS_LAST
    rows = pool(output, how, tuple(range(1, output.ndim - 1)) if last else tuple(range(2, output.ndim)))
    return rows if how in REDUCED else rows.clone()


def _one_each(rows: Tensor, wanted: int, tap: str, sheet: Network) -> Tensor:
    """The rows, if there is one per input: modules that see windows or heads one by one give more."""
    if len(rows) != wanted:
        raise NetworkError(
            f"a tap must give one output per input; {tap!r} of {sheet.name} gives {len(rows)} for {wanted}; "
            "name a module that sees all of the input at once, such as the one that it is part of"
        )
    return rows
