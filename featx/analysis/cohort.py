"""Who is analysed: the phenotype table, and its join with the images on ids."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.features import Images, some
from featx.errors import CohortError

MISSING = ("n/a", "N/A", "NA", "NaN", "nan", "")
IDS = (schema.PARTICIPANT_ID, schema.SESSION_ID)

Exclusion = dict[str, str]


@dataclass(frozen=True)
class Matched:
    """Images that have a row in the phenotype table.

    Attributes
    ----------
    images : Images
    phenotypes : DataFrame
        One row per image, in the order of `images`; columns of the phenotype table without the ids, index
        participant_id as in `images`.
    exclusions : tuple of dict
        Rows of `featx.schema.EXCLUSIONS` for images without phenotypes and people without images.
    """

    images: Images
    phenotypes: pd.DataFrame
    exclusions: tuple[Exclusion, ...]


# --- the phenotype table --------------------------------------------------------------------------------------


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
        All columns as text (featx.analysis.targets reads numbers, for it knows whom to name); `MISSING` is NaN.
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


def bare(identifier: str, prefix: str = "sub-") -> str:
    """An id without its BIDS prefix, by which ids are compared.

    Examples
    --------
    >>> bare("sub-01"), bare("01"), bare("ses-2", "ses-")
    ('01', '01', '2')
    """
    return identifier.removeprefix(prefix)


def people_of(identifiers: Iterable[object]) -> NDArray[np.object_]:
    """Participants in one spelling, to group and count by: 'sub-01' and '01' are one person."""
    return np.array([bare(str(one)) for one in identifiers], dtype=object)


def check_people(table: pd.DataFrame, source: str = "the phenotype table") -> None:
    """Refuse a table with a row without an id, or with two rows for one person and session."""
    seen: dict[tuple[str, str], int] = {}
    for row, (person, session) in enumerate(_keys(table)):
        line = row + 2  # as a text editor counts: the header is line 1
        if not person:
            raise CohortError(
                f"every row of a phenotype table must have a participant_id; {source} has none in line {line}; "
                "fill it in or remove the row"
            )
        if (person, session) in seen:
            of = f"{person!r}, session {session!r}," if session else f"{person!r}"
            raise CohortError(
                f"a phenotype table must have one row per participant (and session); {source} has {of} in lines "
                f"{seen[person, session]} and {line}; keep one of them, or add a column session_id"
            )
        seen[person, session] = line


def _keys(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Bare participant and session of every row; the session is "" where the table has none."""
    people = [bare(str(person)) for person in table[schema.PARTICIPANT_ID]]
    if schema.SESSION_ID not in table:
        return [(person, "") for person in people]
    return list(zip(people, (bare(str(one), "ses-") for one in table[schema.SESSION_ID]), strict=True))


# --- the join -------------------------------------------------------------------------------------------------


def join(images: Images, phenotypes: pd.DataFrame) -> Matched:
    """Give every image its row of the phenotype table.

    Participants are equal with or without ``sub-``, sessions with or without ``ses-``. A row of the table with a
    session belongs to the images of that session; a row without one, to all images of the person; an image
    without a session takes the person's only row.

    Raises
    ------
    CohortError
        Nobody matches; an image without a session has several rows to take; or the table names a person twice.
    """
    check_people(phenotypes)
    keys = _keys(phenotypes)
    row_of = {key: row for row, key in enumerate(keys)}
    sessions_of: dict[str, list[str]] = {}
    for person, session in keys:
        sessions_of.setdefault(person, []).append(session)
    pairs = list(zip(images.participant_id, images.session_id, strict=True))
    found = [_match(bare(str(person)), bare(str(session), "ses-"), sessions_of) for person, session in pairs]
    kept = np.array([at for at, key in enumerate(found) if key is not None], dtype=np.intp)
    if not len(kept):
        raise CohortError(
            "images and phenotype table must have people in common; none has, for images are of people such as "
            f"{str(images.participant_id[0])!r} and the table of such as {_example(phenotypes)}; "
            "write both ids alike"
        )
    rows = [row_of[key] for key in found if key is not None]
    table = phenotypes.iloc[rows].drop(columns=[name for name in IDS if name in phenotypes])
    table.index = pd.Index(images.participant_id[kept], name=schema.PARTICIPANT_ID)
    without = [_no_phenotype(images, at, sessions_of) for at, key in enumerate(found) if key is None]
    imaged = {bare(str(person)) for person in images.participant_id}
    people = sorted({str(person) for person in phenotypes[schema.PARTICIPANT_ID]})
    missing = [_no_image(person) for person in people if bare(person) not in imaged]
    return Matched(images.take(kept), table, tuple(without + missing))


def _example(phenotypes: pd.DataFrame) -> str:
    return repr(str(phenotypes[schema.PARTICIPANT_ID].iloc[0])) if len(phenotypes) else "nobody: it has no rows"


def _match(person: str, session: str, sessions_of: Mapping[str, list[str]]) -> tuple[str, str] | None:
    """Key of the row that belongs to an image, or None."""
    sessions = sessions_of.get(person, [])
    if session in sessions:
        return person, session
    if "" in sessions:
        return person, ""
    if session or not sessions:
        return None
    if len(sessions) > 1:
        raise CohortError(
            f"an image without a session must have one row in the phenotype table; participant {person!r} has "
            f"{len(sessions)} (sessions {some(sessions)}); keep the rows of one session"
        )
    return person, sessions[0]


def _no_phenotype(images: Images, at: int, sessions_of: Mapping[str, list[str]]) -> Exclusion:
    person, session = str(images.participant_id[at]), str(images.session_id[at])
    image = str(images.image_id[at])
    if bare(person) in sessions_of:
        sentence = (
            f"an image must have its session in the phenotype table; {person!r} has no row for {session!r} there, "
            f"at image {image!r}; add one"
        )
    else:
        sentence = (
            f"an image must have its participant in the phenotype table; {person!r} is not there, at image "
            f"{image!r}; add a row"
        )
    return exclusion("no-phenotype", sentence, image_id=image, participant_id=person)


def _no_image(person: str) -> Exclusion:
    sentence = (
        f"a participant must have an image with features; {person!r} of the phenotype table has none; "
        "look in the failures table, or index and extract the image"
    )
    return exclusion("no-image", sentence, participant_id=person)


def exclusion(
    code: str, sentence: str, *, target: str = "", image_id: str = "", participant_id: str = ""
) -> Exclusion:
    """One row of the exclusions table, with the columns of `featx.schema.EXCLUSIONS`."""
    values = (target, image_id, participant_id, code, sentence)
    return dict(zip(schema.names(schema.EXCLUSIONS), values, strict=True))
