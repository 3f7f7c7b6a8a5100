"""Extraction against the plain script a user would write, and against the network's own bare forward time.

    python benchmarks/extract.py sfcn.ukb_age MRI_FOLDER
    python benchmarks/extract.py squeezenet1_0.imagenet MRI_FOLDER
    python benchmarks/extract.py squeezenet1_0.imagenet resnet18.imagenet r3d_18.kinetics400 MRI_FOLDER

The arms take turns, each in a process of its own, so that none inherits another's allocator, threads or caches:

plain   nibabel's get_fdata, divide, crop or slice, the network as torch builds it, one by one, appended to HDF5
featx   `featx.extraction.engine.extract`, its default settings
bare    the forward passes alone of the networks that featx runs, on one prepared tensor, in the same allocator
alone   of several networks, in the place of plain: each extracted in a pass of its own

Ratios are taken round by round and their median is told. Agreement of the features of the plain script (or of each
network alone) and of featx is checked in the same run: the largest difference, relative to the largest feature of the
set. The rate of the networks is that of the multiplications and additions of the published layers over the time,
whatever way they are computed, beside that of a product of two matrices of 2048 x 2048 float32 in the process of
bare.
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
PLAIN = ("sfcn.ukb_age", "squeezenet1_0.imagenet")


def main() -> None:
    """Run the rounds and print a table; exit code 1 if the features disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="+", help=f"{', '.join(PLAIN)}; or several of any name")
    parser.add_argument("folder", help="brains on the network's grid (1 mm MNI for SFCN, 2 mm for slices)")
    parser.add_argument(
        "--images", type=int, default=6, help="images per arm and round, read again if there are fewer"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", choices=["plain", "alone", "featx", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if len(args.network) == 1 and args.network[0] not in PLAIN:
        parser.error(f"one network must be {' or '.join(PLAIN)}: of others there is no plain script")
    if args.arm:
        told = {"plain": plain, "alone": alone, "featx": featx, "bare": bare}[args.arm](args)
        told["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(json.dumps(told))
        return
    with tempfile.TemporaryDirectory() as folder:
        rounds = [_round(args, Path(folder), at) for at in range(args.rounds)]
        worst = _disagreement(Path(folder), args)
    _report(args, rounds, worst)
    if args.json:
        args.json.write_text(
            json.dumps({"networks": args.network, "rounds": rounds, "worst": worst}, indent=1) + "\n"
        )
    sys.exit(worst > 1e-4)


def _round(args: argparse.Namespace, folder: Path, at: int) -> dict[str, dict[str, float]]:
    told = {}
    for arm in _arms(args):
        output = folder / f"{arm}.h5"
        output.unlink(missing_ok=True)
        command = [sys.executable, __file__, *args.network, args.folder, "--images", str(args.images)]
        done = subprocess.run(
            [*command, "--arm", arm, "--output", str(output)], check=True, stdout=subprocess.PIPE, text=True
        )
        told[arm] = json.loads(done.stdout.splitlines()[-1])
        print(f"round {at + 1}, {arm}: {told[arm]['seconds'] / args.images:.3f} s per image", file=sys.stderr)
    return told


def _arms(args: argparse.Namespace) -> tuple[str, str, str]:
    return ("plain" if len(args.network) == 1 else "alone", "featx", "bare")


def _report(args: argparse.Namespace, rounds: list[dict[str, dict[str, float]]], worst: float) -> None:
    import torch

    def median(values: list[float]) -> str:
        return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    first = _arms(args)[0]
    print(
        f"\n{', '.join(args.network)}, {args.images} images, {len(rounds)} rounds, torch {torch.__version__}, ",
        end="",
    )
    print(f"{torch.get_num_threads()} threads, {platform.machine()}, Python {platform.python_version()}\n")
    print("| | median (least to most) |\n|---|---|")
    for arm in _arms(args):
        print(f"| {arm}, s per image | {median([one[arm]['seconds'] / args.images for one in rounds])} |")
    print(f"| {first} / featx | {median([one[first]['seconds'] / one['featx']['seconds'] for one in rounds])} |")
    print(f"| bare / featx | {median([one['bare']['seconds'] / one['featx']['seconds'] for one in rounds])} |")
    print(f"| featx / bare | {median([one['featx']['seconds'] / one['bare']['seconds'] for one in rounds])} |")
    limit = [one["bare"]["gflop"] / one["bare"]["matrices"] * args.images for one in rounds]
    print(f"| layers, GFLOP per image | {rounds[0]['bare']['gflop']:.1f} |")
    print(f"| product of matrices, GFLOP/s | {median([one['bare']['matrices'] for one in rounds])} |")
    for arm in ("bare", "featx"):
        times = [one[arm]["seconds"] / least for one, least in zip(rounds, limit, strict=True)]
        print(f"| {arm}, of the time of such a product with as many operations | {median(times)} |")
    for arm in (first, "featx"):
        print(f"| {arm}, peak memory, MB | {median([one[arm]['peak_mb'] for one in rounds])} |")
    print(f"| largest relative difference of features | {worst:.1e} |")


def _images(args: argparse.Namespace) -> list[Path]:
    from featx.images.index import index_images

    found = [image.path for image in index_images(args.folder)]
    return [found[at % len(found)] for at in range(args.images)]


# --- the plain script -----------------------------------------------------------------------------------------


def plain(args: argparse.Namespace) -> dict[str, float]:
    """What a careful user writes in an afternoon."""
    import h5py
    import nibabel as nib
    import torch

    network, taps, prepare = (_plain_sfcn if args.network[0].startswith("sfcn") else _plain_squeezenet)()
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
    return {"seconds": time.perf_counter() - start}


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


def _jobs(args: argparse.Namespace):
    from featx.extraction.job import load_job
    from featx.extraction.plan import make_request
    from featx.images.contract import ACCEPTABLE

    requests = [make_request(name, weights=SEED) for name in args.network]
    return [load_job(one, "cpu", Path("unused"), accept=ACCEPTABLE) for one in requests]


def _extract(args: argparse.Namespace, jobs) -> float:
    from featx.extraction.engine import extract
    from featx.images.image import Image

    images = [Image(f"{at:04d}", f"{at:04d}", "", "", path) for at, path in enumerate(_images(args))]
    start = time.perf_counter()
    summary = extract(images, jobs, Path(args.output), device="cpu")
    if summary.n_failed:
        sys.exit(summary.failures[0]["sentence"])
    return time.perf_counter() - start


def featx(args: argparse.Namespace) -> dict[str, float]:
    """The engine as `featx extract` runs it, reading and writing included."""
    return {"seconds": _extract(args, _jobs(args))}


def alone(args: argparse.Namespace) -> dict[str, float]:
    """The same, in a pass for each network."""
    return {"seconds": sum(_extract(args, [job]) for job in _jobs(args))}


def bare(args: argparse.Namespace) -> dict[str, float]:
    """Forward passes of the very networks that featx runs, over one prepared tensor."""
    import torch

    from featx.extraction.device import keep_pages
    from featx.networks.optimise import optimise
    from featx.networks.weights import load_network

    keep_pages()
    seconds = gflop = 0.0
    matrices = [_matrices()]
    with torch.inference_mode():
        for job in _jobs(args):
            sheet = job.request.sheet
            network = load_network(sheet, SEED, Path("unused")).network
            gflop += _gflop(network, _inputs(args, job.request, grey=False))
            inputs = _inputs(args, job.request, grey=optimise(network, sheet))
            for x in inputs:
                network(x)
            start = time.perf_counter()
            for _ in range(args.images):
                for x in inputs:
                    network(x)
            seconds += time.perf_counter() - start
            matrices.append(_matrices())
    return {"seconds": seconds, "gflop": gflop, "matrices": statistics.median(matrices)}


def _inputs(args: argparse.Namespace, request, *, grey: bool):
    """What the views give of the first image, laid out as featx has it."""
    import torch

    from featx.images.volume import read_volume
    from featx.networks.look import look
    from featx.networks.optimise import memory_format
    from featx.networks.recipe import prepare
    from featx.networks.sheet import CLIP, PICTURES, SET

    sheet = request.sheet
    data = prepare(read_volume(_images(args)[0]), request.recipe, sheet.name, "here")
    volumes = torch.from_numpy(np.ascontiguousarray(data))[None, None]
    inputs = []
    for view in request.recipe.views:
        x = look(volumes, [step for step in view.steps if not (grey and step.name == "normalise")])
        x = x.flatten(0, 1) if sheet.takes == PICTURES else x
        x = x.transpose(1, 2) if sheet.takes == CLIP else x
        inputs.append(x if sheet.takes == SET else x.contiguous(memory_format=memory_format(sheet)))
    return inputs


def _gflop(network, inputs) -> float:
    """Of the layers as they are published: a multiplication and an addition are two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        for x in inputs:
            network(x.clone())
    return counter.get_total_flops() / 1e9


def _matrices() -> float:
    """GFLOP/s of a product of two matrices, of the best of nine."""
    import torch

    first, second = torch.randn(2, 2048, 2048)
    best = float("inf")
    for _ in range(9):
        start = time.perf_counter()
        torch.mm(first, second)
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9


def _disagreement(folder: Path, args: argparse.Namespace) -> float:
    import h5py

    first = _arms(args)[0]
    with h5py.File(folder / f"{first}.h5") as wanted, h5py.File(folder / "featx.h5") as got:
        names: list[str] = []
        wanted.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        if first == "plain":
            (label,) = got["sets"]
            pairs = [(name, f"sets/{label}/{name}/features") for name in names]
        else:
            pairs = [(name, name) for name in names if name.endswith("/features")]
        worst = 0.0
        for theirs, ours in pairs:
            one, other = wanted[theirs][:], got[ours][:]
            worst = max(worst, float(np.abs(one - other).max() / np.abs(one).max()))
    print(f"{len(pairs)} sets compared", file=sys.stderr)
    return worst


if __name__ == "__main__":
    main()
