"""L2 logistic regression, binary and multinomial, with its penalty chosen on inner folds."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import sklearn
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import check_cv

from featx.analysis.scaling import Floats, apply_scale, fit_scale, row_space, unscale
from featx.analysis.splits import Pairs

PENALTIES = tuple(float(one) for one in np.logspace(3, -3, 13))
MOST_NEWTON = 2000  # unknowns; a Newton step solves a square matrix of that size
TOLERANCE = 1e-8

# scikit-learn before 1.6 fits one class against the rest with newton-cholesky, which is another head.
_NEWTON_MULTINOMIAL = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 6)


def solver_for(n_features: int, n_classes: int) -> str:
    """Which of scikit-learn's solvers is used; all have the same solution.

    Examples
    --------
    >>> solver_for(180, 2), solver_for(50_000, 2)
    ('newton-cholesky', 'lbfgs')
    """
    unknowns = n_features if n_classes == 2 else n_features * n_classes
    newton = unknowns <= MOST_NEWTON and (n_classes == 2 or _NEWTON_MULTINOMIAL)
    return "newton-cholesky" if newton else "lbfgs"


def solve_path(R: Floats, y: NDArray[np.int64], penalties: Floats) -> list[tuple[Floats, Floats]]:
    """Coefficients and intercepts for every penalty, each fit beginning at the one before.

    Parameters
    ----------
    R : ndarray of shape (n, r)
    y : ndarray of shape (n,)
        Class codes 0..k-1, all of them present.
    penalties : ndarray of shape (n_penalties,)
        From strong to weak; the sum of the log losses plus ``penalty / 2 |w|^2`` is least.

    Returns
    -------
    list of (coef, intercept)
        coef of shape (1, r) for two classes, else (k, r); intercept of shape (1,) or (k,).
    """
    solver = solver_for(R.shape[1], int(y.max()) + 1)
    # The loss that scikit-learn's solvers watch is a mean over rows; lbfgs stalls where rounding hides progress.
    tolerance = TOLERANCE if solver == "newton-cholesky" else 1e-6
    fitted = LogisticRegression(solver=solver, tol=tolerance, max_iter=20_000, warm_start=True)
    path = []
    for penalty in penalties:
        fitted.set_params(C=1.0 / penalty).fit(R, y)
        path.append((fitted.coef_.copy(), fitted.intercept_.copy()))
    return path


def fit_path(X: NDArray[np.floating], y: NDArray[np.int64], penalties: Floats) -> list[tuple[Floats, Floats]]:
    """Coefficients in the units of X for every penalty; a penalty counts per feature, as in `LogisticPath`."""
    scale = fit_scale(X)
    R, basis = row_space(apply_scale(X, scale) / np.sqrt(X.shape[1]))
    path = []
    for coef, intercept in solve_path(R, y, penalties):
        wide = coef if basis is None else coef @ basis.T
        path.append(unscale(wide / np.sqrt(X.shape[1]), intercept, scale))
    return path


def probabilities(X: NDArray[np.floating], coef: Floats, intercept: Floats) -> Floats:
    """Probability of every class, shape (n, n_classes), from coefficients of shape (1 or n_classes, n_features).

    Examples
    --------
    >>> probabilities(np.zeros((1, 2)), np.ones((1, 2)), np.zeros(1)).tolist()
    [[0.5, 0.5]]
    """
    z = X @ coef.T + intercept
    if z.shape[1] > 1:
        return np.asarray(softmax(z, axis=1))
    return np.column_stack([expit(-z[:, 0]), expit(z[:, 0])])


def validation_losses(X: NDArray[np.floating], y: NDArray[np.int64], cv: Pairs, penalties: Floats) -> Floats:
    """Mean log loss of every penalty in every fold, shape (n_folds, n_penalties)."""
    eps = np.finfo(np.float64).eps
    losses = []
    for train, valid in cv:
        if len(np.unique(y[train])) <= y.max():
            raise ValueError(
                f"every class must be among the training rows of every inner fold; {int(y.max()) + 1} classes were "
                f"given and {len(np.unique(y[train]))} are there; stratify the folds, or use fewer"
            )
        path = fit_path(X[train], y[train], penalties)
        own = [probabilities(X[valid], coef, at)[np.arange(len(valid)), y[valid]] for coef, at in path]
        losses.append([float(-np.log(np.maximum(one, eps)).mean()) for one in own])
    return np.array(losses)


class LogisticPath(ClassifierMixin, BaseEstimator):
    """L2 logistic regression on standardised columns; the penalty has the least log loss over the inner folds.

    Parameters
    ----------
    penalties : array-like of shape (n_penalties,), optional
        Penalty per feature, from strong to weak: scikit-learn's C on standardised columns is
        ``1 / (penalty * n_features)``. Of equally good ones the first, that is the strongest, is taken.
    cv : int, splitter or iterable of (train, validation) index pairs
        Inner folds.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    C_ : float
        As scikit-learn counts it, on standardised columns.
    coef_ : ndarray of shape (1 or n_classes, n_features), float64
        Per unit of X: the standardisation is folded in.
    intercept_ : ndarray of shape (1 or n_classes,), float64
    Cs_, losses_ : ndarray of shape (n_penalties,)
        Mean over inner folds of the mean log loss.
    """

    def __init__(self, penalties: ArrayLike | None = None, cv: Any = 5) -> None:
        self.penalties = penalties
        self.cv = cv

    def fit(self, X: NDArray[np.floating], y: ArrayLike) -> Self:
        """Choose the penalty on the inner folds, then fit on all rows."""
        penalties = np.asarray(PENALTIES if self.penalties is None else self.penalties, dtype=np.float64)
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        folds = check_cv(self.cv, codes, classifier=True).split(X, codes)
        self.losses_ = validation_losses(X, codes, folds, penalties).mean(axis=0)
        best = int(np.argmin(self.losses_))
        self.Cs_ = 1.0 / (penalties * X.shape[1])
        self.C_ = float(self.Cs_[best])
        self.coef_, self.intercept_ = fit_path(X, codes, penalties[: best + 1])[-1]
        return self

    def predict_proba(self, X: NDArray[np.floating]) -> Floats:
        """Probability of every class, shape (n, n_classes)."""
        return probabilities(X, self.coef_, self.intercept_)

    def predict(self, X: NDArray[np.floating]) -> NDArray[Any]:
        """The likeliest class; the first of equally likely ones."""
        likeliest: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest
