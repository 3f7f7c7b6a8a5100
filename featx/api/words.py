"""Options as Python has them: one or several, a mapping, or the words NAME=VALUE that the command line has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx.errors import AnalysisError

Words = Mapping[str, Any] | Sequence[str]  # {"income": "multiclass"}, or ["income=multiclass"]


def many(value: Any) -> list[Any]:
    """One or several as a list; a text, a path and a table are one.

    Examples
    --------
    >>> many("age"), many(("age", "sex")), many([])
    (['age'], ['age', 'sex'], [])
    """
    if isinstance(value, str | Path | pd.DataFrame) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def path_of(one: Any, what: str, wanted: str) -> Path:
    """A file's or a folder's name as a path.

    Raises
    ------
    AnalysisError
        It is no name.

    Examples
    --------
    >>> path_of("run/", "a run", "a folder")
    PosixPath('run')
    """
    if isinstance(one, str | Path):
        return Path(one)
    raise AnalysisError(f"{what} must be {wanted}; got {type(one).__name__}; give one of these")


def told(words: Words, option: str, example: str) -> dict[str, Any]:
    """What is told by name: a mapping as it is, words of the command line taken apart.

    Examples
    --------
    >>> told({"income": "multiclass"}, "--kind", "") == told(["income=multiclass"], "--kind", "")
    True
    """
    return dict(words) if isinstance(words, Mapping) else pairs(many(words), option, example)


def pairs(words: Sequence[str], option: str, example: str) -> dict[str, str]:
    """Options of the form NAME=VALUE; of a kind the last '=' counts, for a target's name may hold one.

    Raises
    ------
    AnalysisError
        A word has another form, or two tell of one name.

    Examples
    --------
    >>> pairs(["volumes=a=b.tsv"], "--table", "volumes=volumes.tsv"), pairs(["a=b=ordinal"], "--kind", "")
    ({'volumes': 'a=b.tsv'}, {'a=b': 'ordinal'})
    """
    found = [word.partition("=") if option != "--kind" else word.rpartition("=") for word in words]
    for word, (name, _, value) in zip(words, found, strict=True):
        if not name or not value:
            raise AnalysisError(f"{option} must be NAME=VALUE; got {word!r}; write, say, {option} {example}")
        if [one for one, _, _ in found].count(name) > 1:
            raise AnalysisError(f"{option} must tell of a name once; got {name!r} several times; leave one of them")
    return {name: value for name, _, value in found}


def loss_weights(words: Words) -> dict[str, float]:
    """Weights of targets in a loss, from a mapping or options of the form TARGET=NUMBER.

    Raises
    ------
    AnalysisError
        One is no number from 0.
    """
    found = {}
    for name, text in told(words, "--loss-weight", "sex=0.5").items():
        number = pd.to_numeric(text, errors="coerce")
        if not 0 <= number < np.inf:
            raise AnalysisError(
                f"a weight in the loss must be a number from 0; got {text!r} for {name!r}; write, say, 0.5"
            )
        found[name] = float(number)
    return found
