"""What stands beside the scores, as tables of text."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from featx import schema
from featx.analysis.inference.agebias import CAUTION
from featx.report import evidence
from featx.report.answers import score_table

IGNORED, ADDED = ("a", "ridge", "ignored"), ("a", "ridge", "added")


def scores(*arms, target: str = "age", kind: str = "continuous", metrics=("mae", "r")) -> pd.DataFrame:
    """The first of the arms is the best; the baseline is 14.8."""
    rows = [
        (
            target,
            kind,
            *arm,
            metric,
            *((5.0 + at, 4.0 + at, 6.0 + at) if metric == "mae" else (0.9, 0.8, 1.0)),
            14.8,
            50,
            50,
        )
        for at, arm in enumerate(arms)
        for metric in metrics
    ]
    return pd.DataFrame(rows, columns=schema.names(schema.SCORES))


TABLE = score_table(scores(ADDED, IGNORED), "years")


def table_of(columns: tuple[schema.Column, ...], *rows: dict) -> pd.DataFrame:
    return pd.DataFrame([dict(row) for row in rows], columns=schema.names(columns))


# --- comparisons ----------------------------------------------------------------------------------------------

PAIR = {
    "target": "age",
    "question": "features",
    "features_a": "a",
    "features_b": "b",
    "head": "ridge",
    "confounds_a": "added",
    "confounds_b": "ignored",
    "metric": "mae",
    "difference": 0.5,
    "low": 0.2,
    "high": 0.8,
    "p_corrected_t": 0.012,
    "p_delong": math.nan,
    "effect": math.nan,
    "q": 0.012,
}


def test_a_comparison_is_told_with_its_interval_and_what_p_is_not() -> None:
    pairs = table_of(schema.COMPARISONS, PAIR, PAIR | {"features_b": "c"}, PAIR | {"metric": "r", "difference": 0.1})
    found = evidence.compared(pairs, TABLE)
    assert found is not None
    assert [grid.caption for grid in found.grids] == ["Differences in MAE (in years)", "Differences in r"]
    first = found.grids[0]
    assert first.columns == ("This", "against", "difference", "p")
    assert first.rows[0] == ("ridge on a, confounds added", "ridge on b", "0.5 [0.2, 0.8]", "0.012")
    said = " ".join(found.notes)
    assert "positive where it is better" in said
    assert "not corrected for the number of pairs (2 here)" in said
    for word in ("DeLong", "Benjamini", "Cohen"):
        assert word not in said


def test_columns_that_say_something_are_there() -> None:
    pairs = table_of(schema.COMPARISONS, PAIR | {"p_delong": 0.03, "effect": -0.4, "q": 0.05})
    found = evidence.compared(pairs, TABLE)
    assert found is not None
    assert found.grids[0].columns == ("This", "against", "difference", "p", "p DeLong", "q", "d")
    assert found.grids[0].rows[0][3:] == ("0.012", "0.030", "0.050", "−0.40")
    for word in ("DeLong", "q: p after Benjamini & Hochberg over the targets", "Cohen"):
        assert word in " ".join(found.notes)


def test_where_nothing_was_done_there_is_nothing() -> None:
    assert evidence.compared(table_of(schema.COMPARISONS), TABLE) is None
    assert evidence.chance(table_of(schema.PERMUTATIONS)) is None
    assert evidence.parts(table_of(schema.BREAKDOWNS), TABLE) == []
    assert evidence.worst(table_of(schema.BREAKDOWNS), PREDICTED, TABLE, is_number=True) is None
    assert evidence.age_bias(table_of(schema.AGE_BIAS), TABLE) is None
    no_best = score_table(scores(("-", "baseline", "ignored")))
    assert evidence.worst(table_of(schema.BREAKDOWNS), PREDICTED, no_best, is_number=True) is None


# --- chance ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric, coded", [("r", False), ("auc", True)])
def test_against_chance_says_how_small_p_can_be(metric: str, coded: bool) -> None:
    row = dict(zip(("features", "head", "confounds"), ADDED, strict=True)) | {"metric": metric, "value": 0.5}
    row |= {"null_mean": 0.01, "null_high": 0.12, "p": 0.0005, "q": 0.002, "n_permutations": 1999}
    told = evidence.chance(table_of(schema.PERMUTATIONS, row))
    assert told is not None
    note, grid = told
    assert "1,999 permuted targets" in note
    assert "p cannot be below 0.0005" in note
    assert ("coded −1 and 1" in note) == coded
    score = {"r": "r 0.500", "auc": "AUC 0.500"}[metric]
    assert grid.rows == (("a, confounds added", score, "0.010", "0.120", "< 0.001", "0.002"),)


# --- parts of the people --------------------------------------------------------------------------------------


def part(arm, by: str, label: str, metric: str, value: float = 5.0, n_people: int = 40) -> dict:
    own = dict(zip(("features", "head", "confounds"), arm, strict=True))
    numbers = {"value": value, "low": value - 1, "high": value + 1, "n": 50, "n_people": n_people}
    return own | {"target": "age", "by": by, "label": label, "metric": metric} | numbers


def test_parts_of_the_best_arm_come_first() -> None:
    table = score_table(scores(("-", "ridge", "only"), ADDED, IGNORED))  # confounds alone are ahead
    rows = [
        part(arm, by, label, metric, math.nan if label == "IOP" else 5.0, 4 if label == "IOP" else 40)
        for arm in (IGNORED, ADDED, ("-", "ridge", "only"))
        for by, label in (("site", "HH"), ("site", "IOP"), ("age-matched", "9 pairs"), ("worst predicted", "sub-1"))
        for metric in ("mae", "r")
    ]
    found = evidence.parts(table_of(schema.BREAKDOWNS, *rows), table)
    assert [one.words for one in found] == [
        "B ridge on a, confounds added",
        "A ridge on confounds only",
        "C ridge on a",
    ]
    site, matched = found[0].grids
    assert (site.caption, matched.caption) == ("By site", "Matched for age")
    assert site.columns == ("", "MAE", "r", "images", "people")
    assert site.rows == (("HH", "5.0 [4.0, 6.0]", "5.0 [4.0, 6.0]", "50", "40"), ("IOP", "–", "–", "50", "4"))


PREDICTED = pd.DataFrame(
    {
        "features": "a",
        "head": "ridge",
        "confounds": "added",
        "image_id": ["sub-1", "sub-2"],
        "observed": ["20", "30.5"],
        "predicted": ["41.25", "15"],
    }
)


def test_the_worst_are_named_with_what_was_true_and_predicted() -> None:
    rows = [part(ADDED, "worst predicted", *one) for one in (("sub-1", "error", 21.25), ("sub-9", "error", 15.5))]
    rows.append(part(IGNORED, "worst predicted", "sub-2", "error", 99.0))
    found = evidence.worst(table_of(schema.BREAKDOWNS, *rows), PREDICTED, TABLE, is_number=True)
    assert found is not None
    assert found.columns == ("Image", "true", "predicted", "error (years)")
    assert found.rows == (("sub-1", "20.0", "41.2", "21.2"), ("sub-9", "–", "–", "15.5"))
    assert "repeats" not in found.caption
    again = evidence.worst(table_of(schema.BREAKDOWNS, *rows), PREDICTED, TABLE, is_number=True, n_repeats=3)
    assert again is not None
    assert "in the first of 3 repeats" in again.caption
    levels = PREDICTED.assign(observed=["F", "M"], predicted=["M", "F"])
    classes = evidence.worst(table_of(schema.BREAKDOWNS, *rows), levels, TABLE, is_number=False)
    assert classes is not None
    assert classes.rows[0][:3] == ("sub-1", "F", "M")
    assert classes.columns[3] == "−log probability of the true class"


# --- age bias -------------------------------------------------------------------------------------------------


def bias(arm) -> list[dict]:
    own = dict(zip(("features", "head", "confounds"), arm, strict=True))
    return [
        own
        | {"target": "age", "correction": correction, "metric": metric, "value": value, "slope": 0.8}
        | {"low": value - 0.3, "high": value + 0.3}
        for correction, delta in (("raw", -0.5), ("beheshti", 0.0))
        for metric, value in (("mae", 5.0), ("r", 0.9), ("delta_r", delta))
    ]


def test_raw_stands_beside_corrected_and_the_caution_is_said() -> None:
    told = evidence.age_bias(table_of(schema.AGE_BIAS, *bias(IGNORED), *bias(ADDED)), TABLE)
    assert told is not None
    note, (best, every) = told
    assert CAUTION in note
    assert "The scores above are the raw ones" in note
    assert best.columns == ("Arm", "predictions", "MAE", "r", "r of delta with age", "slope in training")
    words = "ridge on a, confounds added"
    assert best.rows == (
        (words, "raw", "5.0 [4.7, 5.3]", "0.9 [0.6, 1.2]", "−0.5 [−0.8, −0.2]", "0.80"),
        (words, "after Beheshti (uses own age)", "5.0 [4.7, 5.3]", "0.9 [0.6, 1.2]", "0.0 [−0.3, 0.3]", "0.80"),
    )
    assert [row[0] for row in every.rows] == [words, words, "ridge on a", "ridge on a"]
    alone = evidence.age_bias(table_of(schema.AGE_BIAS, *bias(IGNORED)), TABLE)
    assert alone is not None
    assert len(alone[1]) == 1


# --- many targets ---------------------------------------------------------------------------------------------


def test_an_overview_has_a_row_for_every_target() -> None:
    spearman = scores(IGNORED, target="pain", kind="ordinal", metrics=("spearman",)).assign(baseline=math.nan)
    empty = score_table(scores(("-", "baseline", "ignored"), target="none"))
    rows = [("age", "continuous", TABLE), ("pain", "ordinal", score_table(spearman)), ("none", "continuous", empty)]
    nulls = table_of(
        schema.PERMUTATIONS,
        {"target": "age", "features": "a", "confounds": "ignored", "p": 0.9, "q": 0.9},
        {"target": "age", "features": "a", "confounds": "added", "p": 0.001, "q": 0.004},
    )
    found = evidence.overview(rows, nulls)
    assert found.columns[-2:] == ("p", "q")
    assert found.rows[0][2:] == (
        *("ridge on a, confounds added", "MAE", "5.0 [4.0, 6.0] years", "14.8"),
        *("better than the baseline", "50", "0.001", "0.004"),
    )
    assert found.rows[1][5:] == ("0.00", "better than chance", "50", "–", "–")
    assert found.rows[2] == ("none", "continuous", *["–"] * 8)
    assert {len(row) for row in found.rows} == {len(found.columns)}
    without = evidence.overview(rows, nulls.head(0))
    assert {len(row) for row in without.rows} == {len(without.columns)} == {8}
