from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import norm
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from featx.analysis.heads import softbins
from featx.analysis.heads.softbins import SoftBins, bin_centres, bin_width, decode, soft_labels


def ages(n: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    return X, 60 + 8 * X[:, 0] + 2 * rng.standard_normal(n)


def test_labels_are_a_gaussians_mass() -> None:
    y = np.array([42.0, 55.3, 82.0])
    centres = bin_centres(y, 1.0)
    expected = np.array([[norm.cdf(c + 0.5, v) - norm.cdf(c - 0.5, v) for c in centres] for v in y])
    labels = soft_labels(y, centres, 1.0)
    np.testing.assert_allclose(labels, expected / expected.sum(axis=1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=3e-3)
    np.testing.assert_allclose(labels @ centres, y, atol=0.02)


@pytest.mark.parametrize("spread", [1e-6, 0.7, 39.0, 12345.0])
def test_bins_cover_the_values_and_are_about_forty(spread: float) -> None:
    y = 100 + spread * np.random.default_rng(0).uniform(0, 1, 500)
    width = bin_width(y)
    centres = bin_centres(y, width)
    assert centres[0] - width / 2 <= y.min() - 3 * width
    assert centres[-1] + width / 2 >= y.max() + 3 * width
    assert 20 <= len(centres) <= 50


def test_equal_values_have_bins_too() -> None:
    y = np.full(5, 60.0)
    width = bin_width(y)
    centres = bin_centres(y, width)
    assert width > 0
    np.testing.assert_allclose(soft_labels(y, centres, width) @ centres, 60, rtol=1e-9)


def test_a_fit_is_a_plain_minimisers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softbins, "TOLERANCE", 1e-9)
    X, y = ages(40, 2)
    head = SoftBins([0.5], cv=[(np.arange(40), np.arange(40))]).fit(X, y)
    Z = StandardScaler().fit_transform(X)
    labels = soft_labels(y, head.centres_, head.width_)
    k = len(head.centres_)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        B = flat.reshape(3, k)
        logs = log_softmax(Z @ B[1:] + B[0], axis=1)
        slope = np.exp(logs) - labels
        gradient = np.concatenate([slope.sum(axis=0, keepdims=True), Z.T @ slope + 2 * 0.5 * B[1:]])
        return float(-(labels * logs).sum() + 0.5 * 2 * 0.5 * (B[1:] ** 2).sum()), gradient.ravel()

    options = {"maxiter": 20_000, "maxfun": 40_000, "gtol": 1e-8, "ftol": 1e-15}
    best = minimize(loss, np.zeros(3 * k), jac=True, method="L-BFGS-B", options=options).x.reshape(3, k)
    expected = decode(Z, best[1:].T, best[0], head.centres_)
    np.testing.assert_allclose(head.predict(X), expected, atol=1e-3)


@pytest.mark.parametrize("p", [4, 100])
def test_ages_are_read_back(p: int) -> None:
    X, y = ages(160, p)
    folds = list(KFold(3, shuffle=True, random_state=0).split(X[:120]))
    head = SoftBins(cv=folds).fit(X[:120], y[:120])
    assert head.converged_
    error = np.abs(head.predict(X[120:]) - y[120:]).mean()
    assert error < (0.5 if p == 4 else 0.9) * np.abs(y[120:] - y[:120].mean()).mean()
    assert head.coef_.shape == (len(head.centres_), p)


def test_the_default_tolerance_is_tight_enough_for_a_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = ages(100, 5)
    loose = SoftBins([0.1], cv=3).fit(X, y).predict(X)
    monkeypatch.setattr(softbins, "TOLERANCE", 1e-8)
    tight = SoftBins([0.1], cv=3).fit(X, y).predict(X)
    np.testing.assert_allclose(loose, tight, atol=0.02)  # years
