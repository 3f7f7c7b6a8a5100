"""featx train as a user types it, on volumes that show an age, with a small network of a checkpoint."""

import functools
import json

import numpy as np
import pandas as pd
import pytest

from featx import schema, store
from featx.analysis.runs.rundir import read_run
from featx.images.contract import ACCEPTABLE
from featx.networks.checkpoint import write_checkpoint
from featx.networks.weights import build
from tests.training.conftest import images as images
from tests.training.conftest import people as people
from tests.training.conftest import small_sheet

ACCEPT = [word for code in ACCEPTABLE for word in ("--accept", code)]
NETWORK = ("-n", "file:small.safetensors")
QUICK = [
    *("--folds", 3, "--inner-folds", 3, "--bootstrap", 0, "--epochs", 3, "--batch-size", 4, "--no-keep"),
    *("--set", "numbers=regression", "--set", "all.optimiser=adam", "--learning-rate", 0.01, *ACCEPT),
]


@pytest.fixture(scope="module")
def study(people, images, tmp_path_factory):
    """images.csv, people.csv, and small.safetensors: a network that was 'pretrained' for sex."""
    folder = tmp_path_factory.mktemp("train")
    rows = [{"image_id": one.image_id, "participant_id": one.participant_id, "path": str(one.path)} for one in images]
    pd.DataFrame(rows, columns=schema.names(schema.IMAGES)).to_csv(folder / "images.csv", index=False)
    people.to_csv(folder / "people.csv", index=False)
    sheet = small_sheet(labels=("sex",))
    write_checkpoint(folder / "small.safetensors", build(sheet), sheet, note="drawn at random")
    return folder


@pytest.fixture
def featx(study, type_in):
    return functools.partial(type_in, study)


@pytest.fixture
def train(featx):
    return functools.partial(featx, "train", "images.csv", "people.csv", *NETWORK, *QUICK)


def predictions(run, target="age"):
    return pd.read_csv(run / f"predictions/{target}.csv", keep_default_na=False)


def test_arms_are_scored_on_the_folds_of_another_run_and_the_report_shows_them(train, featx, study, tmp_path):
    first = tmp_path / "first"
    said = train("-t", "age", "--arm", "scratch", "-o", first)
    assert "30 of 30 images matched" in said
    assert (
        "scratch: everything, from random weights: what transfer is held against; 3 networks, at most 9 epochs"
        in said
    )
    second = tmp_path / "second"
    said = train(
        *("-t", "age", "--arm", "head-only", "--arm", "full", "--splits", first / "splits.csv", "--seeds", 2),
        *("-o", second),
    )
    assert "12 networks trained" in said
    table = predictions(second)
    assert list(table)[: len(schema.PREDICTIONS)] == schema.names(schema.PREDICTIONS)
    assert set(table["head"]) == {"baseline", "head-only", "full"}
    trained = table[table["head"] != "baseline"]
    assert (trained["arm"] == trained["head"]).all()
    assert (trained["seed"].astype(int) == trained["repeat"].astype(int)).all()
    assert trained["epoch"].astype(int).between(0, 2).all()
    assert (table.loc[table["head"] == "baseline", ["arm", "seed", "epoch"]] == "").all(axis=None)
    before = predictions(first).drop_duplicates("image_id").set_index("image_id")["fold"]
    assert (table["fold"] == before[table["image_id"]].to_numpy()).all()
    run = read_run(second)
    assert set(run.scores["head"]) == {"baseline", "head-only", "full"}
    told = json.loads((second / "training.json").read_text())
    assert {"torch", "pytorch-lightning", "featx"} <= set(told["versions"])
    assert [one["batch_norm"] for one in told["fits"]] == ["eval"] * 12
    assert {name: one["phases"] for name, one in told["arms"].items()} == {"head-only": ["output"], "full": ["all"]}
    splits = pd.read_csv(second / "splits.csv")  # which seeds are no part of
    assert splits.equals(pd.read_csv(first / "splits.csv"))
    assert run.facts["targets"][0]["n_seeds"] == 2
    curves = pd.read_csv(second / "training_curves.csv")
    assert list(curves) == schema.names(schema.TRAINING_CURVES)
    assert len(curves) == 36
    featx("report", second)
    page = (second / "report.html").read_text()
    assert "head-only" in page
    assert f"Recipe {told['arms']['full']['recipes'][0]['name']}, batches of" in page
    assert "featx train images.csv people.csv --target age --network file:small.safetensors --arm head-only" in page
    assert "featx fit" not in page.split("How it was made")[-1]


def test_the_kept_network_is_one_that_extract_takes_and_says_what_it_is(train, featx, study, tmp_path):
    run = tmp_path / "run"
    train("-t", "age", "-t", "sex", "--together", "--arm", "scratch", "--keep", "-o", run)
    (kept,) = (run / "networks").glob("*.safetensors")
    assert kept.name == "age-sex-scratch-sfcn_4mm.untrained.safetensors"
    assert "scratch" in kept.with_suffix(".md").read_text()
    said = featx("networks", "show", f"file:{kept}")
    assert "prediction_age" in said
    words = ["-n", f"file:{kept}", "--tap", "features", "--tap", "prediction_age", *ACCEPT, "-o", tmp_path / "f.h5"]
    featx("extract", "images.csv", *words)
    (name,) = (one for one in store.list_sets(tmp_path / "f.h5") if "prediction_age" in one)
    ages = store.read_set(tmp_path / "f.h5", name).X[:, 0]
    assert np.isfinite(ages).all()
    assert 10 < ages.mean() < 90
    table = predictions(run, "sex")
    trained = table[table["head"] == "scratch"]
    assert trained[["probability_F", "probability_M"]].astype(float).sum(axis=1).to_numpy() == pytest.approx(1)
    assert len(predictions(run)[lambda one: one["head"] == "scratch"]) == 29  # the first has no age


def test_labels_of_test_people_change_nothing(featx, people, study, tmp_path):
    cohort = np.where(np.arange(len(people)) % 3 == 1, "test", "train")
    other = people.assign(cohort=cohort)
    other.to_csv(study / "cohorts.csv", index=False)
    tests = cohort == "test"
    other.loc[tests, "age"] = other.loc[tests, "age"].to_numpy()[::-1] + 5
    other.to_csv(study / "changed.csv", index=False)
    words = ("-t", "age", "--arm", "scratch", "--split-column", "cohort", "--patience", 1)
    found = []
    for name in ("cohorts", "changed"):
        featx("train", "images.csv", f"{name}.csv", *NETWORK, *QUICK, *words, "-o", tmp_path / name)
        table = predictions(tmp_path / name)
        found.append(table[table["head"] == "scratch"])
    assert (found[0]["observed"] != found[1]["observed"]).all()
    assert (found[0]["predicted"] == found[1]["predicted"]).all()
    assert (found[0]["epoch"] == found[1]["epoch"]).all()


def test_processes_change_nothing_and_done_fits_are_not_done_again(train, tmp_path):
    one = tmp_path / "one"
    train("-t", "age", "--arm", "scratch", "-o", one)
    two = tmp_path / "two"
    train("-t", "age", "--arm", "scratch", "--jobs", 2, "-o", two)
    np.testing.assert_allclose(
        predictions(one)["predicted"].astype(float), predictions(two)["predicted"].astype(float), rtol=1e-4
    )
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one.fits").rglob("answer.json")}
    assert len(before) == 3
    bytes_before = (one / "predictions/age.csv").read_bytes()
    train("-t", "age", "--arm", "scratch", "-o", one)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert (one / "predictions/age.csv").read_bytes() == bytes_before


def test_batch_norms_are_adapted_where_the_network_stands_still(train, tmp_path):
    train("-t", "age", "--arm", "head-only", "--batch-norm", "adapt", "-o", tmp_path / "run")
    fits = json.loads((tmp_path / "run/training.json").read_text())["fits"]
    assert {one["batch_norm"] for one in fits} == {"adapt"}


def test_changed_images_and_another_arithmetic_are_trained_anew(featx, study, images, tmp_path):
    table = pd.read_csv(study / "images.csv")
    for at in range(12):
        path = tmp_path / f"{at}.nii"
        path.write_bytes(images[at].path.read_bytes())
        table.loc[at, "path"] = str(path)
    table.iloc[:12].to_csv(tmp_path / "images.csv", index=False)
    words = ("-t", "sex", "--arm", "head-only", "-o", tmp_path / "run", "--folds", 2, "--inner-folds", 2)
    quick = [one for one in QUICK if one not in ("--folds", "--inner-folds")]
    call = functools.partial(featx, "train", tmp_path / "images.csv", "people.csv", *NETWORK, *quick[2:], *words)
    call()
    n_before = len(list((tmp_path / "run.fits").rglob("answer.json")))
    call("--precision", "bf16-mixed")
    (tmp_path / "3.nii").write_bytes(images[20].path.read_bytes())
    call()
    assert len(list((tmp_path / "run.fits").rglob("answer.json"))) == 3 * n_before == 6


def test_a_dry_run_trains_and_writes_nothing(train, tmp_path):
    said = train("-t", "age", "-t", "sex", "--arm", "two-stage", "--dry-run", "-o", tmp_path / "run")
    assert "two-stage: first a new last layer, then everything, more gently; 6 networks, at most 36 epochs" in said
    assert list(tmp_path.iterdir()) == []


def test_an_arm_that_diverges_costs_its_target_that_arm(train, tmp_path):
    words = ("-t", "age", "--arm", "scratch", "--set", "all.momentum=0.9", "--set", "all.learning_rate=1e30")
    said = train(*words, "-o", tmp_path / "run", code=3)
    assert "age: diverged: scratch: a loss must be a number" in said
    rows = pd.read_csv(tmp_path / "run/exclusions.csv")
    assert rows["code"].tolist()[-1] == "diverged"


def test_a_damaged_image_is_a_row_and_the_others_train(featx, study, tmp_path):
    bad = tmp_path / "bad.nii"
    bad.write_bytes(b"no image")
    table = pd.read_csv(study / "images.csv")
    table.loc[3, "path"] = str(bad)
    table.to_csv(tmp_path / "images.csv", index=False)
    words = ("-t", "sex", "-o", tmp_path / "run")
    said = featx("train", tmp_path / "images.csv", "people.csv", *NETWORK, *QUICK, *words, code=3)
    assert "1 images failed, the others are whole" in said
    assert pd.read_csv(tmp_path / "run/failures.csv")["image_id"].tolist() == ["sub-03"]
    assert len(predictions(tmp_path / "run", "sex")[lambda one: one["head"] == "full"]) == 29


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--arm", "frozen"), "an arm must be known; 'frozen' is not"),
        (("--arm", "wrong-label", "-t", "sex"), "must have a network that was trained for another phenotype"),
        (("--recipe", "peng"), "a training recipe must be known; 'peng' is not"),
        (("--set", "all.rate=1"), "a number of a training recipe must have a name; 'all.rate' is none"),
        (("--set", "epochs=0"), "epochs must be a whole number from 1; got '0'"),
        (("--set", "output.optimiser=newton"), "output.optimiser must be known; 'newton' is not"),
        (("--set", "augmentation.mirror=yes"), "augmentation.mirror must be true or false; got 'yes'"),
        (("--seeds", "2024"), "--seeds must be a number of seeds up to 100, or a list of them; got 2024"),
        (("--strategy", "magic"), "a strategy must be one of Lightning's; 'magic' is not"),
        (("--jobs", "2", "--devices", "2"), "several networks at a time must have a device each"),
        (("--batch-norm", "adapt"), "the arm 'full' trains all of it; leave --batch-norm out"),
        (("--balance", "weights"), "classes of unequal size need a target of classes; 'age' have none"),
        (("--together", "--loss-weight", "agee=0"), "a loss weight must be of a target; 'agee' is none"),
        (("--loss-weight", "age=0"), "loss weights are for targets that are trained together"),
        (("--set", "augmentation.scale=1.1"), "augmentation.scale must be a number from 0 and below 1; got '1.1'"),
        (("--seeds", "many"), "--seeds must be a number of seeds, or a list of them; got 'many'"),
        (("--loss-weight", "age=-1"), "a weight in the loss must be a number from 0; got '-1' for 'age'"),
        (("--aggregation", "mean"), "an aggregation must be of slices that go through a network one by one"),
        (("--balance", "oversample"), "'oversample' is not; known are 'none', 'sampling', 'weights'"),
        (("--together", "--stratify", "target"), "trained together must share their folds"),
        (("-t", "iq"), "a target must be a column of the phenotype table"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(train, tmp_path, words, sentence):
    targets = () if "-t" in words else ("-t", "age")
    code = 3 if words == ("-t", "iq") else 2
    assert sentence in " ".join(train(*words, *targets, "-o", tmp_path / "run", code=code).split())


def test_splits_of_other_people_are_refused(train, tmp_path):
    others = pd.DataFrame({"participant_id": ["x-1", "x-2"], "fold": [0, 1]})
    others.to_csv(tmp_path / "splits.csv", index=False)
    said = train("-t", "age", "--splits", tmp_path / "splits.csv", "-o", tmp_path / "run", code=3)
    assert "not-in-splits" in said


def test_weights_of_another_architecture_are_refused(train, study, tmp_path):
    sheet = small_sheet()
    wide = small_sheet(arguments={**sheet.arguments, "channels": (8, 8, 8)})
    write_checkpoint(tmp_path / "wide.safetensors", build(wide), wide, note="of another width")
    said = train("-t", "age", "--weights", tmp_path / "wide.safetensors", "-o", tmp_path / "run", code=2)
    assert "weights must fit sfcn_4mm.untrained, tensor by tensor" in said


def test_those_who_test_are_predicted_with_slices_missing_too(featx, study, images, tmp_path):
    network = ("-n", "squeezenet1_0.imagenet@random:0", "--axis", "axial", "--slices", 5, "--size", 40)
    asked = ("train", "images.csv", "people.csv", "-t", "age", *network, "--aggregation", "mean", "--positions")
    once = [*QUICK, "--epochs", 1, "--folds", 2, "--cache", tmp_path / "volumes"]
    run, plain = tmp_path / "run", tmp_path / "plain"
    featx(*asked, *once, "--missing", "drop:2", "--missing", "zeros:2:random:1", "-o", run)
    featx(*asked, *once, "-o", plain)
    names = [f"squeezenet1_0.imagenet{end}" for end in ("", "~drop2", "~zeros2-random-1")]
    table = predictions(run)
    table = table[table["head"] != "baseline"]
    assert list(dict.fromkeys(table["features"])) == names
    by_name = {name: own.set_index("image_id") for name, own in table.groupby("features")}
    whole = predictions(plain)
    whole = whole[whole["head"] != "baseline"].set_index("image_id")
    pd.testing.assert_frame_equal(by_name[names[0]], whole)  # what else is asked changes nothing
    for name in names[1:]:
        assert list(by_name[name]["fold"]) == list(whole["fold"])
        differs = by_name[name]["predicted"].astype(float) - whole["predicted"].astype(float)
        assert differs.abs().min() > 0
    scores = pd.read_csv(run / "scores.csv", keep_default_na=False)
    assert set(scores["features"]) == {"-", *names}
    facts = json.loads((run / "run.json").read_text())
    views = {one["name"]: one["sets"][0]["provenance"] for one in facts["features"]}
    assert [views[name]["view"] for name in names] == ["axial", "axial~drop2", "axial~zeros2-random-1"]
    compared = pd.read_csv(run / "comparisons.csv")
    pairs = compared.loc[compared["question"] == "features", ["features_a", "features_b"]]
    assert (names[0], names[1]) in set(pairs.itertuples(index=False, name=None))
    said = featx(*asked, *once, "--missing", "drop:9", "-o", tmp_path / "x", code=2)
    assert "takes 5 along its axial axis, and got one of 9; say 5 at most" in said
