"""Which part an arm plays, and its predictions as an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featx.analysis.comparing.arms import Arm, arm_name, arms_of, distinct, role_of
from featx.analysis.runs.rundir import read_run

from .conftest import (
    CONTROL,
    FULL,
    NET,
    RIDGE,
    RIDGE_VOLUMES,
    SCRATCH,
    VOLUMES,
    age_run,
    ages,
    folds_of,
    near,
    people,
    sure,
    write_made,
)

OFFICIAL = {"network": "net", "weights": "official"}
TABLE = {"network": "table", "weights": ""}


@pytest.mark.parametrize(
    "label, sets, trained, role",
    [
        (("net", "ridge", "ignored"), [OFFICIAL, OFFICIAL], False, "frozen"),
        (("net", "ridge", "added"), [OFFICIAL], False, "frozen"),
        (("v", "ridge", "ignored"), [TABLE], False, "volumes"),
        (("mine", "ridge", "ignored"), [OFFICIAL], False, "volumes"),
        (("v+net", "ridge", "ignored"), [TABLE, OFFICIAL], False, "combined"),
        (("net", "ridge", "ignored"), [{"network": "net", "weights": "reinit:3"}], False, "control"),
        (("voxels.4mm", "pc-elastic-net", "ignored"), [{"network": "voxels.4mm"}], False, "voxels"),
        (("-", "ridge", "only"), [], False, "confounds"),
        (("-", "baseline", "ignored"), [], False, "baseline"),
        (("net", "scratch", "ignored"), [OFFICIAL], True, "scratch"),
        (("net", "reinit", "ignored"), [OFFICIAL], True, "scratch"),
        (("net", "two-stage", "ignored"), [OFFICIAL], True, "trained"),
        (("unknown", "ridge", "ignored"), [], False, "frozen"),
    ],
)
def test_roles(label: tuple[str, str, str], sets: list[dict[str, str]], trained: bool, role: str) -> None:
    assert role_of(label, sets, ("mine",), is_trained=trained) == role


def test_treatments_are_in_the_name() -> None:
    assert arm_name("a", "ridge", "features") == "ridge on a (confounds removed from the features)"
    assert arm_name("a", "ridge", "other") == "ridge on a (confounds other)"


def test_arms_of_a_run_have_their_predictions(tmp_path: Path) -> None:
    y, fold = ages(20), folds_of(20, 5, 2)
    own = near(y, 3, 1, 4)
    run = read_run(
        write_made(
            tmp_path / "a",
            {"age": ("continuous", y, {SCRATCH: own, FULL: near(y, 1, 2, 4), (NET, "ridge", "target"): own})},
            fold=fold,
            n_seeds=2,
        )
    )
    images = [str(one) for one in people(20)[::-1][:12]]
    arms = arms_of(run, "a", run.facts["targets"][0], images, ())
    assert [(arm.name, arm.role) for arm in arms] == [
        ("baseline", "baseline"), ("scratch on net", "scratch"), ("full on net", "trained")
    ]  # fmt: skip
    assert arms[1].n_seeds == 2
    np.testing.assert_allclose(arms[1].predicted, own[:, ::-1][:, :12])
    assert arms[1].networks == ()


def test_what_a_repeat_did_not_test_is_nan(tmp_path: Path) -> None:
    y, fold = np.arange(12) % 2, folds_of(12, 3)
    fold[0, 4] = -1
    fold = np.concatenate([fold, folds_of(12, 3)])
    own = sure(y, 1, 0, 2)
    run = read_run(write_made(tmp_path / "a", {"sex": ("binary", y, {RIDGE: own})}, fold=fold))
    (_, arm) = arms_of(run, "a", run.facts["targets"][0], [str(one) for one in people(12)], ())
    assert np.isnan(arm.predicted[0, 4]).all()
    np.testing.assert_allclose(arm.predicted[1], own[1])
    assert arm.networks == (NET,)


def test_networks_are_told_by_their_labels(tmp_path: Path) -> None:
    both = (f"{VOLUMES}+{CONTROL}", "ridge", "ignored")
    run = read_run(age_run(tmp_path / "a", {RIDGE_VOLUMES: (5, 1), both: (4, 2)}))
    arms = arms_of(run, "a", run.facts["targets"][0], [str(one) for one in people(60)], ())
    assert [(arm.role, arm.networks) for arm in arms[1:]] == [("volumes", ()), ("combined", (CONTROL,))]


def arm(run: str, label: tuple[str, str, str], role: str, value: float) -> Arm:
    return Arm(arm_name(*label), run, *label, role, np.full((1, 3), value), 1)


def test_arms_of_two_runs_are_told_apart_by_run_only_where_they_differ() -> None:
    base = ("-", "baseline", "ignored")
    found = distinct(
        [
            arm("a", base, "baseline", 1),
            arm("a", RIDGE, "frozen", 2),
            arm("b", base, "baseline", 1.1),
            arm("b", RIDGE, "frozen", 2),
            arm("c", SCRATCH, "scratch", 3),
            arm("d", SCRATCH, "scratch", 4),
        ]
    )
    assert [(one.name, one.run) for one in found] == [
        ("baseline", "a"), ("ridge on net", "a"), ("scratch on net (c)", "c"), ("scratch on net (d)", "d")
    ]  # fmt: skip
