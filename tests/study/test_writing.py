"""Studies as text, read back."""

import re
import tomllib

import pytest

from featx.errors import StudyError
from featx.study.keys import KEYS, REPEATED
from featx.study.reading import Calls, Study, read_study
from featx.study.writing import calls_text, commented, protocol, protocols, with_values

VALUES = {
    "": {"title": 'of "these"'},
    "cohort": {"images": ["a b/", "c"], "phenotypes": "people.csv"},
    "phenotypes": {"targets": ["age"], "kinds": {"age": "continuous"}},
    "networks": [{"name": ["a.b"], "weights": {"a.b": "w.pth"}}, {"name": ["c.d"]}],
    "folds": {"n": 3, "by_site": True},
}


def test_a_commented_study_says_what_it_was_given(write):
    study = read_study(write(commented(VALUES, "study.toml")))
    assert isinstance(study, Study)
    assert {name: values for name, values in study.tables.items() if values} == {
        name: values for name, values in VALUES.items() if name not in REPEATED
    }
    assert list(study.networks) == VALUES["networks"]
    assert study.arms == ()


def test_every_key_stands_in_it_and_all_are_valid_once_they_are_in_force(write):
    text = commented({"cohort": {"phenotypes": "p.csv"}, "phenotypes": {"targets": ["age"]}}, "study.toml")
    assert read_study(write(text)).networks == ()
    study = read_study(write(re.sub(r"(?m)^#(?=\[|\w+ = )", "", text)))
    assert isinstance(study, Study)
    blocks = {"networks": study.networks[0], "arms": study.arms[0], **study.tables}
    assert {(table, name) for table, values in blocks.items() for name in values} == {
        (key.table, key.name) for key in KEYS
    }
    for key in KEYS:
        assert f"  # {key.says}\n" in text


def test_values_take_the_places_of_others_and_comments_stay():
    text = '# first\ntitle = "t" # a\n[cohort]\nimages = [ # of\n  "a",\n]\nphenotypes = "p"\n# last\n'
    new = with_values(text, {"cohort": {"images": "b"}, "phenotypes": {"targets": ["age"]}})
    assert new == (
        '# first\ntitle = "t" # a\n[cohort]\nimages = "b"\nphenotypes = "p"\n# last\n\n[phenotypes]\n'
        'targets = ["age"]\n'
    )
    assert tomllib.loads(new)["phenotypes"] == {"targets": ["age"]}


def test_every_published_study_can_be_read(write):
    for name, title in protocols().items():
        assert title
        assert isinstance(read_study(write(protocol(name))), Study)
    with pytest.raises(StudyError, match="a protocol must be one that comes with featx; 'nobody1900' is none"):
        protocol("nobody1900")


def test_calls_are_read_back(write, tmp_path):
    calls = ["featx fit f.h5 'my people.csv' --where 'site == \"A\"'", "featx index 'Gehirne für \x7f'"]
    found = read_study(write(calls_text(calls, "..")))
    assert isinstance(found, Calls)
    assert found.calls == (("fit", "f.h5", "my people.csv", "--where", 'site == "A"'), ("index", "Gehirne für \x7f"))
    assert found.folder == tmp_path / ".."
