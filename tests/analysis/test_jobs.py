"""Who and what is fitted: one bad target harms no other, and no group is on two sides."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.fit import run
from featx.analysis.folds.splits import TRAIN_ONLY
from featx.analysis.jobs import MOST_LISTED, Plan, make_plan
from featx.analysis.request import Result
from featx.errors import CohortError, StoreError, TargetError

from .conftest import ONE, TWO, Cohort, ask, excluded, feature_set, only, sentence, take


def text_of(result: Result, target: str) -> str:
    """A target's rows of all tables that hold numbers."""
    names = ("scores", "comparisons", "breakdowns", "splits", "permutations")
    return "".join(only(result.tables[name], target=target).to_csv(index=False) for name in names)


def with_bad_targets(table: pd.DataFrame) -> pd.DataFrame:
    n = len(table)
    return table.assign(
        empty=None,
        one="F",
        infinite=["inf"] + ["1.5"] * (n - 1),
        mixed=[str(at) for at in range(n - 1)] + ["old"],
        names=[f"x{at}" for at in range(n)],
        two=["1", "2"] + [None] * (n - 2),
        few=[str(at) if at < 3 else None for at in range(n)],
        rare=["a"] * (n - 2) + ["b"] * 2,
    )


BAD = {
    "empty": ("all-missing", "'empty' is empty for every matched person"),
    "one": ("constant-target", "'one'"),
    "infinite": ("non-finite-target", "'infinite'.*'sub-000'"),
    "mixed": ("not-a-number", "'mixed'.*'old'"),
    "names": ("too-many-classes", "'names'"),
    "two": ("too-few-people", "'two'"),
    "few": ("too-few-people", "'few'"),
    "rare": ("too-few-people", "'rare'"),
    "height": ("unknown-target", "'height'"),
    "volume": ("wrong-confound", "'volume' is both; fit it in a run without that confound"),
    "hippocampus": ("target-in-features", "'hippocampus' is a column of the table 'volumes'; leave it out"),
}


@pytest.mark.parametrize("stratify", ["target", "none", "scanner"])
def test_one_bad_target_harms_no_other(cohort: Cohort, stratify: str) -> None:
    sets, table = cohort
    facts = {"network": "table", "recipe": json.dumps(["hippocampus", "ventricles"])}
    volumes = feature_set("volumes", sets[ONE].X[:, :2], list(sets[ONE].image_id), **facts)
    whole = {
        "combinations": {"both": (ONE, "volumes")},
        "heads": ["ridge", "logistic"],
        "columns": {"stratify": stratify, "site": "scanner"},
        "folding": {"n_splits": 3, "n_inner": 2},
        "adjusting": {"confounds": ("volume",), "modes": ("ignored", "added")},
        "inferring": {"n_bootstrap": 20, "n_permutations": 9},
    }
    bad = with_bad_targets(table).assign(hippocampus=table["age"])
    alone = run(ask((sets | {"volumes": volumes}, table), targets=["age", "sex"], **whole))
    targets = [*list(BAD)[:4], "age", *list(BAD)[4:], "sex"]
    result = run(ask((sets | {"volumes": volumes}, bad), targets=targets, **whole))
    assert excluded(result) == {name: code for name, (code, _) in BAD.items()}
    for name, (code, match) in BAD.items():
        assert code in schema.REASONS
        (found,) = only(result.tables["exclusions"], target=name, image_id="")["sentence"]
        assert pd.Series([found]).str.contains(match).all(), found
        assert found.count(";") >= 2  # what must be how; what was got; what to do
    assert [job.target.name for job in result.jobs] == ["age", "sex"]
    for target in ("age", "sex", "*"):
        assert text_of(result, target) == text_of(alone, target)
    for key, bundle in alone.bundles.items():
        for name, array in bundle.arrays.items():
            assert array.tobytes() == result.bundles[key].arrays[name].tobytes()


def test_a_target_with_next_to_no_labels_harms_no_other_on_shared_folds(cohort: Cohort) -> None:
    """Enough for every outer fold, not enough for a penalty to be chosen inside of one."""
    sets, table = cohort
    shared = {"columns": {"stratify": "none"}, "folding": {"n_splits": 2, "n_inner": 2}}
    alone = run(ask(cohort, **shared))
    design = alone.jobs[0].design
    for inner in ((0, 1), (0, 0, 1)):  # labelled people in the inner folds of each outer fold's training people
        kept: list[int] = []
        for split in design.splits:
            kept += [int(split.train[split.inner == fold][at]) for at, fold in enumerate(inner)]
        few = [str(at) if at in kept else None for at in range(60)]
        result = run(ask((sets, table.assign(few=few)), targets=["few", "age"], **shared))
        assert excluded(result) == {"few": "too-few-people"}
        assert text_of(result, "age") == text_of(alone, "age")


@pytest.mark.parametrize("stratify", ["target", "none"])
def test_a_class_that_is_in_one_fold_only(cohort: Cohort, stratify: str) -> None:
    sets, table = cohort
    for scheme, columns in (("site", {"site": "scanner"}), ("kfold", {"group": "scanner"})):
        local = np.where(table["scanner"] == "x", np.where(np.arange(60) < 30, "a", "b"), "b")
        folding = {"scheme": scheme, "n_splits": 3, "n_inner": 2}
        asked = {"columns": {**columns, "stratify": stratify}, "folding": folding, "heads": ["ridge", "logistic"]}
        if scheme == "kfold" and stratify == "target":
            asked["folding"] = {"scheme": "given"}
            asked["given_splits"] = pd.DataFrame(
                {"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0}
            ).assign(fold=np.arange(60) % 3)
        result = run(ask((sets, table.assign(local=local)), targets=["local", "sex"], **asked))
        assert excluded(result).get("local") == "too-few-people"
        assert "'local'" in sentence(result, "local")


def test_groups_fewer_than_folds(cohort: Cohort) -> None:
    sets, table = cohort
    table = table.assign(clan=(np.arange(60) // 10).astype(str))
    result = run(ask((sets, table), targets=["age", "sex"], heads=["ridge", "logistic"], columns={"group": "clan"}))
    assert excluded(result) == {"age": "too-few-people", "sex": "too-few-people"}
    assert "at least 8 people (or groups) for 4 folds; 'age' has 6 people" in sentence(result, "age")
    assert not len(result.tables["scores"])
    with pytest.raises(TargetError, match="all targets together"):  # of shared folds nothing would come
        run(ask((sets, table), columns={"group": "clan", "stratify": "none"}, folding={"n_splits": 10}))


def test_confounds_that_say_nothing_cost_the_targets_for_which_they_do(cohort: Cohort) -> None:
    sets, table = cohort
    at_x = table["scanner"] == "x"
    table = table.assign(
        there=table["age"].where(at_x),
        height=table["volume"].where(at_x, "160"),
        weight=[str(at % 7) for at in range(60)],
    )
    constant = {"confounds": ("scanner", "weight"), "modes": ("added",)}
    whole: dict[str, Any] = {"targets": ["there", "age"], "folding": {"n_splits": 3, "n_inner": 2}}
    result = run(ask((sets, table), adjusting=constant, **whole))
    assert excluded(result) == {"there": "constant-confound"}
    assert "'scanner' is the same for all 20 analysed images; leave it out" in sentence(result, "there")
    assert text_of(result, "age") == text_of(run(ask((sets, table), adjusting=constant, **whole)), "age")
    collinear = {"confounds": ("volume", "height"), "modes": ("added",)}
    result = run(ask((sets, table), adjusting=collinear, **whole))
    assert excluded(result) == {"there": "collinear-confound"}
    assert "follows linearly from 'height', for the 20 analysed images" in sentence(result, "there")


@pytest.mark.parametrize(
    "confounds, code",
    [(("flat",), "constant-confound"), (("volume", "double"), "collinear-confound"), (("age",), "wrong-confound")],
)
@pytest.mark.parametrize("stratify", ["target", "none"])
def test_confounds_that_say_nothing_at_all(
    cohort: Cohort, confounds: tuple[str, ...], code: str, stratify: str
) -> None:
    sets, table = cohort
    table = table.assign(flat="3", double=(2 * table["volume"].astype(float) + 1).astype(str))
    adjusting = {"confounds": confounds, "modes": ("features",)}
    result = run(ask((sets, table), adjusting=adjusting, columns={"stratify": stratify}))
    assert excluded(result) == {"age": code}


def test_sites_that_cannot_be_harmonised(cohort: Cohort) -> None:
    sets, table = cohort
    combat = {"harmonise": "combat"}
    lone = table.assign(scanner=["q", *table["scanner"][1:]])
    result = run(ask((sets, lone), adjusting=combat, columns={"site": "scanner"}))
    assert excluded(result) == {"age": "site-too-small"}
    assert "'q' has one, for 'age'; leave it out with --where, or merge sites" in sentence(result, "age")
    twice = [f"{person}_ses-{at}" for person in table["participant_id"] for at in (1, 2)]
    both = {ONE: feature_set(ONE, np.repeat(sets[ONE].X, 2, axis=0), twice)}
    assert excluded(run(ask((both, lone), adjusting=combat, columns={"site": "scanner"}))) == {
        "age": "site-too-small"
    }
    for table_of_one, scheme in ((table.assign(scanner="x"), "kfold"), (two_sites(table), "site")):
        result = run(
            ask((sets, table_of_one), adjusting=combat, columns={"site": "scanner"}, folding={"scheme": scheme})
        )
        assert excluded(result) == {"age": "too-few-sites"}


def two_sites(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(scanner=table["scanner"].replace("z", "y"))


def test_a_site_is_not_harmonised_away_and_predicted(cohort: Cohort) -> None:
    """A test person's features would be adjusted by their own label."""
    result = run(
        ask(
            cohort,
            targets=["scanner", "age"],
            heads=["ridge", "logistic"],
            adjusting={"harmonise": "combat"},
            columns={"site": "scanner"},
        )
    )
    assert set(excluded(result)) == {"scanner"}


def test_one_site_only_cannot_be_left_out(cohort: Cohort) -> None:
    sets, table = cohort
    partly = table.assign(scanner="x", part=table["age"])
    result = run(ask((sets, partly), columns={"site": "scanner"}, folding={"scheme": "site"}))
    assert excluded(result) == {"age": "too-few-sites"}
    assert "two sites or more; the people of 'age' are all of 'x'; use K folds" in sentence(result, "age")


@pytest.mark.parametrize("n", [2, 3])
def test_next_to_nobody(cohort: Cohort, n: int) -> None:
    sets, table = cohort
    for scheme in ({"scheme": "kfold"}, {"scheme": "kfold", "n_splits": 2, "n_inner": 2}, {"scheme": "site"}):
        result = run(
            ask(
                (sets, table[:n]),
                targets=["age", "sex", "level"],
                heads=["ridge", "logistic"],
                folding=scheme,
                columns={"site": "scanner"},
            )
        )
        assert set(excluded(result)) == {"age", "sex", "level"}
        assert set(excluded(result).values()) <= {"too-few-people", "constant-target"}


# --- who is left out ------------------------------------------------------------------------------------------


def test_everybody_who_is_left_out_has_a_row(cohort: Cohort) -> None:
    sets, table = cohort
    fewer = take(sets[TWO], np.arange(59))  # sub-059 has no row in the second set
    table = table.iloc[1:].assign(age=[None, *table["age"].iloc[2:]])  # no sub-000; sub-001 without age
    table.loc[len(table) + 1] = {"participant_id": "sub-900", "age": "40", "sex": "F", "site": "a"}
    result = run(ask(({ONE: sets[ONE], TWO: fewer}, table), combinations={"one": (ONE,), "two": (TWO,)}))
    exclusions = result.tables["exclusions"]
    assert exclusions[["code", "image_id", "participant_id", "target"]].values.tolist() == [
        ["missing-features", "sub-059", "sub-059", ""],
        ["no-phenotype", "sub-000", "sub-000", ""],
        ["no-image", "", "sub-900", ""],
        ["missing-value", "sub-001", "sub-001", "age"],
    ]
    assert "'sub-059' is in 'one.x/axial/t/mean' and not in 'two.x/" in exclusions["sentence"][0]
    assert result.flow == {
        "images_with_features": 60,
        "images_with_all_features": 59,
        "images_matched": 58,
        "people_matched": 58,
        "people_in_phenotypes": 60,
    }
    assert len(result.jobs[0].target.y) == 57
    assert (result.tables["scores"]["n"] == 57).all()


def test_people_outside_a_condition_and_without_a_confound_have_a_row(cohort: Cohort) -> None:
    sets, table = cohort
    table = table.assign(volume=[None, "1", *table["volume"][2:]], scanner=["x", "", *table["scanner"][2:]])
    columns = {"where": "sex == 'M'", "site": "scanner"}
    asked = ask((sets, table.replace("", None)), columns=columns, adjusting={"confounds": ("volume",)})
    plan = make_plan(asked)
    found = pd.DataFrame(plan.exclusions)
    men = table["sex"] == "M"
    assert set(only(found, code="filtered")["participant_id"]) == set(table["participant_id"][~men])
    assert "must meet \"sex == 'M'\"" in only(found, code="filtered")["sentence"].iloc[0]
    lacking = only(found, code="missing-confound")
    assert set(lacking["participant_id"]) == set(table["participant_id"][:2][men[:2]])
    assert lacking["sentence"].str.contains("all of 'volume', 'scanner' to be analysed").all()
    (job,) = plan.jobs
    assert set(job.images.participant_id) == set(table["participant_id"][2:][men[2:]])
    assert np.isfinite(plan.C[job.target.rows]).all()


@pytest.mark.parametrize("where, match", [("weight > 3", "'weight'"), ("sex == 'X'", "is met by none of")])
def test_a_condition_that_leaves_nobody_stops_the_run(cohort: Cohort, where: str, match: str) -> None:
    with pytest.raises(CohortError, match=match):
        make_plan(ask(cohort, columns={"where": where}))


@pytest.mark.parametrize("columns", [{"site": "clinic"}, {"group": "clinic"}, {"age": "clinic"}])
def test_unknown_columns_stop_the_run(cohort: Cohort, columns: dict[str, str]) -> None:
    with pytest.raises(CohortError, match="must be .* the phenotype table; 'clinic' is not"):
        make_plan(ask(cohort, columns=columns))


def test_an_unknown_column_to_stratify_by_stops_the_run(cohort: Cohort) -> None:
    with pytest.raises(CohortError, match="stratified by must be in the phenotype table; 'clinic' is not"):
        make_plan(ask(cohort, columns={"stratify": "clinic"}))


def test_a_column_that_cannot_stratify_stops_the_run(cohort: Cohort) -> None:
    sets, table = cohort
    with pytest.raises(CohortError, match="folds must be stratified by a column that could be a target: .* 'flat'"):
        make_plan(ask((sets, table.assign(flat="1")), columns={"stratify": "flat"}))


@pytest.mark.parametrize("values", ["old", None])
def test_ages_that_are_no_numbers_stop_the_run(cohort: Cohort, values: str | None) -> None:
    sets, table = cohort
    with pytest.raises(CohortError, match="the column of ages must hold numbers; 'years' holds none"):
        make_plan(ask((sets, table.assign(years=values)), columns={"age": "years"}))


def test_splits_of_another_cohort_are_a_row_that_says_so(cohort: Cohort) -> None:
    others = pd.DataFrame({"target": "*", "image_id": "", "participant_id": ["x1", "x2"], "repeat": 0})
    others["fold"] = [0, 1]
    plan = make_plan(ask(cohort, folding={"scheme": "given"}, given_splits=others))
    (row,) = [one for one in plan.exclusions if one["target"] == "age"]
    assert row["code"] == "not-in-splits"
    assert "tell of the people who are analysed; for 'age' they tell of none, such as 'sub-000'" in row["sentence"]


def test_nobody_matching_stops_the_run(cohort: Cohort) -> None:
    sets, table = cohort
    with pytest.raises(CohortError, match="people such as 'sub-000' and the table of such as 'P0'"):
        make_plan(ask((sets, table.assign(participant_id=[f"P{at}" for at in range(60)]))))


def test_sets_without_common_images_are_refused(cohort: Cohort) -> None:
    sets, table = cohort
    other = replace(sets[TWO], image_id=np.array([f"{image}_ses-2" for image in sets[TWO].image_id], dtype=object))
    with pytest.raises(CohortError, match=r"'one\.x/axial/t/mean', 'two.x/axial/t/mean' share none"):
        make_plan(ask(({ONE: sets[ONE], TWO: other}, table), combinations={"one": (ONE,), "two": (TWO,)}))


@pytest.mark.parametrize("what, value", [("participant_id", "sub-x"), ("session_id", "ses-x")])
def test_sets_that_are_never_side_by_side_must_agree_too(cohort: Cohort, what: str, value: str) -> None:
    sets, table = cohort
    ids = getattr(sets[TWO], what).copy()
    ids[3] = value
    changed = {ONE: sets[ONE], TWO: replace(sets[TWO], **{what: ids})}
    with pytest.raises(StoreError, match=f"'sub-003' is of .* in one feature set and of '{value}' in 'two.x/"):
        make_plan(ask((changed, table), combinations={"one": (ONE,), "two": (TWO,)}))


def test_empty_cells_of_tables_are_for_trees_alone(cohort: Cohort) -> None:
    sets, table = cohort
    X = sets[ONE].X.astype(np.float64)
    X[5, 0] = np.nan
    facts = {"network": "table", "recipe": json.dumps([f"v{at}" for at in range(8)])}
    holes = replace(feature_set("volumes", X, list(sets[ONE].image_id), **facts), X=X)
    asked = {"combinations": {"volumes": ("volumes",)}}
    plan = make_plan(ask(({"volumes": holes}, table), **asked))
    assert [(one["code"], one["image_id"]) for one in plan.exclusions] == [("missing-features", "sub-005")]
    assert len(make_plan(ask(({"volumes": holes}, table), heads=["boosting"], **asked)).matched.images.image_id) == 60
    holes = replace(holes, X=np.full_like(X, np.nan))
    with pytest.raises(CohortError, match="every one of 60 images has an empty cell"):
        make_plan(ask(({"volumes": holes}, table), **asked))


def test_a_target_that_no_head_suits_has_a_row(cohort: Cohort) -> None:
    result = run(ask(cohort, targets=["sex", "age"]))
    assert excluded(result) == {"sex": "wrong-kind"}
    assert "'sex' is binary, and was given 'ridge'; add one of logistic, " in sentence(result, "sex")
    assert set(only(result.tables["scores"], target="sex")["head"]) == {"baseline"}


# --- no group is on two sides ---------------------------------------------------------------------------------


def check_no_group_is_divided(plan: Plan) -> None:
    assert plan.jobs
    for job in plan.jobs:
        for split in (*job.design.splits, job.design.final):
            train, test = set(job.units[split.train]), set(job.units[split.test])
            assert train
            assert not train & test
            for a, b in split.inner_pairs():
                assert not set(job.units[split.train[a]]) & set(job.units[split.train[b]])
        tested = np.unique(np.concatenate([split.test for split in job.design.splits]))
        assert set(tested) == set(np.flatnonzero((job.design.fold != TRAIN_ONLY).any(axis=0)))


def two_sessions(cohort: Cohort, spelt: str = "sub-") -> Cohort:
    """Two images of everybody, the second under another spelling of the person's id."""
    sets, table = cohort
    one = sets[ONE]
    images = [f"{name}_ses-{at}" for id in one.participant_id for at, name in enumerate((id, spelt + id[4:]))]
    return {ONE: feature_set(ONE, np.repeat(one.X, 2, axis=0), images)}, table


@pytest.mark.parametrize("stratify", ["target", "none", "sex", "age"])
@pytest.mark.parametrize("scheme", ["kfold", "by_site", "site", "given"])
def test_no_group_is_ever_on_two_sides(cohort: Cohort, scheme: str, stratify: str) -> None:
    sets, table = two_sessions(cohort, spelt="")
    by_family = table["family"].str[1:].astype(int)
    table = table.assign(scanner=np.array(["x", "y", "z"])[by_family % 3])
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given["fold"] = by_family % 4 - 1  # fold -1 only trains
    plan = make_plan(
        ask(
            (sets, table),
            targets=["age", "sex", "volume"],
            heads=["ridge", "logistic"],
            folding={
                "scheme": {"by_site": "kfold"}.get(scheme, scheme),
                "by_site": scheme == "by_site",
                "n_splits": 3,
                "n_inner": 3,
                "n_repeats": 2,
            },
            columns={"group": "family", "site": "scanner", "stratify": stratify},
            given_splits=given if scheme == "given" else None,
        )
    )
    assert [job.target.name for job in plan.jobs] == ["age", "sex", "volume"]
    check_no_group_is_divided(plan)
    assert {len(set(job.units)) for job in plan.jobs} == {30}
    assert {job.design.n_repeats for job in plan.jobs} == {2 if scheme in ("kfold", "by_site") else 1}


@pytest.mark.parametrize("stratify", ["target", "none"])
def test_folds_that_divide_a_family_are_refused(cohort: Cohort, stratify: str) -> None:
    sets, table = cohort
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given["fold"] = np.arange(60) % 3
    for scheme in ("given", "site"):
        asked = ask(
            (sets, table),
            folding={"scheme": scheme},
            columns={"group": "family", "site": "scanner", "stratify": stratify},
            given_splits=given if scheme == "given" else None,
        )
        if stratify == "none":
            with pytest.raises(TargetError, match="a group must be in one fold"):
                make_plan(asked)
        else:
            plan = make_plan(asked)
            assert [(one["target"], one["code"]) for one in plan.exclusions] == [("age", "divided-group")]


def test_a_person_under_two_spellings_is_one_person(cohort: Cohort) -> None:
    result = run(ask(two_sessions(cohort, spelt=""), targets=["age", "sex"], heads=["ridge", "logistic"]))
    splits = result.tables["splits"]
    person = splits["participant_id"].str.removeprefix("sub-")
    assert splits["participant_id"].nunique() == 120
    assert (splits.groupby(["target", person])["fold"].nunique() == 1).all()
    assert set(result.tables["scores"]["n_people"]) == {60}
    assert result.flow["people_matched"] == 60
    same = run(ask(two_sessions(cohort), targets=["age"]))
    ends = [list(only(one.tables["scores"], target="age", metric="mae")["low"]) for one in (result, same)]
    assert ends[0] == pytest.approx(ends[1])


# --- splits that are given ------------------------------------------------------------------------------------


def test_who_is_unknown_to_given_splits_has_a_row(cohort: Cohort) -> None:
    sets, table = cohort
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given = given.assign(fold=np.arange(60) % 3)[2:]
    for stratify in ("target", "none"):
        asked = ask((sets, table), folding={"scheme": "given"}, given_splits=given, columns={"stratify": stratify})
        plan = make_plan(asked)
        gone = only(pd.DataFrame(plan.exclusions), code="not-in-splits")
        assert gone["image_id"].tolist() == ["sub-000", "sub-001"]
        assert "'sub-000' has none, for 'age'; add a row" in gone["sentence"].iloc[0]
        (job,) = plan.jobs
        assert set(job.images.image_id) == set(table["participant_id"][2:])


def test_splits_of_other_targets_and_people_are_refused(cohort: Cohort) -> None:
    table = cohort[1]
    given = pd.DataFrame({"target": "sex", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given["fold"] = np.arange(60) % 3
    asked = {"folding": {"scheme": "given"}, "targets": ["age", "sex"], "heads": ["ridge", "logistic"]}
    result = run(ask(cohort, given_splits=given, **asked))
    assert excluded(result) == {"age": "not-in-splits"}
    assert "'age' is not there; they tell of 'sex'; add it, or let folds be made" in sentence(result, "age")
    others = given.assign(participant_id=[f"P{at}" for at in range(60)], target="*")
    result = run(ask(cohort, given_splits=others, **asked))
    assert set(excluded(result)) == {"age", "sex"}


def test_a_target_that_no_test_person_has_is_left_out(cohort: Cohort) -> None:
    """And costs only itself: the others have test people."""
    sets, table = cohort
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given["fold"] = np.where(np.arange(60) < 40, TRAIN_ONLY, 0)
    asked = {"folding": {"scheme": "given", "n_inner": 3}, "given_splits": given}
    half = table.assign(half=table["age"].where(np.arange(60) < 40), rest=table["age"].where(np.arange(60) >= 40))
    for stratify in ("target", "none"):
        columns = {"stratify": stratify}
        alone = run(ask(cohort, columns=columns, **asked))
        result = run(ask((sets, half), targets=["half", "age", "rest"], columns=columns, **asked))
        assert excluded(result) == {"half": "too-few-people", "rest": "too-few-people"}
        assert text_of(result, "age") == text_of(alone, "age")


def test_a_repeat_that_tests_nobody_who_has_a_value_costs_the_target_only(cohort: Cohort) -> None:
    sets, table = cohort
    rows = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"]})
    first, second = np.where(np.arange(60) < 20, 0, TRAIN_ONLY), np.where(np.arange(60) >= 40, 0, TRAIN_ONLY)
    given = pd.concat([rows.assign(repeat=0, fold=first), rows.assign(repeat=1, fold=second)])
    half = table.assign(half=table["age"].where(np.arange(60) < 40))
    asked = {"folding": {"scheme": "given", "n_inner": 3}, "given_splits": given}
    result = run(ask((sets, half), targets=["half", "age"], **asked))
    assert excluded(result) == {"half": "too-few-people"}
    assert set(result.tables["scores"]["target"]) == {"age"}


# --- shared folds ---------------------------------------------------------------------------------------------


def test_shared_folds_are_one_design_for_all(cohort: Cohort) -> None:
    sets, table = cohort
    gaps = table.assign(age=table["age"].where(np.arange(60) % 5 > 0))
    plan = make_plan(ask((sets, gaps), targets=["age", "volume"], columns={"stratify": "none"}))
    age, volume = plan.jobs
    assert age.shared is volume.shared
    assert age.shared is not None
    assert len(age.target.y) == 48
    np.testing.assert_array_equal(age.design.fold, age.shared.fold[:, age.target.rows])
    np.testing.assert_array_equal(volume.design.fold, volume.shared.fold)


def test_shared_folds_are_stratified_by_a_column(cohort: Cohort) -> None:
    plan = make_plan(ask(cohort, columns={"stratify": "sex"}))
    women = (plan.matched.phenotypes["sex"] == "F").to_numpy()
    of_fold = [women[plan.jobs[0].design.fold[0] == fold].sum() for fold in range(4)]
    assert max(of_fold) - min(of_fold) <= 1


def test_missing_values_of_many_targets_are_not_listed_one_by_one(cohort: Cohort) -> None:
    sets, table = cohort
    rng = np.random.default_rng(0)
    many = {f"t{at}": np.where(rng.random(60) < 0.3, None, table["age"]) for at in range(30)}
    plan = make_plan(ask((sets, table.assign(**many)), targets=list(many), columns={"stratify": "none"}))
    assert len(plan.jobs) == 30
    assert len(plan.exclusions) <= 30 * 2


def test_people_are_not_listed_one_by_one_for_many_targets(cohort: Cohort) -> None:
    """Rows of the exclusions grow with the targets, not with targets times people."""
    sets, table = cohort
    names = [f"t{at}" for at in range(MOST_LISTED + 1)]
    values = pd.DataFrame(dict.fromkeys(names, table["age"]))
    values.loc[:4, :] = np.nan
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": table["participant_id"], "repeat": 0})
    given["fold"] = np.arange(60) % 4
    wish = {"folding": {"scheme": "given"}, "given_splits": given[:-3]}
    plan = make_plan(ask((sets, pd.concat([table, values], axis=1)), targets=names, **wish))
    assert [row["code"] for row in plan.exclusions] == ["not-in-splits", "missing-value"] * len(names)
    assert "3 of 55 have none, for 't0'" in plan.exclusions[0]["sentence"]
    assert "'t0' is empty for 5 of 60 images" in plan.exclusions[1]["sentence"]
