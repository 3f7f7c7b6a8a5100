"""Arrays to SVG. The only module that imports matplotlib; it touches none of pyplot's global state.

Every function gives one ``<svg>`` element as text, to be put into a page as it is: the same arrays give the same
bytes, ids carry the figure's own prefix (two figures of one page never share one), words are text in the reader's
own sans-serif, and nothing is fetched. Colours are Okabe and Ito's, which the colour-blind can tell apart.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_VECTOR_POINTS = 2000  # above, points are one picture
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 2)), (0, (3, 3)))
_INK, _FAINT = "#1f2933", "#8794a1"
_STYLE: Any = {
    "svg.hashsalt": "featx",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a phenotype may be named $x$
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": 160,
}


@dataclass(frozen=True)
class Curve:
    """A line of a ROC figure.

    Attributes
    ----------
    label : str
        As it stands in the legend.
    x, y : ndarray of shape (n_points,)
        False and true positive rate.
    """

    label: str
    x: Floats
    y: Floats


def cut(text: str, most: int = 24) -> str:
    """A name that fits an axis.

    Examples
    --------
    >>> cut("a_very_long_name_of_a_phenotype", 12)
    'a_very_long…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def scatter(
    observed: Floats,
    predicted: Floats,
    *,
    ends: tuple[float, float],
    target: str,
    note: str,
    alt: str,
    prefix: str,
) -> str:
    """Predicted against true numbers, with the line on which they are equal.

    Parameters
    ----------
    observed, predicted : ndarray of shape (n,)
        In the target's unit, finite.
    ends : tuple of float
        Smallest and largest number that both axes must hold.
    target : str
        Name (and unit) for the axes.
    note : str
        Written into the upper left corner: the scores.
    alt : str
        What a reader who does not see the figure is told.
    prefix : str
        Of the figure's ids; unique on the page.
    """
    margin = 0.05 * ((ends[1] - ends[0]) or 1.0)
    limits = (ends[0] - margin, ends[1] + margin)
    few = len(observed) <= 500

    def draw(axes: Axes) -> None:
        axes.plot(limits, limits, color=_FAINT, linewidth=1, dashes=(4, 3))
        axes.plot(
            observed,
            predicted,
            "o",
            color=COLOURS[0],
            markersize=4.2 if few else 2.6,
            markeredgewidth=0,
            alpha=0.6 if few else 0.3,
            rasterized=len(observed) > MOST_VECTOR_POINTS,
        )
        axes.set(xlabel=f"true {cut(target, 36)}", ylabel=f"predicted {cut(target, 36)}", aspect="equal")
        axes.set(xlim=limits, ylim=limits)
        axes.set_yticks([tick for tick in axes.get_xticks() if limits[0] <= tick <= limits[1]])
        axes.text(0.03, 0.98, note, transform=axes.transAxes, va="top", linespacing=1.35)

    return _svg(draw, (3.7, 3.7), alt, prefix)


def roc(curves: Sequence[Curve], *, alt: str, prefix: str) -> str:
    """ROC curves, up to as many as there are `COLOURS`, with the line of chance."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, dashes=(4, 3))
        for at, curve in enumerate(curves):
            look = {"color": COLOURS[at % len(COLOURS)], "linestyle": DASHES[at % len(DASHES)]}
            axes.plot(curve.x, curve.y, label=curve.label, linewidth=1.6, **look)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(loc="lower right", handlelength=2.8)

    return _svg(draw, (3.7, 3.7), alt, prefix)


def calibration(
    predicted: Floats, observed: Floats, low: Floats, high: Floats, *, probability: Floats, level: str,
    alt: str, prefix: str,
) -> str:  # fmt: skip
    """Reliability curve: observed share against predicted probability, over where the predictions lie.

    Parameters
    ----------
    predicted, observed, low, high : ndarray of shape (n_bins,)
        Mean probability, observed share, and the ends of the share's interval.
    probability : ndarray of shape (n,)
        All predicted probabilities; drawn as a histogram along the foot.
    level : str
        The class that the probability is of.
    """

    def draw(axes: Axes) -> None:
        counts, edges = np.histogram(probability, bins=20, range=(0, 1))
        axes.bar(edges[:-1], 0.16 * counts / counts.max(), 0.05, align="edge", color="#d5dce3", linewidth=0)
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, dashes=(4, 3))
        axes.vlines(predicted, low, high, color=COLOURS[0], linewidth=1.1)
        axes.plot(predicted, observed, "o-", color=COLOURS[0], linewidth=1.2, markersize=4)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set(xlabel=f"predicted probability of {cut(level)}", ylabel=f"observed share of {cut(level)}")

    return _svg(draw, (3.7, 3.7), alt, prefix)


def strip(value: float, low: float, high: float, baseline: float, ends: tuple[float, float]) -> str:
    """A table cell's line: the interval, the value on it, and the baseline as an upright.

    Parameters
    ----------
    value, low, high, baseline : float
        Whatever is NaN is left out.
    ends : tuple of float
        Ends of the axis that the column shares.
    """
    width, height, span = 120.0, 16.0, (ends[1] - ends[0]) or 1.0

    def x(number: float) -> str:
        return f"{6 + (width - 12) * (number - ends[0]) / span:.1f}"

    parts = [f'<svg class="strip" viewBox="0 0 {width:.0f} {height:.0f}" width="120" height="16" aria-hidden="true">']
    if np.isfinite(baseline):
        parts.append(f'<line x1="{x(baseline)}" x2="{x(baseline)}" y1="0" y2="16" class="strip-baseline"/>')
    if np.isfinite(low) and np.isfinite(high):
        parts.append(f'<line x1="{x(low)}" x2="{x(high)}" y1="8" y2="8" class="strip-interval"/>')
    if np.isfinite(value):
        parts.append(f'<circle cx="{x(value)}" cy="8" r="3.6" class="strip-value"/>')
    return "".join([*parts, "</svg>"])


def _svg(draw: Callable[[Axes], None], inches: tuple[float, float], alt: str, prefix: str) -> str:
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # the reader's font draws the words; that matplotlib's own lacks a letter only makes a width a guess
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(color="#e9edf1", linewidth=0.7)
        axes.set_axisbelow(True)
        draw(axes)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, facecolor="none", edgecolor="none")
    return _inline(file.getvalue().decode("utf-8"), alt, prefix)


def _inline(text: str, alt: str, prefix: str) -> str:
    """matplotlib's file as an element of a page: no prolog, no metadata, ids of its own, a label."""
    box = re.search(r'viewBox="([^"]+)"', text)
    if box is None:
        raise RuntimeError("matplotlib's SVG must have a viewBox; it has none; report this as a fault of featx")
    inner = text[text.index(">", text.index("<svg")) + 1 :]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    inner = re.sub(r'<defs>\s*<style type="text/css">.*?</style>\s*</defs>', "", inner, flags=re.DOTALL)
    inner = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', inner)
    inner = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', inner)
    inner = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", inner)
    inner = re.sub(r"<!--.*?-->\s*", "", inner, flags=re.DOTALL)
    label = html.escape(alt, quote=True)
    return f'<svg class="plot" role="img" aria-label="{label}" viewBox="{box.group(1)}">{inner.strip()}'
