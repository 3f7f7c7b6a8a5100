"""NETWORKS: every network featx can run, as a table of facts. Importing it needs no torch.

A network's name is ``architecture.tag``. Its sheet (`featx.networks.sheet.Network`) says where the weights come from
and what they were trained on, the **recipe** (what volume the network wants, and the steps from there to its input
tensor), its **views** (the axes it can look along), and its **taps** (the places that can be read, each with its
number of features). A new network is a new entry of a file in `featx.networks.table`; the tests run over the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from featx.errors import NetworkError, known
from featx.networks.sheet import Network
from featx.networks.table import peng, torchvision

NETWORKS: Mapping[str, Network] = MappingProxyType(
    {sheet.name: sheet for family in (peng, torchvision) for sheet in family.SHEETS}
)


def get_network(name: str) -> Network:
    """The sheet of a network.

    Raises
    ------
    NetworkError
        The name is unknown; the sentence names the known ones.
    """
    if name not in NETWORKS:
        raise NetworkError(f"a network must be in the table; {name!r} is not; {known(NETWORKS, name)}")
    return NETWORKS[name]
