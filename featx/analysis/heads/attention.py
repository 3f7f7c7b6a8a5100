"""Attention pooling over slices, and a linear answer: for numbers, and for two classes.

A learned query scores every slice of a brain, by its features and by its place; the softmax of the scores weighs the
slices, and a linear predictor answers the weighted mean of their features (Ilse et al. 2018, ICML 35:2127, without
their hidden layer). With equal scores that is the mean of the slices, and there a fit begins: at the solution without
a query, from which query and coefficients are refined together, by L-BFGS with the gradient in closed form. Where the
inner folds say that a query gains nothing, the mean is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import check_cv

from featx.analysis.folds.strata import Rows
from featx.analysis.heads.attending import Problem, Weights, attend, solve
from featx.analysis.heads.inputs import apply_prepare, fit_prepare, orthonormal
from featx.analysis.heads.logistic import balanced_weights, check_classes, class_weights
from featx.analysis.scaling import Floats, Scale, apply_scale, fit_scale, unscale
from featx.errors import AnalysisError

PENALTIES = tuple(float(one) for one in np.logspace(3, -3, 7))
# From a query that hardly moves the weights of the slices to one that can pick a single slice.
QUERY_PENALTIES = (10.0, 1.0)


@dataclass(frozen=True)
class Place:
    """How columns become standardised ones: those without penalty, then the features of the slices.

    Attributes
    ----------
    prepare : Prepare or None
        Fitted.
    n_slices : int
    free, features : Scale
        Of the columns without penalty; of the features, over all slices of all training rows.
    """

    prepare: Any
    n_slices: int
    free: Scale
    features: Scale

    @property
    def divisor(self) -> float:
        """Root of the number of features of a slice: a penalty counts per feature."""
        return float(np.sqrt(max(len(self.features.mean), 1)))


def fit_place(X: NDArray[np.floating], prepare: Any, n_slices: int) -> tuple[Place, Floats, Floats]:
    """Standardise training rows.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        The features of the slices one behind the other; before them what `prepare` makes of its first columns.
    prepare : Prepare or None
        Unfitted.
    n_slices : int

    Returns
    -------
    place : Place
    free : ndarray of shape (n, n_free)
    R : ndarray of shape (n, n_slices, d)
        Divided by the root of d.

    Raises
    ------
    AnalysisError
        The columns cannot be those of the slices.
    """
    if n_slices > 1 and prepare is not None and prepare.pca is not None:
        raise AnalysisError(
            f"attention must see the features of every slice; components of {n_slices} slices mix them; "
            "do without components, or take another head"
        )
    fitted, Z, n_free = fit_prepare(prepare, X)
    if (Z.shape[1] - n_free) % n_slices:
        raise AnalysisError(
            f"every slice must have as many features as the others; {Z.shape[1] - n_free} columns were got for "
            f"{n_slices} slices; give the slices of one feature set, one behind the other"
        )
    slices = Z[:, n_free:].reshape(len(Z) * n_slices, (Z.shape[1] - n_free) // n_slices)
    place = Place(fitted, n_slices, fit_scale(Z[:, :n_free]), fit_scale(slices))
    return place, *_standardised(Z, place)


def to_place(X: NDArray[np.floating], place: Place) -> tuple[Floats, Floats]:
    """New rows in the units of the training rows: the free columns, and R."""
    return _standardised(apply_prepare(place.prepare, X), place)


def _standardised(Z: NDArray[np.floating], place: Place) -> tuple[Floats, Floats]:
    n_free, d = len(place.free.mean), len(place.features.mean)
    slices = apply_scale(Z[:, n_free:].reshape(len(Z) * place.n_slices, d), place.features)
    slices /= place.divisor
    return apply_scale(Z[:, :n_free], place.free), slices.reshape(len(Z), place.n_slices, d)


def answer(
    Z: NDArray[np.floating],
    coef: Floats,
    intercept: Floats,
    query: Floats,
    position: Floats,
    *,
    is_class: bool,
) -> Floats:
    """What attention answers: numbers of shape (n,), or probabilities of both classes, shape (n, 2).

    Parameters
    ----------
    Z : ndarray of shape (n, n_free + n_slices * d)
        Columns in their own units.
    coef : ndarray of shape (n_free + d,)
    intercept : ndarray of shape ()
    query : ndarray of shape (d,)
    position : ndarray of shape (n_slices,)

    Examples
    --------
    >>> Z = np.array([[7.0, 1.0, 3.0]])  # a covariate, then two slices of one feature
    >>> answer(Z, np.array([10.0, 1.0]), np.array(0.5), np.zeros(1), np.zeros(2), is_class=False).tolist()
    [72.5]
    """
    n_free = len(coef) - len(query)
    slices = Z[:, n_free:].reshape(len(Z), len(position), len(query))
    shares, answers = attend(slices, Weights(coef[:n_free], coef[n_free:], query, position))
    z = np.asarray(Z[:, :n_free] @ coef[:n_free] + np.einsum("ns,ns->n", shares, answers) + intercept)
    return np.column_stack([expit(-z), expit(z)]) if is_class else z


# --- the estimators -------------------------------------------------------------------------------------------


class _Attention(BaseEstimator):
    """What the regressor and the classifier share."""

    is_class: bool
    cv: Any
    prepare: Any
    n_slices: int
    class_weight: str | None

    def _choose(self, X: NDArray[np.floating], y: NDArray[Any], penalties: ArrayLike | None) -> Self:
        """Choose among penalties, and among the mean and the queries, on the inner folds; then fit on all rows."""
        path = np.asarray(PENALTIES if penalties is None else penalties, dtype=np.float64)
        queries = QUERY_PENALTIES if self.n_slices > 1 else ()
        folds = check_cv(self.cv, y, classifier=self.is_class).split(X, y)
        self.losses_ = np.mean([self._losses(X, y, pair, path, queries) for pair in folds], axis=0)
        best, way = np.unravel_index(int(np.argmin(self.losses_)), self.losses_.shape)
        self.penalty_ = float(path[best])
        self.pooling_ = f"attention, query penalty {queries[way - 1]:g}" if way else "mean of the slices"
        place, problem, back, unit = self._problem(X, y)
        ((*_, own),) = solve(problem, [self.penalty_], queries[:way])
        outer = back @ own.nuisance
        free, intercept = unscale(outer[1:], outer[0], place.free)
        slope, at_zero = unscale(own.coef / place.divisor, intercept, place.features)
        self.prepare_, self.position_ = place.prepare, own.position
        self.query_, _ = unscale(own.query / place.divisor, 0.0, place.features)
        self.coef_ = np.concatenate([free, slope]) * unit[1]
        self.intercept_ = float(at_zero * unit[1] + unit[0])
        return self

    def _problem(
        self, X: NDArray[np.floating], y: NDArray[Any]
    ) -> tuple[Place, Problem, Floats, tuple[float, float]]:
        """Training rows as they are fitted; from nuisance to intercept and free columns; origin and unit of y."""
        place, free, R = fit_place(X, self.prepare, self.n_slices)
        weights = balanced_weights(y) if self.class_weight == "balanced" else np.ones(len(y))
        nuisance, back = orthonormal(free, weights)
        unit = (0.0, 1.0) if self.is_class else (float(y.mean()), float(y.std()) or 1.0)
        return place, Problem(nuisance, R, (y - unit[0]) / unit[1], weights, self.is_class), back, unit

    def _losses(
        self,
        X: NDArray[np.floating],
        y: NDArray[Any],
        pair: tuple[Rows, Rows],
        penalties: Floats,
        queries: tuple[float, ...],
    ) -> Floats:
        """Mean loss on one inner fold, shape (n_penalties, 1 + n_queries)."""
        train, valid = pair
        if self.is_class:
            check_classes(y, train)
        place, problem, back, unit = self._problem(X[train], y[train])
        free, R = to_place(X[valid], place)
        columns = np.concatenate([np.ones((len(valid), 1)), free], axis=1) @ back
        weights = np.ones(len(valid))
        if self.class_weight == "balanced":
            weights = class_weights(y[train])[y[valid]]

        def loss(own: Weights) -> float:
            shares, answers = attend(R, own)
            z = columns @ own.nuisance + np.einsum("ns,ns->n", shares, answers)
            if self.is_class:
                return float(np.average(np.logaddexp(0.0, z) - y[valid] * z, weights=weights))
            return float(np.mean((unit[0] + unit[1] * z - y[valid]) ** 2))

        return np.array([[loss(own) for own in found] for found in solve(problem, penalties.tolist(), queries)])

    def _answer(self, X: NDArray[np.floating]) -> Floats:
        Z = apply_prepare(self.prepare_, X)
        arrays = (self.coef_, np.asarray(self.intercept_), self.query_, self.position_)
        return answer(Z, *arrays, is_class=self.is_class)


class AttentionRegressor(RegressorMixin, _Attention):
    """Attention pooling and ridge for numbers.

    Parameters
    ----------
    penalties : array-like of shape (n_penalties,), optional
        Penalty per feature, above zero, from strong to weak: that of ridge divided by the number of features, for a
        target of variance 1.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds.
    prepare : Prepare, optional
        Fitted to the columns before, anew in every training set; its first `n_free_` columns have no penalty.
    n_slices : int
        Columns are the features of the first slice, then those of the second, and so on. With 1 it is ridge.

    Attributes
    ----------
    penalty_ : float
    pooling_ : str
        "mean of the slices", or "attention" with the penalty of the query.
    coef_ : ndarray of shape (n_free + d,), float64
        Per unit of the (prepared) columns: the standardisation is folded in.
    intercept_ : float
    query_ : ndarray of shape (d,)
        Its product with the features of a slice, plus the slice's position_, is the score. 0 for the mean.
    position_ : ndarray of shape (n_slices,)
    losses_ : ndarray of shape (n_penalties, 1 + n_queries)
        Mean over the inner folds of the mean squared error: of the mean of the slices, then of attention.
    prepare_ : Prepare or None
    """

    is_class = False
    class_weight = None

    def __init__(
        self, penalties: ArrayLike | None = None, cv: Any = 5, prepare: Any = None, n_slices: int = 1
    ) -> None:
        self.penalties = penalties
        self.cv = cv
        self.prepare = prepare
        self.n_slices = n_slices

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose penalty and pooling on the inner folds, then fit on all rows."""
        return self._choose(X, np.asarray(y, dtype=np.float64), self.penalties)

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Predictions, in the unit of y."""
        return self._answer(X)


class AttentionClassifier(ClassifierMixin, _Attention):
    """Attention pooling and L2 logistic regression for two classes.

    Parameters
    ----------
    penalties, cv, prepare, n_slices
        As for `AttentionRegressor`.
    class_weight : None or "balanced"
        "balanced" weighs rows so that every class counts alike, in training and in the losses of the inner folds.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
    penalty_, pooling_, coef_, intercept_, query_, position_, prepare_
        As of `AttentionRegressor`; what is answered is the logit of the second class.
    losses_ : ndarray of shape (n_penalties, 1 + n_queries)
        Mean over the inner folds of the mean log loss.
    """

    is_class = True

    def __init__(
        self,
        penalties: ArrayLike | None = None,
        cv: Any = 5,
        prepare: Any = None,
        n_slices: int = 1,
        class_weight: str | None = None,
    ) -> None:
        self.penalties = penalties
        self.cv = cv
        self.prepare = prepare
        self.n_slices = n_slices
        self.class_weight = class_weight

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose penalty and pooling on the inner folds, then fit on all rows.

        Raises
        ------
        AnalysisError
            There are not two classes, or one is missing in the training rows of an inner fold.
        """
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) != 2:
            raise AnalysisError(
                f"attention must be fitted to two classes; the {len(codes)} training rows have {len(self.classes_)}; "
                "take another head for others"
            )
        return self._choose(X, codes, self.penalties)

    def predict_proba(self, X: NDArray[np.floating]) -> Floats:
        """Probability of both classes, shape (n, 2)."""
        return self._answer(X)

    def predict(self, X: NDArray[np.floating]) -> NDArray[Any]:
        """The likelier class; the first of equally likely ones."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest
