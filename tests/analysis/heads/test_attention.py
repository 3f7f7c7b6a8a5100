"""Attention over slices against plain loops; what of heads in general holds for it as well is in test_heads.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.cohort.targets import BINARY, CONTINUOUS
from featx.analysis.heads import (
    HeadOptions,
    attention,
    fitted_arrays,
    form_of,
    make_head,
    predict_arrays,
    predict_with,
)
from featx.analysis.heads.attending import Problem, Weights, refine, solve, value_and_slopes
from featx.analysis.heads.attention import AttentionClassifier, AttentionRegressor
from featx.analysis.ridge import RidgePath
from featx.errors import AnalysisError

Folds = list[tuple[np.ndarray, np.ndarray]]


def slices(n: int, n_slices: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n, n_slices * d): the slice of each that its first feature marks tells the signal in its second."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, n_slices, d)).astype(np.float32)
    at = rng.integers(0, n_slices, n)
    X[np.arange(n), at, 0] += 6
    signal = X[np.arange(n), at, 1].astype(np.float64)
    return X.reshape(n, -1), signal, rng.standard_normal(n)


def mean_of(X: np.ndarray, n_slices: int) -> np.ndarray:
    return X.reshape(len(X), n_slices, -1).mean(axis=1, dtype=np.float64)


def kfold(y: np.ndarray, n_splits: int = 3) -> Folds:
    maker = StratifiedKFold if y.dtype.kind == "i" else KFold
    return list(maker(n_splits, shuffle=True, random_state=0).split(np.zeros(len(y)), y))


def problem(is_class: bool, n: int = 12, n_slices: int = 3, d: int = 4) -> tuple[Problem, Weights]:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, n).astype(float) if is_class else rng.standard_normal(n)
    own = Weights(*(rng.standard_normal(size) for size in (2, d, d, n_slices)))
    return Problem(
        rng.standard_normal((n, 2)), rng.standard_normal((n, n_slices, d)), y, rng.random(n), is_class
    ), own


def flat(own: Weights) -> np.ndarray:
    return np.concatenate([own.nuisance, own.coef, own.query, own.position])


def unflat(values: np.ndarray, like: Weights) -> Weights:
    sizes = np.cumsum([len(like.nuisance), len(like.coef), len(like.query)])
    return Weights(*np.split(values, sizes))


def plain_value(one: Problem, own: Weights, penalties: tuple[float, float]) -> float:
    """By a loop over people and slices."""
    total = penalties[0] / 2 * sum(own.coef**2) + penalties[1] / 2 * (sum(own.query**2) + sum(own.position**2))
    for row, brain in enumerate(one.R):
        scores = [np.exp(brain[at] @ own.query + own.position[at]) for at in range(len(brain))]
        pooled = sum(score / sum(scores) * slice_ for score, slice_ in zip(scores, brain, strict=True))
        z = one.nuisance[row] @ own.nuisance + pooled @ own.coef
        lost = -np.log(expit(z) if one.y[row] else 1 - expit(z)) if one.is_class else (z - one.y[row]) ** 2 / 2
        total += one.weights[row] * lost
    return float(total)


# --- the numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_class", [False, True])
def test_the_value_is_that_of_a_loop_and_the_slopes_are_its_differences(is_class: bool) -> None:
    one, own = problem(is_class)
    penalties = (0.7, 0.3)
    value, slopes = value_and_slopes(one, own, penalties)
    assert value == pytest.approx(plain_value(one, own, penalties), rel=1e-12)
    at, step = flat(own), 1e-6
    for place, expected in enumerate(flat(slopes)):
        side = np.zeros(len(at))
        side[place] = step
        up, down = (plain_value(one, unflat(at + by, own), penalties) for by in (side, -side))
        assert (up - down) / (2 * step) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("is_class", [False, True])
@pytest.mark.parametrize("d", [4, 40])
def test_a_refined_point_is_a_minimum_below_its_start(is_class: bool, d: int) -> None:
    one, _ = problem(is_class, n=20, d=d)
    one = replace(one, nuisance=np.full((20, 1), 20**-0.5), weights=np.ones(20))
    ((mean, *refined),) = solve(one, [0.5], (10.0, 1.0))
    assert (mean.query == 0).all()
    values = [value_and_slopes(one, own, (0.5, 1.0))[0] for own in (mean, *refined)]
    assert values[2] < values[0]
    assert np.abs(flat(value_and_slopes(one, refined[1], (0.5, 1.0))[1])).max() < 1e-2
    again = refine(one, refined[1], (0.5, 1.0))
    assert value_and_slopes(one, again, (0.5, 1.0))[0] == pytest.approx(values[2], rel=1e-3)


def test_without_a_query_it_is_ridge_on_the_mean_of_the_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "QUERY_PENALTIES", ())
    X, signal, noise = slices(60, 4, 5)
    y = 40 + 10 * signal + noise
    head = AttentionRegressor([2.0], cv=kfold(y), n_slices=4).fit(X, y)
    long = X.reshape(-1, 5).astype(np.float64)
    Z = (X.reshape(60, 4, 5) - long.mean(axis=0)).mean(axis=1) / long.std(axis=0)
    coef = np.linalg.solve(Z.T @ (Z - Z.mean(axis=0)) + 2 * 5 * np.eye(5), Z.T @ (y - y.mean()))
    np.testing.assert_allclose(head.predict(X), y.mean() + Z @ coef, atol=1e-3)
    assert head.pooling_ == "mean of the slices"
    assert head.query_.tolist() == [0] * 5


def test_one_slice_is_ridge_or_logistic_regression() -> None:
    X, signal, noise = slices(80, 1, 6)
    y = 40 + 10 * signal + 3 * noise
    ours = AttentionRegressor([0.1], cv=kfold(y)).fit(X, y)
    ridge = RidgePath([0.1 * 6], cv=kfold(y)).fit(X, y)
    np.testing.assert_allclose(ours.predict(X), ridge.predict(X), atol=1e-3)
    sex = (signal + noise > 0).astype(np.int64)
    classes = AttentionClassifier([0.1], cv=kfold(sex)).fit(X, sex)
    Z = (X - X.mean(axis=0, dtype=np.float64)) / X.std(axis=0, dtype=np.float64)
    oracle = LogisticRegression(C=1 / (0.1 * 6), tol=1e-10).fit(Z, sex)
    np.testing.assert_allclose(classes.predict_proba(X), oracle.predict_proba(Z), atol=1e-3)


# --- what it is for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [CONTINUOUS, BINARY])
def test_it_finds_the_slice_that_tells_and_the_mean_does_not(kind: str) -> None:
    X, signal, noise = slices(200, 8, 6)
    y = 50 + 10 * signal + 2 * noise if kind == CONTINUOUS else (signal + 0.2 * noise > 0).astype(np.int64)
    train, test = kfold(y, 4)[0]
    head = make_head(kind=kind, name="attention", cv=kfold(y[train]), options=HeadOptions(n_slices=8))
    head.fit(X[train], y[train])
    plain = make_head("ridge" if kind == CONTINUOUS else "logistic", kind, cv=kfold(y[train]))
    plain.fit(mean_of(X[train], 8), y[train])
    ours = predict_with(head, kind, X[test])
    mean = predict_with(plain, kind, mean_of(X[test], 8))
    assert head.pooling_.startswith("attention")
    if kind == CONTINUOUS:
        assert ((ours - y[test]) ** 2).mean() < 0.35 * ((mean - y[test]) ** 2).mean()
    else:
        assert (ours.argmax(axis=1) == y[test]).mean() > 0.85
        assert (mean.argmax(axis=1) == y[test]).mean() < 0.8


def test_it_finds_a_place_that_no_feature_marks() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 8, 6))
    y = X[:, 5, 2] + 0.2 * rng.standard_normal(200)
    flat_X = X.reshape(200, -1)
    head = AttentionRegressor(cv=kfold(y[:150]), n_slices=8).fit(flat_X[:150], y[:150])
    assert head.position_.argmax() == 5
    assert np.corrcoef(head.predict(flat_X[150:]), y[150:])[0, 1] > 0.9


@pytest.mark.parametrize("permuted", [False, True])
def test_noise_and_permuted_targets_score_at_chance(permuted: bool) -> None:
    X, signal, noise = slices(120, 6, 5, seed=3)
    y = np.random.default_rng(3).permutation(signal) if permuted else noise
    sex = (y > 0).astype(np.int64)
    error = log_loss = 0.0
    for train, test in kfold(y, 4):
        head = AttentionRegressor(cv=kfold(y[train]), n_slices=6).fit(X[train], y[train])
        error += float(((head.predict(X[test]) - y[test]) ** 2).sum()) / len(y)
    for train, test in kfold(sex, 4):
        classes = AttentionClassifier(cv=kfold(sex[train]), n_slices=6).fit(X[train], sex[train])
        log_loss -= float(np.log(classes.predict_proba(X[test])[np.arange(len(test)), sex[test]]).sum()) / len(y)
    assert 0.93 * y.var() < error < 1.25 * y.var()
    assert 0.93 * np.log(2) < log_loss < 1.25 * np.log(2)


@pytest.mark.parametrize("kind", [CONTINUOUS, BINARY])
@pytest.mark.parametrize("confounds", [0, 2])
def test_stored_arrays_predict_what_the_head_does_also_beside_confounds(kind: str, confounds: int) -> None:
    X, signal, noise = slices(90, 4, 5)
    C = np.random.default_rng(5).standard_normal((90, confounds)) + 3
    y = signal + C.sum(axis=1) + 0.1 * noise
    y = y if kind == CONTINUOUS else (y > np.median(y)).astype(np.int64)
    prepare = Prepare(n_confounds=2, confounds="added") if confounds else None
    both = np.concatenate([C, X], axis=1)
    heads = [
        make_head("attention", kind, cv=kfold(y), prepare=prepare, options=HeadOptions(n_slices=4)).fit(both, y)
        for _ in range(2)
    ]
    arrays, again = (fitted_arrays("attention", head) for head in heads)
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in again.items()
    }
    assert arrays["coef"].shape == (confounds + 5,)
    assert (arrays["query"].shape, arrays["position"].shape) == ((5,), (4,))
    Z = heads[0].prepare_.transform(both) if confounds else both
    np.testing.assert_allclose(
        predict_arrays(form_of("attention"), kind, arrays, Z), predict_with(heads[0], kind, both), rtol=0, atol=1e-12
    )
    guess = predict_with(heads[0], kind, both)
    agrees = np.corrcoef(guess, y)[0, 1] if kind == CONTINUOUS else (guess.argmax(axis=1) == y).mean()
    assert agrees > 0.9


def test_the_penalty_and_the_pooling_are_those_of_a_slow_loop() -> None:
    X, signal, noise = slices(60, 3, 4)
    y = 10 * signal + noise
    folds = kfold(y)
    path = [10.0, 0.1]
    head = AttentionRegressor(path, cv=folds, n_slices=3).fit(X, y)
    losses = np.zeros((2, 3))
    for train, valid in folds:
        own = X[train].reshape(-1, 4).astype(np.float64)
        middle, spread = own.mean(axis=0), own.std(axis=0)
        R = (X.reshape(60, 3, 4) - middle) / spread / 2  # the root of four features
        level, unit = y[train].mean(), y[train].std()
        made = Problem(
            np.full((len(train), 1), len(train) ** -0.5),
            R[train],
            (y[train] - level) / unit,
            np.ones(len(train)),
            False,
        )
        for row, weights in enumerate(solve(made, path, (10.0, 1.0))):
            for column, found in enumerate(weights):
                scores = np.exp(R[valid] @ found.query + found.position)
                shares = scores / scores.sum(axis=1, keepdims=True)
                z = found.nuisance[0] * len(train) ** -0.5 + (
                    (shares[:, :, None] * R[valid]).sum(axis=1) @ found.coef
                )
                losses[row, column] += np.mean((level + unit * z - y[valid]) ** 2) / len(folds)
    np.testing.assert_allclose(head.losses_, losses, rtol=1e-6)
    row, column = np.unravel_index(losses.argmin(), losses.shape)
    assert head.penalty_ == path[row]
    assert (
        head.pooling_ == ["mean of the slices", "attention, query penalty 10", "attention, query penalty 1"][column]
    )


# --- refusals -------------------------------------------------------------------------------------------------


def test_rows_that_hold_no_slices_are_refused() -> None:
    X, signal, _ = slices(30, 3, 5)
    with pytest.raises(AnalysisError, match="as many features as the others; 15 columns were got for 4 slices; give"):
        AttentionRegressor(cv=3, n_slices=4).fit(X, signal)
    with pytest.raises(AnalysisError, match="every slice; components of 3 slices mix them; do without components"):
        AttentionRegressor(cv=3, n_slices=3, prepare=Prepare(pca=6)).fit(X, signal)


def test_other_than_two_classes_are_refused() -> None:
    X, signal, _ = slices(30, 3, 5)
    with pytest.raises(AnalysisError, match="two classes; the 30 training rows have 3; take another head"):
        AttentionClassifier(cv=3, n_slices=3).fit(X, np.digitize(signal, [-0.5, 0.5]))
