"""Permutation tests: a permuted target is one more phenotype, so that thousands go through the whole outer loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from featx.analysis.cohort.people import people_of
from featx.analysis.cohort.targets import BINARY, CONTINUOUS, ORDINAL
from featx.analysis.crossval import Data, Task, Treatment, cross_validate_many
from featx.analysis.inference.permutation import p_value, permutations
from featx.analysis.request import Job, Request
from featx.analysis.scaling import Floats

METRIC = {CONTINUOUS: "r", ORDINAL: "spearman", BINARY: "auc"}
AT_ONCE = 500  # permuted targets that are solved together


def permute(request: Request, data: Data, job: Job, label: tuple[str, str]) -> dict[str, object]:
    """Test whether features say anything of a target: nested ridge on the target, and on permuted ones.

    People change places within outer folds, with all their images (families with families of the same make-up), so
    that every fold keeps its own values. Folds are stratified by the target: one that is permuted over all people is
    dealt worse than the real one, whose score would then look better than chance. Penalties are chosen anew for every
    permuted target. The folds of the first repeat are used. Classes are coded -1 and 1 and scored by AUC.

    Parameters
    ----------
    request : Request
    data : Data
        Of the job's rows.
    job : Job
    label : (features, confounds)

    Returns
    -------
    dict
        One row of `featx.schema.PERMUTATIONS`, without q.
    """
    y = job.target.y.astype(np.float64)
    y = 2.0 * y - 1.0 if job.target.kind == BINARY else y
    n = request.inferring.n_permutations
    orders = permutations(job.units, n, request.folding.random_state, blocks=_blocks(job))
    real = _metric(job, _predict(request, data, job, y[:, None], label[1]), y[:, None])[0]
    null = np.concatenate(
        [
            _metric(job, _predict(request, data, job, Y, label[1]), Y)
            for start in range(0, n, AT_ONCE)
            for Y in [y[orders[start : start + AT_ONCE]].T]
        ]
    )
    known = np.isfinite(null)
    return {
        "target": job.target.name,
        "features": label[0],
        "head": "ridge",
        "confounds": label[1],
        "metric": METRIC[job.target.kind],
        "value": real,
        "null_mean": float(null[known].mean()) if known.any() else float("nan"),
        "null_high": float(np.percentile(null[known], 95)) if known.any() else float("nan"),
        "p": p_value(real, null, higher_is_better=True),
        "n_permutations": n,
    }


def _blocks(job: Job) -> NDArray[np.object_]:
    """Labels of rows that may change places: the outer fold, and which person of the unit a row is of."""
    people = people_of(job.images.participant_id).astype(str)
    rows = pd.DataFrame({"unit": job.units.astype(str), "person": people})
    within = rows.groupby("unit")["person"].transform(lambda one: pd.factorize(one, sort=True)[0])
    return np.array([f"{fold}|{one}" for fold, one in zip(job.design.fold[0], within, strict=True)], dtype=object)


def _predict(request: Request, data: Data, job: Job, Y: Floats, confounds: str) -> tuple[Floats, Floats]:
    """Out-of-fold predictions and the confounds' part, of shape (n, n_targets); NaN in rows that are never test."""
    splits = [split for split in job.design.splits if split.repeat == 0]
    task = Task("ridge", CONTINUOUS, Treatment(confounds=confounds))
    answers = cross_validate_many(data, Y, splits, task, n_jobs=request.n_jobs)
    predicted, offset = np.full(Y.shape, np.nan), np.zeros(Y.shape)
    for at, one in enumerate(answers):
        for split, answer in zip(splits, one, strict=True):
            predicted[split.test, at], offset[split.test, at] = answer.predicted, answer.offset
    return predicted, offset


def _metric(job: Job, found: tuple[Floats, Floats], Y: Floats) -> Floats:
    """r, Spearman's rank correlation or AUC of every column; an AUC is NaN where one class alone was tested."""
    predicted, offset = found
    tested = np.isfinite(predicted[:, 0])
    p, y = (predicted - offset)[tested], (Y - offset)[tested]
    if job.target.kind == BINARY:
        positive = (Y[tested] > 0).astype(np.float64)
        ranks = rankdata(p, axis=0)
        n_positive = positive.sum(axis=0)
        above = (ranks * positive).sum(axis=0) - n_positive * (n_positive + 1) / 2
        pairs = n_positive * (len(p) - n_positive)
        auc: Floats = np.divide(above, pairs, out=np.full(p.shape[1], np.nan), where=pairs > 0)
        return auc
    if job.target.kind != CONTINUOUS:
        p, y = rankdata(p, axis=0), rankdata(y, axis=0)
    p, y = p - p.mean(axis=0), y - y.mean(axis=0)
    scale = np.sqrt((p**2).sum(axis=0) * (y**2).sum(axis=0))
    r: Floats = np.divide((p * y).sum(axis=0), scale, out=np.zeros(p.shape[1]), where=scale > 0)
    return r
