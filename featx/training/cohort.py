"""Who pretrains a network, with which labels, and who of them validates. Decisions only: no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.analysis.cohort.condition import where
from featx.analysis.cohort.covariates import read_labels
from featx.analysis.cohort.people import join, people_of
from featx.analysis.cohort.phenotypes import Phenotypes
from featx.analysis.cohort.targets import CONTINUOUS, Target, make_target, to_numbers
from featx.analysis.features import Images
from featx.analysis.folds.splits import TRAIN_ONLY, Design, Split, join_groups
from featx.analysis.folds.strata import CLASSES, make_folds
from featx.analysis.request import Job
from featx.errors import AnalysisError, CohortError, TargetError, TrainingError, known
from featx.images.image import Image
from featx.training.fit import Fit
from featx.training.folds import VALIDATES, Group, Wish, check_wish, make_fit

SHARE = 0.1  # of the people, who validate
FINEST = 50  # parts that people are dealt into, for any share to be some of them
AGE, SEX = "age", "sex"  # columns that are told of where a table has them


@dataclass(frozen=True)
class Cohort:
    """Who pretrains a network.

    Attributes
    ----------
    images : tuple of Image
        Those with a row in the phenotype table and one label or more.
    phenotypes : Phenotypes
        Its table has a row per image, without ids.
    group : Group
        The labels, and who validates: inner fold `featx.training.folds.VALIDATES` of the final split of its design.
    source : str
        The table's name, for people.
    """

    images: tuple[Image, ...]
    phenotypes: Phenotypes
    group: Group
    source: str


# --- who trains -----------------------------------------------------------------------------------------------


def meeting(phenotypes: Phenotypes, condition: str, source: str) -> Phenotypes:
    """The people who meet a condition; see `featx.analysis.cohort.condition.where`.

    Raises
    ------
    CohortError
        Nobody does.
    """
    kept = where(phenotypes.table, condition)
    if not kept.any():
        raise CohortError(
            f"a condition must be met by somebody; {condition!r} is met by none of {len(kept)} rows of {source}; "
            "change --where"
        )
    return replace(phenotypes, table=phenotypes.table.loc[kept])


def make_cohort(
    images: Sequence[Image],
    phenotypes: Phenotypes,
    targets: Sequence[str],
    *,
    source: str,
    kinds: Mapping[str, str] | None = None,
    family: str = "",
    share: float = SHARE,
    seed: int = 0,
) -> Cohort:
    """Decide who trains and who validates.

    Parameters
    ----------
    images : sequence of Image
        Sorted by id.
    targets : sequence of str
        Columns of the phenotype table; people are divided so that the first one is alike on both sides.
    source : str
        The table's name, for people.
    kinds : mapping of str to str, optional
        Kind of a target, where it is not to be inferred.
    family : str
        A column that links people, who stay together.
    share : float
        Of the people, who validate: from 1/50 to 1/2.
    seed : int
        Of the division.

    Raises
    ------
    AnalysisError
        No target, or a share that cannot be.
    CohortError
        No image has a row in the table.
    TargetError
        A target is unknown, or nobody has a value.
    TrainingError
        too-few-people: nobody would validate.
    """
    if not targets:
        raise AnalysisError("pretraining must have a target or more; none was given; give --target COLUMN")
    if not 0.02 <= share <= 0.5:
        raise AnalysisError(f"the share that validates must be from 0.02 to 0.5; got {share:g}; give, say, 0.1")
    columns = [[getattr(one, name) for one in images] for name in ("image_id", "participant_id", "session_id")]
    matched = join(Images(*(np.array(one, dtype=object) for one in columns)), phenotypes.table)
    read, labels = _read_targets(matched.phenotypes, phenotypes, targets, kinds or {})
    rows = np.flatnonzero(np.isfinite(labels).any(axis=1))
    ids, labels, table = matched.images.take(rows), labels[rows], matched.phenotypes.iloc[rows]
    own = [replace(one, rows=np.flatnonzero(np.isfinite(labels[:, at]))) for at, one in enumerate(read)]
    units = _units(ids, table, family)
    design = _design(own[0], units, share, seed)
    jobs = tuple(Job(one, ids.take(one.rows), units[one.rows], design, design, ()) for one in own)
    by_id = {one.image_id: one for one in images}
    return Cohort(
        tuple(by_id[str(one)] for one in ids.image_id),
        replace(phenotypes, table=table),
        Group(jobs, ids.image_id, ids.participant_id, labels, design),
        source,
    )


def _read_targets(
    table: pd.DataFrame, phenotypes: Phenotypes, names: Sequence[str], kinds: Mapping[str, str]
) -> tuple[list[Target], NDArray[np.float64]]:
    """Columns as targets, and as labels (n_images, n_targets), NaN where missing."""
    levels, expected = phenotypes.levels, phenotypes.kinds
    targets = [
        make_target(table, name, kinds.get(name), levels=levels.get(name, {}), expected=expected.get(name))
        for name in dict.fromkeys(names)
    ]
    labels = np.full((len(table), len(targets)), np.nan)
    for at, target in enumerate(targets):
        labels[target.rows, at] = target.y
    return targets, labels


def _units(ids: Images, table: pd.DataFrame, family: str) -> NDArray[np.object_]:
    """People, or families, who stay together; who has no family is one of their own."""
    people = people_of(ids.participant_id)
    if not family:
        return join_groups(people)
    labels = read_labels(table, family)
    return join_groups(people, [one or f" {person}" for one, person in zip(labels, people, strict=True)])


def _design(target: Target, units: NDArray[np.object_], share: float, seed: int) -> Design:
    """Everybody trains or validates; nobody tests. Who lacks the target counts to its median."""
    n, n_units = len(units), len(set(units))
    part = Fraction(share).limit_denominator(min(FINEST, n_units))
    if part.numerator in (0, part.denominator):
        raise TrainingError(
            "too-few-people",
            f"people (or families) must be so many that a share of {share:g} is one of them or more, and not all; "
            f"there are {n_units} with a label; add people, or give a larger --validate",
        )
    y = np.full(n, np.median(target.y), dtype=np.float64)
    y[target.rows] = target.y  # codes of classes as numbers: whoever has one code is dealt out together
    fold = make_folds(y, units, kind=CONTINUOUS, n_splits=part.denominator, random_state=seed)
    inner = np.where(fold < part.numerator, VALIDATES, VALIDATES + 1)
    final = Split(0, 0, np.arange(n), np.empty(0, dtype=np.intp), inner)
    return Design(np.full((1, n), TRAIN_ONLY, dtype=np.int64), (), final)


def plan_fit(cohort: Cohort, wish: Wish) -> Fit:
    """The fit of a cohort.

    Raises
    ------
    AnalysisError
        A loss weight is of no target.
    TrainingError
        Those who train have too few values of a target, or a class is not among them.
    """
    check_wish(wish)
    names = [job.target.name for job in cohort.group.jobs]
    for name in wish.loss_weights:
        if name not in names:
            raise AnalysisError(f"a loss weight must be of a target; {name!r} is none; {known(names)}")
    return make_fit(cohort.group, cohort.group.design.final, wish.seeds[0], wish)


def without_validation(fit: Fit) -> list[str]:
    """Targets of which no validation person has a value, so that they have no say in which epoch is kept."""
    labels = fit.validation.labels
    return [one.target for at, one in enumerate(fit.outputs) if not np.isfinite(labels[:, at]).any()]


# --- who they are, in numbers ----------------------------------------------------------------------------------


def ages_of(cohort: Cohort) -> tuple[float, float] | None:
    """The lowest and the highest age, where the table has a column of ages in years."""
    table, unit = cohort.phenotypes.table, cohort.phenotypes.units.get(AGE, "years")
    if AGE not in table or not unit.casefold().startswith("y"):
        return None
    ages = to_numbers(table[AGE])
    return (float(ages.min()), float(ages.max())) if ages.notna().any() else None


def sexes_of(cohort: Cohort) -> dict[str, int]:
    """How many people of each sex there are, where the table has such a column."""
    table = cohort.phenotypes.table
    people = table[~table.index.duplicated()]
    try:
        sex = make_target(people, SEX, levels=cohort.phenotypes.levels.get(SEX, {}))
    except TargetError:  # no such column, or one sex alone
        return {}
    return _counts(sex) if sex.kind in CLASSES else {}


def _counts(target: Target) -> dict[str, int]:
    return {level: int((target.y == at).sum()) for at, level in enumerate(target.classes)}


def label_facts(target: Target) -> dict[str, Any]:
    """Kind, number of images, and range or classes of a label, as JSON holds them."""
    facts: dict[str, Any] = {"kind": target.kind, "n": len(target.y)}
    if target.kind in CLASSES:
        return {**facts, "classes": _counts(target)}
    return {**facts, "range": [float(target.y.min()), float(target.y.max())]}
