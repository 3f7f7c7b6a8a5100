"""What the pages share: jinja2's environment with its filters, the scripts with their digests, and writing a page."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from featx.errors import AnalysisError
from featx.report.figures.canvas import as_svg
from featx.report.wording import short_metric

SCRIPTS = ("_sorting.js", "_copying.js", "_printing.js")


def environment() -> jinja2.Environment:
    """Templates that escape what they are given, with the filters and the script of every page.

    Returns
    -------
    Environment
        Its global `script` is what a page puts into one `<script>` as it is, `script_sha256` what its policy
        allows: no other script runs.
    """
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("featx.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["as_svg"] = lambda drawing: Markup(as_svg(drawing))
    made.filters["as_data"] = as_data
    made.filters["breakable"] = breakable
    made.filters["two_lines"] = two_lines
    made.filters["short_metric"] = short_metric
    loader = jinja2.PackageLoader("featx.report")
    script = "".join(loader.get_source(made, name)[0] for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made.globals |= {"script": Markup(script), "script_sha256": digest}
    return made


def write_page(page: str, output: Path) -> None:
    """Write a page beside its name and rename it.

    Raises
    ------
    AnalysisError
        It cannot be written there.
    """
    beside = output.resolve().with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(page, encoding="utf-8", newline="\n")
            beside.replace(output)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise AnalysisError(
            f"a report must be written to a file in a folder; {output} cannot be ({error.strerror}); "
            "choose another name with -o"
        ) from error


def as_data(data: bytes, media_type: str) -> str:
    """A file as an address that needs no file.

    Examples
    --------
    >>> as_data(b"abc", "image/png")
    'data:image/png;base64,YWJj'
    """
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def breakable(text: object) -> Markup:
    """Escaped text that may break after the separators of names and paths, but not inside a number.

    Examples
    --------
    >>> breakable("fire5/mean<"), breakable("5.5 years")
    (Markup('fire5/<wbr>mean&lt;'), Markup('5.5 years'))
    """
    return Markup(re.sub(r"([/_+]|\.(?=[^\W\d]))", r"\1<wbr>", str(escape(text))))


def two_lines(cell: str) -> Markup:
    """A score with its interval beneath.

    Examples
    --------
    >>> two_lines("5.54 [4.96, 6.15]"), two_lines("121")
    (Markup('5.54 <span class="interval">[4.96, 6.15]</span>'), Markup('121'))
    """
    value, bracket, interval = cell.partition(" [")
    if not bracket:
        return escape(cell)
    return Markup('{} <span class="interval">[{}</span>').format(value, interval)
