"""Weights by a word: official, random, a file, redrawn; what is told of them, and every refusal."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from featx.errors import DependencyError, NetworkError, WeightsError
from featx.networks import get_network
from featx.networks.checkpoint import read_checkpoint, tensors_sha256
from featx.networks.weights import build, load_network, redraw
from tests.serving import Page, Tiny, serve, tiny_sheet, tiny_state, weights_of

STATE = tiny_state()
OTHER = tiny_state(1)
SHEET = tiny_sheet()


@pytest.fixture
def checkpoint(tmp_path):
    torch.save(STATE, tmp_path / "own.pth")
    return tmp_path / "own.pth"


@pytest.fixture
def official(checkpoint):
    """The sheet of a tiny network whose official weights are those of the checkpoint, on a server."""
    with serve() as server:
        server.pages["/w"] = Page(checkpoint.read_bytes())
        yield tiny_sheet(weights_of(checkpoint.read_bytes(), f"{server.url}/w", "w.pth"))


def test_official_weights(official, tmp_path):
    seen = []
    loaded = load_network(official, "official", tmp_path / "cache", lambda done, total: seen.append((done, total)))
    assert (loaded.weights, loaded.tag, loaded.sha256) == ("official", "", tensors_sha256(STATE))
    assert not loaded.network.training
    assert seen[-1] == (official.weights.size_bytes,) * 2
    x = torch.rand(2, 1, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    wanted = Tiny().eval()
    wanted.load_state_dict(STATE)
    assert torch.equal(loaded.network(x), wanted(x))


def test_weights_that_nobody_publishes(tmp_path):
    match = "featx knows of none for tiny.made; give --weights tiny.made=FILE, or ask for tiny.made@random:SEED"
    with pytest.raises(WeightsError, match=match):
        load_network(SHEET, "official", tmp_path)


def test_a_local_file_with_the_official_digest_is_official(official, checkpoint, tmp_path):
    assert load_network(official, str(checkpoint), tmp_path).weights == "official"
    other = load_network(SHEET, str(checkpoint), tmp_path)
    assert (other.weights, other.tag) == ("file:own.pth", f"file-{other.sha256[:8]}")


def test_converted_weights_are_official_in_the_cache_alone(checkpoint, tmp_path):
    """Elsewhere they vouch for themselves: anybody can write the same text beside other tensors."""
    with serve() as server:
        server.pages["/w"] = Page(checkpoint.read_bytes())
        sheet = tiny_sheet(weights_of(checkpoint.read_bytes(), f"{server.url}/w", "w.p"))
        load_network(sheet, "official", tmp_path / "cache")
    here = tmp_path / "cache/w.p.safetensors"
    loaded = load_network(sheet, str(here), tmp_path / "cache")
    assert (loaded.weights, loaded.tag, loaded.sha256) == ("official", "", tensors_sha256(STATE))
    told = {"featx-source": sheet.weights.digest, "featx-reads": "", "featx-tensors-sha256": tensors_sha256(OTHER)}
    forged = tmp_path / "w.p.safetensors"
    save_file(OTHER, forged, told)
    loaded = load_network(sheet, str(forged), tmp_path / "cache")
    assert (loaded.weights, loaded.sha256) == ("file:w.p.safetensors", tensors_sha256(OTHER))
    assert loaded.tag == f"file-{loaded.sha256[:8]}"
    copy = here.rename(tmp_path / "mine.safetensors")
    assert load_network(sheet, str(copy), tmp_path / "empty").weights == "file:mine.safetensors"


def test_a_file_without_a_known_digest_is_never_official(checkpoint, tmp_path):
    sheet = tiny_sheet(weights_of(b"", "http://127.0.0.1:1/w", "w.pth"))
    sheet = tiny_sheet(type(sheet.weights)(sheet.weights.url, "w.pth", "", "MIT"))
    assert load_network(sheet, str(checkpoint), tmp_path).weights == "file:own.pth"


def test_a_local_file_of_another_form(tmp_path):
    numbers = np.concatenate([values.float().numpy().ravel() * 2 for values in STATE.values()]).astype("<f4")
    (tmp_path / "own.raw").write_bytes(numbers.tobytes())
    loaded = load_network(tiny_sheet(reads="halved"), str(tmp_path / "own.raw"), tmp_path)
    assert loaded.weights == "file:own.raw"
    for name, values in loaded.network.state_dict().items():
        assert torch.equal(values, STATE[name])
    assert [path.name for path in tmp_path.iterdir()] == ["own.raw"]


# --- building -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, arguments, match",
    [
        ("resnet18.imagenet", {"model": "resnet18", "depth": 3}, r"'depth': 3} \(TypeError: .*depth"),
        ("vit_b_16.imagenet", {"model": "vit_b_16", "image_size": 225}, r"'image_size': 225} \(AssertionError"),
        ("sfcn.narrow", {"channels": (2, -3), "n_outputs": 2}, r"'channels': \(2, -3\).* \((Runtime|Value)Error: "),
        ("sliceset.encoder1_mean", {"encoder": "encoder1", "aggregation": "sum"}, r"\(KeyError: 'sum'\); mend"),
    ],
)
def test_arguments_that_an_architecture_cannot_take(name, arguments, match):
    sheet = replace(get_network(name), name="mine", arguments=arguments)
    with pytest.raises(NetworkError, match=f"the arguments of its sheet; mine cannot be from {{.*{match}"):
        build(sheet)


@pytest.mark.parametrize("model", ["fcn_resnet50", "maskrcnn_resnet50_fpn", "raft_small", "quantized_resnet18", "no"])
@pytest.mark.parametrize("name", ["resnet18.imagenet", "sliceset.encoder1_mean"])
def test_networks_of_torchvision_that_would_download_something(name, model, monkeypatch):
    """Their backbones: torchvision fetches those unless it is told not to."""

    def fetch(*args, **how):
        raise OSError("no network is wanted")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fetch)
    sheet = get_network(name)
    sheet = replace(
        sheet, arguments={**sheet.arguments, "encoder" if "encoder" in sheet.arguments else "model": model}
    )
    match = (
        f"a network of torchvision must be one that tells classes of pictures or clips; got '{model}'; known are 89"
    )
    with pytest.raises(NetworkError, match=match):
        build(sheet)


def test_what_is_not_installed_is_told_as_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    with pytest.raises(DependencyError, match="MONAI and einops must be installed"):
        build(get_network("resnet18_3d.monai"))


# --- random ---------------------------------------------------------------------------------------------------


def test_random_weights_follow_their_seed_and_leave_the_global_one_alone(tmp_path):
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    shas = [load_network(SHEET, f"random:{seed}", tmp_path).sha256 for seed in (0, 0, 1)]
    assert shas[0] == shas[1] != shas[2]
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("seed", ["", "x", "-1", "9999999999999999999999", "1.5"])
@pytest.mark.parametrize("word, what", [("random", "random weights"), ("reinit", "redrawn weights")])
def test_a_bad_seed(tmp_path, seed, word, what):
    with pytest.raises(
        WeightsError, match=f"{what} must be asked for as {word}:SEED with a whole number; got '{word}"
    ):
        load_network(SHEET, f"{word}:{seed}", tmp_path)


# --- a network of one's own ------------------------------------------------------------------------------------


def test_weights_as_a_factory_sets_them(tmp_path):
    own = replace(SHEET, name="python:tests.serving:Tiny")
    loaded = load_network(own, "factory", tmp_path)
    assert (loaded.weights, loaded.tag) == ("factory", "")
    assert loaded.sha256 == load_network(own, "random:0", tmp_path).sha256  # this factory draws them
    redrawn = load_network(own, "reinit:2", tmp_path)
    assert (redrawn.weights, redrawn.tag) == ("reinit:2 of factory", "reinit-2")
    assert not redrawn.network.training
    with pytest.raises(WeightsError, match="a file of weights must exist; factory does not"):
        load_network(SHEET, "factory", tmp_path)


# --- redrawn --------------------------------------------------------------------------------------------------


def test_redrawn_weights_keep_the_scale_of_every_tensor():
    """Mean and standard deviation of 50,000 draws, against those of the tensor; nothing of its order is left."""
    network = torch.nn.Sequential(torch.nn.Linear(250, 200), torch.nn.Linear(200, 3))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        network[0].weight.copy_(torch.rand(200, 250, generator=generator) ** 4 * 10 - 3)
    before = {name: values.detach().clone() for name, values in network.named_parameters()}
    redraw(network, 0)
    old, new = before["0.weight"].numpy().ravel(), network[0].weight.detach().numpy().ravel()
    standard_error = old.std() / np.sqrt(old.size)
    assert abs(new.mean() - old.mean()) < 4 * standard_error
    assert abs(new.std() / old.std() - 1) < 0.02
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.02
    z = (new - new.mean()) / new.std()
    assert abs((z**4).mean() - 3) < 0.15  # normal, as the tensor was not
    assert abs((((old - old.mean()) / old.std()) ** 4).mean() - 3) > 0.5


def test_what_is_redrawn_and_what_stays(official, tmp_path):
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    loaded = load_network(official, "reinit:7", tmp_path)
    assert torch.equal(torch.rand(3), wanted)
    assert (loaded.weights, loaded.tag) == ("reinit:7 of official", "reinit-7")
    state = loaded.network.state_dict()
    assert loaded.sha256 == tensors_sha256(state) != tensors_sha256(STATE)
    stays = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}  # statistics of data
    stays |= {"conv.bias", "norm.bias", "top.bias"}  # tensors of zero spread
    assert {name for name in STATE if torch.equal(state[name], STATE[name])} == stays
    assert not loaded.network.training


def test_redrawn_weights_follow_their_seed(official, checkpoint, tmp_path):
    shas = [load_network(official, spec, tmp_path).sha256 for spec in ("reinit:0", "reinit:0", "reinit:1")]
    assert shas[0] == shas[1] != shas[2]
    assert load_network(SHEET, f"reinit:0:{checkpoint}", tmp_path).sha256 == shas[0]


def test_redrawn_weights_of_a_file(official, checkpoint, tmp_path):
    loaded = load_network(SHEET, f"reinit:3:{checkpoint}", tmp_path)
    assert loaded.weights == "reinit:3 of file:own.pth"
    assert loaded.tag == f"reinit-3-{tensors_sha256(STATE)[:8]}"
    assert load_network(official, f"reinit:3:{checkpoint}", tmp_path).tag == "reinit-3"  # it is the official file


@pytest.mark.parametrize("source", ["nosuch.pth", "random:1", "reinit:1"])
def test_redrawn_weights_of_nothing(tmp_path, source):
    with pytest.raises(WeightsError, match=f"a file of weights must exist; {source} does not"):
        load_network(SHEET, f"reinit:0:{source}", tmp_path)
    with pytest.raises(WeightsError, match="featx knows of none for tiny.made"):
        load_network(SHEET, "reinit:0", tmp_path)


# --- what does not fit ----------------------------------------------------------------------------------------


def test_weights_of_another_network(checkpoint, tmp_path):
    match = r"fit resnet18.imagenet.* missing \(such as conv1.weight\), 8 unknown .*they belong to another network"
    with pytest.raises(WeightsError, match=match):
        load_network(get_network("resnet18.imagenet"), str(checkpoint), tmp_path)
    torch.save(STATE | {"conv.weight": torch.zeros(2, 2)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"are 1 of another shape \(such as conv.weight\)"):
        load_network(SHEET, str(tmp_path / "a.pth"), tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path, value):
    broken = STATE["top.weight"].clone()
    broken[3, 2] = value
    torch.save(STATE | {"top.weight": broken}, tmp_path / "a.pth")
    with pytest.raises(
        WeightsError, match=r"must be finite numbers; those of .*a.pth are not at top.weight; get ano"
    ):
        load_network(SHEET, str(tmp_path / "a.pth"), tmp_path)


def test_checkpoints_without_the_counter_of_batches(tmp_path):
    """Older ones lack it, and no inference needs it."""
    torch.save({name: values for name, values in STATE.items() if "num_batches" not in name}, tmp_path / "a.pth")
    loaded = load_network(SHEET, str(tmp_path / "a.pth"), tmp_path)
    assert torch.equal(loaded.network.norm.running_var, STATE["norm.running_var"])


@pytest.mark.data
def test_the_real_imagenet_weights(data, tmp_path):
    path = data / "weights/squeezenet1_0_imagenet.pth"
    sheet = get_network("squeezenet1_0.imagenet")
    assert load_network(sheet, str(path), tmp_path).tag.startswith("file-")
    redrawn = load_network(sheet, f"reinit:0:{path}", tmp_path).network.state_dict()
    for name, values in read_checkpoint(path).items():
        if values.numel() > 10_000:
            assert abs(redrawn[name].std() / values.std() - 1) < 0.05
            assert abs(np.corrcoef(redrawn[name].ravel(), values.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(
    "stem, got", [("features.99", "none"), ("features.1", "ReLU"), ("features.3.squeeze", "Conv2d")]
)
def test_a_stem_that_is_not_the_first_convolution(stem, got):
    sheet = replace(get_network("squeezenet1_0.imagenet"), name="mine", stem=stem)
    with pytest.raises(
        NetworkError, match=f"takes red, green and blue; {stem!r} of mine is {got}; leave the sheet's"
    ):
        build(sheet)


def test_a_file_of_another_network_is_refused_before_memory_is_taken(tmp_path):
    """What a file says of its sizes is held against its tensors first: this network would take 8 TB."""
    sheet = replace(get_network("sfcn.narrow"), arguments={"channels": (1_000_000, 270_000), "n_outputs": 2})
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"weights must fit sfcn.narrow, tensor by tensor; .* missing .* unknown"):
        load_network(sheet, str(tmp_path / "a.safetensors"), tmp_path)


def test_a_network_that_needs_numbers_to_be_built_is_loaded_all_the_same(tmp_path):
    sheet = get_network("regnet_x_400mf.imagenet")
    network = load_network(sheet, "random:1", tmp_path)
    torch.save(network.network.state_dict(), tmp_path / "a.pth")
    assert load_network(sheet, str(tmp_path / "a.pth"), tmp_path).sha256 == network.sha256
