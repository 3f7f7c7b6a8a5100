"""What is to be prepared, how it is named, and what is done already."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from featx import schema
from featx.errors import IndexingError, NetworkError, known
from featx.featureset import digest
from featx.images.finding.bids import entities
from featx.images.finding.listing import is_there
from featx.images.finding.naming import Found, join_id, some
from featx.images.image import Image
from featx.images.index import find_images
from featx.images.opening import file_name, is_url
from featx.images.volume import MNI152_1MM, MNI152_2MM

# nilearn's and so featx's template is ICBM 2009a, nonlinear, symmetric, on the grid of FSL's MNI152.
SPACE = "MNI152NLin2009aSym"
GRIDS = {"1mm": MNI152_1MM, "2mm": MNI152_2MM}
DOFS = (6, 7, 12)
INPUTS = ("auto", "head", "brain")
BRAIN, SIDECAR = "desc-brain_T1w.nii.gz", "desc-brain_T1w.json"
METHOD = 1  # counts up when the same settings give another brain


@dataclass(frozen=True)
class Settings:
    """What is wanted of every image.

    Attributes
    ----------
    grid : str
        A key of `GRIDS`.
    dof : int
        Degrees of freedom of the registration: 6, 7 or 12.
    input : str
        What images show: "head", "brain" (skull-stripped), or "auto" to judge each.
    accept : tuple of str
        Codes of misfits of the result that are let through; no part of the key, for they change no brain.
    """

    grid: str = "2mm"
    dof: int = 12
    input: str = "auto"
    accept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One image, where its brain goes, and the digest of how it is made.

    Attributes
    ----------
    image : Image
    output : Path
        The derivative's folder.
    stem : Path
        The output without what tells files apart: OUT/sub-01/anat/sub-01_space-..._res-2.
    key : str
        Digest of settings and source.
    """

    image: Image
    output: Path
    stem: Path
    key: str


def check_settings(settings: Settings) -> None:
    """Refuse settings that are not known.

    Raises
    ------
    NetworkError
        An unknown grid, number of degrees of freedom, or kind of input.
    """
    for word, value, there in (
        ("--grid", settings.grid, tuple(GRIDS)),
        ("--dof", str(settings.dof), tuple(map(str, DOFS))),
        ("--input", settings.input, INPUTS),
    ):
        if value not in there:
            raise NetworkError(f"{word} must be one that featx prepares; got {value!r}; {known(there)}")


def find_heads(source: str, output: Path, suffix: str) -> Found:
    """Images of a source that are T1-weighted, as far as their BIDS suffixes say.

    Parameters
    ----------
    source : str
        As for `featx.images.index.find_images`.
    output : Path
        The derivative's folder, which must not be found again as a source.
    suffix : str
        What T1-weighted images are called; "" for images of any suffix. Names without one are taken as they are.

    Raises
    ------
    IndexingError
        The output lies in the source, images carry only other suffixes, or what `find_images` raises.
    """
    check_apart(source, output)
    if not suffix or source.endswith((".csv", ".tsv")):
        found = find_images(source)
    else:
        try:
            return _with_left_aside(find_images(source, filters={"suffix": suffix}), suffix)
        except IndexingError:
            found = find_images(source)  # names that carry no suffix, or what is wrong with them
    others = [image for image in found.images if _suffix(image) not in ("", suffix)]
    if suffix and others:
        there = sorted({_suffix(image) for image in others})
        raise IndexingError(
            f"images that are prepared must be T1-weighted, named {suffix}; {len(others)} of {source!r} are named "
            f"{some(there, 5)}, such as {others[0].image_id}; leave them out, or say --suffix if they are T1-weighted"
        )
    return found


def check_apart(source: str, output: Path) -> None:
    """Refuse an output that the next call would find among its own images.

    Datasets in derivatives/ and sourcedata/ of the source are left aside when it is listed.

    Raises
    ------
    IndexingError
    """
    if is_url(source) or not (os.path.isdir(source) or "**" in source):
        return
    root = os.path.abspath(source.partition("**")[0] or ".")
    inside = os.path.relpath(os.path.abspath(output), root).split(os.sep)
    aside = os.path.isdir(source) and {"derivatives", "sourcedata"} & set(inside[:-1])
    if inside[0] != os.pardir and not aside:
        raise IndexingError(
            f"an output must lie outside what it is made of, or in derivatives/ of that folder; {output} lies in "
            f"{source!r}, where it would be found as images the next time; name another -o"
        )


def _suffix(image: Image) -> str:
    return entities(file_name(image.path, image.member)).get("suffix", "")


def _with_left_aside(found: Found, suffix: str) -> Found:
    """With a sentence on people who have images, but none of the suffix."""
    everybody = {entities(path).get("sub", "") for path in found.files if file_name(path).startswith("sub-")} - {""}
    lost = sorted(everybody - {image.participant_id.removeprefix("sub-") for image in found.images})
    more = [f"{len(lost)} participants have no {suffix} image: {some(lost)}"] if lost else []
    return replace(found, told=[*found.told, *more])


def with_masks(images: Sequence[Image], suffix: str) -> list[Image]:
    """Images with the masks that lie beside them, named as they are but for their end.

    Parameters
    ----------
    images : sequence of Image
    suffix : str
        What stands in the place of the image's last part, such as "desc-brain_mask.nii.gz" for
        "sub-01_T1w.nii.gz"; "" leaves masks as the table gives them.

    Raises
    ------
    IndexingError
        A mask is not there.
    """
    if not suffix:
        return list(images)
    found = []
    for image in images:
        name = file_name(image.path)
        mask = str(image.path).rpartition(name)[0] + f"{name.rsplit('_', 1)[0]}_{suffix.removeprefix('_')}"
        if image.member or not is_there(mask):
            raise IndexingError(
                f"--mask-suffix must name a file beside every image; {mask} of {image.image_id} is not there; mend "
                "the suffix, or give masks in the column mask of a table"
            )
        found.append(replace(image, mask=mask))
    return found


def plan_tasks(images: Sequence[Image], output: Path, settings: Settings) -> list[Task]:
    """Name the outputs of all images.

    Raises
    ------
    IndexingError
        Two images would be written to one file, or an id has no letter or digit that a BIDS name may hold.
    """
    tasks = [Task(image, output, _stem(image, output, settings), _key(image, settings)) for image in images]
    owners: dict[Path, str] = {}
    for task in tasks:
        other = owners.setdefault(task.stem, task.image.image_id)
        if other != task.image.image_id:
            raise IndexingError(
                f"every image must have a BIDS name of its own; {other!r} and {task.image.image_id!r} would both be "
                f"{task.stem.name}; give them ids that differ in letters or digits"
            )
    return tasks


def file_of(task: Task, what: str) -> Path:
    """Where a part of the derivative lies.

    Parameters
    ----------
    task : Task
    what : str
        Such as "desc-brain_T1w.nii.gz".
    """
    return task.stem.with_name(f"{task.stem.name}_{what}")


def read_done(task: Task) -> dict[str, str] | None:
    """The row of `featx.schema.PREPARED` of a brain that is prepared as the task wants; None where it is not."""
    facts = read_sidecar(file_of(task, SIDECAR))
    return row_of(facts, file_of(task, BRAIN)) if facts.get("Key") == task.key else None


def read_sidecar(path: Path) -> dict[str, Any]:
    """What featx noted of a brain; empty where there is no sidecar, or one that is cut short or not ours."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))["Featx"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def row_of(facts: Mapping[str, Any], brain: Path) -> dict[str, str] | None:
    """The row that a sidecar holds, if its brain is there.

    The brain gets its name last, so that its being there, with the size that was noted, means that all is there.
    """
    row = facts.get("Row")
    if not isinstance(row, dict) or set(row) != set(schema.names(schema.PREPARED)):
        return None
    try:
        size = brain.stat().st_size
    except OSError:
        return None
    if size != facts.get("BrainBytes"):
        return None
    return {name: str(value) for name, value in row.items()} | {"path": os.path.abspath(brain)}


def is_named_alike(row: Mapping[str, str]) -> bool:
    """Whether `featx index` of the derivative gives an image the id that it has in the table.

    Examples
    --------
    >>> one = {"image_id": "OAS1_0001", "participant_id": "OAS1_0001", "session_id": "", "run": ""}
    >>> is_named_alike(one), is_named_alike(one | {"image_id": "sub-1", "participant_id": "sub-1"})
    (False, True)
    """
    ids = (row[schema.PARTICIPANT_ID], row[schema.SESSION_ID], row["run"])
    return _named(*ids) == ids and row[schema.IMAGE_ID] == join_id(*ids)


def _stem(image: Image, output: Path, settings: Settings) -> Path:
    participant, session, run = _named(image.participant_id, image.session_id, image.run)
    for got, name in ((image.participant_id, participant), (image.session_id, session), (image.run, run)):
        if name.endswith("-"):
            raise IndexingError(
                f"an id must hold a letter a to z or a digit, of which BIDS names are made; {got!r} of "
                f"{image.image_id!r} holds none; give another in a table"
            )
    parts = [participant, session, run, f"space-{SPACE}", f"res-{settings.grid.removesuffix('mm')}"]
    return output / participant / session / "anat" / "_".join(part for part in parts if part)


def _named(participant: str, session: str, run: str) -> tuple[str, str, str]:
    return (
        f"sub-{_label(participant, 'sub')}",
        f"ses-{_label(session, 'ses')}" if session else "",
        f"run-{_label(run, 'run')}" if run else "",
    )


def _label(value: str, entity: str) -> str:
    """A BIDS label: letters and digits only.

    Examples
    --------
    >>> _label("sub-OAS1_0001", "sub")
    'OAS10001'
    """
    return re.sub("[^A-Za-z0-9]", "", value.removeprefix(f"{entity}-"))


def _key(image: Image, settings: Settings) -> str:
    """Another source under the same name, or other settings, give another key."""
    wanted = {name: value for name, value in asdict(settings).items() if name != "accept"}
    return digest([METHOD, wanted, image.member, *map(_identity, (image.path, image.mask))])


def _identity(path: Path | str) -> list[object]:
    """What tells that a file is the same one, without reading it: 40,000 of them would take hours."""
    if not str(path) or "://" in str(path):
        return [str(path)]
    try:
        found = os.stat(path)
    except OSError:
        return [os.path.abspath(path)]
    return [os.path.abspath(path), found.st_size, found.st_mtime_ns]
