"""Folders are read under short names, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from featx.analysis.comparing.reading import read_entries
from featx.errors import AnalysisError

from .conftest import RIDGE, age_run, curve_table, write_curve


def test_names_are_as_short_as_may_be(tmp_path: Path) -> None:
    folders = [age_run(tmp_path / name / "run", {RIDGE: (5, 1)}, n=10) for name in ("x", "y")]
    folders.append(write_curve(tmp_path / "curve", curve_table({RIDGE: {20: 7}})))
    entries = read_entries(folders)
    assert [entry.name for entry in entries] == ["x/run", "y/run", "curve"]
    assert [entry.run is None for entry in entries] == [False, False, True]
    assert len(entries[0].sha256) == 64


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    run = age_run(tmp_path / "run", {RIDGE: (5, 1)}, n=10)
    with pytest.raises(AnalysisError, match=r"run is named twice; leave one of them out"):
        read_entries([run, run / ".." / "run"])
    with pytest.raises(AnalysisError, match=r"has neither run.json nor curve.json; give the folder that was named"):
        read_entries([tmp_path])


def test_damaged_curves_are_refused(tmp_path: Path) -> None:
    curve = write_curve(tmp_path / "curve", curve_table({RIDGE: {20: 7}}))
    told = (curve / "curve.json").read_text()
    (curve / "curve.json").write_text(json.dumps(json.loads(told) | {"format_version": 9}))
    with pytest.raises(AnalysisError, match=r"curve is of format \('featx-curve', 9\); run featx curve again"):
        read_entries([curve])
    (curve / "curve.json").write_text("{}")
    with pytest.raises(AnalysisError, match=r"curve cannot be read \(KeyError\); run featx curve again"):
        read_entries([curve])
    (curve / "curve.json").write_text(told)
    (curve / "curve.csv").write_text("target,value\nage,1\n")
    with pytest.raises(AnalysisError, match=r"curve.csv lacks 'kind'; run featx curve again"):
        read_entries([curve])
