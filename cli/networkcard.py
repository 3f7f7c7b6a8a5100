"""The card of one network, as `featx networks show` prints it, and the words that lists share with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx_cli.added import added

if TYPE_CHECKING:
    from featx.networks.sheet import Network, Step


def card(sheet: Network, name: str, cache: Path) -> list[str]:
    """Lines that say all of one network.

    Parameters
    ----------
    name : str
        As it was asked for, which for a pattern is more than the sheet's.
    cache : Path
        Where its weights are or would be.
    """
    lines = [f"{sheet.name} ({sheet.family})"]
    for title, told in (
        ("wants", _contract(sheet)),
        ("steps", [_words(step) for step in sheet.recipe.steps] or ["none"]),
        ("views", _views(sheet)),
        ("taps", _taps(sheet, name)),
        ("pooling", _poolings(sheet)),
        ("parameters", [f"{sheet.n_parameters:,}" if sheet.n_parameters or sheet.weightless else "not counted"]),
        ("weights", _weights(sheet, name, cache)),
        ("trained on", [sheet.training, *_ages(sheet)]),
        ("labels", [", ".join(sheet.labels) or "no phenotype"]),
        ("reference", [sheet.reference]),
        ("example", [_example(sheet, name)]),
    ):
        lines += [f"  {'' if at else title:10}  {line}" for at, line in enumerate(told)]
    return [*lines, "  (* what is read if nothing is asked for)"]


def _contract(sheet: Network) -> list[str]:
    recipe, grid = sheet.recipe, sheet.recipe.grid
    where = "voxels" if grid.anywhere else f"{'x'.join(map(str, grid.shape))} voxels"
    skull = "skull-stripped: a brain on a background of 0" if recipe.skull_stripped else "skull-stripped or not"
    space = "registered to the MNI152 template" if recipe.registered else "it need not be registered"
    return [
        f"{grid.name}: {where} of {grid.voxel_mm:g} mm, {grid.orientation} or any other order of the same axes",
        f"{skull}; {space}",
        f"what enters the network: {input_of(sheet)}",
    ]


def _words(step: Step) -> str:
    return " ".join([step.name, *(f"{name}={_value(value)}" for name, value in step.settings.items())])


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_value, value)) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _views(sheet: Network) -> list[str]:
    lines = []
    for view in sheet.recipe.views:
        steps = "; ".join(map(_words, view.steps)) or "the whole volume"
        lines.append(f"{_starred(view.name, sheet.default_views)}: {steps}")
    if any(step.name == "slices" for step in sheet.recipe.views[0].steps):
        lines.append(f"change them by {', '.join(_options(sheet))}")
    return lines


def _options(sheet: Network) -> list[str]:
    """The options of `featx extract` that change its slices."""
    steps = {step.name for step in sheet.recipe.views[0].steps}
    can = {
        "--axis": len(sheet.recipe.views) > 1,
        "--slices": "slices" not in sheet.fixed,
        "--size": "resize" in steps and "size" not in sheet.fixed,
        "--channels": "normalise" in steps,
        "--missing": True,
    }
    return [option for option, it_can in can.items() if it_can]


def _taps(sheet: Network, asked: str) -> list[str]:
    names = [_starred(name, sheet.default_taps) for name in sheet.taps]
    width = max(map(len, names), default=0)
    lines = [
        f"{name:{width}}  {tap.width:5d} features  {tap.module}{'' if tap.positions else ' (one vector, not pooled)'}"
        for name, tap in zip(names, sheet.taps.values(), strict=True)
    ]
    ends = [":max"] * (sheet.takes == "pictures") + [":cls (the class token)"] * bool(sheet.class_tokens)
    behind = f"; behind a tap {' or '.join(ends)} instead of the mean of its positions" if ends else ""
    return [*lines, f"any other module by its path, --tap PATH (`show {asked} --modules` lists them){behind}"]


def _poolings(sheet: Network) -> list[str]:
    return [", ".join(_starred(how, sheet.default_pooling) for how in sheet.poolings)]


def _starred(name: str, default: Sequence[str]) -> str:
    return name + "*" * (name in default)


def _weights(sheet: Network, name: str, cache: Path) -> list[str]:
    from featx.networks.download import bundled_path, find_cached
    from featx.networks.named import FILE, OWN, usual_weights

    weights = sheet.weights
    if name in (there := added()):
        return [f"added: {there[name]}"]
    if name.startswith(FILE):
        return [f"those of {usual_weights(name)}"]
    if name.startswith(OWN):
        return [f"as its factory sets them, or --weights {name}=FILE"]
    if sheet.weightless:
        return ["none: it has no parameters, and runs as it is"]
    if weights is None:
        return [f"featx knows of none: give --weights {name}=FILE, or ask for the control {name}@random:0"]
    at = find_cached(weights, cache)
    missing = f"not fetched: `featx networks fetch {name}` puts them at {cache / weights.file}"
    return [
        weights.url,
        f"about {size_of(sheet, cache)}, licence {weights.licence}, digest {weights.digest or 'not published'}",
        f"{'bundled with featx' if bundled_path(weights) else 'fetched'}: {at}" if at else missing,
        f"controls: {name}@random:0, {name}@reinit:0 (same scale, redrawn)",
    ]


def _ages(sheet: Network) -> list[str]:
    span = sheet.age_range_years
    return [f"ages {span[0]:g} to {span[1]:g} years"] if span else []


def _example(sheet: Network, name: str) -> str:
    own = name.startswith(("file:", "python:")) or name in added()
    asked = name if sheet.weights or sheet.weightless or own else f"{name}@random:0"
    extra = f" (needs pip install 'featx[{sheet.extra}]')" if sheet.extra != "torch" else ""
    return f"featx extract images.csv --network {asked} -o features.h5{extra}"


def input_of(sheet: Network) -> str:
    """What enters the network: the shape of the volume, or the size of the slices."""
    steps = [*sheet.recipe.steps, *sheet.recipe.views[0].steps]
    shape: Any = sheet.recipe.grid.shape
    size: Any = "native"
    sliced = any(step.name == "slices" for step in steps)
    for step in steps:
        if step.name == "crop":
            box: Any = step.settings["box"]
            shape = tuple(high - low for low, high in box)
        elif step.name == "shrink":
            shape = tuple(length // step.settings["factor"] for length in shape)
        shape = step.settings.get("shape", shape)
        size = step.settings.get("size", size) if step.name == "resize" else size
    return f"slices {size}" if sliced else "x".join(map(str, shape))


def n_bytes_of(sheet: Network, cache: Path) -> int:
    """Size of official weights: as the table says, as the cache has it, or that of the parameters; 0 without any."""
    from featx.networks.download import find_cached

    if sheet.weights is None:
        return 0
    there = find_cached(sheet.weights, cache)
    return sheet.weights.size_bytes or (there.stat().st_size if there else 4 * sheet.n_parameters)


def size_of(sheet: Network, cache: Path) -> str:
    """`n_bytes_of` for people; "-" without any."""
    n_bytes = n_bytes_of(sheet, cache)
    return in_mb(n_bytes) if n_bytes else "-"


def in_mb(n_bytes: int) -> str:
    """Bytes as people read them."""
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.2f} GB"
