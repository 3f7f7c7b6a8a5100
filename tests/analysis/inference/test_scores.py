from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, KINDS, MULTICLASS, ORDINAL
from featx.analysis.inference import scores
from featx.analysis.inference.metrics import METRICS, metrics_of
from featx.analysis.inference.scores import as_repeats, bootstrap, by_definition, interval
from featx.errors import AnalysisError
from tests.scoring import score, score_baseline


def plain(metric: str, y: np.ndarray, predicted: np.ndarray) -> float:
    """What scikit-learn says of rows that are there as often as they were drawn."""
    if predicted.ndim == 1:
        return {
            "mae": lambda: metrics.mean_absolute_error(y, predicted),
            "rmse": lambda: metrics.root_mean_squared_error(y, predicted),
            "r": lambda: np.corrcoef(y, predicted)[0, 1],
            "r2": lambda: metrics.r2_score(y, predicted),
            "spearman": lambda: stats.spearmanr(y, predicted).statistic,
            "kendall": lambda: stats.kendalltau(y, predicted).statistic,
        }[metric]()
    binary = predicted.shape[1] == 2
    labels = range(predicted.shape[1])
    return {
        "auc": lambda: metrics.roc_auc_score(y, predicted[:, 1] if binary else predicted, multi_class="ovr"),
        "balanced_accuracy": lambda: metrics.balanced_accuracy_score(y, predicted.argmax(axis=1)),
        "accuracy": lambda: metrics.accuracy_score(y, predicted.argmax(axis=1)),
        "log_loss": lambda: metrics.log_loss(y, predicted, labels=labels),
        "brier": lambda: ((np.eye(len(labels))[y] - predicted) ** 2).sum(axis=1).mean() / (2 if binary else 1),
    }[metric]()


def example(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n = 60
    groups = np.array([f"sub-{at}" for at in rng.integers(0, 35, n)], dtype=object)
    if kind == CONTINUOUS:
        y = 40 + 10 * rng.standard_normal(n)
        return y, y + 5 * rng.standard_normal(n), groups
    if kind == ORDINAL:
        y = rng.choice([0.0, 1.0, 2.5, 7.0], n)
        return y, (y + 3 * rng.standard_normal(n)).round(), groups  # rounded: ties
    k = 2 if kind == BINARY else 3
    y = rng.integers(0, k, n)
    probabilities = np.eye(k)[y] + rng.random((n, k)).round(1) + 0.1  # rounded: ties
    return y, probabilities / probabilities.sum(axis=1, keepdims=True), groups


def draw_rows(groups: np.ndarray, n_bootstrap: int, seed: int) -> list[np.ndarray]:
    """Rows as often as their group was drawn, by a plain loop."""
    people, person = np.unique(groups.astype(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    draws = (rng.multinomial(len(people), np.full(len(people), 1 / len(people))) for _ in range(n_bootstrap))
    return [np.repeat(np.arange(len(groups)), counts[person]) for counts in draws]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_intervals_equal_a_slow_loop(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "CHUNK", 60 * 13)  # several chunks, the last one smaller
    y, predicted, groups = example(kind)
    n_bootstrap = 60
    found = score(kind, y, predicted, groups, n_bootstrap=n_bootstrap, random_state=3)
    assert [one.metric for one in found] == [name for name, one in METRICS.items() if kind in one.kinds]
    drawn = draw_rows(groups, n_bootstrap, seed=3)
    for one in found:
        assert one.value == pytest.approx(plain(one.metric, y, predicted), rel=1e-10)
        values = [plain(one.metric, y[rows], predicted[rows]) for rows in drawn]
        assert (one.low, one.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), rel=1e-9)


def test_seed_decides_the_draws() -> None:
    y, predicted, groups = example(CONTINUOUS)
    one, same, other = (score(CONTINUOUS, y, predicted, groups, n_bootstrap=50, random_state=s) for s in (0, 0, 1))
    assert one == same
    assert one != other


def test_people_are_drawn_not_images() -> None:
    """Ten copies of each person's row leave the intervals as they are."""
    y, predicted, _ = example(CONTINUOUS)
    groups = np.arange(60).astype(object)
    single = score(CONTINUOUS, y, predicted, groups, n_bootstrap=100)
    tenfold = score(CONTINUOUS, np.repeat(y, 10), np.repeat(predicted, 10), np.repeat(groups, 10), n_bootstrap=100)
    for a, b in zip(single, tenfold, strict=True):
        assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low, a.high))


def test_predictions_that_are_not_finite_are_refused() -> None:
    y, predicted, groups = example(CONTINUOUS)
    predicted[7] = np.nan
    with pytest.raises(AnalysisError, match=f"1 of 60 are not, the first in row 7 .participant '{groups[7]}'"):
        score(CONTINUOUS, y, predicted, groups)


def test_undefined_is_nan_never_a_number() -> None:
    y = np.array([1.0, 2.0, 3.0, 4.0])
    found = {one.metric: one for one in score(CONTINUOUS, y, np.full(4, 0.1), np.arange(4).astype(object))}
    assert np.isnan([found["r"].value, found["r"].low]).all()
    assert found["mae"].value == pytest.approx(2.4)
    one_class = score(BINARY, np.zeros(4, int), np.full((4, 2), 0.5), np.arange(4).astype(object), n_bootstrap=0)
    by_name = {one.metric: one for one in one_class}
    assert np.isnan([by_name["auc"].value, by_name["balanced_accuracy"].value, by_name["accuracy"].low]).all()


def test_baseline_has_no_ranking_by_definition() -> None:
    y, predicted, groups = example(BINARY)
    found = {one.metric: one for one in score_baseline(BINARY, y, predicted, groups, n_bootstrap=20)}
    assert found["auc"].value == 0.5
    assert np.isnan([found["auc"].low, found["auc"].high]).all()
    y, predicted, groups = example(CONTINUOUS)
    found = {one.metric: one for one in score_baseline(CONTINUOUS, y, predicted, groups, n_bootstrap=20)}
    assert np.isnan(found["r"].value)
    assert found["mae"].low < found["mae"].value < found["mae"].high


def test_multiclass_is_the_mean_over_classes() -> None:
    y, predicted, groups = example(MULTICLASS)
    found = {one.metric: one.value for one in score(MULTICLASS, y, predicted, groups, n_bootstrap=0)}
    each = [metrics.roc_auc_score(y == at, predicted[:, at]) for at in range(3)]
    assert found["auc"] == pytest.approx(np.mean(each))


@pytest.mark.parametrize("kind", KINDS)
def test_repeats_are_averaged_metric_by_metric(kind: str) -> None:
    """Each repeat tests half of the rows; the value is the mean of the repeats' metrics, and so is that of a draw."""
    y, predicted, groups = example(kind)
    rng = np.random.default_rng(1)
    many = predicted + 0.01 * rng.random((3, *predicted.shape))
    if predicted.ndim == 2:
        many /= many.sum(axis=-1, keepdims=True)
    tested = rng.random((3, len(y))) < 0.7
    many[~tested] = np.nan
    found = bootstrap(kind, y, many, groups, n_bootstrap=20, random_state=3)
    drawn = draw_rows(groups, 20, seed=3)
    for metric, one in found.items():
        whole = [plain(metric, y[own], each[own]) for each, own in zip(many, tested, strict=True)]
        assert one.value == pytest.approx(np.mean(whole), rel=1e-10)
        for rows, value in zip(drawn, one.draws, strict=True):
            parts = [rows[own[rows]] for own in tested]
            each = [plain(metric, y[part], own[part]) for part, own in zip(parts, many, strict=True)]
            assert value == pytest.approx(np.mean(each), rel=1e-9)


def test_observed_may_differ_between_repeats() -> None:
    y, predicted, groups = example(CONTINUOUS)
    both = bootstrap(CONTINUOUS, np.stack([y, y + 1]), np.stack([predicted] * 2), groups, n_bootstrap=0)
    each = [bootstrap(CONTINUOUS, one, predicted, groups, n_bootstrap=0)["mae"].value for one in (y, y + 1)]
    assert both["mae"].value == pytest.approx(np.mean(each))


def test_a_draw_skips_the_repeats_that_leave_it_undefined() -> None:
    y, groups = np.array([0, 1, 0, 1]), np.array(list("abcd"))
    p = np.array([[0.1, 0.9, np.nan, np.nan], [np.nan, np.nan, 0.8, 0.2]])
    found = bootstrap(BINARY, y, np.stack([1 - p, p], axis=2), groups, n_bootstrap=200)["auc"]
    assert found.value == 0.5
    seen = set(found.draws[np.isfinite(found.draws)].tolist())
    assert seen == {0.0, 0.5, 1.0}
    assert np.isnan(found.draws).any()


def test_same_seed_and_groups_pair_the_draws_of_two_arms() -> None:
    y, predicted, groups = example(CONTINUOUS)
    a, b = (
        bootstrap(CONTINUOUS, y, one, groups, n_bootstrap=50)["mae"] for one in (predicted, y + (predicted - y) * 2)
    )
    np.testing.assert_allclose(b.draws, 2 * a.draws)


def test_ranks_ignore_scale_and_undefined_ranks_are_nan() -> None:
    y, predicted, groups = example(ORDINAL)
    found = bootstrap(ORDINAL, y, predicted, groups, n_bootstrap=30)
    other = bootstrap(ORDINAL, np.exp(y), predicted**3, groups, n_bootstrap=30)
    for metric in ("spearman", "kendall"):
        np.testing.assert_allclose(found[metric].draws, other[metric].draws, atol=1e-12)
    constant = bootstrap(ORDINAL, y, np.full(len(y), 0.1), groups, n_bootstrap=3)
    assert np.isnan([constant["spearman"].value, constant["kendall"].value]).all()


def test_a_prediction_that_is_missing_where_tested_is_refused() -> None:
    y, predicted, groups = example(BINARY)
    many = np.stack([predicted, predicted])
    many[1, 4] = np.nan
    tested = np.ones(many.shape[:2], dtype=bool)
    with pytest.raises(AnalysisError, match="1 of 120 are not, the first in row 4 of repeat 1"):
        bootstrap(BINARY, y, many, groups, tested=tested)
    many[1, 4, 0] = 0.5  # half a row is no row that was left out
    with pytest.raises(AnalysisError, match="1 of 120 are not, the first in row 4 of repeat 1"):
        bootstrap(BINARY, y, many, groups)


def test_a_repeat_that_tested_nobody_is_refused() -> None:
    y, predicted, groups = example(CONTINUOUS)
    with pytest.raises(AnalysisError, match="repeat 1 has no prediction"):
        as_repeats(CONTINUOUS, y, np.stack([predicted, np.full(len(y), np.nan)]), groups)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(AnalysisError, match="'rank' is not; known are 'binary'"):
        metrics_of("rank")


def test_interval_needs_most_draws() -> None:
    draws = np.r_[np.arange(101.0), np.full(100, np.nan)]
    assert interval(draws) == (2.5, 97.5)
    assert np.isnan(interval(draws[1:])).all()


def test_by_definition_leaves_what_a_constant_can_have() -> None:
    y, predicted, groups = example(MULTICLASS)
    found = bootstrap(MULTICLASS, y, predicted, groups, n_bootstrap=5)
    baseline = by_definition(found)
    assert baseline["auc"].draws.tolist() == [0.5] * 5
    assert baseline["brier"] is found["brier"]
