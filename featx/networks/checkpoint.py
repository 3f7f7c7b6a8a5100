"""Tensors in files: read checkpoints of any form without unpickling, write our own, convert official ones (torch).

What featx writes is safetensors: tensors, and text under the names below. The tensors' own digest is among it, and is
checked whenever such a file is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import pickle
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from featx.errors import WeightsError, first_line
from featx.networks.download import Progress, converted_path, fetch
from featx.networks.sheet import Network, Weights
from featx.networks.told import FACTS, NOTE, TENSORS_SHA256

SOURCE = "featx-source"  # of converted weights: the digest of the official file ...
READS = "featx-reads"  # ... and the function that read it
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_DAMAGED = (pickle.UnpicklingError, SafetensorError, RuntimeError, ValueError, EOFError, OSError, LookupError)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes of tensors, sorted by name: the same however they were stored."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


# --- reading --------------------------------------------------------------------------------------------------


def read_weights(path: Path, sheet: Network) -> dict[str, Tensor]:
    """State dict of a file: by the function that the sheet names for its form, else by `read_checkpoint`."""
    if not sheet.reads:
        return read_checkpoint(path)
    _check_there(path)
    module, _, name = sheet.reads.partition(":")
    tensors: dict[str, Tensor] = getattr(importlib.import_module(module), name)(path, sheet)
    return tensors


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file or of a torch checkpoint, without unpickling anything but tensors.

    A state dict may stand under "state_dict", "model_state_dict" or "model"; DataParallel's "module." is dropped.

    Raises
    ------
    WeightsError
        There is no such file, it is damaged, or it holds no state dict.
    """
    _check_there(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)[0]
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, dict) else {}
    if not tensors:
        raise WeightsError(
            f"a file of weights must hold a state dict; {path} holds {type(found).__name__}; save that"
        )
    return _without_prefix(tensors)


def read_facts(path: Path) -> dict[str, Any]:
    """Facts of the network whose weights `write_checkpoint` wrote.

    Raises
    ------
    WeightsError
        There is no such file, or featx did not write it.
    """
    _check_there(path)
    try:
        with safe_open(path, "pt") as file:
            told = (file.metadata() or {}).get(FACTS, "")
    except _DAMAGED as error:
        if path.suffix != ".safetensors":  # a state dict of torch, say
            raise _says_nothing(path) from error
        raise _damaged(path, error) from error
    try:
        facts = json.loads(told)
    except ValueError:
        facts = None
    except RecursionError as error:
        raise _damaged(path, error) from error
    if not isinstance(facts, dict):
        raise _says_nothing(path)
    return facts


def _says_nothing(path: Path) -> WeightsError:
    return WeightsError(
        f"a checkpoint must say which network it is of, as those that featx writes do; {path} does not; "
        "name the network, and give the file as its --weights"
    )


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(
            f"a file of weights must exist; {path} does not; give official, random:SEED, reinit:SEED, or the path of "
            "a checkpoint"
        )


def _damaged(path: Path, error: BaseException) -> WeightsError:
    return WeightsError(
        f"a file of weights must be a checkpoint of tensors; {path} is not ({first_line(error)[:120]}); "
        "download it again, or save the state dict alone with torch.save"
    )


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Tensors and text of a file; tensors whose digest stands in the text must have it."""
    try:
        with safe_open(path, "pt") as file:
            told: Mapping[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    if not tensors:
        raise WeightsError(f"a file of weights must hold a state dict; {path} holds no tensor; save one")
    if TENSORS_SHA256 in told and tensors_sha256(tensors) != told[TENSORS_SHA256]:
        raise WeightsError(
            f"tensors that featx wrote must have the digest that stands with them; those of {path} have another; "
            "copy or make the file again"
        )
    return _without_prefix(tensors), told


# --- writing --------------------------------------------------------------------------------------------------


def write_checkpoint(
    path: Path, network: nn.Module, sheet: Network, *, note: str, more: Mapping[str, str] | None = None
) -> None:
    """Write a network's weights with the facts of its sheet, so that ``file:PATH`` is all that names it.

    Parameters
    ----------
    path : Path
        Ends in .safetensors; a file of that name is replaced.
    sheet : Network
        Its `weights` and `training` should say what these weights are.
    note : str
        How they came about, for people.
    more : mapping of str to str, optional
        Further text, under names of `featx.networks.told`.

    Raises
    ------
    WeightsError
        The name has another ending.
    """
    from featx.networks.described import facts_of  # facts need no torch, and only files of featx need them

    if path.suffix != ".safetensors":
        raise WeightsError(f"a checkpoint's name must end in .safetensors; got {path}; change its ending")
    facts = json.dumps(facts_of(sheet), allow_nan=False)  # taps stay in the order of the network
    _write_tensors(path, network.state_dict(), {**(more or {}), FACTS: facts, NOTE: note})


def copy_checkpoint(source: Path, target: Path, name: str) -> None:
    """Copy a checkpoint that `write_checkpoint` wrote, with another name for its network.

    Raises
    ------
    WeightsError
        featx did not write it, or it is damaged.
    """
    facts = json.dumps({**read_facts(source), "name": name}, allow_nan=False)
    tensors, told = _read_safetensors(source)
    _write_tensors(target, tensors, {**told, FACTS: facts})


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str]) -> None:
    own = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}  # none shares memory
    content = save(own, {**told, TENSORS_SHA256: tensors_sha256(own)})
    beside = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.safetensors")
    try:
        beside.write_bytes(content)
        _read_safetensors(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


# --- official files of other forms ----------------------------------------------------------------------------


def read_official(
    sheet: Network, weights: Weights, cache: Path, on_progress: Progress | None = None
) -> tuple[dict[str, Tensor], Path]:
    """Tensors of official weights, and the file of the cache they were read from.

    A file of another form than torch's own (`featx.networks.download.CONVERTED`) is read once; from then on its
    converted tensors are, and the original is not needed any more. Damaged ones are made again from the original.

    Raises
    ------
    WeightsError
        They are neither in the cache nor can they be downloaded, or are damaged.
    """
    converted = converted_path(weights, cache)
    if converted is None:
        path = fetch(weights, cache, sheet.name, on_progress)
        return read_weights(path, sheet), path
    damage = ""
    if converted.is_file():
        try:
            return read_converted(converted, sheet, weights), converted
        except WeightsError as error:
            damage = str(error)
    try:
        path = fetch(weights, cache, sheet.name, on_progress)
    except WeightsError as error:
        if damage:
            raise WeightsError(f"{damage}; featx could not make it again, for {error}") from error
        raise
    tensors = read_weights(path, sheet)
    with contextlib.suppress(OSError):  # a cache that cannot be written is read all the same
        _write_tensors(converted, tensors, {SOURCE: weights.digest, READS: sheet.reads})
    return tensors, path


def read_converted(path: Path, sheet: Network, weights: Weights) -> dict[str, Tensor]:
    """Tensors that `read_official` converted from the official weights of a sheet.

    Raises
    ------
    WeightsError
        They are damaged, or were converted from another file or by another function.
    """
    tensors, told = _read_safetensors(path)
    made_from = (told.get(SOURCE), told.get(READS))
    if TENSORS_SHA256 not in told or made_from != (weights.digest, sheet.reads):
        raise WeightsError(
            f"converted weights of {sheet.name} must come from the file with the digest {weights.digest}; those of "
            f"{path} come from {made_from[0] or 'elsewhere'}; delete them"
        )
    return tensors
