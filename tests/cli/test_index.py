"""featx index: the table, what is said of it, the overview beside it, the cache, exit codes."""

import os
import sys

import pandas as pd
import pytest

from featx import schema
from featx.images.finding import walk
from featx_cli import console, index


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _plant(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


@pytest.fixture
def tree(tmp_path):
    """Three participants with a T1w, one of them twice; one with a T2w alone; one who is in the table alone."""
    names = ["sub-1/ses-1/anat/sub-1_ses-1_T1w.nii", "sub-1/ses-2/anat/sub-1_ses-2_T1w.nii"]
    names += ["sub-2/anat/sub-2_T1w.nii", "sub-2/anat/sub-2_FLAIR.nii", "sub-3/anat/sub-3_T1w.nii"]
    folder = _plant(tmp_path / "tree", *names, "sub-4/anat/sub-4_T2w.nii")
    _plant(folder, "derivatives/brains/sub-4/anat/sub-4_desc-brain_T1w.nii")
    (folder / "participants.tsv").write_text("participant_id\tage\nsub-1\t30\nsub-2\t40\nsub-4\t50\nsub-5\t60\n")
    return folder


def _table(path):
    return pd.read_csv(path, keep_default_na=False, dtype=str)


def test_a_tree_is_indexed_and_looked_over(featx, tree, tmp_path):
    said = featx("index", tree, "--suffix", "T1w", "-o", tmp_path / "i.csv").splitlines()
    assert said[0] == f"4 images of 3 participants in 2 sessions: {tmp_path}/i.csv"
    assert said[1] == f"  first: sub-1_ses-1 = {tree}/sub-1/ses-1/anat/sub-1_ses-1_T1w.nii"
    assert any("derivatives/brains (1)" in line for line in said)
    assert said[-7:] == [
        "  participants by session: (none) 2, ses-1 1, ses-2 1",
        "  participants by modality, of 4 who have any: T1w 3, FLAIR 1, T2w 1",
        "  with several sessions: 1 (sub-1)",
        "  with files here, but no image in the table: 1 (sub-4)",
        "  in participants.tsv, but without an image in the table: 2 (sub-4, sub-5)",
        "  with an image, but not in participants.tsv: 1 (sub-3)",
        f"  participant by participant: {tmp_path}/i.overview.csv",
    ]
    images = _table(tmp_path / "i.csv")
    assert images.columns.tolist() == schema.names(schema.IMAGES)
    assert images["image_id"].tolist() == ["sub-1_ses-1", "sub-1_ses-2", "sub-2", "sub-3"]
    overview = _table(tmp_path / "i.overview.csv")
    assert overview.columns.tolist() == schema.names(schema.OVERVIEW)
    assert overview["participant_id"].tolist() == [f"sub-{at}" for at in (1, 2, 3, 4, 5)]
    assert overview["n_images"].tolist() == ["2", "1", "1", "0", "0"]
    assert overview["modalities"].tolist() == ["T1w", "FLAIR T1w", "T1w", "T2w", ""]
    assert overview["listed"].tolist() == ["yes", "yes", "no", "yes", "yes"]


def test_the_overview_of_a_glob_knows_no_tree(featx, tree, tmp_path):
    said = featx("index", f"{tree}/sub-*/anat/*_T1w.nii", "-o", tmp_path / "i.csv")
    assert said.splitlines()[0] == f"2 images of 2 participants: {tmp_path}/i.csv"
    assert "modality" not in said
    assert _table(tmp_path / "i.overview.csv")["n_images"].tolist() == ["1", "1"]


def test_a_table_of_participants_that_cannot_be_used_is_told(featx, tree, tmp_path):
    (tree / "participants.tsv").write_text("id\tage\n1\t2\n")
    said = featx("index", tree, "--suffix", "T1w", "-o", tmp_path / "i.csv")
    assert said.startswith("note: participants.tsv must have the column participant_id; ")
    assert set(_table(tmp_path / "i.overview.csv")["listed"]) == {""}


def test_the_same_bytes_are_told_where_they_are_asked_for(featx, tmp_path):
    folder = _plant(tmp_path / "brains", "a.nii", "b.nii", "c.nii", "dd.nii")
    (folder / "c.nii").write_bytes(b"a.nii")
    plain = featx("index", folder, "-o", tmp_path / "i.csv")
    assert "same bytes" not in plain
    said = featx("index", folder, "-o", tmp_path / "i.csv", "--duplicates")
    assert "  images that hold the same bytes: a = c\n" in said
    assert _table(tmp_path / "i.overview.csv")["same_as"].tolist() == ["c", "", "a", ""]


def test_one_file_in_two_rows_is_told(featx, tmp_path):
    _plant(tmp_path, "a.nii")
    (tmp_path / "t.csv").write_text("participant_id,path\nx,a.nii\ny,a.nii\n")
    said = featx("index", tmp_path / "t.csv", "-o", tmp_path / "i.csv")
    assert "  images that are one file: x = y\n" in said


def test_a_file_that_cannot_be_opened_keeps_its_row_and_is_told(featx, tree, tmp_path):
    (tree / "sub-3/anat/sub-3_T1w.nii").unlink()
    (tree / "sub-3/anat/sub-3_T1w.nii").symlink_to(tmp_path / "nowhere")
    said = featx("index", tree, "--suffix", "T1w", "-o", tmp_path / "i.csv", code=3)
    assert "1 of them cannot be opened:\n      1  missing-file (" in said
    assert "sub-3" in _table(tmp_path / "i.csv")["image_id"].tolist()
    missing = _table(tmp_path / "i.missing.csv")
    assert missing[["image_id", "step", "code"]].values.tolist() == [["sub-3", "index", "missing-file"]]
    (tree / "sub-3/anat/sub-3_T1w.nii").unlink()
    featx("index", tree, "--suffix", "T1w", "-o", tmp_path / "i.csv")
    assert not (tmp_path / "i.missing.csv").exists()


def test_the_table_that_is_read_is_not_written_over(featx, tmp_path):
    _plant(tmp_path, "a.nii")
    for name in ("images.csv", "i.overview.csv"):
        mine = tmp_path / name
        mine.write_text("participant_id,path,age\nx,a.nii,33\n")
        output = tmp_path / name.replace(".overview", "")
        said = featx("index", mine, "-o", output, code=2)
        assert said == (
            f"featx: the table must be a file of its own; {mine} is the source that is read; name another -o\n"
        )
        assert mine.read_text() == "participant_id,path,age\nx,a.nii,33\n"


def test_tabs_where_the_output_is_named_so(featx, tree, tmp_path):
    featx("index", tree, "--suffix", "T1w", "-o", tmp_path / "i.tsv")
    assert pd.read_csv(tmp_path / "i.tsv", sep="\t")["image_id"].tolist() == [
        "sub-1_ses-1",
        "sub-1_ses-2",
        "sub-2",
        "sub-3",
    ]
    assert featx("index", tmp_path / "i.tsv", "-o", tmp_path / "j.csv").startswith("4 images of 3 participants")
    said = featx("index", tree, "-o", tmp_path / "i.txt", code=2)
    assert said.startswith(f"featx: a table of images must be named .csv or .tsv; got {tmp_path}/i.txt; ")
    assert not (tmp_path / "i.txt").exists()


def test_a_name_that_is_no_utf8(featx, tmp_path, monkeypatch):
    folder = _plant(tmp_path / "d", "a.nii")
    odd = os.fsdecode(b"M\xfcller.nii")
    (folder / odd).touch()  # empty, so that it is told of as well
    said = featx("index", folder, "-o", tmp_path / "i.csv", code=3)
    assert "first: M\\udcfcller = " in said
    assert b"M\xfcller,M\xfcller," in (tmp_path / "i.csv").read_bytes()
    missing = (tmp_path / "i.missing.csv").read_bytes()
    assert missing.splitlines()[1].startswith(b"M\xfcller,,index,truncated,")


def test_failures_are_written_beside_and_renamed(tmp_path):
    """A table that cannot be written whole leaves the old one as it was."""
    (tmp_path / "f.csv").write_text("old")
    with pytest.raises(ValueError, match="dict contains fields not in"):
        console.write_failures([{"image_id": "a", "nonsense": "b"}], tmp_path / "f.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["f.csv"]
    assert (tmp_path / "f.csv").read_text() == "old"


def test_what_opens_a_url_is_not_said(featx, tmp_path):
    url = "http://alice:s3cret@127.0.0.1:9/a.nii?sig=s3cret"
    (tmp_path / "t.csv").write_text(f"participant_id,path\na,{url}\n")
    said = featx("index", tmp_path / "t.csv", "-o", tmp_path / "i.csv", code=3)
    assert "s3cret" not in said
    assert "first: a = http://127.0.0.1:9/a.nii?...\n" in said
    assert "note: 1 URLs hold a user or a query, " in said
    assert "s3cret" not in (tmp_path / "i.missing.csv").read_text()
    assert _table(tmp_path / "i.csv")["path"].tolist() == [url]


def test_a_damaged_archive_is_a_row(featx, tmp_path):
    import zipfile

    for eid in (1000012, 1000025):
        with zipfile.ZipFile(tmp_path / f"{eid}_20252_2_0.zip", "w") as archive:
            archive.writestr("T1/T1_brain_to_MNI.nii.gz", b"x")
            archive.writestr("T1/ä.txt", b"x")
    raw = bytearray((tmp_path / "1000025_20252_2_0.zip").read_bytes())
    raw[raw.rindex("ä".encode())] = 0xFF
    (tmp_path / "1000025_20252_2_0.zip").write_bytes(raw)
    said = featx("index", tmp_path, "-o", tmp_path / "i.csv", code=3)
    assert said.startswith("2 images of 2 participants")
    assert "1 of them cannot be opened:\n      1  unreadable (" in said


def test_which_file_of_a_folder(featx, tmp_path):
    subjects = _plant(tmp_path / "subjects", *(f"{who}/mri/{name}.mgz" for who in "ab" for name in ("brain", "norm")))
    featx("index", subjects, "--file", "mri/norm.mgz", "-o", tmp_path / "i.csv")
    assert _table(tmp_path / "i.csv")["path"].tolist() == [f"{subjects}/{who}/mri/norm.mgz" for who in "ab"]


def test_an_entity_without_a_value(featx, tree):
    said = featx("index", tree, "--entity", "res", code=2)
    assert said == "featx: --entity must be NAME=VALUE; got 'res'; write, say, res=2\n"


def test_an_entity_chooses(featx, tree, tmp_path):
    featx("index", tree, "--entity", "suffix=T1w", "--entity", "ses=2", "-o", tmp_path / "i.csv")
    assert _table(tmp_path / "i.csv")["image_id"].tolist() == ["sub-1_ses-2"]


def test_what_folders_hold_is_kept(featx, tree, tmp_path, home, monkeypatch):
    monkeypatch.setattr(walk, "LEAST", 0)
    monkeypatch.setattr(walk, "UNSURE_NS", -1)
    call = ("index", tree, "--suffix", "T1w", "-o", tmp_path / "i.csv")
    said = featx(*call, "--no-cache")
    assert not home.exists()
    assert featx(*call) == said
    (kept,) = (home / "index").iterdir()
    written = kept.stat().st_mtime_ns
    assert featx(*call) == said
    assert kept.stat().st_mtime_ns == written
    featx("index", tree / "derivatives", "-o", tmp_path / "d.csv")
    assert len(list((home / "index").iterdir())) == 2
    _plant(tree, "sub-6/anat/sub-6_T1w.nii")
    assert featx(*call).startswith("5 images of 4 participants")


def test_long_walks_say_how_far_they_are(monkeypatch, capsys):
    monkeypatch.setattr(index, "LOG_EVERY_S", -1)
    with index._counting("files listed") as update:
        update(7)
    assert capsys.readouterr().err == "7 files listed\n"


def test_on_a_terminal_too(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with index._counting("files listed") as update:
        update(7)
    assert capsys.readouterr().out == ""


def test_several_sources_are_one_table_in_which_ids_are_unique(featx, tree, tmp_path):
    other = _plant(tmp_path / "other", "sub-8/anat/sub-8_T1w.nii", "sub-9/anat/sub-9_T1w.nii")
    (other / "participants.tsv").write_text("participant_id\nsub-8\n")
    said = featx("index", other, tree, "--suffix", "T1w", "-o", tmp_path / "i.csv")
    assert "6 images of 5 participants in 2 sessions: " in said
    assert "with an image, but not in participants.tsv: 2 (sub-3, sub-9)" in said
    images = _table(tmp_path / "i.csv")
    assert images["image_id"].tolist() == ["sub-1_ses-1", "sub-1_ses-2", "sub-2", "sub-3", "sub-8", "sub-9"]
    assert sorted(images.columns) == sorted(schema.names(schema.IMAGES))
    again = _plant(tmp_path / "again", "sub-9/anat/sub-9_T1w.nii")
    said = featx("index", other, again, "--suffix", "T1w", "-o", tmp_path / "j.csv", code=2)
    assert (
        f"every image must have its own id; 'sub-9' is in '{other}' and in '{again}'; give a table with an image"
        in said
    )
    assert not (tmp_path / "j.csv").exists()
    said = featx("index", other, tmp_path / "i.csv", "-o", tmp_path / "i.csv", code=2)
    assert "is the source that is read; name another -o" in said
