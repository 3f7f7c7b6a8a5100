"""The page: all sections, nothing from outside, nothing unescaped, the same bytes twice."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis import fit as fitting
from featx.analysis.folds.splits import Folding
from featx.analysis.request import Adjusting, Columns, Inferring, Request
from featx.analysis.runs.rundir import OURS, TABLES, Run, read_run
from featx.analysis.runs.runwriter import write_run
from featx.errors import AnalysisError
from featx.featureset import FeatureSet
from featx.report import page as page_of
from featx.report.blocks import Extras
from featx.report.page import make_page, named_panels, render, write_report
from tests.report.conftest import FEATURES, make_run

VOID = {"meta", "link", "wbr", "br", "hr", "img", "input"}


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.source = text
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open[-1:]):
            self.text += data

    def values(self, name: str, tag: str | None = None) -> list[str]:
        return [value for of, key, value in self.attributes if key == name and tag in (None, of)]


def report(run: Path, output: Path | None = None) -> Path:
    """The page alone: figures as files have tests of their own."""
    return write_report(run, output, with_figures=False)


def page_at(folder: Path) -> Page:
    return Page(report(folder).read_text(encoding="utf-8"))


def drawn(page: Page) -> list[str]:
    """What the figures of predictions are called, without their target."""
    found = re.findall(r'id="t\d+-((?:predicted|roc|calibration|age-bias)[^"]*?)-figure_1"', page.source)
    return [one.split("-")[0] for one in found]


@pytest.fixture(scope="module")
def full(full_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    output = report(full_dir, tmp_path_factory.mktemp("page") / "full.html")
    return Page(output.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    output = report(run_dir, tmp_path_factory.mktemp("page") / "new" / "page.html")
    return Page(output.read_text(encoding="utf-8"))


def words(page: Page) -> str:
    return " ".join(page.text.split())


def test_all_sections_are_there_and_linked(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    sections = page.values("id", "section")
    assert sections == ["answer", "people", "scores", "missing", "methods", "made"]
    assert [link[1:] for link in page.values("href", "a") if link.startswith("#")][:6] == sections
    for heading in ("Cautions", "Compared", "Against chance", "By site, by age", "Age bias", "Predicted worst"):
        assert heading not in words(page)  # the run says nothing of them
    assert set(page.values("aria-labelledby")) <= set(ids)
    assert page.tags.count("h1") == 1
    assert page.tags.count("caption") >= 8


def test_the_answer_comes_first_and_is_honest(page: Page) -> None:
    said = words(page)
    assert said.index("The answer age Better") < said.index("From images to scores") < said.index("best first by")
    assert "Better than the baseline: mean absolute error" in said
    assert "No better than the baseline: mean absolute error" in said  # the phenotype that was pure noise
    assert "The best of 2 combinations of features and head" in said


def test_every_score_stands_in_its_table(page: Page, run_dir: Path) -> None:
    said = words(page)
    for features in FEATURES:
        assert features in said
    assert said.count("baseline") > 4
    assert "122 are in every feature set" in said
    rows = [value for value in page.values("class", "tr") if value in ("best", "baseline")]
    assert rows == ["best", "baseline"] * 5


def test_figures_are_there_with_labels(page: Page) -> None:
    plots = page.values("class", "svg").count("plot")
    assert sorted(drawn(page)) == ["calibration"] * 2 + ["predicted"] * 6 + ["roc"] * 2  # sex; age, pain, score; site
    assert page.tags.count("figure") == page.tags.count("figcaption") == plots
    labels = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert len(set(labels)) == len(labels) == plots
    assert page.values("class", "table").count("confusion") == 4


def test_what_is_missing_is_told_with_reasons(page: Page) -> None:
    said = words(page)
    assert schema.REASONS["truncated"] in said
    assert schema.REASONS["no-image"] in said
    assert "31 more rows are left out here; all stand in exclusions.csv" in said
    assert "ridge for sex, site: the head does not suit the kind of the target" in said


def test_how_it_was_made_is_told(page: Page) -> None:
    said = words(page)
    for piece in (
        "ab" * 32,
        "ef" * 32,
        "10 outer folds",
        "Seed (random_state) 0",
        "alpha 1,234, penalty l2",
        "participants.tsv",
    ):
        assert piece in said
    assert "Checked in splits.csv: nobody is on two sides" in said


def test_nothing_is_asked_of_anyone(page: Page) -> None:
    for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
        for value in page.values(name):
            assert value.startswith(("#", "data:")), (name, value[:80])
    assert not {"iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert page.tags.count("script") == 1
    (script,) = re.findall(r"<script>(.*)</script>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    assert policy in page.values("content", "meta")
    assert not re.search(r"https?:|fetch\(|import\b|XMLHttp|eval|innerHTML", script)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_a_screen_reader_finds_its_way(full: Page) -> None:
    levels = [int(tag[1]) for tag in full.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))  # no heading is jumped over
    assert full.tags.count("caption") == full.tags.count("table")
    assert full.tags.count("figcaption") == full.tags.count("figure")
    assert full.tags.count("img") == len(full.values("alt", "img"))
    assert all(full.values("aria-label", "div"))
    heads = [name for tag, name, _ in full.attributes if tag == "th" and name == "scope"]
    assert len(heads) == full.tags.count("th")


def test_styles_fetch_nothing(full: Page) -> None:
    assert "@import" not in full.source
    assert all(inside.startswith(("#", "data:")) for inside in re.findall(r"url\(([^)]*)\)", full.source))


def test_markup_in_any_text_stays_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<i>run", n=60, heads=4, hostile=True, full=True)
    page = Page(report(run).read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert "i" not in page.tags
    assert "score$x$<script>alert(2)</script>" in page.text
    assert "<b>HH</b>" in page.text
    assert "<i>run" in page.text
    assert page.text.count("<script>alert(1)</script>") >= 5  # image, sentence, caution, file name, version
    assert "Figures are of the best 6 of 13 only" in words(page)


def test_same_run_same_bytes(run_dir: Path, page: Page, tmp_path: Path) -> None:
    again = report(run_dir, tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == page.source
    beside = {"again.html", "again.methods.md", "again.citations.bib"}
    assert {path.name for path in tmp_path.iterdir()} == beside


def test_the_page_lies_in_the_run_unless_told_otherwise(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    for text in ("one", "two"):  # the second time over the old one
        monkeypatch.setattr(page_of, "render", lambda page, text=text, **_: text)
        assert report(copy) == copy / schema.REPORT_HTML
        assert (copy / schema.REPORT_HTML).read_text() == text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(AnalysisError, match="a run must be a folder that `featx fit` wrote"):
            write_report(folder)
    assert not list(tmp_path.iterdir())


def test_a_run_that_lost_a_table_is_refused(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    (copy / schema.SPLITS_CSV).unlink()
    with pytest.raises(AnalysisError, match=r"a run must be whole; .*splits.csv cannot be read"):
        write_report(copy)


def test_a_run_without_targets_says_so(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    facts = json.loads((copy / schema.RUN_JSON).read_text(encoding="utf-8"))
    bare = {key: facts[key] for key in ("format", "format_version")} | {"targets": []}
    (copy / schema.RUN_JSON).write_text(json.dumps(bare), encoding="utf-8")
    for name in (*(file for file, _ in TABLES.values()), schema.FAILURES_CSV):
        pd.read_csv(copy / name).head(0).to_csv(copy / name, index=False)
    said = words(Page(report(copy).read_text(encoding="utf-8")))
    assert "No target could be analysed" in said
    assert "No target was scored" in said
    assert "What is missing Failures: images that a network could not be given or did not answer None." in said


def test_a_person_on_two_sides_is_a_warning(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_of, "MOST_TARGETS", 1)  # few figures
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    splits = pd.read_csv(copy / schema.SPLITS_CSV)
    splits.loc[0, "participant_id"] = splits.loc[1, "participant_id"]
    splits.to_csv(copy / schema.SPLITS_CSV, index=False)
    assert "Warning: 1 time a person is on two sides" in words(Page(report(copy).read_text(encoding="utf-8")))


# --- what stands beside the scores ----------------------------------------------------------------------------


def test_the_answer_says_what_confounds_alone_reach(full: Page) -> None:
    said = words(full)
    assert "Confounds alone reach MAE" in said
    assert "to them gains" in said
    assert "ridge on squeezenet1_0.imagenet/axial/fire5/mean, confounds added: 120 images" in said
    assert "mean over 2 repeats" in said
    assert "Better than chance: Spearman correlation" in said


def test_cautions_stand_between_answer_and_people(full: Page) -> None:
    assert full.values("id", "section") == [
        *("answer", "cautions", "people", "scores", "missing", "methods", "made"),
    ]
    assert "#cautions" in full.values("href", "a")
    said = words(full)
    told = said.index(
        "Cautions small-site a site must have 10 people; 'IOP' has 4; merge sites. small-class sex: only 3"
    )
    assert said.index("In brackets") < told < said.index("From images to scores")


def test_all_that_was_found_beside_the_scores_is_shown(full: Page) -> None:
    said = words(full)
    for heading in ("Compared", "Against chance", "By site, by age", "Age bias", "Predicted worst"):
        assert f" {heading} " in said
    assert "p DeLong" in said
    assert "499 permuted targets" in said
    assert "an error or a correlation after it is no measure of accuracy" in said
    assert "10 images to look at" in said
    assert "confounds removed from the target" in said
    assert full.values("class", "tr").count("residual") == 6  # three targets of numbers
    assert full.values("class", "figure").count("wide") == 1
    ids = full.values("id")
    assert len(ids) == len(set(ids))


def test_figures_of_repeats_say_that_they_are_of_the_first(full: Page, page: Page) -> None:
    said = words(full)
    worst = said.count("in the first of 2 repeats")
    captions = re.findall(r"<figcaption>.*?</figcaption>", full.source, re.DOTALL)
    assert sum("first of 2 repeats" in one for one in captions) == len(drawn(full)) > 20
    assert worst == 5  # targets
    assert "first of" not in words(page)


def test_classes_of_an_ordinal_target_have_their_labels(full: Page) -> None:
    assert "painnone" in words(full)  # two cells


def many(folder: Path, run_dir: Path, n: int) -> Path:
    """The run with its noisy target over and over, and age."""
    shutil.copytree(run_dir, folder)
    facts = json.loads((folder / schema.RUN_JSON).read_text(encoding="utf-8"))
    age, score = (next(one for one in facts["targets"] if one["name"] == name) for name in ("age", "score"))
    names = [f"score {at}" for at in range(n - 1)]
    facts["targets"] = [*(score | {"name": name} for name in names), age]
    facts["arguments"]["targets"] = [*names, "age"]
    (folder / schema.RUN_JSON).write_text(json.dumps(facts), encoding="utf-8")
    for file in (schema.SCORES_CSV, schema.SPLITS_CSV):
        table = pd.read_csv(folder / file, keep_default_na=False)
        own = table[table["target"] == "score"]
        copies = [own.assign(target=name) for name in names]
        pd.concat([table[table["target"] == "age"], *copies]).to_csv(folder / file, index=False)
    return folder


def test_of_very_many_targets_all_are_told_and_the_best_shown(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of, "MOST_TARGETS", 3)
    monkeypatch.setattr(page_of, "MOST_WORDS", 100)
    page = page_at(many(tmp_path / "run", run_dir, 5))
    said = words(page)
    assert "There are 5 targets" in said
    assert "The first 3 of them are shown in full below" in said
    assert page.values("class", "table").count("scores") == 3
    assert len(drawn(page)) == 6
    rows = said[said.index("All 5 targets") :]
    assert rows.index("agecontinuous") < rows.index("score 0continuous")  # the strongest first
    assert "score 3continuous" in rows
    assert "--permutations would say" in said
    assert "The call, " in said
    assert not [one for one in page.values("class", "div") if one.startswith("answer")]
    monkeypatch.setattr(page_of, "MOST_TARGETS", 5)
    assert "There are 5 targets" not in words(page_at(tmp_path / "run"))


# --- what is asked for beside the run -------------------------------------------------------------------------


def only(run_dir: Path, *names: str) -> Run:
    """The run with few of its targets, so that few figures are drawn."""
    run = read_run(run_dir)
    return replace(run, facts=dict(run.facts) | {"targets": [t for t in run.facts["targets"] if t["name"] in names]})


def test_published_numbers_are_shown_and_cited_where_they_are_asked_for(run_dir: Path) -> None:
    run = only(run_dir, "age")
    made = make_page(run, Extras(protocol="holderrieth2022"))
    asked = Page(render(made))
    assert "published of their own people: Holderrieth, Smith & Peng 2022 [" in made.methods.markdown
    assert "{holderrieth2022," in made.methods.bibtex
    assert "holderrieth2022" not in make_page(run, Extras()).methods.bibtex
    assert "These are other people's data" in asked.text
    assert asked.values("class", "table").count("published") == 1
    without = make_page(only(run_dir, "score"), Extras(protocol="holderrieth2022"))
    assert "holderrieth2022" not in without.methods.bibtex
    other = words(Page(render(without)))
    assert "no published number of a phenotype of this run" in other
    with pytest.raises(AnalysisError, match="a protocol must be known; 'x' is not"):
        make_page(run, Extras(protocol="x"))


def test_a_private_page_of_single_people_is_refused(run_dir: Path) -> None:
    with pytest.raises(AnalysisError, match="must have at least 2 people; 1 was asked for; choose a larger --least"):
        make_page(only(run_dir, "age"), Extras(is_private=True, least=1))


def test_methods_stand_on_the_page_and_beside_it(
    run_dir: Path, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of, "MOST_TARGETS", 0)  # no figures
    report(run_dir, tmp_path / "age.html")
    methods = (tmp_path / "age.methods.md").read_text(encoding="utf-8")
    assert methods.startswith("# Methods\n\n## Images and features")
    for paragraph in re.findall(r"^## (?!References).*?\n\n(.*?)\n", methods, re.MULTILINE):
        assert paragraph in words(page)
    entries = (tmp_path / "age.citations.bib").read_text(encoding="utf-8")
    assert entries in page.text
    assert entries.count("@") > 3
    assert page.values("data-copy", "button") == ["methods-text", "bibtex"]


def test_networks_that_were_trained_are_told_as_such(run_dir: Path, tmp_path: Path) -> None:
    run = replace(only(run_dir, "age"), path=tmp_path)
    run = replace(run, scores=run.scores.replace("ridge", "scratch"))
    run = replace(
        run, predictions={name: table.replace("ridge", "scratch") for name, table in run.predictions.items()}
    )
    fit = {"arm": "scratch", "seed": 0, "n_train": 9, "n_validation": 2, "n_test": 1, "epochs": {"all": 3}}
    (tmp_path / "training.json").write_text(json.dumps({"network": "sfcn_4mm.untrained", "fits": [fit]}))
    said = words(Page(render(make_page(run, Extras()))))
    assert "networks that were trained anew in every fold" in said
    assert re.search(r"sfcn_4mm.untrained \[\d+\] was trained anew in every fold", said)
    assert "Arm and network" in said
    assert "The best of 2 arms, chosen by this very score" in said
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(AnalysisError, match=r"a run must be whole; .*training.json cannot be read .*; train again"):
        make_page(run, Extras())


def test_figures_are_named_after_their_targets(run_dir: Path, tmp_path: Path) -> None:
    page = make_page(only(run_dir, "sex"), Extras())
    named = [one for one in named_panels(page) if "byage" not in one and "bysite" not in one]
    assert named == ["sex--roc", "sex--calibration-A", "sex--calibration-B"]
    roc = named_panels(page)["sex--roc"].data
    assert roc is not None
    assert list(roc) == ["false_positive_rate", "true_positive_rate", "threshold", "letter", "arm"]


def test_figures_lie_beside_the_page(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_of, "MOST_TARGETS", 1)  # few figures
    monkeypatch.setattr(page_of, "named_panels", lambda page: {"a": page.targets[0].panels[0]})
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    write_report(copy)
    write_report(copy, tmp_path / "out.html")
    for folder in (copy / "figures", tmp_path / "out.figures"):
        assert sorted(one.name for one in folder.iterdir()) == ["a.csv", "a.pdf", "a.svg"]
    assert "1 figure in figures/ NAME.svg" in words(Page((copy / "report.html").read_text(encoding="utf-8")))
    assert {"report.html", "methods.md", "citations.bib", "figures"} <= {one.name for one in copy.iterdir()}
    assert {one.name for one in copy.iterdir()} <= OURS


# --- a run of featx -------------------------------------------------------------------------------------------


def feature_set(name: str, ids: np.ndarray, age: np.ndarray, sex: np.ndarray) -> FeatureSet:
    X = np.random.default_rng(0).normal(size=(len(ids), 6))
    X[:, 0] += age / 10
    X[:, 1] += 2 * sex
    provenance = dict.fromkeys(schema.names(schema.PROVENANCE), "x") | {"network": "made"}
    return FeatureSet(name, X.astype(np.float32), ids, ids, np.full(len(ids), ""), provenance)


def make_request(**more) -> Request:
    rng = np.random.default_rng(1)
    ids = np.array([f"sub-{at:03d}" for at in range(60)], dtype=object)
    age, sex = rng.uniform(20, 80, 60), rng.integers(0, 2, 60)
    sets = [feature_set(f"{name}/volume/tap/mean", ids, age, sex) for name in ("made", "other")]
    phenotypes = pd.DataFrame(
        {"participant_id": ids, "age": [f"{a:.2f}" for a in age], "sex": ["FM"[s] for s in sex], "same": "1"}
    ).assign(
        brain=(rng.normal(1400, 100, 60) + 50 * sex).round(1).astype(str), lab=["xyz"[at % 3] for at in range(60)]
    )
    return Request(
        sets={one.name: one for one in sets},
        combinations={one.name: [one.name] for one in sets},
        phenotypes=phenotypes,
        targets=["age", "sex", "same"],
        heads=["ridge", "logistic"],
        **more,
    )


def test_a_run_of_featx_fit_makes_a_page(tmp_path: Path) -> None:
    request = make_request(folding=Folding(n_splits=4, n_inner=3), inferring=Inferring(n_bootstrap=100))
    write_run(fitting.run(request), tmp_path / "run")
    page = page_at(tmp_path / "run")
    said = words(page)
    assert len(drawn(page)) == 2 + 3
    assert "4 outer folds" in said
    assert "constant-target" in said
    assert "60 have a row in the phenotype table" in said
    assert "60 analysed for age" in said
    assert "ridge for sex" in said
    assert "Compared" in said


def test_a_run_with_everything_makes_a_page(tmp_path: Path) -> None:
    request = make_request(
        folding=Folding(n_splits=3, n_inner=3, n_repeats=2),
        columns=Columns(site="lab", age="age"),
        adjusting=Adjusting(confounds=("brain",), modes=("only", "ignored", "added", "target")),
        inferring=Inferring(n_bootstrap=50, n_permutations=9, correct_age=("age",)),
    )
    write_run(fitting.run(request), tmp_path / "run")
    said = words(page_at(tmp_path / "run"))
    for piece in (
        "Confounds alone reach MAE",
        "first of 2 repeats",
        "Ridge on 9 permuted targets",
        "By site, by age",
        "matched for age",
        "Age bias",
        "after Cole",
        "3 outer folds, counted in splits.csv, in 2 repeats",
        "--confound brain --remove target",
    ):
        assert piece in said


def test_a_page_that_cannot_be_written_is_refused(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_of, "render", lambda page, **_: "page")
    (tmp_path / "file").write_text("")
    for output in (tmp_path, tmp_path / "file" / "page.html"):
        with pytest.raises(AnalysisError, match="a report must be written to a file in a folder; .* choose another"):
            report(run_dir, output)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
