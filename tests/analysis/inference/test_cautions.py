from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.inference.cautions import (
    CODES,
    accepted_misfits,
    few_per_site,
    outside_training_range,
    overlap,
    several_images,
    small_classes,
    small_sample,
)


def test_every_code_has_a_meaning_and_a_function() -> None:
    one = np.array(["a", "a"])
    found = [
        *small_classes("sex", ["F", "M"], np.array([0, 1]), one),
        *small_sample("sex", one),
        *few_per_site(np.array(["x", "y"]), one),
        *several_images(one),
        *outside_training_range("sfcn", (42, 82), np.array([20.0])),
        *overlap("sfcn", "UK Biobank", ["1000012"]),
        *accepted_misfits([{"image_id": "a", "code": "not-registered", "sentence": "it lies askew"}]),
    ]
    # Who had nobody of their site is known where folds are (featx.analysis.results).
    assert {caution.code for caution in found} | {"unseen-site"} == set(CODES)
    assert {caution.target for caution in found} == {"", "sex"}


def test_classes_count_people_not_images() -> None:
    groups = np.array([f"s{at}" for at in range(10)] + ["t"] * 10)
    y = np.repeat([0, 1], 10)
    found = small_classes("diagnosis", ["control", "case"], y, groups)
    assert len(found) == 1
    assert "only 1 person of 'diagnosis' is in class 'case'" in found[0].sentence
    assert (
        "9 people of 'diagnosis' are"
        in small_classes("diagnosis", ["control"], np.zeros(9, int), groups[:9])[0].sentence
    )


@pytest.mark.parametrize("n, expected", [(49, 1), (50, 0)])
def test_samples_count_people(n: int, expected: int) -> None:
    groups = np.repeat([f"s{at}" for at in range(n)], 2)
    assert len(small_sample("age", groups)) == expected
    assert "only 1 person has 'age'" in small_sample("age", groups[:2])[0].sentence


def test_sites_are_named_and_one_site_is_no_caution() -> None:
    sites = np.repeat(["a", "b", "c"], [12, 9, 3])
    found = few_per_site(sites, np.arange(24))
    assert "'b' has 9, 'c' has 3; merge" in found[0].sentence
    assert few_per_site(sites[-3:], np.arange(3)) == []
    assert few_per_site(sites[:12], np.arange(12)) == []
    many = few_per_site(np.arange(8).astype(str), np.arange(8))
    assert "'4' has 1 and 3 more; merge" in many[0].sentence


def test_several_images_are_told() -> None:
    assert "1 person has 2 images" in several_images(np.array(["a", "a"]), "age")[0].sentence


def test_ages_outside_the_training_range_are_counted() -> None:
    ages = np.array([41.0, 42.0, 60.0, 82.0, 90.5, np.nan])
    found = outside_training_range("sfcn", (42.0, 82.0), ages)
    assert "of 42 to 82 years; 2 of 5 images of known age lie outside, from 41 to 90.5 years" in found[0].sentence
    assert outside_training_range("sfcn", (42.0, 82.0), ages[1:4]) == []
    assert outside_training_range("vgg16", None, ages) == []
    assert outside_training_range("sfcn", (42.0, 82.0), np.full(2, np.nan)) == []


def test_overlap_needs_the_network_and_the_people() -> None:
    own, other = ["sub-1000012", "2345678", "sub-01"], ["sub-01", "0123456", "12345678"]
    assert "2 of 3 ids look like its own" in overlap("sfcn", "12,949 UK Biobank brains", own)[0].sentence
    assert overlap("sfcn", "12,949 UK Biobank brains", other) == []
    assert overlap("vgg16", "ImageNet-1k photographs", own) == []
    table = overlap("sfcn", "12,949 UK Biobank brains", other, is_biobank_table=True)
    assert "the table is an export of it" in table[0].sentence
    assert overlap("sfcn", "UK Biobank", []) == []


def test_accepted_misfits_are_counted_by_image() -> None:
    found = (("b", "y"), ("a", "x"), ("a", "y"))
    rows = [{"image_id": name, "code": code, "sentence": f"{name} is {code}"} for name, code in found]
    (caution,) = accepted_misfits(rows)
    assert caution.sentence == (
        "2 images were let through at extraction although they do not fit the network (x, y); such as 'b': b is y"
    )
    assert accepted_misfits([]) == []
