"""Tables of a result, against what plain pandas makes of the predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from featx import schema
from featx.analysis.fit import run
from featx.analysis.inference.cautions import Caution
from featx.analysis.inference.permutation import fdr
from featx.analysis.request import Arm, Result
from featx.analysis.results import MOST_COMPARED, finite, pairs_of
from featx.analysis.rows import prediction_table

from .conftest import ONE, TWO, Cohort, ask, only, value


@pytest.fixture(scope="module")
def result(cohort: Cohort) -> Result:
    return run(
        ask(
            cohort,
            combinations={"one": (ONE,), "two": (TWO,)},
            targets=["age", "volume", "sex"],
            heads=["ridge", "logistic"],
            folding={"n_repeats": 2},
            columns={"site": "scanner", "age": "age"},
            cautions=(Caution("known", "something is known beforehand"),),
            training={"one.x": ("one.x's people", (90.0, 95.0))},
            units={"age": "years"},
        )
    )


def predictions(result: Result, target: str) -> pd.DataFrame:
    job = next(one for one in result.jobs if one.target.name == target)
    table = prediction_table(job, result.arms[target])
    if target != "sex":
        table[["observed", "predicted"]] = table[["observed", "predicted"]].astype(float)
    return table


def maes(table: pd.DataFrame) -> pd.Series:
    error = (table["observed"] - table["predicted"]).abs()
    return error.groupby([table["repeat"], table["fold"]]).mean()


def test_columns_are_those_of_the_schema(result: Result) -> None:
    columns = {
        "scores": schema.SCORES,
        "comparisons": schema.COMPARISONS,
        "permutations": schema.PERMUTATIONS,
        "breakdowns": schema.BREAKDOWNS,
        "age_bias": schema.AGE_BIAS,
        "splits": schema.SPLITS,
        "exclusions": schema.EXCLUSIONS,
        "people": schema.PEOPLE,
    }
    assert {name: list(table.columns) for name, table in result.tables.items()} == {
        name: schema.names(own) for name, own in columns.items()
    }


def test_comparisons_are_those_of_the_predictions(result: Result) -> None:
    table, own = predictions(result, "age"), only(result.tables["comparisons"], target="age", metric="mae")
    over = own[own["question"] == "over the baseline"]
    assert over["features_a"].tolist() == ["one", "two"]
    assert (over["difference"] > 0).all()
    own = own[own["question"] == "features"]
    (row,) = own.to_dict("records")
    assert (row["question"], row["features_a"], row["features_b"], row["head"]) == ("features", "one", "two", "ridge")
    a, b = only(table, features="one"), only(table, features="two")
    assert row["difference"] == pytest.approx(row["value_b"] - row["value_a"])
    assert row["low"] < row["difference"] < row["high"]
    folds = (maes(a) - maes(b)).to_numpy()
    variance = folds.var(ddof=1) * (1 / 8 + 15 / 45)
    p = 2 * stats.t.sf(abs(folds.mean() / np.sqrt(variance)), 7)
    assert row["p_corrected_t"] == pytest.approx(p)
    errors = [(one["observed"] - one["predicted"]).abs().groupby(one["image_id"]).mean() for one in (a, b)]
    less = errors[1] - errors[0]  # of a person, mean over repeats
    assert row["effect"] == pytest.approx(less.mean() / less.std(ddof=1))
    assert row["better"] == ("a" if row["low"] > 0 else "b" if row["high"] < 0 else "")
    assert np.isnan(row["p_delong"])


def test_q_is_over_the_targets_of_the_same_comparison(result: Result) -> None:
    comparisons = result.tables["comparisons"]
    mae = only(comparisons, metric="mae", question="features")
    assert mae["target"].tolist() == ["age", "volume"]
    np.testing.assert_allclose(mae["q"], fdr(mae["p_corrected_t"]))
    auc = only(comparisons, metric="auc", question="features")
    assert auc["q"].tolist() == auc["p_corrected_t"].tolist()
    assert np.isfinite(auc["p_delong"]).all()


def test_sites_and_ages_are_scored_apart(result: Result, cohort: Cohort) -> None:
    people = cohort[1].set_index("participant_id")
    breakdowns = result.tables["breakdowns"]
    table = only(predictions(result, "volume"), features="one")
    for site in "xyz":
        own = table[table["image_id"].map(people["scanner"]) == site]
        by_hand = (own["observed"] - own["predicted"]).abs().groupby(own["repeat"]).mean().mean()
        found = only(breakdowns, target="volume", features="one", by="site", label=site, metric="mae")
        assert found[["n", "n_people"]].values.tolist() == [[20, 20]]
        assert float(found["value"].iloc[0]) == pytest.approx(by_hand)
    ages = only(breakdowns, target="volume", features="one", by="age", metric="mae")
    assert ages["n"].tolist() == [20, 20, 20]
    first = float(people["age"].astype(float).min())
    assert ages["label"].iloc[0].startswith(f"{first:g} to ")
    matched = only(breakdowns, target="sex", features="one", by="age-matched", metric="auc")
    assert matched["label"].str.fullmatch(r"\d+ pairs within 1 year").all()
    assert "age-matched" not in set(only(breakdowns, target="age")["by"])
    assert "baseline" not in set(breakdowns["head"])


def test_the_worst_predicted_are_named(result: Result) -> None:
    table = only(predictions(result, "age"), features="one")
    errors = (table["observed"] - table["predicted"]).abs().groupby(table["image_id"]).mean().sort_values()[::-1]
    found = only(result.tables["breakdowns"], target="age", features="one", by="worst predicted")
    assert found["label"].tolist() == errors.index[:10].tolist()
    np.testing.assert_allclose(found["value"], errors[:10])


def test_cautions_are_of_the_table_the_networks_and_the_people(result: Result) -> None:
    codes = [one.code for one in result.cautions]
    assert codes[0] == "known"
    assert set(codes[1:]) == {"outside-training-range"}
    assert any("one.x" in one.sentence and "90" in one.sentence for one in result.cautions)
    assert {one.target for one in result.cautions if one.target} <= {"age", "volume", "sex"}


def test_contracts_say_what_a_head_is_worth(result: Result) -> None:
    contract = result.bundles["sex", "logistic", "one", "ignored"].contract
    scores = only(result.tables["scores"], target="sex", head="logistic", features="one")
    assert [one["metric"] for one in contract["scores"]] == scores["metric"].tolist()
    assert contract["scores"][0]["value"] == value(scores, metric="auc")
    assert contract["folds"] == {"scheme": "kfold", "n_splits": 4, "n_repeats": 2, "n_test": 60}
    assert (contract["unit"], contract["classes"], contract["n_people"], contract["range"]) == (
        "",
        ["F", "M"],
        60,
        None,
    )
    age = result.bundles["age", "ridge", "two", "ignored"].contract
    observed = predictions(result, "age")["observed"]
    assert (age["unit"], age["range"]) == ("years", [observed.min(), observed.max()])
    assert age["site"] == "scanner"


def test_the_score_of_a_class_is_over_all_folds_together(result: Result) -> None:
    table = only(predictions(result, "sex"), features="two")
    each = [roc_auc_score(own["observed"] == "M", own["probability_M"]) for _, own in table.groupby("repeat")]
    scores = only(result.tables["scores"], target="sex", features="two")
    assert value(scores, metric="auc") == pytest.approx(np.mean(each))
    assert set(scores["kind"]) == {"binary"}
    assert only(scores, metric="auc")["baseline"].tolist() == [0.5]


def test_intervals_without_draws_are_empty(cohort: Cohort) -> None:
    scores = run(ask(cohort, inferring={"n_bootstrap": 0})).tables["scores"]
    assert scores[["low", "high"]].isna().all().all()
    assert only(scores, head="ridge")["value"].notna().all()


def arm(features: str, head: str = "ridge", confounds: str = "ignored") -> Arm:
    return Arm(features, head, confounds, np.empty((1, 0)))


def label_pairs(arms: list[Arm]) -> list[tuple[Any, ...]]:
    return [(one.question, one.a.label, one.b.label) for one in pairs_of(arms)]


def test_few_combinations_are_compared_each_with_each() -> None:
    arms = [arm("-", "baseline"), arm("a"), arm("b"), arm("c"), arm("a", "boosting"), arm("a", confounds="added")]
    found = label_pairs(arms)
    baseline = [a for question, a, b in found if question == "over the baseline" and b[1] == "baseline"]
    assert [a[:2] for a in baseline] == [
        ("a", "ridge"),
        ("b", "ridge"),
        ("c", "ridge"),
        ("a", "boosting"),
        ("a", "ridge"),
    ]
    rest = [(a[0], b[0]) for question, a, b in found if question != "over the baseline"]
    assert rest == [("a", "b"), ("a", "c"), ("b", "c")]


def test_many_combinations_are_compared_with_the_first() -> None:
    names = [f"c{at}" for at in range(MOST_COMPARED + 1)]
    found = label_pairs([arm(name) for name in names])
    assert [(a[0], b[0]) for _, a, b in found] == [(name, "c0") for name in names[1:]]


def test_what_is_added_to_confounds_is_compared_with_these_alone() -> None:
    arms = [arm("-", confounds="only"), arm("-", "boosting", "only"), arm("a", confounds="added"), arm("a")]
    assert label_pairs(arms) == [("gain over confounds", ("a", "ridge", "added"), ("-", "ridge", "only"))]


def test_numbers_for_json() -> None:
    assert finite(np.float64(1.5)) == 1.5
    assert finite(np.nan) is None
    assert finite(np.inf) is None


def test_probabilities_are_held_against_what_was_observed(result: Result) -> None:
    """Cox's recalibration by an oracle, over the first repeat; numbers have none."""
    found = only(result.tables["breakdowns"], target="sex", features="one", by="calibration").set_index("metric")
    own = only(predictions(result, "sex"), features="one", repeat=0)
    level = next(name for name in own if str(name).startswith(schema.PROBABILITY))
    second = [name for name in own if str(name).startswith(schema.PROBABILITY)][1]
    p, y = own[second].to_numpy(), (own["observed"] == str(second)[len(schema.PROBABILITY) :]).to_numpy(dtype=int)
    oracle = LogisticRegression(C=1e10, tol=1e-10).fit(np.log(p / own[level].to_numpy())[:, None], y)
    assert found.loc["calibration slope", "value"] == pytest.approx(oracle.coef_[0, 0], rel=1e-3)
    assert found.loc["calibration intercept", "value"] == pytest.approx(oracle.intercept_[0], abs=1e-3)
    assert found.loc["calibration brier_skill", "value"] == pytest.approx(
        1 - np.mean((p - y) ** 2) / np.mean((y.mean() - y) ** 2)
    )
    assert "calibration" not in set(only(result.tables["breakdowns"], target="age")["by"])
