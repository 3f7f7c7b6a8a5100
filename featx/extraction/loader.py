"""Decode images ahead of the network, in threads and within bounds.

Threads suffice because the time goes into zlib and numpy, which let go of the interpreter. At most
``workers + 2`` images are held at a time, whatever their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from featx.errors import DeviceError, ImageError
from featx.store import Failure

T = TypeVar("T")
Item = TypeVar("Item")
AHEAD = 2


def load_ahead(items: Iterable[Item], load: Callable[[Item], T], workers: int) -> Iterator[tuple[Item, T]]:
    """Results of `load` in the order of `items`, made by `workers` threads ahead of their use.

    Parameters
    ----------
    workers : int
        0 loads in the caller's thread, when asked.
    """
    if workers == 0:
        for item in items:
            yield item, load(item)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="featx-load") as pool:
        waiting: deque[tuple[Item, Future[T]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(load, item)))
                if len(waiting) >= workers + AHEAD:
                    first, result = waiting.popleft()
                    yield first, result.result()
            while waiting:
                first, result = waiting.popleft()
                yield first, result.result()
        finally:
            for _, result in waiting:
                result.cancel()


def attempt(call: Callable[[], T], image_id: str, network: str, step: str) -> tuple[T | None, Failure | None]:
    """What a call gives, or the row of the failures table that says why it gave nothing.

    This is the one place where any exception is caught: an image must never cost another its row.

    Raises
    ------
    DeviceError
        No image is to blame for it.
    """
    try:
        return call(), None
    except DeviceError:
        raise
    except ImageError as error:
        code, sentence = error.code, error.sentence
    except MemoryError as error:
        code, sentence = "out-of-memory", f"one image must fit in memory; it did not ({error}); free some memory"
    except Exception as error:
        code = "network-error" if step == "network" else "unexpected"
        sentence = f"{type(error).__name__}: {error}; if the image is sound, this is a fault of featx: report it"
    text = " ".join(sentence.split())
    return None, {"image_id": image_id, "network": network, "step": step, "code": code, "sentence": text}
