"""Where in a network, and along which axis, a target is read best: scores of single feature sets as tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featx.analysis.crossval import RESIDUAL
from featx.analysis.features import TABLE
from featx.analysis.runs.rundir import Run
from featx.networks import NETWORKS
from featx.report.answers import ScoreRow, in_unit
from featx.report.blocks import Grid, Panel, Section
from featx.report.figures.heat import Scale, best_cell, heat
from featx.report.panels import Scored
from featx.report.wording import count, higher_is_better, metric_title, short_metric, treatment

LEAST_CELLS = 3
MOST_PANELS = 6
_AXES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Place:
    """Where one feature set was read."""

    network: str
    axis: str
    tap: str
    pooling: str


@dataclass(frozen=True)
class Table:
    """Scores of one head on one network, read one way: taps down, axes across; None where nothing was scored."""

    title: str
    taps: tuple[str, ...]
    axes: tuple[str, ...]
    rows: tuple[tuple[ScoreRow | None, ...], ...]

    @property
    def values(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """The first metric, of shape (n_taps, n_axes); NaN where nothing was scored."""
        return np.array([[np.nan if one is None else one.numbers[0] for one in row] for row in self.rows])


def place_of(name: str) -> Place | None:
    """What the name of a feature set says of where it was read; None of a name that says nothing.

    A tap that is pooled in its own way within a slice ("fire5:max") is told with the pooling.

    Examples
    --------
    >>> place_of("squeezenet1_0.imagenet/axial/fire5:max/mean")
    Place(network='squeezenet1_0.imagenet', axis='axial', tap='fire5', pooling='max, mean')
    >>> place_of("volumes")
    """
    parts = name.split("/")
    if len(parts) != 4:
        return None
    tap, _, within = parts[2].partition(":")
    return Place(parts[0], parts[1], tap, f"{within}, {parts[3]}" if within else parts[3])


def tap_order(network: str, taps: Sequence[str]) -> list[str]:
    """Taps as they follow each other in the network; of one that is not in the table, by the numbers in their names.

    Examples
    --------
    >>> tap_order("squeezenet1_0.imagenet@random-0", ["fire9", "fire2"]), tap_order("mine", ["block10", "block9"])
    (['fire2', 'fire9'], ['block9', 'block10'])
    """
    sheet = NETWORKS.get(network.partition("@")[0])
    known = {tap: at for at, tap in enumerate(sheet.taps)} if sheet else {}

    def key(tap: str) -> tuple[int, list[tuple[int, str]]]:
        parts = re.split(r"(\d+)", tap)
        return known.get(tap, len(known)), [(int(one), "") if one.isdigit() else (-1, one) for one in parts]

    return sorted(dict.fromkeys(taps), key=key)


def tables_of(rows: Sequence[ScoreRow], sets: Mapping[str, str]) -> list[Table]:
    """Scores as tables, one for each network, pooling, head and treatment of confounds, the best cell's first.

    Parameters
    ----------
    rows : sequence of ScoreRow
        Best first.
    sets : mapping of str to str
        Features as the scores name them, to the one set that they are.
    """
    found: dict[tuple[str, str, str, str], dict[tuple[str, str], ScoreRow]] = {}
    for row in rows:
        place = place_of(sets.get(row.features, ""))
        if place is not None and row.confounds not in RESIDUAL and np.isfinite(row.numbers[0]):
            key = (place.network, place.pooling, row.head, row.confounds)
            found.setdefault(key, {})[place.tap, place.axis] = row
    tables = []
    for (network, pooling, head, confounds), cells in found.items():
        if len(cells) < LEAST_CELLS:
            continue
        taps = tap_order(network, [tap for tap, _ in cells])
        named = list(dict.fromkeys(axis for _, axis in cells))
        axes = [one for one in _AXES if one in named] + sorted(set(named) - set(_AXES))
        title = ", ".join(one for one in (f"{head} on {network}", pooling, treatment(confounds)) if one)
        grid = tuple(tuple(cells.get((tap, axis)) for axis in axes) for tap in taps)
        tables.append(Table(title, tuple(taps), tuple(axes), grid))
    return tables


def section_of(run: Run, scored: Scored) -> Section | None:
    """Tables of layer and axis of one target; None where a run did not score several single sets of a network."""
    sets = {
        str(one["name"]): str(one["sets"][0]["name"])
        for one in run.facts.get("features") or []
        if len(one["sets"]) == 1 and one["sets"][0].get("provenance", {}).get("network") != TABLE
    }
    tables = tables_of(scored.table.rows, sets)
    if not tables:
        return None
    shown, metric = tables[:MOST_PANELS], scored.table.metrics[0]
    every = np.concatenate([table.values.ravel() for table in shown])
    direction = "higher" if higher_is_better(metric) else "lower"
    unit = in_unit(metric, scored.table.unit)
    said = f"{metric_title(metric)}{f', in{unit}' if unit else ''}; {direction} is better, better is darker"
    # the worst twentieth is palest alike, so that one failure takes no contrast from the rest
    low, high = np.nanpercentile(every, (5, 100) if higher_is_better(metric) else (0, 95))
    scale = Scale(said, float(low), float(high), higher_is_better(metric))
    notes = [
        "Each cell is a head on the features of one layer (taps of the network, in its order) along one axis; the "
        "best is framed. All have one scale of colours. The best of many is chosen by this very score: it is "
        "optimistic."
    ]
    if len(tables) > len(shown):
        notes.append(f"{count(len(tables) - len(shown), 'more table')} are left out: the best cells stand here.")
    panels = tuple(_panel(table, scale, f"{scored.prefix}layers{at}") for at, table in enumerate(shown))
    grids = tuple(_grid(table, short_metric(metric)) for table in shown)
    return Section(f"layers-{scored.prefix}", "Layers and axes", tuple(notes), panels, (), grids)


def _panel(table: Table, scale: Scale, prefix: str) -> Panel:
    texts = [["" if one is None else one.cells[0].split(" [")[0] for one in row] for row in table.rows]
    values = table.values
    tap, axis = best_cell(values, higher_is_better=scale.higher_is_better)
    best = f"{table.taps[tap]}, {table.axes[axis]}: {texts[tap][axis]}"
    alt = f"Scores of layers and axes, {table.title}; the best is {best}"
    drawing = heat(values, texts, rows=table.taps, columns=table.axes, scale=scale, alt=alt, prefix=prefix)
    data = pd.DataFrame(
        [
            (table.taps[row], table.axes[column], values[row, column])
            for row, column in np.argwhere(np.isfinite(values))
        ],
        columns=["tap", "axis", "value"],
    )
    return Panel("", table.title, drawing, f"The best: {best}.", data)


def _grid(table: Table, metric: str) -> Grid:
    rows = tuple(
        (tap, *("–" if one is None else one.cells[0] for one in row))
        for tap, row in zip(table.taps, table.rows, strict=True)
    )
    return Grid(f"{metric}: {table.title}", ("Layer", *table.axes), rows, 1)
