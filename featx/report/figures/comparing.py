"""A comparison as figures: arms with their intervals, who beats whom, curves with their crossings, costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from featx.analysis.comparing import arms
from featx.report.figures.canvas import COLOURS, DASHES, FAINT, INK, Drawing, cut
from featx.report.figures.curves import spread
from featx.report.wording import MINUS, number

Floats = NDArray[np.float64]

# Colour and marker of a role, the same in every figure of the page.
LOOKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        arms.FROZEN: (COLOURS[0], "o"),
        arms.COMBINED: (COLOURS[3], "D"),
        arms.VOLUMES: (COLOURS[2], "s"),
        arms.VOXELS: ("#7a5195", "P"),
        arms.TRAINED: (COLOURS[1], "^"),
        arms.SCRATCH: (COLOURS[5], "v"),
        arms.CONTROL: (COLOURS[4], "X"),
        arms.CONFOUNDS: ("#6b7280", "d"),
        arms.NOTHING: (INK, "|"),
    }
)
_QUARTILES = np.array([0.25, 0.5, 0.75])
_BETTER, _WORSE = np.array([0x00, 0x72, 0xB2]) / 255, np.array([0xD5, 0x5E, 0x00]) / 255


@dataclass(frozen=True)
class Mark:
    """One arm with its number.

    Attributes
    ----------
    label : str
    role : str
        Key of `LOOKS`.
    value, low, high : float
        Ends that are NaN are not drawn.
    """

    label: str
    role: str
    value: float
    low: float
    high: float


def forest(marks: Sequence[Mark], *, xlabel: str, alt: str, prefix: str, zero: str = "") -> Drawing:
    """Arms one below the other, each with its interval; the best one's, or zero, as a band behind the others.

    Parameters
    ----------
    marks : sequence of Mark
        From the top.
    xlabel, alt, prefix : str
    zero : str
        What stands at 0, for differences; "" for scores, where the interval of the first is shaded.
    """

    def draw(axes: Axes) -> None:
        if zero:
            axes.axvline(0, color=INK, linewidth=1.1, dashes=(4, 3))
        elif marks and math.isfinite(marks[0].low):
            axes.axvspan(marks[0].low, marks[0].high, color=LOOKS[marks[0].role][0], alpha=0.1, linewidth=0)
        for at, one in enumerate(marks):
            colour, marker = LOOKS[one.role]
            if math.isfinite(one.low) and math.isfinite(one.high):
                axes.plot([one.low, one.high], [at, at], color=colour, linewidth=2.2, solid_capstyle="butt")
            look: dict[str, Any] = {"markersize": 7, "markeredgewidth": 2 if marker == "|" else 0.8}
            axes.plot([one.value], [at], marker, color=colour, markeredgecolor=_edge(one.role), **look)
        axes.set_yticks(range(len(marks)), [cut_middle(one.label) for one in marks])
        axes.set(ylim=(len(marks) - 0.4, -0.6), xlabel=xlabel)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        if zero:
            axes.text(0, -0.62, cut_middle(zero), ha="center", va="bottom", fontsize=8, color=INK)
        _legend(axes, [one.role for one in marks])

    return Drawing(draw, (7.8, 1.25 + 0.3 * max(len(marks), 2)), alt, prefix)


def _legend(axes: Axes, roles: Sequence[str]) -> None:
    """What colours and markers mean, under the axes; none where there is one only."""
    there = [role for role in LOOKS if role in roles]
    figure = axes.get_figure()
    if len(there) < 2 or figure is None:
        return
    look: dict[str, Any] = {"linestyle": "", "markersize": 7, "markeredgewidth": 0.8}
    handles = [
        Line2D([], [], marker=LOOKS[role][1], color=LOOKS[role][0], markeredgecolor=_edge(role), label=role, **look)
        for role in there
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(there), handletextpad=0.2, columnspacing=1.4)


def _edge(role: str) -> str:
    """An upright has no rim."""
    colour, marker = LOOKS[role]
    return colour if marker == "|" else "white"


def cut_middle(text: str, most: int = 46) -> str:
    """A long name without its middle.

    Examples
    --------
    >>> cut_middle("ridge on squeezenet1_0.imagenet/axial/fire5/mean", 20)
    'ridge on s…ire5/mean'
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"


def matrix(
    letters: Sequence[str], difference: Floats, apart: NDArray[np.bool_], *, places: int, alt: str, prefix: str
) -> Drawing:
    """How much better the arm of a row is than that of a column; cells whose interval holds 0 are left white.

    Parameters
    ----------
    letters : sequence of str
        Of the arms, best first.
    difference : ndarray of shape (n, n)
        Row less column, positive where the row is better; NaN on the diagonal and where nothing was compared.
    apart : ndarray of shape (n, n), bool
        Where the interval does not hold 0.
    places : int
        Decimals of the numbers.
    alt, prefix : str
    """
    n = len(letters)
    size = float(np.nanmax(np.abs(difference))) if np.isfinite(difference).any() else 1.0

    def draw(axes: Axes) -> None:
        axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), aspect="auto")
        for row in range(n):
            for column in range(n):
                value = float(difference[row, column])
                if row == column or not math.isfinite(value):
                    axes.add_patch(_cell(row, column, "#eef1f4"))
                    continue
                share = 0.12 + 0.6 * min(1.0, abs(value) / (size or 1.0))
                tint = 1 - share * (1 - (_BETTER if value > 0 else _WORSE))
                axes.add_patch(_cell(row, column, tuple(tint) if apart[row, column] else "white"))
                text = number(value, places)
                said = text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"
                weight = "bold" if apart[row, column] else "normal"
                axes.text(column, row, said, ha="center", va="center", fontsize=8, fontweight=weight, color=INK)
        axes.set_xticks(range(n), letters)
        axes.set_yticks(range(n), letters)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.set(xlabel="than this", ylabel="how much better this is")
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)

    return Drawing(draw, (min(7.8, 1.2 + 0.9 * n), 0.9 + 0.42 * n), alt, prefix)


def _cell(row: int, column: int, colour: Any) -> Rectangle:
    return Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=colour, edgecolor="#d5dce3", linewidth=0.7)


def growing(
    curves: pd.DataFrame,
    crossed: Sequence[tuple[str, str, float, float, float]],
    *,
    ylabel: str,
    alt: str,
    prefix: str,
) -> Drawing:
    """Medians over draws against the people who train, quartiles shaded, crossings as uprights with their interval.

    Parameters
    ----------
    curves : DataFrame
        Columns arm, role, n_train and value, of one target, metric and number of test images.
    crossed : sequence of (arm, overtaken, n, low, high)
        low or high NaN where there is no such end within the range.
    ylabel, alt, prefix : str
    """
    quartiles = {
        (str(arm), str(role)): own.groupby("n_train")["value"].quantile(_QUARTILES).unstack()
        for (arm, role), own in curves.groupby(["arm", "role"], sort=False)
    }
    sizes = sorted(int(n) for n in set(curves["n_train"]))

    def draw(axes: Axes) -> None:
        if sizes[-1] > 4 * sizes[0]:
            axes.set_xscale("log")
        found = []
        used: dict[str, int] = {}
        for (arm, role), own in quartiles.items():
            colour, marker = LOOKS[role]
            used[role] = used.get(role, -1) + 1
            axes.fill_between(own.index, own[0.25], own[0.75], color=colour, alpha=0.13, linewidth=0)
            look: dict[str, Any] = {"linestyle": DASHES[used[role] % len(DASHES)], "markersize": 5}
            axes.plot(own.index, own[0.5], color=colour, marker=marker, linewidth=1.6, **look)
            found.append((cut_middle(arm, 40), float(own.index[-1]), float(own[0.5].iloc[-1]), colour))
        low, high = axes.get_ylim()
        for at, (_, _, n, first, last) in enumerate(crossed):
            axes.axvline(n, color=INK, linewidth=1, dashes=(2, 2))
            ends = [sizes[0] if math.isnan(first) else first, sizes[-1] if math.isnan(last) else last]
            height = low + (0.04 + 0.05 * at) * (high - low)
            axes.plot(ends, [height, height], color=INK, linewidth=2.4, solid_capstyle="butt")
            axes.plot([n], [height], "D", color=INK, markersize=5)
        axes.set_ylim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="people who train", ylabel=ylabel)
        _label_ends(axes, found)

    return Drawing(draw, (7.8, 4.4), alt, prefix)


def _label_ends(axes: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Names beside the last points, moved apart."""
    low, high = axes.get_ylim()
    places = spread([(value - low) / (high - low) for *_, value, _ in ends], [0.07] * len(ends))
    look: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.9, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 4}
    for (label, n, value, colour), place in zip(ends, places, strict=True):
        words: dict[str, Any] = {"va": "center", "fontsize": 8, "color": INK, "annotation_clip": False}
        at: dict[str, Any] = {"xytext": (1.04, place), "textcoords": "axes fraction"}
        axes.annotate(label, (n, value), arrowprops=look | {"color": colour}, **words, **at)


def costing(marks: Sequence[tuple[Mark, float]], *, ylabel: str, xlabel: str, alt: str, prefix: str) -> Drawing:
    """Scores against the minutes that they cost, with their intervals and the letters of the arms.

    Parameters
    ----------
    marks : sequence of (Mark, minutes)
        The label is the arm's letter; minutes are above 0.
    ylabel, xlabel, alt, prefix : str
    """

    def draw(axes: Axes) -> None:
        minutes = [at for _, at in marks]
        if max(minutes) > 5 * min(minutes):
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:g}")
        for one, at in marks:
            colour, marker = LOOKS[one.role]
            if math.isfinite(one.low) and math.isfinite(one.high):
                axes.plot([at, at], [one.low, one.high], color=colour, linewidth=1.6)
            axes.plot([at], [one.value], marker, color=colour, markersize=8, markeredgecolor="white")
            axes.annotate(
                one.label, (at, one.value), xytext=(7, 4), textcoords="offset points", fontsize=9, color=FAINT
            )
        axes.set(xlabel=xlabel, ylabel=cut(ylabel, 60))
        axes.margins(x=0.12)

    return Drawing(draw, (5.6, 3.8), alt, prefix)
