"""Numbers of quality against plain oracles, and what damage does to them, on made and on real brains."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import ndimage

from featx import schema
from featx.images.findings import look_at
from featx.images.quality import Quality, contrast, entropy_focus, measure, otsu_thresholds
from featx.images.template import read_template
from featx.images.volume import MNI152_2MM, Volume, grid_affine, read_volume, reorient

LAS = grid_affine(MNI152_2MM)


def _brain(seed=0, sd=2.0):
    """The template with a little noise, as a scan in float32."""
    data = read_template().data
    rng = np.random.default_rng(seed)
    return Volume(np.where(data > 0, data + rng.normal(0, sd, data.shape), 0).astype(np.float32), LAS)


def _changed(volume, change):
    data = volume.data
    return Volume(np.where(data > 0, change(data), 0).astype(np.float32), volume.affine)


def test_every_number_is_a_column():
    names = [one.name for one in dataclasses.fields(Quality)]
    assert [one for one in schema.names(schema.QUALITY) if one in names] == names


def test_the_numbers_of_a_phantom_that_is_made_of_them():
    """Three tissues of known grey values in known noise, in nested cubes, with 1 mm voxels."""
    sd, rng = 4.0, np.random.default_rng(0)
    at = np.stack(np.meshgrid(*(np.arange(length) - length // 2 for length in (80, 90, 85)), indexing="ij"))
    depth = np.abs(at).max(axis=0)
    tissue = np.select([depth < 22, depth < 29, depth < 35], [200.0, 140.0, 60.0], 0.0)
    data = np.where(tissue > 0, tissue + rng.normal(0, sd, tissue.shape), 0).astype(np.float32)
    of = measure(Volume(data, np.eye(4)))
    assert of.snr == pytest.approx(200 / sd, rel=0.03)
    assert of.cnr == pytest.approx(60 / math.hypot(sd, sd), rel=0.05)
    assert of.p50 == pytest.approx(np.percentile(data[tissue > 0], 50), rel=0.02)
    assert of.p95 == pytest.approx(np.percentile(data[tissue > 0], 95), rel=0.02)
    values = np.abs(data[data != 0]).astype(float)
    top = math.sqrt((values**2).sum())
    most = len(values) * (1 / math.sqrt(len(values))) * math.log(1 / math.sqrt(len(values)))
    assert of.efc == pytest.approx((values / top * np.log(values / top)).sum() / most, rel=1e-4)  # as in MRIQC
    assert of.litres == pytest.approx((tissue > 0).sum() / 1e6, rel=0.1)
    assert math.isnan(of.fber)


@pytest.mark.parametrize("width_mm", [1.5, 2.5])
@pytest.mark.parametrize("step_mm", [1.0, 0.8])
def test_sharpness_is_the_inverse_of_the_width_of_waves(width_mm, step_mm):
    """Of a wave of one direction: second over first differences, point by point, near the inverse of its width."""
    wave = 100 + 20 * np.sin(np.arange(64) * step_mm / width_mm)[:, None, None] * np.ones((1, 64, 64))
    quiet = measure(Volume(wave.astype(np.float32), np.diag([step_mm] * 3 + [1.0])))
    line = wave[:, 0, 0]
    points = range(1, 63, round(3 / step_mm))
    first = [((line[at + 1] - line[at - 1]) / (2 * step_mm)) ** 2 for at in points]
    second = [((line[at + 1] + line[at - 1] - 2 * line[at]) / step_mm**2) ** 2 for at in points]
    assert quiet.sharpness == pytest.approx(math.sqrt(np.mean(second) / np.mean(first)), rel=0.01)
    assert quiet.sharpness == pytest.approx(1 / width_mm, rel=0.1)
    # Whatever the contrast.
    faint = measure(Volume((wave / 4 + 300).astype(np.float32), np.diag([step_mm] * 3 + [1.0])))
    assert faint.sharpness == pytest.approx(quiet.sharpness, rel=0.01)


def test_noise_is_taken_off_sharpness():
    calm, noisy, wild = (measure(_brain(sd=sd)) for sd in (1, 4, 8))
    assert calm.snr > 1.5 * noisy.snr > 1.5 * 1.5 * wild.snr
    assert noisy.sharpness == pytest.approx(calm.sharpness, rel=0.02)
    assert wild.sharpness == pytest.approx(calm.sharpness, rel=0.06)


def test_two_thresholds_against_all_pairs():
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(mean, 8, 400) for mean in (60, 120, 180)]).astype(np.float32)
    low, high = otsu_thresholds(values)
    cuts = np.linspace(values.min(), np.percentile(values, 99.5), 129)[1:-1:4]

    def within(first, second):
        parts = (values[values <= first], values[(values > first) & (values <= second)], values[values > second])
        return sum(len(part) * part.var() for part in parts if len(part))

    best = min(within(first, second) for first in cuts for second in cuts if first < second)
    assert within(low, high) <= best * 1.001
    assert 75 < low < 105 < 135 < high < 165


def test_what_cannot_be_measured_is_nan():
    assert all(math.isnan(one) for one in otsu_thresholds(np.full(9, 5, np.float32)))
    assert all(math.isnan(one) for one in otsu_thresholds(np.empty(0, np.float32)))
    assert math.isnan(contrast(np.array([1, 2, 3], np.float32), 0, 9))
    assert math.isnan(entropy_focus(np.array([5], np.float32)))
    small = measure(Volume(np.arange(27, dtype=np.float32).reshape(3, 3, 3) - 40, np.eye(4)))
    assert math.isnan(small.snr)
    assert math.isnan(small.sharpness)
    assert math.isnan(small.fber)
    away = measure(Volume(_brain().data, LAS + np.array([[0, 0, 0, 1000.0]] + [[0] * 4] * 3)))
    assert math.isnan(away.offset_mm)
    assert away.overlap == 0


def test_how_it_lies_is_what_the_look_says():
    volume = _brain()
    of, look = measure(volume), look_at(volume)
    for name in ("litres", "outside", "overlap", "likeness", "offset_mm"):
        assert getattr(of, name) == getattr(look, name)


def test_another_orientation_has_the_same_numbers():
    here, there = (dataclasses.astuple(measure(one)) for one in (_brain(), reorient(_brain(), "PIR")))
    np.testing.assert_allclose(here, there, rtol=0.03, equal_nan=True)  # the lattice begins at another corner


DAMAGE = {
    "noise": (lambda data: data + np.random.default_rng(1).normal(0, 12, data.shape), {"snr": -0.5, "cnr": -0.02}),
    "blur": (lambda data: ndimage.gaussian_filter(data, 0.8), {"sharpness": -0.25}),
    "shift": (lambda data: np.roll(data, 6, axis=1), {"overlap": -0.05, "likeness": -0.1}),
    "ghost": (lambda data: 0.7 * data + 0.3 * np.roll(data, 27, axis=1), {"cnr": -0.02, "likeness": -0.2}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_shows_in_its_number(kind):
    """Each number falls by at least the share that stands beside it."""
    change, falls = DAMAGE[kind]
    whole = measure(_brain())
    volume = Volume(change(_brain().data), LAS) if kind == "shift" else _changed(_brain(), change)
    damaged = measure(volume)
    for name, share in falls.items():
        assert getattr(damaged, name) < (1 + share) * getattr(whole, name), name


def test_air_shows_in_heads_only(data):
    head = measure(read_volume(data / "formats" / "head_16mm_header_extension.nii.gz"))
    assert math.isnan(measure(_brain()).fber)
    heads = [measure(read_volume(path)) for path in sorted((data / "ds000011").glob("**/*.nii.gz"))[:2]]
    assert all(50 < of.fber < 1000 and of.litres > 2.5 and 0.4 < of.efc < 0.7 for of in heads)
    assert math.isnan(head.fber) or head.fber > 1


def test_damage_shows_in_real_brains(data):
    """Of eight brains, all are less noisy, sharper and better placed than a damaged copy of any of them."""
    volumes = [read_volume(path) for path in sorted((data / "ixi").glob("**/*.nii.gz"))[::24]]
    whole = [measure(one) for one in volumes]
    for volume in volumes[:3]:
        noisy, blurred = (measure(_changed(volume, DAMAGE[kind][0])) for kind in ("noise", "blur"))
        shifted = measure(Volume(np.roll(volume.data, 4, axis=1), volume.affine))
        assert noisy.snr < 0.5 * min(of.snr for of in whole)
        assert blurred.sharpness < 0.9 * min(of.sharpness for of in whole)
        assert shifted.overlap < min(of.overlap for of in whole)


@pytest.mark.filterwarnings("error")
def test_grey_values_near_the_end_of_float32_overflow_nothing():
    """Their squares are beyond it: ratios are those of the same image in usual units."""
    rng = np.random.default_rng(6)
    data = read_template().data
    data = np.where(data > 0, data, 0.01 * data.max()) + rng.normal(0, 0.002 * data.max(), data.shape)
    usual, huge = (measure(Volume((data * by).astype(np.float32), LAS)) for by in (1.0, 2.0**57))
    assert data.max() * 2.0**57 > 1e19
    for name in ("snr", "cnr", "fber", "efc", "sharpness"):
        assert getattr(huge, name) == pytest.approx(getattr(usual, name), rel=1e-4), name
        assert math.isfinite(getattr(huge, name))
