from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xgboost

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.heads.boosting import MOST_ROUNDS, BoostingClassifier, BoostingRegressor, check_device
from featx.errors import AnalysisError, DeviceError


def test_numbers_are_learned_and_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    y = np.sign(X[:, 0]) * 5 + 50
    one, two = (BoostingRegressor(cv=3, random_state=1).fit(X, y) for _ in range(2))
    assert 1 <= one.n_rounds_ <= MOST_ROUNDS
    assert np.abs(one.predict(X) - y).mean() < 1
    assert bytes(one.booster_.save_raw("ubj")) == bytes(two.booster_.save_raw("ubj"))


@pytest.mark.parametrize("levels", ["ab", "abc"])
def test_classes_of_text(levels: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 4))
    y = np.array(list(levels))[np.digitize(X[:, 0], [-0.4, 0.4][: len(levels) - 1])]
    head = BoostingClassifier(cv=3).fit(X, y)
    probabilities = head.predict_proba(X)
    assert probabilities.shape == (150, len(levels))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    assert (head.predict(X) == y).mean() > 0.9
    assert head.classes_.tolist() == list(levels)


def test_noise_stops_early() -> None:
    rng = np.random.default_rng(0)
    head = BoostingRegressor(cv=4).fit(rng.standard_normal((80, 10)), rng.standard_normal(80))
    assert head.n_rounds_ < 40


def test_a_missing_value_is_a_side_of_its_own() -> None:
    """Who lacks the feature is high: no number in its place would tell."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    missing = np.arange(200) % 2 == 0
    X[missing, 1] = np.nan
    head = BoostingRegressor(cv=3).fit(X, 10.0 * missing)
    assert np.abs(head.predict(X) - 10.0 * missing).max() < 1


def test_what_cannot_be_missing_is_refused() -> None:
    X, y = np.random.default_rng(0).standard_normal((40, 3)), np.arange(40.0)
    X[3, 1] = np.nan
    with pytest.raises(AnalysisError, match="must be finite"):
        BoostingRegressor(cv=3, prepare=Prepare(pca=2)).fit(X, y)
    X[3, 1] = np.inf
    with pytest.raises(AnalysisError, match="must be numbers or missing; an infinity is in 1 of 3 columns"):
        BoostingRegressor(cv=3).fit(X, y)


class Elsewhere:
    """A booster that was grown on the processor after all."""

    def save_config(self) -> str:
        return json.dumps({"learner": {"generic_param": {"device": "cpu"}}})


def test_a_device_is_never_changed_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    check_device("cpu")
    monkeypatch.setattr(xgboost, "train", lambda *_: Elsewhere())
    with pytest.raises(DeviceError, match="boosting on 'cuda' must have a device .* it would use 'cpu'; leave"):
        BoostingRegressor(cv=3, device="cuda").fit(np.eye(9), np.arange(9.0))

    def refuse(*_: Any) -> None:
        raise xgboost.core.XGBoostError("built without CUDA\ntrace")

    monkeypatch.setattr(xgboost, "train", refuse)
    with pytest.raises(DeviceError, match="it would use 'built without CUDA'"):
        check_device("cuda")
