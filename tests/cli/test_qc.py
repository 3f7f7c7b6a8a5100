"""featx qc as a user types it; its columns as confounds, filters and targets of fit, each image with its own row."""

import dataclasses
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.images.template import read_template
from featx.images.volume import MNI152_2MM, grid_affine, write_volume
from tests.cli.conftest import QUICK
from tests.conftest import make_set, write_features


def _scan(seed):
    """A brain of its own size and noise."""
    data = read_template().data
    rng = np.random.default_rng(seed)
    return np.where(data > 0, data * rng.uniform(0.9, 1) + rng.normal(0, 2 + rng.uniform(), data.shape), 0)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Eight brains, a noisy one, a shifted one, a blurred one, and two that cannot be measured."""
    from scipy import ndimage

    folder = tmp_path_factory.mktemp("scans")
    made = {f"sub-{at:02d}": _scan(at) for at in range(8)}
    noisy = _scan(20)
    made["sub-noisy"] = np.where(noisy > 0, noisy + np.random.default_rng(1).normal(0, 20, noisy.shape), 0)
    made["sub-shift"] = np.roll(_scan(21), 5, axis=1)
    made["sub-blur"] = ndimage.gaussian_filter(_scan(22), 1.0) * (_scan(22) > 0)
    made["sub-nan"] = np.where(np.arange(91)[:, None, None] == 40, np.nan, _scan(23))
    for name, values in made.items():
        write_volume(folder / f"{name}_T1w.nii.gz", values.astype(np.float32), grid_affine(MNI152_2MM))
    whole = (folder / "sub-00_T1w.nii.gz").read_bytes()
    (folder / "sub-short_T1w.nii.gz").write_bytes(whole[: len(whole) // 2])
    return folder


def _table(path):
    return pd.read_csv(path, keep_default_na=False).set_index("image_id")


def test_the_worst_come_first_each_by_its_number(featx, scans, tmp_path):
    said = featx("qc", scans, "-o", tmp_path / "qc", "--workers", 2, code=3)
    table = _table(tmp_path / "qc/qc.csv")
    assert ["image_id", *table.columns] == schema.names(schema.QUALITY)
    assert table.index.tolist() == [*(f"sub-{at:02d}" for at in range(8)), "sub-blur", "sub-noisy", "sub-shift"]
    first = table.sort_values("rank").head(3)
    assert set(first.index) == {"sub-noisy", "sub-shift", "sub-blur"}
    whole = table.loc[[f"sub-{at:02d}" for at in range(8)]]
    assert table.loc["sub-noisy", "snr"] < 0.5 * whole["snr"].min()
    assert table.loc["sub-blur", "sharpness"] < 0.8 * whole["sharpness"].min()
    assert table.loc["sub-shift", "overlap"] < 0.97 * whole["overlap"].min()
    assert table.loc["sub-noisy", "worst_by"] in ("snr", "likeness")
    assert table.loc["sub-blur", "worst_by"] == "sharpness"
    assert table.loc["sub-shift", "worst_by"] in ("overlap", "offset_mm", "likeness")
    assert "11 images measured" not in said
    assert "13 images measured in" in said
    assert f"    1  {first.index[0]}: {first['worst_by'].iloc[0]} " in said
    assert "2 images could not be measured" in said
    failures = _table(tmp_path / "qc/failures.csv")
    assert failures["code"].to_dict() == {"sub-nan": "non-finite", "sub-short": "truncated"}
    page = (tmp_path / "qc/index.html").read_text()
    assert page.index("sub-nan") < page.index(f'data-id="{first.index[0]}"') < page.index('data-id="sub-00"')
    assert len(list((tmp_path / "qc/pictures").glob("*.webp"))) == 11


def test_a_second_run_measures_what_is_new(featx, scans, tmp_path, monkeypatch):
    (tmp_path / "some").mkdir()
    for at in range(3):
        (tmp_path / f"some/sub-0{at}_T1w.nii.gz").symlink_to(scans / f"sub-0{at}_T1w.nii.gz")
    assert "3 images measured" in featx("qc", tmp_path / "some", "-o", tmp_path / "qc")
    before = (tmp_path / "qc/qc.csv").read_bytes(), (tmp_path / "qc/index.html").read_bytes()
    said = featx("qc", tmp_path / "some", "-o", tmp_path / "qc")
    assert "0 images measured in" in said
    assert "; 3 were done before" in said
    assert ((tmp_path / "qc/qc.csv").read_bytes(), (tmp_path / "qc/index.html").read_bytes()) == before
    (tmp_path / "some/sub-03_T1w.nii.gz").symlink_to(scans / "sub-03_T1w.nii.gz")
    assert "1 images measured" in featx("qc", tmp_path / "some", "-o", tmp_path / "qc")
    assert len(_table(tmp_path / "qc/qc.csv")) == 4


def test_distance_in_features(featx, scans, tmp_path):
    ids = [f"sub-{at:02d}" for at in range(8)]
    one = make_set("net/axial/t/mean", ids, 6)
    one.X[:] = one.X / 10 + np.arange(8)[:, None] % 4  # few images: they differ along one line, mostly
    one.X[5] += 30
    write_features(tmp_path / "f.h5", one, make_set("net/coronal/t/mean", ids, 6, seed=3))
    words = ("qc", scans / "sub-0*.nii.gz", "-o", tmp_path / "qc", "--features", tmp_path / "f.h5")
    featx(*words, "--set", "*/axial/*")
    table = _table(tmp_path / "qc/qc.csv")
    assert table["feature_rank"].astype(int).idxmin() == "sub-05"
    assert table["rank"].idxmin() == "sub-05"
    assert table.loc["sub-05", "worst_by"] == "feature_distance"
    page = (tmp_path / "qc/index.html").read_text()
    assert "feature_distance, highest first" in page
    assert "'nosuch' matches none" in featx(*words, "--set", "nosuch", code=2)


def test_wrong_calls_cost_no_look(featx, scans, tmp_path, monkeypatch):
    monkeypatch.setattr("featx.extraction.measuring.read_image", lambda image: pytest.fail("an image was read"))
    (tmp_path / "file").write_text("")
    assert "an output must be a file that can be written" in featx("qc", scans, "-o", tmp_path / "file", code=2)
    assert featx("qc", tmp_path / "none", "-o", tmp_path / "qc", code=2).startswith("featx: ")
    assert not (tmp_path / "qc").exists()
    said = featx("qc", scans, "-o", tmp_path / "qc", "--features", tmp_path / "no.h5", code=2)
    assert "a feature file must exist" in said


# --- in fit ---------------------------------------------------------------------------------------------------

N = 24


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """Features of two sessions each, one of them scanned twice; people without sessions; qc.csv in another order."""
    folder = tmp_path_factory.mktemp("visits")
    rng = np.random.default_rng(0)
    people = [f"sub-{at:02d}" for at in range(N)]
    rows = [(f"{one}_ses-{visit}", one, f"ses-{visit}") for one in people for visit in (1, 2)]
    rows += [("sub-00_ses-1_run-2", "sub-00", "ses-1")]
    rows = sorted(rows)
    image, person, session = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    one = dataclasses.replace(make_set("net/axial/t/mean", list(image), 4), participant_id=person, session_id=session)
    write_features(folder / "f.h5", one)
    age = 50 + 8 * rng.normal(size=N)
    pd.DataFrame({"participant_id": people, "age": age.round(1)}).to_csv(folder / "people.csv", index=False)
    quality = pd.DataFrame({"image_id": image, "participant_id": person, "session_id": session})
    quality["snr"] = np.arange(len(rows)) + 1
    quality["sharpness"] = rng.normal(size=len(rows)).round(4)
    quality.sample(frac=1, random_state=1).to_csv(folder / "qc.csv", index=False)
    return folder


def _fit(featx, visits, tmp_path, *words, code=0):
    files = (visits / "f.h5", visits / "people.csv", "--also", visits / "qc.csv")
    return featx("fit", *files, *words, *QUICK, "-o", tmp_path / "run", code=code)


def _read(path):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_each_image_has_its_own_row(featx, visits, tmp_path):
    """As a target, so that the run tells what each image was given."""
    _fit(featx, visits, tmp_path, "--target", "sharpness", "--target", "age")
    predicted = _read(tmp_path / "run/predictions/sharpness.csv").query("head == 'ridge'").set_index("image_id")
    quality = _read(visits / "qc.csv").set_index("image_id")
    assert sorted(predicted.index) == sorted(quality.index)
    assert (predicted["observed"].astype(float) == quality["sharpness"].astype(float)[predicted.index]).all()
    aged = _read(tmp_path / "run/predictions/age.csv").query("head == 'ridge'")
    ages = _read(visits / "people.csv").set_index("participant_id")["age"]
    assert (aged["observed"].astype(float) == ages.astype(float)[aged["participant_id"]].to_numpy()).all()
    folds = aged.groupby("participant_id")["fold"].nunique()
    assert (folds == 1).all()


def test_a_filter_and_a_confound_by_image(featx, visits, tmp_path):
    _fit(featx, visits, tmp_path, "--target", "age", "--where", "snr > 10", "--confound", "sharpness")
    quality = _read(visits / "qc.csv").set_index("image_id")
    good = quality.index[quality["snr"].astype(int) > 10]
    predicted = _read(tmp_path / "run/predictions/age.csv")
    assert set(predicted["image_id"]) == set(good)
    assert {"only", "ignored", "added"} <= set(predicted["confounds"])
    left_out = _read(tmp_path / "run/exclusions.csv")
    assert set(left_out["code"]) == {"filtered"}
    assert set(left_out["image_id"]) == set(quality.index) - set(good)
    assert "an image must meet 'snr > 10' to be analysed; image 'sub-0" in left_out["sentence"].iloc[0]


def test_an_image_without_a_row_is_never_given_that_of_another(featx, visits, tmp_path):
    """Neither that of another session nor of another run; with a negated filter, it counts as empty."""
    quality = _read(visits / "qc.csv").set_index("image_id")
    gone = ["sub-00_ses-1", "sub-03_ses-2", "sub-05_ses-1", "sub-05_ses-2"]
    quality.drop(gone).reset_index().to_csv(tmp_path / "qc.csv", index=False)
    words = (visits / "f.h5", visits / "people.csv", "--also", tmp_path / "qc.csv", "--target", "age", *QUICK)
    featx("fit", *words, "--confound", "sharpness", "-o", tmp_path / "run")
    left_out = _read(tmp_path / "run/exclusions.csv")
    assert left_out.set_index("image_id")["code"].to_dict() == dict.fromkeys(gone, "missing-confound")
    assert set(_read(tmp_path / "run/predictions/age.csv")["image_id"]) == set(quality.index) - set(gone)
    featx("fit", *words, "--where", "not (snr < 40)", "-o", tmp_path / "other")
    kept = set(_read(tmp_path / "other/predictions/age.csv")["image_id"])
    assert kept == set(quality.index[quality["snr"].astype(int) >= 40]) | set(gone)


def test_tables_that_share_no_image_are_refused(featx, visits, tmp_path):
    strange = _read(visits / "qc.csv")
    strange["image_id"] = "scan-" + strange["image_id"]
    strange.to_csv(tmp_path / "qc.csv", index=False)
    words = ("fit", visits / "f.h5", visits / "people.csv", "--also", tmp_path / "qc.csv", "--target", "age", *QUICK)
    said = featx(*words, "-o", tmp_path / "run", code=2)
    assert "tables must have images in common to be joined; " in said
    twice = pd.concat([_read(visits / "qc.csv")] * 2)
    twice.to_csv(tmp_path / "qc.csv", index=False)
    said = featx(*words, "-o", tmp_path / "run", code=2)
    assert "a table of images must have one row per image; " in said
    main = ("fit", visits / "f.h5", tmp_path / "main.csv", "--target", "age", *QUICK, "-o", tmp_path / "run")
    people = _read(visits / "people.csv").assign(image_id="I123")
    people.to_csv(tmp_path / "main.csv", index=False)
    assert "or rename the column image_id if it does not name these images" in featx(*main, code=2)


def test_a_head_with_quality_as_confound_predicts_with_the_table(featx, visits, tmp_path):
    _fit(featx, visits, tmp_path, "--target", "age", "--confound", "sharpness")
    heads = sorted(
        one for one in (tmp_path / "run/heads").glob("*.npz") if "added" in one.name or "confounds" in one.name
    )
    words = ("--phenotypes", visits / "qc.csv", "--allow-training-people", "-o", tmp_path / "new.csv")
    featx("predict", heads[0], visits / "f.h5", *words)
    assert sorted(_read(tmp_path / "new.csv")["image_id"]) == sorted(_read(visits / "qc.csv")["image_id"])


def test_confounds_of_images_and_of_people_predict_together(featx, visits, tmp_path):
    """As fit takes them: --phenotypes of people, --also of images; the same as a table that was joined by hand."""
    people = _read(visits / "people.csv")
    people["site"] = np.where(np.arange(N) % 2, "A", "B")
    people.to_csv(tmp_path / "people.csv", index=False)
    words = (visits / "f.h5", tmp_path / "people.csv", "--also", visits / "qc.csv", "--target", "age", *QUICK)
    featx("fit", *words, "--confound", "sharpness", "--confound", "site", "-o", tmp_path / "run")
    by_hand = _read(visits / "qc.csv").merge(people, on="participant_id")
    by_hand.to_csv(tmp_path / "by-hand.csv", index=False)
    heads = sorted((tmp_path / "run/heads").glob("*.npz"))
    needing = [one for one in heads if "added" in one.name or "confounds" in one.name]
    for head in needing:
        files = () if "confounds" in head.name else (visits / "f.h5",)
        words = ("predict", head, *files, "--allow-training-people", "-o", tmp_path / "p.csv")
        featx(*words, "--phenotypes", tmp_path / "by-hand.csv")
        expected = _read(tmp_path / "p.csv")
        assert sorted(expected["image_id"]) == sorted(by_hand["image_id"])
        featx(*words, "--phenotypes", tmp_path / "people.csv", "--also", visits / "qc.csv")
        pd.testing.assert_frame_equal(_read(tmp_path / "p.csv"), expected)
        featx(*words, "--also", visits / "qc.csv", "--also", tmp_path / "people.csv")
        pd.testing.assert_frame_equal(_read(tmp_path / "p.csv"), expected)
    assert len(needing) >= 2
    said = featx(*words, "--phenotypes", tmp_path / "people.csv", code=2)
    assert "sharpness" in said


def test_names_that_are_no_utf8_are_measured_and_kept(featx, scans, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    shutil.copy(scans / "sub-00_T1w.nii.gz", os.path.join(os.fsencode(folder), b"M\xfcller.nii.gz"))
    shutil.copy(scans / "sub-01_T1w.nii.gz", folder / "plain.nii.gz")
    (folder / os.fsdecode(b"G\xf6tz.nii.gz")).write_bytes(b"no image")
    featx("qc", folder, "-o", tmp_path / "qc", code=3)
    table = (tmp_path / "qc/qc.csv").read_bytes()
    assert [line.split(b",")[0] for line in table.splitlines()[1:]] == [b"M\xfcller", b"plain"]
    page = (tmp_path / "qc/index.html").read_text(encoding="utf-8")
    assert "<b>M\\udcfcller</b>" in page
    assert "G\\udcf6tz" in page
    assert len(list((tmp_path / "qc/pictures").iterdir())) == 2
    assert "; 2 were done before" in featx("qc", folder, "-o", tmp_path / "qc", code=3)
