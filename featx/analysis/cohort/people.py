"""Who is analysed: the join of the phenotype table with the images, on ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.features import Images, some
from featx.errors import CohortError

IDS = (schema.PARTICIPANT_ID, schema.SESSION_ID, schema.IMAGE_ID)

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
    """Refuse a table with a row without an id, or with two rows for one person and session, or for one image.

    Parameters
    ----------
    table : DataFrame
        The name of its index says what the index counts, in messages: "line" of a file or, without one, "row".
    source : str
        What it is called in messages.

    Raises
    ------
    CohortError
    """
    place = str(table.index.name or "row")
    seen: dict[tuple[str, str, str], object] = {}
    for at, key in zip(table.index, _keys(table), strict=True):
        person, session, image = key
        if not person:
            raise CohortError(
                f"every row of a table of people must have a participant_id; {source} has none in {place} {at}; "
                "fill it in or remove the row"
            )
        if key in seen and image:
            raise CohortError(
                f"a table of images must have one row per image; {source} has {image!r} in {place}s {seen[key]} and "
                f"{at}; keep one of them"
            )
        if key in seen:
            of = f"{person!r}, session {session!r}," if session else f"{person!r}"
            raise CohortError(
                f"a table of people must have one row per participant (and session); {source} has {of} in {place}s "
                f"{seen[key]} and {at}; keep one of them, or add a column session_id"
            )
        seen[key] = at


def _keys(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Bare participant and session of every row, or participant and image where the row is of one image; else ""."""
    ids = ids_of(table)
    rows = zip(ids.participant_id, ids.session_id, ids.image_id, strict=True)
    return [
        (bare(str(person)), "" if image else bare(str(session), "ses-"), str(image))
        for person, session, image in rows
    ]


def ids_of(table: pd.DataFrame) -> Images:
    """Ids of the rows of a table of people, "" where there are none."""
    nobody = np.full(len(table), "", dtype=object)
    person, session, image = (table[name].to_numpy(dtype=object) if name in table else nobody for name in IDS)
    return Images(image, person, session)


# --- the join -------------------------------------------------------------------------------------------------


def join(images: Images, phenotypes: pd.DataFrame) -> Matched:
    """Give every image its row of the phenotype table.

    Participants are equal with or without ``sub-``, sessions with or without ``ses-``. A row with an image_id
    belongs to that image of that person, and to no other. Of the other rows, one with a session belongs to the images
    of that session; a row without one, to all images of the person; an image without a session takes the person's
    only row.

    Raises
    ------
    CohortError
        Nobody matches; an image without a session has several rows to take; or the table names a person twice.
    """
    rows = match_rows(images, phenotypes)
    kept = np.flatnonzero(rows >= 0)
    if not len(kept):
        has_images = (ids_of(phenotypes).image_id != "").any()
        raise CohortError(
            "images and phenotype table must have people in common; none has, for images are of people such as "
            f"{str(images.participant_id[0])!r} and the table of such as {_example(phenotypes)}; write both ids alike"
            + (", or rename the column image_id if it does not name these images" if has_images else "")
        )
    table = phenotypes.iloc[rows[kept]].drop(columns=[name for name in IDS if name in phenotypes])
    table.index = pd.Index(images.participant_id[kept], name=schema.PARTICIPANT_ID)
    known_people = set(people_of(phenotypes[schema.PARTICIPANT_ID]))
    without = [_no_phenotype(images, at, known_people) for at in map(int, np.flatnonzero(rows < 0))]
    imaged = {bare(str(person)) for person in images.participant_id}
    people = sorted({str(person) for person in phenotypes[schema.PARTICIPANT_ID]})
    missing = [_no_image(person) for person in people if bare(person) not in imaged]
    return Matched(images.take(kept), table, tuple(without + missing))


def match_rows(images: Images, table: pd.DataFrame) -> NDArray[np.intp]:
    """The row of a table of people that belongs to each image, by the rules of `join`; -1 for none.

    Raises
    ------
    CohortError
        An image without a session has several rows to take, or the table names a person twice.
    """
    check_people(table)
    row_of = {key: row for row, key in enumerate(_keys(table))}
    sessions_of: dict[str, list[str]] = {}
    for person, session, image in row_of:
        if not image:
            sessions_of.setdefault(person, []).append(session)
    rows = np.full(len(images.image_id), -1, dtype=np.intp)
    for at, (image, person, session) in enumerate(
        zip(images.image_id, map(bare, map(str, images.participant_id)), images.session_id, strict=True)
    ):
        own = row_of.get((person, "", str(image)))
        if own is None:
            key = _match(person, bare(str(session), "ses-"), sessions_of)
            own = -1 if key is None else row_of[(*key, "")]
        rows[at] = own
    return rows


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


def _no_phenotype(images: Images, at: int, known_people: set[str]) -> Exclusion:
    person, session = str(images.participant_id[at]), str(images.session_id[at])
    image = str(images.image_id[at])
    if bare(person) in known_people:
        sentence = (
            f"an image must have its session in the phenotype table; {person!r} has no row for "
            f"{session or image!r} there, at image {image!r}; add one"
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
