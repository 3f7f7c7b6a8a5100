"""ANTs: matrices of the right world, a field that is divided out, and what is said when it fails."""

import numpy as np
import pytest

from featx.errors import DependencyError, ImageError
from featx.images.template import read_template, template_mask
from featx.images.volume import MNI152_2MM, Volume, grid_affine
from featx.preparing import register
from featx.preparing.rough import points_mm

ants = pytest.importorskip("ants")
QUICK = (register.Level(4, 2.0, 60), register.Level(2, 1.0, 20))


def test_an_affine_is_found_again(phantom_head):
    brain = Volume(np.where(phantom_head.brain, phantom_head.head.data, 0), phantom_head.head.affine)
    start = np.eye(4)
    start[:3, 3] = phantom_head.matrix[:3, 3] + [6, -5, 4]
    found = register.align(read_template(), brain, start, 12, QUICK)
    points = points_mm(template_mask().shape, grid_affine(MNI152_2MM))[template_mask()]
    off = (points @ (found - phantom_head.matrix)[:3, :3].T) + (found - phantom_head.matrix)[:3, 3]
    assert np.sqrt((off**2).sum(axis=1)).mean() < 1.0
    similar = register.align(read_template(), brain, start, 7, QUICK[:1])
    assert np.linalg.svd(similar[:3, :3])[1] == pytest.approx(np.full(3, 0.9), abs=0.03)


def test_a_matrix_survives_the_way_through_a_file_of_itk(tmp_path):
    rng = np.random.default_rng(0)
    matrix = np.eye(4)
    matrix[:3] += rng.normal(0, 0.2, (3, 4))
    register._write_matrix(matrix, tmp_path / "t.mat")
    assert np.allclose(register._read_matrix(tmp_path / "t.mat"), matrix, atol=1e-6)


def test_a_voxel_lies_in_ants_where_it_lies_in_nibabel():
    affine = np.array([[-2.0, 0, 0, 30], [0, 0.6, -0.8, -9], [0, 0.8, 0.6, 4], [0, 0, 0, 1]])
    image = register._image(np.arange(24.0).reshape(2, 3, 4), affine)
    at = ants.transform_index_to_physical_point(image, (1, 2, 3))
    assert np.allclose(at, [-1, -1, 1] * (affine[:3, :3] @ [1, 2, 3] + affine[:3, 3]))
    assert image[1, 2, 3] == 23


def test_the_field_is_divided_out():
    rng = np.random.default_rng(0)
    x, y, z = 2 * (np.indices((20, 22, 18)) - 10.0)
    ball = x**2 + y**2 + z**2 < 256
    true = np.where(ball, np.where(np.abs(x) < 6, 120, 80), 0) + rng.normal(0, 0.5, ball.shape)
    field = np.exp(0.015 * y)
    even = register.correct_bias(Volume((np.abs(true) * field).astype(np.float32), np.diag([8.0, 8, 8, 1])), ball)

    def spread(values):
        inside = ball & (np.abs(x) >= 6)
        return values[inside].std() / values[inside].mean()

    assert spread(even) < 0.4 * spread(true * field)


def test_a_failure_of_ants_is_a_sentence_with_a_code(monkeypatch, phantom_head):
    def fail(*_, **__):
        raise RuntimeError("Registration failed with error code 1\nitk::ERROR")

    monkeypatch.setattr(ants, "registration", fail)
    monkeypatch.setattr(ants, "n4_bias_field_correction", fail)
    with pytest.raises(
        ImageError, match=r"registration failed on it \(Registration failed with error code 1\)"
    ) as of:
        register.align(read_template(), phantom_head.head, np.eye(4), 6)
    assert of.value.code == "not-prepared"
    with pytest.raises(ImageError, match=r"be prepared; bias correction failed on it"):
        register.correct_bias(phantom_head.head, phantom_head.brain)


def test_without_antspyx_it_says_what_to_install(monkeypatch):
    assert register.version()[0].isdigit()

    def missing(name):
        raise register.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(register.metadata, "version", missing)
    with pytest.raises(DependencyError, match=r"needs antspyx; it is not there; run pip install 'featx\[prepare\]'"):
        register.version()
