"""Writing a run: beside its place, flushed, then swapped in. The layout is that of `featx.analysis.runs.rundir`.

There is no time of day and no path of the output in it: the same request writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from featx import schema
from featx.analysis.cohort.people import people_of
from featx.analysis.crossval import IGNORED
from featx.analysis.folds.strata import NUMBERS
from featx.analysis.request import NO_FEATURES, Job, Result, versions
from featx.analysis.rows import prediction_table
from featx.analysis.runs.bundle import CARD_SUFFIX, SUFFIX, set_as_json, write_bundle
from featx.analysis.runs.card import card
from featx.analysis.runs.rundir import FORMAT, FORMAT_VERSION, OURS, TABLES, is_run
from featx.errors import AnalysisError

LONGEST_NAME = 100


# --- names ----------------------------------------------------------------------------------------------------


def slug(text: str) -> str:
    """Text as a part of a file name; long text is cut and gets a digest, so that it stays apart from its like.

    Examples
    --------
    >>> slug("grip strength (kg)"), slug("squeezenet1_0.imagenet/axial/fire5/mean"), slug("..")
    ('grip-strength-kg', 'squeezenet1_0.imagenet-axial-fire5-mean', 'unnamed')
    """
    plain = re.sub(r"-{2,}", "-", re.sub(r"[^\w.@]+", "-", text, flags=re.ASCII)).strip("-.") or "unnamed"
    if len(plain) <= LONGEST_NAME:
        return plain
    return f"{plain[: LONGEST_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def file_stems(names: Iterable[str]) -> dict[str, str]:
    """A slug for every name, all of them different, even where capitals count for nothing.

    Examples
    --------
    >>> file_stems(["a b", "a-b", "Age"])
    {'a b': 'a-b', 'a-b': 'a-b.2', 'Age': 'Age'}
    """
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        stem, number = slug(name), 1
        while stem.lower() in taken:
            number += 1
            stem = f"{slug(name)}.{number}"
        taken.add(stem.lower())
        stems[name] = stem
    return stems


# --- writing --------------------------------------------------------------------------------------------------


def check_output(path: Path) -> None:
    """Refuse a place where a run must or can not be written: a file, or a folder with something else in it.

    Raises
    ------
    AnalysisError
    """
    _check_parent(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise AnalysisError(f"a run must be written to a folder; {path} is a file; choose another name")
    inside = {one.name for one in path.iterdir()}
    if not inside:
        return
    if not is_run(path):
        raise AnalysisError(
            f"a run must be written to a new folder, an empty one or an older run; {path} holds {min(inside)!r} and "
            "is no run; choose another name"
        )
    foreign = sorted(name for name in inside - OURS if not name.startswith("."))
    if foreign:
        raise AnalysisError(
            f"an older run must hold only what featx wrote to be overwritten; {path} also holds {foreign[0]!r}; "
            "move that away, or choose another name"
        )


def _check_parent(path: Path) -> None:
    """The run is written beside its place: the folder above, or the nearest one that is there, must allow it."""
    above = next(one for one in path.resolve().parents if os.path.lexists(one))
    if not above.is_dir():
        raise AnalysisError(
            f"a run must be written inside a folder; {above} is none, for {path}; choose another name"
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise AnalysisError(
            f"a run must be written where you may write; {above} does not allow it, for {path}; choose another name"
        )


def write_run(
    result: Result,
    path: Path,
    failures: Sequence[Mapping[str, str]] = (),
    *,
    add: Callable[[Path], None] | None = None,
) -> None:
    """Write a run beside its place, then swap it in; an older run under that name goes only then.

    Parameters
    ----------
    result : Result
    path : Path
        The folder; see `check_output`.
    failures : sequence of mapping
        Rows of `featx.schema.FAILURES`, from the feature files.
    add : callable, optional
        Writes further files into the folder that it is given, before that gets its name.

    Raises
    ------
    AnalysisError
        The place is taken by something else.
    """
    check_output(path)
    path = path.resolve()  # so that '.' has a name too
    path.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex[:12]
    beside = path.with_name(f".{path.name}.{token}.tmp")
    old = path.with_name(f".{path.name}.{token}.old")
    try:
        _write_files(result, beside, failures)
        if add is not None:
            add(beside)
        if path.exists():
            path.rename(old)
        beside.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (beside, old):
            shutil.rmtree(left, ignore_errors=True)


def _write_files(result: Result, folder: Path, failures: Sequence[Mapping[str, str]]) -> None:
    for name in (schema.PREDICTIONS_DIR, schema.HEADS_DIR):
        (folder / name).mkdir(parents=True)
    failed = pd.DataFrame(sorted_failures(failures), columns=schema.names(schema.FAILURES))
    for name, (file, _) in TABLES.items():
        _write_table(folder / file, result.tables[name])
    if len(result.tables["people"]):
        _write_table(folder / schema.PEOPLE_CSV, result.tables["people"])
    _write_table(folder / schema.FAILURES_CSV, failed)
    prediction_files, head_files = _file_names(result)
    for job in result.jobs:
        target = job.target.name
        _write_table(folder / prediction_files[target], prediction_table(job, result.arms[target]))
    for key, file in head_files.items():
        write_bundle(result.bundles[key], folder / file)
        _write_bytes((folder / file).with_suffix(CARD_SUFFIX), card(result.bundles[key]).encode())
    facts = run_facts(result, prediction_files, head_files)
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
    _write_bytes(folder / schema.RUN_JSON, (text + "\n").encode())


def sorted_failures(failures: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Failures in the order of image and network, each once: several feature files may tell of the same."""
    unique = {tuple(row[name] for name in schema.names(schema.FAILURES)) for row in failures}
    return [dict(zip(schema.names(schema.FAILURES), row, strict=True)) for row in sorted(unique)]


def _file_names(result: Result) -> tuple[dict[str, str], dict[tuple[str, str, str, str], str]]:
    """Paths within the run: of predictions by target, of heads by (target, head, combination, confounds)."""
    targets = file_stems(job.target.name for job in result.jobs)
    features = file_stems([NO_FEATURES, *result.sets]) | {NO_FEATURES: "confounds"}
    heads = file_stems(dict.fromkeys(head for _, head, _, _ in result.bundles))
    predictions = {target: f"{schema.PREDICTIONS_DIR}/{stem}.csv" for target, stem in targets.items()}
    stored = {
        key: "--".join(
            [f"{schema.HEADS_DIR}/{targets[key[0]]}", heads[key[1]], features[key[2]]]
            + ([key[3]] if key[3] != IGNORED else [])
        )
        + SUFFIX
        for key in result.bundles
    }
    return predictions, stored


def run_facts(
    result: Result, prediction_files: Mapping[str, str], head_files: Mapping[tuple[str, str, str, str], str]
) -> dict[str, Any]:
    """What run.json holds. n_jobs is not in it, for nothing depends on it."""
    request = result.request
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "arguments": {
            "targets": list(request.targets),
            "heads": list(request.heads),
            "kinds": dict(request.kinds),
            "combinations": {name: list(sets) for name, sets in request.combinations.items()},
            "grids": {
                name: {key: list(values) for key, values in grid.items()} for name, grid in request.grids.items()
            },
            "folding": asdict(request.folding),
            "columns": asdict(request.columns),
            "adjusting": asdict(request.adjusting),
            "inferring": asdict(request.inferring),
            "options": {"device": request.options.device, "class_weight": request.options.class_weight},
            "given_splits": request.given_splits is not None,
            "aggregate": request.aggregate,
        },
        **({"command": request.command} if request.command else {}),
        "sources": [dict(one) for one in request.sources],
        "phenotypes": {"file": request.phenotypes_name, "sha256": request.phenotypes_sha256},
        "features": [
            {"name": name, "sets": [set_as_json(one) for one in sets]} for name, sets in result.sets.items()
        ],
        "targets": [_target_facts(result, job, prediction_files) for job in result.jobs],
        "heads": [
            {
                "file": file,
                "target": target,
                "head": head,
                "features": combination,
                "confounds": confounds,
                "parameters": result.bundles[target, head, combination, confounds].contract["parameters"],
            }
            for (target, head, combination, confounds), file in head_files.items()
        ],
        "skipped": [
            {"target": target, "head": head, "sentence": sentence} for target, head, sentence in result.skipped
        ],
        "cautions": [asdict(one) for one in result.cautions],
        "flow": dict(result.flow),
        "versions": versions(),
    }


def _target_facts(result: Result, job: Job, prediction_files: Mapping[str, str]) -> dict[str, Any]:
    target, name = job.target, job.target.name
    is_class = target.kind not in NUMBERS
    return {
        "name": name,
        "kind": target.kind,
        "unit": result.request.units.get(name, ""),
        "classes": list(target.classes),
        "counts": [int((target.y == at).sum()) for at in range(len(target.classes))] if is_class else [],
        "n_images": len(target.y),
        "n_people": len(set(people_of(job.images.participant_id))),
        "n_tested": int((job.design.fold >= 0).any(axis=0).sum()),
        "n_predictions": int((job.design.fold >= 0).sum()),
        "n_repeats": job.design.n_repeats,
        **({"n_seeds": job.n_seeds} if job.n_seeds > 1 else {}),
        "n_splits": len(job.design.splits),
        "predictions": prediction_files[name],
    }


def _write_table(path: Path, table: pd.DataFrame) -> None:
    """CSV with numbers in the shortest form that reads back equal; NaN is empty."""
    _write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
