"""Boosted trees (xgboost, histograms); the number of trees is found by early stopping on the inner folds."""

from __future__ import annotations

import json
import warnings
from typing import Any, Self

import numpy as np
import xgboost
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import check_cv

from featx.analysis.folds.strata import Rows
from featx.analysis.heads.inputs import apply_prepare, fit_prepare
from featx.analysis.heads.logistic import balanced_weights, check_classes, class_weights
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, DeviceError, first_line

MOST_ROUNDS = 300
PATIENCE = 15  # trees without a better validation loss after which a fit stops
MOST_BINS = 1 << 17  # of all columns together: a tree costs as much as it has bins
COLUMNS = 500  # that a tree chooses among

Parameters = dict[str, Any]


def tree_parameters(
    n_features: int, n_classes: int, *, random_state: int = 0, n_jobs: int = 1, device: str = "cpu"
) -> Parameters:
    """xgboost's parameters: shallow trees; the wider the data, the fewer bins a column and the fewer columns a tree.

    Parameters
    ----------
    n_features : int
    n_classes : int
        0 for numbers.
    random_state, n_jobs : int
    device : str
        "cpu" or "cuda".

    Examples
    --------
    >>> tree_parameters(7680, 2)["max_bin"], tree_parameters(260, 2)["max_bin"]
    (17, 256)
    >>> tree_parameters(7680, 0)["objective"]
    'reg:squarederror'
    """
    if n_classes == 0:
        task: Parameters = {"objective": "reg:squarederror", "eval_metric": "rmse"}
    elif n_classes == 2:
        task = {"objective": "binary:logistic", "eval_metric": "logloss"}
    else:
        task = {"objective": "multi:softprob", "eval_metric": "mlogloss", "num_class": n_classes}
    trees = {
        "tree_method": "hist",
        "device": device,
        "max_depth": 3,
        "eta": 0.1,
        "subsample": 0.8,
        "max_bin": min(256, max(16, MOST_BINS // n_features)),
        "colsample_bytree": min(0.5, COLUMNS / n_features),
        "seed": random_state,
        "nthread": n_jobs,
        "verbosity": 0,
    }
    return task | trees


def check_device(device: str) -> None:
    """Refuse a device that xgboost would quietly change for another.

    Raises
    ------
    DeviceError
    """
    if device == "cpu":
        return
    data = xgboost.DMatrix(np.array([[0.0], [1.0]]), np.array([0.0, 1.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            booster = xgboost.train({"device": device, "tree_method": "hist", "verbosity": 0}, data, 1)
            got = str(json.loads(booster.save_config())["learner"]["generic_param"]["device"])
        except xgboost.core.XGBoostError as error:
            got = first_line(error)
    if not got.startswith(device):
        raise DeviceError(
            f"boosting on {device!r} must have a device that xgboost can use; it would use {got!r}; "
            "leave the device out to fit on the processor"
        )


def count_rounds(data: xgboost.DMatrix, held: xgboost.DMatrix, parameters: Parameters) -> int:
    """Number of rounds with the least validation loss, at least one."""
    booster = xgboost.train(
        parameters,
        data,
        MOST_ROUNDS,
        evals=[(held, "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    return int(booster.best_iteration) + 1


def _check_bounded(X: NDArray[np.floating]) -> None:
    if np.isinf(X).any():
        raise AnalysisError(
            f"features must be numbers or missing; an infinity is in {int(np.isinf(X).any(axis=0).sum())} of "
            f"{X.shape[1]} columns; leave these rows or columns out"
        )


def _matrix(
    X: NDArray[np.floating],
    y: NDArray[Any],
    weights: Floats | None,
    parameters: Parameters,
    ref: xgboost.DMatrix | None = None,
) -> xgboost.DMatrix:
    return xgboost.QuantileDMatrix(
        X, y, weight=weights, ref=ref, max_bin=parameters["max_bin"], nthread=parameters["nthread"]
    )


def margins(booster: xgboost.Booster, X: NDArray[np.floating]) -> Floats:
    """Predictions of a booster: numbers of shape (n,), or probabilities of shape (n, n_classes).

    Probabilities are normalised in float64; xgboost's own add up to one only to float32.
    """
    # One thread is enough to predict, and sums the trees in one order.
    raw = booster.predict(xgboost.DMatrix(X, nthread=1)).astype(np.float64)
    objective = str(booster.attr("objective"))
    if objective == "binary:logistic":
        return np.column_stack([1.0 - raw, raw])
    if objective == "multi:softprob":
        shares: Floats = raw / raw.sum(axis=1, keepdims=True)
        return shares
    return np.asarray(raw)


class _Boosting(BaseEstimator):
    """What the regressor and the classifier share."""

    cv: Any
    prepare: Any
    random_state: int
    n_jobs: int
    device: str

    def _fit(self, X: NDArray[np.floating], y: NDArray[Any], n_classes: int, balanced: bool = False) -> Self:
        check_device(self.device)
        if self.prepare is None:
            _check_bounded(X)
        folds = check_cv(self.cv, y, classifier=n_classes > 0).split(X, y)
        rounds = [self._count(X, y, (train, valid), n_classes, balanced) for train, valid in folds]
        self.n_rounds_ = int(np.median(rounds))
        self.prepare_, Z, parameters = self._inputs(X, n_classes)
        data = _matrix(Z, y, balanced_weights(y) if balanced else None, parameters)
        self.booster_ = xgboost.train(parameters, data, self.n_rounds_, verbose_eval=False)
        self.booster_.set_attr(objective=parameters["objective"])
        self.booster_.set_param({"device": "cpu"})  # where all predictions are made
        return self

    def _inputs(self, X: NDArray[np.floating], n_classes: int) -> tuple[Any, NDArray[np.floating], Parameters]:
        """Training rows, prepared. Missing values stay, where there is nothing to prepare."""
        fitted, Z = (None, X) if self.prepare is None else fit_prepare(self.prepare, X)[:2]
        parameters = tree_parameters(
            Z.shape[1], n_classes, random_state=self.random_state, n_jobs=self.n_jobs, device=self.device
        )
        return fitted, Z, parameters

    def _count(
        self, X: NDArray[np.floating], y: NDArray[Any], pair: tuple[Rows, Rows], n_classes: int, balanced: bool
    ) -> int:
        """Rounds that one inner fold asks for."""
        train, valid = pair
        if n_classes:
            check_classes(y, train)
        fitted, Z, parameters = self._inputs(X[train], n_classes)
        held = X[valid] if fitted is None else apply_prepare(fitted, X[valid])
        own = valid_own = None
        if balanced:
            own, valid_own = balanced_weights(y[train]), class_weights(y[train])[y[valid]]
        data = _matrix(Z, y[train], own, parameters)
        return count_rounds(data, _matrix(held, y[valid], valid_own, parameters, data), parameters)

    def _margins(self, X: NDArray[np.floating]) -> Floats:
        if self.prepare_ is None:
            _check_bounded(X)
            return margins(self.booster_, X)
        return margins(self.booster_, apply_prepare(self.prepare_, X))


class BoostingRegressor(RegressorMixin, _Boosting):
    """Boosted trees for numbers. NaN among the columns is a missing value, which trees send to one side.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds, on which the number of trees is found: the median, over the folds, of the one that has the
        least validation loss.
    prepare : Prepare, optional
        Fitted to the columns before, anew in every training set; then there must be no NaN.
    random_state : int
    n_jobs : int
        Threads of xgboost. Sums of several threads can differ in the last digit; 1 is always the same.
    device : str
        "cpu" or "cuda": where trees are grown. Predictions are made on the processor.

    Attributes
    ----------
    n_rounds_ : int
    booster_ : xgboost.Booster
        Fitted on all rows; the attribute "objective" says what it predicts.
    prepare_ : Prepare or None
    """

    def __init__(
        self, cv: Any = 5, prepare: Any = None, random_state: int = 0, n_jobs: int = 1, device: str = "cpu"
    ) -> None:
        self.cv = cv
        self.prepare = prepare
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Find the number of trees on the inner folds, then fit on all rows."""
        return self._fit(X, np.asarray(y, dtype=np.float64), 0)

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Predictions, in the unit of y."""
        return self._margins(X)


class BoostingClassifier(ClassifierMixin, _Boosting):
    """Boosted trees for classes; parameters as for `BoostingRegressor`, and one more.

    Parameters
    ----------
    class_weight : None or "balanced"
        "balanced" weighs rows so that every class counts alike, in training and in validation losses.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_rounds_ : int
    booster_ : xgboost.Booster
    prepare_ : Prepare or None
    """

    def __init__(
        self,
        cv: Any = 5,
        prepare: Any = None,
        *,
        random_state: int = 0,
        n_jobs: int = 1,
        device: str = "cpu",
        class_weight: str | None = None,
    ) -> None:
        self.cv = cv
        self.prepare = prepare
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.class_weight = class_weight

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Find the number of rounds on the inner folds, then fit on all rows."""
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        return self._fit(X, codes, len(self.classes_), self.class_weight == "balanced")

    def predict_proba(self, X: NDArray[np.floating]) -> Floats:
        """Probability of every class, shape (n, n_classes)."""
        return self._margins(X)

    def predict(self, X: NDArray[np.floating]) -> NDArray[Any]:
        """The likeliest class; the first of equally likely ones."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest
