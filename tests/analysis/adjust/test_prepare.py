from __future__ import annotations

import io
import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.analysis.adjust.combat import apply_combat, fit_combat
from featx.analysis.adjust.prepare import CONFOUNDS, HARMONISE, Prepare, principal_components
from featx.errors import AnalysisError

N = 60
COMBINATIONS = [
    {"confounds": confounds, "harmonise": harmonise, "pca": pca}
    for confounds in CONFOUNDS
    for harmonise in HARMONISE
    for pca in (None, 4, 0.8)
]


def rows(n: int = N, seed: int = 0, p: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sites, confounds (age, both sexes) and features that follow from both; the last feature is constant."""
    rng = np.random.default_rng(seed)
    site, sex = rng.integers(0, 3, n), rng.integers(0, 2, n)
    C = np.column_stack([rng.normal(60, 10, n), sex == 0, sex == 1])
    X = rng.standard_normal((n, p)) + 0.1 * C[:, :1] + sex[:, None] * np.arange(p) + site[:, None]
    X[:, -1] = 0.3
    return site, C, X


def together(site: np.ndarray, C: np.ndarray, X: np.ndarray, harmonise: str = "none") -> np.ndarray:
    return np.column_stack([site, C, X] if harmonise == "combat" else [C, X])


def made(n_confounds: int = 3, **options: object) -> Prepare:
    n_preserved = 3 if options.get("harmonise") == "combat" else 0
    return Prepare(n_confounds=n_confounds, n_preserved=n_preserved, **options)  # type: ignore[arg-type]


def test_without_options_features_pass_and_constant_ones_are_zero() -> None:
    _, C, X = rows()
    prepare = made().fit(np.column_stack([C, X]))
    Z = prepare.transform(np.column_stack([C, X + 1]))
    np.testing.assert_array_equal(Z[:, :-1], X[:, :-1] + 1)
    assert (Z[:, -1] == 0).all()  # also in new rows, where it has another value


def test_features_have_no_correlation_with_a_removed_confound() -> None:
    site, C, X = rows()
    Z = made(confounds="features", harmonise="combat").fit_transform(together(site, C, X, "combat"))
    correlation = np.corrcoef(np.column_stack([C, Z[:, :-1]]), rowvar=False)[:3, 3:]
    np.testing.assert_allclose(correlation, 0, atol=1e-10)
    np.testing.assert_allclose(Z[:, :-1].mean(axis=0), _combat(site, C, X)[:, :-1].mean(axis=0))


def _combat(site: np.ndarray, C: np.ndarray, X: np.ndarray) -> np.ndarray:
    return apply_combat(fit_combat(X, site, C), X, site, C)[0]


def test_sites_come_before_confounds() -> None:
    site, C, X = rows()
    Z = made(confounds="features", harmonise="combat").fit_transform(together(site, C, X, "combat"))
    harmonised = _combat(site, C, X)
    rest = harmonised - LinearRegression().fit(C, harmonised).predict(C) + harmonised.mean(axis=0)
    np.testing.assert_allclose(Z[:, :-1], rest[:, :-1], atol=1e-10)


@pytest.mark.parametrize("harmonise", HARMONISE)
def test_added_confounds_come_first_and_are_not_touched(harmonise: str) -> None:
    site, C, X = rows()
    C = np.column_stack([C, np.full(N, 0.7)])
    prepare = made(4, confounds="added", harmonise=harmonise)
    Z = prepare.fit_transform(together(site, C, X, harmonise))
    assert prepare.n_free_ == 4
    np.testing.assert_array_equal(Z[:, :3], C[:, :3])
    assert (Z[:, 3] == 0).all()  # constant in training
    expected = X if harmonise == "none" else _combat(site, C[:, :3], X)
    np.testing.assert_allclose(Z[:, 4:-1], expected[:, :-1])


@pytest.mark.parametrize("p", [6, 200])
def test_components_are_those_of_scikit_learn(p: int) -> None:
    site, C, X = rows(p=p)
    _, C_new, X_new = rows(7, seed=1, p=p)
    prepare = made(confounds="added", pca=4).fit(together(site, C, X))
    Z = prepare.transform(np.column_stack([C_new, X_new]))
    plain = make_pipeline(StandardScaler(), PCA(4, svd_solver="full")).fit(X)
    np.testing.assert_allclose(np.abs(Z[:, 3:]), np.abs(plain.transform(X_new)), atol=1e-8)
    np.testing.assert_array_equal(Z[:, :3], C_new)
    axes = prepare.components_
    assert axes is not None
    np.testing.assert_allclose(axes @ axes.T, np.eye(4), atol=1e-10)
    assert (axes.max(axis=1) == np.abs(axes).max(axis=1)).all()
    share = made(pca=0.8).fit(together(site, C, X)).components_
    assert share is not None
    assert len(share) == PCA(0.8, svd_solver="full").fit(StandardScaler().fit_transform(X)).n_components_


def test_more_components_than_there_are_give_as_many_as_there_are() -> None:
    _, C, X = rows()
    assert made(pca=50).fit_transform(np.column_stack([C, X])).shape == (N, 5)
    assert len(principal_components(np.array([[1.0, 2.0, 0.0], [-1.0, -2.0, 0.0]]), 3)) == 1


def test_what_confounds_explain_wholly_is_zero_and_not_rounding() -> None:
    """Else a head would stretch the rounding to unit variance."""
    _, C, X = rows()
    X[:, 1] = 3 * C[:, 0] - 7 * C[:, 1]
    for dtype in (np.float64, np.float32):
        prepare = made(confounds="features").fit(np.column_stack([C, X]).astype(dtype))
        assert prepare.varies_.tolist() == [True, False, True, True, True, False]
        assert (prepare.transform(np.column_stack([C, X]).astype(dtype))[:, [1, 5]] == 0).all()


def test_float32_says_how_much_of_a_feature_is_noise() -> None:
    _, C, X = rows()
    X[:, 2] = 1000 + 1e-3 * X[:, 2]
    assert made().fit(np.column_stack([C, X])).varies_[2]
    assert not made().fit(np.column_stack([C, X]).astype(np.float32)).varies_[2]


def test_a_feature_that_is_the_site_is_zero_once_harmonised() -> None:
    site, C, X = rows()
    X[:, 0] = site * 2.5
    prepare = made(harmonise="combat").fit(together(site, C, X, "combat"))
    assert prepare.varies_.tolist() == [False, True, True, True, True, False]


@pytest.mark.parametrize("options", COMBINATIONS, ids=str)
def test_order_of_rows_and_zero_of_a_confound_do_not_matter(options: dict[str, object]) -> None:
    site, C, X = rows()
    whole = together(site, C, X, str(options["harmonise"]))
    prepare = made(**options).fit(whole)
    Z, free = prepare.transform(whole), prepare.n_free_
    order = np.random.default_rng(1).permutation(N)
    np.testing.assert_allclose(made(**options).fit(whole[order]).transform(whole), Z, atol=1e-7)
    moved = together(site, C + [100.0, 5.0, -3.0], X, str(options["harmonise"]))
    np.testing.assert_allclose(made(**options).fit_transform(moved)[:, free:], Z[:, free:], atol=1e-7)


@pytest.mark.parametrize("options", COMBINATIONS, ids=str)
def test_a_row_is_prepared_by_the_training_rows_and_itself(options: dict[str, object]) -> None:
    whole = together(*rows(), str(options["harmonise"]))
    train, test = np.arange(40), np.arange(40, N)
    prepare = made(**options).fit(whole[train])
    before = {name: array.copy() for name, array in prepare.arrays().items()}
    Z = prepare.transform(whole[test])
    other = whole.copy()
    other[test[1:]] = together(*rows(N, seed=5), str(options["harmonise"]))[test[1:]] + 3
    np.testing.assert_allclose(prepare.transform(other[test])[0], Z[0], rtol=1e-12, atol=1e-12)
    assert all((prepare.arrays()[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize("options", COMBINATIONS, ids=str)
def test_settings_and_arrays_are_the_whole_of_it(options: dict[str, object]) -> None:
    whole = together(*rows(), str(options["harmonise"]))
    prepare = made(**options).fit(whole[:40])
    file = io.BytesIO()
    np.savez(file, **prepare.arrays())
    assert all(array.flags.c_contiguous for array in prepare.arrays().values())  # the order of sums may hang on it
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        again = Prepare.restore(json.loads(json.dumps(prepare.settings())), dict(stored))
    np.testing.assert_array_equal(again.transform(whole), prepare.transform(whole))
    assert again.n_free_ == prepare.n_free_
    assert again.get_params() == prepare.get_params()


def test_numpys_numbers_are_values_of_json_too() -> None:
    prepare = Prepare(n_confounds=np.int64(3), pca=np.int64(2)).fit(together(*rows()))
    assert json.loads(json.dumps(prepare.settings()))["pca"] == 2


def test_rows_of_a_site_that_was_not_seen_stay_as_they_are() -> None:
    site, C, X = rows()
    whole = together(site, C, X, "combat")
    prepare = made(harmonise="combat").fit(whole[site != 1])
    np.testing.assert_array_equal(prepare.transform(whole)[site == 1, :-1], X[site == 1, :-1])


def test_scikit_learn_can_copy_it_and_put_it_in_a_pipeline() -> None:
    site, C, X = rows()
    whole, y = together(site, C, X, "combat"), X[:, 0] - 0.1 * C[:, 0]
    prepare = made(confounds="features", harmonise="combat", pca=3)
    assert clone(prepare.fit(whole)).get_params() == prepare.get_params()
    assert not hasattr(clone(prepare), "varies_")
    pipeline = make_pipeline(prepare, StandardScaler(), Ridge()).fit(whole, y)
    expected = make_pipeline(StandardScaler(), Ridge()).fit(prepare.transform(whole), y)
    np.testing.assert_allclose(pipeline.predict(whole), expected.predict(prepare.transform(whole)))


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            {"confounds": "removed"},
            "'confounds' of Prepare must be a known word; 'removed' is not; known are 'added'",
        ),
        ({"harmonise": "ComBat"}, "'harmonise' of Prepare must be a known word; 'ComBat' is not; known are 'combat'"),
        ({"confounds": "features"}, "must have confounds to use, .* n_confounds is 0, n_preserved 0"),
        ({"n_confounds": 1, "n_preserved": 2}, "n_confounds is 1, n_preserved 2 and confounds 'ignore'; change one"),
        ({"n_confounds": 9}, "must have features after 9 columns of site and confounds; they have 9 columns in all"),
        ({"pca": 0}, "number of components or a share of the variance between 0 and 1; it is 0; give"),
        ({"pca": 1.0}, "it is 1.0; give such as 50 or 0.9, or None"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(AnalysisError, match=sentence):
        Prepare(**options).fit(together(*rows()))  # type: ignore[arg-type]


def test_rows_that_do_not_fit_are_refused() -> None:
    whole = together(*rows())
    prepare = made(confounds="features").fit(whole)
    with pytest.raises(
        AnalysisError, match="must have the columns of the training rows; they have 8 and the training"
    ):
        prepare.transform(whole[:, 1:])
    with pytest.raises(AnalysisError, match="components must have features that vary; none of 2 does in 60 training"):
        made(pca=2).fit(np.column_stack([whole[:, :3], np.ones((N, 2))]))
    whole[3, 4] = np.nan
    for refuse in (prepare.transform, made().fit):
        with pytest.raises(AnalysisError, match="site, confounds and features must be finite; .* first in column 4"):
            refuse(whole)
