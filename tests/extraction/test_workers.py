"""Decoding in processes of their own: the same voxels, bounded memory, and no image lost when one of them dies."""

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featx.errors import DeviceError
from featx.extraction.engine import Running, extract
from featx.extraction.job import load_job
from featx.extraction.loading import Need, load_image
from featx.extraction.plan import make_request
from featx.extraction.workers import Pool, can_share, count_slots, processes, slot_bytes
from featx.images.image import Image
from featx.images.index import index_images
from featx.images.volume import MNI152_2MM
from featx.networks import recipes
from featx.networks.recipe import to_grey
from featx.networks.sheet import Recipe
from tests.extraction.deadly import load_or_die
from tests.extraction.running import SMALL
from tests.extraction.test_engine import _features, _same

pytestmark = pytest.mark.skipif(not can_share(), reason="anonymous shared files need Linux")

GREY = Need("a", "grey", replace(recipes.slice_recipe(64, recipes.IMAGENET), views=()), "a", False, ())
MEAN = Need("b", "mean", Recipe(MNI152_2MM, recipes.SFCN.steps[:1], ()), "b", False, ())
NEEDS = [GREY, MEAN]
VOXELS = 91 * 109 * 91


def _greys(loaded):
    return {key: to_grey(one.stored.transpose(one.axes), one.points) for key, one in loaded.packed.items()}


def _taken(ready):
    """Everything, with arrays of its own, and the slots given back at once."""
    taken = []
    for image, loaded, give_back in ready:
        taken.append((image, _greys(loaded), loaded.failures))
        give_back()
    return taken


@pytest.mark.parametrize("room", [slot_bytes([VOXELS, VOXELS]), 1000])
def test_voxels_come_back_as_they_are_read_here(brains, room):
    """Through the slots, or through the pipe where a slot has no room."""
    images = index_images(str(brains(7)))
    with processes(2, count_slots(2, 1), room) as pool:
        taken = _taken(pool.load((image, NEEDS) for image in images))
    assert [image for image, _, _ in taken] == images
    for image, greys, failures in taken:
        wanted = _greys(load_image(image, NEEDS))
        assert greys.keys() == wanted.keys() == {"grey", "mean"}
        assert not failures
        for key, values in wanted.items():
            np.testing.assert_array_equal(greys[key], values)


def test_voxels_stay_until_their_slot_is_given_back(brains):
    images = index_images(str(brains(6)))
    with processes(1, count_slots(1, 3), slot_bytes([VOXELS])) as pool:
        held = []
        for one in pool.load((image, [GREY]) for image in images):
            held.append(one)
            if len(held) == 6:  # two batches of three
                for image, loaded, give_back in held:
                    np.testing.assert_array_equal(_greys(loaded)["grey"], _greys(load_image(image, [GREY]))["grey"])
                    give_back()
    assert len(held) == 6


def test_a_worker_that_dies_costs_only_the_image_that_kills_it_alone(brains, tmp_path):
    found = index_images(str(brains(6)))
    fate = ["", "deadly", "", "once", "", ""]
    images = [
        Image(one.image_id, one.participant_id, how, "", one.path) for one, how in zip(found, fate, strict=True)
    ]
    with processes(2, count_slots(2, 1), slot_bytes([VOXELS, VOXELS])) as made:
        pool = Pool(2, made.memories, load_or_die)
        taken = _taken(pool.load((image, NEEDS) for image in images))
        pool.close()
    assert [image.image_id for image, _, _ in taken] == [image.image_id for image in images]
    for image, greys, failures in taken:
        if image.session_id == "deadly":
            assert [(row["network"], row["code"]) for row in failures] == [("a", "worker-died"), ("b", "worker-died")]
            assert "died, twice when it read that image alone" in failures[0]["sentence"]
            assert greys == {}
        else:
            assert not failures
            np.testing.assert_array_equal(greys["grey"], _greys(load_image(image, NEEDS))["grey"])


class _Stillborn(Pool):
    """Its processes end before they begin, as where memory is out, or a script is not guarded."""

    def _begin(self):
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, initializer=os._exit, initargs=(1,))


def test_processes_that_do_not_start_are_no_fault_of_an_image(brains):
    images = index_images(str(brains(1)))
    with processes(1, 1, slot_bytes([VOXELS])) as made:
        pool = _Stillborn(1, made.memories)
        with pytest.raises(DeviceError, match="processes that decode must start on this machine; they end at once"):
            list(pool.load([(images[0], [GREY])]))
        pool.close()


def test_features_are_those_of_threads(brains, tmp_path):
    images = index_images(str(brains(5)))
    job = load_job(make_request("squeezenet1_0.imagenet", weights="random:0", **SMALL), "cpu", Path("unused"))
    extract(images, [job], tmp_path / "threads.h5", device="cpu")
    how = Running(batch_size=1, workers=2, processes=True)
    assert extract(images, [job], tmp_path / "processes.h5", device="cpu", running=how).n_now == 5
    _same(_features(tmp_path / "processes.h5"), _features(tmp_path / "threads.h5"))


SCRIPT = """
import sys, time
from pathlib import Path
from featx.extraction.workers import processes
from featx.images.image import Image
if __name__ == "__main__":
    with processes(2, 4, 64) as pool:
        items = [(Image(name, name, "", "", Path("nowhere.nii")), ()) for name in "ab"]
        next(pool.load(items))
        print(*pool.executor._processes, flush=True)
        time.sleep(60)
"""


def test_workers_end_with_their_parent(tmp_path):
    """A kill -9 of the parent leaves no process behind."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert pids
    process.kill()
    process.wait()
    process.stdout.close()
    until = time.monotonic() + 10
    while time.monotonic() < until and any(_lives(pid) for pid in pids):
        time.sleep(0.1)
    assert not any(_lives(pid) for pid in pids)


def _lives(pid):
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
