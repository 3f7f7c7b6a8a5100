"""The feature file at the size of a biobank: collecting parts, and finding out what is done already.

    python benchmarks/store.py
    python benchmarks/store.py --images 4000

Parts of random numbers are written as an extraction writes them. Then each arm runs in a process of its own, which
tells its time and its largest memory:

collect         all parts into one feature file: `featx.extraction.parts.collect`, read back and verified, against a
                plain script: h5py, `np.concatenate`, one argsort, no checks
resume          what an extraction reads before it starts: `read_done` of the output and `still_to_do` for each
                network, against a plain script that makes a set of the ids of each feature set
resume, parts   the same before anything is collected
resume, many    the same with as many feature sets as every tap and axis of a network gives

That both arms give the same rows, and find the same images done, is checked in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from featx import schema, store
from featx.extraction.parts import collect, read_done
from featx.extraction.plan import PlannedSet, still_to_do
from featx.featureset import FeatureSet
from featx.images.image import Image
from featx.networks.sheet import View

MANY = 24  # squeezenet1_0, all taps, three axes
ORDER = ("resume, parts", "plain collect", "collect", "plain resume", "resume", "plain resume, many", "resume, many")


def main() -> None:
    """Make parts, run every arm, print a table; exit code 1 where the arms disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--part-rows", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(_measure(args.arm[0], Path(args.arm[1]), args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _run("make", Path(folder), args)
        rounds = [_round(Path(folder), args) for _ in range(args.rounds)]
        same = _same_rows(Path(folder))
    _report(args, rounds, same)
    sys.exit(not same)


# --- what is made ---------------------------------------------------------------------------------------------


def images_of(n: int) -> list[Image]:
    """Images of people with two visits each, in an order that is not that of their ids."""
    made = []
    for at in np.random.default_rng(0).permutation(n):
        person, session = f"sub-{1_000_000 + at // 2 * 13}", f"ses-{at % 2 + 2}"
        made.append(Image(f"{person}_{session}", person, session, "", Path(f"{person}.zip")))
    return made


def planned_of(n_sets: int) -> list[PlannedSet]:
    """One set of each network that is made up, with provenance of the usual length."""
    planned = []
    for at in range(n_sets):
        facts = {name: f"{name} of {at}: " + "x" * 300 for name in schema.names(schema.PROVENANCE)}
        planned.append(PlannedSet(f"net{at:02d}/volume/features/mean", View("volume"), "features", "mean", facts))
    return planned


def _sets(images: list[Image], planned: list[PlannedSet], width: int, rng: np.random.Generator) -> list[FeatureSet]:
    ids = [
        np.array([getattr(one, name) for one in images], dtype=object)
        for name in ("image_id", "participant_id", "session_id")
    ]
    return [
        FeatureSet(one.name, rng.random((len(images), width), np.float32), *ids, one.provenance) for one in planned
    ]


def _make(folder: Path, args: argparse.Namespace) -> None:
    images, rng = images_of(args.images), np.random.default_rng(1)
    planned = planned_of(args.networks)
    for first in range(0, len(images), args.part_rows):
        some = images[first : first + args.part_rows]
        store.write_sets(folder / f"made/part-{first:08d}.h5", _sets(some, planned, args.features, rng))
    store.write_sets(folder / "many.h5", _sets(images, planned_of(MANY), 8, rng))


def _lay_out(folder: Path, output: Path) -> None:
    """The parts anew, as links, for `collect` removes them."""
    output.unlink(missing_ok=True)
    parts = output.with_name(f"{output.name}.parts")
    parts.mkdir(exist_ok=True)
    for part in (folder / "made").iterdir():
        if not (parts / part.name).exists():
            os.link(part, parts / part.name)


# --- the arms -------------------------------------------------------------------------------------------------


def _collect(folder: Path) -> None:
    collect(folder / "features.h5")


def _plain_collect(folder: Path) -> None:
    """What one writes in ten minutes: all in memory, no checks."""
    columns: dict[str, dict[str, list[np.ndarray]]] = {}
    for part in sorted((folder / "made").iterdir()):
        with h5py.File(part) as file:
            for name in file["sets"]:
                group = file[f"sets/{name}/volume/features/mean"]
                here = columns.setdefault(name, {})
                for column in group:
                    of = group[column]
                    here.setdefault(column, []).append(of[:] if column == "features" else of.asstr()[:])
    with h5py.File(folder / "plain.h5", "w") as file:
        for name, here in columns.items():
            whole = {column: np.concatenate(values) for column, values in here.items()}
            order = np.argsort(whole["image_id"])
            for column, values in whole.items():
                file[f"{name}/{column}"] = values[order]


def _resume(output: Path, planned: list[PlannedSet], images: list[Image]) -> list[int]:
    done = read_done(output)
    return [len(still_to_do(images, [one], done)) for one in planned]


def _plain_resume(output: Path, planned: list[PlannedSet], images: list[Image]) -> list[int]:
    left = []
    with h5py.File(output) as file:
        for one in planned:
            there = set(file[f"sets/{one.name}/image_id"].asstr()[:])
            left.append(sum(image.image_id not in there for image in images))
    return left


def _measure(arm: str, folder: Path, args: argparse.Namespace) -> dict[str, object]:
    images = images_of(args.images + args.images // 100)  # one in a hundred is still to do
    few, many = planned_of(args.networks), planned_of(MANY)
    arms: dict[str, Callable[[], object]] = {
        "make": lambda: _make(folder, args),
        "collect": lambda: _collect(folder),
        "plain collect": lambda: _plain_collect(folder),
        "resume": lambda: _resume(folder / "features.h5", few, images),
        "plain resume": lambda: _plain_resume(folder / "features.h5", few, images),
        "resume, parts": lambda: _resume(folder / "features.h5", few, images),
        "resume, many": lambda: _resume(folder / "many.h5", many, images),
        "plain resume, many": lambda: _plain_resume(folder / "many.h5", many, images),
    }
    start = time.perf_counter()
    found = arms[arm]()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "found": found}


def _round(folder: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    _lay_out(folder, folder / "features.h5")
    told = {arm: _run(arm, folder, args) for arm in ORDER}
    for first, second in (("resume", "plain resume"), ("resume, many", "plain resume, many")):
        if told[first]["found"] != told[second]["found"]:
            sys.exit(f"{first}: {told[first]['found']} images are left, and {told[second]['found']} of the plain arm")
    return told


def _run(arm: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """An arm in a process of its own; the largest memory of a process is at least what its parent held, so that all
    arms start from this small one."""
    options = [
        f"--{name}={getattr(args, name.replace('-', '_'))}"
        for name in ("images", "networks", "features", "part-rows")
    ]
    command = [sys.executable, __file__, *options, "--arm", arm, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{arm}: {told['seconds']:.2f} s, {told['peak_mb']:.0f} MB", file=sys.stderr)
    return told


def _same_rows(folder: Path) -> bool:
    """Whether the collected file holds the rows of the plain script, ids and all."""
    with h5py.File(folder / "features.h5") as ours, h5py.File(folder / "plain.h5") as plain:
        return all(
            np.array_equal(ours[f"sets/{name}/volume/features/mean/{column}"][:], plain[f"{name}/{column}"][:])
            for name in plain
            for column in plain[name]
        )


def _report(args: argparse.Namespace, rounds: list[dict[str, dict[str, float]]], same: bool) -> None:
    print(f"\n{args.images} images, {args.networks} networks x {args.features} features, parts of {args.part_rows} ")
    print(f"images, {args.rounds} rounds, {platform.machine()}, Python {platform.python_version()}\n")
    print("| | featx, s (least to most) | MB | plain script, s | MB | featx / plain |\n|---|---|---|---|---|---|")
    for arm in ("collect", "resume", "resume, parts", "resume, many"):
        cells = [_cells(rounds, arm)]
        ratio = ""
        if f"plain {arm}" in rounds[0]:
            cells.append(_cells(rounds, f"plain {arm}"))
            ratios = [one[arm]["seconds"] / one[f"plain {arm}"]["seconds"] for one in rounds]
            ratio = f"{statistics.median(ratios):.2f}"
        else:
            cells.append(" | ")
        print(f"| {arm} | {' | '.join(cells)} | {ratio} |")
    print(f"\nrows equal to those of the plain script: {'yes' if same else 'NO'}")


def _cells(rounds: list[dict[str, dict[str, float]]], arm: str) -> str:
    seconds = [one[arm]["seconds"] for one in rounds]
    peak = max(one[arm]["peak_mb"] for one in rounds)
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}) | {peak:.0f}"


if __name__ == "__main__":
    main()
