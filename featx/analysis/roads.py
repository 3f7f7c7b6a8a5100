"""The two roads to ridge, for phenotypes that are labelled in the same training rows.

With no more features than rows the features' cross-products are decomposed, and the validation error of every
penalty follows from the validation rows' own cross-products in that basis, at a cost that does not grow with the
rows. With more features than rows the products of the rows with each other are decomposed (Hastie & Tibshirani 2004,
Biostatistics 5:329). One eigendecomposition of a training set serves all penalties and all phenotypes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featx.analysis import grams
from featx.analysis.folds.strata import Rows
from featx.analysis.grams import Data, Shift, Standard, Sums, Wide
from featx.analysis.scaling import Floats

_BYTES_OF_PENALTIES = 1 << 25


@dataclass(frozen=True)
class RidgeFit:
    """All phenotypes of one split.

    Attributes
    ----------
    predicted : ndarray of shape (n_test, m)
        In the unit of each target, for labelled and unlabelled test rows; with the confounds' part where they were
        removed from the target.
    offset : ndarray of shape (n_test, m)
        The confounds' part of it, ``(C - confound_mean) @ offset_coef``; 0 unless they were removed from the target.
    alpha : ndarray of shape (m,)
        The penalty with the least error; the first of equally good ones.
    errors : ndarray of shape (n_alphas, m)
        Mean over inner folds of the mean squared error; a fold without labelled validation rows is left out.
    coef : ndarray of shape (m, p)
        Per unit of X: ``predicted = X @ coef.T + C @ coef_confounds.T + intercept``. Of shape (0, 0) where
        coefficients were not kept.
    coef_confounds, offset_coef : ndarray of shape (m, q)
    confound_mean : ndarray of shape (m, q)
        Over the training rows that are labelled.
    intercept : ndarray of shape (m,)
    """

    predicted: Floats
    offset: Floats
    alpha: Floats
    errors: Floats
    coef: Floats
    coef_confounds: Floats
    offset_coef: Floats
    confound_mean: Floats
    intercept: Floats


@dataclass(frozen=True)
class Task:
    """Rows of one fit.

    Attributes
    ----------
    train, test : ndarray of int
        Rows; one may be there several times.
    pairs : tuple of (training, validation)
        Inner folds, as positions in `train`.
    """

    train: Rows
    test: Rows
    pairs: tuple[tuple[Rows, Rows], ...]


@dataclass(frozen=True)
class Options:
    """Penalties (n_alphas,), a key of `featx.analysis.grams.REMOVALS`, and whether coefficients are kept."""

    alphas: Floats
    remove: str
    keep_coef: bool


@dataclass(frozen=True)
class Tall:
    """Sums over parts of the training rows that are always on one side: the inner folds, where those are folds.

    Attributes
    ----------
    shift : Shift
    part : ndarray of shape (n_train,), int
        That of each training row.
    weights : ndarray of shape (1 + 2 * n_pairs, n_parts), int
        How often each part is taken: in all of `train`, then in the training and the validation rows of each pair.
    sums : list of Sums
        Of each part.
    lost : ndarray of shape (n_parts, 1 + q + p)
        Sums of squares of rows with a missing label, which were subtracted.
    """

    shift: Shift
    part: NDArray[np.intp]
    weights: NDArray[np.int64]
    sums: list[Sums]
    lost: Floats


def choose(errors: Floats, alphas: Floats) -> Floats:
    """Penalty of the least error of every phenotype; the first of equally good ones.

    Examples
    --------
    >>> choose(np.array([[2.0, 1.0], [1.0, 1.0]]), np.array([0.1, 10.0])).tolist()
    [10.0, 0.1]
    """
    chosen: Floats = alphas[errors.argmin(axis=0)]
    return chosen


def spectrum(products: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues and eigenvectors; an eigenvalue of zero, but for rounding, is told as infinity: it shrinks to 0.

    Examples
    --------
    >>> spectrum(np.array([[2.0, 0.0], [0.0, 0.0]]))[0].tolist()
    [inf, 2.0]
    """
    values, V = np.linalg.eigh(products)
    zero = values <= values.max(initial=0.0) * len(values) * np.finfo(np.float64).eps
    return np.where(zero, np.inf, values), V


def validation_errors(data: Data, task: Task, options: Options, tall: Tall | None) -> Floats:
    """Mean over inner folds of the mean squared error of every penalty; folds without validation rows are left out.

    Parameters
    ----------
    data : Data
        All training rows are labelled.
    task : Task
    options : Options
    tall : Tall or None
        Sums of the labelled rows; None for more features than rows.

    Returns
    -------
    ndarray of shape (n_alphas, m)
        In the squared unit of each target.
    """
    errors = []
    for at, (train, valid) in enumerate(task.pairs):
        rows = task.train[train], task.train[valid]
        if not len(valid):
            continue
        if tall is None:
            errors.append(_wide_errors(data, rows, options))
        else:
            *_, own, other = _standardise(data, tall, rows, 1 + 2 * at, options)
            errors.append(_tall_errors(own, other, len(valid), options.alphas))
    mean: Floats = np.mean(errors, axis=0)
    return mean


def fit(data: Data, task: Task, options: Options, errors: Floats, tall: Tall | None) -> RidgeFit:
    """Fit on all training rows with the penalties of least error; parameters as for `validation_errors`."""
    if tall is None:
        return _fit_wide(data, task, options, errors)
    return _fit_tall(data, task, options, errors, tall)


def _shrunk(values: Floats, own: Floats, alphas: Floats) -> Iterator[Floats]:
    """Coefficients in the eigenbasis, of some penalties at a time: shape (r, n_some, m)."""
    step = max(1, _BYTES_OF_PENALTIES // (8 * max(1, own.size)))
    for start in range(0, len(alphas), step):
        yield own[:, None] / (values[:, None, None] + alphas[start : start + step, None])


def _offset(data: Data, task: Task, coef: Floats) -> dict[str, Floats]:
    """What a fit tells of the confounds' part in the target, from coefficients of shape (q, m)."""
    mean = data.C[task.train].mean(axis=0)
    offset = (data.C[task.test] - mean) @ coef if coef.any() else np.zeros((len(task.test), coef.shape[1]))
    return {"offset": offset, "offset_coef": coef.T, "confound_mean": np.tile(mean, (coef.shape[1], 1))}


# --- no more features than rows -------------------------------------------------------------------------------


def sum_parts(data: Data, task: Task) -> Tall:
    """Read all training rows once. Missing labels add nothing to products with targets."""
    n, shift = len(task.train), grams.means(data, task.train)
    sides = [np.bincount(side, minlength=n) for pair in task.pairs for side in pair]
    weights, part = np.unique(np.array([np.ones(n, dtype=np.int64), *sides]), axis=1, return_inverse=True)
    part = part.reshape(-1)
    sums = [grams.sum_rows(data, task.train[part == at], shift) for at in range(weights.shape[1])]
    return Tall(shift, part, weights, sums, np.zeros((len(sums), data.width)))


def sum_if_tall(data: Data, task: Task) -> Tall | None:
    """Sums of the parts, or None for more features than training rows."""
    return sum_parts(data, task) if data.X.shape[1] <= len(task.train) else None


def without_missing(data: Data, task: Task, tall: Tall, present: NDArray[np.bool_], columns: Rows) -> Tall:
    """Sums for some targets over their labelled rows: of all less the missing ones, or anew where these are more.

    Parameters
    ----------
    data : Data
    task : Task
    tall : Tall
        Of `sum_parts`.
    present : ndarray of shape (n_train,), bool
        Labelled training rows.
    columns : ndarray of int
        The targets that have just these labels.
    """
    features = replace(data, Y=np.empty((len(data.Y), 0)))
    sums, lost = [], tall.lost.copy()
    for at, full in enumerate(tall.sums):
        AA, inside = full.AA, tall.part == at
        there, missing = task.train[inside & present], task.train[inside & ~present]
        if len(missing) > len(there):
            AA = grams.sum_rows(features, there, tall.shift).AA
        elif len(missing):
            subtracted = grams.sum_rows(features, missing, tall.shift).AA
            AA, lost[at] = AA - subtracted, subtracted.diagonal()
        sums.append(Sums(AA, full.AY[:, columns], full.YY[columns]))
    return replace(tall, sums=sums, lost=lost, shift=replace(tall.shift, Y=tall.shift.Y[columns]))


def _fit_tall(data: Data, task: Task, options: Options, errors: Floats, tall: Tall) -> RidgeFit:
    alpha = choose(errors, options.alphas)
    shift, standard, own, _ = _standardise(data, tall, (task.train, task.train[:0]), 0, options)
    values, V = spectrum(own.AA)
    w = (V @ ((V.T @ own.AY) / (values[:, None] + alpha))) * standard.unit[:, None]
    nuisance = standard.coef_targets - standard.coef_features @ w
    coef = np.vstack([nuisance, w])
    predicted = [grams.read_rows(data, some, shift) @ coef for some in grams.row_chunks(task.test, data.width)]
    return RidgeFit(
        predicted=np.vstack([np.empty((0, len(alpha))), *predicted]) + shift.Y,
        alpha=alpha,
        errors=errors,
        coef=w.T if options.keep_coef else np.empty((0, 0)),
        coef_confounds=nuisance[1:].T,
        **_offset(data, task, standard.coef_targets[1:]),
        intercept=shift.Y + nuisance[0] - shift.C @ nuisance[1:] - shift.X @ w,
    )


def _standardise(
    data: Data, tall: Tall, rows: tuple[Rows, Rows], line: int, options: Options
) -> tuple[Shift, Standard, Sums, Sums]:
    """Cleared sums of training rows, whose line of the weights is given, and of the rows of the next line."""
    shift, weights = tall.shift, tall.weights[line]
    beside = tall.weights[line + 1] if len(rows[1]) else 0 * weights
    own, other = grams.combine(tall.sums, weights), grams.combine(tall.sums, beside)
    squares = own.AA.diagonal() + (weights + beside) @ tall.lost
    standard, exact = grams.fit_standard(own, data, rows[0], shift=shift, remove=options.remove, squares=squares)
    if not exact:
        shift = grams.means(data, rows[0])
        own, other = (grams.sum_rows(data, some, shift) for some in rows)
        squares = own.AA.diagonal()
        standard, _ = grams.fit_standard(own, data, rows[0], shift=shift, remove=options.remove, squares=squares)
    return shift, standard, grams.clear(own, standard), grams.clear(other, standard)


def _tall_errors(train: Sums, valid: Sums, n_valid: int, alphas: Floats) -> Floats:
    """Mean squared error of every penalty, shape (n_alphas, m), from the validation rows' sums alone."""
    values, V = spectrum(train.AA)
    own, products, other = V.T @ train.AY, V.T @ valid.AA @ V, 2.0 * (V.T @ valid.AY)
    errors = []
    for w in _shrunk(values, own, alphas):
        part = (products @ w.reshape(len(w), w.shape[1] * w.shape[2])).reshape(w.shape) - other[:, None]
        errors.append(np.einsum("iaj,iaj->aj", w, part))
    mean: Floats = (valid.YY + np.concatenate(errors)) / n_valid
    return mean


# --- more features than rows ----------------------------------------------------------------------------------


def _fit_wide(data: Data, task: Task, options: Options, errors: Floats) -> RidgeFit:
    alpha = choose(errors, options.alphas)
    wide = grams.prepare_wide(data, task.train, task.test, options.remove)
    products, _ = _products(data, wide)
    values, U = spectrum(products)
    dual = U @ ((U.T @ grams.clear_targets(data, wide)[0]) / (values[:, None] + alpha))
    predicted = wide.mean_targets + wide.C_other @ wide.coef_targets
    coef_confounds, intercept = wide.coef_targets.copy(), wide.mean_targets.copy()
    coef = np.empty((data.X.shape[1], len(alpha)) if options.keep_coef else (0, 0))
    for chunk in grams.standard_chunks(data, wide):
        w = chunk.train.T @ dual
        predicted += chunk.other @ w
        w *= chunk.unit[:, None]
        coef_confounds -= chunk.coef @ w
        intercept -= chunk.mean @ w
        if options.keep_coef:
            coef[chunk.columns] = w
    return RidgeFit(
        predicted=predicted,
        alpha=alpha,
        errors=errors,
        coef=coef.T,
        coef_confounds=coef_confounds.T,
        **_offset(data, task, wide.coef_targets),
        intercept=intercept - wide.mean_confounds @ coef_confounds,
    )


def _products(data: Data, wide: Wide) -> tuple[Floats, Floats]:
    """Products of the training rows with each other, and of the other rows with them."""
    n = len(wide.train)
    own, across = np.zeros((n, n)), np.zeros((len(wide.other), n))
    for chunk in grams.standard_chunks(data, wide):
        own += chunk.train @ chunk.train.T
        across += chunk.other @ chunk.train.T
    return own, across


def _wide_errors(data: Data, rows: tuple[Rows, Rows], options: Options) -> Floats:
    """Mean squared error of every penalty, shape (n_alphas, m)."""
    wide = grams.prepare_wide(data, *rows, options.remove)
    products, across = _products(data, wide)
    values, U = spectrum(products)
    y_train, y_valid = grams.clear_targets(data, wide)
    own, across = U.T @ y_train, across @ U
    errors = []
    for w in _shrunk(values, own, options.alphas):
        missed = (across @ w.reshape(len(w), -1)).reshape(len(across), *w.shape[1:]) - y_valid[:, None]
        errors.append(np.einsum("iaj,iaj->aj", missed, missed))
    mean_errors: Floats = np.concatenate(errors) / len(y_valid)
    return mean_errors
