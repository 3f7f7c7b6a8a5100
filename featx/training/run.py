"""All folds and seeds of an arm: fits in, out-of-fold predictions and a kept network out (torch, Lightning).

Every fit has a folder under its key in the workshop, a folder beside the run. What is done there is not done again.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featx.analysis.crossval import IGNORED, assemble
from featx.analysis.folds.splits import Split
from featx.analysis.jobs import Plan
from featx.analysis.request import Arm as Predicted
from featx.errors import DeviceError, TrainingError
from featx.extraction.batches import guarded
from featx.networks.architectures.trained import Trained
from featx.networks.decoding import decode
from featx.networks.sheet import View
from featx.networks.weights import OFFICIAL, load_network
from featx.training.arms import GIVEN, RANDOM
from featx.training.cache import Cache
from featx.training.fit import Fit, Fitted, Machine, machine_facts
from featx.training.fitting import (
    columns_of,
    fit_network,
    is_first,
    own_device,
    too_large,
    write_json,
    write_weights,
)
from featx.training.folds import NO_VOXELS, Group, Wish, groups_of, key_of, make_fit
from featx.training.outputs import to_predicted
from featx.training.source import Source, sheet_of, source_facts

ANSWER, WEIGHTS, LOCK = "answer.json", "network.safetensors", ".lock"
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Task:
    """A fit, whom it is asked about, and where it stays.

    Attributes
    ----------
    group : Group
    split : Split
        Without test people for the network that is kept.
    fit : Fit
    test : tuple of str
        Ids of images.
    folder : Path
    """

    group: Group
    split: Split
    fit: Fit
    test: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class Done:
    """What came of a task.

    Attributes
    ----------
    task : Task
    fitted : Fitted or None
    predicted : tuple of ndarray
        By output: shape (n_test,), or (n_test, n_classes).
    error : TrainingError or None
    missing : mapping of str to tuple of ndarray
        The same with slices missing, by the name of the view.
    """

    task: Task
    fitted: Fitted | None
    predicted: tuple[NDArray[np.float64], ...] = ()
    error: TrainingError | None = None
    missing: Mapping[str, tuple[NDArray[np.float64], ...]] = field(default_factory=dict)


# --- what is to be done ---------------------------------------------------------------------------------------


def make_tasks(
    plan: Plan,
    wish: Wish,
    source: Source,
    workshop: Path,
    *,
    keep: bool,
    machine: Machine | None = None,
    voxels: Mapping[str, str] = NO_VOXELS,
) -> tuple[list[Task], list[tuple[Group, TrainingError]]]:
    """A task for every split and seed of every group, and one for the network that is kept.

    Parameters
    ----------
    plan : Plan
        From `featx.training.folds.repeat_for_seeds`.
    keep : bool
        Whether one more network is trained on all who train, with the first seed.
    machine : Machine, optional
        Whose precision and division of batches are part of what decides the result.
    voxels : mapping of str to str
        See `featx.training.folds.key_of`.

    Returns
    -------
    list of Task, list of (Group, TrainingError)
        Groups of which one split cannot be trained have no task.
    """
    tasks: list[Task] = []
    refused = []
    facts = source_facts(source) | {"machine": machine_facts(machine or Machine())}
    along = {"missing": [asdict(view) for view in source.missing]} if source.missing else {}
    for group in groups_of(plan, together=wish.together):
        try:
            own = []
            for split in (*group.design.splits, *([group.design.final] if keep else [])):
                fit = make_fit(group, split, wish.seeds[split.repeat % len(wish.seeds)], wish)
                test = tuple(str(one) for one in group.image_ids[split.test])
                key = key_of(fit, facts | along if test else facts, test, voxels)
                own.append(Task(group, split, fit, test, workshop / key))
            tasks += own
        except TrainingError as error:
            refused.append((group, error))
    return tasks, refused


# --- doing it -------------------------------------------------------------------------------------------------


def run_tasks(
    tasks: Sequence[Task],
    source: Source,
    cache: Cache,
    *,
    machine: Machine,
    n_jobs: int = 1,
    on_progress: Progress | None = None,
) -> Iterator[Done]:
    """Train one network after the other, or several at a time in processes; each as soon as it is done.

    Parameters
    ----------
    n_jobs : int
        Processes; on a CPU its cores are shared out, of several GPUs each process gets one in turn.
    on_progress : callable, optional
        Called as (epochs done, epochs at most, a note).
    """
    most = [sum(task.fit.recipe.schedules[phase].epochs for phase in task.fit.arm.phases) for task in tasks]
    if n_jobs == 1:
        for at, task in enumerate(tasks):
            before = sum(most[:at])

            def on_epoch(done: int, _: int, note: str, at: int = at, before: int = before) -> None:
                if on_progress is not None:
                    on_progress(before + done, sum(most), f", fit {at + 1} of {len(tasks)}{note}")

            yield run_task(task, source, cache, machine, on_epoch)
        return
    n_threads = max(1, torch.get_num_threads() // n_jobs)
    calls = [(task, source, cache, _share(machine, at, n_jobs), n_threads) for at, task in enumerate(tasks)]
    ended = 0
    for at, done in enumerate(_in_processes(calls, n_jobs)):
        ended += most[at]
        if on_progress is not None:
            on_progress(ended, sum(most), f", fit {at + 1} of {len(tasks)}")
        yield done


def _in_processes(calls: Sequence[tuple[Any, ...]], n_jobs: int) -> Iterator[Done]:
    """What `_run_beside` gives, in the order of the calls.

    Raises
    ------
    DeviceError
        A process died.
    """
    with ProcessPoolExecutor(n_jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(_run_beside, *call) for call in calls]
        try:
            for one in waiting:
                yield one.result()
        except BrokenProcessPool as error:
            raise DeviceError(
                f"processes that train must stay alive; one of {n_jobs} died (dmesg tells whom the kernel killed for "
                "memory); what was finished is kept: run the same command again, with fewer --jobs"
            ) from error
        finally:
            for one in waiting:
                one.cancel()


def _share(machine: Machine, at: int, n_jobs: int) -> Machine:
    if machine.device != "cuda":
        return machine
    return replace(machine, device=f"cuda:{at % n_jobs % torch.cuda.device_count()}")


def _run_beside(task: Task, source: Source, cache: Cache, machine: Machine, n_threads: int) -> Done:
    torch.set_num_threads(n_threads)
    return run_task(task, source, cache, machine)


def run_task(
    task: Task,
    source: Source,
    cache: Cache,
    machine: Machine,
    on_epoch: Callable[[int, int, str], None] | None = None,
) -> Done:
    """Train a network and ask it about the test people; what is done already is read."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with _alone(task.folder, machine):
        answer = task.folder / ANSWER
        if not answer.is_file():
            call = functools.partial(_train_and_ask, task, source, cache, machine, on_epoch)
            try:
                told = guarded(call, machine.device)()
            except TrainingError as error:
                return Done(task, None, error=error)
            except MemoryError as error:
                return Done(task, None, error=too_large(task.fit, machine, error))
            if is_first():
                write_json(answer, told)
        if is_first():
            for phase in task.fit.arm.phases:  # what led to the answer; also where that was read
                shutil.rmtree(task.folder / phase, ignore_errors=True)
    return _read_answer(task, answer) if is_first() else _as_done(task, told)


def _train_and_ask(
    task: Task,
    source: Source,
    cache: Cache,
    machine: Machine,
    on_epoch: Callable[[int, int, str], None] | None,
) -> dict[str, Any]:
    """A network is trained, and asked about the test people; the one without any is kept."""
    network = make_network(source, task.fit)
    fitted = fit_network(network, source.view, task.fit, cache, task.folder, machine=machine, on_epoch=on_epoch)
    ask = functools.partial(predict, network, source, task.fit, task.test, cache=cache, device=own_device(machine))
    predicted, missing = ask(), {view.name: ask(view=view) for view in source.missing}
    if not len(task.test) and is_first():
        write_weights(network, task.folder / WEIGHTS)
    told = {"fitted": asdict(fitted), "predicted": [one.tolist() for one in predicted]}
    return told | {"missing": {name: [one.tolist() for one in many] for name, many in missing.items()}}


@contextlib.contextmanager
def _alone(folder: Path, machine: Machine) -> Iterator[None]:
    """One call at a time works in the folder of a fit; another one waits, and finds what is done.

    Processes that train one network together are let in together.
    """
    if machine.n_devices * machine.n_nodes > 1:
        yield
        return
    with (folder / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_answer(task: Task, path: Path) -> Done:
    return _as_done(task, json.loads(path.read_text(encoding="utf-8")))


def _as_done(task: Task, told: Mapping[str, Any]) -> Done:
    fitted = Fitted(**{**told["fitted"], "curves": tuple(told["fitted"]["curves"])})
    along = told.get("missing", {})
    predicted, *missing = (
        tuple(np.array(one, dtype=np.float64) for one in many) for many in (told["predicted"], *along.values())
    )
    return Done(task, fitted, predicted, missing=dict(zip(along, missing, strict=True)))


def make_network(source: Source, fit: Fit) -> Trained:
    """The network of a fit, with the weights that it starts from; new layers are drawn by the fit's seed.

    Raises
    ------
    WeightsError, NetworkError
        See `featx.networks.weights.load_network`.
    """
    loaded = load_network(source.request.sheet, _start(fit, source.request.weights), source.home)
    sheet = sheet_of(source, fit.outputs, fit.recipe.dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fit.seed)
        network = Trained(**sheet.arguments)  # type: ignore[arg-type]
    network.network.load_state_dict(loaded.network.state_dict())
    return network


def _start(fit: Fit, weights: str) -> str:
    """The weights of an arm, as `featx.networks.weights` names them."""
    if fit.arm.start == GIVEN:
        return weights
    if fit.arm.start == RANDOM:
        return f"random:{fit.seed}"
    return f"reinit:{fit.seed}" + ("" if weights == OFFICIAL else f":{weights}")


def predict(
    network: Trained,
    source: Source,
    fit: Fit,
    image_ids: Sequence[str],
    *,
    cache: Cache,
    device: str,
    view: View | None = None,
) -> tuple[NDArray[np.float64], ...]:
    """Predictions of images by output: shape (n,), or (n, n_classes); along the source's view, or the one told."""
    if not len(image_ids):
        return ()
    along, size = view or source.view, fit.recipe.batch_size
    columns = columns_of(network, along, image_ids, cache, batch_size=size, device=device)
    widths = [one.width for one in fit.outputs]
    parts = torch.split(columns.double(), widths, dim=1)
    return tuple(to_predicted(one, decode(one, part).numpy()) for one, part in zip(fit.outputs, parts, strict=True))


# --- from answers to arms --------------------------------------------------------------------------------------


def arms_of(done: Sequence[Done], features: str, seeds: Sequence[int], missing: str = "") -> dict[str, Predicted]:
    """By target, the out-of-fold predictions of an arm; targets of which a fit failed are left out.

    Parameters
    ----------
    missing : str
        Name of the view with slices missing along which they are; "" for that which the network was trained along.
    """
    by_group: dict[str, list[Done]] = {}
    for one in done:
        if len(one.task.split.test):
            by_group.setdefault(one.task.group.name, []).append(one)
    found = {}
    for answers in by_group.values():
        if any(one.error is not None for one in answers):
            continue
        group = answers[0].task.group
        order = {(split.repeat, split.fold): at for at, split in enumerate(group.design.splits)}
        answers = sorted(answers, key=lambda one: order[one.task.split.repeat, one.task.split.fold])
        for at, job in enumerate(group.jobs):
            parts = [
                (one.missing[missing] if missing else one.predicted)[at][_has_label(group, one.task.split, at)]
                for one in answers
            ]
            seed = [
                np.full(len(part), seeds[one.task.split.repeat % len(seeds)])
                for one, part in zip(answers, parts, strict=True)
            ]
            epoch = [np.full(len(part), _last_epoch(one)) for one, part in zip(answers, parts, strict=True)]
            found[job.target.name] = Predicted(
                features,
                answers[0].task.fit.arm.name,
                IGNORED,
                assemble(job.design, parts),
                notes={"seed": assemble(job.design, seed), "epoch": assemble(job.design, epoch)},
            )
    return found


def _has_label(group: Group, split: Split, at: int) -> NDArray[np.bool_]:
    has: NDArray[np.bool_] = np.isfinite(group.labels[split.test, at])
    return has


def _last_epoch(done: Done) -> int:
    """The epoch that was kept, of the last phase."""
    return -1 if done.fitted is None else done.fitted.epochs[done.task.fit.arm.phases[-1]]
