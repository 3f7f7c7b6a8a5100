"""Runs and curves written by hand, whose truth is known: who is predicted how well, on which folds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.inference.metrics import metrics_of

Label = tuple[str, str, str]
NET, VOLUMES, CONTROL = "net", "volumes", "net@random-0"
BASELINE = ("-", "baseline", "ignored")
PROVENANCE = {
    NET: {"network": "net", "weights": "official"},
    VOLUMES: {"network": "table", "weights": ""},
    CONTROL: {"network": "net", "weights": "random:0"},
}


def people(n: int, start: int = 0) -> np.ndarray:
    return np.array([f"sub-{at:03d}" for at in range(start, start + n)], dtype=object)


def ages(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20, 80, n).round(2)


def folds_of(n: int, n_folds: int = 5, n_repeats: int = 1) -> np.ndarray:
    """Shape (n_repeats, n)."""
    return np.array([np.random.default_rng(one).permutation(np.arange(n) % n_folds) for one in range(n_repeats)])


def near(y: np.ndarray, error: float, seed: int, n_rows: int = 1) -> np.ndarray:
    """Predictions of numbers, with normal errors of this size; shape (n_rows, n)."""
    return y + error * np.random.default_rng(seed).standard_normal((n_rows, len(y)))


def sure(y: np.ndarray, signal: float, seed: int, n_rows: int = 1, n_classes: int = 2) -> np.ndarray:
    """Probabilities of classes that follow the truth as this signal says; shape (n_rows, n, n_classes)."""
    logits = np.random.default_rng(seed).standard_normal((n_rows, len(y), n_classes))
    logits[:, np.arange(len(y)), y] += signal
    return np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)


def write_made(
    folder: Path,
    targets: Mapping[str, tuple[str, np.ndarray, Mapping[Label, np.ndarray]]],
    *,
    fold: np.ndarray,
    ids: np.ndarray | None = None,
    n_seeds: int = 1,
    shared: bool = False,
    trainers: Sequence[str] = (),
    **facts: Any,
) -> Path:
    """Write a run.

    Parameters
    ----------
    targets : mapping of str to (kind, y, {label: predicted})
        y are numbers or class codes (levels 'F', 'M' ...); predicted has a row for each repeat and seed.
    fold : ndarray of shape (n_repeats, n)
        -1 where a repeat does not test a person.
    trainers : sequence of str
        People who only train.
    """
    ids = people(fold.shape[1]) if ids is None else ids
    (folder / schema.PREDICTIONS_DIR).mkdir(parents=True)
    told, splits, scores = [], [], []
    for name, (kind, y, arms) in targets.items():
        levels = [] if kind in ("continuous", "ordinal") else ["F", "M", "X"][: int(y.max()) + 1]
        table = pd.concat(
            [
                _rows(label, own, kind, y, (ids, fold, n_seeds, levels))
                for label, own in _whole(arms, y, kind, fold, n_seeds)
            ]
        )
        table.to_csv(folder / schema.PREDICTIONS_DIR / f"{name}.csv", index=False)
        told.append(
            {
                "name": name, "kind": kind, "unit": "years" if name == "age" else "", "classes": levels, "counts": [],
                "n_images": len(ids) + len(trainers), "n_people": len(ids) + len(trainers), "n_tested": len(ids),
                "n_predictions": int((fold >= 0).sum()) * n_seeds, "n_repeats": len(fold) * n_seeds,
                **({"n_seeds": n_seeds} if n_seeds > 1 else {}), "n_splits": 5,
                "predictions": f"{schema.PREDICTIONS_DIR}/{name}.csv",
            }
        )  # fmt: skip
        splits.append(_splits(name, ids, fold, trainers))
        label = table[["features", "head", "confounds"]].drop_duplicates()
        for metric in metrics_of(kind):
            own = label.assign(target=name, kind=kind, metric=metric, value=0.0, low=0.0, high=0.0, baseline=0.0)
            scores.append(own.assign(n=len(ids), n_people=len(ids)))
    split = splits[0].assign(target=schema.SHARED) if shared else pd.concat(splits)
    tables = {
        schema.SPLITS_CSV: (schema.SPLITS, split),
        schema.SCORES_CSV: (schema.SCORES, pd.concat(scores)),
        schema.COMPARISONS_CSV: (schema.COMPARISONS, None),
        schema.PERMUTATIONS_CSV: (schema.PERMUTATIONS, None),
        schema.BREAKDOWNS_CSV: (schema.BREAKDOWNS, None),
        schema.AGE_BIAS_CSV: (schema.AGE_BIAS, None),
        schema.EXCLUSIONS_CSV: (schema.EXCLUSIONS, None),
        schema.FAILURES_CSV: (schema.FAILURES, None),
    }
    for file, (columns, one) in tables.items():
        pd.DataFrame(one, columns=schema.names(columns)).to_csv(folder / file, index=False)
    combinations = dict.fromkeys(label[0] for _, _, arms in targets.values() for label in arms if label[0] != "-")
    run = {
        "format": "featx-run", "format_version": 2, "targets": told, "heads": [], "cautions": [], "skipped": [],
        "arguments": {"columns": {"group": ""}, "targets": list(targets)}, "sources": [],
        "features": [{"name": one, "sets": _sets(one)} for one in combinations], "versions": {}, **facts,
    }  # fmt: skip
    (folder / schema.RUN_JSON).write_text(json.dumps(run))
    return folder


def _sets(combination: str) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{one}/axial/t/mean" if one != VOLUMES else one,
            "provenance": PROVENANCE.get(one, {"network": one, "weights": "official"}),
        }
        for one in combination.split("+")
    ]


def _whole(arms: Mapping[Label, np.ndarray], y: np.ndarray, kind: str, fold: np.ndarray, n_seeds: int) -> Any:
    """The baseline, and then the arms."""
    n_rows = len(fold) * n_seeds
    constant = np.full((n_rows, len(y)), float(y.mean()))
    if kind not in ("continuous", "ordinal"):
        constant = np.tile(np.bincount(y) / len(y), (n_rows, len(y), 1))
    return [(BASELINE, constant), *arms.items()]


def _rows(label: Label, predicted: np.ndarray, kind: str, y: np.ndarray, about: Any) -> pd.DataFrame:
    ids, fold, n_seeds, levels = about
    repeated = np.repeat(fold, n_seeds, axis=0)
    repeat, at = np.nonzero(repeated >= 0)
    table = pd.DataFrame(dict(zip(("features", "head", "confounds"), label, strict=True)) | {"image_id": ids[at]})
    table = table.assign(participant_id=ids[at], session_id="", repeat=repeat, fold=repeated[repeat, at])
    if not levels:
        table["observed"], table["predicted"] = [f"{one:g}" for one in y[at]], predicted[repeat, at]
    else:
        own = predicted[repeat, at]
        table["observed"] = [levels[one] for one in y[at]]
        table["predicted"] = [levels[one] for one in own.argmax(axis=1)]
        for code, level in enumerate(levels):
            table[schema.PROBABILITY + level] = own[:, code]
    if label[1] in ("scratch", "full"):
        table = table.assign(arm=label[1], seed=repeat % n_seeds, epoch=1)
    if label[2] == "target":
        table[schema.CONFOUND_PART] = 0.0
    return table


def _splits(name: str, ids: np.ndarray, fold: np.ndarray, trainers: Sequence[str]) -> pd.DataFrame:
    everybody = np.array([*ids, *trainers], dtype=object)
    full = np.column_stack([fold, np.full((len(fold), len(trainers)), -1)])
    parts = [
        {"target": name, "image_id": everybody, "participant_id": everybody, "repeat": at, "fold": one}
        for at, one in enumerate(full)
    ]
    return pd.concat([pd.DataFrame(one) for one in parts])


def age_run(folder: Path, errors: Mapping[Label, tuple[float, int]], *, n: int = 60, **more: Any) -> Path:
    """A run of age whose arms err by this much; each has a seed of its own."""
    more.setdefault("fold", folds_of(n))
    y, n_rows = ages(n), len(more["fold"]) * more.get("n_seeds", 1)
    arms = {label: near(y, error, seed, n_rows) for label, (error, seed) in errors.items()}
    return write_made(folder, {"age": ("continuous", y, arms)}, **more)


RIDGE, RIDGE_VOLUMES, RIDGE_CONTROL = (
    (NET, "ridge", "ignored"),
    (VOLUMES, "ridge", "ignored"),
    (CONTROL, "ridge", "ignored"),
)
SCRATCH, FULL = (NET, "scratch", "ignored"), (NET, "full", "ignored")


def write_curve(folder: Path, points: pd.DataFrame, **facts: Any) -> Path:
    """A folder of `featx curve`."""
    folder.mkdir(parents=True)
    points.reindex(columns=schema.names(schema.CURVE)).to_csv(folder / schema.CURVE_CSV, index=False)
    told = {"format": "featx-curve", "format_version": 1, "combinations": {NET: [f"{NET}/axial/t/mean"]}, **facts}
    (folder / schema.CURVE_JSON).write_text(json.dumps(told))
    return folder


def curve_table(medians: Mapping[Label, Mapping[int, float]], spread: float = 0.0, n_draws: int = 3) -> pd.DataFrame:
    """Points of curves whose medians are these; draws lie around them, `spread` apart."""
    rows = [
        {
            "target": "age", "kind": "continuous", "features": label[0], "head": label[1], "confounds": label[2],
            "n_train": n, "n_images": n, "n_test": 40, "draw": draw, "metric": metric,
            "value": value + spread * (draw - (n_draws - 1) / 2),
        }
        for label, own in medians.items()
        for n, value in own.items()
        for draw in range(n_draws)
        for metric in ("mae", "r")
    ]  # fmt: skip
    return pd.DataFrame(rows)
