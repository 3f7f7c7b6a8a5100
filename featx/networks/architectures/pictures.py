"""Torchvision's networks, of pictures and of video."""

from __future__ import annotations

import torchvision
from torch import nn


def build(*, model: str) -> nn.Module:
    """The torchvision network with its classifier, weights not set by a file."""
    network: nn.Module = torchvision.models.get_model(model, weights=None)
    return network
