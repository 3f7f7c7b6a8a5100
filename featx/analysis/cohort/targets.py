"""One phenotype as a target: numbers, ordered levels, or classes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

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
NO_LEVELS: Mapping[str, str] = MappingProxyType({})
_WITH_ARTICLE = {BINARY: "a binary", MULTICLASS: "a multiclass", ORDINAL: "an ordinal"}


@dataclass(frozen=True)
class Target:
    """One phenotype of the people who have a value.

    Attributes
    ----------
    name : str
    kind : str
        One of `KINDS`.
    classes : tuple of str
        Levels in their order (by number where all are numbers, else as the table's sidecar lists them for an
        ordinal target, else by the alphabet), by their labels where these are known; empty for a continuous target.
    y : ndarray of shape (n_with_value,)
        float64 in the phenotype's own unit; for an ordinal target float64 too, the level's own number where all
        levels are numbers, else its rank from 1; int64 positions in `classes` for the others.
    rows : ndarray of shape (n_with_value,), int
        Rows of the matched table that have a value.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    y: NDArray[np.float64] | NDArray[np.int64]
    rows: NDArray[np.intp]


def make_target(
    phenotypes: pd.DataFrame,
    name: str,
    override: str | None = None,
    *,
    levels: Mapping[str, str] = NO_LEVELS,
    expected: str | None = None,
) -> Target:
    """Read one column of the matched phenotypes as a target.

    Parameters
    ----------
    phenotypes : DataFrame
        One row per image, index participant_id.
    name : str
    override : str, optional
        The kind, where it is not to be inferred.
    levels : mapping of str to str
        Codes of the column to their labels, in their order. The target shows labels in place of codes.
    expected : str, optional
        The kind that the table's own description gives it: taken where the values allow it.

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
    kind = infer_kind(values, override, levels=levels, expected=expected)
    if kind == CONTINUOUS:
        return Target(name, kind, (), _numbers(values), rows)
    codes = level_codes(values)
    order = _ordered(name, codes, levels) if kind == ORDINAL else _sorted_levels(codes)
    classes = _labelled(order, levels)
    if kind == ORDINAL:
        steps = [float(one) for one in order] if _all_numbers(order) else list(range(1, len(order) + 1))
        step = dict(zip(order, steps, strict=True))
        return Target(name, kind, classes, np.array([step[one] for one in codes], dtype=np.float64), rows)
    place = {level: at for at, level in enumerate(order)}
    return Target(name, kind, classes, np.array([place[one] for one in codes], dtype=np.int64), rows)


def infer_kind(
    values: pd.Series,
    override: str | None = None,
    *,
    levels: Mapping[str, str] = NO_LEVELS,
    expected: str | None = None,
) -> str:
    """Whether a phenotype is continuous, ordinal, binary or multiclass.

    Numbers of two values are binary, other numbers continuous; text of two levels is binary, of three to twenty
    multiclass. A column is text when fewer than half of its values are numbers, or when `levels` tells a label of
    every value. No column is ordinal unless it is said to be.

    Parameters
    ----------
    values : Series
        Name of the phenotype, index participant_id; NaN is missing and left out.
    override : str, optional
        The kind that is wished for; it must be possible.
    levels, expected
        As in `make_target`. An expected kind that is not possible is passed over.

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
    >>> infer_kind(pd.Series([0, 1, 2]), levels={"0": "never", "1": "previous", "2": "current"})
    'multiclass'
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
    codes = level_codes(values)
    wished = override or _possible(expected, codes, levels)
    if wished is None and not _all_listed(codes, levels) and _is_numeric(name, values):
        _check_numbers(name, values)
        return BINARY if len(set(codes)) == 2 else CONTINUOUS
    if wished == CONTINUOUS or (wished == ORDINAL and _all_numbers(codes)):
        _check_numbers(name, values)
    if wished == CONTINUOUS:
        return CONTINUOUS
    return _class_kind(name, len(set(codes)), wished)


def _possible(expected: str | None, codes: list[str], levels: Mapping[str, str]) -> str | None:
    """The expected kind, or None where the values are of another one."""
    n_levels = len(set(codes))
    possible = {
        CONTINUOUS: _all_numbers(codes),
        ORDINAL: 3 <= n_levels <= MOST_CLASSES and (_all_numbers(codes) or _all_listed(codes, levels)),
        BINARY: n_levels == 2,
        MULTICLASS: 3 <= n_levels <= MOST_CLASSES,
    }
    return expected if expected is not None and possible[expected] else None


def _all_listed(codes: Iterable[str], levels: Mapping[str, str]) -> bool:
    """Whether every value has a label, and they are few enough to be classes."""
    unique = set(codes)
    return len(unique) <= MOST_CLASSES and unique <= set(_labels(levels))


def _is_numeric(name: str, values: pd.Series) -> bool:
    """Whether a column is of numbers; refuses one that mostly is."""
    good = to_numbers(values).notna()
    if good.all() or not good.any():
        return bool(good.all())
    if good.mean() >= 0.5:
        _check_numbers(name, values)
    return False


def _check_varies(name: str, values: pd.Series) -> None:
    levels = set(level_codes(values))
    if len(levels) == 1:
        raise TargetError(
            "constant-target",
            f"a target must vary; {name!r} is {levels.pop()!r} for all {len(values)} matched rows; "
            "choose another column, or add people",
        )


def _check_numbers(name: str, values: pd.Series) -> None:
    numbers = to_numbers(values)
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


def _class_kind(name: str, n_levels: int, wished: str | None) -> str:
    kind = BINARY if n_levels == 2 else MULTICLASS
    if n_levels > MOST_CLASSES:
        raise TargetError(
            "too-many-classes",
            f"a target of text must have at most {MOST_CLASSES} levels; {name!r} has {n_levels}; "
            "merge levels, or choose another column",
        )
    if wished == ORDINAL and n_levels >= 3:
        return ORDINAL
    if wished is not None and wished != kind:
        needed = "two levels" if wished == BINARY else "three levels or more"
        raise TargetError(
            "wrong-kind",
            f"{_WITH_ARTICLE[wished]} target must have {needed}; {name!r} has {n_levels}; "
            "leave the kind out to have it inferred",
        )
    return kind


# --- levels ---------------------------------------------------------------------------------------------------


def to_numbers(values: pd.Series) -> pd.Series:
    """The numbers that cells say, float64; NaN where a cell is empty or says none."""
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return pd.to_numeric(values.astype(str).str.strip(), errors="coerce").astype(np.float64)


def _numbers(values: pd.Series) -> NDArray[np.float64]:
    return to_numbers(values).to_numpy(dtype=np.float64)


def level_codes(values: pd.Series) -> list[str]:
    """Text of every value; numbers in their shortest form, so that 1 and 1.0 are one level.

    Examples
    --------
    >>> level_codes(pd.Series(["1", "1.0", "2+"]))
    ['1', '1', '2+']
    """
    pairs = zip(values, to_numbers(values), strict=True)
    return [str(one).strip() if np.isnan(number) else number_text(number) for one, number in pairs]


def _labels(levels: Mapping[str, str]) -> dict[str, str]:
    """Labels by the code as `level_codes` writes it."""
    return dict(zip(level_codes(pd.Series(list(levels), dtype=object)), levels.values(), strict=True))


def _sorted_levels(levels: Iterable[str]) -> tuple[str, ...]:
    unique = sorted(set(levels))
    return tuple(sorted(unique, key=float)) if _all_numbers(unique) else tuple(unique)


def _all_numbers(levels: Iterable[str]) -> bool:
    return bool(pd.to_numeric(pd.Series(list(levels), dtype=object), errors="coerce").notna().all())


def _ordered(name: str, codes: list[str], levels: Mapping[str, str]) -> tuple[str, ...]:
    """Levels of an ordinal target in their order, which the alphabet does not know."""
    unique = _sorted_levels(codes)
    if _all_numbers(unique):
        return unique
    listed = list(_labels(levels))
    without = sorted((one for one in unique if one not in listed), key=lambda one: _all_numbers([one]))
    if without:
        raise TargetError(
            "wrong-kind",
            f"an ordinal target must hold numbers, or levels whose order is known; {name!r} holds {without[0]!r}; "
            "write numbers, or list all levels in their order under 'Levels' in the table's .json",
        )
    return tuple(one for one in listed if one in unique)


def _labelled(order: Sequence[str], levels: Mapping[str, str]) -> tuple[str, ...]:
    """Labels in place of codes; the codes where two have one label."""
    label = _labels(levels)
    labels = tuple(label.get(one, one) for one in order)
    return labels if len(set(labels)) == len(labels) else tuple(order)


def number_text(value: float) -> str:
    """A number in its shortest form that reads back equal.

    Examples
    --------
    >>> number_text(2.0), number_text(38.78)
    ('2', '38.78')
    """
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def known_columns(name: str, columns: Sequence[str]) -> str:
    """The end of a sentence that refuses an unknown column: the known ones, or the nearest of very many.

    Examples
    --------
    >>> known_columns("aeg", ["age", "sex"])
    "known are 'age', 'sex'"
    """
    near = difflib.get_close_matches(name, columns, n=10, cutoff=0.3) if len(columns) > 20 else columns
    return known(near) if len(near) == len(columns) else f"it has {len(columns)} columns, nearest {known(near)[10:]}"


def _unknown(name: str, columns: list[str]) -> str:
    return f"a target must be a column of the phenotype table; {name!r} is not; {known_columns(name, columns)}"
