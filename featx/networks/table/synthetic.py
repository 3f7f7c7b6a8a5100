"""A small SFCN on a 4 mm grid: to be trained on two cores, and as it was pretrained on made brains.

The pretrained one is part of featx (`featx/networks/bundled`): its weights, and beside them its sheet as JSON and its
card, all written by ``benchmarks/pretrain_synthetic.py``, which says how.
"""

from __future__ import annotations

import json
from pathlib import Path

from featx.images.volume import MNI152_2MM
from featx.networks import recipes
from featx.networks.described import sheet_of
from featx.networks.sheet import VOLUME, Network, Recipe, Step, Tap, View

NAME = "sfcn_4mm.synthetic"
CHANNELS = (8, 16, 32, 64, 64, 32)
BUNDLED = Path(__file__).parents[1] / "bundled"

UNTRAINED = Network(
    name="sfcn_4mm.untrained",
    family="SFCN, 4 mm",
    architecture="featx.networks.architectures.sfcn:SFCN",
    arguments={"channels": CHANNELS, "n_outputs": 2},
    takes=VOLUME,
    recipe=Recipe(
        grid=MNI152_2MM,
        steps=(recipes.TO_UNIT, Step("crop", {"box": ((5, 85), (6, 102), (2, 82))})),
        views=(View("volume", (Step("shrink", {"factor": 2}),)),),
    ),
    weights=None,
    taps={f"block{at}": Tap(f"feature_extractor.conv_{at}", width) for at, width in enumerate(CHANNELS)}
    | {"features": Tap("classifier.average_pool", CHANNELS[-1], positions=False)},
    default_taps=("features",),
    default_views=("volume",),
    default_pooling=("mean",),
    training="nothing: to be trained, from scratch on two cores too",
    age_range_years=None,
    reference="after Peng et al. 2021, Medical Image Analysis 68:101871; narrower, and on a grid of 4 mm",
    n_parameters=186_146,
)
_FACTS = BUNDLED / f"{NAME}.json"  # absent only where it is being made for the first time
SHEETS = (UNTRAINED, *(sheet_of(json.loads(path.read_text("utf-8")), NAME) for path in [_FACTS] if path.is_file()))
