"""Voxels as a network: the baseline that every network must beat. No weights; its one tap is the vector of voxels."""

from __future__ import annotations

from featx.images.volume import MNI152_2MM
from featx.networks import recipes
from featx.networks.sheet import VOLUME, WEIGHTLESS, Network, Recipe, Step, Tap

# Grey as SFCN gets it: divided by the mean of the WHOLE volume, background included (Peng 2021).
_RECIPE = Recipe(grid=MNI152_2MM, steps=(Step("divide-by-mean"),), views=recipes.WHOLE)


def _voxels(size_mm: int, n_blocks: int) -> Network:
    return Network(
        name=f"voxels.{size_mm}mm",
        family="Voxels, nothing learned",
        architecture=WEIGHTLESS,
        arguments={"edge": size_mm // 2},
        takes=VOLUME,
        recipe=_RECIPE,
        weights=None,
        taps={"features": Tap("features", n_blocks, positions=False)},
        default_taps=("features",),
        default_views=("volume",),
        default_pooling=("mean",),
        training=f"nothing, it has no weights: the means of blocks of {size_mm} mm inside the template's brain",
        age_range_years=None,
        reference="the baseline of Holderrieth, Smith & Peng 2022, there under principal components and elastic net",
    )


SHEETS = (_voxels(4, 29_857), _voxels(8, 3_675))
