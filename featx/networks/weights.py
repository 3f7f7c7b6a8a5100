"""Find, verify, read and load the weights of a network (torch).

Weights are asked for by a word: ``official`` (downloaded once, verified, cached), ``random:SEED``, or the path of a
checkpoint. What was asked for is what is loaded, or an error: nothing falls back.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import re
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from featx.errors import WeightsError, first_line
from featx.networks.sheet import Network, Weights

OFFICIAL = "official"
TIMEOUT_S = 30
_BLOCK_BYTES = 1 << 20
_WRAPPERS = ("state_dict", "model_state_dict", "model")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, frozen.

    Attributes
    ----------
    network : Module
        In eval mode, float32, on the CPU.
    weights : str
        For the provenance: official, random:SEED, or file:NAME.
    sha256 : str
        Digest of the loaded tensors.
    tag : str
        What tells these weights from official ones in a feature set's name; "" for official ones.
    """

    network: nn.Module
    weights: str
    sha256: str
    tag: str


def build(sheet: Network) -> nn.Module:
    """The network of a sheet, its weights not set by a file."""
    module, _, name = sheet.architecture.partition(":")
    network: nn.Module = getattr(importlib.import_module(module), name)(**sheet.arguments)
    return network


def load_network(sheet: Network, spec: str, cache: Path, on_progress: Progress | None = None) -> Loaded:
    """Build a network and load the weights that were asked for.

    Parameters
    ----------
    spec : str
        "official", "random:SEED", or a path.
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
        seed = _seed(spec)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(sheet)
        return Loaded(network.eval(), spec, tensors_sha256(network.state_dict()), f"random-{seed}")
    path = _official(sheet, cache, on_progress) if spec == OFFICIAL else Path(spec)
    with torch.random.fork_rng(devices=[]):
        network = build(sheet)
    _fill(network, read_checkpoint(path), sheet.name, path)
    sha256 = tensors_sha256(network.state_dict())
    if spec == OFFICIAL or (sheet.weights and has_digest(path, sheet.weights.digest)):
        return Loaded(network.eval(), OFFICIAL, sha256, "")
    return Loaded(network.eval(), f"file:{path.name}", sha256, f"file-{sha256[:8]}")


def _official(sheet: Network, cache: Path, on_progress: Progress | None) -> Path:
    if sheet.weights is None:
        raise WeightsError(
            f"official weights must be published to be had; nobody publishes any of {sheet.name}; give --weights "
            f"{sheet.name}=FILE, or ask for {sheet.name}@random:SEED"
        )
    return fetch(sheet.weights, cache, sheet.name, on_progress)


def _seed(spec: str) -> int:
    text = spec.removeprefix("random:")
    if not re.fullmatch(r"\d{1,18}", text):
        raise WeightsError(f"random weights must be asked for as random:SEED with a whole number; got {spec!r}")
    return int(text)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes of tensors, sorted by name: the same however they were stored."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


# --- reading --------------------------------------------------------------------------------------------------


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file or of a torch checkpoint, without unpickling anything but tensors.

    A state dict may stand under "state_dict", "model_state_dict" or "model"; DataParallel's "module." is dropped.
    """
    if not path.is_file():
        raise WeightsError(
            f"a file of weights must exist; {path} does not; give official, random:SEED, or the path of a checkpoint"
        )
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        SafetensorError,
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        LookupError,
    ) as error:
        raise WeightsError(
            f"a file of weights must be a checkpoint of tensors; {path} is not ({first_line(error)[:120]}); "
            "download it again, or save the state dict alone with torch.save"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, dict) else {}
    if not tensors:
        raise WeightsError(
            f"a file of weights must hold a state dict; {path} holds {type(found).__name__}; save that"
        )
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], name: str, path: Path) -> None:
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
    network.load_state_dict(given, strict=False)


# --- official weights -----------------------------------------------------------------------------------------


def has_digest(path: Path, digest: str) -> bool:
    """Whether a file has a digest "sha256:HEX" (HEX may be its beginning) or "git-blob-sha1:HEX"."""
    kind, _, wanted = digest.partition(":")
    if kind == "git-blob-sha1":
        total = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            total.update(block)
    return total.hexdigest().startswith(wanted)


def fetch(weights: Weights, cache: Path, name: str, on_progress: Progress | None = None) -> Path:
    """Path of official weights in the cache, downloaded if they are not there; verified every time."""
    path = cache / weights.file
    if not path.is_file():
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
        cache.mkdir(parents=True, exist_ok=True)
        try:
            _download(weights.url, beside, on_progress)
            _check_digest(beside, weights, f"what {weights.url} sent", "try again, or get them elsewhere")
            beside.replace(path)
        except (OSError, urllib.error.URLError) as error:
            raise WeightsError(
                f"official weights of {name} must be downloaded once; {weights.url} could not be "
                f"({getattr(error, 'reason', error)}); on a machine that has a network, copy that file to {path}, "
                f"or give --weights {name}=FILE"
            ) from error
        finally:
            beside.unlink(missing_ok=True)
    else:
        _check_digest(path, weights, f"the file {path}", "delete it to download it again")
    return path


def _check_digest(path: Path, weights: Weights, what: str, advice: str) -> None:
    if not has_digest(path, weights.digest):
        raise WeightsError(
            f"official weights must have the digest {weights.digest}; {what} has another "
            f"({path.stat().st_size:,} bytes); {advice}"
        )


def _download(url: str, path: Path, on_progress: Progress | None) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while block := answer.read(_BLOCK_BYTES):
            file.write(block)
            done += len(block)
            if on_progress:
                on_progress(done, total)
    if total and done != total:
        raise OSError(f"it ended after {done:,} of {total:,} bytes")
