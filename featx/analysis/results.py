"""The tables of a result: from arms to scores, comparisons, breakdowns, splits, predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.cohort.people import Exclusion, people_of
from featx.analysis.cohort.targets import BINARY, CONTINUOUS
from featx.analysis.crossval import ADDED, BASELINE, ONLY
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.folds.strata import CLASSES, Values
from featx.analysis.inference.agebias import bias_table
from featx.analysis.inference.breakdown import Scoring, age_matched, by_label, by_quantile, worst
from featx.analysis.inference.calibration import calibration_summary
from featx.analysis.inference.cautions import (
    Caution,
    few_per_site,
    outside_training_range,
    overlap,
    several_images,
    small_classes,
    small_sample,
)
from featx.analysis.inference.metrics import METRICS
from featx.analysis.inference.paired import cohens_d_paired, corrected_t, delong, difference, fold_scores
from featx.analysis.inference.permutation import fdr
from featx.analysis.inference.scores import Bootstrapped, bootstrap, by_definition, interval
from featx.analysis.jobs import Plan
from featx.analysis.request import Arm, Inferring, Job, Request, versions
from featx.analysis.rows import concat, people_table, splits_table
from featx.analysis.scaling import Floats

OVER_BASELINE = "over the baseline"
MOST_COMPARED = 8  # combinations that are compared each with each; of more, each with the first
Scored = Mapping[tuple[str, str, str], Mapping[str, Bootstrapped]]


def make_tables(
    request: Request,
    plan: Plan,
    arms: Mapping[str, Sequence[Arm]],
    permuted: Sequence[Mapping[str, object]],
    exclusions: Sequence[Exclusion],
) -> dict[str, pd.DataFrame]:
    """All tables of a run but the predictions (`prediction_table`).

    Returns
    -------
    dict of str to DataFrame
        scores, comparisons, permutations, breakdowns, age_bias, splits, exclusions, people; columns as in
        `featx.schema`.
    """
    rows: dict[str, list[pd.DataFrame]] = {"scores": [], "comparisons": [], "breakdowns": [], "age_bias": []}
    for job in plan.jobs:
        own = arms[job.target.name]
        scored = {arm.label: _bootstrap(request, job, arm) for arm in own}
        rows["scores"].append(_score_rows(request, job, own, scored))
        rows["comparisons"].append(_comparison_rows(job, own, scored))
        rows["breakdowns"].append(_breakdown_rows(request, plan, job, own))
        rows["age_bias"] += [_bias_rows(request, job, arm) for arm in own if arm.corrected]
    columns = {
        "scores": schema.SCORES,
        "comparisons": schema.COMPARISONS,
        "breakdowns": schema.BREAKDOWNS,
        "age_bias": schema.AGE_BIAS,
    }
    tables = {name: concat(parts, columns[name]) for name, parts in rows.items()}
    compared = ["question", "features_a", "features_b", "head", "confounds_a", "confounds_b", "metric"]
    tables["comparisons"] = _with_q(tables["comparisons"], compared, "p_corrected_t")
    nulls = pd.DataFrame(permuted, columns=schema.names(schema.PERMUTATIONS))
    tables["permutations"] = _with_q(nulls, ["features", "confounds"], "p")
    tables["splits"] = splits_table(plan)
    tables["people"] = people_table(plan)
    tables["exclusions"] = pd.DataFrame(list(exclusions), columns=schema.names(schema.EXCLUSIONS))
    return tables


def _with_q(table: pd.DataFrame, by: list[str], p: str) -> pd.DataFrame:
    """False discovery rate over the targets of what is otherwise the same test."""
    if len(table):
        table["q"] = table.groupby(by, sort=False)[p].transform(lambda one: fdr(one.to_numpy(dtype=np.float64)))
    return table


# --- scores ---------------------------------------------------------------------------------------------------


def what_is_scored(job: Job, arm: Arm) -> tuple[Values, Floats]:
    """Observed, of shape (n,) or (n_repeats, n), and predicted: without the confounds' part where there is one."""
    if arm.offset is None:
        return job.target.y, arm.predicted
    return job.target.y - arm.offset, arm.predicted - arm.offset


def _bootstrap(request: Request, job: Job, arm: Arm) -> dict[str, Bootstrapped]:
    observed, predicted = what_is_scored(job, arm)
    tested = job.design.fold != TRAIN_ONLY
    found = bootstrap(
        job.target.kind,
        np.where(tested, observed, 0) if observed.ndim == 2 else observed,
        predicted,
        job.units,
        tested=tested,
        n_bootstrap=request.inferring.n_bootstrap,
        random_state=request.folding.random_state,
    )
    return by_definition(found) if arm.head == BASELINE else found


def _baseline_of(request: Request, job: Job, arms: Sequence[Arm], arm: Arm) -> dict[str, Bootstrapped]:
    """The baseline on what an arm is scored on: for a residual, the mean of which is that of the target, as well."""
    baseline = arms[0]
    if arm.offset is not None:
        baseline = replace(baseline, predicted=baseline.predicted + arm.offset, offset=arm.offset)
    return _bootstrap(replace(request, inferring=Inferring(n_bootstrap=0)), job, baseline)


def _score_rows(request: Request, job: Job, arms: Sequence[Arm], scored: Scored) -> pd.DataFrame:
    tested = (job.design.fold != TRAIN_ONLY).any(axis=0)
    n_people = len(set(people_of(job.images.participant_id[tested])))
    rows = []
    for arm in arms:
        baseline = _baseline_of(request, job, arms, arm)
        for metric, one in scored[arm.label].items():
            low, high = interval(one.draws)
            constant = arm.head == BASELINE and METRICS[metric].baseline is not None
            rows.append(
                {
                    "target": job.target.name,
                    "kind": job.target.kind,
                    "features": arm.features,
                    "head": arm.head,
                    "confounds": arm.confounds,
                    "metric": metric,
                    "value": one.value,
                    "low": np.nan if constant else low,
                    "high": np.nan if constant else high,
                    "baseline": baseline[metric].value,
                    "n": int(tested.sum()),
                    "n_people": n_people,
                }
            )
    return pd.DataFrame(rows)[schema.names(schema.SCORES)]


# --- comparisons ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    question: str
    a: Arm
    b: Arm


def pairs_of(arms: Sequence[Arm]) -> Iterator[_Pair]:
    """What is compared: arms with the baseline, features under one head and treatment, confounds with and without.

    An arm that is scored on what confounds leave of the target is not held against the baseline of the whole of it.
    """
    heads = [arm for arm in arms if arm.head != BASELINE]
    for arm in heads:
        if arm.offset is None:
            yield from (_Pair(OVER_BASELINE, arm, one) for one in arms if one.head == BASELINE)
        own = [one for one in heads if (one.head, one.confounds) == (arm.head, arm.confounds)]
        later = own[own.index(arm) + 1 :]
        if len(own) <= MOST_COMPARED:
            yield from (_Pair("features", arm, other) for other in later)
        elif own[0] is not arm:
            yield _Pair("features", arm, own[0])
        if arm.confounds == ADDED:
            alone = [one for one in heads if one.head == arm.head and one.confounds == ONLY]
            yield from (_Pair("gain over confounds", arm, other) for other in alone)


def _comparison_rows(job: Job, arms: Sequence[Arm], scored: Scored) -> pd.DataFrame:
    pairs = list(pairs_of(arms))
    folds = {arm.label: _fold_scores(job, arm) for pair in pairs for arm in (pair.a, pair.b)}
    n_train = float(np.mean([len(split.train) for split in job.design.splits]))
    n_test = float(np.mean([len(split.test) for split in job.design.splits]))
    rows = []
    for pair in pairs:
        for metric, own in scored[pair.a.label].items():
            other = scored[pair.b.label][metric]
            found = difference(own, other, higher_is_better=METRICS[metric].higher_is_better)
            tested = corrected_t(
                folds[pair.a.label][metric], folds[pair.b.label][metric], n_train=n_train, n_test=n_test
            )
            rows.append(
                {
                    "target": job.target.name,
                    "question": pair.question,
                    "features_a": pair.a.features,
                    "features_b": pair.b.features,
                    "head": pair.a.head,
                    "confounds_a": pair.a.confounds,
                    "confounds_b": pair.b.confounds,
                    "metric": metric,
                    "value_a": own.value,
                    "value_b": other.value,
                    "difference": found.value,
                    "low": found.low,
                    "high": found.high,
                    "better": "a" if found.low > 0 else "b" if found.high < 0 else "",
                    "p_bootstrap": found.p,
                    "p_corrected_t": tested.p,
                    "p_delong": _delong(job, pair) if metric == "auc" and job.target.kind == BINARY else np.nan,
                    "effect": _effect(job, pair) if metric == "mae" else np.nan,
                    "q": np.nan,
                }
            )
    return pd.DataFrame(rows, columns=schema.names(schema.COMPARISONS))


def _fold_scores(job: Job, arm: Arm) -> dict[str, Floats]:
    """Scores of every fold, by metric; means over seeds, which share their people, and are no draws of them."""
    observed, predicted = what_is_scored(job, arm)
    repeats = np.broadcast_to(observed, job.design.fold.shape)
    parts = [
        fold_scores(job.target.kind, repeats[split.repeat], [predicted[split.repeat, split.test]], [split.test])
        for split in job.design.splits
    ]
    scores = {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}
    if job.n_seeds == 1:
        return scores
    folds = np.array([f"{split.repeat // job.n_seeds}/{split.fold}" for split in job.design.splits])
    return {
        metric: pd.Series(values).groupby(folds, sort=False).mean().to_numpy() for metric, values in scores.items()
    }


def _delong(job: Job, pair: _Pair) -> float:
    tested = job.design.fold[0] != TRAIN_ONLY
    a, b = pair.a.predicted[0][tested], pair.b.predicted[0][tested]
    if len(set(job.units[tested])) < tested.sum() or pair.b.head == BASELINE:
        return float("nan")  # rows of one unit are not independent; the baseline ranks nobody
    return delong(job.target.y[tested] == 1, a[:, 1], b[:, 1], groups=job.units[tested]).p


def _effect(job: Job, pair: _Pair) -> float:
    observed, a = what_is_scored(job, pair.a)
    return cohens_d_paired(observed.astype(np.float64), a, what_is_scored(job, pair.b)[1], job.units)


# --- breakdowns, age bias -------------------------------------------------------------------------------------


def _breakdown_rows(request: Request, plan: Plan, job: Job, arms: Sequence[Arm]) -> pd.DataFrame:
    parts = []
    for arm in arms:
        if arm.head == BASELINE:
            continue
        observed, predicted = what_is_scored(job, arm)
        scoring = Scoring(
            job.target.kind,
            observed,
            predicted,
            job.units,
            n_bootstrap=request.inferring.n_bootstrap,
            random_state=request.folding.random_state,
            people=people_of(job.images.participant_id),
        )
        found = dict(_breakdowns(plan, job, scoring))
        errors = worst(job.target.kind, observed, predicted, job.images.image_id)
        found["worst predicted"] = pd.DataFrame(
            {"label": errors["id"], "metric": "error", "value": errors["error"], "n": 1, "n_people": 1}
        )
        label = {"target": job.target.name, "features": arm.features, "head": arm.head, "confounds": arm.confounds}
        parts += [table.assign(**label, by=by) for by, table in found.items() if len(table)]
    return concat([one.reindex(columns=schema.names(schema.BREAKDOWNS)) for one in parts], schema.BREAKDOWNS)


def _breakdowns(plan: Plan, job: Job, scoring: Scoring) -> Iterator[tuple[str, pd.DataFrame]]:
    if job.target.kind == BINARY:
        yield "calibration", _calibration_rows(job, scoring)
    if plan.site is not None:
        yield "site", by_label(scoring, plan.site[job.target.rows].astype(str))
    if plan.age is None:
        return
    tested = (job.design.fold != TRAIN_ONLY).any(axis=0)
    age = np.where(tested, plan.age[job.target.rows], np.nan)  # who only trains is nobody's partner
    yield "age", by_quantile(scoring, age)
    if job.target.kind == BINARY:
        pairs = age_matched(job.target.y.astype(np.int64), age, people_of(job.images.participant_id))
        kept = np.full(len(age), "", dtype=object)
        kept[pairs.rows] = f"{pairs.n_pairs} pairs within 1 year"
        table = by_label(scoring, kept.astype(str))
        yield "age-matched", table


def _calibration_rows(job: Job, scoring: Scoring) -> pd.DataFrame:
    """How far probabilities are from what was observed, over the first repeat."""
    tested = job.design.fold[0] != TRAIN_ONLY
    observed, probability = job.target.y[tested] == 1, scoring.predicted[0][tested, 1]
    found = calibration_summary(observed, probability)
    n_people = len(set(people_of(job.images.participant_id[tested])))
    rows = [(f"calibration {name}", getattr(found, name)) for name in ("intercept", "slope", "error", "brier_skill")]
    table = pd.DataFrame(rows, columns=["metric", "value"])
    return table.assign(label="first repeat", n=int(tested.sum()), n_people=n_people)


def _bias_rows(request: Request, job: Job, arm: Arm) -> pd.DataFrame:
    table = bias_table(
        job.target.y.astype(np.float64),
        arm.predicted,
        arm.corrected,
        job.units,
        n_bootstrap=request.inferring.n_bootstrap,
        random_state=request.folding.random_state,
    ).rename(columns={"method": "correction"})
    table = table.assign(target=job.target.name, features=arm.features, head=arm.head, confounds=arm.confounds)
    return table.assign(slope=float(arm.bias["slope"][:-1].mean()))[schema.names(schema.AGE_BIAS)]


# --- contracts and cautions -----------------------------------------------------------------------------------


def about_bundle(request: Request, plan: Plan, job: Job, scores: pd.DataFrame, arm: Arm) -> dict[str, Any]:
    """What a fitted head's contract says beside the head itself."""
    own = scores[
        (scores["target"] == job.target.name)
        & (scores["features"] == arm.features)
        & (scores["head"] == arm.head)
        & (scores["confounds"] == arm.confounds)
    ]
    final = job.design.final.train
    trained, own_y = job.images.participant_id[final], job.target.y[final]
    bias = None
    if arm.bias:
        bias = {name: float(values[-1]) for name, values in arm.bias.items()}
    return {
        "target": job.target.name,
        "kind": job.target.kind,
        "unit": request.units.get(job.target.name, ""),
        "classes": list(job.target.classes),
        "features": arm.features,
        "treatment": {
            "confounds": arm.confounds,
            "harmonise": request.adjusting.harmonise,
            "pca": request.adjusting.pca,
            "calibrate": request.adjusting.calibrate,
            "class_weight": request.options.class_weight if job.target.kind in CLASSES else None,
        },
        "folds": {
            "scheme": request.folding.scheme,
            "n_splits": len({split.fold for split in job.design.splits}),
            "n_repeats": job.design.n_repeats,
            "n_test": int((job.design.fold != TRAIN_ONLY).any(axis=0).sum()),
        },
        "confounds": plan.encoding.settings(),
        "site": request.columns.site,
        "sites": [] if plan.site is None else sorted(set(plan.site.astype(str))),
        "sites_trained": [] if plan.site is None else sorted(set(plan.site[job.target.rows][final].astype(str))),
        "age_bias": bias,
        "n_images": len(job.design.final.train),
        "n_people": len(set(people_of(trained))),
        "range": [float(own_y.min()), float(own_y.max())] if job.target.kind == CONTINUOUS else None,
        "random_state": request.folding.random_state,
        "scores": [
            {"metric": row.metric, "value": finite(row.value), "low": finite(row.low), "high": finite(row.high)}
            for row in own.itertuples()
        ],
        "versions": versions(),
    }


def finite(value: Any) -> float | None:
    """A number for JSON, which knows no NaN."""
    return float(value) if np.isfinite(value) else None


def cautions_of(request: Request, plan: Plan) -> tuple[Caution, ...]:
    """What a reader should know: of the table, the networks, the people and the classes."""
    found = list(request.cautions)
    people = people_of(plan.matched.images.participant_id)
    found += several_images(people)
    if plan.site is not None:
        found += few_per_site(plan.site, people)
    ages = plan.age
    for job in plan.jobs:
        if job.target.kind in CLASSES:
            people_here = people_of(job.images.participant_id)
            found += small_classes(job.target.name, job.target.classes, job.target.y.astype(np.int64), people_here)
        found += small_sample(job.target.name, people_of(job.images.participant_id))
        if ages is None and job.target.name.lower() == "age" and job.target.kind == CONTINUOUS:
            ages = job.target.y.astype(np.float64)
    found += _unseen_sites(request, plan)
    for network, (trained_on, age_range) in request.training.items():
        found += overlap(network, trained_on, people, is_biobank_table=request.is_biobank)
        if ages is not None:
            found += outside_training_range(network, age_range, ages)
    return tuple(found)


def _unseen_sites(request: Request, plan: Plan) -> list[Caution]:
    """Test people whose site no training person is from: ComBat leaves them as they are."""
    if request.adjusting.harmonise == "none" or plan.site is None:
        return []
    unseen: set[str] = set()
    for job in plan.jobs:
        site = plan.site[job.target.rows].astype(str)
        for split in job.design.splits:
            unseen |= set(site[split.test]) - set(site[split.train])
    if not unseen:
        return []
    sentence = (
        f"test people of {', '.join(map(repr, sorted(unseen)[:10]))} had nobody of their site among the training "
        "people of a fold; their features were not harmonised"
    )
    return [Caution("unseen-site", sentence)]
