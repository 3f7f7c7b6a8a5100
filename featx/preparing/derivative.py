"""Write a prepared brain as part of a BIDS derivative, and say how it was made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import featx
from featx.errors import ImageError, StoreError
from featx.images.check import check_values
from featx.images.contract import Wants, judge, most_grave
from featx.images.findings import MOST_BELOW, Findings, look_at
from featx.images.image import Image, where
from featx.images.opening import read_bytes
from featx.images.pictures import with_outline, write_picture
from featx.images.template import template_on
from featx.images.volume import read_image, read_volume, write_volume
from featx.preparing import register
from featx.preparing.brain import OWN, Matrix, Prepared, is_brain, prepare
from featx.preparing.plan import BRAIN, GRIDS, SIDECAR, SPACE, Settings, Task, file_of
from featx.preparing.rough import Mask

# Of masks, where the brain is scaled to the template; another tool's mask may be wider or tighter.
LEAST_DICE, LEAST_DICE_GIVEN = 0.9, 0.85
PICTURE_HEIGHT = 300
DESCRIPTION = "dataset_description.json"
# What BIDS has no name for, so that its validator passes it by.
_IGNORED = ("prepared.csv", "failures.csv", "figures/", "*_xfm.txt")
_MASK, _MASK_SIDECAR = "desc-brain_mask.nii.gz", "desc-brain_mask.json"
_TEMPLATE = (
    "ICBM 152 2009a nonlinear symmetric T1, skull-stripped, on the grid of FSL's MNI152 (LAS), as featx holds it: "
    "featx/images/mni152.nii.gz"
)
_STEPS = (
    "N4 bias correction; brain by given mask, or by erosion of bright tissue bounded by the registered mask of the "
    "template; linear registration of the brain to the template (ANTs, mutual information); one trilinear "
    "interpolation; grey values scaled so that the 90th percentile of the brain is 110; 0 outside its mask"
)


def prepare_image(task: Task, settings: Settings) -> dict[str, str]:
    """Prepare one image and write what comes of it, the brain last, so that none stands without its sidecar.

    Returns
    -------
    dict of str to str
        A row of `featx.schema.PREPARED`.

    Raises
    ------
    ImageError
        What reading raises, non-finite, constant, standardised, or not-prepared; and the codes of
        `featx.images.contract.judge` where the result does not lie as a network would want it.
    """
    start = time.monotonic()
    _remove(task)
    image = task.image
    volume = read_volume(image.path, image.member)
    check_values(volume, where(image))
    found = look_at(volume)
    _check_greys(found, where(image))
    given = _given_mask(image)
    stripped = given is None and (settings.input == "brain" or (settings.input == "auto" and is_brain(found)))
    done = prepare(volume, GRIDS[settings.grid], settings.dof, given=given, stripped=stripped)
    result = look_at(done.brain)
    accepted = check_result(done, result, settings, where(image))
    row = _row(task, done, result, time.monotonic() - start)
    _write(task, settings, done, (row, accepted))
    return row


def _remove(task: Task) -> None:
    """Take away what an earlier call made, the brain first, lest it stands without its sidecar."""
    for path in (*(file_of(task, what) for what in (BRAIN, SIDECAR, _MASK, _MASK_SIDECAR)), xfm_of(task)):
        path.unlink(missing_ok=True)
    picture_of(task).unlink(missing_ok=True)


def check_result(done: Prepared, result: Findings, settings: Settings, here: str) -> list[str]:
    """Refuse a brain that a network would refuse, or that does not lie in the template's.

    Parameters
    ----------
    done : Prepared
    result : Findings
        Of the prepared brain.
    settings : Settings
    here : str
        The image, for the sentence.

    Returns
    -------
    list of str
        Codes of the misfits that were let through, sorted.

    Raises
    ------
    ImageError
        not-registered, or what `featx.images.contract.judge` finds.
    """
    least = LEAST_DICE if done.extraction == OWN else LEAST_DICE_GIVEN
    apart = settings.dof == 12 and done.dice < least
    if apart and "not-registered" not in settings.accept:
        raise ImageError(
            "not-registered",
            f"a prepared brain must overlap the template's by a Dice of {least:g} or more; that of {here} does "
            f"by {done.dice:.3f}; look at the image, give its brain mask, or --accept not-registered",
        )
    wants = Wants("a prepared brain", None, skull_stripped=True, registered=True)
    verdicts = judge(result, wants, f"what was made of {here}")
    grave = most_grave(verdicts, settings.accept)
    if grave is not None:
        raise ImageError(grave.code, grave.sentence)
    codes = {one.code for one in verdicts} | ({"not-registered"} if apart else set())
    return sorted(codes & set(settings.accept))


def _check_greys(found: Findings, here: str) -> None:
    if found.below > MOST_BELOW:
        raise ImageError(
            "standardised",
            f"an image that is prepared must have grey values from 0 on, as scanners give; {found.below:.0%} of what "
            f"is not 0 lies below 0 in {here}; give the image before it was standardised",
        )


def _given_mask(image: Image) -> Mask | None:
    if not image.mask:
        return None
    read_image(image)  # which refuses a mask on another grid
    mask: Mask = read_volume(image.mask).data > 0
    return mask


def _row(task: Task, done: Prepared, result: Findings, elapsed_s: float) -> dict[str, str]:
    image = task.image
    return {
        "image_id": image.image_id,
        "participant_id": image.participant_id,
        "session_id": image.session_id,
        "run": image.run,
        "path": str(file_of(task, BRAIN).absolute()),
        "extraction": done.extraction,
        "dice": f"{done.dice:.4f}",
        "overlap": f"{result.overlap:.4f}",
        "likeness": f"{result.likeness:.4f}",
        "litres": f"{result.litres:.3f}",
        "scale": f"{1 / np.cbrt(np.linalg.det(done.matrix[:3, :3])):.4f}",
        "elapsed_s": f"{elapsed_s:.1f}",
    }


def _write(task: Task, settings: Settings, done: Prepared, told: tuple[Mapping[str, str], list[str]]) -> None:
    grid = done.brain
    with _beside(file_of(task, _MASK)) as path:
        write_volume(path, done.mask.astype(np.uint8), grid.affine)
    _write_json(file_of(task, _MASK_SIDECAR), {"Type": "Brain", **_about(task, settings)})
    _write_text(xfm_of(task), itk_text(done.matrix))
    template = template_on(GRIDS[settings.grid]).data > 0
    picture_of(task).parent.mkdir(parents=True, exist_ok=True)
    write_picture(picture_of(task), with_outline(grid, template, height=PICTURE_HEIGHT))
    with _beside(file_of(task, BRAIN)) as path:
        write_volume(path, grid.data, grid.affine)
        _write_json(file_of(task, SIDECAR), _sidecar(task, settings, told, path.stat().st_size))


def xfm_of(task: Task) -> Path:
    """Where the transform lies: apart for each grid, for its degrees of freedom may be others than another grid's."""
    before, _, after = task.stem.name.partition(f"_space-{SPACE}")
    return task.stem.with_name(f"{before}_from-T1w_to-{SPACE}_mode-image{after}_xfm.txt")


def picture_of(task: Task) -> Path:
    """Where the picture of a brain with the template's outline lies."""
    return task.output / "figures" / f"{task.stem.name}_desc-brain_T1w.png"


def itk_text(matrix: Matrix) -> str:
    """A matrix as a text file that antsApplyTransforms takes: it maps LPS+ mm of the template to those of the image.

    Examples
    --------
    >>> print(itk_text(np.array([[1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])).splitlines()[3])
    Parameters: 1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0 -5.0 0.0 0.0
    """
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix @ np.diag([-1.0, -1.0, 1.0, 1.0]) + 0.0
    numbers = " ".join(str(float(one)) for one in [*lps[:3, :3].ravel(), *lps[:3, 3]])
    return (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {numbers}\nFixedParameters: 0 0 0\n"
    )


def _about(task: Task, settings: Settings) -> dict[str, Any]:
    image = task.image
    return {
        "SpatialReference": _TEMPLATE,
        "Resolution": f"{settings.grid}, isotropic",
        "Sources": [where(image), *([image.mask] if image.mask else [])],
    }


def _sidecar(
    task: Task, settings: Settings, told: tuple[Mapping[str, str], list[str]], brain_bytes: int
) -> dict[str, Any]:
    image = task.image
    row, accepted = told
    raw = read_bytes(image.path, image.member)
    return {
        "SkullStripped": True,
        **_about(task, settings),
        "Featx": {
            "Key": task.key,
            "Version": featx.__version__,
            "AntspyxVersion": register.version(),
            "Steps": _STEPS,
            "Settings": asdict(settings),
            "Accepted": accepted,
            "SourceSha256": hashlib.sha256(raw).hexdigest(),
            "MaskSha256": hashlib.sha256(read_bytes(image.mask)).hexdigest() if image.mask else "",
            "BrainBytes": brain_bytes,
            "Row": dict(row),
        },
    }


def check_description(output: Path) -> None:
    """Refuse a folder that is the dataset of somebody else.

    Raises
    ------
    StoreError
        Its dataset_description.json does not say that featx made it.
    """
    path = output / DESCRIPTION
    if not path.exists():
        return
    try:
        made_by = [one["Name"] for one in json.loads(path.read_text(encoding="utf-8"))["GeneratedBy"]]
    except (ValueError, KeyError, TypeError):
        made_by = []
    if "featx" not in made_by:
        raise StoreError(
            f"an output must be a folder of its own, or one that featx made; {path} is of another dataset; name "
            "another -o"
        )


def write_description(output: Path) -> None:
    """Write dataset_description.json, which makes a folder a BIDS derivative, and .bidsignore; what is there stays.

    Raises
    ------
    StoreError
        As `check_description`.
    """
    check_description(output)
    if not (output / DESCRIPTION).exists():
        facts = {
            "Name": "Brains prepared by featx",
            "BIDSVersion": "1.9.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "featx", "Version": featx.__version__, "Description": _STEPS}],
            "Featx": {"Template": _TEMPLATE},
        }
        _write_json(output / DESCRIPTION, facts)
    if not (output / ".bidsignore").exists():
        _write_text(output / ".bidsignore", "\n".join(_IGNORED))


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(facts, indent=2, ensure_ascii=False))


def _write_text(path: Path, text: str) -> None:
    with _beside(path) as beside:
        whole = text + ("" if text.endswith("\n") else "\n")
        beside.write_text(whole, encoding="utf-8", errors="surrogateescape")


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A place beside a file; what is written there gets the file's name when it is on the disk, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp{''.join(path.suffixes[-2:])}")
    try:
        yield beside
        descriptor = os.open(beside, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
