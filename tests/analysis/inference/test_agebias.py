from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.inference.agebias import BIAS_COLUMNS, METHODS, AgeBias, bias_table, correct, fit_bias
from featx.errors import AnalysisError


def ages(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ages, and predictions that lean towards their mean."""
    rng = np.random.default_rng(seed)
    own = rng.uniform(20, 80, n)
    return own, 0.6 * own + 20 + 4 * rng.standard_normal(n)


def test_the_line_is_that_of_polyfit() -> None:
    own, predicted = ages()
    found = fit_bias(own, predicted)
    assert (found.slope, found.intercept) == pytest.approx(tuple(np.polyfit(own, predicted, 1)))


def test_both_corrections_take_the_bias_from_new_people() -> None:
    bias = fit_bias(*ages())
    own, predicted = ages(seed=1)
    assert np.corrcoef(predicted - own, own)[0, 1] < -0.8
    for method in METHODS:
        corrected = correct(bias, predicted, own, method)
        assert abs(np.corrcoef(corrected - own, own)[0, 1]) < 0.15
    np.testing.assert_allclose(
        correct(bias, predicted, own, "beheshti") - own,
        predicted - bias.slope * own - bias.intercept,  # the residual of the line
    )
    np.testing.assert_allclose(correct(bias, predicted, own, "cole") * bias.slope + bias.intercept, predicted)


def test_the_correction_of_cole_never_looks_at_the_age() -> None:
    bias = AgeBias(0.5, 10.0)
    predicted = np.array([30.0, np.nan])
    found = correct(bias, predicted, np.full(2, np.nan), "cole")
    np.testing.assert_array_equal(found, [40.0, np.nan])
    assert np.isnan(correct(bias, predicted, np.full(2, np.nan), "beheshti")).all()


def test_beheshti_makes_a_guess_look_good() -> None:
    """Why its numbers are no accuracy: predictions that know nothing become nearly perfect."""
    rng = np.random.default_rng(0)
    own, guess = rng.uniform(20, 80, 300), 50 + rng.standard_normal(300)
    corrected = correct(fit_bias(own, guess), guess, own, "beheshti")
    assert np.abs(corrected - own).mean() < 1
    assert np.corrcoef(corrected, own)[0, 1] > 0.99


def test_table_stands_beside_the_raw_numbers() -> None:
    own, predicted = ages(60)
    groups = np.arange(60)
    repeats = np.stack([predicted, predicted + 1])
    repeats[0, :5] = np.nan
    bias = fit_bias(own, predicted)
    corrected = {method: correct(bias, repeats, own, method) for method in METHODS}
    table = bias_table(own, repeats, corrected, groups, n_bootstrap=50)
    assert table.columns.tolist() == list(BIAS_COLUMNS)
    assert table["method"].tolist() == [one for one in ("raw", *METHODS) for _ in range(3)]
    cell = table.set_index(["method", "metric"])["value"]
    kept = np.arange(5, 60)
    for method, many in {"raw": repeats, **corrected}.items():
        pairs = [(many[0, kept], own[kept]), (many[1], own)]
        assert cell[method, "mae"] == pytest.approx(np.mean([np.abs(p - y).mean() for p, y in pairs]))
        assert cell[method, "r"] == pytest.approx(np.mean([np.corrcoef(p, y)[0, 1] for p, y in pairs]))
        assert cell[method, "delta_r"] == pytest.approx(np.mean([np.corrcoef(p - y, y)[0, 1] for p, y in pairs]))
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()


def test_what_cannot_be_corrected_is_refused() -> None:
    with pytest.raises(AnalysisError, match="they rise by 0.01 among the training people"):
        correct(AgeBias(0.01, 50.0), np.zeros(2), np.zeros(2), "cole")
    with pytest.raises(AnalysisError, match="'smith' is not; known are 'beheshti', 'cole'"):
        correct(AgeBias(0.5, 1.0), np.zeros(2), np.zeros(2), "smith")
    with pytest.raises(AnalysisError, match="1 of 2 rows have one that is not"):
        fit_bias(np.array([20.0, 30.0]), np.array([20.0, np.nan]))
    with pytest.raises(AnalysisError, match="all 2 training rows have one age"):
        fit_bias(np.array([30.0, 30.0]), np.array([20.0, 21.0]))
