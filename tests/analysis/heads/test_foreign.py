from __future__ import annotations

import sys

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from featx.analysis.adjust.prepare import Prepare
from featx.analysis.cohort.targets import BINARY, CONTINUOUS, MULTICLASS, ORDINAL
from featx.analysis.heads import (
    SKOPS,
    HeadOptions,
    applies,
    chosen_parameters,
    fitted_arrays,
    get_head,
    make_head,
    predict_arrays,
    predict_with,
)
from featx.analysis.heads.foreign import ForeignRegressor, from_skops, to_skops
from featx.errors import AnalysisError, BundleError, DependencyError

REGRESSORS = ["svm.SVR", "ensemble.RandomForestRegressor", "neighbors.KNeighborsRegressor", "linear_model.Lars"]
CLASSIFIERS = [
    "ensemble.RandomForestClassifier",
    "gaussian_process.GaussianProcessClassifier",
    "naive_bayes.GaussianNB",
]


def data(kind: str, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 4))
    signal = X[:, 0] + 0.2 * rng.standard_normal(n)
    return X, signal if kind == CONTINUOUS else np.digitize(signal, [0.0] if kind == BINARY else [-0.5, 0.5])


@pytest.mark.parametrize(
    "path, kind", [*((path, CONTINUOUS) for path in REGRESSORS), *((path, MULTICLASS) for path in CLASSIFIERS)]
)
@pytest.mark.parametrize("prepared", [False, True])
def test_estimators_are_fitted_stored_and_read_back(path: str, kind: str, prepared: bool) -> None:
    X, y = data(kind)
    name = f"sklearn:{path}"
    folds = list((KFold if kind == CONTINUOUS else StratifiedKFold)(3, shuffle=True, random_state=0).split(X, y))
    prepare = Prepare(n_confounds=1, confounds="features", pca=2) if prepared else None
    head = make_head(name, kind, cv=folds, prepare=prepare).fit(X, y)
    Z = head.prepare_.transform(X) if prepared else X
    restored = predict_arrays(SKOPS, kind, fitted_arrays(name, head), Z)
    np.testing.assert_allclose(restored, predict_with(head, kind, X), rtol=0, atol=1e-12)
    assert chosen_parameters(name, head) == {}


def test_a_grid_is_searched_as_scikit_learn_does() -> None:
    X, y = data(CONTINUOUS)
    folds = list(KFold(3, shuffle=True, random_state=0).split(X))
    grid = {"C": [0.1, 10.0], "kernel": ["rbf", "linear"]}
    head = make_head("sklearn:svm.SVR", ORDINAL, cv=folds, options=HeadOptions(grid=grid)).fit(X, y)
    own = {f"svr__{name}": values for name, values in grid.items()}
    plain = GridSearchCV(make_pipeline(StandardScaler(), SVR()), own, cv=folds, scoring="neg_mean_squared_error")
    plain.fit(X, y)
    assert head.chosen_ == {name.removeprefix("svr__"): value for name, value in plain.best_params_.items()}
    np.testing.assert_allclose(head.predict(X), plain.predict(X), atol=1e-12)


def test_seed_and_class_weights_arrive() -> None:
    X, y = data(BINARY)
    options = HeadOptions(random_state=5, class_weight="balanced")
    head = make_head("sklearn:ensemble.RandomForestClassifier", BINARY, cv=3 * [(np.arange(60), np.arange(60))],
                     options=options).fit(X, y)  # fmt: skip
    forest = head.estimator_.named_steps["estimator"]
    assert (forest.random_state, forest.class_weight, forest.n_jobs) == (5, "balanced", 1)


def test_a_head_of_scikit_learn_has_facts() -> None:
    assert applies("sklearn:svm.SVR", ORDINAL)
    assert not applies("sklearn:svm.SVR", BINARY)
    assert get_head("sklearn:svm.SVR").fixed == {"path": "svm.SVR"}
    with pytest.raises(
        AnalysisError, match="'sklearn:svm.SVR' does not suit a binary one; known are 'attention', 'boosting'"
    ):
        make_head("sklearn:svm.SVR", BINARY, cv=[])


@pytest.mark.parametrize(
    "path", ["svm.SRV", "SVR", "os.system", "..os.path", "svm.SVR()", "no_such.Thing", "svm.numpy"]
)
def test_other_names_are_refused(path: str) -> None:
    with pytest.raises(
        AnalysisError, match="written sklearn:module.Class; .* names no class of it; write for example"
    ):
        get_head(f"sklearn:{path}")


@pytest.mark.parametrize(
    "path, why",
    [("preprocessing.StandardScaler", "is neither"), ("ensemble.VotingRegressor", "must be given estimators")],
)
def test_what_cannot_stand_alone_is_refused(path: str, why: str) -> None:
    with pytest.raises(AnalysisError, match=f"a regressor or a classifier that stands alone; .* {why}; choose"):
        get_head(f"sklearn:{path}")


@pytest.mark.parametrize(
    "grid, says",
    [
        ({"c": [1.0]}, "'sklearn:svm.SVR' has no 'c'; known are 'C', 'cache_size'"),
        ({"C": 1.0}, "'C' of 'sklearn:svm.SVR' is 1.0; write \\[one, or, more\\]"),
        ({"C": []}, "'C' of 'sklearn:svm.SVR' is \\[\\]"),
    ],
)
def test_grids_that_mean_nothing_are_refused(grid: dict[str, object], says: str) -> None:
    X, y = data(CONTINUOUS)
    with pytest.raises(AnalysisError, match=says):
        ForeignRegressor("svm.SVR", cv=3, grid=grid).fit(X, y)


def test_classifiers_must_give_probabilities_and_know_weights() -> None:
    X, y = data(BINARY)
    pairs = list(StratifiedKFold(3).split(X, y))
    with pytest.raises(AnalysisError, match="'sklearn:svm.LinearSVC' gives labels alone; choose another head"):
        make_head("sklearn:svm.LinearSVC", BINARY, cv=pairs).fit(X, y)
    options = HeadOptions(class_weight="balanced")
    with pytest.raises(AnalysisError, match="has no class_weight; leave them out"):
        make_head("sklearn:naive_bayes.GaussianNB", BINARY, cv=pairs, options=options).fit(X, y)
    inside = [(np.flatnonzero(y == 0), np.flatnonzero(y == 1))]
    with pytest.raises(AnalysisError, match="2 classes were given and 1 are there"):
        make_head("sklearn:naive_bayes.GaussianNB", BINARY, cv=inside).fit(X, y)


def test_missing_features_are_refused() -> None:
    X, y = data(CONTINUOUS)
    X[0, 0] = np.nan
    with pytest.raises(AnalysisError, match="features must be finite"):
        ForeignRegressor("svm.SVR", cv=3).fit(X, y)


class Stranger(BaseEstimator):
    """A type that is not scikit-learn's."""


def test_a_file_of_other_types_is_not_loaded() -> None:
    with pytest.raises(BundleError, match=r"scikit-learn's own types; it names .*Stranger; take the original"):
        from_skops(skops.io.dumps(Stranger()))
    with pytest.raises(BundleError, match="must be a whole skops file; it is not"):
        from_skops(to_skops(SVR())[:100])


def test_without_skops_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(DependencyError, match="must have skops to be stored and read; .* pip install skops"):
        to_skops(SVR())
