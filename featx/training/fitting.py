"""One network trained on some people, validated on others: what is asked of it, and the doing (torch, Lightning).

A fit has a folder of its own. What is finished in it stays: the last epoch (Lightning's checkpoint), the weights of
the best one, and, once the fit is done, its answer. A killed fit goes on from the last finished epoch, with the draws
that it would have had: its end is bit for bit that of an unbroken one on the same machine.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities import rank_zero_only
from safetensors.torch import load_file, save_file
from torch import Tensor

from featx.errors import TrainingError
from featx.networks.architectures.gupta import placed
from featx.networks.architectures.trained import Trained
from featx.networks.look import look, to_volumes
from featx.networks.missing import places_of
from featx.networks.sheet import PICTURES, SET, View
from featx.training.arms import ALL, OUTPUT
from featx.training.batches import Batches
from featx.training.cache import Cache
from featx.training.fit import ADAPT, Fit, Fitted, Machine, People
from featx.training.module import Learning, Training
from featx.training.schedules import NO_AUGMENTATION
from featx.training.trunk import adapt_batch_norm, checkpoint_activations

LAST, STILL, DONE = "last.ckpt", "still.float32", "done.json"
OnEpoch = Callable[[int, int, str], None]


@dataclass
class _Account:
    """What adds up over phases."""

    curves: list[Mapping[str, Any]] = field(default_factory=list)
    epochs: dict[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0
    waited_s: float = 0.0


def fit_network(
    network: Trained,
    view: View,
    fit: Fit,
    cache: Cache,
    folder: Path,
    *,
    machine: Machine,
    on_epoch: OnEpoch | None = None,
) -> Fitted:
    """Train a network in place, phase after phase; its weights are then those of the best epoch by validation.

    Parameters
    ----------
    network : Trained
        With the weights to start from, on the CPU.
    view : View
        Of what the network looks at.
    fit : Fit
    cache : Cache
        Holds all images of the fit.
    folder : Path
        Of this fit; what an earlier call finished there is taken up.
    machine : Machine
    on_epoch : callable, optional
        Called as (epochs done, epochs at most, a note) after each.

    Raises
    ------
    TrainingError
        diverged: the loss is no number any more; the best weights so far stay in `folder`. out-of-memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    account = _Account()
    most = sum(fit.recipe.schedules[phase].epochs for phase in fit.arm.phases)
    if fit.batch_norm == ADAPT and fit.arm.phases[0] == OUTPUT:
        _adapt(network, view, fit, cache, machine)
    if machine.checkpointing:
        checkpoint_activations(network)
    in_planes = network.sheet.takes in (PICTURES, SET)
    network.to(memory_format=torch.channels_last if in_planes else torch.channels_last_3d)  # twice as fast on a CPU
    if machine.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    before = 0
    for phase in fit.arm.phases:
        kept = folder / phase
        kept.mkdir(exist_ok=True)
        told = _told(kept)
        if told is None:
            count = _counted(on_epoch, before, most)
            told = _run_phase(network, view, fit, cache, kept, phase=phase, machine=machine, count=count)
        network.load_state_dict(load_file(best_path(kept, told["best_epoch"])))
        account.curves += told["curves"]
        account.epochs[phase] = told["best_epoch"]
        account.elapsed_s += told["elapsed_s"]
        account.waited_s += told["waited_s"]
        before += fit.recipe.schedules[phase].epochs
    network.eval()
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # whoever deletes the weights does it when all have read them
    peak = torch.cuda.max_memory_allocated() if machine.device.startswith("cuda") else 0
    waited = account.waited_s / max(account.elapsed_s, 1e-9)
    return Fitted(account.epochs, tuple(account.curves), account.elapsed_s, waited, peak)


def best_path(folder: Path, epoch: int) -> Path:
    """Where the weights of the best epoch of a phase are: under its number, so that they are no other one's."""
    return folder / f"best-{epoch:04d}.safetensors"


def _counted(on_epoch: OnEpoch | None, before: int, most: int) -> Callable[[int, str], None]:
    def count(done: int, note: str) -> None:
        if on_epoch is not None:
            on_epoch(before + done, most, note)

    return count


def _told(folder: Path) -> dict[str, Any] | None:
    """What a finished phase left; None where it is not finished."""
    path = folder / DONE
    if not path.is_file():
        return None
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told


# --- one phase ------------------------------------------------------------------------------------------------


def _run_phase(
    network: Trained,
    view: View,
    fit: Fit,
    cache: Cache,
    folder: Path,
    *,
    phase: str,
    machine: Machine,
    count: Callable[[int, str], None],
) -> dict[str, Any]:
    schedule = fit.recipe.schedules[phase]
    learning = Learning(
        outputs=fit.outputs,
        loss_weights=fit.loss_weights,
        class_weights=fit.class_weights,
        schedule=schedule,
        augmentation=fit.recipe.augmentation if phase == ALL else NO_AUGMENTATION,
        phase=phase,
        seed=fit.seed,
        n_parts=machine.accumulate,
    )
    with _its_own_draws(fit.seed, machine.device), _quiet():
        still = _still(network, view, fit, cache, folder=folder, machine=machine) if phase == OUTPUT else None
        loaders = functools.partial(_loaders, fit, cache, machine, voxels=still is None)
        module = Training(network, view, learning, loaders, still=still)
        keeping = _Keeping(folder, count)
        callbacks: list[pl.Callback] = [keeping]
        if fit.recipe.patience:
            callbacks.append(EarlyStopping("validation_loss", patience=fit.recipe.patience, check_finite=False))
        trainer = _trainer(machine, schedule.epochs, callbacks, folder)
        start = time.monotonic()
        _fit(trainer, module, folder / LAST)
    told = {
        "best_epoch": module.best_epoch,
        "curves": module.curves,
        "elapsed_s": module.elapsed_s + time.monotonic() - start,
        "waited_s": module.waited_s,
    }
    if trainer.is_global_zero:
        write_json(folder / DONE, told)
        for left in (LAST, STILL):
            (folder / left).unlink(missing_ok=True)
    return told


def _fit(trainer: pl.Trainer, module: Training, last: Path) -> None:
    path = str(last) if last.is_file() else None
    try:
        trainer.fit(module, ckpt_path=path, weights_only=True)
    except SystemExit as left:  # what Lightning makes of an interrupt
        if trainer.interrupted:
            raise KeyboardInterrupt from left
        raise


def _trainer(machine: Machine, epochs: int, callbacks: list[pl.Callback], folder: Path) -> pl.Trainer:
    """Lightning's trainer, with all that it does on its own account switched off."""
    on_gpu = machine.device.startswith("cuda")
    index = machine.device.partition(":")[2]
    devices: int | list[int] = [int(index)] if index else machine.n_devices
    logger: Any = False
    if machine.tensorboard is not None:
        from pytorch_lightning.loggers import TensorBoardLogger

        logger = TensorBoardLogger(str(machine.tensorboard), name=folder.parent.name, version=folder.name)
    return pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=devices,
        num_nodes=machine.n_nodes,
        strategy=machine.strategy,
        precision=machine.precision,  # type: ignore[arg-type]
        max_epochs=epochs,
        callbacks=callbacks,
        logger=logger,
        default_root_dir=str(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=1,
    )


class _Keeping(pl.callbacks.Checkpoint):
    """After each epoch: the best weights, then a checkpoint to go on from; stops a fit whose loss is no number.

    Lightning calls a Checkpoint last, after the module's own end of the epoch.
    """

    def __init__(self, folder: Path, count: Callable[[int, str], None]) -> None:
        self.folder, self.count = folder, count

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what is finished."""
        module: Any = pl_module
        row = module.curves[-1]
        if not np.isfinite([row["train_loss"], row["validation_loss"]]).all():
            raise _diverged(module, self.folder)
        best = best_path(self.folder, module.best_epoch)
        if trainer.is_global_zero and module.best_epoch == module.current_epoch:
            write_weights(module.network, best)
        beside = self.folder / f".{LAST}.tmp"
        trainer.save_checkpoint(beside)
        if trainer.is_global_zero:
            beside.replace(self.folder / LAST)
            for other in set(self.folder.glob(best_path(Path(), 0).name.replace("0000", "*"))) - {best}:
                other.unlink()
        least = module.curves[module.best_epoch]["validation_loss"]
        self.count(module.current_epoch + 1, f", loss {row['validation_loss']:.3g} (best {least:.3g})")


# --- what is put in --------------------------------------------------------------------------------------------


def _loaders(
    fit: Fit,
    cache: Cache,
    machine: Machine,
    epoch: Callable[[], int],
    process: tuple[int, int],
    *,
    voxels: bool,
) -> tuple[Batches, Batches]:
    """Of one process (which, of how many), the batches that it trains on, and those that it validates on."""
    shared: dict[str, Any] = {"rank": process[0], "world_size": process[1], "voxels": voxels}
    train = Batches(
        cache,
        fit.train.image_ids,
        fit.train.labels,
        batch_size=fit.recipe.batch_size,
        seed=fit.seed,
        epoch=epoch,
        shuffle=True,
        weights=fit.row_weights,
        pin=voxels and machine.device.startswith("cuda"),
        **shared,
    )
    return train, _in_order(cache, fit.validation, fit.recipe.batch_size, **shared)


def _in_order(cache: Cache, people: People, batch_size: int, **shared: Any) -> Batches:
    return Batches(
        cache,
        people.image_ids,
        people.labels,
        batch_size=batch_size,
        seed=0,
        epoch=lambda: 0,
        shuffle=False,
        **shared,
    )


@torch.no_grad()
def columns_of(
    network: Trained, view: View, image_ids: Sequence[str], cache: Cache, *, batch_size: int, device: str
) -> Tensor:
    """Outputs (n, sum of widths) of images, on the CPU, of a network in eval mode that is put on the device."""
    network.to(device).eval()
    people = People(tuple(image_ids), np.empty((len(image_ids), 0)))
    with placed(network, places_of(view)):
        found = [
            network.answer(network.vector(look(to_volumes(batch.packed, device), view.steps))).cpu()
            for batch in _in_order(cache, people, batch_size)
        ]
    return torch.cat(found)


@torch.no_grad()
def _still(
    network: Trained, view: View, fit: Fit, cache: Cache, *, folder: Path, machine: Machine
) -> dict[str, Tensor]:
    """What the part of a network that stands still gives, by image: found once, for it is the same in every epoch.

    It lies in a file that is mapped (one for each process), so that memory does not grow with the images.
    """
    device = own_device(machine)
    network.to(device).eval()
    ids = list(dict.fromkeys((*fit.train.image_ids, *fit.validation.image_ids)))
    everybody = People(tuple(ids), np.empty((len(ids), 0)))
    mapped, at = None, 0
    for batch in _in_order(cache, everybody, fit.recipe.batch_size):
        rows = network.still(look(to_volumes(batch.packed, device), view.steps)).float().cpu().numpy()
        if mapped is None:
            path = folder / (STILL if _rank() == 0 else f"{STILL}.{_rank()}")
            mapped = np.memmap(path, np.float32, "w+", shape=(len(ids), *rows.shape[1:]))
        mapped[at : at + len(rows)] = rows
        at += len(rows)
    return {} if mapped is None else dict(zip(ids, torch.from_numpy(mapped), strict=True))


def is_first() -> bool:
    """Whether this process is the first of those that train one network: the one that writes."""
    return _rank() == 0


def _rank() -> int:
    """Which of several processes that train one network this is."""
    return int(getattr(rank_zero_only, "rank", None) or 0)


def own_device(machine: Machine) -> str:
    """The GPU that is this process's own."""
    return f"cuda:{_rank() % machine.n_devices}" if machine.device == "cuda" else machine.device


def _adapt(network: Trained, view: View, fit: Fit, cache: Cache, machine: Machine) -> None:
    """Batch norm statistics of the training images, which needs no label."""
    device = own_device(machine)
    network.to(device)
    batches = _in_order(cache, fit.train, fit.recipe.batch_size)
    adapt_batch_norm(network, (look(to_volumes(batch.packed, device), view.steps) for batch in batches))


# --- around Lightning ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _its_own_draws(seed: int, device: str) -> Iterator[None]:
    """torch's global generators, seeded, and given back as they were."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning tells what featx tells itself, and warns of what is meant."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|torch)\b")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def write_weights(network: Trained, path: Path) -> None:
    """Tensors of a network, beside their place, then renamed."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        save_file(
            {name: one.detach().cpu().contiguous().clone() for name, one in network.state_dict().items()}, beside
        )
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """JSON, beside its place, then renamed."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        beside.write_text(json.dumps(value), encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


# --- sentences -------------------------------------------------------------------------------------------------


def _diverged(module: Any, folder: Path) -> TrainingError:
    row, rate = module.curves[-1], module.learning.schedule.learning_rate
    kept = f"the best weights so far stay in {best_path(folder, module.best_epoch)}"
    if module.best_epoch < 0:
        kept = "no epoch was good, so no weights are kept"
    return TrainingError(
        "diverged",
        f"a loss must be a number; after epoch {row['epoch']} that of training is {row['train_loss']:g} and that of "
        f"validation {row['validation_loss']:g}; {kept}; lower the learning rate ({rate:g} now), or train in 32-true",
    )


def too_large(fit: Fit, machine: Machine, error: Exception) -> TrainingError:
    """The sentence of a fit that does not fit into memory, with numbers."""
    batch = math.ceil(fit.recipe.batch_size / machine.accumulate)
    there = torch.cuda.get_device_properties(machine.device).total_memory if torch.cuda.is_available() else 0
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    smaller = (
        f"give --accumulate {2 * machine.accumulate}, which makes the same steps of {math.ceil(batch / 2)} at a time"
        if batch > 1
        else "one at a time is the least"
    )
    more = "" if machine.checkpointing else ", or --checkpointing, which keeps fewer activations"
    return TrainingError(
        "out-of-memory",
        f"volumes must fit into the memory of {machine.device}; {batch} at a time did not ({peak / 2**30:.1f} of "
        f"{there / 2**30:.1f} GiB were in use; {str(error).splitlines()[0][:120]}); {smaller}{more}",
    )
