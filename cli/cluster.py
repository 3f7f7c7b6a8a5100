"""Where fits run: on this machine, or on a dask.distributed cluster through joblib's own backend."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BACKENDS = ("local", "dask")
CONNECT_S = 10  # a scheduler that is there answers at once
DASHBOARD = "127.0.0.1:0"  # any free port: another cluster's is no concern of this one
WORKERS_S = 60  # a cluster that grows on demand takes a while
_ADDRESS = re.compile(r"(tcp|tls|ucx|wss?)://[^/]+:\d+/?")


@contextlib.contextmanager
def backend_of(name: str, scheduler: str = "", n_jobs: int = -1) -> Iterator[None]:
    """Within it, joblib's fits go to a backend.

    Parameters
    ----------
    name : str
        "local" or "dask".
    scheduler : str
        Address of a running dask scheduler or its file; "" for a cluster on this machine.
    n_jobs : int
        Processes of a cluster on this machine; a running one has those it has.
    """
    from featx.errors import AnalysisError, DependencyError, known

    if name not in BACKENDS:
        raise AnalysisError(f"a backend must be known; {name!r} is not; {known(BACKENDS)}")
    if name == "local":
        if scheduler:
            raise AnalysisError(
                f"a scheduler must be for --backend dask; got {scheduler!r} without; add --backend dask"
            )
        yield
        return
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"dask.distributed must be installed for --backend dask; {error.name} is not; pip install 'featx[dask]'"
        ) from error
    with _client(scheduler, n_jobs) as client, _on(client):
        try:
            yield
        except distributed.KilledWorker as error:
            raise AnalysisError(
                f"a dask worker must live until its fit is done; one did not ({type(error).__name__}); give workers "
                "more memory, or fewer of them per machine"
            ) from error


@contextlib.contextmanager
def _client(scheduler: str, n_jobs: int) -> Iterator[Any]:
    """A client of a running scheduler, or of a cluster that lives as long as the client."""
    import joblib
    from distributed import Client, LocalCluster

    from featx.errors import AnalysisError

    if not scheduler:
        n_workers = n_jobs if n_jobs > 0 else joblib.cpu_count()
        with (
            LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=DASHBOARD) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    address = _address(scheduler)
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise AnalysisError(
            f"a dask scheduler must answer; {address} did not within {CONNECT_S} s; look at its address, and whether "
            "it runs"
        ) from error
    with client:
        yield client


def _address(scheduler: str) -> str:
    """The address itself, or the one in a scheduler's file."""
    from featx.errors import AnalysisError

    address = scheduler
    if Path(scheduler).is_file():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            address = str(json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"])
    if not _ADDRESS.fullmatch(address):
        raise AnalysisError(
            f"a dask scheduler must be an address such as tcp://10.0.0.1:8786, or the file that `dask scheduler "
            f"--scheduler-file` writes; got {scheduler!r}; give one of them"
        )
    return address


@contextlib.contextmanager
def _on(client: Any) -> Iterator[None]:
    """joblib's fits go to the workers, which must be there and have this featx."""
    import joblib
    from dask.sizeof import sizeof

    import featx
    from featx.analysis import crossval, grams
    from featx.errors import AnalysisError

    # Without it dask takes what holds arrays for small, and sends it with every fit.
    sizeof.register((crossval.Data, grams.Data), lambda data: sum(sizeof(one) for one in vars(data).values()))
    with joblib.parallel_config("dask", client=client, wait_for_workers_timeout=WORKERS_S):
        try:
            joblib.effective_n_jobs(-1)
        except TimeoutError as error:
            raise AnalysisError(
                f"a dask cluster must have workers; it has none after {WORKERS_S} s; start some: dask worker ADDRESS"
            ) from error
        try:
            found = set(client.run(version, "featx").values())
        except PackageNotFoundError:
            found = {"none"}
        if found != {featx.__version__}:
            raise AnalysisError(
                f"dask workers must have featx {featx.__version__}, as this machine has; they have "
                f"{', '.join(sorted(found))}; install it there"
            )
        yield
