"""Folders of maps, from images on disk: whole, resumed, refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from featx.analysis.runs.bundle import Bundle, write_bundle
from featx.errors import AnalysisError, BundleError, NetworkError, StoreError, WeightsError
from featx.images.index import index_images
from featx.images.volume import MNI152_2MM, Volume, grid_affine, read_volume, reorient, write_volume
from featx.relevance import output, run
from featx.relevance.making import Given, make_relevance, make_task
from featx.relevance.maps import part_path
from featx.relevance.output import is_done, parts_of, read_facts
from featx.relevance.sources import load_reader, sources_of
from featx.relevance.wish import draw_images, make_wish, millimetres
from tests.conftest import phantom
from tests.relevance.heads import head_on, recipe_of, sets_of


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Figures are drawn in tests of their own, and by the command line."""
    monkeypatch.setattr(output, "as_file", lambda drawing, format: f"{drawing.alt} as {format}".encode())


def _head(folder, which="region", weight=2.0, **about):
    bundle = head_on(sets_of(which), [1], np.array([weight]), people=["sub-00"], **about)
    path = folder / "run" / "heads" / "age--ridge--made.npz"
    write_bundle(bundle, path)
    return path


def _task(folder, source, *, method="gradient", output="map", people=20, **wish):
    images = index_images(str(source))
    given = Given(people=people, recipe=recipe_of("region"), device="cpu")
    options = {"patch": "30mm", **wish}
    return make_task(_head(folder), images, make_wish(method, **options), folder / output, given)


def _make(task, **options):
    return make_relevance(task, Path("unused"), **options)


def test_a_folder_holds_the_map_on_the_template_with_left_and_right_as_they_are(brains, tmp_path):
    told = []
    task = _task(tmp_path, brains(3), smooth="0mm")
    facts = _make(task, on_progress=lambda *at: told.append(at)).facts
    folder = tmp_path / "map"
    assert {path.name for path in folder.iterdir()} == {
        *(f"relevance.{end}" for end in ("nii.gz", "csv", "json", "png", "svg", "pdf")),
        *(f"relevance_{kind}.nii.gz" for kind in ("sd", "absolute", "times_input")),
    }
    volume = reorient(read_volume(folder / "relevance.nii.gz"), "RAS")
    at = np.argwhere(volume.data != 0) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    assert at.min(axis=0).tolist() == [36, 14, 8]
    assert at.max(axis=0).tolist() == [
        50,
        24,
        16,
    ]
    assert told == [(1, 3, 0), (2, 3, 0), (3, 3, 0)]
    assert not parts_of(folder).exists()
    rows = (folder / "relevance.csv").read_text().splitlines()
    assert rows[0] == "image_id,participant_id,answer,norm"
    assert len(rows) == 4
    stored = {image.image_id: read_volume(image.path).data for image in task.images}
    for row in rows[1:]:
        image_id, _, answer, _ = row.split(",")
        expected = 50 + 2 * stored[image_id][20:28, 70:76, 40:45].mean() / 255
        assert float(answer) == pytest.approx(expected, rel=1e-5)
    assert facts == read_facts(folder) == json.loads((folder / "relevance.json").read_text())
    assert (facts["n_images"], facts["n_failed"], facts["n_trained_on"]) == (3, 0, 1)
    assert facts["unit"] == "years, when 1 ml becomes brighter by 10 % of bright tissue"
    assert facts["split_half_r"]["signed"] == pytest.approx(1.0)
    assert "mean over 3 images, 1 of them of people it was fitted on" in facts["caption"]


def test_a_turned_image_gives_the_same_map(tmp_path):
    affine = grid_affine(MNI152_2MM)
    for codes in ("LAS", "RPI"):
        turned = reorient(Volume(phantom(), affine), codes)
        path = tmp_path / codes / "sub-01" / "anat" / "sub-01_space-MNI152_desc-brain_T1w.nii.gz"
        write_volume(path, turned.stored, turned.affine)
        _make(_task(tmp_path, tmp_path / codes, method="occlusion", patch="60mm", output=f"map-{codes}"))
    maps = [read_volume(tmp_path / f"map-{codes}" / "relevance.nii.gz") for codes in ("LAS", "RPI")]
    np.testing.assert_array_equal(maps[0].data, maps[1].data)
    np.testing.assert_array_equal(maps[0].affine, maps[1].affine)
    assert np.abs(maps[0].data).max() > 1e-4


def test_what_was_stopped_goes_on_and_ends_as_it_would_have(brains, tmp_path, monkeypatch):
    source = brains(3)
    whole = _make(_task(tmp_path, source, output="whole"))
    person_maps, made = run.person_maps, []

    def stopped(*given):
        made.append(given)
        if len(made) == 3:
            raise KeyboardInterrupt
        return person_maps(*given)

    monkeypatch.setattr(run, "person_maps", stopped)
    task = _task(tmp_path, source)
    with pytest.raises(KeyboardInterrupt):
        _make(task)
    left = [part_path(parts_of(task.output), task.keys[0], image.image_id) for image in task.images]
    assert [path.exists() for path in left] == [True, True, False]
    left[0].write_bytes(b"cut short")
    told = []
    facts = _make(task, on_progress=lambda *at: told.append(at)).facts
    assert len(made) == 5
    assert told == [(1, 2, 0), (2, 2, 0)]
    assert facts == whole.facts
    for name in ("relevance.nii.gz", "relevance_sd.nii.gz", "relevance.csv", "relevance.svg"):
        assert (tmp_path / "map" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert task.is_done
    assert _make(task).facts == facts
    assert len(made) == 5


def test_an_image_that_fails_costs_itself_and_is_tried_again(brains, tmp_path):
    source = brains(2)
    bad = source / "sub-01" / "anat" / "sub-01_space-MNI152_desc-brain_T1w.nii.gz"
    sound = bad.read_bytes()
    bad.write_bytes(sound[:2000])
    outcome = _make(_task(tmp_path, source))
    assert [(row["image_id"], row["code"]) for row in outcome.failures] == [("sub-01", "truncated")]
    assert (outcome.facts["n_images"], outcome.facts["n_failed"]) == (1, 1)
    assert "sub-01" in (tmp_path / "map" / "failures.csv").read_text()
    assert not (tmp_path / "map" / "relevance_sd.nii.gz").exists()
    bad.write_bytes(sound)
    assert _make(_task(tmp_path, source)).facts["n_images"] == 2
    assert not (tmp_path / "map" / "failures.csv").exists()
    for path in source.rglob("*.nii.gz"):
        path.write_bytes(b"no image")
    with pytest.raises(StoreError, match="a relevance map must be of some image; all 2 failed, the first because"):
        _make(_task(tmp_path, source, output="none"))


def test_a_place_that_holds_something_else_is_left_alone(brains, tmp_path):
    source = brains(1)
    _make(_task(tmp_path, source))
    with pytest.raises(StoreError, match=r"holds another map \(gradient of 1 images\)"):
        _make(_task(tmp_path, source, show="absolute"))
    (tmp_path / "full").mkdir()
    with pytest.raises(StoreError, match="must have a folder of its own; .*full holds something else"):
        is_done(tmp_path / "full", "key")


def test_random_weights_beside(brains, tmp_path):
    facts = _make(_task(tmp_path, brains(1), sanity=True)).facts
    assert facts["random_r"]["signed"] == pytest.approx(1.0)  # a network without weights is itself
    assert "through a network with random weights correlates with this one at 1.00" in facts["caption"]
    assert "relevance_random.nii.gz" in facts["maps"]


# --- what cannot be ---------------------------------------------------------------------------------------------


def test_networks_that_are_not_those_of_the_head():
    (planned,) = sets_of("region")

    def sources(which="region", **changed):
        made = head_on([planned], [1], np.ones(1))
        facts = dict(made.contract["sets"][0], provenance={**planned.provenance, **changed})
        bundle = Bundle({**made.contract, "sets": [facts]}, made.arrays)
        return sources_of(bundle, {"another": "b.pth"}, checkpoints={}, recipe=recipe_of(which))

    (source,) = sources(weights_sha256="0" * 64)
    with pytest.raises(
        WeightsError, match="must have the weights that the head was fitted on; python:.* 0{12}, and factory"
    ):
        load_reader(source, "cpu", Path("unused"), differentiable=True)
    with pytest.raises(
        WeightsError, match="the head reads python:relnets.small:Region with file:a.pth; give --weights"
    ):
        sources(weights="file:a.pth")
    with pytest.raises(BundleError, match="a network must be read as the head's features were; .* 0000"):
        sources(recipe_digest="0" * 64)
    with pytest.raises(NetworkError, match="networks whose volumes lie on the template"):
        sources("anywhere")


@pytest.fixture(autouse=True)
def _anywhere(monkeypatch):
    """A recipe of brains that lie where the head lies."""
    from tests.relevance import heads

    text = heads.REGION.replace("mni152-2mm", "native-1mm") + "registered = false\n"
    monkeypatch.setitem(heads.NETWORKS, "anywhere", (heads.NETWORKS["region"][0], text, {}))


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"method": "shap"}, "a method of relevance must be known; 'shap' is not"),
        ({"show": "size"}, "gradient does not make 'size'"),
        ({"method": "occlusion", "show": "signed"}, "occlusion does not make 'signed'"),
        ({"patch": "wide"}, "--patch is 'wide'; write, say, --patch 12mm"),
        ({"patch": "12mm", "stride": "20mm"}, "cubes must be 2 to 60 mm wide"),
        ({"smooth": "90mm"}, "a map must be smoothed by 40 mm at most"),
    ],
)
def test_wishes_that_cannot_be(options, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        make_wish(**{"method": "gradient", **options})


def test_wishes():
    assert make_wish("gradient").smooth_mm == 8.0
    assert make_wish("occlusion").smooth_mm == 0.0
    assert make_wish("gradient", smooth="0").smooth_mm == 0.0
    assert millimetres(" 2.5 mm ", "--stride") == 2.5


def test_voxels_have_no_random_weights(brains, tmp_path):
    bundle = head_on(sets_of("voxels.8mm"), [3675], np.ones(3675))
    write_bundle(bundle, tmp_path / "head.npz")
    images = index_images(str(brains(1)))
    with pytest.raises(AnalysisError, match="must be of a network that has weights; voxels.8mm has none"):
        make_task(tmp_path / "head.npz", images, make_wish("gradient", sanity=True), tmp_path / "map")


def test_people_are_drawn_the_same_each_time(brains):
    images = index_images(str(brains(5)))
    assert draw_images(images, 3) == draw_images(images, 3)
    assert len({image.participant_id for image in draw_images(images, 3)}) == 3
    assert draw_images(images, 9) != images
    assert sorted(draw_images(images, 9), key=lambda one: one.image_id) == images
    assert draw_images(images, 0) == images
