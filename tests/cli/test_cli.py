"""The commands as a user types them: what they print, what they leave, how they exit."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema, store
from featx.images.volume import MNI152_2MM, grid_affine, write_volume
from featx_cli.console import progress
from tests.conftest import make_set, phantom, write_features


def featx(*words, cwd, code=0):
    """Run the command in a process of its own, hold it to its exit code, give what it printed."""
    command = [sys.executable, "-W", "error", "-c", "from featx_cli.main import run; run()", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code in (0, 3) else done.stderr


VERBS = ("index", "check", "extract", "fit", "curve", "predict", "report", "heads", "doctor", "demo", "networks")


def test_help_teaches(type_in, tmp_path):
    text = featx("--help", cwd=tmp_path)
    assert "featx index BRAINS/ -o images.csv\n" in text
    assert "130  interrupted" in text
    for verb in VERBS:
        assert verb in text
        assert "Usage: featx " + verb in type_in(tmp_path, verb, "--help")


def test_version(tmp_path):
    assert re.fullmatch(r"featx \d+\.\d+\.\d+\n", featx("--version", cwd=tmp_path))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The main job on 40 phantoms, one of them cut short, as far as the report."""
    folder = tmp_path_factory.mktemp("job")
    rng = np.random.default_rng(0)
    rows = []
    for at in range(40):
        name = f"sub-{at:02d}"
        age = rng.uniform(20, 80)
        data = phantom(seed=at)
        ventricle = round(age / 4)
        pool = data[45 - ventricle : 45 + ventricle, 54 - ventricle : 54 + ventricle]
        pool //= 3
        write_volume(folder / f"mri/{name}/anat/{name}_T1w.nii.gz", data, grid_affine(MNI152_2MM))
        rows.append({"participant_id": name, "age": f"{age:.1f}", "sex": "FM"[age > 50], "site": "one"})
    pd.DataFrame(rows[1:]).to_csv(folder / "people.tsv", sep="\t", index=False)
    cut = folder / "mri/sub-07/anat/sub-07_T1w.nii.gz"
    cut.write_bytes(cut.read_bytes()[:5000])
    out = {"index": featx("index", "mri", "-o", "images.csv", cwd=folder)}
    wanted = ("images.csv", "-n", "squeezenet1_0.imagenet@random:0", "--axis", "axial", "--slices", 2)
    out["extract"] = featx("extract", *wanted, "-o", "f.h5", cwd=folder, code=3)
    asked = (
        "--target",
        "age",
        "--target",
        "sex",
        "--target",
        "site",
        "--target",
        "iq",
        "--head",
        "ridge",
        "--head",
        "logistic",
    )
    out["fit"] = featx("fit", "f.h5", "people.tsv", *asked, "--folds", 5, "-o", "run", cwd=folder, code=3)
    out["report"] = featx("report", "run", cwd=folder)
    return folder, out


def test_the_main_job(job):
    folder, out = job
    assert "40 images of 40 participants: images.csv" in out["index"]
    assert "39 images extracted" in out["extract"]
    assert "1  truncated (the file ends before its data do)" in out["extract"]
    failures = pd.read_csv(folder / "f.failures.csv")
    assert list(failures.columns) == schema.names(schema.FAILURES)
    assert failures["image_id"].tolist() == ["sub-07"]
    assert "38 of 39 images matched" in out["fit"]
    assert "site: constant-target" in out["fit"]
    assert "iq: unknown-target" in out["fit"]
    scores = pd.read_csv(folder / "run/scores.csv")
    best = scores[(scores["target"] == "age") & (scores["head"] == "ridge")].set_index("metric")
    assert best.loc["mae", "high"] < best.loc["mae", "baseline"]
    page = (folder / "run/report.html").read_text()
    assert "truncated" in page
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


def test_a_dry_run_writes_nothing(job, type_in):
    folder, _ = job
    wanted = ("images.csv", "-n", "squeezenet1_0.imagenet@random:0", "--axis", "axial", "--slices", 2)
    said = type_in(folder, "extract", *wanted, "-o", "dry.h5", "--dry-run")
    assert "40 images, 0 done before, 40 to do, on" in said
    assert not (folder / "dry.h5").exists()


def test_again_does_nothing_anew_and_a_mended_image_leaves_the_table(job, type_in):
    folder, _ = job
    wanted = ("images.csv", "-n", "squeezenet1_0.imagenet@random:0", "--axis", "axial", "--slices", 2, "-o", "f.h5")
    again = type_in(folder, "extract", *wanted, code=3)
    assert "40 images, 39 done before, 1 to do" in again
    one = folder / "copy.h5"
    one.write_bytes((folder / "f.h5").read_bytes())
    write_volume(folder / "mended/sub-07_T1w.nii.gz", phantom(seed=7), grid_affine(MNI152_2MM))
    table = (folder / "images.csv").read_text().replace("mri/sub-07/anat/", "mended/")
    (folder / "mended.csv").write_text(table)
    mended = type_in(folder, "extract", "mended.csv", *wanted[1:-1], "copy.h5")
    assert "1 images extracted" in mended
    assert not (folder / "copy.failures.csv").exists()
    assert store.read_failures(one) == []


def test_predict(job, type_in):
    folder, _ = job
    head = next((folder / "run/heads").glob("sex--logistic--*.npz"))
    out = featx("predict", head, "f.h5", "--allow-training-people", "-o", "out/p.csv", cwd=folder)
    assert "39 images predicted (sex, logistic)" in out
    table = pd.read_csv(folder / "out/p.csv")
    assert list(table.columns)[-4:] == ["predicted", "probability_F", "probability_M", "was_trained_on"]
    wanted = ("images.csv", "-n", "squeezenet1_0.imagenet@random:1", "--axis", "axial", "--slices", 2)
    type_in(folder, "extract", *wanted, "-o", "other.h5", code=3)
    refused = type_in(folder, "predict", head, "other.h5", code=2)
    assert "squeezenet1_0.imagenet@random-0" in refused
    assert "squeezenet1_0.imagenet@random-1" in refused


def test_the_same_seed_gives_the_same_bytes(job):
    folder, _ = job
    asked = ("fit", "f.h5", "people.tsv", "--target", "age", "--head", "ridge", "--head", "boosting", "--folds", 3)
    for run, jobs in (("a", 1), ("b", 2)):
        featx(*asked, "--jobs", jobs, "-o", run, cwd=folder)
    files = sorted(path.relative_to(folder / "a") for path in (folder / "a").rglob("*") if path.is_file())
    assert len(files) >= 7
    files.remove(Path("study.toml"))  # the call, which names its output
    for path in files:
        assert (folder / "a" / path).read_bytes() == (folder / "b" / path).read_bytes(), path


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("index", "nowhere"), "a source must hold images"),
        (("index", "no-ids.csv"), "must have the columns participant_id and path"),
        (("index", ".", "--entity", "res"), "--entity must be NAME=VALUE"),
        (("extract", "images.csv"), "at least one network must be asked for"),
        (("extract", "images.csv", "-n", "resnet"), "'resnet' is not; known are"),
        (("extract", "images.csv", "-n", "sfcn.ukb_age", "--weights", "no.p"), "no.p does not; give official"),
        (("fit", "f.h5"), "features must come first and a phenotype table last"),
        (("fit", "half.h5", "people.csv", "--target", "age"), "must be whole HDF5; half.h5 is not"),
        (("fit", "f.h5", "no-ids.csv", "--target", "age"), "participant_id"),
        (("fit", "f.h5", "f.h5", "people.csv", "--target", "age"), "must be in one file"),
        (("report", "."), "run"),
        (("predict", "f.h5", "f.h5"), "f.h5"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_sentence_and_exit_code_2(type_in, tmp_path, words, sentence):
    ids = [f"sub-{at:02d}" for at in range(30)]
    write_features(tmp_path / "f.h5", make_set("n/axial/t/mean", ids))
    (tmp_path / "half.h5").write_bytes((tmp_path / "f.h5").read_bytes()[:4000])
    (tmp_path / "images.csv").write_text("participant_id,path\na,a.nii\n")
    (tmp_path / "no-ids.csv").write_text("path,age\na.nii,3\n")
    (tmp_path / "people.csv").write_text(
        "participant_id,age\n" + "".join(f"{one},{at}\n" for at, one in enumerate(ids))
    )
    said = type_in(tmp_path, *words, code=2)
    assert said.startswith("featx: ")
    assert len(said.strip().splitlines()) == 1
    assert sentence in said


def test_few_people_are_a_reason_not_a_crash(type_in, tmp_path):
    ids = [f"sub-{at:02d}" for at in range(30)]
    write_features(tmp_path / "f.h5", make_set("n/axial/t/mean", ids))
    rows = [f"{one},{at},{at if at < 3 else ''},{at % 2}" for at, one in enumerate(ids)]
    (tmp_path / "people.csv").write_text("participant_id,age,rare,sex\n" + "\n".join(rows) + "\n")
    asked = ("--target", "rare", "--target", "age", "--target", "sex")
    out = type_in(tmp_path, "fit", "f.h5", "people.csv", *asked, "--folds", 3, "-o", "run", code=3)
    assert "rare: too-few-people" in out
    assert set(pd.read_csv(tmp_path / "run/scores.csv")["target"]) == {"age", "sex"}
    exclusions = pd.read_csv(tmp_path / "run/exclusions.csv")
    assert {"too-few-people"} <= set(exclusions[exclusions["target"] == "rare"]["code"])


def test_an_index_with_files_that_are_not_there(type_in, tmp_path):
    (tmp_path / "t.csv").write_text("participant_id,path\nb,b.nii\na,a.nii\n")
    (tmp_path / "a.nii").write_bytes(b"x")
    out = type_in(tmp_path, "index", "t.csv", "-o", "images.csv", code=3)
    assert "1 of them cannot be opened" in out
    assert pd.read_csv(tmp_path / "images.csv")["image_id"].tolist() == ["a", "b"]
    assert pd.read_csv(tmp_path / "images.missing.csv")["code"].tolist() == ["missing-file"]


def test_extract_without_torch_says_what_to_install(tmp_path):
    (tmp_path / "images.csv").write_text("participant_id,path\na,a.nii\n")
    script = (
        "import sys\nclass Without:\n    def find_spec(self, name, *_):\n"
        "        if name in ('torch', 'torchvision'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\nfrom featx_cli.main import run; run()"
    )
    command = [sys.executable, "-c", script, "extract", "images.csv", "-n", "sfcn.ukb_age"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'featx[torch]'" in done.stderr


def test_a_dry_run_downloads_nothing(type_in, tmp_path, monkeypatch):
    (tmp_path / "images.csv").write_text("participant_id,path\na,a.nii\n")
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    out = type_in(tmp_path, "extract", "images.csv", "-n", "sfcn.ukb_age", "--dry-run")
    assert "after downloading https://" in out
    assert not (tmp_path / "home").exists()


def test_progress_says_rate_and_time_left(capsys):
    with progress("images", "images") as update:
        update(1, 2, "")
        update(2, 2, ", 1 failed")
    assert re.search(r"images: 2 of 2, [\d.]+ images/s, 0:00:00 left, 1 failed", capsys.readouterr().err)


def test_the_demo(tmp_path):
    """Torch's and nilearn's warnings are theirs: only the exit code and what is made count here."""
    command = [sys.executable, "-c", "from featx_cli.main import run; run()", "demo", "-o", "demo", "--people", "20"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "$ featx fit features.h5 brains/participants.tsv --target age --target sex" in done.stdout
    scores = pd.read_csv(tmp_path / "demo/run/scores.csv")
    assert set(scores["target"]) == {"age", "sex"}
    assert (tmp_path / "demo/run/report.html").stat().st_size > 50_000
