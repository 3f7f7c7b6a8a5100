"""Which arm is best, how sure that is, and which arms are good over many phenotypes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from featx import schema
from featx.analysis.comparing.arms import NOTHING, SCRATCH, TRAINED, Arm, arm_name
from featx.analysis.comparing.columns import MEAN_RANKS, RANKING
from featx.analysis.comparing.differing import Scored, ends
from featx.analysis.comparing.matching import Common
from featx.analysis.inference.metrics import METRICS, metrics_of
from featx.analysis.scaling import Floats

LEAST_TARGETS = 5  # phenotypes from which on ranks over them are tested
LEAST_ARMS = 3


@dataclass(frozen=True)
class OverTargets:
    """Arms over many phenotypes.

    Attributes
    ----------
    table : DataFrame
        Columns of `featx.analysis.comparing.columns.MEAN_RANKS`, best first.
    chi2, p : float
        Friedman's test that all arms rank alike; NaN with fewer than `LEAST_TARGETS` phenotypes or `LEAST_ARMS` arms.
    critical_difference : float
        Nemenyi's: mean ranks that differ by less cannot be told apart.
    n_targets : int
    """

    table: pd.DataFrame
    chi2: float
    p: float
    critical_difference: float
    n_targets: int


def first_metric(kind: str) -> str:
    """The metric that arms are ranked by.

    Examples
    --------
    >>> first_metric("continuous"), first_metric("binary")
    ('mae', 'auc')
    """
    return next(iter(metrics_of(kind)))


def ranked(common: Common, arms: Sequence[Arm], scored: Scored) -> list[Arm]:
    """Arms, the best first by the first metric; those without a score last."""
    metric = first_metric(common.kind)
    return sorted(arms, key=lambda arm: _badness(scored[arm.name][metric].value, metric))


def _badness(value: float, metric: str) -> float:
    return math.inf if math.isnan(value) else -value if METRICS[metric].higher_is_better else value


def ranking(common: Common, arms: Sequence[Arm], scored: Scored, alpha: float) -> pd.DataFrame:
    """How each arm stands, and how sure its place is over the draws of people.

    Parameters
    ----------
    common : Common
    arms : sequence of Arm
        Best first, from `ranked`.
    scored : mapping
        On the same draws for all arms.
    alpha : float

    Returns
    -------
    DataFrame
        Columns of `featx.analysis.comparing.columns.RANKING`.
    """
    metric = first_metric(common.kind)
    sign = 1.0 if METRICS[metric].higher_is_better else -1.0
    own = [scored[arm.name][metric] for arm in arms]
    draws = np.array([sign * one.draws for one in own])
    first, low_rank, high_rank = _places(draws, alpha)
    tested = (common.fold >= 0).any(axis=0)
    rows = []
    for at, (arm, one) in enumerate(zip(arms, own, strict=True)):
        low, high = ends(one.draws, alpha)
        behind = ends(draws[0] - draws[at], alpha) if at else (0.0, 0.0)
        constant = arm.role == NOTHING and METRICS[metric].baseline is not None
        rows.append(
            {
                "target": common.name,
                "kind": common.kind,
                "rank": at + 1,
                "arm": arm.name,
                "role": arm.role,
                "run": arm.run,
                "features": arm.features,
                "head": arm.head,
                "confounds": arm.confounds,
                "metric": metric,
                "value": one.value,
                "low": np.nan if constant else low,
                "high": np.nan if constant else high,
                "first": first[at],
                "rank_low": low_rank[at],
                "rank_high": high_rank[at],
                "behind": sign * (own[0].value - one.value) if at else 0.0,
                "behind_low": behind[0],
                "behind_high": behind[1],
                "apart": "" if np.isnan(behind[0]) else "yes" if behind[0] > 0 else "no",
                "n": int(tested.sum()),
                "n_people": len(set(common.people[tested])),
                "n_repeats": len(common.fold),
                "n_seeds": arm.n_seeds,
            }
        )
    return pd.DataFrame(rows, columns=schema.names(RANKING))


def _places(draws: Floats, alpha: float) -> tuple[Floats, Floats, Floats]:
    """Share of draws in which each arm is first, and the interval of its rank; undefined scores rank last.

    Examples
    --------
    >>> first, low, high = _places(np.array([[3.0, 3.0, 1.0, 1.0], [2.0, 1.0, 1.0, 0.0]]), 0.05)
    >>> first.tolist(), low.round(2).tolist()
    ([0.875, 0.125], [1.0, 1.54])
    """
    n_arms, n_draws = draws.shape
    if not n_draws:
        nothing = np.full(n_arms, np.nan)
        return nothing, nothing, nothing
    filled = np.where(np.isnan(draws), -np.inf, draws)
    best = filled == filled.max(axis=0)
    ranks = stats.rankdata(-filled, axis=0)
    low, high = np.percentile(ranks, [50 * alpha, 100 - 50 * alpha], axis=1)
    return (best / best.sum(axis=0)).mean(axis=1), low, high


# --- many phenotypes ------------------------------------------------------------------------------------------


def over_targets(rankings: Sequence[pd.DataFrame], alpha: float) -> OverTargets | None:
    """Mean ranks of the arms that all phenotypes have; None with one phenotype, or where no two arms are in all.

    An arm is its run, features and treatment of confounds here; heads that suit different kinds of phenotype count
    as one, in the order of their names. The test is Friedman's, the critical difference Nemenyi's
    (Demsar 2006, J Mach Learn Res 7:1).

    Parameters
    ----------
    rankings : sequence of DataFrame
        From `ranking`, one for each phenotype.
    alpha : float
    """
    values = [_by_family(one) for one in rankings]
    shared = [family for family in values[0] if all(family in one for one in values)] if values else []
    if len(values) < 2 or len(shared) < 2:
        return None
    badness = np.array([[one[family][0] for family in shared] for one in values])
    ranks = stats.rankdata(badness, axis=1)
    heads = [list(dict.fromkeys(one[family][1] for one in values)) for family in shared]
    names = [_family_name(family, own) for family, own in zip(shared, heads, strict=True)]
    table = pd.DataFrame(
        {
            "arm": names,
            "mean_rank": ranks.mean(axis=0),
            "n_targets": len(values),
            "n_first": (badness == badness.min(axis=1, keepdims=True)).sum(axis=0),
        }
    ).sort_values("mean_rank", kind="stable", ignore_index=True)[schema.names(MEAN_RANKS)]
    if len(values) < LEAST_TARGETS or len(shared) < LEAST_ARMS:
        return OverTargets(table, math.nan, math.nan, math.nan, len(values))
    chi2, p = stats.friedmanchisquare(*badness.T)
    return OverTargets(table, float(chi2), float(p), nemenyi(len(shared), len(values), alpha), len(values))


_Family = tuple[str, str, str, str, int]


def _by_family(ranking: pd.DataFrame) -> Mapping[_Family, tuple[float, str]]:
    """(run, features, confounds, role, place of the head) to the score as a badness, and the head."""
    found: dict[_Family, tuple[float, str]] = {}
    for row in ranking.sort_values(["head", "arm"], kind="stable").to_dict("records"):
        trained = row["head"] if row["role"] in (TRAINED, SCRATCH) else ""
        family: _Family = (row["run"], row["features"], row["confounds"], f"{row['role']} {trained}".strip(), 0)
        while family in found:
            family = (*family[:4], family[4] + 1)
        found[family] = (_badness(row["value"], row["metric"]), row["head"])
    return found


def _family_name(family: _Family, heads: Sequence[str]) -> str:
    return arm_name(family[1], "/".join(heads), family[2])


def nemenyi(n_arms: int, n_targets: int, alpha: float) -> float:
    """Critical difference of mean ranks.

    Examples
    --------
    >>> round(nemenyi(5, 30, 0.05), 3)
    1.114
    """
    q = float(stats.studentized_range.ppf(1 - alpha, n_arms, np.inf)) / math.sqrt(2)
    return q * math.sqrt(n_arms * (n_arms + 1) / (6 * n_targets))
