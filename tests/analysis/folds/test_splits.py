from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS, ORDINAL
from featx.analysis.folds.splits import (
    TRAIN_ONLY,
    Design,
    Folding,
    join_groups,
    make_design,
    restrict,
    sub_splits,
)
from featx.analysis.folds.strata import make_folds
from featx.errors import TargetError


def people(n: int, images: int = 1) -> np.ndarray:
    return np.repeat([f"sub-{at:03d}" for at in range(n)], images).astype(object)


def check_sound(design: Design, groups: np.ndarray) -> None:
    """Nobody is on two sides, of outer or inner folds; every training row is validated once."""
    for split in (*design.splits, design.final):
        assert not set(groups[split.train]) & set(groups[split.test])
        assert len(split.inner) == len(split.train)
        held = []
        for fit, valid in split.inner_pairs():
            assert not set(groups[split.train[fit]]) & set(groups[split.train[valid]])
            held.extend(valid)
        assert sorted(held) == list(range(len(split.train)))
    for repeat in range(design.n_repeats):
        tests = [split.test for split in design.splits if split.repeat == repeat]
        assert sorted(np.concatenate(tests)) == list(np.flatnonzero(design.fold[repeat] != TRAIN_ONLY))


@pytest.mark.parametrize("kind", [CONTINUOUS, ORDINAL, BINARY, MULTICLASS])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("n_repeats", [1, 2])
def test_no_participant_is_on_two_sides(kind: str, images: int, n_repeats: int) -> None:
    rng = np.random.default_rng(0)
    groups = people(40, images)
    y = rng.standard_normal(len(groups))
    if kind in (BINARY, MULTICLASS):
        y = np.repeat(rng.permutation(np.arange(40) % (2 if kind == BINARY else 3)), images)
        y[0] = (y[0] + 1) % 2  # somebody changes class between sessions, where there are several
    design = make_design(y, groups, Folding(n_splits=5, n_inner=4, n_repeats=n_repeats), kind=kind)
    assert len(design.splits) == 5 * n_repeats
    check_sound(design, groups)
    assert (design.fold >= 0).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), n_families=st.integers(12, 30), scheme=st.sampled_from(["kfold", "site", "given"])
)
def test_no_family_is_ever_on_two_sides(seed: int, n_families: int, scheme: str) -> None:
    """Whatever the scheme, with people of several images and families of several people."""
    rng = np.random.default_rng(seed)
    family = np.sort(rng.integers(0, n_families, 60))
    person = np.array([f"p{at}" for at in rng.permutation(np.arange(60))], dtype=object)
    rows = np.sort(rng.integers(0, 60, 120))  # people have none, one or several images
    groups = join_groups(person[rows], family[rows])
    site = (family % 3).astype(str)[rows]
    given_folds = (family[rows] % 5)[None] - (1 if seed % 2 else 0)
    design = make_design(
        rng.standard_normal(120),
        groups,
        Folding(scheme=scheme, n_splits=4, n_inner=3, random_state=seed),
        kind=CONTINUOUS,
        sites=site,
        given=given_folds if scheme == "given" else None,
    )
    check_sound(design, groups)
    check_sound(design, family[rows])


def test_families_that_share_a_person_are_one_group() -> None:
    assert len(set(join_groups(list("abcd"), ["1", "1", "2", "2"]))) == 2
    assert len(set(join_groups(list("abbc"), ["1", "1", "2", "2"]))) == 1


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    y, groups = rng.standard_normal(30), people(30)
    order = rng.permutation(30)
    one = make_design(y, groups, Folding(n_splits=5, n_repeats=2), kind=CONTINUOUS)
    other = make_design(y[order], groups[order], Folding(n_splits=5, n_repeats=2), kind=CONTINUOUS)
    assert (one.fold[:, order] == other.fold).all()
    for a, b in zip(one.splits, other.splits, strict=True):
        assert dict(zip(a.train, a.inner, strict=True)) == dict(zip(order[b.train], b.inner, strict=True))
    assert (one.fold != make_design(y, groups, Folding(n_splits=5, random_state=1), kind=CONTINUOUS).fold).any()


def test_repeats_differ_and_the_first_is_that_of_a_single_run() -> None:
    y = np.random.default_rng(0).standard_normal(40)
    many = make_design(y, people(40), Folding(n_splits=5, n_repeats=3), kind=CONTINUOUS)
    once = make_design(y, people(40), Folding(n_splits=5), kind=CONTINUOUS)
    assert (many.fold[0] == once.fold[0]).all()
    assert len({tuple(one) for one in many.fold}) == 3
    assert [split.repeat for split in many.splits] == [0] * 5 + [1] * 5 + [2] * 5


def test_folds_are_stratified() -> None:
    y = np.random.default_rng(0).permutation(100).astype(float)
    fold = make_folds(y, people(100), kind=CONTINUOUS, n_splits=10, random_state=0)
    assert (np.bincount(fold) == 10).all()
    for k in range(10):  # one of each tenth
        assert sorted((y[fold == k] // 10).astype(int)) == list(range(10))
    classes = (np.arange(100) < 30).astype(np.int64)
    fold = make_folds(classes, people(100), kind=BINARY, n_splits=10, random_state=0)
    assert [int(classes[fold == k].sum()) for k in range(10)] == [3] * 10


def test_folds_are_stratified_by_site_as_well() -> None:
    rng = np.random.default_rng(0)
    classes = rng.permutation(np.arange(120) % 2)
    sites = np.array(["a"] * 84 + ["b"] * 36)
    fold = make_folds(classes, people(120), kind=BINARY, n_splits=4, random_state=0, sites=sites)
    cells = [[((fold == k) & (sites == s) & (classes == c)).sum() for k in range(4)] for s in "ab" for c in (0, 1)]
    assert np.ptp(cells, axis=1).max() <= 1
    sites[80:84] = "c"  # too few to be dealt by themselves: they go with the largest stratum
    fold = make_folds(classes, people(120), kind=BINARY, n_splits=4, random_state=0, sites=sites)
    assert np.ptp(np.bincount(fold)) <= 2
    at_b = [[((fold == k) & (sites == "b") & (classes == c)).sum() for k in range(4)] for c in (0, 1)]
    assert np.ptp(at_b, axis=1).max() <= 1


def test_tied_numbers_still_make_folds() -> None:
    y = np.r_[np.zeros(38), 1.0, 2.0]
    assert (np.bincount(make_folds(y, people(40), kind=CONTINUOUS, n_splits=10, random_state=0)) == 4).all()


def test_inner_folds_are_as_many_as_the_smallest_class_allows() -> None:
    y = (np.arange(40) < 4).astype(np.int64)
    design = make_design(y, people(40), Folding(n_splits=4, n_inner=5), kind=BINARY)
    assert [len(split.inner_pairs()) for split in (*design.splits, design.final)] == [3, 3, 3, 3, 4]


def test_leave_one_site_out_tests_each_site_by_the_others() -> None:
    y, sites = np.arange(30.0), np.repeat(["x", "y", "z"], [10, 19, 1])
    design = make_design(y, people(30), Folding(scheme="site"), kind=CONTINUOUS, sites=sites)
    assert [set(sites[split.test]) for split in design.splits] == [{"x"}, {"y"}, {"z"}]
    assert all(not set(sites[split.train]) & set(sites[split.test]) for split in design.splits)


def test_a_test_cohort_never_trains_not_even_the_head_that_is_kept() -> None:
    fold = np.r_[np.full(20, TRAIN_ONLY), np.zeros(10, dtype=int)][None]
    design = make_design(np.arange(30.0), people(30), Folding(scheme="given"), kind=CONTINUOUS, given=fold)
    (split,) = design.splits
    assert split.test.tolist() == list(range(20, 30))
    assert split.train.tolist() == design.final.train.tolist() == list(range(20))


def test_a_design_for_some_rows_keeps_their_folds() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(50)
    whole = make_design(y, people(50), Folding(n_splits=5, n_repeats=2), kind=CONTINUOUS)
    rows = np.sort(rng.permutation(50)[:37])
    part = restrict(whole, rows, y[rows], kind=CONTINUOUS, name="it")
    check_sound(part, people(37))
    assert (part.fold == whole.fold[:, rows]).all()
    for a, b in zip(whole.splits, part.splits, strict=True):
        inner = dict(zip(a.train, a.inner, strict=True))
        kept = [inner[row] for row in rows[b.train]]
        assert len(set(zip(kept, b.inner, strict=True))) == len(set(kept))  # the same division


def test_sub_splits_are_the_inner_folds() -> None:
    design = make_design(np.arange(40.0), people(40), Folding(n_splits=4, n_inner=4), kind=CONTINUOUS)
    split = design.splits[0]
    subs = sub_splits(split)
    assert sorted(np.concatenate([one.test for one in subs])) == sorted(split.train)
    for one in subs:
        assert not set(one.train) & set(one.test)
        assert not set(one.train) & set(split.test)
        assert len(one.inner_pairs()) == 3


@pytest.mark.parametrize(
    "y, kind, match",
    [
        (np.arange(3.0), CONTINUOUS, "at least 20 people .*; 'it' has 3 people or groups; use fewer --folds"),
        (np.array([0, 1, 1]), BINARY, "at least 10 people in each class .*for 10 folds; 'it' has a class with 1 p"),
    ],
)
def test_three_people_are_too_few(y: np.ndarray, kind: str, match: str) -> None:
    with pytest.raises(TargetError, match=match) as caught:
        make_design(y, people(3), Folding(), kind=kind, name="it")
    assert caught.value.code == "too-few-people"


def test_images_are_not_people_and_people_are_not_families() -> None:
    with pytest.raises(TargetError, match="'it' has 3 people"):
        make_design(np.arange(30.0), people(3, 10), Folding(), kind=CONTINUOUS, name="it")
    groups = join_groups(people(30), np.repeat(["1", "2", "3"], 10))
    with pytest.raises(TargetError, match="'it' has 3 people"):
        make_design(np.arange(30.0), groups, Folding(), kind=CONTINUOUS, name="it")


@pytest.mark.parametrize("kind, y", [(CONTINUOUS, np.arange(4.0)), (BINARY, np.array([0, 0, 1, 1]))])
def test_too_few_for_inner_folds(kind: str, y: np.ndarray) -> None:
    with pytest.raises(TargetError, match=r"inner folds must have .* 'it' has fewer among the 2 people who train"):
        make_design(y, people(4), Folding(n_splits=2), kind=kind, name="it")


def test_classes_that_change_within_people_are_counted_by_person() -> None:
    y = np.array([0, 0, 1] * 5 + [0, 1, 1] * 5)
    with pytest.raises(TargetError, match="at least 10 people in each class .* a class with 5 people") as caught:
        make_design(y, people(10, 3), Folding(), kind=BINARY, name="it")
    assert caught.value.code == "too-few-people"


def test_a_class_that_is_all_in_one_fold_is_refused() -> None:
    y = np.array([0] * 20 + [1] * 5)
    fold = np.r_[np.arange(20) % 2, np.zeros(5, dtype=int)][None]
    with pytest.raises(TargetError, match="'it' has one whose people are all test in one fold") as caught:
        make_design(y, people(25), Folding(scheme="given"), kind=BINARY, name="it", given=fold)
    assert caught.value.code == "too-few-people"
    whole = make_design(np.zeros(25, dtype=int), people(25), Folding(n_splits=3), kind=MULTICLASS)
    rare = np.zeros(25, dtype=int)
    rare[whole.splits[0].test[0]] = 1
    with pytest.raises(TargetError, match="'it' has one whose people are all test in one fold"):
        restrict(whole, np.arange(25), rare, kind=BINARY, name="it")


def test_a_fold_without_people_is_refused() -> None:
    whole = make_design(np.arange(20.0), people(20), Folding(n_splits=4), kind=CONTINUOUS)
    rows = np.flatnonzero(whole.fold[0] != 2)
    with pytest.raises(TargetError, match="every fold must have test people .* 'it', with 15 images"):
        restrict(whole, rows, np.arange(15.0), kind=CONTINUOUS, name="it")
    fold = np.zeros((1, 20), dtype=int)
    with pytest.raises(TargetError, match="every fold must have test people"):
        make_design(np.arange(20.0), people(20), Folding(scheme="given"), kind=CONTINUOUS, name="it", given=fold)


def test_one_site_is_too_few() -> None:
    with pytest.raises(TargetError, match="'it' are all of 'x'; use K folds") as caught:
        make_design(
            np.arange(20.0), people(20), Folding(scheme="site"), kind=CONTINUOUS, name="it", sites=np.full(20, "x")
        )
    assert caught.value.code == "too-few-sites"


def test_given_folds_that_divide_a_person_are_refused() -> None:
    fold = (np.arange(40) % 4)[None]
    with pytest.raises(TargetError, match="'sub-000' is in 2 of repeat 0, for 'it'") as caught:
        make_design(np.arange(40.0), people(20, 2), Folding(scheme="given"), kind=CONTINUOUS, name="it", given=fold)
    assert caught.value.code == "divided-group"
