"""From the columns of a trained network's last layer to its answer, by output (torch).

What an output is stands in `featx.networks.output`. Half precision is raised to float32 here: half an age in years
has a step of an eighth in float16 and of a quarter in bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featx.networks.output import CLASSES, REGRESSION, SOFT_BINS, Output


def decode(output: Output, columns: Tensor) -> Tensor:
    """The answer of one output.

    A regression and soft bins answer in the phenotype's unit, and so do ordered levels: the lowest level's number
    plus, for every step between levels, its height times the probability that the level lies above it (the rank
    form of Leonardsen et al. 2022, NeuroImage 256:119210, as an expectation instead of a count).

    Parameters
    ----------
    output : Output
    columns : Tensor of shape (N, output.width)
        Those of this output alone, before any softmax or sigmoid. NaN stays NaN.

    Returns
    -------
    Tensor of shape (N, 1), or (N, n_classes) for classes
        Numbers in the phenotype's unit, or probabilities; float32, or float64 where the columns are.

    Examples
    --------
    >>> from featx.networks.output import ORDINAL
    >>> decode(Output("age", REGRESSION, 1, (50.0, 10.0)), torch.tensor([[-1.5]]))
    tensor([[35.]])
    >>> decode(Output("smoking", ORDINAL, 2, (0.0, 1.0, 2.0)), torch.tensor([[100.0, 0.0]]))
    tensor([[1.5000]])
    """
    return _decode(output.form, columns, torch.tensor(output.values, dtype=torch.float64, device=columns.device))


def _decode(form: str, columns: Tensor, values: Tensor) -> Tensor:
    columns = columns.to(torch.promote_types(columns.dtype, torch.float32))
    values = values.to(columns.dtype)
    if form == REGRESSION:
        return values[0] + values[1] * columns
    if form == SOFT_BINS:
        return (columns.softmax(dim=1) * values).sum(dim=1, keepdim=True)
    if form == CLASSES:
        return columns.softmax(dim=1)
    return values[0] + (columns.sigmoid() * values.diff()).sum(dim=1, keepdim=True)


class Decode(nn.Module):
    """`decode` as the last module of a network: what its tap ``prediction`` reads.

    Parameters
    ----------
    output : Output
    """

    values: Tensor

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.form = output.form
        self.read = slice(*_read(output))
        self.register_buffer("values", torch.tensor(output.values), persistent=False)  # no checkpoint holds it

    def forward(self, columns: Tensor) -> Tensor:
        """As `decode`, but of two classes the probability of one alone, (N, 1): see `Output.values`."""
        return _decode(self.form, columns, self.values)[:, self.read]


def _read(output: Output) -> tuple[int | None, int | None]:
    """First and behind the last column of the answer that a tap reads."""
    if output.form != CLASSES or output.width != 2:
        return None, None
    place = int(output.values[0]) if output.values else 1
    return place, place + 1
