from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from featx.analysis.inference.permutation import fdr, p_value, permutations
from featx.errors import AnalysisError

PEOPLE = np.array(["a", "b", "a", "c", "d", "d", "e", "f"])  # two rows each for a and d, else one
SITES = np.array(["x", "x", "x", "y", "x", "x", "y", "x"])


def test_people_stay_whole_and_exchange_with_their_like() -> None:
    orders = permutations(PEOPLE, 200, random_state=1)
    assert orders.shape == (200, 8)
    for order in orders:
        assert sorted(order) == list(range(8))
        taken = PEOPLE[order]
        for person in "ad":
            own = np.flatnonzero(np.equal(PEOPLE, person))
            assert len(set(taken[own])) == 1
            assert taken[own][0] in "ad"
            assert order[own[0]] < order[own[1]]  # the rows keep their order
    assert {str(PEOPLE[order[1]]) for order in orders} == set("bcef")


def test_blocks_are_never_left() -> None:
    orders = permutations(PEOPLE, 100, random_state=1, blocks=SITES)
    assert all((SITES[order] == SITES).all() for order in orders)
    assert {str(PEOPLE[order[1]]) for order in orders} == {"b", "f"}


def test_a_person_at_two_sites_exchanges_only_with_their_like() -> None:
    groups, sites = np.array(list("aabbccd")), np.array(list("xyxyxxx"))
    orders = permutations(groups, 50, blocks=sites)
    assert {tuple(order[4:]) for order in orders} == {(4, 5, 6)}
    assert {tuple(order[:4]) for order in orders} == {(0, 1, 2, 3), (2, 3, 0, 1)}


def test_orders_are_as_good_as_equally_likely() -> None:
    orders = permutations(np.arange(3), 6000, random_state=0)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001


def test_seed_decides_the_orders() -> None:
    first, same, other = (permutations(PEOPLE, 5, seed) for seed in (0, 0, 1))
    assert (first == same).all()
    assert (first != other).any()


def test_people_who_cannot_be_exchanged_are_refused() -> None:
    with pytest.raises(AnalysisError, match="no two have equally many rows in the same blocks"):
        permutations(np.array(["a", "b", "b"]), 3)


def test_p_of_noise_is_uniform() -> None:
    rng = np.random.default_rng(0)
    found = [p_value(rng.standard_normal(), rng.standard_normal(19), higher_is_better=True) for _ in range(2000)]
    _, counts = np.unique(np.round(found, 2), return_counts=True)
    assert len(counts) == 20
    assert min(found) == 1 / 20
    assert stats.chisquare(counts).pvalue > 0.001


def test_p_counts_ties_and_leaves_out_what_is_undefined() -> None:
    rounded = 0.1 + 0.2  # a little more than 0.3
    assert p_value(rounded, [0.3, 0.31, 0.2, np.nan], higher_is_better=True) == 3 / 4
    assert p_value(0.3, [rounded, 0.2, 0.4], higher_is_better=False) == 3 / 4
    assert np.isnan(p_value(np.nan, [0.1], higher_is_better=True))
    assert np.isnan(p_value(0.1, [np.nan], higher_is_better=True))


@pytest.mark.parametrize("method", ["bh", "by"])
def test_fdr_equals_its_definition(method: str) -> None:
    p = np.random.default_rng(0).random(30) ** 3
    m = len(p)
    factor = np.sum(1 / np.arange(1, m + 1)) if method == "by" else 1.0
    rank = stats.rankdata(p)
    expected = [min(1.0, min(p[j] * m * factor / rank[j] for j in range(m) if p[j] >= p[i])) for i in range(m)]
    with_gap = np.insert(p, 4, np.nan)
    found = fdr(with_gap, method)
    np.testing.assert_allclose(np.delete(found, 4), expected)
    assert np.isnan(found[4])
    assert np.isnan(with_gap[4])
    assert np.isnan(fdr([np.nan])).all()


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(AnalysisError, match="'holm' is not; known are 'bh', 'by'"):
        fdr([0.1], "holm")
