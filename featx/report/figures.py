"""Arrays to SVG. The only module that imports matplotlib; it touches none of pyplot's global state.

Every function gives one ``<svg>`` element as text, to be put into a page as it is (learning curves: whole files). The
same arrays give the same bytes, ids carry the figure's own prefix (two figures of one page never share one), words
are text in the reader's own sans-serif, and nothing is fetched. Colours are Okabe and Ito's, which the colour-blind
can tell apart.
"""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from featx.analysis.crossval import BASELINE
from featx.analysis.inference.metrics import metrics_of
from featx.analysis.request import NO_FEATURES
from featx.analysis.runs.runwriter import file_stems
from featx.report.wording import CHANCE, count, higher_is_better, treatment

Floats = NDArray[np.float64]

MOST_VECTOR_POINTS = 2000  # above, points are one picture
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 2)), (0, (3, 3)))
MARKERS = "osD^vP"
_QUARTILES = np.array([0.25, 0.5, 0.75])
NO_UNITS: Mapping[str, str] = MappingProxyType({})
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


def by_level(
    observed: Floats,
    predicted: Floats,
    *,
    levels: Mapping[float, str],
    target: str,
    note: str,
    alt: str,
    prefix: str,
) -> str:
    """Predicted numbers over each true level of an ordinal target, with the median of every level.

    Parameters
    ----------
    observed, predicted : ndarray of shape (n,)
        Finite.
    levels : mapping of float to str
        Every number that is observed, to its label.
    target, note, alt, prefix : str
        As for `scatter`.
    """
    places = sorted(levels)
    width = 0.35 * min(np.diff(places), default=1.0)

    def draw(axes: Axes) -> None:
        for place in places:
            own = predicted[observed == place]
            beside = width * (2 * (np.arange(len(own)) * 0.618034 % 1) - 1)  # spread evenly, whatever the order
            axes.plot(place + beside, own, "o", color=COLOURS[0], markersize=3.4, markeredgewidth=0, alpha=0.5)
            if len(own):
                axes.plot([place - width, place + width], [np.median(own)] * 2, color=COLOURS[1], linewidth=2)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.14 * (high - low))  # for the note
        axes.set_xticks(places, [cut(levels[place], 14) for place in places])
        axes.set(xlabel=f"true {cut(target, 36)}", ylabel=f"predicted {cut(target, 36)}")
        axes.text(0.03, 0.98, note, transform=axes.transAxes, va="top", linespacing=1.35)

    return _svg(draw, (3.7, 3.7), alt, prefix)


def delta(age: Floats, predicted: Mapping[str, Floats], *, unit: str, alt: str, prefix: str) -> str:
    """Predicted less own age against age, one panel for the raw predictions and for each correction.

    Parameters
    ----------
    age : ndarray of shape (n,)
    predicted : mapping of str to ndarray of shape (n,)
        Title of the panel to predictions, finite, of the same images.
    unit : str
        Of age; "" where unknown.
    """
    said = f" ({unit})" if unit else ""

    def draw(*panels: Axes) -> None:
        for at, (axes, (title, own)) in enumerate(zip(panels, predicted.items(), strict=True)):
            axes.axhline(0, color=_FAINT, linewidth=1, dashes=(4, 3))
            axes.plot(age, own - age, "o", color=COLOURS[0], markersize=3, markeredgewidth=0, alpha=0.5)
            ends = np.array([age.min(), age.max()])
            slope, intercept = np.polyfit(age, own - age, 1) if ends[0] < ends[1] else (0.0, 0.0)
            axes.plot(ends, slope * ends + intercept, color=COLOURS[1], linewidth=1.8)
            axes.set_title(title, fontsize=9, loc="left")
            axes.set(xlabel=f"age{said}", ylabel=f"predicted − age{said}" if at == 0 else "")

    return _svg(draw, (2.6 * len(predicted) + 0.4, 2.7), alt, prefix, n_panels=len(predicted))


def roc(curves: Sequence[Curve], *, alt: str, prefix: str) -> str:
    """ROC curves, up to as many as there are `COLOURS`, with the line of chance."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, dashes=(4, 3))
        for at, curve in enumerate(curves):
            look = {"color": COLOURS[at % len(COLOURS)], "linestyle": DASHES[at % len(DASHES)]}
            label = curve.label if curve.label[:1] != "_" else f"\u200b{curve.label}"  # else no word in the legend
            axes.plot(curve.x, curve.y, label=label, linewidth=1.6, **look)
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


def _svg(draw: Callable[..., None], inches: tuple[float, float], alt: str, prefix: str, n_panels: int = 1) -> str:
    return _inline(_drawn(draw, inches, n_panels).decode("utf-8"), alt, prefix)


def _drawn(draw: Callable[..., None], inches: tuple[float, float], n_panels: int = 1, paper: str = "none") -> bytes:
    """A whole SVG file; `draw` is given the axes, which are side by side and of one scale."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # the reader's font draws the words; that matplotlib's own lacks a letter only makes a width a guess
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(1, n_panels, sharex=True, sharey=True, squeeze=False)[0]
        for axes in panels:
            axes.grid(color="#e9edf1", linewidth=0.7)
            axes.set_axisbelow(True)
        draw(*panels)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, facecolor=paper, edgecolor="none")
    return file.getvalue()


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


# --- learning curves ------------------------------------------------------------------------------------------


def draw_learning_curves(points: pd.DataFrame, units: Mapping[str, str] = NO_UNITS) -> dict[str, bytes]:
    """How the first metric of each target grows with the people who train, one SVG file per target.

    Parameters
    ----------
    points : DataFrame
        Columns of `featx.schema.CURVE`. NaN values are passed over.
    units : mapping of str to str
        Target to its unit, where it is known.

    Returns
    -------
    dict of str to bytes
        File name (target, metric) to the file: the median over draws, a band from the 25th to the 75th percentile,
        the baseline dashed. Of more arms than there are `COLOURS`, the best ones at the largest size are drawn.
    """
    stems = file_stems(dict.fromkeys(points["target"].astype(str)))
    files = {}
    for target, own in points.groupby("target", sort=False):
        name, (metric, facts) = str(target), next(iter(metrics_of(str(own["kind"].iloc[0])).items()))
        unit = f" ({units[name]})" if facts.has_unit and units.get(name) else ""
        said = f"{facts.title}{unit}, {'higher' if facts.higher_is_better else 'lower'} is better"
        own = own[own["metric"] == metric].dropna(subset=["value"])
        if len(own):
            files[f"{stems[name]}-{metric}.svg"] = _learning_curve(own, name, metric, said)
    return files


def _learning_curve(points: pd.DataFrame, target: str, metric: str, ylabel: str) -> bytes:
    arms = [
        (_two_lines(*map(str, label)), rows.groupby("n_train")["value"].quantile(_QUARTILES).unstack())
        for label, rows in points[points["head"] != BASELINE].groupby(["features", "head", "confounds"], sort=False)
    ]
    sign = -1 if higher_is_better(metric) else 1
    ranked = sorted(arms, key=lambda one: sign * one[1][0.5].iloc[-1])[: len(COLOURS)]
    title = (
        f"{cut(target, 60)}: median and quartiles of {count(points['draw'].nunique(), 'draw')}, "
        f"{count(int(points['n_test'].max()), 'test image')}"
    )
    if len(arms) > len(ranked):
        title += f"; the best {len(ranked)} of {len(arms)} arms"

    def draw(axes: Axes) -> None:
        sizes = sorted(set(points["n_train"]))
        if sizes[-1] > 10 * sizes[0]:
            axes.set_xscale("log")
        ends = _lines(axes, ranked)
        base = points[points["head"] == BASELINE].groupby("n_train")["value"].median()
        if metric in CHANCE:
            base = pd.Series(CHANCE[metric], index=sizes)
        if len(base):
            axes.plot(base.index, base, color=_INK, linewidth=1.2, linestyle=(0, (4, 3)))
            ends.append(("chance" if metric in CHANCE else "baseline", sizes[-1], float(base.iloc[-1]), _INK))
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="people who train", ylabel=ylabel)
        axes.set_title(title, fontsize=9, loc="left")
        _label_ends(axes, ends)

    return _drawn(draw, (7.8, 4.2), paper="white")


def _two_lines(features: str, head: str, confounds: str) -> str:
    """An arm as a label: head and treatment of confounds, then the features, cut in their middle."""
    said = ", ".join(one for one in (head, treatment(confounds)) if one)
    short = features if len(features) <= 42 else f"{features[:20]}…{features[-21:]}"
    return said if features == NO_FEATURES else f"{said}\n{short}"


def _lines(axes: Axes, arms: Sequence[tuple[str, pd.DataFrame]]) -> list[tuple[str, float, float, str]]:
    """Draw every arm; labels, last points (people, median) and colours."""
    ends = []
    for at, (label, own) in enumerate(arms):
        axes.fill_between(own.index, own[0.25], own[0.75], color=COLOURS[at], alpha=0.15, linewidth=0)
        look: dict[str, Any] = {"linestyle": DASHES[at], "marker": MARKERS[at], "markersize": 5}
        axes.plot(own.index, own[0.5], color=COLOURS[at], linewidth=1.6, **look)
        ends.append((label, float(own.index[-1]), float(own[0.5].iloc[-1]), COLOURS[at]))
    return ends


def _label_ends(axes: Axes, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Words beside the last points, moved apart, with a line to where they belong."""
    look: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.9, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 4}
    low, high = axes.get_ylim()
    heights = [0.02 + 0.05 * (label.count("\n") + 1) for label, *_ in ends]
    wanted = [(value - low) / (high - low) for *_, value, _ in ends]
    for (label, n, value, colour), place in zip(ends, spread(wanted, heights), strict=True):
        words: dict[str, Any] = {"va": "center", "fontsize": 8, "color": _INK, "annotation_clip": False}
        at: dict[str, Any] = {"xytext": (1.04, place), "textcoords": "axes fraction"}
        axes.annotate(label, (n, value), arrowprops=look | {"color": colour}, **words, **at)
    axes.set_ylim(low, high)


def spread(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Places near the wanted ones at which labels of these heights do not overlap, in their order from the top.

    Examples
    --------
    >>> [round(place, 2) for place in spread([0.5, 0.52, 0.1], [0.1, 0.1, 0.1])]
    [0.42, 0.52, 0.1]
    """
    order = sorted(range(len(wanted)), key=lambda at: -wanted[at])
    places = [0.0] * len(wanted)
    ceiling = math.inf
    for at in order:
        places[at] = min(wanted[at], ceiling - heights[at] / 2)
        ceiling = places[at] - heights[at] / 2
    floor = -math.inf if ceiling >= 0 else 0.0
    for at in reversed(order):
        places[at] = max(places[at], floor + heights[at] / 2)
        floor = places[at] + heights[at] / 2
    return places


def draw_losses(curves: pd.DataFrame, title: str) -> bytes:
    """How the losses of one fit went, as an SVG file: phases one behind the other, a ring where weights were kept.

    Parameters
    ----------
    curves : DataFrame
        Columns phase, epoch, train_loss and validation_loss, in the order of the epochs.
    """
    place = np.arange(len(curves))
    losses = curves[["train_loss", "validation_loss"]].to_numpy(dtype=np.float64)

    def draw(axes: Axes) -> None:
        if losses.min() > 0 and losses.max() > 10 * losses.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for column, label in enumerate(("training", "validation")):
            look: dict[str, Any] = {"color": COLOURS[column], "linestyle": DASHES[column], "linewidth": 1.6}
            axes.plot(place, losses[:, column], label=label, marker="." if len(place) < 30 else "", **look)
        for at, phase in enumerate(curves["phase"].unique()):
            own = np.flatnonzero(curves["phase"] == phase)
            best = own[losses[own, 1].argmin()]
            ring: dict[str, Any] = {"fillstyle": "none", "markersize": 9, "color": _INK}
            axes.plot(place[best], losses[best, 1], "o", label="" if at else "kept", **ring)
            if at:
                axes.axvline(place[own[0]] - 0.5, color=_FAINT, linewidth=1, dashes=(4, 3))
        axes.set(xlabel="epoch", ylabel="loss", xlim=(-0.5, len(place) - 0.5))
        axes.set_title(cut(title, 90), fontsize=9, loc="left")
        axes.legend()

    return _drawn(draw, (6.2, 3.6), paper="white")
