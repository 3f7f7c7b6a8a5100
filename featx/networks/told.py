"""The text that stands in a checkpoint beside its tensors: under which names, and how a laptop reads it. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from featx.errors import WeightsError, first_line

FACTS = "featx-network"  # of `featx.networks.checkpoint.write_checkpoint`: the sheet, as JSON
NOTE = "featx-note"
PEOPLE = "featx-people"  # who trained it: see `featx.training.seen`
ASKED = "featx-asked"  # digest of the call of `featx pretrain`
TENSORS_SHA256 = "featx-tensors-sha256"
_MOST_BYTES = 100_000_000  # of a header, in the format itself


def read_told(path: Path) -> Mapping[str, str]:
    """Text of a .safetensors file: its header begins with 8 bytes of length, and is JSON.

    Raises
    ------
    WeightsError
        There is no such file, or it is of another form.
    """
    try:
        with path.open("rb") as file:
            n_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(n_bytes)) if n_bytes <= _MOST_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise _none(path, f" ({first_line(error)[:120]})") from error
    told = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(told, dict) or not all(isinstance(one, str) for one in told.values()):
        raise _none(path, "")
    return told


def _none(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"a checkpoint must be a whole .safetensors file; {path} is none{why}; copy or make the file again"
    )
