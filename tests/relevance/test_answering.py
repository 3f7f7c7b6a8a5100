"""Answers against public predictions, and their gradients against finite differences."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.runs.bundle import PREPARE, Bundle
from featx.analysis.runs.prediction import predict
from featx.errors import AnalysisError, BundleError, ImageError
from featx.featureset import FeatureSet
from featx.images.image import Image
from featx.relevance.answering import (
    Beside,
    answers,
    check_method,
    find_level,
    rows_beside,
    unit_of,
    weights_at,
)

N = 6
RNG = np.random.default_rng(0)
IMAGES = [Image(f"sub-{at}", f"sub-{at}", "", "", Path("x.nii")) for at in range(4)]
NOTHING = Beside(np.zeros(N), np.empty((1, 0)), None)


def _facts(name, width, network="net"):
    provenance = dict.fromkeys(
        ("network", "weights", "weights_sha256", "recipe", "recipe_digest", "view", "tap", "pooling", "precision"),
        "x",
    )
    return {"name": name, "key": "k", "n_features": width, "provenance": {**provenance, "network": network}}


def _bundle(form="linear", kind="continuous", arrays=None, classes=None, **about):
    contract = {
        "target": "t",
        "kind": kind,
        "unit": "years",
        "classes": classes,
        "head": "made",
        "form": form,
        "features": "net",
        "sets": [_facts("net/a", 4), _facts("net/b", 2)],
        "blocks": ["features"],
        "prepare": None,
        "adds_offset": False,
        "calibration": None,
        "confounds": {"specs": []},
        "salt": "s",
        **about,
    }
    return Bundle(contract, {"people": np.zeros(0, np.uint64), **(arrays or {})})


def _linear(shape, **about):
    width = int(np.atleast_2d(np.empty(shape)).shape[-1])
    rng = np.random.default_rng(width)
    coef = rng.normal(size=shape)
    intercept = rng.normal(size=shape[:-1]) if len(shape) > 1 else np.array(3.0)
    return _bundle(arrays={"coef": coef, "intercept": intercept, **about.pop("arrays", {})}, **about)


def _prepared(pca=None):
    """Site, one confound and features, harmonised, the confound removed, and components."""
    rng = np.random.default_rng(5)
    X = np.column_stack([np.arange(40) % 2, rng.normal(size=(40, N + 1))])
    X[:, 2:] += X[:, [0]] * 2 + X[:, [1]] * rng.normal(size=N)
    X[:, 4] = 7.0  # a feature that never varies
    prepare = Prepare(n_confounds=1, confounds="features", harmonise="combat", n_preserved=1, pca=pca).fit(X)
    return {
        "prepare": prepare.settings(),
        "blocks": ["site", "confounds", "features"],
        "arrays": {PREPARE + name: one for name, one in prepare.arrays().items()},
    }


def _beside_prepared():
    return Beside(np.zeros(N), np.array([[0.4]]), np.array([1]))


CLASSES = {"kind": "multiclass", "classes": ["p", "q", "r"]}
CASES = {
    "a number": (_linear((N,)), NOTHING, 0),
    "the second of two classes": (_linear((1, N), kind="binary", classes=["F", "M"]), NOTHING, 1),
    "the first of two classes": (_linear((1, N), kind="binary", classes=["F", "M"]), NOTHING, 0),
    "one of three classes": (_linear((3, N), **CLASSES), NOTHING, 2),
    "sites and confounds removed": (_linear((N,), **_prepared()), _beside_prepared(), 0),
    "components of them": (_linear((3,), **_prepared(pca=3)), _beside_prepared(), 0),
}


@pytest.mark.parametrize("case", CASES)
def test_weights_are_what_finite_differences_say(case):
    bundle, beside, level = CASES[case]
    row = np.linspace(0.5, 2.0, N)
    weights = weights_at(bundle, level, beside, row)
    assert weights.shape == (N,)
    for at in range(N):
        ends = np.array([row + step * np.eye(N)[at] for step in (1 / 64, -1 / 64)])
        high, low = answers(bundle, level, beside, ends)
        assert (high - low) * 32 == pytest.approx(weights[at], rel=2e-3, abs=1e-3), (case, at)
    assert np.abs(weights).max() > 0.01


def test_a_direct_answer_weighs_its_one_column():
    sets = [_facts("net/p", 1)]
    one = Beside(np.zeros(1), np.empty((1, 0)), None)
    number = _bundle("column", arrays={"positive": np.array(1)}, sets=sets)
    assert weights_at(number, 0, one, np.array([63.0])).tolist() == [1.0]
    classes = _bundle("column", "binary", {"positive": np.array(1)}, ["F", "M"], sets=sets)
    for level, sign in ((0, -1), (1, 1)):
        row = np.array([0.3])
        high, low = answers(classes, level, one, np.array([[0.301], [0.299]]))
        assert weights_at(classes, level, one, row) == pytest.approx([sign / (0.3 * 0.7)])
        assert (high - low) / 0.002 == pytest.approx(sign / (0.3 * 0.7), rel=1e-3)


def _sets(X, names=("net/a", "net/b"), network="net"):
    ids = np.array([image.image_id for image in IMAGES], dtype=object)
    none = np.array([""] * len(ids), dtype=object)
    return [
        FeatureSet(name, part, ids, ids, none, _facts(name, 1, network)["provenance"])
        for name, part in zip(names, np.split(X, [4], axis=1), strict=True)
    ]


def test_answers_are_the_public_predictions_without_calibration():
    X = RNG.normal(size=(4, N)).astype(np.float32)
    number = _linear((N,))
    np.testing.assert_allclose(answers(number, 0, NOTHING, X), predict(number, _sets(X))["predicted"], rtol=1e-6)
    for bundle, level in ((CASES["the first of two classes"][0], 0), (CASES["one of three classes"][0], 2)):
        p = predict(bundle, _sets(X))[f"probability_{bundle.contract['classes'][level]}"].to_numpy()
        np.testing.assert_allclose(answers(bundle, level, NOTHING, X), np.log(p / (1 - p)), rtol=1e-5)
        bent = {"method": "platt", "n_classes": len(bundle.contract["classes"]), "curves": []}
        calibrated = replace(bundle, contract={**bundle.contract, "calibration": bent})
        np.testing.assert_array_equal(answers(calibrated, level, NOTHING, X), answers(bundle, level, NOTHING, X))


def test_tables_stand_beside_networks():
    bundle = _linear((N,), sets=[_facts("net/a", 4), _facts("volumes", 2, "table")])
    X = RNG.normal(size=(4, N)).astype(np.float32)
    _, table = _sets(X, ("net/a", "volumes"), "table")
    table.X[2, 0] = np.nan
    found = rows_beside(bundle, IMAGES, [table], None)
    assert list(found) == ["sub-0", "sub-1", "sub-3"]  # who lacks a value is left out
    blank = X[1].copy()
    blank[4:] = 0
    coef, intercept = bundle.arrays["coef"], bundle.arrays["intercept"]
    assert answers(bundle, 0, found["sub-1"], blank[None]) == pytest.approx([X[1] @ coef + intercept], rel=1e-5)
    with pytest.raises(BundleError, match=r"it was fitted on the table 'volumes' too, which is not there"):
        rows_beside(bundle, IMAGES, [], None)


def test_confounds_are_needed_where_the_head_has_them():
    bundle = _linear((N,), **_prepared(), confounds={"specs": [{"column": "age"}]}, site="site", sites=["A", "B"])
    with pytest.raises(BundleError, match="a head with confounds must be given those of the new people"):
        rows_beside(bundle, IMAGES, [], None)


def test_an_answer_that_is_no_number_is_told():
    certain = _bundle("column", "binary", {"positive": np.array(1)}, ["F", "M"], sets=[_facts("net/p", 1)])
    with pytest.raises(
        ImageError, match="a head's answer must be finite to be compared; that to 't' is not in 1 of 2"
    ):
        answers(certain, 1, Beside(np.zeros(1), np.empty((1, 0)), None), np.array([[0.5], [1.0]]))


def test_methods_and_levels_that_cannot_be():
    trees = _bundle("trees", head="boosting")
    check_method(trees, "occlusion")
    with pytest.raises(AnalysisError, match="'boosting' does not; ask for --method occlusion"):
        check_method(trees, "gradient")
    with pytest.raises(AnalysisError, match="a method of relevance must be known; 'shap' is not; known are"):
        check_method(trees, "shap")
    with pytest.raises(AnalysisError, match="a relevance map must be of a head that reads images"):
        check_method(_linear((2,), sets=[_facts("volumes", 2, "table")]), "gradient")
    three = CASES["one of three classes"][0]
    assert find_level(three, "q") == 1
    assert find_level(CASES["the first of two classes"][0], "") == 1
    for wanted in ("", "x"):
        with pytest.raises(AnalysisError, match=f"the level that is looked at must be one of 't'; got '{wanted}'"):
            find_level(three, wanted)
    with pytest.raises(AnalysisError, match="a level must be asked of a phenotype of classes; 't' is continuous"):
        find_level(_linear((N,)), "F")
    assert unit_of(three, 1) == "log odds of 'q'"
    assert unit_of(_linear((N,), unit=""), 0) == "units of t"
