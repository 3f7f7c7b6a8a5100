"""Heads that want features of a form of their own: attention over slices, and a network's own answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx.analysis.aggregate import aggregate
from featx.analysis.fit import plan_fits, run
from featx.analysis.learning import Drawing, learning_curves
from featx.analysis.runs.bundle import Bundle
from featx.analysis.runs.card import card
from featx.analysis.runs.prediction import predict
from featx.analysis.suiting import check_features, slices_of
from featx.errors import AnalysisError

from .conftest import Cohort, ask, excluded, feature_set, only, sentence, value

RECIPE = json.dumps({"view": [{"step": "slices", "axis": "axial", "count": 4}]})
CONCAT, AGE, SEX = "one.x/axial/t/concat", "net/volume/prediction/mean", "sex/volume/prediction/mean"
COMBINATIONS = {"concat": (CONCAT,), "age": (AGE,), "sex": (SEX,), "both": (AGE, SEX)}


@pytest.fixture(scope="module")
def slices() -> Cohort:
    """Slices that tell age and sex at one place, and what networks say of both."""
    rng = np.random.default_rng(0)
    n = 60
    ids = [f"sub-{at:02d}" for at in range(n)]
    X = rng.standard_normal((n, 4, 3))
    X[:, 2, 2] += 4  # marks the slice that tells
    age = 50 + 10 * X[:, 2, 0] + rng.standard_normal(n)
    female = X[:, 2, 1] < 0
    table = pd.DataFrame(
        {
            "participant_id": ids,
            "age": age.round(2).astype(str),
            "sex": np.where(female, "F", "M"),
            "volume": (100 + X[:, 0, 0]).round(3).astype(str),
            "scanner": ["x", "y"] * (n // 2),
        }
    )
    apart = feature_set("one.x/axial/t/slices", X, ids, network="one.x", pooling="slices", recipe=RECIPE)
    told = feature_set(AGE, (age + 5)[:, None], ids, network="net")
    share = feature_set(SEX, np.where(female, 0.2, 0.9)[:, None], ids, network="sex")
    return {one.name: one for one in (aggregate(apart, "concat"), told, share)}, table


def asked(slices: Cohort, *combinations: str, **changed: Any) -> Any:
    return ask(slices, combinations={name: COMBINATIONS[name] for name in combinations}, **changed)


# --- what comes out -------------------------------------------------------------------------------------------


def test_attention_is_an_arm_like_any_other_and_its_bundle_says_the_same(slices: Cohort) -> None:
    result = run(asked(slices, "concat", targets=["age", "sex"], heads=["ridge", "logistic", "attention"]))
    scores = result.tables["scores"]
    assert value(scores, target="age", head="attention", metric="r") > 0.9
    assert value(scores, target="sex", head="attention", metric="auc") > 0.85
    made = result.bundles["age", "attention", "concat", "ignored"]
    assert made.contract["sets"][0]["name"] == CONCAT
    assert {"penalty", "pooling"} == set(made.contract["parameters"])
    X = slices[0][CONCAT].X.astype(np.float64).reshape(60, 4, 3)
    scored = np.exp(X @ made.arrays["query"] + made.arrays["position"])
    shares = scored / scored.sum(axis=1, keepdims=True)
    by_hand = (shares[:, :, None] * X).sum(axis=1) @ made.arrays["coef"] + made.arrays["intercept"]
    found = predict(made, list(slices[0].values()), allow_training_people=True)
    np.testing.assert_allclose(found["predicted"], by_hand, rtol=1e-10)
    text = card(Bundle(json.loads(json.dumps(made.contract)), made.arrays))
    assert text.startswith("# age by attention over slices\n")
    assert f"- pooling: {made.contract['parameters']['pooling']}\n" in text
    assert "- what a slice weighs says where the head looks, and not why\n" in text


def test_confounds_stand_beside_attention_and_alone(slices: Cohort) -> None:
    adjusting = {"confounds": ("volume",), "modes": ("only", "ignored", "added", "features", "target")}
    result = run(asked(slices, "concat", heads=["attention"], adjusting=adjusting))
    assert [arm.confounds for arm in result.arms["age"]] == [
        "ignored", "only", "ignored", "added", "features", "target",
    ]  # fmt: skip
    scores = only(result.tables["scores"], metric="mae", head="attention")
    assert value(scores, confounds="added") < 0.5 * value(scores, confounds="only")
    assert result.skipped == ()


def test_a_direct_answer_is_scored_as_it_is(slices: Cohort) -> None:
    adjusting = {"confounds": ("volume",), "modes": ("only", "ignored", "added")}
    result = run(asked(slices, "age", heads=["direct", "ridge"], adjusting=adjusting))
    ages = result.jobs[0].target.y
    direct = [arm for arm in result.arms["age"] if arm.head == "direct"]
    assert [arm.label for arm in direct] == [("age", "direct", "ignored")]
    np.testing.assert_allclose(direct[0].predicted[0], ages + 5, atol=0.02)
    assert value(result.tables["scores"], head="direct", metric="mae") == pytest.approx(5, abs=0.01)
    compared = only(result.tables["comparisons"], head="direct", question="over the baseline", metric="mae")
    assert len(compared) == 1
    why = "it is an answer by itself, and nothing stands beside it or is done to it before"
    assert result.skipped == (
        ("age", "direct on -, confounds only", why),
        ("age", "direct on age, confounds added", why),
    )
    made = result.bundles["age", "direct", "age", "ignored"]
    found = predict(made, list(slices[0].values()), allow_training_people=True)
    assert found["predicted"].tolist() == slices[0][AGE].X[:, 0].astype(np.float64).tolist()
    text = card(made)
    assert "pipeline: nothing is fitted: the single column is the prediction" in text


def test_a_direct_answer_can_have_its_age_bias_corrected(slices: Cohort) -> None:
    result = run(asked(slices, "age", heads=["direct"], inferring={"correct_age": ("age",)}))
    table = only(result.tables["age_bias"], metric="mae")
    assert value(table, correction="raw") == pytest.approx(5, abs=0.01)
    assert value(table, correction="cole") < 0.1


def test_a_direct_probability_is_of_the_second_class(slices: Cohort) -> None:
    result = run(asked(slices, "sex", targets=["sex"], heads=["direct"]))
    assert result.jobs[0].target.classes == ("F", "M")
    assert value(result.tables["scores"], head="direct", metric="auc") == 1
    assert value(result.tables["scores"], head="direct", metric="balanced_accuracy") == 1


@pytest.mark.parametrize(
    "female, male", [("0", "1"), ("Female", "male"), ("girl", "m"), ("woman", "man"), ("f", "M"), ("W", "M")]
)
def test_levels_of_one_meaning_give_the_same_numbers(slices: Cohort, female: str, male: str) -> None:
    sets, table = slices
    coded = table.assign(sex=table["sex"].map({"F": female, "M": male}))
    request = asked((sets, coded), "sex", targets=["sex"], heads=["direct"])
    result = run(request)
    for metric in ("auc", "balanced_accuracy"):
        assert value(result.tables["scores"], head="direct", metric=metric) == 1
    points = learning_curves(request, Drawing((30,), n_draws=1)).points
    assert value(points, head="direct", metric="auc") == 1
    found = predict(
        result.bundles["sex", "direct", "sex", "ignored"], list(sets.values()), allow_training_people=True
    )
    assert found["predicted"].tolist() == coded["sex"].tolist()
    np.testing.assert_allclose(found[f"probability_{male}"], np.where(table["sex"] == "M", 0.9, 0.2), rtol=1e-6)


@pytest.mark.parametrize("female, male", [("2", "1"), ("1", "2"), ("b", "a")])
def test_levels_that_do_not_say_which_is_meant_are_refused(slices: Cohort, female: str, male: str) -> None:
    sets, table = slices
    coded = table.assign(sex=table["sex"].map({"F": female, "M": male}))
    request = asked((sets, coded), "sex", targets=["sex"], heads=["direct", "logistic"])
    result = run(request)
    assert {arm.head for arm in result.arms["sex"]} == {"baseline", "logistic"}
    assert excluded(result) == {"sex": "unfitted"}
    first, second = sorted((female, male))
    says = f"{first!r} and {second!r} do not say which one is meant; recode the class that it is the probability of"
    assert says in sentence(result, "sex")
    curves = learning_curves(request, Drawing((30,), n_draws=1))
    assert "direct" not in set(curves.points["head"])
    assert [says in one["sentence"] for one in curves.exclusions] == [True]


def test_a_probability_is_no_age(slices: Cohort) -> None:
    result = run(asked(slices, "sex", targets=["age", "sex"], heads=["direct"]))
    assert [arm.head for arm in result.arms["age"]] == ["baseline"]
    assert excluded(result) == {"age": "unfitted"}
    assert "direct on sex, confounds ignored: a direct answer must be in the unit of the target" in sentence(
        result, "age"
    )
    assert value(result.tables["scores"], target="sex", head="direct", metric="auc") == 1


def test_an_age_is_no_probability(slices: Cohort) -> None:
    result = run(asked(slices, "age", targets=["age", "sex"], heads=["direct"]))
    assert [arm.head for arm in result.arms["sex"]] == ["baseline"]
    assert "direct on age, confounds ignored: a direct answer for two classes must be" in sentence(result, "sex")
    assert value(result.tables["scores"], target="age", head="direct", metric="mae") == pytest.approx(5, abs=0.01)


def test_what_suits_one_head_only_is_told_and_left_out(slices: Cohort) -> None:
    request = asked(slices, "concat", "age", "both", heads=["ridge", "attention", "direct"])
    result = run(request)
    assert [arm.label[:2] for arm in result.arms["age"]] == [
        ("-", "baseline"), ("concat", "ridge"), ("concat", "attention"), ("age", "ridge"), ("age", "direct"),
        ("both", "ridge"),
    ]  # fmt: skip
    told = {what: why for _, what, why in result.skipped}
    assert told.keys() == {"attention on age", "attention on both", "direct on concat", "direct on both"}
    assert "these have no slices apart; extract with --pool slices and fit" in told["attention on age"]
    assert "and these are 2 sets; extract" in told["attention on both"]
    assert "it is a single column, and these are 12; name the set" in told["direct on concat"]
    assert plan_fits(request)[1] == 5 * (4 + 1)


def test_curves_leave_out_the_same(slices: Cohort) -> None:
    request = asked(slices, "concat", "age", heads=["attention", "direct"])
    points = learning_curves(request, Drawing((30,), n_draws=1)).points
    assert set(zip(points["features"], points["head"], strict=True)) == {
        ("-", "baseline"), ("concat", "attention"), ("age", "direct"),
    }  # fmt: skip


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "combinations, changed, says",
    [
        (
            ("age", "both"),
            {"heads": ["attention"]},
            "the head 'attention' must be given .* 'age' does not: it wants one",
        ),
        (("concat",), {"heads": ["ridge", "attention"], "adjusting": {"pca": 2}}, "components mix them; do without"),
        (("concat",), {"heads": ["direct"]}, "'concat' does not: it is a single column, and these are 12; name"),
        (("age",), {"heads": ["direct"], "adjusting": {"pca": 1}}, "it is an answer by itself, and nothing"),
        (
            ("age",),
            {"heads": ["direct"], "adjusting": {"harmonise": "combat"}, "columns": {"site": "scanner"}},
            "it is an answer by itself",
        ),
    ],
)
def test_a_head_that_no_features_suit_is_refused_first(
    slices: Cohort, combinations: tuple[str, ...], changed: dict[str, Any], says: str
) -> None:
    for what in (run, plan_fits, lambda request: learning_curves(request, Drawing((30,)))):
        with pytest.raises(AnalysisError, match=says):
            what(asked(slices, *combinations, **changed))


def test_several_sets_of_slices_are_to_be_taken_one_by_one(slices: Cohort) -> None:
    sets, table = slices
    other = replace(sets[CONCAT], name="one.x/coronal/t/concat")
    request = ask(
        ({**sets, other.name: other}, table), combinations={"all": (CONCAT, other.name)}, heads=["attention"]
    )
    says = (
        "kept apart, and these are 2 sets; name one set with --features, or take each by itself with "
        "--features each, or take another head$"
    )
    with pytest.raises(AnalysisError, match=says):
        check_features(request)
    each = replace(request, combinations={name: (name,) for name in (CONCAT, other.name)})
    check_features(each)
    assert [slices_of(each, name) for name in each.combinations] == [4, 4]


def test_slices_that_are_not_aggregated_are_refused(slices: Cohort) -> None:
    apart = feature_set("one.x/axial/t/slices", np.ones((3, 4, 2)), ["a", "b", "c"], pooling="slices")
    request = ask(({apart.name: apart}, slices[1]), combinations={"one": (apart.name,)})
    with pytest.raises(
        AnalysisError, match=r"'one.x/axial/t/slices' keeps .* the shape \(3, 4, 2\); aggregate it first"
    ):
        check_features(request)


def test_slices_are_counted_for_one_set_only(slices: Cohort) -> None:
    request = asked(slices, "concat", "age", "both")
    assert [slices_of(request, name) for name in ("concat", "age", "both", "-")] == [4, 1, 1, 1]
