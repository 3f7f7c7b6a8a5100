"""3D networks that start from 2D ones: torchvision's ResNets and its ViT, of grey volumes, inflated weights.

Every module has the name that it has in torchvision, so that a 2D checkpoint fits after `read` has inflated it: the
first two axes of a volume (I, J) are the rows and columns of a picture, and the third (K) is the new one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.vision_transformer import Encoder

from featx.networks.architectures.pictures import read_renamed
from featx.networks.sheet import Network
from featx.networks.weights import build

WIDTH = 768

_POSITIONS = "encoder.pos_embedding"


def resnet(*, model: str) -> nn.Module:
    """A ResNet of torchvision with every layer in three dimensions and one input channel.

    Random weights are drawn as torchvision draws them (He et al. 2015, by fan-out).
    """
    network: nn.Module = torchvision.models.get_model(model, weights=None)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    _to_3d(network)
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _to_3d(network: nn.Module) -> None:
    """Put a 3D module in the place of every 2D one."""
    for name, child in network.named_children():
        if isinstance(child, nn.Conv2d):
            size, stride, padding = child.kernel_size[0], child.stride[0], int(child.padding[0])
            setattr(
                network, name, nn.Conv3d(child.in_channels, child.out_channels, size, stride, padding, bias=False)
            )
        elif isinstance(child, nn.BatchNorm2d):
            setattr(network, name, nn.BatchNorm3d(child.num_features))
        elif isinstance(child, nn.MaxPool2d):
            setattr(network, name, nn.MaxPool3d(child.kernel_size, child.stride, child.padding))
        elif isinstance(child, nn.AdaptiveAvgPool2d):
            setattr(network, name, nn.AdaptiveAvgPool3d(1))
        else:
            _to_3d(child)


class VolumeTransformer(nn.Module):
    """ViT-B (Dosovitskiy et al. 2021) over cubes of a grey volume (N, 1, I, J, K).

    Parameters
    ----------
    shape : tuple of 3 int
        Of the volume; multiples of `patch`.
    patch : int
        Edge of a cube.
    """

    def __init__(self, *, shape: tuple[int, int, int], patch: int) -> None:
        super().__init__()
        self.conv_proj = nn.Conv3d(1, WIDTH, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        length = 1 + math.prod(each // patch for each in shape)
        self.encoder = Encoder(length, 12, 12, WIDTH, 4 * WIDTH, dropout=0.0, attention_dropout=0.0)
        self.features = nn.Identity()  # where a tap finds the class token
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(WIDTH, 1000))
        nn.init.trunc_normal_(self.conv_proj.weight, std=patch**-1.5)  # by fan-in, as torchvision does

    def forward(self, volumes: Tensor) -> Tensor:
        """The outputs (N, 1000)."""
        patches = self.conv_proj(volumes).flatten(2).transpose(1, 2)
        tokens = self.encoder(torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1))
        outputs: Tensor = self.heads(self.features(tokens[:, 0]))
        return outputs


# --- weights --------------------------------------------------------------------------------------------------


def read(path: Path, sheet: Network) -> dict[str, Tensor]:
    """The state dict for a network of this file, from one of the 2D network or of the 3D network itself."""
    with torch.device("meta"):
        wanted = build(sheet).state_dict()
    shape = cast(tuple[int, ...], sheet.arguments.get("shape", ()))
    grid = tuple(length // cast(int, sheet.arguments["patch"]) for length in shape)
    return inflate(read_renamed(path, sheet), {name: values.shape for name, values in wanted.items()}, grid)


def inflate(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], grid: tuple[int, ...]
) -> dict[str, Tensor]:
    """Inflate the kernels that are not 3D already, and the positions beside them; the rest is left as it is.

    Parameters
    ----------
    shapes : mapping of str to Size
        What the 3D network wants.
    grid : tuple of 3 int
        Patches of a transformer along I, J, K.
    """

    flat = {name for name, values in tensors.items() if values.ndim == 4 and len(shapes.get(name, ())) == 5}

    def one(name: str, values: Tensor) -> Tensor:
        if name in flat:
            return inflate_kernel(values, channels=shapes[name][1], length=shapes[name][4])
        if flat and grid and name == _POSITIONS:  # by the kernels: a cube may have as many patches as the square
            return inflate_positions(values, grid)
        return values

    return {name: one(name, values) for name, values in tensors.items()}


def inflate_kernel(kernel: Tensor, *, channels: int, length: int) -> Tensor:
    """A 2D kernel (O, C, h, w) as a 3D one (O, channels, h, w, length): repeated and divided by its length.

    Mean inflation (Carreira and Zisserman 2017): where a volume does not change along the third axis, the answer is
    the 2D one. A kernel of colours that is to take one channel is summed over them: it is shown grey pictures.

    Examples
    --------
    >>> inflate_kernel(torch.ones(1, 3, 1, 1), channels=1, length=4).flatten().tolist()
    [0.75, 0.75, 0.75, 0.75]
    """
    if channels == 1 and kernel.shape[1] > 1:
        kernel = kernel.sum(1, keepdim=True)
    return kernel.unsqueeze(-1).expand(*kernel.shape, length).contiguous() / length


def inflate_positions(positions: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Embeddings (1, 1 + n * n, d) of a square of patches for a grid of cubes, (1, 1 + I * J * K, d).

    The class token's stays. The square is interpolated (bicubic, corners on corners, as torchvision does for another
    picture size) to I rows and J columns, and repeated for every K: as for kernels, the third axis begins without
    meaning, and cubes along it are told apart by what they show until training says more.
    """
    edge = round((positions.shape[1] - 1) ** 0.5)
    if edge * edge != positions.shape[1] - 1:
        return positions
    square = positions[:, 1:].transpose(1, 2).reshape(1, -1, edge, edge)
    plane = functional.interpolate(square, size=grid[:2], mode="bicubic", align_corners=True)
    cubes = plane.unsqueeze(-1).expand(*plane.shape, grid[2])
    return torch.cat([positions[:, :1], cubes.flatten(2).transpose(1, 2)], dim=1)
