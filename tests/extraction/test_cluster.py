"""Extraction on dask clusters: the same bits as here, whatever dies; and a sentence where a cluster is of no use."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import torch

from featx import store
from featx.errors import DependencyError, DeviceError, NetworkError, StoreError, WeightsError
from featx.extraction import cluster, engine, tasks
from featx.extraction.cluster import extract_on_cluster
from featx.extraction.engine import Running, extract
from featx.extraction.job import load_job
from featx.extraction.plan import make_request, plan_sets
from featx.extraction.shards import (
    Fitness,
    Outcome,
    Shard,
    check_fitness,
    choose_cache,
    count_shards,
    decide,
    from_anywhere,
    is_suspect,
    make_asked,
    make_shards,
    plan_shards,
    whole_path,
)
from featx.images.image import Image
from featx.images.index import index_images
from featx.images.volume import MNI152_2MM, grid_affine, write_volume
from featx_cli.cluster import DASHBOARD, extracting_on
from featx_cli.console import cache_dir
from tests.conftest import phantom

distributed = pytest.importorskip("distributed")

NETWORK = "squeezenet1_0.imagenet"
SMALL = {"taps": ["fire2", "fire5"], "views": ["axial"], "n_slices": 2}
QUICK = Running(batch_size=1, part_seconds=0.0)
N = 10


def asking(*seeds, device="cpu"):
    requests = [make_request(NETWORK, weights=f"random:{seed}", **SMALL) for seed in seeds or (0,)]
    return make_asked(requests, device, Path("unused"), cache_dir, running=replace(QUICK, workers=-1))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "brains"
    for at in range(N):
        name = f"sub-{at:02d}"
        path = folder / name / "anat" / f"{name}_space-MNI152_desc-brain_T1w.nii.gz"
        write_volume(path, phantom(seed=at), grid_affine(MNI152_2MM))
    (folder / "sub-bad" / "anat").mkdir(parents=True)
    (folder / "sub-bad" / "anat" / "sub-bad_space-MNI152_desc-brain_T1w.nii.gz").write_text("no image\n")
    return index_images(str(folder))


@pytest.fixture(scope="module")
def unbroken(images, tmp_path_factory):
    """Features of one process, in which nothing happens."""
    output = tmp_path_factory.mktemp("unbroken") / "f.h5"
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        jobs = [load_job(one, "cpu", Path("unused")) for one in asking(0, 1).requests]
        extract(images, jobs, output, device="cpu", running=QUICK)
    finally:
        torch.set_num_threads(n_threads)
    return features(output)


def features(path):
    return {name: store.read_set(path, name) for name in store.list_sets(path)}


def check_same(output, expected, weights="random"):
    found = features(output)
    assert set(found) == {name for name in expected if weights in name}
    for name, one in found.items():
        assert list(one.image_id) == list(expected[name].image_id)
        assert one.X.tobytes() == expected[name].X.tobytes()
    assert list(output.parent.glob("*.parts/part-*")) == []


# --- clusters of processes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running():
    """A cluster of two processes, as somebody else would have started it, and a client."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=DASHBOARD) as one,
        distributed.Client(one, set_as_default=False) as client,
    ):
        yield client


def warm(dask_worker):
    return os.getpid(), id(tasks._warm.get("jobs"))


def test_the_same_bits_as_in_one_process_and_networks_stay_warm(running, images, unbroken, tmp_path):
    seen, notes = [], []
    output = tmp_path / "f.h5"
    hear = {"on_progress": lambda *at: seen.append(at), "on_note": notes.append}
    summary = extract_on_cluster(running, asking(0), images, output, **hear)
    assert (summary.n_images, summary.n_before, summary.n_now, summary.n_failed) == (N + 1, 0, N, 1)
    assert [(row["image_id"], row["code"]) for row in summary.failures] == [("sub-bad", "truncated")]
    assert store.read_failures(output) == summary.failures
    check_same(output, unbroken, "random-0")
    last, n_workers = seen[-1]
    assert notes == [f"11 images, 0 done before, 11 to do in 8 shards, by 2 workers on cpu: {output}"]
    assert (last.finished, last.failed, last.total, n_workers) == (N + 1, 1, N + 1, 2)
    finished = [tally.finished for tally, _ in seen]
    assert finished == sorted(finished)
    before = running.run(warm)
    assert len(before) == 2
    assert extract_on_cluster(running, asking(0), images, output).n_now == 0
    assert running.run(warm) == before  # the same process, the same networks
    summary = extract_on_cluster(running, asking(0, 1), images, output)  # another network adds
    assert (summary.n_before, summary.n_now) == (0, N)
    check_same(output, unbroken)


def slowly(dask_worker):
    """Half a second after every image: time to die in."""
    teller = tasks._teller

    def slow_teller(*words):
        tell = teller(*words)
        return lambda tally: (tell(tally), time.sleep(0.5))

    tasks._teller = slow_teller


def test_a_worker_killed_in_mid_shard(running, images, unbroken, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "TELL_S", 0.0)
    output = tmp_path / "f.h5"
    parts = tmp_path / "f.h5.parts"
    killed, held = [], Counter()

    def kill(tally, n_workers):
        for part in [] if killed else sorted(parts.glob("part-*.h5")):
            pid = int(part.stem.split("-")[-2])
            os.kill(pid, signal.SIGKILL)
            killed.append((pid, len(list(parts.glob(f"part-*-{pid}-*.h5")))))
            break

    def collect_counted(path):
        for part in parts.glob("part-*.h5"):
            for _, people in list(store.read_ids(part).values())[:1]:
                held.update(list(people))
        collect(path)

    collect = cluster.collect
    monkeypatch.setattr(cluster, "collect", collect_counted)
    running.run(slowly)
    pids = set(running.run(os.getpid).values())
    summary = extract_on_cluster(running, asking(0), images, output, n_shards=2, on_progress=kill)
    assert (summary.n_now, summary.n_failed) == (N, 1)
    ((pid, n_then),) = killed
    assert pid in pids
    assert n_then < 5  # of the five or six images of its shard
    check_same(output, unbroken, "random-0")
    assert set(held.values()) == {1}  # what the dead worker had finished was not done again


@pytest.fixture(params=["processes", "namespaces"])
def hosts(request, tmp_path):
    """The file of a scheduler with two workers, each with a folder and a home of weights of its own; and its process.

    With namespaces, each also has a network, an address and a name of its own.
    """
    apart = request.param == "namespaces"
    names = [f"fx{os.getpid()}-{at}" for at in range(2)] if apart else []
    file, processes = tmp_path / "scheduler.json", []
    try:
        if apart and not all(map(has_network, range(2), names)):
            pytest.skip("network namespaces cannot be made here: that needs root and iproute2")
        here = "0.0.0.0" if apart else "127.0.0.1"
        processes.append(start(tmp_path, "scheduler", "--host", here, "--port", 0, "--scheduler-file", file))
        until = time.monotonic() + 30
        while not file.is_file() and time.monotonic() < until:
            time.sleep(0.1)
        port = json.loads(file.read_text())["address"].rpartition(":")[2]
        for at in range(2):
            address = f"tcp://10.213.{at}.1:{port}" if apart else f"tcp://127.0.0.1:{port}"
            called = ["unshare", "-u", "sh", "-c", f'hostname host-{at}; exec "$@"', "-"]
            within = ["ip", "netns", "exec", names[at], *called] if apart else []
            words = (address, "--nthreads", 1, "--memory-limit", 0, "--local-directory", tmp_path / f"worker{at}")
            processes.append(start(tmp_path, "worker", *words, at=at, within=within))
        yield file, processes[0]
    finally:
        for one in reversed(processes):
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def has_network(at, name):
    """Make a network namespace with an address that this machine reaches, and say whether that could be."""
    steps = (
        f"netns add {name}",
        f"link add {name} type veth peer name eth0 netns {name}",
        f"addr add 10.213.{at}.1/24 dev {name}",
        f"link set {name} up",
        f"-n {name} addr add 10.213.{at}.2/24 dev eth0",
        f"-n {name} link set eth0 up",
        f"-n {name} link set lo up",
    )
    if shutil.which("ip") is None:
        return False
    return all(subprocess.run(["ip", *words.split()], capture_output=True).returncode == 0 for words in steps)


def start(folder, what, *words, at="", within=()):
    """Start a scheduler or a worker in a folder of its own."""
    own = folder / f"{what}{at}"
    own.mkdir()
    command = [*within, sys.executable, "-m", f"distributed.cli.dask_{what}", *map(str, words), "--no-dashboard"]
    environment = {**os.environ, "FEATX_HOME": str(own / "weights"), "OMP_NUM_THREADS": "1"}
    with (own / "log").open("w") as log:
        return subprocess.Popen(command, cwd=own, env=environment, stdout=log, stderr=log, start_new_session=True)


def test_two_hosts(hosts, images, unbroken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # whose relative paths mean nothing to the workers
    shutil.copytree(images[0].path.parents[2], "brains")
    near = [replace(one, path=one.path.relative_to(tmp_path)) for one in index_images(str(tmp_path / "brains"))]
    file, scheduler = hosts
    on = Counter()
    take = cluster._take
    monkeypatch.setattr(cluster, "_take", lambda *words: on.update([words[1].result().address]) or take(*words))
    with extracting_on([], scheduler_file=file) as client:
        client.wait_for_workers(2, timeout=30)
        places = client.run(lambda: (socket.gethostname(), os.getcwd(), str(cache_dir())))
        assert len({folder for _, folder, _ in places.values()} | {home for *_, home in places.values()}) == 4
        summary = extract_on_cluster(client, asking(0), near, Path("f.h5"))
        assert (summary.n_now, summary.n_failed) == (N, 1)
        check_same(Path("f.h5"), unbroken, "random-0")
        assert set(on) == set(places)  # both had their share
        hostnames = {name for name, *_ in places.values()}
        if hostnames == {"host-0", "host-1"}:
            assert {urlsplit(address).hostname for address in on} == {"10.213.0.2", "10.213.1.2"}
            return
        monkeypatch.setattr(cluster, "TELL_S", 0.0)
        with pytest.raises(DeviceError, match=r"a dask scheduler must run .* is gone .*; what is finished is kept"):
            extract_on_cluster(client, asking(1), near, Path("f.h5"), on_progress=lambda *_: scheduler.kill())
    summary = extract(near, [load_job(asking(1).requests[0], "cpu", Path("unused"))], Path("f.h5"), device="cpu")
    assert summary.n_failed == 1  # whoever goes on: here, this machine alone
    assert len(features(Path("f.h5"))) == len(unbroken)


# --- clusters in this process: what is decided --------------------------------------------------------------------


@pytest.fixture
def near(monkeypatch, tmp_path):
    """A client of two workers that are threads of this process, so that a test can replace what they call."""
    monkeypatch.setattr(cluster, "TELL_S", 0.0)
    monkeypatch.setattr(cluster, "TICK_S", 0.01)
    tasks._warm.clear()
    n_threads = torch.get_num_threads()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=DASHBOARD
        ) as one,
        distributed.Client(one, set_as_default=False) as client,
    ):
        yield client
    torch.set_num_threads(n_threads)
    tasks._warm.clear()


def broken_on(addresses, how):
    """The engine, but on some workers `how` is called before its work, or in its place if it gives a summary."""

    def call(images, *words, **options):
        here = distributed.get_worker().address
        return (how(images) if here in addresses else None) or extract(images, *words, **options)

    return call


def gone(images):
    raise DeviceError("a device must answer; cuda does not any more (bus error)")


def test_a_gpu_that_falls_off_costs_its_worker_and_no_image(near, images, unbroken, tmp_path, monkeypatch):
    first, second = near.nthreads()
    monkeypatch.setattr(tasks, "extract", broken_on([first], gone))
    summary = extract_on_cluster(near, asking(0), images, tmp_path / "f.h5", n_shards=4)
    assert (summary.n_now, summary.n_failed) == (N, 1)
    assert list(near.nthreads()) == [second]
    check_same(tmp_path / "f.h5", unbroken, "random-0")


def test_all_gpus_fall_off(near, images, tmp_path, monkeypatch):
    extract_on_cluster(near, asking(0), images[:2], tmp_path / "f.h5", n_shards=1)
    monkeypatch.setattr(tasks, "extract", broken_on(near.nthreads(), gone))
    said = (
        r"every shard of images must be finished by a worker; 3 of 3, with 9 images, were given up \(a device must "
        rf"answer; cuda does not any more \(bus error\) \(on {socket.gethostname()}\)\); the rest is in .*f.h5: mend"
    )
    with pytest.raises(DeviceError, match=said):
        extract_on_cluster(near, asking(0), images, tmp_path / "f.h5", n_shards=3)
    assert all(len(one.image_id) == 2 for one in features(tmp_path / "f.h5").values())


def test_a_worker_that_dask_goes_on_listing_is_not_waited_for(near, images, tmp_path, monkeypatch):
    """It takes no task any more, and is never gone: seen where two retire at once."""

    def begin_to_leave(addresses):
        def change(dask_scheduler):
            for address in addresses:
                dask_scheduler.handle_worker_status_change("closing_gracefully", address, "test")

        near.run_on_scheduler(change)

    monkeypatch.setattr(near, "retire_workers", begin_to_leave)
    monkeypatch.setattr(tasks, "extract", broken_on(near.nthreads(), gone))
    with pytest.raises(DeviceError, match=r"every shard of images must be finished by a worker; 3 of 3"):
        extract_on_cluster(near, asking(0), images, tmp_path / "f.h5", n_shards=3)


def all_failed(images):
    rows = [
        {"image_id": one.image_id, "network": "net", "step": "network", "code": "network-error", "sentence": "CUDA"}
        for one in images
    ]
    return engine.Summary(len(images), 0, 0, len(images), rows, 1.0, {})


def test_where_the_network_fails_on_every_image_another_worker_tries(near, images, unbroken, tmp_path, monkeypatch):
    first, second = near.nthreads()
    monkeypatch.setattr(tasks, "extract", broken_on([first], all_failed))
    summary = extract_on_cluster(near, asking(0), images, tmp_path / "f.h5", n_shards=4)
    assert (summary.n_now, summary.n_failed) == (N, 1)
    check_same(tmp_path / "f.h5", unbroken, "random-0")
    monkeypatch.setattr(tasks, "extract", broken_on([first, second], all_failed))
    monkeypatch.setattr(cluster, "_merge", lambda *words: None)
    summary = extract_on_cluster(near, asking(1), images, tmp_path / "f.h5", n_shards=2)
    assert (summary.n_now, summary.n_failed) == (0, N + 1)  # so it is the images, or all of the machines


def test_what_is_refused_on_a_worker_is_refused_here(near, images, tmp_path, monkeypatch):
    def refuse(images):
        raise StoreError("a disk must have room; it has none")

    monkeypatch.setattr(tasks, "extract", broken_on(near.nthreads(), refuse))
    with pytest.raises(StoreError, match="a disk must have room; it has none"):
        extract_on_cluster(near, asking(0), images, tmp_path / "f.h5")


def test_a_network_that_a_device_does_not_take(near, images, tmp_path, monkeypatch):
    def fail(*words, **options):
        raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ...")

    monkeypatch.setattr(tasks, "load_job", fail)
    said = r"a device must take the networks; cpu did not \(CUDA error: out of memory\); see what else is on it"
    with pytest.raises(DeviceError, match=said):
        extract_on_cluster(near, asking(0), images, tmp_path / "f.h5")


def test_a_worker_that_cannot_load_featx(near, images, tmp_path, monkeypatch):
    def look(*words, dask_worker):
        raise ModuleNotFoundError("No module named 'torch'")

    monkeypatch.setattr(cluster, "look_around", look)
    with pytest.raises(DependencyError, match=r"must load featx .* and torch; .* \(ModuleNotFoundError: No module"):
        extract_on_cluster(near, asking(0), images, tmp_path / "f.h5")


def test_official_weights_are_downloaded_once_by_the_client_and_workers_must_be_there(images, tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        cluster, "fetch", lambda weights, cache, name, *_: fetched.append((weights.file, cache, name))
    )
    request = make_request(NETWORK)
    asked = make_asked([request], "cpu", tmp_path / "home", cache_dir)
    nobody = SimpleNamespace(run=lambda *words, **options: {}, status="running")
    with pytest.raises(DeviceError, match="a dask cluster must have workers; it has none; start some"):
        extract_on_cluster(nobody, asked, images, tmp_path / "f.h5")
    assert fetched == [(request.sheet.weights.file, tmp_path / "home", NETWORK)]
    assert list(tmp_path.iterdir()) == []  # the token is gone


def test_workers_that_all_die(images, tmp_path):
    def die(*words, **options):
        raise distributed.KilledWorker("plan", None, 3)

    fit = {"tcp://a:1": Fitness("tcp://a:1", "a", 1, "cpu", "", "", "", "")}
    dying = SimpleNamespace(run=lambda *words, **options: fit, status="running", submit=die)
    with pytest.raises(
        DeviceError, match="a dask worker must live while it loads the networks; every one that tried"
    ):
        extract_on_cluster(dying, asking(0), images, tmp_path / "f.h5")
    future = SimpleNamespace(exception=lambda: distributed.KilledWorker("shard", None, 3))
    course = cluster._Course()
    shards = [Shard(0, tuple(images[:2]), ("a",)), Shard(1, tuple(images[2:]), ("a",))]
    assert cluster._take(dying, future, shards[0], course, 1) is None
    with pytest.raises(DeviceError, match=r"1 of 2, with 2 images, were given up \(each worker that tried it died: "):
        cluster._check_all_done(shards, course, tmp_path / "f.h5")


def test_a_cluster_that_stays_without_workers(monkeypatch):
    monkeypatch.setattr(cluster, "TELL_S", 0.0)
    monkeypatch.setattr(cluster, "WITHOUT_WORKERS_S", 0.3)
    empty, told = SimpleNamespace(nthreads=dict), []
    at = engine.Tally(3, 0, 9, 1.0)
    with pytest.raises(DeviceError, match="it has had none for 0 s, with 3 of 9 images finished, which are kept"):
        assert set(cluster._watch(lambda: len(empty.nthreads()), lambda: at, lambda *words: told.append(words))) == {
            0
        }
    assert set(told) == {(at, 0)}


def test_an_error_of_a_disk_is_none_of_the_scheduler():
    closed = distributed.comm.CommClosedError("reset by peer")
    for error, status in ((CancelledError(), "running"), (OSError("closed"), "closed"), (closed, "running")):
        gone = SimpleNamespace(status=status, scheduler=SimpleNamespace(address="tcp://a:1"))
        said = "must run until the extraction is done; tcp://a:1 is gone"
        with pytest.raises(DeviceError, match=said), cluster._sentences(gone):
            raise error
    with pytest.raises(OSError, match="read-only"), cluster._sentences(SimpleNamespace(status="running")):
        raise OSError("read-only")


def test_rows_that_do_not_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "LATE_S", 0.2)
    monkeypatch.setattr(cluster, "TELL_S", 0.1)
    (tmp_path / "f.h5.parts").mkdir()
    planned = plan_sets(asking(0).requests[0], {"weights": "", "weights_sha256": ""}, "", "{}")
    with pytest.raises(
        StoreError, match=r"the features of 2 images, such as a, are not in .*; see that it is one disk"
    ):
        cluster._merge(tmp_path / "f.h5", {"net": planned}, {"net": {"a", "b"}})


# --- what a worker finds --------------------------------------------------------------------------------------


THIS = SimpleNamespace(address="tcp://a:1", state=SimpleNamespace(nthreads=3))


def test_a_worker_looks_around(tmp_path, images, monkeypatch):
    token = tmp_path / "token"
    token.touch()
    official = make_asked([make_request(NETWORK)], "auto", tmp_path, lambda: tmp_path / "own")
    found = tasks.look_around(official, token, images[0], dask_worker=THIS)
    assert (found.address, found.n_threads, found.no_output, found.no_image) == ("tcp://a:1", 3, "", "")
    assert found.no_weights == f"{official.requests[0].sheet.weights.file} in {tmp_path / 'own'} or {tmp_path}"
    away = replace(images[0], path=tmp_path / "nowhere.nii.gz")
    found = tasks.look_around(asking(device="cuda:99"), tmp_path / "other" / "token", away, dask_worker=THIS)
    assert found.no_output == "it is not there, or another one than where you are"
    assert found.no_image == f"{tmp_path / 'nowhere.nii.gz'} (the file is not there)"
    assert found.no_weights == ""
    assert bool(found.no_device) != torch.cuda.is_available()
    monkeypatch.setattr(Path, "touch", lambda self: os.mkdir("/dev/null"))
    assert tasks.look_around(asking(), token, None, dask_worker=THIS).no_output == "file exists"
    assert [one.name for one in tmp_path.iterdir()] == ["token"]


FIT = Fitness("tcp://a:1", "box", 1, "cpu", "", "", "", "")


@pytest.mark.parametrize(
    "changes, kind, said",
    [
        (
            {"no_output": "read-only file system"},
            StoreError,
            r"in a folder that every worker can write to; the dask worker tcp://a:1 on box cannot write to /data "
            r"\(read-only file system\); name an -o",
        ),
        (
            {"no_image": "a.nii (the file is not there)"},
            StoreError,
            r"images must be where every worker can read them; the dask worker tcp://a:1 on box cannot: a.nii \(the "
            r"file is not there\); index them",
        ),
        (
            {"no_weights": "s.pth in /h"},
            WeightsError,
            "official weights must be where every worker can read them; the dask worker tcp://a:1 on box has no "
            "s.pth in /h; set FEATX_HOME",
        ),
        (
            {"device": "", "no_device": "--device cuda needs a GPU"},
            DeviceError,
            "--device cuda needs a GPU: that is the dask worker tcp://a:1 on box",
        ),
        (
            {"device": "cuda"},
            DeviceError,
            "must compute on the same kind of device; 1 have a GPU, 1 have none, such as tcp://b:1 on box; stop "
            "those, or ask for --device cpu",
        ),
    ],
)
def test_a_worker_that_is_not_fit(changes, kind, said):
    assert check_fitness([FIT, FIT], Path("/data/f.h5")) == "cpu"
    assert check_fitness([replace(FIT, device="cuda:0"), replace(FIT, device="cuda:1")], Path("/data/f.h5")) == "cuda"
    with pytest.raises(kind, match=said):
        check_fitness([replace(FIT, **changes), replace(FIT, address="tcp://b:1")], Path("/data/f.h5"))


def test_workers_share_the_cores_of_their_machine(monkeypatch):
    monkeypatch.setattr(tasks, "default_workers", lambda device: 8)
    asked = replace(asking(device="cuda"), crowd=4)
    assert tasks._running(asked, 1) == replace(QUICK, workers=2)
    assert tasks._running(replace(asked, running=Running(workers=5, processes=True)), 1) == Running(
        workers=5, processes=True
    )
    assert tasks._running(replace(asked, crowd=20), 1).workers == 1
    n_threads = torch.get_num_threads()
    try:
        tasks._running(replace(asked, device="cpu"), 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)


def test_workers_of_another_making_do_not_add_to_a_set():
    job = SimpleNamespace(sets=plan_sets(asking(0).requests[0], {"weights": "", "weights_sha256": "1"}, "", "{}"))
    keys = {one.name: tasks.feature_key(one.provenance) for one in job.sets}
    tasks._check_same(asking(0), [job], keys, "tcp://a:1")
    other = SimpleNamespace(sets=plan_sets(asking(0).requests[0], {"weights": "", "weights_sha256": "2"}, "", "{}"))
    with pytest.raises(NetworkError, match=r"all workers must load the same networks; squeezenet.* of tcp://a:1 on "):
        tasks._check_same(asking(0), [other], keys, "tcp://a:1")
    with pytest.raises(DeviceError, match=r"dask workers must have featx 9\.9, as the client has; tcp://a:1 has 0\."):
        tasks._check_same(replace(asking(0), version="9.9"), [job], keys, "tcp://a:1")


# --- what travels, and in which shards ------------------------------------------------------------------------


def test_what_is_asked_travels_and_plans_the_same_sets(tmp_path, monkeypatch):
    as_dask = distributed.protocol.pickle
    monkeypatch.chdir(tmp_path)
    for request in (make_request("sfcn.ukb_age", weights="a.p"), make_request(NETWORK, channels="neighbours")):
        there = as_dask.loads(as_dask.dumps(make_asked([request], "cpu", Path("home"), cache_dir)))
        facts = ({"weights": "", "weights_sha256": ""}, "", "{}")
        assert plan_sets(there.requests[0], *facts) == plan_sets(request, *facts)
        assert there.cache == tmp_path / "home"
        assert there.requests[0].weights in (str(tmp_path / "a.p"), "official")
    assert whole_path("reinit:3:b.pth") == f"reinit:3:{tmp_path}/b.pth"


def test_a_folder_of_weights_has_all_of_them_or_is_not_taken(tmp_path):
    requests = [make_request(NETWORK), make_request("resnet18.imagenet"), make_request(NETWORK, weights="random:0")]
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, some in ((one, requests[:1]), (two, requests[:2])):
        folder.mkdir()
        for request in some:
            (folder / request.sheet.weights.file).touch()
    assert choose_cache(requests, [one, two]) == (two, "")
    assert choose_cache(requests, [one]) == (one, f"{requests[1].sheet.weights.file} in {one}")
    assert choose_cache(requests[2:], [tmp_path / "none", one]) == (tmp_path / "none", "")


def test_shards_hold_every_image_once_with_what_it_lacks():
    images = [from_anywhere(Image(f"{at:03d}", "", "", "", Path(f"{at}.nii"), "", "m.nii")) for at in range(100)]
    assert images[0].path.is_absolute()
    assert Path(images[0].mask).is_absolute()
    missing = {one.image_id: (("a", "b"), ("b",), ())[at % 10 if at % 10 < 2 else 2] for at, one in enumerate(images)}
    shards = plan_shards(images, missing, 4)
    assert [len(shard.images) for shard in shards] == [5, 5, 5, 5]
    assert [shard.number for shard in shards] == [0, 1, 2, 3]
    assert {one.image_id: shard.labels for shard in shards for one in shard.images} == {
        name: labels for name, labels in missing.items() if labels
    }
    assert plan_shards(images, dict.fromkeys(missing, ()), 4) == []
    for n, n_images in ((7, 100), (200, 100), (1, 100)):
        shared = make_shards(images, n)
        assert len(shared) == min(n, n_images)
        assert sorted(one.image_id for shard in shared for one in shard) == sorted(missing)
        assert max(map(len, shared)) - min(map(len, shared)) <= 1
    assert count_shards(40_000, 1000) == 4000


def test_what_becomes_of_a_shard():
    rows = [{"image_id": name, "network": "n", "step": "network"} for name in "ab"]
    whole = Outcome(0, "tcp://a:1", 3, 2, rows)
    assert not is_suspect(whole)
    suspect = Outcome(0, "tcp://a:1", 2, 2, rows)
    assert [decide(suspect, n_tries, 1) for n_tries in (1, 2, 3)] == ["elsewhere", "elsewhere", "done"]
    assert decide(suspect, 1, 0) == decide(whole, 1, 1) == "done"
    bad = [{**row, "step": "check"} for row in rows]
    assert not is_suspect(Outcome(0, "tcp://a:1", 2, 2, bad))
    assert not is_suspect(Outcome(0, "tcp://a:1"))
