"""Voxels as a network: block means inside the template's brain, without a weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featx.images.template import template_mask, template_on
from featx.images.volume import MNI152_1MM
from featx.networks import get_network
from featx.networks.reading import make_reader
from featx.networks.recipe import prepare
from featx.networks.table.voxels import SHEETS
from featx.networks.weights import build, load_network
from featx_cli.networkcard import card
from featx_cli.networks import app
from tests.networks.conftest import phantom_batch, phantom_volume

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_features_are_means_of_blocks_that_lie_in_the_brain_by_half(sheet, tmp_path):
    loaded = load_network(sheet, "official", tmp_path)
    assert (loaded.weights, loaded.tag) == ("official", "")
    assert not list(tmp_path.iterdir())
    assert not list(loaded.network.parameters())
    edge = {"voxels.4mm": 2, "voxels.8mm": 4}[sheet.name]
    volume = phantom_volume().data.astype(np.float64)
    grey, mask, wanted = volume / volume.mean(), template_mask(), []
    for i in range(0, 91 - edge + 1, edge):
        for j in range(0, 109 - edge + 1, edge):
            for k in range(0, 91 - edge + 1, edge):
                block = np.s_[i : i + edge, j : j + edge, k : k + edge]
                if mask[block].mean() >= 0.5:
                    wanted.append(grey[block].mean())
    read = make_reader(loaded.network, sheet, ["features"], ["mean"])
    rows = read(phantom_batch(sheet, 0, 1), sheet.recipe.views[0])["features", "mean"]
    assert rows.shape == (2, sheet.taps["features"].width) == (2, len(wanted))
    np.testing.assert_allclose(rows[0].numpy(), wanted, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("edge, least", [(2, 0.98), (4, 0.95)])
def test_blocks_hold_the_brain_and_little_else(edge, least):
    mask = template_mask()
    ends = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))[-1] for axis in range(3)]
    assert all(
        end < length // edge * edge for end, length in zip(ends, mask.shape, strict=True)
    )  # nothing is cut off
    network = build(get_network(f"voxels.{2 * edge}mm"))
    inside = network(torch.from_numpy(mask.astype(np.float32))[None, None])[0]
    assert inside.min() >= 0.5
    assert least < inside.sum() * edge**3 / mask.sum() <= 1


def test_a_brain_of_1_mm_gives_nearly_the_same_when_it_is_resampled():
    sheet = get_network("voxels.4mm")
    fine = template_on(MNI152_1MM)
    rows = [
        build(sheet)(
            torch.from_numpy(np.ascontiguousarray(prepare(one, sheet.recipe, "n", "here", **how)))[None, None]
        )
        for one, how in ((template_on(sheet.recipe.grid), {}), (fine, {"resampling": True}))
    ]
    assert np.corrcoef(*(one[0].numpy() for one in rows))[0, 1] > 0.999


def test_a_card_says_that_there_is_nothing_to_fetch(tmp_path):
    sheet = get_network("voxels.8mm")
    text = "\n".join(card(sheet, sheet.name, tmp_path))
    assert "none: it has no parameters, and runs as it is" in text
    assert "parameters  0\n" in text
    assert "--network voxels.8mm -o" in text
    assert "(one vector, not pooled)" in text


def test_fetching_it_is_told_to_be_needless(tmp_path):
    from typer.testing import CliRunner

    found = CliRunner().invoke(app, ["fetch", "voxels.4mm", "--to", str(tmp_path)])
    assert (found.exit_code, list(tmp_path.iterdir())) == (0, [])
    assert "voxels.4mm has no weights: it runs as it is" in found.output
    listed = CliRunner().invoke(app, ["list", "voxels"])
    assert listed.output.count("none needed") == len(SHEETS)
