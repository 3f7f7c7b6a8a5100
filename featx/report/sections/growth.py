"""How scores grow with people, and losses fall with epochs: folders of `featx curve`, and runs of `featx train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.comparing.crossing import crossings, curve_points
from featx.analysis.comparing.reading import Entry, read_entries
from featx.analysis.inference.metrics import metrics_of
from featx.analysis.runs.rundir import Run
from featx.errors import AnalysisError
from featx.report.blocks import Grid, Panel, Section
from featx.report.comparing.standings import crossing_words
from featx.report.figures.curves import learning_curves, losses_of_fits
from featx.report.wording import count, number, short_metric

MOST_ARMS = 4  # side by side
ALPHA = 0.05
_ARM = ["features", "head", "confounds"]
_FIT = ["repeat", "fold", "seed"]

# --- over people ----------------------------------------------------------------------------------------------


def learning_section(run: Run, folders: tuple[Path, ...]) -> Section | None:
    """Learning curves: median and quartiles over draws of people, and where arms cross.

    Parameters
    ----------
    run : Run
        Its units are taken; that curves are of another phenotype table is said.
    folders : tuple of Path
        Of `featx curve`.

    Raises
    ------
    AnalysisError
        A folder is not of `featx curve`, or a part of it is missing or damaged.
    """
    if not folders:
        return None
    notes = [
        "Every arm is trained on the same draws of people and scored on the same test people. Line: the median over "
        "draws; band: from the 25th to the 75th percentile."
    ]
    units = {str(one["name"]): str(one.get("unit", "")) for one in run.facts["targets"]}
    panels: list[Panel] = []
    grids: list[Grid] = []
    for at, folder in enumerate(folders):
        (entry,) = read_entries([folder])
        if entry.points is None:
            raise AnalysisError(
                f"curves must be a folder that `featx curve` wrote; {folder} is a run; give another folder"
            )
        panels += _curve_panels(entry.points, units, entry.name, f"curve{at}")
        grids += _crossing_grids(entry)
        if _table_of(run.facts) != _table_of(entry.facts):
            notes.append(f"The curves of {entry.name} are of another phenotype table than this run.")
    if not panels:
        return None
    if not grids:
        notes.append("No curve of medians crosses another one within the sizes that were tried.")
    else:
        notes.append(
            "Where two curves of medians cross, linearly in the logarithm of the people who train; in brackets the "
            "95 % interval, by bootstrap over draws."
        )
    return Section("learning-curves", "Learning curves", tuple(notes), tuple(panels), (), tuple(grids), is_wide=True)


def _table_of(facts: Mapping[str, object]) -> object:
    told = facts.get("phenotypes")
    return told.get("sha256") if isinstance(told, Mapping) else None


def _curve_panels(points: pd.DataFrame, units: Mapping[str, str], name: str, prefix: str) -> list[Panel]:
    found = []
    for at, (target, own) in enumerate(points.groupby("target", sort=False)):
        for drawing in learning_curves(own, units).values():
            sizes = ", ".join(f"{n:,}" for n in sorted(set(own["n_train"])))
            caption = f"{name}: {sizes} people train, {count(own['draw'].nunique(), 'draw')} of each size."
            found.append(
                Panel("", str(target), replace(drawing, prefix=f"{prefix}-{at}"), caption, curve_quartiles(own))
            )
    return found


def curve_quartiles(points: pd.DataFrame) -> pd.DataFrame:
    """What the curves of one target show: median and quartiles of the first metric over draws.

    Parameters
    ----------
    points : DataFrame
        Columns of `featx.schema.CURVE`, rows of one target; NaN values are passed over.

    Returns
    -------
    DataFrame
        Columns features, head, confounds, n_train, n_draws, q25, median and q75.
    """
    metric = next(iter(metrics_of(str(points["kind"].iloc[0]))))
    own = points[points["metric"] == metric].dropna(subset=["value"])
    by = own.groupby([*_ARM, "n_train"], sort=False)["value"]
    table = by.quantile(np.array([0.25, 0.5, 0.75])).unstack().set_axis(["q25", "median", "q75"], axis=1)
    return table.assign(n_draws=by.size()).reset_index()[[*_ARM, "n_train", "n_draws", "q25", "median", "q75"]]


def _crossing_grids(entry: Entry) -> list[Grid]:
    table = crossings(curve_points(entry, ()), ALPHA)
    table = table[table["n_cross"].notna()]
    found = []
    for (target, metric), own in table.groupby(["target", "metric"], sort=False):
        rows = tuple(
            (str(row["arm"]), str(row["overtaken"]), crossing_words(row), _share(row["share"]))
            for row in own.to_dict("records")
        )
        caption = f"{target}, {short_metric(str(metric))}: who overtakes whom ({entry.name})"
        found.append(Grid(caption, ("This", "overtakes", "at people who train", "share of draws"), rows, 2))
    return found


def _share(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "–"


# --- over epochs ----------------------------------------------------------------------------------------------


def losses_section(run: Run) -> Section | None:
    """Losses of all networks that a run trained, and whether training ended too early; None of other runs.

    Raises
    ------
    AnalysisError
        The table of losses cannot be read.
    """
    path = run.path / schema.TRAINING_CURVES_CSV
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path, dtype={"target": str, "arm": str, "phase": str}, keep_default_na=False)
        curves = table[schema.names(schema.TRAINING_CURVES)]
    except (OSError, ValueError, KeyError) as error:
        raise AnalysisError(
            f"losses of a run must be the table that `featx train` wrote; {path} cannot be read "
            f"({type(error).__name__}); train again, or move that file away"
        ) from error
    panels, grids = [], []
    for at, (target, own) in enumerate(curves.groupby("target", sort=False)):
        fits = fits_of(own)
        arms = list(dict.fromkeys(fits["arm"]))
        for start in range(0, len(arms), MOST_ARMS):
            few = arms[start : start + MOST_ARMS]
            shown = fits[fits["arm"].isin(few)]
            drawing = losses_of_fits(
                shown, alt=f"Losses over epochs of {target}: {', '.join(few)}", prefix=f"losses{at}-{start}"
            )
            n_fits = shown.groupby("arm")["fit"].nunique().max()
            caption = f"{count(int(n_fits), 'fit')} of each arm, a line each; dot: the epoch whose weights were kept."
            panels.append(Panel("", str(target), drawing, caption, shown))
        grids.append(_ends_grid(str(target), fits))
    notes = (
        "Solid: loss of the training people, while the epoch went on; dashed: of the validation people, after it. "
        "They choose the epoch; the people who test choose nothing.",
        "Where the loss of the validation people is lowest in the last epoch, it was still falling when training "
        "ended: more epochs may help that arm, and a comparison with it is not final.",
    )
    return Section("losses", "How the networks learned", notes, tuple(panels), (), tuple(grids), is_wide=True)


def fits_of(curves: pd.DataFrame) -> pd.DataFrame:
    """Losses of one target with what is drawn of them.

    Parameters
    ----------
    curves : DataFrame
        Columns of `featx.schema.TRAINING_CURVES`, rows of one target.

    Returns
    -------
    DataFrame
        Columns arm, fit (repeat, fold and seed as text), place (epochs, phases one behind the other), phase, epoch,
        train_loss, validation_loss, is_kept: whether the loss of the validation people is the lowest of its phase,
        the first of equal ones.

    Examples
    --------
    >>> rows = [("y", "full", 0, 0, 0, "all", epoch, 1.0, loss, 0.1) for epoch, loss in enumerate([3.0, 1.0, 2.0])]
    >>> fits_of(pd.DataFrame(rows, columns=schema.names(schema.TRAINING_CURVES)))["is_kept"].tolist()
    [False, True, False]
    """
    table = curves.assign(fit=[f"repeat {r}, fold {f}, seed {s}" for r, f, s in curves[_FIT].to_numpy()])
    lengths = table.groupby(["arm", "phase"], sort=False)["epoch"].max() + 1
    starts = (lengths.groupby("arm", sort=False).cumsum() - lengths).rename("start")
    table = table.join(starts, on=["arm", "phase"])
    lowest = table.groupby(["arm", "fit", "phase"], sort=False)["validation_loss"].idxmin()
    table = table.assign(place=table["start"] + table["epoch"], is_kept=table.index.isin(lowest))
    names = ["arm", "fit", "place", "phase", "epoch", "train_loss", "validation_loss", "is_kept"]
    return table[names].reset_index(drop=True)


def _ends_grid(target: str, fits: pd.DataFrame) -> Grid:
    """Of each arm: fits, epochs, which was kept, and how many were still falling."""
    rows = []
    for arm, own in fits.groupby("arm", sort=False):
        last = own[own["phase"] == own["phase"].iloc[-1]]
        kept = last[last["is_kept"]].set_index("fit")
        ends = last.groupby("fit", sort=False)["epoch"].max()
        falling = int((kept["epoch"] == ends.loc[kept.index]).sum())
        epochs = " to ".join(f"{n + 1:,}" for n in sorted({int(ends.min()), int(ends.max())}))
        best = number(kept["validation_loss"].median())
        told = (f"{len(ends):,}", epochs, f"{kept['epoch'].median() + 1:g}", best, f"{falling} of {len(ends)}")
        rows.append((str(arm), *told))
    columns = ("Arm", "fits", "epochs", "kept epoch (median)", "its validation loss", "still falling at the end")
    return Grid(f"Training of {target}", columns, tuple(rows), 1)
