"""Missing slices: which are there, what is shown instead, and that sets with them are never taken for others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from featx import store
from featx.analysis.aggregate import n_slices
from featx.analysis.features import select_features
from featx.errors import NetworkError
from featx.extraction.engine import extract
from featx.extraction.job import load_job
from featx.extraction.plan import make_request, make_requests, plan_sets
from featx.images.index import index_images
from featx.networks import get_network
from featx.networks.described import facts_of, sheet_of
from featx.networks.look import look, make_noise, take_slices
from featx.networks.missing import Missing, parse, places_of, slices_shown, with_missing
from featx.networks.reading import make_reader
from featx.networks.sheet import Step, View
from featx.networks.weights import build, load_network
from tests.networks.conftest import phantom_batch

pytestmark = pytest.mark.usefixtures("no_gradients")

WEIGHTS = {"weights": "random:0", "weights_sha256": "ab"}


@pytest.mark.parametrize("count, k", [(17, 2), (17, 4), (91, 5), (109, 10), (5, 5), (16, 3)])
def test_of_every_k_neighbours_the_middle_one_is_there(count, k):
    there = [at for at in range(count) if at % k == k // 2]
    assert slices_shown(count, Missing("drop", k)) == tuple(there)
    assert slices_shown(count, Missing("zeros", k)) == tuple(at if at in there else -1 for at in range(count))
    nearest = [min(there, key=lambda one: (abs(one - at), one)) for at in range(count)]
    assert slices_shown(count, Missing("fill", k)) == tuple(nearest)


def test_by_lot_as_many_are_there_and_the_seed_alone_says_which():
    drawn = [slices_shown(100, Missing("drop", 4, seed)) for seed in range(200)]
    assert {len(one) for one in drawn} == {25}
    assert all(list(one) == sorted(set(one)) for one in drawn)
    assert slices_shown(100, Missing("drop", 4, 3)) == drawn[3] != drawn[4]
    often = np.bincount(np.concatenate(drawn), minlength=100)  # 50 times each, with a deviation of 6
    assert often.min() > 25
    assert often.max() < 75
    kept = slices_shown(100, Missing("noise", 4, 3))
    assert tuple(at for at in kept if at >= 0) == drawn[3]


@pytest.mark.parametrize("axis, dim", [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_what_is_shown_is_what_was_decided(axis, dim):
    volumes = torch.from_numpy(np.random.default_rng(0).random((2, 1, 6, 7, 8), dtype=np.float32)) + 1
    where = {"axis": axis, "first": 1, "last": 4, "count": 4}
    whole = take_slices(volumes, **where)
    np.testing.assert_array_equal(whole[1, 2, 0], volumes[1, 0].select(dim, 3).T.flip(0))
    dropped = take_slices(volumes, **where, shown=slices_shown(4, Missing("drop", 2)))
    assert torch.equal(dropped, whole[:, [1, 3]])
    filled = take_slices(volumes, **where, shown=slices_shown(4, Missing("fill", 2)))
    assert torch.equal(filled, whole[:, [1, 1, 1, 3]])
    shown = slices_shown(4, Missing("zeros", 2))
    zeros = take_slices(volumes, **where, shown=shown, blank="zeros")
    assert torch.equal(zeros[:, [1, 3]], whole[:, [1, 3]])
    assert not zeros[:, [0, 2]].any()
    noisy = take_slices(volumes, **where, shown=shown, blank="noise")
    assert torch.equal(noisy[:, [1, 3]], whole[:, [1, 3]])
    assert not torch.isclose(noisy[:, [0, 2]], whole[:, [0, 2]]).all()
    # whichever come with it, and in whatever order its voxels lie in memory
    alone = take_slices(volumes[1:].mT.contiguous().mT, **where, shown=shown, blank="noise")
    assert torch.equal(alone[0], noisy[1])
    assert not torch.isclose(noisy[0, 0], noisy[1, 0]).all()
    assert not torch.isclose(noisy[0, 0], noisy[0, 2]).all()


def test_noise_has_the_mean_and_deviation_of_the_volume():
    volumes = torch.from_numpy(np.random.default_rng(0).gamma(2, 30, (2, 1, 20, 20, 20)).astype(np.float32))
    noise = make_noise(volumes, (10, 1, 100, 100))
    for volume, own in zip(volumes, noise, strict=True):
        assert float(own.mean()) == pytest.approx(float(volume.mean()), abs=1)
        assert float(own.std()) == pytest.approx(float(volume.std()), rel=0.01)


def test_slices_that_are_left_keep_the_positions_of_their_places(tmp_path):
    sheet = get_network("sliceset.encoder1_mean_pos")
    network = load_network(sheet, "random:3", tmp_path).network
    missing = with_missing(sheet.recipe.views[2], Missing("drop", 30), sheet)
    assert missing.name == "axial~drop30"
    assert places_of(missing) == (15, 45, 75)
    volumes = phantom_batch(sheet, 0)
    read = make_reader(network, sheet, ["features"], ["mean"], optimised=False)
    slices = volumes[0, 0][:, :, [15, 45, 75]].permute(2, 1, 0).flip(1)[:, None]
    embedded = network.encoder(slices) + network.positions.embedding[[15, 45, 75]]
    wanted = network.features(network.positions.norm(embedded).mean(0))
    found = read(volumes, missing)["features", "mean"][0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=float(wanted.abs().max()) * 1e-5)
    first = network.encoder(slices) + network.positions.embedding[:3]  # as they would be without their places
    other = network.features(network.positions.norm(first).mean(0))
    assert float((found - other).abs().max()) > float(wanted.abs().max()) * 1e-3
    assert network.positions.places is None  # and is forgotten


def test_sets_with_slices_missing_have_names_and_digests_of_their_own():
    words = ["none", "drop:4", "drop:4:ordered", "fill:4:random:7", "zeros:4", "noise:4"]
    request = make_request("squeezenet1_0.imagenet", views=["axial"], taps=["fire5"], missing=words)
    plain = make_request("squeezenet1_0.imagenet", views=["axial"], taps=["fire5"])
    sets = plan_sets(request, WEIGHTS, "random-0", "{}")
    (whole,) = plan_sets(plain, WEIGHTS, "random-0", "{}")
    assert [one.name.split("/")[1] for one in sets] == [
        "axial", "axial~drop4", "axial~fill4-random-7", "axial~zeros4", "axial~noise4",
    ]  # fmt: skip
    assert sets[0].provenance == whole.provenance
    assert len({one.provenance["recipe_digest"] for one in sets}) == 5
    shown = [json.loads(one.provenance["recipe"])["view"][0] for one in sets]
    assert shown[1]["shown"] == [2, 6, 10, 14]
    assert (shown[3]["blank"], shown[4]["blank"]) == ("zeros", "noise")
    concat = {"pooling": "concat", "recipe": sets[1].provenance["recipe"]}
    assert n_slices(concat, 4 * 512) == 4


def test_an_extraction_adds_a_set_for_what_is_missing(brains, tmp_path):
    images, output = index_images(str(brains(2))), tmp_path / "features.h5"

    def jobs(*words):
        request = make_request(
            "squeezenet1_0.imagenet", weights="random:0", views=["axial"], taps=["fire2"], n_slices=4, size="48",
            poolings=["mean", "slices"], missing=words,
        )  # fmt: skip
        return [load_job(request, "cpu", tmp_path)]

    extract(images, jobs(), output, device="cpu")
    before = store.read_set(output, "squeezenet1_0.imagenet@random-0/axial/fire2/slices").X
    for words in (["none", "drop:2", "fill:2"], ["none", "drop:2", "fill:2"]):
        summary = extract(images, jobs(*words), output, device="cpu")
    assert summary.n_now == 0
    at = "squeezenet1_0.imagenet@random-0/axial{}/fire2/{}"
    found = {word: store.read_set(output, at.format(f"~{word}2", "mean")).X for word in ("drop", "fill")}
    np.testing.assert_allclose(found["drop"], before[:, [1, 3]].mean(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["fill"], before[:, [1, 1, 1, 3]].mean(axis=1), rtol=1e-5, atol=1e-6)
    assert store.read_set(output, at.format("~drop2", "slices")).X.shape == (2, 2, 128)
    np.testing.assert_array_equal(store.read_set(output, at.format("", "slices")).X, before)


def test_networks_on_volumes_beside_those_on_slices_have_nothing_missing():
    slices, volume = make_requests(["squeezenet1_0.imagenet@random:0", "sfcn.narrow@random:0"], missing=["drop:2"])
    assert [view.name for view in slices.recipe.views] == ["sagittal~drop2", "coronal~drop2", "axial~drop2"]
    assert [view.name for view in volume.recipe.views] == ["volume"]


def test_features_of_a_network_are_those_of_whole_brains_unless_it_is_said():
    sets = [f"a.x/{view}/t/mean" for view in ("axial", "axial~drop4", "coronal", "coronal~drop4")]
    whole, missing = (sets[0], sets[2]), (sets[1], sets[3])
    assert select_features(sets) == {"a.x": whole, "a.x~drop4": missing}
    assert select_features(sets, ["a.*", "*/axial/*"]) == {"a.*": whole, "*/axial/*": whole[:1]}
    assert select_features(sets, ["*~drop4/*"]) == {"*~drop4/*": missing}
    assert select_features(sets, ["a.x/axial~drop4"]) == {"a.x/axial~drop4": missing[:1]}
    assert select_features(sets, ["a.x+a.x~drop4"]) == {"a.x+a.x~drop4": (*whole, *missing)}


@pytest.mark.parametrize("word", ["drop", "drop:1", "drop:4:", "mirror:4", "drop:4:ordered:1", "drop:x"])
def test_a_word_that_says_nothing_is_refused(word):
    with pytest.raises(NetworkError, match=f"missing slices must be said as drop.*got '{word}'; write, say, drop:4"):
        parse(word)


@pytest.mark.parametrize(
    "network, wish, sentence",
    [
        ("sfcn.narrow", {}, "a choice of slices needs a network on slices; sfcn.narrow takes the whole volume"),
        ("squeezenet1_0.imagenet", {"missing": ["fill:18"]}, "takes 16 along its sagittal axis, and got one of 18"),
        ("squeezenet1_0.imagenet", {"channels": "neighbours"}, "imagenet is to see their neighbours as well; leave"),
        ("mvit_v1_b.kinetics400", {}, "takes 16 frames; have them filled instead, by fill:4, zeros:4 or noise:4"),
    ],
)
def test_what_a_network_cannot_have_missing_is_refused(network, wish, sentence):
    with pytest.raises(NetworkError, match=sentence):
        make_request(network, **{"missing": ["drop:4"], **wish})


def test_a_view_of_whole_volumes_is_refused():
    with pytest.raises(
        NetworkError, match="slices can be missing of a network on slices; sfcn.narrow takes the whole"
    ):
        with_missing(View("volume"), Missing("drop", 4), get_network("sfcn.narrow"))


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"shown": (0, 17)}, r"must be -1 \(none\), or places of its 17, from 0; got \(0, 17\); mend 'shown'"),
        ({"shown": (-1, 3), "blank": "black"}, "'blank' of view 'axial' .* must be known; got 'black'"),
    ],
)
def test_facts_of_slices_that_are_not_there_are_refused(settings, sentence):
    sheet = get_network("squeezenet1_0.imagenet")
    (slices, *rest) = sheet.recipe.views[2].steps
    view = View("axial", (Step("slices", {**slices.settings, **settings}), *rest))
    own = replace(sheet, recipe=replace(sheet.recipe, views=(view,)), default_views=("axial",))
    with pytest.raises(NetworkError, match=sentence):
        sheet_of(json.loads(json.dumps(facts_of(own))), "mine")


def test_zeros_are_black_where_a_recipe_scales_to_one():
    """Before the normalisation, which a network that was made faster does in its first layer."""
    sheet = get_network("squeezenet1_0.imagenet")
    view = with_missing(sheet.recipe.views[2], Missing("zeros", 17), sheet)
    x = look(phantom_batch(sheet, 0), view.steps)
    black = [-mean / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    np.testing.assert_allclose(x[0, 0, :, 0, 0], black, rtol=1e-5)
    assert torch.equal(x[0, 0], x[0, 16])
    assert x[0, 8].std() > 0.1
    torch.manual_seed(0)
    network = build(sheet).eval()
    plain, fast = (
        make_reader(network, sheet, ["fire2"], ["std"], optimised=word)(phantom_batch(sheet, 0), view)
        for word in (False, True)
    )
    wanted = plain["fire2", "std"]
    torch.testing.assert_close(fast["fire2", "std"], wanted, rtol=0, atol=float(wanted.abs().max()) * 1e-4)
