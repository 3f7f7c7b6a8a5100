"""How runs are to be compared: the wish, and what of it makes no sense for these runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from featx.analysis.comparing.arms import COMBINED, CONTROL, FROZEN, NOTHING, VOLUMES, VOXELS, Arm
from featx.analysis.comparing.differing import Drawing, best_of
from featx.analysis.comparing.matching import Common
from featx.analysis.comparing.ranking import first_metric
from featx.analysis.comparing.reading import Entry
from featx.analysis.request import NO_FEATURES
from featx.errors import AnalysisError, known


@dataclass(frozen=True)
class Wish:
    """How runs are to be compared.

    Attributes
    ----------
    reference : str
        Name of an arm, or a part of one name only; "" for the best of frozen features.
    volumes : tuple of str
        Features that count as volumes beside those that are known to be a table.
    margins : mapping of str to float
        Target to the difference in its first metric up to which arms are equal; "" is for all targets.
    shared_people : bool
        Compare whom all runs have, where they do not have the same people.
    over_n : bool
        Runs are of cohorts of several sizes: runs of the same people are compared with each other, those of the
        largest cohort are ranked, and all are points of curves.
    drawing : Drawing
    features : tuple of Path
        Feature files, which remember what extraction cost.
    """

    reference: str = ""
    volumes: tuple[str, ...] = ()
    margins: Mapping[str, float] = field(default_factory=dict)
    shared_people: bool = False
    over_n: bool = False
    drawing: Drawing = field(default_factory=Drawing)
    features: tuple[Path, ...] = ()


def check_wish(wish: Wish) -> None:
    """Refuse numbers that make no sense, and feature files that are not there.

    Raises
    ------
    AnalysisError
    """
    if not 0 < wish.drawing.alpha < 1:
        raise AnalysisError(
            f"alpha must lie between 0 and 1; it is {wish.drawing.alpha}; choose, say, 0.05 for intervals of 95 %"
        )
    bad = [(name, one) for name, one in wish.margins.items() if not one > 0]
    if bad:
        raise AnalysisError(
            f"a margin must be above 0; it is {bad[0][1]:g}; choose a difference that is of no matter"
        )
    lost = [one for one in wish.features if not one.is_file()]
    if lost:
        raise AnalysisError(
            f"a feature file must be there to tell what extraction cost; {lost[0]} is not; leave --features out, or "
            "name the file that a run was fitted on"
        )


def check_volumes(wish: Wish, entries: Sequence[Entry]) -> None:
    """Refuse volumes that are features of no folder.

    Raises
    ------
    AnalysisError
    """
    of = [one.points if one.run is None else one.run.scores for one in entries]
    there = {str(name) for table in of if table is not None for name in table["features"]} - {NO_FEATURES}
    strange = [one for one in wish.volumes if one not in there]
    if strange:
        raise AnalysisError(
            f"volumes must be features of what is compared; {strange[0]!r} are none; {known(sorted(there))}"
        )


def check_margins(wish: Wish, targets: Mapping[str, Common]) -> None:
    """Refuse a margin for no target, or one number for targets that are scored in different metrics.

    Raises
    ------
    AnalysisError
    """
    strange = [name for name in wish.margins if name and name not in targets]
    if strange:
        raise AnalysisError(
            f"a margin must be for a target that is compared; {strange[0]!r} is none; {known(targets)}"
        )
    open_ones = [one for name, one in targets.items() if name not in wish.margins]
    metrics = sorted({first_metric(one.kind) for one in open_ones})
    if "" in wish.margins and len(metrics) > 1:
        raise AnalysisError(
            f"a margin must say its target where targets are scored differently; here they are by {metrics}; write, "
            f"say, --margin {open_ones[0].name}={wish.margins['']:g}"
        )


def reference_of(arms: Sequence[Arm], wish: Wish, target: str) -> Arm:
    """The arm that is asked for, or the best one of frozen features; without any, the best arm that was fitted.

    Parameters
    ----------
    arms : sequence of Arm
        Best first.
    wish : Wish
    target : str

    Raises
    ------
    AnalysisError
        The name is that of no arm, or a part of several names.
    """
    if not wish.reference:
        roles = ((FROZEN,), (COMBINED,), (VOXELS, CONTROL, VOLUMES))
        found = [one for own in roles if (one := best_of(arms, *own)) is not None]
        heads = [arm for arm in arms if arm.role != NOTHING] or list(arms)
        return found[0] if found else heads[0]
    exact = [arm for arm in arms if arm.name == wish.reference]
    part = exact or [arm for arm in arms if wish.reference.casefold() in arm.name.casefold()]
    if len(part) == 1:
        return part[0]
    got = f"{wish.reference!r} is a part of {len(part)} names" if part else f"{wish.reference!r} is none"
    raise AnalysisError(
        f"the reference must be one arm of every target; {got} of {target!r}; "
        f"{known([arm.name for arm in part or arms])}"
    )


def runs_by_target(runs: Sequence[Entry]) -> tuple[dict[str, list[Entry]], list[str]]:
    """Who has each target, of targets that two runs have or more, and a sentence for each of the others.

    Raises
    ------
    AnalysisError
        There are several runs, and no two of them share a target.
    """
    of = {entry.name: [str(one["name"]) for one in entry.facts["targets"]] for entry in runs}
    every = dict.fromkeys(name for own in of.values() for name in own)
    having = {name: [entry for entry in runs if name in of[entry.name]] for name in every}
    shared = {name: own for name, own in having.items() if len(own) > 1 or len(runs) == 1}
    if runs and not shared:
        told = "; ".join(f"{name} has {', '.join(map(repr, own)) or 'none'}" for name, own in of.items())
        raise AnalysisError(f"runs must share a target to be compared; {told}; fit one target in two of them")
    alone = {name: own[0].name for name, own in having.items() if name not in shared}
    left_out = [f"{name} is not compared, for {run} alone has it" for name, run in alone.items()]
    return shared, left_out
