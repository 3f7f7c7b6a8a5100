"""SVG that can be put into a page as it is."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from featx.report.figures import predictions
from featx.report.figures.canvas import as_file, as_svg


def draw_scatter(n: int = 40, target: str = "age", prefix: str = "f") -> str:
    rng = np.random.default_rng(0)
    observed = rng.uniform(20, 80, n)
    predicted = observed + rng.normal(0, 5, n)
    ends = (float(min(observed.min(), predicted.min())), float(max(observed.max(), predicted.max())))
    return as_svg(
        predictions.scatter(observed, predicted, ends=ends, target=target, note="MAE 5", alt="a & b", prefix=prefix)
    )


def draw_roc(prefix: str = "f") -> str:
    curve = predictions.Curve("A <0.9>", np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.9, 1.0]))
    return as_svg(predictions.roc([curve, curve], alt="roc", prefix=prefix))


def draw_calibration(prefix: str = "f") -> str:
    p = np.linspace(0.1, 0.9, 5)
    return as_svg(
        predictions.calibration(p, p, p - 0.1, p + 0.1, probability=p, level="<M>", alt="calibration", prefix=prefix)
    )


def draw_levels(prefix: str = "f", note: str = "") -> str:
    observed = np.repeat([1.0, 2.0, 4.0], [3, 2, 0])
    levels = {1.0: "none & <b>", 2.0: "some", 4.0: "much"}
    return as_svg(
        predictions.by_level(
            observed, observed + 0.1, levels=levels, target="pain", note=note, alt="levels", prefix=prefix
        )
    )


def draw_delta(prefix: str = "f") -> str:
    age = np.array([20.0, 50.0, 80.0])
    predicted = {"raw": np.array([30.0, 50.0, 70.0]), "after": age + 1}
    return as_svg(predictions.delta(age, predicted, unit="years", alt="delta", prefix=prefix))


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
    few, many = draw_scatter(predictions.MOST_VECTOR_POINTS), draw_scatter(predictions.MOST_VECTOR_POINTS + 1)
    assert "data:image/png" not in few
    assert many.count("data:image/png") == 1
    assert len(many) < len(few)


def test_a_label_may_begin_with_a_dash_below() -> None:
    curve = predictions.Curve("_no", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert "_no" in as_svg(predictions.roc([curve], alt="roc", prefix="f"))


def test_global_state_is_left_alone() -> None:
    before = dict(mpl.rcParams)
    draw_scatter()
    assert dict(mpl.rcParams) == before


def test_equal_numbers_still_make_axes() -> None:
    ones = np.ones(5)
    parse(as_svg(predictions.scatter(ones, ones, ends=(1.0, 1.0), target="x", note="", alt="x", prefix="f")))


def test_levels_are_named_and_an_empty_one_does_no_harm() -> None:
    words = "".join(parse(draw_levels()).itertext())
    for word in ("none & <b>", "some", "much", "true pain"):
        assert word in words


def test_delta_has_a_panel_for_each_correction() -> None:
    words = "".join(parse(draw_delta()).itertext())
    assert words.count("age (years)") == 3  # below each panel, and once beside
    assert "raw" in words
    assert "after" in words


def test_a_file_is_whole_and_the_same_each_time() -> None:
    drawing = predictions.roc(
        [predictions.Curve("A", np.array([0.0, 1.0]), np.array([0.0, 1.0]))], alt="r", prefix="f"
    )
    begins = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    for format, start in begins.items():
        file = as_file(drawing, format)
        assert file.startswith(start)
        assert file == as_file(drawing, format)
