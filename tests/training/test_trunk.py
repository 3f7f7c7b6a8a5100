"""What of a network trains, in which mode it is, batch norms to other people, and activations computed anew."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import DenseNet

from featx.errors import AnalysisError, NetworkError
from featx.networks.look import look
from featx.training.arms import ALL, OUTPUT
from featx.training.trunk import adapt_batch_norm, checkpoint_activations, find_idle, set_mode, trainable
from tests.networks.test_trained import BASES, make, make_sheet, volumes


def made(name, seed=0, **more):
    """A trained network of a small base, and what it looks at."""
    sheet = make_sheet(BASES[name](), **more)
    return make(sheet, seed), look(volumes(sheet, seed=seed), sheet.recipe.views[0].steps)


def a_step(network, x):
    own = [one for one in network.parameters() if one.requires_grad]
    optimiser = torch.optim.SGD(own, 0.1, momentum=0.9, weight_decay=0.1)
    network(x).square().mean().backward()
    optimiser.step()


def state(network):
    return {name: values.clone() for name, values in network.state_dict().items()}


def changed(before, network):
    return {name for name, values in network.state_dict().items() if not torch.equal(values, before[name])}


# --- what trains ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*BASES])
def test_in_the_first_phase_the_network_inside_stays_bit_for_bit(name):
    network, x = made(name, dropout=0.25)
    before = state(network)
    trainable(network, OUTPUT)
    set_mode(network, OUTPUT)
    a_step(network, x)
    moved = changed(before, network)
    settling = {"pictures", "pictures, batch norm", "own"}
    own = ("output.", "embedded.", "positions.", "pooled.", "hidden.") if name in settling else ("output.",)
    assert moved
    assert all(one.startswith(own) for one in moved)
    assert {one.partition(".")[0] for one in moved} == {one.rstrip(".") for one in own}
    assert network.dropout.training
    assert not any(one.training for one in network.network.modules())


def test_in_the_second_phase_all_moves_but_what_the_tap_never_uses():
    network, x = made("sfcn", tap="block1")
    before = state(network)
    trainable(network, ALL)
    set_mode(network, ALL)
    a_step(network, x)
    still = {name for name in before if "conv_2" in name or "classifier" in name}
    weights = {name for name, _ in network.named_parameters()}
    assert changed(before, network) & weights == weights - still
    # and batch norms behind the tap do not see a batch, not even of the first pass
    assert changed(before, network) - weights == {
        f"network.feature_extractor.conv_{at}.1.{what}"
        for at in (0, 1)
        for what in ("running_mean", "running_var", "num_batches_tracked")
    }
    trainable(network, OUTPUT)
    assert [name for name, one in network.named_parameters() if one.requires_grad] == ["output.weight", "output.bias"]
    assert network.training
    assert all(one.training for one in network.modules())


def test_what_is_idle_is_found_where_shapes_are_not_enough(monkeypatch):
    class Stubborn(nn.Module):
        def forward(self, x):
            return x * float(x.abs().max() > 0)  # asks for a number

    network, _ = made("own")
    network.network.second = nn.Sequential(network.network.second, Stubborn())
    network.path = "second.1"
    assert find_idle(network) == {"network.norm.weight", "network.norm.bias"}
    assert network.n_calls == 1
    assert network.training
    monkeypatch.setattr(network, "vector", None)
    assert find_idle(network) == {"network.norm.weight", "network.norm.bias"}  # looked for once


def test_a_network_that_does_not_run_on_its_view_is_told():
    network, _ = made("own")
    network.network.second = nn.Conv2d(5, 6, 3)
    match = "python:.*Own must run on its view to be trained; on axial it does not .*; choose another size, number of"
    with pytest.raises(NetworkError, match=match):
        trainable(network, ALL)


# --- batch norms ----------------------------------------------------------------------------------------------


def moments(values):
    """Mean and unbiased variance by channel, of all values at once."""
    rows = np.moveaxis(np.asarray(values, dtype=np.float64), 1, -1).reshape(-1, values.shape[1])
    return rows.mean(0), rows.var(0, ddof=1)


def test_batch_norms_get_the_moments_of_all_inputs_whatever_the_batches():
    network, _ = made("sfcn", tap="block1")
    batches = [volumes(network.sheet, n, seed) * (1 + seed) for seed, n in enumerate((3, 1, 2))]
    before, modes = state(network), [one.training for one in network.modules()]
    first, second = (network.network.feature_extractor[at] for at in (0, 1))
    outputs = [first[0](one).detach() for one in batches]
    reached = []
    for one in outputs:  # each batch normalised by its own statistics on the way to the second
        normal = functional.batch_norm(one, None, None, first[1].weight, first[1].bias, training=True)
        reached.append(second[0](functional.relu(functional.max_pool3d(normal, 2))).detach())
    adapt_batch_norm(network, iter(batches))
    for norm, values in ((first[1], outputs), (second[1], reached)):
        mean, variance = moments(torch.cat(values).numpy())
        np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(norm.running_var, variance, rtol=1e-4)
    assert changed(before, network) == {
        f"network.feature_extractor.conv_{at}.1.{what}" for at in (0, 1) for what in ("running_mean", "running_var")
    }
    assert [one.training for one in network.modules()] == modes
    assert all(one.track_running_stats for one in network.modules() if isinstance(one, nn.BatchNorm3d))


def test_batch_norms_of_nobody_are_refused_and_stay():
    network, _ = made("sfcn")
    before = state(network)
    with pytest.raises(AnalysisError, match="must be adapted to one image or more; none came; give training images"):
        adapt_batch_norm(network, [])
    with pytest.raises(RuntimeError, match="expected input"):
        adapt_batch_norm(network, [torch.zeros(1, 2, 32, 36, 28)])
    assert not changed(before, network)
    assert all(
        one.track_running_stats and one.training for one in network.modules() if isinstance(one, nn.BatchNorm3d)
    )
    assert not any(one._forward_pre_hooks for one in network.modules())


# --- activations ----------------------------------------------------------------------------------------------


def dense():
    """A DenseNet, whose layers take a list that grows behind them."""
    network, x = made("own")
    network.network = DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2)
    network.network.features.conv0 = nn.Conv2d(1, 8, 3, stride=2)
    network.path, network.width, network.embedded = "features.denseblock2", 16, nn.Linear(16, 32)
    return network, x


def with_dropout(network):
    """A dropout in a block, where the network has none."""
    if "feature_extractor" in dict(network.network.named_children()):
        network.network.feature_extractor[1].append(nn.Dropout(0.5))
    return network


def backward(network, x):
    """Gradients, statistics, and the bytes that a forward pass keeps, under one stream of draws."""
    held = {}

    def keep(values):
        held[values.data_ptr()] = values.numel() * values.element_size()
        return values

    def keep_input(_module, inputs):  # what a block is computed anew from
        for one in inputs:
            for values in one if isinstance(one, list) else [one]:
                keep(values)

    weights = {one.data_ptr() for one in network.parameters()}
    for one in network.modules():
        if "forward" in vars(one):
            one.register_forward_pre_hook(keep_input)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
            columns = network(x)
        columns.square().sum().backward()
        after = torch.rand(1)
    gradients = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    return columns, gradients, state(network), sum(size for at, size in held.items() if at not in weights), after


@pytest.mark.parametrize("name", ["sfcn", "transformer", "pictures, batch norm", "clip", "set", "trained", "dense"])
def test_activations_computed_anew_give_the_same_gradients_with_less_memory(name):
    network, x = dense() if name == "dense" else made(name, dropout=0.25)
    with_dropout(network)
    trainable(network, ALL)
    set_mode(network, ALL)
    lean = copy.deepcopy(network)
    checkpoint_activations(lean)
    checkpoint_activations(lean)  # once is enough
    columns, gradients, statistics, held, after = backward(network, x)
    lean_columns, lean_gradients, lean_statistics, lean_held, lean_after = backward(lean, x)
    assert torch.equal(columns, lean_columns)
    assert torch.equal(after, lean_after)
    assert gradients.keys() == lean_gradients.keys()
    for one, values in gradients.items():
        torch.testing.assert_close(lean_gradients[one], values, rtol=1e-5, atol=1e-6)
    for one, values in statistics.items():  # updated once
        assert torch.equal(lean_statistics[one], values), one
    assert lean_held < 0.6 * held, f"{lean_held / held:.2f}"


def test_activations_are_kept_as_usual_where_nothing_is_to_be_learned():
    network, x = made("sfcn")
    with torch.no_grad():
        wanted = network.eval()(x)
        checkpoint_activations(network)
        assert torch.equal(network(x), wanted)
    assert state(copy.deepcopy(network)).keys() == state(network).keys()
    trainable(network, OUTPUT)
    set_mode(network, OUTPUT)
    before = state(network)
    a_step(network, x)
    assert changed(before, network) == {"output.weight", "output.bias"}
