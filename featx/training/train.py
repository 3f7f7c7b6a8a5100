"""Arms on the folds of the frozen heads: what is planned, the training of it, and the run that comes out (torch)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import load_file

from featx import schema
from featx.analysis.jobs import Plan, make_plan
from featx.analysis.request import Request, Result, check_request, versions
from featx.analysis.runs.runwriter import file_stems, slug, write_run
from featx.errors import TrainingError
from featx.networks.checkpoint import write_checkpoint
from featx.networks.output import REGRESSION, Output
from featx.networks.trained import check_keepable
from featx.store import Failure
from featx.training.arms import GIVEN
from featx.training.cache import Cache
from featx.training.card import card
from featx.training.fit import Machine
from featx.training.folds import Group, Wish, check_targets, check_wish, repeat_for_seeds
from featx.training.result import make_result, set_name
from featx.training.run import WEIGHTS, Done, Progress, Task, arms_of, make_network, make_tasks, run_tasks
from featx.training.seen import people_text
from featx.training.source import Source, check_label, sheet_of

_ANY = Output("any", REGRESSION, 1, (0.0, 1.0))


@dataclass(frozen=True)
class Planned:
    """What will be trained, arm by arm.

    Attributes
    ----------
    plan, once : Plan
        With repeats that count seeds, and without.
    wishes : tuple of Wish
        One for each arm, with the same seeds.
    tasks : tuple of tuple of Task
        By arm.
    refused : tuple of (str, str, TrainingError)
        Targets, arms, and why they cannot train.
    """

    plan: Plan
    once: Plan
    wishes: tuple[Wish, ...]
    tasks: tuple[tuple[Task, ...], ...]
    refused: tuple[tuple[str, str, TrainingError], ...]


def plan_training(
    request: Request,
    wishes: Sequence[Wish],
    source: Source,
    workshop: Path,
    *,
    keep: bool,
    machine: Machine,
    voxels: Mapping[str, str],
) -> Planned:
    """Decide who trains what, on which folds.

    Parameters
    ----------
    request : Request
        Over the feature sets of `featx.training.result.images_as_sets`.
    wishes : sequence of Wish
    source : Source
    workshop : Path
        Where fits have their folders.
    keep : bool
        Whether a network is trained on all who train, to be kept.
    machine : Machine
    voxels : mapping of str to str
        See `featx.training.folds.key_of`.

    Raises
    ------
    AnalysisError, CohortError
        The request, or the phenotype table as a whole, cannot be used.
    """
    check_request(request, has_heads=False)
    for wish in wishes:
        check_wish(wish)
        wanted = sheet_of(source, (_ANY,))
        if keep:
            check_keepable(wanted)
        check_label(source, wish, request.targets)
    once = make_plan(request)
    for wish in wishes:
        check_targets(wish, once)
    plan = repeat_for_seeds(once, len(wishes[0].seeds))
    tasks, refused = [], []
    for wish in wishes:
        own, gone = make_tasks(plan, wish, source, workshop, keep=keep, machine=machine, voxels=voxels)
        tasks.append(tuple(own))
        refused += [(job.target.name, wish.arm.name, error) for group, error in gone for job in group.jobs]
    return Planned(plan, once, tuple(wishes), tuple(tasks), tuple(refused))


def train(
    request: Request,
    planned: Planned,
    source: Source,
    cache: Cache,
    *,
    machine: Machine,
    n_jobs: int = 1,
    on_progress: Progress | None = None,
) -> tuple[Result, list[Done]]:
    """Train all that is planned, and score it. A fit that fails costs its target that arm, and nothing else."""
    tasks = [task for own in planned.tasks for task in own]
    done = list(run_tasks(tasks, source, cache, machine=machine, n_jobs=n_jobs, on_progress=on_progress))
    failed = list(planned.refused)
    arms = []
    for wish in planned.wishes:
        own = [one for one in done if one.task.fit.arm == wish.arm]
        arms.append(arms_of(own, source.base.name, wish.seeds))
        arms += [arms_of(own, set_name(source.base, view), wish.seeds, view.name) for view in source.missing]
        failed += _failed(own)
    return make_result(request, (planned.plan, planned.once), arms, failed), done


def _failed(done: Sequence[Done]) -> list[tuple[str, str, TrainingError]]:
    """The first failure of each target."""
    found: dict[str, tuple[str, str, TrainingError]] = {}
    for one in done:
        for job in one.task.group.jobs if one.error is not None else ():
            found.setdefault(job.target.name, (job.target.name, one.task.fit.arm.name, _there(one.error)))
    return list(found.values())


def _there(error: TrainingError | None) -> TrainingError:
    return error or TrainingError("unexpected", "a failed fit must say why; this one does not; report it")


# --- what is written -------------------------------------------------------------------------------------------


def write_training(
    result: Result,
    done: Sequence[Done],
    source: Source,
    output: Path,
    *,
    failures: Sequence[Failure],
    facts: Mapping[str, Any],
) -> None:
    """Write the run: what `featx fit` writes, how the networks learned, and those that are kept.

    Parameters
    ----------
    failures : sequence of dict
        Images that the network cannot have.
    facts : mapping
        For training.json: what was asked, on what machine.
    """

    def add(folder: Path) -> None:
        curves = pd.DataFrame(
            [row for one in done for row in _curve_rows(one)], columns=schema.names(schema.TRAINING_CURVES)
        )
        curves.to_csv(folder / schema.TRAINING_CURVES_CSV, index=False, lineterminator="\n")
        told = {
            **facts,
            "network": source.base.name,
            "arms": _arm_facts(done),
            "fits": [_fit_facts(one) for one in done],
            "versions": versions() | {one: version(one) for one in ("torch", "pytorch-lightning")},
        }
        (folder / schema.TRAINING_JSON).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        _keep(done, source, folder / schema.NETWORKS_DIR, told)

    write_run(result, output, failures, add=add)


def _curve_rows(done: Done) -> list[dict[str, Any]]:
    about = {"target": done.task.group.name, "arm": done.task.fit.arm.name, **_which(done.task)}
    return [] if done.fitted is None else [{**about, **row} for row in done.fitted.curves]


def _which(task: Task) -> dict[str, int]:
    fold = task.split.fold if len(task.test) else -1
    return {"repeat": task.split.repeat, "fold": fold, "seed": task.fit.seed}


def _arm_facts(done: Sequence[Done]) -> dict[str, Any]:
    """What each arm is, and the recipes it trained by."""
    found: dict[str, Any] = {}
    for fit in (one.task.fit for one in done):
        about = {"says": fit.arm.says, "phases": list(fit.arm.phases), "recipes": []}
        recipes = found.setdefault(fit.arm.name, about)["recipes"]
        recipe = asdict(fit.recipe)
        recipes += [recipe] if recipe not in recipes else []
    return found


def _fit_facts(done: Done) -> dict[str, Any]:
    fit, fitted = done.task.fit, done.fitted
    found: dict[str, Any] = {
        "target": done.task.group.name,
        "arm": fit.arm.name,
        **_which(done.task),
        "batch_norm": fit.batch_norm,
        "n_train": len(fit.train.image_ids),
        "n_validation": len(fit.validation.image_ids),
        "n_test": len(done.task.test),
    }
    if fitted is None:
        return {**found, "error": str(done.error)}
    measured = {name: value for name, value in asdict(fitted).items() if name != "curves"}
    return {**found, **measured}


def _keep(done: Sequence[Done], source: Source, folder: Path, facts: Mapping[str, Any]) -> None:
    """Checkpoints and cards of the networks that were trained on all who train."""
    kept = [one for one in done if not len(one.task.test) and one.fitted is not None]
    if not kept:
        return
    folder.mkdir()
    stems = file_stems(f"{one.task.group.name}--{one.task.fit.arm.name}--{source.base.name}" for one in kept)
    for one, stem in zip(kept, stems.values(), strict=True):
        fit = one.task.fit
        network = make_network(source, fit)
        network.load_state_dict(load_file(one.task.folder / WEIGHTS))
        sheet = sheet_of(
            source,
            fit.outputs,
            fit.recipe.dropout,
            name=slug(f"{source.base.name}.{one.task.group.name}-{fit.arm.name}"),
            training=trained_on(source, one),
            labels=tuple(job.target.name for job in one.task.group.jobs),
            age_range_years=_ages(one.task.group),
            n_parameters=sum(values.numel() for values in network.parameters()),
        )
        known = people_text(
            one.task.group.participants[one.task.group.design.final.train],
            source.request.weights if fit.arm.start == GIVEN else "",
        )
        write_checkpoint(folder / f"{stem}.safetensors", network, sheet, note=sheet.training, more=known)
        told = {**_fit_facts(one), "recipe": asdict(fit.recipe), "versions": facts["versions"]}
        (folder / f"{stem}.md").write_text(card(sheet, told), encoding="utf-8")


def trained_on(source: Source, done: Done) -> str:
    """What a network was trained on, in words."""
    fit = done.task.fit
    start = "random weights" if fit.arm.start == "random" else f"{source.base.name} ({source.request.weights})"
    return (
        f"{len(fit.train.image_ids)} images, {len(fit.validation.image_ids)} more to choose the epoch, to predict "
        f"{done.task.group.name.replace('+', ', ')}; arm {fit.arm.name} from {start}, recipe {fit.recipe.name}"
    )


def _ages(group: Group) -> tuple[float, float] | None:
    """Ages of those who train, where the age is among the targets."""
    at = [place for place, job in enumerate(group.jobs) if job.target.name.casefold() == "age"]
    if not at:
        return None
    ages = group.labels[group.design.final.train, at[0]]
    return float(np.nanmin(ages)), float(np.nanmax(ages))
