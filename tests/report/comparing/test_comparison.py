"""The page of a comparison: the answer in one sentence, nothing from outside, nothing that a name can break."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx.analysis.comparing.comparison import Comparison, compare
from featx.analysis.comparing.differing import Drawing
from featx.analysis.comparing.wish import Wish
from featx.errors import AnalysisError
from featx.report.blocks import Panel
from featx.report.comparing import comparison as page_of_comparison
from featx.report.comparing.comparison import render, write_comparison_page
from featx.report.comparing.standings import (
    answer,
    answers_of,
    costs_grid,
    crossing_sentence,
    crossing_words,
    differences_grid,
    over_note,
    ranking_grid,
    standing,
)
from tests.analysis.comparing.conftest import (
    NET,
    RIDGE,
    RIDGE_CONTROL,
    RIDGE_VOLUMES,
    SCRATCH,
    age_run,
    ages,
    curve_table,
    folds_of,
    near,
    sure,
    write_curve,
    write_made,
)
from tests.analysis.comparing.test_differing import arm_of

FEW = Drawing(n_bootstrap=200, n_permutations=50)
NAN = float("nan")


def made(folder: Path, *, evil: str = "") -> Comparison:
    """Frozen features are far better than scratch, about as good as volumes; sex beside age; a curve."""
    y, sex, fold = ages(80), np.arange(80) % 2, folds_of(80)
    ridge = (f"{NET}{evil}", "ridge", "ignored")
    heads = {ridge: near(y, 4, 1), RIDGE_VOLUMES: near(y, 4.05, 12), RIDGE_CONTROL: near(y, 8, 3)}
    classes = {(f"{NET}{evil}", "logistic", "ignored"): sure(sex, 2, 5)}
    own = {"age": ("continuous", y, heads), "sex": ("binary", sex, classes)}
    frozen = write_made(folder / "frozen", own, fold=fold)
    more = {"age": ("continuous", y, {SCRATCH: near(y, 12, 7)}), "sex": ("binary", sex, {SCRATCH: sure(sex, 0, 9)})}
    cautions = [{"code": "overlap", "sentence": f"known{evil}", "target": ""}]
    trained = write_made(folder / "trained", more, fold=fold, cautions=cautions)
    curve = write_curve(folder / "curve", curve_table({ridge: {20: 9, 60: 6}, RIDGE_VOLUMES: {20: 7, 60: 7}}, 0.4))
    return compare([frozen, trained, curve], Wish(drawing=FEW, margins={"age": 2.0}))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return made(tmp_path_factory.mktemp("compared"))


# --- sentences ------------------------------------------------------------------------------------------------


def test_the_answer_is_one_sentence_with_its_uncertainty(comparison: Comparison) -> None:
    age, sex = answers_of(comparison)
    interval = r"\[−?\d+\.\d, \d+\.\d\]"
    assert re.fullmatch(
        rf"Frozen features of net beat training from scratch by \d\.\d years MAE {interval}; are (better|worse) than "
        rf"volumes by \d\.\d {interval}, which may be chance\.",
        age.headline,
    )
    assert age.verdict == "no better"
    assert re.match(
        r"First of 4 arms: ridge on (net|volumes), MAE \d\.\d \[.*\] years, the best in \d+% of", age.detail
    )
    assert re.search(r"; not distinguishable from it: ridge on (net|volumes)\. All on the same 80 images", age.detail)
    assert "They also beat random weights by" in age.gain
    assert "Equal to ridge on net within 2 years MAE: ridge on volumes." in age.gain
    assert sex.verdict == "better"
    assert "; all others are worse beyond chance." in sex.detail


def test_what_one_beats_and_what_it_is_behind() -> None:
    roles = ("scratch", "volumes", "trained", "confounds")
    arms = [arm_of(role, np.zeros((1, 2)), role) for role in roles]
    gaps = [(2.0, 1.0, 3.0), (-0.5, -1.5, 0.5), (-4.0, -5.0, -3.0), (0.5, -0.5, 1.0)]
    said = standing(list(zip(arms, gaps, strict=True)), " years MAE", 1, is_many=True)
    assert said == (
        "beat training from scratch by 2.0 years MAE [1.0, 3.0]; are worse than volumes by 0.5 [−0.5, 1.5], which "
        "may be chance; are better than confounds alone by 0.5 [−0.5, 1.0], which may be chance; are behind training "
        "further (ridge) by 4.0 [3.0, 5.0]"
    )
    assert standing([(arms[0], gaps[0])], "", 1, is_many=False) == "beats training from scratch by 2.0 [1.0, 3.0]"
    assert standing([], "", 1, is_many=True) == ""
    assert standing([(arms[1], gaps[0])], "", 1, is_many=False, role="volumes") == "beats volumes by 2.0 [1.0, 3.0]"
    level = [(arms[0], (0.0, -1.0, 1.0))]
    assert standing(level, " years", 1, is_many=True) == (
        "are as good as training from scratch (apart by 0.0 years [−1.0, 1.0])"
    )


def test_an_arm_alone_is_held_against_the_baseline(tmp_path: Path) -> None:
    (one,) = compare([age_run(tmp_path / "a", {RIDGE: (4, 1)})], Wish(drawing=FEW)).targets
    assert answer(one, 0.05).headline.startswith("Frozen features of net beat the baseline by 1")
    without = Wish(drawing=Drawing(n_bootstrap=0, n_permutations=0))
    said = answer(compare([tmp_path / "a"], without).targets[0], 0.05)
    assert said.headline.endswith("cannot be held against others: there are none, or no interval was drawn.")
    assert (said.verdict, said.gain) == ("unknown", "")
    assert said.detail == "First of 1 arm: ridge on net, MAE 2.63 years. All on the same 60 images in 5 folds."


def test_what_has_no_interval_is_not_called_alike(tmp_path: Path) -> None:
    """A constant has no correlation with anything; without draws nothing has an interval."""
    level = np.random.default_rng(0).integers(0, 3, 60).astype(float)
    arms = {RIDGE: near(level, 0.5, 1), RIDGE_VOLUMES: np.ones((1, 60))}
    folder = write_made(tmp_path / "a", {"level": ("ordinal", level, arms)}, fold=folds_of(60))
    for drawing in (FEW, Drawing(n_bootstrap=0, n_permutations=0)):
        (one,) = compare([folder], Wish(drawing=drawing)).targets
        said = answer(one, 0.05).detail
        assert "; without an interval of the difference from it: ridge on volumes. All on the same 60" in said
        assert ranking_grid(one).rows[1][-1] == "–"


def test_people_are_counted_where_they_have_several_images(tmp_path: Path) -> None:
    folder = age_run(tmp_path / "a", {RIDGE: (4, 1)})
    table = pd.read_csv(folder / "predictions" / "age.csv", dtype=str, keep_default_na=False)
    table["participant_id"] = table["image_id"].str[:-1]
    table.to_csv(folder / "predictions" / "age.csv", index=False)
    (one,) = compare([folder], Wish(drawing=FEW)).targets
    assert answer(one, 0.05).detail.endswith("All on the same 60 images of 6 people in 5 folds.")


def test_with_privacy_no_caution_quotes_anybody(tmp_path: Path) -> None:
    quoting = {"code": "accepted-misfits", "sentence": "such as 'sub-007': askew", "target": ""}
    strange = {"code": "of-a-table", "sentence": "sub-008 is 103 years old", "target": "age"}
    run = age_run(tmp_path / "a", {RIDGE: (4, 1)}, fold=folds_of(60, n_repeats=2), cautions=[quoting, strange])
    found = compare([run, age_run(tmp_path / "b", {SCRATCH: (9, 2)})], Wish(drawing=FEW))
    page = tmp_path / "page.html"
    write_comparison_page(found, page, with_figures=False)
    assert "sub-007" in page.read_text(encoding="utf-8")
    write_comparison_page(found, page, with_figures=False, is_private=True)
    text = page.read_text(encoding="utf-8")
    assert "sub-0" not in text
    assert "images that do not fit a network were let through at extraction" in text
    assert "json of the runs" in text
    assert "compared over the first repeat of the folds" in text  # its own quote nobody


def test_who_is_chosen_among_several_is_told(tmp_path: Path) -> None:
    other = ("more", "ridge", "ignored")
    (one,) = compare([age_run(tmp_path / "a", {RIDGE: (4, 1), other: (9, 2)})], Wish(drawing=FEW)).targets
    assert answer(one, 0.05).caution.startswith("ridge on net is held against the best arm of each other part")
    assert "ridge on more by" in answer(one, 0.05).headline


def test_crossings_in_words() -> None:
    row = {"arm": "scratch on net", "overtaken": "ridge on net", "n_low": 20, "n_high": 140, "n_cross": 66.4,
           "low": 30.2, "high": NAN, "share": 0.8, "verdict": "crosses"}  # fmt: skip
    assert crossing_words(row) == "66 [30, beyond 140]"
    assert crossing_words(row | {"share": NAN}) == "66; one draw only, so there is no interval"
    assert (
        crossing_sentence(row) == "scratch on net overtakes ridge on net from 66 [30, beyond 140] training people on."
    )
    said = [crossing_sentence(row | {"verdict": f"{one} throughout"}) for one in ("ahead", "behind")]
    assert said == [
        "scratch on net is ahead of ridge on net within 20 to 140 training people.",
        "scratch on net does not overtake ridge on net within 20 to 140 training people.",
    ]
    assert "falls behind ridge on net" in crossing_sentence(row | {"verdict": "falls behind"})


def test_tables_say_what_the_numbers_say(comparison: Comparison) -> None:
    (age, _), table = comparison.targets, comparison.targets[0].ranking
    grid = ranking_grid(age)
    assert [row[0] for row in grid.rows] == [f"{one} {arm}" for one, arm in zip("ABCDE", table["arm"], strict=True)]
    assert (grid.rows[0][2], grid.rows[0][5]) == ("–", "")
    assert (grid.rows[1][5], grid.rows[4][5]) == ("may be as good", "worse")
    pairs = differences_grid(age, "arms", "mae")
    assert pairs.columns == ("This", "against", "difference", "p", "p exchange", "q", "d", "equal")
    assert pairs.rows[0][:2] == (f"A {table['arm'][0]}", f"B {table['arm'][1]}")
    assert pairs.rows[0][-1] == "yes"
    costs = costs_grid(comparison.costs)
    assert {row[5] for row in costs.rows} == {"–"}
    assert comparison.over is not None
    assert over_note(comparison.over).endswith("Too few for a test of ranks.")


# --- the page -------------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_asks_for_nothing(comparison: Comparison) -> None:
    page = render(comparison)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'" in page
    anchors = set(re.findall(r'href="#([\w-]+)"', page)) - set(re.findall(r'xlink:href="#([\w-]+)"', page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert anchors <= set(ids)
    assert len(ids) == len(set(ids))
    levels = [int(one) for one in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    places = [page.index(f'id="{one}"') for one in ("answer", "targets", "curves", "made")]
    assert places == sorted(places)
    plots = re.findall(r'<svg class="plot" role="img" aria-label="([^"]+)"', page)
    assert len(plots) == 2 * 3 + 1 + 1  # ranking, pairs, baseline; volumes of age; curve
    assert "sub-0" not in page


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>&$x$"
    page = render(made(tmp_path, evil=evil))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    for svg in re.findall(r'<svg class="plot".*?</svg>', page, re.DOTALL):
        ET.fromstring(svg.replace("<svg ", '<svg xmlns="x" xmlns:xlink="y" ', 1))


def test_curves_alone_have_a_page(tmp_path: Path) -> None:
    curve = write_curve(tmp_path / "c", curve_table({RIDGE: {20: 9, 60: 6}, RIDGE_VOLUMES: {20: 7, 60: 7}}))
    page = render(compare([curve], Wish()))
    assert "ridge on net overtakes ridge on volumes from 42 [42, 42] training people on." in page
    assert "curves on the same test people" in page
    alone = write_curve(tmp_path / "one", curve_table({RIDGE: {20: 9}}))
    assert "There is nothing that could be compared" in render(compare([alone], Wish()))


def test_many_arms_are_held_against_the_reference(tmp_path: Path) -> None:
    arms = {(f"net{at}", "ridge", "ignored"): (4 + at / 3, at) for at in range(14)}
    found = compare([age_run(tmp_path / "a", arms)], Wish(drawing=FEW))
    page = render(found)
    assert f"{found.targets[0].reference.name} against each other" in page
    assert "Each arm against each other" not in page


def test_many_targets_stand_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_of_comparison, "MOST_TARGETS", 2)
    y, third = ages(30), ("more", "ridge", "ignored")
    errors = ((RIDGE, 4), (RIDGE_VOLUMES, 6), (third, 9))
    targets = {
        f"t{at}": ("continuous", y, {label: near(y, error, 3 * at + error) for label, error in errors})
        for at in range(5)
    }
    found = compare([write_made(tmp_path / "a", targets, fold=folds_of(30))], Wish(drawing=Drawing(0.05, 20, 20)))
    page = render(found)
    assert "The first 2 of 5 targets are shown in full" in page
    assert page.count("<h4>Metrics and tests</h4>") == 2
    assert "Friedman" in page


def test_costs_stand_beside_scores_where_they_are_known(comparison: Comparison) -> None:
    rows = [
        {"run": "frozen", "what": "extraction", "of": "net", "device": "cuda", "minutes": 4.0, "n": 80,
         "told_by": "f.h5"},
        {"run": "trained", "what": "training", "of": "scratch for age", "device": "cuda", "minutes": 90.0, "n": 5,
         "told_by": "training.json"},
    ]  # fmt: skip
    known = type(comparison)(**{**vars(comparison), "costs": pd.DataFrame(rows)})
    page = render(known)
    assert page.count("Cost beside accuracy") == 1  # sex has one arm of known cost
    assert "minutes of extraction or training (cuda)" in page


def test_a_page_that_cannot_be_written_is_refused(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of_comparison, "render", lambda comparison, with_figures, is_private: "page")
    with pytest.raises(AnalysisError, match="cannot be"):
        write_comparison_page(comparison, tmp_path, with_figures=False)


def test_figures_lie_beside_the_page(comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, Panel] = {}
    monkeypatch.setattr(page_of_comparison, "write_figures", lambda panels, folder, with_pdf: written.update(panels))
    monkeypatch.setattr(page_of_comparison, "render", lambda comparison, **asked: f"figures: {asked['with_figures']}")
    write_comparison_page(comparison, tmp_path / "compare.html")
    assert (tmp_path / "compare.html").read_text() == "figures: True"
    assert set(written) == {
        "age-ranking", "age-differences", "age-gain-over-volumes", "age-gain-over-the-baseline", "sex-ranking",
        "sex-differences", "sex-gain-over-the-baseline", "curve-1-age",
    }  # fmt: skip
    assert all(panel.data is not None and len(panel.data) for panel in written.values())
