import zipfile
from pathlib import Path

import pytest

from featx import schema
from featx.errors import IndexingError
from featx.images.image import Image, where
from featx.images.index import check_readable, index_images, unreadable, why_unreadable, write_index


def _touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return str(folder)


BIDS = (
    "sub-02/ses-1/anat/sub-02_ses-1_run-1_space-MNI_desc-brain_T1w.nii.gz",
    "sub-02/ses-1/anat/sub-02_ses-1_run-2_space-MNI_desc-brain_T1w.nii.gz",
    "sub-02/ses-2/anat/sub-02_ses-2_space-MNI_desc-brain_T1w.nii.gz",
    "sub-01/anat/sub-01_space-MNI_desc-brain_T1w.nii",
)


def test_a_bids_tree(tmp_path):
    images = index_images(_touch(tmp_path, *BIDS, "sub-01/anat/sub-01.json", ".cache/sub-09_T1w.nii"))
    assert [image.image_id for image in images] == [
        "sub-01",
        "sub-02_ses-1_run-1",
        "sub-02_ses-1_run-2",
        "sub-02_ses-2",
    ]
    one = images[1]
    assert (one.participant_id, one.session_id, one.run, one.member) == ("sub-02", "ses-1", "run-1", "")
    assert one.path == tmp_path / BIDS[0]


@pytest.mark.parametrize(
    "filters, n",
    [
        ({"space": "MNI"}, 4),
        ({"ses": "1"}, 2),
        ({"ses": "ses-1", "run": "2"}, 1),
        ({"suffix": "T1w", "desc": "brain"}, 4),
        ({"space": "T1w"}, 1),
        ({"run": "none", "space": "MNI"}, 2),
    ],
)
def test_filters(tmp_path, filters, n):
    more = "sub-01/anat/sub-01_space-T1w_desc-brain_T2w.nii.gz"
    assert len(index_images(_touch(tmp_path, *BIDS, more), filters=filters)) == n


def test_a_filter_that_leaves_nothing_says_what_there_is(tmp_path):
    with pytest.raises(IndexingError, match="of 4 in .* none has space-T1w; there are space: MNI"):
        index_images(_touch(tmp_path, *BIDS), filters={"space": "T1w"})


def test_an_unknown_filter(tmp_path):
    with pytest.raises(IndexingError, match="got 'spce'; known are 'acq'"):
        index_images(_touch(tmp_path, *BIDS), filters={"spce": "T1w"})


def test_two_files_for_one_id_name_the_entity_to_choose_by(tmp_path):
    more = "sub-01/anat/sub-01_space-T1w_desc-brain_T1w.nii.gz"
    with pytest.raises(IndexingError, match="'sub-01' for .* choose one with a filter: space is MNI or T1w"):
        index_images(_touch(tmp_path, *BIDS, more))


def test_a_flat_folder_and_a_glob(tmp_path):
    source = _touch(tmp_path, "b_T1.nii.gz", "a_T1.mgz", "deep/c.nii", "notes.txt")
    assert [image.image_id for image in index_images(source)] == ["a_T1", "b_T1", "c"]
    assert [image.image_id for image in index_images(f"{source}/*.nii.gz")] == ["b_T1"]
    assert [image.image_id for image in index_images(f"{source}/b_T1.nii.gz")] == ["b_T1"]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    names = [f"out/{name}/T1/T1_brain.nii.gz" for name in ("S1", "S2")]
    assert [image.image_id for image in index_images(_touch(tmp_path, *names))] == ["S1", "S2"]


def test_an_id_pattern(tmp_path):
    names = [f"{eid}_20252_{i}_0/T1/T1_brain_to_MNI.nii.gz" for eid in (1000012, 1000025) for i in (2, 3)]
    pattern = r"/(?P<participant_id>\d{7})_20252_(?P<session_id>\d)_0/"
    images = index_images(_touch(tmp_path, *names), id_pattern=pattern)
    assert [image.image_id for image in images] == ["1000012_2", "1000012_3", "1000025_2", "1000025_3"]
    assert images[1].session_id == "3"


def test_an_id_pattern_reaches_into_archives_and_passes_over_folders(tmp_path):
    (tmp_path / "t.zip").write_bytes(b"")
    source = _touch(tmp_path, "sub-1/x/sub-7_T1w.nii", "sub-1/x/b.nii")
    images = index_images(source, id_pattern=r"/(?P<participant_id>[^/]+)\.nii$")
    assert [image.image_id for image in images] == ["b", "sub-7_T1w"]


@pytest.mark.parametrize(
    "pattern, match",
    [("(", "must be a regular expression"), ("(?P<participant_id>z+)", "finds none in"), ("a", "finds none in")],
)
def test_a_bad_id_pattern(tmp_path, pattern, match):
    with pytest.raises(IndexingError, match=match):
        index_images(_touch(tmp_path, *BIDS), id_pattern=pattern)


def test_mixed_names(tmp_path):
    with pytest.raises(IndexingError, match="must be named alike"):
        index_images(_touch(tmp_path, *BIDS, "template.nii.gz"))


def test_same_names_in_one_place_twice(tmp_path):
    with pytest.raises(IndexingError, match="choose one with --file, give --id-pattern, or a table"):
        index_images(_touch(tmp_path, "a.nii", "a.nii.gz"))


@pytest.mark.parametrize("source", ["", "/*.nii"])
def test_nothing_there(tmp_path, source):
    with pytest.raises(IndexingError, match="holds none; give a folder"):
        index_images(str(tmp_path) + source)


def test_a_table_survives_a_round_trip(tmp_path):
    images = index_images(_touch(tmp_path, *BIDS))
    write_index(images, tmp_path / "images.csv")
    assert index_images(str(tmp_path / "images.csv")) == images


def test_a_table_of_ones_own(tmp_path):
    (tmp_path / "t.tsv").write_text("path\tparticipant_id\tsession_id\tage\nx/a.nii\t0017\t1\t3\n/b.nii\t0018\t\t4\n")
    first, second = index_images(str(tmp_path / "t.tsv"))
    assert first == Image("0017_1", "0017", "1", "", tmp_path / "x/a.nii")
    assert second == Image("0018", "0018", "", "", Path("/b.nii"))


@pytest.mark.parametrize(
    "text, match",
    [
        ("path,age\na.nii,3\n", "must have the columns participant_id and path; .* has 'path', 'age'"),
        ("participant_id,file\nx,a.nii\n", "rename or add 'path'"),
        ("participant_id,path\n", "has only its header"),
        ("participant_id,path\nx,\n", "row 2 of .* lacks one"),
        ("participant_id,path\nx,a.nii\nx,b.nii\n", "1 ids stand for several files, such as 'x'"),
        ("", "has none; rename or add 'path'"),
        ("participant_id,path,member\nx,a.zip,/b.nii\n", "inside its archive; row 2 of .* has '/b.nii'"),
        ("participant_id,path,member\nx,a.zip,b/../../c.nii\n", "without a leading / and without"),
        (
            "participant_id,path\nx,a.nii\ny,b/IM1.dcm\n",
            "row 3 of .* names DICOM, .*IM1.dcm; convert it with dcm2niix",
        ),
        ("participant_id,path\nx,git://repository/a.nii\n", "row 2 of .*: a URL must be of a protocol that only"),
        ("participant_id,path\nx,zip://a.nii\n", "row 2 of .*: a chain of URLs must be"),
        (
            "participant_id,path,mask\nx,a.nii,zip://m.nii::b.zip\n",
            "mask must be a file of its own; row 2 of .* names m.nii in .*b.zip; unpack",
        ),
    ],
)
def test_bad_tables(tmp_path, text, match):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(IndexingError, match=match):
        index_images(str(tmp_path / "t.csv"))


def test_a_table_of_urls_archives_and_masks(tmp_path):
    (tmp_path / "t.csv").write_text(
        "participant_id,path,member,mask\n"
        "a,https://host/a.nii.gz?sig=1,,https://host/mask.nii.gz\n"
        "b,zip://T1/b.nii::s3://bucket/b.zip,,\n"
        "c,c.zip,T1/c.nii,masks/c.nii\n"
        "d,file:///data/d.nii,,\n"
    )
    images = index_images(str(tmp_path / "t.csv"))
    assert [(image.path, image.member, image.mask) for image in images] == [
        ("https://host/a.nii.gz?sig=1", "", "https://host/mask.nii.gz"),
        ("s3://bucket/b.zip", "T1/b.nii", ""),
        (tmp_path / "c.zip", "T1/c.nii", str(tmp_path / "masks/c.nii")),
        (Path("/data/d.nii"), "", ""),
    ]
    write_index(images, tmp_path / "images.csv")
    assert index_images(str(tmp_path / "images.csv")) == images


def test_tabs_where_the_name_says_so(tmp_path):
    images = index_images(_touch(tmp_path / "a", *BIDS))
    write_index(images, tmp_path / "images.tsv")
    assert (tmp_path / "images.tsv").read_text().startswith("image_id\tparticipant_id\t")
    assert index_images(str(tmp_path / "images.tsv")) == images
    with pytest.raises(
        IndexingError, match=r"must be named .csv or .tsv; got .*images.txt; the next verb reads it by"
    ):
        write_index(images, tmp_path / "images.txt")


def test_a_password_is_kept_in_the_table_and_never_told(tmp_path):
    url = "https://alice:s3cret@127.0.0.1:9/a.nii.gz?X-Amz-Signature=abc"
    (tmp_path / "t.csv").write_text(f"participant_id,path\na,{url}\n")
    images = index_images(str(tmp_path / "t.csv"))
    assert where(images[0]) == "https://127.0.0.1:9/a.nii.gz?..."
    write_index(images, tmp_path / "images.csv")
    assert index_images(str(tmp_path / "images.csv")) == images
    (tmp_path / "t.csv").write_text(f"participant_id,path\na,{url}\na,{url}&x=2\n")
    for source in (tmp_path / "t.csv", f"{url}.csv", f"git://alice:s3cret@h/{url}", f"zip://*.nii::{url}"):
        with pytest.raises(IndexingError) as refused:
            index_images(str(source))
        assert "s3cret" not in str(refused.value)
        assert "abc" not in str(refused.value).replace(str(tmp_path), "")


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(IndexingError, match="No such file"):
        index_images(str(tmp_path / "no.csv"))


def test_why_files_cannot_be_opened(tmp_path):
    (tmp_path / "empty.nii").touch()
    (tmp_path / "full.nii").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "1.zip", "w") as archive:
        archive.writestr("a.nii", b"x")
    places = [("empty.nii", ""), ("full.nii", ""), ("no", ""), ("1.zip", "a.nii"), ("1.zip", "b.nii")]
    images = [Image(str(at), "a", "", "", tmp_path / path, member) for at, (path, member) in enumerate(places)]
    assert [why_unreadable(image) for image in images[:4]] == ["the file is empty", "", "the file is not there", ""]
    assert "holds no b.nii" in why_unreadable(images[4])
    assert check_readable(images[2]) == "the file is not there"
    rows = unreadable(images * 20)
    assert [(row["image_id"], row["code"]) for row in rows[:4]] == [
        ("0", "truncated"), ("2", "missing-file"), ("4", "missing-member"), ("0", "truncated")
    ]  # fmt: skip
    assert len(rows) == 60
    assert list(rows[0]) == schema.names(schema.FAILURES)
    assert all(row["code"] in schema.REASONS and row["step"] == "index" for row in rows)


@pytest.mark.data
def test_the_real_cohorts(data):
    assert len(index_images(str(data / "ixi"))) == 185
    assert index_images(str(data / "ds000011"))[0].image_id == "sub-01"
    assert len(index_images(str(data / "mni1mm"))) == 3


@pytest.mark.parametrize("row", ["sub-1,sub-7,a.nii", "sub-1"])
def test_a_row_of_another_length_than_the_header_is_refused(tmp_path, row):
    (tmp_path / "t.csv").write_text(f"participant_id,path\nsub-0,b.nii\n{row}\n")
    with pytest.raises(IndexingError, match="as many fields as the header, 2; row 3 of"):
        index_images(str(tmp_path / "t.csv"))


def test_a_column_twice(tmp_path):
    (tmp_path / "t.csv").write_text("participant_id,path,path\na,b,c\n")
    with pytest.raises(IndexingError, match="has 'path' twice"):
        index_images(str(tmp_path / "t.csv"))


@pytest.mark.parametrize("wish", [{"filters": {"space": "MNI"}}, {"id_pattern": "x"}, {"file": "a.nii"}])
def test_filters_are_not_for_tables(tmp_path, wish):
    (tmp_path / "t.csv").write_text("participant_id,path\na,a.nii\n")
    with pytest.raises(IndexingError, match="are for files; .* is a table"):
        index_images(str(tmp_path / "t.csv"), **wish)


def test_an_id_with_a_hyphen_is_kept_whole(tmp_path):
    images = index_images(_touch(tmp_path, "sub-01-A_T1w.nii.gz", "sub-01-B_T1w.nii.gz"))
    assert [image.participant_id for image in images] == ["sub-01-A", "sub-01-B"]


def test_a_file_in_the_folder_of_another_participant(tmp_path):
    with pytest.raises(IndexingError, match="is named sub-02 and lies in another's"):
        index_images(_touch(tmp_path, "sub-01/anat/sub-02_T1w.nii.gz"))
