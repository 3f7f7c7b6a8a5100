"""Folds that all targets share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.people import Matched
from featx.analysis.cohort.targets import CONTINUOUS, MULTICLASS, known_columns, make_target
from featx.analysis.folds.given import given_folds
from featx.analysis.folds.splits import TRAIN_ONLY, Design, make_design
from featx.analysis.folds.strata import NUMBERS, Values, commonest
from featx.analysis.request import Request
from featx.errors import CohortError, TargetError


def shared_design(
    request: Request,
    matched: Matched,
    units: NDArray[np.object_],
    site: NDArray[np.object_] | None,
    *,
    complete: NDArray[np.bool_],
) -> Design:
    """Folds over all matched images, for all targets.

    Parameters
    ----------
    request : Request
    matched : Matched
    units : ndarray of shape (n_matched,)
        Groups that are never divided.
    site : ndarray of shape (n_matched,), or None
    complete : ndarray of shape (n_matched,), bool
        Who has all confounds; the others are in no fold.

    Raises
    ------
    CohortError
        The folds cannot be made, or cannot be stratified by the column that was named.
    """
    rows = np.flatnonzero(complete)
    given = None
    if request.folding.scheme == "given":
        given, known = given_folds(request.given_splits, matched.images, schema.SHARED)
        rows = np.flatnonzero(complete & known)
        given = given[:, rows]
    y, kind = _strata(request, matched, units)
    own = make_design(
        y[rows],
        units[rows],
        request.folding,
        kind=kind,
        name="all targets together",
        sites=None if site is None else site[rows],
        given=given,
    )
    fold = np.full((own.n_repeats, len(complete)), TRAIN_ONLY, dtype=np.int64)
    fold[:, rows] = own.fold
    splits = tuple(replace(one, train=rows[one.train], test=rows[one.test]) for one in own.splits)
    return Design(fold, splits, replace(own.final, train=rows[own.final.train]))


def _strata(request: Request, matched: Matched, units: NDArray[np.object_]) -> tuple[Values, str]:
    """What shared folds are stratified by, and its kind: one class for all, or a column's numbers or classes.

    Who has no value counts to the median, or to the commonest class; so does a class of too few groups.
    """
    n, column = len(matched.images.image_id), request.columns.stratify
    if column == "none" or request.folding.scheme != "kfold":
        return np.zeros(n, dtype=np.int64), MULTICLASS
    if column not in matched.phenotypes:
        raise CohortError(
            f"the column that folds are stratified by must be in the phenotype table; {column!r} is not; "
            f"{known_columns(column, [str(one) for one in matched.phenotypes])}"
        )
    levels, expected = request.levels.get(column, {}), request.expected.get(column)
    try:
        target = make_target(matched.phenotypes, column, levels=levels, expected=expected)
    except TargetError as error:
        raise CohortError(f"folds must be stratified by a column that could be a target: {error.sentence}") from error
    if target.kind in NUMBERS:
        y = np.full(n, np.median(target.y))
        y[target.rows] = target.y
        return y, CONTINUOUS
    codes = np.full(n, np.bincount(target.y.astype(np.int64)).argmax(), dtype=np.int64)
    codes[target.rows] = target.y
    groups, group = np.unique(units.astype(str), return_inverse=True)
    codes = commonest(codes, group, len(groups))
    counts = np.bincount(codes)
    rare = np.flatnonzero(counts < 2 * max(request.folding.n_splits, request.folding.n_inner))
    codes[np.isin(codes, rare)] = counts.argmax()
    return codes[group], MULTICLASS
