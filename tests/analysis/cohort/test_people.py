from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from featx.analysis.cohort.people import check_people, join, match_rows
from featx.analysis.features import Images
from featx.errors import CohortError


def images(*names: str) -> Images:
    parts = [(one.split("_") + [""])[:2] for one in names]
    columns = [list(names), [one[0] for one in parts], [one[1] for one in parts]]
    return Images(*(np.array(column, dtype=object) for column in columns))


def table(*ids: str, **columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"participant_id": list(ids), **columns})


def test_a_table_names_everybody_once() -> None:
    with pytest.raises(CohortError, match="must have a participant_id; the phenotype table has none in row 1; fill"):
        check_people(table("a", ""))
    with pytest.raises(CohortError, match="volumes has 'a' in rows 0 and 2; keep one of them"):
        check_people(table("sub-a", "b", "a"), "volumes")
    with pytest.raises(CohortError, match="has 'a', session '2', in rows 0 and 1"):
        check_people(table("a", "a", session_id=["ses-2", "2"]))
    in_file = table("a", "a").set_index(pd.Index([2, 7], name="line"))
    with pytest.raises(CohortError, match="in lines 2 and 7"):
        check_people(in_file)


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


def test_rows_of_images() -> None:
    people = table("1", "1", "2", session_id=["ses-a", "b", ""])
    found = match_rows(images("sub-1_ses-b", "sub-2_ses-a", "sub-3"), people)
    assert found.tolist() == [1, 2, -1]
