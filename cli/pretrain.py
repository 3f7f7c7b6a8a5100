"""featx pretrain: one network on a whole cohort, to be used as a frozen one, or to be fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx_cli import options as ask
from featx_cli import training as how
from featx_cli import wanted
from featx_cli.console import SOME_FAILED, cache_dir, progress, say, say_reasons, write_failures

if TYPE_CHECKING:
    from featx.training.cache import Filled
    from featx.training.cohort import Cohort
    from featx.training.fit import Fit
    from featx.training.pretrain import Pretrained
    from featx.training.source import Source

RANDOM = "random"
SLOW = 0.2  # share of the time that a network may wait for its images before it is told

Name = Annotated[
    str, typer.Option(help="What the network is called; without it, as the file.", rich_help_panel=how.TRAINED)
]
Start = Annotated[
    str,
    typer.Option(
        help="The first weights: random (drawn by --seed), official (of a file: or python: network its own), or the "
        "FILE of a checkpoint.",
        rich_help_panel=how.TRAINED,
    ),
]
LossWeight = Annotated[
    list[str],
    typer.Option(
        help="TARGET=NUMBER in the loss (1 where nothing is said). May be repeated.", rich_help_panel=how.LEARNED
    ),
]
Balance = Annotated[
    str,
    typer.Option(
        help="Classes of unequal size: none, weights (in the loss) or sampling.", rich_help_panel=how.LEARNED
    ),
]
Validate = Annotated[
    float,
    typer.Option(
        "--validate",
        help="Share of the people who train nothing and choose the epoch that is kept.",
        rich_help_panel=how.LEARNED,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        max=2**32 - 1,
        help="Of first weights, batches, augmentation, and who validates.",
        rich_help_panel=how.LEARNED,
    ),
]


def command(
    images: wanted.Images,
    people: Annotated[Path, typer.Argument(help="The phenotype table (.csv, .tsv, .parquet, .xlsx).")],
    target: ask.Target = [],  # noqa: B006 - typer copies it
    network: Annotated[str, typer.Option("--network", "-n", help="NAME; `featx networks list` tells them.")] = "",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The checkpoint to write; the rest is named as it is.")
    ] = Path("pretrained.safetensors"),
    name: Name = "",
    start: Start = RANDOM,
    tap: how.Tap = "",
    axis: how.Axis = "",
    slices: how.Slices = None,
    size: how.Size = "",
    channels: how.Channels = "",
    aggregation: how.Aggregation = "",
    positions: how.Positions = False,
    dropout: how.Dropout = None,
    network_recipe: how.NetworkRecipe = None,
    recipe: how.Recipe = "",
    settings: how.Set = [],  # noqa: B006
    epochs: how.Epochs = None,
    learning_rate: how.LearningRate = None,
    batch_size: how.BatchSize = None,
    patience: how.Patience = None,
    loss_weight: LossWeight = [],  # noqa: B006
    balance: Balance = "none",
    validate: Validate = 0.1,
    seed: Seed = 0,
    kind: ask.Kind = [],  # noqa: B006
    where: ask.Where = "",
    group: ask.Group = "",
    resample: wanted.Resample = False,
    accept: wanted.Accept = [],  # noqa: B006
    device: how.Device = "auto",
    precision: how.Precision = "auto",
    accumulate: how.Accumulate = 1,
    checkpointing: how.Checkpointing = False,
    devices: how.Devices = 1,
    num_nodes: how.NumNodes = 1,
    strategy: how.Strategy = "auto",
    tensorboard: how.TensorBoard = None,
    workers: how.Workers = -1,
    cache: how.CacheFolder = None,
    replace_it: Annotated[
        bool, typer.Option("--replace", help="Write over another network of the same name (--output).")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say who and what would train, and stop.")] = False,
) -> None:
    """Train one network on the people of a cohort, for one label or several at once.

    A missing label leaves its image out of that label alone. A tenth of the people (families, with --group;
    --validate says another share) train nothing: they choose the epoch that is kept, and the network is scored on
    them. What comes out is a frozen network for `featx extract` or the start of `featx train`, with its curves, a
    card, and a .json of all facts. Hashes in it, and in the checkpoint, tell who was there: `featx train`, and
    `featx fit` where the network was added, warn of these people.

    It learns by a published recipe, which --recipe names and --set, --epochs and so on change. Killed, the same
    command goes on after the last finished epoch, and does nothing once all is done; OUTPUT.fits/ may go then.

    \b
    Examples:
    featx pretrain images.csv people.csv -t age -t sex -n sfcn.ukb_age -o ours.safetensors
    featx pretrain images.csv people.csv -t age -t sex -t handedness -t bmi -n sfcn_multi.leonardsen2025
        --loss-weight age=1 --loss-weight sex=0.5 --set numbers=regression -o multi.safetensors
    featx pretrain images.csv people.csv -t age -n sfcn.ukb_age --start official --epochs 20 -o on.safetensors
    """
    options = dict(locals())
    from featx.api.learning import check_training, machine_of
    from featx.api.pretraining import asked_facts, cohort_of, start_of, wish_of
    from featx.api.training import OF_MACHINE
    from featx.images.index import index_images

    check_training("pretrain")
    from featx.training.cohort import plan_fit
    from featx.training.pretrain import (
        check_output,
        facts_about,
        fit_key,
        is_done,
        make_sheet,
        pretrain,
        told_in,
        write_pretrained,
    )
    from featx.training.run import make_network

    check_output(output)
    machine = machine_of(device, precision, **{word: options[word] for word in OF_MACHINE})
    source = start_of(network, start, options, cache_dir())
    found = index_images(images)
    beside = output.with_suffix(".fits")
    cohort = cohort_of(found, people, options)
    fit = plan_fit(cohort, wish_of(source, options))
    called = name or output.stem
    make_sheet(cohort, fit, source, called)
    key, table = fit_key(fit, source, called), output.with_suffix(".failures.csv")
    if is_done(output, key, replace=replace_it) and not table.exists():
        say(f"{output} is there already, as this call makes it; nothing was trained")
        return
    _say_plan(cohort, fit, source, len(found))
    if dry_run:
        say("nothing was decoded, nothing was trained, nothing was written")
        return
    make_network(source, fit)  # weights that do not fit are refused before any image is decoded
    filled = how.fill(cohort.images, source, cache or beside / "volumes", accept=accept, workers=workers)
    write_failures(filled.failures, table)
    if filled.failures:
        there = [one for one in cohort.images if one.image_id in filled.cache.paths]
        cohort = cohort_of(there, people, options)
        fit = plan_fit(cohort, wish_of(source, options))
    with progress("pretraining", "epochs") as update:
        done = pretrain(cohort, fit, source, filled.cache, beside, name=called, machine=machine, on_epoch=update)
    facts = facts_about(done, cohort, source, machine)
    write_pretrained(
        done, output, {**facts, **asked_facts(options, people, filled)}, told_in(cohort, fit, source, key)
    )
    _say_result(done, output, filled, called)
    if filled.failures:
        say(f"\n{len(filled.failures)} images could not be trained on, the others are whole:")
        say_reasons(filled.failures, table)
        raise typer.Exit(SOME_FAILED)


# --- what is told ---------------------------------------------------------------------------------------------


def _say_plan(cohort: Cohort, fit: Fit, source: Source, n_images: int) -> None:
    from featx.training.cohort import label_facts, without_validation
    from featx.training.pretrain import trained_on

    say(f"{len(cohort.images)} of {n_images} images have a label")
    for job in cohort.group.jobs:
        facts = label_facts(job.target)
        told = ", ".join(f"{n} {level}" for level, n in facts.get("classes", {}).items())
        span = "" if told else "{:g} to {:g}".format(*facts["range"])
        say(f"  {job.target.name} ({job.target.kind}): {facts['n']} images, {told or span}")
    for one in without_validation(fit):
        say(f"  caution: nobody who validates has {one}, so it has no say in which epoch is kept")
    say(f"  {trained_on(cohort, fit, source)}")
    epochs = sum(fit.recipe.schedules[phase].epochs for phase in fit.arm.phases)
    say(f"  at most {epochs} epochs of batches of {fit.recipe.batch_size}; {fit.recipe.source}")


def _say_result(done: Pretrained, output: Path, filled: Filled, name: str) -> None:
    fitted = done.fitted
    say(f"{filled.n_now} images decoded, {filled.n_before} were before")
    for code in sorted({row["code"] for row in filled.accepted}):
        say(f"  let through: {filled.told[code]}")
    kept = ", ".join(f"{epoch} of phase {phase}" for phase, epoch in fitted.epochs.items())
    say(f"epoch kept: {kept}; {fitted.elapsed_s / 60:.1f} minutes of training")
    if fitted.waited > SLOW:
        say(f"  the network waited for its images {fitted.waited:.0%} of the time: put the --cache on a faster disk")
    if fitted.peak_bytes:
        say(f"  {fitted.peak_bytes / 2**30:.1f} GiB of the GPU's memory at most")
    say("of the people who chose it:")
    for one in done.fit.outputs:
        scores = [row for row in done.scores if row["target"] == one.target and row["value"] is not None]
        told = "  ".join(f"{row['metric']} {row['value']:.3f}" for row in scores)
        say(f"  {one.target}: {told or 'no score'}")
    say(f"\n{output}, with .curves.csv, .curves.svg, .card.md and .json beside it")
    say(f"use it: featx extract images.csv -n file:{output} -o features.h5")
    say(f"or: featx networks add {output} --name {name}")
