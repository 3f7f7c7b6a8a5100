from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.cohort.targets import BINARY, CONTINUOUS, ORDINAL
from featx.analysis.crossval import (
    ADDED,
    BOTH,
    FEATURES,
    IGNORED,
    ONLY,
    TARGET,
    Data,
    Task,
    Treatment,
    assemble,
    cross_validate,
    cross_validate_many,
    inner_predictions,
    predict_baseline,
)
from featx.analysis.folds.splits import Design, Folding, make_design
from featx.analysis.heads import ALONE, HEADS, applies, make_head
from tests.scoring import score

NO_CONFOUNDS = np.empty((40, 0))


def people(n: int) -> np.ndarray:
    return np.array([f"sub-{at:03d}" for at in range(n)], dtype=object)


def design_of(y: np.ndarray, kind: str = CONTINUOUS, groups: np.ndarray | None = None, n_splits: int = 4) -> Design:
    groups = people(len(y)) if groups is None else groups
    return make_design(y, groups, Folding(n_splits=n_splits, n_inner=3), kind=kind)


def predicted(data: Data, y: np.ndarray, design: Design, task: Task, n_jobs: int = 1) -> np.ndarray:
    answers = cross_validate(data, y, design.splits, task, n_jobs=n_jobs)
    return assemble(design, [one.predicted for one in answers])[0]


def test_every_row_is_predicted_by_a_head_that_never_saw_it() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 6)).astype(np.float32), rng.standard_normal(40)
    design = design_of(y)
    found = predicted(Data(X, NO_CONFOUNDS), y, design, Task("ridge", CONTINUOUS))
    for split in design.splits:
        head = make_head("ridge", CONTINUOUS, cv=split.inner_pairs()).fit(X[split.train], y[split.train])
        np.testing.assert_allclose(found[split.test], head.predict(X[split.test]), rtol=1e-9)
    (last,) = cross_validate(Data(X, NO_CONFOUNDS), y, [design.final], Task("ridge", CONTINUOUS))
    whole = make_head("ridge", CONTINUOUS, cv=design.final.inner_pairs()).fit(X, y)
    assert last.kept is not None
    np.testing.assert_allclose(last.kept.arrays["coef"], whole.coef_, rtol=1e-9)


def test_all_targets_at_once_are_each_by_itself() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((40, 6)).astype(np.float32), rng.standard_normal((40, 3))
    Y[rng.random(40) < 0.2, 1] = np.nan
    design = design_of(Y[:, 0])
    many = cross_validate_many(Data(X, NO_CONFOUNDS), Y, design.splits, Task("ridge", CONTINUOUS))
    for at in (0, 2):
        alone = cross_validate(Data(X, NO_CONFOUNDS), Y[:, at], design.splits, Task("ridge", CONTINUOUS))
        for a, b in zip(many[at], alone, strict=True):
            np.testing.assert_allclose(a.predicted, b.predicted, rtol=1e-9)
    assert all(np.isfinite(one.predicted).all() for one in many[1])


TREATMENTS = [
    Treatment(confounds=mode, pca=pca) for mode in (IGNORED, ONLY, ADDED, FEATURES, TARGET, BOTH) for pca in (None, 4)
]


@pytest.mark.parametrize("treatment", TREATMENTS, ids=lambda one: f"{one.confounds}-{one.pca}")
@pytest.mark.parametrize("name", ["ridge", "logistic", "boosting"])
def test_test_rows_change_nothing_in_their_fold(name: str, treatment: Treatment) -> None:
    """Neither their features, nor their confounds, nor their target: everything is fitted on training rows."""
    kind = CONTINUOUS if applies(name, CONTINUOUS) else BINARY
    if kind == BINARY and treatment.confounds in (TARGET, BOTH):
        return  # confounds are removed from numbers only
    rng = np.random.default_rng(0)
    X, C = rng.standard_normal((40, 8)).astype(np.float32), rng.standard_normal((40, 2))
    signal = X[:, 0] + C[:, 0]
    y = signal.astype(np.float64) if kind == CONTINUOUS else (signal > 0).astype(np.int64)
    design = design_of(y, kind)
    test = design.splits[0].test
    X2, C2, y2 = X.copy(), C.copy(), y.copy()
    X2[test[0]], C2[test[0]] = 1e3, -1e3
    y2[test[0]] = 1 - y2[test[0]] if kind == BINARY else 1e4
    task = Task(name, kind, treatment)
    before = predicted(Data(X, C), y, design, task)
    after = predicted(Data(X2, C2), y2, design, task)
    np.testing.assert_array_equal(before[test[1:]], after[test[1:]])
    rest = design.fold[0] != 0
    assert (before[rest] != after[rest]).any()  # there it trains


@pytest.mark.parametrize("name", [name for name, one in HEADS.items() if one.wants != ALONE])
def test_every_head_runs_with_confounds_and_components(name: str) -> None:
    rng = np.random.default_rng(0)
    kind = next(one for one in (CONTINUOUS, ORDINAL, BINARY) if applies(name, one))
    X, C = rng.standard_normal((60, 8)).astype(np.float32), rng.standard_normal((60, 2))
    signal = 2 * X[:, 0] + C[:, 0]
    y = {
        CONTINUOUS: 50 + 10 * signal,
        ORDINAL: np.digitize(signal, [-1.0, 1.0]).astype(np.float64),
        BINARY: (signal > 0).astype(np.int64),
    }[kind]
    design = design_of(np.asarray(y), kind)
    for confounds in (ONLY, ADDED, FEATURES):
        task = Task(name, kind, Treatment(confounds=confounds, pca=0.99))
        found = predicted(Data(X, C), np.asarray(y), design, task)
        guess = found[:, 1] if kind == BINARY else found
        if confounds != ONLY:
            assert np.corrcoef(guess, y)[0, 1] > 0.5


def test_confounds_only_are_ordinary_least_squares() -> None:
    rng = np.random.default_rng(0)
    C, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    design = design_of(y)
    found = predicted(Data(np.empty((40, 0), np.float32), C), y, design, Task("ridge", CONTINUOUS, Treatment(ONLY)))
    for split in design.splits:
        oracle = LinearRegression().fit(C[split.train], y[split.train])
        np.testing.assert_allclose(found[split.test], oracle.predict(C[split.test]), rtol=1e-9)


def test_confounds_only_are_not_penalised_by_logistic_either() -> None:
    """So that what features add to them is not what a weaker penalty adds."""
    rng = np.random.default_rng(0)
    C = rng.standard_normal((80, 2))
    y = (C[:, 0] + rng.standard_normal(80) > 0).astype(np.int64)
    design = design_of(y, BINARY)
    found = predicted(Data(np.empty((80, 0), np.float32), C), y, design, Task("logistic", BINARY, Treatment(ONLY)))
    for split in design.splits:
        oracle = LogisticRegression(C=1e10, tol=1e-10).fit(C[split.train], y[split.train])
        np.testing.assert_allclose(found[split.test], oracle.predict_proba(C[split.test]), atol=1e-4)


@pytest.mark.parametrize("mode", [IGNORED, ADDED, FEATURES])
def test_the_fast_road_is_the_slow_one(mode: str) -> None:
    """Confounds inside the Grams, against features that are prepared anew in every inner and outer fold."""
    rng = np.random.default_rng(0)
    C = rng.standard_normal((60, 2))
    X = rng.standard_normal((60, 5)) + C[:, :1]
    y = X[:, 0] + C[:, 1] + 0.1 * rng.standard_normal(60)
    design = design_of(y)
    fast = cross_validate(Data(X, C), y, design.splits, Task("ridge", CONTINUOUS, Treatment(mode)))
    for split, answer in zip(design.splits, fast, strict=True):
        words = {IGNORED: "ignore", ADDED: "added", FEATURES: "features"}
        prepare = Prepare(n_confounds=2, confounds=words[mode])
        head = make_head("ridge", CONTINUOUS, cv=split.inner_pairs(), prepare=prepare)
        both = np.column_stack([C, X])
        head.fit(both[split.train], y[split.train])
        np.testing.assert_allclose(answer.predicted, head.predict(both[split.test]), atol=1e-9)
        assert (answer.offset == 0).all()


@pytest.mark.parametrize("mode", [TARGET, BOTH])
@pytest.mark.parametrize("name", ["ridge", "boosting"])
def test_the_confounds_part_is_their_regression_on_training_people(mode: str, name: str) -> None:
    """It is 0 for a person with the training means, so that the folds' parts can be put together."""
    rng = np.random.default_rng(0)
    C = rng.standard_normal((60, 2)) + 100
    X = rng.standard_normal((60, 5)) + C[:, :1]
    y = X[:, 0] + C[:, 1] + 0.1 * rng.standard_normal(60)
    design = design_of(y)
    answers = cross_validate(Data(X, C), y, design.splits, Task(name, CONTINUOUS, Treatment(mode)))
    for split, answer in zip(design.splits, answers, strict=True):
        own = LinearRegression().fit(C[split.train], y[split.train])
        expected = (C[split.test] - C[split.train].mean(axis=0)) @ own.coef_
        np.testing.assert_allclose(answer.offset, expected, atol=1e-8)
    left = y - assemble(design, [answer.offset for answer in answers])[0]
    guess = assemble(design, [answer.predicted - answer.offset for answer in answers])[0]
    assert abs(left.mean() - guess.mean()) < 0.5  # on one scale


def test_a_confound_that_explains_all_is_removed() -> None:
    """Features and target follow from a confound alone: with it removed nothing is left, without removal a lot is."""
    rng = np.random.default_rng(0)
    C = rng.standard_normal((200, 1))
    X = (C + 0.5 * rng.standard_normal((200, 10))).astype(np.float32)
    y = C[:, 0] + 0.3 * rng.standard_normal(200)
    design = design_of(y)

    def r(mode: str) -> float:
        answers = cross_validate(Data(X, C), y, design.splits, Task("ridge", CONTINUOUS, Treatment(mode)))
        guess = assemble(design, [one.predicted - one.offset for one in answers])[0]
        left = y - assemble(design, [one.offset for one in answers])[0]
        return float(np.corrcoef(guess, left)[0, 1])

    assert r(IGNORED) > 0.8
    assert abs(r(FEATURES)) < 0.2
    assert abs(r(BOTH)) < 0.2


def test_combat_keeps_test_rows_out_and_removes_a_site() -> None:
    rng = np.random.default_rng(0)
    site = np.arange(80) % 2
    y = rng.standard_normal(80)
    X = (np.outer(y, np.ones(6)) + rng.standard_normal((80, 6)) + 5 * site[:, None]).astype(np.float32)
    design = design_of(y)
    task = Task("ridge", CONTINUOUS, Treatment(harmonise="combat"))
    found = predicted(Data(X, np.empty((80, 0)), site), y, design, task)
    assert np.corrcoef(found, y)[0, 1] > 0.85
    X2 = X.copy()
    test = design.splits[0].test
    X2[test[0]] += 100
    after = predicted(Data(X2, np.empty((80, 0)), site), y, design, task)
    np.testing.assert_array_equal(found[test[1:]], after[test[1:]])


def test_calibration_is_fitted_inside_and_helps_a_head_that_is_too_sure() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 4)).astype(np.float32)
    y = (X[:, 0] + 2 * rng.standard_normal(120) > 0).astype(np.int64)
    design = design_of(y, BINARY)
    raw = predicted(Data(X, np.empty((120, 0))), y, design, Task("boosting", BINARY))
    for method in ("platt", "isotonic"):
        task = Task("boosting", BINARY, Treatment(calibrate=method))
        found = predicted(Data(X, np.empty((120, 0))), y, design, task)
        np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
        assert np.abs(found - raw).max() > 1e-3
    changed = y.copy()
    test = design.splits[0].test
    changed[test] = 1 - changed[test]
    task = Task("logistic", BINARY, Treatment(calibrate="platt"))
    (before,) = cross_validate(Data(X, np.empty((120, 0))), y, design.splits[:1], task)
    (after,) = cross_validate(Data(X, np.empty((120, 0))), changed, design.splits[:1], task)
    np.testing.assert_array_equal(before.predicted, after.predicted)


def test_inner_predictions_are_out_of_fold() -> None:
    """A target of pure noise, learnt by heart by trees, is not predicted for the rows that are held out."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 5)).astype(np.float32), rng.standard_normal(60)
    split = design_of(y).splits[0]
    inner = inner_predictions(Data(X, np.empty((60, 0))), y, split, Task("boosting", CONTINUOUS))
    assert inner.shape == split.train.shape
    assert abs(np.corrcoef(inner, y[split.train])[0, 1]) < 0.5
    fit = make_head("boosting", CONTINUOUS, cv=split.inner_pairs()).fit(X[split.train], y[split.train])
    by_heart = np.corrcoef(fit.predict(X[split.train]), y[split.train])[0, 1]
    assert by_heart > np.corrcoef(inner, y[split.train])[0, 1] + 0.1


def test_result_is_the_same_for_every_number_of_processes() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 90)).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.int64)
    fits = []
    for name, kind, target in (("logistic", BINARY, y), ("ridge", CONTINUOUS, X[:, 1].astype(np.float64))):
        design = design_of(target, kind, n_splits=3)
        splits = (*design.splits, design.final)
        one, two = (
            cross_validate(
                Data(X, np.empty((60, 0))),
                target,
                splits,
                Task(name, kind),
                n_jobs=n,
                on_fit=lambda: fits.append(1),
            )
            for n in (1, 2)
        )
        for a, b in zip(one, two, strict=True):
            assert a.predicted.tobytes() == b.predicted.tobytes()
        assert one[-1].kept is not None
        assert two[-1].kept is not None
        assert one[-1].kept.arrays["coef"].tobytes() == two[-1].kept.arrays["coef"].tobytes()
    assert len(fits) == 2 * 2 * 4


def test_sessions_of_one_person_cannot_be_learned_by_heart() -> None:
    """Each person's three images are alike and the target is noise of the person: a leak would score high."""
    rng = np.random.default_rng(0)
    groups = np.repeat(people(40), 3)
    X = (np.repeat(rng.standard_normal((40, 60)), 3, axis=0) + 0.01 * rng.standard_normal((120, 60))).astype("f")
    y = np.repeat(rng.standard_normal(40), 3)
    design = design_of(y, groups=groups, n_splits=5)
    guess = predicted(Data(X, np.empty((120, 0))), y, design, Task("ridge", CONTINUOUS))
    found = {one.metric: one for one in score(CONTINUOUS, y, guess, groups, n_bootstrap=200)}
    assert found["r2"].value < 0.1
    assert found["r"].low < 0.1


def test_baseline_knows_the_training_rows_only() -> None:
    y = np.arange(20.0)
    design = design_of(y)
    guess = predict_baseline(y, design, kind=CONTINUOUS)[0]
    for split in design.splits:
        assert (guess[split.test] == y[split.train].mean()).all()
    classes = (np.arange(20) < 8).astype(np.int64)
    guess = predict_baseline(classes, design_of(classes, BINARY), kind=BINARY, n_classes=2)
    assert guess.shape == (1, 20, 2)
    assert guess[0, 0].tolist() == pytest.approx([9 / 15, 6 / 15])


def test_a_penalty_free_confound_is_learnt_whole_by_logistic() -> None:
    """With features that say nothing, confounds that are added give what logistic regression on them gives."""
    rng = np.random.default_rng(0)
    C = rng.standard_normal((300, 1))
    y = (C[:, 0] + 0.5 * rng.standard_normal(300) > 0).astype(np.int64)
    X = rng.standard_normal((300, 20)).astype(np.float32) * 1e-3
    design = design_of(y, BINARY)
    task = Task("logistic", BINARY, Treatment(ADDED))
    found = predicted(Data(X, C), y, design, replace(task, treatment=Treatment(ADDED)))[:, 1]
    for split in design.splits:
        oracle = LogisticRegression(C=1e6).fit(C[split.train], y[split.train]).predict_proba(C[split.test])[:, 1]
        assert np.corrcoef(found[split.test], oracle)[0, 1] > 0.97
