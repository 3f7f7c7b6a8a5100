"""What a worker of a dask cluster does: say if it is fit, load networks once, extract shards into parts (torch)."""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from featx import __version__
from featx.errors import DeviceError, NetworkError, first_line
from featx.extraction.device import choose_device, default_workers
from featx.extraction.engine import Running, Tally, extract
from featx.extraction.job import Job, load_job
from featx.extraction.plan import PlannedSet
from featx.extraction.shards import Asked, Fitness, Outcome, Shard, choose_cache, plainly
from featx.featureset import feature_key
from featx.images.image import Image, where
from featx.images.index import check_readable

Sets = Mapping[str, tuple[PlannedSet, ...]]  # by the label of the network that makes them
TELL_S = 1.0

_turn = threading.Lock()  # a worker may run several tasks at a time; its device, one
_warm: dict[str, Any] = {}  # the networks of this process, and what they were asked for as


def look_around(asked: Asked, token: Path, image: Image | None, *, dask_worker: Any) -> Fitness:
    """What a worker can do, as it finds it.

    Parameters
    ----------
    token : Path
        A file that the client has made beside the output.
    image : Image, optional
        One that the client can read.
    """
    try:
        device, no_device = choose_device(asked.device), ""
    except DeviceError as error:
        device, no_device = "", str(error)
    _, no_weights = choose_cache(asked.requests, (asked.own_cache(), asked.cache))
    unread = check_readable(image) if image else ""
    return Fitness(
        address=dask_worker.address,
        host=socket.gethostname(),
        n_threads=dask_worker.state.nthreads,
        device=device,
        no_device=no_device,
        no_output=_why_not_written(token),
        no_image=f"{where(image)} ({unread})" if image and unread else "",
        no_weights=no_weights,
    )


def _why_not_written(token: Path) -> str:
    beside = token.with_name(f"{token.name}-{uuid.uuid4().hex[:8]}")
    try:
        token.read_bytes()  # a folder of that name may be another one here
        beside.touch()
        beside.unlink()
    except FileNotFoundError:
        return "it is not there, or another one than where you are"
    except OSError as error:
        return str(error.strerror).lower()
    return ""


def plan_there(asked: Asked) -> Sets:
    """Load the networks on a worker, and tell the sets that they will make."""
    with _turn:
        return {label: plainly(job.sets) for label, job in _networks_of(asked).items()}


def run_shard(asked: Asked, shard: Shard, output: Path, keys: Mapping[str, str], topic: str) -> Outcome:
    """Extract a shard into parts of the output, on a worker.

    Parameters
    ----------
    keys : mapping of str to str
        Of the sets of all workers, by name.
    topic : str
        Under which dask tells the client how far it is.
    """
    from distributed import get_worker

    worker = get_worker()
    with _turn:
        try:
            jobs = [_networks_of(asked)[label] for label in shard.labels]
            _check_same(asked, jobs, keys, worker.address)
            summary = extract(
                shard.images,
                jobs,
                output,
                device=asked.device,
                running=_running(asked, worker.state.nthreads),
                merge=False,
                on_progress=_teller(worker, topic, shard),
                on_note=lambda sentence: worker.log_event(topic, {"note": sentence}),
            )
        except DeviceError as error:
            return Outcome(shard.number, worker.address, unfit=f"{error} (on {socket.gethostname()})")
    return Outcome(
        shard.number, worker.address, len(shard.images), summary.n_failed, summary.failures, plainly(summary.told)
    )


def _networks_of(asked: Asked) -> dict[str, Job]:
    """The networks of this process: loaded once, and again only if others are asked for."""
    wanted = (asked.requests, asked.device, asked.loading)
    if _warm.get("wanted") != wanted:
        _warm.clear()  # first: two times all networks may be more than a device holds
        device = choose_device(asked.device)
        cache, _ = choose_cache(asked.requests, (asked.own_cache(), asked.cache))
        try:
            jobs = [load_job(one, device, cache, **asked.loading) for one in asked.requests]
        except RuntimeError as error:
            raise DeviceError(
                f"a device must take the networks; {device} did not ({first_line(error)}); see what else is on it"
            ) from error
        _warm.update(wanted=wanted, jobs={job.label: job for job in jobs})
    found: dict[str, Job] = _warm["jobs"]
    return found


def _check_same(asked: Asked, jobs: Sequence[Job], keys: Mapping[str, str], address: str) -> None:
    """Refuse to add to feature sets of another featx, or of other weights under the same path."""
    if asked.version != __version__:
        raise DeviceError(
            f"dask workers must have featx {asked.version}, as the client has; {address} has {__version__}; install "
            "that one there"
        )
    for one in (one for job in jobs for one in job.sets):
        if keys.get(one.name) != feature_key(one.provenance):
            raise NetworkError(
                f"all workers must load the same networks; {one.name} of {address} on {socket.gethostname()} has "
                "other weights, code or recipe than the others'; keep them on a disk that all share"
            )


def _running(asked: Asked, n_threads: int) -> Running:
    """How the engine runs here: with this worker's share of its machine."""
    if asked.device == "cpu":
        torch.set_num_threads(n_threads)  # dask keeps libraries to one, for it counts on a task in every thread
    running = asked.running
    if running.workers < 0:
        running = replace(running, workers=max(1, default_workers(asked.device) // asked.crowd))
    if multiprocessing.current_process().daemon:  # which may have no processes of its own
        running = replace(running, processes=False)
    return running


def _teller(worker: Any, topic: str, shard: Shard) -> Callable[[Tally], None]:
    last = 0.0

    def tell(tally: Tally) -> None:
        nonlocal last
        if tally.finished == tally.total or time.monotonic() - last > TELL_S:
            last = time.monotonic()
            before = len(shard.images) - tally.total
            message = {"shard": shard.number, "finished": before + tally.finished, "failed": tally.failed}
            worker.log_event(topic, message)

    return tell
