"""NETWORKS: every network featx can run, as a table of facts. Importing it needs no torch.

A network's name is ``architecture.tag``. Its sheet (`featx.networks.sheet.Network`) says where the weights come from
and what they were trained on, the **recipe** (what volume the network wants, and the steps from there to its input
tensor), its **views** (the axes it can look along), and its **taps** (the places that can be read, each with its
number of features). A new network is a new entry of a file in `featx.networks.table`; the tests run over the table.
Networks beyond the table are named by a pattern (`featx.networks.named`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from featx.errors import NetworkError, known
from featx.networks.named import PATTERNS, find_named, is_pattern
from featx.networks.sheet import Network
from featx.networks.table import gupta, leonardsen, medical, peng, synthetic, torchvision, voxels

NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        sheet.name: sheet
        for family in (peng, leonardsen, synthetic, torchvision, medical, gupta, voxels)
        for sheet in family.SHEETS
    }
)


def get_network(name: str, recipe: Mapping[str, Any] | None = None) -> Network:
    """The sheet of a network of the table, or of one that is named by a pattern (`featx.networks.named`).

    Parameters
    ----------
    recipe : mapping, optional
        Of a network of one's own, as `featx.networks.described.read_recipe` gives it.

    Raises
    ------
    NetworkError
        The name is unknown; the sentence names the known ones.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if is_pattern(name):
        return find_named(name, recipe)
    raise NetworkError(
        f"a network must be in the table, or be named by a pattern; {name!r} is not; {known(NETWORKS, name)}; "
        f"patterns are {', '.join(PATTERNS)}"
    )
