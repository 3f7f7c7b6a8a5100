"""A study's file, read strictly: every fault is told with its line, all of them at once.

There are two forms. One says what is wanted, by the keys of `featx.study.keys`. The other one is what every verb
writes beside its output: the ``calls`` that made it, and the ``folder`` they were typed in.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from featx.errors import StudyError, known
from featx.study import keys
from featx.study.keys import KINDS, REPEATED, TABLES, Key, keys_of
from featx.study.lines import line_of, lines_of

_CALLS = {"featx", "folder", "calls"}
Fault = tuple[int, str]  # line and sentence


@dataclass(frozen=True)
class Study:
    """What a study says; values have the kinds of `featx.study.keys`, a single text among them as a list.

    Attributes
    ----------
    path : Path
        The file.
    output : Path
        Relative to the file's folder.
    tables : mapping of str to mapping
        The tables that stand once, by name, those that are not there as empty ones; "" holds the first keys.
    networks, arms : tuple of mapping
        The blocks that may be repeated.
    lines : mapping of str to int
        See `featx.study.lines.lines_of`.
    """

    path: Path
    output: Path
    tables: Mapping[str, Mapping[str, Any]]
    networks: tuple[Mapping[str, Any], ...] = ()
    arms: tuple[Mapping[str, Any], ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Calls:
    """Calls of featx as they were typed.

    Attributes
    ----------
    path : Path
        The file that tells them.
    folder : Path
        Where they were typed.
    calls : tuple of tuple of str
        The words of each, without "featx".
    """

    path: Path
    folder: Path
    calls: tuple[tuple[str, ...], ...]


def read_study(path: Path) -> Study | Calls:
    """Read a study's file.

    Raises
    ------
    StudyError
        It cannot be read, is no TOML, or says what no study says.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except OSError as error:
        raise StudyError(
            f"a study must be a readable file; {path} is not ({error.strerror}); write one with `featx init`"
        ) from error
    except ValueError as error:  # no UTF-8, no TOML
        raise StudyError(f"a study must be written in TOML; {path} is not ({error}); mend that place") from error
    lines = lines_of(text)
    if "calls" in found:
        return _calls(path, found, lines)
    faults: list[Fault] = []
    tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES if name not in REPEATED}
    blocks: dict[str, list[dict[str, Any]]] = {name: [] for name in REPEATED}
    for name, place, values in _tables(found, lines, faults):
        read = _table(name, place, values, lines, faults)
        if name in REPEATED:
            blocks[name].append(read)
        else:
            tables[name] = read
    faults += [(1, _lacking(name)) for name in ("cohort", "phenotypes") if name not in found]
    check_faults(path, faults)
    return Study(
        path,
        Path(tables[""].get("output", path.stem)),
        tables,
        tuple(blocks["networks"]),
        tuple(blocks["arms"]),
        lines,
    )


def check_faults(path: Path, faults: Sequence[Fault]) -> None:
    """Refuse a study that has faults.

    Raises
    ------
    StudyError
        One sentence where there is one; else one for each, in the order of their lines.
    """
    told = [f"line {line}: {sentence}" for line, sentence in sorted(dict.fromkeys(faults))]
    if len(told) == 1:
        raise StudyError(f"{path}, {told[0]}")
    if told:
        raise StudyError(
            f"a study must be right before anything runs; {path} has {len(told)} faults:\n  " + "\n  ".join(told)
        )


def nearest(got: str, there: Sequence[str]) -> str:
    """The end of a sentence that refuses an unknown name: the nearest one, and all that are known.

    Examples
    --------
    >>> nearest("phenotype", ["images", "phenotypes"])
    "did you mean 'phenotypes'? known are 'images', 'phenotypes'"
    """
    near = get_close_matches(got, there, n=1, cutoff=0.6)
    return (f"did you mean {near[0]!r}? " if near else "") + known(there)


def _tables(
    found: Mapping[str, Any], lines: Mapping[str, int], faults: list[Fault]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Name, path and values of every table; what is none, or must not be repeated, becomes a fault."""
    yield "", "", {name: value for name, value in found.items() if name not in TABLES}
    for name in [name for name in found if name in TABLES and name]:
        value = found[name]
        if name in REPEATED:
            several = [value] if isinstance(value, dict) else value
            if isinstance(several, list) and all(isinstance(one, dict) for one in several):
                places = [name] if several is not value else [f"{name}[{at}]" for at in range(len(several))]
                yield from ((name, place, one) for place, one in zip(places, several, strict=True))
                continue
        elif isinstance(value, dict):
            yield name, name, value
            continue
        wanted = f"[[{name}]]" if name in REPEATED else f"[{name}]"
        faults.append(
            (line_of(lines, f"{name}[0]"), f"{name!r} must be a table; it is none; write {wanted} above its keys")
        )


def _table(
    name: str, place: str, values: Mapping[str, Any], lines: Mapping[str, int], faults: list[Fault]
) -> dict[str, Any]:
    """The values of a table that are as they must be; the others become faults."""
    allowed, read = keys_of(name), {}
    said = f"[{name}]" if name else "a study"
    for key, value in values.items():
        at = f"{place}.{key}" if place else key
        if key not in allowed:
            there = [*allowed, *(TABLES if not name else ())]
            what = f"a key of {said}" if name else "a table or first key of a study"
            known_ones = nearest(key, [one for one in there if one])
            faults.append((line_of(lines, at), f"{what} must be known; {key!r} is not; {known_ones}"))
            continue
        try:
            read[key] = _READERS[allowed[key].kind](value)
        except (TypeError, ValueError):
            kind = KINDS[allowed[key].kind]
            example = f"{key} = {allowed[key].example}"
            sentence = f"{key!r} of {said} must be {kind}; got {value!r}; write, say, {example}"
            faults.append((line_of(lines, at), sentence))
    for one in allowed.values():
        if one.is_needed and one.name not in values:
            faults.append((line_of(lines, place), _lacking(name, one)))
    return read


def _lacking(table: str, key: Key | None = None) -> str:
    key = key or next(one for one in keys_of(table).values() if one.is_needed)
    return f"[{table}] must have {key.name!r} ({key.says}); it has none; write {key.name} = {key.example}"


# --- kinds ----------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _texts(value: Any) -> list[str]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not several:
        raise TypeError
    return [_text(one) for one in several]


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if not isinstance(_number(value), int):
        raise TypeError
    return int(value)


def _numbers(value: Any) -> str:
    """As it is typed: numbers with commas between them, or the word that is given."""
    if isinstance(value, str):
        return _text(value)
    several = value if isinstance(value, list) else [value]
    if not several:
        raise TypeError
    return ",".join(str(_number(one)) for one in several)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A table without tables in it: their keys are joined by dots, as TOML divides ``a.b = 1``."""
    if not isinstance(value, dict):
        raise TypeError
    flat: dict[str, Any] = {}
    for key, one in value.items():
        flat |= _flat(one, f"{prefix}{key}.") if isinstance(one, dict) else {f"{prefix}{key}": one}
    return flat


def _named(value: Any) -> dict[str, str]:
    return {name: _text(one) for name, one in _flat(value).items()}


def _settings(value: Any) -> dict[str, str]:
    """Values as they are typed: true and false in small letters."""
    flat = _flat(value)
    if not all(isinstance(one, str | int | float) for one in flat.values()):
        raise TypeError
    return {name: str(one).lower() if isinstance(one, bool) else str(one) for name, one in flat.items()}


def _grids(value: Any) -> dict[str, dict[str, list[Any]]]:
    if not isinstance(value, dict) or not all(
        isinstance(grid, dict) and all(isinstance(one, list) for one in grid.values()) for grid in value.values()
    ):
        raise TypeError
    return value


def _heads(value: Any) -> bool | list[str]:
    return value if isinstance(value, bool) else _texts(value)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys((keys.TEXT, keys.FILE), _text),
    **dict.fromkeys((keys.TEXTS, keys.FILES, keys.SOURCES), _texts),
    **dict.fromkeys((keys.FLAG, keys.ON), _flag),
    **dict.fromkeys((keys.NAMED, keys.NAMED_FILES), _named),
    keys.WHOLE: _whole,
    keys.NUMBER: _number,
    keys.NUMBERS: _numbers,
    keys.SETTINGS: _settings,
    keys.GRIDS: _grids,
    keys.HEADS: _heads,
}


# --- calls ----------------------------------------------------------------------------------------------------


def _calls(path: Path, found: Mapping[str, Any], lines: Mapping[str, int]) -> Calls:
    faults = [
        (
            line_of(lines, key),
            f"a key of a file of calls must be known; {key!r} is not; {nearest(key, sorted(_CALLS))}",
        )
        for key in found
        if key not in _CALLS
    ]
    calls, folder = found["calls"], found.get("folder", ".")
    words: list[tuple[str, ...]] = []
    if not isinstance(folder, str):
        faults.append((line_of(lines, "folder"), f"'folder' must be a text; got {folder!r}; write folder = \"..\""))
        folder = "."
    if not isinstance(calls, list) or not calls:
        faults.append(
            (line_of(lines, "calls"), f"'calls' must be a list of texts; got {calls!r}; see `featx run --help`")
        )
        calls = []
    for one in calls:
        try:
            first, *rest = shlex.split(one) if isinstance(one, str) else [""]
        except ValueError:
            first, rest = "", []
        if first != "featx" or not rest or re.match("-|run$", rest[0]):  # a file could run itself
            sentence = (
                f"a call must be one of featx, as it is typed, but of featx run; got {one!r}; write 'featx fit ...'"
            )
            faults.append((line_of(lines, "calls"), sentence))
        words.append(tuple(rest))
    check_faults(path, faults)
    return Calls(path, path.parent / folder, tuple(words))
