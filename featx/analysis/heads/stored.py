"""A fitted head as arrays, and predictions from these alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.analysis.cohort.targets import BINARY, MULTICLASS
from featx.analysis.heads.logistic import probabilities
from featx.analysis.scaling import Floats

LINEAR = "linear"
TREES = "trees"
CUMULATIVE = "cumulative"
BINS = "bins"
SKOPS = "skops"
ATTENTION = "pooling"
COLUMN = "column"
ARRAYS = {
    LINEAR: ("coef", "intercept"),
    TREES: ("trees",),
    CUMULATIVE: ("coef", "thresholds", "levels"),
    BINS: ("coef", "intercept", "centres"),
    SKOPS: ("skops",),
    ATTENTION: ("coef", "intercept", "query", "position"),
    COLUMN: ("positive",),
}


def arrays_of(form: str, estimator: Any) -> dict[str, NDArray[Any]]:
    """What must be stored of a fitted estimator, under the names of `ARRAYS`.

    Returns
    -------
    dict of str to ndarray
        float64; for trees and skops uint8, the bytes of a file.
    """
    if form == TREES:
        return {"trees": np.frombuffer(bytes(estimator.booster_.save_raw("ubj")), dtype=np.uint8)}
    if form == SKOPS:
        from featx.analysis.heads.foreign import to_skops

        return {"skops": np.frombuffer(to_skops(estimator.estimator_), dtype=np.uint8)}
    return {name: np.asarray(getattr(estimator, name + "_"), dtype=np.float64) for name in ARRAYS[form]}


def predict_arrays(form: str, kind: str, arrays: Mapping[str, NDArray[Any]], Z: NDArray[np.floating]) -> Floats:
    """Predict as the estimator does that the arrays were taken from.

    Parameters
    ----------
    form : str
        A key of `ARRAYS`.
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    arrays : mapping of str to ndarray
        As `arrays_of` gives them; others are not looked at.
    Z : ndarray of shape (n, n_columns)
        Prepared already, where anything is to be prepared.

    Returns
    -------
    ndarray of shape (n,) or (n, n_classes)
        Numbers, or probabilities.

    Raises
    ------
    BundleError
        Bytes that are no stored estimator of scikit-learn's, or hold other types than its own.
    """
    is_class = kind in (BINARY, MULTICLASS)
    if form == TREES:
        import xgboost

        from featx.analysis.heads.boosting import margins

        return margins(xgboost.Booster(model_file=bytearray(arrays["trees"].tobytes())), Z)
    if form == SKOPS:
        from featx.analysis.heads.foreign import from_skops, predict_fitted

        return predict_fitted(from_skops(arrays["skops"].tobytes()), Z, is_class=is_class)
    if form == CUMULATIVE:
        from featx.analysis.heads.ordinal import expected_level

        return expected_level(Z, arrays["coef"], arrays["thresholds"], arrays["levels"])
    if form == BINS:
        from featx.analysis.heads.softbins import decode

        return decode(Z, arrays["coef"], arrays["intercept"], arrays["centres"])
    if form == ATTENTION:
        from featx.analysis.heads.attention import answer

        return answer(Z, arrays["coef"], arrays["intercept"], arrays["query"], arrays["position"], is_class=is_class)
    if form == COLUMN:
        from featx.analysis.heads.direct import only_column

        return only_column(Z, positive=int(arrays["positive"]) if is_class else None)
    if is_class:
        return probabilities(Z, arrays["coef"], arrays["intercept"])
    numbers: Floats = Z @ arrays["coef"] + arrays["intercept"]
    return numbers
