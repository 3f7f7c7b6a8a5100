from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featx import schema
from featx.analysis.bundle import (
    Bundle,
    features_of,
    make_bundle,
    predict,
    predict_array,
    read_bundle,
    write_bundle,
)
from featx.analysis.cohort.targets import CONTINUOUS, KINDS
from featx.analysis.features import combine
from featx.analysis.heads import HEADS, applies, make_head, predict_with
from featx.analysis.splits import make_design
from featx.errors import BundleError
from featx.store import FeatureSet

from .conftest import feature_set

NAMES = [f"sub-{at:02d}" for at in range(40)]
CASES = [(name, kind) for name in HEADS for kind in KINDS if applies(name, kind)]


def sets() -> list[FeatureSet]:
    rng = np.random.default_rng(0)
    return [
        feature_set("a.x/axial/t/mean", rng.standard_normal((40, 4)), NAMES, network="a.x", tap="t"),
        feature_set("b.y/volume/t/mean", rng.standard_normal((40, 60)), NAMES, network="b.y", tap="t"),
    ]


def bundle(name: str = "ridge", kind: str = CONTINUOUS) -> Bundle:
    features = combine(sets())
    signal = features.X[:, 0].astype(np.float64)
    y = signal if kind == CONTINUOUS else np.digitize(signal, [0.0] if kind == "binary" else [-0.4, 0.4])
    design = make_design(y, features.images.participant_id, kind=kind, n_splits=2, n_inner=2)
    head = make_head(name, kind, cv=design.inner_pairs(2)).fit(features.X, y)
    classes = [] if kind == CONTINUOUS else ["lo", "mid", "hi"][: len(np.unique(y))]
    about = {"target": "it", "kind": kind, "classes": classes, "features": "all", "n_people": 40, "scores": []}
    made = make_bundle(name, head, sets=features.sets, about=about)
    assert (predict_array(made, features.X) == predict_with(head, kind, features.X)).all()
    return made


@pytest.mark.parametrize("name, kind", CASES)
def test_every_head_comes_back_equal(name: str, kind: str, tmp_path: Path) -> None:
    made = bundle(name, kind)
    write_bundle(made, tmp_path / "one.npz")
    write_bundle(bundle(name, kind), tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "two.npz"]
    back = read_bundle(tmp_path / "one.npz")
    assert back.contract == json.loads(json.dumps(made.contract))
    table, again = predict(made, sets()), predict(back, sets()[::-1])
    assert table.equals(again)
    assert table["image_id"].tolist() == NAMES
    if kind == CONTINUOUS:
        assert table["predicted"].dtype == np.float64
    else:
        columns = [schema.PROBABILITY + level for level in made.contract["classes"]]
        assert list(table.columns[4:]) == columns
        likeliest = np.array(made.contract["classes"])[table[columns].to_numpy().argmax(axis=1)]
        assert table["predicted"].tolist() == likeliest.tolist()


def test_plain_numpy_reads_it(tmp_path: Path) -> None:
    made = bundle()
    write_bundle(made, tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz", allow_pickle=False) as archive:
        contract = json.loads(str(archive["contract"]))
        by_hand = combine(sets()).X @ archive["coef"] + archive["intercept"]
    assert [one["name"] for one in contract["sets"]] == ["a.x/axial/t/mean", "b.y/volume/t/mean"]
    assert features_of(made) == ("a.x/axial/t/mean", "b.y/volume/t/mean")
    assert contract["parameters"].keys() == {"alpha"}
    np.testing.assert_allclose(by_hand, predict(made, sets())["predicted"])


def test_images_that_lack_a_set_are_not_predicted() -> None:
    one, two = sets()
    fewer = replace(
        two, X=two.X[5:], **{name: getattr(two, name)[5:] for name in ("image_id", "participant_id", "session_id")}
    )
    table = predict(bundle(), [fewer, one])
    assert table["image_id"].tolist() == NAMES[5:]
    assert table["predicted"].tolist() == pytest.approx(predict(bundle(), sets())["predicted"].tolist()[5:])


@pytest.mark.parametrize("field", schema.KEY_FIELDS)
def test_features_made_in_another_way_are_refused_by_name(field: str) -> None:
    one, two = sets()
    other = replace(two, provenance={**two.provenance, field: "another"})
    match = f"must have the {field} that .* fitted on {field} '{two.provenance[field]}' and given 'another', in 'b.y/"
    with pytest.raises(BundleError, match=match):
        predict(bundle(), [one, other])


def test_another_patch_release_is_not_another_feature() -> None:
    one, two = sets()
    other = replace(two, provenance={**two.provenance, "versions": "another"})
    assert predict(bundle(), [one, other]).equals(predict(bundle(), sets()))


def test_missing_sets_are_refused_with_both_names() -> None:
    one, two = sets()
    match = "fitted on 'b.y/volume/t/mean' and given 'a.x/axial/t/mean', 'c.z/volume/t/mean'; extract"
    with pytest.raises(BundleError, match=match):
        predict(bundle(), [one, replace(two, name="c.z/volume/t/mean")])
    with pytest.raises(BundleError, match="and given no set at all"):
        predict(bundle(), [])


def test_another_number_of_features_is_refused() -> None:
    one, two = sets()
    with pytest.raises(BundleError, match=r"n_features that .* fitted on n_features 60 and given 59"):
        predict(bundle(), [one, replace(two, X=two.X[:, 1:])])


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    with pytest.raises(BundleError, match=r"must be a file; .* is none"):
        read_bundle(path)
    write_bundle(bundle(), path)
    whole = path.read_bytes()
    changed = whole.replace("featx-head".encode("utf-32-le"), "featx-hand".encode("utf-32-le"))
    assert changed != whole
    for damaged in (whole[: len(whole) // 2], b"text", b"", changed):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="must be a whole file of `featx fit`"):
            read_bundle(path)
    np.savez(path, other=np.ones(3))
    with pytest.raises(BundleError, match="must be a whole file"):
        read_bundle(path)
    np.savez(path, contract=np.array({"format": "featx-head"}, dtype=object))  # a pickle is not opened
    with pytest.raises(BundleError, match="must be a whole file"):
        read_bundle(path)


def test_later_formats_and_other_coefficients_are_refused(tmp_path: Path) -> None:
    made = bundle()
    path = tmp_path / "one.npz"
    np.savez(path, contract=np.array(json.dumps({**made.contract, "format_version": 2})), **made.arrays)
    with pytest.raises(BundleError, match=r"format version 1 or older; .* has 2; update"):
        read_bundle(path)
    short = {**made.arrays, "coef": made.arrays["coef"][1:]}
    with pytest.raises(BundleError, match="a linear head of 64 features must hold coef and intercept"):
        write_bundle(Bundle(made.contract, short), path)


@pytest.mark.parametrize("key", ["sets", "form", "kind", "classes"])
def test_a_contract_that_says_too_little_is_refused(tmp_path: Path, key: str) -> None:
    made = bundle()
    less = {name: one for name, one in made.contract.items() if name != key}
    np.savez(tmp_path / "one.npz", contract=np.array(json.dumps(less)), **made.arrays)
    with pytest.raises(BundleError, match=r"must be a whole file of `featx fit`; .* is not .KeyError"):
        read_bundle(tmp_path / "one.npz")
