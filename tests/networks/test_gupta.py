"""Sets of slices against plain loops over slices, on all three axes; the 3D network written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision.models.feature_extraction import create_feature_extractor

from featx import store
from featx.errors import ImageError, NetworkError
from featx.extraction.engine import extract
from featx.extraction.job import load_job
from featx.extraction.plan import make_request
from featx.images.index import index_images
from featx.images.volume import MNI152_1MM
from featx.networks import get_network
from featx.networks.architectures.gupta import SliceSet
from featx.networks.reading import make_reader
from featx.networks.recipe import prepare
from featx.networks.table import gupta
from featx.networks.table.gupta import describe_set
from featx.networks.taps import poolings_of
from featx.networks.weights import build, load_network
from tests.networks.conftest import phantom_batch, phantom_volume

pytestmark = pytest.mark.usefixtures("no_gradients")

SHEETS = {sheet.name: sheet for sheet in gupta.SHEETS}
SETS = [name for name in SHEETS if name.startswith("sliceset.")]
N_SLICES = {"sagittal": 91, "coronal": 109, "axial": 91}


@pytest.mark.parametrize("name", SHEETS)
def test_every_entry_gives_what_its_sheet_promises(name, tmp_path):
    """Together and alone, made faster and as it is: the same numbers, of the promised width."""
    sheet = get_network(name)
    assert set(sheet.default_taps) <= set(sheet.taps)
    network = load_network(sheet, "random:3", tmp_path).network
    assert not any(module.training for module in network.modules())
    assert sum(values.numel() for values in network.parameters()) == sheet.n_parameters
    view = sheet.recipe.views[0]
    volumes = phantom_batch(sheet, 0, 1)
    plain = make_reader(network, sheet, tuple(sheet.taps), sheet.poolings, optimised=False)(volumes[1:], view)
    n_norms = sum(isinstance(module, nn.InstanceNorm2d | nn.InstanceNorm3d) for module in network.modules())
    together = make_reader(network, sheet, tuple(sheet.taps), sheet.poolings)(volumes, view)
    assert n_norms == 6  # five blocks and the narrow layer: they depend on the image and are never folded
    assert sum(isinstance(module, nn.InstanceNorm2d | nn.InstanceNorm3d) for module in network.modules()) == n_norms
    assert set(together) == {(tap, how) for tap in sheet.taps for how in poolings_of(sheet, tap, sheet.poolings)}
    for (tap, how), values in together.items():
        width = sheet.taps[tap].width
        shape = {"concat": (2, 91 * width), "slices": (2, 91, width)}.get(how, (2, width))
        assert values.shape == shape, (tap, how)
        scale = float(values.abs().max())
        assert scale > 0
        torch.testing.assert_close(values[1:], plain[tap, how], rtol=0, atol=scale * 2e-5)


@pytest.mark.parametrize("name", SHEETS)
def test_every_entry_refuses_another_grid(name):
    with pytest.raises(ImageError, match=f"{name} wants a brain on the MNI152 2 mm") as caught:
        prepare(phantom_volume(grid=MNI152_1MM), SHEETS[name].recipe, name, "here")
    assert caught.value.code == "wrong-grid"


# --- against a plain loop -------------------------------------------------------------------------------------


def _shaken(network, seed=0):
    """No weight at its start: biases not 0, layer norms not 1, so that a forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in network.named_parameters():
        if name.startswith("encoder.network."):  # of many layers, which would not survive it
            continue
        values.add_(torch.randn(values.shape, generator=generator) * 0.1)
    return network.eval()


def _normalised(x):
    """Every channel of every picture: mean 0, standard deviation 1."""
    axes = tuple(range(1, x.ndim))
    return (x - x.mean(axes, keepdim=True)) / (x.var(axes, keepdim=True, correction=0) + 1e-5).sqrt()


def _encoder1_by_hand(state, picture):
    """One slice (H, W) to 32 numbers."""
    x = picture[None]
    for at in range(5):
        weight, bias = state[f"encoder.block{at}.0.weight"], state[f"encoder.block{at}.0.bias"]
        x = functional.max_pool2d(_normalised(functional.conv2d(x, weight, bias, padding=1)), 2).clamp(min=0)
    narrow = state["encoder.narrow.0.weight"][:, :, 0, 0], state["encoder.narrow.0.bias"]
    x = torch.einsum("oc,chw->ohw", narrow[0], x) + narrow[1][:, None, None]
    x = _normalised(x).clamp(min=0).mean((1, 2))
    return state["encoder.last.weight"][:, :, 0, 0] @ x + state["encoder.last.bias"]


def _layer_norm_by_hand(state, path, x):
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    return x * state[f"{path}.weight"] + state[f"{path}.bias"]


def _linear_by_hand(state, path, x):
    return x @ state[f"{path}.weight"].T + state[f"{path}.bias"]


def _aggregated_by_hand(state, aggregation, embedded):
    """(S, 32) to 32 numbers."""
    if aggregation == "mean":
        return sum(embedded) / len(embedded)
    if aggregation == "max":
        return torch.stack([column.max() for column in embedded.T])
    keys, values = (_linear_by_hand(state, f"pooled.{one}", embedded) for one in ("key", "value"))
    scores = torch.stack([key @ state["pooled.query"][0] for key in keys]) / 32**0.5
    weights = scores.exp() / scores.exp().sum()
    together = sum(weight * value for weight, value in zip(weights, values, strict=True))
    return _linear_by_hand(state, "pooled.output", _layer_norm_by_hand(state, "pooled.norm", together))


def _answers_by_hand(state, aggregation, embedded, *, positions):
    if positions:
        placed = [one + state["positions.embedding"][at] for at, one in enumerate(embedded)]
        embedded = _layer_norm_by_hand(state, "positions.norm", torch.stack(placed))
    pooled = _aggregated_by_hand(state, aggregation, embedded)
    features = _linear_by_hand(state, "features.0", pooled).clamp(min=0)
    return pooled, features, _linear_by_hand(state, "prediction", features)


def _upright(volume, axis, at):
    """A slice as (H, W), its height downwards from superior, or from anterior in an axial one."""
    plane = volume.take(at, axis=("sagittal", "coronal", "axial").index(axis))
    return torch.from_numpy(np.ascontiguousarray(plane.T[::-1]))


@pytest.mark.parametrize("axis", N_SLICES)
def test_sets_agree_with_a_plain_loop_over_slices(axis):
    """Every aggregation, with positions and without (attention on all axes); of all slices, and of five of them."""
    data = phantom_volume().data.astype(np.float64)
    volume = ((data - data.mean()) / data.std()).astype(np.float32)
    torch.manual_seed(0)
    shared = _shaken(SliceSet("encoder1", "mean")).encoder
    state = {f"encoder.{name}": values for name, values in shared.state_dict().items()}
    embedded = torch.stack(
        [
            _encoder1_by_hand(state, _upright(volume, axis, at))
            for at in range(volume.shape[list(N_SLICES).index(axis)])
        ]
    )
    assert len(embedded) == N_SLICES[axis]
    for at, name in enumerate(SETS if axis == "sagittal" else SETS[2::3]):
        aggregation, positions = (SHEETS[name].arguments[what] for what in ("aggregation", "n_positions"))
        network = _shaken(build(SHEETS[name]), seed=at)
        network.encoder.load_state_dict(shared.state_dict())
        wishes = [(None, range(len(embedded)))]
        if not positions:
            wishes.append((5, [round(one) for one in np.linspace(0, len(embedded) - 1, 5)]))
        for n_slices, there in wishes:
            request = make_request(name, weights="random:0", views=(axis,), n_slices=n_slices)
            sheet = replace(request.sheet, recipe=request.recipe)
            read = make_reader(network, sheet, tuple(sheet.taps), sheet.poolings, optimised=False)
            rows = read(phantom_batch(sheet, 0), sheet.recipe.views[0])
            some = embedded[list(there)]
            wanted = _answers_by_hand(network.state_dict(), aggregation, some, positions=bool(positions))
            for tap, values in zip(("pooled", "features", "prediction"), wanted, strict=True):
                torch.testing.assert_close(rows[tap, "mean"][0], values, rtol=1e-3, atol=1e-4)
            by_slice = rows["slices", "slices"][0]
            torch.testing.assert_close(by_slice, some, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(rows["slices", "concat"][0], some.flatten(), rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(rows["slices", "std"][0], some.std(0, correction=0), rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(rows["slices", "max"][0], some.max(0).values, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", ["resnet18", "densenet121", "squeezenet1_0", "googlenet"])
def test_an_encoder_of_torchvision(model):
    """Its last vector, of the slice replicated to three channels, and a linear layer behind it."""
    sheet = describe_set(f"sliceset:{model}/attention")
    torch.manual_seed(0)
    network = _shaken(build(sheet))
    plain = {"googlenet": {"aux_logits": False, "init_weights": True}}.get(model, {})
    reference = torchvision.models.get_model(model, weights=None, **plain).eval()
    missing = reference.load_state_dict(network.encoder.network.state_dict(), strict=False)
    assert {name.rpartition(".")[0] for name in missing.missing_keys} <= {"fc", "classifier", "classifier.1"}
    node = {"resnet18": "avgpool", "densenet121": "features", "squeezenet1_0": "features", "googlenet": "avgpool"}
    vectors = create_feature_extractor(reference, {node[model]: "it"})
    sets = torch.randn(2, 3, 1, 109, 91)
    rows = [vectors(one[None].expand(1, 3, -1, -1))["it"].relu().mean((2, 3))[0] for one in sets.flatten(0, 1)]
    embedded = _linear_by_hand(network.state_dict(), "encoder.last", torch.stack(rows)).reshape(2, 3, 32)
    wanted = [_answers_by_hand(network.state_dict(), "attention", one, positions=False)[2] for one in embedded]
    torch.testing.assert_close(network(sets), torch.stack(wanted), rtol=1e-3, atol=1e-4)


def test_the_3d_network_written_out():
    sheet = SHEETS["cnn3d.gupta"]
    torch.manual_seed(0)
    network = _shaken(build(sheet))
    state = network.state_dict()
    volumes = phantom_batch(sheet, 0)
    taps = tuple(sheet.taps)
    rows = make_reader(network, sheet, taps, ("mean",), optimised=False)(volumes, sheet.recipe.views[0])
    x = volumes[0]
    for at in range(5):
        weight, bias = state[f"blocks.block{at}.0.weight"], state[f"blocks.block{at}.0.bias"]
        x = functional.max_pool3d(_normalised(functional.conv3d(x, weight, bias, padding=1)), 2).clamp(min=0)
        torch.testing.assert_close(rows[f"block{at}", "mean"][0], x.mean((1, 2, 3)), rtol=1e-3, atol=1e-4)
    assert x.shape == (256, 2, 3, 2)
    x = functional.conv3d(x, state["narrow.0.weight"], state["narrow.0.bias"])
    features = _normalised(x).clamp(min=0).mean((1, 2, 3))
    torch.testing.assert_close(rows["features", "mean"][0], features, rtol=1e-3, atol=1e-4)
    wanted = _linear_by_hand(state, "prediction", features)
    torch.testing.assert_close(rows["prediction", "mean"][0], wanted, rtol=1e-4, atol=1e-4)


# --- weights at the start, training ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHEETS)
def test_a_prediction_starts_at_the_mean_age(name):
    assert float(build(SHEETS[name]).prediction.bias) == pytest.approx(62.68)
    sheet = replace(SHEETS[name], arguments={**SHEETS[name].arguments, "mean_age": 31.5})
    assert float(build(sheet).prediction.bias) == 31.5


def test_slices_are_dropped_out_in_training_only():
    torch.manual_seed(0)
    network = SliceSet("encoder1", "mean")
    sets = torch.randn(1, 2, 1, 64, 72)
    assert not torch.equal(network(sets), network(sets))
    network.eval()
    assert torch.equal(network(sets), network(sets))


def test_batch_norm_learns_from_all_slices_at_once():
    torch.manual_seed(0)
    network = SliceSet("resnet18", "mean").train()
    sets = torch.randn(2, 12, 1, 33, 40)
    stem = network.encoder.network.conv1(sets.flatten(0, 1).expand(-1, 3, -1, -1))
    network(sets)
    norm = network.encoder.network.bn1
    assert int(norm.num_batches_tracked) == 1
    torch.testing.assert_close(norm.running_mean, 0.1 * stem.mean((0, 2, 3)), rtol=1e-3, atol=1e-5)


# --- wishes that cannot be ------------------------------------------------------------------------------------


def test_positions_belong_to_all_slices():
    with pytest.raises(NetworkError, match="the slices of sliceset.encoder1_mean_pos must be"):
        make_request("sliceset.encoder1_mean_pos", n_slices=7)
    with pytest.raises(NetworkError, match="the size of sliceset.encoder1_mean must be"):
        make_request("sliceset.encoder1_mean", size="224")
    network = SliceSet("encoder1", "mean", n_positions=2)
    with pytest.raises(NetworkError, match="at most 2 slices, one for each position that was learned; got 3"):
        network(torch.randn(1, 3, 1, 64, 72))


def test_encoder1_takes_no_neighbours_and_the_others_do():
    sets = torch.randn(1, 2, 3, 64, 72)
    with pytest.raises(NetworkError, match="encoder1 must be given slices of one channel; got 3"):
        SliceSet("encoder1", "mean")(sets)
    network = SliceSet("resnet18", "mean").eval()
    wanted = network.encoder.last(network.encoder.network(sets[0])).mean(0)
    wanted = network.prediction(network.features(wanted))
    torch.testing.assert_close(network(sets)[0], wanted)


@pytest.mark.parametrize("name", SETS)
def test_a_pattern_gives_the_entry_of_the_table(name):
    pattern = name.replace("sliceset.", "sliceset:").replace("_pos", "/positions").replace("_", "/")
    assert describe_set(pattern) == replace(SHEETS[name], n_parameters=0)


@pytest.mark.parametrize(
    "name, match",
    [
        ("sliceset:encoder1", "named as sliceset:ENCODER/AGGREGATION, .*; got"),
        ("sliceset:encoder1/", "an aggregation; got .*; known are 'attention'"),
        ("sliceset:encoder1/median", "an aggregation; got .*; known are 'attention'"),
        ("sliceset:encoder1/mean/places", "named as sliceset:ENCODER/AGGREGATION, .*; got"),
        ("sliceset:encoder1/mean/positions/x", "named as sliceset:ENCODER/AGGREGATION, .*; got"),
        ("resnet18/mean", "named as sliceset:ENCODER/AGGREGATION, .*; got"),
        ("sliceset:resnet/mean", "pictures of any size; 'resnet' in 'sliceset:resnet/mean' is none .*'resnet18'"),
    ],
)
def test_a_pattern_that_is_none(name, match):
    with pytest.raises(NetworkError, match=match):
        describe_set(name)


def test_features_of_every_slice_are_stored_apart(brains, tmp_path):
    images = index_images(str(brains(1)))
    request = make_request(
        "sliceset.encoder1_mean", weights="random:0", taps=("slices",), poolings=("slices",), n_slices=4
    )
    extract(images, [load_job(request, "cpu", tmp_path)], tmp_path / "features.h5", device="cpu")
    (name,) = store.read_shapes(tmp_path / "features.h5")
    stored = store.read_set(tmp_path / "features.h5", name)
    assert stored.X.shape == (1, 4, 32)
    network = load_network(request.sheet, "random:0", tmp_path).network
    data = phantom_volume().data.astype(np.float64)
    volume = ((data - data.mean()) / data.std()).astype(np.float32)
    wanted = [_encoder1_by_hand(network.state_dict(), _upright(volume, "sagittal", at)) for at in (0, 30, 60, 90)]
    np.testing.assert_allclose(stored.X[0], torch.stack(wanted).numpy(), rtol=1e-3, atol=1e-4)
