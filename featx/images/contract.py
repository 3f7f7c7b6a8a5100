"""Does an image keep a network's contract? `judge` says of what `featx.images.findings` measured what does not fit.

The limits come from real images: 185 brains scaled to MNI152, 3 that are placed there and keep their size (they fill
half of the template), 2 brains in their own space, 7 heads as they were scanned, before and after resampling.

===================  ===================  ==============  ==================  =====================
measure              brains, scaled       brains, placed  heads               limit
===================  ===================  ==============  ==================  =====================
litres               2.06 to 2.16         1.01 to 1.10    2.47 to 4.03        0.80 and 2.6 [1]_
bright far outside   0 to .002            0               .13 to .28          .06
overlap              .951 to .969         .855 to .925    .63 to .85          .90; .80 if small
centre off by, mm    0.4 to 2.5           1.9 to 5.6      11 to 42            8
below 0 [2]_         0                    0               0                   .10
of one value [3]_    .009 to .021         0               0 to .056           .40
===================  ===================  ==============  ==================  =====================

.. [1] 0.6 and 2.35 for networks that take a brain in its own space. The smallest brain of 185 healthy adults has 0.97
   litres before it is scaled; those of children, and of people who lost some, are smaller, and belong to a study.
.. [2] .01 at most of brains that splines put there; .36 to .42 where they were standardised inside their mask.
.. [3] 1 of a mask, .45 of a map of tissues. White matter, a third of the brain, may have one value where it was made
   even.

Seen so, all of ten scaled brains each: shifted by 12 mm along any axis, turned by 20 degrees about any, turned upside
down or front to back, shrunk to 0.70, grown to 1.15. Not seen: left and right exchanged, for that is as good a brain;
turns of 10 degrees; and most turns of a brain that keeps its size, for it lies loosely in the template (shifts of 12
mm are seen). A scaled brain that was shrunk to 0.75 (0.89 to 0.91 litres) is as large as a small one: it is told to
be smaller than the template, and not refused. The rim of a head is no brighter than that of a brain (.51 to .84 of
the inside, against .39 to .69): it is not judged. Nor is the share of zeros, which tells a tight field of view as
much as a skull.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.errors import ImageError, NetworkError, known
from featx.images.check import check_lattice
from featx.images.findings import MOST_BELOW, NEGATIVE, Findings, template_litres
from featx.images.volume import Grid

MOST_OF_ONE_VALUE = 0.4  # of the foreground
MOST_OUTSIDE = 0.06
LITRES, LITRES_IN_SPACE = (0.6, 2.35), (0.80, 2.6)  # of a brain in its own size, and of one that may be scaled
LEAST_OVERLAP, LEAST_OVERLAP_SMALL = 0.90, 0.80
SURE_OVERLAP, SURE_LIKENESS = 0.94, 0.47  # below both of them a brain of the template's size lies wrong
MOST_OFFSET_MM = 8.0
SMALL = 0.8  # of the template's volume
RANGE = (0.3, 1.25)  # of the number that a recipe divides by, where the largest voxel may lie
MOST_AT_TOP = 1e-3  # of the voxels above 0
HOT = 3.0  # of the bright tissue

# Misfits that concern what the image shows, so that somebody may know better and let it pass.
ACCEPTABLE = (
    "background-not-zero",
    "standardised",
    "not-a-scan",
    "not-skull-stripped",
    "too-little-brain",
    "not-registered",
    "wrong-range",
)


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
        Refused with wrong-grid, oblique, wrong-place, background-not-zero, standardised, not-a-scan,
        not-skull-stripped, too-little-brain, not-registered or wrong-range; told are smaller-than-template, clipped,
        hot-voxels and negative-values.
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
    return _greys(of, wants, where) + _shape(of, wants, where)


def _greys(of: Findings, wants: Wants, where: str) -> list[Verdict]:
    verdicts = []
    if of.below > MOST_BELOW:
        sentence = (
            f"{wants.network} wants intensities such as a scanner gives, 0 and more; {of.below:.0%} of what is not 0 "
            f"lies below 0 in {where}; give the brain before it was standardised: the recipe scales it"
        )
        verdicts.append(Verdict("standardised", sentence))
    if of.of_one_value > MOST_OF_ONE_VALUE:
        sentence = (
            f"{wants.network} wants a brain in many shades of grey; {of.of_one_value:.0%} of it have one value in "
            f"{where}; give the scan, not its mask or a map of labels; if it is the scan, its bright tissue is cut "
            "off: write it again with 16 bits or as float"
        )
        verdicts.append(Verdict("not-a-scan", sentence))
    return verdicts


def _shape(of: Findings, wants: Wants, where: str) -> list[Verdict]:
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
    size = of.litres / template_litres()
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
            f"{wants.network} may want a brain that is scaled to the template's {template_litres():.2f} litres; "
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
    if of.low < -NEGATIVE * of.bright and of.below <= MOST_BELOW:
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
