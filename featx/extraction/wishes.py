"""What is wanted of a network beyond its name, and its views with the slices that are wanted. Decisions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from featx.errors import NetworkError
from featx.networks.missing import parse
from featx.networks.sheet import SET, Network, Step, View

SMALLEST = 32


@dataclass(frozen=True)
class Wish:
    """What is wanted of networks beyond their names. Nothing given means the sheet's default.

    Attributes
    ----------
    taps : sequence of str
        Names of the sheet, paths of modules, or ("all",) for every tap of the sheet.
    views, poolings : sequence of str
    n_slices : int, optional
        Slices (or frames) per view, over the same span, instead of the sheet's number.
    size : str
        Edge in pixels that slices are resized to, or "native" for none; "" for the sheet's.
    channels : str
        "replicate" a slice to three channels, or its "neighbours" (2.5D).
    resampling : bool
        Resample volumes of another grid instead of refusing them.
    missing : sequence of str
        Slices that are missing, each as `featx.networks.missing.parse` reads it: a view for each.
    """

    taps: Sequence[str] = ()
    views: Sequence[str] = ()
    poolings: Sequence[str] = ()
    n_slices: int | None = None
    size: str = ""
    channels: str = ""
    resampling: bool = False
    missing: Sequence[str] = ()


def changes_slices(wish: Wish) -> bool:
    """Whether slices are wanted in another way than a sheet takes them."""
    return wish.n_slices is not None or bool(wish.size or wish.channels) or any(map(parse, wish.missing))


def is_sliced(view: View) -> bool:
    """Whether a view takes slices."""
    return any(step.name == "slices" for step in view.steps)


def changed(view: View, wish: Wish, sheet: Network) -> View:
    """A view with the slices, size and channels that are wanted.

    Raises
    ------
    NetworkError
        The network, or this view of it, cannot have them.
    """
    if not changes_slices(wish):
        return view
    if not is_sliced(view):
        raise NetworkError(
            f"a choice of slices needs a network on slices; {sheet.name} takes the whole volume; leave it out"
        )
    _check_change(wish, sheet)
    _check_view(wish, view, sheet)
    steps = [
        _sliced_as(step, wish)
        if step.name == "slices"
        else replace(step, settings={"size": int(wish.size)})
        if step.name == "resize" and wish.size.isdecimal()
        else step
        for step in view.steps
        if not (step.name == "resize" and wish.size == "native")
    ]
    return replace(view, steps=tuple(steps))


def _sliced_as(step: Step, wish: Wish) -> Step:
    """The step that takes slices, as many and with such channels as are wanted; to replicate is not said."""
    settings = {name: one for name, one in step.settings.items() if not (wish.channels and name == "channels")}
    if wish.n_slices is not None:
        settings["count"] = wish.n_slices
    if wish.channels == "neighbours":
        settings["channels"] = wish.channels
    return replace(step, settings=settings)


def _check_view(wish: Wish, view: View, sheet: Network) -> None:
    """Refuse what a view cannot change."""
    (slices,) = (step.settings for step in view.steps if step.name == "slices")
    n_there = int(str(slices["last"])) - int(str(slices["first"])) + 1
    if wish.n_slices is not None and wish.n_slices > n_there:
        raise NetworkError(
            f"a number of slices must be that of different ones; {sheet.name} looks at {n_there} along its "
            f"{view.name} axis; got {wish.n_slices}; take {n_there} or fewer"
        )
    if wish.size.isdecimal() and not any(step.name == "resize" for step in view.steps):
        raise NetworkError(
            f"a size must be wanted of slices that are resized; {sheet.name} takes {view.name} ones as they are, and "
            f"has no size to change; got {wish.size}; leave it out"
        )


def _check_change(wish: Wish, sheet: Network) -> None:
    if wish.n_slices is not None and wish.n_slices < 1:
        raise NetworkError(f"a number of slices must be at least 1; got {wish.n_slices} for {sheet.name}")
    if wish.size not in ("", "native") and not (wish.size.isdecimal() and int(wish.size) >= SMALLEST):
        raise NetworkError(
            f"a size must be 'native' or a number of pixels, {SMALLEST} or more; got {wish.size!r} for {sheet.name}"
        )
    if wish.channels not in ("", "replicate", "neighbours"):
        raise NetworkError(f"channels must be 'replicate' or 'neighbours'; got {wish.channels!r} for {sheet.name}")
    if wish.channels == "neighbours" and _is_grey(sheet):
        raise NetworkError(
            f"channels must be those that a network takes; {sheet.name} takes slices of one channel, without their "
            "neighbours; leave that wish out, or take an encoder of torchvision"
        )
    asked = {"slices": wish.n_slices is not None, "size": bool(wish.size)}
    for what, is_asked in asked.items():
        if is_asked and what in sheet.fixed:
            raise NetworkError(
                f"the {what} of {sheet.name} must be that of its sheet, the only one it takes; leave that wish out"
            )


def _is_grey(sheet: Network) -> bool:
    """Whether a network takes one channel only: of the sets of slices, the authors' own encoder."""
    return sheet.takes == SET and sheet.arguments.get("encoder") == "encoder1"
