"""Which kind of source a list of paths is: a word for each, decided from the paths alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from featx.images.finding.freesurfer import is_subject_volume, subject_folder
from featx.images.finding.fslanat import is_in_anat
from featx.images.finding.ukbiobank import is_bulk
from featx.images.image import shown

UKB, FREESURFER, FSL_ANAT, BIDS, PLAIN = "ukb", "freesurfer", "fsl-anat", "bids", "plain"
KINDS = {
    UKB: "UK Biobank's bulk files",
    FREESURFER: "volumes of FreeSurfer subjects",
    FSL_ANAT: "files of fsl_anat",
    BIDS: "files that carry sub-",
    PLAIN: "files that do not carry sub-",
}
_SUB = re.compile(r"(?:^|/)sub-[^_/]+/|(?:^|[/_])sub-[^_/]+[^/]*$")
_BESIDE = re.compile(r"(?:^|/)((?:derivatives|sourcedata)(?:/[^/]+)?)(?=/)")


def kind_of(path: str, start: int = 0) -> str:
    """The kind of one file; a participant's label counts from `start` on.

    Examples
    --------
    >>> kind_of("/ukb/1000012_20252_2_0.zip"), kind_of("/subjects/sub-01/mri/brain.mgz")
    ('ukb', 'freesurfer')
    >>> kind_of("/out/S1.anat/T1.nii.gz"), kind_of("/bids/sub-01/anat/sub-01_T1w.nii.gz"), kind_of("/a/b.nii")
    ('fsl-anat', 'bids', 'plain')
    """
    if is_bulk(path):
        return UKB
    if is_subject_volume(path):
        return FREESURFER
    if is_in_anat(path):
        return FSL_ANAT
    return BIDS if "sub-" in path and _SUB.search(path, start) else PLAIN


def sort_by_kind(paths: Sequence[str], start: int = 0) -> dict[str, list[str]]:
    """Paths by their kind, in order. What else lies in the folder of a FreeSurfer subject belongs to it.

    Examples
    --------
    >>> sort_by_kind(["/s/bert/mri/brain.mgz", "/s/bert/surf/lh.area.mgh", "/s/x.nii"])
    {'freesurfer': ['/s/bert/mri/brain.mgz', '/s/bert/surf/lh.area.mgh'], 'plain': ['/s/x.nii']}
    """
    sorted_: dict[str, list[str]] = {}
    for path in paths:
        sorted_.setdefault(kind_of(path, start), []).append(path)
    if FREESURFER not in sorted_ or not {BIDS, PLAIN} & set(sorted_):
        return sorted_
    subjects = {subject_folder(path) for path in sorted_[FREESURFER]}
    for kind in (BIDS, PLAIN):
        for path in sorted_.pop(kind, []):
            inside = any(path[:at] in subjects for at, letter in enumerate(path) if letter == "/")
            sorted_.setdefault(FREESURFER if inside else kind, []).append(path)
    return sorted_


def split_beside(paths: Sequence[str], root: str) -> tuple[Sequence[str], dict[str, int]]:
    """Without the datasets that lie inside another, below derivatives/ or sourcedata/, and what each holds.

    Where the source is nothing but such datasets, all paths are kept.

    Examples
    --------
    >>> paths = ["/d/sub-1/anat/sub-1_T1w.nii", "/d/derivatives/fmriprep/sub-1/anat/sub-1_T1w.nii"]
    >>> split_beside(paths, "/d")
    (['/d/sub-1/anat/sub-1_T1w.nii'], {'derivatives/fmriprep': 1})
    >>> split_beside(paths[1:], "/d") == (paths[1:], {})
    True
    """
    start = len(root)
    if not any("/derivatives/" in path[start:] or "/sourcedata/" in path[start:] for path in paths):
        return paths, {}
    own: list[str] = []
    beside: dict[str, int] = {}
    for path in paths:
        match = _BESIDE.search(path, start)
        if match:
            beside[match[1]] = beside.get(match[1], 0) + 1
        else:
            own.append(path)
    return (own, beside) if own else (paths, {})


def mixture(sorted_: Mapping[str, Sequence[str]], source: str) -> str:
    """Why images of several kinds are not indexed together, as a sentence.

    Examples
    --------
    >>> mixture({"bids": ["/d/sub-1_T1w.nii"], "plain": ["/d/a.nii"]}, "/d")[:66]
    "all images of a source must be named alike; in '/d' there are 1 fi"
    """
    there = [f"{len(paths)} {KINDS[kind]} (such as {shown(paths[0])})" for kind, paths in sorted_.items()]
    own = " or give --id-pattern," if set(sorted_) == {BIDS, PLAIN} else ""
    return (
        f"all images of a source must be named alike; in {source!r} there are {' and '.join(there)}; narrow the "
        f"source to one folder or by a glob,{own} or choose by name with --file or a filter"
    )
