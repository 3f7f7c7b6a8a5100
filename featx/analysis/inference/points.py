"""Points of curves for the report: ROC and calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from featx.errors import AnalysisError


def roc_points(observed: ArrayLike, probability: ArrayLike) -> pd.DataFrame:
    """Points of the ROC curve, one per distinct probability; ties make a slanted line.

    Parameters
    ----------
    observed : array-like of shape (n,), bool
        Whether a row is of the class.
    probability : array-like of shape (n,)
        Predicted probability of the class.

    Returns
    -------
    DataFrame
        false_positive_rate and true_positive_rate, from (0, 0) to (1, 1), and threshold: a row is called positive
        when its probability is at least that (infinite for the first point).

    Raises
    ------
    AnalysisError
        There are not both classes.

    Examples
    --------
    >>> roc_points([False, True, True], [0.2, 0.2, 0.9]).values.tolist()
    [[0.0, 0.0, inf], [0.0, 0.5, 0.9], [1.0, 1.0, 0.2]]
    """
    positive = np.asarray(observed, dtype=bool)
    score = np.asarray(probability, dtype=np.float64)
    if positive.all() or not positive.any():
        raise AnalysisError(
            f"a ROC curve must have rows of both classes; got {int(positive.sum())} of {len(positive)} in the class; "
            "leave the curve out"
        )
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(score[order]) < 0, True])  # last row of each run of equal scores
    true = np.cumsum(positive[order])[last] / positive.sum()
    false = np.cumsum(~positive[order])[last] / (~positive).sum()
    return pd.DataFrame(
        {
            "false_positive_rate": np.r_[0.0, false],
            "true_positive_rate": np.r_[0.0, true],
            "threshold": np.r_[np.inf, score[order][last]],
        }
    )


def calibration_points(observed: ArrayLike, probability: ArrayLike, n_bins: int = 10) -> pd.DataFrame:
    """Observed share against mean predicted probability, in bins of about equally many rows.

    Parameters
    ----------
    observed : array-like of shape (n,), bool
        Whether a row is of the class.
    probability : array-like of shape (n,)
        Predicted probability of the class. Equal probabilities are in one bin, so bins can be fewer.
    n_bins : int

    Returns
    -------
    DataFrame
        predicted (mean probability), observed (share), low and high (95 % interval of the share: Wilson 1927, JASA
        22:209) and n, one row per bin with rows.

    Examples
    --------
    >>> points = calibration_points([0, 1, 1, 1], [0.2, 0.2, 0.8, 1.0], n_bins=2)
    >>> points[["predicted", "observed", "n"]].values.tolist()
    [[0.2, 0.5, 2.0], [0.9, 1.0, 2.0]]
    """
    score = np.asarray(probability, dtype=np.float64)
    first = np.searchsorted(np.sort(score), score)  # rank, the same for equal probabilities
    table = pd.DataFrame(
        {"bin": first * n_bins // len(score), "predicted": score, "observed": np.asarray(observed, dtype=np.float64)}
    )
    grouped = table.groupby("bin")
    points = grouped[["predicted", "observed"]].mean()
    n, share, z = grouped.size(), points["observed"], 1.959964
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return points.assign(low=middle - half, high=middle + half, n=n).reset_index(drop=True)
