"""Torchvision's networks: ImageNet on slices, Kinetics on slices as frames.

Their facts stand in torchvision.json beside this file, as `featx.networks.survey` reads them from torchvision.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from featx.networks import recipes
from featx.networks.sheet import CLIP, Network, Recipe, Setting, Tap, Weights

# By the letters that a model's name begins with; a longer beginning goes before a shorter one.
_REFERENCES: Mapping[str, str] = {
    "alexnet": "Krizhevsky 2014, arXiv 1404.5997",
    "convnext": "Liu et al. 2022, CVPR",
    "densenet": "Huang et al. 2017, CVPR",
    "efficientnet": "Tan and Le 2019, ICML",
    "efficientnet_v2": "Tan and Le 2021, ICML",
    "googlenet": "Szegedy et al. 2015, CVPR",
    "inception": "Szegedy et al. 2016, CVPR",
    "maxvit": "Tu et al. 2022, ECCV",
    "mc3": "Tran et al. 2018, CVPR",
    "mnasnet": "Tan et al. 2019, CVPR",
    "mobilenet_v2": "Sandler et al. 2018, CVPR",
    "mobilenet_v3": "Howard et al. 2019, ICCV",
    "mvit_v1": "Fan et al. 2021, ICCV",
    "mvit_v2": "Li et al. 2022, CVPR",
    "r2plus1d": "Tran et al. 2018, CVPR",
    "r3d": "Tran et al. 2018, CVPR",
    "regnet": "Radosavovic et al. 2020, CVPR",
    "resnet": "He et al. 2016, CVPR",
    "resnext": "Xie et al. 2017, CVPR",
    "s3d": "Xie et al. 2018, ECCV",
    "shufflenet": "Ma et al. 2018, ECCV",
    "squeezenet": "Iandola et al. 2016, arXiv 1602.07360",
    "swin": "Liu et al. 2021, ICCV",
    "swin3d": "Liu et al. 2022, CVPR",
    "swin_v2": "Liu et al. 2022, CVPR",
    "vgg": "Simonyan and Zisserman 2015, ICLR",
    "vit": "Dosovitskiy et al. 2021, ICLR",
    "wide_resnet": "Zagoruyko and Komodakis 2016, BMVC",
}
_IMAGENET = "ImageNet-1k, 1.28 million photographs in 1,000 classes"
_KINETICS = "Kinetics-400, 240,000 video clips in 400 classes of human action"
_SWAG = "3.6 billion photographs of Instagram by their hashtags (SWAG), then "
_TRAINING: Mapping[str, str] = {
    "imagenet": _IMAGENET,
    "imagenet_v2": _IMAGENET,
    "imagenet_swag_e2e": f"{_SWAG}all layers on {_IMAGENET}",
    "imagenet_swag_linear": f"{_SWAG}the last layer on {_IMAGENET}",
    "kinetics400": _KINETICS,
    "kinetics400_imagenet22k": f"ImageNet-22k, then {_KINETICS}",
}
_FRAMES = {"sagittal": 16, "coronal": 16, "axial": 16}
_RENAMED = re.compile(r"densenet|vit")  # files older than the names of torchvision's modules


def _reference(model: str) -> str:
    return _REFERENCES[max((start for start in _REFERENCES if model.startswith(start)), key=len)]


def _training(model: str, tag: str) -> str:
    start = "ImageNet-1k, then " if model.startswith("swin3d") and tag == "kinetics400" else ""
    return start + _TRAINING[tag]


def _recipe(takes: str, weights: Mapping[str, Any]) -> Recipe:
    norm: dict[str, Setting] = {"mean": tuple(weights["mean"]), "std": tuple(weights["std"])}
    return recipes.slice_recipe(weights["size"], norm, _FRAMES if takes == CLIP else recipes.COUNTS)


def _weights(weights: Mapping[str, Any]) -> Weights:
    return Weights(
        url=weights["url"],
        file=weights["file"],
        digest=f"sha256:{weights['file'].removesuffix('.pth').rsplit('-', 1)[-1]}",  # torchvision names files so
        licence=weights["licence"],
        size_bytes=weights["size_bytes"],
    )


def _sheet(model: str, facts: Mapping[str, Any], tag: str) -> Network:
    weights = facts["weights"][tag]
    clip = facts["takes"] == CLIP
    return Network(
        name=f"{model}.{tag}",
        family="Kinetics, slices as frames" if clip else "ImageNet, on slices",
        architecture="featx.networks.architectures.pictures:build",
        arguments=weights["arguments"],
        takes=facts["takes"],
        recipe=_recipe(facts["takes"], weights),
        weights=_weights(weights),
        taps={name: Tap(module, width, positions) for name, (module, width, positions) in facts["taps"].items()},
        default_taps=tuple(facts["default_taps"]),
        default_views=("axial",) if clip else ("sagittal", "coronal", "axial"),
        default_pooling=("mean",),
        training=_training(model, tag),
        age_range_years=None,
        reference=_reference(model),
        n_parameters=weights["n_parameters"],
        layout=facts["layout"],
        class_tokens=facts["class_tokens"],
        fixed=tuple(facts["fixed"]),
        stem=facts["stem"],
        reads="featx.networks.architectures.pictures:read_renamed" if _RENAMED.match(model) else "",
    )


_FACTS: Mapping[str, Any] = json.loads(files("featx.networks.table").joinpath("torchvision.json").read_text("utf-8"))

SHEETS = tuple(_sheet(model, facts, tag) for model, facts in _FACTS.items() for tag in facts["weights"])
