"""SFCN, the simple fully convolutional network of Peng et al. 2021 (Medical Image Analysis 68:101871).

Blocks of 3D convolutions, an average pool to one vector, a 1x1x1 convolution to the bins, and the answer decoded from
them. Module names of everything with weights are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class SFCN(nn.Module):
    """The network; `forward` takes (N, in_channels, I, J, K) of any size and gives the decoded prediction (N, 1).

    The published pool, ``AvgPool3d([5, 6, 5])``, covers exactly what is left of 160x192x160 voxels; here it covers
    what is left of any input (of at least 2 voxels per axis for every block but the last).

    Parameters
    ----------
    channels : sequence of int
        Output channels of each block, the last of which has no pooling.
    n_outputs : int
        Bins or classes.
    ages : tuple of 2 float, optional
        Lower edge of the first bin and upper edge of the last, in years: the prediction is the expected age. Without
        it the outputs are classes, and the prediction is the probability of class 1.
    in_channels : int
    """

    def __init__(
        self,
        channels: Sequence[int],
        n_outputs: int,
        ages: tuple[float, float] | tuple[()] = (),
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        self.feature_extractor = make_blocks(channels, in_channels)
        self.classifier = nn.Sequential()
        self.classifier.add_module("average_pool", nn.AdaptiveAvgPool3d(1))
        self.classifier.add_module("dropout", nn.Dropout(0.5))
        self.classifier.add_module(f"conv_{len(channels)}", nn.Conv3d(channels[-1], n_outputs, 1))
        self.decode = ExpectedAge(*bin_centres(*ages, n_outputs)) if ages else SecondClass()

    def logits(self, volumes: Tensor) -> Tensor:
        """Outputs (N, n_outputs), whose softmax are the probabilities."""
        logits: Tensor = self.classifier(self.feature_extractor(volumes)).flatten(1)
        return logits

    def forward(self, volumes: Tensor) -> Tensor:
        """Age in years, or probability of class 1."""
        prediction: Tensor = self.decode(self.logits(volumes))
        return prediction


def make_blocks(channels: Sequence[int], in_channels: int, eps: float = 1e-5) -> nn.Sequential:
    """The blocks of convolution, batch norm, max pool and ReLU, called conv_0, conv_1 ...; the last has no pool.

    Parameters
    ----------
    channels : sequence of int
    in_channels : int
    eps : float
        Of the batch norms.
    """
    blocks = nn.Sequential()
    for at, (width_in, width_out) in enumerate(pairwise((in_channels, *channels))):
        last = at == len(channels) - 1
        blocks.add_module(f"conv_{at}", _block(width_in, width_out, eps, last=last))
    return blocks


def _block(width_in: int, width_out: int, eps: float, *, last: bool) -> nn.Sequential:
    norm = nn.BatchNorm3d(width_out, eps=eps)
    if last:
        return nn.Sequential(nn.Conv3d(width_in, width_out, 1), norm, nn.ReLU())
    return nn.Sequential(nn.Conv3d(width_in, width_out, 3, padding=1), norm, nn.MaxPool3d(2), nn.ReLU())


# --- from outputs to a prediction -----------------------------------------------------------------------------


def bin_centres(first: float, last: float, n_bins: int) -> tuple[float, ...]:
    """Centres of equal bins between two edges.

    Examples
    --------
    >>> bin_centres(42, 82, 40)[:2], bin_centres(42, 82, 40)[-1]
    ((42.5, 43.5), 81.5)
    """
    width = (last - first) / n_bins
    return tuple(first + (at + 0.5) * width for at in range(n_bins))


class ExpectedAge(nn.Module):
    """From outputs (N, n_bins) to (N, 1): the mean of the bins' centres, weighted by their probabilities.

    Parameters
    ----------
    *centres : float
        In years.
    """

    centres: Tensor

    def __init__(self, *centres: float) -> None:
        super().__init__()
        self.register_buffer("centres", torch.tensor(centres), persistent=False)  # no checkpoint holds it

    def forward(self, logits: Tensor) -> Tensor:
        """Age in years."""
        return (logits.softmax(dim=1) * self.centres).sum(dim=1, keepdim=True)


class SecondClass(nn.Module):
    """From outputs (N, n_classes) to (N, 1): the probability of class 1."""

    def forward(self, logits: Tensor) -> Tensor:
        """Probability of class 1."""
        return logits.softmax(dim=1)[:, 1:2]
