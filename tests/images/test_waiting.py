"""Threads where work waits, none where it computes; the same results either way."""

import threading
import time

import pytest

from featx.images.finding import waiting
from featx.images.finding.waiting import FIRST, map_fitting


def _where(work):
    names = set()

    def noted(item):
        names.add(threading.current_thread().name)
        return work(item)

    return noted, names


def test_work_that_waits_goes_to_threads():
    work, names = _where(lambda item: time.sleep(0.005) or item * item)
    assert list(map_fitting(work, range(60))) == [item * item for item in range(60)]
    assert len(names) > 4


def test_work_that_computes_stays_here(monkeypatch):
    monkeypatch.setattr(waiting, "pays", lambda elapsed_s, processor_s: False)
    work, names = _where(lambda item: item * item)
    assert list(map_fitting(work, range(60))) == [item * item for item in range(60)]
    assert names == {threading.current_thread().name}


@pytest.mark.parametrize("fails_at", [0, FIRST - 1, FIRST + 3])
def test_an_error_is_handed_on(fails_at):
    def work(item):
        time.sleep(0.003)
        if item == fails_at:
            raise OSError(f"item {item}")
        return item

    with pytest.raises(OSError, match=f"item {fails_at}"):
        list(map_fitting(work, range(20)))
