"""Gradients and occlusions of one brain, through every network that a head reads (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.analysis.scaling import Floats
from featx.errors import ImageError
from featx.images.volume import Grid
from featx.networks import recipe as steps
from featx.networks.look import AXES, slice_positions
from featx.networks.reading import SLICES_AT_ONCE, pool
from featx.networks.recipe import MOVES, POINTS, Packed, Points
from featx.networks.sheet import View
from featx.relevance.cubes import Boxes, boxes_on, brain_on, onto, shell_means
from featx.relevance.sources import Reader, to_grey

BRIGHT_PERCENTILE = 99.0
CUBES_AT_ONCE = 128
VOLUMES_AT_ONCE = {"cpu": 1, "cuda": 8}

Answer = Callable[[NDArray[np.floating]], Floats]
Weigh = Callable[[NDArray[np.floating]], Floats]


@dataclass(frozen=True)
class Seen:
    """One brain as one network is given it.

    Attributes
    ----------
    volume : ndarray of shape (I, J, K), float32
        On the recipe's grid, as it is stored.
    kept : Tensor of shape (I', J', K')
        The voxels that the recipe keeps, on the device.
    points : tuple of (str, float)
        What makes grey values of them: numbers of this brain, which stay what they are when voxels change.
    """

    volume: NDArray[np.float32]
    kept: Tensor
    points: Points


@dataclass(frozen=True)
class Gradients:
    """Maps of one brain on one grid, per ml; see `gradients`."""

    signed: NDArray[np.float32]
    absolute: NDArray[np.float32]
    times_input: NDArray[np.float32]


def see(packed: Packed, reader: Reader, where: str) -> Seen:
    """A brain on the recipe's grid, made into what the network is given.

    Raises
    ------
    ImageError
        A step of the recipe cannot be done on it.
    """
    recipe = reader.source.request.recipe
    data = packed.stored.transpose(packed.axes)
    points = packed.points
    for step in recipe.steps:
        if step.name in POINTS:
            points += POINTS[step.name](steps.to_grey(data, points), 1.0, where, **step.settings)
        else:
            data = MOVES[step.name](data, where, **step.settings)
    volume = packed.stored.transpose(packed.axes).astype(np.float32)
    i, j, k = reader.at
    return Seen(volume, torch.from_numpy(volume[i, j, k]).to(reader.device), points)


def rows_of(reader: Reader, seen: Seen, n_features: int) -> NDArray[np.float32]:
    """The features of a brain at their places in a row of the head, 0 elsewhere; shape (n_features,)."""
    row = np.zeros(n_features, dtype=np.float32)
    volumes = to_grey(seen.kept, seen.points)[None, None]
    for view in reader.source.request.recipe.views:
        rows = reader.rows(volumes, view)
        for one in reader.source.sets:
            if one.view == view:
                row[one.columns] = rows[one.place][0].float().cpu().numpy()
    return row


# --- gradients --------------------------------------------------------------------------------------------------


def gradients(
    readers: Sequence[Reader], seen: Sequence[Seen], n_features: int, weigh: Weigh, finest: Grid
) -> tuple[NDArray[np.float32], Gradients]:
    """How an answer changes with every voxel.

    Parameters
    ----------
    readers : sequence of Reader
        Loaded to be differentiable.
    seen : sequence of Seen
        The brain for each of them.
    weigh : callable
        From a row of features to the gradient of the answer with respect to each.
    finest : Grid
        Of the maps.

    Returns
    -------
    row : ndarray of shape (n_features,)
    maps : Gradients
        By volume, so that grids of any fineness add up. signed: the change of the answer when a ml becomes brighter
        by a tenth of bright tissue (the 99th percentile of the brain's voxels). absolute: its size, voxel by voxel.
        times_input: gradient times grey value, a first-order share of the answer. The numbers that a recipe takes
        from a brain (its mean, a percentile) count as fixed.

    Raises
    ------
    ImageError
        The gradient is not finite.
    """
    with torch.no_grad():
        row = np.sum([rows_of(*pair, n_features) for pair in zip(readers, seen, strict=True)], axis=0)
    weights = weigh(row)
    signed, absolute, times_input = (np.zeros(finest.shape, dtype=np.float32) for _ in range(3))
    for reader, one in zip(readers, seen, strict=True):
        raw = _gradient(reader, one, weights) * (1000 / reader.grid.voxel_mm**3)
        if not np.isfinite(raw).all():
            raise ImageError(
                "non-finite-features",
                f"a gradient must be finite; that through {reader.source.name} is not; take the head's --method "
                "occlusion, or look at the image's intensities",
            )
        tenth = 0.1 * float(np.percentile(one.volume[one.volume > 0], BRIGHT_PERCENTILE))
        signed += onto(raw * tenth, reader.grid, finest)
        times_input += onto(raw * one.volume, reader.grid, finest)
        absolute += onto(np.abs(raw) * tenth, reader.grid, finest)
    if len(readers) > 1 and all(reader.grid == finest for reader in readers):
        absolute = np.abs(signed)  # of their sum, which is known voxel by voxel
    return row, Gradients(signed, absolute, times_input)


def _gradient(reader: Reader, seen: Seen, weights: Floats) -> Floats:
    """The gradient with respect to the stored voxels, on the recipe's grid; shape (I, J, K)."""
    leaf = seen.kept.clone().requires_grad_()
    for view in reader.source.request.recipe.views:  # one at a time: the memory of a pass is that of one view
        rows = reader.rows(to_grey(leaf, seen.points)[None, None], view)
        part = torch.zeros((), dtype=torch.float64, device=leaf.device)
        for one in reader.source.sets:
            if one.view == view:
                weight = torch.from_numpy(np.ascontiguousarray(weights[one.columns])).to(leaf.device)
                part = part + (rows[one.place][0].double() * weight).sum()
        part.backward()  # type: ignore[no-untyped-call]
    own = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.double().cpu().numpy()
    flat = np.ravel_multi_index(tuple(reader.at.astype(np.int64)), reader.grid.shape)
    summed: Floats = np.bincount(flat.ravel(), own.ravel(), int(np.prod(reader.grid.shape))).astype(np.float64)
    return summed.reshape(reader.grid.shape)


# --- occlusion --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Covered:
    """Cubes that are to be filled, on the device of one network.

    Attributes
    ----------
    at : Tensor of shape (3, I', J', K'), int16
    brain : Tensor of shape (I', J', K'), bool
    boxes : Tensor of shape (n, 3, 2), int16
    fills : Tensor of shape (n,), float32
    """

    at: Tensor
    brain: Tensor
    boxes: Tensor
    fills: Tensor

    def fill(self, kept: Tensor, cubes: Tensor | slice, planes: tuple[int, Tensor] | None = None) -> Tensor:
        """Volumes (n, I', J', K'), each with one cube filled; only some planes of them, if these are given."""
        at, brain = self.at, self.brain
        if planes is not None:
            axis, index = planes
            at, brain, kept = (
                at.index_select(axis + 1, index),
                brain.index_select(axis, index),
                kept.index_select(axis, index),
            )
        boxes = self.boxes[cubes][..., None, None, None]
        inside = ((at >= boxes[:, :, 0]) & (at < boxes[:, :, 1])).all(dim=1) & brain
        return torch.where(inside, self.fills[cubes][:, None, None, None], kept)


def occlusions(
    readers: Sequence[Reader],
    seen: Sequence[Seen],
    cubes: tuple[Floats, float],
    n_features: int,
    *,
    answer: Answer,
    batch_size: int = 0,
    on_cubes: Callable[[int], None] = lambda done: None,
) -> tuple[NDArray[np.float32], Floats]:
    """How much larger an answer is than it is without what lies in a cube.

    Parameters
    ----------
    cubes : ndarray of shape (n, 3), and float
        Lower corners and edge, in mm.
    answer : callable
        From rows of features to answers.
    batch_size : int
        Volumes (or slices, where one alone can be run again) at a time; 0 chooses.
    on_cubes : callable
        Called with how many are done.

    Returns
    -------
    row : ndarray of shape (n_features,)
    differences : ndarray of shape (n,)
    """
    corners, edge_mm = cubes
    with torch.inference_mode():
        row = np.sum([rows_of(*pair, n_features) for pair in zip(readers, seen, strict=True)], axis=0)
        covered = [_cover(*pair, corners, edge_mm) for pair in zip(readers, seen, strict=True)]
        whole = answer(row[None])[0]
        found: list[Floats] = []
        for first in range(0, len(corners), CUBES_AT_ONCE):
            some = slice(first, min(first + CUBES_AT_ONCE, len(corners)))
            rows = np.repeat(row[None], some.stop - first, axis=0)
            for reader, one, cover in zip(readers, seen, covered, strict=True):
                part = replace(cover, boxes=cover.boxes[some], fills=cover.fills[some])
                for columns, values in _filled_rows(reader, one, part, batch_size):
                    rows[:, columns] = values
            found.append(whole - answer(rows))
            on_cubes(some.stop)
    return row, np.concatenate(found)


def _cover(reader: Reader, seen: Seen, corners: Floats, edge_mm: float) -> _Covered:
    i, j, k = reader.at
    brain = torch.from_numpy(brain_on(reader.grid)[i, j, k]).to(reader.device)
    boxes: Boxes = boxes_on(reader.grid, corners, edge_mm)
    fills = shell_means(seen.volume, reader.grid, corners, edge_mm)
    at, boxes_there, fills_there = (torch.from_numpy(one).to(reader.device) for one in (reader.at, boxes, fills))
    return _Covered(at, brain, boxes_there, fills_there)


def _filled_rows(
    reader: Reader, seen: Seen, covered: _Covered, batch_size: int
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Columns, and the features (n_cubes, n) that stand there, of every set."""
    for view in reader.source.request.recipe.views:
        by_slice = reader.is_sliced and can_run_alone(view)
        most = (SLICES_AT_ONCE if by_slice else VOLUMES_AT_ONCE)[reader.device.partition(":")[0]]
        rows = (_by_slice if by_slice else _by_volume)(reader, seen, covered, view, batch_size or most)
        for one in reader.source.sets:
            if one.view == view:
                yield one.columns, rows[one.place].float().cpu().numpy()


def _by_volume(
    reader: Reader, seen: Seen, covered: _Covered, view: View, batch_size: int
) -> dict[tuple[str, str], Tensor]:
    parts: list[Mapping[tuple[str, str], Tensor]] = []
    for first in range(0, len(covered.boxes), batch_size):
        volumes = to_grey(covered.fill(seen.kept, slice(first, first + batch_size)), seen.points)
        parts.append(reader.rows(volumes[:, None], view))
    return {place: torch.cat([one[place] for one in parts]) for place in parts[0]}


def can_run_alone(view: View) -> bool:
    """Whether a slice of a view is what it is whatever the other slices are.

    Examples
    --------
    >>> from featx.networks import get_network
    >>> can_run_alone(get_network("squeezenet1_0.imagenet").recipe.views[0])
    True
    """
    plain = {"axis", "first", "last", "count", "channels"}
    names = [step.name for step in view.steps]
    slicing = bool(names) and names[0] == "slices" and set(view.steps[0].settings) <= plain
    return slicing and set(names[1:]) <= {"resize", "normalise"}


def planes_of(view: View, length: int) -> list[list[int]]:
    """For each slice of a view, the plane before it, its own, and the one behind it, as 2.5D takes them.

    Examples
    --------
    >>> from featx.networks.sheet import Step
    >>> planes_of(View("axial", (Step("slices", {"axis": "axial", "first": 0, "last": 8, "count": 3}),)), 9)
    [[0, 0, 1], [3, 4, 5], [7, 8, 8]]
    """
    told = view.steps[0].settings
    positions = slice_positions(*(int(str(told[one])) for one in ("first", "last", "count")))
    return [[min(max(at + step, 0), length - 1) for step in (-1, 0, 1)] for at in positions]


def _by_slice(
    reader: Reader, seen: Seen, covered: _Covered, view: View, batch_size: int
) -> dict[tuple[str, str], Tensor]:
    """Features where cubes are filled; only the slices that a cube reaches are run again, the others are kept."""
    told = view.steps[0]
    axis = AXES[str(told.settings["axis"])] - 2
    alone = replace(
        view, steps=(replace(told, settings={**told.settings, "first": 1, "last": 1, "count": 1}), *view.steps[1:])
    )
    intact = reader.read(to_grey(seen.kept, seen.points)[None, None], view)
    n = len(covered.boxes)
    apart = {tap: rows.repeat(n, 1, 1) for (tap, _), rows in intact.items()}
    for number, planes in enumerate(planes_of(view, seen.kept.shape[axis])):
        index = torch.tensor(planes, device=seen.kept.device)
        reached = _reached(covered, axis, _read(view, index))
        for cubes in torch.split(reached, batch_size) if len(reached) else ():
            volumes = to_grey(covered.fill(seen.kept, cubes, (axis, index)), seen.points)
            for (tap, _), rows in reader.read(volumes[:, None], alone).items():
                apart[tap][cubes, number] = rows[:, 0]
    places = [one.place for one in reader.source.sets if one.view == view]
    return {(tap, how): pool(apart[tap], how, 1) for tap, how in places}


def _reached(covered: _Covered, axis: int, planes: Tensor) -> Tensor:
    """The cubes that change any of some planes."""
    there = covered.at.index_select(axis + 1, planes).flatten(1)
    low, high = there.amin(dim=1), there.amax(dim=1)
    reached = ((covered.boxes[:, :, 0] <= high) & (covered.boxes[:, :, 1] > low)).all(dim=1)
    return reached.nonzero()[:, 0]


def n_passes(reader: Reader, corners: Floats, edge_mm: float) -> int:
    """How many volumes, or slices where one alone can be run again, an occlusion runs for one brain."""
    i, j, k = reader.at
    boxes = torch.from_numpy(boxes_on(reader.grid, corners, edge_mm))
    covered = _Covered(
        torch.from_numpy(reader.at), torch.from_numpy(brain_on(reader.grid)[i, j, k]), boxes, torch.empty(0)
    )
    total = 0
    for view in reader.source.request.recipe.views:
        if not (reader.is_sliced and can_run_alone(view)):
            total += len(corners) + 1
            continue
        axis = AXES[str(view.steps[0].settings["axis"])] - 2
        planes = planes_of(view, reader.at.shape[axis + 1])
        total += len(planes) + sum(len(_reached(covered, axis, _read(view, torch.tensor(one)))) for one in planes)
    return total


def _read(view: View, planes: Tensor) -> Tensor:
    """Of three planes, those that the slice in their middle is made of."""
    return planes if view.steps[0].settings.get("channels") == "neighbours" else planes[1:2]
