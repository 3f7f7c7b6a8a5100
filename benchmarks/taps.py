"""Which axis, which tap, which pooling? Age and sex from every one of them, and from several together.

    featx extract images.csv -n squeezenet1_0.imagenet --tap all --pool mean --pool max --pool std -o grid.h5
    python benchmarks/taps.py grid.h5 participants.tsv grid_run/ --csv benchmarks/results/taps.csv

Three times repeated 10-fold cross-validation, ridge for age (mean absolute error), logistic regression for sex (area
under the curve), the same folds for all. The table shows how much the choice matters; the best of two hundred scores
on the same people is no estimate of anything.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

AXES = ("sagittal", "coronal", "axial")
POOLINGS = ("mean", "max", "std")


def main() -> None:
    """Fit what is not fitted yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("phenotypes", type=Path)
    parser.add_argument("run", type=Path, help="the run's folder; where it exists, its scores are shown")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    if not (args.run / "scores.csv").is_file():
        _fit(args.features, args.phenotypes, args.run)
    scores = _scores(args.run)
    if args.csv:
        scores.to_csv(args.csv, index=False, float_format="%.4f", lineterminator="\n")
    _print_table(scores)


def _fit(features: Path, phenotypes: Path, run: Path) -> None:
    from featx import store

    names = [name.split("/") for name in store.list_sets(features)]
    (network,) = {network for network, *_ in names}
    taps = sorted({tap for _, _, tap, _ in names})
    asked = []
    for pooling in sorted({pooling for *_, pooling in names}):
        asked += [f"{axis}/{tap}/{pooling}" for axis in (*AXES, "*") for tap in taps]
        asked += [f"{axis}/fire?/{pooling}" for axis in (*AXES, "*")]
    asked.append(f"*/fire?/mean+{network}/*/fire?/std")
    options = [word for one in asked for word in ("--features", f"{network}/{one}")]
    command = ["featx", "fit", str(features), str(phenotypes), "--target", "age", "--target", "sex", *options]
    subprocess.run([*command, "--repeats", "3", "--bootstrap", "0", "-o", str(run)], check=True)


def _scores(run: Path) -> pd.DataFrame:
    scores = pd.read_csv(run / "scores.csv")
    scores = scores[scores["head"] != "baseline"]
    mae = scores[scores["metric"] == "mae"].set_index("features")["value"]
    auc = scores[scores["metric"] == "auc"].set_index("features")["value"]
    found = pd.DataFrame({"age_mae_years": mae, "sex_auc": auc}).reset_index()
    network = found["features"].str.split("/").str[0].iloc[0]
    found["features"] = found["features"].str.replace(f"{network}/", "", regex=False)
    return found


def _print_table(scores: pd.DataFrame) -> None:
    table = scores.set_index("features")
    single = [name.split("/") for name in table.index if "+" not in name and ":" not in name]
    taps = sorted({tap for _, tap, _ in single if tap.isalnum()}) + ["fire?"]
    print("| pooling | axis | " + " | ".join("all" if tap == "fire?" else tap for tap in taps) + " |")
    print("|---" * (2 + len(taps)) + "|")
    for pooling in POOLINGS:
        for axis in (*AXES, "*"):
            cells = [_cell(table.loc[f"{axis}/{tap}/{pooling}"]) for tap in taps]
            print(f"| {pooling} | {'all three' if axis == '*' else axis} | " + " | ".join(cells) + " |")
    for name in table.index[table.index.str.contains("+", regex=False)]:
        print(f"{name}: {_cell(table.loc[name])}", file=sys.stderr)


def _cell(one: pd.Series) -> str:
    return f"{one['age_mae_years']:.2f}, {one['sex_auc']:.3f}".replace(" 0.", " .")


if __name__ == "__main__":
    main()
