"""A comparison as a folder: its tables, and what was compared."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from featx import schema
from featx.analysis.comparing import columns
from featx.analysis.comparing.comparison import Compared, Comparison
from featx.analysis.comparing.reading import Entry
from featx.analysis.request import versions
from featx.analysis.results import finite
from featx.errors import AnalysisError

FORMAT = "featx-compare"
FORMAT_VERSION = 1


def check_output(path: Path) -> None:
    """Refuse a place where a comparison must not be written: a file, or a folder with something else in it.

    Raises
    ------
    AnalysisError
    """
    if path.exists() and not path.is_dir():
        raise AnalysisError(f"a comparison must be written to a folder; {path} is a file; choose another name")
    if path.is_dir() and any(path.iterdir()) and not (path / columns.COMPARE_JSON).is_file():
        raise AnalysisError(
            f"a comparison must be written to a new folder, an empty one or an older comparison; {path} holds "
            "something else; choose another name"
        )


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write the tables and compare.json, each beside its place and then renamed.

    Raises
    ------
    AnalysisError
        See `check_output`.
    """
    check_output(path)
    path.mkdir(parents=True, exist_ok=True)
    tables = {
        columns.RANKING_CSV: _all([one.ranking for one in comparison.targets], columns.RANKING),
        columns.DIFFERENCES_CSV: _all([one.differences for one in comparison.targets], columns.DIFFERENCES),
        columns.MEAN_RANKS_CSV: None if comparison.over is None else comparison.over.table,
        columns.CURVES_CSV: comparison.curves,
        columns.CROSSINGS_CSV: comparison.crossings,
        columns.COSTS_CSV: comparison.costs,
    }
    texts = {name: _csv(table) for name, table in tables.items() if table is not None and len(table)}
    for name in tables:
        if name not in texts:
            (path / name).unlink(missing_ok=True)  # of an older comparison
    facts = json.dumps(facts_of(comparison), indent=1, ensure_ascii=False, allow_nan=False)
    texts[columns.COMPARE_JSON] = facts + "\n"  # last: it says that all is there
    for name, text in texts.items():
        beside = path / f".{name}.tmp"
        beside.write_text(text, encoding="utf-8")
        beside.replace(path / name)


def _all(tables: list[pd.DataFrame], wanted: tuple[schema.Column, ...]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=schema.names(wanted))


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def facts_of(comparison: Comparison) -> dict[str, Any]:
    """What compare.json holds: what was compared with what, how, and by which software."""
    wish, over = comparison.wish, comparison.over
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "compared": [_entry_facts(entry) for entry in comparison.entries],
        "alpha": wish.drawing.alpha,
        "n_bootstrap": wish.drawing.n_bootstrap,
        "n_permutations": wish.drawing.n_permutations,
        "random_state": wish.drawing.random_state,
        "reference": wish.reference,
        "margins": dict(wish.margins),
        "shared_people": wish.shared_people,
        "over_n": wish.over_n,
        "volumes": list(wish.volumes),
        "targets": [_target_facts(one) for one in comparison.targets],
        "over_targets": None
        if over is None
        else {
            "n_targets": over.n_targets,
            "friedman_chi2": finite(over.chi2),
            "friedman_p": finite(over.p),
            "nemenyi_critical_difference": finite(over.critical_difference),
        },
        "left_out": list(comparison.left_out),
        "cautions": [
            {"code": one.code, "sentence": one.sentence, "target": one.target} for one in comparison.cautions
        ],
        "versions": versions(),
    }


def _entry_facts(entry: Entry) -> dict[str, Any]:
    """A folder by its name and the digests of what was read of it; the path is nobody else's business."""
    files = [schema.CURVE_JSON, schema.CURVE_CSV]
    if entry.run is not None:
        files = [schema.RUN_JSON, schema.SPLITS_CSV, *(str(one["predictions"]) for one in entry.facts["targets"])]
    digests = {name: hashlib.sha256((entry.path / name).read_bytes()).hexdigest() for name in files}
    return {"name": entry.name, "what": "curves" if entry.run is None else "run", "sha256": digests}


def _target_facts(one: Compared) -> dict[str, Any]:
    common = one.common
    return {
        "name": common.name,
        "kind": common.kind,
        "unit": common.unit,
        "n_images": len(common.images),
        "n_people": len(set(common.people)),
        "n_repeats": len(common.fold),
        "n_train": round(common.n_train, 3),
        "n_test": round(common.n_test, 3),
        "runs": list(common.runs),
        "smaller_runs": dict(common.smaller),
        "arms": [arm.name for arm in one.arms],
        "reference": one.reference.name,
        "margin": one.margin,
    }
