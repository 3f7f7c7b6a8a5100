from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.heads import components, elastic_logistic
from featx.analysis.heads.components import LEAST, ComponentsElasticNet, ComponentsElasticNetLogistic

NUMBERS, RATIOS = (2, 6, 50), (0.3, 0.9)


def data(n: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((n, 8)) @ rng.standard_normal((8, p)) + rng.standard_normal((n, p))
    return X, 40 + 2 * X[:, 0] - X[:, 1] + rng.standard_normal(n)


def scores_of(X: np.ndarray, y: np.ndarray, train: np.ndarray, k: int) -> np.ndarray:
    """Of all rows, those k components of the training rows that correlate most with the target, as told in words."""
    scaler = StandardScaler().fit(X[train])
    Z = scaler.transform(X) / np.sqrt(X.shape[1])
    pca = PCA(min(len(train) - 1, X.shape[1])).fit(Z[train])
    T = pca.transform(Z)
    size = [abs(np.corrcoef(one, y[train])[0, 1]) for one in T[train].T]
    return T[:, np.argsort(size)[::-1][:k]]


@pytest.mark.parametrize("n, p", [(60, 12), (40, 150)])
def test_errors_and_choice_are_those_of_scikit_learns_parts(n: int, p: int) -> None:
    X, y = data(n, p)
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    ours = ComponentsElasticNet(NUMBERS, RATIOS, 4, cv=folds).fit(X, y)
    everybody = np.arange(n)
    T = scores_of(X, y, everybody, p)
    most = np.abs(T.T @ (y - y.mean())).max() / n
    expected = np.empty((3, 2, 4))
    for place, k in enumerate(NUMBERS):
        for at, ratio in enumerate(RATIOS):
            for which, alpha in enumerate(most / ratio * np.geomspace(1, LEAST, 4)):
                plain = ElasticNet(alpha=alpha, l1_ratio=ratio, tol=1e-12, max_iter=100_000)
                expected[place, at, which] = np.mean(
                    [
                        ((y[b] - plain.fit((own := scores_of(X, y, a, k))[a], y[a]).predict(own[b])) ** 2).mean()
                        for a, b in folds
                    ]
                )
    np.testing.assert_allclose(ours.errors_, expected, rtol=1e-6)
    own = scores_of(X, y, everybody, ours.n_components_)
    plain.set_params(alpha=ours.alpha_, l1_ratio=ours.l1_ratio_).fit(own, y)
    np.testing.assert_allclose(ours.predict(X), plain.predict(own), atol=1e-6)


@pytest.mark.parametrize("n, p", [(90, 8), (50, 120)])
def test_what_is_chosen_of_two_classes_is_scikit_learns(n: int, p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic_logistic, "VIOLATION", 1e-5)
    monkeypatch.setattr(components, "LEAST", 0.1)  # saga would need too long for weak penalties
    X, signal = data(n, p)
    y = (signal > 40).astype(int)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    ours = ComponentsElasticNetLogistic(NUMBERS, (0.5,), 3, cv=folds).fit(X, y)
    Z = scores_of(X, y, np.arange(n), ours.n_components_)
    theirs = LogisticRegression(C=ours.C_, l1_ratio=0.5, solver="saga", tol=1e-8, max_iter=50_000, random_state=0)
    if "penalty" in theirs.get_params() and theirs.get_params()["penalty"] == "l2":
        theirs.set_params(penalty="elasticnet")
    np.testing.assert_allclose(ours.predict_proba(X), theirs.fit(Z, y).predict_proba(Z), atol=1e-4)
    assert ours.losses_.shape == (3, 1, 3)
    assert ours.converged_


def test_an_inner_fold_without_penalty_to_speak_of_gives_the_loss_of_its_own_fit() -> None:
    X, signal = data(50, 120)
    y = (signal > 40).astype(int)
    ((a, b),) = folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))[:1]
    ours = ComponentsElasticNetLogistic((3,), (0.5,), 2, cv=folds).fit(X, y)
    Z = scores_of(X, y, a, 3)
    share = LogisticRegression(C=np.inf, tol=1e-10).fit(Z[a], y[a]).predict_proba(Z[b])[np.arange(len(b)), y[b]]
    assert ours.losses_[0, 0, 1] == pytest.approx(-np.log(share).mean(), rel=5e-3)
    assert ours.losses_[0, 0, 0] == pytest.approx(np.log(2), abs=0.02)  # no component: as many of each


@pytest.mark.parametrize("p", [8, 100])
def test_components_are_of_what_confounds_leave(p: int) -> None:
    """Free columns are fitted beside: the head is that of numbers and columns from which they were regressed."""
    X, y = data(60, p)
    C = np.random.default_rng(5).standard_normal((60, 1))
    y, X = y + 3 * C[:, 0], X + C
    both = np.hstack([C, X])
    head = ComponentsElasticNet((5,), (0.5,), 3, cv=3, prepare=Prepare(n_confounds=1, confounds="added")).fit(both, y)
    D = np.hstack([np.ones((60, 1)), C])
    take = D @ np.linalg.lstsq(D, np.column_stack([StandardScaler().fit_transform(X), y]), rcond=None)[0]
    R = (StandardScaler().fit_transform(X) - take[:, :-1]) / np.sqrt(p)
    left = y - take[:, -1]
    T = R @ np.linalg.svd(R, full_matrices=False)[2][: 58 if p > 60 else p].T
    T = T[:, np.argsort(-np.abs(T.T @ left) / np.linalg.norm(T, axis=0))[:5]]
    plain = ElasticNet(alpha=head.alpha_, l1_ratio=0.5, fit_intercept=False, tol=1e-12).fit(T, left)
    np.testing.assert_allclose(head.predict(both), take[:, -1] + plain.predict(T), atol=1e-6)


def test_balanced_classes_count_alike() -> None:
    X, signal = data(120, 10)
    y = (signal > np.quantile(signal, 0.8)).astype(int)
    plain, balanced = (
        ComponentsElasticNetLogistic(cv=3, class_weight=word).fit(X, y).predict_proba(X)[:, 1].mean()
        for word in (None, "balanced")
    )
    assert plain == pytest.approx(0.2, abs=0.01)
    assert balanced > 0.25


def test_wide_separable_data_converge() -> None:
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((50, 3)) @ rng.standard_normal((3, 1000))).astype(np.float32)
    X += 0.1 * rng.standard_normal(X.shape).astype(np.float32)
    head = ComponentsElasticNetLogistic(cv=3).fit(X, X[:, 0] > 0)
    assert head.converged_
    assert (head.predict(X) == (X[:, 0] > 0)).mean() > 0.9
    assert head.coef_.shape == (1, 1000)


def test_where_there_is_nothing_but_confounds_these_are_fitted() -> None:
    """And columns that do not vary are none."""
    rng = np.random.default_rng(0)
    C = rng.standard_normal((60, 2))
    y = 3 * C[:, 0] + 7 + rng.standard_normal(60)
    prepare = Prepare(n_confounds=2, confounds="added")
    plain = np.linalg.lstsq(np.column_stack([np.ones(60), C]), y, rcond=None)[0]
    for X in (C, np.hstack([C, np.full((60, 5), 2.0)])):
        head = ComponentsElasticNet(cv=3, prepare=prepare).fit(X, y)
        np.testing.assert_allclose(head.predict(X), plain[0] + C @ plain[1:], atol=1e-8)
        both = ComponentsElasticNetLogistic(cv=3, prepare=prepare).fit(X, y > 7)
        theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(C, y > 7)
        np.testing.assert_allclose(both.predict_proba(X), theirs.predict_proba(C), atol=1e-4)
