"""The tables at the root of a derivative: what lies in it, and what could not be made.

They tell of the whole folder, not of one call: several calls, or the jobs of an array, may add to one output. So the
table of brains is made anew from the sidecars, and the failures of images that a call was not asked for are kept.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from featx import schema
from featx.preparing.plan import BRAIN, SIDECAR, SPACE, Settings, read_sidecar, row_of

Row = dict[str, str]
_LOCK = ".tables.lock"


def list_prepared(output: Path, settings: Settings) -> tuple[list[Row], int]:
    """Brains of a derivative on one grid and with the same degrees of freedom.

    Parameters
    ----------
    output : Path
    settings : Settings
        Only `grid` and `dof` count: brains of others are not to be compared with these, and have the same ids.

    Returns
    -------
    list of dict
        Rows of `featx.schema.PREPARED`, sorted by image_id.
    int
        How many brains of other settings lie there.
    """
    rows, others = [], 0
    for sidecar in output.glob(f"sub-*/**/anat/*_space-{SPACE}_res-*_{SIDECAR}"):
        facts = read_sidecar(sidecar)
        row = row_of(facts, sidecar.with_name(sidecar.name.removesuffix(SIDECAR) + BRAIN))
        if row is None:
            continue
        had = facts.get("Settings")
        if isinstance(had, dict) and (had.get("grid"), had.get("dof")) == (settings.grid, settings.dof):
            rows.append(row)
        else:
            others += 1
    return sorted(rows, key=lambda row: (row[schema.IMAGE_ID], row["path"])), others


def write_tables(
    output: Path, settings: Settings, asked: Collection[str], failures: Sequence[Mapping[str, str]]
) -> tuple[list[Row], int]:
    """Write prepared.csv and failures.csv.

    Parameters
    ----------
    output : Path
    settings : Settings
    asked : collection of str
        Ids of the images of this call: their earlier failures are forgotten.
    failures : sequence of mapping
        Rows of `featx.schema.FAILURES` of this call.

    Returns
    -------
    list of dict and int
        As `list_prepared`.
    """
    output.mkdir(parents=True, exist_ok=True)
    with _alone(output):
        rows, others = list_prepared(output, settings)
        _write(rows, schema.names(schema.PREPARED), output / schema.PREPARED_CSV)
        path = output / schema.FAILURES_CSV
        gone = {*asked, *(row[schema.IMAGE_ID] for row in rows)}
        kept = [row for row in _read_failures(path) if row[schema.IMAGE_ID] not in gone]
        every = sorted([*kept, *failures], key=lambda row: row[schema.IMAGE_ID])
        if every:
            _write(every, schema.names(schema.FAILURES), path)
        else:
            path.unlink(missing_ok=True)
    return rows, others


def _read_failures(path: Path) -> list[Row]:
    """Rows of an earlier call; a table that is not ours, or damaged, holds none."""
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error):
        return []
    return [row for row in rows if list(row) == schema.names(schema.FAILURES) and None not in row.values()]


def _write(rows: Sequence[Mapping[str, str]], columns: Sequence[str], path: Path) -> None:
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """One process at a time reads and writes the tables of a folder."""
    with (output / _LOCK).open("w") as lock:
        with contextlib.suppress(OSError):  # a file system without locks: the last writer's tables stand
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
