"""Ridge for all phenotypes at once, each with its own penalty, chosen on inner folds; and a scikit-learn estimator.

How a fit is made is in `featx.analysis.roads`, on the sums of `featx.analysis.grams`. Here phenotypes are grouped:
those whose labels are missing in the same training rows are fitted at once, on the labelled rows alone: a missing
label is never filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import check_cv
from threadpoolctl import threadpool_limits

from featx.analysis import roads
from featx.analysis.folds.splits import Split
from featx.analysis.folds.strata import Rows
from featx.analysis.grams import REMOVALS, Data
from featx.analysis.roads import Options, RidgeFit, Tall, Task
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, known

__all__ = ["RidgeFit", "RidgePath", "cross_validate_ridge", "default_alphas"]

MOST_BYTES = 1 << 28  # of temporaries that grow with the number of phenotypes, in one thread


def default_alphas(n_features: int) -> Floats:
    """Twenty penalties around the number of features, from 1e-4 to 1e4 times it.

    With standardised columns the cross-products of the rows grow with the number of features, and so does the
    penalty that matters.

    Examples
    --------
    >>> default_alphas(100)[[0, -1]].tolist()
    [0.01, 1000000.0]
    """
    alphas: Floats = n_features * np.logspace(-4, 4, 20)
    return alphas


def cross_validate_ridge(  # noqa: PLR0913
    X: NDArray[np.floating],
    Y: Floats,
    splits: Sequence[Split],
    *,
    alphas: ArrayLike | None = None,
    confounds: Floats | None = None,
    remove: str = "none",
    n_jobs: int = 1,
    keep_coef: bool = False,
    on_split: Callable[[], None] | None = None,
) -> list[RidgeFit]:
    """Fit every phenotype in every split, with its penalty chosen on the split's inner folds.

    Features are standardised within every training set; a constant one (`featx.analysis.scaling.fit_scale`), and
    one that is nothing but confounds, counts for nothing. Equal to scikit-learn's ``GridSearchCV`` (by mean squared
    error) of ``make_pipeline(StandardScaler(), Ridge())`` on the labelled rows.

    Parameters
    ----------
    X : ndarray of shape (n, p), float32 or float64
        Features; p may be 0, which leaves the regression on confounds.
    Y : ndarray of shape (n, m), float64
        Targets, NaN where missing.
    splits : sequence of Split
    alphas : array-like of shape (n_alphas,), optional
        Penalties, 0 or more; `default_alphas` where there are none.
    confounds : ndarray of shape (n, q), float64, optional
        Without intercept. Columns may depend on each other: coefficients have the least norm, in units of the
        columns' ranges.
    remove : str
        Key of `featx.analysis.grams.REMOVALS`: from what confounds are removed, by regression on training rows.
        The inner folds' errors are those of the target without them. "both" is the same as confounds as further
        features that are not penalised.
    n_jobs : int
        Threads, each with a split; any number gives the same bytes.
    keep_coef : bool
        Keep coefficients; they are always kept of a split without test rows.
    on_split : callable, optional
        Called after each split.

    Returns
    -------
    list of RidgeFit
        In the order of the splits.

    Raises
    ------
    AnalysisError
        Features, confounds or targets that are infinite (NaN in other than targets), of other lengths, or too few
        labelled rows.
    """
    data = _make_data(X, Y, confounds, remove)
    options = Options(_check_alphas(alphas, data.X.shape[1]), remove, keep_coef)
    tasks = [Task(split.train, split.test, tuple(split.inner_pairs())) for split in splits]
    fits: list[RidgeFit] = []
    with threadpool_limits(limits=1):  # sums of several threads differ in the last digit
        stream = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(
            delayed(_fit_task)(data, task, options) for task in tasks
        )
        for fit in stream:
            fits.append(fit)
            if on_split is not None:
                on_split()
    return fits


# --- one split ------------------------------------------------------------------------------------------------


def _fit_task(data: Data, task: Task, options: Options) -> RidgeFit:
    """All phenotypes of one split, some at a time."""
    with threadpool_limits(limits=1):  # a worker of a cluster has threads of its own
        return _fit_in_one_thread(data, task, options)


def _fit_in_one_thread(data: Data, task: Task, options: Options) -> RidgeFit:
    options = replace(options, keep_coef=options.keep_coef or not len(task.test))
    m = data.Y.shape[1]
    step = max(1, MOST_BYTES // (8 * (len(task.pairs) + 8) * min(data.width, len(task.train))))
    found = []
    for start in range(0, m, step):
        some = np.arange(start, min(m, start + step))
        block = data if step >= m else replace(data, Y=data.Y[:, some])
        found += [(some[columns], fit) for columns, fit in _fit_block(block, task, options, start)]
    return _gather(found)


def _fit_block(data: Data, task: Task, options: Options, start: int) -> Iterator[tuple[Rows, RidgeFit]]:
    """Phenotypes of one pattern of missing labels after the other."""
    tall: Tall | None = None
    for present, columns in _patterns(~np.isnan(data.Y[task.train])):
        labelled = _keep(task, present)
        _check_labels(labelled, start + int(columns[0]))
        own = data if len(columns) == data.Y.shape[1] else replace(data, Y=data.Y[:, columns])
        there = None
        if data.X.shape[1] <= len(labelled.train):
            tall = tall or roads.sum_parts(data, task)
            there = roads.without_missing(own, task, tall, present, columns)
        errors = roads.validation_errors(own, labelled, options, there)
        yield columns, roads.fit(own, labelled, options, errors, there)


def _patterns(labelled: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], Rows]]:
    """Patterns of labelled rows, with the columns that have each, in the order of the first column.

    Examples
    --------
    >>> [columns.tolist() for _, columns in _patterns(np.array([[True, False, True], [True, True, True]]))]
    [[0, 2], [1]]
    """
    packed = np.ascontiguousarray(np.packbits(labelled, axis=0).T)
    columns: dict[bytes, list[int]] = {}
    for column, bits in enumerate(packed):
        columns.setdefault(bits.tobytes(), []).append(column)
    return [(labelled[:, some[0]], np.array(some)) for some in columns.values()]


def _keep(task: Task, present: NDArray[np.bool_]) -> Task:
    """The task on labelled training rows."""
    position = np.cumsum(present) - 1
    pairs = [(position[a[present[a]]], position[b[present[b]]]) for a, b in task.pairs]
    return Task(task.train[present], task.test, tuple(pairs))


def _gather(found: list[tuple[Rows, RidgeFit]]) -> RidgeFit:
    """One fit of all phenotypes, from fits of some of them."""
    first = found[0][1]
    if len(found) == 1:
        return first
    order = np.argsort(np.concatenate([columns for columns, _ in found]))
    whole = {}
    for name in vars(first):
        axis = 1 if name in ("predicted", "offset", "errors") else 0
        joined = np.concatenate([getattr(fit, name) for _, fit in found], axis=axis)
        whole[name] = joined.take(order, axis=axis) if joined.shape[axis] else joined
    return RidgeFit(**whole)


# --- checks ---------------------------------------------------------------------------------------------------


def _make_data(X: NDArray[np.floating], Y: Floats, confounds: Floats | None, remove: str) -> Data:
    if remove not in REMOVALS:
        raise AnalysisError(f"what confounds are removed from must be known; {remove!r} is not; {known(REMOVALS)}")
    if remove != "none" and confounds is None:
        raise AnalysisError(
            f"confounds must be given to be removed; remove={remove!r} was got and no confounds; "
            "give their columns, or remove='none'"
        )
    X, Y = np.asarray(X), np.asarray(Y, dtype=np.float64)
    X = X if X.dtype == np.float32 else X.astype(np.float64, copy=False)
    used = confounds is not None and remove != "none"
    C = np.asarray(confounds, dtype=np.float64) if used else np.empty((len(X), 0))
    if X.ndim != 2 or Y.ndim != 2 or C.ndim != 2 or not len(X) == len(Y) == len(C):
        raise AnalysisError(
            "features, targets and confounds must be matrices with the same rows; shapes "
            f"{X.shape}, {Y.shape} and {C.shape} were got; give one row per image, one column per phenotype"
        )
    for what, bad in (("features", ~np.isfinite(X)), ("confounds", ~np.isfinite(C)), ("targets", np.isinf(Y))):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise AnalysisError(
                f"{what} must be finite{' or NaN' if what == 'targets' else ''}; {int(bad.sum())} cells are not, "
                f"the first in row {row}, column {column}; leave those rows or columns out"
            )
    return Data(X, C, Y)


def _check_alphas(alphas: ArrayLike | None, n_features: int) -> Floats:
    if alphas is None:
        return default_alphas(n_features)
    given = np.asarray(alphas, dtype=np.float64)
    if given.ndim != 1 or not len(given) or not (np.isfinite(given) & (given >= 0)).all():
        raise AnalysisError(
            f"penalties must be a list of finite numbers, 0 or more; {given.tolist()} was got; "
            "give at least one, or none for the default"
        )
    return given


def _check_labels(task: Task, phenotype: int) -> None:
    """Refuse a phenotype that has nothing to be fitted on somewhere."""
    fewest = min([len(task.train), *(len(train) for train, valid in task.pairs if len(valid))])
    if fewest < 2:
        raise AnalysisError(
            f"a phenotype must have at least 2 labelled rows wherever it is fitted; phenotype {phenotype} (counted "
            f"from 0) has {fewest} of {len(task.train)} in the training rows of a fold; leave it out, or label more"
        )


# --- the estimator --------------------------------------------------------------------------------------------


class RidgePath(RegressorMixin, BaseEstimator):
    """Ridge on standardised columns; the penalty has the least mean squared error over the inner folds.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), optional
        Penalties; `default_alphas` where there are none. Of equally good ones the first is taken.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds.
    prepare : transformer, optional
        Unfitted (`featx.analysis.adjust.prepare.Prepare`); a copy is fitted within every training set. The first
        ``n_free_`` of the columns that it gives are not penalised.

    Attributes
    ----------
    alpha_ : float
    coef_ : ndarray of shape (n_columns,), float64
        In units of y per unit of a column of X, or of what `prepare_` makes of X: the standardisation is folded in.
    intercept_ : float
    prepare_ : transformer or None
        Fitted on all rows.
    alphas_ : ndarray of shape (n_alphas,)
    errors_ : ndarray of shape (n_alphas,)
        Mean over inner folds of the mean squared error.
    """

    def __init__(self, alphas: ArrayLike | None = None, cv: Any = 5, prepare: Any = None) -> None:
        self.alphas = alphas
        self.cv = cv
        self.prepare = prepare

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose the penalty on the inner folds, then fit on all rows."""
        rows, y = np.arange(len(X)), np.asarray(y, dtype=np.float64)
        if np.isnan(y).any():
            raise AnalysisError(
                "a target must be labelled in all rows that a head is fitted on; "
                f"{int(np.isnan(y).sum())} of {len(y)} are NaN; leave those rows out, or use cross_validate_ridge"
            )
        pairs = tuple((rows[a], rows[b]) for a, b in check_cv(self.cv, y).split(X, y))
        self.prepare_, data = _prepare(self.prepare, X, y, rows)
        self.alphas_ = _check_alphas(self.alphas, data.X.shape[1])
        options = Options(self.alphas_, _spare(data), keep_coef=True)
        task = Task(rows, rows[:0], pairs)
        _check_labels(task, 0)
        tall = roads.sum_if_tall(data, task)
        if self.prepare is None:
            errors = roads.validation_errors(data, task, options, tall)
        else:
            errors = np.mean([self._prepared_errors(X, y, pair) for pair in pairs], axis=0)
        fit = roads.fit(data, task, options, errors, tall)
        self.errors_, self.alpha_ = errors[:, 0], float(fit.alpha[0])
        self.coef_ = np.concatenate([fit.coef_confounds[0], fit.coef[0]])
        self.intercept_ = float(fit.intercept[0])
        return self

    def _prepared_errors(self, X: NDArray[np.floating], y: Floats, pair: tuple[Rows, Rows]) -> Floats:
        """Errors on one inner fold, of columns that are prepared on its training rows."""
        _, data = _prepare(self.prepare, X, y, pair[0])
        task = Task(np.arange(len(X)), np.arange(0), (pair,))
        options = Options(self.alphas_, _spare(data), keep_coef=False)
        return roads.validation_errors(data, task, options, roads.sum_if_tall(data, task))

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Predictions, in the unit of y."""
        Z = X if self.prepare_ is None else self.prepare_.transform(X)
        predicted: Floats = Z @ self.coef_ + self.intercept_
        return predicted


def _prepare(prepare: Any, X: NDArray[np.floating], y: Floats, train: Rows) -> tuple[Any, Data]:
    """A transformer fitted on training rows, and all rows with the columns that it gives."""
    if prepare is None:
        return None, _make_data(X, y[:, None], None, "none")
    fitted = clone(prepare).fit(X[train])
    Z = fitted.transform(X)
    free = fitted.n_free_
    return fitted, _make_data(Z[:, free:], y[:, None], Z[:, :free], "both")


def _spare(data: Data) -> str:
    """Removed from features and target, covariates are spared the penalty (Frisch, Waugh & Lovell)."""
    return "both" if data.C.shape[1] else "none"
