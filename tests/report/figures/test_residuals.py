"""Errors over age and by part as figures."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from featx.report.figures.canvas import as_svg
from featx.report.figures.residuals import Line, Part, along, by_part

LINE = Line(np.array([20.0, 50.0]), np.array([1.0, -1.0]), np.array([0.5, -2.0]), np.array([1.5, 0.0]))


def dots(svg: str) -> int:
    return len(re.findall(r"<use [^>]*style=\"fill: #0072b2", svg))


def test_points_are_drawn_where_they_are_given() -> None:
    age, error = np.linspace(20, 80, 40), np.linspace(5, -5, 40)
    labels = ("age (years)", "predicted − observed")
    whole = as_svg(along(age, error, LINE, labels=labels, alt="a", prefix="p"))
    assert dots(whole) == 40
    assert "age (years)" in whole
    bare = as_svg(along(age[:0], error[:0], LINE, labels=labels, alt="a", prefix="p"))
    assert dots(bare) == 0
    assert "#d55e00" in bare
    assert "#d55e00" not in as_svg(along(age, error, None, labels=labels, alt="a", prefix="p"))


def test_every_part_is_a_row_with_its_name() -> None:
    parts = [
        Part("<Guys> (n = 3)", 1.0, 0.5, 1.5, (0.0, 1.0, 2.0), np.array([0.0, 1.0, 2.0])),
        Part("HH (n = 12)", 0.2, 0.1, 0.3),
    ]
    svg = as_svg(by_part(parts, label="error", zero=0.4, whole="all", alt="a", prefix="p"))
    for word in ("&lt;Guys&gt; (n = 3)", "HH (n = 12)", "error", "all"):
        assert word in svg
    without = by_part(
        [replace(parts[0], points=None), parts[1]], label="error", zero=0.4, whole="all", alt="a", prefix="p"
    )
    assert dots(svg) - dots(as_svg(without)) == 3
