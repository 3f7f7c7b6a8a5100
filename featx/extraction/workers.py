"""Decode images ahead of the network in processes of their own; voxels come back through shared memory.

A worker packs an image into a **slot** of shared memory that is made once; nothing of an image goes through a pipe
but its numbers. The number of slots bounds what is held, whatever the number of images. A worker that dies costs
nothing but time: what was under way is read again, one image at a time, and only an image that kills its reader alone
is given up.

Slots are anonymous files (``memfd``): no name is left behind by a kill, and a container's small ``/dev/shm`` is no
bound. Workers end with their parent, however that one ends.
"""

from __future__ import annotations

import contextlib
import functools
import math
import mmap
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import numpy as np

from featx.errors import DeviceError
from featx.extraction.loader import AHEAD
from featx.extraction.loading import Loaded, Need, died, load_image
from featx.images.image import Image
from featx.networks.recipe import Packed

Item = tuple[Image, Sequence[Need]]
Ready = tuple[Image, Loaded, Callable[[], None]]

_ALIGNED = 64


@dataclass(frozen=True)
class Slot:
    """Shared memory for one image: the file of its maker, by process and descriptor, and its size."""

    pid: int
    descriptor: int
    size_bytes: int


@dataclass(frozen=True)
class Lying:
    """Voxels in a slot: from which byte on, and how they are to be seen."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


Sent = tuple[Loaded, dict[str, Lying]]


def can_share() -> bool:
    """Whether this system has anonymous shared files: Linux has."""
    return hasattr(os, "memfd_create")


def count_slots(workers: int, batch_size: int) -> int:
    """Enough for a batch on the device, one that is gathered, and images under way and ahead.

    Examples
    --------
    >>> count_slots(8, 4)
    18
    """
    return 2 * batch_size + workers + AHEAD


def slot_bytes(voxels: Iterable[int]) -> int:
    """Bytes of a slot that holds an image packed for all recipes, as float32 at worst.

    Parameters
    ----------
    voxels : iterable of int
        That each recipe keeps.

    Examples
    --------
    >>> slot_bytes([10, 16])
    128
    """
    return sum(_aligned(4 * count) for count in voxels)


# --- the caller's side ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def processes(workers: int, n_slots: int, size_bytes: int) -> Iterator[Pool]:
    """Worker processes with their slots; both are gone at the end.

    Parameters
    ----------
    workers : int
    n_slots, size_bytes : int
        From `count_slots` and `slot_bytes`.
    """
    memories = dict(_make_slot(size_bytes) for _ in range(n_slots))
    pool = Pool(workers, memories)
    try:
        yield pool
    finally:
        pool.close()
        for slot in memories:
            os.close(slot.descriptor)


def _make_slot(size_bytes: int) -> tuple[Slot, mmap.mmap]:
    descriptor = os.memfd_create("featx")
    os.ftruncate(descriptor, size_bytes)
    return Slot(os.getpid(), descriptor, size_bytes), mmap.mmap(descriptor, size_bytes)


class Pool:
    """Worker processes, begun anew when one of them dies.

    Parameters
    ----------
    workers : int
    memories : dict of Slot to mmap
    load_into : callable
        What a worker does; of a module that it can import.
    """

    def __init__(
        self,
        workers: int,
        memories: dict[Slot, mmap.mmap],
        load_into: Callable[[Slot, Image, Sequence[Need]], Sent] | None = None,
    ) -> None:
        self.workers = workers
        self.load_into = load_into or load_into_slot
        self.memories = memories
        self.free = deque(memories)
        self.executor = self._begin()

    def _begin(self) -> ProcessPoolExecutor:
        # spawn: a fork would copy locks that threads hold, and a CUDA context does not live through one.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_end_with_parent)

    def close(self) -> None:
        """Let go of the processes; what is under way is not waited for."""
        self.executor.shutdown(wait=False, cancel_futures=True)

    def load(self, items: Iterable[Item]) -> Iterator[Ready]:
        """Images in their order, what became of each, and a function that gives its slot back.

        A slot is given back when nothing looks at its voxels any more; until then it is no other image's.
        """
        waiting: deque[tuple[Item, Slot, Future[Sent]]] = deque()
        for item in items:
            while not self.free or len(waiting) >= self.workers + AHEAD:
                yield self._next(waiting)
            slot = self.free.popleft()
            waiting.append((item, slot, self._submit(slot, item)))
        while waiting:
            yield self._next(waiting)

    def _submit(self, slot: Slot, item: Item) -> Future[Sent]:
        try:
            return self.executor.submit(self.load_into, slot, *item)
        except BrokenProcessPool as error:  # one has just died; `_next` sees to it
            broken: Future[Sent] = Future()
            broken.set_exception(error)
            return broken

    def _next(self, waiting: deque[tuple[Item, Slot, Future[Sent]]]) -> Ready:
        item, slot, future = waiting.popleft()
        try:
            sent = future.result()
        except BrokenProcessPool:
            sent = self._alone(slot, item)
            for at, (other, its, begun) in enumerate(waiting):  # each alone, for any of them may be the culprit
                if begun.done() and not begun.cancelled() and begun.exception() is None:
                    continue
                done: Future[Sent] = Future()
                done.set_result(self._alone(its, other))
                waiting[at] = (other, its, done)
        return item[0], _seen(sent, self.memories[slot]), functools.partial(self.free.append, slot)

    def _alone(self, slot: Slot, item: Item) -> Sent:
        """Read an image with nothing else under way; if its reader dies twice so, it is the image's fault."""
        for _ in range(2):
            self.close()
            self.executor = self._begin()
            with contextlib.suppress(BrokenProcessPool):
                return self.executor.submit(self.load_into, slot, *item).result()
        self.close()
        self.executor = self._begin()
        try:
            self.executor.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise DeviceError(
                "processes that decode must start on this machine; they end at once; look at its memory and its log, "
                'put a script of your own under `if __name__ == "__main__":`, or decode in --threads'
            ) from error
        return died(*item), {}


def _seen(sent: Sent, memory: mmap.mmap) -> Loaded:
    """The same with arrays that look into the slot."""
    loaded, lying = sent
    packed = dict(loaded.packed)
    for key, one in lying.items():
        stored = np.frombuffer(memory, one.dtype, math.prod(one.shape), one.offset).reshape(one.shape)
        packed[key] = replace(packed[key], stored=stored)
    return replace(loaded, packed=packed)


# --- the worker's side ------------------------------------------------------------------------------------------


def _end_with_parent() -> None:
    """A worker waits for work for ever, also when nobody is left to send it any: so watch the parent."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


@functools.cache
def _attached(slot: Slot) -> mmap.mmap:
    descriptor = os.open(f"/proc/{slot.pid}/fd/{slot.descriptor}", os.O_RDWR)
    try:
        return mmap.mmap(descriptor, slot.size_bytes)
    finally:
        os.close(descriptor)


def load_into_slot(slot: Slot, image: Image, needs: Sequence[Need]) -> Sent:
    """Load an image, its voxels into a slot. What finds no room there goes through the pipe."""
    loaded = load_image(image, needs)
    lying: dict[str, Lying] = {}
    sent: dict[str, Packed] = {}
    offset = 0
    for key, one in loaded.packed.items():
        if offset + one.stored.nbytes > slot.size_bytes:
            sent[key] = one
            continue
        np.frombuffer(_attached(slot), one.stored.dtype, one.stored.size, offset)[:] = one.stored.ravel()
        lying[key] = Lying(offset, one.stored.dtype.str, one.stored.shape)
        sent[key] = replace(one, stored=np.empty(0, one.stored.dtype))
        offset += _aligned(one.stored.nbytes)
    return replace(loaded, packed=sent), lying


def _aligned(n_bytes: int) -> int:
    """Up to the next multiple of 64.

    Examples
    --------
    >>> _aligned(1), _aligned(128)
    (64, 128)
    """
    return -(-n_bytes // _ALIGNED) * _ALIGNED
