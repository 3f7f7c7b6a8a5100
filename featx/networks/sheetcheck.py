"""Does a sheet that was described agree with itself? What the kinds of its facts alone do not say. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from featx.errors import NetworkError, known
from featx.networks.recipe import turn
from featx.networks.sheet import CHANNELS_FIRST, CHANNELS_LAST, POOLINGS, VOLUME, Network, Recipe, Step, View

AXES = ("sagittal", "coronal", "axial")  # along I, J, K
CHANNELS = ("replicate", "neighbours")
BLANKS = ("zeros", "noise")
FIXED = ("size", "slices")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w.:-]*")
_LINES = ("LR", "PA", "SI")


def is_orientation(text: str) -> bool:
    """Whether a text says towards which anatomical directions three axes grow.

    Examples
    --------
    >>> is_orientation("LAS"), is_orientation("LRS"), is_orientation("LA")
    (True, False, False)
    """
    return sorted(next((at for at, pair in enumerate(_LINES) if one in pair), -1) for one in text) == [0, 1, 2]


def check_sheet(sheet: Network, where: str) -> None:
    """Refuse words that are not known, names that cannot be part of a feature set's, and slices that are not there.

    Parameters
    ----------
    where : str
        For the sentence of a refusal.

    Raises
    ------
    NetworkError
    """
    views = {view.name: view for view in sheet.recipe.views}
    words: list[tuple[str, Collection[str], Collection[str]]] = [
        ("takes", [sheet.takes], POOLINGS),
        ("layout", [sheet.layout], (CHANNELS_FIRST, CHANNELS_LAST)),
        ("fixed", sheet.fixed, FIXED),
        ("views", views, ("volume", *AXES)),
        ("default_taps", sheet.default_taps, sheet.taps),
        ("default_views", sheet.default_views, views),
        ("default_pooling", sheet.default_pooling, POOLINGS.get(sheet.takes, ())),
    ]
    for what, got, there in words:
        _check_words(got, there, f"{what!r} of {where}")
    for what, name in [("a network", sheet.name), *(("a tap", tap) for tap in sheet.taps)]:
        if not _PLAIN_NAME.fullmatch(name) or (what == "a tap" and ":" in name):
            raise NetworkError(
                f"{what}'s name must be letters, digits, '.', '_' and '-', for it becomes part of a feature set's; "
                f"got {name!r} in {where}; rename it"
            )
    if not (sheet.default_taps and sheet.default_views and sheet.default_pooling):
        raise NetworkError(f"{where} must have a tap, a view and a pooling that are read by default; add what lacks")
    _check_steps(sheet.recipe, where)
    for view in views.values():
        _check_view(sheet, view, where)


def _check_words(got: Collection[str], there: Collection[str], where: str) -> None:
    for word in got:
        if word not in there:
            raise NetworkError(f"{where} must be known; got {word!r}; {known(there)}")


def _check_steps(recipe: Recipe, where: str) -> None:
    for step in recipe.steps:
        said: Mapping[str, Any] = step.settings
        box = said.get("box", [(0, 1)] * 3)
        fits = len(box) == 3 and all(0 <= low < high for low, high in box)
        if not fits or (step.name == "turn" and not all(map(is_orientation, said.values()))):
            raise NetworkError(
                f"step {step.name!r} of {where} must have a box of three pairs, first and one past the last, or "
                f"orientations such as 'LAS'; got {dict(said)}; mend that"
            )


def _check_view(sheet: Network, view: View, where: str) -> None:
    here = f"view {view.name!r} of {where}"
    names = [step.name for step in view.steps]
    if (names[:1] == ["slices"]) != (sheet.takes != VOLUME) or names.count("slices") > 1:
        raise NetworkError(
            f"the steps of {here} must begin with 'slices' where a network takes slices, and hold none where it "
            f"takes the whole volume; got {names} for {sheet.takes!r}; mend that"
        )
    for step in view.steps[:1]:
        if step.name == "slices":
            _check_slices(step, sheet.recipe, here)


def _check_slices(step: Step, recipe: Recipe, here: str) -> None:
    axis = str(step.settings["axis"])
    first, last, count = (int(str(step.settings[one])) for one in ("first", "last", "count"))
    _check_words([axis], AXES, f"'axis' of {here}")
    _check_words([str(step.settings.get("channels", CHANNELS[0]))], CHANNELS, f"'channels' of {here}")
    if not (0 <= first <= last and 1 <= count <= last - first + 1):
        raise NetworkError(
            f"slices of {here} must be 1 or more, and no more than the voxels from the first to the last; got "
            f"{count} from {first} to {last}; mend that"
        )
    said: Mapping[str, Any] = step.settings
    _check_words([said.get("blank", BLANKS[0])], BLANKS, f"'blank' of {here}")
    if not all(-1 <= at < count for at in said.get("shown", ())):
        raise NetworkError(
            f"slices that are shown in {here} must be -1 (none), or places of its {count}, from 0; got "
            f"{said['shown']}; mend 'shown'"
        )
    shape = _shape_of(recipe)
    if shape and last >= (length := shape[AXES.index(axis)]):
        raise NetworkError(
            f"slices of {here} must lie within the {length} voxels that the recipe has along that axis; got the last "
            f"at {last}; mend 'last', {length - 1} at most"
        )


def _shape_of(recipe: Recipe) -> tuple[int, ...] | None:
    """Voxels along each axis after a recipe's steps; None where that hangs on the image."""
    shape: tuple[int, ...] | None = None if recipe.grid.anywhere else recipe.grid.shape
    for step in recipe.steps:
        said: Mapping[str, Any] = step.settings
        if step.name == "crop":
            shape = tuple(high - low for low, high in said["box"])
        elif step.name == "pad":
            shape = said["shape"]
        elif shape and step.name == "crop-around-brain":
            shape = tuple(map(min, shape, said["shape"]))
        elif shape and step.name == "turn":
            shape = turn(np.broadcast_to(np.float32(0), shape), "", **said).shape
    return shape
