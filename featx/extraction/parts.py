"""Part files: what an extraction has finished, written beside the output until it is merged into it.

Parts are small, immutable and named by time, process and chance: any number of processes may write them, on any
disk, without a lock. Their final name means complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx import store
from featx.errors import StoreError
from featx.extraction.plan import PlannedSet
from featx.featureset import FeatureSet
from featx.images.image import Image
from featx.store import Failure

PART_SECONDS = 30.0
PART_ROWS = 256
BLOCK_BYTES = 1 << 28  # of the rows of all sets; they are held twice
PARTS_AT_ONCE = 400

_WRITER = re.compile(r"\.part-\d+-(?P<host>[^-]+)-(?P<pid>\d+)-")

Rows = dict[str, NDArray[np.float32]]  # set name -> (n_features,), or (n_slices, n_features)


@dataclass(frozen=True)
class Result:
    """What came out for one image: a row per set, why some sets have none, and the misfits that were let through."""

    image: Image
    rows: Rows
    failures: list[Failure]
    accepted: list[Failure] = field(default_factory=list)


def read_done(output: Path) -> dict[str, tuple[str, dict[str, tuple[str, str]]]]:
    """What the output and its parts hold: for every set its key, and {image: (participant, session)}."""
    while True:
        sources = _sources(output)
        try:
            return store.read_ids(*sources)
        except StoreError:
            if all(path.exists() for path in sources):
                raise  # else another writer has merged a part meanwhile: look again


def read_precisions(output: Path) -> dict[str, str]:
    """In which precision the output and its parts hold each network (with its weights)."""
    while True:
        sources = _sources(output)
        try:
            return store.read_precisions(*sources)
        except StoreError:
            if all(path.exists() for path in sources):
                raise


@contextlib.contextmanager
def write_parts(
    output: Path, planned: Mapping[str, PlannedSet], part_seconds: float
) -> Iterator[Callable[[Result], None]]:
    """A function that takes results and writes them to part files now and then; the rest is written at the end.

    Files are written in a thread of their own, one at a time: who computes waits only if the disk is slower. Rows are
    copied into blocks that are made twice and used in turns: kept where the network's activations come and go, they
    would leave holes in the heap and cost twenty megabytes an image until they are written.
    """
    gathered, spare = _Gathered(len(planned)), _Gathered(len(planned))
    landing: Future[None] | None = None
    since = time.monotonic()

    def land() -> None:
        nonlocal landing
        before, landing = landing, None
        if before is not None:
            before.result()

    def flush() -> None:
        nonlocal gathered, spare, landing, since
        land()
        if gathered.failures or any(gathered.images.values()):
            landing = writer.submit(_write_part, parts_folder(output) / part_name(), planned, gathered)
            gathered, spare = spare, gathered
            gathered.clear()
        since = time.monotonic()

    def add(result: Result) -> None:
        full = gathered.add(result)
        if full or time.monotonic() - since > part_seconds:
            flush()

    with ThreadPoolExecutor(1, thread_name_prefix="featx-write") as writer:
        try:
            yield add
        except StoreError:  # the disk is full, say: writing once more would only hide why
            raise
        except BaseException:  # Ctrl-C too must not cost what is finished
            flush()
            land()
            raise
        else:
            flush()
            land()


class _Gathered:
    """What is not written yet: rows by set in blocks that are made once, their images, failures, accepted misfits.

    Parameters
    ----------
    n_sets : int
        Among which the bytes of the blocks are shared out.
    """

    def __init__(self, n_sets: int) -> None:
        self.block_bytes = BLOCK_BYTES // max(1, n_sets)
        self.blocks: dict[str, NDArray[np.float32]] = {}
        self.images: dict[str, list[Image]] = {}
        self.failures: list[Failure] = []
        self.accepted: list[Failure] = []

    def clear(self) -> None:
        """Forget all but the blocks."""
        self.images, self.failures, self.accepted = {}, [], []

    def add(self, result: Result) -> bool:
        """Take a result; whether a block is full."""
        self.failures.extend(result.failures)
        self.accepted.extend(result.accepted)
        full = False
        for name, row in result.rows.items():
            if name not in self.blocks:
                rows = max(1, min(PART_ROWS, self.block_bytes // row.nbytes))
                self.blocks[name] = np.empty((rows, *row.shape), np.float32)
            here = self.images.setdefault(name, [])
            self.blocks[name][len(here)] = row
            here.append(result.image)
            full |= len(here) == len(self.blocks[name])
        return full


def _write_part(path: Path, planned: Mapping[str, PlannedSet], gathered: _Gathered) -> None:
    sets = [_part_set(planned[name], here, gathered.blocks[name]) for name, here in gathered.images.items()]
    store.write_sets(path, sets, gathered.failures, gathered.accepted)


def _part_set(one: PlannedSet, images: Sequence[Image], block: NDArray[np.float32]) -> FeatureSet:
    return FeatureSet(
        one.name,
        block[: len(images)],
        np.array([image.image_id for image in images], dtype=object),
        np.array([image.participant_id for image in images], dtype=object),
        np.array([image.session_id for image in images], dtype=object),
        one.provenance,
    )


def part_name() -> str:
    """A name for a part that no other writer takes: time, host, process and chance."""
    return f"part-{time.time_ns():020d}-{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.h5"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "", socket.gethostname()) or "host"


def parts_folder(output: Path) -> Path:
    """Where part files of an output lie until they are merged."""
    return output.with_name(f"{output.name}.parts")


def _sources(output: Path) -> list[Path]:
    """The output, if it is there, and its parts from old to new."""
    return ([output] if output.is_file() else []) + sorted(parts_folder(output).glob("part-*.h5"))


def collect(output: Path) -> None:
    """Merge all parts into the output, in one step; done again after a kill, it gives the same file.

    Writers of parts need no lock. Two merges at a time would, so this one takes a lock that dies with its process;
    its file stays beside the output, for removing a lock file is a race of its own.
    """
    folder = parts_folder(output)
    if not folder.is_dir():
        return
    with output.with_name(f".{output.name}.lock").open("a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        _unlink([*output.parent.glob(f".{output.name}.*.tmp")])  # of merges that were killed
        while len(parts := sorted(folder.glob("part-*.h5"))) > PARTS_AT_ONCE:
            for at in range(0, len(parts), PARTS_AT_ONCE):  # fewer than may be open; each row once a round
                some = parts[at : at + PARTS_AT_ONCE]
                store.merge_files(some, some[-1].with_name(f"{some[-1].stem}-merged.h5"), None)
                _unlink(some)
        if parts:
            store.merge_files(_sources(output), output, _to_be_made(folder))
            _unlink(parts)
        _unlink([path for path in folder.glob(".part-*.tmp") if _is_left_behind(path)])
        with contextlib.suppress(OSError):  # another writer's parts have come meanwhile
            folder.rmdir()


def _to_be_made(folder: Path) -> list[str]:
    """Names of the sets that writers are to make, as their records say."""
    names: list[str] = []
    for path in folder.glob("job-*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
            names += [name for some in json.loads(path.read_text("utf-8"))["sets"].values() for name in some]
    return names


def _is_left_behind(path: Path) -> bool:
    """Whether who began to write a part is dead: a process of this host that is gone, or untouched for an hour."""
    told = _WRITER.match(path.name)
    if told and told["host"] == _host():
        return not pid_exists(int(told["pid"]))
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > 3600
    return False


def pid_exists(pid: int) -> bool:
    """Whether a process of this machine lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
