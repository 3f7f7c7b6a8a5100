"""All targets x features x heads x ways to treat confounds: a request in, a result out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from featx.analysis.cohort.people import Exclusion, exclusion
from featx.analysis.cohort.targets import CONTINUOUS, MULTICLASS
from featx.analysis.crossval import (
    ADDED,
    BASELINE,
    IGNORED,
    ONLY,
    RESIDUAL,
    Answer,
    Data,
    Task,
    Treatment,
    assemble,
    cross_validate,
    cross_validate_many,
    inner_predictions,
    predict_baseline,
)
from featx.analysis.features import SetFacts, combine
from featx.analysis.folds.splits import Design, Split
from featx.analysis.folds.strata import NUMBERS
from featx.analysis.inference.agebias import COLE, METHODS, correct, fit_bias, is_invertible
from featx.analysis.jobs import Plan, make_plan
from featx.analysis.nulls import permute
from featx.analysis.request import NO_FEATURES, Arm, Job, Request, Result, check_request
from featx.analysis.results import about_bundle, cautions_of, make_tables
from featx.analysis.runs.bundle import Bundle, make_bundle
from featx.analysis.scaling import Floats
from featx.analysis.suiting import Pass, check_features, passes, skipped, slices_of, suits
from featx.errors import AnalysisError

Progress = Callable[[int, int, str], None]


@dataclass
class _Found:
    """What comes as it comes."""

    plan: Plan
    arms: dict[str, list[Arm]]
    bundles: dict[tuple[str, str, str, str], tuple[Job, Answer]] = field(default_factory=dict)
    permuted: list[dict[str, object]] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)


def run(request: Request, on_progress: Progress | None = None) -> Result:
    """Cross-validate every head on every combination of features for every target.

    Parameters
    ----------
    request : Request
    on_progress : callable, optional
        Called as (fits done, fits in all, what is being fitted).

    Returns
    -------
    Result
        A target that cannot be analysed is a row of the exclusions with its code and sentence.

    Raises
    ------
    AnalysisError, CohortError, StoreError
        The request, the phenotype table or the features as a whole cannot be used.
    """
    check_request(request)
    check_features(request)
    plan = make_plan(request)
    found = _Found(plan, {job.target.name: [baseline_arm(job)] for job in plan.jobs})
    facts = _fit_all(request, plan, found, on_progress)
    order = {job.target.name: at for at, job in enumerate(plan.jobs)}
    exclusions = (*plan.exclusions, *found.exclusions)
    tables = make_tables(request, plan, found.arms, found.permuted, exclusions)
    keys = sorted(found.bundles, key=lambda key: order[key[0]])  # sorting is stable: as fitted
    return Result(
        request=request,
        flow=plan.flow,
        sets=facts,
        jobs=plan.jobs,
        arms={name: tuple(arms) for name, arms in found.arms.items()},
        tables=tables,
        bundles={key: _bundle(request, plan, facts, tables["scores"], _made(found, key)) for key in keys},
        skipped=tuple(skipped(request, plan.jobs)),
        cautions=cautions_of(request, plan),
    )


def plan_fits(request: Request) -> tuple[Plan, int]:
    """What `run` would do: who, on which folds, in how many fits."""
    check_request(request)
    check_features(request)
    plan = make_plan(request)
    return plan, sum(len(group.design.splits) + 1 for one in passes(request) for group in _groups(request, plan, one))


def baseline_arm(job: Job) -> Arm:
    """What is predicted without features: the training people's mean, or their class frequencies."""
    predicted = predict_baseline(job.target.y, job.design, kind=job.target.kind, n_classes=len(job.target.classes))
    return Arm(NO_FEATURES, BASELINE, IGNORED, predicted)


# --- fitting --------------------------------------------------------------------------------------------------


def _fit_all(
    request: Request, plan: Plan, found: _Found, on_progress: Progress | None
) -> dict[str, tuple[SetFacts, ...]]:
    """Fit combination by combination, so that the features of one only are in memory; facts of all of them."""
    total = sum(len(group.design.splits) + 1 for one in passes(request) for group in _groups(request, plan, one))
    done = 0

    def step(what: str) -> Callable[[], None]:
        def one_more() -> None:
            nonlocal done
            done += 1
            if on_progress is not None:
                on_progress(done, total, what)

        return one_more

    facts: dict[str, tuple[SetFacts, ...]] = {}
    data = None
    for one in passes(request):
        if data is None or one.features not in facts:
            data, facts[one.features] = make_data(request, plan, one.features)
        for group in _groups(request, plan, one):
            _fit_group(request, data, one, group, (found, step(group.what(one))))
        _permute_all(request, data, one, found)
    facts.pop(NO_FEATURES, None)
    return facts


def make_data(request: Request, plan: Plan, combination: str) -> tuple[Data, tuple[SetFacts, ...]]:
    """Rows of all matched images, and the facts of the features. Incomplete confounds are 0: no split holds them."""
    n = len(plan.matched.images.image_id)
    facts: tuple[SetFacts, ...] = ()
    X: NDArray[np.floating] = np.empty((n, 0), dtype=np.float32)
    if combination != NO_FEATURES:
        features = combine([request.sets[name] for name in request.combinations[combination]], missing="keep")
        at = np.searchsorted(features.images.image_id.astype(str), plan.matched.images.image_id.astype(str))
        X, facts = features.X[at], features.sets
    site = None
    if request.adjusting.harmonise != "none" and plan.site is not None:
        site = np.unique(plan.site.astype(str), return_inverse=True)[1]
    return Data(X, np.nan_to_num(plan.C, nan=0.0), site), facts


@dataclass(frozen=True)
class _Group:
    """Jobs that are fitted together, with one head, on one design."""

    head: str
    jobs: tuple[Job, ...]
    design: Design
    is_shared: bool

    def what(self, one: Pass) -> str:
        """For the progress."""
        name = self.jobs[0].target.name if len(self.jobs) == 1 else f"{len(self.jobs)} targets"
        return f"{name} from {one.features}, {self.head}"


def _groups(request: Request, plan: Plan, one: Pass) -> list[_Group]:
    """Ridge takes all targets of a shared design at once; everything else goes one by one."""
    groups = []
    for head in dict.fromkeys(head for job in plan.jobs for head in job.heads):
        own = [job for job in plan.jobs if head in job.heads and suits(request, job, head, one)]
        task = make_task(request, plan, head, CONTINUOUS, one)
        alone = request.inferring.correct_age  # these need inner predictions of their own
        shared = [job for job in own if job.shared and task.is_phenome_wide and job.target.name not in alone]
        if shared and shared[0].shared is not None:
            groups.append(_Group(head, tuple(shared), shared[0].shared, is_shared=True))
        groups += [_Group(head, (job,), job.design, is_shared=False) for job in own if job not in shared]
    return groups


def make_task(
    request: Request, plan: Plan, head: str, kind: str, one: Pass, *, classes: tuple[str, ...] = ()
) -> Task:
    """A head with what happens around it, as the request wants it; `classes` are the target's, where it has any."""
    adjusting = request.adjusting
    treatment = Treatment(
        confounds=one.confounds,
        harmonise=adjusting.harmonise,
        n_preserved=plan.n_preserved,
        pca=adjusting.pca,
        calibrate=adjusting.calibrate,
    )
    options = replace(
        request.options,
        grid=request.grids.get(head, {}),
        random_state=request.folding.random_state,
        n_slices=slices_of(request, one.features),
        classes=classes,
    )
    return Task(head, kind, treatment, options)


def _fit_group(
    request: Request, data: Data, one: Pass, group: _Group, into: tuple[_Found, Callable[[], None]]
) -> None:
    """Fit a group in every split and on everybody; what fails is a row of the exclusions."""
    found, step = into
    splits = (*group.design.splits, group.design.final)
    try:
        if group.is_shared:
            task = make_task(request, found.plan, group.head, CONTINUOUS, one)
            Y = np.full((len(data.X), len(group.jobs)), np.nan)
            for at, job in enumerate(group.jobs):
                Y[job.target.rows, at] = job.target.y
            many = cross_validate_many(data, Y, splits, task, n_jobs=request.n_jobs, on_fit=step)
            for job, answers in zip(group.jobs, many, strict=True):
                _add_arm(
                    found, job, one, group.head, [_of_rows(job, *pair) for pair in zip(splits, answers, strict=True)]
                )
            return
        (job,) = group.jobs
        task = make_task(request, found.plan, group.head, job.target.kind, one, classes=job.target.classes)
        own = data.take(job.target.rows)
        answers = cross_validate(own, job.target.y, splits, task, n_jobs=request.n_jobs, on_fit=step)
    except AnalysisError as error:
        for job in group.jobs:
            found.exclusions.append(_unfitted(job, f"{group.head} on", one, error))
        return
    arm = _add_arm(found, job, one, group.head, answers)
    if job.target.name not in request.inferring.correct_age or job.target.kind != CONTINUOUS:
        return
    try:
        found.arms[job.target.name][-1] = _corrected(arm, own, job, task, request.n_jobs)
    except AnalysisError as error:
        found.exclusions.append(_unfitted(job, f"correction of age after {group.head} on", one, error))


def _unfitted(job: Job, what: str, one: Pass, error: AnalysisError) -> Exclusion:
    return exclusion("unfitted", f"{what} {one.features}, confounds {one.confounds}: {error}", target=job.target.name)


def _of_rows(job: Job, split: Split, answer: Answer) -> Answer:
    """A shared split's answer for the rows that have a value."""
    if not len(split.test):
        return answer
    has_value = np.isin(split.test, job.target.rows)
    return replace(answer, predicted=answer.predicted[has_value], offset=answer.offset[has_value])


def _add_arm(found: _Found, job: Job, one: Pass, head: str, answers: Sequence[Answer]) -> Arm:
    tested = answers[:-1]
    arm = Arm(
        one.features,
        head,
        one.confounds,
        assemble(job.design, [answer.predicted for answer in tested]),
        assemble(job.design, [answer.offset for answer in tested]) if one.confounds in RESIDUAL else None,
    )
    found.arms[job.target.name].append(arm)
    found.bundles[job.target.name, head, one.features, one.confounds] = (job, answers[-1])
    return arm


# --- what is added to an arm ----------------------------------------------------------------------------------


def _corrected(arm: Arm, data: Data, job: Job, task: Task, n_jobs: int) -> Arm:
    """An arm with age-bias corrected predictions beside the raw ones."""
    y = job.target.y.astype(np.float64)
    splits = (*job.design.splits, job.design.final)
    inner = Parallel(n_jobs=n_jobs)(delayed(inner_predictions)(data, y, split, task) for split in splits)
    biases = [fit_bias(y[split.train], one) for split, one in zip(splits, inner, strict=True)]
    usable = [one for one in METHODS if one != COLE or all(is_invertible(bias) for bias in biases)]
    parts: dict[str, list[Floats]] = {method: [] for method in usable}
    for split, bias in zip(job.design.splits, biases[:-1], strict=True):
        raw = arm.predicted[split.repeat, split.test]
        for method, own in parts.items():
            own.append(correct(bias, raw, y[split.test], method=method))
    return replace(
        arm,
        corrected={method: assemble(job.design, own) for method, own in parts.items()},
        bias={
            "slope": np.array([one.slope for one in biases]),
            "intercept": np.array([one.intercept for one in biases]),
        },
    )


def _permute_all(request: Request, data: Data, one: Pass, found: _Found) -> None:
    adjusting = request.adjusting
    if not request.inferring.n_permutations or one.confounds in (ONLY, ADDED):
        return
    if adjusting.harmonise != "none" or adjusting.pca is not None:
        return
    for job in found.plan.jobs:
        if job.target.kind == MULTICLASS or (one.confounds in RESIDUAL and job.target.kind not in NUMBERS):
            continue
        try:
            found.permuted.append(permute(request, data.take(job.target.rows), job, (one.features, one.confounds)))
        except AnalysisError as error:
            found.exclusions.append(_unfitted(job, "permutations of ridge on", one, error))


def _made(found: _Found, key: tuple[str, str, str, str]) -> tuple[Job, Arm, Answer]:
    target, head, features, confounds = key
    arm = next(one for one in found.arms[target] if one.label == (features, head, confounds))
    return found.bundles[key][0], arm, found.bundles[key][1]


def _bundle(
    request: Request,
    plan: Plan,
    facts: Mapping[str, tuple[SetFacts, ...]],
    scores: pd.DataFrame,
    made: tuple[Job, Arm, Answer],
) -> Bundle:
    job, arm, answer = made
    if answer.kept is None:
        raise AnalysisError(f"the split without test rows must give a head; {arm.head!r} gave none; report this")
    about = about_bundle(request, plan, job, scores, arm)
    people = job.images.participant_id[job.design.final.train]
    return make_bundle(arm.head, answer.kept, sets=facts.get(arm.features, ()), people=people, about=about)
