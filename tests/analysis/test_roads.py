from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featx.analysis import grams, roads
from featx.analysis.grams import Data
from featx.analysis.roads import Options, Task


def example() -> tuple[Data, Task]:
    rng = np.random.default_rng(4)
    data = Data(rng.standard_normal((50, 6)), rng.standard_normal((50, 2)), rng.standard_normal((50, 3)))
    train = rng.integers(0, 40, 45)
    pairs = ((np.arange(10, 45), np.arange(10)), (np.repeat(np.arange(30), 2), np.arange(35, 45)))
    return data, Task(train, np.arange(40, 50), pairs)


def test_parts_are_always_on_one_side() -> None:
    data, task = example()
    tall = roads.sum_parts(data, task)
    n_rows = [len(side) for pair in task.pairs for side in pair]
    assert tall.weights.shape[0] == 5
    for line, n in zip(tall.weights, [len(task.train), *n_rows], strict=True):
        assert grams.combine(tall.sums, line).AA[0, 0] == n
    drawn = grams.combine(tall.sums, tall.weights[3])
    expected = grams.sum_rows(data, task.train[task.pairs[1][0]], tall.shift)
    np.testing.assert_allclose(drawn.AA, expected.AA, atol=1e-12)
    np.testing.assert_allclose(drawn.AY, expected.AY, atol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_missing_labels_are_subtracted_or_the_others_summed(share: float) -> None:
    data, task = example()
    lost = np.random.default_rng(0).random(50) < share
    data.Y[lost, 1] = np.nan
    there = ~np.isnan(data.Y[task.train, 1])
    full = roads.sum_parts(data, task)
    tall = roads.without_missing(data, task, full, there, np.array([1]))
    own = replace(data, Y=data.Y[:, [1]])
    for at, sums in enumerate(tall.sums):
        expected = grams.sum_rows(own, task.train[there & (full.part == at)], tall.shift)
        np.testing.assert_allclose(sums.AA, expected.AA, atol=1e-12)
        np.testing.assert_allclose(sums.AY, expected.AY, atol=1e-12)
        np.testing.assert_allclose(sums.YY, expected.YY, atol=1e-12)
        inside = full.part == at
        if 0 < (inside & ~there).sum() <= (inside & there).sum():
            np.testing.assert_allclose(tall.lost[at], (full.sums[at].AA - expected.AA).diagonal(), atol=1e-12)


@pytest.mark.parametrize("remove", grams.REMOVALS)
def test_both_roads_arrive_at_the_same_place(remove: str) -> None:
    data, task = example()
    options = Options(np.logspace(-2, 3, 6), remove, keep_coef=True)
    tall = roads.sum_if_tall(data, task)
    errors = [roads.validation_errors(data, task, options, one) for one in (tall, None)]
    np.testing.assert_allclose(errors[0], errors[1], rtol=1e-9)
    one, other = (roads.fit(data, task, options, errors[0], one) for one in (tall, None))
    for name, value in vars(one).items():
        np.testing.assert_allclose(value, getattr(other, name), rtol=1e-8, atol=1e-10, err_msg=name)


def test_more_features_than_rows_are_not_summed() -> None:
    data, task = example()
    wide = replace(data, X=np.ones((50, 46)))
    assert roads.sum_if_tall(wide, task) is None
