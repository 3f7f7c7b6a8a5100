"""A network's own answer as a prediction: the single column is what is predicted, and nothing is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from featx.analysis.heads.inputs import apply_prepare
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError

# Which level a network's probability is of, by what the levels are called: (the other one, the one that it is of).
_MEANT = (
    ({"f", "female", "w", "woman", "girl"}, {"m", "male", "man", "boy"}),
    ({"0"}, {"1"}),
    ({"no"}, {"yes"}),
    ({"false"}, {"true"}),
    ({"control"}, {"case", "patient"}),
)


def positive_class(classes: Sequence[str]) -> int | None:
    """Place of the level, of two, that a network's probability is of; None where their names do not say.

    Capitals and space around a name do not count.

    Examples
    --------
    >>> positive_class(["F", "M"]), positive_class(["man", "woman"]), positive_class(["1", "2"])
    (1, 0, None)
    """
    plain = [str(one).strip().casefold() for one in classes]
    for other, meant in _MEANT if len(plain) == 2 else ():
        for at in (0, 1):
            if plain[at] in meant and plain[1 - at] in other:
                return at
    return None


def only_column(X: NDArray[np.floating], *, positive: int | None = None) -> Floats:
    """The one column there is: numbers of shape (n,), or probabilities of both classes, shape (n, 2).

    Parameters
    ----------
    X : ndarray of shape (n, 1)
    positive : int, optional
        Place, 0 or 1, of the class that the column is the probability of; None where it is of numbers.

    Raises
    ------
    AnalysisError
        There are several columns, or none; a probability is below 0 or above 1.

    Examples
    --------
    >>> only_column(np.array([[63.5], [41.0]])).tolist()
    [63.5, 41.0]
    >>> only_column(np.array([[0.25]]), positive=1).tolist(), only_column(np.array([[0.25]]), positive=0).tolist()
    ([[0.75, 0.25]], [[0.25, 0.75]])
    """
    if X.shape[1] != 1:
        raise AnalysisError(
            f"a direct answer must be one column; {X.shape[1]} were got; name the feature set that holds it, "
            "such as NETWORK/volume/prediction/mean"
        )
    column = X[:, 0].astype(np.float64)
    if positive is None:
        return column
    outside = (column < 0) | (column > 1)
    if outside.any():
        raise AnalysisError(
            "a direct answer for two classes must be the probability of one of them, from 0 to 1; "
            f"{column[outside.argmax()]:g} was got, in {int(outside.sum())} of {len(column)} rows; take the "
            "prediction of a network that tells these classes apart"
        )
    return np.column_stack([1 - column, column] if positive else [column, 1 - column])


def _are_shares(values: Floats) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


class _Direct(BaseEstimator):
    """What the regressor and the classifier share: they look at their rows, and keep nothing of them."""

    prepare: Any

    def _check(self, X: NDArray[np.floating], *, positive: int | None = None) -> None:
        if self.prepare is not None:
            raise AnalysisError(
                "a direct answer must be taken as it is; confounds, sites or components were to be treated before "
                "it; leave these out, or take another head"
            )
        only_column(apply_prepare(None, X), positive=positive)
        self.prepare_ = None


class DirectRegressor(RegressorMixin, _Direct):
    """The column, as it is.

    Parameters
    ----------
    cv : object
        Not used: nothing is chosen.
    prepare : None

    Attributes
    ----------
    positive_ : int
        1, as of classes; nobody looks at it.
    """

    def __init__(self, cv: Any = 5, prepare: Any = None) -> None:
        self.cv = cv
        self.prepare = prepare

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Check the rows.

        Raises
        ------
        AnalysisError
            See `only_column`; something is to be done before; all of the column is from 0 to 1, as probabilities
            are, and the target is not.
        """
        self._check(X)
        column = only_column(apply_prepare(None, X))
        target = np.asarray(y, dtype=np.float64)
        if _are_shares(column) and not _are_shares(target):
            raise AnalysisError(
                "a direct answer must be in the unit of the target, which goes here from "
                f"{target.min():g} to {target.max():g}; every one of {len(column)} lies from 0 to 1, as "
                "probabilities do; name the set that predicts this target, or take another head"
            )
        self.positive_ = 1
        return self

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """The column, shape (n,)."""
        return only_column(apply_prepare(None, X))


class DirectClassifier(ClassifierMixin, _Direct):
    """The column, as the probability of the one of two classes that is meant; see `positive_class`.

    Parameters
    ----------
    cv : object
        Not used: nothing is chosen.
    prepare : None
    classes : tuple of str
        What the classes are called, in sorted order of `y`; where it is empty, as `y` calls them.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    positive_ : int
        Place of the class that the column is the probability of.
    """

    def __init__(self, cv: Any = 5, prepare: Any = None, classes: tuple[str, ...] = ()) -> None:
        self.cv = cv
        self.prepare = prepare
        self.classes = classes

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Check the rows, and which class is meant.

        Raises
        ------
        AnalysisError
            See `only_column`; something is to be done before; the names of the classes do not say which is meant.
        """
        self.classes_ = np.unique(np.asarray(y))
        names = self.classes or tuple(str(one) for one in self.classes_)
        positive = positive_class(names)
        if positive is None:
            raise AnalysisError(
                "a direct answer for two classes must be the probability of one whose name says so; "
                f"{' and '.join(map(repr, names))} do not say which one is meant; recode the class that it is the "
                "probability of (male, yes, case) as 1 and the other as 0, or sex as F and M"
            )
        self._check(X, positive=positive)
        self.positive_ = positive
        return self

    def predict_proba(self, X: NDArray[np.floating]) -> Floats:
        """Probability of both classes, shape (n, 2)."""
        return only_column(apply_prepare(None, X), positive=self.positive_)

    def predict(self, X: NDArray[np.floating]) -> NDArray[Any]:
        """The likelier class; the first of equally likely ones."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest
