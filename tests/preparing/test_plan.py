"""Names, keys and masks: decisions that need no image."""

import json
import os
from pathlib import Path

import pytest

from featx import schema
from featx.errors import IndexingError, NetworkError
from featx.images.image import Image
from featx.preparing.plan import Settings, check_settings, file_of, plan_tasks, read_done, with_masks

OUT = Path("out")


def _image(participant="sub-01", session="", run="", path="a.nii.gz", **more):
    name = "_".join(part for part in (participant, session, run) if part)
    return Image(name, participant, session, run, Path(path), **more)


@pytest.mark.parametrize(
    "image, stem",
    [
        (_image(), "sub-01/anat/sub-01_space-MNI152NLin2009aSym_res-2"),
        (_image(session="ses-b"), "sub-01/ses-b/anat/sub-01_ses-b_space-MNI152NLin2009aSym_res-2"),
        (_image(run="run-2"), "sub-01/anat/sub-01_run-2_space-MNI152NLin2009aSym_res-2"),
        (_image("1000012", "ses-2"), "sub-1000012/ses-2/anat/sub-1000012_ses-2_space-MNI152NLin2009aSym_res-2"),
        (_image("OAS1_0001"), "sub-OAS10001/anat/sub-OAS10001_space-MNI152NLin2009aSym_res-2"),
    ],
)
def test_outputs_have_bids_names(image, stem):
    (task,) = plan_tasks([image], OUT, Settings())
    assert task.stem.as_posix() == f"out/{stem}"
    assert file_of(task, "desc-brain_T1w.json").name == f"{Path(stem).name}_desc-brain_T1w.json"


def test_two_images_never_share_a_name():
    with pytest.raises(IndexingError, match=r"'a_1' and 'a-1' would both be sub-a1_space-\w+_res-2; give them ids"):
        plan_tasks([_image("a_1"), _image("a-1")], OUT, Settings())


@pytest.mark.parametrize(
    "settings, said",
    [
        (Settings(grid="3mm"), "--grid must be one that featx prepares; got '3mm'; known are '1mm', '2mm'"),
        (Settings(dof=9), "--dof must be one that featx prepares; got '9'; known are '12', '6', '7'"),
        (Settings(input="skull"), "--input must be one that featx prepares; got 'skull'"),
    ],
)
def test_unknown_settings_are_refused(settings, said):
    with pytest.raises(NetworkError, match=said):
        check_settings(settings)


def test_the_key_holds_settings_source_and_mask(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"1234")

    def key(settings=Settings(), **more):
        return plan_tasks([_image(path=path, **more)], OUT, settings)[0].key

    first = key()
    assert key() == first
    assert key(Settings(accept=("b", "a"))) == key(Settings(accept=("a", "b")))
    others = [key(Settings(dof=6)), key(Settings(grid="1mm")), key(mask="m.nii.gz"), key(member="T1.nii.gz")]
    path.write_bytes(b"12345")
    others.append(key())
    os.utime(path, ns=(0, 0))
    others.append(key())
    assert len({first, *others}) == 7


def test_masks_lie_beside_their_images(tmp_path):
    for name in ("sub-01_T1w.nii.gz", "sub-01_desc-brain_mask.nii.gz", "sub-02_T1w.nii.gz"):
        (tmp_path / name).touch()
    one, two = (_image(f"sub-0{at}", path=tmp_path / f"sub-0{at}_T1w.nii.gz") for at in (1, 2))
    assert with_masks([one, two], "") == [one, two]
    (masked,) = with_masks([one], "desc-brain_mask.nii.gz")
    assert masked.mask == str(tmp_path / "sub-01_desc-brain_mask.nii.gz")
    with pytest.raises(IndexingError, match=r"beside every image; .*sub-02_desc-brain_mask.nii.gz of sub-02 is"):
        with_masks([one, two], "desc-brain_mask.nii.gz")


def test_done_is_what_has_a_whole_sidecar_of_the_same_key(tmp_path):
    (task,) = plan_tasks([_image(path=tmp_path / "a.nii.gz")], tmp_path, Settings())
    sidecar, brain = (file_of(task, f"desc-brain_T1w.{end}") for end in ("json", "nii.gz"))
    sidecar.parent.mkdir(parents=True)
    assert read_done(task) is None
    row = dict.fromkeys(schema.names(schema.PREPARED), "1")
    whole = json.dumps({"Featx": {"Key": task.key, "Row": row}})
    sidecar.write_text(whole)
    assert read_done(task) is None  # without the brain
    brain.touch()
    assert read_done(task) == row | {"path": str(brain)}
    for text in (whole[:-5], "[]", "{}", whole.replace(task.key, "other"), whole.replace('"dice"', '"dyce"')):
        sidecar.write_text(text)
        assert read_done(task) is None
