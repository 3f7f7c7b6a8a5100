"""Columns of the phenotype table beside the targets: confounds as numbers, sites and groups as labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.analysis.cohort.targets import known_columns, level_codes, to_numbers
from featx.analysis.scaling import Floats
from featx.errors import AnalysisError, CohortError, TargetError

AUTO = "auto"
LINEAR = "linear"
SQUARE = "square"
SPLINE = "spline"
CATEGORY = "category"
FORMS = {
    LINEAR: "the number as it is; the default for numbers",
    SQUARE: "the number and its square",
    SPLINE: "a natural cubic spline with 3 inner knots, or spline5 with 5",
    CATEGORY: "one column per level; the default for text",
}
INNER_KNOTS = 3
DETERMINED = 1e-7  # the share of a column's norm that may be left where the others determine it
THE_SITE = "the site"
_FORM = re.compile(r"(linear|square|category|spline)(\d*)")


@dataclass(frozen=True)
class Confound:
    """How one confound is asked for.

    Attributes
    ----------
    column : str
    form : str
        A key of `FORMS`, or "auto": linear for numbers, category for text.
    n_knots : int
        Inner knots of a spline.
    """

    column: str
    form: str = AUTO
    n_knots: int = INNER_KNOTS


@dataclass(frozen=True)
class Term:
    """How one confound becomes columns.

    Attributes
    ----------
    spec : str
        As it was asked for.
    column : str
    form : str
        A key of `FORMS`.
    levels : tuple of str
        Of a category, sorted; one column each.
    knots : tuple of float
        Of a spline: the least value, inner knots, the largest value, of the people it was made from.
    centre, scale : float
        Mean and standard deviation of these people: a square is of ``(x - centre) / scale``.
    """

    spec: str
    column: str
    form: str
    levels: tuple[str, ...] = ()
    knots: tuple[float, ...] = ()
    centre: float = 0.0
    scale: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its columns."""
        if self.form == CATEGORY:
            return tuple(f"{self.column}={level}" for level in self.levels)
        if self.form == SPLINE:
            return tuple(f"{self.column}:spline{at}" for at in range(1, len(self.knots)))
        return (self.column, f"{self.column}^2") if self.form == SQUARE else (self.column,)


@dataclass(frozen=True)
class Encoding:
    """How confounds become the columns of a design; the same for new people.

    Attributes
    ----------
    terms : tuple of Term
        In the order of the columns.
    """

    terms: tuple[Term, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the design's columns."""
        return tuple(name for term in self.terms for name in term.names)

    @property
    def blocks(self) -> dict[str, slice]:
        """Spec to its columns."""
        ends = np.cumsum([0, *(len(term.names) for term in self.terms)]).tolist()
        return {term.spec: slice(*ends[at : at + 2]) for at, term in enumerate(self.terms)}

    def settings(self) -> dict[str, Any]:
        """All of it as values for JSON."""
        return {"specs": [asdict(term) for term in self.terms]}

    @classmethod
    def restore(cls, settings: Mapping[str, Any]) -> Encoding:
        """The encoding whose `settings` these are, also after a trip through JSON."""
        tuples = ({**one, "levels": tuple(one["levels"]), "knots": tuple(one["knots"])} for one in settings["specs"])
        return cls(tuple(Term(**one) for one in tuples))


def parse_confound(spec: str) -> Confound:
    """Read ``COLUMN`` or ``COLUMN:FORM``.

    Raises
    ------
    AnalysisError
        The form is unknown, or a spline has no inner knot.

    Examples
    --------
    >>> parse_confound("age:spline5")
    Confound(column='age', form='spline', n_knots=5)
    >>> parse_confound("site")
    Confound(column='site', form='auto', n_knots=3)
    """
    column, mark, word = spec.rpartition(":")
    if not mark:
        return Confound(spec)
    found = _FORM.fullmatch(word)
    n_knots = int(found[2] or INNER_KNOTS) if found else 0
    if found is None or not column or not n_knots or (found[2] and found[1] != SPLINE):
        raise AnalysisError(
            f"a confound must be a column, or a column and its form; got {spec!r}; write COLUMN or COLUMN:FORM, "
            f"where FORM is {', '.join(FORMS)}, or spline and its number of inner knots, such as spline5"
        )
    return Confound(column, found[1], n_knots)


# --- encoding -------------------------------------------------------------------------------------------------


def encode(phenotypes: pd.DataFrame, specs: Sequence[str]) -> Encoding:
    """Decide how confounds become columns, from the people who are analysed.

    Parameters
    ----------
    phenotypes : DataFrame
        One row per image; cells are text or NaN, which is left out.
    specs : sequence of str
        As `parse_confound` reads them; one that is there twice is taken once.

    Raises
    ------
    CohortError
        An unknown or empty column, text or an infinity among numbers, too few values for a spline, or a category
        with nearly as many levels as there are people.
    AnalysisError
        See `parse_confound`.
    """
    return Encoding(tuple(_make_term(phenotypes, spec) for spec in dict.fromkeys(specs)))


def _make_term(phenotypes: pd.DataFrame, spec: str) -> Term:
    wish = parse_confound(spec)
    values = _column(phenotypes, wish.column, "a confound").dropna()
    if not len(values):
        raise CohortError(
            f"a confound must have values; {wish.column!r} is empty for all matched people; choose another column"
        )
    form = wish.form
    if form == AUTO:
        form = LINEAR if to_numbers(values).notna().mean() >= 0.5 else CATEGORY
    if form == CATEGORY:
        return Term(spec, wish.column, form, levels=_levels(values, wish.column))
    x = _numbers(values, wish.column)
    if form == SPLINE:
        return Term(spec, wish.column, form, knots=_knots(x, wish))
    if form == SQUARE:
        return Term(spec, wish.column, form, centre=float(x.mean()), scale=float(x.std()) or 1.0)
    return Term(spec, wish.column, form)


def _column(phenotypes: pd.DataFrame, name: str, what: str) -> pd.Series:
    if name not in phenotypes:
        raise CohortError(
            f"{what} must be a column of the phenotype table; {name!r} is not; "
            f"{known_columns(name, [str(one) for one in phenotypes])}"
        )
    return phenotypes[name]


def _levels(values: pd.Series, column: str) -> tuple[str, ...]:
    levels = sorted(set(level_codes(values)))
    if len(levels) > max(2, len(values) // 2):
        raise CohortError(
            f"a category must have at most half as many levels as there are people; {column!r} has {len(levels)} of "
            f"{len(values)}; merge levels, or choose a column that is no id"
        )
    return tuple(levels)


def _numbers(values: pd.Series, column: str) -> Floats:
    """Numbers of a column, NaN where a cell is empty; whatever else is no finite number is refused."""
    numbers = to_numbers(values).to_numpy(dtype=np.float64)
    bad = np.flatnonzero((~np.isfinite(numbers)) & values.notna().to_numpy())
    if len(bad):
        raise CohortError(
            f"a confound of numbers must hold finite ones; {column!r} holds {str(values.iloc[bad[0]])!r}, at "
            f"participant {str(values.index[bad[0]])!r}; write n/a there, or ask for {column + ':category'!r}"
        )
    return numbers


def _knots(x: Floats, wish: Confound) -> tuple[float, ...]:
    inner = np.quantile(x, np.arange(1, wish.n_knots + 1) / (wish.n_knots + 1))
    knots = np.unique([x.min(), *inner, x.max()])
    if len(knots) < wish.n_knots + 2:
        raise CohortError(
            f"a spline with {wish.n_knots} inner knots must have {wish.n_knots + 2} different knots at quantiles; "
            f"{wish.column!r} has {len(knots)}, for many people share a value; ask for fewer knots, or {SQUARE}"
        )
    return tuple(knots.tolist())


# --- the design -----------------------------------------------------------------------------------------------


def design(encoding: Encoding, phenotypes: pd.DataFrame) -> Floats:
    """The confounds as columns, without an intercept.

    Parameters
    ----------
    encoding : Encoding
    phenotypes : DataFrame
        One row per image, also of other people than those of the encoding.

    Returns
    -------
    ndarray of shape (n_images, n_columns), float64
        A missing confound is NaN in all its columns. A category has a column for every level; a level that the
        encoding does not know has 0 in all of them, which the mean-centred regression on such columns takes as the
        mean of the levels' effects. A spline is linear beyond the ends of the people of the encoding.

    Raises
    ------
    CohortError
        A column is not there, or holds text or an infinity among numbers.
    """
    parts = [_encoded(term, _column(phenotypes, term.column, "a confound")) for term in encoding.terms]
    return np.asarray(np.concatenate([np.empty((len(phenotypes), 0)), *parts], axis=1), dtype=np.float64)


def _encoded(term: Term, values: pd.Series) -> Floats:
    if term.form == CATEGORY:
        codes = np.array(level_codes(values), dtype=object)
        columns: Floats = np.equal(codes[:, None], np.array(term.levels, dtype=object)).astype(np.float64)
        columns[values.isna().to_numpy()] = np.nan
        return columns
    x = _numbers(values, term.column)
    if term.form == SPLINE:
        return natural_spline(x, term.knots)
    if term.form == SQUARE:
        return np.column_stack([x, ((x - term.centre) / term.scale) ** 2])
    return x[:, None]


def natural_spline(x: Floats, knots: Sequence[float]) -> Floats:
    """Basis of the natural cubic splines with these knots, without the constant.

    Hastie, Tibshirani & Friedman 2009, The Elements of Statistical Learning, equations 5.4 and 5.5, on the scale on
    which the outer knots are 0 and 1.

    Parameters
    ----------
    x : ndarray of shape (n,)
        NaN stays NaN.
    knots : sequence of float
        At least three, ascending; the outer ones are the ends beyond which all columns are linear.

    Returns
    -------
    ndarray of shape (n, n_knots - 1), float64

    Examples
    --------
    >>> natural_spline(np.array([0.0, 5.0, 10.0]), [0, 5, 10]).round(3).tolist()
    [[0.0, 0.0], [0.5, 0.125], [1.0, 0.75]]
    """
    low, high = knots[0], knots[-1]
    at = (np.asarray(knots, dtype=np.float64) - low) / (high - low)
    u = (x[:, None] - low) / (high - low)
    cubes = np.maximum(u - at, 0.0) ** 3
    slopes = (cubes[:, :-1] - cubes[:, -1:]) / (1.0 - at[:-1])
    return np.concatenate([u, slopes[:, :-1] - slopes[:, -1:]], axis=1)


# --- the check ------------------------------------------------------------------------------------------------


def check_rank(C: Floats, encoding: Encoding, site: Sequence[str] | NDArray[np.object_] | None = None) -> None:
    """Refuse a confound that says nothing, or nothing that the others (and the site) do not say.

    That the columns of a category sum to one is no collinearity: they are regressed on by least squares of least
    norm. A confound is refused where all its columns are linear combinations of those of others and a constant.

    Parameters
    ----------
    C : ndarray of shape (n, n_columns)
        From `design`, finite rows only.
    encoding : Encoding
    site : sequence of str of shape (n,), optional
        A category whose levels are these labels is the site itself, and is not held against it.

    Raises
    ------
    TargetError
        With the codes constant-confound and collinear-confound.
    """
    blocks = {spec: _normed(C[:, columns]) for spec, columns in encoding.blocks.items()}
    for spec, block in blocks.items():
        if not block.size:
            raise TargetError(
                "constant-confound",
                f"a confound must vary; {spec!r} is the same for all {len(C)} analysed images; leave it out",
            )
    labels = pd.Series(level_codes(pd.Series([] if site is None else list(site), dtype=object)), dtype=object)
    sites = _normed(pd.get_dummies(labels).to_numpy(dtype=np.float64))
    for term in encoding.terms:
        spec = term.spec
        others = {name: block for name, block in blocks.items() if name != spec}
        if sites.size and not set(labels) <= set(term.levels):
            others[THE_SITE] = sites
        if not _determined(blocks[spec], others):
            continue
        for name in list(others):  # as few as suffice are named
            if _determined(blocks[spec], {one: block for one, block in others.items() if one != name}):
                del others[name]
        named = " and ".join(one if one == THE_SITE else repr(one) for one in others)
        raise TargetError(
            "collinear-confound",
            f"a confound must say something that the others do not; {spec!r} follows linearly from {named}, for the "
            f"{len(C)} analysed images; leave one of them out",
        )


def _normed(columns: Floats) -> Floats:
    """Centred columns of length one, without constant ones."""
    size = np.abs(columns).max(axis=0, initial=0.0)
    if not len(columns):
        return np.empty((0, 0))
    centred = columns - columns.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    varies = length > DETERMINED * size * np.sqrt(len(columns))
    return np.asarray(centred[:, varies] / length[varies], dtype=np.float64)


def _determined(block: Floats, others: Mapping[str, Floats]) -> bool:
    if not others:
        return False
    U, singular, _ = np.linalg.svd(np.concatenate(list(others.values()), axis=1), full_matrices=False)
    basis = U[:, singular > DETERMINED * singular[0]]
    left = block - basis @ (basis.T @ block)
    return bool(np.linalg.norm(left, axis=0).max() < DETERMINED)


# --- labels ---------------------------------------------------------------------------------------------------


def read_labels(phenotypes: pd.DataFrame, column: str) -> NDArray[np.object_]:
    """A column of sites or groups as text, "" where it is missing.

    Raises
    ------
    CohortError
        There is no such column.

    Examples
    --------
    >>> read_labels(pd.DataFrame({"site": [" HH", None, 2]}, dtype=object), "site").tolist()
    ['HH', '', '2']
    """
    values = _column(phenotypes, column, "a site or group")
    labels = ["" if missing else str(one).strip() for one, missing in zip(values, values.isna(), strict=True)]
    return np.array(labels, dtype=object)
