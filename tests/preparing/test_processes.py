"""Each image in a process of its own: what ends one costs no other."""

import errno
import os
from pathlib import Path

import pytest

from featx import schema
from featx.errors import StoreError
from featx.images.image import Image
from featx.preparing import processes
from featx.preparing.plan import Settings, plan_tasks


def die_or_answer(answer, task, settings):
    """What a process does here: image 'a' ends it, as the kernel would; others are done."""
    if task.image.image_id == "a":
        os._exit(9)
    answer.send(({"image_id": task.image.image_id, "dof": str(settings.dof)}, None))


def test_a_process_that_dies_costs_only_its_image(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "_begin", die_or_answer)
    images = [Image(name, name, "", "", Path(f"{name}.nii")) for name in "abc"]
    tasks = plan_tasks(images, tmp_path, Settings(dof=6))
    done = {task.image.image_id: outcome for task, outcome in processes.prepare_images(tasks, Settings(dof=6), 2)}
    assert done["b"] == ({"image_id": "b", "dof": "6"}, None)
    assert done["c"][0]["image_id"] == "c"
    row, failure = done["a"]
    assert row is None
    assert list(failure) == schema.names(schema.FAILURES)
    assert (failure["code"], failure["step"]) == ("not-prepared", "prepare")
    assert "that of a.nii ended with exit code 9; if it is -9, memory was short" in failure["sentence"]


class _Answer:
    def __init__(self):
        self.sent = []

    def send(self, outcome):
        self.sent.append(outcome)

    def close(self):
        pass


def test_an_image_that_cannot_be_prepared_is_a_row(monkeypatch, tmp_path):
    answer = _Answer()
    (task,) = plan_tasks([Image("a", "a", "", "", tmp_path / "a.nii")], tmp_path, Settings())
    processes._work(answer, task, Settings())

    def too_large(task, settings):
        raise MemoryError("5 GiB")

    monkeypatch.setattr(processes, "prepare_image", too_large)
    processes._work(answer, task, Settings())
    assert [failure["code"] for _, failure in answer.sent] == ["missing-file", "out-of-memory"]
    assert "one image must fit in memory" in answer.sent[1][1]["sentence"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_brain_that_cannot_be_written_is_a_row(monkeypatch, tmp_path, number):
    answer = _Answer()
    (task,) = plan_tasks([Image("a", "a", "", "", tmp_path / "a.nii")], tmp_path, Settings())

    def refuse(task, settings):
        raise OSError(number, os.strerror(number), "out/x.nii.gz")

    monkeypatch.setattr(processes, "prepare_image", refuse)
    processes._work(answer, task, Settings())
    ((row, failure),) = answer.sent
    assert row is None
    assert failure["code"] in schema.REASONS
    assert failure["code"] == "not-written"
    assert f"could not be ([Errno {number}] {os.strerror(number)}: 'out/x.nii.gz'); mend" in failure["sentence"]


def run_out_of_room(answer, task, settings):
    """What a process does here: it finds the disk full, as one that writes would."""
    answer.send(processes.unwritten(task, OSError(errno.ENOSPC, "No space left on device")))


def test_a_full_disk_ends_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "_begin", run_out_of_room)
    images = [Image(name, name, "", "", Path(f"{name}.nii")) for name in "abcdef"]
    tasks = plan_tasks(images, tmp_path, Settings())
    begun = []
    monkeypatch.setattr(processes, "prepare_apart", _counted(processes.prepare_apart, begun))
    with pytest.raises(StoreError, match=r"the disk of an output must have room; .* is full .*; make room, and run"):
        list(processes.prepare_images(tasks, Settings(), 1))
    assert len(begun) < len(tasks)


def _counted(act, begun):
    def count(task, settings):
        begun.append(task)
        return act(task, settings)

    return count
