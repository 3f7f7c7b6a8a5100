"""steps.json: which steps of a study are done, of what, and how long each took; and what is to be done again.

A step is known by a digest of its call, of the files that it reads, and of the times that the steps before it were
done. It is written down after it is done, and struck out before it is done again: a kill leaves nothing half done
that passes for whole.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shlex
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import featx
from featx.errors import StudyError
from featx.landing import fsync
from featx.study.steps import CONTENT, IMAGES, Input, Step

FORMAT, FORMAT_VERSION = "featx-steps", 1
STEPS_JSON = "steps.json"
DO, DONE, PERHAPS = "to do", "done", "perhaps"


@dataclass(frozen=True)
class Record:
    """What is known of a step from the last time.

    Attributes
    ----------
    call : str
    digest : str
        Of all that it was made of; "" where it was begun and not ended.
    stamp : str
        Another one each time that the step is done.
    elapsed_s : float
        Of the last time that it ended; 0 where it never did.
    code : int
        Its exit code: 0, or 3 where some images or phenotypes could not be.
    """

    call: str
    digest: str = ""
    stamp: str = ""
    elapsed_s: float = 0.0
    code: int = 0


@dataclass(frozen=True)
class Verdict:
    """What is to be done with a step, and why.

    Attributes
    ----------
    step : Step
    word : str
        DO, DONE, or PERHAPS: it depends on what an earlier step will make.
    why : str
    """

    step: Step
    word: str
    why: str


def read_journal(output: Path) -> dict[str, Record]:
    """The records of a study's folder by the steps' names; none where nothing was done.

    Raises
    ------
    StudyError
        The file is damaged, or of a later featx.
    """
    path = output / STEPS_JSON
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if (found["format"], found["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError("another format")
        return {name: Record(**one) for name, one in found["steps"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(
            f"the list of steps must be one that this featx wrote; {path} is not ({type(error).__name__}); remove "
            "it, and all steps are done anew"
        ) from error


def write_journal(output: Path, records: Mapping[str, Record]) -> None:
    """Write the records beside their place, flushed, then renamed."""
    output.mkdir(parents=True, exist_ok=True)
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "featx": featx.__version__,
        "steps": {name: asdict(one) for name, one in records.items()},
    }
    beside = output / f".{STEPS_JSON}.{uuid.uuid4().hex[:12]}.tmp"
    beside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    fsync(beside)
    beside.replace(output / STEPS_JSON)


def begun(step: Step, before: Record | None) -> Record:
    """The record of a step that is being done: it keeps only how long the last time took."""
    return replace(before or Record(""), call=call_of(step), digest="", stamp="")


def ended(step: Step, digest: str, elapsed_s: float, code: int) -> Record:
    """The record of a step that is done."""
    return Record(call_of(step), digest, uuid.uuid4().hex, round(elapsed_s, 3), code)


def call_of(step: Step) -> str:
    """The call as one types it.

    Examples
    --------
    >>> call_of(Step("fit", ("fit", "a.h5", "people.csv", "--where", "age > 40")))
    "featx fit a.h5 people.csv --where 'age > 40'"
    """
    return shlex.join(["featx", *step.words])


# --- decisions ------------------------------------------------------------------------------------------------


def judge(
    steps: Iterable[Step], records: Mapping[str, Record], folder: Path, again: Iterable[str] = ()
) -> list[Verdict]:
    """What is to be done with each step, as things stand.

    Parameters
    ----------
    steps : iterable of Step
        In their order.
    records : mapping of str to Record
    folder : Path
        Of the study's file; the paths of the steps are relative to it.
    again : iterable of str
        Names of steps that are wished again.
    """
    wished, verdicts = set(again), []
    pending: dict[str, Verdict] = {}
    for step in steps:
        word, why = _judge(step, records, folder, pending, step.name in wished)
        verdicts.append(Verdict(step, word, why))
        if word != DONE and not step.is_quick:
            pending[step.name] = verdicts[-1]
    return verdicts


def _judge(
    step: Step, records: Mapping[str, Record], folder: Path, pending: Mapping[str, Verdict], wished: bool
) -> tuple[str, str]:
    record = records.get(step.name)
    if step.is_quick:
        return DO, "it is quick, and looks itself at what has changed"
    if record is None or not record.digest:
        return DO, "not done yet" if record is None else "begun, not ended"
    if wished:
        return DO, "asked for again"
    before = [name for name in step.after if name in pending and pending[name].word == DO]
    if before:
        return DO, f"{before[0]} is done anew"
    if record.call != call_of(step):
        return DO, "its call has changed"
    read = {one.path for one in step.inputs}
    for name, one in pending.items():
        if read & set(one.step.outputs):
            return PERHAPS, f"if {name} changes what it reads"
        if name in step.after:
            return PERHAPS, f"if {name} is done anew"
    if record.digest != digest_of(step, records, folder):
        return DO, "what it reads has changed"
    gone = [path for path in step.outputs if not (folder / path).exists()]
    return (DO, f"{gone[0]} is gone") if gone else (DONE, "")


# --- digests --------------------------------------------------------------------------------------------------


def digest_of(step: Step, records: Mapping[str, Record], folder: Path) -> str:
    """A digest of all that a step is made of: its call, its files, and when the steps before it were done."""
    facts = [call_of(step), *(_state(one, folder) for one in step.inputs)]
    facts += [records[name].stamp if name in records else "" for name in step.after]
    return _sha256("\n".join(facts).encode("utf-8", "surrogateescape"))


def _state(one: Input, folder: Path) -> str:
    """The digest of a file that is read; "" where it is not there."""
    path = folder / str(one.path).partition("::")[0]  # a sheet of an Excel file changes with its file
    if not path.is_file():
        return ""
    if one.how == CONTENT:
        return _sha256(path.read_bytes())
    if one.how == IMAGES:
        return _sha256("\n".join([_sha256(path.read_bytes()), *_sizes(path)]).encode("utf-8", "surrogateescape"))
    return _size(str(path))


def _sizes(table: Path) -> Iterable[str]:
    """Size and time of each file that a table of images names; nothing of what lies behind an address."""
    separator = "\t" if table.suffix == ".tsv" else ","
    with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        for row in csv.DictReader(file, delimiter=separator):
            for name in ("path", "mask"):
                yield _size(os.path.join(table.parent, row.get(name) or "")) if row.get(name) else ""


def _size(path: str) -> str:
    try:
        facts = os.stat(path)
    except OSError:
        return ""
    return f"{facts.st_size} {facts.st_mtime_ns}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
