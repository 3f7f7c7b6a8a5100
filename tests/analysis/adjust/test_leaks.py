"""What a confound alone can predict must be gone once it is removed, and removal must know training people only."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.analysis.adjust.confounds import fit_removal, remove
from featx.analysis.adjust.prepare import Prepare

FOLDS = KFold(5, shuffle=True, random_state=0)


def cross_validated_r(X: np.ndarray, y: np.ndarray, prepare: Prepare, alpha: float = 10.0) -> float:
    head = make_pipeline(prepare, StandardScaler(), Ridge(alpha))
    return float(np.corrcoef(y, cross_val_predict(head, X, y, cv=FOLDS))[0, 1])


def caused_by_a_confound(n: int, p: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Age makes the features and the target; given age they know nothing of each other."""
    rng = np.random.default_rng(seed)
    age = rng.normal(60, 10, n)
    X = (age[:, None] - 60) / 10 * rng.standard_normal(p) + rng.standard_normal((n, p))
    return age[:, None], X, 2 * (age - 60) / 10 + rng.standard_normal(n)


def test_what_features_owe_to_a_confound_is_gone_once_it_is_removed() -> None:
    kept, removed = [], []
    for seed in range(10):
        C, X, y = caused_by_a_confound(200, 20, seed)
        whole = np.column_stack([C, X])
        kept.append(cross_validated_r(whole, y, Prepare(n_confounds=1)))
        removed.append(cross_validated_r(whole, y, Prepare(n_confounds=1, confounds="features")))
    assert min(kept) > 0.8
    assert max(removed) < 0.2
    assert np.mean(removed) < 0.05


def test_features_that_know_more_than_the_confound_keep_it() -> None:
    C, X, y = caused_by_a_confound(200, 20, 0)
    X[:, 0] += 2 * np.random.default_rng(9).standard_normal(200)
    y = y + X[:, 0]
    removed = Prepare(n_confounds=1, confounds="features")
    assert cross_validated_r(np.column_stack([C, X]), y, removed) > 0.5


def site_effects(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 4, 240)
    X = (rng.standard_normal((4, 30)) * 2)[site] + rng.standard_normal((240, 30)) * np.array([1, 1.5, 2, 1])[
        site, None
    ]
    return site, X, np.array([0.0, 2.0, 4.0, 6.0])[site] + rng.standard_normal(240)


def test_what_features_owe_to_the_site_is_gone_once_they_are_harmonised() -> None:
    plain, harmonised = [], []
    for seed in range(5):
        site, X, y = site_effects(seed)
        plain.append(cross_validated_r(X, y, Prepare()))
        harmonised.append(cross_validated_r(np.column_stack([site, X]), y, Prepare(harmonise="combat")))
    assert min(plain) > 0.8
    assert max(harmonised) < 0.25
    assert np.mean(harmonised) < 0.1


def test_removal_that_has_seen_the_test_people_is_another() -> None:
    """With many confounds it is much: fitted on everybody, removal takes out what test people owe to chance."""
    rng = np.random.default_rng(0)
    C, X = rng.standard_normal((100, 60)), rng.standard_normal((100, 10))
    inside = Prepare(n_confounds=60, confounds="features")
    everybody = remove(fit_removal(C, X), C, X)
    safe, leaked = [], []
    for train, test in FOLDS.split(X):
        prepared = inside.fit(np.column_stack([C, X])[train]).transform(np.column_stack([C, X])[test])
        safe.append(prepared.var())
        leaked.append(everybody[test].var())
    assert np.mean(leaked) < 0.6 < 1.5 < np.mean(safe)
