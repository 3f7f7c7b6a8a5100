"""A study's file, written from its text and read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from featx.study.reading import Study, read_study

SMALL = """\
[cohort]
phenotypes = "people.csv"

[phenotypes]
targets = "age"

[features]
tables = {volumes = "volumes.csv"}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes study.toml."""

    def write_it(text: str) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_it


@pytest.fixture
def read(write: Callable[[str], Path]) -> Callable[[str], Study]:
    """A function that reads a study from its text."""

    def read_it(text: str) -> Study:
        study = read_study(write(text))
        assert isinstance(study, Study)
        return study

    return read_it
