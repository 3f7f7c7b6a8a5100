import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from featx import store
from featx.errors import NetworkError, StoreError
from featx.extraction.plan import Wish, make_request, make_requests, plan_sets, request_of, still_to_do
from featx.images.image import Image
from featx.networks import NETWORKS
from featx.networks.named import code_sha256
from featx.networks.recipe import describe
from featx.networks.sheet import Tap

IMAGES = [Image(name, name, "", "", Path(f"{name}.nii")) for name in ("a", "b", "c")]
WEIGHTS = {"weights": "random:0", "weights_sha256": "abc"}


def _sets(**asked):
    return plan_sets(make_request("squeezenet1_0.imagenet", **asked), WEIGHTS, "random-0", "{}")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_request_for_nothing_in_particular_is_the_sheets_default(name):
    sheet, request = NETWORKS[name], make_request(name)
    assert request.taps == sheet.default_taps
    assert tuple(view.name for view in request.recipe.views) == sheet.default_views
    assert make_request(name, taps=["all"]).taps == tuple(sheet.taps)


def test_sets_are_named_by_network_weights_view_tap_and_pooling():
    sets = _sets(taps=["fire5"], views=["axial", "coronal"], poolings=["max"])
    assert [one.name for one in sets] == [
        "squeezenet1_0.imagenet@random-0/axial/fire5/max",
        "squeezenet1_0.imagenet@random-0/coronal/fire5/max",
    ]
    recipe = json.loads(sets[0].provenance["recipe"])
    assert recipe["view"][0] == {"step": "slices", "axis": "axial", "first": 8, "last": 72, "count": 17}
    assert recipe["grid"]["orientation"] == "LAS"


def test_the_key_knows_slices_and_resampling_but_not_the_other_views():
    one = {"taps": ["fire5"], "views": ["axial"]}
    key = store.feature_key(_sets(**one)[0].provenance)
    assert key == store.feature_key(_sets(taps=["fire5", "fire2"], views=["axial", "coronal"])[0].provenance)
    assert key != store.feature_key(_sets(**one, n_slices=4)[0].provenance)
    assert key != store.feature_key(_sets(**one, resampling=True)[0].provenance)


@pytest.mark.parametrize(
    "asked, match",
    [
        ({"taps": ["fire2:median"]}, "a tap's ending must say how .*got 'fire2:median'; known are 'cls'"),
        ({"taps": ["fire2:cls"]}, "a class token needs a network that has one"),
        ({"size": "large"}, "'native' or a number of pixels, 32 or more; got 'large'"),
        ({"channels": "rgb"}, "'replicate' or 'neighbours'; got 'rgb'"),
        ({"views": ["volume"]}, "a view of .* got 'volume'; known are 'axial'"),
        ({"poolings": ["median"]}, "a pooling of .* got 'median'; known are 'concat'"),
        ({"n_slices": 0}, "at least 1; got 0"),
        (
            {"n_slices": 62},
            "must be that of different ones; squeezenet.* looks at 61 along its sagittal axis; got 62; take 61",
        ),
        ({"n_slices": 66, "views": ["axial"]}, "looks at 65 along its axial axis; got 66; take 65 or fewer"),
    ],
)
def test_bad_requests(asked, match):
    with pytest.raises(NetworkError, match=match):
        make_request("squeezenet1_0.imagenet", **asked)


def test_every_slice_of_a_span_can_be_asked_for():
    request = make_request("squeezenet1_0.imagenet", n_slices=61)
    assert [view.steps[0].settings["count"] for view in request.recipe.views] == [61] * 3


SLICES = {"step": "slices", "axis": "axial", "first": 8, "last": 72, "count": 4}
NATIVE = {
    "takes": "pictures",
    "grid": "mni152-2mm",
    "taps": {"t": {"module": "m", "width": 3}},
    "views": [{"name": "axial", "steps": [{**SLICES, "channels": "neighbours"}]}],
}


def test_a_size_of_slices_that_are_not_resized():
    with pytest.raises(
        NetworkError, match="python:nets:make takes axial ones as they are, and has no size to change"
    ):
        make_request("python:nets:make", recipe=NATIVE, size="64")
    plain = make_request("python:nets:make", recipe=NATIVE)
    assert make_request("python:nets:make", recipe=NATIVE, size="native") == plain
    with pytest.raises(NetworkError, match="the size of sliceset.encoder1_mean must be"):
        make_request("sliceset.encoder1_mean", size="64")


def test_neighbours_can_be_left_out_again():
    plain, grey = (
        make_request("python:nets:make", recipe=NATIVE, channels=channels).recipe.views[0].steps[0].settings
        for channels in ("", "replicate")
    )
    assert plain == {name: value for name, value in SLICES.items() if name != "step"} | {"channels": "neighbours"}
    assert grey == {name: value for name, value in SLICES.items() if name != "step"}
    asked = {"taps": ["fire5"], "views": ["axial"]}
    replicated, sheets, neighbours = (
        store.feature_key(_sets(**asked, channels=channels)[0].provenance)
        for channels in ("replicate", "", "neighbours")
    )
    assert replicated == sheets != neighbours  # what is the default needs no word, and no other key


@pytest.mark.parametrize(
    "name", ["sliceset.encoder1_mean", "sliceset.encoder1_attention_pos", "sliceset:encoder1/max"]
)
def test_neighbours_of_slices_that_must_be_grey(name):
    match = "channels must be those that a network takes; sliceset.encoder1_.* takes slices of one channel"
    with pytest.raises(NetworkError, match=match):
        make_request(name, channels="neighbours")
    assert make_request(name, channels="replicate") == make_request(name)
    colour = make_request("sliceset:resnet18/mean", channels="neighbours")
    assert colour.recipe.views[0].steps[0].settings["channels"] == "neighbours"


def test_slices_of_a_volume_network():
    with pytest.raises(NetworkError, match="sfcn.ukb_age takes the whole volume"):
        make_request("sfcn.ukb_age", n_slices=3)


def test_wishes_are_shared_out_over_networks():
    requests = make_requests(
        ["sfcn.ukb_age", "resnet18.imagenet", "resnet18.imagenet@random:1"],
        ["sfcn.ukb_age=a.p"],
        taps=["block2", "layer3"],
        views=["axial"],
        poolings=["max"],
        n_slices=3,
    )
    assert [(one.sheet.name, one.weights, one.taps) for one in requests] == [
        ("sfcn.ukb_age", "a.p", ("block2",)),
        ("resnet18.imagenet", "official", ("layer3",)),
        ("resnet18.imagenet", "random:1", ("layer3",)),
    ]
    assert [view.name for view in requests[0].recipe.views] == ["volume"]
    assert requests[1].recipe.views[0].steps[0].settings["count"] == 3


def test_bare_weights_serve_where_one_network_is_asked_for():
    assert make_requests(["sfcn.ukb_age"], ["/x/a=b.p"])[0].weights == "/x/a=b.p"
    assert make_requests(["sfcn.ukb_age", "sfcn.ukb_age"], ["random:2"])[0].weights == "random:2"


RECIPE = {"takes": "volume", "grid": "mni152-2mm", "taps": {"t": {"module": "m", "width": 3}}}


def test_names_may_hold_what_parts_names_from_weights():
    own, other = "python:nets.small:make", "python:nets.small:make2"
    requests = make_requests(
        [own, other, f"{own}@/a@b/c=d.pth", "sfcn.ukb_age"],
        [f"{other}=/e=f/{own}=g.pth", "sfcn.ukb_age=h=i.p"],
        recipe=RECIPE,
    )
    assert [(one.sheet.name, one.weights) for one in requests] == [
        (own, "factory"),
        (other, f"/e=f/{own}=g.pth"),
        (own, "/a@b/c=d.pth"),
        ("sfcn.ukb_age", "h=i.p"),
    ]
    assert make_requests([own], ["a=b.pth"], recipe=RECIPE)[0].weights == "a=b.pth"
    assert plan_sets(requests[0], WEIGHTS, "", "{}")[0].name == f"{own}/volume/t/mean"


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"depth": 3}},
        {"layout": "channels-last"},
        {"class_tokens": 1},
        {"steps": [{"step": "z-score"}]},
        {"taps": {"t": {"module": "other", "width": 3}}},
    ],
)
def test_the_key_of_a_network_of_ones_own_knows_what_its_recipe_says(change):
    def key(recipe):
        (one,) = plan_sets(make_request("python:nets.small:make", recipe=recipe), WEIGHTS, "", "{}")
        return store.feature_key(one.provenance)

    assert key(RECIPE) == key({**RECIPE, "training": "told later"})
    assert key(RECIPE) != key({**RECIPE, **change})


def _key(sheet_or_name, **asked):
    request = (
        make_request(sheet_or_name, **asked)
        if isinstance(sheet_or_name, str)
        else request_of(sheet_or_name, "official", Wish(**asked))
    )
    return store.feature_key(plan_sets(request, WEIGHTS, "", "{}")[0].provenance)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a factory that stands in one file, and is also named in another."""
    (tmp_path / "codenets").mkdir()
    (tmp_path / "codenets/__init__.py").write_text("from codenets.small import make\n")
    (tmp_path / "codenets/small.py").write_text("def make():\n    return 1\n")
    (tmp_path / "codenets/other.py").write_text("def make():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "codenets"
    for name in [name for name in sys.modules if name.partition(".")[0] == "codenets"]:
        del sys.modules[name]


@pytest.mark.parametrize("factory", ["codenets.small:make", "codenets:make"])
def test_the_key_of_a_network_of_ones_own_knows_its_code(package, factory):
    name = f"python:{factory}"
    before = _key(name, recipe=RECIPE)
    other = package / "other.py"
    other.write_text("def make():\n    return 2\n")
    assert _key(name, recipe=RECIPE) == before
    (package / "small.py").write_text("def make():\n    return 2\n")
    assert _key(name, recipe=RECIPE) != before
    (package / "small.py").write_text("def make():\n    return 1\n")
    assert _key(name, recipe=RECIPE) == before


def test_the_digest_of_code_is_that_of_its_file(package):
    content = (package / "small.py").read_bytes()
    assert code_sha256("codenets.small:make") == hashlib.sha256(content).hexdigest()
    both = (package / "__init__.py").read_bytes() + content
    assert code_sha256("codenets:make") == hashlib.sha256(both).hexdigest()
    assert code_sha256("codenets.small:none") == code_sha256("nowhere.at.all:make") == ""


def test_edited_code_is_not_taken_as_done_already(package):
    def planned():
        return plan_sets(make_request("python:codenets.small:make", recipe=RECIPE), WEIGHTS, "", "{}")

    (one,) = planned()
    done = {one.name: (store.feature_key(one.provenance), {image.image_id: (image.image_id, "") for image in IMAGES})}
    assert still_to_do(IMAGES, planned(), done) == []
    (package / "small.py").write_text("def make():\n    return 2\n")
    with pytest.raises(StoreError, match="with another recipe, precision, weights or code"):
        still_to_do(IMAGES, planned(), done)


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {**NETWORKS["sfcn.ukb_age"].arguments, "ages": (0.0, 100.0)}},
        {"architecture": "featx.networks.architectures.gupta:Cnn3d"},
        {"class_tokens": 1},
        {"layout": "channels-last"},
        {"taps": {**NETWORKS["sfcn.ukb_age"].taps, "features": Tap("other", 64)}},
    ],
)
@pytest.mark.parametrize("name", ["sfcn.ukb_age", "sfcn.ours"])
def test_the_key_of_a_network_of_a_file_knows_what_carries_no_tensor(name, change):
    sheet = replace(NETWORKS["sfcn.ukb_age"], name=name, weights=None)
    assert _key(sheet) == _key(replace(sheet, training="our brains"))
    assert _key(sheet) != _key(replace(sheet, **change))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_recipe_of_a_network_of_the_table_says_recipe_and_view_alone(name):
    sheet = NETWORKS[name]
    for one in plan_sets(request_of(replace(sheet, weights=None), "official", Wish()), WEIGHTS, "", "{}"):
        assert one.provenance["recipe"] == describe(sheet.recipe, one.view, resampling=False)


@pytest.mark.parametrize(
    "networks, asked, match",
    [
        ([], {}, "at least one network must be asked for; known are .*'resnet18.imagenet'"),
        (["nope"], {}, "'nope' is not; known are"),
        (["sfcn.ukb_age"], {"views": ["axial"]}, "a view must be one that"),
        (["sfcn.ukb_age"], {"poolings": ["concat"]}, "a pooling must be one that"),
        (["sfcn.ukb_age"], {"n_slices": 5}, "a choice of slices needs a network on slices; sfcn.ukb_age take"),
        (
            ["sfcn.ukb_age", "sfcn.ukb_sex"],
            {"weights": ["a.p"]},
            "NAME=FILE for a network that is asked for; got 'a.p'",
        ),
        (["sfcn.ukb_age"], {"weights": ["sfcn.ukb_sex=a.p"]}, "got 'sfcn.ukb_sex=a.p'; asked for: sfcn.ukb_age"),
        (["sfcn.ukb_age"], {"weights": ["timm:vgg11=a.p"]}, "got 'timm:vgg11=a.p'; asked for: sfcn.ukb_age"),
        (["sfcn.ukb_age"], {"weights": ["sfcn.ukb_age="]}, "NAME=FILE .* got 'sfcn.ukb_age='"),
        (["sfcn.ukb_age"], {"recipe": {}}, "a recipe must be for a network of your own; sfcn.ukb_age have theirs"),
    ],
)
def test_bad_wishes(networks, asked, match):
    with pytest.raises(NetworkError, match=match):
        make_requests(networks, **asked)


def test_what_is_still_to_do():
    sets = _sets(taps=["fire5"], views=["axial", "coronal"])
    keys = [store.feature_key(one.provenance) for one in sets]
    assert still_to_do(IMAGES, sets, {}) == IMAGES
    done = {
        sets[0].name: (keys[0], {one: (one, "") for one in "ab"}),
        sets[1].name: (keys[1], {one: (one, "") for one in "acz"}),
    }
    assert [image.image_id for image in still_to_do(IMAGES, sets, done)] == ["b", "c"]
    assert [image.image_id for image in still_to_do(IMAGES, sets[:1], done)] == ["c"]


def test_a_set_made_another_way_is_not_added_to():
    sets = _sets(taps=["fire5"], views=["axial"])
    with pytest.raises(StoreError, match="in the output already with another recipe"):
        still_to_do(IMAGES, sets, {sets[0].name: ("other", {"a": ("a", "")})})


@pytest.mark.parametrize("tap", ["", ":max"])
def test_a_tap_without_a_name(tap):
    with pytest.raises(NetworkError, match="a tap must have a name; got"):
        make_request("squeezenet1_0.imagenet", taps=[tap])


def test_a_pooling_of_slices_reads_the_slices_of_a_set():
    assert make_request("sliceset.encoder1_mean").taps == ("features",)
    assert make_request("sliceset.encoder1_mean", poolings=["slices"]).taps == ("slices",)
    assert make_request("sliceset.encoder1_mean", poolings=["slices"], taps=["features"]).taps == ("features",)
