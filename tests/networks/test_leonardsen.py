"""The SFCNs of Leonardsen et al. against networks that Keras itself builds, saves and runs."""

import os
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from featx.errors import WeightsError
from featx.images.volume import MNI152_1MM, Volume, grid_affine
from featx.networks import get_network, keras_file
from featx.networks.architectures.leonardsen import TASKS
from featx.networks.reading import make_reader
from featx.networks.recipe import prepare
from featx.networks.weights import load_network
from tests.conftest import phantom

os.environ.setdefault("KERAS_BACKEND", "torch")

pytestmark = [
    pytest.mark.usefixtures("no_gradients"),
    # of Keras' torch backend under NumPy 2
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
HEADS = {"reg": 1, "sm": 93, "rank": 91, "bin": 1}


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras")


def _name(head):
    return "sfcn_multi.leonardsen2025" if head == "multi" else f"sfcn_{head}.leonardsen2022"


def _published(keras, head, shape, name, first=0):
    """The published layout, layer by layer as its authors describe it, with random weights and statistics."""
    layers = keras.layers
    inputs = x = layers.Input((*shape, 1), name=f"{name}_inputs")
    taps = {}
    for at, width in enumerate((32, 64, 128, 256, 256)):
        block = f"{name}_block-{at + first}"
        x = layers.Conv3D(width, (3, 3, 3), padding="same", name=f"{block}_conv")(x)
        x = layers.BatchNormalization(name=f"{block}_norm")(x)
        x = layers.Activation("relu", name=f"{block}_relu")(x)
        taps[f"block{at}"] = x = layers.MaxPooling3D((2, 2, 2), name=f"{block}_pool")(x)
    x = layers.Conv3D(64, (1, 1, 1), padding="same", name=f"{name}_top_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_top_norm")(x)
    taps["block5"] = x = layers.Activation("relu", name=f"{name}_top_relu")(x)
    pool = layers.GlobalMaxPooling3D if head == "multi" else layers.GlobalAveragePooling3D
    taps["features"] = x = pool(name=f"{name}_top_pool")(x)
    if head == "multi":
        named = {task: f"{name}_predictions_predictions_{task}" for task in TASKS}
        sigmoid = ("sex", "handedness")
        outputs = [
            layers.Dense(1, activation="sigmoid" if task in sigmoid else None, name=named[task])(x) for task in TASKS
        ]
        taps["outputs"] = layers.Concatenate(axis=-1)(outputs)
    else:
        activation = {"reg": None, "sm": "softmax", "rank": "sigmoid", "bin": "sigmoid"}[head]
        x = layers.Dense(HEADS[head], activation=activation, name=f"{name}_predictions")(x)
        if head == "reg":
            x = layers.ReLU(max_value=95 - 3, name=f"{name}_restrict_relu")(x)
            x = layers.Rescaling(1, offset=3, name=f"{name}_restrict_add")(x)
        taps["outputs"] = x
    network = keras.Model(inputs, taps["outputs"], name=name)
    _randomise(network, np.random.default_rng(7))
    return network, keras.Model(inputs, taps)


def _randomise(network, rng):
    for layer in network.layers:
        values = [weight.shape for weight in layer.weights]
        if "norm" in layer.name:
            gamma, beta, mean, variance = values
            made = [rng.uniform(0.5, 1.5, gamma), rng.normal(0, 0.2, beta), rng.normal(0, 0.2, mean)]
            layer.set_weights([*made, rng.uniform(0.5, 2, variance)])
        elif "conv" in layer.name:
            kernel, bias = values
            scale = 1.4 / np.sqrt(np.prod(kernel[:-1]))
            layer.set_weights([rng.normal(0, scale, kernel), rng.normal(0, 0.1, bias)])
        elif "predictions" in layer.name:
            kernel, bias = values
            outputs = 40.0 if layer.name == "sfcn-reg_predictions" else rng.normal(0, 1, bias)
            layer.set_weights([rng.normal(0, 0.5, kernel), np.broadcast_to(outputs, bias)])


def _decoded(head, outputs):
    """The authors' decoding of what Keras gives."""
    if head == "sm":
        return 3 + (np.arange(93) * outputs.astype(np.float64)).sum(-1, keepdims=True)
    if head == "rank":
        return 3 + np.round(outputs).sum(-1, keepdims=True)
    return outputs  # reg is decoded in Keras, bin is a probability


def _by_keras(taps, x):
    """Every tap on x (N, I, J, K), as Keras gives it."""
    return {name: np.asarray(values.detach()) for name, values in taps(x[..., None]).items()}


def _rows(sheet, network, x, *, optimised):
    read = make_reader(network, sheet, tuple(sheet.taps), ("mean", "max"), optimised=optimised)
    return {place: rows.numpy() for place, rows in read(torch.from_numpy(x[:, None]), sheet.recipe.views[0]).items()}


def _check_head(head, rows, network, wanted):
    """Compare what follows the blocks."""
    np.testing.assert_allclose(rows["features", "mean"], wanted["features"], rtol=1e-4, atol=1e-4)
    assert wanted["features"].std() > 0.01
    if head == "multi":
        for at, task in enumerate(TASKS):
            np.testing.assert_allclose(rows[task, "mean"][:, 0], wanted["outputs"][:, at], rtol=1e-4, atol=1e-4)
        return
    kernel, bias = network.get_layer(f"{network.name}_predictions").get_weights()
    logits = wanted["features"] @ kernel + bias
    np.testing.assert_allclose(rows["logits", "mean"], logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(rows["prediction", "mean"], _decoded(head, wanted["outputs"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", [*HEADS, "multi"])
def test_weights_that_keras_saved_give_what_keras_gives(keras, head, tmp_path):
    prefix = "SFCNMulti" if head == "multi" else f"sfcn-{head}"
    network, taps = _published(keras, head, (66, 71, 64), prefix)
    network.save(tmp_path / "weights.h5")
    sheet = get_network(_name(head))
    x = np.random.default_rng(1).uniform(0, 1, (1, 66, 71, 64)).astype(np.float32)
    wanted = _by_keras(taps, x)
    loaded = load_network(sheet, str(tmp_path / "weights.h5"), tmp_path)
    assert loaded.weights == "file:weights.h5"
    assert sum(values.numel() for values in loaded.network.parameters()) == sheet.n_parameters
    for optimised in (False, True):
        rows = _rows(sheet, loaded.network, x, optimised=optimised)
        for at in range(6):
            block = wanted[f"block{at}"]
            np.testing.assert_allclose(rows[f"block{at}", "mean"], block.mean((1, 2, 3)), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(rows[f"block{at}", "max"], block.max((1, 2, 3)), rtol=1e-4, atol=1e-4)
        _check_head(head, rows, network, wanted)


def test_the_whole_way_from_an_image_to_an_age(keras, tmp_path):
    """Grey of 8 bits over 255, the published crop, at full size, once."""
    network, _ = _published(keras, "reg", (167, 212, 160), "sfcn-reg")
    network.save(tmp_path / "weights.h5")
    sheet = get_network("sfcn_reg.leonardsen2022")
    data = phantom(MNI152_1MM)
    x = np.ascontiguousarray((data / 255)[6:173, 2:214, 0:160].astype(np.float32))
    volume = Volume(np.asfortranarray(data, dtype=np.float32), grid_affine(MNI152_1MM))
    prepared = np.ascontiguousarray(prepare(volume, sheet.recipe, sheet.name, "here"))
    np.testing.assert_allclose(prepared, x, rtol=1e-6)
    loaded = load_network(sheet, str(tmp_path / "weights.h5"), tmp_path).network
    wanted = {}
    flowing = prepared[None, ..., None]
    for layer in network.layers[1:]:  # one by one, so that no activation outlives its layer
        flowing = layer(flowing)
        wanted["features" if layer.name == "sfcn-reg_top_pool" else "outputs"] = flowing
    wanted = {name: np.asarray(wanted[name].detach()) for name in ("features", "outputs")}
    _check_head("reg", _rows(sheet, loaded, prepared[None], optimised=True), network, wanted)


@pytest.mark.parametrize(
    "head, logits, wanted",
    [
        ("reg", [[-5.0], [0.0], [41.5], [92.0], [120.0]], [[3.0], [3.0], [44.5], [95.0], [95.0]]),
        ("rank", [[-1.0] * 91, [1.0] * 40 + [0.0] * 51, [9.0] * 91], [[3.0], [43.0], [94.0]]),
        ("sm", [[0.0] * 93, [0.0] * 90 + [60.0] + [0.0] * 2], [[49.0], [93.0]]),
        ("bin", [[0.0], [np.log(3)]], [[0.5], [0.75]]),
    ],
)
def test_predictions_are_decoded_as_published(head, logits, wanted, tmp_path):
    network = load_network(get_network(_name(head)), "random:0", tmp_path).network
    np.testing.assert_allclose(network.decode(torch.tensor(logits)), wanted, rtol=1e-6)


# --- files that Keras saves -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(keras, tmp_path_factory):
    """One network in every form of file."""
    folder = tmp_path_factory.mktemp("keras")
    network, _ = _published(keras, "sm", (32, 32, 32), "sfcn-sm")
    network.save(folder / "whole.h5")
    network.save_weights(folder / "three.weights.h5")
    with h5py.File(folder / "two.hdf5", "w") as file:  # save_weights of Keras 2: bytes, and ":0" behind each name
        file.attrs["layer_names"] = np.array([layer.name.encode() for layer in network.layers])
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0".encode() for weight in layer.weights]
            group.attrs["weight_names"] = np.array(names) if names else np.array([], dtype="S1")
            for name, values in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name, data=values)
    wanted = {
        layer.name: dict(zip([weight.name for weight in layer.weights], layer.get_weights(), strict=True))
        for layer in network.layers
        if layer.weights
    }
    return SimpleNamespace(folder=folder, layers=wanted)


@pytest.mark.parametrize("file", ["whole.h5", "three.weights.h5", "two.hdf5"])
def test_every_form_of_keras_file_is_read(saved, file):
    found = keras_file.read(saved.folder / file)
    assert set(found) == set(saved.layers)
    for layer, weights in saved.layers.items():
        assert set(found[layer]) == set(weights)
        for name, values in weights.items():
            assert found[layer][name].dtype == np.float32
            np.testing.assert_array_equal(found[layer][name], values)


def test_every_form_gives_the_same_network(saved, tmp_path):
    sheet = get_network("sfcn_sm.leonardsen2022")
    first, *others = (load_network(sheet, str(saved.folder / file), tmp_path) for file in os.listdir(saved.folder))
    assert {one.sha256 for one in others} == {first.sha256}
    torch.save(first.network.state_dict(), tmp_path / "own.pth")
    assert load_network(sheet, str(tmp_path / "own.pth"), tmp_path).sha256 == first.sha256


def test_blocks_may_be_counted_from_one(saved, tmp_path):
    sheet = get_network("sfcn_sm.leonardsen2022")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        _write(file, {_renumbered(layer): weights for layer, weights in saved.layers.items()})
    wanted = load_network(sheet, str(saved.folder / "two.hdf5"), tmp_path).sha256
    assert load_network(sheet, str(tmp_path / "other.h5"), tmp_path).sha256 == wanted


def _renumbered(layer):
    for at in range(5):
        if f"block-{at}" in layer:
            return layer.replace(f"sfcn-sm_block-{at}", f"Ageing_block{at + 1}")
    return layer


def _write(file, layers):
    file.attrs["layer_names"] = list(layers)
    for layer, weights in layers.items():
        group = file.create_group(layer)
        group.attrs["weight_names"] = [f"{layer}/{name}" for name in weights]
        for name, values in weights.items():
            group.create_dataset(f"{layer}/{name}", data=values)


def test_a_layer_that_holds_layers(tmp_path):
    with h5py.File(tmp_path / "nested.h5", "w") as file:
        file.attrs["layer_names"] = ["inner"]
        group = file.create_group("inner")
        group.attrs["weight_names"] = ["a/kernel", "a/bias", "b/kernel"]
        for name, value in (("a/kernel", 1.0), ("a/bias", 2.0), ("b/kernel", 3.0)):
            group.create_dataset(name, data=[value])
    found = keras_file.read(tmp_path / "nested.h5")
    assert {layer: {name: float(one[0]) for name, one in weights.items()} for layer, weights in found.items()} == {
        "a": {"kernel": 1, "bias": 2},
        "b": {"kernel": 3},
    }


@pytest.mark.parametrize("content", ["page", "empty", "cut", "missing"])
def test_a_file_that_keras_did_not_save(saved, tmp_path, content):
    path = tmp_path / "weights.h5"
    if content != "missing":
        whole = (saved.folder / "whole.h5").read_bytes()
        path.write_bytes({"page": b"<html>", "empty": b"", "cut": whole[: len(whole) // 2]}[content])
    with pytest.raises(WeightsError, match=r"must be HDF5 that Keras saved; .*weights\.h5 is not \(.*save_weights"):
        keras_file.read(path)


def test_hdf5_of_something_else(tmp_path):
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["sets/x"] = np.zeros(3)
    with pytest.raises(WeightsError, match="must name layers with weights; .*features.h5 names none"):
        keras_file.read(tmp_path / "features.h5")


def test_a_group_that_keras_would_not_write(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for at in range(3):
            file[f"layers/lstm/vars/{at}"] = np.zeros(2)
    with pytest.raises(WeightsError, match=r"is not \(/layers/lstm/vars has 3 weights\)"):
        keras_file.read(tmp_path / "a.weights.h5")


@pytest.mark.parametrize(
    "layers, match",
    [
        ({"conv1": {"kernel": np.zeros((3, 3, 1, 4))}}, "'conv1' with 'kernel' is none, in .*name the network"),
        ({"x_top_norm": {"scale": np.zeros(4)}}, "'x_top_norm' with 'scale' is none"),
        (
            {"a_top_conv": {"bias": np.zeros(4)}, "b_top_conv": {"bias": np.zeros(4)}},
            r"of one network; .* holds those of feature_extractor.conv_0.0 more than once, at last in 'b_top_conv'",
        ),
        ({"x_top_conv": {"bias": np.zeros(4)}}, r"fit sfcn_reg.leonardsen2022, tensor by tensor.* missing"),
    ],
)
def test_keras_weights_of_another_network(tmp_path, layers, match):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        _write(file, layers)
    with pytest.raises(WeightsError, match=match):
        load_network(get_network("sfcn_reg.leonardsen2022"), str(tmp_path / "a.h5"), tmp_path)


def test_weights_without_the_head_or_with_another_one(saved, tmp_path):
    with pytest.raises(WeightsError, match=r"of another shape \(such as predictions.weight\)"):
        load_network(get_network("sfcn_rank.leonardsen2022"), str(saved.folder / "whole.h5"), tmp_path)


def test_official_weights_are_git_blobs_of_the_authors():
    for head in HEADS:
        weights = get_network(_name(head)).weights
        if head == "bin":
            assert weights is None
        else:
            sha1 = weights.digest.removeprefix("git-blob-sha1:")
            assert len(sha1) == 40
            assert weights.url == f"https://api.github.com/repos/estenhl/pyment-public/git/blobs/{sha1}"
            assert weights.file.endswith(".h5")
            assert get_network(_name(head)).age_range_years == (3, 95)
