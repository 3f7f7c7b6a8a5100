"""Maps of features as figures: points, markers, scales."""

from __future__ import annotations

import re

import numpy as np
import pytest

from featx.report.figures import maps
from featx.report.figures.canvas import as_file, as_svg
from featx.report.figures.maps import Colouring, Space

N = 30
POINTS = np.random.default_rng(0).normal(size=(N, 2))
NUMBER = Colouring("age (years)")
CLASS = Colouring("sex", ("_F", "<M>"))


def space(*values: np.ndarray, weights: np.ndarray | None = None) -> Space:
    return Space("PCA", "PC 1 (24 % of variance)", "PC 2", POINTS, values, weights)


def words(svg: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", svg).split())


def test_every_space_is_a_row_and_every_colouring_a_column() -> None:
    ages, codes = np.linspace(20, 80, N), np.arange(N) % 2.0
    drawing = maps.maps([space(ages, codes), space(ages, codes)], [NUMBER, CLASS], alt="two & maps", prefix="m")
    assert (drawing.n_rows, drawing.n_columns) == (2, 2)
    svg = as_svg(drawing)
    said = words(svg)
    for word in ("age (years)", "sex", "_F", "&lt;M&gt;"):
        assert word in said
    assert said.count("PC 1 (24 % of variance)") == 4
    assert 'aria-label="two &amp; maps"' in svg
    assert as_file(drawing, "pdf") == as_file(drawing, "pdf")


def test_classes_differ_in_marker_and_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch, [space(np.arange(N) % 2.0)], [CLASS])
    (first, second) = seen
    assert (first["marker"], second["marker"]) == ("o", "s")
    assert first["color"] != second["color"]
    assert np.array_equal(first["points"], POINTS[::2])
    assert np.array_equal(second["points"], POINTS[1::2])


def test_what_is_not_known_is_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.where(np.arange(N) < 4, np.nan, np.arange(N, dtype=float))
    grey, known = drawn(monkeypatch, [space(values)], [NUMBER])
    assert np.array_equal(grey["points"], POINTS[:4])
    assert np.array_equal(known["points"], POINTS[4:])
    assert np.array_equal(known["c"], values[4:])


def test_a_column_has_one_scale_without_its_far_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = np.linspace(0, 1, N), np.linspace(1, 2, N)
    other[-1] = 1000.0
    first, second = drawn(monkeypatch, [space(one), space(other)], [NUMBER])
    wanted = np.percentile(np.concatenate([one, other]), (1, 99))
    assert np.allclose([first["norm"].vmin, first["norm"].vmax], wanted)
    assert second["norm"].vmax == first["norm"].vmax


def test_marks_of_groups_have_areas_by_their_people(monkeypatch: pytest.MonkeyPatch) -> None:
    (seen,) = drawn(monkeypatch, [space(np.arange(N, dtype=float), weights=np.arange(10.0, 10 + N))], [NUMBER])
    assert np.allclose(seen["s"] / seen["s"][0], np.arange(10, 10 + N) / 10)


@pytest.mark.parametrize("values", [np.full(N, np.nan), np.ones(N)])
def test_nothing_known_and_one_value_still_make_a_map(values: np.ndarray) -> None:
    assert "age" in words(as_svg(maps.maps([space(values)], [NUMBER], alt="a", prefix="m")))


def drawn(monkeypatch: pytest.MonkeyPatch, spaces: list[Space], colourings: list[Colouring]) -> list[dict]:
    """What is scattered, call by call."""
    from matplotlib.axes import Axes

    seen: list[dict] = []
    scatter = Axes.scatter

    def spy(self, x, y, **look):
        seen.append(look | {"points": np.column_stack([x, y])})
        return scatter(self, x, y, **look)

    monkeypatch.setattr(Axes, "scatter", spy)
    drawing = maps.maps(spaces, colourings, alt="a", prefix="m")
    as_svg(drawing)
    return seen
