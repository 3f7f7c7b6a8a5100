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
from numpy.typing import NDArray

import featx
from featx.analysis.adjust.confounds import MODES
from featx.analysis.cohort.targets import KINDS, Target
from featx.analysis.crossval import ADDED, BOTH, FEATURES, IGNORED, ONLY, TARGET
from featx.analysis.features import Images, SetFacts
from featx.analysis.folds.splits import SCHEMES, Design, Folding
from featx.analysis.heads import HeadOptions, get_head
from featx.analysis.inference.cautions import Caution
from featx.analysis.runs.bundle import Bundle
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, known

if TYPE_CHECKING:
    from featx.featureset import FeatureSet

MOST_SEED = 2**32
NO_FEATURES = "-"
CALIBRATIONS = ("none", "platt", "isotonic")
HARMONISATIONS = ("none", "combat")


@dataclass(frozen=True)
class Adjusting:
    """What is done about confounds, sites and the width of the features, always inside the folds.

    Attributes
    ----------
    confounds : tuple of str
        As `featx.analysis.cohort.covariates` parses them: "age", "age:spline", "site:category".
    modes : tuple of str
        Keys of `featx.analysis.adjust.confounds.MODES`, each an arm of its own.
    harmonise : str
        "none" or "combat".
    preserve : tuple of str
        Those of `confounds` whose effect ComBat preserves.
    pca : int or float, optional
    calibrate : str
        "none", "platt" or "isotonic".
    """

    confounds: tuple[str, ...] = ()
    modes: tuple[str, ...] = (IGNORED,)
    harmonise: str = "none"
    preserve: tuple[str, ...] = ()
    pca: int | float | None = None
    calibrate: str = "none"


@dataclass(frozen=True)
class Columns:
    """Columns of the phenotype table that are no targets.

    Attributes
    ----------
    site, group : str
        "" for none. A group (a family) is never divided by folds.
    age : str
        For breakdowns by age and age-matched scores.
    stratify : str
        "target": every target has folds of its own, stratified by it. "none", or a column: all targets share the
        same folds, and ridge is fitted for all of them at once.
    where : str
        Kept people; see `featx.analysis.cohort.condition.where`.
    """

    site: str = ""
    group: str = ""
    age: str = ""
    stratify: str = "target"
    where: str = ""


@dataclass(frozen=True)
class Inferring:
    """How much is drawn for intervals and tests.

    Attributes
    ----------
    n_bootstrap : int
        Draws of people for the intervals.
    n_permutations : int
        Of the target, each through the whole outer loop of ridge.
    correct_age : tuple of str
        Targets whose predictions get an age-bias correction, beside the raw ones.
    """

    n_bootstrap: int = 2000
    n_permutations: int = 0
    correct_age: tuple[str, ...] = ()


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
        From `featx.analysis.cohort.phenotypes.read_phenotypes`.
    targets, heads : sequence of str
    kinds : mapping of str to str
        Target to its kind, where it is not to be inferred.
    expected : mapping of str to str
        Column to the kind that the table's description gives it.
    levels : mapping of str to mapping of str to str
        Labels of a column's codes, where the table's description tells them.
    units : mapping of str to str
        Units of columns.
    folding, columns, adjusting, inferring, options : Folding, Columns, Adjusting, Inferring, HeadOptions
    grids : mapping of str to mapping
        Grids of ``sklearn:`` heads.
    given_splits : DataFrame, optional
        Columns of `featx.schema.SPLITS`, of an earlier run or made from a column.
    n_jobs : int
        The result is the same for every n_jobs.
    phenotypes_name, phenotypes_sha256 : str
        The file's name and digest, for run.json.
    sources : tuple of mapping
        Role (features, table, also), name, file and sha256 of what else was read, for run.json.
    cautions : tuple of Caution
        What is known beforehand of the table.
    training : mapping of str to (str, (float, float) or None)
        Network to what it was trained on, in words, and the ages of those people.
    is_biobank : bool
        Whether the table is an export of UK Biobank.
    aggregate : str
        How slices that a feature file keeps apart became one row per image, for run.json.
    command : str
        The call that is to make the run, for run.json, where it is another one than `featx fit`.
    """

    sets: Mapping[str, FeatureSet]
    combinations: Mapping[str, Sequence[str]]
    phenotypes: pd.DataFrame
    targets: Sequence[str]
    heads: Sequence[str]
    kinds: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    folding: Folding = field(default_factory=Folding)
    columns: Columns = field(default_factory=Columns)
    adjusting: Adjusting = field(default_factory=Adjusting)
    inferring: Inferring = field(default_factory=Inferring)
    options: HeadOptions = field(default_factory=HeadOptions)
    grids: Mapping[str, Mapping[str, Sequence[object]]] = field(default_factory=dict)
    given_splits: pd.DataFrame | None = None
    n_jobs: int = 1
    phenotypes_name: str = ""
    phenotypes_sha256: str = ""
    sources: tuple[Mapping[str, str], ...] = ()
    cautions: tuple[Caution, ...] = ()
    training: Mapping[str, tuple[str, tuple[float, float] | None]] = field(default_factory=dict)
    is_biobank: bool = False
    aggregate: str = "mean"
    command: str = ""


@dataclass(frozen=True)
class Job:
    """A target that can be analysed, and its rows among the matched images.

    Attributes
    ----------
    target : Target
        `rows` counts matched images; what lacks a confound or has no place in the splits is left out.
    images : Images
        Of those rows.
    units : ndarray of shape (n,), object (str)
        Groups that are never divided.
    design : Design
        Counted in those rows.
    shared : Design or None
        The design over all matched images, where targets share one.
    heads : tuple of str
        Those that suit the kind.
    n_seeds : int
        Repeats of the design that share their folds, one behind the other: seeds of networks that are trained.
    """

    target: Target
    images: Images
    units: NDArray[np.object_]
    design: Design
    shared: Design | None
    heads: tuple[str, ...]
    n_seeds: int = 1


@dataclass(frozen=True)
class Arm:
    """One way of predicting one target, out of fold.

    Attributes
    ----------
    features, head, confounds : str
        Combination (or `NO_FEATURES`), head (or "baseline"), and a key of `featx.analysis.adjust.confounds.MODES`.
    predicted : ndarray of shape (n_repeats, n) or (n_repeats, n, n_classes)
        NaN where a row is not test.
    offset : ndarray of shape (n_repeats, n), or None
        The confounds' part, where the target was residualised: such an arm is scored on what is left.
    corrected : mapping of str to ndarray of shape (n_repeats, n)
        Age-bias corrected predictions by method.
    bias : mapping of str to ndarray of shape (n_splits + 1,)
        "slope" and "intercept", from inner out-of-fold predictions; the last is that of the head that is kept.
    notes : mapping of str to ndarray of shape (n_repeats, n)
        Of a network that was trained, what else is told of every prediction: the numbers of `featx.schema.TRAINED`.
    """

    features: str
    head: str
    confounds: str
    predicted: Floats
    offset: Floats | None = None
    corrected: Mapping[str, Floats] = field(default_factory=dict)
    bias: Mapping[str, Floats] = field(default_factory=dict)
    notes: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def label(self) -> tuple[str, str, str]:
        """features, head, confounds."""
        return self.features, self.head, self.confounds


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
    jobs : tuple of Job
        Targets that were analysed, in the order of the request.
    arms : mapping of str to tuple of Arm
        By target; the baseline first.
    tables : mapping of str to DataFrame
        scores, comparisons, permutations, breakdowns, age_bias, splits, exclusions: columns as in `featx.schema`.
    bundles : mapping of (target, head, combination, confounds) to Bundle
    skipped : tuple of (target, head, sentence)
        Heads that do not suit the target's kind.
    cautions : tuple of Caution
    """

    request: Request
    flow: Mapping[str, int]
    sets: Mapping[str, tuple[SetFacts, ...]]
    jobs: tuple[Job, ...]
    arms: Mapping[str, tuple[Arm, ...]]
    tables: Mapping[str, pd.DataFrame]
    bundles: Mapping[tuple[str, str, str, str], Bundle]
    skipped: tuple[tuple[str, str, str], ...]
    cautions: tuple[Caution, ...]


# --- the check ------------------------------------------------------------------------------------------------


def check_request(request: Request, *, has_heads: bool = True) -> None:
    """Refuse a request of which nothing, or not what was meant, would come.

    Parameters
    ----------
    request : Request
    has_heads : bool
        False where predictions come from networks that are trained, and heads are not fitted.

    Raises
    ------
    AnalysisError
        No target, head or features; an unknown word; too few folds or draws; a seed that is too large; options
        that contradict each other.
    """
    for name in request.heads:
        get_head(name)
    heads = request.heads if has_heads else ("none",)
    for what, many in {"target": request.targets, "head": heads, "feature set": request.combinations}.items():
        if not many:
            raise AnalysisError(f"an analysis must have at least one {what}; it has none; name one")
    for target, kind in request.kinds.items():
        if kind not in KINDS:
            raise AnalysisError(f"a kind of target must be known; {kind!r} is not, for {target!r}; {known(KINDS)}")
    for what, names in {"kind": request.kinds, "correction of age": request.inferring.correct_age}.items():
        for name in names:
            if name not in request.targets:
                raise AnalysisError(
                    f"a {what} must be for a target of the analysis; {name!r} is none; {known(request.targets)}"
                )
    _check_words(request)
    _check_numbers(request)
    _check_adjusting(request)
    missing = [one for sets in request.combinations.values() for one in sets if one not in request.sets]
    if missing:
        raise AnalysisError(f"features must be given to be used; {missing[0]!r} is not; {known(request.sets)}")


def _check_words(request: Request) -> None:
    for name in request.grids:
        if "grid" not in get_head(name).accepts:
            raise AnalysisError(
                f"a grid must be for an sklearn: head; {name!r} has one of its own; leave the grid out, or take, "
                "say, sklearn:linear_model.Ridge"
            )
    words: list[tuple[str, str, Sequence[str]]] = [("scheme of folds", request.folding.scheme, SCHEMES)]
    words += [("way to treat confounds", mode, tuple(MODES)) for mode in request.adjusting.modes]
    words += [("calibration", request.adjusting.calibrate, CALIBRATIONS)]
    words += [("harmonisation", request.adjusting.harmonise, HARMONISATIONS)]
    for what, word, table in words:
        if word not in table:
            raise AnalysisError(f"a {what} must be known; {word!r} is not; {known(table)}")


def _check_numbers(request: Request) -> None:
    folding, inferring = request.folding, request.inferring
    inner = 3 if request.adjusting.calibrate != "none" or inferring.correct_age else 2
    found = {
        "n_splits": (folding.n_splits, 2),
        "n_inner": (folding.n_inner, inner),
        "n_repeats": (folding.n_repeats, 1),
        "n_bootstrap": (inferring.n_bootstrap, 0),
        "n_permutations": (inferring.n_permutations, 0),
        "random_state": (folding.random_state, 0),
    }
    for name, (got, lowest) in found.items():
        if got < lowest:
            why = " for a calibration or a correction of age" if name == "n_inner" and inner == 3 else ""
            raise AnalysisError(f"{name} must be at least {lowest}{why}; it is {got}; choose a larger number")
    if folding.random_state >= MOST_SEED:
        raise AnalysisError(
            f"random_state must be below 2**32, for numpy; it is {folding.random_state}; choose a smaller one"
        )
    if request.n_jobs == 0:
        raise AnalysisError("n_jobs must be a number of processes, or -1 for all cores; it is 0; choose 1 or more")


def _check_adjusting(request: Request) -> None:
    if request.inferring.n_permutations and not (
        request.adjusting.harmonise == "none" and request.adjusting.pca is None
    ):
        raise AnalysisError(
            "permutations must go through ridge on features as they are; a harmonisation or components were asked "
            "for; do without them, or without permutations"
        )
    adjusting, site = request.adjusting, request.columns.site
    wanting = [mode for mode in adjusting.modes if mode in (ONLY, ADDED, FEATURES, TARGET, BOTH)]
    if wanting and not adjusting.confounds:
        raise AnalysisError(
            f"confounds must be named to be treated as {wanting[0]!r}; none is; add --confound COLUMN"
        )
    if adjusting.harmonise != "none" and not site:
        raise AnalysisError(f"a site column must be named to harmonise by {adjusting.harmonise}; none is; add --site")
    if adjusting.preserve and adjusting.harmonise == "none":
        raise AnalysisError("covariates are preserved by a harmonisation; there is none; add --harmonise combat")
    if adjusting.preserve and not adjusting.confounds:
        raise AnalysisError(
            "covariates that ComBat preserves must be confounds as well; none is named; add --confound"
        )
    for name in adjusting.preserve:
        if name not in adjusting.confounds:
            raise AnalysisError(
                f"a covariate that ComBat preserves must be one of the confounds; {name!r} is none; "
                f"{known(adjusting.confounds)}"
            )
    if (request.folding.scheme == "site" or request.folding.by_site) and not site:
        raise AnalysisError("folds by site must know the column of the sites; none is named; add --site COLUMN")
    if (request.folding.scheme == "given") != (request.given_splits is not None):
        raise AnalysisError("given folds must come with a table of splits, and only they; give --splits FILE")


def versions() -> dict[str, str]:
    """Versions of what computes."""
    modules = (featx, joblib, np, pd, scipy, sklearn, xgboost)
    return {"python": platform.python_version()} | {one.__name__: str(one.__version__) for one in modules}
