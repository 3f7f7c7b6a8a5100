"""Batches of training: which rows come when, on one device and on several; what is read ahead, and waited for."""

import threading
import time

import numpy as np
import pytest
import torch

from featx.errors import AnalysisError, StoreError
from featx.networks.look import to_volumes
from featx.networks.recipe import Packed, to_grey
from featx.training import batches as module
from featx.training.batches import Batches, count_batches, order_rows
from featx.training.cache import Cache

IDS = [f"sub-{at:02d}" for at in range(20)]
LABELS = np.stack([np.arange(20.0), 100 - np.arange(20.0)], axis=1)
LABELS[3, 1] = np.nan


@pytest.fixture
def read(monkeypatch):
    """Volumes without files, all voxels of sub-07 are 7; the ids that were read, in their order."""
    ids = []

    def read_packed(cache, image_id):
        ids.append(image_id)
        if image_id == "sub-lost":
            raise StoreError("it is lost")
        stored = np.full((2, 3, 5), int(image_id[-2:]), dtype=np.uint8)
        return Packed(stored, (2, 1, 0), (("divided-by", 2.0),))

    monkeypatch.setattr(module, "read_packed", read_packed)
    return ids


def _make(n=20, **settings):
    return Batches(Cache({}), IDS[:n], LABELS[:n], **{"seed": 0, "epoch": lambda: 0, "shuffle": True, **settings})


def _ids(batches):
    return [batch.image_ids for batch in batches]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "batch_size, sizes", [(8, [7, 7, 6]), (20, [20]), (50, [20]), (3, [3] * 6 + [2]), (1, [1] * 20)]
)
def test_every_row_comes_once_with_its_voxels_and_labels(read, batch_size, sizes, shuffle):
    batches = _make(batch_size=batch_size, shuffle=shuffle)
    found = list(batches)
    assert [len(batch.image_ids) for batch in found] == sizes
    assert len(batches) == len(sizes)
    order = [image_id for batch in found for image_id in batch.image_ids]
    assert sorted(order) == IDS
    assert (order == IDS) is not shuffle
    for batch in found:
        rows = [int(image_id[-2:]) for image_id in batch.image_ids]
        np.testing.assert_array_equal(batch.labels.numpy(), LABELS[rows].astype(np.float32))  # NaN stays
        assert batch.labels.dtype == torch.float64
        volumes = to_volumes(batch.packed, "cpu")
        assert volumes.shape == (len(rows), 1, 5, 3, 2)
        assert volumes[:, 0, 0, 0, 0].tolist() == [row / 2 for row in rows]


def test_the_order_depends_on_seed_and_epoch_alone(read):
    epoch = [0]
    batches = _make(batch_size=6, epoch=lambda: epoch[0])
    first = _ids(batches)
    epoch[0] = 1
    second = _ids(batches)
    assert second != first
    torch.manual_seed(5)
    epoch[0] = 0
    assert _ids(batches) == first
    assert _ids(_make(batch_size=6, epoch=lambda: 1, workers=0)) == second
    assert _ids(_make(batch_size=6, seed=1)) not in (first, second)
    straight = _make(batch_size=6, shuffle=False, epoch=lambda: epoch[0])
    assert sum(_ids(straight), ()) == tuple(IDS)


def test_rows_are_drawn_by_weights():
    weights = np.array([0.0, 1.0, 3.0])
    counts = np.zeros(3)
    for epoch in range(2000):
        rows = order_rows(3, 0, epoch, shuffle=True, weights=weights)
        assert rows.shape == (3,)
        counts += np.bincount(rows, minlength=3)
    assert counts[0] == 0
    assert abs(counts[2] / 6000 - 0.75) < 4 * (0.75 * 0.25 / 6000) ** 0.5
    assert len({tuple(order_rows(3, 0, epoch, shuffle=True, weights=weights)) for epoch in range(50)}) > 3


def test_drawn_rows_come_in_batches(read):
    weights = np.zeros(20)
    weights[[2, 5]] = 1
    batches = _make(batch_size=8, weights=weights)
    assert [len(ids) for ids in _ids(batches)] == [7, 7, 6]
    assert set(read) == {"sub-02", "sub-05"}


@pytest.mark.parametrize(
    "n, batch_size, world_size", [(20, 8, 2), (20, 8, 3), (9, 8, 8), (7, 2, 4), (20, 6, 1), (3, 1, 3)]
)
def test_devices_share_every_batch_and_have_equally_many(read, n, batch_size, world_size):
    ranks = [_ids(_make(n, batch_size=batch_size, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({len(one) for one in ranks}) == 1
    assert all(ids for one in ranks for ids in one)  # none ever waits for the others without a row of its own
    for shares in zip(*ranks, strict=True):
        lengths = [len(ids) for ids in shares]
        assert max(lengths) - min(lengths) <= 1
        assert sum(lengths) <= max(batch_size, 2 * world_size - 1)
    assert sorted(image_id for one in ranks for ids in one for image_id in ids) == IDS[:n]
    alone = _ids(_make(n, batch_size=batch_size))
    if len(alone) == len(ranks[0]):  # the same steps, whatever the number of devices
        together = [set().union(*shares) for shares in zip(*ranks, strict=True)]
        assert together == [set(ids) for ids in alone]


def test_more_devices_than_rows():
    with pytest.raises(AnalysisError, match="there are 2 rows for 3 devices; ask for fewer"):
        count_batches(2, 8, 3)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"weights": np.ones(19)}, "20 images have 20 rows of labels and 19 weights"),
        ({"weights": np.ones(20), "shuffle": False}, "only rows that are trained on may be drawn by weights"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, said):
    with pytest.raises(AnalysisError, match=said):
        _make(batch_size=8, **settings)


def test_labels_of_other_people_are_refused():
    with pytest.raises(AnalysisError, match="20 images have 18 rows of labels and none weights"):
        Batches(Cache({}), IDS, LABELS[:18], batch_size=8, seed=0, epoch=lambda: 0, shuffle=True)


def test_little_is_read_ahead_and_nothing_goes_on_when_nobody_listens(read):
    threads = threading.active_count()
    batches = _make(batch_size=1)
    running = iter(batches)
    next(running)
    until = time.monotonic() + 10
    while len(read) < 3 and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(0.05)
    assert len(read) == 3  # the one that came, and two
    running.close()
    assert threading.active_count() == threads
    seen = len(read)
    time.sleep(0.05)
    assert len(read) == seen
    assert len(list(batches)) == 20  # and anew


def test_what_cannot_be_read_ends_the_epoch(read):
    batches = Batches(
        Cache({}), ["sub-00", "sub-lost"], LABELS[:2], batch_size=1, seed=0, epoch=lambda: 0, shuffle=False
    )
    running = iter(batches)
    assert next(running).image_ids == ("sub-00",)
    with pytest.raises(StoreError, match="it is lost"):
        next(running)


def test_time_that_was_waited_is_told(read, monkeypatch):
    fast = module.read_packed

    def slow(cache, image_id):
        time.sleep(0.03)
        return fast(cache, image_id)

    batches = _make(batch_size=4)
    for _ in batches:
        time.sleep(0.002)
    assert batches.waited_s < 0.4
    monkeypatch.setattr(module, "read_packed", slow)
    list(batches)
    assert batches.waited_s > 0.55  # 20 images of 30 ms
    monkeypatch.setattr(module, "read_packed", fast)
    list(batches)
    assert batches.waited_s < 0.4  # of the last epoch alone


def test_voxels_for_a_gpu_lie_in_locked_memory(read, monkeypatch):
    """torch's pinned copy is played by a plain one."""
    made = []

    def pin_memory(tensor):
        made.append(tensor.clone())
        return made[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    found = [one for batch in _make(batch_size=8, pin=True, shuffle=False) for one in batch.packed]
    for at, (packed, copy) in enumerate(zip(found, made, strict=True)):
        assert packed.stored.__array_interface__["data"][0] == copy.data_ptr()
        np.testing.assert_array_equal(to_grey(packed.stored, packed.points), np.full((2, 3, 5), at / 2))
        assert packed.axes == (2, 1, 0)
    assert not [one for batch in _make(batch_size=8) for one in batch.packed if len(made) > 20]
