"""The flow of people: it adds up, says why, and in private tells nothing that subtraction would."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from featx import schema
from featx.analysis import fit as fitting
from featx.analysis.folds.splits import Folding
from featx.analysis.request import Columns, Inferring
from featx.analysis.runs.rundir import Run, read_run
from featx.analysis.runs.runwriter import write_run
from featx.report.flow import Flow, flow
from tests.report.conftest import make_run
from tests.report.test_page import make_request


def told(run: Run, least: int = 0) -> Flow:
    found = flow(run, least)
    assert found is not None
    return found


def adds_up(found: Flow) -> None:
    for one, after in pairwise(found.stages):
        assert one.n - one.n_lost == after.n
    for branch in found.branches:
        assert found.stages[-1].n - branch.n_lost == branch.n


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """60 images, of which 55 have the second feature set too, 53 a row, 50 meet the condition, 47 an age."""
    request = make_request(
        folding=Folding(n_splits=3, n_inner=2),
        inferring=Inferring(n_bootstrap=0),
        columns=Columns(where="lab != 'q'"),
    )
    first, second = request.sets.values()
    short = replace(second, X=second.X[:55], **{name: getattr(second, name)[:55] for name in IDS})
    table = request.phenotypes.drop(index=[50, 51]).copy()
    table.loc[[0, 1, 2], "lab"] = "q"
    table.loc[[10, 11, 12], "age"] = None
    request = replace(
        request,
        sets={first.name: first, short.name: short},
        phenotypes=table,
        targets=["age", "sex"],
        heads=["ridge"],
    )
    folder = tmp_path_factory.mktemp("flow") / "run"
    failed = {"network": "made", "step": "check", "code": "wrong-grid", "sentence": "x"}
    lost = [
        failed | {"image_id": "sub-900"},
        failed | {"image_id": "sub-901", "step": "network", "code": "unexpected"},
    ]
    write_run(fitting.run(request), folder, [*lost, failed | {"image_id": "sub-058"}])  # the last has one feature set
    return read_run(folder)


IDS = (schema.IMAGE_ID, schema.PARTICIPANT_ID, schema.SESSION_ID)


def test_every_step_of_a_run_is_that_before_less_who_left(real: Run) -> None:
    found = told(real)
    adds_up(found)
    assert [one.n for one in found.stages] == [62, 61, 60, 55, 50]
    lost = [{loss.code: loss.n for loss in one.losses} for one in found.stages]
    assert lost == [
        {"wrong-grid": 1},
        {"unexpected": 1},
        {"missing-features": 5},
        {"no-phenotype": 2, "filtered": 3},
        {},
    ]
    assert found.stages[-1].label == "have a row in the phenotype table, and meet the condition"
    (age, *_) = found.branches
    assert (age.label, age.n, [(loss.code, loss.n) for loss in age.losses]) == ("age", 47, [("missing-value", 3)])
    assert all(loss.meaning == schema.REASONS[loss.code] for one in found.stages for loss in one.losses)


def test_whoever_did_not_meet_the_condition_is_not_said_to_have_no_image(real: Run) -> None:
    facts = real.facts["flow"]
    assert facts["people_in_phenotypes"] - facts["people_matched"] == 3 + 5  # filtered; not in every feature set
    assert told(real).note == "5 people of the phenotype table who met the condition have none that came so far."


def test_a_run_that_does_not_say_has_no_flow(tmp_path: Path, real: Run) -> None:
    assert flow(replace(real, facts=dict(real.facts) | {"flow": {"images_matched": 3}})) is None


def test_who_is_in_no_row_is_told_as_such(real: Run) -> None:
    found = told(replace(real, exclusions=real.exclusions.head(0), failures=real.failures.head(0)))
    adds_up(found)
    assert [loss.meaning for loss in found.branches[0].losses] == ["no row says why"]


def test_of_many_targets_some_are_drawn(real: Run) -> None:
    targets = [real.facts["targets"][0] | {"name": f"t{at}"} for at in range(20)]
    found = told(replace(real, facts=dict(real.facts) | {"targets": targets}))
    assert (len(found.branches), found.left_out) == (12, 8)


def test_images_of_one_person_and_a_test_cohort_are_told(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", n=20))
    facts = dict(run.facts)
    facts["targets"] = [facts["targets"][0] | {"n_images": 20, "n_people": 12, "n_tested": 5}]
    facts["flow"] = facts["flow"] | {"images_matched": 20, "people_matched": 12, "people_in_phenotypes": 13}
    found = told(replace(run, facts=facts))
    assert found.branches[0].shown == "20 of 12 people, 15 of them only train"
    assert found.note == "1 person of the phenotype table has none that came so far."


def test_in_private_no_difference_of_two_numbers_is_small(real: Run) -> None:
    found = told(real, least=10)
    numbers = {int(one.shown) for one in (*found.stages, *found.branches) if one.shown.isdigit()}
    assert numbers == {47, 50, 60}  # age and sex, which the scores tell anyway; 55, 61 and 62 are too near to others
    assert [one.shown for one in found.stages].count("a few more than below") == 4
    shown = {loss.shown for one in (*found.stages, *found.branches) for loss in one.losses}
    assert shown == {"some"}
    assert found.note == ""


def test_in_private_large_losses_are_told(real: Run) -> None:
    found = told(real, least=2)
    losses = {loss.code: loss.shown for one in found.stages for loss in one.losses}
    assert losses["missing-features"] == "5"
    assert losses["wrong-grid"] == "some"
