"""What a fitted head answers to rows of features, and how that answer changes with every feature. Needs no torch.

The **answer** is one number per row: of a phenotype of numbers the prediction in its unit, of classes the log odds of
one level against all others, before any calibration (which bends the odds and looks at nothing).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from featx import schema
from featx.analysis.adjust.prepare import Prepare
from featx.analysis.crossval import Data
from featx.analysis.features import TABLE, Images
from featx.analysis.folds.strata import NUMBERS
from featx.analysis.heads import COLUMN, LINEAR
from featx.analysis.runs.bundle import PREPARE, Bundle
from featx.analysis.runs.prediction import check_same, inputs_of, predict_data
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, BundleError, ImageError, known
from featx.featureset import FeatureSet
from featx.images.image import Image

GRADIENT, OCCLUSION = "gradient", "occlusion"
METHODS = (GRADIENT, OCCLUSION)


@dataclass(frozen=True)
class Beside:
    """What of an image's row does not come from its voxels.

    Attributes
    ----------
    tables : ndarray of shape (n_features,)
        The columns of tables at their places, 0 in those of networks.
    C : ndarray of shape (1, n_confounds)
    site : ndarray of shape (1,) or None
        The code of the site.
    """

    tables: Floats
    C: Floats
    site: NDArray[np.int64] | None


def check_method(bundle: Bundle, method: str) -> None:
    """Refuse a method that is unknown or that the head cannot have, and a head without a network.

    Raises
    ------
    AnalysisError
    """
    contract = bundle.contract
    if method not in METHODS:
        raise AnalysisError(f"a method of relevance must be known; {method!r} is not; {known(METHODS)}")
    if not any(one["provenance"]["network"] != TABLE for one in contract["sets"]):
        raise AnalysisError(
            f"a relevance map must be of a head that reads images; {contract['head']!r} for {contract['target']!r} "
            f"reads {contract['features']!r}; take a head that was fitted on features of a network"
        )
    if method == GRADIENT and contract["form"] not in (LINEAR, COLUMN):
        raise AnalysisError(
            "a gradient must be of a head that weighs features linearly; "
            f"{contract['head']!r} does not; ask for --method {OCCLUSION}"
        )


def find_level(bundle: Bundle, wanted: str) -> int:
    """Which class is looked at: of two the second one if nothing is asked for; 0 where the target is a number.

    Raises
    ------
    AnalysisError
        An unknown level; none of more than two; one of a target of numbers.
    """
    contract = bundle.contract
    target, classes = contract["target"], [str(one) for one in contract["classes"] or ()]
    if contract["kind"] in NUMBERS:
        if wanted:
            raise AnalysisError(
                f"a level must be asked of a phenotype of classes; {target!r} is {contract['kind']}, and --level is "
                f"{wanted!r}; leave it out"
            )
        return 0
    if wanted in classes:
        return classes.index(wanted)
    if wanted or len(classes) > 2:
        raise AnalysisError(
            f"the level that is looked at must be one of {target!r}; got {wanted!r}; {known(classes)}; name one with "
            "--level"
        )
    return 1


def unit_of(bundle: Bundle, level: int) -> str:
    """The unit of answers.

    Examples
    --------
    >>> contract = {"kind": "binary", "classes": ["F", "M"], "unit": "", "target": "sex"}
    >>> unit_of(Bundle(contract, {}), 1), unit_of(Bundle({"kind": "continuous", "unit": "years"}, {}), 0)
    ("log odds of 'M'", 'years')
    """
    contract = bundle.contract
    if contract["kind"] in NUMBERS:
        return str(contract.get("unit") or f"units of {contract['target']}")
    return f"log odds of {str(contract['classes'][level])!r}"


def rows_beside(
    bundle: Bundle, images: Sequence[Image], tables: Sequence[FeatureSet], phenotypes: pd.DataFrame | None
) -> dict[str, Beside]:
    """What heads need of people beside their voxels, by image id; images that lack any of it are left out.

    Raises
    ------
    BundleError
        A table is missing or has other columns, confounds are needed and not given, or nobody has them.
    """
    by_id = sorted(images, key=lambda image: image.image_id)
    columns, complete = _columns_of_tables(bundle, by_id, tables)
    kept = [image for image, has_all in zip(by_id, complete, strict=True) if has_all]
    fields = (schema.IMAGE_ID, schema.PARTICIPANT_ID, schema.SESSION_ID)
    ids = Images(*(np.array([getattr(image, one) for image in kept], dtype=object) for one in fields))
    data, there = inputs_of(bundle, columns[complete], ids, phenotypes)
    return {
        str(image_id): Beside(data.X[at], data.C[[at]], None if data.site is None else data.site[[at]])
        for at, image_id in enumerate(there.image_id)
    }


def _columns_of_tables(
    bundle: Bundle, images: Sequence[Image], tables: Sequence[FeatureSet]
) -> tuple[Floats, NDArray[np.bool_]]:
    by_name = {one.name: one for one in tables}
    columns = np.zeros((len(images), sum(one["n_features"] for one in bundle.contract["sets"])))
    for wanted, where in zip(bundle.contract["sets"], places_of(bundle), strict=True):
        if wanted["provenance"]["network"] != TABLE:
            continue
        if wanted["name"] not in by_name:
            raise BundleError(
                f"a head must be given all that it was fitted on; it was fitted on the table {wanted['name']!r} too, "
                f"which is not there; give --table {wanted['name']}=FILE"
            )
        check_same(wanted, by_name[wanted["name"]])
        row_of = {str(one): at for at, one in enumerate(by_name[wanted["name"]].image_id)}
        for at, image in enumerate(images):
            row = row_of.get(image.image_id)
            columns[at, where] = np.nan if row is None else by_name[wanted["name"]].X[row]
    complete: NDArray[np.bool_] = np.asarray(np.isfinite(columns).all(axis=1))
    return columns, complete


def places_of(bundle: Bundle) -> list[slice]:
    """The columns of each set of a head, in its order.

    Examples
    --------
    >>> places_of(Bundle({"sets": [{"n_features": 3}, {"n_features": 2}]}, {}))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    ends = np.cumsum([0, *(one["n_features"] for one in bundle.contract["sets"])]).tolist()
    return [slice(first, last) for first, last in itertools.pairwise(ends)]


# --- answers --------------------------------------------------------------------------------------------------


def answers(bundle: Bundle, level: int, beside: Beside, features: NDArray[np.floating]) -> Floats:
    """The answer to each row of features of one person.

    Parameters
    ----------
    features : ndarray of shape (n, n_features)
        In the order of the head's columns; what stands in those of tables is not looked at.

    Raises
    ------
    ImageError
        An answer is not finite.
    """
    contract = bundle.contract
    data = _data(bundle, beside, features)
    if contract["kind"] in NUMBERS:
        found, _ = predict_data(bundle, data)
    elif contract["form"] == LINEAR:
        found = _log_odds(_inputs(bundle, data) @ bundle.arrays["coef"].T + bundle.arrays["intercept"], level)
    else:
        raw = replace(bundle, contract={**contract, "calibration": None})
        shares, _ = predict_data(raw, data)
        with np.errstate(divide="ignore"):
            found = np.log(shares[:, level]) - np.log(np.delete(shares, level, axis=1).sum(axis=1))
    if not np.isfinite(found).all():
        raise ImageError(
            "non-finite-features",
            f"a head's answer must be finite to be compared; that to {bundle.contract['target']!r} is not in "
            f"{int((~np.isfinite(found)).sum())} of {len(found)} rows; the features lie far outside of those it was "
            "fitted on: look at the image",
        )
    return found


def _data(bundle: Bundle, beside: Beside, features: NDArray[np.floating]) -> Data:
    X = np.asarray(features, dtype=np.float32).copy()
    for one, where in zip(bundle.contract["sets"], places_of(bundle), strict=True):
        if one["provenance"]["network"] == TABLE:
            X[:, where] = beside.tables[where]
    site = None if beside.site is None else np.repeat(beside.site, len(X))
    return Data(X, np.repeat(beside.C, len(X), axis=0), site)


def weights_at(bundle: Bundle, level: int, beside: Beside, features: NDArray[np.floating]) -> Floats:
    """The gradient of the answer with respect to every feature, at one row of features.

    Parameters
    ----------
    features : ndarray of shape (n_features,)
        Of a head on numbers and of logistic regression for two classes the gradient is the same everywhere.

    Returns
    -------
    ndarray of shape (n_features,)
    """
    data = _data(bundle, beside, features[None])
    of_inputs = _weights_of_inputs(bundle, level, _inputs(bundle, data))
    prepare = _restored(bundle)
    if prepare is None:
        return of_inputs[-data.X.shape[1] :]
    return _through(prepare, data.inputs(bundle.contract["blocks"]), of_inputs)


def _log_odds(scores: Floats, level: int) -> Floats:
    """Of one level against all others, from the scores of linear heads: one column for two classes, else one each.

    Examples
    --------
    >>> _log_odds(np.array([[2.0]]), 0).tolist(), _log_odds(np.array([[2.0, 1.0, -999.0]]), 0).tolist()
    ([-2.0], [1.0])
    """
    if scores.shape[1] == 1:
        return np.asarray(scores[:, 0] if level else -scores[:, 0])
    return np.asarray(scores[:, level] - logsumexp(np.delete(scores, level, axis=1), axis=1))


def _inputs(bundle: Bundle, data: Data) -> Floats:
    """What the head itself is given."""
    prepare = _restored(bundle)
    Z = data.inputs(bundle.contract["blocks"])
    return Z.astype(np.float64) if prepare is None else prepare.transform(Z)


def _weights_of_inputs(bundle: Bundle, level: int, Z: NDArray[np.floating]) -> Floats:
    """The gradient with respect to the columns that the head itself is given."""
    contract, arrays = bundle.contract, bundle.arrays
    is_number = contract["kind"] in NUMBERS
    if contract["form"] == COLUMN:
        p = float(Z[0, 0])
        return (
            np.ones(1) if is_number else np.array([(1 if int(arrays["positive"]) == level else -1) / (p * (1 - p))])
        )
    coef: Floats = arrays["coef"]
    if is_number:
        return coef.ravel()
    if len(coef) == 1:
        return np.asarray(coef[0] if level else -coef[0])
    others = np.delete(np.arange(len(coef)), level)
    share = softmax(Z[0] @ coef[others].T + arrays["intercept"][others])
    return np.asarray(coef[level] - share @ coef[others])


def _restored(bundle: Bundle) -> Prepare | None:
    settings: Mapping[str, Any] | None = bundle.contract["prepare"]
    if settings is None:
        return None
    own = {name.removeprefix(PREPARE): one for name, one in bundle.arrays.items() if name.startswith(PREPARE)}
    return Prepare.restore(settings, own)


def _through(prepare: Prepare, Z: NDArray[np.floating], of_inputs: Floats) -> Floats:
    """Back through components, and through what sites and confounds did to each feature: a factor and an offset."""
    n_free = prepare.n_free_
    weights = of_inputs[n_free:]
    if prepare.components_ is not None and prepare.scale_ is not None:
        weights = weights @ prepare.components_
        weights = np.where(prepare.scale_.varies, weights / prepare.scale_.scale, 0.0)
    plain = copy.copy(prepare)
    plain.scale_ = plain.components_ = None
    ends = np.repeat(Z[:1].astype(np.float64), 2, axis=0)
    ends[:, -len(weights) :] = [[0.0], [1.0]]
    low, high = plain.transform(ends)[:, n_free:]
    factor: Floats = high - low
    return weights * factor
