"""Whatever stands for images: a source to be indexed, a table in memory, images themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from featx import schema
from featx.errors import IndexingError
from featx.images.image import Image
from featx.images.index import index_images
from featx.images.opening import is_url

Images = str | Path | pd.DataFrame | Sequence[Image]
IN_MEMORY = "images.csv"  # what messages call a table in memory


def images_of(images: Images) -> list[Image]:
    """Images, whatever stands for them.

    Parameters
    ----------
    images : str, Path, DataFrame or sequence of Image
        images.csv of `featx index`, or anything that it takes; a table in memory such as `featx.index` gives, with
        the columns path and participant_id or image_id; or the images.

    Raises
    ------
    IndexingError
        As `featx.images.index.index_images` refuses it; or there is none, or what is given is no image.
    """
    if isinstance(images, str | Path):
        return index_images(str(images))
    if isinstance(images, pd.DataFrame):
        return _of_table(images)
    found = list(images)
    strange = next((one for one in found if not isinstance(one, Image)), None)
    if strange is not None or not found:
        got = f"{type(strange).__name__} among them" if found else "an empty list"
        raise IndexingError(
            f"images must be a source, a table of images or featx Images; got {got}; give the folder or the table, "
            "or let featx.index find them"
        )
    return found


def as_table(images: Sequence[Image]) -> pd.DataFrame:
    """Images as a table: the columns of `featx.schema.IMAGES`, all text."""
    rows = [
        (one.image_id, one.participant_id, one.session_id, one.run, str(one.path), one.member, one.mask)
        for one in images
    ]
    return pd.DataFrame(rows, columns=schema.names(schema.IMAGES), dtype=object)


def _of_table(table: pd.DataFrame) -> list[Image]:
    """Read as a file is; relative paths are those of the folder one is in."""
    text = table.astype(object).where(table.notna(), "").map(str)
    for name in {"path", "mask"} & set(text.columns):
        text[name] = [one if not one or is_url(one) else str(Path(one).absolute()) for one in text[name]]
    with TemporaryDirectory() as folder:
        path = Path(folder) / IN_MEMORY
        text.to_csv(path, index=False, errors="surrogateescape")
        try:
            return index_images(str(path))
        except IndexingError as error:
            raise IndexingError(str(error).replace(str(path), "the table in memory")) from error
