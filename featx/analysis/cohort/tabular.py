"""Numbers of a table (regional volumes, FreeSurfer statistics) as a feature set of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import featx
from featx import schema
from featx.analysis.cohort.people import IDS, check_people, ids_of, match_rows
from featx.analysis.cohort.targets import known_columns, to_numbers
from featx.analysis.features import TABLE, Images, some
from featx.errors import CohortError
from featx.featureset import FeatureSet, digest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*")
_TAKEN = ("each", "all")
_LARGEST = float(np.finfo(np.float32).max)  # beside a network's features these are float32


def features_from_table(
    name: str, table: pd.DataFrame, *, images: Images | None = None, columns: Sequence[str] = ()
) -> FeatureSet:
    """Take the columns of numbers of a table as a feature set.

    Parameters
    ----------
    name : str
        Of the set: letters, digits and ``_.@-``.
    table : DataFrame
        From `featx.analysis.cohort.tables.read_table`, with participant_id and, if wanted, session_id and image_id.
    images : Images, optional
        Of networks: the set then has their image ids, one row per image whose participant (and session) the table
        holds, by the rules of `featx.analysis.cohort.people.join`. Without them an image is named by its image_id,
        participant, or participant and session joined by "_".
    columns : sequence of str
        Those to take. Without any: all but the ids, which must all be of numbers.

    Returns
    -------
    FeatureSet
        X is float64, NaN where a cell is empty. The provenance has "table" for a network and the names of the
        columns, in their order, for a recipe: a head that was fitted on it wants the same columns.

    Raises
    ------
    CohortError
        No participant_id, a person twice, a name or column that cannot be, a cell that is no finite number of
        float32, no column, or nobody of the images.

    Examples
    --------
    >>> table = pd.DataFrame({"participant_id": ["sub-2", "sub-1"], "left": ["3.5", None]}, dtype=object)
    >>> volumes = features_from_table("volumes", table)
    >>> volumes.image_id.tolist(), volumes.X.tolist(), volumes.provenance["recipe"]
    (['sub-1', 'sub-2'], [[nan], [3.5]], '["left"]')
    """
    _check_name(name)
    if schema.PARTICIPANT_ID not in table:
        raise CohortError(
            f"a table of features must have a column 'participant_id'; {name!r} has {some(map(str, table))}; "
            "rename the column that holds the ids"
        )
    table = table.assign(**{one: table[one].fillna("").astype(str) for one in IDS if one in table})
    check_people(table, f"the table {name!r}")
    chosen = _choose(name, table, columns)
    X = np.column_stack([_numbers(name, table, one) for one in chosen])
    if images is None:
        own, rows = _own_images(table)
    else:
        found = match_rows(images, table)
        own, rows = images.take(np.flatnonzero(found >= 0)), found[found >= 0]
        if not len(rows):
            raise CohortError(
                f"images and a table of features must have people in common; {name!r} has none of the images' "
                f"people, such as {some(map(str, images.participant_id), 1)}; write both ids alike"
            )
    return FeatureSet(name, X[rows], own.image_id, own.participant_id, own.session_id, _provenance(chosen))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise CohortError(
            f"a table of features must have a name of letters, digits and _.@-, and not {' or '.join(_TAKEN)}; "
            f"got {name!r}; call it, say, volumes"
        )


def _choose(name: str, table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    own = [str(one) for one in table if one not in IDS]
    unknown = [one for one in columns if one not in own]
    if unknown:
        raise CohortError(
            f"columns of features must be in their table; {unknown[0]!r} is not in {name!r}; "
            f"{known_columns(unknown[0], own)}"
        )
    if columns:
        return list(dict.fromkeys(columns))
    text = [one for one in own if not one or (to_numbers(table[one]).isna() & table[one].notna()).any()]
    if text:
        raise CohortError(
            f"a table of features must hold numbers beside its ids; {name!r} holds other things in {some(text, 5)}; "
            "name the columns to take, or remove these"
        )
    if not own:
        raise CohortError(
            f"a table of features must have columns of numbers; {name!r} has ids only; give the table that has them"
        )
    return own


def _numbers(name: str, table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    numbers = to_numbers(table[column]).to_numpy(dtype=np.float64)
    bad = np.flatnonzero((np.isnan(numbers) & table[column].notna().to_numpy()) | (np.abs(numbers) > _LARGEST))
    if len(bad):
        raise CohortError(
            f"features must be finite numbers; {column!r} of {name!r} holds {str(table[column].iloc[bad[0]])!r}, at "
            f"participant {str(table[schema.PARTICIPANT_ID].iloc[bad[0]])!r}; write the number, or n/a"
        )
    return numbers


def _own_images(table: pd.DataFrame) -> tuple[Images, NDArray[np.intp]]:
    of = ids_of(table)
    named = zip(of.image_id, of.participant_id, of.session_id, strict=True)
    ids = np.array([image or (f"{a}_{b}" if b else a) for image, a, b in named], dtype=object)
    rows = np.argsort(ids.astype(str), kind="stable")
    return Images(ids, of.participant_id, of.session_id).take(rows), rows


def _provenance(columns: Sequence[str]) -> dict[str, str]:
    recipe = json.dumps(list(columns))
    versions = {"featx": featx.__version__, **{one: version(one) for one in ("numpy", "pandas")}}
    return {
        "network": TABLE,
        "weights": "",
        "weights_sha256": "",
        "recipe": recipe,
        "recipe_digest": digest(recipe),
        "view": "table",
        "tap": "columns",
        "pooling": "none",
        "precision": "float64",
        "versions": json.dumps(versions, sort_keys=True),
    }
