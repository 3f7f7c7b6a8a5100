"""NETWORKS: every network featx can run, as a table of facts. Importing it needs no torch.

A network's name is ``architecture.tag``. Its sheet says where the weights come from and what they were trained
on, the **recipe** (what volume the network wants, and the steps from there to its input tensor), its **views**
(the axes it can look along), and its **taps** (the places that can be read, each with its number of features).
A new network is a new entry; the tests run over the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from featx.errors import NetworkError, known
from featx.images.volume import MNI152_1MM, MNI152_2MM, Grid

Setting = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Step:
    """One step of a recipe: its name (a key of `featx.networks.recipe.STEPS`) and its numbers."""

    name: str
    settings: Mapping[str, Setting] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class View:
    """One way of looking at a volume.

    Attributes
    ----------
    name : str
        "volume", or the axis that is sliced: sagittal, coronal, axial.
    steps : tuple of Step
        Done on the device, after the recipe's own steps.
    """

    name: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What volume a network wants, and the steps from there to its input.

    Attributes
    ----------
    grid : Grid
        The volume must lie on it, in any orientation; it is reoriented to the grid's without loss.
    steps : tuple of Step
        Done once per image, on the whole volume, before any view.
    views : tuple of View
        Those it can look along; `Network.default_views` names those it does if nothing is asked for.
    """

    grid: Grid
    steps: tuple[Step, ...]
    views: tuple[View, ...]


@dataclass(frozen=True)
class Weights:
    """Where official weights come from.

    Attributes
    ----------
    url, file : str
        Address, and the name in the cache.
    digest : str
        "sha256:" with the first hex digits or all of them, or "git-blob-sha1:" with all forty.
    licence : str
    """

    url: str
    file: str
    digest: str
    licence: str


@dataclass(frozen=True)
class Network:
    """The fact sheet of one network.

    Attributes
    ----------
    architecture : str
        Module with the functions build, modules, forward and optimise; imported only when it is run. `arguments` go
        to build and modules.
    taps : mapping of str to int
        Places that can be read, with the number of features each gives per position.
    default_taps, default_views, default_pooling : tuple of str
        What is read if nothing is asked for.
    poolings : tuple of str
        Known ways to pool a tap over space or slices.
    training, age_range_years : str, tuple of 2 float or None
        What the official weights were trained on, and the ages in it where that is known.
    """

    name: str
    architecture: str
    arguments: Mapping[str, Setting]
    recipe: Recipe
    weights: Weights
    taps: Mapping[str, int]
    default_taps: tuple[str, ...]
    default_views: tuple[str, ...]
    default_pooling: tuple[str, ...]
    poolings: tuple[str, ...]
    training: str
    age_range_years: tuple[float, float] | None
    reference: str


# --- recipes --------------------------------------------------------------------------------------------------

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_KINETICS = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}

# Peng 2021: mean of the WHOLE volume, then the crop; both in FSL's LAS order.
SFCN_RECIPE = Recipe(
    grid=MNI152_1MM,
    steps=(Step("divide-by-mean"), Step("crop", {"box": ((11, 171), (13, 205), (11, 171))})),
    views=(View("volume"),),
)

_TO_UNIT = Step("percentile-to-unit", {"percentile": 99.5})  # of the non-zero voxels; above it is 1, below 0 is 0


def slice_recipe(size: int, norm: Mapping[str, Setting], counts: tuple[int, int, int]) -> Recipe:
    """Slices of a 2 mm MNI brain along three axes, evenly spaced where every head has brain.

    Parameters
    ----------
    size : int
        Edge of the square the slices are resized to, in pixels.
    norm : mapping
        Per-channel mean and std of the pretraining images.
    counts : tuple of 3 int
        Slices along the sagittal, coronal and axial axis.
    """
    spans = {"sagittal": (14, 74), "coronal": (14, 94), "axial": (8, 72)}
    views = tuple(
        View(
            axis,
            (
                Step("slices", {"axis": axis, "first": first, "last": last, "count": count}),
                Step("resize", {"size": size}),
                Step("normalise", norm),
            ),
        )
        for (axis, (first, last)), count in zip(spans.items(), counts, strict=True)
    )
    return Recipe(grid=MNI152_2MM, steps=(_TO_UNIT,), views=views)


_IMAGENET_RECIPE = slice_recipe(224, _IMAGENET, (16, 17, 17))
_KINETICS_RECIPE = slice_recipe(112, _KINETICS, (16, 16, 16))

# --- the table ------------------------------------------------------------------------------------------------


def _sfcn(tag: str, channels: tuple[int, ...], outputs: int, weights: Weights, label: str) -> Network:
    taps = {f"block{at}": width for at, width in enumerate(channels)}
    return Network(
        name=f"sfcn.{tag}",
        architecture="featx.networks.sfcn",
        arguments={"channels": channels, "n_outputs": outputs},
        recipe=SFCN_RECIPE,
        weights=weights,
        taps=taps | {"features": channels[-1], "logits": outputs},
        default_taps=("features",),
        default_views=("volume",),
        default_pooling=("mean",),
        poolings=("mean", "max"),
        training=f"12,949 UK Biobank brains, to predict {label}",
        age_range_years=(42.0, 82.0),  # the span of its age bins
        reference="Peng et al. 2021, Medical Image Analysis 68:101871",
    )


def _slices(model: str, file: str, taps: Mapping[str, int], licence: str, reference: str) -> Network:
    return Network(
        name=f"{model}.imagenet",
        architecture="featx.networks.slices",
        arguments={"model": model},
        recipe=_IMAGENET_RECIPE,
        weights=Weights(
            url=f"https://download.pytorch.org/models/{file}",
            file=file,
            digest=f"sha256:{file.removesuffix('.pth').rsplit('-', 1)[-1]}",  # torchvision names files so
            licence=licence,
        ),
        taps=taps,
        default_taps=tuple(taps),
        default_views=("sagittal", "coronal", "axial"),
        default_pooling=("mean",),
        poolings=("mean", "max", "std", "concat"),
        training="ImageNet-1k, 1.28 million photographs in 1,000 classes",
        age_range_years=None,
        reference=reference,
    )


_PENG = "https://raw.githubusercontent.com/ha-ha-ha-han/UKBiobank_deep_pretrain/master/"
_RESNET_TAPS = {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}

_SHEETS = (
    _sfcn(
        "ukb_age",
        (32, 64, 128, 256, 256, 64),
        40,
        Weights(
            url=f"{_PENG}brain_age/run_20190719_00_epoch_best_mae.p",
            file="sfcn_ukb_age_run_20190719_00_epoch_best_mae.p",
            digest="git-blob-sha1:3631938002f789a842469132155380fa36de7d4d",
            licence="MIT",
        ),
        "age in 40 one-year bins",
    ),
    _sfcn(
        "ukb_sex",
        (28, 58, 128, 256, 256, 64),
        2,
        Weights(
            url=f"{_PENG}sex_prediction/run_20191008_00_epoch_last.p",
            file="sfcn_ukb_sex_run_20191008_00_epoch_last.p",
            digest="git-blob-sha1:ac0d602bb7d56d8fc3e05fb00414c0905bcc1ffb",
            licence="MIT",
        ),
        "sex",
    ),
    _slices(
        "squeezenet1_0",
        "squeezenet1_0-b66bff10.pth",
        {
            "fire2": 128,
            "fire3": 128,
            "fire4": 256,
            "fire5": 256,
            "fire6": 384,
            "fire7": 384,
            "fire8": 512,
            "fire9": 512,
        },
        "BSD-3-Clause",
        "Iandola et al. 2016, arXiv 1602.07360",
    ),
    _slices("resnet18", "resnet18-f37072fd.pth", _RESNET_TAPS, "BSD-3-Clause", "He et al. 2016, CVPR"),
    Network(
        name="r3d_18.kinetics400",
        architecture="featx.networks.video",
        arguments={"model": "r3d_18"},
        recipe=_KINETICS_RECIPE,
        weights=Weights(
            url="https://download.pytorch.org/models/r3d_18-b3b3357e.pth",
            file="r3d_18-b3b3357e.pth",
            digest="sha256:b3b3357e",
            licence="BSD-3-Clause",
        ),
        taps=_RESNET_TAPS,
        default_taps=tuple(_RESNET_TAPS),
        default_views=("axial",),
        default_pooling=("mean",),
        poolings=("mean", "max", "std"),
        training="Kinetics-400, 240,000 video clips in 400 classes of human action",
        age_range_years=None,
        reference="Tran et al. 2018, CVPR",
    ),
)

NETWORKS: Mapping[str, Network] = MappingProxyType({sheet.name: sheet for sheet in _SHEETS})


def get_network(name: str) -> Network:
    """The sheet of a network.

    Raises
    ------
    NetworkError
        The name is unknown; the sentence names the known ones.
    """
    if name not in NETWORKS:
        raise NetworkError(f"a network must be in the table; {name!r} is not; {known(NETWORKS)}")
    return NETWORKS[name]
