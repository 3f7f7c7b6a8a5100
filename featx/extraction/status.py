"""How far an extraction is: what is done, failed and left, how fast it goes, and who writes."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from featx import schema, store
from featx.errors import StoreError
from featx.extraction.parts import parts_folder, pid_exists
from featx.extraction.record import (
    WRITING,
    Record,
    from_row,
    read_records,
    row_of,
    state_of,
)
from featx.merging import Failure, last_jobs, still_failing

RECENT_S = 300.0
Told = tuple[Record, list[str]]  # a record, and the ids that were asked for
People = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Progress:
    """Images of one network, or of all: asked for (None if nobody told), with all their rows, failed, and left."""

    asked: int | None
    done: int
    failed: int
    left: int


@dataclass(frozen=True)
class Writer:
    """A record, and what its writer does: see `featx.extraction.record.state_of`."""

    record: Record
    state: str
    silent_s: float


@dataclass(frozen=True)
class Status:
    """How far an extraction is.

    Attributes
    ----------
    images : Progress
        Done is an image that has all rows that were asked for; failed, one that has no other hope.
    networks : mapping of str to Progress
        By label.
    codes : mapping of str to int
        Images that failed, by reason code.
    failures : list of dict
        Rows of `featx.schema.FAILURES`.
    recent, overall : float
        Images per second: of the last five minutes of those who write, 0 if nobody does; of the last run.
    left_s : float or None
        Seconds until all is done, at the recent rate; None if nobody writes, or none is known.
    writers : list of Writer
        From the first to the last.
    """

    images: Progress
    networks: Mapping[str, Progress]
    codes: Mapping[str, int]
    failures: list[Failure]
    recent: float
    overall: float
    left_s: float | None
    writers: list[Writer]


def read_status(output: Path) -> Status:
    """Read what the output, its parts and their records tell.

    Raises
    ------
    StoreError
        There is nothing of that name, or it is damaged.
    """
    folder = parts_folder(output)
    if not output.is_file() and not folder.is_dir():
        raise StoreError(
            f"a job must be named by its feature file; there is neither {output} nor {folder}; "
            "name what `featx extract -o` names"
        )
    ids, failures, told = _read(output, folder)
    now, host = time.time(), socket.gethostname()
    writers = [
        Writer(one, state_of(one, now, host, is_running=pid_exists(one.pid)), max(0.0, now - one.last))
        for one, _ in told
    ]
    return sum_up({name: people for name, (_, people) in ids.items()}, failures, told, writers)


def _read(output: Path, folder: Path) -> tuple[store.Done, list[Failure], list[Told]]:
    """Ids, failures from old to new, and records; read again where another process merges parts meanwhile."""
    while True:
        lying = read_records(folder)
        paths = ([output] if output.is_file() else []) + sorted(folder.glob("part-*.h5"))
        try:
            ids = store.read_ids(*paths)
            failures = [row for path in paths for row in store.read_failures(path)]
            rows = [row for path in paths for row in store.read_jobs(path)] + [row_of(*one) for one in lying]
            told = [from_row(row, output) for row in last_jobs(rows)]
            return ids, failures, sorted(told, key=lambda one: one[0].started)
        except StoreError:
            if all(path.exists() for path in paths):
                raise


# --- decisions ------------------------------------------------------------------------------------------------


def sum_up(
    done: Mapping[str, People], failures: Sequence[Failure], told: Sequence[Told], writers: Sequence[Writer]
) -> Status:
    """Status from what was read.

    Parameters
    ----------
    done : mapping of str to mapping
        By set, the images that have a row.
    failures : sequence of dict
        From old to new.
    """
    to_be = {name: set[str]() for record, _ in told for names in record.sets.values() for name in names}
    failing = still_failing(failures, to_be | {name: set(people) for name, people in done.items()})
    asked, missing = _wanted(done, told)
    networks: dict[str, Progress] = {}
    failed: set[str] = set()
    left: set[str] = set()
    for label in sorted(asked.keys() | {name.split("/")[0] for name in done}):
        failed_here = {row[schema.IMAGE_ID] for row in failing if row["network"] in (label, "")}
        if label not in asked:  # made by a featx that kept no records
            rows = [people.keys() for name, people in done.items() if name.split("/")[0] == label]
            networks[label] = Progress(None, len(set.intersection(*map(set, rows))), len(failed_here), 0)
            continue
        lacking = missing[label] & failed_here
        failed |= lacking
        left |= missing[label] - lacking
        networks[label] = _progress(asked[label], lacking, missing[label] - lacking)
    everyone = set().union(*asked.values())
    recent = sum(recent_rate(one.record) for one in writers if one.state == WRITING)
    writing = any(one.state == WRITING for one in writers)
    return Status(
        images=_progress(everyone, failed - left, left) if asked else _unasked(networks, failing),
        networks=networks,
        codes=dict(Counter(code for code, _ in {(row["code"], row[schema.IMAGE_ID]) for row in failing})),
        failures=failing,
        recent=recent,
        overall=overall_rate([one.record for one in writers]),
        left_s=len(left) / recent if writing and recent else None,
        writers=list(writers),
    )


def _wanted(
    done: Mapping[str, People], told: Sequence[Told]
) -> tuple[dict[str, set[str]], dict[str, AbstractSet[str]]]:
    """By label, the images that were asked for, and those that lack a row of a set that was to be made of them."""
    asked: dict[str, set[str]] = {}
    missing: dict[str, AbstractSet[str]] = {}
    for record, ids in told:
        for label, names in record.sets.items():
            wanted = set(ids)
            lacking = set().union(*(wanted - done.get(name, {}).keys() for name in names))
            asked[label] = asked.get(label, set()) | wanted
            missing[label] = missing.get(label, set()) | lacking
    return asked, missing


def _progress(asked: Collection[str], failed: Collection[str], left: Collection[str]) -> Progress:
    return Progress(len(asked), len(asked) - len(failed) - len(left), len(failed), len(left))


def _unasked(networks: Mapping[str, Progress], failing: Sequence[Failure]) -> Progress:
    """Of a file without records: images that every network is done with."""
    done = min((one.done for one in networks.values()), default=0)
    return Progress(None, done, len({row[schema.IMAGE_ID] for row in failing}), 0)


def recent_rate(record: Record) -> float:
    """Images per second over a writer's last five minutes; 0 before its second sign of life.

    Examples
    --------
    >>> one = Record("a", "a", 1, "", 0.0, 600.0, WRITING, {}, 9, 0, samples=((0.0, 0), (400.0, 4), (600.0, 8)))
    >>> recent_rate(one)
    0.02
    """
    late = [(at, finished) for at, finished in record.samples if at >= record.last - RECENT_S]
    if len(late) < 2 or late[-1][0] <= late[0][0]:
        return 0.0
    return (late[-1][1] - late[0][1]) / (late[-1][0] - late[0][0])


def overall_rate(records: Sequence[Record]) -> float:
    """Images per second of the last run: of the record that was renewed last, and of all whose times overlap.

    Examples
    --------
    >>> def one(started, last, finished):
    ...     return Record("a", "a", 1, "", started, last, "ended", {}, 9, 0, finished=finished)
    >>> overall_rate([one(0.0, 10.0, 1000), one(50.0, 60.0, 20), one(58.0, 70.0, 40)])
    3.0
    """
    if not records:
        return 0.0
    by_end = sorted(records, key=lambda record: record.last, reverse=True)
    run = by_end[:1]
    start = run[0].started
    for record in by_end[1:]:
        if record.last < start:
            break
        run.append(record)
        start = min(start, record.started)
    elapsed_s = by_end[0].last - start
    return sum(record.finished for record in run) / elapsed_s if elapsed_s > 0 else 0.0
