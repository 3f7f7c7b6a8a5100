"""featx demo: the main job on made brains."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import typer

from featx_cli.console import progress, say

BUNDLED, UNTRAINED = "sfcn_4mm.synthetic", "sfcn_4mm.untrained"
NETWORKS = [BUNDLED, f"{UNTRAINED}@random:0", "squeezenet1_0.imagenet@random:0"]
SLICES = 8
FOLDS = 5
EPOCHS = 15  # of the network that is trained from scratch


def command(
    output: Path = typer.Option(Path("demo"), "--output", "-o", help="The folder to work in."),
    people: int = typer.Option(80, min=20, help="Brains to make."),
    seed: int = typer.Option(0, min=0, help="Of the made people and of the folds."),
) -> None:
    """Make a cohort of brains with known age and sex, and do the whole job on it: index, extract, fit, train, report.

    One of the networks comes with featx: it was pretrained on other made brains, of many made scanners. It is held
    against networks with random weights, and against the same network trained from scratch on the same folds.
    Nothing is downloaded. Run again, it goes on where it was. Needs featx[torch,train,demo].
    """
    from featx.images.synthetic import make_cohort

    start = time.monotonic()
    brains, images, features, run = (output / name for name in ("brains", "images.csv", "features.h5", "run"))
    if not (brains / "participants.tsv").is_file():  # it is written last
        with progress("brains", "brains") as update:
            make_cohort(brains, people, random_state=seed, progress=lambda done, n: update(done, n, ""))
    people_table, scratch = brains / "participants.tsv", output / "scratch"
    nets = [word for name in NETWORKS for word in ("--network", name)]
    for words in (
        ["index", brains, "-o", images],
        ["extract", images, *nets, "--slices", SLICES, "-o", features],
        ["fit", features, people_table, *_TARGETS, "--folds", FOLDS, "--seed", seed, "-o", run],
        ["report", run],
        ["train", images, people_table, "--target", "age", "-n", UNTRAINED, "--arm", "scratch", "--no-keep"]
        + ["--splits", run / "splits.csv", "--epochs", EPOCHS, "-o", scratch],
        ["report", scratch],
    ):
        _type([str(word) for word in words])
    pages = ", ".join(str((one / "report.html").resolve()) for one in (run, scratch))
    say(f"\nDone in {time.monotonic() - start:.0f} s. Open {pages}")


_TARGETS = ("--target", "age", "--target", "sex")


def _type(words: list[str]) -> None:
    """Run a command of featx as if it were typed, after showing it."""
    from featx_cli.main import app

    say(f"$ featx {shlex.join(words)}")
    code = app(words, prog_name="featx", standalone_mode=False)
    if code:
        raise typer.Exit(code)
    say()
