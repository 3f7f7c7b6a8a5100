"""Bad input, as people have it: exit code 2 and one sentence, or exit code 3 and a row in exclusions.csv."""

import shutil

import pandas as pd
import pytest

from tests.cli.conftest import QUICK, N

AGE = ("--target", "age")


@pytest.fixture(scope="module")
def bad(study):
    """Tables with something wrong, beside the good ones."""
    people = pd.read_csv(study / "people.csv", dtype=str)
    odd = people.assign(empty="", same="1", infinite=people["age"], text=people["age"], rare="a", lone=people["site"])
    odd.loc[3, ["infinite", "text"]] = ["inf", "old"]
    odd.loc[[0, 1], "rare"] = "b"
    odd.loc[5, "lone"] = "Z"
    odd["quarterly"] = (people["quarter"] == "p").map({True: "yes", False: "no"})
    odd["height"] = people["site"].map({"A": "100", "B": "120", "C": "145"})
    odd["clan"] = [f"clan{at // 20}" for at in range(N)]
    odd.to_csv(study / "odd.csv", index=False)
    pd.concat([people, people.iloc[:1]]).to_csv(study / "twice.csv", index=False)
    people.iloc[:2].to_csv(study / "two.csv", index=False)
    people.assign(participant_id=[f"x{at}" for at in range(N)]).to_csv(study / "strangers.csv", index=False)
    strangers = pd.DataFrame({"participant_id": [f"x{at}" for at in range(N)], "fold": [at % 3 for at in range(N)]})
    strangers.to_csv(study / "splits.csv", index=False)
    volumes = pd.read_csv(study / "volumes.csv", dtype=str)
    volumes.assign(side="left").to_csv(study / "sides.csv", index=False)
    volumes.assign(age=people["age"]).to_csv(study / "ages.csv", index=False)
    volumes.loc[4, "hippocampus"] = "big"
    volumes.to_csv(study / "words.csv", index=False)
    return study


# --- exit code 2 ----------------------------------------------------------------------------------------------

WHO = [
    ("twice.csv", (*AGE,), "twice.csv has '00' in lines 2 and 62; keep one of them"),
    ("strangers.csv", (*AGE,), "images are of people such as 'sub-00' and the table of such as 'x0'"),
    ("nosuch.csv", (*AGE,), "nosuch.csv is not (No such file or directory)"),
    ("odd.csv", (*AGE, "--confound", "nope"), "a confound must be a column of the phenotype table; 'nope' is not"),
    ("odd.csv", (*AGE, "--confound", "brain:cubic"), "got 'brain:cubic'; write COLUMN or COLUMN:FORM"),
    ("odd.csv", (*AGE, "--confound", "text"), "'text' holds 'old', at participant 'sub-03'"),
    ("odd.csv", (*AGE, "--site", "nope"), "'nope' is not; "),
    ("odd.csv", (*AGE, "--group", "nope"), "'nope' is not; "),
    ("odd.csv", (*AGE, "--age", "nope"), "the column of ages must be in the phenotype table; 'nope' is not"),
    ("odd.csv", (*AGE, "--stratify", "nope"), "'nope' is not; "),
    ("odd.csv", (*AGE, "--where", "nope > 3"), "'nope' of 'nope > 3' is none; "),
    ("odd.csv", (*AGE, "--where", "age >"), "'age >' does not"),
    ("odd.csv", (*AGE, "--test-where", "cohort == 'x'"), "\"cohort == 'x'\" is met by 0 of 60 people"),
    (
        "odd.csv",
        (*AGE, "--split-column", "nope"),
        "the column of splits must be in the phenotype table; 'nope' is not",
    ),
    ("odd.csv", (*AGE, "--split-column", "same"), "must have two labels or more; 'same' has '1'"),
    ("odd.csv", (*AGE, "--splits", "nosuch.csv"), "nosuch.csv is not (FileNotFoundError)"),
    ("odd.csv", (*AGE, "--splits", "people.csv"), "must have a column 'fold'; people.csv has"),
    ("odd.csv", (*AGE, "--splits", "splits.csv", "--split-column", "quarter"), "folds must be given in one way"),
]

WHAT = [
    ((), "an analysis must have at least one target"),
    (("--targets", "zz*"), "'zz*' matches none"),
    ((*AGE, "--kind", "age"), "--kind must be NAME=VALUE; got 'age'"),
    ((*AGE, "--kind", "age=number"), "'number' is not, for 'age'; known are 'binary', 'continuous'"),
    ((*AGE, "--kind", "sex=binary"), "a kind must be for a target of the analysis; 'sex' is none"),
    ((*AGE, "--correct-age", "iq"), "a correction of age must be for a target of the analysis; 'iq' is none"),
    ((*AGE, "--head", "forest"), "a head must be in the table of heads; 'forest' is not; known are"),
    ((*AGE, "--head", "sklearn:svm.SVX"), "'sklearn:svm.SVX' names no class of it"),
    ((*AGE, "--grid", "ridge={alpha"), "a grid must be JSON such as"),
    ((*AGE, "--grid", 'ridge={"alpha": 1}'), "a grid must be JSON such as"),
    ((*AGE, "--grid", 'ridge={"alpha": [1]}'), "a grid must be for an sklearn: head; 'ridge' has one of its own"),
    ((*AGE, "--grid", "ridge"), "--grid must be NAME=VALUE; got 'ridge'"),
    ((*AGE, "--grid", 'forest={"depth": [1]}'), "a grid must be for a head that is asked for; 'forest' is not"),
    ((*AGE, "--features", "nope"), "'nope' matches none; known are 'net/axial/t/mean'"),
    ((*AGE, "--table", "volumes"), "--table must be NAME=VALUE; got 'volumes'"),
    ((*AGE, "--table", "v=volumes.csv", "--table", "v=ages.csv"), "got 'v' several times"),
    ((*AGE, "--table", "net=volumes.csv"), "'net' is also the beginning of 'net/axial/t/mean'"),
    ((*AGE, "--table", "v=sides.csv"), "must hold numbers beside its ids; 'v' holds other things in 'side'"),
    ((*AGE, "--table", "v=words.csv"), "'v' holds other things in 'hippocampus'"),
    ((*AGE, "--table", "v=nosuch.csv"), "nosuch.csv is not (No such file or directory)"),
    ((*AGE, "--table", "v=strangers.csv"), "'v' holds other things in"),
    ((*AGE, "--also", "nosuch.csv"), "nosuch.csv is not (No such file or directory)"),
    ((*AGE, "--also", "new-volumes.csv"), "new-volumes.csv has none of the phenotype table's"),
    ((*AGE, "--also", "ages.csv"), "'age' is in the phenotype table and in ages.csv"),
    ((*AGE, "--pca", 0), "--pca must be a number of components, or a share of variance between 0 and 1; got 0"),
    ((*AGE, "--pca", 2.5), "got 2.5; write, say, 50 or 0.9"),
    ((*AGE, "--pca", "nan"), "got nan"),
    ((*AGE, "--class-weight", "heavy"), "--class-weight must be known; 'heavy' is not; known are 'balanced', 'none'"),
    ((*AGE, "--device", "tpu"), "--device must be known; 'tpu' is not; known are 'cpu', 'cuda'"),
    ((*AGE, "--calibrate", "sigmoid"), "'sigmoid' is not; known are 'isotonic', 'none', 'platt'"),
    ((*AGE, "--remove", "features"), "none is; add --confound COLUMN"),
    ((*AGE, "--confound", "iq", "--remove", "all"), "'all' is no such thing; known are 'both', 'features', 'target'"),
    ((*AGE, "--harmonise", "combat"), "a site column must be named to harmonise by combat; none is"),
    ((*AGE, "--harmonise", "neuro", "--site", "site"), "'neuro' is not; known are 'combat', 'none'"),
    ((*AGE, "--preserve", "iq", "--confound", "iq"), "there is none; add --harmonise combat"),
    ((*AGE, "--scheme", "site"), "none is named; add --site COLUMN"),
    ((*AGE, "--scheme", "blocks"), "'blocks' is not; known are"),
    ((*AGE, "--by-site"), "none is named; add --site COLUMN"),
    ((*AGE, "--backend", "spark"), "'spark' is not; known are 'dask', 'local'"),
    ((*AGE, "--scheduler", "tcp://127.0.0.1:1"), "a scheduler must be for --backend dask"),
]  # fmt: skip


@pytest.mark.parametrize(
    "table, words, sentence", [*WHO, *(("people.csv", words, sentence) for words, sentence in WHAT)]
)
def test_a_wrong_call_is_one_sentence(featx, bad, tmp_path, table, words, sentence):
    said = featx("fit", "f.h5", table, *words, *QUICK, "-o", tmp_path / "run", code=2)
    assert said.startswith("featx: ")
    assert len(said.strip().splitlines()) == 1
    assert sentence in said
    assert not (tmp_path / "run").exists()


def test_calibration_needs_three_inner_folds(featx, tmp_path):
    words = ("fit", "f.h5", "people.csv", "--target", "sex", "--calibrate", "platt", "--inner-folds", 2)
    assert "must be at least 3 for a calibration" in featx(*words, "-o", tmp_path / "run", code=2)


def test_files_in_the_wrong_place(featx, bad, tmp_path):
    words = (*AGE, *QUICK, "-o", tmp_path / "run")
    assert "features must come first and a phenotype table last" in featx("fit", "people.csv", *words, code=2)
    assert "must be whole HDF5; people.csv is not" in featx("fit", "people.csv", "volumes.csv", *words, code=2)
    assert "nosuch.h5 does not; make it with `featx extract`" in featx(
        "fit", "nosuch.h5", "people.csv", *words, code=2
    )
    assert "is a file; choose another name" in featx("fit", "f.h5", "people.csv", *words[:-1], "volumes.csv", code=2)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be a CUDA device")
def test_boosting_on_a_device_that_is_not_there(featx, tmp_path):
    words = ("fit", "f.h5", "people.csv", *AGE, "--head", "boosting", "--device", "cuda", *QUICK)
    said = featx(*words, "-o", tmp_path / "run", code=2)
    assert "it would use 'cpu'; leave the device out" in said


# --- exit code 3 ----------------------------------------------------------------------------------------------


def codes(run):
    table = pd.read_csv(run / "exclusions.csv", keep_default_na=False)
    own = table[(table["target"] != "") & (table["participant_id"] == "")]
    return dict(zip(own["target"], own["code"], strict=True))


@pytest.fixture
def fit(featx, bad, tmp_path):
    """Run featx fit on the odd table, which is to end with exit code 3, and give the codes by target."""

    def call(*words, table="odd.csv"):
        call.said = featx("fit", "f.h5", table, *words, *QUICK, "-o", tmp_path / "run", code=3)
        return codes(tmp_path / "run")

    return call


def test_one_bad_phenotype_costs_only_itself(fit, tmp_path):
    bad = {
        "empty": "all-missing",
        "same": "constant-target",
        "infinite": "non-finite-target",
        "text": "not-a-number",
        "rare": "too-few-people",
        "family": "too-many-classes",
        "nope": "unknown-target",
    }
    words = [word for name in (*bad, "age") for word in ("--target", name)]
    assert fit(*words) == bad
    assert set(pd.read_csv(tmp_path / "run/scores.csv")["target"]) == {"age"}
    assert "'infinite' is 'inf', at participant 'sub-03'" in fit.said
    assert "'text' holds 'old', at participant 'sub-03'" in fit.said


@pytest.mark.parametrize(
    "words, target, code, sentence",
    [
        (("--split-column", "quarter"), "quarterly", "too-few-people", "whose people are all test in one fold"),
        (("--group", "clan"), "age", "too-few-people", "at least 6 people (or groups) for 3 folds"),
        (("--group", "clan", "--split-column", "quarter"), "age", "divided-group", "a group must be in one fold"),
        (
            ("--confound", "height", "--site", "site", "--harmonise", "combat"),
            "age", "collinear-confound", "'height' follows linearly from the site",
        ),
        (("--confound", "same"), "age", "constant-confound", "'same' is the same for all 60 analysed images"),
        (("--confound", "age"), "age", "wrong-confound", "'age' is both"),
        (("--site", "lone", "--harmonise", "combat"), "age", "site-too-small", "'Z' has one, for 'age'"),
        (("--site", "same", "--scheme", "site"), "age", "too-few-sites", "are all of '1'"),
        (("--kind", "sex=ordinal"), "sex", "wrong-kind", "an ordinal target must have three levels or more"),
        (("--head", "logistic"), "age", "wrong-kind", "'age' is continuous, and was given 'logistic'"),
        (("--table", "v=ages.csv"), "age", "target-in-features", "'age' is a column of the table 'v'"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_analysed_says_why(fit, words, target, code, sentence):
    assert fit("--target", target, *words) == {target: code}
    assert f"{target}: {code}: " in fit.said
    assert sentence in fit.said


def test_two_people(fit):
    assert fit("--target", "age", "--target", "same", table="two.csv").keys() == {"age", "same"}
    assert "58  no-phenotype" in fit.said
    assert "next:" not in fit.said


def test_splits_that_do_not_know_the_target_or_the_people(fit, bad):
    known = pd.read_csv(bad / "people.csv").assign(target="iq", fold=lambda people: people.index % 3)
    known[["target", "participant_id", "fold"]].to_csv(bad / "of-iq.csv", index=False)
    assert fit("--target", "age", "--target", "iq", "--splits", "of-iq.csv") == {"age": "not-in-splits"}
    assert "they tell of 'iq'" in fit.said
    assert fit("--target", "age", "--splits", "splits.csv").keys() == {"age"}


def test_phenotypes_that_few_people_have_are_told_with_who_lacks_them(featx, bad, tmp_path):
    people = pd.read_csv(bad / "people.csv", dtype=str)
    people.loc[people.index % 10 == 0, "iq"] = "n/a"
    people.to_csv(tmp_path / "gaps.csv", index=False)
    featx("fit", "f.h5", tmp_path / "gaps.csv", "--target", "iq", *QUICK, "-o", tmp_path / "run")
    gone = pd.read_csv(tmp_path / "run/exclusions.csv")
    assert set(gone["code"]) == {"missing-value"}
    assert sorted(gone["participant_id"]) == ["sub-00", "sub-10", "sub-20", "sub-30", "sub-40", "sub-50"]
