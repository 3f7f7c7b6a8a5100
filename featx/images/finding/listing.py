"""The files of a source: of a folder, a glob, one file, or the same behind a URL."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from featx.errors import IndexingError
from featx.images.finding.naming import is_image
from featx.images.finding.ukbiobank import is_bulk_archive
from featx.images.finding.walk import list_files
from featx.images.image import shown
from featx.images.opening import filesystem, is_url, list_members, located, reach

_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom", "dicomdir")
_LOOKED_INTO = 5  # files without a suffix
_WILD = "*["  # a ? in a URL is the start of a query, mostly
_NAMED = re.compile(r"\.[A-Za-z]\w*$")  # a DICOM file may be called by its number, 1.3.12.2.1107
# The folders of one participant's session, at the end of a path.
_OF_ONE = re.compile(r"/sub-[^/]+(?:/ses-[^/]+)?(?:/(?:anat|func|dwi|fmap|perf|swi|pet|mrs))?$")


@dataclass(frozen=True)
class Listing:
    """The files of a source.

    Attributes
    ----------
    root : str
        The folder that was walked; "" where it was none.
    files : list of str
        Absolute paths or URLs.
    archive : Path or str
        Where it is not "", files are members of this archive.
    start : int
        Where in a path the source begins: what lies above says nothing of participants. It is 0 for one file.
    """

    root: str
    files: list[str]
    archive: Path | str = ""
    start: int = 0


def list_source(source: str, cache: Path | None = None, on_progress: Callable[[int], None] | None = None) -> Listing:
    """All files below a folder, in an archive, matching a glob, or the one file; sorted. Hidden ones are left out.

    A zip archive is a folder of its own, ``zip://PATTERN::ARCHIVE`` a glob in it. UK Biobank's bulk archives are
    files, which hold one image each.

    Raises
    ------
    IndexingError
        A folder may not be read.
    ImageError
        remote: a URL does not answer, or what fetches it is not installed; or an archive cannot be read.
    """
    if _is_other_archive(source):
        source = f"zip://*::{source}"
    if is_url(source):
        path, member = located(source)
        if member:
            return Listing("", _plain(sorted(fnmatch.filter(list_members(path), member)), member), path)
        if is_url(path):
            return _list_url(str(path))
        source = str(path)
    if os.path.isdir(source):
        root = os.path.abspath(source)
        return Listing(root, list_files(Path(source), cache, on_progress), start=start_of(root))
    matches = (os.path.abspath(match) for match in glob.glob(source, recursive=True))
    files = sorted(match for match in matches if os.path.isfile(match))
    return Listing("", files, start=_start_of_glob(os.path.abspath(source), "*?["))


def start_of(folder: str) -> int:
    """Where in a path below a folder participants begin: at the folder's end, or at the participant whom it is of.

    Examples
    --------
    >>> start_of("/x/sub-study/ds"), start_of("/x/ds/sub-01/ses-2/anat"), start_of("/")
    (15, 5, 0)
    """
    folder = folder.rstrip("/")
    match = _OF_ONE.search(folder)
    return match.start() if match else len(folder)


def _start_of_glob(pattern: str, wild: str) -> int:
    fixed = re.split(f"[{re.escape(wild)}]", pattern, maxsplit=1)[0]
    return 0 if fixed == pattern else start_of(fixed.rpartition("/")[0])


def _plain(names: list[str], pattern: str) -> list[str]:
    """Names without hidden ones, in the folders that a source stands for, unless its pattern asks for them."""
    if any(part.startswith(".") for part in pattern.split("/")):
        return names
    return [name for name in names if not name.startswith(".") and "/." not in name]


def _is_other_archive(source: str) -> bool:
    plain = source.endswith(".zip") and not source.startswith("zip://") and not any(one in source for one in "*?[")
    return plain and not is_bulk_archive(source) and not os.path.isdir(source)


def _list_url(url: str) -> Listing:
    wild = any(letter in url for letter in _WILD)
    if not wild and (is_image(url) or is_bulk_archive(url)):
        return Listing("", [url])  # it is not asked for before it is opened
    with reach(url):
        fs, inside = filesystem(url)
        if wild:
            pattern = str(fs.unstrip_protocol(inside))
            found = sorted(fs.unstrip_protocol(one) for one in fs.glob(inside) if not one.endswith("/"))
            return Listing("", _plain(found, pattern), start=_start_of_glob(pattern, _WILD))
        found = sorted(fs.unstrip_protocol(one) for one in fs.find(inside) if not one.endswith("/"))
        root = str(fs.unstrip_protocol(inside)).rstrip("/")
        return Listing(root, _plain(found, root), start=start_of(root))


def is_there(path: str) -> bool:
    """Whether a file or URL is there."""
    if not is_url(path):
        return os.path.isfile(path)
    with reach(path):
        fs, inside = filesystem(path)
        return bool(fs.exists(inside))


def check_not_dicom(files: Sequence[str], source: str) -> None:
    """Refuse a source of DICOM files; of files whose names say nothing, a few are looked at.

    Raises
    ------
    IndexingError
    """
    named = [path for path in files if path.lower().endswith(_DICOM_SUFFIXES)]
    bare = [path for path in files if not _NAMED.search(path.rpartition("/")[2]) and not is_url(path)]
    some_ = bare[:: max(1, len(bare) // _LOOKED_INTO)][:_LOOKED_INTO]
    said = named or [path for path in some_ if _is_dicom(path)]
    if said:
        raise IndexingError(
            f"a source must hold NIfTI or FreeSurfer images; {source!r} holds DICOM, such as {shown(said[0])}; "
            f"convert it (dcm2niix -z y -o OUT {source}), and index what comes out"
        )


def is_dicom_name(path: str) -> bool:
    """Whether a file's name is one of DICOM.

    Examples
    --------
    >>> is_dicom_name("IM0001.dcm"), is_dicom_name("x/MR.1.2.3.IMA"), is_dicom_name("a.nii")
    (True, True, False)
    """
    return path.lower().endswith(_DICOM_SUFFIXES)


def _is_dicom(path: str) -> bool:
    """DICOM has four letters after a preamble of 128 bytes."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
