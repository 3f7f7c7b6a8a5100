"""The device: which one, how many threads beside it, and full float32 on it (torch)."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterable, Iterator

import torch

from featx.errors import DeviceError

MOST_WORKERS = 16
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def choose_device(wanted: str) -> str:
    """ "auto" takes a GPU if torch sees one; anything else is taken at its word.

    Raises
    ------
    DeviceError
        CUDA was asked for and is not there.
    """
    there = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda" if there else "cpu"
    if wanted.startswith("cuda") and not there:
        raise DeviceError(
            f"--device {wanted} needs a GPU that torch sees; torch {torch.__version__} sees none; "
            "look at nvidia-smi and at the driver, or ask for --device cpu"
        )
    if wanted != "cpu" and not wanted.startswith("cuda"):
        raise DeviceError(f"a device must be auto, cpu or cuda; got {wanted!r}")
    return wanted


def default_workers(device: str) -> int:
    """Who decode: one thread beside a network on the CPU; for a GPU as many processes as there are cores to spare."""
    return 1 if device == "cpu" else max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) - 1))


def keep_pages() -> bool:
    """Tell glibc to keep the pages of large blocks instead of giving each back to the kernel, which zeroes it anew.

    Activations of 3D networks are hundreds of MB; half of the forward time on a CPU goes into that zeroing.
    Returns whether the allocator took it (other C libraries do not know the setting; nothing else changes there).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    most = 2**31 - 1
    return bool(mallopt(_M_MMAP_THRESHOLD, most)) and bool(mallopt(_M_TRIM_THRESHOLD, most))


@contextlib.contextmanager
def pinned(memories: Iterable[mmap.mmap], device: str) -> Iterator[bool]:
    """Lock shared memory for a GPU, which then copies from it without the processor; whether that was done.

    Parameters
    ----------
    memories : iterable of mmap
    device : str
    """
    locked: list[int] = []
    if device.startswith("cuda"):
        cudart = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        for memory in memories:
            address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            if int(cudart.cudaHostRegister(address, len(memory), 0)) != 0:
                break  # the system allows no more: the copies are slower, and the same
            locked.append(address)
    try:
        yield bool(locked)
    finally:
        for address in locked:
            cudart.cudaHostUnregister(address)


@contextlib.contextmanager
def full_float32(device: str) -> Iterator[None]:
    """No gradients; full float32 on a GPU, where TF32 would be faster; a CPU allocator that keeps its pages.

    cuDNN takes TF32 for convolutions unless it is told otherwise; matrix products take it where the environment or
    somebody's code asked for it.
    """
    if device == "cpu":
        keep_pages()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
