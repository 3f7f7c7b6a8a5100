"""A run as a folder: tables, fitted heads, and run.json with all that is needed to repeat it.

::

    run.json                             arguments, features, targets, flow of people, versions
    splits.csv  scores.csv               columns: featx.schema
    exclusions.csv  failures.csv
    predictions/TARGET.csv
    heads/TARGET--HEAD--FEATURES.npz     featx.analysis.bundle

There is no time of day and no path of the output in it: the same request writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from featx import schema
from featx.analysis.bundle import SUFFIX, set_as_json, write_bundle
from featx.analysis.request import Result, versions
from featx.errors import AnalysisError

FORMAT = "featx-run"
FORMAT_VERSION = 1
LONGEST_NAME = 100
_PARTS = {
    "targets": {"name", "kind", "predictions"},
    "features": {"name", "sets"},
    "heads": {"file", "target", "head", "features"},
    "skipped": {"target", "head", "sentence"},
}
_OURS = {
    schema.RUN_JSON,
    schema.SPLITS_CSV,
    schema.SCORES_CSV,
    schema.EXCLUSIONS_CSV,
    schema.FAILURES_CSV,
    schema.PREDICTIONS_DIR,
    schema.HEADS_DIR,
    schema.REPORT_HTML,
}


@dataclass(frozen=True)
class Run:
    """A run, read back.

    Attributes
    ----------
    path : Path
    facts : mapping
        run.json.
    splits, scores, exclusions, failures : DataFrame
        Columns as in `featx.schema`; text columns are str, "" where empty.
    predictions : mapping of str to DataFrame
        By target, in the order of the run; observed and predicted are text, probability_<level> numbers.
    """

    path: Path
    facts: Mapping[str, Any]
    splits: pd.DataFrame
    scores: pd.DataFrame
    exclusions: pd.DataFrame
    failures: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]


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
    if not _is_run(path):
        raise AnalysisError(
            f"a run must be written to a new folder, an empty one or an older run; {path} holds {min(inside)!r} and "
            "is no run; choose another name"
        )
    foreign = sorted(name for name in inside - _OURS if not name.startswith("."))
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


def _is_run(path: Path) -> bool:
    try:
        return bool(json.loads((path / schema.RUN_JSON).read_text(encoding="utf-8"))["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_run(result: Result, path: Path, failures: Sequence[Mapping[str, str]] = ()) -> None:
    """Write a run beside its place, then swap it in; an older run under that name goes only then.

    Parameters
    ----------
    result : Result
    path : Path
        The folder; see `check_output`.
    failures : sequence of mapping
        Rows of `featx.schema.FAILURES`, from the feature files.

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
    _write_table(folder / schema.SPLITS_CSV, result.splits)
    _write_table(folder / schema.SCORES_CSV, result.scores)
    _write_table(folder / schema.EXCLUSIONS_CSV, result.exclusions)
    _write_table(folder / schema.FAILURES_CSV, failed)
    prediction_files, head_files = _file_names(result)
    for target, file in prediction_files.items():
        _write_table(folder / file, result.predictions[target])
    for key, file in head_files.items():
        write_bundle(result.bundles[key], folder / file)
    facts = run_facts(result, prediction_files, head_files)
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
    _write_bytes(folder / schema.RUN_JSON, (text + "\n").encode())


def sorted_failures(failures: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Failures in the order of image and network, each once: several feature files may tell of the same."""
    unique = {tuple(row[name] for name in schema.names(schema.FAILURES)) for row in failures}
    return [dict(zip(schema.names(schema.FAILURES), row, strict=True)) for row in sorted(unique)]


def _file_names(result: Result) -> tuple[dict[str, str], dict[tuple[str, str, str], str]]:
    """Paths within the run: of predictions by target, of heads by (target, head, combination)."""
    targets = file_stems(result.predictions)
    features = file_stems(result.sets)
    predictions = {target: f"{schema.PREDICTIONS_DIR}/{stem}.csv" for target, stem in targets.items()}
    heads = {
        (target, head, combination): (
            f"{schema.HEADS_DIR}/{targets[target]}--{head}--{features[combination]}{SUFFIX}"
        )
        for target, head, combination in result.bundles
    }
    return predictions, heads


def run_facts(
    result: Result, prediction_files: Mapping[str, str], head_files: Mapping[tuple[str, str, str], str]
) -> dict[str, Any]:
    """What run.json holds. n_jobs is not in it, for nothing depends on it."""
    request = result.request
    same = ("n_splits", "n_inner", "n_bootstrap", "random_state")
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "arguments": {
            "targets": list(request.targets),
            "heads": list(request.heads),
            "kinds": dict(request.kinds),
            "combinations": {name: list(sets) for name, sets in request.combinations.items()},
            **{name: getattr(request, name) for name in same},
        },
        "phenotypes": {"file": request.phenotypes_name, "sha256": request.phenotypes_sha256},
        "features": [
            {"name": name, "sets": [set_as_json(one) for one in sets]} for name, sets in result.sets.items()
        ],
        "targets": [asdict(one) | {"predictions": prediction_files[one.name]} for one in result.targets],
        "heads": [
            {
                "file": file,
                "target": target,
                "head": head,
                "features": combination,
                "parameters": result.bundles[target, head, combination].contract["parameters"],
            }
            for (target, head, combination), file in head_files.items()
        ],
        "skipped": [
            {"target": target, "head": head, "sentence": "the head does not suit the kind of the target"}
            for target, head in result.skipped
        ],
        "flow": dict(result.flow),
        "versions": versions(),
    }


def _write_table(path: Path, table: pd.DataFrame) -> None:
    """CSV with numbers in the shortest form that reads back equal; NaN is empty."""
    _write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


# --- reading --------------------------------------------------------------------------------------------------


def read_run(path: Path) -> Run:
    """Read a run's tables and run.json; its heads are read by `featx.analysis.bundle.read_bundle`.

    Raises
    ------
    AnalysisError
        The folder is no run, a file of it is missing or has other columns, or it is of a later format.
    """
    if not _is_run(path):
        raise AnalysisError(
            f"a run must be a folder that `featx fit` wrote; {path} has no {schema.RUN_JSON} of one; "
            "give the folder that was named with -o"
        )
    facts = json.loads((path / schema.RUN_JSON).read_text(encoding="utf-8"))
    _check_facts(facts, path / schema.RUN_JSON)
    run = Run(
        path,
        facts,
        splits=_read_table(path / schema.SPLITS_CSV, schema.SPLITS),
        scores=_read_table(path / schema.SCORES_CSV, schema.SCORES),
        exclusions=_read_table(path / schema.EXCLUSIONS_CSV, schema.EXCLUSIONS),
        failures=_read_table(path / schema.FAILURES_CSV, schema.FAILURES),
        predictions={
            one["name"]: _read_table(path / one["predictions"], schema.PREDICTIONS) for one in facts["targets"]
        },
    )
    for target in run.predictions:
        _check_whole(run, target)
    return run


def _check_facts(facts: Mapping[str, Any], path: Path) -> None:
    version = facts.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise AnalysisError(
            f"a run must be of format version {FORMAT_VERSION} or older; {path} has {version}; update featx"
        )
    lacking = [] if isinstance(version, int) else ["format_version"]
    lacking += [] if "targets" in facts else ["targets"]
    for part, keys in _PARTS.items():
        rows = facts.get(part, [])
        sound = isinstance(rows, list) and all(isinstance(one, dict) and keys <= set(one) for one in rows)
        lacking += [] if sound else [part]
    if lacking:
        raise AnalysisError(
            f"a run must say what it is of; {path} lacks {lacking[0]!r}, or it is not as it was written; fit again"
        )


def _check_whole(run: Run, target: str) -> None:
    """Every answer that is scored has all its images and metrics, and no other is there."""
    label = ["features", "head"]
    n_images = int((run.splits["target"] == target).sum())
    images = run.predictions[target].groupby(label, sort=False).size()
    metrics = run.scores[run.scores["target"] == target].groupby(label, sort=False).size()
    if not n_images or not len(metrics) or set(images.index) != set(metrics.index):
        got = (
            f"{len(images)} answers with predictions, {len(metrics)} with scores and {n_images} images in the splits"
        )
    elif (images != n_images).any():
        got = f"{int(images[images != n_images].iloc[0])} predictions of an answer for {n_images} images"
    elif metrics.nunique() > 1:
        got = f"{int(metrics.min())} scores of one answer and {int(metrics.max())} of another"
    else:
        return
    raise AnalysisError(f"a run must be whole; {run.path} has, for target {target!r}, {got}; fit again")


def _read_table(path: Path, columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """A table with at least these columns; further ones are numbers."""
    dtypes = {one.name: one.dtype for one in columns}
    text = {name: str for name, dtype in dtypes.items() if dtype == "text"}
    floats = [name for name, dtype in dtypes.items() if dtype == "float"]
    try:
        if not path.read_bytes().endswith(b"\n"):
            raise EOFError
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={name: [""] for name in floats})
    except (OSError, EOFError, ValueError) as error:
        raise AnalysisError(
            f"a run must be whole; {path} cannot be read ({type(error).__name__}); fit again"
        ) from error
    lacking = [name for name in schema.names(columns) if name not in table]
    if lacking:
        raise AnalysisError(f"a table of a run must have its columns; {path} lacks {lacking[0]!r}; fit again")
    bad = [str(name) for name in table if len(table) and not _is_sound(table[name], dtypes.get(str(name), "float"))]
    if bad:
        raise AnalysisError(
            f"a run must be whole; {path} has an empty or strange cell in column {bad[0]!r}; "
            "it was cut short or changed: fit again"
        )
    return table


def _is_sound(column: pd.Series, dtype: str) -> bool:
    if dtype == "text":
        return bool(column.notna().all())
    return pd.api.types.is_integer_dtype(column) if dtype == "int" else pd.api.types.is_numeric_dtype(column)
