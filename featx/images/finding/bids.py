"""Images with BIDS names: their entities, filters by them, and the preprocessed ones of fMRIPrep with their masks.

Where a dataset holds ``desc-preproc`` images (of fMRIPrep, sMRIPrep and their kin), those of the wished suffix (T1w
where nothing is wished) are taken, in MNI space where there are such and no space is wished; ``--entity space=none``
asks for those without the entity, which lie in the scanner's own space. The mask ``desc-brain_mask`` with the same
entities, if it is there, is applied when such an image is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from featx.errors import IndexingError, known
from featx.images.finding.naming import Found, make_image, some, stem
from featx.images.image import Image, shown
from featx.images.opening import is_url

# BIDS entities that tell images of one session apart; the filters take these, and "suffix".
ENTITIES = ("ses", "run", "acq", "rec", "ce", "echo", "part", "space", "res", "desc", "label", "from", "to")
ABSENT = "none"  # the value of a filter that asks for files without the entity
_ENTITY = re.compile(r"(?:^|_)([a-z]+)-([^_]+)")
_FOLDER = re.compile(r"(?:^|/)(sub|ses)-([^_/]+)(?=/)")
_PREPROCESSED = re.compile(r"_desc-preproc_[A-Za-z0-9]+\.nii(\.gz)?$")
MASK = "_desc-brain_mask.nii"


def entities(path: str | os.PathLike[str], start: int = 0) -> dict[str, str]:
    """BIDS entities of a file's name (and sub-, ses- of its folders, from `start` on), with its suffix.

    Examples
    --------
    >>> entities("sub-01/ses-2/anat/sub-01_ses-2_space-MNI_desc-brain_T1w.nii.gz")
    {'sub': '01', 'ses': '2', 'space': 'MNI', 'desc': 'brain', 'suffix': 'T1w'}
    """
    text = os.fspath(path)[start:]
    found = dict(_FOLDER.findall(text))
    name = stem(text)
    found.update(_ENTITY.findall(name))
    last = name.rpartition("_")[2]
    if "sub" in found and "-" not in last:
        found["suffix"] = last
    return found


def check_filters(filters: Mapping[str, str]) -> None:
    """Refuse filters that are no BIDS entities.

    Raises
    ------
    IndexingError
    """
    for entity in filters:
        if entity not in (*ENTITIES, "suffix"):
            raise IndexingError(f"a filter must be a BIDS entity; got {entity!r}; {known((*ENTITIES, 'suffix'))}")


def passing(paths: Sequence[str], filters: Mapping[str, str], start: int = 0) -> list[str]:
    """Paths whose entities (see `entities`) have the values of the filters.

    Examples
    --------
    >>> passing(["sub-1_ses-1_T1w.nii", "sub-1_ses-2_T1w.nii"], {"ses": "ses-2"})
    ['sub-1_ses-2_T1w.nii']
    """
    wanted = {entity: value.removeprefix(f"{entity}-") for entity, value in filters.items()}
    there = {entity: value for entity, value in wanted.items() if value != ABSENT}
    marks = [f"_{value}." if entity == "suffix" else f"{entity}-{value}" for entity, value in there.items()]
    kept = [path for path in paths if all(mark in path for mark in marks)]  # cheap, before they are taken apart
    return [path for path in kept if _passes(entities(path, start), wanted)] if wanted else kept


def _passes(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(found.get(entity, ABSENT) == value for entity, value in wanted.items())


def find_bids(
    paths: Sequence[str],
    filters: Mapping[str, str],
    is_there: Callable[[str], bool],
    *,
    choose: bool = True,
    own_ids: bool = False,
    start: int = 0,
) -> Found:
    """Images of paths that carry BIDS names.

    Parameters
    ----------
    paths : sequence of str
        All carry sub-, and pass the filters.
    filters : mapping of str to str
        What was wished, so that nothing else is chosen.
    is_there : callable
        Whether the file of a mask is there.
    choose : bool
        False takes all of them, also where some are preprocessed.
    own_ids : bool
        Ids are given afterwards: it does not matter whose folder a file lies in.
    start : int
        Where in a path its participant may stand; see `featx.images.finding.listing.Listing`.

    Raises
    ------
    IndexingError
        A file lies in the folder of another participant.
    """
    told: list[str] = []
    if choose:
        paths, told = choose_preprocessed(paths, filters, start)
    images = [_with_mask(_by_entities(path, start, own_ids=own_ids), path, is_there) for path in paths]
    masked = sum(bool(image.mask) for image in images)
    if masked:
        told.append(f"the brain masks of {masked} of {len(images)} images are applied when they are read")
    heads = [image for image in images if not image.mask and _PREPROCESSED.search(str(image.path))]
    if heads:
        told.append(
            f"{len(heads)} of {len(images)} images have no brain mask beside them: they are preprocessed heads, with "
            f"skull, such as {shown(heads[0].path)}"
        )
    return Found(images, told)


def choose_preprocessed(
    paths: Sequence[str], filters: Mapping[str, str], start: int = 0
) -> tuple[Sequence[str], list[str]]:
    """The images of one suffix that were preprocessed, in MNI space if there are such; all paths if none was.

    Examples
    --------
    >>> names = ["sub-1_desc-preproc_T1w.nii.gz", "sub-1_space-MNI152NLin6Asym_desc-preproc_T1w.nii.gz"]
    >>> choose_preprocessed([*names, "sub-1_dseg.nii.gz"], {})[0]
    ['sub-1_space-MNI152NLin6Asym_desc-preproc_T1w.nii.gz']
    >>> choose_preprocessed(names, {"space": "none"})[0] == names
    True
    """
    mark = f"_desc-preproc_{filters.get('suffix', 'T1w')}."
    done = [path for path in paths if mark in path]
    if not done or filters.get("desc", "preproc") != "preproc":
        return paths, []
    kept = done if "desc" in filters else [path for path in paths if mark in path or _is_scan(path, filters)]
    told = []
    in_space = [path for path in kept if "_space-MNI" in path]
    if "space" not in filters and in_space:
        lost = sorted(set.difference(*({_participant(path, start) for path in some_} for some_ in (kept, in_space))))
        if lost:
            told.append(f"{len(lost)} participants have no image in MNI space and are left aside: {some(lost)}")
        kept = in_space
    if len(kept) < len(paths):
        told.insert(
            0, f"of preprocessed images, {len(kept)} of {len(paths)} files are taken, such as {shown(kept[0])}"
        )
    return kept, told


def _participant(path: str, start: int) -> str:
    return f"sub-{entities(path, start)['sub']}"


def _is_scan(path: str, filters: Mapping[str, str]) -> bool:
    """Another image of the same suffix that is neither preprocessed nor a map or mask: two to choose from."""
    return f"_{filters.get('suffix', 'T1w')}." in path and "_desc-" in path


def _with_mask(image: Image, path: str, is_there: Callable[[str], bool]) -> Image:
    match = _PREPROCESSED.search(path)
    if not match:
        return image
    start = path[: match.start()] + MASK
    for mask in (start + (match[1] or ""), start + ("" if match[1] else ".gz")):
        if is_there(mask):
            return replace(image, mask=mask if is_url(mask) else os.path.normpath(mask))
    return image


def _by_entities(path: str, start: int, *, own_ids: bool) -> Image:
    found = entities(path, start)
    participant = f"sub-{found['sub']}"
    folders = [value for entity, value in _FOLDER.findall(path[start:]) if entity == "sub"]
    if folders and folders[-1] != found["sub"] and not own_ids:
        raise IndexingError(
            f"a file must lie in its own participant's folder; {shown(path)} is named {participant} and lies in "
            "another's; rename one of them"
        )
    session = f"ses-{found['ses']}" if "ses" in found else ""
    run = f"run-{found['run']}" if "run" in found else ""
    return make_image(path, participant, session, run)
