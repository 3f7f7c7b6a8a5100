"""Nested cross-validation of several heads on the same folds, beside a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from featx.analysis.cohort.targets import CONTINUOUS
from featx.analysis.heads import make_head, predict_with
from featx.analysis.scaling import Floats
from featx.analysis.splits import Design

BASELINE = "baseline"
Answer = tuple[Floats | None, Any]


@dataclass(frozen=True)
class Fitted:
    """One head on one target.

    Attributes
    ----------
    head : str
        Key of `featx.analysis.heads.HEADS`.
    predicted : ndarray of shape (n,) or (n, n_classes)
        Out-of-fold numbers or probabilities: each row by a head that never saw its participant.
    estimator : scikit-learn estimator
        Fitted on all rows.
    """

    head: str
    predicted: Floats
    estimator: Any


def cross_validate(
    X: NDArray[np.floating],
    y: NDArray[np.float64] | NDArray[np.int64],
    design: Design,
    *,
    kind: str,
    heads: Sequence[str],
    random_state: int = 0,
    n_jobs: int = 1,
    on_fit: Callable[[], None] | None = None,
) -> list[Fitted]:
    """Fit each head in every outer fold and once on all rows.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    y : ndarray of shape (n,)
        Numbers, or class codes 0..k-1.
    design : Design
        Folds.
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    heads : sequence of str
    random_state : int
    n_jobs : int
        Processes. Every fit has one thread, so that the result is the same for any number.
    on_fit : callable, optional
        Called after each of the ``len(heads) * (n_splits + 1)`` fits.
    """
    tasks = [(head, k) for head in heads for k in range(design.n_splits + 1)]
    answers: list[Answer] = []
    unfitted = (make_head(head, kind, cv=design.inner_pairs(k), random_state=random_state) for head, k in tasks)
    stream = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_fit_one)(head, X, y, kind, design.rows(k)) for head, (_, k) in zip(unfitted, tasks, strict=True)
    )
    for answer in stream:
        answers.append(answer)
        if on_fit is not None:
            on_fit()
    per_head = design.n_splits + 1
    return [_assemble(head, answers[at * per_head : (at + 1) * per_head], y, design) for at, head in enumerate(heads)]


def _fit_one(
    head: Any,
    X: NDArray[np.floating],
    y: NDArray[Any],
    kind: str,
    rows: tuple[NDArray[np.intp], NDArray[np.intp]],
) -> Answer:
    """Test predictions of one outer fold; the head itself where nothing is test."""
    train, test = rows
    with threadpool_limits(limits=1):  # sums of several threads differ in the last digit
        head.fit(X[train], y[train])
        return (predict_with(head, kind, X[test]), None) if len(test) else (None, head)


def _assemble(head: str, answers: list[Answer], y: NDArray[Any], design: Design) -> Fitted:
    parts = [predicted for predicted, _ in answers if predicted is not None]
    predicted = np.full((len(y), *parts[0].shape[1:]), np.nan)
    for k, part in enumerate(parts):
        predicted[design.rows(k)[1]] = part
    return Fitted(head, predicted, answers[-1][1])


def predict_baseline(
    y: NDArray[np.float64] | NDArray[np.int64], design: Design, *, kind: str, n_classes: int = 0
) -> Floats:
    """What is predicted without features: the training rows' mean, or their class frequencies as probabilities.

    Returns
    -------
    ndarray of shape (n,) or (n, n_classes)
        The likeliest class is the majority of the training rows (the first of equally frequent ones).
    """
    predicted = np.empty(len(y) if kind == CONTINUOUS else (len(y), n_classes))
    for k in range(design.n_splits):
        train, test = design.rows(k)
        if kind == CONTINUOUS:
            predicted[test] = y[train].mean()
        else:
            predicted[test] = np.bincount(y[train].astype(np.int64), minlength=n_classes) / len(train)
    return predicted
