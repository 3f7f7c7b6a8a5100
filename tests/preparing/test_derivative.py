"""What is written of an image: all of it, in order, and only of brains that lie right."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from PIL import Image as Picture

from featx import schema
from featx.errors import ImageError, StoreError
from featx.images.findings import look_at
from featx.images.image import Image
from featx.images.template import read_template, template_mask
from featx.images.volume import read_volume, write_volume
from featx.preparing import derivative
from featx.preparing.brain import OWN, Prepared
from featx.preparing.derivative import (
    check_description,
    check_result,
    itk_text,
    picture_of,
    prepare_image,
    write_description,
    xfm_of,
)
from featx.preparing.plan import Settings, file_of, plan_tasks, read_done

ants = pytest.importorskip("ants")


@pytest.fixture
def task(tmp_path, phantom_head):
    path, mask = tmp_path / "sub-1_T1w.nii.gz", tmp_path / "sub-1_mask.nii.gz"
    write_volume(path, phantom_head.head.data, phantom_head.head.affine)
    write_volume(mask, phantom_head.brain.astype(np.uint8), phantom_head.head.affine)
    image = Image("sub-1_ses-2", "sub-1", "ses-2", "", path, mask=str(mask))
    return plan_tasks([image], tmp_path / "out", Settings())[0]


def test_an_image_becomes_a_derivative(task, quick, phantom_head):
    row = prepare_image(task, Settings())
    assert list(row) == schema.names(schema.PREPARED)
    assert (row["image_id"], row["session_id"], row["extraction"]) == ("sub-1_ses-2", "ses-2", "given mask")
    assert float(row["dice"]) > 0.95
    assert float(row["scale"]) == pytest.approx(1 / np.cbrt(0.9 * 0.92 * 0.88), abs=0.02)
    assert read_done(task) == row
    brain, mask = (read_volume(file_of(task, f"desc-brain_{what}.nii.gz")) for what in ("T1w", "mask"))
    assert ((brain.data > 0) <= (mask.data > 0)).all()
    assert brain.stored.dtype == np.float32
    assert mask.stored.dtype == np.uint8
    said = json.loads(file_of(task, "desc-brain_T1w.json").read_text())
    assert said["Featx"]["SourceSha256"] == hashlib.sha256(task.image.path.read_bytes()).hexdigest()
    assert said["SkullStripped"] is True
    assert "2009a nonlinear symmetric" in said["SpatialReference"]
    with Picture.open(picture_of(task)) as picture:
        assert picture.height == 300
    names = {path.name for path in task.output.rglob("*") if path.is_file()}
    stem = "sub-1_ses-2_space-MNI152NLin2009aSym_res-2_desc-brain"
    xfm = "sub-1_ses-2_from-T1w_to-MNI152NLin2009aSym_mode-image_res-2_xfm.txt"
    ends = ("T1w.nii.gz", "T1w.json", "T1w.png", "mask.nii.gz", "mask.json")
    assert names == {f"{stem}_{end}" for end in ends} | {xfm}
    of_mask = json.loads(file_of(task, "desc-brain_mask.json").read_text())
    assert (of_mask["Type"], of_mask["Resolution"]) == ("Brain", "2mm, isotropic")
    assert said["Featx"]["BrainBytes"] == file_of(task, "desc-brain_T1w.nii.gz").stat().st_size
    assert said["Featx"]["Accepted"] == []
    _check_transform(task.stem.parent / xfm, phantom_head)


def _check_transform(path, phantom_head):
    """ANTs reads the text file, and finds the template's middle where the head has it."""
    transform = ants.read_transform(str(path))
    point = np.array([4.0, -20.0, 10.0])
    found = np.array([-1, -1, 1]) * transform.apply_to_point((point * [-1, -1, 1]).tolist())
    assert np.linalg.norm(found - (phantom_head.matrix @ [*point, 1])[:3]) < 1.5


def test_a_brain_that_failed_is_not_done(task, monkeypatch):
    made = Prepared(read_template(), template_mask(), np.eye(4), OWN, 0.95)
    monkeypatch.setattr(derivative, "prepare", lambda *_, **__: made)
    row = prepare_image(task, Settings())
    assert read_done(task) == row
    worse = dataclasses.replace(made, dice=0.89)
    monkeypatch.setattr(derivative, "prepare", lambda *_, **__: worse)
    with pytest.raises(ImageError, match=r"the template's by a Dice of 0.9 or more; that of .* does by 0.890; look"):
        prepare_image(task, Settings())
    assert read_done(task) is None
    assert not list(task.output.rglob("*.*"))  # nothing of the first brain stands without its sidecar
    accepting = Settings(accept=("not-registered", "wrong-range"))
    row = prepare_image(task, accepting)
    assert json.loads(file_of(task, "desc-brain_T1w.json").read_text())["Featx"]["Accepted"] == ["not-registered"]
    assert read_done(task) == row


def test_a_brain_gets_its_name_after_its_sidecar(task, monkeypatch):
    made = Prepared(read_template(), template_mask(), np.eye(4), OWN, 0.95)
    monkeypatch.setattr(derivative, "prepare", lambda *_, **__: made)
    prepare_image(task, Settings())
    there = []

    def write(path, text):
        there.append((path.name, file_of(task, "desc-brain_T1w.nii.gz").exists()))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(derivative, "_write_text", write)
    with pytest.raises(OSError, match="No space left"):
        prepare_image(task, Settings())
    assert there == [(file_of(task, "desc-brain_mask.json").name, False)]
    monkeypatch.undo()
    monkeypatch.setattr(derivative, "prepare", lambda *_, **__: made)
    synced = []
    monkeypatch.setattr(derivative.os, "fsync", lambda file: synced.append(sorted(_names(task))))
    prepare_image(task, Settings())
    assert "T1w.json" in synced[-1]
    assert "T1w.nii.gz" not in synced[-1]  # the brain is on the disk before it has its name, and comes last
    assert "T1w.nii.gz" in _names(task)


def _names(task):
    return {path.name.rpartition("_")[2] for path in task.stem.parent.glob("sub-*")}


def test_grids_have_transforms_of_their_own(task):
    one, two = (xfm_of(plan_tasks([task.image], task.output, Settings(grid))[0]).name for grid in ("1mm", "2mm"))
    assert one == "sub-1_ses-2_from-T1w_to-MNI152NLin2009aSym_mode-image_res-1_xfm.txt"
    assert two == one.replace("res-1", "res-2")


def test_a_mask_may_lie_at_a_url(task, quick):
    import fsspec

    with open(task.image.mask, "rb") as file:
        fsspec.filesystem("memory").pipe("/masks/1.nii.gz", file.read())
    image = dataclasses.replace(task.image, mask="memory://masks/1.nii.gz")
    assert derivative._given_mask(image).sum() == (read_volume(task.image.mask).data > 0).sum()
    made = derivative._sidecar(dataclasses.replace(task, image=image), Settings(), ({}, []), 5)["Featx"]
    with open(task.image.mask, "rb") as file:
        assert made["MaskSha256"] == hashlib.sha256(file.read()).hexdigest()


@pytest.mark.data
def test_a_real_head_becomes_a_brain(data, tmp_path, quick):
    image = Image("sub-01", "sub-01", "", "", data / "ds000011/sub-01/anat/sub-01_T1w.nii.gz")
    row = prepare_image(plan_tasks([image], tmp_path, Settings())[0], Settings())
    assert float(row["dice"]) > 0.93
    assert row["extraction"] == OWN


def _made(extraction):
    return lambda overlap: Prepared(read_template(), template_mask(), np.eye(4), extraction, overlap)


def test_results_are_held_against_the_template():
    good = look_at(read_template())
    own, given = _made(OWN), _made("given mask")
    assert check_result(own(0.91), good, Settings(), "a.nii") == []
    check_result(given(0.86), good, Settings(), "a.nii")  # another tool's mask may be wider or tighter
    check_result(own(0.7), good, Settings(dof=6), "a.nii")
    assert check_result(own(0.7), good, Settings(accept=("not-registered",)), "a.nii") == ["not-registered"]
    with pytest.raises(ImageError, match="a Dice of 0.85 or more; that of a.nii does by 0.840; look"):
        check_result(given(0.84), good, Settings(), "a.nii")
    away = dataclasses.replace(good, offset_mm=20.0)
    with pytest.raises(ImageError, match="a prepared brain wants a brain that is registered to MNI152; that of what"):
        check_result(own(0.95), away, Settings(), "a.nii")
    assert check_result(own(0.95), away, Settings(accept=("not-registered",)), "a.nii") == ["not-registered"]


def test_a_standardised_image_is_refused(tmp_path):
    data = np.where(template_mask(), read_template().data - 180, 0).astype(np.float32)
    write_volume(tmp_path / "z.nii.gz", data, read_template().affine)
    image = Image("z", "z", "", "", tmp_path / "z.nii.gz")
    with pytest.raises(ImageError, match=r"must have grey values from 0 on, as scanners give; \d+% of what is") as of:
        prepare_image(plan_tasks([image], tmp_path, Settings())[0], Settings())
    assert of.value.code == "standardised"


def test_a_mask_of_another_grid_is_refused(task, tmp_path):
    write_volume(tmp_path / "other.nii.gz", np.ones((4, 5, 6), np.uint8), np.eye(4))
    image = dataclasses.replace(task.image, mask=str(tmp_path / "other.nii.gz"))
    with pytest.raises(ImageError) as of:
        prepare_image(dataclasses.replace(task, image=image), Settings())
    assert of.value.code == "mask-mismatch"


def test_the_folder_says_that_it_is_a_derivative(tmp_path):
    write_description(tmp_path)
    path = tmp_path / "dataset_description.json"
    said = json.loads(path.read_text())
    assert (said["DatasetType"], said["GeneratedBy"][0]["Name"]) == ("derivative", "featx")
    assert (tmp_path / ".bidsignore").read_text().split() == ["prepared.csv", "failures.csv", "figures/", "*_xfm.txt"]
    path.write_text(json.dumps(said | {"Name": "Ours"}))
    write_description(tmp_path)
    assert json.loads(path.read_text())["Name"] == "Ours"  # what somebody wrote into it stays


@pytest.mark.parametrize("text", ['{"GeneratedBy": [{"Name": "fMRIPrep"}]}', '{"DatasetType": "raw"}', "[]", "{"])
def test_a_dataset_of_somebody_else_is_left_as_it_is(tmp_path, text):
    path = tmp_path / "dataset_description.json"
    path.write_text(text)
    for act in (check_description, write_description):
        with pytest.raises(
            StoreError, match=r"a folder of its own, or one that featx made; .* is of another dataset"
        ):
            act(tmp_path)
    assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_transform_is_written_in_itks_world():
    matrix = np.eye(4)
    matrix[:3, 3] = 1, 2, 3
    matrix[0, 2] = 0.5
    numbers = list(map(float, itk_text(matrix).splitlines()[3].split()[1:]))
    lps = np.reshape(numbers[:9], (3, 3)), np.array(numbers[9:])
    point = np.array([7.0, -4.0, 2.0])
    flip = np.array([-1, -1, 1])
    assert np.allclose(flip * (lps[0] @ (flip * point) + lps[1]), matrix[:3, :3] @ point + [1, 2, 3])
