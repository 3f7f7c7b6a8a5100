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
    assert np.median(distances) == pytest.approx(1, abs=0.4)
    np.testing.assert_allclose(feature_distances(X * 7 + 3), distances, rtol=1e-2)


def test_a_distance_step_by_step():
    """The oracle: medians and deviations by hand, components by the singular value decomposition."""
    X = np.random.default_rng(3).normal(size=(40, 6)) * [1, 2, 3, 4, 5, 0]
    X[:, 5] = 7  # says nothing
    away = np.array(
        [
            (column - np.median(column)) / (1.4826 * np.median(abs(column - np.median(column))))
            for column in X[:, :5].T
        ]
    ).T
    _, s, axes = np.linalg.svd(np.array([row / np.linalg.norm(row) for row in away]), full_matrices=False)
    kept = int((np.cumsum(s**2) < 0.9 * (s**2).sum()).sum()) + 1
    scores = away @ axes[:kept].T
    z = [(one - np.median(one)) / (1.4826 * np.median(abs(one - np.median(one)))) for one in scores.T]
    np.testing.assert_allclose(feature_distances(X), np.sqrt(np.mean(np.square(z), axis=0)), rtol=1e-6)


def test_one_feature_alone_makes_no_outlier():
    X = np.random.default_rng(4).normal(size=(50, 30))
    lone = X.copy()
    lone[3, 7] = 1e6  # one feature, far beyond all measure
    apart = X.copy()
    apart[3] += 5
    assert feature_distances(lone)[3] < 2
    assert feature_distances(apart)[3] > 3


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
