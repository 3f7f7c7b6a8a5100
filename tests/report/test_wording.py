"""Verdicts and numbers."""

from __future__ import annotations

import math

import pytest

from featx.report.wording import BETTER, NO_BETTER, UNKNOWN, WORSE, decimals, number, verdict, with_interval


@pytest.mark.parametrize(
    ("metric", "low", "high", "baseline", "word"),
    [
        ("mae", 5.0, 6.0, 14.0, BETTER),
        ("mae", 5.0, 14.0, 14.0, NO_BETTER),  # touching is not beating
        ("mae", 15.0, 16.0, 14.0, WORSE),
        ("auc", 0.6, 0.8, 0.5, BETTER),
        ("auc", 0.5, 0.8, 0.5, NO_BETTER),
        ("auc", 0.2, 0.4, 0.5, WORSE),
        ("log_loss", 0.2, 0.4, 0.69, BETTER),
        ("auc", math.nan, 0.8, 0.5, UNKNOWN),
        ("r", 0.2, 0.8, math.nan, UNKNOWN),
        ("a metric of tomorrow", 0.2, 0.8, 0.1, BETTER),
    ],
)
def test_a_verdict_needs_the_whole_interval(metric: str, low: float, high: float, baseline: float, word: str) -> None:
    assert verdict(metric, low, high, baseline) == word


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.0, None, "0"),
        (0.0, 2, "0.00"),
        (-0.0001, 2, "0.00"),
        (-1234.56, 1, "−1,234.6"),
        (99.96, None, "100.0"),
        (3e-9, None, "3e-09"),
        (3e-9, 2, "0.00"),
        (2.5e12, 1, "2.5e+12"),
        (math.inf, None, "inf"),
    ],
)
def test_numbers(value: float, places: int | None, text: str) -> None:
    assert number(value, places) == text


def test_an_interval_is_left_out_where_there_is_none() -> None:
    assert with_interval(math.nan, math.nan, math.nan) == "–"
    assert with_interval(1.0, math.nan, 2.0, 1) == "1.0"


def test_decimals_follow_the_middle_interval() -> None:
    assert decimals([0.0, math.nan, 0.05]) == 2
    assert decimals([1e-9]) == 6
    assert decimals([math.nan]) is None
