"""Made brains: the truth that was put in is there, and a person is one person in every cohort."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import fields, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from featx.errors import DependencyError
from featx.images import synthetic
from featx.images.scanners import SCANNERS, SITES, TISSUES, WHITE, Scanner, find_scanner, scan
from featx.images.synthetic import POPULATIONS, Templates, anatomy, draw_person, make_brain, make_cohort


@pytest.fixture(scope="module")
def templates() -> Templates:
    pytest.importorskip("nilearn", reason="made brains need nilearn: install featx[demo]")
    return synthetic.load_templates()


@pytest.fixture
def loaded(templates: Templates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cohorts need not load the templates again."""
    monkeypatch.setattr(synthetic, "load_templates", lambda: templates)


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
    assert {person.site for person in people} == {"alpha", "beta"}


@pytest.mark.parametrize("population", POPULATIONS)
def test_a_population_has_people_and_sites_of_its_own(population: str) -> None:
    people = [draw_person(number, random_state=2, population=population) for number in range(1, 41)]
    assert {person.site for person in people} == set(SITES[population])
    others = [
        draw_person(number, random_state=2, population=other)
        for other in set(POPULATIONS) - {population}
        for number in range(1, 41)
    ]
    for what in ("participant_id", "seed"):
        assert not {getattr(person, what) for person in people} & {getattr(person, what) for person in others}
    pairs = zip(people, others, strict=False)  # the same numbers
    assert sum(person.age_years == other.age_years for person, other in pairs) < 3


def test_an_unknown_population_names_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match="a made population must be known; 'mars' is not; known are 'elsewhere', 'ho"
    ):
        draw_person(1, population="mars")


def test_half_of_the_varied_people_have_lost_their_size() -> None:
    people = [draw_person(number, population="varied") for number in range(1, 801)]
    scales = np.array([anatomy(person).head_scale for person in people])
    rngs = [np.random.default_rng((*person.seed, 0)) for person in people]
    lost = np.array([(rng.standard_normal(3), rng.random())[1] < 0.5 for rng in rngs])
    men = np.array([person.sex == "M" for person in people])
    assert 0.45 < lost.mean() < 0.55
    assert abs(scales[lost & men].mean() - scales[lost & ~men].mean()) < 0.003
    assert scales[~lost & men].mean() - scales[~lost & ~men].mean() > 0.035
    assert scales[lost].std() < 0.01


def test_people_of_an_age_differ_more_in_the_varied_population() -> None:
    widths = {
        population: [anatomy(person).ventricle_mm for person in people if 55 < person.age_years < 65]
        for population in ("home", "varied")
        for people in [[draw_person(number, population=population) for number in range(1, 601)]]
    }
    assert np.std(widths["varied"]) > 1.8 * np.std(widths["home"])


# --- scanners -------------------------------------------------------------------------------------------------


def test_scanners_of_everybodys_own_are_wider_than_both_populations() -> None:
    drawn = [find_scanner("varied", (0, number, 1, 2)) for number in range(400)]
    for fixed in SCANNERS.values():
        for field in fields(Scanner):
            if field.name in ("tilt_deg", "shift_mm"):  # always those of a loose registration
                assert getattr(drawn[0], field.name) >= getattr(fixed, field.name)
                continue
            if (
                field.name == "bias_mm"
            ):  # up to those of the populations: longer fields would keep a mean, which clips
                assert max(one.bias_mm for one in drawn) == pytest.approx(fixed.bias_mm, abs=0.5)
                continue
            values = np.array([getattr(one, field.name) for one in drawn])
            wanted = np.array(getattr(fixed, field.name))
            assert np.all(values.min(axis=0) <= wanted + 0.02), field.name
            assert np.all(values.max(axis=0) >= wanted), field.name
    cut = np.array([one.cut_mm for one in drawn]) > 0
    assert 0.1 < cut[:, 0].mean() < 0.2
    assert 0.06 < cut[:, 1].mean() < 0.15
    assert all(one.tissues[0] < one.tissues[1] < one.tissues[2] for one in drawn)


def scanned(intensity: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Grey values of a cube of 24 voxels, the rest of the grid outside."""
    where = np.zeros(synthetic.SHAPE, bool)
    where[30:54, 40:64, 20:44] = True
    voxels = np.arange(where.size)
    brain = scan(intensity.ravel().astype(np.float32), where.ravel(), voxels, scanner, np.random.default_rng(4))
    assert not brain[~where].any()
    return brain[30:54, 40:64, 20:44]


QUIET = Scanner(noise=0.0, bias=0.0)


def test_a_scanner_gives_tissues_its_own_grey() -> None:
    contrast = (0.1, 0.5, 0.8)
    for tissue, wanted in zip(TISSUES, contrast, strict=True):
        grey = scanned(np.full((24, 24, 24), tissue), replace(QUIET, tissues=contrast))
        assert len(np.unique(grey)) == 1
        gamma = np.log(grey[0, 0, 0] / WHITE) / np.log(wanted)
        assert abs(np.log(gamma)) < 0.06  # its standard deviation is 0.02


def test_a_scanner_blurs_to_its_resolution_along_each_axis() -> None:
    point = np.zeros((24, 24, 24))
    point[12, 12, 12] = 7.0
    grey = scanned(point, replace(QUIET, blur_mm=(4.0, 8.0, 0.0))).astype(float)
    along = [grey[:, 12, 12], grey[12, :, 12], grey[12, 12, :]]
    gamma = np.log(along[0][13] / along[0][12]) / (-4 * np.log(2) * (2 / 4.0) ** 2)  # 2 mm away
    assert abs(np.log(gamma)) < 0.15
    assert along[1][14] / along[1][12] == pytest.approx(0.5**gamma, abs=0.05)  # half the width: half the height
    assert along[2][13] == 1


def test_a_scanner_adds_its_noise_and_its_bias_field() -> None:
    flat = np.full((24, 24, 24), 0.6)
    noisy = scanned(flat, replace(QUIET, noise=0.05)).astype(float)
    assert noisy.std() == pytest.approx(0.05 * WHITE, rel=0.05)
    biased = np.log(scanned(flat, replace(QUIET, bias=0.3)).astype(float))
    assert biased.std() > 0.05
    assert np.abs(np.diff(biased, axis=0)).max() < 0.04  # smooth


def test_a_field_of_view_ends_before_the_brain_does() -> None:
    grey = scanned(np.full((24, 24, 24), 0.6), replace(QUIET, cut_mm=(10.0, 4.0)))
    assert grey.any(axis=(0, 1)).tolist() == [False] * 5 + [True] * 17 + [False] * 2


# --- brains ---------------------------------------------------------------------------------------------------


def test_the_first_population_is_as_it_was_before_there_were_others(templates: Templates) -> None:
    assert draw_person(7).seed == (0, 7, 1)
    brain = make_brain(templates, draw_person(7)).astype(int)
    seen = [
        [0, 57, 135, 74, 0],
        [0, 152, 139, 174, 162],
        [0, 109, 162, 164, 164],
        [0, 128, 128, 124, 74],
        [0, 134, 165, 164, 161],
        [0, 163, 143, 172, 179],
    ]
    assert np.abs(brain[10:80:12, 54, 10:80:14] - seen).max() <= 1  # of rounding, on another machine
    assert abs((brain > 0).sum() - 241_412) < 20


def test_skull_stripping_cuts_where_the_scanner_says(templates: Templates, monkeypatch: pytest.MonkeyPatch) -> None:
    person = draw_person(3)
    usual = (make_brain(templates, person) > 0).sum()
    for edge, ratio in ((1.5, (0.75, 0.97)), (-1.2, (1.01, 1.2))):
        monkeypatch.setattr(synthetic, "find_scanner", lambda *_, edge=edge: Scanner(edge_mm=edge))
        assert ratio[0] < (make_brain(templates, person) > 0).sum() / usual < ratio[1]


def test_elsewhere_looks_other_than_home(templates: Templates, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same anatomy: at gamma grey matter is darker against white, at delta CSF is nearly as bright."""
    person = draw_person(4)
    ratios = {}
    for site in ("alpha", "gamma", "delta"):
        brain = make_brain(templates, replace(person, site=site)).astype(float)
        ventricle = np.median(brain[(templates.wall < -2) & (brain > 0)])
        ratios[site] = ventricle / np.percentile(brain[brain > 0], 90)
    assert ratios["gamma"] < ratios["alpha"] - 0.05
    assert ratios["delta"] > ratios["alpha"] + 0.05


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


@pytest.mark.usefixtures("loaded")
def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    make_cohort(tmp_path / "one", 1, random_state=9)
    make_cohort(tmp_path / "two", 2, random_state=9)
    person = draw_person(1, random_state=9)
    one, two = (tmp_path / name / synthetic.image_path(person) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.usefixtures("loaded")
def test_many_processes_write_the_same_files(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    for n_jobs in (1, 2):
        people = make_cohort(
            tmp_path / str(n_jobs),
            2,
            population="varied",
            n_jobs=n_jobs,
            progress=lambda done, n: seen.append((done, n)),
        )
    assert seen == [(1, 2), (2, 2)] * 2
    written = [sorted(path for path in (tmp_path / one).rglob("*") if path.is_file()) for one in ("1", "2")]
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]
    assert [path.name for path in written[0]] == [path.name for path in written[1]]
    assert synthetic.image_path(people[0]).name.startswith("sub-V0001_")
    described = json.loads((tmp_path / "1" / "participants.json").read_text(encoding="utf-8"))
    assert described["site"]["Levels"] == {"varied": ""}


def test_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a made cohort must have at least 1 person; got n=0"):
        make_cohort(tmp_path, 0)


def test_without_nilearn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(DependencyError, match=r"made brains need nilearn.*install featx\[demo\]"):
        synthetic.load_templates()
