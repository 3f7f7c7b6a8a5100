"""Build a network and load the weights that were asked for (torch).

Weights are asked for by a word: ``official`` (downloaded once, verified, cached), ``random:SEED``, the path of a
checkpoint, or ``reinit:SEED`` and ``reinit:SEED:PATH``, the same-scale control of official weights or of a file. What
was asked for is what is loaded, or an error: nothing falls back.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from featx.errors import FeatxError, NetworkError, WeightsError, first_line
from featx.networks.checkpoint import read_checkpoint, read_converted, read_official, read_weights, tensors_sha256
from featx.networks.described import OWN as OWN_CODE
from featx.networks.download import Progress, converted_path, has_digest
from featx.networks.named import FACTORY, OWN
from featx.networks.sheet import Network
from featx.networks.trained import innermost

__all__ = ["OFFICIAL", "Loaded", "Progress", "build", "load_network", "needs_official", "read_checkpoint", "redraw"]

OFFICIAL = "official"
# What an architecture raises on arguments that it cannot take: those of a file can be any.
_NOT_ITS_ARGUMENTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, frozen.

    Attributes
    ----------
    network : Module
        In eval mode, float32, on the CPU.
    weights : str
        For the provenance: official, random:SEED, file:NAME, factory, or "reinit:SEED of" one of them.
    sha256 : str
        Digest of the loaded tensors.
    tag : str
        What tells these weights from the usual ones in a feature set's name; "" for official ones and those of a
        network's own factory.
    """

    network: nn.Module
    weights: str
    sha256: str
    tag: str


def build(sheet: Network) -> nn.Module:
    """The network of a sheet, its weights not set by a file.

    Raises
    ------
    NetworkError
        Its architecture cannot take the arguments of the sheet, or has no such stem.
    """
    module, _, name = sheet.architecture.partition(":")
    make = getattr(importlib.import_module(module), name)
    try:
        network: nn.Module = make(**sheet.arguments)
    except FeatxError:
        raise
    except _NOT_ITS_ARGUMENTS as error:
        raise NetworkError(
            f"a network must be built from the arguments of its sheet; {sheet.name} cannot be from "
            f"{dict(sheet.arguments)} ({type(error).__name__}: {first_line(error)[:120]}); mend the facts that they "
            "come from, or install the libraries in the versions that featx asks for"
        ) from error
    _check_stem(network, sheet)
    return network


def _check_stem(network: nn.Module, sheet: Network) -> None:
    stem = dict(network.named_modules()).get(sheet.stem) if sheet.stem else None
    if sheet.stem and not (isinstance(stem, nn.Conv2d | nn.Conv3d) and stem.in_channels == len("RGB")):
        raise NetworkError(
            f"the stem of a sheet must be the convolution that takes red, green and blue; {sheet.stem!r} of "
            f"{sheet.name} is {'none' if stem is None else type(stem).__name__}; leave the sheet's stem empty"
        )


def needs_official(spec: str) -> bool:
    """Whether weights that are asked for by a word come from the official ones.

    Examples
    --------
    >>> [needs_official(spec) for spec in ("official", "reinit:3", "reinit:3:a.pth", "random:3", "a.pth")]
    [True, True, False, False, False]
    """
    return spec == OFFICIAL or (spec.startswith("reinit:") and spec.count(":") == 1)


def load_network(sheet: Network, spec: str, cache: Path, on_progress: Progress | None = None) -> Loaded:
    """Build a network and load the weights that were asked for.

    Parameters
    ----------
    spec : str
        "official", "random:SEED", "reinit:SEED", "reinit:SEED:PATH", or a path; of a network of one's own (python:)
        also "factory", as its factory sets them (any random ones with seed 0).
    cache : Path
        Folder of downloaded weights.
    on_progress : callable, optional
        Given bytes done and bytes in all while downloading.

    Raises
    ------
    WeightsError
        Weights that cannot be had, are damaged, or belong to another network.
    """
    if spec.startswith("random:"):
        seed = _seed(spec.removeprefix("random:"), spec)
        return _built(sheet, seed, spec, f"random-{seed}")
    if spec.startswith("reinit:"):
        text, _, path = spec.removeprefix("reinit:").partition(":")
        seed = _seed(text, spec)
        source = _load_given(sheet, path or _usual(sheet), cache, on_progress)
        redraw(source.network, seed)
        tag = f"reinit-{seed}" + source.tag.removeprefix("file")
        sha256 = tensors_sha256(source.network.state_dict())
        return Loaded(source.network, f"reinit:{seed} of {source.weights}", sha256, tag)
    return _load_given(sheet, spec, cache, on_progress)


def _usual(sheet: Network) -> str:
    return FACTORY if sheet.name.startswith(OWN) else OFFICIAL


def redraw(network: nn.Module, seed: int) -> None:
    """Redraw every parameter from a normal distribution of its own mean and standard deviation, in place.

    The same-scale control of Holderrieth, Smith and Peng 2022: what is left of training is the scale of each tensor.
    Only parameters are redrawn (a batch norm's weight and bias are among them); what a batch norm has learned of the
    mean and variance of its input is no parameter but a statistic of data, and stays. So do tensors of zero spread.

    Parameters
    ----------
    seed : int
        Of a generator of its own: the global one is left alone.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, values in sorted(network.named_parameters()):
            std, mean = (float(one) for one in torch.std_mean(values.double(), correction=0))
            if std > 0:
                drawn = torch.empty(values.shape, dtype=torch.float64).normal_(mean, std, generator=generator)
                values.copy_(drawn)


def _seed(text: str, spec: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text):
        kind = spec.partition(":")[0]
        what = {"random": "random weights", "reinit": "redrawn weights"}[kind]
        raise WeightsError(f"{what} must be asked for as {kind}:SEED with a whole number; got {spec!r}")
    return int(text)


def _built(sheet: Network, seed: int, weights: str, tag: str) -> Loaded:
    """A network as it is built, with the global seed left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(sheet)
    return Loaded(network.eval(), weights, tensors_sha256(network.state_dict()), tag)


def _load_given(sheet: Network, spec: str, cache: Path, on_progress: Progress | None) -> Loaded:
    """Official weights, those of a file, or those of a network's own factory."""
    if spec == FACTORY and _usual(sheet) == FACTORY:
        return _built(sheet, 0, FACTORY, "")
    if spec == OFFICIAL and sheet.weightless:
        return _built(sheet, 0, OFFICIAL, "")
    if spec == OFFICIAL:
        if sheet.weights is None:
            raise WeightsError(
                f"official weights must be published to be had; featx knows of none for {sheet.name}; give --weights "
                f"{sheet.name}=FILE, or ask for {sheet.name}@random:SEED"
            )
        tensors, path = read_official(sheet, sheet.weights, cache, on_progress)
        official = True
    else:
        path = Path(spec)
        tensors, official = _read_file(sheet, path, cache)
        _check_shapes(sheet, tensors, path)
    with torch.random.fork_rng(devices=[]):
        network = build(sheet)
    _fill(network, tensors, sheet.name, path)
    sha256 = tensors_sha256(network.state_dict())
    if official:
        return Loaded(network.eval(), OFFICIAL, sha256, "")
    return Loaded(network.eval(), f"file:{path.name}", sha256, f"file-{sha256[:8]}")


def _read_file(sheet: Network, path: Path, cache: Path) -> tuple[dict[str, Tensor], bool]:
    """Tensors of a file, and whether they are the official ones.

    They are where the file has the published digest. What was made of it says itself what it was made of, which is
    believed in the cache alone.
    """
    weights = sheet.weights
    converted = converted_path(weights, cache) if weights else None
    if weights and converted and path.is_file() and path.resolve() == converted.resolve():
        return read_converted(path, sheet, weights), True
    tensors = read_weights(path, sheet)
    return tensors, bool(weights and weights.digest and has_digest(path, weights.digest))


def _check_shapes(sheet: Network, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a file whose tensors are of another network before memory is taken for that one."""
    if innermost(sheet).architecture == OWN_CODE:  # a factory may do anything: it is called once
        return
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = build(sheet)
    except NetworkError:  # some cannot be built without numbers; what else is wrong is told when it is built
        return
    _check_fit(network, tensors, sheet.name, path)


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], name: str, path: Path) -> None:
    given = _check_fit(network, tensors, name, path)
    broken = [k for k, _ in network.named_parameters() if not given[k].isfinite().all()]
    if broken:
        raise WeightsError(
            f"weights of {name} must be finite numbers; those of {path} are not at {broken[0]}; get another copy"
        )
    network.load_state_dict(given, strict=False)


def _check_fit(network: nn.Module, tensors: Mapping[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """The tensors that a network takes, which must be all of its own."""
    wanted = network.state_dict()
    given = {k: v for k, v in tensors.items() if k in wanted or not k.endswith("num_batches_tracked")}
    absent = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    surplus = [k for k in given if k not in wanted]
    other = [k for k in given if k in wanted and given[k].shape != wanted[k].shape]
    if absent or surplus or other:
        told = [
            f"{len(keys)} {what} (such as {keys[0]})"
            for what, keys in (("missing", absent), ("unknown", surplus), ("of another shape", other))
            if keys
        ]
        raise WeightsError(
            f"weights must fit {name}, tensor by tensor; in {path} are {', '.join(told)}; "
            "they belong to another network: name that one, or give its own file"
        )
    return given
