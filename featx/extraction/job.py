"""A network, loaded and tried out, with the feature sets that it is to make (torch)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from featx import __version__
from featx.errors import NetworkError, first_line
from featx.extraction.device import full_float32
from featx.extraction.loading import Need
from featx.extraction.plan import PlannedSet, Request, label, plan_sets
from featx.extraction.precision import AUTO, FLOAT32, available, check_precision, choose, read_noted, under
from featx.images.contract import check_accepted
from featx.images.volume import Volume, grid_affine
from featx.networks.look import to_volumes
from featx.networks.reading import make_reader
from featx.networks.recipe import Packed, describe, pack
from featx.networks.sheet import PICTURES, Network, View
from featx.networks.weights import Progress, load_network

Reader = Callable[[torch.Tensor, View], Mapping[tuple[str, str], torch.Tensor]]

# What torch and its networks raise where an input does not suit them.
_OF_TORCH = (RuntimeError, AssertionError, ValueError, TypeError, LookupError, ArithmeticError)


@dataclass(frozen=True)
class Job:
    """One network, loaded and ready on its device.

    Attributes
    ----------
    label : str
    need : Need
        What it needs of an image.
    request : Request
    sets : tuple of PlannedSet
        That it makes.
    shape : tuple of 3 int
        Of the volume that its recipe makes.
    run : callable
        From volumes (N, 1, I, J, K) on the device to rows (N, n_features) by the names of the sets, on the device.
    """

    label: str
    need: Need
    request: Request
    sets: tuple[PlannedSet, ...]
    shape: tuple[int, ...]
    run: Callable[[torch.Tensor], Mapping[str, torch.Tensor]]


def load_job(
    request: Request,
    device: str,
    cache: Path,
    on_progress: Progress | None = None,
    *,
    accept: Sequence[str] = (),
    precision: str = FLOAT32,
    compiled: bool = False,
    held: Mapping[str, str] | None = None,
) -> Job:
    """Load the network of a request and put it on a device.

    Parameters
    ----------
    accept : sequence of str
        Misfits of images that are let through, and told (`featx.images.contract.ACCEPTABLE`).
    precision : str
        A word of `featx.extraction.precision`; "auto" takes the fastest that was measured and noted in the cache, if
        it is close enough to float32.
    compiled : bool
        Let torch compile the blocks between the taps; the first images then take up to a minute.
    held : mapping of str to str, optional
        In which precision an output holds networks, by label: "auto" goes on in it.

    Raises
    ------
    NetworkError
        A code to accept is none of those.
    DeviceError
        No such precision on this device.
    WeightsError
        See `featx.networks.weights.load_network`.
    """
    check_accepted(accept)
    check_precision(precision, device)
    loaded = load_network(request.sheet, request.weights, cache, on_progress)
    sheet = replace(request.sheet, recipe=request.recipe)
    read = make_reader(loaded.network.to(device), sheet, request.taps, request.poolings, compiled=compiled)
    name = label(request.sheet.name, loaded.tag)
    goes_on = precision == AUTO and (held or {}).get(name) in available(device)
    noted = read_noted(request.sheet.name, loaded.sha256, cache, device)
    word = (held or {})[name] if goes_on else choose(precision, noted)
    with under(word, device):
        made = try_out(read, sheet, device)
    weights = {"weights": loaded.weights, "weights_sha256": loaded.sha256}
    sets = plan_sets(request, weights, loaded.tag, library_versions(sheet), word)

    def run(volumes: torch.Tensor) -> dict[str, torch.Tensor]:
        rows: dict[str, torch.Tensor] = {}
        with under(word, device):
            for view in request.recipe.views:
                here = {(one.tap, one.pooling): one.name for one in sets if one.view == view}
                rows |= {here[place]: values for place, values in read(volumes, view).items()}
        return rows

    recipe_key = describe(request.recipe, View("volume"), resampling=request.resampling)
    recipe = replace(request.recipe, views=())
    need = Need(name, recipe_key, recipe, request.sheet.name, request.resampling, tuple(accept))
    return Job(name, need, request, sets, tuple(made.stored.shape[axis] for axis in made.axes), run)


def try_out(read: Reader, sheet: Network, device: str) -> Packed:
    """Run a made volume through a reader, of pictures one slice, so that a wish that the network cannot fulfil is
    refused at once, and not image by image.

    Parameters
    ----------
    read : callable
        Of `featx.networks.reading.make_reader`.
    sheet : Network
        With the recipe that is wanted.

    Returns
    -------
    Packed
        The made volume.

    Raises
    ------
    NetworkError
        The network does not run on what its views give, or a tap has another width than its sheet says.
    """
    grid = sheet.recipe.grid
    ramp = np.linspace(0, 255, math.prod(grid.shape), dtype=np.float32).reshape(grid.shape, order="F")
    packed = pack(Volume(ramp, grid_affine(grid)), sheet.recipe, sheet.name, "a made volume")
    volumes = to_volumes([packed], device)
    for view in sheet.recipe.views:
        try:
            with full_float32(device):
                found = read(volumes, _one_slice(view) if sheet.takes == PICTURES else view)
        except NetworkError:
            raise
        except torch.OutOfMemoryError:
            return packed  # the engine tells it of every image
        except _OF_TORCH as error:
            raise NetworkError(
                f"{sheet.name} must run on its views; on {view.name} ({_told(view)}) it does not "
                f"({first_line(error)[:200]}); choose another --size, number of --slices, or axis"
            ) from error
        _check_widths(found, sheet)
    return packed


def _check_widths(found: Mapping[tuple[str, str], torch.Tensor], sheet: Network) -> None:
    for (tap, how), rows in found.items():
        named = sheet.taps.get(tap.partition(":")[0])
        if named and how != "concat" and rows.shape[-1] != named.width:
            raise NetworkError(
                f"a tap must give as many features as its sheet says; {tap!r} of {sheet.name} gives "
                f"{rows.shape[-1]}, the sheet says {named.width}; mend its recipe"
            )


def library_versions(sheet: Network) -> str:
    """Versions that made the features of a network, as JSON."""
    libraries = ["torch", "torchvision", "numpy", "nibabel"]
    libraries += [sheet.extra] if sheet.extra in ("timm", "monai") else []
    return json.dumps({"featx": __version__, **{name: version(name) for name in libraries}}, sort_keys=True)


def _one_slice(view: View) -> View:
    steps = (
        replace(step, settings={**step.settings, "count": 1, "shown": ()}) if step.name == "slices" else step
        for step in view.steps
    )
    return replace(view, steps=tuple(steps))


def _told(view: View) -> str:
    return "; ".join(f"{step.name} {dict(step.settings)}" for step in view.steps) or "the whole volume"
