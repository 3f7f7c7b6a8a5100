"""The card of a network: what it answers, on whom and how it was trained, and what is not its recipe's."""

from dataclasses import asdict, replace

import pytest

from featx.networks import get_network
from featx.networks.output import CLASSES, ORDINAL, REGRESSION, SOFT_BINS, Output
from featx.networks.trained import trained_sheet
from featx.training.card import card, changes
from featx.training.schedules import RECIPES, changed

AGE = Output("age", SOFT_BINS, 3, (40.0, 50.0, 60.0))
SEX = Output("sex", CLASSES, 2, (1.0,), ("F", "M"))
BMI = Output("bmi", REGRESSION, 1, (26.5, 4.25))
SMOKES = Output("smoking", ORDINAL, 2, (0.0, 1.0, 2.0), ("never", "previous", "current"))
HAND = Output("hand", CLASSES, 3, (), ("left", "right", "both"))

FACTS = {
    "arm": "two-stage",
    "seed": 4,
    "n_train": 1200,
    "n_validation": 90,
    "epochs": {"output": 7, "all": 31},
    "elapsed_s": 150.0,
    "recipe": asdict(RECIPES["holderrieth-two-stage"]),
    "versions": {"featx": "1.2.3", "torch": "2.9"},
}
MORE = {
    "start": "random weights, seed 4",
    "n_people": 1100,
    "ages_years": [20.5, 80.0],
    "sexes": {"F": 600, "M": 500},
    "labels": {
        "age": {"kind": "continuous", "n": 1280, "range": [20.5, 80.0]},
        "sex": {"kind": "binary", "n": 1290, "classes": {"F": 700, "M": 590}},
    },
    "loss_weights": {"age": 1.0, "sex": 0.5},
    "validation_loss": 2.19537,
    "scores": [
        {"target": "age", "metric": "mae", "value": 4.26, "n": 88},
        {"target": "sex", "metric": "auc", "value": None, "n": 90},
    ],
    "device": "cuda",
    "precision": "bf16-mixed",
    "file": "ours.safetensors",
}


def sheet_of(*outputs, base="sfcn.ukb_age", **facts):
    sheet = get_network(base)
    told = {"name": "ours", "training": "1,000 people of people.csv", "labels": ("age",), **facts}
    return trained_sheet(sheet, tap="features", view=sheet.recipe.views[0], outputs=outputs, **told)


def test_a_card_says_all_that_is_known():
    text = card(sheet_of(AGE, SEX), {**FACTS, **MORE})
    for line in (
        "# ours",
        "sfcn.ukb_age, trained to predict `age`, `sex`.",
        "- `age`: a number, the mean of 3 soft bins with centres from 40 to 60; read at the tap `prediction_age`",
        "- `sex`: the probability of M (of F, M); read at the tap `prediction_sex`",
        "- 1,000 people of people.csv",
        "- 1,200 images trained, 90 more chose the epoch; 1,100 people in all",
        "- ages 20.5 to 80 years",
        "- sex: 600 F, 500 M",
        "- `age`: 1,280 images have it; from 20.5 to 80",
        "- `sex`: 1,290 images have it; 700 F, 590 M",
        "- arm two-stage: first a new last layer, then everything, more gently",
        "- first weights: random weights, seed 4",
        f"- recipe holderrieth-two-stage: {RECIPES['holderrieth-two-stage'].source}",
        "- phase output: sgd, learning rate 0.1, momentum 0.9, weight decay 0.001, at most 50 epochs; epoch 7 "
        "(from 0) was kept",
        "- phase all: sgd, learning rate 0.003, times 0.3 every 30, momentum 0.9, weight decay 0.001, at most 50 "
        "epochs; epoch 31 (from 0) was kept",
        "- batches of 8; augmentation shift_voxels 2, mirror True, in phase all",
        "- weights in the loss: age 1.0, sex 0.5",
        "- validation loss of what was kept: 2.195",
        "- seed 4; 2.5 minutes on cuda, bf16-mixed",
        "| age | mean absolute error | 4.260 | 88 |",
        "| sex | area under the ROC curve | – | 90 |",
        "- MNI152 1 mm (FSL): 182x218x182 voxels of 1 mm; a brain without its skull, registered to the template",
        "- steps to its input: divide-by-mean, crop",
        "    featx extract images.csv -n file:ours.safetensors -o features.h5",
        "    featx networks add ours.safetensors --name ours",
        "Made with featx 1.2.3, torch 2.9.",
    ):
        assert line in text.splitlines()
    assert "not the recipe's" not in text
    assert "Research use; no medical device" in text


def test_a_card_of_less_is_shorter():
    text = card(sheet_of(BMI, age_range_years=(44.0, 81.0)), FACTS)
    assert "- ages 44 to 81 years" in text
    assert "read at the tap `prediction`\n" in text
    assert "This network is scored on nobody" in text
    assert "-n file:FILE.safetensors" in text
    for word in ("| metric |", "people in all", "first weights", "weights in the loss", "validation loss"):
        assert word not in text


@pytest.mark.parametrize(
    "output, said",
    [
        (BMI, "a number (one column, in standard deviations of 4.25 from 26.5)"),
        (SMOKES, "a number among those of the ordered levels never, previous, current"),
        (HAND, "the probabilities of left, right, both"),
        (replace(SEX, values=(0.0,)), "the probability of F (of F, M)"),
    ],
    ids=lambda one: getattr(one, "form", ""),
)
def test_every_form_of_answer_is_put_in_words(output, said):
    assert f"- `{output.target}`: {said}; read" in card(sheet_of(output), FACTS)


def test_every_number_that_is_not_the_recipes_is_told_of_phases_that_ran():
    words = {"all.learning_rate": "0.002", "output.epochs": "5", "augmentation.noise": "0.1", "batch_size": "4"}
    mine = asdict(changed(RECIPES["sfcn-scratch"], words))
    assert changes(mine, ("all",)) == {
        "batch_size": (4, 8),
        "all.learning_rate": (0.002, 0.01),
        "augmentation.noise": (0.1, 0.0),
    }
    text = card(sheet_of(AGE), {**FACTS, "arm": "scratch", "recipe": mine})
    assert "- not the recipe's: all.learning_rate 0.002 (there 0.01)" in text.splitlines()
    assert "output.epochs" not in text
    assert changes({**mine, "name": "my own"}, ("all",)) == {}
    assert "its source is not stated" in card(
        sheet_of(AGE), {**FACTS, "recipe": {**mine, "name": "my", "source": ""}}
    )


def test_where_a_network_need_not_be_registered_the_card_says_so():
    text = card(sheet_of(AGE, base="sfcn_multi.leonardsen2025"), FACTS)
    assert "1 mm; a brain without its skull, registered or not" in text


def test_a_network_that_stands_still_is_not_said_to_have_been_augmented():
    assert RECIPES["sfcn-scratch"].augmentation.mirror
    words = {"augmentation.noise": "0.1", "output.epochs": "5"}
    facts = {**FACTS, "recipe": asdict(changed(RECIPES["sfcn-scratch"], words)), "batch_norm": "adapt"}
    still = card(sheet_of(AGE), {**facts, "arm": "head-only"}).splitlines()
    assert "- batches of 8; augmentation none" in still
    assert (
        "- while the network stands still, its batch norm is estimated anew on the training images (adapt)" in still
    )
    assert not any("augmentation.noise" in line for line in still)
    moves = card(sheet_of(AGE), {**facts, "arm": "full"})
    assert "- batches of 8; augmentation shift_voxels 2, mirror True, noise 0.1\n" in moves
    assert "batch norm" not in moves
    assert "its batch norm is as it was pretrained (eval)" in card(sheet_of(AGE), {**FACTS, "batch_norm": "eval"})
