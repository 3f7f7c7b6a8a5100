"""Job arrays without a scheduler of our own: each job's share of the images, and feature files brought together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from featx import store
from featx.errors import NetworkError, StoreError
from featx.extraction.parts import collect, part_name, parts_folder
from featx.extraction.record import pack_records, records_over, row_of
from featx.images.image import Image

MERGED_AT_ONCE = 100  # files: fewer than a process may have open

_SHARD = re.compile(r"(\d+)/(\d+)")


def take_shard(images: Sequence[Image], shard: str) -> list[Image]:
    """The images of one of several jobs: every n-th in the order of their ids, so that slow sites are spread.

    Every image is in exactly one shard, whatever the order in which images are given.

    Parameters
    ----------
    shard : str
        "3/20" is the third of twenty; "" takes all.

    Raises
    ------
    NetworkError
        It is written in another way, or is not one of them.

    Examples
    --------
    >>> images = [Image(one, one, "", "", Path(one)) for one in "caebd"]
    >>> ["".join(image.image_id for image in take_shard(images, f"{at}/2")) for at in (1, 2)]
    ['ace', 'bd']
    """
    if not shard:
        return list(images)
    found = _SHARD.fullmatch(shard)
    number, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= n:
        raise NetworkError(
            f"a shard must be given as the third of twenty is, 3/20, from 1 to their number; got {shard!r}; "
            "count the jobs of the array from 1"
        )
    return sorted(images, key=lambda image: image.image_id)[number - 1 :: n]


def list_sources(places: Sequence[Path]) -> list[Path]:
    """The feature files and parts behind names of feature files, and of folders that hold their parts.

    Raises
    ------
    StoreError
        A name is that of nothing, or of a folder without parts.
    """
    sources: list[Path] = []
    for place in places:
        folder = _folder(place)
        found = ([place] if place.is_file() else []) + sorted(folder.glob("part-*.h5"))
        if not found:
            raise StoreError(
                f"what is collected must be feature files, or folders of their parts; {place} is neither; "
                "name what `featx extract -o` names"
            )
        sources += found
    return list(dict.fromkeys(sources))


def check_agreement(paths: Sequence[Path]) -> None:
    """Check, before anything is merged, that files may be: sets made one way, an id of one person.

    Raises
    ------
    StoreError
        They may not; the sentence names the first set that keeps them from it, and how many there are.
    """
    keys: dict[str, tuple[str, Path]] = {}
    people: dict[str, dict[str, tuple[str, str]]] = {}
    several: dict[str, str] = {}
    for path in paths:
        for name, (key, here) in store.read_ids(path).items():
            first_key, first = keys.setdefault(name, (key, path))
            if key != first_key:
                several.setdefault(name, f"{name!r} was made in another way in {path} than in {first}")
                continue
            known = people.setdefault(name, {})
            for image_id in known.keys() & here.keys():
                if known[image_id] != here[image_id]:
                    several.setdefault(
                        name, f"image {image_id!r} is of {known[image_id]} and of {here[image_id]} in {name!r}"
                    )
            known |= here
    if several:
        more = f" ({len(several) - 1} more sets disagree)" if len(several) > 1 else ""
        raise StoreError(
            "files must agree to be collected: one recipe, weights and precision for a set, one person for an id; "
            f"{next(iter(several.values()))}{more}; collect them into separate files"
        )


def _folder(place: Path) -> Path:
    return place if place.is_dir() else parts_folder(place)


def gather(output: Path, places: Sequence[Path]) -> int:
    """Merge feature files and parts of other outputs into an output, with its own parts; how many files there were.

    The others stay as they are. What is merged first becomes parts of the output, so that a kill costs nothing, and
    doing it again changes nothing.

    Raises
    ------
    StoreError
        A place holds nothing, a file is damaged, or files do not agree: see `check_agreement`.
    """
    folder = parts_folder(output)
    own = ([output] if output.is_file() else []) + sorted(folder.glob("part-*.h5"))
    sources = [path for path in list_sources(places) if path not in own]
    if not sources and not own:
        raise StoreError(
            f"there must be something to collect; {output} has no parts beside it, and no other file is named; "
            "name feature files or folders of parts behind it"
        )
    if sources:
        check_agreement([*own, *sources])
    for at in range(0, len(sources), MERGED_AT_ONCE):
        store.merge_files(sources[at : at + MERGED_AT_ONCE], folder / part_name(), None)
    told = [one for place in places if _folder(place) != folder for one in records_over(_folder(place))]
    if told:
        store.write_sets(folder / part_name(), [], jobs=[row_of(*one) for one in told])
    pack_records(folder)
    collect(output)
    return len(sources) + len(own)
