from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from featx.analysis import grams, ridge, roads
from featx.analysis.adjust.prepare import Prepare
from featx.analysis.folds.splits import Split
from featx.analysis.ridge import RidgeFit, RidgePath, cross_validate_ridge, default_alphas
from featx.analysis.scaling import fit_scale
from featx.errors import AnalysisError

SHAPES = ["tall", "wide", "square", "constant", "duplicated", "float32"]


def data(shape: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    n, p = {"tall": (90, 12), "wide": (40, 150), "square": (32, 32)}.get(shape, (50, 20))
    X = rng.standard_normal((n, p)) * np.exp(rng.standard_normal(p)) + 5 * rng.standard_normal(p)
    if shape == "constant":
        X[:, 3], X[:, 4] = 0.1, 1e6
    if shape == "duplicated":
        X[:, 5] = X[:, 6]
    y = X[:, :3] @ rng.standard_normal(3) + 2 * rng.standard_normal(n) + 40
    return (X.astype(np.float32) if shape == "float32" else X), y


def targets(X: np.ndarray, y: np.ndarray, m: int, missing: float = 0.0) -> np.ndarray:
    """The target, noisier and noisier, and last of all nothing but noise; every second one has missing labels."""
    rng = np.random.default_rng(8)
    Y = y[:, None] + y.std() * np.linspace(0, 3, m) * rng.standard_normal((len(y), m))
    Y[:, -1] = rng.standard_normal(len(y))
    lost = rng.random(Y.shape) < missing
    if m > 1:
        lost[:, ::2] = False
    return np.where(lost, np.nan, Y)


def make_splits(n: int, k: int = 4, j: int = 3) -> list[Split]:
    rng = np.random.default_rng(1)
    folds = KFold(k, shuffle=True, random_state=0).split(np.zeros(n))
    return [Split(0, at, a, b, rng.permutation(len(a)) % j) for at, (a, b) in enumerate(folds)]


def search(alphas: np.ndarray, cv: object) -> GridSearchCV:
    return GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": alphas}, cv=cv, scoring="neg_mean_squared_error"
    )


def labelled_pairs(split: Split, there: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inner folds among the labelled training rows; `there` tells them apart."""
    inner = split.inner[there]
    return [(np.flatnonzero(inner != j), np.flatnonzero(inner == j)) for j in np.unique(inner)]


class Plain:
    """What is expected, by singular values: penalties, their errors, and predictions with the best of them."""

    def __init__(self, X: np.ndarray, y: np.ndarray, pairs: list, alphas: np.ndarray) -> None:
        X = X.astype(np.float64)
        missed = [y[b, None] - self.path(X[a], y[a], X[b], alphas) for a, b in pairs]
        self.errors = np.mean([np.square(one).mean(axis=0) for one in missed], axis=0)
        self.alpha = alphas[self.errors.argmin()]
        self.rows = X, y

    @staticmethod
    def path(X: np.ndarray, y: np.ndarray, new: np.ndarray, alphas: np.ndarray) -> np.ndarray:
        scaler = StandardScaler().fit(X)
        U, s, Vt = np.linalg.svd(scaler.transform(X), full_matrices=False)
        kept = s > 1e-10 * s[0]
        coef = Vt[kept].T @ ((U[:, kept].T @ (y - y.mean()) * s[kept])[:, None] / (s[kept, None] ** 2 + alphas))
        return scaler.transform(new) @ coef + y.mean()

    def predict(self, new: np.ndarray) -> np.ndarray:
        return self.path(*self.rows, new.astype(np.float64), np.array([self.alpha]))[:, 0]


def check_phenotypes(
    X: np.ndarray, Y: np.ndarray, splits: list[Split], alphas: np.ndarray, rtol: float = 1e-6
) -> None:
    for split, fit in zip(splits, cross_validate_ridge(X, Y, splits, alphas=alphas), strict=True):
        for at in range(Y.shape[1]):
            there = ~np.isnan(Y[split.train, at])
            rows = split.train[there]
            plain = Plain(X[rows], Y[rows, at], labelled_pairs(split, there), alphas)
            np.testing.assert_allclose(fit.errors[:, at], plain.errors, rtol=rtol)
            assert fit.alpha[at] == plain.alpha
            np.testing.assert_allclose(fit.predicted[:, at], plain.predict(X[split.test]), rtol=rtol)


# --- against scikit-learn -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_a_grid_search_in_every_split(shape: str) -> None:
    X, y = data(shape)
    Y, splits, alphas = targets(X, y, 2, 0.3), make_splits(len(X), k=2), default_alphas(X.shape[1])
    exact = X.astype(np.float64)
    for split, fit in zip(splits, cross_validate_ridge(X, Y, splits), strict=True):
        for at in range(2):
            there = ~np.isnan(Y[split.train, at])
            rows = split.train[there]
            plain = search(alphas, labelled_pairs(split, there)).fit(exact[rows], Y[rows, at])
            np.testing.assert_allclose(fit.errors[:, at], -plain.cv_results_["mean_test_score"], rtol=1e-6)
            assert fit.alpha[at] == plain.best_params_["ridge__alpha"]
            np.testing.assert_allclose(fit.predicted[:, at], plain.predict(exact[split.test]), rtol=1e-6)


@pytest.mark.parametrize("m", [1, 5])
@pytest.mark.parametrize("missing", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_phenotype_is_fitted_on_its_labelled_rows(shape: str, missing: float, m: int) -> None:
    X, y = data(shape)
    check_phenotypes(X, targets(X, y, m, missing), make_splits(len(X)), default_alphas(X.shape[1]))


def test_equals_a_grid_search_inside_cross_val_predict() -> None:
    X, y = data("tall")
    outer, inner = KFold(5, shuffle=True, random_state=2), KFold(4)
    splits = []
    for at, (train, test) in enumerate(outer.split(X)):
        number = np.empty(len(train), dtype=np.int64)
        for j, (_, valid) in enumerate(inner.split(train)):
            number[valid] = j
        splits.append(Split(0, at, train, test, number))
    fits = cross_validate_ridge(X, y[:, None], splits)
    ours = np.empty(len(y))
    for split, fit in zip(splits, fits, strict=True):
        ours[split.test] = fit.predicted[:, 0]
    expected = cross_val_predict(search(default_alphas(X.shape[1]), inner), X, y, cv=outer)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", ["tall", "wide", "duplicated"])
def test_rows_may_be_drawn_several_times(shape: str) -> None:
    X, y = data(shape)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(X) - 5, len(X))
    split = Split(0, 0, drawn, np.arange(len(X) - 5, len(X)), np.arange(len(X)) % 3)
    (fit,) = cross_validate_ridge(X, y[:, None], [split])
    plain = Plain(X[drawn], y[drawn], split.inner_pairs(), default_alphas(X.shape[1]))
    np.testing.assert_allclose(fit.errors[:, 0], plain.errors, rtol=1e-6)
    np.testing.assert_allclose(fit.predicted[:, 0], plain.predict(X[split.test]), rtol=1e-6)


@pytest.mark.parametrize("shape", ["tall", "wide", "square", "duplicated"])
def test_penalties_may_be_tiny(shape: str) -> None:
    X, y = data(shape)
    check_phenotypes(X, targets(X, y, 2, 0.3), make_splits(len(X)), np.array([1e-6, 1e-5, 1e-4]))


@pytest.mark.parametrize("shape", ["tall", "wide", "duplicated", "few rows, drawn often"])
def test_no_penalty_is_least_squares_of_least_norm(shape: str) -> None:
    X, y = data(shape)
    split = make_splits(len(X))[0]
    if shape == "few rows, drawn often":
        split = Split(0, 0, np.repeat(np.arange(8), 6), np.arange(8, 20), np.repeat(np.arange(2), 24))
    (fit,) = cross_validate_ridge(X, y[:, None], [split], alphas=[0.0])
    scaler = StandardScaler().fit(X[split.train])
    mean = y[split.train].mean()
    coef = np.linalg.lstsq(scaler.transform(X[split.train]), y[split.train] - mean, rcond=1e-8)[0]
    np.testing.assert_allclose(fit.predicted[:, 0], scaler.transform(X[split.test]) @ coef + mean, rtol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("spread", [1e-3, 1e-7, 0.0])
def test_a_column_may_vary_in_one_row_far_more_than_in_all_others(spread: float, missing: float) -> None:
    """Where that row validates, or has no label, nothing of its size may be left in the sums of the others."""
    X, y = data("tall")
    rng = np.random.default_rng(0)
    X[:, 2] = spread * rng.standard_normal(len(X))
    X[7, 2] = 10.0
    Y = targets(X, y + X[:, 2] / (spread or 1) * (np.arange(len(X)) != 7), 3, missing)
    Y[7, 1] = np.nan
    check_phenotypes(X, Y, make_splits(len(X)), default_alphas(X.shape[1]), rtol=1e-5)


def test_a_column_may_vary_in_one_unlabelled_row_far_more_than_in_many_others() -> None:
    """What is left of the sums when that row is subtracted is larger than their rounding, and yet too inexact."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 3))
    X[:, 1] *= 1.2e-7
    y = X[:, 0] + X[:, 1] / 1.2e-7 + rng.standard_normal(400)
    X[7, 1], y[7] = 1.0, np.nan
    check_phenotypes(X, y[:, None], make_splits(400), default_alphas(3))


# --- confounds ------------------------------------------------------------------------------------------------


def confounds(n: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(11)
    number = 60 + 10 * rng.standard_normal((n, 1))
    if kind == "number":
        return number
    return np.hstack([number, np.eye(3)[np.arange(n) % 3], 1e5 * rng.standard_normal((n, 1))])


def regress(C: np.ndarray, columns: np.ndarray, used: bool) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of least norm on centred C, each column in units of its range."""
    units = np.ptp(C, axis=0)
    coef = np.linalg.lstsq((C - C.mean(axis=0)) / units, columns - columns.mean(axis=0), rcond=1e-9)[0]
    return columns.mean(axis=0), used * coef / units.reshape(-1, *[1] * (columns.ndim - 1))


def removed(X: np.ndarray, y: np.ndarray, C: np.ndarray, remove: str, rows: tuple[np.ndarray, np.ndarray]):
    """Features and target of training and other rows without the confounds, and the latter's confounds' part."""
    train, other = rows
    centred = C - C[train].mean(axis=0)
    _, on_X = regress(C[train], X[train], remove in ("features", "both"))
    _, on_y = regress(C[train], y[train], remove in ("target", "both"))
    X, part = X - centred @ on_X, centred @ on_y
    return X[train], (y - part)[train], X[other], (y - part)[other], part[other]


@pytest.mark.parametrize("remove", ["features", "target", "both"])
@pytest.mark.parametrize("kind", ["number", "many"])
@pytest.mark.parametrize("shape", ["tall", "wide", "float32"])
def test_confounds_are_removed_within_every_training_set(shape: str, kind: str, remove: str) -> None:
    X, y = data(shape)
    C = confounds(len(X), kind)
    y = y + C @ np.full(C.shape[1], 0.1) + X[:, 0]
    Y, splits, alphas = targets(X, y, 2, 0.2), make_splits(len(X)), np.logspace(-1, 3, 5)
    exact = X.astype(np.float64)
    fits = cross_validate_ridge(X, Y, splits, alphas=alphas, confounds=C, remove=remove)
    for split, fit in zip(splits, fits, strict=True):
        for at in range(2):
            there = ~np.isnan(Y[split.train, at])
            rows = split.train[there]
            errors = []
            for a, b in labelled_pairs(split, there):
                X_train, y_train, X_valid, y_valid, _ = removed(exact, Y[:, at], C, remove, (rows[a], rows[b]))
                missed = y_valid[:, None] - Plain.path(X_train, y_train, X_valid, alphas)
                errors.append(np.square(missed).mean(axis=0))
            np.testing.assert_allclose(fit.errors[:, at], np.mean(errors, axis=0), rtol=1e-6)
            assert fit.alpha[at] == alphas[np.argmin(np.mean(errors, axis=0))]
            X_train, y_train, X_test, _, part = removed(exact, Y[:, at], C, remove, (rows, split.test))
            own = Plain.path(X_train, y_train, X_test, fit.alpha[[at]])[:, 0]
            np.testing.assert_allclose(fit.predicted[:, at], own + part, rtol=1e-6)
            np.testing.assert_allclose(fit.offset[:, at], part, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(fit.confound_mean[at], C[rows].mean(axis=0))
            tell = (C[split.test] - fit.confound_mean[at]) @ fit.offset_coef[at]
            np.testing.assert_allclose(fit.offset[:, at], tell, atol=1e-9)


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_removal_from_both_is_a_covariate_without_penalty(shape: str) -> None:
    X, y = data(shape)
    C = confounds(len(X), "number")
    split = make_splits(len(X))[0]
    (fit,) = cross_validate_ridge(X, y[:, None], [split], alphas=[3.0], confounds=C, remove="both")
    C_train, X_train = C[split.train], X[split.train]
    N = np.column_stack([np.ones(len(C_train)), C_train])
    left = X_train - N @ np.linalg.lstsq(N, X_train, rcond=None)[0]
    unit = left.std(axis=0)
    A = np.hstack([N, X_train / unit])
    penalty = np.diag([0.0, 0.0, *np.full(X.shape[1], 3.0)])
    coef = np.linalg.solve(A.T @ A + penalty, A.T @ y[split.train])
    new = np.hstack([np.ones((len(split.test), 1)), C[split.test], X[split.test] / unit])
    np.testing.assert_allclose(fit.predicted[:, 0], new @ coef, rtol=1e-6)


def test_without_features_the_confounds_are_left() -> None:
    X, y = data("tall")
    C = confounds(len(X), "many")
    splits = make_splits(len(X))
    for split, fit in zip(
        splits, cross_validate_ridge(X[:, :0], y[:, None], splits, confounds=C, remove="both"), strict=True
    ):
        N = np.column_stack([np.ones(len(C)), C / np.ptp(C, axis=0)])
        coef = np.linalg.lstsq(N[split.train], y[split.train], rcond=1e-9)[0]
        np.testing.assert_allclose(fit.predicted[:, 0], N[split.test] @ coef, rtol=1e-6)
        assert fit.coef.shape == (0, 0)


def test_a_level_that_is_not_in_training_gets_the_mean_of_the_levels() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat([0, 1, 2], [30, 20, 10])
    C, y = np.eye(3)[level], np.array([1.0, 5.0, 90.0])[level] + 0.01 * rng.standard_normal(60)
    split = Split(0, 0, np.flatnonzero(level < 2), np.flatnonzero(level == 2), np.arange(50) % 2)
    (fit,) = cross_validate_ridge(np.empty((60, 0)), y[:, None], [split], confounds=C, remove="both")
    np.testing.assert_allclose(fit.predicted, 3.0, atol=0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [8, 80])
def test_a_feature_that_is_nothing_but_confounds_counts_for_nothing(p: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    C = rng.standard_normal((60, 2))
    X = rng.standard_normal((60, p)).astype(dtype)
    X[:, 4] = (C @ [2.0, 3.0] + 7).astype(dtype)
    y = rng.standard_normal((60, 1))
    for split, fit in zip(
        make_splits(60),
        cross_validate_ridge(X, y, make_splits(60), confounds=C, remove="features", keep_coef=True),
        strict=True,
    ):
        assert fit.coef[0, 4] == 0
        assert (np.delete(fit.coef[0], 4) != 0).all(), split


# --- what a fit tells -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("remove", ["none", "features", "target", "both"])
@pytest.mark.parametrize("shape", ["tall", "wide", "constant"])
def test_coefficients_are_those_of_the_predictions(shape: str, remove: str) -> None:
    X, y = data(shape)
    C = confounds(len(X), "many")
    Y, everybody = targets(X, y, 3, 0.2), np.arange(len(X))
    split = Split(0, 0, everybody[5:], everybody[:5], everybody[5:] % 3)
    whole = Split(0, 0, everybody[5:], everybody[:0], everybody[5:] % 3)
    (fit,) = cross_validate_ridge(X, Y, [split], confounds=C, remove=remove, keep_coef=True)
    (final,) = cross_validate_ridge(X, Y, [whole], confounds=C, remove=remove)
    q = 0 if remove == "none" else C.shape[1]
    assert (final.predicted.shape, final.offset.shape) == ((0, 3), (0, 3))
    assert (final.coef.shape, final.coef_confounds.shape, final.intercept.shape) == ((3, X.shape[1]), (3, q), (3,))
    own = X[:5] @ final.coef.T + C[:5, :q] @ final.coef_confounds.T + final.intercept
    np.testing.assert_allclose(fit.predicted, own, rtol=1e-7)
    np.testing.assert_allclose(fit.coef, final.coef, rtol=1e-9)
    if remove in ("none", "features"):
        assert not fit.offset.any()
    if shape == "constant":
        assert (final.coef[:, 3:5] == 0).all()
    assert cross_validate_ridge(X, Y, [split], confounds=C, remove=remove)[0].coef.shape == (0, 0)


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_number_of_threads_changes_no_byte(shape: str) -> None:
    X, y = data(shape)
    Y, splits, blas = targets(X, y, 4, 0.2), make_splits(len(X)), []

    def on_split() -> None:
        blas.append([pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"])

    with threadpool_limits(limits=2):
        one, two = (cross_validate_ridge(X, Y, splits, n_jobs=n_jobs, on_split=on_split) for n_jobs in (1, 2))
    assert len(blas) == 2 * len(splits)
    assert {number for told in blas for number in told} <= {1}
    for a, b in zip(one, two, strict=True):
        for field in fields(RidgeFit):
            assert getattr(a, field.name).tobytes() == getattr(b, field.name).tobytes(), field.name


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_small_chunks_of_rows_columns_penalties_and_phenotypes_change_nothing(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = data(shape)
    C, Y, splits = confounds(len(X), "many"), targets(X, y, 7, 0.3), make_splits(len(X))
    at_once = cross_validate_ridge(X, Y, splits, confounds=C, remove="both", keep_coef=True)
    monkeypatch.setattr(grams, "_CHUNK_BYTES", 8 * 200)
    monkeypatch.setattr(roads, "_BYTES_OF_PENALTIES", 1)
    monkeypatch.setattr(ridge, "MOST_BYTES", 8 * 11 * 17 * 2)
    in_parts = cross_validate_ridge(X, Y, splits, confounds=C, remove="both", keep_coef=True)
    for a, b in zip(at_once, in_parts, strict=True):
        for field in fields(RidgeFit):
            np.testing.assert_allclose(getattr(a, field.name), getattr(b, field.name), rtol=1e-6, atol=1e-9)


def test_a_fold_without_labelled_validation_rows_is_left_out() -> None:
    X, y = data("tall")
    split = make_splits(len(X))[0]
    Y = np.column_stack([y, y])
    Y[split.train[split.inner == 1], 1] = np.nan
    (fit,) = cross_validate_ridge(X, Y, [split])
    rows = split.train[split.inner != 1]
    (alone,) = cross_validate_ridge(X, y[:, None], [Split(0, 0, rows, split.test, split.inner[split.inner != 1])])
    np.testing.assert_allclose(fit.errors[:, 1], alone.errors[:, 0], rtol=1e-9)
    np.testing.assert_allclose(fit.predicted[:, 1], alone.predicted[:, 0], rtol=1e-9)


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_one_test_row_changes_neither_the_fit_nor_other_predictions(shape: str) -> None:
    X, y = data(shape)
    C, split = confounds(len(X), "number"), make_splits(len(X))[0]
    before = cross_validate_ridge(X, y[:, None], [split], confounds=C, remove="both", keep_coef=True)[0]
    X, y, C = X.copy(), y.copy(), C.copy()
    X[split.test[0]], y[split.test[0]], C[split.test[0]] = 1e6, 1e6, 1e6
    after = cross_validate_ridge(X, y[:, None], [split], confounds=C, remove="both", keep_coef=True)[0]
    assert (before.predicted[1:] == after.predicted[1:]).all()
    for name in ("coef", "coef_confounds", "offset_coef", "intercept", "errors"):
        assert (getattr(before, name) == getattr(after, name)).all()


def test_a_permuted_target_is_predicted_at_chance() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 30))
    y = X[:, :5].sum(axis=1) + rng.standard_normal(150)
    Y = np.column_stack([y, *(rng.permutation(y) for _ in range(40))])
    splits = make_splits(150, k=5)
    predicted = np.empty_like(Y)
    for split, fit in zip(splits, cross_validate_ridge(X, Y, splits), strict=True):
        predicted[split.test] = fit.predicted
    r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(Y.T, predicted.T, strict=True)])
    assert r[0] > 0.85
    assert r[1:].max() < 0.4
    assert abs(r[1:].mean()) < 0.1


def test_of_equally_good_penalties_the_first_is_taken() -> None:
    X, y = data("tall")
    split = make_splits(len(X))[0]
    (fit,) = cross_validate_ridge(np.full_like(X, 3.0), y[:, None], [split], alphas=[5.0, 1.0, 9.0])
    assert fit.alpha.tolist() == [5.0]


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"remove": "features"}, "no confounds; give their columns, or remove='none'"),
        ({"remove": "all"}, "'all' is not; known are 'both', 'features', 'none', 'target'"),
        ({"X": np.ones(6)}, r"matrices with the same rows; shapes \(6,\), \(6, 2\) and \(6, 0\) were got"),
        ({"X": np.ones((5, 2))}, r"shapes \(5, 2\), \(6, 2\) and \(5, 0\) were got"),
        (
            {"X": np.array([[1.0, 2.0]] * 5 + [[3.0, np.nan]])},
            "features must be finite; 1 cells are not, .*row 5, colu",
        ),
        ({"Y": np.full((6, 2), np.inf)}, "targets must be finite or NaN; 12 cells are not"),
        ({"confounds": np.full((6, 1), np.nan), "remove": "both"}, "confounds must be finite; 6 cells are not"),
        ({"alphas": [1.0, -1.0]}, r"0 or more; \[1.0, -1.0\] was got; give at least one"),
        ({"alphas": []}, r"0 or more; \[\] was got; give at least one"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], sentence: str) -> None:
    split = Split(0, 0, np.arange(6), np.arange(0), np.arange(6) % 2)
    asked = {"X": np.ones((6, 2)), "Y": np.ones((6, 2)), "splits": [split], **change}
    with pytest.raises(AnalysisError, match=sentence):
        cross_validate_ridge(**asked)


def test_a_phenotype_with_too_few_labels_is_refused() -> None:
    X, y = data("tall")
    split = make_splits(len(X), j=2)[0]
    Y = np.column_stack([y, y])
    Y[split.train[split.inner == 1][1:], 1] = np.nan
    with pytest.raises(AnalysisError, match=r"phenotype 1 \(counted from 0\) has 1 of 35 .* leave it out"):
        cross_validate_ridge(X, Y, [split])


# --- the estimator --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [*SHAPES, "no folds"])
def test_estimator_equals_scikit_learn_on_the_same_folds(shape: str) -> None:
    X, y = data(shape)
    splitter = ShuffleSplit(3, test_size=0.3, random_state=0) if shape == "no folds" else KFold(3)
    folds = list(splitter.split(X))
    alphas = default_alphas(X.shape[1])
    ours = RidgePath(cv=folds).fit(X, y)
    plain = search(alphas, folds).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(ours.errors_, -plain.cv_results_["mean_test_score"], rtol=1e-6)
    assert ours.alpha_ == plain.best_params_["ridge__alpha"]
    np.testing.assert_allclose(ours.predict(X), plain.predict(X.astype(np.float64)), rtol=1e-6)
    best = plain.best_estimator_
    np.testing.assert_allclose(ours.coef_, best["ridge"].coef_ / best["standardscaler"].scale_, rtol=1e-6, atol=1e-9)


def test_constant_columns_count_for_nothing_even_where_they_change() -> None:
    X, y = data("constant")
    head = RidgePath(cv=5).fit(X, y)
    assert head.coef_[3] == head.coef_[4] == 0
    changed = X.copy()
    changed[:, 3:5] = 7
    assert (head.predict(changed) == head.predict(X) - 0).all()


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, -3e-7])
def test_columns_of_one_value_are_constant(value: float) -> None:
    assert not fit_scale(np.full((37, 1), value)).varies[0]
    assert fit_scale(np.r_[np.full(36, value), value * 1.001][:, None]).varies[0]


def test_penalties_can_be_given() -> None:
    X, y = data("tall")
    assert RidgePath(alphas=[7.0], cv=3).fit(X, y).alpha_ == 7.0


@pytest.mark.parametrize("p", [5, 100])
def test_a_float32_column_that_varies_by_rounding_alone_is_constant(p: int) -> None:
    """A unit of a network that sees background only: in units of its rounding a new brain is far away."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, p)).astype(np.float32)
    X[:, 3] = 4.4e-4 * (1 + 3e-6 * rng.normal(size=60))
    y = X[:, 0] + 0.1 * rng.normal(size=60)
    new = X[:1].copy()
    new[0, 3] = 4.5e-4
    head = RidgePath().fit(X, y)
    assert head.coef_[3] == 0
    np.testing.assert_array_equal(head.predict(new), head.predict(X[:1]))
    assert RidgePath().fit(X.astype(np.float64), y).coef_[3] != 0


class Squares(TransformerMixin, BaseEstimator):
    """Gives the first column, not to be penalised, and the others in units that only its training rows tell."""

    n_free_ = 1

    def fit(self, X: np.ndarray, y: object = None) -> Squares:
        self.largest_ = np.abs(X[:, 1:]).max(axis=0)
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return np.hstack([X[:, :1], np.square(X[:, 1:] / self.largest_).astype(np.float64)])


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_what_stands_before_the_head_is_fitted_in_every_training_set(shape: str) -> None:
    X, y = data(shape)
    alphas, folds = np.logspace(-1, 3, 5), list(KFold(3, shuffle=True, random_state=0).split(X))
    head = RidgePath(alphas, folds, Squares()).fit(X, y)

    def plain(train: np.ndarray, other: np.ndarray, alpha: float) -> np.ndarray:
        prepare = Squares().fit(X[train])
        Z, new = prepare.transform(X[train]), prepare.transform(X[other])
        N, N_new = (np.column_stack([np.ones(len(one)), one[:, 0]]) for one in (Z, new))
        coef = np.linalg.lstsq(N, np.column_stack([y[train], Z[:, 1:]]), rcond=None)[0]
        left, left_new = Z[:, 1:] - N @ coef[:, 1:], new[:, 1:] - N_new @ coef[:, 1:]
        fitted = make_pipeline(StandardScaler(), Ridge(alpha)).fit(left, y[train] - N @ coef[:, 0])
        return fitted.predict(left_new) + N_new @ coef[:, 0]

    errors = [[np.mean((y[b] - plain(a, b, alpha)) ** 2) for alpha in alphas] for a, b in folds]
    np.testing.assert_allclose(head.errors_, np.mean(errors, axis=0), rtol=1e-6)
    everybody = np.arange(len(X))
    np.testing.assert_allclose(head.predict(X), plain(everybody, everybody, head.alpha_), rtol=1e-6)
    assert head.coef_.shape == (X.shape[1],)
    assert head.prepare_.largest_.shape == (X.shape[1] - 1,)


def test_confounds_before_the_estimator_equal_those_of_the_solver() -> None:
    X, y = data("tall")
    C = confounds(len(X), "many")
    split = make_splits(len(X))[0]
    for confounded, remove in (("features", "features"), ("added", "both")):
        prepare = Prepare(n_confounds=C.shape[1], confounds=confounded)
        head = RidgePath(default_alphas(X.shape[1]), split.inner_pairs(), clone(prepare))
        head.fit(np.hstack([C, X])[split.train], y[split.train])
        (fit,) = cross_validate_ridge(X, y[:, None], [split], confounds=C, remove=remove)
        np.testing.assert_allclose(head.errors_, fit.errors[:, 0], rtol=1e-6)
        np.testing.assert_allclose(head.predict(np.hstack([C, X])[split.test]), fit.predicted[:, 0], rtol=1e-6)
        assert head.alpha_ == fit.alpha[0]


def test_the_estimator_wants_every_label() -> None:
    X, y = data("tall")
    y[3] = np.nan
    with pytest.raises(AnalysisError, match="1 of 90 are NaN; leave those rows out"):
        RidgePath().fit(X, y)
