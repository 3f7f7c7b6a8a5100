"""People as counts in cells: where no point of one person may be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from featx.report.figures.canvas import COLOURS, FAINT, INK, Drawing, cut

MOST_WRITTEN = 40  # cells; of more, no numbers are written into them
_EDGES = ["x_low", "x_high", "y_low", "y_high", "people"]
_MAP = LinearSegmentedColormap.from_list("people", ["#dcebf5", COLOURS[0], "#00324f"])


def densities(
    cells: Mapping[str, pd.DataFrame], *, labels: tuple[str, str], line: str, alt: str, prefix: str, note: str = ""
) -> Drawing:
    """One panel of cells for each title, with the number of people written where there is room.

    Parameters
    ----------
    cells : mapping of str to DataFrame
        Title of the panel to x_low, x_high, y_low, y_high and people, as `featx.report.privacy.cells` gives them.
    labels : tuple of str
        Of the two axes.
    line : str
        "equal" for the line on which both are equal, "zero" for where y is 0.
    alt, prefix : str
        As of every `Drawing`.
    note : str
        Written above the first panel: the scores.
    """
    every = pd.concat(list(cells.values()))
    most = float(every["people"].max()) if len(every) else 1.0
    shown = Normalize(0, most)

    def draw(*panels: Axes) -> None:
        for at, (axes, (title, own)) in enumerate(zip(panels, cells.items(), strict=True)):
            for left, right, below, above, n in own[_EDGES].to_numpy(dtype=np.float64):
                box = Rectangle(
                    (left, below), right - left, above - below, facecolor=_MAP(shown(n)), edgecolor="white"
                )
                axes.add_patch(box)
                if len(own) <= MOST_WRITTEN:
                    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7.5}
                    ink = INK if shown(n) < 0.45 else "white"
                    axes.text((left + right) / 2, (below + above) / 2, f"{n:.0f}", color=ink, **look)
            _lines(axes, own, line)
            axes.set_title(title if len(cells) > 1 or not note else note, fontsize=8.5, loc="left")
            axes.set(xlabel=cut(labels[0], 42), ylabel=cut(labels[1], 42) if at == 0 else "")

    width = 3.7 if len(cells) == 1 else 2.6 * len(cells) + 0.4
    return Drawing(draw, (width, 3.7 if len(cells) == 1 else 2.9), alt, prefix, n_columns=len(cells))


def _lines(axes: Axes, own: pd.DataFrame, line: str) -> None:
    if not len(own):
        axes.text(0.5, 0.5, "no cell of enough people", transform=axes.transAxes, ha="center", color=INK)
        return
    x = (float(own["x_low"].min()), float(own["x_high"].max()))
    y = (float(own["y_low"].min()), float(own["y_high"].max()))
    if line == "zero":
        axes.axhline(0, color=FAINT, linewidth=1, dashes=(4, 3))
        y = (min(*y, 0.0), max(*y, 0.0))
    else:
        ends = np.array([min(x[0], y[0]), max(x[1], y[1])])
        axes.plot(ends, ends, color=FAINT, linewidth=1, dashes=(4, 3))
    for name, (low, high) in {"x": x, "y": y}.items():
        margin = 0.04 * ((high - low) or 1.0)
        axes.set(**{f"{name}lim": (low - margin, high + margin)})
