"""Batches on the device, its memory and its loss, on a CPU that plays the GPU where need be."""

import ctypes
import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from featx.errors import DeviceError
from featx.extraction import batches, device
from featx.extraction.batches import Limits, find_batch_size, guarded, run_batches
from featx.extraction.engine import Running, extract
from featx.extraction.job import load_job
from featx.extraction.loading import load_image
from featx.extraction.plan import make_request
from featx.images.index import index_images
from tests.extraction.test_engine import SMALL


def _job(seed=0):
    request = make_request("squeezenet1_0.imagenet", weights=f"random:{seed}", **SMALL)
    return load_job(request, "cpu", Path("unused"))


def _run_out_of_memory_above(job, most, seen):
    def run(volumes):
        seen.append(len(volumes))
        if len(volumes) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return job.run(volumes)

    return replace(job, run=run)


def test_a_batch_that_does_not_fit_is_halved_once_and_said_once(brains, tmp_path):
    seen, notes = [], []
    job = _run_out_of_memory_above(_job(), 2, seen)
    summary = extract(
        index_images(str(brains(9))), [job], tmp_path / "f.h5", device="cpu", running=Running(batch_size=4),
        on_note=notes.append,
    )  # fmt: skip
    assert (summary.n_now, summary.n_failed) == (9, 0)
    assert seen == [4, 2, 2, 2, 2, 1]  # the next batches are of two from the start
    assert notes == [
        "4 images at a time do not fit the device for squeezenet1_0.imagenet@random-0; fewer are taken from here on"
    ]


def test_a_lost_gpu_ends_the_run_and_blames_no_image(brains, tmp_path):
    job = _job()
    images = index_images(str(brains(4)))

    def run(volumes, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later")
        return job.run(volumes)

    with pytest.raises(DeviceError, match=r"cpu was lost \(CUDA error: unspecified launch failure\); what was finis"):
        extract(images, [replace(job, run=run)], tmp_path / "f.h5", device="cpu")
    summary = extract(images, [job], tmp_path / "f.h5", device="cpu")
    assert (summary.n_before, summary.n_now, summary.n_failed) == (2, 2, 0)


def test_memory_of_the_host_is_memory_too():
    def fail():
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(MemoryError, match="tried to allocate 9 bytes"):
        guarded(fail, "cpu")()


def test_beside_a_gpu_a_batch_is_fetched_when_the_next_is_sent(brains, monkeypatch):
    """The device computes while the caller goes on: images are given back one batch later, in order, each once."""
    monkeypatch.setattr(batches, "to_volumes", lambda packed, _: to_volumes(packed, "cpu"))
    job, events = _job(), []
    images = index_images(str(brains(5)))

    def run(volumes):
        events.append("sent")
        return job.run(volumes)

    ready = (
        (image, load_image(image, [job.need]), lambda image=image: events.append(image.image_id)) for image in images
    )
    limits = Limits({job.label: 2})
    with torch.inference_mode():
        results = list(run_batches(ready, [replace(job, run=run)], "cuda", limits, events.append))
    assert [result.image for result, _ in results] == images
    assert events == ["sent", "sent", "sub-00", "sub-01", "sent", "sub-02", "sub-03", "sub-04"]
    for result, _ in results:
        packed = load_image(result.image, [job.need]).packed[job.need.recipe_key]
        with torch.inference_mode():
            wanted = job.run(to_volumes([packed], "cpu"))
        for name, rows in wanted.items():
            np.testing.assert_allclose(result.rows[name], rows[0].numpy(), rtol=1e-4, atol=1e-5)


to_volumes = batches.to_volumes


def test_a_batch_size_is_found_from_two_passes(monkeypatch):
    """A CPU plays a GPU whose passes need 1 GB and 1.5 GB an image, of 20 GB."""
    job, sizes = _job(), []

    def run(volumes):
        sizes.append(len(volumes))
        return {}

    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda shape, device: zeros((1,)).expand(shape[0]))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: int(1e9 + 1.5e9 * sizes[-1]))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: int(1e9))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(19e9), int(20e9)))
    assert find_batch_size(replace(job, run=run), "cuda") == 8  # 1 + 1.5 n <= 18 holds up to 11
    assert sizes == [1, 2]
    assert find_batch_size(job, "cpu") == 1

    def too_large(volumes):
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert find_batch_size(replace(job, run=too_large), "cuda") == 1


class _Cudart:
    """What cudaHostRegister is given; it refuses the third block."""

    def __init__(self):
        self.locked = []

    def cudaHostRegister(self, address, size, flags):  # noqa: N802
        if len(self.locked) == 2:
            return 2
        self.locked.append(address)
        return 0

    def cudaHostUnregister(self, address):  # noqa: N802
        self.locked.remove(address)
        return 0


def test_slots_are_locked_for_a_gpu_as_far_as_the_system_allows(monkeypatch):
    cudart = _Cudart()
    monkeypatch.setattr(torch.cuda, "cudart", lambda: cudart)
    memories = [mmap.mmap(-1, 4096) for _ in range(3)]
    addresses = [ctypes.addressof(ctypes.c_char.from_buffer(memory)) for memory in memories]
    with device.pinned(memories, "cuda") as locked:
        assert locked
        assert cudart.locked == addresses[:2]
    assert cudart.locked == []
    with device.pinned(memories, "cpu") as locked:
        assert not locked
