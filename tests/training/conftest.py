"""A small network on volumes that show what is to be learned, so that training is seen to work in seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx.extraction.plan import Request
from featx.images.contract import ACCEPTABLE
from featx.images.image import Image
from featx.images.volume import MNI152_2MM, grid_affine, write_volume
from featx.networks import get_network
from featx.networks.sheet import Step, View
from featx.training.cache import fill_cache
from featx.training.source import Source, need_of

N = 30
SMALL = View("volume", (Step("shrink", {"factor": 8}),))


def small_sheet(**facts):
    """The SFCN of the table, with few channels and 10 x 12 x 10 voxels, of whatever has voxels."""
    sheet = get_network("sfcn_4mm.untrained")
    channels = (4, 4, 4)
    taps = {name: replace(sheet.taps[name], width=4) for name in ("block0", "block1", "block2", "features")}
    return replace(
        sheet,
        recipe=replace(sheet.recipe, views=(SMALL,)),
        taps=taps,
        **{"arguments": {**sheet.arguments, "channels": channels}, **facts},
    )


def source_of(sheet, weights="random:0", **more):
    request = Request(
        sheet, weights, replace(sheet.recipe, views=sheet.recipe.views[:1]), ("features",), ("mean",), False
    )
    return Source(request, "features", **more)


@pytest.fixture(scope="session")
def people():
    """Ages, and a sex with more F than M; the first has no age."""
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 80, N).round(1)
    sex = np.where(np.arange(N) % 3 == 0, "M", "F")
    table = pd.DataFrame({"participant_id": [f"sub-{at:02d}" for at in range(N)], "age": age, "sex": sex})
    table.loc[0, "age"] = np.nan
    return table


@pytest.fixture(scope="session")
def images(people, tmp_path_factory):
    """A brain-like blob each, whose one half is the brighter the older, and whose front is brighter in M."""
    folder = Path(tmp_path_factory.mktemp("volumes"))
    rng = np.random.default_rng(1)
    made = []
    for _at, row in people.iterrows():
        volume = rng.integers(60, 90, MNI152_2MM.shape).astype(np.uint8)
        volume[40:] += np.uint8(np.nan_to_num(row["age"], nan=50))
        volume[:, 60:] += np.uint8(60 if row["sex"] == "M" else 0)
        volume[:8], volume[84:], volume[:, :8], volume[:, :, :5] = 0, 0, 0, 0
        path = folder / f"{row['participant_id']}.nii"
        write_volume(path, volume, grid_affine(MNI152_2MM))
        made.append(Image(row["participant_id"], row["participant_id"], "", "", path))
    return made


@pytest.fixture(scope="session")
def source():
    return source_of(small_sheet())


@pytest.fixture(scope="session")
def cache(images, source, tmp_path_factory):
    filled = fill_cache(images, need_of(source, tuple(ACCEPTABLE)), tmp_path_factory.mktemp("cache"), workers=1)
    assert [row["sentence"] for row in filled.failures] == []
    return filled.cache
