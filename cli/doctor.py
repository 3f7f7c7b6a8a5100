"""featx doctor: what this machine has, and whether it computes what others compute."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import featx
from featx.errors import DependencyError
from featx_cli.added import resolved
from featx_cli.console import SOME_FAILED, cache_dir, progress, say

if TYPE_CHECKING:
    from featx.extraction.golden import Verdict
    from featx.networks.sheet import Network

EXTRAS = {
    "torch": ("torch", "torchvision", "safetensors", "isal"),
    "timm": ("timm",),
    "monai": ("monai",),
    "demo": ("nilearn",),
    "tables": ("pyarrow", "openpyxl"),
    "skops": ("skops",),
    "dask": ("distributed",),
}
# One of each kind, quickly run.
USUAL = ("squeezenet1_0.imagenet", "resnet18.imagenet", "vit_b_16.imagenet", "r3d_18.kinetics400", "sfcn.narrow")


def command(
    network: list[str] = typer.Option(
        [],
        "--network",
        "-n",
        help="Networks to run, wildcards too; '*' for all (minutes). Default: one of each kind. For --precision also "
        "NAME@WEIGHTS.",
    ),
    device: str = typer.Option("auto", help="Where the golden image is run: auto, cpu or cuda."),
    precision: bool = typer.Option(
        False,
        "--precision",
        help="Measure too how far features in half precision are from those in float32, and how long each takes. "
        "It is noted, and `featx extract --precision auto` goes by it.",
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object instead."),
    write: Path | None = typer.Option(None, help="Write the golden features found here to a file.", hidden=True),
) -> None:
    """Say what this machine has (versions, extras, memory, GPUs, fetched networks), and test its arithmetic.

    The golden image (the MNI152 brain that featx holds) is run through networks with fixed weights, and through every
    network that was fetched; their features must be those that featx knows, or that were noted when the weights
    were fetched, within a ten-thousandth. Exit code 3 if some are not: do not trust features of this machine then.

    \b
    Example:
    featx doctor -n resnet50.imagenet_v2 --precision
    """
    network = resolved(network)
    facts = _machine()
    if not as_json:
        _say_machine(facts)
    verdicts = list(_verdicts([_name(one) for one in network], device, write))
    if not as_json:
        _say_verdicts(verdicts)
    precisions = list(_precisions(network, device)) if precision and verdicts else []
    if as_json:
        rows = [_row(one) for one in verdicts]
        say(json.dumps({**facts, "golden": rows, "precisions": [_finite(one) for one in precisions]}, indent=2))
    elif precisions:
        _say_precisions(precisions)
    if any(not one.reproduced and not math.isnan(one.difference) for one in verdicts):
        raise typer.Exit(SOME_FAILED)


def _row(verdict: Verdict) -> dict[str, Any]:
    return _finite({**vars(verdict), "reproduced": verdict.reproduced})


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON has it, which knows neither NaN nor infinity."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def _machine() -> dict[str, Any]:
    cache = cache_dir()
    fetched = sorted(cache.glob("*")) if cache.is_dir() else []
    at = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return {
        "featx": featx.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "extras": {extra: {name: _version(name) for name in packages} for extra, packages in EXTRAS.items()},
        "gpus": _gpus(),
        "cache": str(cache),
        "cache_files": {path.name: path.stat().st_size for path in fetched if path.is_file()},
        "cache_free_gib": round(shutil.disk_usage(at).free / 2**30, 1),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _gpus() -> list[dict[str, Any]]:
    try:
        import torch
    except ImportError:  # told with the golden image
        return []
    found = []
    for at in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(at)
        free, total = torch.cuda.mem_get_info(at)
        found.append(
            {
                "name": about.name,
                "capability": f"{about.major}.{about.minor}",
                "memory_gib": round(total / 2**30, 1),
                "free_gib": round(free / 2**30, 1),
            }
        )
    return found


def _say_machine(facts: dict[str, Any]) -> None:
    say(f"featx {facts['featx']}, Python {facts['python']}, {facts['platform']}")
    say(f"{facts['processors']} processors, {facts['memory_gib']} GiB of memory")
    for gpu in facts["gpus"]:
        say(f"GPU: {gpu['name']}, {gpu['memory_gib']} GiB ({gpu['free_gib']} free), compute {gpu['capability']}")
    if not facts["gpus"]:
        say("GPU: none that torch sees; extraction runs on the CPU")
    for extra, packages in facts["extras"].items():
        there = [f"{name} {number}" for name, number in packages.items() if number]
        absent = [name for name, number in packages.items() if not number]
        told = ", ".join(there) + (f"{'; ' if there else ''}without {', '.join(absent)}" if absent else "")
        say(f"  extra {extra:7} {told}" + (f" (pip install 'featx[{extra}]')" if absent else ""))
    files = facts["cache_files"]
    size = sum(files.values()) / 1e6
    say(f"cache {facts['cache']}: {len(files)} files, {size:.0f} MB; {facts['cache_free_gib']} GiB free there")


def _verdicts(patterns: Sequence[str], device: str, write: Path | None) -> Iterator[Verdict]:
    try:
        from featx.extraction import golden
        from featx.extraction.device import choose_device
        from featx.networks.weights import OFFICIAL
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS["torch"]:
            raise
        say(f"golden image: not run, for {error.name} is not there; this machine can fit and report, not extract")
        return
    except ImportError as error:  # torch is there and broken
        raise DependencyError(f"torch must load to extract; it does not here ({error}); install it again") from error
    on = choose_device(device)
    chosen, cache = _chosen(patterns), cache_dir()
    known: dict[str, Any] = {}
    with progress("golden image", "networks") as update:
        for at, sheet in enumerate(chosen, start=1):
            if golden.skeleton(sheet) not in known:
                verdict = golden.tried(partial(golden.check_architecture, sheet, on), sheet.name, golden.GOLDEN)
                known[golden.skeleton(sheet)] = verdict.features
                yield verdict
            if golden.is_fetched(sheet, cache):
                yield golden.tried(partial(golden.check_official, sheet, cache, on), sheet.name, OFFICIAL)
            update(at, len(chosen), f", {sheet.name}")
    if write:
        write.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n", "utf-8")


def _chosen(patterns: Sequence[str]) -> list[Network]:
    """Networks that are asked for; without: the usual ones, and those that were fetched."""
    from featx.errors import FeatxError
    from featx.extraction.golden import is_fetched, noted_networks
    from featx.networks import NETWORKS, get_network

    if patterns:
        names = [name for one in patterns for name in ([n for n in NETWORKS if fnmatchcase(n, one)] or [one])]
        return [get_network(name) for name in dict.fromkeys(names)]
    cache = cache_dir()
    usual = [sheet for name, sheet in NETWORKS.items() if name in USUAL or is_fetched(sheet, cache)]
    others = []
    for name in noted_networks(cache):  # those that are named by a pattern
        with contextlib.suppress(FeatxError):
            others += [get_network(name)] if name not in NETWORKS else []
    return usual + others


def _name(word: str) -> str:
    """The network of NAME or NAME@WEIGHTS."""
    from featx.extraction.plan import divide_name

    return divide_name(word)[0]


def _precisions(words: Sequence[str], device: str) -> Iterator[dict[str, Any]]:
    """A row per network and precision, as the table and the JSON have it."""
    from featx.errors import FeatxError, first_line
    from featx.extraction.device import choose_device
    from featx.extraction.plan import divide_name
    from featx.extraction.precision import measure_named

    asked = [divide_name(one) for one in words] or [("", "")]
    todo = [(sheet, weights) for name, weights in asked for sheet in _chosen([name] if name else [])]
    on = choose_device(device)
    with progress("precision", "networks") as update:
        for at, (sheet, weights) in enumerate(todo, start=1):
            try:
                had, measured = measure_named(sheet, weights, cache_dir(), on)
            except (FeatxError, RuntimeError, MemoryError) as error:
                yield {"network": sheet.name, "weights": weights, "precision": "", "told": first_line(error)}
                continue
            for one in measured:
                yield {"network": sheet.name, "weights": had, **vars(one), "allowed": one.allowed}
            update(at, len(todo), f", {sheet.name}")


def _say_precisions(rows: Sequence[Mapping[str, Any]]) -> None:
    from featx.extraction.golden import GOLDEN
    from featx.extraction.precision import TOLERANCE

    say(f"precision (largest difference from float32: of a row, of a feature; allowed is a row under {TOLERANCE:g}):")
    width, wide = (max(len(one[column]) for one in rows) for column in ("network", "weights"))
    for one in rows:
        if one["told"]:
            told = f"not run: {one['told']}"
        else:
            verdict = "allowed" if one["allowed"] else "not allowed: --precision auto does not take it"
            told = f"{one['error']:.1e}  {one['largest']:.1e}  {one['seconds']:7.3f} s an image  {verdict}"
        say(f"  {one['network']:{width}}  {one['weights']:{wide}}  {one['precision']:8}  {told}")
    golden = sorted({one["network"] for one in rows if one["weights"] == GOLDEN})
    if golden:
        say(f"Not noted of {', '.join(golden)}, for those were golden weights: fetch the official ones, or ask for")
        say("NAME@FILE. Other weights, other errors.")
    if any(one["weights"] != GOLDEN and one["precision"] for one in rows):
        say(f"Noted in {cache_dir()}, for `featx extract --precision auto`.")


def _say_verdicts(verdicts: Sequence[Verdict]) -> None:
    if not verdicts:
        return
    say("golden image (largest difference of a feature, relative to the largest of its set):")
    width = max(len(one.network) for one in verdicts)
    for one in verdicts:
        if one.told:
            told = f"not run: {one.told}"
        elif math.isnan(one.difference):
            told = "nothing is known to compare with; `featx networks fetch` notes it where the weights are fetched"
        else:
            told = f"{one.difference:.1e}, {'reproduced' if one.reproduced else 'NOT REPRODUCED'}"
        say(f"  {one.network:{width}}  {one.weights:8} weights  {one.seconds:5.1f} s  {told}")
    bad = [one for one in verdicts if not one.reproduced and not math.isnan(one.difference)]
    if arithmetic := [one.network for one in bad if not one.told]:
        say(f"This machine does not reproduce {', '.join(arithmetic)}: do not use its features. Compare the versions")
        say("above, try --device cpu, and look for a setting that lowers the precision (TF32, half).")
    if broken := [one.network for one in bad if one.told]:
        say(f"{', '.join(broken)} could not be run: see there.")
