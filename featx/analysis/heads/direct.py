"""A network's own answer as a prediction: the single column is what is predicted, and nothing is fitted."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from featx.analysis.heads.inputs import apply_prepare
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError


def only_column(X: NDArray[np.floating], *, is_class: bool) -> Floats:
    """The one column there is: numbers of shape (n,), or probabilities of both classes, shape (n, 2).

    Raises
    ------
    AnalysisError
        There are several columns, or none; a probability is below 0 or above 1.

    Examples
    --------
    >>> only_column(np.array([[63.5], [41.0]]), is_class=False).tolist()
    [63.5, 41.0]
    >>> only_column(np.array([[0.25]]), is_class=True).tolist()
    [[0.75, 0.25]]
    """
    if X.shape[1] != 1:
        raise AnalysisError(
            f"a direct answer must be one column; {X.shape[1]} were got; name the feature set that holds it, "
            "such as NETWORK/volume/prediction/mean"
        )
    column = X[:, 0].astype(np.float64)
    if not is_class:
        return column
    outside = (column < 0) | (column > 1)
    if outside.any():
        raise AnalysisError(
            "a direct answer for two classes must be the probability of the second one, from 0 to 1; "
            f"{column[outside.argmax()]:g} was got, in {int(outside.sum())} of {len(column)} rows; take the "
            "prediction of a network that tells these classes apart"
        )
    return np.column_stack([1 - column, column])


class _Direct(BaseEstimator):
    """What the regressor and the classifier share: they look at their rows, and keep nothing of them."""

    def __init__(self, cv: Any = 5, prepare: Any = None) -> None:
        self.cv = cv
        self.prepare = prepare

    def _check(self, X: NDArray[np.floating], *, is_class: bool) -> None:
        if self.prepare is not None:
            raise AnalysisError(
                "a direct answer must be taken as it is; confounds, sites or components were to be treated before "
                "it; leave these out, or take another head"
            )
        only_column(apply_prepare(None, X), is_class=is_class)
        self.prepare_ = None


class DirectRegressor(RegressorMixin, _Direct):
    """The column, as it is.

    Parameters
    ----------
    cv : object
        Not used: nothing is chosen.
    prepare : None
    """

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Check the rows.

        Raises
        ------
        AnalysisError
            See `only_column`; something is to be done before.
        """
        self._check(X, is_class=False)
        return self

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """The column, shape (n,)."""
        return only_column(apply_prepare(None, X), is_class=False)


class DirectClassifier(ClassifierMixin, _Direct):
    """The column, as the probability of the second of two classes in sorted order.

    Parameters
    ----------
    cv : object
        Not used: nothing is chosen.
    prepare : None

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    """

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Check the rows.

        Raises
        ------
        AnalysisError
            See `only_column`; something is to be done before.
        """
        self._check(X, is_class=True)
        self.classes_ = np.unique(np.asarray(y))
        return self

    def predict_proba(self, X: NDArray[np.floating]) -> Floats:
        """Probability of both classes, shape (n, 2)."""
        return only_column(apply_prepare(None, X), is_class=True)

    def predict(self, X: NDArray[np.floating]) -> NDArray[Any]:
        """The likelier class; the first of equally likely ones."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest
