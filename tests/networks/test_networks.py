"""The table as a whole; each family's own test builds and runs its entries."""

import importlib

import pytest

from featx.errors import NetworkError
from featx.networks import NETWORKS, get_network
from featx.networks.recipe import STEPS
from featx.networks.sheet import CHANNELS_FIRST, CHANNELS_LAST, POOLINGS
from featx.networks.taps import find_tap


@pytest.mark.parametrize("name", NETWORKS)
def test_every_sheet_holds_together(name):
    sheet = get_network(name)
    assert sheet.name == name
    assert name.count(".") == 1
    assert sheet.takes in POOLINGS
    assert sheet.layout in (CHANNELS_FIRST, CHANNELS_LAST)
    assert set(sheet.fixed) <= {"size", "slices"}
    assert sheet.default_taps
    assert set(sheet.default_taps) <= set(sheet.taps)
    assert set(sheet.default_views) <= {view.name for view in sheet.recipe.views}
    assert set(sheet.default_pooling) <= set(sheet.poolings)
    assert {step.name for step in sheet.recipe.steps} <= set(STEPS)
    assert all(find_tap(sheet, tap).module == place.module for tap, place in sheet.taps.items())
    assert all(place.width > 0 for place in sheet.taps.values())
    assert all((sheet.training, sheet.reference, sheet.family))
    for named in filter(None, (sheet.architecture, sheet.reads)):
        module, _, function = named.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_names_of_weights_in_the_cache_are_of_one_file_each():
    files = {}
    for sheet in NETWORKS.values():
        if sheet.weights:
            files.setdefault(sheet.weights.file, set()).add(sheet.weights.url)
    assert all(len(urls) == 1 for urls in files.values())


def test_an_unknown_network_names_the_nearest():
    with pytest.raises(
        NetworkError, match=r"'resnt18.imagenet' is not; known are \d+, the nearest 'resnet18.imagenet'"
    ):
        get_network("resnt18.imagenet")
