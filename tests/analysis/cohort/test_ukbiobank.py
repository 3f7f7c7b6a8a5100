from __future__ import annotations

import pandas as pd
import pytest

from featx.analysis.cohort.targets import KINDS
from featx.analysis.cohort.ukbiobank import (
    CAUTIONS,
    UKB,
    Sheet,
    add_phenotypes,
    cautions_for,
    cautions_of_sessions,
    parse_column,
)


@pytest.mark.parametrize("sheet", UKB.values(), ids=list(UKB))
def test_sheets(sheet: Sheet) -> None:
    assert UKB[sheet.name] is sheet
    assert sheet.kind in KINDS
    assert (sheet.kind == "continuous") == (not sheet.levels)
    assert set(sheet.missing).isdisjoint(sheet.levels)
    assert all(float(one) < 0 for one in sheet.missing)
    assert parse_column(sheet.column) == (sheet.field_id, sheet.instance, sheet.array)


@pytest.mark.parametrize(
    "name, place",
    [
        ("21003-2.0", (21003, 2, 0)),
        ("f.21003.2.0", (21003, 2, 0)),
        ("p21003_i2", (21003, 2, 0)),
        ("participant.p21003_i2", (21003, 2, 0)),
        ("p31", (31, 0, 0)),
        ("p41270_i0_a12", (41270, 0, 12)),
        ("21003", None),
        ("p21003_i2x", None),
        ("-2.0", None),
        ("site-1.0", None),
    ],
)
def test_spellings(name: str, place: tuple[int, int, int] | None) -> None:
    assert parse_column(name) == place


@pytest.mark.parametrize(
    "columns", [("31-0.0", "21003-2.0"), ("f.31.0.0", "f.21003.2.0"), ("participant.p31", "participant.p21003_i2")]
)
def test_every_spelling_gives_the_same(columns: tuple[str, str]) -> None:
    table = pd.DataFrame({columns[0]: ["0", "1"], columns[1]: ["60", None]}, dtype=object)
    added, cautions = add_phenotypes(table)
    assert list(added) == [*columns, "age", "sex"]
    assert added["sex"].tolist() == ["0", "1"]
    assert added["age"].isna().tolist() == [False, True]
    assert cautions == ()


def codes(*columns: str) -> list[str]:
    _, cautions = add_phenotypes(pd.DataFrame({one: ["1"] for one in columns}, dtype=object))
    assert {code for code, _ in cautions} <= set(CAUTIONS)
    return [code for code, _ in cautions]


def test_no_other_visit_stands_in() -> None:
    table, cautions = add_phenotypes(pd.DataFrame({"21003-0.0": ["50"], "21003-1.0": ["54"], "21022-0.0": ["50"]}))
    assert "age" not in table
    assert [code for code, _ in cautions] == ["ukb-recruitment-age", "ukb-other-instance"]
    assert "age at recruitment, which is years too young" in cautions[0][1]
    assert "at instance 0, 1 only" in cautions[1][1]
    assert codes("20016-0.0") == ["ukb-other-instance"]
    assert codes("21022-0.0", "21003-2.0") == []
    assert codes("p21022") == ["ukb-recruitment-age"]


def test_a_column_of_the_user_stays() -> None:
    table, cautions = add_phenotypes(pd.DataFrame({"age": ["7"], "21003-2.0": ["60"]}))
    assert table["age"].tolist() == ["7"]
    assert cautions[0][0] == "ukb-own-column"
    assert codes("age") == []


def test_codes_of_no_answer_are_missing_in_any_spelling() -> None:
    table, _ = add_phenotypes(pd.DataFrame({"709-2.0": ["-1", "-3.0", "3", None]}, dtype=object))
    assert table["household_size"].isna().tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    "target, expected",
    [
        ("age", []),
        ("21003-2.0", []),
        ("21022-0.0", ["ukb-recruitment-age"]),
        ("p21003_i0", ["ukb-other-instance"]),
        ("f.709.2.0", ["ukb-raw-codes"]),
        ("738-0.0", ["ukb-other-instance", "ukb-raw-codes"]),
        ("50-0.0", []),
    ],
)
def test_cautions_for_a_target(target: str, expected: list[str]) -> None:
    cautions = cautions_for(target)
    assert [code for code, _ in cautions] == expected
    assert all(repr(target) in sentence for _, sentence in cautions)


def test_repeat_imaging() -> None:
    ((code, sentence),) = cautions_of_sessions(["ses-3", "2", "3", ""])
    assert code in CAUTIONS
    assert sentence.startswith("2 images are of session 3")
