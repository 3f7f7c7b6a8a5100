"""Columns become answers as the formulas say, written out in numpy and double precision."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch import nn

from featx.networks.architectures.sfcn import ExpectedAge
from featx.networks.decoding import Decode, decode
from featx.networks.output import CLASSES, ORDINAL, REGRESSION, SOFT_BINS, Output

AGE = Output("age", REGRESSION, 1, (54.3, 11.7))
BINS = Output("age", SOFT_BINS, 5, (39.5, 40.5, 41.5, 42.5, 43.5))
SEX = Output("sex", CLASSES, 2, classes=("F", "M"))
SITE = Output("site", CLASSES, 4, classes=("a", "b", "c", "d"))
LEVELS = Output("income", ORDINAL, 3, (1.0, 2.0, 5.0, 6.5), ("low", "middle", "high", "top"))
OUTPUTS = [AGE, BINS, SEX, SITE, LEVELS]


def plain(output: Output, columns: np.ndarray) -> np.ndarray:
    values = np.array(output.values)
    if output.form == REGRESSION:
        return values[0] + values[1] * columns
    if output.form == SOFT_BINS:
        return np.array([[sum(p * c for p, c in zip(softmax(row), values, strict=True))] for row in columns])
    if output.form == CLASSES:
        return np.array([softmax(row) for row in columns])
    steps = [high - low for low, high in pairwise(values)]
    return np.array([[values[0] + sum(h * expit(x) for h, x in zip(steps, row, strict=True))] for row in columns])


def some(output: Output, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    rng = np.random.default_rng(output.width)
    return torch.tensor(3 * rng.standard_normal((7, output.width)), dtype=dtype)


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda one: f"{one.form}{one.width}")
def test_an_answer_is_the_formulas(output: Output) -> None:
    columns = some(output)
    expected = plain(output, columns.numpy())
    answer = decode(output, columns)
    assert answer.dtype == torch.float64
    np.testing.assert_allclose(answer.numpy(), expected, rtol=1e-12)
    single = decode(output, columns.float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=2e-6)


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda one: f"{one.form}{one.width}")
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_first(output: Output, half: torch.dtype) -> None:
    columns = some(output, half)
    with torch.autocast("cpu", torch.bfloat16):
        answers = decode(output, columns), Decode(output)(columns)
    for answer in answers:
        assert answer.dtype == torch.float32
        np.testing.assert_allclose(
            answer.numpy(), plain(output, columns.double().numpy())[:, -answer.shape[1] :], rtol=2e-6
        )


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda one: f"{one.form}{one.width}")
def test_the_module_is_the_function_but_of_two_classes_gives_the_second(output: Output) -> None:
    columns = some(output, torch.float32)
    expected = decode(output, columns)
    assert torch.equal(Decode(output)(columns), expected[:, 1:] if output is SEX else expected)


def test_the_module_leaves_nothing_in_a_checkpoint() -> None:
    network = nn.Sequential(nn.Linear(3, 5), Decode(BINS))
    assert set(network.state_dict()) == {"0.weight", "0.bias"}


def test_soft_bins_are_those_of_peng() -> None:
    bins = Output("age", SOFT_BINS, 40, tuple(42.5 + at for at in range(40)))
    columns = some(bins, torch.float32)
    torch.testing.assert_close(Decode(bins)(columns), ExpectedAge(*bins.values)(columns))


def test_ordered_levels_reach_from_the_lowest_to_the_highest() -> None:
    columns = torch.tensor([[-99.0] * 3, [99.0, -99.0, -99.0], [99.0, 99.0, -99.0], [99.0] * 3])
    assert decode(LEVELS, columns).flatten().tolist() == [1.0, 2.0, 5.0, 6.5]


def test_nan_stays_nan() -> None:
    for output in OUTPUTS:
        assert decode(output, torch.full((1, output.width), float("nan"))).isnan().all()


def test_of_two_classes_the_one_is_read_that_is_meant():
    columns = torch.tensor([[0.3, -0.4], [1.0, 2.0]])
    second = columns.softmax(dim=1)[:, 1:]
    for values, wanted in (((), second), ((1.0,), second), ((0.0,), 1 - second)):
        read = Decode(Output("sex", CLASSES, 2, values, ("man", "woman")))(columns)
        torch.testing.assert_close(read, wanted)
