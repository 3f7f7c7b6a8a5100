"""Curves: scores over the people who train, losses over epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from featx.analysis.crossval import BASELINE
from featx.analysis.inference.metrics import metrics_of
from featx.analysis.request import NO_FEATURES
from featx.analysis.runs.runwriter import file_stems
from featx.report.figures.canvas import COLOURS, DASHES, FAINT, INK, MARKERS, Drawing, cut
from featx.report.wording import CHANCE, count, higher_is_better, treatment

_QUARTILES = np.array([0.25, 0.5, 0.75])
NO_UNITS: Mapping[str, str] = MappingProxyType({})


def learning_curves(points: pd.DataFrame, units: Mapping[str, str] = NO_UNITS) -> dict[str, Drawing]:
    """How the first metric of each target grows with the people who train, one figure per target.

    Parameters
    ----------
    points : DataFrame
        Columns of `featx.schema.CURVE`. NaN values are passed over.
    units : mapping of str to str
        Target to its unit, where it is known.

    Returns
    -------
    dict of str to Drawing
        Name (target, metric) of a file to the figure: the median over draws, a band from the 25th to the 75th
        percentile, the baseline dashed. Of more arms than there are `COLOURS`, the best ones at the largest size are
        drawn.
    """
    stems = file_stems(dict.fromkeys(points["target"].astype(str)))
    found = {}
    for target, own in points.groupby("target", sort=False):
        name, (metric, facts) = str(target), next(iter(metrics_of(str(own["kind"].iloc[0])).items()))
        unit = f" ({units[name]})" if facts.has_unit and units.get(name) else ""
        said = f"{facts.title}{unit}, {'higher' if facts.higher_is_better else 'lower'} is better"
        own = own[own["metric"] == metric].dropna(subset=["value"])
        if len(own):
            found[f"{stems[name]}-{metric}"] = _learning_curve(own, name, metric, said)
    return found


def _learning_curve(points: pd.DataFrame, target: str, metric: str, ylabel: str) -> Drawing:
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
            axes.plot(base.index, base, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
            ends.append(("chance" if metric in CHANCE else "baseline", sizes[-1], float(base.iloc[-1]), INK))
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="people who train", ylabel=ylabel)
        axes.set_title(title, fontsize=9, loc="left")
        _label_ends(axes, ends)

    return Drawing(draw, (7.8, 4.2), f"Learning curves of {title}", "curve")


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
        words: dict[str, Any] = {"va": "center", "fontsize": 8, "color": INK, "annotation_clip": False}
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


def losses(curves: pd.DataFrame, title: str) -> Drawing:
    """How the losses of one fit went: phases one behind the other, a ring where weights were kept.

    Parameters
    ----------
    curves : DataFrame
        Columns phase, epoch, train_loss and validation_loss, in the order of the epochs.
    """
    place = np.arange(len(curves))
    values = curves[["train_loss", "validation_loss"]].to_numpy(dtype=np.float64)

    def draw(axes: Axes) -> None:
        if values.min() > 0 and values.max() > 10 * values.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for column, label in enumerate(("training", "validation")):
            look: dict[str, Any] = {"color": COLOURS[column], "linestyle": DASHES[column], "linewidth": 1.6}
            axes.plot(place, values[:, column], label=label, marker="." if len(place) < 30 else "", **look)
        for at, phase in enumerate(curves["phase"].unique()):
            own = np.flatnonzero(curves["phase"] == phase)
            best = own[values[own, 1].argmin()]
            ring: dict[str, Any] = {"fillstyle": "none", "markersize": 9, "color": INK}
            axes.plot(place[best], values[best, 1], "o", label="" if at else "kept", **ring)
            if at:
                axes.axvline(place[own[0]] - 0.5, color=FAINT, linewidth=1, dashes=(4, 3))
        axes.set(xlabel="epoch", ylabel="loss", xlim=(-0.5, len(place) - 0.5))
        axes.set_title(cut(title, 90), fontsize=9, loc="left")
        axes.legend()

    return Drawing(draw, (6.2, 3.6), f"Losses over epochs: {title}", "losses")


def losses_of_fits(fits: pd.DataFrame, *, alt: str, prefix: str) -> Drawing:
    """Training and validation losses of many fits: a thin line each, a column for every arm, a dot where one is kept.

    Parameters
    ----------
    fits : DataFrame
        Columns arm, fit, place (epochs, phases one behind the other), train_loss, validation_loss and is_kept, in
        the order of the epochs.
    """
    arms = list(dict.fromkeys(fits["arm"]))
    values = fits[["train_loss", "validation_loss"]].to_numpy()
    values = values[np.isfinite(values)]
    is_wide = len(values) > 0 and values.min() > 0 and values.max() > 10 * values.min()

    def draw(*panels: Axes) -> None:
        for axes, arm in zip(panels, arms, strict=True):
            for _, own in fits[fits["arm"] == arm].groupby("fit", sort=False):
                for at, name in enumerate(("train_loss", "validation_loss")):
                    look: dict[str, Any] = {"color": COLOURS[at], "linestyle": DASHES[at], "linewidth": 0.9}
                    axes.plot(own["place"], own[name], alpha=0.55, **look)
                kept = own[own["is_kept"]]
                dot: dict[str, Any] = {
                    "markersize": 5,
                    "markeredgecolor": "white",
                    "markeredgewidth": 0.6,
                    "zorder": 3,
                }
                axes.plot(kept["place"], kept["validation_loss"], "o", color=INK, **dot)
            axes.set(xlabel="epoch", ylabel="loss" if arm == arms[0] else "")
            axes.set_title(cut(arm, 34), fontsize=9, loc="left")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if is_wide:
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_locator(NullLocator())
        words = ("training", "validation", "kept")
        marks = [
            *(panels[0].plot([], [], color=COLOURS[at], linestyle=DASHES[at], linewidth=1.6)[0] for at in range(2)),
            panels[0].plot([], [], "o", color=INK, markersize=5)[0],
        ]
        panels[-1].legend(marks, words)

    return Drawing(draw, (min(7.8, 0.5 + 3.4 * len(arms)), 3.0), alt, prefix, n_columns=len(arms))
