"""featx demo: the main job on made brains."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from featx_cli import extract, fit, index, report
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
    brains, images, features = output / "brains", output / "images.csv", output / "features.h5"
    if not (brains / "participants.tsv").is_file():  # it is written last
        with progress("brains", "brains") as update:
            make_cohort(brains, people, random_state=seed, progress=lambda done, n: update(done, n, ""))
    say(f"$ featx index {brains} -o {images}")
    index.command(str(brains), images, "", "", "", "", [], "")
    say(f"\n$ featx extract {images} --network {' --network '.join(NETWORKS)} --slices {SLICES} -o {features}")
    nothing: dict[str, list[str]] = {"weights": [], "tap": [], "axis": [], "pool": [], "accept": []}
    plain = {"size": "", "channels": "", "resample": False, "recipe": None, "dry_run": False}
    where = {"device": "auto", "batch_size": 0, "workers": -1}
    extract.command(str(images), network=NETWORKS, output=features, slices=SLICES, **nothing, **plain, **where)
    say(f"\n$ featx fit {features} {brains / 'participants.tsv'} --target age --target sex -o {output / 'run'}")
    fit.command([features, brains / "participants.tsv"], target=["age", "sex"], output=output / "run", seed=seed)
    say(f"\n$ featx report {output / 'run'}")
    report.command(output / "run", None)
    say(f"\nDone in {time.monotonic() - start:.0f} s. Open {(output / 'run' / 'report.html').resolve()}")
