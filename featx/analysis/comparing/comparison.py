"""Runs against each other: what is asked, what comes out, and how the one becomes the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from featx import schema
from featx.analysis.comparing import columns
from featx.analysis.comparing.arms import NOTHING, Arm, arms_of, distinct
from featx.analysis.comparing.costs import costs
from featx.analysis.comparing.crossing import OWN, SAME, crossings, curve_points, run_points
from featx.analysis.comparing.differing import Scored, differences, pairs_of, score, with_q
from featx.analysis.comparing.matching import Common, Side, by_people, match, side_of
from featx.analysis.comparing.notes import cautions, residual
from featx.analysis.comparing.ranking import OverTargets, over_targets, ranked, ranking
from featx.analysis.comparing.reading import Entry, read_entries
from featx.analysis.comparing.wish import (
    Wish,
    check_margins,
    check_volumes,
    check_wish,
    reference_of,
    runs_by_target,
)
from featx.analysis.crossval import RESIDUAL
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.inference.cautions import Caution
from featx.errors import AnalysisError

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Compared:
    """One target.

    Attributes
    ----------
    common : Common
    arms : tuple of Arm
        Best first.
    scored : mapping
        By arm's name and metric.
    reference : Arm
    ranking, differences : DataFrame
        Columns of `featx.analysis.comparing.columns`.
    margin : float, optional
    """

    common: Common
    arms: tuple[Arm, ...]
    scored: Scored
    reference: Arm
    ranking: pd.DataFrame
    differences: pd.DataFrame
    margin: float | None


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes
    ----------
    wish : Wish
    entries : tuple of Entry
    targets : tuple of Compared
        In the order of the runs.
    over : OverTargets, optional
        Arms over all targets.
    curves, crossings, costs : DataFrame
        Columns of `featx.analysis.comparing.columns`.
    left_out : tuple of str
        What is not compared, one sentence each.
    cautions : tuple of Caution
    """

    wish: Wish
    entries: tuple[Entry, ...]
    targets: tuple[Compared, ...]
    over: OverTargets | None
    curves: pd.DataFrame
    crossings: pd.DataFrame
    costs: pd.DataFrame
    left_out: tuple[str, ...]
    cautions: tuple[Caution, ...]


def compare(folders: Sequence[Path], wish: Wish, on_progress: Progress | None = None) -> Comparison:
    """Compare folders of `featx fit`, `featx train` and `featx curve`.

    Parameters
    ----------
    folders : sequence of Path
    wish : Wish
    on_progress : callable, optional
        Called as (targets done, targets in all, what comes next).

    Raises
    ------
    AnalysisError
        A folder cannot be read; runs differ in people, folds or values; no two runs share a target; a name or a
        number of the wish makes no sense.
    """
    check_wish(wish)
    entries = read_entries(folders)
    check_volumes(wish, entries)
    runs = [entry for entry in entries if entry.run is not None]
    having, left_out = runs_by_target(runs)
    sides = {name: [side_of(entry, _facts(entry, name)) for entry in own] for name, own in having.items()}
    sizes = {name: _match(own, wish) for name, own in sides.items()}  # refused before any work
    common = {name: own[0] for name, own in sizes.items()}
    arms = {name: _arms(runs, one, wish) for name, one in common.items()}
    check_margins(wish, common)
    compared, points = [], [curve_points(entry, wish.volumes) for entry in entries if entry.points is not None]
    for at, (name, one) in enumerate(common.items()):
        if on_progress is not None:
            on_progress(at, len(common), name)
        compared.append(_compare_target(one, arms[name], wish))
        points += _sized_points(runs, sizes[name], wish)
    if on_progress is not None and common:
        on_progress(len(common), len(common), "")
    compared = _with_q(compared)
    curves = _curves(points)
    return Comparison(
        wish=wish,
        entries=tuple(entries),
        targets=tuple(compared),
        over=over_targets([one.ranking for one in compared], wish.drawing.alpha),
        curves=curves,
        crossings=crossings(curves, wish.drawing.alpha, random_state=wish.drawing.random_state),
        costs=costs(entries, wish.features),
        left_out=(*left_out, *residual(runs)),
        cautions=cautions(runs, sizes, sides, wish),
    )


# --- targets --------------------------------------------------------------------------------------------------


def _match(sides: Sequence[Side], wish: Wish) -> list[Common]:
    """What runs have in common, the largest size first."""
    return [match(own, shared=wish.shared_people) for own in (by_people(sides) if wish.over_n else [list(sides)])]


def _facts(entry: Entry, target: str) -> Mapping[str, Any]:
    facts: Mapping[str, Any] = next(one for one in entry.facts["targets"] if one["name"] == target)
    return facts


def _arms(runs: Sequence[Entry], common: Common, wish: Wish) -> list[Arm]:
    found = []
    for entry in runs:
        if entry.run is not None and entry.name in common.runs:
            own = arms_of(entry.run, entry.name, _facts(entry, common.name), list(common.images), wish.volumes)
            found += [_first_repeats(arm, len(common.fold)) for arm in own]
    arms = distinct(found)
    if not any(arm.role != NOTHING for arm in arms):
        raise AnalysisError(
            f"a comparison must have an arm that is scored on the whole phenotype; {common.name!r} has none, only "
            f"those whose confounds were removed from it ({', '.join(RESIDUAL)}); fit others as well"
        )
    return arms


def _first_repeats(arm: Arm, n_repeats: int) -> Arm:
    return replace(arm, predicted=arm.predicted[: n_repeats * arm.n_seeds])


def _compare_target(common: Common, arms: Sequence[Arm], wish: Wish) -> Compared:
    scored = score(common, arms, wish.drawing)
    order = ranked(common, arms, scored)
    reference = reference_of(order, wish, common.name)
    margin = wish.margins.get(common.name, wish.margins.get(""))
    pairs = list(pairs_of(order, reference))
    return Compared(
        common=common,
        arms=tuple(order),
        scored=scored,
        reference=reference,
        ranking=ranking(common, order, scored, wish.drawing.alpha),
        differences=differences(common, pairs, scored, wish.drawing, margin),
        margin=margin,
    )


def _with_q(compared: Sequence[Compared]) -> list[Compared]:
    """q over the tests of all targets."""
    if not compared:
        return []
    once = [one.common.name for one in compared if _n_folds(one.common) == 1]
    table = with_q(pd.concat([one.differences for one in compared], ignore_index=True), once)
    return [replace(one, differences=table[table["target"] == one.common.name]) for one in compared]


def _n_folds(common: Common) -> int:
    """Over all repeats."""
    return sum(len(set(fold) - {TRAIN_ONLY}) for fold in common.fold)


# --- curves ---------------------------------------------------------------------------------------------------


def _sized_points(runs: Sequence[Entry], sizes: Sequence[Common], wish: Wish) -> list[pd.DataFrame]:
    """Points of runs of several sizes; none where there is one size."""
    if len(sizes) == 1 and not sizes[0].smaller:
        return []
    found = []
    for common in sizes:
        for name in (*common.runs, *common.smaller):
            own = replace(common, runs=(name,), n_people=common.smaller.get(name, common.n_people))
            found.append(run_points(own, _arms(runs, own, wish), name, SAME if len(sizes) == 1 else OWN))
    return found


def _curves(points: Sequence[pd.DataFrame]) -> pd.DataFrame:
    full = [one for one in points if len(one)]
    if not full:
        return pd.DataFrame(columns=schema.names(columns.CURVES))
    return pd.concat(full, ignore_index=True)
