"""Torchvision's networks: all are there, each is what its sheet says, numbers are those of torchvision."""

import json
import re
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from featx.errors import ImageError
from featx.extraction.plan import make_request, plan_sets
from featx.images.volume import MNI152_1MM, MNI152_2MM, Volume, grid_affine
from featx.networks import get_network
from featx.networks.architectures.pictures import build
from featx.networks.look import look
from featx.networks.reading import make_reader
from featx.networks.recipe import prepare
from featx.networks.sheet import CLIP, PICTURES, Step, View
from featx.networks.survey import FRAMES, Hollow, family_of, hollow, survey
from featx.networks.table.torchvision import SHEETS
from featx.networks.weights import load_network
from tests.conftest import phantom

pytestmark = pytest.mark.usefixtures("no_gradients")

# One sheet of each architecture: those that differ in weights only share it.
ARCHITECTURES = {json.dumps(dict(sheet.arguments)): sheet for sheet in reversed(SHEETS)}.values()
NAMES = sorted(sheet.name for sheet in ARCHITECTURES)
HEAVY = 4.3  # billion multiplications per slice
LIGHT_ENOUGH = ("alexnet", "convnext_tiny", "inception_v3", "maxvit_t", "swin_t", "swin_v2_t", "vit_b_32")


def _model(sheet):
    return str(sheet.arguments["model"])


def _is_light(sheet):
    if sheet.takes == CLIP or "image_size" in sheet.arguments:
        return False
    meta = next(iter(torchvision.models.get_model_weights(_model(sheet)))).meta
    return _model(sheet) in LIGHT_ENOUGH or (meta["_ops"] < HEAVY and meta["num_params"] < 4e7)


def _view(sheet, count, size=None, axis="axial"):
    """A view of the sheet with another number of slices, and another size if one is given."""
    view = next(view for view in sheet.recipe.views if view.name == axis)
    changes = {"slices": {"count": count}, "resize": {"size": size} if size else {}, "normalise": {}}
    return View(axis, tuple(Step(step.name, {**step.settings, **changes[step.name]}) for step in view.steps))


def _shaken(network, seed=1):
    """Batch norms as after training, so that a statistic that is forgotten or misplaced shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
                (module.weight, 0.8, 1.2),
                (module.bias, -0.1, 0.1),
            ):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return network


def _volumes(*seeds):
    arrays = [phantom(MNI152_2MM, seed).astype(np.float32) / 255 for seed in seeds]
    return torch.from_numpy(np.stack(arrays)[:, None])


def _built(sheet, tmp_path, seed=0):
    return _shaken(load_network(sheet, f"random:{seed}", tmp_path).network)


def _close(found, wanted, relative=2e-5):
    scale = float(wanted.abs().max())
    assert np.isfinite(scale)
    assert scale > 0
    torch.testing.assert_close(found, wanted, rtol=0, atol=scale * relative)


# --- the table ------------------------------------------------------------------------------------------------


def test_the_table_is_the_survey_of_torchvision():
    held = json.loads(files("featx.networks.table").joinpath("torchvision.json").read_text("utf-8"))
    assert held == json.loads(json.dumps(survey()))


def test_every_published_weight_has_its_sheet():
    published = {
        enum.url: (model, enum, takes)
        for module, takes in ((torchvision.models, PICTURES), (torchvision.models.video, CLIP))
        for model in torchvision.models.list_models(module=module)
        for enum in torchvision.models.get_model_weights(model)
        if enum.name != "IMAGENET1K_FEATURES"
    }
    assert {sheet.weights.url for sheet in SHEETS} == set(published)
    assert len(SHEETS) == len(published) == len({sheet.name for sheet in SHEETS})
    for sheet in SHEETS:
        model, enum, takes = published[sheet.weights.url]
        transforms = enum.transforms()
        assert (_model(sheet), sheet.takes) == (model, takes)
        for view in sheet.recipe.views:
            assert view.steps[1] == Step("resize", {"size": transforms.crop_size[0]})
            assert view.steps[2] == Step("normalise", {"mean": (*transforms.mean,), "std": (*transforms.std,)})
        assert sheet.weights.licence == ("CC-BY-NC-4.0" if "SWAG" in enum.name else "BSD-3-Clause")
        assert sheet.weights.file.endswith(f"-{sheet.weights.digest.removeprefix('sha256:')}.pth")
        assert abs(sheet.weights.size_bytes - enum.meta["_file_size"] * 1024**2) < 1
        if model != "googlenet":  # which torchvision counts without the auxiliary classifiers that its file holds
            assert sheet.n_parameters == enum.meta["num_params"]
        assert set(sheet.default_taps) <= set(sheet.taps)
        assert 4 <= len(sheet.default_taps) <= 10


@pytest.mark.parametrize(
    "name, tag",
    [
        ("resnet50.imagenet", "IMAGENET1K_V1"),
        ("resnet50.imagenet_v2", "IMAGENET1K_V2"),
        ("vit_b_16.imagenet_swag_e2e", "IMAGENET1K_SWAG_E2E_V1"),
        ("vit_b_16.imagenet_swag_linear", "IMAGENET1K_SWAG_LINEAR_V1"),
        ("swin3d_b.kinetics400", "KINETICS400_V1"),
        ("swin3d_b.kinetics400_imagenet22k", "KINETICS400_IMAGENET22K_V1"),
    ],
)
def test_names_tell_the_weights(name, tag):
    assert get_network(name).weights.url == torchvision.models.get_model_weights(name.partition(".")[0])[tag].url


RECIPE_DIGESTS = {  # of feature files that people have
    ("imagenet", "sagittal"): "f34e265e14cd4cd05513ca59a23d08f6b0a1b3bb48be3762fc9df013adee4d59",
    ("imagenet", "coronal"): "9ea6823a7324d6ba1272a2b07f39b5e4f0e031486c421833880f90750b780bdd",
    ("imagenet", "axial"): "17ffbc2cbbac8d8de385f7301c565dff9dfd134a516a1db59680cd881d580ca6",
    ("kinetics400", "sagittal"): "1f5eb4c1bd21c2f1b3388f0bd7915b0a805fd126a9516e83426ba38e6b7dc563",
    ("kinetics400", "coronal"): "cf98d74c82f8d278bd30541882a353213c2107400c60fe6de31943d717a84429",
    ("kinetics400", "axial"): "c8b1d0555a00801af100fa90301833daacdf48096637811b90d331298855067b",
}


@pytest.mark.parametrize(
    "name, taps, views",
    [
        ("squeezenet1_0.imagenet", [f"fire{at}" for at in range(2, 10)], ["sagittal", "coronal", "axial"]),
        ("resnet18.imagenet", [f"layer{at}" for at in range(1, 5)], ["sagittal", "coronal", "axial"]),
        ("r3d_18.kinetics400", [f"layer{at}" for at in range(1, 5)], ["axial"]),
    ],
)
def test_features_that_people_have_keep_their_names_and_recipes(name, taps, views):
    weights = {"weights": "official", "weights_sha256": ""}
    sets = plan_sets(make_request(name), weights, "", "")
    assert [one.name for one in sets] == [f"{name}/{view}/{tap}/mean" for view in views for tap in taps]
    every = plan_sets(make_request(name, views=["sagittal", "coronal", "axial"]), weights, "", "")
    tag = name.partition(".")[2]
    assert {one.provenance["recipe_digest"] for one in every} == {
        RECIPE_DIGESTS[tag, view] for view in ("sagittal", "coronal", "axial")
    }
    assert all(one.provenance["recipe_digest"] == RECIPE_DIGESTS[tag, one.view.name] for one in every)


def test_every_entry_refuses_another_grid():
    volume = Volume(phantom(MNI152_1MM).astype(np.float32), grid_affine(MNI152_1MM))
    for sheet in SHEETS:
        assert sheet.recipe.grid == MNI152_2MM
    for name in ("squeezenet1_0.imagenet", "vit_b_16.imagenet_swag_e2e", "mvit_v2_s.kinetics400"):
        with pytest.raises(ImageError, match=f"{name} wants a brain on the MNI152 2 mm") as caught:
            prepare(volume, get_network(name).recipe, name, "here")
        assert caught.value.code == "wrong-grid"


# --- every architecture, in shapes ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_is_what_its_sheet_says(name):
    """On the meta device: no numbers, so that the largest network costs nothing."""
    sheet = get_network(name)
    network = hollow(**sheet.arguments)
    assert not any(module.training for module in network.modules())
    _check_state_dict(network, sheet)
    _check_batch_norms(network, sheet)
    _check_taps(network, sheet)


def _check_state_dict(network, sheet):
    """Names and shapes are torchvision's."""
    arguments = dict(sheet.arguments)
    arguments |= {"init_weights": False} if _model(sheet).startswith(("googlenet", "incep")) else {}
    with Hollow():
        plain = torchvision.models.get_model(arguments.pop("model"), weights=None, **arguments)
    assert {key: values.shape for key, values in network.state_dict().items()} == {
        key: values.shape for key, values in plain.state_dict().items()
    }
    assert sum(values.numel() for values in network.parameters()) == sheet.n_parameters


def _check_batch_norms(network, sheet):
    """Those that are registered behind a convolution are fed by it: folding by the order of registration is right."""
    given, wrong, hooks = {}, [], []
    for parent in network.modules():
        for (_, convolution), (path, norm) in pairwise(parent.named_children()):
            if isinstance(convolution, nn.Conv2d | nn.Conv3d) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
                hooks.append(
                    convolution.register_forward_hook(lambda module, inputs, output: given.update({module: output}))
                )
                hooks.append(
                    norm.register_forward_pre_hook(
                        lambda module, inputs, before=convolution, path=path: (
                            wrong.append(path) if given[before] is not inputs[0] else None
                        )
                    )
                )
    size = sheet.recipe.views[0].steps[1].settings["size"]
    x = torch.empty((1, 3, *([FRAMES] if sheet.takes == CLIP else []), size, size), device="meta")
    if sheet.stem:
        stem = network.get_submodule(sheet.stem)
        hooks.append(
            stem.register_forward_pre_hook(
                lambda module, inputs: wrong.append("stem") if inputs[0] is not x else None
            )
        )
    network(x)
    assert not wrong
    for hook in hooks:
        hook.remove()


def _check_taps(network, sheet):
    """They are there, as wide as promised."""
    read = make_reader(network, sheet, list(sheet.taps), sheet.poolings)
    count = FRAMES if sheet.takes == CLIP else 1
    rows = read(torch.empty(1, 1, 91, 109, 91, device="meta"), _view(sheet, count))
    assert {tap for tap, _ in rows} == set(sheet.taps)
    for (tap, pooling), values in rows.items():
        width = sheet.taps[tap].width
        assert values.shape == ((1, 1, width) if pooling == "slices" else (1, width)), (tap, pooling)


# --- the light ones, in numbers -------------------------------------------------------------------------------


def _check_features(network, sheet, volumes, view):
    """`features` is what the last linear layer reads."""
    read = []
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    handle = last.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    rows = make_reader(network, sheet, ["features"], ["slices"], optimised=False)(volumes, view)
    handle.remove()
    torch.testing.assert_close(rows["features", "slices"][0], read[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if _is_light(get_network(name))])
def test_light_networks_give_the_same_optimised_and_in_any_batch(name, tmp_path):
    _check_numbers(get_network(name), tmp_path)


@pytest.mark.giants
@pytest.mark.parametrize("name", [name for name in NAMES if not _is_light(get_network(name))])
def test_heavy_networks_too(name, tmp_path):
    """The other ones, video at its own size and number of frames among them: minutes, and up to 8 GB."""
    _check_numbers(get_network(name), tmp_path)


def _check_numbers(sheet, folder):
    network = _built(sheet, folder)
    assert not any(module.training for module in network.modules())
    clip = sheet.takes == CLIP
    view, volumes, taps = _view(sheet, FRAMES if clip else 2), _volumes(0, 1), list(sheet.taps)
    if clip:
        _check_clips(network, sheet, volumes, view)
        return
    plain = make_reader(network, sheet, taps, ["slices"], optimised=False)(volumes[1:], view)
    if "features" in taps:
        _check_features(network, sheet, volumes[1:], view)
    read = make_reader(network, sheet, taps, ["slices", "mean"])
    together, alone = read(volumes, view), read(volumes[1:], view)
    for tap in taps:
        assert together[tap, "slices"].shape == (2, 2, sheet.taps[tap].width)
        _close(together[tap, "slices"][1:], alone[tap, "slices"])
        _close(together[tap, "slices"][1:], plain[tap, "slices"], 1e-4)
        assert (together[tap, "slices"][0] - together[tap, "slices"][1]).abs().max() > 0


@pytest.mark.parametrize(
    "name, frames, size",
    [
        ("r3d_18.kinetics400", 4, 64),
        ("mc3_18.kinetics400", 4, 64),
        ("r2plus1d_18.kinetics400", 5, 64),
        ("s3d.kinetics400", 9, 96),
        ("swin3d_t.kinetics400", 3, 90),
    ],
)
def test_video_networks_give_the_same_optimised_and_in_any_batch(name, frames, size, tmp_path):
    sheet = get_network(name)
    _check_clips(_built(sheet, tmp_path), sheet, _volumes(0, 1), _view(sheet, frames, size))


def _check_clips(network, sheet, volumes, view):
    taps, poolings = list(sheet.taps), ["mean", "max", "std"]
    plain = make_reader(network, sheet, taps, poolings, optimised=False)(volumes[1:], view)
    read = make_reader(network, sheet, taps, poolings)
    together, alone = read(volumes, view), read(volumes[1:], view)
    for place, rows in together.items():
        assert rows.shape == (2, sheet.taps[place[0]].width)
        _close(rows[1:], alone[place])
        _close(rows[1:], plain[place], 1e-4)


# --- parity with torchvision ----------------------------------------------------------------------------------


def _slices_by_hand(x, axis, positions, size, mean, std):
    """One slice at a time, with torchvision's own resize and normalise."""
    pictures = []
    for at in positions:
        plane = x.take(at, axis=("sagittal", "coronal", "axial").index(axis))
        picture = torch.from_numpy(np.ascontiguousarray(plane.T[::-1]))  # height downwards from superior or anterior
        picture = torchvision.transforms.functional.resize(picture[None], [size, size], antialias=False)
        pictures.append(torchvision.transforms.functional.normalize(picture.expand(3, -1, -1), mean, std))
    return torch.stack(pictures)


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    "axis, positions", [("sagittal", range(14, 75, 4)), ("coronal", range(14, 95, 5)), ("axial", range(8, 73, 4))]
)
@pytest.mark.parametrize(
    "model, nodes",
    [
        ("squeezenet1_0", {"features.5": "fire4", "features.12": "fire9"}),
        ("resnet18", {"layer1": "layer1", "layer4": "layer4"}),
    ],
)
def test_whole_recipes_agree_with_torchvision(axis, positions, model, nodes, tmp_path):
    sheet = get_network(f"{model}.imagenet")
    network = load_network(sheet, "random:0", tmp_path).network
    volume = Volume(np.asfortranarray(phantom(MNI152_2MM), dtype=np.float32), grid_affine(MNI152_2MM))
    x = prepare(volume, sheet.recipe, sheet.name, "here")
    pictures = _slices_by_hand(x, axis, positions, 224, *IMAGENET)
    by_slice = {
        tap: values.mean((2, 3)) for tap, values in create_feature_extractor(network, nodes)(pictures).items()
    }
    view = next(view for view in sheet.recipe.views if view.name == axis)
    batch = torch.from_numpy(np.ascontiguousarray(x))[None, None]
    rows = make_reader(network, sheet, list(nodes.values()), sheet.poolings)(batch, view)
    for tap, values in by_slice.items():
        for how, wanted in {
            "mean": values.mean(0),
            "max": values.max(0).values,
            "std": values.std(0, unbiased=False),
            "concat": values.flatten(),
            "slices": values,
        }.items():
            _close(rows[tap, how][0], wanted)


@pytest.mark.parametrize(
    "name, nodes",
    [
        ("alexnet.imagenet", {"features.12": "features.12", "classifier.5": "features"}),
        ("convnext_tiny.imagenet", {"features.1": "stage1", "features.7": "stage4", "classifier.1": "features"}),
        ("densenet121.imagenet", {"features.denseblock1.cat": "block1", "features.denseblock4.cat": "block4"}),
        ("efficientnet_b0.imagenet", {"features.3": "stage3", "avgpool": "features"}),
        ("googlenet.imagenet", {"inception4a.cat": "inception4a", "dropout": "features"}),
        ("inception_v3.imagenet", {"Mixed_5d.cat": "Mixed_5d", "dropout": "features"}),
        ("mobilenet_v3_small.imagenet", {"features.6": "features.6", "classifier.1": "features"}),
        ("regnet_y_400mf.imagenet", {"trunk_output.block2": "stage2", "avgpool": "features"}),
        ("shufflenet_v2_x0_5.imagenet", {"stage3": "stage3", "conv5": "conv5"}),
        ("maxvit_t.imagenet", {"blocks.0": "block1", "blocks.3": "block4", "classifier.4": "features"}),
        ("swin_t.imagenet", {"features.1": "stage1", "features.7": "stage4", "flatten": "features"}),
        ("swin_v2_t.imagenet", {"features.3": "stage2", "permute": "permute", "avgpool": "avgpool"}),
        ("vit_b_32.imagenet", {"encoder.layers.encoder_layer_3": "layer4", "encoder.ln": "encoder.ln"}),
    ],
)
def test_taps_are_those_of_torchvision(name, nodes, tmp_path):
    sheet = get_network(name)
    network = _built(sheet, tmp_path)
    volumes, view = _volumes(0), _view(sheet, 2)
    pictures = look(volumes, view.steps).flatten(0, 1)
    found = create_feature_extractor(network, nodes, suppress_diff_warning=True)(pictures)
    wanted = {}
    for tap, values in found.items():
        channels_last = values.ndim == 4 and sheet.layout != "channels-first" and tap.startswith("stage")
        if values.ndim == 3:
            wanted |= {tap: values[:, 1:].mean(1), f"{tap}:cls": values[:, 0], f"{tap}:max": values[:, 1:].amax(1)}
        elif values.ndim == 4:
            axes = (1, 2) if channels_last else (2, 3)
            wanted |= {tap: values.mean(axes), f"{tap}:max": values.amax(axes)}
        else:
            wanted[tap] = values
    rows = make_reader(network, sheet, list(wanted), ["slices"])(volumes, view)
    for tap, values in wanted.items():
        _close(rows[tap, "slices"][0], values, 5e-5)


def test_the_class_token_behind_the_last_norm_is_the_feature_of_a_vit(tmp_path):
    sheet = get_network("vit_b_32.imagenet")
    network = _built(sheet, tmp_path)
    rows = make_reader(network, sheet, ["features", "encoder.ln:cls", "layer12:cls"], ["mean"])(
        _volumes(0), _view(sheet, 1)
    )
    torch.testing.assert_close(rows["features", "mean"], rows["encoder.ln:cls", "mean"], rtol=0, atol=0)
    assert (rows["features", "mean"] - rows["layer12:cls", "mean"]).abs().max() > 0.1


@pytest.mark.parametrize(
    "name, nodes, frames",
    [
        ("r3d_18.kinetics400", {"layer2": "layer2", "layer4": "layer4", "avgpool": "features"}, 16),
        ("s3d.kinetics400", {"features.8.cat": "mixed4b", "features.15.cat": "mixed5c", "avgpool": "features"}, 16),
        ("swin3d_t.kinetics400", {"features.0": "stage1", "features.6": "stage4", "avgpool": "features"}, 4),
    ],
)
def test_video_networks_agree_with_torchvision(name, nodes, frames, tmp_path):
    sheet = get_network(name)
    network = _built(sheet, tmp_path)
    x = _volumes(0)
    size = sheet.recipe.views[0].steps[1].settings["size"]
    settings = sheet.recipe.views[0].steps[2].settings
    positions = [round(at) for at in np.linspace(8, 72, frames)]
    pictures = _slices_by_hand(x[0, 0].numpy(), "axial", positions, size, settings["mean"], settings["std"])
    plain = torchvision.models.get_model(_model(sheet), weights=None).eval()  # no adaptation of ours in it
    plain.load_state_dict(network.state_dict())
    found = create_feature_extractor(plain, nodes)(pictures.transpose(0, 1)[None])
    rows = make_reader(network, sheet, list(nodes.values()), ["mean"])(x, _view(sheet, frames))
    for tap, values in found.items():
        axes = (1, 2, 3) if name.startswith("swin") and tap != "features" else (2, 3, 4)
        _close(rows[tap, "mean"], values.mean(axes), 5e-5)


def test_tokens_of_a_video_network_agree_with_its_own_modules(tmp_path):
    sheet = get_network("mvit_v2_s.kinetics400")
    network = _built(sheet, tmp_path)
    x = look(_volumes(0), _view(sheet, 16).steps).transpose(1, 2)
    tokens = network.pos_encoding(network.conv_proj(x).flatten(2).transpose(1, 2))
    sizes = (8, 56, 56)
    for block in network.blocks[:2]:
        tokens, sizes = block(tokens, sizes)
    rows = make_reader(network, sheet, ["block2", "block2:cls"], ["mean", "std"])(_volumes(0), _view(sheet, 16))
    _close(rows["block2", "mean"], tokens[:, 1:].mean(1))
    _close(rows["block2", "std"], tokens[:, 1:].std(1, unbiased=False))
    _close(rows["block2:cls", "mean"], tokens[:, 0])


def _as_volume(frames):
    """The volume (1, 1, I, J, K) whose axial slices, from below, are the frames (T, H, W)."""
    return frames.flip(1).permute(2, 1, 0)[None, None]


@pytest.mark.parametrize("name", [sheet.name for sheet in SHEETS if sheet.takes == CLIP])
def test_the_recipe_of_clips_is_torchvisions(name):
    """Where sizes coincide: torchvision crops what it has resized, and so cuts off brain; here nothing is cut off."""
    sheet = get_network(name)
    model, _, tag = name.partition(".")
    enum = {"kinetics400": "KINETICS400_V1"}.get(tag, "KINETICS400_IMAGENET22K_V1")
    transforms = torchvision.models.get_model_weights(model)[enum].transforms()
    height, width = transforms.resize_size if len(transforms.resize_size) == 2 else transforms.resize_size * 2
    frames = torch.randint(0, 256, (4, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wanted = transforms(frames[:, None].expand(-1, 3, -1, -1))  # (C, T, H, W)
    size = transforms.crop_size[0]
    seen = torchvision.transforms.functional.center_crop(frames, [size, size]).float() / 255
    steps = [
        replace(step, settings={**step.settings, "first": 0, "last": 3, "count": 4})
        if step.name == "slices"
        else step
        for step in sheet.recipe.views[2].steps
    ]
    found = look(_as_volume(seen), steps).transpose(1, 2)[0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


# --- published files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, old",
    [
        ("densenet121.imagenet", [(r"denselayer(\d+)\.(norm|conv)([12])\.", r"denselayer\1.\2.\3.")]),
        ("vit_b_32.imagenet", [(r"mlp\.0\.", "mlp.linear_1."), (r"mlp\.3\.", "mlp.linear_2.")]),
        ("mnasnet0_5.imagenet", []),
        ("googlenet.imagenet", []),
        ("inception_v3.imagenet", []),
    ],
)
def test_files_in_their_published_form_are_loaded(name, old, tmp_path):
    """DenseNets and ViTs were published under older names; MNASNet asks for metadata that a plain file has not."""
    sheet = get_network(name)
    state = load_network(sheet, "random:7", tmp_path).network.state_dict()
    published = {}
    for key, values in state.items():
        for pattern, was in old:
            key = re.sub(pattern, was, key)
        if not key.endswith("num_batches_tracked"):
            published[key] = values
    assert (set(published) <= set(state)) == (not old)
    torch.save(published, tmp_path / "published.pth")
    loaded = load_network(sheet, str(tmp_path / "published.pth"), tmp_path).network.state_dict()
    assert all(torch.equal(loaded[key], values) for key, values in state.items())


def test_inception_takes_pictures_in_the_scaling_of_the_paper():
    for model in ("googlenet", "inception_v3"):
        assert build(model=model).transform_input
    assert family_of("inception_v3").stem == ""
