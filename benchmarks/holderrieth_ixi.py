"""The protocol holderrieth2022 on 181 real brains (IXI), at the size of two cores, beside the numbers of the work.

    python benchmarks/holderrieth_ixi.py IXI/ holderrieth_ixi/

The study is that of `featx init --protocol holderrieth2022` with these changes: a small SFCN on 4 mm, pretrained on
made brains, in place of the two on 1 mm, pretrained on UK Biobank, whose weights are a download and want a GPU;
arms that are named by --arms alone; fewer epochs and seeds. Its splits are the protocol's: three folds, three inner
ones, shared by all arms. `featx run` does it; killed, the same command goes on.

Told are scores with 95 % intervals (bootstrap over people), minutes of the clock, and what the work published for
IXI (another 1 mm network, other people, 215 of whom trained): to see whether the order is the same, not the values.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

RESULTS = Path(__file__).parent / "results"
PRETRAINED, CONTROL, VOXELS, VOLUMES = "sfcn_4mm.synthetic", "sfcn_4mm.untrained@random:0", "voxels.4mm", "volumes"
METRICS = {"age": ("mae",), "sex": ("auc", "accuracy")}
# What stands in a run as (features, head), and the arm of the work that it is held against.
THEIRS = {"direct": "direct", "head-only": "head-only", "two-stage": "two-stage/full", "scratch": "scratch"}
THEIRS |= dict.fromkeys(("pc-elastic-net", "pc-elastic-net-logistic"), "elastic net")
SOME_FAILED = 3  # the exit code of a command that is done, and tells what it left out

Tables = dict[str, Any]


def main() -> None:
    """Run the study, write the table, print it."""
    args = _arguments()
    run_study(study_of(args), args.folder)
    table = pd.DataFrame([row for run in runs_of(args.folder) for row in rows_of(run)])
    table["published"] = [_published(*row) for row in table[["target", "features", "head", "metric"]].to_numpy()]
    write_table(table, args.csv)
    print_table(table, args.folder)


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__, "holderrieth_ixi")
    parser.add_argument("--arms", default="head-only,two-stage,scratch", help="of these, those that the protocol has")
    parser.add_argument("--epochs", type=int, default=100, help="at most, of phases in which everything trains")
    return parser.parse_args()


def study_of(args: argparse.Namespace) -> Tables:
    """The protocol's study at 4 mm."""
    study = protocol_of("holderrieth2022", args)
    study["networks"] = [
        {"name": [PRETRAINED], "tap": ["features", "prediction_age", "prediction_sex"]},
        {"name": [CONTROL, VOXELS]},
    ]
    study["features"] = {
        "tables": {VOLUMES: str(args.ixi.resolve() / "regional_volumes.tsv")},
        "use": [
            VOLUMES,
            VOXELS,
            CONTROL.replace(":", "-"),
            *(f"{PRETRAINED}/volume/{tap}/mean" for tap in ("features", "prediction_age", "prediction_sex")),
        ],
    }
    study["arms"] = list(_arms(study["arms"], args))
    return study


def _arms(blocks: list[Tables], args: argparse.Namespace) -> Iterator[Tables]:
    for block in blocks:
        own = [arm for arm in block["arm"] if arm in args.arms.split(",")]
        if own:
            changes = {"network": PRETRAINED, "arm": own, "seeds": args.seeds, "keep": False, "jobs": args.jobs}
            yield block | changes | ({} if own == ["head-only"] else {"set": {"all.epochs": args.epochs}})


# --- any protocol on IXI --------------------------------------------------------------------------------------


def arguments(says: str | None, name: str) -> argparse.ArgumentParser:
    """What every such benchmark asks."""
    parser = argparse.ArgumentParser(description=says, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ixi", type=Path, help="brains, participants.tsv and regional_volumes.tsv")
    parser.add_argument("folder", type=Path, help="where the study and all that comes of it stay")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--where", default="", help="some of the people, to try it out")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--csv", type=Path, default=RESULTS / f"{name}.csv")
    return parser


def protocol_of(name: str, args: argparse.Namespace) -> Tables:
    """A protocol's study with the people of IXI."""
    from featx.study.writing import protocol

    study = tomllib.loads(protocol(name))
    people = {"images": str(args.ixi.resolve()), "phenotypes": str(args.ixi.resolve() / "participants.tsv")}
    study["cohort"] = people | ({"where": args.where} if args.where else {})
    study["phenotypes"] |= {"targets": list(METRICS)}
    return study | {"output": "results"}


def run_study(study: Tables, folder: Path) -> None:
    """Write a study and let featx do it, or what is left of it."""
    from featx.study.keys import keys_of
    from featx.study.writing import commented

    first = {name: study.pop(name) for name in keys_of("") if name in study}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.toml"
    path.write_text(commented({"": first, **study}, path.name), encoding="utf-8")
    featx = Path(sys.executable).with_name("featx")
    code = subprocess.run([str(featx), "run", str(path)], check=False).returncode
    if code not in (0, SOME_FAILED):
        sys.exit(code)


def runs_of(folder: Path) -> list[Path]:
    """The run of the heads, then those of trained arms."""
    results = folder / "results"
    return [results / "run", *sorted(one for one in results.glob("train-*") if (one / "run.json").is_file())]


def rows_of(run: Path) -> Iterator[Tables]:
    """Scores of a run; of a trained arm with its minutes, and what its BatchNorm did."""
    scores = pd.read_csv(run / "scores.csv", keep_default_na=False, na_values=[""])
    trained = run / "training.json"
    fits = pd.DataFrame(json.loads(trained.read_text(encoding="utf-8"))["fits"] if trained.is_file() else [])
    for row in scores.to_dict("records"):
        if row["metric"] not in METRICS[row["target"]] or (row["head"] == "baseline" and len(fits)):
            continue
        told = {name: row[name] for name in ("target", "metric", "features", "head", "value", "low", "high", "n")}
        told |= {"run": run.name, "minutes": None, "batch_norm": ""}
        if row["head"] != "baseline" and len(fits):
            is_of = fits["target"].map(lambda targets, name=row["target"]: name in targets.split("+"))
            own = fits[(fits["arm"] == row["head"]) & is_of]
            norms = set(own["batch_norm"]) if row["head"] == "head-only" else set()
            told |= {"minutes": own["elapsed_s"].sum() / 60, "batch_norm": "".join(norms)}
        yield told


def write_table(table: pd.DataFrame, path: Path) -> None:
    """The table as CSV, with four decimals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")


def minutes_of(folder: Path) -> float:
    """Of all steps of the study, over all calls."""
    steps = json.loads((folder / "results/steps.json").read_text(encoding="utf-8"))["steps"]
    return sum(one["elapsed_s"] for one in steps.values()) / 60


def cell(row: Tables) -> str:
    """A score with its interval."""
    digits = 2 if row["metric"] == "mae" else 3
    if pd.isna(row["value"]):
        return ""
    ends = "" if pd.isna(row["low"]) else f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return f"{row['value']:.{digits}f}{ends}"


# --- this one -------------------------------------------------------------------------------------------------


def _published(target: str, features: str, head: str, metric: str) -> float | None:
    """What the work tells of IXI for such an arm: its elastic net is on voxels, `direct` the label's own answer."""
    from featx.report.said.published import published

    fits = {"direct": features.endswith(f"prediction_{target}/mean"), "elastic net": features == VOXELS}
    theirs = THEIRS.get(head, "")
    if not theirs or not fits.get(theirs, True):
        return None
    told = [one for one in published("holderrieth2022") if (one.dataset, one.phenotype) == ("IXI", target)]
    return next((one.value for one in told if (one.arm, one.metric) == (theirs, metric)), None)


def print_table(table: pd.DataFrame, folder: Path) -> None:
    """Scores by target, best first."""
    print("\n| target | features | head or arm | score [95 %] | minutes of training | published for IXI |")
    print("|---|---|---|---|---|---|")
    for (target, metric), own in table.groupby(["target", "metric"], sort=False):
        for row in own.sort_values("value", ascending=metric == "mae").to_dict("records"):
            head = row["head"] + (f", batch norm {row['batch_norm']}" if row["batch_norm"] else "")
            minutes = "" if pd.isna(row["minutes"]) else f"{row['minutes']:.1f}"
            theirs = "" if pd.isna(row["published"]) else f"{row['published']:g}"
            print(f"| {target}, {metric} | {row['features']} | {head} | {cell(row)} | {minutes} | {theirs} |")
    print(f"\n{int(table['n'].min())} people; {minutes_of(folder):.1f} minutes in all, over all calls")


if __name__ == "__main__":
    main()
