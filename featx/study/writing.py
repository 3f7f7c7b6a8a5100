"""Studies as text: a commented one to begin with, a published one with one's own files in it, and calls as typed."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import featx
from featx.errors import StudyError, known
from featx.study.keys import REPEATED, TABLES, keys_of
from featx.study.lines import lines_of

Values = Mapping[str, Any]
_BARE = re.compile(r"[A-Za-z0-9_\-]+")
_WIDTH = 44
_HEAD = """\
# A study of featx: one file, from images to answers.
#
#     featx run {name} --dry-run     the plan: every call, what is done already, how long it may take
#     featx run {name}               does it; again, it does only what is missing or has changed
#
# Lines such as #key = value are not in force: take the # away. They show a default or an example.
"""


def toml(value: Any) -> str:
    """A value as TOML.

    Examples
    --------
    >>> toml({"volumes": "v.tsv", "a.b": [1, True]}), toml('say "so"')
    ('{volumes = "v.tsv", "a.b" = [1, true]}', '"say \\\\"so\\\\""')
    """
    if isinstance(value, Mapping):
        pairs = (f"{name if _BARE.fullmatch(name) else toml(name)} = {toml(one)}" for name, one in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def commented(values: Mapping[str, Values | Sequence[Values]], name: str) -> str:
    """A study with every key that there is; those without a value are commented out, with a default or an example.

    Parameters
    ----------
    values : mapping
        Table ("" for the first keys) to its keys' values; a list of such for tables that may be repeated.
    name : str
        Of the file, as it is typed.
    """
    first: Any = values.get("", {})
    parts = [_HEAD.format(name=name), _keys("", first)]
    for table, says in list(TABLES.items())[1:]:
        told: Any = values.get(table, {})
        is_harmless = table in ("cohort", "phenotypes") or not any(key.is_needed for key in keys_of(table).values())
        header = f"[[{table}]]" if table in REPEATED else f"[{table}]"
        for block in told if isinstance(told, list) else [told]:
            parts.append(f"\n# {says}\n{'' if block or is_harmless else '#'}{header}\n{_keys(table, block)}")
    return "".join(parts)


def _keys(table: str, values: Values) -> str:
    lines = []
    for key in keys_of(table).values():
        line = f"{key.name} = {toml(values[key.name])}" if key.name in values else f"#{key.name} = {key.example}"
        lines.append(f"{line:{_WIDTH}}  # {key.says}\n")
    return "".join(lines)


def with_values(text: str, values: Mapping[str, Values]) -> str:
    """A study's text with other values of some keys; all else stays, comments too.

    Examples
    --------
    >>> text = '[cohort] # who\\nimages = [\\n  "a"]\\nage = "age"\\n'
    >>> print(with_values(text, {"cohort": {"images": "B/", "site": "s"}}))
    [cohort] # who
    site = "s"
    images = "B/"
    age = "age"
    <BLANKLINE>
    """
    for table, given in values.items():
        for key, value in given.items():
            rows, places = text.split("\n"), lines_of(text)
            at = places.get(f"{table}.{key}")
            line = f"{key} = {toml(value)}"
            if at is not None:
                rows[at - 1 : _end(rows, at)] = [line]
            elif table in places:
                rows.insert(places[table], line)
            else:
                rows += [f"[{table}]", line, ""]
            text = "\n".join(rows)
    return text


def _end(rows: Sequence[str], first: int) -> int:
    """The last line of a value that begins in a line."""
    for last in range(first, len(rows) + 1):
        try:
            tomllib.loads("\n".join(rows[first - 1 : last]))
        except tomllib.TOMLDecodeError:
            continue
        return last
    return first


# --- published studies ----------------------------------------------------------------------------------------


def protocols() -> dict[str, str]:
    """The studies of published works that come with featx: their names, and what each asks."""
    return {
        name: str(tomllib.loads(text).get("title", "")) for name, text in ((one, protocol(one)) for one in _names())
    }


def _names() -> list[str]:
    folder = resources.files("featx.study") / "protocols"
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(one.name.removesuffix(".toml") for one in there if one.name.endswith(".toml"))


def protocol(name: str) -> str:
    """The text of a published work's study.

    Raises
    ------
    StudyError
        There is none of that name.
    """
    if name not in _names():
        raise StudyError(f"a protocol must be one that comes with featx; {name!r} is none; {known(_names())}")
    return (resources.files("featx.study") / "protocols" / f"{name}.toml").read_text(encoding="utf-8")


# --- calls ----------------------------------------------------------------------------------------------------


def calls_text(calls: Sequence[str], folder: str) -> str:
    """The file that tells the calls that made an output.

    Parameters
    ----------
    calls : sequence of str
        As they were typed.
    folder : str
        Where they were typed, relative to the file.
    """
    told = "".join(f"    {toml(call)},\n" for call in calls)
    return (
        "# The calls that made what lies beside this file, as they were typed; `featx run` repeats them.\n"
        f"featx = {toml(featx.__version__)}\nfolder = {toml(folder)}\ncalls = [\n{told}]\n"
    )
