"""What files tell of costs, and nothing where they tell nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import store
from featx.analysis.comparing.arms import Arm
from featx.analysis.comparing.costs import costs, job_minutes, minutes_of, step_seconds
from featx.analysis.comparing.reading import read_entries
from tests.conftest import make_set, write_features

from .conftest import CONTROL, NET, RIDGE, RIDGE_CONTROL, RIDGE_VOLUMES, SCRATCH, age_run


def job(sets: Mapping[str, list[str]], minutes: float, device: str = "cuda", finished: int = 10) -> dict[str, str]:
    record = {"sets": sets, "device": device, "finished": finished, "started": 100.0, "last": 100.0 + 60 * minutes}
    names = ("writer", "asked", "started", "last")
    return dict.fromkeys(names, "x") | {"record": json.dumps({"record": record})}


def arm_of(run: str, role: str, head: str = "ridge", networks: tuple[str, ...] = ()) -> Arm:
    return Arm("a", run, NET, head, "ignored", role, np.zeros((1, 2)), 1, networks)


def test_jobs_of_a_network_are_summed_by_device() -> None:
    one, other = {NET: ["net/a/t/mean"]}, {NET: ["net/a/t/mean"], "more": ["more/a/t/mean"]}
    jobs = [job(one, 3), job(one, 2, finished=5), job(one, 7, "cpu"), job(other, 1), job({"more": ["m"]}, 99)]
    found = job_minutes(jobs, ["net/a/t/mean"])
    assert found["cuda"] == (pytest.approx(6), 25, "; together with 1 more networks")
    assert found["cpu"] == (pytest.approx(7), 10, "")


def test_the_step_of_a_study_is_found_by_what_it_wrote() -> None:
    steps = [
        {"call": "featx index BRAINS -o study/images.csv", "elapsed_s": 1.0},
        {"call": "featx fit a.h5 p.tsv --output 'my study/run'", "elapsed_s": 9.0},
    ]
    assert step_seconds(steps, "run") == 9.0
    assert step_seconds(steps, "other") is None


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path]:
    """A run of heads beside its feature file, and a run of networks."""
    file = write_features(tmp_path / "f.h5", *(make_set(f"{one}/axial/t/mean", ["a", "b"]) for one in (NET, CONTROL)))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    source = {"role": "features", "name": "", "file": "f.h5", "sha256": digest}
    run = age_run(
        tmp_path / "run", {RIDGE: (5, 1), RIDGE_VOLUMES: (6, 2), RIDGE_CONTROL: (7, 3)}, n=20, sources=[source]
    )
    trained = age_run(tmp_path / "trained", {SCRATCH: (5, 2)}, n=20)
    fits: list[dict[str, Any]] = [
        {"target": "age+sex", "arm": "scratch", "fold": at, "elapsed_s": 60.0} for at in range(3)
    ]
    fits += [fits[0] | {"fold": -1}, {"target": "iq", "arm": "scratch", "fold": 0, "elapsed_s": 600.0}, {"fold": 0}]
    (trained / "training.json").write_text(json.dumps({"device": "cuda", "fits": fits}))
    return run, trained


def test_costs_are_those_that_files_tell(study: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run, trained = study
    jobs = [job({NET: ["net/axial/t/mean"]}, 4)]
    monkeypatch.setattr(store, "read_jobs", lambda path: jobs)
    steps = {"fit": {"call": f"featx fit f.h5 p.tsv -o {run}", "elapsed_s": 30.0}}
    (run.parent / "steps.json").write_text(json.dumps({"steps": steps}))
    table = costs(read_entries([run, trained]), ())
    told = table[["run", "what", "of", "device", "minutes", "n", "told_by"]].astype(object).where(table.notna(), None)
    assert told.values.tolist() == [
        ["run", "extraction", "net", "cuda", 4, 10, "f.h5"],
        ["run", "extraction", "net@random-0", "", None, None, "f.h5 remembers no job of it"],
        ["run", "fitting", "all heads", "", 0.5, None, "steps.json"],
        ["trained", "training", "scratch for age+sex", "cuda", 3, 3, "training.json"],
        ["trained", "training", "scratch for iq", "cuda", 10, 1, "training.json"],
    ]
    assert minutes_of(arm_of("run", "frozen", networks=(NET,)), "age", table) == 4
    assert np.isnan(minutes_of(arm_of("run", "combined", networks=(NET, CONTROL)), "age", table))
    assert np.isnan(minutes_of(arm_of("run", "volumes"), "age", table))
    assert minutes_of(arm_of("trained", "scratch", "scratch"), "sex", table) == 3
    assert minutes_of(arm_of("trained", "control", "scratch"), "sex", table) == 3  # of random weights
    assert np.isnan(minutes_of(arm_of("trained", "scratch", "scratch"), "height", table))


def test_what_is_not_recorded_is_left_empty(study: tuple[Path, Path]) -> None:
    run, trained = study
    (run.parent / "f.h5").rename(run.parent / "g.h5")
    (trained / "training.json").write_text(json.dumps({"fits": []}))
    table = costs(read_entries([run, trained]), ())
    assert table["minutes"].isna().all()
    assert table["told_by"].tolist() == [
        "the feature file was not found: name it with --features",
        "the feature file was not found: name it with --features",
        "a run holds no times, and no steps.json of a study beside it tells them",
        "training.json tells of no network that was trained",
    ]
    given = costs(read_entries([run]), [run.parent / "g.h5"])
    assert given["told_by"].tolist()[:2] == ["g.h5 remembers no job of it"] * 2
    other = costs(read_entries([run]), [run / "run.json"])
    assert other["told_by"].tolist()[:2] == ["no file of --features is the one that the run read"] * 2
