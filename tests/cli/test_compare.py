"""featx compare as a user types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.analysis.comparing.conftest import FULL, RIDGE, RIDGE_VOLUMES, SCRATCH, age_run, curve_table, write_curve

QUICK = ("--bootstrap", 50, "--permutations", 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    age_run(tmp_path / "run", {RIDGE: (4, 1), RIDGE_VOLUMES: (4.2, 2)})
    age_run(tmp_path / "trained", {SCRATCH: (12, 3), FULL: (6, 4)}, n_seeds=2)
    age_run(tmp_path / "other", {SCRATCH: (12, 3)}, n=50)
    write_curve(tmp_path / "curve", curve_table({RIDGE: {20: 9, 60: 6}, RIDGE_VOLUMES: {20: 7, 60: 7}}))
    return tmp_path


def test_the_answer_is_printed_and_lies_in_the_folder(type_in: Callable[..., str], folder: Path) -> None:
    said = type_in(folder, "compare", "run", "trained", "curve", "-o", "out", "--margin", 3, *QUICK)
    assert "age: Frozen features of net beat training from scratch by" in said
    assert "First of 4 arms: ridge on" in said
    assert "Equal to ridge on net within 3 years MAE: ridge on volumes" in said
    assert "ridge on net overtakes ridge on volumes from 42 [42, 42] training people on." in said
    assert said.rstrip().endswith(str(Path("out") / "compare.html"))
    assert {path.name for path in (folder / "out").iterdir()} >= {
        "compare.html", "compare.json", "ranking.csv", "differences.csv", "curves.csv", "crossings.csv", "costs.csv",
        "figures",
    }  # fmt: skip
    assert {path.suffix for path in (folder / "out" / "figures").iterdir()} == {".svg", ".pdf", ".csv"}
    first = (folder / "out" / "differences.csv").read_bytes()
    type_in(folder, "compare", "run", "trained", "curve", "-o", "out", "--margin", "age=3", "--no-figures", *QUICK)
    assert (folder / "out" / "differences.csv").read_bytes() == first


def test_what_differs_is_refused_in_one_sentence(type_in: Callable[..., str], folder: Path) -> None:
    said = type_in(folder, "compare", "run", "other", "-o", "out", *QUICK, code=2)
    assert said.startswith("featx: a phenotype must") or "runs must have tested the same images" in said
    assert not (folder / "out").exists()
    assert "--margin must be a number, or TARGET=number; got 'age=x'" in type_in(
        folder, "compare", "run", "--margin", "age=x", code=2
    )
    assert "holds something else; choose another name" in type_in(folder, "compare", "run", "-o", "run", code=2)


def test_the_help_teaches(type_in: Callable[..., str], folder: Path) -> None:
    said = type_in(folder, "compare", "--help")
    assert "featx compare run/ trained/ -o compare/" in said
