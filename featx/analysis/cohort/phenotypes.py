"""The phenotype table with what is known of its columns: a BIDS sidecar's levels and units, UK Biobank's codings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.cohort import ukbiobank
from featx.analysis.cohort.people import IDS, check_people, ids_of, match_rows
from featx.analysis.cohort.tables import read_table
from featx.analysis.cohort.targets import KINDS
from featx.analysis.cohort.ukbiobank import EIDS, UKB, Caution
from featx.analysis.features import Images, some
from featx.errors import CohortError, first_line, known


@dataclass(frozen=True)
class Phenotypes:
    """A table of people, and what is known of its columns.

    Attributes
    ----------
    table : DataFrame
        All cells text (`cohort.targets` reads numbers, for it knows whom to name), NaN where missing; participant_id
        and, where the file has them, session_id and image_id are never NaN; these may be "". The index tells where a
        row stands in the file.
    levels : mapping of str to mapping of str to str
        Column to its codes and their labels, in their order.
    units : mapping of str to str
    kinds : mapping of str to str
        Column to the kind of target that the table's description, never the user, gives it.
    cautions : tuple of (code, sentence)
    is_ukb : bool
        Whether it is an export of UK Biobank.
    """

    table: pd.DataFrame
    levels: Mapping[str, Mapping[str, str]]
    units: Mapping[str, str]
    kinds: Mapping[str, str]
    cautions: tuple[Caution, ...] = ()
    is_ukb: bool = False


def read_phenotypes(path: Path, *, ukb: bool | None = None) -> Phenotypes:
    """Read a table of people.

    Parameters
    ----------
    path : Path
        What `featx.analysis.cohort.tables.read_table` reads. Beside a .tsv, a .json of the same name may describe
        its columns (BIDS: Levels, Units), with "Kind" for the kind of target, which BIDS does not know.
    ukb : bool, optional
        Whether it is an export of UK Biobank, where eid is the participant and the phenotypes of
        `featx.analysis.cohort.ukbiobank.UKB` are added under their names. Without it: when there is an eid.

    Raises
    ------
    CohortError
        See `read_table`; also no participant_id, a person twice, or a sidecar that is damaged.
    """
    return phenotypes_of(read_table(path), path, ukb=ukb)


def phenotypes_of(table: pd.DataFrame, source: Path | str, *, ukb: bool | None = None) -> Phenotypes:
    """A table of people that was read; see `read_phenotypes`.

    Parameters
    ----------
    table : DataFrame
        As `featx.analysis.cohort.tables.read_table` gives it.
    source : Path or str
        Its file, beside which its sidecar lies; or what it is called in messages, where it is of no file.
    """
    eid = next((name for name in EIDS if name in table), None)
    is_ukb = eid is not None if ukb is None else ukb
    if is_ukb and eid is not None and schema.PARTICIPANT_ID not in table:
        table = table.rename(columns={eid: schema.PARTICIPANT_ID})
    if schema.PARTICIPANT_ID not in table:
        wanted = "'participant_id'" + (" or 'eid'" if is_ukb else "")
        raise CohortError(
            f"a phenotype table must have a column {wanted}; {source} has {some(map(str, table))}; "
            "rename the column that holds the ids"
        )
    for name in IDS:
        if name in table:
            table[name] = table[name].fillna("").astype(str)
    check_people(table, str(source))
    columns = _read_sidecar(source, table) if isinstance(source, Path) else {}
    cautions: tuple[Caution, ...] = ()
    if is_ukb:
        own = set(table)
        table, cautions = ukbiobank.add_phenotypes(table)
        columns |= {name: _described(sheet) for name, sheet in UKB.items() if name in set(table) - own}
    return Phenotypes(
        table,
        {name: one["levels"] for name, one in columns.items() if one["levels"]},
        {name: one["unit"] for name, one in columns.items() if one["unit"]},
        {name: one["kind"] for name, one in columns.items() if one["kind"]},
        cautions,
        is_ukb,
    )


def add_columns(phenotypes: Phenotypes, other: Phenotypes, source: str, images: Images | None = None) -> Phenotypes:
    """The columns of another table of the same people beside the own ones; who is not there has empty cells.

    Parameters
    ----------
    phenotypes, other : Phenotypes
    source : str
        Where the other one is from, for messages.
    images : Images, optional
        Where the other table has a row per image, those that are analysed: the result has a row for each of them (and
        one of each person without any), with its own cells and never those of another image of the same person.

    Raises
    ------
    CohortError
        A column is in both, or nobody is.

    Examples
    --------
    >>> people = Phenotypes(pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "age": ["50", "60"]}), {}, {}, {})
    >>> scans = Phenotypes(pd.DataFrame({"participant_id": ["2"], "brain_ml": ["1400"]}), {}, {}, {})
    >>> add_columns(people, scans, "scans.tsv").table["brain_ml"].fillna("n/a").tolist()
    ['n/a', '1400']
    """
    table = phenotypes.table if images is None else _one_row_per_image(phenotypes.table, images)
    own = [name for name in other.table if name not in IDS]
    twice = [name for name in own if name in table]
    if twice:
        raise CohortError(
            f"a column must be in one table; {twice[0]!r} is in the phenotype table and in {source}; rename or "
            "remove one"
        )
    rows = match_rows(ids_of(table), other.table)
    if not (rows >= 0).any():
        who = "people" if images is None else "images"
        raise CohortError(
            f"tables must have {who} in common to be joined; {source} has none of the phenotype table's; write both "
            "ids alike"
        )
    added = other.table[own].take(np.maximum(rows, 0)).set_axis(table.index)
    added.loc[rows < 0] = np.nan
    return Phenotypes(
        pd.concat([table, added], axis=1),
        {**phenotypes.levels, **other.levels},
        {**phenotypes.units, **other.units},
        {**phenotypes.kinds, **other.kinds},
        phenotypes.cautions + other.cautions,
        phenotypes.is_ukb or other.is_ukb,
    )


def _one_row_per_image(table: pd.DataFrame, images: Images) -> pd.DataFrame:
    """The row of its person for each image, then rows that no image takes; images without a person have none."""
    rows = match_rows(images, table)
    there = rows >= 0
    left = np.setdiff1d(np.arange(len(table)), rows)
    ids = np.concatenate([images.image_id[there], ids_of(table).image_id[left]])
    wide: pd.DataFrame = table.iloc[np.concatenate([rows[there], left])].assign(**{schema.IMAGE_ID: ids})
    return wide


def _described(sheet: ukbiobank.Sheet) -> dict[str, Any]:
    return {"levels": sheet.levels, "unit": sheet.unit, "kind": sheet.kind}


# --- the sidecar ----------------------------------------------------------------------------------------------


def _read_sidecar(path: Path, table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Levels, unit and kind of the columns that a BIDS sidecar describes."""
    sidecar = path.with_suffix(".json")
    if path.suffix.lower() != ".tsv" or not sidecar.is_file():
        return {}
    try:
        described = json.loads(sidecar.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise CohortError(
            f"the sidecar of a table must be whole JSON; {sidecar} is not ({first_line(error)}); repair or remove it"
        ) from error
    if not isinstance(described, dict):
        raise CohortError(
            f"the sidecar of a table must be an object with a key per column; {sidecar} holds "
            f"{type(described).__name__}; repair or remove it"
        )
    return {name: _column(described[name], name, sidecar) for name in map(str, table) if name in described}


def _column(entry: Any, name: str, sidecar: Path) -> dict[str, Any]:
    entry = entry if isinstance(entry, dict) else {"Description": entry}
    levels, unit, kind = entry.get("Levels") or {}, entry.get("Units") or "", entry.get("Kind") or ""
    if isinstance(levels, list):
        levels = {str(one): str(one) for one in levels}
    if not isinstance(levels, dict):
        raise CohortError(
            f"the levels of a column must be an object or a list; {sidecar} has {levels!r} for {name!r}; "
            'write them as {"1": "first level"}'
        )
    if kind not in ("", *KINDS):
        raise CohortError(f"the kind of a column must be known; {sidecar} has {kind!r} for {name!r}; {known(KINDS)}")
    labels = {str(code): _label(label, str(code)) for code, label in levels.items()}
    return {"levels": labels, "unit": str(unit), "kind": str(kind)}


def _label(label: Any, code: str) -> str:
    """BIDS has a level's label as text, or as an object with a description."""
    if isinstance(label, dict):
        label = label.get("Label") or label.get("Description")
    return str(label) if label not in (None, "") else code
