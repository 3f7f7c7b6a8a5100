"""The small SFCN on the 4 mm grid: what it is given, what it gives."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from featx.images.synthetic import AFFINE, draw_person, load_templates, make_brain
from featx.images.volume import Volume
from featx.networks import get_network
from featx.networks.checkpoint import read_facts
from featx.networks.described import sheet_from
from featx.networks.download import find_cached
from featx.networks.look import look
from featx.networks.reading import make_reader
from featx.networks.recipe import prepare
from featx.networks.sheet import Network, Step
from featx.networks.table.synthetic import BUNDLED, NAME, SHEETS
from featx.networks.weights import build, load_network
from featx_cli.networkcard import input_of
from tests.networks.conftest import phantom_batch, phantom_volume

pytestmark = pytest.mark.usefixtures("no_gradients")


def test_it_sees_means_of_two_voxels_cubed_inside_the_box() -> None:
    sheet = get_network("sfcn_4mm.untrained")
    volume = phantom_volume().data
    top = np.percentile(volume[volume != 0], 99.5)
    box = np.clip(volume / top, 0, 1)[5:85, 6:102, 2:82]
    wanted = np.zeros((40, 48, 40))
    for i in (0, 1):
        for j in (0, 1):
            for k in (0, 1):
                wanted += box[i::2, j::2, k::2] / 8
    seen = look(phantom_batch(sheet, 0), sheet.recipe.views[0].steps)
    assert seen.shape == (1, 1, 40, 48, 40)
    np.testing.assert_allclose(seen[0, 0].numpy(), wanted, atol=1e-5)
    assert input_of(sheet) == "40x48x40"


def test_what_fills_no_cube_is_left_out() -> None:
    x = torch.arange(5 * 4 * 3, dtype=torch.float32).reshape(1, 1, 5, 4, 3)
    seen = look(x, [Step("shrink", {"factor": 2})])
    assert seen.shape == (1, 1, 2, 2, 1)
    assert seen[0, 0, 1, 0, 0] == x[0, 0, 2:4, 0:2, 0:2].mean()


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_every_sheet_gives_what_it_promises(sheet: Network, tmp_path) -> None:
    assert sum(values.numel() for values in build(sheet).parameters()) == sheet.n_parameters
    assert sheet.n_parameters * 4 < 2e6  # bytes
    network = load_network(sheet, "random:3", tmp_path).network
    volumes = phantom_batch(sheet, 0, 1)
    (view,) = sheet.recipe.views
    rows = {
        optimised: make_reader(network, sheet, list(sheet.taps), ["mean"], optimised=optimised)(volumes, view)
        for optimised in (False, True)  # which changes the network in place
    }
    assert {tap for tap, _ in rows[True]} == set(sheet.taps)
    for (tap, how), values in rows[True].items():
        assert values.shape == (2, sheet.taps[tap].width), tap
        scale = float(values.abs().max())
        assert scale > 0
        torch.testing.assert_close(values, rows[False][tap, how], rtol=0, atol=scale * 1e-5)


def test_the_bundled_one_needs_no_network_and_is_what_its_sheet_says(tmp_path) -> None:
    sheet = get_network(NAME)
    assert sheet.weights is not None
    path = find_cached(sheet.weights, tmp_path)
    assert path == BUNDLED / f"{NAME}.safetensors"
    assert path.stat().st_size == sheet.weights.size_bytes < 2e6
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sheet.weights.digest.removeprefix("sha256:")
    assert sheet_from(read_facts(path), NAME) == replace(sheet, weights=None)  # the file alone says the same
    loaded = load_network(sheet, "official", tmp_path)
    assert (loaded.weights, loaded.tag) == ("official", "")
    assert not list(tmp_path.iterdir())
    assert sheet.labels == ("age", "sex")
    card = (BUNDLED / f"{NAME}.md").read_text(encoding="utf-8")
    assert "python benchmarks/pretrain_synthetic.py" in card
    assert "made brains" in sheet.training


def test_the_bundled_one_tells_an_old_made_brain_from_a_young_one(tmp_path) -> None:
    """Of another population than it was trained on: same person, another age."""
    pytest.importorskip("nilearn", reason="made brains need nilearn: install featx[demo]")
    sheet = get_network(NAME)
    network = load_network(sheet, "official", tmp_path).network
    templates, person = load_templates(), draw_person(3)
    volumes = [
        Volume(make_brain(templates, replace(person, age_years=age)).astype(np.float32), AFFINE)
        for age in (22.0, 50.0, 78.0)
    ]
    x = torch.from_numpy(np.stack([prepare(one, sheet.recipe, NAME, "here") for one in volumes]))[:, None]
    (view,) = sheet.recipe.views
    ages = make_reader(network, sheet, ["prediction_age"], ["mean"])(x, view)["prediction_age", "mean"][:, 0]
    assert ages[0] + 5 < ages[1] < ages[2] - 5
