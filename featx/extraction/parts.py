"""Part files: what an extraction has finished, written beside the output until it is merged into it.

Parts are small, immutable and named by time, process and chance: any number of processes may write them, on any
disk, without a lock. Their final name means complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
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
PARTS_AT_ONCE = 100

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
            done: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {}
            for path in sources:
                for name, (key, people) in store.read_ids(path).items():
                    done[name] = (key, done[name][1] | people) if name in done else (key, people)
            return done
        except StoreError:
            if all(path.exists() for path in sources):
                raise  # else another writer has merged a part meanwhile: look again


@contextlib.contextmanager
def write_parts(
    output: Path, planned: Mapping[str, PlannedSet], part_seconds: float
) -> Iterator[Callable[[Result], None]]:
    """A function that takes results and writes them to part files now and then; the rest is written at the end.

    Rows are copied into blocks that are made once: kept where the network's activations come and go, they would
    leave holes in the heap and cost twenty megabytes an image until they are written.
    """
    blocks: dict[str, NDArray[np.float32]] = {}
    images: dict[str, list[Image]] = {name: [] for name in planned}
    failures: list[Failure] = []
    accepted: list[Failure] = []
    since = time.monotonic()

    def flush() -> None:
        nonlocal since
        sets = [_part_set(planned[name], here, blocks[name]) for name, here in images.items() if here]
        if sets or failures:
            name = f"part-{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.h5"
            store.write_sets(_parts_folder(output) / name, sets, failures, accepted)
        for here in images.values():
            here.clear()
        failures.clear()
        accepted.clear()
        since = time.monotonic()

    def add(result: Result) -> None:
        failures.extend(result.failures)
        accepted.extend(result.accepted)
        for name, row in result.rows.items():
            if name not in blocks:
                blocks[name] = np.empty((PART_ROWS, *row.shape), np.float32)
            blocks[name][len(images[name])] = row
            images[name].append(result.image)
        full = any(len(here) == PART_ROWS for here in images.values())
        if full or time.monotonic() - since > part_seconds:
            flush()

    try:
        yield add
    except StoreError:  # the disk is full, say: writing once more would only hide why
        raise
    except BaseException:  # Ctrl-C too must not cost what is finished
        flush()
        raise
    else:
        flush()


def _part_set(one: PlannedSet, images: Sequence[Image], block: NDArray[np.float32]) -> FeatureSet:
    return FeatureSet(
        one.name,
        block[: len(images)],
        np.array([image.image_id for image in images], dtype=object),
        np.array([image.participant_id for image in images], dtype=object),
        np.array([image.session_id for image in images], dtype=object),
        one.provenance,
    )


def _parts_folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.parts")


def _sources(output: Path) -> list[Path]:
    """The output, if it is there, and its parts from old to new."""
    return ([output] if output.is_file() else []) + sorted(_parts_folder(output).glob("part-*.h5"))


def collect(output: Path) -> None:
    """Merge all parts into the output, in one step; done again after a kill, it gives the same file.

    Writers of parts need no lock. Two merges at a time would, so this one takes a lock that dies with its process;
    its file stays beside the output, for removing a lock file is a race of its own.
    """
    folder = _parts_folder(output)
    if not folder.is_dir():
        return
    with output.with_name(f".{output.name}.lock").open("a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        while len(parts := sorted(folder.glob("part-*.h5"))) > PARTS_AT_ONCE:
            some = parts[:PARTS_AT_ONCE]  # fewer than a process may have open
            store.merge_files(some, some[-1].with_name(f"{some[-1].stem}-merged.h5"))
            _unlink(some)
        if parts:
            store.merge_files(_sources(output), output)
            _unlink(parts)
        with contextlib.suppress(OSError):  # another writer's parts have come meanwhile
            folder.rmdir()


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()
