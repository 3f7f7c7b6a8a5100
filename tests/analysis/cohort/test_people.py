from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx.analysis.cohort.people import join
from featx.analysis.cohort.tables import file_sha256, read_phenotypes
from featx.analysis.features import Images
from featx.errors import CohortError


def images(*names: str) -> Images:
    parts = [(one.split("_") + [""])[:2] for one in names]
    columns = [list(names), [one[0] for one in parts], [one[1] for one in parts]]
    return Images(*(np.array(column, dtype=object) for column in columns))


def table(*ids: str, **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"participant_id": list(ids), **columns})


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_tables_are_read_as_text(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "people.txt"
    lines = ["\ufeffparticipant_id; age ;sex", "007;38.5;n/a", "008;NA;F", "009;;M"]
    path.write_text("\n".join(lines).replace(";", separator), encoding="utf-8")
    people = read_phenotypes(path)
    assert list(people.columns) == ["participant_id", "age", "sex"]
    assert people["participant_id"].tolist() == ["007", "008", "009"]
    assert people["age"].isna().tolist() == [False, True, True]
    assert people["age"][0] == "38.5"
    assert people["sex"].isna().tolist() == [True, False, False]
    assert len(file_sha256(path)) == 64


@pytest.mark.parametrize(
    "text, match",
    [
        ("id,age\n1,2\n", "must have a column 'participant_id'; .* has 'id', 'age'; rename"),
        ("participant_id,age\nsub-1,2\n1,3\n", "has '1' in lines 2 and 3"),
        ("participant_id,session_id\n1,ses-2\n1,2\n", "has '1', session '2', in lines 2 and 3"),
        ("participant_id,age\n,3\n", "has none in line 2"),
        ("participant_id,age,age\n1,2,3\n", "has 'age' 2 times"),
        ("participant_id,age\n0,1\n\n1,2,3\n", "as many fields as its header, 2; .* has 3 in line 4; repair"),
        ("participant_id,age,sex\n0,1,F\n1,2\n", "as many fields as its header, 3; .* has 2 in line 3; repair"),
        ("participant_id\tage\n0\t1\n1\n", "as many fields as its header, 2; .* has 1 in line 3; repair"),
        ('participant_id,age\n0,"1\n', "whole fields; .* is not in line 2"),
        ("participant_id,age\n0,1\0\n", "has a NUL byte in line 2"),
        ("\n", "begins with none"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(text)
    with pytest.raises(CohortError, match=match):
        read_phenotypes(path)


def test_cells_are_stripped_before_they_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "people.tsv"
    path.write_text('participant_id\tage\tnote\n sub-1 \tn/a \t"5 feet\n\nsub-2\t 7 \t 007\n')
    people = read_phenotypes(path)
    assert people["participant_id"].tolist() == ["sub-1", "sub-2"]
    assert people["age"].isna().tolist() == [True, False]
    assert people["age"][1] == "7"
    assert people["note"].tolist() == ['"5 feet', "007"]


def test_a_table_that_r_wrote(tmp_path: Path) -> None:
    (tmp_path / "people.tsv").write_text('"participant_id"\t"site"\n"sub-1"\t"a\tb"\n')
    people = read_phenotypes(tmp_path / "people.tsv")
    assert people.to_dict("list") == {"participant_id": ["sub-1"], "site": ["a\tb"]}


def test_unreadable_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="No such file"):
        read_phenotypes(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(CohortError, match="it is not UTF-8"):
        read_phenotypes(tmp_path / "binary.csv")


def test_people_meet_with_or_without_prefix_and_in_any_order() -> None:
    matched = join(images("sub-1", "sub-2", "sub-9"), table("2", "1", "5", age=["20", "10", "50"]))
    assert matched.images.image_id.tolist() == ["sub-1", "sub-2"]
    assert matched.phenotypes["age"].tolist() == ["10", "20"]
    assert matched.phenotypes.index.tolist() == ["sub-1", "sub-2"]
    assert [(one["code"], one["image_id"], one["participant_id"]) for one in matched.exclusions] == [
        ("no-phenotype", "sub-9", "sub-9"),
        ("no-image", "", "5"),
    ]
    assert "'sub-9' is not there, at image 'sub-9'" in matched.exclusions[0]["sentence"]


def test_sessions_meet_where_both_sides_have_one() -> None:
    people = table("1", "1", "2", session_id=["ses-a", "b", ""], age=["10", "11", "20"])
    matched = join(images("sub-1_ses-a", "sub-1_ses-b", "sub-1_ses-c", "sub-2_ses-a", "sub-2_ses-b"), people)
    assert matched.phenotypes["age"].tolist() == ["10", "11", "20", "20"]
    assert [one["image_id"] for one in matched.exclusions] == ["sub-1_ses-c"]
    assert "'sub-1' has no row for 'ses-c'" in matched.exclusions[0]["sentence"]


def test_image_without_session_takes_the_only_row() -> None:
    assert join(images("sub-1"), table("1", session_id=["a"], age=["10"])).phenotypes["age"].tolist() == ["10"]
    with pytest.raises(CohortError, match=r"participant '1' has 2 \(sessions 'a', 'b'\)"):
        join(images("sub-1"), table("1", "1", session_id=["a", "b"]))


def test_all_sessions_take_the_row_of_a_table_without_sessions() -> None:
    matched = join(images("sub-1_ses-a", "sub-1_ses-b"), table("1", age=["10"]))
    assert matched.phenotypes["age"].tolist() == ["10", "10"]


def test_nobody_matching_shows_an_id_of_each_side() -> None:
    with pytest.raises(CohortError, match="people such as 'sub-1' and the table of such as 'IXI7'"):
        join(images("sub-1"), table("IXI7"))
    with pytest.raises(CohortError, match="nobody: it has no rows"):
        join(images("sub-1"), table())
