"""Figures of a comparison: every arm and number is in them, the same input gives the same bytes."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from featx.analysis.comparing.arms import ROLES
from featx.report.figures.canvas import Drawing, as_svg
from featx.report.figures.comparing import LOOKS, Mark, costing, forest, growing, matrix

NAN = float("nan")
MARKS = [Mark("A  one", "frozen", 5.0, 4.0, 6.0), Mark("B  two", "scratch", 9.0, 8.0, 10.0),
         Mark("C  base", "baseline", 14.0, NAN, NAN)]  # fmt: skip


def words(drawing: Drawing) -> list[str]:
    svg = as_svg(drawing)
    assert svg == as_svg(drawing)
    return re.findall(r">([^<>]+)</text>", svg)


def test_every_role_has_a_look_of_its_own() -> None:
    assert set(LOOKS) == set(ROLES)
    assert len(set(LOOKS.values())) == len(LOOKS)


def test_a_forest_names_its_arms_and_what_colours_mean() -> None:
    found = words(forest(MARKS, xlabel="MAE", alt="scores", prefix="x"))
    assert {"A  one", "B  two", "C  base", "MAE", "frozen", "scratch", "baseline"} <= {one.strip() for one in found}
    assert "zero" in words(forest(MARKS[:1], xlabel="MAE", alt="gains", prefix="x", zero="zero"))
    assert "frozen" not in words(forest(MARKS[:1], xlabel="MAE", alt="scores", prefix="x"))  # one needs no legend


def test_a_matrix_writes_every_difference_with_its_sign() -> None:
    gap = np.array([[NAN, 1.234, 0.01], [-1.234, NAN, NAN], [-0.01, NAN, NAN]])
    apart = np.array([[False, True, False], [True, False, False], [False, False, False]])
    drawing = matrix(["A", "B", "C"], gap, apart, places=1, alt="who beats whom", prefix="m")
    found = words(drawing)
    assert [one for one in found if one[0] in "+−0"] == ["+1.2", "0.0", "−1.2", "0.0"]
    svg = as_svg(drawing)
    fills = re.findall(r"fill: (#[0-9a-f]{6})", svg)
    assert fills.count("#eef1f4") == 5  # nothing was compared
    assert fills.count("#ffffff") == 2 + 1  # the interval holds 0; the paper
    nothing = matrix(["A"], np.array([[NAN]]), np.array([[False]]), places=1, alt="one", prefix="m")
    assert words(nothing)[-1:] != ["+nan"]


def test_curves_have_their_arms_sizes_and_crossings() -> None:
    rows = [("one", "frozen", n, value + draw) for n, value in ((20, 7), (200, 6)) for draw in range(3)]
    rows += [("two", "scratch", n, value + draw) for n, value in ((20, 12), (200, 4)) for draw in range(3)]
    curves = pd.DataFrame(rows, columns=["arm", "role", "n_train", "value"])
    crossed = [("two", "one", 90.0, NAN, 150.0), ("two", "one", 90.0, 30.0, NAN)]
    found = words(growing(curves, crossed, ylabel="MAE", alt="curves", prefix="g"))
    assert {"one", "two", "20", "200", "people who train", "MAE"} <= set(found)


def test_costs_are_drawn_by_letter() -> None:
    marks = [(Mark("A", "frozen", 5.0, 4.0, 6.0), 2.0), (Mark("B", "scratch", 9.0, NAN, NAN), 200.0)]
    found = words(costing(marks, ylabel="MAE", xlabel="minutes", alt="cost", prefix="c"))
    assert {"A", "B", "minutes", "MAE"} <= set(found)
