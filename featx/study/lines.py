"""Where the keys of a TOML text stand, for tomllib does not tell. Keys are plain words, as a study's are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\-]+)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w\-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w\-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w\-]+|"[^"]*"|'[^']*'""")


def lines_of(text: str) -> dict[str, int]:
    """The line of every table and key, by its path, counted from 1.

    Examples
    --------
    >>> lines_of('title = "x"\\n[cohort]\\nwhere = "a == 1"\\n[[arms]]\\n[[arms]]\\nset.epochs = 3\\n')
    {'title': 1, 'cohort': 2, 'cohort.where': 3, 'arms[0]': 4, 'arms[1]': 5, 'arms[1].set.epochs': 6}
    """
    found: dict[str, int] = {}
    blocks: Counter[str] = Counter()
    table, quote = "", ""
    for number, line in enumerate(text.splitlines(), start=1):
        if quote:  # inside a text of several lines
            quote = "" if line.count(quote) % 2 else quote
            continue
        if header := _HEADER.match(line):
            table = _table(header, blocks)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            path = ".".join(part.strip("\"'") for part in _PART.findall(key[1]))
            found.setdefault(f"{table}.{path}" if table else path, number)
        quote = next((one for one in ('"""', "'''") if line.count(one) % 2), "")
    return found


def _table(header: re.Match[str], blocks: Counter[str]) -> str:
    """The path of a table; of one that may be repeated, with its number."""
    first, dot, rest = header[2].partition(".")
    if header[1] == "[[":
        blocks[header[2]] += 1
        return f"{header[2]}[{blocks[header[2]] - 1}]"
    return f"{first}[{blocks[first] - 1}]{dot}{rest}" if blocks[first] else header[2]


def line_of(lines: Mapping[str, int], path: str) -> int:
    """The line of a key, else of what it stands in; 1 where nothing of it is found.

    Examples
    --------
    >>> line_of({"cohort": 2, "arms": 7}, "cohort.images"), line_of({"arms": 7}, "arms[0].network")
    (2, 7)
    """
    while path:
        for name in (path, re.sub(r"\[\d+\]$", "", path)):
            if name in lines:
                return lines[name]
        path = path.rpartition(".")[0]
    return 1
