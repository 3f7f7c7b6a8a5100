"""3D networks for medical volumes: MONAI's by numbers, and 2D networks inflated against the 2D ones."""

import sys
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import interpolate_embeddings

from featx.errors import DependencyError, ImageError, NetworkError, WeightsError
from featx.images.volume import MNI152_1MM
from featx.networks import get_network
from featx.networks.architectures.inflated import inflate, inflate_kernel, inflate_positions
from featx.networks.architectures.medical import build
from featx.networks.reading import make_reader
from featx.networks.recipe import prepare
from featx.networks.table import medical
from featx.networks.taps import poolings_of
from featx.networks.weights import load_network
from tests.networks.conftest import phantom_batch, phantom_volume

pytestmark = pytest.mark.usefixtures("no_gradients")

SHEETS = {sheet.name: sheet for sheet in medical.SHEETS}


@pytest.mark.parametrize("name", SHEETS)
def test_every_entry_gives_what_its_sheet_promises(name, tmp_path):
    """Together and alone, made faster and as it is: the same numbers, of the promised width."""
    sheet = get_network(name)
    assert set(sheet.default_taps) <= set(sheet.taps)
    network = load_network(sheet, "random:3", tmp_path).network
    assert not any(module.training for module in network.modules())
    assert sum(values.numel() for values in network.parameters()) == sheet.n_parameters
    (view,) = sheet.recipe.views
    volumes = phantom_batch(sheet, 0, 1)
    assert volumes.shape[2:] == ((96, 112, 96) if "vit" in name else (91, 109, 91))
    plain = make_reader(network, sheet, tuple(sheet.taps), sheet.poolings, optimised=False)(volumes[1:], view)
    together = make_reader(network, sheet, tuple(sheet.taps), sheet.poolings)(volumes, view)
    assert set(together) == {(tap, how) for tap in sheet.taps for how in poolings_of(sheet, tap, sheet.poolings)}
    for (tap, how), values in together.items():
        assert values.shape == (2, sheet.taps[tap].width), (tap, how)
        scale = float(values.abs().max())
        assert scale > 0
        assert (values[0] - values[1]).abs().max() > 1e-5 * scale, (tap, how)
        torch.testing.assert_close(values[1:], plain[tap, how], rtol=0, atol=scale * 2e-5)


@pytest.mark.parametrize("name", SHEETS)
def test_every_entry_refuses_another_grid(name):
    sheet = get_network(name)
    with pytest.raises(ImageError, match=f"{name} wants a brain on the MNI152 2 mm") as caught:
        prepare(phantom_volume(grid=MNI152_1MM), sheet.recipe, name, "here")
    assert caught.value.code == "wrong-grid"


@pytest.mark.parametrize("name", SHEETS)
def test_the_recipe_by_hand(name):
    data = phantom_volume().data.astype(np.float64)
    if name.endswith(".monai"):
        wanted = (data - data.mean()) / data.std()
    else:
        wanted = (np.clip(data / np.percentile(data[data > 0], 99.5), 0, 1) - 0.449) / 0.226
    if "vit" in name:
        wanted = np.pad(wanted, [(2, 3), (1, 2), (2, 3)], mode="edge")
    np.testing.assert_allclose(
        prepare(phantom_volume(), SHEETS[name].recipe, name, "here"), wanted, rtol=1e-4, atol=1e-5
    )


# --- MONAI ----------------------------------------------------------------------------------------------------


def _read(network, sheet, x, *taps):
    (view,) = sheet.recipe.views
    rows = make_reader(network, sheet, taps, ("mean",), optimised=False)(x, view)
    return [rows[tap, "mean"] for tap in taps]


def test_densenet_is_read_where_monai_computes(tmp_path):
    sheet = SHEETS["densenet121_3d.monai"]
    network = load_network(sheet, "random:0", tmp_path).network
    x = torch.randn(1, 1, 64, 48, 56)
    last, features = _read(network, sheet, x, "block4", "features")
    torch.testing.assert_close(features, network.features(x).relu().mean((2, 3, 4)))
    torch.testing.assert_close(network.class_layers.out(features), network(x))
    through = x
    for name, layer in network.features.named_children():
        through = layer(through)
        if name == "denseblock4":
            torch.testing.assert_close(last, through.mean((2, 3, 4)))


@pytest.mark.parametrize("name", ["resnet18_3d.monai", "resnet50_3d.monai"])
def test_resnet_is_read_where_monai_computes(name, tmp_path):
    sheet = SHEETS[name]
    network = load_network(sheet, "random:0", tmp_path).network
    x = torch.randn(1, 1, 40, 48, 32)
    first, last, features = _read(network, sheet, x, "layer1", "layer4", "features")
    stem = network.maxpool(network.bn1(network.conv1(x)).relu())
    assert stem.shape[2:] == (10, 12, 8)  # a stride of 2 in the convolution, and of 2 in the pooling
    through = network.layer1(stem)
    torch.testing.assert_close(first, through.mean((2, 3, 4)))
    through = network.layer4(network.layer3(network.layer2(through)))
    torch.testing.assert_close(last, through.mean((2, 3, 4)))
    torch.testing.assert_close(features, last)
    torch.testing.assert_close(network.fc(features), network(x))


def test_vit_is_read_where_monai_computes(tmp_path):
    sheet = SHEETS["vit_3d.monai"]
    network = load_network(sheet, "random:0", tmp_path).network
    nn.init.normal_(network.cls_token)
    x = torch.randn(1, 1, 96, 112, 96)
    outputs, layers = network(x)
    third, tokens, token, features = _read(network, sheet, x, "layer3", "tokens", "tokens:cls", "features")
    assert layers[2].shape == (1, 1 + 6 * 7 * 6, 768)
    torch.testing.assert_close(third, layers[2][:, 1:].mean(1))
    torch.testing.assert_close(tokens, network.norm(layers[-1])[:, 1:].mean(1))
    torch.testing.assert_close(token, network.norm(layers[-1][:, 0]))
    torch.testing.assert_close(features, token)
    (patches,) = _read(network, sheet, x, "patch_embedding")
    torch.testing.assert_close(patches, network.patch_embedding(x).mean(1))
    with pytest.raises(
        NetworkError, match=r"'patch_embedding:cls' of vit_3d.monai gives an array of \(252, 768\) without"
    ):
        _read(network, sheet, x, "patch_embedding:cls")
    head = network.classification_head
    torch.testing.assert_close(features @ head.weight.T + head.bias, outputs)
    assert {"classification_head.weight", "classification_head.bias"} <= set(network.state_dict())  # MONAI's names


def test_without_monai(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai", None)
    monkeypatch.delitem(sys.modules, "monai.networks", raising=False)
    with pytest.raises(DependencyError, match=r"to build MONAI's resnet18; .*pip install 'featx\[monai\]'"):
        build(model="resnet18")


def test_another_model_of_monai():
    with pytest.raises(NetworkError, match="one that featx has taps for; got 'UNet'; .*'DenseNet121'"):
        build(model="UNet")


# --- inflated -------------------------------------------------------------------------------------------------


def _as_trained(network):
    """With statistics that a forgotten one would be missed by."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def _grey(n_rows, n_columns):
    return torch.randn(1, 1, n_rows, n_columns, generator=torch.Generator().manual_seed(2))


def _deep(grey, length):
    """A volume that does not change along its third axis."""
    return grey.unsqueeze(-1).expand(*grey.shape, length).contiguous()


@pytest.mark.parametrize(
    "model, stages, length", [("resnet18", ["layer1", "layer2"], 160), ("resnet50", ["layer1"], 64)]
)
def test_an_inflated_resnet_gives_the_2d_answers_where_nothing_changes_along_the_third_axis(
    model, stages, length, tmp_path
):
    torch.manual_seed(0)
    flat = _as_trained(torchvision.models.get_model(model, weights=None))
    torch.save(flat.state_dict(), tmp_path / "flat.pth")
    deep = load_network(SHEETS[f"{model}_3d.imagenet"], str(tmp_path / "flat.pth"), tmp_path).network
    grey = _grey(33, 40)
    wanted, found = grey.expand(-1, 3, -1, -1), _deep(grey, length)
    for name in ["conv1", "bn1", "relu", "maxpool", *stages]:
        wanted, found = getattr(flat, name)(wanted), getattr(deep, name)(found)
        middle = found.shape[-1] // 2  # the border's zeros have not come so far
        torch.testing.assert_close(found[..., middle], wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[..., middle - 1], wanted, rtol=1e-4, atol=1e-4)
    for name in ("fc.weight", "fc.bias", "layer4.0.bn1.running_var"):
        torch.testing.assert_close(deep.state_dict()[name], flat.state_dict()[name])


@pytest.fixture(scope="module")
def flat_vit(tmp_path_factory):
    torch.manual_seed(0)
    network = torchvision.models.vit_b_16(weights=None).eval()
    with torch.no_grad():
        network.class_token.normal_()
        network.encoder.pos_embedding.normal_()
        network.heads.head.weight.normal_(0, 0.1)
    path = tmp_path_factory.mktemp("vit") / "vit.pth"
    as_published = {  # the file is older than the names of the module
        name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): values
        for name, values in network.state_dict().items()
    }
    assert as_published.keys() != network.state_dict().keys()
    torch.save(as_published, path)
    return network, path


def test_an_inflated_vit_of_one_layer_of_cubes_is_the_2d_one(flat_vit, tmp_path):
    flat, path = flat_vit
    sheet = SHEETS["vit_b_16_3d.imagenet"]
    sheet = replace(sheet, arguments={**sheet.arguments, "shape": (224, 224, 16)})
    deep = load_network(sheet, str(path), tmp_path).network
    grey = _grey(224, 224)
    torch.testing.assert_close(deep(_deep(grey, 16)), flat(grey.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-3)


def test_an_inflated_vit_embeds_every_cube_as_the_picture_it_repeats(flat_vit, tmp_path):
    flat, path = flat_vit
    sheet = SHEETS["vit_b_16_3d.imagenet"]
    deep = load_network(sheet, str(path), tmp_path).network
    grey = _grey(96, 112)
    wanted = flat.conv_proj(grey.expand(-1, 3, -1, -1))
    found = deep.conv_proj(_deep(grey, 96))
    for at in range(6):
        torch.testing.assert_close(found[..., at], wanted, rtol=1e-4, atol=1e-4)
    positions = deep.encoder.pos_embedding[0, 1:].reshape(6, 7, 6, 768)
    assert all(torch.equal(positions[..., at, :], positions[..., 0, :]) for at in range(6))
    assert torch.equal(deep.encoder.pos_embedding[0, 0], flat.encoder.pos_embedding[0, 0])
    square = flat.encoder.pos_embedding[0, 1:].reshape(14, 14, 768)
    for i, row in ((0, 0), (5, 13)):
        for j, column in ((0, 0), (6, 13)):  # corners lie on corners
            torch.testing.assert_close(positions[i, j, 3], square[row, column])


def test_positions_are_interpolated_as_torchvision_does_for_another_size():
    positions = torch.randn(1, 197, 8, generator=torch.Generator().manual_seed(3))
    state = OrderedDict([("encoder.pos_embedding", positions.clone())])
    wanted = interpolate_embeddings(112, 16, state)["encoder.pos_embedding"]
    found = inflate_positions(positions, (7, 7, 2))
    torch.testing.assert_close(found[:, 0], wanted[:, 0])
    torch.testing.assert_close(found[:, 1::2], wanted[:, 1:])
    torch.testing.assert_close(found[:, 2::2], wanted[:, 1:])


def test_a_kernel_keeps_its_sum():
    kernel = torch.randn(4, 3, 5, 7)
    deep = inflate_kernel(kernel, channels=3, length=6)
    assert deep.shape == (4, 3, 5, 7, 6)
    torch.testing.assert_close(deep.sum(-1), kernel)
    torch.testing.assert_close(inflate_kernel(kernel, channels=1, length=2).sum(-1)[:, 0], kernel.sum(1))


def test_a_file_that_is_3d_already_is_loaded_as_it_is(tmp_path):
    trained = load_network(SHEETS["resnet18_3d.imagenet"], "random:4", tmp_path)
    torch.save({"state_dict": trained.network.state_dict()}, tmp_path / "trained.pth")
    again = load_network(SHEETS["resnet18_3d.imagenet"], str(tmp_path / "trained.pth"), tmp_path)
    assert again.sha256 == trained.sha256
    assert again.weights == "file:trained.pth"


def test_only_what_is_2d_is_inflated():
    tensors = {
        "conv_proj.weight": torch.ones(4, 1, 2, 2, 2),
        "encoder.pos_embedding": torch.rand(1, 1 + 16, 4),
        "fc.weight": torch.ones(3, 4),
        "unknown.weight": torch.ones(3, 4, 1, 1),
    }
    shapes = {name: values.shape for name, values in tensors.items() if name != "unknown.weight"}
    as_it_is = inflate(tensors, shapes, (2, 2, 4))
    assert all(as_it_is[name] is tensors[name] for name in tensors)
    flat = {**tensors, "conv_proj.weight": torch.ones(4, 3, 2, 2)}
    inflated = inflate(flat, shapes, (2, 2, 4))
    assert inflated["conv_proj.weight"].tolist() == torch.full((4, 1, 2, 2, 2), 1.5).tolist()
    corners = flat["encoder.pos_embedding"][0, [1, 4, 13, 16]]  # 4 x 4 patches for 2 x 2 x 4 cubes: as many
    torch.testing.assert_close(inflated["encoder.pos_embedding"][0, 1:], corners.repeat_interleave(4, dim=0))
    odd = {**flat, "encoder.pos_embedding": torch.rand(1, 1 + 8, 4)}  # no square, for the loader to refuse
    assert inflate(odd, shapes, (2, 2, 4))["encoder.pos_embedding"] is odd["encoder.pos_embedding"]
    assert inflate(odd, shapes, (2, 2, 4))["unknown.weight"] is odd["unknown.weight"]


def test_weights_of_another_2d_network(tmp_path):
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "flat.pth")
    with pytest.raises(WeightsError, match=r"must fit resnet18_3d.imagenet, tensor by tensor; .* unknown"):
        load_network(SHEETS["resnet18_3d.imagenet"], str(tmp_path / "flat.pth"), tmp_path)


@pytest.mark.parametrize("model", ["resnet18", "resnet50", "vit_b_16"])
def test_official_weights_are_those_of_the_2d_network(model):
    published = torchvision.models.get_model_weights(model)["IMAGENET1K_V1"]
    weights = SHEETS[f"{model}_3d.imagenet"].weights
    assert weights.url == published.url
    assert weights.file == published.url.rpartition("/")[2]
    assert f"-{weights.digest.removeprefix('sha256:')}.pth" in weights.file
    assert abs(weights.size_bytes / 2**20 - published.meta["_file_size"]) < 0.01
