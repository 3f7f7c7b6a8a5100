"""The Lightning module: one phase of training a network, from packed voxels to a loss (torch, Lightning).

Every draw (order, augmentation, dropout) depends on the seed, the epoch and the batch alone, so that a fit that was
killed and goes on ends as an unbroken one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from featx.networks.architectures.trained import Trained
from featx.networks.look import look, to_volumes
from featx.networks.output import Output
from featx.networks.sheet import View
from featx.training.augment import augment
from featx.training.batches import Batch, Batches
from featx.training.losses import n_present, sums
from featx.training.schedules import NO_AUGMENTATION, SGD, Augmentation, Schedule
from featx.training.trunk import set_mode, trainable


@dataclass(frozen=True)
class Learning:
    """What a phase learns, and how.

    Attributes
    ----------
    outputs : tuple of Output
    loss_weights : tuple of float
    class_weights : tuple of (tuple of float or None)
    schedule : Schedule
    augmentation : Augmentation
    phase : str
        A word of `featx.training.arms`.
    seed : int
    n_parts : int
        A batch is run in so many parts, whose gradients add up to those of the batch.
    """

    outputs: tuple[Output, ...]
    loss_weights: tuple[float, ...]
    class_weights: tuple[tuple[float, ...] | None, ...]
    schedule: Schedule
    augmentation: Augmentation
    phase: str
    seed: int
    n_parts: int = 1


def parts_of(batch: Batch, n_parts: int) -> Iterator[Batch]:
    """A batch in at most so many parts of nearly equal size."""
    for rows in np.array_split(np.arange(len(batch.labels)), min(n_parts, len(batch.labels))):
        which = slice(int(rows[0]), int(rows[-1]) + 1)
        yield Batch(batch.image_ids[which], batch.packed[which], batch.labels[which])


class Training(pl.LightningModule):
    """A network in one phase of its training.

    Parameters
    ----------
    network : Trained
    view : View
    learning : Learning
    loaders : callable
        From a function that tells the epoch, the process and the number of processes to the batches that train and
        those that validate.
    still : mapping of str to Tensor, optional
        By image, what the part of the network that stands still gives: then only the rest is run.

    Attributes
    ----------
    curves : list of dict
        A row per epoch: phase, epoch, train_loss, validation_loss, learning_rate.
    best_epoch : int
        The one with the least validation loss so far; -1 before the first.
    elapsed_s : float
        Of earlier calls that worked on this phase.
    waited_s : float
        Of all calls, spent waiting for batches.
    """

    def __init__(
        self,
        network: Trained,
        view: View,
        learning: Learning,
        loaders: Callable[[Callable[[], int], tuple[int, int]], tuple[Batches, Batches]],
        *,
        still: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.view, self.learning, self.still = view, learning, still
        self._loaders = loaders
        self.curves: list[dict[str, Any]] = []
        self.best_epoch, self.elapsed_s, self.waited_s = -1, 0.0, 0.0
        self._started = time.monotonic()
        self._sums: dict[str, tuple[Any, Any]] = {}
        self.automatic_optimization = False  # Lightning's way to add up gradients divides them otherwise
        self._loss_weights = torch.tensor(learning.loss_weights)
        self._class_weights = [None if one is None else torch.tensor(one) for one in learning.class_weights]
        trainable(network, learning.phase)

    def columns(self, batch: Batch, when: tuple[int, ...] | None) -> Tensor:
        """Outputs (N, sum of widths) of a batch; augmented where it is said when (epoch, batch, part)."""
        if self.still is not None:
            rows = torch.stack([self.still[one] for one in batch.image_ids]).to(self.device)
            return self.network.answer(self.network.settle(rows))
        volumes = to_volumes(batch.packed, str(self.device))
        if when is not None and self.learning.augmentation != NO_AUGMENTATION:
            volumes = augment(volumes, self.learning.augmentation, self._generator(*when))
        return self.network.answer(self.network.vector(look(volumes, self.view.steps)))

    def _generator(self, *when: int) -> torch.Generator:
        seed = np.random.SeedSequence([self.learning.seed, *when, self.global_rank]).generate_state(1)[0]
        return torch.Generator().manual_seed(int(seed))

    # --- what Lightning calls ---------------------------------------------------------------------------------

    def train_dataloader(self) -> Batches:
        """Batches that this process trains on."""
        self._batches = self._loaders(lambda: int(self.current_epoch), (self.global_rank, self.trainer.world_size))
        return self._batches[0]

    def val_dataloader(self) -> Batches:
        """Batches that it validates on."""
        return self._loaders(lambda: 0, (self.global_rank, self.trainer.world_size))[1]

    def on_train_epoch_start(self) -> None:
        """Draws of this epoch, whatever was drawn before; what stands still is in eval mode."""
        seed = np.random.SeedSequence([self.learning.seed, self.current_epoch]).generate_state(1)[0]
        torch.manual_seed(int(seed))  # `featx.training.fitting` gives the global generator back as it was
        set_mode(self.network, self.learning.phase)
        self._sums = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step of the optimiser, on the weighted mean loss of a batch over all processes; this one's share."""
        optimiser: Any = self.optimizers()
        optimiser.zero_grad()
        whole = torch.zeros((), device=self.device)
        n = self._over_processes(n_present(batch.labels).to(self.device)).clamp_min(1)
        for at, part in enumerate(parts_of(batch, self.learning.n_parts)):
            columns = self.columns(part, (self.current_epoch, batch_idx, at))
            total, _ = self._sum("train", columns, part.labels.to(self.device), self._class_weights)
            # gradients of several processes are averaged, not added up
            loss = self.trainer.world_size * (self._loss_weights.to(total) * total / n).sum()
            self.manual_backward(loss)
            whole += loss.detach()
        optimiser.step()
        return whole

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds up a batch's losses."""
        del batch_idx
        unweighted: Sequence[Tensor | None] = [None] * len(self._class_weights)
        self._sum("validation", self.columns(batch, None), batch.labels.to(self.device), unweighted)

    def _sum(
        self, which: str, columns: Tensor, labels: Tensor, class_weights: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """A batch's losses by output and how many labels they are of; both are added to those of the epoch."""
        total, n = sums(self.learning.outputs, columns, labels, class_weights)
        before = self._sums.get(which, (0, 0))
        self._sums[which] = (before[0] + total.detach(), before[1] + n)
        return total, n

    def on_validation_epoch_end(self) -> None:
        """The validation loss of the whole epoch, over all batches and processes, for early stopping."""
        self.log("validation_loss", self._mean("validation"), batch_size=1)

    def _mean(self, which: str) -> Tensor:
        total, weight = (self._over_processes(one) for one in self._sums[which])
        return (self._loss_weights.to(total) * total / weight.clamp_min(1)).sum()

    def _over_processes(self, values: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(values, reduce_op="sum")

    def on_train_epoch_end(self) -> None:
        """A row of the curves; the best epoch is known."""
        row: dict[str, Any] = {
            "phase": self.learning.phase,
            "epoch": self.current_epoch,
            "train_loss": float(self._mean("train")),
            "validation_loss": float(self._mean("validation")),
            "learning_rate": float(self.trainer.optimizers[0].param_groups[0]["lr"]),
        }
        self.log("train_loss", row["train_loss"], batch_size=1)
        rates: Any = self.lr_schedulers()
        if rates is not None:
            rates.step()
        if row["validation_loss"] < min((one["validation_loss"] for one in self.curves), default=float("inf")):
            self.best_epoch = self.current_epoch
        self.curves.append(row)
        self.waited_s += self._batches[0].waited_s

    def configure_optimizers(self) -> Any:
        """The schedule's optimiser, over what trains in this phase."""
        schedule = self.learning.schedule
        own = [one for one in self.network.parameters() if one.requires_grad]
        if schedule.optimiser == SGD:
            optimiser: torch.optim.Optimizer = torch.optim.SGD(
                own, schedule.learning_rate, schedule.momentum, weight_decay=schedule.weight_decay
            )
        else:
            make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[schedule.optimiser]
            optimiser = make(own, schedule.learning_rate, weight_decay=schedule.weight_decay)
        if not schedule.step_epochs:
            return optimiser
        steps = torch.optim.lr_scheduler.StepLR(optimiser, schedule.step_epochs, schedule.step_factor)
        return {"optimizer": optimiser, "lr_scheduler": steps}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Nothing: voxels become volumes on the device in `columns`."""
        del device, dataloader_idx
        return batch

    # --- what a checkpoint holds beside weights and optimiser ---------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Curves, the best epoch, the time that was spent, and whether that was the last epoch."""
        elapsed_s = self.elapsed_s + time.monotonic() - self._started
        checkpoint["featx"] = {
            "curves": self.curves,
            "best_epoch": self.best_epoch,
            "elapsed_s": elapsed_s,
            "waited_s": self.waited_s,
            "stopped": bool(self.trainer.should_stop),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The same, back."""
        own = checkpoint["featx"]
        self.curves, self.best_epoch = list(own["curves"]), own["best_epoch"]
        self.elapsed_s, self.waited_s = own["elapsed_s"], own["waited_s"]
        self.trainer.should_stop = own["stopped"]
