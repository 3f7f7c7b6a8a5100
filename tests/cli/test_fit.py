"""featx fit as a user types it: every option is seen in what the run says; see test_refusals.py for bad input."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.runs.bundle import read_bundle
from tests.cli.conftest import QUICK, N

NET = ("f.h5", "people.csv")
VOLUMES = ("people.csv", "--table", "volumes=volumes.csv")


@pytest.fixture
def fit(featx, tmp_path):
    """Run featx fit, quickly, and give the run's folder; what it printed is in `said`."""

    def call(*words, code=0):
        call.said = featx("fit", *words, *QUICK, "-o", tmp_path / "run", code=code)
        return tmp_path / "run"

    return call


def read(run, name):
    return pd.read_csv(run / name, dtype={"fold": int, "repeat": int}, keep_default_na=False, na_values=[""])


def scored(run, target, metric):
    """The metric by (features, head, confounds)."""
    table = read(run, "scores.csv")
    own = table[(table["target"] == target) & (table["metric"] == metric)]
    return {tuple(row[:3]): row[3] for row in own[["features", "head", "confounds", "value"]].to_numpy()}


def bundle(run, stem):
    return read_bundle(run / f"heads/{stem}.npz")


# --- features -------------------------------------------------------------------------------------------------


def test_a_table_alone(fit, study):
    run = fit(*VOLUMES, "--target", "age")
    assert set(scored(run, "age", "mae")) == {("-", "baseline", "ignored"), ("volumes", "ridge", "ignored")}
    assert scored(run, "age", "r")["volumes", "ridge", "ignored"] > 0.4
    facts = json.loads((run / "run.json").read_text())
    assert [(one["role"], one["name"], one["file"]) for one in facts["sources"]] == [
        ("table", "volumes", "volumes.csv")
    ]
    predicted = read(run, "predictions/age.csv")
    assert sorted(predicted.loc[predicted["head"] == "ridge", "participant_id"]) == sorted(
        pd.read_csv(study / "people.csv")["participant_id"]
    )


def test_a_table_beside_a_network_and_both_together(fit):
    words = ("--features", "volumes", "--features", "net", "--features", "volumes+net")
    run = fit(*NET, "--table", "volumes=volumes.csv", *words, "--target", "age")
    assert [one[0] for one in scored(run, "age", "mae")] == ["-", "volumes", "net", "volumes+net"]
    contract = bundle(run, "age--ridge--volumes-net").contract
    assert [(one["name"], one["n_features"]) for one in contract["sets"]] == [
        ("volumes", 2), ("net/axial/t/mean", 6), ("net/coronal/t/mean", 6),
    ]  # fmt: skip
    table = read(run, "comparisons.csv")
    assert (table["question"] == "over the baseline").sum() == (table["question"] == "features").sum()
    table = table[table["question"] == "features"]
    assert {("volumes", "net"), ("volumes", "volumes+net"), ("net", "volumes+net")} == set(
        zip(table["features_a"], table["features_b"], strict=True)
    )
    assert "[nan" not in fit.said


def test_columns_of_another_table(fit):
    run = fit(*NET, "--also", "volumes.csv", "--target", "iq", "--target", "hippocampus", "--confound", "ventricles")
    assert ("net", "ridge", "added") in scored(run, "hippocampus", "mae")
    facts = json.loads((run / "run.json").read_text())
    assert [(one["role"], one["file"]) for one in facts["sources"]] == [("features", "f.h5"), ("also", "volumes.csv")]


# --- confounds, sites -----------------------------------------------------------------------------------------


def test_confounds_make_three_arms_and_removal_one_more(fit):
    run = fit(*VOLUMES, "--target", "iq", "--confound", "age:spline", "--confound", "sex", "--remove", "both")
    assert set(scored(run, "iq", "mae")) == {
        ("-", "baseline", "ignored"), ("-", "ridge", "only"), ("volumes", "ridge", "ignored"),
        ("volumes", "ridge", "added"), ("volumes", "ridge", "both"),
    }  # fmt: skip
    table = read(run, "predictions/iq.csv")
    assert table.loc[table["confounds"] == "both", "confound_part"].notna().all()
    assert table.loc[table["confounds"] != "both", "confound_part"].isna().all()
    assert set(read(run, "comparisons.csv")["question"]) == {"gain over confounds", "over the baseline"}
    names = [one["spec"] for one in bundle(run, "iq--ridge--volumes--both").contract["confounds"]["specs"]]
    assert names == ["age:spline", "sex"]


def test_combat_keeps_what_it_is_told_to_preserve(fit):
    words = ("--site", "site", "--harmonise", "combat", "--confound", "brain", "--preserve", "brain")
    run = fit(*NET, "--target", "age", *words)
    contract = bundle(run, "age--ridge--net").contract
    assert contract["prepare"]["harmonise"] == "combat"
    assert contract["prepare"]["n_preserved"] == 1
    assert contract["sites"] == ["A", "B", "C"]


# --- who, and which folds -------------------------------------------------------------------------------------


def test_site_age_and_group(fit, study):
    run = fit(*NET, "--target", "sex", "--site", "site", "--age", "age", "--group", "family")
    table = read(run, "breakdowns.csv")
    assert {"A", "B", "C"} == set(table.loc[table["by"] == "site", "label"])
    assert {"age", "age-matched"} <= set(table["by"])
    people = pd.read_csv(study / "people.csv").merge(read(run, "splits.csv"), on="participant_id")
    assert (people.groupby("family")["fold"].nunique() == 1).all()
    assert people["fold"].nunique() == 3


def test_repeats_have_other_folds_and_everybody_is_test_once_in_each(fit):
    run = fit(*VOLUMES, "--target", "age", "--repeats", 2)
    first, second = (own.set_index("participant_id")["fold"] for _, own in read(run, "splits.csv").groupby("repeat"))
    assert len(first) == len(second) == N
    assert (first != second).any()
    table = read(run, "predictions/age.csv")
    assert (table[table["head"] == "ridge"].groupby(["participant_id", "repeat"]).size() == 1).all()


def test_where(fit, study):
    run = fit(*VOLUMES, "--target", "age", "--where", "site in ['A', 'B'] and age >= 45")
    people = pd.read_csv(study / "people.csv")
    kept = people[people["site"].isin(["A", "B"]) & (people["age"] >= 45)]["participant_id"]
    assert sorted(read(run, "splits.csv")["participant_id"]) == sorted(kept)
    gone = read(run, "exclusions.csv")
    assert len(gone) == N - len(kept)
    assert set(gone["code"]) == {"filtered"}
    assert f"{N - len(kept)}  filtered" in fit.said


@pytest.mark.parametrize(
    "words, column", [(("--scheme", "site", "--site", "site"), "site"), (("--split-column", "quarter"), "quarter")]
)
def test_folds_by_site_or_by_a_column(fit, words, column, study):
    run = fit(*VOLUMES, "--target", "age", *words)
    people = pd.read_csv(study / "people.csv").merge(read(run, "splits.csv"), on="participant_id")
    assert set(people.groupby(column)["fold"].nunique()) == {1}
    assert people["fold"].nunique() == people[column].nunique()


@pytest.mark.parametrize(
    "words, test",
    [
        (("--split-column", "cohort"), "cohort == 'test'"),
        (("--test-where", "site == 'C' and age > 40"), "site == 'C' and age > 40"),
    ],
)
def test_a_test_cohort_is_all_that_is_predicted(fit, words, test, study):
    run = fit(*VOLUMES, "--target", "age", *words)
    expected = set(pd.read_csv(study / "people.csv").query(test)["participant_id"])
    table = read(run, "predictions/age.csv")
    assert set(table["participant_id"]) == expected
    assert bundle(run, "age--ridge--volumes").contract["n_people"] == N - len(expected)


def test_the_folds_of_another_run_give_its_scores_again(fit, tmp_path):
    words = (*VOLUMES, "--target", "age", "--target", "sex", "--repeats", 2)
    run = fit(*words, "--seed", 5)
    tables = {name: (run / name).read_bytes() for name in ("splits.csv", "scores.csv", "predictions/age.csv")}
    splits = tmp_path / "earlier.csv"
    splits.write_bytes(tables["splits.csv"])
    again = fit(*words, "--splits", splits, "--seed", 5)
    assert {name: (again / name).read_bytes() for name in tables} == tables
    other = fit(*words, "--seed", 6)
    assert (other / "splits.csv").read_bytes() != tables["splits.csv"]


def test_targets_can_share_folds(fit):
    words = ("--target", "age", "--target", "iq", "--target", "sex")
    apart = {
        target: own["fold"].tolist() for target, own in read(fit(*VOLUMES, *words), "splits.csv").groupby("target")
    }
    assert apart["age"] != apart["sex"]
    for stratify in ("none", "sex"):
        run = fit(*VOLUMES, *words, "--stratify", stratify)
        assert set(read(run, "splits.csv")["target"]) == {"*"}
        folds = {}
        for target in ("age", "iq", "sex"):
            table = read(run, f"predictions/{target}.csv")
            own = table[table["head"] == "baseline"].set_index("participant_id")["fold"]
            folds[target] = own.sort_index().tolist()
        assert folds["age"] == folds["iq"] == folds["sex"]


# --- targets --------------------------------------------------------------------------------------------------


def test_all_targets_are_all_columns_but_ids_and_confounds(fit):
    words = ("--site", "site", "--group", "family", "--confound", "brain:square", "--confound", "quarter")
    run = fit(*VOLUMES, "--targets", "*", *words)
    asked = json.loads((run / "run.json").read_text())["arguments"]["targets"]
    assert asked == ["age", "sex", "iq", "grade", "cohort"]
    assert "(logistic: the head does not suit the kind of the target: 'age', 'iq', 'grade')" in fit.said


def test_an_ordinal_target(fit):
    run = fit(*VOLUMES, "--target", "grade", "--kind", "grade=ordinal", "--head", "ridge")
    table = read(run, "scores.csv")
    assert set(table["kind"]) == {"ordinal"}
    assert scored(run, "grade", "spearman")["volumes", "ridge", "ignored"] > 0.3


def test_an_export_of_uk_biobank(fit, tmp_path, study):
    people = pd.read_csv(study / "people.csv")
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "eid": people["participant_id"].str.removeprefix("sub-"),
            "21003-2.0": people["age"].round().astype(int),
            "31-0.0": (people["sex"] == "M").astype(int),
            "738-2.0": people["grade"],
            "709-2.0": rng.integers(1, 5, N),
        }
    )
    table.loc[[3, 4], "738-2.0"] = [-3, -1]
    table.to_csv(tmp_path / "ukb.csv", index=False)
    run = fit("f.h5", tmp_path / "ukb.csv", "--target", "age", "--target", "household_income")
    facts = {one["name"]: one for one in json.loads((run / "run.json").read_text())["targets"]}
    assert (facts["age"]["kind"], facts["age"]["unit"]) == ("continuous", "years")
    assert facts["household_income"]["kind"] == "ordinal"
    assert facts["household_income"]["classes"][0] == "less than 18,000"
    assert facts["household_income"]["n_images"] == N - 2
    run = fit("f.h5", tmp_path / "ukb.csv", "--targets", "*")
    assert json.loads((run / "run.json").read_text())["arguments"]["targets"] == [
        "age", "sex", "household_size", "household_income",
    ]  # fmt: skip


# --- what is fitted -------------------------------------------------------------------------------------------


def test_principal_components(fit):
    run = fit(*NET, "--target", "age", "--pca", 3)
    head = bundle(run, "age--ridge--net")
    assert head.contract["prepare"]["pca"] == 3
    assert head.arrays["coef"].shape == (3,)
    assert json.loads((run / "run.json").read_text())["arguments"]["adjusting"]["pca"] == 3
    run = fit(*NET, "--target", "age", "--pca", 0.5)
    assert bundle(run, "age--ridge--net").contract["prepare"]["pca"] == 0.5


def test_calibration_and_class_weights_change_probabilities(fit):
    def probabilities(*words):
        run = fit(*VOLUMES, "--target", "cohort", "--head", "logistic", *words)
        table = read(run, "predictions/cohort.csv")
        return run, table[table["head"] == "logistic"].set_index("participant_id")["probability_test"]

    _, plain = probabilities()
    _, balanced = probabilities("--class-weight", "balanced")
    assert balanced.mean() > plain.mean() + 0.1  # a quarter is 'test'
    run, calibrated = probabilities("--calibrate", "platt")
    assert (calibrated != plain).all()
    assert bundle(run, "cohort--logistic--volumes").contract["calibration"] is not None


def test_permutations_and_age_bias(fit):
    words = ("--permutations", 19, "--correct-age", "age", "--confound", "brain")
    run = fit(*VOLUMES, "--target", "age", *words)
    table = read(run, "permutations.csv")
    assert set(table["n_permutations"]) == {19}
    assert table["p"].min() == 1 / 20  # the features say something
    assert re.search(r"permuted  volumes: r 0\.\d+ .*p 0\.05", fit.said)
    bias = read(run, "age_bias.csv")
    assert {"raw", "beheshti"} <= set(bias["correction"])
    delta = bias[(bias["metric"] == "delta_r") & (bias["features"] == "volumes") & (bias["confounds"] == "ignored")]
    delta = delta.set_index("correction")["value"]
    assert abs(delta["beheshti"]) < abs(delta["raw"])
    assert "corrected_beheshti" in read(run, "predictions/age.csv")


def test_removed_confounds_are_told_apart_in_permutations(fit):
    fit(*VOLUMES, "--target", "age", "--permutations", 4, "--confound", "brain", "--remove", "features")
    assert "permuted  volumes, confounds features: r " in fit.said


def test_a_grid_of_scikit_learn(fit):
    head = "sklearn:neighbors.KNeighborsRegressor"
    run = fit(*VOLUMES, "--target", "age", "--head", head, "--grid", head + '={"n_neighbors": [3, 9]}')
    (own,) = json.loads((run / "run.json").read_text())["heads"]
    assert own["parameters"]["n_neighbors"] in (3, 9)
    assert scored(run, "age", "r")["volumes", head, "ignored"] > 0.3


def test_a_dry_run_counts_the_fits_and_writes_nothing(featx, tmp_path):
    words = ("fit", *NET, "--target", "age", "--target", "sex", "--confound", "brain", *QUICK, "-o", tmp_path / "run")
    said = featx(*words, "--dry-run")
    assert "age (continuous): 60 images, 3 splits, heads ridge" in said
    assert not (tmp_path / "run").exists()
    n_fits = 2 * 3 * (3 + 1)  # targets, arms, folds and the head that is kept
    assert f"\n{n_fits} fits; nothing was fitted, nothing was written" in said


def test_the_tables_of_a_run_have_their_columns(fit):
    run = fit(*VOLUMES, "--target", "age")
    for name, columns in (
        (schema.SCORES_CSV, schema.SCORES),
        (schema.SPLITS_CSV, schema.SPLITS),
        (schema.COMPARISONS_CSV, schema.COMPARISONS),
        (schema.BREAKDOWNS_CSV, schema.BREAKDOWNS),
        (schema.EXCLUSIONS_CSV, schema.EXCLUSIONS),
    ):
        assert list(pd.read_csv(run / name).columns) == schema.names(columns), name
