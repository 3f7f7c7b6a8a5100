"""SFCN, the simple fully convolutional network of Peng et al. 2021 (Medical Image Analysis 68:101871).

Six blocks of 3D convolutions over a 160x192x160 brain, an average pool to 64 numbers, and a 1x1x1 convolution to
the bins. Module names are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

POOL = (5, 6, 5)


class SFCN(nn.Module):
    """The network; `forward` takes (N, 1, 160, 192, 160) and gives log-probabilities (N, n_outputs).

    Parameters
    ----------
    channels : sequence of 6 int
    n_outputs : int
        Bins or classes.
    """

    def __init__(self, channels: Sequence[int], n_outputs: int) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential()
        widths = (1, *channels)
        for at, (width_in, width_out) in enumerate(pairwise(widths)):
            last = at == len(channels) - 1
            self.feature_extractor.add_module(f"conv_{at}", _block(width_in, width_out, last=last))
        self.classifier = nn.Sequential()
        self.classifier.add_module("average_pool", nn.AvgPool3d(POOL))
        self.classifier.add_module("dropout", nn.Dropout(0.5))
        self.classifier.add_module(f"conv_{len(channels)}", nn.Conv3d(channels[-1], n_outputs, 1))

    def forward(self, volumes: Tensor) -> Tensor:
        """Log-probabilities over the outputs."""
        return functional.log_softmax(self.classifier(self.feature_extractor(volumes)), dim=1).flatten(1)


def _block(width_in: int, width_out: int, *, last: bool) -> nn.Sequential:
    norm = nn.BatchNorm3d(width_out)
    if last:
        return nn.Sequential(nn.Conv3d(width_in, width_out, 1), norm, nn.ReLU())
    return nn.Sequential(nn.Conv3d(width_in, width_out, 3, padding=1), norm, nn.MaxPool3d(2), nn.ReLU())
