"""Images of a table that somebody made: .csv or .tsv with a path column."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from featx import schema
from featx.errors import ImageError, IndexingError, first_line
from featx.images.finding.listing import is_dicom_name
from featx.images.finding.naming import join_id
from featx.images.image import Image, shown
from featx.images.opening import is_url, located, read_bytes


def read_table(table: str) -> list[Image]:
    """One image per row. Paths are relative to the table's folder, or absolute, or URLs.

    Raises
    ------
    IndexingError
        The table cannot be read, lacks a column or a value, or names what is no image.
    """
    text = _text(table)
    try:
        delimiter = "\t" if table.endswith(".tsv") else ","
        lines = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if row]
    except csv.Error as error:
        raise _unreadable(table, error) from error
    header = lines[0] if lines else []
    _check_header(header, table)
    if len(lines) < 2:
        raise IndexingError(
            f"a table of images must have rows; {shown(table)} has only its header; add one per image"
        )
    for at, fields in enumerate(lines):
        if len(fields) != len(header):
            raise IndexingError(
                f"every row must have as many fields as the header, {len(header)}; row {at + 1} of {shown(table)} "
                f"has {len(fields)}; mend that row"
            )
    return [_from_row(dict(zip(header, fields, strict=True)), table, at) for at, fields in enumerate(lines[1:])]


def _text(table: str) -> str:
    try:
        if is_url(table):
            return read_bytes(table).decode("utf-8-sig")
        return Path(table).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except (OSError, UnicodeDecodeError, ImageError) as error:
        raise _unreadable(table, error) from error


def _unreadable(table: str, error: Exception) -> IndexingError:
    return IndexingError(
        f"a table of images must be readable UTF-8 text; {shown(table)} is not ({first_line(error)}); mend the table"
    )


def _check_header(header: Sequence[str], table: str) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise IndexingError(
            f"a table's columns must have names of their own; {shown(table)} has {twice[0]!r} twice; rename one"
        )
    if "path" in header and {schema.PARTICIPANT_ID, schema.IMAGE_ID} & set(header):
        return
    wanted = "path" if "path" not in header else schema.PARTICIPANT_ID
    raise IndexingError(
        f"a table of images must have the columns participant_id and path; {shown(table)} has "
        f"{', '.join(map(repr, header)) or 'none'}; rename or add {wanted!r}"
    )


def _from_row(row: Mapping[str, str], table: str, at: int) -> Image:
    participant = row.get(schema.PARTICIPANT_ID) or row.get(schema.IMAGE_ID, "")
    session, run = row.get(schema.SESSION_ID, ""), row.get("run", "")
    image_id = row.get(schema.IMAGE_ID) or join_id(participant, session, run)
    if not participant or not row["path"]:
        raise IndexingError(
            f"every image must have a participant_id and a path; row {at + 2} of {shown(table)} lacks one; fill it in"
        )
    path, inside = _placed(row["path"], table, at)
    member = row.get("member", "") or inside
    if member.startswith("/") or ".." in PurePosixPath(member).parts:
        raise IndexingError(
            f"a member must be a name inside its archive; row {at + 2} of {shown(table)} has {member!r}; write it as "
            "the archive lists it, without a leading / and without .."
        )
    if is_dicom_name(str(path)):
        raise IndexingError(
            f"a table of images must name NIfTI or FreeSurfer images; row {at + 2} of {shown(table)} names DICOM, "
            f"{shown(path)}; convert it with dcm2niix, and name what comes out"
        )
    return Image(image_id, participant, session, run, path, member, _mask(row.get("mask", ""), table, at))


def _mask(text: str, table: str, at: int) -> str:
    if not text:
        return ""
    path, member = _placed(text, table, at)
    if member:
        raise IndexingError(
            f"a brain mask must be a file of its own; row {at + 2} of {shown(table)} names {member} in "
            f"{shown(path)}; unpack the archive and name the file"
        )
    return str(path)


def _placed(text: str, table: str, at: int) -> tuple[Path | str, str]:
    """A path or URL; a relative path is one beside the table."""
    try:
        path, member = located(text)
    except ImageError as error:
        raise IndexingError(f"row {at + 2} of {shown(table)}: {error}") from error
    if isinstance(path, str):
        return path, member
    if is_url(table):
        path_text = f"{table.rpartition('/')[0]}/{path.as_posix()}"
        return (path if os.path.isabs(path) else path_text), member
    return Path(table).parent / path, member
