"""Made brains: the truth that was put in is there, and a person is one person in every cohort."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from featx.errors import DependencyError
from featx.images import synthetic
from featx.images.synthetic import Templates, anatomy, draw_person, make_brain, make_cohort


@pytest.fixture(scope="module")
def templates() -> Templates:
    pytest.importorskip("nilearn", reason="made brains need nilearn: install featx[demo]")
    return synthetic.load_templates()


def ventricle_voxels(templates: Templates, brain: np.ndarray) -> int:
    """Dark voxels within 12 mm of the template's lateral ventricles."""
    return int(((brain < 95) & (templates.wall < 12)).sum())


def test_a_person_does_not_depend_on_the_size_of_the_cohort() -> None:
    few = [draw_person(number, random_state=3) for number in range(1, 4)]
    many = [draw_person(number, random_state=3) for number in range(1, 50)]
    assert many[:3] == few
    assert len({person.seed for person in many}) == len(many)
    assert draw_person(1, random_state=3) != draw_person(1, random_state=4)


def test_people_cover_the_ages_and_both_sexes() -> None:
    people = [draw_person(number) for number in range(1, 401)]
    ages = np.array([person.age_years for person in people])
    assert ages.min() >= 20
    assert ages.max() <= 80
    assert abs(ages.mean() - 50) < 3
    assert abs(np.mean([person.sex == "M" for person in people]) - 0.5) < 0.08
    assert {person.site for person in people} == set(synthetic.SITES)


def test_truth_follows_age_and_sex_and_nothing_else() -> None:
    people = [draw_person(number) for number in range(1, 301)]
    truth = [anatomy(person) for person in people]
    ages = np.array([person.age_years for person in people])
    assert np.corrcoef(ages, [of.ventricle_mm for of in truth])[0, 1] > 0.8
    assert np.corrcoef(ages, [of.cortex_mm for of in truth])[0, 1] < -0.8
    assert abs(np.corrcoef(ages, [of.head_scale for of in truth])[0, 1]) < 0.15


def test_grid_dtype_and_background(templates: Templates) -> None:
    brain = make_brain(templates, draw_person(1))
    assert brain.shape == (91, 109, 91)
    assert brain.dtype == np.uint8
    share = (brain > 0).mean()
    assert 0.2 < share < 0.4
    for axis in (0, 1):
        assert not brain.take([0, -1], axis=axis).any()
    assert not brain[:, :, -1].any()
    assert brain.max() > 190
    assert (brain == 255).mean() < 0.001


def test_the_same_person_is_the_same_brain(templates: Templates) -> None:
    one = make_brain(templates, draw_person(2))
    np.testing.assert_array_equal(one, make_brain(templates, draw_person(2)))
    assert (one != make_brain(templates, draw_person(3))).mean() > 0.1


def test_ventricles_grow_and_tissue_shrinks_with_age_alone(templates: Templates) -> None:
    person = draw_person(5)
    brains = [make_brain(templates, replace(person, age_years=age)) for age in (20.0, 50.0, 80.0)]
    ventricles = [ventricle_voxels(templates, brain) for brain in brains]
    assert ventricles[0] * 1.2 < ventricles[1]
    assert ventricles[1] * 1.2 < ventricles[2]
    tissue = [int((brain > 100).sum()) for brain in brains]
    assert tissue[0] > tissue[1] > tissue[2]


def test_a_mans_head_is_larger_with_all_else_equal(templates: Templates) -> None:
    person = draw_person(6)
    woman, man = (make_brain(templates, replace(person, sex=sex)) for sex in "FM")
    ratio = (man > 0).sum() / (woman > 0).sum()
    assert 1.08 < ratio < 1.2  # (1.022 / 0.978) cubed is 1.14


def test_the_right_hand_side_is_at_high_world_x(templates: Templates) -> None:
    """LAS: voxel 0 along I is the person's right, world x = +90 mm; the front is at high J, the top at high K."""
    for voxel, point in ((0, (90, -126, -72)), (templates.voxels[0], templates.points_mm[:, 0])):
        index = np.array(np.unravel_index(voxel, synthetic.SHAPE))
        np.testing.assert_allclose(synthetic.AFFINE[:3, :3] @ index + synthetic.AFFINE[:3, 3], point)
    brain = make_brain(templates, draw_person(1))
    front, back = brain[:, :54].any(axis=(0, 1)).sum(), brain[:, 54:].any(axis=(0, 1)).sum()
    assert front > back  # the cerebellum and brain stem reach lower than the frontal lobe, and lie behind


def test_a_cohort_is_a_bids_derivative_with_truth(tmp_path: Path, templates: Templates) -> None:
    seen: list[tuple[int, int]] = []
    people = make_cohort(tmp_path / "made", 3, random_state=1, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with (tmp_path / "made" / "participants.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["participant_id"] for row in rows] == [person.participant_id for person in people]
    assert [float(row["age"]) for row in rows] == [person.age_years for person in people]
    assert [row["sex"] for row in rows] == [person.sex for person in people]
    assert float(rows[0]["true_ventricle"]) == pytest.approx(anatomy(people[0]).ventricle_mm, abs=1e-3)
    described = json.loads((tmp_path / "made" / "participants.json").read_text(encoding="utf-8"))
    assert ["participant_id", *described] == list(rows[0])
    dataset = json.loads((tmp_path / "made" / "dataset_description.json").read_text(encoding="utf-8"))
    assert dataset["DatasetType"] == "derivative"
    path = tmp_path / "made" / "sub-S0002" / "anat" / "sub-S0002_space-MNI152NLin6Asym_res-2_desc-brain_T1w.nii.gz"
    image = nib.load(path)
    assert image.get_data_dtype() == np.uint8
    assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 4)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), make_brain(templates, people[1]))


def test_the_same_seed_gives_the_same_files(tmp_path: Path, templates: Templates) -> None:
    make_cohort(tmp_path / "one", 1, random_state=9)
    make_cohort(tmp_path / "two", 2, random_state=9)
    person = draw_person(1, random_state=9)
    one, two = (tmp_path / name / synthetic.image_path(person) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a made cohort must have at least 1 person; got n=0"):
        make_cohort(tmp_path, 0)


def test_without_nilearn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(DependencyError, match=r"made brains need nilearn.*install featx\[demo\]"):
        synthetic.load_templates()
