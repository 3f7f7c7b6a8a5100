"""Ranks and how sure they are, against plain loops and scipy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from featx.analysis.comparing.arms import Arm
from featx.analysis.comparing.differing import Drawing, score
from featx.analysis.comparing.ranking import over_targets, ranked, ranking

from .conftest import ages, folds_of, near
from .test_differing import arm_of, common_of


def arms_and_ranking(errors: list[float], n_bootstrap: int = 300) -> tuple[list[Arm], pd.DataFrame]:
    y = ages(50)
    common = common_of(y, folds_of(50))
    arms = [arm_of(f"{at}", near(y, error, at)) for at, error in enumerate(errors)]
    scored = score(common, arms, Drawing(n_bootstrap=n_bootstrap))
    order = ranked(common, arms, scored)
    return order, ranking(common, order, scored, 0.05)


def test_ranks_are_those_of_a_loop_over_draws() -> None:
    order, table = arms_and_ranking([6, 3, 3.1])
    y = ages(50)
    assert [arm.name for arm in order] == table["arm"].tolist()
    assert table["value"].is_monotonic_increasing
    assert set(table["arm"][:2]) == {"1", "2"}
    drawn = []
    for counts in np.random.default_rng(0).multinomial(50, np.full(50, 1 / 50), 300):
        drawn.append([np.average(np.abs(arm.predicted[0] - y), weights=counts) for arm in order])
    draws = np.array(drawn)
    first = draws == draws.min(axis=1, keepdims=True)
    np.testing.assert_allclose(table["first"], (first / first.sum(axis=1, keepdims=True)).mean(axis=0))
    ranks = stats.rankdata(draws, axis=1)
    np.testing.assert_allclose(table["rank_low"], np.percentile(ranks, 2.5, axis=0))
    np.testing.assert_allclose(table["rank_high"], np.percentile(ranks, 97.5, axis=0))
    behind = draws - draws[:, :1]
    np.testing.assert_allclose(table["behind_low"], np.percentile(behind, 2.5, axis=0))
    np.testing.assert_allclose(table["behind"], table["value"] - table["value"][0])
    assert table["apart"].tolist() == ["no", "no", "yes"]
    assert table["first"].sum() == pytest.approx(1)


def test_without_draws_places_are_unknown() -> None:
    _, table = arms_and_ranking([6, 3], n_bootstrap=0)
    assert table["first"].isna().all()
    assert table["arm"].tolist() == ["1", "0"]
    assert table["apart"].tolist() == ["no", ""]  # nobody knows


def test_who_has_no_score_is_last() -> None:
    y = np.round(ages(30) / 20)
    common = common_of(y, folds_of(30), "ordinal")
    base = arm_of("base", np.full((1, 30), 2.0), "baseline")
    arms = [base, arm_of("bad", -near(y, 1, 0)), arm_of("good", near(y, 1, 0))]
    scored = score(common, arms, Drawing(n_bootstrap=50))
    order = ranked(common, arms, scored)
    assert [arm.name for arm in order] == ["good", "bad", "base"]
    table = ranking(common, order, scored, 0.05)
    assert math.isnan(table["value"].iloc[2])
    assert table["first"].tolist() == [1, 0, 0]
    assert table["apart"].tolist() == ["no", "yes", ""]


def ranking_of(target: str, kind: str, values: dict[tuple[str, str], float]) -> pd.DataFrame:
    metric = "mae" if kind == "continuous" else "auc"
    rows = [
        {"target": target, "run": "a", "features": features, "head": head, "confounds": "ignored", "role": "frozen",
         "arm": f"{head} on {features}", "metric": metric, "value": value}
        for (features, head), value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_mean_ranks_over_phenotypes_have_friedmans_test() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, (6, 4)) + np.array([0, 0.2, 0.4, 0.6])
    values[5] = 1 - values[5] / 10  # an AUC, of which more is better
    rankings = [
        ranking_of(f"t{at}", "continuous" if at < 5 else "binary",
                   {(f"f{column}", "ridge" if at < 5 else "logistic"): own[column] for column in range(4)})
        for at, own in enumerate(values)
    ]  # fmt: skip
    found = over_targets(rankings, 0.05)
    assert found is not None
    badness = values.copy()
    badness[5] = -badness[5]
    ranks = stats.rankdata(badness, axis=1).mean(axis=0)
    assert sorted(found.table["mean_rank"]) == pytest.approx(sorted(ranks))
    assert found.table["arm"].iloc[0] == f"ridge/logistic on f{ranks.argmin()}"
    assert found.table["n_first"].sum() == 6
    peer = stats.friedmanchisquare(*badness.T)
    assert (found.chi2, found.p) == pytest.approx((peer.statistic, peer.pvalue))
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 6)), abs=2e-3)  # Demsar's table


def test_few_phenotypes_have_ranks_and_no_test() -> None:
    both = [ranking_of(name, "continuous", {("a", "ridge"): 1, ("b", "ridge"): 2}) for name in "xy"]
    found = over_targets(both, 0.05)
    assert found is not None
    assert found.table["mean_rank"].tolist() == [1, 2]
    assert np.isnan([found.p, found.critical_difference]).all()
    assert over_targets(both[:1], 0.05) is None
    assert over_targets([], 0.05) is None
    other = ranking_of("z", "continuous", {("c", "ridge"): 1})
    assert over_targets([both[0], other], 0.05) is None


def test_two_heads_on_the_same_features_are_two_arms() -> None:
    one = ranking_of("x", "continuous", {("a", "ridge"): 1, ("a", "elastic-net"): 2})
    two = ranking_of("y", "binary", {("a", "logistic"): 0.9, ("a", "elastic-net-logistic"): 0.8})
    found = over_targets([one, two], 0.05)
    assert found is not None
    assert found.table["arm"].tolist() == ["ridge/logistic on a", "elastic-net/elastic-net-logistic on a"]
