"""What a study says, and every fault with its line."""

import pytest

from featx.errors import StudyError
from featx.study.keys import KEYS, KINDS, TABLES
from featx.study.lines import line_of, lines_of
from featx.study.reading import Calls, read_study
from tests.study.conftest import SMALL

FULL = """\
title = "A study"
output = "results"

[cohort]
images = ["a/", "b/*.nii.gz"]
phenotypes = "people.csv"
where = "age > 40"

[phenotypes]
targets = ["age", "sex"]
kinds = {age = "continuous"}

[[networks]]
name = "squeezenet1_0.imagenet"
weights.squeezenet1_0.imagenet = "w.pth"
size = 128

[[networks]]
name = ["sfcn.ukb_age", "sfcn.ukb_age@random:0"]

[[arms]]
network = "sfcn_4mm.synthetic"
seeds = [7, 8]
set = {numbers = "regression", all = {weight_decay = 0.5}, "augmentation.mirror" = true}

[heads]
use = ["ridge"]
grid = {"sklearn:svm.SVR" = {C = [0.1, 1]}}

[curve]
n = [20, 0.5]
"""


def test_a_study_as_it_is_read(read):
    study = read(FULL)
    assert str(study.output) == "results"
    assert study.tables["cohort"]["images"] == ["a/", "b/*.nii.gz"]
    assert study.tables["site"] == {}
    assert [one["name"] for one in study.networks] == [
        ["squeezenet1_0.imagenet"],
        ["sfcn.ukb_age", "sfcn.ukb_age@random:0"],
    ]
    assert study.networks[0]["weights"] == {"squeezenet1_0.imagenet": "w.pth"}  # TOML divides a name at its dots
    assert study.networks[0]["size"] == "128"
    assert study.arms[0]["seeds"] == "7,8"
    assert study.arms[0]["set"] == {
        "numbers": "regression",
        "all.weight_decay": "0.5",
        "augmentation.mirror": "true",
    }
    assert study.tables["curve"]["n"] == "20,0.5"
    assert study.tables["heads"]["grid"] == {"sklearn:svm.SVR": {"C": [0.1, 1]}}


def test_without_an_output_it_is_named_as_its_file(read):
    assert str(read(SMALL).output) == "study"


@pytest.mark.parametrize(
    "old, new, line, sentence",
    [
        ("where =", "were =", 7, "a key of [cohort] must be known; 'were' is not; did you mean 'where'? known are"),
        (
            "[curve]",
            "[curves]",
            30,
            "a table or first key of a study must be known; 'curves' is not; did you mean 'cur",
        ),
        ("title =", "titel =", 1, "'titel' is not; did you mean 'title'? known are"),
        ("title =", "xxxxx =", 1, "'xxxxx' is not; known are"),
        ('"A study"', "7", 1, "'title' of a study must be a text; got 7; write, say, title ="),
        ('"age > 40"', '""', 7, "'where' of [cohort] must be a text; got ''"),
        (
            '["a/", "b/*.nii.gz"]',
            "[]",
            5,
            "'images' of [cohort] must be a folder, a glob, a table of images, or a list",
        ),
        ('["age", "sex"]', "[1]", 10, "'targets' of [phenotypes] must be a list of texts; got [1]"),
        ('{age = "continuous"}', '"continuous"', 11, "'kinds' of [phenotypes] must be a table such as"),
        ("size = 128", "size = []", 16, "'size' of [networks] must be a number, a list of them, or a word; got []"),
        ("size = 128", "slices = true", 16, "'slices' of [networks] must be a whole number; got True"),
        ("size = 128", "slices = 1.5", 16, "'slices' of [networks] must be a whole number; got 1.5"),
        ("size = 128", 'resample = "yes"', 16, "'resample' of [networks] must be true or false; got 'yes'"),
        ("seeds = [7, 8]", 'dropout = "0.5"', 23, "'dropout' of [arms] must be a number; got '0.5'"),
        ("C = [0.1, 1]", "C = 1", 28, "'grid' of [heads] must be a table such as {HEAD = {PARAMETER = [VALUES]}}"),
        ('name = "squeezenet1_0.imagenet"', "tap = 'all'", 13, "[networks] must have 'name'"),
        ('phenotypes = "people.csv"', "", 4, "[cohort] must have 'phenotypes' (the table of people"),
        ("all = {weight_decay = 0.5}", "all = [1]", 24, "'set' of [arms] must be a table such as {NAME = VALUE}"),
    ],
)
def test_a_fault_is_told_with_its_line(write, old, new, line, sentence):
    assert old in FULL
    path = write(FULL.replace(old, new))
    with pytest.raises(StudyError) as refused:
        read_study(path)
    assert str(refused.value).startswith(f"{path}, line {line}: ")
    assert sentence in str(refused.value)


def test_all_faults_are_told_at_once_in_the_order_of_their_lines(write):
    path = write('titel = "x"\n[cohort]\nimages = 3\n[[curve]]\nn = 3\n[networks]\nnam = "a"\n')
    with pytest.raises(StudyError, match="has 7 faults") as refused:
        read_study(path)
    told = str(refused.value).splitlines()[1:]
    assert [line.split(":")[0] for line in told] == [f"  line {n}" for n in (1, 1, 2, 3, 4, 6, 7)]
    assert "'curve' must be a table; it is none; write [curve] above its keys" in told[4]


def test_a_table_that_may_be_repeated_may_stand_once(read):
    assert len(read(SMALL + '[networks]\nname = "sfcn.ukb_age"\n').networks) == 1


@pytest.mark.parametrize("value", ["3", "[3]"])
def test_a_block_must_be_one(write, value):
    with pytest.raises(StudyError, match=r"line 1: 'networks' must be a table; it is none; write \[\[networks\]\]"):
        read_study(write(f"networks = {value}\n{SMALL}"))


def test_a_file_that_is_none_or_no_toml(write, tmp_path):
    with pytest.raises(StudyError, match="no.toml is not .No such file or directory.; write one with `featx init`"):
        read_study(tmp_path / "no.toml")
    with pytest.raises(StudyError, match=r"must be written in TOML; .*line 2"):
        read_study(write("[cohort]\nimages = \n"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(StudyError, match="must be written in TOML"):
        read_study(tmp_path / "bytes.toml")


# --- calls ----------------------------------------------------------------------------------------------------


def test_calls_are_read_with_the_folder_they_were_typed_in(write, tmp_path):
    found = read_study(write("folder = '..'\nfeatx = '0'\ncalls = [\"featx fit f.h5 'my people.csv' -t age\"]\n"))
    assert isinstance(found, Calls)
    assert found.folder == tmp_path / ".."
    assert found.calls == (("fit", "f.h5", "my people.csv", "-t", "age"),)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("calls = []", "line 1: 'calls' must be a list of texts; got \\[\\]"),
        (
            "calls = ['rm -r /']",
            "line 1: a call must be one of featx, as it is typed, but of featx run; got 'rm -r /'",
        ),
        ("calls = ['featx run a.toml']", "a call must be one of featx, as it is typed, but of featx run; got"),
        ("calls = ['featx']", "a call must be one of featx, as it is typed, but of featx run; got 'featx'"),
        ("calls = ['featx --help']", "got 'featx --help'"),
        ("calls = [3]", "got 3"),
        ('calls = ["featx fit \'a"]', "a call must be one of featx"),
        ("folder = 3\ncalls = ['featx heads']", "line 1: 'folder' must be a text; got 3"),
        ("\nx = 3\ncalls = ['featx heads']", "line 2: a key of a file of calls must be known; 'x' is not"),
    ],
)
def test_calls_that_are_none(write, text, sentence):
    with pytest.raises(StudyError, match=sentence):
        read_study(write(text))


# --- lines and keys -------------------------------------------------------------------------------------------


def test_lines_know_texts_of_several_lines_and_dotted_keys():
    text = 'title = """\nwhere = 1\n[cohort]\n"""\ncohort.images = "a"\n[a.b]\n"c d".e = [\n  "x = 1",\n]\nf = 2\n'
    assert lines_of(text) == {"title": 1, "cohort.images": 5, "a.b": 6, "a.b.c d.e": 7, "a.b.f": 10}
    assert line_of({}, "a.b") == 1


def test_every_key_is_of_a_table_and_a_kind_and_stands_there_once():
    assert {key.table for key in KEYS} == set(TABLES)
    assert {key.kind for key in KEYS} <= set(KINDS)
    assert len({(key.table, key.name) for key in KEYS}) == len(KEYS)
