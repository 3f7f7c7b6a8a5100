from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from featx.analysis import grams
from featx.analysis.grams import REMOVALS, Data, Sums


def example(dtype: type = np.float64) -> tuple[Data, np.ndarray]:
    """40 rows, 5 features far from 0 (one constant), 3 confounds, 4 targets of which 1 is missing in places; rows."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((40, 5)) + 100
    X[:, 3] = 7.0
    C = np.column_stack([rng.standard_normal((40, 2)), 1e4 * rng.random(40)])
    Y = X[:, :1] + C[:, :1] + rng.standard_normal((40, 4))
    Y[::7, 1] = np.nan
    return Data(X.astype(dtype), C, Y), rng.integers(0, 40, 30)


def written_out(data: Data, rows: np.ndarray, shift: grams.Shift) -> Sums:
    A = np.hstack([np.ones((len(rows), 1)), data.C[rows] - shift.C, data.X[rows] - shift.X])
    y = np.nan_to_num(data.Y[rows] - shift.Y)
    return Sums(A.T @ A, A.T @ y, (y**2).sum(axis=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("most_bytes", [1, 8 * 9 * 7, 1 << 25])
def test_sums_are_those_of_the_rows(dtype: type, most_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grams, "_CHUNK_BYTES", most_bytes)
    data, rows = example(dtype)
    shift = grams.means(data, rows)
    np.testing.assert_allclose(shift.X, data.X[rows].mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(shift.C, data.C[rows].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(shift.Y, np.nanmean(data.Y[rows], axis=0), rtol=1e-12)
    got, expected = grams.sum_rows(data, rows, shift), written_out(data, rows, shift)
    np.testing.assert_allclose(got.AA, expected.AA, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.AY, expected.AY, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got.YY, expected.YY, rtol=1e-9)


def test_sums_of_parts_add_up() -> None:
    data, rows = example()
    shift = grams.means(data, rows)
    parts = [grams.sum_rows(data, rows[at::3], shift) for at in range(3)]
    got = grams.combine(parts, np.array([1, 0, 2]))
    expected = written_out(data, np.concatenate([rows[0::3], rows[2::3], rows[2::3]]), shift)
    for name in ("AA", "AY", "YY"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), rtol=1e-9, atol=1e-7)


def test_a_target_without_labels_has_no_mean() -> None:
    data, rows = example()
    data.Y[:, 2] = np.nan
    assert grams.means(data, rows).Y[2] == 0.0


@pytest.mark.parametrize("remove", REMOVALS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clearing_is_regression_on_the_training_rows(dtype: type, remove: str) -> None:
    data, rows = example(dtype)
    data.Y[::7, 1] = 3.0
    other = np.arange(12)
    shift = grams.means(data, rows[:15])  # any will do
    train = grams.sum_rows(data, rows, shift)
    standard, exact = grams.fit_standard(train, data, rows, shift=shift, remove=remove, squares=train.AA.diagonal())
    assert exact
    X, Y = data.X.astype(np.float64), data.Y
    for used, on in (("features", "X"), ("target", "Y")):
        values = X if on == "X" else Y
        if remove in (used, "both"):
            left = values - LinearRegression().fit(data.C[rows], values[rows]).predict(data.C)
        else:
            left = values - values[rows].mean(axis=0)
        X, Y = (left, Y) if on == "X" else (X, left)
    X[:, 3] = 0.0
    X /= np.where(np.arange(5) == 3, 1.0, X[rows].std(axis=0))
    for sums, here in ((train, rows), (grams.sum_rows(data, other, shift), other)):
        got = grams.clear(sums, standard)
        np.testing.assert_allclose(got.AA, X[here].T @ X[here], rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(got.AY, X[here].T @ Y[here], rtol=1e-7, atol=1e-6)
        np.testing.assert_allclose(got.YY, (Y[here] ** 2).sum(axis=0), rtol=1e-7)

    wide = grams.prepare_wide(data, rows, other, remove)
    chunks = list(grams.standard_chunks(data, wide))
    np.testing.assert_allclose(np.hstack([one.train for one in chunks]), X[rows], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.hstack([one.other for one in chunks]), X[other], rtol=1e-6, atol=1e-6)
    for got, here in zip(grams.clear_targets(data, wide), (rows, other), strict=True):
        np.testing.assert_allclose(got, Y[here], rtol=1e-7, atol=1e-7)


def test_sums_whose_digits_are_gone_are_told() -> None:
    data, rows = example()
    data.X[:, 2] = 1e-7 * data.X[:, 0]
    data.X[rows[0], 2] = 1.0
    shift, rest = grams.means(data, rows), rows[rows != rows[0]]
    for column, exact in ((2, False), (0, True)):
        some = Data(data.X[:, [column, 3]], data.C, data.Y)
        where = grams.Shift(shift.C, shift.X[[column, 3]], shift.Y)
        train = grams.sum_rows(some, rest, where)
        told = grams.fit_standard(train, some, rest, shift=where, remove="none", squares=train.AA.diagonal())[1]
        assert told is exact
        squares = 1e12 * train.AA.diagonal()  # what was subtracted was far larger
        assert not grams.fit_standard(train, some, rest, shift=where, remove="none", squares=squares)[1]


def test_least_squares_have_least_norm_in_units_of_the_ranges() -> None:
    rng = np.random.default_rng(0)
    C = np.hstack([np.eye(3)[rng.integers(0, 3, 50)], 1e6 * rng.random((50, 1)), np.full((50, 1), 4.0)])
    C = np.hstack([C, C[:, 3:4] / 1e3])
    y, ranges, centred = rng.standard_normal(50), np.ptp(C, axis=0), C - C.mean(axis=0)
    got = grams.least_squares(centred.T @ centred, ranges) @ (centred.T @ y)
    units = np.where(ranges > 0, ranges, 1.0)
    expected = np.linalg.lstsq(centred / units, y, rcond=1e-9)[0] / units
    np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-18)
