"""A feature set as a value, and the digest of how it was made. Needs no HDF5: features also come from tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx import schema


@dataclass(frozen=True)
class FeatureSet:
    """What one network, read at one tap and pooled one way, says of every image; or the numbers of a table.

    Attributes
    ----------
    name : str
        ``network[@weights]/view/tap/pooling``, or the name that was given to a table.
    X : ndarray of shape (n_images, n_features), or (n_images, n_slices, n_features) of the pooling "slices"
        float32; of a table float64, with NaN where a cell is empty.
    image_id, participant_id, session_id : ndarray of shape (n_images,), object (str)
        Ids of the rows, sorted by image_id; session_id is "" where there is none.
    provenance : mapping of str to str
        The fields of `featx.schema.PROVENANCE`.
    """

    name: str
    X: NDArray[np.floating]
    image_id: NDArray[np.object_]
    participant_id: NDArray[np.object_]
    session_id: NDArray[np.object_]
    provenance: Mapping[str, str]

    @property
    def key(self) -> str:
        """Digest of what makes two feature sets comparable."""
        return feature_key(self.provenance)


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON, in hex.

    Examples
    --------
    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def feature_key(provenance: Mapping[str, str]) -> str:
    """Digest of the provenance without the versions: equal keys mean comparable features."""
    return digest({name: provenance[name] for name in schema.KEY_FIELDS})
