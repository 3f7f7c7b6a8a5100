"""What an arm of a comparison is: who predicts, out of which run, and what part it plays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from featx import schema
from featx.analysis.crossval import BASELINE, IGNORED, ONLY, RESIDUAL
from featx.analysis.folds.strata import NUMBERS
from featx.analysis.request import NO_FEATURES
from featx.analysis.runs.rundir import Run
from featx.analysis.scaling import Floats

FROZEN, CONTROL, VOXELS, VOLUMES, COMBINED = "frozen", "control", "voxels", "volumes", "combined"
TRAINED, SCRATCH, CONFOUNDS, NOTHING = "trained", "scratch", "confounds", "baseline"
ROLES: Mapping[str, str] = MappingProxyType(
    {
        FROZEN: "a head on features of a frozen network",
        CONTROL: "a head on features of a network with random weights",
        VOXELS: "a head on voxels",
        VOLUMES: "a head on a table of numbers, such as regional volumes",
        COMBINED: "a head on features of several of these",
        TRAINED: "a network that was trained on from given weights",
        SCRATCH: "a network that was trained from random weights",
        CONFOUNDS: "a head on confounds alone",
        NOTHING: "what knows nothing: the mean, or the class frequencies",
    }
)
TABLE = "table"  # the network of a feature set that was a table, in its provenance
FROM_RANDOM = ("scratch", "reinit")  # arms of `featx train` that start without knowledge
STANDS = "head-only"  # the arm whose network stands still
DRAWN = ("random", "reinit")  # how weights are called that no training made
_TREATED = {"added": "confounds added", "features": "confounds removed from the features", ONLY: "confounds only"}


@dataclass(frozen=True)
class Arm:
    """One way of predicting one target, with its predictions.

    Attributes
    ----------
    name : str
        Unique among the arms of its target.
    run : str
        Name of the run that it is from.
    features, head, confounds : str
        As in the run.
    role : str
        Key of `ROLES`.
    predicted : ndarray of shape (n_repeats * n_seeds, n) or (n_repeats * n_seeds, n, n_classes)
        NaN where a repeat did not test an image. Seeds of one repeat stand side by side.
    n_seeds : int
    networks : tuple of str
        Whose features it needs, as labels in a feature file.
    """

    name: str
    run: str
    features: str
    head: str
    confounds: str
    role: str
    predicted: Floats
    n_seeds: int
    networks: tuple[str, ...] = ()

    @property
    def label(self) -> tuple[str, str, str]:
        """features, head, confounds."""
        return self.features, self.head, self.confounds


def arm_name(features: str, head: str, confounds: str) -> str:
    """An arm in words.

    Examples
    --------
    >>> arm_name("net", "ridge", "ignored"), arm_name("-", "ridge", "only"), arm_name("-", "baseline", "ignored")
    ('ridge on net', 'ridge on confounds only', 'baseline')
    >>> arm_name("net", "ridge", "added")
    'ridge on net (confounds added)'
    """
    treated = "" if confounds == IGNORED else _TREATED.get(confounds, f"confounds {confounds}")
    if features == NO_FEATURES:
        return f"{head} on {treated}" if treated else head
    return f"{head} on {features} ({treated})" if treated else f"{head} on {features}"


def role_of(
    label: tuple[str, str, str], sets: Sequence[Mapping[str, Any]], volumes: Sequence[str], *, is_trained: bool
) -> str:
    """The part that an arm plays.

    Parameters
    ----------
    label : tuple of str
        features, head, confounds.
    sets : sequence of mapping
        Provenance of the feature sets that it was given.
    volumes : sequence of str
        Features that count as volumes whatever their provenance says.
    is_trained : bool
        Whether a network was trained for it.

    Examples
    --------
    >>> role_of(("net", "scratch", "ignored"), [{"network": "net"}], (), is_trained=True)
    'scratch'
    >>> net, control = {"network": "net", "weights": "official"}, {"network": "net", "weights": "random:0"}
    >>> [role_of(("x", "ridge", "ignored"), [one], (), is_trained=False) for one in (net, control)]
    ['frozen', 'control']
    >>> [role_of(("x", arm, "ignored"), [control], (), is_trained=True) for arm in ("full", "head-only")]
    ['scratch', 'control']
    """
    features, head, confounds = label
    if head == BASELINE:
        return NOTHING
    if features == NO_FEATURES and confounds == ONLY:
        return CONFOUNDS
    if is_trained:
        if not any(str(one.get("weights", "")).startswith(DRAWN) for one in sets):
            return SCRATCH if head in FROM_RANDOM else TRAINED
        return CONTROL if head == STANDS else SCRATCH
    if features in volumes:
        return VOLUMES
    roles = {_role_of_set(one) for one in sets}
    return roles.pop() if len(roles) == 1 else COMBINED if roles else FROZEN


def _role_of_set(provenance: Mapping[str, Any]) -> str:
    network, weights = str(provenance.get("network", "")), str(provenance.get("weights", ""))
    if network == TABLE:
        return VOLUMES
    if network.startswith("voxels"):
        return VOXELS
    return CONTROL if weights.startswith(DRAWN) else FROZEN


def arms_of(
    run: Run, name: str, target: Mapping[str, Any], images: Sequence[str], volumes: Sequence[str]
) -> list[Arm]:
    """All arms of one target of one run, the residualised ones left out, in the order of the run.

    Parameters
    ----------
    run : Run
    name : str
        Of the run.
    target : mapping
        Its facts, of run.json.
    images : sequence of str
        Those to be compared, in the order of the arrays; each is in the run's predictions.
    volumes : sequence of str
        See `role_of`.
    """
    sets = {one["name"]: [part["provenance"] for part in one["sets"]] for one in run.facts["features"]}
    found = []
    for label, rows in run.predictions[str(target["name"])].groupby(["features", "head", "confounds"], sort=False):
        features, head, confounds = (str(one) for one in label)
        if confounds in RESIDUAL:
            continue  # they are scored on what confounds leave of the target, which is another target
        own = sets.get(features, [])
        is_trained = "arm" in rows and bool((rows["arm"].fillna("") != "").any())
        found.append(
            Arm(
                name=arm_name(features, head, confounds),
                run=name,
                features=features,
                head=head,
                confounds=confounds,
                role=role_of((features, head, confounds), own, volumes, is_trained=is_trained),
                predicted=predicted_of(rows, target, images),
                n_seeds=int(target.get("n_seeds", 1)),
                networks=_networks(run, features) if not is_trained else (),
            )
        )
    return found


def _networks(run: Run, features: str) -> tuple[str, ...]:
    """Labels (network, or network@weights) of the feature sets that are no tables."""
    sets = [part for one in run.facts["features"] if one["name"] == features for part in one["sets"]]
    labels = [str(part["name"]).split("/")[0] for part in sets if part["provenance"].get("network") != TABLE]
    return tuple(dict.fromkeys(labels))


def predicted_of(rows: pd.DataFrame, target: Mapping[str, Any], images: Sequence[str]) -> Floats:
    """Predictions of one arm as an array, by repeat and image.

    Parameters
    ----------
    rows : DataFrame
        Columns of `featx.schema.PREDICTIONS`, of one arm.
    target : mapping
        Its facts, of run.json.
    images : sequence of str

    Returns
    -------
    ndarray of shape (n_repeats, n) or (n_repeats, n, n_classes)
        NaN where a repeat did not test an image. Repeats count seeds as well.
    """
    is_number = target["kind"] in NUMBERS
    columns = ["predicted"] if is_number else [schema.PROBABILITY + str(level) for level in target["classes"]]
    place = pd.Index(images).get_indexer(pd.Index(rows[schema.IMAGE_ID]))
    kept = rows[place >= 0]
    found = np.full((int(rows["repeat"].max()) + 1, len(images), len(columns)), np.nan)
    found[kept["repeat"].to_numpy(np.int64), place[place >= 0]] = kept[columns].to_numpy(dtype=np.float64)
    return found[:, :, 0] if is_number else found


def distinct(arms: Sequence[Arm]) -> list[Arm]:
    """Arms of several runs with a name for each: what is the same in two runs is there once.

    The baseline is that of the first run. Arms of equal label whose predictions differ get the name of their run.
    """
    kept: list[Arm] = []
    for arm in arms:
        same = [one for one in kept if one.label == arm.label]
        if arm.role == NOTHING and same:
            continue
        if any(np.array_equal(one.predicted, arm.predicted, equal_nan=True) for one in same):
            continue
        kept.append(arm)
    names = [arm.name for arm in kept]
    return [replace(arm, name=f"{arm.name} ({arm.run})") if names.count(arm.name) > 1 else arm for arm in kept]
