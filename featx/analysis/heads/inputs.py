"""What a head sees of its rows: prepared, standardised, and in no more coordinates than the rows span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from featx.analysis.adjust.confounds import check_finite
from featx.analysis.scaling import Floats, Scale, apply_scale, fit_scale, row_space, unscale


def fit_prepare(prepare: Any, X: NDArray[np.floating]) -> tuple[Any, NDArray[np.floating], int]:
    """Fit what comes before a head to training rows.

    Parameters
    ----------
    prepare : Prepare or None
        Unfitted; it is cloned.
    X : ndarray of shape (n, p)

    Returns
    -------
    fitted : Prepare or None
    Z : ndarray of shape (n, d)
        The rows, prepared; X itself where there is nothing to do.
    n_free : int
        How many of Z's first columns are covariates without penalty.

    Raises
    ------
    AnalysisError
        NaN or an infinity.
    """
    if prepare is None:
        check_finite(X, "features")
        return None, X, 0
    fitted = clone(prepare).fit(X)
    return fitted, fitted.transform(X), int(fitted.n_free_)


def apply_prepare(fitted: Any, X: NDArray[np.floating]) -> NDArray[np.floating]:
    """Prepare rows in the way that was fitted to the training rows.

    Raises
    ------
    AnalysisError
        NaN or an infinity.
    """
    if fitted is None:
        check_finite(X, "features")
        return X
    Z: NDArray[np.floating] = fitted.transform(X)
    return Z


RANK = 1e-10  # share of the largest eigenvalue below which covariates count as linearly dependent


@dataclass(frozen=True)
class Coordinates:
    """Standardised columns, rotated into the span of the training rows where there are more columns than rows.

    Attributes
    ----------
    prepare : Prepare or None
        Fitted.
    scale : Scale
        Of the prepared columns.
    n_free : int
        The first columns: standardised, but neither rotated nor divided.
    basis : ndarray of shape (d - n_free, r), or None where nothing is rotated
    divisor : float
        Root of the number of penalised columns: a penalty on coordinates counts per feature, and is as strong for
        many features as for few.
    """

    prepare: Any
    scale: Scale
    n_free: int
    basis: Floats | None
    divisor: float


def fit_coordinates(
    X: NDArray[np.floating], prepare: Any = None, *, rotate: bool = True
) -> tuple[Coordinates, Floats]:
    """Coordinates of training rows, and the rows in them.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    prepare : Prepare, optional
        Unfitted.
    rotate : bool
        Without it the coordinates are the standardised columns themselves, and the divisor is 1.

    Returns
    -------
    coordinates : Coordinates
    R : ndarray of shape (n, n_free + r)
        Columns with mean zero; those that are constant in training are 0 or rotated away.
    """
    fitted, prepared, n_free = fit_prepare(prepare, X)
    scale = fit_scale(prepared)
    Z = apply_scale(prepared, scale)
    if not rotate:
        return Coordinates(fitted, scale, n_free, None, 1.0), Z
    divisor = float(np.sqrt(max(Z.shape[1] - n_free, 1)))
    R, basis = row_space(Z[:, n_free:])
    return Coordinates(fitted, scale, n_free, basis, divisor), _beside(Z[:, :n_free], R / divisor)


def to_coordinates(X: NDArray[np.floating], coordinates: Coordinates) -> Floats:
    """New rows in the coordinates of the training rows, shape (n, n_free + r)."""
    Z = apply_scale(apply_prepare(coordinates.prepare, X), coordinates.scale)
    penalised = Z[:, coordinates.n_free :]
    R = penalised if coordinates.basis is None else penalised @ coordinates.basis
    return _beside(Z[:, : coordinates.n_free], R / coordinates.divisor)


def to_columns(coef: Floats, intercept: Floats, coordinates: Coordinates) -> tuple[Floats, Floats]:
    """Coefficients for coordinates, as coefficients for the prepared columns in their own units.

    Parameters
    ----------
    coef : ndarray of shape (..., n_free + r)
    intercept : ndarray of shape (...)

    Returns
    -------
    coef : ndarray of shape (..., d)
    intercept : ndarray of shape (...)
    """
    free, rotated = coef[..., : coordinates.n_free], coef[..., coordinates.n_free :] / coordinates.divisor
    penalised = rotated if coordinates.basis is None else rotated @ coordinates.basis.T
    return unscale(np.concatenate([free, penalised], axis=-1), intercept, coordinates.scale)


def orthonormal(free: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The intercept and the free columns as columns whose weighted products are the identity.

    Parameters
    ----------
    free : ndarray of shape (n, n_free)
        May be linearly dependent.
    weights : ndarray of shape (n,)
        Above zero.

    Returns
    -------
    columns : ndarray of shape (n, q)
    back : ndarray of shape (1 + n_free, q)
        From coefficients of these columns to the intercept and those of the free columns, the smallest there are.
    """
    total = weights.sum()
    mean = weights @ free / total
    centred = free - mean
    squares, V = np.linalg.eigh(centred.T @ (weights[:, None] * centred))
    kept = squares > RANK * max(squares[-1], 1.0) if len(squares) else np.zeros(0, dtype=bool)
    own = V[:, kept] / np.sqrt(squares[kept])
    columns = np.concatenate([np.full((len(free), 1), 1 / np.sqrt(total)), centred @ own], axis=1)
    back = np.zeros((1 + free.shape[1], columns.shape[1]))
    back[0, 0], back[0, 1:], back[1:, 1:] = 1 / np.sqrt(total), -mean @ own, own
    return columns, back


@dataclass(frozen=True)
class Axes:
    """Training rows along axes in which a penalised fit is well conditioned.

    Attributes
    ----------
    nuisance : ndarray of shape (n, q)
        The intercept (first) and the free columns, orthonormal under the weights.
    back : ndarray of shape (1 + n_free, q)
        From coefficients of these to the intercept and those of the free columns.
    shift : ndarray of shape (q, r)
        What nuisance explains of the penalised columns.
    penalised : ndarray of shape (n, r)
        What it leaves of them.
    squares, V : ndarray of shape (r,) and (r, r)
        Eigenvalues and eigenvectors of their weighted products.
    """

    nuisance: Floats
    back: Floats
    shift: Floats
    penalised: Floats
    squares: Floats
    V: Floats

    def outer(self, inner: Floats, w: Floats) -> Floats:
        """Intercept and free coefficients, shape (1 + n_free, ...), for the columns as they were."""
        own: Floats = self.back @ (inner - self.shift @ w)
        return own


def fit_axes(R: Floats, n_free: int, weights: Floats) -> Axes:
    """Take the intercept and the first n_free columns out of the others, and find the axes of what is left."""
    nuisance, back = orthonormal(R[:, :n_free], weights)
    shift = nuisance.T @ (weights[:, None] * R[:, n_free:])
    penalised = R[:, n_free:] - nuisance @ shift
    squares, V = np.linalg.eigh(penalised.T @ (weights[:, None] * penalised))
    return Axes(nuisance, back, shift, penalised, np.maximum(squares, 0.0), V)


def _beside(free: Floats, R: Floats) -> Floats:
    return np.concatenate([free, R], axis=1) if free.shape[1] else R
