"""Work on many files: mostly waiting where a disk is behind a network, mostly computing where it is not."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 16
FIRST = 4  # items that are timed
MOSTLY = 4.0  # times as long waited as computed: less than that, threads only quarrel over the interpreter


def pays(elapsed_s: float, processor_s: float) -> bool:
    """Whether threads pay for work that took so long, and so much of the processor.

    Examples
    --------
    >>> pays(1.0, 0.9), pays(1.0, 0.02)
    (False, True)
    """
    return elapsed_s - processor_s > MOSTLY * processor_s


def map_fitting(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results in the order of the items: the first ones made here and timed, the others in threads if that pays.

    Examples
    --------
    >>> list(map_fitting(len, ["a", "bb", "ccc"]))
    [1, 2, 3]
    """
    left = iter(items)
    elapsed_s = processor_s = 0.0
    for item in itertools.islice(left, FIRST):
        start, used = time.perf_counter(), time.thread_time()
        result = work(item)
        elapsed_s += time.perf_counter() - start
        processor_s += time.thread_time() - used
        yield result
    if not pays(elapsed_s, processor_s):
        yield from map(work, left)
        return
    pool = ThreadPoolExecutor(THREADS)
    try:
        yield from pool.map(work, left)
    finally:
        pool.shutdown(cancel_futures=True)
