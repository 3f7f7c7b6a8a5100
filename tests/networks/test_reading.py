"""Views, taps and poolings against plain loops; the same answers, faster; what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from featx.errors import NetworkError
from featx.extraction.plan import make_request
from featx.networks import get_network
from featx.networks.look import look, resize, slice_positions, take_slices
from featx.networks.optimise import GreyConvolution, fold_batch_norm, lay_out, memory_format
from featx.networks.reading import layout_of, make_reader, output_rows, pool, read_taps
from featx.networks.sheet import CLIP, PICTURES, POOLINGS, SET, VOLUME, Step, Tap, View
from featx.networks.survey import hollow
from featx.networks.weights import load_network

pytestmark = pytest.mark.usefixtures("no_gradients")

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORM = Step("normalise", {"mean": MEAN, "std": STD})


def _random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def _shaken(network):
    """Batch norms as after training; in eval mode."""
    generator = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) and module.track_running_stats:
            for tensor in (module.running_mean, module.weight, module.bias):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.3)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return network.eval()


class _Net(nn.Module):
    """A stem, a block that is used twice, tokens, and a module that is never used."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.twice = nn.Conv2d(4, 4, 1)
        self.windows = nn.Identity()
        self.tokens = nn.Linear(4, 6)
        self.pair = _Pair()
        self.total = _Total()
        self.unused = nn.Linear(1, 1)
        self.last = nn.Linear(6, 2)
        self.n_last = 0

    def forward(self, x):
        x = self.act(self.norm(self.conv(x)))
        x = self.twice(self.twice(x))
        self.windows(x.flatten(0, 1))
        x = self.tokens(x.flatten(2).transpose(1, 2))
        x, _ = self.pair(x)
        self.total(x)
        self.n_last += 1
        return self.last(x[:, 0])


class _Pair(nn.Module):
    def forward(self, x):
        return x, "and more"


class _Total(nn.Module):
    def forward(self, x):
        return x.sum()


def _net(**facts):
    torch.manual_seed(0)
    taps = {"stem": Tap("act", 4), "twice": Tap("twice", 4), "tokens": Tap("tokens", 6)}
    changes = {"takes": PICTURES, "taps": taps, "class_tokens": 1, "stem": "conv", "name": "net.test"} | facts
    return replace(get_network("resnet18.imagenet"), **changes), _shaken(_Net())


VIEW = View("axial", (Step("slices", {"axis": "axial", "first": 1, "last": 5, "count": 3}), NORM))


def _pictures(volumes):
    return look(volumes, VIEW.steps).flatten(0, 1).contiguous()


# --- views ----------------------------------------------------------------------------------------------------


def test_slices_keep_their_sides():
    volume = torch.zeros(1, 1, 5, 6, 7)
    volume[0, 0, 1, 2, 3] = 1  # I = 1 of 5, J = 2 of 6, K = 3 of 7
    for axis, at, place in (("sagittal", 1, (3, 2)), ("coronal", 2, (3, 1)), ("axial", 3, (3, 1))):
        slices = take_slices(volume, axis=axis, first=at, last=at, count=1)
        assert np.argwhere(slices[0, 0, 0].numpy() == 1).tolist() == [list(place)]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("channels", ["replicate", "neighbours"])
@pytest.mark.parametrize("size", [None, 12, 5])
def test_views_agree_with_a_loop_over_slices(axis, channels, size):
    volumes = _random(2, 1, 7, 8, 9)
    steps = [Step("slices", {"axis": axis, "first": 0, "last": 6, "count": 4, "channels": channels})]
    steps += [Step("resize", {"size": size})] if size else []
    found = look(volumes, [*steps, NORM])
    for n, volume in enumerate(volumes[:, 0].numpy()):
        for s, at in enumerate((0, 2, 4, 6)):
            colours = []
            for colour, step in enumerate((-1, 0, 1) if channels == "neighbours" else (0, 0, 0)):
                position = min(max(at + step, 0), volume.shape[AXES[axis]] - 1)
                plane = np.take(volume, position, AXES[axis]).T[::-1]
                plane = _resized(plane, size) if size else plane
                colours.append((plane - MEAN[colour]) / STD[colour])
            np.testing.assert_allclose(found[n, s].numpy(), np.stack(colours), rtol=0, atol=1e-5)


def _resized(plane, size):
    """Bilinear between the centres of pixels, the border continued."""
    rows, columns = (((np.arange(size) + 0.5) * length / size - 0.5).clip(0, length - 1) for length in plane.shape)
    half = np.stack([[np.interp(at, np.arange(len(line)), line) for at in columns] for line in plane])
    return np.stack([[np.interp(at, np.arange(len(line)), line) for at in rows] for line in half.T]).T


@pytest.mark.parametrize(
    "wish, count, shape",
    [
        ({}, 17, (224, 224)),
        ({"n_slices": 5}, 5, (224, 224)),
        ({"size": "64"}, 17, (64, 64)),
        ({"size": "native", "n_slices": 40}, 40, (109, 91)),
        ({"channels": "neighbours", "n_slices": 2}, 2, (224, 224)),
    ],
)
def test_wishes_change_the_view(wish, count, shape):
    request = make_request("resnet18.imagenet", views=["axial"], **wish)
    assert look(_random(1, 1, 91, 109, 91), request.recipe.views[0].steps).shape == (1, count, 3, *shape)


def test_positions_are_evenly_spaced_over_the_same_span():
    assert slice_positions(8, 72, 17) == list(range(8, 73, 4))
    assert slice_positions(8, 72, 3) == [8, 40, 72]


@pytest.mark.parametrize(
    "first, last, middle", [(8, 72, 40), (8, 73, 40), (9, 72, 40), (5, 5, 5), (6, 7, 6), (7, 8, 8)]
)
def test_a_single_slice_is_the_middle_one(first, last, middle):
    assert slice_positions(first, last, 1) == [middle]
    volume = torch.arange(90.0).expand(1, 1, 3, 4, 90)
    assert take_slices(volume, axis="axial", first=first, last=last, count=1).unique().tolist() == [middle]


def test_resize_is_of_areas():
    assert resize(torch.tensor([[[[[0.0, 4.0]]]]]), size=4)[0, 0, 0, 0].tolist() == [0, 1, 3, 4]


def test_a_whole_volume_is_looked_at_as_it_is():
    x = torch.rand(1, 1, 3, 4, 5)
    assert look(x, get_network("sfcn.ukb_age").recipe.views[0].steps) is x


# --- taps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimised", [False, True])
def test_any_module_is_a_tap_and_is_what_it_was(optimised):
    """A convolution that is read is not folded; a module that runs twice is read when it runs last."""
    sheet, network = _net()
    volumes = _random(2, 1, 8, 9, 10)
    x = _pictures(volumes)
    conv = network.conv(x)
    norm = network.norm(conv)
    once = network.twice(norm.relu())
    tokens = network.tokens(network.twice(once).flatten(2).transpose(1, 2))
    wanted = {
        "conv": conv.mean((2, 3)),
        "conv:max": conv.amax((2, 3)),
        "norm": norm.mean((2, 3)),
        "stem": norm.relu().mean((2, 3)),
        "twice": network.twice(once).mean((2, 3)),
        "tokens": tokens[:, 1:].mean(1),
        "tokens:max": tokens[:, 1:].amax(1),
        "tokens:cls": tokens[:, 0],
        "pair": tokens[:, 1:].mean(1),
        "last": network.last(tokens[:, 0]),
    }
    read = make_reader(network, sheet, list(wanted), sheet.poolings, optimised=optimised)
    for _ in range(2):  # the first pass runs to its end, the second one ends with the last tap
        rows = read(volumes, VIEW)
        for tap, by_slice in wanted.items():
            by_slice = by_slice.reshape(2, 3, -1)
            for pooling, values in {
                "slices": by_slice,
                "concat": by_slice.flatten(1),
                "mean": by_slice.mean(1),
                "max": by_slice.amax(1),
                "std": by_slice.std(1, unbiased=False),
            }.items():
                torch.testing.assert_close(rows[tap, pooling], values, rtol=1e-4, atol=1e-5)
    assert isinstance(network.norm, nn.BatchNorm2d)


@pytest.mark.parametrize("optimised", [False, True])
def test_a_network_without_its_norm_is_the_same(optimised):
    sheet, network = _net()
    volumes = _random(1, 1, 8, 9, 10)
    wanted = network.norm(network.conv(_pictures(volumes))).relu().mean((2, 3))
    rows = make_reader(network, sheet, ["stem"], ["slices"], optimised=optimised)(volumes, VIEW)
    torch.testing.assert_close(rows["stem", "slices"][0], wanted, rtol=1e-4, atol=1e-5)
    assert isinstance(network.norm, nn.Identity if optimised else nn.BatchNorm2d)


@pytest.mark.parametrize("tap, passes", [("stem", 1), ("twice", 1), ("tokens", 1), ("last", 3), ("pair", 2)])
def test_what_lies_behind_the_last_tap_is_run_once_only(tap, passes):
    """And once more, on one slice, to look at modules that are not of the sheet."""
    sheet, network = _net()
    read = make_reader(network, sheet, [tap], ["mean"])
    first = read(_random(1, 1, 8, 9, 10), VIEW)
    second = read(_random(1, 1, 8, 9, 10), VIEW)
    assert network.n_last == passes
    torch.testing.assert_close(first[tap, "mean"], second[tap, "mean"], rtol=0, atol=0)


def test_many_slices_are_run_in_portions():
    sheet, network = _net()
    steps = (Step("slices", {"axis": "axial", "first": 0, "last": 39, "count": 40}), NORM)
    volumes = _random(2, 1, 6, 7, 40)
    pictures = look(volumes, steps).flatten(0, 1)
    wanted = network.tokens(network.twice(network.twice(network.norm(network.conv(pictures)).relu())).flatten(2).mT)
    sizes = []
    network.conv.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    read = make_reader(network, sheet, ["tokens:cls"], ["slices"], optimised=False)
    rows = read(volumes, View("axial", steps))
    torch.testing.assert_close(rows["tokens:cls", "slices"].flatten(0, 1), wanted[:, 0], rtol=1e-4, atol=1e-5)
    assert sum(sizes) == 80
    assert max(sizes) <= 17


def test_a_clip_and_a_volume_are_pooled_over_all_positions():
    for takes in (CLIP, VOLUME):
        network = nn.Sequential(nn.Conv3d(3 if takes == CLIP else 1, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1)).eval()
        taps = {"conv": Tap("0", 4), "features": Tap("1", 4, positions=False)}
        sheet = replace(get_network("r3d_18.kinetics400"), takes=takes, taps=taps, stem="")
        volumes = _random(2, 1, 6, 7, 8)
        steps = VIEW.steps if takes == CLIP else ()
        x = look(volumes, steps).transpose(1, 2) if takes == CLIP else volumes
        rows = make_reader(network, sheet, list(taps), ["mean", "max", "std"])(volumes, View("axial", steps))
        out = network[0](x).flatten(2)
        wanted = {"mean": out.mean(2), "max": out.amax(2), "std": out.std(2, unbiased=False)}
        for pooling, values in wanted.items():
            torch.testing.assert_close(rows["conv", pooling], values, rtol=1e-4, atol=1e-5)
        assert {pooling for tap, pooling in rows if tap == "features"} == {"mean"}
        torch.testing.assert_close(rows["features", "mean"], wanted["mean"], rtol=1e-4, atol=1e-5)


def test_pool_of_one_position_has_no_spread():
    assert pool(torch.ones(2, 1, 3), "std", 1).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "module, layout",
    [
        (nn.Conv3d(1, 1, 1), "channels-first"),
        (nn.AdaptiveAvgPool2d(1), "channels-first"),
        (nn.MaxPool3d(2), "channels-first"),
        (nn.BatchNorm2d(1), "channels-first"),
        (nn.Linear(1, 1), "channels-last"),
        (nn.LayerNorm(1), "channels-last"),
        (nn.GELU(), "the sheet's"),
    ],
)
def test_torch_says_where_its_own_modules_keep_features(module, layout):
    assert layout_of(module, "the sheet's") == layout


@pytest.mark.parametrize(
    "name, tap, axes",
    [
        ("convnext_tiny", "features.1.0.block.2", (1, 2)),
        ("convnext_tiny", "features.1.0.block.4", (1, 2)),
        ("convnext_tiny", "features.1.0.block", (2, 3)),
        ("swin_t", "features.0.0", (2, 3)),
        ("swin_t", "features.1.0.mlp.1", (1, 2)),
    ],
)
def test_modules_of_another_layout_than_their_network(name, tap, axes, tmp_path):
    """Inside ConvNeXt layers work on (N, H, W, C), the first convolution of Swin gives (N, C, H, W)."""
    sheet = get_network(f"{name}.imagenet")
    network = load_network(sheet, "random:0", tmp_path).network
    volumes = _random(1, 1, 64, 64, 10)
    wanted = read_taps(network, _pictures(volumes), {"x": tap}, {"x": lambda out: out.mean(axes)}, {})["x"]
    rows = make_reader(network, sheet, [tap], ["slices"])(volumes, VIEW)
    torch.testing.assert_close(rows[tap, "slices"][0], wanted, rtol=1e-4, atol=1e-5)


class _Turned(nn.Module):
    """Features last between two convolutions, on square pictures of as many pixels as features."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.act = nn.GELU()
        self.narrow = nn.Linear(6, 6)
        self.drop = nn.Dropout()
        self.same = _Same()
        self.rest = nn.Conv1d(6, 5, 3)
        self.last = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.drop(self.narrow(self.act(self.conv(x)).permute(0, 2, 3, 1)))
        return self.last(self.rest(self.same(x).flatten(1, 2).mT))


class _Same(nn.Module):
    def forward(self, x):
        return x + 1


@pytest.mark.parametrize("optimised", [False, True])
def test_layouts_are_followed_through_a_network(optimised):
    """What works on every number by itself keeps the layout; a convolution in one dimension has features first."""
    torch.manual_seed(0)
    network = _Turned().eval()
    sheet = replace(_net()[0], taps={"act": Tap("act", 6)}, class_tokens=0, stem="")
    volumes = _random(1, 1, 6, 6, 10)
    first = network.act(network.conv(_pictures(volumes)))
    second = network.narrow(first.permute(0, 2, 3, 1))
    rest = network.rest((second + 1).flatten(1, 2).mT)
    wanted = {
        "act": first.mean((2, 3)),
        "drop": second.mean((1, 2)),
        "drop:max": second.amax((1, 2)),
        "same": second.mean((1, 2)) + 1,
        "rest": rest.mean(2),
        "last": rest.relu().mean(2),
        "last:max": rest.relu().amax(2),
    }
    rows = make_reader(network, sheet, list(wanted), ["slices"], optimised=optimised)(volumes, VIEW)
    for tap, values in wanted.items():
        torch.testing.assert_close(rows[tap, "slices"][0], values, rtol=1e-4, atol=1e-5)


class _InPlace(nn.Module):
    """The last layers work in place on what was read: a vector, tokens with a class token, and their maximum."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Conv1d(24, 5, 1)
        self.turn = nn.Identity()
        self.first = nn.Linear(5, 4)
        self.last = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.turn(self.tokens(x.flatten(-2).flatten(1, -2).mT.reshape(len(x), 24, -1)).mT)
        vector = self.first(x[:, 1])
        x.mul_(0)
        return self.last(vector)


@pytest.mark.parametrize("takes, pooling", [(PICTURES, "slices"), (SET, "slices"), (SET, "concat"), (SET, "mean")])
def test_what_is_read_stays_when_the_next_layer_works_in_place(takes, pooling):
    torch.manual_seed(1)
    network = _InPlace().eval()
    taps = {"turn": Tap("turn", 5), "first": Tap("first", 4, positions=False)}
    tokens = 1 if takes == PICTURES else 0
    sheet = replace(_net()[0], takes=takes, taps=taps, class_tokens=tokens, stem="")
    steps = (Step("slices", {"axis": "axial", "first": 0, "last": 1, "count": 2}), Step("resize", {"size": 12}), NORM)
    volumes = _random(2, 1, 8, 9, 10)
    x = look(volumes, steps)
    x = x.flatten(0, 1) if takes == PICTURES else x
    places = network.tokens(x.flatten(-2).flatten(1, -2).mT.reshape(len(x), 24, -1)).mT
    vector = network.first(places[:, 1])
    assert (vector < 0).any()
    asked = ["turn", "first", *(["turn:cls"] if tokens else [])]
    read = make_reader(network, sheet, asked, [pooling])
    for _ in range(2):  # the first pass runs on behind the last tap
        rows = read(volumes, View("axial", steps))
        if tokens:
            wanted = {"turn": places[:, 1:].mean(1), "turn:cls": places[:, 0], "first": vector}
            for tap, values in wanted.items():
                torch.testing.assert_close(rows[tap, pooling].flatten(0, 1), values, rtol=1e-4, atol=1e-5)
        else:
            torch.testing.assert_close(rows["first", "mean"], vector, rtol=1e-4, atol=1e-5)
            wanted = {"slices": places, "concat": places.flatten(1), "mean": places.mean(1)}[pooling]
            torch.testing.assert_close(rows["turn", pooling], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, tap", [("mobilenet_v3_small", "classifier.0"), ("squeezenet1_1", "classifier.3")])
def test_the_first_image_gives_what_the_second_one_gives(name, tap, tmp_path):
    sheet = get_network(f"{name}.imagenet")
    read = make_reader(load_network(sheet, "random:0", tmp_path).network, sheet, [tap], ["slices"])
    volumes = _random(1, 1, 64, 64, 10)
    first, second = (read(volumes, VIEW)[tap, "slices"] for _ in range(2))
    assert second.abs().max() > 0
    torch.testing.assert_close(first, second, rtol=0, atol=0)


class _Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.inner, self.act = nn.Conv2d(3, 4, 1), torch.jit.trace(nn.ReLU(), torch.zeros(1)), nn.GELU()

    def forward(self, x):
        return self.act(self.inner(self.conv(x)))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_modules_that_torch_has_compiled_are_passed_over():
    network = _Scripted().eval()
    sheet = replace(_net()[0], taps={"conv": Tap("conv", 4)}, class_tokens=0, stem="")
    volumes = _random(1, 1, 8, 9, 10)
    wanted = network(_pictures(volumes)).mean((2, 3))
    rows = make_reader(network, sheet, ["act"], ["slices"])(volumes, VIEW)
    torch.testing.assert_close(rows["act", "slices"][0], wanted, rtol=1e-4, atol=1e-5)


# --- tokens ---------------------------------------------------------------------------------------------------


class _Tokens(nn.Module):
    """Twenty tokens of a picture of any size, then one more before them; heads; a map of the tokens."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(3, 6, 1), nn.AdaptiveAvgPool2d((4, 5)), nn.Flatten(2))
        self.turned = nn.Linear(6, 6)
        self.block = nn.Linear(6, 6)
        self.other = nn.Linear(6, 6)
        self.heads = nn.Identity()
        self.map = nn.Conv2d(6, 3, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.turned(self.embed(x).mT)
        x = self.other(self.block(torch.cat([x.mean(1, keepdim=True) + 1, x], 1)))
        self.heads(x.reshape(len(x), -1, 2, 3).transpose(1, 2))
        return self.act(self.map(x[:, 1:].mT.unflatten(2, (4, 5))))


def _tokens(**facts):
    torch.manual_seed(0)
    facts = {"taps": {"block": Tap("block", 6)}, "class_tokens": 1, "stem": ""} | facts
    return replace(_net()[0], **facts), _Tokens().eval()


@pytest.mark.parametrize("optimised", [False, True])
def test_class_tokens_are_left_out_where_there_are_some(optimised):
    sheet, network = _tokens()
    volumes = _random(2, 1, 8, 9, 10)
    before = network.turned(network.embed(_pictures(volumes)).mT)
    block = network.block(torch.cat([before.mean(1, keepdim=True) + 1, before], 1))
    other = network.other(block)
    mapped = network.map(other[:, 1:].mT.unflatten(2, (4, 5)))
    wanted = {
        "turned": before.mean(1),
        "turned:max": before.amax(1),
        "block": block[:, 1:].mean(1),
        "block:cls": block[:, 0],
        "other": other[:, 1:].mean(1),
        "other:cls": other[:, 0],
        "map": mapped.mean((2, 3)),
        "act": mapped.relu().mean((2, 3)),
    }
    rows = make_reader(network, sheet, list(wanted), ["slices"], optimised=optimised)(volumes, VIEW)
    for tap, values in wanted.items():
        torch.testing.assert_close(rows[tap, "slices"].flatten(0, 1), values, rtol=1e-4, atol=1e-5)


def test_without_a_place_of_tokens_in_the_sheet_all_tokens_are_like_its_own():
    sheet, network = _tokens(taps={"act": Tap("act", 3)})
    volumes = _random(1, 1, 8, 9, 10)
    before = network.turned(network.embed(_pictures(volumes)).mT)
    rows = make_reader(network, sheet, ["turned"], ["slices"])(volumes, VIEW)
    torch.testing.assert_close(rows["turned", "slices"][0], before[:, 1:].mean(1), rtol=1e-4, atol=1e-5)


def test_registers_are_left_out_and_are_no_class_token():
    sheet, network = _tokens(class_token_first=False)
    volumes = _random(1, 1, 8, 9, 10)
    wanted = make_reader(network, _tokens()[0], ["block"], ["slices"])(volumes, VIEW)
    rows = make_reader(network, sheet, ["block"], ["slices"])(volumes, VIEW)
    torch.testing.assert_close(rows["block", "slices"], wanted["block", "slices"], rtol=0, atol=0)
    with pytest.raises(NetworkError, match="a class token needs a network that has one; net.test has none"):
        make_reader(network, sheet, ["block:cls"], ["slices"])


@pytest.mark.parametrize(
    "tap, match",
    [
        ("turned:cls", r"read where a network has one; 'turned:cls' of net.test gives an array of \(20, 6\) without"),
        ("embed.2:cls", r"'embed.2:cls' of net.test gives an array of \(6, 20\) without one; leave :cls out"),
        ("heads", r"features first; 'heads' of net.test gives an array of \(2, 21, 3\), of which that is not known"),
    ],
)
@pytest.mark.parametrize("class_tokens", [0, 1])
def test_tokens_and_heads_that_are_refused(tap, match, class_tokens):
    if not class_tokens:
        match = match if tap == "heads" else "a class token needs a network that has one"
    sheet, network = _tokens(class_tokens=class_tokens)
    with pytest.raises(NetworkError, match=match):
        make_reader(network, sheet, [tap], ["mean"])(_random(1, 1, 8, 9, 10), VIEW)


def test_the_heads_of_a_video_transformer_are_refused():
    sheet = get_network("mvit_v1_b.kinetics400")
    read = make_reader(hollow(**sheet.arguments), sheet, ["blocks.1.attn.pool_q"], ["mean"])
    with pytest.raises(NetworkError, match=r"'blocks.1.attn.pool_q' of mvit_v1_b.* an array of \(2, 6273, 96\)"):
        read(torch.empty(1, 1, 91, 109, 91, device="meta"), sheet.recipe.views[2])


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tap, match",
    [
        ("tokenz", r"'tokenz' is neither in net.test; known are stem, twice, tokens; similar: tokens"),
        ("unused", r"a module that runs in a pass; 'unused' \(unused\) does not; name another"),
        ("windows", r"one output per input; 'windows' of net.test gives 12 for 3; name a module"),
        ("total", r"an array of two axes or more; this one gives 0 axes; name another"),
        ("twice:cls", r"read from tokens; this tap gives a map of \(4, 5, 4\); leave :cls out"),
    ],
)
def test_taps_that_cannot_be_read(tap, match):
    sheet, network = _net()
    with pytest.raises(NetworkError, match=match):
        make_reader(network, sheet, [tap], ["mean"])(_random(1, 1, 8, 9, 10), VIEW)


def test_an_output_that_is_no_array():
    with pytest.raises(NetworkError, match="two axes or more; this one gives a dict"):
        output_rows({"out": 1}, "channels-first", 0, "mean")


@pytest.mark.parametrize(
    "name, tap, match",
    [
        ("resnet18.imagenet", "layer1:cls", "a class token needs a network that has one; resnet18.imagenet has none"),
        ("r3d_18.kinetics400", "layer1:max", "'layer1:max' is for networks on pictures; r3d_18"),
    ],
)
def test_endings_that_do_not_suit(name, tap, match):
    with pytest.raises(NetworkError, match=match):
        make_request(name, taps=[tap])


@pytest.mark.parametrize(
    "name, wish, match",
    [
        ("vit_b_16.imagenet", {"size": "native"}, "the size of vit_b_16.imagenet must be that of its sheet"),
        ("maxvit_t.imagenet", {"size": "192"}, "the size of maxvit_t.imagenet must be"),
        ("mvit_v2_s.kinetics400", {"n_slices": 8}, "the slices of mvit_v2_s.kinetics400 must be"),
    ],
)
def test_what_is_fixed_stays(name, wish, match):
    with pytest.raises(NetworkError, match=match):
        make_request(name, **wish)


# --- the same answers, faster ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(3, 5, 7, stride=2, padding=3, bias=False),
        nn.Conv2d(3, 5, 3, stride=2),
        nn.Conv2d(3, 5, 3, dilation=2, padding="same"),
        nn.Conv2d(3, 5, 4, stride=4),
        nn.Conv3d(3, 5, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
        nn.Conv3d(3, 5, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3)),
    ],
    ids=str,
)
def test_grey_summed_into_a_convolution_is_grey_replicated(convolution):
    grey_convolution = GreyConvolution(convolution, MEAN, STD)
    for size in ((20, 21), (33, 18), (20, 21)):
        grey = _random(2, 1, *([6] if isinstance(convolution, nn.Conv3d) else []), *size)
        shape = (1, 3, *[1] * (grey.ndim - 2))
        wanted = convolution((grey - torch.tensor(MEAN).view(shape)) / torch.tensor(STD).view(shape))
        scale = float(wanted.abs().max())
        torch.testing.assert_close(grey_convolution(grey), wanted, rtol=0, atol=1e-5 * scale)


class _Padding(nn.Conv2d):
    """As libraries make them of torch's: what it does besides is not known."""

    def forward(self, x):
        return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))


class _NormAndMore(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


@pytest.mark.parametrize(
    "stem",
    [
        nn.Linear(3, 3),
        _Padding(3, 3, 3),
        nn.Conv2d(1, 3, 3),
        nn.Conv2d(3, 3, 3, groups=3),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
    ],
    ids=str,
)
def test_what_grey_cannot_be_summed_into(stem):
    with pytest.raises(
        TypeError, match="plain convolution of 3 channels in one group, padded with zeros; got .*leave"
    ):
        GreyConvolution(stem, MEAN, STD)


@pytest.mark.parametrize("name", ["resnet18.imagenet", "r2plus1d_18.kinetics400"])
@pytest.mark.parametrize("channels", ["replicate", "neighbours"])
def test_three_different_channels_are_never_summed(name, channels, tmp_path):
    request = make_request(name, views=["axial"], n_slices=4, size="48", channels=channels)
    sheet = replace(request.sheet, recipe=request.recipe)
    volumes, view = _random(1, 1, 91, 109, 91), request.recipe.views[0]
    network = _shaken(load_network(sheet, "random:0", tmp_path).network)
    plain = make_reader(network, sheet, ["layer1", "layer4"], ["mean"], optimised=False)(volumes, view)
    fast = make_reader(network, sheet, ["layer1", "layer4"], ["mean"])(volumes, view)
    assert isinstance(network.get_submodule(sheet.stem), GreyConvolution) == (channels == "replicate")
    for place, rows in plain.items():
        torch.testing.assert_close(fast[place], rows, rtol=0, atol=1e-5 * float(rows.abs().max()))


def test_folding_leaves_no_batch_norm(tmp_path):
    network = load_network(get_network("resnet18.imagenet"), "random:0", tmp_path).network
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fold_batch_norm(network).modules())


def test_what_cannot_be_folded_stays():
    shared = nn.Conv2d(2, 2, 1)
    network = nn.Sequential(
        nn.Sequential(shared, nn.BatchNorm2d(2)),
        nn.Sequential(shared, nn.BatchNorm2d(2)),
        nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)),
        nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)),
        nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)),
        nn.Sequential(nn.Conv2d(2, 2, 1), _NormAndMore(2)),
        nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)),
    )
    x = _random(2, 2, 4, 5)
    wanted = _shaken(network)(x)
    torch.testing.assert_close(fold_batch_norm(network)(x), wanted, rtol=1e-4, atol=1e-5)
    left = [any(isinstance(module, nn.BatchNorm2d) for module in part) for part in network]
    assert left == [True, True, True, True, True, True, False]


class _Crossed(nn.Module):
    """Registers a norm behind a convolution that does not feed it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.rest = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, x):
        return self.rest(self.conv(self.norm(x)))


def test_a_network_that_nobody_has_looked_at_is_folded_where_the_order_is_certain():
    network = _shaken(_Crossed())
    sheet = replace(_net()[0], architecture="somebody.else:network", taps={}, stem="", class_tokens=0)
    volumes = _random(1, 1, 8, 9, 10)
    wanted = network(_pictures(volumes)).mean((2, 3))
    rows = make_reader(network, sheet, ["rest"], ["slices"])(volumes, VIEW)
    torch.testing.assert_close(rows["rest", "slices"][0], wanted, rtol=1e-4, atol=1e-5)
    assert [type(network.norm), type(network.rest[1])] == [nn.BatchNorm2d, nn.Identity]


def test_memory_is_laid_out_for_what_a_network_takes():
    sheet = get_network("resnet18.imagenet")
    assert {memory_format(replace(sheet, takes=takes)) for takes in (PICTURES, SET)} == {torch.channels_last}
    assert {memory_format(replace(sheet, takes=takes)) for takes in (CLIP, VOLUME)} == {torch.channels_last_3d}
    own = replace(sheet, architecture="featx.networks.architectures.own:build")
    assert {memory_format(replace(own, takes=takes)) for takes in POOLINGS} == {torch.contiguous_format}


class _WithViews(nn.Module):
    """Plain torch, as people write it for themselves: memory in the order of the axes."""

    def __init__(self, convolution):
        super().__init__()
        self.conv = convolution

    def forward(self, x):
        x.view(x.size(0), -1)
        x = x.view(-1, self.conv.in_channels, *x.shape[-self.conv.weight.ndim + 2 :])
        return self.conv(x).view(len(x), -1)


@pytest.mark.parametrize(
    "takes, convolution, steps",
    [
        (PICTURES, nn.Conv2d(3, 4, 3), VIEW.steps),
        (SET, nn.Conv2d(1, 4, 3), VIEW.steps[:1]),
        (CLIP, nn.Conv3d(3, 4, 3), VIEW.steps),
        (VOLUME, nn.Conv3d(1, 4, 3), ()),
    ],
    ids=[PICTURES, SET, CLIP, VOLUME],
)
@pytest.mark.parametrize("optimised", [False, True])
def test_a_network_of_ones_own_may_use_views(takes, convolution, steps, optimised):
    own = "featx.networks.architectures.own:build"
    sheet = replace(_net()[0], takes=takes, architecture=own, taps={}, stem="", class_tokens=0)
    network = nn.Sequential(_WithViews(convolution)).eval()
    volumes = _random(2, 1, 8, 9, 10)
    x = look(volumes, steps)
    x = x.flatten(0, 1) if takes in (PICTURES, SET) else x.transpose(1, 2) if takes == CLIP else x
    wanted = convolution(x).flatten(1)
    read = make_reader(network, sheet, ["0"], ["slices" if takes == PICTURES else "mean"], optimised=optimised)
    if takes == SET:
        with pytest.raises(NetworkError, match="one output per input"):  # and no complaint about views
            read(volumes, View("axial", steps))
        return
    (rows,) = read(volumes, View("axial", steps)).values()
    torch.testing.assert_close(rows.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)


def test_only_the_weights_of_convolutions_are_laid_out():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.Module())
    network[2].positions = nn.Parameter(torch.zeros(2, 3, 4, 5, 6))
    lay_out(network, torch.channels_last)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous()
    lay_out(network, torch.channels_last_3d)
    assert network[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert network[2].positions.is_contiguous()
    plain = nn.Sequential(nn.Conv2d(3, 4, 3))
    lay_out(plain, torch.contiguous_format)
    assert plain[0].weight.is_contiguous()


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose weights are standardised whenever it runs, as some networks of timm have it."""

    def forward(self, x):
        weight = (self.weight - self.weight.mean()) / self.weight.std()
        return nn.functional.conv2d(x, weight, self.bias, self.stride, self.padding)


def test_a_convolution_that_does_more_is_not_folded():
    torch.manual_seed(0)
    network = nn.Sequential(StandardisedConv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    network[1].running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 9, 9)
    wanted = network(x)
    fold_batch_norm(network, by_registration=False)
    torch.testing.assert_close(network(x), wanted)
    assert isinstance(network[1], nn.BatchNorm2d)


def test_a_sheet_that_names_no_module_of_its_network():
    sheet, network = _net()
    taps = {"deep": Tap("part.poool", 3)}
    with pytest.raises(NetworkError, match="'deep' of .* is to be 'part.poool', and there is no such module"):
        make_reader(network, replace(sheet, taps=taps), ["deep"], ["mean"])
