"""What the options say becomes a request: files are read, words that only the command line knows are checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx import schema, store
from featx.analysis.aggregate import aggregate, aggregated_name, sources_of
from featx.analysis.cohort.condition import where
from featx.analysis.cohort.covariates import parse_confound
from featx.analysis.cohort.people import IDS, join
from featx.analysis.cohort.phenotypes import Phenotypes, add_columns, read_phenotypes
from featx.analysis.cohort.tables import file_sha256, read_table
from featx.analysis.cohort.tabular import features_from_table
from featx.analysis.cohort.ukbiobank import UKB, cautions_for, cautions_of_sessions, parse_column
from featx.analysis.crossval import ADDED, BOTH, FEATURES, IGNORED, ONLY, TARGET
from featx.analysis.features import Images, select_features
from featx.analysis.folds.given import TEST, TRAIN, read_splits, splits_from_labels
from featx.analysis.folds.splits import Folding
from featx.analysis.heads import HeadOptions
from featx.analysis.inference.cautions import Caution, accepted_misfits
from featx.analysis.request import Adjusting, Columns, Request
from featx.errors import AnalysisError, FeatxError, StoreError, known
from featx.featureset import FeatureSet
from featx.networks import NETWORKS
from featx.networks.named import FACTORY
from featx.networks.sheet import Network
from featx.networks.told import TENSORS_SHA256, read_told
from featx.training.seen import Seen, cautions_about, read_about, unknown_people
from featx_cli.added import added
from featx_cli.options import Asked

MOST_STRATIFIED = 20
GRID = "'sklearn:svm.SVR={\"C\": [0.1, 1, 10]}'"


def make_request(wish: Asked, **more: Any) -> Request:
    """Read what is asked for, and put it together.

    Parameters
    ----------
    wish : Asked
    more
        Further fields of `featx.analysis.request.Request`.
    """
    *files, table = wish.features
    if len(wish.features) < (1 if wish.table else 2):
        raise AnalysisError(
            "features must come first and a phenotype table last (or --table NAME=FILE and a phenotype table); got "
            "only one file; write, say, featx fit features.h5 participants.tsv --target age"
        )
    sets, combinations, sources = _sets(wish, files)
    return request_of(wish, table, sets, combinations, sources=sources, accepted=_accepted(files, sets), **more)


def request_of(
    wish: Asked,
    people: Path,
    sets: Mapping[str, FeatureSet],
    combinations: Mapping[str, Sequence[str]],
    *,
    sources: Sequence[Mapping[str, str]],
    accepted: tuple[Caution, ...] = (),
    **more: Any,
) -> Request:
    """Put together what is asked about feature sets that are there, and the phenotype table.

    Parameters
    ----------
    wish : Asked
    people : Path
        The phenotype table.
    sets, combinations, sources
        As in `featx.analysis.request.Request`.
    accepted : tuple of Caution
        What is known of the images.
    more
        Further fields of the request.
    """
    phenotypes, of_images = _people(wish, people)
    for path, table in of_images.items():
        phenotypes = add_columns(phenotypes, table, str(path), images_of(sets.values()))
    targets = _targets(wish, phenotypes)
    given = _given(wish, phenotypes)
    n_repeats = wish.repeats if given is None else int(given["repeat"].max()) + 1
    if given is not None and (wish.repeats not in (1, n_repeats) or wish.scheme != "kfold"):
        raise AnalysisError(
            f"folds that are given must not be made as well; they are of {n_repeats} repeats, and --repeats "
            f"{wish.repeats} --scheme {wish.scheme} was asked for; leave these out"
        )
    modes = ([ONLY, IGNORED, ADDED] if wish.confound else [IGNORED]) + [_removal(one) for one in wish.remove]
    stratify = wish.stratify or ("target" if len(targets) <= MOST_STRATIFIED else "none")
    return Request(
        sets=sets,
        combinations=combinations,
        phenotypes=phenotypes.table,
        targets=targets,
        heads=wish.head,
        kinds=pairs(wish.kind, "--kind", "income=multiclass"),
        expected=phenotypes.kinds,
        levels=phenotypes.levels,
        units=phenotypes.units,
        folding=Folding(
            scheme="given" if given is not None else wish.scheme,
            n_splits=wish.folds,
            n_inner=wish.inner_folds,
            n_repeats=n_repeats,
            by_site=wish.by_site,
            random_state=wish.seed,
        ),
        columns=Columns(wish.site, wish.group, wish.age, stratify, wish.where),
        adjusting=Adjusting(
            confounds=tuple(wish.confound),
            modes=tuple(dict.fromkeys(modes)),
            harmonise=wish.harmonise,
            preserve=tuple(wish.preserve),
            pca=_components(wish.pca),
            calibrate=wish.calibrate,
        ),
        options=HeadOptions(device=_device(wish.device), class_weight=_class_weight(wish.class_weight)),
        grids=_grids(wish),
        given_splits=given,
        n_jobs=wish.jobs,
        phenotypes_name=people.name,
        phenotypes_sha256=file_sha256(people),
        sources=(*sources, *(_source("also", "", path) for path in wish.also)),
        cautions=_cautions(phenotypes, targets, sets)
        + _of_own_networks(sets, phenotypes.table, wish.where)
        + accepted,
        training=_training(sets),
        is_biobank=phenotypes.is_ukb,
        aggregate=wish.aggregate,
        **more,
    )


def _people(wish: Asked, table: Path) -> tuple[Phenotypes, dict[Path, Phenotypes]]:
    """The phenotype table with further columns of people, and tables with a row per image."""
    phenotypes = read_phenotypes(table)
    also = {path: read_phenotypes(path) for path in wish.also}
    of_images = {path: one for path, one in also.items() if schema.IMAGE_ID in one.table}
    for path, one in also.items():
        if path not in of_images:
            phenotypes = add_columns(phenotypes, one, str(path))
    return phenotypes, of_images


def images_of(sets: Iterable[FeatureSet]) -> Images:
    """All images of feature sets, each once."""
    found = {
        str(image): (image, person, session)
        for one in sets
        for image, person, session in zip(one.image_id, one.participant_id, one.session_id, strict=True)
    }
    image, person, session = (np.array(column, dtype=object) for column in zip(*found.values(), strict=True))
    return Images(image, person, session)


def _sets(
    wish: Asked, files: Sequence[Path]
) -> tuple[dict[str, FeatureSet], dict[str, tuple[str, ...]], list[dict[str, str]]]:
    """Feature sets that are used, how they are combined, and the files that all input but the phenotypes is from."""
    holder = holders(files)
    tables = {name: Path(path) for name, path in pairs(wish.table, "--table", "volumes=volumes.tsv").items()}
    for name in tables:
        _check_own_name(name, holder)
    made = {name: aggregated_name(name, wish.aggregate) for name in holder}
    source = sources_of(holder, wish.aggregate)
    combinations = select_features([*source, *tables], wish.use, sources=made)
    names = list(dict.fromkeys(name for sets in combinations.values() for name in sets))
    sets = {name: read_as(name, source[name], holder) for name in names if name in source}
    first = next(iter(sets.values()), None)
    images = None if first is None else Images(first.image_id, first.participant_id, first.session_id)
    sets |= {name: read_table_set(name, tables[name], images) for name in names if name in tables}
    used = [
        ("features", "", path) for path in dict.fromkeys(holder[source[name]] for name in names if name in source)
    ]
    used += [("table", name, tables[name]) for name in names if name in tables]
    sources = [_source(role, name, path) for role, name, path in used]
    return sets, combinations, sources


def _source(role: str, name: str, path: Path) -> dict[str, str]:
    """A file that was read, for run.json."""
    return {"role": role, "name": name, "file": path.name, "sha256": file_sha256(path)}


def read_as(name: str, source: str, holder: Mapping[str, Path]) -> FeatureSet:
    """A feature set under a name: the stored one, or what is made of stored slices, which are then let go."""
    one = store.read_set(holder[source], source)
    return one if source == name else aggregate(one, name.rpartition("/")[2])


def failures_of(files: Sequence[Path]) -> list[dict[str, str]]:
    """Rows of the failures of feature files."""
    return [row for path in files for row in store.read_failures(path)]


def _check_own_name(name: str, holder: Mapping[str, Path]) -> None:
    taken = next((one for one in holder if one.split("/")[0] == name), None)
    if taken is not None:
        raise AnalysisError(
            f"a table of features must have a name of its own; {name!r} is also the beginning of {taken!r}; "
            "call it, say, volumes"
        )


def read_table_set(name: str, path: Path, images: Images | None) -> FeatureSet:
    """A table of numbers as a feature set, one row per image where images are known."""
    return features_from_table(name, read_table(path), images=images)


def holders(files: Sequence[Path]) -> dict[str, Path]:
    """Which file holds which feature set."""
    holder: dict[str, Path] = {}
    for path in files:
        for name in store.list_sets(path):
            if name in holder:
                raise StoreError(
                    f"a feature set must be in one file; {name!r} is in {holder[name]} and {path}; give one of them"
                )
            holder[name] = path
    return holder


def _targets(wish: Asked, phenotypes: Phenotypes) -> list[str]:
    """Targets by name, then those that a wildcard adds: all but what is an id or a confound."""
    if not wish.targets:
        return wish.target
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
    ways = [bool(one) for one in (wish.splits, wish.split_column, wish.test_where)]
    if sum(ways) > 1:
        raise AnalysisError(
            "folds must be given in one way; got several of --splits, --split-column and --test-where; give one"
        )
    if wish.splits:
        return read_splits(wish.splits)
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


def _cautions(phenotypes: Phenotypes, targets: Sequence[str], sets: Mapping[str, FeatureSet]) -> tuple[Caution, ...]:
    """What is known beforehand of the table."""
    found = [Caution(code, sentence) for code, sentence in phenotypes.cautions]
    if phenotypes.is_ukb:
        found += [Caution(code, sentence, name) for name in targets for code, sentence in cautions_for(name)]
        first = next(iter(sets.values()))
        found += [Caution(code, sentence) for code, sentence in cautions_of_sessions(map(str, first.session_id))]
    return tuple(found)


def _accepted(files: Sequence[Path], sets: Mapping[str, FeatureSet]) -> tuple[Caution, ...]:
    labels = {name.split("/")[0] for name in sets}
    rows = [row for path in files for row in store.read_accepted(path) if row["network"] in labels]
    return tuple(accepted_misfits(rows))


def _training(sets: Mapping[str, FeatureSet]) -> dict[str, tuple[str, tuple[float, float] | None]]:
    """What the networks behind feature sets were trained on; weights that were drawn were on nothing."""
    found = {}
    for one in sets.values():
        network, weights = one.provenance["network"], one.provenance["weights"]
        if network in NETWORKS and not weights.startswith(("random", "reinit")):
            found[network] = (NETWORKS[network].training, NETWORKS[network].age_range_years)
    for network, about in _own_networks(sets).items():
        if about:
            found[network] = (about[0].training, about[0].age_range_years)
    return found


def _own_networks(sets: Mapping[str, FeatureSet]) -> dict[str, tuple[Network, list[Seen]] | None]:
    """Networks whose weights are from files: what their checkpoints tell, or None where these are not found."""
    found: dict[str, tuple[Network, list[Seen]] | None] = {}
    for one in sets.values():
        network, weights = one.provenance["network"], one.provenance["weights"]
        if weights in ("", "official", FACTORY) or weights.startswith(("random", "reinit")):
            continue
        found[network] = None
        with suppress(FeatxError):
            checkpoint = _checkpoint_of(weights, one.provenance["weights_sha256"])
            found[network] = read_about(checkpoint, network) if checkpoint else None
    return found


def _checkpoint_of(weights: str, sha256: str) -> Path | None:
    """The checkpoint of weights: their path, else a network that was added and has the same tensors."""
    if Path(weights).is_file():
        return Path(weights)
    for path in added().values():
        with suppress(FeatxError):  # another one that is damaged is no matter here
            if sha256 and read_told(path).get(TENSORS_SHA256) == sha256:
                return path
    return None


def _of_own_networks(sets: Mapping[str, FeatureSet], table: pd.DataFrame, condition: str) -> tuple[Caution, ...]:
    """Who of those with images and phenotypes trained a network of one's own, or that nobody knows."""
    own = _own_networks(sets)
    if not own:
        return ()
    matched = join(images_of(sets.values()), table)
    people = matched.images.participant_id[where(matched.phenotypes, condition)]
    found: list[Caution] = []
    for network, about in own.items():
        found += cautions_about(*about, people) if about else [unknown_people(network)]
    return tuple(found)


# --- words ----------------------------------------------------------------------------------------------------


def pairs(words: Sequence[str], option: str, example: str) -> dict[str, str]:
    """Options of the form NAME=VALUE; of a kind the last '=' counts, for a target's name may hold one."""
    found = [word.partition("=") if option != "--kind" else word.rpartition("=") for word in words]
    for word, (name, _, value) in zip(words, found, strict=True):
        if not name or not value:
            raise AnalysisError(f"{option} must be NAME=VALUE; got {word!r}; write, say, {option} {example}")
        if [one for one, _, _ in found].count(name) > 1:
            raise AnalysisError(f"{option} must tell of a name once; got {name!r} several times; leave one of them")
    return {name: value for name, _, value in found}


def loss_weights(words: Sequence[str]) -> dict[str, float]:
    """Weights of targets in a loss, from options of the form TARGET=NUMBER."""
    found = {}
    for name, text in pairs(words, "--loss-weight", "sex=0.5").items():
        number = pd.to_numeric(text, errors="coerce")
        if not 0 <= number < np.inf:
            raise AnalysisError(
                f"a weight in the loss must be a number from 0; got {text!r} for {name!r}; write, say, 0.5"
            )
        found[name] = float(number)
    return found


def _removal(word: str) -> str:
    if word not in (FEATURES, TARGET, BOTH):
        raise AnalysisError(
            f"--remove must say what confounds are removed from; {word!r} is no such thing; "
            f"{known((FEATURES, TARGET, BOTH))}"
        )
    return word


def _components(wish: float | None) -> int | float | None:
    """Principal components as a whole number, or their share of variance."""
    if wish is not None and not 0 < wish < 1 and not (wish >= 1 and wish.is_integer()):
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
    grids = {name: _grid(name, text) for name, text in pairs(wish.grid, "--grid", GRID).items()}
    for name in grids:
        if name not in wish.head:
            raise AnalysisError(f"a grid must be for a head that is asked for; {name!r} is not; {known(wish.head)}")
    return grids


def _grid(name: str, text: str) -> dict[str, list[Any]]:
    try:
        grid = json.loads(text)
        if not isinstance(grid, dict) or not all(isinstance(one, list) for one in grid.values()):
            raise TypeError
    except (ValueError, TypeError):
        raise AnalysisError(
            f'a grid must be JSON such as {{"C": [0.1, 1, 10]}}; got {text!r} for {name!r}; write it in single quotes'
        ) from None
    return grid
