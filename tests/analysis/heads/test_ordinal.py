from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize
from scipy.special import expit
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from featx.analysis.heads import ordinal
from featx.analysis.heads.logistic import LogisticPath
from featx.analysis.heads.ordinal import CumulativeLogit, solve_path
from featx.errors import AnalysisError


def simulated(n: int, p: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Levels 1, 2, 3, 5 with coefficients 1, -0.5, 0, ... and thresholds -1, 0.5, 2."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    hidden = X[:, 0] - 0.5 * X[:, 1] + rng.logistic(size=n)
    return X, np.array([1.0, 2.0, 3.0, 5.0])[np.digitize(hidden, [-1.0, 0.5, 2.0])]


def plain_loss(flat: np.ndarray, Z: np.ndarray, codes: np.ndarray, penalty: float, n_free: int) -> float:
    """By a loop over people; flat holds the thresholds, then the coefficients."""
    m = codes.max()
    coef = flat[m:]
    cuts = np.concatenate([[-np.inf], flat[:m], [np.inf]])
    total = 0.5 * penalty * float(coef[n_free:] @ coef[n_free:])
    for row, level in zip(Z, codes, strict=True):
        total -= np.log(expit(cuts[level + 1] - row @ coef) - expit(cuts[level] - row @ coef))
    return total


@pytest.mark.parametrize("n_free", [0, 2])
def test_a_fit_is_a_plain_minimisers(n_free: int) -> None:
    X, y = simulated(60, 4)
    Z = StandardScaler().fit_transform(X)
    codes = np.unique(y, return_inverse=True)[1]
    start = np.concatenate([[-1.0, 0.5, 2.0], np.zeros(4)])
    best = minimize(plain_loss, start, args=(Z, codes, 2.0, n_free), options={"gtol": 1e-5}).x
    path, converged = solve_path(Z, codes, np.array([50.0, 2.0]), 4, n_free)
    assert converged
    np.testing.assert_allclose(np.concatenate(path[-1][::-1]), best, atol=1e-5)


def test_slopes_are_those_of_the_value() -> None:
    rng = np.random.default_rng(0)
    y, z, steps = rng.integers(0, 4, 30), rng.standard_normal(30), np.array([-1.0, 0.2, -0.5])
    assert (
        check_grad(lambda own: ordinal._loss(own, y, steps)[0], lambda own: ordinal._loss(own, y, steps)[1], z) < 1e-5
    )
    assert check_grad(lambda own: ordinal._loss(z, y, own)[0], lambda own: ordinal._loss(z, y, own)[2], steps) < 1e-5


def test_two_levels_are_logistic() -> None:
    X, y = simulated(80, 5)
    y = np.where(y > 2, 7.0, 3.0)
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    ours, logistic = CumulativeLogit(cv=folds).fit(X, y), LogisticPath(cv=folds).fit(X, y)
    np.testing.assert_allclose(ours.losses_, logistic.losses_, atol=1e-7)
    np.testing.assert_allclose(ours.predict_levels_proba(X), logistic.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(ours.predict(X), 3 + 4 * logistic.predict_proba(X)[:, 1], atol=1e-6)
    assert ours.C_ == logistic.C_


def test_the_truth_of_a_simulation_is_found() -> None:
    X, y = simulated(4000, 3)
    head = CumulativeLogit([1e-3], cv=3).fit(X, y)
    np.testing.assert_allclose(head.coef_, [1, -0.5, 0], atol=0.12)
    np.testing.assert_allclose(head.thresholds_, [-1, 0.5, 2], atol=0.12)
    assert head.levels_.tolist() == [1, 2, 3, 5]
    observed = [(y == level).mean() for level in head.levels_]
    np.testing.assert_allclose(head.predict_levels_proba(X).mean(axis=0), observed, atol=0.01)


def test_wide_data_are_chosen_as_in_a_slow_loop() -> None:
    X, y = simulated(50, 120)
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    head = CumulativeLogit([10.0, 1.0, 0.1], cv=folds).fit(X, y)
    expected = []
    for penalty in (10.0, 1.0, 0.1):
        losses = []
        for a, b in folds:
            own = CumulativeLogit([penalty], cv=[(np.arange(len(a)), np.arange(len(a)))]).fit(X[a], y[a])
            codes = np.searchsorted(own.levels_, y[b])
            losses.append(-np.log(own.predict_levels_proba(X[b])[np.arange(len(b)), codes]).mean())
        expected.append(np.mean(losses))
    np.testing.assert_allclose(head.losses_, expected, atol=1e-6)
    np.testing.assert_allclose(head.predict_levels_proba(X).sum(axis=1), 1, atol=1e-12)


def test_a_level_that_an_inner_fold_lacks_is_no_failure() -> None:
    X, y = simulated(60, 3)
    folds = [(np.flatnonzero(y < 5), np.flatnonzero(y == 5)), (np.flatnonzero(y != 2), np.flatnonzero(y == 2))]
    head = CumulativeLogit(cv=folds).fit(X, y)
    assert np.isfinite(head.losses_).all()
    assert head.converged_


def test_one_level_is_refused() -> None:
    with pytest.raises(AnalysisError, match="two levels or more; the 9 training rows have 1; add people"):
        CumulativeLogit(cv=3).fit(np.eye(9), np.ones(9))
