"""index and check: which images there are, and whether they keep the contracts of networks."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd

from featx import schema
from featx.api.added import home_of, resolved
from featx.api.inputs import Images, as_table, images_of
from featx.api.words import many
from featx.api.writing import write_failures, write_rows
from featx.errors import IndexingError, StoreError
from featx.extraction.checking import Row, check_images, wants_of
from featx.extraction.plan import divide_name, make_requests
from featx.images.contract import Wants, check_accepted
from featx.images.finding.summary import (
    Overview,
    find_identical,
    find_participants,
    overview_rows,
    read_participants,
    summarise,
)
from featx.images.image import Image
from featx.images.index import check_table_name, find_images, unreadable, write_index
from featx.landing import check_writable
from featx.networks import NETWORKS
from featx.networks.described import read_recipe

Listing = Callable[[int], None]
Checking = Callable[[int, int, int], None]


@dataclass(frozen=True)
class FoundAll:
    """What a source holds.

    Attributes
    ----------
    images : tuple of Image
    told : tuple of str
        How images were chosen, and what was left aside.
    unlisted : str
        Why a participants.tsv cannot be used, else "".
    overview : Overview
    failures : tuple of dict
        Rows of `featx.schema.FAILURES`: images that cannot be opened.
    """

    images: tuple[Image, ...]
    told: tuple[str, ...]
    unlisted: str
    overview: Overview
    failures: tuple[Mapping[str, str], ...]


def index(
    source: str | Path | Sequence[str | Path],
    *,
    output: Path | str | None = None,
    space: str = "",
    desc: str = "",
    suffix: str = "",
    session: str = "",
    entity: Mapping[str, str] | Sequence[str] = (),
    file: str = "",
    id_pattern: str = "",
    duplicates: bool = False,
    cache: bool = True,
    home: Path | str | None = None,
    on_progress: Listing | None = None,
) -> pd.DataFrame:
    """Find images and give them ids: `featx index` from Python.

    Parameters
    ----------
    source : str or Path, or sequence of these
        A folder (BIDS or not), a glob, a URL of either, or a .csv/.tsv with a path column; or several of them.
    output : Path or str, optional
        The table to write, with its .overview.csv and, where an image cannot be opened, .missing.csv; without it
        nothing is written but the cache.
    space, desc, suffix, session : str
        Keep images of this BIDS space, ...
    entity : mapping of str to str, or sequence of str
        Other BIDS entities: {"res": "2"}, or ["res=2"].
    file, id_pattern : str
        See `featx index --help`.
    duplicates : bool
        Also read all files of one size, and tell which hold the same bytes: ``attrs["identical"]``.
    cache : bool
        Keep what the folders held, in `home`, and list only those that changed since.
    home : Path or str, optional
        featx's own folder.
    on_progress : callable, optional
        Called with the number of files listed so far.

    Returns
    -------
    DataFrame
        A row per image: image_id, participant_id, session_id, run, path, member, mask; all text. `featx.check`,
        `featx.extract` and `FeatureExtractor` take it, or some of its rows. ``attrs["told"]`` are sentences on how
        images were chosen; ``attrs["failures"]`` rows of those that cannot be opened.

    Raises
    ------
    IndexingError
        As `featx index` refuses it.

    Examples
    --------
    >>> import featx
    >>> images = featx.index("derivatives/", space="MNI152NLin6Asym", desc="brain")  # doctest: +SKIP
    """
    place = None if output is None else Path(output)
    sources = [str(one) for one in many(source)]
    if not sources:
        raise IndexingError("a source of images must be named; got an empty list; give a folder, a glob or a table")
    found = find_all(
        sources,
        place,
        filters=filters_of({"space": space, "desc": desc, "suffix": suffix, "ses": session}, entity),
        file=file,
        id_pattern=id_pattern,
        home=home_of(home) if cache else None,
        on_progress=on_progress,
    )
    identical = find_identical(found.images, lambda done, total: None) if duplicates else ()
    if place is not None:
        write_overview(found, identical, place)
    table = as_table(found.images)
    told = [*found.told, *([found.unlisted] if found.unlisted else [])]
    table.attrs |= {"told": told, "identical": identical, "failures": found.failures}
    return table


def find_all(
    sources: Sequence[str],
    output: Path | None,
    *,
    filters: Mapping[str, str],
    file: str = "",
    id_pattern: str = "",
    home: Path | None = None,
    on_progress: Listing | None = None,
) -> FoundAll:
    """Find images, and what there is to be told of them; write them, and those that cannot be opened.

    Parameters
    ----------
    sources : sequence of str
    filters, file, id_pattern, on_progress
        As in `featx.images.index.index_images`.
    output : Path or None
    home : Path or None
        featx's own folder, where what folders held is kept; None to list all of them anew.

    Raises
    ------
    IndexingError
        As `featx.images.index.index_images` refuses one of them; an id that two of them have; or the output is what
        is read.
    """
    if output is not None:
        check_table_name(output)
    found = []
    for source in sources:
        if output is not None:
            _check_apart(source, [output, *beside(output)])
        found.append(
            find_images(
                source,
                filters=filters,
                id_pattern=id_pattern or None,
                file=file,
                cache=None if home is None else cache_place(source, home),
                on_progress=on_progress,
            )
        )
    images = _joined(sources, [one.images for one in found])
    if output is not None:
        write_index(images, output)
    failures = unreadable(images)
    if output is not None:
        write_failures(failures, beside(output)[0])
    listed = [_listed(source, one.files) for source, one in zip(sources, found, strict=True)]
    people = list(dict.fromkeys(person for there, _ in listed for person in there or ()))
    overview = summarise(
        images,
        [file for one in found for file in one.files],
        people if any(there is not None for there, _ in listed) else None,
    )
    told = tuple(sentence for one in found for sentence in one.told)
    return FoundAll(tuple(images), told, "; ".join(why for _, why in listed if why), overview, tuple(failures))


def _joined(sources: Sequence[str], parts: Sequence[Sequence[Image]]) -> list[Image]:
    """Images of several sources, by their ids, which must be each image's own."""
    where: dict[str, str] = {}
    for source, images in zip(sources, parts, strict=True):
        for image in images:
            if image.image_id in where:
                raise IndexingError(
                    f"every image must have its own id; {image.image_id!r} is in {where[image.image_id]!r} and in "
                    f"{source!r}; give a table with an image_id column instead of one of them"
                )
            where[image.image_id] = source
    return sorted((image for images in parts for image in images), key=lambda image: image.image_id)


def write_overview(found: FoundAll, identical: Sequence[Sequence[str]], output: Path) -> None:
    """Write the table of all participants beside an index."""
    write_rows(overview_rows(found.overview, identical), schema.OVERVIEW, beside(output)[1])


def beside(output: Path) -> tuple[Path, Path]:
    """The tables beside an index: of images that cannot be opened, and of all participants."""
    return output.with_suffix(".missing.csv"), output.with_suffix(".overview.csv")


def _check_apart(source: str, outputs: Sequence[Path]) -> None:
    """Refuse to write over the table that is read: its other columns would be lost."""
    for path in outputs:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise IndexingError(
                f"the table must be a file of its own; {path} is the source that is read; name another -o"
            )


def filters_of(named: Mapping[str, str], others: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """BIDS entities that must have a value: those with an option of their own, and NAME=VALUE.

    Raises
    ------
    IndexingError
        A word has another form.
    """
    filters = {name: value for name, value in named.items() if value}
    if isinstance(others, Mapping):
        return {**filters, **others}
    for one in many(others):
        name, sign, value = one.partition("=")
        if not sign:
            raise IndexingError(f"--entity must be NAME=VALUE; got {one!r}; write, say, res=2")
        filters[name] = value
    return filters


def cache_place(source: str, home: Path) -> Path:
    """Where what a folder held is kept: a file of its own for every folder."""
    folder = os.fsencode(os.path.abspath(source))
    return home / "index" / f"{hashlib.sha256(folder).hexdigest()[:32]}.json"


def _listed(source: str, files: Sequence[str]) -> tuple[list[str] | None, str]:
    """People of the participants.tsv at the root of a folder, and the sentence of one that cannot be used."""
    path = find_participants(source, files)
    if path is None:
        return None, ""
    try:
        return read_participants(path), ""
    except IndexingError as error:
        return None, str(error)


# --- check ----------------------------------------------------------------------------------------------------


def check(
    images: Images,
    network: str | Sequence[str] = (),
    *,
    output: Path | str | None = None,
    resample: bool = False,
    accept: str | Sequence[str] = (),
    recipe: Path | str | None = None,
    workers: int = -1,
    home: Path | str | None = None,
    on_progress: Checking | None = None,
) -> pd.DataFrame:
    """Hold images against what networks want of them: `featx check` from Python.

    Parameters
    ----------
    images : str, Path, DataFrame or sequence of Image
        images.csv of `featx index` or anything that it takes, the table of `featx.index`, or images.
    network : str or sequence of str
        Whose contract: names, or patterns such as "sfcn.*". Without any, what no network can use is told.
    output : Path or str, optional
        The table to write; without it nothing is written.
    resample, accept, recipe
        As for `featx.extract`.
    workers : int
        Threads that read; -1 for one per core, up to 8.
    home : Path or str, optional
        featx's own folder, where networks that were added are.
    on_progress : callable, optional
        Called as (images looked at, images in all, images that do not fit).

    Returns
    -------
    DataFrame
        A row per image and network: the columns of `featx.schema.CHECKS`, all text; `fits` is "yes" or "no".

    Raises
    ------
    NetworkError, IndexingError, StoreError
        As `featx check` refuses it.

    Examples
    --------
    >>> import featx
    >>> checks = featx.check(featx.index("BRAINS/"), "squeezenet1_0.imagenet")  # doctest: +SKIP
    >>> checks.query("fits == 'no'")[["image_id", "code", "sentence"]]  # doctest: +SKIP
    """
    wants = contracts(many(network), None if recipe is None else Path(recipe), home_of(home), resampling=resample)
    place = None if output is None else Path(output)
    rows: list[Row] = []
    for some in check_all(images, wants, place, accept=many(accept), workers=workers, on_progress=on_progress):
        rows += some
    return pd.DataFrame(rows, columns=schema.names(schema.CHECKS), dtype=object).fillna("")


def contracts(names: Sequence[str], recipe: Path | None, home: Path, *, resampling: bool) -> list[Wants]:
    """Contracts of the networks that are named, wildcards resolved, each once."""
    if not names and recipe is None:
        return []
    wanted: list[str] = []
    for name in (divide_name(one)[0] for one in resolved(names, home)):
        wanted += [known for known in NETWORKS if fnmatchcase(known, name)] or [name]
    facts = None if recipe is None else read_recipe(recipe)
    requests = make_requests(list(dict.fromkeys(wanted)), recipe=facts, resampling=resampling)
    return [wants_of(one.recipe, one.sheet.name, resampling=one.resampling) for one in requests]


def check_all(
    images: Images,
    wants: Sequence[Wants],
    output: Path | None,
    *,
    accept: Sequence[str],
    workers: int,
    on_progress: Checking | None = None,
) -> Iterator[list[Row]]:
    """The rows of each image in turn, which are written to the output, if one is named, when all have been taken.

    Raises
    ------
    StoreError
        The output cannot be written, or is what is read.
    """
    check_accepted(accept)
    if output is not None:
        check_writable(output)
        if output.exists() and isinstance(images, str | Path) and Path(images).exists() and output.samefile(images):
            raise StoreError(
                f"the table must be a file of its own; {output} is the index that is read; name another -o"
            )
    found = images_of(images)
    threads = workers if workers >= 0 else min(8, os.cpu_count() or 1)
    n_unfit = 0
    with contextlib.nullcontext(lambda rows: None) if output is None else _table(output) as write:
        for done, (_, rows) in enumerate(check_images(found, wants, threads, accept), start=1):
            write(rows)
            n_unfit += any(row["fits"] == "no" for row in rows)
            yield rows
            if on_progress is not None:
                on_progress(done, len(found), n_unfit)


@contextlib.contextmanager
def _table(path: Path) -> Iterator[Callable[[Sequence[Row]], None]]:
    """A function that appends rows to a table, which gets its name when all are in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, schema.names(schema.CHECKS), lineterminator="\n")
            writer.writeheader()
            yield writer.writerows
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
