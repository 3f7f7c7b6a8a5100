"""What is asked of an analysis, and what comes out of it: frozen values without work in them, and the check."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import joblib
import numpy as np
import pandas as pd
import scipy
import sklearn
import xgboost

import featx
from featx.analysis.bundle import Bundle
from featx.analysis.cohort.targets import KINDS
from featx.analysis.features import SetFacts
from featx.analysis.heads import get_head
from featx.errors import AnalysisError, known

if TYPE_CHECKING:
    from featx.store import FeatureSet

MOST_SEED = 2**32


@dataclass(frozen=True)
class Request:
    """What is to be fitted.

    Attributes
    ----------
    sets : mapping of str to FeatureSet
        All the feature sets that `combinations` names.
    combinations : mapping of str to sequence of str
        From `featx.analysis.features.select_features`. All are scored on the same images: those in every set.
    phenotypes : DataFrame
        From `featx.analysis.cohort.tables.read_phenotypes`.
    targets, heads : sequence of str
    kinds : mapping of str to str
        Target to its kind, where it is not to be inferred.
    n_splits, n_inner : int
        Outer and inner folds.
    n_bootstrap : int
        Draws of people for the intervals.
    random_state, n_jobs : int
        The result is the same for every n_jobs.
    phenotypes_name, phenotypes_sha256 : str
        The file's name and digest, for run.json.
    """

    sets: Mapping[str, FeatureSet]
    combinations: Mapping[str, Sequence[str]]
    phenotypes: pd.DataFrame
    targets: Sequence[str]
    heads: Sequence[str]
    kinds: Mapping[str, str] = field(default_factory=dict)
    n_splits: int = 10
    n_inner: int = 5
    n_bootstrap: int = 2000
    random_state: int = 0
    n_jobs: int = 1
    phenotypes_name: str = ""
    phenotypes_sha256: str = ""


@dataclass(frozen=True)
class TargetFacts:
    """What became of one target.

    Attributes
    ----------
    name, kind : str
    classes : tuple of str
    counts : tuple of int
        Images in each class; empty for numbers.
    n_images, n_people : int
        With a value, and scored.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    n_images: int
    n_people: int


@dataclass(frozen=True)
class Result:
    """What came out.

    Attributes
    ----------
    request : Request
    flow : mapping of str to int
        Counts of images and people: with any features, with all, matched.
    sets : mapping of str to tuple of SetFacts
        Combination to its sets.
    targets : tuple of TargetFacts
        Those that were analysed, in the order of the request.
    splits, scores, exclusions : DataFrame
        Columns as in `featx.schema`.
    predictions : mapping of str to DataFrame
        By target.
    bundles : mapping of (target, head, combination) to Bundle
    skipped : tuple of (target, head)
        Heads that do not suit the target's kind.
    """

    request: Request
    flow: Mapping[str, int]
    sets: Mapping[str, tuple[SetFacts, ...]]
    targets: tuple[TargetFacts, ...]
    splits: pd.DataFrame
    scores: pd.DataFrame
    exclusions: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]
    bundles: Mapping[tuple[str, str, str], Bundle]
    skipped: tuple[tuple[str, str], ...]


def check_request(request: Request) -> None:
    """Refuse a request of which nothing, or not what was meant, would come.

    Raises
    ------
    AnalysisError
        No target, head or features; an unknown head, kind or set; too few folds or draws; a seed that
        is too large; n_jobs of 0.
    """
    for name in request.heads:
        get_head(name)
    for what, many in {"target": request.targets, "head": request.heads, "feature set": request.combinations}.items():
        if not many:
            raise AnalysisError(f"an analysis must have at least one {what}; it has none; name one")
    for target, kind in request.kinds.items():
        if kind not in KINDS:
            raise AnalysisError(f"a kind of target must be known; {kind!r} is not, for {target!r}; {known(KINDS)}")
        if target not in request.targets:
            raise AnalysisError(
                f"a kind must be given for a target of the analysis; {target!r} is none; {known(request.targets)}"
            )
    _check_numbers(request)
    missing = [one for sets in request.combinations.values() for one in sets if one not in request.sets]
    if missing:
        raise AnalysisError(f"features must be given to be used; {missing[0]!r} is not; {known(request.sets)}")


def _check_numbers(request: Request) -> None:
    least = {"n_splits": 2, "n_inner": 2, "n_bootstrap": 0, "random_state": 0}
    for name, lowest in least.items():
        if getattr(request, name) < lowest:
            raise AnalysisError(
                f"{name} must be at least {lowest}; it is {getattr(request, name)}; choose a larger number"
            )
    if request.random_state >= MOST_SEED:
        raise AnalysisError(
            f"random_state must be below 2**32, for numpy; it is {request.random_state}; choose a smaller one"
        )
    if request.n_jobs == 0:
        raise AnalysisError("n_jobs must be a number of processes, or -1 for all cores; it is 0; choose 1 or more")


def versions() -> dict[str, str]:
    """Versions of what computes."""
    modules = (featx, joblib, np, pd, scipy, sklearn, xgboost)
    return {"python": platform.python_version()} | {one.__name__: str(one.__version__) for one in modules}
