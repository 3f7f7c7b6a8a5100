import gzip
import zipfile

import numpy as np
import pytest

from featx import schema
from featx.errors import IndexingError
from featx.images.finding.summary import (
    find_identical,
    find_participants,
    overview_rows,
    read_participants,
    summarise,
    without_gzip_header,
)
from featx.images.image import Image
from featx.images.index import index_images
from featx.images.volume import write_volume


def _image(participant, session="", run="", path="", member=""):
    image_id = "_".join(one for one in (participant, session, run) if one)
    path = path or f"/d/{participant}/anat/{image_id}_T1w.nii.gz"
    return Image(image_id, participant, session, run, path, member)


FILES = [
    "/d/dataset_description.json",
    "/d/participants.tsv",
    "/d/sub-1/ses-1/anat/sub-1_ses-1_T1w.nii.gz",
    "/d/sub-1/ses-1/anat/sub-1_ses-1_T1w.json",
    "/d/sub-1/ses-2/anat/sub-1_ses-2_T1w.nii.gz",
    "/d/sub-1/ses-2/anat/sub-1_ses-2_FLAIR.NII",
    "/d/sub-2/anat/sub-2_run-1_T1w.nii.gz",
    "/d/sub-2/anat/sub-2_run-2_T1w.nii.gz",
    "/d/sub-3/anat/sub-3_T2w.nii.gz",
    "/d/sub-4/beh/sub-4_task-stop_beh.tsv",
    "/d/derivatives/brains/sub-3/anat/sub-3_desc-brain_T1w.nii.gz",
    "/d/derivatives/brains/sub-9/anat/sub-9_desc-brain_T1w.nii.gz",
]
IMAGES = [
    _image("sub-1", "ses-1", path=FILES[2]),
    _image("sub-1", "ses-2", path=FILES[4]),
    _image("sub-2", run="run-1", path=FILES[6]),
    _image("sub-2", run="run-2", path=FILES[7]),
]


def test_a_bids_tree_is_summed_up():
    found = summarise(IMAGES, FILES, ["sub-1", "3", "sub-7"])
    assert (found.n_images, found.n_participants, found.n_sessions, found.n_runs) == (4, 2, 2, 2)
    assert found.by_session == {"": 1, "ses-1": 1, "ses-2": 1}
    assert list(found.by_modality.items()) == [("T1w", 2), ("FLAIR", 1), ("T2w", 1)]
    assert (found.several_sessions, found.several_images) == (("sub-1",), ("sub-2",))
    assert found.without_image == ("sub-3", "sub-4")  # not sub-9 of the derivative
    assert found.rows_without_image == ("sub-3", "sub-7")
    assert found.images_without_row == ("sub-2",)
    assert found.same_file == ()


def test_the_table_has_a_row_for_everybody():
    rows = overview_rows(summarise(IMAGES, FILES, ["sub-1", "3", "sub-7"]))
    assert [list(row.values()) for row in rows] == [
        ["sub-1", "2", "ses-1 ses-2", "FLAIR T1w", "yes", ""],
        ["sub-2", "2", "", "T1w", "no", ""],
        ["sub-3", "0", "", "T2w", "yes", ""],
        ["sub-4", "0", "", "", "no", ""],
        ["sub-7", "0", "", "", "yes", ""],
    ]
    assert list(rows[0]) == schema.names(schema.OVERVIEW)


def test_a_derivative_counts_its_own_files():
    found = summarise([_image("sub-3", path=FILES[10])], FILES)
    assert found.by_modality == {"T1w": 2}
    assert found.without_image == ("sub-9",)
    assert {person.listed for person in found.people} == {None}


def test_a_table_has_no_tree():
    images = [_image("0017", "1"), _image("0017", "2"), _image("0018", "1")]
    found = summarise(images)
    assert (found.n_images, found.n_participants, found.n_sessions) == (3, 2, 3)
    assert (found.by_session, found.by_modality, found.without_image) == ({"1": 2, "2": 1}, {}, ())
    assert found.several_sessions == ("0017",)


def test_people_who_are_named_otherwise_than_the_tree_are_not_held_against_it():
    """By --id-pattern, say: else everybody of the tree would have no image."""
    found = summarise([Image("a", "scan-17", "", "", FILES[2])], FILES)
    assert (found.by_modality, found.without_image, len(found.people)) == ({}, (), 1)
    bare = summarise([Image("1", "1", "", "", FILES[2])], FILES)
    assert bare.people[0].participant_id == "1"
    assert bare.without_image == ("sub-2", "sub-3", "sub-4")


def test_a_label_that_begins_like_its_key():
    found = summarise([_image("sub-s", path="/d/sub-s/anat/sub-s_T1w.mgz")], ["/d/sub-s/anat/sub-s_T1w.mgz"])
    assert found.by_modality == {"T1w": 1}


def test_one_file_in_two_rows():
    images = [
        _image("a", path="/z.zip", member="x.nii"),
        _image("b", path="/z.zip", member="y.nii"),
        _image("c", path="/z.zip", member="x.nii"),
        _image("d", path="/d.nii"),
    ]
    found = summarise(images)
    assert found.same_file == (("a", "c"),)
    assert [row["same_as"] for row in overview_rows(found, [("a", "d")])] == ["c d", "", "a", "a"]


def test_many_people_agree_with_a_plain_count():
    rng = np.random.default_rng(0)
    images, files, wanted = [], [], {}
    for at in range(300):
        there = [one for one in ("T1w", "T2w", "FLAIR", "dwi") if rng.random() < 0.6]
        files += [f"/d/sub-{at:03d}/x/sub-{at:03d}_acq-a_{one}.nii.gz" for one in there]
        if "T1w" in there:
            images.append(_image(f"sub-{at:03d}", path=files[-len(there)]))
        wanted[f"sub-{at:03d}"] = there
    found = summarise(images, files)
    for modality, count in found.by_modality.items():
        assert count == sum(modality in there for there in wanted.values())
    assert list(found.without_image) == [name for name, there in wanted.items() if there and "T1w" not in there]


# --- participants.tsv -----------------------------------------------------------------------------------------


def test_participants_are_read(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text("\ufeffage\tparticipant_id\n33\tsub-1\n\nn/a\tsub-2\n41\n", encoding="utf-8")
    assert read_participants(path) == ["sub-1", "sub-2"]
    assert find_participants(str(tmp_path), [str(tmp_path / "a/participants.tsv")]) is None
    assert find_participants(f"{tmp_path}/", [str(path)]) == path


@pytest.mark.parametrize(
    "data, match",
    [
        (b"id\tage\n1\t2\n", "must have the column participant_id; .* has 'id', 'age'; rename or add it"),
        (b"", "has none; rename or add it"),
        (b"participant_id\n\xff\xfe\n", "must be readable UTF-8 text; .*participants.tsv is not .*; mend the table"),
    ],
)
def test_a_table_of_participants_that_is_none(tmp_path, data, match):
    (tmp_path / "participants.tsv").write_bytes(data)
    with pytest.raises(IndexingError, match=match):
        read_participants(tmp_path / "participants.tsv")


# --- the same bytes -------------------------------------------------------------------------------------------


@pytest.fixture
def copies(tmp_path):
    """Five small volumes: b is a copy of a, c one that was compressed at another time, d and e are others."""
    rng = np.random.default_rng(0)
    values = {name: rng.integers(0, 255, (7, 6, 5)).astype(np.uint8) for name in "ade"}
    for name, path in (("a", "a.nii.gz"), ("d", "d.nii.gz"), ("e", "e.nii")):
        write_volume(tmp_path / path, values[name], np.eye(4))
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(whole)
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(gzip.decompress(whole), compresslevel=6, mtime=1_600_000_000))
    return index_images(str(tmp_path))


def test_files_of_the_same_bytes_are_found(copies):
    calls = []
    assert find_identical(copies, lambda done, total: calls.append((done, total))) == (("a", "b", "c"),)
    total = calls[0][1]
    assert calls == [(at + 1, total) for at in range(total)]
    assert total < 5  # e is the only file of its size


def test_a_name_that_gzip_notes_makes_no_other_file(tmp_path):
    raw = np.random.default_rng(0).bytes(2000)
    for name, noted in (("a", "a"), ("b", "a_longer_name"), ("c", "")):
        with gzip.GzipFile(noted, "wb", fileobj=(tmp_path / f"{name}.nii.gz").open("wb"), mtime=1) as file:
            file.write(raw[: 1999 if name == "c" else 2000])
            file.fileobj.flush()
            closing = file.fileobj
        closing.close()
    assert len({path.stat().st_size for path in tmp_path.iterdir()}) == 3
    assert find_identical(index_images(str(tmp_path))) == (("a", "b"),)


def test_members_are_compared_whatever_else_their_archives_hold(tmp_path):
    raw = np.random.default_rng(0).bytes(2000)
    for eid, body, more in ((1000012, raw, b""), (1000025, raw, b"notes"), (1000031, raw[::-1], b"")):
        with zipfile.ZipFile(tmp_path / f"{eid}_20252_2_0.zip", "w") as archive:
            archive.writestr("T1/T1_brain_to_MNI.nii.gz", body)
            archive.writestr("notes.txt", more)
    (tmp_path / "1000040_20252_2_0.zip").write_bytes(b"PK half")
    calls = []
    found = find_identical(index_images(str(tmp_path)), lambda done, total: calls.append(total))
    assert found == (("1000012_ses-2", "1000025_ses-2"),)
    assert calls == [2, 2]  # those two alone are read


def test_people_of_a_tree_below_a_folder_that_is_called_like_one():
    found = summarise(
        [_image("sub-1", path="/x/sub-study/d/sub-1/anat/sub-1_T1w.nii")],
        ["/x/sub-study/d/sub-1/anat/sub-1_T1w.nii", "/x/sub-study/d/sub-2/anat/sub-2_T2w.nii"],
    )
    assert (found.by_modality, found.without_image) == ({"T1w": 1, "T2w": 1}, ("sub-2",))


def test_what_cannot_be_read_is_passed_over(copies, tmp_path):
    (tmp_path / "b.nii.gz").unlink()
    url = Image("u", "u", "", "", "http://127.0.0.1:9/a.nii.gz")
    assert find_identical([*copies, url]) == (("a", "c"),)
    missing = [_image("x", path=str(tmp_path / "a.nii.gz"), member="m"), copies[0]]
    assert find_identical(missing) == ()


def test_a_gzip_header_with_everything_in_it_is_skipped():
    body = gzip.compress(b"grey values", mtime=0)[10:]
    header = b"\x1f\x8b\x08" + bytes([2 | 4 | 8 | 16]) + b"\x01\x02\x03\x04\x02\x03"
    full = header + b"\x03\x00abc" + b"sub-01_T1w.nii\x00" + b"a comment\x00" + b"\x12\x34" + body
    assert gzip.decompress(full) == b"grey values"
    assert without_gzip_header(full) == body
    assert without_gzip_header(b"plain") == b"plain"


@pytest.mark.data
def test_the_real_cohort(data):
    folder = str(data / "ixi")
    images = index_images(folder)
    files = [str(path) for path in (data / "ixi").rglob("*") if path.is_file()]
    listed = read_participants(find_participants(folder, files))
    found = summarise(images, files, listed)
    assert (found.n_images, found.n_participants, found.by_modality) == (185, 185, {"T1w": 185})
    assert not any((found.without_image, found.rows_without_image, found.images_without_row, found.same_file))
    assert find_identical(images) == ()
