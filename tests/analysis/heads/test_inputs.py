from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.heads.inputs import fit_axes, fit_coordinates, orthonormal, to_columns, to_coordinates


@pytest.mark.parametrize("p", [4, 60])
@pytest.mark.parametrize("rotate", [True, False])
def test_coordinates_and_columns_predict_alike(p: int, rotate: bool) -> None:
    rng = np.random.default_rng(0)
    X, new = rng.standard_normal((20, 2 + p)) * 3 + 1, rng.standard_normal((7, 2 + p))
    prepare = Prepare(n_confounds=2, confounds="added")
    place, R = fit_coordinates(X, prepare, rotate=rotate)
    assert place.n_free == 2
    assert R.shape[1] <= (2 + 20 if rotate else 2 + p)
    np.testing.assert_allclose(to_coordinates(X, place), R, atol=1e-10)
    v = rng.standard_normal((3, R.shape[1]))
    coef, intercept = to_columns(v, np.arange(3.0), place)
    expected = to_coordinates(new, place) @ v.T + np.arange(3.0)
    np.testing.assert_allclose(place.prepare.transform(new) @ coef.T + intercept, expected, atol=1e-10)


def test_free_columns_become_orthonormal_even_when_dependent() -> None:
    rng = np.random.default_rng(0)
    free = rng.standard_normal((30, 2))
    free = np.column_stack([free, free[:, 0] - 2 * free[:, 1]])
    weights = rng.uniform(0.5, 2, 30)
    columns, back = orthonormal(free, weights)
    np.testing.assert_allclose(columns.T @ (weights[:, None] * columns), np.eye(3), atol=1e-12)
    inner = rng.standard_normal(3)
    outer = back @ inner
    np.testing.assert_allclose(columns @ inner, outer[0] + free @ outer[1:], atol=1e-12)


def test_axes_are_orthogonal_to_what_has_no_penalty() -> None:
    rng = np.random.default_rng(0)
    R, weights = rng.standard_normal((30, 6)), rng.uniform(0.5, 2, 30)
    axes = fit_axes(R, 2, weights)
    np.testing.assert_allclose(axes.nuisance.T @ (weights[:, None] * axes.penalised), 0, atol=1e-12)
    products = axes.penalised.T @ (weights[:, None] * axes.penalised)
    np.testing.assert_allclose(axes.V * axes.squares @ axes.V.T, products, atol=1e-10)
    inner, w = rng.standard_normal(3), rng.standard_normal(4)
    outer = axes.outer(inner, w)
    z = axes.nuisance @ inner + axes.penalised @ w
    np.testing.assert_allclose(z, outer[0] + R @ np.concatenate([outer[1:], w]), atol=1e-10)
