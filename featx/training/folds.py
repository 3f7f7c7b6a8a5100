"""Which networks are trained for a plan: a fit per group of targets, split and seed. Decisions only: no torch.

Folds are those that heads get (the folds within them as well, where seed and number of inner folds are the same). Of
the inner folds the first one validates: it chooses the epoch that is kept. Labels of test people are in no fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from featx.analysis.cohort.targets import ORDINAL, Target
from featx.analysis.folds.splits import Design, Split
from featx.analysis.folds.strata import CLASSES
from featx.analysis.jobs import Plan
from featx.analysis.request import Job
from featx.errors import AnalysisError, TrainingError, known
from featx.networks.output import Output
from featx.training.arms import ALL, OUTPUT, Arm
from featx.training.fit import ADAPT, EVAL, Fit, People
from featx.training.outputs import class_weights, make_output, row_weights
from featx.training.schedules import NO_AUGMENTATION, TrainingRecipe

NONE, WEIGHTS, SAMPLING = "none", "weights", "sampling"  # what is done about classes of unequal size
BALANCES = (NONE, WEIGHTS, SAMPLING)
VALIDATES = 0  # of the inner folds
NO_VOXELS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Wish:
    """How networks are to be trained.

    Attributes
    ----------
    arm : Arm
    recipe_of : callable
        From the kinds of the targets that a network answers, by name, to the recipe that it is trained by.
    seeds : tuple of int
        Every split is trained once with each.
    together : bool
        One network for all targets; else one for each.
    balance : str
        One of `BALANCES`; in training people only, never of those who test.
    batch_norm : str
        EVAL or ADAPT.
    loss_weights : mapping of str to float
        Of targets in the loss, where they are trained together; 1 where it does not say.
    """

    arm: Arm
    recipe_of: Callable[[Mapping[str, str]], TrainingRecipe]
    seeds: tuple[int, ...] = (0,)
    together: bool = False
    balance: str = NONE
    batch_norm: str = EVAL
    loss_weights: Mapping[str, float] = field(default_factory=dict)


def check_wish(wish: Wish) -> None:
    """Refuse words that are unknown.

    Raises
    ------
    AnalysisError
    """
    words = {
        "an answer to classes of unequal size": (wish.balance, BALANCES),
        "a batch norm": (wish.batch_norm, (EVAL, ADAPT)),
    }
    for what, (word, there) in words.items():
        if word not in there:
            raise AnalysisError(f"{what} must be known; {word!r} is not; {known(there)}")
    if wish.batch_norm == ADAPT and wish.arm.phases[0] != OUTPUT:
        raise AnalysisError(
            f"a batch norm is adapted where a network stands still; the arm {wish.arm.name!r} trains all of it; "
            "leave --batch-norm out, or take head-only or two-stage"
        )


def check_targets(wish: Wish, plan: Plan) -> None:
    """Refuse wishes that no target of a plan has a use for.

    Raises
    ------
    AnalysisError
        A loss weight of no target, or without targets that are trained together; an answer to classes of unequal
        size where there are no classes.
    """
    names = [job.target.name for job in plan.jobs]
    for name in wish.loss_weights:
        if name not in names:
            raise AnalysisError(f"a loss weight must be of a target; {name!r} is none; {known(names)}")
    if wish.loss_weights and not wish.together:
        raise AnalysisError(
            "loss weights are for targets that are trained together; these have a network each; add --together"
        )
    if wish.balance != NONE and plan.jobs and not any(job.target.kind in CLASSES for job in plan.jobs):
        raise AnalysisError(
            f"classes of unequal size need a target of classes; {', '.join(map(repr, names))} have none; leave "
            f"--balance {wish.balance} out"
        )


@dataclass(frozen=True)
class Group:
    """Targets that one network answers.

    Attributes
    ----------
    jobs : tuple of Job
    image_ids, participants : ndarray of shape (n,)
    labels : ndarray of shape (n, n_jobs), float64
        NaN where missing.
    design : Design
        Counted in those rows.
    """

    jobs: tuple[Job, ...]
    image_ids: NDArray[np.object_]
    participants: NDArray[np.object_]
    labels: NDArray[np.float64]
    design: Design

    @property
    def name(self) -> str:
        """Its targets."""
        return "+".join(job.target.name for job in self.jobs)


def groups_of(plan: Plan, *, together: bool) -> list[Group]:
    """The targets of a plan, each by itself, or all of them together.

    Raises
    ------
    AnalysisError
        Targets are to be trained together on folds that they do not share.
    """
    if not together:
        return [
            Group(
                (job,),
                job.images.image_id,
                job.images.participant_id,
                job.target.y.astype(np.float64)[:, None],
                job.design,
            )
            for job in plan.jobs
        ]
    shared = next((job.shared for job in plan.jobs if job.shared is not None), None)
    if shared is None:
        raise AnalysisError(
            "targets that are trained together must share their folds; these have folds of their own each; give "
            "--stratify none, or the splits of a run that was made so"
        )
    labels = np.full((len(plan.matched.images.image_id), len(plan.jobs)), np.nan)
    for at, job in enumerate(plan.jobs):
        labels[job.target.rows, at] = job.target.y
    images = plan.matched.images
    return [Group(tuple(plan.jobs), images.image_id, images.participant_id, labels, shared)]


def make_fit(group: Group, split: Split, seed: int, wish: Wish) -> Fit:
    """The fit of a split: who trains and validates, and everything that follows from their labels.

    Raises
    ------
    TrainingError
        Those who train have too few values, or a class is not among them.
    """
    known = np.isfinite(group.labels[split.train]).any(axis=1)
    validates = split.inner == VALIDATES
    train, validation = split.train[known & ~validates], split.train[known & validates]
    own, kinds = group.labels[train], [job.target.kind in CLASSES for job in group.jobs]
    if not len(validation) or not len(train):
        raise TrainingError(
            "too-few-people",
            f"both those who train and those who validate must have a label of {group.name!r}; {len(train)} and "
            f"{len(validation)} have; use other folds, or add people",
        )
    recipe = wish.recipe_of({job.target.name: job.target.kind for job in group.jobs})
    if ALL not in wish.arm.phases:  # what stands still is looked at once
        recipe = replace(recipe, augmentation=NO_AUGMENTATION)
    outputs = tuple(_output(job.target, own[:, at], recipe.numbers) for at, job in enumerate(group.jobs))
    weights = [
        tuple(float(one) for one in class_weights(own[:, at], len(job.target.classes)))
        if wish.balance == WEIGHTS and is_class
        else None
        for at, (job, is_class) in enumerate(zip(group.jobs, kinds, strict=True))
    ]
    rows = None
    if wish.balance == SAMPLING and any(kinds):
        rows = row_weights(own[:, kinds.index(True)])
    return Fit(
        arm=wish.arm,
        recipe=recipe,
        outputs=outputs,
        train=_people(group, train),
        validation=_people(group, validation),
        seed=seed,
        loss_weights=tuple(wish.loss_weights.get(job.target.name, 1.0) for job in group.jobs),
        class_weights=tuple(weights),
        row_weights=rows,
        batch_norm=wish.batch_norm,
    )


def _output(target: Target, own: NDArray[np.float64], numbers: str) -> Output:
    """The output for a target, made of the labels of those who train: ordered levels are those that they have."""
    if target.kind != ORDINAL:
        return make_output(target.name, target.kind, target.classes, own, numbers=numbers)
    levels = np.unique(own[np.isfinite(own)])
    named = dict(zip(np.unique(target.y), target.classes, strict=True))
    classes = tuple(named[one] for one in levels)
    return make_output(target.name, target.kind, classes, own, numbers=numbers, levels=tuple(map(float, levels)))


def _people(group: Group, rows: NDArray[np.intp]) -> People:
    return People(tuple(str(one) for one in group.image_ids[rows]), group.labels[rows])


def key_of(
    fit: Fit, network: Mapping[str, object], test: Sequence[str], voxels: Mapping[str, str] = NO_VOXELS
) -> str:
    """Digest of everything that decides what comes of a fit, and of whom it is asked about.

    Parameters
    ----------
    fit : Fit
    network : mapping
        Facts of the network, of its first weights, and of how the machine computes.
    test : sequence of str
        Ids of the images that it predicts.
    voxels : mapping of str to str
        What tells an image's file from a changed one (`featx.training.cache.voxels_of`), by image.
    """
    facts = {
        "arm": asdict(fit.arm),
        "recipe": {**asdict(fit.recipe), "name": "", "source": ""},
        "outputs": [asdict(one) for one in fit.outputs],
        "people": [
            [(one, voxels.get(one, "")) for one in side]
            for side in (fit.train.image_ids, fit.validation.image_ids, test)
        ],
        "seed": fit.seed,
        "weights": [fit.loss_weights, fit.class_weights],
        "batch_norm": fit.batch_norm,
        "network": dict(network),
    }
    total = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for values in (fit.train.labels, fit.validation.labels, fit.row_weights):
        total.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
    return total.hexdigest()[:24]


# --- seeds as repeats -------------------------------------------------------------------------------------------


def repeat_for_seeds(plan: Plan, n_seeds: int) -> Plan:
    """A plan whose repeats are each there once per seed, so that scores are means over seeds as well.

    Repeat ``r`` of seed ``s`` becomes repeat ``r * n_seeds + s``.
    """
    shared: dict[int, Design] = {}

    def tiled(design: Design) -> Design:
        return shared.setdefault(id(design), _tiled(design, n_seeds))

    jobs = tuple(
        replace(
            job, design=tiled(job.design), shared=None if job.shared is None else tiled(job.shared), n_seeds=n_seeds
        )
        for job in plan.jobs
    )
    return replace(plan, jobs=jobs)


def _tiled(design: Design, n_seeds: int) -> Design:
    splits = tuple(
        replace(split, repeat=split.repeat * n_seeds + seed)
        for repeat in range(design.n_repeats)
        for seed in range(n_seeds)
        for split in design.splits
        if split.repeat == repeat
    )
    return Design(np.repeat(design.fold, n_seeds, axis=0), splits, design.final)
