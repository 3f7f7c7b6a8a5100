"""MONAI's networks for volumes of one channel (the extra ``monai``).

MONAI is imported when a network is built, not before: it takes seconds, and most installations lack it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from featx.errors import DependencyError, NetworkError, known

MODELS = ("DenseNet121", "resnet18", "resnet50", "ViT")


def build(*, model: str, **arguments: Any) -> nn.Module:
    """One of MONAI's networks in three dimensions; names of parameters are MONAI's.

    Parameters
    ----------
    model : str
        One of `MODELS`.
    arguments
        Those that MONAI gives it, beyond the number of dimensions. ViT gets the class token that MONAI's has for
        classification, and an output without activation.

    Raises
    ------
    NetworkError
        Another model.
    DependencyError
        MONAI, or einops, which its transformer needs, is not installed.
    """
    if model not in MODELS:
        raise NetworkError(f"a network of MONAI must be one that featx has taps for; got {model!r}; {known(MODELS)}")
    token: dict[str, Any] = {"classification": True} if model == "ViT" else {}
    try:
        from monai.networks import nets

        network: nn.Module = getattr(nets, model)(spatial_dims=3, **token, **arguments)
    except ImportError as error:
        raise DependencyError(
            f"MONAI and einops must be installed to build MONAI's {model}; one of them cannot be imported "
            f"({str(error).splitlines()[0]}); pip install 'featx[monai]'"
        ) from error
    if model == "ViT":
        network.classification_head = Output(len(network.get_parameter("norm.weight")), arguments["num_classes"])
    return network


class Output(nn.Linear):
    """A last layer whose input can be read: it passes through `vector`, under which a tap finds it."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out)
        self.vector = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of vectors (N, width_in)."""
        return super().forward(self.vector(x))
