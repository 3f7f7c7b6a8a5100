"""Averages against numpy, and files that may be damaged."""

import numpy as np
import pytest

from featx.relevance.maps import RANDOM, PersonMaps, average, correlation, part_path, read_part, write_part


def _people(n, kinds=("signed", RANDOM + "signed")):
    rng = np.random.default_rng(0)
    return [
        PersonMaps(float(at), {kind: rng.normal(size=50).astype(np.float32) for kind in kinds}) for at in range(n)
    ]


def test_the_average_is_numpys():
    people = _people(7)
    found = average(iter(people))
    maps = np.array([one.maps["signed"] for one in people], dtype=np.float64)
    random = np.array([one.maps[RANDOM + "signed"] for one in people], dtype=np.float64).mean(axis=0)
    assert found.n == 7
    np.testing.assert_allclose(found.mean["signed"], maps.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.sd["signed"], maps.std(axis=0, ddof=1), atol=1e-12)
    halves = np.corrcoef(maps[::2].sum(axis=0), maps[1::2].sum(axis=0))[0, 1]
    assert found.split_half_r == {"signed": pytest.approx(halves)}
    assert found.random_r == {"signed": pytest.approx(np.corrcoef(maps.mean(axis=0), random)[0, 1])}


def test_one_person_has_no_spread_and_no_halves():
    found = average(_people(1, ("difference",)))
    assert np.isnan(found.sd["difference"]).all()
    assert np.isnan(found.split_half_r["difference"])
    assert found.random_r == {}
    assert np.isnan(correlation(np.arange(3.0), np.ones(3)))


def test_a_part_comes_back_and_a_damaged_one_does_not(tmp_path):
    (one,) = _people(1)
    path = part_path(tmp_path, "k" * 64, "sub-1/../x")
    assert path.parent == tmp_path / ("k" * 16)
    assert read_part(path) is None
    write_part(path, one)
    found = read_part(path)
    assert found.answer == one.answer
    np.testing.assert_array_equal(found.maps["signed"], one.maps["signed"])
    path.write_bytes(path.read_bytes()[:200])
    assert read_part(path) is None
    assert [file.name for file in path.parent.iterdir()] == [path.name]
