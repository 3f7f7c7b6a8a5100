"""Trained networks: any base under outputs of its own, as a module, a sheet, a checkpoint that is extracted from."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from featx.analysis.heads.direct import DirectClassifier, DirectRegressor
from featx.errors import NetworkError
from featx.extraction.plan import make_request, plan_sets
from featx.images.volume import Grid
from featx.networks import NETWORKS, get_network
from featx.networks.architectures.trained import Trained
from featx.networks.checkpoint import write_checkpoint
from featx.networks.described import TRAINED, facts_of, own_sheet, sheet_from
from featx.networks.look import look
from featx.networks.output import CLASSES, ORDINAL, REGRESSION, SOFT_BINS, Output
from featx.networks.reading import make_reader
from featx.networks.sheet import Recipe, Step, Tap, View
from featx.networks.trained import (
    check_keepable,
    default_tap,
    innermost,
    inside,
    outputs_from,
    read_inside,
    trained_sheet,
)
from featx.networks.weights import build, load_network
from featx.networks.winograd import PlaneConvolution
from featx.training.trunk import find_idle

AGE = Output("age", REGRESSION, 1, (50.0, 10.0))
BINS = Output("age bins", SOFT_BINS, 3, (40.0, 50.0, 60.0))
SEX = Output("sex", CLASSES, 2, (), ("F", "M"))
DRINKS = Output("drinks", ORDINAL, 2, (0.0, 1.0, 3.0), ("no", "some", "much"))
SITE = Output("site", CLASSES, 3, (), ("a", "b", "c"))

GRID = Grid("small", (66, 70, 64), 2.0, "LAS", (66.0, -70.0, -60.0))
CROP = Step("crop", {"box": ((0, 32), (3, 39), (2, 30))})
SLICES = Step("slices", {"axis": "axial", "first": 10, "last": 50, "count": 3})
NORM = Step("normalise", {"mean": (0.4, 0.5, 0.3), "std": (0.2, 0.3, 0.25)})
VOLUME_RECIPE = Recipe(GRID, (CROP,), (View("volume"),))


def sliced(*steps, count=3):
    slices = replace(SLICES, settings={**SLICES.settings, "count": count})
    return Recipe(GRID, (), (View("axial", (slices, *steps)),))


def small_sfcn():
    channels = (16, 16, 20)
    taps = {f"block{at}": Tap(f"feature_extractor.conv_{at}", width) for at, width in enumerate(channels)}
    taps["features"] = Tap("classifier.average_pool", 20, positions=False)
    taps["logits"] = Tap("classifier.conv_3", 5, positions=False)
    arguments = {"channels": channels, "n_outputs": 5, "ages": (40, 60)}
    return replace(get_network("sfcn.ukb_age"), arguments=arguments, taps=taps, recipe=VOLUME_RECIPE)


def small_transformer():
    size = {
        "img_size": (32, 36, 28),
        "patch_size": 4,
        "hidden_size": 24,
        "mlp_dim": 32,
        "num_layers": 2,
        "num_heads": 2,
    }
    base = get_network("vit_3d.monai")
    names = ("layer1", "layer2", "tokens", "features")
    taps = {name: replace(base.taps[name], width=24) for name in names}
    return replace(base, arguments={**base.arguments, **size}, taps=taps, default_taps=names, recipe=VOLUME_RECIPE)


def on_slices(name, *steps, count=3):
    return replace(get_network(name), recipe=sliced(*steps, count=count), default_views=("axial",))


class Own(nn.Module):
    """A network of one's own whose parts are used in another order than they are registered in."""

    def __init__(self, width):
        super().__init__()
        self.second = nn.Conv2d(width, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(1, width, 5, stride=3)

    def forward(self, x):
        return self.norm(functional.relu(self.second(self.first(x)), inplace=True)).mean((2, 3))


def own_base():
    slices = {"step": "slices", **SLICES.settings}
    facts = {
        "takes": "pictures",
        "grid": facts_of(replace(small_sfcn()))["grid"],
        "views": [{"name": "axial", "steps": [slices]}],
        "arguments": {"width": 3},
        "taps": {"second": {"module": "second", "width": 6}},
    }
    return own_sheet(facts, f"python:{__name__}:Own", f"{__name__}:Own")


def trained_twice():
    once = make_sheet(small_sfcn(), outputs=(AGE,))
    return replace(once, name="once.trained")


BASES = {
    "sfcn": small_sfcn,
    "transformer": small_transformer,
    "pictures": lambda: on_slices("squeezenet1_0.imagenet", NORM),
    "pictures, batch norm": lambda: on_slices("shufflenet_v2_x0_5.imagenet", NORM),
    "clip": lambda: on_slices("s3d.kinetics400", Step("resize", {"size": 32}), NORM, count=9),
    "set": lambda: on_slices("sliceset.encoder1_attention_pos"),
    "own": own_base,
    "trained": trained_twice,
}


def make_sheet(base, *, outputs=(AGE, SEX), tap="", **more):
    if base.takes == "pictures":
        more = {"aggregation": "attention", "n_positions": 4} | more
    made = {"name": "net.trained", "training": "made people", "labels": tuple(one.target for one in outputs)}
    tap = tap or default_tap(base)
    return trained_sheet(base, tap=tap, view=base.recipe.views[0], outputs=outputs, **made, **more)


def make(sheet, seed=0):
    """A trained network whose batch norms have seen something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Trained(**sheet.arguments)
        for one in network.modules():
            if isinstance(one, nn.modules.batchnorm._BatchNorm):
                one.running_mean.normal_(0, 0.1)
                one.running_var.uniform_(0.5, 2)
    return network


def volumes(sheet, n=2, seed=0):
    box = dict(sheet.recipe.steps[0].settings)["box"] if sheet.recipe.steps else [(0, one) for one in GRID.shape]
    shape = [high - low for low, high in box]
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 1, (n, 1, *shape)).astype(np.float32))


# --- a module -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASES)
def test_gradients_reach_the_first_layer_and_every_output(name):
    sheet = make_sheet(BASES[name]())
    network = make(sheet).train()
    x = look(volumes(sheet), sheet.recipe.views[0].steps)
    columns = network(x)
    assert columns.shape == (2, 3)
    columns.square().sum().backward()
    first = next(one for one in network.network.modules() if isinstance(one, nn.Conv2d | nn.Conv3d))
    if name == "own":
        first = network.network.first
    assert float(first.weight.grad.abs().max()) > 0
    assert (network.output.weight.grad.abs().amax(1) > 0).all()


def test_the_vector_is_what_the_tap_gives_and_the_rest_is_not_run():
    base = small_sfcn()
    network = make(make_sheet(base)).eval()
    x = volumes(base)
    blocks = network.network.feature_extractor(x)
    with torch.no_grad():
        np.testing.assert_allclose(network.vector(x), blocks.mean((2, 3, 4)).detach(), rtol=1e-5, atol=1e-6)
        network.network.classifier.conv_3.forward = None  # whoever runs it, fails
        weight, bias = network.output.weight, network.output.bias
        torch.testing.assert_close(network(x), network.vector(x) @ weight.T + bias)


def test_a_class_token_and_the_mean_of_patches_are_other_vectors():
    base = small_transformer()
    mean, token = make(make_sheet(base, tap="layer2")), make(make_sheet(base, tap="layer2:cls"))
    x = volumes(base)
    tokens = []
    mean.eval().network.blocks[1].register_forward_hook(lambda _m, _i, output: tokens.append(output.detach()))
    with torch.no_grad():
        found = mean.vector(x)
        torch.testing.assert_close(found, tokens[0][:, 1:].mean(1))
        token.load_state_dict(mean.state_dict())
        torch.testing.assert_close(token.eval().vector(x), tokens[0][:, 0])


def test_single_pictures_are_put_together_as_gupta_does():
    sheet = make_sheet(BASES["pictures"]())
    network = make(sheet).eval()
    slices = look(volumes(sheet), sheet.recipe.views[0].steps)
    with torch.no_grad():
        embedded = []
        for at in range(3):  # slice by slice, by hand
            maps = network.network.features(slices[:, at])
            embedded.append(network.embedded(maps.mean((2, 3))))
        placed = [
            functional.layer_norm(one + network.positions.embedding[at], (32,), *network.positions.norm.parameters())
            for at, one in enumerate(embedded)
        ]
        vector = network.hidden(network.pooled(torch.stack(placed, 1)))
        torch.testing.assert_close(network.vector(slices), vector, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network.settle(network.still(slices)), network.vector(slices))
    assert network.vector(slices).shape == (2, sheet.taps["features"].width)


def test_a_frozen_set_goes_through_in_pieces_with_the_same_answer(monkeypatch):
    sheet = make_sheet(BASES["pictures, batch norm"]())
    network = make(sheet).eval()
    slices = look(volumes(sheet), sheet.recipe.views[0].steps)
    sizes = []
    network.network.register_forward_pre_hook(lambda _m, inputs: sizes.append(len(inputs[0])))
    with torch.no_grad():
        whole = network.still(slices)
        monkeypatch.setitem(network.still.__globals__["SLICES_AT_ONCE"], "cpu", 2)
        torch.testing.assert_close(network.still(slices), whole)
        network.train().still(slices)
    assert sizes == [6, 2, 2, 2, 6]


def test_a_place_that_gives_no_row_of_the_width_is_refused():
    sheet = make_sheet(small_sfcn())
    wide = Trained(**{**sheet.arguments, "width": 21})
    with pytest.raises(
        NetworkError, match=r"one row of 21 features for each of 2 inputs; that of sfcn.ukb_age .* \(2, 20\)"
    ):
        wide(volumes(sheet))


def test_what_goes_wrong_inside_is_not_swallowed():
    sheet = make_sheet(small_sfcn())
    network = make(sheet)
    with pytest.raises(RuntimeError, match="expected input"):
        network(volumes(sheet)[:, [0, 0]])
    assert not network.network.get_submodule("classifier.average_pool")._forward_hooks


# --- a checkpoint ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in BASES if name != "own"])
def test_a_checkpoint_gives_the_very_same_features_and_answers(name, tmp_path):
    sheet = make_sheet(
        BASES[name](), outputs=(AGE, BINS, SEX, DRINKS, SITE), n_parameters=5, age_range_years=(40.0, 60.0)
    )
    network = make(sheet).eval()
    assert sheet_from(json.loads(json.dumps(facts_of(sheet))), sheet.name) == sheet
    write_checkpoint(tmp_path / "a.safetensors", network, sheet, note="made")
    read = get_network(f"file:{tmp_path / 'a.safetensors'}")
    assert read == sheet
    assert list(read.taps) == list(sheet.taps)  # in the order of the network, by which it is trained from again
    view = read.recipe.views[0]
    taps = [tap for tap in read.taps if tap != "slices"]
    n_volumes = volumes(sheet)
    with torch.inference_mode():
        x = look(n_volumes.clone(), view.steps)
        columns, vector = network(x), network.vector(x)
        plain, fast = (
            make_reader(loaded.network, read, taps, ["mean"], optimised=how)
            for how in (False, True)
            for loaded in [load_network(read, str(tmp_path / "a.safetensors"), tmp_path)]
        )
        found, faster = plain(n_volumes.clone(), view), fast(n_volumes.clone(), view)
    assert torch.equal(found["features", "mean"], vector)
    age, bins, drinks = columns[:, :1], columns[:, 1:4].softmax(1), columns[:, 6:8].sigmoid()
    wanted = {
        "prediction_age": 50 + 10 * age,
        "prediction_age_bins": (bins * torch.tensor([40.0, 50.0, 60.0])).sum(1, keepdim=True),
        "prediction_sex": columns[:, 4:6].softmax(1)[:, 1:],
        "prediction_drinks": drinks[:, :1] + 2 * drinks[:, 1:],
        "prediction_site": columns[:, 8:].softmax(1),
    }
    for tap, values in wanted.items():
        torch.testing.assert_close(found[tap, "mean"], values, rtol=1e-6, atol=1e-6)
        assert found[tap, "mean"].shape[1] == read.taps[tap].width
    for place, values in found.items():  # folded, grey, plane by plane: the same up to rounding
        assert values.shape[1] == read.taps[place[0]].width
        torch.testing.assert_close(faster[place], values, rtol=1e-3, atol=1e-3 * float(values.abs().max()))


@pytest.mark.parametrize("name", ["sfcn", "trained"])
def test_the_network_inside_is_made_as_fast_as_it_is_alone(name):
    sheet = make_sheet(BASES[name]())
    network = make(sheet).eval()
    make_reader(network, sheet, ["features"], ["mean"])
    kinds = [type(one) for one in network.modules()]
    assert kinds.count(PlaneConvolution) == 2  # of grey, and of 16 channels
    assert nn.BatchNorm3d not in kinds


def test_a_place_that_a_trained_network_reads_itself_stays_what_it_is():
    """The convolution before its batch norm, which would be folded into it."""
    raw = {"raw": Tap("feature_extractor.conv_1.0", 16)}
    sheet = make_sheet(replace(small_sfcn(), taps=raw, default_taps=("raw",)))
    network = make(sheet).eval()
    with torch.inference_mode():
        vector = network.vector(volumes(sheet)).clone()
        fast = make_reader(network, sheet, ["features"], ["mean"])(volumes(sheet), View("volume"))
    torch.testing.assert_close(fast["features", "mean"], vector, rtol=1e-4, atol=1e-5)
    assert type(network.network.feature_extractor.conv_1[1]) is nn.BatchNorm3d


def test_slices_stay_apart_where_each_goes_through_by_itself():
    sheet = make_sheet(BASES["pictures, batch norm"]())
    network = make(sheet).eval()
    view = sheet.recipe.views[0]
    with torch.inference_mode():
        rows = make_reader(network, sheet, ["slices"], ["slices"], optimised=False)(volumes(sheet), view)
        embedded = network.embedded(network.still(look(volumes(sheet), view.steps)))
    assert torch.equal(rows["slices", "slices"], embedded)
    clip = make_sheet(BASES["clip"]())
    match = "slices must go through a network one by one to be kept apart; those of net.trained go together"
    with pytest.raises(NetworkError, match=match):
        make_reader(make(clip), clip, ["mixed3b"], ["slices"])


# --- a sheet --------------------------------------------------------------------------------------------------


def test_a_sheet_has_the_places_up_to_the_tap():
    base = small_sfcn()
    assert list(make_sheet(base).taps) == [
        "block0",
        "block1",
        "block2",
        "features",
        "prediction_age",
        "prediction_sex",
    ]
    assert list(make_sheet(base, tap="block1", outputs=(AGE,)).taps) == ["block0", "block1", "features", "prediction"]
    assert make_sheet(base).taps["block1"] == Tap("network.feature_extractor.conv_1", 16)
    assert list(make_sheet(BASES["pictures"]()).taps)[:2] == ["slices", "features"]
    sheet = make_sheet(BASES["pictures"]())
    assert (sheet.takes, sheet.stem, sheet.fixed) == ("set", "network.features.0", ("slices",))
    assert sheet.architecture == TRAINED
    assert sheet.weights is None
    assert sheet.reads == ""
    request = make_request("squeezenet1_0.imagenet")
    assert plan_sets(replace(request, sheet=sheet, taps=("features",), recipe=sheet.recipe), {}, "", "{}")


def test_what_is_inside_a_sheet():
    twice = make_sheet(trained_twice())
    assert inside(small_sfcn()) is None
    assert inside(twice).name == "once.trained"
    assert innermost(twice).name == innermost(small_sfcn()).name == "sfcn.ukb_age"
    assert read_inside(twice) == {"network.features", "network.network.classifier.average_pool"}


def test_taps_of_answers_have_names_of_their_own():
    outputs = (replace(AGE, target="a b"), replace(AGE, target="a/b"), replace(AGE, target="ä"))
    taps = list(make_sheet(small_sfcn(), outputs=outputs).taps)[-3:]
    assert taps == ["prediction_a_b", "prediction_a_b_", "prediction_ä"]


def test_every_network_can_be_trained_from():
    """Of shapes alone: the first layer with weights counts, the classifier that the network came with does not."""
    names = (
        *("sfcn_multi.leonardsen2025", "cnn3d.gupta", "vit_3d.monai", "vit_b_16_3d.imagenet", "swin_t.imagenet"),
        *("r3d_18.kinetics400", "mvit_v2_s.kinetics400", "swin3d_t.kinetics400", "timm:resnet10t"),
    )
    for name in names:
        base = get_network(name)
        aggregation = "max" if base.takes == "pictures" else ""
        sheet = trained_sheet(
            base, name="n", tap=default_tap(base), view=base.recipe.views[0], outputs=(AGE,), aggregation=aggregation,
            training="", labels=(),
        )  # fmt: skip
        with torch.device("meta"):
            network = Trained(**sheet.arguments)
        idle = find_idle(network)
        first = next(iter(dict(network.network.named_parameters())))
        last = [one for one, values in network.network.named_parameters() if values.ndim == 1][-1]
        assert f"network.{first}" not in idle, name
        assert f"network.{last}" in idle, name
        assert not any(one.startswith(("output", "embedded", "hidden")) for one in idle), name


def test_labels_are_those_of_official_weights():
    labels = {name: sheet.labels for name, sheet in NETWORKS.items() if sheet.labels}
    assert {name: one for name, one in labels.items() if "synthetic" not in name} == {
        "sfcn.ukb_age": ("age",),
        "sfcn.ukb_sex": ("sex",),
        "sfcn_reg.leonardsen2022": ("age",),
        "sfcn_sm.leonardsen2022": ("age",),
        "sfcn_rank.leonardsen2022": ("age",),
    }


def test_a_network_s_own_answer_is_a_direct_prediction():
    sheet = make_sheet(small_sfcn())
    network = make(sheet).eval()
    with torch.inference_mode():
        rows = make_reader(network, sheet, ["prediction_age", "prediction_sex"], ["mean"])(
            volumes(sheet, 4), View("volume")
        )
        columns = network(volumes(sheet, 4))
    age, sex = (rows[f"prediction_{one}", "mean"].numpy() for one in ("age", "sex"))
    np.testing.assert_allclose(
        DirectRegressor().fit(age, [40, 50, 60, 70]).predict(age), 50 + 10 * columns[:, 0], rtol=1e-4
    )
    head = DirectClassifier(classes=("F", "M")).fit(sex, [0, 1, 0, 1])
    np.testing.assert_allclose(head.predict_proba(sex), columns[:, 1:].softmax(1), rtol=1e-3)


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"tap": "classifier"},
            "must be trained from a tap of its sheet; 'classifier' is none of sfcn.ukb_age; known",
        ),
        ({"outputs": ()}, r"one output for each of its targets; net.trained has \[\]"),
        ({"outputs": (AGE, AGE)}, r"one output for each of its targets; net.trained has \['age', 'age'\]"),
        ({"aggregation": "mean"}, "one by one; sfcn.ukb_age takes the whole volume; leave it out"),
        ({"n_positions": 3}, "one by one; sfcn.ukb_age takes the whole volume; leave it out"),
        (
            {"outputs": (replace(AGE, width=2),)},
            "a column for what it tells apart .* of 'age' in net.trained is Output",
        ),
        ({"outputs": (replace(AGE, values=(50.0, 0.0)),)}, "a standard deviation above 0"),
        ({"outputs": (replace(AGE, form="guess"),)}, "form='guess'"),
        ({"outputs": (replace(SEX, classes=("F",)),)}, "classes=.*mend it"),
        ({"outputs": (replace(BINS, width=4),)}, "width=4"),
        ({"outputs": (replace(DRINKS, width=3),)}, "width=3"),
    ],
)
def test_sheets_that_cannot_be_are_refused(change, match):
    with pytest.raises(NetworkError, match=match):
        make_sheet(small_sfcn(), **change)


def test_single_pictures_need_an_aggregation():
    base = BASES["pictures"]()
    with pytest.raises(
        NetworkError, match=r"slices must be put together by an aggregation; got 'sum' for squeeze.*; known"
    ):
        make_sheet(base, aggregation="sum")
    with pytest.raises(NetworkError, match="sliceset.encoder1_attention_pos takes all of them at once"):
        make_sheet(BASES["set"](), aggregation="mean")


def test_a_file_names_no_code_but_that_of_the_table(tmp_path):
    sheet = make_sheet(own_base())
    write_checkpoint(tmp_path / "own.safetensors", make(sheet), sheet, note="")
    match = "must name code of featx's own table of networks; got 'featx.networks.architectures.own:build'"
    with pytest.raises(NetworkError, match=match):
        get_network(f"file:{tmp_path / 'own.safetensors'}")
    hidden = json.loads(make_sheet(small_sfcn()).arguments["base"]) | {"architecture": "os:system"}
    facts = facts_of(make_sheet(small_sfcn()))
    for twice in (False, True):
        facts["arguments"] = {**facts["arguments"], "base": json.dumps(hidden)}
        with pytest.raises(NetworkError, match="got 'os:system'"):
            sheet_from(facts, "net.trained")
        assert not twice or json.loads(facts["arguments"]["base"])["architecture"] == TRAINED
        hidden = json.loads(json.dumps(facts))
    hidden = json.loads(make_sheet(BASES["pictures"]()).arguments["base"])
    hidden["arguments"] = {"model": "squeezenet1_0", "weights": "DEFAULT"}
    facts["arguments"] = {**facts["arguments"], "base": json.dumps(hidden)}
    with pytest.raises(NetworkError, match="must leave weights to the file"):
        sheet_from(facts, "net.trained")


@pytest.mark.parametrize("base", ["", "[]", "{}", "{"])
def test_a_trained_network_must_say_what_is_inside(base):
    facts = facts_of(make_sheet(small_sfcn()))
    facts["arguments"] = {**facts["arguments"], "base": base}
    with pytest.raises(NetworkError, match="the facts of net.trained must hold those of the network inside, as JSON"):
        sheet_from(facts, "net.trained")


@pytest.mark.parametrize(
    ("outputs", "match"),
    [
        ("{", "must be a list of tables in JSON; got '{'; write the checkpoint again"),
        ("[1]", "must be a list of tables in JSON"),
        (json.dumps([{**asdict(AGE), "unit": "years"}]), "got 'unit'"),
        (json.dumps([{**asdict(AGE), "width": 1.5}]), "'width' in an output of .* must be a whole number; got 1.5"),
    ],
)
def test_outputs_that_a_file_does_not_say_are_refused(outputs, match):
    sheet = make_sheet(small_sfcn())
    with pytest.raises(NetworkError, match=match):
        build(replace(sheet, arguments={**sheet.arguments, "outputs": outputs}))


def test_a_file_that_names_another_tap_is_refused():
    sheet = make_sheet(small_sfcn())
    with pytest.raises(NetworkError, match="must be trained from a tap of its sheet; 'decode' is none"):
        build(replace(sheet, arguments={**sheet.arguments, "tap": "decode"}))


def test_outputs_that_are_nested_too_deep_are_refused():
    with pytest.raises(NetworkError, match="must be a list of tables in JSON"):
        outputs_from("[" * 100_000, "net")


def test_what_a_file_could_not_say_is_not_kept():
    check_keepable(make_sheet(small_sfcn()))
    check_keepable(small_sfcn())
    for sheet in (own_base(), make_sheet(own_base())):
        with pytest.raises(
            NetworkError, match=r"must be made of featx's own code, for file:PATH runs no other; .*--no-keep"
        ):
            check_keepable(sheet)
    with pytest.raises(NetworkError, match="must be a text of one line"):
        check_keepable(replace(small_sfcn(), training="a\nb"))
