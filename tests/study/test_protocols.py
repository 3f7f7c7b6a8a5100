"""The studies of published works: what they say, that their words are featx's, and that each runs, at toy size."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer.main

from featx.errors import AnalysisError
from featx.images.volume import MNI152_2MM, grid_affine, write_volume
from featx.networks.checkpoint import write_checkpoint
from featx.networks.sheet import Tap
from featx.networks.weights import build
from featx.report.said.published import PROTOCOLS, PUBLISHED, published
from featx.study.checking import faults_of
from featx.study.reading import read_study
from featx.study.steps import steps_of
from featx.study.writing import commented, protocol, protocols, with_values
from featx_cli.main import app
from tests.cli.conftest import type_in as type_in
from tests.conftest import phantom
from tests.training.conftest import small_sheet

NAMES = sorted(PROTOCOLS)
N = 16

# --- published numbers ----------------------------------------------------------------------------------------

TABLES = """
holderrieth2022 | mae age | direct, head-only, two-stage/full, scratch, elastic net
OASIS 355 | 4.17 3.52 3.25 4.39 6.24
ABIDE 536 | - 4.43 1.70 1.79 3.59
IXI 215 | 13.2 5.35 5.65 6.24 9.90
holderrieth2022 | accuracy sex | direct, head-only, two-stage/full, scratch, elastic net
OASIS 355 | .902 .946 .926 .809 .670
ABIDE 536 | .599 .702 .757 .796 .689
IXI 215 | .591 .876 .903 .782 .731
holderrieth2022 | mae age | wrong-label
OASIS - | 6.91
holderrieth2022 | accuracy sex | wrong-label
OASIS - | .520
leonardsen2025 | auc AD | volumes, scratch, frozen, brain-age full, multi-task full
case-control 100 | .945 .735 .790 .860 .895
case-control 300 | .904 .872 .823 .910 .929
case-control 500 | .916 .915 .844 .939 .949
leonardsen2025 | mae age | sfcn_reg, sfcn_sm, sfcn_rank
known scanners - | 2.47 2.24 2.55
unknown scanners - | 3.91 5.05 5.93
leonardsen2025 | auc MS | age + sex, age + sex + brain-age delta, age + sex + 64 features
case-control - | .500 .720 .797
leonardsen2025 | auc AD | age + sex, age + sex + brain-age delta, age + sex + 64 features
case-control - | .516 .698 .838
leonardsen2025 | auc MCI | age + sex, age + sex + brain-age delta, age + sex + 64 features
case-control - | .547 .659 .733
leonardsen2025 | auc SCZ | age + sex, age + sex + brain-age delta, age + sex + 64 features
case-control - | .507 .589 .629
dhinagar2023 | change, % AD | ViT, pretrained;
 - | 7.4
dhinagar2023 | change, % PD | ViT, pretrained;CNN, pretrained
 - | 4.6 19.1
dhinagar2023 | change of mae age | CNN, pretrained;
 - | -1.26
"""


def facts():
    """The numbers as they stand in the works' tables, read with a plain loop."""
    found, header = set(), ()
    for line in TABLES.strip().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 3:
            metric, _, phenotype = cells[1].rpartition(" ")
            arms = [arm.strip() for arm in cells[2].split(";" if ";" in cells[2] else ",") if arm.strip()]
            header = (cells[0], metric, phenotype, arms)
            continue
        name, metric, phenotype, arms = header
        dataset, _, n = cells[0].rpartition(" ")
        for arm, value in zip(arms, cells[1].split(), strict=True):
            if value != "-":
                found.add((name, phenotype, dataset, None if n == "-" else int(n), arm, metric, float(value)))
    return found


def test_published_numbers_are_those_that_were_verified_and_no_others():
    told = {(one.protocol, one.phenotype, one.dataset, one.n, one.arm, one.metric, one.value) for one in PUBLISHED}
    assert told == facts()
    assert len(PUBLISHED) == len(told) == 68
    assert {one.mark for one in PUBLISHED} == {"S"}
    assert published("malik2022") == published("gupta2023") == ()
    assert all("no number could be verified" in PROTOCOLS[name] for name in ("malik2022", "gupta2023"))


def test_an_unknown_protocol_is_answered_with_the_known_ones():
    with pytest.raises(AnalysisError, match=r"a protocol must be known; 'malik' is not; known are 'dhinagar2023'"):
        published("malik")


# --- what the studies say -------------------------------------------------------------------------------------


def study(name):
    return tomllib.loads(protocol(name))


def arms_of(name):
    return [(block["network"], arm) for block in study(name)["arms"] for arm in block["arm"]]


def test_each_work_has_a_study_that_names_it():
    assert sorted(protocols()) == NAMES
    assert all(study(name)["protocol"] == name for name in NAMES)


def test_malik_has_the_six_phenotypes_by_their_names_in_uk_biobank():
    told = study("malik2022")
    assert told["phenotypes"]["targets"] == [
        "age", "sex", "household_size", "household_income", "fluid_intelligence", "smoking",
    ]  # fmt: skip
    networks = ("resnet18.imagenet", "r3d_18.kinetics400")
    assert arms_of("malik2022") == [(name, arm) for name in networks for arm in ("full", "scratch")]
    assert told["curve"]["n"] == sorted(told["curve"]["n"])


def test_holderrieth_has_every_arm_for_both_labels_and_tells_the_frozen_body_from_the_adapted_one():
    told = study("holderrieth2022")
    for target, network, other in (("age", "sfcn.ukb_age", "sfcn.ukb_sex"), ("sex", "sfcn.ukb_sex", "sfcn.ukb_age")):
        own = [block for block in told["arms"] if block["targets"] == [target]]
        assert [block["batch_norm"] for block in own if block["arm"] == ["head-only"]] == ["adapt", "eval"]
        assert [block["network"] for block in own] == [network] * 3 + [other]
        assert own[2]["arm"] == ["two-stage", "full", "scratch", "reinit"]
        assert own[3]["arm"] == ["wrong-label"]
        assert {block["seeds"] for block in own} == {5}
    assert {"direct", "pc-elastic-net", "pc-elastic-net-logistic"} <= set(told["heads"]["use"])


def test_leonardsens_shares_are_five_to_one_to_one_and_there_are_fifty_draws():
    told = study("leonardsen2025")
    n, inner = told["folds"]["n"], told["folds"]["inner"]
    assert ((n - 1) * (inner - 1) / inner, (n - 1) / inner) == (5, 1)  # train and validation, in parts of the test's
    assert n * told["folds"]["repeats"] >= 50
    assert told["curve"] == {
        "n": [100, 200, 300, 400, 500], "draws": 50, "with_replacement": True, "test_share": 0.1667,
    }  # fmt: skip
    assert told["confounds"]["use"] == ["age", "sex"]
    assert {arm for _, arm in arms_of("leonardsen2025")} == {"head-only", "full", "scratch"}


def test_gupta_has_all_axes_aggregations_positions_and_ways_of_missing():
    told = study("gupta2023")
    every = {f"{instead}:{k}" for instead in ("drop", "fill", "zeros", "noise") for k in (2, 4, 5, 10)}
    assert set(told["networks"][1]["missing"]) == {"none", *every}
    sets = [block for block in told["arms"] if block["network"].startswith("sliceset.")]
    sagittal = {block["network"]: block["missing"] for block in sets if block["axis"] == "sagittal"}
    assert set(sagittal) == {
        f"sliceset.encoder1_{how}{positions}" for how in ("mean", "max", "attention") for positions in ("", "_pos")
    }
    assert all(every <= set(missing) for missing in sagittal.values())
    assert set(sagittal["sliceset.encoder1_attention_pos"]) == every | {f"{word}:random" for word in every}
    assert {block["axis"] for block in sets} == {"sagittal", "coronal", "axial"}
    assert told["curve"]["n"] == [1000, 2500, 5000]
    assert ("resnet18.imagenet", "full") in arms_of("gupta2023")
    assert ("resnet18.imagenet", "scratch") in arms_of("gupta2023")


def test_dhinagar_has_four_starts_against_scratch_on_an_untouched_cohort():
    told = study("dhinagar2023")
    starts = (
        "vit_b_16_3d.imagenet", "mvit_v2_s.kinetics400", "resnet18_3d.imagenet", "r3d_18.kinetics400",
        "sfcn_4mm.synthetic", "sfcn.ukb_age",
    )  # fmt: skip
    assert arms_of("dhinagar2023") == [(name, arm) for name in starts for arm in ("full", "scratch")]
    assert told["folds"] == {"test_where": "site == 'OASIS'", "inner": 8}
    assert told["site"] == {"check": True}
    assert '# scheme = "site"' in protocol("dhinagar2023")


# --- that their words are featx's -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Brains that are the brighter the older, images.csv, people.csv, and two tiny networks with labels."""
    folder = tmp_path_factory.mktemp("protocols")
    rng = np.random.default_rng(0)
    at = np.arange(N)
    age = np.linspace(40, 79, N).round(1)
    rng.shuffle(age)
    ids = [f"sub-{one:02d}" for one in at]
    for one, name in enumerate(ids):
        volume = (phantom(seed=one) * (0.6 + age[one] / 200)).astype(np.uint8)
        write_volume(folder / f"brains/{name}.nii", volume, grid_affine(MNI152_2MM))
    pd.DataFrame(
        {
            "participant_id": ids,
            "age": age,
            "sex": np.array(["F", "M"])[at % 2],
            "household_size": 1 + at % 4,
            "household_income": 1 + at % 3,
            "fluid_intelligence": rng.integers(2, 12, N),
            "smoking": np.array(["never", "previous", "current"])[at % 3],
            "AD": np.array(["patient", "control"])[at // 4 % 2],
            "site": np.where(at % 4 < 3, "ADNI", "OASIS"),
        }
    ).to_csv(folder / "people.csv", index=False)
    for label, ages, n_outputs in (("age", (42.0, 82.0), 40), ("sex", (), 2)):
        sheet = small_sheet(labels=(label,))
        taps = sheet.taps | {"prediction": Tap("decode", 1, positions=False)}
        arguments = {**sheet.arguments, "ages": ages, "n_outputs": n_outputs}
        sheet = replace(sheet, name=f"toy.{label}", arguments=arguments, taps=taps)
        write_checkpoint(folder / f"{label}.safetensors", build(sheet), sheet, note="drawn at random")
    return folder


def filled(name):
    """A protocol's text as `featx init` fills it in."""
    own = {"cohort": {"images": "brains", "phenotypes": "people.csv"}}
    return with_values(protocol(name), own)


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_a_study_is_one_that_its_verb_takes(name, cohort, monkeypatch):
    monkeypatch.chdir(cohort)
    path = Path(f"{name}.toml")
    path.write_text(filled(name), encoding="utf-8")
    found = read_study(path)
    assert faults_of(found) == []
    verbs = typer.main.get_command(app).commands
    steps = steps_of(found)
    for step in steps:
        verb, *words = step.words
        with verbs[verb].make_context(f"featx {verb}", words, resilient_parsing=False):
            pass
    assert {step.words[0] for step in steps} >= {"index", "check", "extract", "fit", "train", "compare", "report"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_theirs_is_not_said_to_be(name):
    text = " ".join(line.removeprefix("#").strip() for line in protocol(name).splitlines())
    departs = "Where this study departs from the work" in text or "featx's default" in text or "Not verified" in text
    assert departs
    assert max(map(len, protocol(name).splitlines())) <= 118


# --- that they run --------------------------------------------------------------------------------------------

PICTURES = ("resnet18.imagenet", "vit_b_16.imagenet")
SMALL = {"slices": 4, "size": 32}
MISSING = ["drop:2", "fill:2", "zeros:4", "noise:2:random"]


def frozen(word):
    """A small network in place of one of a study's, by its name or by that of its features."""
    name, slash, rest = word.partition("/")
    base, at, weights = name.partition("@")
    if base in PICTURES:
        made, rest = f"squeezenet1_1.imagenet@random:{1 if at else 0}", rest.replace("layer?", "fire2")
    elif base.startswith("voxels"):
        made = "voxels.8mm"
    elif base == "each":
        made = base
    else:
        made = f"sfcn_4mm.untrained@{weights}" if at else "sfcn_4mm.synthetic"
        rest = rest.replace("prediction", "prediction_sex" if "sex" in base else "prediction_age")
    return (made.replace(":", "-") + slash + rest) if slash else made


def small_networks(block):
    """A block of frozen networks in small, those on slices by themselves."""
    for is_sliced in (True, False):
        names = [frozen(one) for one in block["name"] if (one.partition("@")[0] in PICTURES) == is_sliced]
        made = {"name": sorted(set(names))} | {key: block[key] for key in ("axis", "pool") if key in block}
        if is_sliced:
            made |= {"tap": ["fire3" if "missing" in block else "fire2"], **SMALL}
        elif "prediction" in block.get("tap", ()):
            made |= {"tap": ["features", "prediction_age", "prediction_sex"]}
        made |= {"missing": ["none", *MISSING]} if "missing" in block else {}
        if names:
            yield made


def small_arms(block):
    """A block of arms of a tiny network, for one epoch."""
    name = block["network"].partition("@")[0]
    keys = ("arm", "targets", "batch_norm", "balance", "recipe", "axis", "aggregation", "positions")
    made = {"network": "file:sex.safetensors" if name == "sfcn.ukb_sex" else "file:age.safetensors"}
    if name in PICTURES:
        made = {"network": "squeezenet1_1.imagenet@random:0", **SMALL}
    elif name.startswith("sliceset"):
        made = {"network": f"{name.removesuffix('_pos')}@random:0", "slices": 4}
    made |= {key: block[key] for key in keys if key in block}
    made |= {"missing": MISSING} if "missing" in block else {}
    return made | {"epochs": 1, "keep": False, "batch_size": 8, "seeds": 1}


def once(blocks, key):
    """The first block of each kind."""
    found = {}
    for block in blocks:
        found.setdefault(json.dumps(key(block), sort_keys=True), block)
    return list(found.values())


def small(name):
    """A study of the same tables: tiny networks, two folds, one epoch, a block for each set of arms."""
    told = study(name)
    told["cohort"] |= {"images": "brains", "phenotypes": "people.csv"}
    told["networks"] = once((one for block in told["networks"] for one in small_networks(block)), dict)
    if "use" in told["features"]:
        told["features"]["use"] = once(map(frozen, told["features"]["use"]), str)
    told["folds"] |= {"n": 2, "inner": 3, "repeats": 1}
    told["statistics"] = {"bootstrap": 20}
    told["arms"] = once(map(small_arms, told["arms"]), lambda block: (block["arm"], block.get("targets")))
    if "curve" in told:
        told["curve"] |= {"n": [8, 10], "draws": 2, "test_share": 0.25}
    return told


@pytest.fixture
def run_small(cohort, type_in, monkeypatch):
    """A function that writes a study, runs it in this process alone, and gives the folder that it wrote."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")

    def run(told, name, code=0):
        first = {key: told.pop(key) for key in ("title", "protocol")}
        path = cohort / f"{name}.toml"
        path.write_text(commented({"": first, **told}, name), encoding="utf-8")
        steps = {step.name: step for step in steps_of(read_study(path)) if not step.name.startswith("report")}
        compare = steps.pop("compare", None)
        type_in(cohort, "run", path.name, *(word for step in steps for word in ("--only", step)), code=code)
        done = json.loads((cohort / name / "steps.json").read_text(encoding="utf-8"))["steps"]
        assert list(done) == list(steps)
        if compare is not None:  # as the study types it, but for files of figures, and exchanges, which take long
            type_in(cohort, *compare.words, "--no-figures", "--permutations", 20)
        return cohort / name

    return run


def test_malik_runs(run_small):
    told = small("malik2022")
    told["phenotypes"]["targets"] = ["age", "smoking"]
    made = run_small(told, "malik")
    ranked = pd.read_csv(made / "compare/ranking.csv")
    assert {"full", "scratch", "ridge", "logistic", "baseline"} <= set(ranked["head"])
    points = pd.read_csv(made / "curve/curve.csv")
    assert set(points["n_train"]) == {8, 10}


def test_holderrieth_runs(run_small):
    told = small("holderrieth2022")
    told["features"]["use"] = [one for one in told["features"]["use"] if "random" not in one]
    made = run_small(told, "holderrieth", code=3)  # a network's answer is none to the other label
    heads = set(pd.read_csv(made / "run/scores.csv")["head"])
    assert {"direct", "pc-elastic-net", "pc-elastic-net-logistic"} <= heads
    ranked = pd.read_csv(made / "compare/ranking.csv")
    assert {"head-only", "two-stage", "full", "scratch", "reinit", "wrong-label", "direct"} <= set(ranked["head"])
    (adapted, *_) = sorted(made.glob("train-*-head-only"))
    fits = json.loads((adapted / "training.json").read_text(encoding="utf-8"))["fits"]
    assert {one["batch_norm"] for one in fits} == {"adapt"}


def test_leonardsen_runs(run_small):
    made = run_small(small("leonardsen2025"), "leonardsen")
    scores = pd.read_csv(made / "run/scores.csv")
    assert {"only", "ignored", "added"} <= set(scores["confounds"])
    ranked = pd.read_csv(made / "compare/ranking.csv")
    assert {"head-only", "full", "scratch"} <= set(ranked["head"])


def test_gupta_runs(run_small):
    told = small("gupta2023")
    told["networks"][1] |= {"axis": ["axial"]}
    made = run_small(told, "gupta")
    views = {one.split("/")[1] for one in pd.read_csv(made / "run/scores.csv")["features"] if "/" in one}
    assert {"sagittal", "coronal", "axial", "axial~drop2", "axial~noise2-random-0", "axial~zeros4"} <= views
    ranked = pd.read_csv(made / "compare/ranking.csv")
    trained = ranked[ranked["head"] == "scratch"]["features"]
    assert {one.partition("~")[2] for one in trained} == {"", "drop2", "fill2", "zeros4", "noise2-random-0"}


def test_dhinagar_runs_on_an_untouched_cohort_and_site_by_site(run_small, cohort, type_in):
    told = small("dhinagar2023")
    made = run_small(told, "dhinagar")
    tested = pd.read_csv(made / "run/predictions/AD.csv")["participant_id"].unique()
    people = pd.read_csv(cohort / "people.csv").set_index("participant_id")
    assert set(people.loc[tested, "site"]) == {"OASIS"}
    assert set(pd.read_csv(made / "site/scores.csv")["target"]) == {"site"}
    type_in(cohort, "report", made / "run", "--protocol", "dhinagar2023", "--no-figures")
    assert "change of mae" in (made / "run/report.html").read_text(encoding="utf-8")
    told = small("dhinagar2023") | {"folds": {"scheme": "site", "inner": 3}, "arms": []}
    told["networks"], told["site"] = told["networks"][-1:], {}
    made = run_small(told, "sites")
    splits = pd.read_csv(made / "run/splits.csv")
    sites = people.loc[splits["participant_id"], "site"].to_numpy()
    assert splits.groupby(sites)["fold"].nunique().tolist() == [1, 1]
