"""Checkpoints: every form that is read, nothing unpickled, our own written and read, others converted once."""

import hashlib
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from featx.errors import WeightsError
from featx.networks import NETWORKS, get_network
from featx.networks.checkpoint import (
    copy_checkpoint,
    read_checkpoint,
    read_converted,
    read_facts,
    read_official,
    read_weights,
    tensors_sha256,
    write_checkpoint,
)
from featx.networks.download import CONVERTED
from featx.networks.sheet import Weights
from featx.networks.told import read_told
from tests.serving import Page, Tiny, serve, tiny_sheet, tiny_state, weights_of

STATE = tiny_state()


def _same(tensors, state=STATE):
    assert set(tensors) == set(state)
    for name, values in state.items():
        assert tensors[name].dtype == values.dtype
        assert torch.equal(tensors[name], values), name


# --- reading --------------------------------------------------------------------------------------------------


def test_checkpoint_forms(tmp_path):
    prefixed = {f"module.{name}": values for name, values in STATE.items()}
    for at, form in enumerate((STATE, {"state_dict": prefixed, "epoch": 3}, {"model": STATE}, prefixed)):
        torch.save(form, tmp_path / f"{at}.pth")
        _same(read_checkpoint(tmp_path / f"{at}.pth"))
    for at, form in enumerate((STATE, prefixed)):
        save_file(form, tmp_path / f"{at}.safetensors")
        _same(read_checkpoint(tmp_path / f"{at}.safetensors"))


class _Evil:
    def __reduce__(self):
        return (print, ("unpickled!",))


@pytest.mark.parametrize("name", ["evil.pth", "evil.p"])
def test_nothing_is_unpickled(tmp_path, capsys, name):
    torch.save({"state_dict": _Evil()}, tmp_path / name)
    with pytest.raises(WeightsError, match="must be a checkpoint of tensors"):
        read_checkpoint(tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.p"])
@pytest.mark.parametrize("content", [b"", b"<html>", bytes(100)])
def test_a_file_that_is_no_checkpoint(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="must be a checkpoint of tensors; .* is not .*; download it again"):
        read_checkpoint(tmp_path / name)


def test_a_checkpoint_without_tensors(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="must hold a state dict; .* holds dict; save that"):
        read_checkpoint(tmp_path / "a.pth")
    save_file({}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="must hold a state dict; .*a.safetensors holds no tensor; save one"):
        read_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("reads", ["", "halved"])
def test_a_missing_file(tmp_path, reads):
    with pytest.raises(WeightsError, match="no.pth does not; give official, random:SEED, reinit:SEED, or the path"):
        read_weights(tmp_path / "no.pth", tiny_sheet(reads=reads))


def test_a_sheet_names_the_reader_of_another_form(tmp_path):
    numbers = [values.float().numpy().ravel() * 2 for values in STATE.values()]
    (tmp_path / "a.raw").write_bytes(np.concatenate(numbers).astype("<f4").tobytes())
    read = read_weights(tmp_path / "a.raw", tiny_sheet(reads="halved"))
    for name, values in STATE.items():
        assert torch.equal(read[name], values.float())


def test_the_digest_of_tensors(tmp_path):
    """Of names, types, shapes and bytes in the order of names, worked out by hand."""
    tensors = {"b": torch.tensor([1.5, -2.0]), "a": torch.tensor([[7]], dtype=torch.int64)}
    by_hand = b"a torch.int64 (1, 1)\n" + struct.pack("<q", 7)
    by_hand += b"b torch.float32 (2,)\n" + struct.pack("<ff", 1.5, -2)
    assert tensors_sha256(tensors) == hashlib.sha256(by_hand).hexdigest()
    assert tensors_sha256({"x": torch.arange(6.0).reshape(2, 3).T}) == tensors_sha256(
        {"x": torch.arange(6.0).reshape(2, 3).T.contiguous()}
    )


@pytest.mark.data
def test_a_real_dataparallel_checkpoint(data):
    tensors = read_checkpoint(data / "weights/dataparallel_keys_resnet20.th")
    assert "conv1.weight" in tensors
    assert not any(name.startswith("module.") for name in tensors)


# --- our own --------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    network = Tiny()
    network.load_state_dict(STATE)
    path = tmp_path / "own.safetensors"
    write_checkpoint(path, network, get_network("sfcn.ukb_age"), note="made for a test")
    return path


def test_a_written_checkpoint_says_what_it_is_of(written):
    from featx.networks.described import facts_of

    assert read_facts(written) == json.loads(json.dumps(facts_of(get_network("sfcn.ukb_age"))))
    _same(read_checkpoint(written))
    _same(load_file(written))  # for any other reader of the format
    length = struct.unpack("<Q", written.read_bytes()[:8])[0]
    told = json.loads(written.read_bytes()[8 : 8 + length])["__metadata__"]
    assert told["featx-note"] == "made for a test"
    assert told["featx-tensors-sha256"] == tensors_sha256(STATE)
    assert [one.name for one in written.parent.iterdir()] == ["own.safetensors"]


def test_shared_tensors_are_written(tmp_path):
    network = Tiny(40)
    network.other = torch.nn.Linear(40, 40)
    network.other.weight = network.top.weight
    write_checkpoint(tmp_path / "w.safetensors", network, get_network("sfcn.ukb_age"), note="")
    read = read_checkpoint(tmp_path / "w.safetensors")
    assert torch.equal(read["other.weight"], read["top.weight"])


def test_a_written_checkpoint_replaces_an_old_one_or_leaves_it(written, monkeypatch):
    before = written.read_bytes()

    def full(self, content):
        self.touch()
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(written, Tiny(), get_network("sfcn.ukb_age"), note="")
    monkeypatch.undo()
    assert written.read_bytes() == before
    assert [one.name for one in written.parent.iterdir()] == ["own.safetensors"]
    write_checkpoint(written, Tiny(), get_network("sfcn.ukb_age"), note="")
    assert written.read_bytes() != before


def test_a_checkpoint_by_another_name(tmp_path):
    with pytest.raises(WeightsError, match="name must end in .safetensors; got .*own.pth; change its ending"):
        write_checkpoint(tmp_path / "own.pth", Tiny(), get_network("sfcn.ukb_age"), note="")


def _flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_of_ours(written):
    _flip_last_byte(written)
    with pytest.raises(WeightsError, match="must have the digest that stands with them; those of .* have another"):
        read_checkpoint(written)


@pytest.mark.parametrize("told", [None, {"format": "pt"}, {"featx-network": "{"}, {"featx-network": "3"}])
def test_facts_of_a_file_that_is_not_ours(tmp_path, told):
    save_file(STATE, tmp_path / "a.safetensors", told)
    with pytest.raises(WeightsError, match="must say which network it is of, .*a.safetensors does not; name"):
        read_facts(tmp_path / "a.safetensors")


def test_facts_of_no_safetensors(tmp_path):
    with pytest.raises(WeightsError, match="a file of weights must exist"):
        read_facts(tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "a.pth")  # of torch, and sound
    with pytest.raises(WeightsError, match="must say which network it is of, .*a.pth does not; name the network"):
        read_facts(tmp_path / "a.pth")
    (tmp_path / "b.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match="must be a checkpoint of tensors; .*b.safetensors is not"):
        read_facts(tmp_path / "b.safetensors")


# --- official files of other forms ----------------------------------------------------------------------------


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture
def pickled(tmp_path, server):
    """The sheet of a tiny network whose official weights are a DataParallel .p on the server."""
    torch.save({f"module.{name}": values for name, values in STATE.items()}, tmp_path / "a.p")
    content = (tmp_path / "a.p").read_bytes()
    (tmp_path / "a.p").unlink()
    server.pages["/a.p"] = Page(content)
    return tiny_sheet(weights_of(content, f"{server.url}/a.p", "a.p"))


def _read(sheet, cache):
    tensors, path = read_official(sheet, sheet.weights, cache)
    _same(tensors)
    return path.name


def test_an_official_file_is_converted_once(pickled, server, tmp_path):
    assert _read(pickled, tmp_path) == "a.p"
    assert {path.name for path in tmp_path.iterdir()} == {"a.p", "a.p.safetensors"}
    assert _read(pickled, tmp_path) == "a.p.safetensors"
    (tmp_path / "a.p").unlink()
    assert _read(pickled, tmp_path) == "a.p.safetensors"  # as on a cluster that got this file alone
    assert server.asked == ["/a.p"]
    _same(load_file(tmp_path / "a.p.safetensors"))


def test_a_damaged_converted_file_is_made_again(pickled, server, tmp_path):
    _read(pickled, tmp_path)
    converted = tmp_path / "a.p.safetensors"
    whole = converted.read_bytes()
    for damage in (lambda: _flip_last_byte(converted), lambda: converted.write_bytes(whole[:200])):
        damage()
        assert _read(pickled, tmp_path) == "a.p"
        assert load_file(converted).keys() == STATE.keys()
        assert _read(pickled, tmp_path) == "a.p.safetensors"
    assert len(server.asked) == 1
    _flip_last_byte(converted)
    (tmp_path / "a.p").unlink()
    assert _read(pickled, tmp_path) == "a.p"
    assert len(server.asked) == 2


def test_a_damaged_converted_file_without_its_original_is_told(pickled, server, tmp_path):
    _read(pickled, tmp_path)
    (tmp_path / "a.p").unlink()
    _flip_last_byte(tmp_path / "a.p.safetensors")
    server.pages.clear()
    match = (
        "have another; copy or make the file again; featx could not make it again, for official weights of tiny.made "
        "must be downloaded once; .*HTTP 404"
    )
    with pytest.raises(WeightsError, match=match):
        read_official(pickled, pickled.weights, tmp_path)


def test_other_weights_under_the_converted_name_are_not_used(pickled, tmp_path):
    _read(pickled, tmp_path)
    other = replace(pickled, weights=replace(pickled.weights, digest="sha256:00"))
    path = tmp_path / "a.p.safetensors"
    match = "converted weights of tiny.made must come from the file with the digest sha256:00; those of .*sha256:"
    with pytest.raises(WeightsError, match=match):
        read_converted(path, other, other.weights)
    with pytest.raises(
        WeightsError, match=r"from sha256:\w{64}; delete them; featx could not make it again, for official"
    ):
        read_official(other, other.weights, tmp_path)
    other_reader = replace(pickled, reads="tests.serving:halved")
    with pytest.raises(WeightsError, match="must come from the file"):
        read_converted(path, other_reader, pickled.weights)
    save_file(tiny_state(9), path)
    with pytest.raises(WeightsError, match="those of .* come from elsewhere; delete them"):
        read_converted(path, pickled, pickled.weights)
    assert _read(pickled, tmp_path) == "a.p"
    assert _read(pickled, tmp_path) == "a.p.safetensors"


def test_a_cache_that_cannot_be_written_is_read_all_the_same(pickled, tmp_path, monkeypatch):
    _read(pickled, tmp_path)
    (tmp_path / "a.p.safetensors").unlink()

    def refuse(*args):
        raise PermissionError("Read-only file system")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    assert _read(pickled, tmp_path) == "a.p"
    assert [path.name for path in tmp_path.iterdir()] == ["a.p"]


def test_the_reader_of_another_form_is_what_converts(server, tmp_path):
    numbers = np.concatenate([values.float().numpy().ravel() * 2 for values in STATE.values()]).astype("<f4")
    server.pages["/a.h5"] = Page(numbers.tobytes())
    weights = weights_of(numbers.tobytes(), f"{server.url}/a.h5", "a.h5")
    sheet = tiny_sheet(weights, reads="halved")
    for wanted in ("a.h5", "a.h5.safetensors"):
        tensors, path = read_official(sheet, weights, tmp_path)
        assert path.name == wanted
        for name, values in STATE.items():
            assert torch.equal(tensors[name], values.float())


def test_torchs_own_form_is_not_converted(server, tmp_path):
    torch.save(STATE, tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    server.pages["/a.pth"] = Page(content)
    sheet = tiny_sheet(weights_of(content, f"{server.url}/a.pth", "a.pth"))
    assert _read(sheet, tmp_path / "cache") == "a.pth"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a.pth"]


@pytest.mark.parametrize("name", [name for name, sheet in NETWORKS.items() if sheet.weights])
def test_every_official_file_is_of_a_known_form(name):
    weights: Weights = NETWORKS[name].weights
    assert weights.file.endswith((*CONVERTED, ".pth", ".safetensors"))
    assert weights.url.startswith(("https://", "package:"))
    assert weights.digest.partition(":")[0] in ("sha256", "git-blob-sha1")
    assert weights.licence


def test_further_text_stands_in_a_checkpoint_and_its_copies(tmp_path):
    sheet = tiny_sheet()
    write_checkpoint(tmp_path / "a.safetensors", Tiny(), sheet, note="", more={"featx-people": "[]"})
    copy_checkpoint(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "other")
    for name in ("a", "b"):
        assert read_told(tmp_path / f"{name}.safetensors")["featx-people"] == "[]"
    assert read_facts(tmp_path / "b.safetensors")["name"] == "other"


def test_facts_that_are_nested_too_deep_are_damage(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors", metadata={"featx-network": "[" * 100_000})
    with pytest.raises(WeightsError, match=r"must be a checkpoint of tensors; .*a.safetensors is not \("):
        read_facts(tmp_path / "a.safetensors")
