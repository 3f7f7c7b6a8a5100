"""The model card says what a head is, wants and is worth, from its contract alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from featx.analysis.fit import run
from featx.analysis.heads import HeadOptions
from featx.analysis.inference.metrics import METRICS
from featx.analysis.runs.bundle import Bundle
from featx.analysis.runs.card import card

from ..conftest import ONE, Cohort, ask, feature_set


def cards(cohort: Cohort, **asked: Any) -> dict[tuple[str, str, str, str], str]:
    """Of bundles that made the trip through JSON."""
    bundles = run(ask(cohort, **asked)).bundles
    return {key: card(Bundle(json.loads(json.dumps(one.contract)), one.arrays)) for key, one in bundles.items()}


def test_it_says_what_a_plain_head_is(cohort: Cohort) -> None:
    bundles = run(ask(cohort, units={"age": "years"}, folding={"n_repeats": 3, "random_state": 7})).bundles
    (text,) = map(card, bundles.values())
    (contract,) = (one.contract for one in bundles.values())
    assert text.startswith(
        "# age by ridge regression\n\nPredicts the continuous phenotype, in years `age` from `one`.\n"
    )
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## Fitted on", "## Wants", "## Worth", "## Limits"]
    assert "- 60 people, 60 images; hashes of their ids are in the file" in text
    low, high = contract["range"]
    assert f"- values from {low:g} to {high:g} years" in text
    assert f"- alpha: {contract['parameters']['alpha']:.6g}" in text
    assert "(60 images; 4 folds, 3 repeats):" in text
    for score in contract["scores"]:
        assert f"| {METRICS[score['metric']].title} | {score['value']:.3f} | {score['low']:.3f} to " in text
    assert "Research use; no medical device." in text
    assert text.endswith("; seed 7.\n")
    assert "confounds" not in text
    assert "site" not in text.split("## Wants")[1]


def test_all_that_happens_around_a_head_is_told(cohort: Cohort) -> None:
    sets, table = cohort
    found = cards(
        (sets, table.assign(scanner=["x", "y"] * 30)),
        folding={"n_inner": 5},
        targets=["age", "sex"],
        heads=["ridge", "logistic"],
        columns={"site": "scanner"},
        adjusting={
            "confounds": ("volume",),
            "modes": ("only", "added", "target"),
            "harmonise": "combat",
            "pca": 3,
            "calibrate": "platt",
        },
        inferring={"n_bootstrap": 20, "correct_age": ("age",)},
        options=HeadOptions(class_weight="balanced"),
    )
    assert len(found) == 3 + 2
    for (target, _, features, mode), text in found.items():
        assert "- confounds `volume`: " in text
        assert "- sites harmonised by combat" in text
        assert "- principal components: 3" in text
        assert ("- the site, in the column `scanner`; known are x, y; another" in text) == (mode != "only")
        assert ("- the confound `volume`" in text) == (target == "age" or mode != "target")
        assert ("- age bias of inner out-of-fold predictions: " in text) == (target == "age")
        assert ("- probabilities calibrated: platt" in text) == (target == "sex")
        assert ("- classes weighted: balanced" in text) == (target == "sex")
        assert ("Scored on what the confounds leave of the target." in text) == (mode == "target")
        assert ("from the confounds alone." in text) == (features == "-")
        assert ("Levels: F, M." in text) == (target == "sex")


def test_sets_of_one_network_are_one_line(cohort: Cohort) -> None:
    sets, table = cohort
    ids = list(sets[ONE].image_id)
    X = sets[ONE].X
    many = [
        feature_set(
            f"net.y/{view}/{tap}/mean",
            X,
            ids,
            network="net.y",
            weights="official",
            weights_sha256="0123456789abcdef",
            view=view,
            tap=tap,
            pooling="mean",
            recipe_digest=f"{view}-recipe-and-more",
        )
        for view in ("axial", "coronal")
        for tap in ("fire5", "fire9")
    ]
    columns = {"network": "table", "recipe": json.dumps(["left", "right"])}
    volumes = feature_set("volumes", X[:, :2], ids, **columns)
    named = {one.name: one for one in (*many, volumes)}
    (text,) = cards((named, table), combinations={"all": tuple(named)}).values()
    wants = [line for line in text.split("## Wants\n\n")[1].split("\n\n## Worth")[0].splitlines() if line]
    assert wants == [
        "- `net.y`: 4 feature sets, 32 features; weights official (0123456789ab); view axial, coronal; "
        "tap fire5, fire9; pooling mean; recipe axial-recipe, coronal-reci",
        "- the table `volumes`, 2 columns: left, right",
        "Features that were made in another way are refused.",
    ]


@pytest.mark.parametrize("scheme, how", [("site", "3 sites, each left out in turn"), ("kfold", "4 folds")])
def test_it_says_how_the_scores_came_about(cohort: Cohort, scheme: str, how: str) -> None:
    (text,) = cards(cohort, folding={"scheme": scheme}, columns={"site": "scanner"}).values()
    assert f"(60 images; {how}):" in text


def test_scores_that_are_undefined_are_dashes(cohort: Cohort) -> None:
    (text,) = cards(cohort, inferring={"n_bootstrap": 0}).values()
    assert text.count(" | – |") == len([name for name, one in METRICS.items() if "continuous" in one.kinds])
