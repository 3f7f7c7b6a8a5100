"""What is wanted of which network, and what is still to do. Decisions only: no image, no GPU, no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from featx.errors import NetworkError, StoreError, known
from featx.featureset import digest, feature_key
from featx.images.index import Image
from featx.networks import NETWORKS, Network, Recipe, View, get_network
from featx.networks.recipe import describe


@dataclass(frozen=True)
class Request:
    """What is wanted of one network with one set of weights. Made by `make_request`, which checks it.

    Attributes
    ----------
    sheet : Network
    weights : str
        "official", "random:SEED" or a path.
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


def make_request(
    network: str,
    *,
    weights: str = "official",
    taps: Sequence[str] = (),
    views: Sequence[str] = (),
    poolings: Sequence[str] = (),
    n_slices: int | None = None,
    resampling: bool = False,
) -> Request:
    """Check what is wanted of a network against its sheet. Nothing given means the sheet's default.

    Parameters
    ----------
    network : str
        A name of the table.
    taps, views, poolings : sequence of str
        ("all",) for every tap of the sheet.
    n_slices : int, optional
        Slices per view, over the same span, instead of the sheet's number.

    Raises
    ------
    NetworkError
        An unknown network, tap, view or pooling, or slices of a network that takes whole volumes.
    """
    sheet = get_network(network)
    if tuple(taps) == ("all",):
        taps = tuple(sheet.taps)
    chosen_taps = _choose(taps, sheet.taps, sheet.default_taps, f"a tap of {network}")
    by_name = {view.name: view for view in sheet.recipe.views}
    chosen_views = tuple(
        by_name[name] for name in _choose(views, by_name, sheet.default_views, f"a view of {network}")
    )
    chosen_poolings = _choose(poolings, sheet.poolings, sheet.default_pooling, f"a pooling of {network}")
    if n_slices is not None:
        chosen_views = tuple(_with_slices(view, n_slices, network) for view in chosen_views)
    recipe = replace(sheet.recipe, views=chosen_views)
    return Request(sheet, weights, recipe, chosen_taps, chosen_poolings, resampling)


def make_requests(
    networks: Sequence[str],
    weights: Sequence[str] = (),
    *,
    taps: Sequence[str] = (),
    views: Sequence[str] = (),
    poolings: Sequence[str] = (),
    n_slices: int | None = None,
    resampling: bool = False,
) -> list[Request]:
    """Share out what is wanted over several networks.

    Parameters
    ----------
    networks : sequence of str
        ``NAME`` or ``NAME@WEIGHTS``, so that one network can be asked for with several weights.
    weights : sequence of str
        ``NAME=WEIGHTS`` for the names without "@"; a bare ``WEIGHTS`` where one network is asked for.
    taps, views, poolings, n_slices
        As in `make_request`; each network takes those it has, and its default where it has none of them.

    Raises
    ------
    NetworkError
        Something is wanted that none of the networks has, or weights are given for a network not asked for.
    """
    wanted = _weights_by_network(networks, weights)
    sheets = [get_network(name) for name, _ in wanted]
    has: dict[str, list[set[str]]] = {
        "tap": [{*sheet.taps, "all"} for sheet in sheets],
        "view": [{view.name for view in sheet.recipe.views} for sheet in sheets],
        "pooling": [set(sheet.poolings) for sheet in sheets],
    }
    for what, asked in (("tap", taps), ("view", views), ("pooling", poolings)):
        everywhere = set[str]().union(*has[what])
        for one in asked:
            if one not in everywhere:
                raise NetworkError(
                    f"a {what} must be one that a network asked for has; {one!r} is of none of "
                    f"{', '.join(sheet.name for sheet in sheets)}; {known(everywhere)}"
                )
    if n_slices is not None and not any(_sliced(sheet.recipe) for sheet in sheets):
        raise NetworkError(
            f"a number of slices needs a network on slices; {', '.join(sheet.name for sheet in sheets)} take the "
            "whole volume; leave it out"
        )
    return [
        make_request(
            name,
            weights=spec,
            taps=[tap for tap in taps if tap in has["tap"][at]],
            views=[view for view in views if view in has["view"][at]],
            poolings=[pooling for pooling in poolings if pooling in has["pooling"][at]],
            n_slices=n_slices if _sliced(sheets[at].recipe) else None,
            resampling=resampling,
        )
        for at, (name, spec) in enumerate(wanted)
    ]


def _sliced(recipe: Recipe) -> bool:
    return any(step.name == "slices" for view in recipe.views for step in view.steps)


def _weights_by_network(networks: Sequence[str], weights: Sequence[str]) -> list[tuple[str, str]]:
    """(name, weights) of what is asked for, once each.

    Examples
    --------
    >>> _weights_by_network(["sfcn.ukb_age", "sfcn.ukb_sex@random:1"], ["sfcn.ukb_age=a.p"])
    [('sfcn.ukb_age', 'a.p'), ('sfcn.ukb_sex', 'random:1')]
    """
    if not networks:
        raise NetworkError(f"at least one network must be asked for; {known(NETWORKS)}")
    pairs = [name.partition("@")[::2] for name in networks]
    bare = list(dict.fromkeys(name for name, spec in pairs if not spec))
    specs: dict[str, str] = {}
    for one in weights:
        name, _, spec = one.partition("=")
        if name not in NETWORKS and len(bare) == 1:  # a bare path, whatever is in it
            name, spec = bare[0], one
        if name not in bare:
            raise NetworkError(
                f"weights must be given as NAME=FILE for a network that is asked for; got {one!r}; "
                f"asked for: {', '.join(networks)}"
            )
        specs[name] = spec
    return list(dict.fromkeys((name, spec or specs.get(name, "official")) for name, spec in pairs))


def _choose(wanted: Sequence[str], available: Iterable[str], default: tuple[str, ...], what: str) -> tuple[str, ...]:
    there = list(available)
    for name in wanted:
        if name not in there:
            raise NetworkError(f"{what} must be one it has; got {name!r}; {known(there)}")
    return tuple(dict.fromkeys(wanted)) or default


def _with_slices(view: View, n_slices: int, network: str) -> View:
    if not _sliced(Recipe(get_network(network).recipe.grid, (), (view,))):
        raise NetworkError(
            f"a number of slices needs a network on slices; {network} takes the whole volume; leave it out"
        )
    if n_slices < 1:
        raise NetworkError(f"a number of slices must be at least 1; got {n_slices} for {network}")
    steps = tuple(
        replace(step, settings={**step.settings, "count": n_slices}) if step.name == "slices" else step
        for step in view.steps
    )
    return replace(view, steps=steps)


def plan_sets(request: Request, weights: Mapping[str, str], tag: str, versions: str) -> tuple[PlannedSet, ...]:
    """The feature sets a request makes, with their provenance.

    Parameters
    ----------
    weights : mapping
        The fields weights and weights_sha256 of the provenance.
    tag : str
        Of the weights, "" for official ones.
    versions : str
        JSON of library versions.
    """
    network = label(request.sheet.name, tag)
    planned = []
    for view in request.recipe.views:
        recipe = describe(request.recipe, view, resampling=request.resampling)
        for tap in request.taps:
            for pooling in request.poolings:
                provenance = {
                    "network": request.sheet.name,
                    **weights,
                    "recipe": recipe,
                    "recipe_digest": digest(recipe),
                    "view": view.name,
                    "tap": tap,
                    "pooling": pooling,
                    "precision": "float32",
                    "versions": versions,
                }
                planned.append(PlannedSet(f"{network}/{view.name}/{tap}/{pooling}", view, tap, pooling, provenance))
    return tuple(planned)


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
                "precision or weights; write to another file, or delete that one"
            )
        for image in images:
            if here.get(image.image_id, person := (image.participant_id, image.session_id)) != person:
                raise StoreError(
                    f"an image's id must stand for one participant and session; {image.image_id!r} is {person} "
                    f"now and {here[image.image_id]} in the output; write to another file, or index with --id-pattern"
                )
        ids = set(here) if ids is None else ids & set(here)
    return [image for image in images if image.image_id not in (ids or set())]
