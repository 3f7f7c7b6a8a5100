"""What stands beside the scores of a target, as tables of text: comparisons, chance, parts of people, age bias."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.inference.agebias import CAUTION, DELTA_R
from featx.report.answers import OVER_BASELINE, ScoreRow, ScoreTable, in_unit, places_of
from featx.report.blocks import Grid
from featx.report.wording import (
    VERDICTS,
    arm,
    count,
    decimals,
    features_words,
    held_against,
    number,
    p_value,
    short_metric,
    verdict,
    with_interval,
)

WORST = "worst predicted"
_PARTS = {"site": "By site", "age": "By age", "age-matched": "Matched for age"}
CALIBRATION = "Calibration: an intercept of 0 and a slope of 1 are perfect; a slope below 1 is too sure of itself"
CORRECTIONS = {"cole": "after Cole (line inverted)", "beheshti": "after Beheshti (uses own age)"}


@dataclass(frozen=True)
class Compared:
    """What is compared: one table for every metric, the first one first, and how to read them."""

    notes: tuple[str, ...]
    grids: tuple[Grid, ...]


@dataclass(frozen=True)
class Parts:
    """Scores of parts of the people for one arm."""

    words: str
    grids: tuple[Grid, ...]


# --- comparisons ----------------------------------------------------------------------------------------------


def compared(comparisons: pd.DataFrame, table: ScoreTable) -> Compared | None:
    """One arm against another, on the same people and folds; None where nothing is compared.

    Parameters
    ----------
    comparisons : DataFrame
        Columns of `featx.schema.COMPARISONS`, rows of one target.
    table : ScoreTable
        Of the same target.
    """
    if not len(comparisons):
        return None
    grids = [_comparison_grid(comparisons[comparisons["metric"] == name], table, name) for name in table.metrics]
    notes = [
        "Difference: how much better the first is than the second, positive where it is better (for an error: how "
        "much smaller), on the same people and folds; in brackets the 95 % interval, paired bootstrap over people.",
        "p: corrected resampled t-test over folds (Nadeau & Bengio 2003), not corrected for the number of pairs "
        f"({len(comparisons.drop_duplicates(_PAIR))} here)."
        + (" p DeLong: of the AUC, first repeat." if comparisons["p_delong"].notna().any() else "")
        + (" q: p after Benjamini & Hochberg over the targets of the same comparison." if _has_q(comparisons) else "")
        + (" d: Cohen's d of paired absolute errors." if comparisons["effect"].notna().any() else ""),
    ]
    return Compared(tuple(notes), tuple(grid for grid in grids if grid.rows))


_PAIR = ["question", "features_a", "features_b", "head", "confounds_a", "confounds_b"]
_EXTRA = {"p_corrected_t": "p", "p_delong": "p DeLong", "q": "q", "effect": "d"}


def _has_q(comparisons: pd.DataFrame) -> bool:
    """Whether q says more than p: where there are several targets."""
    p, q = comparisons["p_corrected_t"], comparisons["q"]
    return bool(((q - p).abs() > 0).any())


def _comparison_grid(rows: pd.DataFrame, table: ScoreTable, metric: str) -> Grid:
    shown = {name: title for name, title in _EXTRA.items() if rows[name].notna().any()}
    if not _has_q(rows):
        shown.pop("q", None)
    places = decimals(((rows["high"] - rows["low"]) / 2).tolist())
    unit = in_unit(metric, table.unit)
    caption = f"Differences in {short_metric(metric)}{f' (in{unit})' if unit else ''}"
    columns = ("This", "against", "difference", *shown.values())
    return Grid(caption, columns, tuple(_comparison(row, shown, places) for _, row in rows.iterrows()), 2)


def _comparison(row: pd.Series, shown: Mapping[str, str], places: int | None) -> tuple[str, ...]:
    a = arm(row["features_a"], row["head"], row["confounds_a"])
    b = arm(row["features_b"], row["head"], row["confounds_b"])
    b = "the baseline" if row["question"] == OVER_BASELINE else b
    extra = [number(float(row[name]), 2) if name == "effect" else p_value(float(row[name])) for name in shown]
    return a, b, with_interval(row["difference"], row["low"], row["high"], places), *extra


# --- against chance -------------------------------------------------------------------------------------------


def chance(permutations: pd.DataFrame) -> tuple[str, Grid] | None:
    """What ridge reaches on the target, and on permuted ones; None where nothing was permuted.

    Parameters
    ----------
    permutations : DataFrame
        Columns of `featx.schema.PERMUTATIONS`, rows of one target.
    """
    if not len(permutations):
        return None
    n = int(permutations["n_permutations"].max())
    note = (
        f"Ridge on {count(n, 'permuted target')}, each through the whole outer loop of the first repeat: what "
        f"features reach that say nothing. p cannot be below {1 / (n + 1):.2g}; q is after Benjamini & Hochberg "
        "over the targets."
    )
    if (permutations["metric"] == "auc").any():
        note += " Classes are coded −1 and 1 for it, so that its score is not quite that of the heads above."
    columns = ("Features", "score", "by chance", "best of 95 % by chance", "p", "q")
    rows = [
        (
            features_words(str(row["features"]), str(row["confounds"])),
            f"{short_metric(str(row['metric']))} {number(row['value'], 3)}",
            number(row["null_mean"], 3),
            number(row["null_high"], 3),
            p_value(row["p"]),
            p_value(row["q"]),
        )
        for _, row in permutations.iterrows()
    ]
    return note, Grid("Ridge against permuted targets", columns, tuple(rows), 1)


# --- parts of the people --------------------------------------------------------------------------------------


def parts(breakdowns: pd.DataFrame, table: ScoreTable) -> list[Parts]:
    """Scores by site, by band of age and matched for age, of the arms that are drawn, the best one first.

    Parameters
    ----------
    breakdowns : DataFrame
        Columns of `featx.schema.BREAKDOWNS`, rows of one target.
    table : ScoreTable
        Of the same target.
    """
    found = []
    for row in sorted((row for row in table.rows if row.letter), key=lambda row: not row.is_best):
        own = rows_of(breakdowns, row)
        grids = [_part(own[own["by"] == by], table.metrics, caption) for by, caption in _PARTS.items()]
        calibration = own[own["by"] == "calibration"]
        grids.append(_part(calibration, list(dict.fromkeys(calibration["metric"])), CALIBRATION))
        if any(grid.rows for grid in grids):
            found.append(Parts(f"{row.letter} {row.words}", tuple(grid for grid in grids if grid.rows)))
    return found


def rows_of(table: pd.DataFrame, row: ScoreRow) -> pd.DataFrame:
    """Rows of a table that tell of one arm."""
    return table[
        (table["features"] == row.features) & (table["head"] == row.head) & (table["confounds"] == row.confounds)
    ]


def _part(rows: pd.DataFrame, metrics: Sequence[str], caption: str) -> Grid:
    places = {name: places_of(rows[rows["metric"] == name]) for name in metrics}
    told = []
    for label, own in rows.groupby("label", sort=False):
        by = own.set_index("metric").to_dict("index")
        cells = [
            with_interval(by[name]["value"], by[name]["low"], by[name]["high"], places[name]) if name in by else "–"
            for name in metrics
        ]
        first = own.iloc[0]
        told.append((str(label), *cells, f"{int(first['n']):,}", f"{int(first['n_people']):,}"))
    return Grid(caption, ("", *map(short_metric, metrics), "images", "people"), tuple(told), 1)


def worst(
    breakdowns: pd.DataFrame, drawn: pd.DataFrame, table: ScoreTable, *, is_number: bool, n_repeats: int = 1
) -> Grid | None:
    """The images that the best arm predicts worst; None where the run does not say.

    Parameters
    ----------
    breakdowns : DataFrame
        Columns of `featx.schema.BREAKDOWNS`, rows of one target.
    drawn : DataFrame
        Predictions of the same target as figures show them.
    table : ScoreTable
    is_number : bool
        Whether the target is predicted as a number.
    n_repeats : int
    """
    if table.best is None:
        return None
    own = rows_of(breakdowns, table.best)
    own = own[own["by"] == WORST]
    if not len(own):
        return None
    first = rows_of(drawn, table.best)
    places = decimals([own["value"].to_numpy(np.float64).mean() / 20])
    pairs = [
        [number(float(one), places) for one in first[name]] if is_number else [str(one) for one in first[name]]
        for name in ("observed", "predicted")
    ]
    said = dict(zip(first[schema.IMAGE_ID], zip(*pairs, strict=True), strict=True))
    error = f"error{f' ({table.unit})' if table.unit else ''}" if is_number else "−log probability of the true class"
    told = [
        (str(image), *said.get(image, ("–", "–")), number(float(value), places))
        for image, value in zip(own["label"], own["value"], strict=True)
    ]
    caption = f"Predicted worst by {table.best.words}"
    if n_repeats > 1:
        caption += f"; predicted: in the first of {n_repeats} repeats, error: mean over all of them"
    return Grid(caption, ("Image", "true", "predicted", error), tuple(told), 1)


# --- age bias -------------------------------------------------------------------------------------------------


def age_bias(bias: pd.DataFrame, table: ScoreTable) -> tuple[str, tuple[Grid, ...]] | None:
    """Raw predictions of age beside corrected ones; None where none were corrected.

    Parameters
    ----------
    bias : DataFrame
        Columns of `featx.schema.AGE_BIAS`, rows of one target.
    table : ScoreTable
        Of the same target; its order is that of the arms.

    Returns
    -------
    str, tuple of Grid
        How to read it; the best arm, then all arms where there are several.
    """
    if not len(bias):
        return None
    places = {str(name): _bias_places(bias, str(name)) for name in dict.fromkeys(bias["metric"])}
    rows = sorted(table.rows, key=lambda row: not row.is_best)
    found = [told for row in rows if (told := _corrections(rows_of(bias, row), row.words, places))]
    note = (
        f"Delta is predicted less own age; {short_metric(DELTA_R)} is the bias that a correction is to remove. The "
        f"scores above are the raw ones. {CAUTION}"
    )
    columns = ("Arm", "predictions", *map(short_metric, places), "slope in training")
    grids = [Grid("Before and after correction", columns, tuple(found[0]), 2)]
    if len(found) > 1:
        grids.append(Grid(f"All {len(found)} arms", columns, tuple(row for told in found for row in told), 2))
    return note, tuple(grids)


def _corrections(rows: pd.DataFrame, words: str, places: Mapping[str, int | None]) -> list[tuple[str, ...]]:
    """Raw and corrected numbers of one arm, one row each."""
    told = []
    for correction, own in rows.groupby("correction", sort=False):
        by = own.set_index("metric").to_dict("index")
        cells = [with_interval(by[m]["value"], by[m]["low"], by[m]["high"], places[m]) for m in places]
        slope = number(float(own["slope"].iloc[0]), 2)
        told.append((words, CORRECTIONS.get(str(correction), str(correction)), *cells, slope))
    return told


def _bias_places(bias: pd.DataFrame, metric: str) -> int | None:
    rows = bias[bias["metric"] == metric]
    return decimals(((rows["high"] - rows["low"]) / 2).tolist(), most=6 if metric == "mae" else 3)


# --- many targets ---------------------------------------------------------------------------------------------


def overview(rows: Sequence[tuple[str, str, ScoreTable]], permutations: pd.DataFrame) -> Grid:
    """All targets in one table: the best arm, its first metric, what that is held against, and p where there is one.

    Parameters
    ----------
    rows : sequence of (target, kind, ScoreTable)
        In the order of the page.
    permutations : DataFrame
        Columns of `featx.schema.PERMUTATIONS`, all targets.
    """
    tested = permutations.set_index(["target", "features", "confounds"])[["p", "q"]].to_dict("index")
    columns = ("Target", "kind", "best arm", "metric", "score", "baseline", "verdict", "n")
    told = []
    for target, kind, table in rows:
        best = table.best
        if best is None:
            told.append((target, kind, *["–"] * (len(columns) - 2 + 2 * bool(tested))))
            continue
        metric, (value, low, high, against) = table.metrics[0], best.numbers
        places = decimals([(high - low) / 2])
        word = VERDICTS[verdict(metric, low, high, against)].split(":")[0].format(held_against(metric))
        cells = (short_metric(metric), with_interval(value, low, high, places) + in_unit(metric, table.unit))
        p = tested.get((target, best.features, best.confounds), {})
        ps = [p_value(p.get(name, math.nan)) for name in ("p", "q")] if tested else []
        told.append((target, kind, best.words, *cells, number(against, places), word, best.n, *ps))
    return Grid(f"All {len(told)} targets", columns + (("p", "q") if tested else ()), tuple(told), 4)
