"""Runs against each other, from folders to a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from featx import schema
from featx.analysis.comparing import columns
from featx.analysis.comparing.comparison import Comparison, compare
from featx.analysis.comparing.differing import Drawing
from featx.analysis.comparing.wish import Wish
from featx.analysis.comparing.writing import check_output, write_comparison
from featx.analysis.fit import run
from featx.analysis.inference.scores import bootstrap
from featx.analysis.runs.runwriter import write_run
from featx.errors import AnalysisError
from featx_cli import main

from ..conftest import Cohort, ask
from .conftest import (
    CONTROL,
    FULL,
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
    people,
    sure,
    write_curve,
    write_made,
)

FEW = Drawing(n_bootstrap=100, n_permutations=50)


def compared(*folders: Path, **wish: Any) -> Comparison:
    return compare(folders, Wish(**{"drawing": FEW, **wish}))


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Heads on frozen features, volumes and controls; networks that train, with two seeds. Age and sex."""
    y, sex, fold = ages(60), np.arange(60) % 2, folds_of(60)
    heads = {RIDGE: near(y, 4, 1), RIDGE_VOLUMES: near(y, 4.2, 2), RIDGE_CONTROL: near(y, 7, 3),
             ("-", "ridge", "only"): near(y, 10, 4)}  # fmt: skip
    classes = {(NET, "logistic", "ignored"): sure(sex, 2, 5), (CONTROL, "logistic", "ignored"): sure(sex, 0.5, 6)}
    a = write_made(tmp_path / "frozen", {"age": ("continuous", y, heads), "sex": ("binary", sex, classes)}, fold=fold,
                   cautions=[{"code": "overlap", "sentence": "known", "target": ""}])  # fmt: skip
    b = write_made(
        tmp_path / "trained",
        {
            "age": ("continuous", y, {SCRATCH: near(y, 9, 7, 2), FULL: near(y, 5, 8, 2)}),
            "iq": ("continuous", y, {FULL: near(y, 5, 8, 2)}),
            "sex": ("binary", sex, {SCRATCH: sure(sex, 0, 9, 2)}),
        },
        fold=fold,
        n_seeds=2,
        cautions=[{"code": "overlap", "sentence": "known", "target": ""}],
    )
    return a, b


def test_arms_of_all_runs_meet(runs: tuple[Path, Path]) -> None:
    calls: list[tuple[int, int, str]] = []
    found = compare(runs, Wish(drawing=FEW), lambda *one: calls.append(one))
    assert calls == [(0, 2, "age"), (1, 2, "sex"), (2, 2, "")]
    age, sex = found.targets
    assert set(age.ranking["arm"]) == {
        "ridge on net", "ridge on volumes", "ridge on net@random-0", "ridge on confounds only", "scratch on net",
        "full on net", "baseline",
    }  # fmt: skip
    assert age.reference.name == "ridge on net"
    assert sex.reference.name == "logistic on net"
    questions = age.differences.groupby("question")["arm_a"].nunique().to_dict()
    assert questions == {"arms": 5, "over the baseline": 6, "gain over confounds": 5, "gain over volumes": 4}
    mae = age.differences[age.differences["metric"] == "mae"].set_index(["arm_a", "arm_b"])["better"]
    assert (mae["ridge on net", "scratch on net"], mae["full on net", "scratch on net"]) == ("a", "a")
    assert mae["scratch on net", "ridge on confounds only"].tolist() == ["a", "a"]  # two questions, one answer
    assert age.ranking.set_index("arm")["n_seeds"].to_dict()["scratch on net"] == 2
    assert found.left_out == ("iq is not compared, for trained alone has it",)
    assert [one.sentence for one in found.cautions] == ["known"]  # once
    assert found.over is not None
    assert found.over.table["arm"].iloc[0] == "ridge/logistic on net"
    assert not len(found.curves)
    q = pd.concat([one.differences for one in found.targets]).dropna(subset=["q"])
    assert (q["q"] >= q["p_corrected_t"] - 1e-12).all()


def test_the_folder_holds_what_the_sheet_of_columns_says(runs: tuple[Path, Path], tmp_path: Path) -> None:
    found = compared(*runs, margins={"age": 1.0}, volumes=(NET,))
    for name in ("one", "two"):
        write_comparison(found, tmp_path / name)
    files = {path.name for path in (tmp_path / "one").iterdir()}
    assert files == {"compare.json", "ranking.csv", "differences.csv", "mean_ranks.csv", "costs.csv"}
    sheets = {
        columns.RANKING_CSV: columns.RANKING,
        columns.DIFFERENCES_CSV: columns.DIFFERENCES,
        columns.MEAN_RANKS_CSV: columns.MEAN_RANKS,
        columns.COSTS_CSV: columns.COSTS,
    }
    for file, sheet in sheets.items():
        assert list(pd.read_csv(tmp_path / "one" / file)) == schema.names(sheet)
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    facts = json.loads((tmp_path / "one" / "compare.json").read_text())
    assert [one["name"] for one in facts["compared"]] == ["frozen", "trained"]
    tables = {f"predictions/{one}.csv" for one in ("age", "iq", "sex")}
    assert set(facts["compared"][1]["sha256"]) == {"run.json", "splits.csv", *tables}
    assert (facts["targets"][0]["margin"], facts["targets"][1]["margin"]) == (1.0, None)
    assert {arm.role for arm in found.targets[0].arms if arm.features == NET and arm.head == "ridge"} == {"volumes"}
    assert str(tmp_path) not in json.dumps(facts)
    write_comparison(compared(*runs[:1]), tmp_path / "one")  # an older comparison may be written over


def test_where_a_comparison_must_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AnalysisError, match="must be written to a folder; .*file is a file"):
        check_output(tmp_path / "file")
    with pytest.raises(AnalysisError, match="holds something else; choose another name"):
        check_output(tmp_path)


def test_tables_of_an_older_comparison_go(runs: tuple[Path, Path], tmp_path: Path) -> None:
    write_comparison(compared(*runs), tmp_path / "out")
    y = ages(60)
    one = write_made(tmp_path / "age", {"age": ("continuous", y, {RIDGE: near(y, 4, 1)})}, fold=folds_of(60))
    write_comparison(compared(one), tmp_path / "out")
    assert not (tmp_path / "out" / "mean_ranks.csv").exists()


# --- what is asked ---------------------------------------------------------------------------------------------


def test_a_reference_is_named_in_full_or_by_a_part(runs: tuple[Path, Path]) -> None:
    age = runs[0]
    named = compared(*runs, reference="NET@random")
    assert [one.reference.name for one in named.targets] == ["ridge on net@random-0", "logistic on net@random-0"]
    with pytest.raises(
        AnalysisError, match="'on net' is a part of 2 names of 'age'; known are 'ridge on net', 'ridge"
    ):
        compared(age, reference="on net")
    with pytest.raises(
        AnalysisError, match="must be one arm of every target; 'boosting' is none of 'age'; known are"
    ):
        compared(age, reference="boosting")


def test_numbers_that_make_no_sense_are_refused(runs: tuple[Path, Path]) -> None:
    with pytest.raises(AnalysisError, match="alpha must lie between 0 and 1; it is 1.5"):
        compared(*runs, drawing=Drawing(alpha=1.5))
    with pytest.raises(AnalysisError, match="a margin must be above 0; it is -1"):
        compared(*runs, margins={"age": -1.0})
    with pytest.raises(AnalysisError, match="'iq' is none; known are 'age', 'sex'"):
        compared(*runs, margins={"iq": 1.0})
    with pytest.raises(AnalysisError, match=r"by \['auc', 'mae'\]; write, say, --margin age=0.5"):
        compared(*runs, margins={"": 0.5})
    mixed = compared(*runs, margins={"": 0.5, "sex": 0.02})
    assert [one.margin for one in mixed.targets] == [0.5, 0.02]


def test_files_and_volumes_that_are_not_there_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"a feature file must be there .*none.h5 is not; leave --features out"):
        compared(*runs, features=(tmp_path / "none.h5",))
    with pytest.raises(AnalysisError, match="volumes must be features of what is compared; 'vols' are none; known "):
        compared(*runs, volumes=("vols",))
    curve = write_curve(tmp_path / "curve", curve_table({RIDGE: {20: 9, 60: 6}}))
    assert compared(curve, volumes=(NET,)).curves["role"].unique().tolist() == ["volumes"]


def test_what_one_fold_tests_once_has_its_q_of_the_bootstrap_and_repeats_of_it_of_the_t_test(tmp_path: Path) -> None:
    tests = np.where(np.random.default_rng(0).random((6, 60)) < 0.4, 0, -1)
    for name, fold, p in (("once", tests[:1], "p_bootstrap"), ("repeated", tests, "p_corrected_t")):
        arms = {RIDGE: (4.0, 1), RIDGE_VOLUMES: (4.4, 2)}
        (one,) = compared(age_run(tmp_path / name, arms, fold=fold)).targets
        mae = one.differences[one.differences["metric"] == "mae"]
        assert mae["q"].max() == pytest.approx(mae[p].max())


def test_runs_without_a_common_target_are_refused(tmp_path: Path) -> None:
    y = ages(20)
    a = age_run(tmp_path / "a", {RIDGE: (5, 1)}, n=20)
    b = write_made(tmp_path / "b", {"iq": ("continuous", y, {RIDGE: near(y, 1, 1)})}, fold=folds_of(20))
    with pytest.raises(AnalysisError, match="a has 'age'; b has 'iq'; fit one target in two of them"):
        compared(a, b)


def test_arms_on_another_target_are_left_out(tmp_path: Path) -> None:
    y, residual = ages(20), (NET, "ridge", "target")
    a = write_made(
        tmp_path / "a", {"age": ("continuous", y, {RIDGE: near(y, 1, 1), residual: near(y, 1, 2)})}, fold=folds_of(20)
    )
    found = compared(a)
    assert set(found.targets[0].ranking["arm"]) == {"ridge on net", "baseline"}
    assert found.left_out == (
        "arms of a whose confounds were removed from the target are not compared: they are scored on what is left of "
        "it, which is another target",
    )
    b = write_made(tmp_path / "b", {"age": ("continuous", y, {residual: near(y, 1, 2)})}, fold=folds_of(20))
    with pytest.raises(AnalysisError, match="'age' has none, only those whose confounds were removed"):
        compared(b)


def test_what_a_reader_should_know(tmp_path: Path) -> None:
    a = age_run(tmp_path / "a", {RIDGE: (5, 1)}, fold=folds_of(60, 5, 3), arguments={"columns": {"group": "family"}})
    b = age_run(tmp_path / "b", {SCRATCH: (5, 2)}, fold=folds_of(60, 5, 1))
    found = {one.code: one for one in compared(a, b).cautions}
    assert found["repeats"].sentence == "compared over the first repeat of the folds, for the runs have: a 3, b 1"
    assert found["groups"].sentence.startswith("a kept groups whole in the folds and does not tell who is in which")
    y = ages(60)[:50]
    c = write_made(tmp_path / "c", {"age": ("continuous", y, {SCRATCH: near(y, 5, 1)})}, fold=folds_of(60)[:, :50])
    (shared,) = compared(b, c, shared_people=True).cautions
    assert shared.sentence == "compared on the 50 images that all runs have, of 60 of b, 50 of c; who trained differs"
    assert shared.target == "age"


def test_families_of_a_run_are_drawn_whole(cohort: Cohort, tmp_path: Path) -> None:
    result = run(ask(cohort, columns={"group": "family"}))
    write_run(result, tmp_path / "run")
    found = compared(tmp_path / "run")
    assert found.cautions == result.cautions
    (target,) = found.targets
    (job,), (_, arm) = result.jobs, result.arms["age"]
    families = dict(zip(cohort[1]["participant_id"], cohort[1]["family"], strict=True))
    assert len(set(target.common.units)) == len(set(families.values())) == 30
    drawn = bootstrap("continuous", job.target.y, arm.predicted, job.units, n_bootstrap=100)["mae"].draws
    np.testing.assert_allclose(target.ranking["low"][0], np.percentile(drawn, 2.5))


# --- curves ---------------------------------------------------------------------------------------------------


def test_runs_on_fewer_people_are_points_beside_curves(tmp_path: Path) -> None:
    """The same 40 people test; scratch errs by 12, 8 and 4 with 20, 80 and 320 who train, frozen by 7, 6 and 5.5."""
    fold, y = np.zeros((1, 40), dtype=int), ages(40)
    runs = []
    for n, error in ((20, 12.0), (80, 8.0), (320, 4.0)):
        exact = y + error * np.where(np.arange(40) % 2, 1, -1)
        own = {"age": ("continuous", y, {SCRATCH: np.tile(exact, (3, 1))})}
        runs.append(write_made(tmp_path / f"n{n}", own, fold=fold, n_seeds=3, trainers=list(people(n, 100))))
    curve = write_curve(tmp_path / "curve", curve_table({RIDGE: {20: 7, 80: 6, 320: 5.5}}))
    found = compared(curve, *runs)
    (row,) = found.crossings.to_dict("records")
    assert (row["arm"], row["overtaken"], row["verdict"]) == ("scratch on net", "ridge on net", "crosses")
    assert row["n_cross"] == pytest.approx(80 * 4 ** (2 / 3.5))
    assert (row["low"], row["high"], row["share"]) == pytest.approx((row["n_cross"], row["n_cross"], 1))
    (target,) = found.targets
    assert set(target.ranking["run"]) == {"n320"}
    assert found.cautions[0].sentence == (
        "trained on fewer people than the 320 of the others, on the same test people: n20 (20), n80 (80); these are "
        "points of curves and are not ranked; intervals of crossings are over repeats and seeds alone, and too "
        "narrow for what other people would give"
    )
    alone = compared(curve)
    assert (alone.targets, len(alone.crossings), len(alone.curves)) == ((), 0, 18)


def test_cohorts_of_several_sizes_are_points_on_demand(tmp_path: Path) -> None:
    folders = []
    for n, frozen, scratch in ((30, 6.0, 9.0), (60, 5.0, 4.0)):
        y = ages(60)[:n]
        sign = np.where(np.arange(n) % 2, 1, -1)
        for name, label, error in (("run", RIDGE, frozen), ("trained", SCRATCH, scratch)):
            arms = {label: (y + error * sign)[None].repeat(2, axis=0)}
            own = {"age": ("continuous", y, arms)}
            folders.append(write_made(tmp_path / f"n{n}" / name, own, fold=folds_of(n, 5, 2)))
    with pytest.raises(AnalysisError, match="30 of n60/run are not in n30/run|30 of n60/run"):
        compared(*folders)
    found = compared(*folders, over_n=True)
    assert set(found.targets[0].ranking["run"]) == {"n60/run", "n60/trained"}
    (row,) = found.crossings.to_dict("records")
    assert row["n_cross"] == pytest.approx(24 * 2 ** (3 / 4))
    assert (row["tested"], row["n_low"], row["n_high"]) == ("each size its own", 24, 48)
    assert found.cautions[0].sentence == (
        "ranked are the runs that trained on most people, 48 a fold (n60/run, n60/trained); those on 24 are points "
        "of curves, and tested other people; intervals of crossings are over repeats and seeds alone, and too narrow "
        "for what other people would give"
    )


# --- real data ------------------------------------------------------------------------------------------------


def test_volumes_of_real_people_tell_age_from_nothing(data: Path, tmp_path: Path) -> None:
    """Two runs of `featx fit` on 181 real people; the second has the folds of the first."""
    table = f"volumes={data / 'ixi/regional_volumes.tsv'}"
    call = [
        "fit",
        str(data / "ixi/participants.tsv"),
        "--table",
        table,
        "--target",
        "age",
        "--bootstrap",
        "0",
        "--jobs",
        "1",
    ]
    for more in (["--folds", "5", "-o", str(tmp_path / "a")],
                 ["--splits", str(tmp_path / "a/splits.csv"), "--pca", "5", "-o", str(tmp_path / "b")]):  # fmt: skip
        done = CliRunner().invoke(main.app, [*call, *more])
        assert done.exit_code == 0, done.output
    (found,) = compared(tmp_path / "a", tmp_path / "b").targets
    values = found.ranking.set_index("arm")["value"].to_dict()
    assert values["ridge on volumes (a)"] == pytest.approx(5.9, abs=0.3)
    assert values["ridge on volumes (a)"] < values["ridge on volumes (b)"] < values["baseline"]
