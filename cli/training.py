"""Options that the verbs which train share, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx_cli.added import resolved
from featx_cli.console import cache_dir, progress

if TYPE_CHECKING:
    from featx.extraction.plan import Request
    from featx.images.image import Image
    from featx.training.arms import Arm
    from featx.training.cache import Filled
    from featx.training.fit import Machine
    from featx.training.schedules import TrainingRecipe
    from featx.training.source import Source

TRAINED, LEARNED, RUN = "The network", "How it learns", "Where it runs"
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
_TRAINING_LIBRARIES = ("torch", "torchvision", "pytorch_lightning")

Tap = Annotated[
    str,
    typer.Option(
        help="Where the network is read: a tap of its sheet (`featx networks show NAME`); ':cls' behind it for the "
        "class token. Without it: features, else the last one.",
        rich_help_panel=TRAINED,
    ),
]
Axis = Annotated[
    str,
    typer.Option(
        help="For networks on slices: sagittal, coronal or axial. Without it: the network's first.",
        rich_help_panel=TRAINED,
    ),
]
Slices = Annotated[
    int | None,
    typer.Option(min=1, help="Slices (frames), instead of the network's number.", rich_help_panel=TRAINED),
]
Size = Annotated[
    str,
    typer.Option(
        help="Edge of the slices in pixels, instead of the network's; 'native' for none.", rich_help_panel=TRAINED
    ),
]
Channels = Annotated[
    str,
    typer.Option(help="replicate (a slice to red, green and blue) or neighbours (2.5D).", rich_help_panel=TRAINED),
]
Aggregation = Annotated[
    str,
    typer.Option(
        help="How slices that go through a network one by one become one row, which is trained as well: mean (the "
        "default), max or attention.",
        rich_help_panel=TRAINED,
    ),
]
Positions = Annotated[
    bool,
    typer.Option(
        "--positions", help="Learn a vector per slice position, added to that slice's row.", rich_help_panel=TRAINED
    ),
]
NetworkRecipe = Annotated[
    Path | None,
    typer.Option(
        help="TOML file for a network of your own, --network python:package.module:factory.", rich_help_panel=TRAINED
    ),
]
Recipe = Annotated[
    str,
    typer.Option(
        help="Numbers of a published work: sfcn-scratch, gupta, holderrieth-head, holderrieth-two-stage, "
        "holderrieth-scratch-sex, fine-tune. Without it: that of the network's family.",
        rich_help_panel=LEARNED,
    ),
]
Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="NAME=VALUE, another number than the recipe's: numbers=regression (or soft-bins), all.weight_decay=0, "
        "output.epochs=25, optimiser=adam, augmentation.mirror=true, augmentation.rotate_deg=5. May be repeated.",
        rich_help_panel=LEARNED,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(min=1, help="At most so many (--set epochs=), in every phase.", rich_help_panel=LEARNED),
]
LearningRate = Annotated[
    float | None, typer.Option(help="Of every phase (--set learning_rate=).", rich_help_panel=LEARNED)
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Images of one step.", rich_help_panel=LEARNED)]
Patience = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Epochs without a better validation loss after which a phase ends; 0 for never.",
        rich_help_panel=LEARNED,
    ),
]
Dropout = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.99,
        help="Share of features left out before the last layer, in training (--set dropout=).",
        rich_help_panel=LEARNED,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=RUN)]
Precision = Annotated[
    str,
    typer.Option(
        help="32-true, bf16-mixed or 16-mixed; auto is bf16-mixed on a GPU that has it, else 32-true.",
        rich_help_panel=RUN,
    ),
]
Accumulate = Annotated[
    int,
    typer.Option(
        min=1,
        help="Run each batch in so many parts, whose gradients are added up: less memory, the same step (but for "
        "batch norm, which sees the parts).",
        rich_help_panel=RUN,
    ),
]
Checkpointing = Annotated[
    bool,
    typer.Option(
        "--checkpointing",
        help="Compute activations anew in the backward pass instead of keeping them: slower, and less memory where a "
        "network is deep (SFCN's first block needs nearly all it needs: --accumulate helps there).",
        rich_help_panel=RUN,
    ),
]
Devices = Annotated[int, typer.Option(min=1, help="GPUs of one machine for one network.", rich_help_panel=RUN)]
NumNodes = Annotated[int, typer.Option(min=1, help="Machines for one network.", rich_help_panel=RUN)]
Strategy = Annotated[
    str, typer.Option(help="Lightning's, for several devices: auto, ddp, fsdp.", rich_help_panel=RUN)
]
TensorBoard = Annotated[
    Path | None, typer.Option("--tensorboard", help="Folder for logs of TensorBoard.", rich_help_panel=RUN)
]
Workers = Annotated[int, typer.Option(min=-1, help="Threads that decode images; -1 chooses.", rich_help_panel=RUN)]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Folder for decoded images, which later calls find again. Without it: one beside the output.",
        rich_help_panel=RUN,
    ),
]


def check_training(verb: str) -> None:
    """Refuse, with a sentence, a verb that trains where torch or Lightning is not."""
    import importlib

    from featx.errors import DependencyError

    for library in _TRAINING_LIBRARIES:
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise DependencyError(
                f"`featx {verb}` needs torch, torchvision and pytorch-lightning; {library} does not load "
                f"({error}); run pip install 'featx[torch,train]'"
            ) from error


# --- the network ----------------------------------------------------------------------------------------------


def source_of(
    network: str,
    *,
    weights: str = "",
    tap: str = "",
    axis: str = "",
    slices: int | None = None,
    size: str = "",
    channels: str = "",
    resample: bool = False,
    aggregation: str = "",
    positions: bool = False,
    network_recipe: Path | None = None,
) -> Source:
    """The network that is to be trained, as the options say; refused where its sheet has no such thing.

    Parameters
    ----------
    network : str
        NAME, or NAME@WEIGHTS.
    weights : str
        Of a name without "@"; "" for the usual ones.
    aggregation : str
        "" for mean, where slices go through the network one by one.
    """
    from featx.extraction.plan import divide_name, make_request
    from featx.networks.described import read_recipe
    from featx.networks.sheet import PICTURES
    from featx.networks.trained import default_tap
    from featx.training.source import Source

    name, spec = divide_name(resolved([network])[0])
    request = make_request(
        name,
        weights=spec or weights,
        recipe=None if network_recipe is None else read_recipe(network_recipe),
        views=[axis] if axis else [],
        n_slices=slices,
        size=size,
        channels=channels,
        resampling=resample,
    )
    return Source(
        request=_of_one_view(request),
        tap=tap or default_tap(request.sheet),
        aggregation=aggregation or ("mean" if request.sheet.takes == PICTURES else ""),
        positions=positions,
        home=cache_dir(),
    )


def _of_one_view(request: Request) -> Request:
    """A request that looks along one axis: the one asked for, else the network's first."""
    return replace(request, recipe=replace(request.recipe, views=request.recipe.views[:1]))


def fill(images: Sequence[Image], source: Source, folder: Path, *, accept: Sequence[str], workers: int) -> Filled:
    """Decode the images that a network can have into a cache, with progress.

    Parameters
    ----------
    accept : sequence of str
        Codes of misfits that are let through.
    workers : int
        Threads; -1 for a core each.

    Raises
    ------
    CohortError
        The network can have none of them.
    """
    from featx.errors import CohortError
    from featx.extraction.device import default_workers
    from featx.training.cache import fill_cache
    from featx.training.source import need_of

    with progress("decoding", "images") as update:
        filled = fill_cache(
            images,
            need_of(source, accept),
            folder,
            workers=workers if workers >= 0 else 1 + default_workers("cuda"),  # no network runs beside them
            on_progress=lambda done, total: update(done, total, ""),
        )
    if not filled.image_ids:
        first = filled.failures[0]["sentence"] if filled.failures else "none was given"
        raise CohortError(
            f"{source.base.name} must have images to be trained on; none of {len(images)} fits it; the first: "
            f"{first} (`featx check` tells of all)"
        )
    return filled


# --- how it learns, where it runs -----------------------------------------------------------------------------


def recipe_of(
    word: str,
    source: Source,
    arm: Arm,
    kinds: Mapping[str, str],
    *,
    settings: Sequence[str] = (),
    epochs: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    dropout: float | None = None,
) -> TrainingRecipe:
    """The recipe that is asked for, with the numbers that are; --set counts more than an option of its own.

    Parameters
    ----------
    word : str
        Name of a recipe; "" for that of the network's family.
    kinds : mapping of str to str
        Kind of each target.
    settings : sequence of str
        NAME=VALUE.
    """
    from featx.training.schedules import changed, default_recipe, get_recipe
    from featx_cli.request import pairs

    recipe = get_recipe(word) if word else default_recipe(source.base, arm, kinds)
    short = {
        "epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size, "patience": patience,
        "dropout": dropout,
    }  # fmt: skip
    words = {name: str(value) for name, value in short.items() if value is not None}
    return changed(recipe, words | pairs(settings, "--set", "numbers=regression"))


def machine_of(
    device: str,
    precision: str = "auto",
    *,
    accumulate: int = 1,
    checkpointing: bool = False,
    devices: int = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    tensorboard: Path | None = None,
) -> Machine:
    """Where networks are trained, as the options say.

    Raises
    ------
    DeviceError
        A device or a precision that is unknown or not there, or fewer GPUs than are asked for.
    """
    import torch

    from featx.errors import DeviceError, known
    from featx.extraction.device import choose_device
    from featx.training.fit import Machine

    on = choose_device(device)
    if precision not in PRECISIONS:
        raise DeviceError(f"a precision of training must be known; {precision!r} is not; {known(PRECISIONS)}")
    on_gpu = on.startswith("cuda")
    there = torch.cuda.device_count() if on_gpu else devices  # on a CPU they are processes
    if devices > there:
        raise DeviceError(
            f"--devices must be no more than this machine has; it has {there} of {on}, and {devices} were asked for; "
            "ask for fewer"
        )
    from pytorch_lightning.strategies import StrategyRegistry

    strategies = ["auto", *StrategyRegistry.available_strategies()]
    if strategy not in strategies:
        raise DeviceError(f"a strategy must be one of Lightning's; {strategy!r} is not; {known(strategies)}")
    if precision == "auto":
        precision = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return Machine(on, precision, accumulate, checkpointing, devices, num_nodes, strategy, tensorboard)
