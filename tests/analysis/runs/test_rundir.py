"""A run read back: whole, or refused with one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx.analysis.fit import run
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.runs.rundir import TABLES, is_run, read_run
from featx.analysis.runs.runwriter import write_run
from featx.errors import AnalysisError

from ..conftest import Cohort, ask


@pytest.fixture(scope="module")
def written(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    result = run(ask(cohort, targets=["age", "sex"], heads=["ridge", "logistic"], folding={"n_repeats": 2}))
    write_run(result, folder)
    return folder


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(written, tmp_path / "run"))


def test_what_is_no_run_is_not_read(path: Path, tmp_path: Path) -> None:
    assert is_run(path)
    assert not is_run(tmp_path)
    with pytest.raises(AnalysisError, match=r"has no run.json of one"):
        read_run(tmp_path)
    (path / "splits.csv").write_text("target,fold\nage,1\n")
    with pytest.raises(AnalysisError, match="lacks 'image_id'; fit again"):
        read_run(path)
    (path / "splits.csv").unlink()
    with pytest.raises(AnalysisError, match=r"cannot be read .FileNotFoundError.; fit again"):
        read_run(path)


@pytest.mark.parametrize("version, what", [(1, "fit again"), (3, "update featx")])
def test_other_formats_are_refused(path: Path, version: int, what: str) -> None:
    facts = json.loads((path / "run.json").read_text()) | {"format_version": version}
    for part in ("targets", "heads"):  # an older format told other things
        for one in facts[part]:
            one.pop("confounds", None)
            one.pop("n_repeats", None)
    (path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(AnalysisError, match=rf"of format version 2; .* has {version}; {what}"):
        read_run(path)


@pytest.mark.parametrize(
    "changed, lacking",
    [
        ({"format_version": None}, "format_version"),
        ({"targets": None}, "targets"),
        ({"targets": [{"name": "age"}]}, "targets"),
        ({"heads": [{"file": "heads/x.npz"}]}, "heads"),
        ({"skipped": [{}]}, "skipped"),
        ({"cautions": [{"code": "x"}]}, "cautions"),
    ],
)
def test_run_json_must_be_whole(path: Path, changed: dict[str, object], lacking: str) -> None:
    file = path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(AnalysisError, match=f"must say what it is of; .* lacks '{lacking}'"):
        read_run(path)


@pytest.mark.parametrize("name", ["scores.csv", "predictions/age.csv", "splits.csv"])
@pytest.mark.parametrize("lines", [0, 1, 4])
def test_tables_cut_short_are_refused(path: Path, name: str, lines: int) -> None:
    file = path / name
    whole = file.read_text().splitlines(keepends=True)
    file.write_text("".join(whole[:lines]))
    with pytest.raises(AnalysisError, match="a run must be whole; .*; fit again"):
        read_run(path)
    file.write_text("".join(whole[:-1]) + whole[-1][:8] + "\n")
    with pytest.raises(AnalysisError, match="a run must be whole; .* strange cell in column '.*'; it was cut short"):
        read_run(path)
    file.write_text("".join(whole)[:-2])  # within the last number
    with pytest.raises(AnalysisError, match="a run must be whole; .* cannot be read .EOFError.; fit again"):
        read_run(path)


@pytest.mark.parametrize("file", [*(file for file, _ in TABLES.values()), "failures.csv", "predictions/sex.csv"])
def test_every_table_must_be_there(path: Path, file: str) -> None:
    (path / file).unlink()
    with pytest.raises(AnalysisError, match=r"a run must be whole; .* cannot be read .FileNotFoundError.; fit again"):
        read_run(path)


@pytest.mark.parametrize("change", ["an answer more", "an answer less", "a metric less", "an image less", "no split"])
def test_tables_that_do_not_go_together_are_refused(path: Path, change: str) -> None:
    file = path / {"an answer more": "predictions/age.csv", "no split": "splits.csv"}.get(change, "scores.csv")
    file = path / "predictions/age.csv" if change == "an image less" else file
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    if change == "an answer more":
        table.loc[0, "confounds"] = "both"
    elif change == "no split":
        table = table[table["target"] != "age"]
    elif change == "an answer less":
        table = table[(table["target"] != "age") | (table["head"] != "ridge")]
    else:
        table = table.iloc[1:]
    table.to_csv(file, index=False)
    with pytest.raises(AnalysisError, match="a run must be whole; .* has, for target 'age', .*; fit again"):
        read_run(path)


@pytest.mark.parametrize("stratify", ["target", "none"])
def test_runs_with_people_who_are_not_tested_in_every_repeat_read_back(
    cohort: Cohort, tmp_path: Path, stratify: str
) -> None:
    """Test cohorts; and, on shared folds, people without a value."""
    sets, table = cohort
    rows = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"]})
    first = np.where(np.arange(60) < 20, 0, TRAIN_ONLY)
    second = np.where(np.arange(60) % 4 == 0, 0, np.where(np.arange(60) % 4 == 1, 1, TRAIN_ONLY))
    given = pd.concat([rows.assign(repeat=0, fold=first), rows.assign(repeat=1, fold=second)])
    gaps = table.assign(age=table["age"].where(np.arange(60) % 7 > 0))
    result = run(
        ask(
            (sets, gaps),
            targets=["age", "volume"],
            folding={"scheme": "given", "n_inner": 3},
            given_splits=given,
            columns={"stratify": stratify},
        )
    )
    write_run(result, tmp_path / "run")
    back = read_run(tmp_path / "run")
    assert set(back.splits["target"]) == ({"*"} if stratify == "none" else {"age", "volume"})
    age, volume = back.facts["targets"]
    assert volume["n_predictions"] == 20 + 30
    assert age["n_predictions"] == len(back.predictions["age"].query("head == 'ridge'")) < 50
    assert volume["n_tested"] == len(set(np.flatnonzero((first >= 0) | (second >= 0))))
    file = tmp_path / "run" / "predictions" / "age.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(AnalysisError, match="predictions of an answer for"):
        read_run(tmp_path / "run")
