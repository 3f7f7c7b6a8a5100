"""Conditions on the rows of a table, such as ``site == 'HH' and age >= 50``: a small language, and nothing runs."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.analysis.cohort.targets import known_columns, number_text, to_numbers
from featx.errors import CohortError, first_line

_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`""")
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True)
class _Condition:
    """A condition, the table it is about, and the columns that stand in backticks by their stand-ins."""

    text: str
    table: pd.DataFrame
    columns: Mapping[str, str]


@dataclass(frozen=True)
class _Side:
    """One side of a comparison, for every row: its text ("" where missing) and its number (NaN where it is none)."""

    text: NDArray[np.object_]
    number: NDArray[np.float64]
    is_quoted: bool = False


def where(table: pd.DataFrame, expression: str) -> NDArray[np.bool_]:
    """Rows of a table that meet a condition.

    Parameters
    ----------
    table : DataFrame
        Cells are text or NaN.
    expression : str
        Comparisons (``== != < <= > >= in``, ``not in``) of columns with numbers and quoted text, joined by ``and``,
        ``or``, ``not`` and parentheses; ``missing(COLUMN)`` is true where a cell is empty. A column whose name is
        no plain word stands in backticks. Two numbers are compared as numbers; what is quoted is compared as text,
        as dates written YYYY-MM-DD may be. "" is met by every row.

    Returns
    -------
    ndarray of shape (n_rows,), bool
        A comparison with an empty cell is false, ``!=`` and ``not in`` included; ``not`` turns that into true.

    Raises
    ------
    CohortError
        The condition is of another form, names an unknown column, or asks whether text is more than a number.

    Examples
    --------
    >>> table = pd.DataFrame({"site": ["HH", "IOP", "HH"], "age (years)": ["61", "70", None]}, dtype=object)
    >>> where(table, "site == 'HH' and `age (years)` >= 50").tolist()
    [True, False, False]
    >>> where(table, "site in ['HH', 'IOP'] and not missing(`age (years)`)").tolist()
    [True, True, False]
    """
    if not expression.strip():
        return np.ones(len(table), dtype=bool)
    columns: dict[str, str] = {}

    def stand_in(quoted: re.Match[str]) -> str:
        if quoted[0][0] != "`":
            return quoted[0]
        columns[f"_in_backticks_{len(columns)}"] = quoted[0][1:-1]
        return list(columns)[-1]

    try:
        tree = ast.parse(_QUOTED.sub(stand_in, expression.strip()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CohortError(
            f"a condition must read like \"site == 'HH' and age >= 50\"; {expression!r} does not "
            f"({first_line(error)}); put text in quotes and column names that are no plain words in backticks"
        ) from error
    return _truth(tree, _Condition(expression, table, columns))


def _truth(node: ast.expr, condition: _Condition) -> NDArray[np.bool_]:
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [_truth(one, condition) for one in values]
            join_all = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return np.asarray(join_all.reduce(parts), dtype=bool)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return ~_truth(operand, condition)
        case ast.Call(func=ast.Name(id="missing"), args=[ast.Name() as name], keywords=[]):
            return np.asarray(_side(name, condition).text == "", dtype=bool)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            pairs = zip([left, *rights], ops, rights, strict=False)  # a < b < c
            return np.asarray(np.logical_and.reduce([_compare(*one, condition) for one in pairs]), dtype=bool)
    raise _unfit(node, condition)


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, condition: _Condition) -> NDArray[np.bool_]:
    a = _side(left, condition)
    if isinstance(op, ast.In | ast.NotIn):
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise _unfit(right, condition)
        sides = [_side(one, condition) for one in right.elts]
        found = np.logical_or.reduce([np.zeros(len(a.text), dtype=bool), *(_equal(a, b) for b in sides)])
        return np.asarray(found if isinstance(op, ast.In) else ~found & (a.text != ""), dtype=bool)
    b = _side(right, condition)
    present = np.asarray((a.text != "") & (b.text != ""), dtype=bool)
    if isinstance(op, ast.Eq | ast.NotEq):
        return _equal(a, b) if isinstance(op, ast.Eq) else present & ~_equal(a, b)
    if type(op) not in _ORDER:
        raise _unfit(left, condition)
    numbers = ~np.isnan(a.number) & ~np.isnan(b.number)
    mixed = present & (np.isnan(a.number) != np.isnan(b.number)) & (not (a.is_quoted or b.is_quoted))
    if mixed.any():
        at = int(mixed.argmax())
        raise CohortError(
            f"more and less must be asked of two numbers or two texts; {condition.text!r} compares "
            f"{str(a.text[at])!r} with {str(b.text[at])!r} in {condition.table.index.name or 'row'} "
            f"{condition.table.index[at]}; write n/a in that cell, or put the number in quotes"
        )
    order = _ORDER[type(op)]
    holds: NDArray[np.bool_] = present & np.where(
        numbers, order(a.number, b.number), np.asarray(order(a.text, b.text), dtype=bool)
    )
    return holds


def _equal(a: _Side, b: _Side) -> NDArray[np.bool_]:
    numbers = ~np.isnan(a.number) & ~np.isnan(b.number)
    equal = np.where(numbers, a.number == b.number, np.asarray(a.text == b.text, dtype=bool))
    return np.asarray(equal & (a.text != "") & (b.text != ""), dtype=bool)


def _side(node: ast.expr, condition: _Condition) -> _Side:
    n = len(condition.table)
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            number = float(sign * value)
            return _Side(np.full(n, number_text(number), dtype=object), np.full(n, number))
        case ast.Constant(value=str() as text) if sign == 1:
            return _Side(np.full(n, text, dtype=object), np.full(n, np.nan), is_quoted=True)
        case ast.Name(id=word) if sign == 1:
            name = condition.columns.get(word, word)
            if name not in condition.table:
                raise CohortError(
                    f"a condition must be about columns of the table; {name!r} of {condition.text!r} is none; "
                    f"{known_columns(name, [str(one) for one in condition.table])}"
                )
            cells = condition.table[name]
            column = cells.astype(object).where(cells.notna(), "").astype(str).to_numpy(dtype=object)
            return _Side(column, to_numbers(cells).to_numpy(dtype=np.float64))
    raise _unfit(node, condition)


def _unfit(node: ast.expr, condition: _Condition) -> CohortError:
    return CohortError(
        f"a condition must compare columns with numbers, quoted text or lists of these; {condition.text!r} holds "
        f"{ast.unparse(node)!r}; write it like \"site == 'HH' and age >= 50 and not missing(sex)\""
    )
