"""A run as a folder: tables, fitted heads, and run.json with all that is needed to repeat it.

::

    run.json                             arguments, features, targets, flow of people, cautions, versions
    splits.csv  scores.csv               columns: featx.schema
    comparisons.csv  permutations.csv    one arm against another; against chance
    breakdowns.csv  age_bias.csv         by site and age, the worst predicted; before and after correction
    exclusions.csv  failures.csv
    people.csv                           site, age and group of every image, where a column of them was named
    predictions/TARGET.csv
    heads/TARGET--HEAD--FEATURES[--CONFOUNDS].npz   featx.analysis.runs.bundle; a model card (.md) beside each
    study.toml                           the call that made it; and what other verbs add: report.html, methods.md,
    ...                                  citations.bib, figures/, relevance/

There is no time of day and no path of the output in it: the same request writes the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from featx import schema
from featx.errors import AnalysisError

FORMAT = "featx-run"
FORMAT_VERSION = 2
_PARTS = {
    "targets": {"name", "kind", "predictions"},
    "features": {"name", "sets"},
    "heads": {"file", "target", "head", "features", "confounds"},
    "cautions": {"code", "sentence", "target"},
    "skipped": {"target", "head", "sentence"},
}
TABLES = {
    "splits": (schema.SPLITS_CSV, schema.SPLITS),
    "scores": (schema.SCORES_CSV, schema.SCORES),
    "comparisons": (schema.COMPARISONS_CSV, schema.COMPARISONS),
    "permutations": (schema.PERMUTATIONS_CSV, schema.PERMUTATIONS),
    "breakdowns": (schema.BREAKDOWNS_CSV, schema.BREAKDOWNS),
    "age_bias": (schema.AGE_BIAS_CSV, schema.AGE_BIAS),
    "exclusions": (schema.EXCLUSIONS_CSV, schema.EXCLUSIONS),
}
OURS = {
    *(file for file, _ in TABLES.values()),
    schema.RUN_JSON,
    schema.FAILURES_CSV,
    schema.PEOPLE_CSV,
    schema.PREDICTIONS_DIR,
    schema.HEADS_DIR,
    schema.REPORT_HTML,
    schema.TRAINING_JSON,
    schema.TRAINING_CURVES_CSV,
    schema.NETWORKS_DIR,
    *(schema.STUDY_TOML, schema.CITATIONS_BIB, schema.METHODS_MD, schema.FIGURES_DIR, schema.RELEVANCE_DIR),
}


@dataclass(frozen=True)
class Run:
    """A run, read back.

    Attributes
    ----------
    path : Path
    facts : mapping
        run.json.
    splits, scores, comparisons, permutations, breakdowns, age_bias, exclusions, failures : DataFrame
        Columns as in `featx.schema`; text columns are str, "" where empty.
    predictions : mapping of str to DataFrame
        By target, in the order of the run; observed and predicted are text, probability_<level> numbers.
    people : DataFrame
        Columns of `featx.schema.PEOPLE`; without rows where no sites, ages or groups were named.
    """

    path: Path
    facts: Mapping[str, Any]
    splits: pd.DataFrame
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    permutations: pd.DataFrame
    breakdowns: pd.DataFrame
    age_bias: pd.DataFrame
    exclusions: pd.DataFrame
    failures: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]
    people: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=schema.names(schema.PEOPLE)))


def is_run(path: Path) -> bool:
    """Whether a folder holds a run.json of a run."""
    try:
        return bool(json.loads((path / schema.RUN_JSON).read_text(encoding="utf-8"))["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_run(path: Path) -> Run:
    """Read a run's tables and run.json; its heads are read by `featx.analysis.runs.bundle.read_bundle`.

    Raises
    ------
    AnalysisError
        The folder is no run, a file of it is missing or has other columns, or it is of another format.
    """
    if not is_run(path):
        raise AnalysisError(
            f"a run must be a folder that `featx fit` wrote; {path} has no {schema.RUN_JSON} of one; "
            "give the folder that was named with -o"
        )
    facts = json.loads((path / schema.RUN_JSON).read_text(encoding="utf-8"))
    _check_facts(facts, path / schema.RUN_JSON)
    people = path / schema.PEOPLE_CSV
    run = Run(
        path,
        facts,
        **{name: _read_table(path / file, columns) for name, (file, columns) in TABLES.items()},
        failures=_read_table(path / schema.FAILURES_CSV, schema.FAILURES),
        predictions={
            one["name"]: _read_table(path / one["predictions"], schema.PREDICTIONS) for one in facts["targets"]
        },
        **({"people": _read_table(people, schema.PEOPLE)} if people.exists() else {}),
    )
    for target in run.predictions:
        _check_whole(run, target)
    return run


def _check_facts(facts: Mapping[str, Any], path: Path) -> None:
    version = facts.get("format_version")
    if isinstance(version, int) and version != FORMAT_VERSION:
        what = "update featx" if version > FORMAT_VERSION else "fit again"
        raise AnalysisError(f"a run must be of format version {FORMAT_VERSION}; {path} has {version}; {what}")
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
    label = ["features", "head", "confounds"]
    own = run.splits[run.splits["target"] == target]
    facts = next(one for one in run.facts["targets"] if one["name"] == target)
    n_images = int((own["fold"] >= 0).sum()) * int(facts.get("n_seeds", 1))
    if (run.splits["target"] == schema.SHARED).any():  # which hold people without a value of this target as well
        n_images = int(facts.get("n_predictions", 0))
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
    """A table with at least these columns; further ones are numbers, and of some arms only but for probabilities."""
    dtypes = {one.name: one.dtype for one in (*columns, *schema.TRAINED)}
    text = {name: str for name, dtype in dtypes.items() if dtype == "text"}
    try:
        if not path.read_bytes().endswith(b"\n"):
            raise EOFError
        found = map(str, pd.read_csv(path, nrows=0))
        floats = [
            name
            for name in found
            if dtypes.get(name) == "float" or name.startswith((schema.CONFOUND_PART, schema.CORRECTED))
        ]
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
