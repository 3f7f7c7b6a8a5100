from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.adjust import confounds
from featx.analysis.adjust.confounds import check_finite, column_slices, effect, fit_removal, pseudo_inverse, remove
from featx.errors import AnalysisError


def data(n: int = 40, p: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Confounds on three scales, and features that they explain in part."""
    rng = np.random.default_rng(3)
    C = rng.standard_normal((n, 3)) * [1.0, 12.0, 1.5e5] + [0.0, 60.0, 1.4e6]
    X = rng.standard_normal((n, p)) + (C - C.mean(axis=0)) / C.std(axis=0) @ rng.standard_normal((3, p)) + 5
    return C, X


def test_equals_a_regression_with_an_intercept() -> None:
    C, X = data()
    removal = fit_removal(C, X)
    design = np.column_stack([np.ones(len(C)), (C - C.mean(axis=0)) / C.std(axis=0)])
    solved = np.linalg.lstsq(design, X, rcond=None)[0]
    np.testing.assert_allclose(removal.coef * C.std(axis=0)[:, None], solved[1:], atol=1e-10)
    np.testing.assert_allclose(remove(removal, C, X), X - design[:, 1:] @ solved[1:], atol=1e-10)
    np.testing.assert_allclose(remove(removal, C, X).mean(axis=0), X.mean(axis=0))
    np.testing.assert_allclose(remove(removal, C, X) + effect(removal, C), X)


def test_a_vector_is_a_matrix_of_one_column() -> None:
    C, X = data()
    one, many = fit_removal(C, X[:, 2]), fit_removal(C, X[:, [2]])
    assert one.mean.shape == ()
    assert one.coef.shape == (3,)
    np.testing.assert_array_equal(one.coef, many.coef[:, 0])
    np.testing.assert_allclose(remove(one, C, X[:, 2]), remove(many, C, X[:, [2]])[:, 0], rtol=1e-14)


def test_chunks_of_columns_and_float32_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    C, X = data()
    whole = fit_removal(C, X)
    monkeypatch.setattr(confounds, "_MOST_BYTES", 3 * 8 * len(X))
    assert [len(range(7)[some]) for some in column_slices(X)] == [3, 3, 1]
    np.testing.assert_allclose(fit_removal(C, X).coef, whole.coef, rtol=1e-12)
    np.testing.assert_allclose(remove(whole, C, X), X - effect(whole, C), rtol=1e-12)
    narrow = X.astype(np.float32)
    np.testing.assert_allclose(fit_removal(C, narrow).coef, fit_removal(C, narrow.astype(np.float64)).coef)
    assert remove(whole, C, narrow).dtype == np.float32


def test_a_level_that_was_not_seen_has_the_mean_of_the_levels_effects_removed() -> None:
    level = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    effects = np.array([1.0, 5.0, -3.0])
    hot = np.eye(3)[level]  # not independent: the rows add up to one
    y = 10 + effects[level]
    removal = fit_removal(hot, y)
    np.testing.assert_allclose(remove(removal, hot, y), y.mean())
    rest = remove(removal, np.zeros((1, 3)), np.array([20.0]))
    np.testing.assert_allclose(rest, 20.0 - (10 + effects.mean() - y.mean()))
    # a column for the level itself, which is 0 in training, says no more
    wide = fit_removal(np.column_stack([hot, np.zeros(9)]), y)
    np.testing.assert_allclose(remove(wide, np.array([[0.0, 0, 0, 1]]), np.array([20.0])), rest)


def test_constant_and_doubled_confounds_are_harmless() -> None:
    C, X = data()
    plain = remove(fit_removal(C, X), C, X)
    wide = np.column_stack([C, np.full(len(C), 0.1), C[:, 0], C[:, 1] * 12 + 7])
    removal = fit_removal(wide, X)
    np.testing.assert_allclose(remove(removal, wide, X), plain, atol=1e-9)
    np.testing.assert_allclose(removal.coef[3], 0, atol=1e-12)
    np.testing.assert_allclose(removal.coef[0], removal.coef[4])


def test_units_and_zero_of_a_confound_do_not_matter() -> None:
    C, X = data()
    other = C * [1e-6, 1e3, 1.0] + [4.0, -1e4, 0.0]
    np.testing.assert_allclose(
        remove(fit_removal(other, X), other, X), remove(fit_removal(C, X), C, X), rtol=1e-9, atol=1e-9
    )


def test_pseudo_inverse_is_numpys_in_units_of_the_ranges() -> None:
    C, _ = data()
    centred, units = C - C.mean(axis=0), np.ptp(C, axis=0)
    expected = np.linalg.pinv(centred / units) / units[:, None]
    np.testing.assert_allclose(pseudo_inverse(centred, units), expected, rtol=1e-9, atol=1e-18)
    assert pseudo_inverse(np.zeros((4, 0)), np.zeros(0)).shape == (0, 4)


def test_nan_and_infinity_are_refused() -> None:
    C, X = data()
    C[3, 1], X[5, 4], X[5, 6] = np.nan, np.inf, np.nan
    with pytest.raises(
        AnalysisError, match="confounds must be finite; NaN or infinity is in 1 of 3 columns, first in"
    ):
        fit_removal(C, X)
    with pytest.raises(AnalysisError, match="removed from must be finite; .* 2 of 7 columns, first in column 4"):
        fit_removal(np.zeros((len(X), 1)), X)
    check_finite(np.zeros((0, 3)), "nothing")
