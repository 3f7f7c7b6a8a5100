"""The bytes of an image, wherever it is: a file, a member of a zip archive, a URL. The only place that opens them.

An archive is read in place: its list of files is at its end, so that one member costs two reads, also from a server.
Nothing is unpacked, so that no name in an archive can reach a path. URLs are opened by fsspec (extra ``remote``),
of the few protocols in `REMOTE`, none of which can start a command here. ``zip://MEMBER::ARCHIVE`` is the same as an
archive with a member, and ``file://`` the same as a path.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import lzma
import re
import struct
import sys
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from featx.errors import DependencyError, ImageError, first_line, known
from featx.images.image import Image, shown, where

REMOTE = ("abfs", "abfss", "az", "ftp", "gcs", "gs", "http", "https", "memory", "s3", "s3a")
QUERIED = ("http", "https")  # what follows a ? is no part of the name
MOST_MEMBER_BYTES = 4 << 30
SILENCE_S = 60.0  # of a web server, before it is given up
_BLOCK_BYTES = 4 << 20  # asked for at once of a remote archive
_TAIL_BYTES = 1 << 16  # at its end
# What fsspec lets through of the packages below it, by module; they are looked up where they were imported.
_FOREIGN = {
    "aiohttp": ("ClientError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "azure.core.exceptions": ("AzureError",),
}
# A name that is no text, a number beyond the file, an unknown method: the list of a damaged archive may say anything.
_BAD_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
    OverflowError,
    struct.error,
)
_URL = re.compile(r"[a-z][a-z0-9+.]*://[^\s'\"<>]+", re.IGNORECASE)


# --- names ----------------------------------------------------------------------------------------------------


def is_url(path: Path | str) -> bool:
    """Whether a path is a URL.

    Examples
    --------
    >>> is_url("s3://bucket/a.nii.gz"), is_url("/data/a.nii.gz")
    (True, False)
    """
    return "://" in str(path)


def file_name(path: Path | str, member: str = "") -> str:
    """The name of the file itself: the last part of its path, without what a web address asks after it.

    Examples
    --------
    >>> file_name("https://host/a/T1.nii.gz?version=3"), file_name("1000012_20252_2_0.zip", "T1/T1.nii.gz")
    ('T1.nii.gz', 'T1.nii.gz')
    """
    text = member or str(path)
    if not member and text.partition("://")[0] in QUERIED:
        text = urllib.parse.urlsplit(text).path
    return text.rpartition("/")[2]


def located(text: str) -> tuple[Path | str, str]:
    """A path or URL as a table or a call gives it, taken apart: the file or archive, and the member.

    Raises
    ------
    ImageError
        remote: a chain of anything but one zip archive, or a protocol that is not in `REMOTE`.

    Examples
    --------
    >>> located("zip://T1/T1.nii.gz::https://host/1.zip")
    ('https://host/1.zip', 'T1/T1.nii.gz')
    >>> located("file:///data/a.nii")
    (PosixPath('/data/a.nii'), '')
    """
    member = ""
    if not is_url(text):
        return Path(text), member
    if text.startswith("zip://"):
        member, _, text = text.removeprefix("zip://").partition("::")
    if not text or "::" in text or text.startswith("zip://"):
        raise ImageError(
            "remote",
            "a chain of URLs must be zip://MEMBER::ARCHIVE; got "
            f"{'zip://' + member + '::' if member else ''}{shown(text)}; unpack what is packed twice, and name the "
            "archive after '::'",
        )
    if text.startswith("file://"):
        return Path(text.removeprefix("file://")), member
    if not is_url(text):
        return Path(text), member
    _check_protocol(text)
    return text, member


def _check_protocol(url: str) -> None:
    protocol = url.partition("://")[0]
    if protocol not in REMOTE or "::" in url:
        raise ImageError(
            "remote",
            f"a URL must be of a protocol that only fetches; got {shown(url)}; {known(REMOTE)}, and file and zip; "
            "copy the file to one of them",
        )


# --- bytes ----------------------------------------------------------------------------------------------------


def read_bytes(path: Path | str, member: str = "") -> bytes:
    """Read a file, or one member of a zip archive, whole.

    Parameters
    ----------
    path : Path or str
        A text with :// is a URL.
    member : str
        Name inside the archive; "" for the file itself.

    Raises
    ------
    ImageError
        missing-file, missing-member, unreadable, remote, or out-of-memory: a member that announces more than
        `MOST_MEMBER_BYTES`.
    """
    if member:
        with _opened(path) as file, _archive(file, path) as archive:
            return archive.read(_entry(archive, path, member))
    if is_url(path):
        return _fetch(str(path))
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _missing(path, error) from error


def list_members(path: Path | str) -> list[str]:
    """Names of the files in a zip archive, in its order; only its list is read.

    Raises
    ------
    ImageError
        missing-file, unreadable or remote.
    """
    with _opened(path) as file, _archive(file, path) as archive:
        return [entry.filename for entry in archive.infolist() if not entry.is_dir()]


def checksum(path: Path | str, member: str) -> tuple[int, int]:
    """Checksum (CRC-32) and size in bytes of a member, as the archive's list says; it is not read.

    Raises
    ------
    ImageError
        As `read_bytes`.
    """
    with _opened(path) as file, _archive(file, path) as archive:
        entry = _entry(archive, path, member)
        return entry.CRC, entry.file_size


def check_openable(image: Image) -> None:
    """Refuse an image whose file, member or mask is not there or is empty, without reading it whole.

    Of a URL only its size is asked for, of an archive its list of files is read.

    Raises
    ------
    ImageError
        missing-file, missing-member, unreadable, remote or out-of-memory.
    """
    if image.member:
        with _opened(image.path) as file, _archive(file, image.path) as archive:
            if _entry(archive, image.path, image.member).file_size == 0:
                raise _empty(where(image))
    else:
        _check_file(image.path)
    if image.mask:
        _check_file(image.mask)


def _check_file(path: Path | str) -> None:
    if is_url(path):
        with reach(str(path)):
            fs, inside = filesystem(str(path))
            if fs.info(inside)["size"] == 0:  # None where a server does not say
                raise _empty(path)
        return
    try:
        with Path(path).open("rb") as file:
            if not file.read(1):
                raise _empty(path)
    except OSError as error:
        raise _missing(path, error) from error


def _missing(path: Path | str, error: OSError) -> ImageError:
    return ImageError(
        "missing-file",
        f"an image must be a readable file; {shown(path)} is not ({error.strerror}); mend the path, or index again",
    )


def _empty(what: Path | str) -> ImageError:
    return ImageError(
        "truncated", f"an image must hold data; {shown(what)} is empty; copy or download it again, or leave it out"
    )


# --- archives -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _archive(file: BinaryIO, path: Path | str) -> Iterator[zipfile.ZipFile]:
    """An archive whose faults become sentences, also while it is read."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except ImageError:  # a ValueError too
        raise
    except _BAD_ARCHIVE as error:
        raise ImageError(
            "unreadable",
            f"an archive must be a whole zip file; {shown(path)} is not ({first_line(error)}); copy or download it "
            "again",
        ) from error


def _entry(archive: zipfile.ZipFile, path: Path | str, member: str) -> zipfile.ZipInfo:
    """The one entry of that name, if it can be read within bounds."""
    entries = [entry for entry in archive.infolist() if entry.filename == member]
    if not entries:
        raise ImageError(
            "missing-member", f"an archive must hold the image; {shown(path)} holds no {member}; index again"
        )
    if len({(entry.CRC, entry.file_size) for entry in entries}) > 1:
        raise ImageError(
            "unreadable",
            f"a name must stand for one file of an archive; {shown(path)} holds {len(entries)} that differ under "
            f"{member}; unpack it and choose one",
        )
    if entries[0].flag_bits & 1:
        raise ImageError(
            "unreadable",
            f"an archive must not be encrypted; {member} in {shown(path)} is; unpack it with its password, and index "
            "the files",
        )
    if entries[0].file_size > MOST_MEMBER_BYTES:
        raise ImageError(
            "out-of-memory",
            f"a file in an archive must have at most {MOST_MEMBER_BYTES >> 30} GiB; {member} in {shown(path)} "
            f"announces {entries[0].file_size / 2**30:.1f} GiB; if that is wrong, the archive is damaged",
        )
    return entries[0]


@contextlib.contextmanager
def _opened(path: Path | str) -> Iterator[BinaryIO]:
    """A file that can be read anywhere in it; of a server that sends only whole files, its copy in memory."""
    if is_url(path):
        with reach(str(path)):
            fs, inside = filesystem(str(path))
            try:
                file = fs.open(inside, "rb", block_size=_BLOCK_BYTES)
                file.seek(max(0, file.seek(0, io.SEEK_END) - _TAIL_BYTES))
                file.read()  # and keep it, for the list of files is there
            except ValueError:  # how fsspec says that a server knows no ranges, or no size
                file = io.BytesIO(fs.cat_file(inside))
            with file:
                yield file
        return
    with contextlib.ExitStack() as stack:
        try:
            local = stack.enter_context(Path(path).open("rb"))
        except OSError as error:
            raise _missing(path, error) from error
        try:
            yield local
        except OSError as error:
            raise ImageError(
                "unreadable",
                f"an archive must be readable to its end; {shown(path)} is not ({first_line(error)}); look at the "
                "disk, or copy it again",
            ) from error


# --- URLs -----------------------------------------------------------------------------------------------------


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises
    ------
    ImageError
        remote: a protocol that is not in `REMOTE`.
    DependencyError
        fsspec, or what it needs for this protocol, is not installed.
    """
    _check_protocol(url)
    try:
        from fsspec.core import url_to_fs

        fs, inside = url_to_fs(url, **_wishes(url))
    except ImportError as error:
        raise DependencyError(
            f"a URL must have the packages that fetch it; for {shown(url)} one is not installed "
            f"({first_line(error)}); pip install 'featx[remote]', or copy the file here"
        ) from error
    return fs, inside


def _wishes(url: str) -> dict[str, Any]:
    """A silent server is given up; those of stores in the cloud have such a limit of their own."""
    if url.partition("://")[0] not in QUERIED:
        return {}
    silence = importlib.import_module("aiohttp").ClientTimeout(
        total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S
    )
    return {"client_kwargs": {"timeout": silence}}


def _fetch(url: str) -> bytes:
    with reach(url):
        fs, inside = filesystem(url)
        data: bytes = fs.cat_file(inside)
        return data


@contextlib.contextmanager
def reach(url: str) -> Iterator[None]:
    """What goes wrong on the way to a URL while this is open becomes an `ImageError` with the code remote."""
    try:
        yield
    except ImageError:
        raise
    except DependencyError as error:
        raise ImageError("remote", str(error)) from error
    except _foreign_errors() as error:
        missing = isinstance(error, FileNotFoundError) and error.__cause__ is None
        said = "not found" if missing else _without_secrets(first_line(error.__cause__ or error), url)
        raise ImageError(
            "remote",
            f"a remote file must be there and be let through; {shown(url)} is not ({said}); mend the URL, the access "
            "to it or the network, and run again",
        ) from error


def _without_secrets(text: str, url: str) -> str:
    """What another library says of a URL, which it may quote."""
    return _URL.sub(lambda match: shown(match[0]), text.replace(url, shown(url)))


def _foreign_errors() -> tuple[type[BaseException], ...]:
    there = [(sys.modules[name], kinds) for name, kinds in _FOREIGN.items() if name in sys.modules]
    return OSError, *(getattr(module, kind) for module, kinds in there for kind in kinds)
