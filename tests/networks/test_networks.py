"""Every entry of the table is built, run and held to its sheet."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from featx.errors import ImageError, NetworkError
from featx.images.volume import MNI152_1MM, MNI152_2MM, Volume, grid_affine, read_volume, write_volume
from featx.networks import NETWORKS, get_network
from featx.networks.look import look, resize, take_slices
from featx.networks.optimise import fold_batch_norm
from featx.networks.reading import make_reader, pool
from featx.networks.recipe import prepare
from featx.networks.taps import poolings_of
from featx.networks.weights import load_network
from tests.conftest import phantom

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


def _volume(sheet, seed=0):
    grid = sheet.recipe.grid
    return Volume(np.asfortranarray(phantom(grid, seed), dtype=np.float32), grid_affine(grid))


def _batch(sheet, *seeds):
    arrays = [prepare(_volume(sheet, seed), sheet.recipe, sheet.name, "here") for seed in seeds]
    return torch.from_numpy(np.stack(arrays)[:, None])


def _rows(sheet, network, *batches, taps=None, poolings=None, views=None, optimised=False):
    """Rows of each batch, by (view, tap, pooling), from one reader."""
    read = make_reader(network, sheet, taps or tuple(sheet.taps), poolings or sheet.poolings, optimised=optimised)
    found = [
        {(view.name, *place): rows for view in (views or sheet.recipe.views) for place, rows in read(x, view).items()}
        for x in batches
    ]
    return found if len(found) > 1 else found[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_entry_gives_what_its_sheet_promises(name, tmp_path):
    sheet = get_network(name)
    assert set(sheet.default_taps) <= set(sheet.taps)
    assert set(sheet.default_views) <= {view.name for view in sheet.recipe.views}
    assert set(sheet.default_pooling) <= set(sheet.poolings)
    loaded = load_network(sheet, "random:3", tmp_path)
    assert not any(module.training for module in loaded.network.modules())
    volumes = _batch(sheet, 0, 1)
    plain = _rows(sheet, loaded.network, volumes)
    together, alone = _rows(sheet, loaded.network, volumes, volumes[1:], optimised=True)
    assert set(together) == {
        (view.name, tap, how)
        for view in sheet.recipe.views
        for tap in sheet.taps
        for how in poolings_of(sheet, tap, sheet.poolings)
    }
    for (view, tap, how), values in together.items():
        n_slices = {"sagittal": 16, "coronal": 17, "axial": 17}.get(view, 1)
        width = sheet.taps[tap].width
        shape = {"concat": (2, n_slices * width), "slices": (2, n_slices, width)}.get(how, (2, width))
        assert values.shape == shape, (view, tap, how)
        scale = values.abs().max()
        assert scale > 0 or how == "std"
        torch.testing.assert_close(values[1:], alone[view, tap, how], rtol=0, atol=float(scale) * 1e-5)
        torch.testing.assert_close(values, plain[view, tap, how], rtol=0, atol=float(scale) * 1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_entry_refuses_another_grid(name):
    sheet = get_network(name)
    other = MNI152_1MM if sheet.recipe.grid == MNI152_2MM else MNI152_2MM
    volume = Volume(phantom(other).astype(np.float32), grid_affine(other))
    with pytest.raises(ImageError, match=f"{name} wants a brain on the {sheet.recipe.grid.name[:11]}") as caught:
        prepare(volume, sheet.recipe, name, "here")
    assert caught.value.code == "wrong-grid"
    assert prepare(volume, sheet.recipe, name, "here", resampling=True).dtype == np.float32


@pytest.mark.parametrize("name", NETWORKS)
def test_a_copy_stored_in_another_orientation_gives_the_same_bits(name, tmp_path):
    sheet = get_network(name)
    grid = sheet.recipe.grid
    write_volume(tmp_path / "las.nii", phantom(grid), grid_affine(grid))
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, grid.shape[0] - 1
    write_volume(tmp_path / "ras.nii", phantom(grid)[::-1], grid_affine(grid) @ flip)
    las, ras = (prepare(read_volume(tmp_path / f"{one}.nii"), sheet.recipe, name, "here") for one in ("las", "ras"))
    np.testing.assert_array_equal(las, ras)


def test_an_unknown_network_names_the_known_ones():
    with pytest.raises(NetworkError, match=r"'sfcn' is not; known are 'r3d_18.kinetics400'"):
        get_network("sfcn")


# --- SFCN -----------------------------------------------------------------------------------------------------


class PlainSFCN(nn.Module):
    """The published layout, written out without a loop."""

    def __init__(self, c, n_outputs):
        super().__init__()

        def block(a, b):
            return nn.Sequential(
                nn.Conv3d(a, b, 3, padding=1), nn.BatchNorm3d(b), nn.MaxPool3d(2, stride=2), nn.ReLU()
            )

        self.feature_extractor = nn.Sequential()
        self.feature_extractor.add_module("conv_0", block(1, c[0]))
        self.feature_extractor.add_module("conv_1", block(c[0], c[1]))
        self.feature_extractor.add_module("conv_2", block(c[1], c[2]))
        self.feature_extractor.add_module("conv_3", block(c[2], c[3]))
        self.feature_extractor.add_module("conv_4", block(c[3], c[4]))
        self.feature_extractor.add_module(
            "conv_5", nn.Sequential(nn.Conv3d(c[4], c[5], 1), nn.BatchNorm3d(c[5]), nn.ReLU())
        )
        self.classifier = nn.Sequential()
        self.classifier.add_module("average_pool", nn.AvgPool3d([5, 6, 5]))
        self.classifier.add_module("dropout", nn.Dropout(0.5))
        self.classifier.add_module("conv_6", nn.Conv3d(c[5], n_outputs, 1))


@pytest.mark.parametrize(
    "name, channels, n_outputs, n_parameters",
    [
        ("sfcn.ukb_age", (32, 64, 128, 256, 256, 64), 40, 2_952_936),
        ("sfcn.ukb_sex", (28, 58, 128, 256, 256, 64), 2, 2_918_144),
    ],
)
def test_sfcn_agrees_with_a_plain_network_from_a_dataparallel_checkpoint(
    name, channels, n_outputs, n_parameters, tmp_path
):
    torch.manual_seed(0)
    plain = PlainSFCN(channels, n_outputs).eval()
    assert sum(values.numel() for values in plain.parameters()) == n_parameters
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm3d):  # as after training, so that a forgotten statistic shows
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    torch.save(nn.DataParallel(plain).state_dict(), tmp_path / "epoch.p")
    sheet = get_network(name)
    volume = _volume(sheet)
    x = volume.data / volume.data.mean(dtype=np.float64).astype(np.float32)  # the whole volume, before the crop
    x = torch.from_numpy(np.ascontiguousarray(x[11:171, 13:205, 11:171]))[None, None]
    assert x.shape == (1, 1, 160, 192, 160)
    pooled = plain.classifier.average_pool(plain.feature_extractor(x))
    wanted = plain.classifier.conv_6(pooled).flatten(1)
    loaded = load_network(sheet, str(tmp_path / "epoch.p"), tmp_path)
    assert loaded.weights == "file:epoch.p"
    probabilities = loaded.network(x)
    torch.testing.assert_close(probabilities, torch.log_softmax(wanted, 1), rtol=1e-4, atol=1e-4)
    rows = _rows(sheet, loaded.network, _batch(sheet, 0), optimised=True)
    torch.testing.assert_close(rows["volume", "features", "mean"], pooled.flatten(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rows["volume", "logits", "mean"], wanted, rtol=1e-4, atol=1e-4)


# --- networks on slices and on frames -------------------------------------------------------------------------


def _slices_by_hand(x, axis, positions, size, mean, std):
    """One slice at a time, with torchvision's own resize and normalise."""
    pictures = []
    for at in positions:
        plane = x.take(at, axis=("sagittal", "coronal", "axial").index(axis))
        picture = torch.from_numpy(np.ascontiguousarray(plane.T[::-1]))  # height downwards from superior or anterior
        picture = torchvision.transforms.functional.resize(picture[None], [size, size], antialias=False)
        pictures.append(torchvision.transforms.functional.normalize(picture.expand(3, -1, -1), mean, std))
    return torch.stack(pictures)


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
def test_slice_networks_agree_with_torchvision(axis, positions, model, nodes, tmp_path):
    sheet = get_network(f"{model}.imagenet")
    loaded = load_network(sheet, "random:0", tmp_path)
    reader = create_feature_extractor(loaded.network, nodes)
    x = prepare(_volume(sheet), sheet.recipe, sheet.name, "here")
    pictures = _slices_by_hand(x, axis, positions, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    by_slice = {tap: values.mean((2, 3)) for tap, values in reader(pictures).items()}
    view = [view for view in sheet.recipe.views if view.name == axis]
    rows = _rows(sheet, loaded.network, _batch(sheet, 0), taps=list(nodes.values()), views=view)
    for tap, values in by_slice.items():
        for how, wanted in {
            "mean": values.mean(0),
            "max": values.max(0).values,
            "std": values.std(0, unbiased=False),
            "concat": values.flatten(),
        }.items():
            torch.testing.assert_close(rows[axis, tap, how][0], wanted, rtol=1e-4, atol=1e-5)


def test_the_video_network_agrees_with_torchvision(tmp_path):
    sheet = get_network("r3d_18.kinetics400")
    loaded = load_network(sheet, "random:0", tmp_path)
    reader = create_feature_extractor(loaded.network, {"layer4": "layer4", "avgpool": "avgpool"})
    x = prepare(_volume(sheet), sheet.recipe, sheet.name, "here")
    positions = [round(at) for at in np.linspace(8, 72, 16)]
    frames = _slices_by_hand(x, "axial", positions, 112, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
    wanted = reader(frames.transpose(0, 1)[None])
    rows = _rows(sheet, loaded.network, _batch(sheet, 0), views=[sheet.recipe.views[2]])
    torch.testing.assert_close(rows["axial", "layer4", "mean"], wanted["avgpool"].flatten(1), rtol=1e-4, atol=1e-5)


def test_slices_keep_their_sides():
    volume = torch.zeros(1, 1, 5, 6, 7)
    volume[0, 0, 1, 2, 3] = 1  # I = 1 of 5, J = 2 of 6, K = 3 of 7
    for axis, at, place in (("sagittal", 1, (3, 2)), ("coronal", 2, (3, 1)), ("axial", 3, (3, 1))):
        slices = take_slices(volume, axis=axis, first=at, last=at, count=1)
        assert np.argwhere(slices[0, 0, 0].numpy() == 1).tolist() == [list(place)]


def test_resize_is_of_areas():
    assert resize(torch.tensor([[[[[0.0, 4.0]]]]]), size=4)[0, 0, 0, 0].tolist() == [0, 1, 3, 4]


def test_pool_of_one_position_has_no_spread():
    assert pool(torch.ones(2, 1, 3), "std", 1).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_whole_volume_is_looked_at_as_it_is():
    x = torch.rand(1, 1, 3, 4, 5)
    assert look(x, get_network("sfcn.ukb_age").recipe.views[0].steps) is x


def test_folding_leaves_no_batch_norm(tmp_path):
    network = load_network(get_network("resnet18.imagenet"), "random:0", tmp_path).network
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fold_batch_norm(network).modules())


# --- recipe steps ---------------------------------------------------------------------------------------------


def test_intensities_are_scaled_by_a_percentile_of_the_brain():
    sheet = get_network("squeezenet1_0.imagenet")
    volume = _volume(sheet)
    bright = volume.data[volume.data > 0]
    wanted = np.clip(volume.data / np.percentile(bright, 99.5), 0, 1)
    np.testing.assert_allclose(prepare(volume, sheet.recipe, "n", "w"), wanted, rtol=1e-5)
    ten = Volume(volume.data * 10, volume.affine)
    np.testing.assert_allclose(prepare(ten, sheet.recipe, "n", "w"), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "name, match", [("sfcn.ukb_age", "mean intensity must be above 0"), ("squeezenet1_0.imagenet", "voxels above 0")]
)
def test_a_brain_that_is_darker_than_its_background(name, match):
    sheet = get_network(name)
    volume = _volume(sheet)
    with pytest.raises(ImageError, match=match) as caught:
        prepare(Volume(-volume.data, volume.affine), sheet.recipe, name, "here")
    assert caught.value.code == "constant"
