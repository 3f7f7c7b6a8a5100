from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from featx.analysis.inference.points import calibration_points, roc_points
from featx.errors import AnalysisError


def test_roc_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.random(80) < 0.4, rng.random(80).round(1)
    points = roc_points(y, p)
    false, true, threshold = metrics.roc_curve(y, p, drop_intermediate=False)
    np.testing.assert_allclose(points["false_positive_rate"], false)
    np.testing.assert_allclose(points["true_positive_rate"], true)
    np.testing.assert_allclose(points["threshold"], threshold)


def test_roc_of_one_class_is_refused() -> None:
    with pytest.raises(AnalysisError, match="got 0 of 3 in the class"):
        roc_points([0, 0, 0], [0.1, 0.2, 0.3])


def test_calibration_bins_hold_all_rows_and_ties_stay_together() -> None:
    rng = np.random.default_rng(0)
    p = np.r_[np.full(50, 0.3), rng.random(150)]
    y = rng.random(200) < p
    points = calibration_points(y, p)
    assert points["n"].sum() == 200
    assert len(points) <= 10
    assert (points["predicted"].diff().dropna() > 0).all()
    assert ((points["low"] <= points["observed"]) & (points["observed"] <= points["high"])).all()
    assert points["low"].min() >= 0
    assert points["high"].max() <= 1 + 1e-12
    np.testing.assert_allclose((points["observed"] * points["n"]).sum(), y.sum())
