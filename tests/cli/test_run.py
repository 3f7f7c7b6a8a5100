"""featx run: a study from its file to its pages; and the call that every verb writes beside its output."""

import functools
import json
import tomllib

import pandas as pd
import pytest
import typer

from featx import store
from featx.study.keys import KEYS, ON
from featx.study.reading import read_study
from featx_cli.console import typed
from featx_cli.main import KEPT, app
from featx_cli.run import duration

COMMANDS = typer.main.get_command(app).commands
TABLE = """\
jobs = 1
[cohort]
phenotypes = "people.csv"
site = "site"
[phenotypes]
targets = ["age", "sex"]
[features]
tables = {volumes = "volumes.csv"}
[folds]
n = 3
inner = 3
[statistics]
bootstrap = 20
"""
N_FITS = 8  # two targets with a head each, in three folds, and once on all people


@pytest.fixture
def folder(study, tmp_path):
    """A folder with people and volumes."""
    for name in ("people.csv", "volumes.csv", "f.h5"):
        (tmp_path / name).write_bytes((study / name).read_bytes())
    return tmp_path


@pytest.fixture
def run(folder, type_in):
    """A function that writes a study of some text and runs it from the folder above."""

    def call(text, *words, code=0):
        (folder / "s.toml").write_text(text)
        return type_in(folder.parent, "run", f"{folder.name}/s.toml", *words, code=code)

    return call


def kinds(option):
    return "flag" if option.is_flag else "several" if option.multiple else "one"


@pytest.mark.parametrize("key", [key for key in KEYS if key.verbs], ids=lambda key: f"{key.table}.{key.name}")
def test_every_key_is_an_option_of_its_verbs(key):
    for verb in key.verbs:
        (option,) = [one for one in COMMANDS[verb].params if key.flag in one.opts]
        wanted = {"flag": "flag", "on": "flag"}.get(key.kind)
        wanted = wanted or ("one" if key.kind in ("text", "whole", "number", "numbers", "file") else "several")
        assert kinds(option) == wanted or (verb, key.name) == ("train", "weights")
        if key.kind == ON:
            assert f"--no-{key.name}" in option.secondary_opts


def test_a_study_of_a_table_alone(run, folder):
    said = run(TABLE)
    assert (
        "--- fit: not done yet\n$ featx fit people.csv --target age --target sex --table volumes=volumes.csv" in said
    )
    assert {path.name for path in (folder / "s").iterdir()} == {"run", "steps.json"}
    scores = pd.read_csv(folder / "s/run/scores.csv")
    assert set(scores["features"]) == {"-", "volumes"}
    assert "age (run, ridge on volumes): Better than the baseline: " in said.replace(" (run, volumes, ridge", "")
    assert f"Open {folder}/s/run/report.html" in said
    again = run(TABLE)
    assert "--- fit: done before, and nothing of it has changed\n" in again
    assert "$ featx" not in again
    other = run(f"{TABLE}[heads]\nuse = 'elasticnet'\n", "--only", "fit", code=3)  # which does not suit sex
    assert "--- fit: its call has changed\n" in other
    assert "some images or phenotypes could not be" in other
    again = run(f"{TABLE}[heads]\nuse = 'elasticnet'\n", "--only", "fit", code=3)
    assert "$ featx" not in again


def test_a_dry_run_tells_every_call_and_writes_nothing(run, folder):
    said = run(f"{TABLE}[site]\ncheck = true\n[curve]\nn = 20\ndraws = 2\n", "--dry-run")
    assert [line for line in said.splitlines() if not line.startswith(" ")][:5] == [
        "site: to do, not done yet",
        "fit: to do, not done yet",
        "curve: to do, not done yet",
        "report: to do, not done yet",
        "report-site: to do, not done yet",
    ]
    assert "    $ featx curve people.csv --target age --target sex --table volumes=volumes.csv --site site" in said
    assert f"    time: {N_FITS} fits\n" in said
    assert "in all: unknown for site, fit, curve, report, report-site\nnothing was done, nothing was written" in said
    assert {path.name for path in folder.iterdir()} == {"people.csv", "volumes.csv", "f.h5", "s.toml"}
    run(TABLE, "--only", "fit")
    assert "fit: done\n" in run(TABLE, "--dry-run")
    assert "in all: all is done" in run(TABLE, "--dry-run", "--only", "fit")
    said = run(TABLE, "--dry-run", "--again", "fit", "--only", "fit")
    assert "fit: to do, asked for again" in said
    assert f" the last time; {N_FITS} fits" in said
    assert "report" not in said


def test_faults_are_told_before_anything_runs(run, folder):
    said = run(TABLE.replace('"sex"', '"sexe"').replace("volumes.csv", "v.csv"), code=2)
    assert "s.toml has 2 faults:\n  line 6: a column must be in the table" in said
    said = run(TABLE.replace("[folds]", "[fold]"), code=2)
    assert (
        f"{folder.name}/s.toml, line 9: a table or first key of a study must be known; 'fold' is not; did you" in said
    )
    assert "'trains' is none" in run(TABLE, "--only", "trains", code=2)
    assert not (folder / "s").exists()


def test_a_step_that_is_refused_is_named_and_the_next_run_begins_with_it(run, folder):
    said = run(TABLE, "--only", "fit")
    assert "$ featx fit" in said
    wrong = TABLE.replace("n = 3\n", 'n = 3\nscheme = "blocks"\n')
    said = run(wrong, code=2)
    assert said.startswith("featx: step 'fit': ")
    assert "'blocks' is not; known are" in said
    assert "--- fit: begun, not ended" in run(TABLE, "--only", "fit")
    said = run(TABLE.replace("n = 3\n", "n = 1\n"), code=2)  # which the option itself refuses
    assert "step 'fit': a call must be one that featx takes; featx fit does not take it: see above" in said


def test_an_interrupted_step_ends_the_run_as_it_ends_itself(run, folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("featx.analysis.fit.run", interrupted)
    assert "featx: interrupted; what was finished is kept, run the same command again" in run(TABLE, code=130)
    monkeypatch.undo()
    assert json.loads((folder / "s/steps.json").read_text())["steps"]["fit"]["digest"] == ""
    assert not (folder / "s/run").exists()


def test_features_made_elsewhere_with_a_check_of_sites_and_curves(run, folder):
    text = TABLE.replace("[folds]", 'files = ["f.h5"]\n[folds]')
    said = run(
        f"{text}[site]\ncheck = true\n[curve]\nn = [20, 40]\ndraws = 2\n",
        "--only",
        "site",
        "--only",
        "fit",
        "--only",
        "curve",
    )
    assert "$ featx fit f.h5 people.csv --target site --head logistic --table volumes=volumes.csv --folds 3" in said
    assert set(pd.read_csv(folder / "s/site/scores.csv")["target"]) == {"site"}
    assert set(pd.read_csv(folder / "s/curve/curve.csv")["n_train"]) == {20, 40}
    assert "site (site, " in said


def test_brains_through_a_network_from_the_folder_to_the_page(brains, type_in, tmp_path):
    brains(12)
    ages = pd.DataFrame({"participant_id": [f"sub-{at:02d}" for at in range(12)], "age": range(40, 52)})
    ages.to_csv(tmp_path / "people.csv", index=False)
    text = (
        'jobs = 1\n[cohort]\nimages = "brains"\nphenotypes = "people.csv"\n[phenotypes]\ntargets = "age"\n'
        '[[networks]]\nname = "squeezenet1_0.imagenet@random:0"\naxis = "axial"\ntap = "fire9"\nslices = 2\n'
        "[folds]\nn = 3\ninner = 2\n[statistics]\nbootstrap = 0\n"
    )
    (tmp_path / "s.toml").write_text(text)
    featx = functools.partial(type_in, tmp_path, "run", "s.toml")
    plan = featx("--dry-run")
    assert "extract: to do, not done yet" in plan
    assert "    time: by a probe of 4 images, on one device " in plan
    said = featx("--only", "index", "--only", "check", "--only", "extract", "--only", "fit")
    assert "12 images extracted" in said
    assert set(store.read_shapes(tmp_path / "s/features.h5").values()) == {(12, 512)}
    made = ["images", "check", "features"]
    assert {path.name for path in (tmp_path / "s").glob("*.toml")} == {f"{one}.study.toml" for one in made}
    kept = read_study(tmp_path / "s/features.study.toml")
    assert kept.calls[0][:2] == ("extract", "s/images.csv")
    assert kept.folder.resolve() == tmp_path.resolve()
    (tmp_path / "s.toml").write_text(text + "[heads]\nuse = 'ridge'\n")
    said = featx("--only", "extract", "--only", "fit")
    assert "--- extract: done before" in said
    assert "--- fit: its call has changed" in said
    image = next(tmp_path.glob("brains/sub-03/anat/*.gz"))
    image.unlink()
    said = featx(
        "--only", "index", "--only", "extract"
    )  # the file of features keeps its row: what was made is not thrown away
    assert "11 images of 11 participants" in said
    assert "--- extract: what it reads has changed" in said


# --- the call beside each output ---------------------------------------------------------------------------------


def test_a_verb_writes_its_call_and_run_repeats_it(featx, study, tmp_path):
    words = ("--target", "age", "--head", "ridge", "--folds", 3, "--bootstrap", 0, "--where", "iq > 50")
    featx("fit", "f.h5", "people.csv", *words, "-o", tmp_path / "run")
    told = tomllib.loads((tmp_path / "run/study.toml").read_text())
    assert told["calls"] == [
        f"featx fit f.h5 people.csv --target age --head ridge --output {tmp_path}/run --where 'iq > 50' --folds 3 "
        "--bootstrap 0"
    ]
    assert (tmp_path / "run" / told["folder"]).resolve() == study.resolve()
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    said = featx("run", tmp_path / "run/study.toml", "--dry-run")
    assert said == f"$ {told['calls'][0]}\n"
    featx("run", tmp_path / "run/study.toml")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


def test_a_call_is_repeated_where_an_output_lies_behind_a_link(study, type_in, tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/out").symlink_to(tmp_path / "a/b/c")
    (tmp_path / "work/people.csv").write_bytes((study / "people.csv").read_bytes())
    featx = functools.partial(type_in, tmp_path / "work")
    featx("fit", study / "f.h5", "people.csv", "-t", "age", "--folds", 3, "--bootstrap", 0, "-o", "out/run")
    told = tomllib.loads((tmp_path / "work/out/run/study.toml").read_text())
    assert told["folder"] == "../../../../work"
    featx("run", "out/run/study.toml")


def test_nothing_is_written_by_a_dry_run_or_a_refusal(featx, tmp_path):
    featx("fit", "f.h5", "people.csv", "--target", "age", "-o", tmp_path / "run", "--dry-run")
    featx("fit", "f.h5", "people.csv", "--target", "age", "--head", "forest", "-o", tmp_path / "run", code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_study_of_the_user_is_not_written_over(featx, tmp_path):
    (tmp_path / "study.toml").write_text(TABLE)
    (tmp_path / "curve.json").write_text("{}")  # so that it passes for an older curve
    words = ("--target", "age", "--n", 20, "--draws", 1, "--table", "v=volumes.csv", "--jobs", 1)
    said = featx("curve", "people.csv", *words, "-o", tmp_path)
    assert f"note: {tmp_path}/study.toml is a study; the call that was made is not written over it" in said
    assert (tmp_path / "study.toml").read_text() == TABLE


def test_calls_that_add_to_an_output_stay_and_others_do_not(type_in, brains, tmp_path):
    brains(2)
    featx = functools.partial(type_in, tmp_path)
    featx("index", "brains", "-o", "images.csv")
    featx("index", "brains", "--suffix", "T1w", "-o", "images.csv")
    calls = lambda name: tomllib.loads((tmp_path / name).read_text())["calls"]  # noqa: E731
    assert calls("images.study.toml") == ["featx index brains --suffix T1w"]
    asked = ("extract", "images.csv", "-n", "sfcn_4mm.untrained@random:0", "-o", "f.h5")
    featx(*asked, "--tap", "block2", "--shard", "1/2")
    first = "featx extract images.csv --network sfcn_4mm.untrained@random:0 --output f.h5 --tap block2"
    assert calls("f.study.toml") == [first]  # of all images, whichever job of an array writes it
    featx(*asked, "--tap", "block2")
    featx(*asked, "--tap", "block3")
    assert calls("f.study.toml") == [first, first.replace("block2", "block3")]


def test_calls_are_refused_where_they_cannot_be_made(featx, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("folder = 'gone'\ncalls = ['featx heads']\n")
    assert "calls must be made where they were typed; " in featx("run", path, code=2)
    path.write_text("calls = ['featx heads', 'featx fit people.csv']\n")
    assert "steps must be those of a study; " in featx("run", path, "--only", "fit", code=2)
    said = featx("run", path, code=2)
    assert f"call 'featx fit' of {path}: features must come first" in said


def test_every_verb_that_is_to_keep_its_call_has_an_output():
    for verb in KEPT:
        assert any(one.name == "output" for one in COMMANDS[verb].params), verb


def test_times_are_said_in_their_unit():
    assert [duration(seconds) for seconds in (59.94, 60, 3600)] == ["59.9 s", "1.0 min", "1.0 h"]


def test_the_call_of_a_verb_as_it_is_typed():
    context = COMMANDS["predict"].make_context("predict", ["h.npz", "--table", "v=v.csv", "--table", "w=w x.csv"])
    assert typed(context) == "featx predict h.npz --table v=v.csv --table 'w=w x.csv'"
    words = ["fit", "a.h5", "p.csv", "--by-site", "--where", "a > 1", "-j", "2"]
    context = COMMANDS["fit"].make_context("fit", words[1:])
    assert typed(context, without=("jobs",)) == "featx fit a.h5 p.csv --where 'a > 1' --by-site"
