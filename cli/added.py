"""Networks that a user added, in the folder that the command line uses (`featx.api.added`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from featx.api import added as kept
from featx_cli.console import cache_dir

if TYPE_CHECKING:
    from featx.networks.sheet import Network


def added() -> dict[str, Path]:
    """The checkpoints that were added, by name."""
    return kept.added(cache_dir())


def resolved(words: Sequence[str]) -> list[str]:
    """Networks, NAME@WEIGHTS or NAME=WEIGHTS, with added names as the ``file:PATH`` that they stand for."""
    return kept.resolved(words, cache_dir())


def added_sheets() -> tuple[list[Network], list[str]]:
    """Sheets of the networks that were added, and the sentences of those that cannot be read here."""
    return kept.added_sheets(cache_dir())


def add(file: Path, name: str, *, replace: bool) -> Path:
    """Copy a checkpoint to where `added` finds it."""
    return kept.add(file, name, cache_dir(), replace=replace)


def remove(name: str) -> Path:
    """Delete a checkpoint that was added."""
    return kept.remove(name, cache_dir())
