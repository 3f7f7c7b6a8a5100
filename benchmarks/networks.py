"""Images per second and peak memory of networks with random weights, each in a process of its own.

    python benchmarks/networks.py FOLDER                     every network of volumes, clips and sets, on the CPU
    python benchmarks/networks.py FOLDER -n 'resnet*' --device cuda

Every network runs as `featx extract` runs it: its default taps, views and batch size; brains on another grid than its
own are resampled, and misfits that may be accepted are (of grey values, say: random weights do not mind). The first
image is told apart. With --device cuda the features are compared with those of the CPU in the same run: the largest
difference, relative to the largest feature of its set.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np


def main() -> None:
    """Run the networks one after the other and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="brains in MNI152 space")
    parser.add_argument("-n", "--network", action="append", default=[], help="names, wildcards too")
    parser.add_argument("--images", type=int, default=6, help="read again if there are fewer")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args)))
        return
    import torch

    rows = [_in_a_process(args, name) for name in _chosen(args.network)]
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    print(f"\n{args.images} images, torch {torch.__version__}, {where}, {platform.machine()}\n")
    print("| network | parameters, M | grid | features | first image, s | images/s | peak memory, MB | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        numbers = f"{row['parameters']:.1f} | {row['grid']} | {row['features']} | {row['first']:.2f} | {row['rate']}"
        print(f"| {row['name']} | {numbers} | {row['peak']:.0f} | {row['agree']} |")
    if args.json:
        args.json.write_text(json.dumps({"device": where, "torch": torch.__version__, "rows": rows}, indent=1) + "\n")


def _chosen(patterns: list[str]) -> list[str]:
    from featx.networks import NETWORKS
    from featx.networks.sheet import PICTURES

    if patterns:
        return [name for name in NETWORKS if any(fnmatchcase(name, one) for one in patterns)]
    return [name for name, sheet in NETWORKS.items() if sheet.takes != PICTURES]


def _in_a_process(args: argparse.Namespace, name: str) -> dict:
    command = [sys.executable, __file__, args.folder, "--one", name, "--images", str(args.images)]
    command += ["--device", args.device, "--batch-size", str(args.batch_size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{name} failed")
    row = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {row['rate']} images/s, {row['peak']:.0f} MB", file=sys.stderr)
    return row


def run_one(args: argparse.Namespace) -> dict:
    """Extract with one network and tell how it went."""
    import torch

    from featx.extraction.job import load_job
    from featx.extraction.plan import make_request
    from featx.images.contract import ACCEPTABLE
    from featx.images.image import Image
    from featx.images.index import index_images

    found = [image.path for image in index_images(args.folder)]
    images = [Image(f"{at:04d}", f"{at:04d}", "", "", found[at % len(found)]) for at in range(args.images)]
    request = make_request(args.one, weights="random:0", resampling=True)
    job = load_job(request, args.device, Path("unused"), accept=ACCEPTABLE)
    with tempfile.TemporaryDirectory() as folder:
        times = _extract(images, job, Path(folder) / "f.h5", args)
        features = _read(Path(folder) / "f.h5")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        agree = "-"
        if args.device.startswith("cuda"):
            peak = torch.cuda.max_memory_allocated() / 1e6
            few = images[:2]
            args.batch_size = 0
            args.device = "cpu"
            _extract(few, load_job(request, "cpu", Path("unused"), accept=ACCEPTABLE), Path(folder) / "cpu.h5", args)
            agree = f"{_difference(features, _read(Path(folder) / 'cpu.h5')):.1e}"
    steady = times[-1] - times[0]
    return {
        "name": args.one,
        "parameters": request.sheet.n_parameters / 1e6,
        "grid": request.recipe.grid.name,
        "features": sum(values.shape[1] for values in features.values()),
        "first": times[0],
        "rate": f"{(len(times) - 1) / steady:.3g}" if steady > 0 else "-",
        "peak": peak,
        "agree": agree,
    }


def _extract(images, job, output: Path, args: argparse.Namespace) -> list[float]:
    from featx.extraction.device import default_workers
    from featx.extraction.engine import Running, extract

    times: list[float] = []
    summary = extract(
        images,
        [job],
        output,
        device=args.device,
        running=Running(
            batch_size=args.batch_size,
            workers=default_workers(args.device),
            processes=args.device != "cpu",
        ),
        on_progress=lambda tally: times.append(tally.elapsed_s),
    )
    if summary.n_failed:
        sys.exit(summary.failures[0]["sentence"])
    return times


def _read(path: Path) -> dict[str, np.ndarray]:
    from featx import store

    return {name: store.read_set(path, name).X for name in store.list_sets(path)}


def _difference(gpu: dict[str, np.ndarray], cpu: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(gpu[name][: len(X)] - X).max() / np.abs(X).max()) for name, X in cpu.items())


if __name__ == "__main__":
    main()
