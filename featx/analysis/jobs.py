"""What will be fitted: who is analysed, with which confounds, on which folds. One bad target harms no other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featx import schema
from featx.analysis.cohort.condition import where
from featx.analysis.cohort.covariates import Encoding, check_rank, design, encode, read_labels
from featx.analysis.cohort.people import Exclusion, Matched, bare, exclusion, ids_of, join, people_of
from featx.analysis.cohort.targets import Target, known_columns, make_target, to_numbers
from featx.analysis.features import table_columns
from featx.analysis.folds.given import given_folds
from featx.analysis.folds.shared import shared_design
from featx.analysis.folds.splits import TRAIN_ONLY, Design, join_groups, make_design, restrict
from featx.analysis.folds.strata import NUMBERS
from featx.analysis.heads import HEADS, applies
from featx.analysis.request import Job, Request
from featx.analysis.scaling import Floats
from featx.analysis.sharing import shared_images
from featx.errors import CohortError, TargetError

MOST_LISTED = 20  # targets whose missing values are listed person by person


@dataclass(frozen=True)
class Plan:
    """What will be fitted, and what will not.

    Attributes
    ----------
    matched : Matched
        Images with all feature sets and a row in the phenotype table.
    jobs : tuple of Job
    C : ndarray of shape (n_matched, n_confounds)
        The confounds' design; NaN where one is missing.
    n_preserved : int
        Of its first columns, those that ComBat preserves.
    encoding : Encoding
    site : ndarray of shape (n_matched,), object (str), or None
    age : ndarray of shape (n_matched,), or None
    group : ndarray of shape (n_matched,), object (str), or None
        What is never divided, where a column of groups was named.
    exclusions : tuple of dict
    flow : mapping of str to int
    """

    matched: Matched
    jobs: tuple[Job, ...]
    C: Floats
    n_preserved: int
    encoding: Encoding
    site: NDArray[np.object_] | None
    age: Floats | None
    group: NDArray[np.object_] | None
    exclusions: tuple[Exclusion, ...]
    flow: Mapping[str, int]


@dataclass(frozen=True)
class _Sides:
    """What stands beside the targets, one row per matched image."""

    C: Floats
    encoding: Encoding
    n_preserved: int
    site: NDArray[np.object_] | None
    units: NDArray[np.object_]
    complete: NDArray[np.bool_]


def make_plan(request: Request) -> Plan:
    """Decide who and what is fitted.

    Raises
    ------
    CohortError, StoreError
        The phenotype table or the features as a whole cannot be used. A target that cannot is a row of the
        exclusions.
    """
    images, exclusions = shared_images(request)
    kept = where(request.phenotypes, request.columns.where)
    filtered = ids_of(request.phenotypes.loc[~kept])
    if not kept.any():
        raise CohortError(
            f"a condition must be met by somebody; {request.columns.where!r} is met by none of {len(kept)} rows of "
            "the phenotype table; change --where"
        )
    matched = join(images, request.phenotypes.loc[kept])
    partly = {bare(one[schema.PARTICIPANT_ID]) for one in exclusions}  # these have images, and a row that says which
    gone = set(people_of(filtered.participant_id))
    exclusions += [
        _filtered(str(image), str(person), request.columns.where)
        for image, person in zip(filtered.image_id, filtered.participant_id, strict=True)
    ]
    exclusions += [one for one in matched.exclusions if not _told(one, partly, gone)]
    sides = _make_sides(request, matched)
    exclusions += _incomplete(request, matched, sides)
    jobs = _make_jobs(request, matched, sides, exclusions)
    flow = {
        "images_with_features": len(images.image_id) + sum(one["code"] == "missing-features" for one in exclusions),
        "images_with_all_features": len(images.image_id),
        "images_matched": len(matched.images.image_id),
        "people_matched": len(set(people_of(matched.images.participant_id))),
        "people_in_phenotypes": len(set(people_of(request.phenotypes[schema.PARTICIPANT_ID]))),
    }
    age = _ages(matched, request.columns.age) if request.columns.age else None
    return Plan(
        matched,
        tuple(jobs),
        sides.C,
        sides.n_preserved,
        sides.encoding,
        sides.site,
        age,
        sides.units if request.columns.group else None,
        tuple(exclusions),
        flow,
    )


def _told(row: Exclusion, partly: set[str], gone: set[str]) -> bool:
    """Whether another row already says why."""
    person = bare(row[schema.PARTICIPANT_ID])
    return (row["code"] == "no-image" and person in partly) or (row["code"] == "no-phenotype" and person in gone)


def _filtered(image: str, person: str, expression: str) -> Exclusion:
    who = f"{person!r}" if not image else f"image {image!r} of {person!r}"
    what = "a person" if not image else "an image"
    sentence = f"{what} must meet {expression!r} to be analysed; {who} does not; change --where to have them"
    return exclusion("filtered", sentence, image_id=image, participant_id=person)


# --- confounds, sites, groups ---------------------------------------------------------------------------------


def _make_sides(request: Request, matched: Matched) -> _Sides:
    table, columns, adjusting = matched.phenotypes, request.columns, request.adjusting
    specs = [*adjusting.preserve, *(one for one in adjusting.confounds if one not in adjusting.preserve)]
    trains = _trainers(request, matched)  # levels and knots are not those of a test cohort
    encoding = encode(table[trains], specs)
    C = design(encoding, table)
    preserved = len(encode(table[trains], list(adjusting.preserve)).names)
    complete: NDArray[np.bool_] = np.asarray(np.isfinite(C).all(axis=1))
    site = read_labels(table, columns.site) if columns.site else None
    group = read_labels(table, columns.group) if columns.group else None
    for labels in (site, group):
        if labels is not None:
            complete = complete & np.array([bool(one) for one in labels])
    people = people_of(matched.images.participant_id)
    # Who has no group is one of their own.
    families = None if group is None else [one or f" {person}" for one, person in zip(group, people, strict=True)]
    return _Sides(C, encoding, preserved, site, join_groups(people, families), complete)


def _trainers(request: Request, matched: Matched) -> NDArray[np.bool_]:
    """Who trains in some split; all where folds are made, or given for each target by itself."""
    everybody = np.ones(len(matched.images.image_id), dtype=bool)
    if request.given_splits is None:
        return everybody
    try:
        fold, known = given_folds(request.given_splits, matched.images, schema.SHARED)
    except TargetError:
        return everybody
    several = np.array([len(np.unique(one[one != TRAIN_ONLY])) > 1 for one in fold])
    trains: NDArray[np.bool_] = known & ((fold == TRAIN_ONLY) | several[:, None]).any(axis=0)
    return trains if trains.any() else everybody


def _incomplete(request: Request, matched: Matched, sides: _Sides) -> list[Exclusion]:
    asked = [*request.adjusting.confounds, request.columns.site, request.columns.group]
    named = ", ".join(repr(one) for one in asked if one)
    return [
        exclusion(
            "missing-confound",
            f"a person must have all of {named} to be analysed; {str(person)!r} lacks one; fill it in",
            image_id=str(image),
            participant_id=str(person),
        )
        for image, person in zip(
            matched.images.image_id[~sides.complete], matched.images.participant_id[~sides.complete], strict=True
        )
    ]


def _ages(matched: Matched, column: str) -> Floats:
    if column not in matched.phenotypes:
        raise CohortError(
            f"the column of ages must be in the phenotype table; {column!r} is not; "
            f"{known_columns(column, [str(one) for one in matched.phenotypes])}"
        )
    ages = to_numbers(matched.phenotypes[column]).to_numpy(dtype=np.float64)
    if not np.isfinite(ages).any():
        raise CohortError(
            f"the column of ages must hold numbers; {column!r} holds none for the matched people; name another"
        )
    return ages


# --- targets and folds ----------------------------------------------------------------------------------------


def _make_jobs(request: Request, matched: Matched, sides: _Sides, exclusions: list[Exclusion]) -> list[Job]:
    jobs = []
    shared = None
    if request.columns.stratify != "target":
        shared = shared_design(request, matched, sides.units, sides.site, complete=sides.complete)
    for name in dict.fromkeys(request.targets):
        try:
            target = make_target(
                matched.phenotypes,
                name,
                request.kinds.get(name),
                levels=request.levels.get(name, {}),
                expected=request.expected.get(name),
            )
            _check_not_a_feature(request, name)
            jobs.append(_make_job(request, matched, sides, (target, shared), exclusions))
        except TargetError as error:
            exclusions.append(exclusion(error.code, error.sentence, target=name))
            continue
        exclusions.extend(_missing_values(matched, target, _lists_people(request)))
        if request.heads and not jobs[-1].heads:
            exclusions.append(_no_head(request, target))
    return jobs


def _make_job(
    request: Request,
    matched: Matched,
    sides: _Sides,
    what: tuple[Target, Design | None],
    exclusions: list[Exclusion],
) -> Job:
    target, shared = what
    _check_no_confound(request, target.name, sides.encoding)
    target = _take(target, sides.complete[target.rows])
    given = None
    if request.folding.scheme == "given":
        given, known = given_folds(
            request.given_splits, matched.images, target.name if shared is None else schema.SHARED
        )
        exclusions.extend(_not_in_splits(matched, target, known, _lists_people(request)))
        target = _take(target, known[target.rows])
        given = given[:, target.rows]
    _check_left(target)
    if request.adjusting.confounds:
        site = None if sides.site is None or request.adjusting.harmonise == "none" else sides.site[target.rows]
        check_rank(sides.C[target.rows], sides.encoding, site)
    units = sides.units[target.rows]
    if shared is not None:
        own = restrict(shared, target.rows, target.y, kind=target.kind, name=target.name)
    else:
        own = make_design(
            target.y,
            units,
            request.folding,
            kind=target.kind,
            name=target.name,
            sites=None if sides.site is None else sides.site[target.rows],
            given=given,
        )
    if request.adjusting.harmonise != "none" and sides.site is not None:
        _check_sites(own, sides.site[target.rows], people_of(matched.images.participant_id[target.rows]), target.name)
    heads = tuple(head for head in dict.fromkeys(request.heads) if applies(head, target.kind))
    return Job(target, matched.images.take(target.rows), units, own, shared, heads)


def _lists_people(request: Request) -> bool:
    """Whether who lacks a value is told one by one; a thousand targets of forty thousand people would be too many."""
    return len(request.targets) <= MOST_LISTED


def _check_not_a_feature(request: Request, name: str) -> None:
    for sets in request.combinations.values():
        for one in sets:
            if name in table_columns(request.sets[one].provenance):
                raise TargetError(
                    "target-in-features",
                    f"a target must not be among its own features; {name!r} is a column of the table {one!r}; "
                    "leave it out of that table",
                )


def _check_no_confound(request: Request, name: str, encoding: Encoding) -> None:
    if request.adjusting.harmonise != "none" and name == request.columns.site:
        raise TargetError(
            "wrong-confound",
            f"a target must not be the site that features are harmonised by; {name!r} is both, and a test person's "
            "features would be adjusted by the answer; fit it in a run without --harmonise",
        )
    if name in [term.column for term in encoding.terms]:
        raise TargetError(
            "wrong-confound",
            f"a confound must not be the target itself; {name!r} is both; fit it in a run without that confound",
        )


def _take(target: Target, kept: NDArray[np.bool_]) -> Target:
    return replace(target, y=target.y[kept], rows=target.rows[kept])


def _check_left(target: Target) -> None:
    """What is left after incomplete people are gone must still be a target."""
    n_left = len(np.unique(target.y))
    if n_left < max(2, len(target.classes) if target.kind not in NUMBERS else 2):
        raise TargetError(
            "too-few-people",
            f"a target must keep all its classes, or two values, among people with complete confounds and splits; "
            f"{target.name!r} keeps {n_left} values of {len(target.y)} images; fill in what is missing",
        )


def _not_in_splits(matched: Matched, target: Target, known: NDArray[np.bool_], one_by_one: bool) -> list[Exclusion]:
    gone = target.rows[~known[target.rows]]
    if len(gone) and len(gone) == len(target.rows):
        raise TargetError(
            "not-in-splits",
            f"given splits must tell of the people who are analysed; for {target.name!r} they tell of none, such as "
            f"{str(matched.images.image_id[gone[0]])!r}; give the splits of this cohort",
        )
    if len(gone) and not one_by_one:
        sentence = (
            f"an image must have a fold in the splits that were given; {len(gone)} of {len(target.rows)} have none, "
            f"for {target.name!r}; add rows"
        )
        return [exclusion("not-in-splits", sentence, target=target.name)]
    return [
        exclusion(
            "not-in-splits",
            f"an image must have a fold in the splits that were given; {str(matched.images.image_id[at])!r} has "
            f"none, for {target.name!r}; add a row",
            target=target.name,
            image_id=str(matched.images.image_id[at]),
            participant_id=str(matched.images.participant_id[at]),
        )
        for at in gone
    ]


def _check_sites(design: Design, site: NDArray[np.object_], people: NDArray[np.object_], name: str) -> None:
    for split in (*design.splits, design.final):
        pairs = sorted(set(zip(site[split.train].astype(str), people[split.train], strict=True)))
        labels, counts = np.unique([one for one, _ in pairs], return_counts=True)
        if len(labels) < 2:
            raise TargetError(
                "too-few-sites",
                f"the training people of every fold must be of two sites or more to be harmonised; those of {name!r} "
                f"are all of {str(labels[0])!r} in one; do without --harmonise, or use other folds",
            )
        if counts.min() < 2:
            raise TargetError(
                "site-too-small",
                f"a site must have two people or more among the training people of every fold to be harmonised; "
                f"{str(labels[counts.argmin()])!r} has one, for {name!r}; leave it out with --where, or merge sites",
            )


def _no_head(request: Request, target: Target) -> Exclusion:
    sentence = (
        f"a target must have a head that suits its kind; {target.name!r} is {target.kind}, and was given "
        f"{', '.join(map(repr, dict.fromkeys(request.heads)))}; "
        f"add one of {', '.join(head for head in HEADS if applies(head, target.kind))}"
    )
    return exclusion("wrong-kind", sentence, target=target.name)


def _missing_values(matched: Matched, target: Target, one_by_one: bool) -> list[Exclusion]:
    n_images = len(matched.images.image_id)
    without = np.setdiff1d(np.arange(n_images), target.rows)
    if len(without) and not one_by_one:
        sentence = (
            f"a person must have a value to be analysed; {target.name!r} is empty for {len(without)} of {n_images} "
            "images; fill them in"
        )
        return [exclusion("missing-value", sentence, target=target.name)]
    gone = matched.images.take(without)
    return [
        exclusion(
            "missing-value",
            f"a person must have a value to be analysed; {target.name!r} is empty for {str(person)!r}; fill it in",
            target=target.name,
            image_id=str(image),
            participant_id=str(person),
        )
        for image, person in zip(gone.image_id, gone.participant_id, strict=True)
    ]
