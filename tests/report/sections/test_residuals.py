"""Errors by age and site, and how no single person is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from featx import schema
from featx.analysis.runs.rundir import Run, read_run
from featx.report import contents, panels
from featx.report.answers import score_table
from featx.report.blocks import Extras, Section
from featx.report.figures.canvas import as_svg
from featx.report.panels import Scored
from featx.report.sections import residuals
from tests.report.conftest import make_run
from tests.report.figures.test_residuals import dots


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With site and age of everybody beside it: three sites, one of them of 4 people; one person without an age."""
    folder = make_run(tmp_path_factory.mktemp("residuals") / "run", n=120)
    ids = [f"sub-{at:04d}" for at in range(120)]
    site = np.array(["x", "y"])[np.arange(120) % 2].astype(object)
    site[:4] = "small"
    age = np.linspace(20, 80, 120)
    age[7] = np.nan
    people = pd.DataFrame({"image_id": ids, "participant_id": ids, "site": site, "age": age, "group": ""})
    people.to_csv(folder / schema.PEOPLE_CSV, index=False)
    facts = json.loads((folder / schema.RUN_JSON).read_text())
    facts["arguments"]["columns"] = {"site": "scanner", "age": "age_at_scan"}
    (folder / schema.RUN_JSON).write_text(json.dumps(facts))
    return read_run(folder)


def scored(run: Run, name: str) -> Scored:
    facts = next(one for one in run.facts["targets"] if one["name"] == name)
    table = score_table(run.scores[run.scores["target"] == name], facts["unit"])
    rows = run.predictions[name]
    levels = {} if contents.is_number(facts) else {one: one for one in contents.levels_of(facts, rows)}
    return Scored(facts, table, panels.drawn_rows(rows, table), levels, "t0")


def section(run: Run, name: str, **extras) -> Section:
    found = residuals.section_of(run, scored(run, name), Extras(**extras))
    assert found is not None
    return found


def best_rows(run: Run, name: str) -> pd.DataFrame:
    own = scored(run, name)
    rows = own.drawn["A"].set_index("image_id")
    return rows.join(run.people.set_index("image_id")[["site", "age"]])


# --- the running mean -----------------------------------------------------------------------------------------


def test_the_running_mean_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(20, 80, 60), rng.normal(size=60)
    line = residuals.running_mean(x, y, 15)
    order = np.argsort(x)
    for at in range(60 - 15 + 1):
        own = y[order[at : at + 15]]
        assert np.isclose(line.x[at], x[order[at : at + 15]].mean())
        assert np.isclose(line.mean[at], own.mean())
        assert np.isclose(
            line.high[at] - own.mean(), stats.norm.ppf(0.975) * own.std(ddof=1) / np.sqrt(15), rtol=1e-5
        )
        assert np.isclose(own.mean() - line.low[at], line.high[at] - own.mean())
    assert len(line.x) == 46


def test_windows_are_few_or_apart_where_they_are_to_be() -> None:
    x = np.arange(5000.0)
    assert len(residuals.running_mean(x, x, 50).x) == residuals.MOST_WINDOWS
    assert np.allclose(residuals.running_mean(x[:45], x[:45], 10, apart=True).mean, [4.5, 14.5, 24.5, 34.5])
    assert len(residuals.running_mean(x[:9], x[:9], 10).x) == 0


@pytest.mark.parametrize("n_wrong, n", [(0, 12), (3, 12), (12, 12), (40, 150)])
def test_the_interval_of_a_share_is_wilsons(n_wrong: int, n: int) -> None:
    wanted = stats.binomtest(n_wrong, n).proportion_ci(0.95, method="wilson")
    assert np.allclose(residuals.wilson(n_wrong, n), (wanted.low, wanted.high), atol=1e-6)


def test_bands_are_named_without_the_youngest_and_the_oldest() -> None:
    age = np.linspace(20, 80, 61)
    band, names = residuals.age_bands(age, 3)
    assert names == ["up to 40", "40 to 60", "over 60"]
    assert np.array_equal(band, np.where(age <= 40, 0, np.where(age <= 60, 1, 2)))
    assert residuals.age_bands(np.full(5, 30.0), 1) == (pytest.approx(np.zeros(5)), ["all"])


# --- where age and site are from ------------------------------------------------------------------------------


def test_age_and_site_are_those_of_the_named_columns(run: Run) -> None:
    around = residuals.beside(run)
    assert (around.age, around.site) == ("age_at_scan", "scanner")
    assert around.table["age"].notna().sum() == 119
    assert around.table.loc["sub-0003", "site"] == "small"


def test_without_them_targets_of_these_names_are_taken(run_dir: Path) -> None:
    run = read_run(run_dir)
    around = residuals.beside(run)
    assert (around.age, around.site) == ("age (years)", "site")
    observed = contents.scored_images(run.predictions["age"]).set_index("image_id")["observed"].astype(float)
    assert around.table["age"].equals(observed.sort_index().rename("age"))
    assert {panel.title for panel in section(run, "sex").panels} == {"By age", "By site"}
    assert [panel.title for panel in section(run, "site").panels] == ["By age"]  # not itself once more


def test_where_neither_is_known_there_is_no_section(run_dir: Path) -> None:
    run = read_run(run_dir)
    others = [one for one in run.facts["targets"] if one["name"] not in ("age", "site")]
    bare = Run(**{**vars(run), "facts": {**run.facts, "targets": others}})
    assert residuals.section_of(bare, scored(run, "sex"), Extras()) is None


# --- numbers --------------------------------------------------------------------------------------------------


def test_errors_of_numbers_are_those_of_the_best_arm(run: Run) -> None:
    rows = best_rows(run, "age")
    error = rows["predicted"].astype(float) - rows["observed"].astype(float)
    by_age, by_site = section(run, "age").panels
    assert by_age.data is not None
    assert np.allclose(by_age.data.set_index("image_id")["error"], error[rows["age"].notna()])
    slope = np.polyfit(rows["age"].dropna(), error[rows["age"].notna()], 1)[0]
    assert f"{abs(slope):.2f}" in by_age.caption
    assert dots(as_svg(by_age.drawing)) == 119
    assert by_site.data is not None
    told = by_site.data.set_index("part")
    assert list(told.index) == ["x (n = 58)", "y (n = 58)", "small (n = 4)"]
    own = error[rows["site"] == "small"]
    half = stats.norm.ppf(0.975) * own.std(ddof=1) / 2
    wanted = [own.mean(), own.mean() - half, own.mean() + half, *np.percentile(own, (25, 50, 75))]
    assert np.allclose(told.loc["small (n = 4)"], wanted, rtol=1e-4)


def test_images_of_one_person_count_as_one(run: Run) -> None:
    twice = {name: table.assign(participant_id=table["image_id"].str[:-1]) for name, table in run.predictions.items()}
    found = section(Run(**{**vars(run), "predictions": twice}), "age")  # twelve people with ten images each
    (by_site,) = found.panels  # too few people for a running mean
    assert by_site.data is not None
    assert by_site.data["part"].tolist() == ["x (n = 12)", "y (n = 12)"]
    assert by_site.caption.endswith("1 part is left out.")  # one person


def test_privacy_leaves_out_people_and_small_parts(run: Run) -> None:
    found = section(run, "age", is_private=True, least=10)
    by_age, by_site = found.panels
    assert dots(as_svg(by_age.drawing)) == 0
    assert by_age.data is not None
    assert list(by_age.data) == ["age", "mean", "low", "high"]
    assert len(by_age.data) == 119 // 15  # windows that share nobody
    assert by_site.data is not None
    assert by_site.data["part"].tolist() == ["y (n = 58)"]  # else the small one were all less these two
    assert by_site.caption.endswith("2 parts are left out.")
    said = " ".join([*found.notes, *(as_svg(panel.drawing) for panel in found.panels)])
    assert "sub-" not in said
    assert "small (n" not in said
    assert found.notes[-1] == (
        "Single people are not drawn, nor parts of fewer than 10 people, nor one by which these could be told."
    )


# --- classes --------------------------------------------------------------------------------------------------


def test_shares_of_errors_are_those_of_the_best_arm(run: Run) -> None:
    rows = best_rows(run, "sex")
    wrong = rows["predicted"] != rows["observed"]
    by_age, by_site = section(run, "sex").panels
    assert by_site.data is not None
    told = by_site.data.set_index("part")
    own = wrong[rows["site"] == "x"]
    interval = stats.binomtest(int(own.sum()), len(own)).proportion_ci(0.95, method="wilson")
    assert np.allclose(
        told.loc["x (n = 58)", ["mean", "low", "high"]].astype(float), (own.mean(), *interval), atol=1e-6
    )
    assert by_age.data is not None
    edges = np.round(np.quantile(rows["age"].dropna(), np.arange(1, 5) / 5), 1)
    assert by_age.data["part"].iloc[0] == f"up to {edges[0]:g} (n = {(rows['age'] <= edges[0]).sum()})"
    assert np.isclose(by_age.data["mean"].iloc[-1], wrong[rows["age"] > edges[-1]].mean())


def test_small_parts_of_classes_are_left_out_in_private(run: Run) -> None:
    found = section(run, "sex", is_private=True, least=30)
    by_age, by_site = found.panels
    assert by_age.data is not None
    assert len(by_age.data) == 3  # of 119 people with an age, bands of 30 or more
    assert by_site.data is not None
    assert len(by_site.data) == 1


def test_without_a_best_arm_there_is_no_section(run: Run) -> None:
    own = scored(run, "age")
    baseline = run.scores[(run.scores["target"] == "age") & (run.scores["head"] == "baseline")]
    bare = Scored(own.facts, score_table(baseline), {}, {}, "t0")
    assert residuals.section_of(run, bare, Extras()) is None
