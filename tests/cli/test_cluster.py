"""Fits on a dask cluster: the same bytes as on this machine, and a sentence where the cluster cannot be used."""

import json
import socket
import sys

import pytest

from featx.errors import AnalysisError, DependencyError
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
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}


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
