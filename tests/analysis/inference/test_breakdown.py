from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS
from featx.analysis.inference.breakdown import (
    BREAKDOWN_COLUMNS,
    Scoring,
    age_matched,
    by_label,
    by_quantile,
    match_on_line,
    worst,
)
from featx.analysis.inference.scores import bootstrap, interval
from featx.errors import AnalysisError


def numbers(n: int = 60) -> tuple[Scoring, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(n)
    groups = np.array([f"sub-{at}" for at in rng.integers(0, n, n)])
    predicted = y + rng.standard_normal((2, n))
    predicted[0, ::3] = np.nan
    return Scoring(CONTINUOUS, y, predicted, groups, n_bootstrap=40), np.repeat(["x", "y", "z"], [30, 25, 5])


def test_each_site_is_scored_by_itself() -> None:
    scoring, sites = numbers()
    table = by_label(scoring, sites)
    assert table.columns.tolist() == list(BREAKDOWN_COLUMNS)
    for site in "xy":
        own = sites == site
        found = bootstrap(
            CONTINUOUS, scoring.observed[own], scoring.predicted[:, own], scoring.groups[own], n_bootstrap=40
        )
        part = table[table["label"] == site].set_index("metric")
        assert part.index.tolist() == list(found)
        for metric, one in found.items():
            row = part.loc[metric]
            assert (row["value"], row["low"], row["high"]) == pytest.approx((one.value, *interval(one.draws)))
        assert set(part["n"]) == {own.sum()}
        assert set(part["n_people"]) == {len(set(scoring.groups[own]))}
    few = table[table["label"] == "z"]
    assert few[["value", "low", "high"]].isna().all(axis=None)
    assert set(few["n"]) == {5}


def test_a_site_of_one_class_has_counts_only() -> None:
    y = np.array([0, 1] * 10 + [1] * 20)
    p = np.full((40, 2), 0.5)
    sites = np.repeat(["mixed", "one"], 20)
    table = by_label(Scoring(BINARY, y, p, np.arange(40), n_bootstrap=0), sites).set_index(["label", "metric"])
    assert table.loc[("mixed", "accuracy"), "value"] == 0.5
    assert np.isnan(table.loc[("one", "accuracy"), "value"])
    assert table.loc[("one", "accuracy"), "n"] == 20


def test_rows_that_nobody_tested_do_not_count() -> None:
    y, p = np.arange(20.0), np.arange(20.0)[None] + 1
    p[0, 10:] = np.nan
    table = by_label(Scoring(CONTINUOUS, y, p, np.arange(20), n_bootstrap=0, least=1), np.repeat(["a", "b"], 10))
    assert table.groupby("label")["n"].first().to_dict() == {"a": 10, "b": 0}
    assert table.loc[table["label"] == "b", "value"].isna().all()


def test_rows_without_a_label_are_of_no_part() -> None:
    scoring, sites = numbers()
    sites = np.where(sites == "y", "", sites)
    table = by_label(scoring, sites.astype(object))
    assert list(dict.fromkeys(table["label"])) == ["x", "z"]
    assert table["n"].max() == 30


def test_bands_hold_all_known_ages_and_ties_stay_together() -> None:
    scoring, _ = numbers()
    age = np.random.default_rng(1).integers(20, 60, 60).astype(float)
    age[:4] = np.nan
    table = by_quantile(scoring, age, n_bands=4).drop_duplicates("label")
    assert len(table) == 4
    assert table["n"].sum() == 56
    edges = [tuple(float(one) for one in label.split(" to ")) for label in table["label"]]
    assert all(a[1] < b[0] for a, b in itertools.pairwise(edges))
    same = by_quantile(scoring, np.full(60, 50.0))
    assert set(same["label"]) == {"50 to 50"}
    assert by_quantile(scoring, np.full(60, np.nan)).empty


# --- matching -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_matching_is_as_good_as_an_assignment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (np.sort(rng.uniform(0, 20, rng.integers(0, 12)).round(1)) for _ in range(2))
    caliper = 1.5
    pairs = match_on_line(a, b, caliper)
    assert pairs.shape == (len(pairs), 2)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    gaps = np.abs(a[pairs[:, 0]] - b[pairs[:, 1]])
    cost = np.abs(a[:, None] - b)
    rows, columns = linear_sum_assignment(np.where(cost <= caliper, cost, 1e6))
    best = cost[rows, columns][cost[rows, columns] <= caliper]
    assert len(pairs) == len(best)
    assert (gaps <= caliper).all()
    assert gaps.sum() == pytest.approx(best.sum())


def test_matching_takes_the_class_out_of_age() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [150, 60])
    age = np.r_[rng.normal(55, 8, 150), rng.normal(65, 8, 60)]
    order = rng.permutation(210)
    y, age, groups = y[order], age[order], np.array([f"s{at}" for at in range(210)])
    found = age_matched(y, age, groups, caliper_years=1.0)
    assert len(found.rows) == 2 * found.n_pairs
    assert (y[found.rows] == 1).sum() == found.n_pairs > 30
    assert found.gap_before_years == pytest.approx(age[y == 1].mean() - age[y == 0].mean())
    assert found.gap_years == pytest.approx(
        age[found.rows][y[found.rows] == 1].mean() - age[found.rows][y[found.rows] == 0].mean()
    )
    assert found.gap_before_years > 8
    assert abs(found.gap_years) < 0.5
    assert (np.diff(found.rows) > 0).all()


def test_people_are_matched_with_all_their_rows() -> None:
    groups = np.array(["a", "a", "b", "c", "c", "d", "e"])
    y = np.array([0, 0, 1, 0, 1, 1, 0])
    age = np.array([50.0, 52.0, 51.2, 51.0, 51.0, np.nan, 51.9])
    found = age_matched(y, age, groups)  # c has both classes, d no age; a is 51 on average
    assert found.rows.tolist() == [0, 1, 2]
    assert found.gap_before_years == pytest.approx(51.2 - (51 + 51.9) / 2)
    nobody = age_matched(np.zeros(7, int), age, groups)
    assert (nobody.rows.tolist(), nobody.n_pairs) == ([], 0)
    assert np.isnan([nobody.gap_years, nobody.gap_before_years]).all()


def test_more_than_two_classes_are_refused() -> None:
    with pytest.raises(AnalysisError, match="the target has classes up to 2"):
        age_matched(np.array([0, 1, 2]), np.zeros(3), np.arange(3))


# --- the worst ------------------------------------------------------------------------------------------------


def test_worst_numbers_are_means_over_repeats_and_one_row_per_person() -> None:
    y = np.array([1.0, 2.0, 3.0, 4.0])
    predicted = np.array([[1.0, 6.0, 3.5, np.nan], [1.0, 4.0, np.nan, np.nan]])
    table = worst(CONTINUOUS, y, predicted, np.array(["a", "b", "b", "c"]))
    assert table.values.tolist() == [[1, "b", 2.0, 5.0, 3.0], [0, "a", 1.0, 1.0, 0.0]]
    assert len(worst(CONTINUOUS, y, predicted, np.array(["a", "b", "b", "c"]), n=1)) == 1


def test_worst_classes_are_the_most_surprising() -> None:
    y = np.array([0, 2, 1])
    p = np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.2, 0.5, 0.3]])
    table = worst(MULTICLASS, y, p, np.array(["a", "b", "c"]))
    assert table["id"].tolist() == ["b", "c", "a"]
    np.testing.assert_allclose(table["error"], -np.log([0.1, 0.5, 0.7]))
    np.testing.assert_allclose(table["predicted"], [0.1, 0.5, 0.7])
    assert table["observed"].tolist() == [2, 1, 0]
