"""How a target's best arm errs over age and from site to site: predicted less observed, or the share of errors."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.people import people_of
from featx.analysis.cohort.targets import CONTINUOUS
from featx.analysis.folds.strata import CLASSES
from featx.analysis.runs.rundir import Run
from featx.report import contents
from featx.report.blocks import Extras, Panel, Section
from featx.report.figures.residuals import Line, Part, along, by_part
from featx.report.panels import Scored
from featx.report.privacy import hidden
from featx.report.wording import count, number

Floats = NDArray[np.float64]

MOST_SITES = 20
MOST_WINDOWS = 200
MOST_BANDS = 5
LEAST_IN_BAND = 20
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Beside:
    """Age and site of images, as far as a run knows them.

    Attributes
    ----------
    table : DataFrame
        Index image_id; columns age (float, NaN where unknown) and site ("" where unknown).
    age, site : str
        Names of the columns they are from, with the unit; "" where there are none.
    """

    table: pd.DataFrame
    age: str
    site: str


def beside(run: Run) -> Beside:
    """Age and site of a run's images: the columns that were named for them, else targets that are called so."""
    columns = (run.facts.get("arguments") or {}).get("columns") or {}
    targets = {str(one["name"]): one for one in run.facts["targets"]}
    found = {"age": pd.Series(dtype=np.float64), "site": pd.Series(dtype=object)}
    names = {"age": str(columns.get("age", "")), "site": str(columns.get("site", ""))}
    for what, kinds in (("age", (CONTINUOUS,)), ("site", CLASSES)):
        own = run.people.set_index(schema.IMAGE_ID)[what]
        own = own[own.notna() & (own != "")]
        alike = [name for name, facts in targets.items() if name.lower() == what and facts["kind"] in kinds]
        if not len(own) and alike:
            images = contents.scored_images(run.predictions[alike[0]])
            own, names[what] = images.set_index(schema.IMAGE_ID)["observed"], alike[0]
        found[what] = own.astype(np.float64) if what == "age" else own.astype(object)
        names[what] = names[what] or what if len(own) else ""
    unit = str(targets.get(names["age"], {}).get("unit", ""))
    return Beside(pd.DataFrame(found), f"{names['age']} ({unit})" if unit else names["age"], names["site"])


def section_of(run: Run, scored: Scored, extras: Extras) -> Section | None:
    """Errors of the best arm by age and site; None where neither is known, or no arm is the best.

    Where single people are not to be shown, there are no points, and no part of fewer than `extras.least` people.
    """
    best = next((row for row in scored.rows if row.is_best), None)
    around = beside(run)
    if around.site == scored.name:  # which would be its classes once more
        around = Beside(around.table.assign(site=np.nan), around.age, "")
    if best is None or not (around.age or around.site):
        return None
    rows = scored.drawn[best.letter].join(around.table, on=schema.IMAGE_ID)
    rows = rows.assign(person=people_of(rows[schema.PARTICIPANT_ID]))
    is_number = contents.is_number(scored.facts)
    if is_number:
        rows = rows.assign(error=rows["predicted"].astype(float) - rows["observed"].astype(float))
    else:
        rows = rows.assign(error=(rows["predicted"] != rows["observed"]).astype(float))
    least = extras.least if extras.is_private else 1
    panels = _numbers(scored, rows, around, least) if is_number else _classes(scored, rows, around, least)
    if not panels:
        return None
    notes = [f"Of {best.letter}, {best.words}{scored.repeats}; out-of-fold predictions."]
    if is_number:
        notes.append(
            "A head that is unsure draws its predictions towards the mean: the low are predicted too high, the high "
            "too low. Where the target goes along with age, that shows here as a slope."
        )
    if extras.is_private:
        notes.append(
            f"Single people are not drawn, nor parts of fewer than {extras.least} people, nor one by which these "
            "could be told."
        )
    title = "Residuals by age and site" if is_number else "Errors by age and site"
    return Section(f"residuals-{scored.prefix}", title, tuple(notes), tuple(panels))


# --- numbers --------------------------------------------------------------------------------------------------


def running_mean(x: Floats, y: Floats, n_window: int, *, apart: bool = False) -> Line:
    """Means of y over windows of neighbours in x, with their 95 % intervals (mean ± 1.96 standard errors).

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Finite, of people who are independent of each other.
    n_window : int
        People in each window, 2 at least.
    apart : bool
        Whether windows share nobody: two that differ by one person would tell of that person.

    Returns
    -------
    Line
        At the mean x of every window, of `MOST_WINDOWS` at most that lie evenly in rank; none where there are fewer
        people than a window has.

    Examples
    --------
    >>> line = running_mean(np.array([3.0, 1.0, 2.0]), np.array([6.0, 0.0, 2.0]), 2)
    >>> line.x.tolist(), line.mean.tolist()
    ([1.5, 2.5], [1.0, 4.0])
    """
    order = np.argsort(x, kind="stable")
    starts = np.linspace(0, len(x) - n_window, MOST_WINDOWS).astype(int) if len(x) >= n_window else np.empty(0, int)
    if apart:
        starts = np.arange(0, len(x) - n_window + 1, n_window)
    parts = [order[start : start + n_window] for start in np.unique(starts)]
    mean = np.array([y[part].mean() for part in parts])
    half = np.array([_Z * y[part].std(ddof=1) / np.sqrt(n_window) for part in parts])
    return Line(np.array([x[part].mean() for part in parts]), mean, mean - half, mean + half)


def _numbers(scored: Scored, rows: pd.DataFrame, around: Beside, least: int) -> list[Panel]:
    unit = f" ({scored.table.unit})" if scored.table.unit else ""
    label, found = f"predicted − observed{unit}", []
    old = rows[rows["age"].notna()]
    people = old.groupby("person", sort=True)[["age", "error"]].mean()
    n_window = max(15, least, len(people) // 10)
    if around.age and len(people) >= 2 * n_window:
        line = running_mean(people["age"].to_numpy(), people["error"].to_numpy(), n_window, apart=least > 1)
        shown = old if least == 1 else old.iloc[:0]
        slope = np.polyfit(people["age"], people["error"], 1)[0]
        drawing = along(
            shown["age"].to_numpy(),
            shown["error"].to_numpy(),
            line,
            labels=(around.age, label),
            alt=f"Predicted less observed {scored.name} against age; slope {number(float(slope), 2)}",
            prefix=f"{scored.prefix}byage",
        )
        caption = f"Orange: mean of {n_window} neighbours in age, with its 95 % interval. "
        caption += (
            f"Slope of the line through all {count(len(people), 'person', 'people')}: {number(float(slope), 2)}."
        )
        data = pd.DataFrame({"age": line.x, "mean": line.mean, "low": line.low, "high": line.high})
        if least == 1:
            data = old[[schema.IMAGE_ID, "age", "error"]].reset_index(drop=True)
        found.append(Panel("", "By age", drawing, caption, data))
    parts, left = _parts(rows[rows["site"].notna()], "site", least, is_rate=False)
    if parts:
        drawing = by_part(
            parts,
            label=label,
            zero=0.0,
            whole="",
            alt=f"Predicted less observed {scored.name} by {around.site}",
            prefix=f"{scored.prefix}bysite",
        )
        caption = "Diamond: mean over people with its 95 % interval; bar: quartiles, with the median." + left
        found.append(Panel("", f"By {around.site}", drawing, caption, _as_data(parts)))
    return found


# --- classes --------------------------------------------------------------------------------------------------


def wilson(n_wrong: float, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927).

    Examples
    --------
    >>> [round(end, 4) for end in wilson(5, 20)]
    [0.1119, 0.4687]
    """
    share, z2 = n_wrong / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return float(centre - half), float(centre + half)


def age_bands(age: Floats, n_bands: int) -> tuple[NDArray[np.intp], list[str]]:
    """Bands of about equally many, and what they are called: by inner edges alone, so that nobody's age is told.

    Examples
    --------
    >>> age_bands(np.array([20.0, 30.0, 40.0, 50.0]), 2)
    (array([0, 0, 1, 1]), ['up to 35', 'over 35'])
    """
    edges = np.unique(np.round(np.quantile(age, np.arange(1, n_bands) / n_bands), 1))
    if not len(edges):
        return np.zeros(len(age), dtype=np.intp), ["all"]
    inner = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    return np.searchsorted(edges, age, side="left"), [f"up to {edges[0]:g}", *inner, f"over {edges[-1]:g}"]


def _classes(scored: Scored, rows: pd.DataFrame, around: Beside, least: int) -> list[Panel]:
    old, found = rows[rows["age"].notna()], []
    n_bands = min(MOST_BANDS, old["person"].nunique() // max(least, LEAST_IN_BAND))
    ways = []
    if around.age and n_bands > 1:
        band, names = age_bands(old["age"].to_numpy(), n_bands)
        order = pd.Categorical([names[one] for one in band], categories=names, ordered=True)
        ways.append(("By age", "byage", *_parts(old.assign(band=order), "band", least, is_rate=True)))
    sites = rows[rows["site"].notna()]
    ways.append((f"By {around.site}", "bysite", *_parts(sites, "site", least, is_rate=True)))
    for title, key, parts, left in ways:
        if not parts:
            continue
        drawing = by_part(
            parts,
            label="share that is predicted wrongly",
            zero=float(rows["error"].mean()),
            whole="all",
            alt=f"Share of {scored.name} that is predicted wrongly, {title.lower()}",
            prefix=f"{scored.prefix}{key}",
        )
        caption = (
            "Diamond: share of images whose likeliest class is wrong, with its 95 % interval (Wilson, people as n)."
        )
        found.append(Panel("", title, drawing, caption + left, _as_data(parts)))
    return found


# --- parts ----------------------------------------------------------------------------------------------------


def _parts(rows: pd.DataFrame, by: str, least: int, *, is_rate: bool) -> tuple[list[Part], str]:
    """Parts, the largest first where they have no order, and what is left out as text: what may not be shown, who is
    alone, and the smallest of very many sites.
    """
    groups = [(str(label), own) for label, own in rows.groupby(by, sort=True, observed=True)]
    sizes = [int(own["person"].nunique()) for _, own in groups]
    gone = hidden(sizes, least)
    kept = [(label, own, n) for (label, own), n, no in zip(groups, sizes, gone, strict=True) if n > 1 and not no]
    if by == "site":
        kept = sorted(kept, key=lambda one: -one[2])[:MOST_SITES]
    lost = len(groups) - len(kept)
    left = f" {count(lost, 'part is', 'parts are')} left out." if lost else ""
    return [_part(f"{label} (n = {n:,})", own, is_rate, least == 1) for label, own, n in kept], left


def _part(label: str, rows: pd.DataFrame, is_rate: bool, with_points: bool) -> Part:
    error = rows["error"].to_numpy(np.float64)
    own = rows.groupby("person", sort=True)["error"].mean().to_numpy(np.float64)
    if is_rate:
        return Part(label, float(own.mean()), *wilson(float(own.sum()), len(own)))
    mean, half = float(own.mean()), float(_Z * own.std(ddof=1) / np.sqrt(len(own)))
    quartiles = tuple(float(one) for one in np.percentile(error, (25, 50, 75)))
    return Part(label, mean, mean - half, mean + half, quartiles, error if with_points else None)


def _as_data(parts: Iterable[Part]) -> pd.DataFrame:
    rows = [(part.label, part.mean, part.low, part.high, *(part.quartiles or (np.nan,) * 3)) for part in parts]
    return pd.DataFrame(rows, columns=["part", "mean", "low", "high", "q25", "median", "q75"])
