from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.analysis.ridge import RidgePath, default_alphas
from featx.analysis.scaling import fit_scale


def data(shape: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    n, p = {"tall": (90, 12), "wide": (40, 150), "square": (32, 32)}.get(shape, (50, 20))
    X = rng.standard_normal((n, p)) * np.exp(rng.standard_normal(p)) + 5 * rng.standard_normal(p)
    if shape == "constant":
        X[:, 3], X[:, 4] = 0.1, 1e6
    if shape == "duplicated":
        X[:, 5] = X[:, 6]
    y = X[:, :3] @ rng.standard_normal(3) + 2 * rng.standard_normal(n) + 40
    return (X.astype(np.float32) if shape == "float32" else X), y


@pytest.mark.parametrize("shape", ["tall", "wide", "square", "constant", "duplicated", "float32"])
def test_equals_scikit_learn_on_the_same_folds(shape: str) -> None:
    X, y = data(shape)
    folds = list(KFold(5, shuffle=True, random_state=0).split(X))
    alphas = default_alphas(X.shape[1])
    ours = RidgePath(cv=folds).fit(X, y)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": alphas}, cv=folds, scoring="neg_mean_squared_error"
    ).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(ours.errors_, -search.cv_results_["mean_test_score"], rtol=1e-6)
    assert ours.alpha_ == search.best_params_["ridge__alpha"]
    np.testing.assert_allclose(ours.predict(X), search.predict(X.astype(np.float64)), rtol=1e-6)
    best = search.best_estimator_
    np.testing.assert_allclose(ours.coef_, best["ridge"].coef_ / best["standardscaler"].scale_, rtol=1e-6, atol=1e-9)


def test_constant_columns_count_for_nothing_even_where_they_change() -> None:
    X, y = data("constant")
    head = RidgePath(cv=5).fit(X, y)
    assert head.coef_[3] == head.coef_[4] == 0
    changed = X.copy()
    changed[:, 3:5] = 7
    assert (head.predict(changed) == head.predict(X) - 0).all()


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, -3e-7])
def test_columns_of_one_value_are_constant(value: float) -> None:
    assert not fit_scale(np.full((37, 1), value)).varies[0]
    assert fit_scale(np.r_[np.full(36, value), value * 1.001][:, None]).varies[0]


def test_penalties_can_be_given() -> None:
    X, y = data("tall")
    assert RidgePath(alphas=[7.0], cv=3).fit(X, y).alpha_ == 7.0


def test_a_float32_column_that_varies_by_rounding_alone_is_constant():
    """A unit of a network that sees background only: in units of its rounding a new brain is far away."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5)).astype(np.float32)
    X[:, 3] = 4.4e-4 * (1 + 3e-6 * rng.normal(size=60))
    y = X[:, 0] + 0.1 * rng.normal(size=60)
    new = X[:1].copy()
    new[0, 3] = 4.5e-4
    head = RidgePath().fit(X, y)
    assert head.coef_[3] == 0
    np.testing.assert_array_equal(head.predict(new), head.predict(X[:1]))
    assert RidgePath().fit(X.astype(np.float64), y).coef_[3] != 0
