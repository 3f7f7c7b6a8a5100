"""Losses against loops over rows in scipy; what is missing changes nothing; batches add up to the whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax
from scipy.stats import norm
from sklearn.metrics import log_loss

from featx.analysis.heads import softbins
from featx.networks.output import CLASSES, ORDINAL, REGRESSION, SOFT_BINS, Output
from featx.training.losses import losses, n_present, soft_labels, sums

NAN = float("nan")
AGE = Output("age", REGRESSION, 1, (54.3, 11.7))
BINS = Output("bmi", SOFT_BINS, 9, tuple(16.0 + 2 * at for at in range(9)))
SEX = Output("sex", CLASSES, 2, classes=("F", "M"))
LEVELS = Output("income", ORDINAL, 3, (1.0, 2.0, 5.0, 6.5), ("low", "middle", "high", "top"))
SITE = Output("site", CLASSES, 3, classes=("a", "b", "c"))
OUTPUTS = [AGE, BINS, SEX, LEVELS, SITE]
WIDTHS = [one.width for one in OUTPUTS]
WEIGHTS = [None, None, None, None, torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)]


def made(n: int = 23, missing: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns (n, 18) and labels (n, 5) in float64; some labels are missing, some of bmi lie beyond the bins."""
    rng = np.random.default_rng(n)
    labels = np.column_stack(
        [
            rng.normal(54, 12, n),
            rng.uniform(5, 45, n),
            rng.integers(0, 2, n),
            rng.choice(LEVELS.values, n),
            rng.integers(0, 3, n),
        ]
    )
    labels[rng.uniform(size=labels.shape) < missing] = NAN
    return torch.tensor(2 * rng.standard_normal((n, sum(WIDTHS)))), torch.tensor(labels)


def plain(output: Output, x: np.ndarray, y: float, weights: torch.Tensor | None) -> float:
    """The loss of one row."""
    values = output.values
    if output.form == REGRESSION:
        return float((x[0] - (y - values[0]) / values[1]) ** 2)
    if output.form == CLASSES:
        return float(-log_softmax(x)[int(y)]) * (1.0 if weights is None else float(weights[int(y)]))
    if output.form == ORDINAL:
        above = [y >= level for level in values[1:]]
        return -sum(float(np.log(expit(z if up else -z))) for z, up in zip(x, above, strict=True))
    width = values[1] - values[0]
    edges = [-np.inf, *(centre + width / 2 for centre in values[:-1]), np.inf]
    mass = [norm.cdf(high, y, width) - norm.cdf(low, y, width) for low, high in pairwise(edges)]
    logs = log_softmax(x)
    return float(sum(p * (np.log(p) - q) for p, q in zip(mass, logs, strict=True) if p > 0))


def in_a_loop(columns: torch.Tensor, labels: torch.Tensor) -> list[float]:
    found, first = [], 0
    for at, output in enumerate(OUTPUTS):
        block = columns[:, first : first + output.width].numpy()
        first += output.width
        rows = [plain(output, x, float(y), WEIGHTS[at]) for x, y in zip(block, labels[:, at], strict=True) if y == y]
        found.append(float(np.mean(rows)))
    return found


def test_every_loss_is_the_loops() -> None:
    columns, labels = made()
    np.testing.assert_allclose(
        losses(OUTPUTS, columns, labels, WEIGHTS).numpy(), in_a_loop(columns, labels), rtol=1e-9
    )


def test_cross_entropy_is_scikit_learns() -> None:
    columns, labels = made(missing=0.0)
    share = columns[:, 10:12].softmax(1).numpy()
    found = losses([SEX], columns[:, 10:12], labels[:, 2:3], [None])
    np.testing.assert_allclose(found.numpy(), [log_loss(labels[:, 2].numpy(), share)], rtol=1e-12)


def test_soft_labels_are_those_of_the_head_and_hold_all_mass() -> None:
    y = np.random.default_rng(0).uniform(42, 82, 50)
    width = softbins.bin_width(y)
    centres = softbins.bin_centres(y, width)
    found = soft_labels(Output("age", SOFT_BINS, len(centres), tuple(centres)), torch.tensor(y)).numpy()
    np.testing.assert_allclose(found, softbins.soft_labels(y, centres, width), atol=1.4e-3)  # beyond 3 widths
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-14)


def test_a_label_beyond_the_bins_lies_in_the_outermost() -> None:
    found = soft_labels(BINS, torch.tensor([-1000.0, 1000.0]))
    assert found.tolist() == [[1.0] + [0.0] * 8, [0.0] * 8 + [1.0]]
    total = losses([BINS], torch.zeros(1, 9), torch.tensor([[1000.0]]), [None])
    np.testing.assert_allclose(total.item(), np.log(9), rtol=1e-6)


def test_gradients_are_those_of_finite_differences() -> None:
    columns, labels = made(6)
    columns.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses(OUTPUTS, x, labels, WEIGHTS), (columns,))


def test_what_is_missing_of_one_phenotype_changes_nothing_of_anothers_gradient() -> None:
    columns, labels = made()
    fewer = labels.clone()
    fewer[::2, 1] = NAN
    gradients = []
    for some in (labels, fewer):
        leaf = columns.clone().requires_grad_()
        losses(OUTPUTS, leaf, some, WEIGHTS).sum().backward()
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        gradients.append(leaf.grad)
    of_bmi = torch.zeros(sum(WIDTHS), dtype=torch.bool)
    of_bmi[1:10] = True
    assert torch.equal(gradients[0][:, ~of_bmi], gradients[1][:, ~of_bmi])
    assert not gradients[1][::2, of_bmi].any()
    assert gradients[1][1::2, of_bmi].any()


def test_an_output_without_any_label_costs_nothing_and_pulls_at_nothing() -> None:
    columns, labels = made()
    labels[:, 1] = NAN
    for some in (labels, torch.full_like(labels, NAN)):
        leaf = columns.clone().requires_grad_()
        found = losses(OUTPUTS, leaf, some, WEIGHTS)
        found.sum().backward()
        assert found.isfinite().all()
        assert found[1].item() == 0.0
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert not leaf.grad[:, 1:10].any()


def test_columns_of_a_missing_label_may_be_anything() -> None:
    columns = torch.tensor([[1.0], [NAN], [float("inf")]]).requires_grad_()
    found = losses([AGE], columns, torch.tensor([[54.3], [NAN], [NAN]]), [None])
    found.sum().backward()
    assert found.item() == 1.0
    assert columns.grad is not None
    assert columns.grad.flatten().tolist() == [2.0, 0.0, 0.0]


def test_columns_that_are_no_numbers_make_a_loss_that_is_none() -> None:
    labels = torch.tensor([[54.3, 22.0, 1.0, 2.0, 0.0]])
    assert losses(OUTPUTS, torch.full((1, sum(WIDTHS)), NAN), labels, WEIGHTS).isnan().all()


@pytest.mark.parametrize("sizes", [[23], [8, 8, 7], [1] * 23, [22, 1]])
def test_batches_add_up_to_the_loss_over_all_rows(sizes: list[int]) -> None:
    columns, labels = made()
    parts = [sums(OUTPUTS, x, y, WEIGHTS) for x, y in zip(columns.split(sizes), labels.split(sizes), strict=True)]
    total, n = sum(part[0] for part in parts), sum(part[1] for part in parts)
    torch.testing.assert_close(total / n, losses(OUTPUTS, columns, labels, WEIGHTS), rtol=1e-12, atol=0)
    assert n.tolist() == n_present(labels).tolist() == (~np.isnan(labels.numpy())).sum(axis=0).tolist()


def test_half_precision_is_raised_first() -> None:
    columns, labels = made()
    half = columns.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(OUTPUTS, half, labels.float(), WEIGHTS)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), in_a_loop(half.double(), labels), rtol=2e-5)


def test_a_levels_number_may_be_rounded() -> None:
    levels = Output("grade", ORDINAL, 2, (0.1, 0.2, 0.3), ("low", "middle", "high"))
    columns = torch.tensor([[1.0, -1.0]] * 3)
    exact = losses([levels], columns.double(), torch.tensor([[0.1], [0.2], [0.3]], dtype=torch.float64), [None])
    rounded = losses([levels], columns, torch.tensor([[0.1], [0.2], [0.3]]), [None])
    np.testing.assert_allclose(rounded.numpy(), exact.numpy(), rtol=1e-6)


def test_columns_of_other_widths_are_refused_by_torch() -> None:
    with pytest.raises(RuntimeError, match="split_with_sizes expects split_sizes to sum exactly to 3"):
        losses([SEX], torch.zeros(2, 3), torch.zeros(2, 1), [None])
