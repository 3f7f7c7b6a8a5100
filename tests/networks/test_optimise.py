"""The same answers, faster: convolutions plane by plane, and what torch compiles."""

import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional

from featx.networks import get_network, winograd
from featx.networks.optimise import compile_blocks, optimise
from featx.networks.reading import read_taps
from featx.networks.weights import load_network
from featx.networks.winograd import PlaneConvolution, by_planes

pytestmark = pytest.mark.usefixtures("no_gradients")


def convolution(channels, seed=0, bias=True):
    """A 3x3x3 convolution whose outputs are about as large as its inputs."""
    made = nn.Conv3d(*channels, 3, padding=1, bias=bias).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    made.weight.copy_(torch.randn(made.weight.shape, generator=generator) / (27 * channels[0]) ** 0.5)
    if bias:
        made.bias.copy_(torch.randn(made.bias.shape, generator=generator))
    return made


def volumes(*shape, seed=1):
    """Positive numbers, as behind a ReLU."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def wanted(x, made, pooled, rectified):
    """As torch has it, in float64."""
    y = functional.conv3d(
        x.double(), made.weight.double(), None if made.bias is None else made.bias.double(), padding=1
    )
    y = functional.max_pool3d(y, 2) if pooled else y
    return y.relu() if rectified else y


@pytest.fixture
def always(monkeypatch):
    """Small inputs are worth it too."""
    monkeypatch.setattr(winograd, "pays", lambda *_: True)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("pooled, rectified", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("size", [(8, 6, 10), (9, 7, 11), (5, 4, 3), (2, 2, 2), (3, 9, 2), (14, 5, 6)])
def test_planes_give_what_a_convolution_gives(size, pooled, rectified):
    for channels, bias in (((16, 17), True), ((19, 16), False)):
        made = convolution(channels, bias=bias)
        x = volumes(2, channels[0], *size)
        found = PlaneConvolution(made, pooled=pooled, rectified=rectified)(x)
        exact = wanted(x, made, pooled, rectified)
        assert found.shape == exact.shape
        assert found.is_contiguous(memory_format=torch.channels_last_3d)
        assert float((found - exact).abs().max() / exact.abs().max()) < 2e-6


@pytest.mark.parametrize("size", [(8, 6, 10), (9, 7, 11), (2, 2, 2), (3, 9, 2)])
def test_one_channel_is_gathered_from_three_planes(size):
    made = convolution((1, 5))
    x = volumes(3, 1, *size)
    found = PlaneConvolution(made, pooled=True, rectified=True)(x)
    assert float((found - wanted(x, made, True, True)).abs().max()) < 1e-6


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("channels", [(1, 16), (16, 24)])
def test_threads_give_what_one_gives(channels, monkeypatch):
    made = PlaneConvolution(convolution(channels), pooled=True, rectified=True)
    x = volumes(1, channels[0], 41, 9, 8)
    before = torch.get_num_threads()
    found = {}
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for values in (1, 10**9):
                monkeypatch.setattr(winograd, "_VALUES_AT_ONCE", values)
                found[threads, values] = made(x)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for one in found.values():
        assert float((one - found[1, 1]).abs().max() / one.abs().max()) < 3e-6
    exact = wanted(x, convolution(channels), True, True)
    assert float((found[3, 1] - exact).abs().max() / exact.abs().max()) < 2e-6


@pytest.mark.usefixtures("always")
def test_what_is_not_a_number_stays_so():
    x = volumes(1, 16, 9, 8, 8)
    x[0, 0, 4, 4, 4] = torch.nan
    made = convolution((16, 16))
    found = PlaneConvolution(made, pooled=True, rectified=True)(x)
    assert found.isnan()[0, 0].any()
    missing = wanted(x, made, True, True).isnan()
    assert found[missing].isnan().all()


def test_small_inputs_and_autocast_take_the_usual_way():
    made = convolution((16, 16))
    usual = nn.Sequential(made, nn.MaxPool3d(2), nn.ReLU())
    planes = PlaneConvolution(made, pooled=True, rectified=True)
    small = volumes(1, 16, 8, 8, 8)
    assert torch.equal(planes(small), usual(small))
    large = volumes(1, 16, 64, 64, 64)
    assert not torch.equal(planes(large), usual(large))
    with torch.autocast("cpu", torch.bfloat16):
        found = planes(large)
        assert torch.equal(found, usual(large))
    assert float((found - usual(large)).abs().max()) > 1e-4  # products of half precision
    with pytest.raises(RuntimeError, match="too small"):
        planes(volumes(1, 16, 8, 1, 8))


# --- which ones -----------------------------------------------------------------------------------------------------


class Own(nn.Conv3d):
    """It does more than convolve."""

    def forward(self, x):
        return super().forward(x) + 1


class Called(nn.Module):
    """No Sequential: the order of its modules says nothing."""

    def __init__(self):
        super().__init__()
        self.convolution, self.relu = convolution((16, 16)), nn.ReLU()

    def forward(self, x):
        return self.convolution(x) + self.relu(x)


def test_what_is_replaced():
    shared = convolution((16, 16))
    strided = nn.Conv3d(16, 16, 3, padding=1, stride=2)
    network = nn.Sequential(
        nn.Sequential(convolution((1, 16)), nn.Identity(), nn.MaxPool3d(2), nn.ReLU()),
        nn.Sequential(convolution((16, 16)), nn.ReLU(), nn.MaxPool3d(2)),
        nn.Sequential(convolution((16, 16)), nn.MaxPool3d(3, 2), nn.ReLU()),
        nn.Sequential(shared, shared, Own(16, 16, 3, padding=1), strided, convolution((16, 8))),
        Called(),
        nn.Sequential(convolution((1, 16)), nn.ReLU()),
    ).requires_grad_(False)
    read = network[1][1]
    uses = [id(one) for _, one in network.named_modules(remove_duplicate=False)]
    assert by_planes(network, {one for one in uses if uses.count(one) == 1 and one != id(read)}) == 4
    kinds = [[type(one).__name__ for one in part.children()] for part in network]
    assert kinds[0] == ["PlaneConvolution", "Identity", "Identity", "Identity"]
    assert kinds[1] == ["PlaneConvolution", "ReLU", "MaxPool3d"]  # it is read
    assert kinds[2] == ["PlaneConvolution", "MaxPool3d", "ReLU"]
    assert kinds[3] == ["Conv3d", "Own", "Conv3d", "Conv3d"]
    assert kinds[4] == ["PlaneConvolution", "ReLU"]
    assert kinds[5] == ["Conv3d", "ReLU"]
    assert (network[0][0].pooled, network[0][0].rectified) == (True, True)
    assert (network[1][0].pooled, network[1][0].rectified) == (False, False)


def test_sfcn_by_planes_is_sfcn(tmp_path):
    sheet = get_network("sfcn.ukb_age")
    network = load_network(sheet, "random:0", tmp_path).network
    x = volumes(1, 1, 48, 65, 64)
    plain = network.double().feature_extractor(x.double())
    by_block = {}
    optimise(network.float(), sheet, ("feature_extractor.conv_1",))
    for name, block in network.feature_extractor.named_children():
        by_block[name] = [type(one) for one in block.children()]
    assert by_block["conv_1"][0] == PlaneConvolution
    assert by_block["conv_2"][2] == nn.Identity
    assert by_block["conv_5"][0] == nn.Conv3d  # 1x1x1
    fast = network.feature_extractor(x)
    assert float((fast - plain).norm() / plain.norm()) < 3e-6


# --- compiled -------------------------------------------------------------------------------------------------------


def test_the_largest_blocks_without_a_tap_inside_are_compiled():
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()))
    network.add_module("body", nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), nn.Conv2d(4, 4, 3)))
    network.add_module("head", nn.Sequential(nn.Flatten(), nn.LazyLinear(2)))
    assert compile_blocks(network, {"body.0", "head.0"}) == ["stem", "body.0"]


@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for a CPU with a C++ compiler, and there is none")
def test_compiled_blocks_give_the_same_and_end_with_the_last_tap():
    network = nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.GELU()), nn.Sequential(nn.Linear(8, 2), nn.Tanh()))
    x = volumes(3, 6)
    plain = network[0](x).clone()
    assert compile_blocks(network, {"0"}) == ["0", "1"]
    behind = []
    network[1].forward = lambda inputs: behind.append(1) or inputs
    calls: dict[str, int] = {}
    for _ in range(2):
        found = read_taps(network, x, {"t": "0"}, {"t": torch.clone}, calls)["t"]
        assert float((found - plain).abs().max() / plain.abs().max()) < 1e-4
    assert hasattr(network[0].forward, "_torchdynamo_orig_callable")
    assert (behind, calls) == ([1], {"t": 1})
