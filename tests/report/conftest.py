"""A run directory made by hand: three kinds of target, two feature sets, several heads, some failures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.inference.scores import METRICS, score, score_baseline

FEATURES = (
    "squeezenet1_0.imagenet/axial/fire5/mean",
    "squeezenet1_0.imagenet@random-0/axial/fire5/mean",
)
SITES = ("Guy's", "<b>HH</b>", "IOP")


def predictions_of(kind: str, y: np.ndarray, signal: float, rng: np.random.Generator, levels: tuple[str, ...]):
    """Out-of-fold numbers or probabilities that follow the truth as closely as `signal` says."""
    if kind == "continuous":
        return y.mean() + signal * (y - y.mean()) + rng.normal(0, 12 * signal * (1 - signal) + 2, len(y))
    logits = rng.normal(0, 1, (len(y), len(levels)))
    logits[np.arange(len(y)), y] += 2.5 * signal
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def prediction_rows(label, ids, fold, kind, y, predicted, levels) -> pd.DataFrame:
    rows = pd.DataFrame({"features": label[0], "head": label[1], "image_id": ids, "participant_id": ids})
    rows["session_id"] = ""
    rows["fold"] = fold
    if kind == "continuous":
        return rows.assign(observed=[f"{one:.2f}" for one in y], predicted=[f"{one:.4f}" for one in predicted])
    rows["observed"] = [levels[one] for one in y]
    rows["predicted"] = [levels[one] for one in predicted.argmax(axis=1)]
    for at, level in enumerate(levels):
        rows[schema.PROBABILITY + level] = predicted[:, at]
    return rows


def make_run(folder: Path, *, n: int = 120, heads: int = 1, hostile: bool = False, seed: int = 0) -> Path:
    """Write a run directory; `hostile` puts markup wherever text can stand."""
    rng = np.random.default_rng(seed)
    evil = "<script>alert(1)</script>" if hostile else ""
    ids = np.array([f"sub-{at:04d}{evil if at == 0 else ''}" for at in range(n)], dtype=object)
    fold = np.arange(n) % 10
    score_name = "score$x$<script>alert(2)</script>" if hostile else "score"
    targets = {
        "age": ("continuous", rng.uniform(20, 80, n), ()),
        "sex": ("binary", rng.integers(0, 2, n), ("F", "M")),
        "site": ("multiclass", rng.integers(0, 3, n), SITES),
        score_name: ("continuous", rng.normal(100, 15, n), ()),
    }
    scores, splits = [], []
    folder.mkdir(parents=True)
    (folder / schema.PREDICTIONS_DIR).mkdir()
    for at, (name, (kind, y, levels)) in enumerate(targets.items()):
        splits.append(pd.DataFrame({"target": name, "image_id": ids, "participant_id": ids, "fold": fold}))
        constant = (
            np.array([y[fold != one].mean() for one in fold])
            if kind == "continuous"
            else np.tile(np.bincount(y, minlength=len(levels)) / n, (n, 1))
        )
        answers = {("-", "baseline"): constant}
        for worse, features in enumerate(FEATURES):
            for head in range(heads):
                word = ("ridge" if kind == "continuous" else "logistic") if head == 0 else f"boosting{head}"
                signal = 0.0 if name == score_name else 0.85 - 0.3 * worse - 0.02 * head
                answers[features, word] = predictions_of(kind, y, signal, rng, levels)
        base = {one.metric: one.value for one in score_baseline(kind, y, constant, ids, n_bootstrap=0)}
        parts = []
        for label, predicted in answers.items():
            by = score_baseline if label[1] == "baseline" else score
            parts.append(prediction_rows(label, ids, fold, kind, y, predicted, levels))
            scores += [
                (name, kind, *label, one.metric, one.value, one.low, one.high, base[one.metric], n)
                for one in by(kind, y, predicted, ids, n_bootstrap=200)
            ]
        pd.concat(parts).to_csv(folder / schema.PREDICTIONS_DIR / f"{at}.csv", index=False)
    assert {row[4] for row in scores} == set(METRICS)
    pd.DataFrame(scores, columns=schema.names(schema.SCORES)).to_csv(folder / schema.SCORES_CSV, index=False)
    pd.concat(splits).to_csv(folder / schema.SPLITS_CSV, index=False)
    left_out = [("", "", f"sub-x{at}", "no-image", "a person must have features") for at in range(230)]
    left_out += [("sex", "sub-y", "sub-y", "missing-value", f"'sex' is empty for 'sub-y'{evil}")]
    excluded = pd.DataFrame(left_out, columns=schema.names(schema.EXCLUSIONS))
    excluded.to_csv(folder / schema.EXCLUSIONS_CSV, index=False)
    failed = [
        ("sub-0900", "", "read", "truncated", "an image must be whole; sub-0900 ends early; copy it again"),
        ("sub-0901", "sfcn.ukb_age", "check", "wrong-grid", f"the grid must be 160x192x160{evil}; got 91x109x91"),
    ]
    pd.DataFrame(failed, columns=schema.names(schema.FAILURES)).to_csv(folder / schema.FAILURES_CSV, index=False)
    write_facts(folder, targets, n, evil)
    return folder


def write_facts(folder: Path, targets, n: int, evil: str) -> None:
    provenance = {
        "network": "squeezenet1_0.imagenet",
        "weights": "official",
        "weights_sha256": "ab" * 32,
        "recipe": "{}",
        "recipe_digest": "cd" * 32,
        "view": "axial",
        "tap": "fire5",
        "pooling": "mean",
        "precision": "float32",
    }
    sets = [{"name": name, "n_features": 768, "key": "ef" * 32, "provenance": provenance} for name in FEATURES]
    facts = {
        "format": "featx-run",
        "format_version": 1,
        "targets": [
            {"name": name, "kind": kind, "classes": list(levels), "predictions": f"predictions/{at}.csv"}
            for at, (name, (kind, _, levels)) in enumerate(targets.items())
        ],
        "features": [{"name": one["name"], "sets": [one]} for one in sets],
        "flow": {"images_with_features": n + 5, "images_with_all_features": n + 2, "images_matched": n},
        "heads": [
            {
                "file": "heads/age--ridge--x.npz",
                "target": "age",
                "head": "ridge",
                "features": FEATURES[0],
                "parameters": {"alpha": 1234.5},
            }
        ],
        "skipped": [{"target": "sex", "head": "ridge", "sentence": "the head does not suit the kind of the target"}],
        "phenotypes": {"file": f"participants{evil}.tsv", "sha256": "09" * 32},
        "versions": {"featx": "0.1.0", "numpy": f"2.0{evil}"},
        "arguments": {"heads": ["ridge", "logistic"], "n_splits": 10, "n_inner": 5, "random_state": 0},
    }
    (folder / schema.RUN_JSON).write_text(json.dumps(facts, indent=1), encoding="utf-8")


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "age-sex")
