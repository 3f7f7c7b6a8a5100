"""Names, keys and masks: decisions that need no image."""

import json
import os
from pathlib import Path

import pytest

from featx import schema
from featx.errors import IndexingError, NetworkError
from featx.images.image import Image
from featx.preparing.plan import (
    Settings,
    check_apart,
    check_settings,
    file_of,
    find_heads,
    is_named_alike,
    plan_tasks,
    read_done,
    with_masks,
)

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
    assert key(Settings(accept=("not-registered",))) == first  # it changes no brain
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
    whole = json.dumps({"Featx": {"Key": task.key, "BrainBytes": 5, "Row": row}})
    sidecar.write_text(whole)
    assert read_done(task) is None  # without the brain
    brain.touch()
    assert read_done(task) is None  # cut short when the machine fell
    brain.write_bytes(b"brain")
    assert read_done(task) == row | {"path": str(brain)}
    for text in (whole[:-5], "[]", "{}", whole.replace(task.key, "other"), whole.replace('"dice"', '"dyce"')):
        sidecar.write_text(text)
        assert read_done(task) is None


@pytest.mark.parametrize("ids, got", [(("患者", "", ""), "患者"), (("a", "é", ""), "é"), (("a", "", "run-"), "run-")])
def test_an_id_without_a_letter_for_bids_is_refused(ids, got):
    with pytest.raises(
        IndexingError, match=f"an id must hold a letter a to z or a digit, .*; {got!r} of .* holds none"
    ):
        plan_tasks([_image(*ids)], OUT, Settings())


def test_the_derivative_names_people_as_the_source_does_or_not():
    def row(*ids):
        return dict(zip(("participant_id", "session_id", "run"), ids, strict=True)) | {
            "image_id": "_".join(filter(None, ids))
        }

    assert is_named_alike(row("sub-1", "ses-2", "run-3"))
    assert not is_named_alike(row("OAS1_0001", "", ""))
    assert not is_named_alike(row("sub-OAS1_0001", "", ""))
    assert not is_named_alike(row("sub-1", "2", ""))
    assert not is_named_alike(row("sub-1", "", "") | {"image_id": "one"})


def _raw(folder, *names):
    for name in names:
        path = folder / name.partition("_")[0] / "anat" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return str(folder)


def test_only_t1_weighted_images_are_prepared(tmp_path):
    raw = _raw(tmp_path / "raw", "sub-1_T1w", "sub-1_FLAIR", "sub-2_FLAIR", "sub-3_T1w")
    found = find_heads(raw, tmp_path / "out", "T1w")
    assert [image.path.name for image in found.images] == ["sub-1_T1w.nii.gz", "sub-3_T1w.nii.gz"]
    assert "1 participants have no T1w image: 2" in found.told
    assert [image.image_id for image in find_heads(raw, tmp_path / "out", "FLAIR").images] == ["sub-1", "sub-2"]
    alone = _raw(tmp_path / "alone", "sub-2_FLAIR", "sub-3_FLAIR")
    with pytest.raises(IndexingError, match=r"T1-weighted, named T1w; 2 of .* are named FLAIR, such as sub-2; leave"):
        find_heads(alone, tmp_path / "out", "T1w")
    assert len(find_heads(alone, tmp_path / "out", "").images) == 2
    table = tmp_path / "images.csv"
    table.write_text("participant_id,path\nsub-2,alone/sub-2/anat/sub-2_FLAIR.nii.gz\n")
    with pytest.raises(IndexingError, match="1 of .* are named FLAIR, such as sub-2; leave them out"):
        find_heads(str(table), tmp_path / "out", "T1w")


def test_names_without_a_suffix_are_taken(tmp_path):
    for name in ("ann", "bob"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"x")
    assert [image.image_id for image in find_heads(str(tmp_path), Path("/elsewhere"), "T1w").images] == ["ann", "bob"]


def test_an_output_is_not_found_among_its_own_images(tmp_path):
    raw = _raw(tmp_path / "raw", "sub-1_T1w")
    for source in (raw, f"{raw}/**/*.nii.gz"):
        with pytest.raises(IndexingError, match=r"an output must lie outside what it is made of, .*raw/prep lies in"):
            find_heads(source, tmp_path / "raw/prep", "T1w")
    with pytest.raises(IndexingError, match="an output must lie outside"):
        check_apart(raw, tmp_path / "raw")
    with pytest.raises(IndexingError, match="an output must lie outside"):
        check_apart(f"{raw}/**/*.nii.gz", tmp_path / "raw/derivatives/featx")  # a glob leaves nothing aside
    for out in ("raw/derivatives/featx", "prep", "raw-prep"):
        check_apart(raw, tmp_path / out)
    check_apart(f"{raw}/sub-*/anat/*.nii.gz", tmp_path / "raw/prep")
    check_apart(str(tmp_path / "raw/images.csv"), tmp_path / "raw/prep")
    _raw(tmp_path / "raw/derivatives/featx", "sub-1_space-MNI_desc-brain_T1w")  # what a first call made
    assert len(find_heads(raw, tmp_path / "raw/derivatives/featx", "T1w").images) == 1


def test_masks_lie_beside_urls():
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/heads/sub-01_mask.nii.gz", b"x")
    image = Image("sub-01", "sub-01", "", "", "memory://heads/sub-01_T1w.nii.gz")
    assert with_masks([image], "mask.nii.gz")[0].mask == "memory://heads/sub-01_mask.nii.gz"
