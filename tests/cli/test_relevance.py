"""`featx relevance`: what it says, writes and refuses."""

import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from featx.analysis.runs.bundle import write_bundle
from featx_cli import relevance
from tests.relevance.heads import REGION, head_on, own_networks, sets_of


@pytest.fixture
def undrawn(monkeypatch):
    """No figure."""
    monkeypatch.setattr("featx.relevance.output.as_file", lambda drawing, format: b"")


@pytest.fixture
def mapped(tmp_path, brains):
    """A function that runs the verb on two brains and a head on a tiny network; what it gives."""
    app = typer.Typer()
    app.command()(relevance.command)
    with own_networks(tmp_path):
        write_bundle(head_on(sets_of("region"), [1], np.array([2.0])), tmp_path / "head.npz")
        (tmp_path / "region.toml").write_text(REGION)
        words = [tmp_path / "head.npz", brains(2), "--recipe", tmp_path / "region.toml", "-o", tmp_path / "map"]
        yield lambda *more: CliRunner().invoke(app, [*map(str, words), *map(str, more)])


def test_a_dry_run_tells_what_it_costs_and_writes_nothing(mapped, tmp_path):
    done = mapped("--dry-run", "--method", "occlusion", "--patch", "40mm", "--batch-size", 4)
    assert done.exit_code == 0, done
    assert "occlusion of ridge for age through python:relnets.small:Region, 2 images on cpu" in done.output
    assert "an image takes 71 cubes, 72 passes, about" in done.output
    assert not (tmp_path / "map").exists()
    assert not (tmp_path / "map.parts").exists()


def test_a_map_is_made_once_and_said_in_words(mapped, tmp_path):
    done = mapped("--people", 2)
    assert done.exit_code == 0, done
    assert "2 images mapped" in done.output
    assert "Where the head ridge on made looks for age" in done.output
    assert (tmp_path / "map" / "relevance.png").read_bytes().startswith(b"\x89PNG")
    again = mapped("--people", 2)
    assert again.exit_code == 0
    assert again.output.startswith("done before: ")


def test_some_that_fail_are_exit_code_3(mapped, tmp_path, undrawn):
    next((tmp_path / "brains").rglob("*.nii.gz")).write_bytes(b"no image")
    done = mapped()
    assert done.exit_code == 3, done
    assert "1 images failed, the others are whole" in done.output
    assert "1  truncated (" in done.output


def test_without_torch_there_is_a_sentence(mapped, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert "`featx relevance` needs torch and torchvision" in str(mapped().exception)
