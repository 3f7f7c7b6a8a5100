"""What the arms of a comparison cost, as far as files tell: extraction, training, fitting. Nothing is guessed."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from featx import schema
from featx.analysis.comparing.arms import Arm
from featx.analysis.comparing.columns import COSTS
from featx.analysis.comparing.reading import Entry
from featx.errors import StoreError

EXTRACTION, TRAINING, FITTING = "extraction", "training", "fitting"
_UNFOUND = "the feature file was not found: name it with --features"
STEPS_JSON = "steps.json"  # of `featx run`: {"steps": {name: {"call": ..., "elapsed_s": ...}}}

Row = dict[str, Any]


def costs(entries: Sequence[Entry], features: Sequence[Path]) -> pd.DataFrame:
    """What is recorded of each run.

    Parameters
    ----------
    entries : sequence of Entry
    features : sequence of Path
        Feature files; where a run names one by its digest that lies beside it, it is found without being given.

    Returns
    -------
    DataFrame
        Columns of `featx.analysis.comparing.columns.COSTS`.
    """
    rows: list[Row] = []
    for entry in entries:
        if entry.run is None:
            continue
        trained = _training(entry)
        rows += trained or [*_extraction(entry, features), _fitting(entry)]
    return pd.DataFrame(rows, columns=schema.names(COSTS))


def _row(entry: Entry, what: str, of: str, *, told_by: str, **more: Any) -> Row:
    return {
        "run": entry.name,
        "what": what,
        "of": of,
        "device": "",
        "minutes": None,
        "n": None,
        "told_by": told_by,
    } | more


# --- extraction -----------------------------------------------------------------------------------------------


def _extraction(entry: Entry, features: Sequence[Path]) -> list[Row]:
    """Device and minutes of every network of a run, from the jobs that its feature files remember."""
    sets = {
        str(part["name"])
        for one in entry.facts["features"]
        for part in one["sets"]
        if part["provenance"].get("network") != "table"
    }
    labels = list(dict.fromkeys(name.split("/")[0] for name in sorted(sets)))
    sources = [one for one in entry.facts.get("sources", []) if one["role"] == "features"]
    files = [found for one in sources if (found := _file_of(entry, one, features)) is not None]
    rows: list[Row] = []
    for label in labels:
        own = sorted(name for name in sets if name.split("/")[0] == label)
        spent = job_minutes([row for file in files for row in _jobs(file)], own)
        where = ", ".join(sorted({file.name for file in files}))
        if not spent:
            unfound = "no file of --features is the one that the run read" if features else _UNFOUND
            lost = f"{where} remembers no job of it" if files else unfound
            rows.append(_row(entry, EXTRACTION, label, told_by=lost))
        rows += [
            _row(entry, EXTRACTION, label, device=device, minutes=minutes, n=n, told_by=where + note)
            for device, (minutes, n, note) in spent.items()
        ]
    return rows


def _file_of(entry: Entry, source: Mapping[str, str], features: Sequence[Path]) -> Path | None:
    """The feature file that a run read: the one of that digest, among those given and beside the run."""
    near = [entry.path.resolve().parent / source["file"], entry.path.resolve() / source["file"]]
    for path in [*features, *near]:
        if path.is_file() and _sha256(path) == source.get("sha256"):
            return path
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _jobs(path: Path) -> list[Mapping[str, str]]:
    from featx import store  # the rest of this wing does without h5py

    try:
        return list(store.read_jobs(path))
    except StoreError:
        return []


def job_minutes(jobs: Sequence[Mapping[str, str]], sets: Sequence[str]) -> dict[str, tuple[float, int, str]]:
    """Minutes, images and a note by device, of the jobs that wrote any of these feature sets.

    A job that ran several networks at once is counted whole, for what one of them would have cost alone was not
    measured; the note says so.

    Parameters
    ----------
    jobs : sequence of mapping
        Rows of `featx.schema.JOBS`.
    sets : sequence of str

    Examples
    --------
    >>> told = {"sets": {"net": ["net/axial/t/mean"]}, "device": "cpu", "finished": 9, "started": 0.0, "last": 90.0}
    >>> job_minutes([{"record": json.dumps({"record": told})}], ["net/axial/t/mean"])
    {'cpu': (1.5, 9, '')}
    """
    found: dict[str, tuple[float, int, str]] = {}
    for row in jobs:
        record = json.loads(row["record"])["record"]
        if not any(name in sets for own in record["sets"].values() for name in own):
            continue
        minutes, n, note = found.get(str(record["device"]), (0.0, 0, ""))
        others = len(record["sets"]) - 1
        note = note or (f"; together with {others} more networks" if others > 0 else "")
        elapsed_s = float(record["last"]) - float(record["started"])
        found[str(record["device"])] = (minutes + elapsed_s / 60, n + int(record["finished"]), note)
    return found


# --- training, fitting ----------------------------------------------------------------------------------------


def _training(entry: Entry) -> list[Row]:
    """Minutes of the networks that were trained and tested, by arm and targets; none for a run of heads."""
    path = entry.path / schema.TRAINING_JSON
    if not path.is_file():
        return []
    told = json.loads(path.read_text(encoding="utf-8"))
    fits = pd.DataFrame([one for one in told.get("fits", []) if "elapsed_s" in one and int(one["fold"]) >= 0])
    if not len(fits):
        return [_row(entry, TRAINING, "", told_by=f"{schema.TRAINING_JSON} tells of no network that was trained")]
    return [
        _row(
            entry,
            TRAINING,
            f"{arm} for {target}",
            device=str(told.get("device", "")),
            minutes=float(own["elapsed_s"].sum()) / 60,
            n=len(own),
            told_by=schema.TRAINING_JSON,
        )
        for (arm, target), own in fits.groupby(["arm", "target"], sort=False)
    ]


def _fitting(entry: Entry) -> Row:
    """Minutes of all heads of a run: a run holds no time, the study that it is part of may."""
    folder = entry.path.resolve()
    try:
        steps = json.loads((folder.parent / STEPS_JSON).read_text(encoding="utf-8"))["steps"]
        elapsed_s = step_seconds(list(steps.values()), folder.name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        elapsed_s = None
    if not elapsed_s:
        lost = f"a run holds no times, and no {STEPS_JSON} of a study beside it tells them"
        return _row(entry, FITTING, "all heads", told_by=lost)
    return _row(entry, FITTING, "all heads", minutes=elapsed_s / 60, told_by=STEPS_JSON)


def step_seconds(steps: Sequence[Mapping[str, Any]], folder: str) -> float | None:
    """Seconds of the step of a study that wrote a folder, None where no step did.

    Examples
    --------
    >>> step_seconds([{"call": "featx fit a.h5 p.tsv --target age -o study/run", "elapsed_s": 8.5}], "run")
    8.5
    """
    for one in steps:
        words = shlex.split(one["call"])
        outputs = [after for word, after in pairwise(words) if word in ("-o", "--output")]
        if [Path(output).name for output in outputs] == [folder]:
            return float(one["elapsed_s"])
    return None


def minutes_of(arm: Arm, target: str, table: pd.DataFrame) -> float:
    """Minutes of the device that one arm needed: extraction of its networks, or training; NaN where any is unknown.

    Parameters
    ----------
    arm : Arm
    target : str
    table : DataFrame
        From `costs`.
    """
    own = table[table["run"] == arm.run]
    fits = own[own["what"] == TRAINING]
    if len(fits):
        named = [_is_of(str(of), arm.head, target) for of in fits["of"]]
        fits = fits[named]
        return float(fits["minutes"].astype(float).sum()) if len(fits) else float("nan")
    if not arm.networks:
        return float("nan")
    jobs = own[(own["what"] == EXTRACTION) & own["of"].isin(arm.networks)]
    known = set(jobs["of"]) == set(arm.networks)
    return float(jobs["minutes"].astype(float).sum(skipna=False)) if known else float("nan")


def _is_of(words: str, arm: str, target: str) -> bool:
    head, _, targets = words.partition(" for ")
    return head == arm and (targets == target or target in targets.split("+"))
