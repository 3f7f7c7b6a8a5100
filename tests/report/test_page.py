"""The page: all sections, nothing from outside, nothing unescaped, the same bytes twice."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis import fit as fitting
from featx.analysis.request import Request
from featx.analysis.rundir import write_run
from featx.errors import AnalysisError
from featx.report import contents
from featx.report.page import write_report
from featx.store import FeatureSet
from tests.report.conftest import FEATURES, make_run

VOID = {"meta", "link", "wbr", "br", "hr", "img", "input"}


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
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
        if self._open[-1:] != ["style"]:
            self.text += data

    def values(self, name: str, tag: str | None = None) -> list[str]:
        return [value for of, key, value in self.attributes if key == name and tag in (None, of)]


@pytest.fixture(scope="module")
def page(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    output = write_report(run_dir, tmp_path_factory.mktemp("page") / "new" / "page.html")
    return Page(output.read_text(encoding="utf-8"))


def words(page: Page) -> str:
    return " ".join(page.text.split())


def test_all_sections_are_there_and_linked(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    sections = page.values("id", "section")
    assert sections == ["answer", "people", "scores", "missing", "made"]
    assert [link[1:] for link in page.values("href", "a") if link.startswith("#")][:5] == sections
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
    assert "122 of these, in every feature set" in said
    rows = [value for value in page.values("class", "tr") if value in ("best", "baseline")]
    assert rows == ["best", "baseline"] * 4


def test_figures_are_there_with_labels(page: Page) -> None:
    plots = page.values("class", "svg").count("plot")
    assert plots == 2 + (1 + 2) + 1 + 2  # age; sex: ROC and two calibrations; site: ROC; score
    assert page.tags.count("figure") == page.tags.count("figcaption") == plots
    labels = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert len(set(labels)) == len(labels) == plots
    assert page.values("class", "table").count("confusion") == 4


def test_what_is_missing_is_told_with_reasons(page: Page) -> None:
    said = words(page)
    assert schema.REASONS["truncated"] in said
    assert schema.REASONS["no-image"] in said
    assert "31 more rows are left out here; all stand in exclusions.csv" in said
    assert "ridge for sex: the head does not suit the kind of the target" in said


def test_how_it_was_made_is_told(page: Page) -> None:
    said = words(page)
    for piece in ("ab" * 32, "ef" * 32, "10 outer folds", "Seed (random_state) 0", "alpha 1,234", "participants.tsv"):
        assert piece in said
    assert "Checked in splits.csv: nobody is test in two folds" in said


def test_nothing_is_asked_of_anyone(page: Page) -> None:
    for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
        for value in page.values(name):
            assert value.startswith(("#", "data:")), (name, value[:80])
    assert not {"script", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.values("content", "meta")
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_styles_fetch_nothing(run_dir: Path, tmp_path: Path) -> None:
    text = write_report(run_dir, tmp_path / "p.html").read_text(encoding="utf-8")
    assert "@import" not in text
    assert all(inside.startswith(("#", "data:")) for inside in re.findall(r"url\(([^)]*)\)", text))


def test_markup_in_any_text_stays_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "<i>run", n=60, heads=4, hostile=True)
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "i" not in page.tags
    assert "score$x$<script>alert(2)</script>" in page.text
    assert "<b>HH</b>" in page.text
    assert "<i>run" in page.text
    assert page.text.count("<script>alert(1)</script>") >= 3  # sentence, file name, version
    assert "Figures are of the best 6 of 8 only" in words(page)


def test_same_run_same_bytes(run_dir: Path, tmp_path: Path) -> None:
    one, two = (write_report(run_dir, tmp_path / name).read_bytes() for name in ("one.html", "two.html"))
    assert one == two
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.html", "two.html"]


def test_the_page_lies_in_the_run_unless_told_otherwise(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    assert write_report(copy) == copy / schema.REPORT_HTML
    assert write_report(copy).is_file()  # again, over the old one


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
    for name in (schema.SCORES_CSV, schema.SPLITS_CSV, schema.EXCLUSIONS_CSV, schema.FAILURES_CSV):
        pd.read_csv(copy / name).head(0).to_csv(copy / name, index=False)
    said = words(Page(write_report(copy).read_text(encoding="utf-8")))
    assert "No target could be analysed" in said
    assert "No target was scored" in said
    assert "What is missing Failures: images that a network could not be given or did not answer None." in said


def test_a_person_on_two_sides_is_a_warning(run_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    splits = pd.read_csv(copy / schema.SPLITS_CSV)
    splits.loc[0, "participant_id"] = splits.loc[1, "participant_id"]
    splits.to_csv(copy / schema.SPLITS_CSV, index=False)
    assert "Warning: 1 person is test in more than one fold" in words(
        Page(write_report(copy).read_text(encoding="utf-8"))
    )


def feature_set(ids: np.ndarray, age: np.ndarray, sex: np.ndarray) -> FeatureSet:
    X = np.random.default_rng(0).normal(size=(len(ids), 6))
    X[:, 0] += age / 10
    X[:, 1] += 2 * sex
    provenance = dict.fromkeys(schema.names(schema.PROVENANCE), "x") | {"network": "made"}
    return FeatureSet("made/volume/tap/mean", X.astype(np.float32), ids, ids, np.full(len(ids), ""), provenance)


def test_a_run_of_featx_fit_makes_a_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ids = np.array([f"sub-{at:03d}" for at in range(60)], dtype=object)
    age, sex = rng.uniform(20, 80, 60), rng.integers(0, 2, 60)
    one = feature_set(ids, age, sex)
    phenotypes = pd.DataFrame(
        {"participant_id": ids, "age": [f"{a:.2f}" for a in age], "sex": ["FM"[s] for s in sex], "same": "1"}
    )
    result = fitting.run(
        Request(
            sets={one.name: one},
            combinations={one.name: [one.name]},
            phenotypes=phenotypes,
            targets=["age", "sex", "same"],
            heads=["ridge", "logistic"],
            n_splits=4,
            n_inner=3,
            n_bootstrap=100,
        )
    )
    write_run(result, tmp_path / "run")
    page = Page(write_report(tmp_path / "run").read_text(encoding="utf-8"))
    said = words(page)
    assert page.values("class", "svg").count("plot") == 1 + 2
    assert "4 outer folds" in said
    assert "constant-target" in said
    assert "60 people in the phenotype table" in said
    assert "ridge for sex" in said


def test_letters_suffice_for_the_figures() -> None:
    assert len(contents.LETTERS) >= contents.MOST_FIGURES


def test_a_page_that_cannot_be_written_is_refused(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path, tmp_path / "file" / "page.html"):
        with pytest.raises(AnalysisError, match="a report must be written to a file in a folder; .* choose another"):
            write_report(run_dir, output)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
