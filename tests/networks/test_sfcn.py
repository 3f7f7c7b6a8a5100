"""SFCN against the published layout written out plainly, and every entry of its family held to its sheet."""

import numpy as np
import pytest
import torch
from torch import nn

from featx.images.volume import MNI152_1MM, Volume, grid_affine
from featx.networks import NETWORKS, get_network
from featx.networks.architectures.sfcn import SFCN
from featx.networks.reading import make_reader
from featx.networks.recipe import prepare
from featx.networks.weights import build, load_network
from tests.conftest import phantom

FAMILY = [name for name, sheet in NETWORKS.items() if sheet.family == "SFCN"]

pytestmark = pytest.mark.usefixtures("no_gradients")


class PlainSFCN(nn.Module):
    """The published layout, written out without a loop."""

    def __init__(self, c, n_outputs, pool):
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
        self.classifier.add_module("average_pool", nn.AvgPool3d(pool))
        self.classifier.add_module("dropout", nn.Dropout(0.5))
        self.classifier.add_module("conv_6", nn.Conv3d(c[5], n_outputs, 1))


PUBLISHED = {
    "sfcn.ukb_age": ((32, 64, 128, 256, 256, 64), 40, 2_952_936),
    "sfcn.ukb_sex": ((28, 58, 128, 256, 256, 64), 2, 2_918_144),
    "sfcn.narrow": ((32, 64, 64, 64, 64, 64), 40, 395_688),
}


def _plain(name, pool):
    torch.manual_seed(0)
    channels, n_outputs, _ = PUBLISHED[name]
    plain = PlainSFCN(channels, n_outputs, pool).eval()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm3d):  # as after training, so that a forgotten statistic shows
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    plain.classifier.conv_6.weight.normal_(0, 5)  # so that the bins are not all alike
    return plain


def _answer(name, logits):
    """Age in years or probability of male, from the outputs, in double precision."""
    p = np.exp(logits.double().numpy())
    p /= p.sum(1, keepdims=True)
    if name == "sfcn.ukb_sex":
        return p[:, 1:]
    return (p @ np.array([42.5 + at for at in range(40)]))[:, None]


def _rows(sheet, network, x, *, optimised, poolings=("mean",)):
    read = make_reader(network, sheet, tuple(sheet.taps), poolings, optimised=optimised)
    return read(x, sheet.recipe.views[0])


@pytest.mark.parametrize("name", PUBLISHED)
def test_sfcn_agrees_with_a_plain_network_from_a_dataparallel_checkpoint(name, tmp_path):
    plain = _plain(name, (2, 3, 2))
    torch.save(nn.DataParallel(plain).state_dict(), tmp_path / "epoch.p")
    x = torch.rand(2, 1, 70, 96, 64) * 3
    extracted = {}
    maps = x
    for at, block in enumerate(plain.feature_extractor):
        extracted[f"block{at}"] = maps = block(maps)
    pooled = plain.classifier.average_pool(maps)
    logits = plain.classifier.conv_6(pooled).flatten(1)
    sheet = get_network(name)
    loaded = load_network(sheet, str(tmp_path / "epoch.p"), tmp_path)
    assert loaded.weights == "file:epoch.p"
    assert set(loaded.network.state_dict()) == set(plain.state_dict())  # the decoding holds no tensors
    answer = _answer(name, logits)
    assert answer.std() > 0
    for optimised in (False, True):
        rows = _rows(sheet, loaded.network, x, optimised=optimised, poolings=("mean", "max"))
        for tap, values in extracted.items():
            torch.testing.assert_close(rows[tap, "mean"], values.mean((2, 3, 4)), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(rows[tap, "max"], values.amax((2, 3, 4)), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(rows["features", "mean"], pooled.flatten(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rows["logits", "mean"], logits, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(rows["prediction", "mean"], answer, rtol=1e-4, atol=1e-4)


def test_the_whole_way_from_an_image_to_an_age(tmp_path):
    """Whole-volume mean, crop, the published pool, 40 bins; at full size, once."""
    plain = _plain("sfcn.ukb_age", (5, 6, 5))
    torch.save(plain.state_dict(), tmp_path / "age.p")
    data = phantom(MNI152_1MM).astype(np.float32)
    x = data / data.mean(dtype=np.float64).astype(np.float32)  # the whole volume, before the crop
    x = torch.from_numpy(np.ascontiguousarray(x[11:171, 13:205, 11:171]))[None, None]
    assert x.shape == (1, 1, 160, 192, 160)
    pooled = plain.classifier.average_pool(plain.feature_extractor(x))
    assert pooled.shape == (1, 64, 1, 1, 1)
    logits = plain.classifier.conv_6(pooled).flatten(1)
    sheet = get_network("sfcn.ukb_age")
    network = load_network(sheet, str(tmp_path / "age.p"), tmp_path).network
    volume = Volume(np.asfortranarray(data), grid_affine(MNI152_1MM))
    prepared = np.ascontiguousarray(prepare(volume, sheet.recipe, sheet.name, "here"))
    np.testing.assert_allclose(prepared, x[0, 0], rtol=1e-6)
    rows = _rows(sheet, network, torch.from_numpy(prepared)[None, None], optimised=True)
    torch.testing.assert_close(rows["features", "mean"], pooled.flatten(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rows["logits", "mean"], logits, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(rows["prediction", "mean"], _answer(sheet.name, logits), rtol=1e-4, atol=1e-4)


def test_other_channels_sizes_and_inputs():
    """Four blocks, two input channels, odd sizes: the pool is the mean over all positions that are left."""
    torch.manual_seed(0)
    network = SFCN((3, 5, 7, 4), n_outputs=6, ages=(10.0, 22.0), in_channels=2).eval()
    x = torch.randn(2, 2, 17, 24, 31)
    maps = network.feature_extractor(x)
    assert maps.shape == (2, 4, 2, 3, 3)
    last = network.classifier.conv_4
    logits = maps.mean((2, 3, 4)) @ last.weight[:, :, 0, 0, 0].T + last.bias
    p = np.exp(logits.numpy())
    wanted = (p * [11, 13, 15, 17, 19, 21]).sum(1) / p.sum(1)
    torch.testing.assert_close(network.logits(x), logits)
    np.testing.assert_allclose(network(x)[:, 0], wanted, rtol=1e-5)
    classes = SFCN((3, 4), n_outputs=3).eval()
    x = torch.randn(4, 1, 5, 4, 6)
    p = np.exp(classes.logits(x).numpy())
    np.testing.assert_allclose(classes(x)[:, 0], p[:, 1] / p.sum(1), rtol=1e-5)


@pytest.mark.parametrize("name", FAMILY)
def test_every_entry_of_the_family_gives_what_its_sheet_promises(name, tmp_path):
    sheet = get_network(name)
    assert sum(values.numel() for values in build(sheet).parameters()) == sheet.n_parameters
    assert sheet.n_parameters == PUBLISHED.get(name, (0, 0, sheet.n_parameters))[2]
    network = load_network(sheet, "random:3", tmp_path).network
    assert not any(module.training for module in network.modules())
    x = torch.rand(2, 1, 66, 70, 64, generator=torch.Generator().manual_seed(0))
    plain = _rows(sheet, network, x, optimised=False, poolings=sheet.poolings)
    together = _rows(sheet, network, x, optimised=True, poolings=sheet.poolings)
    alone = _rows(sheet, network, x[1:], optimised=True, poolings=sheet.poolings)
    assert {tap for tap, _ in together} == set(sheet.taps)
    for (tap, how), values in together.items():
        assert values.shape == (2, sheet.taps[tap].width), (tap, how)
        scale = float(values.abs().max())
        assert scale > 0
        torch.testing.assert_close(values[1:], alone[tap, how], rtol=0, atol=scale * 1e-5)
        torch.testing.assert_close(values, plain[tap, how], rtol=0, atol=scale * 1e-5)
