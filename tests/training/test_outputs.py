"""Outputs are made of training labels alone; weights are scikit-learn's; every refusal says why."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS, ORDINAL
from featx.analysis.heads.direct import positive_class
from featx.analysis.heads.softbins import SoftBins
from featx.errors import AnalysisError, TrainingError
from featx.networks import output as form
from featx.networks.output import REGRESSION, SOFT_BINS, Output
from featx.schema import REASONS
from featx.training.outputs import check_labels, class_weights, make_output, row_weights, to_predicted

NAN = float("nan")
AGES = np.array([42.0, NAN, 55.3, 61.9, NAN, 82.0])
LEVELS = ("never", "previous", "current")


def test_a_regression_is_in_standard_deviations_of_those_with_a_label() -> None:
    output = make_output("age", CONTINUOUS, (), AGES, numbers=REGRESSION)
    present = AGES[~np.isnan(AGES)]
    assert (output.target, output.form, output.width, output.classes) == ("age", REGRESSION, 1, ())
    np.testing.assert_allclose(output.values, (present.mean(), present.std()), rtol=1e-14)


def test_soft_bins_are_those_of_the_head() -> None:
    present = AGES[~np.isnan(AGES)]
    head = SoftBins([1.0], cv=2).fit(np.arange(4.0)[:, None], present)
    output = make_output("age", CONTINUOUS, (), AGES, numbers=SOFT_BINS)
    assert (output.form, output.width) == (SOFT_BINS, len(head.centres_))
    assert output.values == tuple(head.centres_)
    assert np.ptp(output.values[:2]) == 1.0  # Peng's width for 42 to 82 years


def test_classes_have_a_column_each() -> None:
    sex = make_output("sex", BINARY, ("F", "M"), np.array([0.0, 1.0, NAN]), numbers=SOFT_BINS)
    assert sex == Output("sex", form.CLASSES, 2, (1.0,), ("F", "M"))
    site = make_output("site", MULTICLASS, ("a", "b", "c"), np.array([2.0, 0.0, 1.0]), numbers=REGRESSION)
    assert site == Output("site", form.CLASSES, 3, (), ("a", "b", "c"))


def test_ordered_levels_have_a_column_per_step_also_where_nobody_is_of_one() -> None:
    y = np.array([1.0, 4.0, NAN, 4.0])
    output = make_output("smoking", ORDINAL, LEVELS, y, numbers=REGRESSION, levels=(1.0, 2.0, 4.0))
    assert output == Output("smoking", form.ORDINAL, 2, (1.0, 2.0, 4.0), LEVELS)


def test_facts_are_plain_numbers() -> None:
    for numbers in (REGRESSION, SOFT_BINS):
        values = make_output("age", CONTINUOUS, (), AGES, numbers=numbers).values
        assert {type(one) for one in values} == {float}


@pytest.mark.parametrize(
    "kind, classes, y, code, sentence",
    [
        (CONTINUOUS, (), [NAN, NAN], "all-missing", r"'x' has 0, among 0 of them with a value; use other folds"),
        (CONTINUOUS, (), [3.0, NAN, 3.0], "constant-target", r"two values or more .* 'x' has 1, among 2 of them"),
        (ORDINAL, LEVELS, [1.0, 1.0], "constant-target", r"two values or more .* 'x' has 1, among 2"),
        (BINARY, ("F", "M"), [1.0, 1.0, 1.0], "constant-target", r"two values or more .* 'x' has 1, among 3"),
        (MULTICLASS, LEVELS, [0.0, 2.0, NAN], "too-few-people", r"'previous' of 'x' is not, among 2 with a value"),
        (
            CONTINUOUS,
            (),
            [1.0, np.inf, 2.0],
            "non-finite-target",
            r"finite; 'x' is not in 1 of 3 rows; write the num",
        ),
        (BINARY, ("F", "M"), [0.0, 2.0, 1.0], "wrong-kind", r"code of a class, one of 0, 1; 'x' is 2 in 1 of 3 rows"),
        (ORDINAL, LEVELS, [1.0, 2.5, 3.0], "wrong-kind", r"number of a level, one of 1, 2, 3; 'x' is 2.5 in 1 of 3"),
    ],
)
def test_labels_that_nothing_can_be_learned_of_are_refused(
    kind: str, classes: tuple[str, ...], y: list[float], code: str, sentence: str
) -> None:
    with pytest.raises(TrainingError, match=sentence) as refused:
        make_output("x", kind, classes, np.array(y), numbers=REGRESSION, levels=(1.0, 2.0, 3.0))
    assert refused.value.code == code
    assert code in REASONS


@pytest.mark.parametrize("levels", [(), (1.0, 2.0), (2.0, 1.0, 3.0), (1.0, 1.0, 2.0)])
def test_levels_without_a_number_each_are_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(AnalysisError, match=r"a number each, ascending; 'x' has 3 levels and the numbers \("):
        make_output("x", ORDINAL, LEVELS, np.array([1.0, 2.0]), numbers=REGRESSION, levels=levels)


def test_an_unknown_way_to_answer_is_refused() -> None:
    with pytest.raises(AnalysisError, match="'bins' is not, for 'age'; known are 'regression', 'soft-bins'"):
        make_output("age", CONTINUOUS, (), AGES, numbers="bins")


def test_labels_of_others_need_only_have_a_place() -> None:
    age = make_output("age", CONTINUOUS, (), AGES, numbers=SOFT_BINS)
    check_labels(age, np.array([NAN, 3.0, 140.0]))  # beyond the bins, which are open
    sex = Output("sex", form.CLASSES, 2, classes=("F", "M"))
    check_labels(sex, np.array([1.0, NAN]))
    with pytest.raises(TrainingError, match="finite; 'age' is not in 1 of 2 rows"):
        check_labels(age, np.array([NAN, -np.inf, 60.0]))
    with pytest.raises(TrainingError, match="one of 0, 1; 'sex' is -1 in 2 of 3 rows; give the target its own kind"):
        check_labels(sex, np.array([-1.0, 0.5, 1.0]))


def test_class_weights_are_scikit_learns_balanced_ones() -> None:
    codes = np.random.default_rng(0).choice(3, 200, p=[0.7, 0.2, 0.1])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=codes)
    with_missing = np.append(codes.astype(float), [NAN] * 17)
    np.testing.assert_allclose(class_weights(with_missing, 3), expected, rtol=1e-14)


def test_a_class_without_a_row_has_no_weight() -> None:
    with pytest.raises(TrainingError, match="class 1 of 3 has none, among 2; do without weights") as refused:
        class_weights(np.array([0.0, 2.0, NAN]), 3)
    assert refused.value.code == "too-few-people"


def test_sampling_draws_every_class_as_often_and_the_unlabelled_as_a_mean_row() -> None:
    codes = np.array([0.0] * 6 + [3.0] * 2 + [1.0] + [NAN] * 5)
    weights = row_weights(codes)
    totals = [weights[codes == code].sum() for code in (0, 1, 3)]
    np.testing.assert_allclose(totals, 3.0, rtol=1e-14)
    np.testing.assert_allclose(weights[np.isnan(codes)], weights[~np.isnan(codes)].mean(), rtol=1e-14)


def test_rows_without_any_code_are_drawn_alike() -> None:
    assert row_weights(np.array([NAN, NAN])).tolist() == [1.0, 1.0]


def test_predictions_are_as_an_arm_holds_them() -> None:
    age, sex = Output("age", REGRESSION, 1, (50.0, 10.0)), Output("sex", form.CLASSES, 2, classes=("F", "M"))
    numbers = to_predicted(age, np.array([[61.5], [33.25]], dtype=np.float32))
    assert numbers.dtype == np.float64
    assert numbers.tolist() == [61.5, 33.25]
    level = Output("smoking", form.ORDINAL, 2, (0.0, 1.0, 2.0), LEVELS)
    assert to_predicted(level, np.array([[0.5], [1.5]])).tolist() == [0.5, 1.5]
    both = to_predicted(sex, np.array([[0.75, 0.25]], dtype=np.float32))
    assert both.tolist() == [[0.75, 0.25]]
    site = Output("site", form.CLASSES, 3, classes=("a", "b", "c"))
    assert to_predicted(site, np.array([[0.5, 0.25, 0.25]])).tolist() == [[0.5, 0.25, 0.25]]


@pytest.mark.parametrize("bad", [NAN, np.inf])
def test_predictions_that_are_no_numbers_are_refused(bad: float) -> None:
    site = Output("site", form.CLASSES, 3, classes=("a", "b", "c"))
    decoded = np.array([[0.5, 0.25, 0.25], [bad, 0.5, 0.5]])
    with pytest.raises(
        TrainingError, match="finite; those of 'site' are not in 1 of 2 rows; train with a lower"
    ) as no:
        to_predicted(site, decoded)
    assert no.value.code in REASONS


@pytest.mark.parametrize(
    "classes, place", [(("F", "M"), 1.0), (("man", "woman"), 0.0), (("case", "control"), 0.0), (("a", "b"), 1.0)]
)
def test_a_tap_reads_the_class_that_the_head_direct_takes_it_for(classes, place):
    output = make_output("y", "binary", classes, np.array([0.0, 1.0]), numbers="regression")
    assert output.values == (place,)
    assert positive_class(classes) in (None, int(place))
