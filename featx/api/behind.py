"""Whom the networks behind feature sets were trained on, as far as the table, added networks and checkpoints tell."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pandas as pd

from featx.analysis.cohort.condition import where
from featx.analysis.cohort.people import join
from featx.analysis.inference.cautions import Caution
from featx.api.added import added
from featx.api.gathering import images_of
from featx.errors import FeatxError
from featx.featureset import FeatureSet
from featx.networks import NETWORKS
from featx.networks.named import FACTORY
from featx.networks.sheet import Network
from featx.networks.told import TENSORS_SHA256, read_told
from featx.training.seen import Seen, cautions_about, read_about, unknown_people

Own = Mapping[str, tuple[Network, list[Seen]] | None]


def own_networks(sets: Mapping[str, FeatureSet], home: Path) -> Own:
    """Networks whose weights are from files: what their checkpoints tell, or None where these are not found."""
    found: dict[str, tuple[Network, list[Seen]] | None] = {}
    for one in sets.values():
        network, weights = one.provenance["network"], one.provenance["weights"]
        if weights in ("", "official", FACTORY) or weights.startswith(("random", "reinit")):
            continue
        found[network] = None
        with suppress(FeatxError):
            checkpoint = _checkpoint_of(weights, one.provenance["weights_sha256"], home)
            found[network] = read_about(checkpoint, network) if checkpoint else None
    return found


def _checkpoint_of(weights: str, sha256: str, home: Path) -> Path | None:
    """The checkpoint of weights: their path, else a network that was added and has the same tensors."""
    if Path(weights).is_file():
        return Path(weights)
    for path in added(home).values():
        with suppress(FeatxError):  # another one that is damaged is no matter here
            if sha256 and read_told(path).get(TENSORS_SHA256) == sha256:
                return path
    return None


def training_of(sets: Mapping[str, FeatureSet], own: Own) -> dict[str, tuple[str, tuple[float, float] | None]]:
    """What the networks behind feature sets were trained on; weights that were drawn were on nothing."""
    found = {}
    for one in sets.values():
        network, weights = one.provenance["network"], one.provenance["weights"]
        if network in NETWORKS and not weights.startswith(("random", "reinit")):
            found[network] = (NETWORKS[network].training, NETWORKS[network].age_range_years)
    for network, about in own.items():
        if about:
            found[network] = (about[0].training, about[0].age_range_years)
    return found


def cautions_of_own(
    sets: Mapping[str, FeatureSet], own: Own, table: pd.DataFrame, condition: str
) -> tuple[Caution, ...]:
    """Who of those with images and phenotypes trained a network of one's own, or that nobody knows."""
    if not own:
        return ()
    matched = join(images_of(sets.values()), table)
    people = matched.images.participant_id[where(matched.phenotypes, condition)]
    found: list[Caution] = []
    for network, about in own.items():
        found += cautions_about(*about, people) if about else [unknown_people(network)]
    return tuple(found)
