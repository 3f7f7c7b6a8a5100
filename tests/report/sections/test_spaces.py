"""Maps of the features: what is drawn of whom, and how no single person is."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from featx.analysis.aggregate import SLICES, aggregate
from featx.analysis.runs.rundir import Run, read_run
from featx.featureset import FeatureSet
from featx.report.blocks import Extras
from featx.report.figures.maps import Colouring, Space
from featx.report.sections import spaces
from featx.report.sections.residuals import Beside, beside
from tests.conftest import make_set, write_features
from tests.report.conftest import FEATURES

IDS = [f"sub-{at:04d}" for at in range(120)]


class FakeUmap:
    """Where umap-learn stands: it tells what it was given, and gives the first two columns back."""

    seen: ClassVar[list[dict]] = []

    def __init__(self, **settings) -> None:
        self.settings = settings

    def fit_transform(self, X: np.ndarray) -> np.ndarray:
        FakeUmap.seen.append(self.settings | {"shape": X.shape})
        return X[:, :2] + 1.0


@pytest.fixture(autouse=True)
def umap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one takes seconds to compile itself; it has a test of its own, in a process of its own."""
    FakeUmap.seen.clear()
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=FakeUmap))


def features_of(names: tuple[str, ...] = FEATURES, n: int = 120) -> list[FeatureSet]:
    return [make_set(name, IDS[:n], 7, seed, network=name) for seed, name in enumerate(names)]


def with_keys(run: Run, sets: list[FeatureSet]) -> Run:
    """The same run, as of these sets."""
    facts = [
        {"name": one.name, "sets": [{"name": one.name, "key": one.key, "provenance": dict(one.provenance)}]}
        for one in sets
    ]
    return replace(run, facts={**run.facts, "features": facts})


@pytest.fixture
def run(run_dir: Path) -> Run:
    return with_keys(read_run(run_dir), features_of())


def section(run: Run, *paths: Path, **extras):
    found = spaces.section_of(run, Extras(features=paths, **extras))
    assert found is not None
    return found


# --- maps -----------------------------------------------------------------------------------------------------


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6)) * [1, 10, 100, 1, 1, 1] + 5
    X[:, 3] += X[:, 4]
    X[:, 5] = 2.0  # says nothing
    found = spaces.spaces_of(X)
    Z = (X[:, :5] - X[:, :5].mean(axis=0)) / X[:, :5].std(axis=0)
    U, S, _ = np.linalg.svd(Z, full_matrices=False)
    for at in range(2):
        wanted, own = U[:, at] * S[at], found[0].points[:, at]
        assert np.allclose(own, wanted * np.sign(own @ wanted))
    shares = S**2 / (S**2).sum()
    assert found[0].x == f"PC 1 ({100 * shares[0]:.0f} % of variance)"
    assert found[0].y == f"PC 2 ({100 * shares[1]:.0f} % of variance)"


def test_umap_is_of_the_leading_components_with_a_fixed_seed() -> None:
    X = np.random.default_rng(0).normal(size=(90, 70))
    found = spaces.spaces_of(X)
    assert [one.title for one in found] == ["PCA", "UMAP"]
    assert FakeUmap.seen == [{"n_neighbors": 15, "random_state": 0, "n_jobs": 1, "shape": (90, 50)}]
    assert np.allclose(found[1].points, found[0].points + 1)
    spaces.spaces_of(X[:12])
    assert FakeUmap.seen[1] == {"n_neighbors": 11, "random_state": 0, "n_jobs": 1, "shape": (12, 12)}


def test_the_real_umap_keeps_neighbours_and_is_the_same_twice() -> None:
    if importlib.util.find_spec("pynndescent") is None:  # which comes with it
        pytest.skip("umap-learn is not installed")
    script = (
        "import numpy as np\nfrom featx.report.sections.spaces import umap_of\n"
        "rng = np.random.default_rng(0)\n"
        "X = np.concatenate([rng.normal(0, 1, (12, 4)), rng.normal(30, 1, (12, 4))])\n"
        "one, two = umap_of(X), umap_of(X)\n"
        "far = np.linalg.norm(one[:, None] - one[None], axis=-1) + np.diag(np.full(24, np.inf))\n"
        "own = np.arange(24) // 12\n"
        "print(one.shape, np.array_equal(one, two), (own[far.argmin(axis=1)] == own).all())\n"
    )
    plain = os.environ | {"NUMBA_DISABLE_JIT": "1"}  # compiling it would take longer than running it
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=plain)
    assert done.stdout == "(24, 2) True True\n", done.stderr


@pytest.mark.parametrize("X", [np.ones((12, 4)), np.arange(12.0)[:, None]])
def test_one_feature_or_none_that_varies_is_a_map_too(X: np.ndarray) -> None:
    found = spaces.spaces_of(X)[0]
    assert found.points.shape == (12, 2)
    assert np.allclose(found.points[:, 1], 0)
    assert found.y == "PC 2 (0 % of variance)"


def test_without_umap_there_is_a_note(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    found = section(run, write_features(tmp_path / "f.h5", *features_of()))
    assert found.notes[1] == (
        "UMAP is not drawn: it needs umap-learn; pip install 'featx[maps]', and write the report again."
    )
    assert found.panels[0].drawing.n_rows == 1


# --- features -------------------------------------------------------------------------------------------------


def test_each_of_the_runs_features_is_a_figure_the_best_first(run: Run, tmp_path: Path) -> None:
    sets = features_of()
    found = section(run, write_features(tmp_path / "f.h5", *sets))
    assert [panel.title for panel in found.panels] == list(FEATURES)
    assert len({panel.drawing.prefix for panel in found.panels}) == 2
    data = found.panels[0].data
    assert data is not None
    pca = data[data["map"] == "PCA"].set_index("image_id")
    assert list(pca.index) == IDS
    assert np.allclose(pca[["x", "y"]], spaces.spaces_of(sets[0].X)[0].points, atol=1e-5)
    observed = run.predictions["sex"].drop_duplicates("image_id").set_index("image_id")["observed"]
    assert pca["sex"].tolist() == observed.loc[IDS].tolist()
    assert found.panels[0].caption == "120 images, 7 features."


def test_several_sets_stand_side_by_side_and_files_add_up(run: Run, tmp_path: Path) -> None:
    one, two = features_of()
    halves = [
        replace(
            one,
            X=one.X[rows],
            **{name: getattr(one, name)[rows] for name in ("image_id", "participant_id", "session_id")},
        )
        for rows in (slice(0, 50), slice(50, 120))
    ]
    paths = [write_features(tmp_path / "a.h5", halves[0], two), write_features(tmp_path / "b.h5", halves[1])]
    facts = [{"name": "both", "sets": [part["sets"][0] for part in run.facts["features"]]}]
    found = section(replace(run, facts={**run.facts, "features": facts}), *paths)
    data = found.panels[0].data
    assert data is not None
    wanted = spaces.spaces_of(np.concatenate([one.X, two.X], axis=1))[0].points
    assert np.allclose(data.loc[data["map"] == "PCA", ["x", "y"]], wanted, atol=1e-5)


def test_slices_that_were_pooled_for_the_run_are_pooled_again(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = make_set(f"net.x/axial/t/{SLICES}", IDS, 5, pooling=SLICES)
    apart = replace(flat, X=rng.normal(size=(120, 3, 5)).astype(np.float32))
    pooled = aggregate(apart, "max")
    found = section(with_keys(run, [pooled]), write_features(tmp_path / "f.h5", apart))
    data = found.panels[0].data
    assert data is not None
    wanted = spaces.spaces_of(apart.X.max(axis=1))[0].points
    assert np.allclose(data.loc[data["map"] == "PCA", ["x", "y"]], wanted, atol=1e-5)
    kept = section(with_keys(run, [apart]), write_features(tmp_path / "g.h5", apart))  # for the head attention
    assert kept.panels[0].caption == "120 images, 5 features."


@pytest.mark.parametrize(
    "change, why",
    [
        ({"provenance": {"tap": "another"}}, "was made in another way than that of the run"),
        ({"name": "other/x/y/z"}, "is not in the files that were given"),
        ({"n": 9}, "of which the files hold 9 images of the run (10 are needed)"),
    ],
)
def test_what_the_run_did_not_use_is_told_not_drawn(run: Run, tmp_path: Path, change, why: str) -> None:
    one, two = features_of(n=change.get("n", 120))
    one = replace(
        one, name=change.get("name", one.name), provenance={**one.provenance, **change.get("provenance", {})}
    )
    found = section(run, write_features(tmp_path / "f.h5", one, features_of()[1]))
    assert [panel.title for panel in found.panels] == [two.name]
    assert any(note.startswith(f"Not drawn: {FEATURES[0]}, ") and note.endswith(f"{why}.") for note in found.notes)


def test_tables_are_told(run: Run, tmp_path: Path) -> None:
    table = {"name": "volumes", "sets": [{"name": "volumes", "key": "k", "provenance": {"network": "table"}}]}
    found = section(
        replace(run, facts={**run.facts, "features": [table]}), write_features(tmp_path / "f.h5", *features_of())
    )
    assert not found.panels
    assert found.notes[1] == "Not drawn: volumes, a table of numbers, which feature files do not hold."


def test_many_sets_and_many_images_are_cut_and_it_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "MOST_IMAGES", 40)
    monkeypatch.setattr(spaces.draw_images, "__defaults__", (40,))
    sets = features_of(tuple(f"net{at}.x/axial/t/mean" for at in range(8)))
    found = section(with_keys(run, sets), write_features(tmp_path / "f.h5", *sets))
    assert len(found.panels) == spaces.MOST_SETS
    assert "40 of 120 images are drawn, by lot (seed 0)." in found.notes
    assert "6 of 8 feature sets are drawn: those with the best scores of the first target." in found.notes
    drawn = [panel.data["image_id"].unique().tolist() for panel in found.panels if panel.data is not None]
    assert all(one == drawn[0] == sorted(drawn[0]) for one in drawn)
    assert len(drawn[0]) == 40


def test_without_feature_files_there_is_no_section(run: Run) -> None:
    assert spaces.section_of(run, Extras()) is None


# --- colourings -----------------------------------------------------------------------------------------------


def test_colourings_are_targets_then_age_and_site(run: Run) -> None:
    around = beside(run)  # targets themselves
    assert [one.colouring.title for one in spaces.colourings_of(run, around)] == [
        "age (years)",
        "sex",
        "site",
        "pain",
    ]
    table = pd.DataFrame({"age": np.arange(3.0), "site": ["x", "y", "y"]}, index=IDS[:3])
    found = spaces.colourings_of(run, Beside(table, "age_at_scan", "scanner"))
    assert [one.colouring.title for one in found] == ["age (years)", "sex", "age_at_scan", "scanner"]
    assert found[1].colouring.levels == ("F", "M")
    assert found[3].colouring.levels == ("x", "y")
    assert found[3].values.tolist() == [0.0, 1.0, 1.0]
    one_site = Beside(table.assign(site="x"), "", "scanner")
    assert "scanner" not in [one.colouring.title for one in spaces.colourings_of(run, one_site)]


def test_the_rarest_of_many_levels_are_one() -> None:
    labels = pd.Series(list("aaaabbbbccccddddeeeefgh"))
    found = spaces._of_classes("site", labels, sorted(set(labels)))
    assert found.colouring.levels == ("a", "b", "c", "d", "e", spaces.OTHERS)
    assert found.values.tolist() == [*np.repeat(np.arange(5.0), 4), 5.0, 5.0, 5.0]


# --- nobody by themselves -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, least", [(181, 10), (20, 10), (19, 10), (7, 10), (1000, 3)])
def test_groups_of_neighbours_hold_everybody_once_and_enough_each(n: int, least: int) -> None:
    points = np.random.default_rng(n).normal(size=(n, 2))
    groups = spaces.neighbours(points, least)
    assert sorted(np.concatenate(groups)) == list(range(n))
    assert min(map(len, groups)) >= min(n, least)
    assert max(map(len, groups)) < 2 * least or n < 2 * least


def test_marks_of_groups_are_means_and_the_commonest() -> None:
    points = np.array([[0.0, 0], [1, 0], [2, 0], [10, 0], [11, 0], [12, 0]])
    number = np.array([1.0, 2, 3, np.nan, 5, 6])
    binary, many = np.array([0.0, 1, 1, 1, 1, 1]), np.array([2.0, 2, 0, 1, 0, 1])
    colourings = [Colouring("age"), Colouring("sex", ("F", "M")), Colouring("site", ("x", "y", "z"))]
    found = spaces.grouped(Space("PCA", "", "", points, (number, binary, many)), colourings, 3)
    assert found.points.tolist() == [[1, 0], [11, 0]]
    assert found.weights is not None
    assert found.weights.tolist() == [3, 3]
    assert np.allclose(found.values[0], [2, np.nan], equal_nan=True)  # of two known ones nothing is told
    assert found.values[1].tolist() == [1, 1]  # a share would tell of the one
    assert found.values[2].tolist() == [2, 1]


def test_privacy_draws_groups_of_people_and_names_nobody(run: Run, tmp_path: Path) -> None:
    people = {name: table.assign(participant_id=table["image_id"].str[:7]) for name, table in run.predictions.items()}
    path = write_features(tmp_path / "f.h5", *features_of())
    found = section(replace(run, predictions=people), path, is_private=True, least=4)
    data = found.panels[0].data
    assert data is not None
    assert list(data)[:5] == ["map", "x", "y", "people", "age (years)"]
    assert list(data)[5:] == ["sex: the commonest", "site: the commonest", "pain"]
    assert (data["people"] >= 4).all()
    assert data.groupby("map")["people"].sum().tolist() == [12, 12]  # an image of each of twelve people
    assert "Each mark is the mean of 4 people or more" in found.notes[1]
    assert "sub-" not in data.to_csv()
