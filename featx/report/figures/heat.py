"""A table whose cells are coloured by their number: layers of a network against the axes it looked along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from featx.report.figures.canvas import COLOURS, FAINT, INK, Drawing, cut

Floats = NDArray[np.float64]

# one hue, its lightness nearly even: quiet, the same to all eyes, and the same in print
_DARK = ListedColormap(mpl.colormaps["Blues"](np.linspace(0.06, 1, 256)))


@dataclass(frozen=True)
class Scale:
    """What the numbers of a table are, and the colours of them, which several tables may share.

    Attributes
    ----------
    label : str
        With the unit.
    low, high : float
        Smallest and largest number.
    higher_is_better : bool
        Better is darker.
    """

    label: str
    low: float
    high: float
    higher_is_better: bool


def heat(
    values: Floats,
    texts: Sequence[Sequence[str]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    scale: Scale,
    alt: str,
    prefix: str,
) -> Drawing:
    """Every number in its cell, darker where it is better; the best is framed.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_columns)
        NaN where there is none: the cell stays empty.
    texts : sequence of sequence of str
        What is written in the cells.
    rows, columns : sequence of str
    scale : Scale
    """
    n_rows, n_columns = values.shape
    colours = _DARK if scale.higher_is_better else _DARK.reversed()
    norm = Normalize(scale.low, scale.high if scale.high > scale.low else scale.low + 1)

    def draw(axes: Axes) -> None:
        look: dict[str, Any] = {"edgecolors": "white", "linewidth": 1.5}
        mesh = axes.pcolormesh(values, cmap=colours, norm=norm, **look)
        for row, column in np.argwhere(np.isfinite(values)):
            red, green, blue, _ = colours(norm(values[row, column]))
            is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5  # where white is read better than ink
            words: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
            axes.text(column + 0.5, row + 0.5, texts[row][column], color="white" if is_dark else INK, **words)
        if np.isfinite(values).any():
            row, column = best_cell(values, higher_is_better=scale.higher_is_better)
            frame: dict[str, Any] = {"fill": False, "edgecolor": COLOURS[1], "linewidth": 2.6}
            axes.add_patch(Rectangle((column + 0.03, row + 0.03), 0.94, 0.94, **frame))
        axes.set_xticks(np.arange(n_columns) + 0.5, [cut(one, 16) for one in columns])
        axes.set_yticks(np.arange(n_rows) + 0.5, [cut(one, 24) for one in rows])
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.invert_yaxis()
        axes.spines[:].set_visible(False)
        bar = axes.figure.colorbar(mesh, ax=axes, location="bottom", aspect=28, fraction=0.06, pad=0.03)
        bar.outline.set_visible(False)
        bar.set_label(scale.label, fontsize=8)
        bar.ax.tick_params(length=2, color=FAINT)
        bar.locator = MaxNLocator(6)
        bar.update_ticks()
        for part in bar.ax.collections:
            part.set_edgecolor("face")  # else thin gaps show between its colours

    width = min(7.8, max(3.4, 1.5 + 0.85 * n_columns))
    return Drawing(draw, (width, 1.3 + 0.3 * n_rows), alt, prefix, is_shared=False)


def best_cell(values: Floats, *, higher_is_better: bool) -> tuple[int, int]:
    """Row and column of the best number; of equal ones the first.

    Examples
    --------
    >>> best_cell(np.array([[0.7, np.nan], [0.9, 0.8]]), higher_is_better=True)
    (1, 0)
    """
    at = int(np.nanargmax(values) if higher_is_better else np.nanargmin(values))
    return at // values.shape[1], at % values.shape[1]
