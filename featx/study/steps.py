"""From what a study wants to the calls that do it: index, check, extract, site, fit, train, curve, relevance, ...

A step is a call of featx as one would type it in the folder of the study's file. Decisions only: nothing is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from featx.extraction.plan import divide_name
from featx.study import keys
from featx.study.keys import keys_of
from featx.study.reading import Study

CONTENT, STAT, IMAGES = "content", "stat", "images"
BEST = re.compile(r"\{best:(.*)\}")  # in words: the head that is best for a target, once it is known
_WAYS = ("--slices", "--size", "--channels", "--resample", "--recipe", "--precision")  # a set has one of each
_SPLITTING = ("scheme", "n", "repeats", "stratify", "by_site", "splits", "split_column", "test_where")


@dataclass(frozen=True)
class Input:
    """A file that a step reads, and how it is seen that it has changed.

    Attributes
    ----------
    path : Path
    how : str
        CONTENT (its bytes), STAT (its size and time, for large ones), or IMAGES: a table of images, by its bytes and
        by the size and time of each image.
    """

    path: Path
    how: str = CONTENT


@dataclass(frozen=True)
class Step:
    """One call.

    Attributes
    ----------
    name : str
    words : tuple of str
        Of the call, without "featx".
    inputs : tuple of Input
        Files that it reads: the user's, and those of earlier steps of which only the bytes count.
    after : tuple of str
        Earlier steps, which make this one anew wherever they are done again.
    outputs : tuple of Path
        Files that are there once it is done.
    is_quick : bool
        Whether it is done each time, for it looks by itself at what has changed.
    """

    name: str
    words: tuple[str, ...]
    inputs: tuple[Input, ...] = ()
    after: tuple[str, ...] = ()
    outputs: tuple[Path, ...] = ()
    is_quick: bool = False


def steps_of(study: Study) -> list[Step]:
    """The steps of a study, in the order in which they are done. Paths are relative to the study's folder."""
    index, images = _index(study)
    extracts = _extracts(study, images)
    has_fit = bool(_feature_files(study) or study.tables["features"].get("tables"))
    fit = [_fit(study, extracts)] if has_fit else []
    trains = [_train(study, block, at, images, fit) for at, block in enumerate(study.arms)]
    curve = [_curve(study, extracts)] if has_fit and study.tables["curve"] else []
    site = [_site(study, extracts)] if has_fit and study.tables["site"].get("check") else []
    relevance = _relevance(study, images, fit)
    runs = fit + trains
    reports = [
        _report(study, one, [*fit, *extracts, *curve, *relevance] if one in fit else []) for one in runs + site
    ]
    compare = [_compare(study, runs, curve)] if trains and len(runs) > 1 else []
    checks = _checks(study, images)
    return [*index, *checks, *extracts, *site, *fit, *trains, *curve, *relevance, *compare, *reports]


# --- words ----------------------------------------------------------------------------------------------------


def options_of(table: str, values: Mapping[str, Any], verb: str) -> list[str]:
    """The words by which a verb is told what a table of a study says.

    Examples
    --------
    >>> options_of("folds", {"n": 5, "by_site": True, "inner": 3}, "fit")
    ['--folds', '5', '--inner-folds', '3', '--by-site']
    >>> options_of("features", {"tables": {"volumes": "v.tsv"}, "use": ["a+b", "each"]}, "curve")
    ['--table', 'volumes=v.tsv', '--features', 'a+b', '--features', 'each']
    """
    words: list[str] = []
    for key in keys_of(table).values():
        if verb not in key.verbs or key.name not in values:
            continue
        value = values[key.name]
        if key.kind == keys.FLAG:
            words += [key.flag] if value else []
        elif key.kind == keys.ON:
            words += [] if value else [f"--no-{key.flag.removeprefix('--')}"]
        else:
            words += [word for one in _several(value) for word in (key.flag, one)]
    return words


def _several(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}={json.dumps(one) if isinstance(one, dict) else one}" for name, one in value.items()]
    return value if isinstance(value, list) else [str(value)]


def _targets(names: Sequence[str]) -> list[str]:
    return [word for name in names for word in ("--targets" if is_wildcard(name) else "--target", name)]


def is_wildcard(name: str) -> bool:
    """Whether a target stands for many.

    Examples
    --------
    >>> is_wildcard("bone_*"), is_wildcard("age")
    (True, False)
    """
    return any(letter in name for letter in "*?[")


def _about(study: Study, verb: str, tables: Sequence[str], targets: Sequence[str] = ()) -> list[str]:
    """Targets, and what several tables say to a verb; kinds of these targets alone."""
    targets = targets or study.tables["phenotypes"]["targets"]
    phenotypes = dict(study.tables["phenotypes"])
    if not any(map(is_wildcard, targets)):
        phenotypes["kinds"] = {name: kind for name, kind in phenotypes.get("kinds", {}).items() if name in targets}
    words = _targets(targets) + options_of("phenotypes", phenotypes, verb)
    return words + [word for name in tables for word in options_of(name, study.tables[name], verb)]


# --- files ----------------------------------------------------------------------------------------------------


def _feature_files(study: Study) -> list[str]:
    own = [str(study.output / "features.h5")] if study.networks else []
    return [*own, *study.tables["features"].get("files", [])]


def _people(study: Study, *tables: str) -> tuple[Input, ...]:
    """What an analysis reads of people: the table, what describes it, and other tables."""
    cohort, features, folds = (study.tables[name] for name in ("cohort", "features", "folds"))
    names = [cohort["phenotypes"], *cohort.get("also", [])]
    names += [str(Path(one).with_suffix(".json")) for one in names if one.endswith(".tsv")]
    if "features" in tables:
        names += features.get("tables", {}).values()
    if "folds" in tables and "splits" in folds:
        names.append(folds["splits"])
    large = [Input(Path(one), STAT) for one in features.get("files", []) if "features" in tables]
    return (*(Input(Path(one)) for one in names), *large)


# --- steps ----------------------------------------------------------------------------------------------------


def _index(study: Study) -> tuple[list[Step], str]:
    """The step that finds images, if there are any to be found, and the table of images."""
    sources = study.tables["cohort"].get("images", [])
    if not sources or (len(sources) == 1 and sources[0].endswith((".csv", ".tsv"))):
        return [], "".join(sources)
    table = study.output / "images.csv"
    words = ("index", *sources, *options_of("cohort", study.tables["cohort"], "index"), "-o", str(table))
    return [Step("index", words, outputs=(table,), is_quick=True)], str(table)


def _checks(study: Study, images: str) -> list[Step]:
    """One look at the images for all networks that are let the same things through."""
    names: dict[tuple[str, ...], list[str]] = {}
    recipes: dict[tuple[str, ...], list[str]] = {}
    for block in study.networks:
        options = tuple(options_of("networks", block, "check"))
        names.setdefault(options, []).extend(block["name"])
        recipes.setdefault(options, [block["recipe"]] if "recipe" in block else [])
    steps = []
    for number, (options, wanted) in enumerate(names.items(), start=1):
        name = _numbered("check", number)
        table = study.output / f"{name}.csv"
        networks = [
            word for one in dict.fromkeys(divide_name(one)[0] for one in wanted) for word in ("--network", one)
        ]
        inputs = (Input(Path(images), IMAGES), *(Input(Path(one)) for one in recipes[options]))
        steps.append(Step(name, ("check", images, *networks, *options, "-o", str(table)), inputs, (), (table,)))
    return steps


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _extracts(study: Study, images: str) -> list[Step]:
    steps: list[Step] = []
    for number, block in enumerate(study.networks, start=1):
        output = study.output / "features.h5"
        words = ("extract", images, *options_of("networks", block, "extract"), "-o", str(output))
        files = [one for one in block.get("weights", {}).values() if is_file(one)]
        files += [one.removeprefix("file:") for one in block["name"] if one.startswith("file:")]
        inputs = [Input(Path(images), IMAGES), *(Input(Path(one), STAT) for one in files)]
        inputs += [Input(Path(block["recipe"]))] if "recipe" in block else []
        steps.append(Step(_numbered("extract", number), words, tuple(inputs), (), (output,)))
    return steps


def made_otherwise(calls: Iterable[Sequence[str]], before: Iterable[Sequence[str]]) -> bool:
    """Whether extractions would make features of a network in another way than those before.

    Examples
    --------
    >>> before = [["extract", "i.csv", "--network", "a", "--slices", "8"]]
    >>> made_otherwise([["extract", "i.csv", "--network", "a", "--slices", "4"]], before)
    True
    >>> made_otherwise([["extract", "i.csv", "--network", "b"], [*before[0], "--tap", "all"]], before)
    False
    """
    now, then = _ways(calls), _ways(before)
    return any(now[network] != ways for network, ways in then.items() if network in now)


def _ways(calls: Iterable[Sequence[str]]) -> dict[str, set[tuple[str, str]]]:
    """The options that make one set in another way, by network."""
    found: dict[str, set[tuple[str, str]]] = {}
    for words in calls:
        pairs = list(pairwise([*words, ""]))
        ways = {(word, "" if word == "--resample" else after) for word, after in pairs if word in _WAYS}
        found |= {network: ways for word, network in pairs if word == "--network"}
    return found


def is_file(weights: str) -> bool:
    """Whether a word for weights is a file.

    Examples
    --------
    >>> is_file("weights/a.pth"), is_file("random:0"), is_file("official")
    (True, False, False)
    """
    return weights not in ("official", "factory") and not weights.startswith(("random:", "reinit:"))


def _fit(study: Study, extracts: Sequence[Step]) -> Step:
    output = study.output / "run"
    tables = ("features", "heads", "cohort", "folds", "confounds", "statistics", "")
    files = [*_feature_files(study), study.tables["cohort"]["phenotypes"]]
    words = ("fit", *files, *_about(study, "fit", tables), "-o", str(output))
    outputs = (output / "run.json", output / "splits.csv")
    return Step("fit", words, _people(study, "features", "folds"), _names(extracts), outputs)


def _names(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(one.name for one in steps)


def _site(study: Study, extracts: Sequence[Step]) -> Step:
    """Logistic regression of the site on the same features, on folds of its own."""
    cohort, output = study.tables["cohort"], study.output / "site"
    kinds = {
        name: kind for name, kind in study.tables["phenotypes"].get("kinds", {}).items() if name == cohort["site"]
    }
    folds = {name: one for name, one in study.tables["folds"].items() if name in ("n", "inner", "repeats", "seed")}
    words = [
        *(*_feature_files(study), cohort["phenotypes"], "--target", cohort["site"]),
        *options_of("phenotypes", {"kinds": kinds}, "fit"),
        *("--head", "logistic"),
        *options_of("features", study.tables["features"], "fit"),
        *options_of(
            "cohort", {name: one for name, one in cohort.items() if name in ("also", "where", "group")}, "fit"
        ),
        *options_of("folds", folds, "fit"),
        *options_of("statistics", study.tables["statistics"], "fit"),
        *options_of("", study.tables[""], "fit"),
    ]
    inputs = _people(study, "features")
    return Step("site", ("fit", *words, "-o", str(output)), inputs, _names(extracts), (output / "run.json",))


def _train(study: Study, block: Mapping[str, Any], number: int, images: str, fit: Sequence[Step]) -> Step:
    """Arms of one network, on the folds of the heads where there are heads."""
    name = train_name(study.arms, number)
    output = study.output / name
    folds = dict(study.tables["folds"])
    inputs = [Input(Path(images), IMAGES), *_people(study, *([] if fit else ["folds"]))]
    if fit:
        folds = {key: one for key, one in folds.items() if key not in _SPLITTING}
        folds["splits"] = str(study.output / "run" / "splits.csv")
        inputs.append(Input(Path(folds["splits"])))
    inputs += [Input(Path(block["network_recipe"]))] if "network_recipe" in block else []
    files = [one for one in [block.get("weights", "official")] if is_file(one)]
    files += [block["network"].removeprefix("file:")] if block["network"].startswith("file:") else []
    inputs += [Input(Path(one), STAT) for one in files]
    words = (
        *("train", images, study.tables["cohort"]["phenotypes"]),
        *options_of("arms", block, "train"),
        *_about(study, "train", ("cohort", "statistics"), block.get("targets", ())),
        *options_of("folds", folds, "train"),
        *("-o", str(output)),
    )
    return Step(name, words, tuple(inputs), (), (output / "run.json",))


def train_name(arms: Sequence[Mapping[str, Any]], number: int) -> str:
    """What a block of arms is called: by its network and arms, so that it keeps its name beside others.

    Examples
    --------
    >>> train_name([{"network": "a.b@random:0", "arm": ["full", "scratch"]}, {"network": "a.b"}], 0)
    'train-a.b-random-0-full-scratch'
    """
    names = [
        re.sub(r"[^\w.]+", "-", "-".join(["train", Path(block["network"]).name, *block.get("arm", [])]))
        for block in arms[: number + 1]
    ]
    return _numbered(names[number], names.count(names[number]))


def _curve(study: Study, extracts: Sequence[Step]) -> Step:
    output = study.output / "curve"
    tables = ("features", "heads", "cohort", "folds", "confounds", "curve", "")
    files = [*_feature_files(study), study.tables["cohort"]["phenotypes"]]
    words = ("curve", *files, *_about(study, "curve", tables), "-o", str(output))
    return Step("curve", words, _people(study, "features", "folds"), _names(extracts), (output / "curve.json",))


def _relevance(study: Study, images: str, fit: Sequence[Step]) -> list[Step]:
    """A map of each head that is named; of the best head of each target, once it is known, where none is."""
    asked, heads = study.tables["relevance"], study.tables["relevance"].get("heads", False)
    if not heads or not fit:
        return []
    if heads is True:
        heads = [f"{{best:{one}}}" for one in study.tables["phenotypes"]["targets"]]
    run = study.output / "run"
    beside = _beside_heads(study, is_named=asked["heads"] is not True)
    steps = []
    for head in (one.removesuffix(".npz") for one in heads):
        name = re.sub(r"[^\w.@-]+", "-", BEST.sub(r"\1", head))
        output = run / "relevance" / name
        words = [
            "relevance",
            str(run / "heads" / f"{head}.npz"),
            images,
            *options_of("relevance", asked, "relevance"),
        ]
        inputs = (Input(Path(images), IMAGES),)
        made = (output / "relevance.json",)
        steps.append(Step(f"relevance-{name}", (*words, *beside, "-o", str(output)), inputs, ("fit",), made))
    return steps


def _beside_heads(study: Study, *, is_named: bool) -> list[str]:
    """What heads may need beside images: the weights of their networks, tables, confounds."""
    words = []
    for block in study.networks:
        files = {name: one for name, one in block.get("weights", {}).items() if is_file(one)}
        for key in ("accept", "recipe"):
            words += options_of("networks", {key: block[key]} if key in block else {}, "extract")
        words += options_of("networks", {"weights": files}, "extract")
    cohort, confounds = study.tables["cohort"], study.tables["confounds"]
    if is_named:
        words += options_of("features", {"tables": study.tables["features"].get("tables", {})}, "fit")
    if is_named and (confounds.get("use") or confounds.get("harmonise", "none") != "none"):
        words += [
            "--phenotypes",
            cohort["phenotypes"],
            *options_of("cohort", {"also": cohort.get("also", [])}, "fit"),
        ]
    return words


def _compare(study: Study, runs: Sequence[Step], curve: Sequence[Step]) -> Step:
    folders = [str(one.outputs[0].parent) for one in (*runs, *curve)]
    output = study.output / "compare"
    tables = ("statistics", "compare", "report")
    options = [word for name in tables for word in options_of(name, study.tables[name], "compare")]
    words = ("compare", *folders, *options, "-o", str(output))
    return Step("compare", words, (), _names([*runs, *curve]), (output / "compare.json",))


def _report(study: Study, run: Step, beside: Sequence[Step]) -> Step:
    """The page of a run; that of the heads shows their features and curves, too."""
    folder = run.outputs[0].parent
    words = ["report", str(folder)]
    if beside:
        words += [word for one in _feature_files(study) for word in ("--features", one)]
    words += [word for one in beside if one.name == "curve" for word in ("--curve", str(one.outputs[0].parent))]
    words += [] if run.name == "site" else options_of("", study.tables[""], "report")
    words += options_of("report", study.tables["report"], "report")
    name = "report" if run.name == "fit" else f"report-{run.name.removeprefix('train-')}"
    after = tuple(dict.fromkeys([run.name, *_names(beside)]))
    return Step(name, tuple(words), (), after, (folder / "report.html",))
