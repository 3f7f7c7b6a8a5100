"""Age-bias correction of predicted numbers, by two conventions; shown beside the raw numbers, never instead of them.

Predictions lean towards the mean age of the training people, so that the difference of predicted and own age falls
with age. De Lange & Cole 2020 (NeuroImage: Clinical 26:102229) compare the conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featx.analysis.cohort.targets import CONTINUOUS
from featx.analysis.folds.strata import Labels
from featx.analysis.inference.scores import Bootstrapped, bootstrap, interval
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, known

COLE, BEHESHTI, RAW = "cole", "beheshti", "raw"
METHODS = (COLE, BEHESHTI)
LEAST_SLOPE = 0.05  # below it the inverse stretches predictions more than twentyfold
BIAS_COLUMNS = ("method", "metric", "value", "low", "high")
DELTA_R = "delta_r"

CAUTION = (
    "The correction after Beheshti uses the tested person's own age: an error or a correlation after it is no "
    "measure of accuracy."
)


@dataclass(frozen=True)
class AgeBias:
    """The line ``predicted = slope * age + intercept`` of training people; the intercept in years."""

    slope: float
    intercept: float


def fit_bias(observed: Floats, predicted: Floats) -> AgeBias:
    """The line of predicted on own age, by least squares.

    Parameters
    ----------
    observed : ndarray of shape (n,)
        Ages of training people, in years.
    predicted : ndarray of shape (n,)
        Inner out-of-fold predictions of the same people: fitted values would hide the bias.

    Raises
    ------
    AnalysisError
        A number is not finite, or the ages do not vary.

    Examples
    --------
    >>> fit_bias(np.array([20.0, 40.0, 60.0]), np.array([30.0, 40.0, 50.0]))
    AgeBias(slope=0.5, intercept=20.0)
    """
    bad = int((~(np.isfinite(observed) & np.isfinite(predicted))).sum())
    if bad:
        raise AnalysisError(
            f"ages and predictions must be finite to fit a bias; {bad} of {len(observed)} rows have one that is not; "
            "leave them out"
        )
    if not len(observed) or np.ptp(observed) == 0:
        raise AnalysisError(
            f"ages must vary to fit a bias; all {len(observed)} training rows have one age; leave the correction out"
        )
    centred = observed - observed.mean()
    slope = float(centred @ predicted / (centred @ centred))
    return AgeBias(slope, float(predicted.mean() - slope * observed.mean()))


def is_invertible(bias: AgeBias) -> bool:
    """Whether predictions rise with age by enough for "cole".

    Examples
    --------
    >>> is_invertible(AgeBias(0.5, 20.0)), is_invertible(AgeBias(0.01, 45.0))
    (True, False)
    """
    return bias.slope >= LEAST_SLOPE


def correct(bias: AgeBias, predicted: Floats, observed: Floats, method: str) -> Floats:
    """Predictions without the age bias, in years.

    Parameters
    ----------
    bias : AgeBias
        Of the training people.
    predicted, observed : ndarray of shape (n,)
        Predictions and own ages of the test people; NaN stays NaN.
    method : str
        "cole": ``(predicted - intercept) / slope``, the line inverted (Cole et al. 2018, Mol Psychiatry 23:1385).
        It needs no age of the tested person, and its errors are mostly larger than the raw ones.
        "beheshti": ``predicted - ((slope - 1) * age + intercept)``, the expected difference taken off (Beheshti et
        al. 2019, NeuroImage: Clinical 24:102063; Smith et al. 2019, NeuroImage 200:528). It moves predictions
        towards the tested person's own age: an MAE or a correlation after it is no measure of accuracy (`CAUTION`).

    Raises
    ------
    AnalysisError
        Unknown method; a slope below `LEAST_SLOPE` for "cole" (see `is_invertible`).

    Examples
    --------
    >>> bias, predicted, own = AgeBias(0.5, 20.0), np.array([30.0, 52.0]), np.array([20.0, 60.0])
    >>> correct(bias, predicted, own, "cole").tolist()
    [20.0, 64.0]
    >>> correct(bias, predicted, own, "beheshti").tolist()
    [20.0, 62.0]
    """
    if method not in METHODS:
        raise AnalysisError(f"a correction of age bias must be known; {method!r} is not; {known(METHODS)}")
    if method == BEHESHTI:
        return predicted - ((bias.slope - 1.0) * observed + bias.intercept)
    if not is_invertible(bias):
        raise AnalysisError(
            f"predictions must rise by {LEAST_SLOPE} years a year for their line to be inverted; they rise by "
            f"{bias.slope:.3g} among the training people; report the raw predictions"
        )
    return (predicted - bias.intercept) / bias.slope


def bias_table(
    observed: Floats,
    predicted: Floats,
    corrected: Mapping[str, Floats],
    groups: Labels,
    *,
    n_bootstrap: int = 2000,
    random_state: int = 0,
) -> pd.DataFrame:
    """What predictions are worth before and after correction, and how their difference from age goes with age.

    Parameters
    ----------
    observed : ndarray of shape (n,)
        Ages, in years.
    predicted : ndarray of shape (n,) or (n_repeats, n)
        Raw; NaN where a repeat did not test a row.
    corrected : mapping of str to ndarray
        Method to predictions of the same shape.
    groups : ndarray of shape (n,)
        People, as for `featx.analysis.inference.scores.bootstrap`.
    n_bootstrap, random_state : int

    Returns
    -------
    DataFrame
        Columns `BIAS_COLUMNS`. The method is "raw" first; the metrics are mae (years), r and delta_r, which is
        Pearson's correlation of (predicted - own) with own age.

    Examples
    --------
    >>> age, people = np.array([20.0, 40.0, 60.0]), np.array(["a", "b", "c"])
    >>> table = bias_table(age, np.array([30.0, 40.0, 50.0]), {"cole": age}, people, n_bootstrap=0)
    >>> table["value"].round(2).tolist()
    [6.67, 1.0, -1.0, 0.0, 1.0, nan]
    """
    rows = []
    for method, own in {RAW: predicted, **corrected}.items():
        drawn = (n_bootstrap, random_state)
        found = _scored(observed, own, groups, drawn)
        delta = _scored(observed, own - observed, groups, drawn)["r"]
        for metric, one in {"mae": found["mae"], "r": found["r"], DELTA_R: delta}.items():
            rows.append((method, metric, one.value, *interval(one.draws)))
    return pd.DataFrame(rows, columns=list(BIAS_COLUMNS))


def _scored(observed: Floats, predicted: Floats, groups: Labels, drawn: tuple[int, int]) -> dict[str, Bootstrapped]:
    n_bootstrap, random_state = drawn
    return bootstrap(CONTINUOUS, observed, predicted, groups, n_bootstrap=n_bootstrap, random_state=random_state)
