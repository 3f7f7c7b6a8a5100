from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.cohort.tables import read_table
from featx.analysis.cohort.tabular import features_from_table
from featx.analysis.features import Images, combine, is_table, table_columns
from featx.errors import CohortError

from ..conftest import feature_set


def table(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=object)


def images(*names: str) -> Images:
    parts = [(one.split("_") + [""])[:2] for one in names]
    columns = [list(names), [one[0] for one in parts], [one[1] for one in parts]]
    return Images(*(np.array(column, dtype=object) for column in columns))


VOLUMES = table(participant_id=["sub-2", "sub-1", "sub-3"], left=["20", "10.5", None], right=["2", "1", "3"])


def test_a_table_alone() -> None:
    one = features_from_table("volumes", VOLUMES)
    assert one.image_id.tolist() == one.participant_id.tolist() == ["sub-1", "sub-2", "sub-3"]
    assert one.session_id.tolist() == ["", "", ""]
    np.testing.assert_array_equal(one.X, [[10.5, 1], [20, 2], [np.nan, 3]])
    assert one.X.dtype == np.float64
    assert is_table(one)
    assert set(one.provenance) == set(schema.names(schema.PROVENANCE))
    assert table_columns(one.provenance) == ("left", "right")


def test_sessions_are_part_of_the_image() -> None:
    one = features_from_table(
        "volumes", table(participant_id=["b", "a", "a"], session_id=["", "2", "1"], v=["3", "2", "1"])
    )
    assert one.image_id.tolist() == ["a_1", "a_2", "b"]
    assert one.session_id.tolist() == ["1", "2", ""]
    assert one.X.tolist() == [[1], [2], [3]]


def test_rows_of_images() -> None:
    found = images("sub-1_ses-1", "sub-1_ses-2", "sub-2", "sub-9")
    one = features_from_table("volumes", VOLUMES, images=found)
    assert one.image_id.tolist() == ["sub-1_ses-1", "sub-1_ses-2", "sub-2"]
    assert one.X.tolist() == [[10.5, 1], [10.5, 1], [20, 2]]
    network = feature_set("net", np.arange(4.0)[:, None], list(found.image_id))
    both = combine([network, one])
    assert both.X.tolist() == [[0, 10.5, 1], [1, 10.5, 1], [2, 20, 2]]
    assert both.dropped == ("sub-9",)
    with pytest.raises(CohortError, match="'volumes' has none of the images' people, such as 'x'; write both"):
        features_from_table("volumes", VOLUMES, images=images("x"))


def test_the_key_is_of_the_columns_in_their_order() -> None:
    one = features_from_table("volumes", VOLUMES)
    other = features_from_table("other", VOLUMES.iloc[:2])
    assert one.key == other.key
    turned = features_from_table("volumes", VOLUMES, columns=["right", "left"])
    assert turned.key != one.key
    assert turned.X[0].tolist() == [1, 10.5]


@pytest.mark.parametrize(
    "columns, match",
    [
        ({"participant_id": ["a"]}, "has ids only"),
        ({"id": ["a"], "v": ["1"]}, "must have a column 'participant_id'; 'volumes' has 'id', 'v'"),
        ({"participant_id": ["a", "sub-a"], "v": ["1", "2"]}, "the table 'volumes' has 'a' in rows 0 and 1"),
        (
            {"participant_id": ["a", "b"], "v": ["1", "2"], "sex": ["M", None], "site": ["1", "HH"]},
            "holds other things in 'sex', 'site'; name the columns",
        ),
        ({"": ["1"], "participant_id": ["a"], "v": ["1"]}, "holds other things in ''; name the columns"),
        ({"participant_id": ["a"], "v": ["inf"]}, "'v' of 'volumes' holds 'inf', at participant 'a'; write"),
        ({"participant_id": ["a"], "v": ["-1e39"]}, "'v' of 'volumes' holds '-1e39'"),
    ],
)
def test_tables_without_numbers_are_refused(columns: dict[str, list[object]], match: str) -> None:
    with pytest.raises(CohortError, match=match):
        features_from_table("volumes", table(**columns))


def test_chosen_columns() -> None:
    mixed = VOLUMES.assign(sex="M")
    assert features_from_table("volumes", mixed, columns=["right", "right"]).X.tolist() == [[1], [2], [3]]
    with pytest.raises(CohortError, match="'sex' of 'volumes' holds 'M', at participant 'sub-2'"):
        features_from_table("volumes", mixed, columns=["sex"])
    with pytest.raises(CohortError, match="'lft' is not in 'volumes'; known are 'left', 'right', 'sex'"):
        features_from_table("volumes", mixed, columns=["lft"])


@pytest.mark.parametrize("name", ["", "each", "all", "a+b", "a*", "a/b", "my volumes"])
def test_names_that_mean_something_else(name: str) -> None:
    with pytest.raises(CohortError, match="a name of letters, digits and _.@-, and not each or all; got"):
        features_from_table(name, VOLUMES)


@pytest.mark.data
def test_volumes_of_ixi(data: Path) -> None:
    one = features_from_table("volumes", read_table(data / "ixi" / "regional_volumes.tsv"))
    assert one.X.shape == (185, 260)
    assert table_columns(one.provenance)[:2] == ("muse_702", "muse_701")
    assert one.X[0, 0] == 1652136.0
