"""Tables with a header, from CSV, TSV, parquet or Excel, read strictly and kept as text."""

from __future__ import annotations

import csv
import datetime
import hashlib
import importlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx.analysis.cohort.targets import number_text
from featx.errors import CohortError, DependencyError, first_line, known

MISSING = ("n/a", "N/A", "NA", "NaN", "nan", "")
PARQUET = (".parquet", ".pq")
EXCEL = (".xlsx", ".xlsm")
LINE, ROW = "line", "row"  # what an index counts
_INDEX_OF_PANDAS = re.compile(r"__index_level_\d+__")

Cells = list[list[Any]]


def read_table(path: Path) -> pd.DataFrame:
    """Read a table as text.

    Parameters
    ----------
    path : Path
        By the end of its name: text (.csv, .tsv, .txt, or any other end) with a header line, separated by tabs,
        semicolons or commas, whatever the header holds, in this order; parquet; or Excel, the first sheet of
        ``FILE.xlsx`` or the one that ``FILE.xlsx::SHEET`` names.

    Returns
    -------
    DataFrame
        All cells stripped text, NaN where they are one of `MISSING`; numbers of parquet and Excel in the shortest
        form that reads back equal, dates as ISO 8601. The index, named "line" or "row", says where a row stands
        in the file as an editor counts, with the header as 1 (in parquet, the first row as 1).

    Raises
    ------
    CohortError
        No such file or sheet, no table, a line with more or fewer fields than the header, two columns of one name,
        a formula that was never computed, or a cell that is no value.
    DependencyError
        pyarrow or openpyxl is not installed.
    """
    file, _ = split_sheet(path)
    suffix = file.suffix.lower()
    if suffix == ".xls":
        raise CohortError(f"an Excel table must be .xlsx; {path} is of the format before; save it as .xlsx or .csv")
    read = _read_parquet if suffix in PARQUET else _read_excel if suffix in EXCEL else _read_text
    header, rows, places = read(path)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise CohortError(
            f"a table must name its columns once each; {path} has {twice[0]!r} {header.count(twice[0])} times; "
            "rename or remove one"
        )
    table = pd.DataFrame(rows, columns=header, dtype=object, index=places)
    return table.mask(table.isin(MISSING))


def split_sheet(path: Path) -> tuple[Path, str]:
    """File and sheet of ``FILE.xlsx::SHEET``; the sheet is "" where none is named.

    Examples
    --------
    >>> split_sheet(Path("people.xlsx::visit 2"))[1], split_sheet(Path("people.csv"))[1]
    ('visit 2', '')
    """
    file, mark, sheet = str(path).rpartition("::")
    return (Path(file), sheet) if mark and file.lower().endswith(EXCEL) else (path, "")


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex; a sheet is named with its file."""
    with split_sheet(path)[0].open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _library(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise DependencyError(
            f"a table {path.suffix} needs {package}, for {path}; it is not installed; install featx[tables], "
            "or save the table as .csv"
        ) from error


def _unreadable(path: Path, what: str, error: Exception) -> CohortError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return CohortError(f"a table must be a readable {what} file; {path} is not ({reason}); look at the file again")


# --- text -----------------------------------------------------------------------------------------------------


def _read_text(path: Path) -> tuple[list[str], Cells, pd.Index]:
    """Header, rows with all cells stripped, and their lines; wholly empty lines are skipped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            if not first.strip():
                raise CohortError(f"a table must begin with a header line; {path} begins with none; add one")
            return _fields(path, first, file)
    except UnicodeDecodeError as error:
        raise CohortError(
            f"a table must be text in UTF-8; {path} is not; save it as UTF-8, or as .parquet or .xlsx under that name"
        ) from error
    except OSError as error:
        raise _unreadable(path, "text", error) from error


def _fields(path: Path, first: str, rest: Iterable[str]) -> tuple[list[str], Cells, pd.Index]:
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
    found: Cells = []
    places: list[int] = []
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num  # a quoted cell may go on over several lines
            row = [cell.strip() for cell in cells]
            if not row or row == [""]:
                continue
            if found and len(row) != len(found[0]):
                raise CohortError(
                    f"every line of a table must have as many fields as its header, {len(found[0])}; "
                    f"{path} has {len(row)} in line {line}; repair that line"
                )
            found.append(row)
            places.append(line)
    except csv.Error as error:
        raise CohortError(
            f"a table must be made of whole fields; {path} is not in line {reader.line_num} ({error}); "
            "repair that line"
        ) from error
    return found[0], found[1:], pd.Index(places[1:], dtype=np.int64, name=LINE)


def _without_nul(path: Path, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise CohortError(f"a table must be text; {path} has a NUL byte in line {number}; save it as UTF-8")
        yield line


# --- parquet and Excel ----------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> tuple[list[str], Cells, pd.Index]:
    arrow, parquet = _library("pyarrow", path), _library("pyarrow.parquet", path)
    try:
        with path.open("rb") as stream:
            table = parquet.read_table(stream)
    except (OSError, arrow.ArrowException) as error:
        raise _unreadable(path, "parquet", error) from error
    names = [name for name in table.column_names if not _INDEX_OF_PANDAS.fullmatch(name)]
    columns = [[cell_text(one, name, path) for one in table.column(name).to_pylist()] for name in names]
    return names, _transposed(columns), pd.RangeIndex(1, table.num_rows + 1, name=ROW)


def _transposed(columns: Sequence[Sequence[str]]) -> Cells:
    return [list(row) for row in zip(*columns, strict=True)]


def _read_excel(path: Path) -> tuple[list[str], Cells, pd.Index]:
    openpyxl = _library("openpyxl", split_sheet(path)[0])
    values, formulas = (_sheet(openpyxl, path, computed=computed) for computed in (True, False))
    _check_computed(path, values, formulas)
    header = [str(one).strip() if one is not None else "" for one in (values[0] if values else [])]
    while header and not header[-1]:
        header.pop()
    if not header:
        raise CohortError(f"a table must begin with a header line; {path} begins with none; add one")
    rows, places = [], []
    for place, row in enumerate(values[1:], start=2):
        if _blank(row):
            continue
        if not _blank(row[len(header) :]):
            raise CohortError(
                f"every row of a table must have as many fields as its header, {len(header)}; {path} has more in "
                f"row {place}; repair that row"
            )
        cells = row[: len(header)] + [None] * (len(header) - len(row))  # short where the file tells no width
        rows.append([cell_text(one, name, path) for one, name in zip(cells, header, strict=True)])
        places.append(place)
    return header, rows, pd.Index(places, dtype=np.int64, name=ROW)


def _sheet(openpyxl: Any, path: Path, *, computed: bool) -> Cells:
    """Cells of a sheet: what formulas gave when the file was last saved, or the formulas themselves."""
    file, name = split_sheet(path)
    try:
        # From the open file, for openpyxl leaves it open where it is no workbook.
        with file.open("rb") as stream:
            book = openpyxl.load_workbook(stream, read_only=True, data_only=computed)
            if name and name not in book.sheetnames:
                raise CohortError(f"a sheet must be in its file; {name!r} is not in {file}; {known(book.sheetnames)}")
            sheet = book[name] if name else book.worksheets[0]
            return [list(row) for row in sheet.iter_rows(values_only=True)]
    except CohortError:
        raise
    except (OSError, zipfile.BadZipFile, LookupError, ValueError) as error:
        raise _unreadable(file, "Excel", error) from error


def _check_computed(path: Path, values: Cells, formulas: Cells) -> None:
    """Refuse a formula that no spreadsheet has computed: it would be read as an empty cell."""
    for place, (row, written) in enumerate(zip(values, formulas, strict=True), start=1):
        for value, formula in zip(row, written, strict=True):
            if value is None and isinstance(formula, str) and formula.startswith("="):
                raise CohortError(
                    f"a formula must have been computed; {path} has {formula!r} without a value in row {place}; "
                    "open the file in a spreadsheet program and save it, or save it as .csv"
                )


def _blank(cells: Iterable[Any]) -> bool:
    return all(one is None or (isinstance(one, str) and not one.strip()) for one in cells)


def cell_text(cell: Any, column: str, path: Path | str) -> str:
    """A cell of parquet, of Excel or in memory as text; "" for an empty one.

    Raises
    ------
    CohortError
        It is no text, number, date or truth value.

    Examples
    --------
    >>> cell_text(50.0, "age", "people.xlsx"), cell_text(" M ", "sex", "people.xlsx")
    ('50', 'M')
    """
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bool | int):
        return str(cell)
    if isinstance(cell, float):
        return number_text(cell)
    if isinstance(cell, datetime.datetime) and cell == datetime.datetime.combine(cell.date(), datetime.time()):
        return cell.date().isoformat()
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    raise CohortError(
        f"a cell must be text, a number, a date or a truth value; {path} holds {type(cell).__name__} in column "
        f"{column!r}; write it as text, or leave the column out"
    )
