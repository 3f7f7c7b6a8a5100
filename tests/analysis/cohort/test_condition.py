from __future__ import annotations

import pandas as pd
import pytest

from featx.analysis.cohort.condition import where
from featx.errors import CohortError

PEOPLE = pd.DataFrame(
    {
        "participant_id": ["sub-1", "sub-2", "sub-3", "sub-4"],
        "session_id": ["ses-1", "", "ses-2", "ses-1"],
        "site": ["HH", "IOP", None, "HH's"],
        "age": ["61", "70.0", "9", None],
        "age at onset": ["50", "70", None, "1"],
        "visit": ["2020-01-31", "2019-12-01", "2020-02-01", None],
        "code": ["01", "1", "-9", "x"],
    },
    dtype=object,
)


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("", [1, 1, 1, 1]),
        ("site == 'HH'", [1, 0, 0, 0]),
        ("site != 'HH'", [0, 1, 0, 1]),  # false where the site is missing
        ("not site == 'HH'", [0, 1, 1, 1]),
        ('site == "HH\'s"', [0, 0, 0, 1]),
        ("age == 70", [0, 1, 0, 0]),
        ("age > 9.5", [1, 1, 0, 0]),  # as numbers: '9' comes after '70' in the alphabet
        ("9 <= age < 70", [1, 0, 1, 0]),
        ("age > `age at onset`", [1, 0, 0, 0]),
        ("`age at onset` == age", [0, 1, 0, 0]),
        ("missing(site) or missing(age)", [0, 0, 1, 1]),
        ("not missing(`age at onset`) and missing(session_id)", [0, 1, 0, 0]),
        ("site in ['HH', 'IOP']", [1, 1, 0, 0]),
        ("site not in ('HH', 'IOP')", [0, 0, 0, 1]),
        ("age in [61, 9]", [1, 0, 1, 0]),
        ("age in []", [0, 0, 0, 0]),
        ("visit >= '2020-01-01'", [1, 0, 1, 0]),
        ("code == 1", [1, 1, 0, 0]),
        ("code == '1'", [0, 1, 0, 0]),
        ("code == -9", [0, 0, 1, 0]),
        ("participant_id == 'sub-1' or (session_id == 'ses-1' and site == \"HH's\")", [1, 0, 0, 1]),
        ("site == '`HH`'", [0, 0, 0, 0]),
    ],
)
def test_conditions(expression: str, expected: list[int]) -> None:
    assert where(PEOPLE, expression).astype(int).tolist() == expected


@pytest.mark.parametrize(
    "expression, match",
    [
        ("site = 'HH'", "must read like .* \"site = 'HH'\" does not"),
        ("age >", "must read like"),
        ("sight == 'HH'", "'sight' of .* is none; known are 'age', 'age at onset'"),
        ("`no such` == 1", "'no such' of .* is none"),
        ("age", "holds 'age'; write it like"),
        ("age + 1 > 3", "holds 'age [+] 1'"),
        ("age == True", "holds 'True'"),
        ("age in 'HH'", "holds \"'HH'\""),
        ("age is 3", "holds 'age'"),
        ("missing('age')", "holds \"missing[(]'age'[)]\""),
        ("missing(age, key=1)", "holds 'missing"),
        ("__import__('os').system('x') == 1", 'holds "__import__'),
        ("site.upper() == 'HH'", "holds 'site.upper[(][)]'"),
        ("[one for one in age] == 1", r"holds '\[one for"),
        ("-'HH' == site", "holds \"'HH'\""),
        ("code > 3", "'code > 3' compares 'x' with '3' in row 3; write n/a"),
    ],
)
def test_other_expressions_are_refused(expression: str, match: str) -> None:
    with pytest.raises(CohortError, match=match):
        where(PEOPLE, expression)


def test_cells_that_are_no_text() -> None:
    table = pd.DataFrame({"n": [1, 2], "x": [1.5, None], "b": [True, False]})
    assert where(table, "n == 1 and x == 1.5").tolist() == [True, False]
    assert where(table, "missing(x)").tolist() == [False, True]
