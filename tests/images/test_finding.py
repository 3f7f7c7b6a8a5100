"""Sources of every kind: which file of each is taken, under which id, and what is left aside or refused."""

import zipfile
from pathlib import Path

import pytest

from featx.errors import IndexingError
from featx.images.finding.layouts import BIDS, FREESURFER, FSL_ANAT, PLAIN, UKB, kind_of
from featx.images.finding.patterns import ends_with
from featx.images.finding.ukbiobank import LOOKED_INTO, find_bulk
from featx.images.index import find_images, index_images, why_unreadable
from featx.images.opening import read_bytes


def _touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return str(folder)


def _bulk(folder, name, *members):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member in members:
            archive.writestr(member, name)
    return str(folder)


def _places(found, root):
    """Id and place of each image, relative to the source."""
    return {
        image.image_id: str(image.path).removeprefix(f"{root}/") + (f": {image.member}" if image.member else "")
        for image in found
    }


# --- UK Biobank -----------------------------------------------------------------------------------------------

T1 = (
    "T1/T1.nii.gz",
    "T1/T1_brain.nii.gz",
    "T1/T1_brain_to_MNI.nii.gz",
    "T1/T1_fast/T1_brain_pve_0.nii.gz",
    "T1/T1.json",
)


def test_archives_of_uk_biobank(tmp_path):
    for name in ("1000012_20252_2_0.zip", "1000012_20252_3_0.zip", "1000025_20252_2_1.zip"):
        source = _bulk(tmp_path, name, *T1)
    found = find_images(source)
    assert _places(found.images, tmp_path) == {
        "1000012_ses-2": "1000012_20252_2_0.zip: T1/T1_brain_to_MNI.nii.gz",
        "1000012_ses-3": "1000012_20252_3_0.zip: T1/T1_brain_to_MNI.nii.gz",
        "1000025_ses-2_run-1": "1000025_20252_2_1.zip: T1/T1_brain_to_MNI.nii.gz",
    }
    assert {image.participant_id for image in found.images} == {"1000012", "1000025"}
    assert found.told == ["UK Biobank bulk files of field 20252: T1/T1_brain_to_MNI.nii.gz of each"]
    assert [image.image_id for image in index_images(source, filters={"ses": "3"})] == ["1000012_ses-3"]
    assert [image.image_id for image in index_images(f"{source}/*_2_0.zip")] == ["1000012_ses-2"]
    with pytest.raises(IndexingError, match="of 3 in .* none has ses-4; there are sessions: ses-2, ses-3"):
        index_images(source, filters={"ses": "4"})


def test_another_member(tmp_path):
    source = _bulk(tmp_path, "1000012_20252_2_0.zip", *T1)
    assert index_images(source, file="T1/T1_brain.nii.gz")[0].member == "T1/T1_brain.nii.gz"
    assert index_images(source, file="T1_brain_pve*")[0].member == "T1/T1_fast/T1_brain_pve_0.nii.gz"
    with pytest.raises(
        IndexingError, match=r"'T1_b\*' stands for .*brain.nii.gz, .*to_MNI.nii.gz, .*; write more of its"
    ):
        index_images(source, file="T1_b*")
    with pytest.raises(IndexingError, match="none of those looked into holds 'T2.nii'; there are T1/T1.nii.gz, T1"):
        index_images(source, file="T2.nii")


def test_the_linear_one_where_no_archive_has_the_other(tmp_path):
    source = _bulk(tmp_path, "1000012_20252_2_0.zip", "T1/T1.nii.gz", "T1/T1_brain_linear_to_MNI.nii.gz")
    assert index_images(source)[0].member == "T1/T1_brain_linear_to_MNI.nii.gz"
    _bulk(tmp_path, "1000025_20252_2_0.zip", *T1)
    images = index_images(source)  # two registrations do not mix
    assert {image.member for image in images} == {"T1/T1_brain_to_MNI.nii.gz"}
    assert ["holds no T1/T1_brain_to_MNI" in why_unreadable(image) for image in images] == [True, False]


def test_an_archive_that_is_damaged_or_lacks_the_member_keeps_its_row(tmp_path):
    source = _bulk(tmp_path, "1000012_20252_2_0.zip", "T1/unusable/T1.nii.gz")
    (tmp_path / "1000025_20252_2_0.zip").write_bytes(b"PK half")
    images = index_images(source)
    assert [image.image_id for image in images] == ["1000012_ses-2", "1000025_ses-2"]
    assert "holds no T1/T1_brain_to_MNI.nii.gz" in why_unreadable(images[0])
    assert "whole zip file" in why_unreadable(images[1])


def test_few_archives_are_opened():
    opened = []

    def members_of(path):
        opened.append(path)
        return list(T1)

    archives = [f"/ukb/{1000000 + at}_20252_2_0.zip" for at in range(1000)]
    found = find_bulk(archives, "", "/ukb", members_of)
    assert len(found.images) == 1000
    assert LOOKED_INTO <= len(opened) <= 2 * LOOKED_INTO
    opened.clear()
    find_bulk(archives, "T1_brain.nii.gz", "/ukb", members_of)
    assert len(opened) == 1  # it is found at once; a rare one would be looked for in all


def test_unpacked_archives_beside_packed_ones(tmp_path):
    source = _bulk(tmp_path, "1000012_20252_2_0.zip", *T1)
    _touch(tmp_path, *(f"1000025_20252_2_0/{name}" for name in T1), "1000031/20252_3_0/T1/T1.nii.gz")
    assert _places(index_images(source), tmp_path) == {
        "1000012_ses-2": "1000012_20252_2_0.zip: T1/T1_brain_to_MNI.nii.gz",
        "1000025_ses-2": "1000025_20252_2_0/T1/T1_brain_to_MNI.nii.gz",
        "1000031_ses-3": "1000031/20252_3_0/T1/T1_brain_to_MNI.nii.gz",
    }
    assert why_unreadable(index_images(source)[2]) == "the file is not there"


def test_freesurfer_archives_of_uk_biobank(tmp_path):
    source = _bulk(tmp_path, "1000012_20263_2_0.zip", "FreeSurfer/mri/brain.mgz", "FreeSurfer/mri/norm.mgz")
    assert index_images(source)[0].member == "FreeSurfer/mri/brain.mgz"
    assert index_images(source, file="norm.mgz")[0].member == "FreeSurfer/mri/norm.mgz"


@pytest.mark.parametrize(
    "names, match",
    [
        (
            ("1000012_20252_2_0.zip", "1000012_20253_2_0.zip"),
            r"holds the fields 20252 \(1\), 20253 \(1\); .*_20252_\*",
        ),
        (("1000012_20216_2_0.zip",), "got 20216; known are '20252', .* take field 20252, the same images as NIfTI"),
        (("1000012_20250_2_0.zip",), "got 20250; known are .* choose a file with --file"),
    ],
)
def test_bulk_fields_that_are_not_taken(tmp_path, names, match):
    for name in names:
        source = _bulk(tmp_path, name, "a.nii.gz")
    with pytest.raises(IndexingError, match=match):
        index_images(source)


# --- FreeSurfer -----------------------------------------------------------------------------------------------


def _subjects(folder, *names):
    volumes = (
        "mri/orig/001.mgz",
        "mri/orig.mgz",
        "mri/brain.mgz",
        "mri/norm.mgz",
        "surf/lh.area.fsaverage.mgh",
        "surf/lh.white",
    )
    return _touch(folder, *(f"{name}/{volume}" for name in names for volume in volumes))


def test_subjects_of_freesurfer(tmp_path):
    source = _subjects(
        tmp_path, "bert", "sub-01_ses-02", "sub-01_ses-03_run-1", "sub-02", "fsaverage", "lh.EC_average"
    )
    found = find_images(source)
    assert _places(found.images, tmp_path) == {
        "bert": "bert/mri/brain.mgz",
        "sub-01_ses-02": "sub-01_ses-02/mri/brain.mgz",
        "sub-01_ses-03_run-1": "sub-01_ses-03_run-1/mri/brain.mgz",
        "sub-02": "sub-02/mri/brain.mgz",
    }
    assert found.images[1].participant_id == "sub-01"
    assert found.told == [
        "FreeSurfer subjects: mri/brain.mgz of each",
        "2 average subjects are left aside: fsaverage, lh.EC_average",
    ]
    assert str(index_images(source, file="norm.mgz")[0].path).endswith("bert/mri/norm.mgz")
    assert [image.image_id for image in index_images(f"{source}/bert")] == ["bert"]
    assert [image.image_id for image in index_images(source, filters={"ses": "02"})] == ["sub-01_ses-02"]
    with pytest.raises(IndexingError, match="none has space-MNI"):
        index_images(source, filters={"space": "MNI"})


def test_a_subject_whose_run_broke_off_keeps_its_row(tmp_path):
    source = _touch(_subjects(tmp_path, "bert") and tmp_path, "ernie/mri/orig/001.mgz", "ernie/mri/rawavg.mgz")
    images = index_images(source)
    assert [image.image_id for image in images] == ["bert", "ernie"]
    assert why_unreadable(images[1]) == "the file is not there"


def test_any_other_volume_of_a_subject_has_the_same_ids(tmp_path):
    source = _subjects(tmp_path, "sub-01_ses-1", "sub-01_ses-2", "fsaverage")
    _touch(tmp_path, *(f"{one}/mri/mine.nii.gz" for one in ("sub-01_ses-1", "sub-01_ses-2", "fsaverage")))
    images = index_images(source, file="mine.nii.gz")
    assert [(image.participant_id, image.session_id) for image in images] == [
        ("sub-01", "ses-1"),
        ("sub-01", "ses-2"),
    ]


def test_the_longitudinal_stream(tmp_path):
    source = _subjects(tmp_path, "bert_tp1", "bert_tp2", "bert_base", "bert_tp1.long.bert_base")
    _touch(tmp_path, "bert_base/base-tps")
    found = find_images(source)
    assert [image.image_id for image in found.images] == ["bert_tp1", "bert_tp2"]
    assert found.told[1:] == [
        "1 templates of the longitudinal stream are left aside: bert_base",
        "1 longitudinal runs of time points that were run on their own too are left aside: bert_tp1.long.bert_base",
    ]
    (image,) = index_images(source, file="*.long.*/mri/brain.mgz")
    assert (image.participant_id, image.session_id) == ("bert", "tp1")


def test_a_template_is_known_by_the_run_beside_it(tmp_path):
    """A glob does not list base-tps."""
    names = ("sub-01_ses-1", "sub-01_ses-2", "sub-01", "sub-01_ses-1.long.sub-01", "sub-01_ses-2.long.sub-01")
    source = _subjects(tmp_path, *names)
    found = find_images(f"{source}/*/mri/brain.mgz")
    assert [image.image_id for image in found.images] == ["sub-01_ses-1", "sub-01_ses-2"]
    assert found.told[1] == "1 templates of the longitudinal stream are left aside: sub-01"


def test_a_template_whose_runs_are_not_asked_for_is_known_by_its_file(tmp_path):
    source = _subjects(tmp_path, "bert_tp1", "bert_base")
    _touch(tmp_path, "bert_base/base-tps")
    for here in (source, f"{source}/bert_*/mri/brain.mgz"):
        assert [image.image_id for image in index_images(here)] == ["bert_tp1"]


def test_who_has_longitudinal_runs_alone_is_not_lost(tmp_path):
    source = _subjects(tmp_path, "bert_tp1", "bert_tp1.long.bert", "tp1.long.bob")
    found = find_images(source)
    assert [(image.image_id, image.participant_id) for image in found.images] == [
        ("bert_tp1", "bert_tp1"),
        ("bob_tp1", "bob"),
    ]
    assert found.told[1:] == [
        "1 longitudinal runs of time points that were run on their own too are left aside: bert_tp1.long.bert",
        "1 longitudinal runs are taken, for their time points were not run on their own: tp1.long.bob",
    ]


def test_only_averages_leave_nothing(tmp_path):
    with pytest.raises(IndexingError, match="must leave an image; of 0 in .* none has the default choice"):
        index_images(_subjects(tmp_path, "fsaverage"))


# --- fsl_anat -------------------------------------------------------------------------------------------------

ANAT = (
    "T1.nii.gz",
    "T1_biascorr.nii.gz",
    "T1_biascorr_brain.nii.gz",
    "T1_to_MNI_lin.nii.gz",
    "first_results/a.nii.gz",
)


def test_folders_of_fsl_anat(tmp_path):
    folders = ("S1.anat", "sub-02/anat/sub-02_ses-1_T1w.anat")
    source = _touch(tmp_path, *(f"{folder}/{name}" for folder in folders for name in ANAT), "S3.anat/T1.nii.gz")
    images = index_images(source)
    assert _places(images, tmp_path) == {
        "S1": "S1.anat/T1_biascorr_brain.nii.gz",
        "S3": "S3.anat/T1_biascorr_brain.nii.gz",
        "sub-02_ses-1": "sub-02/anat/sub-02_ses-1_T1w.anat/T1_biascorr_brain.nii.gz",
    }
    assert why_unreadable(images[1]) == "the file is not there"
    lin = index_images(source, file="T1_to_MNI_lin.nii.gz")
    assert _places(lin, tmp_path)["S1"] == "S1.anat/T1_to_MNI_lin.nii.gz"
    assert len(lin) == 2
    assert lin[0].mask == ""


def test_folders_of_one_name(tmp_path):
    source = _touch(tmp_path, *(f"{name}/T1.anat/T1_biascorr_brain.nii.gz" for name in ("a", "b")))
    assert [image.image_id for image in index_images(source)] == ["a", "b"]


# --- BIDS derivatives -----------------------------------------------------------------------------------------


def _fmriprep(folder, *people, space="_space-MNI152NLin2009cAsym_res-2"):
    ends = (
        "desc-preproc_T1w.nii.gz",
        "desc-brain_mask.nii.gz",
        "dseg.nii.gz",
        "label-GM_probseg.nii.gz",
        "desc-preproc_T1w.json",
    )
    return _touch(
        folder,
        *(f"{one}/anat/{one}{where}_{end}" for one in people for where in ("", space) for end in ends),
        *(f"{one}/func/{one}_task-rest{space}_desc-preproc_bold.nii.gz" for one in people),
        *(f"sourcedata/freesurfer/{one}/mri/brain.mgz" for one in people),
    )


def test_fmriprep_in_mni_space_with_its_masks(tmp_path):
    found = find_images(_fmriprep(tmp_path, "sub-01", "sub-02"))
    start = "sub-01/anat/sub-01_space-MNI152NLin2009cAsym_res-2"
    assert _places(found.images, tmp_path)["sub-01"] == f"{start}_desc-preproc_T1w.nii.gz"
    assert [image.image_id for image in found.images] == ["sub-01", "sub-02"]
    assert found.images[0].mask == str(tmp_path / f"{start}_desc-brain_mask.nii.gz")
    assert tmp_path / "sub-01/anat/sub-01_dseg.nii.gz" in map(Path, found.files)
    assert "the brain masks of 2 of 2 images are applied when they are read" in found.told
    assert any("left aside: sourcedata/freesurfer (2)" in told for told in found.told)


def test_fmriprep_in_the_scanners_space(tmp_path):
    (image,) = index_images(_fmriprep(tmp_path, "sub-01"), filters={"space": "none"})
    assert image.path == tmp_path / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    assert image.mask == str(tmp_path / "sub-01/anat/sub-01_desc-brain_mask.nii.gz")


def test_without_mni_space_or_masks(tmp_path):
    source = _touch(tmp_path, "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "sub-01/anat/sub-01_dseg.nii.gz")
    found = find_images(source)
    assert [(image.path.name, image.mask) for image in found.images] == [("sub-01_desc-preproc_T1w.nii.gz", "")]
    assert found.told[1] == (
        "1 of 1 images have no brain mask beside them: they are preprocessed heads, with skull, such as "
        f"{source}/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    )


def test_a_mask_of_other_entities_is_not_taken(tmp_path):
    names = (
        "space-MNI152NLin6Asym_desc-preproc_T1w",
        "space-MNI152NLin2009cAsym_desc-brain_mask",
        "run-1_desc-brain_mask",
    )
    source = _touch(tmp_path, *(f"sub-01/anat/sub-01_{name}.nii.gz" for name in names))
    assert [image.mask for image in index_images(source)] == [""]


def test_a_mask_is_found_beside_the_files_of_a_glob(tmp_path):
    source = _fmriprep(tmp_path, "sub-01")
    (image,) = index_images(f"{source}/sub-*/anat/*_space-MNI*_desc-preproc_T1w.nii.gz")
    assert image.mask.endswith("_space-MNI152NLin2009cAsym_res-2_desc-brain_mask.nii.gz")


def test_two_mni_spaces_are_a_choice(tmp_path):
    source = _fmriprep(tmp_path, "sub-01")
    _fmriprep(tmp_path, "sub-01", space="_space-MNI152NLin6Asym")
    with pytest.raises(
        IndexingError, match="filter: space is MNI152NLin2009cAsym or MNI152NLin6Asym; res is 2 or none"
    ):
        index_images(source)
    (image,) = index_images(source, filters={"space": "MNI152NLin6Asym"})
    assert image.mask.endswith("sub-01_space-MNI152NLin6Asym_desc-brain_mask.nii.gz")


def test_a_participant_without_mni_space_is_told(tmp_path):
    source = _fmriprep(tmp_path, "sub-01", "sub-02")
    for path in tmp_path.glob("sub-02/anat/*space*"):
        path.unlink()
    found = find_images(source)
    assert [image.image_id for image in found.images] == ["sub-01"]
    assert "1 participants have no image in MNI space and are left aside: sub-02" in found.told


def test_another_description_beside_the_preprocessed_one_is_a_choice(tmp_path):
    source = _touch(tmp_path, *(f"sub-01/anat/sub-01_desc-{desc}_T1w.nii.gz" for desc in ("preproc", "brain")))
    with pytest.raises(IndexingError, match="desc is brain or preproc"):
        index_images(source)
    assert (
        len(index_images(source, filters={"desc": "brain"})) == len(index_images(source, file="*preproc_T1w*")) == 1
    )


def test_derivatives_are_not_mixed_into_raw_images(tmp_path):
    source = _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz")
    _fmriprep(tmp_path / "derivatives/fmriprep", "sub-01")
    _subjects(tmp_path / "derivatives/freesurfer", "sub-01")
    found = find_images(source)
    assert _places(found.images, tmp_path) == {one: f"{one}/anat/{one}_T1w.nii.gz" for one in ("sub-01", "sub-02")}
    (told,) = found.told
    assert "derivatives/fmriprep (10), derivatives/freesurfer (5); to index one, name it" in told
    with pytest.raises(IndexingError, match=r"none has desc-preproc; .*left aside: derivatives/fmriprep"):
        index_images(source, filters={"desc": "preproc"})
    (prepared,) = index_images(f"{source}/derivatives/fmriprep")
    assert prepared.mask


# --- any other ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, kind",
    [
        ("/ukb/1000012_20252_2_0.zip", UKB),
        ("/ukb/1000012_20263_2_0/FreeSurfer/mri/brain.mgz", UKB),
        ("/s/sub-01/mri/norm.mgz", FREESURFER),
        ("/study/mri/a.nii.gz", PLAIN),
        ("/study/mri/a.mgz", PLAIN),
        ("/b/sub-01/anat/sub-01_T1w.anat/T1.nii.gz", FSL_ANAT),
        ("/b/sub-01/anat/T1.nii.gz", BIDS),
        ("/b/x_sub-01.nii.gz", BIDS),
        ("/b/subject-01.nii.gz", PLAIN),
        ("s3://bucket/sub-01_T1w.nii.gz", BIDS),
    ],
)
def test_the_kind_of_a_file(path, kind):
    assert kind_of(path) == kind


def test_two_kinds_are_a_choice(tmp_path):
    source = _touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.anat/T1_biascorr_brain.nii.gz")
    with pytest.raises(IndexingError, match="1 files of fsl_anat .* and 1 files that carry sub-.* or choose by name"):
        index_images(source)
    assert index_images(source, file="*_T1w.nii.gz")[0].path.name == "sub-01_T1w.nii.gz"
    assert index_images(source, file="T1_biascorr_brain.nii.gz")[0].image_id == "sub-01"
    assert index_images(source, filters={"suffix": "T1w"})[0].path.name == "sub-01_T1w.nii.gz"


def test_a_file_that_no_path_ends_with(tmp_path):
    source = _touch(tmp_path, "a/T1.nii", "b/T1.nii")
    assert [image.image_id for image in index_images(source, file="a/T?.nii")] == ["T1"]
    with pytest.raises(IndexingError, match="of 2 in .* none has T2.nii; there are a/T1.nii, b/T1.nii"):
        index_images(source, file="T2.nii")


@pytest.mark.parametrize(
    "pattern, path, chosen",
    [
        ("T1.nii", "/a/T1.nii", True),
        ("T1.nii", "/a/notT1.nii", False),
        ("T1.nii", "T1.nii", True),
        ("a/T1.nii", "/x/a/T1.nii", True),
        ("a*/T1.nii", "/x/a/b/T1.nii", False),
        ("*.long.*/mri/brain.mgz", "/s/t.long.b/mri/brain.mgz", True),
        ("T1+.nii", "/a/T1+.nii", True),
    ],
)
def test_patterns(pattern, path, chosen):
    assert ends_with(pattern)(path) is chosen


@pytest.mark.parametrize(
    "name", ["a/IM0001.dcm", "MR.1.2.IMA", "1/DICOMDIR", "scan/0001", "1.3.12.2.1107.5.2.43", "MR.1.3.12"]
)
def test_dicom(tmp_path, name):
    source = _touch(tmp_path, name)
    (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(10))
    with pytest.raises(IndexingError, match=r"holds DICOM, such as .*; convert it \(dcm2niix -z y -o OUT"):
        index_images(source)


def test_files_without_a_suffix_need_not_be_dicom(tmp_path):
    with pytest.raises(IndexingError, match="holds none; give a folder"):
        index_images(_touch(tmp_path, "README", "CHANGES"))


# --- what lies above a source ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "/*.nii.gz"])
def test_a_folder_above_the_source_is_no_participant(tmp_path, end):
    source = _touch(tmp_path / "sub-study/ds", "anna_run-1.nii.gz", "bob_run-2.nii.gz")
    assert [image.participant_id for image in index_images(source + end)] == ["anna_run-1", "bob_run-2"]
    _touch(tmp_path / "sub-study/bids", "sub-01/anat/T1.nii.gz", "sub-02/anat/T1.nii.gz")
    images = index_images(f"{tmp_path}/sub-study/bids")
    assert [image.participant_id for image in images] == ["sub-01", "sub-02"]
    _touch(tmp_path / "sub-study/fsl", *(f"{one}.anat/T1_biascorr_brain.nii.gz" for one in ("S1", "S2")))
    assert [image.image_id for image in index_images(f"{tmp_path}/sub-study/fsl")] == ["S1", "S2"]


@pytest.mark.parametrize(
    "source", ["sub-01", "sub-01/ses-2", "sub-01/ses-2/anat", "sub-01/ses-2/anat/*.nii", "sub-*/ses-*/anat/T1.nii"]
)
def test_a_source_inside_a_participants_folder_is_of_that_participant(tmp_path, source):
    _touch(tmp_path / "sub-study/bids", "sub-01/ses-2/anat/T1.nii")
    assert [image.image_id for image in index_images(f"{tmp_path}/sub-study/bids/{source}")] == ["sub-01_ses-2"]


def test_one_file_says_what_its_whole_path_says(tmp_path):
    source = _touch(tmp_path, "sub-01/mine/T1.nii")
    assert [image.image_id for image in index_images(f"{source}/sub-01/mine/T1.nii")] == ["sub-01"]


def test_hidden_files_of_archives_and_urls_are_left_out(bucket, tmp_path):
    names = ("a.nii", ".git/b.nii", "c/._d.nii", "c/.e/f.nii")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name)
            bucket.pipe(f"/study/{name}", b"x")
    for source in (f"{tmp_path}/study.zip", "memory://study", "memory://study/**"):
        assert [image.image_id for image in index_images(source)] == ["a"]
    assert [image.image_id for image in index_images(f"zip://.git/*::{tmp_path}/study.zip")] == ["b"]


# --- behind a URL ---------------------------------------------------------------------------------------------


@pytest.fixture
def bucket():
    import fsspec

    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()


def test_a_folder_and_a_glob_behind_a_url(bucket):
    for name in ("sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz", "sub-02/anat/sub-02_T1w.json"):
        bucket.pipe(f"/study/{name}", b"x")
    bucket.pipe("/study/derivatives/x/sub-01/anat/sub-01_T1w.nii.gz", b"x")
    images = index_images("memory://study")
    assert [(image.image_id, image.path) for image in images] == [
        (one, f"memory:///study/{one}/anat/{one}_T1w.nii.gz") for one in ("sub-01", "sub-02")
    ]
    assert read_bytes(images[0].path) == b"x"
    assert len(index_images("memory://study/sub-*/anat/*.nii.gz")) == 2
    assert why_unreadable(images[0]) == ""


def test_archives_behind_urls(bucket, tmp_path):
    _bulk(tmp_path, "1000012_20252_2_0.zip", *T1)
    raw = (tmp_path / "1000012_20252_2_0.zip").read_bytes()
    bucket.pipe("/ukb/1000012_20252_2_0.zip", raw)
    (image,) = index_images("memory://ukb/*.zip")
    assert (image.image_id, image.member) == ("1000012_ses-2", "T1/T1_brain_to_MNI.nii.gz")
    assert read_bytes(image.path, image.member) == b"1000012_20252_2_0.zip"
    for archive in ("memory://ukb/1000012_20252_2_0.zip", str(tmp_path / "1000012_20252_2_0.zip")):
        images = index_images(f"zip://T1/*.nii.gz::{archive}")
        assert [image.image_id for image in images] == ["T1", "T1_brain", "T1_brain_pve_0", "T1_brain_to_MNI"]
        (image,) = index_images(f"zip://{T1[1]}::{archive}", id_pattern=r"/(?P<participant_id>\d{7})_20252.*T1_brain")
        assert (image.image_id, image.member, str(image.path)) == ("1000012", "T1/T1_brain.nii.gz", archive)
        assert read_bytes(images[0].path, images[0].member) == b"1000012_20252_2_0.zip"


def test_a_study_in_one_archive(tmp_path):
    _fmriprep(tmp_path / "out", "sub-01", "sub-02")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in (tmp_path / "out").rglob("*.nii.gz"):
            archive.write(path, path.relative_to(tmp_path / "out"))
    images = index_images(f"zip://sub-*::{tmp_path}/study.zip")
    assert images == index_images(f"{tmp_path}/study.zip") == index_images(f"file://{tmp_path}/study.zip")
    assert [image.image_id for image in images] == ["sub-01", "sub-02"]
    assert images[0].member == "sub-01/anat/sub-01_space-MNI152NLin2009cAsym_res-2_desc-preproc_T1w.nii.gz"
    assert images[0].mask == ""  # a mask is a file of its own
    told = find_images(f"{tmp_path}/study.zip").told
    assert any(one.startswith("2 of 2 images have no brain mask beside them: they are preproc") for one in told)
    assert f"brain masks inside an archive are not applied; unpack {tmp_path}/study.zip to have them applied" in told
    assert not any("are applied when" in one for one in told)
    assert index_images(f"zip://{images[0].member}::{tmp_path}/study.zip") == images[:1]


def test_a_table_behind_a_url(bucket):
    bucket.pipe("/study/images.csv", b"participant_id,path\na,brains/a.nii\nb,/data/b.nii\nc,s3://bucket/c.nii\n")
    paths = [str(image.path) for image in index_images("memory://study/images.csv")]
    assert paths == ["memory://study/brains/a.nii", "/data/b.nii", "s3://bucket/c.nii"]


def test_urls_with_nothing_behind_them(bucket):
    with pytest.raises(IndexingError, match="holds none; give a folder"):
        index_images("memory://nothing/*.nii")
    with pytest.raises(IndexingError, match="must be of a protocol that only fetches; got git"):
        index_images("git://repository")
    with pytest.raises(IndexingError, match="must be readable UTF-8 text; memory://no.csv is not"):
        index_images("memory://no.csv")
    with pytest.raises(IndexingError, match="must be a readable file; /no/1.zip is not"):
        index_images("zip://*.nii::/no/1.zip")


@pytest.mark.data
def test_real_brains_in_the_layouts_of_others(data, tmp_path):
    """The same voxels come out of an archive, a subject's folder and the cohort's own tree."""
    from featx.images.volume import read_image

    brain = index_images(str(data / "ixi"))[0]
    with zipfile.ZipFile(tmp_path / "1000012_20252_2_0.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(brain.path, "T1/T1_brain_to_MNI.nii.gz")
    (member,) = index_images(str(tmp_path))
    assert (read_image(member).data == read_image(brain).data).all()
    norm = tmp_path / "subjects/bert/mri/norm.mgz"
    norm.parent.mkdir(parents=True)
    norm.write_bytes((data / "formats/freesurfer_norm.mgz").read_bytes())
    (subject,) = index_images(str(tmp_path / "subjects"), file="norm.mgz")
    assert subject.image_id == "bert"
    assert read_image(subject).stored.ndim == 3
