"""What is done, and what is to be done again: decisions on files of a few bytes, no step is run."""

import json
import os

import pytest

from featx.errors import StudyError
from featx.study.journal import (
    DO,
    DONE,
    PERHAPS,
    Record,
    begun,
    digest_of,
    ended,
    judge,
    read_journal,
    write_journal,
)
from featx.study.running import best_head, chosen_steps, plan, run_steps
from featx.study.steps import STAT, Input, Step
from tests.study.conftest import SMALL
from tests.study.test_steps import WHOLE

TEXT = f"{SMALL}[curve]\nn = 5\n[site]\ncheck = true\n".replace('"people.csv"', '"people.csv"\nsite = "lab"')


@pytest.fixture
def made(tmp_path):
    """A folder with the files that a study names, and a function that does a step by leaving its outputs."""
    for name in ("people.csv", "volumes.csv"):
        (tmp_path / name).write_text("participant_id\n")

    def do(step):
        do.done.append(step.name)
        if step.name in do.deadly:
            raise KeyboardInterrupt
        for path in step.outputs:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(do.leaves)
        return do.codes.get(step.name, 0)

    do.done, do.deadly, do.codes, do.leaves = [], set(), {}, "same"
    return do


def run(study, do, **more):
    do.done.clear()
    return [one.record.code for one in run_steps(study, do, **more)]


def test_what_is_done_is_skipped_and_what_has_changed_is_done_again(read, made, tmp_path):
    assert run(read(TEXT), made) == [0] * 5
    assert made.done == ["site", "fit", "curve", "report", "report-site"]
    run(read(TEXT), made)
    assert made.done == []
    run(read(f"{TEXT}[heads]\nuse = 'ridge'\n"), made)
    assert made.done == ["fit", "curve", "report"]
    run(read(f"{TEXT}[heads]\nuse = 'ridge'\n[report]\nprivacy = true\n"), made)
    assert made.done == ["report", "report-site"]
    (tmp_path / "volumes.csv").write_text("participant_id\nb\n")
    run(read(f"{TEXT}[heads]\nuse = 'ridge'\n[report]\nprivacy = true\n"), made)
    assert made.done == ["site", "fit", "curve", "report", "report-site"]
    os.utime(tmp_path / "volumes.csv", (1, 1))  # the same bytes
    (tmp_path / "study/curve/curve.json").unlink()
    run(read(f"{TEXT}[heads]\nuse = 'ridge'\n[report]\nprivacy = true\n"), made)
    assert made.done == ["curve", "report"]


@pytest.mark.parametrize("at", ["site", "fit", "curve", "report"])
def test_after_a_kill_the_step_that_was_begun_is_done_again(read, made, at):
    study, order = read(TEXT), ["site", "fit", "curve", "report", "report-site"]
    made.deadly = {at}
    with pytest.raises(KeyboardInterrupt):
        run(study, made)
    assert made.done == order[: order.index(at) + 1]
    made.deadly = set()
    run(study, made)
    assert made.done == order[order.index(at) :]


def test_a_kill_while_a_step_is_done_anew_leaves_nothing_that_passes_for_whole(read, made):
    study = read(TEXT)
    run(study, made)
    made.deadly = {"curve"}
    with pytest.raises(KeyboardInterrupt):
        run(study, made, again=["fit", "curve"])
    assert made.done == ["fit", "curve"]
    made.deadly = set()
    run(study, made)  # the report is of an older fit, although nothing asks for it any more
    assert made.done == ["curve", "report"]


def test_a_step_that_failed_for_some_goes_on_and_is_remembered(read, made):
    made.codes = {"fit": 3}
    assert run(read(TEXT), made) == [0, 3, 0, 0, 0]
    assert run(read(TEXT), made) == [0, 3, 0, 0, 0]
    assert made.done == []


def test_one_step_alone_and_steps_that_are_wished_again(read, made):
    study = read(TEXT)
    run(study, made, only=["fit"])
    assert made.done == ["fit"]
    run(study, made, again=chosen_steps(study, ["report"]))
    assert made.done == ["site", "curve", "report", "report-site"]
    with pytest.raises(StudyError, match=r"'fitt' is none, in .*study.toml; known are 'curve', 'fit', 'report', 're"):
        chosen_steps(study, ["fitt"])


IMAGES = SMALL.replace('"people.csv"', '"people.csv"\nimages = "images.csv"')
NETWORK = '[[networks]]\nname = "n"\n'
ARMS = f'{IMAGES}{NETWORK}[[arms]]\nnetwork = "n"\n'


def test_other_heads_train_nothing_anew_if_the_folds_are_the_same(read, made, tmp_path):
    (tmp_path / "images.csv").write_text("image_id,path\na,a.nii\n")
    (tmp_path / "a.nii").write_text("a")
    run(read(ARMS), made)
    assert made.done == ["check", "extract", "fit", "train-n", "compare", "report", "report-n"]
    other = read(f"{ARMS}[heads]\nuse = 'ridge'\n")
    words = {one.step.name: (one.word, one.why) for one in plan(other)}
    assert words["extract"] == (DONE, "")
    assert words["fit"] == (DO, "its call has changed")
    assert words["train-n"] == (PERHAPS, "if fit changes what it reads")
    assert words["compare"] == (DO, "fit is done anew")
    assert words["report-n"] == (PERHAPS, "if train-n is done anew")
    run(other, made)
    assert made.done == ["fit", "compare", "report"]
    made.leaves = "other folds"
    run(other, made, again=["fit"])
    assert made.done == ["fit", "train-n", "compare", "report", "report-n"]


def test_an_image_that_has_changed_is_seen_by_its_size_or_time(read, made, tmp_path):
    (tmp_path / "images.csv").write_text("image_id,path,mask\na,a.nii,\n")
    (tmp_path / "a.nii").write_text("a")
    study = read(ARMS)
    run(study, made)
    os.utime(tmp_path / "a.nii", (1, 1))
    run(study, made)
    assert made.done == ["check", "extract", "fit", "train-n", "compare", "report", "report-n"]


def test_features_that_are_made_in_another_way_are_made_in_a_new_file(read, made, tmp_path):
    (tmp_path / "images.csv").write_text("image_id,path\na,a.nii\n")
    run(read(ARMS), made)
    made.leaves = "of four slices"
    (tmp_path / "study/features.h5.parts").mkdir()
    run(read(ARMS.replace('name = "n"\n', 'name = "n"\nslices = 4\n')), made)
    assert (tmp_path / "study/features.h5").read_text() == "of four slices"
    assert (tmp_path / "study/features.1.h5").read_text() == "same"
    assert (tmp_path / "study/features.1.h5.parts").is_dir()
    assert made.done == ["extract", "fit", "train-n", "compare", "report", "report-n"]
    two = ARMS.replace("[[arms]]", '[[networks]]\nname = "m"\nslices = 2\n[[arms]]')
    run(read(two), made)  # the first one's slices, again; the second one is added
    assert made.done[:4] == ["check", "extract", "extract-2", "fit"]
    run(read(two.replace("slices = 2", "slices = 3")), made)  # the file is the first one's, too
    assert made.done[:3] == ["extract", "extract-2", "fit"]
    assert {path.name for path in (tmp_path / "study").glob("*.h5")} == {
        *("features.h5", "features.1.h5", "features.2.h5", "features.3.h5"),
    }
    turned = ARMS.replace('name = "n"\n', 'name = "m"\nslices = 3\n').replace("[[arms]]", f"{NETWORK}[[arms]]")
    run(read(turned.replace("[[arms]]\n", "[[arms]]\nepochs = 1\n")), made)  # in another order nothing is made anew
    assert not (tmp_path / "study/features.4.h5").exists()
    other = ARMS.replace('name = "n"\n', 'name = "m"\nslices = 9\n')
    run(read(other), made)
    assert (tmp_path / "study/features.4.h5").exists()
    run(read(other), made)  # what the blocks of before were made of counts no more
    assert made.done == []


def test_a_map_that_is_asked_for_otherwise_gives_up_its_folder(read, made, tmp_path):
    (tmp_path / "images.csv").write_text("image_id,path\na,a.nii\n")
    text = f"{IMAGES}{NETWORK}[relevance]\nheads = 'head'\npeople = "
    left = tmp_path / "study/run/relevance/head/relevance.nii.gz"
    run(read(f"{text}2\n"), made)
    left.write_text("of two")
    made.deadly = {"relevance-head"}
    with pytest.raises(KeyboardInterrupt):
        run(read(f"{text}3\n"), made)
    assert not left.parent.exists()
    left.parent.mkdir()
    left.write_text("of three, written before the kill")
    made.deadly = set()
    run(read(f"{text}3\n"), made)
    assert left.exists()
    assert made.done == ["relevance-head", "report"]


def test_all_steps_of_a_whole_study_are_judged_before_anything_is_there(read):
    assert {one.word for one in plan(read(WHOLE))} == {DO}


# --- the file -------------------------------------------------------------------------------------------------


def test_the_journal_is_read_back_and_what_is_begun_keeps_how_long_it_took(tmp_path):
    step = Step("fit", ("fit", "a"))
    record = ended(step, "d", 1.5, 3)
    write_journal(tmp_path / "new", {"fit": record})
    assert read_journal(tmp_path / "new") == {"fit": record}
    assert begun(step, record) == Record("featx fit a", "", "", 1.5, 3)
    assert ended(step, "d", 1.5, 3).stamp != record.stamp
    assert json.loads((tmp_path / "new/steps.json").read_text())["steps"]["fit"]["elapsed_s"] == 1.5
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["steps.json"]
    assert judge([step], {"fit": begun(step, record)}, tmp_path)[0].why == "begun, not ended"


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "x"}', '{"format": "featx-steps", "format_version": 2}'])
def test_a_damaged_journal_is_refused(tmp_path, text):
    (tmp_path / "steps.json").write_text(text)
    with pytest.raises(StudyError, match=r"must be one that this featx wrote; .*remove it, and all steps are done"):
        read_journal(tmp_path)


def test_a_digest_knows_the_call_its_files_and_the_steps_before(tmp_path):
    (tmp_path / "a").write_text("1")
    step = Step("fit", ("fit", "a"), (Input(tmp_path / "a"), Input(tmp_path / "b", STAT)), ("extract",))
    digests = {digest_of(step, {}, tmp_path)}
    digests.add(digest_of(step, {"extract": Record("", stamp="x")}, tmp_path))
    (tmp_path / "b").write_text("")
    digests.add(digest_of(step, {}, tmp_path))
    (tmp_path / "a").write_text("2")
    digests.add(digest_of(step, {}, tmp_path))
    digests.add(digest_of(Step("fit", ("fit", "b"), step.inputs, step.after), {}, tmp_path))
    assert len(digests) == 5


# --- the best head --------------------------------------------------------------------------------------------


def test_the_best_head_is_one_of_a_network_alone(monkeypatch, tmp_path):
    import pandas as pd

    rows = [
        ("volumes", "ridge", 1.0), ("net", "ridge", 3.0), ("net", "boosting", 2.0), ("net+volumes", "ridge", 0.5),
        ("other", "ridge", 4.0), ("unkept", "ridge", 0.1),
    ]  # fmt: skip
    scores = pd.DataFrame(
        [("age", one, head, "ignored", "mae", value) for one, head, value in rows],
        columns=["target", "features", "head", "confounds", "metric", "value"],
    )
    facts = {
        "sources": [{"role": "table", "name": "volumes"}],
        "features": [
            {"name": name, "sets": [{"name": one} for one in name.split("+")]}
            for name in ("volumes", "net", "net+volumes", "other", "unkept")
        ],
        "heads": [
            {
                "target": "age",
                "features": one,
                "head": head,
                "confounds": "ignored",
                "file": f"heads/age--{head}--{one}.npz",
            }
            for one, head, _ in rows
            if one != "unkept"
        ],
    }

    class Read:
        pass

    run_ = Read()
    run_.scores, run_.facts = scores, facts
    monkeypatch.setattr("featx.analysis.runs.rundir.read_run", lambda path: run_)
    assert best_head(tmp_path, "age", linear=True) == "age--ridge--net"
    assert best_head(tmp_path, "age", linear=False) == "age--boosting--net"
    with pytest.raises(StudyError, match=r"none for 'sex' with one weight per feature; name heads in \[relevance\]"):
        best_head(tmp_path, "sex", linear=True)
