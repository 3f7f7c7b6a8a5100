"""From trained arms to a run: the tables that `featx fit` makes, with networks in the place of heads. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from featx.analysis.cohort.people import Exclusion, exclusion
from featx.analysis.features import SetFacts
from featx.analysis.fit import baseline_arm
from featx.analysis.jobs import Plan
from featx.analysis.request import Arm, Request, Result
from featx.analysis.results import cautions_of, make_tables
from featx.analysis.rows import splits_table
from featx.errors import TrainingError
from featx.extraction.plan import Request as Wanted
from featx.featureset import FeatureSet
from featx.images.image import Image
from featx.networks.missing import TOLD
from featx.networks.recipe import describe
from featx.networks.sheet import Network, View
from featx.training.source import Source


def images_as_sets(images: Sequence[Image], source: Source) -> dict[str, FeatureSet]:
    """Images as the feature set that a network is trained on, and as those with slices missing, by their names."""
    views = {source.base.name: source.view} | {set_name(source.base, view): view for view in source.missing}
    return {
        name: images_as_set(
            name, images, replace(source.request, recipe=replace(source.request.recipe, views=(view,)))
        )
        for name, view in views.items()
    }


def set_name(sheet: Network, view: View) -> str:
    """What a view with slices missing is called as features, such as resnet18.imagenet~drop4."""
    return f"{sheet.name}{TOLD}{view.name.partition(TOLD)[2]}"


def images_as_set(name: str, images: Sequence[Image], wanted: Wanted) -> FeatureSet:
    """Images that a network can have as a feature set without a feature: who is analysed is decided by ids alone."""
    images = sorted(images, key=lambda one: one.image_id)
    view = wanted.recipe.views[0]
    provenance = {
        "network": wanted.sheet.name,
        "weights": wanted.weights,
        "weights_sha256": "",
        "recipe": describe(wanted.recipe, view, resampling=wanted.resampling),
        "recipe_digest": "",
        "view": view.name,
        "tap": "",
        "pooling": "",
        "precision": "",
        "versions": "",
    }
    return FeatureSet(
        name,
        np.empty((len(images), 0), np.float32),
        image_id=np.array([one.image_id for one in images], dtype=object),
        participant_id=np.array([one.participant_id for one in images], dtype=object),
        session_id=np.array([one.session_id for one in images], dtype=object),
        provenance=provenance,
    )


def make_result(
    request: Request,
    plans: tuple[Plan, Plan],
    arms: Sequence[Mapping[str, Arm]],
    failed: Sequence[tuple[str, str, TrainingError]],
) -> Result:
    """Scores, comparisons and all else of arms that were trained.

    Parameters
    ----------
    request : Request
        With the feature sets of `images_as_sets`.
    plans : tuple of Plan
        From `featx.training.folds.repeat_for_seeds`, and the one that went in, whose splits are the run's.
    arms : sequence of mapping of str to Arm
        Of each arm, its predictions by target.
    failed : sequence of (target, arm, TrainingError)

    Returns
    -------
    Result
        Targets that no arm could be trained for are rows of the exclusions.
    """
    plan, once = plans
    exclusions: list[Exclusion] = [*plan.exclusions]
    exclusions += [exclusion(error.code, f"{arm}: {error.sentence}", target=target) for target, arm, error in failed]
    jobs = tuple(job for job in plan.jobs if any(job.target.name in one for one in arms))
    kept = replace(plan, jobs=jobs)
    by_target = {
        job.target.name: [baseline_arm(job), *(one[job.target.name] for one in arms if job.target.name in one)]
        for job in jobs
    }
    tables = make_tables(request, kept, by_target, [], exclusions)
    names = [job.target.name for job in jobs]
    tables["splits"] = splits_table(replace(once, jobs=tuple(job for job in once.jobs if job.target.name in names)))
    return Result(
        request=request,
        flow=plan.flow,
        sets={name: (SetFacts(name, one.key, 0, one.provenance),) for name, one in request.sets.items()},
        jobs=jobs,
        arms={target: tuple(own) for target, own in by_target.items()},
        tables=tables,
        bundles={},
        skipped=(),
        cautions=cautions_of(request, kept),
    )
