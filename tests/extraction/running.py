"""Extraction in processes of their own that begin at once: forks of one that has loaded torch and never runs it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from featx.extraction.engine import Running, extract
from featx.extraction.job import load_job
from featx.extraction.plan import make_request
from featx.images.index import index_images

SMALL: dict[str, Any] = {"taps": ["fire2", "fire5"], "views": ["axial"], "n_slices": 2}

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torchvision", "featx.extraction.engine", "featx.extraction.job"])


def _extract(source: str, output: Path, tell: Connection, options: dict[str, Any]) -> None:
    """What such a process does: it tells how many images are finished, 0 when the network is loaded."""
    torch.set_num_threads(1)
    job = load_job(make_request("squeezenet1_0.imagenet", weights="random:0", **SMALL), "cpu", Path("unused"))
    tell.send(0)
    on_progress: Callable[[Any], None] = lambda tally: tell.send(tally.finished)  # noqa: E731
    how = Running(part_seconds=0, **options)
    extract(index_images(source), [job], output, device="cpu", running=how, on_progress=on_progress)


@contextmanager
def extracting(source: Path | str, output: Path, **options: Any) -> Iterator[tuple[BaseProcess, Iterator[int]]]:
    """A process that extracts the images of a source, a part for each of them; and what it tells, until it ends."""
    told, tell = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=_extract, args=(str(source), output, tell, options))
    process.start()
    tell.close()
    with told:
        yield process, _hear(told)
        process.join()


def _hear(told: Connection) -> Iterator[int]:
    while True:
        try:
            yield told.recv()
        except (EOFError, ConnectionResetError):
            return


def extract_to_its_end(source: Path | str, output: Path, **options: Any) -> list[int]:
    """The progress of a process that nobody kills."""
    with extracting(source, output, **options) as (process, told):
        seen = list(told)
    assert process.exitcode == 0
    return seen[1:]
