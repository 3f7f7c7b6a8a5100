"""Where a file lands: a place that can be written to, and bytes that stay there when the power goes."""

from __future__ import annotations

import os
from pathlib import Path

from featx.errors import StoreError


def check_writable(path: Path) -> None:
    """Refuse, before any work, a place where a file cannot be written.

    Raises
    ------
    StoreError
        It is a folder, or its nearest existing folder is none or may not be written to.
    """
    parent = path.absolute().parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        what = "is a folder" if path.is_dir() else f"cannot be made in {parent}"
        raise StoreError(f"an output must be a file that can be written; {path} {what}; choose another name")


def fsync(path: Path) -> None:
    """Have the disk keep a file, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
