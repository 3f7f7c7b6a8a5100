"""What an index holds and lacks: counts, sessions, modalities, people without an image, the same image twice.

All of it is decided on the images and the paths of the files around them; only `read_participants` and
`find_identical` open files. The people of a BIDS tree are those whose folder, or file name, starts with sub-; only
the data sets that images come from count, so that a derivative does not stand in for a raw scan that is missing.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from featx import schema
from featx.errors import ImageError, IndexingError, first_line
from featx.images.image import Image
from featx.images.opening import checksum, is_url, read_bytes
from featx.images.volume import SUFFIXES

READERS = 4  # threads that read whole files; more would hold more of them in memory
_MODALITY = re.compile(f"_([^_-]+?)(?:{'|'.join(map(re.escape, SUFFIXES))})$", re.IGNORECASE)
_PERSON = re.compile(r"/sub-([^/_]+)(?=[/_])")
_GZIP = b"\x1f\x8b"
_ID, _FILE = schema.PARTICIPANT_ID, "participants.tsv"


@dataclass(frozen=True)
class Person:
    """One participant of an index, of the tree that it was made from, or of its participants.tsv.

    Attributes
    ----------
    participant_id : str
    image_ids : tuple of str
        Empty where no image of the tree passed.
    sessions : tuple of str
        Those of the images.
    modalities : tuple of str
        BIDS suffixes of all image files that the tree holds of them.
    listed : bool or None
        Whether participants.tsv has a row; None where there is none.
    """

    participant_id: str
    image_ids: tuple[str, ...]
    sessions: tuple[str, ...]
    modalities: tuple[str, ...]
    listed: bool | None


@dataclass(frozen=True)
class Overview:
    """What an index holds and lacks.

    Attributes
    ----------
    n_images, n_participants, n_sessions, n_runs : int
        Images; people, pairs of person and session, images with a run, among them.
    people : tuple of Person
        Sorted; those without an image too.
    by_session : dict of str to int
        People who have an image of each session; "" for none.
    by_modality : dict of str to int
        People whom the tree has such a file of, the most frequent first.
    several_sessions, several_images : tuple of str
        People with more than one session; and with more than one image of one session.
    without_image : tuple of str
        People of the tree whom no image is of.
    rows_without_image, images_without_row : tuple of str
        People of participants.tsv alone, and of the images alone.
    same_file : tuple of tuple of str
        Ids that stand for one file.
    """

    n_images: int
    n_participants: int
    n_sessions: int
    n_runs: int
    people: tuple[Person, ...]
    by_session: Mapping[str, int]
    by_modality: Mapping[str, int]
    several_sessions: tuple[str, ...]
    several_images: tuple[str, ...]
    without_image: tuple[str, ...]
    rows_without_image: tuple[str, ...]
    images_without_row: tuple[str, ...]
    same_file: tuple[tuple[str, ...], ...]


def summarise(images: Sequence[Image], files: Iterable[str] = (), listed: Iterable[str] | None = None) -> Overview:
    """Look over an index.

    Parameters
    ----------
    images : sequence of Image
    files : iterable of str
        All files of the folder that was indexed; none where it was a table, a glob or an address.
    listed : iterable of str, optional
        participant_id of participants.tsv.

    Examples
    --------
    >>> image = Image("sub-1", "sub-1", "", "", "/t/sub-1/anat/sub-1_T1w.nii")
    >>> found = summarise([image], ["/t/sub-1/anat/sub-1_T1w.nii", "/t/sub-2/anat/sub-2_T2w.nii"], ["sub-1", "3"])
    >>> found.by_modality, found.without_image, found.rows_without_image
    ({'T1w': 1, 'T2w': 1}, ('sub-2',), ('3',))
    """
    in_tree = _people_of(images, files)
    rows = None if listed is None else {_bare(name): name for name in listed if name}
    people = _join(images, in_tree, rows)
    sessions = {(image.participant_id, image.session_id) for image in images}
    per_session = Counter((image.participant_id, image.session_id) for image in images)
    modalities = Counter(one for person in people for one in person.modalities)
    with_image = [person for person in people if person.image_ids]
    return Overview(
        n_images=len(images),
        n_participants=len(with_image),
        n_sessions=sum(1 for _, session in sessions if session),
        n_runs=sum(1 for image in images if image.run),
        people=tuple(people),
        by_session=dict(sorted(Counter(session for _, session in sessions).items())),
        by_modality=dict(sorted(modalities.items(), key=lambda one: (-one[1], one[0]))),
        several_sessions=tuple(person.participant_id for person in people if len(person.sessions) > 1),
        several_images=tuple(sorted({person for (person, _), count in per_session.items() if count > 1})),
        without_image=tuple(
            person.participant_id
            for person in people
            if not person.image_ids and _bare(person.participant_id) in in_tree
        ),
        rows_without_image=tuple(
            person.participant_id for person in people if person.listed and not person.image_ids
        ),
        images_without_row=tuple(person.participant_id for person in with_image if person.listed is False),
        same_file=_groups({image.image_id: f"{image.path}\0{image.member}" for image in images}),
    )


def overview_rows(overview: Overview, identical: Sequence[Sequence[str]] = ()) -> list[dict[str, str]]:
    """Rows of `featx.schema.OVERVIEW`, one per participant; `identical` are ids whose files hold the same bytes."""
    twins: dict[str, set[str]] = defaultdict(set)
    for group in (*overview.same_file, *identical):
        for image_id in group:
            twins[image_id].update(other for other in group if other != image_id)
    return [
        {
            _ID: person.participant_id,
            "n_images": str(len(person.image_ids)),
            "sessions": " ".join(one for one in person.sessions if one),
            "modalities": " ".join(person.modalities),
            "listed": "" if person.listed is None else "yes" if person.listed else "no",
            "same_as": " ".join(sorted({twin for one in person.image_ids for twin in twins.get(one, ())})),
        }
        for person in overview.people
    ]


# --- people ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _InTree:
    """A participant of a BIDS tree, as its folder or files name them."""

    participant_id: str
    modalities: set[str] = field(default_factory=set)


def _people_of(images: Sequence[Image], files: Iterable[str]) -> dict[str, _InTree]:
    """People of the data sets that the images come from, by their label; none if images are named otherwise."""
    data_sets = set()
    for image in images:
        label = _bare(image.participant_id)
        match = next((one for one in _PERSON.finditer(str(image.path)) if one[1] == label), None)
        if match is None:
            return {}
        data_sets.add(str(image.path)[: match.start()])
    people: dict[str, _InTree] = {}
    for path in files:
        match = next((one for one in _PERSON.finditer(path) if path[: one.start()] in data_sets), None)
        if match is None:
            continue
        person = people.get(match[1])
        if person is None:
            person = people[match[1]] = _InTree(f"sub-{match[1]}")
        name = path.rpartition("/")[2]
        modality = modality_of(name[name.find("_") :]) if name.startswith("sub-") else ""
        if modality:
            person.modalities.add(modality)
    return people


@functools.lru_cache(maxsize=4096)  # people differ, what follows their label does not
def modality_of(ending: str) -> str:
    """The BIDS suffix of an image file, from what its name says after the participant; "" of any other file.

    Examples
    --------
    >>> modality_of("_run-1_T1w.nii.gz"), modality_of("_T1w.json"), modality_of("_desc-brain.nii")
    ('T1w', '', '')
    """
    match = _MODALITY.search(ending)
    return match[1] if match else ""


def _bare(participant_id: str) -> str:
    return participant_id.removeprefix("sub-")


def _join(images: Sequence[Image], in_tree: Mapping[str, _InTree], rows: Mapping[str, str] | None) -> list[Person]:
    """Everybody who is in any of the three, sorted; named as their images, else as the tree, else as the table."""
    ids: dict[str, list[str]] = defaultdict(list)
    sessions: dict[str, set[str]] = defaultdict(set)
    named = dict(rows or {}) | {bare: person.participant_id for bare, person in in_tree.items()}
    for image in images:
        bare = _bare(image.participant_id)
        named[bare] = image.participant_id
        ids[bare].append(image.image_id)
        sessions[bare].add(image.session_id)
    people = [
        Person(
            name,
            tuple(ids.get(bare, ())),
            tuple(sorted(sessions.get(bare, ()))),
            tuple(sorted(in_tree[bare].modalities)) if bare in in_tree else (),
            None if rows is None else bare in rows,
        )
        for bare, name in named.items()
    ]
    return sorted(people, key=lambda person: person.participant_id)


def find_participants(root: str, files: Iterable[str]) -> Path | None:
    """The participants.tsv at the root of a folder that was walked, if there is one."""
    path = os.path.join(os.path.abspath(root), _FILE)
    return Path(path) if path in files else None


def read_participants(path: Path) -> list[str]:
    """The column participant_id of a participants.tsv.

    Raises
    ------
    IndexingError
        It cannot be read, or has no such column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [row for row in csv.reader(file, delimiter="\t") if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IndexingError(
            f"{_FILE} must be readable UTF-8 text; {path} is not ({first_line(error)}); mend the table"
        ) from error
    if not lines or _ID not in lines[0]:
        got = ", ".join(map(repr, lines[0])) if lines else "none"
        raise IndexingError(f"{_FILE} must have the column {_ID}; {path} has {got}; rename or add it")
    at = lines[0].index(_ID)
    return [row[at] for row in lines[1:] if at < len(row)]


# --- the same image twice -------------------------------------------------------------------------------------


def find_identical(
    images: Sequence[Image], on_progress: Callable[[int, int], None] | None = None
) -> tuple[tuple[str, ...], ...]:
    """Ids of images whose files hold the same bytes, but for the names and times that gzip notes.

    Only files that may be the same are read: of gzip files, those that end in the same checksum and size of what they
    hold; of members of archives, those of which the archives' lists say the same two, so that of these a name or time
    that gzip notes makes another; of others, those of one size. A file is not held against a member. What cannot be
    read, and URLs, are passed over.

    Parameters
    ----------
    images : sequence of Image
    on_progress : callable, optional
        Called with the number of files that were read, and of those to be read.
    """
    digests: dict[str, str] = {}
    with ThreadPoolExecutor(READERS) as pool:
        marks = zip(images, pool.map(_mark, images), strict=True)
        alike = {one for group in _groups({image.image_id: mark for image, mark in marks if mark}) for one in group}
        chosen = [image for image in images if image.image_id in alike]
        for done, (image, digest) in enumerate(zip(chosen, pool.map(_digest, chosen), strict=True), start=1):
            if digest:
                digests[image.image_id] = digest
            if on_progress is not None:
                on_progress(done, len(chosen))
    return _groups(digests)


def _mark(image: Image) -> tuple[str, object] | None:
    """What equal files share, and few others do, without reading one whole."""
    if is_url(image.path):
        return None
    try:
        if image.member:
            return "member", checksum(image.path, image.member)
        with open(image.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if file.read(2) != _GZIP:
                return "plain", size
            file.seek(max(0, size - 8))
            return "gzip", file.read()  # checksum and size of what is packed, also where the header differs
    except (OSError, ImageError):
        return None


def _digest(image: Image) -> str:
    try:
        return hashlib.sha256(without_gzip_header(read_bytes(image.path, image.member))).hexdigest()
    except ImageError:
        return ""


def without_gzip_header(data: bytes) -> bytes:
    """Compressed bytes without the header of RFC 1952, which may hold a time and a name; others as they are.

    Examples
    --------
    >>> import gzip
    >>> without_gzip_header(gzip.compress(b"x", mtime=1)) == without_gzip_header(gzip.compress(b"x", mtime=2))
    True
    """
    if data[:2] != _GZIP or len(data) < 10:
        return data
    flags, at = data[3], 10
    if flags & 4:  # extra fields
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for text in (8, 16):  # the file's name, a comment
        if flags & text:
            at = data.find(b"\0", at) + 1
    return data[at + (flags & 2) :]  # a checksum of the header


def _groups(values: Mapping[str, object]) -> tuple[tuple[str, ...], ...]:
    """Keys that share a value, where there are several; sorted."""
    sharing: dict[object, list[str]] = defaultdict(list)
    for key, value in values.items():
        sharing[value].append(key)
    return tuple(sorted(tuple(sorted(keys)) for keys in sharing.values() if len(keys) > 1))
