"""Curves over the number of people who train, and where one arm overtakes another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from featx import schema
from featx.analysis.comparing.arms import NOTHING, SCRATCH, Arm, arm_name, role_of
from featx.analysis.comparing.columns import CROSSINGS, CURVES
from featx.analysis.comparing.matching import Common
from featx.analysis.comparing.ranking import first_metric
from featx.analysis.comparing.reading import Entry
from featx.analysis.crossval import RESIDUAL
from featx.analysis.inference.metrics import METRICS
from featx.analysis.inference.scores import bootstrap
from featx.analysis.scaling import Floats

SAME, OWN = "the same people for all sizes", "each size its own"
CROSSES, AHEAD, BEHIND, FALLS = "crosses", "ahead throughout", "behind throughout", "falls behind"
LEAST_SIZES = 2
N_DRAWS = 2000


@dataclass(frozen=True)
class Crossing:
    """Where one arm overtakes another.

    Attributes
    ----------
    n : float
        People who train; NaN where the curves of medians do not cross that way.
    low, high : float
        Ends of its interval: -inf and inf where they lie beyond the sizes that were tried.
    share : float
        Of the draws in which they cross within the range.
    verdict : str
        "crosses", "ahead throughout", "behind throughout", or "falls behind": ahead somewhere, and not at last.
    """

    n: float
    low: float
    high: float
    share: float
    verdict: str


# --- points ---------------------------------------------------------------------------------------------------


def curve_points(entry: Entry, volumes: Sequence[str]) -> pd.DataFrame:
    """Points of a folder of `featx curve`, columns of `featx.analysis.comparing.columns.CURVES`.

    The residualised arms are left out: they are scored on another target.
    """
    if entry.points is None:
        raise TypeError(f"points must be of curves; {entry.name} has none; report this as a fault of featx")
    points = entry.points[~entry.points["confounds"].isin(RESIDUAL)]
    combinations = {name: list(sets) for name, sets in entry.facts.get("combinations", {}).items()}
    tables = {str(one["name"]) for one in entry.facts.get("sources", []) if one.get("role") == "table"}
    names, roles = {}, {}
    for label in points[["features", "head", "confounds"]].drop_duplicates().itertuples(index=False, name=None):
        features, head, confounds = (str(one) for one in label)
        sets = [_provenance(one, tables) for one in combinations.get(features, [])]
        names[label] = arm_name(features, head, confounds)
        roles[label] = role_of((features, head, confounds), sets, volumes, is_trained=False)
    labels = list(points[["features", "head", "confounds"]].itertuples(index=False, name=None))
    told = points.assign(
        arm=[names[one] for one in labels], role=[roles[one] for one in labels], run=entry.name, tested=SAME
    )
    return told[schema.names(CURVES)]


def _provenance(name: str, tables: set[str]) -> Mapping[str, str]:
    """What the name of a feature set says of it, for a folder of curves holds no more."""
    network, _, weights = name.split("/")[0].partition("@")
    return {"network": "table" if name in tables else network, "weights": weights}


def run_points(common: Common, arms: Sequence[Arm], name: str, tested: str) -> pd.DataFrame:
    """Scores of a run as points of curves: one for every repeat and seed.

    Parameters
    ----------
    common : Common
        Of the run alone, with the size that it was trained on.
    arms : sequence of Arm
    name : str
        Of the run.
    tested : str
        `SAME` or `OWN`.
    """
    rows = []
    for arm in arms:
        for draw, predicted in enumerate(arm.predicted):
            found = bootstrap(common.kind, common.observed, predicted[None], common.people, n_bootstrap=0)
            for metric, one in found.items():
                value = METRICS[metric].baseline if arm.role == NOTHING else None
                rows.append(
                    {
                        "target": common.name,
                        "kind": common.kind,
                        "arm": arm.name,
                        "role": arm.role,
                        "run": name,
                        "n_train": round(common.n_people),
                        "n_test": int((common.fold >= 0).any(axis=0).sum()),
                        "tested": tested,
                        "draw": draw,
                        "metric": metric,
                        "value": one.value if value is None else value,
                    }
                )
    return pd.DataFrame(rows, columns=schema.names(CURVES))


# --- crossings ------------------------------------------------------------------------------------------------


def crossings(points: pd.DataFrame, alpha: float, *, n_draws: int = N_DRAWS, random_state: int = 0) -> pd.DataFrame:
    """Where arms from scratch overtake the others; without them, from where on the better of any two is ahead.

    Parameters
    ----------
    points : DataFrame
        Columns of `featx.analysis.comparing.columns.CURVES`.
    alpha : float
    n_draws, random_state : int
        Of the bootstrap over draws.

    Returns
    -------
    DataFrame
        Columns of `featx.analysis.comparing.columns.CROSSINGS`; arms that share fewer than two sizes are left out.
    """
    rows = []
    for (target, kind, tested), own in series(points):
        metric = first_metric(str(kind))
        curves = {
            str(arm): (str(one["role"].iloc[0]), one)
            for arm, one in own[own["metric"] == metric].dropna(subset=["value"]).groupby("arm", sort=False)
        }
        roles = {name: role for name, (role, _) in curves.items()}
        sign = -1.0 if METRICS[metric].higher_is_better else 1.0
        last = {name: sign * _last_median(one) for name, (_, one) in curves.items()}
        for arm, other in _contests(roles, last):
            a, b = curves[arm][1], curves[other][1]
            sizes = sorted(set(a["n_train"]) & set(b["n_train"]))
            if len(sizes) < LEAST_SIZES:
                continue
            higher = METRICS[metric].higher_is_better
            found = crossing(
                _values(a, sizes),
                _values(b, sizes),
                sizes,
                higher_is_better=higher,
                drawing=(alpha, n_draws, random_state),
            )
            rows.append(
                {
                    "target": target,
                    "metric": metric,
                    "tested": tested,
                    "n_test": int(own["n_test"].max()),
                    "arm": arm,
                    "overtaken": other,
                    "n_cross": found.n,
                    "low": found.low if math.isfinite(found.low) else np.nan,
                    "high": found.high if math.isfinite(found.high) else np.nan,
                    "share": found.share,
                    "verdict": found.verdict,
                    "n_low": sizes[0],
                    "n_high": sizes[-1],
                }
            )
    return pd.DataFrame(rows, columns=schema.names(CROSSINGS))


def series(points: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Points that may stand in one figure: of one target, all of one test set, or each size of its own."""
    apart = points["n_test"].where(points["tested"] == SAME, 0)
    for (target, kind, tested, _), own in points.groupby(["target", "kind", "tested", apart], sort=False):
        yield (str(target), str(kind), str(tested)), own


def _contests(roles: Mapping[str, str], last: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Who may overtake whom: arms from scratch the others; without them, of any two the one that is ahead at last.

    Parameters
    ----------
    roles : mapping of str to str
        Arm to its role.
    last : mapping of str to float
        Arm to its median at its largest size, as a badness.
    """
    heads = [arm for arm, role in roles.items() if role != NOTHING]
    scratch = [arm for arm in heads if roles[arm] == SCRATCH]
    if scratch:
        yield from ((arm, other) for arm in scratch for other in heads if other not in scratch)
        return
    for at, arm in enumerate(heads):
        for other in heads[at + 1 :]:
            yield (arm, other) if last[arm] < last[other] else (other, arm)


def _last_median(curve: pd.DataFrame) -> float:
    return float(curve.loc[curve["n_train"] == curve["n_train"].max(), "value"].median())


def _values(curve: pd.DataFrame, sizes: Sequence[int]) -> Floats:
    """Values of one arm by draw and size, shape (n_draws, n_sizes); NaN where a size has fewer draws."""
    return curve.pivot_table(index=["run", "draw"], columns="n_train", values="value")[list(sizes)].to_numpy()


def crossing(
    a: Floats,
    b: Floats,
    sizes: ArrayLike,
    *,
    higher_is_better: bool,
    drawing: tuple[float, int, int] = (0.05, 2000, 0),
) -> Crossing:
    """From how many people on the median of one arm is better than that of another, up to the largest size.

    Parameters
    ----------
    a, b : ndarray of shape (n_draws, n_sizes)
        A metric of the arm that may overtake, and of the other; draws of both may differ in number, NaN are left out.
    sizes : array-like of shape (n_sizes,)
        People who train, rising.
    higher_is_better : bool
        Of the metric.
    drawing : (alpha, n_draws, random_state)
        Of the interval: draws are drawn with replacement, those of all sizes together where all have them.

    Returns
    -------
    Crossing
        Linear in log n between the two sizes around it; of several crossings the last. The interval is NaN where a
        size has one draw only.

    Examples
    --------
    >>> frozen, scratch = np.array([[6.0, 5.0, 4.5]]), np.array([[9.0, 6.0, 3.5]])
    >>> found = crossing(scratch, frozen, [25, 100, 400], higher_is_better=False)
    >>> found.n, found.verdict
    (200.0, 'crosses')
    """
    sign = 1.0 if higher_is_better else -1.0
    alpha, n_draws, random_state = drawing
    ahead = sign * (np.nanmedian(a, axis=0) - np.nanmedian(b, axis=0))[None]
    n = float(_overtakes(ahead, np.asarray(sizes, dtype=np.float64))[0])
    verdict = CROSSES if np.isfinite(n) else AHEAD if n < 0 else BEHIND if (ahead <= 0).all() else FALLS
    low = high = share = float("nan")
    if n_draws and min(np.isfinite(one).sum(axis=0).min() for one in (a, b)) > 1:
        medians = [_redrawn(one, n_draws, random_state) for one in (a, b)]
        drawn = _overtakes(sign * (medians[0] - medians[1]), np.asarray(sizes, dtype=np.float64))
        ends = np.percentile(drawn, [50 * alpha, 100 - 50 * alpha], method="inverted_cdf")  # may be infinite
        low, high, share = float(ends[0]), float(ends[1]), float(np.isfinite(drawn).mean())
    return Crossing(round(n, 6) if np.isfinite(n) else float("nan"), low, high, share, verdict)


def _overtakes(ahead: Floats, sizes: Floats) -> Floats:
    """The size from which on an arm is ahead, for every row: -inf if it always is, inf if it is not at the end."""
    behind = ahead <= 0
    last = ahead.shape[1] - 1 - behind[:, ::-1].argmax(axis=1)  # the last size at which it is not ahead
    found = np.where(behind.any(axis=1), np.inf, -np.inf)
    rows = np.flatnonzero(behind.any(axis=1) & (last < ahead.shape[1] - 1))
    at = last[rows]
    below, above = ahead[rows, at], ahead[rows, at + 1]
    logs = np.log(sizes)
    found[rows] = np.exp(logs[at] + (logs[at + 1] - logs[at]) * below / (below - above))
    return found


def _redrawn(values: Floats, n_draws: int, random_state: int) -> Floats:
    """Medians of draws drawn with replacement, shape (n_draws, n_sizes); equal seeds and draws pair two arms."""
    rng = np.random.default_rng(random_state)
    if np.isfinite(values).all():
        return np.asarray(np.median(values[rng.integers(0, len(values), (n_draws, len(values)))], axis=1))
    columns = [own[np.isfinite(own)] for own in values.T]
    return np.column_stack(
        [np.median(own[rng.integers(0, len(own), (n_draws, len(own)))], axis=1) for own in columns]
    )
