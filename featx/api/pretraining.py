"""pretrain: one network on a whole cohort, from Python (torch, Lightning)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.api.added import home_of
from featx.api.frames import Table, called, read_people, sha256
from featx.api.inputs import Images, images_of
from featx.api.learning import check_training, fill, machine_of, recipe_of, source_of
from featx.api.training import OF_MACHINE, OF_RECIPE, OF_SOURCE, Counting, Options, Progress
from featx.api.words import Words, loss_weights, many, told
from featx.api.writing import write_failures
from featx.errors import NetworkError
from featx.extraction.plan import divide_name
from featx.images.image import Image
from featx.training.arms import get_arm
from featx.training.folds import Wish
from featx.training.source import Source

if TYPE_CHECKING:
    from featx.training.cache import Filled
    from featx.training.cohort import Cohort
    from featx.training.pretrain import Pretrained

RANDOM, OFFICIAL = "random", "official"
_NOT_TOLD = ("phenotypes", "home", "on_decoded", "on_progress")


def pretrain(
    images: Images,
    phenotypes: Table,
    network: str,
    *,
    target: str | Sequence[str] = (),
    output: Path | str = "pretrained.safetensors",
    name: str = "",
    start: str = RANDOM,
    tap: str = "",
    axis: str = "",
    slices: int | None = None,
    size: str | int = "",
    channels: str = "",
    aggregation: str = "",
    positions: bool = False,
    dropout: float | None = None,
    network_recipe: Path | str | None = None,
    recipe: str = "",
    settings: Words = (),
    epochs: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    loss_weight: Words = (),
    balance: str = "none",
    validate: float = 0.1,
    seed: int = 0,
    kind: Words = (),
    where: str = "",
    group: str = "",
    resample: bool = False,
    accept: str | Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
    accumulate: int = 1,
    checkpointing: bool = False,
    devices: int = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    tensorboard: Path | str | None = None,
    workers: int = -1,
    cache: Path | str | None = None,
    replace_it: bool = False,
    home: Path | str | None = None,
    on_decoded: Counting | None = None,
    on_progress: Progress | None = None,
) -> Pretrained | None:
    """Train one network on the people of a cohort, for one label or several: `featx pretrain` from Python.

    Every option means what it means there, and has its default (`featx pretrain --help`). Killed, the same call goes
    on after the last finished epoch.

    Parameters
    ----------
    images, phenotypes, network, settings, loss_weight, kind, home, on_decoded, on_progress
        As in `train`.
    output : Path or str
        The checkpoint to write, which "file:PATH" names to `featx.extract`; what tells of it is beside it.

    Returns
    -------
    Pretrained or None
        The network, its sheet and the scores of those who chose its epoch; None where all was done before.

    Raises
    ------
    AnalysisError, CohortError, NetworkError, WeightsError, DeviceError, DependencyError
        As `featx pretrain` refuses it.

    Examples
    --------
    >>> import featx
    >>> done = featx.pretrain("images.csv", "people.csv", "sfcn.ukb_age", target=["age", "sex"],
    ...                       output="ours.safetensors")  # doctest: +SKIP
    """
    options, place, own = dict(locals()), Path(output), home_of(home)
    asked = {"people": phenotypes} | {name: one for name, one in options.items() if name not in _NOT_TOLD}
    check_training("pretrain")
    from featx.training import pretrain as training
    from featx.training.cohort import plan_fit
    from featx.training.run import make_network

    training.check_output(place)
    machine = machine_of(device, precision, **{one: options[one] for one in OF_MACHINE})
    source = start_of(network, start, options, own)
    beside, label = place.with_suffix(".fits"), name or place.stem
    cohort = cohort_of(images_of(images), phenotypes, options)
    fit = plan_fit(cohort, wish_of(source, options))
    training.make_sheet(cohort, fit, source, label)
    key, table = training.fit_key(fit, source, label), place.with_suffix(".failures.csv")
    if training.is_done(place, key, replace=replace_it) and not table.exists():
        return None
    make_network(source, fit)  # weights that do not fit are refused before any image is decoded
    folder = beside / "volumes" if cache is None else Path(cache)
    filled = fill(cohort.images, source, folder, accept=many(accept), workers=workers, on_progress=on_decoded)
    write_failures(filled.failures, table)
    if filled.failures:
        there = [one for one in cohort.images if one.image_id in filled.cache.paths]
        cohort = cohort_of(there, phenotypes, options)
        fit = plan_fit(cohort, wish_of(source, options))
    done = training.pretrain(
        cohort,
        fit,
        source,
        filled.cache,
        beside,
        name=label,
        machine=machine,
        on_epoch=on_progress or (lambda done, total, note: None),
    )
    facts = {**training.facts_about(done, cohort, source, machine), **asked_facts(asked, phenotypes, filled)}
    training.write_pretrained(done, place, facts, training.told_in(cohort, fit, source, key))
    return done


def start_of(network: str, start: str, options: Options, home: Path) -> Source:
    """The network; where it starts from is said by --start alone.

    Raises
    ------
    NetworkError
        Its name says weights too.
    """
    spec = divide_name(network)[1]
    if spec:
        raise NetworkError(
            f"the first weights of a network that is pretrained must be given by --start; got {network}; write "
            f"--start {spec if not spec.startswith(RANDOM) else RANDOM}"
        )
    weights = "" if start in (RANDOM, OFFICIAL) else start
    return source_of(network, home=home, weights=weights, **{word: options[word] for word in OF_SOURCE})


def cohort_of(images: Sequence[Image], phenotypes: Table, options: Options) -> Cohort:
    """Who trains, and who validates."""
    from featx.training.cohort import make_cohort, meeting

    return make_cohort(
        images,
        meeting(read_people(phenotypes), options["where"], called(phenotypes)),
        many(options["target"]),
        source=called(phenotypes),
        kinds=told(options["kind"], "--kind", "income=multiclass"),
        family=options["group"],
        share=options["validate"],
        seed=options["seed"],
    )


def wish_of(source: Source, options: Options) -> Wish:
    """How the network of a cohort is trained."""
    arm = get_arm("scratch" if options["start"] == RANDOM else "full")
    numbers = {word: options[word] for word in OF_RECIPE}
    return Wish(
        arm=arm,
        recipe_of=lambda kinds: recipe_of(options["recipe"], source, arm, kinds, **numbers),
        seeds=(options["seed"],),
        together=True,
        balance=options["balance"],
        loss_weights=loss_weights(options["loss_weight"]),
    )


def asked_facts(options: Options, phenotypes: Table, filled: Filled) -> dict[str, Any]:
    """What was asked, of which table, and what was found of the images, for the facts of a checkpoint."""
    plain = (str, int, float, bool, list, tuple, dict, type(None))
    return {
        "asked": {name: one if isinstance(one, plain) else _shown(one) for name, one in options.items()},
        "phenotypes": {"file": called(phenotypes), "sha256": sha256(phenotypes)},
        "failed": len(filled.failures),
        "accepted": sorted({row["code"] for row in filled.accepted}),
    }


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Path) else f"({type(value).__name__} in memory)"
