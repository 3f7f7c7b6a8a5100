"""Find images and give each an id: from a BIDS tree, a folder, a glob, a table, archives, URLs.

An image's id is its participant, then session and run where there are any, joined by "_". What kind of source it is
says where these stand: in BIDS entities; in the names of UK Biobank's bulk files, of FreeSurfer's subjects, of FSL's
.anat folders. Elsewhere the id is the file's stem if all stems differ, else the folder names that tell the files
apart. `id_pattern` reads it from anywhere in the path. See `featx.images.finding` for each kind.
"""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from featx import schema
from featx.errors import ImageError, IndexingError
from featx.images.finding import layouts
from featx.images.finding.bids import ABSENT, ENTITIES, MASK, check_filters, entities, find_bids, passing
from featx.images.finding.freesurfer import find_subjects
from featx.images.finding.fslanat import find_anat
from featx.images.finding.listing import Listing, check_not_dicom, is_there, list_source
from featx.images.finding.naming import Found, by_pattern, by_stem_or_folder, is_image, make_image, some
from featx.images.finding.patterns import ends_with
from featx.images.finding.table import read_table
from featx.images.finding.ukbiobank import find_bulk, is_bulk_archive
from featx.images.finding.waiting import map_fitting
from featx.images.image import Image, shown
from featx.images.opening import check_openable, is_url
from featx.images.volume import SUFFIXES

__all__ = ["Found", "check_readable", "entities", "find_images", "index_images", "write_index"]

_SHARD = 32  # images that a thread takes at once
_OF_ANY_KIND = ("ses", "run")  # filters that do not need BIDS names


def index_images(
    source: str,
    *,
    filters: Mapping[str, str] | None = None,
    id_pattern: str | None = None,
    file: str = "",
    cache: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Image]:
    """Find images and give them ids.

    Parameters
    ----------
    source : str
        A folder (BIDS, FreeSurfer, fsl_anat, UK Biobank's bulk files, or any other), a glob, one image, a .csv/.tsv
        with a path column, or a URL of one of these.
    filters : mapping of str to str, optional
        BIDS entities that must have these values: space, desc, suffix, ses, ... ("ses": "01" or "ses-01"; "none" for
        files without the entity).
    id_pattern : str, optional
        Regular expression searched in each path, with named groups participant_id, and if wanted session_id, run.
    file : str, optional
        Which file of each folder or archive: how its path ends, ``*`` and ``?`` allowed, such as ``mri/norm.mgz``.
    cache : Path, optional
        A file that keeps what folders hold; see `featx.images.finding.walk.list_files`.
    on_progress : callable, optional
        Called with the number of files that were listed so far.

    Returns
    -------
    list of Image
        Sorted by image_id; ids are unique. Whether a file can be read is not tried here.

    Raises
    ------
    IndexingError
        Nothing was found, two files share an id, the source mixes several kinds, or a table lacks a column.
    """
    return find_images(
        source, filters=filters, id_pattern=id_pattern, file=file, cache=cache, on_progress=on_progress
    ).images


def find_images(
    source: str,
    *,
    filters: Mapping[str, str] | None = None,
    id_pattern: str | None = None,
    file: str = "",
    cache: Path | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Found:
    """The same as `index_images`, with what should be told of how images were chosen, and what was left aside."""
    filters = filters or {}
    check_filters(filters)
    if source.endswith((".csv", ".tsv")):
        if filters or id_pattern or file:
            raise IndexingError(
                f"filters, --file and --id-pattern are for files; {shown(source)} is a table; choose its rows before"
            )
        found = Found(read_table(source), [])
    else:
        try:
            listing = list_source(source, cache, on_progress)
            found = _from_files(listing, shown(source), filters, file, own_ids=id_pattern is not None)
            found = replace(found, files=listing.files if listing.root else ())
            if listing.archive:
                found = replace(found, images=[_inside(image, listing.archive) for image in found.images])
        except ImageError as error:  # of a URL or an archive that is the source itself
            raise IndexingError(str(error)) from error
        if id_pattern is not None:
            found = replace(found, images=by_pattern(found.images, id_pattern))
    _check_unique(found.images, shown(source))
    return replace(found, images=sorted(found.images, key=lambda image: image.image_id))


# --- files ----------------------------------------------------------------------------------------------------


def _from_files(listing: Listing, source: str, filters: Mapping[str, str], file: str, *, own_ids: bool) -> Found:
    paths = [path for path in listing.files if is_image(path) or is_bulk_archive(path)]
    if not paths:
        check_not_dicom(listing.files, source)
        raise IndexingError(_no_images(source))
    mine, beside = layouts.split_beside(paths, listing.root) if listing.root else (paths, {})
    told = [_told_beside(beside, source)] if beside else []
    by_kind = _chosen(layouts.sort_by_kind(mine, listing.start), filters, file, listing.start)
    if not by_kind:
        raise IndexingError(_nothing(source, paths, filters, file) + (f". {told[0]}" if told else ""))
    kind = _one_kind(by_kind, source, own_ids=own_ids)
    if kind == layouts.PLAIN and own_ids:  # ids are given afterwards
        every = [path for paths in by_kind.values() for path in paths]
        return Found([make_image(path, "") for path in every], told)
    if kind == layouts.PLAIN:
        return Found(by_stem_or_folder(by_kind[kind]), told)
    if kind == layouts.BIDS:
        found = find_bids(
            by_kind[kind], filters, _masks(listing), choose=not file, own_ids=own_ids, start=listing.start
        )
        if listing.archive and any(MASK in path for path in listing.files):
            told.append(f"brain masks inside an archive are not applied; unpack {source} to have them applied")
        return Found(found.images, found.told + told)
    if kind == layouts.UKB:
        found = find_bulk(by_kind[kind], file, source)
    elif kind == layouts.FREESURFER:
        found = find_subjects(by_kind[kind], _marks(listing), file)
    else:
        found = find_anat(by_kind[kind], file, listing.start)
    return Found(_of_visits(found.images, filters, source), found.told + told)


def _masks(listing: Listing) -> Callable[[str], bool]:
    """Whether the file of a mask is there that can be applied: a folder's files are all listed, a glob's are not."""
    if listing.archive:  # a mask is a file of its own
        return lambda path: False
    return set(listing.files).__contains__ if listing.root else is_there


def _marks(listing: Listing) -> Callable[[str], bool]:
    """Whether a file is there that says what a folder is; beside a glob of URLs none is asked for."""
    if listing.root or listing.archive or (listing.files and is_url(listing.files[0])):
        return set(listing.files).__contains__
    return is_there


def _inside(image: Image, archive: Path | str) -> Image:
    return replace(image, path=archive, member=Path(image.path).as_posix(), mask="")


def _chosen(
    by_kind: Mapping[str, list[str]], filters: Mapping[str, str], file: str, start: int
) -> dict[str, list[str]]:
    """What passes the filters, of kinds of which something does; without BIDS names there are sessions and runs."""
    is_chosen = ends_with(file)
    kept: dict[str, list[str]] = {}
    for kind, paths in by_kind.items():
        named = kind in (layouts.BIDS, layouts.PLAIN)
        if not named and set(filters) - set(_OF_ANY_KIND):
            continue
        if file:  # archives are looked into later
            paths = [path for path in paths if is_chosen(path) or is_bulk_archive(path)]
        kept[kind] = passing(paths, filters, start) if named and filters else paths
    return {kind: paths for kind, paths in kept.items() if paths}


def _one_kind(by_kind: Mapping[str, Sequence[str]], source: str, *, own_ids: bool) -> str:
    if len(by_kind) == 1:
        return next(iter(by_kind))
    if own_ids and set(by_kind) == {layouts.BIDS, layouts.PLAIN}:
        return layouts.PLAIN
    raise IndexingError(layouts.mixture(by_kind, source))


def _of_visits(images: Sequence[Image], filters: Mapping[str, str], source: str) -> list[Image]:
    """Images of the sessions and runs that the filters ask for."""
    wanted = {
        entity: "" if value == ABSENT else value.removeprefix(f"{entity}-") for entity, value in filters.items()
    }
    kept = [image for image in images if all(_entity(image, one) == value for one, value in wanted.items())]
    if not kept:
        asked = ", ".join(f"{entity}-{value}" for entity, value in filters.items()) or "the default choice"
        there = sorted({image.session_id or "(none)" for image in images})
        raise IndexingError(
            f"the choice must leave an image; of {len(images)} in {source!r} none has {asked}; "
            f"there are sessions: {some(there, 5) or 'none'}"
        )
    return kept


def _entity(image: Image, entity: str) -> str:
    return {"ses": image.session_id, "run": image.run}[entity].removeprefix(f"{entity}-")


# --- the table ------------------------------------------------------------------------------------------------


def write_index(images: Sequence[Image], path: Path) -> None:
    """Write a table of images: .csv with commas, .tsv with tabs, as `index_images` reads them.

    Paths are written absolute, so that the table can be moved; URLs whole, with the users, passwords and signatures
    that they may hold, for without them they cannot be fetched.

    Raises
    ------
    IndexingError
        The name ends in something else.
    """
    check_table_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, delimiter="\t" if path.name.endswith(".tsv") else ",", lineterminator="\n")
        writer.writerow(schema.names(schema.IMAGES))
        for image in images:
            ids = (image.image_id, image.participant_id, image.session_id, image.run)
            writer.writerow([*ids, _absolute(image.path), image.member, _absolute(image.mask)])
    beside.replace(path)


def check_table_name(path: Path) -> None:
    """Refuse a name that `index_images` would not read as a table.

    Raises
    ------
    IndexingError
    """
    if not path.name.endswith((".csv", ".tsv")):
        raise IndexingError(
            f"a table of images must be named .csv or .tsv; got {path}; the next verb reads it by that name, so name "
            "it so"
        )


def _absolute(path: Path | str) -> str:
    """Not resolved, for a link's own name may carry the id; a URL, and nothing, stay what they are."""
    return os.path.abspath(path) if str(path) and not is_url(path) else str(path)


# --- are they there? ------------------------------------------------------------------------------------------


def why_unreadable(image: Image) -> str:
    """Why an image's file, its member or its mask cannot be opened, or "" if they can. Nothing is read whole.

    Examples
    --------
    >>> why_unreadable(Image("sub-1", "sub-1", "", "", Path("nowhere.nii")))
    'the file is not there'
    """
    trouble = _trouble(image)
    if trouble is None:
        return ""
    if trouble.code == "truncated":
        return "the file is empty"
    if isinstance(trouble.__cause__, FileNotFoundError):
        return "the file is not there"
    return str(trouble)


check_readable = why_unreadable


def unreadable(images: Sequence[Image]) -> list[dict[str, str]]:
    """Rows of the failures table (`featx.schema.FAILURES`) for images that cannot be opened, in their order.

    Many are looked at side by side: a disk behind a network, or a server, answers each after a while.
    """
    shards = map_fitting(lambda some_: [_trouble(image) for image in some_], _shards(images))
    troubles = [trouble for shard in shards for trouble in shard]
    return [
        {
            schema.IMAGE_ID: image.image_id,
            "network": "",
            "step": "index",
            "code": trouble.code,
            "sentence": str(trouble),
        }
        for image, trouble in zip(images, troubles, strict=True)
        if trouble is not None
    ]


def _shards(images: Sequence[Image]) -> list[Sequence[Image]]:
    return [images[at : at + _SHARD] for at in range(0, len(images), _SHARD)]


def _trouble(image: Image) -> ImageError | None:
    try:
        check_openable(image)
    except ImageError as error:
        return error
    return None


# --- refusals -------------------------------------------------------------------------------------------------


def _no_images(source: str) -> str:
    return (
        f"a source must hold images ({', '.join(SUFFIXES)}, or UK Biobank's bulk .zip); {source!r} holds none; "
        "give a folder, a glob in quotes, or a table with a path column"
    )


def _told_beside(beside: Mapping[str, int], source: str) -> str:
    counts = some([f"{folder} ({count})" for folder, count in sorted(beside.items())], 5)
    first = sorted(beside)[0]
    return f"datasets inside this one are left aside: {counts}; to index one, name it: {source.rstrip('/')}/{first}"


def _nothing(source: str, paths: Sequence[str], filters: Mapping[str, str], file: str) -> str:
    asked = ", ".join([*(f"{entity}-{value}" for entity, value in filters.items()), *([file] if file else [])])
    if file:
        names = Counter("/".join(path.split("/")[-2:]) for path in paths)
        there = some([name for name, _ in names.most_common(6)], 5)
    else:
        seen = {entity: sorted({entities(path).get(entity, "(none)") for path in paths})[:5] for entity in filters}
        there = "; ".join(f"{entity}: {', '.join(values)}" for entity, values in seen.items())
    return f"the choice must leave an image; of {len(paths)} in {source!r} none has {asked}; there are {there}"


def _check_unique(images: Sequence[Image], source: str) -> None:
    counts = Counter(image.image_id for image in images)
    twice = sorted(image_id for image_id, count in counts.items() if count > 1)
    if not twice:
        return
    same = [image.path for image in images if image.image_id == twice[0]]
    values: defaultdict[str, set[str]] = defaultdict(set)
    for path in same:
        found = entities(path)
        for entity in (*ENTITIES, "suffix"):
            values[entity].add(found.get(entity, ABSENT))
    differ = {entity: sorted(several) for entity, several in values.items() if len(several) > 1}
    advice = (
        "choose one with a filter: " + "; ".join(f"{entity} is {' or '.join(v)}" for entity, v in differ.items())
        if differ
        else "choose one with --file, give --id-pattern, or a table with an image_id column"
    )
    raise IndexingError(
        f"every image must have its own id; in {source!r} {len(twice)} ids stand for several files, "
        f"such as {twice[0]!r} for {shown(same[0])} and {shown(same[1])}; {advice}"
    )
