"""Torchvision's video networks over a volume whose slices are the frames of a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from featx.networks import View
from featx.networks.slices import build as build
from featx.networks.slices import without_classifier
from featx.networks.views import fold_batch_norm, look, pool, read_taps


def modules(taps: Sequence[str], *, model: str) -> dict[str, str]:
    """Module path of each tap: taps are named as torchvision names its layers."""
    return {tap: tap for tap in taps}


def forward(
    network: nn.Module, volumes: Tensor, view: View, taps: Mapping[str, str], poolings: Sequence[str]
) -> dict[tuple[str, str], Tensor]:
    """Pooled taps of volumes (N, 1, I, J, K): ``{(tap, pooling): (N, n_features)}``; pooled over space and frames."""
    clip = look(volumes, view).transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)
    with read_taps(network, taps, lambda out: {how: pool(out, how, (2, 3, 4)) for how in poolings}) as found:
        network(clip)
    return {(tap, how): values for tap, pooled in found.items() for how, values in pooled.items()}


def optimise(network: nn.Module) -> nn.Module:
    """The same answers, faster: no classifier, which no tap reads; batch norm folded; channels last."""
    return fold_batch_norm(without_classifier(network)).to(memory_format=torch.channels_last_3d)
