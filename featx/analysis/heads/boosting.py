"""Boosted trees (xgboost, histograms); the number of trees is found by early stopping on the inner folds."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import xgboost
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import check_cv

from featx.analysis.scaling import Floats
from featx.analysis.splits import Pairs

MOST_ROUNDS = 300
PATIENCE = 15  # trees without a better validation loss after which a fit stops
MOST_BINS = 1 << 17  # of all columns together: a tree costs as much as it has bins
COLUMNS = 500  # that a tree chooses among

Parameters = dict[str, Any]


def tree_parameters(n_features: int, n_classes: int, random_state: int = 0, n_jobs: int = 1) -> Parameters:
    """xgboost's parameters: shallow trees; the wider the data, the fewer bins a column and the fewer columns a tree.

    Parameters
    ----------
    n_features : int
    n_classes : int
        0 for numbers.
    random_state, n_jobs : int

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


def count_rounds(X: NDArray[np.floating], y: NDArray[Any], cv: Pairs, parameters: Parameters) -> int:
    """Median, over the inner folds, of the number of trees with the least validation loss; at least one."""
    best = []
    for train, valid in cv:
        data = _matrix(X[train], y[train], parameters)
        held = xgboost.QuantileDMatrix(
            X[valid], y[valid], ref=data, max_bin=parameters["max_bin"], nthread=parameters["nthread"]
        )
        booster = xgboost.train(
            parameters,
            data,
            MOST_ROUNDS,
            evals=[(held, "validation")],
            early_stopping_rounds=PATIENCE,
            verbose_eval=False,
        )
        best.append(booster.best_iteration + 1)
    return max(1, int(np.median(best)))


def grow(X: NDArray[np.floating], y: NDArray[Any], n_rounds: int, parameters: Parameters) -> xgboost.Booster:
    """Fit a fixed number of trees (for classes: of rounds with one tree per class)."""
    return xgboost.train(parameters, _matrix(X, y, parameters), n_rounds, verbose_eval=False)


def _matrix(X: NDArray[np.floating], y: NDArray[Any], parameters: Parameters) -> xgboost.QuantileDMatrix:
    return xgboost.QuantileDMatrix(X, y, max_bin=parameters["max_bin"], nthread=parameters["nthread"])


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

    def __init__(self, cv: Any = 5, random_state: int = 0, n_jobs: int = 1) -> None:
        self.cv = cv
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _fit(self, X: NDArray[np.floating], y: NDArray[Any], n_classes: int) -> Self:
        parameters = tree_parameters(X.shape[1], n_classes, self.random_state, self.n_jobs)
        folds = check_cv(self.cv, y, classifier=n_classes > 0).split(X, y)
        self.n_rounds_ = count_rounds(X, y, folds, parameters)
        self.booster_ = grow(X, y, self.n_rounds_, parameters)
        self.booster_.set_attr(objective=parameters["objective"])
        return self


class BoostingRegressor(RegressorMixin, _Boosting):
    """Boosted trees for numbers.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds, on which the number of trees is found.
    random_state : int
    n_jobs : int
        Threads of xgboost. Sums of several threads can differ in the last digit; 1 is always the same.

    Attributes
    ----------
    n_rounds_ : int
    booster_ : xgboost.Booster
        Fitted on all rows; the attribute "objective" says what it predicts.
    """

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Find the number of trees on the inner folds, then fit on all rows."""
        return self._fit(X, np.asarray(y, dtype=np.float64), 0)

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Predictions, in the unit of y."""
        return margins(self.booster_, X)


class BoostingClassifier(ClassifierMixin, _Boosting):
    """Boosted trees for classes; parameters as for `BoostingRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_rounds_ : int
    booster_ : xgboost.Booster
    """

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Find the number of rounds on the inner folds, then fit on all rows."""
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        return self._fit(X, codes, len(self.classes_))

    def predict_proba(self, X: NDArray[np.floating]) -> Floats:
        """Probability of every class, shape (n, n_classes)."""
        return margins(self.booster_, X)

    def predict(self, X: NDArray[np.floating]) -> NDArray[Any]:
        """The likeliest class; the first of equally likely ones."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest
