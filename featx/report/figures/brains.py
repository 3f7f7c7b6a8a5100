"""Maps of the brain on the template: cuts in three planes, one colour scale, left and right told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from numpy.typing import NDArray

from featx.report.figures.canvas import INK, Drawing

# From blue over nothing to vermilion: told apart by all, and on the grey of the template; and one of sizes alone.
_DIVERGING = ("#56c7ff", "#0072B2", "#3b3f44", "#D55E00", "#ffb347")
_RISING = ("#3b3f44", "#7a3fa0", "#D55E00", "#ffd166")
PLANES = ("sagittal", "coronal", "axial")
_ENDS = (("P", "A"), ("L", "R"), ("L", "R"))  # of the horizontal line of each plane
N_CUTS = 6
CLIPPED_PERCENTILE = 99.8
_FULL_COLOUR = 0.35  # share of the scale from which the template is not seen any more


@dataclass(frozen=True)
class BrainMap:
    """A map on a grid of the template's space.

    Attributes
    ----------
    values, template : ndarray of shape (I, J, K), float32
        Axes grow towards R, A, S; values are 0 outside the brain.
    affine : ndarray of shape (4, 4)
        Voxel to mm.
    unit : str
        Under the colour bar.
    """

    values: NDArray[np.float32]
    template: NDArray[np.float32]
    affine: NDArray[np.float64]
    unit: str


def brain_drawing(one: BrainMap, *, alt: str, prefix: str) -> Drawing:
    """Cuts of a map on the template in three planes, as seen from the left, from behind and from above.

    Colours are symmetric about 0 where the map has both signs; the largest 0.2 % of the brain's voxels are at the end
    of the scale. Where the map is near 0, the template is seen.
    """

    def draw(*panels: Axes) -> None:
        norm, colours = _scale(one)
        box = _brain_box(one.template)
        for row, plane in enumerate(PLANES):
            for axes, at in zip(panels[row * N_CUTS : (row + 1) * N_CUTS], _cuts(box[row]), strict=True):
                _draw_cut(axes, one, (row, at), box, (norm, colours))
            _label_row(panels[row * N_CUTS], plane, _ENDS[row])
        bar = panels[0].figure.colorbar(
            ScalarMappable(norm, colours), ax=list(panels), orientation="horizontal", shrink=0.45, aspect=40, pad=0.02
        )
        bar.set_label(one.unit, color=INK)
        bar.outline.set_visible(False)

    return Drawing(draw, (9.6, 6.4), alt, prefix, n_columns=N_CUTS, n_rows=len(PLANES), is_shared=False)


def _scale(one: BrainMap) -> tuple[Normalize, Colormap]:
    inside = one.values[one.template > 0]
    most = float(np.percentile(np.abs(inside), CLIPPED_PERCENTILE)) or 1.0
    if inside.min() < 0:
        return Normalize(-most, most), LinearSegmentedColormap.from_list("diverging", _DIVERGING)
    return Normalize(0, most), LinearSegmentedColormap.from_list("rising", _RISING)


def _brain_box(template: NDArray[np.float32]) -> tuple[slice, ...]:
    """The box around the brain.

    Examples
    --------
    >>> _brain_box(np.pad(np.ones((2, 3, 4), np.float32), 1))
    (slice(1, 3, None), slice(1, 4, None), slice(1, 5, None))
    """
    found = []
    for axis in range(3):
        there = np.flatnonzero(template.max(axis=tuple({0, 1, 2} - {axis})) > 0)
        found.append(slice(int(there[0]), int(there[-1]) + 1))
    return tuple(found)


def _cuts(box: slice) -> list[int]:
    """Evenly spaced cuts through the brain, a seventh of it left out at both ends.

    Examples
    --------
    >>> _cuts(slice(0, 22))
    [3, 6, 9, 12, 15, 18]
    """
    margin = (box.stop - 1 - box.start) / 7
    return [int(at) for at in np.rint(np.linspace(box.start + margin, box.stop - 1 - margin, N_CUTS))]


def _draw_cut(
    axes: Axes, one: BrainMap, cut: tuple[int, int], box: tuple[slice, ...], scale: tuple[Normalize, Colormap]
) -> None:
    axis, at = cut
    norm, colours = scale
    seen = tuple(slice(at, at + 1) if along == axis else whole for along, whole in enumerate(box))
    grey, values = (np.squeeze(volume[seen], axis=axis).T for volume in (one.template, one.values))
    picture = np.ones((*grey.shape, 4))
    picture[..., :3] = (grey / max(float(one.template.max()), 1e-9))[..., None] * 0.85
    picture[..., 3] = grey > 0
    share = (
        np.clip(np.abs(values) / (float(norm.vmax or 1.0) * _FULL_COLOUR), 0, 1)[..., None] * (grey > 0)[..., None]
    )
    picture[..., :3] = picture[..., :3] * (1 - share) + colours(norm(values))[..., :3] * share
    axes.imshow(picture, origin="lower", interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(f"{'xyz'[axis]} = {one.affine[axis, axis] * at + one.affine[axis, 3]:.0f} mm", fontsize=7, pad=2)


def _label_row(axes: Axes, plane: str, ends: tuple[str, str]) -> None:
    axes.text(-0.08, 0.5, plane, rotation=90, ha="right", va="center", transform=axes.transAxes, fontsize=8)
    for at, letter in zip((0.0, 1.0), ends, strict=True):
        axes.text(at, 0.0, letter, ha="center", va="bottom", transform=axes.transAxes, fontsize=7)
