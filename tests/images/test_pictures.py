"""Mid-slices: which voxel is shown where, from any orientation; outlines; files."""

import io

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from featx.images.pictures import KINDS, encode_picture, mid_slices, with_outline, write_picture
from featx.images.template import read_template, template_mask
from featx.images.volume import MNI152_2MM, Volume, grid_affine, read_volume, reorient
from tests.conftest import phantom

LAS = grid_affine(MNI152_2MM)


def _brain():
    return Volume(phantom(), LAS)


def test_each_plane_shows_the_middle_voxels_radiologically():
    """At the grid's own resolution no pixel is interpolated, so that the oracle is plain indexing."""
    data = phantom().astype(float)
    bright = np.percentile(data[::2, ::2, ::2][data[::2, ::2, ::2] > 0], 90)
    found = np.argwhere(data[::2, ::2, ::2] > 0.1 * bright)
    i, j, k = np.rint(np.median(found, axis=0)).astype(int) * 2
    white = np.percentile(data[::2, ::2, ::2][data[::2, ::2, ::2] > 0], 99.5)
    grey = np.rint((data * 255 / white).clip(0, 255)).astype(np.uint8)
    expected = np.zeros((109, 109 + 2 + 91 + 2 + 91), np.uint8)
    expected[9:100, :109] = grey[i].T[::-1]  # rows go down from superior, columns from posterior to anterior
    expected[9:100, 111:202] = grey[:, j].T[::-1]  # columns from the patient's right to the left
    expected[:, 204:] = grey[:, :, k].T[::-1]
    assert np.abs(mid_slices(_brain(), height=109).astype(int) - expected).max() <= 1


def test_left_is_right_and_front_is_up():
    data = np.zeros((40, 50, 60), np.uint8)
    data[10:30, 10:40, 10:50] = 100
    data[20:30, 10:40, 10:50] = 160  # I grows to the left
    data[10:30, 30:40, 10:50] += 60  # J to the front
    shown = mid_slices(Volume(data, np.diag([-1.0, 1, 1, 1])), height=60).astype(int)
    coronal, axial = shown[:, 52:92], shown[:, 94:]
    assert coronal[30, 25] > coronal[30, 14] > 0
    assert axial[:, 15].nonzero()[0].min() > 0
    first, last = axial[:, 15].nonzero()[0][[1, -2]]
    assert axial[first, 15] > axial[last, 15]


@pytest.mark.parametrize("codes", ["RAS", "LIA", "PSR", "AIL", "SPL"])
def test_the_way_it_is_stored_changes_nothing(codes):
    turned = reorient(_brain(), codes)
    assert (mid_slices(turned) == mid_slices(_brain())).all()


def test_pixels_are_square_whatever_the_voxels():
    thick = Volume(phantom()[:, ::2, ::3], LAS @ np.diag([1, 2, 3, 1]))
    fine, coarse = mid_slices(_brain(), height=218), mid_slices(thick, height=218)
    wide = [
        (fine[:, columns] > 20).any(axis=0).sum() for columns in (slice(0, 218), slice(220, 402), slice(404, None))
    ]
    assert coarse.shape[0] == 218
    assert abs(coarse.shape[1] - fine.shape[1]) <= 4
    again = [
        (coarse[:, columns] > 20).any(axis=0).sum() for columns in (slice(0, 218), slice(222, 402), slice(406, None))
    ]
    assert np.abs(np.array(wide) - again).max() <= 8


def test_scaled_and_negative_values():
    """A slope changes nothing; a standardised image has a dark background of its own."""
    plain = mid_slices(_brain())
    assert (mid_slices(Volume(phantom(), LAS, 0.01)) == plain).all()
    inside = phantom() > 0
    values = np.where(inside, phantom().astype(np.float32) - 140, -140).astype(np.float32)
    lifted = mid_slices(Volume(values, LAS))
    assert lifted[0, 0] == 0
    assert lifted.max() == 255
    traces = np.where(inside, phantom(), -1.0).astype(np.float32)
    assert np.abs(mid_slices(Volume(traces, LAS)).astype(int) - plain).max() <= 1
    assert mid_slices(Volume(np.full((4, 5, 6), -3, np.float32), LAS)).max() == 0
    assert mid_slices(Volume(np.zeros((1, 5, 6), np.uint8), LAS), height=12).shape[0] == 12


def test_an_outline_is_the_edge_of_the_mask():
    template = read_template()
    drawn = with_outline(template, template_mask(), height=109, colour=(255, 0, 0))
    red = (drawn == (255, 0, 0)).all(axis=2)
    grey = mid_slices(template, height=109)
    assert drawn.shape == (*grey.shape, 3)
    assert (drawn[~red] == grey[~red][:, None]).all()
    inside = np.zeros_like(red)
    inside[:, 204:] = template_mask()[:, :, 36].T[::-1]
    rim = inside.copy()
    rim[1:-1, 205:-1] &= ~(inside[:-2, 205:-1] & inside[2:, 205:-1] & inside[1:-1, 204:-2] & inside[1:-1, 206:])
    middle = with_outline(template, template_mask(), height=109)[:, 204:]
    assert red[:, 204:].sum() == pytest.approx(rim.sum(), rel=0.15)
    assert middle.shape == (109, 91, 3)


def test_an_outline_of_another_image_is_refused():
    with pytest.raises(
        ValueError, match=r"a mask must have the shape of its volume, \(91, 109, 91\); got \(3, 3, 3\)"
    ):
        with_outline(_brain(), np.ones((3, 3, 3), bool))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".PNG"])
def test_files_read_back(tmp_path, suffix):
    shown = mid_slices(_brain())
    path = tmp_path / f"new/one{suffix}"
    write_picture(path, shown)
    with Picture.open(path) as read:
        back = np.asarray(read.convert("L")).astype(int)
    assert back.shape == shown.shape
    assert np.abs(back - shown).mean() < (0.01 if suffix.lower() == ".png" else 4)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_same_picture_gives_the_same_bytes_and_few_of_them():
    shown = mid_slices(_brain(), height=218)
    for kind in KINDS:
        assert encode_picture(shown, kind) == encode_picture(shown, kind)
    assert len(encode_picture(shown, "webp")) < 9000
    with Picture.open(io.BytesIO(encode_picture(np.dstack([shown] * 3), "jpeg"))) as colour:
        assert colour.mode == "RGB"


def test_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a picture must be of the kind webp, jpeg or png; got 'gif'"):
        write_picture(tmp_path / "one.gif", mid_slices(_brain()))
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "one.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_picture(tmp_path / "one.png", mid_slices(_brain()))
    assert [one.name for one in tmp_path.iterdir()] == ["one.png"]


def test_real_images_of_all_kinds(data):
    for path in sorted((data / "formats").glob("*.[nm]*")):
        shown = mid_slices(read_volume(path))
        assert shown.shape[0] == 96
        assert 150 < shown.shape[1] < 320
        assert 10 < shown.mean() < 130
    assert nib.aff2axcodes(read_volume(data / "formats" / "freesurfer_norm.mgz").affine) == ("L", "I", "A")
