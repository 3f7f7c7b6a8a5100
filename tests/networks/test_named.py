"""Networks beyond the table: one's own, one's own checkpoints, slice sets by pattern."""

import json
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from featx import store
from featx.errors import DependencyError, NetworkError, WeightsError
from featx.extraction.engine import extract
from featx.extraction.job import load_job
from featx.extraction.plan import make_request, make_requests
from featx.images.index import index_images
from featx.images.volume import MNI152_2MM, read_volume
from featx.networks import get_network
from featx.networks.checkpoint import read_facts, write_checkpoint
from featx.networks.described import facts_of
from featx.networks.named import PATTERNS, usual_weights
from featx.networks.reading import make_reader
from featx.networks.sheet import Recipe, Step, Tap, View
from featx.networks.weights import load_network, tensors_sha256

NETS = """
import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv3d(1, width, 3, stride=4)
        self.second = nn.Conv3d(width, width, 3, stride=4)
        # registered behind the second convolution, used behind the first
        self.norm = nn.BatchNorm3d(width)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        return self.pool(self.second(x)).flatten(1)


def make(width=3):
    return Tiny(width)


def make_flat():
    network = nn.Sequential(nn.Conv2d(3, 4, 5, stride=5), nn.ReLU())
    with torch.no_grad():
        network[0].weight.copy_(torch.arange(300.0).reshape(4, 3, 5, 5).sin())
        network[0].bias.fill_(0.25)
    return network


def fail():
    raise ValueError("no such depth\\nsee the manual")


def give_a_number():
    return 3


class NotANetwork:
    pass
"""
RECIPE = """
arguments = {width = 3}
takes = "volume"
grid = "mni152-2mm"
steps = [{step = "z-score"}, {step = "crop", box = [[5, 85], [5, 105], [0, 80]]}]
taps.first = {module = "first", width = 3}
taps.pooled = {module = "pool", width = 3}
taps.features = {module = "", width = 3, positions = false}
default_taps = ["first", "features"]
default_pooling = ["mean", "std"]
"""
FLAT = """
takes = "pictures"
grid = "mni152-2mm"
steps = [{step = "divide-by", value = 255}]
views = [{name = "axial", steps = [
    {step = "slices", axis = "axial", first = 30, last = 50, count = 3},
    {step = "resize", size = 64},
    {step = "normalise", mean = [0.5, 0.25, 0.0], std = [1, 0.5, 2]},
]}]
taps.maps = {module = "1", width = 4}
default_pooling = ["slices"]
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A package of the user's own, with its recipes."""
    (tmp_path / "mynets").mkdir()
    (tmp_path / "mynets" / "__init__.py").write_text("")
    (tmp_path / "mynets" / "small.py").write_text(NETS)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("mynets", "mynets.small"):
        sys.modules.pop(name, None)


def _features(requests, brains, output, n=2):
    images = index_images(str(brains(n)))
    extract(images, [load_job(one, "cpu", output.parent) for one in requests], output, device="cpu")
    return images, {name: store.read_set(output, name) for name in store.list_sets(output)}


# --- python: --------------------------------------------------------------------------------------------------


def test_a_network_of_ones_own_gives_what_it_gives_by_hand(nets, brains, tmp_path):
    name = "python:mynets.small:make"
    request = make_request(name, recipe=tomllib.loads(RECIPE))
    images, found = _features([request], brains, tmp_path / "f.h5")
    assert set(found) == {f"{name}/volume/{place}" for place in ("first/mean", "first/std", "features/mean")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        from mynets.small import Tiny

        network = Tiny(3).eval()
    for at, image in enumerate(images):
        data = read_volume(image.path).data.astype(np.float64)
        x = ((data - data.mean()) / data.std())[5:85, 5:105, 0:80]
        with torch.no_grad():
            x = torch.from_numpy(np.ascontiguousarray(x, np.float32))[None, None]
            first, last = network.first(x)[0].flatten(1), network(x)[0]
        for place, wanted in {
            "first/mean": first.mean(1),
            "first/std": first.std(1, correction=0),
            "features/mean": last,
        }.items():
            got = found[f"{name}/volume/{place}"]
            assert list(got.image_id) == [one.image_id for one in images]
            np.testing.assert_allclose(got.X[at], wanted.numpy(), rtol=1e-4, atol=1e-5)
    provenance = found[f"{name}/volume/features/mean"].provenance
    assert (provenance["network"], provenance["weights"]) == (name, "factory")
    assert provenance["weights_sha256"] == tensors_sha256(network.state_dict())
    recipe = json.loads(provenance["recipe"])
    assert recipe["steps"] == [{"step": "z-score"}, {"step": "crop", "box": [[5, 85], [5, 105], [0, 80]]}]
    assert recipe["own"]["arguments"] == {"factory": "mynets.small:make", "width": 3}


def test_its_pictures_go_the_way_of_all_pictures(nets, brains, tmp_path):
    name = "python:mynets.small:make_flat"
    images, found = _features([make_request(name, recipe=tomllib.loads(FLAT))], brains, tmp_path / "f.h5", n=1)
    data = torch.from_numpy(np.ascontiguousarray(read_volume(images[0].path).data))
    slices = torch.stack([data[:, :, at].T.flip(0) for at in (30, 40, 50)])[:, None] / 255
    slices = torch.nn.functional.interpolate(slices, size=(64, 64), mode="bilinear", align_corners=False)
    channels = [(slices - mean) / std for mean, std in ((0.5, 1), (0.25, 0.5), (0.0, 2))]
    weight = torch.arange(300.0).reshape(4, 3, 5, 5).sin()
    maps = torch.nn.functional.conv2d(torch.cat(channels, 1), weight, torch.full((4,), 0.25), stride=5).relu()
    assert found[f"{name}/axial/maps/slices"].X.shape == (1, 3, 4)
    np.testing.assert_allclose(
        found[f"{name}/axial/maps/slices"].X[0], maps.mean((2, 3)).numpy(), rtol=1e-3, atol=1e-4
    )


def test_it_can_have_other_weights(nets, tmp_path):
    name = "python:mynets.small:make"
    recipe = tomllib.loads(RECIPE)
    own, other, again = (
        load_network(request.sheet, request.weights, tmp_path)
        for request in make_requests([name, f"{name}@random:1", f"{name}@random:0"], recipe=recipe)
    )
    assert (own.weights, own.tag) == ("factory", "")
    assert (other.weights, other.tag) == ("random:1", "random-1")
    assert own.sha256 == again.sha256 != other.sha256
    save_file(other.network.state_dict(), tmp_path / "a=b.safetensors")
    (request,) = make_requests([name], [f"{name}={tmp_path / 'a=b.safetensors'}"], recipe=recipe)
    filed = load_network(request.sheet, request.weights, tmp_path)
    assert (filed.weights, filed.sha256) == ("file:a=b.safetensors", other.sha256)
    with pytest.raises(
        WeightsError, match="official weights must be published to be had; featx knows of none for py"
    ):
        load_network(request.sheet, "official", tmp_path)


def test_the_command_takes_its_recipe_from_a_file(nets, brains, tmp_path, monkeypatch, capsys):
    from featx_cli.main import run

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["featx", "extract", *map(str, words), "--device", "cpu"])
        with pytest.raises(SystemExit) as end:
            run()
        return end.value.code or 0, "".join(capsys.readouterr())

    words = (brains(1), "-n", "python:mynets.small:make", "-o", tmp_path / "f.h5")
    code, told = call(*words, "--recipe", nets / "tiny.toml", "--tap", "pooled")
    assert code == 0, told
    assert "python:mynets.small:make: 2 feature sets, weights factory" in told
    assert sorted(store.list_sets(tmp_path / "f.h5")) == [
        "python:mynets.small:make/volume/pooled/mean",
        "python:mynets.small:make/volume/pooled/std",
    ]
    code, told = call(*words)
    assert code == 2
    assert "must come with a recipe" in " ".join(told.split())
    (nets / "tiny.toml").write_text(RECIPE.replace('"pool"', '"second"'))
    code, told = call(*words, "--recipe", nets / "tiny.toml", "--tap", "pooled")
    assert code == 2
    assert "in the output already with another recipe" in " ".join(told.split())
    (nets / "tiny.toml").write_text(RECIPE)
    code, told = call(*words, "--recipe", nets / "tiny.toml", "--tap", "pooled")
    assert code == 0, told
    edited = NETS.replace("return self.pool(", "return 2 * self.pool(")  # the same tensors
    (nets / "mynets" / "small.py").write_text(edited)
    sys.modules.pop("mynets.small")
    code, told = call(*words, "--recipe", nets / "tiny.toml", "--tap", "pooled")
    assert code == 2
    assert "with another recipe, precision, weights or code" in " ".join(told.split())


def test_its_views_and_slices_are_chosen_like_those_of_the_table(nets):
    request = make_request(
        "python:mynets.small:make_flat", recipe=tomllib.loads(FLAT), n_slices=5, size="48", poolings=["max"]
    )
    assert request.recipe.views[0].steps[0].settings["count"] == 5
    assert request.recipe.views[0].steps[1] == Step("resize", {"size": 48})
    assert request.poolings == ("max",)


@pytest.mark.parametrize(
    "name, match",
    [
        ("python:mynets", "must be named python:package.module:factory; got 'python:mynets'"),
        ("python:mynets.small:make()", "must be named python:package.module:factory"),
        ("python:/a/b.py:make", "must be named python:package.module:factory"),
        ("python::make", "must be named python:package.module:factory"),
    ],
)
def test_a_name_that_names_no_factory(name, match):
    with pytest.raises(NetworkError, match=match):
        get_network(name, {})


def test_without_a_recipe_the_sentence_shows_one():
    with pytest.raises(NetworkError, match=r"must come with a recipe; python:mynets.small:make has none; .*takes = "):
        make_request("python:mynets.small:make")


@pytest.mark.parametrize(
    "factory, match",
    [
        ("nowhere.at.all:make", r"importable; nowhere.at.all:make is not \(No module named 'nowhere'\)"),
        ("mynets.small:build", "importable; mynets.small:build is not .*PYTHONPATH"),
        ("mynets.small:fail", r"mynets.small:fail failed with ValueError \(no such depth\) on the arguments {}"),
        ("mynets.small:make_flat", r"make_flat failed with TypeError .*arguments {'width': 3}"),
        ("mynets.small:give_a_number", "a factory must give a torch module; .* gave int"),
        ("mynets.small:NotANetwork", "a factory must give a torch module; .* gave NotANetwork"),
        ("mynets.small:NETS", "importable; mynets.small:NETS is not"),
    ],
)
def test_factories_that_fail(nets, factory, match):
    arguments = {"width": 3} if factory.endswith("make_flat") else {}
    recipe = {**tomllib.loads(RECIPE), "arguments": arguments}
    request = make_request(f"python:{factory}", recipe=recipe)
    with pytest.raises(NetworkError, match=match):
        load_job(request, "cpu", Path("unused"))


def test_a_recipe_is_for_a_network_of_ones_own():
    match = "a recipe must be for a network of your own; sfcn.ukb_age have theirs already"
    with pytest.raises(NetworkError, match=match):
        make_requests(["sfcn.ukb_age"], recipe={})
    with pytest.raises(NetworkError, match=match):
        make_request("sfcn.ukb_age", recipe={})


# --- file: ----------------------------------------------------------------------------------------------------


def _trained(path, name="sfcn.ours", seed=4):
    """A narrow SFCN on 2 mm brains, as if featx had trained it: its sheet and its network."""
    sheet = replace(
        get_network("sfcn.narrow"),
        name=name,
        arguments={"channels": (2, 3, 4, 5, 6, 7), "n_outputs": 2},
        recipe=Recipe(MNI152_2MM, (Step("divide-by-mean"),), (View("volume"),)),
        taps={"block3": Tap("feature_extractor.conv_3", 5), "logits": Tap("classifier.conv_6", 2, positions=False)},
        default_taps=("block3", "logits"),
        weights=None,
        training="our brains",
        age_range_years=(20.0, 80.0),
    )
    loaded = load_network(sheet, f"random:{seed}", Path("unused"))
    write_checkpoint(path, loaded.network, sheet, note="a test")
    return sheet, loaded.network


def test_a_checkpoint_of_featx_is_all_that_is_needed(brains, tmp_path):
    path = tmp_path / "runs@here" / "seed=4.safetensors"
    path.parent.mkdir()
    sheet, network = _trained(path)
    (request,) = make_requests([f"file:{path}"])
    assert request.sheet == sheet
    assert request.weights == str(path)
    images, found = _features([request], brains, tmp_path / "f.h5")
    sha256 = tensors_sha256(load_file(path))
    prefix = f"sfcn.ours@file-{sha256[:8]}/volume"
    assert set(found) == {f"{prefix}/block3/mean", f"{prefix}/logits/mean"}
    for one in found.values():
        assert one.provenance["weights"] == "file:seed=4.safetensors"
        assert one.provenance["weights_sha256"] == sha256
    for at, image in enumerate(images):
        data = read_volume(image.path).data
        x = torch.from_numpy(np.ascontiguousarray(data / data.mean(dtype=np.float64), np.float32))[None, None]
        with torch.inference_mode():
            wanted = {
                "block3": network.feature_extractor[:4](x).mean((2, 3, 4)),
                "logits": network.classifier(network.feature_extractor(x)).flatten(1),
            }
        for tap, values in wanted.items():
            np.testing.assert_allclose(found[f"{prefix}/{tap}/mean"].X[at], values[0].numpy(), rtol=1e-3, atol=1e-5)


def test_a_checkpoint_can_be_had_with_other_weights(tmp_path):
    path = tmp_path / "a.safetensors"
    _, network = _trained(path)
    name = f"file:{path}"
    requests = make_requests([name, f"{name}@random:9", f"{name}@reinit:2"])
    own, random, redrawn = (load_network(one.sheet, one.weights, tmp_path) for one in requests)
    assert own.sha256 == tensors_sha256(network.state_dict())
    assert (random.weights, random.tag) == ("random:9", "random-9")
    assert redrawn.weights == "reinit:2 of file:a.safetensors"
    with pytest.raises(WeightsError, match="featx knows of none for sfcn.ours"):
        load_network(requests[0].sheet, "official", tmp_path)


def test_what_a_file_says_of_official_weights_is_not_believed(tmp_path):
    path = tmp_path / "a.safetensors"
    sheet = replace(get_network("sfcn.narrow"), weights=get_network("sfcn.ukb_age").weights)
    with torch.inference_mode():
        write_checkpoint(path, load_network(sheet, "random:0", tmp_path).network, sheet, note="")
    assert read_facts(path)["weights"]["url"].startswith("https:")
    assert get_network(f"file:{path}").weights is None


@pytest.mark.parametrize(
    "change, match",
    [
        ({"architecture": "os:system"}, "the facts of sfcn.ours must name code of featx's own table"),
        ({"name": "../up"}, "a network's name must be letters, digits, .*got '../up'"),
        ({"name": "a@b"}, "a network's name must be letters, digits"),
        ({"name": None}, r"a checkpoint must say the name of its network; .*a.safetensors says None"),
        ({"spell": 1}, "the facts of sfcn.ours must hold what featx knows; got 'spell'"),
    ],
)
def test_a_checkpoint_whose_facts_are_wrong(tmp_path, change, match):
    facts = facts_of(replace(get_network("sfcn.narrow"), name="sfcn.ours")) | change
    tensors = {"a": torch.zeros(1)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"featx-network": json.dumps(facts)})
    with pytest.raises(NetworkError, match=match):
        get_network(f"file:{tmp_path / 'a.safetensors'}")


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"model": "fcn_resnet50"}, "must be one that tells classes of pictures or clips; got 'fcn_resnet50'"),
        ({"model": "resnet18", "depth": 3}, r"resnet18.ours cannot be from .*'depth': 3} \(TypeError"),
    ],
)
def test_a_checkpoint_whose_arguments_are_wrong(tmp_path, monkeypatch, arguments, match):
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)
    path = tmp_path / "a.safetensors"
    facts = facts_of(replace(get_network("resnet18.imagenet"), name="resnet18.ours", weights=None))
    told = {"featx-network": json.dumps({**facts, "arguments": arguments})}
    save_file({"a": torch.zeros(1)}, path, metadata=told)
    (request,) = make_requests([f"file:{path}"])
    with pytest.raises(NetworkError, match=match):
        load_network(request.sheet, request.weights, tmp_path)


def test_files_that_are_no_checkpoint_of_featx(tmp_path):
    with pytest.raises(WeightsError, match=r"a file of weights must exist; .*gone.safetensors does not"):
        get_network(f"file:{tmp_path / 'gone.safetensors'}")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match=r"must say which network it is of.*foreign.safetensors does not"):
        get_network(f"file:{tmp_path / 'foreign.safetensors'}")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(WeightsError, match=r"a checkpoint of tensors; .*text.safetensors is not"):
        get_network(f"file:{tmp_path / 'text.safetensors'}")


# --- the rest -------------------------------------------------------------------------------------------------


def test_a_slice_set_by_pattern_is_read(tmp_path):
    sheet = get_network("sliceset:squeezenet1_1/mean/positions")
    assert "/" not in sheet.name
    loaded = load_network(sheet, "random:0", tmp_path)
    view = sheet.recipe.views[0]
    few = replace(view, steps=tuple(_few(step) for step in view.steps))
    with torch.inference_mode():
        rows = make_reader(loaded.network, sheet, sheet.default_taps, ("mean",))(torch.rand(1, 1, 91, 109, 91), few)
    assert {tap: tuple(values.shape) for (tap, _), values in rows.items()} == {
        tap: (1, sheet.taps[tap].width) for tap in sheet.default_taps
    }


def _few(step):
    return Step(step.name, {**step.settings, "count": 3}) if step.name == "slices" else step


def test_an_unknown_network_is_told_the_patterns():
    with pytest.raises(NetworkError, match="'sfcn' is not; known are .*; patterns are timm:NAME, file:PATH, python:"):
        get_network("sfcn")
    assert [pattern.partition(":")[0] for pattern in PATTERNS] == ["timm", "file", "python", "sliceset"]


def test_the_usual_weights():
    names = ("sfcn.ukb_age", "timm:vgg11", "sliceset:resnet18/mean", "file:/a/b", "python:a:b")
    assert [usual_weights(name) for name in names] == ["official", "official", "official", "/a/b", "factory"]


@pytest.mark.parametrize(
    "name, module, extras",
    [
        ("timm:vgg11", "featx.networks.architectures.timm", r"featx\[torch,timm\]"),
        ("file:a.safetensors", "featx.networks.checkpoint", r"featx\[torch\]"),
    ],
)
def test_without_torch(name, module, extras, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        DependencyError, match=f"the sheet of {name} must be read with torch; .*pip install '{extras}"
    ):
        get_network(name)
