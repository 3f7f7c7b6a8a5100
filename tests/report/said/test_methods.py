"""The methods section: a sentence for what was done, and none for what was not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.runs.rundir import Run, read_run
from featx.report.said.citations import CITATIONS, cited
from featx.report.said.described import features, libraries, trained
from featx.report.said.methods import methods
from featx.report.said.published import PUBLISHED
from tests.report.conftest import make_run

RECIPE = {
    "grid": {"name": "MNI152 2 mm (FSL)", "orientation": "LAS", "shape": [91, 109, 91], "voxel_mm": 2.0},
    "resampled": False,
    "steps": [{"step": "percentile-to-unit", "percentile": 99.5}],
    "view": [{"step": "slices", "axis": "axial", "count": 17}, {"step": "resize", "size": 224}],
}
PROVENANCE = {
    "network": "squeezenet1_0.imagenet",
    "weights": "official",
    "weights_sha256": "ab" * 32,
    "recipe": json.dumps(RECIPE),
    "view": "axial",
    "tap": "fire5",
    "pooling": "mean",
    "versions": '{"torch": "2.14.1", "torchvision": "0.29.2", "nibabel": "5.4.2"}',
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which everything was done."""
    found = read_run(make_run(tmp_path_factory.mktemp("methods") / "run", n=20, full=True))
    facts = dict(found.facts)
    facts["features"] = [{"name": "a", "sets": [{"name": "a", "n_features": 512, "provenance": PROVENANCE}]}]
    facts["arguments"] = {
        "heads": ["ridge", "logistic"],
        "folding": {"scheme": "kfold", "n_inner": 5, "random_state": 7, "by_site": True},
        "columns": {"site": "scanner", "group": "family", "age": "age", "stratify": "target", "where": "age > 40"},
        "adjusting": {
            "confounds": ["age:spline", "scanner"],
            "harmonise": "combat",
            "preserve": ["age:spline"],
            "pca": 20,
            "calibrate": "platt",
        },
        "inferring": {"n_bootstrap": 2000},
        "options": {"class_weight": "balanced"},
        "aggregate": "mean",
    }
    facts["versions"] = {"python": "3.11.7", "numpy": "2.3.5", "scipy": "1.15.3", "sklearn": "1.9.1"}
    breakdowns = pd.concat([found.breakdowns, found.breakdowns.head(1).assign(by="calibration")])
    return replace(found, facts=facts, breakdowns=breakdowns)


def without(run: Run, part: str, name: str, value: Any) -> Run:
    """The run with another argument."""
    arguments = dict(run.facts["arguments"])
    arguments[part] = arguments[part] | {name: value}
    return replace(run, facts=dict(run.facts) | {"arguments": arguments})


def text(run: Run, training: dict[str, Any] | None = None) -> str:
    return methods(run, training).markdown


@pytest.mark.parametrize(
    ("sentence", "part", "name", "value"),
    [
        ("Only people who met the condition age > 40 were kept.", "columns", "where", ""),
        ("Whoever shares a value of family was in one fold as well.", "columns", "group", ""),
        (
            "Folds were stratified by the target (classes, or quantiles of numbers) and site.",
            "folding",
            "scheme",
            "given",
        ),
        ("chosen on 5 inner folds", "folding", "n_inner", 0),
        ("Classes were weighted by the inverse of their size.", "options", "class_weight", None),
        ("Heads were given 20 principal components", "adjusting", "pca", None),
        ("Confounds were age (spline) and scanner;", "adjusting", "confounds", []),
        ("They were treated in 3 ways", "adjusting", "confounds", []),
        ("Features were harmonised over scanner by ComBat", "adjusting", "harmonise", "none"),
        (", the effect of age (spline) preserved", "adjusting", "preserve", []),
        (
            "Intervals are of 95 %, by 2,000 bootstrap draws of people, groups kept whole",
            "inferring",
            "n_bootstrap",
            0,
        ),
        ("Probabilities were calibrated by a logistic curve", "adjusting", "calibrate", "none"),
    ],
)
def test_an_option_has_its_sentence_and_without_it_there_is_none(
    run: Run, sentence: str, part: str, name: str, value: Any
) -> None:
    assert sentence in text(run)
    assert sentence not in text(without(run, part, name, value))


@pytest.mark.parametrize(
    ("sentence", "table"),
    [
        ("Arms were compared on the same people and folds", "comparisons"),
        ("the corrected resampled t-test", "comparisons"),
        ("DeLong's test", "comparisons"),
        ("Ridge was held against 499 permutations of the target", "permutations"),
        ("Scores were broken down by site and by band of age.", "breakdowns"),
        ("Calibration was judged by intercept and slope", "breakdowns"),
        ("The bias of predicted age was corrected by a line", "age_bias"),
    ],
)
def test_a_table_has_its_sentence_and_without_it_there_is_none(run: Run, sentence: str, table: str) -> None:
    assert sentence in text(run)
    assert sentence not in text(replace(run, **{table: getattr(run, table).head(0)}))


def test_whoever_did_not_meet_the_condition_is_not_said_to_have_no_row(run: Run) -> None:
    flow = {"images_with_all_features": 30, "images_matched": 20, "people_matched": 18}
    told = replace(run, facts=dict(run.facts) | {"flow": flow})
    said = "Of 30 images with features, 20, of 18 people, had a row in the phenotype table"
    assert f"{said} and met the condition age > 40." in text(told)
    assert f"{said}." in text(without(told, "columns", "where", ""))
    told = replace(run, facts=dict(run.facts) | {"flow": flow | {"people_matched": 20}})
    assert "Of 30 images with features, 20 had a row" in text(told)


def test_a_test_cohort_is_no_fold(run: Run) -> None:
    splits = run.splits[run.splits["repeat"] == 0].assign(fold=TRAIN_ONLY)
    splits.loc[splits["image_id"].isin(splits["image_id"].unique()[:5]), "fold"] = 0
    said = text(replace(run, splits=splits))
    assert "tested once on people who trained nothing. All images of a person were on one side." in said
    assert "Whoever shares a value of family was on one side as well." in said


def test_works_are_cited_where_they_were_used_and_nowhere_else(run: Run) -> None:
    section = methods(run)
    keys = re.findall(r"^@\w+\{(\w+),", section.bibtex, re.MULTILINE)
    assert {"johnson2007", "fortin2018", "platt1999", "nadeau2003", "delong1988", "benjamini1995"} <= set(keys)
    assert {"cole2018", "beheshti2019", "delange2020", "iandola2016", "russakovsky2015", "torch2019"} <= set(keys)
    assert len(section.references) == len(keys)
    numbers = {int(one) for found in re.findall(r"\[([\d, ]+)\]", section.markdown) for one in found.split(",")}
    assert numbers == set(range(1, len(keys) + 1))
    assert "[@" not in section.markdown
    plain = methods(without(without(run, "adjusting", "harmonise", "none"), "adjusting", "calibrate", "none"))
    assert not {"johnson2007", "platt1999"} & set(re.findall(r"^@\w+\{(\w+),", plain.bibtex, re.MULTILINE))


def test_every_key_of_the_tables_has_an_entry() -> None:
    from featx.report.said import described
    from featx.report.said import methods as written

    keys = {one for several in written._HEAD_KEYS.values() for one in several}
    keys |= {*written._SOFTWARE.values(), *described._REFERENCES.values(), *described._TRAINING.values()}
    keys |= {key for text in written._SOLVERS.values() for key in cited(text)} | set(written._SOURCES.values())
    keys |= {*described._LIBRARIES.values(), *(key for _, key in written._CALIBRATED.values())}
    in_sentences = {"lightning2019", "torch2019", "johnson2007", "fortin2018", "efron1993", "cox1958", "nadeau2003"}
    in_sentences |= {"delong1988", "benjamini1995", "cole2018", "beheshti2019", "delange2020"}
    assert keys | in_sentences == set(CITATIONS)  # no entry that nothing cites
    assert {one.source for one in PUBLISHED if "2025" not in one.source} == set(written._SOURCES)


def test_in_private_no_condition_is_quoted(run: Run) -> None:
    said = methods(run, is_private=True).markdown
    assert "age > 40" not in said
    assert "Only people who met a condition that stands in run.json were kept." in said


def test_networks_are_told_with_weights_contract_and_places(run: Run) -> None:
    said = " ".join(features(run.facts))
    assert "Features were read from 1 frozen network: no weight of it was changed." in said
    assert "with its published weights [@russakovsky2015], trained on ImageNet-1k" in said
    assert "along the axial axis and read at the tap fire5, pooled by mean: 512 features in 1 set." in said
    assert "had to lie on the grid MNI152 2 mm (FSL), 91×109×91 voxels of 2 mm" in said
    assert "99.5th percentile of the brain is 1, cut into slices (17 axial) and resized to 224 pixels." in said
    assert "An image that did not fit was not given to the network" in said
    assert "side by side" not in said
    assert libraries(run.facts) == {"torch": "2.14.1", "torchvision": "0.29.2", "nibabel": "5.4.2"}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("random:3", "random weights (seed 3), as a control"),
        ("reinit:1", "weights drawn anew at the scale of the pretrained ones (seed 1), as a control"),
        ("file:mine.pth", "weights of the file mine.pth (sha256 of the tensors abababababab…)"),
    ],
)
def test_controls_and_files_are_told_as_such(weights: str, words: str) -> None:
    one = {"name": "a", "n_features": 3, "provenance": PROVENANCE | {"weights": weights}}
    said = " ".join(features({"features": [{"name": "a", "sets": [one]}]}))
    assert words in said
    assert "russakovsky2015" not in said


def test_tables_misfits_and_sets_side_by_side_are_told() -> None:
    table = {"name": "volumes", "n_features": 260, "provenance": {"network": "table"}}
    views = [PROVENANCE | {"view": axis, "pooling": "slices"} for axis in ("axial", "coronal")]
    sets = [{"name": str(at), "n_features": 8, "provenance": one} for at, one in enumerate(views)]
    cautions = [{"code": "accepted-misfits", "sentence": "", "target": ""}]
    combinations = [{"name": "volumes", "sets": [table]}, {"name": "both", "sets": sets}]
    facts = {"features": combinations, "cautions": cautions, "arguments": {"aggregate": "max"}}
    said = " ".join(features(facts))
    assert "The numbers of the table volumes (260 columns) were used as features as well." in said
    assert "along the axial and coronal axes" in said
    assert "The feature sets of both stood side by side." in said
    assert "Features of slices were aggregated to one row per image: max." in said
    assert "Some images that did not fit were let through all the same." in said


def training(**more: Any) -> dict[str, Any]:
    fit = {"arm": "two-stage", "fold": 0, "n_train": 80, "n_validation": 20, "n_test": 10, "batch_norm": "adapt"}
    fits = [fit | {"seed": seed, "epochs": {"output": 4, "all": 9 + seed}} for seed in (0, 1)]
    recipe = {
        "name": "holderrieth-two-stage",
        "batch_size": 8,
        "schedules": {
            "output": {"optimiser": "sgd", "learning_rate": 0.1, "weight_decay": 1e-3, "epochs": 50},
            "all": {"optimiser": "sgd", "learning_rate": 0.003, "weight_decay": 1e-3, "epochs": 40},
        },
        "augmentation": {"shift_voxels": 2, "mirror": True, "noise": 0.0},
    }
    arms = {"two-stage": {"says": "first the head", "phases": ["output", "all"], "recipes": [recipe]}}
    return {
        "network": "sfcn_4mm.untrained",
        "device": "cpu",
        "precision": "32-true",
        "fits": fits,
        "arms": arms,
        **more,
    }


def test_arms_that_trained_are_told_with_their_recipe() -> None:
    said = " ".join(trained(training()))
    for piece in (
        "sfcn_4mm.untrained [@peng2021] was trained anew in every fold [@lightning2019;torch2019]: 2 ",
        "networks in all, on 80 images each; ",
        "20 more of the training people chose the epoch",
        "Arm two-stage (first the head): trained the new last layer, of which the epoch with the least validation "
        "loss was kept (5), then all layers, of which the epoch with the least validation loss was kept (10 to 11).",
        "Recipe holderrieth-two-stage, batches of 8; the new last layer: sgd, learning rate 0.1, weight decay 0.001, "
        "at most 50 epochs; all layers: sgd, learning rate 0.003, weight decay 0.001, at most 40 epochs; "
        "augmentation: shift voxels 2, mirror True.",
        "Statistics of batch normalisation were estimated anew",
        "trained with 2 seeds (0, 1); scores are means over them",
        "trained on: cpu, 32-true",
    ):
        assert piece in said
    one = training(arms={})
    one["fits"] = [one["fits"][0] | {"batch_norm": "eval"}]
    said = " ".join(trained(one))
    assert "Recipe" not in said
    assert "batch normalisation" not in said
    assert "with one seed (0)" in said
    assert list(trained(None)) == list(trained({"fits": []})) == []


def test_a_run_that_says_little_gets_few_words(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", n=20))
    bare = replace(
        run, facts={"targets": [], "format": "featx-run"}, splits=run.splits.head(0), scores=run.scores.head(0)
    )
    assert methods(bare).paragraphs == ()
    assert methods(bare).markdown == "# Methods\n"
