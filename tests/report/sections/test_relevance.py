"""Relevance maps in a report, and all sections together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from featx.analysis.runs.rundir import read_run
from featx.errors import AnalysisError
from featx.report import panels
from featx.report.answers import score_table
from featx.report.blocks import Extras
from featx.report.panels import Scored
from featx.report.sections import relevance
from featx.report.sections.gather import sections_of_run, sections_of_target

FACTS = {
    "format": "featx-relevance",
    "target": "age",
    "head": "ridge",
    "features": "a.x",
    "method": "gradient",
    "n_images": 20,
    "figure": "relevance.png",
    "caption": "Gradient of age, in years.",
}


def write_map(folder: Path, **changed: object) -> Path:
    folder.mkdir()
    (folder / "relevance.json").write_text(json.dumps(FACTS | changed))
    (folder / "relevance.png").write_bytes(b"\x89PNG of " + folder.name.encode())
    return folder


def test_each_map_is_a_picture_with_its_caption(tmp_path: Path) -> None:
    folders = (write_map(tmp_path / "one"), write_map(tmp_path / "two", method="occlusion", n_images=1))
    found = relevance.section_of(Extras(relevance=folders))
    assert found is not None
    first, second = found.pictures
    assert first.title == "age: ridge on a.x"
    assert first.data == b"\x89PNG of one"
    assert (first.caption, first.media_type) == ("Gradient of age, in years.", "image/png")
    assert first.alt == "Relevance of the brain for age: ridge on a.x, gradient, mean over 20 images"
    assert second.alt.endswith("occlusion, mean over 1 image")
    assert relevance.section_of(Extras()) is None


def test_maps_of_few_people_are_left_out_in_private(tmp_path: Path) -> None:
    folders = (write_map(tmp_path / "one"), write_map(tmp_path / "two", n_images=9))
    found = relevance.section_of(Extras(relevance=folders, is_private=True))
    assert found is not None
    assert len(found.pictures) == 1
    assert found.notes[-1] == "1 map of fewer than 10 images left out."


@pytest.mark.parametrize(
    "changed",
    [{"format": "other"}, {"figure": "relevance.exe"}, {"figure": "gone.png"}, {"caption": None, "n_images": None}],
)
def test_what_is_no_map_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    folder = write_map(tmp_path / "map", **changed)
    with pytest.raises(
        AnalysisError, match="a relevance map must be a folder that `featx relevance` wrote; .*map cannot"
    ):
        relevance.section_of(Extras(relevance=(folder,)))
    (folder / "relevance.json").unlink()
    with pytest.raises(AnalysisError, match="FileNotFoundError"):
        relevance.section_of(Extras(relevance=(folder,)))


def test_sections_have_keys_of_their_own_and_only_those_that_there_is_something_for(
    run_dir: Path, tmp_path: Path
) -> None:
    run = read_run(run_dir)
    assert sections_of_run(run, Extras()) == []
    assert [one.key for one in sections_of_run(run, Extras(relevance=(write_map(tmp_path / "one"),)))] == [
        "relevance"
    ]
    keys = []
    for at, facts in enumerate(run.facts["targets"][:2]):
        table = score_table(run.scores[run.scores["target"] == facts["name"]], facts["unit"])
        drawn = panels.drawn_rows(run.predictions[facts["name"]], table)
        own = sections_of_target(run, Scored(facts, table, drawn, {}, f"t{at}"), Extras())
        keys += [one.key for one in own]
    assert keys == ["residuals-t0", "residuals-t1"]
