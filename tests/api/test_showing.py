"""Pages, comparisons and studies from Python: the bytes of the command line."""

import pandas as pd
import pytest

import featx
from featx.api.showing import margins_of
from featx.errors import AnalysisError, BundleError, IndexingError, StudyError
from tests.api.conftest import files_of

QUICK = {"target": "age", "head": "ridge", "folds": 3, "inner_folds": 3, "bootstrap": 50, "jobs": 1}


@pytest.fixture(scope="module")
def runs(study, tmp_path_factory):
    """Two runs on the same folds."""
    folder = tmp_path_factory.mktemp("runs")
    first = featx.fit(study / "f.h5", study / "people.csv", use="net/axial", output=folder / "a", **QUICK)
    volumes = {"volumes": study / "volumes.csv"}
    second = featx.fit(volumes, study / "people.csv", splits=first.splits, output=folder / "b", **QUICK)
    return first, second


def test_a_report_has_the_bytes_of_the_command_line(runs, study, type_in, tmp_path):
    first, _ = runs
    page = featx.write_report(first, tmp_path / "called/page.html", least=5, privacy=True)
    assert page == tmp_path / "called/page.html"
    type_in(tmp_path, "report", first.path, "-o", "typed/page.html", "--least", 5, "--privacy")
    assert files_of(tmp_path / "called") == files_of(tmp_path / "typed")
    bare = featx.write_report(str(first.path), tmp_path / "bare.html", figures=False)
    assert bare.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert not (tmp_path / "bare.figures").exists()


def test_a_comparison_has_the_bytes_of_the_command_line(runs, type_in, tmp_path):
    first, second = runs
    asked = {"margin": {"age": 0.5}, "bootstrap": 50, "permutations": 50, "volumes": "volumes"}
    found = featx.compare(first, second.path, output=tmp_path / "called", **asked)
    words = ("--margin", "age=0.5", "--bootstrap", 50, "--permutations", 50, "--volumes", "volumes")
    type_in(tmp_path, "compare", first.path, second.path, *words, "-o", "typed")
    assert files_of(tmp_path / "called") == files_of(tmp_path / "typed")
    assert len(found.targets) == 1


def test_a_run_that_was_not_written_is_nothing_to_be_shown(study):
    run = featx.fit(study / "f.h5", study / "people.csv", use="net/axial", **{**QUICK, "bootstrap": 0})
    for show in (featx.write_report, featx.compare):
        with pytest.raises(
            AnalysisError, match="a run must be a folder to be read again; .* fit it with output=FOLDER"
        ):
            show(run)
    assert repr(run) == "<a run of featx at '.': age; scores, predictions, 1 heads>"


def test_what_is_no_run_is_refused():
    with pytest.raises(AnalysisError, match="runs must be named to be compared; none is"):
        featx.compare()
    with pytest.raises(AnalysisError, match="a run must be a folder, or what featx.fit returns; got list; give one"):
        featx.compare(["run/", "trained/"])
    with pytest.raises(AnalysisError, match="a fitted head must be a .npz file of RUN/heads/, .*; got NoneType"):
        featx.predict(None, "f.h5")


def test_margins_are_numbers():
    assert margins_of(0.5) == margins_of("0.5") == {"": 0.5}
    with pytest.raises(AnalysisError, match="--margin must be a number, or TARGET=number; got 'age=much'"):
        margins_of({"age": "much"})


def test_a_map_is_refused_as_on_the_command_line(runs, heads, tmp_path):
    first, _ = runs
    head = first.path / "heads" / "age--ridge--net-axial.npz"
    with pytest.raises(AnalysisError, match="'guess'"):
        featx.map_relevance(head, heads, output=tmp_path / "map", method="guess")
    with pytest.raises(IndexingError, match="an empty list"):
        featx.map_relevance(head, [], output=tmp_path / "map")
    with pytest.raises(BundleError, match="a fitted head must be a file; nowhere.npz is none"):
        featx.map_relevance("nowhere.npz", heads, output=tmp_path / "map")


# --- studies --------------------------------------------------------------------------------------------------

STUDY = """
output = "results"
[cohort]
phenotypes = "people.csv"
[phenotypes]
targets = ["age"]
[features]
tables = {volumes = "volumes.csv"}
[heads]
use = ["ridge"]
[folds]
n = 3
inner = 3
[statistics]
bootstrap = 0
"""


def test_a_study_is_run_step_by_step(study, tmp_path):
    for name in ("people.csv", "volumes.csv"):
        (tmp_path / name).write_bytes((study / name).read_bytes())
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    lines = []
    steps = featx.run_study(tmp_path / "study.toml", only="fit", on_line=lines.append)
    assert steps.index.tolist() == ["fit"]
    assert steps.loc["fit", "code"] == 0
    assert steps.loc["fit", "elapsed_s"] > 0
    assert any(line.startswith("--- fit") for line in lines)
    assert featx.read_run(tmp_path / "results/run").predictions["age"].shape[0] > 60
    (tmp_path / "study.toml").write_text(STUDY.replace('"age"', '"aeg"'), encoding="utf-8")
    with pytest.raises(StudyError, match="aeg"):
        featx.run_study(tmp_path / "study.toml")
    pd.testing.assert_index_equal(steps.columns, pd.Index(["call", "elapsed_s", "code"]))


def test_calls_that_were_typed_are_no_study(tmp_path):
    (tmp_path / "study.toml").write_text('folder = "."\ncalls = ["featx heads"]\n', encoding="utf-8")
    with pytest.raises(StudyError, match="a study must tell its steps; .* repeat them with `featx run"):
        featx.run_study(tmp_path / "study.toml")
