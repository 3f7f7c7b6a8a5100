"""Missing slices: which of those that a view takes are there, and what a network is shown instead. Decisions only.

After the protocol of Gupta et al. (2021, 2023), who ask what networks on slices are worth where slices are missing;
the definitions are featx's own. Of every k neighbouring slices that a view takes one is there, the middle one
("ordered"), or one in k of them all, drawn by a seed and the same for all images ("random"). Instead of the others a
network gets nothing ("drop": there are fewer slices), the nearest slice that is there ("fill"; of two as near the one
before), 0 after the recipe and before the view's normalisation ("zeros": black, as the background is, where a recipe
scales to [0, 1]; the mean of the volume where it standardises), or Gaussian noise with the volume's mean and standard
deviation ("noise"; its seed is a checksum of the volume, so that an image has the same noise whenever it comes, and
whichever come with it). Slices of zeros are the same of everybody: where a network on pictures pools them by their
mean, a linear head does with them as it does without.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from featx.errors import NetworkError
from featx.networks.sheet import CLIP, Network, Step, View
from featx.networks.trained import innermost

NONE, ORDERED, RANDOM = "none", "ordered", "random"
DROP, FILL, ZEROS, NOISE = "drop", "fill", "zeros", "noise"
BLANK = -1  # in place of a slice that is shown
TOLD = "~"  # before what is missing, in names
_WORD = re.compile(r"(drop|fill|zeros|noise):(\d{1,4})(?::(?:(ordered)|random(?::(\d{1,9}))?))?")


@dataclass(frozen=True)
class Missing:
    """Slices that are missing.

    Attributes
    ----------
    instead : str
        DROP, FILL, ZEROS or NOISE.
    k : int
        One slice of so many is there; 2 or more.
    seed : int or None
        Of the slices that are there; None where they are taken in order.
    """

    instead: str
    k: int
    seed: int | None = None

    @property
    def tag(self) -> str:
        """For the names of views and feature sets, such as drop4 or fill4-random-0."""
        return f"{self.instead}{self.k}" + ("" if self.seed is None else f"-{RANDOM}-{self.seed}")


def parse(word: str) -> Missing | None:
    """What a word says is missing; None for "none".

    Raises
    ------
    NetworkError
        It says nothing that featx knows.

    Examples
    --------
    >>> parse("drop:4"), parse("fill:10:random:7").tag, parse("none")
    (Missing(instead='drop', k=4, seed=None), 'fill10-random-7', None)
    """
    found = _WORD.fullmatch(word)
    if word == NONE:
        return None
    if found is None or int(found[2]) < 2:
        raise NetworkError(
            "missing slices must be said as drop, fill, zeros or noise, and of how many one is there, 2 or more; got "
            f"{word!r}; write, say, drop:4 (or drop:4:ordered), fill:4:random:0, or none"
        )
    is_random = word.count(":") > 1 and found[3] is None
    return Missing(found[1], int(found[2]), int(found[4] or 0) if is_random else None)


def slices_shown(count: int, missing: Missing) -> tuple[int, ...]:
    """For each slice that a network gets, the place of the one it is shown, from 0; `BLANK` for zeros and noise.

    Examples
    --------
    >>> slices_shown(8, Missing("drop", 4)), slices_shown(8, Missing("fill", 4))
    ((2, 6), (2, 2, 2, 2, 2, 6, 6, 6))
    >>> slices_shown(5, Missing("zeros", 2)), slices_shown(8, Missing("drop", 4, seed=0))
    ((-1, 1, -1, 3, -1), (0, 5))
    """
    there = np.arange(missing.k // 2, count, missing.k)
    if missing.seed is not None:
        n_there = max(1, round(count / missing.k))
        there = np.sort(np.random.default_rng([missing.seed, missing.k]).permutation(count)[:n_there])
    if missing.instead == DROP:
        return tuple(map(int, there))
    if missing.instead == FILL:
        return tuple(int(there[np.abs(there - at).argmin()]) for at in range(count))
    return tuple(at if at in there else BLANK for at in range(count))


def with_missing(view: View, missing: Missing, sheet: Network) -> View:
    """A view some of whose slices are missing, under a name that says so.

    Raises
    ------
    NetworkError
        The network does not take slices, or cannot have these missing.
    """
    steps = {step.name: step.settings for step in view.steps}
    if "slices" not in steps:
        raise NetworkError(
            f"slices can be missing of a network on slices; {sheet.name} takes the whole volume; leave that wish out"
        )
    count = int(str(steps["slices"]["count"]))
    if missing.k > count:
        raise NetworkError(
            f"of slices that are missing one must be there; {sheet.name} takes {count} along its {view.name} axis, "
            f"and got one of {missing.k}; say {count} at most"
        )
    if "channels" in steps["slices"]:
        raise NetworkError(
            f"slices can be missing where each is shown by itself; {sheet.name} is to see their neighbours as well; "
            "leave one of the two wishes out"
        )
    if missing.instead == DROP and "slices" in sheet.fixed and innermost(sheet).takes == CLIP:
        raise NetworkError(
            f"slices can be dropped where a network takes any number; {sheet.name} takes {count} frames; have them "
            f"filled instead, by fill:{missing.k}, zeros:{missing.k} or noise:{missing.k}"
        )
    shown = slices_shown(count, missing)
    more = {"blank": missing.instead} if BLANK in shown else {}
    changed = tuple(
        Step(step.name, {**step.settings, "shown": shown, **more}) if step.name == "slices" else step
        for step in view.steps
    )
    return replace(view, name=f"{view.name}{TOLD}{missing.tag}", steps=changed)


def spread(view: View, words: Sequence[str], sheet: Network) -> tuple[View, ...]:
    """A view with what each word says missing; the view itself where there are no words."""
    wanted = [parse(word) for word in words]
    return tuple(with_missing(view, one, sheet) if one else view for one in dict.fromkeys(wanted)) or (view,)


def places_of(view: View) -> tuple[int, ...] | None:
    """Places of the slices that a network gets, where some of them are left out; None where all are there.

    Examples
    --------
    >>> places_of(View("axial~drop2", (Step("slices", {"count": 4, "shown": (1, 3)}),)))
    (1, 3)
    """
    for step in view.steps:
        shown = step.settings.get("shown", ())
        if isinstance(shown, tuple) and 0 < len(shown) < int(str(step.settings.get("count", 0))):
            return tuple(int(str(at)) for at in shown)
    return None
