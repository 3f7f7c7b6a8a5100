"""A run's tables as what the page says."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from featx import schema
from featx.report import contents
from featx.report.wording import BETTER, NO_BETTER, UNKNOWN


def scores(rows: list[tuple[str, str, str, float, float, float, float]], kind: str = "continuous") -> pd.DataFrame:
    """Rows of features, head, metric, value, low, high, baseline."""
    full = [("age", kind, *row, 50) for row in rows]
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
    table = contents.score_table(TWO_HEADS, "years")
    assert [(row.letter, row.features, row.head) for row in table.rows] == [
        ("A", "a/c", "ridge"),
        ("B", "a/b", "ridge"),
        ("", "", "baseline"),
    ]
    assert [row.is_best for row in table.rows] == [True, False, False]
    assert table.rows[0].cells == ("5.9 [5.3, 6.5]", "0.90 [0.86, 0.93]")
    assert table.rows[2].cells == ("14.8 [13.0, 16.6]", "–")
    assert table.metrics == ("mae", "r")
    assert "MAE: mean absolute error, in years (lower is better)" in table.legend
    assert table.n_heads == 2
    assert table.ends == (5.3, 16.6)


def test_the_answer_names_the_best_the_baseline_and_that_it_was_picked() -> None:
    found = contents.answer("age", contents.score_table(TWO_HEADS, "years"), TWO_HEADS, "years")
    assert found.verdict == BETTER
    assert found.headline == (
        "Better than the baseline: mean absolute error 5.9 [5.3, 6.5] years against 14.8 years for the baseline."
    )
    assert found.detail == "ridge on a/c, 50 images out of fold (r 0.90 [0.86, 0.93])."
    assert "best of 2 combinations" in found.caution


def test_an_interval_that_holds_the_baseline_is_told_plainly() -> None:
    table = scores([("a", "ridge", "mae", 14.0, 12.9, 15.1, 14.8), ("-", "baseline", "mae", 14.8, 13, 16, 14.8)])
    found = contents.answer("age", contents.score_table(table), table)
    assert found.verdict == NO_BETTER
    assert found.headline == (
        "No better than the baseline: mean absolute error 14.0 [12.9, 15.1] against 14.8 for the baseline, "
        "which the interval includes."
    )
    assert found.caution == ""  # one combination: nothing was picked


def test_without_intervals_nothing_is_claimed() -> None:
    table = scores([("a", "ridge", "mae", 5.0, math.nan, math.nan, 14.8)])
    found = contents.answer("age", contents.score_table(table), table)
    assert found.verdict == UNKNOWN
    assert "not compared with the baseline" in found.headline


def test_without_heads_there_is_no_answer() -> None:
    table = scores([("-", "baseline", "mae", 14.8, 13.0, 16.6, 14.8)])
    assert contents.answer("age", contents.score_table(table), table).headline == "No head was scored."


def test_a_head_without_a_value_ranks_last() -> None:
    rows = [("a", "x", "auc", math.nan, math.nan, math.nan, 0.5), ("a", "y", "auc", 0.4, 0.3, 0.5, 0.5)]
    table = contents.score_table(scores(rows, "binary"))
    assert [row.head for row in table.rows] == ["y", "x"]
    assert table.rows[1].cells == ("–",)


def test_only_the_best_are_drawn() -> None:
    rows = [(f"set{at}", "ridge", "mae", 5.0 + at, 4.0 + at, 6.0 + at, 14.8) for at in range(9)]
    table = contents.score_table(scores(rows[::-1]))
    assert "".join(row.letter for row in table.rows) == "ABCDEF"
    assert [row.features for row in table.rows] == [f"set{at}" for at in range(9)]


def test_confusion_counts_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    levels = ["a", "b", "c"]
    table = pd.DataFrame({"observed": rng.choice(levels[:2], 50), "predicted": rng.choice(levels, 50)})
    rows = contents.confusion(table, levels)
    for level, cells, total in rows:
        counts = [
            sum(o == level and p == guess for o, p in zip(table["observed"], table["predicted"], strict=True))
            for guess in levels
        ]
        assert [n for n, _ in cells] == [str(n) for n in counts]
        assert total == str(sum(counts))
        assert [share for _, share in cells] == [n / sum(counts) if sum(counts) else 0.0 for n in counts]


def test_people_summaries_count_images_once() -> None:
    rows = pd.DataFrame(
        {
            "image_id": ["a_1", "a_2", "b_1", "a_1"],
            "participant_id": ["a", "a", "b", "a"],
            "observed": ["20", "30", "40", "20"],
        }
    )
    images = contents.scored_images(rows)
    assert contents.numeric_summary(images) == {
        "images": "3",
        "people": "2",
        "mean": "30.0",
        "SD": "10.0",
        "median": "30.0",
        "range": "20.0 to 40.0",
    }
    assert contents.class_summary(images, ["20", "30", "50"]) == [
        ("20", "1", "33 %"),
        ("30", "1", "33 %"),
        ("50", "0", "0 %"),
    ]


def test_a_person_in_two_folds_is_seen() -> None:
    splits = pd.DataFrame({"target": ["t"] * 3, "participant_id": ["a", "a", "b"], "fold": [0, 1, 1]})
    assert contents.people_in_two_folds(splits) == 1
    assert contents.people_in_two_folds(splits.assign(fold=1)) == 0


def test_reasons_are_grouped_and_long_lists_cut() -> None:
    rows = [("", "", f"p{at}", "no-image", "s") for at in range(5)] + [("age", "", "q", "tomorrow's-code", "s")]
    table = pd.DataFrame(rows, columns=schema.names(schema.EXCLUSIONS))
    first, second = contents.groups(table, "target")
    assert (first.code, first.meaning, first.n, first.where) == (
        "no-image",
        schema.REASONS["no-image"],
        5,
        "all",
    )
    assert (second.meaning, second.where) == ("", "age")
    cut = contents.listing(table, most=4)
    assert len(cut.rows) == 4
    assert cut.left_out == 2
    assert contents.listing(table).left_out == 0


def test_flow_says_what_the_run_says() -> None:
    assert contents.flow({"images_matched": 1200, "of_mars": 2, "note": "x"}) == [
        ("of these, matched to a row of the phenotype table", "1,200"),
        ("of mars", "2"),
    ]


def test_a_person_under_two_spellings_is_one_in_the_folds() -> None:
    splits = pd.DataFrame({"target": "age", "participant_id": ["sub-1", "1", "sub-2"], "fold": [0, 1, 1]})
    assert contents.people_in_two_folds(splits) == 1
