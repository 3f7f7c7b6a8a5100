"""The call that repeats a run, read back by the command line itself."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from featx.analysis.cohort.tables import file_sha256
from featx.analysis.request import Request, Result
from featx.analysis.runs.runwriter import run_facts
from featx.report.said.repeat import MOST_STRATIFIED, command
from featx_cli.main import app
from tests.conftest import make_set, write_features


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with features, tables and people, which is where the call is made."""
    monkeypatch.chdir(tmp_path)
    ids = [f"sub-{at:02d}" for at in range(30)]
    write_features(tmp_path / "features.h5", make_set("net.a/x/t/mean", ids), make_set("net.b/x/t/mean", ids, seed=1))
    rng = np.random.default_rng(0)
    people = pd.DataFrame({"participant_id": ids, "age": rng.uniform(20, 80, 30).round(2)})
    people.assign(sex=["F", "M"] * 15, lab=["x", "y", "z"] * 10, kin=ids, pain=[1, 2, 3] * 10).to_csv(
        "my people.tsv", sep="\t", index=False
    )
    people[["participant_id"]].assign(brain=rng.normal(1400, 100, 30)).to_csv("more.tsv", sep="\t", index=False)
    people[["participant_id"]].assign(left=rng.normal(size=30), right=rng.normal(size=30)).to_csv(
        "volumes.tsv", sep="\t", index=False
    )
    return tmp_path


@pytest.fixture
def facts_of(files: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], dict[str, Any]]:
    """A function that gives run.json of a call of `featx fit`, without the fits."""

    class Asked(Exception):  # noqa: N818 - it is an answer
        pass

    def ask(request: Request, *_: object) -> None:
        raise Asked(request)

    monkeypatch.setattr("featx.analysis.fit.run", ask)

    def facts(words: list[str]) -> dict[str, Any]:
        outcome = CliRunner().invoke(app, ["fit", *words]).exception
        assert isinstance(outcome, Asked), outcome
        nothing = Result(outcome.args[0], {}, {}, (), {}, {}, {}, (), ())
        return json.loads(json.dumps(run_facts(nothing, {}, {})))

    return facts


CALLS = {
    "plain": "features.h5 'my people.tsv' --target age --features net.a",
    "two": "features.h5 'my people.tsv' -t age -t sex --head ridge --features each",
    "table": "features.h5 'my people.tsv' -t age --table volumes=volumes.tsv --features volumes "
    "--features volumes+net.a",
    "table alone": "'my people.tsv' -t age --table volumes=volumes.tsv",
    "ordinal": "features.h5 'my people.tsv' -t pain --kind pain=ordinal --features net.a",
    "confounds": "features.h5 'my people.tsv' --also more.tsv -t age --features net.b --confound brain "
    "--confound lab:category --remove target --remove both --correct-age age",
    "sites": "features.h5 'my people.tsv' -t age --features net.a --site lab --scheme site --group kin --age age "
    "--harmonise combat --confound age:spline --preserve age:spline --where \"lab == 'x' or lab != 'x'\"",
    "numbers": "features.h5 'my people.tsv' -t sex --features net.a --folds 4 --inner-folds 3 --repeats 7 --seed 5 "
    "--bootstrap 10 --permutations 99 --pca 0.9 --calibrate platt --class-weight balanced --stratify lab --site lab "
    "--by-site",
    "aggregate": "features.h5 'my people.tsv' -t age --features net.a --aggregate max",
    "components": "features.h5 'my people.tsv' -t sex --features net.a --pca 3 --stratify none",
    "grid": "features.h5 'my people.tsv' -t age --features net.a --head sklearn:svm.SVR "
    """--grid 'sklearn:svm.SVR={"C": [0.1, 1]}'""",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_call_is_the_one_that_was_made(facts_of, call: str) -> None:
    wanted = facts_of(shlex.split(call))
    said = shlex.split(command(wanted))
    assert said[:2] == ["featx", "fit"]
    assert facts_of(said[2:]) == wanted


def test_defaults_are_left_out(facts_of) -> None:
    assert command(facts_of(shlex.split(CALLS["plain"]))) == f"featx fit {CALLS['plain']}"


def test_given_folds_are_those_of_the_run(facts_of) -> None:
    words = [*shlex.split(CALLS["plain"]), "--test-where", "lab == 'x'"]
    said = shlex.split(command(facts_of(words)))
    assert said[-2:] == ["--splits", "splits.csv"]
    assert not [word for word in said if word.startswith("--test")]


def test_many_targets_share_their_folds_unless_it_was_said(facts_of) -> None:
    facts = facts_of(shlex.split(CALLS["plain"]))
    arguments = facts["arguments"]
    arguments["targets"] = [f"t{at}" for at in range(MOST_STRATIFIED + 1)]
    assert command(facts).endswith("--stratify target")
    arguments["columns"]["stratify"] = "none"
    assert "--stratify" not in command(facts)
    arguments["targets"].pop()
    assert command(facts).endswith("--stratify none")


def test_every_argument_of_a_run_is_told_or_known_to_be(facts_of) -> None:
    """Whoever adds an argument to run.json meets this test, and tells it in the call."""
    arguments = facts_of(shlex.split(CALLS["plain"]))["arguments"]
    assert {name: sorted(value) for name, value in arguments.items() if name in ("folding", "columns")} == {
        "folding": ["by_site", "n_inner", "n_repeats", "n_splits", "random_state", "scheme"],
        "columns": ["age", "group", "site", "stratify", "where"],
    }
    assert sorted(arguments["adjusting"]) == ["calibrate", "confounds", "harmonise", "modes", "pca", "preserve"]
    assert sorted(arguments["inferring"]) == ["correct_age", "n_bootstrap", "n_permutations"]
    assert sorted(arguments["options"]) == ["class_weight", "device"]


def test_digests_are_of_the_files_that_are_named(files: Path, facts_of) -> None:
    facts = facts_of(shlex.split(CALLS["table"]))
    for one in facts["sources"]:
        assert one["sha256"] == file_sha256(files / one["file"])
