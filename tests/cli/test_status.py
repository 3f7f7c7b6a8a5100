"""featx status, collect and plan: what they say, and their exit codes."""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from featx import store
from featx.extraction.engine import extract
from featx.extraction.job import load_job
from featx.extraction.parts import parts_folder
from featx.extraction.plan import make_request
from featx.extraction.record import keep_record
from featx.images.image import Image
from featx.images.index import index_images
from featx_cli import plan, status
from tests.conftest import make_set, write_features

NAME = "net/axial/t/mean"
SMALL = ("-n", "squeezenet1_0.imagenet@random:0", "--tap", "fire2", "--axis", "axial", "--slices", 2)


@pytest.fixture
def job(tmp_path):
    """An output of which a and b are done, c failed and d is left, and its record."""
    output = tmp_path / "f.h5"
    failure = {"image_id": "c", "network": "net", "step": "read", "code": "truncated", "sentence": "it ends early"}
    store.write_sets(parts_folder(output) / "part-1.h5", [make_set(NAME, ["a", "b"])], [failure])
    images = [Image(one, one, "", "", Path(one)) for one in "abcd"]
    with keep_record(parts_folder(output), images, {"net": [NAME]}, shard="1/2", device="cpu") as told:
        told(3, 1)
    return output


def test_status_tells_images_reasons_and_writers(featx, job):
    said = featx("status", job)
    assert f"{job}: 2 of 4 images done, 1 failed, 1 left" in said
    assert "net: 2 of 4 images done, 1 failed, 1 left" in said
    assert "1  truncated (the file ends before its data do)" in said
    assert "c: it ends early" in said
    assert "on cpu, shard 1/2: ended, 3 of 4 finished, 1 failed, last sign of life 0:00:0" in said
    assert "nobody writes: the same `featx extract` again does what is left" in said


def test_status_as_json(featx, job):
    told = json.loads(featx("status", job, "--json"))
    assert told["images"] == {"asked": 4, "done": 2, "failed": 1, "left": 1}
    assert told["networks"] == {"net": told["images"]}
    assert told["codes"] == {"truncated": 1}
    assert (told["left_s"], told["writers"][0]["state"], told["writers"][0]["record"]["shard"]) == (
        None,
        "ended",
        "1/2",
    )


def test_status_watches_until_nobody_writes(featx, job):
    images = [Image(one, one, "", "", Path(one)) for one in "abcd"]
    over = threading.Event()

    def write():
        with keep_record(parts_folder(job), images, {"net": [NAME]}):
            over.wait(1.0)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.1)
    said = featx("status", job, "--watch", "--every", 0.2)
    writer.join()
    assert said.count("2 of 4 images done") >= 3
    assert said.count(": writing, 0 of 4 finished") >= 2
    assert said.rstrip().endswith("does what is left")


def test_status_tells_rate_and_time_left_while_somebody_writes(capsys):
    from featx.extraction.status import Progress, Status

    at = Progress(40_000, 20_000, 12, 19_988)
    status._say_status(Status(at, {"net": at}, {}, [], 3.5, 3.25, 19_988 / 3.5, []), Path("f.h5"))
    said = capsys.readouterr().out
    assert "f.h5: 20000 of 40000 images done, 12 failed, 19988 left" in said
    assert "  3.50 images/s in the last minutes, 3.25 overall; 1:35:11 left" in said


def test_status_of_what_is_not_there(featx, tmp_path):
    assert "a job must be named by its feature file; there is neither" in featx("status", tmp_path / "no.h5", code=2)


def test_status_of_a_file_without_records(featx, tmp_path):
    path = write_features(tmp_path / "f.h5", make_set(NAME, ["a", "b"]))
    assert "2 images done, 0 failed; nobody told how many were asked for" in featx("status", path)


# --- collect --------------------------------------------------------------------------------------------------


def test_collect_merges_parts_and_other_outputs(featx, job, tmp_path):
    other = write_features(tmp_path / "other.h5", make_set(NAME, ["d", "e"], seed=1))
    said = featx("collect", job, other)
    assert f"2 files collected: {job}" in said
    assert f"{NAME}: 4 images, 3 features" in said
    assert "1 images failed:" in said
    assert "truncated" in (tmp_path / "f.failures.csv").read_text()
    assert not parts_folder(job).exists()
    assert list(store.read_set(job, NAME).image_id) == list("abde")
    np.testing.assert_array_equal(store.read_set(job, NAME).X[2:], make_set(NAME, ["d", "e"], seed=1).X)
    assert "1 file collected" in featx("collect", job)
    assert "3 of 4 images done, 1 failed, 0 left" in featx("status", job)
    assert "a, b" not in said


def test_collect_refuses_what_was_made_in_another_way(featx, job, tmp_path):
    other = write_features(tmp_path / "other.h5", make_set(NAME, ["d"], weights_sha256="another"))
    said = featx("collect", job, other, code=2)
    assert "files must agree to be collected" in said
    assert "was made in another way in" in said
    assert parts_folder(job).exists()
    assert "there must be something to collect" in featx("collect", tmp_path / "no.h5", code=2)


# --- plan -----------------------------------------------------------------------------------------------------


def test_plan_tells_the_cost(featx, brains, tmp_path):
    output = tmp_path / "f.h5"
    folder = brains(4)
    small = {"taps": ["fire2"], "views": ["axial"], "n_slices": 2}
    request = make_request("squeezenet1_0.imagenet", weights="random:0", **small)
    extract(index_images(str(folder))[:1], [load_job(request, "cpu", Path("unused"))], output, device="cpu")
    said = featx("plan", folder, *SMALL, "-o", output, "--probe", 2, "--device", "cpu", "--workers", 0)
    assert f"4 images, 1 done before, 3 to do: {output}" in said
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*.nii.gz") if "sub-00" not in path.name)
    assert f"about {plan.short(n_bytes)}B to read and decode" in said
    flop = 2 * 2 * (49 * 96 * 109**2 + (96 * 16 + 16 * 64 + 9 * 16 * 64) * 54**2)
    assert f"1.25 M parameters, {plan.short(flop)}FLOP an image, 1 feature set, 128 features" in said
    assert f"in all {plan.short(flop)}FLOP an image, {plan.short(3 * flop)}FLOP" in said
    assert "probe: 2 images on cpu, 0 failed" in said
    assert "images/s after the first" in said
    rates = [float(line.split("(")[1].split()[0]) for line in said.splitlines() if line.startswith(("  1:", "  8:"))]
    assert rates[1] == pytest.approx(8 * rates[0], rel=0.05)
    assert store.read_shapes(output) == {"squeezenet1_0.imagenet@random-0/axial/fire2/mean": (1, 128)}
    assert list(tmp_path.glob("*.parts")) == []


def test_plan_without_a_probe_downloads_nothing(featx, brains, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "home"))
    said = featx("plan", brains(2), "-n", "squeezenet1_0.imagenet", "--probe", 0, "-o", tmp_path / "f.h5")
    assert "2 images; what of them is done in" in said
    assert "weights official, to be downloaded: 1.25 M parameters" in said
    assert "probe:" not in said
    assert not (tmp_path / "home").exists()


def test_plan_tells_what_fails_in_the_probe(featx, brains, tmp_path):
    folder = brains(2)
    for path in folder.rglob("*.nii.gz"):
        path.write_bytes(b"no image")
    said = featx("plan", folder, *SMALL, "-o", tmp_path / "f.h5", "--device", "cpu", code=3)
    assert "probe: 2 images on cpu, 2 failed" in said
    assert "2  truncated" in said
    assert "none came through: no hours can be told" in said


def test_plan_needs_torch(featx, brains, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    said = featx("plan", brains(1), *SMALL, "-o", tmp_path / "f.h5", code=2)
    assert (
        "`featx plan` needs torch and torchvision; torchvision is not there; run pip install 'featx[torch]'" in said
    )


def test_plan_where_the_cores_hold_up_the_gpus(capsys):
    from featx.extraction.cost import Probe

    plan._say_probe(Probe(10, 0, 50.0, 0.001, int(2e9), int(3e9)), "cuda", 40_000)
    said = capsys.readouterr().out
    assert "2 GB of memory at most, 3 GB of the GPU" in said
    assert "  1: 13.4 minutes (50.00 images/s)" in said
    assert "hours for 40000 images, on this many GPUs of this machine:" in said
    plan._say_probe(Probe(10, 0, 50.0, 1.0, int(2e9), int(3e9)), "cuda", 40_000)
    assert "  8: 13.4 minutes (50.00 images/s, held up by decoding)" in capsys.readouterr().out
