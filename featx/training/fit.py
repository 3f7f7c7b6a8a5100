"""One fit as a value: who trains and who validates, what is learned and how, where it runs, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.networks.output import Output
from featx.training.arms import Arm
from featx.training.schedules import TrainingRecipe

EVAL, ADAPT = "eval", "adapt"  # batch norm of a network that stands still: as pretrained, or of these people


@dataclass(frozen=True)
class People:
    """Images and what is known of them.

    Attributes
    ----------
    image_ids : tuple of str
    labels : ndarray of shape (n, n_outputs), float64
        Numbers in the phenotype's unit, codes of classes; NaN where missing.
    """

    image_ids: tuple[str, ...]
    labels: NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """One network to be trained.

    Attributes
    ----------
    arm : Arm
    recipe : TrainingRecipe
    outputs : tuple of Output
        Made from the training people alone.
    train, validation : People
        Of validation people, labels choose the epoch that is kept, and nothing else.
    seed : int
        Of the order of batches, of augmentation, dropout, and the new layers' first weights.
    loss_weights : tuple of float
        Of each output in the loss.
    class_weights : tuple of (tuple of float or None)
        Of each output's classes in the loss.
    row_weights : ndarray of shape (n_train,), or None
        How likely each training image is drawn; None to see each once an epoch.
    batch_norm : str
        EVAL or ADAPT.
    """

    arm: Arm
    recipe: TrainingRecipe
    outputs: tuple[Output, ...]
    train: People
    validation: People
    seed: int
    loss_weights: tuple[float, ...]
    class_weights: tuple[tuple[float, ...] | None, ...]
    row_weights: NDArray[np.float64] | None = None
    batch_norm: str = EVAL


@dataclass(frozen=True)
class Machine:
    """Where and how a fit runs: nothing that decides its result, but for precision.

    Attributes
    ----------
    device : str
        cpu, cuda, or cuda:INDEX.
    precision : str
        As Lightning names it: 32-true, bf16-mixed, 16-mixed.
    accumulate : int
        Each batch is run in so many parts, whose gradients are added up: the same step, but for batch norm, which
        sees the parts.
    checkpointing : bool
        Compute activations anew in the backward pass instead of keeping them.
    n_devices, n_nodes : int
    strategy : str
        Lightning's: auto, ddp, fsdp ...
    tensorboard : Path or None
        Folder of TensorBoard logs.
    """

    device: str = "cpu"
    precision: str = "32-true"
    accumulate: int = 1
    checkpointing: bool = False
    n_devices: int = 1
    n_nodes: int = 1
    strategy: str = "auto"
    tensorboard: Path | None = None


@dataclass(frozen=True)
class Fitted:
    """What came of a fit.

    Attributes
    ----------
    epochs : mapping of str to int
        By phase, the one whose weights were kept, from 0.
    curves : tuple of mapping
        A row per phase and epoch: phase, epoch, train_loss, validation_loss, learning_rate.
    elapsed_s : float
        Over all calls that worked on it.
    waited : float
        Share of the time that was spent waiting for the loader.
    peak_bytes : int
        Most memory of the GPU; 0 on a CPU.
    """

    epochs: Mapping[str, int]
    curves: tuple[Mapping[str, Any], ...]
    elapsed_s: float
    waited: float
    peak_bytes: int


def machine_facts(machine: Machine) -> dict[str, Any]:
    """What of a machine decides the result of a fit, beyond rounding."""
    return {
        "precision": machine.precision,
        "parts": machine.accumulate,
        "processes": [machine.n_devices, machine.n_nodes],
    }
