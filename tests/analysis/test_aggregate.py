"""Stored slices as one row per image, against plain loops over images and slices."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from featx.analysis.aggregate import AGGREGATIONS, aggregate, aggregated_name, n_slices, source_of, sources_of
from featx.analysis.features import combine, select_features
from featx.errors import AnalysisError, CohortError, StoreError
from featx.featureset import FeatureSet

from .conftest import feature_set

APART = "a.x/axial/t/slices"
RECIPE = json.dumps({"steps": [], "view": [{"step": "slices", "axis": "axial", "count": 3}, {"step": "resize"}]})


def slices(name: str = APART, n: int = 4, seed: int = 0) -> FeatureSet:
    X = 50 + np.random.default_rng(seed).standard_normal((n, 3, 5))
    return feature_set(name, X, [f"sub-{at}" for at in range(n)], pooling="slices", recipe=RECIPE, network="a.x")


PLAIN = {
    "mean": lambda own: [sum(column) / len(column) for column in own.T],
    "max": lambda own: [max(column) for column in own.T],
    "std": lambda own: [(sum((one - sum(column) / 3) ** 2 for one in column) / 3) ** 0.5 for column in own.T],
    "concat": lambda own: [value for slice_ in own for value in slice_],
}


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_numbers_are_those_of_a_loop_and_the_key_is_that_of_the_pooling(how: str) -> None:
    one = slices()
    made = aggregate(one, how)
    expected = [PLAIN[how](image.astype(np.float64)) for image in one.X]
    np.testing.assert_allclose(made.X, expected, rtol=3e-7, atol=1e-9)
    assert made.X.dtype == np.float32
    assert made.name == f"a.x/axial/t/{how}"
    assert made.provenance == {**one.provenance, "pooling": how}
    extracted = feature_set(made.name, made.X, list(one.image_id), pooling=how, recipe=RECIPE, network="a.x")
    assert made.key == extracted.key != one.key
    assert made.image_id is one.image_id
    assert combine([made]).sets[0].n_features == made.X.shape[1]


def test_one_slice_has_no_spread() -> None:
    one = replace(slices(), X=np.ones((4, 1, 5), np.float32))
    assert (aggregate(one, "std").X == 0).all()


def test_other_sets_are_left_alone() -> None:
    one = feature_set("a.x/axial/t/mean", np.ones((2, 3)), ["a", "b"], pooling="mean")
    assert aggregate(one, "max") is one


def test_what_cannot_be_aggregated_is_refused() -> None:
    with pytest.raises(
        AnalysisError, match="aggregate slices must be known; 'sum' is not; known are 'concat', 'max'"
    ):
        aggregate(slices(), "sum")
    with pytest.raises(AnalysisError, match="'slices' is not; known are"):
        sources_of([], "slices")
    for wrong in (replace(slices(), X=np.ones((4, 5), np.float32)), slices("a.x/axial/t/mean")):
        with pytest.raises(
            StoreError, match=f"be of images, slices and features; '{wrong.name}' has .*extract again"
        ):
            aggregate(wrong, "mean")
    flat = feature_set(APART, np.ones((2, 3)), ["a", "b"], pooling="mean")
    with pytest.raises(StoreError, match=r"has the pooling 'mean' and the shape \(2, 3\)"):
        aggregate(flat, "mean")


STORED = ["a.x/axial/t/slices", "a.x/axial/t/max", "a.x/coronal/t/slices", "b.y/volume/t/mean"]


@pytest.mark.parametrize(
    "how, expected",
    [
        (
            "mean",
            {"axial/t/mean": "axial/t/slices", "axial/t/max": "axial/t/max", "coronal/t/mean": "coronal/t/slices"},
        ),
        ("max", {"axial/t/max": "axial/t/max", "coronal/t/max": "coronal/t/slices"}),
    ],
)
def test_the_stored_set_of_a_name_is_preferred(how: str, expected: dict[str, str]) -> None:
    own = {f"a.x/{name}": f"a.x/{source}" for name, source in expected.items()}
    for stored in (STORED, STORED[::-1]):
        assert sources_of(stored, how) == own | {"b.y/volume/t/mean": "b.y/volume/t/mean"}


def test_a_name_finds_its_set_in_either_form() -> None:
    assert source_of("a.x/axial/t/max", STORED) == "a.x/axial/t/max"
    assert source_of("a.x/axial/t/concat", STORED) == "a.x/axial/t/slices"
    assert source_of("b.y/volume/t/max", STORED) is None
    assert source_of("a.x/axial/t/slices", STORED) == "a.x/axial/t/slices"


@pytest.mark.parametrize(
    "spec, expected",
    [
        ("a.x/axial/t/slices", ["a.x/axial/t/mean"]),
        ("a.x/axial/t/mean", ["a.x/axial/t/mean"]),
        ("*/slices", ["a.x/axial/t/mean", "a.x/coronal/t/mean"]),
        ("a.x", ["a.x/axial/t/max", "a.x/axial/t/mean", "a.x/coronal/t/mean"]),
        ("*/slices+b.y", ["a.x/axial/t/mean", "a.x/coronal/t/mean", "b.y/volume/t/mean"]),
    ],
)
def test_specs_match_the_stored_name_or_the_aggregated_one(spec: str, expected: list[str]) -> None:
    made = {one: aggregated_name(one, "mean") for one in STORED}
    assert select_features(list(sources_of(STORED, "mean")), [spec], sources=made) == {spec: tuple(expected)}


def test_a_spec_that_matches_neither_is_refused() -> None:
    with pytest.raises(CohortError, match="'a.x/axial/t/std' matches none; known are 'a.x/axial/t/max', "):
        select_features(
            list(sources_of(STORED, "mean")), ["a.x/axial/t/std"], sources={STORED[0]: "a.x/axial/t/mean"}
        )


@pytest.mark.parametrize(
    "pooling, recipe, n_features, expected",
    [
        ("concat", RECIPE, 15, 3),
        ("mean", RECIPE, 15, 0),
        ("concat", RECIPE, 16, 0),  # no whole number of features a slice
        ("concat", "some recipe", 15, 0),
        ("concat", json.dumps({"view": []}), 15, 0),
        ("concat", json.dumps({"steps": []}), 15, 0),
        ("concat", json.dumps({"view": [{"step": "slices", "count": None}]}), 15, 0),
    ],
)
def test_the_recipe_says_how_many_slices_a_row_holds(
    pooling: str, recipe: str, n_features: int, expected: int
) -> None:
    assert n_slices({"pooling": pooling, "recipe": recipe}, n_features) == expected
