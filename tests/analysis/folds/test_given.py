from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from featx import schema
from featx.analysis.folds.given import read_splits, splits_from_labels
from featx.errors import CohortError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_table_of_a_run_reads_back(tmp_path: Path) -> None:
    text = "target,image_id,participant_id,repeat,fold\nage,01_1,01,0,-1\nage,01_1,01,1,2\nsex,01_1,01,0,0\n"
    table = read_splits(write(tmp_path / "splits.csv", text))
    assert list(table.columns) == schema.names(schema.SPLITS)
    assert table.values.tolist() == [
        ["age", "01_1", "01", 0, -1],
        ["age", "01_1", "01", 1, 2],
        ["sex", "01_1", "01", 0, 0],
    ]
    assert [str(table[name].dtype) for name in ("repeat", "fold")] == ["int64", "int64"]


def test_a_table_made_by_hand_needs_people_and_folds_only(tmp_path: Path) -> None:
    table = read_splits(write(tmp_path / "mine.csv", "fold,participant_id\n0,01\n1,02\n"))
    assert table.values.tolist() == [["*", "", "01", 0, 0], ["*", "", "02", 0, 1]]


@pytest.mark.parametrize(
    "text, match",
    [
        ("", r"a readable CSV file; .*mine.csv is not \(EmptyDataError\)"),
        ("participant_id\n01\n", "must have a column 'fold'; .* has 'participant_id', 'target'"),
        ("fold\n0\n", "must have a column 'participant_id'"),
        ("participant_id,fold\n01,0\n02,x\n", "'fold' of .* whole numbers from -1; .* has 'x' in line 3; repair"),
        ("participant_id,fold\n01,0.5\n", "whole numbers from -1; .* has '0.5' in line 2"),
        ("participant_id,fold\n01,\n", "whole numbers from -1; .* has '' in line 2"),
        ("participant_id,fold\n01,-2\n", "whole numbers from -1; .* has '-2' in line 2"),
        ("participant_id,fold\n01,inf\n", "whole numbers from -1; .* has 'inf' in line 2"),
        ("participant_id,fold,repeat\n01,0,-1\n", "'repeat' of .* whole numbers from 0; .* has '-1' in line 2"),
        ("participant_id,fold\n01,0\n01,1\n", "one fold per image, target and repeat; .* two of '01'; keep one"),
        ("participant_id,fold\nsub-01,0\n01,1\n", "one fold per image, target and repeat; .* two of '01'; keep one"),
        (
            "participant_id,fold,repeat\n01,0,1\n02,1,2\n",
            "repeats .* counted from 0 without a gap; .* has 1, 2 for '",
        ),
        ("participant_id,fold\n", "must have a row; .*mine.csv has none"),
    ],
)
def test_tables_that_are_not_whole_are_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(CohortError, match=match):
        read_splits(write(tmp_path / "mine.csv", text))


def test_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"must be a readable CSV file; .* is not \(FileNotFoundError\); give the"):
        read_splits(tmp_path / "none.csv")


def people(labels: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame({"participant_id": [f"sub-{at}" for at in range(len(labels))], "cohort": labels})


def test_train_and_test_are_one_fold() -> None:
    table = splits_from_labels(people(["test", "train", None, "test"]), "cohort")
    assert list(table.columns) == schema.names(schema.SPLITS)
    assert table.values.tolist() == [["*", "", "0", 0, 0], ["*", "", "1", 0, -1], ["*", "", "3", 0, 0]]


def test_other_labels_are_folds_that_test_in_turn() -> None:
    assert splits_from_labels(people(["b", "a", "c", "a"]), "cohort")["fold"].tolist() == [1, 0, 2, 0]


def test_sessions_of_a_person_have_one_label() -> None:
    table = people(["train", "train", "test"])
    table["participant_id"] = ["sub-0", "0", "sub-1"]
    assert splits_from_labels(table, "cohort")["participant_id"].tolist() == ["0", "1"]
    table["cohort"] = ["train", "test", "test"]
    with pytest.raises(CohortError, match="a person must be on one side; '0' has two labels in 'cohort'; give one"):
        splits_from_labels(table, "cohort")


@pytest.mark.parametrize("labels, has", [(["a", "a"], "'a'"), ([None, None], "none")])
def test_one_label_divides_nobody(labels: list[str | None], has: str) -> None:
    with pytest.raises(CohortError, match=f"two labels or more; 'cohort' has {has}; write 'train' and 'test'"):
        splits_from_labels(people(labels), "cohort")


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(CohortError, match="'group' is not; it has 'participant_id', 'cohort'"):
        splits_from_labels(people(["a", "b"]), "group")


@pytest.mark.parametrize("labels", [["Train", "Test"], ["train ", "TEST"]])
def test_cohorts_are_known_in_any_writing(labels: list[str]) -> None:
    people = pd.DataFrame({"participant_id": ["a", "b"], "cohort": labels})
    assert splits_from_labels(people, "cohort")["fold"].tolist() == [-1, 0]


def test_a_third_cohort_is_no_fold_to_be_trained_on() -> None:
    people = pd.DataFrame({"participant_id": ["a", "b", "c"], "cohort": ["train", "val", "test"]})
    with pytest.raises(CohortError, match="must hold 'train' and 'test' and nothing else, .* 'test', 'train', 'val'"):
        splits_from_labels(people, "cohort")
