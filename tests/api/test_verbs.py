"""index, check and extract from Python: what the command line writes, and what it would say."""

import numpy as np
import pandas as pd
import pytest

import featx
from featx import store
from featx.errors import DeviceError, IndexingError, NetworkError, StoreError
from featx.images.finding import walk
from tests.api.conftest import files_of

NETWORK = "squeezenet1_0.imagenet@random:0"


def test_an_index_has_the_bytes_of_the_command_line(heads, type_in, tmp_path):
    type_in(tmp_path, "index", heads, "-o", tmp_path / "typed/images.csv", "--no-cache", "--duplicates")
    seen = []
    table = featx.index(
        heads, output=tmp_path / "called/images.csv", cache=False, duplicates=True, on_progress=seen.append
    )
    assert files_of(tmp_path / "called") == files_of(tmp_path / "typed")
    assert set(files_of(tmp_path / "called")) == {"images.csv", "images.overview.csv"}
    pd.testing.assert_frame_equal(
        table, pd.read_csv(tmp_path / "called/images.csv", dtype=str, keep_default_na=False), check_dtype=False
    )
    assert table.attrs["failures"] == ()
    assert table.attrs["identical"] == ()


def test_an_index_is_kept_in_its_home(heads, tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "LEAST", 0)  # small folders are not kept
    monkeypatch.setattr(walk, "UNSURE_NS", -1)  # nor such as changed just now
    first = featx.index(heads, home=tmp_path / "home")
    assert len(list((tmp_path / "home" / "index").glob("*.json"))) == 1
    pd.testing.assert_frame_equal(featx.index(str(heads), home=tmp_path / "home"), first)


def test_what_an_index_tells_is_in_its_result(heads, tmp_path):
    folder = tmp_path / "data"
    (folder / "derivatives" / "x").mkdir(parents=True)
    (folder / "sub-1_T1w.nii.gz").write_bytes(b"")
    (folder / "derivatives" / "x" / "sub-1_T1w.nii.gz").write_bytes(b"")
    (folder / "participants.tsv").write_text("who\n1\n")
    table = featx.index(folder, cache=False, output=tmp_path / "images.csv")
    assert any("datasets inside this one are left aside" in one for one in table.attrs["told"])
    assert any("participants.tsv must have the column participant_id" in one for one in table.attrs["told"])
    assert [row["code"] for row in table.attrs["failures"]] == ["truncated"]
    assert "images.missing.csv" in files_of(tmp_path)


@pytest.mark.parametrize(
    "more, sentence",
    [
        ({"entity": "res"}, "--entity must be NAME=VALUE; got 'res'"),
        ({"entity": {"res": "2"}}, "the choice must leave an image"),
        ({"space": "MNI"}, "the choice must leave an image"),
        ({"output": "images.txt"}, "a table of images must be named .csv or .tsv; got images.txt"),
    ],
)
def test_an_index_is_refused_as_on_the_command_line(heads, more, sentence):
    with pytest.raises(IndexingError, match=sentence):
        featx.index(heads, cache=False, **more)


def test_an_index_of_nothing_is_refused():
    with pytest.raises(IndexingError, match="a source of images must be named; got an empty list"):
        featx.index([])


def test_an_index_is_not_written_over_its_source(heads, tmp_path):
    featx.index(heads, cache=False, output=tmp_path / "images.csv")
    with pytest.raises(IndexingError, match="the table must be a file of its own; .*images.csv is the source"):
        featx.index(tmp_path / "images.csv", output=tmp_path / "images.csv")


# --- check ----------------------------------------------------------------------------------------------------


def test_a_check_has_the_bytes_of_the_command_line(heads, type_in, tmp_path):
    featx.index(heads, cache=False, output=tmp_path / "images.csv")
    words = ("images.csv", "-n", "sfcn.ukb_*", "-n", NETWORK, "--workers", 1)
    type_in(tmp_path, "check", *words, "-o", "typed/check.csv", code=3)
    seen = []
    table = featx.check(
        tmp_path / "images.csv", ["sfcn.ukb_*", NETWORK], output=tmp_path / "called/check.csv", workers=1,
        on_progress=lambda done, total, unfit: seen.append((done, total, unfit)),
    )  # fmt: skip
    assert files_of(tmp_path / "called") == files_of(tmp_path / "typed")
    written = pd.read_csv(tmp_path / "called/check.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(table, written, check_dtype=False)
    assert [done for done, _, _ in seen] == list(range(1, 8))
    assert seen[-1] == (7, 7, 7)  # nothing is 1 mm, as sfcn.ukb_* wants it
    squeezed = table[table["network"] == "squeezenet1_0.imagenet"].set_index("image_id")["code"]
    assert squeezed["sub-6"] == "truncated"
    assert not squeezed.drop("sub-6").isin(["truncated"]).any()


def test_a_check_is_refused_as_on_the_command_line(heads, tmp_path):
    featx.index(heads, cache=False, output=tmp_path / "images.csv")
    with pytest.raises(StoreError, match="the table must be a file of its own; .*images.csv is the index"):
        featx.check(tmp_path / "images.csv", output=tmp_path / "images.csv")
    with pytest.raises(NetworkError, match="'sfcn.nosuch' is not"):
        featx.check(heads, "sfcn.nosuch")
    with pytest.raises(NetworkError, match="'anything'"):
        featx.check(heads, accept="anything")
    assert featx.check(featx.index(heads, cache=False).iloc[:1])["network"].tolist() == [""]


# --- extract --------------------------------------------------------------------------------------------------


def test_features_are_those_of_the_command_line(heads, type_in, tmp_path):
    images = featx.index(heads, cache=False).iloc[[0, 1, 6]]
    images.to_csv(tmp_path / "images.csv", index=False)
    words = ("images.csv", "-n", NETWORK, "--axis", "axial", "--slices", 1, "--device", "cpu")
    type_in(tmp_path, "extract", *words, "-o", "typed.h5", code=3)
    seen, noted = [], []
    asked = {"axis": "axial", "slices": 1, "device": "cpu", "output": tmp_path / "called.h5"}
    summary = featx.extract(images, NETWORK, **asked, on_progress=seen.append, on_note=noted.append)
    assert (summary.n_images, summary.n_now, summary.n_failed) == (3, 2, 1)
    assert [(one.finished, one.failed, one.total) for one in seen][-1] == (3, 1, 3)
    names = store.list_sets(tmp_path / "typed.h5")
    assert store.list_sets(tmp_path / "called.h5") == names == list(summary.sets)
    for name in names:
        typed, called = (store.read_set(tmp_path / file, name) for file in ("typed.h5", "called.h5"))
        np.testing.assert_allclose(called.X, typed.X, rtol=1e-5, atol=1e-6)
        assert called.provenance == typed.provenance
        assert called.image_id.tolist() == ["sub-0", "sub-1"]
    failures = [(tmp_path / f"{stem}.failures.csv").read_bytes() for stem in ("typed", "called")]
    assert failures[0] == failures[1]
    again = featx.extract(images.iloc[:2], [NETWORK], **asked)
    assert (again.n_before, again.n_now) == (2, 0)
    first = featx.extract(images.iloc[:2], NETWORK, **{**asked, "output": tmp_path / "one.h5"}, shard="1/2")
    assert first.n_images == 1


@pytest.mark.parametrize(
    "more, error, sentence",
    [
        ({"device": "tpu"}, DeviceError, "a device must be auto, cpu or cuda; got 'tpu'"),
        (
            {"weights": {"sfcn.ukb_age": "a.p"}},
            NetworkError,
            "weights must be given as NAME=FILE .* got 'sfcn.ukb_age=a.p'",
        ),
        ({"batch_size": "0"}, NetworkError, "a batch size must be auto"),
        ({"accept": ["anything"]}, NetworkError, "'anything'"),
        ({"shard": "3/2"}, Exception, "3/2"),
        ({"images": []}, IndexingError, "got an empty list"),
    ],
)
def test_an_extraction_is_refused_as_on_the_command_line(heads, tmp_path, more, error, sentence):
    asked = {"images": heads, "network": NETWORK, "output": tmp_path / "f.h5", **more}
    with pytest.raises(error, match=sentence):
        featx.extract(**asked)


def test_what_is_added_to_a_home_is_known_by_its_name(tmp_path):
    with pytest.raises(NetworkError, match="'ours' is not"):
        featx.check("nowhere", "ours", home=tmp_path)


def test_several_sources_are_one_index(heads, tmp_path):
    parts = [tmp_path / "a", tmp_path / "b"]
    for at, part in enumerate(parts):
        part.mkdir()
        name = f"sub-{at}_T1w.nii.gz"
        (part / name).write_bytes((heads / name).read_bytes())
    assert featx.index(parts, cache=False)["image_id"].tolist() == ["sub-0", "sub-1"]
    with pytest.raises(
        IndexingError, match=r"every image must have its own id; 'sub-0' is in '.*a' and in '.*heads0'"
    ):
        featx.index([parts[0], heads], cache=False)
