"""The tables of arms and of recipes, and which recipe is whose."""

import pytest

from featx.errors import AnalysisError
from featx.networks import NETWORKS, get_network
from featx.training.arms import ALL, ARMS, GIVEN, OUTPUT, RANDOM, REDRAWN, get_arm
from featx.training.schedules import OPTIMISERS, RECIPES, default_recipe, get_recipe


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_is_well_formed(name):
    arm = get_arm(name)
    assert arm.name == name
    assert arm.says
    assert arm.start in (GIVEN, RANDOM, REDRAWN)
    assert arm.phases in ((OUTPUT,), (ALL,), (OUTPUT, ALL))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_well_formed(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert recipe.source
    assert set(recipe.schedules) == {OUTPUT, ALL}
    for schedule in recipe.schedules.values():
        assert schedule.optimiser in OPTIMISERS
        assert schedule.learning_rate > 0
        assert schedule.epochs > 0
        assert schedule.weight_decay >= 0


def test_the_published_numbers_are_those_of_the_protocols():
    scratch = RECIPES["sfcn-scratch"].schedules[ALL]
    assert (scratch.learning_rate, scratch.momentum, scratch.weight_decay) == (0.01, 0.9, 1e-3)
    assert (scratch.step_epochs, scratch.step_factor, RECIPES["sfcn-scratch"].batch_size) == (30, 0.3, 8)
    assert RECIPES["sfcn-scratch"].augmentation.shift_voxels == 2
    assert RECIPES["sfcn-scratch"].augmentation.mirror
    assert RECIPES["holderrieth-head"].schedules[OUTPUT].learning_rate == 0.1
    assert 25 <= RECIPES["holderrieth-head"].schedules[OUTPUT].epochs <= 50
    assert RECIPES["holderrieth-scratch-sex"].schedules[ALL].learning_rate == 0.1
    assert 0.001 <= RECIPES["holderrieth-two-stage"].schedules[ALL].learning_rate <= 0.01
    gupta = RECIPES["gupta"].schedules[ALL]
    assert (gupta.optimiser, gupta.learning_rate, gupta.weight_decay, gupta.epochs) == ("adam", 1e-4, 1e-4, 100)


@pytest.mark.parametrize(
    "network, arm, kind, recipe",
    [
        ("sfcn.ukb_age", "full", "continuous", "sfcn-scratch"),
        ("sfcn.ukb_age", "scratch", "binary", "holderrieth-scratch-sex"),
        ("sfcn.ukb_age", "head-only", "binary", "holderrieth-head"),
        ("sfcn.ukb_age", "wrong-label", "binary", "holderrieth-head"),
        ("sfcn_reg.leonardsen2022", "two-stage", "continuous", "holderrieth-two-stage"),
        ("squeezenet1_0.imagenet", "full", "continuous", "gupta"),
        ("sliceset.encoder1_mean", "scratch", "continuous", "gupta"),
        ("cnn3d.gupta", "scratch", "continuous", "gupta"),
        ("r3d_18.kinetics400", "full", "continuous", "fine-tune"),
    ],
)
def test_the_default_recipe_is_that_of_the_family_and_the_arm(network, arm, kind, recipe):
    assert default_recipe(get_network(network), get_arm(arm), {"y": kind}).name == recipe


def test_every_network_of_the_table_has_a_default_recipe_for_every_arm():
    for sheet in NETWORKS.values():
        for arm in ARMS.values():
            assert set(arm.phases) <= set(default_recipe(sheet, arm, {"y": "continuous"}).schedules)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(AnalysisError, match="an arm must be known; 'frozen' is not; known are 'full', 'head-only'"):
        get_arm("frozen")
    with pytest.raises(AnalysisError, match="a training recipe must be known; 'peng' is not; known are 'fine-tune'"):
        get_recipe("peng")
