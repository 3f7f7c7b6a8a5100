"""featx networks add and remove: a trained checkpoint under a name of its own."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from featx import store
from featx.images.volume import grid_affine, write_volume
from featx.networks import get_network
from featx.networks.checkpoint import read_checkpoint, read_facts, write_checkpoint
from featx.networks.described import facts_of
from featx.networks.look import look
from featx.networks.recipe import prepare
from featx.networks.sheet import View
from featx_cli.added import add, added, resolved
from featx_cli.console import cache_dir
from tests.conftest import phantom
from tests.networks.conftest import phantom_volume
from tests.networks.test_trained import AGE, GRID, make, make_sheet, small_sfcn


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def checkpoint(tmp_path):
    base = small_sfcn()
    free = replace(base, recipe=replace(base.recipe, skull_stripped=False, registered=False))
    sheet = make_sheet(free, outputs=(AGE,), n_parameters=7)
    network = make(sheet)
    write_checkpoint(tmp_path / "best.safetensors", network, sheet, note="of a test")
    return tmp_path / "best.safetensors", sheet, network.eval()


def test_an_added_network_works_wherever_one_is_named(featx, checkpoint, tmp_path):
    path, sheet, network = checkpoint
    out = featx("networks", "add", path, "--name", "sfcn.ours")
    kept = cache_dir() / "added" / "sfcn.ours.safetensors"
    assert f"sfcn.ours: added, {kept}" in out
    path.unlink()
    assert get_network(f"file:{kept}") == replace(sheet, name="sfcn.ours")
    listed = featx("networks", "list")
    assert "SFCN, added (1)" in listed
    assert "added" in next(line for line in featx("networks", "list", "sfcn.*").splitlines() if "sfcn.ours" in line)
    assert [one["labels"] for one in json.loads(featx("networks", "list", "sfcn.ours", "--json"))] == [["age"]]
    shown = featx("networks", "show", "sfcn.ours")
    for told in (f"added: {kept}", "labels      age", "--network sfcn.ours -o", "network.feature_extractor.conv_0"):
        assert told in shown
    write_volume(tmp_path / "one.nii.gz", phantom(GRID), grid_affine(GRID))
    featx("check", tmp_path / "one.nii.gz", "--network", "sfcn.ours")
    networks = ("-n", "sfcn.ours", "-n", "sfcn.ours@reinit:3")
    taps = ("--tap", "features", "--tap", "prediction")
    featx("extract", tmp_path / "one.nii.gz", *networks, *taps, "--device", "cpu", "-o", tmp_path / "f.h5")
    names = store.list_sets(tmp_path / "f.h5")
    assert [one.partition("@")[0] for one in names] == ["sfcn.ours"] * 4
    x = torch.from_numpy(prepare(phantom_volume(0, GRID), sheet.recipe, "n", "here").copy())[None, None]
    with torch.inference_mode():
        vector = network.vector(look(x, View("volume").steps))
    own = next(one for one in names if one.endswith("/features/mean") and "reinit" not in one)
    np.testing.assert_allclose(store.read_set(tmp_path / "f.h5", own).X, vector, rtol=1e-4)
    assert "sfcn.ours: removed" in featx("networks", "remove", "sfcn.ours")
    assert not kept.exists()
    assert "a network must be in the table" in featx("networks", "show", "sfcn.ours", code=2)


def test_names_stand_for_files_with_whatever_is_behind_them(checkpoint):
    path = add(checkpoint[0], "ours", replace=False)
    words = ["ours", "ours@random:1", "ours=a.p", "ourselves", "sfcn.ukb_age", "file:ours", "@", ""]
    assert resolved(words) == [f"file:{path}", f"file:{path}@random:1", f"file:{path}=a.p", *words[3:]]
    assert list(added()) == ["ours"]
    (path.parent / "sfcn.ukb_age.safetensors").write_bytes(path.read_bytes())  # the table's, by now
    (path.parent / ".ours.1.safetensors").write_bytes(path.read_bytes())  # half a copy
    assert list(added()) == ["ours"]


def test_weights_of_an_added_network_can_be_given(checkpoint, featx):
    add(checkpoint[0], "ours", replace=False)
    out = featx("plan", "small.csv", "-n", "ours", "--weights", "ours=nowhere.p", code=2)
    assert "nowhere.p" in out or "small.csv" in out


def test_names_that_are_taken_are_refused(featx, checkpoint):
    path, sheet, network = checkpoint
    featx("networks", "add", path)
    kept = added()["net.trained"]
    assert read_facts(kept) == json.loads(json.dumps(facts_of(sheet)))
    assert "'net.trained' is" in featx("networks", "add", path, code=2)
    with torch.no_grad():
        network.output.bias.fill_(3)
    write_checkpoint(path, network, sheet, note="better")
    featx("networks", "add", path, "--replace")
    assert read_checkpoint(kept)["output.bias"].tolist() == [3]
    for name, whose in (("resnet18.imagenet", "of the table"), ("timm:x", "of a pattern"), ("a@b", "no such name")):
        assert f"{name!r} is {whose}; give it another with --name" in featx(
            "networks", "add", path, "--name", name, code=2
        )


def test_what_is_no_checkpoint_of_featx_is_not_added(featx, checkpoint, tmp_path):
    path, sheet, network = checkpoint
    torch.save(network.state_dict(), tmp_path / "plain.pth")
    assert "must say which network it is of" in featx("networks", "add", tmp_path / "plain.pth", code=2)
    other = replace(sheet, arguments={**sheet.arguments, "outputs": "[]"})
    write_checkpoint(path, network, other, note="")
    assert "one output for each of its targets" in featx("networks", "add", path, code=2)
    del network.output.bias
    write_checkpoint(path, network, sheet, note="")
    assert "weights must fit net.trained, tensor by tensor" in featx("networks", "add", path, code=2)
    assert not added()
    assert "'net.trained' was not; none was" in featx("networks", "remove", "net.trained", code=2)


def test_a_list_tells_what_it_cannot_read(featx, checkpoint, monkeypatch):
    path = add(checkpoint[0], "ours", replace=False)
    path.write_bytes(b"half")
    listed = featx("networks", "list")
    assert "added, but not to be read here: ours: a file of weights must be a checkpoint" in listed
    monkeypatch.setitem(sys.modules, "featx.networks.checkpoint", None)
    assert "ours: the sheet of file:" in featx("networks", "list")
