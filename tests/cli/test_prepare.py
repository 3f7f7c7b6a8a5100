"""featx prepare: one brain and one broken file, real processes; then nothing is left to do."""

import csv

import numpy as np
import pytest

from featx import schema
from featx.images.template import read_template
from featx.images.volume import write_volume
from featx.preparing import brain, processes, register

pytest.importorskip("ants")


@pytest.fixture
def heads(tmp_path):
    """A folder: a brain away from the template, of 4 mm; and a file that is cut short."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -85, -110, -70
    to_voxels = np.linalg.inv(affine) @ read_template().affine
    moved = np.zeros((46, 55, 44), np.float32)
    at = np.argwhere(read_template().data > 0)
    there = np.rint(at @ to_voxels[:3, :3].T + to_voxels[:3, 3]).astype(int)
    moved[tuple(there.T)] = read_template().data[tuple(at.T)]
    affine[:3, 3] += [9, -7, 12]
    good = tmp_path / "heads/sub-good_T1w.nii.gz"
    write_volume(good, moved, affine)
    (tmp_path / "heads/sub-short_T1w.nii.gz").write_bytes(good.read_bytes()[:2000])
    return tmp_path / "heads"


def begin_quick(answer, task, settings):
    """What a process does here: all that it should, with a coarse registration and a short bias correction."""
    register._N4_ITERATIONS[:] = [5]
    brain.FINE = (register.Level(4, 2.0, 40), register.Level(2, 1.0, 8))
    processes._work(answer, task, settings)


def test_images_are_prepared_once(featx, heads, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_begin", begin_quick)
    for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    out = tmp_path / "out"
    words = ("prepare", heads, "-o", out, "--jobs", 2)
    assert "2 images, 0 prepared before, 2 to do" in featx(*words, "--dry-run")
    assert not out.exists()
    said = featx(*words, code=3)
    assert "1 images prepared in" in said
    assert "sub-good (none: a brain already)" in said
    assert "1  truncated (the file ends before its data do)" in said
    with (out / schema.PREPARED_CSV).open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["dice"]) > 0.95
    with (out / schema.FAILURES_CSV).open() as file:
        assert [(one["image_id"], one["step"]) for one in csv.DictReader(file)] == [("sub-short", "prepare")]
    assert "1 prepared before, 1 to do" in featx(*words, code=3)
    checked = featx("check", out / schema.PREPARED_CSV, "-n", "squeezenet1_0.imagenet", "-o", tmp_path / "c.csv")
    assert "1 of 1 fit" in checked
    where = ("--space", "MNI152NLin2009aSym", "--desc", "brain", "--suffix", "T1w", "-o", tmp_path / "i.csv")
    assert "1 images of 1 participants" in featx("index", out, *where)
    one = tmp_path / "one.csv"
    one.write_text(f"participant_id,path\nsub-late,{heads / 'none.nii'}\n")
    said = featx("prepare", one, "-o", out, code=3)
    assert "1 brains lie there" in said
    with (out / schema.PREPARED_CSV).open() as file:
        assert list(csv.DictReader(file)) == [row]  # of the call before
    with (out / schema.FAILURES_CSV).open() as file:
        assert [failed["image_id"] for failed in csv.DictReader(file)] == ["sub-late", "sub-short"]


def test_a_wrong_call_is_one_sentence(featx, heads, tmp_path, monkeypatch):
    words = ("prepare", heads, "-o", tmp_path / "out")
    assert "--grid must be one that featx prepares; got '3mm'" in featx(*words, "--grid", "3mm", code=2)
    assert "--accept must name a misfit" in featx(*words, "--accept", "truncated", code=2)
    assert "--mask-suffix must name a file" in featx(*words, "--mask-suffix", "mask.nii.gz", code=2)
    assert "must be T1-weighted, named UNIT1; 2 of" in featx(*words, "--suffix", "UNIT1", code=2)
    assert "an output must lie outside" in featx("prepare", heads, "-o", heads / "prep", code=2)
    theirs = tmp_path / "theirs/dataset_description.json"
    theirs.parent.mkdir()
    theirs.write_text('{"Name": "Mine", "DatasetType": "raw"}')
    assert "is of another dataset; name another -o" in featx("prepare", heads, "-o", theirs.parent, code=2)
    assert theirs.read_text() == '{"Name": "Mine", "DatasetType": "raw"}'

    def missing(name):
        raise register.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(register.metadata, "version", missing)
    assert "pip install 'featx[prepare]'" in featx(*words, code=2)
