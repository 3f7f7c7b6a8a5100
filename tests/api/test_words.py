"""Options as Python has them are what the words of the command line say; tables in memory are read as files are."""

import datetime
from inspect import signature

import numpy as np
import pandas as pd
import pytest

import featx
from featx.analysis.cohort.tables import read_table
from featx.api.asking import asked_of, make_request
from featx.api.frames import as_text, called, read_people, sha256
from featx.api.inputs import as_table, images_of
from featx.api.learning import recipe_of, seeds_of, source_of
from featx.api.words import loss_weights, many, pairs, told
from featx.errors import AnalysisError, CohortError, IndexingError, NetworkError
from featx.images.image import Image
from featx.training.arms import get_arm

DEFAULTS = {name: one.default for name, one in signature(featx.fit).parameters.items()}


def test_one_stands_for_a_list_of_one():
    table = pd.DataFrame({"a": [1]})
    assert many("age") == ["age"]
    assert many(table)[0] is table
    assert many(7) == [7]
    assert many(one for one in "ab") == ["a", "b"]


@pytest.mark.parametrize(
    "option, words, mapping",
    [
        ("grid", ['sklearn:svm.SVR={"C": [1, 2]}'], {"sklearn:svm.SVR": {"C": (1, 2)}}),
        ("kind", ["grade=ordinal"], {"grade": "ordinal"}),
    ],
)
def test_a_mapping_asks_for_what_words_ask_for(study, option, words, mapping):
    heads = ["ridge", "sklearn:svm.SVR"]
    requests = [
        make_request(
            asked_of({**DEFAULTS, "head": heads, "target": "grade", option: form}),
            study / "f.h5",
            study / "people.csv",
            home=study,
        )
        for form in (words, mapping)
    ]
    one, other = ((dict(request.grids), dict(request.kinds)) for request in requests)
    assert one == other
    assert one != ({}, {})


@pytest.mark.parametrize("words", [["a"], ["=1"], ["a="], ["a=1", "a=2"]])
def test_words_that_tell_nothing_are_refused(words):
    with pytest.raises(AnalysisError, match=r"--table must (be NAME=VALUE; got|tell of a name once; got 'a')"):
        pairs(words, "--table", "volumes=volumes.tsv")


def test_weights_of_a_loss_are_numbers_from_0():
    assert loss_weights({"sex": 0.5, "age": 1}) == loss_weights(["sex=0.5", "age=1"]) == {"sex": 0.5, "age": 1.0}
    for bad in ("much", "-1", "inf"):
        with pytest.raises(
            AnalysisError, match=f"a weight in the loss must be a number from 0; got '{bad}' for 'sex'"
        ):
            loss_weights([f"sex={bad}"])
    assert told({"a": 1}, "--set", "") == {"a": 1}


@pytest.mark.parametrize("bad", ["0", 0, "five", "1,x", [1, -2], -3, []])
def test_seeds_are_a_number_of_them_or_a_list(bad):
    with pytest.raises(AnalysisError, match="--seeds must be a number of seeds, or a list of them; got"):
        seeds_of(bad)


def test_too_many_seeds_are_taken_for_one_seed():
    with pytest.raises(
        AnalysisError, match="up to 100, or a list of them; got 2024; for that one alone write 2024,2024"
    ):
        seeds_of("2024")
    assert seeds_of([2024]) == seeds_of("2024,2024") == (2024,)


def test_numbers_of_a_recipe_are_told_in_both_ways(tmp_path):
    source, arm = source_of("sfcn.ukb_age", home=tmp_path), get_arm("scratch")
    words = ["numbers=regression", "augmentation.mirror=false", "all.weight_decay=0.5"]
    mapping = {"numbers": "regression", "augmentation.mirror": False, "all.weight_decay": 0.5}
    kinds = {"age": "continuous"}
    by_words, by_mapping = (recipe_of("", source, arm, kinds, settings=one, epochs=3) for one in (words, mapping))
    assert by_words == by_mapping != recipe_of("", source, arm, kinds)
    with pytest.raises(NetworkError, match="'sfcn.nosuch'"):
        source_of("sfcn.nosuch", home=tmp_path)


# --- tables in memory -----------------------------------------------------------------------------------------


def test_a_table_in_memory_is_the_table_of_its_file(tmp_path):
    table = pd.DataFrame(
        {
            "participant_id": ["sub-1", "sub-2", "sub-3"],
            "age": [50.5, np.nan, 0.1 + 0.2],
            "small": np.array([1.5, 2.5, 3.5], dtype=np.float32),
            "sex": pd.Categorical(["M", None, "F"]),
            "n": pd.array([1, None, 3], dtype="Int64"),
            "is": [True, False, True],
            "day": pd.to_datetime(["2020-01-02", None, "2021-12-31"]),
            "mixed": [np.int64(3), " b ", "n/a"],
        }
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    filed = read_table(tmp_path / "t.csv")
    assert as_text(table).fillna("?").to_dict("list") == filed.fillna("?").to_dict("list")
    assert as_text(table)["age"].tolist()[2] == "0.30000000000000004"
    assert called(table) == "(a table in memory)"
    assert called(tmp_path / "t.csv") == "t.csv"
    assert sha256(table) == sha256(table.copy()) != sha256(table.assign(age=1))


@pytest.mark.parametrize("name", ["participant_id", None])
def test_ids_may_be_the_index(name):
    people = pd.DataFrame({"age": [50, 60]}, index=pd.Index(["sub-1", "sub-2"], name=name))
    assert as_text(people).to_dict("list") == {"participant_id": ["sub-1", "sub-2"], "age": ["50", "60"]}
    visits = people.assign(session_id=["a", "b"]).set_index("session_id", append=True)
    visits.index.names = ["participant_id", "session_id"]
    assert as_text(visits).columns.tolist() == ["participant_id", "session_id", "age"]


def test_an_index_that_names_nobody_is_left_out():
    people = pd.DataFrame({"participant_id": ["a", "b"], "age": [1, 2]}, index=[7, 9])
    assert as_text(people).columns.tolist() == ["participant_id", "age"]
    assert read_people(people).table.index.tolist() == [0, 1]


def test_columns_have_a_name_each_and_cells_are_plain():
    twice = pd.DataFrame([["a", 1, 2]], columns=["participant_id", "age", "age"])
    with pytest.raises(CohortError, match=r"its columns once each; \(a table in memory\) has 'age' 2 times"):
        as_text(twice)
    with pytest.raises(
        CohortError, match=r"a cell must be text, .* \(a table in memory\) holds timedelta in column 'd'"
    ):
        as_text(pd.DataFrame({"d": [datetime.timedelta(1)]}, dtype=object))


# --- images ---------------------------------------------------------------------------------------------------


def test_whatever_stands_for_images(heads, tmp_path, monkeypatch):
    found = images_of(str(heads))
    assert [one.image_id for one in found] == [f"sub-{at}" for at in range(7)]
    table = as_table(found)
    assert images_of(table) == images_of(found) == found
    assert [one.image_id for one in images_of(table.iloc[[2, 4]])] == ["sub-2", "sub-4"]
    monkeypatch.chdir(heads)
    short = pd.DataFrame({"participant_id": ["p"], "path": ["sub-1_T1w.nii.gz"], "mask": [None]})
    assert images_of(short) == [Image("p", "p", "", "", heads / "sub-1_T1w.nii.gz")]


@pytest.mark.parametrize(
    "images, sentence",
    [
        ([], "images must be a source, a table of images or featx Images; got an empty list"),
        (["a.nii"], "got str among them"),
        (pd.DataFrame({"path": ["a.nii"]}), "the columns participant_id and path; the table in memory has 'path'"),
        (pd.DataFrame({"path": [], "participant_id": []}), "must have rows; the table in memory has only its header"),
    ],
)
def test_what_stands_for_no_images(images, sentence):
    with pytest.raises(IndexingError, match=sentence):
        images_of(images)
