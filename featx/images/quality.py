"""How good an image is, in numbers that compare it with others of its study: no cut-offs, no verdicts.

All but a few numbers are measured at some 100,000 voxels on a lattice, each with its 26 neighbours, so that a volume
of 1 mm takes a tenth of a second. They hold for images of one kind: the noise of a brain that was resampled is
smoothed, and scanners differ. So rank images of one study and one processing, and look at the first ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from featx.images.findings import FOREGROUND, look_at
from featx.images.volume import Volume, voxel_sizes_mm

Floats = NDArray[np.float64]

STEP_MM = 3.0  # of the lattice of voxels whose neighbours are looked at
N_BINS = 128  # of the histogram that tissues are told apart in
KEPT = 0.9  # of the Haar coefficients, the smallest; the others may be edges
KEPT_TO_SD = 0.657347  # mean of the absolute values of a normal distribution that are kept
LEAST_AIR = 0.02  # share of the lattice that must be air, for there to be a background
_NEIGHBOURS = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
_CENTRE = _NEIGHBOURS.index((0, 0, 0))
_BLOCK = [at for at, offset in enumerate(_NEIGHBOURS) if min(offset) >= 0]  # 2 x 2 x 2 voxels


@dataclass(frozen=True)
class Quality:
    """What was measured of one image. NaN where it cannot be.

    Attributes
    ----------
    snr : float
        Median grey value of white matter over the noise there. Noise is the standard deviation that the Haar
        coefficients of the highest frequency tell (differences along all three axes at once, which edges hardly
        touch; Coupe et al. 2010, Med Image Anal 14:483): by the mean of the smallest nine tenths of them and not
        their median, which has few values where grey has 8 bits.
    cnr : float
        Difference of the means of white and grey matter over the root of the sum of their variances. Tissues are
        told apart by grey values alone: Otsu's two thresholds (1979) of the foreground.
    efc : float
        Entropy focus criterion (Atkinson et al. 1997, IEEE Trans Med Imaging 16:903) of the voxels that are not
        exactly 0, over its largest possible value: ghosts and blur raise it.
    fber : float
        Mean energy of the foreground over that of the air around the head (Shehzad et al. 2015); NaN where the air
        was set to 0, as around a stripped brain.
    sharpness : float
        Root mean square of the Laplacian over that of the gradient (both usual measures of focus: Pertuz et al. 2013,
        Pattern Recognit 46:1415), per mm, in the foreground without its rim; what the noise adds to both is taken
        off. So fine detail against coarse, whatever the contrast: blur lowers it, noise and anatomy hardly change it.
    litres, outside, overlap, likeness, offset_mm : float
        As in `featx.images.findings.Findings`.
    p05, p50, p95 : float
        Percentiles of the foreground's grey values, in the units of the image.
    """

    snr: float
    cnr: float
    efc: float
    fber: float
    sharpness: float
    litres: float
    outside: float
    overlap: float
    likeness: float
    offset_mm: float
    p05: float
    p50: float
    p95: float


def measure(volume: Volume) -> Quality:
    """Measure a volume.

    Parameters
    ----------
    volume : Volume
        In any orientation, on any grid; finite and not constant (`featx.images.check.check_values`). Numbers are
        best for a T1 brain without skull; of a head, the brightest tissue stands for white matter.
    """
    found = look_at(volume)
    data, sizes_mm = volume.data, voxel_sizes_mm(volume.affine)
    around = _around(data, sizes_mm)
    bright = _bright(around[_CENTRE])
    inside = around[:, around.min(axis=0) > FOREGROUND * bright]  # wholly, neighbours too
    tissue = around[_CENTRE][around[_CENTRE] > FOREGROUND * bright]
    low, high = otsu_thresholds(tissue)
    white = inside[:, inside[_CENTRE] > high]
    plateau, sigma = (float(np.median(white[_CENTRE])), noise(white)) if white.size else (math.nan, math.nan)
    p05, p50, p95 = (float(one) for one in np.percentile(tissue, (5, 50, 95))) if tissue.size else (math.nan,) * 3
    return Quality(
        snr=_over(plateau, sigma),
        cnr=contrast(tissue, low, high),
        efc=entropy_focus(data[data != 0]),
        fber=_fber(data, sizes_mm, bright),
        sharpness=sharpness(inside, sizes_mm, sigma),
        litres=found.litres,
        outside=found.outside,
        overlap=found.overlap,
        likeness=found.likeness,
        offset_mm=found.offset_mm if math.isfinite(found.offset_mm) else math.nan,
        p05=p05,
        p50=p50,
        p95=p95,
    )


def _over(value: float, unit: float) -> float:
    return value / unit if unit > 0 else math.nan


def _bright(values: NDArray[np.float32]) -> float:
    above = values[values > 0]
    return float(np.percentile(above, 90)) if above.size else 0.0


def _around(data: NDArray[np.float32], sizes_mm: Floats) -> NDArray[np.float32]:
    """Voxels of a lattice with their 26 neighbours, shape (27, n)."""
    every = np.maximum(1, np.rint(STEP_MM / sizes_mm)).astype(int)
    parts = [
        data[
            tuple(
                slice(1 + by, length - 1 + by, step)
                for by, length, step in zip(offset, data.shape, every, strict=True)
            )
        ].ravel(order="F")
        for offset in _NEIGHBOURS
    ]
    return np.stack(parts)


def noise(around: NDArray[np.float32]) -> float:
    """Standard deviation of white noise, from neighbourhoods of voxels, shape (27, n); NaN of none."""
    if not around.size:
        return math.nan
    signs = np.array([(-1.0) ** sum(_NEIGHBOURS[at]) for at in _BLOCK], dtype=np.float32)
    detail = np.tensordot(signs, around[_BLOCK], axes=1) / math.sqrt(len(_BLOCK))
    size = np.sort(np.abs(detail))[: max(1, round(KEPT * len(detail)))]
    return float(size.mean(dtype=np.float64)) / KEPT_TO_SD


def sharpness(around: NDArray[np.float32], sizes_mm: Floats, noise: float) -> float:
    """Root mean square of the Laplacian over that of the gradient, per mm, without what noise adds to both.

    Parameters
    ----------
    around : ndarray of shape (27, n)
        Neighbourhoods of voxels.
    sizes_mm : ndarray of shape (3,)
        Voxels.
    noise : float
        Standard deviation of white noise.
    """
    if not around.size:
        return math.nan
    steps = np.eye(3, dtype=int)
    ahead = around[[_NEIGHBOURS.index((i, j, k)) for i, j, k in steps]]
    behind = around[[_NEIGHBOURS.index((i, j, k)) for i, j, k in -steps]]
    per_mm = (1 / sizes_mm).astype(np.float32)[:, None]
    gradient = np.square((ahead - behind) * per_mm / 2, dtype=np.float64).sum(axis=0).mean()
    curved = ((ahead + behind - 2 * around[_CENTRE]) * per_mm**2).sum(axis=0)
    laplacian = np.square(curved, dtype=np.float64).mean()
    square = float(np.square(1 / sizes_mm).sum())
    gradient -= noise**2 * square / 2
    laplacian -= noise**2 * (2 * float((1 / sizes_mm**4).sum()) + 4 * square**2)
    return math.sqrt(laplacian / gradient) if laplacian > 0 and gradient > 0 else math.nan


def otsu_thresholds(values: NDArray[np.float32]) -> tuple[float, float]:
    """The two thresholds that part values into three classes of the least variance within.

    Examples
    --------
    >>> values = np.repeat([10, 50, 90], 100).astype(np.float32)
    >>> low, high = otsu_thresholds(values)
    >>> 10 < low < 50 < high < 90
    True
    """
    if not values.size or not np.ptp(values):
        return math.nan, math.nan
    top = float(np.percentile(values, 99.5))
    counts, edges = np.histogram(values.clip(None, top), N_BINS)
    share = np.concatenate([[0.0], np.cumsum(counts / counts.sum())])
    centre = (edges[1:] + edges[:-1]) / 2
    moment = np.concatenate([[0.0], np.cumsum(counts / counts.sum() * centre)])
    first, second = np.triu_indices(N_BINS - 1, 1)
    between = np.zeros(len(first))
    bounds = [(np.zeros_like(first), first + 1), (first + 1, second + 1), (second + 1, np.full_like(first, N_BINS))]
    for start, end in bounds:
        weight, of = share[end] - share[start], moment[end] - moment[start]
        between += np.divide(of**2, weight, out=np.zeros_like(of), where=weight > 0)
    best = int(between.argmax())
    return float(edges[first[best] + 1]), float(edges[second[best] + 1])


def contrast(values: NDArray[np.float32], low: float, high: float) -> float:
    """White from grey matter: difference of means over the root of the sum of variances; NaN where one is empty."""
    grey, white = values[(values > low) & (values <= high)], values[values > high]
    if not grey.size or not white.size:
        return math.nan
    apart = white.mean(dtype=np.float64) - grey.mean(dtype=np.float64)
    return _over(float(apart), math.sqrt(float(grey.var(dtype=np.float64) + white.var(dtype=np.float64))))


def entropy_focus(values: NDArray[np.float32]) -> float:
    """Entropy focus criterion, 1 where all values are equal.

    Examples
    --------
    >>> round(entropy_focus(np.full(1000, 7, np.float32)), 6)
    1.0
    """
    values = np.abs(values[values != 0])
    if len(values) < 2:
        return math.nan
    energy = math.sqrt(float(np.square(values, dtype=np.float64).sum()))
    shares = values / np.float32(energy)
    largest = math.sqrt(len(values)) * math.log(math.sqrt(len(values)))
    return -float((shares * np.log(shares)).sum(dtype=np.float64)) / largest


def _fber(data: NDArray[np.float32], sizes_mm: Floats, bright: float) -> float:
    """Energy of the foreground over that of the air, on the lattice."""
    every = np.maximum(1, np.rint(STEP_MM / sizes_mm)).astype(int)
    some = data[tuple(slice(None, None, step) for step in every)]
    foreground = some > FOREGROUND * bright
    head = ndimage.binary_fill_holes(ndimage.binary_closing(foreground, iterations=3))
    air = ~ndimage.binary_dilation(head, iterations=2) & (some != 0)
    if not foreground.any() or air.sum() < LEAST_AIR * air.size:
        return math.nan
    of_both = (np.square(some[part], dtype=np.float64).mean() for part in (foreground, air))
    return _over(*map(float, of_both))
