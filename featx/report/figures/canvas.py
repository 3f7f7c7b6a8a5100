"""What every figure shares: style, colours, a drawing as a value, and how it becomes a page's element or a file.

matplotlib is imported in this package alone; none of pyplot's global state is touched. The same drawing gives the
same bytes, ids carry the figure's own prefix (two figures of one page never share one), words are text in the
reader's own sans-serif, and nothing is fetched. Colours are Okabe and Ito's, which the colour-blind can tell apart.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (8, 2)), (0, (3, 3)))
MARKERS = "osD^vP"
INK, FAINT = "#1f2933", "#8794a1"
_STYLE: Any = {
    "svg.hashsalt": "featx",
    "svg.fonttype": "none",
    "text.parse_math": False,  # a phenotype may be named $x$
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "savefig.dpi": 160,
}


@dataclass(frozen=True)
class Drawing:
    """A figure that is not drawn yet.

    Attributes
    ----------
    draw : callable
        Given the axes, row by row.
    inches : tuple of float
        Width and height.
    alt : str
        What a reader who does not see the figure is told.
    prefix : str
        Of the figure's ids; unique on the page.
    n_columns, n_rows : int
        Of the axes.
    is_shared : bool
        Whether all axes have one scale, and a grid.
    """

    draw: Callable[..., None]
    inches: tuple[float, float]
    alt: str
    prefix: str
    n_columns: int = 1
    n_rows: int = 1
    is_shared: bool = True


def as_svg(drawing: Drawing) -> str:
    """The drawing as one ``<svg>`` element, to be put into a page as it is."""
    return _inline(as_file(drawing, "svg", paper="none").decode("utf-8"), drawing.alt, drawing.prefix)


def as_file(drawing: Drawing, format: str, *, paper: str = "white") -> bytes:
    """The drawing as a whole file; the same drawing gives the same bytes.

    Parameters
    ----------
    drawing : Drawing
    format : str
        "svg", "pdf" or "png".
    paper : str
        Colour behind the figure; "none" for none.
    """
    style = _STYLE | ({} if format == "svg" else {"font.sans-serif": ["DejaVu Sans"]})
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(format)
    with mpl.rc_context(style), warnings.catch_warnings():
        # the reader's font draws the words; that matplotlib's own lacks a letter only makes a width a guess
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=drawing.inches, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(
            drawing.n_rows, drawing.n_columns, sharex=drawing.is_shared, sharey=drawing.is_shared, squeeze=False
        ).ravel()
        for axes in panels if drawing.is_shared else ():
            axes.grid(color="#e9edf1", linewidth=0.7)
            axes.set_axisbelow(True)
        drawing.draw(*panels)
        file = io.BytesIO()
        figure.savefig(file, format=format, metadata=metadata, facecolor=paper, edgecolor="none")
    return file.getvalue()


def _inline(text: str, alt: str, prefix: str) -> str:
    """matplotlib's file as an element of a page: no prolog, no metadata, ids of its own, a label."""
    box = re.search(r'viewBox="([^"]+)"', text)
    if box is None:
        raise RuntimeError("matplotlib's SVG must have a viewBox; it has none; report this as a fault of featx")
    inner = text[text.index(">", text.index("<svg")) + 1 :]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    inner = re.sub(r'<defs>\s*<style type="text/css">.*?</style>\s*</defs>', "", inner, flags=re.DOTALL)
    inner = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', inner)
    inner = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', inner)
    inner = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", inner)
    inner = re.sub(r"<!--.*?-->\s*", "", inner, flags=re.DOTALL)
    label = html.escape(alt, quote=True)
    return f'<svg class="plot" role="img" aria-label="{label}" viewBox="{box.group(1)}">{inner.strip()}'


def cut(text: str, most: int = 24) -> str:
    """A name that fits an axis.

    Examples
    --------
    >>> cut("a_very_long_name_of_a_phenotype", 12)
    'a_very_long…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"
