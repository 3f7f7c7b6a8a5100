"""Precisions: what is chosen, what is measured, what is noted; pooling stays in float32."""

import json
import math

import numpy as np
import pytest
import torch

from featx.errors import DeviceError
from featx.extraction import precision
from featx.extraction.device import full_float32
from featx.extraction.golden import set_golden_weights
from featx.extraction.plan import Wish, request_of
from featx.extraction.precision import Measured, check_precision, choose, measure, under
from featx.networks import get_network
from featx.networks.optimise import GreyConvolution
from featx.networks.reading import output_rows, pool
from featx.networks.weights import build, load_network

FLOAT32 = Measured("float32", 0, 0, 0.2)
BFLOAT16 = Measured("bfloat16", 4e-3, 9e-3, 0.05)
FLOAT16 = Measured("float16", 4e-4, 9e-4, 0.1)


@pytest.mark.parametrize(
    "wanted, noted, chosen",
    [
        ("auto", [], "float32"),
        ("auto", [FLOAT32, BFLOAT16], "float32"),
        ("auto", [FLOAT32, BFLOAT16, FLOAT16], "float16"),
        ("auto", [FLOAT32, Measured("float16", 4e-4, 9e-4, 0.3)], "float32"),
        ("auto", [FLOAT32, Measured("float16", math.inf, math.inf, math.nan, "no such layer")], "float32"),
        ("bfloat16", [FLOAT32, BFLOAT16, FLOAT16], "bfloat16"),
        ("float32", [FLOAT32, FLOAT16], "float32"),
    ],
)
def test_auto_takes_the_fastest_that_is_close_and_any_other_word_is_obeyed(wanted, noted, chosen):
    assert choose(wanted, noted) == chosen


def test_why():
    assert precision.why("float16", [], "a") == "as asked for"
    assert precision.why("auto", [], "a").endswith("featx doctor -n a --precision")
    assert precision.why("auto", [FLOAT32, BFLOAT16], "a") == "the fastest within 0.001; bfloat16: 0.004"


def test_what_a_device_has():
    for word in ("auto", "float32", "bfloat16"):
        check_precision(word, "cpu")
    for word in ("auto", *precision.PRECISIONS):
        check_precision(word, "cuda:1")
    with pytest.raises(DeviceError, match=r"got 'half'; known are 'auto', 'bfloat16', 'float16', 'float32', 'tf32'"):
        check_precision("half", "cpu")
    with pytest.raises(DeviceError, match="float16 is none of cpu; ask for float32 or bfloat16 there"):
        check_precision("float16", "cpu")


# --- running ------------------------------------------------------------------------------------------------------


def test_bfloat16_rounds_products_and_float32_does_not():
    x, weight = torch.rand(1, 16, 8, 8), torch.rand(16, 16, 3, 3)
    wanted = torch.nn.functional.conv2d(x.double(), weight.double())
    error = {}
    for word in ("float32", "bfloat16"):
        with full_float32("cpu"), under(word, "cpu"):
            found = torch.nn.functional.conv2d(x, weight)
        error[word] = float((found.double() - wanted).norm() / wanted.norm())
    assert error["float32"] < 1e-6
    assert 1e-4 < error["bfloat16"] < 1e-2
    assert not torch.is_autocast_enabled("cpu")


def test_tf32_is_on_only_inside():
    before = torch.get_float32_matmul_precision()
    with full_float32("cuda"):
        with under("tf32", "cuda"):
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", False)
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_halves_are_pooled_in_float32(kind):
    values = (torch.rand(3, 5, 7, 9, generator=torch.Generator().manual_seed(0)) + 1).to(kind)
    exact = values.double().numpy()
    axes = (2, 3)
    wanted = {"mean": exact.mean(axes), "max": exact.max(axes), "std": exact.std(axes)}
    for how, numbers in wanted.items():
        rows = output_rows(values, "channels-first", 0, how)
        assert rows.dtype == torch.float32
        np.testing.assert_allclose(rows.numpy(), numbers, rtol=3e-6)
    tokens = values[0]  # (5, 7, 9): seven tokens, one of them for the class
    np.testing.assert_array_equal(output_rows(tokens, "", 1, "cls").numpy(), tokens[:, 0].double().numpy())
    assert output_rows(tokens, "", 1, "cls").dtype == torch.float32
    rows = output_rows(values[0, 0], "", 0, "mean")
    assert rows.dtype == torch.float32
    np.testing.assert_array_equal(rows.numpy(), exact[0, 0])
    for how in ("concat", "slices"):
        assert pool(tokens, how, 1).dtype == torch.float32


def test_what_a_grey_stem_subtracts_is_kept_in_float32():
    convolution = torch.nn.Conv2d(3, 8, 3)
    stem = GreyConvolution(convolution, (0.4, 0.5, 0.6), (0.2, 0.3, 0.2))
    grey = torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        wanted = stem(grey)
        stem.kept = None
        with under("bfloat16", "cpu"):
            found = stem(grey)
    assert stem.kept[1].dtype == torch.float32
    assert float((found - wanted).norm() / wanted.norm()) < 1e-2


# --- measuring ------------------------------------------------------------------------------------------------------


def small(name="squeezenet1_0.imagenet"):
    """A golden network, and a wish for little of it."""
    sheet = get_network(name)
    network = build(sheet).eval().requires_grad_(False)
    set_golden_weights(network)
    return network, request_of(
        sheet, "golden", Wish(views=("axial",), taps=("fire2", "fire3"), n_slices=1, size="64")
    )


def test_bfloat16_is_measured_against_float32():
    float32, bfloat16 = measure(*small(), "cpu")
    assert (float32.precision, float32.error, float32.largest, float32.allowed) == ("float32", 0, 0, True)
    assert bfloat16.precision == "bfloat16"
    assert 1e-3 < bfloat16.error < 3e-2  # eight bits
    assert 1e-3 < bfloat16.largest < 6e-2
    assert not bfloat16.allowed
    assert min(float32.seconds, bfloat16.seconds) > 0


def test_a_network_without_halves_is_told(monkeypatch):
    class OnlyFloat32(torch.nn.Module):
        def forward(self, x):
            if x.dtype != torch.float32:
                raise RuntimeError("not implemented for 'BFloat16'")
            return x

    network, request = small()
    network.features[3].squeeze_activation = OnlyFloat32()
    float32, bfloat16 = measure(network, request, "cpu")
    assert float32.told == ""
    assert bfloat16.told == "not implemented for 'BFloat16'"
    assert (bfloat16.error, bfloat16.allowed) == (math.inf, False)


def test_what_is_not_finite_is_not_allowed():
    one = {("t", "mean"): torch.tensor([[1.0, 2.0]])}
    assert precision.errors({("t", "mean"): torch.tensor([[1.0, math.inf]])}, one) == (math.inf, math.inf)


def test_the_worst_set_counts():
    wanted = {("a", "mean"): torch.tensor([[3.0, 4.0]]), ("b", "mean"): torch.tensor([[0.0, 1.0]])}
    found = {("a", "mean"): torch.tensor([[3.0, 4.0]]), ("b", "mean"): torch.tensor([[0.3, 1.4]])}
    np.testing.assert_allclose(precision.errors(found, wanted), (0.5, 0.4), rtol=1e-6)


# --- notes ----------------------------------------------------------------------------------------------------------


def test_notes_hold_for_a_network_its_weights_the_device_and_torch(tmp_path, monkeypatch):
    failed = Measured("bfloat16", math.inf, math.inf, math.nan, "no such layer")
    precision.note([FLOAT32, failed], "a:b/c", "0123", tmp_path, "cpu")
    first, second = precision.read_noted("a:b/c", "0123", tmp_path, "cpu")
    assert first == FLOAT32
    assert (second.error, second.told, second.allowed) == (math.inf, "no such layer", False)
    assert precision.read_noted("a:b/c", "4567", tmp_path, "cpu") == []
    assert precision.read_noted("a", "0123", tmp_path, "cpu") == []
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert precision.read_noted("a:b/c", "0123", tmp_path, "cpu") == []
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "some card")
    assert precision.read_noted("a:b/c", "0123", tmp_path, "cuda") == []
    precision.note([FLOAT32, FLOAT16], "a:b/c", "0123", tmp_path, "cuda")
    assert choose("auto", precision.read_noted("a:b/c", "0123", tmp_path, "cuda")) == "float16"


def test_a_damaged_note_is_none(tmp_path):
    precision.note([FLOAT32], "a", "0", tmp_path, "cpu")
    (path,) = tmp_path.iterdir()
    for text in ('{"meas', "[]", "{}", '{"measured": [3]}', '{"measured": [{"precision": "float32"}]}'):
        path.write_text(text)
        assert precision.read_noted("a", "0", tmp_path, "cpu") == []


def test_measured_by_name_is_noted_unless_the_weights_are_golden(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(precision, "measure", lambda *of: seen.append(of) or [FLOAT32, BFLOAT16])
    sheet = get_network("squeezenet1_0.imagenet")
    assert precision.measure_named(sheet, "", tmp_path, "cpu") == ("golden", [FLOAT32, BFLOAT16])
    assert not list(tmp_path.iterdir())
    assert precision.measure_named(sheet, "random:3", tmp_path, "cpu")[0] == "random:3"
    sha256 = load_network(sheet, "random:3", tmp_path).sha256
    assert precision.read_noted(sheet.name, sha256, tmp_path, "cpu") == [FLOAT32, BFLOAT16]
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())["device"] == precision.device_name("cpu")
    _, request, device = seen[1]
    assert (len(request.recipe.views), request.taps, device) == (3, sheet.default_taps, "cpu")
