"""Ids of images: from what is known of each, from file stems, from folders, or by a pattern of one's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featx import schema
from featx.errors import IndexingError
from featx.images.image import Image, shown
from featx.images.opening import file_name, is_url
from featx.images.volume import SUFFIXES

_ID_FIELDS = (schema.PARTICIPANT_ID, schema.SESSION_ID, "run")


@dataclass(frozen=True)
class Found:
    """Images of a source, and what should be known of how they were chosen.

    Attributes
    ----------
    images : list of Image
    told : list of str
        Sentences: which files were chosen, and what was left aside.
    files : sequence of str
        All files of the source, where it is a folder.
    """

    images: list[Image]
    told: list[str]
    files: Sequence[str] = ()


def make_image(path: str, participant: str, session: str = "", run: str = "", *, member: str = "") -> Image:
    """An image at a path or a plain URL, with the id that follows from the rest.

    Examples
    --------
    >>> make_image("/data/a.nii.gz", "sub-01", "ses-2").image_id
    'sub-01_ses-2'
    """
    where = path if is_url(path) else Path(path)
    return Image(join_id(participant, session, run), participant, session, run, where, member)


def join_id(participant: str, session: str, run: str) -> str:
    """An image's id.

    Examples
    --------
    >>> join_id("sub-01", "", "run-2")
    'sub-01_run-2'
    """
    return "_".join(part for part in (participant, session, run) if part)


def is_image(path: str) -> bool:
    """Whether a file's name is one of an image.

    Examples
    --------
    >>> is_image("/a/T1.NII.gz"), is_image("/a/._T1.nii.gz"), is_image("https://host/T1.nii?v=2")
    (True, False, True)
    """
    if is_url(path):
        path = file_name(path)
    return path.lower().endswith(SUFFIXES) and not path.startswith(".", path.rfind("/") + 1)


def stem(path: str) -> str:
    """A file's name without the suffix of its format.

    Examples
    --------
    >>> stem("/data/sub-01_T1w.nii.gz")
    'sub-01_T1w'
    """
    name = file_name(path)
    lower = name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix):
            return name[: -len(suffix)]
    return name.rpartition(".")[0] or name


def by_stem_or_folder(paths: Sequence[str]) -> list[Image]:
    """Images whose id is the stem of the file, or, where two stems are the same, the folders that tell them apart."""
    names = telling_names([stem(path) for path in paths], paths)
    return [make_image(path, name) for path, name in zip(paths, names, strict=True)]


def telling_names(names: Sequence[str], paths: Sequence[str]) -> list[str]:
    """The names if all differ, else the parts of the folders of `paths` that do.

    Examples
    --------
    >>> telling_names(["T1", "T1"], ["/data/s1/anat/T1.nii", "/data/s2/anat/T1.nii"])
    ['s1', 's2']
    """
    if len(set(names)) == len(names):
        return list(names)
    folders = [path.split("/")[:-1] for path in paths]
    depth = min(len(parts) for parts in folders)
    columns = [[parts[at] for parts in folders] for at in range(depth)]
    telling = [column for column in columns if len(set(column)) > 1]
    return ["_".join(parts) for parts in zip(*telling, strict=True)] if telling else list(names)


def by_pattern(images: Sequence[Image], id_pattern: str) -> list[Image]:
    """The same images, with ids that a pattern finds in their paths (of a member: archive/member).

    Raises
    ------
    IndexingError
        The pattern is no regular expression, or finds no participant in a path.
    """
    try:
        search = re.compile(id_pattern).search
    except re.error as error:
        raise IndexingError(f"--id-pattern must be a regular expression; {id_pattern!r} is not ({error})") from error
    renamed = []
    for image in images:
        text = f"{image.path}/{image.member}" if image.member else str(image.path)
        match = search(text)
        groups = match.groupdict() if match else {}
        if not groups.get(schema.PARTICIPANT_ID):
            raise IndexingError(
                f"--id-pattern must find a group participant_id in every path; {id_pattern!r} finds none in "
                f"{shown(text)}; write (?P<participant_id>...) so that it fits every path, or narrow the source"
            )
        participant, session, run = (groups.get(field) or "" for field in _ID_FIELDS)
        renamed.append(
            replace(
                image,
                image_id=join_id(participant, session, run),
                participant_id=participant,
                session_id=session,
                run=run,
            )
        )
    return renamed


def some(names: Sequence[str], most: int = 3) -> str:
    """A few of many names.

    Examples
    --------
    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
