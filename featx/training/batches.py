"""Batches for training: packed voxels from the cache, read ahead by a thread, and labels (torch).

Voxels stay as they are stored until they are on the device (`featx.networks.look.to_volumes`). The order of the rows
depends on the seed and the epoch alone: on no thread, on no number of devices, and on nothing that ran before.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from featx.errors import AnalysisError
from featx.extraction.loader import load_ahead
from featx.networks.recipe import Packed
from featx.training.cache import Cache, read_packed


@dataclass(frozen=True)
class Batch:
    """Some images with their labels.

    Attributes
    ----------
    image_ids : tuple of str
    packed : tuple of Packed
        On the host; in memory that a GPU copies from by itself where that was asked for.
    labels : Tensor of shape (n, n_outputs), float64
        NaN where one is missing.
    """

    image_ids: tuple[str, ...]
    packed: tuple[Packed, ...]
    labels: torch.Tensor


def order_rows(
    n: int, seed: int, epoch: int, *, shuffle: bool, weights: NDArray[np.float64] | None = None
) -> NDArray[np.intp]:
    """The rows of an epoch, in their order, shape (n,).

    Parameters
    ----------
    shuffle : bool
        Without, the order is that of the rows, in every epoch.
    weights : ndarray of shape (n,), optional
        0 or more; rows are drawn by them, with replacement.

    Examples
    --------
    >>> order_rows(4, 0, 0, shuffle=False), np.sort(order_rows(4, 0, 7, shuffle=True))
    (array([0, 1, 2, 3]), array([0, 1, 2, 3]))
    """
    rng = np.random.default_rng([seed, epoch])
    if weights is not None:
        return rng.choice(n, n, p=weights / weights.sum())
    return rng.permutation(n) if shuffle else np.arange(n)


def count_batches(n: int, batch_size: int, world_size: int) -> int:
    """How many batches: as few as `batch_size` allows, but so few that no device ever goes without a row.

    Raises
    ------
    AnalysisError
        There are fewer rows than devices.

    Examples
    --------
    >>> count_batches(17, 8, 1), count_batches(17, 8, 2), count_batches(9, 8, 8)
    (3, 3, 1)
    """
    if n < world_size:
        raise AnalysisError(
            f"each device must have a row of every batch; there are {n} rows for {world_size} devices; ask for fewer "
            "devices"
        )
    return min(math.ceil(n / batch_size), n // world_size)


class Batches:
    """The batches of an epoch, anew whenever one iterates; a dataloader for Lightning, without worker processes.

    Batches differ in size by one row at most, and no row is dropped. Of several devices each has its share of every
    batch: together they see what one would see.

    Parameters
    ----------
    cache : Cache
    image_ids : sequence of str
        A row each.
    labels : ndarray of shape (n, n_outputs), float64
        NaN where one is missing.
    batch_size : int
        Rows of a batch, of all devices together, at most (more only where there are as many devices).
    seed : int
    epoch : callable
        Gives the number of the epoch that begins.
    shuffle : bool
        Whether every epoch has an order of its own; else it is that of the rows.
    weights : ndarray of shape (n,), float64, optional
        Draws as many rows as there are by these, with replacement: some come twice, some not at all.
    rank, world_size : int
        Which device this is, and of how many.
    workers : int
        Threads that read ahead, `workers` + 1 batches at most; 0 reads when asked.
    pin : bool
        Copy voxels to where a GPU fetches them by itself; for CUDA alone.

    voxels : bool
        False where ids and labels are enough.

    Attributes
    ----------
    waited_s : float
        Seconds of the last epoch, as far as it went, that were spent waiting for batches.

    Raises
    ------
    AnalysisError
        Rows and labels, or weights, differ in number; weights without shuffling: people who are not trained on are
        scored as they are; fewer rows than devices.
    """

    def __init__(  # noqa: PLR0913 - what a dataloader is told
        self,
        cache: Cache,
        image_ids: Sequence[str],
        labels: NDArray[np.float64],
        *,
        batch_size: int,
        seed: int,
        epoch: Callable[[], int],
        shuffle: bool,
        weights: NDArray[np.float64] | None = None,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 1,
        pin: bool = False,
        voxels: bool = True,
    ) -> None:
        _check(len(image_ids), labels, weights, shuffle=shuffle)
        self.cache = cache
        self.image_ids = tuple(image_ids)
        self.labels = torch.from_numpy(labels.astype(np.float64))
        self.seed, self.epoch, self.shuffle, self.weights = seed, epoch, shuffle, weights
        self.n_batches = count_batches(len(image_ids), batch_size, world_size)
        self.rank, self.world_size, self.workers, self.pin, self.voxels = rank, world_size, workers, pin, voxels
        self.waited_s = 0.0

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Batch]:
        order = order_rows(len(self.image_ids), self.seed, self.epoch(), shuffle=self.shuffle, weights=self.weights)
        shares = [rows[self.rank :: self.world_size] for rows in np.array_split(order, self.n_batches)]
        batches = load_ahead(shares, self._read, self.workers)
        self.waited_s = 0.0
        while True:
            since = time.perf_counter()
            got = next(batches, None)
            self.waited_s += time.perf_counter() - since
            if got is None:
                return
            yield got[1]

    def _read(self, rows: NDArray[np.intp]) -> Batch:
        image_ids = tuple(self.image_ids[row] for row in rows)
        packed = (read_packed(self.cache, image_id) for image_id in image_ids)
        voxels = tuple(map(pinned, packed) if self.pin else packed) if self.voxels else ()
        return Batch(image_ids, voxels, self.labels[rows])


def _check(n: int, labels: NDArray[np.float64], weights: NDArray[np.float64] | None, *, shuffle: bool) -> None:
    if len(labels) != n or (weights is not None and len(weights) != n):
        n_weights = "none" if weights is None else len(weights)
        raise AnalysisError(
            f"labels and weights must be as many as images; {n} images have {len(labels)} rows of labels and "
            f"{n_weights} weights; make them from one table"
        )
    if weights is not None and not shuffle:
        raise AnalysisError(
            "only rows that are trained on may be drawn by weights; these are to come in their order, as for "
            "validation or test; leave the weights out"
        )


def pinned(packed: Packed) -> Packed:
    """The same voxels in memory that is locked for CUDA; torch's allocator keeps it for later batches."""
    return replace(packed, stored=torch.from_numpy(packed.stored).pin_memory().numpy())
