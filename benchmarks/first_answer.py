"""The README's figure: scores of all features of a run, with their intervals, one panel per target.

python benchmarks/first_answer.py run -o benchmarks/results/first_answer.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from featx.analysis.inference.metrics import METRICS

FIRST = {"continuous": "mae", "ordinal": "spearman", "binary": "auc", "multiclass": "auc"}
BLUE, GREY = "#0072B2", "#666666"


def draw(scores: pd.DataFrame, path: Path) -> None:
    """One panel per target: confounds alone, then every combination of features, the baseline as a line."""
    mpl.rcParams |= {"svg.hashsalt": "featx", "svg.fonttype": "none", "font.family": "sans-serif"}
    targets = list(dict.fromkeys(scores["target"]))
    figure = Figure(figsize=(4.6 * len(targets), 2.9), layout="constrained")
    axes = figure.subplots(1, len(targets), sharey=True, squeeze=False)[0]
    for panel, target in zip(axes, targets, strict=True):
        own = scores[(scores["target"] == target) & (scores["head"] != "baseline")]
        own = own[own["confounds"].isin(["ignored", "only"])]
        metric = FIRST[own["kind"].iloc[0]]
        own = own[own["metric"] == metric].reset_index(drop=True)
        names = ["confounds only" if one == "-" else one for one in own["features"]]
        for at, row in own.iterrows():
            colour = GREY if row["features"] == "-" else BLUE
            panel.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=2)
            panel.plot(row["value"], at, marker="o", color=colour)
        panel.axvline(own["baseline"].iloc[0], color=GREY, linestyle="--", linewidth=1)
        panel.text(own["baseline"].iloc[0], -0.7, "baseline", ha="center", va="bottom", fontsize=8, color=GREY)
        better = "higher" if METRICS[metric].higher_is_better else "lower"
        panel.set_xlabel(f"{target}: {METRICS[metric].title}\n({better} is better)", fontsize=9)
        panel.set_yticks(range(len(names)), names, fontsize=9)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    axes[0].set_ylim(len(names) - 0.5, -0.9)
    figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a folder of featx fit")
    parser.add_argument("-o", "--output", type=Path, default=Path("first_answer.svg"))
    wish = parser.parse_args()
    scores = pd.read_csv(wish.run / "scores.csv")
    draw(scores, wish.output)
    print(wish.output)


if __name__ == "__main__":
    main()
