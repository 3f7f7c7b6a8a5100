"""featx init: a study from flags, from questions, or of a published work."""

import contextlib
import functools
import sys

import pytest
import typer

from featx.study.reading import read_study
from featx.study.writing import protocols
from featx_cli.init import NETWORKS


@pytest.fixture
def featx(type_in, tmp_path):
    return functools.partial(type_in, tmp_path)


@pytest.fixture
def people(tmp_path):
    (tmp_path / "people.tsv").write_text("participant_id\tsite\tSex\tage\tempty\na\tx\tF\t1\tn/a\nb\ty\tM\t2\tn/a\n")
    return tmp_path


def test_flags_stand_in_the_study_and_the_rest_is_commented(featx, people):
    said = featx(
        *("init", "--images", "a b/", "--images", "c.csv", "--phenotypes", "people.tsv", "-t", "age", "-t", "Sex"),
        *("-n", "resnet18.imagenet", "--table", "volumes=v.tsv", "-o", "mine.toml"),
    )
    assert said == "mine.toml: look through it, then `featx run mine.toml --dry-run`\n"
    study = read_study(people / "mine.toml")
    assert study.tables["cohort"] == {"images": ["a b/", "c.csv"], "phenotypes": "people.tsv"}
    assert study.tables["phenotypes"] == {"targets": ["age", "Sex"]}
    assert study.tables["features"] == {"tables": {"volumes": "v.tsv"}}
    assert [one["name"] for one in study.networks] == [["resnet18.imagenet"]]
    assert "#where = " in (people / "mine.toml").read_text()


def test_without_a_terminal_and_flags_places_are_held(featx, tmp_path):
    featx("init")
    study = read_study(tmp_path / "study.toml")
    assert study.tables["cohort"] == {"images": ["BRAINS/"], "phenotypes": "participants.tsv"}
    assert study.networks[0]["name"] == NETWORKS


def test_a_table_alone_needs_no_networks(featx, tmp_path):
    featx("init", "--phenotypes", "p.csv", "--table", "volumes=v.csv")
    study = read_study(tmp_path / "study.toml")
    assert study.tables["cohort"] == {"phenotypes": "p.csv"}
    assert study.networks == ()


def test_files_are_named_relative_to_the_study(featx, tmp_path):
    featx(
        "init", "-o", "studies/first.toml", "--phenotypes", "p.csv", "--table", "v=/far/v.csv", "--images", "s3://b/c"
    )
    study = read_study(tmp_path / "studies/first.toml")
    assert study.tables["cohort"] == {"images": ["s3://b/c"], "phenotypes": "../p.csv"}
    assert study.tables["features"]["tables"] == {"v": "/far/v.csv"}


def test_nothing_is_overwritten_and_tables_have_names(featx, tmp_path):
    (tmp_path / "study.toml").write_text("mine")
    assert "a study must be a new file; study.toml is there" in featx("init", code=2)
    assert (tmp_path / "study.toml").read_text() == "mine"
    said = featx("init", "-o", "b.toml", "--table", "v.csv", code=2)
    assert "--table must be NAME=FILE; got 'v.csv'; write, say, volumes=volumes.tsv" in said
    assert not (tmp_path / "b.toml").exists()


@pytest.fixture
def answers(monkeypatch):
    """A function that takes the place of a person at a terminal; "" takes what is proposed."""

    def answer(*given):
        left = list(given)
        asked = []

        def prompt(text, default, value_proc=str):
            asked.append((text, default))
            while True:  # as typer does
                with contextlib.suppress(typer.BadParameter):
                    answer = left.pop(0) or default
                    if answer == "^C":
                        raise typer.Abort
                    return value_proc(answer)

        monkeypatch.setattr("typer.prompt", prompt)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        return asked

    return answer


def test_on_a_terminal_it_asks_and_proposes_from_the_columns(featx, people, answers):
    asked = answers("brains/", "people.tsv", "", "", "")
    said = featx("init")
    assert "  its columns: site, Sex, age\n" in said
    assert asked[2][1] == "age Sex"
    study = read_study(people / "study.toml")
    assert study.tables["cohort"] == {"images": ["brains/"], "phenotypes": "people.tsv"}
    assert study.tables["phenotypes"]["targets"] == ["age", "Sex"]
    assert study.networks[0]["name"] == NETWORKS


def test_on_a_terminal_without_images(featx, people, answers):
    answers("-", "nowhere.csv", "iq", "v.csv", "-", "volumes=v.csv")  # of nothing at all there is no study
    said = featx("init")
    assert "  note: a table must be a readable text file; nowhere.csv is not" in said
    study = read_study(people / "study.toml")
    assert study.tables["phenotypes"]["targets"] == ["iq"]
    assert study.networks == ()
    assert study.tables["features"] == {"tables": {"volumes": "v.csv"}}


def test_questions_that_are_not_answered_end_as_interrupted(featx, people, answers):
    answers("brains/", "^C")
    assert featx("init", code=130).startswith("featx: interrupted; ")
    assert not (people / "study.toml").exists()


def test_a_name_with_spaces_is_told_as_it_is_typed(featx, tmp_path):
    said = featx("init", "-o", "my own/a b.toml")
    assert said == "my own/a b.toml: look through it, then `featx run 'my own/a b.toml' --dry-run`\n"
    assert "featx run 'a b.toml' --dry-run " in (tmp_path / "my own/a b.toml").read_text()


def test_published_studies_are_listed_and_take_ones_own_files(featx, tmp_path):
    said = featx("init", "--list")
    assert [line.partition(":")[0] for line in said.splitlines()] == list(protocols())
    for name in protocols():
        words = ("init", "--protocol", name, "--images", "i.csv", "--phenotypes", "p.csv", "-t", "age", "-o", name)
        featx(*words)
        study = read_study(tmp_path / name)
        assert study.tables["cohort"]["images"] == ["i.csv"]
        assert study.tables["cohort"]["phenotypes"] == "p.csv"
        assert study.tables["phenotypes"]["targets"] == ["age"]
        assert study.tables[""]["protocol"] == name
        said = featx("init", "--protocol", name, "-n", "a.b", "-o", "other.toml", code=2)
        assert f"a published study must keep its own networks and tables; --network was given with '{name}'" in said
    assert "a protocol must be one that comes with featx; 'nobody' is none" in featx(
        "init", "--protocol", "nobody", code=2
    )
