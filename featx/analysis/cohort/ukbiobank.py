"""UK Biobank: its columns in every spelling, and a table of the phenotypes that Malik & Bzdok (2022) predict.

Fields, instances and codings are those of UK Biobank's public showcase (https://biobank.ndph.ox.ac.uk/showcase/).
Instance 2 is the first imaging visit, instance 0 is recruitment, years before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS, NO_LEVELS, ORDINAL, level_codes

EIDS = ("eid", "f.eid", "participant.eid")
IMAGING = 2
RECRUITMENT_AGE = 21022

Caution = tuple[str, str]  # code and sentence

CAUTIONS = {
    "ukb-recruitment-age": "an age is that at recruitment, years before imaging",
    "ukb-other-instance": "a field is there for another visit than the first imaging visit only",
    "ukb-raw-codes": "a field is taken as exported, with the codes of who did not answer",
    "ukb-own-column": "the table has a column of its own under the name of a known phenotype",
    "ukb-repeat-imaging": "images are of the repeat imaging visit, phenotypes of the first",
}


@dataclass(frozen=True)
class Sheet:
    """What is known of one phenotype.

    Attributes
    ----------
    name : str
        Of the column that is added.
    field_id, instance, array : int
        Where UK Biobank has it.
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    levels : mapping of str to str
        Codes to labels, in their order.
    missing : tuple of str
        Codes that are no values: -1 do not know, -3 prefer not to answer.
    unit : str
    note : str
        What it is.
    """

    name: str
    field_id: int
    instance: int
    array: int
    kind: str
    levels: Mapping[str, str] = field(default_factory=lambda: NO_LEVELS)
    missing: tuple[str, ...] = ()
    unit: str = ""
    note: str = ""

    @property
    def column(self) -> str:
        """The column in UK Biobank's own spelling."""
        return f"{self.field_id}-{self.instance}.{self.array}"


_INCOME = {
    "1": "less than 18,000",
    "2": "18,000 to 30,999",
    "3": "31,000 to 51,999",
    "4": "52,000 to 100,000",
    "5": "greater than 100,000",
}
_SEX = {"0": "female", "1": "male"}
_SMOKING = {"0": "never", "1": "previous", "2": "current"}
_NO_ANSWER = ("-1", "-3")

UKB = {
    sheet.name: sheet
    for sheet in (
        Sheet("age", 21003, IMAGING, 0, CONTINUOUS, unit="years", note="age when attending the imaging visit"),
        Sheet("sex", 31, 0, 0, BINARY, _SEX, note="sex, as registered at recruitment"),
        Sheet("household_size", 709, IMAGING, 0, CONTINUOUS, NO_LEVELS, _NO_ANSWER, "people", "people in household"),
        Sheet("household_income", 738, IMAGING, 0, ORDINAL, _INCOME, _NO_ANSWER, "pounds a year", "before tax"),
        Sheet("fluid_intelligence", 20016, IMAGING, 0, CONTINUOUS, unit="points", note="correct answers of 13"),
        Sheet("smoking", 20116, IMAGING, 0, MULTICLASS, _SMOKING, ("-3",), note="smoking status"),
    )
}

_SPELLINGS = (
    re.compile(r"(?P<field>\d+)-(?P<instance>\d+)\.(?P<array>\d+)"),
    re.compile(r"f\.(?P<field>\d+)\.(?P<instance>\d+)\.(?P<array>\d+)"),
    re.compile(r"(?:participant\.)?p(?P<field>\d+)(?:_i(?P<instance>\d+))?(?:_a(?P<array>\d+))?"),
)


def parse_column(name: str) -> tuple[int, int, int] | None:
    """Field, instance and array index of a column of a UK Biobank export, or None for another column.

    Examples
    --------
    >>> [parse_column(one) for one in ("21003-2.0", "f.21003.2.0", "participant.p21003_i2", "p31", "age")]
    [(21003, 2, 0), (21003, 2, 0), (21003, 2, 0), (31, 0, 0), None]
    """
    found = next((match for one in _SPELLINGS if (match := one.fullmatch(name))), None)
    return None if found is None else (int(found["field"]), int(found["instance"] or 0), int(found["array"] or 0))


def add_phenotypes(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Caution, ...]]:
    """Add the phenotypes of `UKB` as columns of their names, beside the columns that they come from.

    Parameters
    ----------
    table : DataFrame
        Cells are text or NaN.

    Returns
    -------
    table : DataFrame
        `Sheet.missing` is NaN in the added columns; the exported ones are as they were. No other instance stands
        in for the one of the sheet: a phenotype without its own column is not added.
    cautions : tuple of (code, sentence)
        Keys of `CAUTIONS`.
    """
    places: dict[tuple[int, int, int], str] = {}
    for column in map(str, table):
        place = parse_column(column)
        if place is not None:
            places.setdefault(place, column)
    added: dict[str, pd.Series] = {}
    cautions: list[Caution] = []
    for sheet in UKB.values():
        own = places.get((sheet.field_id, sheet.instance, sheet.array))
        if sheet.name in table:
            cautions += [_own_column(sheet)] if own else []
        elif own:
            values = table[own]
            gone = pd.Series(level_codes(values), index=values.index).isin(sheet.missing)
            added[sheet.name] = values.mask(gone)
        else:
            cautions += _not_added(sheet, places)
    return pd.concat([table, pd.DataFrame(added, index=table.index)], axis=1), tuple(cautions)


def _own_column(sheet: Sheet) -> Caution:
    return "ukb-own-column", (
        f"{sheet.name!r} is the table's own column, and UK Biobank's field {sheet.column} is there too; rename the "
        "own column to have the field under this name"
    )


def _not_added(sheet: Sheet, places: Mapping[tuple[int, int, int], str]) -> list[Caution]:
    fields = {one[0] for one in places}
    others = sorted({instance for field_id, instance, _ in places if field_id == sheet.field_id})
    cautions = []
    if sheet.name == "age" and RECRUITMENT_AGE in fields:
        sentence = (
            f"age must be that at imaging, field {sheet.column}; the table has field {RECRUITMENT_AGE}, age at "
            "recruitment, which is years too young for an image; nothing is called 'age': export "
            f"{sheet.column} as well"
        )
        cautions.append(("ukb-recruitment-age", sentence))
    if others:
        sentence = (
            f"{sheet.name!r} must come from field {sheet.column}; the table has field {sheet.field_id} at instance "
            f"{', '.join(map(str, others))} only, another visit; it was not added: export {sheet.column} as well"
        )
        cautions.append(("ukb-other-instance", sentence))
    return cautions


def cautions_for(target: str) -> tuple[Caution, ...]:
    """What must be said where a column of an export is itself the target.

    Examples
    --------
    >>> [code for code, _ in cautions_for("21022-0.0")], cautions_for("age")
    (['ukb-recruitment-age'], ())
    """
    place = parse_column(target)
    if place is None:
        return ()
    field_id, instance, _ = place
    cautions = []
    if field_id == RECRUITMENT_AGE:
        sentence = f"{target!r} is age at recruitment, years before the image; age at imaging is {UKB['age'].column}"
        cautions.append(("ukb-recruitment-age", sentence))
    for sheet in (one for one in UKB.values() if one.field_id == field_id):
        if sheet.instance != instance:
            sentence = f"{target!r} is of instance {instance}; {sheet.name!r} is of instance {sheet.instance}"
            cautions.append(("ukb-other-instance", sentence))
        if sheet.missing:
            sentence = (
                f"{target!r} is taken as exported, where {' and '.join(sheet.missing)} say that nobody answered; "
                f"{sheet.name!r} has them as missing"
            )
            cautions.append(("ukb-raw-codes", sentence))
    return tuple(cautions)


def cautions_of_sessions(session_ids: Iterable[str]) -> tuple[Caution, ...]:
    """What must be said where images are of the repeat imaging visit (session 3).

    Examples
    --------
    >>> cautions_of_sessions(["ses-2", "2", ""]), cautions_of_sessions(["ses-2", "ses-3"])[0][0]
    ((), 'ukb-repeat-imaging')
    """
    n_later = sum(str(one).removeprefix("ses-") == str(IMAGING + 1) for one in session_ids)
    if not n_later:
        return ()
    sentence = (
        f"{n_later} images are of session {IMAGING + 1}, the repeat imaging visit; UK Biobank's phenotypes by name "
        f"are of instance {IMAGING}, years before; leave those images out, or give a table with session_id"
    )
    return (("ukb-repeat-imaging", sentence),)
