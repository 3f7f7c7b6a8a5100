"""Elastic nets on principal components: what Holderrieth, Smith & Peng 2022 hold networks against.

In every training set anew the standardised columns are turned into their principal components, the k that correlate
most with the target are kept, and an elastic net is fitted to these. Free columns (confounds) and the intercept are
not penalised: components are those of what these leave of the others. What comes out is one coefficient for each
column, so that a fitted head is stored, and predicts, as any other linear one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import check_cv

from featx.analysis.folds.strata import Rows
from featx.analysis.heads.elastic import L1_RATIOS, make_alphas
from featx.analysis.heads.elastic_logistic import Training, held_loss
from featx.analysis.heads.inputs import (
    RANK,
    Axes,
    Coordinates,
    apply_prepare,
    fit_axes,
    fit_coordinates,
    to_columns,
    to_coordinates,
)
from featx.analysis.heads.logistic import LinearClassifier, balanced_weights, check_classes, class_weights
from featx.analysis.scaling import Floats

N_COMPONENTS = (10, 20, 50, 100, 200)
N_ALPHAS, N_PENALTIES = 30, 10
LEAST = 1e-5  # of the strongest penalty: the squares of components span some powers of ten


@dataclass(frozen=True)
class Components:
    """Training rows as scores of principal components, the most correlated with the target first.

    Attributes
    ----------
    place : Coordinates
    axes : Axes
    V : ndarray of shape (r, m)
        From scores of components to coordinates of the penalised columns.
    free : ndarray of shape (n, n_free)
    scores : ndarray of shape (n, m)
        Orthogonal, and orthogonal to the intercept and the free columns.
    squares : ndarray of shape (m,)
        Of the columns of the scores, summed.
    slope : ndarray of shape (m,)
        Products of the scores with the target.
    outer : ndarray of shape (1 + n_free,)
        Coefficients of the intercept and the free columns in the least-squares fit.
    """

    place: Coordinates
    axes: Axes
    V: Floats
    free: Floats
    scores: Floats
    squares: Floats
    slope: Floats
    outer: Floats

    def strongest(self) -> float:
        """Weakest lasso penalty that leaves no component."""
        return float(np.abs(self.slope).max(initial=0.0)) / len(self.scores)

    def whole(self, outer: Floats, w: Floats) -> tuple[Floats, Floats]:
        """Coefficients of all coordinates, shape (m, d), and intercepts, shape (m,).

        Parameters
        ----------
        outer : ndarray of shape (1 + n_free, m)
            Of the intercept and the free columns.
        w : ndarray of shape (k, m)
            Of the first k components.
        """
        own = self.V[:, : len(w)] @ w
        outer = outer - self.axes.back @ (self.axes.shift @ own)
        return np.concatenate([outer[1:], own]).T, outer[0]


def fit_components(X: NDArray[np.floating], y: Floats, prepare: Any = None) -> Components:
    """Principal components of training rows, and how they go with a target (codes 0 and 1 for two classes)."""
    place, Z = fit_coordinates(X, prepare)
    axes = fit_axes(Z, place.n_free, np.ones(len(Z)))
    kept = np.flatnonzero(axes.squares > RANK * axes.squares.max(initial=0.0))
    inner = axes.nuisance.T @ y
    slope = (axes.penalised @ axes.V[:, kept]).T @ (y - axes.nuisance @ inner)
    kept = kept[(order := np.argsort(-np.abs(slope) / np.sqrt(axes.squares[kept]), kind="stable"))]
    V = axes.V[:, kept]
    scores, free = axes.penalised @ V, Z[:, : place.n_free]
    return Components(place, axes, V, free, scores, axes.squares[kept], slope[order], axes.back @ inner)


def soften(slope: Floats, squares: Floats, n: int, alphas: Floats, l1_ratio: float) -> Floats:
    """Elastic-net coefficients of orthogonal columns, shape (m, n_alphas): each column by itself.

    Least is ``|y - T w|^2 / 2n + alpha (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|^2)``.

    Parameters
    ----------
    slope, squares : ndarray of shape (m,)
        Products of the columns with the target and with themselves.

    Examples
    --------
    >>> soften(np.array([8.0, 1.0]), np.array([4.0, 4.0]), 4, np.array([1.0]), 0.5).T
    array([[1., 0.]])
    """
    left = np.maximum(np.abs(slope[:, None]) / n - alphas * l1_ratio, 0.0)
    w: Floats = np.sign(slope[:, None]) * left / (squares[:, None] / n + alphas * (1 - l1_ratio))
    return w


# --- numbers --------------------------------------------------------------------------------------------------


class ComponentsElasticNet(RegressorMixin, BaseEstimator):
    """Elastic net on the principal components that correlate most with the target.

    Parameters
    ----------
    n_components : tuple of int
        Numbers of components to choose among; fewer where there are not as many.
    l1_ratios : tuple of float
        Shares of the lasso penalty, above 0.
    n_alphas : int
        Penalties, from the weakest that leaves no component of the training rows down to `LEAST` times it. Inner
        folds have the same.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds. Of equally good triples the first is taken: by components, mixture, then the strongest penalty.
    prepare : Prepare, optional
        Fitted to the columns before, anew in every training set; its first `n_free_` columns have no penalty.

    Attributes
    ----------
    n_components_ : int
        At most so many.
    alpha_, l1_ratio_ : float
        As scikit-learn counts them, on scores of standardised columns divided by the root of their number.
    coef_ : ndarray of shape (n_features,), float64
        In units of y per unit of the (prepared) columns.
    intercept_ : float
    errors_ : ndarray of shape (n_numbers, n_l1_ratios, n_alphas)
        Mean over inner folds of the mean squared error.
    prepare_ : Prepare or None
    """

    def __init__(
        self,
        n_components: tuple[int, ...] = N_COMPONENTS,
        l1_ratios: tuple[float, ...] = L1_RATIOS,
        n_alphas: int = N_ALPHAS,
        cv: Any = 5,
        prepare: Any = None,
    ) -> None:
        self.n_components = n_components
        self.l1_ratios = l1_ratios
        self.n_alphas = n_alphas
        self.cv = cv
        self.prepare = prepare

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose components, penalty and mixture on the inner folds, then fit on all rows."""
        y = np.asarray(y, dtype=np.float64)
        rows = fit_components(X, y, self.prepare)
        grids = [make_alphas(rows.strongest(), self.n_alphas, ratio, LEAST) for ratio in self.l1_ratios]
        folds = check_cv(self.cv, y).split(X, y)
        self.errors_ = np.mean([self._errors(X, y, pair, grids) for pair in folds], axis=0)
        k, which, at = np.unravel_index(int(np.argmin(self.errors_)), self.errors_.shape)
        self.n_components_, self.l1_ratio_ = int(self.n_components[k]), float(self.l1_ratios[which])
        self.alpha_ = float(grids[which][at])
        w = soften(rows.slope, rows.squares, len(y), grids[which][at : at + 1], self.l1_ratio_)
        coef, intercept = to_columns(*rows.whole(rows.outer[:, None], w[: self.n_components_]), rows.place)
        self.coef_, self.intercept_, self.prepare_ = coef[0], float(intercept[0]), rows.place.prepare
        return self

    def _errors(self, X: NDArray[np.floating], y: Floats, pair: tuple[Rows, Rows], grids: list[Floats]) -> Floats:
        """Mean squared error of every number, mixture and penalty on one inner fold."""
        train, valid = pair
        rows = fit_components(X[train], y[train], self.prepare)
        held = to_coordinates(X[valid], rows.place)
        errors = np.empty((len(self.n_components), len(grids), self.n_alphas))
        for at, (ratio, alphas) in enumerate(zip(self.l1_ratios, grids, strict=True)):
            w = soften(rows.slope, rows.squares, len(train), alphas, ratio)
            for place, k in enumerate(self.n_components):
                coef, intercept = rows.whole(rows.outer[:, None], w[:k])
                errors[place, at] = np.mean((y[valid, None] - held @ coef.T - intercept) ** 2, axis=0)
        return errors

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Predictions, in the unit of y."""
        predicted: Floats = apply_prepare(self.prepare_, X) @ self.coef_ + self.intercept_
        return predicted


# --- two classes ----------------------------------------------------------------------------------------------


class ComponentsElasticNetLogistic(LinearClassifier):
    """Elastic-net logistic regression on the principal components that correlate most with the class.

    Parameters
    ----------
    n_components, l1_ratios
        As in `ComponentsElasticNet`.
    n_penalties : int
        From the weakest that leaves no component of the training rows down to `LEAST` times it. Inner folds
        have the same.
    cv, prepare
        As in `ComponentsElasticNet`.
    class_weight : None or "balanced"
        "balanced" weighs rows so that both classes count alike, in training and in the losses of the inner folds;
        not in the components and their correlations.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
    n_components_ : int
        At most so many.
    C_, l1_ratio_ : float
        As scikit-learn counts them, on what `ComponentsElasticNet.alpha_` is counted on.
    coef_ : ndarray of shape (1, n_features), float64
        Per unit of the (prepared) columns.
    intercept_ : ndarray of shape (1,), float64
    losses_ : ndarray of shape (n_numbers, n_l1_ratios, n_penalties)
        Mean over inner folds of the mean log loss.
    prepare_ : Prepare or None
    converged_ : bool
    """

    def __init__(
        self,
        n_components: tuple[int, ...] = N_COMPONENTS,
        l1_ratios: tuple[float, ...] = L1_RATIOS,
        n_penalties: int = N_PENALTIES,
        cv: Any = 5,
        prepare: Any = None,
        *,
        class_weight: str | None = None,
    ) -> None:
        self.n_components = n_components
        self.l1_ratios = l1_ratios
        self.n_penalties = n_penalties
        self.cv = cv
        self.prepare = prepare
        self.class_weight = class_weight

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose components, penalty and mixture on the inner folds, then fit on all rows.

        Raises
        ------
        AnalysisError
            A class is missing in the training rows of an inner fold.
        """
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        rows = fit_components(X, codes.astype(np.float64), self.prepare)
        most = self._training(rows, codes, rows.scores.shape[1]).strongest()
        grids = [make_alphas(most, self.n_penalties, ratio, LEAST) for ratio in self.l1_ratios]
        folds = check_cv(self.cv, codes, classifier=True).split(X, codes)
        self.losses_ = np.mean([self._losses(X, codes, pair, grids) for pair in folds], axis=0)
        k, which, at = np.unravel_index(int(np.argmin(self.losses_)), self.losses_.shape)
        self.n_components_, self.l1_ratio_ = int(self.n_components[k]), float(self.l1_ratios[which])
        last = self._training(rows, codes, self.n_components_).path(grids[which][: at + 1], self.l1_ratio_)[-1]
        self.C_ = 1.0 / (len(codes) * float(grids[which][at]))
        self.coef_, self.intercept_ = to_columns(*rows.whole(last.outer, last.w), rows.place)
        self.prepare_, self.converged_ = rows.place.prepare, last.converged
        return self

    def _training(self, rows: Components, y: NDArray[np.int64], k: int) -> Training:
        weights = balanced_weights(y) if self.class_weight == "balanced" else np.ones(len(y))
        Z = np.concatenate([rows.free, rows.scores[:, :k]], axis=1)
        return Training(rows.place, Z, y[:, None].astype(np.float64), weights)

    def _losses(
        self, X: NDArray[np.floating], y: NDArray[np.int64], pair: tuple[Rows, Rows], grids: list[Floats]
    ) -> list[list[list[float]]]:
        """Mean log loss of every number, mixture and penalty on one inner fold."""
        train, valid = pair
        check_classes(y, train)
        rows = fit_components(X[train], y[train].astype(np.float64), self.prepare)
        held = to_coordinates(X[valid], rows.place)
        weights = class_weights(y[train])[y[valid]] if self.class_weight == "balanced" else np.ones(len(valid))
        numbers = [min(k, rows.scores.shape[1]) for k in self.n_components]
        losses: dict[int, list[list[float]]] = {}
        for k in dict.fromkeys(numbers):  # of as many as there are, once
            own = self._training(rows, y[train], k)
            losses[k] = [
                [held_loss(held, y[valid], *rows.whole(one.outer, one.w), weights) for one in own.path(alphas, ratio)]
                for ratio, alphas in zip(self.l1_ratios, grids, strict=True)
            ]
        return [losses[k] for k in numbers]
