"""Patterns of file names: which file of a folder or archive is meant (`--file`)."""

from __future__ import annotations

import re
from collections.abc import Callable

_WILD = re.compile(r"[*?]")


def is_pattern(file: str) -> bool:
    """Whether a name has wildcards.

    Examples
    --------
    >>> is_pattern("T1/T1_brain_linear*.nii.gz"), is_pattern("mri/norm.mgz")
    (True, False)
    """
    return bool(_WILD.search(file))


def ends_with(file: str) -> Callable[[str], bool]:
    """A test whether a path ends with this name; ``*`` and ``?`` stand for what holds no "/".

    Examples
    --------
    >>> chosen = ends_with("mri/n*.mgz")
    >>> chosen("/subjects/bert/mri/norm.mgz"), chosen("mri/nu.mgz"), chosen("/bert/mri/norm.mgz.gz")
    (True, True, False)
    >>> ends_with("norm.mgz")("/bert/mri/old_norm.mgz")
    False
    """
    wild = {"*": "[^/]*", "?": "[^/]"}
    text = "".join(wild.get(letter) or re.escape(letter) for letter in file)
    search = re.compile(rf"(?:^|/){text}$").search
    if is_pattern(file):
        return lambda path: search(path) is not None
    tail = "/" + file
    return lambda path: path.endswith(tail) or path == file
