"""Cross-products of rows, summed once, then added, subtracted and cleared of confounds: what ridge asks of its data.

Rows are read as ``[1, C, X]``, with confounds C and features X less the means of a split's training rows, which
changes no result but keeps the digits. Sums over the rows of one inner fold, `Sums`, make those of any training set
by addition. Centring is the regression on the column of ones; removing confounds is the regression on ``[1, C]``;
both are algebra on the sums (`fit_standard`, `clear`) and never a second pass over the rows.

For more features than rows the products of rows with each other are used, which `standard_chunks` gives the
columns for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.analysis.folds.strata import Rows
from featx.analysis.scaling import REPRODUCIBLE, Floats, fit_scale

REMOVALS = {
    "none": "confounds are not used",
    "features": "confounds are removed from the features",
    "target": "confounds are removed from the target",
    "both": "confounds are removed from the features and from the target",
}

RANK = 1e-12  # squared singular values of C below it, relative to the largest, are none
COLLINEAR = 1e-5  # of a float64 column's standard deviation: with less left beside confounds it is made of them
DIGITS = 1e-9  # a variance below it, relative to the squares that it was subtracted from, has too few digits
_CHUNK_BYTES = 1 << 25


@dataclass(frozen=True)
class Data:
    """What is regressed on what.

    Attributes
    ----------
    X : ndarray of shape (n, p), float32 or float64
    C : ndarray of shape (n, q), float64
        Confounds; q may be 0.
    Y : ndarray of shape (n, m), float64
        Targets, NaN where they are missing.
    """

    X: NDArray[np.floating]
    C: Floats
    Y: Floats

    @property
    def width(self) -> int:
        """Columns of ``[1, C, X]``."""
        return 1 + int(self.C.shape[1]) + int(self.X.shape[1])


@dataclass(frozen=True)
class Shift:
    """Means that are subtracted from C (q,), X (p,) and Y (m,) as they are read."""

    C: Floats
    X: Floats
    Y: Floats


@dataclass(frozen=True)
class Sums:
    """Cross-products of some rows of ``A = [1, C, X]`` and Y, shifted. A missing target adds nothing.

    Attributes
    ----------
    AA : ndarray of shape (1 + q + p, 1 + q + p)
        AA[0, 0] is the number of rows.
    AY : ndarray of shape (1 + q + p, m)
    YY : ndarray of shape (m,)
        Sums of squares.
    """

    AA: Floats
    AY: Floats
    YY: Floats


@dataclass(frozen=True)
class Standard:
    """How training rows are cleared of [1, C] and standardised, in shifted units.

    Attributes
    ----------
    coef_features : ndarray of shape (1 + q, p)
        Coefficients of the features on [1, C]; those of C are 0 where confounds stay in the features.
    coef_targets : ndarray of shape (1 + q, m)
        The same of the targets.
    unit : ndarray of shape (p,)
        1 over the standard deviation (divisor n) of what is left of a feature; 0 for a constant one.
    """

    coef_features: Floats
    coef_targets: Floats
    unit: Floats


# --- reading rows ---------------------------------------------------------------------------------------------


def row_chunks(rows: Rows, width: int) -> Iterator[Rows]:
    """Parts of `rows` of which a float64 copy with `width` columns is small.

    Examples
    --------
    >>> [len(part) for part in row_chunks(np.arange(10), 1 << 20)]
    [4, 4, 2]
    """
    step = max(1, _CHUNK_BYTES // (8 * max(1, width)))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def means(data: Data, rows: Rows) -> Shift:
    """Means over rows, in float64; a target's over its labelled rows (0 where it has none)."""
    X, Y, labelled = (np.zeros(width) for width in (data.X.shape[1], data.Y.shape[1], data.Y.shape[1]))
    for some in row_chunks(rows, max(data.X.shape[1], data.Y.shape[1])):
        X += data.X[some].sum(axis=0, dtype=np.float64)
        y = data.Y[some]
        there = ~np.isnan(y)
        labelled += there.sum(axis=0)
        Y += np.where(there, y, 0.0).sum(axis=0)
    n = max(1, len(rows))
    return Shift(data.C[rows].sum(axis=0) / n, X / n, Y / np.maximum(1.0, labelled))


def read_rows(data: Data, rows: Rows, shift: Shift) -> Floats:
    """Rows of ``[1, C, X]``, shifted, in float64: shape (len(rows), 1 + q + p)."""
    first = 1 + data.C.shape[1]
    A = np.empty((len(rows), data.width))
    A[:, 0] = 1.0
    np.subtract(data.C[rows], shift.C, out=A[:, 1:first])
    np.subtract(data.X[rows], shift.X, out=A[:, first:])
    return A


def sum_rows(data: Data, rows: Rows, shift: Shift) -> Sums:
    """Cross-products of rows, read in chunks."""
    m = data.Y.shape[1]
    AA, AY, YY = np.zeros((data.width, data.width)), np.zeros((data.width, m)), np.zeros(m)
    for some in row_chunks(rows, max(data.width, m)):
        A = read_rows(data, some, shift)
        AA += A.T @ A
        if m:
            y = data.Y[some] - shift.Y
            y[np.isnan(y)] = 0.0
            AY += A.T @ y
            YY += np.einsum("ij,ij->j", y, y)
    return Sums(AA, AY, YY)


def combine(parts: Sequence[Sums], weights: NDArray[np.int64]) -> Sums:
    """Sums over the rows of several parts, each taken `weights` times.

    Examples
    --------
    >>> one = Sums(np.ones((1, 1)), np.ones((1, 1)), np.ones(1))
    >>> combine([one, one, one], np.array([1, 0, 2])).YY.tolist()
    [3.0]
    """
    AA, AY, YY = (np.zeros_like(one) for one in (parts[0].AA, parts[0].AY, parts[0].YY))
    for part, weight in zip(parts, weights, strict=True):
        if weight:
            AA += part.AA if weight == 1 else weight * part.AA
            AY += part.AY if weight == 1 else weight * part.AY
            YY += weight * part.YY
    return Sums(AA, AY, YY)


# --- clearing of confounds, and standardising -----------------------------------------------------------------


def least_squares(CC: Floats, ranges: Floats) -> Floats:
    """Generalised inverse of the cross-products of centred confounds.

    Times the cross-products with a column it gives the column's coefficients: those of least norm, every confound
    in units of its range, where confounds depend on each other.

    Parameters
    ----------
    CC : ndarray of shape (q, q)
    ranges : ndarray of shape (q,)
        Largest less smallest value of each confound; 0 for a constant one, whose coefficient is 0.

    Returns
    -------
    ndarray of shape (q, q)

    Examples
    --------
    >>> least_squares(np.array([[4.0, 4.0], [4.0, 4.0]]), np.ones(2)).round(12).tolist()
    [[0.0625, 0.0625], [0.0625, 0.0625]]
    """
    inverse_range = np.where(ranges > 0, 1.0 / np.where(ranges > 0, ranges, 1.0), 0.0)
    values, V = np.linalg.eigh(CC * inverse_range * inverse_range[:, None])
    kept = values > RANK * values.max(initial=0.0)
    scaled = V[:, kept] * inverse_range[:, None]
    inverse: Floats = (scaled / values[kept]) @ scaled.T
    return inverse


def fit_standard(
    train: Sums, data: Data, rows: Rows, *, shift: Shift, remove: str, squares: Floats
) -> tuple[Standard, bool]:
    """Regression of features and targets on [1, C], and the features' standard deviations, from sums.

    Parameters
    ----------
    train : Sums
        Of the training rows.
    data : Data
    rows : ndarray of int
        The training rows: for the ranges of C, and for features whose variance is so small that only the rows
        themselves tell, by the rule of `featx.analysis.scaling.fit_scale`, whether they are constant.
    shift : Shift
        With which the sums were made.
    remove : str
        Key of `REMOVALS`.
    squares : ndarray of shape (1 + q + p,)
        Sums of squares of `train`, and of rows that were subtracted from it or from what it is compared with.

    Returns
    -------
    standard : Standard
    exact : bool
        False where a column that varies has lost its digits, because it varies elsewhere far more than in these
        rows: the sums must then be made anew, shifted by these rows' own means.
    """
    n, q = train.AA[0, 0], data.C.shape[1]
    mean, mean_targets = train.AA[0, 1:] / n, train.AY[0] / n
    variance = train.AA.diagonal()[1:] / n - mean**2
    doubtful = variance <= DIGITS * squares[1:] / n
    ranges = np.ptp(data.C[rows], axis=0) if q else np.zeros(0)
    rounding = 2 * REPRODUCIBLE * (mean[q:] + shift.X)
    varies = _vary(data.X, rows, doubtful[q:] | (variance[q:] <= rounding**2))
    exact = not bool((doubtful & np.concatenate([ranges > 0, varies])).any())

    C_with = train.AA[1 : 1 + q, 1:] - n * np.outer(mean[:q], mean)
    inverse = least_squares(C_with[:, :q], ranges)
    from_features, from_targets = remove in ("features", "both"), remove in ("target", "both")
    coef_features = inverse @ C_with[:, q:] * from_features
    coef_targets = inverse @ (train.AY[1 : 1 + q] - n * np.outer(mean[:q], mean_targets)) * from_targets
    left = variance[q:] - np.einsum("ij,ij->j", coef_features, C_with[:, q:]) / n
    varies &= left > _least_left(data) * variance[q:]
    unit = np.where(varies, 1.0 / np.sqrt(np.where(varies, left, 1.0)), 0.0)
    coef_features = np.vstack([mean[q:] - mean[:q] @ coef_features, coef_features])
    coef_targets = np.vstack([mean_targets - mean[:q] @ coef_targets, coef_targets])
    return Standard(coef_features, coef_targets, unit), exact


def _vary(X: NDArray[np.floating], rows: Rows, unsure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which columns vary; all but the unsure ones do."""
    varies = np.ones(X.shape[1], dtype=bool)
    for some in row_chunks(np.flatnonzero(unsure), len(rows)):
        varies[some] = fit_scale(X[np.ix_(rows, some)]).varies
    return varies


def _least_left(data: Data) -> float:
    """Share of a feature's variance that must be left beside the confounds for it to vary."""
    least: float = REPRODUCIBLE if data.X.dtype == np.float32 else COLLINEAR
    return least**2


def clear(sums: Sums, standard: Standard) -> Sums:
    """Cross-products of standardised features and of targets, both cleared of [1, C], from those of any rows.

    Returns
    -------
    Sums
        AA of shape (p, p), AY of shape (p, m), YY of shape (m,).
    """
    first = len(standard.coef_features)
    NN, NX, NY = sums.AA[:first, :first], sums.AA[:first, first:], sums.AY[:first]
    coef_features, coef_targets, unit = standard.coef_features, standard.coef_targets, standard.unit
    # (X - N B)'(X - N B) = X'X - half - half', with half = B'(N'X - N'N B / 2)
    half = coef_features.T @ (NX - 0.5 * (NN @ coef_features))
    XX = sums.AA[first:, first:] - half
    XX -= half.T
    XX *= unit
    XX *= unit[:, None]
    XY = sums.AY[first:] - NX.T @ coef_targets - coef_features.T @ (NY - NN @ coef_targets)
    YY = sums.YY - np.einsum("ij,ij->j", coef_targets, 2.0 * NY - NN @ coef_targets)
    return Sums(XX, XY * unit[:, None], YY)


# --- more features than rows ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wide:
    """Confounds and targets of a training set with fewer rows than features, and of other rows beside it.

    Attributes
    ----------
    train, other : ndarray of int
        Rows.
    C_train, C_other : ndarray of shape (n_train, q) and (n_other, q)
        Less the training means.
    mean_confounds, mean_targets : ndarray of shape (q,) and (m,)
        Training means.
    solve : ndarray of shape (q, n_train)
        Times a centred training column: its coefficients on C.
    coef_targets : ndarray of shape (q, m)
        Of the targets on C; 0 where confounds stay in them.
    from_features : bool
        Whether confounds are removed from the features.
    """

    train: Rows
    other: Rows
    C_train: Floats
    C_other: Floats
    mean_confounds: Floats
    mean_targets: Floats
    solve: Floats
    coef_targets: Floats
    from_features: bool


@dataclass(frozen=True)
class Chunk:
    """Some features, cleared of [1, C] and standardised: those of the training rows, and of the others.

    Attributes
    ----------
    columns : slice
    train, other : ndarray of shape (n_train, c) and (n_other, c)
    mean, unit : ndarray of shape (c,)
        Training mean, and 1 over the standard deviation of what is left (0 for a constant feature).
    coef : ndarray of shape (q, c)
        On the centred confounds.
    """

    columns: slice
    train: Floats
    other: Floats
    mean: Floats
    unit: Floats
    coef: Floats


def prepare_wide(data: Data, train: Rows, other: Rows, remove: str) -> Wide:
    """Regression of the targets on [1, C] over training rows, all of them labelled."""
    C, Y = data.C[train], data.Y[train]
    mean_confounds, mean_targets = C.mean(axis=0), Y.mean(axis=0)
    centred = C - mean_confounds
    solve = least_squares(centred.T @ centred, np.ptp(C, axis=0) if C.size else np.zeros(0)) @ centred.T
    coef_targets = solve @ (Y - mean_targets) * (remove in ("target", "both"))
    return Wide(
        train=train,
        other=other,
        C_train=centred,
        C_other=data.C[other] - mean_confounds,
        mean_confounds=mean_confounds,
        mean_targets=mean_targets,
        solve=solve,
        coef_targets=coef_targets,
        from_features=remove in ("features", "both"),
    )


def clear_targets(data: Data, wide: Wide) -> tuple[Floats, Floats]:
    """Targets of the training rows and of the others, cleared of [1, C]; NaN stays NaN."""
    own = data.Y[wide.train] - wide.mean_targets - wide.C_train @ wide.coef_targets
    return own, data.Y[wide.other] - wide.mean_targets - wide.C_other @ wide.coef_targets


def standard_chunks(data: Data, wide: Wide) -> Iterator[Chunk]:
    """All features, some columns at a time."""
    n, p = len(wide.train) + len(wide.other), data.X.shape[1]
    step = max(1, _CHUNK_BYTES // (8 * n))
    for start in range(0, p, step):
        columns = slice(start, min(p, start + step))
        X: NDArray[Any] = data.X[wide.train, columns]
        scale = fit_scale(X)
        Z = X - scale.mean
        coef = wide.solve @ Z * wide.from_features
        variance = np.einsum("ij,ij->j", Z, Z)
        Z -= wide.C_train @ coef
        left = np.einsum("ij,ij->j", Z, Z)
        varies = scale.varies & (left > _least_left(data) * variance)
        unit = np.where(varies, np.sqrt(len(Z) / np.where(varies, left, 1.0)), 0.0)
        Z *= unit
        other = (data.X[wide.other, columns] - scale.mean - wide.C_other @ coef) * unit
        yield Chunk(columns, Z, other, scale.mean, unit, coef)
