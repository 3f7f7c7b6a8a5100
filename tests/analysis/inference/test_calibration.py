from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from featx.analysis.inference.calibration import (
    METHODS,
    Calibration,
    Platt,
    calibrate,
    calibration_summary,
    fit_calibration,
    fit_isotonic,
    fit_platt,
    restore_calibration,
)
from featx.errors import AnalysisError, BundleError


def too_sure(n: int = 400, n_classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Class codes, and probabilities that are more extreme than what they were drawn from."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, n_classes))
    honest = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    y = (honest.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    extreme = honest**3
    return y, extreme / extreme.sum(axis=1, keepdims=True)


def test_platt_equals_a_logistic_regression_on_smoothed_targets() -> None:
    y, p = too_sure()
    found = fit_platt(y, p[:, 1])
    n1, n0 = (y == 1).sum(), (y == 0).sum()
    target = np.where(y == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
    z = np.r_[logit(p[:, 1]), logit(p[:, 1])][:, None]  # every row as both classes, weighted
    plain = LogisticRegression(C=1e12, tol=1e-12, max_iter=1000, solver="newton-cholesky")
    plain.fit(z, np.r_[np.ones(400), np.zeros(400)], sample_weight=np.r_[target, 1 - target])
    assert (found.slope, found.intercept) == pytest.approx((plain.coef_[0, 0], plain.intercept_[0]), rel=1e-5)
    assert 0.2 < found.slope < 0.5


def test_platt_of_separated_classes_is_finite_and_of_constant_ones_level() -> None:
    separated = fit_platt([0, 0, 1, 1], [0.0, 1e-9, 1.0, 1.0])
    assert np.isfinite([separated.slope, separated.intercept]).all()
    assert separated.slope > 0
    level = fit_platt([0, 0, 0, 1, 1], [0.4] * 5)
    assert level.slope == 0
    assert expit(level.intercept) == pytest.approx((3 / 5 + 2 * 3 / 4) / 5)


def test_isotonic_equals_scikit_learn_in_and_out_of_range() -> None:
    y, p = too_sure()
    p = 0.1 + 0.8 * p[:, 1].round(2)
    curve = fit_isotonic(y, p)
    new = np.linspace(0, 1, 101)
    plain = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, y)
    fitted = Calibration("isotonic", 2, (curve,))
    np.testing.assert_allclose(fitted.apply(np.column_stack([1 - new, new]))[:, 1], plain.predict(new))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_new_people_are_better_calibrated_and_storage_is_exact(method: str, n_classes: int) -> None:
    y, p = too_sure(2000, n_classes)
    found = fit_calibration(method, y, p)
    new_y, new_p = too_sure(2000, n_classes, seed=1)
    mapped = found.apply(new_p)
    np.testing.assert_allclose(mapped.sum(axis=1), 1)
    # an isotonic 0 is infinitely sure: half a person more is fairer than a log loss of infinity
    assert log_loss(new_y, 0.999 * mapped + 0.001 / n_classes) < log_loss(new_y, new_p) - 0.03
    back = restore_calibration(json.loads(json.dumps(found.as_json())))
    np.testing.assert_array_equal(back.apply(new_p), mapped)
    for code in range(n_classes):
        assert calibration_summary(new_y == code, mapped[:, code]).error < 0.06
        assert calibration_summary(new_y == code, new_p[:, code]).error > 0.08


def test_several_classes_are_each_against_the_rest_then_normalised() -> None:
    y, p = too_sure(200, 3)
    found = fit_calibration("platt", y, p)
    each = [fit_calibration("platt", (y == k).astype(int), np.column_stack([1 - p[:, k], p[:, k]])) for k in range(3)]
    alone = np.column_stack([one.apply(np.column_stack([1 - q, q]))[:, 1] for one, q in zip(each, p.T, strict=True)])
    np.testing.assert_allclose(found.apply(p), alone / alone.sum(axis=1, keepdims=True))


def test_nan_stays_and_zeros_share_alike() -> None:
    curve = fit_isotonic([0, 0, 1], [0.1, 0.5, 0.9])
    found = Calibration("isotonic", 3, (curve, curve, curve))
    mapped = calibrate(found, np.array([[0.2, 0.3, 0.5], [np.nan, 0.9, 0.05]]))
    np.testing.assert_allclose(mapped[0], 1 / 3)
    assert np.isnan(mapped[1]).all()
    line = Calibration("platt", 2, (Platt(1.0, 0.0),))
    assert np.isnan(line.apply(np.full((1, 2), np.nan))).all()


def test_summary_equals_its_parts() -> None:
    y, p = too_sure()
    found = calibration_summary(y, p[:, 1])
    plain = LogisticRegression(C=1e12, tol=1e-12, max_iter=1000, solver="newton-cholesky")
    plain.fit(logit(p[:, 1])[:, None], y)
    assert (found.slope, found.intercept) == pytest.approx((plain.coef_[0, 0], plain.intercept_[0]), rel=1e-5)
    assert found.brier == pytest.approx(brier_score_loss(y, p[:, 1]))
    assert found.brier_skill == pytest.approx(1 - found.brier / np.var(y))
    order = np.argsort(p[:, 1])
    bins = order.reshape(10, 40)
    assert found.error == pytest.approx(np.mean([abs(y[one].mean() - p[one, 1].mean()) for one in bins]))


def test_summary_is_nan_where_a_line_has_no_end() -> None:
    separated = calibration_summary([0, 0, 1], [0.2, 0.3, 0.3])
    assert np.isnan([separated.slope, separated.intercept]).all()
    assert np.isfinite([separated.brier, separated.error, separated.brier_skill]).all()
    one_class = calibration_summary([1, 1], [0.2, 0.3])
    assert np.isnan([one_class.slope, one_class.brier_skill]).all()
    constant = calibration_summary([0, 1], [0.5, 0.5])
    assert np.isnan(constant.slope)


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(AnalysisError, match="'beta' is not; known are 'isotonic', 'platt'"):
        fit_calibration("beta", np.array([0, 1]), np.full((2, 2), 0.5))
    with pytest.raises(AnalysisError, match="1 of 2 are not; look at the features"):
        fit_platt([0, 1], [0.5, np.nan])
    with pytest.raises(AnalysisError, match="got 2 of 2 in one; leave the calibration out"):
        fit_isotonic([1, 1], [0.5, 0.6])
    with pytest.raises(AnalysisError, match="they are of 3, and 2 were"):
        calibrate(Calibration("platt", 2, (Platt(1.0, 0.0),)), np.full((1, 3), 1 / 3))


def test_a_damaged_calibration_is_refused() -> None:
    with pytest.raises(BundleError, match="it does not .KeyError.'curves'"):
        restore_calibration({"method": "platt", "n_classes": 2})
    with pytest.raises(BundleError, match="it is 'platt' with 1 for 3 classes"):
        restore_calibration({"method": "platt", "n_classes": 3, "curves": [{"slope": 1, "intercept": 0}]})
    with pytest.raises(BundleError, match="it does not .KeyError.'probability'"):
        restore_calibration({"method": "isotonic", "n_classes": 2, "curves": [{"slope": 1, "intercept": 0}]})
