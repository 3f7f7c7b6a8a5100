"""Who is predicted worst, with their pictures of `featx qc`: is it the person, or the image?"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from featx import schema
from featx.analysis.runs.rundir import Run
from featx.errors import AnalysisError
from featx.images.pictures import picture_name
from featx.report import contents
from featx.report.answers import ScoreRow, in_unit
from featx.report.blocks import Picture, Section
from featx.report.evidence import WORST, rows_of
from featx.report.panels import Scored
from featx.report.wording import count, decimals, number

MOST_BYTES = 40_000
_QUALITIES = (85, 75, 65, 50, 35)


@dataclass(frozen=True)
class Quality:
    """A folder of `featx qc`.

    Attributes
    ----------
    folder : Path
    table : DataFrame
        Columns rank, outlier and worst_by, index image_id; text.
    link : str
        Of its page, from the run's folder; "" where it does not lie beside or within it.
    """

    folder: Path
    table: pd.DataFrame
    link: str


def section_of(run: Run, scored: Scored, folder: Path | None) -> Section | None:
    """Pictures of the images that the best arm predicts worst; None where the run does not say who that is.

    Parameters
    ----------
    run : Run
    scored : Scored
    folder : Path, optional
        Of `featx qc`; without it there is no section.

    Raises
    ------
    AnalysisError
        The folder is not of `featx qc`.
    """
    best = scored.table.best
    if folder is None or best is None:
        return None
    quality = read_quality(folder, run.path)
    worst = rows_of(run.breakdowns[run.breakdowns["target"] == scored.name], best)
    worst = worst[worst["by"] == WORST]
    if not len(worst):
        return None
    errors = dict(zip(worst["label"].astype(str), worst["value"].astype(float), strict=True))
    captions = _captions(run, scored, best, errors)
    found = [_picture(image, caption, quality) for image, caption in captions.items()]
    pictures = tuple(one for one in found if one is not None)
    notes = _notes(best, list(errors), quality, len(pictures))
    return Section(f"worst-{scored.prefix}", "Predicted worst, as images", notes, (), pictures)


def _notes(best: ScoreRow, images: list[str], quality: Quality, n_pictures: int) -> tuple[str, ...]:
    notes = [
        f"The images that {best.words} predicts worst, the worst first, as featx qc shows them: the middle "
        "sagittal, coronal and axial slice."
    ]
    ranks = [int(str(quality.table.at[image, "rank"])) for image in images if image in quality.table.index]
    if ranks:
        n = len(quality.table)
        tenth = -(-n // 10)  # rounded up
        n_tenth, by_chance = sum(rank <= tenth for rank in ranks), len(ranks) * tenth / n
        notes.append(
            f"Of these {len(ranks)}, {n_tenth} stand among the {tenth} of {n} images that are furthest on the worse "
            f"side in some number of quality; by chance it would be {by_chance:.1f}."
        )
    lost = len(images) - n_pictures
    if lost:
        notes.append(f"{count(lost, 'image has', 'images have')} no picture there that can be read.")
    return tuple(notes)


def read_quality(folder: Path, run: Path) -> Quality:
    """The table of a folder of `featx qc`, and where its page lies as seen from a run's folder.

    Raises
    ------
    AnalysisError
        The folder has no such table.
    """
    path = folder / schema.QC_CSV
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="surrogateescape")
        table = table.set_index(schema.IMAGE_ID)[["rank", "outlier", "worst_by"]]
        if not table["rank"].str.fullmatch(r"\d+").all():
            raise ValueError(path)
    except (OSError, ValueError, KeyError) as error:
        raise AnalysisError(
            f"pictures must be those of a folder that `featx qc` wrote; {path} cannot be read "
            f"({type(error).__name__}); give the folder that was named with -o"
        ) from error
    page = folder.resolve() / schema.QC_HTML
    is_near = page.is_file() and page.is_relative_to(run.resolve().parent)
    link = quote(Path(os.path.relpath(page, run.resolve())).as_posix()) if is_near else ""
    return Quality(folder, table, link)


def small_jpeg(data: bytes, most_bytes: int = MOST_BYTES) -> bytes:
    """A picture as a grey JPEG of so many bytes at most: of less quality, then of half the size.

    Raises
    ------
    UnidentifiedImageError, OSError
        The bytes are no picture, or not a whole one.
    """
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("L")
    while True:
        for quality in _QUALITIES:
            file = io.BytesIO()
            picture.save(file, "jpeg", quality=quality, optimize=True)
            if file.tell() <= most_bytes or max(picture.size) < 64:
                return file.getvalue()
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))


def _captions(run: Run, scored: Scored, best: ScoreRow, errors: Mapping[str, float]) -> dict[str, str]:
    """What is said of every image: true, predicted, and how far off."""
    rows = rows_of(contents.first_repeat(run.predictions[scored.name]), best)
    pairs = rows.drop_duplicates(schema.IMAGE_ID).set_index(schema.IMAGE_ID)[["observed", "predicted"]]
    is_number = contents.is_number(scored.facts)
    places = decimals([float(np.mean(list(errors.values()))) / 20])
    found = {}
    for image, error in errors.items():
        told = [str(one) for one in pairs.loc[image]] if image in pairs.index else ["–", "–"]
        if is_number:
            told = [one if one == "–" else number(float(one), places) for one in told]
            off = f"off by {number(error, places)}{in_unit('mae', scored.table.unit)}"
        else:
            off = f"probability of the true class {number(float(np.exp(-error)), 2)}"
        repeats = f" ({scored.repeats[2:]})" if scored.repeats else ""
        found[image] = f"{scored.name} {told[0]}, predicted {told[1]}{repeats}; {off}"
    return found


def _picture(image: str, caption: str, quality: Quality) -> Picture | None:
    """None where there is no picture, or one that cannot be read."""
    try:
        data = small_jpeg((quality.folder / schema.QC_PICTURES_DIR / picture_name(image)).read_bytes())
    except (OSError, UnidentifiedImageError):
        return None
    if image in quality.table.index:
        rank, _, worst_by = quality.table.loc[image]
        caption += f". Quality: rank {rank} of {len(quality.table)}{f', by {worst_by}' if worst_by else ''}"
    alt = f"Sagittal, coronal and axial slice of {image}"
    return Picture(image, f"{caption}.", alt, data, "image/jpeg", quality.link)
