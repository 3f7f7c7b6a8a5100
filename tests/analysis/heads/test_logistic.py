from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.analysis.heads import logistic
from featx.analysis.heads.logistic import LogisticPath


def data(p: int, n_classes: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    X = rng.standard_normal((n, p)) * np.exp(rng.standard_normal(p)) + 3
    X[:, -1] = 2.5
    score = (X[:, 0] - 3) / X[:, 0].std() + 0.5 * rng.standard_normal(n)
    edges = np.quantile(score, np.arange(1, n_classes) / n_classes)
    return X, np.array(list("cabd"))[np.digitize(score, edges)]


@pytest.mark.parametrize("p", [6, 200])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("most_newton", [2000, 0])
def test_equals_scikit_learn_without_rotation(
    p: int, n_classes: int, most_newton: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logistic, "MOST_NEWTON", most_newton)
    X, y = data(p, n_classes)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))
    penalties = np.logspace(2, -2, 5)
    ours = LogisticPath(penalties, cv=folds).fit(X, y)
    expected = []
    for C in ours.Cs_:
        plain = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-9, max_iter=20_000))
        losses = [log_loss(y[b], plain.fit(X[a], y[a]).predict_proba(X[b])) for a, b in folds]
        expected.append(np.mean(losses))
    np.testing.assert_allclose(ours.losses_, expected, rtol=2e-3 if most_newton == 0 else 1e-4)
    plain.set_params(logisticregression__C=ours.C_).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), plain.predict_proba(X), atol=1e-3)
    own = plain["logisticregression"].coef_ / plain["standardscaler"].scale_
    np.testing.assert_allclose(ours.coef_, own, atol=2e-3 * np.abs(own).max())
    assert ours.classes_.tolist() == plain.classes_.tolist()
    assert (ours.coef_[:, -1] == 0).all()


def test_wide_separable_data_converge_without_a_warning() -> None:
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((50, 3)) @ rng.standard_normal((3, 3000))).astype(np.float32)  # rank 3
    X += 0.01 * rng.standard_normal(X.shape).astype(np.float32)
    head = LogisticPath(cv=4).fit(X, X[:, 0] > 0)
    assert (head.predict(X) == (X[:, 0] > 0)).mean() > 0.9


def test_folds_without_a_class_are_refused() -> None:
    X, y = data(6, 2)
    inside = np.flatnonzero(y == y[0])
    with pytest.raises(ValueError, match="2 classes were given and 1 are there"):
        LogisticPath(cv=[(inside, np.flatnonzero(y != y[0]))]).fit(X, y)
