"""Options that the verbs which train share, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx_cli.console import cache_dir, progress

if TYPE_CHECKING:
    from featx.images.image import Image
    from featx.training.cache import Filled
    from featx.training.source import Source

TRAINED, LEARNED, RUN = "The network", "How it learns", "Where it runs"

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
Missing = Annotated[
    list[str],
    typer.Option(
        help="Predict those who test with slices missing, too, as features of a name of their own (NAME~drop4); all "
        "train on whole brains. drop:4, fill:4, zeros:4, noise:4, and with :random:SEED behind it, as in `featx "
        "extract`. May be repeated.",
        rich_help_panel=TRAINED,
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


def source_of(network: str, **options: Any) -> Source:
    """The network that is to be trained, as `featx.api.learning.source_of` has it."""
    from featx.api import learning

    return learning.source_of(network, home=cache_dir(), **options)


def fill(images: Sequence[Image], source: Source, folder: Path, *, accept: Sequence[str], workers: int) -> Filled:
    """Decode the images that a network can have into a cache, with progress; see `featx.api.learning.fill`."""
    from featx.api import learning

    with progress("decoding", "images") as update:
        return learning.fill(
            images,
            source,
            folder,
            accept=accept,
            workers=workers,
            on_progress=lambda done, total: update(done, total, ""),
        )
