"""Folders of FSL's fsl_anat: <name>.anat/T1_biascorr_brain.nii.gz, or another image of each.

The brain without its skull exists in the person's own space alone (``T1_biascorr_brain``, bias-corrected): that one
is taken. The images on the MNI152 2 mm grid, ``T1_to_MNI_lin`` and ``T1_to_MNI_nonlin``, are heads with skull, and
the mask that lies with them is the dilated one of the template, which leaves skull inside; so they are taken only
where `--file` asks for them, and no mask is put on them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from featx.images.finding.bids import entities
from featx.images.finding.naming import Found, make_image, telling_names

DEFAULT = "T1_biascorr_brain.nii.gz"
_FOLDER = re.compile(r"^(.*?([^/]+)\.anat)/")


def is_in_anat(path: str) -> bool:
    """Whether a path lies in a folder of fsl_anat.

    Examples
    --------
    >>> is_in_anat("/study/S001.anat/T1_biascorr_brain.nii.gz"), is_in_anat("/study/sub-01/anat/sub-01_T1w.nii.gz")
    (True, False)
    """
    return ".anat/" in path and _FOLDER.match(path) is not None


def find_anat(paths: Sequence[str], file: str, start: int = 0) -> Found:
    """One image of each folder; ids from the folder's name, or, where all have the same, from the folders above.

    Parameters
    ----------
    paths : sequence of str
        Files in such folders.
    file : str
        "" for the brain; else `paths` are what was chosen already.
    start : int
        Where in a path its participant may stand.
    """
    matches = {path: match for path in paths if (match := _FOLDER.match(path))}
    folders = {match[1]: match[2] for match in matches.values()}
    if file:
        chosen = [(path, match[1]) for path, match in matches.items()]
    else:
        chosen = [(f"{folder}/{DEFAULT}", folder) for folder in folders]
    names = dict(zip(folders, telling_names(list(folders.values()), [f"{one}/" for one in folders]), strict=True))
    images = [make_image(path, *_ids(folder, names[folder], start)) for path, folder in chosen]
    return Found(images, [f"fsl_anat folders: {file or DEFAULT} of each"])


def _ids(folder: str, name: str, start: int) -> tuple[str, str, str]:
    found = entities(folder.removesuffix(".anat"), start)
    if "sub" not in found:
        return name, "", ""
    session, run = (f"{entity}-{found[entity]}" if entity in found else "" for entity in ("ses", "run"))
    return f"sub-{found['sub']}", session, run
