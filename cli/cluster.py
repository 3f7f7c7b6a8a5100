"""Where work runs beside this process: a dask.distributed cluster that is there already, or one on this machine."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx_cli.console import cache_dir, progress, say

if TYPE_CHECKING:
    from featx.extraction.engine import Summary, Tally
    from featx.extraction.plan import Request
    from featx.images.image import Image

BACKENDS = ("local", "dask")
CONNECT_S = 10  # a scheduler that is there answers at once
DASHBOARD = "127.0.0.1:0"  # any free port: another cluster's is no concern of this one
WORKERS_S = 60  # a cluster that grows on demand takes a while
_ADDRESS = re.compile(r"(tcp|tls|ucx|wss?)://[^/]+:\d+/?")


# --- fits -----------------------------------------------------------------------------------------------------


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
    from featx.errors import AnalysisError, known

    if name not in BACKENDS:
        raise AnalysisError(f"a backend must be known; {name!r} is not; {known(BACKENDS)}")
    if name == "local":
        if scheduler:
            raise AnalysisError(
                f"a scheduler must be for --backend dask; got {scheduler!r} without; add --backend dask"
            )
        yield
        return
    _need_dask("--backend dask")
    import distributed

    with _running(scheduler) if scheduler else _own(n_jobs) as client, _fits_on(client):
        try:
            yield
        except distributed.KilledWorker as error:
            raise AnalysisError(
                f"a dask worker must live until its fit is done; one did not ({type(error).__name__}); give workers "
                "more memory, or fewer of them per machine"
            ) from error


@contextlib.contextmanager
def _own(n_jobs: int) -> Iterator[Any]:
    """A client of a cluster of processes on this machine, which lives as long as the client."""
    import joblib
    from distributed import Client, LocalCluster

    n_workers = n_jobs if n_jobs > 0 else joblib.cpu_count()
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=DASHBOARD) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextlib.contextmanager
def _fits_on(client: Any) -> Iterator[None]:
    """joblib's fits go to the workers, which must be there and have this featx."""
    import joblib
    from dask.sizeof import sizeof

    from featx.analysis import crossval, grams

    # Without it dask takes what holds arrays for small, and sends it with every fit.
    sizeof.register((crossval.Data, grams.Data), lambda data: sum(sizeof(one) for one in vars(data).values()))
    check_workers(client)
    with joblib.parallel_config("dask", client=client, wait_for_workers_timeout=WORKERS_S):
        yield


# --- extraction -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def extracting_on(gpus: Sequence[str], scheduler: str = "", scheduler_file: Path | None = None) -> Iterator[Any]:
    """A client whose workers extract features: those of a running scheduler, or one for each GPU of this machine.

    Parameters
    ----------
    gpus : sequence of str
        From `choose_gpus`; none where a scheduler is given.
    scheduler : str
        Its address, or its file.
    """
    from featx.errors import AnalysisError

    _need_dask("--gpus" if gpus else "--scheduler")
    given = [one for one in (scheduler, str(scheduler_file or ""), ",".join(gpus)) if one]
    if len(given) != 1:
        raise AnalysisError(
            "workers must come from one place: --gpus, --scheduler or --scheduler-file; got "
            f"{' and '.join(given) or 'none'}; give one of them"
        )
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what becomes of a lost worker, featx says itself
    with _gpus(gpus) if gpus else _running(given[0]) as client:
        check_workers(client)
        yield client


@contextlib.contextmanager
def _gpus(gpus: Sequence[str]) -> Iterator[Any]:
    """A client of a cluster on this machine with a process for each GPU, which sees only that one.

    Processes have no limit of memory, which dask would share out by threads: a network on a GPU has one thread, and
    takes more than its share.
    """
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    options = {"nthreads": 1, "memory_limit": 0, "host": "127.0.0.1", "dashboard_address": DASHBOARD}
    workers = {
        f"gpu-{gpu}": {"cls": Nanny, "options": {**options, "env": {"CUDA_VISIBLE_DEVICES": gpu}}} for gpu in gpus
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": DASHBOARD}}
    with (
        dask.config.set({"distributed.worker.daemon": False}),  # they decode in processes of their own
        SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def extract_there(
    images: Sequence[Image],
    requests: Sequence[Request],
    output: Path,
    *,
    gpus: str = "",
    scheduler: str = "",
    scheduler_file: Path | None = None,
    device: str = "auto",
    **options: Any,
) -> Summary:
    """Extract on GPUs of this machine, or on a running cluster, and show how far it is.

    Parameters
    ----------
    gpus : str
        Words for `choose_gpus`; "" where a scheduler is given.
    options
        Fields of `featx.extraction.shards.Asked`: loading, running.
    """
    from featx.errors import DeviceError
    from featx.extraction.cluster import extract_on_cluster, fetch_official
    from featx.extraction.shards import make_asked

    if gpus and device == "cpu":
        raise DeviceError(
            f"a device must be wanted one way; got --gpus {gpus} and --device cpu; leave one of them out"
        )
    chosen = choose_gpus(gpus, visible_gpus()) if gpus else []
    asked = make_asked(requests, "cuda" if chosen else device, cache_dir(), cache_dir, **options)
    with progress("weights", "bytes") as update:
        fetch_official(asked, lambda done, all_: update(done, all_, ""))
    with extracting_on(chosen, scheduler, scheduler_file) as client, progress("images", "images") as update:

        def show(at: Tally, n_workers: int) -> None:
            failed = f", {at.failed} failed" if at.failed else ""
            update(at.finished, at.total, f", {n_workers} worker{'s' * (n_workers != 1)}{failed}")

        return extract_on_cluster(client, asked, images, output, on_progress=show, on_note=say)


def choose_gpus(asked: str, there: Sequence[str]) -> list[str]:
    """The GPUs that are asked for, by their names to CUDA.

    Parameters
    ----------
    asked : str
        "all", a number of them, or their places among those that are there, such as "0,2".
    there : sequence of str
        From `visible_gpus`.

    Raises
    ------
    DeviceError
        There are fewer, or none, or it is no such word.

    Examples
    --------
    >>> choose_gpus("all", ["0", "1"]), choose_gpus("1", ["4", "5"]), choose_gpus("1,", ["4", "5"])
    (['0', '1'], ['4'], ['5'])
    """
    from featx.errors import DeviceError

    places = range(len(there)) if asked == "all" else range(int(asked)) if asked.isdecimal() else _places(asked)
    if not places or len(set(places)) < len(places):
        raise DeviceError(
            f"--gpus must be all, a number of them, or the places of different ones such as 0,1; got {asked!r}; for "
            "none, leave it out and ask for --device cpu"
            if asked != "all"
            else "--gpus all needs a GPU that torch sees; it sees none; look at nvidia-smi and at the driver"
        )
    if max(places) >= len(there):
        raise DeviceError(
            f"--gpus {asked} needs as many GPUs that torch sees; it sees {len(there)}; look at nvidia-smi and at "
            "CUDA_VISIBLE_DEVICES, or ask for fewer"
        )
    return [there[at] for at in places]


def _places(asked: str) -> list[int]:
    """Numbers between commas; none where one is no number."""
    words = asked.removesuffix(",").split(",")
    return [int(one) for one in words] if all(one.strip().isdecimal() for one in words) else []


def visible_gpus() -> list[str]:
    """The GPUs that torch sees, by their names to CUDA: a number, or what CUDA_VISIBLE_DEVICES calls it."""
    import torch

    named = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    n = torch.cuda.device_count()
    return named[:n] if named else [str(at) for at in range(n)]


# --- both -----------------------------------------------------------------------------------------------------


def _need_dask(option: str) -> None:
    from featx.errors import DependencyError

    try:
        import distributed  # noqa: F401
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"dask.distributed must be installed for {option}; {error.name} is not; pip install 'featx[dask]'"
        ) from error


@contextlib.contextmanager
def _running(scheduler: str) -> Iterator[Any]:
    """A client of a scheduler that runs already, given by its address or its file."""
    from distributed import Client

    from featx.errors import AnalysisError

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


def check_workers(client: Any) -> None:
    """Workers must be there, and have this featx.

    Raises
    ------
    AnalysisError
        There are none within `WORKERS_S`, or they have another featx, or none.
    """
    import featx
    from featx.errors import AnalysisError

    try:
        client.wait_for_workers(1, timeout=WORKERS_S)
    except TimeoutError as error:
        raise AnalysisError(
            f"a dask cluster must have workers; it has none after {WORKERS_S} s; start some: dask worker ADDRESS"
        ) from error
    told = client.run(version, "featx", on_error="return").values()
    found = {"none" if isinstance(one, PackageNotFoundError) else str(one) for one in told}
    if found != {featx.__version__}:
        raise AnalysisError(
            f"dask workers must have featx {featx.__version__}, as this machine has; they have "
            f"{', '.join(sorted(found))}; install it there"
        )
