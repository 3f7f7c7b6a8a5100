"""What torchvision knows of its networks: the facts that `featx.networks.table.torchvision` holds as JSON (torch).

The JSON is this survey of one version of torchvision; a test holds it equal. To write it anew after an update::

    from pathlib import Path
    from featx.networks.survey import survey, to_json
    Path("featx/networks/table/torchvision.json").write_text(to_json(survey()))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode

from featx.networks.architectures.pictures import build
from featx.networks.reading import layout_of, output_rows, read_taps
from featx.networks.sheet import CHANNELS_FIRST, CHANNELS_LAST, CLIP, PICTURES

FRAMES = 16
SWAG = "CC-BY-NC-4.0"
_MIB = 1 << 20

Paths = dict[str, str]


@dataclass(frozen=True)
class Family:
    """What torchvision does not say of its networks but their code does.

    Attributes
    ----------
    stages : callable
        From the network to its taps, name to module path.
    features : str
        Module whose output is the vector that the last linear layer reads; "" where no module gives it.
    stem : str
        First convolution, where grey pictures can be summed into it.
    usual : callable
        From the names of the stages to those that are read if nothing is asked for.
    layout, class_tokens, fixed
        As in `featx.networks.sheet.Network`.
    """

    stages: Callable[[nn.Module], Paths]
    features: str = ""
    stem: str = ""
    usual: Callable[[list[str]], list[str]] = list
    layout: str = CHANNELS_FIRST
    class_tokens: int = 0
    fixed: tuple[str, ...] = ()


# --- stages ---------------------------------------------------------------------------------------------------


def _named(word: str, paths: list[str], first: int = 1) -> Paths:
    return {f"{word}{at}": path for at, path in enumerate(paths, start=first)}


def _fixed(word: str, *paths: str) -> Callable[[nn.Module], Paths]:
    return lambda network: _named(word, list(paths))


def _children(path: str, kind: str, word: str, first: int = 1) -> Callable[[nn.Module], Paths]:
    """Children of a module that are of a class."""

    def stages(network: nn.Module) -> Paths:
        children = network.get_submodule(path).named_children()
        return _named(word, [f"{path}.{name}" for name, child in children if type(child).__name__ == kind], first)

    return stages


def _middle(network: nn.Module) -> Paths:
    """All of `features` but its first and its last convolution; of blocks in a row, the last of a width."""
    blocks = list(network.get_submodule("features").named_children())[1:-1]
    widths = [getattr(block, "out_channels", int(name)) for name, block in blocks]
    ends = [name for (name, _), here, after in zip(blocks, widths, [*widths[1:], None], strict=True) if here != after]
    return _named("stage", [f"features.{name}" for name in ends])


def _modules(*names: str) -> Callable[[nn.Module], Paths]:
    return lambda network: {name: name for name in names}


def _s3d(network: nn.Module) -> Paths:
    names = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
    blocks = _children("features", "SepInceptionBlock3D", "", 0)(network).values()
    return {f"mixed{name}": path for name, path in zip(names, blocks, strict=True)}


def _five_of(names: list[str]) -> list[str]:
    """Five evenly spaced, the last among them."""
    return [names[round(len(names) * at / 5) - 1] for at in range(1, 6)]


_GOOGLENET = tuple(f"inception{at}" for at in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"))
_INCEPTION = tuple(f"Mixed_{at}" for at in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"))
_LAYERS = _modules("layer1", "layer2", "layer3", "layer4")
_RESNET = Family(_LAYERS, "avgpool", "conv1")
_R3D = Family(_LAYERS, "avgpool", "stem.0")
_EVERY_OTHER = ("features.1", "features.3", "features.5", "features.7")

FAMILIES: Mapping[str, Family] = {
    "alexnet": Family(_children("features", "ReLU", "conv"), "classifier.5", "features.0"),
    "vgg": Family(_children("features", "MaxPool2d", "block"), "classifier.5", "features.0"),
    "squeezenet": Family(_children("features", "Fire", "fire", 2), "", "features.0"),
    "resnet": _RESNET,
    "resnext": _RESNET,
    "wide_resnet": _RESNET,
    "densenet": Family(_children("features", "_DenseBlock", "block"), "", "features.conv0"),
    "googlenet": Family(_modules(*_GOOGLENET), "dropout"),
    "inception": Family(_modules(*_INCEPTION), "dropout", usual=lambda names: [*names[2:4], *names[7:9], names[10]]),
    "mobilenet_v2": Family(_middle, "classifier.0", "features.0.0"),
    "mobilenet_v3": Family(_middle, "classifier.2", "features.0.0"),
    "efficientnet": Family(_middle, "classifier.0", "features.0.0"),
    "mnasnet": Family(_fixed("stage", *(f"layers.{at}" for at in range(7, 14))), "classifier.0", "layers.0"),
    "shufflenet": Family(_modules("stage2", "stage3", "stage4", "conv5"), "", "conv1.0"),
    "regnet": Family(_fixed("stage", *(f"trunk_output.block{at}" for at in (1, 2, 3, 4))), "avgpool", "stem.0"),
    "convnext": Family(_fixed("stage", *_EVERY_OTHER), "classifier.1", "features.0.0"),
    "swin": Family(_fixed("stage", *_EVERY_OTHER), "flatten", "features.0.0", layout=CHANNELS_LAST),
    "maxvit": Family(_children("blocks", "MaxVitBlock", "block"), "classifier.4", "stem.0.0", fixed=("size",)),
    "vit": Family(
        _children("encoder.layers", "EncoderBlock", "layer"),
        "heads.features",
        "conv_proj",
        _five_of,
        class_tokens=1,
        fixed=("size",),
    ),
    "r3d": _R3D,
    "mc3": _R3D,
    "r2plus1d": _R3D,
    "s3d": Family(_s3d, "avgpool", "features.0.0.0"),
    "mvit": Family(
        _children("blocks", "MultiscaleBlock", "block"),
        "head.0",
        "conv_proj",
        lambda names: [names[at] for at in (0, 2, 13, 15)],  # the last ones at their resolution
        class_tokens=1,
        fixed=("size", "slices"),
    ),
    # No stem: clips are continued with zeros to whole patches behind the normalisation.
    "swin3d": Family(
        _fixed("stage", "features.0", "features.2", "features.4", "features.6"), "avgpool", layout=CHANNELS_LAST
    ),
}


def family_of(model: str) -> Family:
    """The family of a torchvision network: the longest beginning of its name among `FAMILIES`.

    Examples
    --------
    >>> family_of("wide_resnet50_2").stem, family_of("r2plus1d_18").stem
    ('conv1', 'stem.0')
    """
    return FAMILIES[max((start for start in FAMILIES if model.startswith(start)), key=len, default=model)]


# --- the survey -----------------------------------------------------------------------------------------------


class Hollow(TorchFunctionMode):
    """While it lasts, networks are built without memory for their parameters."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}) | ({"device": "meta"} if func is torch.empty else {}))


def hollow(**arguments: Any) -> nn.Module:
    """A network as `build` gives it, in eval mode, with shapes in place of numbers: on the meta device."""
    with Hollow():
        network = build(**arguments)
    return network.to("meta").eval()


def survey() -> dict[str, Any]:
    """Facts of every classification network of torchvision and every video network, by torchvision's name.

    Returns
    -------
    dict
        takes, stem, layout, class_tokens, fixed; taps: name to [module, width, has positions]; default_taps; weights:
        tag to arguments, n_parameters, file, url, licence, size_bytes, size (pixels), mean, std.
    """
    pictures = torchvision.models.list_models(module=torchvision.models)
    clips = torchvision.models.list_models(module=torchvision.models.video)
    return {model: _facts(model, PICTURES) for model in pictures} | {model: _facts(model, CLIP) for model in clips}


def to_json(facts: Mapping[str, Any]) -> str:
    """JSON with one network per line."""
    return "{\n" + ",\n".join(f"{json.dumps(model)}: {json.dumps(facts[model])}" for model in facts) + "\n}\n"


def _facts(model: str, takes: str) -> dict[str, Any]:
    family = family_of(model)
    enums = [enum for enum in torchvision.models.get_model_weights(model) if enum.name != "IMAGENET1K_FEATURES"]
    with torch.inference_mode():
        network = hollow(model=model)
        stages = family.stages(network)
        return {
            "takes": takes,
            "stem": family.stem,
            "layout": family.layout,
            "class_tokens": family.class_tokens,
            "fixed": list(family.fixed),
            "taps": _taps(network, family, stages, enums[0], takes),
            "default_taps": family.usual(list(stages)),
            "weights": {_tag(enum.name): _weights(enum, model, network) for enum in enums},
        }


def _taps(network: nn.Module, family: Family, stages: Paths, enum: Any, takes: str) -> dict[str, Any]:
    paths = dict(stages)
    if family.features:
        paths["features"] = family.features
    size = getattr(network, "image_size", enum.transforms().crop_size[0])
    x = torch.empty((1, 3, *((FRAMES,) if takes == CLIP else ()), size, size), device="meta")
    keep = {
        tap: _keep(network.get_submodule(path), family, positions=tap != "features") for tap, path in paths.items()
    }
    return {tap: [paths[tap], *found] for tap, found in read_taps(network, x, paths, keep, {}).items()}


def _keep(module: nn.Module, family: Family, *, positions: bool) -> Callable[[torch.Tensor], tuple[int, bool]]:
    layout = layout_of(module, family.layout)
    return lambda output: (output_rows(output, layout, family.class_tokens, "mean").shape[1], positions)


def _tag(enum: str) -> str:
    """``imagenet``, ``imagenet_v2``, ``imagenet_swag_e2e``, ``kinetics400``, ``kinetics400_imagenet22k`` ...

    Examples
    --------
    >>> _tag("IMAGENET1K_V2"), _tag("IMAGENET1K_SWAG_E2E_V1"), _tag("KINETICS400_V1")
    ('imagenet_v2', 'imagenet_swag_e2e', 'kinetics400')
    """
    return enum.lower().replace("imagenet1k", "imagenet").removesuffix("_v1")


def _weights(enum: Any, model: str, network: nn.Module) -> dict[str, Any]:
    transforms = enum.transforms()
    size = int(transforms.crop_size[0])
    arguments: dict[str, Any] = {"model": model}
    if getattr(network, "image_size", size) != size:  # a ViT's positions are learned for one size
        arguments["image_size"] = size
        network = hollow(**arguments)
    return {
        "arguments": arguments,
        "n_parameters": sum(values.numel() for values in network.parameters()),
        "url": enum.url,
        "file": enum.url.rsplit("/", 1)[-1],
        "licence": SWAG if "SWAG" in enum.name else "BSD-3-Clause",
        "size_bytes": round(enum.meta["_file_size"] * _MIB),
        "size": size,
        "mean": list(transforms.mean),
        "std": list(transforms.std),
    }
