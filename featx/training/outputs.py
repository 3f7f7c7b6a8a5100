"""Outputs made of the training people's labels, weights against class imbalance, and answers as predictions.

Needs no torch. Whatever is counted or measured here must be of training people only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featx.analysis.cohort.targets import CONTINUOUS, ORDINAL
from featx.analysis.heads.direct import positive_class
from featx.analysis.heads.softbins import bin_centres, bin_width
from featx.errors import AnalysisError, TrainingError, known
from featx.networks import output as form
from featx.networks.output import Output

Floats = NDArray[np.float64]
NUMBERS = (form.REGRESSION, form.SOFT_BINS)


def make_output(
    name: str, kind: str, classes: tuple[str, ...], y: Floats, *, numbers: str, levels: tuple[float, ...] = ()
) -> Output:
    """The output of a network for one phenotype.

    A regression is in standard deviations from the mean of the training people; soft bins are those that the head
    `softbins` would take for them (about 40, of 1, 2 or 5 times a power of ten, and three more on both sides).

    Parameters
    ----------
    name : str
        The phenotype.
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    classes : tuple of str
        Names of classes or of ordered levels; empty for numbers.
    y : ndarray of shape (n,)
        Labels of the training people: numbers in the phenotype's unit, codes of classes, or the numbers of ordered
        levels; NaN where missing.
    numbers : str
        How numbers are answered: `featx.networks.output.REGRESSION` or `SOFT_BINS`. Of no account for other kinds.
    levels : tuple of float
        Of ordered levels the number of each, ascending; no training person need be of every one.

    Raises
    ------
    AnalysisError
        `numbers` is unknown; ordered levels do not have a number each.
    TrainingError
        With the codes all-missing, constant-target (fewer than two values), too-few-people (a class without a
        training person), and those of `check_labels`.

    Examples
    --------
    >>> make_output("age", "continuous", (), np.array([40.0, np.nan, 60.0]), numbers="regression").values
    (50.0, 10.0)
    >>> make_output("sex", "binary", ("F", "M"), np.array([0.0, 1.0, 1.0]), numbers="regression").width
    2
    """
    present = y[~np.isnan(y)]
    _check_values(name, present)
    if kind == CONTINUOUS:
        return _of_numbers(name, present, numbers)
    if kind == ORDINAL:
        _check_levels(name, classes, levels)
        output = Output(name, form.ORDINAL, len(levels) - 1, levels, classes)
    else:
        place = positive_class(classes)  # the head `direct` knows classes by their names
        read = (float(1 if place is None else place),) if len(classes) == 2 else ()
        output = Output(name, form.CLASSES, len(classes), read, classes)
    check_labels(output, y)
    missing = [one for at, one in enumerate(classes) if at not in present]
    if output.form == form.CLASSES and missing:
        raise TrainingError(
            "too-few-people",
            f"every class must be among the people who train; {missing[0]!r} of {name!r} is not, among "
            f"{len(present)} with a value; use folds that are stratified by it, or merge classes",
        )
    return output


def _of_numbers(name: str, y: Floats, numbers: str) -> Output:
    if numbers not in NUMBERS:
        raise AnalysisError(
            f"the way to answer with numbers must be known; {numbers!r} is not, for {name!r}; {known(NUMBERS)}"
        )
    if numbers == form.REGRESSION:
        return Output(name, form.REGRESSION, 1, (float(y.mean()), float(y.std())))
    centres = bin_centres(y, bin_width(y))
    return Output(name, form.SOFT_BINS, len(centres), tuple(centres.tolist()))


def check_labels(output: Output, y: Floats) -> None:
    """Refuse labels that an output has no place for, before a device stops at them. Bins are open: all numbers fit.

    Parameters
    ----------
    output : Output
    y : ndarray of shape (n,)
        Of anyone, training or not; NaN is missing.

    Raises
    ------
    TrainingError
        non-finite-target: a number is infinite; wrong-kind: a code is none of the classes', a number none of the
        levels'.
    """
    present = y[~np.isnan(y)]
    if output.form in NUMBERS:
        _check_finite(output.target, present)
        return
    allowed = output.values if output.form == form.ORDINAL else tuple(map(float, range(output.width)))
    wrong = ~np.isin(present, allowed)
    if wrong.any():
        what = "number of a level" if output.form == form.ORDINAL else "code of a class"
        raise TrainingError(
            "wrong-kind",
            f"a label must be the {what}, one of {', '.join(f'{one:g}' for one in allowed)}; {output.target!r} is "
            f"{present[wrong.argmax()]:g} in {int(wrong.sum())} of {len(present)} rows; give the target its own kind",
        )


def _check_finite(name: str, present: Floats) -> None:
    infinite = ~np.isfinite(present)
    if infinite.any():
        raise TrainingError(
            "non-finite-target",
            f"a label must be finite; {name!r} is not in {int(infinite.sum())} of {len(present)} rows; write the "
            "number, or n/a",
        )


def _check_values(name: str, present: Floats) -> None:
    """Something to learn must be there."""
    _check_finite(name, present)
    n_values = len(np.unique(present))
    if n_values < 2:
        raise TrainingError(
            "constant-target" if n_values else "all-missing",
            f"a target must have two values or more among the people who train; {name!r} has {n_values}, among "
            f"{len(present)} of them with a value; use other folds, or leave it out",
        )


def _check_levels(name: str, classes: tuple[str, ...], levels: tuple[float, ...]) -> None:
    if len(levels) != len(classes) or list(levels) != sorted(set(levels)):
        raise AnalysisError(
            f"ordered levels must have a number each, ascending; {name!r} has {len(classes)} levels and the numbers "
            f"{levels}; give one for every level, in its order"
        )


# --- class imbalance ------------------------------------------------------------------------------------------


def class_weights(codes: Floats, n_classes: int) -> Floats:
    """Weight of every class so that all weigh the same together, and a row 1 on average ("balanced").

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Of training people; NaN where missing.
    n_classes : int

    Returns
    -------
    ndarray of shape (n_classes,)
        n / (n_classes * count), counted where there is a code.

    Raises
    ------
    TrainingError
        too-few-people: a class has no row.

    Examples
    --------
    >>> class_weights(np.array([0.0, 0.0, 0.0, 1.0, np.nan]), 2).round(3).tolist()
    [0.667, 2.0]
    """
    present = codes[~np.isnan(codes)]
    counts = np.bincount(present.astype(np.int64), minlength=n_classes)
    if not counts.all():
        raise TrainingError(
            "too-few-people",
            f"every class must have a row to be weighted by its number; class {int(counts.argmin())} of {n_classes} "
            f"has none, among {len(present)}; do without weights, or merge classes",
        )
    weights: Floats = len(present) / (n_classes * counts)
    return weights


def row_weights(codes: Floats) -> Floats:
    """Weight of every row in sampling, so that each class that is there is drawn as often; 1 on average.

    A row without a code has a weight of 1, which is the mean of the others.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Of training people only; NaN where missing.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> row_weights(np.array([0.0, 0.0, 0.0, 1.0, np.nan])).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0, 1.0]
    """
    weights = np.ones(len(codes))
    present = ~np.isnan(codes)
    if present.any():
        there, place = np.unique(codes[present], return_inverse=True)
        weights[present] = class_weights(place.astype(np.float64), len(there))[place]
    return weights


# --- predictions ----------------------------------------------------------------------------------------------


def to_predicted(output: Output, decoded: NDArray[np.floating]) -> Floats:
    """Decoded answers as `featx.analysis.request.Arm.predicted` holds them.

    Parameters
    ----------
    output : Output
    decoded : ndarray of shape (n, 1) or (n, n_classes)
        Of `featx.networks.decoding.decode`.

    Returns
    -------
    ndarray of shape (n,), or (n, n_classes) for classes
        Numbers in the phenotype's unit, or probabilities.

    Raises
    ------
    TrainingError
        non-finite-features: an answer is NaN, which would pass for a row that is not test, or infinite.

    Examples
    --------
    >>> sex = Output("sex", "classes", 2, classes=("F", "M"))
    >>> to_predicted(sex, np.array([[0.75, 0.25]])).tolist()
    [[0.75, 0.25]]
    """
    bad = ~np.isfinite(decoded).all(axis=1)
    if bad.any():
        raise TrainingError(
            "non-finite-features",
            f"predictions must be finite; those of {output.target!r} are not in {int(bad.sum())} of {len(bad)} rows; "
            "train with a lower learning rate, or in float32",
        )
    numbers = np.asarray(decoded, dtype=np.float64)
    return numbers if output.form == form.CLASSES else numbers[:, 0]
