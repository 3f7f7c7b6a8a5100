"""A run's tables as what the page says."""

from __future__ import annotations

import numpy as np
import pandas as pd

from featx import schema
from featx.report import contents


def test_confusion_counts_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    levels = ["a", "b", "c"]
    table = pd.DataFrame({"observed": rng.choice(levels[:2], 50), "predicted": rng.choice(levels, 50)})
    rows = contents.confusion(table, levels)
    for level, cells, total in rows:
        counts = [
            sum(o == level and p == guess for o, p in zip(table["observed"], table["predicted"], strict=True))
            for guess in levels
        ]
        assert [n for n, _ in cells] == [str(n) for n in counts]
        assert total == str(sum(counts))
        assert [share for _, share in cells] == [n / sum(counts) if sum(counts) else 0.0 for n in counts]


def test_people_summaries_count_images_once() -> None:
    rows = pd.DataFrame(
        {
            "image_id": ["a_1", "a_2", "b_1", "a_1"],
            "participant_id": ["a", "a", "b", "a"],
            "observed": ["20", "30", "40", "20"],
        }
    )
    images = contents.scored_images(rows)
    assert contents.numeric_summary(images) == {
        "images": "3",
        "people": "2",
        "mean": "30.0",
        "SD": "10.0",
        "median": "30.0",
        "range": "20.0 to 40.0",
    }
    assert contents.class_summary(images, {"20": "twenty", "30": "30", "50": "50"}) == [
        ("twenty", "1", "33 %"),
        ("30", "1", "33 %"),
        ("50", "0", "0 %"),
    ]


def splits(people: list[str], fold: list[int], **more) -> pd.DataFrame:
    table = pd.DataFrame({"target": "t", "image_id": people, "participant_id": people, "repeat": 0, "fold": fold})
    return table.assign(**more)


def test_a_person_in_two_folds_is_seen() -> None:
    assert contents.people_in_two_folds(splits(["a", "a", "b"], [0, 1, 1])) == 1
    assert contents.people_in_two_folds(splits(["a", "a", "b"], [1, 1, 1])) == 0
    assert contents.people_in_two_folds(splits(["a", "a", "b"], [-1, 0, 0])) == 1  # trains, and is test
    assert contents.people_in_two_folds(splits(["a", "a", "b"], [0, 1, 1], repeat=[0, 1, 0])) == 0


def test_folds_are_counted_and_what_was_asked_is_told() -> None:
    two = pd.concat([splits(["a", "b", "c"], [0, 1, 2]), splits(["a", "b", "c"], [1, 2, 0], repeat=1)])
    facts = {"arguments": {"folding": {"scheme": "site", "n_inner": 4}, "columns": {"site": "lab", "group": "kin"}}}
    assert contents.folds(facts, two) == [
        "3 outer folds, counted in splits.csv, in 2 repeats.",
        "Each fold is a site of the column 'lab', left out whole.",
        "Whoever shares a value of 'kin' is never divided.",
        "4 inner folds were asked for, to choose the heads' parameters.",
        "Checked in splits.csv: nobody is on two sides in one repeat of a target.",
    ]
    cohort = contents.folds({"arguments": {"folding": {"scheme": "given"}}}, splits(["a", "b"], [-1, 0], target="*"))
    assert cohort[:2] == [
        "1 outer fold, counted in splits.csv, shared by all targets; up to 1 image of a target only trains.",
        "The folds were given, not drawn.",
    ]
    assert contents.folds({}, two.head(0)) == []


def test_figures_show_the_first_repeat_without_what_confounds_say() -> None:
    table = pd.DataFrame(
        {
            "repeat": [0, 0, 1],
            "observed": ["10", "20", "20"],
            "predicted": ["12", "18", "99"],
            schema.CONFOUND_PART: [np.nan, 5.0, 5.0],
        }
    )
    first = contents.first_repeat(table)
    assert first["observed"].tolist() == ["10", 15.0]
    assert first["predicted"].tolist() == ["12", 13.0]
    whole = contents.first_repeat(table.drop(columns=schema.CONFOUND_PART))
    assert whole["observed"].tolist() == ["10", "20"]


def test_levels_without_labels_are_their_own_numbers() -> None:
    images = pd.DataFrame({"observed": ["10", "9", "10"]})
    assert contents.ordinal_levels({"classes": ["a", "b", "c"]}, images) == {"9": "9", "10": "10"}
    assert list(contents.ordinal_levels({"classes": ["a", "b"]}, images).items()) == [("9", "a"), ("10", "b")]


def test_cautions_come_by_code() -> None:
    rows = [
        {"code": code, "sentence": s, "target": t} for code, s, t in [("x", "1", ""), ("y", "2", "t"), ("x", "3", "")]
    ]
    assert [(one.code, one.sentences) for one in contents.cautions(rows)] == [
        ("x", (("1", ""), ("3", ""))),
        ("y", (("2", "t"),)),
    ]


def test_reasons_are_grouped_and_long_lists_cut() -> None:
    rows = [("", "", f"p{at}", "no-image", "s") for at in range(5)] + [("age", "", "q", "tomorrow's-code", "s")]
    table = pd.DataFrame(rows, columns=schema.names(schema.EXCLUSIONS))
    first, second = contents.groups(table, "target")
    assert (first.code, first.meaning, first.n, first.where) == (
        "no-image",
        schema.REASONS["no-image"],
        5,
        "all",
    )
    assert (second.meaning, second.where) == ("", "age")
    cut = contents.listing(table, most=4)
    assert len(cut.rows) == 4
    assert cut.left_out == 2
    assert contents.listing(table).left_out == 0


def test_a_person_under_two_spellings_is_one_in_the_folds() -> None:
    assert contents.people_in_two_folds(splits(["sub-1", "1", "sub-2"], [0, 1, 1])) == 1


def test_small_numbers_are_left_out_where_they_are_to_be() -> None:
    images = pd.DataFrame({"observed": ["F"] * 30 + ["M"] * 4 + ["X"] * 12})
    levels = {one: one for one in "FMX"}
    assert contents.class_summary(images, levels) == [("F", "30", "65 %"), ("M", "4", "9 %"), ("X", "12", "26 %")]
    hidden = [("F", "30", "65 %"), ("M", "–", "–"), ("X", "–", "–")]  # X could be had back from the sum
    assert contents.class_summary(images, levels, 10) == hidden
    pairs = pd.DataFrame({"observed": list("F" * 40 + "M" * 30), "predicted": list("F" * 37 + "M" * 33)})
    assert contents.confusion(pairs, ["F", "M"], 10) == [
        ("F", [("–", 0.0), ("–", 0.0)], "40"),
        ("M", [("0", 0.0), ("30", 1.0)], "30"),
    ]
    assert contents.confusion(pairs.tail(5), ["F", "M"], 10)[1][2] == "–"
    codes = pd.DataFrame({"code": ["a"] * 20 + ["b"] * 2 + ["c"] * 15, "target": "age"})
    assert [(one.code, one.shown) for one in contents.groups(codes, "target", 10)] == [
        ("a", "20"),
        ("c", "some"),
        ("b", "some"),
    ]


def test_a_range_is_of_percentiles_where_nobody_may_stand_at_its_end() -> None:
    images = pd.DataFrame({"image_id": range(101), "participant_id": range(101), "observed": map(float, range(101))})
    assert contents.numeric_summary(images)["range"] == "0.0 to 100.0"
    assert contents.numeric_summary(images, 10)["5th to 95th percentile"] == "5.0 to 95.0"
    assert contents.numeric_summary(images.head(5), 10)["mean"] == "–"
