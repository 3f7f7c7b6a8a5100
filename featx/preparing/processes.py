"""Prepare many images, each in a process of its own: what kills one (memory, a fault of ITK) costs only its image.

ITK takes its number of threads from the environment when it is loaded, so whoever calls sets it before (the command
line does: one). A process takes three seconds to load ANTs, an image a minute or two.
"""

from __future__ import annotations

import errno
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection

from featx import schema
from featx.errors import ImageError, StoreError, first_line
from featx.images.image import where
from featx.preparing.derivative import prepare_image
from featx.preparing.plan import Settings, Task

Row = dict[str, str]
Outcome = tuple[Row | None, Row | None]  # a row of PREPARED, or one of FAILURES
_FULL = (errno.ENOSPC, errno.EDQUOT)


def prepare_images(tasks: Sequence[Task], settings: Settings, n_jobs: int) -> Iterator[tuple[Task, Outcome]]:
    """Prepare images, `n_jobs` at a time; outcomes come as they are done.

    Parameters
    ----------
    tasks : sequence of Task
    settings : Settings
    n_jobs : int
        Processes.

    Yields
    ------
    Task and Outcome
        The row of the image, or the row of the failures table that says why it has none.

    Raises
    ------
    StoreError
        The disk is full: no other image would fare better.
    """
    with ThreadPoolExecutor(n_jobs, thread_name_prefix="featx-prepare") as pool:
        waiting = {pool.submit(prepare_apart, task, settings): task for task in tasks}
        try:
            for result in as_completed(waiting):
                yield waiting[result], result.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def prepare_apart(task: Task, settings: Settings) -> Outcome:
    """Prepare one image in a new process.

    Raises
    ------
    StoreError
        As `prepare_images`.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_begin, args=(there, task, settings), daemon=True)
    process.start()
    there.close()
    try:
        outcome: Outcome | StoreError = here.recv()
    except EOFError:  # it ended without a word
        process.join()
        outcome = None, died(task, process.exitcode)
    finally:
        here.close()
    process.join()
    if isinstance(outcome, StoreError):
        raise outcome
    return outcome


def died(task: Task, code: int | None) -> Row:
    """The row of an image whose process ended before it was done."""
    sentence = (
        f"a process must live until its image is prepared; that of {where(task.image)} ended with exit code {code}; "
        "if it is -9, memory was short (--jobs 1); else what it printed says why"
    )
    return _failure(task, "not-prepared", sentence)


def unwritten(task: Task, error: OSError) -> Outcome | StoreError:
    """The row of an image whose brain could not be written, or what ends the run: a disk that is full."""
    said = " ".join(str(error).split())
    if error.errno in _FULL:
        return StoreError(
            f"the disk of an output must have room; that of {task.output} is full ({said}); make room, and run the "
            "same command again: what was finished is kept"
        )
    sentence = (
        f"what is prepared must be written; that of {where(task.image)} could not be ({said}); mend the permissions "
        "or the disk, and run the same command again"
    )
    return None, _failure(task, "not-written", sentence)


def _begin(answer: Connection, task: Task, settings: Settings) -> None:
    """The new process; Ctrl-C ends it at once and without a word, for the one that started it says what there is."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _work(answer, task, settings)


def _work(answer: Connection, task: Task, settings: Settings) -> None:
    """What it does; anything else than these errors ends it, with its traceback on stderr."""
    try:
        outcome: Outcome | StoreError = prepare_image(task, settings), None
    except ImageError as error:
        outcome = None, _failure(task, error.code, error.sentence)
    except MemoryError as error:
        sentence = (
            f"one image must fit in memory; {where(task.image)} did not ({first_line(error)}); free some memory"
        )
        outcome = None, _failure(task, "out-of-memory", sentence)
    except OSError as error:
        outcome = unwritten(task, error)
    answer.send(outcome)
    answer.close()


def _failure(task: Task, code: str, sentence: str) -> Row:
    text = " ".join(sentence.split())
    return {schema.IMAGE_ID: task.image.image_id, "network": "", "step": "prepare", "code": code, "sentence": text}
