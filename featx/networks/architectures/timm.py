"""Networks of timm, on slices: their sheets, read from timm itself, and how they are built and filled.

A sheet is measured: the network runs once on torch's meta device, which computes shapes and nothing else, and a place
is promised only where its output is what timm says of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featx.errors import DependencyError, NetworkError, WeightsError, first_line, known
from featx.networks import recipes
from featx.networks.checkpoint import read_checkpoint
from featx.networks.sheet import CHANNELS_FIRST, CHANNELS_LAST, PICTURES, Network, Tap, Weights

CODE = "featx.networks.architectures.timm"
FEATURES = "features"
MOST_STAGES = 6  # read by default; of more, four that are evenly spaced
_TORCH_FILES = (".pth", ".pt", ".bin", ".safetensors")


def build(*, model: str) -> nn.Module:
    """The network of timm with its classifier, weights not set by a file.

    Raises
    ------
    NetworkError
        timm has no such network of its own.
    """
    timm = _timm()
    _check_name(timm, model)
    network: nn.Module = timm.create_model(model, pretrained=False)
    return network


def read(path: Path, sheet: Network) -> dict[str, Tensor]:
    """State dict of a checkpoint of timm, or of this network, in whatever form timm reads it.

    Raises
    ------
    WeightsError
        It belongs to another network.
    """
    tensors = read_checkpoint(path)
    model = str(sheet.arguments["model"])
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        wanted = build(model=model).state_dict()
    if {name: values.shape for name, values in tensors.items()} == {name: one.shape for name, one in wanted.items()}:
        return tensors
    own = {"state_dict": tensors, "file": "", "url": "", "hf_hub_id": "", "custom_load": False}
    try:
        with torch.random.fork_rng(devices=[]):
            network = _timm().create_model(model, pretrained=True, pretrained_cfg_overlay=own)
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"weights must fit {sheet.name} as timm reads them; those of {path} do not ({first_line(error)[:120]}); "
            "they belong to another network: name that one, or give its own file"
        ) from error
    found: dict[str, Tensor] = network.state_dict()
    return found


def describe(name: str) -> Network:
    """The sheet of a network of timm, by timm's name for it, with or without a tag behind a dot.

    Its own name has the tag of the weights that timm takes today, so that it says the same after a change of timm.

    Raises
    ------
    NetworkError
        timm has no such network, or it does not take square pictures of three channels.
    DependencyError
        timm is not installed.
    """
    timm = _timm()
    _check_name(timm, name)
    facts = timm.get_pretrained_cfg(name)
    model = _full_name(timm, facts)
    channels, height, width = facts.input_size
    if channels != 3 or height != width:
        raise NetworkError(
            f"a network on slices must take square pictures of three channels; timm's {model} takes "
            f"{channels} x {height} x {width}; choose another one"
        )
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        network = build(model=model).eval()
    seen = _look(network, height)
    taps, layout, class_tokens = _taps(network, seen, height)
    if not taps:
        raise NetworkError(
            f"a network must have a place that gives maps, tokens or a vector; timm's {model} has none; take another"
        )
    return Network(
        name=f"timm:{model}",
        family="timm, on slices",
        architecture=f"{CODE}:build",
        arguments={"model": model},
        takes=PICTURES,
        recipe=recipes.slice_recipe(height, {"mean": tuple(facts.mean), "std": tuple(facts.std)}),
        weights=_weights(facts, model, network),
        taps=taps,
        default_taps=_spread([tap for tap in taps if tap != FEATURES]) or (FEATURES,),
        default_views=("sagittal", "coronal", "axial"),
        default_pooling=("mean",),
        training=_training(facts, model),
        age_range_years=None,
        reference=", ".join(_listed(facts.paper_ids)) or _page(facts),
        n_parameters=sum(values.numel() for values in network.parameters()),
        layout=layout,
        class_tokens=class_tokens,
        fixed=("size",) if facts.fixed_input_size else (),
        stem=_stem(network, seen),
        extra="timm",
        reads=f"{CODE}:read",
        class_token_first=not class_tokens or _has_class_token(network),
    )


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise DependencyError(
            f"networks named timm: need the package timm; {error.name} is not there; run pip install 'featx[timm]'"
        ) from error
    return timm


def _check_name(timm: Any, name: str) -> None:
    """Names of timm's own registry only: it also takes addresses of repositories and folders for names."""
    base, _, tag = name.partition(".")
    there = timm.list_models()
    tags = timm.list_models(f"{base}.*", pretrained=True) if base in there else []
    if base not in there or (tag and name not in tags):
        raise NetworkError(
            f"a network named timm: must be one that timm {timm.__version__} has; {name!r} is not; "
            f"{known(tags or there, name)}"
        )


def _full_name(timm: Any, facts: Any) -> str:
    """With the tag of the weights, if there are any: timm has tags that stand for none, such as "untrained"."""
    model = f"{facts.architecture}.{facts.tag}"
    return model if model in timm.list_models(f"{facts.architecture}.*", pretrained=True) else facts.architecture


def _training(facts: Any, model: str) -> str:
    if model == facts.architecture:
        return "nothing: timm publishes no weights of it"
    return f"what timm's tag {facts.tag} stands for; see {_page(facts)}"


def _listed(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _page(facts: Any) -> str:
    if facts.hf_hub_id:
        return f"https://huggingface.co/{facts.hf_hub_id}"
    return str(facts.origin_url or facts.url or "timm")


def _weights(facts: Any, model: str, network: nn.Module) -> Weights | None:
    if facts.hf_hub_id:
        file = facts.hf_hub_filename or "model.safetensors"
        url = f"https://huggingface.co/{facts.hf_hub_id}/resolve/main/{file}"
    else:
        url = file = facts.url or ""
    if not file.endswith(_TORCH_FILES):
        return None
    ending = ".safetensors" if file.endswith(".safetensors") else ".pth"
    bytes_of_all = sum(values.numel() * values.element_size() for values in network.state_dict().values())
    return Weights(url, f"timm--{model}{ending}", "", facts.license or "unknown", bytes_of_all)


# --- what a pass shows ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """What one pass shows: output shapes by module path, leaves that take the picture itself, the classifier's input.

    Attributes
    ----------
    shapes : mapping of str to tuple of int
    takers : tuple of str
        In the order of their calls, each call of a module once.
    before : str
        Path of the last module whose output the classifier takes as it is; "" if there is none.
    """

    shapes: Mapping[str, tuple[int, ...]]
    takers: tuple[str, ...]
    before: str


def _look(network: nn.Module, size: int) -> _Seen:
    """Run a network on the meta device and note what its modules take and give."""
    picture = torch.empty((1, 3, size, size), device="meta")
    of_timm: Any = network
    classifier = of_timm.get_classifier() if hasattr(network, "get_classifier") else None
    shapes: dict[str, tuple[int, ...]] = {}
    outputs: dict[str, Tensor] = {}
    takers: list[str] = []
    before: list[str] = []

    def note(path: str) -> Any:
        def hook(module: nn.Module, inputs: Sequence[Any], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if any(one is picture for one in inputs) and not list(module.children()):
                takers.append(path)
            if module is classifier and inputs:
                # a classifier that is left out is an identity, whose output is as good a place to read
                own = [path] if isinstance(module, nn.Identity) else []
                before.extend([*(one for one, value in outputs.items() if value is inputs[0]), *own])
            if isinstance(first, Tensor):
                shapes[path], outputs[path] = tuple(first.shape), first

        return hook

    for path, module in network.named_modules():
        module.register_forward_hook(note(path))
    with torch.inference_mode():
        network(picture)
    return _Seen(shapes, tuple(takers), before[-1] if before else "")


def _taps(network: nn.Module, seen: _Seen, size: int) -> tuple[dict[str, Tap], str, int]:
    """Places to read, where maps keep their channels, and how many tokens stand before those of the picture."""
    told = getattr(network, "feature_info", None) or []
    prefix = int(getattr(network, "num_prefix_tokens", None) or 0)
    stages: dict[str, tuple[int, str, int]] = {}
    for one in getattr(told, "info", told):
        path, width = one.get("module", ""), one["num_chs"]
        form = _form(seen.shapes.get(path, ()), width, (size // one["reduction"]) ** 2, prefix)
        if path and form:
            stages[path] = (width, *form)
    layouts = Counter(layout for _, layout, _ in stages.values() if layout)
    layout = layouts.most_common(1)[0][0] if layouts else CHANNELS_FIRST
    class_tokens = [tokens for _, form, tokens in stages.values() if not form][-1:] or [0]
    taps = {
        path: Tap(path, width)
        for path, (width, form, tokens) in stages.items()
        if (form == layout if form else tokens == class_tokens[0])
    }
    pooled = seen.shapes.get(seen.before, ())
    if seen.before and len(pooled) == 2:
        taps[FEATURES] = Tap(seen.before, pooled[1], positions=False)
    return taps, layout, class_tokens[0]


def _has_class_token(network: nn.Module) -> bool:
    """Registers can stand before a picture's tokens without one."""
    return any(getattr(module, "cls_token", None) is not None for module in network.modules())


def _form(shape: tuple[int, ...], width: int, positions: int, prefix: int) -> tuple[str, int] | None:
    """(layout, 0) of a map, ("", tokens before the picture's) of tokens, None of anything else."""
    if len(shape) == 4 and shape[0] == 1 and width in (shape[1], shape[3]):
        return (CHANNELS_FIRST if shape[1] == width else CHANNELS_LAST), 0
    if len(shape) == 3 and shape[0] == 1 and shape[2] == width and shape[1] - positions in (0, prefix):
        return "", shape[1] - positions
    return None


def _spread(taps: Sequence[str]) -> tuple[str, ...]:
    """All of a few taps; of many, four that are evenly spaced, the last one among them.

    Examples
    --------
    >>> _spread([f"blocks.{at}" for at in range(12)])
    ('blocks.2', 'blocks.5', 'blocks.8', 'blocks.11')
    """
    if len(taps) <= MOST_STAGES:
        return tuple(taps)
    return tuple(taps[len(taps) * quarter // 4 - 1] for quarter in (1, 2, 3, 4))


def _stem(network: nn.Module, seen: _Seen) -> str:
    """Path of the first convolution, if grey pictures can be summed into it: it alone takes the picture, as it is.

    Subclasses of torch's convolution pad or weigh in their own ways.
    """
    if len(seen.takers) != 1:
        return ""
    module = network.get_submodule(seen.takers[0])
    exact = type(module) is nn.Conv2d and module.in_channels == 3 and module.groups == 1
    return seen.takers[0] if exact and module.padding_mode == "zeros" else ""
