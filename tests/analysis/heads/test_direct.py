"""A network's own answer is passed on as it is, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.cohort.targets import BINARY, CONTINUOUS, ORDINAL
from featx.analysis.heads import (
    HeadOptions,
    chosen_parameters,
    fitted_arrays,
    form_of,
    make_head,
    predict_arrays,
    predict_with,
)
from featx.analysis.heads.direct import positive_class
from featx.errors import AnalysisError

AGES = np.array([[63.5], [41.0], [20.25]], dtype=np.float32)
SHARES = np.array([[0.25], [1.0], [0.0]], dtype=np.float32)


@pytest.mark.parametrize("kind", [CONTINUOUS, ORDINAL])
def test_numbers_are_the_column(kind: str) -> None:
    head = make_head("direct", kind, cv=[]).fit(AGES, np.array([60.0, 40.0, 20.0]))
    assert predict_with(head, kind, AGES[::-1]).tolist() == [20.25, 41.0, 63.5]
    assert fitted_arrays("direct", head) == {"positive": 1}
    assert chosen_parameters("direct", head) == {}
    assert predict_arrays(form_of("direct"), kind, {}, AGES).tolist() == [63.5, 41.0, 20.25]


def test_of_two_classes_it_is_the_probability_of_the_second() -> None:
    head = make_head("direct", BINARY, cv=[]).fit(SHARES, np.array(["F", "M", "F"]))
    expected = [[0.75, 0.25], [0.0, 1.0], [1.0, 0.0]]
    assert predict_with(head, BINARY, SHARES).tolist() == expected
    assert predict_arrays(form_of("direct"), BINARY, fitted_arrays("direct", head), SHARES).tolist() == expected
    assert head.predict(SHARES).tolist() == ["F", "M", "F"]


@pytest.mark.parametrize("codes", [["woman", "man", "woman"], [1, 0, 1]])
def test_of_levels_in_the_other_order_it_is_the_probability_of_the_first(codes: list[object]) -> None:
    head = make_head("direct", BINARY, cv=[], options=HeadOptions(classes=("man", "woman")))
    head.fit(SHARES, np.array(codes))
    expected = [[0.25, 0.75], [1.0, 0.0], [0.0, 1.0]]
    assert predict_with(head, BINARY, SHARES).tolist() == expected
    assert predict_arrays(form_of("direct"), BINARY, fitted_arrays("direct", head), SHARES).tolist() == expected
    assert head.predict(SHARES).tolist() == codes


@pytest.mark.parametrize("classes, codes", [(("1", "2"), [0, 1, 0]), ((), [1, 2, 1])])
def test_levels_that_do_not_say_which_is_meant_are_refused(classes: tuple[str, ...], codes: list[int]) -> None:
    head = make_head("direct", BINARY, cv=[], options=HeadOptions(classes=classes))
    with pytest.raises(
        AnalysisError, match="name says so; '1' and '2' do not say which one is meant; recode the class"
    ):
        head.fit(SHARES, np.array(codes))


@pytest.mark.parametrize(
    "other, meant",
    [
        *((other, meant) for other in ("F", "female", "w", "Woman", "girl") for meant in ("m", "Male", "man", "BOY")),
        ("0", "1"), ("no", "Yes"), ("False", "True"), ("control", "case"), ("Control", "patient"), (" f ", "M "),
    ],
)  # fmt: skip
def test_levels_go_by_their_meaning_and_not_by_their_order(other: str, meant: str) -> None:
    assert positive_class((other, meant)) == 1
    assert positive_class((meant, other)) == 0


@pytest.mark.parametrize("classes", ["12", "ab", "m1", "02", ("no", "1"), ("male", "case"), ("-1", "1"), "mm"])
def test_levels_that_do_not_say_which_one_is_meant(classes: str | tuple[str, str]) -> None:
    assert positive_class(tuple(classes)) is None


@pytest.mark.parametrize("kind", [CONTINUOUS, ORDINAL])
def test_probabilities_are_no_numbers_of_a_target_beyond_them(kind: str) -> None:
    says = r"unit of the target, which goes here from 20 to 60; every one of 3 lies from 0 to 1, .* do; name the set"
    with pytest.raises(AnalysisError, match=says):
        make_head("direct", kind, cv=[]).fit(SHARES, np.array([60.0, 40.0, 20.0]))
    for X, y in (
        (SHARES, [0.0, 1.0, 0.5]),
        (SHARES + [[0], [0.01], [0]], [60.0, 40.0, 20.0]),
        (AGES, [0.1, 0.2, 0.3]),
    ):
        head = make_head("direct", kind, cv=[]).fit(X, np.array(y))
        assert head.predict(SHARES).tolist() == SHARES[:, 0].tolist()


@pytest.mark.parametrize("kind", [CONTINUOUS, BINARY])
def test_what_cannot_be_an_answer_is_refused(kind: str) -> None:
    y = np.array([0, 1, 1])
    with pytest.raises(AnalysisError, match="must be one column; 2 were got; name the feature set that holds it"):
        make_head("direct", kind, cv=[]).fit(np.ones((3, 2)), y)
    with pytest.raises(AnalysisError, match="must be one column; 0 were got"):
        make_head("direct", kind, cv=[]).fit(np.ones((3, 0)), y)
    with pytest.raises(AnalysisError, match="taken as it is; confounds, sites or components were to be treated"):
        make_head("direct", kind, cv=[], prepare=Prepare(pca=1)).fit(SHARES, y)
    with pytest.raises(AnalysisError, match="features must be finite"):
        make_head("direct", kind, cv=[]).fit(np.array([[0.1], [np.nan], [0.2]]), y)


def test_what_is_no_probability_is_refused_in_training_and_in_new_rows() -> None:
    y = np.array([0, 1, 1])
    says = r"from 0 to 1; 63.5 was got, in 3 of 3 rows; take the prediction of a network"
    with pytest.raises(AnalysisError, match=says):
        make_head("direct", BINARY, cv=[]).fit(AGES, y)
    head = make_head("direct", BINARY, cv=[]).fit(SHARES, y)
    with pytest.raises(AnalysisError, match="-0.5 was got, in 1 of 3 rows"):
        head.predict_proba(np.array([[0.5], [-0.5], [0.1]]))


def test_class_weights_are_refused() -> None:
    with pytest.raises(AnalysisError, match="the class weight 'balanced' must be asked of a head that can use it"):
        make_head("direct", BINARY, cv=[], options=HeadOptions(class_weight="balanced"))
