"""One volume: from a made head to a brain in the template, where left stays left."""

import numpy as np
import pytest

from featx.errors import ImageError
from featx.images.findings import look_at
from featx.images.template import read_template, template_mask
from featx.images.volume import MNI152_1MM, MNI152_2MM, Volume, grid_affine
from featx.preparing import brain
from featx.preparing.brain import bound, dice, is_brain, place, prepare, reduce_dof, refine, trim
from tests.preparing.conftest import MARKER_MM

pytest.importorskip("ants")


def test_a_head_becomes_the_templates_brain(phantom_head, quick):
    done = prepare(phantom_head.head, MNI152_2MM, 12, given=None, stripped=False)
    assert done.extraction == "template"
    assert done.brain.stored.shape == (91, 109, 91)
    assert done.brain.stored.dtype == np.float32
    assert (done.brain.affine == grid_affine(MNI152_2MM)).all()
    assert done.dice > 0.95
    assert done.dice == pytest.approx(dice(done.mask, template_mask()), abs=1e-6)
    assert (done.brain.data[~done.mask] == 0).all()
    inside = done.brain.data[done.mask & (done.brain.data > 0)]
    assert np.percentile(inside, 90) == pytest.approx(110, rel=1e-4)
    smooth = np.where(done.mask, done.brain.data, 0)
    brightest = np.argwhere(smooth > 0.9 * smooth.max()).mean(axis=0)
    marker_mm = done.brain.affine[:3, :3] @ brightest + done.brain.affine[:3, 3]
    assert np.abs(marker_mm - MARKER_MM).max() < 4  # on the left, and nowhere else
    off = (done.matrix - phantom_head.matrix) @ [0, -20, 10, 1]
    assert np.linalg.norm(off) < 1.5


def test_a_given_mask_and_a_brain_need_no_extraction(phantom_head, quick, monkeypatch):
    monkeypatch.setattr(brain, "extract_brain", lambda volume: pytest.fail("it was extracted"))
    given = prepare(phantom_head.head, MNI152_2MM, 6, given=phantom_head.brain, stripped=False)
    assert given.extraction == "given mask"
    assert place(phantom_head.head, phantom_head.brain, given.matrix, MNI152_1MM)[1].shape == (182, 218, 182)
    assert np.linalg.det(given.matrix[:3, :3]) == pytest.approx(1, abs=1e-3)
    assert 0.8 < given.dice < 0.92  # it keeps its size
    alone = Volume(np.where(phantom_head.brain, phantom_head.head.data, 0), phantom_head.head.affine)
    assert is_brain(look_at(alone))
    assert not is_brain(look_at(phantom_head.head))
    done = prepare(alone, MNI152_2MM, 12, given=None, stripped=True)
    assert done.extraction == "none: a brain already"
    again = prepare(alone, MNI152_2MM, 12, given=None, stripped=True)
    assert again.brain.stored.tobytes() == done.brain.stored.tobytes()
    assert done.dice > 0.95


def test_a_head_without_a_brain_is_refused():
    noise = np.random.default_rng(0).gamma(2, 10, (40, 40, 40)).astype(np.float32)
    with pytest.raises(
        ImageError, match=r"Dice overlap of 0.85 or more; no body of its size comes loose in it"
    ) as of:
        brain.extract_brain(Volume(noise, np.diag([4.0, 4, 4, 1])))
    assert of.value.code == "not-prepared"


def test_a_head_whose_brain_does_not_resemble_the_template_is_turned_and_refused(monkeypatch, phantom_head):
    starts = []
    monkeypatch.setattr(brain, "align", lambda fixed, moving, start, dof, levels: starts.append(start) or np.eye(4))
    with pytest.raises(ImageError, match=r"the best candidate overlaps it by 0.\d\d in it; give its brain mask"):
        brain.extract_brain(phantom_head.head)
    nods = {round(float(np.degrees(np.arctan2(start[2, 1], start[1, 1])))) for start in starts}
    assert nods == {0, 25, -25}


def test_masks_that_hold_no_brain_are_refused(phantom_head, quick):
    with pytest.raises(ImageError, match="a brain mask must hold a brain; it is 0 everywhere"):
        prepare(phantom_head.head, MNI152_2MM, 12, given=np.zeros_like(phantom_head.brain), stripped=False)
    away = np.eye(4)
    away[0, 3] = 1000
    with pytest.raises(ImageError, match="a brain must lie inside the grid; after registration there is none on it"):
        place(phantom_head.head, phantom_head.brain, away, MNI152_2MM)


def test_bounds_cut_what_lies_far_outside_and_fill_what_lies_deep_inside():
    template, affine = template_mask(), read_template().affine
    leaky = template.copy()
    leaky[45:48, 40:60, 45:48] = False
    leaky[40:50, 100:107, 2:8] = True
    bounded = bound(leaky, affine, np.eye(4))
    assert not bounded[40:50, 100:107, 2:8].any()
    assert bounded[45:48, 40:60, 45:48].all()
    assert dice(bounded, template) > 0.995


def test_a_finer_mask_lies_where_the_coarse_one_does():
    mask = np.zeros((20, 22, 18), bool)
    mask[5:15, 6:16, 4:12] = True
    onto = Volume(np.zeros((40, 44, 36), np.float32), np.diag([1.0, 1, 1, 1]))
    onto.affine[:3, 3] = 0.25  # so that no voxel lies on the edge
    fine = refine(mask, np.diag([2.0, 2, 2, 1]), onto)
    assert np.argwhere(fine).mean(axis=0) == pytest.approx(2 * np.argwhere(mask).mean(axis=0) - 0.25, abs=0.3)
    assert fine.sum() == pytest.approx(8 * mask.sum(), rel=0.1)


def test_vessels_are_taken_off_the_rim_and_left_inside():
    mask = np.zeros((30, 32, 28), bool)
    mask[4:26, 4:28, 4:24] = True
    data = np.where(mask, 100.0, 0).astype(np.float32)
    data[4:6, 10, 10] = data[15, 16, 14] = 200
    trimmed = trim(mask, Volume(data, np.diag([1.0, 1, 1, 1])), 150.0)
    assert not trimmed[4:7, 10, 10].any()  # with the voxel beside it, which it shines into
    assert trimmed[15, 16, 14]
    assert 5 < mask.sum() - trimmed.sum() < 15


def test_fewer_degrees_of_freedom_keep_the_place_and_the_turn(phantom_head):
    middle = read_template().affine @ [*np.argwhere(template_mask()).mean(axis=0), 1]
    for dof, scale in ((6, 1.0), (7, np.cbrt(np.linalg.det(phantom_head.matrix[:3, :3])))):
        reduced = reduce_dof(phantom_head.matrix, dof)
        assert np.linalg.svd(reduced[:3, :3])[1] == pytest.approx(np.full(3, scale))
        assert reduced @ middle == pytest.approx(phantom_head.matrix @ middle)
        assert np.degrees(np.arctan2(reduced[2, 1], reduced[1, 1])) == pytest.approx(8, abs=0.5)
