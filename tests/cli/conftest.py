"""The command in this process, and a small cohort whose features, volumes and phenotypes share two hidden numbers."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx_cli.main import run
from tests.conftest import make_set, write_features

N = 60
QUICK = ("--folds", 3, "--inner-folds", 3, "--bootstrap", 0, "--jobs", 1)


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs the command in a folder, holds it to its exit code, gives what it printed."""

    def call(folder: Path, *words: object, code: int = 0) -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["featx", *map(str, words)])
        capsys.readouterr()
        try:
            run()
            left = 0
        except SystemExit as end:
            left = end.code or 0
        out, err = capsys.readouterr()
        assert left == code, f"{words}: exit code {left}\n{out}\n{err}"
        return out if code in (0, 3) else err

    return call


@pytest.fixture
def featx(study: Path, type_in: Callable[..., str]) -> Callable[..., str]:
    """The same in the study's folder."""
    return functools.partial(type_in, study)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """f.h5 and new.h5 (two sets of 'net'), people.csv, volumes.csv; new-people.csv and new-volumes.csv of others."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(N, 2))
    ids = [f"sub-{at:02d}" for at in range(N)]
    _write_sides(folder, "", ids, hidden)
    new = rng.normal(size=(8, 2))
    _write_sides(folder, "new-", [f"new-{at}" for at in range(8)], new)
    phenotypes(ids, hidden, rng).to_csv(folder / "people.csv", index=False)
    others = {"participant_id": [f"new-{at}" for at in range(8)], "age": 50 + 8 * new[:, 0], "sex": "M", "site": "B"}
    pd.DataFrame(others).round(1).to_csv(folder / "new-people.csv", index=False)
    return folder


def _write_sides(folder: Path, prefix: str, ids: list[str], hidden: np.ndarray) -> None:
    sets = []
    for at, view in enumerate(("axial", "coronal")):
        one = make_set(f"net/{view}/t/mean", ids, 6, seed=at, network="net")
        one.X[:] += (hidden @ np.random.default_rng(at).normal(size=(2, 6))).astype(np.float32)
        sets.append(one)
    write_features(folder / ("f.h5" if not prefix else "new.h5"), *sets)
    noise = np.random.default_rng(len(ids)).normal(size=hidden.shape)
    volumes = pd.DataFrame(hidden + noise, columns=["hippocampus", "ventricles"]).round(3)
    volumes.insert(0, "participant_id", ids)
    volumes.to_csv(folder / f"{prefix}volumes.csv", index=False)


def phenotypes(ids: list[str], hidden: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Targets that follow from the hidden numbers, and columns for everything that is asked beside them."""
    n = len(ids)
    at = np.arange(n)
    return pd.DataFrame(
        {
            "participant_id": ids,
            "age": (50 + 8 * hidden[:, 0] + rng.normal(size=n)).round(1),
            "sex": np.where(hidden[:, 1] + 0.5 * rng.normal(size=n) > 0, "M", "F"),
            "iq": (100 + 10 * hidden[:, 1] + 5 * rng.normal(size=n)).round(),
            "grade": np.digitize(hidden[:, 0], [-0.6, 0, 0.6]) + 1,
            "brain": (1200 + 100 * hidden[:, 1] + 50 * rng.normal(size=n)).round(),
            "site": np.array(["A", "B", "C"])[at % 3],
            "family": [f"f{one // 2}" for one in at],
            "cohort": np.where(at < 45, "train", "test"),
            "quarter": np.array(["p", "q", "r", "s"])[at % 4],
        }
    )
