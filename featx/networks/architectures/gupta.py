"""The networks of Gupta et al. 2021 (ISBI) and 2023: sets of slices, and their 3D network of comparison.

A 2D encoder embeds every slice of a volume in 32 numbers, these are put together by their mean, their maximum or by
attention, and two layers make an age of them. Layers and initial weights are those of the authors' code, but for the
positions: theirs are added before the last convolution of encoder1 and normalised over all slices at once, which ties
a network to one axis and to all of its slices; here they are added to the 32 numbers, and every slice is normalised
by itself, so that one network takes any axis and any number of slices that it has positions for.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
import torchvision
from torch import Tensor, nn

from featx.errors import NetworkError
from featx.networks.architectures.pictures import check_model

WIDTHS = (1, 32, 64, 128, 256, 256)
EMBEDDED, HIDDEN = 32, 64
ENCODER1 = "encoder1"

# Bounds the memory of many slices where no gradients are wanted.
_SLICES_AT_ONCE = {"cpu": 17, "cuda": 272}


# --- 2D encoders ----------------------------------------------------------------------------------------------


class Encoder1(nn.Sequential):
    """The authors' own encoder, of grey slices (N, 1, H, W) of any size from 64 pixels by 64, as (N, 32)."""

    def __init__(self) -> None:
        super().__init__()
        for at, (width_in, width_out) in enumerate(pairwise(WIDTHS)):
            self.add_module(f"block{at}", _block(width_in, width_out, dimensions=2))
        self.add_module("narrow", nn.Sequential(nn.Conv2d(WIDTHS[-1], 64, 1), nn.InstanceNorm2d(64), nn.ReLU()))
        self.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.add_module("dropout", nn.Dropout(0.5))
        self.add_module("last", nn.Conv2d(64, EMBEDDED, 1))
        self.add_module("flatten", nn.Flatten())


class PictureEncoder(nn.Module):
    """A network of torchvision without its classifier and a linear layer to 32; grey is replicated to its colours.

    Parameters
    ----------
    model : str
        As torchvision names it.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        check_model(model)
        self.network = torchvision.models.get_model(model, weights=None, **_WITHOUT_SIDE_OUTPUTS.get(model, {}))
        self.last = nn.Linear(_without_classifier(self.network), EMBEDDED)

    def forward(self, slices: Tensor) -> Tensor:
        """Embeddings (N, 32) of slices of one or three channels."""
        embedded: Tensor = self.last(self.network(slices.expand(-1, 3, -1, -1)))
        return embedded


_WITHOUT_SIDE_OUTPUTS: Mapping[str, Mapping[str, bool]] = {
    model: {"aux_logits": False, "init_weights": True} for model in ("googlenet", "inception_v3")
}


def _without_classifier(network: nn.Module) -> int:
    """Put nothing in the place of the last layer with weights (a convolution in SqueezeNet); its input's width."""
    layers = [(name, one) for name, one in network.named_modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    name, last = layers[-1]
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels


def _block(width_in: int, width_out: int, *, dimensions: int) -> nn.Sequential:
    if dimensions == 3:
        layers: tuple[nn.Module, ...] = (
            nn.Conv3d(width_in, width_out, 3, padding=1),
            nn.InstanceNorm3d(width_out),
            nn.MaxPool3d(2),
        )
    else:
        layers = (nn.Conv2d(width_in, width_out, 3, padding=1), nn.InstanceNorm2d(width_out), nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.ReLU())


# --- sets of slices -------------------------------------------------------------------------------------------


class Mean(nn.Module):
    """Of embeddings (N, S, 32), the mean over slices."""

    def forward(self, embedded: Tensor) -> Tensor:
        """(N, 32)."""
        return embedded.mean(1)


class Max(nn.Module):
    """Of embeddings (N, S, 32), the maximum over slices."""

    def forward(self, embedded: Tensor) -> Tensor:
        """(N, 32)."""
        return embedded.amax(1)


class Attention(nn.Module):
    """Of embeddings (N, S, 32), a mean weighted by attention: one head, one learned query for all volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, EMBEDDED))
        self.key = nn.Linear(EMBEDDED, EMBEDDED)
        self.value = nn.Linear(EMBEDDED, EMBEDDED)
        self.norm = nn.LayerNorm(EMBEDDED)
        self.output = nn.Linear(EMBEDDED, EMBEDDED)
        nn.init.xavier_uniform_(self.query)

    def forward(self, embedded: Tensor) -> Tensor:
        """(N, 32)."""
        scores = self.key(embedded) @ self.query[0] / math.sqrt(EMBEDDED)
        weighted = (scores.softmax(1).unsqueeze(-1) * self.value(embedded)).sum(1)
        pooled: Tensor = self.output(self.norm(weighted))
        return pooled


class Positions(nn.Module):
    """A learned vector for every place in the set, added to the slice there; then each slice is normalised.

    Parameters
    ----------
    n_positions : int
        Most slices of a set.

    Attributes
    ----------
    places : tuple of int or None
        Of the slices that come, where some of a set are left out (`placed`); None where all are there.
    """

    places: tuple[int, ...] | None = None

    def __init__(self, n_positions: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(n_positions, EMBEDDED) * math.sqrt(1 / n_positions))
        self.norm = nn.LayerNorm(EMBEDDED)

    def forward(self, embedded: Tensor) -> Tensor:
        """(N, S, 32) as (N, S, 32)."""
        n_slices, most = embedded.shape[1], len(self.embedding)
        if n_slices > most:
            raise NetworkError(
                f"a set must have at most {most} slices, one for each position that was learned; got {n_slices}; "
                "take fewer, or a network without positions"
            )
        own = self.embedding[:n_slices] if self.places is None else self.embedding[list(self.places)]
        located: Tensor = self.norm(embedded + own)
        return located


@contextlib.contextmanager
def placed(network: nn.Module, places: tuple[int, ...] | None) -> Iterator[None]:
    """Let the slices that come have the positions of their own places, where some of a set are left out."""
    own = [module for module in network.modules() if isinstance(module, Positions)]
    try:
        for module in own:
            module.places = places
        yield
    finally:
        for module in own:
            module.places = None


class SliceSet(nn.Module):
    """A set of slices (N, S, 1, H, W) to one number (N, 1); `embedded`, `pooled`, `features` can be read.

    Parameters
    ----------
    encoder : str
        "encoder1", or a network of torchvision.
    aggregation : str
        "mean", "max" or "attention".
    n_positions : int
        Slices that have a learned position; 0 for none.
    mean_age : float
        Years; where the last bias starts.
    """

    def __init__(self, encoder: str, aggregation: str, *, n_positions: int = 0, mean_age: float = 62.68) -> None:
        super().__init__()
        self.grey = encoder == ENCODER1
        self.encoder = Encoder1() if self.grey else PictureEncoder(encoder)
        self.embedded = nn.Identity()
        self.positions = Positions(n_positions) if n_positions else nn.Identity()
        self.pooled = {"mean": Mean, "max": Max, "attention": Attention}[aggregation]()
        self.features = nn.Sequential(nn.Linear(EMBEDDED, HIDDEN), nn.ReLU())
        self.prediction = nn.Linear(HIDDEN, 1)
        if self.grey:
            _draw(self)
        nn.init.constant_(self.prediction.bias, mean_age)

    def forward(self, sets: Tensor) -> Tensor:
        """One number for each set."""
        if self.grey and sets.shape[2] != 1:
            raise NetworkError(
                f"{ENCODER1} must be given slices of one channel; got {sets.shape[2]}; leave out the wish for "
                "neighbours, or take an encoder of torchvision"
            )
        embedded = self.embedded(self._embed(sets.flatten(0, 1)).reshape(*sets.shape[:2], EMBEDDED))
        predicted: Tensor = self.prediction(self.features(self.pooled(self.positions(embedded))))
        return predicted

    def _embed(self, slices: Tensor) -> Tensor:
        """All at once in training, for batch norm; else some at a time."""
        if self.training:
            embedded: Tensor = self.encoder(slices)
            return embedded
        n_parts = math.ceil(len(slices) / _SLICES_AT_ONCE.get(slices.device.type, len(slices)))
        return torch.cat([self.encoder(some) for some in torch.tensor_split(slices, n_parts)])


def _draw(network: nn.Module) -> None:
    """The authors' initial weights, where the encoder is their own."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


# --- whole volumes --------------------------------------------------------------------------------------------


class Cnn3d(nn.Module):
    """Their 3D network of comparison: five blocks, 64 numbers, one output; of volumes (N, 1, I, J, K).

    Parameters
    ----------
    mean_age : float
        Years; where the last bias starts.
    """

    def __init__(self, *, mean_age: float = 62.68) -> None:
        super().__init__()
        self.blocks = nn.Sequential()
        for at, (width_in, width_out) in enumerate(pairwise(WIDTHS)):
            self.blocks.add_module(f"block{at}", _block(width_in, width_out, dimensions=3))
        self.narrow = nn.Sequential(nn.Conv3d(WIDTHS[-1], 64, 1), nn.InstanceNorm3d(64), nn.ReLU())
        self.features = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.prediction = nn.Linear(64, 1)
        _draw(self)
        nn.init.constant_(self.prediction.bias, mean_age)

    def forward(self, volumes: Tensor) -> Tensor:
        """One number for each volume."""
        predicted: Tensor = self.prediction(self.features(self.narrow(self.blocks(volumes))))
        return predicted
