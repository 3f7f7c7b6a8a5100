"""Phantoms, small feature files, and the real data where FEATX_TEST_DATA names them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featx import schema, store
from featx.images.template import template_on
from featx.images.volume import MNI152_2MM, Grid, grid_affine, write_volume
from featx.store import FeatureSet


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; tests that ask for it are skipped where there is none."""
    folder = os.environ.get("FEATX_TEST_DATA", "")
    if not folder:
        pytest.skip("FEATX_TEST_DATA is not set: the real data are not part of the project")
    return Path(folder)


@functools.cache
def _brain(grid: Grid) -> NDArray[np.bool_]:
    return template_on(grid).data > 0


def phantom(grid: Grid = MNI152_2MM, seed: int = 0) -> NDArray[np.uint8]:
    """The template's outline with smooth texture, asymmetric in every axis, a bright marker in the first corner."""
    rng = np.random.default_rng(seed)
    at = np.meshgrid(*(np.linspace(-1, 1, length) for length in grid.shape), indexing="ij", sparse=True)
    waves = sum(np.sin(rng.uniform(2, 9) * axis + rng.uniform(0, 6)) for axis in at)
    values = (140 + 30 * waves + 20 * at[0] + 10 * at[1]) * _brain(grid)
    values[tuple(slice(length // 5, length // 5 + 4) for length in grid.shape)] = 250
    return values.clip(0, 255).astype(np.uint8)


@pytest.fixture
def brains(tmp_path: Path) -> Callable[[int], Path]:
    """A function that writes n phantoms as a BIDS tree and gives its folder."""

    def make(n: int) -> Path:
        folder = tmp_path / "brains"
        for at in range(n):
            name = f"sub-{at:02d}"
            path = folder / name / "anat" / f"{name}_space-MNI152_desc-brain_T1w.nii.gz"
            write_volume(path, phantom(seed=at), grid_affine(MNI152_2MM))
        return folder

    return make


def make_set(name: str, ids: list[str], n_features: int = 3, seed: int = 0, **provenance: str) -> FeatureSet:
    """A feature set of random numbers with full provenance."""
    facts = {column: f"some {column}" for column in schema.names(schema.PROVENANCE)} | provenance
    X = np.random.default_rng(seed).normal(size=(len(ids), n_features)).astype(np.float32)
    as_ids = np.array(ids, dtype=object)
    return FeatureSet(name, X, as_ids, as_ids, np.array([""] * len(ids), dtype=object), facts)


def write_features(path: Path, *sets: FeatureSet) -> Path:
    """A feature file with these sets."""
    store.write_sets(path, sets)
    return path
