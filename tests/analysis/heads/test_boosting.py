from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.heads.boosting import MOST_ROUNDS, BoostingClassifier, BoostingRegressor


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
