"""Where dask's workers come from: fits on them give the same bytes; a sentence where they cannot be used."""

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import pytest

from featx.errors import AnalysisError, DependencyError, DeviceError
from featx_cli import cluster
from tests.cli.conftest import QUICK

distributed = pytest.importorskip("distributed")

WORDS = (
    "f.h5",
    "people.csv",
    "--target",
    "iq",
    "--target",
    "sex",
    "--calibrate",
    "platt",
    "--correct-age",
    "iq",
    *QUICK,
)


@pytest.fixture(scope="module")
def running():
    """A cluster of two processes, as somebody else would have started it."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=cluster.DASHBOARD
    ) as one:
        yield one


def files(run):
    """All but the call, which names its output."""
    paths = [path for path in run.rglob("*") if path.is_file() and path.name != "study.toml"]
    return {path.relative_to(run): path.read_bytes() for path in paths}


def test_a_running_cluster_gives_the_same_bytes(featx, running, tmp_path):
    featx("fit", *WORDS, "-o", tmp_path / "here")
    here = files(tmp_path / "here")
    assert len(here) > 12
    before = running.scheduler.transition_counter
    featx("fit", *WORDS, "--backend", "dask", "--scheduler", running.scheduler_address, "-o", tmp_path / "there")
    assert running.scheduler.transition_counter > before + 50  # the fits were done there
    assert files(tmp_path / "there") == here


def test_a_cluster_of_its_own(featx, tmp_path):
    words = ("fit", "f.h5", "people.csv", "--target", "age", "--head", "boosting", "--folds", 2, "--bootstrap", 0)
    featx(*words, "--jobs", 1, "-o", tmp_path / "here")
    featx(*words, "--jobs", 2, "--backend", "dask", "-o", tmp_path / "there")
    assert files(tmp_path / "there") == files(tmp_path / "here")


def test_curves_on_a_cluster_that_a_file_names(featx, running, tmp_path):
    (tmp_path / "scheduler.json").write_text(json.dumps({"type": "Scheduler", "address": running.scheduler_address}))
    words = ("curve", "f.h5", "people.csv", "--target", "age", "--n", "20,40", "--draws", 2)
    featx(*words, "-o", tmp_path / "here")
    featx(*words, "--backend", "dask", "--scheduler", tmp_path / "scheduler.json", "-o", tmp_path / "there")
    assert (tmp_path / "there/curve.csv").read_bytes() == (tmp_path / "here/curve.csv").read_bytes()


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 2)
    monkeypatch.setattr(cluster, "WORKERS_S", 2)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_scheduler_that_is_not_there(featx, tmp_path):
    address = f"tcp://127.0.0.1:{free_port()}"
    (tmp_path / "old.json").write_text(json.dumps({"address": address}))
    for scheduler in (address, tmp_path / "old.json"):
        words = ("fit", *WORDS, "--backend", "dask", "--scheduler", scheduler, "-o", tmp_path / "run")
        said = featx(*words, code=2)
        assert said == (
            f"featx: a dask scheduler must answer; {address} did not within 2 s; look at its address, and whether it "
            "runs\n"
        )


@pytest.mark.parametrize("scheduler", ["nosuch.json", "people.csv", "10.0.0.1:8786", "tcp://10.0.0.1"])
def test_what_is_no_scheduler(featx, tmp_path, scheduler):
    words = ("fit", *WORDS, "--backend", "dask", "--scheduler", scheduler, "-o", tmp_path / "run")
    said = featx(*words, code=2)
    assert f"got {scheduler!r}; give one of them" in said
    assert len(said.splitlines()) == 1


def test_a_cluster_without_workers():
    with (
        distributed.LocalCluster(n_workers=0, processes=True, dashboard_address=cluster.DASHBOARD) as empty,
        pytest.raises(AnalysisError, match="must have workers; it has none after 2 s"),
        cluster.backend_of("dask", empty.scheduler_address),
    ):
        pass


def test_workers_with_another_featx(running, monkeypatch):
    monkeypatch.setattr("featx.__version__", "9.9.9")
    with (
        pytest.raises(AnalysisError, match=r"must have featx 9\.9\.9, as this machine has; they have 0\."),
        cluster.backend_of("dask", running.scheduler_address),
    ):
        pass


def test_a_worker_that_dies(running):
    with (
        pytest.raises(AnalysisError, match="must live until its fit is done; one did not"),
        cluster.backend_of("dask", running.scheduler_address),
    ):
        raise distributed.KilledWorker("fit", None, 3)


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DependencyError, match=r"pip install 'featx\[dask\]'"), cluster.backend_of("dask"):
        pass


# --- workers that extract -------------------------------------------------------------------------------------


def test_gpus_are_named_as_cuda_names_them(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cluster.visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8f2,99")  # as SLURM shares them out; torch sees no 99
    there = cluster.visible_gpus()
    assert there == ["3", "GPU-8f2"]
    chosen = {asked: cluster.choose_gpus(asked, there) for asked in ("all", "2", "1", "0,1", "1,0", "1,")}
    assert chosen["all"] == chosen["2"] == chosen["0,1"] == there
    assert chosen["1"] == ["3"]
    assert chosen["1,"] == ["GPU-8f2"]
    assert chosen["1,0"] == there[::-1]


@pytest.mark.parametrize(
    "asked, there, said",
    [
        ("all", [], "--gpus all needs a GPU that torch sees; it sees none; look at nvidia-smi"),
        ("3", ["0", "1"], "--gpus 3 needs as many GPUs that torch sees; it sees 2; look at nvidia-smi"),
        ("1", [], "--gpus 1 needs as many GPUs that torch sees; it sees 0"),
        ("0,2", ["0", "1"], "--gpus 0,2 needs as many GPUs that torch sees; it sees 2"),
        ("0", ["0"], "--gpus must be all, a number of them, or the places of different ones such as 0,1; got '0'"),
        ("0,0", ["0"], "of different ones such as 0,1; got '0,0'"),
        ("none", ["0"], "got 'none'; for none, leave it out and ask for --device cpu"),
        ("-1", ["0"], "got '-1'"),
    ],
)
def test_gpus_that_are_not_there(asked, there, said):
    with pytest.raises(DeviceError) as error:
        cluster.choose_gpus(asked, there)
    assert said in str(error.value)


def test_each_gpu_has_a_process_that_sees_no_other():
    with cluster.extracting_on(["1", "GPU-8f2"]) as client:
        client.wait_for_workers(2, timeout=30)
        seen = client.run(lambda dask_worker: (os.environ["CUDA_VISIBLE_DEVICES"], dask_worker.state.nthreads))
        assert sorted(seen.values()) == [("1", 1), ("GPU-8f2", 1)]
        assert client.run(lambda: multiprocessing.current_process().daemon) == dict.fromkeys(seen, False)
        assert all(address.startswith("tcp://127.0.0.1:") for address in seen)


@pytest.mark.parametrize(
    "given, got",
    [
        ({"gpus": ["0"], "scheduler": "tcp://10.0.0.1:1"}, "tcp://10.0.0.1:1 and 0"),
        (
            {"gpus": [], "scheduler": "tcp://10.0.0.1:1", "scheduler_file": Path("s.json")},
            "tcp://10.0.0.1:1 and s.json",
        ),
        ({"gpus": []}, "none"),
    ],
)
def test_workers_come_from_one_place(given, got):
    said = f"workers must come from one place: --gpus, --scheduler or --scheduler-file; got {got}; give one of them"
    with pytest.raises(AnalysisError, match=said), cluster.extracting_on(**given):
        pass


def test_extraction_where_a_scheduler_runs(running, brains, tmp_path, monkeypatch, capsys):
    from featx import store
    from featx.extraction.plan import make_request
    from featx.images.index import index_images

    request = make_request("squeezenet1_0.imagenet", weights="random:0", taps=["fire2"], views=["axial"], n_slices=2)
    summary = cluster.extract_there(
        index_images(str(brains(3))), [request], tmp_path / "f.h5", scheduler=running.scheduler_address
    )
    assert summary.n_now == 3
    assert store.read_shapes(tmp_path / "f.h5") == dict(summary.sets)
    out, err = capsys.readouterr()
    assert f"3 images, 0 done before, 3 to do in 3 shards, by 2 workers on cpu: {tmp_path / 'f.h5'}" in out
    assert "images: 3 of 3" in err
    assert ", 2 workers" in err


def test_gpus_and_no_gpu():
    said = "a device must be wanted one way; got --gpus all and --device cpu; leave one of them out"
    with pytest.raises(DeviceError, match=said):
        cluster.extract_there([], [], Path("f.h5"), gpus="all", device="cpu")
