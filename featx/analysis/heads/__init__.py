"""The table of heads. A head is a scikit-learn estimator whose hyper-parameters are chosen on given inner folds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, KINDS, ORDINAL
from featx.analysis.folds.splits import Pairs
from featx.analysis.folds.strata import CLASSES
from featx.analysis.heads.stored import (
    ATTENTION,
    BINS,
    COLUMN,
    CUMULATIVE,
    LINEAR,
    SKOPS,
    TREES,
    arrays_of,
    predict_arrays,
)
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, known

_FOREIGN = "sklearn:"
APART, ALONE = "apart", "alone"
WANTS = {
    APART: "one feature set whose slices are kept apart: extract with --pool slices, fit with --aggregate concat",
    ALONE: "one feature set of one column, as it is: no confounds beside it, no sites, no components",
}

__all__ = [
    "ALONE",
    "APART",
    "ATTENTION",
    "BINS",
    "COLUMN",
    "CUMULATIVE",
    "HEADS",
    "LINEAR",
    "SKOPS",
    "TREES",
    "WANTS",
    "Head",
    "HeadOptions",
    "applies",
    "chosen_parameters",
    "fitted_arrays",
    "form_of",
    "get_head",
    "heads_for",
    "make_head",
    "predict_arrays",
    "predict_with",
]


@dataclass(frozen=True)
class Head:
    """Facts of one head.

    Attributes
    ----------
    title : str
        As it stands in a report.
    estimators : mapping of str to str
        Kind of target to ``module:Class``; a kind that is missing does not suit the head.
    accepts : tuple of str
        Which of cv, prepare and the fields of `HeadOptions` the classes take.
    chosen : mapping of str to str
        What the inner folds choose, to the fitted attribute that holds it.
    form : str
        How a fitted one is stored: a key of `featx.analysis.heads.stored.ARRAYS`.
    pipeline : str
        What is done, in order, inside every fold.
    grid : str
        What is chosen, among what, and by which measure.
    reference : str
        The work to cite, or "".
    fixed : mapping of str to str
        Further arguments of the class.
    wants : str
        Key of `WANTS`: features of a form of their own; "" where it takes any.
    """

    title: str
    estimators: Mapping[str, str]
    accepts: tuple[str, ...]
    chosen: Mapping[str, str]
    form: str
    pipeline: str
    grid: str
    reference: str = ""
    fixed: Mapping[str, str] = field(default_factory=dict)
    wants: str = ""


@dataclass(frozen=True)
class HeadOptions:
    """What may be asked of heads; each is given to those that take it.

    Attributes
    ----------
    random_state : int
    n_jobs : int
        Threads of one fit. With more than one, sums can differ in the last digit.
    device : str
        "cpu" or "cuda".
    class_weight : str or None
        "balanced" counts every class alike, whatever its size. It says nothing to a target of numbers.
    grid : mapping of str to sequence
        Parameter of a scikit-learn estimator to the values to choose among.
    n_slices : int
        Slices whose features stand one behind the other in a row; 1 where none are kept apart.
    classes : tuple of str
        Levels of a target of classes, in the order of their codes; for heads that mean something by their names.
    """

    random_state: int = 0
    n_jobs: int = 1
    device: str = "cpu"
    class_weight: str | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)
    n_slices: int = 1
    classes: tuple[str, ...] = ()


_REAL = (CONTINUOUS, ORDINAL)
_BOOSTING = "featx.analysis.heads.boosting:Boosting"
_ATTENTION = "featx.analysis.heads.attention:Attention"
_DIRECT = "featx.analysis.heads.direct:Direct"

HEADS: dict[str, Head] = {
    "ridge": Head(
        title="ridge regression",
        estimators=dict.fromkeys(_REAL, "featx.analysis.ridge:RidgePath"),
        accepts=("cv", "prepare"),
        chosen={"alpha": "alpha_"},
        form=LINEAR,
        pipeline="columns standardised; least squares with an L2 penalty",
        grid="20 penalties, 1e-4 to 1e4 times the number of features; least mean squared error",
        reference="Hoerl & Kennard 1970, Technometrics 12:55",
    ),
    "logistic": Head(
        title="logistic regression (L2)",
        estimators=dict.fromkeys(CLASSES, "featx.analysis.heads.logistic:LogisticPath"),
        accepts=("cv", "prepare", "class_weight"),
        chosen={"C": "C_"},
        form=LINEAR,
        pipeline="columns standardised; binary or multinomial logistic regression with an L2 penalty",
        grid="13 penalties per feature, 1e3 to 1e-3 (C is 1 / (penalty * features)); least log loss",
        reference="Böhning 1992, Ann Inst Stat Math 44:197 (solver)",
    ),
    "elasticnet": Head(
        title="elastic net",
        estimators=dict.fromkeys(_REAL, "featx.analysis.heads.elastic:ElasticNetPath"),
        accepts=("cv", "prepare"),
        chosen={"alpha": "alpha_", "l1_ratio": "l1_ratio_"},
        form=LINEAR,
        pipeline="columns standardised; least squares with an L1 and an L2 penalty",
        grid="L1 share 0.1, 0.5, 0.9 and 30 penalties down to 1/100 of the strongest; least mean squared error",
        reference="Zou & Hastie 2005, JRSS B 67:301",
    ),
    "elasticnet-logistic": Head(
        title="elastic-net logistic regression",
        estimators=dict.fromkeys(CLASSES, "featx.analysis.heads.elastic_logistic:ElasticNetLogistic"),
        accepts=("cv", "prepare", "class_weight"),
        chosen={"C": "C_", "l1_ratio": "l1_ratio_"},
        form=LINEAR,
        pipeline="columns standardised; binary or multinomial logistic regression with an L1 and an L2 penalty",
        grid="L1 share 0.1, 0.5, 0.9 and 8 penalties down to 3/100 of the strongest; least log loss",
        reference="Friedman, Hastie & Tibshirani 2010, J Stat Softw 33:1",
    ),
    "pc-elastic-net": Head(
        title="elastic net on principal components",
        estimators={CONTINUOUS: "featx.analysis.heads.components:ComponentsElasticNet"},
        accepts=("cv", "prepare"),
        chosen={"n_components": "n_components_", "alpha": "alpha_", "l1_ratio": "l1_ratio_"},
        form=LINEAR,
        pipeline="columns standardised; principal components, of which the k that correlate most with the target are "
        "kept; least squares on these with an L1 and an L2 penalty",
        grid="k 10, 20, 50, 100, 200; L1 share 0.1, 0.5, 0.9 and 30 penalties down to 1e-5 of the strongest; least "
        "mean squared error",
        reference="Holderrieth, Smith & Peng 2022 (their baseline of voxels)",
    ),
    "pc-elastic-net-logistic": Head(
        title="elastic-net logistic regression on principal components",
        estimators={BINARY: "featx.analysis.heads.components:ComponentsElasticNetLogistic"},
        accepts=("cv", "prepare", "class_weight"),
        chosen={"n_components": "n_components_", "C": "C_", "l1_ratio": "l1_ratio_"},
        form=LINEAR,
        pipeline="columns standardised; principal components, of which the k that correlate most with the class are "
        "kept; logistic regression on these with an L1 and an L2 penalty",
        grid="k 10, 20, 50, 100, 200; L1 share 0.1, 0.5, 0.9 and 10 penalties down to 1e-5 of the strongest; least "
        "log loss",
        reference="Holderrieth, Smith & Peng 2022 (their baseline of voxels)",
    ),
    "boosting": Head(
        title="boosted trees",
        estimators={
            **dict.fromkeys(_REAL, f"{_BOOSTING}Regressor"),
            **dict.fromkeys(CLASSES, f"{_BOOSTING}Classifier"),
        },
        accepts=("cv", "prepare", "random_state", "n_jobs", "device", "class_weight"),
        chosen={"n_rounds": "n_rounds_"},
        form=TREES,
        pipeline="trees of depth 3 on histograms, learning rate 0.1, 80 % of the rows a tree; missing values allowed",
        grid="up to 300 rounds, stopped on every inner fold; the median of them",
        reference="Chen & Guestrin 2016, KDD 22:785",
    ),
    "cumulative-logit": Head(
        title="cumulative logit (proportional odds, L2)",
        estimators={ORDINAL: "featx.analysis.heads.ordinal:CumulativeLogit"},
        accepts=("cv", "prepare"),
        chosen={"C": "C_"},
        form=CUMULATIVE,
        pipeline="columns standardised; proportional odds with an L2 penalty; predicted is the expected level",
        grid="13 penalties per feature, 1e3 to 1e-3; least log loss of the levels",
        reference="McCullagh 1980, JRSS B 42:109",
    ),
    "softbins": Head(
        title="linear softmax over bins (soft labels)",
        estimators={CONTINUOUS: "featx.analysis.heads.softbins:SoftBins"},
        accepts=("cv", "prepare"),
        chosen={"C": "C_"},
        form=BINS,
        pipeline="columns standardised; softmax over about 40 bins of the training range, Gaussian soft labels, and "
        "an L2 penalty; predicted is the mean of the bins",
        grid="13 penalties per feature, 1e3 to 1e-3; least mean squared error of the mean",
        reference="Peng et al. 2021, Med Image Anal 68:101871",
    ),
    "attention": Head(
        title="attention over slices",
        estimators={
            **dict.fromkeys(_REAL, f"{_ATTENTION}Regressor"),
            BINARY: f"{_ATTENTION}Classifier",
        },
        accepts=("cv", "prepare", "class_weight", "n_slices"),
        chosen={"penalty": "penalty_", "pooling": "pooling_"},
        form=ATTENTION,
        pipeline="features standardised over people and slices; a learned query scores every slice, by its features "
        "and its place; the softmax weighs them, and ridge or logistic regression answers the weighted mean",
        grid="7 penalties per feature, 1e3 to 1e-3, each with the mean of the slices and with two penalties of the "
        "query; least mean squared error or log loss",
        reference="Ilse, Tomczak & Welling 2018, ICML 35:2127",
        wants=APART,
    ),
    "direct": Head(
        title="the network's own answer",
        estimators={**dict.fromkeys(_REAL, f"{_DIRECT}Regressor"), BINARY: f"{_DIRECT}Classifier"},
        accepts=("cv", "prepare", "classes"),
        chosen={},
        form=COLUMN,
        pipeline="nothing is fitted: the single column is the prediction, in the unit of the phenotype; for two "
        "classes it is the probability of the one that their names say is meant (M of F and M, 1 of 0 and 1, case of "
        "case and control; 1 and 2 do not say)",
        grid="nothing",
        wants=ALONE,
    ),
}


def get_head(name: str) -> Head:
    """The facts of a head.

    Parameters
    ----------
    name : str
        Key of `HEADS`, or ``sklearn:module.Class`` with the module relative to scikit-learn.

    Raises
    ------
    AnalysisError
        Unknown name; a class that is no regressor or classifier.

    Examples
    --------
    >>> get_head("sklearn:svm.SVR").title
    "scikit-learn's SVR"
    """
    if name.startswith(_FOREIGN):
        return _foreign(name)
    if name not in HEADS:
        raise AnalysisError(
            f"a head must be in the table of heads; {name!r} is not; {known(HEADS)}, and sklearn:module.Class"
        )
    return HEADS[name]


def _foreign(name: str) -> Head:
    """Facts of an estimator of scikit-learn, whatever it is."""
    from featx.analysis.heads.foreign import is_classifier

    path = name.removeprefix(_FOREIGN)
    classes = is_classifier(path)
    made = "Classifier" if classes else "Regressor"
    weights = ("class_weight",) if classes else ()
    return Head(
        title=f"scikit-learn's {path.rpartition('.')[2]}",
        estimators=dict.fromkeys(CLASSES if classes else _REAL, f"featx.analysis.heads.foreign:Foreign{made}"),
        accepts=("cv", "prepare", "random_state", "n_jobs", "grid", *weights),
        chosen={},
        form=SKOPS,
        pipeline=f"columns standardised; sklearn.{path}",
        grid=f"the study's, if any; least {'log loss' if classes else 'mean squared error'}",
        reference="Pedregosa et al. 2011, JMLR 12:2825",
        fixed={"path": path},
    )


def form_of(name: str) -> str:
    """How a fitted head is stored.

    Examples
    --------
    >>> form_of("boosting")
    'trees'
    """
    return get_head(name).form


def applies(name: str, kind: str) -> bool:
    """Whether a head suits a kind of target.

    Examples
    --------
    >>> applies("ridge", "continuous"), applies("ridge", "binary")
    (True, False)
    """
    if kind not in KINDS:
        raise AnalysisError(f"the kind of a target must be known; {kind!r} is not; {known(KINDS)}")
    return kind in get_head(name).estimators


def heads_for(kind: str) -> list[str]:
    """Heads of the table that suit a kind of target, in its order.

    Examples
    --------
    >>> heads_for("binary")[:2]
    ['logistic', 'elasticnet-logistic']
    """
    return [name for name in HEADS if applies(name, kind)]


def make_head(name: str, kind: str, *, cv: Pairs, prepare: Any = None, options: HeadOptions = HeadOptions()) -> Any:
    """An unfitted estimator.

    Parameters
    ----------
    name : str
        Key of `HEADS`, or ``sklearn:module.Class``.
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    cv : iterable of (train, validation) index pairs
        Inner folds, counted in the rows that `fit` will be given.
    prepare : Prepare, optional
        What is fitted to the columns before the head, anew in every training set.
    options : HeadOptions

    Raises
    ------
    AnalysisError
        Unknown head, one that does not suit the kind, or an option that it cannot obey.
    """
    if not applies(name, kind):
        raise AnalysisError(
            f"a head must suit the target; {name!r} does not suit a {kind} one; {known(heads_for(kind))}"
        )
    head = get_head(name)
    _check_options(name, kind, options)
    given = {"cv": list(cv), "prepare": prepare, **vars(options)}
    if kind not in CLASSES:
        del given["class_weight"], given["classes"]
    module, _, class_name = head.estimators[kind].partition(":")
    made: Any = getattr(importlib.import_module(module), class_name)
    return made(**head.fixed, **{key: given[key] for key in head.accepts if given.get(key) is not None})


def _check_options(name: str, kind: str, options: HeadOptions) -> None:
    """Refuse what a head cannot obey, rather than leave it out."""
    accepts = get_head(name).accepts
    if options.device not in ("cpu", "cuda"):
        raise AnalysisError(
            f"the device of a head must be known; {options.device!r} is not; {known(['cpu', 'cuda'])}"
        )
    if options.class_weight not in (None, "balanced"):
        raise AnalysisError(
            f"class weights must be 'balanced', or left out; they are {options.class_weight!r}; "
            "'balanced' counts every class alike"
        )
    asked = {
        "device": options.device != "cpu",
        "class_weight": options.class_weight is not None and kind in CLASSES,
        "grid": bool(options.grid),
    }
    for option, is_asked in asked.items():
        if is_asked and option not in accepts:
            able = [one for one in HEADS if option in HEADS[one].accepts]
            raise AnalysisError(
                f"{_ASKED[option].format(getattr(options, option))} must be asked of a head that can use it; "
                f"{name!r} cannot; leave it out, or take one of {', '.join(able + _FOREIGN_TOO[option])}"
            )


_ASKED = {"device": "the device {!r}", "class_weight": "the class weight {!r}", "grid": "the grid {!r}"}
_FOREIGN_TOO: dict[str, list[str]] = {
    "device": [],
    "class_weight": ["sklearn:module.Class"],
    "grid": ["sklearn:module.Class"],
}


def predict_with(estimator: Any, kind: str, X: NDArray[np.floating]) -> Floats:
    """Numbers of shape (n,) for a continuous or ordinal target, else probabilities of shape (n, n_classes)."""
    predicted: Floats = estimator.predict_proba(X) if kind in CLASSES else estimator.predict(X)
    return predicted


def chosen_parameters(name: str, estimator: Any) -> dict[str, float | int | str]:
    """What the inner folds chose, by the names of the table, or of the grid."""
    if form_of(name) == SKOPS:
        return dict(estimator.chosen_)
    return {key: getattr(estimator, attribute) for key, attribute in get_head(name).chosen.items()}


def fitted_arrays(name: str, estimator: Any) -> dict[str, NDArray[Any]]:
    """What must be stored of a fitted head for `predict_arrays`; what comes before the head is not in it."""
    return arrays_of(form_of(name), estimator)
