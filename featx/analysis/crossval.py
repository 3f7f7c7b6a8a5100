"""Nested cross-validation of one head on given splits; confounds, sites and calibration are inside the folds.

Ridge without anything that must be fitted to single images takes the phenome-wide road (`featx.analysis.ridge`): all
targets of one design at once. Everything else is fitted split by split, in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from featx.analysis.adjust.confounds import effect, fit_removal
from featx.analysis.adjust.prepare import Prepare
from featx.analysis.folds.splits import Design, Split, sub_splits
from featx.analysis.folds.strata import CLASSES, NUMBERS, Rows, Values
from featx.analysis.heads import HeadOptions, chosen_parameters, fitted_arrays, form_of, make_head, predict_with
from featx.analysis.inference.calibration import fit_calibration
from featx.analysis.ridge import RidgeFit, cross_validate_ridge
from featx.analysis.scaling import Floats

BASELINE = "baseline"
IGNORED, ONLY, ADDED, FEATURES, TARGET, BOTH = "ignored", "only", "added", "features", "target", "both"
RESIDUAL = (TARGET, BOTH)  # modes that are scored on what confounds leave of the target
_REMOVE = {IGNORED: "none", ONLY: "both", ADDED: "both", FEATURES: "features", TARGET: "target", BOTH: "both"}
_PREPARE = {IGNORED: "ignore", TARGET: "ignore", ADDED: "added", FEATURES: "features", BOTH: "features"}


@dataclass(frozen=True)
class Data:
    """What is known of the rows.

    Attributes
    ----------
    X : ndarray of shape (n, n_features)
    C : ndarray of shape (n, n_confounds), float64
        From `featx.analysis.cohort.covariates.design`; no columns where there are no confounds.
    site : ndarray of shape (n,), int64, or None
        Codes of the sites, where features are harmonised.
    """

    X: NDArray[np.floating]
    C: Floats
    site: NDArray[np.int64] | None = None

    def take(self, rows: Rows) -> Data:
        """Some rows only."""
        return Data(self.X[rows], self.C[rows], None if self.site is None else self.site[rows])

    def inputs(self, blocks: Sequence[str]) -> NDArray[np.floating]:
        """Blocks side by side: 'site', 'confounds', 'features'; in the features' own precision."""
        found: Mapping[str, Any] = {"confounds": self.C, "features": self.X}
        columns = [self.site[:, None] if one == "site" and self.site is not None else found[one] for one in blocks]
        dtype = np.float64 if "features" not in blocks else self.X.dtype
        return np.concatenate([np.asarray(one, dtype=dtype) for one in columns], axis=1)


@dataclass(frozen=True)
class Treatment:
    """What happens around a head, inside every fold.

    Attributes
    ----------
    confounds : str
        `IGNORED`; `ONLY` (the head sees nothing else), `ADDED` (as covariates without penalty), or removed by linear
        regression from the `FEATURES`, the `TARGET` or `BOTH`.
    harmonise : str
        "none" or "combat".
    n_preserved : int
        The first columns of C, whose effect ComBat preserves.
    pca : int or float, optional
        Components, or their share of variance.
    calibrate : str
        "none", "platt" or "isotonic": probabilities are mapped by what inner out-of-fold ones say.
    """

    confounds: str = IGNORED
    harmonise: str = "none"
    n_preserved: int = 0
    pca: int | float | None = None
    calibrate: str = "none"

    @property
    def is_linear(self) -> bool:
        """Whether Gram matrices can do all of it."""
        return self.confounds == ONLY or (self.harmonise == "none" and self.pca is None)


@dataclass(frozen=True)
class Kept:
    """A fitted head as arrays and words, ready to be stored.

    Attributes
    ----------
    arrays : mapping of str to ndarray
        Of the head, and with the prefix "prepare." of what comes before it; "offset_coef" and "offset_mean" of the
        confounds' part of the target.
    form : str
        See `featx.analysis.heads.Head`.
    parameters : mapping of str to number or text
        Chosen on the inner folds.
    blocks : tuple of str
        What the head is given, side by side: "site", "confounds", "features".
    prepare : mapping or None
        Settings of `featx.analysis.adjust.prepare.Prepare`.
    adds_offset : bool
        Whether the confounds' part is added to what the head says.
    calibration : mapping or None
        See `featx.analysis.inference.calibration`.
    """

    arrays: Mapping[str, NDArray[Any]]
    form: str
    parameters: Mapping[str, float | int | str]
    blocks: tuple[str, ...]
    prepare: Mapping[str, Any] | None = None
    adds_offset: bool = False
    calibration: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Answer:
    """One split.

    Attributes
    ----------
    predicted : ndarray of shape (n_test,) or (n_test, n_classes)
        Numbers, on the scale of the phenotype, or probabilities.
    offset : ndarray of shape (n_test,)
        The confounds' part of it, where the target was residualised; else 0.
    kept : Kept or None
        For the split without test rows.
    """

    predicted: Floats
    offset: Floats
    kept: Kept | None = None


@dataclass(frozen=True)
class Task:
    """A head on a kind of target, and what happens around it."""

    head: str
    kind: str
    treatment: Treatment = field(default_factory=Treatment)
    options: HeadOptions = field(default_factory=HeadOptions)

    @property
    def is_phenome_wide(self) -> bool:
        """Whether it takes the road of `cross_validate_ridge`."""
        return self.head == "ridge" and self.treatment.is_linear


OnFit = Callable[[], None]


def cross_validate(
    data: Data, y: Values, splits: Sequence[Split], task: Task, *, n_jobs: int = 1, on_fit: OnFit | None = None
) -> list[Answer]:
    """Fit one head in every split.

    Parameters
    ----------
    data : Data
    y : ndarray of shape (n,)
        Numbers, or class codes 0..k-1.
    splits : sequence of Split
        One without test rows gives the fitted head itself.
    task : Task
    n_jobs : int
        Processes. Every fit has one thread, so that the result is the same for any number.
    on_fit : callable, optional
        Called after each split.

    Returns
    -------
    list of Answer
        One per split.
    """
    if task.is_phenome_wide:
        return cross_validate_many(data, y[:, None].astype(np.float64), splits, task, n_jobs=n_jobs, on_fit=on_fit)[0]
    stream = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_fit_one)(data, y, split, task) for split in splits
    )
    answers = []
    for answer in stream:
        answers.append(answer)
        if on_fit is not None:
            on_fit()
    return answers


def cross_validate_many(
    data: Data, Y: Floats, splits: Sequence[Split], task: Task, *, n_jobs: int = 1, on_fit: OnFit | None = None
) -> list[list[Answer]]:
    """Ridge for all targets of one design at once.

    Parameters
    ----------
    data, splits, task, n_jobs, on_fit
        As for `cross_validate`.
    Y : ndarray of shape (n, n_targets), float64
        NaN where a phenotype is missing.

    Returns
    -------
    list of list of Answer
        By target, then by split; test rows without a value are predicted as well.
    """
    mode = task.treatment.confounds
    X = data.X[:, :0] if mode == ONLY else data.X
    fits = cross_validate_ridge(
        X,
        Y,
        splits,
        confounds=None if mode == IGNORED else data.C,
        remove=_REMOVE[mode],
        n_jobs=n_jobs,
        on_split=on_fit,
    )
    return [
        [_ridge_answer(fit, split, at, mode) for fit, split in zip(fits, splits, strict=True)]
        for at in range(Y.shape[1])
    ]


def _ridge_answer(fit: RidgeFit, split: Split, at: int, mode: str) -> Answer:
    """One target's part. The confounds' part of it is 0 for a person with the training means of them."""
    offset = fit.offset[:, at] if mode in RESIDUAL else np.zeros(len(split.test))
    if len(split.test):
        return Answer(fit.predicted[:, at], offset)
    blocks = {IGNORED: ("features",), ONLY: ("confounds",)}.get(mode, ("confounds", "features"))
    parts = {"confounds": fit.coef_confounds, "features": fit.coef}
    arrays = {
        "coef": np.concatenate([parts[one][at] for one in blocks]),
        "intercept": np.asarray(fit.intercept[at]),
    }
    if mode in RESIDUAL:
        arrays |= {"offset_coef": fit.offset_coef[at], "offset_mean": fit.confound_mean[at]}
    parameters = {} if mode == ONLY else {"alpha": float(fit.alpha[at])}
    return Answer(fit.predicted[:, at], offset, Kept(arrays, form_of("ridge"), parameters, blocks))


# --- one split ------------------------------------------------------------------------------------------------


def _fit_one(data: Data, y: Values, split: Split, task: Task) -> Answer:
    with threadpool_limits(limits=1):  # sums of several threads differ in the last digit
        return _fit_split(data, y, split, task)


def _fit_split(data: Data, y: Values, split: Split, task: Task) -> Answer:
    mode = task.treatment.confounds
    blocks = _blocks(data, task.treatment)
    prepare = _make_prepare(data, task.treatment)
    estimator = make_head(task.head, task.kind, cv=split.inner_pairs(), prepare=prepare, options=task.options)
    inputs = data.inputs(blocks)
    offset = np.zeros(len(y))
    removal = None
    if mode in RESIDUAL:
        removal = fit_removal(data.C[split.train], y[split.train].astype(np.float64)[:, None])
        offset = effect(removal, data.C)[:, 0]
    estimator.fit(
        inputs[split.train], y[split.train] - offset[split.train] if removal is not None else y[split.train]
    )
    calibration = _calibration(data, y, split, task)
    predicted = np.empty((0,) if task.kind in NUMBERS else (0, 0))
    if len(split.test):
        predicted = predict_with(estimator, task.kind, inputs[split.test])
        predicted = predicted + offset[split.test] if removal is not None else predicted
        predicted = calibration.apply(predicted) if calibration is not None else predicted
        return Answer(predicted, offset[split.test])
    arrays = dict(fitted_arrays(task.head, estimator))
    settings = None
    if prepare is not None:
        settings = estimator.prepare_.settings()
        arrays |= {f"prepare.{name}": array for name, array in estimator.prepare_.arrays().items()}
    if removal is not None:
        arrays |= {"offset_coef": removal.coef[:, 0], "offset_mean": removal.mean_confounds}
    kept = Kept(
        arrays,
        form_of(task.head),
        chosen_parameters(task.head, estimator),
        blocks,
        settings,
        adds_offset=removal is not None,
        calibration=None if calibration is None else calibration.as_json(),
    )
    return Answer(predicted, np.empty(0), kept)


def _blocks(data: Data, treatment: Treatment) -> tuple[str, ...]:
    if treatment.confounds == ONLY:
        return ("confounds",)
    blocks = ("site",) if treatment.harmonise != "none" else ()
    needs_confounds = treatment.confounds in (ADDED, FEATURES, BOTH) or treatment.n_preserved
    return (*blocks, *(("confounds",) if needs_confounds else ()), "features")


def _make_prepare(data: Data, treatment: Treatment) -> Prepare | None:
    mode = treatment.confounds
    blocks = _blocks(data, treatment)
    if mode == ONLY:  # without penalty, as beside features: what features add is then theirs
        return Prepare(n_confounds=data.C.shape[1], confounds="added")
    if blocks == ("features",) and treatment.pca is None:
        return None
    return Prepare(
        n_confounds=data.C.shape[1] if "confounds" in blocks else 0,
        confounds=_PREPARE[mode] if "confounds" in blocks else "ignore",
        harmonise=treatment.harmonise,
        n_preserved=treatment.n_preserved,
        pca=treatment.pca,
    )


def _calibration(data: Data, y: Values, split: Split, task: Task) -> Any:
    if task.treatment.calibrate == "none" or task.kind not in CLASSES:
        return None
    inner = inner_predictions(data, y, split, task)
    return fit_calibration(task.treatment.calibrate, y[split.train].astype(np.int64), inner)


def inner_predictions(data: Data, y: Values, split: Split, task: Task) -> Floats:
    """Out-of-fold predictions of the training rows, by heads fitted within them; shape (n_train,) or (n_train, k).

    The inner folds are those of the split, and each head's own inner folds are the remaining ones: the split needs
    three inner folds or more. No test row is looked at.
    """
    plain = replace(task, treatment=replace(task.treatment, calibrate="none"))
    inner = sub_splits(split)
    answers = cross_validate(data, y, inner, plain)
    predicted = np.empty((len(split.train), *answers[0].predicted.shape[1:]))
    for (_, valid), answer in zip(split.inner_pairs(), answers, strict=True):
        predicted[valid] = answer.predicted
    return predicted


# --- over the splits ------------------------------------------------------------------------------------------


def assemble(design: Design, parts: Sequence[Floats]) -> Floats:
    """Predictions of the splits, one per row: shape (n_repeats, n) or (n_repeats, n, n_classes).

    NaN where a row is not test in a repeat.
    """
    whole = np.full((*design.fold.shape, *parts[0].shape[1:]), np.nan)
    for split, part in zip(design.splits, parts, strict=True):
        whole[split.repeat, split.test] = part
    return whole


def predict_baseline(y: Values, design: Design, *, kind: str, n_classes: int = 0) -> Floats:
    """What is predicted without features: the training rows' mean, or their class frequencies as probabilities.

    Returns
    -------
    ndarray of shape (n_repeats, n) or (n_repeats, n, n_classes)
        The likeliest class is the majority of the training rows (the first of equally frequent ones).
    """
    parts = []
    for split in design.splits:
        own = y[split.train]
        guess = own.mean() if kind in NUMBERS else np.bincount(own.astype(np.int64), minlength=n_classes) / len(own)
        parts.append(np.tile(guess, (len(split.test), *([1] if np.ndim(guess) else []))))
    return assemble(design, parts)
