"""The network that is trained, before it is: its sheet, its needs, what of it decides a result. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featx.errors import AnalysisError
from featx.extraction.loading import Need
from featx.extraction.plan import Request
from featx.images.contract import check_accepted
from featx.networks.described import facts_of
from featx.networks.named import OWN, code_sha256
from featx.networks.output import Output
from featx.networks.recipe import describe
from featx.networks.sheet import Network, View
from featx.networks.trained import trained_sheet
from featx.training.folds import Wish


@dataclass(frozen=True)
class Source:
    """The network that is trained, before it is.

    Attributes
    ----------
    request : Request
        With one view; its weights are those that an arm from given weights starts with.
    tap : str
        Where the network is read.
    aggregation : str
        How slices of a network on pictures become one: mean, max or attention; "" for other networks.
    positions : bool
        Whether slices have learned positions.
    home : Path
        The cache of official weights.
    missing : tuple of View
        The view with slices missing (`featx.networks.missing`): those who test are predicted along these, too.
    """

    request: Request
    tap: str
    aggregation: str = ""
    positions: bool = False
    home: Path = Path()
    missing: tuple[View, ...] = ()

    @property
    def view(self) -> View:
        """What the network looks at."""
        return self.request.recipe.views[0]

    @property
    def base(self) -> Network:
        """The sheet, with the recipe as it is used."""
        return replace(self.request.sheet, recipe=self.request.recipe)


def source_facts(source: Source) -> dict[str, Any]:
    """What of a network and its first weights decides the result of a fit."""
    return {
        "base": facts_of(source.base),
        "weights": source.request.weights,
        "file": _file_facts(source.request.weights),
        "tap": source.tap,
        "aggregation": source.aggregation,
        "positions": source.positions,
        "resampled": source.request.resampling,
        "code": code_of(source),
    }


def code_of(source: Source) -> str:
    """Digest of the code of a network of one's own; "" of others."""
    name = source.request.sheet.name
    return code_sha256(name.removeprefix(OWN)) if name.startswith(OWN) else ""


def _file_facts(weights: str) -> tuple[int, int] | None:
    """Size and time of a file of weights."""
    path = Path(weights)
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None


def check_label(source: Source, wish: Wish, targets: Sequence[str]) -> None:
    """Refuse the arm wrong-label where the network's label is the target, or unknown.

    Raises
    ------
    AnalysisError
    """
    if not wish.arm.other_label:
        return
    if source.request.weights.startswith(("random:", "reinit:")):
        raise AnalysisError(
            "the arm wrong-label must have a network that was trained for another phenotype; "
            f"{source.request.weights} was trained for none; take head-only, which is the control of random weights"
        )
    labels = {one.casefold() for one in source.base.labels}
    same = [one for one in targets if one.casefold() in labels]
    if same or not labels:
        got = f"{source.base.name} was trained for {', '.join(source.base.labels) or 'labels that its sheet lacks'}"
        raise AnalysisError(
            f"the arm wrong-label must have a network that was trained for another phenotype; {got}, and the target "
            f"is {', '.join(map(repr, same or targets))}; take head-only, or another network"
        )


def need_of(source: Source, accept: Sequence[str] = ()) -> Need:
    """What the network needs of an image, as `featx.extraction.loading` takes it.

    Raises
    ------
    NetworkError
        A code to accept is none of `featx.images.contract.ACCEPTABLE`.
    """
    check_accepted(accept)
    request = source.request
    key = describe(request.recipe, View("volume"), resampling=request.resampling)
    recipe = replace(request.recipe, views=())
    return Need(request.sheet.name, key, recipe, request.sheet.name, request.resampling, tuple(accept))


def sheet_of(source: Source, outputs: tuple[Output, ...], dropout: float = 0.0, **facts: Any) -> Network:
    """The sheet of the network that is trained to answer outputs.

    Raises
    ------
    NetworkError
        It cannot be trained as it is wished: from that tap, with that aggregation.
    """
    base = source.base
    counts = [int(str(step.settings["count"])) for step in source.view.steps if step.name == "slices"]
    return trained_sheet(
        base,
        tap=source.tap,
        view=source.view,
        outputs=outputs,
        aggregation=source.aggregation,
        n_positions=sum(counts, 0 if counts else 1) if source.positions else 0,
        dropout=dropout,
        **{**_UNTOLD, "name": f"{base.name}.trained", **facts},
    )


_UNTOLD = {"training": "", "labels": (), "age_range_years": None, "reference": "", "n_parameters": 0}
