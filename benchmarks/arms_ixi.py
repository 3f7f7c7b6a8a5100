"""Frozen, fine-tuned and scratch networks on 181 real brains (IXI), on the same five folds, with volumes beside them.

    python benchmarks/arms_ixi.py IXI/ arms_ixi/ --weights squeezenet1_0_imagenet.pth

Every step is a command of featx, shown as it is typed; one that is done is not done again. Frozen features go under
ridge (age) and logistic regression (sex). The SFCN on 4 mm is trained from random weights (scratch) and from those
that were pretrained on made brains (full); so is squeezenet1_0 on 8 sagittal slices of 64 pixels with attention
(after Gupta et al. 2021), from random and from ImageNet weights. A trained network answers age and sex together. Of
those who train in a fold, a fifth chooses the epoch.

Told are scores with 95 % intervals (bootstrap over people), minutes, how much better each arm is than ridge (logistic
regression) on ImageNet features and on volumes, paired over the same people, and whether the losses had levelled off.
Minutes are those of the clock, of extracting features, or of training all networks of an arm by --jobs processes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).parent / "results"
IMAGENET, SLICES_RANDOM = "squeezenet1_0.imagenet", "squeezenet1_0.imagenet@random:0"
CONTROL = "sfcn_4mm.untrained@random:0"
VOLUMES = "volumes"
METRIC = {"age": "mae", "sex": "auc"}
HEAD = {"age": "ridge", "sex": "logistic"}
SOME_FAILED = 3  # the exit code of a command that is done, and tells what it left out


@dataclass(frozen=True)
class Arm:
    """Out-of-fold predictions of a target.

    Attributes
    ----------
    name : str
    predictions : DataFrame
        Columns of `featx.schema.PREDICTIONS` and probabilities, sorted by image.
    """

    name: str
    predictions: pd.DataFrame


def main() -> None:
    """Do the steps that are not done yet, write the table, print it and what is to be known of it."""
    args = _arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    for words, output in steps(args):
        _do(args.folder, [str(word) for word in words], output)
    arms = {target: list(_arms(args, target)) for target in METRIC}
    table = pd.DataFrame([row for target, own in arms.items() for row in _rows(args, target, own)])
    args.csv.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.csv, index=False, float_format="%.4f", lineterminator="\n")
    _print_table(table)
    for run in ("sfcn", "slices"):
        print("\n".join(_levelled(args.folder / run)))
    seconds = json.loads((args.folder / "steps.json").read_text(encoding="utf-8"))
    print(f"\n{args.csv}; {sum(seconds.values()) / 60:.1f} minutes in all, over all calls")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ixi", type=Path, help="brains, participants.tsv and regional_volumes.tsv")
    parser.add_argument("folder", type=Path, help="where features and runs stay")
    parser.add_argument("--weights", default="official", help="of ImageNet: official, or a file")
    parser.add_argument("--pretrained", default="sfcn_4mm.synthetic")
    parser.add_argument("--epochs", default="60,15", help="at most, of SFCN and of slices")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--where", default="", help="some of the people, to try it out")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--csv", type=Path, default=RESULTS / "arms_ixi.csv")
    return parser.parse_args()


# --- steps ----------------------------------------------------------------------------------------------------


def steps(args: argparse.Namespace) -> Iterator[tuple[list[object], Path]]:
    """Commands of featx, and what each leaves."""
    folder, people = args.folder, args.ixi / "participants.tsv"
    images, features, frozen = folder / "images.csv", folder / "features.h5", folder / "frozen"
    yield ["index", args.ixi, "-o", images], images
    for network in frozen_networks(args):
        given = ["--weights", args.weights] if network == IMAGENET else []
        yield ["extract", images, "-n", network, *given, "-o", features], folder / f"{network} extracted"
    both = ["--target", "age", "--target", "sex"] + (["--where", args.where] if args.where else [])
    use = [word for one in labels(args).values() for word in ("--features", one)]
    volumes = ["--table", f"{VOLUMES}={args.ixi / 'regional_volumes.tsv'}", "--features", VOLUMES]
    heads = ["--head", "ridge", "--head", "logistic"]
    folds = ["--stratify", "none", "--folds", args.folds, "--seed", 0]
    yield ["fit", features, people, *volumes, *use, *both, *heads, *folds, "--jobs", args.jobs, "-o", frozen], frozen
    train = ["train", images, people, *both, "--together", "--splits", frozen / "splits.csv", "--no-keep"]
    train += ["--arm", "scratch", "--arm", "full", "--jobs", args.jobs]
    of_sfcn, of_slices = args.epochs.split(",")
    run = folder / "sfcn"
    yield [*train, "-n", args.pretrained, "--epochs", of_sfcn, "-o", run], run
    run, looks = folder / "slices", ["--axis", "sagittal", "--slices", 8, "--size", 64, "--aggregation", "attention"]
    given = ["-n", IMAGENET, "--weights", args.weights, *looks]
    yield [*train, *given, "--epochs", of_slices, "-o", run], run


def frozen_networks(args: argparse.Namespace) -> tuple[str, ...]:
    """Whose features are extracted."""
    return (IMAGENET, SLICES_RANDOM, args.pretrained, CONTROL)


def labels(args: argparse.Namespace) -> dict[str, str]:
    """Networks as the feature file names them: weights of a file are named by their digest."""
    from featx import store

    stored = sorted({name.split("/")[0] for name in store.list_sets(args.folder / "features.h5")})
    plain = {one: one.replace(":", "-") for one in frozen_networks(args)}
    controls = [one for network, one in plain.items() if network != IMAGENET]
    (imagenet,) = (one for one in stored if one.split("@")[0] == IMAGENET and one not in controls)
    return plain | {IMAGENET: imagenet}


def _do(folder: Path, words: list[str], output: Path) -> None:
    """A command as it is typed, unless it is done; its seconds are kept."""
    path = folder / "steps.json"
    seconds = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if output.name in seconds:
        return
    print(f"$ featx {shlex.join(words)}", file=sys.stderr, flush=True)
    start = time.monotonic()
    featx = Path(sys.executable).with_name("featx")
    code = subprocess.run([str(featx), *words], check=False).returncode
    if code not in (0, SOME_FAILED):
        sys.exit(code)
    seconds[output.name] = time.monotonic() - start
    path.write_text(json.dumps(seconds, indent=1) + "\n", encoding="utf-8")


# --- arms -----------------------------------------------------------------------------------------------------


def _arms(args: argparse.Namespace, target: str) -> Iterator[Arm]:
    """Of one target: the baseline, volumes, frozen features, trained networks."""
    from featx.analysis.runs.rundir import read_run

    own = read_run(args.folder / "frozen").predictions[target]
    yield _arm("baseline", own[own["head"] == "baseline"])
    frozen = {f"{network}, frozen": features for network, features in labels(args).items()}
    for name, features in {VOLUMES: VOLUMES, **frozen}.items():
        yield _arm(name, own[(own["features"] == features) & (own["head"] == HEAD[target])])
    for run, words in (("sfcn", args.pretrained), ("slices", f"{IMAGENET}, 8 slices")):
        trained = read_run(args.folder / run).predictions[target]
        for arm in ("scratch", "full"):
            yield _arm(f"{words}, {arm}", trained[trained["head"] == arm])


def _arm(name: str, predictions: pd.DataFrame) -> Arm:
    if not len(predictions):
        sys.exit(f"{name} must have predictions; it has none; look at the exclusions.csv of its run")
    return Arm(name, predictions.sort_values("image_id").reset_index(drop=True))


def _rows(args: argparse.Namespace, target: str, arms: list[Arm]) -> Iterator[dict[str, object]]:
    """Scores of the arms of a target, and how much better they are than the two that they are held against."""
    from featx.analysis.inference.metrics import METRICS
    from featx.analysis.inference.paired import difference
    from featx.analysis.inference.scores import interval

    metric, minutes = METRIC[target], _minutes(args)
    drawn = {arm.name: _bootstrapped(target, arm)[metric] for arm in arms}
    if metric == "auc":
        arms = arms[1:]  # of classes in their folds' frequencies there is nothing to rank
    for arm in arms:
        first, one = arm.predictions[["image_id", "fold"]], drawn[arm.name]
        if not first.equals(arms[0].predictions[["image_id", "fold"]]):
            sys.exit(f"all arms must have the same people and folds; {arm.name} has others")
        low, high = interval(one.draws)
        row = {"target": target, "metric": metric, "arm": arm.name, "value": one.value, "low": low, "high": high}
        row |= {"n": len(first), "minutes": minutes.get(arm.name, np.nan)}
        for name, other in {"imagenet": f"{IMAGENET}, frozen", "volumes": VOLUMES}.items():
            if other == arm.name or arm.name == "baseline":
                continue
            found = difference(one, drawn[other], higher_is_better=METRICS[metric].higher_is_better)
            row |= {f"{word}_than_{name}": getattr(found, word) for word in ("value", "low", "high", "p")}
        yield row


def _bootstrapped(target: str, arm: Arm):
    """Scores of an arm with draws of people, the same for all arms."""
    from featx.analysis.inference.scores import bootstrap

    table = arm.predictions
    people = table["participant_id"].to_numpy()
    if METRIC[target] == "mae":
        return bootstrap(
            "continuous", table["observed"].astype(float).to_numpy(), _numbers(table["predicted"]), people
        )
    columns = [name for name in table if name.startswith("probability_")]
    codes = {name.removeprefix("probability_"): at for at, name in enumerate(columns)}
    return bootstrap("binary", table["observed"].map(codes).to_numpy(), table[columns].to_numpy(float), people)


def _numbers(column: pd.Series):
    return column.astype(float).to_numpy()


def _minutes(args: argparse.Namespace) -> dict[str, float]:
    """Minutes of the clock by arm: of extraction, or of training by processes side by side."""
    seconds = json.loads((args.folder / "steps.json").read_text(encoding="utf-8"))
    found = {f"{one}, frozen": seconds[f"{one} extracted"] / 60 for one in frozen_networks(args)}
    for run, words in (("sfcn", args.pretrained), ("slices", f"{IMAGENET}, 8 slices")):
        fits = _fits(args.folder / run)
        for arm in ("scratch", "full"):
            own = [one["elapsed_s"] for one in fits if one["arm"] == arm]
            found[f"{words}, {arm}"] = sum(own) / 60 / min(args.jobs, len(own))
    return found


def _fits(run: Path) -> list[dict]:
    return json.loads((run / "training.json").read_text(encoding="utf-8"))["fits"]


# --- what is told ---------------------------------------------------------------------------------------------


def _levelled(run: Path) -> Iterator[str]:
    """Whether the losses of an arm had levelled off, in words: epochs that were kept, and the last fifth of them."""
    curves = pd.read_csv(run / "training_curves.csv")
    for arm, own in curves.groupby("arm", sort=False):
        losses = own.pivot_table(index="epoch", columns=["repeat", "fold"], values="validation_loss").to_numpy()
        kept, n = np.nanargmin(losses, axis=0), len(losses)
        fifth = max(1, n // 5)
        before, last = (float(np.nanmean(part)) for part in (losses[-2 * fifth : -fifth], losses[-fifth:]))
        late = int((kept >= n - fifth).sum())
        yield (
            f"{run.name}, {arm}: epochs kept {kept.min()} to {kept.max()} of {n}, median {np.median(kept):g}; mean "
            f"validation loss of the last fifth {last:.3f}, of the one before {before:.3f}; {late} of {len(kept)} "
            "networks were best in the last fifth" + ("" if late <= len(kept) // 2 else ": not levelled off")
        )


def _print_table(table: pd.DataFrame) -> None:
    print("\n| target | arm | score [95 %] | minutes | better than ImageNet, frozen | better than volumes |")
    print("|---|---|---|---|---|---|")
    for row in table.to_dict("records"):
        digits = 2 if row["metric"] == "mae" else 3
        minutes = "" if np.isnan(row["minutes"]) else f"{row['minutes']:.1f}"
        cells = [_cell(row, ("value", "low", "high"), digits), minutes]
        cells += [
            _cell(row, tuple(f"{word}_than_{name}" for word in ("value", "low", "high")), digits)
            for name in ("imagenet", "volumes")
        ]
        print(f"| {row['target']}, {row['metric']} | {row['arm']} | " + " | ".join(cells) + " |")
    print(f"\n{int(table['n'].min())} people; positive differences are in favour of the row's arm\n")


def _cell(row: dict, names: tuple[str, ...], digits: int) -> str:
    value, low, high = (row[name] for name in names)
    return "" if np.isnan(value) else f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


if __name__ == "__main__":
    main()
