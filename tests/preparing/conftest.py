"""A head that is made around the template's brain: dark skull, bright scalp, a neck, a field of the coil."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from featx.images.template import read_template, template_depth_mm
from featx.images.volume import Volume
from featx.preparing import brain, register

os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")  # as the command line does, before ants is loaded

SHAPE, VOXEL_MM = (81, 96, 90), 2.5
MARKER_MM = (-38.0, -20.0, 30.0)  # in the template: in the left hemisphere


@dataclass(frozen=True)
class Phantom:
    """A head in scanner space, where its brain is, and how the template lies in it."""

    head: Volume
    brain: NDArray[np.bool_]
    matrix: NDArray[np.float64]


def make_head() -> Phantom:
    """RAS, axes of three lengths; the brain is smaller than the template's, nods by 8 degrees and lies 30 mm away."""
    angle = np.radians(8)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    matrix[:3, :3] *= [0.9, 0.92, 0.88]
    matrix[:3, 3] = 12, 25, -8
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    affine[:3, 3] = -90, -115, -105
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    to_template = np.linalg.inv(matrix)
    there = points @ to_template[:3, :3].T + to_template[:3, 3]
    at = np.moveaxis((there - [90, -126, -72]) / [-2, 2, 2], -1, 0)
    grey = ndimage.map_coordinates(read_template().data, at, order=1)
    depth = ndimage.map_coordinates(np.pad(template_depth_mm(), 20, mode="edge"), at + 20, order=1, mode="nearest")
    outer = np.linalg.norm((there - [0, -18, 8]) / [88, 105, 92], axis=-1)
    neck = (np.linalg.norm(there[..., :2] - [0, -35], axis=-1) < 45) & (there[..., 2] < -45)
    head = np.where((outer < 1) | neck, 110.0, 0.0)
    head[depth > -9] = 12
    inside = depth > 0
    head[inside] = grey[inside] / 2
    head[np.linalg.norm(there - MARKER_MM, axis=-1) < 8] = 150
    field = 1 + 0.15 * (points[..., 0] / 100)
    noise = np.random.default_rng(0).normal(0, 1.5, SHAPE)
    return Phantom(Volume(np.abs(head * field + noise).astype(np.float32), affine), inside, matrix)


@pytest.fixture(scope="session")
def phantom_head() -> Phantom:
    return make_head()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coarse registration and a short bias correction."""
    monkeypatch.setattr(register, "_N4_ITERATIONS", [5])
    monkeypatch.setattr(brain, "COARSE", (register.Level(4, 2.0, 40),))
    monkeypatch.setattr(brain, "FINE", (register.Level(4, 2.0, 40), register.Level(2, 1.0, 8)))
