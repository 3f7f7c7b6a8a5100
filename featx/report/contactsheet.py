"""The contact sheet of `featx qc`: each image as a small picture, the worst first, on a page that opens offline."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

import featx
from featx import schema
from featx.analysis.outliers import HIGH, LOW, WORSE, Floats, centre_and_unit, number

MOST_CARDS = 5000
N_BINS = 32
_IDS = (schema.IMAGE_ID, schema.PARTICIPANT_ID, schema.SESSION_ID)
_RANKING = ("rank", "outlier", "worst_by", "feature_rank")
_SIDES = {LOW: "low", HIGH: "high"}


@dataclass(frozen=True)
class NumberFacts:
    """A column of numbers, over all images."""

    name: str
    meaning: str
    worse: str
    median: str
    low: str
    high: str
    n_empty: int
    centre: float
    unit: float
    histogram: Markup


@dataclass(frozen=True)
class Card:
    """One image on the page."""

    image_id: str
    picture: str
    rank: str
    why: str


def write_sheet(
    folder: Path, rows: Sequence[Mapping[str, str]], failures: Sequence[Mapping[str, str]], *, most: int = MOST_CARDS
) -> Path:
    """Write the page beside its pictures.

    Parameters
    ----------
    folder : Path
        With `featx.schema.QC_PICTURES_DIR`, where each row names its picture.
    rows : sequence of mapping
        Columns of `featx.schema.QUALITY` and "picture", the name of a file; in the order of their ranks.
    failures : sequence of mapping
        Columns of `featx.schema.FAILURES`.
    most : int
        Images that are shown; of more, the first ones. All stand in the table.

    Returns
    -------
    Path
        Of the page.
    """
    page = folder / schema.QC_HTML
    beside = folder / f".{uuid.uuid4().hex[:12]}.tmp"
    try:
        text = render(rows, failures, most=most)
        beside.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")  # ids may be no UTF-8
        beside.replace(page)
    finally:
        beside.unlink(missing_ok=True)
    return page


def render(
    rows: Sequence[Mapping[str, str]], failures: Sequence[Mapping[str, str]], *, most: int = MOST_CARDS
) -> str:
    """The page as text."""
    loader = jinja2.PackageLoader("featx.report")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, _, _ = loader.get_source(environment, "qc.js")
    numbers = [facts for column in schema.QUALITY if (facts := _facts(column, rows)) is not None]
    shown = rows[:most]
    return environment.get_template("qc.html.j2").render(
        version=featx.__version__,
        n_images=len(rows),
        n_left_out=len(rows) - len(shown),
        failures=failures,
        reasons=schema.REASONS,
        numbers=numbers,
        cards=[_card(row) for row in shown],
        data=_json(_data(shown, numbers)),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        qc_csv=schema.QC_CSV,
        failures_csv=schema.FAILURES_CSV,
    )


def _card(row: Mapping[str, str]) -> Card:
    by = row["worst_by"]
    why = f"{by} {_short(row[by])}" if by else ""
    return Card(row[schema.IMAGE_ID], f"{schema.QC_PICTURES_DIR}/{quote(row['picture'])}", row["rank"], why)


def _facts(column: schema.Column, rows: Sequence[Mapping[str, str]]) -> NumberFacts | None:
    """None of what is no number, and of a number that no image has."""
    if column.name in (*_IDS, *_RANKING):
        return None
    values = np.array([number(row[column.name]) for row in rows])
    there = values[~np.isnan(values)]
    if not there.size:
        return None
    centre, unit = centre_and_unit(values)
    low, high = np.percentile(there, (5, 95))
    return NumberFacts(
        name=column.name,
        meaning=column.meaning,
        worse=_SIDES.get(WORSE[column.name], "either side") if column.name in WORSE else "",
        median=_short(centre),
        low=_short(low),
        high=_short(high),
        n_empty=len(values) - there.size,
        centre=centre,
        unit=unit,
        histogram=_histogram(there),
    )


def _short(value: str | float) -> str:
    """A number with three digits that count.

    Examples
    --------
    >>> _short("0.0123456"), _short(1234.5)
    ('0.0123', '1234')
    """
    own = float(value)
    return f"{own:.0f}" if abs(own) >= 1000 else f"{own:.3g}"


def _histogram(values: Floats) -> Markup:
    """How many images have which value, as bars; the ends are the smallest and the largest value."""
    counts, _ = np.histogram(values, N_BINS)
    heights = np.ceil(20 * counts / counts.max())
    bars = "".join(f"M{3 * at} 20v-{height:.0f}h2v{height:.0f}z" for at, height in enumerate(heights) if height)
    label = f"from {_short(values.min())} to {_short(values.max())}"
    return Markup(
        '<svg width="{}" height="20" role="img" aria-label="{}"><title>{}</title><path d="{}"/></svg>'
    ).format(3 * N_BINS, label, label, bars)


def _data(rows: Sequence[Mapping[str, str]], numbers: Sequence[NumberFacts]) -> dict[str, Any]:
    """What the page's script sorts by and shows beside a large picture."""
    return {
        "numbers": [
            {"name": one.name, "centre": one.centre, "unit": one.unit, "worse": WORSE.get(one.name)}
            for one in numbers
        ],
        "rows": [[_or_none(number(row[one.name])) for one in numbers] for row in rows],
    }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
