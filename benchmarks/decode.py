"""Reading alone: `featx.images.volume.read_volume` against nibabel, both as people call it.

    python benchmarks/decode.py --rounds 7

Made brains (smooth texture, zero around it) of 1 and 2 mm, as int16, float32 and uint8, packed and not. Every arm
reads the same file in the same process, in turns, from the page cache:

featx      voxels as they are stored, checked for being whole, with their slope and affine
get_fdata  `nibabel.load(path).get_fdata()`: float64, as most scripts have it
asanyarray `numpy.asanyarray(nibabel.load(path).dataobj)`: as stored where the header has no slope; of an unpacked
           file that is a memory map, which is copied, for otherwise nothing would be read

Ratios are taken round by round and their median is told. That all three give the same grey values is checked in the
same run; the exit code is 1 if they do not. featx takes igzip where the package isal is there: it is said.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from featx.images.template import template_on
from featx.images.volume import MNI152_1MM, MNI152_2MM, grid_affine, read_volume, write_volume

ARMS: dict[str, Callable[[Path], np.ndarray]] = {
    "featx": lambda path: read_volume(path).stored,
    "get_fdata": lambda path: nib.load(path).get_fdata(),
    "asanyarray": lambda path: _in_memory(np.asanyarray(nib.load(path).dataobj)),
}


def _in_memory(voxels: np.ndarray) -> np.ndarray:
    return np.array(voxels, order="K") if isinstance(voxels, np.memmap) else voxels


def main() -> None:
    """Make the files, run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    igzip = "igzip" if find_spec("isal") else "zlib"
    print(f"{args.rounds} rounds, nibabel {nib.__version__}, featx with {igzip}, {platform.machine()}\n")
    print("| file | MB | featx, ms | get_fdata, ms | asanyarray, ms | get_fdata / featx | asanyarray / featx |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for path in _files(Path(folder)):
            rows.append(_row(path, args.rounds))
            print("| " + " | ".join(map(str, rows[-1].values())) + " |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


def _files(folder: Path):
    for grid, size in ((MNI152_1MM, "1 mm"), (MNI152_2MM, "2 mm")):
        brain = template_on(grid).data
        noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(grid.shape), 0.7)
        grey = np.clip(brain * (1 + 0.1 * noise) / brain.max(), 0, 1) * (brain > 0)
        for kind, top in (("int16", 1000), ("float32", 1), ("uint8", 255)):
            values = np.asfortranarray(grey * top).astype(kind)
            for suffix in (".nii.gz", ".nii"):
                path = folder / f"{kind}, {size}{suffix}"
                write_volume(path, values, grid_affine(grid))
                yield path


def _row(path: Path, rounds: int) -> dict[str, str]:
    found = {arm: read(path) for arm, read in ARMS.items()}
    if any(not np.array_equal(found["featx"], one) for one in found.values()):
        sys.exit(f"{path.name}: the grey values differ")
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(rounds):
        for arm, read in ARMS.items():
            start = time.perf_counter()
            read(path)
            seconds[arm].append(time.perf_counter() - start)
    row = {"file": path.name, "MB": f"{path.stat().st_size / 1e6:.1f}"}
    row |= {arm: f"{1e3 * statistics.median(values):.1f}" for arm, values in seconds.items()}
    for arm in ("get_fdata", "asanyarray"):
        ratios = [theirs / ours for theirs, ours in zip(seconds[arm], seconds["featx"], strict=True)]
        row[f"{arm} / featx"] = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return row


if __name__ == "__main__":
    main()
