"""A fitted head on new features: sites, confounds, the head, calibration and age bias, in the order of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx import schema
from featx.analysis.adjust.prepare import Prepare
from featx.analysis.cohort.covariates import Encoding, design, read_labels
from featx.analysis.cohort.people import IDS, ids_of, join
from featx.analysis.crossval import Data
from featx.analysis.features import TABLE, Images, combine
from featx.analysis.folds.strata import NUMBERS
from featx.analysis.heads import TREES, predict_arrays
from featx.analysis.inference.agebias import COLE, AgeBias, correct, is_invertible
from featx.analysis.inference.calibration import restore_calibration
from featx.analysis.scaling import Floats
from featx.errors import BundleError, known

if TYPE_CHECKING:
    from featx.featureset import FeatureSet

from featx.analysis.runs.bundle import PEOPLE, PREPARE, TRAINED_ON, UNSEEN_SITE, Bundle, hashes_of


def predict(
    bundle: Bundle,
    sets: Sequence[FeatureSet],
    phenotypes: pd.DataFrame | None = None,
    *,
    allow_training_people: bool = False,
) -> pd.DataFrame:
    """Predict for new images: prepare as in training, the head, the confounds' part, calibration; in that order.

    Parameters
    ----------
    bundle : Bundle
    sets : sequence of FeatureSet
        Those of the new feature file; others than the head was fitted on are ignored.
    phenotypes : DataFrame, optional
        Confounds and sites of the new people, where the head needs them. For a head of confounds alone its rows are
        the images, whose ids are participant and session.
    allow_training_people : bool
        Predict people whom the head was fitted on as well, and flag them in the column `TRAINED_ON`.

    Returns
    -------
    DataFrame
        image_id, participant_id, session_id, predicted (float64 in the unit of the target, or the likeliest
        level), probability_<level> for classes, and what the contract adds: the confounds' part, the prediction
        without age bias, whether a site was not among those it was fitted on (`UNSEEN_SITE`). Over the images that
        are in all the sets that the head needs, and have its confounds.

    Raises
    ------
    BundleError
        A set is missing, or was made in another way than the one that the head was fitted on; confounds are needed
        and not given, or nobody has them; people are those it was fitted on.
    """
    data, images = inputs_of(bundle, *_features_of(bundle, sets, phenotypes), phenotypes)
    known_people = _training_people(bundle, images)
    if known_people.any() and not allow_training_people:
        raise BundleError(
            f"a head must be asked about people it was not fitted on; {int(known_people.sum())} of "
            f"{len(known_people)} images are of such, the first of "
            f"{str(images.participant_id[known_people.argmax()])!r}; leave them out, or allow "
            "training people to have them flagged"
        )
    table = pd.DataFrame(
        {
            schema.IMAGE_ID: images.image_id,
            schema.PARTICIPANT_ID: images.participant_id,
            schema.SESSION_ID: images.session_id,
        }
    )
    _add_answer(bundle, data, table)
    if data.site is not None:
        sites, trained = bundle.contract["sites"], set(bundle.contract["sites_trained"])
        table[UNSEEN_SITE] = [code < 0 or sites[code] not in trained for code in data.site]
    if allow_training_people:
        table[TRAINED_ON] = known_people
    return table


def _add_answer(bundle: Bundle, data: Data, table: pd.DataFrame) -> None:
    contract = bundle.contract
    answer, offset = predict_data(bundle, data)
    if contract["kind"] in NUMBERS:
        table["predicted"] = answer
        if "offset_coef" in bundle.arrays:
            table[schema.CONFOUND_PART] = offset
        bias = AgeBias(**contract["age_bias"]) if contract.get("age_bias") else None
        if bias is not None and is_invertible(bias):
            table[schema.CORRECTED + COLE] = correct(bias, answer, answer, method=COLE)
        return
    classes = np.array(contract["classes"], dtype=object)
    table["predicted"] = classes[answer.argmax(axis=1)]
    for level, column in zip(classes, answer.T, strict=True):
        table[schema.PROBABILITY + str(level)] = column


def predict_data(bundle: Bundle, data: Data) -> tuple[Floats, Floats]:
    """Numbers of shape (n,) or probabilities of shape (n, n_classes), and the confounds' part of shape (n,)."""
    contract, arrays = bundle.contract, bundle.arrays
    if contract["prepare"] is None:  # else the features' own precision says what of them is noise
        data = replace(data, X=data.X.astype(np.float64))
    Z = data.inputs(contract["blocks"])
    if contract["prepare"] is not None:
        own = {name.removeprefix(PREPARE): array for name, array in arrays.items() if name.startswith(PREPARE)}
        Z = Prepare.restore(contract["prepare"], own).transform(Z)
    answer = predict_arrays(contract["form"], contract["kind"], arrays, Z)
    offset = np.zeros(len(Z))
    if "offset_coef" in arrays:
        offset = (data.C - arrays["offset_mean"]) @ arrays["offset_coef"]
    if contract["adds_offset"]:
        answer = answer + offset
    if contract["calibration"] is not None:
        answer = restore_calibration(contract["calibration"]).apply(answer)
    return answer, offset


def _features_of(
    bundle: Bundle, sets: Sequence[FeatureSet], phenotypes: pd.DataFrame | None
) -> tuple[NDArray[np.floating], Images]:
    """Features and images; without features the rows of the table are the images."""
    if bundle.contract["sets"]:
        takes_gaps = bundle.contract["form"] == TREES and bundle.contract["prepare"] is None
        features = combine(needed_sets(bundle, sets), missing="keep" if takes_gaps else "drop")
        return features.X, features.images
    found: list[tuple[str, str, str]] = []
    if phenotypes is not None:
        of = ids_of(phenotypes[[one for one in IDS if one in phenotypes]].fillna("").astype(str))
        found = list(zip(of.image_id, of.participant_id, of.session_id, strict=True))
    rows = sorted(
        (image or "_".join(filter(None, (person, session))), person, session) for image, person, session in found
    )
    return np.empty((len(rows), 0), dtype=np.float32), Images(*np.array(rows, dtype=object).reshape(-1, 3).T)


def inputs_of(
    bundle: Bundle, X: NDArray[np.floating], images: Images, phenotypes: pd.DataFrame | None
) -> tuple[Data, Images]:
    """The rows that have all that the head needs."""
    contract = bundle.contract
    needs = [one["column"] for one in contract["confounds"]["specs"]] if _needs_confounds(bundle) else []
    needs += [contract["site"]] if "site" in contract["blocks"] else []
    if not needs:
        return Data(X, np.empty((len(X), 0))), images
    if phenotypes is None:
        raise BundleError(
            f"a head with confounds must be given those of the new people; it needs {', '.join(map(repr, needs))}; "
            "give the table that holds them with --phenotypes"
        )
    matched = join(images, phenotypes)
    at = np.searchsorted(images.image_id.astype(str), matched.images.image_id.astype(str))
    C = design(Encoding.restore(contract["confounds"]), matched.phenotypes)
    complete: NDArray[np.bool_] = np.asarray(np.isfinite(C).all(axis=1))
    site = None
    if "site" in contract["blocks"]:
        labels = read_labels(matched.phenotypes, contract["site"])
        complete &= np.array([bool(one) for one in labels])
        codes = {label: code for code, label in enumerate(contract["sites"])}
        site = np.array([codes.get(str(one), -1) for one in labels], dtype=np.int64)[complete]
    if not complete.any():
        raise BundleError(
            f"new people must have what the head needs, {', '.join(map(repr, needs))}; none of {len(at)} images is "
            "of a person who has it all; fill it in"
        )
    return Data(X[at][complete], C[complete], site), matched.images.take(np.flatnonzero(complete))


def _needs_confounds(bundle: Bundle) -> bool:
    return "confounds" in bundle.contract["blocks"] or "offset_coef" in bundle.arrays


def _training_people(bundle: Bundle, images: Images) -> NDArray[np.bool_]:
    own: NDArray[np.bool_] = np.isin(hashes_of(images.participant_id, bundle.contract["salt"]), bundle.arrays[PEOPLE])
    return own


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
            is_table = wanted["provenance"]["network"] == TABLE
            how = "give --table {0}=FILE" if is_table else "extract {0!r} from the new images"
            raise BundleError(
                f"new features must hold the set that the head was fitted on; it was fitted on {wanted['name']!r} "
                f"and given {_given(by_name)}; {how.format(wanted['name'])}"
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
