"""Find images and give each an id: from a BIDS tree, a folder, a glob, or a table with a path column.

An image's id is its participant, then session and run where there are any, joined by "_". Where files carry no
BIDS entities, the id is the file's stem if all stems differ, else the folder names that tell the files apart
(in UK Biobank every brain has the same file name), or what `id_pattern` finds in the path.
"""

from __future__ import annotations

import csv
import glob
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from featx import schema
from featx.errors import IndexingError, first_line, known
from featx.images.image import Image
from featx.images.volume import SUFFIXES

# BIDS entities that tell images of one session apart; the filters of `index_images` take these, and "suffix".
ENTITIES = ("ses", "run", "acq", "rec", "ce", "echo", "part", "space", "res", "desc", "label", "from", "to")
_ENTITY = re.compile(r"(?:^|_)([a-z]+)-([^_]+)")
_ID_FIELDS = (schema.PARTICIPANT_ID, schema.SESSION_ID, "run")


def index_images(
    source: str, *, filters: Mapping[str, str] | None = None, id_pattern: str | None = None
) -> list[Image]:
    """Find images and give them ids.

    Parameters
    ----------
    source : str
        A folder (BIDS or not), a glob, one image, or a .csv/.tsv with a path column.
    filters : mapping of str to str, optional
        BIDS entities that must have these values: space, desc, suffix, ses, ... ("ses": "01" or "ses-01").
    id_pattern : str, optional
        Regular expression searched in each path, with named groups participant_id, and if wanted session_id, run.

    Returns
    -------
    list of Image
        Sorted by image_id; ids are unique. Whether a file can be read is not tried here.

    Raises
    ------
    IndexingError
        Nothing was found, two files share an id, or a table lacks a column.
    """
    if source.endswith((".csv", ".tsv")):
        if filters or id_pattern:
            raise IndexingError(
                f"filters and --id-pattern are for files; {source} is a table; choose its rows before"
            )
        images = _from_table(Path(source))
    else:
        paths = _find(source)
        chosen = [path for path in paths if _passes(path, filters or {})]
        if not chosen:
            raise IndexingError(_nothing(source, paths, filters or {}))
        images = _name(chosen, source, id_pattern)
    _check_unique(images, source)
    return sorted(images, key=lambda image: image.image_id)


def check_readable(image: Image) -> str:
    """Why an image's file cannot be opened, or "" if it can.

    Examples
    --------
    >>> check_readable(Image("sub-1", "sub-1", "", "", Path("nowhere.nii")))
    'the file is not there'
    """
    try:
        with Path(image.path).open("rb") as file:
            return "" if file.read(1) else "the file is empty"
    except FileNotFoundError:
        return "the file is not there"
    except OSError as error:
        return str(error.strerror).lower()


# --- the table ------------------------------------------------------------------------------------------------


def write_index(images: Sequence[Image], path: Path) -> None:
    """Write images.csv. Paths are written absolute, so that the table can be moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(schema.names(schema.IMAGES))
        for image in images:
            # not resolve(): a link's own name may carry the id
            path_, mask = (
                os.path.abspath(one) if one and "://" not in str(one) else one for one in (image.path, image.mask)
            )
            ids = (image.image_id, image.participant_id, image.session_id, image.run)
            writer.writerow([*ids, path_, image.member, mask])
    beside.replace(path)


def _absolute(path: Path | str) -> str:
    """Not resolved, for a link's own name may carry the id; a URL, and nothing, stay what they are."""
    return os.path.abspath(path) if str(path) and "://" not in str(path) else str(path)


def _from_table(path: Path) -> list[Image]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        lines = [
            row for row in csv.reader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ",") if row
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IndexingError(
            f"a table of images must be readable UTF-8 text; {path} is not ({first_line(error)}); mend the table"
        ) from error
    header = lines[0] if lines else []
    _check_header(header, path)
    if len(lines) < 2:
        raise IndexingError(f"a table of images must have rows; {path} has only its header; add one per image")
    for at, fields in enumerate(lines):
        if len(fields) != len(header):
            raise IndexingError(
                f"every row must have as many fields as the header, {len(header)}; row {at + 1} of {path} has "
                f"{len(fields)}; mend that row"
            )
    return [_from_row(dict(zip(header, fields, strict=True)), path, at) for at, fields in enumerate(lines[1:])]


def _check_header(header: Sequence[str], path: Path) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise IndexingError(
            f"a table's columns must have names of their own; {path} has {twice[0]!r} twice; rename one"
        )
    if "path" in header and {schema.PARTICIPANT_ID, schema.IMAGE_ID} & set(header):
        return
    wanted = "path" if "path" not in header else schema.PARTICIPANT_ID
    raise IndexingError(
        f"a table of images must have the columns participant_id and path; {path} has "
        f"{', '.join(map(repr, header)) or 'none'}; rename or add {wanted!r}"
    )


def _from_row(row: Mapping[str, str], table: Path, at: int) -> Image:
    participant = row.get(schema.PARTICIPANT_ID) or row.get(schema.IMAGE_ID, "")
    session, run = row.get(schema.SESSION_ID, ""), row.get("run", "")
    image_id = row.get(schema.IMAGE_ID) or _join(participant, session, run)
    if not participant or not row["path"]:
        raise IndexingError(
            f"every image must have a participant_id and a path; row {at + 2} of {table} lacks one; fill it in"
        )
    path = row["path"] if "://" in row["path"] else table.parent / row["path"]
    mask = str(table.parent / row["mask"]) if row.get("mask") else ""
    return Image(image_id, participant, session, run, path, row.get("member", ""), mask)


# --- files ----------------------------------------------------------------------------------------------------


def _find(source: str) -> list[Path]:
    """All image files below a folder, matching a glob, or the one file; sorted."""
    if os.path.isdir(source):
        found: list[Path] = []
        for folder, folders, files in os.walk(source, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [Path(folder, name) for name in files if _is_image(name)]
        return sorted(found)
    matches = [Path(match) for match in glob.glob(source, recursive=True)]
    return sorted(path for path in matches if path.is_file() and _is_image(path.name))


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def entities(path: Path) -> dict[str, str]:
    """BIDS entities of a file's name (and sub-, ses- of its folders), with its suffix.

    Examples
    --------
    >>> entities(Path("sub-01/ses-2/anat/sub-01_ses-2_space-MNI_desc-brain_T1w.nii.gz"))
    {'sub': '01', 'ses': '2', 'space': 'MNI', 'desc': 'brain', 'suffix': 'T1w'}
    """
    found: dict[str, str] = {}
    for part in path.parts[:-1]:
        folder = re.fullmatch(r"(sub|ses)-([^_]+)", part)
        if folder:
            found[folder[1]] = folder[2]
    stem = _stem(path)
    found |= {match[1]: match[2] for match in _ENTITY.finditer(stem)}
    last = stem.rsplit("_", 1)[-1]
    if "sub" in found and "-" not in last:
        found["suffix"] = last
    return found


def _stem(path: Path) -> str:
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def _passes(path: Path, filters: Mapping[str, str]) -> bool:
    for entity in filters:
        if entity not in (*ENTITIES, "suffix"):
            raise IndexingError(f"a filter must be a BIDS entity; got {entity!r}; {known((*ENTITIES, 'suffix'))}")
    found = entities(path) if filters else {}
    return all(found.get(entity) == wanted.removeprefix(f"{entity}-") for entity, wanted in filters.items())


def _name(paths: Sequence[Path], source: str, id_pattern: str | None) -> list[Image]:
    if id_pattern is not None:
        return [_by_pattern(path, id_pattern) for path in paths]
    found = [entities(path) for path in paths]
    if all("sub" in one for one in found):
        return [_by_entities(path, one) for path, one in zip(paths, found, strict=True)]
    if any("sub" in one for one in found):
        odd = next(path for path, one in zip(paths, found, strict=True) if "sub" not in one)
        raise IndexingError(
            f"all images of a source must be named alike; in {source} some carry sub-, {odd} does not; "
            "narrow the source with a glob or a filter, or give --id-pattern"
        )
    return _by_stem_or_folder(paths)


def _by_entities(path: Path, found: Mapping[str, str]) -> Image:
    participant = f"sub-{found['sub']}"
    if any(re.fullmatch(r"sub-[^_]+", part) and part != participant for part in path.parts[:-1]):
        raise IndexingError(
            f"a file must lie in its own participant's folder; {path} is named {participant} and lies in another's; "
            "rename one of them"
        )
    session = f"ses-{found['ses']}" if "ses" in found else ""
    run = f"run-{found['run']}" if "run" in found else ""
    return Image(_join(participant, session, run), participant, session, run, path)


def _by_pattern(path: Path, id_pattern: str) -> Image:
    try:
        match = re.search(id_pattern, path.as_posix())
    except re.error as error:
        raise IndexingError(f"--id-pattern must be a regular expression; {id_pattern!r} is not ({error})") from error
    groups = match.groupdict() if match else {}
    if not groups.get(schema.PARTICIPANT_ID):
        raise IndexingError(
            f"--id-pattern must find a group participant_id in every path; {id_pattern!r} finds none in {path}; "
            "write (?P<participant_id>...) so that it fits every path, or narrow the source"
        )
    participant, session, run = (groups.get(field) or "" for field in _ID_FIELDS)
    return Image(_join(participant, session, run), participant, session, run, path)


def _by_stem_or_folder(paths: Sequence[Path]) -> list[Image]:
    stems = [_stem(path) for path in paths]
    if len(set(stems)) < len(stems):
        depth = min(len(path.parent.parts) for path in paths)
        columns = [[path.parent.parts[at] for path in paths] for at in range(depth)]
        telling = [column for column in columns if len(set(column)) > 1]
        stems = ["_".join(parts) for parts in zip(*telling, strict=True)] if telling else stems
    return [Image(stem, stem, "", "", path) for stem, path in zip(stems, paths, strict=True)]


def _join(participant: str, session: str, run: str) -> str:
    return "_".join(part for part in (participant, session, run) if part)


# --- refusals -------------------------------------------------------------------------------------------------


def _nothing(source: str, paths: Sequence[Path], filters: Mapping[str, str]) -> str:
    if not paths:
        return (
            f"a source must hold images ({', '.join(SUFFIXES)}); {source!r} holds none; "
            "give a folder, a glob in quotes, or a table with a path column"
        )
    wanted = ", ".join(f"{entity}-{value}" for entity, value in filters.items())
    seen = {entity: sorted({entities(path).get(entity, "(none)") for path in paths})[:5] for entity in filters}
    return (
        f"the filters must leave an image; of {len(paths)} in {source!r} none has {wanted}; "
        "there are " + "; ".join(f"{entity}: {', '.join(values)}" for entity, values in seen.items())
    )


def _check_unique(images: Sequence[Image], source: str) -> None:
    counts = Counter(image.image_id for image in images)
    twice = sorted(image_id for image_id, count in counts.items() if count > 1)
    if not twice:
        return
    same = [image.path for image in images if image.image_id == twice[0]]
    values: defaultdict[str, set[str]] = defaultdict(set)
    for path in same:
        found = entities(Path(path))
        for entity in (*ENTITIES, "suffix"):
            values[entity].add(found.get(entity, "(none)"))
    differ = {entity: sorted(several) for entity, several in values.items() if len(several) > 1}
    advice = (
        "choose one with a filter: " + "; ".join(f"{entity} is {' or '.join(v)}" for entity, v in differ.items())
        if differ
        else "give --id-pattern, or a table with an image_id column"
    )
    raise IndexingError(
        f"every image must have its own id; in {source!r} {len(twice)} ids stand for several files, "
        f"such as {twice[0]!r} for {same[0]} and {same[1]}; {advice}"
    )
