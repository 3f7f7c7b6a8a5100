"""featx report: what it writes where, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import QUICK


@pytest.fixture
def run(study: Path, featx: Callable[..., str]) -> Path:
    folder = study / "reported"
    if not folder.exists():
        wanted = ("--target", "age", "--head", "ridge", "--features", "each", *QUICK)
        featx("fit", "f.h5", "people.csv", *wanted, "-o", folder.name)
    return folder


def test_the_page_and_what_lies_beside_it(run: Path, featx: Callable[..., str]) -> None:
    assert featx("report", run.name, "-o", f"{run.name}/report.html") == f"{run.name}/report.html\n"
    assert {"report.html", "methods.md", "citations.bib", "figures"} <= {one.name for one in run.iterdir()}
    figures = {one.name for one in (run / "figures").iterdir()}
    assert {"age--predicted-A.svg", "age--predicted-A.pdf", "age--predicted-A.csv"} <= figures
    assert "Ridge regression [" in (run / "methods.md").read_text(encoding="utf-8")
    # a later fit into the same folder takes all of it for its own
    featx("fit", "f.h5", "people.csv", "--target", "age", "--head", "ridge", *QUICK, "-o", run.name)
    assert not (run / "figures").exists()


def test_a_private_page_has_files_of_its_own(run: Path, study: Path, featx: Callable[..., str]) -> None:
    featx("report", run.name, "--privacy", "--least", 12, "--no-figures", "-o", "public/age.html")
    assert {one.name for one in (study / "public").iterdir()} == {"age.html", "age.methods.md", "age.citations.bib"}
    page = (study / "public/age.html").read_text(encoding="utf-8")
    assert "no group of fewer than 12 people" in page
    assert not re.search(r"sub-\d\d", page)


def test_what_cannot_be_is_refused(run: Path, featx: Callable[..., str]) -> None:
    said = featx("report", run.name, "--protocol", "nobody2020", "--no-figures", code=2)
    assert "a protocol must be known; 'nobody2020' is not" in said
    assert "--least" in featx("report", run.name, "--privacy", "--least", 1, code=2)
    (run / "figures").mkdir(exist_ok=True)
    (run / "figures" / "mine.txt").write_text("x")
    assert "also holds 'mine.txt'" in featx("report", run.name, code=2)
    (run / "figures" / "mine.txt").unlink()
