"""The network that trains, how it learns, and where it runs (torch where it is loaded)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from featx.api.added import resolved
from featx.api.words import Words, told
from featx.errors import AnalysisError, CohortError, DependencyError, DeviceError, known
from featx.extraction.plan import Request, divide_name, make_request
from featx.images.image import Image
from featx.networks.described import read_recipe
from featx.networks.missing import spread
from featx.networks.sheet import PICTURES
from featx.networks.trained import default_tap
from featx.training.arms import Arm
from featx.training.schedules import TrainingRecipe, changed, default_recipe, get_recipe
from featx.training.source import Source, need_of

if TYPE_CHECKING:
    from featx.training.cache import Filled
    from featx.training.fit import Machine

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
MOST_SEEDS = 100
_LIBRARIES = ("torch", "torchvision", "pytorch_lightning")


def check_training(verb: str) -> None:
    """Refuse, with a sentence, a verb that trains where torch or Lightning is not.

    Raises
    ------
    DependencyError
    """
    for library in _LIBRARIES:
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
    home: Path,
    weights: Path | str = "",
    tap: str = "",
    axis: str = "",
    slices: int | None = None,
    size: str | int = "",
    channels: str = "",
    resample: bool = False,
    aggregation: str = "",
    positions: bool = False,
    network_recipe: Path | str | None = None,
    missing: Sequence[str] = (),
) -> Source:
    """The network that is to be trained, as the options say; refused where its sheet has no such thing.

    Parameters
    ----------
    network : str
        NAME, or NAME@WEIGHTS.
    home : Path
        featx's own folder.
    weights : str
        Of a name without "@"; "" for the usual ones.
    aggregation : str
        "" for mean, where slices go through the network one by one.
    missing : sequence of str
        Slices that are missing of those who test, as `featx.networks.missing.parse` reads them.

    Raises
    ------
    NetworkError
        An unknown network, or a wish that it cannot have.
    """
    name, spec = divide_name(resolved([network], home)[0])
    request = make_request(
        name,
        weights=spec or str(weights),
        recipe=None if network_recipe is None else read_recipe(Path(network_recipe)),
        views=[axis] if axis else [],
        n_slices=slices,
        size=str(size),
        channels=channels,
        resampling=resample,
    )
    request = _of_one_view(request)
    view = request.recipe.views[0]
    return Source(
        request=request,
        tap=tap or default_tap(request.sheet),
        aggregation=aggregation or ("mean" if request.sheet.takes == PICTURES else ""),
        positions=positions,
        home=home,
        missing=tuple(one for one in spread(view, missing, request.sheet) if one != view),
    )


def _of_one_view(request: Request) -> Request:
    """A request that looks along one axis: the one asked for, else the network's first."""
    return replace(request, recipe=replace(request.recipe, views=request.recipe.views[:1]))


def fill(
    images: Sequence[Image],
    source: Source,
    folder: Path,
    *,
    accept: Sequence[str],
    workers: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Filled:
    """Decode the images that a network can have into a cache.

    Parameters
    ----------
    accept : sequence of str
        Codes of misfits that are let through.
    workers : int
        Threads; -1 for a core each.
    on_progress : callable, optional
        Called as (images decoded, images in all).

    Raises
    ------
    CohortError
        The network can have none of them.
    """
    from featx.extraction.device import default_workers
    from featx.training.cache import fill_cache

    filled = fill_cache(
        images,
        need_of(source, accept),
        folder,
        workers=workers if workers >= 0 else 1 + default_workers("cuda"),  # no network runs beside them
        on_progress=on_progress or (lambda done, total: None),
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
    settings: Words = (),
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
    settings : mapping of str to value, or sequence of str
        Other numbers than the recipe's, by name, or NAME=VALUE.
    """
    recipe = get_recipe(word) if word else default_recipe(source.base, arm, kinds)
    short = {
        "epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size, "patience": patience,
        "dropout": dropout,
    }  # fmt: skip
    words = {name: str(value) for name, value in short.items() if value is not None}
    return changed(recipe, words | _settings(settings))


def _settings(words: Words) -> dict[str, str]:
    """Numbers of a recipe as its words: true and false as TOML has them."""
    found = told(words, "--set", "numbers=regression")
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in found.items()}


def machine_of(
    device: str,
    precision: str = "auto",
    *,
    accumulate: int = 1,
    checkpointing: bool = False,
    devices: int = 1,
    num_nodes: int = 1,
    strategy: str = "auto",
    tensorboard: Path | str | None = None,
) -> Machine:
    """Where networks are trained, as the options say.

    Raises
    ------
    DeviceError
        A device or a precision that is unknown or not there, or fewer GPUs than are asked for.
    """
    import torch

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
    logs = None if tensorboard is None else Path(tensorboard)
    if precision == "auto":
        precision = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return Machine(on, precision, accumulate, checkpointing, devices, num_nodes, strategy, logs)


def seeds_of(word: str | int | Sequence[int]) -> tuple[int, ...]:
    """Seeds that a word says: how many, or which.

    Raises
    ------
    AnalysisError
        It says neither, or too many.

    Examples
    --------
    >>> seeds_of("3"), seeds_of("7,9"), seeds_of(2), seeds_of([7, 9])
    ((0, 1, 2), (7, 9), (0, 1), (7, 9))
    """
    is_list = not isinstance(word, str | int) or "," in str(word)
    parts = str(word).split(",") if isinstance(word, str | int) else [str(one) for one in word]
    if not parts or not all(part.strip().isdecimal() for part in parts) or (parts == ["0"] and not is_list):
        raise AnalysisError(f"--seeds must be a number of seeds, or a list of them; got {word!r}; write 5, or 0,1,2")
    if not is_list and int(parts[0]) > MOST_SEEDS:
        raise AnalysisError(
            f"--seeds must be a number of seeds up to {MOST_SEEDS}, or a list of them; got {word}; for that one "
            f"alone write {word},{word}"
        )
    return tuple(dict.fromkeys(map(int, parts))) if is_list else tuple(range(int(parts[0])))
