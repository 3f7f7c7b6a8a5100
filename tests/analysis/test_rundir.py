from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis import rundir
from featx.analysis.bundle import predict, read_bundle
from featx.analysis.fit import run
from featx.analysis.request import Request, Result
from featx.analysis.rundir import check_output, file_stems, read_run, slug, write_run
from featx.errors import AnalysisError
from featx.store import FeatureSet

FAILURES = [
    {"image_id": "sub-9", "network": "", "step": "read", "code": "truncated", "sentence": "an image must be whole"},
    {"image_id": "sub-8", "network": "", "step": "read", "code": "truncated", "sentence": 'a "quoted", one'},
]


@pytest.fixture(scope="module")
def result(cohort: tuple[dict[str, FeatureSet], pd.DataFrame]) -> Result:
    return analysed(cohort)


def analysed(cohort: tuple[dict[str, FeatureSet], pd.DataFrame], n_jobs: int = 1) -> Result:
    sets, table = cohort
    table = table.assign(**{"sex/at birth": table["sex"]})
    return run(
        Request(
            sets=sets,
            combinations={"one.x": ("one.x/axial/t/mean",), "all": tuple(sets)},
            phenotypes=table,
            targets=["age", "sex/at birth", "height"],
            heads=["ridge", "logistic", "boosting"],
            n_splits=3,
            n_inner=2,
            n_bootstrap=30,
            n_jobs=n_jobs,
            phenotypes_name="people.tsv",
            phenotypes_sha256="0" * 64,
        )
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes(cohort: tuple[dict[str, FeatureSet], pd.DataFrame], tmp_path: Path) -> None:
    write_run(analysed(cohort), tmp_path / "here", FAILURES)
    write_run(analysed(cohort, n_jobs=2), tmp_path / "there" / "deep", FAILURES[::-1] + FAILURES)
    one, two = contents(tmp_path / "here"), contents(tmp_path / "there" / "deep")
    assert one == two
    assert len(one) == 5 + 2 + 2 * 2 * 2
    assert not any(str(tmp_path).encode() in data for data in one.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]  # nothing is left beside


def test_all_is_there_and_reads_back(result: Result, tmp_path: Path) -> None:
    write_run(result, tmp_path / "run", FAILURES)
    back = read_run(tmp_path / "run")
    assert set(contents(back.path)) >= {
        "run.json",
        "splits.csv",
        "scores.csv",
        "exclusions.csv",
        "failures.csv",
        "predictions/sex-at-birth.csv",
        "heads/age--ridge--one.x.npz",
        "heads/sex-at-birth--boosting--all.npz",
    }
    for table, columns in (
        (back.splits, schema.SPLITS),
        (back.scores, schema.SCORES),
        (back.exclusions, schema.EXCLUSIONS),
        (back.failures, schema.FAILURES),
    ):
        assert list(table.columns) == schema.names(columns)
    np.testing.assert_array_equal(back.scores["value"], result.scores["value"])
    assert back.scores["baseline"].isna().sum() == result.scores["baseline"].isna().sum() > 0
    assert back.failures["image_id"].tolist() == ["sub-8", "sub-9"]
    assert back.exclusions["code"].tolist() == ["unknown-target"]
    assert list(back.predictions) == ["age", "sex/at birth"]
    for target, table in back.predictions.items():
        written = result.predictions[target]
        assert list(table.columns) == list(written.columns)
        for column in table:
            assert table[column].tolist() == written[column].tolist()
    assert back.predictions["age"]["predicted"].map(type).eq(str).all()


def test_run_json_holds_what_repeats_it(result: Result, tmp_path: Path) -> None:
    write_run(result, tmp_path / "run")
    facts = read_run(tmp_path / "run").facts
    assert facts["arguments"] == {
        "targets": ["age", "sex/at birth", "height"],
        "heads": ["ridge", "logistic", "boosting"],
        "kinds": {},
        "combinations": {"one.x": ["one.x/axial/t/mean"], "all": ["one.x/axial/t/mean", "two.x/axial/t/mean"]},
        "n_splits": 3,
        "n_inner": 2,
        "n_bootstrap": 30,
        "random_state": 0,
    }
    assert facts["phenotypes"] == {"file": "people.tsv", "sha256": "0" * 64}
    assert [one["name"] for one in facts["features"]] == ["one.x", "all"]
    first = facts["features"][0]["sets"][0]
    assert set(first["provenance"]) == set(schema.names(schema.PROVENANCE))
    assert first["key"] == result.request.sets["one.x/axial/t/mean"].key
    assert [(one["name"], one["kind"], one["n_people"]) for one in facts["targets"]] == [
        ("age", "continuous", 60),
        ("sex/at birth", "binary", 60),
    ]
    assert facts["flow"]["people_matched"] == 60
    assert {(one["target"], one["head"]) for one in facts["skipped"]} == {
        ("age", "logistic"),
        ("sex/at birth", "ridge"),
    }
    assert {"featx", "sklearn", "xgboost", "numpy"} <= set(facts["versions"])


def test_heads_of_a_run_predict(result: Result, tmp_path: Path) -> None:
    write_run(result, tmp_path / "run")
    run_read = read_run(tmp_path / "run")
    for one in run_read.facts["heads"]:
        bundle = read_bundle(run_read.path / one["file"])
        assert (bundle.contract["target"], bundle.contract["head"]) == (one["target"], one["head"])
        table = predict(bundle, list(result.request.sets.values()))
        assert len(table) == 60
        metrics = {score["metric"] for score in bundle.contract["scores"]}
        assert ("mae" if one["target"] == "age" else "auc") in metrics


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

    monkeypatch.setattr(rundir, "write_bundle", full_disk)
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


def test_what_is_no_run_is_not_read(result: Result, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"has no run.json of one"):
        read_run(tmp_path)
    path = tmp_path / "run"
    write_run(result, path)
    shutil.copytree(path, tmp_path / "later")
    facts = json.loads((path / "run.json").read_text()) | {"format_version": 2}
    (tmp_path / "later" / "run.json").write_text(json.dumps(facts))
    with pytest.raises(AnalysisError, match=r"format version 1 or older; .* has 2; update featx"):
        read_run(tmp_path / "later")
    (path / "splits.csv").write_text("target,fold\nage,1\n")
    with pytest.raises(AnalysisError, match="lacks 'image_id'; fit again"):
        read_run(path)
    (path / "splits.csv").unlink()
    with pytest.raises(AnalysisError, match=r"cannot be read .FileNotFoundError.; fit again"):
        read_run(path)


def test_names_of_files_are_plain_short_and_apart() -> None:
    names = ["a/b", "a-b", "A b", "../../etc/passwd", "é", "x" * 300, "x" * 299]
    stems = file_stems(names)
    assert len({stem.lower() for stem in stems.values()}) == len(names)
    assert all(len(stem) <= 102 and "/" not in stem and not stem.startswith(".") for stem in stems.values())
    assert slug("../../etc/passwd") == "etc-passwd"


def test_places_that_cannot_be_written_are_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AnalysisError, match="inside a folder; .*file is none, for .*deep; choose another name"):
        check_output(tmp_path / "file" / "run" / "deep")
    check_output(tmp_path / "new" / "run")
    monkeypatch.setattr(rundir.os, "access", lambda *_: False)
    with pytest.raises(AnalysisError, match="where you may write; .* does not allow it, for .*run; choose"):
        check_output(tmp_path / "new" / "run")


@pytest.mark.parametrize(
    "changed, lacking",
    [
        ({"format_version": None}, "format_version"),
        ({"targets": None}, "targets"),
        ({"targets": [{"name": "age"}]}, "targets"),
        ({"skipped": [{}]}, "skipped"),
    ],
)
def test_run_json_must_be_whole(result: Result, tmp_path: Path, changed: dict[str, object], lacking: str) -> None:
    write_run(result, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(AnalysisError, match=f"must say what it is of; .* lacks '{lacking}'"):
        read_run(tmp_path / "run")


@pytest.mark.parametrize("name", ["scores.csv", "predictions/age.csv", "splits.csv"])
@pytest.mark.parametrize("lines", [0, 1, 4])
def test_tables_cut_short_are_refused(result: Result, tmp_path: Path, name: str, lines: int) -> None:
    write_run(result, tmp_path / "run")
    file = tmp_path / "run" / name
    whole = file.read_text().splitlines(keepends=True)
    file.write_text("".join(whole[:lines]))
    with pytest.raises(AnalysisError, match="a run must be whole; .*; fit again"):
        read_run(tmp_path / "run")
    file.write_text("".join(whole[:-1]) + whole[-1][:8] + "\n")
    with pytest.raises(AnalysisError, match="a run must be whole; .* strange cell in column '.*'; it was cut short"):
        read_run(tmp_path / "run")
    file.write_text("".join(whole)[:-2])  # within the last number
    with pytest.raises(AnalysisError, match="a run must be whole; .* cannot be read .EOFError.; fit again"):
        read_run(tmp_path / "run")
