from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.heads import elastic_logistic
from featx.analysis.heads.elastic_logistic import ElasticNetLogistic, State, solve_classes


def data(n: int, p: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((n, 3)) @ rng.standard_normal((3, p)) + rng.standard_normal((n, p))
    score = X[:, 0] - X[:, 1] + rng.standard_normal(n)
    return X, np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))


@pytest.mark.parametrize("n, p", [(120, 10), (40, 120)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_conditions_of_the_minimum_hold(n: int, p: int, n_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two free columns and weights; they are necessary and sufficient."""
    monkeypatch.setattr(elastic_logistic, "VIOLATION", 1e-5)
    X, y = data(n, p, n_classes)
    Z = StandardScaler().fit_transform(X)
    onehot = np.eye(n_classes)[y] if n_classes > 2 else (y[:, None] == 1).astype(np.float64)
    weights = np.random.default_rng(0).uniform(0.5, 2, n)
    k = onehot.shape[1]
    lasso, squares = 0.04, 0.02
    found = solve_classes(Z, onehot, weights, (lasso, squares), State(np.zeros((3, k)), np.zeros((p - 2, k)), True))
    assert found.converged
    z = found.outer[0] + Z @ np.concatenate([found.outer[1:], found.w])
    residual = weights[:, None] * (onehot - (expit(z) if k == 1 else softmax(z, axis=1)))
    np.testing.assert_allclose(np.column_stack([np.ones(n), Z[:, :2]]).T @ residual / n, 0, atol=1e-6)
    slope, w = Z[:, 2:].T @ residual / n - squares * found.w, found.w
    np.testing.assert_allclose(slope[w != 0], lasso * np.sign(w[w != 0]), atol=1e-6)
    assert (np.abs(slope[w == 0]) <= lasso + 1e-6).all()
    assert 0 < (w != 0).sum() < w.size


@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_is_chosen_is_scikit_learns(n_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic_logistic, "VIOLATION", 1e-4)
    X, y = data(150, 8, n_classes)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    ours = ElasticNetLogistic((0.5,), 3, cv=folds).fit(X, y)
    Z = StandardScaler().fit_transform(X)
    theirs = LogisticRegression(C=ours.C_, l1_ratio=0.5, solver="saga", tol=1e-7, max_iter=20_000, random_state=0)
    if "penalty" in theirs.get_params() and theirs.get_params()["penalty"] == "l2":
        theirs.set_params(penalty="elasticnet")
    np.testing.assert_allclose(ours.predict_proba(X), theirs.fit(Z, y).predict_proba(Z), atol=1e-4)
    assert ours.converged_


def test_the_strongest_penalty_leaves_no_column() -> None:
    X, y = data(60, 90, 3)
    head = ElasticNetLogistic((0.9,), 1, cv=3).fit(X, y)
    assert not head.coef_.any()
    np.testing.assert_allclose(head.predict_proba(X)[0], np.bincount(y) / 60, atol=1e-3)


def test_where_no_column_has_a_penalty_the_fit_is_the_plain_one_in_a_few_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with confounds only: the weakest penalty that leaves no column is 0, which is no measure of an end."""
    X, y = data(120, 4, 2)
    rounds = []
    once = elastic_logistic._round
    monkeypatch.setattr(elastic_logistic, "_round", lambda *words: rounds.append(1) or once(*words))
    prepare = Prepare(n_confounds=4, confounds="added")
    head = ElasticNetLogistic(cv=3, prepare=prepare).fit(X, y)
    assert head.converged_
    assert len(rounds) < 200
    plain = LogisticRegression(C=np.inf, tol=1e-8).fit(X, y)
    np.testing.assert_allclose(head.predict_proba(X), plain.predict_proba(X), atol=1e-4)


def test_an_end_before_the_minimum_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic_logistic, "MOST_ROUNDS", 2)
    X, y = data(60, 20, 3)
    assert not ElasticNetLogistic((0.5,), 2, cv=3).fit(X, y).converged_


def test_wide_separable_data_converge() -> None:
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((50, 3)) @ rng.standard_normal((3, 1000))).astype(np.float32)
    X += 0.1 * rng.standard_normal(X.shape).astype(np.float32)
    head = ElasticNetLogistic(cv=3).fit(X, X[:, 0] > 0)
    assert head.converged_
    assert (head.predict(X) == (X[:, 0] > 0)).mean() > 0.9
