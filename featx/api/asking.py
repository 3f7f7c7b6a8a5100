"""What is asked of an analysis becomes a request: tables are read, words are checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.cohort.condition import where
from featx.analysis.cohort.covariates import parse_confound
from featx.analysis.cohort.people import IDS
from featx.analysis.cohort.phenotypes import Phenotypes, add_columns
from featx.analysis.cohort.ukbiobank import UKB, cautions_for, cautions_of_sessions, parse_column
from featx.analysis.crossval import ADDED, BOTH, FEATURES, IGNORED, ONLY, TARGET
from featx.analysis.folds.given import TEST, TRAIN, read_splits, splits_from_labels
from featx.analysis.folds.splits import Folding
from featx.analysis.heads import HeadOptions
from featx.analysis.inference.cautions import Caution
from featx.analysis.request import Adjusting, Columns, Request
from featx.api.behind import cautions_of_own, own_networks, training_of
from featx.api.frames import Table, called, read_people, sha256
from featx.api.frames import where as where_is
from featx.api.gathering import Features, gather, images_of, source_facts
from featx.api.words import Words, many, told
from featx.errors import AnalysisError, known
from featx.featureset import FeatureSet

MOST_STRATIFIED = 20
GRID = "'sklearn:svm.SVR={\"C\": [0.1, 1, 10]}'"


@dataclass(frozen=True)
class Asked:
    """What is asked of an analysis besides features and people; names and meanings as the options of `featx fit`.

    Attributes
    ----------
    table : mapping of str to Path, str or DataFrame, or sequence of str
        Tables of numbers by name, or as NAME=FILE. Likewise `kind` and `grid`.
    also : sequence of Path, str or DataFrame
    splits : Path or DataFrame, optional
    """

    target: Sequence[str]
    targets: str
    head: Sequence[str]
    use: Sequence[str]
    aggregate: str
    table: Words
    also: Sequence[Table]
    kind: Words
    where: str
    site: str
    group: str
    age: str
    scheme: str
    folds: int
    inner_folds: int
    repeats: int
    stratify: str
    by_site: bool
    splits: Table | None
    split_column: str
    test_where: str
    confound: Sequence[str]
    remove: Sequence[str]
    harmonise: str
    preserve: Sequence[str]
    pca: float | None
    calibrate: str
    class_weight: str
    grid: Words
    device: str
    seed: int
    bootstrap: int
    jobs: int


def asked_of(values: Mapping[str, Any]) -> Asked:
    """What is asked, among the options of a verb or the arguments of a function; one stands for a list of one.

    Raises
    ------
    AnalysisError
        What must be a whole number is none.
    """
    several = ("target", "head", "use", "also", "confound", "remove", "preserve")
    names = [one.name for one in fields(Asked)]
    chosen: dict[str, Any] = {name: many(values[name]) if name in several else values[name] for name in names}
    for name in ("folds", "inner_folds", "repeats", "seed", "bootstrap", "jobs"):
        if not isinstance(chosen[name], Integral):
            raise AnalysisError(f"{name} must be a whole number; got {chosen[name]!r}; write, say, {name}=2")
        chosen[name] = int(chosen[name])  # numpy's would not go into run.json
    return Asked(**chosen)


def make_request(wish: Asked, features: Features, people: Table, *, home: Path, **more: Any) -> Request:
    """Read what is asked for, and put it together.

    Parameters
    ----------
    wish : Asked
    features : Path, str, sequence of them, or mapping of str to FeatureSet or DataFrame
    people : Path, str or DataFrame
        The phenotype table.
    home : Path
        featx's own folder.
    more
        Further fields of `featx.analysis.request.Request`.

    Raises
    ------
    AnalysisError, CohortError, StoreError
        A file cannot be used, or a word is not known.
    """
    tables = told(wish.table, "--table", "volumes=volumes.tsv")
    there = gather(features, tables, use=wish.use, how=wish.aggregate)
    return request_of(
        wish,
        people,
        there.sets,
        there.combinations,
        home=home,
        sources=there.sources,
        accepted=there.accepted,
        **more,
    )


def request_of(
    wish: Asked,
    people: Table,
    sets: Mapping[str, FeatureSet],
    combinations: Mapping[str, Sequence[str]],
    *,
    home: Path,
    sources: Sequence[Mapping[str, str]],
    accepted: tuple[Caution, ...] = (),
    **more: Any,
) -> Request:
    """Put together what is asked about feature sets that are there, and the phenotype table.

    Parameters
    ----------
    wish : Asked
    people : Path, str or DataFrame
        The phenotype table.
    sets, combinations, sources
        As in `featx.analysis.request.Request`.
    home : Path
        featx's own folder.
    accepted : tuple of Caution
        What is known of the images.
    more
        Further fields of the request.
    """
    phenotypes, of_images = _people(wish, people)
    for source, table in of_images:
        phenotypes = add_columns(phenotypes, table, source, images_of(sets.values()))
    targets = _targets(wish, phenotypes)
    given = _given(wish, phenotypes)
    own = own_networks(sets, home)
    return Request(
        sets=sets,
        combinations=combinations,
        phenotypes=phenotypes.table,
        targets=targets,
        heads=wish.head,
        kinds=told(wish.kind, "--kind", "income=multiclass"),
        expected=phenotypes.kinds,
        levels=phenotypes.levels,
        units=phenotypes.units,
        folding=_folding(wish, given),
        columns=Columns(wish.site, wish.group, wish.age, _stratify(wish, len(targets)), wish.where),
        adjusting=_adjusting(wish),
        options=HeadOptions(device=_device(wish.device), class_weight=_class_weight(wish.class_weight)),
        grids=_grids(wish),
        given_splits=given,
        n_jobs=wish.jobs,
        phenotypes_name=called(people),
        phenotypes_sha256=sha256(people),
        sources=(*sources, *(source_facts("also", "", table) for table in wish.also)),
        cautions=_cautions(phenotypes, targets, sets)
        + cautions_of_own(sets, own, phenotypes.table, wish.where)
        + accepted,
        training=training_of(sets, own),
        is_biobank=phenotypes.is_ukb,
        aggregate=wish.aggregate,
        **more,
    )


def _people(wish: Asked, table: Table) -> tuple[Phenotypes, list[tuple[str, Phenotypes]]]:
    """The phenotype table with further columns of people, and tables with a row per image, each with its source."""
    phenotypes = read_people(table)
    also = [(where_is(one), read_people(one)) for one in wish.also]
    for source, one in also:
        if schema.IMAGE_ID not in one.table:
            phenotypes = add_columns(phenotypes, one, source)
    return phenotypes, [(source, one) for source, one in also if schema.IMAGE_ID in one.table]


def _folding(wish: Asked, given: pd.DataFrame | None) -> Folding:
    """How folds are made, or how many repeats the given ones are of."""
    n_repeats = wish.repeats if given is None else int(given["repeat"].max()) + 1
    if given is not None and (wish.repeats not in (1, n_repeats) or wish.scheme != "kfold"):
        raise AnalysisError(
            f"folds that are given must not be made as well; they are of {n_repeats} repeats, and --repeats "
            f"{wish.repeats} --scheme {wish.scheme} was asked for; leave these out"
        )
    return Folding(
        scheme="given" if given is not None else wish.scheme,
        n_splits=wish.folds,
        n_inner=wish.inner_folds,
        n_repeats=n_repeats,
        by_site=wish.by_site,
        random_state=wish.seed,
    )


def _stratify(wish: Asked, n_targets: int) -> str:
    return wish.stratify or ("target" if n_targets <= MOST_STRATIFIED else "none")


def _adjusting(wish: Asked) -> Adjusting:
    modes = ([ONLY, IGNORED, ADDED] if wish.confound else [IGNORED]) + [_removal(one) for one in wish.remove]
    return Adjusting(
        confounds=tuple(wish.confound),
        modes=tuple(dict.fromkeys(modes)),
        harmonise=wish.harmonise,
        preserve=tuple(wish.preserve),
        pca=_components(wish.pca),
        calibrate=wish.calibrate,
    )


def _targets(wish: Asked, phenotypes: Phenotypes) -> list[str]:
    """Targets by name, then those that a wildcard adds: all but what is an id or a confound."""
    if not wish.targets:
        return list(wish.target)
    columns = [str(one) for one in phenotypes.table]
    others = {*IDS, wish.site, wish.group, wish.split_column}
    others |= {parse_confound(one).column for one in wish.confound}
    if phenotypes.is_ukb:  # a field that has a name is taken under its name, once
        named = {(one.field_id, one.instance, one.array) for one in UKB.values() if one.name in columns}
        others |= {one for one in columns if parse_column(one) in named}
    found = [one for one in columns if one not in others and fnmatchcase(one, wish.targets)]
    if not found:
        raise AnalysisError(
            f"--targets must match columns of the phenotype table that are no ids or confounds; {wish.targets!r} "
            "matches none; write, say, --targets 'bone_*'"
        )
    return list(dict.fromkeys([*wish.target, *found]))


def _given(wish: Asked, phenotypes: Phenotypes) -> pd.DataFrame | None:
    """A table of splits, where folds are not to be made."""
    ways = [wish.splits is not None, bool(wish.split_column), bool(wish.test_where)]
    if sum(ways) > 1:
        raise AnalysisError(
            "folds must be given in one way; got several of --splits, --split-column and --test-where; give one"
        )
    if wish.splits is not None:
        return _splits(wish.splits)
    table = phenotypes.table
    if wish.split_column:
        return splits_from_labels(table, wish.split_column)
    if wish.test_where:
        is_test = where(table, wish.test_where)
        if is_test.all() or not is_test.any():
            raise AnalysisError(
                f"--test-where must be met by those who test, and not by those who train; {wish.test_where!r} is met "
                f"by {int(is_test.sum())} of {len(table)} people; write another condition"
            )
        labels = np.where(is_test, TEST, TRAIN)
        return splits_from_labels(table.assign(**{wish.test_where: labels}), wish.test_where)
    return None


def _splits(table: Table) -> pd.DataFrame:
    """Folds of a file, or those of a table in memory, such as the splits of a run, read as those of a file are."""
    if not isinstance(table, pd.DataFrame):
        return read_splits(Path(table))
    with TemporaryDirectory() as folder:
        path = Path(folder) / schema.SPLITS_CSV
        table.to_csv(path, index=False)
        return read_splits(path)


def _cautions(phenotypes: Phenotypes, targets: Sequence[str], sets: Mapping[str, FeatureSet]) -> tuple[Caution, ...]:
    """What is known beforehand of the table."""
    found = [Caution(code, sentence) for code, sentence in phenotypes.cautions]
    if phenotypes.is_ukb:
        found += [Caution(code, sentence, name) for name in targets for code, sentence in cautions_for(name)]
        first = next(iter(sets.values()))
        found += [Caution(code, sentence) for code, sentence in cautions_of_sessions(map(str, first.session_id))]
    return tuple(found)


# --- words ----------------------------------------------------------------------------------------------------


def _removal(word: str) -> str:
    if word not in (FEATURES, TARGET, BOTH):
        raise AnalysisError(
            f"--remove must say what confounds are removed from; {word!r} is no such thing; "
            f"{known((FEATURES, TARGET, BOTH))}"
        )
    return word


def _components(wish: float | None) -> int | float | None:
    """Principal components as a whole number, or their share of variance."""
    if wish is not None and not 0 < wish < 1 and not (wish >= 1 and float(wish).is_integer()):
        raise AnalysisError(
            f"--pca must be a number of components, or a share of variance between 0 and 1; got {wish:g}; "
            "write, say, 50 or 0.9"
        )
    return int(wish) if wish is not None and wish >= 1 else wish


def _device(word: str) -> str:
    if word not in ("cpu", "cuda"):
        raise AnalysisError(f"--device must be known; {word!r} is not; {known(('cpu', 'cuda'))}")
    return word


def _class_weight(word: str) -> str | None:
    if word not in ("none", "balanced"):
        raise AnalysisError(f"--class-weight must be known; {word!r} is not; {known(('none', 'balanced'))}")
    return None if word == "none" else word


def _grids(wish: Asked) -> dict[str, dict[str, list[Any]]]:
    grids = {name: _grid(name, text) for name, text in told(wish.grid, "--grid", GRID).items()}
    for name in grids:
        if name not in wish.head:
            raise AnalysisError(f"a grid must be for a head that is asked for; {name!r} is not; {known(wish.head)}")
    return grids


def _grid(name: str, text: str | Mapping[str, Iterable[Any]]) -> dict[str, list[Any]]:
    try:
        grid = json.loads(text) if isinstance(text, str) else text
        if not isinstance(grid, Mapping) or any(isinstance(one, str) for one in grid.values()):
            raise TypeError
        return {one: list(values) for one, values in grid.items()}
    except (ValueError, TypeError):
        raise AnalysisError(
            f'a grid must be JSON such as {{"C": [0.1, 1, 10]}}; got {text!r} for {name!r}; write it in single quotes'
        ) from None
