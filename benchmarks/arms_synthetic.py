"""The README's figure: what pretraining is worth to few people, on made brains whose truth is known.

    python benchmarks/arms_synthetic.py arms_synthetic/

One command makes the brains (population "elsewhere": scanners that the pretrained network never saw), extracts frozen
features, trains, fits and draws; killed, the same command goes on. 200 people test, the same always. Of the others,
five draws of people train, small draws within large ones, and draw and seed change together. Arms, for age and sex:

scratch            everything is trained, from random weights; one network for both targets
full               the same, from the pretrained weights, in half the epochs
frozen             features of the pretrained network; ridge (age) and logistic regression (sex)
frozen, random     features of a network with random weights, under the same heads
baseline           the training people's mean

All arms get the same people. A fifth of them chooses the epoch of a network, the penalty of a head is chosen by five
inner folds, of which this fifth is one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
TARGETS = {
    "age": ("mae", "age: mean absolute error, years\n(lower is better)"),
    "sex": ("auc", "sex: AUC\n(higher is better)"),
}
SCRATCH, FULL, FROZEN, RANDOM, BASELINE = "scratch", "full", "frozen", "frozen, random", "baseline"
LOOKS = {
    SCRATCH: ("#D55E00", "s", "-"),
    FULL: ("#009E73", "D", "-"),
    FROZEN: ("#0072B2", "o", "-"),
    RANDOM: ("#8794a1", "v", "-"),
    BASELINE: ("#1f2933", "", (0, (4, 3))),
}
ACCEPTED = ("not-registered",)  # by a hair, six brains of a thousand
RECIPE = {
    "numbers": "regression",
    "optimiser": "adam",
    "all.weight_decay": "1e-4",
    "step_epochs": "0",
    "dropout": "0",
}


@dataclass(frozen=True)
class Draw:
    """Who trains: the first `n` of the people of a draw."""

    n: int
    draw: int
    participants: tuple[str, ...]


def main() -> None:
    """Do what is not done yet, write the table and the figure, print the means."""
    args = _arguments()
    start = time.monotonic()
    sizes = {int(n): int(epochs) for n, epochs in (one.split(":") for one in args.sizes.split(","))}
    brains = _make_brains(args, max(sizes))
    features = _extract(args, brains)
    draws = make_draws(pd.read_csv(brains / "participants.tsv", sep="\t")["participant_id"], args, list(sizes))
    found = [*_fit_heads(args, brains, features, draws), *_train(args, brains, draws, sizes)]
    table = pd.concat(found, ignore_index=True).drop_duplicates(["n_train", "draw", "target", "arm"])
    table = table.sort_values(["target", "arm", "n_train", "draw"])
    for path in (args.csv, args.svg):
        path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.csv, index=False, float_format="%.4f", lineterminator="\n")
    words = [crossing(table, target) for target in TARGETS]
    draw_figure(table, words, args.svg)
    _print_table(table)
    print("\n" + "\n".join(words))
    print(f"\n{args.csv}, {args.svg}; {(time.monotonic() - start) / 60:.1f} minutes in this call")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where brains, features and fits stay")
    parser.add_argument("--network", default="sfcn_4mm.synthetic", help="the pretrained one")
    parser.add_argument("--control", default="sfcn_4mm.untrained@random:0")
    parser.add_argument("--sizes", default="50:40,100:30,200:20,400:15", help="people : epochs of scratch at most")
    parser.add_argument("--pool", type=int, help="people to draw from; without it twice the largest size")
    parser.add_argument("--test", type=int, default=200, help="people who test")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--rates", default="1e-3,3e-4", help="learning rates of scratch and of full")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--csv", type=Path, default=RESULTS / "arms_synthetic.csv")
    parser.add_argument("--svg", type=Path, default=RESULTS / "arms_synthetic.svg")
    return parser.parse_args()


# --- what all arms share --------------------------------------------------------------------------------------


def _make_brains(args: argparse.Namespace, largest: int) -> Path:
    from featx.images.synthetic import make_cohort

    brains = args.folder / "brains"
    n = args.test + (args.pool or 2 * largest)
    if not (brains / "participants.tsv").is_file():  # it is written last
        since = time.monotonic()
        make_cohort(brains, n, population="elsewhere", n_jobs=args.jobs)
        _say(f"{n} brains made", since)
    return brains


def _extract(args: argparse.Namespace, brains: Path) -> Path:
    features = args.folder / "features.h5"
    since = time.monotonic()
    words = ["extract", brains, "--network", args.network, "--network", args.control, "-o", features]
    words += [word for code in ACCEPTED for word in ("--accept", code)]
    featx = Path(sys.executable).with_name("featx")
    subprocess.run([str(featx), *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    _say("features extracted", since)
    return features


def make_draws(participants: Sequence[str], args: argparse.Namespace, sizes: Sequence[int]) -> list[Draw]:
    """Who trains; the first people test in every draw.

    Examples
    --------
    >>> args = argparse.Namespace(test=2, draws=1)
    >>> one, two = make_draws([f"sub-{at}" for at in range(6)], args, [1, 3])
    >>> len(two.participants), two.participants[:1] == one.participants, "sub-0" in two.participants
    (3, True, False)
    """
    pool = list(participants)[args.test :]
    orders = [np.random.default_rng(draw).permutation(len(pool)) for draw in range(args.draws)]
    return [Draw(n, draw, tuple(pool[at] for at in order[:n])) for n in sizes for draw, order in enumerate(orders)]


def _request(args: argparse.Namespace, brains: Path, one: Draw, **more):
    """A request of the analysis for the people of a draw: they train, those who test are given."""
    from featx.analysis.cohort.phenotypes import read_phenotypes
    from featx.analysis.folds.given import splits_from_labels
    from featx.analysis.folds.splits import Folding
    from featx.analysis.request import Columns, Inferring, Request

    people = read_phenotypes(brains / "participants.tsv")
    tests = np.arange(len(people.table)) < args.test
    trains = people.table["participant_id"].isin(one.participants).to_numpy()
    table = people.table.assign(split=np.where(tests, "test", "train"))[tests | trains]
    return Request(
        phenotypes=table,
        targets=tuple(TARGETS),
        expected=people.kinds,
        levels=people.levels,
        units=people.units,
        folding=Folding(scheme="given", n_inner=5, random_state=one.draw),
        columns=Columns(stratify="none"),
        inferring=Inferring(n_bootstrap=0),
        given_splits=splits_from_labels(table, "split"),
        **more,
    )


def _rows(scores: pd.DataFrame, one: Draw, names: dict[tuple[str, str], str]) -> pd.DataFrame:
    """First metric of each target, by arm; `names` are those of (features, head)."""
    scores = scores[
        [TARGETS[target][0] == metric for target, metric in zip(scores["target"], scores["metric"], strict=True)]
    ]
    arms = [names.get(pair) for pair in zip(scores["features"], scores["head"], strict=True)]
    facts = {"n_train": one.n, "draw": one.draw, "n_test": scores["n"]}
    table = scores.assign(arm=arms, **facts).dropna(subset=["arm"])
    return table[["target", "metric", "arm", "n_train", "draw", "n_test", "value"]]


# --- heads on frozen features ---------------------------------------------------------------------------------


def _fit_heads(args: argparse.Namespace, brains: Path, features: Path, draws: Sequence[Draw]) -> list[pd.DataFrame]:
    from featx import store
    from featx.analysis.fit import run

    since = time.monotonic()
    sets = {name: store.read_set(features, name) for name in store.list_sets(features)}
    names = {("-", "baseline"): BASELINE}
    combinations = {}
    for asked, arm in ((args.network, FROZEN), (args.control, RANDOM)):
        own = tuple(name for name in sets if name.split("/")[0] == asked.replace(":", "-"))
        combinations[arm] = own
        names |= {(arm, head): arm for head in ("ridge", "logistic")}
    found = []
    for one in draws:
        request = _request(args, brains, one, sets=sets, combinations=combinations, heads=("ridge", "logistic"))
        found.append(_rows(run(request).tables["scores"], one, names))
    _say(f"{len(draws)} draws fitted to frozen features", since)
    return found


# --- networks that train --------------------------------------------------------------------------------------


def _train(
    args: argparse.Namespace, brains: Path, draws: Sequence[Draw], sizes: dict[int, int]
) -> list[pd.DataFrame]:
    """All fits, the long ones first, so that no process is left alone with one."""
    from featx.images.index import index_images
    from featx.training.cache import fill_cache, voxels_of
    from featx.training.fit import Machine
    from featx.training.result import images_as_set, make_result
    from featx.training.run import arms_of, run_tasks
    from featx.training.source import need_of
    from featx.training.train import plan_training

    since = time.monotonic()
    source = _source(args.network)
    images = index_images(str(brains))
    filled = fill_cache(images, need_of(source, ACCEPTED), args.folder / "volumes", workers=args.jobs)
    if filled.failures:
        sys.exit(str(filled.failures[0]["sentence"]))
    one_set = images_as_set(source.base.name, images, source.request)
    voxels = {image.image_id: voxels_of(image, need_of(source, ACCEPTED)) for image in images}
    planned = []
    for one in draws:
        request = _request(
            args, brains, one, sets={one_set.name: one_set}, combinations={one_set.name: (one_set.name,)}, heads=()
        )
        wishes = _wishes(args, one, sizes[one.n])
        plan = plan_training(
            request, wishes, source, args.folder / "fits", keep=False, machine=Machine(), voxels=voxels
        )
        planned.append((one, request, plan))
    tasks = [task for *_, plan in planned for own in plan.tasks for task in own]
    tasks.sort(key=lambda task: -len(task.fit.train.image_ids) * task.fit.recipe.schedules["all"].epochs)
    done = {}
    for answer in run_tasks(tasks, source, filled.cache, machine=Machine(), n_jobs=args.jobs):
        if answer.error is not None or answer.fitted is None:
            sys.exit(str(answer.error))
        done[answer.task.folder] = answer
        epochs = f"{len(answer.fitted.curves)} epochs, best {answer.fitted.epochs['all']}"
        _say(f"{len(done)} of {len(tasks)} networks: {answer.task.fit.arm.name}, {epochs}", since)
    found = []
    for one, request, plan in planned:
        arms = [
            arms_of([done[task.folder] for task in own], source.base.name, wish.seeds)
            for wish, own in zip(plan.wishes, plan.tasks, strict=True)
        ]
        scores = make_result(request, (plan.plan, plan.once), arms, plan.refused).tables["scores"]
        rows = _rows(scores, one, {(source.base.name, arm): arm for arm in (SCRATCH, FULL)})
        found.append(rows.assign(minutes=[_minutes(plan, done, arm) for arm in rows["arm"]]))
    return found


def _source(network: str):
    from featx.extraction.plan import divide_name, make_request
    from featx.training.source import Source

    name, weights = divide_name(network)
    return Source(make_request(name, weights=weights), "features")


def _wishes(args: argparse.Namespace, one: Draw, epochs: int):
    from featx.training.arms import get_arm
    from featx.training.folds import Wish
    from featx.training.schedules import changed, get_recipe

    def wish(arm: str, rate: str, most: int) -> Wish:
        words = {**RECIPE, "epochs": str(most), "learning_rate": rate, "patience": str(max(5, most // 3))}
        recipe = changed(get_recipe("sfcn-scratch"), words)
        recipe = replace(recipe, name="arms_synthetic")
        return Wish(get_arm(arm), lambda _: recipe, seeds=(one.draw,), together=True)

    of_scratch, of_full = args.rates.split(",")
    return wish(SCRATCH, of_scratch, epochs), wish(FULL, of_full, max(1, epochs // 2))


def _minutes(plan, done: dict, arm: str) -> float:
    (task,) = (task for own in plan.tasks for task in own if task.fit.arm.name == arm)
    return done[task.folder].fitted.elapsed_s / 60


# --- what is told ---------------------------------------------------------------------------------------------


def crossing(table: pd.DataFrame, target: str) -> str:
    """Where the mean of scratch passes that of frozen features, between sizes along their logarithm, in words.

    Examples
    --------
    >>> scratch, frozen = {"arm": "scratch", "value": [9, 7, 4]}, {"arm": "frozen", "value": [6, 5, 5]}
    >>> own = [pd.DataFrame({**one, "n_train": [50, 100, 200]}) for one in (scratch, frozen)]
    >>> table = pd.concat(own).assign(target="age", draw=0)
    >>> crossing(table, "age")
    'age: scratch passes frozen features at about 160 people'
    """
    sign = 1 if TARGETS[target][0] == "mae" else -1
    means = table[table["target"] == target].groupby(["n_train", "arm"])["value"].mean().unstack()
    behind = sign * (means[SCRATCH] - means[FROZEN])
    sizes, gaps = np.log(behind.index.to_numpy(float)), behind.to_numpy()
    passed = np.flatnonzero((gaps[:-1] > 0) & (gaps[1:] <= 0))
    if gaps[-1] > 0:
        last = f"up to {behind.index[-1]} people (by {gaps[-1]:.2g} there)"
        return f"{target}: scratch stays behind frozen features {last}"
    if not len(passed):
        return f"{target}: scratch is ahead of frozen features from {behind.index[0]} people on"
    at = passed[-1]
    place = np.exp(sizes[at] + (sizes[at + 1] - sizes[at]) * gaps[at] / (gaps[at] - gaps[at + 1]))
    return f"{target}: scratch passes frozen features at about {round(float(place), -1):.0f} people"


def draw_figure(table: pd.DataFrame, words: Sequence[str], path: Path) -> None:
    """A panel for each target: means over draws, bands from the least to the most, and where arms cross in words."""
    mpl.rcParams |= {"svg.hashsalt": "featx", "svg.fonttype": "none", "font.family": "sans-serif"}
    figure = Figure(figsize=(9.2, 3.9), layout="constrained")
    panels = figure.subplots(1, len(TARGETS))
    for panel, (target, (_, label)), said in zip(panels, TARGETS.items(), words, strict=True):
        own = table[table["target"] == target]
        for arm, (colour, marker, dashes) in LOOKS.items():
            values = own[own["arm"] == arm].groupby("n_train")["value"].agg(["mean", "min", "max"])
            if arm != BASELINE:
                panel.fill_between(values.index, values["min"], values["max"], color=colour, alpha=0.15, linewidth=0)
            panel.plot(
                values.index, values["mean"], color=colour, marker=marker, linestyle=dashes, label=arm, markersize=5
            )
        sizes = sorted(set(own["n_train"]))
        panel.set_xscale("log")
        panel.set_xticks(sizes, [str(n) for n in sizes])
        panel.minorticks_off()
        panel.set_ylabel(label, fontsize=9)
        said = textwrap.fill(said.partition(": ")[2], 52)
        panel.set_xlabel(f"people who train\n{said}", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(LOOKS), fontsize=9, frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")


def _print_table(table: pd.DataFrame) -> None:
    sizes = sorted(set(table["n_train"]))
    for target, (metric, _) in TARGETS.items():
        own = table[table["target"] == target]
        print(f"\n| {target}, {metric}: mean (least to most) | " + " | ".join(f"n = {n}" for n in sizes) + " |")
        print("|---" * (1 + len(sizes)) + "|")
        for arm in LOOKS:
            cells = [own[(own["arm"] == arm) & (own["n_train"] == n)]["value"] for n in sizes]
            digits = 2 if metric == "mae" else 3
            shown = [f"{c.mean():.{digits}f} ({c.min():.{digits}f} to {c.max():.{digits}f})" for c in cells]
            print(f"| {arm} | " + " | ".join(shown) + " |")
    minutes = table[table["target"] == "age"].groupby("arm")["minutes"].sum()
    print("\nminutes of training, all draws: " + ", ".join(f"{arm} {minutes[arm]:.1f}" for arm in (SCRATCH, FULL)))


def _say(what: str, since: float) -> None:
    print(f"{what} ({time.monotonic() - since:.0f} s)", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
