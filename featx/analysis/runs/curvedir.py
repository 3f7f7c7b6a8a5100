"""Learning curves as a folder: the long table, what was asked, who was left out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from featx import schema
from featx.analysis.learning import Curves, Drawing
from featx.analysis.request import Request, versions
from featx.errors import AnalysisError

FORMAT = "featx-curve"
FORMAT_VERSION = 1


def check_output(path: Path) -> None:
    """Refuse a place where curves must not be written: a file, or a folder with something else in it.

    Raises
    ------
    AnalysisError
    """
    if path.exists() and not path.is_dir():
        raise AnalysisError(f"curves must be written to a folder; {path} is a file; choose another name")
    if path.is_dir() and any(path.iterdir()) and not (path / schema.CURVE_JSON).is_file():
        raise AnalysisError(
            f"curves must be written to a new folder, an empty one or older curves; {path} holds something else; "
            "choose another name"
        )


def write_curves(request: Request, drawing: Drawing, curves: Curves, path: Path) -> None:
    """Write ``curve.csv``, ``curve.json`` and ``exclusions.csv``, each beside its place and then renamed.

    Raises
    ------
    AnalysisError
        See `check_output`.
    """
    check_output(path)
    path.mkdir(parents=True, exist_ok=True)
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "targets": list(request.targets),
        "heads": list(request.heads),
        "combinations": {name: list(sets) for name, sets in request.combinations.items()},
        "aggregate": request.aggregate,
        "drawing": asdict(drawing),
        "folding": asdict(request.folding),
        "columns": asdict(request.columns),
        "adjusting": asdict(request.adjusting),
        "phenotypes": {"file": request.phenotypes_name, "sha256": request.phenotypes_sha256},
        "sources": [dict(one) for one in request.sources],
        "versions": versions(),
    }
    gone = pd.DataFrame(list(curves.exclusions), columns=schema.names(schema.EXCLUSIONS))
    texts = {
        schema.CURVE_CSV: curves.points.to_csv(index=False, lineterminator="\n"),
        schema.EXCLUSIONS_CSV: gone.to_csv(index=False, lineterminator="\n"),
        schema.CURVE_JSON: json.dumps(facts, indent=1, ensure_ascii=False) + "\n",  # last: it says that all is there
    }
    for name, text in texts.items():
        beside = path / f".{name}.tmp"
        beside.write_text(text, encoding="utf-8")
        beside.replace(path / name)
