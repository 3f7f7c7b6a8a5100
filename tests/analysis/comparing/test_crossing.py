"""Where curves cross: by hand, and by a plain loop over draws."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error

from featx.analysis.comparing.crossing import crossing, crossings, curve_points, run_points, series
from featx.analysis.comparing.reading import Entry, read_entries

from .conftest import NET, RIDGE, SCRATCH, VOLUMES, ages, curve_table, folds_of, near, write_curve
from .test_differing import arm_of, common_of

SIZES = [25, 50, 100, 200]


def lower(a: list[float], b: list[float]) -> tuple[float, str]:
    found = crossing(np.array([a]), np.array([b]), SIZES, higher_is_better=False)
    return found.n, found.verdict


def test_the_place_is_linear_in_log_n() -> None:
    n, verdict = lower([9, 8, 6, 3], [5, 5, 5, 5])  # 1 behind at 100, 2 ahead at 200
    assert n == pytest.approx(math.exp(math.log(100) + math.log(2) / 3))
    assert verdict == "crosses"
    up = crossing(np.array([[0.1, 0.7]]), np.array([[0.4, 0.4]]), [10, 1000], higher_is_better=True)
    assert up.n == pytest.approx(100)
    assert np.isnan([up.low, up.high, up.share]).all()  # one draw says nothing of others


def test_what_does_not_cross_is_told() -> None:
    assert lower([9, 8, 7, 6], [5, 5, 5, 5])[1] == "behind throughout"
    assert lower([4, 4, 4, 4], [5, 5, 5, 5])[1] == "ahead throughout"
    assert lower([4, 4, 6, 6], [5, 5, 5, 5])[1] == "falls behind"
    assert math.isnan(lower([4, 4, 6, 6], [5, 5, 5, 5])[0])
    n, _ = lower([6, 4, 6, 4], [5, 5, 5, 5])
    assert 100 < n < 200  # the last crossing: from there on it stays ahead
    assert lower([5, 5, 5, 5], [5, 5, 5, 5])[1] == "behind throughout"  # a tie is no lead


def slow_crossing(a: np.ndarray, b: np.ndarray, sizes: list[int]) -> float:
    found = -math.inf
    gap = [float(np.median(b[:, at]) - np.median(a[:, at])) for at in range(len(sizes))]
    for at in range(len(sizes)):
        if gap[at] <= 0:
            found = math.inf
            if at + 1 < len(sizes) and gap[at + 1] > 0:
                share = gap[at] / (gap[at] - gap[at + 1])
                found = math.exp(math.log(sizes[at]) + share * (math.log(sizes[at + 1]) - math.log(sizes[at])))
    return found


def test_the_interval_is_that_of_a_loop_over_paired_draws() -> None:
    rng = np.random.default_rng(0)
    a = np.array([9, 7, 5, 4]) + 1.5 * rng.standard_normal((8, 4))
    b = np.array([6, 5.8, 5.5, 5.4]) + 0.5 * rng.standard_normal((8, 4))
    found = crossing(a, b, SIZES, higher_is_better=False, drawing=(0.1, 400, 3))
    drawn = sorted(
        slow_crossing(a[rows], b[rows], SIZES) for rows in np.random.default_rng(3).integers(0, 8, (400, 8))
    )
    assert (found.low, found.high) == pytest.approx((drawn[19], drawn[379]))
    assert found.share == pytest.approx(np.isfinite(drawn).mean())
    assert found.n == pytest.approx(slow_crossing(a, b, SIZES))


def test_an_interval_may_reach_beyond_the_sizes() -> None:
    rng = np.random.default_rng(1)
    a, b = np.array([6, 5.2, 5]) + rng.standard_normal((5, 3)), np.full((5, 3), 5.1)
    found = crossing(a, b, [10, 20, 40], higher_is_better=False)
    assert found.high == math.inf
    assert 0 < found.share < 1


def test_draws_of_other_numbers_are_drawn_size_by_size() -> None:
    a = np.array([[9.0, 4.0], [8.0, np.nan], [8.5, 3.0]])
    b = np.array([[6.0, 6.0], [6.0, 6.0]])
    found = crossing(a, b, [10, 1000], higher_is_better=False)
    assert found.n == pytest.approx(10 ** (1 + 2 * 2.5 / 5))
    assert found.low < found.n < found.high
    assert found.share == 1


# --- tables ---------------------------------------------------------------------------------------------------


def points_of(tmp_path: Path, table: pd.DataFrame, name: str = "curve") -> pd.DataFrame:
    (entry,) = read_entries([write_curve(tmp_path / name, table, sources=[{"role": "table", "name": VOLUMES}])])
    return curve_points(entry, ())


def test_points_of_a_folder_know_their_roles(tmp_path: Path) -> None:
    table = curve_table({RIDGE: {20: 7, 40: 6}, (VOLUMES, "ridge", "ignored"): {20: 8, 40: 7},
                         ("-", "baseline", "ignored"): {20: 14}, (NET, "ridge", "target"): {20: 1}})  # fmt: skip
    more = {
        "combinations": {NET: ["net/a/t/mean"], VOLUMES: [VOLUMES]},
        "sources": [{"role": "table", "name": VOLUMES}],
    }
    (entry,) = read_entries([write_curve(tmp_path / "c", table, **more)])
    found = curve_points(entry, ())
    assert dict(zip(found["arm"], found["role"], strict=True)) == {
        "ridge on net": "frozen", "ridge on volumes": "volumes", "baseline": "baseline"
    }  # fmt: skip
    assert set(found["run"]) == {"c"}
    with pytest.raises(TypeError, match="points must be of curves; x has none"):
        curve_points(Entry("x", tmp_path, "", {}), ())


def test_points_of_a_run_are_its_repeats_and_seeds() -> None:
    y = ages(30)
    predicted = near(y, 4, 0, 4)
    arms = [arm_of("base", np.full((4, 30), y.mean()), "baseline"), arm_of("s", predicted, "scratch", 2)]
    found = run_points(common_of(y, folds_of(30, 5, 2)), arms, "run", "the same people for all sizes")
    own = found[(found["arm"] == "s") & (found["metric"] == "mae")]
    np.testing.assert_allclose(own["value"], [mean_absolute_error(y, one) for one in predicted])
    assert (own["draw"].tolist(), set(own["n_train"])) == ([0, 1, 2, 3], {24})
    assert found.loc[(found["arm"] == "base") & (found["metric"] == "r"), "value"].isna().all()


def test_scratch_may_overtake_others_and_others_each_other(tmp_path: Path) -> None:
    volumes = {20: 6, 80: 5.9, 320: 5.8}
    frozen = points_of(
        tmp_path, curve_table({RIDGE: {20: 7, 80: 6, 320: 5.5}, (VOLUMES, "ridge", "ignored"): volumes})
    )
    alone = crossings(frozen, 0.05, n_draws=50)
    assert alone[["arm", "overtaken", "verdict"]].values.tolist() == [["ridge on net", "ridge on volumes", "crosses"]]
    scratch = points_of(tmp_path, curve_table({SCRATCH: {20: 12, 80: 8, 320: 4}}), "other").assign(role="scratch")
    found = crossings(pd.concat([frozen, scratch]), 0.05, n_draws=50)
    assert found["arm"].tolist() == ["scratch on net"] * 2
    assert found["n_cross"].tolist() == pytest.approx([80 * 4 ** (2 / 3.5), 80 * 4 ** (2.1 / 3.9)])
    assert (found["low"] == found["high"]).all()  # draws are all alike
    assert found[["n_low", "n_high", "n_test"]].iloc[0].tolist() == [20, 320, 40]
    one_size = scratch[scratch["n_train"] == 20]
    assert len(crossings(pd.concat([frozen, one_size]), 0.05, n_draws=50)) == 0


def test_points_of_other_test_people_stand_apart(tmp_path: Path) -> None:
    one = points_of(tmp_path, curve_table({RIDGE: {20: 7, 80: 6}}))
    apart = pd.concat([one, one.assign(n_test=99)])
    assert len(list(series(apart))) == 2
    assert len(list(series(apart.assign(tested="each size its own")))) == 1
    assert len(crossings(apart.iloc[:0], 0.05)) == 0
