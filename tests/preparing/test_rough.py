"""The rough brain: thresholds, lattices, and the body that comes loose."""

import numpy as np
import pytest

from featx.images.volume import Volume
from featx.preparing.brain import dice
from featx.preparing.rough import coarsen, head_mask, list_rough_brains, look_at_head, otsu, points_mm


def test_otsu_is_the_threshold_with_the_least_spread_within():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(20, 4, 700), rng.normal(60, 8, 300)]).astype(np.float32)
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2

    def within(k):
        parts = (slice(None, k + 1), slice(k + 1, None))
        means = [np.average(centres[part], weights=counts[part]) for part in parts]
        return sum(
            (counts[part] * (centres[part] - mean) ** 2).sum() for part, mean in zip(parts, means, strict=True)
        )

    best = min(range(255), key=within)
    assert within(int(np.searchsorted(centres, otsu(values)))) == pytest.approx(within(best))
    assert 30 < otsu(values) < 50


def test_a_coarse_volume_keeps_its_place():
    rng = np.random.default_rng(1)
    affine = np.diag([0.5, 1.0, 4.0, 1.0])
    affine[:3, 3] = 5, -7, 2
    fine = np.broadcast_to(np.arange(40)[:, None, None] * 1.0, (40, 21, 5)) + rng.normal(0, 1e-3, (40, 21, 5))
    coarse = coarsen(Volume(fine.astype(np.float32), affine), 2.0)
    assert coarse.stored.shape == (10, 11, 10)
    assert points_mm((1, 1, 1), coarse.affine)[0, 0, 0].tolist() == [5, -7, 2]
    assert np.allclose(coarse.data[1:-1, 5, 5], np.arange(10)[1:-1] * 4, atol=0.01)  # 2 mm are four voxels of 0.5


def test_the_brain_comes_loose_from_a_head(phantom_head):
    head = look_at_head(phantom_head.head)
    assert 95 < head.white < 125
    truth = coarsen(Volume(phantom_head.brain.astype(np.float32), phantom_head.head.affine)).data > 0.5
    found = list_rough_brains(head)
    assert max(dice(one, truth) for one in found) > 0.93
    assert head_mask(phantom_head.head.data)[phantom_head.brain].mean() > 0.9


def test_nothing_comes_loose_of_noise_or_a_ball():
    noise = np.random.default_rng(0).gamma(2, 10, (60, 60, 60)).astype(np.float32)
    assert list_rough_brains(look_at_head(Volume(noise, np.diag([3.0, 3, 3, 1])))) == []
    far = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0)
    small = np.where(far < 5, 100, 5).astype(np.float32)
    assert list_rough_brains(look_at_head(Volume(small, np.diag([3.0, 3, 3, 1])))) == []
