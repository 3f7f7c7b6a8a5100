from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.analysis.heads.logistic import PENALTIES, LogisticPath, class_weights, probabilities, solve_path


def data(p: int, n_classes: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    X = rng.standard_normal((n, p)) * np.exp(rng.standard_normal(p)) + 3
    X[:, -1] = 2.5
    score = (X[:, 0] - 3) / X[:, 0].std() + 0.5 * rng.standard_normal(n)
    edges = np.quantile(score, np.arange(1, n_classes) / n_classes)
    return X, np.array(list("cabd"))[np.digitize(score, edges)]


@pytest.mark.parametrize("n, p", [(300, 20), (60, 6), (40, 200)])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_whole_path_is_scikit_learns(n: int, p: int, n_classes: int, balanced: bool) -> None:
    X, names = data(p, n_classes, n)
    y = np.unique(names[np.argsort(names != names[0])], return_inverse=True)[1]
    y[: n // 8] = 0  # unequal classes
    R = StandardScaler().fit_transform(X)[:, :-1]
    weights = class_weights(y)[y] if balanced else None
    solved = solve_path(R, y, np.array(PENALTIES), weights=weights)
    assert all(solved.converged)
    for penalty, (coef, intercept) in zip(PENALTIES[::3], solved.path[::3], strict=True):
        theirs = LogisticRegression(
            C=1 / penalty,
            solver="newton-cholesky",
            tol=1e-12,
            max_iter=1000,
            class_weight="balanced" if balanced else None,
        ).fit(R, y)
        np.testing.assert_allclose(probabilities(R, coef, intercept), theirs.predict_proba(R), atol=1e-6)


@pytest.mark.parametrize("p", [6, 200])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_choice_is_a_slow_loops(p: int, n_classes: int) -> None:
    X, y = data(p, n_classes)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    penalties = np.logspace(2, -2, 5)
    ours = LogisticPath(penalties, cv=folds).fit(X, y)
    expected = []
    for C in ours.Cs_:
        plain = make_pipeline(StandardScaler(), LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10))
        losses = [log_loss(y[b], plain.fit(X[a], y[a]).predict_proba(X[b])) for a, b in folds]
        expected.append(np.mean(losses))
    np.testing.assert_allclose(ours.losses_, expected, rtol=1e-5)
    assert ours.Cs_[np.argmin(expected)] == ours.C_
    plain.set_params(logisticregression__C=ours.C_).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), plain.predict_proba(X), atol=1e-6)
    own = plain["logisticregression"].coef_ / plain["standardscaler"].scale_
    np.testing.assert_allclose(ours.coef_, own, atol=1e-5 * np.abs(own).max())
    assert ours.classes_.tolist() == plain.classes_.tolist()
    assert (ours.coef_[:, -1] == 0).all()
    assert ours.converged_


@pytest.mark.parametrize("n_classes", [2, 3])
def test_free_columns_and_weights_are_a_plain_minimisers(n_classes: int) -> None:
    rng = np.random.default_rng(0)
    R = rng.standard_normal((50, 5))
    R -= R.mean(axis=0)
    y = rng.integers(0, n_classes, 50)
    weights = rng.uniform(0.5, 2, 50)
    k = 1 if n_classes == 2 else n_classes

    def loss(flat: np.ndarray) -> float:
        B = flat.reshape(6, k)
        p = probabilities(R, B[1:].T, B[0])
        return float(-weights @ np.log(p[np.arange(50), y]) + 0.5 * 3.0 * (B[3:] ** 2).sum())

    best = minimize(loss, np.zeros(6 * k), method="BFGS", options={"gtol": 1e-7, "maxiter": 2000}).x.reshape(6, k)
    [(coef, intercept)] = solve_path(R, y, np.array([3.0]), n_free=2, weights=weights).path
    np.testing.assert_allclose(probabilities(R, coef, intercept), probabilities(R, best[1:].T, best[0]), atol=1e-5)


def test_wide_separable_data_converge() -> None:
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((50, 3)) @ rng.standard_normal((3, 3000))).astype(np.float32)  # rank 3
    X += 0.01 * rng.standard_normal(X.shape).astype(np.float32)
    head = LogisticPath(cv=4).fit(X, X[:, 0] > 0)
    assert head.converged_
    assert (head.predict(X) == (X[:, 0] > 0)).mean() > 0.9


def test_balanced_losses_weigh_validation_rows_too() -> None:
    X, y = data(6, 2, 80)
    y[:20] = "c"
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    ours = LogisticPath([1.0, 0.1], cv=folds, class_weight="balanced").fit(X, y)
    expected = []
    for C in ours.Cs_:
        plain = make_pipeline(StandardScaler(), LogisticRegression(C=C, class_weight="balanced", tol=1e-10))
        losses = []
        for a, b in folds:
            share = {level: 1 / (y[a] == level).sum() for level in np.unique(y)}
            given = plain.fit(X[a], y[a]).predict_proba(X[b])
            losses.append(log_loss(y[b], given, sample_weight=[share[one] for one in y[b]]))
        expected.append(np.mean(losses))
    np.testing.assert_allclose(ours.losses_, expected, rtol=1e-5)
