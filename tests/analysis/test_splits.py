from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS
from featx.analysis.splits import TEST, _check_classes_everywhere, make_design
from featx.errors import TargetError


def people(n: int, images: int = 1) -> np.ndarray:
    return np.repeat([f"sub-{at:03d}" for at in range(n)], images).astype(object)


@pytest.mark.parametrize("kind", [CONTINUOUS, BINARY, MULTICLASS])
@pytest.mark.parametrize("images", [1, 3])
def test_no_participant_is_on_two_sides(kind: str, images: int) -> None:
    rng = np.random.default_rng(0)
    groups = people(40, images)
    y = rng.standard_normal(len(groups))
    if kind != CONTINUOUS:
        y = np.repeat(rng.permutation(np.arange(40) % (2 if kind == BINARY else 3)), images)
        y[0] = (y[0] + 1) % 2  # somebody changes class between sessions, where there are several
    design = make_design(y, groups, kind=kind, n_splits=5, n_inner=4)
    assert design.n_splits == 5
    for k in range(6):
        train, test = design.rows(k)
        assert len(train) + len(test) == len(groups)
        assert not set(groups[train]) & set(groups[test])
        assert (design.inner[k][test] == TEST).all()
        held = []
        for fit, valid in design.inner_pairs(k):
            assert not set(groups[train][fit]) & set(groups[train][valid])
            assert len(fit) + len(valid) == len(train)
            held.extend(valid)
        assert sorted(held) == list(range(len(train)))


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    y, groups = rng.standard_normal(30), people(30)
    order = rng.permutation(30)
    one = make_design(y, groups, kind=CONTINUOUS, n_splits=5)
    other = make_design(y[order], groups[order], kind=CONTINUOUS, n_splits=5)
    assert (one.fold[order] == other.fold).all()
    assert all((a[order] == b).all() for a, b in zip(one.inner, other.inner, strict=True))
    assert (one.fold != make_design(y, groups, kind=CONTINUOUS, n_splits=5, random_state=1).fold).any()


def test_folds_are_stratified() -> None:
    y = np.random.default_rng(0).permutation(100).astype(float)
    fold = make_design(y, people(100), kind=CONTINUOUS, n_splits=10).fold
    assert (np.bincount(fold) == 10).all()
    for k in range(10):  # one of each tenth
        assert sorted((y[fold == k] // 10).astype(int)) == list(range(10))
    classes = (np.arange(100) < 30).astype(np.int64)
    fold = make_design(classes, people(100), kind=BINARY, n_splits=10).fold
    assert [int(classes[fold == k].sum()) for k in range(10)] == [3] * 10


def test_tied_numbers_still_make_folds() -> None:
    y = np.r_[np.zeros(38), 1.0, 2.0]
    assert (np.bincount(make_design(y, people(40), kind=CONTINUOUS, n_splits=10).fold) == 4).all()


def test_inner_folds_are_as_many_as_the_smallest_class_allows() -> None:
    y = (np.arange(40) < 4).astype(np.int64)
    design = make_design(y, people(40), kind=BINARY, n_splits=4, n_inner=5)
    assert [len(design.inner_pairs(k)) for k in range(5)] == [3, 3, 3, 3, 4]


@pytest.mark.parametrize(
    "y, kind, match",
    [
        (np.arange(3.0), CONTINUOUS, "at least 20 people for 10 folds; 'it' has 3 people; use fewer --folds"),
        (np.array([0, 1, 1]), BINARY, "at least 10 people in each class for 10 folds; 'it' has a class with 1 p"),
    ],
)
def test_three_people_are_too_few(y: np.ndarray, kind: str, match: str) -> None:
    with pytest.raises(TargetError, match=match) as caught:
        make_design(y, people(3), kind=kind, name="it")
    assert caught.value.code == "too-few-people"


def test_images_are_not_people() -> None:
    with pytest.raises(TargetError, match="'it' has 3 people"):
        make_design(np.arange(30.0), people(3, 10), kind=CONTINUOUS, name="it")


@pytest.mark.parametrize("kind, y", [(CONTINUOUS, np.arange(4.0)), (BINARY, np.array([0, 0, 1, 1]))])
def test_too_few_for_inner_folds(kind: str, y: np.ndarray) -> None:
    with pytest.raises(TargetError, match=r"inner folds must have .* 'it' has fewer in the training people of outer"):
        make_design(y, people(4), kind=kind, name="it", n_splits=2)


def test_a_class_that_is_all_in_one_fold_is_refused() -> None:
    """Only people who change class between sessions can bring it about: they count to one stratum."""
    with pytest.raises(TargetError, match="'it' has one whose people are all among the 2 test rows") as caught:
        _check_classes_everywhere(np.array([0, 1, 0, 0]), np.array([0, 0, 1, 1]), "it")
    assert caught.value.code == "too-few-people"


def test_classes_that_change_within_people_are_counted_by_person() -> None:
    y = np.array([0, 0, 1] * 5 + [0, 1, 1] * 5)
    with pytest.raises(TargetError, match="at least 10 people in each class .* a class with 5 people") as caught:
        make_design(y, people(10, 3), kind=BINARY, name="it")
    assert caught.value.code == "too-few-people"
