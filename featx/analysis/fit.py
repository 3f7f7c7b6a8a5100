"""All targets x feature sets x heads: a request in, tables and fitted heads out. One bad target harms no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.bundle import Bundle, make_bundle
from featx.analysis.cohort.people import Exclusion, Matched, bare, exclusion, join, people_of
from featx.analysis.cohort.targets import CONTINUOUS, Target, make_target, number_text
from featx.analysis.crossval import BASELINE, cross_validate, predict_baseline
from featx.analysis.features import Features, Images, SetFacts, check_same_people, combine
from featx.analysis.heads import HEADS, applies
from featx.analysis.inference.scores import Score, score, score_baseline
from featx.analysis.request import Request, Result, TargetFacts, check_request, versions
from featx.analysis.scaling import Floats
from featx.analysis.splits import Design, make_design
from featx.errors import CohortError, TargetError

NO_FEATURES = "-"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class _Job:
    """A target that can be analysed."""

    target: Target
    images: Images
    design: Design
    heads: tuple[str, ...]


@dataclass
class _Tables:
    """Rows as they come."""

    scores: list[pd.DataFrame] = field(default_factory=list)
    predictions: dict[str, list[pd.DataFrame]] = field(default_factory=dict)
    bundles: dict[tuple[str, str, str], Bundle] = field(default_factory=dict)


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
    images, partial = _shared_images(request)
    matched = join(images, request.phenotypes)
    partly = {bare(one[schema.PARTICIPANT_ID]) for one in partial}  # these have images, and a row that says which
    exclusions = partial + [one for one in matched.exclusions if not _has_images(one, partly)]
    jobs = _make_jobs(request, matched, exclusions)
    tables = _Tables()
    for job in jobs:
        _add_baseline(request, job, tables)
    facts = _fit_all(request, jobs, matched, tables, on_progress)
    order = {job.target.name: at for at, job in enumerate(jobs)}  # sorting is stable: baseline, then as fitted
    flow = {
        "images_with_features": len(images.image_id) + len(partial),
        "images_with_all_features": len(images.image_id),
        "images_matched": len(matched.images.image_id),
        "people_matched": len(set(people_of(matched.images.participant_id))),
        "people_in_phenotypes": len(set(people_of(request.phenotypes[schema.PARTICIPANT_ID]))),
    }
    return Result(
        request=request,
        flow=flow,
        sets=facts,
        targets=tuple(_facts(job) for job in jobs),
        splits=_concat([_splits(job) for job in jobs], schema.SPLITS),
        scores=_concat(sorted(tables.scores, key=lambda one: order[one["target"].iloc[0]]), schema.SCORES),
        exclusions=pd.DataFrame(exclusions, columns=schema.names(schema.EXCLUSIONS)),
        predictions={name: pd.concat(parts, ignore_index=True) for name, parts in tables.predictions.items()},
        bundles=dict(sorted(tables.bundles.items(), key=lambda one: order[one[0][0]])),
        skipped=tuple((job.target.name, head) for job in jobs for head in request.heads if head not in job.heads),
    )


def _has_images(row: Exclusion, people: set[str]) -> bool:
    return row["code"] == "no-image" and bare(row[schema.PARTICIPANT_ID]) in people


# --- decide ---------------------------------------------------------------------------------------------------


def _shared_images(request: Request) -> tuple[Images, list[Exclusion]]:
    """Ids of the images that are in every set that is used, and rows for those that are in some only."""
    names = list(dict.fromkeys(name for sets in request.combinations.values() for name in sets))
    rows = {name: {str(image): at for at, image in enumerate(request.sets[name].image_id)} for name in names}
    everywhere = sorted(set.intersection(*(set(one) for one in rows.values())))
    if not everywhere:
        raise CohortError(
            f"feature sets must share images to be compared; {', '.join(map(repr, names))} share none; "
            "fit them in separate runs, or extract all from the same images"
        )
    of = {name: _images_of(request, name, [rows[name][image] for image in everywhere]) for name in names}
    for name in names[1:]:
        check_same_people(name, of[name], of[names[0]])
    return of[names[0]], _in_some_only(request, rows, set(everywhere))


def _images_of(request: Request, name: str, at: list[int]) -> Images:
    one = request.sets[name]
    return Images(one.image_id, one.participant_id, one.session_id).take(np.array(at, dtype=np.intp))


def _in_some_only(request: Request, rows: Mapping[str, Mapping[str, int]], everywhere: set[str]) -> list[Exclusion]:
    partial = []
    for image in sorted(set().union(*rows.values()) - everywhere):
        holder = next(name for name in rows if image in rows[name])
        lacking = next(name for name in rows if image not in rows[name])
        person = str(request.sets[holder].participant_id[rows[holder][image]])
        sentence = (
            f"an image must be in every feature set that is compared; {image!r} is in {holder!r} and not in "
            f"{lacking!r}; look in the failures table, or fit the sets in separate runs"
        )
        partial.append(exclusion("missing-features", sentence, image_id=image, participant_id=person))
    return partial


def _make_jobs(request: Request, matched: Matched, exclusions: list[Exclusion]) -> list[_Job]:
    jobs = []
    for name in dict.fromkeys(request.targets):
        try:
            jobs.append(_make_job(request, matched, name))
        except TargetError as error:
            exclusions.append(exclusion(error.code, error.sentence, target=name))
            continue
        exclusions.extend(_missing_values(matched, jobs[-1].target))
        if not jobs[-1].heads:
            exclusions.append(_no_head(request, jobs[-1].target))
    return jobs


def _no_head(request: Request, target: Target) -> Exclusion:
    sentence = (
        f"a target must have a head that suits its kind; {target.name!r} is {target.kind}, and was given "
        f"{', '.join(map(repr, dict.fromkeys(request.heads)))}; "
        f"add one of {', '.join(head for head in HEADS if applies(head, target.kind))}"
    )
    return exclusion("wrong-kind", sentence, target=target.name)


def _make_job(request: Request, matched: Matched, name: str) -> _Job:
    target = make_target(matched.phenotypes, name, request.kinds.get(name))
    images = matched.images.take(target.rows)
    design = make_design(
        target.y,
        people_of(images.participant_id),
        kind=target.kind,
        name=name,
        n_splits=request.n_splits,
        n_inner=request.n_inner,
        random_state=request.random_state,
    )
    heads = tuple(head for head in dict.fromkeys(request.heads) if applies(head, target.kind))
    return _Job(target, images, design, heads)


def _missing_values(matched: Matched, target: Target) -> list[Exclusion]:
    without = np.setdiff1d(np.arange(len(matched.images.image_id)), target.rows)
    gone = matched.images.take(without)
    return [
        exclusion(
            "missing-value",
            f"a person must have a value to be analysed; {target.name!r} is empty for {str(person)!r}; fill it in",
            target=target.name,
            image_id=str(image),
            participant_id=str(person),
        )
        for image, person in zip(gone.image_id, gone.participant_id, strict=True)
    ]


# --- act ------------------------------------------------------------------------------------------------------


def _fit_all(
    request: Request, jobs: list[_Job], matched: Matched, tables: _Tables, on_progress: Progress | None
) -> dict[str, tuple[SetFacts, ...]]:
    """Fit combination by combination, so that the features of one only are in memory; facts of all of them."""
    total = len(request.combinations) * sum(len(job.heads) * (job.design.n_splits + 1) for job in jobs)
    done = 0
    facts: dict[str, tuple[SetFacts, ...]] = {}
    for combination, names in request.combinations.items():
        features = combine([request.sets[name] for name in names])
        facts[combination] = features.sets
        X = features.X[np.searchsorted(features.images.image_id.astype(str), matched.images.image_id.astype(str))]
        for job in jobs:

            def step(what: str = f"{job.target.name} from {combination}") -> None:
                nonlocal done
                done += 1
                if on_progress is not None:
                    on_progress(done, total, what)

            _fit_job(request, job, tables, (combination, features, X), step)
    return facts


def _fit_job(
    request: Request,
    job: _Job,
    tables: _Tables,
    of: tuple[str, Features, NDArray[np.float32]],
    step: Callable[[], None],
) -> None:
    combination, features, X = of
    fits = cross_validate(
        X[job.target.rows],
        job.target.y,
        job.design,
        kind=job.target.kind,
        heads=job.heads,
        random_state=request.random_state,
        n_jobs=request.n_jobs,
        on_fit=step,
    )
    for one in fits:
        found = _score(request, job, one.predicted, score)
        _add(job, tables, (combination, one.head), one.predicted, found)
        about = _about(request, job, combination, found)
        bundle = make_bundle(one.head, one.estimator, sets=features.sets, about=about)
        tables.bundles[job.target.name, one.head, combination] = bundle


def _add_baseline(request: Request, job: _Job, tables: _Tables) -> None:
    predicted = predict_baseline(job.target.y, job.design, kind=job.target.kind, n_classes=len(job.target.classes))
    found = _score(request, job, predicted, score_baseline)
    _add(job, tables, (NO_FEATURES, BASELINE), predicted, found)


def _score(request: Request, job: _Job, predicted: Floats, by: Callable[..., list[Score]]) -> list[Score]:
    return by(
        job.target.kind,
        job.target.y,
        predicted,
        people_of(job.images.participant_id),
        n_bootstrap=request.n_bootstrap,
        random_state=request.random_state,
    )


def _add(job: _Job, tables: _Tables, label: tuple[str, str], predicted: Floats, found: list[Score]) -> None:
    """Rows of scores and predictions. The baseline comes first: every later score stands beside its own."""
    name = job.target.name
    table = pd.DataFrame(
        {
            "target": name,
            "kind": job.target.kind,
            "features": label[0],
            "head": label[1],
            "metric": [one.metric for one in found],
            "value": [one.value for one in found],
            "low": [one.low for one in found],
            "high": [one.high for one in found],
            "n": len(job.target.y),
        }
    )
    own = table if label[1] == BASELINE else next(one for one in tables.scores if one["target"].iloc[0] == name)
    table["baseline"] = own["value"].to_numpy()
    tables.scores.append(table[schema.names(schema.SCORES)])
    tables.predictions.setdefault(name, []).append(_prediction_rows(job, label, predicted))


def _prediction_rows(job: _Job, label: tuple[str, str], predicted: Floats) -> pd.DataFrame:
    target = job.target
    if target.kind == CONTINUOUS:
        observed = [number_text(one) for one in target.y]
        likeliest = [number_text(one) for one in predicted]
    else:
        observed = [target.classes[int(one)] for one in target.y]
        likeliest = [target.classes[int(one)] for one in predicted.argmax(axis=1)]
    table = pd.DataFrame(
        {
            "features": label[0],
            "head": label[1],
            schema.IMAGE_ID: job.images.image_id,
            schema.PARTICIPANT_ID: job.images.participant_id,
            schema.SESSION_ID: job.images.session_id,
            "fold": job.design.fold,
            "observed": observed,
            "predicted": likeliest,
        }
    )[schema.names(schema.PREDICTIONS)]
    for at, level in enumerate(target.classes):
        table[schema.PROBABILITY + level] = predicted[:, at]
    return table


def _splits(job: _Job) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "target": job.target.name,
            schema.IMAGE_ID: job.images.image_id,
            schema.PARTICIPANT_ID: job.images.participant_id,
            "fold": job.design.fold,
        }
    )


def _facts(job: _Job) -> TargetFacts:
    target = job.target
    counts = tuple(int((target.y == at).sum()) for at in range(len(target.classes)))
    n_people = len(set(people_of(job.images.participant_id)))
    return TargetFacts(target.name, target.kind, target.classes, counts, len(target.y), n_people)


def _about(request: Request, job: _Job, combination: str, found: list[Score]) -> dict[str, Any]:
    facts = _facts(job)
    return {
        "target": facts.name,
        "kind": facts.kind,
        "classes": list(facts.classes),
        "features": combination,
        "n_images": facts.n_images,
        "n_people": facts.n_people,
        "random_state": request.random_state,
        "scores": [
            {"metric": one.metric, "value": finite(one.value), "low": finite(one.low), "high": finite(one.high)}
            for one in found
        ],
        "versions": versions(),
    }


def finite(value: float) -> float | None:
    """A number for JSON, which knows no NaN."""
    return float(value) if np.isfinite(value) else None


def _concat(parts: list[pd.DataFrame], columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=schema.names(columns))
