from __future__ import annotations

import datetime
import sys
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest

from featx.analysis.cohort.tables import file_sha256, read_table
from featx.errors import CohortError, DependencyError


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_tables_are_read_as_text(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "people.txt"
    lines = ["\ufeffparticipant_id; age ;sex", "007;38.5;n/a", "008;NA;F", "009;;M"]
    path.write_text("\n".join(lines).replace(";", separator), encoding="utf-8")
    people = read_table(path)
    assert list(people.columns) == ["participant_id", "age", "sex"]
    assert people["participant_id"].tolist() == ["007", "008", "009"]
    assert people["age"].isna().tolist() == [False, True, True]
    assert people["age"].iloc[0] == "38.5"
    assert people["sex"].isna().tolist() == [True, False, False]
    assert len(file_sha256(path)) == 64


@pytest.mark.parametrize(
    "text, match",
    [
        ("id,age,age\n1,2,3\n", "has 'age' 2 times; rename or remove one"),
        ("id,age\n0,1\n\n1,2,3\n", "as many fields as its header, 2; .* has 3 in line 4; repair"),
        ('id,note\n0,"two\nlines"\n\n1\n', "as many fields as its header, 2; .* has 1 in line 5; repair"),
        ("id\tage\n0\t1\n1\n", "as many fields as its header, 2; .* has 1 in line 3; repair"),
        ('id,age\n0,"1\n', "whole fields; .* is not in line 2"),
        ("id,age\n0,1\0\n", "has a NUL byte in line 2"),
        ("\n", "begins with none; add one"),
    ],
)
def test_bad_text_is_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(text)
    with pytest.raises(CohortError, match=match):
        read_table(path)


def test_cells_are_stripped_before_they_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "people.tsv"
    path.write_text('id\tage\tnote\n sub-1 \tn/a \t"5 feet\n\nsub-2\t 7 \t 007\n')
    people = read_table(path)
    assert people["id"].tolist() == ["sub-1", "sub-2"]
    assert people["age"].isna().tolist() == [True, False]
    assert people["age"].iloc[1] == "7"
    assert people["note"].tolist() == ['"5 feet', "007"]


def test_rows_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text('id,note\n\na,"two\nlines"\n\nb,one\n')
    people = read_table(path)
    assert people.index.name == "line"
    assert people.index.tolist() == [3, 6]


def test_a_table_that_r_wrote(tmp_path: Path) -> None:
    (tmp_path / "people.tsv").write_text('"participant_id"\t"site"\n"sub-1"\t"a\tb"\n')
    people = read_table(tmp_path / "people.tsv")
    assert people.to_dict("list") == {"participant_id": ["sub-1"], "site": ["a\tb"]}


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    for name in ("none.csv", "none.parquet", "none.xlsx"):
        with pytest.raises(CohortError, match="No such file"):
            read_table(tmp_path / name)
    for name, match in {
        "binary.csv": "must be text in UTF-8; .* is not; save it",
        "binary.parquet": "must be a readable parquet file; .* is not",
        "binary.xlsx": "must be a readable Excel file; .* is not",
        "old.xls": "must be .xlsx; .*old.xls is of the format before; save it",
    }.items():
        (tmp_path / name).write_bytes(b"\xff\xfe\x00\x81")
        with pytest.raises(CohortError, match=match):
            read_table(tmp_path / name)


def test_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "eid": [2**60 + 1, 3],
            "age": [61.0, np.nan],
            "volume": [0.1, 1e-300],
            "visit": pd.to_datetime(["2020-01-31", "2020-01-31 10:30"], format="mixed"),
            "is_left": [True, False],
            "site": pd.Categorical(["n/a", " HH "]),
        },
        index=["p", "q"],
    )
    frame.to_parquet(tmp_path / "people.parquet")
    people = read_table(tmp_path / "people.parquet")
    assert people.index.tolist() == [1, 2]
    assert people.fillna("-").to_dict("list") == {
        "eid": ["1152921504606846977", "3"],
        "age": ["61", "-"],
        "volume": ["0.1", "1e-300"],
        "visit": ["2020-01-31", "2020-01-31T10:30:00"],
        "is_left": ["True", "False"],
        "site": ["-", "HH"],
    }
    pd.DataFrame({"one": [[1, 2]]}).to_parquet(tmp_path / "lists.parquet")
    with pytest.raises(CohortError, match="text, a number, a date or a truth value; .* holds list in column 'one'"):
        read_table(tmp_path / "lists.parquet")


def workbook(path: Path, *rows: list[object], second: list[list[object]] | None = None) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for row in second or []:
        (book["visit 2"] if "visit 2" in book.sheetnames else book.create_sheet("visit 2")).append(row)
    book.save(path)
    return path


def test_excel(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "people.xlsx",
        ["participant_id", " age ", "born", "left"],
        ["sub-1", 61, datetime.date(1960, 5, 4), True],
        [],
        ["sub-2", 61.25, None, "n/a"],
        second=[["participant_id"], ["sub-3"]],
    )
    people = read_table(path)
    assert (people.index.name, people.index.tolist()) == ("row", [2, 4])
    assert people.fillna("-").to_dict("list") == {
        "participant_id": ["sub-1", "sub-2"],
        "age": ["61", "61.25"],
        "born": ["1960-05-04", "-"],
        "left": ["True", "-"],
    }
    assert read_table(Path(f"{path}::visit 2"))["participant_id"].tolist() == ["sub-3"]
    assert file_sha256(Path(f"{path}::visit 2")) == file_sha256(path)
    with pytest.raises(CohortError, match="'visit 3' is not in .*people.xlsx; known are 'Sheet', 'visit 2'"):
        read_table(Path(f"{path}::visit 3"))


def test_bad_sheets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="has '=1[+]1' without a value in row 2; open the file"):
        read_table(workbook(tmp_path / "formula.xlsx", ["a", "b"], [1, "=1+1"]))
    with pytest.raises(CohortError, match="begins with none; add one"):
        read_table(workbook(tmp_path / "empty.xlsx"))
    with pytest.raises(CohortError, match="as many fields as its header, 1; .* has more in row 3; repair"):
        read_table(workbook(tmp_path / "wide.xlsx", ["a"], [1], [2, "stray"]))


@pytest.mark.parametrize("library, name", [("pyarrow", "people.parquet"), ("openpyxl", "people.xlsx")])
def test_libraries_are_asked_for(library: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DependencyError, match=rf"needs {library}, for {name}; .* install featx\[tables\]"):
        read_table(Path(name))
