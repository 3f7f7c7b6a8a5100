"""The arithmetic that a network runs in: float32, or a faster one where it was measured to give the same (torch).

Lower precisions are measured network by network, on the golden image, by ``featx doctor --precision``, and noted in
the cache. Features are pooled in float32 whatever the network runs in.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from featx.errors import DeviceError, FeatxError, first_line, known
from featx.extraction.device import full_float32
from featx.extraction.golden import GOLDEN, is_fetched, set_golden_weights
from featx.extraction.plan import Request, Wish, request_of
from featx.featureset import digest
from featx.images.template import template_on
from featx.networks.reading import Rows, make_reader
from featx.networks.recipe import prepare
from featx.networks.sheet import Network
from featx.networks.weights import OFFICIAL, build, load_network

AUTO, FLOAT32, TF32 = "auto", "float32", "tf32"
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}
PRECISIONS = (FLOAT32, TF32, *HALF)
TOLERANCE = 1e-3  # of the norm of a set's row: what `auto` lets a faster precision cost
_TIMED = 2


@dataclass(frozen=True)
class Measured:
    """What a precision costs and gains.

    Attributes
    ----------
    precision : str
    error : float
        Norm of the difference of a row to that in float32, relative to the row's norm; the worst set. Infinite where
        a value is not finite, or the network does not run in this precision.
    largest : float
        Largest difference of a feature, relative to the largest feature of its set; the worst set.
    seconds : float
        Per image, of the network and its views alone; the best of two passes.
    told : str
        Why the network does not run; "" where it does.
    """

    precision: str
    error: float
    largest: float
    seconds: float
    told: str = ""

    @property
    def allowed(self) -> bool:
        """Whether `auto` may take it."""
        return self.error < TOLERANCE


# --- decisions ------------------------------------------------------------------------------------------------


def available(device: str) -> tuple[str, ...]:
    """Precisions of a device, float32 first.

    Examples
    --------
    >>> available("cpu"), available("cuda:1")
    (('float32', 'bfloat16'), ('float32', 'tf32', 'float16', 'bfloat16'))
    """
    return PRECISIONS if device.startswith("cuda") else (FLOAT32, "bfloat16")


def check_precision(wanted: str, device: str) -> None:
    """Refuse what is no precision, or not one of the device.

    Raises
    ------
    DeviceError
    """
    if wanted not in (AUTO, *PRECISIONS):
        raise DeviceError(f"a precision must be one that featx has; got {wanted!r}; {known((AUTO, *PRECISIONS))}")
    if wanted != AUTO and wanted not in available(device):
        raise DeviceError(
            f"a precision must be one of its device; {wanted} is none of {device}; "
            f"ask for {' or '.join(available(device))} there, or for --device cuda"
        )


def choose(wanted: str, noted: Sequence[Measured]) -> str:
    """The precision to run in: what is asked for; for "auto" the fastest that was measured and is allowed.

    Examples
    --------
    >>> float32, half = Measured("float32", 0, 0, 0.2), Measured("float16", 4e-4, 9e-4, 0.1)
    >>> choose("auto", [float32, half]), choose("auto", []), choose("bfloat16", [float32, half])
    ('float16', 'float32', 'bfloat16')
    """
    if wanted != AUTO:
        return wanted
    allowed = [one for one in noted if one.allowed]
    return min(allowed, key=lambda one: one.seconds).precision if allowed else FLOAT32


def why(wanted: str, noted: Sequence[Measured], network: str) -> str:
    """The end of a sentence that tells a precision: why it is that one.

    Examples
    --------
    >>> why("auto", [], "sfcn.ukb_age")
    'nothing else was measured here: featx doctor -n sfcn.ukb_age --precision'
    >>> why("auto", [Measured("float32", 0, 0, 0.2), Measured("bfloat16", 4e-3, 9e-3, 0.1)], "sfcn.ukb_age")
    'the fastest within 0.001; bfloat16: 0.004'
    """
    if wanted != AUTO:
        return "as asked for"
    if not noted:
        return f"nothing else was measured here: featx doctor -n {network} --precision"
    others = ", ".join(f"{one.precision}: {one.error:.2g}" for one in noted if one.precision != FLOAT32)
    return f"the fastest within {TOLERANCE:g}; {others}"


# --- running --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def under(precision: str, device: str) -> Iterator[None]:
    """Run networks in a precision, within `featx.extraction.device.full_float32`.

    float16 and bfloat16 are torch's autocast: convolutions and matrix products take half, what would lose by it stays
    in float32. tf32 rounds the factors of products to ten bits.
    """
    if precision in HALF:
        with torch.autocast(device.partition(":")[0], HALF[precision]):
            yield
    elif precision == TF32:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
                yield
        finally:
            torch.set_float32_matmul_precision(before)
    else:
        yield


# --- measuring ------------------------------------------------------------------------------------------------


def measure_named(sheet: Network, weights: str, cache: Path, device: str) -> tuple[str, list[Measured]]:
    """Measure a network with its default taps and views, and note it; which weights it had.

    Parameters
    ----------
    weights : str
        As in `featx.networks.weights.load_network`; "" takes official ones if they are in the cache, else golden
        ones, of which nothing is noted.
    """
    word = weights or (OFFICIAL if is_fetched(sheet, cache) else GOLDEN)
    request = request_of(sheet, word, Wish())
    if word == GOLDEN:
        with torch.random.fork_rng(devices=[]):
            network = build(sheet).eval().requires_grad_(False)
        set_golden_weights(network)
        return word, measure(network, request, device)
    loaded = load_network(sheet, word, cache)
    measured = measure(loaded.network, request, device)
    note(measured, sheet.name, loaded.sha256, cache, device)
    return loaded.weights, measured


def measure(network: torch.nn.Module, request: Request, device: str) -> list[Measured]:
    """Run a network over the golden image in every precision of a device; float32 first.

    Parameters
    ----------
    network : Module
        Loaded, in eval mode; it is optimised in place.
    request : Request
        Whose taps, views and poolings are read.
    """
    data = prepare(template_on(request.recipe.grid), request.recipe, request.sheet.name, "the golden image")
    volumes = torch.from_numpy(np.ascontiguousarray(data))[None, None].to(device)
    sheet = replace(request.sheet, recipe=request.recipe)
    read = make_reader(network.to(device), sheet, request.taps, request.poolings)

    def run() -> Rows:
        by_view = {view.name: read(volumes, view) for view in request.recipe.views}
        return {(f"{view}/{tap}", how): x.cpu() for view, rows in by_view.items() for (tap, how), x in rows.items()}

    wanted, seconds = _timed(run, FLOAT32, device)
    found = [Measured(FLOAT32, 0.0, 0.0, seconds)]
    for precision in available(device)[1:]:
        try:
            rows, seconds = _timed(run, precision, device)
            found.append(Measured(precision, *errors(rows, wanted), seconds))
        except (FeatxError, RuntimeError) as error:  # not every layer has a half
            found.append(Measured(precision, math.inf, math.inf, math.nan, first_line(error)))
    return found


def _timed(run: Callable[[], Rows], precision: str, device: str) -> tuple[Rows, float]:
    best = math.inf
    with full_float32(device), under(precision, device):
        rows = run()
        for _ in range(_TIMED):
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
    return rows, best


def errors(
    found: Mapping[tuple[str, str], torch.Tensor], wanted: Mapping[tuple[str, str], torch.Tensor]
) -> tuple[float, float]:
    """Error in the norm, and of the worst feature, of the worst set; see `Measured`.

    Examples
    --------
    >>> a, b = {("t", "mean"): torch.tensor([[3.0, 4.0]])}, {("t", "mean"): torch.tensor([[3.0, 4.5]])}
    >>> errors(b, a)
    (0.1, 0.125)
    """
    worst, largest = 0.0, 0.0
    for name, one in wanted.items():
        there, here = one.double(), found[name].double()
        if not here.isfinite().all():
            return math.inf, math.inf
        apart = here - there
        worst = max(worst, float(apart.norm() / there.norm().clamp_min(1e-30)))
        largest = max(largest, float(apart.abs().max() / there.abs().max().clamp_min(1e-30)))
    return worst, largest


# --- what was measured ----------------------------------------------------------------------------------------


def note(measured: Sequence[Measured], network: str, weights_sha256: str, cache: Path, device: str) -> None:
    """Note what was measured of a network with these weights on this device, in a file of the cache."""
    path = _note_file(network, weights_sha256, cache, device)
    text = json.dumps(
        {**_key(network, weights_sha256, device), "measured": [asdict(one) for one in measured]}, indent=1
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_noted(network: str, weights_sha256: str, cache: Path, device: str) -> list[Measured]:
    """What was noted of a network with these weights, this device and this torch; nothing where nothing was, or where
    the note is damaged."""
    try:
        noted = json.loads(_note_file(network, weights_sha256, cache, device).read_text("utf-8"))
        return [Measured(**one) for one in noted["measured"] if one["precision"] in available(device)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _note_file(network: str, weights_sha256: str, cache: Path, device: str) -> Path:
    return cache / f"precision-{digest(_key(network, weights_sha256, device))[:16]}.json"


def _key(network: str, weights_sha256: str, device: str) -> dict[str, str]:
    """What a measurement holds for."""
    return {
        "network": network,
        "weights_sha256": weights_sha256,
        "device": device_name(device),
        "torch": torch.__version__,
    }


def device_name(device: str) -> str:
    """The GPU's name, or what instructions the CPU has."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
