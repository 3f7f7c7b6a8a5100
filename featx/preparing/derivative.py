"""Write a prepared brain as part of a BIDS derivative, and say how it was made."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import featx
from featx.errors import ImageError
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
from featx.preparing.plan import GRIDS, SPACE, Settings, Task, file_of
from featx.preparing.rough import Mask

# Of masks, where the brain is scaled to the template; another tool's mask may be wider or tighter.
LEAST_DICE, LEAST_DICE_GIVEN = 0.9, 0.85
PICTURE_HEIGHT = 300
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
    """Prepare one image and write what comes of it, the sidecar last.

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
    file_of(task, "desc-brain_T1w.json").unlink(missing_ok=True)  # from now on the old one is not done
    image = task.image
    volume = read_volume(image.path, image.member)
    check_values(volume, where(image))
    found = look_at(volume)
    _check_greys(found, where(image))
    given = _given_mask(image)
    stripped = given is None and (settings.input == "brain" or (settings.input == "auto" and is_brain(found)))
    done = prepare(volume, GRIDS[settings.grid], settings.dof, given=given, stripped=stripped)
    result = look_at(done.brain)
    check_result(done, result, settings, where(image))
    row = _row(task, done, result, time.monotonic() - start)
    _write(task, settings, done)
    _write_text(
        file_of(task, "desc-brain_T1w.json"), json.dumps(_sidecar(task, settings, row), indent=2, ensure_ascii=False)
    )
    return row


def check_result(done: Prepared, result: Findings, settings: Settings, here: str) -> None:
    """Refuse a brain that a network would refuse, or that does not lie in the template's.

    Parameters
    ----------
    done : Prepared
    result : Findings
        Of the prepared brain.
    settings : Settings
    here : str
        The image, for the sentence.

    Raises
    ------
    ImageError
        not-registered, or what `featx.images.contract.judge` finds.
    """
    least = LEAST_DICE if done.extraction == OWN else LEAST_DICE_GIVEN
    if settings.dof == 12 and done.dice < least and "not-registered" not in settings.accept:
        raise ImageError(
            "not-registered",
            f"a prepared brain must overlap the template's by a Dice of {least:g} or more; that of {here} does "
            f"by {done.dice:.3f}; look at the image, give its brain mask, or --accept not-registered",
        )
    wants = Wants("a prepared brain", None, skull_stripped=True, registered=True)
    grave = most_grave(judge(result, wants, f"what was made of {here}"), settings.accept)
    if grave is not None:
        raise ImageError(grave.code, grave.sentence)


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
    mask: Mask = read_volume(Path(image.mask)).data > 0
    return mask


def _row(task: Task, done: Prepared, result: Findings, elapsed_s: float) -> dict[str, str]:
    image = task.image
    return {
        "image_id": image.image_id,
        "participant_id": image.participant_id,
        "session_id": image.session_id,
        "run": image.run,
        "path": str(file_of(task, "desc-brain_T1w.nii.gz").absolute()),
        "extraction": done.extraction,
        "dice": f"{done.dice:.4f}",
        "overlap": f"{result.overlap:.4f}",
        "likeness": f"{result.likeness:.4f}",
        "litres": f"{result.litres:.3f}",
        "scale": f"{1 / np.cbrt(np.linalg.det(done.matrix[:3, :3])):.4f}",
        "elapsed_s": f"{elapsed_s:.1f}",
    }


def _write(task: Task, settings: Settings, done: Prepared) -> None:
    grid = done.brain
    _write_image(file_of(task, "desc-brain_T1w.nii.gz"), grid.data, grid.affine)
    _write_image(file_of(task, "desc-brain_mask.nii.gz"), done.mask.astype(np.uint8), grid.affine)
    _write_text(task.stem.with_name(f"{_before_space(task)}_from-T1w_to-{SPACE}_xfm.txt"), itk_text(done.matrix))
    template = template_on(GRIDS[settings.grid]).data > 0
    write_picture(picture_of(task), with_outline(grid, template, height=PICTURE_HEIGHT))


def _before_space(task: Task) -> str:
    return task.stem.name.partition("_space-")[0]


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


def _sidecar(task: Task, settings: Settings, row: Mapping[str, str]) -> dict[str, Any]:
    image = task.image
    raw = read_bytes(image.path, image.member)
    return {
        "SkullStripped": True,
        "SpatialReference": _TEMPLATE,
        "Resolution": f"{settings.grid}, isotropic",
        "Sources": [where(image), *([image.mask] if image.mask else [])],
        "Featx": {
            "Key": task.key,
            "Version": featx.__version__,
            "AntspyxVersion": register.version(),
            "Steps": _STEPS,
            "Settings": asdict(settings),
            "SourceSha256": hashlib.sha256(raw).hexdigest(),
            "MaskSha256": hashlib.sha256(read_bytes(Path(image.mask))).hexdigest() if image.mask else "",
            "Row": dict(row),
        },
    }


def write_description(output: Path, settings: Settings) -> None:
    """Write dataset_description.json, which makes a folder a BIDS derivative."""
    facts = {
        "Name": "Brains prepared by featx",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "featx", "Version": featx.__version__, "Description": _STEPS}],
        "Featx": {"Settings": asdict(settings), "Template": _TEMPLATE},
    }
    _write_text(output / "dataset_description.json", json.dumps(facts, indent=2))


def _write_image(path: Path, data: Any, affine: Matrix) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp.nii.gz")
    try:
        write_volume(beside, data, affine)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.write_text(text + ("" if text.endswith("\n") else "\n"), encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
