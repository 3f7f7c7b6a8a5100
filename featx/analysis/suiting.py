"""Which head suits which features, target and way to treat confounds; what does not is told, and left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from featx.analysis.aggregate import n_slices
from featx.analysis.cohort.targets import CONTINUOUS, MULTICLASS
from featx.analysis.crossval import IGNORED, ONLY, RESIDUAL
from featx.analysis.folds.strata import NUMBERS
from featx.analysis.heads import ALONE, APART, applies, get_head
from featx.analysis.request import NO_FEATURES, Job, Request
from featx.errors import AnalysisError


@dataclass(frozen=True)
class Pass:
    """One combination of features under one way to treat confounds."""

    features: str
    confounds: str


def passes(request: Request) -> list[Pass]:
    """Combinations under every way to treat confounds; confounds alone come once, and first."""
    modes = list(dict.fromkeys(request.adjusting.modes))
    only = [Pass(NO_FEATURES, ONLY)] if ONLY in modes else []
    rest = [mode for mode in modes if mode != ONLY]
    return only + [Pass(combination, mode) for combination in request.combinations for mode in rest]


def slices_of(request: Request, features: str) -> int:
    """How many slices stand one behind the other in a combination's rows; 1 where none are kept apart."""
    sets = request.combinations.get(features, ())
    return (_n_slices(request, sets[0]) if len(sets) == 1 else 0) or 1


def _n_slices(request: Request, name: str) -> int:
    one = request.sets[name]
    return n_slices(one.provenance, one.X.shape[1])


def suits(request: Request, job: Job, head: str, one: Pass) -> bool:
    """Whether a head can be fitted to a target in one pass.

    What confounds leave of a target is a number, and no class or level. What a head wants of features is in
    `featx.analysis.heads.WANTS`.
    """
    return _suits_target(job, head, one.confounds) and not why_not(request, head, one)


def _suits_target(job: Job, head: str, confounds: str) -> bool:
    return confounds not in RESIDUAL or (job.target.kind in NUMBERS and applies(head, CONTINUOUS))


def why_not(request: Request, head: str, one: Pass) -> str:
    """Why the features of a pass, or what is done to them, do not suit a head; "" where they do."""
    wants, sets = get_head(head).wants, request.combinations.get(one.features, ())
    if wants == APART and request.adjusting.pca is not None:
        return "it must see every slice by itself, and components mix them; do without components"
    if wants == APART and one.confounds != ONLY:
        return _why_not_apart(request, sets)
    if wants != ALONE:
        return ""
    if one.confounds != IGNORED or request.adjusting.harmonise != "none" or request.adjusting.pca is not None:
        return "it is an answer by itself, and nothing stands beside it or is done to it before"
    n_columns = sum(request.sets[name].X.shape[1] for name in sets)
    return "" if n_columns == 1 else f"it is a single column, and these are {n_columns}; name the set that holds it"


def _why_not_apart(request: Request, sets: Sequence[str]) -> str:
    """Why sets are not one whose slices are kept apart; where several are, one of them only must be named."""
    if len(sets) == 1 and _n_slices(request, sets[0]):
        return ""
    what = f"are {len(sets)} sets" if len(sets) != 1 else "have no slices apart"
    instead = "extract with --pool slices and fit with --aggregate concat"
    if any(_n_slices(request, name) for name in sets):
        instead = "name one set with --features, or take each by itself with --features each"
    return f"it wants one feature set whose slices are kept apart, and these {what}; {instead}, or take another head"


def check_features(request: Request) -> None:
    """Refuse features that keep slices apart, and heads that no combination of features suits.

    Raises
    ------
    AnalysisError
    """
    for name in dict.fromkeys(name for sets in request.combinations.values() for name in sets):
        if request.sets[name].X.ndim != 2:
            raise AnalysisError(
                f"features must have one row per image; {name!r} keeps its slices apart, with the shape "
                f"{request.sets[name].X.shape}; aggregate it first"
            )
    todo = [one for one in passes(request) if one.features != NO_FEATURES]
    for head in dict.fromkeys(request.heads):
        reasons = [why_not(request, head, one) for one in todo]
        if all(reasons) and reasons:
            raise AnalysisError(
                f"the head {head!r} must be given features that suit it; {todo[0].features!r} does not: {reasons[0]}"
            )


def skipped(request: Request, jobs: Sequence[Job]) -> Iterator[tuple[str, str, str]]:
    """What is asked for and does not suit a target: (target, what, why)."""
    for job in jobs:
        if job.target.name in request.inferring.correct_age and job.target.kind != CONTINUOUS:
            yield job.target.name, "correction of age", "a target must be of numbers to have its age bias corrected"
        if request.inferring.n_permutations and job.target.kind == MULTICLASS:
            yield job.target.name, "permutations", "targets of several classes are not permuted"
        for head in dict.fromkeys(request.heads):
            if head not in job.heads:
                yield job.target.name, head, "the head does not suit the kind of the target"
        for mode in dict.fromkeys(request.adjusting.modes):
            if mode in RESIDUAL and job.target.kind not in NUMBERS:
                yield job.target.name, f"confounds {mode}", "confounds are removed from targets that are numbers only"
                continue
            for head in job.heads:
                if not _suits_target(job, head, mode):
                    why = "the head wants levels, and what confounds leave of a target has none"
                    yield job.target.name, f"{head}, confounds {mode}", why
        yield from _skipped_features(request, job)


def _skipped_features(request: Request, job: Job) -> Iterator[tuple[str, str, str]]:
    for one in passes(request):
        for head in job.heads:
            why = why_not(request, head, one)
            if why and _suits_target(job, head, one.confounds):
                treated = "" if one.confounds == IGNORED else f", confounds {one.confounds}"
                yield job.target.name, f"{head} on {one.features}{treated}", why
