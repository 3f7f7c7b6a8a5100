"""One fit: it learns, it goes on where it was, it is a plain loop of torch, and it fails with a sentence."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from featx.errors import TrainingError
from featx.networks.look import look, to_volumes
from featx.training.arms import ALL, OUTPUT, get_arm
from featx.training.batches import order_rows
from featx.training.cache import read_packed
from featx.training.fit import ADAPT, Fit, Machine, People
from featx.training.fitting import LAST, best_path, columns_of, fit_network, too_large
from featx.training.module import Training
from featx.training.outputs import make_output
from featx.training.run import make_network
from featx.training.schedules import Augmentation, Schedule, TrainingRecipe

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FAST = Schedule("adam", 0.01, 0.0, 0.0, epochs=4, step_epochs=0)
RECIPE = TrainingRecipe("own", {ALL: FAST, OUTPUT: FAST}, batch_size=4, numbers="regression", source="these tests")
VALIDATES = slice(0, 6)
TRAINS = slice(6, 30)


@pytest.fixture
def fit(people):
    return make_fit(people)


def make_fit(people, arm="scratch", recipe=RECIPE, **facts):
    ids, ages = people["participant_id"].to_numpy(), people["age"].to_numpy()[:, None]
    output = make_output("age", "continuous", (), ages[TRAINS, 0], numbers="regression")
    return Fit(
        arm=get_arm(arm),
        recipe=recipe,
        outputs=(output,),
        train=People(tuple(ids[TRAINS]), ages[TRAINS]),
        validation=People(tuple(ids[VALIDATES]), ages[VALIDATES]),
        seed=3,
        loss_weights=(1.0,),
        class_weights=(None,),
        **facts,
    )


def trained(fit, source, cache, folder, machine=None, on_epoch=None):
    network = make_network(source, fit)
    fitted = fit_network(network, source.view, fit, cache, folder, machine=machine or Machine(), on_epoch=on_epoch)
    return network, fitted


def answers(network, source, cache, people):
    ids = people["participant_id"].tolist()
    return columns_of(network, source.view, ids, cache, batch_size=5, device="cpu").numpy()


def test_a_fit_learns_and_its_weights_are_those_of_the_best_epoch(fit, source, cache, people, tmp_path):
    longer = replace(fit, recipe=replace(RECIPE, schedules={**RECIPE.schedules, ALL: replace(FAST, epochs=16)}))
    network, fitted = trained(longer, source, cache, tmp_path)
    losses = [row["validation_loss"] for row in fitted.curves]
    assert [row["epoch"] for row in fitted.curves] == list(range(16))
    assert fitted.epochs == {ALL: int(np.argmin(losses))}
    assert min(losses) < 0.35  # of a variance of 1
    kept = load_file(best_path(tmp_path / ALL, fitted.epochs[ALL]))
    for name, values in network.state_dict().items():
        assert torch.equal(values.contiguous(), kept[name])
    predicted = answers(network, source, cache, people)[1:6, 0]  # the first has no age
    mean, std = longer.outputs[0].values
    own = np.mean((predicted - (people["age"].to_numpy()[1:6] - mean) / std) ** 2)
    assert own == pytest.approx(min(losses), rel=1e-4)


def test_the_weights_are_those_of_a_plain_loop(people, source, cache, tmp_path):
    gentle = Schedule("sgd", 0.02, 0.9, 1e-3, epochs=4, step_epochs=2, step_factor=0.5)
    fit = make_fit(people, recipe=replace(RECIPE, schedules={ALL: gentle, OUTPUT: gentle}))
    network, fitted = trained(fit, source, cache, tmp_path)
    plain = make_network(source, fit).to(memory_format=torch.channels_last_3d)
    own = [*plain.network.feature_extractor.parameters(), *plain.output.parameters()]
    optimiser = torch.optim.SGD(own, 0.02, 0.9, weight_decay=1e-3)
    mean, std = fit.outputs[0].values
    ids, ages = fit.train.image_ids, (fit.train.labels[:, 0] - mean) / std
    best = (np.inf, None)
    for epoch in range(4):
        plain.train()
        optimiser.param_groups[0]["lr"] = 0.02 if epoch < 2 else 0.01
        order = order_rows(len(ids), fit.seed, epoch, shuffle=True, weights=None)
        for rows in np.array_split(order, 6):
            volumes = to_volumes([read_packed(cache, ids[row]) for row in rows], "cpu")
            wanted = torch.tensor(ages[rows], dtype=torch.float32)
            loss = ((plain.answer(plain.vector(look(volumes, source.view.steps)))[:, 0] - wanted) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        own = (people["age"].to_numpy()[1:6] - mean) / std
        error = np.mean((answers(plain, source, cache, people)[1:6, 0] - own) ** 2)
        assert error == pytest.approx(fitted.curves[epoch]["validation_loss"], rel=1e-3)
        if error < best[0]:
            best = (error, answers(plain, source, cache, people))
    np.testing.assert_allclose(answers(network, source, cache, people), best[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("at", [1, 3, 4])
def test_what_was_interrupted_goes_on_and_ends_as_an_unbroken_fit(at, people, source, cache, tmp_path):
    """With draws of every kind: order, augmentation, dropout."""
    recipe = replace(RECIPE, augmentation=Augmentation(shift_voxels=2, mirror=True, noise=0.1))
    fit = make_fit(people, recipe=replace(recipe, dropout=0.3))
    whole, told = trained(fit, source, cache, tmp_path / "whole")

    def stop(done, _most, _note):
        if done == at:
            raise KeyboardInterrupt

    before = torch.random.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        trained(fit, source, cache, tmp_path / "broken", on_epoch=stop)
    assert (tmp_path / "broken" / ALL / LAST).is_file()
    seen = []
    again, retold = trained(
        fit, source, cache, tmp_path / "broken", on_epoch=lambda done, _most, _note: seen.append(done)
    )
    assert seen == list(range(at + 1, 5))
    assert retold.curves == told.curves
    assert retold.epochs == told.epochs
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_fit_that_had_stopped_early_does_not_go_on(people, source, cache, tmp_path):
    """Killed between its last epoch and the note that it is done."""
    hopeless = replace(FAST, learning_rate=1e-12, epochs=9)
    fit = make_fit(people, recipe=replace(RECIPE, schedules={**RECIPE.schedules, ALL: hopeless}, patience=2))
    _, told = trained(fit, source, cache, tmp_path / "whole")
    assert 3 <= len(told.curves) < 9

    def stop(done, _most, _note):
        if done == len(told.curves):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(fit, source, cache, tmp_path / "broken", on_epoch=stop)
    _, retold = trained(fit, source, cache, tmp_path / "broken")
    assert retold.curves == told.curves


def test_two_stages_are_one_after_the_other_and_the_first_moves_the_last_layer_alone(people, source, cache, tmp_path):
    fit = make_fit(people, "two-stage")
    start = make_network(source, fit)
    _, fitted = trained(fit, source, cache, tmp_path)
    assert [row["phase"] for row in fitted.curves] == [OUTPUT] * 4 + [ALL] * 4
    first, second = (load_file(best_path(tmp_path / phase, fitted.epochs[phase])) for phase in (OUTPUT, ALL))
    for name, values in start.state_dict().items():
        if name.startswith("network."):
            assert torch.equal(values, first[name]), name
    assert not torch.equal(start.output.weight, first["output.weight"])
    assert not torch.equal(
        first["network.feature_extractor.conv_0.0.weight"], second["network.feature_extractor.conv_0.0.weight"]
    )


def test_batch_norm_is_adapted_to_the_training_images_and_to_no_others(people, source, cache, tmp_path):
    fit = make_fit(people, "head-only", batch_norm=ADAPT)
    _, fitted = trained(fit, source, cache, tmp_path / "adapted")
    kept = load_file(best_path(tmp_path / "adapted" / OUTPUT, fitted.epochs[OUTPUT]))
    network = make_network(source, fit).eval()
    volumes = torch.cat([to_volumes([read_packed(cache, one)], "cpu") for one in fit.train.image_ids])
    inputs = network.network.feature_extractor.conv_0[0](look(volumes, source.view.steps))
    mean = inputs.double().mean(dim=(0, 2, 3, 4))
    np.testing.assert_allclose(
        kept["network.feature_extractor.conv_0.1.running_mean"].numpy(), mean.detach().numpy(), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("n_parts", [2, 3, 9])
def test_accumulated_parts_make_the_same_steps(n_parts, people, cache, source, tmp_path):
    """Also of batches that do not divide evenly, with missing labels; no batch norm is in the last layer."""
    gaps = make_fit(people, "head-only")
    labels = gaps.train.labels.copy()
    labels[[1, 4, 5, 6, 11]] = np.nan
    gaps = replace(gaps, train=replace(gaps.train, labels=labels), recipe=replace(gaps.recipe, batch_size=5))
    whole, _ = trained(gaps, source, cache, tmp_path / "whole")
    parts, _ = trained(gaps, source, cache, tmp_path / "parts", machine=Machine(accumulate=n_parts))
    np.testing.assert_allclose(whole.output.weight.detach(), parts.output.weight.detach(), rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_no_number_is_one_sentence_and_keeps_the_best_weights(
    people, source, cache, tmp_path, monkeypatch
):
    fit = make_fit(people)
    step = Training.training_step

    def breaks(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        if self.current_epoch == 2:
            self._sums["train"] = (self._sums["train"][0] * float("nan"), self._sums["train"][1])
        return loss

    monkeypatch.setattr(Training, "training_step", breaks)
    with pytest.raises(
        TrainingError, match=r"after epoch 2 that of training is nan and .* stay in .*best-000[01].*lower the"
    ) as told:
        trained(fit, source, cache, tmp_path)
    assert told.value.code == "diverged"
    (kept,) = (tmp_path / ALL).glob("best-*.safetensors")
    assert str(kept) in str(told.value)
    assert "network.feature_extractor.conv_0.0.weight" in load_file(kept)


def test_a_rate_that_is_far_too_large_diverges_at_once(people, source, cache, tmp_path):
    wild = replace(FAST, optimiser="sgd", learning_rate=1e30, momentum=0.9)
    fit = make_fit(people, recipe=replace(RECIPE, schedules={ALL: wild, OUTPUT: wild}))
    with pytest.raises(TrainingError, match=r"no epoch was good, so no weights are kept; lower .* \(1e\+30 now\)"):
        trained(fit, source, cache, tmp_path)


def test_out_of_memory_is_advice_with_numbers(people):
    fit, full = make_fit(people), MemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    told = too_large(fit, Machine(), full)
    assert told.code == "out-of-memory"
    assert re.search(
        r"4 at a time did not .*20.00 GiB.*--accumulate 2, .* of 2 at a time, or --checkpointing", str(told)
    )
    told = too_large(fit, Machine(accumulate=4, checkpointing=True), full)
    assert str(told).endswith("one at a time is the least")


def test_checkpointed_activations_change_no_weight(fit, source, cache, tmp_path):
    whole, _ = trained(fit, source, cache, tmp_path / "whole")
    again, _ = trained(fit, source, cache, tmp_path / "again", machine=Machine(checkpointing=True))
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_logs_for_tensorboard_are_written_where_they_are_wanted(fit, source, cache, tmp_path):
    trained(fit, source, cache, tmp_path / "fit", machine=Machine(tensorboard=tmp_path / "logs"))
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))


def test_what_is_done_is_not_done_again(fit, source, cache, tmp_path):
    _, told = trained(fit, source, cache, tmp_path)
    seen = []
    network, retold = trained(fit, source, cache, tmp_path, on_epoch=lambda *_: seen.append(1))
    assert (seen, retold.curves) == ([], told.curves)
    assert json.loads((tmp_path / ALL / "done.json").read_text())["best_epoch"] == told.epochs[ALL]
    assert not network.training
