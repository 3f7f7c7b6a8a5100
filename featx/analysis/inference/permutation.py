"""Permutation of phenotypes among people, p-values from what permuted ones give, false discoveries over targets."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from featx.analysis.folds.strata import Labels
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, known

FDR_METHODS: dict[str, Literal["bh", "by"]] = {"bh": "bh", "by": "by"}


def permutations(groups: Labels, n: int, random_state: int = 0, blocks: Labels | None = None) -> NDArray[np.intp]:
    """Orders of the rows in which people have changed places.

    A person's rows go together: people exchange places with people who have as many rows, in the same blocks, and
    the rows keep their order. Whoever has no such partner stays, which makes a test conservative.

    Parameters
    ----------
    groups : ndarray of shape (n_rows,)
        People.
    n : int
        Orders; some may be equal, or leave all rows where they are.
    random_state : int
    blocks : ndarray of shape (n_rows,), optional
        Labels, such as sites, within which people are exchanged.

    Returns
    -------
    ndarray of shape (n, n_rows), int
        ``y[order]`` is a permuted phenotype.

    Raises
    ------
    AnalysisError
        No two people can be exchanged.

    Examples
    --------
    >>> permutations(np.array(["a", "b", "b", "c"]), 3, random_state=1).tolist()
    [[0, 1, 2, 3], [0, 1, 2, 3], [3, 1, 2, 0]]
    """
    classes = _exchangeable(groups, np.zeros(len(groups), dtype=str) if blocks is None else blocks)
    if not any(len(rows) > 1 for rows in classes):
        raise AnalysisError(
            "permutations must have people who can be exchanged; no two have equally many rows in the same blocks; "
            "leave the blocks out, or keep one image per person"
        )
    rng = np.random.default_rng(random_state)
    orders = np.tile(np.arange(len(groups), dtype=np.intp), (n, 1))
    for rows in classes:
        places = rng.permuted(np.tile(np.arange(len(rows)), (n, 1)), axis=1)
        orders[:, rows.ravel()] = rows[places].reshape(n, -1)
    return orders


def _exchangeable(groups: Labels, blocks: Labels) -> list[NDArray[np.intp]]:
    """For each set of exchangeable people their rows, shape (n_people, n_rows_each)."""
    rows_of: dict[str, list[int]] = {}
    for row, person in enumerate(groups.astype(str)):
        rows_of.setdefault(person, []).append(row)
    text = blocks.astype(str)
    classes: dict[tuple[str, ...], list[list[int]]] = {}
    for rows in rows_of.values():
        classes.setdefault(tuple(text[rows]), []).append(rows)
    return [np.array(one, dtype=np.intp) for one in classes.values()]


def p_value(observed: float, null: ArrayLike, *, higher_is_better: bool) -> float:
    """Share of permutations that are as good as what was observed, which itself counts as one.

    Parameters
    ----------
    observed : float
        A metric.
    null : array-like of shape (n_permutations,)
        The same of permuted phenotypes; NaN (undefined) are left out. Equal within rounding is as good.
    higher_is_better : bool
        Of the metric.

    Returns
    -------
    float
        One-sided, ``(1 + as good) / (1 + n)`` (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39); NaN where the
        observed is, or where there is no permutation.

    Examples
    --------
    >>> p_value(0.9, [0.1, 0.5, 0.95], higher_is_better=True), p_value(0.9, [0.95, 1.2, 1.3], higher_is_better=False)
    (0.5, 0.25)
    """
    values = np.asarray(null, dtype=np.float64)
    values = values[np.isfinite(values)]
    if np.isnan(observed) or not len(values):
        return float("nan")
    sign = 1.0 if higher_is_better else -1.0
    as_good = int((sign * values >= sign * observed - 1e-9 * abs(observed)).sum())
    return (1 + as_good) / (1 + len(values))


def fdr(p: ArrayLike, method: str = "bh") -> Floats:
    """p-values over several targets, adjusted so that those below q hold a share of q false discoveries at most.

    Parameters
    ----------
    p : array-like of shape (n_targets,)
        NaN stays NaN and does not count as a test.
    method : str
        "bh" (Benjamini & Hochberg 1995, J R Stat Soc B 57:289; independent or positively dependent targets) or "by"
        (Benjamini & Yekutieli 2001, Ann Stat 29:1165; any dependence).

    Raises
    ------
    AnalysisError
        Unknown method.

    Examples
    --------
    >>> fdr([0.01, 0.04, float("nan"), 0.03]).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    if method not in FDR_METHODS:
        raise AnalysisError(f"a control of false discoveries must be known; {method!r} is not; {known(FDR_METHODS)}")
    q: Floats = np.array(p, dtype=np.float64)
    tested = ~np.isnan(q)
    if tested.any():
        q[tested] = stats.false_discovery_control(q[tested], method=FDR_METHODS[method])
    return q
