"""featx doctor: what it lists, and how it ends."""

import json
import math
import re
import sys

import torch

from featx import extraction
from featx.extraction import golden, precision
from featx.extraction.precision import Measured
from featx.networks import get_network
from featx_cli import doctor

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
    assert "'nope*' is not; known are" in featx("doctor", "-n", "nope*", code=2)


def test_a_damaged_file_in_the_cache_is_no_arithmetic(featx, monkeypatch, tmp_path):
    monkeypatch.setenv("FEATX_HOME", str(tmp_path))
    (tmp_path / get_network("squeezenet1_0.imagenet").weights.file).write_bytes(b"cut")
    out = featx(*ONE, code=3)
    assert "not run: official weights must have the digest" in out
    assert "squeezenet1_0.imagenet could not be run: see there" in out
    assert "does not reproduce" not in out


def test_what_was_fetched_by_a_pattern_is_run_too(featx, monkeypatch, tmp_path):
    monkeypatch.setenv("FEATX_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "USUAL", ())
    (tmp_path / "timm:resnet10t.c3_in1k.golden.json").write_text("{}")
    (tmp_path / "timm:gone.golden.json").write_text("{}")
    out = featx("doctor", "--device", "cpu")
    assert "timm:resnet10t.c3_in1k  golden   weights" in out
    assert "gone" not in out


def test_precisions_are_measured_and_noted(featx, monkeypatch, tmp_path):
    monkeypatch.setenv("FEATX_HOME", str(tmp_path))
    measured = [Measured("float32", 0, 0, 0.5), Measured("bfloat16", 4e-3, 9e-3, 0.25)]
    monkeypatch.setattr(precision, "measure", lambda *_: measured)
    out = featx(*ONE, "-n", "squeezenet1_0.imagenet@random:0", "--precision")
    assert re.search(r"imagenet  golden    float32   0.0e\+00  0.0e\+00 +[0-9.]+ s an image  allowed\n", out)
    assert re.search(
        r"imagenet  random:0  bfloat16  [0-9.]+e-03 .* not allowed: --precision auto does not take it", out
    )
    assert "Not noted of squeezenet1_0.imagenet, for those were golden weights" in out
    assert out.rstrip().endswith(f"Noted in {tmp_path}, for `featx extract --precision auto`.")
    assert len(list(tmp_path.glob("precision-*.json"))) == 1


def test_a_precision_that_does_not_run_and_a_network_that_does_not(featx, monkeypatch, tmp_path):
    monkeypatch.setenv("FEATX_HOME", str(tmp_path))
    measured = [Measured("float32", 0, 0, 1), Measured("bfloat16", math.inf, math.inf, math.nan, "no such layer")]
    monkeypatch.setattr(precision, "measure", lambda *_: measured)
    words = (*ONE, "-n", "squeezenet1_0.imagenet@nothere.pth", "--precision")
    out = featx(*words)
    assert re.search("golden +bfloat16  not run: no such layer", out)
    assert "nothere.pth" in out
    rows = json.loads(featx(*words, "--json"))["precisions"]
    assert [one["precision"] for one in rows] == ["float32", "bfloat16", ""]
    assert (rows[1]["error"], rows[1]["seconds"], rows[1]["allowed"]) == (None, None, False)
    assert "nothere.pth" in rows[2]["told"]


def test_features_can_be_written_for_the_next_version(featx, tmp_path):
    featx(*ONE, "--write", tmp_path / "g.json")
    (sets,) = json.loads((tmp_path / "g.json").read_text()).values()
    assert sets.keys() == {f"sagittal/fire{at}/mean" for at in range(2, 10)}


class _BrokenTorch:
    """Finds a torch whose libraries do not load."""

    def find_spec(self, name, *_):
        if name == "featx.extraction.golden":
            raise ImportError("libcudnn.so.9: cannot open shared object file")


def test_a_torch_that_does_not_load_is_no_laptop_without_torch(featx, monkeypatch):
    monkeypatch.delitem(sys.modules, "featx.extraction.golden")
    monkeypatch.delattr(extraction, "golden")
    monkeypatch.setattr(sys, "meta_path", [_BrokenTorch(), *sys.meta_path])
    assert "torch must load to extract; it does not here (libcudnn.so.9" in featx(*ONE, code=2)


def test_a_laptop_without_torch(featx, monkeypatch):
    monkeypatch.delitem(sys.modules, "featx.extraction.golden")
    monkeypatch.delattr(extraction, "golden")
    monkeypatch.setitem(sys.modules, "torch", None)
    out = featx(*ONE)
    assert "golden image: not run, for torch is not there; this machine can fit and report, not extract" in out
