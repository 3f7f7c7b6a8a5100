"""The look and the judgement: plain oracles, every code and its sentence, and the limits on real brains and heads."""

import dataclasses
import re

import numpy as np
import pytest
from scipy import ndimage

from featx import schema
from featx.errors import NetworkError
from featx.images import contract
from featx.images.contract import ACCEPTABLE, Verdict, Wants, check_accepted, judge, most_grave
from featx.images.findings import look_at
from featx.images.template import read_template, template_depth_mm, template_mask
from featx.images.volume import (
    MNI152_1MM,
    MNI152_2MM,
    NATIVE_1MM,
    Volume,
    grid_affine,
    read_volume,
    reorient,
    resample,
)
from tests.conftest import phantom

MNI = Wants("net", MNI152_2MM, skull_stripped=True, registered=True)
ANY = dataclasses.replace(MNI, grid=None)
NATIVE = dataclasses.replace(ANY, registered=False)


def _brain(seed=0):
    return Volume(phantom(seed=seed).astype(np.float32), grid_affine(MNI152_2MM))


def _codes(volume, wants=MNI):
    return [one.code for one in judge(look_at(volume), wants, "here")]


def _moved(volume, world):
    """The volume on its grid after its brain went where `world` (4 x 4, mm) takes it."""
    back = np.linalg.inv(volume.affine) @ np.linalg.inv(world) @ volume.affine
    data = ndimage.affine_transform(volume.data, back[:3, :3], back[:3, 3], order=1, output=np.float32)
    return Volume(data, volume.affine)


def _world(linear=None, shift=(0, 0, 0)):
    """A linear map about the centre of the template's brain, then a shift."""
    linear = np.eye(3) if linear is None else np.asarray(linear, float)
    at = np.argwhere(template_mask()).mean(axis=0)
    centre = grid_affine(MNI152_2MM)[:3, :3] @ at + grid_affine(MNI152_2MM)[:3, 3]
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = linear, centre - linear @ centre + shift
    return world


def _turn(axis, degrees):
    first, second = (at for at in range(3) if at != axis)
    turn, angle = np.eye(3), np.radians(degrees)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return turn


# --- the look -------------------------------------------------------------------------------------------------


def test_the_look_measures_what_it_says():
    volume = _brain()
    of = look_at(volume)
    data = volume.data
    assert (of.orientation, of.shape, of.voxel_mm) == ("LAS", (91, 109, 91), (2, 2, 2))
    assert (of.low, of.high) == (data.min(), data.max())
    assert of.zeros == pytest.approx(np.mean(data == 0))
    assert of.at_top == pytest.approx(np.mean(data[data > 0] == data.max()))
    assert (of.background, of.integers) == (0, True)
    assert 0.999 < of.at_background < 1  # the lowest slice cuts the brain
    every = data[::2, ::2, ::2]
    assert of.bright == pytest.approx(np.percentile(every[every > 0], 90))
    foreground = every > 0.1 * of.bright
    assert of.below == 0
    _, counts = np.unique(every[foreground], return_counts=True)
    assert of.of_one_value == pytest.approx(max(counts) / sum(counts))
    assert of.litres == pytest.approx(foreground.sum() * 4**3 / 1e6)
    assert of.litres == pytest.approx((data > 0.1 * of.bright).sum() * 2**3 / 1e6, rel=0.01)
    depth = template_depth_mm()[::2, ::2, ::2]
    assert of.outside == pytest.approx((every[depth < -8] > 0.05 * of.bright).mean())
    deepest = np.argsort(-depth.ravel(), kind="stable")[: foreground.sum()]
    assert of.overlap == pytest.approx(sum(foreground.ravel()[at] for at in deepest) / foreground.sum())
    voxels = {name: np.argwhere(where).mean(axis=0) for name, where in (("here", foreground), ("there", depth > 0))}
    assert of.offset_mm == pytest.approx(4 * np.linalg.norm(voxels["here"] - voxels["there"]))
    grey = ndimage.gaussian_filter(read_template().data.astype(float), 1)[::2, ::2, ::2]
    inside = np.minimum(every, 1.3 * of.bright)[depth > 0]
    assert of.likeness == pytest.approx(np.corrcoef(inside, grey[depth > 0])[0, 1], abs=1e-6)


@pytest.mark.parametrize("codes", ["RAS", "PIR", "SLP"])
def test_storage_changes_nothing(codes):
    volume = _brain()
    first, second = look_at(volume), look_at(reorient(volume, codes))
    assert second.orientation == codes
    for name in ("zeros", "low", "high", "at_top", "outside", "overlap", "likeness", "offset_mm"):
        assert getattr(second, name) == pytest.approx(getattr(first, name)), name
    assert second.litres == pytest.approx(first.litres, rel=0.01)  # its own lattice starts at the other end
    assert judge(second, MNI, "here") == judge(first, MNI, "here") == []


def test_a_standardised_brain_is_measured_as_if_it_were_none():
    plain, volume = look_at(_brain()), _spoiled("standardised inside")
    of = look_at(volume)
    every = volume.data[::2, ::2, ::2]
    bright = np.percentile(every[every > 0], 90)
    assert of.bright == pytest.approx(bright)
    clear = every[np.abs(every) > 0.05 * bright]
    assert of.below == pytest.approx(np.mean(clear < 0))
    assert 0.4 < of.below < 0.6
    for name, tolerance in (("litres", 0.02), ("overlap", 0.01), ("outside", 0)):
        assert getattr(of, name) == pytest.approx(getattr(plain, name), abs=tolerance), name
    assert of.offset_mm == pytest.approx(plain.offset_mm, abs=0.5)
    grey = ndimage.gaussian_filter(read_template().data.astype(float), 1)[::2, ::2, ::2]
    lifted = np.where(every == 0, 0, every - volume.data.min())
    capped = np.minimum(lifted, 1.3 * np.percentile(lifted[lifted > 0], 90))
    there = template_depth_mm()[::2, ::2, ::2] > 0
    assert of.likeness == pytest.approx(np.corrcoef(capped[there], grey[there])[0, 1], abs=1e-6)
    assert of.of_one_value == pytest.approx(plain.of_one_value, rel=0.05)


def test_another_grid_gives_nearly_the_same():
    first = look_at(_brain())
    second = look_at(resample(_brain(), MNI152_1MM))
    for name, tolerance in (("litres", 0.03), ("overlap", 0.01), ("likeness", 0.01), ("outside", 0.001)):
        assert getattr(second, name) == pytest.approx(getattr(first, name), abs=tolerance), name


def test_an_image_without_anything_above_0():
    data = -1 - _brain().data
    of = look_at(Volume(data, grid_affine(MNI152_2MM)))
    assert (of.bright, of.below, of.background) == (0, 1, -1)
    assert _codes(Volume(data, grid_affine(MNI152_2MM))) == ["background-not-zero", "clipped"]
    data[0] = 0
    faces = look_at(Volume(np.pad(data[1:-1, 1:-1, 1:-1], 1), grid_affine(MNI152_2MM)))
    assert (faces.bright, faces.below, faces.background) == (0, 1, 0)
    assert judge(faces, MNI, "here")[0].code == "standardised"
    empty = look_at(Volume(np.pad(np.ones((1, 1, 1), np.float32), ((1, 89), (1, 107), (1, 89))), _brain().affine))
    # the lattice misses the only voxel
    assert (empty.bright, empty.litres, empty.of_one_value, empty.below) == (0, 0, 0, 0)
    assert (empty.overlap, empty.offset_mm) == (0, float("inf"))
    assert "too-little-brain" in [one.code for one in judge(empty, MNI, "here")]


# --- the judgement --------------------------------------------------------------------------------------------


def _spoiled(how):
    """A phantom that one thing is wrong with."""
    data, affine = _brain().data.copy(), grid_affine(MNI152_2MM)
    brain = data > 0
    if how == "grid":
        data = data[1:]
    elif how == "oblique":
        affine = _world(_turn(2, 10)) @ affine
    elif how == "place":
        affine[1, 3] += 5
    elif how == "standardised":
        data = (data - data.mean()) / data.std()
    elif how == "standardised inside":
        data = np.where(brain, (data - data[brain].mean()) / data[brain].std(), 0).astype(np.float32)
    elif how == "mask":
        data = brain.astype(np.float32)
    elif how == "labels":
        data = np.digitize(data, [1, 120, 175]).astype(np.float32)
    elif how == "head":
        shell = ndimage.binary_dilation(brain, iterations=8) & ~ndimage.binary_dilation(brain, iterations=5)
        data[shell] = np.random.default_rng(0).integers(100, 200, np.count_nonzero(shell))
    elif how == "cut":
        data[:, :, 36:] = 0
    elif how == "float":
        data /= 255
    elif how == "clipped":
        data = data.clip(0, 180)
    elif how == "hot":
        data[45, 54, 45] = 5000
    elif how == "negative":
        data[45, 54, 45] = -40
    return Volume(data, affine)


@pytest.mark.parametrize(
    "how, code, sentence, refused",
    [
        (
            "grid",
            "wrong-grid",
            r"net wants a brain on the MNI152 2 mm \(FSL\) grid, 91x109x91 .* got 90x109x91",
            True,
        ),
        (
            "oblique",
            "oblique",
            r"net wants voxel axes along .* those of here are rotated by up to 10.0 degrees",
            True,
        ),
        ("place", "wrong-place", r"net wants a brain in MNI152 2 mm \(FSL\) space, .* in here it lies at", True),
        ("standardised", "background-not-zero", r"wants a background of 0; it is -0\.5\d* in here; give", True),
        (
            "standardised inside",
            "standardised",
            r"intensities such as a scanner gives, 0 and more; [45]\d% of what is not 0 lies below 0 in here; give",
            True,
        ),
        (
            "mask",
            "not-a-scan",
            r"in many shades of grey; 100% of it have one value in here; give the scan, not",
            True,
        ),
        ("labels", "not-a-scan", r"in many shades of grey; 50% of it have one value in here", True),
        ("head", "not-skull-stripped", r"without its skull, at most 2\.6 litres; \d\.\d\d litres and \d+% of", True),
        ("cut", "too-little-brain", r"wants a whole brain, 0\.8 litres or more; 0\.\d\d litres are bright in", True),
        (
            "float",
            "wrong-range",
            r"by 255, not by the image's own maximum, .* from 76\.5 to 318\.75; it is 0\.98",
            True,
        ),
        (
            "clipped",
            "clipped",
            r"should not be cut off; \d+\.\d% of the voxels above 0 .* value, 180, in here",
            False,
        ),
        (
            "hot",
            "hot-voxels",
            r"largest voxel should be tissue; it is 5000 where bright tissue is 186 in here",
            False,
        ),
        ("negative", "negative-values", r"should not be below 0; the lowest is -40 where bright tissue is", False),
    ],
)
def test_a_spoiled_image_has_its_code_and_sentence(how, code, sentence, refused):
    wants = dataclasses.replace(MNI, divided_by=255.0 if how == "float" else 0.0)
    verdicts = judge(look_at(_spoiled(how)), wants, "here")
    assert verdicts[0].code == code
    assert verdicts[0].refused == refused
    assert re.search(sentence, verdicts[0].sentence), verdicts[0].sentence
    assert " here" in verdicts[0].sentence
    assert not judge(look_at(_brain()), wants, "here") or how == "float"
    assert {one.code for one in verdicts} <= set(schema.REASONS)
    assert most_grave(verdicts) == (verdicts[0] if refused else None)


def test_whoever_wants_less_is_told_less():
    head = look_at(_spoiled("head"))
    assert judge(head, Wants("", None, skull_stripped=False, registered=False), "here") == []
    away = look_at(_moved(_brain(), _world(shift=(30, 0, 0))))
    assert [one.code for one in judge(away, ANY, "here")] == ["not-registered"]
    assert judge(away, NATIVE, "here") == []
    assert [one.code for one in judge(head, NATIVE, "here")] == ["not-skull-stripped"]
    twice = look_at(Volume(_brain().data, _brain().affine @ np.diag([0.6, 0.6, 0.6, 1])))
    assert [one.code for one in judge(twice, NATIVE, "here")] == ["too-little-brain"]
    assert [one.code for one in judge(twice, dataclasses.replace(NATIVE, grid=NATIVE_1MM), "here")] == [
        "wrong-grid",
        "too-little-brain",
    ]


def test_a_standardised_brain_is_refused_for_that_and_for_where_it_lies():
    here = _spoiled("standardised inside")
    away = _moved(here, _world(shift=(0, 20, 0)))
    assert _codes(here) == ["standardised"]
    assert _codes(away) == ["standardised", "not-registered"]
    assert most_grave(judge(look_at(here), MNI, "here"), ("standardised",)) is None
    assert most_grave(judge(look_at(away), MNI, "here"), ("standardised",)).code == "not-registered"


def test_the_traces_of_a_spline_are_no_standardisation():
    data = ndimage.shift(_brain().data, 0.5, order=3)
    assert np.mean(data[data != 0] < 0) > 0.2
    of = look_at(Volume(data, grid_affine(MNI152_2MM)))
    assert of.below < 0.05
    assert [one.code for one in judge(of, MNI, "here") if one.refused] == []


def test_a_small_brain_that_keeps_its_size_is_not_refused():
    of = look_at(_brain())
    for litres, codes in ((0.81, ["smaller-than-template"]), (0.79, ["too-little-brain", "smaller-than-template"])):
        small = dataclasses.replace(of, litres=litres)
        assert [one.code for one in judge(small, MNI, "here")] == codes


def test_what_is_accepted_is_passed_over():
    verdicts = [Verdict("not-registered", "a"), Verdict("wrong-range", "b"), Verdict("clipped", "c", refused=False)]
    assert most_grave(verdicts).code == "not-registered"
    assert most_grave(verdicts, ("not-registered",)).code == "wrong-range"
    assert most_grave(verdicts, ("not-registered", "wrong-range")) is None
    check_accepted(ACCEPTABLE)
    with pytest.raises(
        NetworkError, match=r"must name a misfit that may be let through; got 'wrong-grid'; known are"
    ):
        check_accepted(["not-registered", "wrong-grid"])


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SRA"])
@pytest.mark.parametrize("grid", [MNI152_1MM, MNI152_2MM])
def test_the_header_is_turned_as_the_volume_is(codes, grid):
    volume = reorient(Volume(np.zeros(grid.shape, np.float32), grid_affine(grid)), codes)
    findings = dataclasses.replace(
        look_at(_brain()), orientation=codes, shape=volume.data.shape, affine=volume.affine
    )
    shape, affine = contract._turned(findings, grid.orientation)
    assert shape == grid.shape
    np.testing.assert_array_equal(affine, grid_affine(grid))


# --- real brains ----------------------------------------------------------------------------------------------

MOVES = {
    "12 mm left": _world(shift=(-12, 0, 0)),
    "12 mm forward": _world(shift=(0, 12, 0)),
    "12 mm back": _world(shift=(0, -12, 0)),
    "12 mm up": _world(shift=(0, 0, 12)),
    "12 mm down": _world(shift=(0, 0, -12)),
    "nodding": _world(_turn(0, 20)),
    "nodding back": _world(_turn(0, -20)),
    "leaning": _world(_turn(1, 20)),
    "looking aside": _world(_turn(2, 20)),
    "upside down": _world(np.diag([1, 1, -1])),
    "front to back": _world(np.diag([1, -1, 1])),
}
# At 0.75 it is as large as a small brain that was not scaled: told, not refused.
SIZES = {
    "0.70": (0.70, "too-little-brain", True),
    "0.75": (0.75, "smaller-than-template", False),
    "1.15": (1.15, "not-skull-stripped", True),
}


@pytest.mark.data
def test_no_registered_brain_is_refused(data):
    brains = sorted((data / "ixi").glob("**/*.nii.gz"))
    assert len(brains) == 185
    for path in brains:
        of = look_at(read_volume(path))
        assert judge(of, MNI, str(path)) == [], path
        assert 2.06 < of.litres < 2.17, path
        assert of.outside < 0.0025
        assert of.overlap > 0.95
        assert of.likeness > 0.50
        assert of.below == 0
        assert of.of_one_value < 0.021
        assert of.offset_mm < 2.5
    for path in sorted((data / "mni1mm").glob("*.nii.gz")):
        of = look_at(read_volume(path))
        verdicts = judge(of, dataclasses.replace(MNI, grid=MNI152_1MM), str(path))
        assert most_grave(verdicts) is None
        assert {"smaller-than-template", "negative-values"} <= {one.code for one in verdicts}
        assert 1.0 < of.litres < 1.11
        assert of.below < 0.001
        assert of.of_one_value < 0.001
        assert of.overlap > 0.85
        assert of.offset_mm < 5.7


@pytest.mark.data
def test_every_head_is_refused(data):
    heads = [*sorted((data / "ds000011").glob("**/*T1w.nii.gz")), data / "formats/head_16mm_header_extension.nii.gz"]
    assert len(heads) == 7
    for path in heads:
        volume = read_volume(path)
        for seen in (volume, resample(volume, MNI152_2MM)):
            of = look_at(seen)
            assert of.outside > 0.13
            assert of.litres > 2.4
            assert of.of_one_value < 0.06
            for wants in (ANY, NATIVE):
                assert judge(of, wants, str(path))[0].code == "not-skull-stripped", (path, wants)


@pytest.mark.data
def test_brains_in_their_own_space_fit_networks_that_want_them_there(data):
    for name in ("freesurfer_norm.mgz", "skullstripped_08mm.nii.gz"):
        of = look_at(read_volume(data / "formats" / name))
        assert [one.code for one in judge(of, ANY, name)] == ["not-registered"]
        assert judge(of, NATIVE, name) == []
    crop = look_at(read_volume(data / "formats/bigendian_crop.nii"))
    assert judge(crop, NATIVE, "crop")[0].code == "too-little-brain"


@pytest.mark.data
@pytest.mark.parametrize("move", MOVES)
def test_a_brain_that_lies_wrong_is_seen(data, move):
    for path in sorted((data / "ixi").glob("**/*.nii.gz"))[::46]:
        assert _codes(_moved(read_volume(path), MOVES[move]), ANY) == ["not-registered"], path


@pytest.mark.data
@pytest.mark.parametrize("size", SIZES)
def test_a_brain_of_the_wrong_size_is_seen(data, size):
    factor, code, refused = SIZES[size]
    for path in sorted((data / "ixi").glob("**/*.nii.gz"))[::46]:
        verdicts = judge(look_at(_moved(read_volume(path), _world(np.eye(3) * factor))), ANY, "here")
        assert code in [one.code for one in verdicts], path
        assert (most_grave(verdicts) is not None) == refused, path


@pytest.mark.data
def test_what_is_no_scan_any_more_is_seen(data):
    for path in [*sorted((data / "ixi").glob("**/*.nii.gz"))[::46], *sorted((data / "mni1mm").glob("*.nii.gz"))]:
        volume = read_volume(path)
        brain = volume.data > 0
        inside = volume.data[brain]
        made = {
            "standardised": np.where(brain, (volume.data - inside.mean()) / inside.std(), 0),
            "mask": brain,
            "labels": np.digitize(volume.data, [1, np.percentile(inside, 20), np.percentile(inside, 65)]),
            "cut off": volume.data.clip(0, np.percentile(inside, 50)),
        }
        refused = {
            what: [one.code for one in judge(look_at(Volume(values.astype(np.float32), volume.affine)), ANY, "here")
                   if one.refused]
            for what, values in made.items()
        }  # fmt: skip
        assert refused == {what: ["standardised" if what == "standardised" else "not-a-scan"] for what in made}, path
        spline = Volume(ndimage.shift(volume.data, 0.5, order=3, output=np.float32), volume.affine)
        assert most_grave(judge(look_at(spline), ANY, "here")) is None, path


@pytest.mark.data
def test_left_and_right_exchanged_cannot_be_seen(data):
    path = sorted((data / "ixi").glob("**/*.nii.gz"))[0]
    assert _codes(_moved(read_volume(path), _world(np.diag([-1, 1, 1]))), ANY) == []
