"""Slices that a feature file keeps apart, and a network's own answer, as a user types it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema, store
from featx.analysis.aggregate import AGGREGATIONS, aggregate
from featx.analysis.runs.bundle import read_bundle
from featx.featureset import FeatureSet
from tests.cli.conftest import QUICK, N
from tests.conftest import make_set

RECIPE = json.dumps({"view": [{"step": "slices", "axis": "axial", "count": 4}]})


def apart(name: str, ids: list[str], hidden: np.ndarray, seed: int) -> FeatureSet:
    """Four slices of three features; the third slice holds the hidden numbers."""
    one = make_set(name, ids, 12, seed=seed, network="net", pooling="slices", recipe=RECIPE)
    X = one.X.reshape(len(ids), 4, 3)
    X[:, 2, :2] = hidden
    X[:, 2, 2] += 4
    return replace(one, X=X)


def direct(name: str, ids: list[str], values: np.ndarray) -> FeatureSet:
    one = make_set(name, ids, 1, network=name.split("/")[0], pooling="mean")
    return replace(one, X=values.astype(np.float32)[:, None])


@pytest.fixture(scope="module")
def sliced(study: Path) -> Path:
    """s.h5, new-s.h5 with slices (new-mean.h5 with their mean), answer.h5 with what networks say of age and sex."""
    people, new = pd.read_csv(study / "people.csv"), pd.read_csv(study / "new-people.csv")
    ids, new_ids = list(people["participant_id"]), list(new["participant_id"])
    hidden = np.column_stack([(people["age"] - 50) / 8, (people["sex"] == "M") * 2 - 1])
    new_hidden = np.column_stack([(new["age"] - 50) / 8, np.ones(len(new))])
    sets = [apart(f"net/{view}/t/slices", ids, hidden, at) for at, view in enumerate(("axial", "coronal"))]
    store.write_sets(study / "s.h5", sets)
    one = apart("net/axial/t/slices", new_ids, new_hidden, 5)
    store.write_sets(study / "new-s.h5", [one])
    store.write_sets(study / "new-mean.h5", [aggregate(one, "mean")])
    share = np.where(people["sex"] == "M", 0.8, 0.1)
    answers = [direct("ages/volume/prediction/mean", ids, people["age"].to_numpy() + 2)]
    answers += [direct("sexes/volume/prediction/mean", ids, share)]
    store.write_sets(study / "answer.h5", answers)
    both = [sets[0], replace(aggregate(sets[0], "mean"), X=np.ones((N, 3), np.float32))]
    store.write_sets(study / "both.h5", both)
    return study


def sets_of(run: Path, stem: str) -> list[dict[str, object]]:
    return list(read_bundle(run / f"heads/{stem}.npz").contract["sets"])


@pytest.mark.parametrize("how, width", [("mean", 3), ("max", 3), ("std", 3), ("concat", 12)])
def test_fit_aggregates(featx, sliced, tmp_path, how, width):
    run = tmp_path / "run"
    words = () if how == "mean" else ("--aggregate", how)
    featx("fit", "s.h5", "people.csv", "--target", "age", *words, *QUICK, "-o", run)
    found = sets_of(run, "age--ridge--net")
    expected = [
        aggregate(store.read_set(sliced / "s.h5", f"net/{view}/t/slices"), how) for view in ("axial", "coronal")
    ]
    assert [one["name"] for one in found] == [f"net/axial/t/{how}", f"net/coronal/t/{how}"]
    assert [one["key"] for one in found] == [one.key for one in expected]
    assert [one["n_features"] for one in found] == [width, width]
    facts = json.loads((run / "run.json").read_text())
    assert facts["arguments"]["aggregate"] == how
    assert [one["file"] for one in facts["sources"]] == ["s.h5"]


def test_a_set_goes_by_its_stored_name_or_by_the_aggregated_one(featx, sliced, tmp_path):
    names = ("net/axial/t/slices", "net/coronal/t/max")
    words = [word for name in names for word in ("--features", name)]
    featx(
        "fit", "s.h5", "people.csv", "--target", "age", "--aggregate", "max", *words, *QUICK, "-o", tmp_path / "run"
    )
    runs = json.loads((tmp_path / "run/run.json").read_text())["features"]
    assert {one["name"]: [own["name"] for own in one["sets"]] for one in runs} == {
        "net/axial/t/slices": ["net/axial/t/max"], "net/coronal/t/max": ["net/coronal/t/max"],
    }  # fmt: skip


def test_the_stored_set_of_the_name_is_taken(featx, sliced, tmp_path):
    said = featx("fit", "both.h5", "people.csv", "--target", "age", *QUICK, "-o", tmp_path / "run")
    scores = pd.read_csv(tmp_path / "run/scores.csv").query("head == 'ridge' and metric == 'mae'")
    assert scores["value"].item() == pytest.approx(scores["baseline"].item())  # the stored one says nothing
    assert "net" in said


def test_predict_finds_the_features_in_either_form(featx, sliced, tmp_path):
    words = ("--features", "net/axial/t/mean", *QUICK, "-o", tmp_path / "run")
    featx("fit", "s.h5", "people.csv", "--target", "age", *words)
    head = next((tmp_path / "run/heads").glob("age--ridge*.npz"))
    for name in ("new-s", "new-mean"):
        featx("predict", head, f"{name}.h5", "-o", tmp_path / f"{name}.csv")
    assert (tmp_path / "new-s.csv").read_bytes() == (tmp_path / "new-mean.csv").read_bytes()
    arrays = read_bundle(head).arrays
    new = store.read_set(sliced / "new-s.h5", "net/axial/t/slices")
    by_hand = new.X.astype(np.float64).mean(axis=1) @ arrays["coef"] + arrays["intercept"]
    np.testing.assert_allclose(pd.read_csv(tmp_path / "new-s.csv")["predicted"], by_hand, rtol=1e-5)
    said = featx("predict", head, "f.h5", "-o", tmp_path / "no.csv", code=2)
    assert "'net/axial/t/mean'" in said


def test_attention_from_fit_to_predict(featx, sliced, tmp_path):
    words = ("--aggregate", "concat", "--features", "net/axial/t/slices", "--head", "attention", "--head", "logistic")
    featx("fit", "s.h5", "people.csv", "--target", "age", "--target", "sex", *words, *QUICK, "-o", tmp_path / "run")
    scores = pd.read_csv(tmp_path / "run/scores.csv").query("head == 'attention'").set_index(["target", "metric"])
    assert scores.loc[("age", "r"), "value"] > 0.95
    assert scores.loc[("sex", "auc"), "value"] > 0.95
    head = next((tmp_path / "run/heads").glob("age--attention*.npz"))
    featx("predict", head, "new-s.h5", "-o", tmp_path / "ages.csv")
    found = pd.read_csv(tmp_path / "ages.csv").merge(pd.read_csv(sliced / "new-people.csv"), on="participant_id")
    assert np.abs(found["predicted"] - found["age"]).mean() < 2
    said = featx("predict", head, "new-mean.h5", "-o", tmp_path / "no.csv", code=2)
    assert "it was fitted on 'net/axial/t/concat' and given" in said


def test_a_curve_aggregates(featx, sliced, tmp_path):
    words = ("--aggregate", "concat", "--features", "net/axial", "--head", "attention", "--n", "30", "--draws", 1)
    featx(
        "curve",
        "s.h5",
        "people.csv",
        "--target",
        "age",
        *words,
        "--inner-folds",
        3,
        "--jobs",
        1,
        "-o",
        tmp_path / "c",
    )
    facts = json.loads((tmp_path / "c/curve.json").read_text())
    assert facts["combinations"] == {"net/axial": ["net/axial/t/concat"]}
    assert facts["aggregate"] == "concat"
    table = pd.read_csv(tmp_path / "c/curve.csv").query("head == 'attention' and metric == 'r'")
    assert table["value"].item() > 0.8


def test_direct_from_fit_to_predict(featx, sliced, tmp_path):
    words = ("--features", "ages/volume/prediction/mean", "--features", "sexes", "--head", "direct")
    said = featx(
        "fit", "answer.h5", "people.csv", "--target", "age", "--target", "sex", *words, *QUICK,
        "-o", tmp_path / "run", code=3,
    )  # fmt: skip
    assert "sex: unfitted: direct on ages/volume/prediction/mean, confounds ignored: a direct answer for two" in said
    scores = pd.read_csv(tmp_path / "run/scores.csv").query("head == 'direct'")
    scores = scores.set_index(["target", "features", "metric"])["value"]
    assert scores["age", "ages/volume/prediction/mean", "mae"] == pytest.approx(2, abs=1e-5)
    assert scores["sex", "sexes", "auc"] == 1
    assert (
        "age: unfitted: direct on sexes, confounds ignored: a direct answer must be in the unit of the target" in said
    )
    head = next((tmp_path / "run/heads").glob("sex--direct*.npz"))
    featx("predict", head, "answer.h5", "--allow-training-people", "-o", tmp_path / "sex.csv")
    found = pd.read_csv(tmp_path / "sex.csv").merge(pd.read_csv(sliced / "people.csv"), on="participant_id")
    assert found["predicted"].tolist() == found["sex"].tolist()
    assert set(found["probability_M"].round(6)) == {0.8, 0.1}


def test_a_stored_probability_is_of_the_level_that_is_meant(featx, sliced, tmp_path):
    people = pd.read_csv(sliced / "people.csv")
    people["sex"] = people["sex"].map({"M": "man", "F": "woman"})
    people.to_csv(sliced / "words.csv", index=False)
    words = ("--target", "sex", "--features", "sexes", "--head", "direct", *QUICK, "-o", tmp_path / "run")
    featx("fit", "answer.h5", "words.csv", *words)
    assert pd.read_csv(tmp_path / "run/scores.csv").query("head == 'direct' and metric == 'auc'")["value"].item() == 1
    (head,) = (tmp_path / "run/heads").glob("sex--direct*.npz")
    featx("predict", head, "answer.h5", "--allow-training-people", "-o", tmp_path / "sex.csv")
    found = pd.read_csv(tmp_path / "sex.csv").merge(people, on="participant_id")
    assert found["predicted"].tolist() == found["sex"].tolist()
    told = found["probability_man"].round(6)
    assert told.tolist() == np.where(people["sex"] == "man", 0.8, 0.1).tolist()


def test_a_probability_of_levels_that_do_not_say_which_is_told(featx, sliced, tmp_path):
    people = pd.read_csv(sliced / "people.csv")
    people["sex"] = people["sex"].map({"M": 1, "F": 2})
    people.to_csv(sliced / "coded.csv", index=False)
    words = ("--features", "sexes", "--head", "direct", "--head", "logistic", *QUICK, "-o", tmp_path / "run")
    said = featx("fit", "answer.h5", "coded.csv", "--target", "sex", *words, code=3)
    assert "sex: unfitted: direct on sexes, confounds ignored: a direct answer for two classes must be" in said
    assert "'1' and '2' do not say which one is meant; recode" in said
    assert set(pd.read_csv(tmp_path / "run/scores.csv")["head"]) <= {"baseline", "logistic"}


@pytest.mark.parametrize(
    "words, says",
    [
        (("--aggregate", "sum"), "a way to aggregate slices must be known; 'sum' is not; known are 'concat', 'max'"),
        (("--head", "attention"), "'net' does not: it wants one feature set whose slices are kept apart"),
        (
            ("--head", "attention", "--aggregate", "concat"),
            "and these are 2 sets; name one set with --features, or take each",
        ),
        (("--head", "direct"), "'net' does not: it is a single column, and these are 6; name the set that holds it"),
        (("--features", "net/axial/t/max"), "'net/axial/t/max' matches none; known are 'net/axial/t/mean'"),
    ],
)
def test_a_wrong_call_is_one_sentence(featx, sliced, tmp_path, words, says):
    said = featx("fit", "s.h5", "people.csv", "--target", "age", *words, *QUICK, "-o", tmp_path / "run", code=2)
    assert len(said.strip().splitlines()) == 1
    assert says in said


def test_an_unknown_aggregation_is_refused_without_slices_too(featx, sliced, tmp_path):
    words = ("--table", "volumes=volumes.csv", "--target", "age", "--aggregate", "sum", "-o", tmp_path / "run")
    assert "aggregate slices must be known; 'sum'" in featx("fit", "people.csv", *words, *QUICK, code=2)


def test_heads_say_what_they_want(featx):
    said = featx("heads")
    assert "wants     one feature set whose slices are kept apart: extract with --pool slices, fit with --agg" in said
    assert "the probability of the one that their names say is meant (M of F and M, 1 of 0 and 1, case" in said
    assert said.count("wants ") == 2


@pytest.mark.parametrize("weights, told", [("official", 1), ("random:0", 0), ("reinit:0", 0)])
def test_weights_that_were_drawn_were_trained_on_nothing(featx, sliced, tmp_path, weights, told):
    ids = list(pd.read_csv(sliced / "people.csv")["participant_id"])
    one = make_set("sfcn.ukb_age/volume/features/mean", ids, 4, network="sfcn.ukb_age", weights=weights)
    store.write_sets(sliced / "drawn.h5", [one])
    featx("fit", "drawn.h5", "people.csv", "--target", "age", *QUICK, "-o", tmp_path / "run")
    cautions = json.loads((tmp_path / "run/run.json").read_text())["cautions"]
    assert sum(one["code"] == "outside-training-range" for one in cautions) == told


def test_what_is_aggregated_is_what_is_extracted(featx, brains, tmp_path):
    """Of the same brains, every pooling is extracted and made of the slices: equal keys, equal numbers."""
    poolings = [word for how in (*AGGREGATIONS, "slices") for word in ("--pool", how)]
    featx(
        "extract", brains(2), "-n", "squeezenet1_0.imagenet@random:0", "--tap", "fire2", "--axis", "axial",
        "--slices", 3, "--size", 48, *poolings, "-o", tmp_path / "f.h5",
    )  # fmt: skip
    (name,) = [one for one in store.list_sets(tmp_path / "f.h5") if one.endswith("/slices")]
    apart = store.read_set(tmp_path / "f.h5", name)
    assert apart.X.shape[:2] == (2, 3)
    for how in AGGREGATIONS:
        made, stored = aggregate(apart, how), store.read_set(tmp_path / "f.h5", name.removesuffix("slices") + how)
        assert (made.name, made.key) == (stored.name, stored.key)
        np.testing.assert_allclose(made.X, stored.X, rtol=1e-5, atol=1e-6 * float(np.abs(stored.X).max()))
        assert {made.provenance[one] for one in schema.names(schema.PROVENANCE)} == set(stored.provenance.values())
