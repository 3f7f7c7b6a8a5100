"""What a writer of parts tells of itself: a small file beside its parts, renewed as it goes on. For `featx status`.

A record lies in the folder of the parts, the ids that were asked for lie beside it. When parts are collected, records
of writers that are over become rows of the table of jobs in the feature file (`featx.schema.JOBS`), which travels
along whenever files are merged. Nothing here decides what is done: rows of features do.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from featx import store
from featx.errors import StoreError, first_line
from featx.extraction.parts import part_name, pid_exists
from featx.extraction.parts import parts_folder as parts_folder
from featx.featureset import digest
from featx.images.image import Image

RECORD_VERSION = 1
SIGN_OF_LIFE_S = 15.0
SILENT_S = 300.0
SAMPLES = 40  # signs of life that are kept, for the rate of the last minutes
WRITING, ENDED, STOPPED, DIED, SILENT = "writing", "ended", "stopped", "died", "silent"


@dataclass(frozen=True)
class Record:
    """One run of `featx extract`, as its process tells it.

    Attributes
    ----------
    writer : str
        host-pid-chance.
    asked : str
        Digest of the ids that were asked for and of the sets.
    started, last : float
        Seconds since 1970; `last` is the last sign of life.
    state : str
        "writing"; "ended" if all was done; "stopped" by an error or by hand. A killed process stays "writing":
        see `state_of`.
    sets : dict of str to list of str
        Names of the feature sets to be made, by the label of their network.
    n_images, n_before, finished, failed : int
        Images asked for; complete before; finished by now, failed ones among them; failed by now.
    shard : str
        "3/20" of a job array, else "".
    samples : list of [float, int]
        Time and finished images of the last signs of life.
    """

    writer: str
    host: str
    pid: int
    asked: str
    started: float
    last: float
    state: str
    sets: Mapping[str, Sequence[str]]
    n_images: int
    n_before: int
    finished: int = 0
    failed: int = 0
    shard: str = ""
    device: str = ""
    samples: Sequence[tuple[float, int]] = field(default_factory=tuple)
    version: int = RECORD_VERSION


def state_of(record: Record, now: float, host: str, *, is_running: bool) -> str:
    """What a writer is doing, as far as can be told.

    Parameters
    ----------
    now : float
        Seconds since 1970.
    host : str
        Of who asks.
    is_running : bool
        Whether there is a process of that number on the host of who asks.

    Returns
    -------
    str
        "writing", "ended", "stopped"; "died": its process is gone from this host; "silent": for five minutes.
    """
    if record.state != WRITING:
        return record.state
    if record.host == host and not is_running:
        return DIED
    return SILENT if now - record.last > SILENT_S else WRITING


def is_over(record: Record, now: float, host: str, *, is_running: bool) -> bool:
    """Whether a writer writes no more; one that is silent and still runs on this host may go on."""
    state = state_of(record, now, host, is_running=is_running)
    return state in (ENDED, STOPPED, DIED) or (state == SILENT and record.host != host)


def advance(record: Record, finished: int, failed: int, now: float, state: str = WRITING) -> Record:
    """A record with a sign of life.

    Examples
    --------
    >>> begun = Record("a-1-x", "a", 1, "", 10.0, 10.0, WRITING, {}, 5, 0)
    >>> advance(advance(begun, 1, 0, 11.0), 3, 1, 12.0).samples
    ((11.0, 1), (12.0, 3))
    """
    samples = (*record.samples, (now, finished))[-SAMPLES:]
    return replace(record, finished=finished, failed=failed, last=now, state=state, samples=samples)


# --- writing --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def keep_record(
    folder: Path,
    images: Sequence[Image],
    sets: Mapping[str, Sequence[str]],
    *,
    n_before: int = 0,
    shard: str = "",
    device: str = "",
) -> Iterator[Callable[[int, int], None]]:
    """A function (finished, failed) that renews the record of this process now and then; at the end it says so.

    Where nothing is to do, nothing is told.

    Parameters
    ----------
    folder : Path
        Of `featx.extraction.parts.parts_folder`.
    images : sequence of Image
        All that were asked for.
    sets : mapping of str to sequence of str
        Names of the sets to be made, by label.
    n_before : int
        Images that were complete before.

    Raises
    ------
    StoreError
        The record cannot be written at the start. Later ones that cannot be are left out: they cost no image.
    """
    if n_before == len(images):
        yield lambda finished, failed: None
        return
    ids = [image.image_id for image in images]
    record = begin(ids, sets, n_before=n_before, shard=shard, device=device)
    write_asked(folder, record, ids)
    write_record(folder, record)

    def told(finished: int, failed: int) -> None:
        nonlocal record
        now = time.time()
        late = now - record.last > SIGN_OF_LIFE_S
        latest = advance(record, finished, failed, now)
        # Between signs of life the numbers are kept for the last word.
        record = latest if late else replace(record, finished=finished, failed=failed)
        if late:
            with contextlib.suppress(StoreError):
                write_record(folder, record)

    state = STOPPED
    try:
        yield told
        state = ENDED
    finally:
        with contextlib.suppress(StoreError):
            write_record(folder, advance(record, record.finished, record.failed, time.time(), state))


def begin(
    ids: Sequence[str], sets: Mapping[str, Sequence[str]], *, n_before: int = 0, shard: str = "", device: str = ""
) -> Record:
    """The record of this process, before its first image."""
    host, pid, now = socket.gethostname(), os.getpid(), time.time()
    return Record(
        writer=f"{host}-{pid}-{uuid.uuid4().hex[:8]}",
        host=host,
        pid=pid,
        asked=digest([sorted(ids), {label: sorted(names) for label, names in sets.items()}]),
        started=now,
        last=now,
        state=WRITING,
        sets={label: list(names) for label, names in sets.items()},
        n_images=len(ids),
        n_before=n_before,
        shard=shard,
        device=device,
        samples=((now, 0),),
    )


def write_record(folder: Path, record: Record) -> None:
    """Write or renew a record, in one step.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    _write(folder / f"job-{record.writer}.json", json.dumps(asdict(record)))


def write_asked(folder: Path, record: Record, ids: Sequence[str]) -> None:
    """Write the ids that were asked for, once.

    Raises
    ------
    StoreError
        They cannot be written.
    """
    _write(folder / f"job-{record.writer}.images", json.dumps(list(ids)))


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(text, encoding="utf-8")
        except FileNotFoundError:  # who merged the folder's last parts has just removed it
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StoreError(
            f"a record of an extraction must be written beside its parts; {path} could not be ({first_line(error)}); "
            "see to space and permissions there and run again: what was finished before is kept"
        ) from error


# --- reading --------------------------------------------------------------------------------------------------


def read_records(folder: Path) -> list[tuple[Record, list[str]]]:
    """Records that lie in a folder of parts, each with the ids that were asked for; from the first to the last.

    Raises
    ------
    StoreError
        One of them is damaged.
    """
    found = [_read(path) for path in sorted(folder.glob("job-*.json"))]
    return sorted((one for one in found if one is not None), key=lambda one: one[0].started)


def _read(path: Path) -> tuple[Record, list[str]] | None:
    try:
        record = path.read_text(encoding="utf-8")
        return _parse(record, path.with_suffix(".images").read_text(encoding="utf-8"), path)
    except FileNotFoundError:  # it went into the feature file meanwhile
        return None


def _parse(record: str, ids: str, where: Path | str) -> tuple[Record, list[str]]:
    try:
        facts = json.loads(record)
        known = {name: facts[name] for name in Record.__dataclass_fields__}
        return Record(**known | {"samples": tuple(map(tuple, facts["samples"]))}), list(json.loads(ids))
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"a record of an extraction must be that of featx; {where} is not ({first_line(error)}); "
            "remove it: no features are in it"
        ) from error


def row_of(record: Record, ids: Sequence[str]) -> dict[str, str]:
    """A record as a row of `featx.schema.JOBS`."""
    return {
        "writer": record.writer,
        "asked": record.asked,
        "started": repr(record.started),
        "last": repr(record.last),
        "record": json.dumps({"record": asdict(record), "images": list(ids)}),
    }


def from_row(row: Mapping[str, str], where: Path) -> tuple[Record, list[str]]:
    """A record and its ids from a row of `featx.schema.JOBS`.

    Raises
    ------
    StoreError
        It is damaged.
    """
    try:
        both = json.loads(row["record"])
        record, ids = json.dumps(both["record"]), json.dumps(both["images"])
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"a table of jobs must hold records of featx; that of {where} does not ({first_line(error)}); take a copy"
        ) from error
    return _parse(record, ids, where)


def pack_records(folder: Path) -> None:
    """Turn the records of writers that are over into a part, which is merged like any other; done again after a kill
    it changes nothing.
    """
    over = records_over(folder)
    _sweep(folder)
    if not over:
        return
    store.write_sets(folder / part_name(), [], jobs=[row_of(*one) for one in over])
    for record, _ in over:
        for name in ("job-{}.json", "job-{}.images", ".job-{}.json.tmp"):
            (folder / name.format(record.writer)).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed before their first record, or while they wrote it, have left behind."""
    for path in folder.glob("job-*.json"):  # of a writer that was taken for dead, and told more after it was packed
        with contextlib.suppress(FileNotFoundError):
            if not path.with_suffix(".images").exists() and time.time() - path.stat().st_mtime > SILENT_S:
                path.unlink()
    for path in [*folder.glob("job-*.images"), *folder.glob(".job-*.tmp")]:
        writer = path.name.removeprefix(".").removesuffix(".tmp").removesuffix(".json").removesuffix(".images")
        with contextlib.suppress(FileNotFoundError):
            if not path.with_name(f"{writer}.json").exists() and time.time() - path.stat().st_mtime > SILENT_S:
                path.unlink()


def records_over(folder: Path) -> list[tuple[Record, list[str]]]:
    """Records, and the ids that were asked for, of the writers of a folder that are over.

    A damaged record is left out: it must not keep features from being collected.
    """
    now, host = time.time(), socket.gethostname()
    over: list[tuple[Record, list[str]]] = []
    for path in sorted(folder.glob("job-*.json")):
        with contextlib.suppress(StoreError):
            one = _read(path)
            if one is not None and is_over(one[0], now, host, is_running=pid_exists(one[0].pid)):
                over.append(one)
    return over
