"""featx's own folder, and the networks that a user added to it: checkpoints that featx wrote, each under a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featx.networks.sheet import Network

_PLAIN = re.compile(r"[A-Za-z0-9][\w.-]*")  # none of the letters that stand between a name and its weights
_NAME = re.compile(r"[^@=]*")


def home_of(home: Path | str | None) -> Path:
    """The folder where downloaded weights are kept, networks that were added, and what folders held.

    Parameters
    ----------
    home : Path or str, optional
        Without it: featx/ in the user's cache folder, ~/.cache.

    Examples
    --------
    >>> home_of("/shared/featx").name, home_of(None).name
    ('featx', 'featx')
    """
    return Path(home) if home is not None else Path("~/.cache/featx").expanduser()


def added(home: Path) -> dict[str, Path]:
    """The checkpoints that were added, by name; a name that the table has by now is the table's."""
    from featx.networks import NETWORKS

    found = {path.stem: path for path in sorted(_folder(home).glob("*.safetensors"))}
    return {name: path for name, path in found.items() if name not in NETWORKS and not name.startswith(".")}


def _folder(home: Path) -> Path:
    return home / "added"


def resolved(words: Sequence[str], home: Path) -> list[str]:
    """Networks, NAME@WEIGHTS or NAME=WEIGHTS, with added names as the ``file:PATH`` that they stand for."""
    there = added(home)

    def one(word: str) -> str:
        match = _NAME.match(word)
        name = match[0] if match else ""
        return f"file:{there[name]}{word.removeprefix(name)}" if name in there else word

    return [one(word) for word in words]


def added_sheets(home: Path) -> tuple[list[Network], list[str]]:
    """Sheets of the networks that were added, and the sentences of those that cannot be read here."""
    from featx.errors import FeatxError, first_line
    from featx.networks import get_network

    sheets: list[Network] = []
    unread: list[str] = []
    for name, path in added(home).items():
        try:
            sheets.append(get_network(f"file:{path}"))
        except FeatxError as error:
            unread.append(f"{name}: {first_line(error)}")
    return sheets, unread


def add(file: Path, name: str, home: Path, *, replace: bool) -> Path:
    """Copy a checkpoint to where `added` finds it, under a name that its feature sets then have.

    Parameters
    ----------
    name : str
        "" for the one that the checkpoint says.
    replace : bool
        Whether it may take the place of another one.

    Raises
    ------
    NetworkError, WeightsError
        The name is the table's, no plain one, or taken; the checkpoint is not one that featx wrote, or is damaged.
    """
    from featx.errors import NetworkError
    from featx.networks import NETWORKS, get_network
    from featx.networks.named import is_pattern

    sheet = get_network(f"file:{file}")
    name = name or sheet.name
    if name in NETWORKS or is_pattern(name) or not _PLAIN.fullmatch(name):
        whose = "of the table" if name in NETWORKS else "of a pattern" if is_pattern(name) else "no such name"
        raise NetworkError(
            f"an added network must have a name of its own, of letters, digits, '.', '_' and '-'; {name!r} is "
            f"{whose}; give it another with --name"
        )
    path = _folder(home) / f"{name}.safetensors"
    if path.exists() and not replace:
        raise NetworkError(
            f"an added network must have a name that no other one has; {name!r} is {path} already; give another with "
            "--name, or --replace it"
        )
    from featx.networks.checkpoint import copy_checkpoint
    from featx.networks.weights import load_network

    load_network(sheet, str(file), home)  # its tensors must fit what it says of itself
    path.parent.mkdir(parents=True, exist_ok=True)
    copy_checkpoint(file, path, name)
    return path


def remove(name: str, home: Path) -> Path:
    """Delete a checkpoint that was added.

    Raises
    ------
    NetworkError
        None was added under that name.
    """
    from featx.errors import NetworkError, known

    there = added(home)
    if name not in there:
        told = known(there, name) if there else "none was"
        raise NetworkError(f"a network must have been added to be removed; {name!r} was not; {told}")
    there[name].unlink()
    return there[name]
