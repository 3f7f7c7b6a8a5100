"""Gradients and occlusions of tiny networks against what is known of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from featx.errors import ImageError
from featx.images.template import template_mask, template_on
from featx.images.volume import MNI152_2MM, Volume, grid_affine
from featx.networks.recipe import pack
from featx.relevance import looking
from featx.relevance.answering import places_of
from featx.relevance.cubes import boxes_on, make_cubes, shell_means
from featx.relevance.looking import gradients, n_passes, occlusions, rows_of, see
from featx.relevance.sources import load_reader, sources_of
from tests.conftest import phantom
from tests.relevance.heads import head_on, recipe_of, sets_of

BOX = (slice(20, 28), slice(70, 76), slice(40, 45))  # of the network Region
WIDTHS = {"region": [1], "smooth": [3, 3], "pictures": [4, 4, 4, 4]}


@pytest.fixture(scope="module")
def volume():
    return Volume(phantom(), grid_affine(MNI152_2MM))


def _reader(which, *, differentiable=True):
    sets = sets_of(which)
    bundle = head_on(sets, WIDTHS[which], np.zeros(sum(WIDTHS[which])))
    (source,) = sources_of(bundle, {}, checkpoints={}, recipe=recipe_of(which))
    return load_reader(source, "cpu", Path("unused"), differentiable=differentiable), places_of(bundle)[-1].stop


def _seen(reader, volume):
    need = reader.source.needs()[1]
    return see(pack(volume, need.recipe, need.network, "here"), reader, "here")


def test_the_gradient_of_a_mean_is_one_over_its_voxels(volume):
    reader, n = _reader("region")
    row, found = gradients([reader], [_seen(reader, volume)], n, lambda row: np.array([3.0]), MNI152_2MM)
    bright = np.percentile(volume.stored[volume.stored > 0], 99)
    per_voxel = 3.0 / (255 * 8 * 6 * 5)
    expected = np.zeros(MNI152_2MM.shape)
    expected[BOX] = per_voxel * 0.1 * bright * 1000 / 8
    assert row == pytest.approx([volume.stored[BOX].mean() / 255], rel=1e-5)
    np.testing.assert_allclose(found.signed, expected, rtol=1e-5)
    np.testing.assert_allclose(found.absolute, expected, rtol=1e-5)
    np.testing.assert_allclose(
        found.times_input, np.where(expected > 0, per_voxel * volume.stored * 125, 0), rtol=1e-4
    )
    assert found.times_input.sum() * 8 / 1000 == pytest.approx(3 * row[0], rel=1e-4)  # of a linear one, all of it


@pytest.mark.parametrize("which", ["smooth", "pictures"])
def test_the_gradient_is_what_finite_differences_say(which, volume):
    reader, n = _reader(which)
    seen = _seen(reader, volume)
    weights = np.random.default_rng(1).normal(size=n)
    raw = looking._gradient(reader, seen, weights)
    rng = np.random.default_rng(2)
    for _ in range(3):
        way = ndimage.gaussian_filter(rng.normal(size=MNI152_2MM.shape), 3).astype(np.float32) * 300
        kept = torch.from_numpy(way[tuple(reader.at)])
        with torch.no_grad():
            high, low = (
                rows_of(reader, replace(seen, kept=seen.kept + step * kept), n).astype(np.float64) @ weights
                for step in (0.05, -0.05)
            )
        assert (high - low) * 10 == pytest.approx((raw * way).sum(), rel=0.02, abs=0.005)


def test_voxels_that_a_recipe_leaves_out_have_no_gradient_and_those_it_repeats_have_all_of_it(volume):
    reader, n = _reader("smooth")
    raw = looking._gradient(reader, _seen(reader, volume), np.ones(n))
    assert not raw[:5].any()
    assert not raw[90:].any()
    assert not raw[:, :, 80:].any()
    assert np.count_nonzero(
        np.bincount(np.ravel_multi_index(tuple(reader.at.astype(int)), (91, 109, 91)).ravel()) > 1
    )


def test_gradients_of_two_networks_add_up(volume):
    readers = [_reader("region")[0], _reader("region")[0]]
    seen = [_seen(one, volume) for one in readers]
    one = gradients(readers[:1], seen[:1], 1, lambda row: np.array([2.0]), MNI152_2MM)[1]
    two = gradients(readers, seen, 1, lambda row: np.array([2.0]), MNI152_2MM)[1]
    np.testing.assert_allclose(two.signed, 2 * one.signed)
    np.testing.assert_allclose(two.absolute, 2 * one.absolute)


def test_a_gradient_that_is_no_number_is_told(volume):
    reader, n = _reader("region")
    with pytest.raises(
        ImageError, match=r"a gradient must be finite; that through python:relnets.small:Region is not"
    ):
        gradients([reader], [_seen(reader, volume)], n, lambda row: np.array([np.inf]), MNI152_2MM)


# --- occlusion ------------------------------------------------------------------------------------------------


def _occlude(which, volume, corners, edge_mm, **options):
    reader, n = _reader(which, differentiable=False)
    weights = np.random.default_rng(1).normal(size=n) * 1000 if n > 1 else np.array([255.0])
    answer = lambda rows: rows.astype(np.float64) @ weights  # noqa: E731
    seen = [_seen(reader, volume)]
    return reader, occlusions([reader], seen, (corners, edge_mm), n, answer=answer, **options)[1]


def test_an_occlusion_lights_up_where_the_network_looks_and_nowhere_else(volume):
    corners = make_cubes(20.0, 20.0)
    corners = corners[np.linalg.norm(corners + 10 - [43, 20, 13], axis=1) < 45]
    seen_by = []
    _, found = _occlude("region", volume, corners, 20.0, on_cubes=seen_by.append)
    fills = shell_means(volume.data, MNI152_2MM, corners, 20.0)
    for box, fill, difference in zip(boxes_on(MNI152_2MM, corners, 20.0), fills, found, strict=True):
        filled = volume.data.copy()
        cube = np.zeros(filled.shape, bool)
        cube[tuple(slice(*one) for one in box)] = True
        filled[cube & template_mask()] = fill
        assert difference == pytest.approx(volume.data[BOX].mean() - filled[BOX].mean(), abs=1e-3)
    assert 0 < np.count_nonzero(np.abs(found) > 1e-3) <= 8
    assert seen_by == [len(corners)]


def test_only_slices_that_a_cube_reaches_are_run_again_and_nothing_changes(volume, monkeypatch):
    corners = make_cubes(28.0, 28.0)[20:90:5]
    runs = []
    reader, by_slice = _occlude("pictures", volume, corners, 28.0)
    counted = n_passes(reader, corners, 28.0)
    _, by_one = _occlude("pictures", volume, corners, 28.0, batch_size=1)
    monkeypatch.setattr(looking, "can_run_alone", lambda view: runs.append(view) or False)
    _, by_volume = _occlude("pictures", volume, corners, 28.0, batch_size=3)
    np.testing.assert_allclose(by_slice, by_volume, atol=5e-3)
    np.testing.assert_allclose(by_slice, by_one, atol=5e-3)
    assert runs
    assert np.median(np.abs(by_slice)) > 0.3
    assert len(corners) < counted - 9 < len(corners) * 9  # 9 slices are run of the brain as it is


def test_the_batch_changes_nothing(volume):
    corners = make_cubes(40.0, 40.0)[::9]
    _, one = _occlude("smooth", volume, corners, 40.0)
    reader, four = _occlude("smooth", volume, corners, 40.0, batch_size=4)
    np.testing.assert_allclose(one, four, atol=5e-3)
    assert np.abs(one).max() > 1
    assert n_passes(reader, corners, 40.0) == len(corners) + 1


# --- a truth that is made ---------------------------------------------------------------------------------------


def test_the_map_of_a_ridge_finds_the_region_where_age_is_written():
    """Brains that are the template's, in which a region on the left darkens with age, under noise."""
    rng = np.random.default_rng(0)
    template = template_on(MNI152_2MM).data
    region = np.zeros(template.shape, bool)
    region[52:62, 50:62, 40:50] = True  # of LAS: on the left
    age = rng.uniform(20, 80, 40)
    (planned,) = sets_of("voxels.8mm")
    (source,) = sources_of(head_on([planned], [3675], np.zeros(3675)), {}, checkpoints={})
    reader = load_reader(source, "cpu", Path("unused"), differentiable=True)
    rows, seen = [], None
    for years in age:
        brain = template * (1 + 0.1 * rng.normal(size=template.shape).astype(np.float32))
        brain[region] *= 1 - (years - 50) / 100
        seen = _seen(reader, Volume(brain.astype(np.float32), grid_affine(MNI152_2MM)))
        rows.append(rows_of(reader, seen, 3675))
    X = np.array(rows, dtype=np.float64) - np.mean(rows, axis=0)
    coef = X.T @ np.linalg.solve(X @ X.T + 0.1 * np.eye(40), age - age.mean())
    found = gradients([reader], [seen], 3675, lambda row: coef, MNI152_2MM)[1].signed
    brain = template_mask()
    assert np.corrcoef(found[brain], region[brain])[0, 1] < -0.7  # brighter there means younger
    assert found[region].mean() < 10 * np.abs(found[brain & ~region]).mean() * -1
