"""What is done to training volumes at random, on the device that they are on (torch).

First everything is drawn, from one generator of the CPU, so that each device gets the same draws, and so that what is
drawn for one change does not depend on which others are wanted; then it is done, in this order: mirror and shift,
turn and scale, bias field, noise. Noise itself is drawn on the device, whose generators differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from featx.training.schedules import NO_AUGMENTATION, Augmentation

WAVES = 3  # along each axis: a constant, half a wave, a whole wave


@dataclass(frozen=True)
class Draws:
    """What chance has chosen for N volumes, on the CPU.

    Attributes
    ----------
    shifts : Tensor of shape (N, 3), int64
        Voxels along I, J, K; above 0 towards larger indices.
    mirrored : Tensor of shape (N,), bool
    angles_rad : Tensor of shape (N, 3), float64
        About the axes I, J, K.
    sizes : Tensor of shape (N,), float64
        Above 1 for larger heads.
    waves : Tensor of shape (N, WAVES, WAVES, WAVES), float32
        Coefficients of the logarithm of the bias field; see `shade`.
    noise_seed : int
    """

    shifts: Tensor
    mirrored: Tensor
    angles_rad: Tensor
    sizes: Tensor
    waves: Tensor
    noise_seed: int


def augment(volumes: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Change volumes at random.

    Parameters
    ----------
    volumes : Tensor of shape (N, 1, I, J, K), float32
        I runs from left to right, or from right to left. They are left as they are.
    how : Augmentation
    generator : torch.Generator
        Of the CPU, wherever the volumes are.

    Returns
    -------
    Tensor of shape (N, 1, I, J, K), float32
        The very volumes where nothing is wanted.
    """
    if how == NO_AUGMENTATION:
        return volumes
    drawn = draw(len(volumes), how, generator)
    with torch.autocast(volumes.device.type, enabled=False):  # a field of half precision has steps
        if how.shift_voxels or how.mirror:
            volumes = move(volumes, drawn.shifts, drawn.mirrored)
        if how.rotate_deg or how.scale:
            volumes = turn(volumes, drawn.angles_rad, drawn.sizes)
        if how.bias:
            volumes = shade(volumes, drawn.waves)
        if how.noise:
            volumes = add_noise(volumes, how.noise, drawn.noise_seed)
    return volumes


def draw(n: int, how: Augmentation, generator: torch.Generator) -> Draws:
    """Draw all that `how` leaves to chance, for n volumes.

    Examples
    --------
    >>> drawn = draw(500, Augmentation(shift_voxels=2, rotate_deg=9.0), torch.Generator().manual_seed(0))
    >>> drawn.shifts.unique().tolist(), bool(drawn.mirrored.any()), round(math.degrees(drawn.angles_rad.max()), 1)
    ([-2, -1, 0, 1, 2], False, 9.0)
    """

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1

    shifts = torch.randint(-how.shift_voxels, how.shift_voxels + 1, (n, 3), generator=generator)
    mirrored = (uniform(n) < 0) & how.mirror
    angles_rad = math.radians(how.rotate_deg) * uniform(n, 3)
    sizes = 1 + how.scale * uniform(n)
    waves = torch.randn((n, WAVES, WAVES, WAVES), generator=generator)
    waves[:, 0, 0, 0] = 0  # a constant would only be another scale
    waves *= how.bias / waves.flatten(1).norm(dim=1).view(n, 1, 1, 1)
    noise_seed = int(torch.randint(2**62, (1,), generator=generator))
    return Draws(shifts, mirrored, angles_rad, sizes, waves, noise_seed)


def move(volumes: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
    """Volumes (N, 1, I, J, K) with I reversed where `mirrored`, then shifted; behind them the border is continued."""
    moved = torch.empty_like(volumes)
    for volume, target, shift, mirror in zip(volumes, moved, shifts.tolist(), mirrored.tolist(), strict=True):
        found = volume.flip(1) if mirror else volume
        for axis, by in enumerate(shift, start=1):
            length = found.shape[axis]
            at = (torch.arange(length, device=found.device) - by).clamp(0, length - 1)
            found = found.index_select(axis, at) if by else found
        target.copy_(found)
    return moved


def turn(volumes: Tensor, angles_rad: Tensor, sizes: Tensor) -> Tensor:
    """Volumes (N, 1, I, J, K) turned about their centre, about K, then J, then I, and scaled; trilinear.

    Behind them the border is continued. Angles and sizes as in `Draws`, seen in voxels, which are cubes.
    """
    half = torch.tensor(volumes.shape[2:], dtype=torch.float64) / 2  # torch measures from -1 to 1 along each axis
    turned = torch.empty_like(volumes)
    for at, (angles, size) in enumerate(zip(angles_rad, sizes, strict=True)):
        back = rotation(angles).T / size  # from where a voxel is to where it comes from
        inside = back * half / half[:, None]
        theta = torch.cat([inside.flip(0, 1), torch.zeros(3, 1)], dim=1)[None]  # torch's x, y, z are K, J, I
        one = volumes[at : at + 1]
        grid = functional.affine_grid(theta.to(one), list(one.shape), align_corners=False)
        turned[at : at + 1] = functional.grid_sample(one, grid, padding_mode="border", align_corners=False)
    return turned


def rotation(angles_rad: Tensor) -> Tensor:
    """The rotation (3, 3) about K, then J, then I, by angles (3,) about I, J and K.

    Examples
    --------
    >>> rotation(torch.tensor([0.0, 0.0, math.pi / 2])).round().int().tolist()  # I goes to where J was
    [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    """
    whole = torch.eye(3, dtype=angles_rad.dtype)
    for axis, angle in enumerate(angles_rad.tolist()):
        one = torch.eye(3, dtype=angles_rad.dtype)
        a, b = sorted({0, 1, 2} - {axis})
        one[a, a] = one[b, b] = math.cos(angle)
        one[a, b], one[b, a] = -math.sin(angle), math.sin(angle)
        whole = whole @ one
    return whole


def shade(volumes: Tensor, waves: Tensor) -> Tensor:
    """Volumes (N, 1, I, J, K) times a smooth field, the exponential of a sum of products of cosines.

    The cosines are orthonormal over the voxels of an axis: the logarithm has the mean 0 and, as its standard
    deviation, the norm of the coefficients (N, WAVES, WAVES, WAVES).
    """
    bases = [cosines(length, volumes.device) for length in volumes.shape[2:]]
    field = torch.einsum("npqr,pi,qj,rk->nijk", waves.to(volumes.device), *bases)
    return field.exp_().unsqueeze(1).mul_(volumes)


def cosines(length: int, device: torch.device) -> Tensor:
    """The first cosines over the voxels of an axis, shape (WAVES, length), each with the mean square 1."""
    at = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    waves = torch.cos(math.pi * at * torch.arange(WAVES)[:, None])
    waves[1:] *= math.sqrt(2)
    return waves.to(device, torch.float32)


def add_noise(volumes: Tensor, share: float, seed: int) -> Tensor:
    """Volumes (N, 1, I, J, K) with Gaussian noise where they are not 0: around a brain without its skull stays 0.

    Parameters
    ----------
    share : float
        Its standard deviation, as a part of that of the volume's non-zero voxels.
    seed : int
        Of a generator on the device.
    """
    chance = torch.Generator(volumes.device).manual_seed(seed)
    there = volumes != 0
    n = there.sum(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1)
    means = volumes.sum(dim=(1, 2, 3, 4), keepdim=True) / n
    variances = ((volumes - means).square_() * there).sum(dim=(1, 2, 3, 4), keepdim=True) / n
    noise = torch.empty_like(volumes).normal_(generator=chance)
    return noise.mul_(there).mul_(share * variances.sqrt()).add_(volumes)
