from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.cohort.targets import BINARY, CONTINUOUS, KINDS, MULTICLASS, ORDINAL
from featx.analysis.heads import (
    ALONE,
    CLASSES,
    HEADS,
    TREES,
    WANTS,
    HeadOptions,
    applies,
    chosen_parameters,
    fitted_arrays,
    form_of,
    get_head,
    heads_for,
    make_head,
    predict_arrays,
    predict_with,
)
from featx.errors import AnalysisError

# A head that wants slices gets one, which is the whole row; see test_attention.py, test_direct.py.
CASES = [(name, kind) for name in HEADS for kind in KINDS if applies(name, kind) and HEADS[name].wants != ALONE]
LINEAR_CASES = [(name, kind) for name, kind in CASES if form_of(name) != TREES]
LOOSE = ("elasticnet", "elasticnet-logistic", "softbins", "attention")  # whose tolerances say that they stop earlier
Folds = list[tuple[np.ndarray, np.ndarray]]


def target(kind: str, signal: np.ndarray) -> np.ndarray:
    if kind == CONTINUOUS:
        return 50 + 5 * signal
    if kind == ORDINAL:
        return 1.0 + np.digitize(signal, [-0.8, 0.0, 0.8])
    return np.digitize(signal, [0.0] if kind == BINARY else [-0.5, 0.5])


def folds_of(y: np.ndarray, kind: str, n_splits: int = 3) -> Folds:
    maker = StratifiedKFold if kind in CLASSES else KFold
    return list(maker(n_splits, shuffle=True, random_state=0).split(np.zeros(len(y)), y))


def data(kind: str, n: int = 90, p: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)).astype(np.float32)
    return X, target(kind, X[:, 0].astype(np.float64))


def with_confounds(kind: str, n: int = 90) -> tuple[np.ndarray, np.ndarray]:
    """Two confounds, one of them behind the target, and five features."""
    rng = np.random.default_rng(1)
    C, X = rng.standard_normal((n, 2)), rng.standard_normal((n, 5))
    return np.concatenate([C, X], axis=1), target(kind, C[:, 0] + X[:, 0] + 0.5 * rng.standard_normal(n))


@pytest.mark.parametrize("name, kind", CASES)
def test_every_head_learns_and_says_what_it_chose(name: str, kind: str) -> None:
    X, y = data(kind)
    (train, test), *_ = folds_of(y, kind)
    head = clone(make_head(name, kind, cv=folds_of(y[train], kind))).fit(X[train], y[train])
    predicted = predict_with(head, kind, X[test])
    assert predicted.dtype == np.float64
    if kind in CLASSES:
        assert predicted.shape == (len(test), len(np.unique(y)))
        np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-12)
        assert (predicted.argmax(axis=1) == y[test]).mean() > 0.8
    else:
        assert np.corrcoef(predicted, y[test])[0, 1] > 0.9
    assert set(chosen_parameters(name, head)) == set(HEADS[name].chosen)


@pytest.mark.parametrize("name, kind", CASES)
def test_permuted_targets_score_at_chance(name: str, kind: str) -> None:
    X, y = data(kind, n=100, p=10, seed=7)
    y = np.random.default_rng(7).permutation(y)
    error = 0.0
    for train, test in folds_of(y, kind, 4):
        head = make_head(name, kind, cv=folds_of(y[train], kind)).fit(X[train], y[train])
        out = predict_with(head, kind, X[test])
        own = -np.log(out[np.arange(len(test)), y[test]]) if kind in CLASSES else (out - y[test]) ** 2
        error += float(own.sum()) / len(y)
    chance = -sum(s * np.log(s) for s in np.bincount(y) / len(y)) if kind in CLASSES else y.var()
    assert error > 0.93 * chance


@pytest.mark.parametrize("name, kind", CASES)
@pytest.mark.parametrize("prepared", [False, True])
def test_stored_arrays_predict_what_the_head_does(name: str, kind: str, prepared: bool) -> None:
    X, y = with_confounds(kind)
    prepare = Prepare(n_confounds=2, confounds="added", pca=3) if prepared else None
    head = make_head(name, kind, cv=folds_of(y, kind), prepare=prepare).fit(X, y)
    Z = head.prepare_.transform(X) if prepared else X
    arrays = fitted_arrays(name, head)
    assert all(array.dtype in (np.float64, np.uint8) for array in arrays.values())
    restored = predict_arrays(form_of(name), kind, arrays, Z)
    np.testing.assert_allclose(restored, predict_with(head, kind, X), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name, kind", CASES)
def test_the_same_seed_gives_the_same_bytes(name: str, kind: str) -> None:
    X, y = data(kind)
    one, two = (
        make_head(name, kind, cv=folds_of(y, kind), options=HeadOptions(random_state=3)).fit(X, y) for _ in range(2)
    )
    first, second = fitted_arrays(name, one), fitted_arrays(name, two)
    assert {key: array.tobytes() for key, array in first.items()} == {
        key: array.tobytes() for key, array in second.items()
    }


@pytest.mark.parametrize("name, kind", LINEAR_CASES)
def test_free_columns_have_no_penalty(name: str, kind: str) -> None:
    """Without a penalty any other basis of the same confounds gives the same predictions; with one it does not."""
    X, y = with_confounds(kind)
    mixed = X.copy()
    mixed[:, :2] = X[:, :2] @ np.array([[1.0, 0.9], [0.0, 0.1]])
    apart = []
    for confounds, n_confounds in (("added", 2), ("ignore", 0)):
        prepare = Prepare(n_confounds=n_confounds, confounds=confounds)
        one, two = (
            predict_with(make_head(name, kind, cv=folds_of(y, kind), prepare=prepare).fit(own, y), kind, own)
            for own in (X, mixed)
        )
        apart.append(np.abs(one - two).max() / np.std(one))
    assert apart[0] < (2e-3 if name in LOOSE else 1e-5)
    assert apart[1] > 2 * apart[0]


@pytest.mark.parametrize("name, kind", LINEAR_CASES)
def test_order_of_rows_shift_of_columns_and_constant_columns_do_not_matter(name: str, kind: str) -> None:
    X, y = with_confounds(kind)
    X[:, 3] = 4.0
    folds, new = folds_of(y, kind), X + 0.1
    plain = predict_with(make_head(name, kind, cv=folds).fit(X, y), kind, new)
    order = np.random.default_rng(0).permutation(len(y))
    place = np.argsort(order)
    moved = [(place[train], place[valid]) for train, valid in folds]
    shift = np.arange(7) * 100.0
    other = make_head(name, kind, cv=moved).fit((X + shift)[order], y[order])
    new_constant = new.copy()
    new_constant[:, 3] = 1000.0
    loose = 2e-3 if name in LOOSE else 1e-6
    np.testing.assert_allclose(
        predict_with(other, kind, new_constant + shift), plain, rtol=0, atol=loose * np.ptp(plain)
    )


@pytest.mark.parametrize("name, kind", [case for case in CASES if case[0] not in ("boosting", "ridge")])
def test_missing_features_are_refused(name: str, kind: str) -> None:
    X, y = data(kind)
    head = make_head(name, kind, cv=folds_of(y, kind)).fit(X, y)
    X[3, 2] = np.nan
    with pytest.raises(AnalysisError, match="features must be finite"):
        head.predict(X)
    with pytest.raises(AnalysisError, match="features must be finite"):
        make_head(name, kind, cv=folds_of(y, kind)).fit(X, y)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_tells_its_facts(name: str) -> None:
    head = HEADS[name]
    assert all((head.title, head.pipeline, head.grid))
    assert "\n" not in head.pipeline + head.grid
    assert set(head.estimators) <= set(KINDS)
    assert {"cv", "prepare"} <= set(head.accepts)
    assert head.wants in ("", *WANTS)


def test_heads_are_listed_by_kind() -> None:
    assert heads_for(ORDINAL) == ["ridge", "elasticnet", "boosting", "cumulative-logit", "attention", "direct"]
    assert heads_for(MULTICLASS) == ["logistic", "elasticnet-logistic", "boosting"]


def test_unknown_heads_and_kinds_are_answered_with_the_known() -> None:
    with pytest.raises(AnalysisError, match="'rigde' is not; known are 'attention', .* and sklearn:module.Class"):
        get_head("rigde")
    with pytest.raises(AnalysisError, match="'rank' is not; known are 'binary'"):
        applies("ridge", "rank")
    with pytest.raises(
        AnalysisError, match="'ridge' does not suit a binary one; known are 'attention', 'boosting', "
    ):
        make_head("ridge", "binary", cv=[])


@pytest.mark.parametrize(
    "name, kind, options, says",
    [
        ("ridge", CONTINUOUS, {"device": "cuda"}, "the device 'cuda' must be .* 'ridge' cannot; .* one of boosting"),
        ("boosting", CONTINUOUS, {"device": "tpu"}, "'tpu' is not; known are 'cpu', 'cuda'"),
        ("logistic", BINARY, {"grid": {"C": [1]}}, "the grid {'C': .*'logistic' cannot; .* sklearn:module.Class"),
        ("logistic", BINARY, {"class_weight": "even"}, "class weights must be 'balanced', or left out"),
        ("sklearn:svm.SVR", CONTINUOUS, {"device": "cuda"}, "the device 'cuda' must be asked of a head that can"),
    ],
)
def test_options_that_a_head_cannot_obey_are_refused(name: str, kind: str, options: Any, says: str) -> None:
    with pytest.raises(AnalysisError, match=says):
        make_head(name, kind, cv=[], options=HeadOptions(**options))


@pytest.mark.parametrize("name", ["logistic", "elasticnet-logistic", "boosting", "attention"])
def test_class_weights_count_classes_alike(name: str) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 2)), (np.arange(200) % 10 == 0).astype(np.int64)
    cv = folds_of(y, BINARY)
    plain = make_head(name, BINARY, cv=cv).fit(X, y).predict_proba(X)[:, 1].mean()
    options = HeadOptions(class_weight="balanced")
    weighted = make_head(name, BINARY, cv=cv, options=options).fit(X, y).predict_proba(X)[:, 1].mean()
    assert plain == pytest.approx(0.1, abs=0.03)
    assert weighted == pytest.approx(0.5, abs=0.1)


def test_class_weights_say_nothing_to_numbers() -> None:
    head = make_head("boosting", CONTINUOUS, cv=[], options=HeadOptions(class_weight="balanced"))
    assert "class_weight" not in head.get_params()


@pytest.mark.parametrize("name", [one for one in heads_for(BINARY) if one != "direct"])
def test_folds_without_a_class_are_refused(name: str) -> None:
    X, y = data(BINARY)
    with pytest.raises(AnalysisError, match="2 classes were given and 1 are there"):
        make_head(name, BINARY, cv=[(np.flatnonzero(y == 0), np.flatnonzero(y == 1))]).fit(X, y)
