"""Two arms on the same people: differences with intervals and tests, and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from featx.analysis.folds.strata import Labels, Values
from featx.analysis.inference.metrics import metrics_of
from featx.analysis.inference.scores import Bootstrapped, interval
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError

NAN = float("nan")


@dataclass(frozen=True)
class Difference:
    """How much better one arm is than another; positive where the first is better.

    Attributes
    ----------
    value, low, high : float
        In the unit of the metric, with the ends of the 95 % interval; NaN where undefined.
    p : float
        Two-sided.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class TTest:
    """A t-test: statistic, degrees of freedom, two-sided p; NaN where nothing varies."""

    t: float
    df: int
    p: float


@dataclass(frozen=True)
class DeLong:
    """Difference of two areas under the ROC curve, its standard error, z and two-sided p; NaN where undefined."""

    difference: float
    se: float
    z: float
    p: float


def difference(a: Bootstrapped, b: Bootstrapped, *, higher_is_better: bool) -> Difference:
    """Difference of two arms on the same draws of people, with a percentile interval and p.

    Parameters
    ----------
    a, b : Bootstrapped
        One metric of two arms, drawn with the same seed and groups.
    higher_is_better : bool
        Of the metric: the difference is a - b where it is, else b - a.

    Returns
    -------
    Difference
        p is twice the share of draws on the other side of zero (a draw of zero is on both), the value itself counted
        as one (Davison & Hinkley 1997, Bootstrap Methods, ch. 4): at least 2 / (n_bootstrap + 1). Draws that leave a
        metric undefined are left out; where most do, interval and p are NaN.

    Raises
    ------
    AnalysisError
        The arms have not equally many draws.

    Examples
    --------
    >>> a, b = Bootstrapped(3.0, np.array([3.0, 3.5, 2.9])), Bootstrapped(4.0, np.array([4.1, 4.4, 4.2]))
    >>> found = difference(a, b, higher_is_better=False)
    >>> found.value, found.p
    (1.0, 0.5)
    """
    if len(a.draws) != len(b.draws):
        raise AnalysisError(
            f"two arms must have the same draws to be compared; they have {len(a.draws)} and {len(b.draws)}; "
            "bootstrap both with one seed and one number of draws"
        )
    sign = 1.0 if higher_is_better else -1.0
    draws = sign * (a.draws - b.draws)
    low, high = interval(draws)
    return Difference(sign * (a.value - b.value), low, high, NAN if np.isnan(low) else _two_sided(draws))


def _two_sided(draws: Floats) -> float:
    defined = draws[np.isfinite(draws)]
    beyond = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (1 + len(defined)))


def fold_scores(
    kind: str, observed: Values, predicted: Sequence[Floats], tests: Sequence[NDArray[np.intp]]
) -> dict[str, Floats]:
    """Every metric in every test fold by itself.

    Parameters
    ----------
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    observed : ndarray of shape (n,)
        Numbers, or class codes.
    predicted : sequence of ndarray of shape (n_test,) or (n_test, n_classes)
        For the test rows of every split.
    tests : sequence of ndarray of shape (n_test,), int
        Those rows.

    Returns
    -------
    dict of str to ndarray of shape (n_splits,)
        By metric; NaN where a fold leaves it undefined (one class only, nobody).

    Examples
    --------
    >>> folds = [np.array([0, 1]), np.array([2])]
    >>> fold_scores("continuous", np.array([1.0, 2.0, 3.0]), [np.zeros(2), np.zeros(1)], folds)["mae"].tolist()
    [1.5, 3.0]
    """
    found: dict[str, list[float]] = {name: [] for name in metrics_of(kind)}
    for own, rows in zip(predicted, tests, strict=True):
        for name, one in metrics_of(kind).items():
            whole = np.ones((1, len(rows)))
            found[name].append(float(one.function(observed[rows], own, whole)[0]) if len(rows) else NAN)
    return {name: np.array(each) for name, each in found.items()}


def corrected_t(a: ArrayLike, b: ArrayLike, *, n_train: float, n_test: float) -> TTest:
    """Corrected resampled t-test of the mean difference over folds (Nadeau & Bengio 2003, Mach Learn 52:239).

    Training sets overlap, so that the scores of folds are no independent sample: the variance of their mean is
    taken as ``variance * (1 / J + n_test / n_train)``. Meant for repeated cross-validation.

    Parameters
    ----------
    a, b : array-like of shape (n_folds,)
        One metric of two arms in the same folds; folds with a NaN are left out.
    n_train, n_test : float
        Rows (or people) of a fold, on average.

    Returns
    -------
    TTest
        t is above zero where a is larger; df is J - 1.

    Examples
    --------
    >>> found = corrected_t([3.0, 5.0, 4.0], [1.0, 2.0, 3.0], n_train=90, n_test=10)
    >>> round(found.t, 3), found.df, round(found.p, 3)
    (3.0, 2, 0.095)
    """
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    differences = differences[np.isfinite(differences)]
    df = len(differences) - 1
    spread = float(differences.std(ddof=1)) if df > 0 else 0.0
    if spread == 0:
        return TTest(NAN, max(df, 0), NAN)
    t = float(differences.mean()) / (spread * np.sqrt(1 / len(differences) + n_test / n_train))
    return TTest(float(t), df, float(2 * stats.t.sf(abs(t), df)))


# --- areas under the ROC curve --------------------------------------------------------------------------------


def delong(observed: ArrayLike, a: ArrayLike, b: ArrayLike, *, groups: Labels) -> DeLong:
    """DeLong's test of two correlated areas under the ROC curve (DeLong et al. 1988, Biometrics 44:837).

    Parameters
    ----------
    observed : array-like of shape (n,), bool
        Whether a row is of the class.
    a, b : array-like of shape (n,)
        The two arms' probabilities of the class, without NaN; ties count half.
    groups : ndarray of shape (n,)
        People; each must have one row, for the test takes rows as independent.

    Returns
    -------
    DeLong
        AUC of a less that of b. Computed from midranks in O(n log n) (Sun & Xu 2014, IEEE Signal Process Lett
        21:1389). NaN with fewer than two rows of a class, or arms that rank alike.

    Raises
    ------
    AnalysisError
        Somebody has several rows.

    Examples
    --------
    >>> y, people = [0, 0, 0, 1, 1, 1], np.array(list("abcdef"))
    >>> found = delong(y, [0.1, 0.2, 0.4, 0.3, 0.5, 0.6], [0.2, 0.5, 0.4, 0.1, 0.3, 0.6], groups=people)
    >>> round(found.difference, 3), round(found.se, 3)
    (0.444, 0.248)
    """
    n_people = len(np.unique(groups.astype(str)))
    if n_people < len(groups):
        raise AnalysisError(
            f"DeLong's test must have one row per person; {n_people} people have {len(groups)} rows; "
            "compare the arms by bootstrap over people"
        )
    positive = np.asarray(observed, dtype=bool)
    if min(positive.sum(), (~positive).sum()) < 2:
        return DeLong(NAN, NAN, NAN, NAN)
    of_a, of_b = (_placements(positive, np.asarray(one, dtype=np.float64)) for one in (a, b))
    gap = float(of_a[0].mean() - of_b[0].mean())
    parts = [one - other for one, other in zip(of_a, of_b, strict=True)]
    se = float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)))
    if se == 0:
        return DeLong(gap, se, NAN, NAN)
    return DeLong(gap, se, gap / se, float(2 * stats.norm.sf(abs(gap / se))))


def _placements(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """For every positive the share of negatives below it, for every negative that of positives above it."""
    among_all, n_positive, n_negative = stats.rankdata(score), positive.sum(), (~positive).sum()
    below = (among_all[positive] - stats.rankdata(score[positive])) / n_negative
    above = 1 - (among_all[~positive] - stats.rankdata(score[~positive])) / n_positive
    return below, above


# --- effect sizes ---------------------------------------------------------------------------------------------


def cohens_d_paired(observed: Floats, a: Floats, b: Floats, groups: Labels) -> float:
    """Mean over its standard deviation of how much smaller a person's absolute error is in a than in b (d_z).

    Parameters
    ----------
    observed : ndarray of shape (n,) or (n_repeats, n)
    a, b : ndarray of shape (n,) or (n_repeats, n)
        Predicted numbers of two arms; NaN where a repeat did not test a row.
    groups : ndarray of shape (n,)
        People: their rows and repeats are averaged first.

    Returns
    -------
    float
        Positive where a is closer; NaN with fewer than two people, or where the difference is the same for all.
        Lakens 2013, Front Psychol 4:863.

    Examples
    --------
    >>> y, people = np.zeros(3), np.array(["1", "2", "3"])
    >>> cohens_d_paired(y, np.array([1.0, 1.0, 1.0]), np.array([2.0, -3.0, 4.0]), people)
    2.0
    """
    gained = np.atleast_2d(np.abs(observed - b) - np.abs(observed - a))
    _, person = np.unique(groups.astype(str), return_inverse=True)
    tested = np.isfinite(gained)
    total = np.bincount(person, np.where(tested, gained, 0.0).sum(axis=0))
    count = np.bincount(person, tested.sum(axis=0))
    means = total[count > 0] / count[count > 0]
    spread = means.std(ddof=1) if len(means) > 1 else 0.0
    return float(means.mean() / spread) if spread > 0 else NAN
