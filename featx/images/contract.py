"""Does an image keep a network's contract? `look_at` measures it once, `judge` says what does not fit a network.

The look takes a lattice of 4 mm, twice: in the voxels of the image, for what needs no space, and at the points of
the template, found through the image's affine, for how it lies there. So it is fast and works on any grid.

The limits come from real images: 185 brains scaled to MNI152, 3 that are placed there and keep their size (they fill
half of the template), 2 brains in their own space, 7 heads as they were scanned, before and after resampling.

===================  ===================  ==============  ==================  =====================
measure              brains, scaled       brains, placed  heads               limit
===================  ===================  ==============  ==================  =====================
litres               2.06 to 2.16         1.01 to 1.10    2.47 to 4.03        0.92 and 2.6 [1]_
bright far outside   0 to .002            0               .13 to .28          .06
overlap              .951 to .969         .855 to .925    .63 to .85          .90; .80 if small
centre off by, mm    0.4 to 2.5           1.9 to 5.6      11 to 42            8
===================  ===================  ==============  ==================  =====================

.. [1] 0.6 and 2.35 for networks that take a brain in its own space, of which nothing else is judged.

Seen so, all of ten scaled brains each: shifted by 12 mm along any axis, turned by 20 degrees about any, turned upside
down or front to back, shrunk to 0.75, grown to 1.15. Not seen: left and right exchanged, for that is as good a brain;
turns of 10 degrees; and most turns of a brain that keeps its size, for it lies loosely in the template (shifts of 12
mm are seen). The rim of a head is no brighter than that of a brain (.51 to .84 of the inside, against .39 to .69):
it is not judged. Nor is the share of zeros, which tells a tight field of view as much as a skull.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from featx.errors import ImageError, NetworkError, known
from featx.images.check import check_lattice
from featx.images.template import read_template, template_depth_mm
from featx.images.volume import MNI152_2MM, Grid, Volume, grid_affine, orientation, voxel_sizes_mm

LATTICE_MM = 4
FOREGROUND = 0.1  # of the bright tissue; what is darker is background or CSF
OUTSIDE = 0.05  # of it: what is brighter far outside the template's brain is no background
FAR_MM = 8.0

MOST_OUTSIDE = 0.06
LITRES, LITRES_IN_SPACE = (0.6, 2.35), (0.92, 2.6)  # of a brain in its own size, and of one that may be scaled
LEAST_OVERLAP, LEAST_OVERLAP_SMALL = 0.90, 0.80
SURE_OVERLAP, SURE_LIKENESS = 0.94, 0.47  # below both of them a brain of the template's size lies wrong
MOST_OFFSET_MM = 8.0
SMALL = 0.8  # of the template's volume
RANGE = (0.3, 1.25)  # of the number that a recipe divides by, where the largest voxel may lie
MOST_AT_TOP = 1e-3  # of the voxels above 0
HOT, NEGATIVE = 3.0, 0.05  # of the bright tissue

# Misfits that concern what the image shows, so that somebody may know better and let it pass.
ACCEPTABLE = ("background-not-zero", "not-skull-stripped", "too-little-brain", "not-registered", "wrong-range")


@dataclass(frozen=True)
class Findings:
    """What was measured of one image.

    Attributes
    ----------
    orientation : str
    shape : tuple of int
    voxel_mm : tuple of float
    affine : ndarray of shape (4, 4)
    zeros : float
        Share of voxels that are exactly 0.
    background, at_background : float
        Median of the six faces of the volume, and the share of their voxels that have this very value.
    low, high, bright : float
        Smallest and largest voxel; 90th percentile of the voxels above 0.
    integers : bool
        Whether voxels are whole numbers (of a lattice of 4 mm).
    at_top : float
        Share of the voxels above 0 that have the largest value.
    litres : float
        Volume of what is brighter than a tenth of the bright tissue.
    outside : float
        Share of the space more than 8 mm outside the template's brain where the image is not dark.
    overlap : float
        Share of the foreground that lies in the part of the template's brain of the same volume, from its middle
        outwards; so a brain need not be scaled to the template.
    likeness : float
        Correlation with the template's grey values, inside its brain.
    offset_mm : float
        From the centre of the template's brain to that of the foreground.
    """

    orientation: str
    shape: tuple[int, ...]
    voxel_mm: tuple[float, ...]
    affine: NDArray[np.float64]
    zeros: float
    background: float
    at_background: float
    low: float
    high: float
    bright: float
    integers: bool
    at_top: float
    litres: float
    outside: float
    overlap: float
    likeness: float
    offset_mm: float


@dataclass(frozen=True)
class Wants:
    """What a network wants of an image.

    Attributes
    ----------
    network : str
        For the sentences; "" where there is none.
    grid : Grid or None
        None where the image may lie on any, as where it is going to be resampled.
    skull_stripped, registered : bool
        Where the skull may stay, nothing is judged of it nor of the registration.
    divided_by : float
        The number that its recipe divides by; 0 where it looks at the image's own range.
    """

    network: str
    grid: Grid | None
    skull_stripped: bool
    registered: bool
    divided_by: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """One thing to be said of an image: refused, or only told. `code` is a key of `featx.schema.REASONS`."""

    code: str
    sentence: str
    refused: bool = True


# --- the look -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Template:
    """The template on a lattice of 4 mm: points in mm, depth, grey values, and which points lie deepest."""

    points_mm: NDArray[np.float64]
    depth_mm: NDArray[np.float32]
    grey: NDArray[np.float64]
    inside: NDArray[np.intp]
    far: NDArray[np.intp]
    by_depth: NDArray[np.intp]
    centre_mm: NDArray[np.float64]
    litres: float


@functools.lru_cache(maxsize=1)
def _template() -> _Template:
    every = LATTICE_MM // int(MNI152_2MM.voxel_mm)
    lattice = (slice(None, None, every),) * 3
    depth = template_depth_mm()[lattice]
    smooth = ndimage.gaussian_filter(read_template().data.astype(np.float64), 1.0)[lattice].ravel()
    voxels = np.stack(np.meshgrid(*(np.arange(n) * every for n in depth.shape), indexing="ij"), -1).reshape(-1, 3)
    affine = grid_affine(MNI152_2MM)
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    inside = np.flatnonzero(depth.ravel() > 0)
    return _Template(
        points_mm=points,
        depth_mm=depth.ravel(),
        grey=smooth[inside],
        inside=inside,
        far=np.flatnonzero(depth.ravel() < -FAR_MM),
        by_depth=np.argsort(-depth.ravel(), kind="stable"),
        centre_mm=points[inside].mean(axis=0),
        litres=len(inside) * LATTICE_MM**3 / 1e6,
    )


def look_at(volume: Volume) -> Findings:
    """Measure a volume; 0.02 s for one of 1 mm voxels.

    Parameters
    ----------
    volume : Volume
        As read, finite and not constant (`featx.images.check.check_values`).
    """
    data, affine = volume.data, volume.affine
    sizes = voxel_sizes_mm(affine)
    every = np.maximum(1, np.rint(LATTICE_MM / sizes)).astype(int)
    own = data[tuple(slice(None, None, step) for step in every)]
    above = own[own > 0]
    bright = float(np.percentile(above, 90)) if above.size else 0.0
    high = float(data.max())
    n_above = int(np.count_nonzero(data > 0)) or 1
    faces = np.concatenate([own.take(at, axis).ravel() for axis in range(3) for at in (0, -1)])
    background = float(np.median(faces))
    outside, overlap, likeness, offset = _in_space(volume, bright)
    return Findings(
        orientation=orientation(affine),
        shape=data.shape,
        voxel_mm=tuple(map(float, sizes)),
        affine=affine,
        zeros=1 - np.count_nonzero(data) / data.size,
        background=background,
        at_background=float((faces == background).mean()),
        low=float(data.min()),
        high=high,
        bright=bright,
        integers=bool((own == np.rint(own)).all()),
        at_top=np.count_nonzero(data == high) / n_above,
        litres=np.count_nonzero(own > FOREGROUND * bright) * float(np.prod(every * sizes)) / 1e6,
        outside=outside,
        overlap=overlap,
        likeness=likeness,
        offset_mm=offset,
    )


def _in_space(volume: Volume, bright: float) -> tuple[float, float, float, float]:
    """Outside, overlap, likeness, offset: the volume at the template's points, 0 where it does not reach."""
    template = _template()
    to_voxel = np.linalg.inv(volume.affine)
    at = np.rint(template.points_mm @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(np.intp)
    there = ((at >= 0) & (at < volume.data.shape)).all(axis=1)
    values = np.zeros(len(at), np.float32)
    values[there] = volume.data[tuple(at[there].T)]
    foreground = values > FOREGROUND * bright
    n = np.count_nonzero(foreground)
    outside = float((np.abs(values[template.far]) > OUTSIDE * bright).mean())
    if n == 0:
        return outside, 0.0, 0.0, float("inf")
    overlap = float(foreground[template.by_depth[:n]].mean())
    offset = float(np.linalg.norm(template.points_mm[foreground].mean(axis=0) - template.centre_mm))
    inside = values[template.inside].clip(0, 1.3 * bright)
    likeness = float(np.corrcoef(inside, template.grey)[0, 1]) if np.ptp(inside) else 0.0
    return outside, overlap, likeness, offset


# --- the judgement --------------------------------------------------------------------------------------------


def judge(findings: Findings, wants: Wants, where: str) -> list[Verdict]:
    """What does not fit, the gravest first, then what is only told.

    Parameters
    ----------
    findings : Findings
    wants : Wants
    where : str
        The file, for the sentences.

    Returns
    -------
    list of Verdict
        Refused with wrong-grid, oblique, wrong-place, background-not-zero, not-skull-stripped, too-little-brain,
        not-registered or wrong-range; told are smaller-than-template, clipped, hot-voxels and negative-values.
    """
    verdicts = [*_grid(findings, wants, where), *_brain(findings, wants, where), *_range(findings, wants, where)]
    refused = [one for one in verdicts if one.refused]
    return refused + [one for one in verdicts if not one.refused] + _told(findings, where)


def _grid(findings: Findings, wants: Wants, where: str) -> list[Verdict]:
    if wants.grid is None:
        return []
    shape, affine = _turned(findings, wants.grid.orientation)
    try:
        check_lattice(shape, affine, wants.grid, wants.network, where)
    except ImageError as error:
        return [Verdict(error.code, error.sentence)]
    return []


def _turned(findings: Findings, codes: str) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine after axes are flipped and swapped until they grow towards `codes`."""
    pairs = ("LR", "PA", "IS")
    line = [next(at for at, pair in enumerate(pairs) if code in pair) for code in findings.orientation]
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for to, code in enumerate(codes):
        source = line.index(next(at for at, pair in enumerate(pairs) if code in pair))
        if findings.orientation[source] == code:
            turn[source, to] = 1
        else:
            turn[source, to], turn[source, 3] = -1, findings.shape[source] - 1
    shape = tuple(findings.shape[int(np.abs(turn[:3, to]).argmax())] for to in range(3))
    return shape, findings.affine @ turn


def _brain(findings: Findings, wants: Wants, where: str) -> list[Verdict]:
    if not wants.skull_stripped:
        return []
    of = findings
    if of.background != 0 and of.at_background > 0.9:
        sentence = (
            f"{wants.network} wants a background of 0; it is {of.background:g} in {where}; give the brain before "
            "it was standardised, or set what lies outside the brain's mask to 0"
        )
        return [Verdict("background-not-zero", sentence)]
    least, most = LITRES_IN_SPACE if wants.registered else LITRES
    bright_around = wants.registered and of.outside > MOST_OUTSIDE and of.litres > LITRES[1]
    if of.litres > most or bright_around:
        far = f" and {of.outside:.0%} of the space around the template's brain" if wants.registered else ""
        sentence = (
            f"{wants.network} wants a brain without its skull, at most {most:g} litres; "
            f"{of.litres:.2f} litres{far} are bright in {where}; strip the skull (SynthStrip, HD-BET or BET) and "
            "look whether the brain has its right size"
        )
        return [Verdict("not-skull-stripped", sentence)]
    verdicts = []
    if of.litres < least:
        sentence = (
            f"{wants.network} wants a whole brain, {least:g} litres or more; {of.litres:.2f} litres are bright in "
            f"{where}; look whether too much was stripped or cut off, and whether the voxel size is right"
        )
        verdicts.append(Verdict("too-little-brain", sentence))
    return verdicts + (_registration(of, wants, where) if wants.registered else [])


def _registration(of: Findings, wants: Wants, where: str) -> list[Verdict]:
    size = of.litres / _template().litres
    small = size < SMALL
    turned = not small and of.overlap < SURE_OVERLAP and of.likeness < SURE_LIKENESS
    least = LEAST_OVERLAP_SMALL if small else LEAST_OVERLAP
    away = of.offset_mm > MOST_OFFSET_MM or of.outside > MOST_OUTSIDE
    if of.overlap < least or away or turned:
        sentence = (
            f"{wants.network} wants a brain that is registered to MNI152; that of {where} overlaps the template's by "
            f"{of.overlap:.0%}, lies {of.offset_mm:.0f} mm off and resembles it by r = {of.likeness:.2f}; register "
            "it (FLIRT, ANTs), or mend its header if it was"
        )
        return [Verdict("not-registered", sentence)]
    if small:
        sentence = (
            f"{wants.network} may want a brain that is scaled to the template's {_template().litres:.2f} litres; "
            f"{of.litres:.2f} are bright in {where}; a registration scales with 12 degrees of freedom, not with 6"
        )
        return [Verdict("smaller-than-template", sentence, refused=False)]
    return []


def _range(of: Findings, wants: Wants, where: str) -> list[Verdict]:
    if not wants.divided_by:
        return []
    low, high = (share * wants.divided_by for share in RANGE)
    if low <= of.high <= high:
        return []
    sentence = (
        f"{wants.network} divides by {wants.divided_by:g}, not by the image's own maximum, and wants that one from "
        f"{low:g} to {high:g}; it is {of.high:g} in {where}; give the image with the grey values of FreeSurfer "
        "(mri_convert -odt uchar, or brainmask.mgz)"
    )
    return [Verdict("wrong-range", sentence)]


def _told(of: Findings, where: str) -> list[Verdict]:
    told = []
    if of.integers and of.at_top > MOST_AT_TOP:
        sentence = (
            f"bright tissue should not be cut off; {of.at_top:.1%} of the voxels above 0 have the largest value, "
            f"{of.high:g}, in {where}; if it was written with 8 bits, write it again with 16 or as float"
        )
        told.append(Verdict("clipped", sentence, refused=False))
    if of.bright > 0 and of.high > HOT * of.bright:
        sentence = (
            f"an image's largest voxel should be tissue; it is {of.high:g} where bright tissue is {of.bright:g} in "
            f"{where}; look for vessels or artefacts, and whether its scale factor is right"
        )
        told.append(Verdict("hot-voxels", sentence, refused=False))
    if of.low < -NEGATIVE * of.bright:
        sentence = (
            f"grey values should not be below 0; the lowest is {of.low:g} where bright tissue is {of.bright:g} in "
            f"{where}; splines make such voxels at edges: trilinear resampling does not"
        )
        told.append(Verdict("negative-values", sentence, refused=False))
    return told


def most_grave(verdicts: Sequence[Verdict], accepted: Sequence[str] = ()) -> Verdict | None:
    """The first verdict that refuses the image and is not accepted."""
    return next((one for one in verdicts if one.refused and one.code not in accepted), None)


def check_accepted(codes: Sequence[str]) -> None:
    """Refuse to accept what is no misfit of what an image shows.

    Raises
    ------
    NetworkError
        A code is not one of `ACCEPTABLE`.
    """
    for code in codes:
        if code not in ACCEPTABLE:
            raise NetworkError(
                f"--accept must name a misfit that may be let through; got {code!r}; {known(ACCEPTABLE)}; "
                "a wrong grid is mended with --resample, damage not at all"
            )
