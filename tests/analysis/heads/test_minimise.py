from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from featx.analysis.heads.minimise import minimise


def test_a_curved_valley_is_followed_to_its_end() -> None:
    found = minimise(lambda x: (float(rosen(x)), rosen_der(x)), np.array([-1.2, 1.0, -0.5, 2.0]), 1e-9)
    assert found.converged
    np.testing.assert_allclose(found.x, 1, atol=1e-8)


def test_a_large_value_does_not_hide_the_end() -> None:
    """The value's last digits say nothing long before the slope is as small as it is to be."""
    squares = np.logspace(0, 3, 20)
    found = minimise(lambda x: (1e9 + 0.5 * float(squares @ (x - 1) ** 2), squares * (x - 1)), np.zeros(20), 1e-8)
    assert found.converged
    np.testing.assert_allclose(found.x, 1, atol=1e-8)


def test_a_first_step_that_is_far_too_long_or_short_is_mended() -> None:
    for scale in (1e-6, 1e6):

        def objective(x: np.ndarray, scale: float = scale) -> tuple[float, np.ndarray]:
            root = np.sqrt(1 + x**2)
            return scale * float(root.sum()), scale * x / root

        found = minimise(objective, np.array([3.0, -2.0, 1.0]), 1e-9 * scale)
        assert found.converged
        np.testing.assert_allclose(found.x, 0, atol=1e-8)


@pytest.mark.parametrize("most_steps", [0, 2])
def test_an_early_end_is_told(most_steps: int) -> None:
    found = minimise(lambda x: (float(rosen(x)), rosen_der(x)), np.array([-1.2, 1.0]), 1e-9, most_steps)
    assert not found.converged
    assert found.n_steps == most_steps


def test_a_slope_that_belongs_to_no_value_is_told() -> None:
    found = minimise(lambda x: (float(x @ x), -2 * x), np.ones(2), 1e-9)
    assert not found.converged
