from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from featx.analysis.features import combine, incomplete_images, is_table, select_features, table_columns
from featx.errors import CohortError, StoreError
from featx.featureset import FeatureSet

from .conftest import feature_set

SETS = ["a.x/axial/t/mean", "a.x/axial/u/mean", "a.x@random-0/axial/t/mean", "b.y/volume/t/mean"]


@pytest.mark.parametrize(
    "specs, expected",
    [
        ([], {"a.x": SETS[:2], "a.x@random-0": SETS[2:3], "b.y": SETS[3:]}),
        (["all"], {"all": SETS}),
        (["each"], {one: [one] for one in SETS}),
        (["a.x"], {"a.x": SETS[:2]}),
        (["a.x/axial"], {"a.x/axial": SETS[:2]}),
        (["*/t/*"], {"*/t/*": [SETS[0], SETS[2], SETS[3]]}),
        (["b.y+a.x/axial/t/mean+b.y"], {"b.y+a.x/axial/t/mean+b.y": [SETS[3], SETS[0]]}),
        (["b.y", "b.y/volume/t/mean"], {"b.y": SETS[3:]}),
    ],
)
def test_specs(specs: list[str], expected: dict[str, list[str]]) -> None:
    assert select_features(SETS[::-1], specs) == {name: tuple(sets) for name, sets in expected.items()}


def test_unknown_specs_are_answered_with_the_known() -> None:
    with pytest.raises(CohortError, match=r"'c.z' matches none; known are 'a.x/axial/t/mean', "):
        select_features(SETS, ["a.x+c.z"])
    with pytest.raises(CohortError, match="this one holds none"):
        select_features([])


def test_a_table_is_chosen_by_its_name() -> None:
    available = [*SETS, "volumes"]
    assert select_features(available)["volumes"] == ("volumes",)
    assert select_features(available, ["volumes+b.y"]) == {"volumes+b.y": ("volumes", SETS[3])}
    assert select_features(available, ["all"])["all"][-1] == "volumes"


def test_rows_meet_by_id_never_by_position() -> None:
    one = feature_set("one", np.array([[1.0], [2.0], [3.0]]), ["a", "b", "c"])
    two = feature_set("two", np.array([[30.0], [20.0], [40.0]]), ["c", "b", "d"])
    both = combine([one, two])
    assert both.images.image_id.tolist() == ["b", "c"]
    assert both.X.tolist() == [[2, 20], [3, 30]]
    assert both.dropped == ("a", "d")
    assert [(facts.name, facts.n_features, facts.key) for facts in both.sets] == [
        ("one", 1, one.key),
        ("two", 1, two.key),
    ]


def test_bad_sets_are_refused() -> None:
    one = feature_set("one", np.ones((2, 1)), ["a", "b"])
    with pytest.raises(CohortError, match="'one', 'two' share none"):
        combine([one, feature_set("two", np.ones((1, 1)), ["c"])])
    with pytest.raises(StoreError, match="'one' is not, at image 'b'"):
        combine([feature_set("one", np.array([[1.0], [np.nan]]), ["a", "b"])])
    with pytest.raises(StoreError, match="'one' has 2 rows for 1 images"):
        combine([feature_set("one", np.ones((2, 1)), ["a", "a"])])
    other = replace(one, name="two", participant_id=np.array(["a", "x"], dtype=object))
    with pytest.raises(StoreError, match="'b' is of 'b' in one feature set and of 'x' in 'two'"):
        combine([one, other])
    other = replace(one, name="two", session_id=np.array(["", "ses-2"], dtype=object))
    with pytest.raises(StoreError, match="one session; 'b' is of '' in one feature set and of 'ses-2' in 'two'"):
        combine([one, other])


def volumes(values: list[list[float]], ids: list[str]) -> FeatureSet:
    columns = json.dumps([f"v{at}" for at in range(len(values[0]))])
    one = feature_set("volumes", np.array(values), ids, network="table", recipe=columns)
    return replace(one, X=np.array(values)[np.argsort(ids)])


def test_empty_cells_of_a_table() -> None:
    network = feature_set("one", np.array([[1.0], [2.0], [3.0], [4.0]]), ["a", "b", "c", "d"])
    table = volumes([[20.0, 1.0], [np.nan, 2.0], [40.0, 3.0]], ["b", "c", "d"])
    both = [network, table]
    with pytest.raises(CohortError, match="image 'c' has an empty cell, in 'volumes'; fill it in"):
        combine(both)
    kept = combine(both, missing="keep")
    assert kept.images.image_id.tolist() == ["b", "c", "d"]
    np.testing.assert_array_equal(kept.X, [[2, 20, 1], [3, np.nan, 2], [4, 40, 3]])
    dropped = combine(both, missing="drop")
    assert dropped.images.image_id.tolist() == ["b", "d"]
    assert dropped.X.tolist() == [[2, 20, 1], [4, 40, 3]]
    for one in (kept, dropped):
        assert (one.dropped, one.incomplete) == (("a",), ("c",))
        assert one.X.dtype == np.float32
    assert incomplete_images(both) == {"c"}
    assert [is_table(one) for one in both] == [False, True]
    assert [table_columns(one.provenance) for one in both] == [(), ("v0", "v1")]


def test_a_table_alone_keeps_its_digits() -> None:
    table = volumes([[1652136.0625]], ["a"])
    assert combine([table]).X.dtype == np.float64
    assert combine([table]).X[0, 0] == 1652136.0625


def test_tables_that_cannot_be_used() -> None:
    with pytest.raises(CohortError, match="'v1' of 'volumes' is empty for all 2 images; leave"):
        combine([volumes([[1.0, np.nan], [2.0, np.nan]], ["a", "b"])], missing="keep")
    with pytest.raises(CohortError, match="every image has an empty cell, in 'volumes'"):
        combine([volumes([[1.0, np.nan], [np.nan, 2.0]], ["a", "b"])], missing="drop")
    with pytest.raises(StoreError, match="'volumes' is not, at image 'b'"):
        combine([volumes([[1.0], [np.inf]], ["a", "b"])], missing="keep")
    with pytest.raises(ValueError, match="one of refuse, drop, keep; got 'fill'"):
        combine([volumes([[1.0]], ["a"])], missing="fill")
