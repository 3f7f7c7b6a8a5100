"""featx demo: the main job on made brains."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import typer

from featx_cli.console import progress, say

NETWORKS = ["squeezenet1_0.imagenet@random:0", "r3d_18.kinetics400@random:0"]
SLICES = 8


def command(
    output: Path = typer.Option(Path("demo"), "--output", "-o", help="The folder to work in."),
    people: int = typer.Option(80, min=20, help="Brains to make."),
    seed: int = typer.Option(0, min=0, help="Of the made people and of the folds."),
) -> None:
    """Make a cohort of brains with known age and sex, and do the whole job on it: index, extract, fit, report.

    The networks have random weights, so that nothing is downloaded: a control that already sees age and sex, which
    is why featx always shows it. Run again, it goes on where it was. Needs featx[torch,demo].
    """
    from featx.images.synthetic import make_cohort

    start = time.monotonic()
    brains, images, features, run = (output / name for name in ("brains", "images.csv", "features.h5", "run"))
    if not (brains / "participants.tsv").is_file():  # it is written last
        with progress("brains", "brains") as update:
            make_cohort(brains, people, random_state=seed, progress=lambda done, n: update(done, n, ""))
    nets = [word for name in NETWORKS for word in ("--network", name)]
    for words in (
        ["index", brains, "-o", images],
        ["extract", images, *nets, "--slices", SLICES, "-o", features],
        [
            "fit",
            features,
            brains / "participants.tsv",
            "--target",
            "age",
            "--target",
            "sex",
            "--seed",
            seed,
            "-o",
            run,
        ],
        ["report", run],
    ):
        _type([str(word) for word in words])
    say(f"\nDone in {time.monotonic() - start:.0f} s. Open {(run / 'report.html').resolve()}")


def _type(words: list[str]) -> None:
    """Run a command of featx as if it were typed, after showing it."""
    from featx_cli.main import app

    say(f"$ featx {shlex.join(words)}")
    code = app(words, prog_name="featx", standalone_mode=False)
    if code:
        raise typer.Exit(code)
    say()
