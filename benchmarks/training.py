"""Training by featx against a plain torch loop, step by step and epoch by epoch, on the same draws.

    python benchmarks/training.py
    python benchmarks/training.py --device cuda --memory

Both train the same network from the same weights on the same batches, with the same augmentation, loss, optimiser and
memory format; what differs is who moves the data and turns the crank:

plain   grey values of all images in one float32 array in memory; forward, backward, step; a pass over those who
        validate and `torch.save` of weights and optimiser after each epoch
featx   `featx.training.fitting.fit_network` as `featx train` calls it: stored integers from the memory-mapped cache,
        a thread that reads ahead, Lightning, the best weights and a checkpoint to go on from after each epoch

They take turns, each in a process of its own. The time of a step is that of an epoch's training part over its steps,
waiting for data included; the first epoch is not counted. Ratios are taken round by round and their median is told.
The losses of all steps are compared in the same run, beside those of the plain loop from weights that differ in their
last bits: batch norm over eight images makes much of little, and two trainings that are the same stay as near to each
other as rounding lets them. --memory (on a GPU) adds the peak memory of a step of
sfcn.ukb_age, 160 x 192 x 160, batch 8, bf16-mixed, with and without --checkpointing of `featx train`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

NETWORKS = {
    "sfcn_4mm.untrained": "4 mm, batch 8",
    "squeezenet1_0.imagenet": "8 sagittal slices of 64 pixels, batch 8, mean",
}
LARGE = "sfcn.ukb_age"
PARTS = ("step", "training", "validation", "rest", "epoch")
SEED, BATCH, N_VALIDATE = 0, 8, 8


def main() -> None:
    """Run the rounds and print a table; exit code 1 if the losses disagree."""
    args = _arguments()
    if args.arm:
        told = {"plain": plain, "featx": featx, "memory": memory}[args.arm](args)
        print(json.dumps(told))
        return
    with tempfile.TemporaryDirectory() as folder:
        args.folder = args.folder or Path(folder)
        _make_brains(args)
        found = {one: [_round(args, one, at) for at in range(args.rounds)] for one in args.network}
        differences = {one: _differences(args, one, rounds[0]) for one, rounds in found.items()}
        _report(args, found, differences)
        peaks = _memory(args) if args.memory else []
    if args.json:
        args.json.write_text(
            json.dumps({"rounds": found, "differences": differences, "memory": peaks}, indent=1) + "\n"
        )
    limit = 1e-5 if args.device == "cpu" else 1e-2
    sys.exit(any(first > limit or own > max(limit, 10 * nudged) for first, own, nudged in differences.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="*", default=list(NETWORKS), help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of which the first is not counted")
    parser.add_argument("--steps", type=int, default=12, help="of an epoch")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", default="", help="32-true on a CPU, bf16-mixed on a GPU")
    parser.add_argument("--memory", action="store_true", help=f"of {LARGE} as well; needs a GPU")
    parser.add_argument("--folder", type=Path, help="where made brains and the cache stay; else they go")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", choices=["plain", "featx", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--checkpointing", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--nudge", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = [one for one in args.network if one not in (*NETWORKS, LARGE)]
    if unknown or (args.memory and args.device != "cuda"):
        parser.error(f"networks are {', '.join(NETWORKS)}; --memory needs --device cuda")
    args.precision = args.precision or ("32-true" if args.device == "cpu" else "bf16-mixed")
    return args


def _make_brains(args: argparse.Namespace) -> None:
    from featx.images.synthetic import make_cohort

    if not (args.folder / "brains" / "participants.tsv").is_file():
        make_cohort(args.folder / "brains", args.steps * BATCH + N_VALIDATE, n_jobs=2)


def _call(args: argparse.Namespace, network: str, arm: str, *more: str):
    words = [sys.executable, __file__, network, "--arm", arm, "--folder", str(args.folder), "--device", args.device]
    words += ["--precision", args.precision, "--epochs", str(args.epochs), "--steps", str(args.steps), *more]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _round(args: argparse.Namespace, network: str, at: int):
    order = ("plain", "featx") if at % 2 == 0 else ("featx", "plain")
    told = {arm: _call(args, network, arm) for arm in order}
    for arm in order:
        print(f"{network}, round {at + 1}, {arm}: {1e3 * _parts(told[arm])['step']:.1f} ms per step", file=sys.stderr)
    return told


# --- what both train ------------------------------------------------------------------------------------------


def _problem(args: argparse.Namespace):
    """The network's source, the fit, and the cache, filled."""
    import pandas as pd

    from featx.images.index import index_images
    from featx.networks.output import REGRESSION, Output
    from featx.training.arms import get_arm
    from featx.training.cache import fill_cache
    from featx.training.fit import Fit, People
    from featx.training.schedules import changed, get_recipe
    from featx.training.source import need_of

    (name,) = args.network
    source = _source(name)
    images = index_images(str(args.folder / "brains"))[: args.steps * BATCH + N_VALIDATE]
    filled = fill_cache(images, need_of(source), args.folder / "volumes", workers=2)
    if filled.failures:
        sys.exit(str(filled.failures[0]["sentence"]))
    ages = pd.read_csv(args.folder / "brains" / "participants.tsv", sep="\t", index_col="participant_id")["age"]
    ids = tuple(image.image_id for image in images)
    y = np.array([[ages[image.participant_id]] for image in images], dtype=np.float64)
    train, validation = (People(ids[rows], y[rows]) for rows in (slice(N_VALIDATE, None), slice(None, N_VALIDATE)))
    words = {"epochs": str(args.epochs), "numbers": REGRESSION, "batch_size": str(BATCH), "dropout": "0"}
    fit = Fit(
        arm=get_arm("scratch"),
        recipe=changed(get_recipe("sfcn-scratch" if name.startswith("sfcn") else "gupta"), words),
        outputs=(Output("age", REGRESSION, 1, (float(train.labels.mean()), float(train.labels.std()))),),
        train=train,
        validation=validation,
        seed=SEED,
        loss_weights=(1.0,),
        class_weights=(None,),
    )
    return source, fit, filled.cache


def _source(name: str):
    from featx.extraction.plan import make_request
    from featx.networks.trained import default_tap
    from featx.training.source import Source

    if name.startswith("sfcn"):
        request = make_request(name, weights="random:0", resampling=name == LARGE)
        return Source(request, "features")
    request = make_request(name, weights="random:0", views=["sagittal"], n_slices=8, size="64")
    return Source(request, default_tap(request.sheet), aggregation="mean")


# --- the plain loop -------------------------------------------------------------------------------------------


def plain(args: argparse.Namespace):
    """What a careful user writes in an afternoon; batches and draws are those of featx, so that losses can agree."""
    import torch

    from featx.networks.look import look
    from featx.networks.sheet import PICTURES
    from featx.training.augment import augment
    from featx.training.batches import order_rows
    from featx.training.run import make_network
    from featx.training.schedules import NO_AUGMENTATION
    from featx.training.trunk import trainable

    source, fit, cache = _problem(args)
    train, validation = ((one, _grey_values(cache, one.image_ids)) for one in (fit.train, fit.validation))
    network = make_network(source, fit).to(args.device)
    in_planes = source.base.takes == PICTURES
    network = network.to(memory_format=torch.channels_last if in_planes else torch.channels_last_3d)
    trainable(network, "all")
    if args.nudge:
        with torch.no_grad():
            for values in network.parameters():
                values.mul_(1 + 2e-7)
    optimiser = _optimiser(network, fit.recipe.schedules["all"])
    mean, deviation = fit.outputs[0].values

    def loss_of(whose, rows, generator=None):
        people, volumes = whose
        x = torch.from_numpy(volumes[rows]).to(args.device)
        if generator is not None and fit.recipe.augmentation != NO_AUGMENTATION:
            x = augment(x, fit.recipe.augmentation, generator)
        y = torch.from_numpy((people.labels[rows, 0] - mean) / deviation).float().to(args.device)
        with torch.autocast(args.device, torch.bfloat16) if args.precision == "bf16-mixed" else nullcontext():
            answer = network.answer(network.vector(look(x, source.view.steps)))
        return torch.nn.functional.mse_loss(answer[:, 0].float(), y)

    marks, losses = [], []
    for epoch in range(args.epochs):
        marks.append(("epoch", _now(args)))
        network.train()
        order = order_rows(len(fit.train.image_ids), SEED, epoch, shuffle=True)
        for at, rows in enumerate(np.array_split(order, args.steps)):
            seed = np.random.SeedSequence([SEED, epoch, at, 0, 0]).generate_state(1)[0]
            loss = loss_of(train, rows, torch.Generator().manual_seed(int(seed)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        marks.append(("validation", _now(args)))
        network.eval()
        with torch.no_grad():
            loss_of(validation, np.arange(len(fit.validation.image_ids)))
        marks.append(("validated", _now(args)))
        torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict()}, args.folder / "plain.pt")
    marks.append(("epoch", _now(args)))
    return {"marks": marks, "losses": [float(one) for one in losses]}


def _optimiser(network, schedule):
    import torch

    own = [one for one in network.parameters() if one.requires_grad]
    if schedule.optimiser == "sgd":
        momentum, decay = schedule.momentum, schedule.weight_decay
        return torch.optim.SGD(own, schedule.learning_rate, momentum, weight_decay=decay)
    return torch.optim.Adam(own, schedule.learning_rate, weight_decay=schedule.weight_decay)


def _grey_values(cache, image_ids):
    """All volumes (n, 1, I, J, K), float32."""
    import torch

    from featx.networks.look import to_volumes
    from featx.training.cache import read_packed

    return torch.cat([to_volumes([read_packed(cache, one)], "cpu") for one in image_ids]).numpy()


def _now(args: argparse.Namespace) -> float:
    if args.device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


# --- featx ----------------------------------------------------------------------------------------------------


def featx(args: argparse.Namespace):
    """The fit as `featx train` runs it; where it is at what time is told by the hooks that Lightning calls."""
    from featx.training.fit import Machine
    from featx.training.fitting import fit_network
    from featx.training.module import Training
    from featx.training.run import make_network

    source, fit, cache = _problem(args)
    marks, losses = [], []
    began, step = Training.on_train_epoch_start, Training.training_step

    def on_train_epoch_start(module):
        marks.append(("epoch", _now(args)))
        began(module)

    def training_step(module, batch, batch_idx):
        loss = step(module, batch, batch_idx)
        losses.append(loss.detach())
        return loss

    Training.on_train_epoch_start, Training.training_step = on_train_epoch_start, training_step
    Training.on_validation_start = lambda _: marks.append(("validation", _now(args)))
    Training.on_validation_end = lambda _: marks.append(("validated", _now(args)))
    Training.on_fit_end = lambda _: marks.append(("epoch", _now(args)))
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        machine = Machine(args.device, args.precision)
        fitted = fit_network(make_network(source, fit), source.view, fit, cache, Path(folder), machine=machine)
    return {"marks": marks, "losses": [float(one) for one in losses], "waited": fitted.waited}


def memory(args: argparse.Namespace):
    """Peak memory of the GPU, and seconds per step, of training everything in SFCN at 1 mm."""
    from featx.training.fit import Machine
    from featx.training.fitting import fit_network
    from featx.training.run import make_network

    source, fit, cache = _problem(args)
    machine = Machine(args.device, args.precision, checkpointing=args.checkpointing)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        fitted = fit_network(make_network(source, fit), source.view, fit, cache, Path(folder), machine=machine)
    return {"checkpointing": args.checkpointing, "peak_gib": fitted.peak_bytes / 2**30, "elapsed_s": fitted.elapsed_s}


def _memory(args: argparse.Namespace):
    found = [_call(args, LARGE, "memory", *more) for more in ((), ("--checkpointing",))]
    print(f"\n| {LARGE}, batch {BATCH}, {args.precision} | peak memory, GiB |\n|---|---|")
    for one in found:
        print(f"| {'with' if one['checkpointing'] else 'without'} --checkpointing | {one['peak_gib']:.1f} |")
    return found


# --- what is told ---------------------------------------------------------------------------------------------


def _parts(told) -> dict[str, float]:
    """Medians over epochs, the first left out, in seconds."""
    times = [when for _, when in told["marks"]]
    epochs = [times[at : at + 4] for at in range(3, len(times) - 1, 3)]
    n_steps = len(told["losses"]) // (len(epochs) + 1)
    spans = np.array([[b - a, c - b, d - c, d - a] for a, b, c, d in epochs])
    training, validation, rest, whole = (float(one) for one in np.median(spans, axis=0))
    return dict(zip(PARTS, (training / n_steps, training, validation, rest, whole), strict=True))


def _differences(args: argparse.Namespace, network: str, told) -> tuple[float, float, float]:
    """Differences from the plain loop's losses, relative to their mean.

    Of featx at the first step and at most, and of the plain loop from weights that differ in their last bits at most.
    """
    nudged = _call(args, network, "plain", "--nudge")
    of_plain, own, beside = (np.array(one["losses"]) for one in (told["plain"], told["featx"], nudged))
    apart, nearby = (np.abs(one - of_plain) / of_plain.mean() for one in (own, beside))
    return float(apart[0]), float(apart.max()), float(nearby.max())


def _report(args: argparse.Namespace, found, differences: dict[str, tuple[float, float, float]]) -> None:
    import torch

    def told(values: list[float]) -> str:
        return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    there = f"{torch.get_num_threads()} threads, {platform.machine()}" if args.device == "cpu" else "GPU"
    print(
        f"\n{args.rounds} rounds, {args.steps} steps an epoch, torch {torch.__version__}, {args.precision}, {there}"
    )
    for name, rounds in found.items():
        parts = {arm: [_parts(one[arm]) for one in rounds] for arm in ("plain", "featx")}
        print(f"\n| {name}, {NETWORKS.get(name, '')} | plain, s | featx, s | featx / plain |\n|---|---|---|---|")
        for part in PARTS:
            pairs = [(a[part], b[part]) for a, b in zip(parts["plain"], parts["featx"], strict=True)]
            plain_s, featx_s = (told([pair[at] for pair in pairs]) for at in (0, 1))
            what = {"step": "**a step** (target 1.05)", "epoch": "a whole epoch", "rest": "saving"}.get(part, part)
            print(f"| {what} | {plain_s} | {featx_s} | {told([b / a for a, b in pairs])} |")
        first, own, nudged = differences[name]
        print(f"| relative difference of the losses, first step | | | {first:.1e} |")
        print(f"| at most (of the plain loop with other last bits) | | | {own:.1e} ({nudged:.1e}) |")


if __name__ == "__main__":
    main()
