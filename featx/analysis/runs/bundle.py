"""A fitted head as one ``.npz`` file without pickle: its contract as JSON, and arrays.

``numpy.load(path, allow_pickle=False)`` reads it: ``contract`` is a text array of one element; the arrays are those
of the head (``coef`` and ``intercept``, trees in xgboost's own format, skops' for scikit-learn's estimators), those
with the prefix ``prepare.`` of what comes before it, the confounds' part of the target, and ``people``: hashes of
those it was fitted on. A model card stands beside it, in Markdown.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.people import people_of
from featx.analysis.crossval import Kept
from featx.analysis.features import SetFacts
from featx.analysis.heads import ATTENTION, LINEAR
from featx.analysis.heads.stored import ARRAYS
from featx.errors import BundleError

if TYPE_CHECKING:
    pass

FORMAT = "featx-head"
FORMAT_VERSION = 2
SUFFIX = ".npz"
CARD_SUFFIX = ".md"
PEOPLE = "people"
TRAINED_ON = "was_trained_on"
UNSEEN_SITE = "site_was_unseen"
_CONTRACT = "contract"
PREPARE = "prepare."
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can tell: equal heads have equal bytes


@dataclass(frozen=True)
class Bundle:
    """A fitted head with its contract.

    Attributes
    ----------
    contract : mapping
        format, format_version, target, kind, unit, classes, head, form, parameters (chosen on inner folds), features
        (name of the combination), sets (list of name, key, n_features and provenance, in column order), blocks (what
        the head is given), treatment, confounds (their encoding), site, sites, prepare, adds_offset, calibration,
        age_bias, salt, n_people, n_images, scores (list of metric, value, low, high, out of fold), versions.
    arrays : mapping of str to ndarray
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


def hash_people(people: Iterable[object], salt: str) -> NDArray[np.uint64]:
    """Who was there, without saying who: the first 64 bits of salted sha256 digests, sorted, each person once.

    Examples
    --------
    >>> hash_people(["sub-01", "01"], "salt").shape
    (1,)
    """
    return np.unique(hashes_of(people, salt))


def hashes_of(people: Iterable[object], salt: str) -> NDArray[np.uint64]:
    """The hash of every person, in their order; see `hash_people`."""
    digests = [hashlib.sha256(f"{salt}:{one}".encode()).digest()[:8] for one in people_of(people)]
    return np.array([int.from_bytes(one, "big") for one in digests], dtype=np.uint64)


def make_bundle(
    head: str, kept: Kept, *, sets: Sequence[SetFacts], people: Iterable[object], about: Mapping[str, Any]
) -> Bundle:
    """Bundle a fitted head.

    Parameters
    ----------
    head : str
        Key of `featx.analysis.heads.HEADS`, or ``sklearn:module.Class``.
    kept : Kept
    sets : sequence of SetFacts
        In the order of the columns.
    people : iterable
        Participants it was fitted on; their hashes are stored.
    about : mapping
        The rest of the contract: target, kind, classes, features, treatment, confounds, n_people, n_images, scores,
        versions ...
    """
    # The salt follows from who was there, so that equal heads have equal bytes.
    salt = hashlib.sha256("\n".join(sorted(set(people_of(people)))).encode()).hexdigest()[:16]
    contract = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "head": head,
        "form": kept.form,
        "parameters": dict(kept.parameters),
        "blocks": list(kept.blocks),
        "prepare": None if kept.prepare is None else dict(kept.prepare),
        "adds_offset": kept.adds_offset,
        "calibration": None if kept.calibration is None else dict(kept.calibration),
        "salt": salt,
        "sets": [set_as_json(facts) for facts in sets],
        **about,
    }
    return Bundle(contract, {**kept.arrays, PEOPLE: hash_people(people, salt)})


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
        if version == FORMAT_VERSION:
            _need(contract)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"a fitted head must be a whole file of `featx fit`; {path} is not ({type(error).__name__}); "
            "it was cut short, changed, or is another kind of file: take the original, or fit again"
        ) from error
    if version != FORMAT_VERSION:
        what = "update featx" if version > FORMAT_VERSION else "fit again"
        raise BundleError(f"a fitted head must be of format version {FORMAT_VERSION}; {path} has {version}; {what}")
    _check_arrays(contract, arrays, path)
    return Bundle(contract, arrays)


def _need(contract: Mapping[str, Any]) -> None:
    """KeyError where a contract says less than a prediction asks."""
    words = "target kind classes head form parameters features blocks prepare adds_offset calibration confounds salt"
    needed = [(contract, key) for key in words.split()]
    for one in contract["sets"]:
        needed += [(one, key) for key in ("name", "key", "n_features")]
        needed += [(one["provenance"], field) for field in schema.KEY_FIELDS]
    for place, key in needed:
        place[key]


def _check_arrays(contract: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    n_features = sum(one["n_features"] for one in contract["sets"])
    needed = {PEOPLE, *ARRAYS.get(contract["form"], ())}
    is_plain = needed <= set(arrays) and contract["blocks"] == ["features"] and contract["prepare"] is None
    n_columns = n_features
    if is_plain and contract["form"] == LINEAR:
        n_columns = arrays["coef"].shape[-1]
    if is_plain and contract["form"] == ATTENTION:
        n_columns = arrays["query"].size * arrays["position"].size
    if not needed <= set(arrays) or n_columns != n_features:
        got = {name: array.shape for name, array in sorted(arrays.items())}
        raise BundleError(
            f"a {contract['form']} head of {n_features} features must hold {' and '.join(sorted(needed))} for them; "
            f"{path} holds {got}; take the original, or fit again"
        )
