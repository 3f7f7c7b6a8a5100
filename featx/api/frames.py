"""Tables in memory where the command line has files: read by the same rules, named and known by their cells."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.cohort.people import IDS
from featx.analysis.cohort.phenotypes import Phenotypes, phenotypes_of, read_phenotypes
from featx.analysis.cohort.tables import MISSING, cell_text, file_sha256, read_table
from featx.api.words import path_of
from featx.errors import CohortError

Table = Path | str | pd.DataFrame
IN_MEMORY = "(a table in memory)"


def called(table: Table) -> str:
    """What a table is called: the name of its file."""
    return IN_MEMORY if isinstance(table, pd.DataFrame) else _path(table).name


def where(table: Table) -> str:
    """What a table is called in messages: its path."""
    return IN_MEMORY if isinstance(table, pd.DataFrame) else str(_path(table))


def _path(table: Path | str) -> Path:
    return path_of(table, "a table", "a file's name or a DataFrame")


def sha256(table: Table) -> str:
    """Of a file's bytes, or of a table's cells as CSV."""
    if isinstance(table, pd.DataFrame):
        return hashlib.sha256(as_text(table).to_csv(index=False).encode()).hexdigest()
    return file_sha256(_path(table))


def read_people(table: Table) -> Phenotypes:
    """A table of people, with what is known of its columns.

    Raises
    ------
    AnalysisError
        It is neither a file's name nor a DataFrame.
    CohortError
        See `featx.analysis.cohort.phenotypes.read_phenotypes`.
    """
    if isinstance(table, pd.DataFrame):
        return phenotypes_of(as_text(table), IN_MEMORY)
    return read_phenotypes(_path(table))


def read_numbers(table: Table) -> pd.DataFrame:
    """A table as text, as `featx.analysis.cohort.tables.read_table` gives that of a file."""
    return as_text(table) if isinstance(table, pd.DataFrame) else read_table(_path(table))


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """A table in memory as if it had been read from a file: all cells text, NaN where they are missing.

    Parameters
    ----------
    frame : DataFrame
        Ids are columns, or the index: levels named as ids, or one without a name beside no participant_id. Numbers
        are written in the shortest form that reads back equal.

    Raises
    ------
    CohortError
        Two columns of one name, or a cell that is no text, number, date or truth value.

    Examples
    --------
    >>> as_text(pd.DataFrame({"age": [50.0, None]}, index=["sub-1", "sub-2"])).to_dict("list")
    {'participant_id': ['sub-1', 'sub-2'], 'age': ['50', nan]}
    """
    table = _with_ids(frame)
    names = [str(one) for one in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CohortError(
            f"a table must name its columns once each; {IN_MEMORY} has {twice[0]!r} {names.count(twice[0])} times; "
            "rename or remove one"
        )
    columns = {name: _cells(table.iloc[:, at], name) for at, name in enumerate(names)}
    text = pd.DataFrame(columns, dtype=object, index=pd.RangeIndex(len(table), name="row"))
    return text.mask(text.isin(MISSING))


def _with_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose ids are columns, and whose index says nothing."""
    if isinstance(frame.index, pd.RangeIndex):
        return frame.reset_index(drop=True)
    names = [name for name in frame.index.names if name in IDS and name not in frame.columns]
    if names:
        ids = frame.index.to_frame(index=False)[names]
        return pd.concat([ids, frame.reset_index(drop=True)], axis=1)
    if frame.index.names == [None] and schema.PARTICIPANT_ID not in frame:
        frame = frame.reset_index(drop=False, names=schema.PARTICIPANT_ID)
    return frame.reset_index(drop=True)


def _cells(column: pd.Series, name: str) -> Sequence[str]:
    missing = column.isna().tolist()
    plain = [one.item() if isinstance(one, np.generic) else one for one in column.astype(object)]
    return ["" if gone else cell_text(one, name, IN_MEMORY) for one, gone in zip(plain, missing, strict=True)]
