"""What the tests of networks share: no gradients, phantoms as volumes, and as what enters a network."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from featx.images.volume import MNI152_2MM, Grid, Volume, grid_affine
from featx.networks.recipe import prepare
from featx.networks.sheet import Network
from tests.conftest import phantom


@pytest.fixture
def no_gradients() -> Iterator[None]:
    """As the engine runs networks."""
    with torch.inference_mode():
        yield


@functools.cache
def phantom_volume(seed: int = 0, grid: Grid = MNI152_2MM) -> Volume:
    """A phantom with its affine."""
    return Volume(np.asfortranarray(phantom(grid, seed), dtype=np.float32), grid_affine(grid))


def phantom_batch(sheet: Network, *seeds: int) -> torch.Tensor:
    """Phantoms on the 2 mm grid after the recipe of a sheet, as a batch (N, 1, I, J, K)."""
    arrays = [prepare(phantom_volume(seed), sheet.recipe, sheet.name, "here") for seed in seeds]
    return torch.from_numpy(np.stack([np.ascontiguousarray(array) for array in arrays])[:, None])
