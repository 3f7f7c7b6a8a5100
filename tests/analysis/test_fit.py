"""Whole runs on a made cohort: what comes out is what plain scikit-learn on the same people and folds gives."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.fit import plan_fits, run
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.request import Result
from featx.analysis.rows import prediction_table

from .conftest import ONE, TWO, Cohort, ask, excluded, feature_set, only, sentence, value

TABULAR = ["ridge", "logistic", "boosting"]
BOTH_SETS = {ONE: (ONE,), TWO: (TWO,)}


def predictions(result: Result, target: str) -> pd.DataFrame:
    job = next(one for one in result.jobs if one.target.name == target)
    return prediction_table(job, result.arms[target])


def test_all_targets_features_and_heads(cohort: Cohort) -> None:
    calls: list[tuple[int, int, str]] = []
    targets = ["age", "level", "sex", "site"]
    folding = {"n_splits": 3, "n_inner": 2}
    kinds = {"level": "ordinal"}
    asked = ask(cohort, targets=targets, heads=TABULAR, combinations=BOTH_SETS, kinds=kinds, folding=folding)
    result = run(asked, lambda *told: calls.append(told))
    assert [(one.target.name, one.target.kind, one.target.classes) for one in result.jobs] == [
        ("age", "continuous", ()),
        ("level", "ordinal", ("1", "2", "3", "4")),
        ("sex", "binary", ("F", "M")),
        ("site", "multiclass", ("a", "b", "c")),
    ]
    total = 2 * 4 * 2 * 4  # combinations, targets, heads that suit, fits
    assert [done for done, _, _ in calls] == list(range(1, total + 1))
    assert {of for _, of, _ in calls} == {total}
    assert plan_fits(asked)[1] == total
    assert calls[0][2] == "age from one.x/axial/t/mean, ridge"
    suits = {(target, head) for target, head, _ in result.skipped}
    assert suits == {("age", "logistic"), ("level", "logistic"), ("sex", "ridge"), ("site", "ridge")}
    assert len(result.bundles) == 2 * 4 * 2
    for name, columns in (("scores", schema.SCORES), ("splits", schema.SPLITS), ("comparisons", schema.COMPARISONS)):
        assert list(result.tables[name].columns) == schema.names(columns)
    assert len(result.tables["splits"]) == 4 * 60
    scores = result.tables["scores"]
    assert value(scores, target="age", features=ONE, head="ridge", metric="r") > 0.95
    assert value(scores, target="level", features=ONE, head="ridge", metric="spearman") > 0.7
    assert value(scores, target="sex", features=ONE, head="logistic", metric="auc") > 0.9
    assert value(scores, target="site", features=ONE, head="boosting", metric="auc") > 0.75
    mae = only(scores, target="age", metric="mae")
    assert mae["baseline"].nunique() == 1
    assert mae["head"].tolist()[0] == "baseline"
    assert (mae["low"] < mae["value"]).all()
    table = predictions(result, "site")
    assert list(table.columns) == [*schema.names(schema.PREDICTIONS), *(f"probability_{one}" for one in "abc")]
    assert len(table) == 60 * (1 + 2 * 2)
    np.testing.assert_allclose(table[[f"probability_{one}" for one in "abc"]].sum(axis=1), 1)
    assert (table["observed"] == table["image_id"].map(cohort[1].set_index("participant_id")["site"])).all()


def test_folds_are_shared_by_all_heads_and_features(cohort: Cohort) -> None:
    result = run(ask(cohort, heads=["ridge", "boosting"], combinations=BOTH_SETS))
    table = predictions(result, "age")
    assert (table.groupby("image_id")["fold"].nunique() == 1).all()
    merged = table.merge(result.tables["splits"], on="image_id", suffixes=("", "_split"))
    assert (merged["fold"] == merged["fold_split"]).all()


def test_permuted_targets_score_at_chance(cohort: Cohort) -> None:
    sets, table = cohort
    rng = np.random.default_rng(4)
    shuffled = table.assign(age=rng.permutation(table["age"]), sex=rng.permutation(table["sex"]))
    asked = ask((sets, shuffled), targets=["age", "sex"], heads=TABULAR, inferring={"n_bootstrap": 200})
    scores = run(asked).tables["scores"]
    fitted = scores[scores["head"] != "baseline"]
    for metric, chance in {"r": 0.0, "auc": 0.5}.items():
        rows = fitted[fitted["metric"] == metric]
        assert len(rows) == 2
        assert (rows["value"] < chance + 0.3).all()
        assert (rows["low"] < chance).all()


def test_all_targets_bad_is_a_result_without_scores(cohort: Cohort) -> None:
    result = run(ask(cohort, targets=["height"]))
    for name, table in result.tables.items():
        assert len(table) == (name == "exclusions")
    assert list(result.tables["splits"].columns) == schema.names(schema.SPLITS)
    assert excluded(result) == {"height": "unknown-target"}


def test_sessions_stay_together(cohort: Cohort) -> None:
    sets, table = cohort
    images = [f"{person}_ses-{at}" for person in sets[ONE].participant_id for at in (1, 2)]
    both = feature_set(ONE, np.repeat(sets[ONE].X, 2, axis=0), images)
    result = run(ask(({ONE: both}, table), targets=["age", "sex"], heads=["ridge", "logistic"]))
    assert (result.tables["splits"].groupby(["target", "participant_id"])["fold"].nunique() == 1).all()
    assert [len(job.target.y) for job in result.jobs] == [120, 120]
    assert set(result.tables["scores"]["n_people"]) == {60}


def test_kind_can_be_overridden(cohort: Cohort) -> None:
    sets, table = cohort
    coded = table.assign(sex=(table["sex"] == "M").astype(int))
    result = run(ask((sets, coded), targets=["sex"], kinds={"sex": "continuous"}))
    assert result.jobs[0].target.kind == "continuous"


def test_a_head_that_cannot_be_fitted_costs_its_arm_only(cohort: Cohort) -> None:
    """Of three people two train: for two inner folds, which is one too few to fit a calibration on."""
    sets, table = cohort
    rare = table.assign(rare=np.where(np.arange(60) < 3, "b", "a"))
    asked: dict[str, Any] = {
        "heads": ["logistic"],
        "folding": {"n_splits": 3},
        "adjusting": {"calibrate": "platt"},
    }
    result = run(ask((sets, rare), targets=["rare", "sex"], **asked))
    alone = run(ask(cohort, targets=["sex"], **asked))
    assert excluded(result) == {"rare": "unfitted"}
    assert [arm.head for arm in result.arms["rare"]] == ["baseline"]
    scores = only(result.tables["scores"], target="sex")
    assert scores.to_csv(index=False) == alone.tables["scores"].to_csv(index=False)


def test_an_estimator_that_scikit_learn_cannot_fit_costs_its_arm_only(cohort: Cohort) -> None:
    name = "sklearn:neighbors.KNeighborsRegressor"
    result = run(ask(cohort, heads=[name, "ridge"], grids={name: {"n_neighbors": [1000]}}))
    assert excluded(result) == {"age": "unfitted"}
    assert "Expected n_neighbors <= n_samples" in sentence(result, "age")
    assert [arm.head for arm in result.arms["age"]] == ["baseline", "ridge"]


# --- confounds ------------------------------------------------------------------------------------------------

MODES = ("only", "ignored", "added", "features", "target", "both")


@pytest.fixture(scope="module")
def treated(cohort: Cohort) -> Result:
    adjusting = {"confounds": ("volume", "sex"), "modes": MODES}
    return run(ask(cohort, heads=["ridge", "logistic"], adjusting=adjusting, targets=["age", "site"]))


def test_every_way_to_treat_confounds_is_an_arm(treated: Result) -> None:
    labels = [arm.label for arm in treated.arms["age"]]
    assert labels[0] == ("-", "baseline", "ignored")
    assert set(labels[1:]) == {("-" if mode == "only" else "one", "ridge", mode) for mode in MODES}
    assert len(labels) == 1 + 6
    of_site = {arm.confounds for arm in treated.arms["site"]}
    assert of_site == {"ignored", "only", "added", "features"}  # a class has no residual
    told = {(one, what) for one, what, _ in treated.skipped}
    suits = {("age", "logistic"), ("site", "ridge")}
    assert told == suits | {("site", "confounds target"), ("site", "confounds both")}


def test_residual_arms_are_scored_on_what_confounds_leave(treated: Result) -> None:
    table, scores = predictions(treated, "age"), treated.tables["scores"]
    for mode in MODES:
        own = only(table, head="ridge", confounds=mode)
        part = own[schema.CONFOUND_PART].to_numpy()
        assert np.isfinite(part).all() == (mode in ("target", "both"))
        part = np.nan_to_num(part)
        observed, predicted = own["observed"].astype(float) - part, own["predicted"].astype(float) - part
        label = {"target": "age", "head": "ridge", "confounds": mode}
        assert value(scores, metric="mae", **label) == pytest.approx(np.abs(observed - predicted).mean())
        assert value(scores, metric="r", **label) == pytest.approx(np.corrcoef(observed, predicted)[0, 1])


def test_the_baseline_of_a_residual_arm_is_that_of_the_residual(treated: Result) -> None:
    """An error on what is left beside one on the whole would look like skill."""
    table, scores = predictions(treated, "age"), treated.tables["scores"]
    mean = only(table, head="baseline")["predicted"].astype(float).to_numpy()
    for mode in ("target", "both", "ignored"):
        own = only(table, head="ridge", confounds=mode)
        left = own["observed"].astype(float).to_numpy() - np.nan_to_num(own[schema.CONFOUND_PART].to_numpy())
        (row,) = only(scores, target="age", head="ridge", confounds=mode, metric="mae").to_dict("records")
        assert row["baseline"] == pytest.approx(np.abs(left - mean).mean())


def test_gain_over_confounds_is_added_against_only(treated: Result) -> None:
    gains = only(treated.tables["comparisons"], question="gain over confounds")
    assert set(gains["target"]) == {"age", "site"}
    assert set(gains["confounds_a"]) == {"added"}
    assert set(gains["confounds_b"]) == {"only"}
    assert set(gains["features_b"]) == {"-"}
    scores = treated.tables["scores"]
    (row,) = only(gains, target="age", head="ridge", metric="mae").to_dict("records")
    added = value(scores, target="age", head="ridge", confounds="added", metric="mae")
    alone = value(scores, target="age", head="ridge", confounds="only", metric="mae")
    assert (row["value_a"], row["value_b"]) == (added, alone)
    assert row["difference"] == pytest.approx(alone - added)
    assert row["difference"] > 0
    assert row["better"] == "a"


def test_a_confound_that_explains_everything_leaves_nothing() -> None:
    rng = np.random.default_rng(0)
    n = 120
    ids = [f"sub-{at:03d}" for at in range(n)]
    age = rng.normal(60, 10, n)
    X = age[:, None] / 10 + rng.standard_normal((n, 10))
    table = pd.DataFrame({"participant_id": ids, "it": 2 * age + 5 * rng.standard_normal(n), "age": age}).astype(str)
    adjusting = {"confounds": ("age",), "modes": ("ignored", "features", "both")}
    asked = ask(({ONE: feature_set(ONE, X, ids)}, table), targets=["it"], adjusting=adjusting)
    scores = only(run(asked).tables["scores"], metric="r")
    found = {mode: value(scores, head="ridge", confounds=mode) for mode in ("ignored", "features", "both")}
    assert found["ignored"] > 0.8
    assert abs(found["features"]) < 0.25
    assert abs(found["both"]) < 0.25


# --- folds that are shared, repeated, given ------------------------------------------------------------------


def test_shared_folds_are_those_of_each_target_alone(cohort: Cohort) -> None:
    """Fitted all at once, with missing labels; and each by itself on the folds that were written."""
    sets, table = cohort
    gaps = table.assign(
        age=table["age"].where(np.arange(60) % 7 > 0), volume=table["volume"].where(table["sex"] > "G")
    )
    targets = ["age", "volume", "sex", "level"]
    heads = ["ridge", "logistic"]
    columns = {"stratify": "none"}
    together = run(ask((sets, gaps), targets=targets, heads=heads, columns=columns, folding={"n_repeats": 2}))
    splits = together.tables["splits"]
    assert set(splits["target"]) == {"*"}
    assert len(splits) == 2 * 60
    for target in targets:
        alone = run(
            ask(
                (sets, gaps),
                targets=[target],
                heads=heads,
                columns=columns,
                folding={"scheme": "given", "n_inner": 3},
                given_splits=splits,
            )
        )
        one, other = predictions(alone, target), predictions(together, target)
        assert one["image_id"].tolist() == other["image_id"].tolist()
        assert one["fold"].tolist() == other["fold"].tolist()
        if target == "sex":
            np.testing.assert_allclose(one["probability_M"], other["probability_M"], atol=1e-7)
        else:
            np.testing.assert_allclose(one["predicted"].astype(float), other["predicted"].astype(float), rtol=1e-7)


@pytest.mark.parametrize("scheme", ["kfold", "site"])
def test_splits_of_a_run_give_the_same_predictions_again(cohort: Cohort, scheme: str) -> None:
    asked: dict[str, Any] = {"targets": ["age", "sex"], "heads": ["ridge", "logistic"]}
    columns = {"site": "scanner"}
    a = run(ask(cohort, folding={"scheme": scheme, "n_inner": 3, "n_splits": 3}, columns=columns, **asked))
    given = a.tables["splits"].sample(frac=1, random_state=0)  # the order of its rows says nothing
    b = run(ask(cohort, folding={"scheme": "given", "n_inner": 3}, columns=columns, given_splits=given, **asked))
    for target in ("age", "sex"):
        pd.testing.assert_frame_equal(predictions(a, target), predictions(b, target))
    assert a.tables["scores"].to_csv() == b.tables["scores"].to_csv()
    for key, bundle in a.bundles.items():
        assert bundle.arrays["coef"].tobytes() == b.bundles[key].arrays["coef"].tobytes()


def test_a_test_cohort_is_in_no_training_and_in_no_stored_head(cohort: Cohort) -> None:
    sets, table = cohort
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given["fold"] = np.where(np.arange(60) < 45, TRAIN_ONLY, 0)
    asked: dict[str, Any] = {
        "targets": ["age", "sex"],
        "heads": ["ridge", "logistic"],
        "folding": {"scheme": "given", "n_inner": 3},
        "given_splits": given,
        "columns": {"site": "scanner", "age": "age"},
        "adjusting": {"confounds": ("volume",), "modes": ("features",), "pca": 4},
    }
    plain = run(ask((sets, table), **asked))
    assert set(plain.tables["scores"]["n"]) == {15}
    assert {bundle.contract["n_people"] for bundle in plain.bundles.values()} == {45}
    rng = np.random.default_rng(0)
    other = sets[ONE].X.copy()
    other[45:] = rng.standard_normal((15, 8))  # another test cohort, with the same name
    table = table.copy()
    table.loc[45:, "volume"] = [str(at) for at in range(15)]
    table.loc[45:, "age"] = [str(20 + at) for at in range(15)]
    changed = run(ask(({**sets, ONE: replace(sets[ONE], X=other)}, table), **asked))
    for key, bundle in plain.bundles.items():
        for name, array in bundle.arrays.items():
            assert array.tobytes() == changed.bundles[key].arrays[name].tobytes(), (key, name)


def test_a_score_is_the_mean_over_repeats(cohort: Cohort) -> None:
    asked = ask(cohort, targets=["age", "sex"], heads=["ridge", "logistic"], folding={"n_repeats": 3})
    result = run(asked)
    table, scores = predictions(result, "age"), result.tables["scores"]
    assert sorted(set(table["repeat"])) == [0, 1, 2]
    folds = table[table["head"] == "ridge"].pivot(index="image_id", columns="repeat", values="fold")
    assert (folds[0] != folds[1]).any()
    each = []
    for _, own in only(table, head="ridge").groupby("repeat"):
        assert len(own) == 60
        each.append(np.corrcoef(own["observed"].astype(float), own["predicted"].astype(float))[0, 1])
    assert value(scores, target="age", head="ridge", metric="r") == pytest.approx(np.mean(each))
    assert set(scores["n"]) == {60}
    right = predictions(result, "sex").query("head == 'logistic'")
    assert value(scores, target="sex", head="logistic", metric="accuracy") == pytest.approx(
        (right["observed"] == right["predicted"]).mean()
    )


# --- age bias -------------------------------------------------------------------------------------------------


def test_age_bias_is_corrected_beside_the_raw_numbers(cohort: Cohort) -> None:
    asked = ask(cohort, targets=["age", "sex"], heads=["ridge", "logistic"], inferring={"correct_age": ("age",)})
    result = run(asked)
    table = predictions(result, "age")
    own = only(table, head="ridge")
    assert own[["corrected_cole", "corrected_beheshti"]].notna().all().all()
    assert only(table, head="baseline")[["corrected_cole", "corrected_beheshti"]].isna().all().all()
    bias = result.tables["age_bias"]
    assert list(bias.columns) == schema.names(schema.AGE_BIAS)
    assert list(dict.fromkeys(bias["correction"])) == ["raw", "cole", "beheshti"]
    age = own["observed"].astype(float)
    for correction, column in (("raw", "predicted"), ("cole", "corrected_cole"), ("beheshti", "corrected_beheshti")):
        guess = own[column].astype(float)
        assert value(bias, correction=correction, metric="mae") == pytest.approx(np.abs(guess - age).mean())
        delta = np.corrcoef(guess - age, age)[0, 1]
        assert value(bias, correction=correction, metric="delta_r") == pytest.approx(delta)
    assert result.bundles["age", "ridge", "one", "ignored"].contract["age_bias"].keys() == {"slope", "intercept"}


@pytest.mark.parametrize("head", ["ridge", "elasticnet"])
def test_a_correction_of_age_knows_training_people_only(cohort: Cohort, head: str) -> None:
    sets, table = cohort
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given["fold"] = np.arange(60) % 3
    asked: dict[str, Any] = {
        "heads": [head],
        "folding": {"scheme": "given", "n_inner": 3},
        "given_splits": given,
        "inferring": {"correct_age": ("age",), "n_bootstrap": 0},
    }
    older = table.assign(age=table["age"].where(np.arange(60) % 3 > 0, (table["age"].astype(float) + 9).astype(str)))
    one, two = (predictions(run(ask((sets, which), **asked)), "age") for which in (table, older))
    for fold, is_equal in ((0, True), (1, False)):
        a, b = (only(which[which["fold"] == fold], head=head)["corrected_cole"].to_numpy() for which in (one, two))
        assert np.array_equal(a, b) == is_equal


def test_a_correction_of_age_that_fails_leaves_the_raw_numbers(cohort: Cohort) -> None:
    """Folds within folds leave a site one person."""
    asked = ask(
        cohort,
        columns={"site": "scanner"},
        adjusting={"harmonise": "combat"},
        inferring={"n_bootstrap": 0, "correct_age": ("age",)},
    )
    result = run(asked)
    assert excluded(result) == {"age": "unfitted"}
    assert sentence(result, "age").startswith("correction of age after ridge on one, confounds ignored: ComBat must")
    assert len(only(result.tables["scores"], head="ridge"))
    assert not len(result.tables["age_bias"])
    assert result.bundles["age", "ridge", "one", "ignored"].contract["age_bias"] is None


def test_the_wing_needs_no_torch_h5py_or_matplotlib() -> None:
    code = (  # refused by a finder: with None in sys.modules, scipy asks None for its Tensor
        "import sys, pkgutil, importlib\n"
        "class Without:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('torch', 'h5py', 'matplotlib'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "import featx.analysis as wing\n"
        "for one in pkgutil.walk_packages(wing.__path__, 'featx.analysis.'): importlib.import_module(one.name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_age_is_corrected_on_shared_folds_too(cohort: Cohort) -> None:
    whole: dict[str, Any] = {"targets": ["age", "volume"], "inferring": {"correct_age": ("age",), "n_bootstrap": 0}}
    shared = run(ask(cohort, columns={"stratify": "none"}, **whole))
    assert set(shared.tables["age_bias"]["target"]) == {"age"}
    (arm,) = [one for one in shared.arms["age"] if one.head == "ridge"]
    assert set(arm.corrected) == {"cole", "beheshti"}


def test_a_test_cohort_is_in_no_word_of_the_head(cohort: Cohort) -> None:
    """Range, sites and knots are those of people who train; partners of an age are people who test."""
    sets, table = cohort
    table = table.copy()
    ages = table["age"].astype(float)
    table.loc[:1, "age"] = ["5", "120"]  # of people who test
    table.loc[:19, "scanner"] = np.where(np.arange(20) < 4, "far", table["scanner"][:20])
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given["fold"] = np.r_[np.zeros(20, dtype=int), np.full(40, -1)]
    wish: dict[str, Any] = {"folding": {"scheme": "given"}, "given_splits": given, "targets": ["age", "sex"]}
    result = run(
        ask(
            (sets, table),
            heads=["ridge", "logistic"],
            columns={"site": "scanner", "age": "age"},
            adjusting={"confounds": ("volume:spline",), "modes": ("added",), "harmonise": "combat"},
            **wish,
        )
    )
    made = next(one for key, one in result.bundles.items() if key[0] == "age").contract
    assert made["range"] == [ages[20:].min(), ages[20:].max()]
    assert "far" not in made["sites_trained"]
    assert "unseen-site" in {one.code for one in result.cautions}
    (knots,) = [one["knots"] for one in made["confounds"]["specs"]]
    trained = table["volume"][20:].astype(float)
    assert (knots[0], knots[-1]) == (trained.min(), trained.max())
    pairs = result.tables["breakdowns"].query("by == 'age-matched' and metric == 'auc' and target == 'sex'")
    for label, n in zip(pairs["label"], pairs["n"], strict=True):
        assert n == 2 * int(str(label).split()[0])
