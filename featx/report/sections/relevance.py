"""Maps of `featx relevance`, drawn before, as they are shown in a report."""

from __future__ import annotations

import json
from pathlib import Path

from featx.errors import AnalysisError
from featx.report.blocks import Extras, Picture, Section
from featx.report.wording import count

RELEVANCE_JSON = "relevance.json"
FORMAT = "featx-relevance"
_KEYS = ("target", "head", "features", "method", "n_images", "figure", "caption")
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def section_of(extras: Extras) -> Section | None:
    """All maps one below the other; None where there are no folders.

    Means over fewer images than `extras.least` are left out where single people are not to be shown.

    Raises
    ------
    AnalysisError
        A folder is not of `featx relevance`, or a part of it is missing or damaged.
    """
    pictures, n_left = [], 0
    for folder in extras.relevance:
        picture, n_images = read_map(folder)
        if extras.is_private and n_images < extras.least:
            n_left += 1
        else:
            pictures.append(picture)
    if not extras.relevance:
        return None
    notes = [
        "Where a head looks, as a mean over people on the template. What is marked moves the prediction; that is not "
        "yet a cause, nor the only place that tells."
    ]
    if n_left:
        notes.append(f"{count(n_left, 'map')} of fewer than {extras.least} images left out.")
    return Section("relevance", "Relevance maps", tuple(notes), (), tuple(pictures), is_wide=True)


def read_map(folder: Path) -> tuple[Picture, int]:
    """The figure of a folder of `featx relevance`, and of how many images it is the mean.

    Raises
    ------
    AnalysisError
    """
    path = folder / RELEVANCE_JSON
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ValueError(facts["format"])
        target, head, features, method, n_images, figure, caption = (facts[key] for key in _KEYS)
        n_images = int(n_images)
        media_type = _TYPES[Path(figure).suffix.lower()]
        data = (folder / Path(figure).name).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AnalysisError(
            f"a relevance map must be a folder that `featx relevance` wrote; {folder} cannot be read "
            f"({type(error).__name__}); give the folder that was named with -o, or make it again"
        ) from error
    title = f"{target}: {head} on {features}"
    alt = f"Relevance of the brain for {title}, {method}, mean over {count(n_images, 'image')}"
    return Picture(title, str(caption), alt, data, media_type), n_images
