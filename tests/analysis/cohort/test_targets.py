from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS, ORDINAL, infer_kind, make_target
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
        (["1", "2", "5"], ORDINAL, ORDINAL),
        (["low", "mid", "high"], ORDINAL, ORDINAL),  # make_target asks for their order
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
        (["1", "2"], ORDINAL, "wrong-kind", "an ordinal target must have three levels or more; 'it' has 2"),
        ([str(one) for one in range(21)], ORDINAL, "too-many-classes", "at most 20 levels; 'it' has 21"),
        (["1", "2", "inf"], ORDINAL, "non-finite-target", "'it' is 'inf', at participant 'sub-2'"),
        (["3", "3", None], ORDINAL, "constant-target", "'it' is '3' for all 2"),
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


def frame(values: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, dtype=object)})


def test_ordinal_numbers_keep_their_own_distances() -> None:
    target = make_target(frame(["10", "1", None, "2.0", "2"]), "x", ORDINAL, levels={"1": "few", "10": "many"})
    assert (target.kind, target.classes) == (ORDINAL, ("few", "2", "many"))
    assert target.y.tolist() == [10, 1, 2, 2]
    assert target.y.dtype == np.float64
    assert target.rows.tolist() == [0, 1, 3, 4]


def test_ordinal_text_is_ranked_in_the_order_of_its_levels() -> None:
    levels = {"none": "no pain", "low": "low", "high": "high", "worst": "worst"}
    target = make_target(frame(["high", "none", "low", "low"]), "x", ORDINAL, levels=levels)
    assert target.classes == ("no pain", "low", "high")
    assert target.y.tolist() == [3, 1, 2, 2]
    with pytest.raises(
        TargetError, match="'x' holds 'mid'; write numbers, or list all levels in their order"
    ) as caught:
        make_target(frame(["1", "mid", "low"]), "x", ORDINAL, levels=levels)
    assert caught.value.code == "wrong-kind"


@pytest.mark.parametrize(
    "values, expected, kind",
    [
        (["1", "2", "3"], ORDINAL, ORDINAL),
        (["1", "2"], ORDINAL, BINARY),
        (["low", "mid", "high"], ORDINAL, MULTICLASS),  # nobody knows their order
        ([str(one) for one in range(30)], ORDINAL, CONTINUOUS),
        (["0", "1"], CONTINUOUS, CONTINUOUS),
        (["M", "F"], CONTINUOUS, BINARY),
        (["0", "1", "2"], MULTICLASS, MULTICLASS),
        (["0", "2"], MULTICLASS, BINARY),
        (["0", "1", "2"], BINARY, CONTINUOUS),
    ],
)
def test_an_expected_kind_is_taken_where_it_can_be(values: list[object], expected: str, kind: str) -> None:
    assert infer_kind(series(values), expected=expected) == kind


def test_a_wish_outweighs_what_is_expected() -> None:
    assert infer_kind(series(["1", "2", "3"]), CONTINUOUS, expected=ORDINAL) == CONTINUOUS


def test_numbers_that_all_have_labels_are_classes() -> None:
    values = ["2", "1", "3.0", None]
    levels = {"1": "never", "2.0": "previous", "3": "current"}
    target = make_target(frame(values), "x", levels=levels)
    assert (target.kind, target.classes, target.y.tolist()) == (
        MULTICLASS,
        ("never", "previous", "current"),
        [1, 0, 2],
    )
    assert make_target(frame([*values, "4"]), "x", levels=levels).kind == CONTINUOUS
    assert make_target(frame(values), "x", CONTINUOUS, levels=levels).y.tolist() == [2, 1, 3]


def test_two_codes_under_one_label_stay_codes() -> None:
    target = make_target(frame(["1", "2", "3"]), "x", MULTICLASS, levels={"1": "yes", "2": "yes", "3": "no"})
    assert target.classes == ("1", "2", "3")
