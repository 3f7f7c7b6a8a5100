"""Learning curves as figures."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from featx import schema
from featx.report.figures import curves
from featx.report.figures.canvas import as_file


def drawn(points: pd.DataFrame, units: Mapping[str, str] = curves.NO_UNITS) -> dict[str, bytes]:
    return {name: as_file(drawing, "svg") for name, drawing in curves.learning_curves(points, units).items()}


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
    files = drawn(table, {"age": "years"})
    assert list(files) == ["age-mae", "grip-kg-mae", "grip-kg.2-mae", "pain-spearman"]
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
    assert files == drawn(table, {"age": "years"})


def test_the_axis_is_logarithmic_over_more_than_a_decade() -> None:
    def places(sizes: list[int]) -> np.ndarray:
        """Where the ticks of the sizes stand."""
        (svg,) = drawn(points(sizes, 1)).values()
        found = re.findall(r'id="xtick_\d+">.*?<use [^>]*x="([\d.]+)"', svg.decode(), re.DOTALL)
        return np.array(found[: len(sizes)], dtype=float)

    for sizes, scale in (([20, 110, 200], np.asarray), ([20, 200, 2000], np.log)):
        at, wanted = places(sizes), scale(np.array(sizes, dtype=float))
        assert np.isclose(
            (at[1] - at[0]) / (at[2] - at[0]), (wanted[1] - wanted[0]) / (wanted[2] - wanted[0]), atol=1e-3
        )


def test_of_many_arms_the_best_are_drawn_and_it_is_said() -> None:
    (svg,) = drawn(points([20, 40], 9)).values()
    said = words_of(svg)
    assert "the best 6 of 9 arms" in said
    assert "set5/tap" in said
    assert "set6/tap" not in said


def test_the_median_and_its_quartiles_are_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    draw = curves._lines
    monkeypatch.setattr(curves, "_lines", lambda axes, arms: seen.extend(arms) or draw(axes, arms))
    drawn(points([20, 40], 1))
    ((_, found),) = seen
    for n in (20, 40):
        values = [20 / np.sqrt(n) + 0.1 * draw for draw in range(3)]
        assert np.allclose(found.loc[n], np.percentile(values, [25, 50, 75]))


def test_without_values_there_is_no_file() -> None:
    assert drawn(points([20, 40], 1).assign(value=np.nan)) == {}
    assert drawn(points([20], 1).head(0)) == {}


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_spread_without_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted, heights = rng.uniform(0, 1, 6), rng.uniform(0.05, 0.16, 6)
    places = np.array(curves.spread(list(wanted), list(heights)))
    order = np.argsort(-wanted)
    below, above = places[order][1:], places[order][:-1]
    assert (above - below >= (heights[order][1:] + heights[order][:-1]) / 2 - 1e-12).all()
    assert (places - heights / 2 >= -1e-12).all()


def fits(arms: tuple[str, ...] = ("full", "scratch"), low: float = 1.0) -> pd.DataFrame:
    rows = [
        (arm, f"fold {fold}", epoch, low + 2.0 / (1 + epoch), low + 4.0 / (1 + epoch), epoch == 2)
        for arm in arms
        for fold in range(3)
        for epoch in range(4)
    ]
    return pd.DataFrame(rows, columns=["arm", "fit", "place", "train_loss", "validation_loss", "is_kept"])


def test_every_fit_has_two_lines_and_a_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda self, x, y, *rest, **look: seen.append((len(x), rest)) or plot(self, x, y, *rest, **look)
    )
    drawing = curves.losses_of_fits(fits(), alt="losses", prefix="l")
    svg = as_file(drawing, "svg")
    assert drawing.n_columns == 2
    assert sum(n == 4 for n, _ in seen) == 2 * 3 * 2
    assert sum((n, rest) == (1, ("o",)) for n, rest in seen) == 2 * 3
    said = words_of(svg)
    for word in ("full", "scratch", "training", "validation", "kept"):
        assert word in said


@pytest.mark.parametrize("low, is_log", [(-0.4, True), (1.0, False), (-0.6, False)])
def test_losses_over_more_than_a_decade_have_a_logarithmic_axis(monkeypatch, low: float, is_log: bool) -> None:
    scales = []
    set_yscale = Axes.set_yscale
    monkeypatch.setattr(
        Axes, "set_yscale", lambda self, name, **more: scales.append(name) or set_yscale(self, name, **more)
    )
    as_file(curves.losses_of_fits(fits(("full",), low), alt="losses", prefix="l"), "svg")
    assert ("log" in scales) == is_log
