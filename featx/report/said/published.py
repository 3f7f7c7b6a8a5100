"""PUBLISHED: numbers that other people published on their own data, to be drawn beside one's own. A table of facts.

Here stands only what could be verified in a work's own code, abstract or result files. Where nothing could, there is
no number, and the protocol's sentence says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from featx.errors import AnalysisError, known

READ = "S"  # in the authors' own code or abstract


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes
    ----------
    protocol : str
        Key of `PROTOCOLS`.
    phenotype : str
        "age", "sex", or a disorder held against healthy controls: "AD".
    dataset : str
    n : int, optional
        People who trained; None where it is not told.
    arm : str
        A word of `featx train` where it is one: "head-only", "two-stage/full", "scratch"; else the work's own.
    metric : str
        A key of METRICS ("mae", "auc", "accuracy"), or "change, %" and "change of mae" for a difference from scratch.
    value : float
        "mae" in years; shares between 0 and 1.
    mark : str
        How it could be verified: "S", read in the authors' own code or abstract; "D", computed from result files that
        they published.
    source : str
        The work.
    """

    protocol: str
    phenotype: str
    dataset: str
    n: int | None
    arm: str
    metric: str
    value: float
    mark: str
    source: str


PROTOCOLS: Mapping[str, str] = MappingProxyType(
    {
        "malik2022": "Malik & Bzdok 2022, Neural Networks 153:325: no number could be verified, none is shown",
        "holderrieth2022": "Holderrieth, Smith & Peng 2022: networks pretrained on UK Biobank on three other cohorts",
        "leonardsen2025": "Leonardsen et al. 2022 (NeuroImage 256:119210) and the multi-task network of 2025",
        "gupta2023": "Gupta et al. 2021 and 2023: no number could be verified, none is shown",
        "dhinagar2023": "Dhinagar et al. 2023, arXiv 2309.04651: what pretraining gained; no score could be verified",
    }
)

_HOLDERRIETH = "Holderrieth, Smith & Peng 2022"
_ARMS = ("direct", "head-only", "two-stage/full", "scratch", "elastic net")
_RE_USE = (  # dataset, phenotype, people who trained, metric, and the arms in their order
    ("OASIS", "age", 355, "mae", (4.17, 3.52, 3.25, 4.39, 6.24)),
    ("ABIDE", "age", 536, "mae", (None, 4.43, 1.70, 1.79, 3.59)),
    ("IXI", "age", 215, "mae", (13.2, 5.35, 5.65, 6.24, 9.90)),
    ("OASIS", "sex", 355, "accuracy", (0.902, 0.946, 0.926, 0.809, 0.670)),
    ("ABIDE", "sex", 536, "accuracy", (0.599, 0.702, 0.757, 0.796, 0.689)),
    ("IXI", "sex", 215, "accuracy", (0.591, 0.876, 0.903, 0.782, 0.731)),
)

_LEONARDSEN_2022, _LEONARDSEN_2025 = "Leonardsen et al. 2022", "Leonardsen et al. 2025, median over draws"
_OUTPUTS = ("sfcn_reg", "sfcn_sm", "sfcn_rank")
_SCANNERS = (("known scanners", (2.47, 2.24, 2.55)), ("unknown scanners", (3.91, 5.05, 5.93)))
_ADDED = ("age + sex", "age + sex + brain-age delta", "age + sex + 64 features")
_CASES = (
    ("MS", (0.500, 0.720, 0.797)),
    ("AD", (0.516, 0.698, 0.838)),
    ("MCI", (0.547, 0.659, 0.733)),
    ("SCZ", (0.507, 0.589, 0.629)),
)
_STARTS = ("volumes", "scratch", "frozen", "brain-age full", "multi-task full")
_GROWING = (
    (100, (0.945, 0.735, 0.790, 0.860, 0.895)),
    (300, (0.904, 0.872, 0.823, 0.910, 0.929)),
    (500, (0.916, 0.915, 0.844, 0.939, 0.949)),
)

_DHINAGAR = "Dhinagar et al. 2023"
_GAINS = (
    ("AD", "ViT, pretrained", "change, %", 7.4),
    ("PD", "ViT, pretrained", "change, %", 4.6),
    ("PD", "CNN, pretrained", "change, %", 19.1),
    ("age", "CNN, pretrained", "change of mae", -1.26),
)


def _holderrieth() -> Iterator[Published]:
    name = "holderrieth2022"
    for dataset, phenotype, n, metric, values in _RE_USE:
        for arm, value in zip(_ARMS, values, strict=True):
            if value is not None:  # a dash in the work's table
                yield Published(name, phenotype, dataset, n, arm, metric, value, READ, _HOLDERRIETH)
    yield Published(name, "sex", "OASIS", None, "wrong-label", "accuracy", 0.520, READ, _HOLDERRIETH)
    yield Published(name, "age", "OASIS", None, "wrong-label", "mae", 6.91, READ, _HOLDERRIETH)


def _leonardsen() -> Iterator[Published]:
    name = "leonardsen2025"
    for n, medians in _GROWING:
        for arm, value in zip(_STARTS, medians, strict=True):
            yield Published(name, "AD", "case-control", n, arm, "auc", value, READ, _LEONARDSEN_2025)
    for dataset, errors in _SCANNERS:
        for arm, value in zip(_OUTPUTS, errors, strict=True):
            yield Published(name, "age", dataset, None, arm, "mae", value, READ, _LEONARDSEN_2022)
    for phenotype, values in _CASES:
        for arm, value in zip(_ADDED, values, strict=True):
            yield Published(name, phenotype, "case-control", None, arm, "auc", value, READ, _LEONARDSEN_2022)


def _dhinagar() -> Iterator[Published]:
    for phenotype, arm, metric, value in _GAINS:
        yield Published("dhinagar2023", phenotype, "", None, arm, metric, value, READ, _DHINAGAR)


PUBLISHED: tuple[Published, ...] = (*_holderrieth(), *_leonardsen(), *_dhinagar())


def published(protocol: str) -> tuple[Published, ...]:
    """What a work published; nothing where no number of it could be verified.

    Parameters
    ----------
    protocol : str
        Key of `PROTOCOLS`.

    Raises
    ------
    AnalysisError
        The protocol is unknown; the sentence names the known ones.

    Examples
    --------
    >>> [(one.dataset, one.arm, one.value) for one in published("holderrieth2022")[:2]]
    [('OASIS', 'direct', 4.17), ('OASIS', 'head-only', 3.52)]
    >>> published("malik2022")
    ()
    """
    if protocol not in PROTOCOLS:
        raise AnalysisError(f"a protocol must be known; {protocol!r} is not; {known(PROTOCOLS)}")
    return tuple(one for one in PUBLISHED if one.protocol == protocol)
