from __future__ import annotations

import numpy as np
import pytest

from featx.analysis.adjust import combat as module
from featx.analysis.adjust import confounds
from featx.analysis.adjust.combat import apply_combat, fit_combat, shrink
from featx.errors import AnalysisError


def scanners() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """24 people at three sites: features, site, and the covariates age and sex."""
    rng = np.random.default_rng(2024)
    site = np.repeat([3, 7, 8], [10, 8, 6])
    age, sex = rng.integers(20, 80, 24).astype(float), rng.integers(0, 2, 24).astype(float)
    X = 10 + rng.standard_normal((24, 5)) + 0.03 * age[:, None] + 0.5 * sex[:, None] * np.arange(5)
    X += np.array([0.0, 1.5, -1.0])[np.searchsorted([3, 7, 8], site), None] * [1.0, 0.5, 1.5, 1.0, 2.0]
    X = np.where(site[:, None] == 7, X.mean(axis=0) + 1.8 * (X - X.mean(axis=0)), X)
    return X.round(3), site, np.column_stack([age, sex])


# neuroCombat 0.2.12, on scanners(), with numpy 1.26:
#     covars = pandas.DataFrame({"SITE": site, "age": age, "sex": sex})
#     done = neuroCombat(X.T, covars, "SITE", continuous_cols=["age", "sex"])
#     done["estimates"]["gamma.star"]; done["estimates"]["delta.star"]; done["data"].T[[0, 11, 23]]
# Its iteration ends at changes below 1e-4; SETTLED is the same call with it_sol.__defaults__ = (1e-13,).
PUBLISHED = {
    "gamma": [
        [-0.3390114946, -0.0452051567, -1.0401946565, -0.3766210748, -0.8560154266],
        [1.3251755679, 1.3195933038, 3.0699235745, 1.6301497578, 2.7017405262],
        [-1.1736679162, -1.7569815458, -2.3028659153, -1.5571807919, -2.1625615323],
    ],
    "delta": [
        [0.4606932463, 0.7582073683, 0.5934967761, 0.6333345607, 0.478695353],
        [2.1848038659, 1.6857488526, 1.9554350909, 1.9931081753, 2.0319227874],
        [0.5449066036, 1.101411744, 0.8443699095, 0.6380305751, 0.8362981864],
    ],
    "data": [
        [10.7267551654, 11.7128569881, 12.0756585834, 12.536336822, 13.9984225917],
        [10.7332072467, 10.3908652331, 12.765593299, 12.7027880848, 15.1443270319],
        [12.5096018434, 13.5018640671, 14.1813548273, 14.4029826445, 17.0119243313],
    ],
}
SETTLED = {
    "gamma": [
        [-0.3390114946, -0.0452048914, -1.0401946861, -0.3766210748, -0.8560154237],
        [1.3251755515, 1.3195933125, 3.0699235695, 1.6301497577, 2.7017405314],
        [-1.173670532, -1.7569815458, -2.3028664222, -1.557180795, -2.1625615854],
    ],
    "delta": [
        [0.4606932463, 0.758207333, 0.5934967728, 0.6333345607, 0.4786953532],
        [2.1848038641, 1.6857488533, 1.9554350916, 1.9931081753, 2.0319227869],
        [0.5449069933, 1.101411744, 0.8443698174, 0.6380305753, 0.8362981795],
    ],
    "data": [
        [10.7267551655, 11.7128567096, 12.0756586135, 12.536336822, 13.9984225854],
        [10.7332072651, 10.3908652273, 12.7655933018, 12.7027880848, 15.1443270266],
        [12.5096076384, 13.5018640671, 14.1813553056, 14.4029826488, 17.0119244263],
    ],
}
# neuroHarmonize 2.5.2, with new = [0, 12, 20] and old the other rows, it_sol as for SETTLED:
#     model, _ = harmonizationLearn(X[old], covars.iloc[old]); harmonizationApply(X[new], covars.iloc[new], model)
NEW = [0, 12, 20]
APPLIED = [
    [10.6015773389, 11.6312026387, 11.9625197191, 12.304772966, 14.0078964659],
    [13.3104943906, 13.7813276255, 15.4048370382, 17.0054200887, 15.7398022696],
    [9.6305108415, 12.1082686936, 13.081609472, 11.7209514934, 13.7227548097],
]


@pytest.mark.parametrize("numbers, rtol", [(PUBLISHED, 1e-5), (SETTLED, 1e-8)], ids=["published", "settled"])
def test_equals_neurocombat(numbers: dict[str, list[list[float]]], rtol: float) -> None:
    X, site, W = scanners()
    combat = fit_combat(X, site, W)
    adjusted, unseen = apply_combat(combat, X, site, W)
    np.testing.assert_allclose(combat.gamma, numbers["gamma"], rtol=rtol)
    np.testing.assert_allclose(combat.delta, numbers["delta"], rtol=rtol)
    np.testing.assert_allclose(adjusted[[0, 11, 23]], numbers["data"], rtol=rtol)
    assert not unseen.any()


def test_new_people_equal_neuroharmonize() -> None:
    X, site, W = scanners()
    old = np.setdiff1d(np.arange(24), NEW)
    adjusted, _ = apply_combat(fit_combat(X[old], site[old], W[old]), X[NEW], site[NEW], W[NEW])
    np.testing.assert_allclose(adjusted, APPLIED, rtol=1e-8)


def test_sites_are_made_alike_and_covariates_keep_their_effects() -> None:
    rng = np.random.default_rng(0)
    site = rng.integers(0, 3, 3000)
    age = rng.standard_normal((3000, 1)) + 0.8 * site[:, None]
    effect, noise = age * rng.standard_normal(20), rng.standard_normal((3000, 20))
    X = effect + noise * np.array([1.0, 2.0, 0.5])[site, None] + rng.standard_normal((3, 20))[site]
    adjusted, _ = apply_combat(fit_combat(X, site, age), X, site, age)
    means, spreads = _by_site(adjusted - effect, site)
    assert np.ptp(means, axis=0).max() < 0.1
    assert (spreads.max(axis=0) / spreads.min(axis=0)).max() < 1.1
    # without the covariate, what age does between the sites is taken for the scanners, and goes
    plain, _ = apply_combat(fit_combat(X, site, age[:, :0]), X, site, age[:, :0])
    assert np.ptp(_by_site(plain, site)[0], axis=0).max() < 0.1
    assert np.ptp(_by_site(effect, site)[0], axis=0).max() > 1


def _by_site(X: np.ndarray, site: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = [X[site == one] for one in np.unique(site)]
    return np.stack([one.mean(axis=0) for one in rows]), np.stack([one.std(axis=0) for one in rows])


def test_a_site_that_was_not_seen_stays_as_it_is() -> None:
    X, site, W = scanners()
    old = site != 7
    adjusted, unseen = apply_combat(fit_combat(X[old], site[old], W[old]), X, site, W)
    np.testing.assert_array_equal(unseen, ~old)
    np.testing.assert_array_equal(adjusted[unseen], X[unseen])
    assert (adjusted[old] != X[old]).any(axis=1).all()


def test_a_constant_feature_passes_unchanged_and_disturbs_no_other() -> None:
    X, site, W = scanners()
    for dtype in (np.float64, np.float32):
        alone = fit_combat(X.astype(dtype), site, W)
        more = np.insert(X, 2, 0.1, axis=1).astype(dtype)
        combat = fit_combat(more, site, W)
        adjusted, _ = apply_combat(combat, more, site, W)
        np.testing.assert_array_equal(adjusted[:, 2], more[:, 2])
        np.testing.assert_allclose(np.delete(combat.gamma, 2, axis=1), alone.gamma)


def test_float32_that_says_nothing_but_rounding_passes_unchanged() -> None:
    X, site, W = scanners()
    X[:, 1] = 1000 + 0.001 * X[:, 1]
    for dtype, same in ((np.float32, True), (np.float64, False)):
        combat = fit_combat(X.astype(dtype), site, W)
        assert ((combat.gamma[:, 1] == 0) & (combat.delta[:, 1] == 1)).all() == same


def test_a_feature_that_is_the_site_becomes_constant() -> None:
    X, site, W = scanners()
    X = np.column_stack([X, site * 1.7])
    combat = fit_combat(X, site, W)
    adjusted, _ = apply_combat(combat, X, site, W)
    np.testing.assert_allclose(adjusted[:, 5], X[:, 5].mean())
    np.testing.assert_allclose(combat.gamma[:, :5], fit_combat(X[:, :5], site, W).gamma)


def test_chunks_order_of_rows_and_dependent_covariates_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    X, site, W = scanners()
    expected, _ = apply_combat(fit_combat(X, site, W), X, site, W)
    monkeypatch.setattr(confounds, "_MOST_BYTES", 2 * 8 * len(X))
    order = np.random.default_rng(1).permutation(24)
    combat = fit_combat(X[order], site[order], W[order])
    np.testing.assert_allclose(apply_combat(combat, X, site, W)[0], expected, rtol=1e-8)
    levels = np.column_stack([W[:, 0] + 100, W[:, 1], 1 - W[:, 1], np.zeros(24)])
    np.testing.assert_allclose(apply_combat(fit_combat(X, site, levels), X, site, levels)[0], expected, rtol=1e-8)


def test_one_feature_gets_plain_estimates() -> None:
    """There is nothing to shrink to."""
    X, site, W = scanners()
    combat = fit_combat(X[:, :1], site, W)
    adjusted, _ = apply_combat(combat, X[:, :1], site, W)
    rest = (adjusted - W @ combat.coef)[:, 0]
    np.testing.assert_allclose([rest[site == one].mean() for one in (3, 7, 8)], rest.mean(), rtol=1e-8)
    np.testing.assert_allclose([rest[site == one].std(ddof=1) for one in (3, 7, 8)], combat.scale[0], rtol=1e-8)
    assert fit_combat(X[:, :0], site, W).gamma.shape == (3, 0)


def test_estimates_lie_between_the_sites_own_and_those_of_all_features() -> None:
    rng = np.random.default_rng(4)
    location, variance = rng.standard_normal((2, 50)), rng.gamma(3.0, 1 / 3, (2, 50))
    gamma, _ = shrink(location, variance, np.array([5, 500]))
    middle = location.mean(axis=1, keepdims=True)
    share = (gamma - middle) / (location - middle)
    assert ((share > 0) & (share < 1)).all()
    assert share[1].min() > share[0].max()  # the larger site is believed more


def test_equal_locations_and_a_variance_of_zero_are_no_division_by_zero() -> None:
    gamma, delta = shrink(np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([4, 6]))
    np.testing.assert_allclose(gamma, [[1.0, 1.0], [2.0, 2.0]])
    assert 0 < delta[0, 0] < delta[0, 1] < 2
    np.testing.assert_allclose(delta[1], 1.0)


def test_what_cannot_be_harmonised_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    X, site, W = scanners()
    with pytest.raises(AnalysisError, match="two or more sites to compare; 1 is in the 10 training rows"):
        fit_combat(X[:10], site[:10], W[:10])
    with pytest.raises(AnalysisError, match="two or more training rows of every site; site 8 has 1; merge it"):
        fit_combat(X[:19], site[:19], W[:19])
    same = np.where(site[:, None] == 8, X[-1], X)
    with pytest.raises(AnalysisError, match="rows of every site that differ; the 6 of site 8 are equal"):
        fit_combat(same, site, W[:, :0])
    with pytest.raises(AnalysisError, match="the site tells covariate 2 .counted from 0. of 3, alone or together"):
        fit_combat(X, site, np.column_stack([W, site == 7]))
    told = W[:, 0] + 30 * (site == 7)
    with pytest.raises(AnalysisError, match="the site tells covariate . .counted from 0. of 3"):
        fit_combat(X, site, np.column_stack([W, told]))
    W[4, 1] = np.nan
    with pytest.raises(AnalysisError, match="preserved covariates must be finite; .* first in column 1"):
        fit_combat(X, site, W)
    X[4, 3] = np.inf
    with pytest.raises(AnalysisError, match="features must be finite"):
        fit_combat(X, site, W)
    monkeypatch.setattr(module, "MOST_ROUNDS", 2)
    X, site, W = scanners()
    with pytest.raises(AnalysisError, match="must settle; after 2 rounds on 5 features they still change by"):
        fit_combat(X, site, W)
