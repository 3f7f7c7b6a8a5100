"""What map is wanted, and of whom. Decisions only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featx.errors import AnalysisError, known
from featx.images.image import Image
from featx.relevance.answering import GRADIENT, METHODS
from featx.relevance.cubes import check_cubes

SIGNED, ABSOLUTE, TIMES_INPUT, DIFFERENCE = "signed", "absolute", "times-input", "difference"
SHOWN = {
    SIGNED: "how the answer changes when a ml becomes brighter by a tenth of bright tissue",
    ABSOLUTE: "the size of that change, voxel by voxel, whatever its sign",
    TIMES_INPUT: "gradient times grey value: a first-order share of the answer",
}
GRADIENT_SMOOTH_MM = 8.0
MOST_SMOOTH_MM = 40.0


@dataclass(frozen=True)
class Wish:
    """A map that is wanted; made by `make_wish`, which checks it.

    Attributes
    ----------
    method : str
        One of `featx.relevance.answering.METHODS`.
    show : str
        Which map is the one that is drawn: a key of `SHOWN`, or DIFFERENCE of an occlusion.
    patch_mm, stride_mm : float
        Edge of the cubes, and how far apart they stand.
    smooth_mm : float
        Full width at half maximum of the Gaussian that maps are smoothed with.
    level : str
        Of classes, the level that is looked at; "" for the usual one.
    sanity : bool
        Make the map through random weights too.
    """

    method: str
    show: str
    patch_mm: float
    stride_mm: float
    smooth_mm: float
    level: str
    sanity: bool


def make_wish(
    method: str,
    *,
    show: str = "",
    patch: str = "12mm",
    stride: str = "",
    smooth: str = "",
    level: str = "",
    sanity: bool = False,
) -> Wish:
    """Check what is wanted of a map.

    Raises
    ------
    AnalysisError
        An unknown word, or a length that makes no sense.

    Examples
    --------
    >>> wish = make_wish("occlusion", patch="16mm", stride="8")
    >>> wish.patch_mm, wish.stride_mm, wish.smooth_mm, wish.show
    (16.0, 8.0, 0.0, 'difference')
    """
    if method not in METHODS:
        raise AnalysisError(f"a method of relevance must be known; {method!r} is not; {known(METHODS)}")
    is_gradient = method == GRADIENT
    if show and (show not in SHOWN or not is_gradient):
        raise AnalysisError(
            f"what is shown must be a map that the method makes; {method} does not make {show!r}; {known(SHOWN)} of "
            "a gradient, and an occlusion has one map"
        )
    patch_mm = millimetres(patch, "--patch")
    stride_mm = millimetres(stride, "--stride") if stride else patch_mm
    check_cubes(patch_mm, stride_mm)
    smooth_mm = millimetres(smooth, "--smooth") if smooth else (GRADIENT_SMOOTH_MM if is_gradient else 0.0)
    if smooth_mm > MOST_SMOOTH_MM:
        raise AnalysisError(
            f"a map must be smoothed by {MOST_SMOOTH_MM:g} mm at most, or nothing is left of its places; --smooth is "
            f"{smooth_mm:g} mm; take such as 8mm"
        )
    return Wish(
        method, show or (SIGNED if is_gradient else DIFFERENCE), patch_mm, stride_mm, smooth_mm, level, sanity
    )


def millimetres(text: str, option: str) -> float:
    """A length.

    Raises
    ------
    AnalysisError

    Examples
    --------
    >>> millimetres("12mm", "--patch"), millimetres("7.5", "--patch")
    (12.0, 7.5)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:mm)?", text.strip())
    if match is None:
        raise AnalysisError(f"a length must be in millimetres; {option} is {text!r}; write, say, {option} 12mm")
    return float(match[1])


def draw_images(images: Sequence[Image], count: int, *, random_state: int = 0) -> list[Image]:
    """Images of so many people, drawn without a look at them, one image of each; 0 for all images.

    Examples
    --------
    >>> from pathlib import Path
    >>> images = [Image(f"{one}_{ses}", one, ses, "", Path("x.nii")) for one in "abcd" for ses in "12"]
    >>> [image.image_id for image in draw_images(images, 3)], len(draw_images(images, 0))
    (['c_1', 'a_1', 'b_1'], 8)
    """
    if count == 0:
        return list(images)
    first: dict[str, Image] = {}
    for image in images:
        first.setdefault(image.participant_id or image.image_id, image)
    people = list(first.values())
    return [people[at] for at in np.random.default_rng(random_state).permutation(len(people))[:count]]
