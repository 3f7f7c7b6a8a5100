"""Scores as a table of colours."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.axes import Axes

from featx.report.figures.canvas import as_svg
from featx.report.figures.heat import Scale, best_cell, heat

VALUES = np.array([[0.7, 0.8, np.nan], [0.93, 0.9, 0.75]])
TEXTS = [["0.70", "0.80", ""], ["0.93", "0.90", "0.75"]]


def draw(values: np.ndarray, *, higher: bool) -> str:
    return as_svg(
        heat(
            values,
            TEXTS,
            rows=["fire2", "<fire3>"],
            columns=["sagittal", "coronal", "axial"],
            scale=Scale("AUC", 0.7, 0.93, higher),
            alt="heat",
            prefix="h",
        )
    )


def test_numbers_and_names_stand_in_the_figure() -> None:
    said = re.sub(r"<[^>]+>", " ", draw(VALUES, higher=True))
    for word in ("0.70", "0.93", "0.75", "fire2", "&lt;fire3&gt;", "sagittal", "axial", "AUC"):
        assert word in said


@pytest.mark.parametrize("higher, cell", [(True, (1, 0)), (False, (0, 0))])
def test_the_best_is_framed_and_darkest(monkeypatch: pytest.MonkeyPatch, higher: bool, cell: tuple[int, int]) -> None:
    seen = {}
    add, mesh = Axes.add_patch, Axes.pcolormesh

    def spy_patch(self, patch):
        if patch.get_linewidth() > 2:
            seen["corner"] = patch.get_xy()
        return add(self, patch)

    def spy_mesh(self, *values, **look):
        if len(values) == 1:  # that of the colour bar has its edges as well
            seen["light"] = np.asarray(look["cmap"](look["norm"](values[0])))[..., :3].sum(axis=-1)
        return mesh(self, *values, **look)

    monkeypatch.setattr(Axes, "add_patch", spy_patch)
    monkeypatch.setattr(Axes, "pcolormesh", spy_mesh)
    draw(VALUES, higher=higher)
    assert seen["corner"] == (cell[1] + 0.03, cell[0] + 0.03)
    known = np.where(np.isfinite(VALUES), seen["light"], np.inf)
    assert np.unravel_index(known.argmin(), known.shape) == cell
    assert best_cell(VALUES, higher_is_better=higher) == cell


def test_an_empty_table_and_one_of_one_value_are_drawn() -> None:
    draw(np.full((2, 3), np.nan), higher=True)
    draw(np.full((2, 3), 0.7), higher=False)
