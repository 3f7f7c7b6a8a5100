"""featx doctor: what it lists, and how it ends."""

import json

import torch

from featx.extraction import golden

ONE = ("doctor", "-n", "squeezenet1_0.imagenet", "--device", "cpu")


def test_doctor_lists_the_machine_and_runs_the_golden_image(featx, monkeypatch, tmp_path):
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "cache"))
    out = featx(*ONE)
    assert f"extra torch   torch {torch.__version__.split('+')[0]}" in out
    assert "cache " + str(tmp_path / "cache") + ": 0 files" in out
    assert "squeezenet1_0.imagenet  golden   weights" in out
    assert out.rstrip().endswith("reproduced")


def test_a_machine_that_computes_something_else(featx, monkeypatch, tmp_path):
    known = {key: {name: {**one, "scale": one["scale"] * 2} for name, one in sets.items()}
             for key, sets in golden.known_features().items()}  # fmt: skip
    monkeypatch.setattr(golden, "known_features", lambda: known)
    out = featx(*ONE, code=3)
    assert "NOT REPRODUCED" in out
    assert "does not reproduce squeezenet1_0.imagenet: do not use its features" in out
    told = json.loads(featx(*ONE, "--json", code=3))
    assert told["golden"][0]["network"] == "squeezenet1_0.imagenet"
    assert told["golden"][0]["difference"] > 0.4
    assert set(told) >= {"gpus", "memory_gib", "extras", "cache"}


def test_what_nobody_knows_is_no_failure(featx, monkeypatch):
    monkeypatch.setattr(golden, "known_features", dict)
    assert "nothing is known to compare with" in featx(*ONE)


def test_an_unknown_network(featx):
    assert "'nope*' matches none; known are" in featx("doctor", "-n", "nope*", code=2)


def test_features_can_be_written_for_the_next_version(featx, tmp_path):
    featx(*ONE, "--write", tmp_path / "g.json")
    (sets,) = json.loads((tmp_path / "g.json").read_text()).values()
    assert sets.keys() == {f"sagittal/fire{at}/mean" for at in range(2, 10)}
