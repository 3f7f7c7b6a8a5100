"""What a tap's name means for a network, and which feature sets it gives. Decisions only: no torch."""

from __future__ import annotations

from dataclasses import dataclass

from featx.errors import NetworkError, known
from featx.networks.sheet import PICTURES, Network

WITHIN = ("mean", "max", "cls")


@dataclass(frozen=True)
class Place:
    """Where a tap is read.

    Attributes
    ----------
    module : str
        Path of the module.
    how : str
        How the positions of its output become one: of a picture's plane "mean" or "max", or "cls", the class token;
        for other inputs "mean" leaves it to the pooling.
    positions : bool
        False where there is one vector for the whole input.
    """

    module: str
    how: str
    positions: bool


def find_tap(sheet: Network, name: str) -> Place:
    """Where a tap is read: one of the sheet, or the path of any module; behind ":" how its positions become one.

    Raises
    ------
    NetworkError
        The part behind ":" is unknown or does not suit the network.

    Examples
    --------
    >>> from featx.networks import get_network
    >>> find_tap(get_network("squeezenet1_0.imagenet"), "fire5:max")
    Place(module='features.7', how='max', positions=True)
    """
    base, _, how = name.partition(":")
    tap = sheet.taps.get(base)
    if not base:
        raise NetworkError(f"a tap must have a name; got {name!r}; {known(sheet.taps)}")
    if how and how not in WITHIN:
        raise NetworkError(f"a tap's ending must say how its positions become one; got {name!r}; {known(WITHIN)}")
    if how == "cls" and not (sheet.class_tokens and sheet.class_token_first):
        raise NetworkError(f"a class token needs a network that has one; {sheet.name} has none; ask for {base!r}")
    if how == "max" and sheet.takes != PICTURES:
        raise NetworkError(
            f"{name!r} is for networks on pictures; {sheet.name} takes whole volumes; ask for the pooling max instead"
        )
    positions = how != "cls" and (tap is None or tap.positions)
    return Place(tap.module if tap else base, how or "mean", positions)


def poolings_of(sheet: Network, tap: str, poolings: tuple[str, ...]) -> tuple[str, ...]:
    """The poolings, of those asked for, that a tap has: "mean" alone where there is one vector for the whole input.

    Examples
    --------
    >>> from featx.networks import get_network
    >>> poolings_of(get_network("sfcn.ukb_age"), "logits", ("max", "std"))
    ('mean',)
    """
    return poolings if sheet.takes == PICTURES or find_tap(sheet, tap).positions else ("mean",)
