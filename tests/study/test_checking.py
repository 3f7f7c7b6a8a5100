"""Whether the words of a study mean something, told before anything runs."""

import pytest

from featx.errors import StudyError
from featx.study.checking import faults_of
from featx.study.reading import check_faults
from tests.conftest import make_set, write_features

GOOD = """\
[cohort]
images = "images.csv"
phenotypes = "people.csv"
also = ["more.csv"]
site = "lab"
age = "age"
[phenotypes]
targets = ["age", "sex"]
kinds = {age = "continuous"}
correct_age = ["age"]
[[networks]]
name = ["squeezenet1_0.imagenet", "squeezenet1_0.imagenet@random:0"]
axis = "axial"
[features]
tables = {volumes = "volumes.csv"}
[heads]
use = ["ridge", "logistic"]
[confounds]
use = ["brain:spline"]
[folds]
split_column = "lab"
[[arms]]
network = "sfcn_4mm.synthetic"
arm = ["full", "scratch"]
recipe = "fine-tune"
targets = "age"
[site]
check = true
"""


@pytest.fixture
def faults(read, tmp_path, monkeypatch):
    """A function that gives the faults of a study beside its files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images.csv").write_text("image_id,path\n")
    (tmp_path / "people.csv").write_text("participant_id,age,sex\na,1,F\nb,2,M\n")
    (tmp_path / "more.csv").write_text("participant_id,lab,brain\na,x,3\nb,y,4\n")
    (tmp_path / "volumes.csv").write_text("participant_id,left\na,3\nb,4\n")
    return lambda text: faults_of(read(text))


def test_a_study_without_faults(faults):
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    "old, new, line, sentence",
    [
        (
            '"people.csv"',
            '"persons.csv"',
            3,
            "a file must be there; persons.csv is not; mend 'phenotypes' of [cohort]",
        ),
        ('"images.csv"', '"brains/*.nii"', 2, "images must be there; brains/*.nii is not; mend 'images' of [cohort]"),
        (
            'site = "lab"',
            'site = "labor"',
            5,
            "a column must be in the table of people; 'labor' is not; did you mean",
        ),
        ('"age", "sex"', '"age", "sexe"', 8, "'sexe' is not; did you mean 'sex'? known are 'age', 'brain'"),
        ('"age", "sex"', '"age", "sex", "b_*"', 8, "'b_*' is not; known are"),
        ('"age", "sex"', '"a*", "s*"', 8, "targets must have one wildcard at most; got 'a*', 's*'"),
        ("{age =", "{brain =", 9, "'kinds' must be of targets; 'brain' is none; known are 'age', 'sex'"),
        ('correct_age = ["age"]', 'correct_age = ["lab"]', 10, "'correct_age' must be of targets; 'lab' is none"),
        ('"squeezenet1_0.imagenet",', '"squeezenet.imagenet",', 12, "'squeezenet.imagenet' is not; known are"),
        ('axis = "axial"', 'axis = "oblique"', 11, "'oblique' is of none of"),
        ('axis = "axial"', 'weights = {"squeezenet1_0.imagenet" = "no.pth"}', 13, "weights must be there; no.pth"),
        (
            'axis = "axial"',
            'recipe = "no.toml"',
            13,
            "a file must be there; no.toml is not; mend 'recipe' of [networks",
        ),
        ('"volumes.csv"', '"v.csv"', 15, "a file must be there; v.csv is not; mend 'tables' of [features]"),
        ('"logistic"', '"forest"', 17, "a head must be in the table of heads; 'forest' is not; known are"),
        ('use = ["ridge", "logistic"]', 'grid = {"sklearn:svm.SVX" = {C = [1]}}', 17, "names no class of it"),
        ("brain:spline", "brain:cubic", 19, "'brain:cubic' is not"),
        (
            'split_column = "lab"',
            'splits = "s.csv"',
            21,
            "a file must be there; s.csv is not; mend 'splits' of [folds]",
        ),
        ('split_column = "lab"', 'split_column = "fold"', 21, "'fold' is not; known are"),
        ('"sfcn_4mm.synthetic"', '"sfcn_4mm.synth"', 23, "'sfcn_4mm.synth' is not; known are"),
        ('"full"', '"whole"', 24, "an arm must be known; 'whole' is not; known are"),
        ('"fine-tune"', '"fine"', 25, "a training recipe must be known; 'fine' is not; known are"),
        ('targets = "age"', 'targets = "iq"', 26, "targets of arms must be the study's; 'iq' is none; known are"),
        (
            'targets = "age"',
            'weights = "w.pth"',
            26,
            "weights must be there; w.pth is not; mend 'weights' of [[arms]]",
        ),
        ('site = "lab"\n', "", 27, "a check of sites must know their column; [cohort] names none"),
        ('images = "images.csv"\n', "", 1, "networks must have images; [cohort] names none"),
        ("[site]\ncheck = true", "[relevance]\nheads = true", 0, ""),
    ],
)
def test_a_word_that_means_nothing_is_told_with_its_line(faults, old, new, line, sentence):
    assert old in GOOD
    found = faults(GOOD.replace(old, new, 1))
    assert [at for at, _ in found] == ([line] if line else [])
    assert all(sentence in said for _, said in found)


def test_what_a_study_must_have_to_be_one(faults):
    bare = '[cohort]\nphenotypes = "people.csv"\n[phenotypes]\ntargets = "a*"\n'
    assert faults(bare) == [
        (1, "a study must have [[networks]], [[arms]] or [features]; it has none; `featx init` writes one")
    ]
    ((line, said),) = faults(f'{bare}[folds]\nscheme = "site"\n[features]\ntables = {{v = "volumes.csv"}}\n')
    assert (line, said.partition(";")[0]) == (6, "sites that are left out must be known")
    found = faults(f'{bare}[features]\ntables = {{v = "volumes.csv"}}\n[relevance]\nheads = true\n')
    assert [said.partition(";")[0] for _, said in found] == [
        "heads must be named where targets are a wildcard",
        "maps of relevance must be of networks",
    ]


def test_a_table_that_cannot_be_read_is_told_in_its_own_words(faults, tmp_path):
    (tmp_path / "people.csv").write_text("participant_id,age\na,1,2\n")
    ((line, said),) = faults(GOOD)
    assert line == 3
    assert "as many fields as its header" in said


def test_all_faults_are_told_at_once(faults, read, tmp_path):
    text = GOOD.replace('"age", "sex"', '"sexe"').replace('"logistic"', '"forest"').replace('"full"', '"whole"')
    found = faults(text)
    with pytest.raises(
        StudyError, match=r"has 5 faults:\n  line 8: .*\n  line 9: .*\n  line 10: .*\n  line 17: .*\n"
    ):
        check_faults(tmp_path / "study.toml", [one for one in found if one[0] != 26])


def test_features_of_an_earlier_form_of_the_study_are_not_analysed_in_silence(faults, tmp_path):
    ids = ["a", "b"]
    planned = [f"squeezenet1_0.imagenet{tag}/axial/fire{n}/mean" for tag in ("", "@random-0") for n in range(2, 10)]
    path = tmp_path / "study/features.h5"
    path.parent.mkdir()
    write_features(path, *(make_set(name, ids) for name in planned))
    assert faults(GOOD) == []
    write_features(path, make_set("squeezenet1_0.imagenet/coronal/fire2/mean", ids))
    ((line, said),) = faults(GOOD)
    assert line == 11
    assert (
        "it also holds 'squeezenet1_0.imagenet/coronal/fire2/mean', of an earlier study; name what is to be" in said
    )
    chosen = GOOD.replace('tables = {volumes = "volumes.csv"}', 'use = "squeezenet1_0.imagenet/axial/fire2/mean"')
    assert faults(chosen) == []
    path.write_bytes(b"no HDF5")
    ((line, said),) = faults(GOOD)
    assert "must be whole HDF5" in said


def test_networks_that_a_user_added_have_their_full_names(read, tmp_path, monkeypatch, faults):
    text = GOOD.replace('"squeezenet1_0.imagenet", ', '"mine", ')
    assert len(faults(text)) == 1
    resolve = lambda words: [word.replace("mine", "sfcn.ukb_age") for word in words]  # noqa: E731
    assert faults_of(read(text), resolve) == []
