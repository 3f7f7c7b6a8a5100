"""UK Biobank's bulk files: zip archives that are read in place, and the folders they become when they are unpacked.

``1000012_20252_2_0.zip`` is participant 1000012, field 20252, instance (imaging visit) 2, array index 0. Field 20252
holds T1 images as UK Biobank's pipeline made them [1]_, among them ``T1/T1_brain_to_MNI.nii.gz``: the brain, warped
non-linearly to MNI152 1 mm. Networks that were trained on linear registration may want
``T1/T1_brain_linear_to_MNI.nii.gz`` where a release has it, or ``T1/T1_unbiased_brain.nii.gz`` registered anew.
Field 20263 holds FreeSurfer's folder of a subject.

All images of an index are the same member: of a few archives it is seen which of the preferred ones they hold, and
an archive without it keeps its row and fails by itself. So 40,000 archives are not opened to be found, and two
registrations do not mix unseen.

.. [1] Alfaro-Almagro et al. (2018), Image processing and Quality Control for the first 10,000 brain imaging datasets
   from UK Biobank, NeuroImage 166.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from featx.errors import ImageError, IndexingError, known
from featx.images.finding.naming import Found, is_image, make_image, some
from featx.images.finding.patterns import ends_with
from featx.images.opening import list_members

_BULK = re.compile(r"(?:^|/)(\d{7})[_/](\d{4,6})_(\d{1,2})_(\d{1,3})(?=/|\.zip$)")
# By field, the preferred first; as patterns of `--file`.
PREFERRED = {
    "20252": ("T1/T1_brain_to_MNI.nii.gz", "T1/T1_brain_linear*MNI*.nii.gz"),
    "20253": ("T2_FLAIR/T2_FLAIR_brain_to_MNI.nii.gz",),
    "20263": ("FreeSurfer/mri/brain.mgz", "mri/brain.mgz"),
}
LOOKED_INTO = 16  # archives, spread over all of them
DICOM_FIELD = {"20216": "20252", "20220": "20253"}  # as the scanner gave it: as NIfTI


def is_bulk(path: str) -> bool:
    """Whether a path is that of a bulk archive, or of a file in one that was unpacked.

    Examples
    --------
    >>> is_bulk("/ukb/1000012_20252_2_0.zip"), is_bulk("/ukb/1000012_20252_2_0/T1/T1.nii.gz"), is_bulk("/a/T1.nii")
    (True, True, False)
    """
    return _BULK.search(path) is not None


def is_bulk_archive(path: str) -> bool:
    """Whether a path is that of a bulk archive.

    Examples
    --------
    >>> is_bulk_archive("/ukb/1000012_20252_2_0.zip"), is_bulk_archive("/ukb/other.zip")
    (True, False)
    """
    return path.endswith(".zip") and is_bulk(path)


def find_bulk(
    paths: Sequence[str], file: str, source: str, members_of: Callable[[str], list[str]] = list_members
) -> Found:
    """One image of each archive or unpacked folder.

    Parameters
    ----------
    paths : sequence of str
        Archives, and files of those that were unpacked.
    file : str
        Which member, as a pattern; "" for the preferred of the field.
    source : str
        For sentences.
    members_of : callable
        Names of the files in an archive; `ImageError` where it cannot be read.

    Raises
    ------
    IndexingError
        Several fields at once; a field without a preferred file; DICOM; no such file, or several.
    """
    bulk = {path: match for path in paths if (match := _BULK.search(path))}
    field = _one_field(Counter({match.group(): match[2] for match in bulk.values()}.values()), source)
    archives = [path for path in bulk if path.endswith(".zip")]
    below: dict[str, list[str]] = {}
    for path, match in bulk.items():
        if not path.endswith(".zip"):
            below.setdefault(path[: match.end()], []).append(path)
    member = _member(archives, below, file, field, members_of)
    chosen = [(path, member) for path in archives] + [(f"{folder}/{member}", "") for folder in below]
    images = []
    for path, inside in chosen:
        match = _BULK.search(path)
        if match:
            eid, _, instance, array = match.groups()
            images.append(make_image(path, eid, f"ses-{instance}", _run(array), member=inside))
    return Found(images, [f"UK Biobank bulk files of field {field}: {member} of each"])


def _run(array: str) -> str:
    return "" if array == "0" else f"run-{array}"


def _one_field(fields: Counter[str], source: str) -> str:
    if len(fields) == 1:
        return next(iter(fields))
    counts = ", ".join(f"{field} ({count})" for field, count in sorted(fields.items()))
    first = min(fields, key=lambda field: (field not in PREFERRED, field))
    raise IndexingError(
        f"UK Biobank's bulk files must be of one field; {source!r} holds the fields {counts}; narrow it by a glob "
        f"such as '{source.rstrip('/')}/**/*_{first}_*.zip'"
    )


def _member(
    archives: Sequence[str],
    below: dict[str, list[str]],
    file: str,
    field: str,
    members_of: Callable[[str], list[str]],
) -> str:
    """The name inside every archive and folder that is taken of all of them."""
    if not file and field not in PREFERRED:
        advice = DICOM_FIELD.get(field, "")
        raise IndexingError(
            f"a bulk field must be one of images that are known; got {field}; {known(PREFERRED)}; "
            + (f"take field {advice}, the same images as NIfTI" if advice else "choose a file with --file")
        )
    patterns = (file,) if file else PREFERRED[field]
    seen: set[str] = set()
    for names in _looks(archives, below, members_of, everywhere=bool(file)):
        seen.update(names)
        if file and any(map(ends_with(file), names)):
            break
    for pattern in patterns:
        hits = sorted(name for name in filter(ends_with(pattern), seen) if is_image(name))
        if len(hits) > 1:
            raise IndexingError(
                f"a file must be one of each archive; {pattern!r} stands for {some(hits)}; write more of its path"
            )
        if hits:
            return hits[0]
    if file:
        there = sorted(filter(is_image, seen))
        raise IndexingError(
            f"an archive must hold the file that is asked for; none of those looked into holds {file!r}; "
            + (f"there are {some(there, 12)}" if there else "they hold no images")
        )
    return patterns[0]  # every archive says for itself that it lacks it


def _looks(
    archives: Sequence[str],
    below: dict[str, list[str]],
    members_of: Callable[[str], list[str]],
    *,
    everywhere: bool,
) -> Iterator[list[str]]:
    """Names in some archives and in all folders, which are listed already."""
    for folder, paths in below.items():
        yield [path[len(folder) + 1 :] for path in paths]
    step = 1 if everywhere else max(1, len(archives) // LOOKED_INTO)
    for path in archives[::step]:
        with contextlib.suppress(ImageError):  # it keeps its row, and says so when it is read
            yield members_of(path)
