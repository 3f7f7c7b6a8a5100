"""Whom a network was trained on: told by hashes in its checkpoint, and counted among other people."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from featx.errors import NetworkError, WeightsError
from featx.networks.checkpoint import write_checkpoint
from featx.networks.told import FACTS, PEOPLE
from featx.networks.weights import build
from featx.training.seen import cautions_about, count_seen, people_text, read_about, read_seen
from tests.training.conftest import small_sheet

OURS, THEIRS = [f"sub-{at:02d}" for at in range(40)], [f"sub-{at}" for at in range(30, 90)]


@pytest.fixture
def checkpoint(tmp_path):
    """A network that was trained on us, from one that was trained on them."""
    sheet = small_sheet(training="40 people of ours.csv")
    for name, people, start in (("them", THEIRS, "official"), ("us", OURS, str(tmp_path / "them.safetensors"))):
        more = people_text(people, start)
        write_checkpoint(tmp_path / f"{name}.safetensors", build(sheet), sheet, note="", more=more)
    return tmp_path / "us.safetensors"


def test_people_are_counted_and_not_named(checkpoint):
    sheet, seen = read_about(checkpoint, "mine")
    assert (sheet.name, sheet.training) == ("mine", "40 people of ours.csv")
    assert [len(one) for _, one in seen] == [40, 60]
    rng = np.random.default_rng(0)
    for n in (1, 7, 100):
        people = [f"sub-{at:02d}" for at in rng.choice(120, n)]
        assert count_seen(seen, people) == len(set(people) & {*OURS, *THEIRS})
    assert b"sub-3" not in checkpoint.read_bytes()
    assert count_seen(seen, []) == 0


def test_who_is_analysed_and_trained_it_is_told(checkpoint):
    sheet, seen = read_about(checkpoint, "mine")
    assert cautions_about(sheet, seen, ["sub-100", "101"]) == []
    (caution,) = cautions_about(sheet, seen, ["sub-00", "0", "00", "89", "sub-100"])
    assert caution.code == "overlap"
    assert caution.sentence.startswith(
        "2 of 4 people have the id of somebody whom 'mine' was trained on (40 people of ours.csv); scores are too"
    )
    (unknown,) = cautions_about(sheet, [], ["sub-00"])
    assert "'mine' has weights of one's own (40 people of ours.csv), and whether" in unknown.sentence


def test_other_checkpoints_tell_of_nobody(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    assert read_seen(tmp_path / "a.pth") == []
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert read_seen(tmp_path / "a.safetensors") == []
    assert [list(one) for one in json.loads(people_text(["1"], str(tmp_path / "a.pth"))[PEOPLE])] == [
        ["salt", "people"]
    ]
    with pytest.raises(
        WeightsError, match=r"must tell its network as featx does; .*a.safetensors does not; name another"
    ):
        read_about(tmp_path / "a.safetensors", "mine")


@pytest.mark.parametrize("text", ["{", "[1]", '[{"salt": ""}]', "1", "[" * 100_000])
def test_people_that_are_told_otherwise_are_refused(text, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={PEOPLE: text, FACTS: "{}"})
    with pytest.raises(
        WeightsError, match=r"must be told as featx tells them; got .* in .*a.safetensors; make the file"
    ):
        read_seen(path)
    with pytest.raises(NetworkError, match=r"must say 'family'|must say"):
        read_about(path, "mine")
