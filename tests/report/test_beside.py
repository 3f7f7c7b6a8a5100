"""Published numbers beside one's own: on one scale, and never as one's own."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from featx import schema
from featx.errors import AnalysisError
from featx.report.answers import score_table
from featx.report.beside import beside


def scores(metric: str = "mae") -> pd.DataFrame:
    rows = [
        ("age", "continuous", "a", "ridge", "ignored", metric, 5.5, 5.0, 6.0, 14.9, 181, 181),
        ("age", "continuous", "-", "baseline", "ignored", metric, 14.9, None, None, 14.9, 181, 181),
    ]
    return pd.DataFrame(rows, columns=schema.names(schema.SCORES))


def x_of(strip: str) -> float:
    return float(re.findall(r'cx="([\d.]+)"', strip)[0])


def test_own_scores_come_first_and_all_share_one_scale() -> None:
    found = beside(score_table(scores(), "years"), scores(), "Age", "holderrieth2022")
    assert found is not None
    assert found.metric == "mae"
    assert [one.is_own for one in found.lines][:3] == [True, True, False]
    own, _, first = found.lines[:3]
    assert (own.arm, own.data, own.n, own.score) == ("ridge on a", "this run", "181", "5.5 [5.0, 6.0]")
    assert (first.arm, first.data, first.n, first.score) == ("direct", "OASIS", "355", "4.17")
    places = [(float(one.score.split(" ")[0]), x_of(str(one.strip))) for one in found.lines]
    low, high = min(places)[0], max(places)[0]
    for value, x in places:
        assert x == pytest.approx(6 + 108 * (value - low) / (high - low), abs=0.06)


def test_sex_may_be_called_gender_and_other_phenotypes_have_nothing() -> None:
    table = scores("accuracy").assign(kind="binary", target="gender")
    found = beside(score_table(table), table, "gender", "holderrieth2022")
    assert found is not None
    assert found.metric == "accuracy"
    assert beside(score_table(scores()), scores(), "bmi", "holderrieth2022") is None
    assert beside(score_table(scores()), scores(), "age", "") is None
    assert beside(score_table(scores()), scores(), "age", "malik2022") is None  # no number of it could be verified


def test_other_measures_are_told_in_words_and_not_drawn() -> None:
    found = beside(score_table(scores()), scores(), "age", "dhinagar2023")
    assert found is not None
    assert found.lines == ()
    assert found.others == ("CNN, pretrained: change of mae −1.26 (Dhinagar et al. 2023)",)


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(AnalysisError, match="a protocol must be known; 'peng' is not; .*holderrieth2022"):
        beside(score_table(scores()), scores(), "age", "peng")
