"""Torchvision's networks: ImageNet on slices, Kinetics on slices as frames."""

from __future__ import annotations

from collections.abc import Mapping

from featx.networks import recipes
from featx.networks.sheet import CLIP, PICTURES, Network, Tap, Weights

_FIRES = {"2": (3, 128), "3": (4, 128), "4": (5, 256), "5": (7, 256), "6": (8, 384), "7": (9, 384)} | {
    "8": (10, 512),
    "9": (12, 512),
}
_SQUEEZENET = {f"fire{number}": Tap(f"features.{at}", width) for number, (at, width) in _FIRES.items()}
_RESNET = {f"layer{at}": Tap(f"layer{at}", 32 * 2**at) for at in (1, 2, 3, 4)}


def _weights(file: str) -> Weights:
    return Weights(
        url=f"https://download.pytorch.org/models/{file}",
        file=file,
        digest=f"sha256:{file.removesuffix('.pth').rsplit('-', 1)[-1]}",  # torchvision names files so
        licence="BSD-3-Clause",
    )


def _pictures(model: str, file: str, stem: str, taps: Mapping[str, Tap], reference: str) -> Network:
    return Network(
        name=f"{model}.imagenet",
        family="ImageNet, on slices",
        architecture="featx.networks.architectures.pictures:build",
        arguments={"model": model},
        takes=PICTURES,
        recipe=recipes.slice_recipe(224, recipes.IMAGENET),
        weights=_weights(file),
        taps=taps,
        default_taps=tuple(taps),
        default_views=("sagittal", "coronal", "axial"),
        default_pooling=("mean",),
        training="ImageNet-1k, 1.28 million photographs in 1,000 classes",
        age_range_years=None,
        reference=reference,
        stem=stem,
    )


SHEETS = (
    _pictures(
        "squeezenet1_0",
        "squeezenet1_0-b66bff10.pth",
        "features.0",
        _SQUEEZENET,
        "Iandola et al. 2016, arXiv 1602.07360",
    ),
    _pictures("resnet18", "resnet18-f37072fd.pth", "conv1", _RESNET, "He et al. 2016, CVPR"),
    Network(
        name="r3d_18.kinetics400",
        family="Kinetics, slices as frames",
        architecture="featx.networks.architectures.pictures:build",
        arguments={"model": "r3d_18"},
        takes=CLIP,
        recipe=recipes.slice_recipe(112, recipes.KINETICS, {"sagittal": 16, "coronal": 16, "axial": 16}),
        weights=_weights("r3d_18-b3b3357e.pth"),
        taps=_RESNET,
        default_taps=tuple(_RESNET),
        default_views=("axial",),
        default_pooling=("mean",),
        training="Kinetics-400, 240,000 video clips in 400 classes of human action",
        age_range_years=None,
        reference="Tran et al. 2018, CVPR",
        stem="stem.0",
    ),
)
