"""The SFCNs of Leonardsen et al. 2022 (NeuroImage 256:119210) and of their multi-task successor of 2025 (torch).

Both were made with Keras: batch norms have Keras' eps, and each block is convolution, batch norm, ReLU, max pool.
ReLU and max pool can change places without changing a bit of the result; the pool comes first here, as in Peng's
SFCN, which leaves an eighth of the voxels to the ReLU. So the blocks are those of Peng's network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from featx.errors import WeightsError
from featx.networks import keras_file
from featx.networks.architectures.sfcn import ExpectedAge, make_blocks
from featx.networks.checkpoint import read_checkpoint
from featx.networks.keras_file import Layers
from featx.networks.sheet import Network

KERAS_EPS = 1e-3


class LeonardsenSFCN(nn.Module):
    """The network of 2022; `forward` takes (N, in_channels, I, J, K) and gives the decoded prediction (N, 1).

    Parameters
    ----------
    channels : sequence of int
        As in `featx.networks.architectures.sfcn.SFCN`.
    head : str
        What the outputs are: "reg" years above the youngest, "sm" a class for every year of age, "rank" whether the
        person is older than the first, the second ... year, "bin" one class against another.
    ages : sequence of 2 int
        Youngest and oldest that can be predicted.
    in_channels : int
    """

    def __init__(
        self, channels: Sequence[int], head: str, ages: tuple[int, int] = (3, 95), in_channels: int = 1
    ) -> None:
        super().__init__()
        n_outputs, self.decode = _HEADS[head](*ages)
        self.feature_extractor = make_blocks(channels, in_channels, KERAS_EPS)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.predictions = nn.Linear(channels[-1], n_outputs)

    def logits(self, volumes: Tensor) -> Tensor:
        """The head's outputs before any activation, (N, n_outputs)."""
        logits: Tensor = self.predictions(self.pool(self.feature_extractor(volumes)))
        return logits

    def forward(self, volumes: Tensor) -> Tensor:
        """Age in years, or probability of the second class."""
        prediction: Tensor = self.decode(self.logits(volumes))
        return prediction


class MultiTaskSFCN(nn.Module):
    """The network of 2025: the same blocks, the maximum over all positions, and one output for each of six tasks.

    `forward` gives (N, 6) in the order of `TASKS`.

    Parameters
    ----------
    channels : sequence of int
    in_channels : int
    """

    def __init__(self, channels: Sequence[int], in_channels: int = 1) -> None:
        super().__init__()
        self.feature_extractor = make_blocks(channels, in_channels, KERAS_EPS)
        self.pool = nn.Sequential(nn.AdaptiveMaxPool3d(1), nn.Flatten())
        self.heads = nn.ModuleDict()
        for task, is_class in TASKS.items():
            activation = [nn.Sigmoid()] if is_class else []
            self.heads[task] = nn.Sequential(nn.Linear(channels[-1], 1), *activation)

    def forward(self, volumes: Tensor) -> Tensor:
        """All tasks' predictions; those that are classes as probabilities."""
        features = self.pool(self.feature_extractor(volumes))
        return torch.cat([head(features) for head in self.heads.values()], dim=1)


# In the order of the published network's outputs; whether a task is one of two classes.
TASKS: Mapping[str, bool] = {
    "age": False,
    "sex": True,
    "handedness": True,
    "bmi": False,
    "fluid_intelligence": False,
    "neuroticism": False,
}


# --- heads: how many outputs, and how they are decoded --------------------------------------------------------


class CappedAge(nn.Module):
    """From one output to an age: the youngest plus the output, neither below the youngest nor above the oldest."""

    def __init__(self, youngest: float, oldest: float) -> None:
        super().__init__()
        self.youngest, self.most = youngest, oldest - youngest

    def forward(self, logits: Tensor) -> Tensor:
        """Age in years."""
        return logits.clamp(0, self.most) + self.youngest


class CountedAge(nn.Module):
    """From ranks to an age: the youngest plus the number of years that the person is said to be older than."""

    def __init__(self, youngest: float) -> None:
        super().__init__()
        self.youngest = youngest

    def forward(self, logits: Tensor) -> Tensor:
        """Age in years."""
        return logits.sigmoid().round().sum(dim=1, keepdim=True) + self.youngest


_HEADS: Mapping[str, Callable[[int, int], tuple[int, nn.Module]]] = {
    "reg": lambda youngest, oldest: (1, CappedAge(youngest, oldest)),
    "sm": lambda youngest, oldest: (oldest - youngest + 1, ExpectedAge(*map(float, range(youngest, oldest + 1)))),
    "rank": lambda youngest, oldest: (oldest - youngest - 1, CountedAge(youngest)),  # 91 of them for 3 to 95 years
    "bin": lambda youngest, oldest: (1, nn.Sigmoid()),
}


# --- weights from Keras ---------------------------------------------------------------------------------------

# Layers are told by the end of their names; what stands before it differs between variants and versions.
_BLOCK = re.compile(r"block[-_]?(\d+)[-_](conv|norm)$")
_TOP = re.compile(r"top[-_](conv|norm)$")
_HEAD = re.compile(rf"predictions(?:[-_]({'|'.join(TASKS)}))?$")
_PLACE = {"conv": "0", "norm": "1"}
_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def read_weights(path: Path, sheet: Network) -> dict[str, Tensor]:
    """State dict from weights that Keras saved (.h5, .hdf5), or from a checkpoint of this network.

    Raises
    ------
    WeightsError
        The file is damaged, or holds layers that this network has not.
    """
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return read_checkpoint(path)
    return _convert(keras_file.read(path), sheet, path)


def _convert(layers: Layers, sheet: Network, path: Path) -> dict[str, Tensor]:
    numbers = sorted({int(found[1]) for found in map(_BLOCK.search, layers) if found})
    tensors: dict[str, Tensor] = {}
    for layer, weights in layers.items():
        module = _module(layer, numbers)
        for weight, values in weights.items():
            if not module or weight not in _NAMES:
                raise WeightsError(
                    f"weights from Keras must be of layers that {sheet.name} has; {layer!r} with {weight!r} is none, "
                    f"in {path}; name the network that they belong to"
                )
            name = f"{module}.{_NAMES[weight]}"
            if name in tensors:
                raise WeightsError(
                    f"weights from Keras must be of one network; {path} holds those of {module} more than once, at "
                    f"last in {layer!r}; save the network that you want alone"
                )
            tensors[name] = torch.from_numpy(_turn(values) if weight == "kernel" else values)
    return tensors


def _module(layer: str, numbers: Sequence[int]) -> str:
    """Path of a layer's module, "" if there is none; blocks stand in the order of their numbers.

    Examples
    --------
    >>> _module("sfcn-reg_block-2_norm", [0, 1, 2, 3, 4]), _module("sfcn-reg_top_conv", [0, 1, 2, 3, 4])
    ('feature_extractor.conv_2.1', 'feature_extractor.conv_5.0')
    >>> _module("sfcn-sm_predictions", []), _module("SFCNMulti_predictions_predictions_bmi", [])
    ('predictions', 'heads.bmi.0')
    """
    if found := _BLOCK.search(layer):
        return f"feature_extractor.conv_{numbers.index(int(found[1]))}.{_PLACE[found[2]]}"
    if found := _TOP.search(layer):
        return f"feature_extractor.conv_{len(numbers)}.{_PLACE[found[1]]}"
    if found := _HEAD.search(layer):
        return f"heads.{found[1]}.0" if found[1] else "predictions"
    return ""


def _turn(kernel: keras_file.Array) -> keras_file.Array:
    """From (..., in, out) to (out, in, ...)."""
    return np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))
