"""featx demo: the main job on made brains, as a study."""

from __future__ import annotations

from pathlib import Path

import typer

from featx_cli.console import progress, say

BUNDLED, UNTRAINED = "sfcn_4mm.synthetic", "sfcn_4mm.untrained"
STUDY = f"""\
# The study of `featx demo`: change it, and `featx run` and its name do what has changed.
title = "Do features of frozen networks tell the age and sex of made people?"
output = "."

[cohort]
images = "brains"
phenotypes = "brains/participants.tsv"

[phenotypes]
targets = ["age", "sex"]

[[networks]]
name = ["{BUNDLED}", "{UNTRAINED}@random:0", "squeezenet1_0.imagenet@random:0"]
slices = 8

[folds]
n = 5
seed = {{seed}}

[[arms]]
network = "{UNTRAINED}"
arm = ["scratch"]
targets = ["age"]
epochs = 15
keep = false
"""


def command(
    output: Path = typer.Option(Path("demo"), "--output", "-o", help="The folder to work in."),
    people: int = typer.Option(80, min=20, help="Brains to make."),
    seed: int = typer.Option(0, min=0, help="Of the made people and of the folds."),
) -> None:
    """Make a cohort of brains with known age and sex, and do the whole job on it: index, extract, fit, train, report.

    One of the networks comes with featx: it was pretrained on other made brains, of many made scanners. It is held
    against networks with random weights, and against the same network trained from scratch on the same folds.
    Nothing is downloaded. What is asked stands in OUTPUT/study.toml: change it, and `featx run` does what has
    changed. Run again, it goes on where it was. Needs featx[torch,train,demo].

    \b
    Example:
    featx demo -o demo/
    featx run demo/study.toml --dry-run
    """
    from featx.images.synthetic import make_cohort
    from featx.study.reading import Study, read_study
    from featx_cli.run import run_study

    brains, path = output / "brains", output / "study.toml"
    if not (brains / "participants.tsv").is_file():  # it is written last
        with progress("brains", "brains") as update:
            make_cohort(brains, people, random_state=seed, progress=lambda done, n: update(done, n, ""))
    if not path.exists():
        path.write_text(STUDY.format(seed=seed), encoding="utf-8")
    say(f"what is asked: {path}")
    study = read_study(path)
    if isinstance(study, Study):
        run_study(study)
