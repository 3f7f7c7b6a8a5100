"""Figures as files: whole, the same twice, in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image

from featx.errors import AnalysisError
from featx.report.blocks import Panel
from featx.report.export import write_figures
from featx.report.figures.canvas import Drawing


def panel(data: pd.DataFrame | None = None) -> Panel:
    drawing = Drawing(lambda axes: axes.plot([0, 1], [0, 1]), (2.0, 2.0), "a line", "p")
    return Panel("A", "a line", drawing, "", data)


def test_each_figure_is_two_files_and_its_numbers_a_third(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [0.1, 0.25], "name": ["a", "b,c"]})
    write_figures({"age--A": panel(table), "roc": panel()}, tmp_path / "run" / "figures")
    files = sorted(one.name for one in (tmp_path / "run" / "figures").iterdir())
    assert files == ["age--A.csv", "age--A.pdf", "age--A.svg", "roc.pdf", "roc.svg"]
    folder = tmp_path / "run" / "figures"
    pd.testing.assert_frame_equal(pd.read_csv(folder / "age--A.csv"), table)
    assert (folder / "age--A.pdf").read_bytes().startswith(b"%PDF")
    assert (folder / "age--A.svg").read_text().rstrip().endswith("</svg>")
    assert [one.name for one in (tmp_path / "run").iterdir()] == ["figures"]


def test_the_same_figures_give_the_same_bytes_and_old_ones_go(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [1.0]})
    for name in ("one", "two"):
        write_figures({"a": panel(table), "gone": panel()}, tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    write_figures({"a": panel()}, tmp_path / "one", with_pdf=False)
    assert [one.name for one in (tmp_path / "one").iterdir()] == ["a.svg"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "thesis.tex").write_text("x")
    with pytest.raises(AnalysisError, match=r"figures must be .* own; .* also holds 'thesis.tex'; .*--no-figures"):
        write_figures({"a": panel()}, tmp_path / "figures")
    (tmp_path / "file").write_text("x")
    with pytest.raises(AnalysisError, match=r"figures must be written to a folder; .*file is a file"):
        write_figures({"a": panel()}, tmp_path / "file")
    assert (tmp_path / "figures" / "thesis.tex").exists()


def test_a_figure_is_drawn_on_white(tmp_path: Path) -> None:
    from featx.report.figures.canvas import as_file

    (tmp_path / "a.png").write_bytes(as_file(panel().drawing, "png"))
    pixels = image.imread(tmp_path / "a.png")
    assert np.allclose(pixels[0, 0], 1.0)
