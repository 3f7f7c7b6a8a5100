"""Scores of parts of the people: by site, by band of age, matched for age; and who is predicted worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.analysis.folds.strata import CLASSES, Labels, Values
from featx.analysis.inference.metrics import metrics_of, surprise
from featx.analysis.inference.scores import as_repeats, bootstrap, interval
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError

LEAST_PEOPLE = 10
BREAKDOWN_COLUMNS = ("label", "metric", "value", "low", "high", "n", "n_people")
WORST_COLUMNS = ("row", "id", "observed", "predicted", "error")


@dataclass(frozen=True)
class Scoring:
    """What is broken down.

    Attributes
    ----------
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    observed : ndarray of shape (n,) or (n_repeats, n)
    predicted : ndarray of shape (n_repeats, n) or (n_repeats, n, n_classes)
        As for `featx.analysis.inference.scores.bootstrap`, with NaN where a repeat did not test a row.
    groups : ndarray of shape (n,)
        People.
    people : ndarray of shape (n,), optional
        Those who are counted, where `groups` are larger units such as families.
    n_bootstrap, random_state : int
    least : int
        Parts with fewer people have no scores.
    """

    kind: str
    observed: Values
    predicted: Floats
    groups: Labels
    n_bootstrap: int = 2000
    random_state: int = 0
    least: int = LEAST_PEOPLE
    people: Labels | None = None


def by_label(scoring: Scoring, labels: Labels) -> pd.DataFrame:
    """Scores of the rows of every label, such as a site.

    Parameters
    ----------
    scoring : Scoring
    labels : ndarray of shape (n,), text
        Rows with "" are of no part.

    Returns
    -------
    DataFrame
        Columns `BREAKDOWN_COLUMNS`, one row per label (sorted) and metric; n counts rows that were tested. Value and
        interval are NaN for a label of fewer than `least` people, or of one class.

    Examples
    --------
    >>> y, people = np.array([1.0, 2.0, 5.0]), np.array(["a", "b", "c"])
    >>> scoring = Scoring("continuous", y, np.array([1.0, 3.0, 5.0]), people, n_bootstrap=0, least=2)
    >>> table = by_label(scoring, np.array(["x", "x", "y"]))
    >>> table.loc[table["metric"] == "mae", ["label", "value", "n", "n_people"]].values.tolist()
    [['x', 0.5, 2, 2], ['y', nan, 1, 1]]
    """
    text = labels.astype(str)
    names = np.unique(text[text != ""])
    return _by_code(scoring, np.where(text == "", -1, np.searchsorted(names, text)), names.tolist())


def by_quantile(scoring: Scoring, values: Floats, n_bands: int = 3) -> pd.DataFrame:
    """Scores of bands of a number, such as age, of about equally many rows each.

    Parameters
    ----------
    scoring : Scoring
    values : ndarray of shape (n,)
        Equal values are in one band, so that bands can be fewer. NaN are in no band.
    n_bands : int

    Returns
    -------
    DataFrame
        As from `by_label`, in rising order, labelled with the least and largest value in the band.

    Examples
    --------
    >>> y, people = np.arange(4.0), np.array(list("abcd"))
    >>> table = by_quantile(Scoring("continuous", y, y, people, n_bootstrap=0), 10 * y, n_bands=2)
    >>> list(dict.fromkeys(table["label"]))
    ['0 to 10', '20 to 30']
    """
    known = values[~np.isnan(values)]
    first = np.searchsorted(np.sort(known), values)  # rank, the same for equal values
    band = np.where(np.isnan(values), -1, first * n_bands // max(1, len(known)))
    code = np.where(band < 0, -1, np.searchsorted(np.unique(band[band >= 0]), band))
    own = [values[code == one] for one in range(code.max(initial=-1) + 1)]
    return _by_code(scoring, code, [f"{one.min():g} to {one.max():g}" for one in own])


def _by_code(scoring: Scoring, code: NDArray[np.intp], names: Sequence[str]) -> pd.DataFrame:
    repeats = as_repeats(scoring.kind, scoring.observed, scoring.predicted, scoring.groups)
    tested, at_all = repeats.tested, repeats.tested.any(axis=0)
    rows = []
    for at, name in enumerate(names):
        own = np.flatnonzero((code == at) & at_all)
        kept = tested[:, own].any(axis=1)
        counted = scoring.groups if scoring.people is None else scoring.people
        people = len(set(counted[own].astype(str)))
        levels = np.unique(repeats.observed[:, own][tested[:, own]])
        found = {}
        if people >= scoring.least and (scoring.kind not in CLASSES or len(levels) > 1):
            found = bootstrap(
                scoring.kind,
                repeats.observed[kept][:, own],
                repeats.predicted[kept][:, own],
                scoring.groups[own],
                n_bootstrap=scoring.n_bootstrap,
                random_state=scoring.random_state,
            )
        for metric in metrics_of(scoring.kind):
            value = (found[metric].value, *interval(found[metric].draws)) if found else (float("nan"),) * 3
            rows.append((name, metric, *value, len(own), people))
    return pd.DataFrame(rows, columns=list(BREAKDOWN_COLUMNS))


# --- matched for age ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AgeMatched:
    """People of two classes in pairs of about one age.

    Attributes
    ----------
    rows : ndarray of shape (n_matched,), int
        All rows of the matched people, rising.
    n_pairs : int
    gap_before_years, gap_years : float
        Mean age of the second class less that of the first, of all people and of the matched ones; NaN without any.
    """

    rows: NDArray[np.intp]
    n_pairs: int
    gap_before_years: float
    gap_years: float


def age_matched(
    observed: NDArray[np.int64], age_years: Floats, groups: Labels, *, caliper_years: float = 1.0
) -> AgeMatched:
    """Pairs of people of two classes: as many as can be within the caliper, of these the nearest; nobody twice.

    Parameters
    ----------
    observed : ndarray of shape (n,), int
        Class codes 0 and 1. Who has rows of both is left out.
    age_years : ndarray of shape (n,)
        A person's rows are averaged; people with a NaN are left out.
    groups : ndarray of shape (n,)
        People.
    caliper_years : float
        The largest difference within a pair.

    Raises
    ------
    AnalysisError
        There are other classes than 0 and 1.

    Examples
    --------
    >>> y, age = np.array([0, 0, 0, 1, 1]), np.array([50.0, 60.0, 70.0, 60.5, 90.0])
    >>> found = age_matched(y, age, np.array(list("abcde")))
    >>> found.rows.tolist(), found.n_pairs, found.gap_before_years, found.gap_years
    ([1, 3], 1, 15.25, 0.5)
    """
    if not np.isin(observed, (0, 1)).all():
        raise AnalysisError(
            f"people must be of two classes to be matched; the target has classes up to {observed.max()}; "
            "match a binary target"
        )
    people, person = np.unique(groups.astype(str), return_inverse=True)
    count = np.bincount(person)
    share, age = np.bincount(person, observed) / count, np.bincount(person, age_years) / count
    sides = [np.flatnonzero((share == one) & ~np.isnan(age)) for one in (0, 1)]
    first, second = (side[np.argsort(age[side], kind="stable")] for side in sides)
    pairs = match_on_line(age[first], age[second], caliper_years)
    matched = np.zeros(len(people), dtype=bool)
    matched[first[pairs[:, 0]]] = matched[second[pairs[:, 1]]] = True
    before = float(age[second].mean() - age[first].mean()) if len(first) and len(second) else float("nan")
    after = float((age[second[pairs[:, 1]]] - age[first[pairs[:, 0]]]).mean()) if len(pairs) else float("nan")
    return AgeMatched(np.flatnonzero(matched[person]), len(pairs), before, after)


def match_on_line(a: Floats, b: Floats, caliper: float) -> NDArray[np.intp]:
    """As many pairs as can be with ``|a - b| <= caliper``, of these the least sum of distances; each value once.

    On a line no two pairs need to cross, so that a table over sorted values finds the best in len(a) * len(b) steps:
    tens of thousands of people are matched in seconds, where a general assignment takes hours.

    Parameters
    ----------
    a : ndarray of shape (n,)
    b : ndarray of shape (m,)
        Both sorted, without NaN.
    caliper : float

    Returns
    -------
    ndarray of shape (n_pairs, 2), int
        Positions in a and b. Of equally good matchings, which one is arbitrary but always the same.

    Examples
    --------
    >>> match_on_line(np.array([1.0, 2.0]), np.array([1.9, 2.1, 9.0]), 1.0).tolist()
    [[0, 0], [1, 1]]
    """
    if len(a) > len(b):
        return match_on_line(b, a, caliper)[:, ::-1]
    reward = (len(a) + 1) * caliper + 1.0  # of a pair: more than all distances together
    best = np.zeros(len(b) + 1)  # of the values of a so far with the first 0, 1, ... of b
    # Two bits per cell: whether the newest a is paired with this b at all, and whether this b beats the ones before.
    paired, newest = [], []
    for value in a:
        distance = np.abs(b - value)
        with_pair = np.where(distance <= caliper, best[:-1] + reward - distance, -1.0)
        take = np.r_[False, with_pair > best[1:]]
        best[1:] = np.maximum(best[1:], with_pair)
        reached = np.maximum.accumulate(best)
        paired.append(np.packbits(take))
        newest.append(np.packbits(np.r_[True, best[1:] > reached[:-1]]))
        best = reached
    pairs, column = [], len(b)
    for row in range(len(a) - 1, -1, -1):
        column = int(np.flatnonzero(np.unpackbits(newest[row], count=column + 1))[-1])
        if np.unpackbits(paired[row], count=column + 1)[-1]:
            column -= 1
            pairs.append((row, column))
    return np.array(pairs[::-1], dtype=np.intp).reshape(-1, 2)


# --- who is predicted worst -----------------------------------------------------------------------------------


def worst(kind: str, observed: Values, predicted: Floats, ids: Labels, n: int = 10) -> pd.DataFrame:
    """People with the largest error, each at their worst image.

    Parameters
    ----------
    kind : str
        One of `featx.analysis.cohort.targets.KINDS`.
    observed : ndarray of shape (n_rows,) or (n_repeats, n_rows)
    predicted : ndarray of shape (n_repeats, n_rows) or (n_repeats, n_rows, n_classes)
        As for `featx.analysis.inference.scores.bootstrap`; rows that were never tested are left out.
    ids : ndarray of shape (n_rows,)
        People.
    n : int
        How many at most.

    Returns
    -------
    DataFrame
        Columns `WORST_COLUMNS`, the worst first, equal ones in the order of the rows. The error is |predicted -
        observed|, or -log(probability of the true class); predicted is a number, or that probability. All are means
        over the repeats that tested the row; observed is a number, or a class code.

    Examples
    --------
    >>> worst("continuous", np.array([1.0, 2.0]), np.array([1.5, 5.0]), np.array(["a", "b"]), n=1).values.tolist()
    [[1, 'b', 2.0, 5.0, 3.0]]
    """
    repeats = as_repeats(kind, observed, predicted, ids)
    tested, guess, error = repeats.tested, repeats.predicted, repeats.predicted
    if kind in CLASSES:
        pairs = list(zip(repeats.observed, repeats.predicted, strict=True))
        error = np.array([surprise(truth, own) for truth, own in pairs])
        guess = np.array([own[np.arange(len(truth)), truth] for truth, own in pairs])
    else:
        error = np.abs(repeats.predicted - repeats.observed)
    count = tested.sum(axis=0)
    rows = np.flatnonzero(count)
    columns = [np.where(tested, one, 0.0).sum(axis=0)[rows] / count[rows] for one in (repeats.observed, guess, error)]
    order = np.argsort(-columns[2], kind="stable")
    table = pd.DataFrame(dict(zip(WORST_COLUMNS, (rows, ids[rows], *columns), strict=True))).iloc[order]
    return table.drop_duplicates("id").head(n).reset_index(drop=True)
