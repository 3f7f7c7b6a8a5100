"""Learning curves and losses of networks in a report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.runs.rundir import Run, read_run
from featx.errors import AnalysisError
from featx.report.figures.canvas import as_svg
from featx.report.sections import growth
from tests.report.conftest import make_run

SIZES = (20, 40, 80, 160)


def write_curve(folder: Path, sha256: str = "09" * 32) -> Path:
    """Two heads on age: the second is worse at 20 people and better from 40 on. And one of sex."""
    rng = np.random.default_rng(0)
    rows = []
    for draw in range(6):
        noise = rng.normal(0, 0.01)
        for at, n in enumerate(SIZES):
            for name, value in (("a.x", 10.0 - at), ("b.x", 11.0 - 3 * at)):
                rows.append(("age", "continuous", name, "ridge", "ignored", n, n, 30, draw, "mae", value + noise))
                rows.append(("age", "continuous", name, "ridge", "ignored", n, n, 30, draw, "r", 0.5))
            rows.append(
                ("sex", "binary", "a.x", "logistic", "ignored", n, n, 30, draw, "auc", 0.6 + 0.1 * at + noise)
            )
            rows.append(("age", "continuous", "-", "baseline", "ignored", n, n, 30, draw, "mae", 14.0))
    folder.mkdir()
    pd.DataFrame(rows, columns=schema.names(schema.CURVE)).to_csv(folder / schema.CURVE_CSV, index=False)
    facts = {
        "format": "featx-curve",
        "format_version": 1,
        "combinations": {"a.x": ["a.x/v/t/mean"], "b.x": ["b.x/v/t/mean"]},
    }
    facts |= {"phenotypes": {"file": "participants.tsv", "sha256": sha256}, "sources": []}
    (folder / schema.CURVE_JSON).write_text(json.dumps(facts))
    return folder


@pytest.fixture
def run(run_dir: Path) -> Run:
    return read_run(run_dir)


def test_curves_of_each_target_with_their_crossings(run: Run, tmp_path: Path) -> None:
    found = growth.learning_section(run, (write_curve(tmp_path / "curve"),))
    assert found is not None
    assert [panel.title for panel in found.panels] == ["age", "sex"]
    assert len({panel.drawing.prefix for panel in found.panels}) == 2
    assert "mean absolute error (years)" in as_svg(found.panels[0].drawing)
    assert found.panels[0].caption == "curve: 20, 40, 80, 160 people train, 6 draws of each size."
    (grid,) = found.grids
    (row,) = grid.rows
    assert (row[0], row[1]) == ("ridge on b.x", "ridge on a.x")
    # medians: 11 against 10 at 20 people, 8 against 9 at 40; half way in the logarithm
    assert row[2].startswith(f"{20 * np.sqrt(2):.0f} [")
    assert row[3] == "100 %"
    assert not any("another phenotype table" in note for note in found.notes)


def test_one_draw_has_no_interval_of_where_it_crosses(run: Run, tmp_path: Path) -> None:
    folder = write_curve(tmp_path / "curve")
    points = pd.read_csv(folder / schema.CURVE_CSV)
    points[points["draw"] == 0].to_csv(folder / schema.CURVE_CSV, index=False)
    found = growth.learning_section(run, (folder,))
    assert found is not None
    assert found.grids[0].rows[0][2:] == ("28; one draw only, so there is no interval", "–")


def test_the_data_are_the_quartiles_over_draws(run: Run, tmp_path: Path) -> None:
    folder = write_curve(tmp_path / "curve")
    points = pd.read_csv(folder / schema.CURVE_CSV)
    table = growth.curve_quartiles(points[points["target"] == "age"])
    for row in table.itertuples():
        own = points[
            (points["features"] == row.features) & (points["n_train"] == row.n_train) & (points["metric"] == "mae")
        ]
        assert np.allclose([row.q25, row.median, row.q75], np.percentile(own["value"], (25, 50, 75)))
        assert row.n_draws == 6
    assert len(table) == 3 * len(SIZES)


def test_curves_of_another_table_are_told(run: Run, tmp_path: Path) -> None:
    found = growth.learning_section(run, (write_curve(tmp_path / "others", "11" * 32),))
    assert found is not None
    assert "The curves of others are of another phenotype table than this run." in found.notes


def test_curves_that_do_not_cross_say_so(run: Run, tmp_path: Path) -> None:
    folder = write_curve(tmp_path / "curve")
    points = pd.read_csv(folder / schema.CURVE_CSV)
    points[points["features"] != "b.x"].to_csv(folder / schema.CURVE_CSV, index=False)
    found = growth.learning_section(run, (folder,))
    assert found is not None
    assert not found.grids
    assert found.notes[-1] == "No curve of medians crosses another one within the sizes that were tried."


def test_what_is_no_folder_of_curves_is_refused(run: Run, run_dir: Path, tmp_path: Path) -> None:
    assert growth.learning_section(run, ()) is None
    with pytest.raises(
        AnalysisError, match="curves must be a folder that `featx curve` wrote; .* is a run; give another"
    ):
        growth.learning_section(run, (run_dir,))
    with pytest.raises(AnalysisError, match="has neither run.json nor curve.json"):
        growth.learning_section(run, (tmp_path,))


# --- losses ---------------------------------------------------------------------------------------------------


def losses(arms: tuple[str, ...], validation: dict[str, list[float]]) -> pd.DataFrame:
    """One fit per list of losses: `output` for two epochs, then `all`."""
    rows = []
    for arm in arms:
        for fold, values in enumerate(validation.values()):
            for at, value in enumerate(values):
                phase, epoch = ("output", at) if at < 2 else ("all", at - 2)
                rows.append(("age", arm, 0, fold, 0, phase, epoch, 3.0 - 0.1 * at, value, 0.1))
    return pd.DataFrame(rows, columns=schema.names(schema.TRAINING_CURVES))


FALLING, RISEN = [5.0, 4.0, 3.0, 2.0, 1.5], [5.0, 5.5, 2.0, 3.0, 4.0]


def test_phases_stand_one_behind_the_other_and_the_lowest_of_each_is_kept() -> None:
    fits = growth.fits_of(losses(("two-stage",), {"a": FALLING, "b": RISEN}))
    assert fits["place"].tolist() == [0, 1, 2, 3, 4] * 2
    assert fits["is_kept"].tolist() == [False, True, False, False, True, True, False, True, False, False]
    assert fits["fit"].unique().tolist() == ["repeat 0, fold 0, seed 0", "repeat 0, fold 1, seed 0"]


def test_arms_that_were_still_falling_are_counted(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", n=60)
    table = losses(("full", "scratch", "head-only", "reinit", "two-stage"), {"a": FALLING, "b": RISEN, "c": FALLING})
    table.to_csv(folder / schema.TRAINING_CURVES_CSV, index=False)
    found = growth.losses_section(read_run(folder))
    assert found is not None
    assert [panel.drawing.n_columns for panel in found.panels] == [4, 1]
    assert len({panel.drawing.prefix for panel in found.panels}) == 2
    assert found.panels[0].caption.startswith("3 fits of each arm")
    (grid,) = found.grids
    assert grid.rows[0] == ("full", "3", "3", "3", "1.50", "2 of 3")
    assert len(grid.rows) == 5
    assert "scratch" in as_svg(found.panels[0].drawing)


def test_a_run_without_networks_has_none_and_a_damaged_table_is_refused(run: Run, tmp_path: Path) -> None:
    assert growth.losses_section(run) is None
    (tmp_path / schema.TRAINING_CURVES_CSV).write_text("target,arm\nage,full\n")
    with pytest.raises(AnalysisError, match="losses of a run must be the table that `featx train` wrote; .*KeyError"):
        growth.losses_section(replace(run, path=tmp_path))
