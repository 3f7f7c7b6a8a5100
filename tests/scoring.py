"""Scores of predictions for every row, in a shape that is handy to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.analysis.inference.metrics import METRICS
from featx.analysis.inference.scores import bootstrap, interval


@dataclass(frozen=True)
class Score:
    metric: str
    value: float
    low: float
    high: float


def score(kind: str, observed: np.ndarray, predicted: np.ndarray, groups: np.ndarray, **more: Any) -> list[Score]:
    """All metrics of a kind with their intervals; a NaN is refused."""
    found = bootstrap(kind, observed, predicted, groups, tested=np.ones(len(groups), dtype=bool), **more)
    return [Score(name, one.value, *interval(one.draws)) for name, one in found.items()]


def score_baseline(
    kind: str, observed: np.ndarray, predicted: np.ndarray, groups: np.ndarray, **more: Any
) -> list[Score]:
    """As `score`; what a constant prediction has by definition has no interval."""
    return [
        one
        if METRICS[one.metric].baseline is None
        else Score(one.metric, float(METRICS[one.metric].baseline or np.nan), np.nan, np.nan)
        for one in score(kind, observed, predicted, groups, **more)
    ]
