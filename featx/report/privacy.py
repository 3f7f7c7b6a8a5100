"""What may be shown of people where nobody may be found: cells of enough people, and a run without ids.

A cell of fewer people than the least is left out. Where one cell alone would be, the smallest other one goes with
it, for it could be had back from the sum. Ranges are from the 5th to the 95th percentile: nobody is at their ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.inference.cautions import CODES
from featx.analysis.runs.rundir import Run
from featx.report.evidence import WORST

Floats = NDArray[np.float64]

MOST_CELLS = 12  # along an axis
ENDS = (5.0, 95.0)  # percentiles
_BANDS = {2: ("younger half", "older half"), 3: ("youngest third", "middle third", "oldest third")}


def hidden(counts: Sequence[int], least: int) -> list[bool]:
    """Which cells of a sum that is known may not be shown.

    Parameters
    ----------
    counts : sequence of int
        People in each cell. An empty cell tells of nobody, and is shown.
    least : int
        0 hides nothing.

    Examples
    --------
    >>> hidden([40, 3, 25], 10), hidden([40, 12, 0], 10), hidden([4, 5, 30], 10)
    ([False, True, True], [False, False, False], [True, True, False])
    """
    gone = [0 < n < least for n in counts]
    if sum(gone) == 1:
        others = [at for at, n in enumerate(counts) if not gone[at] and n]
        if others:
            gone[min(others, key=lambda at: counts[at])] = True
    return gone


def few(n: int, least: int) -> str:
    """A count, or that it is below the least.

    Examples
    --------
    >>> few(1200, 10), few(3, 10), few(0, 10), few(3, 0)
    ('1,200', 'fewer than 10', '0', '3')
    """
    return f"fewer than {least}" if 0 < n < least else f"{n:,}"


def ends_of(values: Iterable[float]) -> tuple[float, float]:
    """The 5th and the 95th percentile."""
    low, high = np.percentile(np.asarray(list(values), dtype=np.float64), ENDS)
    return float(low), float(high)


def cells(x: Floats, y: Floats, people: Sequence[str] | NDArray[np.object_], least: int) -> pd.DataFrame:
    """People counted in cells of two numbers, those of fewer than `least` left out.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
    people : sequence of str, of length n
        A person counts once in a cell.
    least : int

    Returns
    -------
    DataFrame
        x_low, x_high, y_low, y_high and people, by cell. The cells span the 5th to the 95th percentiles, and are as
        small as leaves three quarters of the rows in there in some cell that is shown: at most `MOST_CELLS` along
        each axis.
    """
    spans = [ends_of(one) for one in (x, y)]
    inside = np.logical_and.reduce(
        [(low <= one) & (one <= high) for one, (low, high) in zip((x, y), spans, strict=True)]
    )
    found = pd.DataFrame()
    for n in range(MOST_CELLS, 0, -1):
        edges = [np.linspace(low, high, n + 1) for low, high in spans]
        found = _counted((x, y), edges, people, least)
        if found["rows"].sum() >= 0.75 * inside.sum():
            break
    return found.drop(columns="rows")


def _counted(xy: tuple[Floats, Floats], edges: list[Floats], people: Any, least: int) -> pd.DataFrame:
    at = [np.searchsorted(edge, one, side="right") - 1 for one, edge in zip(xy, edges, strict=True)]
    at = [np.where(one == edge[-1], len(edge) - 2, place) for one, edge, place in zip(xy, edges, at, strict=True)]
    inside = np.logical_and.reduce(
        [(place >= 0) & (place < len(edge) - 1) for place, edge in zip(at, edges, strict=True)]
    )
    table = pd.DataFrame({"x": at[0][inside], "y": at[1][inside], "who": np.asarray(people, dtype=object)[inside]})
    grouped = table.groupby(["x", "y"])["who"].agg(["nunique", "size"]).reset_index()
    kept = grouped[grouped["nunique"] >= least]
    places = kept[["x", "y"]].to_numpy(dtype=np.int64)
    return pd.DataFrame(
        {
            "x_low": edges[0][places[:, 0]],
            "x_high": edges[0][places[:, 0] + 1],
            "y_low": edges[1][places[:, 1]],
            "y_high": edges[1][places[:, 1] + 1],
            "people": kept["nunique"].to_numpy(),
            "rows": kept["size"].to_numpy(),
        }
    )


# --- a run ----------------------------------------------------------------------------------------------------


def private(run: Run, least: int) -> Run:
    """A run whose tables name nobody and hold no cell of fewer people than `least`; predictions stay as they are.

    Parameters
    ----------
    run : Run
    least : int

    Returns
    -------
    Run
        Sentences are left out, for they quote people: of exclusions and failures the codes remain, of cautions what
        their codes mean. The call and its arguments may hold paths and conditions on people: they go as well.
    """
    facts = dict(run.facts)
    for name in ("arguments", "command"):
        facts.pop(name, None)
    facts["cautions"] = _cautions(run.facts.get("cautions") or [])
    facts["skipped"] = []
    return replace(
        run,
        facts=facts,
        exclusions=run.exclusions.assign(**dict.fromkeys((schema.IMAGE_ID, schema.PARTICIPANT_ID, "sentence"), "")),
        failures=run.failures.assign(**dict.fromkeys((schema.IMAGE_ID, "sentence"), "")),
        breakdowns=breakdowns(run.breakdowns, least),
    )


def _cautions(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    told = [(str(one["code"]), str(one.get("target", ""))) for one in rows]
    return [
        {"code": code, "sentence": CODES.get(code, "see run.json"), "target": target}
        for code, target in dict.fromkeys(told)
    ]


def breakdowns(table: pd.DataFrame, least: int) -> pd.DataFrame:
    """Scores of parts of the people: without the people predicted worst and small parts, bands of age without ends.

    Parameters
    ----------
    table : DataFrame
        Columns of `featx.schema.BREAKDOWNS`.
    least : int
    """
    kept = []
    for _, own in table[table["by"] != WORST].groupby(["target", "features", "head", "confounds", "by"], sort=False):
        sizes = own.drop_duplicates("label").set_index("label")["n_people"]
        gone = dict(zip(sizes.index, hidden([int(n) for n in sizes], least), strict=True))
        names = {label: label for label in sizes.index}
        if own["by"].iloc[0] == "age":
            bands = _BANDS.get(len(sizes), tuple(f"band {at + 1} of {len(sizes)}" for at in range(len(sizes))))
            names = dict(zip(sizes.index, bands, strict=True))
        shown = own[~own["label"].map(gone).astype(bool)]
        kept.append(shown.assign(label=shown["label"].map(names)))
    return pd.concat(kept) if kept else table.head(0)
