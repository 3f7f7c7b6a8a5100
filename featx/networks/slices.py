"""Torchvision's 2D ImageNet networks over the slices of a volume.

Every slice is a grey picture replicated to three channels. A tap is averaged over the slice's plane, then pooled
over the slices of the view: mean, max, std, or concat (all slices one behind the other).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torchvision
from torch import Tensor, nn

from featx.networks import View
from featx.networks.views import fold_batch_norm, look, pool, read_taps

# Bounds the memory of a batch of volumes. A CPU gains nothing from more; a GPU is not busy with fewer.
SLICES_AT_ONCE = {"cpu": 17, "cuda": 272}
_SQUEEZENET = {"fire2": 3, "fire3": 4, "fire4": 5, "fire5": 7, "fire6": 8, "fire7": 9, "fire8": 10, "fire9": 12}


def build(*, model: str) -> nn.Module:
    """The torchvision network with its classifier, weights not set by a file."""
    network: nn.Module = torchvision.models.get_model(model, weights=None)
    return network


def modules(taps: Sequence[str], *, model: str) -> dict[str, str]:
    """Module path of each tap."""
    if model.startswith("squeezenet"):
        return {tap: f"features.{_SQUEEZENET[tap]}" for tap in taps}
    return {tap: tap for tap in taps}


def forward(
    network: nn.Module, volumes: Tensor, view: View, taps: Mapping[str, str], poolings: Sequence[str]
) -> dict[tuple[str, str], Tensor]:
    """Pooled taps of volumes (N, 1, I, J, K): ``{(tap, pooling): (N, n_features)}``."""
    slices = look(volumes, view)
    count = slices.shape[1]
    pictures = slices.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    rows: dict[str, list[Tensor]] = {tap: [] for tap in taps}
    with read_taps(network, taps, lambda out: out.mean((2, 3))) as found:
        for chunk in torch.tensor_split(pictures, math.ceil(len(pictures) / SLICES_AT_ONCE[pictures.device.type])):
            network(chunk)
            for tap, pooled in found.items():
                rows[tap].append(pooled)
    by_slice = {tap: torch.cat(parts).reshape(len(volumes), count, -1) for tap, parts in rows.items()}
    return {
        (tap, how): values.flatten(1) if how == "concat" else pool(values, how, 1)
        for tap, values in by_slice.items()
        for how in poolings
    }


def optimise(network: nn.Module) -> nn.Module:
    """The same answers, faster: no classifier, which no tap reads; batch norm folded; channels last."""
    return fold_batch_norm(without_classifier(network)).to(memory_format=torch.channels_last)


def without_classifier(network: nn.Module) -> nn.Module:
    """Leave out the layers behind the last tap."""
    for name in ("classifier", "fc"):
        if hasattr(network, name):
            setattr(network, name, nn.Identity())
    return network
