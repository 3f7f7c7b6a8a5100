"""Does this machine compute what others compute? One golden image through every network, against known features.

The golden image is the bundled MNI152 brain on the network's grid. ``golden.json`` holds, for every architecture of
the table, features of that image under **golden weights**, which depend on nothing but numpy's PCG64: they show that
reading, recipe, architecture and arithmetic give here what they gave where the file was made. Of a network's own
weights the features are noted beside them when they are fetched (`note`), so that another machine, or its GPU,
can be held to them.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from featx.errors import DependencyError, FeatxError, first_line
from featx.extraction.device import full_float32
from featx.extraction.plan import Request, Wish, request_of
from featx.featureset import digest
from featx.images.template import template_on
from featx.networks.download import find_cached
from featx.networks.reading import make_reader
from featx.networks.recipe import describe, prepare
from featx.networks.sheet import PICTURES, Network
from featx.networks.weights import OFFICIAL, build, load_network

GOLDEN = "golden"
TOLERANCE = 1e-4  # of the largest feature of a set; another number of threads changes 6.5e-7 of it at most
N_SLICES = 2
N_KEPT = 8
_NOTE = ".golden.json"
_FILE = Path(__file__).parent / "golden.json"

Features = dict[str, dict[str, Any]]  # view/tap/pooling -> {"scale": largest absolute value, "values": some of them}


@dataclass(frozen=True)
class Verdict:
    """Whether a network gives the known features of the golden image.

    Attributes
    ----------
    network, weights : str
        "golden" or "official" weights.
    difference : float
        Largest difference to what is known, relative to the largest feature of its set; NaN if nothing is known.
    seconds : float
        That the network took, building and weights included.
    features : dict
        What it gave.
    told : str
        Why it could not be run; "" where it was.
    """

    network: str
    weights: str
    difference: float
    seconds: float
    features: Features = field(default_factory=dict)
    told: str = ""

    @property
    def reproduced(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= TOLERANCE


def golden_request(sheet: Network) -> Request:
    """The sheet's default taps along its first default view, of pictures a few slices, averaged."""
    few = sheet.takes == PICTURES and "slices" not in sheet.fixed
    return request_of(sheet, GOLDEN, Wish(views=sheet.default_views[:1], n_slices=N_SLICES if few else None))


def skeleton(sheet: Network) -> str:
    """Digest of what the golden features depend on: entries of the table that differ by weights alone share it."""
    request = golden_request(sheet)
    recipe = describe(request.recipe, request.recipe.views[0], resampling=False)
    taps = {tap: sheet.taps[tap].module for tap in request.taps}
    return digest([sheet.architecture, json.loads(json.dumps(dict(sheet.arguments))), recipe, taps])[:16]


def set_golden_weights(network: nn.Module) -> None:
    """Give every parameter and batch-norm statistic a value that depends on its name and shape alone, in place.

    Weights are uniform about 0 with variance 1 / fan-in; vectors and variances lie about 1, biases and means about
    0, so that a statistic that is forgotten, or folded wrongly, shows. (With twice that variance, as trained networks
    start, those with gates, EfficientNets and RegNets, blow rounding up to a tenth of their features.)
    """
    statistics = [item for item in network.named_buffers() if item[0].endswith(("running_mean", "running_var"))]
    for name, values in [*network.named_parameters(), *statistics]:
        rng = np.random.default_rng([len(name), *name.encode()])
        about_0 = values.ndim >= 2 or name.endswith(("bias", "running_mean"))
        most = math.sqrt(3 * len(values) / values.numel()) if values.ndim >= 2 else 0.25
        drawn = torch.from_numpy(np.asarray(rng.random(values.shape, dtype=np.float32))) * 2 - 1
        with torch.no_grad():
            values.copy_(drawn * most + (0 if about_0 else 1))


def golden_features(sheet: Network, network: nn.Module, device: str) -> Features:
    """Features of the golden image by a network on a device, along `golden_request`."""
    request = golden_request(sheet)
    (view,) = request.recipe.views
    data = prepare(template_on(request.recipe.grid), request.recipe, sheet.name, "the golden image")
    volumes = torch.from_numpy(np.ascontiguousarray(data))[None, None].to(device)
    with full_float32(device):
        read = make_reader(network.to(device), replace(sheet, recipe=request.recipe), request.taps, request.poolings)
        found = read(volumes, view)
    rows = {f"{view.name}/{tap}/{how}": values[0].double().cpu().numpy() for (tap, how), values in found.items()}
    return {name: _some(values) for name, values in rows.items()}


def _some(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    at = np.unique(np.linspace(0, len(values) - 1, N_KEPT).astype(int))
    scale = float(np.abs(values).max())
    return {"scale": float(f"{scale:.7g}"), "values": [float(f"{value:.7g}") for value in values[at]]}


def difference(found: Features, wanted: Features) -> float:
    """Largest difference of two sets of golden features, relative to the largest value of its set; infinite if they
    are not of the same taps.

    Examples
    --------
    >>> difference({"a": {"scale": 2.0, "values": [1.0, 2.0]}}, {"a": {"scale": 2.0, "values": [1.0, 1.5]}})
    0.25
    """
    if found.keys() != wanted.keys():
        return math.inf
    worst = 0.0
    for name, one in wanted.items():
        here, there = (np.array([*of["values"], of["scale"]]) for of in (found[name], one))
        if here.shape != there.shape or not np.isfinite(here).all():
            return math.inf
        worst = max(worst, float(np.abs(here - there).max()) / (one["scale"] or 1.0))
    return worst


# --- golden weights -------------------------------------------------------------------------------------------


def known_features() -> Mapping[str, Features]:
    """What golden.json holds: features by `skeleton`."""
    found: dict[str, Features] = json.loads(_FILE.read_text("utf-8"))
    return found


def tried(check: Callable[[], Verdict], network: str, weights: str) -> Verdict:
    """A check's verdict; where the network cannot be run, one that says why, which costs no other network its own."""
    try:
        return check()
    except DependencyError as error:  # what is not installed is no fault of the machine
        return Verdict(network, weights, math.nan, 0, told=str(error))
    except (FeatxError, RuntimeError, MemoryError) as error:
        return Verdict(network, weights, math.inf, 0, told=first_line(error))


def check_architecture(sheet: Network, device: str) -> Verdict:
    """A network with golden weights against golden.json."""
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        network = build(sheet).eval()
    set_golden_weights(network)
    found = golden_features(sheet, network, device)
    wanted = known_features().get(skeleton(sheet))
    worst = math.nan if wanted is None else difference(found, wanted)
    return Verdict(sheet.name, GOLDEN, worst, time.perf_counter() - start, found)


# --- a network's own weights ----------------------------------------------------------------------------------


def is_fetched(sheet: Network, cache: Path) -> bool:
    """Whether official weights are in the cache."""
    return sheet.weights is not None and find_cached(sheet.weights, cache) is not None


def note(sheet: Network, cache: Path) -> None:
    """Note the golden features of official weights, on the CPU of this machine, in a file beside them.

    A note of the same weights is kept: it is what this machine is held to.
    """
    loaded = load_network(sheet, OFFICIAL, cache)
    if _noted(_note_file(sheet, cache), skeleton(sheet), loaded.sha256) is not None:
        return
    facts = {"skeleton": skeleton(sheet), "weights_sha256": loaded.sha256}
    text = json.dumps({**facts, "features": golden_features(sheet, loaded.network, "cpu")}, indent=1)
    path = _note_file(sheet, cache)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def check_official(sheet: Network, cache: Path, device: str) -> Verdict:
    """A network with its official weights against what was noted beside them; NaN if nothing was."""
    start = time.perf_counter()
    loaded = load_network(sheet, OFFICIAL, cache)
    found = golden_features(sheet, loaded.network, device)
    noted = _noted(_note_file(sheet, cache), skeleton(sheet), loaded.sha256)
    worst = math.nan if noted is None else difference(found, noted)
    return Verdict(sheet.name, OFFICIAL, worst, time.perf_counter() - start, found)


def _noted(path: Path, wanted: str, weights_sha256: str) -> Features | None:
    """Features that were noted of these weights; None where there are none, of others, or damaged ones."""
    try:
        noted = json.loads(path.read_text("utf-8"))
        if (noted["skeleton"], noted["weights_sha256"]) != (wanted, weights_sha256):
            return None
        return {
            name: {"scale": float(one["scale"]), "values": list(map(float, one["values"]))}
            for name, one in noted["features"].items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def noted_networks(cache: Path) -> list[str]:
    """Names of the networks whose features were noted when they were fetched."""
    return sorted(path.name.removesuffix(_NOTE) for path in cache.glob(f"*{_NOTE}"))


def _note_file(sheet: Network, cache: Path) -> Path:
    return cache / f"{sheet.name}{_NOTE}"
