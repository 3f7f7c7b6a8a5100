"""Feature files, tables of numbers and what is in memory already become the feature sets that are used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from featx import store
from featx.analysis.aggregate import aggregate, aggregated_name, sources_of
from featx.analysis.cohort.tabular import features_from_table
from featx.analysis.features import Images, select_features
from featx.analysis.inference.cautions import Caution, accepted_misfits
from featx.api.frames import IN_MEMORY, Table, called, read_numbers, sha256
from featx.api.words import many, path_of
from featx.errors import AnalysisError, StoreError
from featx.featureset import FeatureSet, digest

Features = Path | str | Sequence[Path | str] | Mapping[str, FeatureSet | Table]
Holder = Mapping[str, Path | FeatureSet]  # by the name of a feature set


@dataclass(frozen=True)
class Gathered:
    """What is used of all that was given.

    Attributes
    ----------
    sets : mapping of str to FeatureSet
    combinations : mapping of str to tuple of str
        As in `featx.analysis.request.Request`.
    sources : tuple of mapping
        The files that the sets are from, for run.json.
    accepted : tuple of Caution
        Misfits of their images that were let through.
    """

    sets: Mapping[str, FeatureSet]
    combinations: Mapping[str, tuple[str, ...]]
    sources: tuple[Mapping[str, str], ...]
    accepted: tuple[Caution, ...]


def divided(features: Features) -> tuple[list[Path], dict[str, FeatureSet], dict[str, Table]]:
    """Feature files, feature sets in memory under their names, and tables of numbers.

    Raises
    ------
    AnalysisError
        Under a name is something else, or what is given has no names.
    """
    if not isinstance(features, Mapping):
        wanted = "feature files, or tables and feature sets by name, such as {'mine': table}"
        return [path_of(one, "features", wanted) for one in many(features)], {}, {}
    unnamed = [name for name in features if not isinstance(name, str)]
    if unnamed:
        raise AnalysisError(f"a name of features must be a text; got {unnamed[0]!r}; call it, say, 'volumes'")
    sets = {name: replace(one, name=name) for name, one in features.items() if isinstance(one, FeatureSet)}
    tables = {name: one for name, one in features.items() if isinstance(one, Path | str | pd.DataFrame)}
    strange = [name for name in features if name not in sets and name not in tables]
    if strange:
        raise AnalysisError(
            "features that are given by name must be tables of numbers or feature sets; "
            f"{strange[0]!r} is {type(features[strange[0]]).__name__}; make a DataFrame of it, with ids as index"
        )
    return [], sets, tables


def gather(
    features: Features, tables: Mapping[str, Table], *, use: Sequence[str] = (), how: str = "mean"
) -> Gathered:
    """Read the feature sets that are used.

    Parameters
    ----------
    features : Path, str, sequence of them, or mapping of str to FeatureSet, DataFrame, Path or str
    tables : mapping of str to Path, str or DataFrame
        Tables of numbers by the name that their set gets.
    use : sequence of str
        What is put side by side; see `featx.analysis.features.select_features`.
    how : str
        How slices that are kept apart become one row.

    Raises
    ------
    AnalysisError, CohortError, StoreError
        Nothing is given, a file cannot be used, a name is of two sets, or nothing is as `use` says.
    """
    files, here, more = divided(features)
    tables = {**tables, **more}
    if not files and not here and not tables:
        raise AnalysisError(
            "an analysis must have features; neither feature files nor tables of numbers are given; give, say, "
            "features.h5 or a table"
        )
    holder: Holder = {**holders(files), **here}
    for name in tables:
        _check_own_name(name, holder)
    made = {name: aggregated_name(name, how) for name in holder}
    source = sources_of(holder, how)
    combinations = select_features([*source, *tables], use, sources=made)
    names = list(dict.fromkeys(name for sets in combinations.values() for name in sets))
    sets = {name: read_as(name, source[name], holder) for name in names if name in source}
    images = first_images(list(sets.values()))
    sets |= {name: read_table_set(name, tables[name], images) for name in names if name in tables}
    held = dict.fromkeys(holder[source[name]] for name in names if name in source and source[name] not in here)
    sources = [source_facts("features", "", path) for path in held if isinstance(path, Path)]
    sources += [_in_memory(sets[name]) for name in names if name in source and source[name] in here]
    sources += [source_facts("table", name, tables[name]) for name in names if name in tables]
    return Gathered(sets, combinations, tuple(sources), _accepted(files, sets))


def source_facts(role: str, name: str, table: Table) -> dict[str, str]:
    """What was read, for run.json."""
    return {"role": role, "name": name, "file": called(table), "sha256": sha256(table)}


def _in_memory(one: FeatureSet) -> dict[str, str]:
    content = digest(
        [one.key, one.X.shape, list(map(str, one.image_id)), hashlib.sha256(one.X.tobytes()).hexdigest()]
    )
    return {"role": "features", "name": one.name, "file": IN_MEMORY, "sha256": content}


def first_images(sets: Sequence[FeatureSet]) -> Images | None:
    """The images of the first set, by which tables of people get a row per image; None where there is none."""
    return Images(sets[0].image_id, sets[0].participant_id, sets[0].session_id) if sets else None


def images_of(sets: Iterable[FeatureSet]) -> Images:
    """All images of feature sets, each once."""
    found = {
        str(image): (image, person, session)
        for one in sets
        for image, person, session in zip(one.image_id, one.participant_id, one.session_id, strict=True)
    }
    image, person, session = (np.array(column, dtype=object) for column in zip(*found.values(), strict=True))
    return Images(image, person, session)


def read_as(name: str, source: str, holder: Holder) -> FeatureSet:
    """A feature set under a name: the stored one, or what is made of stored slices, which are then let go."""
    held = holder[source]
    one = held if isinstance(held, FeatureSet) else store.read_set(held, source)
    return one if source == name else aggregate(one, name.rpartition("/")[2])


def read_table_set(name: str, table: Table, images: Images | None) -> FeatureSet:
    """A table of numbers as a feature set, one row per image where images are known."""
    return features_from_table(name, read_numbers(table), images=images)


def holders(files: Sequence[Path]) -> dict[str, Path | FeatureSet]:
    """Which file holds which feature set.

    Raises
    ------
    StoreError
        Two hold one.
    """
    holder: dict[str, Path | FeatureSet] = {}
    for path in files:
        for name in store.list_sets(path):
            if name in holder:
                raise StoreError(
                    f"a feature set must be in one file; {name!r} is in {holder[name]} and {path}; give one of them"
                )
            holder[name] = path
    return holder


def _check_own_name(name: str, holder: Holder) -> None:
    taken = next((one for one in holder if one.split("/")[0] == name), None)
    if taken is not None:
        raise AnalysisError(
            f"a table of features must have a name of its own; {name!r} is also the beginning of {taken!r}; "
            "call it, say, volumes"
        )


def failures_of(features: Features) -> list[dict[str, str]]:
    """Rows of the failures of feature files."""
    return [row for path in divided(features)[0] for row in store.read_failures(path)]


def _accepted(files: Sequence[Path], sets: Mapping[str, FeatureSet]) -> tuple[Caution, ...]:
    labels = {name.split("/")[0] for name in sets}
    rows = [row for path in files for row in store.read_accepted(path) if row["network"] in labels]
    return tuple(accepted_misfits(rows))
