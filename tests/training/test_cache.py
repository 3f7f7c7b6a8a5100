"""The cache of volumes: voxels as decoding gives them, once; whole or not there, whoever is killed or fills it."""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from featx.errors import StoreError
from featx.extraction.loading import Need, load_image
from featx.images.image import Image
from featx.images.index import index_images
from featx.images.volume import MNI152_2MM, grid_affine, write_volume
from featx.networks import recipes
from featx.networks.recipe import to_grey
from featx.networks.sheet import Recipe
from featx.training import cache as caching
from featx.training.cache import Cache, fill_cache, open_cache, read_packed
from tests.conftest import phantom

GREY = Need("a", "grey", replace(recipes.slice_recipe(64, recipes.IMAGENET), views=()), "net.a", False, ())
MEAN = Need("b", "mean", Recipe(MNI152_2MM, recipes.SFCN.steps[:1], ()), "net.b", False, ())


def _image(path, values, **header):
    write_volume(path, values, grid_affine(MNI152_2MM), **header)
    return Image(path.name.split(".")[0], "p", "", "", path)


def _grey(packed):
    return to_grey(packed.stored.transpose(packed.axes), packed.points)


def _same(found, wanted):
    assert (found.stored.dtype, found.axes, found.points) == (wanted.stored.dtype, wanted.axes, wanted.points)
    assert found.stored.flags.c_contiguous
    np.testing.assert_array_equal(found.stored, wanted.stored)


def _check(filled, images, need):
    """Every image, in its order, as decoding gives it now."""
    assert filled.image_ids == tuple(image.image_id for image in images)
    for image in images:
        _same(read_packed(filled.cache, image.image_id), load_image(image, [need]).packed[need.recipe_key])


@pytest.fixture
def counted(monkeypatch):
    """Ids of the images that are decoded."""
    decoded = []

    def load(image, needs):
        decoded.append(image.image_id)
        return load_image(image, needs)

    monkeypatch.setattr(caching, "load_image", load)
    return decoded


# --- what is in it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_voxels_are_those_of_decoding_and_keep_their_kind(tmp_path, workers):
    values = phantom()
    images = [
        _image(tmp_path / "c8.nii.gz", values),
        _image(tmp_path / "a16.nii.gz", values.astype(np.int16) * 7),
        _image(tmp_path / "b32.nii.gz", values.astype(np.float32) * np.float32(0.3)),
    ]
    seen = []
    filled = fill_cache(
        images, GREY, tmp_path / "cache", workers=workers, on_progress=lambda *numbers: seen.append(numbers)
    )
    _check(filled, images, GREY)
    assert (filled.n_now, filled.n_before, filled.failures) == (3, 0, ())
    assert seen == [(1, 3), (2, 3), (3, 3)]
    kinds = {image_id: read_packed(filled.cache, image_id).stored.dtype for image_id in filled.image_ids}
    assert kinds == {"c8": np.uint8, "a16": np.int16, "b32": np.float32}
    sizes = {image_id: path.stat().st_size for image_id, path in filled.cache.paths.items()}
    assert sizes == {one: 4096 + 91 * 109 * 91 * kind.itemsize for one, kind in kinds.items()}


@pytest.mark.data
def test_real_brains(data, tmp_path):
    images = index_images(str(data / "ixi"))[:3]
    _check(fill_cache(images, GREY, tmp_path, workers=1), images, GREY)
    packed = [load_image(image, [GREY]).packed["grey"].stored for image in images]
    assert {one.dtype for one in packed} == {np.dtype(np.uint8)}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == sum(one.nbytes + 4096 for one in packed)


def test_arrays_can_be_written_to_and_the_file_stays(brains, tmp_path):
    images = index_images(str(brains(1)))
    filled = fill_cache(images, GREY, tmp_path / "cache", workers=0)
    mine = read_packed(filled.cache, "sub-00").stored
    mine += 1  # torch warns of arrays that cannot be written to
    _check(filled, images, GREY)
    assert (mine != read_packed(filled.cache, "sub-00").stored).all()


def test_no_torch_is_needed():
    script = "import sys\nsys.modules['torch'] = None\nimport featx.training.cache\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- what is decoded again ------------------------------------------------------------------------------------


def test_what_is_there_is_not_decoded_again(brains, tmp_path, counted):
    images = index_images(str(brains(3)))
    fill_cache(images[:2], GREY, tmp_path / "cache", workers=0)
    filled = fill_cache(images, GREY, tmp_path / "cache", workers=0)
    assert (filled.n_now, filled.n_before) == (1, 2)
    assert counted == ["sub-00", "sub-01", "sub-02"]
    opened = open_cache(images, GREY, tmp_path / "cache")
    assert opened.paths == filled.cache.paths
    fill_cache(images, replace(GREY, network="net.c", label="c"), tmp_path / "cache", workers=0)
    assert len(counted) == 3  # another network with the same recipe and contract shares it


def test_a_changed_file_or_mask_another_recipe_contract_or_image_is_decoded(tmp_path, counted):
    folder = tmp_path / "cache"
    image = _image(tmp_path / "brain.nii.gz", phantom())
    fill_cache([image], GREY, folder, workers=0)
    elsewhere = _image(tmp_path / "other" / "brain.nii.gz", phantom(seed=1))  # the same id
    mask = _image(tmp_path / "mask.nii.gz", (phantom() > 0).astype(np.uint8))
    masked = replace(image, mask=str(mask.path))
    stricter = replace(GREY, recipe=replace(GREY.recipe, registered=False))
    for one, need in [(image, MEAN), (image, stricter), (elsewhere, GREY), (replace(image, image_id="x"), GREY)]:
        _check(fill_cache([one], need, folder, workers=0), [one], need)
    _check(fill_cache([masked], GREY, folder, workers=0), [masked], GREY)
    assert counted == ["brain"] * 4 + ["x", "brain"]
    _image(image.path, phantom(seed=2))
    filled = fill_cache([image], GREY, folder, workers=0)
    assert filled.n_now == 1
    _check(filled, [image], GREY)
    assert [fill_cache([masked], GREY, folder, workers=0).n_now for _ in range(2)] == [1, 0]
    os.utime(mask.path, ns=(1, 1))
    assert fill_cache([masked], GREY, folder, workers=0).n_now == 1
    assert fill_cache([elsewhere], GREY, folder, workers=0).n_before == 1


def test_a_failure_is_not_kept_and_costs_no_other_image(brains, tmp_path):
    images = index_images(str(brains(3)))
    whole = images[1].path.read_bytes()
    images[1].path.write_bytes(whole[:2000])
    filled = fill_cache(images, GREY, tmp_path / "cache", workers=1)
    assert filled.image_ids == ("sub-00", "sub-02")
    assert [(row["image_id"], row["network"], row["step"]) for row in filled.failures] == [("sub-01", "a", "read")]
    images[0].path.unlink()  # a file that is not there any more is told, though its voxels are in the cache
    images[1].path.write_bytes(whole)
    filled = fill_cache(images, GREY, tmp_path / "cache", workers=1)
    assert (filled.image_ids, filled.n_now) == (("sub-01", "sub-02"), 1)
    assert [row["code"] for row in filled.failures] == ["missing-file"]
    _check(filled, images[1:], GREY)


def test_what_was_let_through_is_told_again_and_only_to_those_who_accept_it(tmp_path, counted):
    values = np.roll(phantom(), 7, axis=0)
    images = [_image(tmp_path / "away.nii.gz", values), _image(tmp_path / "fits.nii.gz", phantom())]
    accepting = replace(GREY, accept=("not-registered",))
    first = fill_cache(images, accepting, tmp_path / "cache", workers=0)
    loaded = load_image(images[0], [accepting])
    assert first.told == loaded.told
    assert list(loaded.told) == ["not-registered"]
    assert first.accepted == tuple(loaded.accepted)
    assert len(first.accepted) == 1
    other = replace(accepting, network="net.other", label="other")
    again = fill_cache(images, other, tmp_path / "cache", workers=0)
    loaded = load_image(images[0], [other])
    assert (again.told, again.accepted, again.n_before) == (loaded.told, tuple(loaded.accepted), 2)
    assert again.told["not-registered"].startswith("net.other wants a brain that is registered")
    strict = fill_cache(images, GREY, tmp_path / "cache", workers=0)
    assert (strict.image_ids, strict.accepted, strict.n_before) == (("fits",), (), 1)
    assert [row["code"] for row in strict.failures] == ["not-registered"]
    assert list(open_cache(images, GREY, tmp_path / "cache").paths) == ["fits"]
    assert counted == ["away", "fits", "away"]


# --- damage ---------------------------------------------------------------------------------------------------


def _cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def _flip_voxel(path):
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)


def _other_number(path):
    data = path.read_bytes()
    assert data.count(b'["divided-by", 2') == 1
    path.write_bytes(data.replace(b'["divided-by", 2', b'["divided-by", 1'))


def _other_format(path):
    path.write_bytes(path.read_bytes().replace(b"featx-voxels-1", b"featx-voxels-2"))


def _other_image(path):
    path.write_bytes(path.read_bytes().replace(b'"sub-00"', b'"sub-01"'))


@pytest.mark.parametrize(
    "damage, said",
    [
        (_cut, r"it has 906724 bytes, not 906725"),
        (_flip_voxel, "its checksum does not hold"),
        (_other_number, "its checksum does not hold"),
        (_other_format, "it is of the format featx-voxels-2"),
        (_other_image, "it is of 'sub-01'"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b""), "cannot mmap an empty file"),
        (lambda path: path.write_bytes(b"what is this"), "Expecting value"),
    ],
)
def test_what_is_not_as_it_was_written_is_noticed(brains, tmp_path, damage, said):
    images = index_images(str(brains(1)))
    path = fill_cache(images, GREY, tmp_path / "cache", workers=0).cache.paths["sub-00"]
    damage(path)
    with pytest.raises(
        StoreError, match=rf"must read back as it was written; .*voxels of 'sub-00' does not \(.*{said}"
    ):
        read_packed(Cache({"sub-00": path}), "sub-00")
    path.unlink(missing_ok=True)  # as the sentence says
    _check(fill_cache(images, GREY, tmp_path / "cache", workers=0), images, GREY)


@pytest.mark.parametrize("damage", [_cut, _other_format, lambda path: path.write_bytes(b"")])
def test_a_file_that_was_cut_short_is_decoded_again(brains, tmp_path, damage):
    images = index_images(str(brains(2)))
    damage(fill_cache(images, GREY, tmp_path / "cache", workers=0).cache.paths["sub-00"])
    assert list(open_cache(images, GREY, tmp_path / "cache").paths) == ["sub-01"]
    filled = fill_cache(images, GREY, tmp_path / "cache", workers=0)
    assert (filled.n_now, filled.n_before) == (1, 1)
    _check(filled, images, GREY)


def test_an_image_that_is_not_in_it():
    with pytest.raises(StoreError, match="'sub-09' is not among its 0; fill the cache first"):
        read_packed(Cache({}), "sub-09")


# --- disks, kills, crowds -------------------------------------------------------------------------------------


def test_a_full_disk_is_one_sentence_and_what_was_finished_stays(brains, tmp_path):
    images = index_images(str(brains(3)))
    fill_cache(images[:1], GREY, tmp_path / "cache", workers=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))  # half an image
    try:
        with pytest.raises(
            StoreError, match=r"with room; .*voxels could not be written \(.*File too large.*space and"
        ):
            fill_cache(images, GREY, tmp_path / "cache", workers=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".voxels"]
    filled = fill_cache(images, GREY, tmp_path / "cache", workers=2)
    assert (filled.n_now, filled.n_before) == (2, 1)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"must be in a folder with room; .*file/cache could not be written \(.*Not a"
    ):
        fill_cache([], GREY, tmp_path / "file" / "cache", workers=0)


def test_what_killed_writers_left_is_removed_an_hour_later(tmp_path):
    old, young = tmp_path / ".a.voxels.1.tmp", tmp_path / ".a.voxels.2.tmp"
    old.write_text("x")
    young.write_text("x")
    os.utime(old, (time.time() - 3700,) * 2)
    assert fill_cache([], GREY, tmp_path, workers=0).image_ids == ()
    assert list(tmp_path.iterdir()) == [young]


# The parent imports once; each fork fills the folder and is killed at a random moment, or is left to its end.
FORKS = """
import json, os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
from featx.extraction.loading import Need
from featx.images.index import index_images
from featx.networks import recipes
from featx.training.cache import fill_cache, open_cache, read_packed

images, folder, n_kills, n_at_once = index_images(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
need = Need("a", "grey", replace(recipes.slice_recipe(64, recipes.IMAGENET), views=()), "net.a", False, ())

def begin():
    pid = os.fork()
    if not pid:
        filled = fill_cache(images, need, folder, workers=1)
        os._exit(0 if len(filled.image_ids) == len(images) else 1)
    return pid

def standing():  # each is whole, or is not there
    cache = open_cache(images, need, folder)
    for image_id in cache.paths:
        read_packed(cache, image_id)
    return len(cache.paths)

fill_cache(images[:1], need, folder.with_name("warm"), workers=0)  # what is loaded once
since = time.perf_counter()
fill_cache(images[1:3], need, folder.with_name("warm"), workers=0)
chance, seen, each_s = random.Random(3), [], (time.perf_counter() - since) / 2
for _ in range(n_kills):
    pid = begin()
    time.sleep(chance.uniform(0, 6 * each_s))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    seen.append(standing())
    each_s *= 1 if any(seen) else 1.5  # others took the cores meanwhile
    if seen[-1] == len(images):  # begin anew
        for path in folder.glob("*.voxels"):
            path.unlink()
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in [begin() for _ in range(n_at_once)]]
print(json.dumps([seen, codes, standing()]))
"""


@pytest.mark.parametrize("n_kills, n_at_once", [(8, 1), (0, 2)])
def test_killed_at_random_moments_and_filled_by_several_at_once(brains, tmp_path, n_kills, n_at_once):
    folder = brains(8)
    words = [str(folder), str(tmp_path / "cache"), str(n_kills), str(n_at_once)]
    done = subprocess.run([sys.executable, "-c", FORKS, *words], check=True, stdout=subprocess.PIPE, text=True)
    seen, codes, standing = json.loads(done.stdout)
    assert all(after >= before or before == 8 for before, after in pairwise(seen))  # what is finished stays
    assert n_kills == 0 or max(seen) > 0
    assert (codes, standing) == ([0] * n_at_once, 8)
    images = index_images(str(folder))
    filled = fill_cache(images, GREY, tmp_path / "cache", workers=0)
    assert (filled.n_now, filled.n_before) == (0, 8)
    _check(filled, images, GREY)
