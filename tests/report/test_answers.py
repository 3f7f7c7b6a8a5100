"""Scores as rows, and the answer that they give."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.adjust.confounds import MODES
from featx.report.answers import LETTERS, MOST_FIGURES, OVER_BASELINE, answer, score_table, strength
from featx.report.wording import BETTER, NO_BETTER, TREATED, UNKNOWN, WORSE

FACTS = {"name": "age", "kind": "continuous", "n_images": 50, "n_tested": 50, "n_repeats": 1}


def scores(rows: list[tuple], kind: str = "continuous") -> pd.DataFrame:
    """Rows of features, head, metric, value, low, high, baseline and, where they are not ignored, confounds."""
    full = [("age", kind, *row[:2], row[7] if len(row) > 7 else "ignored", *row[2:7], 50, 50) for row in rows]
    return pd.DataFrame(full, columns=schema.names(schema.SCORES))


TWO_HEADS = scores(
    [
        ("-", "baseline", "mae", 14.8, 13.0, 16.6, 14.8),
        ("-", "baseline", "r", math.nan, math.nan, math.nan, math.nan),
        ("a/b", "ridge", "mae", 6.51, 5.9, 7.2, 14.8),
        ("a/b", "ridge", "r", 0.85, 0.8, 0.9, math.nan),
        ("a/c", "ridge", "mae", 5.87, 5.3, 6.5, 14.8),
        ("a/c", "ridge", "r", 0.9, 0.86, 0.93, math.nan),
    ]
)


def test_the_best_stands_first_and_the_baseline_last() -> None:
    table = score_table(TWO_HEADS, "years")
    assert [(row.letter, row.features, row.head) for row in table.rows] == [
        ("A", "a/c", "ridge"),
        ("B", "a/b", "ridge"),
        ("", "-", "baseline"),
    ]
    assert [row.is_best for row in table.rows] == [True, False, False]
    assert table.rows[0].cells == ("5.9 [5.3, 6.5]", "0.90 [0.86, 0.93]")
    assert table.rows[2].cells == ("14.8 [13.0, 16.6]", "–")
    assert table.metrics == ("mae", "r")
    assert "MAE: mean absolute error, in years (lower is better)" in table.legend
    assert table.n_arms == table.n_candidates == 2
    assert table.ends == (5.3, 16.6)


def test_the_answer_names_the_best_the_baseline_and_that_it_was_picked() -> None:
    found = answer(FACTS, score_table(TWO_HEADS, "years"), TWO_HEADS)
    assert found.verdict == BETTER
    assert found.headline == (
        "Better than the baseline: mean absolute error 5.9 [5.3, 6.5] years against 14.8 years for the baseline."
    )
    assert found.detail == "ridge on a/c: 50 images, out of fold (r 0.90 [0.86, 0.93])."
    assert "best of 2 combinations" in found.caution


def test_an_interval_that_holds_the_baseline_is_told_plainly() -> None:
    table = scores([("a", "ridge", "mae", 14.0, 12.9, 15.1, 14.8), ("-", "baseline", "mae", 14.8, 13, 16, 14.8)])
    found = answer(FACTS, score_table(table), table)
    assert found.verdict == NO_BETTER
    assert found.headline == (
        "No better than the baseline: mean absolute error 14.0 [12.9, 15.1] against 14.8 for the baseline, "
        "which the interval includes."
    )
    assert found.caution == ""  # one combination: nothing was picked


def test_without_intervals_nothing_is_claimed() -> None:
    table = scores([("a", "ridge", "mae", 5.0, math.nan, math.nan, 14.8)])
    found = answer(FACTS, score_table(table), table)
    assert found.verdict == UNKNOWN
    assert "not compared with the baseline" in found.headline


def test_without_heads_there_is_no_answer() -> None:
    table = scores([("-", "baseline", "mae", 14.8, 13.0, 16.6, 14.8)])
    assert answer(FACTS, score_table(table), table).headline == "No head was scored on features."


def test_a_head_without_a_value_ranks_last() -> None:
    rows = [("a", "x", "auc", math.nan, math.nan, math.nan, 0.5), ("a", "y", "auc", 0.4, 0.3, 0.5, 0.5)]
    table = score_table(scores(rows, "binary"))
    assert [row.head for row in table.rows] == ["y", "x"]
    assert table.rows[1].cells == ("–",)


def test_only_the_best_are_drawn() -> None:
    rows = [(f"set{at}", "ridge", "mae", 5.0 + at, 4.0 + at, 6.0 + at, 14.8) for at in range(9)]
    table = score_table(scores(rows[::-1]))
    assert "".join(row.letter for row in table.rows) == "ABCDEF"
    assert [row.features for row in table.rows] == [f"set{at}" for at in range(9)]


def test_letters_suffice_for_the_figures() -> None:
    assert len(LETTERS) >= MOST_FIGURES


# --- confounds ------------------------------------------------------------------------------------------------

WITH_CONFOUNDS = scores(
    [
        ("-", "baseline", "mae", 14.8, 13.0, 16.6, 14.8),
        ("-", "ridge", "mae", 5.0, 4.5, 5.5, 14.8, "only"),
        ("a", "ridge", "mae", 6.5, 6.0, 7.0, 14.8),
        ("a", "ridge", "mae", 6.0, 5.5, 6.5, 14.8, "added"),
        ("a", "ridge", "mae", 3.0, 2.5, 3.5, 14.8, "target"),
    ]
)


def gain(difference: float, low: float, high: float) -> pd.DataFrame:
    row = dict.fromkeys(schema.names(schema.COMPARISONS), math.nan) | {"target": "age", "metric": "mae"}
    row |= {"question": "gain over confounds", "features_a": "a", "features_b": "-", "head": "ridge"}
    row |= {"confounds_a": "added", "confounds_b": "only", "difference": difference, "low": low, "high": high}
    other = row | {"features_a": "b", "difference": 99.0}
    return pd.DataFrame([other, row])


def test_the_answer_is_an_arm_with_features_on_the_target_itself() -> None:
    table = score_table(WITH_CONFOUNDS)
    assert [(row.letter, row.confounds, row.is_best) for row in table.rows] == [
        ("A", "only", False),
        ("B", "added", True),
        ("C", "ignored", False),
        ("D", "target", False),  # a smaller error, but of another target: below the others
        ("", "ignored", False),
    ]
    assert table.best is not None
    assert (table.n_arms, table.n_candidates) == (4, 2)
    assert math.isnan(table.rows[3].numbers[3])  # the baseline is not that of what confounds leave
    found = answer(FACTS, table, WITH_CONFOUNDS)
    assert "6.0 [5.5, 6.5]" in found.headline
    assert found.detail.startswith("ridge on a, confounds added: 50 images")
    assert "combinations of features, head and treatment of confounds" in found.caution


@pytest.mark.parametrize(
    "numbers, said",
    [
        ((1.2, 0.9, 1.5), "; adding a to them gains 1.2 [0.9, 1.5] years."),
        ((0.1, -0.4, 0.6), "gains 0.1 [−0.4, 0.6] years, which adds nothing that is sure: the interval includes 0."),
        ((-1.0, -1.5, -0.5), "gains −1.0 [−1.5, −0.5] years, which makes it worse."),
        ((1.2, math.nan, math.nan), "gains 1.2 years."),
    ],
)
def test_the_gain_over_confounds_is_told_with_its_interval(numbers, said) -> None:
    found = answer(FACTS, score_table(WITH_CONFOUNDS, "years"), WITH_CONFOUNDS, gain(*numbers))
    assert found.gain.startswith("Confounds alone reach MAE 5.0 [4.5, 5.5] years (ridge)")
    assert found.gain.endswith(said)


def test_without_confounds_or_comparisons_nothing_is_said_of_a_gain() -> None:
    assert answer(FACTS, score_table(TWO_HEADS), TWO_HEADS, gain(1.0, 0.5, 1.5)).gain == ""
    alone = answer(FACTS, score_table(WITH_CONFOUNDS), WITH_CONFOUNDS, gain(1.0, 0.5, 1.5).head(1))
    assert alone.gain == "Confounds alone reach MAE 5.0 [4.5, 5.5] (ridge)."


@pytest.mark.parametrize(
    "numbers, word, said",
    [
        (
            (0.8, 0.2, 1.4),
            BETTER,
            "Better than the baseline: .* for the baseline, a paired difference of 0.8 .0.2, 1.4.",
        ),
        ((0.8, -0.2, 1.8), NO_BETTER, "No better than the baseline: .* a paired difference of 0.8 .-0.2, 1.8..$"),
    ],
)
def test_the_verdict_is_that_of_the_paired_difference(numbers, word, said) -> None:
    """The arm's own interval holds the baseline in both cases: people differ more than the two predictions of one."""
    table = scores([("a", "ridge", "mae", 14.0, 12.9, 15.1, 14.8), ("-", "baseline", "mae", 14.8, 13, 16, 14.8)])
    paired = gain(*numbers).iloc[1:].assign(question=OVER_BASELINE, confounds_a="ignored")
    found = answer(FACTS, score_table(table), table, paired)
    assert found.verdict == word
    assert re.search(said, found.headline.replace("\u2212", "-"))


def test_only_confounds_are_no_answer() -> None:
    table = WITH_CONFOUNDS[WITH_CONFOUNDS["confounds"].isin(["only", "target"])]
    assert score_table(table).best is None
    assert answer(FACTS, score_table(table), table).headline == "No head was scored on features."


def test_every_treatment_has_words() -> None:
    assert set(TREATED) == set(MODES)


# --- correlations, repeats, test people, many targets ---------------------------------------------------------


@pytest.mark.parametrize(
    "low, high, word, said",
    [
        (0.3, 0.6, BETTER, "Better than chance: Spearman correlation 0.45 [0.30, 0.60] against 0.00 by chance."),
        (-0.1, 0.9, NO_BETTER, "No better than chance: "),
        (-0.9, -0.1, WORSE, "Worse than chance: "),
    ],
)
def test_a_correlation_is_held_against_chance_for_a_baseline_has_none(low, high, word, said) -> None:
    table = scores([("a", "ridge", "spearman", 0.45, low, high, math.nan)], "ordinal")
    found = answer(FACTS, score_table(table), table)
    assert found.verdict == word
    assert found.headline.startswith(said)
    assert score_table(table).is_correlation


def test_whom_it_rests_on_is_told() -> None:
    table = scores([("a", "ridge", "mae", 5.0, 4.0, 6.0, 14.8)]).assign(n=1200, n_people=1000)
    facts = FACTS | {"n_images": 1900, "n_tested": 1200, "n_repeats": 10}
    assert answer(facts, score_table(table), table).detail == (
        "ridge on a: 1,200 images of 1,000 people, tested, mean over 10 repeats; 700 other images only trained."
    )


def test_strength_counts_half_widths_towards_the_good_side() -> None:
    def of(metric: str, *numbers: float) -> float:
        return strength(score_table(scores([("a", "ridge", metric, *numbers)])))

    assert np.isclose(of("mae", 5.0, 4.0, 6.0, 14.0), 9.0)
    assert np.isclose(of("auc", 0.6, 0.5, 0.7, 0.5), 1.0)
    assert np.isclose(of("r", -0.2, -0.3, -0.1, math.nan), -2.0)
    assert of("mae", 5.0, math.nan, math.nan, 14.0) == -math.inf
    assert strength(score_table(scores([("-", "baseline", "mae", 14.8, 13.0, 16.0, 14.8)]))) == -math.inf
