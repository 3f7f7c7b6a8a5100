from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, KINDS, MULTICLASS
from featx.analysis.inference import scores
from featx.analysis.inference.scores import METRICS, score, score_baseline
from featx.errors import AnalysisError


def plain(metric: str, y: np.ndarray, predicted: np.ndarray) -> float:
    """What scikit-learn says of rows that are there as often as they were drawn."""
    if predicted.ndim == 1:
        return {
            "mae": lambda: metrics.mean_absolute_error(y, predicted),
            "rmse": lambda: metrics.root_mean_squared_error(y, predicted),
            "r": lambda: np.corrcoef(y, predicted)[0, 1],
            "r2": lambda: metrics.r2_score(y, predicted),
        }[metric]()
    binary = predicted.shape[1] == 2
    labels = range(predicted.shape[1])
    return {
        "auc": lambda: metrics.roc_auc_score(y, predicted[:, 1] if binary else predicted, multi_class="ovr"),
        "balanced_accuracy": lambda: metrics.balanced_accuracy_score(y, predicted.argmax(axis=1)),
        "accuracy": lambda: metrics.accuracy_score(y, predicted.argmax(axis=1)),
        "log_loss": lambda: metrics.log_loss(y, predicted, labels=labels),
    }[metric]()


def example(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n = 60
    groups = np.array([f"sub-{at}" for at in rng.integers(0, 35, n)], dtype=object)
    if kind == CONTINUOUS:
        y = 40 + 10 * rng.standard_normal(n)
        return y, y + 5 * rng.standard_normal(n), groups
    k = 2 if kind == BINARY else 3
    y = rng.integers(0, k, n)
    probabilities = np.eye(k)[y] + rng.random((n, k)).round(1) + 0.1  # rounded: ties
    return y, probabilities / probabilities.sum(axis=1, keepdims=True), groups


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_intervals_equal_a_slow_loop(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "CHUNK", 60 * 13)  # several chunks, the last one smaller
    y, predicted, groups = example(kind)
    n_bootstrap = 60
    found = score(kind, y, predicted, groups, n_bootstrap=n_bootstrap, random_state=3)
    assert [one.metric for one in found] == [name for name, one in METRICS.items() if kind in one.kinds]
    people, person = np.unique(groups.astype(str), return_inverse=True)
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(n_bootstrap):
        counts = rng.multinomial(len(people), np.full(len(people), 1 / len(people)))
        drawn.append(np.repeat(np.arange(len(y)), counts[person]))
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
