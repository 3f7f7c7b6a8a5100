"""Tables of text as files, in one step."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from featx import schema


def write_failures(failures: Sequence[Mapping[str, str]], path: Path) -> None:
    """Write the failures table beside an output, or remove an old one if nothing fails any more."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    write_rows(failures, schema.FAILURES, path)


def write_rows(rows: Sequence[Mapping[str, str]], columns: tuple[schema.Column, ...], path: Path) -> None:
    """Write a table of text as CSV, in one step. Names that are not UTF-8 keep their bytes."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        with beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.DictWriter(file, schema.names(columns), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
