"""A network that was trained on whole brains is asked along views with slices missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from featx.extraction.plan import make_request
from featx.images.contract import ACCEPTABLE
from featx.networks.look import look, to_volumes
from featx.networks.missing import spread
from featx.networks.output import REGRESSION, Output
from featx.training.arms import get_arm
from featx.training.cache import fill_cache, read_packed
from featx.training.fit import Fit, People
from featx.training.result import images_as_sets, set_name
from featx.training.run import make_network, predict
from featx.training.schedules import get_recipe
from featx.training.source import Source, need_of

NAMES = ("squeezenet1_0.imagenet", "squeezenet1_0.imagenet~drop2", "squeezenet1_0.imagenet~fill2")


@pytest.fixture(scope="module")
def source():
    request = make_request("squeezenet1_0.imagenet", weights="random:0", views=["axial"], n_slices=5, size="40")
    missing = spread(request.recipe.views[0], ["drop:2", "fill:2"], request.sheet)
    return Source(request, "fire9", aggregation="mean", positions=True, missing=missing)


def test_slices_that_are_there_keep_their_positions(source, images, tmp_path):
    cache = fill_cache(images[:2], need_of(source, ACCEPTABLE), tmp_path, workers=0).cache
    ids = tuple(one.image_id for one in images[:2])
    nobody = People((), np.empty((0, 1)))
    outputs = (Output("age", REGRESSION, 1, (50.0, 10.0)),)
    fit = Fit(get_arm("scratch"), get_recipe("gupta"), outputs, nobody, nobody, 0, (1.0,), (None,))
    network = make_network(source, fit).eval()
    with torch.no_grad():
        volumes = to_volumes([read_packed(cache, one) for one in ids], "cpu")
        slices = network.embedded(network.still(look(volumes, source.view.steps)))
        seen = {"axial": range(5), "axial~drop2": (1, 3), "axial~fill2": (1, 1, 1, 3, 3)}
        for view in (source.view, *source.missing):
            own = slices[:, list(seen[view.name])]
            at = [1, 3] if view.name == "axial~drop2" else list(range(5))
            placed = network.positions.norm(own + network.positions.embedding[at])
            vector = network.hidden(placed.mean(1))
            wanted = 50 + 10 * network.answer(vector)[:, 0]
            (found,) = predict(network, source, fit, ids, cache=cache, device="cpu", view=view)
            np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5, err_msg=view.name)


def test_each_is_a_feature_set_that_says_its_view(source, images):
    sets = images_as_sets(images[:3], source)
    assert tuple(sets) == NAMES
    assert [one.provenance["view"] for one in sets.values()] == ["axial", "axial~drop2", "axial~fill2"]
    assert len({one.provenance["recipe"] for one in sets.values()}) == 3
    assert set_name(source.base, source.missing[0]) == NAMES[1]
    assert tuple(images_as_sets(images[:3], replace(source, missing=()))) == NAMES[:1]
