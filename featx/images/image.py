"""One image of a study, as a value: its ids, and where its voxels are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Image:
    """One image of a study: a row of `featx.schema.IMAGES`.

    Attributes
    ----------
    image_id, participant_id, session_id, run : str
    path : Path or str
        The file, or the archive that it is in; a text is a URL that fsspec opens.
    member : str
        The file inside a zip archive, else "".
    mask : str
        A brain mask on the image's grid that is applied when it is read, else "".
    """

    image_id: str
    participant_id: str
    session_id: str
    run: str
    path: Path | str
    member: str = ""
    mask: str = ""


def where(image: Image) -> str:
    """Where an image is, for sentences and tables.

    Examples
    --------
    >>> where(Image("a", "a", "", "", Path("1000012_20252_2_0.zip"), "T1/T1_brain_to_MNI.nii.gz"))
    '1000012_20252_2_0.zip: T1/T1_brain_to_MNI.nii.gz'
    """
    return f"{image.path}: {image.member}" if image.member else str(image.path)
