"""What is to be prepared, how it is named, and what is done already."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from featx import schema
from featx.errors import IndexingError, NetworkError, known
from featx.featureset import digest
from featx.images.image import Image
from featx.images.volume import MNI152_1MM, MNI152_2MM

# nilearn's and so featx's template is ICBM 2009a, nonlinear, symmetric, on the grid of FSL's MNI152.
SPACE = "MNI152NLin2009aSym"
GRIDS = {"1mm": MNI152_1MM, "2mm": MNI152_2MM}
DOFS = (6, 7, 12)
INPUTS = ("auto", "head", "brain")
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
        Codes of misfits of the result that are let through.
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
        path = Path(image.path)
        mask = path.with_name(f"{path.name.rsplit('_', 1)[0]}_{suffix.removeprefix('_')}")
        if image.member or not mask.is_file():
            raise IndexingError(
                f"--mask-suffix must name a file beside every image; {mask} of {image.image_id} is not there; mend "
                "the suffix, or give masks in the column mask of a table"
            )
        found.append(replace(image, mask=str(mask)))
    return found


def plan_tasks(images: Sequence[Image], output: Path, settings: Settings) -> list[Task]:
    """Name the outputs of all images.

    Raises
    ------
    IndexingError
        Two images would be written to one file.
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
    """The row of `featx.schema.PREPARED` of a brain that is prepared as the task wants; None where it is not.

    The sidecar is written last, so that its being there means that all is there.
    """
    try:
        facts = json.loads(file_of(task, "desc-brain_T1w.json").read_text(encoding="utf-8"))
        row = facts["Featx"]["Row"] if facts["Featx"]["Key"] == task.key else None
    except (OSError, ValueError, KeyError, TypeError):  # cut short, or not ours: prepared again
        return None
    brain = file_of(task, "desc-brain_T1w.nii.gz")
    if row is None or set(row) != set(schema.names(schema.PREPARED)) or not brain.is_file():
        return None
    return {name: str(value) for name, value in row.items()} | {"path": os.path.abspath(brain)}


def _stem(image: Image, output: Path, settings: Settings) -> Path:
    participant = f"sub-{_label(image.participant_id, 'sub')}"
    session = f"ses-{_label(image.session_id, 'ses')}" if image.session_id else ""
    run = f"run-{_label(image.run, 'run')}" if image.run else ""
    parts = [participant, session, run, f"space-{SPACE}", f"res-{settings.grid.removesuffix('mm')}"]
    return output / participant / session / "anat" / "_".join(part for part in parts if part)


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
    accept = sorted(settings.accept)
    wanted = {name: value for name, value in asdict(settings).items() if name != "accept"} | {"accept": accept}
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
