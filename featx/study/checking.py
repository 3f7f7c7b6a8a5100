"""Whether the words of a study mean something, before anything runs: files, columns, networks, arms, heads.

All that is wrong is told, not the first thing alone. What can be seen only on images or while fitting is not looked
for here. Paths are those of the study's folder, which must be the working folder.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from featx import store
from featx.analysis.cohort.covariates import parse_confound
from featx.analysis.cohort.phenotypes import Phenotypes, read_phenotypes
from featx.analysis.cohort.tables import split_sheet
from featx.analysis.heads import get_head
from featx.errors import DependencyError, FeatxError, first_line
from featx.extraction.plan import Request, divide_name, make_request, make_requests, plan_sets
from featx.images.opening import is_url
from featx.networks.described import read_recipe
from featx.study.keys import FILE, FILES, NAMED_FILES, keys_of
from featx.study.lines import line_of
from featx.study.reading import Fault, Study, nearest
from featx.study.steps import is_file, is_wildcard
from featx.training.arms import get_arm
from featx.training.schedules import get_recipe

Resolve = Callable[[Sequence[str]], list[str]]


def faults_of(study: Study, resolve: Resolve = list) -> list[Fault]:
    """What is wrong with a study, by line.

    Parameters
    ----------
    study : Study
    resolve : callable
        Gives the full names of networks that a user added under names of their own.
    """
    found = [*_whole(study), *_files(study), *_columns(study), *_heads(study), *_networks(study, resolve)]
    return [(line_of(study.lines, path), sentence) for path, sentence in [*found, *_arms(study, resolve)]]


Found = Iterator[tuple[str, str]]  # path of the key, and sentence


def _whole(study: Study) -> Found:
    """What a study lacks to be one."""
    cohort, features = study.tables["cohort"], study.tables["features"]
    if not (study.networks or study.arms or features.get("tables") or features.get("files")):
        yield "cohort", "a study must have [[networks]], [[arms]] or [features]; it has none; `featx init` writes one"
    if (study.networks or study.arms) and not cohort.get("images"):
        yield "cohort", 'networks must have images; [cohort] names none; write images = "BRAINS/" there'
    if study.tables["site"].get("check") and not cohort.get("site"):
        yield (
            "site.check",
            'a check of sites must know their column; [cohort] names none; write site = "COLUMN" there',
        )
    if study.tables["folds"].get("scheme") == "site" and not cohort.get("site"):
        yield (
            "folds.scheme",
            'sites that are left out must be known; [cohort] names none; write site = "COLUMN" there',
        )
    wild = [one for one in study.tables["phenotypes"]["targets"] if is_wildcard(one)]
    if len(wild) > 1:
        yield (
            "phenotypes.targets",
            f"targets must have one wildcard at most; got {', '.join(map(repr, wild))}; join them",
        )
    if wild and study.tables["relevance"].get("heads") is True:
        yield (
            "relevance.heads",
            f"heads must be named where targets are a wildcard; got true and {wild[0]!r}; name them",
        )
    if study.tables["relevance"].get("heads") and not (study.networks and cohort.get("images")):
        yield (
            "relevance.heads",
            "maps of relevance must be of networks; there are no [[networks]]; leave [relevance] out",
        )


# --- files ----------------------------------------------------------------------------------------------------


def _files(study: Study) -> Found:
    places = {name: values for name, values in study.tables.items() if name}
    places |= {f"networks[{at}]": block for at, block in enumerate(study.networks)}
    places |= {f"arms[{at}]": block for at, block in enumerate(study.arms)}
    for place, values in places.items():
        for key, value in values.items():
            kind = keys_of(re.sub(r"\[\d+\]", "", place))[key].kind
            named = (
                value.values() if kind == NAMED_FILES else value if kind == FILES else [value] if kind == FILE else []
            )
            for one in named:
                if not split_sheet(Path(one))[0].is_file():
                    yield (
                        f"{place}.{key}",
                        f"a file must be there; {one} is not; mend {key!r} of [{place.partition('[')[0]}]",
                    )
    for one in study.tables["cohort"].get("images", []):
        if not is_url(one) and "::" not in one and not Path(one).exists() and not glob.glob(one, recursive=True):
            yield "cohort.images", f"images must be there; {one} is not; mend 'images' of [cohort]"


# --- columns --------------------------------------------------------------------------------------------------


def _columns(study: Study) -> Found:
    """Columns that are named and are in no table of people."""
    cohort, told = study.tables["cohort"], study.tables["phenotypes"]
    tables: list[Phenotypes] = []
    for key, path in [("phenotypes", cohort["phenotypes"]), *(("also", one) for one in cohort.get("also", []))]:
        if not split_sheet(Path(path))[0].is_file():
            return  # which is told already
        try:
            tables.append(read_phenotypes(Path(path)))
        except FeatxError as error:
            yield f"cohort.{key}", first_line(error)
            return
    columns = [str(name) for one in tables for name in one.table]
    targets = told["targets"]
    for path, name in _named_columns(study):
        there = any(fnmatchcase(one, name) for one in columns) if is_wildcard(name) else name in columns
        if not there:
            yield path, f"a column must be in the table of people; {name!r} is not; {nearest(name, columns)}"
    for key in ("kinds", "correct_age"):
        for name in told.get(key, ()):
            if name not in targets and not any(map(is_wildcard, targets)):
                yield f"phenotypes.{key}", f"{key!r} must be of targets; {name!r} is none; {nearest(name, targets)}"
    for at, block in enumerate(study.arms):
        for name in block.get("targets", ()):
            if name not in targets and not any(fnmatchcase(name, one) for one in targets):
                yield (
                    f"arms[{at}].targets",
                    f"targets of arms must be the study's; {name!r} is none; {nearest(name, targets)}",
                )


def _named_columns(study: Study) -> Iterator[tuple[str, str]]:
    cohort, confounds = study.tables["cohort"], study.tables["confounds"]
    yield from (("phenotypes.targets", name) for name in study.tables["phenotypes"]["targets"])
    yield from ((f"cohort.{key}", cohort[key]) for key in ("site", "group", "age") if key in cohort)
    if "split_column" in study.tables["folds"]:
        yield "folds.split_column", study.tables["folds"]["split_column"]
    for one in confounds.get("use", []):
        try:
            yield "confounds.use", parse_confound(one).column
        except FeatxError:
            yield "confounds.use", one


def _heads(study: Study) -> Found:
    for key in ("use", "grid"):
        for name in study.tables["heads"].get(key, ()):
            yield from _refused(f"heads.{key}", get_head, name)


def _refused(path: str, act: Callable[..., Any], *given: Any) -> Found:
    """The sentence by which something is refused. What needs a library that is not here is left to its verb."""
    try:
        act(*given)
    except DependencyError:
        return
    except (FeatxError, OSError) as error:
        yield path, first_line(error)


# --- networks -------------------------------------------------------------------------------------------------


def _networks(study: Study, resolve: Resolve) -> Found:
    requests: list[Request] = []
    for at, block in enumerate(study.networks):
        told = False
        for name in block["name"]:
            faults = list(_refused(f"networks[{at}].name", _requests, block, [name], resolve))
            told = told or bool(faults)
            yield from faults
        for name, word in block.get("weights", {}).items():
            if is_file(word) and not Path(word).is_file():
                yield f"networks[{at}].weights", f"weights must be there; {word} of {name} is not; mend 'weights'"
        if not told:  # what all of them are asked for together
            yield from _refused(
                f"networks[{at}]", lambda *given: requests.extend(requests_of(*given)), block, resolve
            )
    yield from _stale(study, requests)


def _requests(block: Mapping[str, Any], names: Sequence[str], resolve: Resolve, **wish: Any) -> list[Request]:
    own = "recipe" in block and any(name.startswith("python:") for name in names)
    return make_requests(resolve(names), recipe=read_recipe(Path(block["recipe"])) if own else None, **wish)


def requests_of(block: Mapping[str, Any], resolve: Resolve) -> list[Request]:
    """All that a block of a study asks of its networks.

    Raises
    ------
    FeatxError
        They have no such thing.
    """
    wish = {_WISHES[key]: value for key, value in block.items() if key in _WISHES}
    weights = resolve([f"{name}={word}" for name, word in block.get("weights", {}).items()])
    return _requests(block, block["name"], resolve, weights=weights, **wish)


_WISHES = {
    "tap": "taps", "axis": "views", "pool": "poolings", "slices": "n_slices", "size": "size", "channels": "channels",
    "resample": "resampling", "missing": "missing",
}  # fmt: skip


def _stale(study: Study, requests: Sequence[Request]) -> Found:
    """Feature sets of an earlier form of the study: without a choice they would be analysed as well."""
    path = study.output / "features.h5"
    if study.tables["features"].get("use") or len(requests) == 0 or not path.is_file():
        return
    wanted = {one.name for request in requests for one in plan_sets(request, {}, _tag(request.weights), "")}
    try:
        there = store.read_shapes(path)
    except FeatxError as error:
        yield "networks[0]", first_line(error)
        return
    left = sorted(name for name in there if re.sub(r"@(file|reinit-\d+)[^/]*", r"@\1", name) not in wanted)
    if left:
        yield (
            "networks[0]",
            f"{path} must hold only what [[networks]] ask for where [features] use says nothing; it also holds "
            f"{left[0]!r}{f' and {len(left) - 1} more' if len(left) > 1 else ''}, of an earlier study; name what is "
            "to be used in [features] use, or give another output",
        )


def _tag(weights: str) -> str:
    if weights in ("official", "factory"):
        return ""
    return "file" if is_file(weights) else weights.replace(":", "-")


def _arms(study: Study, resolve: Resolve) -> Found:
    for at, block in enumerate(study.arms):
        place = f"arms[{at}]"
        for name in block.get("arm", []):
            yield from _refused(f"{place}.arm", get_arm, name)
        if "recipe" in block:
            yield from _refused(f"{place}.recipe", get_recipe, block["recipe"])
        if is_file(block.get("weights", "official")) and not Path(block["weights"]).is_file():
            yield f"{place}.weights", f"weights must be there; {block['weights']} is not; mend 'weights' of [[arms]]"
        yield from _refused(f"{place}.network", _request_of, block, resolve)


def _request_of(block: Mapping[str, Any], resolve: Resolve) -> Request:
    name, spec = divide_name(resolve([block["network"]])[0])
    recipe = read_recipe(Path(block["network_recipe"])) if "network_recipe" in block else None
    return make_request(
        name,
        weights=spec or block.get("weights", ""),
        recipe=recipe,
        views=[block["axis"]] if "axis" in block else [],
    )
