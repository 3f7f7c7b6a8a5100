"""Differences against plain loops, and two arms whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, mean_absolute_error, roc_auc_score

from featx.analysis.comparing.arms import Arm, arm_name
from featx.analysis.comparing.differing import (
    Drawing,
    Pair,
    differences,
    effect_of,
    ends,
    exchange_p,
    fold_means,
    pairs_of,
    row_errors,
    score,
    with_q,
)
from featx.analysis.comparing.matching import Common
from featx.analysis.fit import run
from featx.analysis.inference.paired import cohens_d_paired, corrected_t, delong

from ..conftest import Cohort, ask
from .conftest import ages, folds_of, near, people, sure

FEW = Drawing(n_bootstrap=200, n_permutations=200)


def common_of(y: np.ndarray, fold: np.ndarray, kind: str = "continuous", units: np.ndarray | None = None) -> Common:
    ids = people(len(y))
    n_test = len(y) / 5
    return Common(
        "age", kind, "years", (), ids, ids, ids if units is None else units, y, fold, len(y) - n_test,
        len(y) - n_test, n_test, ("a",), {},
    )  # fmt: skip


def arm_of(name: str, predicted: np.ndarray, role: str = "frozen", n_seeds: int = 1) -> Arm:
    return Arm(name, "a", name, "ridge", "ignored", role, predicted, n_seeds)


def table_of(
    common: Common, arms: Sequence[Arm], drawing: Drawing = FEW, margin: float | None = None
) -> pd.DataFrame:
    pairs = list(pairs_of(arms, arms[0]))
    return differences(common, pairs, score(common, arms, drawing), drawing, margin)


def cell(table: pd.DataFrame, metric: str, a: str, b: str) -> dict[str, object]:
    (row,) = table[(table["metric"] == metric) & (table["arm_a"] == a) & (table["arm_b"] == b)].to_dict("records")
    return row


def test_differences_equal_a_loop_over_draws_repeats_and_seeds() -> None:
    y, fold = ages(40), folds_of(40, 5, 2)
    a, b = near(y, 4, 1, 4), near(y, 6, 2, 2)  # a has two seeds
    common = common_of(y, fold)
    table = table_of(common, [arm_of("a", a, n_seeds=2), arm_of("b", b)])
    found = cell(table, "mae", "a", "b")
    mae = [np.mean([mean_absolute_error(y, one) for one in arm]) for arm in (a, b)]
    assert found["difference"] == pytest.approx(mae[1] - mae[0])
    rng, drawn = np.random.default_rng(0), []
    for counts in rng.multinomial(40, np.full(40, 1 / 40), 200):
        rows = np.repeat(np.arange(40), counts)
        each = [np.mean([mean_absolute_error(y[rows], one[rows]) for one in arm]) for arm in (a, b)]
        drawn.append(each[1] - each[0])
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    beyond = min(np.sum(np.array(drawn) <= 0), np.sum(np.array(drawn) >= 0))
    assert found["p_bootstrap"] == pytest.approx(2 * (1 + beyond) / 201)
    wide = table_of(common, [arm_of("a", a, n_seeds=2), arm_of("b", b)], Drawing(0.5, 200, 10))
    assert (cell(wide, "mae", "a", "b")["low"]) == pytest.approx(np.percentile(drawn, 25))


def test_scores_of_folds_are_means_over_seeds_and_go_into_the_corrected_t() -> None:
    y, fold = ages(40), folds_of(40, 5, 2)
    a, b = near(y, 4, 1, 4), near(y, 6, 2, 2)
    common = common_of(y, fold)
    expected: dict[str, list[float]] = {"a": [], "b": []}
    for repeat, number in product(range(2), range(5)):
        rows = np.flatnonzero(fold[repeat] == number)
        pair = [mean_absolute_error(y[rows], one[rows]) for one in a[2 * repeat : 2 * repeat + 2]]
        expected["a"].append(float(np.mean(pair)))
        expected["b"].append(mean_absolute_error(y[rows], b[repeat][rows]))
    np.testing.assert_allclose(fold_means(common, arm_of("a", a, n_seeds=2))["mae"], expected["a"])
    found = cell(table_of(common, [arm_of("a", a, n_seeds=2), arm_of("b", b)]), "mae", "a", "b")
    assert found["p_corrected_t"] == pytest.approx(corrected_t(expected["a"], expected["b"], n_train=32, n_test=8).p)


def test_classes_have_delong_and_exchanged_errors() -> None:
    y, fold = np.arange(60) % 2, folds_of(60)
    a, b = sure(y, 1.5, 1), sure(y, 0.5, 2)
    table = table_of(common_of(y, fold, "binary"), [arm_of("a", a), arm_of("b", b)])
    auc = cell(table, "auc", "a", "b")
    p = [one[0, :, 1] for one in (a, b)]
    assert auc["difference"] == pytest.approx(roc_auc_score(y, p[0]) - roc_auc_score(y, p[1]))
    assert auc["p_delong"] == pytest.approx(delong(y == 1, p[0], p[1], groups=people(60)).p)
    assert np.isnan([auc["p_permutation"], auc["effect"]]).all()
    for metric, loss in (("log_loss", log_loss), ("brier", brier_score_loss)):
        found = cell(table, metric, "a", "b")
        assert found["difference"] == pytest.approx(loss(y, p[1]) - loss(y, p[0]))
        assert 0 < found["p_permutation"] < 0.05
        assert found["effect"] > 0
    twice = common_of(y, fold, "binary", units=np.repeat(people(30), 2))
    assert np.isnan(cell(table_of(twice, [arm_of("a", a), arm_of("b", b)]), "auc", "a", "b")["p_delong"])


@pytest.mark.parametrize("metric", ["log_loss", "brier", "accuracy"])
def test_errors_of_rows_make_up_the_metric(metric: str) -> None:
    y = np.arange(30) % 3
    p = sure(y, 1, 0, n_classes=3)[0]
    errors = row_errors("multiclass", metric, y, p)
    if metric == "log_loss":
        assert errors.mean() == pytest.approx(log_loss(y, p))
    elif metric == "accuracy":
        assert errors.mean() == pytest.approx(1 - accuracy_score(y, p.argmax(axis=1)))
    else:
        assert errors.mean() == pytest.approx(((p - np.eye(3)[y]) ** 2).sum(axis=1).mean())
    p[4] = np.nan
    assert np.isnan(row_errors("multiclass", metric, y, p)).tolist() == [at == 4 for at in range(30)]


# --- errors that change places --------------------------------------------------------------------------------


def test_exchanges_agree_with_scipy_and_with_all_of_them() -> None:
    rng = np.random.default_rng(3)
    gained = rng.standard_normal(10) + 0.5
    every = [abs(np.mean(gained * signs)) for signs in product([-1, 1], repeat=10)]
    exact = np.mean(np.array(every) >= abs(gained.mean()) - 1e-12)
    peer = stats.permutation_test(
        (gained, np.zeros(10)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
    )
    assert peer.pvalue == pytest.approx(exact)
    (p,) = exchange_p([gained[None]], people(10), n=20000)
    assert p == pytest.approx(exact, abs=0.01)


def test_all_rows_of_a_unit_change_places_together() -> None:
    units = np.array(["a", "a", "b", "b", "c", "c"])
    gained = np.array([[1.0, 1.0, 2.0, np.nan, 3.0, 3.0], [1.0, 1.0, 2.0, 2.0, np.nan, np.nan]])
    totals = [1 / 5 + 1 / 4, 1 / 5 + 2 / 4, 3 / 5]  # per repeat, over its rows; half of what follows is the mean
    every = [abs(np.dot(totals, signs)) for signs in product([-1, 1], repeat=3)]
    expected = np.mean(np.array(every) >= sum(totals) - 1e-12)
    (p,) = exchange_p([gained], units, n=20000)
    assert p == pytest.approx(expected, abs=0.01)


def test_the_effect_is_that_of_a_run() -> None:
    y = ages(30)
    a, b, units = near(y, 4, 1, 2), near(y, 6, 2, 2), np.repeat(people(15), 2)
    gained = np.abs(y - b) - np.abs(y - a)
    assert effect_of(gained, units) == pytest.approx(cohens_d_paired(y, a, b, units))
    assert np.isnan(effect_of(np.zeros((1, 30)), units))
    assert np.isnan(effect_of(gained[:, :1], units[:1]))


# --- what is asked --------------------------------------------------------------------------------------------


def test_each_with_each_and_what_each_adds_to_what_is_simpler() -> None:
    y = ages(20)
    roles = ["frozen", "volumes", "confounds", "scratch", "confounds", "baseline"]
    arms = [arm_of(f"{at}", near(y, at + 1, at), role) for at, role in enumerate(roles)]
    asked = [(one.question, one.a.name, one.b.name) for one in pairs_of(arms, arms[0])]
    assert [one[1:] for one in asked if one[0] == "arms"] == [
        (f"{a}", f"{b}") for a in range(5) for b in range(a + 1, 5)
    ]
    assert [one[1:] for one in asked if one[0] == "gain over volumes"] == [("0", "1"), ("3", "1")]
    assert [one[1:] for one in asked if one[0] == "gain over confounds"] == [("0", "2"), ("1", "2"), ("3", "2")]
    assert [one[1:] for one in asked if one[0] == "over the baseline"] == [(f"{at}", "5") for at in range(5)]
    many = [arm_of(f"{at}", near(y, 2, at)) for at in range(13)]
    asked = [(one.a.name, one.b.name) for one in pairs_of(many, many[4])]
    assert asked == [("4", f"{at}") for at in range(13) if at != 4]


def test_equal_arms_are_not_told_apart_and_a_better_one_is() -> None:
    y, fold = ages(200), folds_of(200, 10)
    arms = [arm_of("good", near(y, 3, 1)), arm_of("like", near(y, 3, 2)), arm_of("bad", near(y, 6, 3))]
    table = with_q(table_of(common_of(y, fold), arms, Drawing(0.05, 1000, 1000), margin=1.0))
    same, other = cell(table, "mae", "good", "like"), cell(table, "mae", "good", "bad")
    assert (same["better"], same["equal"], other["better"], other["equal"]) == ("", "yes", "a", "no")
    assert min(same["p_bootstrap"], same["p_permutation"], same["p_corrected_t"], same["q"]) > 0.05
    assert max(other["p_bootstrap"], other["p_permutation"], other["p_corrected_t"], other["q"]) < 0.01
    assert other["difference"] == pytest.approx(np.sqrt(2 / np.pi) * 3, abs=0.6)
    assert (table.loc[table["metric"] != "mae", "equal"] == "").all()
    without = table_of(common_of(y, fold), arms, Drawing(0.05, 0, 0), margin=1.0)
    assert (without["equal"] == "").all()  # no draws, no interval
    assert np.isnan(ends(np.empty(0), 0.05)).all()
    assert without["p_permutation"].isna().all()  # no exchanges, no p


def test_arms_of_equal_error_are_told_apart_about_as_often_as_alpha() -> None:
    found = []
    for seed in range(100):
        y = ages(80, seed)
        gained = np.abs(near(y, 3, 1000 + seed) - y) - np.abs(near(y, 3, 2000 + seed) - y)
        found.append(exchange_p([gained], people(80), n=199)[0] <= 0.05)
    assert 0.0 <= np.mean(found) <= 0.12


def test_q_is_over_all_tests_of_a_metric_and_counts_a_pair_once() -> None:
    rows = [
        ("age", "arms", "a", "b", "mae", 0.01, 0.2),
        ("age", "gain over volumes", "b", "a", "mae", 0.01, 0.2),
        ("age", "arms", "a", "c", "mae", 0.04, 0.2),
        ("iq", "arms", "a", "b", "mae", 0.5, 0.03),
        ("age", "arms", "a", "b", "r", 0.04, 0.2),
    ]
    table = pd.DataFrame(
        rows, columns=["target", "question", "arm_a", "arm_b", "metric", "p_corrected_t", "p_bootstrap"]
    )
    assert with_q(table)["q"].tolist() == pytest.approx([0.03, 0.03, 0.06, 0.5, 0.04])
    assert with_q(table, ["iq"])["q"].tolist() == pytest.approx([0.03, 0.03, 0.04, 0.04, 0.04])


def test_a_run_and_a_comparison_say_the_same(cohort: Cohort) -> None:
    """The table that a run holds of its own arms is the oracle."""
    both = {name.split(".")[0]: (name,) for name in cohort[0]}
    more = {"targets": ["age", "sex"], "heads": ["ridge", "logistic"], "folding": {"n_repeats": 2}}
    asked = ask(cohort, combinations=both, **more)
    result = run(asked)
    for job in result.jobs:
        own = result.tables["comparisons"]
        own = own[(own["target"] == job.target.name) & (own["question"] == "features")]
        arms = [
            Arm(arm_name(*one.label), "a", *one.label, "frozen", one.predicted, 1)
            for one in result.arms[job.target.name]
            if one.head != "baseline"
        ]
        y, n = job.target.y, len(job.target.y)
        common = Common(
            job.target.name, job.target.kind, "", (), job.images.image_id, job.units, job.units, y, job.design.fold,
            0.0, 0.75 * n, 0.25 * n, ("a",), {},
        )  # fmt: skip
        pairs = [Pair("arms", *arms)]
        drawing = Drawing(n_bootstrap=50, n_permutations=0)
        found = differences(common, pairs, score(common, arms, drawing), drawing, None)
        for column in ("difference", "low", "high", "p_bootstrap", "p_corrected_t", "p_delong"):
            np.testing.assert_allclose(found[column].astype(float), own[column].astype(float), err_msg=column)
        mae = found["metric"] == "mae"
        np.testing.assert_allclose(found.loc[mae, "effect"], own.loc[(own["metric"] == "mae"), "effect"])
