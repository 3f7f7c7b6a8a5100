"""A page that may be passed on: nobody is named, and no cell is small."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.runs.rundir import Run, read_run
from featx.report import panels, privacy
from featx.report.blocks import Extras
from featx.report.page import Page, make_page, named_panels, render, write_report
from featx.report.privacy import cells, hidden
from tests.report.conftest import make_run

LEAST = 10


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With a condition and a path that name a person, and a rare class."""
    found = read_run(make_run(tmp_path_factory.mktemp("private") / "run", n=120, full=True))
    facts = dict(found.facts)
    facts["targets"] = [one for one in facts["targets"] if one["name"] in ("age", "sex", "site")]
    facts["arguments"] = facts["arguments"] | {"columns": {"where": "participant_id != 'sub-0007'"}}
    facts["command"] = "featx fit /home/somebody/features.h5"
    return replace(found, facts=facts)


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return make_page(run, Extras(is_private=True, least=LEAST))


@pytest.fixture(scope="module")
def text(page: Page) -> str:
    return render(page)


def everybody(run: Run) -> set[str]:
    """Every id that any table of the run names."""
    tables = [*run.predictions.values(), run.splits, run.exclusions, run.failures]
    named = {str(one) for table in tables for name in (*IDS,) if name in table for one in table[name]}
    return named - {""}


IDS = (schema.IMAGE_ID, schema.PARTICIPANT_ID)


def test_nobody_is_named_in_page_methods_or_data(run: Run, page: Page, text: str) -> None:
    ids = everybody(run)
    assert len(ids) > 120
    data = "".join(panel.data.to_csv() for panel in named_panels(page).values() if panel.data is not None)
    for one in ids:
        assert one not in text
        assert one not in data
        assert one not in page.methods.markdown
    open_page = render(make_page(run, Extras()))
    assert sum(one in open_page for one in ids) > 20  # where nothing was asked for they are there


def test_paths_conditions_and_sentences_are_left_out(page: Page, text: str) -> None:
    for piece in ("/home/", "participant_id", "10 images to look at", "sub-", "must be whole", "merge sites"):
        assert piece not in text
    assert "It names nobody, and tells of no group of fewer than 10 people" in text
    assert "a condition that stands in run.json" in page.methods.markdown
    assert "had a row in the phenotype table" not in page.methods.markdown  # the few who had none could be counted


def test_no_cell_of_the_page_is_small(run: Run, page: Page, text: str) -> None:
    for table in re.findall(r'<table class="confusion">.*?</table>', text, re.DOTALL):
        counts = [int(one) for one in re.findall(r"<td[^>]*>(\d+)</td>", table)]
        assert all(n == 0 or n >= LEAST for n in counts)
    assert "–</td>" in text  # some were
    for panel in named_panels(page).values():
        if panel.data is not None and "people" in panel.data:
            assert panel.data["people"].min() >= LEAST
    observed = run.predictions["age"]["observed"].astype(float)
    for end in (observed.min(), observed.max()):
        assert f"{end:.1f}" not in text
    low, high = np.percentile(run.predictions["age"].drop_duplicates("image_id")["observed"].astype(float), (5, 95))
    assert f"{low:.0f} to {high:.0f}" in text or f"{low:.1f} to {high:.1f}" in text


def test_a_bin_of_the_calibration_curve_holds_no_few_of_a_class(run: Run, page: Page) -> None:
    rng = np.random.default_rng(1)
    probability = rng.uniform(0, 1, 400)
    points = panels._private_bins(rng.uniform(0, 1, 400) < probability, probability, LEAST)
    assert len(points) > 2
    for shown in (points, *(one.data for name, one in named_panels(page).items() if "calibration" in name)):
        positive = (shown["observed"] * shown["n"]).round()
        assert all(n == 0 or n >= LEAST for n in (*positive, *(shown["n"] - positive)))
    assert panels._private_bins(np.array([True, False]), np.array([0.1, 0.9]), LEAST).empty


def test_a_person_with_many_images_counts_once_in_roc_and_calibration(run: Run) -> None:
    rows = run.predictions["sex"]
    twice = pd.concat([rows, rows.assign(image_id=rows["image_id"] + "_ses-2")])
    changed = replace(run, predictions=dict(run.predictions) | {"sex": twice})
    once, more = (
        {name: one.data for name, one in named_panels(make_page(each, Extras(is_private=True, least=LEAST))).items()}
        for each in (run, changed)
    )
    names = [name for name in once if name.startswith(("sex--roc", "sex--calibration"))]
    assert names
    for name in names:
        columns = [one for one in once[name].columns if one != "letter"]
        pd.testing.assert_frame_equal(once[name][columns], more[name][columns])


def test_breakdowns_lose_small_parts_and_the_ends_of_bands() -> None:
    rows = [("age", label, n) for label, n in (("20 to 33", 30), ("34 to 51", 25), ("52 to 81", 40))]
    rows += [("site", "HH", 60), ("site", "Guy's", 31), ("site", "IOP", 4), ("worst predicted", "sub-1", 1)]
    about = {"target": "t", "features": "a", "head": "ridge", "confounds": "ignored", "metric": "mae", "value": 1.0}
    table = pd.DataFrame([about | {"by": by, "label": label, "n_people": n} for by, label, n in rows])
    found = privacy.breakdowns(table, 10)
    assert list(found["label"]) == ["youngest third", "middle third", "oldest third", "HH"]  # Guy's could be had back
    assert privacy.breakdowns(table.head(0), 10).empty


def test_hidden_cells_cannot_be_had_back() -> None:
    assert hidden([4], 10) == [True]
    assert hidden([4, 50, 11], 10) == [True, False, True]
    assert hidden([4, 5, 11], 10) == [True, True, False]
    assert hidden([4, 50], 0) == [False, False]


def test_cells_count_people_as_a_plain_loop_does() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 100, 3000)
    y = x + rng.normal(0, 5, 3000)
    people = np.array([f"p{at // 2}" for at in range(3000)], dtype=object)  # two images each
    found = cells(x, y, people, 10)
    assert found["people"].min() >= 10
    assert np.isclose(found["x_low"].min(), np.percentile(x, 5))
    assert np.isclose(found["y_high"].max(), np.percentile(y, 95))
    for row in found.itertuples(index=False):
        inside = (row.x_low <= x) & (x < row.x_high) & (row.y_low <= y) & (y < row.y_high)
        assert abs(len(set(people[inside])) - row.people) <= 1  # who lies on the last edge is in the last cell
    widths = (found["x_high"] - found["x_low"]).round(9).unique()
    assert len(widths) == 1
    assert 100 * 0.9 / widths[0] > 5  # many people, small cells


def test_too_few_people_have_no_cell() -> None:
    assert cells(np.arange(5.0), np.arange(5.0), list("abcde"), 10).empty


def test_the_class_of_few_is_not_counted(run: Run) -> None:
    few = run.predictions["sex"].copy()
    few.loc[few["observed"] == "F", "observed"] = "M"
    first = few["image_id"].unique()[:4]
    few.loc[few["image_id"].isin(first), "observed"] = "F"
    changed = replace(run, predictions=dict(run.predictions) | {"sex": few})
    shown = make_page(changed, Extras(is_private=True, least=LEAST)).targets[1]
    assert shown.name == "sex"
    assert shown.classes == [("F", "–", "–"), ("M", "–", "–")]


def test_figures_of_an_earlier_page_do_not_stay_beside_a_private_one(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", n=40)
    write_report(folder, tmp_path / "page.html")
    assert any("sub-" in one.read_text() for one in (tmp_path / "page.figures").glob("*.csv"))
    write_report(folder, tmp_path / "page.html", Extras(is_private=True), with_figures=False)
    assert not (tmp_path / "page.figures").exists()


def test_figures_of_very_few_people_say_so(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", n=20))
    facts = dict(run.facts) | {"targets": [run.facts["targets"][0]]}
    text = render(make_page(replace(run, facts=facts), Extras(is_private=True, least=19)))
    assert "no cell of enough people" in text
