"""All files below a folder, with a cache of what every folder holds, so that the next walk reads only changed ones.

The cache is one file per walked folder: a line with the format, the folder and the sha256 of the rest, then a JSON
object with one text per folder, ``<stamp>//<files>//<folders>//<links>``, names separated by "/", which no name
holds. The stamp is the folder's time of change, its inode and its device; where it is the same, the listing is. A
folder that changed less than two seconds before it was listed is not kept: it may change again within the same tick
of the disk's clock. Both of a folder's times count, for the time of its contents can be set back (by rsync and tar).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from featx.errors import IndexingError
from featx.images.finding.waiting import THREADS, map_fitting

FORMAT = "featx-walk-1"
UNSURE_NS = 2_000_000_000  # the coarsest clock of a disk that is in use (FAT)
LEAST = 256  # folders; fewer are listed anew faster than a cache is looked for
SHARD = 256  # folders that a thread takes at once
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NOT_DATA = ("lost+found",)


class _Branch(NamedTuple):  # of these there are as many as folders, so that they must be made fast
    """A folder that is still to be listed; whether it is a link itself, and whether a link leads to it."""

    path: str
    linked: bool = False
    through: bool = False


class _Folder(NamedTuple):
    """What one folder holds: paths of files, and folders below; it itself is its device and inode."""

    branch: _Branch
    identity: tuple[int, int]
    files: list[str]
    below: list[_Branch]


@dataclass(frozen=True)
class _Found:
    """What some folders hold, files that stand in their place, and the texts for the cache."""

    folders: list[_Folder] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def list_files(
    folder: Path, cache: Path | None = None, on_progress: Callable[[int], None] | None = None
) -> list[str]:
    """All files below a folder.

    Parameters
    ----------
    folder : Path
    cache : Path, optional
        A file that keeps what was listed, where there are many folders. One that is damaged, or of another folder,
        is ignored and written anew; one that cannot be written costs the next walk its time, and nothing else.
    on_progress : callable, optional
        Called with the number of files so far.

    Returns
    -------
    list of str
        Absolute paths, sorted. Names that start with "." are left out. Links to folders are followed; a folder
        that several names lead to is listed once, under the one nearest to the root, and of two as near under that
        which is no link. One that holds the root is not listed again. Links that lead nowhere are listed as the files
        that they should be.

    Raises
    ------
    IndexingError
        The folder is not there, or one below it may not be read.
    """
    root = os.path.abspath(folder)
    if not os.path.isdir(root):
        raise IndexingError(f"a source must be a folder that is there; {root} is none; mend the path")
    known = read_cache(cache, root) if cache is not None else {}
    files: list[str] = []
    kept: dict[str, str] = {}
    level = [_Branch(root)]
    seen = dict.fromkeys(_holding(root), False)
    while level:
        folders: list[_Folder] = []
        count = len(files)
        for found in map_fitting(partial(_list_all, known=known, cut=len(root)), _shards(level)):
            files += found.files
            folders += found.folders
            kept |= found.kept
            count += len(found.files) + sum(len(folder.files) for folder in found.folders)
            if on_progress is not None:
                on_progress(count)
        once = _each_once(folders, seen)
        for folder_ in once:
            files += folder_.files
        level = [branch for folder_ in once for branch in folder_.below]
    if cache is not None and len(kept) >= LEAST and kept != known:
        _write_cache(cache, root, kept)
    return sorted(files)


def _shards(level: Sequence[_Branch]) -> list[Sequence[_Branch]]:
    size = max(1, min(SHARD, len(level) // THREADS))
    return [level[at : at + size] for at in range(0, len(level), size)]


def _holding(root: str) -> set[tuple[int, int]]:
    """The folders that the root lies in, by its name and, where that is a link, by its place."""
    held = set()
    for path in {*Path(root).parents, *Path(os.path.realpath(root)).parents}:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            held.add((status.st_dev, status.st_ino))
    return held


def _each_once(folders: Sequence[_Folder], seen: dict[tuple[int, int], bool]) -> list[_Folder]:
    """Folders that no other name led to before; `seen` gets them, and whether a link led to each.

    Where no link is on the way, a folder is one of its own, whatever the disk says of its inode: some give none.
    """
    plain = [folder for folder in folders if not folder.branch.through]
    linked = sorted(folder for folder in folders if folder.branch.through)  # by their paths
    once = []
    for folder in (*plain, *linked):
        through = folder.branch.through
        if folder.identity in seen and (through or seen[folder.identity]):
            continue
        seen.setdefault(folder.identity, through)
        once.append(folder)
    return once


# --- one folder -----------------------------------------------------------------------------------------------


def _list_all(branches: Sequence[_Branch], known: Mapping[str, str], cut: int) -> _Found:
    found = _Found()
    now_ns = time.time_ns()  # before any of them is looked at
    for branch in branches:
        try:
            _list_one(branch, known, cut, now_ns, found)
        except OSError as error:
            if error.errno not in _GONE:  # what is gone since its parent was listed is not there
                raise IndexingError(
                    f"every folder of a source must be readable; {branch.path} is not ({error.strerror}); mend its "
                    "permissions, or narrow the source with a glob"
                ) from error
            if branch.linked:
                found.files.append(branch.path)
    return found


def _list_one(branch: _Branch, known: Mapping[str, str], cut: int, now_ns: int, found: _Found) -> None:
    status = os.stat(branch.path)
    if not stat.S_ISDIR(status.st_mode):
        found.files.append(branch.path)
        return
    key = branch.path[cut:]
    stamp = f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino} {status.st_dev}"
    text = known.get(key, "")
    if not text.startswith(f"{stamp}//"):
        text = f"{stamp}//{_scan(branch.path)}"
    if is_sure(max(status.st_mtime_ns, status.st_ctime_ns), now_ns):
        found.kept[key] = text
    _, files, folders, links = text.split("//")
    start = branch.path if branch.path.endswith(os.sep) else branch.path + os.sep
    below = [_Branch(start + name, False, branch.through) for name in folders.split("/")] if folders else []
    if links:
        below += [_Branch(start + name, True, True) for name in links.split("/")]
    paths = [start + name for name in files.split("/")] if files else []
    found.folders.append(_Folder(branch, (status.st_dev, status.st_ino), paths, below))


def _scan(path: str) -> str:
    """Names of files, folders, and links to other than files. What is neither (a socket, a pipe) is left out."""
    files, folders, links = [], [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NOT_DATA:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.is_symlink() and not os.path.isfile(entry.path):
                links.append(entry.name)
            elif entry.is_file():
                files.append(entry.name)
    return "//".join("/".join(names) for names in (files, folders, links))


def is_sure(changed_ns: int, listed_ns: int) -> bool:
    """Whether a folder that was listed then would show a later change by its time.

    Examples
    --------
    >>> is_sure(changed_ns=1_000_000_000, listed_ns=4_000_000_000)
    True
    >>> is_sure(changed_ns=3_000_000_000, listed_ns=4_000_000_000)
    False
    """
    return listed_ns - changed_ns > UNSURE_NS


# --- the cache ------------------------------------------------------------------------------------------------


def read_cache(path: Path, root: str) -> dict[str, str]:
    """What a cache knows of a folder: a text for every folder below it; nothing if it is not there or damaged."""
    try:
        first, _, body = path.read_bytes().partition(b"\n")
        head = json.loads(first)
        if head != _head(root, body):
            return {}
        known: dict[str, str] = json.loads(body)
    except (OSError, ValueError):
        return {}
    return known


def _head(root: str, body: bytes) -> dict[str, str]:
    return {"format": FORMAT, "folder": root, "sha256": hashlib.sha256(body).hexdigest()}


def _write_cache(path: Path, root: str, kept: Mapping[str, str]) -> None:
    body = json.dumps(kept, separators=(",", ":")).encode()  # ASCII: names that are no text keep their odd bytes
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    with contextlib.suppress(OSError):  # a home that is full or read-only must not cost the index
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(json.dumps(_head(root, body)).encode() + b"\n" + body)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
