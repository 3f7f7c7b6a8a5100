"""One image of a study, as a value: its ids, and where its voxels are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"(https?://[^?#]*)[?#].*", re.DOTALL)


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
    """Where an image is, for sentences and tables; of a URL, without what must not be shown.

    Examples
    --------
    >>> where(Image("a", "a", "", "", Path("1000012_20252_2_0.zip"), "T1/T1_brain_to_MNI.nii.gz"))
    '1000012_20252_2_0.zip: T1/T1_brain_to_MNI.nii.gz'
    """
    return f"{shown(image.path)}: {image.member}" if image.member else shown(image.path)


def shown(path: Path | str) -> str:
    """A path or URL as sentences name it: without a user and password, and without what a web address asks.

    Both may open what lies behind the URL to whoever reads the sentence (a signed address holds its key there).

    Examples
    --------
    >>> shown("https://alice:s3cret@host/a.nii.gz?X-Amz-Signature=abc"), shown("s3://bucket/what?.nii.gz")
    ('https://host/a.nii.gz?...', 's3://bucket/what?.nii.gz')
    """
    return _QUERY.sub(r"\1?...", _USER.sub("", str(path)))
