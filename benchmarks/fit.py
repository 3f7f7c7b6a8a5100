"""Nested cross-validated ridge of many phenotypes, against scikit-learn's loop and himalaya's RidgeCV.

    python benchmarks/fit.py
    python benchmarks/fit.py --big --table --json results.json

Three arms take turns on the same made data and the same outer folds, each in a process of its own:

sklearn   GridSearchCV of make_pipeline(StandardScaler(), Ridge()) by mean squared error on the same inner folds, in a
          loop over outer folds and phenotypes. It is timed on `--loop-folds` outer folds of `--loop-phenotypes`
          phenotypes, and SCALED to all outer folds
himalaya  RidgeCV on all phenotypes at once, its own cv of as many folds inside each outer fold, columns standardised
          on the outer training rows, numpy in float64
featx     `featx.analysis.ridge.cross_validate_ridge`, two threads

Ratios are taken round by round and their median is told. In the same run the predictions and the chosen penalties of
featx are compared with those of the scikit-learn loop. `--big` adds one fit of 40,000 people, with its peak memory;
`--table` the cost against people, features, phenotypes and patterns of missing labels.
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
from typing import Any

import numpy as np

ARMS = ("sklearn", "himalaya", "featx")
SIZES = ("people", "features", "phenotypes", "outer", "inner", "patterns")
BIG = {"people": 40_000, "features": 1024, "phenotypes": 1000, "outer": 10, "inner": 5, "patterns": 1}
TABLE_BASE = {"people": 2000, "features": 256, "phenotypes": 100, "outer": 5, "inner": 5, "patterns": 1}
TABLE_STEPS = {
    "people": (1000, 2000, 4000, 8000, 16_000),
    "features": (64, 128, 256, 512, 1024, 3000),
    "phenotypes": (1, 10, 100, 1000, 4000),
    "patterns": (1, 2, 5, 20, 50),
}


def main() -> None:
    """Run the rounds and print tables; exit code 1 if featx and scikit-learn disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in {**BIG, "people": 4000, "features": 512, "phenotypes": 100}.items():
        parser.add_argument(
            f"--{name}", type=int, default=size, help=argparse.SUPPRESS if name == "patterns" else None
        )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop-phenotypes", type=int, default=1)
    parser.add_argument("--loop-folds", type=int, default=1)
    parser.add_argument("--big", action="store_true", help="also 40,000 people, 1024 features, 1000 phenotypes")
    parser.add_argument("--table", action="store_true", help="also the cost against every size")
    parser.add_argument("--json", help="write all numbers and facts of the machine here")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--output", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        seconds = {"sklearn": loop, "himalaya": himalaya, "featx": featx}[args.arm](args)
        used = resource.getrusage(resource.RUSAGE_SELF)
        whole_cpu = used.ru_utime + used.ru_stime  # of the process, its data and imports included
        print(json.dumps({"seconds": seconds, "process_cpu_seconds": whole_cpu, "peak_mb": used.ru_maxrss / 1e3}))
        return
    with tempfile.TemporaryDirectory() as folder:
        rounds = [_round(args, Path(folder), at) for at in range(args.rounds)]
        agreement = _agreement(Path(folder))
    told: dict[str, Any] = {"machine": _machine(), "sizes": {name: getattr(args, name) for name in SIZES}}
    told |= {"rounds": rounds, "agreement": agreement}
    _report(args, told)
    if args.big:
        told["big"] = BIG | _time_of(BIG)
        print(f"\nbig: {told['big']['seconds']:.0f} s, peak {told['big']['peak_mb']:.0f} MB ({BIG})")
    if args.table:
        told["table"] = _table()
    if args.json:
        Path(args.json).write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(agreement["relative_difference"] > 1e-6 or not agreement["same_penalties"])


def _machine() -> dict[str, Any]:
    import himalaya as its
    import scipy
    import sklearn

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {one.__name__: one.__version__ for one in (np, scipy, sklearn, its)}
    return {"cpu": names[:1], "cores": len(names), "python": platform.python_version(), "versions": versions}


def _run(arm: str, sizes: dict[str, int], *more: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--arm", arm, *more]
    for name, size in sizes.items():
        command += [f"--{name}", str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _time_of(sizes: dict[str, int]) -> dict[str, float]:
    return _run("featx", sizes)


def _round(args: argparse.Namespace, folder: Path, at: int) -> dict[str, dict[str, float]]:
    told = {}
    sizes = {name: getattr(args, name) for name in SIZES}
    for arm in ARMS:
        more = ["--output", str(folder / f"{arm}.npz"), "--loop-phenotypes", str(args.loop_phenotypes)]
        told[arm] = _run(arm, sizes, *more, "--loop-folds", str(args.loop_folds))
        n_phenotypes = args.loop_phenotypes if arm == "sklearn" else args.phenotypes
        whole = args.outer / args.loop_folds if arm == "sklearn" else 1.0
        told[arm]["per_phenotype"] = told[arm]["seconds"] * whole / n_phenotypes
        print(f"round {at + 1}, {arm}: {told[arm]['per_phenotype']:.4f} s per phenotype", file=sys.stderr)
    return told


def _agreement(folder: Path) -> dict[str, Any]:
    """Compare featx with the loop, where that went; and tell how like himalaya's predictions are."""
    loop_says, ours, its = (np.load(folder / f"{arm}.npz") for arm in ("sklearn", "featx", "himalaya"))
    k, m = loop_says["alpha"].shape
    n = loop_says["predicted"].shape[0]
    difference = np.abs(loop_says["predicted"] - ours["predicted"][:n, :m]).max()
    same = bool((loop_says["alpha"] == ours["alpha"][:k, :m]).all())
    r = np.corrcoef(its["predicted"].ravel(), ours["predicted"].ravel())[0, 1]
    return {
        "difference": float(difference),
        "relative_difference": float(difference / np.abs(loop_says["predicted"]).max()),
        "same_penalties": same,
        "r_with_himalaya": float(r),
    }


def _report(args: argparse.Namespace, told: dict[str, Any]) -> None:
    def median(values: list[float], digits: int = 4) -> str:
        return f"{statistics.median(values):.{digits}g} ({min(values):.{digits}g} to {max(values):.{digits}g})"

    rounds, agreement = told["rounds"], told["agreement"]
    print(f"\n{told['machine']}\n{told['sizes']}, 20 penalties, {len(rounds)} rounds\n")
    print("| | median (least to most) |\n|---|---|")
    for arm in ARMS:
        scaled = f" (timed on {args.loop_folds} of {args.outer} outer folds, scaled)" if arm == "sklearn" else ""
        print(f"| {arm}, s per phenotype{scaled} | {median([one[arm]['per_phenotype'] for one in rounds])} |")
    for arm in ("sklearn", "himalaya"):
        ratios = [one[arm]["per_phenotype"] / one["featx"]["per_phenotype"] for one in rounds]
        print(f"| **{arm} / featx** | {median(ratios)} |")
    for arm in ("himalaya", "featx"):
        print(f"| {arm}, all phenotypes, s | {median([one[arm]['seconds'] for one in rounds])} |")
        cpu = [one[arm]["process_cpu_seconds"] for one in rounds]
        print(f"| {arm}, processor time of the process, s | {median(cpu)} |")
        print(f"| {arm}, peak memory, MB | {median([one[arm]['peak_mb'] for one in rounds])} |")
    print(f"| largest difference of predictions from sklearn | {agreement['difference']:.1e} |")
    print(f"| the same, of the largest prediction | {agreement['relative_difference']:.1e} |")
    print(f"| penalties chosen by sklearn and featx | {'the same' if agreement['same_penalties'] else 'DIFFERENT'} |")
    print(f"| r of predictions with himalaya's (its own inner folds) | {agreement['r_with_himalaya']:.6f} |")


def _table() -> list[dict[str, float]]:
    """One size at a time away from `TABLE_BASE`."""
    found = []
    print(f"\none size at a time, the others {TABLE_BASE}\n\n| | | s | peak memory, MB |\n|---|---|---|---|")
    for name, steps in TABLE_STEPS.items():
        for size in steps:
            one = _time_of(TABLE_BASE | {name: size})
            found.append({name: size, **one})
            print(f"| {name} | {size} | {one['seconds']:.2f} | {one['peak_mb']:.0f} |", flush=True)
    return found


# --- data -----------------------------------------------------------------------------------------------------


def make(args: argparse.Namespace):
    """Features of falling variance, phenotypes that hold more and less of them, and nested folds."""
    from featx.analysis.folds.splits import Split

    n, p, m = args.people, args.features, args.phenotypes
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p), dtype=np.float32)
    X += rng.standard_normal((n, 1), dtype=np.float32) + 3
    X *= np.linspace(0.2, 5, p, dtype=np.float32)
    Y = np.empty((n, m))
    for at in range(m):
        weights = rng.standard_normal(p).astype(np.float32) / np.linspace(0.2, 5, p, dtype=np.float32)
        signal = X @ weights
        Y[:, at] = signal / signal.std() + (0.5 + 4 * at / m) * rng.standard_normal(n)
    for at in range(args.patterns - 1):
        Y[np.ix_(rng.permutation(n)[: n // 20], np.arange(at, m, args.patterns))] = np.nan
    fold = rng.permutation(n) % args.outer
    splits = []
    for k in range(args.outer):
        train = np.flatnonzero(fold != k)
        splits.append(Split(0, k, train, np.flatnonzero(fold == k), rng.permutation(len(train)) % args.inner))
    return X, Y, splits


def _write(args: argparse.Namespace, predicted: list[np.ndarray], alpha: list[np.ndarray]) -> None:
    if args.output:
        np.savez(args.output, predicted=np.concatenate(predicted), alpha=np.array(alpha))


# --- the arms -------------------------------------------------------------------------------------------------


def loop(args: argparse.Namespace) -> float:
    """What a careful user writes in an afternoon."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from featx.analysis.ridge import default_alphas

    X, Y, splits = make(args)
    X = X.astype(np.float64)
    grid = {"ridge__alpha": default_alphas(X.shape[1])}
    predicted, alpha = [], []
    start = time.perf_counter()
    for split in splits[: args.loop_folds]:
        columns, chosen = [], []
        for y in Y.T[: args.loop_phenotypes]:
            search = GridSearchCV(
                make_pipeline(StandardScaler(), Ridge()),
                grid,
                cv=split.inner_pairs(),
                scoring="neg_mean_squared_error",
            ).fit(X[split.train], y[split.train])
            columns.append(search.predict(X[split.test]))
            chosen.append(search.best_params_["ridge__alpha"])
        predicted.append(np.column_stack(columns))
        alpha.append(np.array(chosen))
    seconds = time.perf_counter() - start
    _write(args, predicted, alpha)
    return seconds


def himalaya(args: argparse.Namespace) -> float:
    """All phenotypes at once, in each outer fold."""
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV
    from sklearn.preprocessing import StandardScaler

    from featx.analysis.ridge import default_alphas

    set_backend("numpy")
    X, Y, splits = make(args)
    X = X.astype(np.float64)
    predicted, alpha = [], []
    start = time.perf_counter()
    for split in splits:
        scaler = StandardScaler().fit(X[split.train])
        head = RidgeCV(alphas=default_alphas(X.shape[1]), fit_intercept=True, cv=args.inner)
        head.fit(scaler.transform(X[split.train]), Y[split.train])
        predicted.append(head.predict(scaler.transform(X[split.test])))
        alpha.append(head.best_alphas_)
    seconds = time.perf_counter() - start
    _write(args, predicted, alpha)
    return seconds


def featx(args: argparse.Namespace) -> float:
    """As `featx fit` calls it."""
    from featx.analysis.ridge import cross_validate_ridge

    X, Y, splits = make(args)
    start = time.perf_counter()
    fits = cross_validate_ridge(X, Y, splits, n_jobs=2)
    seconds = time.perf_counter() - start
    _write(args, [fit.predicted for fit in fits], [fit.alpha for fit in fits])
    return seconds


if __name__ == "__main__":
    main()
