"""The networks behind a fitted head, loaded again from what its contract says of them (torch).

A contract names network, weights, recipe, view, tap and pooling of every feature set. All of it is made again, and
refused where one digest differs: a map through other weights would be the map of another head.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featx.analysis.features import TABLE
from featx.analysis.runs.bundle import Bundle
from featx.errors import BundleError, NetworkError, WeightsError
from featx.extraction.loading import Need
from featx.extraction.plan import Request, plan_sets
from featx.images.volume import Grid
from featx.networks import NETWORKS, get_network
from featx.networks.named import is_pattern
from featx.networks.reading import make_reader, pool
from featx.networks.recipe import MOVES, POINTS, describe
from featx.networks.sheet import PICTURES, Network, Recipe, Step, View
from featx.networks.weights import Progress, load_network
from featx.relevance.answering import places_of

_BLIND = ("crop", "pad", "turn")  # steps that move voxels without a look at their values
_POINT: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "times": torch.mul,
    "divided-by": torch.div,
    "minus": torch.sub,
    "at-least": torch.clamp_min,
    "at-most": torch.clamp_max,
}
APART = "slices"


@dataclass(frozen=True)
class Wanted:
    """One feature set of a head.

    Attributes
    ----------
    facts : mapping
        As it stands in the contract.
    columns : slice
        Where its features stand in a row of the head.
    view : View
    """

    facts: Mapping[str, Any]
    columns: slice
    view: View

    @property
    def place(self) -> tuple[str, str]:
        """Tap and pooling."""
        return self.facts["provenance"]["tap"], self.facts["provenance"]["pooling"]


@dataclass(frozen=True)
class Source:
    """A network with its weights, and what of it the head reads.

    Attributes
    ----------
    request : Request
        Its recipe has the views of all sets.
    sets : tuple of Wanted
    sha256 : str
        Of the tensors, as the contract has it.
    """

    request: Request
    sets: tuple[Wanted, ...]
    sha256: str

    @property
    def name(self) -> str:
        """Of the network, for sentences and needs."""
        return self.request.sheet.name

    def needs(self, accept: Sequence[str] = ()) -> tuple[Need, Need]:
        """What it needs of an image: the volume of its recipe, whose contract is held, and the one on its grid."""
        recipe = replace(self.request.recipe, views=())
        resampling = self.request.resampling
        keys = [describe(one, View("volume"), resampling=resampling) for one in (recipe, replace(recipe, steps=()))]
        return (
            Need(self.name, keys[0], recipe, self.name, resampling, tuple(accept)),
            Need(f"{self.name} (grid)", keys[1], replace(recipe, steps=()), self.name, resampling, tuple(accept)),
        )


@dataclass(frozen=True)
class Reader:
    """A source that is loaded on its device.

    Attributes
    ----------
    source : Source
    read : callable
        Of `featx.networks.reading.make_reader`; of networks on pictures, slices are kept apart.
    at : ndarray of shape (3, I', J', K'), int16
        For each voxel that the recipe keeps, its place on the recipe's grid.
    device : str
    """

    source: Source
    read: Callable[[Tensor, View], Mapping[tuple[str, str], Tensor]]
    at: NDArray[np.int16]
    device: str

    @property
    def is_sliced(self) -> bool:
        """Whether slices go through one by one, so that one alone can be run again."""
        return self.source.request.sheet.takes == PICTURES

    @property
    def grid(self) -> Grid:
        """On which its volumes lie before the recipe's steps."""
        return self.source.request.recipe.grid

    def rows(self, volumes: Tensor, view: View) -> Mapping[tuple[str, str], Tensor]:
        """Pooled taps of one view, ``{(tap, pooling): (N, n_features)}``."""
        found = self.read(volumes, view)
        if not self.is_sliced:
            return found
        wanted = [one.place for one in self.source.sets if one.view == view]
        return {(tap, how): pool(found[tap, APART], how, 1) for tap, how in wanted}


# --- from a contract to what must be loaded ---------------------------------------------------------------------


def sources_of(
    bundle: Bundle,
    weights: Mapping[str, str],
    *,
    checkpoints: Mapping[str, Path],
    recipe: Mapping[str, Any] | None = None,
) -> list[Source]:
    """The networks behind a head, with what it reads of each.

    Parameters
    ----------
    weights : mapping of str to str
        Files, by network, in place of where the contract says that weights come from; others are not looked at.
    checkpoints : mapping of str to Path
        Of networks that were added under a name.
    recipe : mapping, optional
        Facts of a network of one's own.

    Raises
    ------
    BundleError
        A set was made by another recipe than the network has now.
    NetworkError
        A network is not known, or its volumes do not lie on the template.
    WeightsError
        Weights came from a file that is not given.
    """
    grouped: dict[tuple[str, str, bool], list[Wanted]] = {}
    for facts, columns in zip(bundle.contract["sets"], places_of(bundle), strict=True):
        made = facts["provenance"]
        if made["network"] == TABLE:
            continue
        told = json.loads(made["recipe"])
        view = View(made["view"], tuple(_step(one) for one in told["view"]))
        key = (made["network"], made["weights_sha256"], bool(told["resampled"]))
        grouped.setdefault(key, []).append(Wanted(facts, columns, view))
    found = []
    for (name, sha256, resampling), sets in grouped.items():
        sheet, spec = _found(name, sets[0].facts["provenance"]["weights"], weights, (checkpoints, recipe))
        views = tuple(one.view for at, one in enumerate(sets) if one.view not in [other.view for other in sets[:at]])
        taps, poolings = (tuple(dict.fromkeys(one.place[at] for one in sets)) for at in (0, 1))
        request = Request(sheet, spec, replace(sheet.recipe, views=views), taps, poolings, resampling)
        _check_place(sheet)
        _check_recipes(request, sets)
        found.append(Source(request, tuple(sets), sha256))
    return found


def _step(told: Mapping[str, Any]) -> Step:
    return Step(told["step"], {name: value for name, value in told.items() if name != "step"})


def _found(
    name: str,
    told: str,
    weights: Mapping[str, str],
    own: tuple[Mapping[str, Path], Mapping[str, Any] | None],
) -> tuple[Network, str]:
    """The sheet of a network, and the word for its weights, from what the contract tells of both."""
    checkpoints, recipe = own
    kind, _, source = told.partition(" of ")
    given = weights.get(name, "")
    needs_file = (source or kind).startswith("file:")
    if needs_file and not given and name not in checkpoints:
        raise WeightsError(
            f"weights that came from a file must be given; the head reads {name} with {told}; give --weights "
            f"{name}=FILE"
        )
    in_table = name in NETWORKS or is_pattern(name)
    path = given or str(checkpoints.get(name, ""))
    sheet = get_network(name if in_table else f"file:{path}", recipe if name.startswith("python:") else None)
    if kind.startswith("random:"):
        return sheet, kind
    usual = path or source or kind
    return sheet, (f"{kind}:{path}" if path else kind) if kind.startswith("reinit:") else usual


def _check_place(sheet: Network) -> None:
    blind = all(step.name in _BLIND or step.name in POINTS for step in sheet.recipe.steps)
    if sheet.recipe.grid.anywhere or not sheet.recipe.registered or not blind:
        raise NetworkError(
            "a relevance map must be of networks whose volumes lie on the template, for it is averaged over people "
            f"there; those of {sheet.name} lie where the head lies; take a head on a network of registered brains"
        )


def _check_recipes(request: Request, sets: Sequence[Wanted]) -> None:
    """Refuse a head whose features were made in a way that the network has no more."""
    planned = {(one.view.name, one.tap, one.pooling, one.provenance["recipe_digest"]) for one in _plan(request)}
    for one in sets:
        made = one.facts["provenance"]
        if (made["view"], made["tap"], made["pooling"], made["recipe_digest"]) not in planned:
            raise BundleError(
                f"a network must be read as the head's features were; {one.facts['name']!r} was made by a recipe "
                f"with the digest {made['recipe_digest'][:12]}, which is not that of {request.sheet.name} now; use "
                "the featx (or the code) that made it, or extract and fit again"
            )


def _plan(request: Request) -> Any:
    return plan_sets(request, {"weights": "", "weights_sha256": ""}, "", "{}")


# --- loading ----------------------------------------------------------------------------------------------------


def load_reader(
    source: Source,
    device: str,
    cache: Path,
    on_progress: Progress | None = None,
    *,
    differentiable: bool,
    random: bool = False,
) -> Reader:
    """Load a network and check that it is the one that the head was fitted on.

    Parameters
    ----------
    differentiable : bool
        Leave it as its authors wrote it, nothing folded and nothing in place; else it is made fast.
    random : bool
        With random weights instead, for a map that should not look like the real one.

    Raises
    ------
    WeightsError
        Weights that cannot be had, or of another digest than those of the contract.
    """
    request = source.request
    loaded = load_network(request.sheet, _random(request) if random else request.weights, cache, on_progress)
    if not random and loaded.sha256 != source.sha256:
        raise WeightsError(
            f"a network must have the weights that the head was fitted on; {source.name} had tensors of the digest "
            f"{source.sha256[:12]}, and {loaded.weights} has {loaded.sha256[:12]}; give the right file with "
            f"--weights {source.name}=FILE"
        )
    network = loaded.network.requires_grad_(False).to(device)
    if differentiable:
        _not_in_place(network)
    sheet = replace(request.sheet, recipe=request.recipe)
    poolings = (APART,) if sheet.takes == PICTURES else request.poolings
    read = make_reader(network, sheet, request.taps, poolings, optimised=not differentiable)
    return Reader(source, read, places_on_grid(request.recipe), device)


def _random(request: Request) -> str:
    """Random weights that are not those of the head itself."""
    return "random:2" if request.weights == "random:1" else "random:1"


def _not_in_place(network: nn.Module) -> None:
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]


def places_on_grid(recipe: Recipe) -> NDArray[np.int16]:
    """For each voxel that a recipe keeps, its place on the recipe's grid; shape (3, I', J', K').

    Examples
    --------
    >>> from featx.networks.recipes import SFCN
    >>> places_on_grid(SFCN)[:, 0, 0, 0].tolist()
    [11, 13, 11]
    """
    number = np.arange(np.prod(recipe.grid.shape), dtype=np.int32).reshape(recipe.grid.shape)
    for step in recipe.steps:
        if step.name in _BLIND:
            number = MOVES[step.name](number, "a volume", **step.settings)
    return np.stack(np.unravel_index(number, recipe.grid.shape)).astype(np.int16)


def to_grey(stored: Tensor, points: Sequence[tuple[str, float]]) -> Tensor:
    """Point operations, none of them in place, so that they have a gradient."""
    for word, number in points:
        stored = _POINT[word](stored, float(np.float32(number)))
    return stored
