"""Pretraining from the command line: what comes out is a frozen network, whoever kills it, whatever is missing."""

import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from safetensors import safe_open
from typer.testing import CliRunner

from featx import schema, store
from featx.analysis.cohort.phenotypes import Phenotypes, read_phenotypes
from featx.analysis.runs.bundle import hash_people
from featx.api import learning
from featx.api.behind import own_networks, training_of
from featx.errors import (
    AnalysisError,
    CohortError,
    DependencyError,
    DeviceError,
    NetworkError,
    StoreError,
    TargetError,
    TrainingError,
    WeightsError,
)
from featx.images.contract import ACCEPTABLE
from featx.images.image import Image
from featx.images.index import index_images, write_index
from featx.networks import get_network
from featx.networks.checkpoint import write_checkpoint
from featx.networks.told import ASKED, read_told
from featx.networks.weights import load_network
from featx.report.figures.canvas import as_file
from featx.report.figures.curves import losses
from featx.training import pretrain
from featx.training.arms import get_arm
from featx.training.cohort import ages_of, make_cohort, meeting, plan_fit, sexes_of, without_validation
from featx.training.fit import Machine
from featx.training.folds import Wish
from featx.training.pretrain import BESIDE, check_output, is_done
from featx.training.result import images_as_set
from featx.training.run import make_network
from featx.training.schedules import RECIPES
from featx.training.seen import read_seen
from featx_cli import extract, fit, training
from featx_cli import pretrain as verb
from featx_cli.added import add
from tests.training.conftest import small_sheet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

APP = typer.Typer(rich_markup_mode=None)
APP.command("pretrain")(verb.command)
APP.command("extract")(extract.command)
APP.command("fit")(fit.command)
ALL_ACCEPTED = [word for code in ACCEPTABLE for word in ("--accept", code)]
FAST = ["--set", "optimiser=adam", "--learning-rate", "0.01", "--set", "numbers=regression"]
MORE = ("--epochs", 10, "--loss-weight", "sex=0.5", "--name", "ours", "--dropout", 0.1, "--validate", 0.2)
FAST += ["--set", "augmentation.mirror=false", "--batch-size", "4"]


def call(*words, code=0):
    """The command, in this process; what it printed, or the error that it stopped at."""
    told = CliRunner().invoke(APP, [str(word) for word in words])
    if code == 2:
        assert told.exception is not None
        raise told.exception
    assert told.exit_code == code, f"{told.output}\n{told.exception!r}"
    return told.stdout


@pytest.fixture(scope="session")
def study(images, people, tmp_path_factory):
    """images.csv, people.csv, and small.safetensors: a small network to be named file:."""
    folder = tmp_path_factory.mktemp("study")
    write_index(images, folder / "images.csv")
    people.to_csv(folder / "people.csv", index=False)
    sheet = small_sheet(name="small")
    network = load_network(sheet, "random:5", folder).network
    write_checkpoint(folder / "small.safetensors", network, sheet, note="for tests")
    return folder


def wanted(study, output, *more, targets=("age", "sex")):
    """Words of a call that pretrains."""
    chosen = [word for one in targets for word in ("-t", one)]
    base = ["pretrain", study / "images.csv", study / "people.csv", "-n", f"file:{study / 'small.safetensors'}"]
    return [*base, *chosen, "-o", output, *FAST, *ALL_ACCEPTED, *more]


@pytest.fixture(scope="session")
def pretrained(study, tmp_path_factory):
    """The folder of one pretrained network, and what was printed."""
    folder = tmp_path_factory.mktemp("pretrained")
    return folder, call(*wanted(study, folder / "net.safetensors", *MORE))


# --- what comes out -------------------------------------------------------------------------------------------


def test_its_predictions_as_a_frozen_network_have_the_scores_that_are_told(pretrained, study, people):
    folder, printed = pretrained
    words = ["--tap", "prediction_age", "--tap", "prediction_sex", *ALL_ACCEPTED, "--device", "cpu"]
    call("extract", study / "images.csv", "-n", f"file:{folder / 'net.safetensors'}", "-o", folder / "f.h5", *words)
    found = {name.split("/")[2]: store.read_set(folder / "f.h5", name) for name in store.list_sets(folder / "f.h5")}
    told = json.loads((folder / "net.json").read_text())
    images, table = index_images(str(study / "images.csv")), read_phenotypes(study / "people.csv")
    cohort = make_cohort(images, table, ["age", "sex"], source="people.csv", share=0.2)
    validates = cohort.group.image_ids[cohort.group.design.final.inner == 0]
    table = people.set_index("participant_id").loc[validates]
    predicted = {
        tap: pd.Series(one.X[:, 0], one.image_id).loc[validates].to_numpy(np.float64) for tap, one in found.items()
    }
    score = {(one["target"], one["metric"]): one["value"] for one in told["scores"]}
    has_age = table["age"].notna().to_numpy()
    errors = (predicted["prediction_age"] - table["age"].to_numpy())[has_age]
    assert score["age", "mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-4)
    assert score["age", "r"] > 0.5  # it learned
    p_of_m, is_m = predicted["prediction_sex"], (table["sex"] == "M").to_numpy()
    assert score["sex", "log_loss"] == pytest.approx(-np.log(np.where(is_m, p_of_m, 1 - p_of_m)).mean(), rel=1e-3)
    pairs = p_of_m[is_m][:, None] - p_of_m[~is_m]
    assert score["sex", "auc"] == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())
    assert f"age: mae {score['age', 'mae']:.3f}" in printed


def test_what_stands_beside_it(pretrained, people):
    folder, printed = pretrained
    told = json.loads((folder / "net.json").read_text())
    assert (told["n_people"], told["n_train"], told["n_validation"]) == (30, 24, 6)
    assert told["sexes"] == {"F": 20, "M": 10}
    assert told["ages_years"] == [people["age"].min(), people["age"].max()]
    assert told["labels"]["age"]["n"] == 29
    assert told["loss_weights"] == {"age": 1.0, "sex": 0.5}
    ((salt, hashes),) = read_seen(folder / "net.safetensors")
    assert (salt, sorted(hashes)) == (told["salt"], told["people"])
    assert (told["name"], told["arm"], told["network"]) == ("ours", "scratch", "small")
    assert (told["asked"]["epochs"], told["failed"]) == (10, 0)
    own = hash_people(people["participant_id"], told["salt"])
    assert [int(one, 16) for one in told["people"]] == own.tolist()
    curves = pd.read_csv(folder / "net.curves.csv")
    assert list(curves) == schema.names(schema.TRAINING_CURVES)
    assert len(curves) == 10
    kept = told["epochs"]["all"]
    assert kept == curves["validation_loss"].argmin()
    assert told["validation_loss"] == curves["validation_loss"].min()
    words = "".join(ET.parse(folder / "net.curves.svg").getroot().itertext())
    assert all(word in words for word in ("ours: age, sex", "training", "validation", "kept"))
    text = (folder / "net.card.md").read_text()
    assert "# ours" in text
    assert "- not the recipe's: all.optimiser adam (there sgd)" in text
    assert f"featx networks add {folder / 'net.safetensors'} --name ours" in printed
    sheet = get_network(f"file:{folder / 'net.safetensors'}")
    assert sheet.labels == ("age", "sex")
    assert sheet.training.startswith(
        "24 people of people.csv, 6 more to choose the epoch; labels age (29 images), sex"
    )
    network = load_network(sheet, str(folder / "net.safetensors"), folder).network
    assert sheet.n_parameters == sum(one.numel() for one in network.parameters())
    assert not (folder / "net.failures.csv").exists()


def test_people_whom_it_was_trained_on_are_told_of_wherever_its_checkpoint_is_found(
    pretrained, study, people, tmp_path, monkeypatch
):
    folder, _ = pretrained
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "home"))
    (one, *_) = index_images(str(study / "images.csv"))
    name = f"file:{folder / 'net.safetensors'}"
    call("extract", study / "images.csv", "-n", name, "-o", tmp_path / "f.h5", *ALL_ACCEPTED, "--device", "cpu")
    words = ["fit", tmp_path / "f.h5", study / "people.csv", "-t", "age", "--folds", 3, "--inner-folds", 3]
    words += ["--where", "age >= 30 and age < 60", "--head", "ridge", "--bootstrap", 0]
    n_people = int(people["age"].between(30, 59.99).sum())

    def told(run):
        call(*words, "-o", tmp_path / run)
        sentences = [one["sentence"] for one in json.loads((tmp_path / run / "run.json").read_text())["cautions"]]
        return [one for one in sentences if "has seen" in one]

    (unknown,) = told("before")
    assert unknown.startswith(
        "'ours' has weights of one's own, and whether people who are analysed trained it is not"
    )
    assert "or have `featx networks add` keep its checkpoint" in unknown
    add(folder / "net.safetensors", "kept", replace=False)
    (tmp_path / "home" / "added" / "bad.safetensors").write_bytes(b"damaged")
    (known,) = told("after")
    assert known.startswith(
        f"{n_people} of {n_people} people have the id of somebody whom 'ours' was trained on (24 p"
    )
    wanted_set = images_as_set("ours", [one], training.source_of(name).request)
    ours = {"ours": wanted_set}
    assert training_of(ours, own_networks(ours, tmp_path / "home"))["ours"][0].startswith("24 people of people.csv")


# --- killed, and called again -----------------------------------------------------------------------------------

CHILD = """
import sys
from featx_cli import pretrain
import typer
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(pretrain.command)
app(sys.argv[1:])
"""


def contents(path):
    """Tensors and text of a checkpoint; the order of the text in the file is chance."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def same(path, other):
    (tensors, text), (wanted_tensors, wanted_text) = contents(path), contents(other)
    assert text == wanted_text
    assert list(tensors) == list(wanted_tensors)
    return all(torch.equal(tensors[name], wanted_tensors[name]) for name in tensors)


def test_killed_in_the_middle_it_ends_as_an_unbroken_one(pretrained, study, tmp_path):
    whole = pretrained[0] / "net.safetensors"
    words = wanted(study, tmp_path / "net.safetensors", *MORE, "--cache", pretrained[0] / "net.fits" / "volumes")
    told = [str(word) for word in words[1:]]
    with subprocess.Popen([sys.executable, "-c", CHILD, *told], stdout=subprocess.DEVNULL) as child:
        while not list(tmp_path.glob("net.fits/*/all/last.ckpt")):
            assert child.poll() is None
            time.sleep(0.002)
        child.kill()
    (left,) = tmp_path.glob("net.fits/*/all")
    assert not (left / "done.json").exists()
    assert not (tmp_path / "net.safetensors").exists()
    call(*words)
    assert same(tmp_path / "net.safetensors", whole)
    assert (tmp_path / "net.curves.csv").read_bytes() == whole.with_name("net.curves.csv").read_bytes()


def test_what_is_done_is_not_done_again(pretrained, study):
    folder, _ = pretrained
    (folder / "net.safetensors").rename(folder / "before.safetensors")
    facts = json.loads((folder / "net.json").read_text())
    printed = call(*wanted(study, folder / "net.safetensors", *MORE))
    assert "0 images decoded, 30 were before" in printed
    assert json.loads((folder / "net.json").read_text())["elapsed_s"] == facts["elapsed_s"]
    assert same(folder / "net.safetensors", folder / "before.safetensors")


def test_the_same_call_again_does_nothing_and_another_one_is_refused(pretrained, study):
    folder, _ = pretrained
    path = folder / "net.safetensors"
    before = {one: (one.stat().st_mtime_ns, one.read_bytes()) for one in folder.glob("net.*") if one.is_file()}
    assert "is there already, as this call makes it; nothing was trained" in call(*wanted(study, path, *MORE))
    other = wanted(study, path, *MORE, "--seed", 1)
    match = r"must have a name of its own; .*net.safetensors is there, and is not what this call makes; give another"
    with pytest.raises(WeightsError, match=match):
        call(*other, code=2)
    assert {one: (one.stat().st_mtime_ns, one.read_bytes()) for one in before} == before
    assert "at most 10 epochs" in call(*other, "--replace", "--dry-run")


def test_what_is_there_is_told_from_what_a_call_makes(pretrained, study, tmp_path):
    path = tmp_path / "net.safetensors"
    assert not is_done(path, "key", replace=False)
    for content in (b"no tensors", (study / "small.safetensors").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="give another --output, or --replace it"):
            is_done(path, "key", replace=False)
        assert not is_done(path, "key", replace=True)
    whole = pretrained[0] / "net.safetensors"
    path.write_bytes(whole.read_bytes())
    key = read_told(whole)[ASKED]
    assert is_done(whole, key, replace=False)
    assert not is_done(path, key, replace=False)  # a kill left it alone


def test_a_kill_while_it_is_written_leaves_no_card_of_other_weights(tmp_path, monkeypatch):
    """What told of the older weights is gone before the new ones are there."""
    output = tmp_path / "net.safetensors"
    for suffix in BESIDE:
        output.with_suffix(suffix).write_text("of others")
    monkeypatch.setattr(pretrain, "card", lambda sheet, told: "")
    monkeypatch.setattr(pretrain, "as_file", lambda drawing, format: b"")

    def killed(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "write_checkpoint", killed)
    fit = SimpleNamespace(outputs=(), arm=get_arm("full"), seed=0)
    made = SimpleNamespace(fit=fit, sheet=small_sheet(), fitted=SimpleNamespace(curves=()), network=None)
    with pytest.raises(KeyboardInterrupt):
        pretrain.write_pretrained(made, output, {})
    assert list(tmp_path.iterdir()) == []


# --- other starts, other people -----------------------------------------------------------------------------------


def test_it_goes_on_from_given_weights(pretrained, study, tmp_path):
    """With a learning rate of next to nothing they are what comes out."""
    folder, _ = pretrained
    words = wanted(study, tmp_path / "on.safetensors", "--epochs", 1, "--learning-rate", "1e-12", targets=("age",))
    words[words.index("-n") + 1] = f"file:{folder / 'net.safetensors'}"
    call(*words, "--start", "official", "--cache", folder / "net.fits" / "volumes")
    told = json.loads((tmp_path / "on.json").read_text())
    assert (told["arm"], told["start"]) == ("full", "the weights of ours (net.safetensors)")
    own, before = read_seen(tmp_path / "on.safetensors")
    assert (len(own[1]), [before]) == (29, read_seen(folder / "net.safetensors"))
    own = load_network(get_network(f"file:{folder / 'net.safetensors'}"), str(folder / "net.safetensors"), folder)
    made = load_network(
        get_network(f"file:{tmp_path / 'on.safetensors'}"), str(tmp_path / "on.safetensors"), tmp_path
    )
    for name, values in own.network.named_parameters():
        if name.startswith("network."):
            torch.testing.assert_close(made.network.get_parameter(f"network.{name}"), values, atol=1e-9, rtol=0)


def test_an_image_that_fails_costs_itself_alone(study, pretrained, tmp_path):
    table = pd.read_csv(study / "images.csv")
    (tmp_path / "bad.nii").write_bytes(b"no image")
    table.loc[3, "path"] = str(tmp_path / "bad.nii")
    table.to_csv(tmp_path / "images.csv", index=False)
    words = wanted(study, tmp_path / "net.safetensors", "--epochs", 1)
    words[1] = tmp_path / "images.csv"
    call(*words, "--cache", pretrained[0] / "net.fits" / "volumes", code=3)
    failed = pd.read_csv(tmp_path / "net.failures.csv")
    assert failed["image_id"].tolist() == ["sub-03"]
    told = json.loads((tmp_path / "net.json").read_text())
    assert (told["n_people"], told["failed"]) == (29, 1)


def test_a_dry_run_says_who_would_train_and_writes_nothing(study, tmp_path):
    printed = call(*wanted(study, tmp_path / "net.safetensors", "--where", "age >= 40 or missing(age)", "--dry-run"))
    assert "sex (binary)" in printed
    assert "at most 150 epochs of batches of 4" in printed
    assert "nothing was written" in printed
    assert list(tmp_path.iterdir()) == []


# --- who validates ------------------------------------------------------------------------------------------------


def made_people(n=200, **columns):
    """n people with an image each, and a table of text."""
    ids = [f"sub-{at:03d}" for at in range(n)]
    images = [Image(one, one, "", "", f"{one}.nii") for one in ids]
    table = pd.DataFrame({"participant_id": ids, **columns}).astype(object)
    return images, Phenotypes(table.where(table.notna(), np.nan), {}, {}, {})


def test_a_tenth_validates_and_is_alike_in_the_first_target():
    age = np.random.default_rng(0).permutation(200)
    images, table = made_people(age=age.astype(str))
    cohort = make_cohort(images, table, ["age"], source="t.csv")
    (job,), inner = cohort.group.jobs, cohort.group.design.final.inner
    chosen = np.sort(job.target.y[inner == 0])
    assert len(chosen) == 20
    assert (chosen // 20).tolist() == np.repeat(np.arange(10), 2).tolist()  # two of each tenth
    other = make_cohort(images, table, ["age"], source="t.csv", seed=1).group.design.final.inner
    assert (inner != other).any()
    assert (make_cohort(images, table, ["age"], source="t.csv", share=0.25).group.design.final.inner == 0).sum() == 50


@pytest.mark.parametrize("n", [200, 37, 12])
@pytest.mark.parametrize("share", [0.1, 0.12, 0.15, 0.3, 0.4, 0.45, 0.5])
def test_the_share_that_validates_is_what_was_asked_for(n, share):
    images, table = made_people(n, age=np.random.default_rng(0).permutation(n).astype(str))
    cohort = make_cohort(images, table, ["age"], source="t.csv", share=share)
    n_validate = int((cohort.group.design.final.inner == 0).sum())
    assert abs(n_validate - share * n) <= (1 if n == 200 else 2)  # parts of few people differ by one
    if n == 200:
        assert abs(np.median(cohort.group.jobs[0].target.y[cohort.group.design.final.inner == 0]) - 99.5) < 20


def test_families_and_images_of_one_person_stay_together():
    images, table = made_people(age=np.arange(200).astype(str), family=np.repeat(np.arange(50), 4).astype(str))
    again = [replace(one, image_id=f"{one.image_id}_ses-2", session_id="ses-2") for one in images]
    both = sorted([*images, *again], key=lambda one: one.image_id)
    cohort = make_cohort(both, table, ["age"], source="t.csv", family="family")
    inner = pd.Series(cohort.group.design.final.inner, [int(one.participant_id[4:]) // 4 for one in cohort.images])
    assert len(inner) == 400
    assert (inner.groupby(level=0).nunique() == 1).all()
    assert (inner.groupby(level=0).first() == 0).sum() == 5


def test_who_lacks_a_label_is_masked_and_who_has_none_is_left_out():
    age, bmi = np.arange(200).astype(object), np.arange(200).astype(object)
    age[:50], bmi[40:150] = np.nan, np.nan
    images, table = made_people(age=age, bmi=bmi, sex=["F", "M"] * 100)
    cohort = make_cohort(images, table, ["bmi", "age"], source="t.csv")
    assert len(cohort.images) == 190
    labels = cohort.group.labels
    assert [int(one) for one in np.isfinite(labels).sum(axis=0)] == [90, 150]
    np.testing.assert_array_equal(labels[60], [np.nan, 70])  # ten are gone
    fit = plan_fit(cohort, Wish(get_arm("scratch"), lambda kinds: RECIPES["gupta"], loss_weights={"age": 2.0}))
    assert fit.loss_weights == (1.0, 2.0)
    assert (len(fit.train.image_ids), len(fit.validation.image_ids)) == (171, 19)
    assert without_validation(fit) == []
    fewer = replace(table, table=table.table.drop(columns="age").assign(rare=[*["1", "2"] * 5, *[np.nan] * 190]))
    own = make_cohort(images, fewer, ["bmi", "rare"], source="t.csv")
    assert len(own.images) == 90
    validates = own.group.design.final.inner == 0
    own.group.labels[validates, 1] = np.nan
    assert without_validation(plan_fit(own, Wish(get_arm("scratch"), lambda kinds: RECIPES["gupta"]))) == ["rare"]


def test_ages_and_sexes_are_told_where_the_table_has_them():
    images, table = made_people(age=np.arange(200).astype(str), sex=["F"] * 150 + ["M"] * 50)
    cohort = make_cohort(images, table, ["age"], source="t.csv")
    assert (ages_of(cohort), sexes_of(cohort)) == ((0.0, 199.0), {"F": 150, "M": 50})
    months = replace(table, units={"age": "months"}, table=table.table.drop(columns="sex"))
    cohort = make_cohort(images, months, ["age"], source="t.csv")
    assert (ages_of(cohort), sexes_of(cohort)) == (None, {})


# --- the multi-task SFCN ------------------------------------------------------------------------------------------


def test_the_multi_task_protocol_can_be_asked_for(study, tmp_path):
    """Leonardsen 2025: global max pool, 64 features, one column for each number, weights in the loss."""
    rng = np.random.default_rng(0)
    targets = ["age", "sex", "handedness", "bmi", "fluid_intelligence", "neuroticism"]
    table = pd.DataFrame({one: rng.normal(size=200).round(3).astype(str) for one in targets})
    table["sex"], table["handedness"] = ["F", "M"] * 100, ["left", *["right"] * 4] * 40
    images, phenotypes = made_people(**table)
    source = training.source_of("sfcn_multi.leonardsen2025")
    cohort = make_cohort(images, phenotypes, targets, source="t.csv")

    def recipe_of(kinds):
        return learning.recipe_of("", source, get_arm("scratch"), kinds, settings=["numbers=regression"])

    fit = plan_fit(cohort, Wish(get_arm("scratch"), recipe_of, loss_weights={"age": 1.0, "bmi": 0.25}))
    assert fit.recipe.name == "sfcn-scratch"
    assert [one.width for one in fit.outputs] == [1, 2, 2, 1, 1, 1]
    assert fit.loss_weights == (1, 1, 1, 0.25, 1, 1)
    network = make_network(source, fit)
    assert network.output.weight.shape == (8, 64)
    small = torch.randn(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    blocks = []
    network.network.get_submodule(source.base.taps["block5"].module).register_forward_hook(
        lambda _module, _inputs, output: blocks.append(output)
    )
    with torch.no_grad():
        vector = network.eval().vector(small)
    torch.testing.assert_close(vector, blocks[-1].amax(dim=(2, 3, 4)))


# --- options that both verbs share ----------------------------------------------------------------------------------


def test_a_source_is_what_the_options_say():
    source = training.source_of("squeezenet1_0.imagenet", axis="axial", slices=5, positions=True)
    assert (source.view.name, source.tap, source.aggregation) == ("axial", "fire9", "mean")
    assert source.view.steps[0].settings["count"] == 5
    assert (source.positions, source.request.weights) == (True, "official")
    other = training.source_of("sfcn.ukb_age@random:3", tap="block4")
    assert (other.view.name, other.tap, other.aggregation, other.request.weights) == (
        "volume", "block4", "", "random:3",
    )  # fmt: skip


def test_a_setting_counts_more_than_an_option_of_its_own():
    source = training.source_of("sfcn.ukb_age")
    recipe = learning.recipe_of(
        "gupta", source, get_arm("full"), {}, settings=["all.epochs=7"], epochs=3, batch_size=2, patience=4
    )
    assert (recipe.name, recipe.batch_size, recipe.patience) == ("gupta", 2, 4)
    assert {phase: one.epochs for phase, one in recipe.schedules.items()} == {"all": 7, "output": 3}
    assert learning.recipe_of("", source, get_arm("full"), {"age": "continuous"}).name == "sfcn-scratch"


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_machine_is_what_the_options_say(has_bf16, monkeypatch, tmp_path):
    machine = learning.machine_of("cpu", accumulate=2, checkpointing=True, tensorboard=tmp_path)
    assert machine == Machine("cpu", "32-true", 2, True, tensorboard=tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert learning.machine_of("auto").precision == ("bf16-mixed" if has_bf16 else "32-true")
    assert learning.machine_of("cuda", "16-mixed", devices=2, num_nodes=3).precision == "16-mixed"
    with pytest.raises(DeviceError, match=r"--devices must be no more than .* has 2 of cuda, and 3 were asked for"):
        learning.machine_of("cuda", devices=3)


# --- the figure ---------------------------------------------------------------------------------------------------


def test_a_figure_of_two_phases_marks_what_each_kept():
    curves = pd.DataFrame(
        {
            "phase": ["output"] * 3 + ["all"] * 40,
            "train_loss": np.geomspace(5, 0.05, 43),
            "validation_loss": [3.0, 2.0, 2.5, *np.geomspace(2, 0.4, 20), *np.geomspace(0.5, 0.9, 20)],
        }
    )
    drawn = as_file(losses(curves, "mine: $age$"), "svg")
    assert drawn == as_file(losses(curves, "mine: $age$"), "svg")
    words = [one.strip() for one in ET.fromstring(drawn).itertext() if one.strip()]
    assert {"mine: $age$", "epoch", "loss", "training", "validation", "kept", "0.1", "1"} <= set(words)
    few = as_file(losses(curves[:1], "one"), "svg")
    assert "kept" in "".join(ET.fromstring(few).itertext())


# --- what is refused ----------------------------------------------------------------------------------------------


def refused(more, error, match, study, tmp_path, output="net.safetensors"):
    words = wanted(study, tmp_path / output, *more, targets=())
    with pytest.raises(error, match=match):
        call(*words, code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "more, error, match",
    [
        ([], AnalysisError, r"must have a target or more; none was given; give --target"),
        (["-t", "aeg"], TargetError, r"must be a column of the phenotype table; 'aeg' is not; known are 'age'"),
        (["-t", "age", "--where", "age > 200"], CohortError, r"'age > 200' is met by none of 30 rows of people.csv"),
        (["-t", "age", "--validate", "0.9"], AnalysisError, r"from 0.02 to 0.5; got 0.9"),
        (["-t", "age", "--validate", "0.02", "--where", "age > 60"], TrainingError, r"share of 0.02 is one of"),
        (["-t", "age", "--loss-weight", "sex=1"], AnalysisError, r"of a target; 'sex' is none; known are 'age'"),
        (["-t", "age", "--group", "kin"], CohortError, r"'kin'"),
        (["-t", "age", "--balance", "fair"], AnalysisError, r"must be known; 'fair' is not"),
        (["-t", "age", "--name", "a/b"], NetworkError, r"a network's name must be .*; got 'a/b'"),
        (["-t", "age", "--precision", "64"], DeviceError, r"a precision of training must be known; '64' is not"),
        (["-t", "age", "--start", "gone.pth"], WeightsError, r"a file of weights must exist; gone.pth does not"),
    ],
    ids=lambda one: " ".join(one[2:]) if isinstance(one, list) else "",
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_decoded(more, error, match, study, tmp_path):
    refused(more, error, match, study, tmp_path)


def test_labels_that_are_missing_for_everybody_are_refused():
    images, table = made_people(age=[np.nan] * 200)
    with pytest.raises(TargetError, match=r"a target must have values; 'age' is empty for every matched person"):
        make_cohort(images, table, ["age"], source="t.csv")


def test_an_output_that_no_checkpoint_can_have_is_refused(study, tmp_path):
    refused(
        ["-t", "age"], WeightsError, r"must end in .safetensors; got .*net.pth; change", study, tmp_path, "net.pth"
    )
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(StoreError, match=r"an output must be a file that can be written; .* is a folder"):
        check_output(tmp_path / "a.safetensors")


def test_a_checkpoint_of_another_architecture_is_refused(pretrained, study, tmp_path):
    start = pretrained[0] / "net.safetensors"
    more = ["-t", "age", "--start", start]
    refused(
        more, WeightsError, r"weights must fit small, tensor by tensor; in .*net.safetensors are", study, tmp_path
    )


def test_a_network_whose_checkpoint_nobody_could_read_is_refused(study, tmp_path, monkeypatch):
    (tmp_path / "nets_of_mine.py").write_text("from torch import nn\n\ndef make():\n    return nn.Conv3d(1, 2, 3)\n")
    recipe = 'takes = "volume"\ngrid = "mni152-2mm"\ntaps.features = {module = "", width = 2, positions = false}\n'
    (tmp_path / "mine.toml").write_text(recipe)
    monkeypatch.syspath_prepend(tmp_path)
    words = wanted(study, tmp_path / "net.safetensors", "--network-recipe", tmp_path / "mine.toml", targets=("age",))
    words[words.index("-n") + 1] = "python:nets_of_mine:make"
    match = (
        r"must be made of featx's own code, .* is built by nets_of_mine:make; train it with `featx train --no-keep`"
    )
    with pytest.raises(NetworkError, match=match):
        call(*words, code=2)
    assert not (tmp_path / "net.fits").exists()


def test_weights_behind_a_name_are_refused(study, tmp_path):
    words = wanted(study, tmp_path / "net.safetensors", targets=("age",))
    words[words.index("-n") + 1] = "sfcn.ukb_age@random:3"
    with pytest.raises(
        NetworkError, match=r"must be given by --start; got sfcn.ukb_age@random:3; write --start random"
    ):
        call(*words, code=2)


def test_images_of_which_none_fits_are_refused(study, tmp_path):
    (tmp_path / "sub-01.nii").write_bytes(b"no image")
    images = [Image("sub-01", "sub-01", "", "", tmp_path / "sub-01.nii")]
    with pytest.raises(CohortError, match=r"small must have images to be trained on; none of 1 fits it; the first: "):
        training.fill(
            images,
            training.source_of(f"file:{study / 'small.safetensors'}"),
            tmp_path / "volumes",
            accept=[],
            workers=0,
        )


def test_without_lightning_it_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    with pytest.raises(
        DependencyError, match=r"`featx pretrain` needs .*; pytorch_lightning does not load .*torch,train"
    ):
        learning.check_training("pretrain")


def test_a_condition_that_all_meet_changes_nobody():
    _, table = made_people(age=np.arange(200).astype(str))
    assert len(meeting(table, "", "t.csv").table) == 200
