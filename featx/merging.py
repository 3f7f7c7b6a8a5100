"""What stays of the tables of several feature files when they are merged, and what must not be merged. Rules only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx import schema
from featx.errors import StoreError

Failure = dict[str, str]


def still_failing(failures: Iterable[Failure], done: Mapping[str, Set[str]]) -> list[Failure]:
    """The last failure of each image and network that lacks a row of one of the network's sets.

    Parameters
    ----------
    failures : iterable of dict
        Rows of `featx.schema.FAILURES`, from old to new.
    done : mapping of str to set of str
        Ids of the images that have a row, by set; none of a set that is still to be made.

    Examples
    --------
    >>> row = {"image_id": "a", "network": "net", "step": "read", "code": "truncated", "sentence": ""}
    >>> still_failing([row, row | {"image_id": "b"}], {"net/axial/tap/mean": {"a"}})[0]["image_id"]
    'b'
    """
    last = {(row[schema.IMAGE_ID], row["network"]): row for row in failures}
    by_network: dict[str, Set[str]] = {}
    for name, ids in done.items():
        network = name.split("/")[0]
        by_network[network] = by_network.get(network, ids) & ids
    by_network[""] = set.intersection(*map(set, by_network.values())) if by_network else set()  # a failure of all
    return [last[key] for key in sorted(last) if key[0] not in by_network.get(key[1], set())]


def sets_of_jobs(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """Names of the sets that jobs were to make, as their records say; none of a damaged one.

    Examples
    --------
    >>> sets_of_jobs([{"record": '{"record": {"sets": {"net": ["net/axial/t/mean"]}}}'}, {"record": "?"}])
    ['net/axial/t/mean']
    """
    names: list[str] = []
    for row in rows:
        with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError):
            names += [name for some in json.loads(row["record"])["record"]["sets"].values() for name in some]
    return names


def all_accepted(rows: Iterable[Failure]) -> list[Failure]:
    """Every accepted misfit of an image in a network, once."""
    once = {(row[schema.IMAGE_ID], row["network"], row["code"]): row for row in rows}
    return [once[key] for key in sorted(once)]


def last_jobs(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Of each writer its last row, without those who were over when another started on the same images.

    Examples
    --------
    >>> row = {"writer": "a", "asked": "x", "started": "1", "last": "5", "record": ""}
    >>> [one["last"] for one in last_jobs([row, row | {"last": "9"}])]
    ['9']
    >>> [one["writer"] for one in last_jobs([row, row | {"writer": "b", "started": "6", "last": "7"}])]
    ['b']
    """
    of_writer = {row["writer"]: row for row in sorted(rows, key=lambda row: float(row["last"]))}
    starts = {row["asked"]: float(row["started"]) for row in sorted(rows, key=lambda row: float(row["started"]))}
    return [row for row in of_writer.values() if float(row["last"]) >= starts[row["asked"]]]


def made_in_ways(name: str, n_ways: int, paths: Sequence[Path]) -> StoreError:
    """What is said of one feature set that files hold under several keys."""
    some = ", ".join(map(str, paths[:3])) + f" and {len(paths) - 3} more" * (len(paths) > 3)
    return StoreError(
        f"one feature set must be made one way; {name!r} was made in {n_ways} ways in {some}; write to separate files"
    )


def check_one_person(name: str, columns: Sequence[NDArray[np.object_]], first: NDArray[np.intp]) -> None:
    """Check that every row of an image names one participant and session.

    Parameters
    ----------
    columns : sequence of ndarray of shape (n_rows,)
        Ids of images, participants and sessions.
    first : ndarray of shape (n_rows,)
        Position of the first row of each row's image.

    Raises
    ------
    StoreError
        It does not.
    """
    for column in columns[1:]:
        differs = np.flatnonzero(column != column[first])
        if len(differs):
            at = differs[0]
            raise StoreError(
                f"an image must be of one participant and session; {columns[0][at]!r} is of {column[first[at]]!r} "
                f"and of {column[at]!r} in {name!r}; give the images ids of their own, or write to two files"
            )
