"""The figures of a page as files, and the numbers in them: NAME.svg, NAME.pdf and NAME.csv in a folder."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from featx.errors import AnalysisError
from featx.report.blocks import Panel
from featx.report.figures.canvas import as_file

SUFFIXES = (".svg", ".pdf", ".csv")
MOST_WITH_PDF = 10  # targets; of more, figures are SVG and CSV only


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than figures.

    Raises
    ------
    AnalysisError
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise AnalysisError(
            f"figures must be written to a folder; {folder} is a file; move it away, or use --no-figures"
        )
    foreign = sorted(one.name for one in folder.iterdir() if one.suffix not in SUFFIXES)
    if foreign:
        raise AnalysisError(
            f"figures must be written to a folder of their own; {folder} also holds {foreign[0]!r}; move that away, "
            "or use --no-figures"
        )


def write_figures(panels: Mapping[str, Panel], folder: Path, *, with_pdf: bool = True) -> None:
    """Write figures and their numbers beside their place, then swap them in; older ones go.

    Parameters
    ----------
    panels : mapping of str to Panel
        By the name of the files.
    folder : Path
    with_pdf : bool
        Whether each is a PDF as well.

    Raises
    ------
    AnalysisError
        The folder holds something else.
    """
    check_folder(folder)
    beside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.mkdir(parents=True)
        for name, panel in panels.items():
            for format in ("svg", "pdf") if with_pdf else ("svg",):
                (beside / f"{name}.{format}").write_bytes(as_file(panel.drawing, format))
            if panel.data is not None:
                table = panel.data.to_csv(index=False, lineterminator="\n")
                (beside / f"{name}.csv").write_text(table, encoding="utf-8", newline="\n")
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
