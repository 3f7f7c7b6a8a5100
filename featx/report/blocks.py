"""What a page is made of: figures with what they are of, tables of text, and sections of both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from featx.report.figures.canvas import Drawing


@dataclass(frozen=True)
class Panel:
    """One figure with what it is of.

    Attributes
    ----------
    letter, title, caption : str
    drawing : Drawing
    data : DataFrame, optional
        The numbers that are drawn, for a file beside the figure.
    """

    letter: str
    title: str
    drawing: Drawing
    caption: str
    data: pd.DataFrame | None = None


@dataclass(frozen=True)
class Picture:
    """An image as it is: a small photograph, or a map that was drawn elsewhere.

    Attributes
    ----------
    title, caption, alt : str
    data : bytes
        The file.
    media_type : str
        "image/png" or "image/jpeg".
    link : str
        Relative path of a page that shows more; "" for none.
    """

    title: str
    caption: str
    alt: str
    data: bytes
    media_type: str
    link: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes
    ----------
    caption : str
    columns : tuple of str
    rows : tuple of tuple of str
    n_names : int
        Leading columns that are names; all others are numbers.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_names: int


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading of its own.

    Attributes
    ----------
    key : str
        For links to it; unique on the page.
    title : str
    notes : tuple of str
        Paragraphs that come first: what is seen, and how to read it.
    panels : tuple of Panel
    pictures : tuple of Picture
    grids : tuple of Grid
    is_wide : bool
        Whether its figures take the whole width of the page.
    """

    key: str
    title: str
    notes: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()
    pictures: tuple[Picture, ...] = ()
    grids: tuple[Grid, ...] = ()
    is_wide: bool = False


@dataclass(frozen=True)
class Extras:
    """What a page may show beside a run's own tables, and how much of people.

    Attributes
    ----------
    features : tuple of Path
        Feature files of the run, for maps of their spaces.
    qc : Path, optional
        A folder of `featx qc`.
    curves, relevance : tuple of Path
        Folders of `featx curve` and `featx relevance`.
    protocol : str
        Whose published numbers are shown beside; "" for none.
    is_private : bool
        Whether ids, single people and small cells are left out.
    least : int
        People of a cell that may be shown then.
    """

    features: tuple[Path, ...] = ()
    qc: Path | None = None
    curves: tuple[Path, ...] = ()
    relevance: tuple[Path, ...] = ()
    protocol: str = ""
    is_private: bool = False
    least: int = 10
