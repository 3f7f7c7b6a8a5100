"""Extraction on the workers of a dask cluster: shards of images are its tasks, each worker writes parts of its own.

Workers need the output's folder, the images and the weights on a disk that they share with the client, which is the
process that asks. A worker loads its networks once and keeps them from shard to shard. The shard of a worker that is
lost is done again by another one, but for what stands in parts already. The client merges all parts at the end.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from featx import __version__, schema, store
from featx.errors import DependencyError, DeviceError, StoreError, first_line
from featx.extraction.engine import Summary, Tally, Told
from featx.extraction.parts import collect, parts_folder, read_done
from featx.extraction.plan import still_to_do
from featx.extraction.record import keep_record, pack_records
from featx.extraction.shards import (
    Asked,
    Fitness,
    Outcome,
    Shard,
    check_fitness,
    choose_cache,
    count_shards,
    decide,
    from_anywhere,
    plan_shards,
)
from featx.extraction.tasks import Sets, look_around, plan_there, run_shard
from featx.featureset import feature_key
from featx.images.image import Image
from featx.images.index import check_readable
from featx.networks.download import fetch
from featx.networks.weights import Progress, needs_official

Client = Any  # distributed.Client: to its types, most of what it gives is Any

LOOKED_AT = 20  # images among which one is sought that the client can read
TICK_S = 0.1
TELL_S = 1.0
WITHOUT_WORKERS_S = 600.0  # one that is started for one that is lost may have to queue for a machine
LATE_S = 90.0  # network disks may list a folder as it was a minute ago


@dataclass(frozen=True)
class _Course:
    """How far the shards are: what came back, what did not and why, and what workers tell meanwhile."""

    outcomes: list[Outcome] = field(default_factory=list)
    given_up: dict[int, str] = field(default_factory=dict)
    told: dict[int, tuple[int, int]] = field(default_factory=dict)
    notes: set[str] = field(default_factory=set)
    unfit: list[str] = field(default_factory=list)
    leaving: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Ears:
    """Who is to be told how far it is, and of how many workers; and what is to be said at once."""

    progress: Callable[[Tally, int], None]
    note: Callable[[str], None]


def extract_on_cluster(
    client: Client,
    asked: Asked,
    images: Sequence[Image],
    output: Path,
    *,
    n_shards: int = 0,
    on_progress: Callable[[Tally, int], None] = lambda tally, n_workers: None,
    on_note: Callable[[str], None] = lambda sentence: None,
) -> Summary:
    """Extract what is missing on all workers of a dask cluster, and merge it into the output.

    Parameters
    ----------
    client : distributed.Client
        Its workers have this featx, torch, and `output`'s folder, the images and the weights under the same paths.
    asked : Asked
        From `featx.extraction.shards.make_asked`. Official weights that are not there yet are downloaded once, here:
        see `fetch_official`.
    n_shards : int
        0 chooses.
    on_progress : callable
        Given how far all workers are, and how many there are.
    on_note : callable
        Given sentences that are to be told at once.

    Raises
    ------
    DeviceError
        Workers lack what they need, or none is left; the scheduler is gone; a shard was given up. What is finished
        by then is kept, and the same call goes on from there.
    StoreError
        The output is damaged, holds one of the sets made another way, or cannot be written.
    """
    output, images = output.absolute(), [from_anywhere(one) for one in images]
    fetch_official(asked)
    with _sentences(client):
        asked, threads = _look_at_workers(client, asked, images, output)
        sets: Sets = client.submit(plan_there, asked, pure=False).result()
        missing = _missing_labels(images, sets, output)
        todo = sum(map(bool, missing.values()))
        shards = plan_shards(images, missing, n_shards or count_shards(todo, sum(threads)))
        names = {label: [one.name for one in planned] for label, planned in sets.items()}
        folder, n_before = parts_folder(output), len(images) - todo
        on_note(
            f"{len(images)} images, {n_before} done before, {todo} to do in {len(shards)} shards, by {len(threads)} "
            f"workers on {asked.device}: {output}"
        )
        start = time.perf_counter()
        with keep_record(folder, images, names, n_before=n_before, device=asked.device) as record:

            def tell(tally: Tally, n_workers: int) -> None:
                record(tally.finished, tally.failed)
                on_progress(tally, n_workers)

            course = _run_all(client, asked, shards, (output, sets), _Ears(tell, on_note))
    elapsed_s = time.perf_counter() - start
    _merge(output, sets, _expected(shards, course))
    _check_all_done(shards, course, output)
    return _summarise(images, sets, course, output, (todo, elapsed_s))


def fetch_official(asked: Asked, on_progress: Progress | None = None) -> None:
    """Download the official weights that the client's folder lacks, once for all workers.

    Raises
    ------
    WeightsError
        They cannot be downloaded, or are not those of the digest.
    """
    for one in asked.requests:
        if one.sheet.weights and needs_official(one.weights) and choose_cache([one], [asked.cache])[1]:
            fetch(one.sheet.weights, asked.cache, one.sheet.name, on_progress)


def _look_at_workers(client: Client, asked: Asked, images: Sequence[Image], output: Path) -> tuple[Asked, list[int]]:
    """What is asked, on the device that all workers have; and the threads of each."""
    sample = next((one for one in images[:LOOKED_AT] if not check_readable(one)), None)
    output.parent.mkdir(parents=True, exist_ok=True)
    token = output.with_name(f".{output.name}.{uuid.uuid4().hex[:12]}.look")
    token.touch()
    try:
        found = client.run(look_around, asked, token, sample, on_error="return")
    finally:
        token.unlink()
    for address, one in found.items():
        if not isinstance(one, Fitness):
            raise DependencyError(
                f"dask workers must load featx {__version__} and torch; {address} does not "
                f"({type(one).__name__}: {first_line(one)}); run pip install 'featx[torch,dask]' there"
            ) from one
    workers = list(found.values())
    if not workers:
        raise DeviceError("a dask cluster must have workers; it has none; start some: dask worker ADDRESS")
    kind = check_fitness(workers, output)
    device = kind if asked.device == "auto" else asked.device
    crowd = max(Counter(one.host for one in workers).values())
    return replace(asked, device=device, crowd=crowd), [one.n_threads for one in workers]


def _missing_labels(images: Sequence[Image], sets: Sets, output: Path) -> dict[str, tuple[str, ...]]:
    """The networks that each image still needs, by image, as the output and its parts tell."""
    done = read_done(output)
    missing: dict[str, tuple[str, ...]] = {image.image_id: () for image in images}
    for label, planned in sets.items():
        for image in still_to_do(images, planned, done):
            missing[image.image_id] += (label,)
    return missing


def _run_all(
    client: Client,
    asked: Asked,
    shards: Sequence[Shard],
    there: tuple[Path, Sets],
    ears: _Ears,
) -> _Course:
    """All shards as tasks, until each has come back or is given up."""
    from distributed import as_completed

    output, sets = there
    keys = {one.name: feature_key(one.provenance) for planned in sets.values() for one in planned}
    topic, course, tries = f"featx-{uuid.uuid4().hex[:12]}", _Course(), Counter[int]()

    def submit(shard: Shard, workers: Sequence[str] | None = None) -> Any:
        tries[shard.number] += 1
        name = f"featx-shard-{topic[6:]}-{shard.number}-{tries[shard.number]}"
        words = (asked, shard, output, keys, topic)
        return client.submit(
            run_shard, *words, key=name, pure=False, workers=workers, allow_other_workers=bool(workers)
        )

    client.subscribe_topic(topic, lambda event: _hear(event[1], course, ears))
    start = time.monotonic()
    waiting = {submit(shard): shard for shard in shards}
    coming = as_completed(list(waiting), loop=client.loop)
    try:
        watch = _watch(lambda: len(_staying(client, course)), lambda: _tally(shards, course, start), ears.progress)
        for n_workers in watch:
            for future in coming.next_batch(block=False):
                shard = waiting.pop(future)
                workers = _take(client, future, shard, course, tries[shard.number])
                if workers is not None:
                    again = submit(shard, workers)
                    waiting[again] = shard
                    coming.add(again)
            if not waiting or (course.unfit and not n_workers):  # nobody will start others for those
                break
    finally:
        client.cancel(list(waiting))
        client.unsubscribe_topic(topic)
    course.given_up.update({shard.number: course.unfit[-1] for shard in waiting.values()})
    ears.progress(_tally(shards, course, start), len(_staying(client, course)))
    return course


def _hear(message: Mapping[str, Any], course: _Course, ears: _Ears) -> None:
    """What a worker tells between two tasks; called in dask's thread."""
    if "shard" in message:
        course.told[message["shard"]] = (message["finished"], message["failed"])
    elif message["note"] not in course.notes:  # all workers will say the same
        course.notes.add(message["note"])
        ears.note(message["note"])


def _tally(shards: Sequence[Shard], course: _Course, start: float) -> Tally:
    told = list(course.told.values())
    finished, failed = (sum(one[at] for one in told) for at in (0, 1))
    return Tally(finished, failed, sum(len(shard.images) for shard in shards), time.monotonic() - start)


def _staying(client: Client, course: _Course) -> list[str]:
    """Workers that take tasks: dask may list for long, or for ever, one that it was asked to retire."""
    there = list(client.nthreads())
    course.leaving.intersection_update(there)  # under the address of one that is gone another may come
    return [address for address in there if address not in course.leaving]


def _watch(
    count: Callable[[], int], tally: Callable[[], Tally], on_progress: Callable[[Tally, int], None]
) -> Iterator[int]:
    """How many workers there are, now and then; tells how far they are."""
    last = with_workers = time.monotonic()
    n_workers = count()
    while True:
        yield n_workers
        time.sleep(TICK_S)
        now = time.monotonic()
        if now - last < TELL_S:
            continue
        last, n_workers, at = now, count(), tally()
        on_progress(at, n_workers)
        with_workers = now if n_workers else with_workers
        if now - with_workers > WITHOUT_WORKERS_S:
            raise DeviceError(
                f"a dask cluster must keep workers; it has had none for {now - with_workers:.0f} s, with "
                f"{at.finished} of {at.total} images finished, which are kept; start some and run this again"
            )


def _take(client: Client, future: Any, shard: Shard, course: _Course, n_tries: int) -> list[str] | None:
    """Take a shard that came back; or the workers that are to do it again: any, where none are named."""
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        course.given_up[shard.number] = (
            "each worker that tried it died: give workers more memory, and look at their logs"
        )
        return None
    if error is not None:
        raise error
    outcome: Outcome = future.result()
    future.release()  # else dask would move it before it retires its worker
    if outcome.unfit:
        course.leaving.add(outcome.address)
    others = [address for address in _staying(client, course) if address != outcome.address]
    verdict = decide(outcome, n_tries, len(others))
    if outcome.unfit:
        course.unfit.append(outcome.unfit)
        client.retire_workers([outcome.address])
    if verdict == "given up":
        course.given_up[shard.number] = outcome.unfit
    if verdict == "done":
        course.outcomes.append(outcome)
        course.told[shard.number] = (outcome.n_images, outcome.n_failed)
    return {"again": [], "elsewhere": others}.get(verdict)


@contextlib.contextmanager
def _sentences(client: Client) -> Iterator[None]:
    """What dask raises where the cluster breaks, as a sentence."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise DeviceError(
            "a dask worker must live while it loads the networks; every one that tried died; give workers more "
            "memory (--memory-limit), and look at their logs"
        ) from error
    except (CancelledError, OSError) as error:
        if client.status == "running" and isinstance(error, OSError) and not isinstance(error, CommClosedError):
            raise  # a disk's
        raise DeviceError(
            f"a dask scheduler must run until the extraction is done; {client.scheduler.address} is gone "
            f"({first_line(error)}); what is finished is kept: start it and run the same command again"
        ) from error


# --- the end --------------------------------------------------------------------------------------------------


def _expected(shards: Sequence[Shard], course: _Course) -> dict[str, set[str]]:
    """The images that must be in the output by now, by network."""
    by_number = {shard.number: shard for shard in shards}
    expected: dict[str, set[str]] = {}
    for outcome in course.outcomes:
        failed = {(row[schema.IMAGE_ID], row["network"]) for row in outcome.failures}
        for label in by_number[outcome.number].labels:
            ids = (image.image_id for image in by_number[outcome.number].images)
            expected.setdefault(label, set()).update(one for one in ids if (one, label) not in failed)
    return expected


def _merge(output: Path, sets: Sets, expected: Mapping[str, set[str]]) -> None:
    """Merge all parts into the output, and wait for those that a network disk does not show yet.

    Raises
    ------
    StoreError
        Rows that workers have written are not there.
    """
    pack_records(parts_folder(output))
    until = time.monotonic() + LATE_S
    while True:
        collect(output)
        done = read_done(output)
        late = {
            one
            for label, ids in expected.items()
            for planned in sets[label]
            for one in ids - done.get(planned.name, ("", {}))[1].keys()
        }
        if not late:
            return
        if time.monotonic() > until:
            raise StoreError(
                f"what workers have written must be in the output's folder; the features of {len(late)} images, such "
                f"as {min(late)}, are not in {output.parent}; see that it is one disk for all, and run the command "
                "again"
            )
        with contextlib.suppress(FileNotFoundError):
            _touch_and_go(parts_folder(output))
        time.sleep(TELL_S)


def _touch_and_go(folder: Path) -> None:
    """Make a file in a folder, which brings a network disk's old list of it up to date."""
    new = folder / f".{uuid.uuid4().hex[:12]}.look"
    new.touch()
    new.unlink()


def _check_all_done(shards: Sequence[Shard], course: _Course, output: Path) -> None:
    if course.given_up:
        n_images = sum(len(shard.images) for shard in shards if shard.number in course.given_up)
        raise DeviceError(
            f"every shard of images must be finished by a worker; {len(course.given_up)} of {len(shards)}, with "
            f"{n_images} images, were given up ({next(iter(course.given_up.values()))}); the rest is in {output}: "
            "mend that, and run the same command again"
        )


def _summarise(
    images: Sequence[Image], sets: Sets, course: _Course, output: Path, done: tuple[int, float]
) -> Summary:
    """One summary of all shards; `done` is how many images were to do, and how many seconds they took."""
    todo, elapsed_s = done
    failures = [row for outcome in course.outcomes for row in outcome.failures]
    n_failed = len({row[schema.IMAGE_ID] for row in failures})
    told: dict[str, Told] = {}
    for code, one in (found for outcome in course.outcomes for found in outcome.told.items()):
        first = told.get(code, replace(one, n_images=0))
        told[code] = replace(first, n_images=first.n_images + one.n_images)
    shapes = store.read_shapes(output) if output.is_file() else {}
    return Summary(
        n_images=len(images),
        n_before=len(images) - todo,
        n_now=todo - n_failed,
        n_failed=n_failed,
        failures=failures,
        elapsed_s=elapsed_s,
        sets={one.name: shapes[one.name] for planned in sets.values() for one in planned if one.name in shapes},
        told=told,
    )
