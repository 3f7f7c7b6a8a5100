"""Run directories made by hand: all kinds of target, two feature sets, several heads, some failures; and in full,
with confounds, repeats and all that stands beside scores.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.inference.metrics import METRICS
from tests.scoring import score, score_baseline

FEATURES = (
    "squeezenet1_0.imagenet/axial/fire5/mean",
    "squeezenet1_0.imagenet@random-0/axial/fire5/mean",
)
SITES = ("Guy's", "<b>HH</b>", "IOP")
PAIN = ("none", "some", "much")
NUMBERS = ("continuous", "ordinal")
ARM = ["features", "head", "confounds"]


def predictions_of(kind: str, y: np.ndarray, signal: float, rng: np.random.Generator, levels: tuple[str, ...]):
    """Out-of-fold numbers or probabilities that follow the truth as closely as `signal` says."""
    if kind in NUMBERS:
        noise = (12 * signal * (1 - signal) + 2) * (1 if kind == "continuous" else 0.1)
        return y.mean() + signal * (y - y.mean()) + rng.normal(0, noise, len(y))
    logits = rng.normal(0, 1, (len(y), len(levels)))
    logits[np.arange(len(y)), y] += 2.5 * signal
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def prediction_rows(label, repeat, ids, fold, kind, y, predicted, levels) -> pd.DataFrame:
    rows = pd.DataFrame(dict(zip(ARM, label, strict=True)) | {"image_id": ids, "participant_id": ids})
    rows = rows.assign(session_id="", repeat=repeat, fold=fold)
    if kind in NUMBERS:
        return rows.assign(observed=[f"{one:.2f}" for one in y], predicted=[f"{one:.4f}" for one in predicted])
    rows["observed"] = [levels[one] for one in y]
    rows["predicted"] = [levels[one] for one in predicted.argmax(axis=1)]
    for at, level in enumerate(levels):
        rows[schema.PROBABILITY + level] = predicted[:, at]
    return rows


def arms_of(name: str, kind: str, heads: int, full: bool) -> dict[tuple[str, str, str], float]:
    """Arms but the baseline, with how much of the truth they know."""
    found = {}
    for worse, features in enumerate(FEATURES):
        for head in range(heads):
            word = ("ridge" if kind in NUMBERS else "logistic") if head == 0 else f"boosting{head}"
            signal = 0.0 if name.startswith("score") else 0.85 - 0.3 * worse - 0.02 * head
            found[features, word, "ignored"] = signal
            if full and head == 0:
                found["-", word, "only"] = 0.2
                found[features, word, "added"] = min(0.95, signal + 0.05)
                if kind in NUMBERS:
                    found[features, word, "target"] = signal
    return found


def make_run(
    folder: Path, *, n: int = 120, heads: int = 1, hostile: bool = False, seed: int = 0, full: bool = False
) -> Path:
    """Write a run directory; `hostile` puts markup wherever text can stand, `full` fills every table."""
    rng = np.random.default_rng(seed)
    evil = "<script>alert(1)</script>" if hostile else ""
    ids = np.array([f"sub-{at:04d}{evil if at == 0 else ''}" for at in range(n)], dtype=object)
    score_name = "score$x$<script>alert(2)</script>" if hostile else "score"
    targets = {
        "age": ("continuous", rng.uniform(20, 80, n), ()),
        "sex": ("binary", rng.integers(0, 2, n), ("F", "M")),
        "site": ("multiclass", rng.integers(0, 3, n), SITES),
        "pain": ("ordinal", rng.integers(1, 4, n).astype(float), PAIN),
        score_name: ("continuous", rng.normal(100, 15, n), ()),
    }
    folds = [(np.arange(n) * step) % 10 for step in ((1, 3) if full else (1,))]
    folder.mkdir(parents=True)
    (folder / schema.PREDICTIONS_DIR).mkdir()
    scores, splits = [], []
    for at, (name, target) in enumerate(targets.items()):
        splits += [
            pd.DataFrame({"target": name, "image_id": ids, "participant_id": ids, "repeat": repeat, "fold": fold})
            for repeat, fold in enumerate(folds)
        ]
        table = make_predictions(target, ids, folds, arms_of(name, target[0], heads, full), rng)
        if full and name == "age":
            table = corrected(table)
        table.to_csv(folder / schema.PREDICTIONS_DIR / f"{at}.csv", index=False)
        scores.append(make_scores(name, target, table, ids))
    assert set(pd.concat(scores)["metric"]) == set(METRICS)
    tables = {
        schema.SCORES_CSV: (schema.SCORES, pd.concat(scores)),
        schema.SPLITS_CSV: (schema.SPLITS, pd.concat(splits)),
        schema.COMPARISONS_CSV: (schema.COMPARISONS, None),
        schema.PERMUTATIONS_CSV: (schema.PERMUTATIONS, None),
        schema.BREAKDOWNS_CSV: (schema.BREAKDOWNS, None),
        schema.AGE_BIAS_CSV: (schema.AGE_BIAS, None),
        **missing_tables(evil),
    }
    if full:
        tables |= beside_scores(pd.concat(scores), ids)
    for file, (columns, table) in tables.items():
        pd.DataFrame(table, columns=schema.names(columns)).to_csv(folder / file, index=False)
    write_facts(folder, targets, n, evil, len(folds), full)
    return folder


def make_predictions(target, ids, folds, arms, rng) -> pd.DataFrame:
    kind, y, levels = target
    parts = []
    for repeat, fold in enumerate(folds):
        constant = (
            np.array([y[fold != one].mean() for one in fold])
            if kind in NUMBERS
            else np.tile(np.bincount(y, minlength=len(levels)) / len(y), (len(y), 1))
        )
        parts.append(prediction_rows(("-", "baseline", "ignored"), repeat, ids, fold, kind, y, constant, levels))
        for label, signal in arms.items():
            predicted = predictions_of(kind, y, signal, rng, levels)
            part = prediction_rows(label, repeat, ids, fold, kind, y, predicted, levels)
            if label[2] == "target":
                part[schema.CONFOUND_PART] = 0.5 * (y - y.mean())
            parts.append(part)
    return pd.concat(parts)


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Predictions of age with corrected ones beside them, but for the baseline."""
    age, predicted = table["observed"].astype(float), table["predicted"].astype(float)
    is_head = table["head"] != "baseline"
    return table.assign(
        corrected_cole=(1.2 * predicted - 0.2 * age.mean()).where(is_head),
        corrected_beheshti=(predicted + 0.2 * (age - age.mean())).where(is_head),
    )


def make_scores(name, target, table: pd.DataFrame, ids) -> pd.DataFrame:
    """Scores of the first repeat, as they are scored in a run."""
    kind, y, _ = target
    rows, base = [], {}
    for label, own in table[table["repeat"] == 0].groupby(ARM, sort=False):
        observed, predicted = y, own.filter(like=schema.PROBABILITY).to_numpy()
        if kind in NUMBERS:
            predicted = own["predicted"].to_numpy(float)
            if label[2] == "target":
                part = own[schema.CONFOUND_PART].to_numpy()
                observed, predicted = observed - part, predicted - part
        by = score_baseline if label[1] == "baseline" else score
        found = by(kind, observed, predicted, ids, n_bootstrap=200)
        base = base or {one.metric: one.value for one in found}
        rows += [
            (name, kind, *label, one.metric, one.value, one.low, one.high, base[one.metric], len(y), len(y))
            for one in found
        ]
    return pd.DataFrame(rows, columns=schema.names(schema.SCORES))


def missing_tables(evil: str):
    left_out = [("", "", f"sub-x{at}", "no-image", "a person must have features") for at in range(230)]
    left_out += [("sex", "sub-y", "sub-y", "missing-value", f"'sex' is empty for 'sub-y'{evil}")]
    failed = [
        ("sub-0900", "", "read", "truncated", "an image must be whole; sub-0900 ends early; copy it again"),
        ("sub-0901", "sfcn.ukb_age", "check", "wrong-grid", f"the grid must be 160x192x160{evil}; got 91x109x91"),
    ]
    return {
        schema.EXCLUSIONS_CSV: (
            schema.EXCLUSIONS,
            pd.DataFrame(left_out, columns=schema.names(schema.EXCLUSIONS)),
        ),
        schema.FAILURES_CSV: (schema.FAILURES, pd.DataFrame(failed, columns=schema.names(schema.FAILURES))),
    }


def beside_scores(scores: pd.DataFrame, ids):
    """Every other table, in the shapes of a run; the numbers that are not scores are plain to recognise."""
    pairs, nulls, parts, bias = [], [], [], []
    for (target, *arm, metric), own in scores.groupby(["target", *ARM, "metric"], sort=False):
        label = dict(zip(ARM, arm, strict=True)) | {"target": target, "metric": metric}
        value = own["value"].iloc[0]
        if arm[1] == "baseline":
            continue
        part = label | {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40, "n_people": 40}
        parts += [part | {"by": "site", "label": "Guy's"}, part | {"by": "age", "label": "20 to 40"}]
        parts.append(part | {"by": "site", "label": "IOP", "value": None, "low": None, "high": None, "n_people": 4})
        if metric == METRIC[own["kind"].iloc[0]]:
            worst = label | {"metric": "error", "n": 1, "n_people": 1, "by": "worst predicted"}
            parts += [worst | {"label": ids[at], "value": 10.0 - at} for at in range(10)]
        if arm[2] == "ignored" and metric in ("r", "auc"):
            nulls.append(
                label
                | {"value": value, "null_mean": 0.011, "null_high": 0.123, "p": 0.002, "q": 0.004}
                | {"n_permutations": 499}
            )
        if arm[2] == "added":
            pairs.append(gain(scores, label, value))
    for correction, delta in (("raw", -0.61), ("cole", 0.02), ("beheshti", 0.01)):
        label = {"target": "age", "features": FEATURES[0], "head": "ridge", "confounds": "added", "slope": 0.81}
        for metric, value in (("mae", 4.4), ("r", 0.93), ("delta_r", delta)):
            row = {"correction": correction, "metric": metric, "value": value}
            bias.append(label | row | {"low": value - 0.11, "high": value + 0.11})
    return {
        schema.COMPARISONS_CSV: (schema.COMPARISONS, pd.DataFrame(pairs)),
        schema.PERMUTATIONS_CSV: (schema.PERMUTATIONS, pd.DataFrame(nulls)),
        schema.BREAKDOWNS_CSV: (schema.BREAKDOWNS, pd.DataFrame(parts)),
        schema.AGE_BIAS_CSV: (schema.AGE_BIAS, pd.DataFrame(bias)),
    }


METRIC = {"continuous": "mae", "ordinal": "spearman", "binary": "auc", "multiclass": "auc"}


def gain(scores: pd.DataFrame, label, value: float):
    """A comparison of an arm with confounds added against confounds alone."""
    alone = scores[(scores["target"] == label["target"]) & (scores["metric"] == label["metric"])]
    other = alone.loc[alone["confounds"] == "only", "value"].iloc[0]
    better = (value - other) * (1 if METRICS[label["metric"]].higher_is_better else -1)
    return {
        "target": label["target"],
        "question": "gain over confounds",
        "features_a": label["features"],
        "features_b": "-",
        "head": label["head"],
        "confounds_a": "added",
        "confounds_b": "only",
        "metric": label["metric"],
        "value_a": value,
        "value_b": other,
        "difference": better,
        "low": better - 0.05,
        "high": better + 0.05,
        "better": "a" if better > 0.05 else "",
        "p_bootstrap": 0.01,
        "p_corrected_t": 0.021,
        "p_delong": 0.017 if label["metric"] == "auc" and label["target"] == "sex" else None,
        "effect": 0.77 if label["metric"] == "mae" else None,
        "q": 0.042,
    }


def write_facts(folder: Path, targets, n: int, evil: str, n_repeats: int, full: bool) -> None:
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
    cautions = [
        {
            "code": "small-site",
            "sentence": f"a site must have 10 people; 'IOP' has 4{evil}; merge sites",
            "target": "",
        },
        {"code": "small-class", "sentence": "only 3 people of 'sex' are in class 'F'", "target": "sex"},
    ]
    facts = {
        "format": "featx-run",
        "format_version": 2,
        "targets": [
            {
                "name": name,
                "kind": kind,
                "unit": "years" if name == "age" else "",
                "classes": list(levels),
                "n_images": n,
                "n_people": n,
                "n_tested": n,
                "n_repeats": n_repeats,
                "n_splits": 10 * n_repeats,
                "predictions": f"predictions/{at}.csv",
            }
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
                "confounds": "ignored",
                "parameters": {"alpha": 1234.5, "penalty": "l2"},
            }
        ],
        "skipped": [
            {"target": one, "head": "ridge", "sentence": "the head does not suit the kind of the target"}
            for one in ("sex", "site")
        ],
        "cautions": cautions if full else [],
        "sources": [{"role": "features", "name": "", "file": f"features{evil}.h5", "sha256": "12" * 32}],
        "phenotypes": {"file": f"participants{evil}.tsv", "sha256": "09" * 32},
        "versions": {"featx": "0.1.0", "numpy": f"2.0{evil}"},
        "arguments": {
            "targets": list(targets),
            "heads": ["ridge", "logistic"],
            "combinations": {name: [name] for name in FEATURES},
            "folding": {"scheme": "kfold", "n_splits": 10, "n_inner": 5, "n_repeats": n_repeats, "random_state": 0},
        },
    }
    (folder / schema.RUN_JSON).write_text(json.dumps(facts, indent=1), encoding="utf-8")


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "age-sex")


@pytest.fixture(scope="session")
def full_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "full", full=True)
