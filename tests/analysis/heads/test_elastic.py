from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.heads import elastic
from featx.analysis.heads.elastic import ElasticNetPath, fit_path, make_alphas, strongest, take_out


def data(n: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((n, 3)) @ rng.standard_normal((3, p)) + rng.standard_normal((n, p))
    return X, 40 + 2 * X[:, 0] - X[:, 1] + rng.standard_normal(n)


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic, "TOLERANCE", 1e-12)
    monkeypatch.setattr(elastic, "VIOLATION", 1e-9)


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("n, p", [(80, 12), (40, 150)])
def test_errors_and_choice_are_a_slow_loops(n: int, p: int) -> None:
    X, y = data(n, p)
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    ours = ElasticNetPath((0.3, 0.9), 4, cv=folds).fit(X, y)
    Z = StandardScaler().fit_transform(X)
    expected = np.empty((2, 4))
    for at, ratio in enumerate((0.3, 0.9)):
        most = np.abs(Z.T @ (y - y.mean())).max() / n / ratio
        for which, alpha in enumerate(most * np.logspace(0, -2, 4)):
            plain = make_pipeline(
                StandardScaler(), ElasticNet(alpha=alpha, l1_ratio=ratio, tol=1e-12, max_iter=100_000)
            )
            expected[at, which] = np.mean(
                [((y[b] - plain.fit(X[a], y[a]).predict(X[b])) ** 2).mean() for a, b in folds]
            )
    np.testing.assert_allclose(ours.errors_, expected, rtol=1e-5)
    plain.set_params(elasticnet__alpha=ours.alpha_, elasticnet__l1_ratio=ours.l1_ratio_).fit(X, y)
    np.testing.assert_allclose(ours.predict(X), plain.predict(X), atol=1e-5)
    assert ours.converged_
    assert 0 < (ours.coef_ != 0).sum() < p


@pytest.mark.usefixtures("tight")
@pytest.mark.parametrize("n, p", [(60, 10), (30, 100)])
def test_the_conditions_of_the_minimum_hold_with_free_columns(n: int, p: int) -> None:
    X, y = data(n, p)
    Z = StandardScaler().fit_transform(X)
    rest = take_out(Z, 2)
    residual = y - rest.nuisance @ (rest.nuisance.T @ y)
    alphas = make_alphas(strongest(rest.R, residual), 5, 0.5)
    w, _ = fit_path(rest, residual, alphas, 0.5)
    assert not w[:, 0].any()
    for alpha, own in zip(alphas, w.T, strict=True):
        coef, intercept = rest.outer(rest.nuisance.T @ y, own)
        left = y - Z @ coef - intercept
        slope = Z[:, 2:].T @ left / n - 0.5 * alpha * own
        np.testing.assert_allclose([left.sum(), *(Z[:, :2].T @ left)], 0, atol=1e-8)
        np.testing.assert_allclose(slope[own != 0], 0.5 * alpha * np.sign(own[own != 0]), atol=1e-5)
        assert (np.abs(slope[own == 0]) <= 0.5 * alpha + 1e-5).all()


def test_an_end_before_the_minimum_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic, "MOST_SWEEPS", 1)
    X, y = data(40, 20)
    assert not ElasticNetPath((0.1,), 3, cv=3).fit(X, y).converged_


def test_a_confound_that_explains_all_leaves_nothing() -> None:
    rng = np.random.default_rng(0)
    C, X = rng.standard_normal((60, 1)), rng.standard_normal((60, 8))
    y = 3 * C[:, 0] + 7
    head = ElasticNetPath(cv=3, prepare=Prepare(n_confounds=1, confounds="added")).fit(np.hstack([C, X]), y)
    np.testing.assert_allclose(head.predict(np.hstack([C, X])), y, atol=1e-8)
    np.testing.assert_allclose(head.coef_, [3] + [0] * 8, atol=1e-8)
