from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.cohort.targets import BINARY, CONTINUOUS
from featx.analysis.crossval import cross_validate, predict_baseline
from featx.analysis.heads import HEADS, applies, make_head
from featx.analysis.inference.scores import score
from featx.analysis.splits import make_design


def people(n: int) -> np.ndarray:
    return np.array([f"sub-{at:03d}" for at in range(n)], dtype=object)


def test_every_row_is_predicted_by_a_head_that_never_saw_it() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 6)).astype(np.float32), rng.standard_normal(40)
    design = make_design(y, people(40), kind=CONTINUOUS, n_splits=5)
    (fitted,) = cross_validate(X, y, design, kind=CONTINUOUS, heads=["ridge"])
    for k in range(5):
        train, test = design.rows(k)
        head = make_head("ridge", CONTINUOUS, cv=design.inner_pairs(k)).fit(X[train], y[train])
        np.testing.assert_allclose(fitted.predicted[test], head.predict(X[test]), rtol=1e-12)
    whole = make_head("ridge", CONTINUOUS, cv=design.inner_pairs(5)).fit(X, y)
    np.testing.assert_allclose(fitted.estimator.coef_, whole.coef_, rtol=1e-12)


@pytest.mark.parametrize("name", HEADS)
def test_an_extreme_test_row_changes_nothing_in_its_fold(name: str) -> None:
    """Scaling, penalties and trees are fitted on training rows only."""
    rng = np.random.default_rng(0)
    kind = CONTINUOUS if applies(name, CONTINUOUS) else BINARY
    X = rng.standard_normal((40, 50)).astype(np.float32)
    y = X[:, 0].astype(np.float64) if kind == CONTINUOUS else (X[:, 0] > 0).astype(np.int64)
    design = make_design(y, people(40), kind=kind, n_splits=4)
    test = design.rows(0)[1]
    changed = X.copy()
    changed[test[0]] = 1e6
    before, after = (cross_validate(one, y, design, kind=kind, heads=[name])[0].predicted for one in (X, changed))
    assert (before[test[1:]] == after[test[1:]]).all()
    assert (before[design.fold != 0] != after[design.fold != 0]).any()  # there it trains


def test_a_target_of_the_test_rows_changes_nothing_in_their_fold() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 6)).astype(np.float32), rng.standard_normal(40)
    design = make_design(y, people(40), kind=CONTINUOUS, n_splits=4)
    changed = y.copy()
    changed[design.fold == 0] += 1000
    before, after = (
        cross_validate(X, one, design, kind=CONTINUOUS, heads=["ridge"])[0].predicted for one in (y, changed)
    )
    assert (before[design.fold == 0] == after[design.fold == 0]).all()


def test_result_is_the_same_for_every_number_of_processes() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 90)).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.int64)
    design = make_design(y, people(60), kind=BINARY, n_splits=3, n_inner=2)
    fits = []
    one, two = (
        cross_validate(
            X, y, design, kind=BINARY, heads=["logistic", "boosting"], n_jobs=n, on_fit=lambda: fits.append(1)
        )
        for n in (1, 2)
    )
    for a, b in zip(one, two, strict=True):
        assert a.head == b.head
        assert a.predicted.tobytes() == b.predicted.tobytes()
    assert one[0].estimator.coef_.tobytes() == two[0].estimator.coef_.tobytes()
    assert len(fits) == 2 * 2 * 4


def test_sessions_of_one_person_cannot_be_learned_by_heart() -> None:
    """Each person's three images are alike and the target is noise of the person: a leak would score high."""
    rng = np.random.default_rng(0)
    groups = np.repeat(people(40), 3)
    X = (np.repeat(rng.standard_normal((40, 60)), 3, axis=0) + 0.01 * rng.standard_normal((120, 60))).astype("f")
    y = np.repeat(rng.standard_normal(40), 3)
    design = make_design(y, groups, kind=CONTINUOUS, n_splits=5)
    (fitted,) = cross_validate(X, y, design, kind=CONTINUOUS, heads=["ridge"])
    found = {one.metric: one for one in score(CONTINUOUS, y, fitted.predicted, groups, n_bootstrap=200)}
    assert found["r2"].value < 0.1
    assert found["r"].low < 0.1


def test_baseline_knows_the_training_rows_only() -> None:
    y = np.arange(20.0)
    design = make_design(y, people(20), kind=CONTINUOUS, n_splits=4)
    predicted = predict_baseline(y, design, kind=CONTINUOUS)
    for k in range(4):
        train, test = design.rows(k)
        assert (predicted[test] == y[train].mean()).all()
    classes = (np.arange(20) < 8).astype(np.int64)
    design = make_design(classes, people(20), kind=BINARY, n_splits=4)
    predicted = predict_baseline(classes, design, kind=BINARY, n_classes=2)
    assert predicted[0].tolist() == pytest.approx([9 / 15, 6 / 15])
