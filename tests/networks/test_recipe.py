"""Steps from a volume to a network's input, each against a plain oracle; grids and orientations of every recipe."""

import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest

from featx.errors import ImageError
from featx.images.volume import (
    MNI152_1MM,
    MNI152_2MM,
    NATIVE_1MM,
    Volume,
    grid_affine,
    read_volume,
    resample,
    write_volume,
)
from featx.networks import NETWORKS, recipes
from featx.networks.recipe import (
    STEPS,
    crop,
    crop_around_brain,
    describe,
    divide_by,
    divide_by_mean,
    pad,
    percentile_to_unit,
    prepare,
    shift_and_scale,
    to_grey,
    turn,
    z_score,
)
from featx.networks.sheet import Recipe, Step, View
from tests.conftest import phantom

# One network of each way to prepare a volume.
RECIPES = {
    describe(dataclasses.replace(sheet.recipe, views=()), View("volume"), resampling=False): sheet
    for sheet in reversed(NETWORKS.values())
}
ALL = pytest.mark.parametrize("sheet", RECIPES.values(), ids=lambda sheet: sheet.name)


def _grid(recipe):
    """The recipe's grid; a small one, of three lengths, where the volume may be of any size."""
    if not recipe.grid.anywhere:
        return recipe.grid
    return dataclasses.replace(recipe.grid, shape=(160, 101, 47), origin_mm=(85.0, -110.0, 5.0))


def _volume(grid):
    return Volume(np.asfortranarray(phantom(grid), dtype=np.float32), grid_affine(grid))


# --- every recipe ---------------------------------------------------------------------------------------------


@ALL
def test_a_copy_stored_in_another_orientation_gives_the_same_bits(sheet, tmp_path):
    grid = _grid(sheet.recipe)
    image = nib.Nifti1Image(phantom(grid), grid_affine(grid))
    write_volume(tmp_path / "las.nii", np.asarray(image.dataobj), image.affine)
    las = prepare(read_volume(tmp_path / "las.nii"), sheet.recipe, sheet.name, "here")
    assert len(np.unique(las)) > 20
    for codes in ("RAS", "LIA", "PSR"):
        change = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes)
        )
        other = image.as_reoriented(change)
        assert nib.aff2axcodes(other.affine) == tuple(codes)
        write_volume(tmp_path / f"{codes}.nii", np.asarray(other.dataobj), other.affine)
        copy = prepare(read_volume(tmp_path / f"{codes}.nii"), sheet.recipe, sheet.name, "here")
        np.testing.assert_array_equal(las, copy)


@ALL
def test_another_grid_is_refused_unless_it_may_be_resampled(sheet):
    other = MNI152_1MM if sheet.recipe.grid == MNI152_2MM else MNI152_2MM
    volume = _volume(other)
    with pytest.raises(
        ImageError, match=f"{sheet.name} wants a brain on the {sheet.recipe.grid.name[:11]}"
    ) as caught:
        prepare(volume, sheet.recipe, sheet.name, "here")
    assert caught.value.code == "wrong-grid"
    resampled = prepare(volume, sheet.recipe, sheet.name, "here", resampling=True)
    on_grid = resample(volume, sheet.recipe.grid)
    np.testing.assert_array_equal(resampled, prepare(on_grid, sheet.recipe, sheet.name, "here"))


def test_resampling_that_leaves_nothing():
    affine = grid_affine(MNI152_2MM)
    affine[:3, 3] += 999
    far = Volume(_volume(MNI152_2MM).data, affine)
    with pytest.raises(ImageError, match="every voxel is 0 in here after resampling to MNI152 1 mm") as caught:
        prepare(far, recipes.SFCN, "n", "here", resampling=True)
    assert caught.value.code == "constant"


@ALL
def test_what_a_recipe_does_is_told_in_full(sheet):
    told = json.loads(describe(sheet.recipe, sheet.recipe.views[0], resampling=True))
    assert told["resampled"] is True
    assert [step["step"] for step in told["steps"]] == [step.name for step in sheet.recipe.steps]
    assert set(STEPS) >= {step["step"] for step in told["steps"]}
    assert told["grid"]["orientation"] == sheet.recipe.grid.orientation
    changed = dataclasses.replace(sheet.recipe, steps=(*sheet.recipe.steps, Step("divide-by", {"value": 2.0})))
    assert json.loads(describe(changed, View("volume"), resampling=False))["steps"][-1] == {
        "step": "divide-by",
        "value": 2.0,
    }


# --- recipes by hand ------------------------------------------------------------------------------------------


def test_sfcn_divides_by_the_mean_of_the_whole_volume_before_the_crop():
    data = np.asfortranarray(np.random.default_rng(0).uniform(0, 200, MNI152_1MM.shape), dtype=np.float32)
    data[:8] *= 50  # outside of the crop: its mean is not that of the whole
    found = prepare(Volume(data, grid_affine(MNI152_1MM)), recipes.SFCN, "n", "here")
    inside = data[11:171, 13:205, 11:171]
    assert found.shape == (160, 192, 160)
    np.testing.assert_allclose(found, inside / data.astype(np.float64).mean(), rtol=1e-6)
    assert data.mean() > 2 * inside.mean()


def test_leonardsen_2022_divides_by_255_whatever_the_maximum_is():
    data = phantom(MNI152_1MM) // 2
    assert data.max() < 130
    volume = Volume(np.asfortranarray(data, dtype=np.float32), grid_affine(MNI152_1MM))
    found = prepare(volume, recipes.LEONARDSEN_2022, "n", "here")
    assert found.shape == (167, 212, 160)
    np.testing.assert_allclose(found, data[6:173, 2:214, 0:160] / 255, rtol=1e-6)


def test_slices_are_scaled_by_a_percentile_of_the_brain():
    recipe = recipes.slice_recipe(64, recipes.IMAGENET)
    volume = _volume(MNI152_2MM)
    wanted = np.clip(volume.data / np.percentile(volume.data[volume.data > 0], 99.5), 0, 1)
    np.testing.assert_allclose(prepare(volume, recipe, "n", "w"), wanted, rtol=1e-5)
    ten = Volume(volume.data * 10, volume.affine)
    np.testing.assert_allclose(prepare(ten, recipe, "n", "w"), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "recipe, match",
    [
        (recipes.SFCN, "mean intensity must be above 0 to divide by it; it is -"),
        (recipes.slice_recipe(64, recipes.IMAGENET), "must have voxels above 0; here has none"),
    ],
)
def test_a_brain_that_is_darker_than_its_background(recipe, match):
    volume = _volume(recipe.grid)
    with pytest.raises(ImageError, match=match) as caught:
        prepare(Volume(-volume.data, volume.affine), recipe, "n", "here")
    assert caught.value.code == "constant"


def _cut_as_published(stored, shape=(224, 192, 224)):
    """The authors' rule on an array as FreeSurfer stores it, one axis after the other."""
    where = np.where(stored != 0)
    for axis in range(3):
        if stored.shape[axis] > shape[axis]:
            centre = int(np.round(np.mean([where[axis].min(), where[axis].max()])))
            low, high = centre - shape[axis] // 2, centre + shape[axis] // 2
            if low < 0:
                low, high = 0, shape[axis]
            if high > stored.shape[axis]:
                low, high = stored.shape[axis] - shape[axis], stored.shape[axis]
            stored = np.take(stored, range(low, high), axis=axis)
    for axis in range(3):
        missing = shape[axis] - stored.shape[axis]
        if missing > 0:
            width = [(0, 0)] * 3
            width[axis] = (missing // 2, missing - missing // 2)
            stored = np.pad(stored, width, mode="edge")
    return stored


@pytest.mark.parametrize(
    "shape, at",
    [
        ((256, 256, 256), (90, 100, 60)),  # a conformed image
        ((256, 256, 256), (0, 3, 170)),  # a brain at three borders
        ((250, 201, 230), (41, 20, 71)),  # odd lengths
        ((200, 230, 100), (17, 61, 5)),  # smaller than the box along two axes
    ],
)
def test_leonardsen_2025_cuts_freesurfers_images_around_the_brain(shape, at):
    stored = np.zeros(shape, dtype=np.uint8)
    brain = np.random.default_rng(0).integers(1, 256, (81, 76, 85), dtype=np.uint8)
    stored[tuple(slice(first, first + length) for first, length in zip(at, brain.shape, strict=True))] = brain
    affine = np.array([[-1, 0, 0, 121.8], [0, 0, 1, -118.5], [0, -1, 0, 127.6], [0, 0, 0, 1]])  # LIA
    volume = Volume(np.asfortranarray(stored, dtype=np.float32), affine)
    found = prepare(volume, recipes.LEONARDSEN_2025, "n", "here")
    np.testing.assert_array_equal(found, _cut_as_published(stored))


@pytest.mark.data
def test_an_image_that_freesurfer_wrote(data):
    path = data / "formats/freesurfer_norm.mgz"
    found = prepare(read_volume(path), recipes.LEONARDSEN_2025, "n", "here")
    np.testing.assert_array_equal(found, _cut_as_published(nib.load(path).get_fdata(dtype=np.float32)))


# --- steps ----------------------------------------------------------------------------------------------------

X = np.asfortranarray(np.random.default_rng(3).normal(5, 3, (5, 6, 7)), dtype=np.float32)


def _by_voxel(step):
    """An array made of one number per voxel by a slow loop."""
    found = np.empty(X.shape)
    for at in np.ndindex(*X.shape):
        found[at] = step(float(X[at]))
    return found


@pytest.mark.parametrize(
    "found, step",
    [
        (to_grey(X, divide_by(X, 1.0, "w", value=255.0)), lambda x: x / 255),
        (to_grey(X, shift_and_scale(X, 1.0, "w", mean=0.4, std=0.2)), lambda x: (x - 0.4) / 0.2),
        (to_grey(X, divide_by_mean(X, 1.0, "w")), lambda x, mean=sum(map(float, X.ravel())) / X.size: x / mean),
        (
            to_grey(X, percentile_to_unit(X, 1.0, "w", percentile=90.0)),
            lambda x, top=np.percentile([v for v in X.ravel() if v > 0], 90): min(max(x / top, 0), 1),
        ),
    ],
)
def test_steps_on_intensities(found, step):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _by_voxel(step), rtol=1e-5)


@pytest.mark.parametrize("offset", [0, 1e4])
def test_z_score(offset):
    values = [float(x) for x in (X + np.float32(offset)).ravel()]
    mean = sum(values) / len(values)
    std = (sum((x - mean) ** 2 for x in values) / len(values)) ** 0.5
    moved = X + np.float32(offset)
    found = to_grey(moved, z_score(moved, 1.0, "w"))
    assert found.dtype == np.float32
    wanted = (np.array(values).reshape(X.shape) - mean) / std
    np.testing.assert_allclose(found, wanted, atol=1e-5 if offset == 0 else 1e-3)


def test_crop_keeps_a_box():
    np.testing.assert_array_equal(crop(X, "w", box=((1, 4), (0, 6), (2, 3))), X[1:4, :, 2:3])
    for box in (((0, 6), (0, 6), (0, 7)), ((-1, 3), (0, 6), (0, 7))):
        with pytest.raises(ImageError, match=r"must hold the box .*; here is \(5, 6, 7\)") as caught:
            crop(X, "here", box=box)
        assert caught.value.code == "wrong-grid"


def test_pad_continues_the_border():
    found = pad(X, "w", shape=(8, 6, 9))
    assert found.shape == (8, 6, 9)
    for i, j, k in np.ndindex(8, 6, 9):  # one voxel before and two behind along I; one and one along K
        assert found[i, j, k] == X[min(max(i - 1, 0), 4), j, min(max(k - 1, 0), 6)]
    np.testing.assert_array_equal(pad(X, "w", shape=X.shape), X)
    with pytest.raises(ImageError, match=r"must fit into \(8, 6, 6\); here is \(5, 6, 7\)") as caught:
        pad(X, "here", shape=(8, 6, 6))
    assert caught.value.code == "wrong-grid"


@pytest.mark.parametrize("stored", ["LAS", "RAS", "LIA", "PSR"])
@pytest.mark.parametrize("wanted", ["LIA", "LAS", "SPR"])
def test_turn_agrees_with_nibabel(stored, wanted):
    codes = nib.orientations.axcodes2ornt
    change = nib.orientations.ornt_transform(codes(stored), codes(wanted))
    np.testing.assert_array_equal(
        turn(X, "w", stored=stored, wanted=wanted), nib.orientations.apply_orientation(X, change)
    )


@pytest.mark.parametrize(
    "first, last, start",
    [
        ((4, 5, 6), (9, 9, 9), (3, 5, 6)),  # centres 6.5, 7 and 7.5: those between two voxels go to the even one
        ((0, 0, 0), (2, 3, 1), (0, 0, 0)),  # at the border: the box does not leave the volume
        ((12, 14, 15), (13, 15, 16), (8, 11, 12)),
        ((3, 3, 3), (3, 3, 3), (0, 1, 1)),
    ],
)
def test_crop_around_brain_moves_a_box(first, last, start):
    """A box of 6, 5 and 5 voxels in a volume of 14, 16 and 17; start is where it must begin."""
    data = np.zeros((14, 16, 17), dtype=np.float32)
    data[first], data[last] = 3, -2  # what is below 0 is brain too
    found = crop_around_brain(data, "w", shape=(6, 5, 5))
    wanted = data[start[0] : start[0] + 6, start[1] : start[1] + 5, start[2] : start[2] + 5]
    np.testing.assert_array_equal(found, wanted)
    assert found.shape == (6, 5, 5)


def test_crop_around_brain_leaves_short_axes_and_refuses_nothing_at_all():
    found = crop_around_brain(X, "w", shape=(9, 6, 4))
    np.testing.assert_array_equal(found, X[:, :, 1:5])  # centre 3, two voxels before it
    with pytest.raises(ImageError, match="must have voxels that are not 0; here has none") as caught:
        crop_around_brain(np.zeros((3, 3, 3), dtype=np.float32), "here", shape=(2, 2, 2))
    assert caught.value.code == "constant"


@pytest.mark.parametrize(
    "step, data, match",
    [
        (Step("z-score"), np.ones, "must show something; all voxels of here are equal"),
        (Step("divide-by-mean"), np.zeros, "mean intensity must be above 0 to divide by it; it is 0 in here"),
        (Step("percentile-to-unit", {"percentile": 99.0}), np.zeros, "must have voxels above 0; here has none"),
    ],
)
def test_steps_refuse_what_they_cannot_scale(step, data, match):
    volume = Volume(data((4, 5, 6), dtype=np.float32), grid_affine(NATIVE_1MM))
    recipe = Recipe(NATIVE_1MM, (step,), recipes.WHOLE)
    with pytest.raises(ImageError, match=match) as caught:
        prepare(volume, recipe, "n", "here")
    assert caught.value.code == "constant"


def test_shrinking_takes_means_of_cubes_and_leaves_out_what_fills_none():
    import torch

    from featx.networks.look import look
    from featx.networks.sheet import Step

    volumes = np.random.default_rng(0).normal(size=(2, 1, 5, 7, 4)).astype(np.float32)
    small = look(torch.from_numpy(volumes), [Step("shrink", {"factor": 2})]).numpy()
    assert small.shape == (2, 1, 2, 3, 2)
    for i, j, k in np.ndindex(2, 3, 2):
        cube = volumes[:, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
        np.testing.assert_allclose(small[:, 0, i, j, k], cube.mean(axis=(1, 2, 3)), rtol=1e-5, atol=1e-6)
