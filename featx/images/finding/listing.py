"""The files of a source: of a folder, a glob, one file, or the same behind a URL."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from featx.errors import IndexingError
from featx.images.finding.naming import is_image
from featx.images.finding.ukbiobank import is_bulk_archive
from featx.images.finding.walk import list_files
from featx.images.opening import filesystem, is_url, list_members, located, reach

_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom", "dicomdir")
_LOOKED_INTO = 5  # files without a suffix
_WILD = "*["  # a ? in a URL is the start of a query, mostly


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
    """

    root: str
    files: list[str]
    archive: Path | str = ""


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
            return Listing("", sorted(fnmatch.filter(list_members(path), member)), path)
        if is_url(path):
            return _list_url(str(path))
        source = str(path)
    if os.path.isdir(source):
        return Listing(os.path.abspath(source), list_files(Path(source), cache, on_progress))
    matches = (os.path.abspath(match) for match in glob.glob(source, recursive=True))
    return Listing("", sorted(match for match in matches if os.path.isfile(match)))


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
            return Listing("", sorted(fs.unstrip_protocol(one) for one in fs.glob(inside) if not one.endswith("/")))
        found = sorted(fs.unstrip_protocol(one) for one in fs.find(inside) if not one.endswith("/"))
        return Listing(str(fs.unstrip_protocol(inside)).rstrip("/"), found)


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
    bare = [path for path in files if "." not in path.rpartition("/")[2] and not is_url(path)]
    said = named or [path for path in bare[:_LOOKED_INTO] if _is_dicom(path)]
    if said:
        raise IndexingError(
            f"a source must hold NIfTI or FreeSurfer images; {source!r} holds DICOM, such as {said[0]}; convert it "
            f"(dcm2niix -z y -o OUT {source}), and index what comes out"
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
