"""featx train: networks that train, scored on the folds of the frozen heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx import schema
from featx_cli import options as ask
from featx_cli import training as how
from featx_cli import wanted
from featx_cli.console import SOME_FAILED, cache_dir, progress, say, say_reasons, typed

if TYPE_CHECKING:
    from featx.analysis.request import Result
    from featx.training.cache import Filled
    from featx.training.run import Done
    from featx.training.train import Planned

SLOW = 0.2  # share of the time that a network may wait for its images before it is told

Arms = Annotated[
    list[str],
    typer.Option("--arm", help="head-only, two-stage, full, scratch, reinit or wrong-label. May be repeated."),
]
BatchNorm = Annotated[
    str,
    typer.Option(
        help="Of a network that stands still (head-only): eval leaves its statistics as they were pretrained, adapt "
        "estimates them anew on the training images, which needs no label. The run tells which.",
        rich_help_panel=how.LEARNED,
    ),
]
Balance = Annotated[
    str,
    typer.Option(
        help="Classes of unequal size: none, weights (in the loss) or sampling; of those who train alone.",
        rich_help_panel=how.LEARNED,
    ),
]
Together = Annotated[
    bool,
    typer.Option(
        "--together",
        help="One network for all targets, on folds that they share; a missing label is masked.",
        rich_help_panel=how.LEARNED,
    ),
]
LossWeight = Annotated[
    list[str],
    typer.Option(
        help="TARGET=NUMBER in the loss of a network for several (1). May be repeated.", rich_help_panel=how.LEARNED
    ),
]
Seeds = Annotated[
    str,
    typer.Option(
        help="Each fold is trained once with each: a number (5: seeds 0 to 4), or a list (7,8,9). Scores are means "
        "over them; a claim about an arm wants five.",
        rich_help_panel=how.LEARNED,
    ),
]
Keep = Annotated[
    bool,
    typer.Option(
        help="Train one more network of each arm, on all who train, and keep it.", rich_help_panel=how.LEARNED
    ),
]
NJobs = Annotated[
    int,
    typer.Option(
        "--jobs", "-j", min=1, help="Networks that train at a time, each in a process.", rich_help_panel=how.RUN
    ),
]


def command(
    context: typer.Context,
    images: wanted.Images,
    people: Annotated[Path, typer.Argument(help="The phenotype table (.csv, .tsv, .parquet, .xlsx).")],
    target: ask.Target = [],  # noqa: B006 - typer copies it
    targets: ask.Targets = "",
    network: Annotated[
        str, typer.Option("--network", "-n", help="NAME or NAME@WEIGHTS; `featx networks list` tells them.")
    ] = "",
    arm: Arms = ["full"],  # noqa: B006
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("trained"),
    weights: Annotated[
        str, typer.Option(help="Those that arms from given weights start with: official, or FILE.")
    ] = "",
    tap: how.Tap = "",
    axis: how.Axis = "",
    slices: how.Slices = None,
    size: how.Size = "",
    channels: how.Channels = "",
    aggregation: how.Aggregation = "",
    positions: how.Positions = False,
    dropout: how.Dropout = None,
    missing: how.Missing = [],  # noqa: B006
    network_recipe: how.NetworkRecipe = None,
    recipe: how.Recipe = "",
    settings: how.Set = [],  # noqa: B006
    epochs: how.Epochs = None,
    learning_rate: how.LearningRate = None,
    batch_size: how.BatchSize = None,
    patience: how.Patience = None,
    batch_norm: BatchNorm = "eval",
    balance: Balance = "none",
    together: Together = False,
    loss_weight: LossWeight = [],  # noqa: B006
    seeds: Seeds = "1",
    keep: Keep = True,
    also: ask.Also = [],  # noqa: B006
    kind: ask.Kind = [],  # noqa: B006
    where: ask.Where = "",
    site: ask.Site = "",
    group: ask.Group = "",
    age: ask.Age = "",
    folds: ask.NFolds = 5,
    inner_folds: ask.NInner = 5,
    repeats: ask.NRepeats = 1,
    scheme: ask.Scheme = "kfold",
    stratify: ask.Stratify = "",
    by_site: ask.BySite = False,
    splits: ask.SplitsFile = None,
    split_column: ask.SplitColumn = "",
    test_where: ask.TestWhere = "",
    bootstrap: ask.Bootstrap = 2000,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the folds.", rich_help_panel=ask.FOLDS)] = 0,
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
    jobs: NJobs = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say who and what would train, and stop.")] = False,
) -> None:
    """Train networks to predict phenotypes, fine-tuned or from scratch, scored on the folds of the frozen heads.

    Give the splits.csv of a `featx fit` run to have its very folds. Of those who train in a fold, the first inner
    fold validates: it chooses the epoch that is kept. Those who test choose nothing. The run has the tables of
    `featx fit`, and `featx report` shows it; its networks/ holds one network of each arm, trained on all who train,
    which `featx extract -n file:PATH` takes as a frozen one.

    An arm trains by a published recipe, which --recipe names and --set, --epochs and so on change. Killed, the same
    command goes on after the last finished epoch; OUTPUT.fits/ holds what is done, and may go when all is.

    \b
    Examples:
    featx train images.csv participants.tsv --target age -n sfcn_4mm.synthetic --arm scratch --arm full
        --splits run/splits.csv --seeds 5 -o trained/
    featx train images.csv participants.tsv --target sex -n squeezenet1_0.imagenet --axis sagittal
        --aggregation attention --arm full --arm scratch --epochs 20 -o slices/
    """
    from featx.analysis.runs.runwriter import check_output
    from featx.api.learning import check_training, machine_of
    from featx.api.training import OF_MACHINE, OF_SOURCE, check_devices, machine_facts, plan_of
    from featx.images.index import index_images

    options = dict(locals())
    check_output(output)
    check_training("train")
    machine = machine_of(device, precision, **{name: options[name] for name in OF_MACHINE})
    check_devices(jobs, machine)
    source = how.source_of(network, weights=weights, missing=missing, **{name: options[name] for name in OF_SOURCE})
    found, beside = index_images(images), output.with_name(f"{output.name}.fits")
    planning = {"machine": machine, "beside": beside, "home": cache_dir(), "command": typed(context)}
    request, planned = plan_of(found, people, source, options, **planning)  # before any is decoded
    if dry_run:
        _say_plan(planned, len(found))
        return
    filled = how.fill(found, source, cache or beside / "volumes", accept=accept, workers=workers)
    if filled.failures:
        there = set(filled.image_ids)
        kept = [one for one in found if one.image_id in there]
        request, planned = plan_of(kept, people, source, options, **planning)
    _say_plan(planned, len(found))
    from featx.training.train import train, write_training

    with progress("training", "epochs") as update:
        result, done = train(request, planned, source, filled.cache, machine=machine, n_jobs=jobs, on_progress=update)
    from featx.training.fitting import is_first

    if not is_first():
        return  # of several processes that train together, the first one writes
    write_training(result, done, source, output, failures=filled.failures, facts=machine_facts(machine))
    _say_result(result, done, output, filled)


# --- what is told ---------------------------------------------------------------------------------------------


def _say_plan(planned: Planned, n_images: int) -> None:
    plan = planned.plan
    say(f"{plan.flow['images_matched']} of {n_images} images matched")
    for job in plan.jobs:
        n_repeats = job.design.n_repeats // len(planned.wishes[0].seeds)
        say(
            f"  {job.target.name} ({job.target.kind}): {len(job.target.y)} images, "
            f"{len(job.design.splits) // len(planned.wishes[0].seeds)} splits in {n_repeats} repeat(s)"
        )
    for wish, tasks in zip(planned.wishes, planned.tasks, strict=True):
        epochs = sum(sum(task.fit.recipe.schedules[phase].epochs for phase in wish.arm.phases) for task in tasks)
        recipes = ", ".join(sorted({task.fit.recipe.name for task in tasks}))
        say(f"  {wish.arm.name}: {wish.arm.says}; {len(tasks)} networks, at most {epochs} epochs, recipe {recipes}")
    for target, name, error in planned.refused:
        say(f"  {target}: not {name}: {error.code}: {error}")


def _say_result(result: Result, done: Sequence[Done], output: Path, filled: Filled) -> None:
    from featx_cli.fit import failures_among, say_targets

    say_targets(result)
    fitted = [one.fitted for one in done if one.fitted is not None]
    minutes = sum(one.elapsed_s for one in fitted) / 60
    say(f"\n{len(fitted)} networks trained, {minutes:.1f} minutes of training in all")
    waited = sum(one.waited * one.elapsed_s for one in fitted) / max(60 * minutes, 1e-9)
    if waited > SLOW:
        say(f"  the networks waited for their images {waited:.0%} of the time: put the --cache on a faster disk")
    peak = max((one.peak_bytes for one in fitted), default=0)
    if peak:
        say(f"  {peak / 2**30:.1f} GiB of the GPU's memory at most")
    kept = "networks/, " if (output / schema.NETWORKS_DIR).is_dir() else ""
    say(f"{output}: scores.csv, predictions/, splits.csv, training_curves.csv, training.json, {kept}run.json")
    if result.jobs:
        say(f"next: featx report {output}")
    bad = failures_among(result.tables["exclusions"].to_dict("records"))
    if bad:
        say(f"\nnot trained ({len(bad)} in exclusions.csv):")
        for row in bad:
            say(f"  {row['target']}: {row['code']}: {row['sentence']}")
    if filled.failures:
        table = output / "failures.csv"
        say(f"{len(filled.failures)} images failed, the others are whole:")
        say_reasons(filled.failures, table)
    if bad or filled.failures:
        raise typer.Exit(SOME_FAILED)
