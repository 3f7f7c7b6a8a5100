"""Extraction against the plain script a user would write, and against the network's own bare forward time.

    python benchmarks/extract.py sfcn.ukb_age MRI_FOLDER
    python benchmarks/extract.py squeezenet1_0.imagenet MRI_FOLDER

Three arms take turns, each in a process of its own, so that none inherits another's allocator, threads or caches:

plain   nibabel's get_fdata, divide, crop or slice, the network as torch builds it, one by one, appended to HDF5
featx   `featx.extraction.engine.extract`, its default settings
bare    the forward pass alone of the network that featx runs, on one prepared tensor, in the same allocator

Ratios are taken round by round and their median is told. Agreement of the features of the plain script and of featx
is checked in the same run: the largest difference, relative to the largest feature of the set.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SEED = "random:0"


def main() -> None:
    """Run the rounds and print a table; exit code 1 if the features disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["sfcn.ukb_age", "squeezenet1_0.imagenet"])
    parser.add_argument("folder", help="brains on the network's grid (1 mm MNI for SFCN, 2 mm for slices)")
    parser.add_argument(
        "--images", type=int, default=6, help="images per arm and round, read again if there are fewer"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arm", choices=["plain", "featx", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        seconds = {"plain": plain, "featx": featx, "bare": bare}[args.arm](args)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps({"seconds": seconds, "peak_mb": peak_mb}))
        return
    with tempfile.TemporaryDirectory() as folder:
        rounds = [_round(args, Path(folder), at) for at in range(args.rounds)]
        worst = _disagreement(Path(folder), args.network)
    _report(args, rounds, worst)
    sys.exit(worst > 1e-4)


def _round(args: argparse.Namespace, folder: Path, at: int) -> dict[str, dict[str, float]]:
    told = {}
    for arm in ("plain", "featx", "bare"):
        output = folder / f"{arm}.h5"
        output.unlink(missing_ok=True)
        command = [sys.executable, __file__, args.network, args.folder, "--images", str(args.images)]
        done = subprocess.run(
            [*command, "--arm", arm, "--output", str(output)], check=True, stdout=subprocess.PIPE, text=True
        )
        told[arm] = json.loads(done.stdout.splitlines()[-1])
        print(f"round {at + 1}, {arm}: {told[arm]['seconds'] / args.images:.3f} s per image", file=sys.stderr)
    return told


def _report(args: argparse.Namespace, rounds: list[dict[str, dict[str, float]]], worst: float) -> None:
    import torch

    def median(values: list[float]) -> str:
        return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    print(f"\n{args.network}, {args.images} images, {len(rounds)} rounds, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} threads, {platform.machine()}, Python {platform.python_version()}\n")
    print("| | median (least to most) |\n|---|---|")
    for arm in ("plain", "featx", "bare"):
        print(f"| {arm}, s per image | {median([one[arm]['seconds'] / args.images for one in rounds])} |")
    print(f"| plain / featx | {median([one['plain']['seconds'] / one['featx']['seconds'] for one in rounds])} |")
    print(f"| bare / featx | {median([one['bare']['seconds'] / one['featx']['seconds'] for one in rounds])} |")
    for arm in ("plain", "featx"):
        print(f"| {arm}, peak memory, MB | {median([one[arm]['peak_mb'] for one in rounds])} |")
    print(f"| largest relative difference of features | {worst:.1e} |")


def _images(args: argparse.Namespace) -> list[Path]:
    from featx.images.index import index_images

    found = [image.path for image in index_images(args.folder)]
    return [found[at % len(found)] for at in range(args.images)]


# --- the plain script -----------------------------------------------------------------------------------------


def plain(args: argparse.Namespace) -> float:
    """What a careful user writes in an afternoon."""
    import h5py
    import nibabel as nib
    import torch

    network, taps, prepare = (_plain_sfcn if args.network.startswith("sfcn") else _plain_squeezenet)()
    network.eval()
    found: dict[str, torch.Tensor] = {}
    for name, path in taps.items():
        network.get_submodule(path).register_forward_hook(lambda _m, _i, out, name=name: found.update({name: out}))
    start = time.perf_counter()
    with torch.no_grad(), h5py.File(args.output, "w") as file:
        for path in _images(args):
            data = nib.load(path).get_fdata()
            rows: dict[str, torch.Tensor] = {}
            for view, x in prepare(data):
                network(x)
                for name, out in found.items():
                    by_position = out.flatten(2).mean(2)
                    rows[f"{view}/{name}/mean"] = by_position.mean(0)
            for name, row in rows.items():
                if name not in file:
                    file.create_dataset(name, (0, len(row)), "f4", maxshape=(None, len(row)))
                file[name].resize(len(file[name]) + 1, axis=0)
                file[name][-1] = row.numpy()
    return time.perf_counter() - start


def _plain_sfcn():
    import torch

    from featx.networks import get_network
    from featx.networks.weights import load_network

    network = load_network(get_network("sfcn.ukb_age"), SEED, Path("unused")).network

    def prepare(data):
        data = data / data.mean()
        data = data[11:171, 13:205, 11:171]
        yield "volume", torch.tensor(data, dtype=torch.float32)[None, None]

    return network, {"features": "classifier.average_pool"}, prepare


def _plain_squeezenet():
    import torch
    from torchvision.transforms import functional

    from featx.networks import get_network
    from featx.networks.weights import load_network

    network = load_network(get_network("squeezenet1_0.imagenet"), SEED, Path("unused")).network
    spans = (("sagittal", range(14, 75, 4)), ("coronal", range(14, 95, 5)), ("axial", range(8, 73, 4)))

    def prepare(data):
        data = np.clip(data / np.percentile(data[data > 0], 99.5), 0, 1)
        for axis, (view, positions) in enumerate(spans):
            pictures = []
            for at in positions:
                picture = torch.tensor(data.take(at, axis=axis).T[::-1].copy(), dtype=torch.float32)[None]
                picture = functional.resize(picture, [224, 224], antialias=False).repeat(3, 1, 1)
                pictures.append(functional.normalize(picture, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            yield view, torch.stack(pictures)

    blocks = {"fire2": 3, "fire3": 4, "fire4": 5, "fire5": 7, "fire6": 8, "fire7": 9, "fire8": 10, "fire9": 12}
    return network, {name: f"features.{at}" for name, at in blocks.items()}, prepare


# --- featx ----------------------------------------------------------------------------------------------------


def _job(args: argparse.Namespace):
    from featx.extraction.job import load_job
    from featx.extraction.plan import make_request

    return load_job(make_request(args.network, weights=SEED), "cpu", Path("unused"))


def featx(args: argparse.Namespace) -> float:
    """The engine as `featx extract` runs it, reading and writing included."""
    from featx.extraction.engine import extract
    from featx.images.image import Image

    images = [Image(f"{at:04d}", f"{at:04d}", "", "", path) for at, path in enumerate(_images(args))]
    job = _job(args)
    start = time.perf_counter()
    extract(images, [job], Path(args.output), device="cpu")
    return time.perf_counter() - start


def bare(args: argparse.Namespace) -> float:
    """Forward passes of the very network that featx runs, over one prepared tensor."""
    import torch

    from featx.extraction.device import keep_pages
    from featx.images.volume import read_volume
    from featx.networks.look import look
    from featx.networks.optimise import optimise
    from featx.networks.recipe import prepare
    from featx.networks.weights import load_network

    keep_pages()
    request = _job(args).request
    sheet = request.sheet
    network = load_network(sheet, SEED, Path("unused")).network
    grey = optimise(network, sheet)
    data = prepare(read_volume(_images(args)[0]), request.recipe, sheet.name, "here")
    volumes = torch.from_numpy(np.ascontiguousarray(data))[None, None]
    inputs = [
        look(volumes, [step for step in view.steps if not (grey and step.name == "normalise")])
        for view in request.recipe.views
    ]
    if len(inputs) > 1:  # slices
        inputs = [x.flatten(0, 1).contiguous(memory_format=torch.channels_last) for x in inputs]
    with torch.inference_mode():
        for x in inputs:
            network(x)
        start = time.perf_counter()
        for _ in range(args.images):
            for x in inputs:
                network(x)
        return time.perf_counter() - start


def _disagreement(folder: Path, network: str) -> float:
    import h5py

    with h5py.File(folder / "plain.h5") as wanted, h5py.File(folder / "featx.h5") as got:
        (label,) = got["sets"]
        names: list[str] = []
        wanted.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        worst = 0.0
        for name in names:
            first, second = wanted[name][:], got[f"sets/{label}/{name}/features"][:]
            worst = max(worst, float(np.abs(first - second).max() / np.abs(first).max()))
    print(f"{len(names)} sets of {network} compared", file=sys.stderr)
    return worst


if __name__ == "__main__":
    main()
