"""What is known of a network, as values: its sheet, its recipe, its taps, its weights. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from featx.images.volume import Grid

Setting = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[tuple[int, int], ...]

# How a network takes a view: the whole volume (N, 1, I, J, K); pictures, one by one (N * S, C, H, W); the frames of
# a clip (N, C, S, H, W); or all slices of a volume together (N, S, C, H, W).
VOLUME, PICTURES, CLIP, SET = "volume", "pictures", "clip", "set"

# Where a module's output keeps its features: (N, C, ...), (N, ..., C), or tokens (N, L, C).
CHANNELS_FIRST, CHANNELS_LAST = "channels-first", "channels-last"

WEIGHTLESS = "featx.networks.architectures.voxels:Voxels"  # has no parameter: there is nothing to load

# How positions become a row: slices keeps the rows of all slices apart, concat puts them one behind the other.
_POSITIONS = ("mean", "max", "std")
_SLICES = (*_POSITIONS, "concat", "slices")
POOLINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {VOLUME: _POSITIONS, CLIP: _POSITIONS, PICTURES: _SLICES, SET: _SLICES}
)


@dataclass(frozen=True)
class Step:
    """One step of a recipe: its name (a key of `featx.networks.recipe.STEPS`) and its numbers."""

    name: str
    settings: Mapping[str, Setting] = field(default_factory=dict)  # no proxy: recipes go to other processes


@dataclass(frozen=True)
class View:
    """One way of looking at a volume.

    Attributes
    ----------
    name : str
        "volume", or the axis that is sliced: sagittal, coronal, axial.
    steps : tuple of Step
        Done on the device, after the recipe's own steps (`featx.networks.look.STEPS`).
    """

    name: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What volume a network wants, and the steps from there to its input.

    Attributes
    ----------
    grid : Grid
        The volume must lie on it, in any orientation; it is reoriented to the grid's without loss.
    steps : tuple of Step
        Done once per image, on the whole volume, before any view.
    views : tuple of View
        Those it can look along; `Network.default_views` names those it does if nothing is asked for.
    skull_stripped, registered : bool
        Whether the volume must be a brain without its skull, and lie where the template's brain lies.
    """

    grid: Grid
    steps: tuple[Step, ...]
    views: tuple[View, ...]
    skull_stripped: bool = True
    registered: bool = True


@dataclass(frozen=True)
class Weights:
    """Where official weights come from.

    Attributes
    ----------
    url, file : str
        Address, and the name in the cache.
    digest : str
        "sha256:" with the first hex digits or all of them, or "git-blob-sha1:" with all forty.
    licence : str
    size_bytes : int
        Of the file, about; 0 where it is not known.
    """

    url: str
    file: str
    digest: str
    licence: str
    size_bytes: int = 0


@dataclass(frozen=True)
class Tap:
    """A place in a network that can be read.

    Attributes
    ----------
    module : str
        Path of the module whose output is read.
    width : int
        Features it gives per position.
    positions : bool
        False where it gives one vector for the whole input, so that there is nothing to pool (its pooling is
        called mean).
    """

    module: str
    width: int
    positions: bool = True


@dataclass(frozen=True)
class Network:
    """The fact sheet of one network.

    Attributes
    ----------
    name : str
        ``architecture.tag``.
    family : str
        Under which heading it is listed.
    architecture : str
        "module:callable"; imported only when it is run, called with `arguments`, gives the torch module.
    takes : str
        How a view enters the network: VOLUME, PICTURES, CLIP or SET.
    weights : Weights or None
        None where featx knows of none that it can read: it is run with random weights or a file.
    taps : mapping of str to Tap
        Places with a promised number of features. Any other module can be named by its path.
    default_taps, default_views, default_pooling : tuple of str
        What is read if nothing is asked for.
    training, age_range_years : str, tuple of 2 float or None
        What the official weights were trained on, and the ages in it where that is known.
    n_parameters : int
    layout : str
        CHANNELS_FIRST or CHANNELS_LAST, of outputs with more than three axes; one of three axes holds tokens.
    class_tokens : int
        Tokens that stand before those of the picture.
    fixed : tuple of str
        What of a view cannot be changed: "size", "slices".
    stem : str
        Path of the first convolution, if grey pictures can be summed into it; "" if they cannot.
    extra : str
        The extra of featx that holds what it needs.
    reads : str
        "module:callable" from (path, sheet) to a state dict, where weights come in another form than its own
        (Keras, a 2D network to be inflated); "" where they do not.
    class_token_first : bool
        Whether the first of the class tokens is one; False where all of them are registers.
    labels : tuple of str
        The phenotypes that the official weights were trained to predict; none where they were trained on something
        else, such as photographs.
    """

    name: str
    family: str
    architecture: str
    arguments: Mapping[str, Setting]
    takes: str
    recipe: Recipe
    weights: Weights | None
    taps: Mapping[str, Tap]
    default_taps: tuple[str, ...]
    default_views: tuple[str, ...]
    default_pooling: tuple[str, ...]
    training: str
    age_range_years: tuple[float, float] | None
    reference: str
    n_parameters: int = 0
    layout: str = CHANNELS_FIRST
    class_tokens: int = 0
    fixed: tuple[str, ...] = ()
    stem: str = ""
    extra: str = "torch"
    reads: str = ""
    class_token_first: bool = True
    labels: tuple[str, ...] = ()

    @property
    def weightless(self) -> bool:
        """Whether it has no weights, so that the official ones are there without any file."""
        return self.architecture == WEIGHTLESS

    @property
    def poolings(self) -> tuple[str, ...]:
        """How its taps can be pooled."""
        return POOLINGS[self.takes]
