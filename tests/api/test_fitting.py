"""fit, curve and predict from Python: the bytes of the command line, from files and from memory."""

import json

import numpy as np
import pandas as pd
import pytest

import featx
from featx import store
from featx.errors import AnalysisError, BundleError, CohortError, StoreError
from tests.api.conftest import files_of

QUICK = {"folds": 3, "inner_folds": 3, "bootstrap": 0, "jobs": 1}
WORDS = ("--folds", 3, "--inner-folds", 3, "--bootstrap", 0, "--jobs", 1)


def test_a_run_has_the_bytes_of_the_command_line(study, type_in, tmp_path):
    words = ("f.h5", "people.csv", "--target", "grade", "--table", "volumes=volumes.csv", "--also", "extra.csv")
    more = ("--features", "net/axial+volumes", "--kind", "grade=ordinal", "--confound", "extra", "--seed", 3)
    last = ("--head", "ridge", "--remove", "target", "--age", "age")
    extra = pd.read_csv(study / "people.csv")[["participant_id", "iq"]].rename(columns={"iq": "extra"})
    extra.to_csv(study / "extra.csv", index=False)
    type_in(study, "fit", *words, *more, *last, *WORDS, "-o", tmp_path / "typed")
    run = featx.fit(
        str(study / "f.h5"),
        study / "people.csv",
        target="grade",
        table={"volumes": study / "volumes.csv"},
        also=study / "extra.csv",
        use="net/axial+volumes",
        kind={"grade": "ordinal"},
        confound=["extra"],
        head="ridge",
        remove=("target",),
        age="age",
        seed=3,
        output=tmp_path / "called",
        **QUICK,
    )
    assert files_of(tmp_path / "called") == files_of(tmp_path / "typed")
    assert run.path == tmp_path / "called"
    pd.testing.assert_frame_equal(run.scores, featx.read_run(tmp_path / "typed").scores)
    assert set(run.heads) == {path.stem for path in (tmp_path / "typed" / "heads").glob("*.npz")}


def test_tables_in_memory_give_the_numbers_of_files(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = {"target": "sex", "head": "logistic", "use": ["net", "volumes"], "group": "family", **QUICK}
    filed = featx.fit(
        study / "f.h5", study / "people.csv", table=[f"volumes={study / 'volumes.csv'}"], splits=None, **asked
    )
    people = pd.read_csv(study / "people.csv").set_index("participant_id")
    volumes = pd.read_csv(study / "volumes.csv", index_col="participant_id")
    sets = {name: store.read_set(study / "f.h5", name) for name in store.list_sets(study / "f.h5")}
    here = featx.fit({**sets, "volumes": volumes}, people, **asked)
    assert list(tmp_path.iterdir()) == []
    for name in ("scores", "comparisons", "splits", "exclusions"):
        pd.testing.assert_frame_equal(getattr(here, name), getattr(filed, name))
    for target, table in filed.predictions.items():
        pd.testing.assert_frame_equal(here.predictions[target], table)
    assert here.path == filed.path.__class__()
    assert here.facts["command"] == "featx.fit(...) in Python, on a table or features that were in memory"
    assert "command" not in filed.facts
    assert [one["file"] for one in here.facts["sources"]] == ["(a table in memory)"] * 3
    digests = [one["sha256"] for one in here.facts["sources"]]
    assert len(set(digests)) == 3
    again = featx.fit({**sets, "volumes": volumes + 1}, people, **asked)
    assert [one["sha256"] for one in again.facts["sources"]][:2] == digests[:2]
    assert again.facts["sources"][2]["sha256"] != digests[2]


def test_folds_of_a_run_in_memory_are_those_of_its_file(study, tmp_path):
    first = featx.fit(study / "f.h5", study / "people.csv", target="age", seed=7, output=tmp_path / "run", **QUICK)
    asked = {"target": "age", "head": "ridge", "use": "net/axial", **QUICK}
    table = featx.fit(study / "f.h5", study / "people.csv", splits=first.splits, **asked)
    file = featx.fit(study / "f.h5", study / "people.csv", splits=tmp_path / "run" / "splits.csv", **asked)
    pd.testing.assert_frame_equal(table.splits, first.splits)
    pd.testing.assert_frame_equal(table.scores, file.scores)


def test_columns_of_images_join_by_their_ids(study):
    """A column image_id says of which image each row is; more columns may come from a table in memory."""
    people = pd.read_csv(study / "people.csv")
    quality = pd.DataFrame({"image_id": people["participant_id"], "participant_id": people["participant_id"]})
    quality["snr"] = np.arange(len(people), dtype=float)
    run = featx.fit(
        study / "f.h5", people, also=quality, where="snr >= 10", target="age", head="ridge", use="net/axial", **QUICK
    )
    assert run.facts["targets"][0]["n_images"] == len(people) - 10


def test_progress_counts_up_to_all_fits(study):
    seen = []
    featx.fit(
        study / "f.h5", study / "people.csv", target="age", head="ridge", use="net/axial", **QUICK,
        on_progress=lambda done, total, what: seen.append((done, total, what)),
    )  # fmt: skip
    assert [done for done, _, _ in seen] == [1, 2, 3, 4]  # three folds, and all people
    assert seen[-1][1:] == (4, "age from net/axial, ridge")


@pytest.mark.parametrize(
    "more, error, sentence",
    [
        ({"features": "nowhere.h5"}, StoreError, "nowhere.h5"),
        ({"features": {}}, AnalysisError, "an analysis must have features; neither feature files nor tables"),
        ({"features": {"mine": np.zeros((3, 2))}}, AnalysisError, "tables of numbers or feature sets; 'mine' is nd"),
        ({"features": ["f.h5", "f.h5"]}, StoreError, "a feature set must be in one file; 'net/axial/t/mean' is in"),
        ({"features": pd.DataFrame({"a": [1]})}, AnalysisError, "tables and feature sets by name, .* got DataFrame"),
        ({"features": {1: pd.DataFrame()}}, AnalysisError, "a name of features must be a text; got 1"),
        ({"phenotypes": None}, AnalysisError, "a table must be a file's name or a DataFrame; got NoneType"),
        ({"folds": 3.0}, AnalysisError, "folds must be a whole number; got 3.0; write, say, folds=2"),
        ({"target": "aeg"}, AnalysisError, "none is, the first because: a target must be a column .*; 'aeg' is not"),
        ({"head": "rigde"}, AnalysisError, "'rigde'"),
        ({"table": {"net": "volumes.csv"}}, AnalysisError, "'net' is also the beginning of 'net/axial/t/mean'"),
        ({"table": ["volumes.csv"]}, AnalysisError, "--table must be NAME=VALUE; got 'volumes.csv'"),
        ({"grid": {"ridge": 1}}, AnalysisError, "a grid must be JSON such as .* got 1 for 'ridge'"),
        ({"grid": {"ridge": {"alpha": "12"}}}, AnalysisError, "a grid must be JSON such as"),
        ({"grid": {"logit": {"C": [1]}}}, AnalysisError, "a grid must be for a head that is asked for; 'logit'"),
        ({"pca": 2.5}, AnalysisError, "--pca must be a number of components"),
        ({"device": "tpu"}, AnalysisError, "--device must be known; 'tpu' is not"),
        ({"class_weight": "some"}, AnalysisError, "--class-weight must be known; 'some' is not"),
        ({"remove": "sex"}, AnalysisError, "--remove must say what confounds are removed from; 'sex'"),
        ({"targets": "bone_*"}, AnalysisError, "--targets must match columns of the phenotype table"),
        ({"test_where": "age > 500"}, AnalysisError, "--test-where must be met by those who test"),
        ({"splits": pd.DataFrame({"fold": [0]})}, CohortError, "must have a column 'participant_id'"),
        ({"split_column": "quarter", "repeats": 2}, AnalysisError, "folds that are given must not be made as well"),
        ({"split_column": "quarter", "test_where": "age > 50"}, AnalysisError, "folds must be given in one way"),
        ({"phenotypes": pd.DataFrame({"age": [1.0]})}, CohortError, r"a column 'participant_id'; \(a table in"),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_with_a_sentence(study, monkeypatch, more, error, sentence):
    monkeypatch.chdir(study)
    with pytest.raises(error, match=sentence):
        featx.fit(**{"features": "f.h5", "phenotypes": "people.csv", "target": "age", **QUICK, **more})


# --- curve ----------------------------------------------------------------------------------------------------


def test_a_curve_has_the_bytes_of_the_command_line(study, type_in, tmp_path):
    words = ("f.h5", "people.csv", "--target", "age", "--head", "ridge", "--features", "net/axial", "--jobs", 1)
    type_in(study, "curve", *words, "--inner-folds", 3, "--draws", 2, "--n", "15,1.0", "-o", tmp_path / "typed")
    asked = {"target": "age", "head": "ridge", "use": "net/axial", "jobs": 1, "inner_folds": 3, "draws": 2}
    curves = featx.curve(study / "f.h5", study / "people.csv", sizes=[15, 1.0], output=tmp_path / "called", **asked)
    assert files_of(tmp_path / "called") == files_of(tmp_path / "typed")
    here = featx.curve(study / "f.h5", pd.read_csv(study / "people.csv"), sizes="15,1.0", **asked)
    pd.testing.assert_frame_equal(here.points, curves.points)
    assert set(curves.points["n_train"]) == {15, 48}


def test_sizes_of_a_curve_are_numbers(study):
    with pytest.raises(
        AnalysisError, match="--n must be numbers of people or shares, separated by commas; got 'few'"
    ):
        featx.curve(study / "f.h5", study / "people.csv", target="age", sizes="few")
    with pytest.raises(AnalysisError, match="none is, the first because: size 4000: a size must not be above"):
        featx.curve(study / "f.h5", study / "people.csv", target="age", head="ridge", sizes=4000, draws=1, jobs=1)


# --- predict --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(study, tmp_path_factory):
    return featx.fit(
        study / "f.h5", study / "people.csv", table={"volumes": study / "volumes.csv"}, target="age", head="ridge",
        use=["net/axial", "volumes"], confound="site", output=tmp_path_factory.mktemp("fitted") / "run", **QUICK,
    )  # fmt: skip


def test_predictions_have_the_bytes_of_the_command_line(study, fitted, type_in, tmp_path):
    head = fitted.path / "heads" / "age--ridge--net-axial.npz"
    typed, called = tmp_path / "typed.csv", tmp_path / "called.csv"
    type_in(study, "predict", head, "new.h5", "-o", typed)
    table = featx.predict(head, study / "new.h5", output=called)
    assert called.read_bytes() == typed.read_bytes()
    assert table.attrs["left_out"] == []
    kept = featx.predict(fitted.heads[head.stem], study / "new.h5")
    pd.testing.assert_frame_equal(kept, table)
    sets = {name: store.read_set(study / "new.h5", name) for name in store.list_sets(study / "new.h5")}
    pd.testing.assert_frame_equal(featx.predict(featx.read_head(head), sets), table)


def test_predictions_of_tables_in_memory(study, fitted):
    head = fitted.heads["age--ridge--volumes--added"]
    volumes = pd.read_csv(study / "new-volumes.csv")
    people = pd.read_csv(study / "new-people.csv").iloc[1:]
    here = featx.predict(head, {"volumes": volumes}, phenotypes=people)
    filed = featx.predict(
        head, table={"volumes": study / "new-volumes.csv"}, phenotypes=study / "new-people.csv"
    ).iloc[1:]
    np.testing.assert_array_equal(here["predicted"], filed["predicted"])
    assert here.attrs["left_out"] == [volumes["participant_id"][0]]


def test_a_head_without_its_features_says_what_it_needs(fitted):
    head = fitted.heads["age--ridge--volumes"]
    with pytest.raises(BundleError, match="new features must be given; this head needs 'volumes'; give the feature"):
        featx.predict(head)


# --- reading --------------------------------------------------------------------------------------------------


def test_features_are_read_side_by_side_and_can_be_fitted_again(study):
    name = "net/axial/t/mean"
    one = store.read_set(study / "f.h5", name)
    table = featx.read_features(study / "f.h5", name)
    np.testing.assert_array_equal(table.to_numpy(), one.X)
    assert table.columns[:2].tolist() == [f"{name}/0", f"{name}/1"]
    assert table.index.names == ["image_id", "participant_id", "session_id"]
    both = featx.read_features(str(study / "f.h5"))
    assert both.shape == (60, 12)
    asked = {"target": "age", "head": "ridge", "inner_folds": 3, "folds": 3, "bootstrap": 0, "jobs": 1}
    again = featx.fit({"mine": table}, study / "people.csv", **asked)
    first = featx.fit(study / "f.h5", study / "people.csv", use=name, **asked)
    own = [run.scores.query("head == 'ridge'")["value"].to_numpy() for run in (again, first)]
    np.testing.assert_allclose(*own, rtol=1e-4)  # a table is float64, a network's features are float32


def test_facts_of_networks_and_heads_are_tables(tmp_path):
    networks = featx.list_networks(tmp_path)
    assert networks.loc["sfcn.ukb_age", "labels"] == "age"
    assert "fire8" in networks.loc["squeezenet1_0.imagenet", "taps"].split()
    assert featx.list_heads().loc["logistic", "kinds"] == "binary multiclass"
    assert json.loads(featx.list_heads().to_json())["title"]["ridge"]
