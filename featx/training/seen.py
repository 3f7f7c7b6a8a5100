"""Whom a network was trained on: hashes in its checkpoint, with those of its first weights. Needs no torch.

Ids are hashed with a salt (`featx.analysis.runs.bundle.hash_people`), so that a checkpoint names nobody.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from featx.analysis.cohort.people import people_of
from featx.analysis.inference.cautions import Caution
from featx.analysis.runs.bundle import hash_people, hashes_of
from featx.errors import WeightsError
from featx.networks.described import sheet_from
from featx.networks.sheet import Network
from featx.networks.told import FACTS, PEOPLE, read_told

Seen = tuple[str, frozenset[str]]  # a salt, and people as 16 hexadecimal digits


def hashed(people: Iterable[object]) -> tuple[str, list[str]]:
    """A salt that follows from who was there, and the hashes of people, sorted, each person once.

    Examples
    --------
    >>> hashed(["sub-01", "sub-02"]) == hashed(["02", "01", "01"])
    True
    """
    ids = people_of(people)
    salt = hashlib.sha256("\n".join(sorted(set(ids))).encode()).hexdigest()[:16]
    return salt, [f"{one:016x}" for one in hash_people(ids, salt)]


def people_text(people: Iterable[object], start: str = "") -> dict[str, str]:
    """What `featx.networks.checkpoint.write_checkpoint` is given as `more`, to tell who trained a network.

    Parameters
    ----------
    people : iterable
        Participants who trained it or chose its epoch.
    start : str
        The weights it started from (official, random:SEED, a path); whom those of a file were trained on is told too.

    Raises
    ------
    WeightsError
        See `read_seen`.
    """
    salt, own = hashed(people)
    before = read_seen(Path(start)) if start and Path(start).is_file() else []
    told = [{"salt": salt, "people": own}, *({"salt": old, "people": sorted(ids)} for old, ids in before)]
    return {PEOPLE: json.dumps(told)}


def read_seen(path: Path) -> list[Seen]:
    """Who trained the network of a checkpoint; nobody, where it does not tell or has another form than ours.

    Raises
    ------
    WeightsError
        What it tells is not as `people_text` writes it.
    """
    if path.suffix != ".safetensors":
        return []
    text = read_told(path).get(PEOPLE, "[]")
    try:
        return [(str(one["salt"]), frozenset(map(str, one["people"]))) for one in json.loads(text)]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise WeightsError(
            f"the people of a checkpoint must be told as featx tells them; got {text[:60]!r} in {path}; make the "
            "file again"
        ) from error


def read_about(path: Path, network: str) -> tuple[Network, list[Seen]]:
    """The sheet that a checkpoint tells, under a name, and who trained it.

    Raises
    ------
    WeightsError
        featx did not write it, or it is damaged.
    NetworkError
        See `featx.networks.described.sheet_from`.
    """
    try:
        facts = json.loads(read_told(path).get(FACTS, ""))
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"a checkpoint must tell its network as featx does; {path} does not; name another"
        ) from error
    return sheet_from(facts, network), read_seen(path)


def count_seen(seen: Iterable[Seen], people: Iterable[object]) -> int:
    """How many of some people are among those who trained a network.

    Examples
    --------
    >>> salt, hashes = hashed(["sub-01", "sub-02"])
    >>> count_seen([(salt, frozenset(hashes))], ["01", "sub-03", "sub-01"])
    1
    """
    ids = sorted(set(people_of(people)))
    found = set()
    for salt, hashes in seen:
        found |= {one for one, code in zip(ids, hashes_of(ids, salt), strict=True) if f"{code:016x}" in hashes}
    return len(found)


def cautions_about(network: Network, seen: Sequence[Seen], people: Iterable[object]) -> list[Caution]:
    """A caution where a network was trained on people who are analysed, or does not tell on whom.

    Parameters
    ----------
    network : Network
    seen : sequence of Seen
        From its checkpoint; empty where that does not tell.
    people : iterable
        Participants who are analysed.
    """
    if not seen:
        return [unknown_people(network.name, network.training)]
    ids = set(people_of(people))
    n_seen = count_seen(seen, ids)
    if not n_seen:
        return []
    sentence = (
        f"{n_seen} of {len(ids)} people have the id of somebody whom {network.name!r} was trained on "
        f"({network.training}); scores are too good for whoever it has seen; leave them out, unless they are others "
        "of the same id"
    )
    return [Caution("overlap", sentence)]


def unknown_people(network: str, training: str = "") -> Caution:
    """The caution about a network whose checkpoint is not there, or does not tell who trained it.

    Examples
    --------
    >>> unknown_people("ours", "40 people of a.csv").sentence[:82]
    "'ours' has weights of one's own (40 people of a.csv), and whether people who are a"
    """
    on = f" ({training})" if training else ""
    keep = "" if training else ", or have `featx networks add` keep its checkpoint here, which may tell"
    sentence = (
        f"{network!r} has weights of one's own{on}, and whether people who are analysed trained it is not known; "
        f"scores are too good for whoever it has seen; leave those out{keep}"
    )
    return Caution("overlap", sentence)
