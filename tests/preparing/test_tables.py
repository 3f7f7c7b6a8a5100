"""The tables of a derivative tell of all that lies in it, whoever made it."""

import csv
import fcntl
import json

import pytest

from featx import schema
from featx.images.image import Image
from featx.preparing import tables
from featx.preparing.plan import Settings, file_of, plan_tasks
from featx.preparing.tables import list_prepared, write_tables


@pytest.fixture
def made(tmp_path):
    """A function that puts brains of people into the derivative."""

    def make(names, settings=Settings()):
        images = [Image(name, name, "ses-1", "", tmp_path / f"{name}.nii") for name in names]
        for task in plan_tasks(images, tmp_path, settings):
            brain = file_of(task, "desc-brain_T1w.nii.gz")
            brain.parent.mkdir(parents=True, exist_ok=True)
            brain.write_bytes(b"brain")
            row = dict.fromkeys(schema.names(schema.PREPARED), "1") | {"image_id": task.image.image_id}
            facts = {"BrainBytes": 5, "Settings": {"grid": settings.grid, "dof": settings.dof}, "Row": row}
            file_of(task, "desc-brain_T1w.json").write_text(json.dumps({"Featx": facts}))

    return make


def _failure(image_id, sentence="no"):
    return dict(zip(schema.names(schema.FAILURES), (image_id, "", "prepare", "truncated", sentence), strict=True))


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_calls_fill_one_table(made, tmp_path):
    made(["b"])
    write_tables(tmp_path, Settings(), ["b", "x", "y"], [_failure("x"), _failure("y")])
    made(["a"])
    rows, others = write_tables(tmp_path, Settings(), ["a", "y", "z"], [_failure("z", "one, two")])
    assert ([row["image_id"] for row in rows], others) == (["a", "b"], 0)
    assert _rows(tmp_path / "prepared.csv") == rows
    assert rows[0]["path"] == str(tmp_path / "sub-a/ses-1/anat" / rows[0]["path"].rpartition("/")[2])
    assert _rows(tmp_path / "failures.csv") == [_failure("x"), _failure("z", "one, two")]
    made(["x"])  # by another job, which has not come to its tables
    write_tables(tmp_path, Settings(), ["z"], [])
    assert not (tmp_path / "failures.csv").exists()
    assert [row["image_id"] for row in _rows(tmp_path / "prepared.csv")] == ["a", "b", "x"]


def test_brains_of_other_settings_and_broken_ones_are_left_out(made, tmp_path):
    made(["a", "b", "c"])
    made(["a"], Settings(grid="1mm"))
    made(["b"], Settings(dof=6))
    (brain,) = tmp_path.glob("sub-c/ses-1/anat/*.nii.gz")
    brain.write_bytes(b"brai")
    rows, others = list_prepared(tmp_path, Settings())
    assert ([row["image_id"] for row in rows], others) == (["a"], 2)
    rows, others = list_prepared(tmp_path, Settings(grid="1mm"))
    assert ([row["image_id"] for row in rows], others) == (["a"], 2)


def test_a_failures_table_that_is_not_ours_is_replaced(tmp_path):
    (tmp_path / "failures.csv").write_text("image_id,why\na,b\n")
    write_tables(tmp_path, Settings(), ["z"], [_failure("z")])
    assert _rows(tmp_path / "failures.csv") == [_failure("z")]


def test_tables_are_written_by_one_at_a_time_where_there_are_locks(made, tmp_path, monkeypatch):
    made(["a"])
    asked = []

    def without_locks(file, how):
        asked.append((how, (tmp_path / "prepared.csv").exists()))
        raise OSError("no locks here")

    monkeypatch.setattr(tables.fcntl, "flock", without_locks)
    write_tables(tmp_path, Settings(), ["a"], [])
    assert asked == [(fcntl.LOCK_EX, False)]
    assert len(_rows(tmp_path / "prepared.csv")) == 1
