"""From what a study wants to the calls that do it."""

import shlex

import pytest

from featx.study.keys import KEYS, ON
from featx.study.reading import read_study
from featx.study.steps import CONTENT, IMAGES, STAT, options_of, steps_of
from tests.study.conftest import SMALL

WHOLE = """\
protocol = "p"
output = "out"
[cohort]
images = "brains"
phenotypes = "people.tsv"
also = "more.csv"
site = "site"
where = "age > 40"
suffix = "T1w"
[phenotypes]
targets = ["age", "bone_*"]
kinds = {age = "continuous"}
correct_age = "age"
[[networks]]
name = ["a.b", "a.b@random:0"]
weights = {"a.b" = "w.pth"}
accept = "not-registered"
[[networks]]
name = "c.d"
slices = 4
accept = "not-registered"
[[networks]]
name = "e.f"
recipe = "own.toml"
[features]
tables = {volumes = "v.tsv"}
files = "far.h5"
use = "all"
[heads]
use = "ridge"
[folds]
n = 3
scheme = "site"
seed = 4
inner = 2
[statistics]
bootstrap = 0
permutations = 10
[[arms]]
network = "a.b"
arm = ["full", "scratch"]
keep = false
[[arms]]
network = "file:nets/c.safetensors"
targets = "age"
weights = "official"
[curve]
n = [10, 20]
with_replacement = true
[site]
check = true
[relevance]
heads = ["age--ridge--a.b"]
people = 3
[report]
privacy = true
"""


def calls(study):
    return {step.name: shlex.join(step.words) for step in steps_of(study)}


def test_a_whole_study_as_calls(read):
    people = "--also more.csv --where 'age > 40' --site site"
    features = "out/features.h5 far.h5 people.tsv"
    of_features = "--table volumes=v.tsv --features all"
    targets = "--target age --targets 'bone_*'"
    trained = "--splits out/run/splits.csv"
    assert calls(read(WHOLE)) == {
        "index": "index brains --suffix T1w -o out/images.csv",
        "check": "check out/images.csv --network a.b --network c.d --accept not-registered -o out/check.csv",
        "check-2": "check out/images.csv --network e.f --recipe own.toml -o out/check-2.csv",
        "extract": "extract out/images.csv --network a.b --network a.b@random:0 --weights a.b=w.pth "
        "--accept not-registered -o out/features.h5",
        "extract-2": "extract out/images.csv --network c.d --slices 4 --accept not-registered -o out/features.h5",
        "extract-3": "extract out/images.csv --network e.f --recipe own.toml -o out/features.h5",
        "site": f"fit {features} --target site --head logistic {of_features} --also more.csv --where 'age > 40' "
        "--folds 3 --inner-folds 2 --seed 4 --bootstrap 0 --permutations 10 -o out/site",
        "fit": f"fit {features} {targets} --kind age=continuous --correct-age age {of_features} --head ridge "
        f"{people} --scheme site --folds 3 --inner-folds 2 --seed 4 --bootstrap 0 --permutations 10 -o out/run",
        "train-a.b-full-scratch": "train out/images.csv people.tsv --network a.b --arm full --arm scratch --no-keep "
        f"{targets} --kind age=continuous {people} --bootstrap 0 --inner-folds 2 --seed 4 {trained} "
        "-o out/train-a.b-full-scratch",
        "train-c.safetensors": "train out/images.csv people.tsv --network file:nets/c.safetensors --weights official "
        f"--target age --kind age=continuous {people} --bootstrap 0 --inner-folds 2 --seed 4 {trained} "
        "-o out/train-c.safetensors",
        "curve": f"curve {features} {targets} --kind age=continuous {of_features} --head ridge {people} "
        "--scheme site --inner-folds 2 --seed 4 --n 10,20 --with-replacement -o out/curve",
        "relevance-age--ridge--a.b": "relevance out/run/heads/age--ridge--a.b.npz out/images.csv --people 3 "
        "--accept not-registered --weights a.b=w.pth --accept not-registered --recipe own.toml "
        "--table volumes=v.tsv -o out/run/relevance/age--ridge--a.b",
        "compare": "compare out/run out/train-a.b-full-scratch out/train-c.safetensors out/curve "
        "--bootstrap 0 --privacy -o out/compare",
        "report": "report out/run --features out/features.h5 --features far.h5 --curve out/curve --protocol p "
        "--privacy",
        "report-a.b-full-scratch": "report out/train-a.b-full-scratch --protocol p --privacy",
        "report-c.safetensors": "report out/train-c.safetensors --protocol p --privacy",
        "report-site": "report out/site --privacy",
    }


def test_what_a_step_is_made_of(read):
    steps = {step.name: step for step in steps_of(read(WHOLE))}

    def files(name):
        return {(str(one.path), one.how) for one in steps[name].inputs}

    assert steps["index"].is_quick
    assert files("extract") == {("out/images.csv", IMAGES), ("w.pth", STAT)}
    assert files("extract-3") == {("out/images.csv", IMAGES), ("own.toml", CONTENT)}
    people = {("people.tsv", CONTENT), ("people.json", CONTENT), ("more.csv", CONTENT)}
    assert files("fit") == people | {("v.tsv", CONTENT), ("far.h5", STAT)}
    assert steps["fit"].after == ("extract", "extract-2", "extract-3")
    folds = {("out/run/splits.csv", CONTENT)}  # by their bytes: other heads on the same folds train nothing anew
    assert files("train-a.b-full-scratch") == people | folds | {("out/images.csv", IMAGES)}
    assert files("train-c.safetensors") >= {("nets/c.safetensors", STAT)}
    assert steps["train-a.b-full-scratch"].after == ()
    assert steps["compare"].after == ("fit", "train-a.b-full-scratch", "train-c.safetensors", "curve")
    assert set(steps["report"].after) == {
        *("fit", "extract", "extract-2", "extract-3", "curve", "relevance-age--ridge--a.b"),
    }
    assert [str(path) for path in steps["report-site"].outputs] == ["out/site/report.html"]


def test_a_table_alone(read):
    assert calls(read(SMALL)) == {
        "fit": "fit people.csv --target age --table volumes=volumes.csv -o study/run",
        "report": "report study/run",
    }


def test_a_table_of_images_is_taken_as_it_is_and_arms_without_heads_make_folds_of_their_own(read):
    study = read(
        '[cohort]\nimages = "i.csv"\nphenotypes = "p.csv"\nsite = "lab"\n[phenotypes]\ntargets = "age"\n'
        '[folds]\nn = 4\nsplits = "s.csv"\n[[arms]]\nnetwork = "a"\n[[arms]]\nnetwork = "a"\n'
    )
    train = "train i.csv p.csv --network a --target age --site lab --folds 4 --splits s.csv"
    assert calls(study) == {
        "train-a": f"{train} -o study/train-a",
        "train-a-2": f"{train} -o study/train-a-2",
        "compare": "compare study/train-a study/train-a-2 -o study/compare",
        "report-a": "report study/train-a",
        "report-a-2": "report study/train-a-2",
    }
    assert ("s.csv", CONTENT) in {(str(one.path), one.how) for one in steps_of(study)[0].inputs}


def test_several_sources_are_indexed_together(read):
    text = SMALL.replace('phenotypes = "people.csv"', 'phenotypes = "p.csv"\nimages = ["a", "b.csv"]')
    assert calls(read(text))["index"] == "index a b.csv -o study/images.csv"


def test_the_best_heads_are_named_later(read):
    text = SMALL.replace('phenotypes = "people.csv"', 'phenotypes = "p.csv"\nimages = "i.csv"')
    steps = {
        step.name: step for step in steps_of(read(text + '[relevance]\nheads = true\n[[networks]]\nname = "n"\n'))
    }
    assert steps["relevance-age"].words[1] == "study/run/heads/{best:age}.npz"
    assert steps["relevance-age"].words[-1] == "study/run/relevance/age"


def test_an_output_beside_the_study(read):
    assert calls(read(f'output = "."\n{SMALL}'))["report"] == "report run"


@pytest.mark.parametrize("key", [key for key in KEYS if key.verbs], ids=lambda key: f"{key.table}.{key.name}")
def test_every_example_becomes_words(key, write):
    """The example of each key, as it stands in a study, becomes words of each verb that takes it."""
    needed = {
        "networks": 'name = "n"\n', "arms": 'network = "n"\n', "curve": "n = 5\n", "relevance": "heads = true\n",
        "cohort": 'phenotypes = "p"\n', "phenotypes": 'targets = "age"\n',
    }  # fmt: skip
    own = f"{key.name} = {key.example}\n"
    rest = "" if key.is_needed else needed.get(key.table, "")
    table = f"[{key.table}]\n" if key.table else ""
    others = "".join(f"[{one}]\n{needed[one]}" for one in ("cohort", "phenotypes") if one != key.table)
    study = read_study(write(f"{own}{others}" if not key.table else f"{table}{own}{rest}{others}"))
    blocks = {"networks": study.networks, "arms": study.arms}
    values = blocks[key.table][0] if key.table in blocks else study.tables[key.table]
    for verb in key.verbs:
        words = options_of(key.table, values, verb)
        is_said = values[key.name] is not (key.kind == ON)  # what is so without being said is not said
        assert (key.flag in words or f"--no-{key.name}" in words) == (is_said or key.kind not in ("flag", "on"))
