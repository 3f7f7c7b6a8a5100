"""Rows of tables: the folds, and the out-of-fold predictions of one target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.targets import number_text
from featx.analysis.features import Images
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.folds.strata import NUMBERS
from featx.analysis.jobs import Plan
from featx.analysis.request import Arm, Job


def concat(parts: Sequence[pd.DataFrame], columns: tuple[schema.Column, ...]) -> pd.DataFrame:
    """Parts of a table one below the other, with its columns."""
    full = [one for one in parts if len(one)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=schema.names(columns))


def splits_table(plan: Plan) -> pd.DataFrame:
    """Folds, reusable: those that all targets share stand once."""
    parts = []
    shared = next((job.shared for job in plan.jobs if job.shared is not None), None)
    if shared is not None:
        used = np.unique(np.concatenate([shared.final.train, *(split.test for split in shared.splits)]))
        parts = [_split_rows(schema.SHARED, plan.matched.images.take(used), shared.fold[:, used])]
    parts += [_split_rows(job.target.name, job.images, job.design.fold) for job in plan.jobs if job.shared is None]
    return concat(parts, schema.SPLITS)


def _split_rows(target: str, images: Images, fold: NDArray[np.int64]) -> pd.DataFrame:
    n_repeats, n = fold.shape
    return pd.DataFrame(
        {
            "target": target,
            schema.IMAGE_ID: np.tile(images.image_id, n_repeats),
            schema.PARTICIPANT_ID: np.tile(images.participant_id, n_repeats),
            "repeat": np.repeat(np.arange(n_repeats), n),
            "fold": fold.ravel(),
        }
    )


def people_table(plan: Plan) -> pd.DataFrame:
    """Site, age and group of every matched image; without rows where none was named."""
    is_told = any(one is not None for one in (plan.site, plan.age, plan.group))
    n_rows = len(plan.matched.images.image_id) if is_told else 0
    table = pd.DataFrame(
        {
            schema.IMAGE_ID: plan.matched.images.image_id[:n_rows],
            schema.PARTICIPANT_ID: plan.matched.images.participant_id[:n_rows],
            "site": "" if plan.site is None else plan.site[:n_rows],
            "age": np.nan if plan.age is None else plan.age[:n_rows],
            "group": "" if plan.group is None else plan.group[:n_rows],
        }
    )
    return table[schema.names(schema.PEOPLE)]


def prediction_table(job: Job, arms: Sequence[Arm]) -> pd.DataFrame:
    """Out-of-fold predictions of one target: one row per arm, repeat and tested image."""
    return pd.concat([_prediction_rows(job, arm) for arm in arms], ignore_index=True)


def _prediction_rows(job: Job, arm: Arm) -> pd.DataFrame:
    target = job.target
    repeat, at = np.nonzero(job.design.fold != TRAIN_ONLY)
    predicted = arm.predicted[repeat, at]
    names = np.array(target.classes, dtype=object)
    if target.kind in NUMBERS:
        observed = np.array([number_text(one) for one in target.y], dtype=object)
        likeliest = [number_text(one) for one in predicted]
    else:
        observed = names[target.y.astype(np.int64)]
        likeliest = list(names[predicted.argmax(axis=1)])
    table = pd.DataFrame(
        {
            "features": arm.features,
            "head": arm.head,
            "confounds": arm.confounds,
            schema.IMAGE_ID: job.images.image_id[at],
            schema.PARTICIPANT_ID: job.images.participant_id[at],
            schema.SESSION_ID: job.images.session_id[at],
            "repeat": repeat,
            "fold": job.design.fold[repeat, at],
            "observed": observed[at],
            "predicted": likeliest,
        }
    )[schema.names(schema.PREDICTIONS)]
    if target.kind not in NUMBERS:
        for code, level in enumerate(target.classes):
            table[schema.PROBABILITY + level] = predicted[:, code]
    if arm.offset is not None:
        table[schema.CONFOUND_PART] = arm.offset[repeat, at]
    for method, own in arm.corrected.items():
        table[schema.CORRECTED + method] = own[repeat, at]
    for name, own in arm.notes.items():
        table["arm"], table[name] = arm.head, pd.Series(own[repeat, at]).astype("Int64")
    return table
