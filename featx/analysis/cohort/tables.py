"""The phenotype table: text with a header line, read strictly and kept as text."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import pandas as pd

from featx import schema
from featx.analysis.cohort.people import IDS, check_people
from featx.analysis.features import some
from featx.errors import CohortError

MISSING = ("n/a", "N/A", "NA", "NaN", "nan", "")


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_phenotypes(path: Path) -> pd.DataFrame:
    """Read a table of people: text with a header line, separated by tabs, commas or semicolons.

    Parameters
    ----------
    path : Path
        The separator is what the header line holds, in the order tab, semicolon, comma.

    Returns
    -------
    DataFrame
        All columns as text (`cohort.targets` reads numbers, for it knows whom to name); `MISSING` is NaN.
        participant_id and, where the file has one, session_id are never NaN; a session may be "".

    Raises
    ------
    CohortError
        No such file, no table, a line with more or fewer fields than the header, no participant_id, two columns
        of one name, or a person twice.
    """
    header, rows = _read_text(path)
    if schema.PARTICIPANT_ID not in header:
        raise CohortError(
            f"a phenotype table must have a column 'participant_id'; {path} has {some(header)}; "
            "rename the column that holds the ids"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise CohortError(
            f"a phenotype table must name its columns once each; {path} has {twice[0]!r} "
            f"{header.count(twice[0])} times; rename or remove one"
        )
    table = pd.DataFrame(rows, columns=header, dtype=object)
    table = table.mask(table.isin(MISSING))
    for name in IDS:
        if name in table:
            table[name] = table[name].fillna("").astype(str)
    check_people(table, str(path))
    return table


def _read_text(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, all cells stripped; wholly empty lines are skipped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            if not first.strip():
                raise CohortError(
                    f"a phenotype table must begin with a header line; {path} begins with none; add one"
                )
            return _fields(path, first, file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CohortError(
            f"a phenotype table must be a readable text file; {path} is not ({reason}); give a CSV or TSV file"
        ) from error


def _fields(path: Path, first: str, rest: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    separator = "\t" if "\t" in first else ";" if first.count(";") > first.count(",") else ","
    lines = _without_nul(path, chain([first], rest))
    plain = separator == "\t" and '"' not in first  # BIDS quotes nothing, R quotes its header too
    reader = csv.reader(
        lines,
        delimiter=separator,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        skipinitialspace=separator != "\t",
        strict=True,
    )
    found: list[list[str]] = []
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if not row or row == [""]:
                continue
            if found and len(row) != len(found[0]):
                raise CohortError(
                    f"every line of a phenotype table must have as many fields as its header, {len(found[0])}; "
                    f"{path} has {len(row)} in line {reader.line_num}; repair that line"
                )
            found.append(row)
    except csv.Error as error:
        raise CohortError(
            f"a phenotype table must be made of whole fields; {path} is not in line {reader.line_num} ({error}); "
            "repair that line"
        ) from error
    return found[0], found[1:]


def _without_nul(path: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise CohortError(
                f"a phenotype table must be text; {path} has a NUL byte in line {number}; save it as UTF-8"
            )
        yield line
