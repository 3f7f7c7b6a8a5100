from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, roc_auc_score

from featx.analysis.cohort.targets import BINARY, CONTINUOUS
from featx.analysis.inference.paired import (
    cohens_d_paired,
    corrected_t,
    delong,
    difference,
    fold_scores,
)
from featx.analysis.inference.scores import Bootstrapped, bootstrap, interval
from featx.errors import AnalysisError


def arms(n: int = 80, gain: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, and two predictions of them of which the first is closer."""
    rng = np.random.default_rng(seed)
    y, noise = rng.standard_normal(n), rng.standard_normal((2, n))
    return y, y + (1 - gain) * noise[0], y + noise[1], np.array([f"sub-{at}" for at in range(n)])


def test_difference_is_paired_and_positive_where_a_is_better() -> None:
    y, a, b, groups = arms()
    drawn = [bootstrap(CONTINUOUS, y, one, groups, n_bootstrap=300) for one in (a, b)]
    mae = difference(drawn[0]["mae"], drawn[1]["mae"], higher_is_better=False)
    r = difference(drawn[0]["r"], drawn[1]["r"], higher_is_better=True)
    assert mae.value == pytest.approx(np.abs(y - b).mean() - np.abs(y - a).mean())
    assert 0 < mae.low < mae.value < mae.high
    assert r.low > 0
    assert mae.p == 2 / 301
    back = difference(drawn[1]["mae"], drawn[0]["mae"], higher_is_better=False)
    assert (back.value, back.low, back.p) == pytest.approx((-mae.value, -mae.high, mae.p))
    apart = bootstrap(CONTINUOUS, y, b, groups, n_bootstrap=300, random_state=1)["mae"].draws
    low, high = interval(apart - drawn[0]["mae"].draws)
    assert (low, high) != (mae.low, mae.high)


def test_p_counts_draws_on_the_other_side() -> None:
    other = Bootstrapped(0.0, np.zeros(99))
    a = Bootstrapped(1.0, np.r_[np.full(4, -1.0), np.full(95, 1.0)])
    assert difference(a, other, higher_is_better=True).p == pytest.approx(2 * 5 / 100)
    assert difference(other, other, higher_is_better=True).p == 1
    undefined = Bootstrapped(1.0, np.r_[np.full(60, np.nan), np.ones(39)])
    found = difference(undefined, other, higher_is_better=True)
    assert np.isnan([found.low, found.p]).all()


def test_arms_with_other_draws_are_refused() -> None:
    with pytest.raises(AnalysisError, match="they have 3 and 4"):
        difference(Bootstrapped(0, np.zeros(3)), Bootstrapped(0, np.zeros(4)), higher_is_better=True)


def test_fold_scores_equal_a_loop_and_are_nan_where_undefined() -> None:
    y, a, _, _ = arms(20)
    tests = [np.arange(0, 7), np.arange(7, 14), np.arange(14, 19), np.array([19]), np.array([], dtype=int)]
    found = fold_scores(CONTINUOUS, y, [a[rows] for rows in tests], tests)
    np.testing.assert_allclose(found["mae"][:4], [mean_absolute_error(y[rows], a[rows]) for rows in tests[:4]])
    assert np.isnan(found["mae"][4])
    assert np.isnan(found["r"][3:]).all()
    assert np.isfinite(found["r"][:3]).all()
    classes = np.array([0, 1, 1, 1])
    p = np.array([0.2, 0.7, 0.6, 0.4])
    split = [np.array([0, 1]), np.array([2, 3])]
    of_classes = fold_scores(BINARY, classes, [np.column_stack([1 - p, p])[rows] for rows in split], split)
    np.testing.assert_array_equal(of_classes["auc"], [1.0, np.nan])


def test_corrected_t_is_wider_than_the_plain_one() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 20)) + np.array([[0.5], [0.0]])
    plain = stats.ttest_rel(a, b)
    same = corrected_t(a, b, n_train=90, n_test=0)
    assert (same.t, same.df, same.p) == pytest.approx((plain.statistic, 19, plain.pvalue))
    wide = corrected_t(a, b, n_train=90, n_test=10)
    assert wide.t == pytest.approx(plain.statistic / np.sqrt(1 + 20 / 9))
    with_gap = corrected_t(np.r_[a, np.nan], np.r_[b, 1.0], n_train=90, n_test=10)
    assert with_gap == wide


def test_corrected_t_without_variation_is_undefined() -> None:
    assert np.isnan(corrected_t([1.0, 2.0], [0.0, 1.0], n_train=9, n_test=1).p)
    assert np.isnan(corrected_t([1.0], [0.0], n_train=9, n_test=1).t)
    assert corrected_t([], [], n_train=9, n_test=1).df == 0


def test_level_of_the_corrected_t_where_the_plain_one_fails() -> None:
    """Two predictors of pure noise, ten times ten folds: the plain t-test rejects far too often."""
    rng = np.random.default_rng(0)
    n, n_runs, rejected, plainly = 60, 150, 0, 0
    for _ in range(n_runs):
        y, x = rng.standard_normal(n), rng.standard_normal((2, n))
        scores: list[list[float]] = [[], []]
        for _ in range(10):
            fold = rng.permutation(n) % 10
            for k in range(10):
                train, test = fold != k, fold == k
                for arm in (0, 1):
                    slope, intercept = np.polyfit(x[arm, train], y[train], 1)
                    scores[arm].append(float(np.mean((y[test] - slope * x[arm, test] - intercept) ** 2)))
        rejected += corrected_t(*scores, n_train=54, n_test=6).p < 0.05
        plainly += stats.ttest_rel(*scores).pvalue < 0.05
    assert rejected / n_runs < 0.09
    assert plainly / n_runs > 0.2


def slow_delong(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Difference and its standard error by structural components, pair by pair."""
    components = []
    for score in (a, b):
        wins = np.array([[(p > q) + 0.5 * (p == q) for q in score[~y]] for p in score[y]])
        components.append((wins.mean(axis=1), wins.mean(axis=0)))
    (a10, a01), (b10, b01) = components
    covariance = np.cov(a10, b10) / y.sum() + np.cov(a01, b01) / (~y).sum()
    return a10.mean() - b10.mean(), np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_delong_equals_structural_components(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.random(40) < 0.35
    a, b = (y + rng.standard_normal((2, 40))).round(1)  # rounded: ties
    found = delong(y, a, b, groups=np.arange(40))
    assert (found.difference, found.se) == pytest.approx(slow_delong(y, a, b))
    assert found.difference == pytest.approx(roc_auc_score(y, a) - roc_auc_score(y, b))
    assert found.z == pytest.approx(found.difference / found.se)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.z)))


def test_delong_is_undefined_without_variation_or_people() -> None:
    y, a = np.array([True, True, False, False]), np.array([0.5, 0.7, 0.6, 0.1])
    same = delong(y, a, a**2, groups=np.arange(4))
    assert (same.difference, same.se) == (0, 0)
    assert np.isnan([same.z, same.p]).all()
    assert np.isnan(delong(y[1:], a[1:], a[1:], groups=np.arange(3)).difference)


def test_delong_of_several_rows_per_person_is_refused() -> None:
    with pytest.raises(AnalysisError, match="3 people have 4 rows"):
        delong([0, 1, 0, 1], np.zeros(4), np.zeros(4), groups=np.array(list("aabc")))


def test_cohens_d_equals_one_sample_t_and_averages_people() -> None:
    y, a, b, groups = arms()
    gained = np.abs(y - b) - np.abs(y - a)
    assert cohens_d_paired(y, a, b, groups) == pytest.approx(stats.ttest_1samp(gained, 0).statistic / np.sqrt(80))
    assert cohens_d_paired(y, b, a, groups) == pytest.approx(-cohens_d_paired(y, a, b, groups))
    many = np.sqrt(np.arange(80)).astype(int)  # people of 1, 3, 5 ... rows
    means = np.array([gained[many == one].mean() for one in range(9)])
    assert cohens_d_paired(y, a, b, many) == pytest.approx(means.mean() / means.std(ddof=1))
    halves = np.where(np.arange(80) < 40, [a, np.full(80, np.nan)], [np.full(80, np.nan), a])  # two repeats
    assert cohens_d_paired(y, halves, np.where(np.isnan(halves), np.nan, b), groups) == pytest.approx(
        cohens_d_paired(y, a, b, groups)
    )
    assert np.isnan(cohens_d_paired(y, a, a, groups))
