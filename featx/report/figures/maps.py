"""Maps of a space of features: each image a point, the same points once for every colouring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from featx.report.figures.canvas import COLOURS, FAINT, MARKERS, Drawing, cut
from featx.report.figures.predictions import MOST_VECTOR_POINTS

Floats = NDArray[np.float64]

MOST_LEVELS = len(COLOURS)
# viridis without its palest end, which is lost on white paper
_SCALE = ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.9, 256)))


@dataclass(frozen=True)
class Colouring:
    """What points are coloured by.

    Attributes
    ----------
    title : str
        With its unit.
    levels : tuple of str
        Of classes, in their order, `MOST_LEVELS` at most; none where it is a number.
    """

    title: str
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Space:
    """A plane with points.

    Attributes
    ----------
    title, x, y : str
        How it was made, and what the axes are.
    points : ndarray of shape (n, 2)
    values : tuple of ndarray of shape (n,)
        One per colouring: numbers, or positions in its levels; NaN where it is not known.
    weights : ndarray of shape (n,), optional
        People that each point stands for, where it is not one.
    """

    title: str
    x: str
    y: str
    points: Floats
    values: tuple[Floats, ...]
    weights: Floats | None = None


def maps(spaces: Sequence[Space], colourings: Sequence[Colouring], *, alt: str, prefix: str) -> Drawing:
    """A row of axes for each space, a column for each colouring; classes differ in marker as well as in colour."""
    n_columns, n_rows = len(colourings), len(spaces)

    def draw(*panels: Axes) -> None:
        grid = np.array(panels, dtype=object).reshape(n_rows, n_columns)
        for at, colouring in enumerate(colourings):
            column = [space.values[at] for space in spaces]
            for axes, space, values in zip(grid[:, at], spaces, column, strict=True):
                axes.set(xticks=[], yticks=[], xlabel=space.x)
                axes.set_ylabel(space.y if at == 0 else "")
                if colouring.levels:
                    _classes(axes, space, values, colouring.levels)
                else:
                    _numbers(axes, space, values, _limits(column))
            grid[0, at].set_title(cut(colouring.title, 30), fontsize=9, loc="left")
            if colouring.levels:
                _legend(grid[-1, at], colouring.levels)
            else:
                _bar(grid[-1, at], _limits(column))

    width = min(7.8, 0.3 + 3.4 * n_columns)
    height = min(2.4, 0.88 * (width - 0.3) / n_columns)
    return Drawing(draw, (width, n_rows * height + 0.6), alt, prefix, n_columns, n_rows, is_shared=False)


def _limits(column: Sequence[Floats]) -> Normalize:
    """The scale of a column: without the last hundredth on either side, so that one far value takes no contrast."""
    known = np.concatenate(column)
    known = known[np.isfinite(known)]
    low, high = np.percentile(known, (1, 99)) if len(known) else (0.0, 1.0)
    return Normalize(low, high if high > low else low + 1)


def _look(space: Space, own: NDArray[np.bool_]) -> dict[str, Any]:
    n = len(space.points)
    size = 16.0 if n <= 500 else 7.0
    # an area per person; the smallest group is as large as a lone point of a small cohort
    area = size if space.weights is None else 36.0 * space.weights[own] / space.weights.min()
    return {
        "s": area,
        "alpha": 0.8 if n <= 500 else 0.5,
        "linewidths": 0,
        "rasterized": n > MOST_VECTOR_POINTS,
    }


def _unknown(axes: Axes, space: Space, values: Floats) -> None:
    lost = ~np.isfinite(values)
    if lost.any():
        axes.scatter(*space.points[lost].T, color="#d5dce3", marker=".", zorder=1, **_look(space, lost))


def _numbers(axes: Axes, space: Space, values: Floats, limits: Normalize) -> None:
    _unknown(axes, space, values)
    known = np.isfinite(values)
    x, y = space.points[known].T
    axes.scatter(x, y, c=values[known], cmap=_SCALE, norm=limits, **_look(space, known))


def _classes(axes: Axes, space: Space, values: Floats, levels: Sequence[str]) -> None:
    _unknown(axes, space, values)
    for code in range(len(levels)):
        own = values == code
        axes.scatter(*space.points[own].T, color=COLOURS[code], marker=MARKERS[code], **_look(space, own))


def _bar(axes: Axes, limits: Normalize) -> None:
    place = axes.inset_axes((0.06, -0.24, 0.88, 0.05))
    bar = axes.figure.colorbar(mpl.cm.ScalarMappable(limits, _SCALE), cax=place, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
    place.tick_params(length=2, color=FAINT)


def _legend(axes: Axes, levels: Sequence[str]) -> None:
    marks = [
        axes.plot([], [], MARKERS[code], color=COLOURS[code], markersize=5, markeredgewidth=0)[0]
        for code in range(len(levels))
    ]
    words = [f"\u200b{cut(level, 16)}" for level in levels]  # a word that begins with _ would be left out
    look: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "handletextpad": 0.1}
    axes.legend(marks, words, ncols=min(3, len(levels)), columnspacing=0.9, **look)
