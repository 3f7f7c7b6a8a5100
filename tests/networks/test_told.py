"""The text of a checkpoint, as a laptop without torch reads it."""

import json

import pytest
import torch
from safetensors.torch import save_file

from featx.errors import WeightsError
from featx.networks.told import read_told


def test_the_text_of_a_checkpoint_is_read(tmp_path):
    tensors = {"a": torch.arange(3.0)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"who": "ä", "what": "[1]"})
    assert read_told(tmp_path / "a.safetensors") == {"who": "ä", "what": "[1]"}
    save_file(tensors, tmp_path / "b.safetensors")
    assert read_told(tmp_path / "b.safetensors") == {}


@pytest.mark.parametrize(
    "header", [b"", b"[1]", b"{", b"\xff", b'{"__metadata__": [1]}', b'{"__metadata__": {"a": 1}}', b"[" * 10**6]
)
def test_what_is_no_checkpoint_is_refused(header, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsError, match=r"must be a whole .safetensors file; .*a.safetensors is none"):
        read_told(tmp_path / "a.safetensors")


def test_a_length_that_no_header_has_is_not_believed(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 8 + json.dumps({}).encode())
    with pytest.raises(WeightsError, match=r"must be a whole .safetensors file"):
        read_told(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"gone.safetensors is none \("):
        read_told(tmp_path / "gone.safetensors")
