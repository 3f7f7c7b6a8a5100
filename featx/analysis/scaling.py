"""Standardisation inside a fold, and the rotation that makes wide data small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
REPRODUCIBLE = 1e-4  # the relative difference that features may have between two machines


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of training columns.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,), float64
        scale is 1 for a constant column.
    varies : ndarray of shape (n_features,), bool
        False for a constant column; it is 0 after scaling, in training and in new rows.
    """

    mean: Floats
    scale: Floats
    varies: NDArray[np.bool_]


def fit_scale(X: NDArray[np.floating]) -> Scale:
    """Mean and standard deviation (divisor n) of the columns, in float64.

    A column is constant when its variance is no larger than what rounding alone makes of equal values: for float64,
    scikit-learn's rule. For float32, which is what networks give, when its standard deviation is below
    `REPRODUCIBLE` times its mean: a unit that sees nothing but background has that much from summation alone, and
    in units of it a new brain can lie thousands of standard deviations away.

    Examples
    --------
    >>> scale = fit_scale(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scale.mean.tolist(), scale.scale.tolist(), scale.varies.tolist()
    ([2.0, 5.0], [1.0, 1.0], [True, False])
    """
    mean = X.mean(axis=0, dtype=np.float64)
    centred = X - mean
    variance = np.einsum("ij,ij->j", centred, centred) / len(X)
    eps = np.finfo(np.float64).eps
    noise = REPRODUCIBLE if X.dtype == np.float32 else len(X) * eps
    varies = variance > len(X) * eps * variance + (noise * mean) ** 2
    return Scale(mean, np.where(varies, np.sqrt(variance), 1.0), varies)


def apply_scale(X: NDArray[np.floating], scale: Scale) -> Floats:
    """Rows in units of the training columns' standard deviations."""
    Z: Floats = X - scale.mean
    Z /= scale.scale
    Z[:, ~scale.varies] = 0.0
    return Z


def unscale(coef: Floats, intercept: Floats | float, scale: Scale) -> tuple[Floats, Floats]:
    """Coefficients for scaled columns, as coefficients for the columns as they are.

    Parameters
    ----------
    coef : ndarray of shape (..., n_features)
    intercept : ndarray of shape (...) or float

    Returns
    -------
    coef : ndarray of shape (..., n_features)
    intercept : ndarray of shape (...)
    """
    own = np.where(scale.varies, coef / scale.scale, 0.0)
    return own, np.asarray(intercept - own @ scale.mean)


def row_space(Z: Floats) -> tuple[Floats, Floats | None]:
    """Coordinates of the rows in the space that they span, when that is smaller than the number of columns.

    A head with a squared penalty is the same in any orthogonal coordinates, and its coefficients lie in the span
    of the training rows (Hastie & Tibshirani 2004, Biostatistics 5:329).

    Parameters
    ----------
    Z : ndarray of shape (n, p)

    Returns
    -------
    R : ndarray of shape (n, r)
        r <= n, or Z itself when p <= n.
    basis : ndarray of shape (p, r) with orthonormal columns, or None for Z itself
        Z = R @ basis.T; new rows are rotated by ``Z_new @ basis``.
    """
    n, p = Z.shape
    if p <= n:
        return Z, None
    squares, U = np.linalg.eigh(Z @ Z.T)
    kept = squares > squares[-1] * n * np.finfo(np.float64).eps
    root = np.sqrt(squares[kept])
    return U[:, kept] * root, Z.T @ (U[:, kept] / root)
