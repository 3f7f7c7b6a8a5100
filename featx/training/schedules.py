"""RECIPES: how an arm trains, with the numbers of published works. A table of facts; needs no torch.

Every number can be changed. Where a work does not state a number, the recipe has featx's own, and `source` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from featx.errors import AnalysisError, known
from featx.networks.output import REGRESSION, SOFT_BINS
from featx.networks.sheet import PICTURES, SET, Network
from featx.training.arms import ALL, OUTPUT, Arm

SGD, ADAM, ADAMW = "sgd", "adam", "adamw"
OPTIMISERS = (SGD, ADAM, ADAMW)


@dataclass(frozen=True)
class Schedule:
    """How one phase is optimised.

    Attributes
    ----------
    optimiser : str
        sgd, adam or adamw.
    learning_rate, momentum, weight_decay : float
        Momentum is sgd's alone.
    epochs : int
        At most; the best one by validation is kept.
    step_epochs : int
        After so many epochs the learning rate is multiplied by `step_factor`, again and again; 0 for never.
    step_factor : float
    """

    optimiser: str = SGD
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-3
    epochs: int = 100
    step_epochs: int = 30
    step_factor: float = 0.3


@dataclass(frozen=True)
class Augmentation:
    """What is done to training volumes at random, anew in every epoch, on the device. Nothing to others.

    Attributes
    ----------
    shift_voxels : int
        Whole voxels along each axis, between minus and plus this; what leaves is gone, what enters is the border.
    mirror : bool
        Left and right exchanged in every second volume.
    rotate_deg, scale : float
        Largest rotation about each axis, and largest relative change of size; 0 for none.
    bias : float
        Standard deviation of the logarithm of a smooth field that multiplies the volume.
    noise : float
        Standard deviation of Gaussian noise, as a part of that of the volume's non-zero voxels.
    """

    shift_voxels: int = 0
    mirror: bool = False
    rotate_deg: float = 0.0
    scale: float = 0.0
    bias: float = 0.0
    noise: float = 0.0


NO_AUGMENTATION = Augmentation()
PENG = Augmentation(shift_voxels=2, mirror=True)  # Peng et al. 2021


@dataclass(frozen=True)
class TrainingRecipe:
    """How an arm trains.

    Attributes
    ----------
    name : str
    schedules : mapping of str to Schedule
        By phase: OUTPUT, ALL.
    batch_size : int
        Volumes whose gradients make one step.
    augmentation : Augmentation
    numbers : str
        How continuous phenotypes are answered: REGRESSION or SOFT_BINS.
    patience : int
        Epochs without a better validation loss after which a phase ends; 0 for never.
    dropout : float
        Share of features left out before the last layer, in training.
    source : str
        Whose numbers they are.
    """

    name: str
    schedules: Mapping[str, Schedule]
    batch_size: int = 8
    augmentation: Augmentation = NO_AUGMENTATION
    numbers: str = SOFT_BINS
    patience: int = 0
    dropout: float = 0.0
    source: str = ""


_FOLLOW_UP = Schedule(SGD, 0.01, 0.9, 1e-3, epochs=150, step_epochs=30, step_factor=0.3)
_HEAD = Schedule(SGD, 0.1, 0.9, 1e-3, epochs=50, step_epochs=0)
_GUPTA = Schedule(ADAM, 1e-4, 0.0, 1e-4, epochs=100, step_epochs=0)
_HOLDERRIETH = "Holderrieth, Smith and Peng 2022 (follow-up code of SFCN)"
_OWN_MOMENTUM = "; momentum, weight decay and batch size as in SFCN's follow-up code"

RECIPES: Mapping[str, TrainingRecipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            TrainingRecipe(
                "sfcn-scratch",
                {ALL: _FOLLOW_UP, OUTPUT: _HEAD},
                augmentation=PENG,
                dropout=0.5,
                source=f"{_HOLDERRIETH}: SGD .01, momentum .9, weight decay 1e-3, x0.3 every 30 epochs, batch 8, "
                "150 to 300 epochs (here 150)",
            ),
            TrainingRecipe(
                "holderrieth-head",
                {OUTPUT: _HEAD, ALL: _FOLLOW_UP},
                dropout=0.5,
                source=f"{_HOLDERRIETH}: the last layer alone, SGD .1, 25 to 50 epochs (here 50){_OWN_MOMENTUM}",
            ),
            TrainingRecipe(
                "holderrieth-two-stage",
                {
                    OUTPUT: _HEAD,
                    ALL: Schedule(SGD, 0.003, 0.9, 1e-3, epochs=50, step_epochs=30, step_factor=0.3),
                },
                augmentation=PENG,
                dropout=0.5,
                source=f"{_HOLDERRIETH}: the last layer, then everything at .001 to .01 (here .003, 50 epochs)"
                f"{_OWN_MOMENTUM}",
            ),
            TrainingRecipe(
                "holderrieth-scratch-sex",
                {ALL: Schedule(SGD, 0.1, 0.9, 1e-3, epochs=150, step_epochs=30, step_factor=0.3), OUTPUT: _HEAD},
                augmentation=PENG,
                dropout=0.5,
                source=f"{_HOLDERRIETH}: from scratch for sex, SGD .1, 150 to 300 epochs (here 150){_OWN_MOMENTUM}",
            ),
            TrainingRecipe(
                "gupta",
                {ALL: _GUPTA, OUTPUT: _GUPTA},
                numbers=REGRESSION,
                source="Gupta et al. 2021: Adam 1e-4, weight decay 1e-4, batch 8, 100 epochs, best by validation",
            ),
            TrainingRecipe(
                "fine-tune",
                {
                    OUTPUT: Schedule(ADAM, 1e-3, 0.0, 1e-4, epochs=50, step_epochs=0),
                    ALL: Schedule(ADAMW, 1e-4, 0.0, 1e-2, epochs=50, step_epochs=0),
                },
                numbers=REGRESSION,
                patience=15,
                source="featx's own: AdamW 1e-4, for networks whose authors say nothing of fine-tuning",
            ),
        )
    }
)


def get_recipe(name: str) -> TrainingRecipe:
    """A recipe by its name.

    Raises
    ------
    AnalysisError
        It is unknown; the sentence names the known ones.
    """
    if name not in RECIPES:
        raise AnalysisError(f"a training recipe must be known; {name!r} is not; {known(RECIPES)}")
    return RECIPES[name]


def default_recipe(sheet: Network, arm: Arm, kinds: Mapping[str, str]) -> TrainingRecipe:
    """The recipe that is published for a network's family and an arm, else `fine-tune`.

    Parameters
    ----------
    sheet : Network
    arm : Arm
    kinds : mapping of str to str
        Kind of each target.

    Examples
    --------
    >>> from featx.networks import get_network
    >>> from featx.training.arms import get_arm
    >>> sfcn, scratch = get_network("sfcn.ukb_age"), get_arm("scratch")
    >>> default_recipe(sfcn, scratch, {"age": "continuous"}).name
    'sfcn-scratch'
    >>> default_recipe(get_network("r3d_18.kinetics400"), get_arm("full"), {"age": "continuous"}).name
    'fine-tune'
    """
    if sheet.takes in (SET, PICTURES) or sheet.name.endswith(".gupta"):
        return RECIPES["gupta"]
    if "SFCN" not in sheet.family:
        return RECIPES["fine-tune"]
    if arm.phases == (OUTPUT,):
        return RECIPES["holderrieth-head"]
    if len(arm.phases) > 1:
        return RECIPES["holderrieth-two-stage"]
    only_classes = all(kind in ("binary", "multiclass") for kind in kinds.values())
    return RECIPES["holderrieth-scratch-sex" if arm.name == "scratch" and only_classes else "sfcn-scratch"]


# --- other numbers than the recipe's ----------------------------------------------------------------------------


def changed(recipe: TrainingRecipe, words: Mapping[str, str]) -> TrainingRecipe:
    """A recipe with other numbers.

    Parameters
    ----------
    recipe : TrainingRecipe
    words : mapping of str to str
        "all.learning_rate", "output.epochs" and so on for the schedule of a phase; without a phase
        ("learning_rate") for that of both; "augmentation.noise"; "batch_size", "patience", "dropout", "numbers".

    Raises
    ------
    AnalysisError
        A name is unknown, or a value is not of its kind.

    Examples
    --------
    >>> mine = changed(RECIPES["gupta"], {"all.epochs": "20", "augmentation.mirror": "true", "numbers": "soft-bins"})
    >>> mine.schedules[ALL].epochs, mine.schedules[OUTPUT].epochs, mine.augmentation.mirror, mine.numbers
    (20, 100, True, 'soft-bins')
    """
    for name, text in words.items():
        part, _, field_ = name.rpartition(".")
        if part == "augmentation" and field_ in _fields(Augmentation):
            value = _value(name, text, getattr(recipe.augmentation, field_))
            recipe = replace(recipe, augmentation=replace(recipe.augmentation, **{field_: value}))
        elif part in ("", ALL, OUTPUT) and field_ in _fields(Schedule):
            schedules = {
                phase: replace(one, **{field_: _value(name, text, getattr(one, field_))})
                if part in ("", phase)
                else one
                for phase, one in recipe.schedules.items()
            }
            recipe = replace(recipe, schedules=schedules)
        elif not part and field_ in _OWN:
            recipe = replace(recipe, **{field_: _value(name, text, getattr(recipe, field_))})
        else:
            phases = [f"{phase}.{one}" for phase in (ALL, OUTPUT) for one in _fields(Schedule)]
            augmentations = [f"augmentation.{one}" for one in _fields(Augmentation)]
            raise AnalysisError(
                f"a number of a training recipe must have a name; {name!r} is none; "
                f"{known([*phases, *_fields(Schedule), *augmentations, *_OWN])}"
            )
    return recipe


_OWN = ("batch_size", "patience", "dropout", "numbers")
_BELOW_ONE = ("dropout", "scale")
_WORDS = {"optimiser": OPTIMISERS, "numbers": (REGRESSION, SOFT_BINS)}


def _fields(kind: type) -> list[str]:
    return [one.name for one in fields(kind)]


def _value(name: str, text: str, like: Any) -> Any:
    """The value that a text says, of the kind of the one that it replaces."""
    words = _WORDS.get(name.rpartition(".")[2])
    if words is not None:
        if text not in words:
            raise AnalysisError(f"{name} must be known; {text!r} is not; {known(words)}")
        return text
    if isinstance(like, bool):
        if text not in ("true", "false"):
            raise AnalysisError(f"{name} must be true or false; got {text!r}; write one of them")
        return text == "true"
    try:
        value = int(text) if isinstance(like, int) else float(text)
    except ValueError:
        value = float("nan")
    least = 1 if name.rpartition(".")[2] in ("batch_size", "epochs") else 0
    most = 1 if name.rpartition(".")[2] in _BELOW_ONE else float("inf")
    if not least <= value < most:
        what = "a whole number" if isinstance(like, int) else "a number"
        below = f" and below {most}" if most == 1 else ""
        raise AnalysisError(f"{name} must be {what} from {least}{below}; got {text!r}; write, say, {name}={like}")
    return value
