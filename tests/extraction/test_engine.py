"""The engine on phantoms: nothing lost, nothing mixed up, nothing done twice."""

import gzip
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from featx import store
from featx.errors import DeviceError, ImageError, NetworkError, StoreError
from featx.extraction import loading
from featx.extraction.device import choose_device, default_workers, full_float32, keep_pages
from featx.extraction.engine import Running, extract
from featx.extraction.job import load_job
from featx.extraction.loader import attempt, load_ahead
from featx.extraction.loading import load_image
from featx.extraction.parts import collect, read_precisions
from featx.extraction.plan import make_request
from featx.images.image import Image
from featx.images.index import index_images
from featx.images.volume import MNI152_2MM, grid_affine, write_volume
from featx.networks.look import to_volumes
from tests.conftest import make_set, phantom, write_features
from tests.extraction.running import SMALL, extract_to_its_end, extracting


def _job(seed=0, network="squeezenet1_0.imagenet", **asked):
    return load_job(make_request(network, weights=f"random:{seed}", **{**SMALL, **asked}), "cpu", Path("unused"))


def _run(images, jobs, output, **options):
    told = {name: options.pop(name) for name in ("on_progress", "on_note", "merge") if name in options}
    return extract(images, jobs, output, device="cpu", running=Running(**options), **told)


def _features(path):
    return {name: store.read_set(path, name) for name in store.list_sets(path)}


def _same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert list(first[name].image_id) == list(second[name].image_id)
        np.testing.assert_array_equal(first[name].X, second[name].X)


def test_every_row_belongs_to_its_image(brains, tmp_path):
    images = index_images(str(brains(5)))
    job = _job()
    seen = []
    summary = _run(images[::-1], [job], tmp_path / "f.h5", workers=2, on_progress=seen.append)
    assert (summary.n_images, summary.n_now, summary.n_failed) == (5, 5, 0)
    assert [tally.finished for tally in seen] == [1, 2, 3, 4, 5]
    for name, one in _features(tmp_path / "f.h5").items():
        assert list(one.image_id) == [image.image_id for image in images]
        for at, image in enumerate(images):
            alone = _run([image], [job], tmp_path / f"{at}.h5").sets
            assert alone[name] == (1, one.X.shape[1])
            np.testing.assert_array_equal(_features(tmp_path / f"{at}.h5")[name].X[0], one.X[at])
    assert not (tmp_path / "f.h5.parts").exists()


def test_results_do_not_depend_on_batch_size_or_workers(brains, tmp_path):
    images = index_images(str(brains(5)))
    jobs = [_job()]
    _run(images, jobs, tmp_path / "1.h5", workers=0)
    _run(images, jobs, tmp_path / "2.h5", workers=3)
    _run(images, jobs, tmp_path / "3.h5", batch_size=4)
    _same(_features(tmp_path / "1.h5"), _features(tmp_path / "2.h5"))
    for name, one in _features(tmp_path / "3.h5").items():
        np.testing.assert_allclose(one.X, _features(tmp_path / "1.h5")[name].X, rtol=1e-4, atol=1e-5)


def test_one_read_serves_all_networks(brains, tmp_path, monkeypatch):
    images = index_images(str(brains(3)))
    reads = []
    read = loading.read_image
    monkeypatch.setattr(loading, "read_image", lambda image: reads.append(image.path) or read(image))
    _run(images, [_job(0), _job(1), _job(0, "resnet18.imagenet", taps=["layer1"])], tmp_path / "f.h5")
    assert len(reads) == 3
    assert {name.split("/")[0] for name in store.list_sets(tmp_path / "f.h5")} == {
        "resnet18.imagenet@random-0",
        "squeezenet1_0.imagenet@random-0",
        "squeezenet1_0.imagenet@random-1",
    }


def test_running_again_does_only_what_is_missing_and_a_later_network_adds(brains, tmp_path):
    images = index_images(str(brains(4)))
    output = tmp_path / "f.h5"
    _run(images[:2], [_job(0)], output)
    before = _features(output)
    summary = _run(images, [_job(0)], output)
    assert (summary.n_before, summary.n_now) == (2, 2)
    assert _run(images, [_job(0)], output).n_now == 0
    assert _run(images, [_job(0), _job(1)], output).n_now == 4
    assert len(store.list_sets(output)) == 4
    for name, one in before.items():
        np.testing.assert_array_equal(_features(output)[name].X[:2], one.X)


def test_another_recipe_under_the_same_name_is_refused(brains, tmp_path):
    images = index_images(str(brains(1)))
    _run(images, [_job()], tmp_path / "f.h5")
    with pytest.raises(StoreError, match="in the output already with another recipe"):
        _run(images, [_job(n_slices=3)], tmp_path / "f.h5")


# --- bad images -----------------------------------------------------------------------------------------------


def _spoil(folder):
    """One bad image of each kind beside the good ones: {image_id: code}."""
    affine = grid_affine(MNI152_2MM)

    def path(name):
        return folder / name / "anat" / f"{name}_space-MNI152_desc-brain_T1w.nii.gz"

    write_volume(path("sub-truncated"), phantom(), affine)
    whole = path("sub-truncated").read_bytes()
    path("sub-truncated").write_bytes(whole[: len(whole) // 2])
    path("sub-text").parent.mkdir(parents=True)
    path("sub-text").write_text("participant_id,age\n")
    write_volume(path("sub-4d"), np.stack([phantom(), phantom()], axis=-1), affine)
    write_volume(path("sub-zero"), phantom() * 0, affine)
    spoiled = phantom().astype(np.float32)
    spoiled[40, 50, 40] = np.nan
    write_volume(path("sub-nan"), spoiled, affine)
    write_volume(path("sub-grid"), phantom()[:-1], affine)
    path("sub-zgone").parent.mkdir(parents=True)
    path("sub-zgone").symlink_to(folder / "nowhere.nii.gz")
    return {
        "sub-truncated": "truncated",
        "sub-text": "unreadable",
        "sub-4d": "not-3d",
        "sub-zero": "constant",
        "sub-nan": "non-finite",
        "sub-grid": "wrong-grid",
        "sub-zgone": "missing-file",
    }


def test_a_bad_image_costs_only_itself(brains, tmp_path):
    folder = brains(3)
    codes = _spoil(folder)
    images = index_images(str(folder))
    summary = _run(images, [_job(0), _job(1)], tmp_path / "f.h5", batch_size=3)
    assert (summary.n_now, summary.n_failed) == (3, len(codes))
    for failures in (summary.failures, store.read_failures(tmp_path / "f.h5")):
        assert {row["image_id"]: row["code"] for row in failures} == codes
        assert len(failures) == 2 * len(codes)  # each network says which rows it lacks
        for row in failures:
            assert str(folder / row["image_id"]) in row["sentence"]
    for one in _features(tmp_path / "f.h5").values():
        assert list(one.image_id) == ["sub-00", "sub-01", "sub-02"]


def test_a_mended_image_gets_its_row_and_leaves_the_failures(brains, tmp_path):
    folder = brains(1)
    _spoil(folder)
    images = [image for image in index_images(str(folder)) if image.image_id in ("sub-00", "sub-zero")]
    assert _run(images, [_job()], tmp_path / "f.h5").n_failed == 1
    write_volume(images[1].path, phantom(seed=9), grid_affine(MNI152_2MM))
    assert _run(images, [_job()], tmp_path / "f.h5").n_now == 1
    assert store.read_failures(tmp_path / "f.h5") == []
    assert all(len(one.X) == 2 for one in _features(tmp_path / "f.h5").values())


def test_a_failure_in_a_new_set_stays_though_an_older_set_has_its_row(brains, tmp_path):
    """Rows of another axis are no answer to the one that was asked for now."""
    folder, output = brains(2), tmp_path / "f.h5"
    images = index_images(str(folder))
    _run(images, [_job()], output)
    for image in images:
        image.path.write_bytes(image.path.read_bytes()[:2000])
    assert _run(images, [_job(views=["coronal"])], output).n_failed == 2
    assert {row["code"] for row in store.read_failures(output)} == {"truncated"}
    assert len(store.read_failures(output)) == 2
    for image in images:
        write_volume(image.path, phantom(seed=3), grid_affine(MNI152_2MM))
    assert _run(images, [_job(views=["coronal"])], output).n_now == 2
    assert store.read_failures(output) == []


def test_all_images_bad_is_a_table_of_reasons_not_a_crash(brains, tmp_path):
    folder = brains(0)
    _spoil(tmp_path / "brains")
    summary = _run(index_images(str(folder)), [_job()], tmp_path / "f.h5")
    assert (summary.n_now, summary.n_failed, summary.sets) == (0, 7, {})
    assert len(store.read_failures(tmp_path / "f.h5")) == 7


def test_an_image_may_fit_one_network_and_not_another(brains, tmp_path):
    images = index_images(str(brains(1)))
    sfcn = load_job(make_request("sfcn.ukb_sex", weights="random:0"), "cpu", tmp_path)
    summary = _run(images, [_job(), sfcn], tmp_path / "f.h5")
    assert [(row["network"], row["code"]) for row in summary.failures] == [("sfcn.ukb_sex@random-0", "wrong-grid")]
    assert all(name.startswith("squeezenet") for name in store.list_sets(tmp_path / "f.h5"))


def _away(folder, name="sub-zaway"):
    path = folder / name / "anat" / f"{name}_space-MNI152_desc-brain_T1w.nii.gz"
    write_volume(path, np.roll(phantom(), 8, axis=0), grid_affine(MNI152_2MM))


def _accepting(job, *codes):
    return replace(job, need=replace(job.need, accept=codes))


def test_an_image_that_breaks_the_contract_costs_only_itself_and_may_be_accepted(brains, tmp_path):
    folder = brains(1)
    _away(folder)
    images = index_images(str(folder))
    accepting = _accepting(_job(1), "not-registered")
    summary = _run(images, [_job(0), accepting], tmp_path / "f.h5")
    assert [(row["image_id"], row["network"], row["step"], row["code"]) for row in summary.failures] == [
        ("sub-zaway", "squeezenet1_0.imagenet@random-0", "check", "not-registered")
    ]
    assert "wants a brain that is registered to MNI152" in summary.failures[0]["sentence"]
    told = summary.told["not-registered"]
    assert (told.n_images, told.image_id, set(summary.told)) == (1, "sub-zaway", {"not-registered"})
    (kept,) = store.read_accepted(tmp_path / "f.h5")
    assert (kept["image_id"], kept["network"], kept["code"]) == (
        "sub-zaway",
        "squeezenet1_0.imagenet@random-1",
        "not-registered",
    )
    rows = {name: list(one.image_id) for name, one in _features(tmp_path / "f.h5").items()}
    assert all(ids == (["sub-00", "sub-zaway"] if "random-1" in name else ["sub-00"]) for name, ids in rows.items())


def test_resampled_images_are_still_judged(brains, tmp_path):
    folder = brains(0)
    for name, values in (("sub-a", phantom()), ("sub-b", np.roll(phantom(), 8, axis=0))):
        write_volume(folder / f"{name}_T1w.nii.gz", values[:-1], grid_affine(MNI152_2MM))
    summary = _run(index_images(str(folder)), [_job(resampling=True)], tmp_path / "f.h5")
    assert {row["image_id"]: row["code"] for row in summary.failures} == {"sub-b": "not-registered"}
    assert (summary.n_now, summary.told) == (1, {})


def test_notes_are_counted_and_cost_nothing(brains, tmp_path):
    folder = brains(2)
    for name in ("sub-c", "sub-d"):
        path = folder / name / "anat" / f"{name}_space-MNI152_desc-brain_T1w.nii.gz"
        write_volume(path, phantom().clip(0, 150), grid_affine(MNI152_2MM))
    summary = _run(index_images(str(folder)), [_job(0), _job(1)], tmp_path / "f.h5")
    assert (summary.n_now, summary.n_failed) == (4, 0)
    assert {code: (one.n_images, one.image_id) for code, one in summary.told.items()} == {"clipped": (2, "sub-c")}


def test_what_cannot_be_accepted_is_refused():
    with pytest.raises(NetworkError, match="must name a misfit that may be let through; got 'truncated'"):
        load_job(make_request("squeezenet1_0.imagenet", weights="random:0"), "cpu", Path("no"), accept=["truncated"])


def test_the_look_is_shared_by_all_networks(brains, tmp_path, monkeypatch):
    looks = []
    look = loading.find_out
    monkeypatch.setattr(loading, "find_out", lambda *words: looks.append(words[1]) or look(*words))
    _run(index_images(str(brains(2))), [_job(0), _job(1)], tmp_path / "f.h5")
    assert len(looks) == 2


def _break(job, when):
    """A job whose network fails on batches that `when` says."""

    def run(volumes):
        if when(volumes):
            raise RuntimeError("the kernel of the day is cold")
        return job.run(volumes)

    return replace(job, run=run)


def test_a_batch_that_fails_is_halved_until_only_the_culprit_is_left(brains, tmp_path):
    images = index_images(str(brains(5)))
    (packed,) = load_image(images[3], [_job().need]).packed.values()
    culprit = to_volumes([packed], "cpu")[0]
    job = _break(_job(), lambda volumes: any(torch.equal(one, culprit) for one in volumes))
    summary = _run(images, [job], tmp_path / "f.h5", batch_size=5)
    assert [(row["image_id"], row["code"]) for row in summary.failures] == [("sub-03", "network-error")]
    assert "the kernel of the day is cold" in summary.failures[0]["sentence"]
    assert summary.n_now == 4


def test_a_batch_that_does_not_fit_is_halved(brains, tmp_path):
    images = index_images(str(brains(4)))
    job = _job()

    def run(volumes):
        if len(volumes) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return job.run(volumes)

    small = replace(job, run=run)
    assert _run(images, [small], tmp_path / "f.h5", batch_size=4).n_now == 4


def test_one_image_that_does_not_fit(brains, tmp_path):
    def run(volumes):
        raise torch.OutOfMemoryError("CUDA out of memory")

    job = _job()
    small = replace(job, run=run)
    summary = _run(index_images(str(brains(1))), [small], tmp_path / "f.h5")
    assert [row["code"] for row in summary.failures] == ["out-of-memory"]


def test_features_that_are_not_finite_are_a_failure(brains, tmp_path):
    job = _job()
    broken = replace(job, run=lambda volumes: {name: rows * np.nan for name, rows in job.run(volumes).items()})
    summary = _run(index_images(str(brains(1))), [broken], tmp_path / "f.h5")
    assert [row["code"] for row in summary.failures] == ["non-finite-features"]


def test_attempt_quotes_what_it_did_not_foresee():
    def fail():
        raise KeyError("odd\nthing")

    value, failure = attempt(fail, "a", "n", "read")
    assert value is None
    assert (failure["code"], failure["image_id"], failure["step"]) == ("unexpected", "a", "read")
    assert "KeyError" in failure["sentence"]
    assert "\n" not in failure["sentence"]


def test_load_ahead_keeps_the_order_and_its_bounds():
    running, most = 0, 0

    def load(item):
        nonlocal running, most
        running += 1
        time.sleep(0.002 * (item % 3))
        return item * item

    taken = []
    for item, square in load_ahead(range(40), load, 3):
        most = max(most, running - len(taken))
        taken.append((item, square))
    assert taken == [(item, item * item) for item in range(40)]
    assert most <= 3 + 2


def test_load_ahead_hands_errors_on():
    def load(item):
        raise ImageError("constant", "a sentence")

    for workers in (0, 2):
        with pytest.raises(ImageError, match="a sentence"):
            list(load_ahead([1, 2], load, workers))


# --- interruptions --------------------------------------------------------------------------------------------


def test_killed_at_any_moment_and_run_again_equals_an_unbroken_run(brains, tmp_path):
    folder = brains(12)
    output = tmp_path / "f.h5"
    for kill_after in (1, 2, 4):
        with extracting(folder, output) as (process, told):
            while next(told) != kill_after:
                pass
            process.kill()
        assert process.exitcode == -signal.SIGKILL
        assert not output.exists()
    parts = list((tmp_path / "f.h5.parts").glob("part-*.h5"))
    assert len(parts) >= 1 + 2 + 4 - 3
    assert len(extract_to_its_end(folder, output)) == 12 - len(parts)
    assert len(extract_to_its_end(folder, tmp_path / "whole.h5")) == 12
    _same(_features(output), _features(tmp_path / "whole.h5"))
    assert not (tmp_path / "f.h5.parts").exists()


def test_killed_between_merge_and_clean_up(brains, tmp_path):
    """The parts are merged and still there: merging them again gives the same file."""
    images = index_images(str(brains(3)))
    output = tmp_path / "f.h5"
    _run(images, [_job()], output)
    whole = _features(output)
    (tmp_path / "f.h5.parts").mkdir()
    (tmp_path / "f.h5.parts" / "part-0.h5").write_bytes(output.read_bytes())
    assert _run(images, [_job()], output).n_now == 0
    _same(_features(output), whole)
    assert not (tmp_path / "f.h5.parts").exists()


def test_an_interruption_keeps_what_is_finished(brains, tmp_path):
    images = index_images(str(brains(4)))

    def stop(tally):
        if tally.finished == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(images, [_job()], tmp_path / "f.h5", on_progress=stop)
    assert _run(images, [_job()], tmp_path / "f.h5").n_before == 2


def test_many_writers_for_one_output(brains, tmp_path):
    folder = brains(6)
    output = tmp_path / "f.h5"
    extract_to_its_end(folder, tmp_path / "whole.h5")
    globs = [f"{folder}/sub-0{one}/anat/*.nii.gz" for one in ("[01]", "[23]", "[45]")]
    with ExitStack() as all_of_them:
        writers = [all_of_them.enter_context(extracting(one, output)) for one in globs]
    assert [writer.exitcode for writer, _ in writers] == [0, 0, 0]
    _same(_features(output), _features(tmp_path / "whole.h5"))


def test_a_damaged_part_is_named(brains, tmp_path):
    images = index_images(str(brains(1)))
    (tmp_path / "f.h5.parts").mkdir()
    (tmp_path / "f.h5.parts" / "part-1.h5").write_bytes(b"half")
    with pytest.raises(StoreError, match=r"part-1.h5 is not"):
        _run(images, [_job()], tmp_path / "f.h5")


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux")
def test_a_full_disk_is_one_sentence_and_costs_nothing_that_was_finished(brains, tmp_path):
    images = index_images(str(brains(6)))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        with pytest.raises(StoreError, match="see to space and permissions there and run again"):
            _run(images, [_job()], disk / "f.h5", part_seconds=0)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        summary = _run(images, [_job()], disk / "f.h5")
        assert summary.n_before >= 1
        _run(images, [_job()], tmp_path / "whole.h5")
        _same(_features(disk / "f.h5"), _features(tmp_path / "whole.h5"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_collect_without_parts_does_nothing(tmp_path):
    collect(tmp_path / "f.h5")
    assert list(tmp_path.iterdir()) == []


# --- device ---------------------------------------------------------------------------------------------------


def test_a_device_is_what_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (choose_device("auto"), choose_device("cpu")) == ("cpu", "cpu")
    with pytest.raises(DeviceError, match="--device cuda needs a GPU that torch sees"):
        choose_device("cuda")
    with pytest.raises(DeviceError, match="must be auto, cpu or cuda; got 'tpu'"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (choose_device("auto"), choose_device("cuda:1")) == ("cuda", "cuda:1")
    assert default_workers("cpu") == 1
    assert 1 <= default_workers("cuda") <= 16


def test_the_allocator_takes_the_advice_on_glibc():
    assert keep_pages() == (os.confstr("CS_GNU_LIBC_VERSION") is not None if hasattr(os, "confstr") else False)


def test_a_gz_with_trailing_members_is_read_whole(tmp_path):
    """bgzip writes many members; all of them are the image."""
    write_volume(tmp_path / "a.nii", phantom(), grid_affine(MNI152_2MM))
    raw = (tmp_path / "a.nii").read_bytes()
    middle = len(raw) // 2
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw[:middle]) + gzip.compress(raw[middle:]))
    loaded = load_image(Image("b", "b", "", "", tmp_path / "b.nii.gz"), [_job().need])
    assert not loaded.failures
    assert len(loaded.packed) == 1


def test_a_part_that_is_damaged_inside_is_named(tmp_path):
    folder = tmp_path / "f.h5.parts"
    write_features(folder / "part-1.h5", make_set("n/axial/t/mean", ["a"], seed=1))
    whole = make_set("n/axial/t/mean", ["b"], seed=2)
    write_features(folder / "part-2.h5", whole)
    raw = bytearray((folder / "part-2.h5").read_bytes())
    raw[raw.index(whole.X.tobytes()) + 1] ^= 1
    (folder / "part-2.h5").write_bytes(raw)
    with pytest.raises(StoreError, match=r"part-2.h5 does not .*; it is damaged: remove it, and extract again"):
        collect(tmp_path / "f.h5")


def test_what_killed_merges_left_is_removed(tmp_path):
    write_features(tmp_path / "f.h5.parts" / "part-1.h5", make_set("n/axial/t/mean", ["a"], seed=1))
    (tmp_path / ".f.h5.0123456789ab.tmp").write_bytes(b"half")
    collect(tmp_path / "f.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".f.h5.lock", "f.h5"]


def test_auto_goes_on_in_the_precision_that_the_output_holds(brains, tmp_path):
    images, output = index_images(str(brains(2))), tmp_path / "f.h5"
    asked = make_request("squeezenet1_0.imagenet", weights="random:0", **SMALL)
    half = load_job(asked, "cpu", Path("unused"), precision="bfloat16")
    _run(images[:1], [half], output, merge=False)
    assert read_precisions(output) == {half.label: "bfloat16"}
    again = load_job(asked, "cpu", Path("unused"), precision="auto", held=read_precisions(output))
    assert _run(images, [again], output).n_before == 1
    assert {one.provenance["precision"] for one in _features(output).values()} == {"bfloat16"}
    with pytest.raises(StoreError, match="in the output already with another recipe, precision"):
        _run(images, [load_job(asked, "cpu", Path("unused"), precision="float32")], output)


def test_more_parts_than_a_process_may_open_are_merged_in_turns(tmp_path, monkeypatch):
    monkeypatch.setattr("featx.extraction.parts.PARTS_AT_ONCE", 3)
    folder = tmp_path / "f.h5.parts"
    ids = [f"sub-{at:02d}" for at in range(11)]
    for at, one in enumerate(ids):
        write_features(folder / f"part-{at:02d}.h5", make_set("n/axial/t/mean", [one], seed=at))
    collect(tmp_path / "f.h5")
    merged = store.read_set(tmp_path / "f.h5", "n/axial/t/mean")
    assert list(merged.image_id) == ids
    for at in range(11):
        np.testing.assert_array_equal(merged.X[at], make_set("n/axial/t/mean", [ids[at]], seed=at).X[0])
    assert not folder.exists()


COLLECT = (
    "import sys; from pathlib import Path; from featx.extraction.parts import collect; collect(Path(sys.argv[1]))"
)


def test_many_merges_at_once(tmp_path):
    ids = [f"sub-{at:02d}" for at in range(8)]
    for at, one in enumerate(ids):
        write_features(tmp_path / "f.h5.parts" / f"part-{at}.h5", make_set("n/axial/t/mean", [one]))
    command = [sys.executable, "-c", COLLECT, str(tmp_path / "f.h5")]
    merges = [subprocess.Popen(command) for _ in range(4)]
    assert [merge.wait() for merge in merges] == [0] * 4
    assert list(store.read_set(tmp_path / "f.h5", "n/axial/t/mean").image_id) == ids


def test_a_network_that_is_complete_is_not_run_again_for_the_sake_of_another(brains, tmp_path):
    images = index_images(str(brains(2)))
    runs = []

    def counted(job):
        run = lambda volumes: runs.append(job.label) or job.run(volumes)  # noqa: E731
        return replace(job, run=run)

    first, second = counted(_job(0)), counted(_job(1))
    _run(images, [first], tmp_path / "f.h5")
    runs.clear()
    _run(images, [first, second], tmp_path / "f.h5")
    assert runs == [second.label] * 2


def test_an_id_that_stands_for_another_person_by_now_is_refused(brains, tmp_path):
    images = index_images(str(brains(1)))
    _run(images, [_job()], tmp_path / "f.h5")
    other = [Image(images[0].image_id, "sub-99", "", "", images[0].path)]
    with pytest.raises(StoreError, match="must stand for one participant and session; 'sub-00'"):
        _run(other, [_job()], tmp_path / "f.h5")


def test_matrix_products_keep_full_float32_too():
    """Containers may set TF32 for matrix products in the environment."""
    torch.set_float32_matmul_precision("high")
    try:
        with full_float32("cpu"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    "network, asked, match",
    [
        (
            "alexnet.imagenet",
            {"size": "32"},
            r"alexnet.imagenet must run on its views; .*'size': 32.* not \(",
        ),
        ("squeezenet1_0.imagenet", {"taps": ["features.3.nothing"]}, "the path of a module; 'features.3.nothing'"),
        ("sliceset.encoder1_mean", {"channels": "neighbours"}, "encoder1"),
    ],
)
def test_a_wish_that_a_network_cannot_fulfil_is_refused_before_any_image(network, asked, match):
    with pytest.raises(NetworkError, match=match):
        load_job(make_request(network, weights="random:0", **asked), "cpu", Path("unused"))


def test_a_sheet_that_promises_other_widths_is_refused():
    request = make_request("squeezenet1_0.imagenet", weights="random:0", taps=["fire2"])
    taps = {**request.sheet.taps, "fire2": replace(request.sheet.taps["fire2"], width=7)}
    wrong = replace(request, sheet=replace(request.sheet, taps=taps))
    with pytest.raises(NetworkError, match="'fire2' of squeezenet1_0.imagenet gives 128, the sheet says 7; mend"):
        load_job(wrong, "cpu", Path("unused"))
