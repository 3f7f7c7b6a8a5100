"""The table of heads. A head is a scikit-learn estimator whose hyper-parameters are chosen on given inner folds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.analysis.cohort.targets import BINARY, CONTINUOUS, KINDS, MULTICLASS
from featx.analysis.scaling import Floats
from featx.analysis.splits import Pairs
from featx.errors import AnalysisError, known

LINEAR = "linear"
TREES = "trees"


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
        Which of cv, random_state and n_jobs the classes take.
    chosen : mapping of str to str
        What the inner folds choose, to the fitted attribute that holds it.
    form : str
        How a fitted one is stored: `LINEAR` (coef_ and intercept_) or `TREES` (booster_).
    """

    title: str
    estimators: Mapping[str, str]
    accepts: tuple[str, ...]
    chosen: Mapping[str, str]
    form: str


_LOGISTIC = "featx.analysis.heads.logistic:LogisticPath"
_BOOSTING = "featx.analysis.heads.boosting:Boosting"

HEADS: dict[str, Head] = {
    "ridge": Head(
        title="ridge regression",
        estimators={CONTINUOUS: "featx.analysis.ridge:RidgePath"},
        accepts=("cv",),
        chosen={"alpha": "alpha_"},
        form=LINEAR,
    ),
    "logistic": Head(
        title="logistic regression (L2)",
        estimators={BINARY: _LOGISTIC, MULTICLASS: _LOGISTIC},
        accepts=("cv",),
        chosen={"C": "C_"},
        form=LINEAR,
    ),
    "boosting": Head(
        title="boosted trees",
        estimators={
            CONTINUOUS: f"{_BOOSTING}Regressor",
            BINARY: f"{_BOOSTING}Classifier",
            MULTICLASS: f"{_BOOSTING}Classifier",
        },
        accepts=("cv", "random_state", "n_jobs"),
        chosen={"n_rounds": "n_rounds_"},
        form=TREES,
    ),
}


def get_head(name: str) -> Head:
    """The facts of a head.

    Raises
    ------
    AnalysisError
        Unknown name.
    """
    if name not in HEADS:
        raise AnalysisError(f"a head must be in the table of heads; {name!r} is not; {known(HEADS)}")
    return HEADS[name]


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


def make_head(name: str, kind: str, *, cv: Pairs, random_state: int = 0, n_jobs: int = 1) -> Any:
    """An unfitted estimator.

    Parameters
    ----------
    name : str
        Key of `HEADS`.
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    cv : iterable of (train, validation) index pairs
        Inner folds, counted in the rows that `fit` will be given.
    random_state, n_jobs : int
        For the heads that take them.

    Raises
    ------
    AnalysisError
        Unknown head, or one that does not suit the kind.
    """
    if not applies(name, kind):
        suited = [one for one in HEADS if kind in HEADS[one].estimators]
        raise AnalysisError(f"a head must suit the target; {name!r} does not suit a {kind} one; {known(suited)}")
    head = HEADS[name]
    module, _, class_name = head.estimators[kind].partition(":")
    options = {"cv": list(cv), "random_state": random_state, "n_jobs": n_jobs}
    return getattr(importlib.import_module(module), class_name)(**{key: options[key] for key in head.accepts})


def predict_with(estimator: Any, kind: str, X: NDArray[np.floating]) -> Floats:
    """Numbers of shape (n,) for a continuous target, else probabilities of shape (n, n_classes)."""
    predicted: Floats = estimator.predict(X) if kind == CONTINUOUS else estimator.predict_proba(X)
    return predicted


def chosen_parameters(name: str, estimator: Any) -> dict[str, float | int]:
    """What the inner folds chose, by the names of the table."""
    return {key: getattr(estimator, attribute) for key, attribute in get_head(name).chosen.items()}
