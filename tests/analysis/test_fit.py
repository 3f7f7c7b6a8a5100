from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.features import select_features
from featx.analysis.fit import run
from featx.analysis.heads import HEADS
from featx.analysis.request import Request, check_request
from featx.errors import AnalysisError, CohortError, StoreError
from featx.store import FeatureSet

from .conftest import feature_set

Cohort = tuple[dict[str, FeatureSet], pd.DataFrame]


def request(cohort: Cohort, **changed: Any) -> Request:
    sets, table = cohort
    values: dict[str, Any] = {
        "sets": sets,
        "combinations": select_features(list(sets), ["each"]),
        "phenotypes": table,
        "targets": ["age"],
        "heads": ["ridge"],
        "n_splits": 4,
        "n_inner": 3,
        "n_bootstrap": 50,
    }
    return Request(**(values | changed))


def value(scores: pd.DataFrame, **where: str) -> float:
    for name, wanted in where.items():
        scores = scores[scores[name] == wanted]
    assert len(scores) == 1
    return float(scores["value"].iloc[0])


def test_all_targets_features_and_heads(cohort: Cohort) -> None:
    calls: list[tuple[int, int, str]] = []
    result = run(request(cohort, targets=["age", "sex", "site"], heads=list(HEADS)), lambda *told: calls.append(told))
    assert [(one.name, one.kind, one.classes) for one in result.targets] == [
        ("age", "continuous", ()),
        ("sex", "binary", ("F", "M")),
        ("site", "multiclass", ("a", "b", "c")),
    ]
    assert sum(result.targets[2].counts) == result.targets[2].n_people == 60
    total = 2 * 3 * 2 * 5  # combinations, targets, heads that suit, fits
    assert [done for done, _, _ in calls] == list(range(1, total + 1))
    assert {of for _, of, _ in calls} == {total}
    assert calls[0][2] == "age from one.x/axial/t/mean"
    assert set(result.skipped) == {("age", "logistic"), ("sex", "ridge"), ("site", "ridge")}
    assert len(result.bundles) == 2 * 3 * 2
    assert list(result.scores.columns) == schema.names(schema.SCORES)
    assert list(result.splits.columns) == schema.names(schema.SPLITS)
    assert len(result.splits) == 3 * 60
    one = "one.x/axial/t/mean"
    assert value(result.scores, target="age", features=one, head="ridge", metric="r") > 0.95
    assert value(result.scores, target="sex", features=one, head="logistic", metric="auc") > 0.9
    assert value(result.scores, target="site", features=one, head="boosting", metric="auc") > 0.75
    mae = result.scores[(result.scores["target"] == "age") & (result.scores["metric"] == "mae")]
    assert mae["baseline"].nunique() == 1
    assert mae["head"].tolist()[0] == "baseline"
    assert (mae["low"] < mae["value"]).all()
    table = result.predictions["site"]
    assert list(table.columns) == [*schema.names(schema.PREDICTIONS), *(f"probability_{one}" for one in "abc")]
    assert len(table) == 60 * (1 + 2 * 2)
    np.testing.assert_allclose(table[[f"probability_{one}" for one in "abc"]].sum(axis=1), 1)


def test_folds_are_shared_by_all_heads_and_features(cohort: Cohort) -> None:
    result = run(request(cohort, heads=["ridge", "boosting"]))
    folds = result.predictions["age"].groupby("image_id")["fold"].nunique()
    assert (folds == 1).all()
    merged = result.predictions["age"].merge(result.splits, on="image_id", suffixes=("", "_split"))
    assert (merged["fold"] == merged["fold_split"]).all()


def test_permuted_targets_score_at_chance(cohort: Cohort) -> None:
    sets, table = cohort
    rng = np.random.default_rng(4)
    shuffled = table.assign(age=rng.permutation(table["age"]), sex=rng.permutation(table["sex"]))
    scores = run(request((sets, shuffled), targets=["age", "sex"], heads=list(HEADS), n_bootstrap=200)).scores
    fitted = scores[scores["head"] != "baseline"]
    for metric, chance in {"r": 0.0, "auc": 0.5}.items():
        rows = fitted[fitted["metric"] == metric]
        assert len(rows) == 4
        assert (rows["value"] < chance + 0.3).all()
        assert (rows["low"] < chance).all()


def test_one_bad_target_harms_no_other(cohort: Cohort) -> None:
    sets, table = cohort
    n = len(table)
    bad = table.assign(
        empty=None,
        one="F",
        infinite=["inf"] + ["1.5"] * (n - 1),
        mixed=[str(at) for at in range(n - 1)] + ["old"],
        names=[f"x{at}" for at in range(n)],
        three=["1", "2", "3"] + [None] * (n - 3),
        rare=["a"] * (n - 2) + ["b"] * 2,
    )
    codes = {
        "empty": "all-missing",
        "one": "constant-target",
        "infinite": "non-finite-target",
        "mixed": "not-a-number",
        "names": "too-many-classes",
        "three": "too-few-people",
        "rare": "too-few-people",
        "height": "unknown-target",
    }
    alone = run(request(cohort))
    result = run(request((sets, bad), targets=[*codes, "age"]))
    rows = result.exclusions[result.exclusions["target"] != ""]
    assert dict(zip(rows["target"], rows["code"], strict=True)) == codes
    assert set(codes.values()) <= set(schema.REASONS)
    assert rows["sentence"].str.len().min() > 40
    assert [one.name for one in result.targets] == ["age"]
    pd.testing.assert_frame_equal(result.scores, alone.scores)


def test_everybody_who_is_left_out_has_a_row(cohort: Cohort) -> None:
    sets, table = cohort
    one, two = sets.values()
    fewer = feature_set(two.name, two.X[:-1], list(two.image_id[:-1]))  # sub-059 has no row in the second set
    table = table.iloc[1:].assign(age=[None, *table["age"].iloc[2:]])  # no sub-000; sub-001 without age
    table.loc[len(table) + 1] = {"participant_id": "sub-900", "age": "40", "sex": "F", "site": "a"}
    result = run(request(({one.name: one, two.name: fewer}, table)))
    rows = result.exclusions[["code", "image_id", "participant_id", "target"]].values.tolist()
    assert rows == [
        ["missing-features", "sub-059", "sub-059", ""],
        ["no-phenotype", "sub-000", "sub-000", ""],
        ["no-image", "", "sub-900", ""],
        ["missing-value", "sub-001", "sub-001", "age"],
    ]
    assert "'sub-059' is in 'one.x/axial/t/mean' and not in 'two.x/" in result.exclusions["sentence"][0]
    assert result.flow == {
        "images_with_features": 60,
        "images_with_all_features": 59,
        "images_matched": 58,
        "people_matched": 58,
        "people_in_phenotypes": 60,
    }
    assert result.targets[0].n_people == 57
    assert (result.scores["n"] == 57).all()


def test_all_targets_bad_is_a_result_without_scores(cohort: Cohort) -> None:
    result = run(request(cohort, targets=["height"]))
    assert not len(result.scores)
    assert list(result.splits.columns) == schema.names(schema.SPLITS)
    assert result.exclusions["code"].tolist() == ["unknown-target"]


def test_sessions_stay_together(cohort: Cohort) -> None:
    sets, table = cohort
    one = next(iter(sets.values()))
    images = [f"{person}_ses-{at}" for person in one.participant_id for at in (1, 2)]
    both = feature_set(one.name, np.repeat(one.X, 2, axis=0), images)
    result = run(request(({one.name: both}, table), targets=["age", "sex"], heads=["ridge", "logistic"]))
    assert (result.splits.groupby(["target", "participant_id"])["fold"].nunique() == 1).all()
    assert result.targets[0].n_images == 120
    assert result.targets[0].n_people == 60


@pytest.mark.parametrize(
    "changed, match",
    [
        ({"heads": ["rigde"]}, "'rigde' is not; known are"),
        ({"heads": []}, "at least one head"),
        ({"targets": []}, "at least one target"),
        ({"combinations": {}}, "at least one feature set"),
        ({"kinds": {"age": "number"}}, "'number' is not, for 'age'; known are 'binary'"),
        ({"kinds": {"sex": "binary"}}, "'sex' is none; known are 'age'"),
        ({"n_splits": 1}, "n_splits must be at least 2; it is 1"),
        ({"n_jobs": 0}, "n_jobs must be a number of processes, .* it is 0; choose"),
        ({"random_state": 2**32}, "random_state must be below 2.*; it is 4294967296; choose"),
        ({"n_inner": 0}, "n_inner must be at least 2; it is 0"),
        ({"combinations": {"x": ("nowhere",)}}, "'nowhere' is not; known are 'one.x/axial"),
    ],
)
def test_requests_that_cannot_be_are_refused_first(cohort: Cohort, changed: dict[str, Any], match: str) -> None:
    with pytest.raises(AnalysisError, match=match):
        check_request(request(cohort, **changed))


def test_sets_without_common_images_are_refused(cohort: Cohort) -> None:
    sets, table = cohort
    one, two = sets.values()
    other = replace(two, image_id=np.array([f"{image}_ses-2" for image in two.image_id], dtype=object))
    with pytest.raises(CohortError, match=r"'one\.x/axial/t/mean', 'two.x/axial/t/mean' share none"):
        run(request(({one.name: one, two.name: other}, table)))


@pytest.mark.parametrize("what, value", [("participant_id", "sub-x"), ("session_id", "ses-x")])
def test_sets_that_are_never_side_by_side_must_agree_too(cohort: Cohort, what: str, value: str) -> None:
    sets, table = cohort
    one, two = sets.values()
    ids = getattr(two, what).copy()
    ids[3] = value
    with pytest.raises(StoreError, match=f"'sub-003' is of .* in one feature set and of '{value}' in 'two.x/"):
        run(request(({one.name: one, two.name: replace(two, **{what: ids})}, table)))


def test_a_person_under_two_spellings_is_one_person(cohort: Cohort) -> None:
    sets, table = cohort
    one = next(iter(sets.values()))
    images = [f"{name}_ses-1" for person in one.participant_id for name in (person, person.removeprefix("sub-"))]
    both = feature_set(one.name, np.repeat(one.X, 2, axis=0), images)
    result = run(request(({one.name: both}, table), targets=["age", "sex"], heads=["ridge", "logistic"]))
    person = result.splits["participant_id"].str.removeprefix("sub-")
    assert result.splits["participant_id"].nunique() == 120
    assert (result.splits.groupby(["target", person])["fold"].nunique() == 1).all()
    assert [one.n_people for one in result.targets] == [60, 60]
    assert result.flow["people_matched"] == 60
    plain = feature_set(
        one.name, np.repeat(one.X, 2, axis=0), [f"{p}_ses-{n}" for p in one.participant_id for n in "12"]
    )
    same = run(request(({one.name: plain}, table), targets=["age"]))
    low = [value_of["low"].tolist()[:2] for value_of in (result.scores, same.scores)]
    assert low[0] == pytest.approx(low[1])


def test_a_target_that_no_head_suits_has_a_row(cohort: Cohort) -> None:
    result = run(request(cohort, targets=["sex", "age"]))
    rows = result.exclusions
    assert rows[["target", "code"]].values.tolist() == [["sex", "wrong-kind"]]
    assert "'sex' is binary, and was given 'ridge'; add one of logistic, boosting" in rows["sentence"][0]
    assert set(result.scores.loc[result.scores["target"] == "sex", "head"]) == {"baseline"}


def test_nobody_matching_stops_the_run(cohort: Cohort) -> None:
    sets, table = cohort
    with pytest.raises(CohortError, match="people such as 'sub-000' and the table of such as 'P0'"):
        run(request((sets, table.assign(participant_id=[f"P{at}" for at in range(60)]))))


def test_kind_can_be_overridden(cohort: Cohort) -> None:
    sets, table = cohort
    coded = table.assign(sex=(table["sex"] == "M").astype(int))
    result = run(request((sets, coded), targets=["sex"], kinds={"sex": "continuous"}))
    assert result.targets[0].kind == "continuous"


def test_the_wing_needs_no_torch_h5py_or_matplotlib() -> None:
    code = (  # refused by a finder: with None in sys.modules, scipy asks None for its Tensor
        "import sys, pkgutil, importlib\n"
        "class Without:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('torch', 'h5py', 'matplotlib'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "import featx.analysis as wing\n"
        "for one in pkgutil.iter_modules(wing.__path__): importlib.import_module('featx.analysis.' + one.name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
