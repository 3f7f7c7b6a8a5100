"""Permutation tests: uneventful for noise, minimal for a strong signal, and the same as a slow loop of fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from featx import schema
from featx.analysis import nulls
from featx.analysis.cohort.targets import BINARY, CONTINUOUS, ORDINAL
from featx.analysis.crossval import Data, Task, Treatment, cross_validate
from featx.analysis.fit import make_data, run
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.inference.permutation import fdr, permutations
from featx.analysis.jobs import make_plan
from featx.analysis.nulls import permute
from featx.analysis.request import Job, Request
from featx.errors import AnalysisError

from .conftest import ONE, Cohort, ask, excluded, feature_set, only, sentence

HEADS = ["ridge", "logistic"]


def only_job(request: Request) -> tuple[Job, Data]:
    plan = make_plan(request)
    (job,) = plan.jobs
    return job, make_data(request, plan, "one")[0].take(job.target.rows)


def by_hand(job: Job, data: Data, y: np.ndarray, confounds: str) -> float:
    """The metric of one target, fitted by itself."""
    splits = [split for split in job.design.splits if split.repeat == 0]
    answers = cross_validate(data, y, splits, Task("ridge", CONTINUOUS, Treatment(confounds)))
    tested = job.design.fold[0] != TRAIN_ONLY
    whole, part = np.empty(len(y)), np.empty(len(y))
    for split, answer in zip(splits, answers, strict=True):
        whole[split.test], part[split.test] = answer.predicted, answer.offset
    guess, left = (whole - part)[tested], (y - part)[tested]
    if job.target.kind == BINARY:
        return float(roc_auc_score(y[tested] > 0, guess))
    if job.target.kind == ORDINAL:
        return float(spearmanr(guess, left).statistic)
    return float(np.corrcoef(guess, left)[0, 1])


@pytest.mark.parametrize(
    "target, confounds",
    [("age", "ignored"), ("age", "target"), ("age", "both"), ("sex", "features"), ("level", "both")],
)
@pytest.mark.parametrize("images", [1, 2])
def test_it_is_the_slow_loop(
    cohort: Cohort, target: str, confounds: str, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, table = cohort
    names = [f"{one}_ses-{at}" for one in sets[ONE].participant_id for at in range(images)]
    rng = np.random.default_rng(0)
    X = np.repeat(sets[ONE].X, images, axis=0) + 0.5 * rng.standard_normal((60 * images, 8))
    asked = ask(
        ({ONE: feature_set(ONE, X, names)}, table),
        targets=[target],
        heads=HEADS,
        kinds={"level": "ordinal"} if target == "level" else {},
        folding={"n_repeats": 2, "random_state": 3},
        adjusting={"confounds": ("volume",), "modes": (confounds,)},
        inferring={"n_permutations": 12},
    )
    monkeypatch.setattr(nulls, "AT_ONCE", 5)  # in parts of 5, 5 and 2
    job, data = only_job(asked)
    found = permute(asked, data, job, ("one", confounds))
    y = job.target.y.astype(np.float64)
    y = 2 * y - 1 if target == "sex" else y
    orders = permutations(job.units, 12, 3, blocks=job.design.fold[0].astype(str))
    for order in orders:  # a person's images go together
        assert all(len(set(job.units[order][job.units == one])) == 1 for one in job.units)
    real = by_hand(job, data, y, confounds)
    null = np.array([by_hand(job, data, y[order], confounds) for order in orders])
    assert found["metric"] == {"age": "r", "sex": "auc", "level": "spearman"}[target]
    assert found["value"] == pytest.approx(real)
    assert found["null_mean"] == pytest.approx(null.mean())
    assert found["null_high"] == pytest.approx(np.percentile(null, 95))
    assert found["p"] == pytest.approx((1 + (null >= real).sum()) / 13)
    assert found["n_permutations"] == 12


def test_strong_targets_have_the_least_p_and_noise_has_not(cohort: Cohort) -> None:
    sets, table = cohort
    rng = np.random.default_rng(2)
    table = table.assign(noise=rng.permutation(table["age"]), coin=rng.permutation(table["sex"]))
    inferring = {"n_bootstrap": 0, "n_permutations": 99}
    targets = ["age", "sex", "noise", "coin", "site"]
    result = run(ask((sets, table), targets=targets, heads=HEADS, inferring=inferring))
    found = result.tables["permutations"]
    assert list(found.columns) == schema.names(schema.PERMUTATIONS)
    assert found["target"].tolist() == ["age", "sex", "noise", "coin"]  # of several classes ridge says nothing
    p = dict(zip(found["target"], found["p"], strict=True))
    assert p["age"] == p["sex"] == 0.01
    assert p["noise"] > 0.05
    assert p["coin"] > 0.05
    np.testing.assert_allclose(found["q"], fdr(found["p"]))  # over all targets, whatever their metric
    for target in ("age", "noise"):
        (value,) = only(found, target=target)["value"]
        (score,) = only(result.tables["scores"], target=target, head="ridge", metric="r")["value"]
        assert value == pytest.approx(score)


def test_what_is_not_linear_is_not_permuted(cohort: Cohort) -> None:
    """The test is ridge's own: with components, or confounds beside the features, it would be of something else."""
    whole: dict[str, Any] = {"inferring": {"n_bootstrap": 0, "n_permutations": 3}}
    adjusting = {"confounds": ("volume",), "modes": ("only", "added", "features")}
    found = run(ask(cohort, adjusting=adjusting, **whole)).tables["permutations"]
    assert found["confounds"].tolist() == ["features"]
    for less in ({"pca": 3}, {"harmonise": "combat"}):
        with pytest.raises(AnalysisError, match="permutations must go through ridge on features as they are"):
            run(ask(cohort, adjusting=less, columns={"site": "scanner"}, **whole))


def test_a_test_cohort_of_one_class_in_a_permutation_leaves_it_out(cohort: Cohort) -> None:
    table = cohort[1]
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    tested = np.flatnonzero(table["sex"] == "F")[:2].tolist() + np.flatnonzero(table["sex"] == "M")[:1].tolist()
    given["fold"] = np.where(np.isin(np.arange(60), tested), 0, TRAIN_ONLY)
    asked = ask(
        cohort,
        targets=["sex"],
        heads=HEADS,
        folding={"scheme": "given", "n_inner": 3},
        given_splits=given,
        inferring={"n_permutations": 50},
    )
    job, data = only_job(asked)
    found = permute(asked, data, job, ("one", "ignored"))
    assert np.isfinite([found["value"], found["null_mean"], found["null_high"]]).all()
    defined = sum(len(set(job.target.y[order][tested])) == 2 for order in permutations(job.units, 50, 0))
    assert 0 < defined < 50
    assert round(float(str(found["p"])) * (1 + defined)) == pytest.approx(float(str(found["p"])) * (1 + defined))


def test_people_who_cannot_be_exchanged_cost_the_test_only(cohort: Cohort) -> None:
    sets, table = cohort
    sizes = np.repeat(np.arange(10), np.arange(1, 11))  # ten families of different sizes
    clans = table[:55].assign(clan=[f"f{one}" for one in sizes])
    asked = ask((sets, clans), columns={"group": "clan"}, inferring={"n_permutations": 5}, folding={"n_inner": 2})
    result = run(asked)
    assert not len(result.tables["permutations"])
    assert len(only(result.tables["scores"], target="age", head="ridge"))
    assert excluded(result) == {"age": "unfitted"}
    assert "permutations of ridge on one, confounds ignored: permutations must have people who can" in sentence(
        result, "age"
    )


@pytest.mark.parametrize("kind", ["noise", "coin"])
def test_chance_is_where_the_score_of_noise_is(kind: str) -> None:
    """Over many targets of pure noise p is uniform, and the null is not shifted from what noise scores."""
    rng = np.random.default_rng(0)
    names = [f"sub-{at:03d}" for at in range(60)]
    found = []
    for seed in range(30):
        values = rng.standard_normal(60) if kind == "noise" else rng.permutation(np.arange(60) % 2)
        table = pd.DataFrame({"participant_id": names, "y": values.astype(str)})
        sets = {ONE: feature_set(ONE, rng.standard_normal((60, 10)), names)}
        asked = ask((sets, table), targets=["y"], folding={"random_state": seed}, inferring={"n_permutations": 39})
        job, data = only_job(asked)
        found.append(permute(asked, data, job, ("one", "ignored")))
    p = np.array([one["p"] for one in found], dtype=float)
    assert 0.25 < (p <= 0.5).mean() < 0.75  # of 30; with people permuted over all folds it is 0.9
    shift = np.mean([float(one["value"]) - float(one["null_mean"]) for one in found])  # type: ignore[arg-type]
    assert abs(shift) < 0.05


def test_families_change_places_with_families_of_the_same_make_up() -> None:
    """A person with two images is no family of two people with one image each."""
    names = [f"sub-{at:02d}" for at in range(40)]
    images = [f"{one}_ses-{session}" for one in names[:20] for session in (1, 2)] + names[20:]
    rng = np.random.default_rng(0)
    clan = [str(at) for at in range(20)] + [str(20 + at // 2) for at in range(20)]
    table = pd.DataFrame({"participant_id": names, "y": rng.standard_normal(40).astype(str), "clan": clan})
    sets = {ONE: feature_set(ONE, rng.standard_normal((60, 4)), images)}
    job, _ = only_job(ask((sets, table), targets=["y"], columns={"group": "clan"}, folding={"n_splits": 3}))
    person = job.images.participant_id.astype(str)
    for order in permutations(job.units, 50, 0, blocks=nulls._blocks(job)):
        values = pd.Series(job.target.y[order]).groupby(person).nunique()
        assert (values == 1).all()  # nobody has two values
