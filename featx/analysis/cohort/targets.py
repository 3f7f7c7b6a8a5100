"""One phenotype as a target: numbers, or classes with their levels."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import TargetError, known

CONTINUOUS = "continuous"
ORDINAL = "ordinal"
BINARY = "binary"
MULTICLASS = "multiclass"
KINDS = (CONTINUOUS, ORDINAL, BINARY, MULTICLASS)
MOST_CLASSES = 20


@dataclass(frozen=True)
class Target:
    """One phenotype of the people who have a value.

    Attributes
    ----------
    name : str
    kind : str
        One of `KINDS`.
    classes : tuple of str
        Levels, sorted (by number where all are numbers); empty for a continuous target.
    y : ndarray of shape (n_with_value,)
        float64 in the phenotype's own unit, or int64 positions in `classes`.
    rows : ndarray of shape (n_with_value,), int
        Rows of the matched table that have a value.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    y: NDArray[np.float64] | NDArray[np.int64]
    rows: NDArray[np.intp]


def make_target(phenotypes: pd.DataFrame, name: str, override: str | None = None) -> Target:
    """Read one column of the matched phenotypes as a target.

    Parameters
    ----------
    phenotypes : DataFrame
        One row per image, index participant_id.
    name : str
    override : str, optional
        The kind, where it is not to be inferred.

    Raises
    ------
    TargetError
        With the codes unknown-target, all-missing, constant-target, non-finite-target, not-a-number,
        too-many-classes and wrong-kind.
    """
    if name not in phenotypes:
        raise TargetError("unknown-target", _unknown(name, [str(one) for one in phenotypes]))
    column = phenotypes[name]
    rows = np.flatnonzero(column.notna().to_numpy())
    values = column.iloc[rows]
    kind = infer_kind(values, override)
    if kind == CONTINUOUS:
        return Target(name, kind, (), _numbers(values), rows)
    levels = _levels(values)
    classes = _sorted_levels(levels)
    code = {level: at for at, level in enumerate(classes)}
    return Target(name, kind, classes, np.array([code[one] for one in levels], dtype=np.int64), rows)


def infer_kind(values: pd.Series, override: str | None = None) -> str:
    """Whether a phenotype is continuous, binary or multiclass.

    Numbers of two values are binary, other numbers continuous; text of two levels is binary, of three to twenty
    multiclass. A column is text when fewer than half of its values are numbers.

    Parameters
    ----------
    values : Series
        Name of the phenotype, index participant_id; NaN is missing and left out.
    override : str, optional
        The kind that is wished for; it must be possible.

    Raises
    ------
    TargetError
        See `make_target`.

    Examples
    --------
    >>> infer_kind(pd.Series(["38.8", "46.7", "34"]))
    'continuous'
    >>> infer_kind(pd.Series(["M", "F", "M"])), infer_kind(pd.Series([0, 1, 1])), infer_kind(pd.Series(list("abc")))
    ('binary', 'binary', 'multiclass')
    """
    name, values = str(values.name), values.dropna()
    if override is not None and override not in KINDS:
        raise TargetError(
            "wrong-kind", f"the kind of a target must be known; {override!r} is not, for {name!r}; {known(KINDS)}"
        )
    if not len(values):
        raise TargetError(
            "all-missing",
            f"a target must have values; {name!r} is empty for every matched person; choose another column",
        )
    _check_varies(name, values)
    if override == CONTINUOUS or (override is None and _is_numeric(name, values)):
        _check_numbers(name, values)
        n_values = len(np.unique(_numbers(values)))
        return BINARY if n_values == 2 and override is None else CONTINUOUS
    return _class_kind(name, len(set(_levels(values))), override)


def _is_numeric(name: str, values: pd.Series) -> bool:
    """Whether a column is of numbers; refuses one that mostly is."""
    good = _parsed(values).notna()
    if good.all() or not good.any():
        return bool(good.all())
    if good.mean() >= 0.5:
        _check_numbers(name, values)
    return False


def _check_varies(name: str, values: pd.Series) -> None:
    levels = set(_levels(values))
    if len(levels) == 1:
        raise TargetError(
            "constant-target",
            f"a target must vary; {name!r} is {levels.pop()!r} for all {len(values)} matched rows; "
            "choose another column, or add people",
        )


def _check_numbers(name: str, values: pd.Series) -> None:
    numbers = _parsed(values)
    text = np.flatnonzero(numbers.isna().to_numpy())
    if len(text):
        raise TargetError(
            "not-a-number",
            f"a continuous target must hold numbers; {name!r} holds {str(values.iloc[text[0]])!r}, at participant "
            f"{str(values.index[text[0]])!r}; write n/a there, or make it a target of classes",
        )
    infinite = np.flatnonzero(~np.isfinite(numbers.to_numpy(dtype=np.float64)))
    if len(infinite):
        raise TargetError(
            "non-finite-target",
            f"a target must be finite; {name!r} is {str(values.iloc[infinite[0]])!r}, at participant "
            f"{str(values.index[infinite[0]])!r}; write the number, or n/a",
        )


def _class_kind(name: str, n_levels: int, override: str | None) -> str:
    kind = BINARY if n_levels == 2 else MULTICLASS
    if n_levels > MOST_CLASSES:
        raise TargetError(
            "too-many-classes",
            f"a target of text must have at most {MOST_CLASSES} levels; {name!r} has {n_levels}; "
            "merge levels, or choose another column",
        )
    if override is not None and override != kind:
        raise TargetError(
            "wrong-kind",
            f"a {override} target must have {'two levels' if override == BINARY else 'three levels or more'}; "
            f"{name!r} has {n_levels}; leave the kind out to have it inferred",
        )
    return kind


def _parsed(values: pd.Series) -> pd.Series:
    """Numbers, NaN where a value is none."""
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return pd.to_numeric(values.astype(str).str.strip(), errors="coerce").astype(np.float64)


def _numbers(values: pd.Series) -> NDArray[np.float64]:
    return _parsed(values).to_numpy(dtype=np.float64)


def _levels(values: pd.Series) -> list[str]:
    """Text of every value; numbers in their shortest form, so that 1 and 1.0 are one level."""
    numbers = _parsed(values)
    if numbers.notna().all():
        return [number_text(one) for one in numbers]
    return [str(one).strip() for one in values]


def _sorted_levels(levels: list[str]) -> tuple[str, ...]:
    unique = sorted(set(levels))
    numbers = pd.to_numeric(pd.Series(unique, dtype=object), errors="coerce")
    return tuple(sorted(unique, key=float)) if numbers.notna().all() else tuple(unique)


def number_text(value: float) -> str:
    """A number in its shortest form that reads back equal.

    Examples
    --------
    >>> number_text(2.0), number_text(38.78)
    ('2', '38.78')
    """
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _unknown(name: str, columns: list[str]) -> str:
    near = difflib.get_close_matches(name, columns, n=10, cutoff=0.3) if len(columns) > 20 else columns
    which = known(near) if len(near) == len(columns) else f"it has {len(columns)} columns, nearest {known(near)[10:]}"
    return f"a target must be a column of the phenotype table; {name!r} is not; {which}"
