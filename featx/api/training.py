"""train: networks that train, scored on the folds of the frozen heads, from Python (torch, Lightning)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from featx.analysis.request import Inferring, Request
from featx.analysis.runs.rundir import Run, read_run
from featx.analysis.runs.runwriter import check_output
from featx.api.added import home_of
from featx.api.asking import asked_of, request_of
from featx.api.frames import Table
from featx.api.inputs import Images, images_of
from featx.api.learning import check_training, fill, machine_of, recipe_of, seeds_of, source_of
from featx.api.words import Words, loss_weights, many
from featx.errors import DeviceError
from featx.images.image import Image
from featx.training.arms import get_arm
from featx.training.folds import Wish
from featx.training.source import Source, need_of

if TYPE_CHECKING:
    from featx.training.fit import Machine
    from featx.training.train import Planned

Counting = Callable[[int, int], None]
Progress = Callable[[int, int, str], None]
Options = Mapping[str, Any]  # of a verb, by their names
# What `featx fit` asks and `featx train` does not: nothing is fitted to features here.
_NOT_ASKED: Mapping[str, Any] = MappingProxyType(
    {
        **{key: [] for key in ("head", "use", "table", "confound", "remove", "preserve", "grid")},
        **dict.fromkeys(("harmonise", "calibrate", "class_weight"), "none"),
        "aggregate": "mean",
        "pca": None,
        "device": "cpu",
    }
)
OF_SOURCE = (
    "tap", "axis", "slices", "size", "channels", "resample", "aggregation", "positions", "network_recipe",
)  # fmt: skip
OF_RECIPE = ("settings", "epochs", "learning_rate", "batch_size", "patience", "dropout")
OF_MACHINE = ("accumulate", "checkpointing", "devices", "num_nodes", "strategy", "tensorboard")


def train(
    images: Images,
    phenotypes: Table,
    network: str,
    *,
    target: str | Sequence[str] = (),
    targets: str = "",
    arm: str | Sequence[str] = ("full",),
    output: Path | str = "trained",
    weights: Path | str = "",
    tap: str = "",
    axis: str = "",
    slices: int | None = None,
    size: str | int = "",
    channels: str = "",
    aggregation: str = "",
    positions: bool = False,
    dropout: float | None = None,
    missing: str | Sequence[str] = (),
    network_recipe: Path | str | None = None,
    recipe: str = "",
    settings: Words = (),
    epochs: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    batch_norm: str = "eval",
    balance: str = "none",
    together: bool = False,
    loss_weight: Words = (),
    seeds: str | int | Sequence[int] = "1",
    keep: bool = True,
    also: Table | Sequence[Table] = (),
    kind: Words = (),
    where: str = "",
    site: str = "",
    group: str = "",
    age: str = "",
    folds: int = 5,
    inner_folds: int = 5,
    repeats: int = 1,
    scheme: str = "kfold",
    stratify: str = "",
    by_site: bool = False,
    splits: Table | None = None,
    split_column: str = "",
    test_where: str = "",
    bootstrap: int = 2000,
    seed: int = 0,
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
    jobs: int = 1,
    home: Path | str | None = None,
    on_decoded: Counting | None = None,
    on_progress: Progress | None = None,
) -> Run:
    """Train networks to predict phenotypes, scored on the folds of the frozen heads: `featx train` from Python.

    Every option means what it means there, and has its default (`featx train --help`). Killed, the same call goes on
    after the last finished epoch.

    Parameters
    ----------
    images : str, Path, DataFrame or sequence of Image
        As `featx.extract` takes them.
    phenotypes : Path, str or DataFrame
    network : str
        NAME or NAME@WEIGHTS.
    output : Path or str
        The folder to write.
    splits : Path, str or DataFrame, optional
        splits.csv of a run of `featx.fit`, or its table `splits`: the very same folds.
    settings, loss_weight, kind : mapping, or sequence of str
        {"numbers": "regression"}, or ["numbers=regression"].
    seeds : int, sequence of int, or str
        How many (5), or which ([7, 8]).
    home : Path or str, optional
        featx's own folder, where official weights are kept.
    on_decoded, on_progress : callable, optional
        Called as (images decoded, images in all); as (epochs done, epochs at most, what is trained).

    Returns
    -------
    Run
        The tables of `featx.fit`, with an arm, seeds and epochs; the folder's networks/ holds a network of each arm.

    Raises
    ------
    AnalysisError, CohortError, NetworkError, WeightsError, DeviceError, DependencyError
        As `featx train` refuses it.

    Examples
    --------
    >>> import featx
    >>> run = featx.fit("features.h5", "people.tsv", target="age", folds=5)  # doctest: +SKIP
    >>> featx.train("images.csv", "people.tsv", "sfcn_4mm.synthetic", target="age", arm=["scratch", "full"],
    ...             splits=run.splits)  # doctest: +SKIP
    """
    options, place = dict(locals()), Path(output)
    check_output(place)
    check_training("train")
    machine = machine_of(device, precision, **{name: options[name] for name in OF_MACHINE})
    check_devices(jobs, machine)
    own = home_of(home)
    source = source_of(
        network, home=own, weights=weights, missing=many(missing), **{name: options[name] for name in OF_SOURCE}
    )
    found, beside = images_of(images), place.with_name(f"{place.name}.fits")
    planning: dict[str, Any] = {
        "machine": machine,
        "beside": beside,
        "home": own,
        "command": "featx.train(...) in Python",
    }
    request, planned = plan_of(found, phenotypes, source, options, **planning)
    folder = beside / "volumes" if cache is None else Path(cache)
    filled = fill(found, source, folder, accept=many(accept), workers=workers, on_progress=on_decoded)
    if filled.failures:
        there = set(filled.image_ids)
        kept = [one for one in found if one.image_id in there]
        request, planned = plan_of(kept, phenotypes, source, options, **planning)
    from featx.training import train as trainer

    result, done = trainer.train(
        request, planned, source, filled.cache, machine=machine, n_jobs=jobs, on_progress=on_progress or _silent
    )
    from featx.training.fitting import is_first

    if is_first():  # of several processes that train together, that one writes
        facts = machine_facts(machine)
        trainer.write_training(result, done, source, place, failures=filled.failures, facts=facts)
    return read_run(place)


def _silent(*told: object) -> None:
    pass


def machine_facts(machine: Machine) -> dict[str, Any]:
    """What training.json says of where networks were trained."""
    return {"device": machine.device, "precision": machine.precision, "accumulate": machine.accumulate}


def check_devices(jobs: int, machine: Machine) -> None:
    """Refuse several networks at a time that would share devices.

    Raises
    ------
    DeviceError
    """
    if jobs > 1 and machine.n_devices * machine.n_nodes > 1:
        raise DeviceError(
            f"several networks at a time must have a device each; --jobs {jobs} and {machine.n_devices} devices on "
            f"{machine.n_nodes} machines for each were asked for; leave out one of them"
        )


def plan_of(
    found: Sequence[Image],
    phenotypes: Table,
    source: Source,
    options: Options,
    *,
    machine: Machine,
    beside: Path,
    home: Path,
    command: str,
) -> tuple[Request, Planned]:
    """The request of a training, and who trains what on which folds.

    Parameters
    ----------
    options : mapping
        Of `featx train`, by their names.
    beside : Path
        Where fits have their folders.
    command : str
        The call, for run.json.
    """
    from featx.training.cache import voxels_of
    from featx.training.result import images_as_sets
    from featx.training.train import plan_training

    stratify = options["stratify"] or ("none" if options["together"] else "")
    asked = asked_of({**options, **_NOT_ASKED, "stratify": stratify})
    sets = images_as_sets(found, source)
    request = request_of(
        asked,
        phenotypes,
        sets,
        {name: (name,) for name in sets},
        home=home,
        sources=[],
        inferring=Inferring(options["bootstrap"]),
        command=command,
    )
    wishes = [_arm_wish(name, source, options) for name in dict.fromkeys(many(options["arm"]))]
    need = need_of(source, many(options["accept"]))
    voxels = {image.image_id: voxels_of(image, need) for image in found}
    return request, plan_training(
        request, wishes, source, beside, keep=options["keep"], machine=machine, voxels=voxels
    )


def _arm_wish(name: str, source: Source, options: Options) -> Wish:
    arm = get_arm(name)
    numbers = {word: options[word] for word in OF_RECIPE}
    return Wish(
        arm=arm,
        recipe_of=lambda kinds: recipe_of(options["recipe"], source, arm, kinds, **numbers),
        seeds=seeds_of(options["seeds"]),
        together=options["together"],
        balance=options["balance"],
        batch_norm=options["batch_norm"],
        loss_weights=loss_weights(options["loss_weight"]),
    )
