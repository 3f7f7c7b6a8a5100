"""Heads whose weights are known, on tiny networks of which all is known."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.analysis.runs.bundle import PEOPLE, Bundle, hash_people
from featx.extraction.job import load_job
from featx.extraction.plan import PlannedSet, make_request

NETS = """
import torch
from torch import nn


class Region(nn.Module):
    '''The mean of a box, on the right and in front: 8 x 6 x 5 voxels of a volume that grows towards L, A, S.'''

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()

    def forward(self, x):
        return self.features(x[:, :, 20:28, 70:76, 40:45].mean(dim=(2, 3, 4)))


class Smooth(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Conv3d(1, 3, 5, stride=4)
        self.act = nn.Tanh()
        with torch.no_grad():
            self.first.weight.copy_(torch.randn(self.first.weight.shape, generator=generator) * 0.2)
            self.first.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))

    def forward(self, x):
        return self.act(self.first(x))


def make_pictures():
    network = nn.Sequential(nn.Conv2d(3, 4, 7, stride=5), nn.Tanh(), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    with torch.no_grad():
        network[0].weight.copy_(torch.arange(588.0).reshape(4, 3, 7, 7).sin() * 0.5)
        network[0].bias.fill_(0.05)
        network[2].running_mean.copy_(torch.tensor([0.1, -0.1, 0.2, 0.0]))
    return network
"""
REGION = """
takes = "volume"
grid = "mni152-2mm"
steps = [{step = "divide-by", value = 255}]
taps.features = {module = "features", width = 1, positions = false}
"""
SMOOTH = """
takes = "volume"
grid = "mni152-2mm"
steps = [
    {step = "crop", box = [[5, 90], [5, 105], [0, 80]]},
    {step = "divide-by-mean"},
    {step = "pad", shape = [92, 100, 80]},
    {step = "turn", stored = "LAS", wanted = "PIR"},
]
taps.maps = {module = "act", width = 3}
"""
PICTURES = """
takes = "pictures"
grid = "mni152-2mm"
steps = [{step = "percentile-to-unit", percentile = 99.5}]
default_views = ["axial", "sagittal"]
views = [
    {name = "axial", steps = [
        {step = "slices", axis = "axial", first = 10, last = 70, count = 4},
        {step = "resize", size = 48},
        {step = "normalise", mean = [0.5, 0.25, 0.0], std = [1, 0.5, 2]},
    ]},
    {name = "sagittal", steps = [
        {step = "slices", axis = "sagittal", first = 0, last = 90, count = 5, channels = "neighbours"},
        {step = "resize", size = 40},
    ]},
]
taps.maps = {module = "2", width = 4}
"""
NETWORKS = {
    "region": ("python:relnets.small:Region", REGION, {}),
    "smooth": ("python:relnets.small:Smooth", SMOOTH, {"poolings": ["mean", "std"]}),
    "pictures": ("python:relnets.small:make_pictures", PICTURES, {"poolings": ["mean", "max"]}),
}


@contextmanager
def own_networks(folder: Path) -> Iterator[None]:
    """The tiny networks as a package that can be imported."""
    package = folder / "relnets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "small.py").write_text(NETS)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in ("relnets", "relnets.small"):
            sys.modules.pop(name, None)


def recipe_of(which: str) -> dict[str, Any]:
    """Facts of a tiny network."""
    return tomllib.loads(NETWORKS[which][1])


def sets_of(which: str) -> tuple[PlannedSet, ...]:
    """The feature sets of a tiny network, or of one of the table."""
    if which not in NETWORKS:
        return load_job(make_request(which), "cpu", Path("unused")).sets
    name, _, wish = NETWORKS[which]
    return load_job(make_request(name, recipe=recipe_of(which), **wish), "cpu", Path("unused")).sets


def head_on(
    sets: Sequence[PlannedSet],
    widths: Sequence[int],
    coef: NDArray[np.float64],
    *,
    people: Sequence[str] = (),
    arrays: dict[str, Any] | None = None,
    **about: Any,
) -> Bundle:
    """A linear head, on numbers if nothing else is said, with its contract."""
    facts = [
        {"name": one.name, "key": "k", "n_features": width, "provenance": dict(one.provenance)}
        for one, width in zip(sets, widths, strict=True)
    ]
    contract = {
        "format": "featx-head",
        "format_version": 2,
        "target": "age",
        "kind": "continuous",
        "unit": "years",
        "classes": None,
        "head": "ridge",
        "form": "linear",
        "parameters": {},
        "features": "made",
        "sets": facts,
        "blocks": ["features"],
        "prepare": None,
        "adds_offset": False,
        "calibration": None,
        "confounds": {"specs": []},
        "treatment": {"confounds": "ignored"},
        "salt": "salt",
    }
    own = {"coef": coef, "intercept": np.array(50.0), PEOPLE: hash_people(people, "salt")}
    return Bundle({**contract, **about}, {**own, **(arrays or {})})
