"""The flow of people: from images that were asked for to those each target is scored on, with who left and why.

::

    asked for -> read, fit their network -> with features -> in every feature set -> matched -> each target

Every number is that of the step before less those who left there, whose reasons are counted image by image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from featx import schema
from featx.analysis.runs.rundir import Run
from featx.report.privacy import hidden
from featx.report.wording import count

MOST_BRANCHES = 12  # targets that are drawn; of more, the range
_CHECKED = ("index", "read", "check")  # steps of failures before a network is asked
_UNTOLD = ""  # code of those who left and are in no row


@dataclass(frozen=True)
class Loss:
    """Images that left at a step for one reason; `shown` is their number as it may be told."""

    code: str
    meaning: str
    n: int
    shown: str


@dataclass(frozen=True)
class Stage:
    """Images that are left, and those who leave before the next stage.

    Attributes
    ----------
    label : str
    n : int
        Images.
    shown : str
        Their number, and the people behind them, as it may be told.
    losses : tuple of Loss
        After the last stage, of a target: before it.
    """

    label: str
    n: int
    shown: str
    losses: tuple[Loss, ...] = ()

    @property
    def n_lost(self) -> int:
        """Images that leave."""
        return sum(loss.n for loss in self.losses)


@dataclass(frozen=True)
class Flow:
    """Stages that all targets share, one behind the other; then one for each target.

    Attributes
    ----------
    stages, branches : tuple of Stage
    note : str
        Of people none of whose images was matched, after "counted in images"; "" where there are none.
    left_out : int
        Targets that are not among the branches.
    """

    stages: tuple[Stage, ...]
    branches: tuple[Stage, ...]
    note: str = ""
    left_out: int = 0


def flow(run: Run, least: int = 0) -> Flow | None:
    """The flow of a run; None where run.json does not tell it.

    Parameters
    ----------
    run : Run
    least : int
        Numbers of fewer people are not told, nor such as others could be subtracted from; 0 tells all.

    Returns
    -------
    Flow or None
        It adds up: ``stage.n - stage.n_lost`` is the next stage's, and the last one's less a branch's loss is that
        branch's.
    """
    facts = run.facts.get("flow") or {}
    if not {"images_with_features", "images_with_all_features", "images_matched"} <= set(facts):
        return None
    stages = _stages(run, facts)
    matched = int(facts["images_matched"])
    targets = run.facts["targets"]
    branches = [_branch(run, one, matched) for one in targets[:MOST_BRANCHES]]
    gone = run.exclusions.loc[run.exclusions["code"] == "filtered", schema.PARTICIPANT_ID].nunique()
    without = int(facts.get("people_in_phenotypes", 0)) - int(facts.get("people_matched", 0)) - gone
    has = "has" if without == 1 else "have"
    who = f"{count(without, 'person', 'people')} of the phenotype table{' who met the condition' if gone else ''}"
    note = f"{who} {has} none that came so far."
    made = Flow(tuple(stages), tuple(branches), note if without > 0 else "", len(targets) - len(branches))
    return _private(made, least) if least else made


def _stages(run: Run, facts: Mapping[str, Any]) -> list[Stage]:
    n_features, n_all, n_matched = (
        int(facts[f"images_{name}"]) for name in ("with_features", "with_all_features", "matched")
    )
    known = set(run.splits[schema.IMAGE_ID]) | set(run.exclusions[schema.IMAGE_ID])
    failed = run.failures.drop_duplicates(schema.IMAGE_ID)
    failed = failed[~failed[schema.IMAGE_ID].isin(known)]
    checked = failed["step"].isin(_CHECKED)
    stages = []
    if len(failed):
        n = n_features + len(failed)
        stages.append(_stage("images asked for", n, Counter(failed.loc[checked, "code"])))
        n -= stages[-1].n_lost
        stages.append(_stage("were read, and fit their network", n, Counter(failed.loc[~checked, "code"])))
    is_trained = all(not one.get("n_features") for each in run.facts.get("features") or [] for one in each["sets"])
    everything = is_trained and bool(run.facts.get("features"))
    label = "images that the networks can have" if everything else "images with features"
    if n_features != n_all:
        stages.append(_stage(label, n_features, Counter({"missing-features": n_features - n_all})))
        label = "are in every feature set"
    own = run.exclusions[(run.exclusions["code"] == "no-phenotype") & (run.exclusions[schema.IMAGE_ID] != "")]
    lost = Counter({"no-phenotype": len(own)})
    has_filter = (run.exclusions["code"] == "filtered").any()
    lost["filtered" if has_filter else _UNTOLD] += n_all - n_matched - len(own)
    stages.append(_stage(label, n_all, lost))
    people = int(facts.get("people_matched", n_matched))
    met = ", and meet the condition" if has_filter else ""
    stages.append(_stage(f"have a row in the phenotype table{met}", n_matched, Counter(), people))
    return stages


def _branch(run: Run, facts: Mapping[str, Any], matched: int) -> Stage:
    """One target: who left between the matched images and it."""
    table, name = run.exclusions, str(facts["name"])
    n = int(facts.get("n_images", 0))
    own = (table["target"] == name) | ((table["target"] == "") & (table["code"] == "missing-confound"))
    rows = table[own & (table[schema.IMAGE_ID] != "")].drop_duplicates(schema.IMAGE_ID)
    lost = Counter(rows["code"])
    told = table[own & (table[schema.IMAGE_ID] == "")]  # of very many targets: one row for all
    lost[str(told["code"].iloc[0]) if len(told) else _UNTOLD] += matched - n - len(rows)
    stage = _stage(name, n, lost, int(facts.get("n_people", n)))
    only = n - int(facts.get("n_tested", n))
    return replace(stage, shown=stage.shown + (f", {only:,} of them only train" if only else ""))


def _stage(label: str, n: int, lost: Mapping[str, int], people: int | None = None) -> Stage:
    losses = [
        Loss(code, _meaning(code), k, f"{k:,}") for code, k in sorted(lost.items(), key=lambda one: -one[1]) if k
    ]
    of = f" of {count(people, 'person', 'people')}" if people not in (None, n) else ""
    return Stage(label, n, f"{n:,}{of}", tuple(losses))


def _meaning(code: str) -> str:
    return schema.REASONS.get(code, "no row says why")


def _private(made: Flow, least: int) -> Flow:
    """Numbers that are told exactly differ by nobody or by `least` people and more."""
    told = {stage.n for stage in made.branches}
    stages: list[Stage] = []
    for stage in reversed(made.stages):
        is_told = all(stage.n == other or abs(stage.n - other) >= least for other in told)
        told |= {stage.n} if is_told else set()
        shown = stage.shown if is_told else "a few more than below"
        stages.insert(0, replace(stage, shown=shown, losses=_hidden(stage.losses, least)))
    branches = [replace(one, losses=_hidden(one.losses, least)) for one in made.branches]
    return Flow(tuple(stages), tuple(branches), "", made.left_out)


def _hidden(losses: Iterable[Loss], least: int) -> tuple[Loss, ...]:
    every = list(losses)
    gone = hidden([loss.n for loss in every], least)
    return tuple(replace(loss, shown="some") if away else loss for loss, away in zip(every, gone, strict=True))
