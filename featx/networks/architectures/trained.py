"""A network of any kind, read at one tap, under outputs of its own (torch): what featx trains.

Slices that go through a network one by one are put together as Gupta et al. 2021 do it, so that the whole set trains
end to end. The rest of the network, behind the tap, is kept and not run.
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor, nn

from featx.errors import NetworkError
from featx.networks.architectures.gupta import Attention, Max, Mean, Positions
from featx.networks.decoding import Decode
from featx.networks.described import sheet_of
from featx.networks.reading import SLICES_AT_ONCE, layout_of, output_rows
from featx.networks.sheet import CLIP, PICTURES
from featx.networks.taps import find_tap
from featx.networks.trained import EMBEDDED, HIDDEN, outputs_from, place_in
from featx.networks.weights import build


class _Reached(Exception):  # noqa: N818 - it is no error
    """The tap has been read: the rest of the network is of no use."""

    def __init__(self, by: Trained) -> None:
        super().__init__()
        self.by = by  # a trained network may be inside of another one


class Trained(nn.Module):
    """The network; `forward` takes what `featx.networks.look.look` gives and answers (N, columns of all outputs).

    Parameters
    ----------
    base : str
        Facts of the network inside (`featx.networks.described.facts_of`), as JSON. Whose code they may name is
        checked where a file is read (`featx.networks.described.sheet_from`), not here.
    tap : str
        Where that one is read.
    outputs : str
        List of the facts of `featx.networks.output.Output`, as JSON.
    width : int
        Features that the tap gives.
    aggregation : str
        How single pictures are put together: mean, max or attention; "" for any other input.
    n_positions : int
        Slices that have a learned position; 0 for none.
    dropout : float
        Before the last layer.

    Attributes
    ----------
    network : Module
        The one inside.
    output : Linear
        The last layer.
    answers : ModuleList of Decode
        An output's answer each.
    n_calls : int
        How often a pass calls the module that is read; 0 before the first pass, which runs to its end.
    idle : frozenset of str or None
        Parameters that the answers do not hang on; None while nobody has looked (`featx.training.trunk`).
    """

    def __init__(
        self,
        *,
        base: str,
        tap: str,
        outputs: str,
        width: int,
        aggregation: str = "",
        n_positions: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        facts: dict[str, Any] = json.loads(base)
        self.sheet = sheet_of(facts, str(facts["name"]))
        answered = outputs_from(outputs, f"a network trained from {self.sheet.name}")
        self.path, self.how, self.width = place_in(self.sheet, tap), find_tap(self.sheet, tap).how, width
        self.network = build(self.sheet)
        self.layout = layout_of(self.network.get_submodule(self.path), self.sheet.layout)
        if self.sheet.takes == PICTURES:
            self.embedded: nn.Module = nn.Linear(width, EMBEDDED)
            self.positions = Positions(n_positions) if n_positions else nn.Identity()
            self.pooled = {"mean": Mean, "max": Max, "attention": Attention}[aggregation]()
            self.hidden = nn.Sequential(nn.Linear(EMBEDDED, HIDDEN), nn.ReLU())
        self.features = nn.Identity()  # where a tap finds the vector
        self.dropout = nn.Dropout(dropout)
        self.widths = [one.width for one in answered]
        self.output = nn.Linear(HIDDEN if self.sheet.takes == PICTURES else width, sum(self.widths))
        self.answers = nn.ModuleList(Decode(one) for one in answered)
        self.n_calls = 0
        self.idle: frozenset[str] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Columns of all outputs, one behind the other; each one's answer is there to be read."""
        columns = self.answer(self.vector(x))
        for answer, own in zip(self.answers, torch.split(columns, self.widths, dim=1), strict=True):
            answer(own)
        return columns

    def vector(self, x: Tensor) -> Tensor:
        """What the last layer gets, (N, d), of volumes (N, 1, I, J, K) or slices (N, S, C, H, W)."""
        return self.settle(self.still(x))

    def still(self, x: Tensor) -> Tensor:
        """What the network inside gives: (N, width), of single pictures (N, S, width).

        Pictures go through all at once in training, for batch norm, else some at a time.
        """
        if self.sheet.takes != PICTURES:
            return self._read(x.transpose(1, 2) if self.sheet.takes == CLIP else x)
        pictures = x.flatten(0, 1)
        most = SLICES_AT_ONCE.get(x.device.type, len(pictures))
        n_parts = 1 if self.network.training else math.ceil(len(pictures) / most)
        rows = [self._read(some) for some in torch.tensor_split(pictures, n_parts)]
        return torch.cat(rows).reshape(*x.shape[:2], self.width)

    def settle(self, rows: Tensor) -> Tensor:
        """From what `still` gives to what the last layer gets."""
        if self.sheet.takes != PICTURES:
            return rows
        vector: Tensor = self.hidden(self.pooled(self.positions(self.embedded(rows))))
        return vector

    def answer(self, vector: Tensor) -> Tensor:
        """Columns of all outputs, of vectors (N, d)."""
        columns: Tensor = self.output(self.dropout(self.features(vector)))
        return columns

    def _read(self, x: Tensor) -> Tensor:
        """Run the network inside up to the tap, and read that: the last of its calls, one row per input."""
        rows: list[Tensor] = []

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            # a pass that goes on may work in place on what was read
            own = first if self.n_calls or not isinstance(first, Tensor) else first.clone()
            rows.append(output_rows(own, self.layout, self.sheet.class_tokens, self.how))
            if len(rows) == self.n_calls:
                raise _Reached(self)

        handle = self.network.get_submodule(self.path).register_forward_hook(hook)
        try:
            self.network(x)
        except _Reached as reached:
            if reached.by is not self:
                raise
        finally:
            handle.remove()
        got = tuple(rows[-1].shape) if rows else "nothing"
        if got != (len(x), self.width):
            raise NetworkError(
                f"the tap that a network is trained from must give one row of {self.width} features for each of "
                f"{len(x)} inputs; that of {self.sheet.name} ({self.path}) gives {got}; name another tap, or "
                "mend its width"
            )
        self.n_calls = len(rows)
        return rows[-1]
