"""Augmentation against slow loops and scipy, on volumes of three lengths, one odd, with a marker in one corner."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from featx.training.augment import add_noise, augment, cosines, draw, move, rotation, shade, turn
from featx.training.schedules import NO_AUGMENTATION, PENG, Augmentation

SHAPE = (8, 11, 6)
ALL = Augmentation(shift_voxels=2, mirror=True, rotate_deg=10.0, scale=0.1, bias=0.2, noise=0.05)


def _seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def _volumes(n=3, shape=SHAPE, seed=0):
    values = np.random.default_rng(seed).uniform(0.5, 1, (n, 1, *shape)).astype(np.float32)
    values[:, :, 0, 0, 0] = 9
    return torch.from_numpy(values)


def _brains(n=3, shape=(20, 24, 18)):
    """0 outside of an ellipsoid, smooth inside."""
    at = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    inside = sum(axis**2 for axis in at) < 0.6
    values = [inside * (2 + np.sin(3 * at[0] + k) + 0.5 * at[1] - at[2]) for k in range(n)]
    return torch.from_numpy(np.stack(values)[:, None].astype(np.float32))


# --- the whole ------------------------------------------------------------------------------------------------


def test_nothing_wanted_gives_the_very_volumes():
    volumes = _volumes()
    generator = _seeded()
    assert augment(volumes, NO_AUGMENTATION, generator) is volumes
    assert generator.get_state().equal(_seeded().get_state())


@pytest.mark.parametrize(
    "how",
    [
        ALL,
        PENG,
        Augmentation(mirror=True),
        Augmentation(rotate_deg=9.0),
        Augmentation(bias=0.1),
        Augmentation(noise=0.1),
    ],
)
def test_volumes_stay_as_they_are_and_the_generator_decides(how):
    volumes = _brains()
    before = volumes.clone()
    found = augment(volumes, how, _seeded())
    assert volumes.equal(before)
    assert found.equal(augment(volumes, how, _seeded()))
    assert not found.equal(augment(volumes, how, _seeded(1)))
    assert found.shape == volumes.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_changes_come_one_after_the_other_and_do_not_depend_on_each_other():
    volumes = _brains()
    drawn = draw(3, ALL, _seeded())
    wanted = move(volumes, drawn.shifts, drawn.mirrored)
    wanted = shade(turn(wanted, drawn.angles_rad, drawn.sizes), drawn.waves)
    wanted = add_noise(wanted, ALL.noise, drawn.noise_seed)
    assert augment(volumes, ALL, _seeded()).equal(wanted)
    alone = augment(volumes, PENG, _seeded())
    assert alone.equal(move(volumes, drawn.shifts, drawn.mirrored))


def test_half_precision_around_it_changes_nothing():
    volumes = _brains()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = augment(volumes, ALL, _seeded())
    assert found.equal(augment(volumes, ALL, _seeded()))


def test_a_background_of_0_stays_0():
    volumes = _brains()
    still = Augmentation(mirror=True, bias=0.3, noise=0.2)  # the ellipsoid is its own mirror image
    found = augment(volumes, still, _seeded())
    assert ((found == 0) == (volumes == 0)).all()
    outside = ndimage.binary_dilation((volumes[0, 0] > 0).numpy(), iterations=4)
    moved = augment(volumes, Augmentation(shift_voxels=1, rotate_deg=5.0, scale=0.05, noise=0.2), _seeded())
    assert not moved[0, 0].numpy()[~outside].any()


# --- what is drawn --------------------------------------------------------------------------------------------


def test_draws_have_the_stated_ranges_and_are_even():
    n = 4000
    drawn = draw(n, ALL, _seeded())
    counts = torch.stack([(drawn.shifts == by).sum(0) for by in range(-2, 3)]) / n
    assert (counts - 0.2).abs().max() < 4 * math.sqrt(0.2 * 0.8 / n)
    assert abs(drawn.mirrored.float().mean() - 0.5) < 4 * 0.5 / math.sqrt(n)
    for values, most in [(drawn.angles_rad, math.radians(10)), (drawn.sizes - 1, 0.1)]:
        assert values.abs().max() <= most
        assert values.abs().max() > 0.99 * most
        assert abs(values.std() - most / math.sqrt(3)) < 0.03 * most
    nothing = draw(n, NO_AUGMENTATION, _seeded())
    assert not nothing.shifts.any()
    assert not nothing.mirrored.any()
    assert not nothing.angles_rad.any()
    assert (nothing.sizes == 1).all()
    assert not nothing.waves.any()


def test_mirror_happens_in_every_second_volume_only():
    volumes = _volumes(64)
    found = augment(volumes, Augmentation(mirror=True), _seeded())
    mirrored = [one.equal(was.flip(1)) for one, was in zip(found, volumes, strict=True)]
    kept = [one.equal(was) for one, was in zip(found, volumes, strict=True)]
    assert [a != b for a, b in zip(mirrored, kept, strict=True)] == [True] * 64
    assert 18 <= sum(mirrored) <= 46


# --- each change ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(0, 0, 0), (2, -1, 0), (-2, 1, 2), (1, 2, -2), (7, -10, 5)])
@pytest.mark.parametrize("mirror", [False, True])
def test_shift_and_mirror_agree_with_a_loop(shift, mirror):
    volumes = _volumes(2)
    shifts, mirrored = torch.tensor([shift, (0, 0, 0)]), torch.tensor([mirror, False])
    found = move(volumes, shifts, mirrored)
    last = [length - 1 for length in SHAPE]
    for at in itertools.product(*map(range, SHAPE)):
        i, j, k = (min(max(x - by, 0), end) for x, by, end in zip(at, shift, last, strict=True))
        assert found[0, 0][at] == volumes[0, 0, last[0] - i if mirror else i, j, k]
    assert found[1].equal(volumes[1])


def _by_scipy(values, matrix):
    """Each voxel from where `matrix` takes its place from the centre; trilinear, the border continued."""
    centre = (np.array(values.shape) - 1) / 2
    return ndimage.affine_transform(values, matrix, centre - matrix @ centre, order=1, mode="nearest")


def _plain_rotation(i, j, k):
    """Written out: about I, after J, after K."""
    si, sj, sk, ci, cj, ck = *map(math.sin, (i, j, k)), *map(math.cos, (i, j, k))
    about_i = np.array([[1, 0, 0], [0, ci, -si], [0, si, ci]])
    about_j = np.array([[cj, 0, -sj], [0, 1, 0], [sj, 0, cj]])
    about_k = np.array([[ck, -sk, 0], [sk, ck, 0], [0, 0, 1]])
    return about_i @ about_j @ about_k


@pytest.mark.parametrize(
    "degrees, size",
    [
        ((0, 0, 0), 1.0),
        ((20, 0, 0), 1.0),
        ((0, -15, 0), 1.0),
        ((0, 0, 30), 1.0),
        ((8, -5, 12), 0.9),
        ((0, 0, 0), 1.2),
    ],
)
def test_turning_and_scaling_agree_with_scipy(degrees, size):
    volumes = _volumes(2, (14, 17, 10))
    radians = np.radians(degrees)
    angles = torch.from_numpy(np.stack([np.zeros(3), radians]))
    found = turn(volumes, angles, torch.tensor([1.0, size], dtype=torch.float64))
    np.testing.assert_allclose(found[0], volumes[0], atol=1e-5)
    np.testing.assert_allclose(rotation(angles[1]), _plain_rotation(*radians), atol=1e-12)
    wanted = _by_scipy(volumes[1, 0].numpy(), _plain_rotation(*radians).T / size)
    np.testing.assert_allclose(found[1, 0], wanted, atol=5e-5)


def test_a_quarter_turn_is_exact_and_a_larger_size_makes_a_larger_head():
    volumes = _volumes(1, (9, 9, 5))
    quarter = torch.tensor([[0.0, 0.0, math.pi / 2]], dtype=torch.float64)
    found = turn(volumes, quarter, torch.ones(1, dtype=torch.float64))
    # I grows to where J grew: the voxel (i, j) comes to (8 - j, i)
    np.testing.assert_allclose(found[0, 0], np.rot90(volumes[0, 0], 1, axes=(0, 1)), atol=1e-4)
    brain = _brains(1)
    larger = turn(brain, torch.zeros(1, 3, dtype=torch.float64), torch.tensor([1.1], dtype=torch.float64))
    assert 1.1**3 - 0.15 < (larger > 1).sum() / (brain > 1).sum() < 1.1**3 + 0.15


def test_the_logarithm_of_the_bias_field_has_the_stated_deviation_and_is_a_sum_of_cosines():
    drawn = draw(4, Augmentation(bias=0.25), _seeded())
    logs = shade(torch.ones(4, 1, 12, 9, 10), drawn.waves)[:, 0].double().log().numpy()
    np.testing.assert_allclose(logs.mean(axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(logs.std(axis=(1, 2, 3)), 0.25, rtol=1e-5)
    wanted = np.zeros((12, 9, 10))
    for i, j, k in itertools.product(range(12), range(9), range(10)):
        for p, q, r in itertools.product(range(3), repeat=3):
            wave = 1.0
            for at, length, order in ((i, 12, p), (j, 9, q), (k, 10, r)):
                wave *= (1 if order == 0 else math.sqrt(2)) * math.cos(math.pi * order * (at + 0.5) / length)
            wanted[i, j, k] += float(drawn.waves[0, p, q, r]) * wave
    np.testing.assert_allclose(logs[0], wanted, atol=1e-5)
    assert np.abs(np.diff(logs, axis=1)).max() < 0.5  # smooth: neighbours are alike
    volumes = _volumes(4, (12, 9, 10))
    np.testing.assert_allclose(shade(volumes, drawn.waves)[:, 0], volumes[:, 0].numpy() * np.exp(logs), rtol=1e-5)
    np.testing.assert_allclose(
        cosines(9, torch.device("cpu")) @ cosines(9, torch.device("cpu")).T, 9 * np.eye(3), atol=1e-4
    )


def test_noise_is_a_part_of_the_deviation_of_the_voxels_that_are_not_0():
    volumes = _brains(2, (40, 48, 44)) * torch.tensor([1.0, 50.0]).view(2, 1, 1, 1, 1)
    change = (add_noise(volumes, 0.1, 7) - volumes).numpy()
    for one, was in zip(change[:, 0], volumes[:, 0].numpy(), strict=True):
        inside = was != 0
        wanted = 0.1 * was[inside].astype(np.float64).std()
        assert not one[~inside].any()
        assert abs(one[inside].std() / wanted - 1) < 0.02
        assert abs(one[inside].mean()) < 0.02 * wanted
    assert not np.allclose(change[0, 0] * 50, change[1, 0])  # each volume has its own
    empty = torch.zeros(1, 1, 3, 4, 5)
    assert add_noise(empty, 0.1, 0).equal(empty)
