"""Cubes against slow loops, on the template's grid."""

import numpy as np
import pytest

from featx.errors import AnalysisError
from featx.images.template import template_mask
from featx.images.volume import MNI152_1MM, MNI152_2MM, Grid, grid_affine
from featx.relevance.cubes import (
    boxes_on,
    brain_on,
    check_cubes,
    cubes_to_map,
    make_cubes,
    onto,
    shell_means,
    smooth,
)

RAS_2MM = Grid("a grid that grows towards R", (91, 109, 91), 2.0, "RAS", (-90.0, -126.0, -72.0))


@pytest.mark.parametrize("grid", [MNI152_2MM, MNI152_1MM, RAS_2MM])
def test_boxes_hold_the_voxels_whose_centres_lie_in_the_cube(grid):
    corners = np.array([[-31.0, -60.0, 5.0], [10.5, 20.0, -30.0], [80.0, 80.0, 100.0]])
    affine = grid_affine(grid)
    for corner, box in zip(corners, boxes_on(grid, corners, 7.0), strict=True):
        for axis in range(3):
            centres = affine[axis, 3] + affine[axis, axis] * np.arange(grid.shape[axis])
            inside = np.flatnonzero((centres >= corner[axis]) & (centres < corner[axis] + 7.0))
            assert list(range(*box[axis])) == inside.tolist()


def test_a_cube_on_the_right_is_on_the_right():
    ((first, last), _, _) = boxes_on(MNI152_2MM, np.array([[40.0, 0.0, 0.0]]), 10.0)[0]
    x_mm = grid_affine(MNI152_2MM)[0, 3] + grid_affine(MNI152_2MM)[0, 0] * np.arange(first, last)
    assert (x_mm >= 40).all()
    assert (x_mm < 50).all()
    assert first < 45


def test_cubes_that_touch_hold_every_voxel_of_the_brain_once():
    corners = make_cubes(12.0, 12.0)
    count = np.zeros(MNI152_2MM.shape, int)
    for box in boxes_on(MNI152_2MM, corners, 12.0):
        count[tuple(slice(*one) for one in box)] += 1
    assert (count[template_mask()] == 1).all()
    assert count.max() == 1


def test_the_shell_is_what_is_around_a_cube_inside_the_brain():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=MNI152_2MM.shape).astype(np.float32)
    corners = np.array([[-20.0, -20.0, 0.0], [55.0, -30.0, 0.0]])
    found = shell_means(volume, MNI152_2MM, corners, 12.0)
    centres = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij")).reshape(3, -1)
    mm = (grid_affine(MNI152_2MM)[:3, :3] @ centres + grid_affine(MNI152_2MM)[:3, 3:]).reshape(3, *volume.shape)
    for corner, mean in zip(corners, found, strict=True):
        low = corner[:, None, None, None]
        inner = ((mm >= low) & (mm < low + 12)).all(axis=0)
        outer = ((mm >= low - 6) & (mm < low + 18)).all(axis=0)
        assert mean == pytest.approx(volume[outer & ~inner & template_mask()].mean(), abs=1e-5)


def test_a_cube_with_nothing_around_it_gets_the_mean_of_the_brain():
    found = shell_means(brain_on(MNI152_2MM) * 3.0, MNI152_2MM, np.array([[86.0, 80.0, 100.0]]), 4.0)
    assert found.tolist() == [3.0]


def test_a_voxel_gets_the_mean_of_its_cubes():
    corners = np.array([[-10.0, -10.0, 0.0], [-4.0, -10.0, 0.0]])
    found = cubes_to_map(np.array([1.0, 3.0]), MNI152_2MM, corners, 12.0)
    at = lambda x: found[round((90 - x) / 2), 61, 38]  # noqa: E731 - y = -4, z = 4
    assert [at(-8), at(-2), at(6), at(20)] == [1.0, 2.0, 3.0, 0.0]
    assert not found[~template_mask()].any()


def test_smoothing_keeps_the_sum_deep_inside_and_nothing_outside():
    values = np.zeros(MNI152_2MM.shape, np.float32)
    values[45, 60, 45] = 1.0
    found = smooth(values, MNI152_2MM, 8.0)
    assert found.sum() == pytest.approx(1.0, abs=1e-3)
    profile = found[45, 60, 45:]
    half = np.interp(-profile[0] / 2, -profile, 2.0 * np.arange(len(profile)))
    assert half == pytest.approx(4.0, abs=0.15)  # half the width, in mm
    assert not smooth(values + 1, MNI152_2MM, 8.0)[~template_mask()].any()


def test_a_map_on_a_finer_grid_says_the_same_of_a_place():
    values = np.zeros(MNI152_2MM.shape, np.float32)
    values[20:30, 60:70, 40:50] = 2.0
    fine = onto(values, MNI152_2MM, MNI152_1MM)
    assert fine.shape == MNI152_1MM.shape
    assert (fine[42:56, 122:136, 82:96] == 2.0).all()
    assert onto(values, MNI152_2MM, MNI152_2MM) is values


@pytest.mark.parametrize("patch, stride", [(1.0, 1.0), (80.0, 10.0), (12.0, 13.0), (12.0, 1.0)])
def test_cubes_of_no_use_are_refused(patch, stride):
    with pytest.raises(AnalysisError, match="cubes must be 2 to 60 mm wide, and stand no further apart"):
        check_cubes(patch, stride)
