"""One network trained on all people of a cohort, several labels at once, and what comes of it (torch, Lightning).

Some people train nothing: they choose the epoch whose weights are kept. Images of one person, or of a family, are all
on one side. A label that is missing takes its image out of that label's loss and out of nothing else.
"""

from __future__ import annotations

import hashlib
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
from featx.analysis.runs.bundle import hash_people
from featx.errors import WeightsError
from featx.landing import check_writable
from featx.networks.architectures.trained import Trained
from featx.networks.checkpoint import write_checkpoint
from featx.networks.described import facts_of
from featx.networks.sheet import Network
from featx.networks.sheetcheck import check_sheet
from featx.report.figures import draw_losses
from featx.training.arms import RANDOM
from featx.training.cache import Cache
from featx.training.card import card
from featx.training.cohort import Cohort, ages_of, label_facts, sexes_of
from featx.training.fit import Fit, Fitted, Machine
from featx.training.fitting import OnEpoch, fit_network
from featx.training.folds import key_of
from featx.training.run import Source, make_network, predict, sheet_of

SUFFIX = ".safetensors"


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
    own = folder / key_of(fit, {"source": _source_facts(source, fit)}, ())
    fitted = fit_network(network, source.view, fit, cache, own, machine=machine, on_epoch=on_epoch)
    predicted = predict(network, source, fit, fit.validation.image_ids, cache=cache, device=machine.device)
    sheet = replace(sheet, n_parameters=sum(values.numel() for values in network.parameters()))
    return Pretrained(network, sheet, fit, fitted, predicted, tuple(_scores(cohort, fit, predicted)))


def _source_facts(source: Source, fit: Fit) -> dict[str, Any]:
    """What of the network decides the result; a file of weights by its bytes' number and time."""
    weights = source.request.weights
    path = Path(weights)
    status = path.stat() if path.is_file() else None
    return {
        "sheet": facts_of(sheet_of(source, fit.outputs)),
        "weights": weights,
        "file": (status.st_size, status.st_mtime_ns) if status else None,
        "resampled": source.request.resampling,
    }


def make_sheet(cohort: Cohort, fit: Fit, source: Source, name: str) -> Network:
    """The sheet of the network that is to come.

    Raises
    ------
    NetworkError
        The name is none for a network, or the network cannot be trained as it is wished.
    """
    sheet = sheet_of(
        source,
        fit.outputs,
        name=name,
        training=trained_on(cohort, fit, source),
        labels=tuple(one.target for one in fit.outputs),
        age_range_years=ages_of(cohort),
    )
    check_sheet(sheet, f"the network {name!r}")
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
    salt = hashlib.sha256("\n".join(sorted(set(people))).encode()).hexdigest()[:16]
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
        "people": [f"{one:016x}" for one in hash_people(people, salt)],
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


def write_pretrained(pretrained: Pretrained, output: Path, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint and what stands beside it: curves (.csv, .svg), a card (.md), all facts (.json).

    Parameters
    ----------
    output : Path
        Ends in .safetensors; it is written last.
    facts : mapping
        Of `facts_about`, and whatever else is to be kept in the JSON.

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
    beside = {
        ".curves.csv": curves.to_csv(index=False, lineterminator="\n").encode(),
        ".curves.svg": draw_losses(curves, f"{sheet.name}: {', '.join(names)}"),
        ".card.md": card(sheet, told).encode(),
        ".json": (json.dumps(told, indent=1, allow_nan=False) + "\n").encode(),
    }
    for suffix, content in beside.items():
        _write(output.with_suffix(suffix), content)
    write_checkpoint(output, pretrained.network, sheet, note=f"featx pretrain: {sheet.training}")


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
