"""Predictions as figures: numbers against numbers, ROC, calibration, age bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from featx.report.figures.canvas import COLOURS, DASHES, FAINT, Drawing, cut

Floats = NDArray[np.float64]

MOST_VECTOR_POINTS = 2000  # above, points are one picture


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


def scatter(
    observed: Floats,
    predicted: Floats,
    *,
    ends: tuple[float, float],
    target: str,
    note: str,
    alt: str,
    prefix: str,
) -> Drawing:
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
        axes.plot(limits, limits, color=FAINT, linewidth=1, dashes=(4, 3))
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

    return Drawing(draw, (3.7, 3.7), alt, prefix)


def by_level(
    observed: Floats,
    predicted: Floats,
    *,
    levels: Mapping[float, str],
    target: str,
    note: str,
    alt: str,
    prefix: str,
) -> Drawing:
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

    return Drawing(draw, (3.7, 3.7), alt, prefix)


def delta(age: Floats, predicted: Mapping[str, Floats], *, unit: str, alt: str, prefix: str) -> Drawing:
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
            axes.axhline(0, color=FAINT, linewidth=1, dashes=(4, 3))
            axes.plot(age, own - age, "o", color=COLOURS[0], markersize=3, markeredgewidth=0, alpha=0.5)
            ends = np.array([age.min(), age.max()])
            slope, intercept = np.polyfit(age, own - age, 1) if ends[0] < ends[1] else (0.0, 0.0)
            axes.plot(ends, slope * ends + intercept, color=COLOURS[1], linewidth=1.8)
            axes.set_title(title, fontsize=9, loc="left")
            axes.set(xlabel=f"age{said}", ylabel=f"predicted − age{said}" if at == 0 else "")

    return Drawing(draw, (2.6 * len(predicted) + 0.4, 2.7), alt, prefix, n_columns=len(predicted))


def roc(curves: Sequence[Curve], *, alt: str, prefix: str) -> Drawing:
    """ROC curves, up to as many as there are `COLOURS`, with the line of chance."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, dashes=(4, 3))
        for at, curve in enumerate(curves):
            look = {"color": COLOURS[at % len(COLOURS)], "linestyle": DASHES[at % len(DASHES)]}
            label = curve.label if curve.label[:1] != "_" else f"\u200b{curve.label}"  # else no word in the legend
            axes.plot(curve.x, curve.y, label=label, linewidth=1.6, **look)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(loc="lower right", handlelength=2.8)

    return Drawing(draw, (3.7, 3.7), alt, prefix)


def calibration(
    predicted: Floats, observed: Floats, low: Floats, high: Floats, *, probability: Floats, level: str,
    alt: str, prefix: str,
) -> Drawing:  # fmt: skip
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
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, dashes=(4, 3))
        axes.vlines(predicted, low, high, color=COLOURS[0], linewidth=1.1)
        axes.plot(predicted, observed, "o-", color=COLOURS[0], linewidth=1.2, markersize=4)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set(xlabel=f"predicted probability of {cut(level)}", ylabel=f"observed share of {cut(level)}")

    return Drawing(draw, (3.7, 3.7), alt, prefix)
