"""Grey values as features: the means of blocks of voxels inside the template's brain. Nothing in it is learned."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from featx.images.template import template_mask


class Voxels(nn.Module):
    """From volumes (N, 1, 91, 109, 91) on the 2 mm grid of MNI152 (LAS) to the means of blocks (N, n_blocks).

    Blocks begin at the first voxel of each axis; the last voxels, which fill none, lie outside any brain. Those are
    kept of which at least half lies in the template's brain, in the order of I, J, K.

    Parameters
    ----------
    edge : int
        Voxels along an edge of a block.
    """

    inside: Tensor

    def __init__(self, edge: int) -> None:
        super().__init__()
        self.edge = edge
        mask = torch.from_numpy(template_mask().astype(np.float32))[None, None]
        share = functional.avg_pool3d(mask, edge).flatten()
        self.register_buffer("inside", torch.nonzero(share >= 0.5)[:, 0], persistent=False)  # no checkpoint holds it
        self.features = nn.Identity()  # where a tap finds them

    def forward(self, volumes: Tensor) -> Tensor:
        """Means of the blocks."""
        means: Tensor = self.features(functional.avg_pool3d(volumes, self.edge).flatten(1)[:, self.inside])
        return means
