"""How predictions err over age and from site to site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from featx.report.figures.canvas import COLOURS, FAINT, INK, Drawing, cut
from featx.report.figures.predictions import MOST_VECTOR_POINTS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Means along a number, with their intervals; arrays of shape (n_windows,)."""

    x: Floats
    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Part:
    """Errors of one part of the people, such as a site.

    Attributes
    ----------
    label : str
        With the number of people.
    mean, low, high : float
        With the ends of its interval.
    quartiles : tuple of float
        25th, 50th and 75th percentile; none of a rate.
    points : ndarray of shape (n,), optional
        Single errors, where they are to be shown.
    """

    label: str
    mean: float
    low: float
    high: float
    quartiles: tuple[float, ...] = ()
    points: Floats | None = None


def along(
    x: Floats, residual: Floats, line: Line | None, *, labels: tuple[str, str], alt: str, prefix: str
) -> Drawing:
    """Points, the running mean with its interval as a band, and the line of no difference.

    Parameters
    ----------
    x, residual : ndarray of shape (n,)
        Empty where single people are not to be shown.
    line : Line or None
    labels : tuple of str
        Of the axes.
    """

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=FAINT, linewidth=1, dashes=(4, 3))
        look: dict[str, Any] = {"markersize": 3.4 if len(x) <= 500 else 2.4, "markeredgewidth": 0, "alpha": 0.45}
        axes.plot(x, residual, "o", color=COLOURS[0], rasterized=len(x) > MOST_VECTOR_POINTS, **look)
        if line is not None:
            axes.fill_between(line.x, line.low, line.high, color=COLOURS[1], alpha=0.22, linewidth=0)
            axes.plot(line.x, line.mean, color=COLOURS[1], linewidth=1.8)
        axes.set(xlabel=cut(labels[0], 40), ylabel=cut(labels[1], 44))

    return Drawing(draw, (3.7, 3.0), alt, prefix)


def by_part(parts: Sequence[Part], *, label: str, zero: float | None, whole: str, alt: str, prefix: str) -> Drawing:
    """A row for every part: its quartiles as a bar, its points, its mean with the interval.

    Parameters
    ----------
    parts : sequence of Part
    label : str
        Of the axis of numbers.
    zero : float, optional
        Where an upright stands: no difference, or the mean of all.
    whole : str
        What the upright is, beside it; "" for nothing.
    """

    def draw(axes: Axes) -> None:
        if zero is not None:
            axes.axvline(zero, color=FAINT, linewidth=1, dashes=(4, 3))
        for row, part in enumerate(parts):
            if part.quartiles:
                axes.fill_between(
                    part.quartiles[::2], row - 0.3, row + 0.3, color=COLOURS[0], alpha=0.18, linewidth=0
                )
                axes.plot([part.quartiles[1]] * 2, [row - 0.3, row + 0.3], color=COLOURS[0], linewidth=1.6)
            points = np.empty(0) if part.points is None else part.points
            beside = 0.44 * (np.arange(len(points)) * 0.618034 % 1) - 0.22  # spread evenly, whatever the order
            look: dict[str, Any] = {"markersize": 2.8, "markeredgewidth": 0, "alpha": 0.4}
            axes.plot(points, row + beside, "o", color=COLOURS[0], **look)
            axes.plot([part.low, part.high], [row, row], color=INK, linewidth=1.6, solid_capstyle="butt")
            axes.plot(part.mean, row, "D", color=COLOURS[1], markersize=6, markeredgecolor="white")
        axes.set_yticks(range(len(parts)), [cut(part.label, 30) for part in parts])
        axes.set(xlabel=cut(label, 50), ylim=(len(parts) - 0.5, -0.5))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        if zero is not None and whole:
            axes.annotate(
                whole, (zero, 1), xycoords=("data", "axes fraction"), xytext=(3, -2), textcoords="offset points",
                va="top", fontsize=7, color=FAINT,
            )  # fmt: skip

    return Drawing(draw, (3.7, max(1.9, min(7.0, 1.0 + 0.38 * len(parts)))), alt, prefix)
