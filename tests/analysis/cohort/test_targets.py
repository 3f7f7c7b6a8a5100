from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS, infer_kind, make_target
from featx.errors import TargetError


def series(values: list[object]) -> pd.Series:
    return pd.Series(values, index=[f"sub-{at}" for at in range(len(values))], name="it")


@pytest.mark.parametrize(
    "values, kind",
    [
        (["1.5", "2", "3"], CONTINUOUS),
        ([1.5, 2.0, 3.0], CONTINUOUS),
        (["0", "1", "1.0"], BINARY),
        ([True, False, True], BINARY),
        (["M", "F", None], BINARY),
        (list("abca"), MULTICLASS),
        (["1", "old", "young", "old"], MULTICLASS),
        ([str(one) for one in range(30)], CONTINUOUS),
    ],
)
def test_kind_is_inferred(values: list[object], kind: str) -> None:
    assert infer_kind(series(values)) == kind


@pytest.mark.parametrize(
    "values, override, kind",
    [
        (["0", "1", "1"], CONTINUOUS, CONTINUOUS),
        (["1", "2", "3"], MULTICLASS, MULTICLASS),
        (["1", "2", "3+", "1"], MULTICLASS, MULTICLASS),
        (["M", "F"], BINARY, BINARY),
    ],
)
def test_kind_is_overridden(values: list[object], override: str, kind: str) -> None:
    assert infer_kind(series(values), override) == kind


@pytest.mark.parametrize(
    "values, override, code, match",
    [
        ([None, None], None, "all-missing", "'it' is empty for every matched person"),
        (["3", "3.0", None], None, "constant-target", "'it' is '3' for all 2 matched rows"),
        (["1", "2", "inf"], None, "non-finite-target", "'it' is 'inf', at participant 'sub-2'"),
        (["1", "2", "old"], None, "not-a-number", "'it' holds 'old', at participant 'sub-2'"),
        (["M", "F"], CONTINUOUS, "not-a-number", "'it' holds 'M', at participant 'sub-0'"),
        ([f"x{one}" for one in range(21)], None, "too-many-classes", "at most 20 levels; 'it' has 21"),
        ([str(one) for one in range(30)], MULTICLASS, "too-many-classes", "'it' has 30"),
        (["1", "2", "3"], BINARY, "wrong-kind", "a binary target must have two levels; 'it' has 3"),
        (["a", "b"], MULTICLASS, "wrong-kind", "must have three levels or more; 'it' has 2"),
        (["a", "b"], "binray", "wrong-kind", "'binray' is not, for 'it'; known are 'binary'"),
    ],
)
def test_bad_targets_are_refused(values: list[object], override: str | None, code: str, match: str) -> None:
    with pytest.raises(TargetError, match=match) as caught:
        infer_kind(series(values), override)
    assert caught.value.code == code
    assert code in schema.REASONS


def test_unknown_target_is_answered_with_the_columns() -> None:
    with pytest.raises(TargetError, match="'aeg' is not; known are 'age', 'sex'") as caught:
        make_target(pd.DataFrame({"age": ["1"], "sex": ["F"]}), "aeg")
    assert caught.value.code == "unknown-target"
    many = pd.DataFrame({f"column{at}": ["1"] for at in range(50)} | {"age": ["1"]})
    with pytest.raises(TargetError, match="it has 51 columns, nearest 'age'"):
        make_target(many, "agee")


def test_missing_values_are_left_out_not_filled() -> None:
    target = make_target(pd.DataFrame({"age": ["3.5", None, "4"]}), "age", CONTINUOUS)
    assert target.rows.tolist() == [0, 2]
    assert target.y.tolist() == [3.5, 4.0]


def test_levels_that_are_numbers_are_sorted_as_numbers() -> None:
    target = make_target(pd.DataFrame({"x": ["10", "2", "10.0"]}), "x")
    assert target.classes == ("2", "10")
    assert target.y.tolist() == [1, 0, 1]
    assert target.y.dtype == np.int64
