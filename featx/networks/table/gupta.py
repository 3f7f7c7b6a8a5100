"""The networks of Gupta et al.: sets of slices under several encoders and aggregations, and a 3D network."""

from __future__ import annotations

from featx.errors import NetworkError, known
from featx.images.volume import MNI152_2MM
from featx.networks import recipes
from featx.networks.sheet import PICTURES, SET, VOLUME, Network, Recipe, Step, Tap, View
from featx.networks.table import torchvision

_ENCODER1 = "encoder1"
_AGGREGATIONS = ("mean", "max", "attention")
_PATTERN = "sliceset:ENCODER/AGGREGATION, with /positions behind it or without"
_AXES = ("sagittal", "coronal", "axial")
_MEAN_AGE = 62.68  # of the authors' training people, in years
_NOTHING = "nothing: to be trained, or given a checkpoint"
_Z_SCORE = Step("z-score")

# All slices along an axis, in their own size.
_SLICES = Recipe(
    grid=MNI152_2MM,
    steps=(_Z_SCORE,),
    views=tuple(
        View(axis, (Step("slices", {"axis": axis, "first": 0, "last": length - 1, "count": length}),))
        for axis, length in zip(_AXES, MNI152_2MM.shape, strict=True)
    ),
)
_POSITIONS = max(MNI152_2MM.shape)  # enough for every axis


def _set(encoder: str, aggregation: str, *, positions: bool, n_parameters: int = 0) -> Network:
    return Network(
        name=f"sliceset.{encoder}_{aggregation}{'_pos' if positions else ''}",
        family="Sets of slices",
        architecture="featx.networks.architectures.gupta:SliceSet",
        arguments={
            "encoder": encoder,
            "aggregation": aggregation,
            "n_positions": _POSITIONS if positions else 0,
            "mean_age": _MEAN_AGE,
        },
        takes=SET,
        recipe=_SLICES,
        weights=None,
        taps={
            "slices": Tap("embedded", 32),
            "pooled": Tap("pooled", 32, positions=False),
            "features": Tap("features", 64, positions=False),
            "prediction": Tap("prediction", 1, positions=False),
        },
        default_taps=("features",),
        default_views=("sagittal",),
        default_pooling=("mean",),
        training=_NOTHING,
        age_range_years=None,
        reference="Gupta et al. 2021, ISBI" + (" and 2023, ISBI" if positions or encoder != _ENCODER1 else ""),
        n_parameters=n_parameters,
        fixed=("size", "slices") if positions else ("size",),
    )


def describe_set(name: str) -> Network:
    """The sheet of a slice set by pattern: ``sliceset:ENCODER/AGGREGATION`` or that with ``/positions``.

    The encoder is ``encoder1`` or a network of torchvision on pictures of any size; grey slices are replicated to its
    channels. The name of the sheet is as in the table (``sliceset.resnet18_attention_pos``).

    Raises
    ------
    NetworkError
        The name does not follow the pattern, or the encoder or the aggregation is unknown.

    Examples
    --------
    >>> describe_set("sliceset:resnet18/attention/positions").name
    'sliceset.resnet18_attention_pos'
    """
    encoder, aggregation, *rest = [*name.removeprefix("sliceset:").split("/"), ""]
    if rest not in ([""], ["positions", ""]) or not name.startswith("sliceset:"):
        raise NetworkError(f"a set of slices must be named as {_PATTERN}; got {name!r}; {known(_AGGREGATIONS)}")
    if aggregation not in _AGGREGATIONS:
        raise NetworkError(f"slices must be put together by an aggregation; got {name!r}; {known(_AGGREGATIONS)}")
    encoders = _encoders()
    if encoder not in encoders:
        raise NetworkError(
            f"an encoder of slices must take pictures of any size; {encoder!r} in {name!r} is none that does; "
            f"{known(encoders, encoder)}"
        )
    return _set(encoder, aggregation, positions="positions" in rest)


def _encoders() -> tuple[str, ...]:
    pictures = [sheet for sheet in torchvision.SHEETS if sheet.takes == PICTURES and "size" not in sheet.fixed]
    return (_ENCODER1, *sorted({sheet.name.partition(".")[0] for sheet in pictures}))


SHEETS = (
    _set(_ENCODER1, "mean", positions=False, n_parameters=998_625),
    _set(_ENCODER1, "max", positions=False, n_parameters=998_625),
    _set(_ENCODER1, "attention", positions=False, n_parameters=1_001_889),
    _set(_ENCODER1, "mean", positions=True, n_parameters=1_002_177),
    _set(_ENCODER1, "max", positions=True, n_parameters=1_002_177),
    _set(_ENCODER1, "attention", positions=True, n_parameters=1_005_441),
    Network(
        name="cnn3d.gupta",
        family="3D, for medical volumes",
        architecture="featx.networks.architectures.gupta:Cnn3d",
        arguments={"mean_age": _MEAN_AGE},
        takes=VOLUME,
        recipe=Recipe(grid=MNI152_2MM, steps=(_Z_SCORE,), views=recipes.WHOLE),
        weights=None,
        taps={f"block{at}": Tap(f"blocks.block{at}", width) for at, width in enumerate((32, 64, 128, 256, 256))}
        | {
            "features": Tap("features", 64, positions=False),
            "prediction": Tap("prediction", 1, positions=False),
        },
        default_taps=("features",),
        default_views=("volume",),
        default_pooling=("mean",),
        training=_NOTHING,
        age_range_years=None,
        reference="Gupta et al. 2021, ISBI",
        n_parameters=2_948_801,
    ),
)
