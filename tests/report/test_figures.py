"""SVG that can be put into a page as it is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.report import figures


def draw_scatter(n: int = 40, target: str = "age", prefix: str = "f") -> str:
    rng = np.random.default_rng(0)
    observed = rng.uniform(20, 80, n)
    predicted = observed + rng.normal(0, 5, n)
    ends = (float(min(observed.min(), predicted.min())), float(max(observed.max(), predicted.max())))
    return figures.scatter(observed, predicted, ends=ends, target=target, note="MAE 5", alt="a & b", prefix=prefix)


def draw_roc(prefix: str = "f") -> str:
    curve = figures.Curve("A <0.9>", np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.9, 1.0]))
    return figures.roc([curve, curve], alt="roc", prefix=prefix)


def draw_calibration(prefix: str = "f") -> str:
    p = np.linspace(0.1, 0.9, 5)
    return figures.calibration(p, p, p - 0.1, p + 0.1, probability=p, level="<M>", alt="calibration", prefix=prefix)


def draw_levels(prefix: str = "f", note: str = "") -> str:
    observed = np.repeat([1.0, 2.0, 4.0], [3, 2, 0])
    levels = {1.0: "none & <b>", 2.0: "some", 4.0: "much"}
    return figures.by_level(
        observed, observed + 0.1, levels=levels, target="pain", note=note, alt="levels", prefix=prefix
    )


def draw_delta(prefix: str = "f") -> str:
    age = np.array([20.0, 50.0, 80.0])
    predicted = {"raw": np.array([30.0, 50.0, 70.0]), "after": age + 1}
    return figures.delta(age, predicted, unit="years", alt="delta", prefix=prefix)


DRAWINGS = [draw_scatter, draw_roc, draw_calibration, draw_levels, draw_delta]


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))


@pytest.mark.parametrize("draw", DRAWINGS)
def test_one_clean_element_with_a_label(draw) -> None:
    svg = draw()
    root = parse(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"]
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    assert width > 100
    assert height > 100
    for unwanted in ("<?xml", "<!DOCTYPE", "<metadata", "<style", "<!--", "http:", "https:"):
        assert unwanted not in svg


@pytest.mark.parametrize("draw", DRAWINGS)
def test_same_arrays_same_bytes(draw) -> None:
    assert draw() == draw()


def test_ids_are_the_figures_own_and_all_references_resolve() -> None:
    one, two = draw_roc(prefix="one"), draw_roc(prefix="two")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, own in ((one, ids[0]), (two, ids[1])):
        assert set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg)) <= own


def test_words_are_escaped_and_no_mathematics() -> None:
    svg = draw_scatter(target='$x$ <script>alert("1")</script>')
    assert "<script" not in svg
    assert "$x$" in "".join(parse(svg).itertext())
    assert "a &amp; b" in svg


def test_letters_that_matplotlib_lacks_are_no_trouble() -> None:
    assert "年齢" in draw_scatter(target="年齢")


def test_many_points_are_one_picture() -> None:
    few, many = draw_scatter(figures.MOST_VECTOR_POINTS), draw_scatter(figures.MOST_VECTOR_POINTS + 1)
    assert "data:image/png" not in few
    assert many.count("data:image/png") == 1
    assert len(many) < len(few)


def test_a_label_may_begin_with_a_dash_below() -> None:
    curve = figures.Curve("_no", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert "_no" in figures.roc([curve], alt="roc", prefix="f")


def test_global_state_is_left_alone() -> None:
    before = dict(mpl.rcParams)
    draw_scatter()
    assert dict(mpl.rcParams) == before


def test_equal_numbers_still_make_axes() -> None:
    ones = np.ones(5)
    parse(figures.scatter(ones, ones, ends=(1.0, 1.0), target="x", note="", alt="x", prefix="f"))


def test_levels_are_named_and_an_empty_one_does_no_harm() -> None:
    words = "".join(parse(draw_levels()).itertext())
    for word in ("none & <b>", "some", "much", "true pain"):
        assert word in words


def test_delta_has_a_panel_for_each_correction() -> None:
    words = "".join(parse(draw_delta()).itertext())
    assert words.count("age (years)") == 3  # below each panel, and once beside
    assert "raw" in words
    assert "after" in words


# --- learning curves ------------------------------------------------------------------------------------------


def points(sizes: list[int], n_arms: int, target: str = "age", metric: str = "mae", kind: str = "continuous"):
    """Errors that fall with the people who train, by less for later arms; draws differ."""
    rows = []
    for arm in range(n_arms):
        for n in sizes:
            for draw in range(3):
                value = 20 / np.sqrt(n) + arm + 0.1 * draw
                rows.append((target, kind, f"set{arm}/tap", "ridge", "ignored", n, n, 37, draw, metric, value))
                rows.append((target, kind, f"set{arm}/tap", "ridge", "ignored", n, n, 37, draw, "r", 0.5))
    for n in sizes:
        value = np.nan if metric == "spearman" else 14.8
        rows.append((target, kind, "-", "baseline", "ignored", n, n, 37, 0, metric, value))
    return pd.DataFrame(rows, columns=schema.names(schema.CURVE))


def words_of(svg: bytes) -> str:
    return " ".join("".join(ET.fromstring(svg).itertext()).split())


def test_one_file_for_each_target_and_its_first_metric() -> None:
    table = pd.concat(
        [
            points([20, 40], 2),
            points([20, 40], 1, target="grip <kg>"),
            points([20, 40], 1, target="grip/kg"),
            points([20, 40], 1, "pain", "spearman", "ordinal"),
        ]
    )
    files = figures.draw_learning_curves(table, {"age": "years"})
    assert list(files) == ["age-mae.svg", "grip-kg-mae.svg", "grip-kg.2-mae.svg", "pain-spearman.svg"]
    age, grip, _, pain = map(words_of, files.values())
    for word in (
        "mean absolute error (years), lower is better",
        "people who train",
        "baseline",
        "3 draws",
        "37 test",
    ):
        assert word in age
    assert "set0/tap" in age
    assert "set1/tap" in age
    assert "grip <kg>" in grip
    assert "Spearman correlation, higher is better" in pain
    assert "chance" in pain  # a constant baseline has no correlation
    assert "baseline" not in pain
    assert files == figures.draw_learning_curves(table, {"age": "years"})


def test_the_axis_is_logarithmic_over_more_than_a_decade() -> None:
    def places(sizes: list[int]) -> np.ndarray:
        """Where the ticks of the sizes stand."""
        (svg,) = figures.draw_learning_curves(points(sizes, 1)).values()
        found = re.findall(r'id="xtick_\d+">.*?<use [^>]*x="([\d.]+)"', svg.decode(), re.DOTALL)
        return np.array(found[: len(sizes)], dtype=float)

    for sizes, scale in (([20, 110, 200], np.asarray), ([20, 200, 2000], np.log)):
        at, wanted = places(sizes), scale(np.array(sizes, dtype=float))
        assert np.isclose(
            (at[1] - at[0]) / (at[2] - at[0]), (wanted[1] - wanted[0]) / (wanted[2] - wanted[0]), atol=1e-3
        )


def test_of_many_arms_the_best_are_drawn_and_it_is_said() -> None:
    (svg,) = figures.draw_learning_curves(points([20, 40], 9)).values()
    said = words_of(svg)
    assert "the best 6 of 9 arms" in said
    assert "set5/tap" in said
    assert "set6/tap" not in said


def test_the_median_and_its_quartiles_are_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = figures._lines
    monkeypatch.setattr(figures, "_lines", lambda axes, arms: drawn.extend(arms) or draw(axes, arms))
    figures.draw_learning_curves(points([20, 40], 1))
    ((_, found),) = drawn
    for n in (20, 40):
        values = [20 / np.sqrt(n) + 0.1 * draw for draw in range(3)]
        assert np.allclose(found.loc[n], np.percentile(values, [25, 50, 75]))


def test_without_values_there_is_no_file() -> None:
    assert figures.draw_learning_curves(points([20, 40], 1).assign(value=np.nan)) == {}
    assert figures.draw_learning_curves(points([20], 1).head(0)) == {}


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_spread_without_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted, heights = rng.uniform(0, 1, 6), rng.uniform(0.05, 0.16, 6)
    places = np.array(figures.spread(list(wanted), list(heights)))
    order = np.argsort(-wanted)
    below, above = places[order][1:], places[order][:-1]
    assert (above - below >= (heights[order][1:] + heights[order][:-1]) / 2 - 1e-12).all()
    assert (places - heights / 2 >= -1e-12).all()
