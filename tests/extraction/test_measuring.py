"""Measured images are kept: what is done is not done again, what is torn or has changed is."""

import dataclasses
import json
import math
import os

import numpy as np
import pytest

from featx.extraction import measuring
from featx.extraction.measuring import NUMBERS, measure_images, measured_before, picture_name
from featx.images.image import Image
from featx.images.index import index_images
from featx.images.volume import MNI152_2MM, Volume, grid_affine, write_volume
from featx.report.contactsheet import render
from tests.conftest import phantom


@pytest.fixture
def images(brains):
    return index_images(str(brains(4)))


def _run(images, folder, workers=0):
    return {image.image_id: (numbers, failure) for image, numbers, failure in measure_images(images, folder, workers)}


def test_numbers_are_given_kept_and_found_again(images, tmp_path):
    done = _run(images, tmp_path / "qc", workers=2)
    assert [failure for _, failure in done.values()] == [None] * 4
    assert all(list(numbers) == list(NUMBERS) for numbers, _ in done.values())
    assert measured_before(images, tmp_path / "qc") == {name: numbers for name, (numbers, _) in done.items()}
    assert done["sub-00"][0]["fber"] == ""
    assert float(done["sub-00"][0]["overlap"]) > 0.98
    names = sorted(one.name for one in (tmp_path / "qc/pictures").iterdir())
    assert names == sorted(picture_name(image.image_id) for image in images)
    assert _run(images, tmp_path / "other", workers=0) == done


def test_a_run_that_is_killed_costs_the_image_at_work(images, tmp_path):
    for _, (image, numbers, _) in zip(range(2), measure_images(images, tmp_path, 0), strict=False):
        assert image.image_id in measured_before(images, tmp_path)  # on disk before it is given
        assert numbers
    table = tmp_path / measuring._MEASURED
    whole = table.read_bytes()
    for cut in (5, len(whole) // 2 + 9, len(whole) - 1):
        table.write_bytes(whole[:cut])
        before = measured_before(images, tmp_path)
        assert len(before) == whole[: cut + 1].count(b"}}") or len(before) <= 2
        missing = [one for one in images if one.image_id not in before]
        _run(missing, tmp_path)
        assert sorted(measured_before(images, tmp_path)) == [one.image_id for one in images]
        rows = [line for line in table.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
        assert all(json.loads(line)["numbers"] for line in rows)


def test_a_file_that_changed_or_lost_its_picture_is_measured_again(images, tmp_path):
    _run(images, tmp_path)
    write_volume(images[0].path, phantom(seed=9), grid_affine(MNI152_2MM))
    (tmp_path / "pictures" / picture_name(images[1].image_id)).unlink()
    stat = images[2].path.stat()
    os.utime(images[2].path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert sorted(measured_before(images, tmp_path)) == [images[3].image_id]
    same_id = Image(images[3].image_id, "p", "", "", images[0].path)
    assert measured_before([same_id], tmp_path) == {}
    now = _run(images[:1], tmp_path)["sub-00"][0]
    assert measured_before(images[:1], tmp_path) == {"sub-00": now}  # the last row counts


def test_an_image_that_fails_costs_itself_and_is_tried_again(images, tmp_path):
    spoiled = phantom().astype(np.float32)
    spoiled[40, 50, 40] = np.nan
    write_volume(images[1].path, spoiled, grid_affine(MNI152_2MM))
    images[2].path.write_bytes(images[2].path.read_bytes()[:900])
    done = _run(images, tmp_path)
    failures = {name: failure for name, (_, failure) in done.items() if failure}
    assert {name: (one["step"], one["code"]) for name, one in failures.items()} == {
        "sub-01": ("check", "non-finite"),
        "sub-02": ("read", "truncated"),
    }
    assert sorted(measured_before(images, tmp_path)) == ["sub-00", "sub-03"]


def test_a_number_that_is_not_finite_is_left_empty(images, tmp_path, monkeypatch):
    whole = measuring.measure
    monkeypatch.setattr(measuring, "measure", lambda volume: dataclasses.replace(whole(volume), snr=math.inf))
    numbers, failure = _run(images[:1], tmp_path)["sub-00"]
    assert failure is None
    assert numbers["snr"] == ""
    assert float(numbers["overlap"]) > 0.98


def test_credentials_of_a_url_are_in_no_failure_and_not_on_the_page(tmp_path, monkeypatch):
    image = Image("a", "a", "", "", "https://alice:s3cret@host/a.nii.gz?X-Amz-Signature=abc")
    flat = Volume(np.full((4, 5, 6), 7, dtype=np.float32), np.eye(4))
    monkeypatch.setattr(measuring, "read_image", lambda image: flat)
    _, failure = _run([image], tmp_path)["a"]
    page = render([], [failure])
    assert "host/a.nii.gz" in failure["sentence"]
    assert "host/a.nii.gz" in page
    for text in (str(failure), page):
        assert not any(word in text for word in ("alice", "s3cret", "Signature"))


def test_urls_that_differ_in_their_query_are_other_images(tmp_path):
    keys = {measuring._key(Image("a", "a", "", "", f"https://host/a.nii.gz?versionId={at}")) for at in range(3)}
    assert len(keys) == 3


def test_pictures_have_names_of_their_own_on_any_disk():
    names = [picture_name(one) for one in ("a/b", "a_b", "a b", "Ä", "\udcc4", "x" * 300, "../..", "a_b ")]
    assert len(set(names)) == len(names)
    assert all(len(one) < 120 and "/" not in one and one.isascii() for one in names)
