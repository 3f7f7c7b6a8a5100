"""The command line beside the functions, on the same small cohort; and a few made brains."""

from __future__ import annotations

from pathlib import Path

import pytest

from featx.images.volume import MNI152_2MM, grid_affine, write_volume
from tests.cli.conftest import study as study
from tests.cli.conftest import type_in as type_in
from tests.conftest import phantom

CALLS = ("study.toml", "images.study.toml", "check.study.toml", "ages.study.toml")  # what a verb writes of its call


def files_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder but those that tell of the call, by their paths."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in CALLS)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six phantoms, and of a seventh that is cut short."""
    folder = tmp_path_factory.mktemp("heads")
    for at in range(7):
        write_volume(folder / f"sub-{at}_T1w.nii.gz", phantom(seed=at), grid_affine(MNI152_2MM))
    cut = folder / "sub-6_T1w.nii.gz"
    cut.write_bytes(cut.read_bytes()[:5000])
    return folder
