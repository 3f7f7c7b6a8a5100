import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx import store
from featx.errors import StoreError
from tests.conftest import make_set, write_features

NAME = "net/axial/tap/mean"


def test_rows_are_sorted_by_image_id_and_carry_their_own_data(tmp_path):
    one = make_set(NAME, ["b", "c", "a"])
    back = store.read_set(write_features(tmp_path / "f.h5", one), NAME)
    assert list(back.image_id) == ["a", "b", "c"]
    np.testing.assert_array_equal(back.X, one.X[[2, 0, 1]])
    assert back.provenance == one.provenance
    assert back.key == one.key


def test_a_colleague_reads_it_with_plain_h5py(tmp_path):
    one = make_set(NAME, ["b", "a"])
    path = write_features(tmp_path / "f.h5", one)
    with h5py.File(path) as file:
        here = file["sets/net/axial/tap/mean"]
        X, ids = here["features"][:], here["image_id"].asstr()[:]
    assert X.dtype == np.float32
    assert dict(zip(ids, X[:, 0], strict=True)) == dict(zip(one.image_id, one.X[:, 0], strict=True))


def test_merge_keeps_the_first_row_of_an_image_and_sorts(tmp_path):
    many = [f"sub-{at:04d}" for at in range(1000)]
    first = write_features(tmp_path / "1.h5", make_set(NAME, many[::2], seed=1), make_set("a/b/c/d", ["x"], 2))
    second = write_features(tmp_path / "2.h5", make_set(NAME, many[1::2] + many[:10:2], seed=2))
    store.merge_files([first, second], first)
    merged = store.read_set(first, NAME)
    assert list(merged.image_id) == many
    np.testing.assert_array_equal(merged.X[::2], make_set(NAME, many[::2], seed=1).X)
    np.testing.assert_array_equal(merged.X[1::2], make_set(NAME, many[1::2] + many[:10:2], seed=2).X[:500])
    assert store.list_sets(first) == ["a/b/c/d", NAME]
    assert store.read_shapes(first) == {NAME: (1000, 3), "a/b/c/d": (1, 2)}


def test_a_tap_may_be_called_features(tmp_path):
    path = write_features(tmp_path / "f.h5", make_set("sfcn.ukb_age/volume/features/mean", ["a"]))
    assert store.list_sets(path) == ["sfcn.ukb_age/volume/features/mean"]


def test_merging_twice_changes_nothing(tmp_path):
    first = write_features(tmp_path / "1.h5", make_set(NAME, ["a", "b"]))
    second = write_features(tmp_path / "2.h5", make_set(NAME, ["c"]))
    store.merge_files([first, second], tmp_path / "out.h5")
    once = store.read_set(tmp_path / "out.h5", NAME)
    store.merge_files([tmp_path / "out.h5", second], tmp_path / "out.h5")
    np.testing.assert_array_equal(store.read_set(tmp_path / "out.h5", NAME).X, once.X)


def test_merge_refuses_one_name_made_in_two_ways(tmp_path):
    first = write_features(tmp_path / "1.h5", make_set(NAME, ["a"]))
    second = write_features(tmp_path / "2.h5", make_set(NAME, ["b"], weights_sha256="other"))
    with pytest.raises(StoreError, match="was made in 2 ways"):
        store.merge_files([first, second], tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_a_failure_leaves_the_table_when_the_image_has_its_row(tmp_path):
    def failure(image_id, network):
        return {"image_id": image_id, "network": network, "step": "read", "code": "truncated", "sentence": "s"}

    old = tmp_path / "old.h5"
    failures = [failure("a", "net"), failure("b", "net"), failure("a", ""), failure("b", ""), failure("a", "other")]
    store.write_sets(old, [], failures)
    new = write_features(tmp_path / "new.h5", make_set(NAME, ["a"]))
    store.merge_files([old, new], old)
    left = {(row["image_id"], row["network"]) for row in store.read_failures(old)}
    assert left == {("b", "net"), ("b", ""), ("a", "other")}


def test_nothing_is_left_beside_a_file_that_could_not_be_written(tmp_path):
    one = make_set(NAME, ["a", "b"])
    one.X[1, 1] = np.nan
    with pytest.raises(StoreError, match="features must be finite"):
        write_features(tmp_path / "f.h5", one)
    assert list(tmp_path.iterdir()) == []


def test_two_rows_of_one_image_are_refused(tmp_path):
    with pytest.raises(StoreError, match="one row; .* has two of 'a'"):
        write_features(tmp_path / "f.h5", make_set(NAME, ["a", "a"]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="could not be"):
        write_features(tmp_path / "f.h5", make_set(NAME, ["a"]))


def test_a_missing_file(tmp_path):
    with pytest.raises(StoreError, match="does not; make it with `featx extract`"):
        store.list_sets(tmp_path / "no.h5")


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_cut_short(tmp_path, share):
    path = write_features(tmp_path / "f.h5", make_set(NAME, [str(at) for at in range(3000)], 50))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(StoreError, match="must be whole HDF5"):
        store.list_sets(path)


def test_a_flipped_bit_in_the_features(tmp_path):
    one = make_set(NAME, ["a"], 2000)
    path = write_features(tmp_path / "f.h5", one)
    raw = bytearray(path.read_bytes())
    raw[bytes(raw).index(one.X.tobytes()) + 100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="must read back whole"):
        store.read_set(path, NAME)


def test_hdf5_of_another_origin(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StoreError, match="HDF5 of another origin"):
        store.list_sets(tmp_path / "f.h5")


def _change(path: Path, attribute: str, value: object, group: str = f"sets/{NAME}") -> None:
    with h5py.File(path, "r+") as file:
        (file[group] if group else file).attrs[attribute] = value


def test_a_newer_format(tmp_path):
    path = write_features(tmp_path / "f.h5", make_set(NAME, ["a"]))
    _change(path, "format_version", 99, group="")
    with pytest.raises(StoreError, match="has 99; update featx"):
        store.list_sets(path)


def test_provenance_is_checked_on_read(tmp_path):
    path = write_features(tmp_path / "f.h5", make_set(NAME, ["a"]))
    _change(path, "weights_sha256", "another")
    with pytest.raises(StoreError, match="provenance must match its key"):
        store.read_set(path, NAME)


def test_versions_are_told_but_are_not_part_of_the_key():
    assert make_set(NAME, ["a"], versions="1").key == make_set(NAME, ["a"], versions="2").key
    assert make_set(NAME, ["a"], tap="1").key != make_set(NAME, ["a"], tap="2").key


def test_an_unknown_set_names_the_known_ones(tmp_path):
    path = write_features(tmp_path / "f.h5", make_set(NAME, ["a"]))
    with pytest.raises(StoreError, match=f"'x' is not in .*; known are '{NAME}'"):
        store.read_set(path, "x")


@pytest.mark.parametrize(
    "field, value, match",
    [
        ("features", np.zeros((2, 2)), "must be float32 with one row per image"),
        ("features", np.zeros((3, 2), np.float32), "must be float32 with one row per image"),
        ("features", np.full((2, 2), np.nan, np.float32), "is not, at image 'a'"),
        ("image_id", ["b", "a"], "must be those that were written"),
    ],
)
def test_a_set_that_contradicts_itself(tmp_path, field, value, match):
    path = write_features(tmp_path / "f.h5", make_set(NAME, ["a", "b"]))
    with h5py.File(path, "r+") as file:
        del file[f"sets/{NAME}/{field}"]
        file[f"sets/{NAME}/{field}"] = value
    with pytest.raises(StoreError, match=match):
        store.read_set(path, NAME)


def _of(one, **ids):
    return store.FeatureSet(**{**vars(one), **{name: np.array(values, dtype=object) for name, values in ids.items()}})


@pytest.mark.parametrize("ids", [{"participant_id": ["z"]}, {"session_id": ["ses-2"]}])
def test_merge_refuses_one_image_of_two_people(tmp_path, ids):
    first = write_features(tmp_path / "1.h5", make_set(NAME, ["a", "b"]))
    second = write_features(tmp_path / "2.h5", _of(make_set(NAME, ["a"]), **ids))
    with pytest.raises(StoreError, match="must be of one participant and session; 'a' is of"):
        store.merge_files([first, second], tmp_path / "out.h5")


def test_ids_are_checked_on_read(tmp_path):
    path = write_features(tmp_path / "f.h5", make_set(NAME, ["a", "b"]))
    with h5py.File(path, "r+") as file:
        file[f"sets/{NAME}/participant_id"][0] = "someone else"
    with pytest.raises(StoreError, match="ids must be those that were written"):
        store.read_set(path, NAME)


def test_the_name_of_a_file_of_weights_is_not_part_of_the_key():
    assert make_set(NAME, ["a"], weights="file:a.pth").key == make_set(NAME, ["a"], weights="file:b.pth").key


def test_every_flipped_byte_is_a_store_error_or_harmless(tmp_path):
    path = write_features(tmp_path / "f.h5", make_set(NAME, ["a", "b"]))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            for name in store.list_sets(path):
                store.read_set(path, name)
            store.read_failures(path)
        except StoreError:
            pass


def test_an_output_that_cannot_be_written_is_told_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "f.h5", tmp_path / "file" / "deep" / "f.h5"):
        with pytest.raises(StoreError, match="must be a file that can be written"):
            store.check_writable(path)
    store.check_writable(tmp_path / "new" / "deep" / "f.h5")


def test_what_was_let_through_is_kept_by_merges_once(tmp_path):
    row = {"image_id": "a", "network": "net", "step": "check", "code": "not-registered", "sentence": "it lies askew"}
    other = {**row, "image_id": "b"}
    store.write_sets(tmp_path / "1.h5", [make_set("net/v/t/mean", ["a"])], accepted=[row])
    store.write_sets(tmp_path / "2.h5", [make_set("net/v/t/mean", ["b"])], accepted=[other, row])
    store.merge_files([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "m.h5")
    assert store.read_accepted(tmp_path / "m.h5") == [row, other]
    assert store.read_failures(tmp_path / "m.h5") == []
    with h5py.File(tmp_path / "1.h5", "a") as file:
        del file["accepted"]  # as files were before
    assert store.read_accepted(tmp_path / "1.h5") == []


def test_slices_are_kept_apart(tmp_path):
    rng = np.random.default_rng(0)
    sets = [
        replace(make_set("net/v/t/slices", list(ids)), X=rng.normal(size=(2, 5, 3)).astype(np.float32))
        for ids in ("ac", "bd")
    ]
    for at, one in enumerate(sets):
        store.write_sets(tmp_path / f"{at}.h5", [one])
    store.merge_files([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "m.h5")
    merged = store.read_set(tmp_path / "m.h5", "net/v/t/slices")
    assert list(merged.image_id) == list("abcd")
    np.testing.assert_array_equal(merged.X[[0, 2]], sets[0].X)
    np.testing.assert_array_equal(merged.X[[1, 3]], sets[1].X)
    assert store.read_shapes(tmp_path / "m.h5") == {"net/v/t/slices": (4, 5, 3)}


# --- many files, many rows ------------------------------------------------------------------------------------


def test_ids_of_several_files_are_those_of_a_plain_loop(tmp_path):
    other, parts = "other/v/t/mean", [["b", "a"], ["c"], ["d", "e"]]
    paths = []
    for at, ids in enumerate(parts):
        sets = [make_set(NAME, ids, seed=at)] + ([make_set(other, ids, tap="2")] if at != 1 else [])
        paths.append(write_features(tmp_path / f"{at}.h5", *sets, make_set("net/axial/tap/max", ids, tap="3")))
    found = store.read_ids(*paths)
    for name, keys in ((NAME, "abcde"), (other, "abde"), ("net/axial/tap/max", "abcde")):
        assert found[name][1] == {image_id: (image_id, "") for image_id in keys}
        assert found[name][0] == next(store.read_ids(path)[name][0] for path in paths)
    assert found[NAME][1] is found["net/axial/tap/max"][1]  # of the same images: held once
    assert store.read_ids() == {}


def test_ids_that_were_changed_are_not_taken_for_done(tmp_path):
    path = write_features(tmp_path / "f.h5", make_set(NAME, ["a", "b"]))
    with h5py.File(path, "r+") as file:
        file[f"sets/{NAME}/image_id"][0] = "c"
    with pytest.raises(StoreError, match="ids must be those that were written"):
        store.read_ids(path)


def test_ids_of_one_set_made_in_two_ways_are_refused(tmp_path):
    paths = [
        write_features(tmp_path / f"{at}.h5", make_set(NAME, [str(at)], recipe_digest=str(at // 3)))
        for at in range(4)
    ]
    with pytest.raises(StoreError, match=r"was made in 2 ways in .*0\.h5, .*1\.h5, .*2\.h5 and 1 more; write to"):
        store.read_ids(*paths)


def _job(writer, asked="x", started=1.0, last=2.0, record="{}"):
    return {"writer": writer, "asked": asked, "started": repr(started), "last": repr(last), "record": record}


def test_what_writers_told_is_kept_by_merges(tmp_path):
    store.write_sets(tmp_path / "1.h5", [], jobs=[_job("a"), _job("b", "y"), _job("d", started=3.0, last=9.0)])
    store.write_sets(
        tmp_path / "2.h5", [make_set(NAME, ["a"])], jobs=[_job("b", "y", last=5.0, record="new"), _job("c", "z")]
    )
    store.merge_files([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "m.h5")
    found = {row["writer"]: row["record"] for row in store.read_jobs(tmp_path / "m.h5")}
    assert found == {"b": "new", "c": "{}", "d": "{}"}  # d went on with what a was asked for
    with h5py.File(tmp_path / "m.h5", "a") as file:
        del file["jobs"]  # as files were before
    assert store.read_jobs(tmp_path / "m.h5") == []
    store.merge_files([tmp_path / "m.h5"], tmp_path / "n.h5")
    assert store.list_sets(tmp_path / "n.h5") == [NAME]


def test_rows_merged_in_blocks_are_those_of_a_dict(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK_BYTES", 64)
    monkeypatch.setattr(store, "BLOCK_BYTES", 160)
    rng = np.random.default_rng(0)
    rows, paths = {}, []
    for at in range(7):
        one = make_set(NAME, [f"sub-{number:03d}" for number in rng.choice(100, 30, replace=False)], seed=at)
        for image_id, row in zip(one.image_id, one.X, strict=True):
            rows.setdefault(image_id, row)  # the first is kept
        paths.append(write_features(tmp_path / f"{at}.h5", one))
    store.merge_files(paths, tmp_path / "m.h5")
    merged = store.read_set(tmp_path / "m.h5", NAME)
    assert list(merged.image_id) == sorted(rows)
    np.testing.assert_array_equal(merged.X, [rows[image_id] for image_id in sorted(rows)])
