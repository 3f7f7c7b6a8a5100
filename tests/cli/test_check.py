"""featx check: a row for every image and network, counts, exit codes; and extract, which judges the same way."""

import dataclasses
import inspect
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from featx import schema
from featx.extraction.checking import let_through
from featx.images.contract import ACCEPTABLE, Verdict, Wants, judge
from featx.images.findings import look_at
from featx.images.volume import MNI152_2MM, Volume, grid_affine, write_volume
from featx.networks import get_network
from featx.networks.checkpoint import write_checkpoint
from featx_cli import check
from tests.conftest import phantom

NAME = "squeezenet1_0.imagenet"


@pytest.fixture
def images(tmp_path):
    """A folder: one good brain, one away from the template, a truncated one, one with NaN, one on another grid."""
    affine = grid_affine(MNI152_2MM)
    spoiled = phantom().astype(np.float32)
    spoiled[40, 50, 40] = np.nan
    made = {"good": phantom(), "away": np.roll(phantom(), 8, axis=0), "nan": spoiled, "other": phantom()[:-1]}
    for name, values in made.items():
        write_volume(tmp_path / f"brains/sub-{name}_T1w.nii.gz", values, affine)
    whole = (tmp_path / "brains/sub-good_T1w.nii.gz").read_bytes()
    (tmp_path / "brains/sub-short_T1w.nii.gz").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "brains"


CODES = {
    "sub-away": "not-registered",
    "sub-nan": "non-finite",
    "sub-other": "wrong-grid",
    "sub-short": "truncated",
}


def test_every_image_has_its_reason(featx, images, tmp_path):
    said = featx("check", images, "-n", NAME, "-o", tmp_path / "c.csv", "--workers", 2, code=3)
    table = pd.read_csv(tmp_path / "c.csv", keep_default_na=False).set_index("image_id")
    assert ["image_id", *table.columns] == schema.names(schema.CHECKS)
    assert table.index.tolist() == sorted([*CODES, "sub-good"])
    assert table["code"].to_dict() == CODES | {"sub-good": ""}
    assert table["fits"].to_dict() == dict.fromkeys(CODES, "no") | {"sub-good": "yes"}
    assert set(table["network"]) == {NAME}
    good = table.loc["sub-good"]
    assert (good["orientation"], good["shape"], good["voxel_mm"]) == ("LAS", "91x109x91", "2x2x2")
    assert float(good["overlap"]) > 0.98
    assert float(good["zeros"]) == pytest.approx((phantom() == 0).mean(), rel=1e-4)
    assert float(table.loc["sub-away"]["offset_mm"]) == pytest.approx(16, abs=1)
    assert (table.loc["sub-nan"]["shape"], table.loc["sub-nan"]["overlap"]) == ("91x109x91", "")
    assert table.loc["sub-short"]["shape"] == ""
    assert "5 images looked at in" in said
    assert f"{NAME}: 1 of 5 fit" in said
    assert "1  not-registered (the brain does not lie where the template's brain lies)" in said
    assert f"sub-away: {NAME} wants a brain that is registered to MNI152; that of" in said
    assert "4 do not fit. Mend what the sentences name" in said
    assert not list(tmp_path.glob(".c.csv*"))


def test_several_networks_with_wildcards(featx, images, tmp_path):
    words = ("-n", "sfcn.ukb_*", "-n", f"{NAME}@random:0", "-n", NAME, "-o", tmp_path / "c.csv")
    said = featx("check", images / "sub-good_T1w.nii.gz", *words, code=3)
    table = pd.read_csv(tmp_path / "c.csv", keep_default_na=False).set_index("network")
    assert {"sfcn.ukb_age", "sfcn.ukb_sex", NAME} <= set(table.index)
    assert table.index.is_unique
    assert table.loc["sfcn.ukb_age", "code"] == "wrong-grid"
    assert table.loc[NAME, "fits"] == "yes"
    assert "sfcn.ukb_age: 0 of 1 fit" in said
    featx("check", images / "sub-good_T1w.nii.gz", *words, "--resample")


def test_without_a_network_only_what_nobody_can_use_is_told(featx, images, tmp_path):
    said = featx("check", images, "-o", tmp_path / "c.csv", code=3)
    table = pd.read_csv(tmp_path / "c.csv", keep_default_na=False).set_index("image_id")
    assert table[table["fits"] == "no"]["code"].to_dict() == {"sub-nan": "non-finite", "sub-short": "truncated"}
    assert set(table["network"]) == {""}
    assert "2 do not fit" in said
    said = featx("check", images / "sub-good_T1w.nii.gz", "-o", tmp_path / "c.csv")
    assert "all of them can be read; name a --network" in said


def test_a_wrong_check_is_one_sentence(featx, images, tmp_path):
    assert "'sfcm.*' is not; known are" in featx("check", images, "-n", "sfcm.*", "-o", tmp_path / "c.csv", code=2)
    assert featx("check", tmp_path / "none", "-o", tmp_path / "c.csv", code=2).startswith("featx: ")
    assert not (tmp_path / "c.csv").exists()


@pytest.mark.parametrize("output", [".", "", "folder", "file.txt/c.csv"])
def test_a_table_that_cannot_be_written_costs_no_look(featx, images, study, monkeypatch, output):
    (study / "folder").mkdir(exist_ok=True)
    (study / "file.txt").write_text("")
    monkeypatch.setattr("featx.extraction.checking.read_image", lambda image: pytest.fail("an image was read"))
    said = featx("check", images, "-n", NAME, "-o", output, code=2)
    assert said.startswith("featx: an output must be a file that can be written; ")
    assert ("is a folder" in said) == ("txt" not in output)
    assert "Traceback" not in said


def test_the_table_may_lie_in_a_new_folder(featx, images, tmp_path):
    featx("check", images / "sub-good_T1w.nii.gz", "-n", NAME, "-o", tmp_path / "new/deep/c.csv")
    assert len(pd.read_csv(tmp_path / "new/deep/c.csv")) == 1


def test_what_is_accepted_fits_and_is_told(featx, images, tmp_path):
    words = ("-n", NAME, "--accept", "not-registered", "--accept", "not-skull-stripped", "-o", tmp_path / "c.csv")
    said = featx("check", images, *words, code=3)
    table = pd.read_csv(tmp_path / "c.csv", keep_default_na=False).set_index("image_id")
    assert table["code"].to_dict() == CODES | {"sub-good": ""}
    assert table["fits"].to_dict() == dict.fromkeys(CODES, "no") | {"sub-good": "yes", "sub-away": "yes"}
    assert "wants a brain that is registered to MNI152" in table.loc["sub-away", "sentence"]
    assert f"{NAME}: 2 of 5 fit" in said
    assert "1  not-registered" in said
    assert "3 do not fit" in said
    said = featx("check", images / "sub-away_T1w.nii.gz", *words)
    assert "all of them fit" in said
    refused = featx("check", images, "-n", NAME, "--accept", "wrong-grid", "-o", tmp_path / "c.csv", code=2)
    assert "--accept must name a misfit that may be let through; got 'wrong-grid'" in refused


def test_what_is_refused_stands_before_what_is_accepted():
    away, other = Verdict("not-registered", "a"), Verdict("wrong-range", "b")
    told = Verdict("clipped", "c", refused=False)
    findings = look_at(Volume(phantom().astype(np.float32), grid_affine(MNI152_2MM)))
    moved = dataclasses.replace(findings, offset_mm=20.0, high=3.0)
    wants = Wants("net", None, skull_stripped=True, registered=True, divided_by=255.0)
    assert [(one.code, one.refused) for one in let_through(judge(moved, wants, "here"), ["not-registered"])] == [
        ("wrong-range", True),
        ("not-registered", False),
    ]
    assert let_through([away, other, told], []) == [away, other, told]


def test_the_help_names_every_code_that_may_be_accepted():
    said = inspect.signature(check.command).parameters["accept"].default.help
    assert all(code in said for code in ACCEPTABLE)


def test_a_network_of_ones_own_is_checked_by_its_recipe(featx, images, tmp_path):
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        'takes = "volume"\ngrid = "mni152-2mm"\nregistered = false\n'
        'taps.features = {module = "pool", width = 64, positions = false}\n'
    )
    name, words = "python:mynets.small:make", ("-o", tmp_path / "c.csv")
    featx("check", images, "-n", name, "--recipe", recipe, *words, code=3)
    table = pd.read_csv(tmp_path / "c.csv", keep_default_na=False).set_index("image_id")
    assert set(table["network"]) == {name}
    assert table["fits"].to_dict() == dict.fromkeys(CODES, "no") | {"sub-good": "yes", "sub-away": "yes"}
    assert "must come with a recipe" in featx("check", images, "-n", name, *words, code=2)
    refused = featx("check", images, "-n", NAME, "--recipe", recipe, *words, code=2)
    assert "a recipe must be for a network of your own" in refused
    assert "at least one network must be asked for" in featx("check", images, "--recipe", recipe, *words, code=2)


def test_a_file_with_an_at_in_its_name_is_found(featx, images, tmp_path):
    path = tmp_path / "me@there/a@b.safetensors"
    path.parent.mkdir()
    write_checkpoint(path, torch.nn.Linear(2, 1), get_network("sfcn.narrow"), note="")
    for name in (f"file:{path}", f"file:{path}@reinit:1"):
        said = featx("check", images / "sub-good_T1w.nii.gz", "-n", name, "-o", tmp_path / "c.csv", "--resample")
        assert "sfcn.narrow: 1 of 1 fit" in said


def test_check_needs_no_torch(images, tmp_path):
    script = (
        "import sys\nclass Without:\n    def find_spec(self, name, *_):\n"
        "        if name in ('torch', 'torchvision'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\nfrom featx_cli.main import run; run()"
    )
    command = [sys.executable, "-c", script, "check", str(images), "-n", NAME, "-o", "c.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "check: 5 of 5" in done.stderr
    assert len(pd.read_csv(tmp_path / "c.csv")) == 5


def test_extract_refuses_the_same_images_and_accepts_what_is_asked(featx, images, tmp_path):
    words = ("extract", images, "-n", f"{NAME}@random:0", "--axis", "axial", "--slices", 1, "--tap", "fire2")
    featx(*words, "-o", tmp_path / "f.h5", code=3)
    failures = pd.read_csv(tmp_path / "f.failures.csv").set_index("image_id")
    assert failures["code"].to_dict() == CODES
    assert failures["step"].to_dict() == {
        "sub-away": "check", "sub-nan": "check", "sub-other": "check", "sub-short": "read",
    }  # fmt: skip
    said = featx(*words, "--accept", "not-registered", "-o", tmp_path / "f.h5", code=3)
    assert "1 images extracted" in said
    assert "found of images, and no reason to refuse them:\n      1  not-registered" in said
    assert "sub-away" not in pd.read_csv(tmp_path / "f.failures.csv")["image_id"].tolist()
    refused = featx(*words, "--accept", "wrong-grid", "-o", tmp_path / "f.h5", code=2)
    assert "--accept must name a misfit that may be let through; got 'wrong-grid'" in refused


@pytest.mark.data
def test_the_real_brains_fit_and_the_heads_do_not(featx, data, tmp_path):
    said = featx("check", data / "ixi", "-n", NAME, "-o", tmp_path / "c.csv")
    assert f"{NAME}: 185 of 185 fit" in said
    assert "all of them fit" in said
    for words in ((), ("--resample",)):
        said = featx("check", data / "ds000011", "-n", NAME, *words, "-o", tmp_path / "h.csv", code=3)
        table = pd.read_csv(tmp_path / "h.csv", keep_default_na=False)
        assert set(table["code"]) == {"not-skull-stripped" if words else "wrong-grid"}
        assert (table["code"] + " " + table["also"]).str.contains("not-skull-stripped").all()
        assert f"{NAME}: 0 of 6 fit" in said


def test_the_table_may_not_be_the_index(featx, images, tmp_path):
    featx("index", images, "-o", tmp_path / "images.csv")
    before = (tmp_path / "images.csv").read_text()
    said = featx("check", tmp_path / "images.csv", "-o", tmp_path / "images.csv", code=2)
    assert "is the index that is read; name another -o" in said
    assert (tmp_path / "images.csv").read_text() == before
