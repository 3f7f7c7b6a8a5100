from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from featx.analysis.cohort.targets import CONTINUOUS, KINDS
from featx.analysis.heads import HEADS, applies, chosen_parameters, get_head, make_head, predict_with
from featx.analysis.splits import make_design
from featx.errors import AnalysisError

CASES = [(name, kind) for name in HEADS for kind in KINDS if applies(name, kind)]


def target(kind: str, signal: np.ndarray) -> np.ndarray:
    if kind == CONTINUOUS:
        return signal
    return np.digitize(signal, [0.0] if kind == "binary" else [-0.5, 0.5])


@pytest.mark.parametrize("name, kind", CASES)
def test_every_head_learns_and_says_what_it_chose(name: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 5)).astype(np.float32)
    y = target(kind, X[:, 0].astype(np.float64))
    design = make_design(y, np.arange(90).astype(object), kind=kind, n_splits=3, n_inner=3)
    train, test = design.rows(0)
    head = clone(make_head(name, kind, cv=design.inner_pairs(0))).fit(X[train], y[train])
    predicted = predict_with(head, kind, X[test])
    assert predicted.dtype == np.float64
    if kind == CONTINUOUS:
        assert np.corrcoef(predicted, y[test])[0, 1] > 0.9
    else:
        assert predicted.shape == (len(test), len(np.unique(y)))
        assert (predicted.argmax(axis=1) == y[test]).mean() > 0.8
    assert set(chosen_parameters(name, head)) == set(HEADS[name].chosen)


@pytest.mark.parametrize("name, kind", CASES)
def test_permuted_targets_score_at_chance(name: str, kind: str) -> None:
    rng = np.random.default_rng(7)
    X = rng.standard_normal((100, 10)).astype(np.float32)
    y = rng.permutation(target(kind, X[:, 0].astype(np.float64)))
    design = make_design(y, np.arange(100).astype(object), kind=kind, n_splits=4, n_inner=3)
    predicted = []
    for k in range(4):
        train, test = design.rows(k)
        head = make_head(name, kind, cv=design.inner_pairs(k)).fit(X[train], y[train])
        predicted.append((test, predict_with(head, kind, X[test])))
    error = 0.0
    for test, out in predicted:
        own = (out - y[test]) ** 2 if kind == CONTINUOUS else -np.log(out[np.arange(len(test)), y[test]])
        error += float(own.sum()) / len(y)
    chance = y.var() if kind == CONTINUOUS else -sum(s * np.log(s) for s in np.bincount(y) / len(y))
    assert error > 0.93 * chance


def test_unknown_heads_and_kinds_are_answered_with_the_known() -> None:
    with pytest.raises(AnalysisError, match="'rigde' is not; known are 'boosting', 'logistic', 'ridge'"):
        get_head("rigde")
    with pytest.raises(AnalysisError, match="'ordinal' is not; known are 'binary'"):
        applies("ridge", "ordinal")
    with pytest.raises(AnalysisError, match="'ridge' does not suit a binary one; known are 'boosting', 'logistic'"):
        make_head("ridge", "binary", cv=[])
