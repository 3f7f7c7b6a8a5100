"""A number as a distribution over bins: a linear softmax on soft labels, read back as its mean.

What the last layer of Peng et al. (2021, MedIA 68:101871) does for age: a value's label is the mass that a Gaussian
around it has in every bin, the loss is the Kullback-Leibler divergence, and the prediction is the mean of the bins'
centres under the probabilities.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import check_cv

from featx.analysis.folds.strata import Rows
from featx.analysis.heads.inputs import Coordinates, apply_prepare, fit_coordinates, to_columns, to_coordinates
from featx.analysis.heads.logistic import PENALTIES, Solved, probabilities, solve_shares
from featx.analysis.scaling import Floats

N_BINS = 40
TOLERANCE = 1e-4  # of `featx.analysis.heads.logistic.solve_shares`: the bins' mean is smoother than their logits
MARGIN = 3  # standard deviations of a label beyond the least and the largest value


def bin_width(y: Floats) -> float:
    """Width so that about `N_BINS` bins cover the values: 1, 2 or 5 times a power of ten, never more bins.

    Examples
    --------
    >>> bin_width(np.array([42.0, 82.0])), bin_width(np.array([20.0, 86.0])), bin_width(np.array([0.0, 0.03]))
    (1.0, 2.0, 0.001)
    """
    least = max(float(np.ptp(y)), 1e-12 * max(float(np.abs(y).max()), 1.0)) / N_BINS
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9)))


def bin_centres(y: Floats, width: float) -> Floats:
    """Centres of bins that cover the values and `MARGIN` widths on both sides.

    Examples
    --------
    >>> bin_centres(np.array([42.0, 82.0]), 1.0)[[0, 1, -1]].tolist()
    [39.5, 40.5, 84.5]
    """
    first = np.floor(y.min() / width) - MARGIN
    last = np.ceil(y.max() / width) + MARGIN
    return (np.arange(first, last) + 0.5) * width


def soft_labels(y: Floats, centres: Floats, width: float) -> Floats:
    """Mass of a Gaussian around every value (standard deviation: the bins' width) in every bin; rows add up to 1.

    Values beyond the bins, as a validation row may have, are not labelled by this: it is for training rows.

    Examples
    --------
    >>> soft_labels(np.array([50.0]), np.array([48.5, 49.5, 50.5, 51.5]), 1.0).round(3).tolist()
    [[0.142, 0.358, 0.358, 0.142]]
    """
    edges = np.append(centres - width / 2, centres[-1] + width / 2)
    mass = np.diff(ndtr((edges - y[:, None]) / width), axis=1)
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def decode(Z: NDArray[np.floating], coef: Floats, intercept: Floats, centres: Floats) -> Floats:
    """Mean of the centres under the probabilities, shape (n,).

    Examples
    --------
    >>> decode(np.zeros((1, 2)), np.ones((3, 2)), np.zeros(3), np.array([40.0, 41.0, 42.0])).round(9).tolist()
    [41.0]
    """
    return probabilities(Z, coef, intercept) @ centres


class SoftBins(RegressorMixin, BaseEstimator):
    """Linear softmax over bins on standardised columns; the L2 penalty has the least squared error of the mean.

    Bins are those of the training rows, for their inner folds as well.

    Parameters
    ----------
    penalties : array-like of shape (n_penalties,), optional
        As for `featx.analysis.heads.logistic.LogisticPath`.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds.
    prepare : Prepare, optional
        Fitted to the columns before, anew in every training set; its first `n_free_` columns have no penalty.

    Attributes
    ----------
    centres_ : ndarray of shape (n_bins,)
        In the unit of y.
    width_ : float
        Of a bin, and the standard deviation of the labels, in the unit of y.
    C_ : float
        As scikit-learn counts it, on standardised columns.
    coef_ : ndarray of shape (n_bins, n_features), float64
        Per unit of the (prepared) columns.
    intercept_ : ndarray of shape (n_bins,)
    Cs_, errors_ : ndarray of shape (n_penalties,)
        Mean over inner folds of the mean squared error, in the squared unit of y.
    prepare_ : Prepare or None
    converged_ : bool
    """

    def __init__(self, penalties: ArrayLike | None = None, cv: Any = 5, prepare: Any = None) -> None:
        self.penalties = penalties
        self.cv = cv
        self.prepare = prepare

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose the penalty on the inner folds, then fit on all rows."""
        y = np.asarray(y, dtype=np.float64)
        penalties = np.asarray(PENALTIES if self.penalties is None else self.penalties, dtype=np.float64)
        self.width_ = bin_width(y)
        self.centres_ = bin_centres(y, self.width_)
        folds = check_cv(self.cv, y).split(X, y)
        self.errors_ = np.mean([self._errors(X, y, pair, penalties) for pair in folds], axis=0)
        best = int(np.argmin(self.errors_))
        solved, place = self._solve(X, y, penalties[: best + 1])
        self.prepare_, self.converged_ = place.prepare, solved.converged[-1]
        self.Cs_ = 1.0 / (penalties * place.divisor**2)
        self.C_ = float(self.Cs_[best])
        self.coef_, self.intercept_ = to_columns(*solved.path[-1], place)
        return self

    def _solve(self, X: NDArray[np.floating], y: Floats, penalties: Floats) -> tuple[Solved, Coordinates]:
        place, R = fit_coordinates(X, self.prepare)
        labels = soft_labels(y, self.centres_, self.width_)
        return solve_shares(
            R, labels, penalties, n_free=place.n_free, curvature=labels.mean(axis=0), tolerance=TOLERANCE
        ), place

    def _errors(self, X: NDArray[np.floating], y: Floats, pair: tuple[Rows, Rows], penalties: Floats) -> list[float]:
        """Mean squared error of every penalty on one inner fold."""
        train, valid = pair
        solved, place = self._solve(X[train], y[train], penalties)
        R = to_coordinates(X[valid], place)
        return [float(np.mean((y[valid] - decode(R, coef, at, self.centres_)) ** 2)) for coef, at in solved.path]

    def predict(self, X: NDArray[np.floating]) -> Floats:
        """Mean of the bins' centres under their probabilities, in the unit of y."""
        return decode(apply_prepare(self.prepare_, X), self.coef_, self.intercept_, self.centres_)
