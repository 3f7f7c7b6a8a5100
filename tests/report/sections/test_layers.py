"""Scores of single feature sets as tables of layer and axis."""

from __future__ import annotations

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.runs.rundir import Run
from featx.report.answers import score_table
from featx.report.figures.canvas import as_svg
from featx.report.panels import Scored
from featx.report.sections import layers

NETWORK = "squeezenet1_0.imagenet"
TAPS, AXES = ("fire2", "fire3", "fire9"), ("axial", "coronal", "sagittal")


def name(tap: str, axis: str, network: str = NETWORK, pooling: str = "mean") -> str:
    return f"{network}/{axis}/{tap}/{pooling}"


def scores(values: dict[str, float], head: str = "ridge", metric: str = "mae") -> pd.DataFrame:
    rows = [
        ("age", "continuous", one, head, "ignored", metric, value, value - 0.5, value + 0.5, 14.0, 90, 90)
        for one, value in values.items()
    ]
    return pd.DataFrame(rows, columns=schema.names(schema.SCORES))


def made(table: pd.DataFrame, tables: tuple[str, ...] = ()) -> tuple[Run, Scored]:
    names = list(dict.fromkeys(table["features"]))
    features = [
        {
            "name": one,
            "sets": [
                {"name": part, "provenance": {"network": "table" if part in tables else NETWORK}}
                for part in one.split("+")
            ],
        }
        for one in names
    ]
    nothing = pd.DataFrame()
    run = Run(None, {"features": features, "targets": []}, *[nothing] * 8, predictions={})  # type: ignore[arg-type]
    return run, Scored({"name": "age", "kind": "continuous"}, score_table(table, "years"), {}, {}, "t3")


VALUES = {name(tap, axis): 5.0 + 0.1 * at + 0.3 * to for at, tap in enumerate(TAPS) for to, axis in enumerate(AXES)}


def test_cells_are_the_scores_taps_in_the_networks_order_axes_in_one_of_their_own() -> None:
    section = layers.section_of(*made(scores(dict(reversed(VALUES.items())))))
    assert section is not None
    (panel,), (grid,) = section.panels, section.grids
    assert grid.columns == ("Layer", "sagittal", "coronal", "axial")
    assert [row[0] for row in grid.rows] == list(TAPS)
    assert grid.rows[1] == ("fire3", "5.7 [5.2, 6.2]", "5.4 [4.9, 5.9]", "5.1 [4.6, 5.6]")
    assert panel.caption == "The best: fire2, axial: 5.0."
    assert panel.data is not None
    told = {(one.tap, one.axis): one.value for one in panel.data.itertuples()}
    assert told == {(tap, axis): VALUES[name(tap, axis)] for tap in TAPS for axis in AXES}
    svg = as_svg(panel.drawing)
    assert "mean absolute error, in years; lower is better" in svg
    assert 'id="t3layers0-' in svg


def test_each_network_pooling_and_head_has_a_table_the_best_first() -> None:
    table = pd.concat(
        [
            scores(VALUES),
            scores({name(tap, "axial", f"{NETWORK}@random-0"): 8.0 for tap in TAPS}),
            scores({name(f"{tap}:max", "axial"): 7.0 for tap in TAPS}),
            scores({name(tap, "axial"): 4.0 for tap in TAPS}, head="elastic-net"),
        ]
    )
    section = layers.section_of(*made(table))
    assert section is not None
    assert [panel.title for panel in section.panels] == [
        f"elastic-net on {NETWORK}, mean",
        f"ridge on {NETWORK}, mean",
        f"ridge on {NETWORK}, max, mean",
        f"ridge on {NETWORK}@random-0, mean",
    ]
    assert len({panel.drawing.prefix for panel in section.panels}) == 4


def test_of_many_tables_the_best_are_shown_and_it_is_said() -> None:
    parts = [scores({name(tap, "axial", f"net{at}.x"): 5.0 + at for tap in TAPS}) for at in range(8)]
    section = layers.section_of(*made(pd.concat(parts)))
    assert section is not None
    assert len(section.panels) == layers.MOST_PANELS
    assert section.notes[1] == "2 more tables are left out: the best cells stand here."


def test_without_several_single_sets_there_is_no_section() -> None:
    few = {name(tap, "axial"): 5.0 for tap in TAPS[:2]}
    joined = {"+".join(name(tap, axis) for tap in TAPS): 5.0 for axis in AXES}
    assert layers.section_of(*made(scores(few | joined))) is None
    assert layers.section_of(*made(scores({"volumes": 5.0, "a/b/c/d": 6.0}), tables=("a/b/c/d",))) is None


def test_residualised_arms_and_empty_scores_are_no_cells() -> None:
    table = scores(VALUES)
    table.loc[0, "value"] = np.nan
    left = table.assign(confounds="target")
    section = layers.section_of(*made(pd.concat([table, left])))
    assert section is not None
    (panel,) = section.panels
    assert panel.data is not None
    assert len(panel.data) == len(VALUES) - 1
    assert section.grids[0].rows[0][3] == "–"
