"""Robust distances against plain loops; ranks; distances in features that do not depend on scale or rotation."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.outliers import (
    BOTH,
    LOW,
    WORSE,
    centre_and_unit,
    distances_in,
    feature_distances,
    quality_rows,
    robust_z,
    worst_first,
)
from featx.errors import CohortError
from tests.conftest import make_set


def test_every_number_that_ranks_is_a_column():
    assert set(WORSE) < set(schema.names(schema.QUALITY))
    assert set(WORSE.values()) == {LOW, BOTH, 1}


def test_a_robust_z_is_a_z_of_normal_values_and_knows_no_outlier():
    values = np.random.default_rng(0).normal(50, 4, 4001)
    assert centre_and_unit(values) == (pytest.approx(50, abs=0.2), pytest.approx(4, rel=0.05))
    spoiled = np.concatenate([values, [1e6] * 400, [np.nan] * 9])
    z = robust_z(spoiled)
    np.testing.assert_allclose(z[:4001], robust_z(values), atol=0.6)
    assert np.isnan(z[-9:]).all()


def test_equal_values_are_at_no_distance():
    assert robust_z(np.array([3.0, 3, 3, np.nan]))[:3].tolist() == [0, 0, 0]
    mostly = np.array([1.0] * 9 + [5])
    assert robust_z(mostly)[-1] == pytest.approx(4 / (1.2533 * 0.4))
    assert np.isnan(centre_and_unit(np.array([np.nan]))[0])


def test_the_worst_is_the_furthest_on_a_worse_side():
    rng = np.random.default_rng(1)
    numbers = {name: rng.normal(10, 1, 40) for name in ("snr", "efc", "litres", "p50")}
    numbers["snr"][3], numbers["snr"][4] = 2, 90  # the better side is no matter
    numbers["efc"][5] = 16
    numbers["litres"][6], numbers["litres"][7] = 0, 25
    numbers["p50"][8] = 1e9  # grey values rank nobody
    numbers["snr"][9] = np.nan
    found = worst_first(numbers)
    assert [int(np.flatnonzero(found.rank == place)[0]) for place in (1, 2, 3, 4)] == [7, 6, 3, 5]
    assert [found.worst_by[at] for at in (7, 6, 3, 5)] == ["litres", "litres", "snr", "efc"]
    assert sorted(found.rank) == list(range(1, 41))
    expected = max(-robust_z(numbers["snr"])[0], robust_z(numbers["efc"])[0], abs(robust_z(numbers["litres"])[0]), 0)
    assert found.distance[0] == pytest.approx(expected)


def test_who_is_better_in_all_is_last():
    found = worst_first({"snr": np.array([1.0, 2, 9]), "efc": np.array([0.9, 0.8, 0.1])})
    assert (found.rank[2], found.distance[2], found.worst_by[2]) == (3, 0, "")


@pytest.mark.parametrize("shape", [(60, 300), (300, 20)])
def test_distances_find_what_lies_apart(shape):
    rng = np.random.default_rng(2)
    hidden = rng.normal(size=(shape[0], 4))
    hidden[11] = 7
    X = (hidden @ rng.normal(size=(4, shape[1])) + 0.1 * rng.normal(size=shape)).astype(np.float32)
    distances = feature_distances(X)
    assert distances.argmax() == 11
    assert distances[11] > 2 * np.sort(distances)[-2]
    assert np.median(distances) == pytest.approx(0.5, abs=0.5)  # the larger of two numbers that are usually 0
    np.testing.assert_allclose(feature_distances(X * 7 + 3), distances, rtol=1e-2, atol=1e-2)


def _robust(values):
    away = values - np.median(values)
    return away / (1.4826 * np.median(abs(away)))


@pytest.mark.parametrize("n", [40, 20])
def test_a_distance_step_by_step(n):
    """The oracle: medians and deviations by hand, components by svd, what they leave by least squares."""
    X = np.random.default_rng(3).normal(size=(n, 7)) * [1, 2, 3, 4, 5, 6, 0]
    X[:, 6] = 7  # says nothing
    away = np.array([_robust(column) for column in X[:, :6].T]).T
    assert abs(away).max() < 10
    middle = np.zeros(6)
    for _ in range(500):  # the spatial median: the mean of rows, each by the inverse of its distance
        weights = [1 / np.linalg.norm(row - middle) for row in away]
        middle = sum(weight * row for weight, row in zip(weights, away, strict=True)) / sum(weights)
    away = away - middle
    _, _, axes = np.linalg.svd(np.array([row / np.linalg.norm(row) for row in away]), full_matrices=False)
    axes = axes[: n // 5]  # 40 images keep all six, 20 only four
    scores = away @ axes.T
    within = sum(_robust(scores[:, at]) ** 2 for at in range(scores.shape[1]))
    expected = _robust(within ** (1 / 3))
    if n == 20:
        rest = away.T - axes.T @ np.linalg.lstsq(axes.T, away.T, rcond=None)[0]
        expected = np.maximum(expected, _robust((rest**2).sum(axis=0) ** (1 / 3)))
    np.testing.assert_allclose(feature_distances(X), expected, rtol=1e-6, atol=1e-6)


def _place(X, at):
    """Of a row, by its distance, and how far it is."""
    distances = feature_distances(X)
    return int((distances > distances[at]).sum()) + 1, distances[at]


@pytest.mark.parametrize("seed", range(3))
def test_what_lies_apart_along_the_narrowest_axis_is_first_as_by_mahalanobis(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(1000, 50)) @ rng.normal(size=(50, 50))
    values, axes = np.linalg.eigh(np.cov(X.T))
    X[7] += 30 * np.sqrt(values[0]) * axes[:, 0]
    away = X - X.mean(axis=0)
    mahalanobis = np.einsum("ij,jk,ik->i", away, np.linalg.inv(np.cov(X.T)), away)
    assert mahalanobis.argmax() == 7
    place, far = _place(X, 7)
    assert place == 1
    assert far > 5


@pytest.mark.parametrize("seed", range(5))
def test_a_few_wild_features_of_many_are_seen_beside_the_components(seed):
    X = np.random.default_rng(seed).normal(size=(30, 200))
    X[7, :3] += 30
    place, far = _place(X, 7)
    assert place == 1
    assert far > 5


def test_a_lone_other_value_of_a_constant_feature_counts():
    X = np.zeros((100, 5))
    X[:, 0] = np.random.default_rng(5).normal(size=100)
    X[3, 4] = 1000
    place, far = _place(X, 3)
    assert place == 1
    assert far > 5
    wide = np.zeros((30, 200))
    wide[:, :100] = np.random.default_rng(6).normal(size=(30, 100))
    wide[3, 150] = 0.01  # whatever its size
    assert _place(wide, 3)[0] == 1


def test_features_that_are_sums_of_others_change_little():
    """Their components are as narrow as rounding, which is no unit to measure in."""
    rng = np.random.default_rng(7)
    X = rng.standard_exponential(size=(300, 20)).astype(np.float32)
    X[5] += 4
    both = np.column_stack([X, X @ rng.normal(size=(20, 10)).astype(np.float32)])
    alone, beside = feature_distances(X), feature_distances(both)
    assert (alone.argmax(), beside.argmax()) == (5, 5)
    assert beside.max() == pytest.approx(alone.max(), rel=0.1)
    assert np.corrcoef(alone, beside)[0, 1] > 0.95


def test_one_feature_counts_ten_at_most():
    X = np.random.default_rng(4).normal(size=(50, 30))
    lone, wild, apart = X.copy(), X.copy(), X.copy()
    lone[3, 7], wild[3, 7] = 1e3, 1e9  # one feature, far beyond all measure
    apart[3] += 5
    np.testing.assert_allclose(feature_distances(lone), feature_distances(wild), atol=0.05)
    assert feature_distances(lone)[3] < 0.8 * feature_distances(apart)[3]


def test_features_that_say_nothing():
    assert feature_distances(np.full((5, 3), 2.0)).tolist() == [0] * 5
    assert feature_distances(np.array([[1.0, 2.0]])).tolist() == [0]


IDS = [f"sub-{at:02d}" for at in range(20)]


def _measured(**numbers):
    names = [one for one in schema.names(schema.QUALITY) if one in WORSE or one.startswith("p")]
    rows = [dict.fromkeys(names, "1") | {"image_id": one, "participant_id": one, "session_id": ""} for one in IDS]
    for name, values in numbers.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = str(value)
    return [{name: row[name] for name in row if not name.startswith("feature")} for row in rows]


def test_rows_come_worst_first_with_all_columns():
    rows = quality_rows(_measured(snr=[30, *range(50, 69)], fber=[""] * 20))
    assert rows[0]["image_id"] == "sub-00"
    assert (rows[0]["rank"], rows[0]["worst_by"]) == ("1", "snr")
    assert float(rows[0]["outlier"]) == pytest.approx((58.5 - 30) / (1.4826 * 5), rel=1e-3)
    assert all(list(row) == schema.names(schema.QUALITY) for row in rows)
    assert [row["feature_distance"] for row in rows] == [""] * 20
    assert quality_rows([]) == []


@pytest.mark.parametrize("text", ["inf", "-inf", "nan"])
def test_a_number_that_is_not_finite_is_none(text):
    rows = quality_rows(_measured(snr=[30, text, *range(50, 68)]))
    assert {row["image_id"]: row["snr"] for row in rows}["sub-01"] == ""
    assert (rows[0]["image_id"], rows[0]["worst_by"]) == ("sub-00", "snr")
    assert float(rows[0]["outlier"]) < 10


def test_distances_in_features_join_by_image(tmp_path):
    near = make_set("net/axial/t/mean", IDS[:15], 8)
    near.X[4] += 9
    far = make_set("net/coronal/t/mean", IDS[2:], 5, seed=1)
    both, one = distances_in([near, far]), distances_in([near])
    assert (sorted(both), sorted(one)) == (IDS[2:15], IDS[:15])
    assert max(one, key=one.get) == IDS[4]
    rows = pd.DataFrame(quality_rows(_measured(), one)).set_index("image_id")
    assert rows.loc[IDS[4], "feature_rank"] == "1"
    assert rows.loc[IDS[4], "worst_by"] == "feature_distance"
    assert float(rows.loc[IDS[4], "feature_distance"]) == pytest.approx(one[IDS[4]], rel=1e-5)
    assert rows.loc[IDS[19], ["feature_distance", "feature_rank"]].tolist() == ["", ""]
    assert sorted(map(int, rows.loc[IDS[:15], "feature_rank"])) == list(range(1, 16))


def test_slices_count_by_their_mean(tmp_path):
    flat = make_set("net/axial/t/mean", IDS, 4)
    slices = dataclasses.replace(
        flat, name="net/axial/t/slices", X=np.stack([flat.X - 1, flat.X + 1], axis=1).astype(np.float32)
    )
    kept, plain = distances_in([slices]), distances_in([flat])
    np.testing.assert_allclose(list(kept.values()), list(plain.values()), rtol=1e-4)


def test_features_of_other_images_are_refused():
    with pytest.raises(CohortError, match="none of the 20 images, such as 'sub-00', is among the 1 with features"):
        quality_rows(_measured(), {"other": 1.0})
