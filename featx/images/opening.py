"""The bytes of an image, wherever it is: a file, a member of a zip archive, a URL."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from featx.errors import ImageError, first_line


def read_bytes(path: Path | str, member: str = "") -> bytes:
    """Read a file, or one member of a zip archive, whole.

    Parameters
    ----------
    path : Path or str
        A text is a URL.
    member : str
        Name inside the archive; "" for the file itself.

    Raises
    ------
    ImageError
        missing-file, missing-member or unreadable.
    """
    if member:
        return _read_member(Path(path), member)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(
            "missing-file",
            f"an image must be a readable file; {path} is not ({error.strerror}); mend the path, or index again",
        ) from error


def _read_member(path: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except KeyError as error:
        raise ImageError(
            "missing-member", f"an archive must hold the image; {path} holds no {member}; index again"
        ) from error
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ImageError(
            "unreadable",
            f"an archive must be a whole zip file; {path} is not ({first_line(error)}); copy or download it again",
        ) from error
