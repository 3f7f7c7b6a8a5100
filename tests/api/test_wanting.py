"""Options that extract and plan share, as the engine gets them."""

import pytest

from featx.api.wanting import batch_size_of, running_of
from featx.errors import NetworkError


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "all", ""])
def test_a_batch_size_is_auto_or_a_number(word):
    with pytest.raises(NetworkError, match=f"must be auto, or a number of images, 1 or more; got '{word}'"):
        batch_size_of(word)


def test_a_gpu_gets_processes_and_a_cpu_a_thread(monkeypatch):
    here = running_of("cpu", "auto", -1, False)
    assert (here.batch_size, here.workers, here.processes) == (0, 1, False)
    monkeypatch.setattr("featx.extraction.workers.can_share", lambda: True)
    there = running_of("cuda", "4", 3, False, "2/5")
    assert (there.batch_size, there.workers, there.processes, there.shard) == (4, 3, True, "2/5")
    assert not running_of("cuda", "4", 3, True).processes
    monkeypatch.setattr("featx.extraction.workers.can_share", lambda: False)
    assert not running_of("cuda", "4", 3, False).processes
