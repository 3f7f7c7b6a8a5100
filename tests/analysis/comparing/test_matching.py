"""Runs are compared on the same people and folds, or refused with what differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featx.analysis.comparing.matching import Side, by_people, match, side_of
from featx.analysis.comparing.reading import read_entries
from featx.errors import AnalysisError

from .conftest import RIDGE, SCRATCH, age_run, ages, folds_of, near, people, sure, write_made

FOLD = folds_of(60)


def sides(*folders: Path, target: int = 0) -> list[Side]:
    return [side_of(entry, entry.facts["targets"][target]) for entry in read_entries(folders)]


def test_what_two_runs_have_in_common(tmp_path: Path) -> None:
    a = age_run(tmp_path / "a", {RIDGE: (5, 1)}, fold=folds_of(60, 5, 3))
    b = age_run(tmp_path / "b", {SCRATCH: (5, 2)}, fold=folds_of(60, 5, 2), n_seeds=2)
    common = match(sides(a, b), shared=False)
    np.testing.assert_array_equal(common.fold, folds_of(60, 5, 2))  # the repeats that both have; seeds are none
    np.testing.assert_array_equal(common.images, people(60))
    np.testing.assert_allclose(common.observed, ages(60))
    assert (common.kind, common.unit, common.runs, common.smaller) == ("continuous", "years", ("a", "b"), {})
    assert (common.n_train, common.n_test, common.n_people) == (48, 12, 48)
    np.testing.assert_array_equal(common.units, [one.removeprefix("sub-") for one in people(60)])


def test_classes_become_codes(tmp_path: Path) -> None:
    y = np.arange(30) % 2
    run = write_made(tmp_path / "a", {"sex": ("binary", y, {RIDGE: sure(y, 1, 0)})}, fold=folds_of(30))
    common = match(sides(run), shared=False)
    np.testing.assert_array_equal(common.observed, y)
    assert common.classes == ("F", "M")


def test_folds_may_have_other_numbers(tmp_path: Path) -> None:
    a = age_run(tmp_path / "a", {RIDGE: (5, 1)}, fold=FOLD)
    b = age_run(tmp_path / "b", {RIDGE: (5, 2)}, fold=4 - FOLD, shared=True)
    assert match(sides(a, b), shared=False).runs == ("a", "b")


def test_other_people_are_refused_or_left_aside(tmp_path: Path) -> None:
    a = age_run(tmp_path / "a", {RIDGE: (5, 1)}, fold=FOLD)
    y = ages(62)
    ids, fold = np.r_[people(50), people(2, 80)], np.c_[FOLD[:, :50], [[0, 1]]]
    b = write_made(
        tmp_path / "b",
        {"age": ("continuous", np.r_[y[:50], 1, 2], {RIDGE: near(np.r_[y[:50], 1, 2], 5, 2)})},
        fold=fold,
        ids=ids,
    )
    lacking = "sub-050, sub-051, sub-052, sub-053, sub-054 and 5 more"
    with pytest.raises(
        AnalysisError,
        match=rf"for 'age', 10 of a are not in b \({lacking}\) and 2 of b are not in a \(sub-080, sub-081\); fit "
        r"both with --splits a/splits.csv, or compare whom they share with --shared-people, or cohorts",
    ):
        match(sides(a, b), shared=False)
    common = match(sides(a, b), shared=True)
    np.testing.assert_array_equal(common.images, people(50))
    np.testing.assert_allclose(common.observed, ages(60)[:50])
    np.testing.assert_array_equal(common.fold, FOLD[:, :50])
    other = write_made(
        tmp_path / "c",
        {"age": ("continuous", y[:20], {RIDGE: near(y[:20], 1, 1)})},
        fold=folds_of(20),
        ids=people(20, 90),
    )
    with pytest.raises(AnalysisError, match="a and c share none for 'age'; fit them on one cohort"):
        match(sides(a, other), shared=True)


def test_other_folds_are_refused(tmp_path: Path) -> None:
    changed = FOLD.copy()
    changed[0, 7], changed[0, 9] = (FOLD[0, 7] + 1) % 5, (FOLD[0, 9] + 1) % 5
    a, b = age_run(tmp_path / "a", {RIDGE: (5, 1)}, fold=FOLD), age_run(tmp_path / "b", {RIDGE: (5, 1)}, fold=changed)
    with pytest.raises(
        AnalysisError, match="for 'age', a and b differ in 2 of 60 images of repeat 0, the first sub-007"
    ):
        match(sides(a, b), shared=False)


def test_other_values_are_refused(tmp_path: Path) -> None:
    y = ages(60)
    a = age_run(tmp_path / "a", {RIDGE: (5, 1)}, fold=FOLD)
    y[3] += 1
    b = write_made(tmp_path / "b", {"age": ("continuous", y, {RIDGE: near(y, 5, 1)})}, fold=FOLD)
    with pytest.raises(
        AnalysisError, match=rf"'age' differs for 1 of 60 images, the first sub-003: {ages(60)[3]} in a, {y[3]} in b"
    ):
        match(sides(a, b), shared=False)
    with pytest.raises(AnalysisError, match="'age' differs for 1 of 60"):
        by_people(sides(a, b))


def test_another_kind_or_other_classes_are_refused(tmp_path: Path) -> None:
    codes = np.arange(60) % 2
    a = age_run(tmp_path / "a", {RIDGE: (5, 1)}, fold=FOLD)
    b = write_made(tmp_path / "b", {"age": ("binary", codes, {RIDGE: sure(codes, 1, 0)})}, fold=FOLD)
    with pytest.raises(AnalysisError, match="the kind of 'age' is continuous in a and binary in b; fit both on one"):
        match(sides(a, b), shared=False)


def test_fewer_who_train_are_points_and_others_are_refused(tmp_path: Path) -> None:
    fold = np.zeros((1, 40), dtype=int)  # a test cohort
    big = age_run(tmp_path / "big", {RIDGE: (5, 1)}, n=40, fold=fold, trainers=people(100, 200))
    also = age_run(tmp_path / "also", {SCRATCH: (5, 2)}, n=40, fold=fold, trainers=people(100, 200))
    small = age_run(tmp_path / "small", {SCRATCH: (9, 3)}, n=40, fold=fold, trainers=people(50, 200))
    common = match(sides(small, big, also), shared=False)
    assert (common.runs, common.smaller, common.n_people) == (("big", "also"), {"small": 50}, 100)
    strange = age_run(tmp_path / "x", {RIDGE: (5, 1)}, n=40, fold=fold, trainers=people(100, 201))
    with pytest.raises(AnalysisError, match=r"'age', 2 only train in one of big and x \(sub-200, sub-300\); fit one"):
        match(sides(big, strange), shared=False)
    assert match(sides(big, strange), shared=True).runs == ("big", "x")
    # folds that all targets share hold people without a value: the sizes are compared
    shared = age_run(tmp_path / "s", {RIDGE: (5, 1)}, n=40, fold=fold, trainers=people(100, 201), shared=True)
    assert match(sides(big, shared), shared=False).runs == ("big", "s")


def test_cohorts_of_several_sizes(tmp_path: Path) -> None:
    big = age_run(tmp_path / "big", {RIDGE: (5, 1)}, n=60)
    y = ages(60)
    nested = write_made(
        tmp_path / "n", {"age": ("continuous", y[:30], {RIDGE: near(y[:30], 5, 1)})}, fold=folds_of(30)
    )
    found = by_people(sides(nested, big))
    assert [[side.name for side in own] for own in found] == [["big"], ["n"]]
    assert [match(own, shared=False).n_people for own in found] == [48, 24]


def test_groups_are_kept_where_the_run_tells_them(tmp_path: Path) -> None:
    run = age_run(tmp_path / "a", {RIDGE: (5, 1)}, n=20)
    ids = people(20)
    rows = "".join(f"{one},{one},,,f{at // 2}\n" for at, one in enumerate(ids))
    (run / "people.csv").write_text("image_id,participant_id,site,age,group\n" + rows)
    common = match(sides(run), shared=False)
    np.testing.assert_array_equal(common.units, [f"f{at // 2}" for at in range(20)])
    assert len(set(common.people)) == 20


def test_a_side_is_of_a_run(tmp_path: Path) -> None:
    (entry,) = read_entries([age_run(tmp_path / "a", {RIDGE: (5, 1)})])
    with pytest.raises(TypeError, match="a side must be of a run; a is none"):
        side_of(type(entry)("a", entry.path, "", {}), entry.facts["targets"][0])
