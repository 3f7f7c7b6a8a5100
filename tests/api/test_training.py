"""train and pretrain from Python ask for what the command line asks for, up to the key of every fit."""

import pandas as pd
import pytest

import featx
from featx.api.learning import check_training, fill, machine_of, source_of
from featx.api.training import check_devices
from featx.errors import AnalysisError, CohortError, DependencyError, DeviceError, NetworkError

NETWORK = "sfcn_4mm.untrained@random:0"


class Captured(Exception):  # noqa: N818 - it ends a call where the work would begin
    """What the work would have been given."""


@pytest.fixture
def people(heads, tmp_path):
    """Of the seven phantoms, with two scans' worth of ages and a sex."""
    ids = [f"sub-{at}" for at in range(7)]
    table = pd.DataFrame({"participant_id": ids, "age": range(50, 57), "sex": list("MFMFMFM")})
    table.to_csv(tmp_path / "people.csv", index=False)
    return table


def _capture(monkeypatch, name):
    def stop(*arguments, **more):
        raise Captured(arguments, more)

    monkeypatch.setattr(name, stop)


def test_a_training_is_that_of_the_command_line(heads, people, type_in, tmp_path, monkeypatch):
    _capture(monkeypatch, "featx.training.train.plan_training")
    words = ("--target", "age", "-n", NETWORK, "--arm", "full", "--arm", "scratch", "--seeds", 2, "--folds", 2)
    more = (
        "--inner-folds",
        2,
        "--set",
        "numbers=regression",
        "--epochs",
        3,
        "--loss-weight",
        "age=2",
        "--device",
        "cpu",
    )
    asked = {
        "arm": ["full", "scratch"],
        "seeds": 2,
        "folds": 2,
        "inner_folds": 2,
        "settings": {"numbers": "regression"},
    }
    asked |= {"epochs": 3, "loss_weight": {"age": 2}, "device": "cpu", "target": "age"}
    with pytest.raises(Captured) as typed:
        type_in(tmp_path, "train", heads, "people.csv", *words, *more, "-o", "trained")
    monkeypatch.setattr("featx.api.training.home_of", lambda home: typed.value.args[0][2].home)
    with pytest.raises(Captured) as called:
        featx.train(str(heads), tmp_path / "people.csv", NETWORK, **asked, output=tmp_path / "trained")
    (one, wishes, source, _), more_one = typed.value.args
    (other, own_wishes, own_source, beside), more_other = called.value.args
    assert beside == tmp_path / "trained.fits"
    assert source == own_source
    assert more_one == more_other  # keep, machine, voxels
    for name in (
        "folding",
        "columns",
        "adjusting",
        "inferring",
        "heads",
        "kinds",
        "phenotypes_sha256",
        "combinations",
    ):
        assert getattr(one, name) == getattr(other, name), name
    pd.testing.assert_frame_equal(one.phenotypes, other.phenotypes)
    assert one.command.startswith("featx train ")
    assert other.command == "featx.train(...) in Python"
    kinds = {"age": "continuous"}
    assert [(wish.arm, wish.seeds, wish.loss_weights, wish.recipe_of(kinds)) for wish in wishes] == [
        (wish.arm, wish.seeds, wish.loss_weights, wish.recipe_of(kinds)) for wish in own_wishes
    ]
    assert wishes[0].loss_weights == {"age": 2.0}


def test_a_pretraining_is_that_of_the_command_line(heads, people, type_in, tmp_path, monkeypatch):
    _capture(monkeypatch, "featx.training.pretrain.is_done")
    words = (
        "--target",
        "age",
        "--target",
        "sex",
        "-n",
        NETWORK.partition("@")[0],
        "--validate",
        0.3,
        "--device",
        "cpu",
    )
    with pytest.raises(Captured) as typed:
        type_in(tmp_path, "pretrain", heads, "people.csv", *words, "--kind", "age=continuous", "-o", "n.safetensors")
    asked = {"target": ["age", "sex"], "validate": 0.3, "device": "cpu", "kind": {"age": "continuous"}}
    keys = []
    for table in (tmp_path / "people.csv", people):
        with pytest.raises(Captured) as called:
            featx.pretrain(heads, table, NETWORK.partition("@")[0], **asked, output=tmp_path / "n.safetensors")
        keys.append(called.value.args[0][1])
    assert typed.value.args[0][1] == keys[0] == keys[1]  # of the fit: who, which labels, which network, how


def test_what_trains_nothing_is_refused_as_on_the_command_line(heads, people, tmp_path, monkeypatch):
    asked = {"target": "age", "device": "cpu", "output": tmp_path / "t", "folds": 2, "inner_folds": 2}
    with pytest.raises(NetworkError, match="'nosuch' is not"):
        featx.train(heads, people, "nosuch", **asked)
    with pytest.raises(AnalysisError, match="--seeds must be a number of seeds"):
        featx.train(heads, people, NETWORK, **asked, seeds="some")
    with pytest.raises(NetworkError, match="must be given by --start; got .*; write --start random"):
        featx.pretrain(heads, people, NETWORK, target="age", device="cpu", output=tmp_path / "n.safetensors")
    with pytest.raises(
        DeviceError, match="several networks at a time must have a device each; --jobs 2 and 2 devices"
    ):
        check_devices(2, machine_of("cpu", devices=2))
    with pytest.raises(DeviceError, match="a precision of training must be known; 'float8' is not"):
        machine_of("cpu", "float8")
    with pytest.raises(DeviceError, match="a strategy must be one of Lightning's; 'none' is not"):
        machine_of("cpu", strategy="none")
    source = source_of(NETWORK, home=tmp_path)
    with pytest.raises(
        CohortError, match="must have images to be trained on; none of 1 fits it; the first: an image"
    ):
        fill(featx.api.inputs.images_of(heads)[6:], source, tmp_path / "v", accept=[], workers=0)
    monkeypatch.setitem(__import__("sys").modules, "pytorch_lightning", None)
    with pytest.raises(
        DependencyError, match="`featx train` needs torch, torchvision and pytorch-lightning; pytorch_l"
    ):
        check_training("train")
