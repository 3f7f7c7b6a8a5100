"""Confounds removed by linear regression, fitted on training rows and applied to any.

A design of confounds C has no intercept and may have as many columns as it likes: splines, one column for every
level of a category. Where its columns are not independent, the coefficients of least norm are taken (each column in
units of its range, so that a column of 0 and 1 is in its own). A row with 0 in all levels of a category, which is
what a level that was not seen in training gets, therefore has the unweighted mean of the levels' effects removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.analysis.scaling import Floats
from featx.errors import AnalysisError

MODES = {
    "ignored": "confounds are not used",
    "only": "the head is given the confounds alone, and no features",
    "added": "the head is given the confounds as covariates that are not penalised, beside the features",
    "features": "the confounds are removed from the features",
    "target": "the confounds are removed from the target",
    "both": "the confounds are removed from the features and from the target",
}

RANK = 1e-10  # a smaller singular value of columns in units of their ranges is none
_MOST_BYTES = 1 << 28  # of a float64 copy of some columns


@dataclass(frozen=True)
class Removal:
    """A linear regression of columns on [1, C].

    Attributes
    ----------
    mean_confounds : ndarray of shape (q,), float64
        Of the training rows.
    mean : ndarray of shape (p,), or () for a vector, float64
        Of the training rows; it stays when the confounds are removed.
    coef : ndarray of shape (q, p), or (q,) for a vector, float64
        In units of the column per unit of the confound.
    """

    mean_confounds: Floats
    mean: Floats
    coef: Floats


def fit_removal(C: NDArray[np.floating], X: NDArray[np.floating]) -> Removal:
    """Regress every column of X on [1, C]: least squares, of least norm where C's columns are not independent.

    Parameters
    ----------
    C : ndarray of shape (n, q)
        Confounds of the training rows, without intercept. Constant columns get the coefficient 0.
    X : ndarray of shape (n, p) or (n,)
        Features, or a target. The arithmetic is in float64, on some columns at a time.

    Raises
    ------
    AnalysisError
        NaN or infinity in C or X.

    Examples
    --------
    >>> removal = fit_removal(np.array([[0.0], [1.0], [2.0]]), np.array([5.0, 7.0, 9.0]))
    >>> removal.coef.round(12).tolist(), float(removal.mean)
    ([2.0], 7.0)
    """
    C = np.asarray(C, dtype=np.float64)
    wide = X[:, None] if X.ndim == 1 else X
    check_finite(C, "confounds")
    check_finite(wide, "what confounds are removed from")
    mean_confounds, mean = C.mean(axis=0), wide.mean(axis=0, dtype=np.float64)
    inverse = pseudo_inverse(C - mean_confounds, np.ptp(C, axis=0))
    coef = np.empty((C.shape[1], wide.shape[1]))
    for some in column_slices(wide):
        coef[:, some] = inverse @ (wide[:, some] - mean[some])
    return Removal(mean_confounds, mean.reshape(X.shape[1:]), coef.reshape(-1, *X.shape[1:]))


def effect(removal: Removal, C: NDArray[np.floating]) -> Floats:
    """What the confounds add to each row: ``(C - mean_confounds) @ coef``, 0 for a row with the training means.

    Parameters
    ----------
    removal : Removal
    C : ndarray of shape (n, q)
        NaN makes the row NaN.

    Returns
    -------
    ndarray of shape (n, p), or (n,) for a vector
        In the columns' units. Added to predictions of a target that it was removed from, it makes them predictions
        of the target itself.
    """
    return np.asarray((C - removal.mean_confounds) @ removal.coef)


def remove(removal: Removal, C: NDArray[np.floating], X: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows without what the confounds add to them; the columns' training means stay.

    Parameters
    ----------
    removal : Removal
    C : ndarray of shape (n, q)
    X : ndarray of shape (n, p) or (n,)
        NaN stays NaN.

    Returns
    -------
    ndarray of X's shape and dtype
        The arithmetic is in float64, on some columns at a time.

    Examples
    --------
    >>> C, y = np.array([[0.0], [1.0], [2.0]]), np.array([5.0, 7.0, 9.0])
    >>> remove(fit_removal(C, y), C, y).round(12).tolist()
    [7.0, 7.0, 7.0]
    """
    centred = C - removal.mean_confounds
    if X.ndim == 1:
        return np.asarray(X - centred @ removal.coef, dtype=X.dtype)
    out = np.empty_like(X)
    for some in column_slices(X):
        out[:, some] = X[:, some] - centred @ removal.coef[:, some]
    return out


def pseudo_inverse(centred: Floats, units: Floats) -> Floats:
    """Matrix that gives, times a column, its least-squares coefficients on the columns of a design.

    Parameters
    ----------
    centred : ndarray of shape (n, q)
    units : ndarray of shape (q,)
        The columns' ranges before they were centred, in which the norm of the coefficients is least and the rank is
        counted; 0 for a constant column.

    Returns
    -------
    ndarray of shape (q, n)
    """
    units = np.where(units > 0, units, 1.0)
    U, singular, Vt = np.linalg.svd(centred / units, full_matrices=False)
    kept = singular > RANK
    inverse: Floats = (Vt[kept].T / singular[kept]) @ U[:, kept].T / units[:, None]
    return inverse


def column_slices(X: NDArray[np.floating]) -> Iterator[slice]:
    """Slices of columns, each small enough to be copied in float64."""
    width = max(1, _MOST_BYTES // (8 * max(1, len(X))))
    for start in range(0, X.shape[1], width):
        yield slice(start, start + width)


def check_finite(X: NDArray[np.floating], what: str) -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    what : str
        Of what the columns are, for the message.

    Raises
    ------
    AnalysisError
        Names the first column that holds one.
    """
    finite = np.ones(X.shape[1], dtype=bool)
    for some in column_slices(X):
        finite[some] = np.isfinite(X[:, some]).all(axis=0)
    bad = np.flatnonzero(~finite)
    if len(bad):
        raise AnalysisError(
            f"{what} must be finite; NaN or infinity is in {len(bad)} of {len(finite)} columns, first in column "
            f"{bad[0]} (counted from 0); leave these rows or columns out"
        )
