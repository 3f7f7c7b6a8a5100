"""What is wanted of which network, and what is still to do. Decisions only: no image, no GPU."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from featx.errors import NetworkError, StoreError, known
from featx.extraction.wishes import Wish, changed, changes_slices, is_sliced
from featx.featureset import digest, feature_key
from featx.images.image import Image
from featx.networks import NETWORKS, get_network
from featx.networks.missing import spread
from featx.networks.named import FILE, OWN, code_sha256, is_pattern, usual_weights
from featx.networks.recipe import describe
from featx.networks.sheet import SET, Network, Recipe, View
from featx.networks.taps import find_tap, poolings_of

__all__ = [
    "PlannedSet",
    "Request",
    "Wish",
    "divide_name",
    "label",
    "make_request",
    "make_requests",
    "plan_sets",
    "request_of",
    "still_to_do",
]

# Behind a file's path, which may hold "@" itself, only these words are weights.
_FILE_AT = re.compile(r"(file:.+?)(?:@(official|(?:random|reinit):.*))?")

# What makes features of a network beyond its recipe, its taps and its tensors.
_MADE = ("architecture", "arguments", "takes", "layout", "class_tokens")


@dataclass(frozen=True)
class Request:
    """What is wanted of one network with one set of weights. Made by `make_request`, which checks it.

    Attributes
    ----------
    sheet : Network
    weights : str
        "official", "random:SEED", a path, or another word of `featx.networks.weights`.
    recipe : Recipe
        The sheet's, with the views that are wanted.
    taps, poolings : tuple of str
    resampling : bool
        Resample volumes of another grid instead of refusing them.
    """

    sheet: Network
    weights: str
    recipe: Recipe
    taps: tuple[str, ...]
    poolings: tuple[str, ...]
    resampling: bool


@dataclass(frozen=True)
class PlannedSet:
    """One feature set that a request will make."""

    name: str
    view: View
    tap: str
    pooling: str
    provenance: Mapping[str, str]


def make_request(network: str, *, weights: str = "", recipe: Mapping[str, Any] | None = None, **wish: Any) -> Request:
    """Check what is wanted of a network against its sheet.

    Parameters
    ----------
    network : str
        A name of the table, or one that follows a pattern of `featx.networks.named`.
    weights : str
        Nothing stands for the official ones, the file itself of ``file:``, the factory's own of ``python:``.
    recipe : mapping, optional
        Facts of a network of one's own (``python:``).
    wish
        Fields of `Wish`.

    Raises
    ------
    NetworkError
        An unknown network, tap, view or pooling, or a change of slices that the network cannot have.
    """
    _check_recipe([network], recipe)
    return request_of(get_network(network, recipe), _full(network, weights), Wish(**wish))


def _check_recipe(networks: Sequence[str], recipe: Mapping[str, Any] | None) -> None:
    if recipe is not None and not any(name.startswith(OWN) for name in networks):
        raise NetworkError(
            f"a recipe must be for a network of your own; {', '.join(networks)} have theirs already; leave it out, "
            "or ask for python:package.module:factory"
        )


def request_of(sheet: Network, weights: str, wish: Wish) -> Request:
    """Check what is wanted of a network, given as its sheet; see `make_request`."""
    taps = tuple(sheet.taps) if tuple(wish.taps) == ("all",) else tuple(dict.fromkeys(wish.taps))
    taps = taps or _default_taps(sheet, wish.poolings)
    for tap in taps:
        find_tap(sheet, tap)
    by_name = {view.name: view for view in sheet.recipe.views}
    names = _choose(wish.views, by_name, sheet.default_views, f"a view of {sheet.name}")
    poolings = _choose(wish.poolings, sheet.poolings, sheet.default_pooling, f"a pooling of {sheet.name}")
    taken = [changed(by_name[name], wish, sheet) for name in names]
    views = tuple(one for view in taken for one in spread(view, wish.missing if is_sliced(view) else (), sheet))
    return Request(sheet, weights, replace(sheet.recipe, views=views), taps, poolings, wish.resampling)


def _default_taps(sheet: Network, poolings: Sequence[str]) -> tuple[str, ...]:
    """Those of the sheet; of a set of slices that is to be pooled, those that have slices to pool."""
    with_positions = tuple(name for name, tap in sheet.taps.items() if tap.positions)
    return (with_positions if sheet.takes == SET and poolings else ()) or sheet.default_taps


def make_requests(
    networks: Sequence[str], weights: Sequence[str] = (), *, recipe: Mapping[str, Any] | None = None, **wish: Any
) -> list[Request]:
    """Share out what is wanted over several networks.

    Parameters
    ----------
    networks : sequence of str
        ``NAME`` or ``NAME@WEIGHTS``, so that one network can be asked for with several weights.
    weights : sequence of str
        ``NAME=WEIGHTS`` for the names without "@"; a bare ``WEIGHTS`` where one network is asked for.
    recipe : mapping, optional
        Facts of the networks of one's own among them.
    wish
        Fields of `Wish`. Each network takes those it has, and its default where it has none of them; a tap that
        stands in no sheet is taken for the path of a module, in every network.

    Raises
    ------
    NetworkError
        Something is wanted that none of the networks has, or weights are given for a network not asked for.
    """
    wanted = Wish(**wish)
    pairs = _weights_by_network(networks, weights)
    _check_recipe([name for name, _ in pairs], recipe)
    sheets = [get_network(name, recipe) for name, _ in pairs]
    in_a_sheet = set[str]().union(*(sheet.taps for sheet in sheets))
    has: dict[str, list[set[str]]] = {
        "view": [{view.name for view in sheet.recipe.views} for sheet in sheets],
        "pooling": [set(sheet.poolings) for sheet in sheets],
    }
    for what, asked in (("view", wanted.views), ("pooling", wanted.poolings)):
        everywhere = set[str]().union(*has[what])
        for one in asked:
            if one not in everywhere:
                raise NetworkError(
                    f"a {what} must be one that a network asked for has; {one!r} is of none of "
                    f"{', '.join(sheet.name for sheet in sheets)}; {known(everywhere)}"
                )
    sliced = [is_sliced(sheet.recipe.views[0]) for sheet in sheets]
    if changes_slices(wanted) and not any(sliced):
        raise NetworkError(
            f"a choice of slices needs a network on slices; {', '.join(sheet.name for sheet in sheets)} take the "
            "whole volume; leave it out"
        )
    return [
        request_of(
            sheet,
            spec,
            replace(
                wanted if sliced[at] else replace(wanted, n_slices=None, size="", channels="", missing=()),
                taps=[tap for tap in wanted.taps if tap.partition(":")[0] not in in_a_sheet - set(sheet.taps)],
                views=[view for view in wanted.views if view in has["view"][at]],
                poolings=[pooling for pooling in wanted.poolings if pooling in has["pooling"][at]],
            ),
        )
        for at, (sheet, (_, spec)) in enumerate(zip(sheets, pairs, strict=True))
    ]


def _weights_by_network(networks: Sequence[str], weights: Sequence[str]) -> list[tuple[str, str]]:
    """(name, weights) of what is asked for, once each.

    Examples
    --------
    >>> _weights_by_network(["sfcn.ukb_age", "sfcn.ukb_sex@random:1"], ["sfcn.ukb_age=a.p"])
    [('sfcn.ukb_age', 'a.p'), ('sfcn.ukb_sex', 'random:1')]
    >>> _weights_by_network(["file:/me@there/b.safetensors"], [])
    [('file:/me@there/b.safetensors', '/me@there/b.safetensors')]
    """
    if not networks:
        raise NetworkError(f"at least one network must be asked for; {known(NETWORKS, 'resnet18.imagenet')}")
    pairs = [divide_name(name) for name in networks]
    bare = list(dict.fromkeys(name for name, spec in pairs if not spec))
    specs: dict[str, str] = {}
    for one in weights:
        names = [name for name in bare if one.startswith(f"{name}=") and one != f"{name}="]  # a name may hold "="
        told = one.partition("=")[0]
        if not names and len(bare) == 1 and told not in NETWORKS and not is_pattern(told):
            names, one = bare, f"{bare[0]}={one}"  # a bare path, whatever is in it
        if not names:
            raise NetworkError(
                f"weights must be given as NAME=FILE for a network that is asked for; got {one!r}; "
                f"asked for: {', '.join(networks)}"
            )
        name = max(names, key=len)
        specs[name] = one.removeprefix(f"{name}=")
    return list(dict.fromkeys((name, _full(name, spec or specs.get(name, ""))) for name, spec in pairs))


def _full(network: str, spec: str) -> str:
    """Weights in full: the usual ones where none are asked for, and the file that ``file:`` weights are redrawn from.

    Examples
    --------
    >>> _full("resnet18.imagenet", ""), _full("file:a.safetensors", ""), _full("file:a.safetensors", "reinit:1")
    ('official', 'a.safetensors', 'reinit:1:a.safetensors')
    """
    usual = usual_weights(network)
    redrawn = network.startswith(FILE) and spec.startswith("reinit:") and spec.count(":") == 1
    return f"{spec}:{usual}" if redrawn else spec or usual


def divide_name(name: str) -> tuple[str, str]:
    """Network and weights of ``NAME@WEIGHTS``; no weights are "".

    Examples
    --------
    >>> divide_name("timm:vgg11@random:0"), divide_name("file:a@b.safetensors")
    (('timm:vgg11', 'random:0'), ('file:a@b.safetensors', ''))
    >>> divide_name("file:a@b.safetensors@reinit:1")
    ('file:a@b.safetensors', 'reinit:1')
    """
    of_file = _FILE_AT.fullmatch(name)
    if of_file:
        return of_file[1], of_file[2] or ""
    network, _, spec = name.partition("@")
    return network, spec


def _choose(wanted: Sequence[str], available: Iterable[str], default: tuple[str, ...], what: str) -> tuple[str, ...]:
    there = list(available)
    for name in wanted:
        if name not in there:
            raise NetworkError(f"{what} must be one it has; got {name!r}; {known(there)}")
    return tuple(dict.fromkeys(wanted)) or default


def plan_sets(
    request: Request, weights: Mapping[str, str], tag: str, versions: str, precision: str = "float32"
) -> tuple[PlannedSet, ...]:
    """The feature sets a request makes, with their provenance.

    Parameters
    ----------
    weights : mapping
        The fields weights and weights_sha256 of the provenance.
    tag : str
        Of the weights, "" for official ones.
    versions : str
        JSON of library versions.
    precision : str
        Arithmetic of the network, a word of `featx.extraction.precision`.
    """
    network = label(request.sheet.name, tag)
    planned = []
    for view in request.recipe.views:
        for tap in request.taps:
            recipe = _recipe_of(request, view, tap)
            for pooling in poolings_of(request.sheet, tap, request.poolings):
                provenance = {
                    "network": request.sheet.name,
                    **weights,
                    "recipe": recipe,
                    "recipe_digest": digest(recipe),
                    "view": view.name,
                    "tap": tap,
                    "pooling": pooling,
                    "precision": precision,
                    "versions": versions,
                }
                planned.append(PlannedSet(f"{network}/{view.name}/{tap}/{pooling}", view, tap, pooling, provenance))
    return tuple(planned)


def _recipe_of(request: Request, view: View, tap: str) -> str:
    """The recipe of a set; of a network that is not of the table with how it is built and read, for that can change.

    Of a network of one's own that is the code of its factory, too.
    """
    sheet, recipe = request.sheet, describe(request.recipe, view, resampling=request.resampling)
    of_table = NETWORKS.get(sheet.name)
    if of_table is not None and all(getattr(sheet, one) == getattr(of_table, one) for one in (*_MADE, "taps")):
        return recipe
    own = {one: getattr(sheet, one) for one in _MADE}
    own |= {"arguments": dict(sheet.arguments), "module": find_tap(sheet, tap).module}
    if sheet.name.startswith(OWN):
        own["code"] = code_sha256(str(sheet.arguments["factory"]))
    return json.dumps({**json.loads(recipe), "own": own}, sort_keys=True)


def label(network: str, tag: str) -> str:
    """Network with the tag of its weights: the first part of a feature set's name.

    Examples
    --------
    >>> label("sfcn.ukb_age", ""), label("sfcn.ukb_age", "random-0")
    ('sfcn.ukb_age', 'sfcn.ukb_age@random-0')
    """
    return f"{network}@{tag}" if tag else network


def still_to_do(
    images: Sequence[Image],
    planned: Sequence[PlannedSet],
    done: Mapping[str, tuple[str, Mapping[str, tuple[str, str]]]],
) -> list[Image]:
    """Images that lack a row in a planned set.

    Parameters
    ----------
    done : mapping of str to (str, mapping of str to (str, str))
        Key, and person of each image, of each set that is on disk already, as `featx.store.read_ids` gives them.

    Raises
    ------
    StoreError
        A set of that name is on disk, but was made another way, or an image's id stands for another person there.
    """
    ids: set[str] | None = None
    for one in planned:
        key, here = done.get(one.name, ("", {}))
        if here and key != feature_key(one.provenance):
            raise StoreError(
                f"a feature set must be made one way; {one.name!r} is in the output already with another recipe, "
                "precision, weights or code; write to another file, or delete that one"
            )
        for image in images:
            if here.get(image.image_id, person := (image.participant_id, image.session_id)) != person:
                raise StoreError(
                    f"an image's id must stand for one participant and session; {image.image_id!r} is {person} "
                    f"now and {here[image.image_id]} in the output; write to another file, or index with --id-pattern"
                )
        ids = set(here) if ids is None else ids & set(here)
    return [image for image in images if image.image_id not in (ids or set())]
