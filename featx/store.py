"""Write, read and merge feature files. The only module that imports h5py; `featx.schema` describes the file.

A file is written beside its place, flushed, closed, read back, and only then renamed: the final name means
complete. Every row carries its image's id; nothing is matched by position. What is read is checked against what
was written: shapes, ids, checksums (HDF5's fletcher32), and the digest of the provenance.
"""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featx import schema
from featx.errors import StoreError, first_line, known
from featx.featureset import FeatureSet, digest, feature_key
from featx.landing import check_writable as check_writable
from featx.landing import fsync
from featx.merging import Failure as Failure
from featx.merging import all_accepted, check_one_person, last_jobs, made_in_ways, sets_of_jobs, still_failing

CHUNK_BYTES = 1 << 20
BLOCK_BYTES = 1 << 25  # rows are merged by that many, so that each source is read in long runs
_TEXT = h5py.string_dtype("utf-8")
_TABLES = {
    schema.FAILURES_GROUP: schema.FAILURES,
    schema.ACCEPTED_GROUP: schema.FAILURES,
    schema.JOBS_GROUP: schema.JOBS,
}
_IDS = (schema.IMAGE_ID, schema.PARTICIPANT_ID, schema.SESSION_ID)

Done = dict[str, tuple[str, dict[str, tuple[str, str]]]]


# --- reading --------------------------------------------------------------------------------------------------


def list_sets(path: Path) -> list[str]:
    """Names of the feature sets in a file, sorted.

    Raises
    ------
    StoreError
        The file is missing, damaged, or not a feature file.
    """
    with _open(path) as file:
        return _set_names(file)


def read_set(path: Path, name: str) -> FeatureSet:
    """Read one feature set and check it.

    Raises
    ------
    StoreError
        The file is damaged, the set is not there, or what is there contradicts itself.
    """
    with _open(path) as file:
        return _read_set(file, name, path)


def read_ids(*paths: Path) -> Done:
    """What is done already, without reading a feature: for every set its key, and {image: (participant, session)}.

    Parameters
    ----------
    paths : Path
        Feature files. Ids that several sets have in common are read once, and those sets share one dict: do not
        change it.

    Raises
    ------
    StoreError
        A file is damaged, ids are not those that were written, or two files hold one set under different keys.
    """
    keys: dict[str, str] = {}
    lists: dict[str, list[str]] = {}  # of each set, the digests of its ids in the files
    people: dict[str, dict[str, tuple[str, str]]] = {}  # by that digest
    for path in paths:
        with _open(path) as file:
            for name in _set_names(file):
                facts = file[f"{schema.SETS}/{name}"].attrs
                # Recomputed once a set: parts are many, and each is checked again when it is merged.
                key = str(facts[schema.KEY]) if name in keys else _provenance_key(file, name, path)
                if key != keys.setdefault(name, key):
                    raise made_in_ways(name, 2, paths)
                written = str(facts[schema.IDS_SHA256])
                if written not in people:
                    image_id, *person = _checked_ids(file, name, path)
                    people[written] = dict(zip(image_id, zip(*person, strict=True), strict=True))
                lists.setdefault(name, []).append(written)
    joined: dict[tuple[str, ...], dict[str, tuple[str, str]]] = {}
    for digests in map(tuple, lists.values()):
        if digests not in joined:
            joined[digests] = dict(one for sha256 in digests for one in people[sha256].items())
    return {name: (key, joined[tuple(lists[name])]) for name, key in keys.items()}


def read_precisions(*paths: Path) -> dict[str, str]:
    """The precision of the first set there is of each network (with its weights)."""
    found: dict[str, str] = {}
    for path in paths:
        with _open(path) as file:
            for name in _set_names(file):
                network = name.split("/")[0]
                if network not in found:
                    found[network] = str(file[f"{schema.SETS}/{name}"].attrs["precision"])
    return found


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every set's features: images, then slices where they are kept apart, then features."""
    with _open(path) as file:
        return {name: file[f"{schema.SETS}/{name}/{schema.FEATURES}"].shape for name in _set_names(file)}


def read_failures(path: Path) -> list[Failure]:
    """The failures table of a feature file: one dict per row, keys as in `featx.schema.FAILURES`."""
    with _open(path) as file:
        return _rows(file, schema.FAILURES_GROUP)


def read_accepted(path: Path) -> list[Failure]:
    """Misfits that were let through: rows like those of `read_failures`, of images that have features."""
    with _open(path) as file:
        return _rows(file, schema.ACCEPTED_GROUP)


def read_jobs(path: Path) -> list[dict[str, str]]:
    """What the writers of a feature file told of themselves: rows of `featx.schema.JOBS`."""
    with _open(path) as file:
        return _rows(file, schema.JOBS_GROUP)


def _rows(file: h5py.File, table: str) -> list[dict[str, str]]:
    if table not in file:  # files of before that table
        return []
    columns = {name: file[table][name].asstr()[:] for name in schema.names(_TABLES[table])}
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, map(str, row), strict=True)) for row in rows]


@contextlib.contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise StoreError(f"a feature file must exist; {path} does not; make it with `featx extract`")
    try:
        file = h5py.File(path, "r", rdcc_nbytes=0)
    except OSError as error:
        raise StoreError(
            f"a feature file must be whole HDF5; {path} is not ({first_line(error)}); "
            "it was cut short or is another kind of file: take the original, or extract again"
        ) from error
    with file:
        try:
            _check_format(file, path)
            yield file
        except StoreError:
            raise
        except (
            OSError,
            LookupError,
            RuntimeError,
            ValueError,
            TypeError,
            AttributeError,
        ) as error:  # all that h5py makes of damaged bytes
            raise StoreError(
                f"a feature file must read back whole; {path} does not ({first_line(error)}); "
                "it is damaged: take a copy, or extract again"
            ) from error


def _check_format(file: h5py.File, path: Path) -> None:
    if file.attrs.get("format") != schema.FORMAT:
        raise StoreError(f"a feature file must be one that featx wrote; {path} is HDF5 of another origin")
    if int(file.attrs["format_version"]) > schema.FORMAT_VERSION:
        raise StoreError(
            f"a feature file must be of format version {schema.FORMAT_VERSION} or older; {path} has "
            f"{int(file.attrs['format_version'])}; update featx"
        )


def _set_names(file: h5py.File) -> list[str]:
    found: list[str] = []

    def visit(name: str, node: Any) -> None:
        if _is_set(node):
            found.append(name)

    file[schema.SETS].visititems(visit)
    return sorted(found)


def _is_set(node: Any) -> bool:
    return isinstance(node, h5py.Group) and isinstance(node.get(schema.FEATURES), h5py.Dataset)


def _group(file: h5py.File, name: str, path: Path) -> h5py.Group:
    group = file[schema.SETS].get(name)
    if not _is_set(group):
        raise StoreError(f"a feature set must be in the file; {name!r} is not in {path}; {known(_set_names(file))}")
    return group


def _ids(file: h5py.File, name: str) -> list[NDArray[np.object_]]:
    group = file[f"{schema.SETS}/{name}"]
    return [group[column].asstr()[:].astype(object) for column in _IDS]


def _checked_ids(file: h5py.File, name: str, path: Path) -> list[NDArray[np.object_]]:
    columns = _ids(file, name)
    if file[f"{schema.SETS}/{name}"].attrs[schema.IDS_SHA256] != _ids_sha256(columns):
        raise StoreError(f"ids must be those that were written; those of {name!r} in {path} are not; take a copy")
    return columns


def _provenance(group: h5py.Group) -> dict[str, str]:
    return {name: str(group.attrs[name]) for name in schema.names(schema.PROVENANCE)}


def _provenance_key(file: h5py.File, name: str, path: Path) -> str:
    group = _group(file, name, path)
    key = feature_key(_provenance(group))
    if key != group.attrs[schema.KEY]:
        raise StoreError(
            f"a feature set's provenance must match its key; that of {name!r} in {path} does not; "
            "it was changed after it was written: extract again"
        )
    return key


def _read_set(file: h5py.File, name: str, path: Path) -> FeatureSet:
    _provenance_key(file, name, path)
    group = file[f"{schema.SETS}/{name}"]
    image_id, participant_id, session_id = _ids(file, name)
    X = group[schema.FEATURES][:]
    if (
        X.ndim not in (2, 3)
        or X.dtype != np.float32
        or not (len(X) == len(image_id) == len(participant_id) == len(session_id))
    ):
        raise StoreError(
            f"features must be float32 with one row per image; {name!r} in {path} holds {X.dtype} of shape "
            f"{X.shape} for {len(image_id)} images; extract again"
        )
    finite = np.isfinite(X).all(axis=tuple(range(1, X.ndim)))
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise StoreError(f"features must be finite; {name!r} in {path} is not, at image {image_id[row]!r}")
    _checked_ids(file, name, path)
    if len(set(image_id)) != len(image_id) or sorted(image_id) != list(image_id):
        raise StoreError(f"image ids must be sorted and unique; those of {name!r} in {path} are not")
    return FeatureSet(name, X, image_id, participant_id, session_id, _provenance(group))


# --- writing --------------------------------------------------------------------------------------------------


def write_sets(
    path: Path,
    sets: Sequence[FeatureSet],
    failures: Sequence[Failure] = (),
    accepted: Sequence[Failure] = (),
    jobs: Sequence[Mapping[str, str]] = (),
) -> None:
    """Write a new feature file, verified before it gets its name. Rows are sorted by image id.

    Parameters
    ----------
    jobs : sequence of mapping
        Rows of `featx.schema.JOBS`.

    Raises
    ------
    StoreError
        A set has a row that is not finite, or two rows of one image.
    """
    with _new_file(path) as file:
        for one in sets:
            order = np.argsort(one.image_id.astype(str), kind="stable")
            group = _make_set(file, one.name, one.provenance, one.X.shape)
            group[schema.FEATURES][...] = one.X[order]
            _write_ids(group, [ids[order] for ids in (one.image_id, one.participant_id, one.session_id)])
        _write_rows(file, schema.FAILURES_GROUP, failures)
        _write_rows(file, schema.ACCEPTED_GROUP, accepted)
        _write_rows(file, schema.JOBS_GROUP, jobs)


def merge_files(sources: Sequence[Path], output: Path, wanted: Iterable[str] | None = ()) -> None:
    """Merge feature files into one, in memory that does not grow with the number of images.

    Parameters
    ----------
    sources : sequence of Path
        Feature files; of two rows for one image in one set, the first source's is kept (they are equal by key).
        `output` may be among them.
    output : Path
        Replaced in one step.
    wanted : iterable of str, optional
        Names of sets that are to be made, besides those that the sources' jobs were to make: a failure is over when
        its image has a row in all sets of its network. None keeps all failures, as for a merge of some parts.

    Raises
    ------
    StoreError
        A source is damaged; two hold one set under different keys, or one image as of different people.
    """
    with contextlib.ExitStack() as stack:
        files = [(path, stack.enter_context(_open(path))) for path in sources]
        holders: dict[str, list[tuple[Path, h5py.File]]] = {}
        for path, file in files:
            for name in _set_names(file):
                holders.setdefault(name, []).append((path, file))
        done: dict[str, set[str]] = {}
        with _new_file(output) as merged:
            for name in sorted(holders):
                done[name] = _merge_set(merged, name, holders[name])
            rows = {table: [row for _, file in files for row in _rows(file, table)] for table in _TABLES}
            to_be = [] if wanted is None else [*wanted, *sets_of_jobs(rows[schema.JOBS_GROUP])]
            known_by_now: dict[str, set[str]] = {} if wanted is None else {name: set() for name in to_be} | done
            _write_rows(merged, schema.FAILURES_GROUP, still_failing(rows[schema.FAILURES_GROUP], known_by_now))
            _write_rows(merged, schema.ACCEPTED_GROUP, all_accepted(rows[schema.ACCEPTED_GROUP]))
            _write_rows(merged, schema.JOBS_GROUP, last_jobs(rows[schema.JOBS_GROUP]))


def _merge_set(merged: h5py.File, name: str, holders: list[tuple[Path, h5py.File]]) -> set[str]:
    keys = {_provenance_key(file, name, path) for path, file in holders}
    if len(keys) > 1:
        raise made_in_ways(name, len(keys), [path for path, _ in holders])
    ids = [_ids(file, name) for _, file in holders]
    source = np.concatenate([np.full(len(of[0]), at) for at, of in enumerate(ids)])
    row = np.concatenate([np.arange(len(of[0])) for of in ids])
    columns = [np.concatenate([of[column] for of in ids]) for column in range(len(_IDS))]
    # Sorted, and the first source wins.
    _, first, of_image = np.unique(columns[0].astype(str), return_index=True, return_inverse=True)
    check_one_person(name, columns, first[of_image])
    datasets = [file[f"{schema.SETS}/{name}/{schema.FEATURES}"] for _, file in holders]
    path, file = holders[0]
    shape = (len(first), *datasets[0].shape[1:])
    group = _make_set(merged, name, _provenance(_group(file, name, path)), shape)
    rows_at_once = group[schema.FEATURES].chunks[0] * max(1, BLOCK_BYTES // CHUNK_BYTES)
    space = np.empty((min(rows_at_once, len(first)), *shape[1:]), np.float32)
    for start in range(0, len(first), rows_at_once):
        take = first[start : start + rows_at_once]
        block = space[: len(take)]
        for at in np.unique(source[take]):
            here = np.flatnonzero(source[take] == at)
            rows = row[take[here]]  # ascending: every source is sorted by image id
            low, high = int(rows[0]), int(rows[-1]) + 1
            block[here] = _read_rows(datasets[at], low, high, holders[at][0])[rows - low]
        group[schema.FEATURES][start : start + len(take)] = block
    _write_ids(group, [column[first] for column in columns])
    return set(columns[0])


def _read_rows(dataset: h5py.Dataset, low: int, high: int, path: Path) -> NDArray[np.float32]:
    try:
        return np.asarray(dataset[low:high])
    except (OSError, RuntimeError) as error:  # a checksum that does not hold
        raise StoreError(
            f"a feature file must read back whole; {path} does not ({first_line(error)}); it is damaged: remove it, "
            "and extract again: only its images are done anew"
        ) from error


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[h5py.File]:
    """A file under a name of its own; when all went well it is verified and renamed, else it is removed."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with _create(beside) as file:
            file.attrs["format"] = schema.FORMAT
            file.attrs["format_version"] = schema.FORMAT_VERSION
            file.create_group(schema.SETS)
            yield file
            file.flush()
        fsync(beside)
        _verify(beside)
        beside.replace(path)
        fsync(path.parent)
    except (OSError, RuntimeError) as error:  # h5py's own complaints about a full disk are of either kind
        raise StoreError(
            f"a feature file must be written whole; {path} could not be ({first_line(error)}); "
            "see to space and permissions there and run again: what was finished before is kept"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _create(path: Path) -> h5py.File:
    """An HDF5 file of the default libver: a killed writer then leaves one that opens."""
    for _ in range(10):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # who merged the folder's last parts has just removed it
            return h5py.File(path, "w")
    return h5py.File(path, "w")


def _verify(path: Path) -> None:
    """Read every chunk back (fletcher32 raises on a damaged one) and every id, one block at a time."""
    with _open(path) as file:
        for name in _set_names(file):
            _provenance_key(file, name, path)
            dataset = file[f"{schema.SETS}/{name}/{schema.FEATURES}"]
            ids = _ids(file, name)[0]
            if len(set(ids)) != len(ids):
                twice = next(image_id for image_id in ids if list(ids).count(image_id) > 1)
                raise StoreError(f"an image must have one row; {name!r} for {path} has two of {twice!r}")
            block_rows = (dataset.chunks or dataset.shape)[0] * 8
            for start in range(0, len(dataset), block_rows):
                if not np.isfinite(dataset[start : start + block_rows]).all():
                    raise StoreError(f"features must be finite; {name!r} written for {path} is not")


def _make_set(file: h5py.File, name: str, provenance: Mapping[str, str], shape: tuple[int, ...]) -> h5py.Group:
    group = file.create_group(f"{schema.SETS}/{name}")
    for field in schema.names(schema.PROVENANCE):
        group.attrs[field] = provenance[field]
    group.attrs[schema.KEY] = feature_key(provenance)
    rows = max(1, min(shape[0], CHUNK_BYTES // (4 * math.prod(shape[1:]))))
    group.create_dataset(schema.FEATURES, shape, np.float32, chunks=(rows, *shape[1:]), fletcher32=True)
    return group


def _ids_sha256(columns: Sequence[NDArray[np.object_]]) -> str:
    return digest([list(map(str, column)) for column in columns])


def _write_ids(group: h5py.Group, columns: Sequence[NDArray[np.object_]]) -> None:
    for name, values in zip(_IDS, columns, strict=True):
        _write_text(group, name, values)
    group.attrs[schema.IDS_SHA256] = _ids_sha256(columns)


def _write_text(group: h5py.Group, name: str, values: Sequence[str] | NDArray[np.object_]) -> None:
    group.create_dataset(name, data=np.asarray(values, dtype=object), dtype=_TEXT)


def _write_rows(file: h5py.File, table: str, rows: Sequence[Mapping[str, str]]) -> None:
    group = file.create_group(table)
    for name in schema.names(_TABLES[table]):
        _write_text(group, name, [row[name] for row in rows])
