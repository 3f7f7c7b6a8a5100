import json
from pathlib import Path

import pytest

from featx import store
from featx.errors import NetworkError, StoreError
from featx.extraction.plan import make_request, make_requests, plan_sets, still_to_do
from featx.images.index import Image
from featx.networks import NETWORKS

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
    ],
)
def test_bad_requests(asked, match):
    with pytest.raises(NetworkError, match=match):
        make_request("squeezenet1_0.imagenet", **asked)


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
