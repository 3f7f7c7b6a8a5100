"""3D networks for medical volumes: MONAI's, to be trained or given a checkpoint, and 2D ones inflated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from featx.images.volume import MNI152_2MM
from featx.networks import recipes
from featx.networks.sheet import VOLUME, Network, Recipe, Setting, Step, Tap, Weights

_PADDED = (96, 112, 96)  # of 91x109x91: whole cubes of 16 voxels
_PAD = Step("pad", {"shape": _PADDED})
_Z_SCORE = Step("z-score")
# Grey in [0, 1], normalised by the mean of ImageNet's channel means and of its standard deviations.
_GREY = (recipes.TO_UNIT, Step("shift-and-scale", {"mean": 0.449, "std": 0.226}))


def _recipe(*steps: Step) -> Recipe:
    return Recipe(grid=MNI152_2MM, steps=steps, views=recipes.WHOLE)


def _resnet_taps(widest: int) -> dict[str, Tap]:
    taps = {f"layer{at}": Tap(f"layer{at}", widest // 2 ** (4 - at)) for at in (1, 2, 3, 4)}
    return taps | {"features": Tap("avgpool", widest, positions=False)}


def _transformer_taps(layers: str, norm: str, features: str) -> dict[str, Tap]:
    taps = {f"layer{at}": Tap(layers.format(at - 1), 768) for at in range(1, 13)}
    return taps | {"tokens": Tap(norm, 768), "features": Tap(features, 768, positions=False)}


_STAGES = ("layer1", "layer2", "layer3", "layer4")
_LAYERS = ("layer3", "layer6", "layer9", "layer12", "features")

# What MONAI's networks have in common.
_MONAI = Network(
    name="",
    family="3D, for medical volumes",
    architecture="featx.networks.architectures.medical:build",
    arguments={},
    takes=VOLUME,
    recipe=_recipe(_Z_SCORE),
    weights=None,
    taps={},
    default_taps=_STAGES,
    default_views=("volume",),
    default_pooling=("mean",),
    training="nothing: to be trained, or given a checkpoint",
    age_range_years=None,
    reference="",
    extra="monai",
)
_INFLATED = replace(
    _MONAI,
    family="3D, inflated from ImageNet",
    architecture="featx.networks.architectures.inflated:resnet",
    recipe=_recipe(*_GREY),
    training="ImageNet-1k, 1.28 million photographs in 1,000 classes, in 2D; inflated, never trained in 3D",
    extra="torch",
    reads="featx.networks.architectures.inflated:read",
)


def _torchvision(file: str, size_bytes: int) -> Weights:
    return Weights(
        url=f"https://download.pytorch.org/models/{file}",
        file=file,
        digest=f"sha256:{file.removesuffix('.pth').rsplit('-', 1)[-1]}",
        licence="BSD-3-Clause",
        size_bytes=size_bytes,
    )


_BY_MONAI = "; Cardoso et al. 2022, arXiv 2211.02701 (MONAI)"
_BY_INFLATION = "; inflated as in Carreira and Zisserman 2017, CVPR"
_HE, _DOSOVITSKIY = "He et al. 2016, CVPR", "Dosovitskiy et al. 2021, ICLR"
# The stride of the first convolution is 2, as in the 2D network and in MedicalNet; MONAI's own default is 1.
_RESNET: Mapping[str, Setting] = {"n_input_channels": 1, "num_classes": 1, "conv1_t_stride": 2}

SHEETS = (
    replace(
        _MONAI,
        name="densenet121_3d.monai",
        arguments={"model": "DenseNet121", "in_channels": 1, "out_channels": 1},
        taps={
            "block1": Tap("features.denseblock1", 256),
            "block2": Tap("features.denseblock2", 512),
            "block3": Tap("features.denseblock3", 1024),
            "block4": Tap("features.denseblock4", 1024),
            "features": Tap("class_layers.flatten", 1024, positions=False),
        },
        default_taps=("block1", "block2", "block3", "block4"),
        reference=f"Huang et al. 2017, CVPR{_BY_MONAI}",
        n_parameters=11_243_649,
    ),
    replace(
        _MONAI,
        name="resnet18_3d.monai",
        arguments={"model": "resnet18", **_RESNET},
        taps=_resnet_taps(512),
        reference=f"{_HE}{_BY_MONAI}",
        n_parameters=33_161_409,
    ),
    replace(
        _MONAI,
        name="resnet50_3d.monai",
        arguments={"model": "resnet50", **_RESNET},
        taps=_resnet_taps(2048),
        reference=f"{_HE}{_BY_MONAI}",
        n_parameters=46_160_961,
    ),
    replace(
        _MONAI,
        name="vit_3d.monai",
        arguments={"model": "ViT", "in_channels": 1, "num_classes": 1, "img_size": _PADDED, "patch_size": 16},
        recipe=_recipe(_Z_SCORE, _PAD),
        taps=_transformer_taps("blocks.{}", "norm", "classification_head.vector"),
        default_taps=_LAYERS,
        reference=f"{_DOSOVITSKIY}{_BY_MONAI}",
        n_parameters=88_388_353,
        class_tokens=1,
    ),
    replace(
        _INFLATED,
        name="resnet18_3d.imagenet",
        arguments={"model": "resnet18"},
        weights=_torchvision("resnet18-f37072fd.pth", 46_830_571),
        taps=_resnet_taps(512),
        reference=f"{_HE}{_BY_INFLATION}",
        n_parameters=33_673_000,
    ),
    replace(
        _INFLATED,
        name="resnet50_3d.imagenet",
        arguments={"model": "resnet50"},
        weights=_torchvision("resnet50-0676ba61.pth", 102_530_333),
        taps=_resnet_taps(2048),
        reference=f"{_HE}{_BY_INFLATION}",
        n_parameters=48_204_072,
    ),
    replace(
        _INFLATED,
        name="vit_b_16_3d.imagenet",
        architecture="featx.networks.architectures.inflated:VolumeTransformer",
        arguments={"shape": _PADDED, "patch": 16},
        recipe=_recipe(*_GREY, _PAD),
        weights=_torchvision("vit_b_16-c867db91.pth", 346_328_529),
        taps=_transformer_taps("encoder.layers.encoder_layer_{}", "encoder.ln", "features"),
        default_taps=_LAYERS,
        reference=f"{_DOSOVITSKIY}{_BY_INFLATION}",
        n_parameters=89_166_568,
        class_tokens=1,
    ),
)
