"""Networks of timm: their sheets hold what timm says, and their taps are what timm's own functions give."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from featx.errors import DependencyError, NetworkError, WeightsError
from featx.extraction.plan import make_request
from featx.images.volume import Volume, grid_affine
from featx.networks import get_network
from featx.networks.described import facts_of, sheet_from
from featx.networks.look import look
from featx.networks.reading import make_reader, read_taps
from featx.networks.recipe import prepare
from featx.networks.weights import load_network
from tests.conftest import phantom

timm = pytest.importorskip("timm")

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture(scope="module")
def volumes():
    recipe = get_network("squeezenet1_0.imagenet").recipe
    volume = Volume(np.asfortranarray(phantom(), dtype=np.float32), grid_affine(recipe.grid))
    return torch.from_numpy(np.ascontiguousarray(prepare(volume, recipe, "n", "here")))[None, None]


def _request(name, **asked):
    return make_request(name, weights="random:0", views=["axial"], n_slices=2, **asked)


def _pictures(request, volumes):
    """Two slices as the network takes them."""
    return look(volumes, request.recipe.views[0].steps).flatten(0, 1)


def _read(network, request, volumes, taps, optimised, pooling="slices"):
    sheet = replace(request.sheet, recipe=request.recipe)
    read = make_reader(network, sheet, taps, (pooling,), optimised=optimised)
    return {tap: rows[0] for (tap, _), rows in read(volumes, request.recipe.views[0]).items()}


def _close(got, wanted):
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


# --- sheets ---------------------------------------------------------------------------------------------------


def test_the_sheet_of_a_convolutional_network():
    sheet = get_network("timm:resnet10t")
    assert sheet.name == "timm:resnet10t.c3_in1k" == get_network("timm:resnet10t.c3_in1k").name
    assert sheet.default_taps == ("act1", "layer1", "layer2", "layer3", "layer4")
    assert {tap: (one.module, one.width, one.positions) for tap, one in sheet.taps.items()} == {
        "act1": ("act1", 64, True),
        "layer1": ("layer1", 64, True),
        "layer2": ("layer2", 128, True),
        "layer3": ("layer3", 256, True),
        "layer4": ("layer4", 512, True),
        "features": ("global_pool", 512, False),
    }
    assert (sheet.stem, sheet.fixed, sheet.class_tokens, sheet.extra) == ("conv1.0", (), 0, "timm")
    assert sheet.n_parameters == sum(one.numel() for one in timm.create_model("resnet10t").parameters())
    _, resize, normalise = sheet.recipe.views[0].steps
    assert resize.settings == {"size": 176}
    assert normalise.settings == {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    assert sheet.weights.url == "https://huggingface.co/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"
    assert (sheet.weights.file, sheet.weights.digest) == ("timm--resnet10t.c3_in1k.safetensors", "")
    assert sheet.weights.licence == "apache-2.0"


def test_the_sheet_of_a_transformer():
    sheet = get_network("timm:vit_tiny_patch16_224")
    assert sheet.name == "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert sheet.default_taps == ("blocks.2", "blocks.5", "blocks.8", "blocks.11")
    assert [tap for tap in sheet.taps if tap != "features"] == [f"blocks.{at}" for at in range(12)]
    assert {one.width for one in sheet.taps.values()} == {192}
    assert (sheet.stem, sheet.fixed, sheet.class_tokens) == ("patch_embed.proj", ("size",), 1)
    assert sheet.recipe.views[0].steps[2].settings == {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    with pytest.raises(NetworkError, match="the size of .* must be that of its sheet"):
        make_request(sheet.name, size="192")


def test_registers_count_as_class_tokens_and_a_network_without_classifier_has_features():
    sheet = get_network("timm:vit_small_patch14_reg4_dinov2")
    assert (sheet.class_tokens, sheet.taps["features"].width, sheet.class_token_first) == (5, 384, True)
    make_request(sheet.name, taps=["blocks.3:cls"])


def test_registers_alone_are_no_class_token():
    sheet = get_network("timm:vit_little_patch16_reg4_gap_256")
    assert (sheet.class_tokens, sheet.class_token_first) == (4, False)
    with pytest.raises(NetworkError, match="a class token needs a network that has one; timm:vit_little_.* has none"):
        make_request(sheet.name, taps=["blocks.3:cls"])
    assert sheet_from(facts_of(sheet), sheet.name) == sheet


def test_a_network_that_timm_has_no_weights_of():
    sheet = get_network("timm:selecsls42")
    assert sheet.name == "timm:selecsls42"
    assert sheet.weights is None
    assert sheet.training == "nothing: timm publishes no weights of it"
    assert get_network("timm:resnet10t").training.startswith("what timm's tag c3_in1k stands for; see https://hug")


@pytest.mark.parametrize(
    "name, stem",
    [
        ("tf_efficientnet_b0", ""),  # pads in its own way
        ("resnetv2_50x1_bit", ""),  # weighs in its own way
        ("fastvit_t8", ""),  # two branches take the picture
        ("mobilenetv3_small_050", "conv_stem"),
    ],
)
def test_grey_is_summed_only_into_a_plain_first_convolution(name, stem):
    assert get_network(f"timm:{name}").stem == stem


def test_weights_that_are_not_on_the_hub():
    weights = get_network("timm:gcvit_xxtiny").weights
    assert weights.url.startswith("https://github.com/")
    assert weights.url.endswith(".pth")
    assert weights.file == "timm--gcvit_xxtiny.in1k.pth"
    assert get_network("timm:vit_huge_patch14_gap_224.in1k_ijepa").weights is None  # wrapped in another way


@pytest.mark.parametrize(
    "name, match",
    [
        ("resnet10x", r"one that timm \d.* has; 'resnet10x' is not; known are 1\d*, the nearest 'resnet10t'"),
        ("resnet10t.nope", "'resnet10t.nope' is not; known are 'resnet10t.c3_in1k'"),
        ("hf-hub:timm/resnet10t.c3_in1k", "one that timm .* 'hf-hub:timm/resnet10t.c3_in1k' is not"),
        ("local-dir:/somewhere", "one that timm .* 'local-dir:/somewhere' is not"),
        ("vit_5b_patch16_sapiens2", "square pictures of three channels; .* takes 3 x 1024 x 768"),
        ("crossvit_tiny_240", "gives maps, tokens or a vector; timm's crossvit_tiny_240.* has none"),
    ],
)
def test_names_that_are_refused(name, match):
    with pytest.raises(NetworkError, match=match):
        get_network(f"timm:{name}")


def test_a_file_cannot_make_timm_look_elsewhere():
    from featx.networks.architectures.timm import build

    with pytest.raises(NetworkError, match="one that timm .* 'hf-hub:evil/network' is not"):
        build(model="hf-hub:evil/network")


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(DependencyError, match=r"networks named timm: need the package timm; .*'featx\[timm\]'"):
        get_network("timm:resnet10t")


# --- numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimised", [False, True])
def test_maps_are_those_of_timm(volumes, tmp_path, optimised):
    request = _request("timm:resnet10t", taps=["all"])
    loaded = load_network(request.sheet, "random:0", tmp_path)
    x = _pictures(request, volumes)
    last, maps = loaded.network.forward_intermediates(x, norm=False)
    wanted = {tap: one.mean((2, 3)) for tap, one in zip(request.sheet.default_taps, maps, strict=True)}
    wanted["features"] = loaded.network.forward_head(loaded.network.forward_features(x), pre_logits=True)
    torch.testing.assert_close(wanted["features"], last.mean((2, 3)))
    for tap, rows in _read(loaded.network, request, volumes, request.taps, optimised).items():
        _close(rows, wanted[tap])


@pytest.mark.parametrize("optimised", [False, True])
def test_tokens_are_those_of_timm(volumes, tmp_path, optimised):
    taps = ["blocks.5", "blocks.11", "blocks.5:cls", "blocks.5:max", "features"]
    request = _request("timm:vit_tiny_patch16_224", taps=taps)
    loaded = load_network(request.sheet, "random:0", tmp_path)
    x = _pictures(request, volumes)
    last, tokens = loaded.network.forward_intermediates(
        x, indices=[5, 11], return_prefix_tokens=True, norm=False, output_fmt="NLC"
    )
    wanted = {
        "blocks.5": tokens[0][0].mean(1),
        "blocks.5:max": tokens[0][0].amax(1),
        "blocks.5:cls": tokens[0][1][:, 0],
        "blocks.11": tokens[1][0].mean(1),
        "features": last[:, 0],
    }
    torch.testing.assert_close(wanted["features"], loaded.network.forward_features(x)[:, 0])
    for tap, rows in _read(loaded.network, request, volumes, taps, optimised).items():
        _close(rows, wanted[tap])


@pytest.mark.parametrize(
    "name, layout",
    [
        ("mobilenetv3_small_050", "channels-first"),
        ("convnext_atto", "channels-first"),
        ("lambda_resnet26t", "channels-first"),  # a parameter with five axes
        ("selecsls42", "channels-first"),
        ("swin_tiny_patch4_window7_224", "channels-last"),
        ("xcit_nano_12_p8_224", "channels-first"),
        ("regnetx_002", "channels-first"),
    ],
)
def test_sheets_of_other_families_hold(name, layout, volumes, tmp_path):
    request = _request(f"timm:{name}", taps=["all"])
    loaded = load_network(request.sheet, "random:0", tmp_path)
    assert request.sheet.layout == layout
    plain = _read(loaded.network, request, volumes, request.taps, False, "mean")
    fast = _read(loaded.network, request, volumes, request.taps, True, "mean")
    for tap, rows in plain.items():
        assert rows.shape == (request.sheet.taps[tap].width,)
        _close(fast[tap], rows)


@pytest.mark.parametrize("tap, axes", [("mlp.act", (1, 2)), ("mlp", (1, 2)), ("conv_dw", (2, 3))])
def test_modules_of_another_layout_than_their_network(tap, axes, volumes, tmp_path):
    path = f"stages.0.blocks.0.{tap}"
    request = _request("timm:convnext_tiny", size="64", taps=[path])
    loaded = load_network(request.sheet, "random:0", tmp_path)
    wanted = read_taps(
        loaded.network, _pictures(request, volumes), {"x": path}, {"x": lambda out: out.mean(axes)}, {}
    )
    _close(_read(loaded.network, request, volumes, [path], True)[path], wanted["x"])


def test_patches_have_no_class_token(volumes, tmp_path):
    request = _request("timm:vit_tiny_patch16_224", taps=["patch_embed"])
    loaded = load_network(request.sheet, "random:0", tmp_path)
    wanted = loaded.network.patch_embed(_pictures(request, volumes)).mean(1)
    _close(_read(loaded.network, request, volumes, request.taps, False)["patch_embed"], wanted)
    with pytest.raises(NetworkError, match=r"'patch_embed:cls' of timm:vit_tiny.* an array of \(196, 192\) without"):
        _read(loaded.network, request, volumes, ["patch_embed:cls"], False)


# --- weights --------------------------------------------------------------------------------------------------


def test_official_weights_are_read_from_the_cache(tmp_path):
    sheet = get_network("timm:vit_tiny_patch16_224")
    source = load_network(sheet, "random:5", tmp_path)
    save_file(source.network.state_dict(), tmp_path / sheet.weights.file)
    loaded = load_network(sheet, "official", tmp_path)
    assert (loaded.weights, loaded.tag, loaded.sha256) == ("official", "", source.sha256)


def test_a_checkpoint_of_another_form_is_read_as_timm_reads_it(tmp_path):
    sheet = get_network("timm:vit_tiny_patch16_224")
    source = load_network(sheet, "random:5", tmp_path)
    tensors = source.network.state_dict()
    patches = tensors["patch_embed.proj.weight"]
    tensors["patch_embed.proj.weight"] = patches.flatten(1)  # as the first ViTs were saved
    torch.save({"model": tensors}, tmp_path / "old.pth")
    state = torch.random.get_rng_state()
    assert load_network(sheet, str(tmp_path / "old.pth"), tmp_path).sha256 == source.sha256
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_of_another_network(tmp_path):
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(WeightsError, match=r"fit timm:resnet10t.c3_in1k as timm reads them; those of .*linear.pth"):
        load_network(get_network("timm:resnet10t"), str(tmp_path / "linear.pth"), tmp_path)
