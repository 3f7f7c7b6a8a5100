"""The loss of every output of a network, over the rows that have a label (torch).

A missing label (NaN) takes its row out of its own output's loss and out of nothing else. Nothing here waits for the
device: no row is selected, and no constant but the classes' weights is copied to it, where these lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from featx.networks.output import CLASSES, ORDINAL, REGRESSION, SOFT_BINS, Output


def losses(
    outputs: Sequence[Output], columns: Tensor, labels: Tensor, class_weights: Sequence[Tensor | None]
) -> Tensor:
    """Mean loss of every output over the rows that have its label.

    - regression: squared error, in squared standard deviations of the training people;
    - soft bins: Kullback-Leibler divergence from the label's Gaussian to the bins' softmax, summed over bins (Peng et
      al. 2021, MedIA 68:101871);
    - classes: cross entropy, times the weight of the row's class;
    - ordered levels: binary cross entropy, summed over the steps between levels.

    The mean divides by the number of rows, not by the sum of their weights: a batch of one row would lose its weight.

    Parameters
    ----------
    outputs : sequence of Output
    columns : Tensor of shape (N, sum of widths)
        Of all outputs, one after the other. Half precision is raised to float32.
    labels : Tensor of shape (N, n_outputs)
        Numbers in the phenotype's unit, the codes of classes, the numbers of levels; NaN where missing. float64
        where large numbers differ by little.
    class_weights : sequence of Tensor of shape (n_classes,) or None
        One for each output; None for 1, and for whatever is not classes. Best on the device of the columns.

    Returns
    -------
    Tensor of shape (n_outputs,)
        Exactly 0, with a gradient of 0, where no row has a label.

    Examples
    --------
    >>> sex = Output("sex", CLASSES, 2, classes=("F", "M"))
    >>> nan = float("nan")
    >>> losses([sex], torch.zeros(3, 2), torch.tensor([[0.0], [1.0], [nan]]), [None])
    tensor([0.6931])
    """
    total, n = sums(outputs, columns, labels, class_weights)
    return total / n.clamp(min=1)


def sums(
    outputs: Sequence[Output], columns: Tensor, labels: Tensor, class_weights: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """What `losses` divides: added up over batches and then divided, they are the loss over all rows at once.

    Parameters
    ----------
    outputs, columns, labels, class_weights
        As for `losses`.

    Returns
    -------
    total : Tensor of shape (n_outputs,)
        Sum of the loss over the rows with a label.
    n : Tensor of shape (n_outputs,), int64
        Number of those rows.
    """
    columns = columns.to(torch.promote_types(columns.dtype, torch.float32))
    blocks = columns.split_with_sizes([output.width for output in outputs], dim=1)
    totals = []
    for output, block, label, weights in zip(outputs, blocks, labels.unbind(dim=1), class_weights, strict=True):
        present = ~label.isnan()
        # Zeros stand in for what is missing, on both sides: masking the loss alone leaves a gradient of 0 * NaN.
        row = _LOSSES[output.form](output, block.where(present[:, None], 0), label.where(present, 0), weights)
        totals.append((row * present).sum())
    return torch.stack(totals), n_present(labels)


def n_present(labels: Tensor) -> Tensor:
    """Number of rows with a label, for each output.

    Parameters
    ----------
    labels : Tensor of shape (N, n_outputs)

    Returns
    -------
    Tensor of shape (n_outputs,), int64

    Examples
    --------
    >>> n_present(torch.tensor([[60.0, float("nan")], [55.0, 1.0]]))
    tensor([2, 1])
    """
    return (~labels.isnan()).sum(dim=0)


# --- loss of every row (N,), from columns (N, width) and complete labels (N,) -----------------------------------


def _regression(output: Output, columns: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    mean, deviation = output.values
    return (columns[:, 0] - ((labels - mean) / deviation).to(columns.dtype)).square()


def _soft_bins(output: Output, columns: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    shares = soft_labels(output, labels).to(columns.dtype)
    return functional.kl_div(columns.log_softmax(dim=1), shares, reduction="none").sum(dim=1)


def _classes(output: Output, columns: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    codes = labels.long()
    row = functional.cross_entropy(columns, codes, reduction="none")
    return row if weights is None else row * weights.to(row)[codes]


def _ordinal(output: Output, columns: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    # half way between two levels, so that a level's number may be rounded
    halves = [(low + high) / 2 for low, high in pairwise(output.values)]
    above = torch.stack([labels > half for half in halves], dim=1).to(columns.dtype)
    return functional.binary_cross_entropy_with_logits(columns, above, reduction="none").sum(dim=1)


_LOSSES: Mapping[str, Callable[[Output, Tensor, Tensor, Tensor | None], Tensor]] = {
    REGRESSION: _regression,
    SOFT_BINS: _soft_bins,
    CLASSES: _classes,
    ORDINAL: _ordinal,
}


def soft_labels(output: Output, labels: Tensor) -> Tensor:
    """Mass of a Gaussian around every label (standard deviation: a bin's width) in every bin; rows add up to 1.

    The outermost bins are open: they hold the mass that lies beyond, all of it where the label does. Within the bins
    these are the labels of `featx.analysis.heads.softbins.soft_labels`, but for the .1 % beyond its margin.

    Parameters
    ----------
    output : Output
        Of soft bins.
    labels : Tensor of shape (N,)
        Without NaN.

    Returns
    -------
    Tensor of shape (N, output.width), dtype of the labels

    Examples
    --------
    >>> age = Output("age", SOFT_BINS, 4, (48.5, 49.5, 50.5, 51.5))
    >>> soft_labels(age, torch.tensor([50.0, 90.0]))
    tensor([[0.1587, 0.3413, 0.3413, 0.1587],
            [0.0000, 0.0000, 0.0000, 1.0000]])
    """
    first, width = output.values[0], output.values[1] - output.values[0]
    between = torch.arange(1, output.width, dtype=labels.dtype, device=labels.device) - 0.5  # edges, in widths
    below = torch.special.ndtr(between - (labels[:, None] - first) / width)
    return functional.pad(functional.pad(below, (0, 1), value=1.0), (1, 0)).diff(dim=1)
