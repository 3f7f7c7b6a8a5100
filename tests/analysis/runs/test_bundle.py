"""A stored head says of new people what it said of the test people of its run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx import schema
from featx.analysis.cohort.targets import BINARY, CONTINUOUS, KINDS, MULTICLASS, ORDINAL
from featx.analysis.crossval import Data, Task, cross_validate
from featx.analysis.features import combine
from featx.analysis.fit import run
from featx.analysis.folds.splits import TRAIN_ONLY, Folding, make_design
from featx.analysis.heads import ALONE, HEADS, HeadOptions, applies, make_head, predict_with, softbins
from featx.analysis.request import Result
from featx.analysis.rows import prediction_table
from featx.analysis.runs.bundle import (
    TRAINED_ON,
    UNSEEN_SITE,
    Bundle,
    hash_people,
    make_bundle,
    read_bundle,
    write_bundle,
)
from featx.analysis.runs.prediction import features_of, predict, predict_data
from featx.errors import BundleError, CohortError
from featx.featureset import FeatureSet

from ..conftest import ONE, TWO, ask, excluded, feature_set, make_cohort, only, take

NAMES = [f"sub-{at:02d}" for at in range(40)]
FOREIGN = ("sklearn:neighbors.KNeighborsRegressor", "sklearn:neighbors.KNeighborsClassifier")
NAMES_OF_HEADS = [*(name for name, one in HEADS.items() if one.wants != ALONE), *FOREIGN]
CASES = [(name, kind) for name in NAMES_OF_HEADS for kind in KINDS if applies(name, kind)]


@pytest.fixture(autouse=True)
def few_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of softbins is long, and nothing here depends on how good its heads are."""
    monkeypatch.setattr(softbins, "PENALTIES", softbins.PENALTIES[:2])


def sets() -> list[FeatureSet]:
    rng = np.random.default_rng(0)
    return [
        feature_set("a.x/axial/t/mean", rng.standard_normal((40, 4)), NAMES, network="a.x", tap="t"),
        feature_set("b.y/volume/t/mean", rng.standard_normal((40, 60)), NAMES, network="b.y", tap="t"),
    ]


def bundle(name: str = "ridge", kind: str = CONTINUOUS) -> Bundle:
    features = combine(sets())
    signal = features.X[:, 0].astype(np.float64)
    y = {
        CONTINUOUS: signal,
        ORDINAL: 1.0 + np.digitize(signal, [-0.4, 0.4]),
        BINARY: np.digitize(signal, [0.0]),
        MULTICLASS: np.digitize(signal, [-0.4, 0.4]),
    }[kind]
    design = make_design(y, features.images.participant_id, Folding(n_splits=2, n_inner=2), kind=kind)
    data = Data(features.X, np.empty((40, 0)))
    (answer,) = cross_validate(data, y, [design.final], Task(name, kind, options=HeadOptions()))
    classes = [] if kind == CONTINUOUS else ["lo", "mid", "hi"][: len(np.unique(y))]
    about = {
        "target": "it",
        "kind": kind,
        "classes": classes,
        "features": "all",
        "confounds": {"specs": []},
        "n_people": 40,
        "scores": [],
    }
    assert answer.kept is not None
    made = make_bundle(name, answer.kept, sets=features.sets, people=(f"P{at}" for at in range(40)), about=about)
    head = make_head(name, kind, cv=design.final.inner_pairs()).fit(features.X, y)
    np.testing.assert_allclose(predict_data(made, data)[0], predict_with(head, kind, features.X), atol=1e-9)
    return made


# --- the file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, kind", CASES)
def test_every_head_comes_back_equal(name: str, kind: str, tmp_path: Path) -> None:
    made = bundle(name, kind)
    write_bundle(made, tmp_path / "one.npz")
    write_bundle(bundle(name, kind), tmp_path / "two.npz")
    one, two = ((tmp_path / file).read_bytes() for file in ("one.npz", "two.npz"))
    assert one == two
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "two.npz"]
    with np.load(tmp_path / "one.npz", allow_pickle=False) as archive:  # no pickle in it
        assert all(archive[name].dtype != object for name in archive.files)
    back = read_bundle(tmp_path / "one.npz")
    assert back.contract == json.loads(json.dumps(made.contract))
    table, again = predict(made, sets()), predict(back, sets()[::-1])
    assert table.equals(again)
    assert table["image_id"].tolist() == NAMES
    if kind in (CONTINUOUS, ORDINAL):
        assert table["predicted"].dtype == np.float64
        assert list(table.columns[4:]) == []
    else:
        columns = [schema.PROBABILITY + level for level in made.contract["classes"]]
        assert list(table.columns[4:]) == columns
        likeliest = np.array(made.contract["classes"])[table[columns].to_numpy().argmax(axis=1)]
        assert table["predicted"].tolist() == likeliest.tolist()


def test_plain_numpy_reads_it(tmp_path: Path) -> None:
    made = bundle()
    write_bundle(made, tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz", allow_pickle=False) as archive:
        contract = json.loads(str(archive["contract"]))
        by_hand = combine(sets()).X @ archive["coef"] + archive["intercept"]
    assert [one["name"] for one in contract["sets"]] == ["a.x/axial/t/mean", "b.y/volume/t/mean"]
    assert features_of(made) == ("a.x/axial/t/mean", "b.y/volume/t/mean")
    assert contract["parameters"].keys() == {"alpha"}
    np.testing.assert_allclose(by_hand, predict(made, sets())["predicted"])


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.npz"
    with pytest.raises(BundleError, match=r"must be a file; .* is none"):
        read_bundle(path)
    write_bundle(bundle(), path)
    whole = path.read_bytes()
    changed = whole.replace("featx-head".encode("utf-32-le"), "featx-hand".encode("utf-32-le"))
    assert changed != whole
    at = whole.index(b"coef.npy") + 200  # within the coefficients
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    for damaged in (whole[: len(whole) // 2], b"text", b"", changed, flipped):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match="must be a whole file of `featx fit`"):
            read_bundle(path)
    np.savez(path, other=np.ones(3))
    with pytest.raises(BundleError, match="must be a whole file"):
        read_bundle(path)
    np.savez(path, contract=np.array({"format": "featx-head"}, dtype=object))  # a pickle is not opened
    with pytest.raises(BundleError, match="must be a whole file"):
        read_bundle(path)


@pytest.mark.parametrize("version, what", [(1, "fit again"), (3, "update featx")])
def test_other_formats_are_refused(tmp_path: Path, version: int, what: str) -> None:
    made = bundle()
    path = tmp_path / "one.npz"
    old = {key: made.contract[key] for key in ("format", "target", "kind", "head", "form", "sets")}
    np.savez(path, contract=np.array(json.dumps({**old, "format_version": version})), **made.arrays)
    with pytest.raises(BundleError, match=rf"of format version 2; .* has {version}; {what}"):
        read_bundle(path)


@pytest.mark.parametrize(
    "name, kind, lacking",
    [
        ("ridge", CONTINUOUS, "coef"),
        ("boosting", BINARY, "trees"),
        ("softbins", CONTINUOUS, "coef"),
        ("attention", BINARY, "query"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, name: str, kind: str, lacking: str) -> None:
    made = bundle(name, kind)
    for gone in (lacking, "people"):
        less = {key: array for key, array in made.arrays.items() if key != gone}
        with pytest.raises(BundleError, match=f"a {made.contract['form']} head of 64 features must hold .*{gone}"):
            write_bundle(Bundle(made.contract, less), tmp_path / "one.npz")
    assert not list(tmp_path.iterdir())


def test_coefficients_of_other_features_are_refused(tmp_path: Path) -> None:
    made = bundle()
    short = {**made.arrays, "coef": made.arrays["coef"][1:]}
    with pytest.raises(BundleError, match="a linear head of 64 features must hold coef and intercept and people"):
        write_bundle(Bundle(made.contract, short), tmp_path / "one.npz")


def test_a_query_of_other_features_is_refused(tmp_path: Path) -> None:
    made = bundle("attention")
    other = {**made.arrays, "position": np.zeros(3)}
    with pytest.raises(BundleError, match="a pooling head of 64 features must hold coef and intercept and people"):
        write_bundle(Bundle(made.contract, other), tmp_path / "one.npz")


@pytest.mark.parametrize("key", ["sets", "form", "kind", "classes", "blocks", "prepare", "salt", "confounds"])
def test_a_contract_that_says_too_little_is_refused(tmp_path: Path, key: str) -> None:
    made = bundle()
    less = {name: one for name, one in made.contract.items() if name != key}
    np.savez(tmp_path / "one.npz", contract=np.array(json.dumps(less)), **made.arrays)
    with pytest.raises(BundleError, match=r"must be a whole file of `featx fit`; .* is not .KeyError"):
        read_bundle(tmp_path / "one.npz")


# --- the features of new people -------------------------------------------------------------------------------


def test_images_that_lack_a_set_are_not_predicted() -> None:
    one, two = sets()
    table = predict(bundle(), [take(two, np.arange(5, 40)), one])
    assert table["image_id"].tolist() == NAMES[5:]
    assert table["predicted"].tolist() == pytest.approx(predict(bundle(), sets())["predicted"].tolist()[5:])


@pytest.mark.parametrize("field", schema.KEY_FIELDS)
def test_features_made_in_another_way_are_refused_by_name(field: str) -> None:
    one, two = sets()
    other = replace(two, provenance={**two.provenance, field: "another"})
    match = f"must have the {field} that .* fitted on {field} '{two.provenance[field]}' and given 'another', in 'b.y/"
    with pytest.raises(BundleError, match=match):
        predict(bundle(), [one, other])


def test_another_patch_release_is_not_another_feature() -> None:
    one, two = sets()
    other = replace(two, provenance={**two.provenance, "versions": "another"})
    assert predict(bundle(), [one, other]).equals(predict(bundle(), sets()))


def test_missing_sets_are_refused_with_both_names() -> None:
    one, two = sets()
    match = "fitted on 'b.y/volume/t/mean' and given 'a.x/axial/t/mean', 'c.z/volume/t/mean'; extract"
    with pytest.raises(BundleError, match=match):
        predict(bundle(), [one, replace(two, name="c.z/volume/t/mean")])
    with pytest.raises(BundleError, match="and given no set at all"):
        predict(bundle(), [])


def test_another_number_of_features_is_refused() -> None:
    one, two = sets()
    with pytest.raises(BundleError, match=r"n_features that .* fitted on n_features 60 and given 59"):
        predict(bundle(), [one, replace(two, X=two.X[:, 1:])])


# --- what a run stored, on the test people of the run ---------------------------------------------------------

N, N_TRAIN = 70, 50
COHORT = make_cohort(N, seed=5)


def fitted(**changed: Any) -> Result:
    """A run with a test cohort: its heads are fitted on the same people as those that were scored."""
    given = pd.DataFrame({"target": "*", "image_id": "", "participant_id": COHORT[1]["participant_id"], "repeat": 0})
    given["fold"] = np.where(np.arange(N) < N_TRAIN, TRAIN_ONLY, 0)
    folding = {"scheme": "given", "n_inner": 3}
    return run(
        ask(
            COHORT,
            folding=folding,
            given_splits=given,
            inferring={"n_bootstrap": 0} | changed.pop("inferring", {}),
            **changed,
        )
    )


def new_people() -> tuple[list[FeatureSet], pd.DataFrame]:
    one, two = COHORT[0].values()
    return [take(two, np.arange(N_TRAIN, N)), take(one, np.arange(N_TRAIN, N))], COHORT[1][N_TRAIN:]


def check_it_predicts_as_it_was_scored(result: Result, folder: Path) -> int:
    """Stored, read back, and given the features and phenotypes of the test people alone."""
    features, table = new_people()
    for key, made in result.bundles.items():
        target, head, combination, confounds = key
        job = next(one for one in result.jobs if one.target.name == target)
        scored = only(
            prediction_table(job, result.arms[target]), head=head, features=combination, confounds=confounds
        )
        write_bundle(made, folder / "head.npz")
        found = predict(read_bundle(folder / "head.npz"), features, table)
        assert found["image_id"].tolist() == scored["image_id"].tolist(), key
        if UNSEEN_SITE in found:
            assert not found.pop(UNSEEN_SITE).any()
        for column in found.columns[3:]:
            if column == schema.CORRECTED + "beheshti" or (
                column == "predicted" and job.target.classes and job.target.kind != ORDINAL
            ):
                assert found[column].tolist() == scored[column].tolist(), key
            else:
                expected = scored[column].astype(float)
                np.testing.assert_allclose(
                    found[column].astype(float), expected, rtol=1e-7, atol=1e-7, err_msg=str(key)
                )
    return len(result.bundles)


ALL_MODES = ("only", "ignored", "added", "features", "target", "both")
CONFOUNDED = {"confounds": ("volume", "scanner"), "modes": ALL_MODES}


@pytest.mark.parametrize(
    "head, target",
    [
        ("ridge", "age"),
        ("ridge", "level"),
        ("elasticnet", "age"),
        ("logistic", "sex"),
        ("elasticnet-logistic", "sex"),
        ("boosting", "age"),
        ("boosting", "site"),
        ("cumulative-logit", "level"),
        ("softbins", "age"),
        (FOREIGN[0], "age"),
        (FOREIGN[1], "site"),
    ],
)
def test_every_head_in_every_mode(head: str, target: str, tmp_path: Path) -> None:
    kinds = {"level": "ordinal"} if target == "level" else {}
    result = fitted(targets=[target], heads=[head], adjusting=CONFOUNDED, kinds=kinds)
    assert excluded(result) == {}
    n_modes = 6 if target in ("age", "level") and head != "cumulative-logit" else 4
    assert check_it_predicts_as_it_was_scored(result, tmp_path) == n_modes


@pytest.mark.parametrize(
    "adjusting",
    [
        {"harmonise": "combat"},
        {"harmonise": "combat", "confounds": ("volume",), "preserve": ("volume",), "modes": ("only", *ALL_MODES[1:])},
        {"pca": 3},
        {"pca": 0.9, "confounds": ("volume:spline",), "modes": ("added", "both")},
        {"calibrate": "platt"},
        {"calibrate": "isotonic", "confounds": ("volume",), "modes": ("added",)},
    ],
    ids=lambda one: "-".join(map(str, one)),
)
def test_every_preparation(adjusting: dict[str, Any], tmp_path: Path) -> None:
    targets, heads = ["age", "sex"], ["ridge", "logistic"]
    if "calibrate" in adjusting:
        targets, heads = ["sex", "site"], ["logistic"]
    asked = {"combinations": {"both": (TWO, ONE)}, "columns": {"site": "scanner"}}
    result = fitted(targets=targets, heads=heads, adjusting=adjusting, **asked)
    assert excluded(result) == {}
    assert check_it_predicts_as_it_was_scored(result, tmp_path)
    assert all(len(made.contract["sites"]) == 3 for made in result.bundles.values())


def test_age_bias_travels_with_the_head(tmp_path: Path) -> None:
    adjusting = {"confounds": ("volume",), "modes": ("ignored", "both")}
    result = fitted(inferring={"correct_age": ("age",)}, adjusting=adjusting)
    assert check_it_predicts_as_it_was_scored(result, tmp_path) == 2
    features, table = new_people()
    for made in result.bundles.values():
        assert schema.CORRECTED + "cole" in predict(made, features, table)


def test_shared_folds_give_the_same_heads(tmp_path: Path) -> None:
    result = fitted(targets=["age", "volume"], columns={"stratify": "none"})
    assert check_it_predicts_as_it_was_scored(result, tmp_path) == 2


def test_a_site_that_was_not_there_is_not_adjusted() -> None:
    result = fitted(adjusting={"harmonise": "combat"}, columns={"site": "scanner"})
    (made,) = result.bundles.values()
    features, table = new_people()
    found = predict(made, features, table.assign(scanner="elsewhere"))
    assert found[UNSEEN_SITE].all()
    X = COHORT[0][ONE].X[N_TRAIN:]
    plain = X @ made.arrays["coef"] + made.arrays["intercept"]
    np.testing.assert_allclose(found["predicted"], plain, rtol=1e-5)


# --- who is predicted -----------------------------------------------------------------------------------------


def test_people_it_was_fitted_on_are_refused_or_flagged() -> None:
    (made,) = fitted().bundles.values()
    everybody = list(COHORT[0].values())
    with pytest.raises(
        BundleError, match=r"not fitted on; 50 of 70 images are of such, the first of 'sub-000'; leave"
    ):
        predict(made, everybody)
    table = predict(made, everybody, allow_training_people=True)
    assert table[TRAINED_ON].tolist() == [at < N_TRAIN for at in range(N)]
    assert TRAINED_ON not in predict(made, new_people()[0])
    other = replace(
        everybody[0], participant_id=np.array([one[4:] for one in everybody[0].participant_id], dtype=object)
    )
    with pytest.raises(BundleError, match="the first of '000'"):  # under another spelling
        predict(made, [other])
    assert (made.arrays["people"] == hash_people(COHORT[1]["participant_id"][:N_TRAIN], made.contract["salt"])).all()


def test_confounds_that_are_not_given_are_refused() -> None:
    result = fitted(
        adjusting={"confounds": ("volume",), "modes": ALL_MODES, "harmonise": "combat"}, columns={"site": "scanner"}
    )
    features, table = new_people()
    for (_, _, _, mode), made in result.bundles.items():
        needs = {"only": "'volume'", "ignored": "'scanner'"}.get(mode, "'volume', 'scanner'")
        with pytest.raises(
            BundleError, match=f"must be given those of the new people; it needs {needs}; give the table"
        ):
            predict(made, features)
        column = "scanner" if mode == "ignored" else "volume"
        with pytest.raises(CohortError, match=f"'{column}' is not"):
            predict(made, features, table.drop(columns=column))
        empty = table.assign(**{column: None})
        with pytest.raises(
            BundleError, match=f"must have what the head needs, {needs}; none of 20 images is of a person"
        ):
            predict(made, features, empty)
        gaps = table.assign(**{column: table[column].where(np.arange(20) > 0)})
        assert predict(made, features, gaps)["image_id"].tolist() == table["participant_id"].tolist()[1:]


def test_a_head_of_confounds_alone_takes_its_images_from_the_table() -> None:
    result = fitted(
        targets=["age", "sex"], heads=["ridge", "logistic"], adjusting={"confounds": ("volume",), "modes": ("only",)}
    )
    features, table = new_people()
    for made in result.bundles.values():
        assert features_of(made) == ()
        plain = predict(made, [], table)
        assert plain.equals(predict(made, features, table[::-1]))
        assert plain["image_id"].tolist() == table["participant_id"].tolist()
        twice = pd.concat([table.assign(session_id=one) for one in ("ses-2", "")])
        found = predict(made, [], twice)
        assert found["image_id"].tolist()[:2] == ["sub-050", "sub-050_ses-2"]
        assert found["session_id"].tolist()[:2] == ["", "ses-2"]
        assert found["predicted"].tolist() == np.repeat(plain["predicted"], 2).tolist()
        with pytest.raises(BundleError, match="it needs 'volume'; give the table"):
            predict(made, [])
        with pytest.raises(BundleError, match="50 of 70 images are of such"):
            predict(made, [], COHORT[1])


def test_empty_cells_are_for_plain_trees(tmp_path: Path) -> None:
    sets_of, table = COHORT
    facts = {"network": "table", "recipe": json.dumps([f"v{at}" for at in range(8)])}
    X = sets_of[ONE].X.astype(np.float64)
    X[::7, 1] = np.nan
    holes = replace(feature_set("volumes", X, list(sets_of[ONE].image_id), **facts), X=X)
    asked = ask(({"volumes": holes}, table), combinations={"volumes": ("volumes",)}, heads=["boosting"])
    new = replace(holes, participant_id=np.array([f"new{at}" for at in range(N)], dtype=object))
    (made,) = run(asked).bundles.values()
    assert len(predict(made, [new])) == N
    (made,) = run(replace(asked, adjusting=replace(asked.adjusting, pca=3))).bundles.values()
    assert len(predict(made, [new])) == N - len(range(0, N, 7))
