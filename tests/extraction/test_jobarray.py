"""Shards of images for job arrays, and outputs brought together: every image once, nothing lost, nothing mixed up."""

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx import store
from featx.errors import NetworkError, StoreError
from featx.extraction.jobarray import gather, list_sources, take_shard
from featx.extraction.parts import parts_folder
from featx.extraction.record import keep_record
from featx.extraction.status import read_status
from featx.images.image import Image
from tests.conftest import make_set, write_features

NAME = "net/axial/t/mean"


def _images(n):
    return [Image(f"sub-{at:03d}", f"sub-{at:03d}", "", "", Path(str(at))) for at in range(n)]


@pytest.mark.parametrize("n_images, n", [(100, 20), (103, 20), (3, 5), (1, 1)])
def test_every_image_is_in_one_shard_whatever_their_order(n_images, n):
    images = _images(n_images)
    shards = [take_shard(images, f"{at}/{n}") for at in range(1, n + 1)]
    assert sorted((image for shard in shards for image in shard), key=lambda one: one.image_id) == images
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    for at, shard in enumerate(shards):
        assert take_shard(images[::-1], f"{at + 1}/{n}") == shard
        assert shard == images[at::n]  # neighbours, often of one site, are spread
    assert take_shard(images, "") == images


@pytest.mark.parametrize("shard", ["0/20", "21/20", "x", "3", "3/0", "-1/2", "1/2/3", " 1/2", "1.0/2"])
def test_what_is_no_shard(shard):
    with pytest.raises(NetworkError, match="must be given as the third of twenty is, 3/20, .*; got "):
        take_shard(_images(3), shard)


def _outputs(folder):
    """Three outputs: a file, a file with a part beside it, and parts alone."""
    write_features(folder / "1/f.h5", make_set(NAME, ["a", "d"], seed=1))
    write_features(folder / "2/f.h5", make_set(NAME, ["b"], seed=2))
    write_features(parts_folder(folder / "2/f.h5") / "part-1.h5", make_set(NAME, ["e", "a"], seed=3))
    failure = {"image_id": "x", "network": "net", "step": "read", "code": "truncated", "sentence": "s"}
    store.write_sets(parts_folder(folder / "3/f.h5") / "part-1.h5", [make_set(NAME, ["c"], seed=4)], [failure])
    return [folder / "1/f.h5", folder / "2/f.h5", parts_folder(folder / "3/f.h5")]


def test_outputs_are_brought_together(tmp_path):
    places = _outputs(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.h5") if path.is_file()}
    output = write_features(tmp_path / "all.h5", make_set("other/v/t/mean", ["a"]))
    assert gather(output, places) == 5
    merged = store.read_set(output, NAME)
    assert list(merged.image_id) == list("abcde")
    for image_id, seed, row in (("a", 1, 0), ("d", 1, 1), ("b", 2, 0), ("e", 3, 0), ("c", 4, 0)):
        expected = make_set(NAME, ["?"] * 2, seed=seed).X[row]
        np.testing.assert_array_equal(merged.X["abcde".index(image_id)], expected)
    assert [row["image_id"] for row in store.read_failures(output)] == ["x"]
    assert "other/v/t/mean" in store.list_sets(output)
    assert {path: path.read_bytes() for path in before} == before  # the others stay as they are
    assert not parts_folder(output).exists()
    gather(output, places)
    np.testing.assert_array_equal(store.read_set(output, NAME).X, merged.X)


def test_a_kill_before_the_last_step_loses_nothing(tmp_path, monkeypatch):
    places = _outputs(tmp_path)
    output = tmp_path / "all.h5"

    def killed(_output):
        raise KeyboardInterrupt

    with monkeypatch.context() as here:
        here.setattr("featx.extraction.jobarray.collect", killed)
        with pytest.raises(KeyboardInterrupt):
            gather(output, places)
    assert not output.exists()
    gather(output, [])
    assert list(store.read_set(output, NAME).image_id) == list("abcde")


def test_more_files_than_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr("featx.extraction.jobarray.MERGED_AT_ONCE", 2)
    places = [write_features(tmp_path / f"{at}.h5", make_set(NAME, [str(at)], seed=at)) for at in range(5)]
    gather(tmp_path / "all.h5", places)
    merged = store.read_set(tmp_path / "all.h5", NAME)
    for at in range(5):
        np.testing.assert_array_equal(merged.X[at], make_set(NAME, [str(at)], seed=at).X[0])


def test_records_come_along(tmp_path):
    places = _outputs(tmp_path)
    for at, ids in enumerate(("ad", "be"), start=1):
        images = [Image(one, one, "", "", Path(one)) for one in ids]
        with keep_record(parts_folder(tmp_path / f"{at}/f.h5"), images, {"net": [NAME]}, shard=f"{at}/3") as told:
            told(2, 0)
    gather(tmp_path / "all.h5", places)
    status = read_status(tmp_path / "all.h5")
    assert vars(status.networks["net"]) == {"asked": 4, "done": 4, "failed": 0, "left": 0}
    assert [one.record.shard for one in status.writers] == ["1/3", "2/3"]


def test_files_that_disagree_are_refused_before_anything_is_merged(tmp_path):
    output = write_features(tmp_path / "all.h5", make_set(NAME, ["a"]), make_set("n/v/t/mean", ["a"]))
    before = output.read_bytes()
    other = write_features(
        tmp_path / "o.h5", make_set(NAME, ["b"], weights_sha256="x"), make_set("n/v/t/mean", ["b"], recipe_digest="x")
    )
    with pytest.raises(
        StoreError, match=r"made in another way in .*o\.h5 than in .*all\.h5 \(1 more sets disagree\)"
    ):
        gather(output, [other])
    who = replace(make_set(NAME, ["a"]), participant_id=np.array(["somebody"], dtype=object))
    person = write_features(tmp_path / "p.h5", who)
    with pytest.raises(StoreError, match=r"image 'a' is of \('a', ''\) and of \('somebody', ''\)"):
        gather(output, [person])
    assert output.read_bytes() == before
    assert not parts_folder(output).exists()


def test_places_that_hold_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "no.h5"):
        with pytest.raises(StoreError, match="must be feature files, or folders of their parts; .* is neither"):
            list_sources([place])
    with pytest.raises(StoreError, match="there must be something to collect; .* has no parts beside it"):
        gather(tmp_path / "no.h5", [])


def test_the_output_may_be_among_the_others(tmp_path):
    places = _outputs(tmp_path)
    gather(places[0], places)
    assert list(store.read_set(places[0], NAME).image_id) == list("abcde")
    with h5py.File(places[0]) as file:
        assert file.attrs["format_version"] == 1
    assert os.path.exists(places[2])
