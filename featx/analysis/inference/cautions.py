"""What a reader should know before believing a score: pure functions that return cautions, and stop nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.analysis.folds.strata import Labels
from featx.analysis.scaling import Floats

LEAST_IN_CLASS = 10
LEAST_PEOPLE = 50
LEAST_AT_SITE = 10
BIOBANK = "UK Biobank"

CODES = {
    "small-class": f"fewer than {LEAST_IN_CLASS} people in a class",
    "small-sample": f"fewer than {LEAST_PEOPLE} people",
    "small-site": f"fewer than {LEAST_AT_SITE} people at a site",
    "several-images": "people have several images",
    "outside-training-range": "people are younger or older than those the network was trained on",
    "unseen-site": "people are of sites that no training person is from, and were not harmonised",
    "accepted-misfits": "images that do not fit a network were let through at extraction",
    "overlap": "the network may have been trained on the people who are analysed",
}


@dataclass(frozen=True)
class Caution:
    """What a reader should know.

    Attributes
    ----------
    code : str
        Key of `CODES`.
    sentence : str
    target : str
        The phenotype; empty where it concerns all.
    """

    code: str
    sentence: str
    target: str = ""


def small_classes(
    target: str, classes: Sequence[str], y: NDArray[np.int64], groups: Labels, *, least: int = LEAST_IN_CLASS
) -> list[Caution]:
    """A caution for every class of fewer people than `least`.

    Parameters
    ----------
    target : str
    classes : sequence of str
        Levels.
    y : ndarray of shape (n,), int
        Positions in `classes`.
    groups : ndarray of shape (n,)
        People; each counts once in every class that they have a row in.
    least : int

    Examples
    --------
    >>> found = small_classes("sex", ["F", "M"], np.array([0, 0, 1]), np.array(["a", "a", "b"]), least=2)
    >>> [one.sentence for one in found][0]
    "only 1 person of 'sex' is in class 'F', and 2 are the least for stable scores; read its scores as anecdotes"
    """
    found = []
    for code, level in enumerate(classes):
        n_people = len(set(groups[y == code].astype(str)))
        if n_people < least:
            sentence = (
                f"only {_people(n_people)} of {target!r} {_is(n_people)} in class {level!r}, and {least} are the "
                "least for stable scores; read its scores as anecdotes"
            )
            found.append(Caution("small-class", sentence, target))
    return found


def small_sample(target: str, groups: Labels, *, least: int = LEAST_PEOPLE) -> list[Caution]:
    """A caution where fewer people than `least` are analysed.

    Examples
    --------
    >>> small_sample("age", np.array(["a", "a", "b"]))[0].sentence
    "only 2 people have 'age', and scores of fewer than 50 vary widely; trust the intervals, not the numbers"
    """
    n_people = len(set(groups.astype(str)))
    if n_people >= least:
        return []
    sentence = (
        f"only {_people(n_people)} {'has' if n_people == 1 else 'have'} {target!r}, and scores of fewer than {least} "
        "vary widely; trust the intervals, not the numbers"
    )
    return [Caution("small-sample", sentence, target)]


def few_per_site(sites: Labels, groups: Labels, *, least: int = LEAST_AT_SITE, target: str = "") -> list[Caution]:
    """One caution that names the sites with fewer people than `least`; none where there is only one site.

    Parameters
    ----------
    sites, groups : ndarray of shape (n,)
        Site and person of every row.
    least : int
    target : str

    Examples
    --------
    >>> few_per_site(np.array(["x", "x", "y"]), np.array(["a", "b", "c"]), least=2)[0].sentence
    "a site must have 2 people to be harmonised or compared well; 'y' has 1; merge sites, or leave them out"
    """
    labels, people = sites.astype(str), groups.astype(str)
    counts = {site: len(set(people[labels == site])) for site in np.unique(labels)}
    few = [f"{str(site)!r} has {count}" for site, count in counts.items() if count < least]
    if not few or len(counts) == 1:
        return []
    sentence = (
        f"a site must have {least} people to be harmonised or compared well; {_some(few)}; "
        "merge sites, or leave them out"
    )
    return [Caution("small-site", sentence, target)]


def several_images(groups: Labels, target: str = "") -> list[Caution]:
    """A caution where people have more than one image; none where each has one.

    Examples
    --------
    >>> several_images(np.array(["a", "a", "b"]))[0].sentence
    '2 people have 3 images; folds and intervals keep a person whole, but who has more images weighs more'
    >>> several_images(np.array(["a", "b"]))
    []
    """
    n_people = len(set(groups.astype(str)))
    if n_people == len(groups):
        return []
    sentence = (
        f"{_people(n_people)} {'has' if n_people == 1 else 'have'} {len(groups)} images; folds and intervals keep a "
        "person whole, but who has more images weighs more"
    )
    return [Caution("several-images", sentence, target)]


def outside_training_range(
    network: str, age_range_years: tuple[float, float] | None, age_years: Floats
) -> list[Caution]:
    """A caution where people are younger or older than those that the network learnt from.

    Parameters
    ----------
    network : str
    age_range_years : (float, float) or None
        Youngest and oldest; None where it is unknown, or the network learnt from no people.
    age_years : ndarray of shape (n,)
        Of the analysed images; NaN (unknown) are not counted.

    Examples
    --------
    >>> outside_training_range("sfcn", (42.0, 82.0), np.array([25.0, 50.0, np.nan]))[0].sentence
    "'sfcn' was trained on people of 42 to 82 years; 1 of 2 images of known age lie outside, from 25 to 25 years; \
expect its features to say less of them"
    """
    ages = age_years[~np.isnan(age_years)]
    if age_range_years is None:
        return []
    low, high = age_range_years
    outside = ages[(ages < low) | (ages > high)]
    if not len(outside):
        return []
    sentence = (
        f"{network!r} was trained on people of {low:g} to {high:g} years; {len(outside)} of {len(ages)} images of "
        f"known age lie outside, from {outside.min():.4g} to {outside.max():.4g} years; expect its features to say "
        "less of them"
    )
    return [Caution("outside-training-range", sentence)]


def overlap(
    network: str, training: str, participant_ids: Iterable[object], *, is_biobank_table: bool = False
) -> list[Caution]:
    """A caution where a network that was trained on UK Biobank meets people of UK Biobank.

    Parameters
    ----------
    network : str
    training : str
        What the network was trained on, in words (`featx.networks.NETWORKS`).
    participant_ids : iterable of str
        With or without ``sub-``. They look like UK Biobank's where half of them or more are numbers of seven digits.
    is_biobank_table : bool
        Whether the phenotypes were read from an export of UK Biobank.

    Examples
    --------
    >>> overlap("sfcn", "12,949 UK Biobank brains", ["sub-1000012", "sub-1000025"])[0].code
    'overlap'
    >>> overlap("sfcn", "12,949 UK Biobank brains", ["sub-01", "sub-02"])
    []
    """
    if BIOBANK.lower() not in training.lower():
        return []
    people = set(map(str, participant_ids))
    alike = sum(re.fullmatch(r"(sub-)?[1-9]\d{6}", one) is not None for one in people)
    if not is_biobank_table and (not people or alike < len(people) / 2):
        return []
    why = "the table is an export of it" if is_biobank_table else f"{alike} of {len(people)} ids look like its own"
    sentence = (
        f"{network!r} was trained on {BIOBANK}, and the people seem to be of {BIOBANK} too ({why}); scores are too "
        "good for whoever it has seen; leave out the people of its training set"
    )
    return [Caution("overlap", sentence)]


def accepted_misfits(rows: Sequence[Mapping[str, str]]) -> list[Caution]:
    """A caution where images that do not fit a network were let through when its features were extracted.

    Parameters
    ----------
    rows : sequence of mapping
        As `featx.store.read_accepted` gives them: image_id, code, sentence.

    Examples
    --------
    >>> row = {"image_id": "sub-1", "code": "not-registered", "sentence": "it lies askew"}
    >>> accepted_misfits([row])[0].sentence[:62]
    '1 image was let through at extraction although it does not fit'
    """
    if not rows:
        return []
    n_images, codes = len({row["image_id"] for row in rows}), sorted({row["code"] for row in rows})
    told = "1 image was let through at extraction although it does"
    if n_images > 1:
        told = f"{n_images} images were let through at extraction although they do"
    first = rows[0]
    sentence = f"{told} not fit the network ({', '.join(codes)}); such as {first['image_id']!r}: {first['sentence']}"
    return [Caution("accepted-misfits", sentence)]


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _some(many: list[str], most: int = 5) -> str:
    rest = f" and {len(many) - most} more" if len(many) > most else ""
    return ", ".join(many[:most]) + rest
