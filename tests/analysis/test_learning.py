"""Learning curves: the same draws for everybody, groups whole, test people fixed; values as scikit-learn has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx import schema
from featx.analysis import learning
from featx.analysis.folds.splits import TRAIN_ONLY, Split
from featx.analysis.heads import make_head
from featx.analysis.jobs import make_plan
from featx.analysis.learning import Drawing, draw_splits, learning_curves
from featx.analysis.request import Job, Request
from featx.analysis.ridge import default_alphas
from featx.analysis.runs.curvedir import write_curves
from featx.errors import AnalysisError

from .conftest import ONE, TWO, Cohort, ask, feature_set, make_cohort, only

Drawn = list[tuple[int, Split]]


def drawn_of(request: Request, drawing: Drawing) -> tuple[Job, Drawn, list[dict[str, str]]]:
    (job,) = make_plan(request).jobs
    exclusions: list[dict[str, str]] = []
    return job, draw_splits(request, job, drawing, exclusions), exclusions


def families(cohort: Cohort) -> Cohort:
    """Two images of everybody, and two people in every family."""
    sets, table = cohort
    names = [f"{one}_ses-{at}" for one in sets[ONE].participant_id for at in (1, 2)]
    return {ONE: feature_set(ONE, np.repeat(sets[ONE].X, 2, axis=0), names)}, table


# --- draws ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["age", "sex"])
@pytest.mark.parametrize("replace", [False, True])
def test_groups_are_drawn_whole_and_never_tested(cohort: Cohort, target: str, replace: bool) -> None:
    asked = ask(families(cohort), targets=[target], heads=["ridge", "logistic"], columns={"group": "family"})
    job, drawn, gone = drawn_of(asked, Drawing((14, 18, 1.0), 5, replace))
    assert not gone
    assert len({split.test.tobytes() for _, split in drawn}) == 1
    test = set(job.units[drawn[0][1].test])
    assert len(test) == 30 / 5
    assert len(drawn[0][1].test) == 4 * len(test)
    for n, split in drawn:
        of_units = pd.Series(job.units[split.train]).value_counts()
        assert (of_units % 4 == 0).all()  # two people with two images each
        assert of_units.sum() == 4 * n
        assert not test & set(of_units.index)
        if not replace:
            assert (of_units == 4).all()
        for a, b in split.inner_pairs():
            assert not set(job.units[split.train[a]]) & set(job.units[split.train[b]])
    sizes = [n for n, _ in drawn]
    assert sizes == [14] * 5 + [18] * 5 + [24] * 5
    if replace:
        assert any(len(set(split.train)) < len(split.train) for _, split in drawn)


def test_small_draws_are_within_large_ones(cohort: Cohort) -> None:
    for target in ("age", "sex"):
        asked = ask(cohort, targets=[target], heads=["ridge", "logistic"])
        job, drawn, _ = drawn_of(asked, Drawing((12, 24, 40, 1.0), 4))
        for draw in range(4):
            each = [set(split.train.tolist()) for _, split in drawn if split.repeat == draw]
            assert [len(one) for one in each] == [12, 24, 40, 48]
            assert each[0] < each[1] < each[2] < each[3]
            assert each[3] == set(range(60)) - set(drawn[0][1].test.tolist())
        first = [split.train for n, split in drawn if n == 12]
        assert len({one.tobytes() for one in first}) == 4
        if target == "sex":  # classes in about their shares
            share = job.target.y.mean()
            assert all(abs(job.target.y[one].mean() - share) < 0.1 for one in first)


def test_with_replacement_there_may_be_more_than_there_are(cohort: Cohort) -> None:
    job, drawn, gone = drawn_of(ask(cohort, targets=["sex"], heads=["logistic"]), Drawing((100,), 3, True))
    assert not gone
    assert [len(split.train) for _, split in drawn] == [100] * 3
    pool = np.setdiff1d(np.arange(60), drawn[0][1].test)
    share = job.target.y[pool].mean()
    assert all(abs(job.target.y[split.train].mean() - share) <= 0.01 for _, split in drawn)


def test_sizes_that_cannot_be_drawn_have_a_row(cohort: Cohort) -> None:
    sets, table = cohort
    _, drawn, gone = drawn_of(ask(cohort), Drawing((2, 20, 49), 3))
    assert {n for n, _ in drawn} == {20}
    assert [(one["target"], one["code"]) for one in gone] == [("age", "too-few-people")] * 2
    assert gone[0]["sentence"].startswith("size 2: inner folds must have four people to choose a penalty on")
    assert (
        "size 49: a size must not be above the number of people who do not test, 48 for 'age'; got 49"
        in (gone[1]["sentence"])
    )
    rare = table.assign(rare=np.where(np.arange(60) < 8, "b", "a"))
    asked = ask((sets, rare), targets=["rare"], heads=["logistic"])
    _, drawn, gone = drawn_of(asked, Drawing((2, 40), 10, True))
    assert (
        "every class must be among the people who are drawn to train; 'rare' has one without" in gone[0]["sentence"]
    )
    assert {n for n, _ in drawn} == {40}


@pytest.mark.parametrize("share, n_test", [(0.2, 12), (0.4, 24), (0.3, 18), (0.5, 30), (0.25, 15), (0.05, 3)])
def test_the_share_of_test_people_is_kept(cohort: Cohort, share: float, n_test: int) -> None:
    _, drawn, _ = drawn_of(ask(cohort), Drawing((0.5,), 1, test_share=share))
    assert len(drawn[0][1].test) == n_test


def test_too_few_people_for_a_share_have_a_row(cohort: Cohort) -> None:
    sets, table = cohort
    rare = table.assign(rare=np.where(np.arange(60) < 8, "b", "a"))
    asked = ask((sets, rare), targets=["rare"], heads=["logistic"])
    _, drawn, gone = drawn_of(asked, Drawing((0.5,), 1, test_share=0.1))
    assert not drawn
    assert "must have 10 people or more in each class for 1/10 of them to test; 'rare' has 8" in gone[0]["sentence"]
    _, drawn, gone = drawn_of(ask((sets, table[:12])), Drawing((0.5,), 1, test_share=0.05))
    assert "must have 20 people or more for 1/20 of them to test; 'age' has 12; choose another" in gone[0]["sentence"]


def test_given_folds_and_sites_say_who_tests(cohort: Cohort) -> None:
    sets, table = cohort
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given["fold"] = np.where(np.arange(60) < 40, TRAIN_ONLY, np.arange(60) % 2)
    asked = {"folding": {"scheme": "given", "n_inner": 3}, "given_splits": given}
    _, drawn, _ = drawn_of(ask(cohort, **asked), Drawing((1.0,), 1))
    assert drawn[0][1].test.tolist() == list(range(40, 60, 2))
    assert len(drawn[0][1].train) == 50  # fold 1 trains as well
    _, drawn, _ = drawn_of(ask(cohort, folding={"scheme": "site"}, columns={"site": "scanner"}), Drawing((1.0,), 1))
    assert drawn[0][1].test.tolist() == list(range(0, 60, 3))
    half = table.assign(age=table["age"].where((np.arange(60) < 40) | (np.arange(60) % 2 == 1)))
    _, drawn, gone = drawn_of(ask((sets, half), **asked), Drawing((1.0,), 1))
    assert not drawn
    assert "must have values; 'age' has none in fold 0 of the splits that were given" in gone[0]["sentence"]


@pytest.mark.parametrize(
    "drawing, match",
    [
        (Drawing(()), "must have sizes; it has none; give --n"),
        (Drawing((0,)), "a number of people, or a share above 0 and up to 1.0; got 0; write 50, or 0.5"),
        (Drawing((20, -5)), "got -5"),
        (Drawing((1.5,)), "got 1.5"),
        (Drawing((20,), n_draws=0), "a draw or more; it has 0"),
        (Drawing((20,), test_share=0.0), "from 0.05 to 0.5; it is 0.0"),
        (Drawing((20,), test_share=0.6), "from 0.05 to 0.5; it is 0.6"),
    ],
)
def test_drawings_that_make_no_sense_are_refused(cohort: Cohort, drawing: Drawing, match: str) -> None:
    with pytest.raises(AnalysisError, match=match):
        learning_curves(ask(cohort), drawing)


# --- curves ---------------------------------------------------------------------------------------------------


def test_values_are_those_of_scikit_learn_on_the_same_draw(cohort: Cohort) -> None:
    sets, table = cohort
    for replace in (False, True):
        asked = ask(cohort, combinations={"one": (ONE,), "two": (TWO,)})
        drawing = Drawing((15, 0.5, 1.0), 2, replace)
        points = learning_curves(asked, drawing).points
        assert list(points.columns) == schema.names(schema.CURVE)
        _, drawn, _ = drawn_of(asked, drawing)
        y = table["age"].astype(float).to_numpy()
        for name, key in (("one", ONE), ("two", TWO)):
            X = sets[key].X.astype(np.float64)
            own = only(points, features=name, head="ridge", metric="mae")
            assert own["n_train"].tolist() == [n for n, _ in drawn] == [15] * 2 + [24] * 2 + [48] * 2
            for row, (n, split) in zip(own.to_dict("records"), drawn, strict=True):
                grid = {"ridge__alpha": default_alphas(X.shape[1])}
                search = GridSearchCV(
                    make_pipeline(StandardScaler(), Ridge()),
                    grid,
                    cv=split.inner_pairs(),
                    scoring="neg_mean_squared_error",
                )
                search.fit(X[split.train], y[split.train])
                expected = mean_absolute_error(y[split.test], search.predict(X[split.test]))
                assert row["value"] == pytest.approx(expected, rel=1e-4)
                assert (row["n_train"], row["n_images"], row["n_test"]) == (n, len(split.train), 12)
        baseline = only(points, head="baseline", metric="mae")
        by_hand = [np.abs(y[split.test] - y[split.train].mean()).mean() for _, split in drawn]
        np.testing.assert_allclose(baseline["value"], by_hand)
        assert only(points, head="baseline", metric="r")["value"].isna().all()


def test_draws_are_the_same_for_all_features_heads_and_treatments(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[tuple[int, int], set[bytes]] = {}
    real = learning.cross_validate

    def watched(data: Any, y: Any, splits: Any, task: Any, **more: Any) -> Any:
        for split in splits:
            seen.setdefault((split.repeat, len(split.train)), set()).add(
                split.train.tobytes() + split.test.tobytes() + split.inner.tobytes()
            )
        return real(data, y, splits, task, **more)

    monkeypatch.setattr(learning, "cross_validate", watched)
    asked = ask(
        cohort,
        heads=["ridge", "boosting"],
        combinations={"one": (ONE,), "two": (TWO,)},
        adjusting={"confounds": ("volume",), "modes": ("only", "ignored", "target")},
    )
    calls: list[tuple[int, int, str]] = []
    curves = learning_curves(asked, Drawing((20, 40), 2), lambda *told: calls.append(told))
    assert [len(one) for one in seen.values()] == [1] * 4
    assert not curves.exclusions
    labels = set(curves.points[["features", "head", "confounds"]].itertuples(index=False, name=None))
    arms = {
        (one, head, mode)
        for one in ("one", "two")
        for head in ("ridge", "boosting")
        for mode in ("ignored", "target")
    }
    assert labels == arms | {("-", "baseline", "ignored"), ("-", "ridge", "only"), ("-", "boosting", "only")}
    assert calls[-1][:2] == (len(calls), len(calls)) == (40, 40)


def test_more_people_are_worth_more_and_classes_are_scored(cohort: Cohort) -> None:
    sets, table = make_cohort(200, seed=3)
    points = learning_curves(
        ask((sets, table), targets=["age", "sex"], heads=["ridge", "logistic"], combinations={"two": (TWO,)}),
        Drawing((20, 160), 4),
    ).points
    for target, metric in (("age", "r"), ("sex", "auc")):
        own = only(points, target=target, metric=metric)
        own = own[own["head"] != "baseline"].groupby("n_train")["value"].mean()
        assert own[160] > own[20] + 0.05
    assert set(only(points, target="sex", head="baseline", metric="auc")["value"]) == {0.5}


def test_a_share_of_one_is_the_head_of_a_plain_split(cohort: Cohort) -> None:
    asked = ask(cohort, targets=["sex"], heads=["logistic"])
    job, drawn, _ = drawn_of(asked, Drawing((1.0,), 2))
    points = only(learning_curves(asked, Drawing((1.0,), 2)).points, head="logistic", metric="auc")
    X = cohort[0][ONE].X
    for row, (_, split) in zip(points.to_dict("records"), drawn, strict=True):
        head = make_head("logistic", "binary", cv=split.inner_pairs())
        head.fit(X[split.train], job.target.y[split.train])
        guess = head.predict_proba(X[split.test])[:, 1]
        assert row["value"] == pytest.approx(roc_auc_score(job.target.y[split.test], guess))


def test_a_size_that_a_head_cannot_be_fitted_to_costs_that_size(cohort: Cohort) -> None:
    """In a small draw a site has one person, who says nothing of its spread."""
    asked = ask(cohort, adjusting={"harmonise": "combat"}, columns={"site": "scanner"})
    curves = learning_curves(asked, Drawing((6, 1.0), 4))
    fitted = only(curves.points, head="ridge")
    assert set(fitted["n_train"]) == {48}
    (row,) = curves.exclusions
    assert (row["target"], row["code"]) == ("age", "unfitted")
    assert row["sentence"].startswith("ridge on one, confounds ignored, size 6: ")


def test_bad_targets_are_rows_and_no_points(cohort: Cohort) -> None:
    curves = learning_curves(ask(cohort, targets=["height"]), Drawing((20,), 2))
    assert not len(curves.points)
    assert list(curves.points.columns) == schema.names(schema.CURVE)
    assert [one["code"] for one in curves.exclusions] == ["unknown-target"]


# --- the folder -----------------------------------------------------------------------------------------------


def test_curves_are_written_with_what_was_asked(cohort: Cohort, tmp_path: Path) -> None:
    asked = ask(cohort, targets=["age", "height"], phenotypes_name="people.tsv", phenotypes_sha256="0" * 64)
    drawing = Drawing((20, 1.0), 2)
    curves = learning_curves(asked, drawing)
    for name in ("one", "two"):
        write_curves(asked, drawing, curves, tmp_path / "deep" / name)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / "deep" / name).iterdir()} for name in ("one", "two")
    )
    assert one == two
    assert set(one) == {"curve.csv", "curve.json", "exclusions.csv"}
    back = pd.read_csv(tmp_path / "deep" / "one" / "curve.csv")
    assert list(back.columns) == schema.names(schema.CURVE)
    np.testing.assert_array_equal(back["value"], curves.points["value"])
    facts = json.loads(one["curve.json"])
    assert facts["drawing"] == {"sizes": [20, 1.0], "n_draws": 2, "with_replacement": False, "test_share": 0.2}
    assert facts["phenotypes"] == {"file": "people.tsv", "sha256": "0" * 64}
    assert b"unknown-target" in one["exclusions.csv"]
    (tmp_path / "file").write_text("")
    with pytest.raises(AnalysisError, match="must be written to a folder; .* is a file; choose another name"):
        write_curves(asked, drawing, curves, tmp_path / "file")


def test_processes_change_nothing(cohort: Cohort) -> None:
    whole: dict[str, Any] = {"targets": ["sex"], "heads": ["logistic"]}
    one, two = (learning_curves(ask(cohort, n_jobs=n, **whole), Drawing((20,), 3)).points for n in (1, 2))
    assert one.to_csv() == two.to_csv()
