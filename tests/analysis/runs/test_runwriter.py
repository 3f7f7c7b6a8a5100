"""A run as files: the same bytes each time, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featx import schema
from featx.analysis.fit import run
from featx.analysis.request import Result
from featx.analysis.runs import runwriter
from featx.analysis.runs.bundle import read_bundle
from featx.analysis.runs.prediction import predict
from featx.analysis.runs.rundir import TABLES, read_run
from featx.analysis.runs.runwriter import check_output, file_stems, slug, sorted_failures, write_run
from featx.errors import AnalysisError

from ..conftest import ONE, TWO, Cohort, ask

FAILURES = [
    {"image_id": "sub-9", "network": "", "step": "read", "code": "truncated", "sentence": "an image must be whole"},
    {"image_id": "sub-8", "network": "", "step": "read", "code": "truncated", "sentence": 'a "quoted", one'},
]
HEADS = ["ridge", "logistic"]


@pytest.fixture(scope="module")
def result(cohort: Cohort) -> Result:
    return analysed(cohort)


def analysed(cohort: Cohort, n_jobs: int = 1) -> Result:
    """All tables have rows: confounds, sites, ages, repeats, a correction of age, permutations, an exclusion."""
    sets, table = cohort
    return run(
        ask(
            (sets, table.assign(**{"sex/at birth": table["sex"]})),
            combinations={"one.x": (ONE,), "all": (ONE, TWO)},
            targets=["age", "sex/at birth", "height"],
            heads=HEADS,
            folding={"n_splits": 3, "n_inner": 3, "n_repeats": 2},
            columns={"site": "scanner", "age": "age"},
            adjusting={"confounds": ("volume",), "modes": ("only", "ignored", "target")},
            inferring={"n_bootstrap": 20, "n_permutations": 5, "correct_age": ("age",)},
            n_jobs=n_jobs,
            phenotypes_name="people.tsv",
            phenotypes_sha256="0" * 64,
            units={"age": "years"},
        )
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes(result: Result, cohort: Cohort, tmp_path: Path) -> None:
    write_run(result, tmp_path / "here", FAILURES)
    write_run(analysed(cohort, n_jobs=2), tmp_path / "there" / "deep", FAILURES[::-1] + FAILURES)
    one, two = contents(tmp_path / "here"), contents(tmp_path / "there" / "deep")
    assert one == two
    n_heads = {"age": 1 + 2 * 2, "sex": 1 + 2}  # confounds alone, 2 sets x modes
    # failures, people, run.json; predictions; heads with cards
    assert len(one) == len(TABLES) + 3 + 2 + 2 * sum(n_heads.values())
    assert not any(str(tmp_path).encode() in data for data in one.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]  # nothing is left beside


def test_trees_have_the_same_bytes_too(cohort: Cohort, tmp_path: Path) -> None:
    for n_jobs in (1, 2):
        few = {"n_splits": 2, "n_inner": 2}
        write_run(run(ask(cohort, heads=["boosting"], folding=few, n_jobs=n_jobs)), tmp_path / str(n_jobs))
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_all_is_there_and_reads_back(result: Result, tmp_path: Path) -> None:
    write_run(result, tmp_path / "run", FAILURES)
    back = read_run(tmp_path / "run")
    assert set(contents(back.path)) >= {
        "run.json",
        "failures.csv",
        "predictions/sex-at-birth.csv",
        "heads/age--ridge--one.x.npz",
        "heads/age--ridge--one.x.md",
        "heads/age--ridge--one.x--target.npz",
        "heads/age--ridge--confounds--only.npz",
        "heads/sex-at-birth--logistic--all.npz",
    }
    for name, (_, columns) in TABLES.items():
        table, written = getattr(back, name), result.tables[name]
        assert list(table.columns) == schema.names(columns)
        assert len(table) == len(written) > 0, name
        for one in columns:
            if one.dtype == "text":
                assert table[one.name].tolist() == written[one.name].fillna("").tolist()
            else:
                np.testing.assert_array_equal(table[one.name], written[one.name].astype(float))
    assert back.failures["image_id"].tolist() == ["sub-8", "sub-9"]
    assert list(back.predictions) == ["age", "sex/at birth"]
    extra = [schema.CONFOUND_PART, schema.CORRECTED + "cole", schema.CORRECTED + "beheshti"]
    assert set(extra) < set(back.predictions["age"])
    assert back.predictions["age"]["predicted"].map(type).eq(str).all()


def test_people_have_site_and_age_where_these_were_named(result: Result, cohort: Cohort, tmp_path: Path) -> None:
    write_run(result, tmp_path / "run")
    people = read_run(tmp_path / "run").people
    told = cohort[1].set_index("participant_id").loc[people["participant_id"]]
    assert len(people) == len(cohort[1])
    assert people["image_id"].tolist() == people["participant_id"].tolist()
    assert people["site"].tolist() == told["scanner"].tolist()
    assert people["age"].tolist() == told["age"].astype(float).tolist()
    unnamed = replace(result, tables=result.tables | {"people": result.tables["people"].head(0)})
    write_run(unnamed, tmp_path / "run")  # over the older run, whose file is one of a run's own
    assert not (tmp_path / "run" / "people.csv").exists()
    assert list(read_run(tmp_path / "run").people) == schema.names(schema.PEOPLE)
    assert not len(read_run(tmp_path / "run").people)


def test_only_a_site_leaves_ages_empty(cohort: Cohort, tmp_path: Path) -> None:
    few = {"n_splits": 2, "n_inner": 2}
    write_run(run(ask(cohort, folding=few, columns={"site": "scanner"})), tmp_path / "run")
    people = read_run(tmp_path / "run").people
    assert set(people["site"]) == {"x", "y", "z"}
    assert people["age"].isna().all()


def test_run_json_holds_what_repeats_it(result: Result, tmp_path: Path) -> None:
    write_run(result, tmp_path / "run")
    facts = read_run(tmp_path / "run").facts
    arguments = facts["arguments"]
    assert arguments["targets"] == ["age", "sex/at birth", "height"]
    assert arguments["heads"] == HEADS
    assert arguments["combinations"] == {"one.x": [ONE], "all": [ONE, TWO]}
    assert arguments["folding"] == {
        "scheme": "kfold",
        "n_splits": 3,
        "n_inner": 3,
        "n_repeats": 2,
        "by_site": False,
        "random_state": 0,
    }
    assert arguments["columns"]["site"] == "scanner"
    assert arguments["adjusting"]["confounds"] == ["volume"]
    assert arguments["adjusting"]["modes"] == ["only", "ignored", "target"]
    assert arguments["inferring"] == {"n_bootstrap": 20, "n_permutations": 5, "correct_age": ["age"]}
    assert arguments["given_splits"] is False
    assert facts["phenotypes"] == {"file": "people.tsv", "sha256": "0" * 64}
    assert [one["name"] for one in facts["features"]] == ["one.x", "all"]
    first = facts["features"][0]["sets"][0]
    assert set(first["provenance"]) == set(schema.names(schema.PROVENANCE))
    assert first["key"] == result.request.sets[ONE].key
    age, sex = facts["targets"]
    assert (age["name"], age["kind"], age["unit"], age["n_people"]) == ("age", "continuous", "years", 60)
    assert (age["n_tested"], age["n_predictions"], age["n_repeats"], age["n_splits"]) == (60, 120, 2, 6)
    assert sex["classes"] == ["F", "M"]
    assert sum(sex["counts"]) == 60
    assert facts["flow"]["people_matched"] == 60
    skipped = {(one["target"], one["head"]) for one in facts["skipped"]}
    assert skipped == {("age", "logistic"), ("sex/at birth", "ridge"), ("sex/at birth", "confounds target")}
    assert {"featx", "sklearn", "xgboost", "numpy"} <= set(facts["versions"])
    assert "n_jobs" not in json.dumps(facts)


def test_heads_of_a_run_predict(result: Result, tmp_path: Path) -> None:
    write_run(result, tmp_path / "run")
    run_read = read_run(tmp_path / "run")
    table = result.request.phenotypes
    for one in run_read.facts["heads"]:
        file = run_read.path / one["file"]
        bundle = read_bundle(file)
        for key in ("target", "head", "features"):
            assert bundle.contract[key] == one[key]
        assert bundle.contract["treatment"]["confounds"] == one["confounds"]
        found = predict(bundle, list(result.request.sets.values()), table, allow_training_people=True)
        assert len(found) == 60
        assert found["was_trained_on"].all()
        metrics = {score["metric"] for score in bundle.contract["scores"]}
        assert ("mae" if one["target"] == "age" else "auc") in metrics
        assert file.with_suffix(".md").read_text().startswith(f"# {one['target']} by ")


def test_an_older_run_is_replaced_whole(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(result, path)
    before = contents(path)
    (path / schema.REPORT_HTML).write_text("old")
    (path / "heads" / "older.npz").write_text("old")
    write_run(result, path)
    assert contents(path) == before
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_a_failed_write_leaves_the_older_run(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    write_run(result, path)
    before = contents(path)

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(runwriter, "write_bundle", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_run(result, path)
    with pytest.raises(OSError, match="no space left"):
        write_run(result, tmp_path / "new")
    assert contents(path) == before
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_places_of_something_else_are_refused(result: Result, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AnalysisError, match="is a file; choose another name"):
        check_output(tmp_path / "file")
    folder = tmp_path / "thesis"
    folder.mkdir()
    write_run(result, folder)  # an empty folder is a place
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(AnalysisError, match=r"also holds 'notes.txt'; move that away"):
        write_run(result, folder)
    (folder / "run.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(AnalysisError, match="and is no run; choose another name"):
        write_run(result, folder)
    assert (folder / "notes.txt").read_text() == "mine"


def test_places_that_cannot_be_written_are_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AnalysisError, match="inside a folder; .*file is none, for .*deep; choose another name"):
        check_output(tmp_path / "file" / "run" / "deep")
    check_output(tmp_path / "new" / "run")
    monkeypatch.setattr(runwriter.os, "access", lambda *_: False)
    with pytest.raises(AnalysisError, match="where you may write; .* does not allow it, for .*run; choose"):
        check_output(tmp_path / "new" / "run")


def test_names_of_files_are_plain_short_and_apart() -> None:
    names = ["a/b", "a-b", "A b", "../../etc/passwd", "é", "x" * 300, "x" * 299]
    stems = file_stems(names)
    assert len({stem.lower() for stem in stems.values()}) == len(names)
    assert all(len(stem) <= 102 and "/" not in stem and not stem.startswith(".") for stem in stems.values())
    assert slug("../../etc/passwd") == "etc-passwd"


def test_failures_are_told_once() -> None:
    assert [one["image_id"] for one in sorted_failures(FAILURES + FAILURES[:1])] == ["sub-8", "sub-9"]


def test_a_combination_named_as_the_confounds_are_keeps_its_file(result: Result, tmp_path: Path) -> None:
    sets = {"confounds": result.sets["one.x"], "all": result.sets["all"]}

    def renamed(name: str) -> str:
        return "confounds" if name == "one.x" else name

    bundles = {(t, h, renamed(f), c): one for (t, h, f, c), one in result.bundles.items()}
    write_run(replace(result, sets=sets, bundles=bundles), tmp_path / "run")
    files = [one["file"] for one in json.loads((tmp_path / "run" / "run.json").read_text())["heads"]]
    assert len({file.lower() for file in files}) == len(files) == len(bundles)
