"""Sheets as facts and back, and facts that are wrong."""

import inspect
import json
import tomllib
from dataclasses import replace

import pytest

from featx.errors import NetworkError
from featx.images.volume import MNI152_1MM, MNI152_2MM, NATIVE_1MM, Grid
from featx.networks import NETWORKS, get_network
from featx.networks.described import (
    EXAMPLE,
    LOOKS,
    OPTIONAL,
    TRAINED,
    example,
    facts_of,
    own_sheet,
    read_recipe,
    sheet_from,
)
from featx.networks.look import STEPS
from featx.networks.recipe import describe
from featx.networks.sheet import Recipe, Step, Tap, View

VOLUME = {"takes": "volume", "grid": "mni152-2mm", "taps": {"t": {"module": "m", "width": 3}}}
SLICES = {"step": "slices", "axis": "axial", "first": 8, "last": 72, "count": 4}
PICTURES = {**VOLUME, "takes": "pictures", "views": [{"name": "axial", "steps": [SLICES]}]}


def _own(facts):
    return own_sheet(facts, "python:nets:make", "nets:make")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sheet_survives_the_trip_through_json(name):
    sheet = NETWORKS[name]
    text = json.dumps(facts_of(sheet), sort_keys=True, allow_nan=False)
    back = sheet_from(json.loads(text), name)
    assert back == sheet
    assert json.dumps(facts_of(back), sort_keys=True) == text  # 1 and 1.0 are equal, and differ in a digest
    for one, other in zip(sheet.recipe.views, back.recipe.views, strict=True):
        assert describe(sheet.recipe, one, resampling=False) == describe(back.recipe, other, resampling=False)


def test_a_sheet_that_is_described_goes_by_the_name_that_is_given():
    facts = facts_of(get_network("sfcn.ukb_age"))
    assert sheet_from(facts, "mine.here") == replace(get_network("sfcn.ukb_age"), name="mine.here")


def test_the_steps_of_views_are_those_that_torch_has():
    assert set(LOOKS) == set(STEPS)
    for name, kinds in LOOKS.items():
        keywords = [one for one in inspect.signature(STEPS[name]).parameters.values() if one.kind is one.KEYWORD_ONLY]
        assert [one.name for one in keywords] == list(kinds)
        assert {one.name for one in keywords if one.default is not one.empty} == set(kinds) & set(OPTIONAL)


def test_what_follows_need_not_be_said():
    sheet = _own({**VOLUME, "taps": {"a": {"module": "x.0", "width": 3}, "b": {"module": "y", "width": 4}}})
    assert (sheet.name, sheet.architecture) == ("python:nets:make", "featx.networks.architectures.own:build")
    assert sheet.arguments == {"factory": "nets:make"}
    assert sheet.recipe == Recipe(MNI152_2MM, (), (View("volume"),))
    assert sheet.taps == {"a": Tap("x.0", 3), "b": Tap("y", 4)}
    assert (sheet.default_taps, sheet.default_views, sheet.default_pooling) == (("a", "b"), ("volume",), ("mean",))
    assert sheet.weights is None
    assert sheet.age_range_years is None


def test_everything_can_be_said():
    sheet = _own(
        tomllib.loads("""
            family = "Ours"
            arguments = {depth = 3, widths = [4, 8], drop = 0.5, kind = "slim", wide = true}
            takes = "pictures"
            steps = [{step = "percentile-to-unit", percentile = 99}, {step = "crop", box = [[0, 9], [0, 8], [0, 7]]}]
            skull_stripped = false
            registered = false
            default_taps = ["a"]
            default_views = ["coronal"]
            default_pooling = ["max", "slices"]
            training = "ours"
            age_range_years = [20, 80.5]
            reference = "us"
            layout = "channels-last"
            class_tokens = 1
            fixed = ["size"]
            n_parameters = 7
            extra = "timm"
            taps.a = {module = "x", width = 3, positions = false}
            taps.b = {module = "y", width = 4}
            [grid]
            name = "ours"
            shape = [10, 9, 8]
            voxel_mm = 3
            orientation = "RAS"
            origin_mm = [0, 1, 2.5]
            [[views]]
            name = "axial"
            steps = [{step = "slices", axis = "axial", first = 1, last = 6, count = 2, channels = "neighbours"}]
            [[views]]
            name = "coronal"
            [[views.steps]]
            step = "slices"
            axis = "coronal"
            first = 1
            last = 1
            count = 1
            [[views.steps]]
            step = "normalise"
            mean = [0, 0.5, 0.5]
            std = [1.0, 1.0, 1.0]
        """)
    )
    assert sheet.arguments == {
        "factory": "nets:make", "depth": 3, "widths": (4, 8), "drop": 0.5, "kind": "slim", "wide": True
    }  # fmt: skip
    assert sheet.recipe.grid == Grid("ours", (10, 9, 8), 3.0, "RAS", (0.0, 1.0, 2.5))
    assert sheet.recipe.steps == (
        Step("percentile-to-unit", {"percentile": 99}),
        Step("crop", {"box": ((0, 9), (0, 8), (0, 7))}),
    )
    assert sheet.recipe.views[0].steps[0].settings["channels"] == "neighbours"
    assert sheet.recipe.views[1].steps[1] == Step("normalise", {"mean": (0, 0.5, 0.5), "std": (1.0, 1.0, 1.0)})
    assert (sheet.recipe.skull_stripped, sheet.recipe.registered) == (False, False)
    assert (sheet.default_taps, sheet.default_views) == (("a",), ("coronal",))
    assert sheet.default_pooling == ("max", "slices")
    assert sheet.age_range_years == (20.0, 80.5)
    assert (sheet.layout, sheet.class_tokens, sheet.fixed, sheet.stem) == ("channels-last", 1, ("size",), "")
    assert (sheet.family, sheet.training, sheet.reference) == ("Ours", "ours", "us")
    assert (sheet.n_parameters, sheet.extra) == (7, "timm")


@pytest.mark.parametrize(
    "name, grid", [("mni152-1mm", MNI152_1MM), ("mni152-2mm", MNI152_2MM), ("native-1mm", NATIVE_1MM)]
)
def test_grids_have_names(name, grid):
    assert _own({**VOLUME, "grid": name}).recipe.grid == grid


def test_the_example_is_one():
    assert _own(tomllib.loads(EXAMPLE)).recipe.steps == (Step("z-score", {}),)
    for part in example().split("; "):
        assert tomllib.loads(part)


GRID = {"name": "g", "shape": [9, 8, 7], "voxel_mm": 1.0, "orientation": "LAS", "origin_mm": [0, 0, 0]}


@pytest.mark.parametrize(
    "change, match",
    [
        ({"tapes": {}}, "the recipe of python:nets:make must hold what featx knows; got 'tapes'; known are .*'taps'"),
        ({"takes": None}, "'takes' of the recipe of .* must be a text; got None"),
        (
            {"takes": "cubes"},
            "'takes' of .* must be known; got 'cubes'; known are 'clip', 'pictures', 'set', 'volume'",
        ),
        ({"layout": "last"}, "'layout' of .* got 'last'; known are 'channels-first'"),
        ({"fixed": ["frames"]}, "'fixed' of .* got 'frames'; known are 'size', 'slices'"),
        ({"grid": "mni"}, "grid that has a name, or its numbers; got 'mni'; known are 'mni152-1mm'"),
        ({"grid": 2}, "the name of a grid, or a table of its numbers; got 2"),
        ({"grid": {**GRID, "orientation": "LAA"}}, "an orientation such as 'LAS'.*got 'LAA'"),
        ({"grid": {**GRID, "voxel_mm": 0}}, "voxel_mm above 0 .* got 'LAS', 0 and"),
        ({"grid": {**GRID, "shape": [9, 8, 0]}}, r"a shape of 1 or more; got .*\(9, 8, 0\)"),
        ({"grid": {**GRID, "shape": [9, 8]}}, r"'shape' in 'grid' of .* must be a list of 3; got \[9, 8\]"),
        ({"grid": {**GRID, "shape": [9, 8, 7.0]}}, "must be a whole number; got 7.0"),
        ({"grid": {"name": "g"}}, "'grid' of .* must say 'shape'; it holds 'name'; add it"),
        ({"steps": "z-score"}, "'steps' of .* must be a list; got 'z-score'"),
        ({"steps": ["z-score"]}, "a step in 'steps' of .* must be a table that names a step.*got 'z-score'"),
        ({"steps": [{"step": "whiten"}]}, "one that featx has; got 'whiten'; known are 'crop'"),
        ({"steps": [{"step": "divide-by"}]}, "step 'divide-by' in .* must say 'value'"),
        ({"steps": [{"step": "divide-by", "value": "9"}]}, "'value' of step 'divide-by' in .* a number; got '9'"),
        ({"steps": [{"step": "z-score", "by": 2}]}, "step 'z-score' in .* got 'by'"),
        ({"steps": [{"step": "crop", "box": [[0, 2, 3]]}]}, r"a list of 2; got \[0, 2, 3\]"),
        ({"steps": [{"step": "crop", "box": [[0, 2], [0, 2]]}]}, "step 'crop' of .* three pairs, .* got .*; mend"),
        ({"steps": [{"step": "crop", "box": [[0, 2], [0, 2], [3, 3]]}]}, "step 'crop' of .* three pairs"),
        ({"steps": [{"step": "turn", "stored": "LAS", "wanted": "LAP"}]}, "orientations such as 'LAS'; got .*'LAP'"),
        ({"steps": [{"step": "divide-by", "value": float("nan")}]}, "must be a number; got nan"),
        ({"views": [{"name": "oblique"}]}, "'views' of .* got 'oblique'; known are 'axial', 'coronal', 'sagittal'"),
        ({"views": ["axial"]}, r"a table such as \{name = \"axial\""),
        ({"views": [{"name": "volume", "steps": 3}]}, "'steps' of view 'volume' in .* must be a list; got 3"),
        ({"views": [{"name": "volume", "steps": [SLICES]}]}, "hold none where it takes the whole volume; got"),
        ({"views": []}, "a tap, a view and a pooling that are read by default"),
        ({"taps": {}}, "a tap, a view and a pooling that are read by default"),
        ({"taps": [1]}, r"'taps' of .* must be a table; got \[1\]"),
        ({"taps": {"t": "m"}}, "'t' in 'taps' of .* must be a table; got 'm'"),
        ({"taps": {"t": {"module": "m"}}}, "'t' in 'taps' of .* must say 'width'"),
        ({"taps": {"t": {"module": "m", "width": True}}}, "must be a whole number; got True"),
        ({"taps": {"a/b": {"module": "m", "width": 1}}}, "a tap's name must be letters.* got 'a/b'"),
        ({"taps": {"a:cls": {"module": "m", "width": 1}}}, "a tap's name must be letters.* got 'a:cls'"),
        ({"default_taps": ["u"]}, "'default_taps' of .* got 'u'; known are 't'"),
        ({"default_views": ["axial"]}, "'default_views' of .* got 'axial'; known are 'volume'"),
        ({"default_pooling": ["concat"]}, "'default_pooling' of .* got 'concat'; known are 'max'"),
        ({"age_range_years": [3]}, r"a list of 2; got \[3\]"),
        ({"arguments": {"a": {"b": 1}}}, "'a' in 'arguments' of .* must be a number, a text or a list"),
        ({"arguments": 3}, "'arguments' of .* must be a table; got 3"),
        ({"arguments": {"factory": "os:system"}}, "must say what the network takes and where .* it holds 'factory'"),
        ({"architecture": "os:system"}, "must say what the network takes and where .* it holds 'architecture'"),
        ({"stem": "conv"}, "must say what the network takes and where .* it holds 'stem'"),
        ({"weights": {}}, "must say what the network takes and where .* it holds 'weights'"),
    ],
)
def test_facts_that_are_wrong(change, match):
    with pytest.raises(NetworkError, match=match):
        _own({**VOLUME, **change})


@pytest.mark.parametrize(
    "steps, match",
    [
        ([], "must begin with 'slices' where a network takes slices"),
        ([{"step": "resize", "size": 64}, SLICES], "must begin with 'slices'"),
        ([SLICES, SLICES], "must begin with 'slices'"),
        ([{**SLICES, "axis": "oblique"}], "'axis' of view 'axial' of .* got 'oblique'"),
        ([{**SLICES, "channels": "rgb"}], "'channels' of view .* got 'rgb'; known are 'neighbours', 'replicate'"),
        ([{**SLICES, "count": 0}], "slices of view .* got 0 from 8 to 72"),
        ([{**SLICES, "first": 80}], "slices of view .* got 4 from 80 to 72"),
        ([{**SLICES, "count": 66}], "no more than the voxels from the first to the last; got 66 from 8 to 72; mend"),
        (
            [{**SLICES, "last": 91}],
            "within the 91 voxels that .* along that axis; got the last at 91; .*, 90 at most",
        ),
        ([{**SLICES, "last": 500}], "slices of view 'axial' of .* within the 91 voxels .* got the last at 500"),
        ([{**SLICES, "axis": "coronal", "last": 109}], "within the 109 voxels that .* got the last at 109"),
        ([{**SLICES, "first": "8"}], "'first' of step 'slices' in view 'axial' of .* a whole number; got '8'"),
        ([SLICES, {"step": "normalise", "mean": [0]}], "step 'normalise' in .* must say 'std'"),
        ([SLICES, {"step": "z-score"}], "one that featx has; got 'z-score'; known are 'normalise'"),
    ],
)
def test_views_that_are_wrong(steps, match):
    with pytest.raises(NetworkError, match=match):
        _own({**PICTURES, "views": [{"name": "axial", "steps": steps}]})


ANYWHERE = {**GRID, "shape": [90, 90, 90], "anywhere": True}


@pytest.mark.parametrize(
    "change, lengths",
    [
        ({}, (91, 109, 91)),
        ({"steps": [{"step": "crop", "box": [[5, 85], [2, 105], [0, 70]]}]}, (80, 103, 70)),
        ({"steps": [{"step": "pad", "shape": [96, 112, 93]}]}, (96, 112, 93)),
        ({"steps": [{"step": "turn", "stored": "LAS", "wanted": "ILA"}]}, (91, 91, 109)),
        ({"steps": [{"step": "crop-around-brain", "shape": [60, 200, 70]}]}, (60, 109, 70)),
        ({"grid": ANYWHERE}, (None, None, None)),
        ({"grid": ANYWHERE, "steps": [{"step": "crop-around-brain", "shape": [60, 60, 60]}]}, (None, None, None)),
        ({"grid": ANYWHERE, "steps": [{"step": "pad", "shape": [40, 50, 60]}]}, (40, 50, 60)),
    ],
)
def test_slices_lie_in_what_the_steps_leave(change, lengths):
    for axis, length in zip(("sagittal", "coronal", "axial"), lengths, strict=True):

        def own(last, axis=axis):
            view = {"name": axis, "steps": [{**SLICES, "axis": axis, "last": last}]}
            return _own({**PICTURES, **change, "views": [view]})

        assert own((length or 1000) - 1).recipe.views[0].name == axis
        if length:
            with pytest.raises(
                NetworkError, match=f"within the {length} voxels .* mend 'last', {length - 1} at most"
            ):
                own(length)


def test_every_voxel_along_an_axis_can_be_a_slice():
    step = {**SLICES, "first": 0, "last": 90, "count": 91}
    assert _own({**PICTURES, "views": [{"name": "axial", "steps": [step]}]}).recipe.views[0].steps[0].name == "slices"


@pytest.mark.parametrize("missing", ["takes", "grid", "taps"])
def test_facts_that_are_missing(missing):
    with pytest.raises(NetworkError, match=f"the recipe of python:nets:make must say '{missing}'"):
        _own({key: value for key, value in VOLUME.items() if key != missing})


def test_views_of_slices_must_be_said():
    with pytest.raises(NetworkError, match="must say 'views'; it holds 'takes', 'grid', 'taps'"):
        _own({**VOLUME, "takes": "pictures"})


# --- facts that come from a file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "os:system"},
        {"architecture": "featx.networks.architectures.own:build", "arguments": {"factory": "os:system"}},
        {"architecture": "featx.networks.architectures.own:importlib.import_module"},
        {"architecture": "featx.networks.architectures.sfcn:pairwise"},
        {"architecture": "featx.networks.architectures.sfcn.nn:Module"},
        {"architecture": ""},
        {"reads": "subprocess:run"},
        {"reads": "featx.networks.checkpoint:Path"},
    ],
)
def test_a_file_cannot_name_foreign_code(change):
    facts = facts_of(get_network("sfcn.ukb_age")) | change
    with pytest.raises(NetworkError, match=r"code of featx's own table of networks; got .*python:module:factory"):
        sheet_from(facts, "mine")


@pytest.mark.parametrize("key", ["weights", "weights_backbone", "pretrained"])
def test_a_file_cannot_have_weights_fetched(key):
    facts = facts_of(get_network("resnet18.imagenet"))
    with pytest.raises(NetworkError, match=f"the facts of mine must leave weights to the file; .* hold '{key}'"):
        sheet_from(facts | {"arguments": {**facts["arguments"], key: "DEFAULT"}}, "mine")


@pytest.mark.parametrize("name", ["a/b", "a@b", "../a", "", "a b", "a+b", "a*", "-a"])
def test_a_name_that_cannot_be_part_of_a_feature_sets(name):
    with pytest.raises(NetworkError, match="a network's name must be letters, digits"):
        sheet_from(facts_of(get_network("sfcn.ukb_age")), name)


# --- TOML -----------------------------------------------------------------------------------------------------


def test_a_recipe_is_read(tmp_path):
    (tmp_path / "r.toml").write_text(EXAMPLE)
    assert read_recipe(tmp_path / "r.toml") == tomllib.loads(EXAMPLE)


@pytest.mark.parametrize("content", [None, b"takes = volume", b"\xff\xfe"])
def test_a_file_that_is_no_recipe(tmp_path, content):
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        NetworkError, match=r"a recipe must be a TOML file; .*r.toml is not .* such as: takes = \"vol"
    ):
        read_recipe(path)


def test_facts_that_are_nested_too_deep(tmp_path):
    deep = 1
    for _ in range(5000):
        deep = [deep]
    facts = facts_of(get_network("sfcn.ukb_age"))
    for change in ({"arguments": {"channels": deep}}, {"takes": deep}):
        with pytest.raises(NetworkError, match="the facts of mine must not be nested deeper than a sheet is"):
            sheet_from({**facts, **change}, "mine")
    with pytest.raises(NetworkError, match="the facts of mine must hold those of the network inside, as JSON"):
        sheet_from({**facts, "architecture": TRAINED, "arguments": {"base": "[" * 100_000}}, "mine")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(NetworkError, match="a recipe must be a TOML file"):
        read_recipe(tmp_path / "deep.toml")


@pytest.mark.parametrize("character", ["\n", "\x1b", "\x9b", "\u2028"])
def test_texts_that_a_terminal_would_obey(character):
    facts = facts_of(get_network("sfcn.ukb_age"))
    with pytest.raises(NetworkError, match="'training' of the facts of mine must be a text of one line without"):
        sheet_from({**facts, "training": f"our{character}brains"}, "mine")
    assert sheet_from({**facts, "training": "Größe, 脳"}, "mine").training == "Größe, 脳"
