"""The golden image: this machine gives what golden.json holds, and anything else is seen."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from featx.errors import DependencyError, WeightsError
from featx.extraction import golden
from featx.networks import NETWORKS, get_network
from featx.networks.weights import build, load_network

QUICK = (
    "squeezenet1_0.imagenet",
    "resnet18.imagenet",
    "sfcn.narrow",
    "r3d_18.kinetics400",
    "sliceset.encoder1_mean",
    "voxels.8mm",
)


def test_every_architecture_of_the_table_is_known():
    known = golden.known_features()
    unknown = [name for name, sheet in NETWORKS.items() if golden.skeleton(sheet) not in known]
    assert not unknown
    assert len(known) == len({golden.skeleton(sheet) for sheet in NETWORKS.values()})


@pytest.mark.parametrize("name", QUICK)
def test_this_machine_reproduces_the_golden_features(name):
    verdict = golden.check_architecture(get_network(name), "cpu")
    assert verdict.difference < golden.TOLERANCE / 5
    assert verdict.reproduced
    assert all(one["scale"] > 0 for one in verdict.features.values())


def test_another_recipe_weight_or_architecture_is_seen():
    sheet = get_network("squeezenet1_0.imagenet")
    wanted = golden.known_features()[golden.skeleton(sheet)]
    network = build(sheet).eval()
    golden.set_golden_weights(network)
    with torch.no_grad():
        network.features[0].weight[0] += 0.01
    assert golden.difference(golden.golden_features(sheet, network, "cpu"), wanted) > golden.TOLERANCE
    other = replace(sheet, arguments={"model": "squeezenet1_1"})
    assert golden.skeleton(other) != golden.skeleton(sheet)


def test_golden_weights_depend_on_names_and_shapes_alone():
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5)))
        golden.set_golden_weights(networks[-1])
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    weight = first["0.weight"]
    assert abs(float(weight.std()) - math.sqrt(1 / 27)) < 0.05
    assert weight.flatten()[0].item() == pytest.approx(
        (np.random.default_rng([8, *b"0.weight"]).random(dtype=np.float32) * 2 - 1) * math.sqrt(3 / 27), rel=1e-6
    )
    for name, centre in {"0.bias": 0, "1.weight": 1, "1.bias": 0, "1.running_mean": 0, "1.running_var": 1}.items():
        assert 0 < (first[name] - centre).abs().max() <= 0.25
        assert len(first[name].unique()) == 5


@pytest.mark.parametrize(
    "found, wanted",
    [
        ({"b": {"scale": 1.0, "values": [1.0]}}, math.inf),
        ({"a": {"scale": 1.0, "values": [1.0, 1.0]}}, math.inf),
        ({"a": {"scale": 1.0, "values": [math.nan]}}, math.inf),
        ({"a": {"scale": 2.0, "values": [1.0]}}, 1.0),
        ({"a": {"scale": 1.0, "values": [0.5]}}, 0.5),
        ({"a": {"scale": 1.0, "values": [1.0]}}, 0.0),
    ],
)
def test_differences(found, wanted):
    assert golden.difference(found, {"a": {"scale": 1.0, "values": [1.0]}}) == wanted


@pytest.mark.parametrize(
    "error, difference, told",
    [
        (DependencyError("MONAI must be installed"), math.nan, "MONAI must be installed"),
        (WeightsError("weights must be whole"), math.inf, "weights must be whole"),
        (RuntimeError("CUDA error: no kernel\nmore"), math.inf, "CUDA error: no kernel"),
    ],
)
def test_a_network_that_cannot_be_run_is_told(error, difference, told):
    def check():
        raise error

    verdict = golden.tried(check, "some.net", "golden")
    np.testing.assert_equal((verdict.network, verdict.difference, verdict.told), ("some.net", difference, told))
    assert not verdict.reproduced


def test_official_weights_are_held_to_what_was_noted_beside_them(tmp_path):
    name = "squeezenet1_0.imagenet"
    state = load_network(get_network(name), "random:4", tmp_path).network.state_dict()
    torch.save(state, tmp_path / "w.pth")
    weights = replace(get_network(name).weights, file="w.pth", digest="sha256:")
    sheet = replace(get_network(name), weights=weights)
    assert golden.is_fetched(sheet, tmp_path)
    assert math.isnan(golden.check_official(sheet, tmp_path, "cpu").difference)
    golden.note(sheet, tmp_path)
    verdict = golden.check_official(sheet, tmp_path, "cpu")
    assert (verdict.weights, verdict.difference) == ("official", 0)
    (path,) = tmp_path.glob("*.golden.json")
    noted = json.loads(path.read_text())
    noted["features"]["sagittal/fire2/mean"]["values"][0] += 1
    path.write_text(json.dumps(noted))
    golden.note(sheet, tmp_path)  # fetched again: this machine must not become its own measure
    assert not golden.check_official(sheet, tmp_path, "cpu").reproduced
    changed = [{**noted, "features": 3}, {**noted, "weights_sha256": "of others"}]
    for text in ['{"skel', "[]", "{}", *map(json.dumps, changed)]:
        path.write_text(text)
        assert math.isnan(golden.check_official(sheet, tmp_path, "cpu").difference)
    assert golden.noted_networks(tmp_path) == [name]
