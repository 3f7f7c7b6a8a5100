"""One network trained on the people of a cohort, several labels at once, and what comes of it (torch, Lightning).

Some people train nothing: they choose the epoch whose weights are kept. Images of one person, or of a family, are all
on one side. A label that is missing takes its image out of that label's loss and out of nothing else.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.people import people_of
from featx.analysis.inference.metrics import metrics_of
from featx.analysis.request import versions
from featx.errors import WeightsError
from featx.landing import check_writable
from featx.networks.architectures.trained import Trained
from featx.networks.checkpoint import write_checkpoint
from featx.networks.sheet import Network
from featx.networks.sheetcheck import check_sheet
from featx.networks.told import ASKED, read_told
from featx.networks.trained import check_keepable
from featx.report.figures.canvas import as_file
from featx.report.figures.curves import losses
from featx.training.arms import GIVEN, RANDOM
from featx.training.cache import Cache
from featx.training.card import card
from featx.training.cohort import Cohort, ages_of, label_facts, sexes_of
from featx.training.fit import Fit, Fitted, Machine
from featx.training.fitting import OnEpoch, fit_network
from featx.training.folds import key_of
from featx.training.run import make_network, predict
from featx.training.seen import hashed, people_text
from featx.training.source import Source, sheet_of, source_facts

SUFFIX = ".safetensors"
BESIDE = (".curves.csv", ".curves.svg", ".card.md", ".json")  # what tells of a checkpoint


@dataclass(frozen=True)
class Pretrained:
    """What came of pretraining.

    Attributes
    ----------
    network : Trained
    sheet : Network
    fit : Fit
    fitted : Fitted
    predicted : tuple of ndarray of shape (n_validation,), or (n_validation, n_classes)
        By output, of the validation images.
    scores : tuple of mapping
        target, metric, value (None where it is undefined), n: of the validation images that have the label.
    """

    network: Trained
    sheet: Network
    fit: Fit
    fitted: Fitted
    predicted: tuple[NDArray[np.float64], ...]
    scores: tuple[Mapping[str, Any], ...]


# --- training it ----------------------------------------------------------------------------------------------


def pretrain(
    cohort: Cohort,
    fit: Fit,
    source: Source,
    cache: Cache,
    folder: Path,
    *,
    name: str,
    machine: Machine,
    on_epoch: OnEpoch | None = None,
) -> Pretrained:
    """Train the network of a cohort, and score it on the validation people.

    Parameters
    ----------
    fit : Fit
        From `plan_fit`.
    cache : Cache
        Holds the cohort's images.
    folder : Path
        Every fit that differs has a folder of its own in it; what an earlier call finished there is taken up.
    name : str
        Of the network.
    machine : Machine
    on_epoch : callable, optional
        Called as (epochs done, epochs at most, a note).

    Raises
    ------
    NetworkError
        The name is none for a network.
    WeightsError
        The weights to start from cannot be had, or are of another network.
    TrainingError
        See `featx.training.fitting.fit_network`.
    """
    sheet = make_sheet(cohort, fit, source, name)
    network = make_network(source, fit)
    own = folder / fit_key(fit, source)
    fitted = fit_network(network, source.view, fit, cache, own, machine=machine, on_epoch=on_epoch)
    predicted = predict(network, source, fit, fit.validation.image_ids, cache=cache, device=machine.device)
    sheet = replace(sheet, n_parameters=sum(values.numel() for values in network.parameters()))
    return Pretrained(network, sheet, fit, fitted, predicted, tuple(_scores(cohort, fit, predicted)))


def fit_key(fit: Fit, source: Source, name: str = "") -> str:
    """Digest of all that decides what comes of a fit: who trains, with which labels, from which weights, and how."""
    return key_of(fit, {"source": source_facts(source)} | ({"name": name} if name else {}), ())


def make_sheet(cohort: Cohort, fit: Fit, source: Source, name: str) -> Network:
    """The sheet of the network that is to come.

    Raises
    ------
    NetworkError
        The name is none for a network, or the network cannot be trained as it is wished, or not be read again.
    """
    sheet = sheet_of(
        source,
        fit.outputs,
        fit.recipe.dropout,
        name=name,
        training=trained_on(cohort, fit, source),
        labels=tuple(one.target for one in fit.outputs),
        age_range_years=ages_of(cohort),
    )
    check_sheet(sheet, f"the network {name!r}")
    check_keepable(sheet)
    return sheet


def trained_on(cohort: Cohort, fit: Fit, source: Source) -> str:
    """On whom, on which labels and from which weights, in words."""
    person = {one.image_id: one.participant_id for one in cohort.images}
    sides = ([person[one] for one in side.image_ids] for side in (fit.train, fit.validation))
    n_train, n_validation = (len(set(people_of(one))) for one in sides)
    labels = ", ".join(f"{job.target.name} ({len(job.target.y):,} images)" for job in cohort.group.jobs)
    return (
        f"{n_train:,} people of {cohort.source}, {n_validation:,} more to choose the epoch; labels {labels}; from "
        f"{start_of(fit, source)}, recipe {fit.recipe.name}"
    )


def start_of(fit: Fit, source: Source) -> str:
    """The first weights, in words."""
    return (
        f"random weights, seed {fit.seed}"
        if fit.arm.start == RANDOM
        else (f"the weights of {source.base.name} ({Path(source.request.weights).name})")
    )


def _scores(cohort: Cohort, fit: Fit, predicted: Sequence[NDArray[np.float64]]) -> list[dict[str, Any]]:
    """All metrics of every target, of the validation images that have it."""
    rows = []
    for at, (job, answers) in enumerate(zip(cohort.group.jobs, predicted, strict=True)):
        labels = fit.validation.labels[:, at]
        there = np.isfinite(labels)
        weights = np.ones((1, int(there.sum())))
        for name, metric in metrics_of(job.target.kind).items() if there.any() else ():
            value = float(metric.function(labels[there], answers[there], weights)[0])
            told = value if math.isfinite(value) else None
            rows.append({"target": job.target.name, "metric": name, "value": told, "n": int(there.sum())})
    return rows


def facts_about(pretrained: Pretrained, cohort: Cohort, source: Source, machine: Machine) -> dict[str, Any]:
    """All that is told of a pretrained network beside its sheet, as JSON holds it; whom it knows by hashes alone."""
    fit, fitted = pretrained.fit, pretrained.fitted
    last = fit.arm.phases[-1]
    kept = next(one for one in fitted.curves if (one["phase"], one["epoch"]) == (last, fitted.epochs[last]))
    people = people_of(one.participant_id for one in cohort.images)
    salt, hashes = hashed(people)
    measured = {name: value for name, value in asdict(fitted).items() if name != "curves"}
    return {
        "network": source.base.name,
        "arm": fit.arm.name,
        "start": start_of(fit, source),
        "seed": fit.seed,
        "n_people": len(set(people)),
        "n_train": len(fit.train.image_ids),
        "n_validation": len(fit.validation.image_ids),
        "ages_years": ages_of(cohort),
        "sexes": sexes_of(cohort),
        "labels": {job.target.name: label_facts(job.target) for job in cohort.group.jobs},
        "loss_weights": dict(zip((one.target for one in fit.outputs), fit.loss_weights, strict=True)),
        "recipe": asdict(fit.recipe),
        **measured,
        "validation_loss": kept["validation_loss"],
        "scores": list(pretrained.scores),
        "device": machine.device,
        "precision": machine.precision,
        "versions": versions() | {one: version(one) for one in ("torch", "pytorch-lightning")},
        "salt": salt,
        "people": hashes,
    }


# --- what is written -------------------------------------------------------------------------------------------


def check_output(path: Path) -> None:
    """Refuse, before any work, a name that no checkpoint can have.

    Raises
    ------
    WeightsError
        It has another ending than .safetensors.
    StoreError
        See `featx.landing.check_writable`.
    """
    if path.suffix != SUFFIX:
        raise WeightsError(f"a checkpoint's name must end in {SUFFIX}; got {path}; change its ending")
    check_writable(path)


def is_done(output: Path, key: str, *, replace: bool) -> bool:
    """Whether a checkpoint is there already as a call would make it, with all that stands beside it.

    Parameters
    ----------
    key : str
        Of the call: see `fit_key`.
    replace : bool
        Whether what is there may go, whatever it is.

    Raises
    ------
    WeightsError
        Another file has its name.
    """
    if replace or not output.exists():
        return False
    try:
        there = read_told(output).get(ASKED, "")
    except WeightsError:
        there = ""
    if there != key:
        raise WeightsError(
            f"a pretrained network must have a name of its own; {output} is there, and is not what this call makes; "
            "give another --output, or --replace it"
        )
    return all(output.with_suffix(suffix).is_file() for suffix in BESIDE)


def told_in(cohort: Cohort, fit: Fit, source: Source, key: str) -> dict[str, str]:
    """Further text of a checkpoint: who trained it, by hashes alone, and the key of the call.

    Raises
    ------
    WeightsError
        See `featx.training.seen.people_text`.
    """
    people = [one.participant_id for one in cohort.images]
    start = source.request.weights if fit.arm.start == GIVEN else ""
    return {**people_text(people, start), ASKED: key}


def write_pretrained(
    pretrained: Pretrained, output: Path, facts: Mapping[str, Any], more: Mapping[str, str] | None = None
) -> None:
    """Write a checkpoint and what stands beside it: curves (.csv, .svg), a card (.md), all facts (.json).

    What told of an older checkpoint goes first, and what tells of this one comes last, so that nothing ever tells of
    other weights than those that are there.

    Parameters
    ----------
    output : Path
        Ends in .safetensors.
    facts : mapping
        Of `facts_about`, and whatever else is to be kept in the JSON.
    more : mapping of str to str, optional
        Of `told_in`.

    Raises
    ------
    WeightsError, StoreError
        See `check_output`.
    """
    check_output(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    fit, sheet = pretrained.fit, pretrained.sheet
    names = [one.target for one in fit.outputs]
    about = {"target": "+".join(names), "arm": fit.arm.name, "repeat": 0, "fold": -1, "seed": fit.seed}
    rows = [{**about, **one} for one in pretrained.fitted.curves]
    curves = pd.DataFrame(rows, columns=schema.names(schema.TRAINING_CURVES))
    told = {**facts, "name": sheet.name, "file": output.name}
    contents = (
        curves.to_csv(index=False, lineterminator="\n").encode(),
        as_file(losses(curves, f"{sheet.name}: {', '.join(names)}"), "svg"),
        card(sheet, told).encode(),
        (json.dumps(told, indent=1, allow_nan=False) + "\n").encode(),
    )
    for suffix in BESIDE:
        output.with_suffix(suffix).unlink(missing_ok=True)
    write_checkpoint(output, pretrained.network, sheet, note=f"featx pretrain: {sheet.training}", more=more)
    for suffix, content in zip(BESIDE, contents, strict=True):
        _write(output.with_suffix(suffix), content)


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
