"""The protocol gupta2023 on 181 real brains (IXI), at the size of two cores: axes, aggregations, missing slices.

    python benchmarks/gupta_ixi.py IXI/ gupta_ixi/ --weights squeezenet1_0_imagenet.pth

The study is that of `featx init --protocol gupta2023` with these changes: squeezenet1_0 in place of ResNet-18; 20
slices of 112 pixels for frozen features, 10 of 64 for networks that train; fewer epochs and seeds; arms from
ImageNet alone. The five folds and the sixteen ways of missing (of every 2, 4, 5 or 10 slices all but one) are the
protocol's. `featx run` does it; killed, the same command goes on.

Frozen features: heads are fitted *and* tested with the same slices missing, so that what is lost is what those
slices told. Trained networks: they see whole brains in training, and those who test have slices missing.
`attention` of frozen features is the head of that name on slices that are kept apart, of trained ones a layer that
is trained with them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # for the other benchmark, wherever this one is started

import pandas as pd
from holderrieth_ixi import arguments, cell, minutes_of, protocol_of, rows_of, run_study, runs_of, write_table

NETWORK = "squeezenet1_0.imagenet"
AXES, TAPS = ("sagittal", "coronal", "axial"), ("fire5", "fire9")
SHOWN = {"age": "mae", "sex": "auc"}
KS, INSTEAD = (2, 4, 5, 10), ("drop", "fill", "zeros", "noise")
HEADS = {"age": "ridge", "sex": "logistic"}

Tables = dict[str, Any]


def main() -> None:
    """Run the study, write the table, print it."""
    args = _arguments()
    run_study(study_of(args), args.folder)
    table = pd.DataFrame([told(row, run) for run in runs_of(args.folder) for row in rows_of(run) if _is_shown(row)])
    write_table(table, args.csv)
    for target in SHOWN:
        print_aggregations(table, target)
        print_missing(table, target)
    print(f"\n{int(table['n'].min())} people; {minutes_of(args.folder):.1f} minutes in all, over all calls")


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__, "gupta_ixi")
    parser.add_argument("--weights", default="official", help="of ImageNet: official, or a file")
    parser.add_argument("--frozen", default="20,112", help="slices and pixels of frozen features")
    parser.add_argument("--trained", default="10,64", help="slices and pixels of networks that train")
    parser.add_argument("--epochs", type=int, default=10, help="at most")
    return parser.parse_args()


def study_of(args: argparse.Namespace) -> Tables:
    """The protocol's study with a smaller network."""
    study = protocol_of("gupta2023", args)
    weights = str(Path(args.weights).resolve()) if args.weights != "official" else args.weights
    missing = study["networks"][1]["missing"]
    slices, size = args.frozen.split(",")
    frozen = {"name": [NETWORK], "weights": {NETWORK: weights}, "axis": list(AXES), "tap": list(TAPS)}
    frozen |= {"slices": int(slices), "size": int(size)}
    study["networks"] = [frozen | {"pool": ["mean", "max", "slices"]}, frozen | {"missing": missing}]
    study["features"] = {"use": ["each"], "aggregate": "concat"}
    study["heads"] = {"use": ["ridge", "logistic", "attention"]}
    study["statistics"] = {"bootstrap": 1000}
    study["folds"]["stratify"] = "none"  # one network for age and sex, on folds that they share
    study["arms"] = list(_arms(args, weights, [word for word in missing if word != "none"]))
    del study["curve"]  # 1,000 people and more
    return study


def _arms(args: argparse.Namespace, weights: str, missing: list[str]) -> Iterator[Tables]:
    """Mean, max and attention along one axis, attention along the others; scratch for the first."""
    slices, size = args.trained.split(",")
    for at, (axis, aggregation) in enumerate(
        [("sagittal", "attention"), ("sagittal", "mean"), ("sagittal", "max")]
        + [("coronal", "attention"), ("axial", "attention")]
    ):
        yield {
            "network": NETWORK,
            "weights": weights,
            "arm": ["full"] if at else ["full", "scratch"],
            "axis": axis,
            "slices": int(slices),
            "size": int(size),
            "aggregation": aggregation,
            "together": True,
            "epochs": args.epochs,
            "seeds": args.seeds,
            "jobs": args.jobs,
            "keep": False,
        } | ({} if at else {"missing": missing})


def told(row: Tables, run: Path) -> Tables:
    """A row of scores with what its names, or the call of its run, say: axis, tap, aggregation, what is missing."""
    found = {"arm": row["head"], "axis": "", "tap": "", "aggregation": "", "missing": ""}
    if row["head"] == "baseline":
        return row | found
    if row["run"] == "run":
        _, view, tap, pooling = row["features"].split("/")
        axis, _, missing = view.partition("~")
        pooling = "attention" if row["head"] == "attention" else pooling
        return row | {"arm": "frozen", "axis": axis, "tap": tap, "aggregation": pooling, "missing": missing}
    words = shlex.split(json.loads((run / "run.json").read_text(encoding="utf-8"))["command"])
    found |= {name: words[words.index(f"--{name}") + 1] for name in ("axis", "aggregation")}
    return row | found | {"missing": row["features"].partition("~")[2]}


def _is_shown(row: Tables) -> bool:
    if row["metric"] != SHOWN[row["target"]]:
        return False
    is_frozen = row["run"] == "run" and row["head"] != "baseline"
    is_slices = row["features"].endswith("/concat")  # of these only attention is asked
    return not is_frozen or row["head"] == ("attention" if is_slices else HEADS[row["target"]])


def print_aggregations(table: pd.DataFrame, target: str) -> None:
    """Aggregations down, axes across, on whole brains."""
    whole = table[(table["target"] == target) & (table["missing"] == "")]
    print(f"\n{target}, {SHOWN[target]}, whole brains\n")
    print(f"| arm | slices put together by | {' | '.join(AXES)} |")
    print("|---|---|" + "---|" * len(AXES))
    for (arm, tap, aggregation), own in whole.groupby(["arm", "tap", "aggregation"], sort=False):
        by_axis = {row["axis"]: cell(row) for row in own.to_dict("records")}
        cells = [by_axis.get(axis, by_axis.get("", "")) for axis in AXES]
        print(f"| {' '.join([arm, tap]).strip()} | {aggregation} | {' | '.join(cells)} |")


def print_missing(table: pd.DataFrame, target: str) -> None:
    """Arms, axes and what is shown instead down, of how many slices one is there across."""
    own = table[(table["target"] == target) & (table["aggregation"] != "max")]
    own = own[own["missing"].ne("") | own["arm"].eq("frozen") | own["run"].isin(own["run"][own["missing"].ne("")])]
    print(f"\n{target}, {SHOWN[target]}: of every k slices one is there\n")
    columns = ["", *KS]
    print(f"| arm | axis | instead | whole | {' | '.join(f'k = {k}' for k in KS)} |")
    print("|---|---|---|" + "---|" * len(columns))
    for (arm, tap, aggregation, axis), rows in own.groupby(["arm", "tap", "aggregation", "axis"], sort=False):
        values = {row["missing"]: row["value"] for row in rows.to_dict("records")}
        for instead in INSTEAD if len(values) > 1 else ():
            found = [values.get("")] + [values.get(f"{instead}{k}") for k in KS]
            digits = 2 if SHOWN[target] == "mae" else 3
            cells = ["" if one is None else f"{one:.{digits}f}" for one in found]
            name = " ".join(word for word in (arm, tap, aggregation) if word)
            print(f"| {name} | {axis} | {instead} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
