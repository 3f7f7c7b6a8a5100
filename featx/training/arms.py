"""ARMS: what trains, from which weights, in which order. A table of facts; needs no torch.

An arm is a way to get from a network to predictions. ``featx fit`` knows one, the frozen network under a head of
scikit-learn; those that train are here. The names are those of Holderrieth, Smith and Peng 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from featx.errors import AnalysisError, known

OUTPUT, ALL = "output", "all"  # what a phase trains: the new last layer, or everything
GIVEN, RANDOM, REDRAWN = "given", "random", "redrawn"  # the weights it starts from


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes
    ----------
    name : str
    says : str
        What it is, in one line, for people.
    start : str
        GIVEN (the weights that were asked for: official ones or a file), RANDOM (as the network is built), or
        REDRAWN (each tensor drawn anew at its own mean and standard deviation).
    phases : tuple of str
        What trains, phase after phase: OUTPUT or ALL.
    other_label : bool
        Whether the network must have been pretrained on other phenotypes than the target.
    """

    name: str
    says: str
    start: str
    phases: tuple[str, ...]
    other_label: bool = False


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        arm.name: arm
        for arm in (
            Arm("head-only", "the network stays as it is, a new last layer is trained", GIVEN, (OUTPUT,)),
            Arm("two-stage", "first a new last layer, then everything, more gently", GIVEN, (OUTPUT, ALL)),
            Arm("full", "everything, from pretrained weights", GIVEN, (ALL,)),
            Arm("scratch", "everything, from random weights: what transfer is held against", RANDOM, (ALL,)),
            Arm("reinit", "everything, from weights redrawn at the pretrained ones' scale", REDRAWN, (ALL,)),
            Arm(
                "wrong-label",
                "head-only on a network that was pretrained on another phenotype: how far features carry over",
                GIVEN,
                (OUTPUT,),
                other_label=True,
            ),
        )
    }
)


def get_arm(name: str) -> Arm:
    """An arm by its name.

    Raises
    ------
    AnalysisError
        It is unknown; the sentence names the known ones.
    """
    if name not in ARMS:
        raise AnalysisError(f"an arm must be known; {name!r} is not; {known(ARMS)}")
    return ARMS[name]
