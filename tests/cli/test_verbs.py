"""featx curve, predict and heads as a user types them, and what --help says of every verb."""

import json

import numpy as np
import pandas as pd
import pytest
import typer

from featx import schema
from featx.analysis.runs.bundle import read_bundle
from featx_cli.main import app
from tests.cli.conftest import QUICK

COMMANDS = typer.main.get_command(app).commands
CURVE = ("f.h5", "people.csv", "--inner-folds", 3, "--draws", 2, "--jobs", 1)


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_help_describes_every_option(featx, verb):
    said = featx(verb, "--help")
    assert said.startswith(f"Usage: featx {verb}")
    for option in COMMANDS[verb].params:
        assert option.help, f"{verb}: {option.name}"


@pytest.mark.parametrize("verb", ["fit", "curve", "predict", "heads"])
def test_help_shows_an_example(featx, verb):
    _, _, example = featx(verb, "--help").partition("Example")
    assert f"  featx {verb}" in example.partition("Options:")[0]


def test_heads_are_listed_with_what_is_done(featx):
    said = featx("heads")
    for name in ("ridge", "logistic", "boosting"):
        assert f"\n{name}: " in f"\n{said}"
    assert "for       binary, multiclass\n" in said
    assert "sklearn:module.Class" in said


# --- curve ----------------------------------------------------------------------------------------------------


def test_curve(featx, tmp_path):
    words = ("--table", "volumes=volumes.csv", "--target", "age", "--target", "sex", "--n", "15,30,1.0")
    said = featx("curve", *CURVE, *words, "-o", tmp_path / "c")
    table = pd.read_csv(tmp_path / "c/curve.csv")
    assert list(table.columns) == schema.names(schema.CURVE)
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "curve.csv", "curve.json", "exclusions.csv", "age-mae.svg", "sex-auc.svg", "study.toml",
    }  # fmt: skip
    own = table[(table["target"] == "age") & (table["metric"] == "mae")]
    assert sorted(set(own["n_train"])) == [15, 30, 48]
    assert set(own.groupby(["features", "head", "n_train"]).size()) == {2}
    assert set(own["features"]) == {"-", "net", "volumes"}
    median = own[own["features"] == "net"].groupby("n_train")["value"].median()
    assert f"{median[48]:.3f}" in said
    assert json.loads((tmp_path / "c/curve.json").read_text())["drawing"]["n_draws"] == 2


def test_a_curve_of_a_test_cohort_with_confounds(featx, tmp_path):
    words = ("--target", "age", "--n", "20", "--split-column", "cohort", "--confound", "brain", "--head", "ridge")
    featx("curve", *CURVE, *words, "-o", tmp_path / "c")
    table = pd.read_csv(tmp_path / "c/curve.csv")
    assert set(table["n_test"]) == {15}
    assert set(table["confounds"]) == {"ignored", "only", "added"}


def test_a_size_of_too_many_people_costs_only_itself(featx, tmp_path):
    said = featx("curve", *CURVE, "--target", "age", "--n", "20,400", "-o", tmp_path / "c", code=3)
    assert set(pd.read_csv(tmp_path / "c/curve.csv")["n_train"]) == {20}
    assert "age: too-few-people: size 400: " in said
    words = ("--target", "age", "--n", "100", "--with-replacement", "-o", tmp_path / "c")
    featx("curve", *CURVE, *words)
    assert set(pd.read_csv(tmp_path / "c/curve.csv")["n_train"]) == {100}


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--n", "ten"), "--n must be numbers of people or shares, separated by commas; got 'ten'"),
        (("--n", ""), "a learning curve must have sizes; it has none"),
        (("--n", "0"), "got 0; write 50, or 0.5"),
        (("--n", "1.5"), "got 1.5; write 50, or 0.5"),
        (("--test-share", 0.9), "the share of test people must be"),
        (("--head", "forest"), "'forest' is not; known are"),
    ],
)
def test_a_wrong_curve_is_one_sentence(featx, tmp_path, words, sentence):
    said = featx("curve", *CURVE, "--target", "age", *words, "-o", tmp_path / "c", code=2)
    assert said.startswith("featx: ")
    assert len(said.strip().splitlines()) == 1
    assert sentence in said


# --- predict --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heads(study, tmp_path_factory):
    """Heads on volumes and a network, with ComBat, confounds and calibration."""
    return tmp_path_factory.mktemp("heads") / "run"


@pytest.fixture
def fitted(featx, heads):
    """The run's heads, fitted once."""
    if not heads.exists():
        words = ("--table", "volumes=volumes.csv", "--features", "volumes", "--features", "volumes+net")
        more = ("--target", "iq", "--target", "sex", "--confound", "age", "--remove", "features", "--remove", "both")
        harmonised = ("--site", "site", "--harmonise", "combat", "--calibrate", "platt")
        featx("fit", "f.h5", "people.csv", *words, *more, *harmonised, *QUICK, "-o", heads)
    return heads / "heads"


@pytest.fixture
def plain(featx, tmp_path):
    """A ridge head on two volumes."""
    featx("fit", "people.csv", "--table", "volumes=volumes.csv", "--target", "iq", *QUICK, "-o", tmp_path / "run")
    return tmp_path / "run/heads/iq--ridge--volumes.npz"


def test_predict_from_a_table(featx, study, plain, tmp_path):
    said = featx("predict", plain, "--table", "volumes=new-volumes.csv", "-o", tmp_path / "p.csv")
    assert "8 images predicted (iq, ridge)" in said
    head = read_bundle(plain)
    X = pd.read_csv(study / "new-volumes.csv")[["hippocampus", "ventricles"]].to_numpy()
    expected = X @ head.arrays["coef"].ravel() + float(head.arrays["intercept"])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")["predicted"], expected)


def test_predict_of_training_people(featx, plain, tmp_path):
    words = ("predict", plain, "--table", "volumes=volumes.csv", "-o", tmp_path / "p.csv")
    assert "60 of 60 images are of such, the first of 'sub-00'" in featx(*words, code=2)
    assert not (tmp_path / "p.csv").exists()
    featx(*words, "--allow-training-people")
    assert pd.read_csv(tmp_path / "p.csv")["was_trained_on"].all()
    featx("predict", plain, "--table", "volumes=new-volumes.csv", "--allow-training-people", "-o", tmp_path / "p.csv")
    assert not pd.read_csv(tmp_path / "p.csv")["was_trained_on"].any()


@pytest.mark.parametrize("stem", ["sex--logistic--volumes-net", "sex--logistic--volumes-net--features"])
def test_predict_with_sites_confounds_and_calibration(featx, study, fitted, tmp_path, stem):
    words = (
        "new.h5",
        "--table",
        "volumes=new-volumes.csv",
        "--phenotypes",
        "new-people.csv",
        "-o",
        tmp_path / "p.csv",
    )
    featx("predict", fitted / f"{stem}.npz", *words)
    table = pd.read_csv(tmp_path / "p.csv")
    assert table["participant_id"].tolist() == [f"new-{at}" for at in range(8)]
    np.testing.assert_allclose(table["probability_F"] + table["probability_M"], 1)
    assert (table["predicted"] == np.where(table["probability_M"] > 0.5, "M", "F")).all()


def test_the_confounds_part_of_a_new_prediction_is_told(featx, fitted, tmp_path):
    words = ("--table", "volumes=new-volumes.csv", "--phenotypes", "new-people.csv", "-o", tmp_path / "p.csv")
    featx("predict", fitted / "iq--ridge--volumes--both.npz", *words)
    assert pd.read_csv(tmp_path / "p.csv")["confound_part"].nunique() == 8


def test_predict_says_who_is_left_out(featx, study, fitted, tmp_path):
    people = pd.read_csv(study / "new-people.csv", dtype=str)
    people.loc[:2, "age"] = np.nan
    people.to_csv(tmp_path / "people.csv", index=False)
    words = ("--table", "volumes=new-volumes.csv", "--phenotypes", tmp_path / "people.csv", "-o", tmp_path / "p.csv")
    said = featx("predict", fitted / "iq--ridge--volumes--both.npz", *words, code=3)
    assert "5 images predicted" in said
    assert "3 were left out" in said
    assert repr(people["participant_id"].iloc[0]) in said


def test_predict_from_confounds_alone(featx, fitted, tmp_path):
    (head,) = fitted.glob("iq--ridge--confounds*.npz")
    featx("predict", head, "--phenotypes", "new-people.csv", "-o", tmp_path / "p.csv")
    table = pd.read_csv(tmp_path / "p.csv")
    ages = pd.read_csv("new-people.csv").set_index("participant_id")["age"]
    assert abs(np.corrcoef(table["predicted"], ages[table["participant_id"]])[0, 1]) > 0.999  # one linear confound


@pytest.mark.parametrize(
    "stem, words, sentence",
    [
        ("sex--logistic--volumes-net", (), "needs 'volumes', 'net/axial/t/mean', 'net/coronal/t/mean'; give the"),
        ("sex--logistic--volumes-net", ("new.h5",), "it was fitted on 'volumes' and given 'net/axial/t/mean'"),
        ("iq--ridge--volumes", ("--table", "other=new-volumes.csv"), "it was fitted on 'volumes' and given 'other'"),
        ("iq--ridge--volumes", ("--table", "volumes=nosuch.csv"), "nosuch.csv is not (No such file or directory)"),
        ("iq--ridge--volumes", ("--table", "volumes=new-volumes.csv"), "it needs 'site'; give the table"),
        (
            "iq--ridge--volumes--both",
            ("--table", "volumes=new-volumes.csv"),
            "it needs 'age', 'site'; give",
        ),
        (
            "iq--ridge--volumes--both",
            ("--table", "volumes=new-volumes.csv", "--phenotypes", "people.csv"),
            "people in common; none has",
        ),
        ("nosuch", ("new.h5",), "nosuch.npz is none; take one of the folder heads/ of a run"),
    ],
)
def test_a_wrong_prediction_is_one_sentence(featx, fitted, tmp_path, stem, words, sentence):
    said = featx("predict", fitted / f"{stem}.npz", *words, "-o", tmp_path / "p.csv", code=2)
    assert said.startswith("featx: ")
    assert len(said.strip().splitlines()) == 1
    assert sentence in said
