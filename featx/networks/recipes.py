"""The recipes of the five works, and how slices are taken: facts, no torch."""

from __future__ import annotations

from collections.abc import Mapping

from featx.images.volume import MNI152_1MM, MNI152_2MM, NATIVE_1MM
from featx.networks.sheet import Recipe, Setting, Step, View

IMAGENET: Mapping[str, Setting] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
KINETICS: Mapping[str, Setting] = {"mean": (0.43216, 0.394666, 0.37645), "std": (0.22803, 0.22145, 0.216989)}

WHOLE = (View("volume"),)

# Peng 2021: mean of the WHOLE volume, then the crop; both in FSL's LAS order.
SFCN = Recipe(
    grid=MNI152_1MM,
    steps=(Step("divide-by-mean"), Step("crop", {"box": ((11, 171), (13, 205), (11, 171))})),
    views=WHOLE,
)

# Leonardsen 2022: 8-bit grey divided by 255, not by the image's own maximum, then the crop; in FSL's LAS order. The
# authors register with six degrees of freedom, so brains keep their size.
LEONARDSEN_2022 = Recipe(
    grid=MNI152_1MM,
    steps=(Step("divide-by", {"value": 255.0}), Step("crop", {"box": ((6, 173), (2, 214), (0, 160))})),
    views=WHOLE,
)

# Leonardsen 2025: the conformed image times its brain mask, unregistered, around the centre of the brain. The paper
# does not say in which order its 224x192x224 voxels stand, nor how grey is scaled. The authors' later code cuts them
# out of FastSurfer's images as they are stored (LIA), and gives the network their grey, 0 to 255, as it is. It lets
# voxels of 0.69 to 1.03 mm pass; here they are of 1 mm.
LEONARDSEN_2025 = Recipe(
    grid=NATIVE_1MM,
    steps=(
        Step("turn", {"stored": NATIVE_1MM.orientation, "wanted": "LIA"}),
        Step("crop-around-brain", {"shape": (224, 192, 224)}),
        Step("pad", {"shape": (224, 192, 224)}),  # where the image is smaller than the box
    ),
    views=WHOLE,
    registered=False,
)

TO_UNIT = Step("percentile-to-unit", {"percentile": 99.5})  # of the non-zero voxels; above it is 1, below 0 is 0

# (first, last) voxel of the 2 mm grid between which every head has brain, and slices along that axis.
SPANS: Mapping[str, tuple[int, int]] = {"sagittal": (14, 74), "coronal": (14, 94), "axial": (8, 72)}
COUNTS: Mapping[str, int] = {"sagittal": 16, "coronal": 17, "axial": 17}


def slice_views(size: int, norm: Mapping[str, Setting], counts: Mapping[str, int] = COUNTS) -> tuple[View, ...]:
    """Slices of a 2 mm MNI brain along three axes, evenly spaced where every head has brain.

    Parameters
    ----------
    size : int
        Edge of the square the slices are resized to, in pixels.
    norm : mapping
        Per-channel mean and std of the pretraining images.
    counts : mapping of str to int
        Slices along each axis.
    """
    return tuple(
        View(
            axis,
            (
                Step("slices", {"axis": axis, "first": first, "last": last, "count": counts[axis]}),
                Step("resize", {"size": size}),
                Step("normalise", norm),
            ),
        )
        for axis, (first, last) in SPANS.items()
    )


def slice_recipe(size: int, norm: Mapping[str, Setting], counts: Mapping[str, int] = COUNTS) -> Recipe:
    """Brains scaled to [0, 1] by a robust percentile, then `slice_views`."""
    return Recipe(grid=MNI152_2MM, steps=(TO_UNIT,), views=slice_views(size, norm, counts))
