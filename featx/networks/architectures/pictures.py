"""Torchvision's networks, of pictures and of video."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn

from featx.errors import NetworkError, known
from featx.networks.checkpoint import read_checkpoint
from featx.networks.sheet import Network

# Names that torchvision gave its modules when the files of DenseNets and ViTs were made, and what came of them.
_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)


def build(*, model: str, **arguments: Any) -> nn.Module:
    """The torchvision network with its classifier, weights not set by a file; its state dict is torchvision's.

    Parameters
    ----------
    model : str
        Torchvision's name of it.
    arguments
        Torchvision's arguments for it.

    Raises
    ------
    NetworkError
        Another model than torchvision's for classes of pictures or clips.

    Notes
    -----
    GoogLeNet and Inception v3 get what their published weights need: the input in the scaling of the papers, and the
    auxiliary classifiers, which are not run. A ViT gets a place to read its class token at, behind the last norm, and
    the last pool of S3D takes whatever clip comes, not only one of 16 frames of 224 pixels.
    """
    check_model(model)
    if model.startswith("mnasnet"):
        return _MNASNet(float(model.removeprefix("mnasnet").replace("_", ".")))
    if model in ("googlenet", "inception_v3"):
        arguments = {"transform_input": True, "init_weights": False, **arguments}
    network: nn.Module = torchvision.models.get_model(model, weights=None, **arguments)
    if isinstance(network, torchvision.models.VisionTransformer):
        network.heads = nn.Sequential(OrderedDict(features=nn.Identity(), head=network.heads.head))
    if isinstance(network, torchvision.models.video.S3D):
        network.avgpool = nn.AdaptiveAvgPool3d(1)
    return network


def check_model(model: str) -> None:
    """Refuse what does not tell classes: torchvision downloads backbones of its other networks unasked.

    Raises
    ------
    NetworkError
    """
    models = torchvision.models
    there = [name for module in (models, models.video) for name in models.list_models(module=module)]
    if model not in there:
        raise NetworkError(
            f"a network of torchvision must be one that tells classes of pictures or clips; got {model!r}; "
            f"{known(there, str(model))}"
        )


class _MNASNet(torchvision.models.MNASNet):
    """MNASNet that loads a state dict without metadata as one of its own layout, where torchvision refuses it."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, {"version": 2, **local_metadata}, *rest)


def read_renamed(path: Path, sheet: Network) -> dict[str, Tensor]:
    """State dict of a torchvision file, with the names that torchvision's modules have now."""
    del sheet
    tensors: dict[str, Tensor] = {}
    for name, value in read_checkpoint(path).items():
        for pattern, now in _RENAMED:
            name = pattern.sub(now, name)
        tensors[name] = value
    return tensors
