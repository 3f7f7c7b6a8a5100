"""The works that may be cited: whole entries, found and numbered in a text."""

from __future__ import annotations

import re

import pytest

from featx.report.said.citations import CITATIONS, bibtex, cited, numbered, words

WANTED = {
    "article": {"journal"},
    "inproceedings": {"booktitle"},
    "incollection": {"booktitle", "publisher"},
    "book": {"publisher"},
    "misc": set(),
}


@pytest.mark.parametrize("key", CITATIONS)
def test_every_entry_is_whole(key: str) -> None:
    work = CITATIONS[key]
    assert WANTED[work.kind] <= set(work.where)
    assert work.kind != "misc" or {"doi", "url", "eprint"} & set(work.where)
    assert work.year is None or str(work.year) in key or key in ("nibabel",)
    assert work.title.strip() == work.title
    doi = work.where.get("doi", "10.1/x")
    assert re.fullmatch(r"10\.\d{1,9}/\S+", doi)
    assert "{" not in words(key)
    assert words(key).count("  ") == 0


def test_bibtex_is_read_back_by_a_plain_reader() -> None:
    text = bibtex(CITATIONS)
    entries = re.findall(r"^@(\w+)\{(\w+),\n((?:  \w+ = \{.*\},\n)+)\}$", text, re.MULTILINE)
    assert [key for _, key, _ in entries] == list(CITATIONS)
    for kind, key, fields in entries:
        found = dict(re.findall(r"^  (\w+) = \{(.*)\},$", fields, re.MULTILINE))
        assert kind == CITATIONS[key].kind
        assert found["author"] == CITATIONS[key].authors
        assert found.get("doi") == CITATIONS[key].where.get("doi")
        assert fields.count("{") == fields.count("}")


def test_bibtex_is_read_back_by_a_library() -> None:
    library = pytest.importorskip("bibtexparser").parse_string(bibtex(CITATIONS))
    assert not library.failed_blocks
    assert [one.key for one in library.entries] == list(CITATIONS)


def test_works_are_numbered_as_they_are_mentioned() -> None:
    text = "One [@he2016], two [@peng2021;he2016], [not a work]."
    assert cited(text) == ["he2016", "peng2021"]
    assert numbered(text, cited(text)) == "One [1], two [2, 1], [not a work]."


def test_names_are_short_and_teams_whole() -> None:
    assert words("leonardsen2022").startswith("Leonardsen EH, Peng H, Kaufmann T, et al. Deep neural")
    assert words("torchvision2016").startswith("TorchVision maintainers and contributors. ")
    assert "Böhning D. Multinomial" in words("bohning1992")
