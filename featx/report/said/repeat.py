"""The call of `featx fit` that repeats a run, from its run.json; what is as it is by default is left out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from featx.analysis.crossval import ADDED, IGNORED, ONLY

HEADS = ["ridge", "logistic"]
MOST_STRATIFIED = 20  # above, targets share their folds by default
# Option, where its value stands in the arguments, and its default.
_OPTIONS: tuple[tuple[str, str, str, object], ...] = (
    ("--where", "columns", "where", ""),
    ("--site", "columns", "site", ""),
    ("--group", "columns", "group", ""),
    ("--age", "columns", "age", ""),
    ("--folds", "folding", "n_splits", 10),
    ("--inner-folds", "folding", "n_inner", 5),
    ("--repeats", "folding", "n_repeats", 1),
    ("--confound", "adjusting", "confounds", ()),
    ("--harmonise", "adjusting", "harmonise", "none"),
    ("--preserve", "adjusting", "preserve", ()),
    ("--pca", "adjusting", "pca", None),
    ("--calibrate", "adjusting", "calibrate", "none"),
    ("--class-weight", "options", "class_weight", None),
    ("--device", "options", "device", "cpu"),
    ("--correct-age", "inferring", "correct_age", ()),
    ("--permutations", "inferring", "n_permutations", 0),
    ("--bootstrap", "inferring", "n_bootstrap", 2000),
    ("--seed", "folding", "random_state", 0),
)


def command(facts: Mapping[str, Any]) -> str:
    """The call of `featx fit` that made a run, with the names of the files that it read.

    Parameters
    ----------
    facts : mapping
        run.json. Files are told by name, not by folder. Folds that were given are those of the run's own splits.csv.
        A run that another verb made says its call itself.

    Examples
    --------
    >>> arguments = {"targets": ["age"], "heads": ["ridge"], "combinations": {"a.x": []}, "folding": {"n_repeats": 5}}
    >>> phenotypes, sources = {"file": "people of 2026.tsv"}, [{"role": "features", "name": "", "file": "a.h5"}]
    >>> command({"arguments": arguments, "phenotypes": phenotypes, "sources": sources})
    "featx fit a.h5 'people of 2026.tsv' --target age --head ridge --features a.x --repeats 5"
    """
    if facts.get("command"):
        return str(facts["command"])
    arguments = facts.get("arguments") or {}
    phenotypes = str((facts.get("phenotypes") or {}).get("file") or "phenotypes.tsv")
    words = ["featx", "fit", *_named(facts, "features"), phenotypes]
    heads = list(arguments.get("heads", ()))
    for option, values in (
        ("--target", arguments.get("targets", ())),
        ("--head", () if heads == HEADS else heads),
        ("--table", _named(facts, "table")),
        ("--also", _named(facts, "also")),
        ("--features", arguments.get("combinations", ())),
        ("--kind", [f"{name}={kind}" for name, kind in arguments.get("kinds", {}).items()]),
        ("--grid", [f"{name}={json.dumps(grid)}" for name, grid in arguments.get("grids", {}).items()]),
    ):
        words += _said(option, list(values))
    words += _said("--aggregate", [how for how in [arguments.get("aggregate", "mean")] if how != "mean"])
    words += _folding(arguments)
    for option, part, name, default in _OPTIONS:
        value = (arguments.get(part) or {}).get(name, default)
        if value not in (default, []):
            words += _said(option, value if isinstance(value, list) else [value])
        if option == "--confound":
            modes = (arguments.get("adjusting") or {}).get("modes", ())
            words += _said("--remove", [mode for mode in modes if mode not in (IGNORED, ONLY, ADDED)])
    return shlex.join(words)


def _said(option: str, values: Sequence[object]) -> list[str]:
    return [word for value in values for word in (option, str(value))]


def _named(facts: Mapping[str, Any], role: str) -> list[str]:
    """Files of one role among the sources; a table as NAME=FILE."""
    found = [one for one in facts.get("sources") or [] if one["role"] == role]
    return [f"{one['name']}={one['file']}" if one["name"] else str(one["file"]) for one in found]


def _folding(arguments: Mapping[str, Any]) -> list[str]:
    folding, columns = arguments.get("folding") or {}, arguments.get("columns") or {}
    scheme = folding.get("scheme", "kfold")
    words = {"kfold": [], "given": ["--splits", "splits.csv"]}.get(scheme, ["--scheme", str(scheme)])
    usual = "target" if len(arguments.get("targets", ())) <= MOST_STRATIFIED else "none"
    if columns.get("stratify", usual) != usual:
        words += ["--stratify", str(columns["stratify"])]
    return words + (["--by-site"] if folding.get("by_site") else [])
