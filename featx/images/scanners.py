"""What scanners and preprocessing do to made brains: contrast, resolution, bias, noise, place, and what is cut off.

Two populations have two scanners each, `home` (alpha, beta) and `elsewhere` (gamma, delta), which differ clearly. In
the third, `varied`, every person has a scanner drawn at random, over ranges that are wider than what is seen in both
and in skull-stripped T1-weighted brains of 1.5 and 3 tesla: nothing but anatomy tells age there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from featx.images.fields import AFFINE, COARSE_MM, SHAPE, Array, random_field, sample_grid

TISSUES = (0.26, 0.68, 0.93)  # CSF, grey and white matter, as parts of the brightest white matter
WHITE = 205.0  # grey value of intensity 1
VARIED = "varied"  # the population, and the site of everybody in it
Triple = tuple[float, float, float]

_FWHM = 2.3548  # of a Gaussian, in standard deviations


@dataclass(frozen=True)
class Scanner:
    """What one scanner, and the preprocessing behind it, does to brains.

    Attributes
    ----------
    tissues : tuple of 3 float
        Intensities of CSF, grey and white matter, ascending, as parts of the brightest white matter.
    log_gamma : float
        Intensities are raised to a power that is exp of about this.
    blur_mm : tuple of 3 float
        Resolution along the voxel axes I, J and K: full width at half maximum of a Gaussian; 0 for the template's.
    bias, bias_mm : float
        Standard deviation of the logarithm of a smooth field that multiplies intensities, and its length.
    noise : float
        Standard deviation of Gaussian noise, as a part of the brightest white matter.
    deform : float
        How far brains differ from the template in shape, as a multiple of `home`.
    tilt_deg, shift_mm : float
        Standard deviations of what is left of rotation and translation after registration, about each axis.
    stretch : tuple of 3 float
        Length of every head along the world axes, as a multiple.
    edge_mm : float
        How far inside the brain's surface skull stripping cuts; negative outside.
    cut_mm : tuple of 2 float
        How much of the brain's bottom and top lies outside the field of view.
    """

    tissues: Triple = TISSUES
    log_gamma: float = 0.0
    blur_mm: Triple = (0.0, 0.0, 0.0)
    bias: float = 0.05
    bias_mm: float = 35.0
    noise: float = 0.015
    deform: float = 1.0
    tilt_deg: float = 1.0
    shift_mm: float = 0.7
    stretch: Triple = (1.0, 1.0, 1.0)
    edge_mm: float = -0.5
    cut_mm: tuple[float, float] = (0.0, 0.0)


SITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"home": ("alpha", "beta"), "elsewhere": ("gamma", "delta"), VARIED: (VARIED,)}
)
SCANNERS: Mapping[str, Scanner] = MappingProxyType(
    {
        "alpha": Scanner(),
        "beta": Scanner(log_gamma=-0.1, noise=0.025),
        "gamma": Scanner(tissues=(0.1, 0.52, 0.93), blur_mm=(3.5, 3.5, 3.5), noise=0.035, edge_mm=0.5),
        "delta": Scanner(
            tissues=(0.4, 0.74, 0.87), blur_mm=(2.0, 5.0, 2.0), bias=0.12, noise=0.05, shift_mm=1.5, edge_mm=-1.0
        ),
    }
)


def find_scanner(site: str, seed: tuple[int, ...]) -> Scanner:
    """The scanner of a site; at the site `VARIED` a scanner of the person's own, drawn from the person's seed.

    Examples
    --------
    >>> find_scanner("beta", (0, 1, 1)).noise
    0.025
    >>> find_scanner("varied", (0, 1, 1)) == find_scanner("varied", (0, 2, 1))
    False
    """
    return _draw_scanner(np.random.default_rng((*seed, 2))) if site == VARIED else SCANNERS[site]


def _draw_scanner(rng: np.random.Generator) -> Scanner:
    """One of the wide ranges of `VARIED`."""
    white = rng.uniform(0.88, 0.96)
    grey = rng.uniform(0.45, white - 0.1)
    csf = rng.uniform(0.04, min(0.5, grey - 0.15))
    blur = np.full(3, rng.uniform(0.0, 4.5))
    if rng.random() < 0.3:  # thick slices
        blur[rng.integers(3)] = rng.uniform(3.0, 7.0)
    cut = [rng.uniform(12.0, 45.0), rng.uniform(8.0, 25.0)] * (rng.random(2) < (0.15, 0.1))
    first, second, third = np.exp(rng.normal(0.0, 0.02, 3))
    return Scanner(
        tissues=(float(csf), float(grey), float(white)),
        log_gamma=float(rng.uniform(-0.2, 0.2)),
        blur_mm=(float(blur[0]), float(blur[1]), float(blur[2])),
        bias=float(rng.uniform(0.0, 0.15)),
        bias_mm=float(rng.uniform(18.0, 35.0)),
        noise=float(0.06 * rng.random() ** 2),
        deform=float(rng.uniform(0.7, 1.7)),
        tilt_deg=2.5,
        shift_mm=1.7,
        stretch=(float(first), float(second), float(third)),
        edge_mm=float(rng.uniform(-1.2, 1.5)),
        cut_mm=(float(cut[0]), float(cut[1])),
    )


def scan(
    intensity: Array, where: NDArray[np.bool_], voxels: NDArray[np.intp], scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Grey values of a brain as a scanner gives them.

    Parameters
    ----------
    intensity : ndarray of shape (n_inside,), float32
        Of the voxels inside, with the contrast of `TISSUES`.
    where : ndarray of shape (n,), bool
        Which of `voxels` are inside.
    voxels : ndarray of shape (n,), int
        Flat indices on the grid of `AFFINE`.
    scanner : Scanner
    rng : Generator

    Returns
    -------
    ndarray of shape (91, 109, 91), uint8
        1 to 255 inside, exactly 0 elsewhere and where the field of view ends.
    """
    gamma = np.exp(rng.normal(scanner.log_gamma, 0.02))
    field = random_field(rng, scanner.bias_mm)
    noise = rng.standard_normal(where.shape, dtype=np.float32)[where] * scanner.noise
    inside = voxels[where]
    at = np.stack(np.unravel_index(inside, SHAPE)).astype(np.float32)
    points = np.asarray(AFFINE[:3, :3] @ at + AFFINE[:3, 3:], np.float32)
    seen = _blurred(_recoloured(intensity, scanner.tissues), inside, scanner.blur_mm)
    bias = np.exp(scanner.bias * sample_grid(field, points, COARSE_MM))
    scanned = np.asarray(WHITE * (seen**gamma * bias + noise), np.float32)
    height_mm = 2 * (inside % SHAPE[2])
    bottom, top = scanner.cut_mm
    taken = (height_mm >= height_mm.min() + bottom) & (height_mm <= height_mm.max() - top)
    brain = np.zeros(SHAPE, np.uint8)
    brain.ravel()[inside[taken]] = np.clip(np.rint(scanned[taken]), 1, 255).astype(np.uint8)
    return brain


def _recoloured(intensity: Array, tissues: Triple) -> Array:
    """Intensities of `TISSUES` in another contrast, by straight lines between the tissues."""
    if tissues == TISSUES:
        return intensity
    ends = ((0.0, *TISSUES, 2.0), (0.0, *tissues, 2.0))
    return np.asarray(np.interp(intensity, *ends), np.float32)


def _blurred(intensity: Array, inside: NDArray[np.intp], blur_mm: Triple) -> Array:
    """Intensities at a coarser resolution; what lies outside the brain is dark."""
    if not any(blur_mm):
        return intensity
    volume = np.zeros(SHAPE, np.float32)
    volume.ravel()[inside] = intensity
    sigmas = [width / _FWHM / 2.0 for width in blur_mm]
    return np.asarray(ndimage.gaussian_filter(volume, sigmas, truncate=3.0).ravel()[inside], np.float32)
