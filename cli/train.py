"""featx train: networks that train, scored on the folds of the frozen heads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx import schema
from featx_cli import options as ask
from featx_cli import training as how
from featx_cli import wanted
from featx_cli.console import SOME_FAILED, progress, say, say_reasons, typed

if TYPE_CHECKING:
    from featx.analysis.request import Request, Result
    from featx.images.image import Image
    from featx.training.cache import Filled
    from featx.training.fit import Machine
    from featx.training.run import Done
    from featx.training.source import Source
    from featx.training.train import Planned

MOST_SEEDS = 100
SLOW = 0.2  # share of the time that a network may wait for its images before it is told
# What `featx fit` asks and `featx train` does not: nothing is fitted to features here.
_NOT_ASKED = MappingProxyType(
    {
        **{key: [] for key in ("head", "use", "table", "confound", "remove", "preserve", "grid")},
        **dict.fromkeys(("harmonise", "calibrate", "class_weight"), "none"),
        "aggregate": "mean",
        "pca": None,
        "device": "cpu",
    }
)

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
    from featx.errors import DeviceError

    options = dict(locals())
    check_output(output)
    how.check_training("train")
    machine = how.machine_of(
        device,
        precision,
        accumulate=accumulate,
        checkpointing=checkpointing,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        tensorboard=tensorboard,
    )
    if jobs > 1 and machine.n_devices * machine.n_nodes > 1:
        raise DeviceError(
            f"several networks at a time must have a device each; --jobs {jobs} and {machine.n_devices} devices on "
            f"{machine.n_nodes} machines for each were asked for; leave out one of them"
        )
    source = how.source_of(network, **{name: options[name] for name in _OF_SOURCE})
    found, beside = _index(images), output.with_name(f"{output.name}.fits")
    request, planned = _plan(found, source, options, machine, beside)  # before any is decoded
    if dry_run:
        _say_plan(planned, len(found))
        return
    filled = how.fill(found, source, cache or beside / "volumes", accept=accept, workers=workers)
    if filled.failures:
        there = set(filled.image_ids)
        request, planned = _plan([one for one in found if one.image_id in there], source, options, machine, beside)
    _say_plan(planned, len(found))
    from featx.training.train import train, write_training

    with progress("training", "epochs") as update:
        result, done = train(request, planned, source, filled.cache, machine=machine, n_jobs=jobs, on_progress=update)
    from featx.training.fitting import is_first

    if not is_first():
        return  # of several processes that train together, the first one writes
    facts = {"device": machine.device, "precision": machine.precision, "accumulate": machine.accumulate}
    write_training(result, done, source, output, failures=filled.failures, facts=facts)
    _say_result(result, done, output, filled)


_OF_SOURCE = (
    "weights", "tap", "axis", "slices", "size", "channels", "resample", "aggregation", "positions",
    "network_recipe",
)  # fmt: skip
_OF_RECIPE = ("settings", "epochs", "learning_rate", "batch_size", "patience", "dropout")


def _index(images: str) -> list[Image]:
    from featx.images.index import index_images

    return index_images(images)


def _plan(
    found: Sequence[Image], source: Source, options: dict[str, Any], machine: Machine, beside: Path
) -> tuple[Request, Planned]:
    from featx.analysis.request import Inferring
    from featx.training.arms import get_arm
    from featx.training.cache import voxels_of
    from featx.training.folds import Wish
    from featx.training.result import images_as_set
    from featx.training.source import need_of
    from featx.training.train import plan_training
    from featx_cli.request import loss_weights, request_of

    stratify = options["stratify"] or ("none" if options["together"] else "")
    asked = ask.asked({**options, **_NOT_ASKED, "features": [options["people"]], "stratify": stratify})
    one = images_as_set(source.base.name, found, source.request)
    request = request_of(
        asked,
        options["people"],
        {one.name: one},
        {one.name: (one.name,)},
        sources=[],
        inferring=Inferring(options["bootstrap"]),
        command=typed(options["context"]),
    )
    wishes = [
        Wish(
            arm=get_arm(name),
            recipe_of=lambda kinds, arm=get_arm(name): how.recipe_of(
                options["recipe"], source, arm, kinds, **{word: options[word] for word in _OF_RECIPE}
            ),
            seeds=_seeds(options["seeds"]),
            together=options["together"],
            balance=options["balance"],
            batch_norm=options["batch_norm"],
            loss_weights=loss_weights(options["loss_weight"]),
        )
        for name in dict.fromkeys(options["arm"])
    ]
    need = need_of(source, options["accept"])
    voxels = {image.image_id: voxels_of(image, need) for image in found}
    return request, plan_training(
        request, wishes, source, beside, keep=options["keep"], machine=machine, voxels=voxels
    )


def _seeds(word: str) -> tuple[int, ...]:
    """Seeds that a word says: how many, or which.

    Examples
    --------
    >>> _seeds("3"), _seeds("7,9")
    ((0, 1, 2), (7, 9))
    """
    from featx.errors import AnalysisError

    parts = word.split(",")
    if not all(part.strip().isdecimal() for part in parts) or word.strip() == "0":
        raise AnalysisError(f"--seeds must be a number of seeds, or a list of them; got {word!r}; write 5, or 0,1,2")
    if len(parts) == 1 and int(word) > MOST_SEEDS:
        raise AnalysisError(
            f"--seeds must be a number of seeds up to {MOST_SEEDS}, or a list of them; got {word}; for that one "
            f"alone write {word},{word}"
        )
    return tuple(range(int(word))) if len(parts) == 1 else tuple(dict.fromkeys(int(part) for part in parts))


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
