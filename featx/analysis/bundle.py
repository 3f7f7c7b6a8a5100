"""A fitted head as one ``.npz`` file without pickle: its contract as JSON, and coefficients or xgboost's own bytes.

``numpy.load(path, allow_pickle=False)`` reads it: ``contract`` is a text array of one element; linear heads have
``coef`` and ``intercept`` for features as they are (scaling is folded in), trees have ``trees``, uint8, UBJ.
"""

from __future__ import annotations

import io
import json
import os
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.targets import CONTINUOUS
from featx.analysis.features import SetFacts, combine
from featx.analysis.heads import LINEAR, TREES, chosen_parameters, get_head
from featx.analysis.heads.boosting import margins
from featx.analysis.heads.logistic import probabilities
from featx.analysis.scaling import Floats
from featx.errors import BundleError, known

if TYPE_CHECKING:
    from featx.store import FeatureSet

FORMAT = "featx-head"
FORMAT_VERSION = 1
SUFFIX = ".npz"
_CONTRACT = "contract"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can tell: equal heads have equal bytes


@dataclass(frozen=True)
class Bundle:
    """A fitted head with its contract.

    Attributes
    ----------
    contract : mapping
        format, format_version, target, kind, classes, head, form, parameters (chosen on inner folds), features
        (name of the combination), sets (list of name, key, n_features and provenance, in column order), n_people,
        n_images, scores (list of metric, value, low, high, out of fold), versions.
    arrays : mapping of str to ndarray
        coef (n_features,) or (1 or n_classes, n_features) and intercept; or trees.
    """

    contract: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def set_as_json(facts: SetFacts) -> dict[str, Any]:
    """Facts of a feature set, as they stand in contracts and in run.json."""
    return {
        "name": facts.name,
        "key": facts.key,
        "n_features": facts.n_features,
        "provenance": {field: facts.provenance[field] for field in schema.names(schema.PROVENANCE)},
    }


def fitted_arrays(head: str, estimator: Any) -> dict[str, NDArray[Any]]:
    """What must be stored of a fitted estimator."""
    if get_head(head).form == TREES:
        return {"trees": np.frombuffer(bytes(estimator.booster_.save_raw("ubj")), dtype=np.uint8)}
    return {
        "coef": np.asarray(estimator.coef_, dtype=np.float64),
        "intercept": np.asarray(estimator.intercept_, dtype=np.float64),
    }


def make_bundle(head: str, estimator: Any, *, sets: Sequence[SetFacts], about: Mapping[str, Any]) -> Bundle:
    """Bundle a fitted estimator.

    Parameters
    ----------
    head : str
        Key of `featx.analysis.heads.HEADS`.
    estimator : scikit-learn estimator
    sets : sequence of SetFacts
        In the order of the columns.
    about : mapping
        The rest of the contract: target, kind, classes, features, n_people, n_images, scores, versions.
    """
    contract = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "head": head,
        "form": get_head(head).form,
        "parameters": chosen_parameters(head, estimator),
        "sets": [set_as_json(facts) for facts in sets],
        **about,
    }
    return Bundle(contract, fitted_arrays(head, estimator))


# --- the file -------------------------------------------------------------------------------------------------


def write_bundle(bundle: Bundle, path: Path) -> None:
    """Write a bundle beside its place, flush, and rename. Equal bundles have equal bytes."""
    text = json.dumps(bundle.contract, sort_keys=True, ensure_ascii=True, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        with beside.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, array in sorted({_CONTRACT: np.array(text), **bundle.arrays}.items()):
                    _write_member(archive, name, array)
            file.flush()
            os.fsync(file.fileno())
        read_bundle(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write_member(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), allow_pickle=False)
    member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
    member.create_system = 3  # Unix, whatever wrote it
    member.external_attr = 0o644 << 16
    archive.writestr(member, buffer.getvalue())


def read_bundle(path: Path) -> Bundle:
    """Read a fitted head and check that it is whole.

    Raises
    ------
    BundleError
        The file is missing, damaged, of another kind or of a later format.
    """
    if not path.is_file():
        raise BundleError(f"a fitted head must be a file; {path} is none; take one of the folder heads/ of a run")
    try:
        # From memory: numpy leaves a damaged file open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        contract = json.loads(str(arrays.pop(_CONTRACT)))
        if contract["format"] != FORMAT:
            raise KeyError("format")
        version = int(contract["format_version"])
        if version <= FORMAT_VERSION:
            _need(contract)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"a fitted head must be a whole file of `featx fit`; {path} is not ({type(error).__name__}); "
            "it was cut short, changed, or is another kind of file: take the original, or fit again"
        ) from error
    if version > FORMAT_VERSION:
        raise BundleError(
            f"a fitted head must be of format version {FORMAT_VERSION} or older; {path} has {version}; update featx"
        )
    _check_arrays(contract, arrays, path)
    return Bundle(contract, arrays)


def _need(contract: Mapping[str, Any]) -> None:
    """KeyError where a contract says less than a prediction asks."""
    needed = [(contract, key) for key in ("target", "kind", "classes", "head", "form", "parameters", "features")]
    for one in contract["sets"]:
        needed += [(one, key) for key in ("name", "key", "n_features")]
        needed += [(one["provenance"], field) for field in schema.KEY_FIELDS]
    for place, key in needed:
        place[key]


def _check_arrays(contract: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    linear = contract["form"] == LINEAR
    needed = {"coef", "intercept"} if linear else {"trees"}
    n_features = sum(one["n_features"] for one in contract["sets"])
    if set(arrays) != needed or (linear and arrays["coef"].shape[-1] != n_features):
        got = {name: array.shape for name, array in sorted(arrays.items())}
        raise BundleError(
            f"a {contract['form']} head of {n_features} features must hold {' and '.join(sorted(needed))} for them; "
            f"{path} holds {got}; take the original, or fit again"
        )


# --- prediction -----------------------------------------------------------------------------------------------


def predict(bundle: Bundle, sets: Sequence[FeatureSet]) -> pd.DataFrame:
    """Predict for new images.

    Parameters
    ----------
    bundle : Bundle
    sets : sequence of FeatureSet
        Those of the new feature file; others than the head was fitted on are ignored.

    Returns
    -------
    DataFrame
        image_id, participant_id, session_id, predicted (float64 in the unit of the target, or the likeliest
        level), and probability_<level> for classes; over the images that are in all the sets that the head needs.

    Raises
    ------
    BundleError
        A set is missing, or was made in another way than the one that the head was fitted on.
    """
    features = combine(needed_sets(bundle, sets))
    contract, images = bundle.contract, features.images
    answer = predict_array(bundle, features.X)
    table = pd.DataFrame(
        {
            schema.IMAGE_ID: images.image_id,
            schema.PARTICIPANT_ID: images.participant_id,
            schema.SESSION_ID: images.session_id,
        }
    )
    if contract["kind"] == CONTINUOUS:
        return table.assign(predicted=answer)
    classes = np.array(contract["classes"], dtype=object)
    table["predicted"] = classes[answer.argmax(axis=1)]
    for level, column in zip(classes, answer.T, strict=True):
        table[schema.PROBABILITY + str(level)] = column
    return table


def predict_array(bundle: Bundle, X: NDArray[np.floating]) -> Floats:
    """Numbers of shape (n,) or probabilities of shape (n, n_classes), for columns in the order of the contract."""
    if bundle.contract["form"] == TREES:
        return margins(xgboost.Booster(model_file=bytearray(bundle.arrays["trees"].tobytes())), X)
    coef, intercept = bundle.arrays["coef"], bundle.arrays["intercept"]
    if bundle.contract["kind"] == CONTINUOUS:
        numbers: Floats = X @ coef + intercept
        return numbers
    return probabilities(X, coef, intercept)


def needed_sets(bundle: Bundle, sets: Sequence[FeatureSet]) -> list[FeatureSet]:
    """The sets that a head was fitted on, in its order, among those of a feature file.

    Raises
    ------
    BundleError
        See `predict`.
    """
    by_name = {one.name: one for one in sets}
    found = []
    for wanted in bundle.contract["sets"]:
        if wanted["name"] not in by_name:
            raise BundleError(
                f"new features must hold the set that the head was fitted on; it was fitted on {wanted['name']!r} "
                f"and given {_given(by_name)}; extract {wanted['name']!r} from the new images"
            )
        check_same(wanted, by_name[wanted["name"]])
        found.append(by_name[wanted["name"]])
    return found


def _given(names: Mapping[str, Any]) -> str:
    return known(names).removeprefix("known are ") if names else "no set at all"


def check_same(wanted: Mapping[str, Any], given: FeatureSet) -> None:
    """Refuse a feature set that was made in another way than the one in a contract.

    Raises
    ------
    BundleError
        A field of `featx.schema.KEY_FIELDS`, or the number of features, differs; names the first that does.
    """
    pairs = {field: (wanted["provenance"][field], given.provenance[field]) for field in schema.KEY_FIELDS}
    pairs["n_features"] = (wanted["n_features"], given.X.shape[1])
    for field, (fitted_on, got) in pairs.items():
        if fitted_on != got:
            raise BundleError(
                f"new features must have the {field} that the head was fitted on; it was fitted on "
                f"{field} {fitted_on!r} and given {got!r}, in {given.name!r}; extract in the same way, or fit again"
            )


def features_of(bundle: Bundle) -> tuple[str, ...]:
    """Names of the feature sets that a head needs, in the order of its columns."""
    return tuple(one["name"] for one in bundle.contract["sets"])
