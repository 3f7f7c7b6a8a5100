"""People as counts in cells."""

from __future__ import annotations

import re

import pandas as pd

from featx.report.figures.canvas import as_svg
from featx.report.figures.densities import densities

CELLS = pd.DataFrame(
    {"x_low": [0.0, 1.0], "x_high": [1.0, 2.0], "y_low": [0.0, 1.0], "y_high": [1.0, 2.0], "people": [12, 40]}
)


def drawn(cells: dict[str, pd.DataFrame], line: str = "equal") -> str:
    return as_svg(
        densities(cells, labels=("true age", "predicted age"), line=line, alt="a", prefix="p", note="MAE 5")
    )


def test_every_cell_is_drawn_with_its_number() -> None:
    svg = drawn({"": CELLS})
    words = re.findall(r">([^<>]+)</text>", svg)
    assert {"12", "40", "MAE 5", "true age", "predicted age"} <= {one.strip() for one in words}
    assert len(re.findall(r"stroke: #ffffff", svg)) == 2


def test_panels_have_their_titles_and_zero_is_in_sight() -> None:
    svg = drawn({"raw": CELLS, "after Cole": CELLS.assign(y_low=5.0, y_high=6.0)}, line="zero")
    words = {one.strip() for one in re.findall(r">([^<>]+)</text>", svg)}
    assert {"raw", "after Cole", "0"} <= words


def test_no_cell_is_said() -> None:
    assert "no cell of enough people" in drawn({"": CELLS.head(0)})
