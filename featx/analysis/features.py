"""Which feature sets are used, and how they are put side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from featx.errors import CohortError, StoreError, known
from featx.featureset import FeatureSet

TABLE = "table"  # in place of a network's name, in the provenance of a table's columns
MISSING = ("refuse", "drop", "keep")


@dataclass(frozen=True)
class SetFacts:
    """What must be told of a feature set to know it again.

    Attributes
    ----------
    name, key : str
        As in the feature file.
    n_features : int
    provenance : mapping of str to str
        The fields of `featx.schema.PROVENANCE`.
    """

    name: str
    key: str
    n_features: int
    provenance: Mapping[str, str]


@dataclass(frozen=True)
class Images:
    """Ids of images, one row each.

    Attributes
    ----------
    image_id, participant_id, session_id : ndarray of shape (n_images,), object (str)
        Sorted by image_id; session_id is "" where there is none.
    """

    image_id: NDArray[np.object_]
    participant_id: NDArray[np.object_]
    session_id: NDArray[np.object_]

    def take(self, rows: NDArray[np.intp]) -> Images:
        """The same ids for some rows only."""
        return Images(self.image_id[rows], self.participant_id[rows], self.session_id[rows])


@dataclass(frozen=True)
class Features:
    """Feature sets side by side, over the images that are in all of them.

    Attributes
    ----------
    X : ndarray of shape (n_images, n_features)
        float32 where a network is among the sets: a table's columns are then rounded to it, by less than 1e-7 of
        themselves. float64 where all sets are tables.
    images : Images
        Ids of the rows.
    sets : tuple of SetFacts
        In the order of the columns.
    dropped : tuple of str
        Ids of images that are in some of the sets only.
    incomplete : tuple of str
        Ids of images that are in all sets, with an empty cell in a table: left out, or there with NaN.
    """

    X: NDArray[np.floating]
    images: Images
    sets: tuple[SetFacts, ...]
    dropped: tuple[str, ...]
    incomplete: tuple[str, ...] = ()


def some(names: Iterable[str], most: int = 20) -> str:
    """The first of many names, quoted, and how many more there are.

    Examples
    --------
    >>> some(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    names = list(names)
    text = ", ".join(repr(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


def select_features(
    available: Sequence[str], specs: Sequence[str] = (), *, sources: Mapping[str, str] | None = None
) -> dict[str, tuple[str, ...]]:
    """Which feature sets are put side by side, under which name.

    Parameters
    ----------
    available : sequence of str
        Names of the sets in the feature files, and of tables of numbers.
    specs : sequence of str
        Each is 'each' (every set in turn), 'all' (all sets side by side), or names joined by '+': of a set, of
        the beginning of its name up to a '/' (all the sets of a network), or with the wildcards ``*?[]``. Sets of
        views that miss slices (``network/axial~drop4/...``) are never among those of the network: together they are
        ``network~drop4``, and a wildcard finds them only if it holds a '~'. Without any: one combination per
        network[@weights][~missing].
    sources : mapping of str to str, optional
        Further names of sets, each with the available one that it means: those of stored slices, say.

    Returns
    -------
    dict of str to tuple of str
        Name of the combination (its spec; the set's own name for 'each') to its sets in column order. Of two
        combinations of the same sets, the first one stays.

    Raises
    ------
    CohortError
        A spec names nothing, or there are no sets.

    Examples
    --------
    >>> sets = ["a.x/axial/t/mean", "a.x/coronal/t/mean", "b.y/volume/t/mean"]
    >>> select_features(sets)
    {'a.x': ('a.x/axial/t/mean', 'a.x/coronal/t/mean'), 'b.y': ('b.y/volume/t/mean',)}
    >>> select_features([*sets, "volumes"], ["volumes+b.y"])
    {'volumes+b.y': ('volumes', 'b.y/volume/t/mean')}
    >>> select_features(sets, ["b.y+*/axial/*"])
    {'b.y+*/axial/*': ('b.y/volume/t/mean', 'a.x/axial/t/mean')}
    >>> select_features(["a.x/axial/t/mean", "a.x/axial~drop4/t/mean"])
    {'a.x': ('a.x/axial/t/mean',), 'a.x~drop4': ('a.x/axial~drop4/t/mean',)}
    >>> select_features(sets, ["*/slices"], sources={"a.x/axial/t/slices": "a.x/axial/t/mean"})
    {'*/slices': ('a.x/axial/t/mean',)}
    """
    if not available:
        raise CohortError("a feature file must hold a feature set; this one holds none; run `featx extract` again")
    ordered = sorted(available)
    also = sources or {}
    chosen: dict[str, tuple[str, ...]] = {}
    for spec in specs or sorted(set(map(group_of, ordered))):
        found = {name: (name,) for name in ordered} if spec == "each" else {spec: _resolve(ordered, spec, also)}
        for name, sets in found.items():
            if sets not in chosen.values():
                chosen[name] = sets
    return chosen


def _resolve(available: Sequence[str], spec: str, sources: Mapping[str, str]) -> tuple[str, ...]:
    if spec == "all":
        return tuple(available)
    found: dict[str, None] = {}  # a set that keeps its order
    for part in spec.split("+"):
        named = {name for name in [*available, *sources] if _matches(name, part)}
        matches = [one for one in available if one in named | {sources[name] for name in named & set(sources)}]
        if not matches:
            raise CohortError(
                f"features must name sets that were given; {part!r} matches none; {known(available)}; "
                "or say 'each' or 'all'"
            )
        found.update(dict.fromkeys(matches))
    return tuple(found)


def _matches(name: str, part: str) -> bool:
    of_network = "/" not in part and "~" in name
    begins = group_of(name) == part if of_network else name.startswith(f"{part}/")
    return name == part or begins or (fnmatchcase(name, part) and ("~" in part or "~" not in name))


def group_of(name: str) -> str:
    """The network of a feature set with its weights, and with what slices its view misses; a table's name itself.

    Examples
    --------
    >>> group_of("a.x@random-0/axial~drop4/t/mean"), group_of("a.x/axial/t/mean"), group_of("volumes")
    ('a.x@random-0~drop4', 'a.x', 'volumes')
    """
    network, _, rest = name.partition("/")
    view, mark, missing = rest.partition("/")[0].partition("~")
    del view
    return f"{network}{mark}{missing}"


def combine(sets: Sequence[FeatureSet], *, missing: str = "refuse") -> Features:
    """Put feature sets side by side, over the images that are in all of them; rows meet by id, never by position.

    Parameters
    ----------
    sets : sequence of FeatureSet
    missing : str
        What becomes of images with an empty cell in a table: "refuse" them with an error, "drop" them, or "keep"
        them with NaN, for heads that take it. NaN in a network's features is always an error.

    Raises
    ------
    CohortError
        No image is in all sets, or none is complete; a column of a table is empty for all of them.
    StoreError
        A feature is NaN or infinite, an image appears twice, or two sets disagree whose image it is.
    """
    if missing not in MISSING:
        raise ValueError(f"missing must be one of {', '.join(MISSING)}; got {missing!r}")
    parts, images, dropped = _align(sets)
    dtype = np.float64 if all(is_table(one) for one in sets) else np.float32
    X = np.concatenate([part.astype(dtype, copy=False) for part in parts], axis=1)
    complete = _complete_rows(sets, parts)
    if not complete.all() and (missing == "refuse" or (missing == "drop" and not complete.any())):
        raise _not_complete(sets, images, complete)
    incomplete = tuple(map(str, images.image_id[~complete]))
    if missing == "drop" and incomplete:
        X, images = X[complete], images.take(np.flatnonzero(complete))
    facts = tuple(SetFacts(one.name, one.key, one.X.shape[1], dict(one.provenance)) for one in sets)
    return Features(X, images, facts, dropped, incomplete)


def _align(sets: Sequence[FeatureSet]) -> tuple[list[NDArray[np.floating]], Images, tuple[str, ...]]:
    """Rows of every set for the images that are in all, these images, and ids of the others."""
    index = [_rows_by_image(one) for one in sets]
    everywhere = sorted(set.intersection(*(set(rows) for rows in index)))
    anywhere = set().union(*index)
    if not everywhere:
        raise CohortError(
            f"feature sets must share images to be used together; {some([one.name for one in sets])} share none; "
            "use them in turn, or extract both from the same images"
        )
    rows = [np.array([of[image] for image in everywhere], dtype=np.intp) for of in index]
    first = Images(sets[0].image_id, sets[0].participant_id, sets[0].session_id).take(rows[0])
    for one, at in zip(sets, rows, strict=True):
        check_same_people(one.name, Images(one.image_id, one.participant_id, one.session_id).take(at), first)
    parts = [one.X[at] for one, at in zip(sets, rows, strict=True)]
    return parts, first, tuple(sorted(anywhere - set(everywhere)))


def _complete_rows(sets: Sequence[FeatureSet], parts: Sequence[NDArray[np.floating]]) -> NDArray[np.bool_]:
    """Rows without an empty cell; a column that is empty in all of them is refused."""
    complete = np.ones(len(parts[0]), dtype=bool)
    for one, X in zip(sets, parts, strict=True):
        empty = np.isnan(X) if is_table(one) else np.zeros((len(X), 0), dtype=bool)
        nowhere = np.flatnonzero(empty.all(axis=0))
        if len(nowhere):
            raise CohortError(
                f"a column of features must have values; {table_columns(one.provenance)[nowhere[0]]!r} of "
                f"{one.name!r} is empty for all {len(X)} images; leave that column out"
            )
        complete &= ~empty.any(axis=1)
    return complete


def _not_complete(sets: Sequence[FeatureSet], images: Images, complete: NDArray[np.bool_]) -> CohortError:
    names = some([one.name for one in sets if is_table(one)])
    who = f"image {str(images.image_id[(~complete).argmax()])!r} has" if complete.any() else "every image has"
    return CohortError(
        f"features must be complete, but for boosting; {who} an empty cell, in {names}; fill it in, or leave its "
        "column out"
    )


def is_table(one: FeatureSet) -> bool:
    """Whether a feature set is a table's columns, not a network's answer."""
    return one.provenance["network"] == TABLE


def table_columns(provenance: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the columns of a feature set that is a table; none for a network's.

    Examples
    --------
    >>> table_columns({"network": "table", "recipe": '["hippocampus", "ventricles"]'})
    ('hippocampus', 'ventricles')
    """
    return tuple(json.loads(provenance["recipe"])) if provenance["network"] == TABLE else ()


def incomplete_images(sets: Iterable[FeatureSet]) -> set[str]:
    """Ids of images with an empty cell in one of the sets.

    Examples
    --------
    >>> incomplete_images([])
    set()
    """
    return {str(image) for one in sets for image in one.image_id[np.isnan(one.X).any(axis=1)]}


def _rows_by_image(one: FeatureSet) -> dict[str, int]:
    rows = {str(image): row for row, image in enumerate(one.image_id)}
    if len(rows) != len(one.image_id):
        raise StoreError(
            f"an image must have one row in a feature set; {one.name!r} has {len(one.image_id)} rows for "
            f"{len(rows)} images; extract again"
        )
    bad = np.isinf(one.X) if is_table(one) else ~np.isfinite(one.X)
    if bad.any():
        row = int(np.flatnonzero(bad.any(axis=1))[0])
        raise StoreError(
            f"features must be finite; {one.name!r} is not, at image {one.image_id[row]!r}; extract again"
        )
    return rows


def check_same_people(name: str, images: Images, first: Images) -> None:
    """Refuse feature set `name` where it gives an image another participant or session than the first set does.

    Raises
    ------
    StoreError
    """
    for what, other, own in (
        ("participant", images.participant_id, first.participant_id),
        ("session", images.session_id, first.session_id),
    ):
        differs = np.flatnonzero(other != own)
        if len(differs):
            row = differs[0]
            raise StoreError(
                f"an image must be of one {what}; {str(first.image_id[row])!r} is of {str(own[row])!r} in one "
                f"feature set and of {str(other[row])!r} in {name!r}; index and extract again"
            )
