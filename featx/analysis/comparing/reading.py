"""Folders of `featx fit`, `featx train` and `featx curve`, read for a comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from featx import schema
from featx.analysis.runs.curvedir import FORMAT, FORMAT_VERSION
from featx.analysis.runs.rundir import Run, is_run, read_run
from featx.errors import AnalysisError


@dataclass(frozen=True)
class Entry:
    """One folder of a comparison.

    Attributes
    ----------
    name : str
        The last parts of its path, as few as tell it from the others.
    path : Path
    sha256 : str
        Of its run.json or curve.json.
    facts : mapping
        What that file says.
    run : Run, optional
        Of `featx fit` or `featx train`.
    points : DataFrame, optional
        Columns of `featx.schema.CURVE`, of `featx curve`.
    """

    name: str
    path: Path
    sha256: str
    facts: Mapping[str, Any]
    run: Run | None = None
    points: pd.DataFrame | None = None


def read_entries(folders: Sequence[Path]) -> list[Entry]:
    """Read the folders that are to be compared.

    Raises
    ------
    AnalysisError
        A folder is given twice, or is neither a run nor curves, or is damaged.
    """
    real = [folder.resolve() for folder in folders]
    twice = next((folder for at, folder in enumerate(real) if folder in real[:at]), None)
    if twice is not None:
        raise AnalysisError(
            f"each folder must be named once to be compared; {twice} is named twice; leave one of them out"
        )
    names = short_names(real)
    return [_read_entry(folder, name) for folder, name in zip(folders, names, strict=True)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of paths, as few as tell each from the others.

    Examples
    --------
    >>> short_names([Path("/a/x/run"), Path("/a/y/run"), Path("/a/trained")])
    ['x/run', 'y/run', 'trained']
    """
    found = []
    for path in paths:
        tails = ["/".join(path.parts[-count:]) for count in range(1, len(path.parts) + 1)]
        others = [f"/{other.as_posix()}" for other in paths if other != path]
        alone = (tail for tail in tails if not any(other.endswith(f"/{tail}") for other in others))
        found.append(next(alone, path.as_posix()))
    return found


def _read_entry(folder: Path, name: str) -> Entry:
    if is_run(folder):
        run = read_run(folder)
        return Entry(name, folder, _sha256(folder / schema.RUN_JSON), run.facts, run=run)
    if (folder / schema.CURVE_JSON).is_file():
        return _read_curve(folder, name)
    raise AnalysisError(
        f"what is compared must be folders of `featx fit`, `featx train` or `featx curve`; {folder} has neither "
        f"{schema.RUN_JSON} nor {schema.CURVE_JSON}; give the folder that was named with -o"
    )


def _read_curve(folder: Path, name: str) -> Entry:
    path = folder / schema.CURVE_CSV
    text = {one.name: str for one in schema.CURVE if one.dtype == "text"}
    try:
        facts = json.loads((folder / schema.CURVE_JSON).read_text(encoding="utf-8"))
        version = (facts["format"], facts["format_version"])
        points = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"value": [""]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnalysisError(
            f"curves must be whole to be compared; {folder} cannot be read ({type(error).__name__}); "
            "run featx curve again"
        ) from error
    lacking = [one for one in schema.names(schema.CURVE) if one not in points]
    if version != (FORMAT, FORMAT_VERSION) or lacking:
        what = f"{path} lacks {lacking[0]!r}" if lacking else f"{folder} is of format {version}"
        raise AnalysisError(f"curves must be as this featx writes them; {what}; run featx curve again")
    return Entry(name, folder, _sha256(folder / schema.CURVE_JSON), facts, points=points)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
