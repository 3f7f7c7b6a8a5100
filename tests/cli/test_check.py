"""featx check: a row for every image and network, counts, exit codes; and extract, which judges the same way."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.images.volume import MNI152_2MM, grid_affine, write_volume
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
