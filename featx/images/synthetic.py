"""A made cohort of brains with known truth, as a BIDS derivative. For the demo, the tests and the benchmarks.

Every brain is the MNI152 template (ICBM 2009, which nilearn ships) seen through one person's anatomy: a smooth
random displacement, sulci of the person's own, ventricles that widen and a cortex that thins with age, a head
that is larger in men, and a scanner's contrast, bias field and noise. A person is drawn from the cohort's seed and
the person's own number, so that person 7 is the same in a cohort of 10 and of 1000. The brains are on the grid of
FSL's MNI152 2 mm template (LAS), rigidly placed: unlike affinely registered brains they keep their size.

They look like brains and are none: use them to see that a tool runs and finds what was put in, never to choose one.
"""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from featx.errors import DependencyError

SHAPE = (91, 109, 91)
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])  # LAS
SPACE = "MNI152NLin6Asym"
AGES_YEARS = (20.0, 80.0)
SITES = ("alpha", "beta")

_CENTRE_MM = np.array([[0.0], [-18.0], [10.0]], np.float32)  # about which a head is scaled and turned
_COARSE_MM = 4  # grid of the random fields
_MARGIN_MM = 14.0  # how far outside the template's brain a larger head may reach
_CSF, _GM, _WM = 0.26, 0.68, 0.93  # intensities as parts of the brightest white matter
_WHITE = 205.0  # grey value of intensity 1

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Person:
    """One made person.

    Attributes
    ----------
    participant_id : str
        BIDS: sub-S0001 ...
    age_years : float
        Uniform between the ends of `AGES_YEARS`.
    sex : str
        "F" or "M", even odds.
    site : str
        One of `SITES`, even odds; decides contrast and noise, nothing else.
    seed : tuple of int
        Seed of everything else about this person.
    """

    participant_id: str
    age_years: float
    sex: str
    site: str
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Anatomy:
    """What age and sex did to one person's head; the truth columns of participants.tsv.

    Attributes
    ----------
    ventricle_mm : float
        How far the walls of the lateral ventricles stand outside those of the template.
    cortex_mm : float
        Thickness of the cortex.
    head_scale : float
        Length of the head as a multiple of the template's.
    """

    ventricle_mm: float
    cortex_mm: float
    head_scale: float


@dataclass(frozen=True)
class Templates:
    """What `make_brain` looks things up in.

    Attributes
    ----------
    t1, gm, wm : ndarray of shape (I, J, K), float32, in [0, 1]
        T1 intensity, grey and white matter of the template, on the template's own grid.
    to_voxel : ndarray of shape (4, 4)
        From world mm to a voxel of that grid.
    depth, wall, push : ndarray of shape (91, 109, 91), and (3, 91, 109, 91), float32
        On the output grid: mm inside the brain's surface (negative outside); mm outside the wall of the lateral
        ventricles (negative inside); the direction away from them in world axes, fading with distance.
    voxels : ndarray of shape (n,), int
        Flat indices of the output voxels that a brain may reach.
    points_mm : ndarray of shape (3, n), float32
        The same voxels in world mm.
    """

    t1: Array
    gm: Array
    wm: Array
    to_voxel: NDArray[np.float64]
    depth: Array
    wall: Array
    push: Array
    voxels: NDArray[np.intp]
    points_mm: Array


# --- people ---------------------------------------------------------------------------------------------------


def draw_person(number: int, *, random_state: int = 0) -> Person:
    """The person of this number in the cohort of this seed.

    Examples
    --------
    >>> draw_person(1).participant_id
    'sub-S0001'
    >>> draw_person(1) == draw_person(1), draw_person(1).seed == draw_person(2).seed
    (True, False)
    """
    rng = np.random.default_rng((random_state, number, 0))
    return Person(
        participant_id=f"sub-S{number:04d}",
        age_years=round(float(rng.uniform(*AGES_YEARS)), 1),
        sex=str(rng.choice(["F", "M"])),
        site=str(rng.choice(SITES)),
        seed=(random_state, number, 1),
    )


def anatomy(person: Person) -> Anatomy:
    """What age and sex made of this head, with what is the person's own.

    Examples
    --------
    >>> from dataclasses import replace
    >>> young = replace(draw_person(1), age_years=25.0)
    >>> old = replace(young, age_years=75.0)
    >>> anatomy(old).ventricle_mm > anatomy(young).ventricle_mm
    True
    >>> anatomy(old).cortex_mm < anatomy(young).cortex_mm
    True
    """
    own = np.random.default_rng((*person.seed, 0)).standard_normal(3)
    aged = (person.age_years - AGES_YEARS[0]) / (AGES_YEARS[1] - AGES_YEARS[0])
    return Anatomy(
        ventricle_mm=float(np.clip(-0.8 + 4.6 * aged**1.3 + 0.45 * own[0], -1.5, 6.0)),
        cortex_mm=float(np.clip(3.0 - 0.85 * aged + 0.1 * own[1], 1.8, 3.5)),
        head_scale=float(np.clip((1.022 if person.sex == "M" else 0.978) + 0.022 * own[2], 0.9, 1.1)),
    )


# --- templates ------------------------------------------------------------------------------------------------


def load_templates() -> Templates:
    """The MNI152 templates that nilearn ships, made ready.

    Raises
    ------
    DependencyError
        nilearn is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nilearn announces its own future at import
        try:
            from nilearn import datasets
        except ImportError as error:
            raise DependencyError(
                "made brains need nilearn, which ships the MNI152 templates; it is not installed; install featx[demo]"
            ) from error
        images: list[Any] = [
            datasets.load_mni152_template(resolution=1),
            datasets.load_mni152_gm_template(resolution=1),
            datasets.load_mni152_wm_template(resolution=1),
            datasets.load_mni152_brain_mask(resolution=1),
        ]
    t1, gm, wm, mask = (np.asarray(image.get_fdata(), np.float32) for image in images)
    return make_templates((t1, gm, wm, mask), np.asarray(images[0].affine, np.float64))


def make_templates(arrays: tuple[Array, Array, Array, Array], affine: NDArray[np.float64]) -> Templates:
    """Everything about the templates that is the same for all people.

    Parameters
    ----------
    arrays : tuple of four ndarray of shape (I, J, K), float32
        T1, grey matter, white matter and brain mask, all in [0, 1] on one grid.
    affine : ndarray of shape (4, 4)
        From a voxel of that grid to world mm.
    """
    t1, gm, wm, mask = arrays
    to_voxel = np.asarray(np.linalg.inv(affine), np.float64)
    world = _world_mm()
    inside = _sample(mask, world, to_voxel).reshape(SHAPE) > 0.5
    csf = _sample(np.clip(1 - gm - wm, 0, 1) * mask, world, to_voxel).reshape(SHAPE)
    depth = _distance_mm(~inside)
    wall = _distance_mm(_lateral_ventricles(csf > 0.5, depth, world.reshape(3, *SHAPE)))
    push = np.stack([np.gradient(wall, 2.0, axis=axis) * np.sign(AFFINE[axis, axis]) for axis in range(3)])
    push *= np.exp(-np.abs(wall) / 12.0) / np.maximum(np.linalg.norm(push, axis=0), 1e-3)
    push = ndimage.gaussian_filter(push, (0, 1, 1, 1))
    voxels = np.flatnonzero(depth > -_MARGIN_MM)
    return Templates(t1, gm, wm, to_voxel, depth, wall, push.astype(np.float32), voxels, world[:, voxels])


def _world_mm() -> Array:
    """World coordinates of every output voxel, in C order."""
    grid = np.stack(np.meshgrid(*[np.arange(size) for size in SHAPE], indexing="ij")).reshape(3, -1)
    return np.asarray(AFFINE[:3, :3] @ grid + AFFINE[:3, 3:], np.float32)


def _distance_mm(region: NDArray[np.bool_]) -> Array:
    """Signed distance to a region's edge on the output grid: positive outside, smoothed by a voxel."""
    outside = ndimage.distance_transform_edt(~region) - ndimage.distance_transform_edt(region)
    return np.asarray(ndimage.gaussian_filter(2.0 * outside, 1.0), np.float32)


def _lateral_ventricles(csf: NDArray[np.bool_], depth: Array, world: Array) -> NDArray[np.bool_]:
    """The largest connected pool deep in the brain; its parts in the two halves touch at the midline."""
    box = (np.abs(world[0]) < 45) & (world[1] > -60) & (world[1] < 45) & (world[2] > -20) & (world[2] < 38)
    labels, _ = ndimage.label(csf & box & (depth > 18))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == np.argmax(sizes))


# --- brains ---------------------------------------------------------------------------------------------------


def make_brain(templates: Templates, person: Person) -> NDArray[np.uint8]:
    """One skull-stripped T1 brain.

    Parameters
    ----------
    templates : Templates
    person : Person

    Returns
    -------
    ndarray of shape (91, 109, 91), uint8
        Grey values on the grid of `AFFINE` (LAS); exactly 0 outside the brain.
    """
    of = anatomy(person)
    rng = np.random.default_rng((*person.seed, 1))
    where = _template_mm(templates, of, rng)
    depth = _sample_grid(templates.depth, where)
    tissue = _tissue(templates, where, depth, of)
    intensity = _fold(tissue, _sample_grid(_random_field(rng, 4.5), where, _COARSE_MM), depth, of)
    brain = np.zeros(SHAPE, np.uint8)
    inside = depth > -0.5
    scanned = _scan(intensity, templates.points_mm, person.site, rng)
    brain.ravel()[templates.voxels[inside]] = np.clip(np.rint(scanned[inside]), 1, 255).astype(np.uint8)
    return brain


def _template_mm(templates: Templates, of: Anatomy, rng: np.random.Generator) -> Array:
    """Where in the template each output voxel of this person looks, in world mm."""
    tilt = np.deg2rad(rng.normal(0, 1.0, 3))
    turn = np.array([[1, -tilt[2], tilt[1]], [tilt[2], 1, -tilt[0]], [-tilt[1], tilt[0], 1]])
    shift = rng.normal(0, 0.7, (3, 1))
    matrix = (turn / of.head_scale).astype(np.float32)
    where = matrix @ (templates.points_mm - _CENTRE_MM) + _CENTRE_MM + shift.astype(np.float32)
    wander = np.stack([1.4 * _random_field(rng, 22) + 1.1 * _random_field(rng, 9) for _ in range(3)])
    where = where + np.stack([_sample_grid(field, where, _COARSE_MM) for field in wander])
    away = np.stack([_sample_grid(axis, where) for axis in templates.push])
    return np.asarray(where - of.ventricle_mm * away, np.float32)


def _tissue(templates: Templates, where: Array, depth: Array, of: Anatomy) -> Array:
    """Intensity of the template seen from this person, with sulci as wide as this cortex leaves them."""
    t1, gm, wm = (_sample(array, where, templates.to_voxel) for array in (templates.t1, templates.gm, templates.wm))
    thinned = 3.0 - of.cortex_mm
    sulcal = _below(depth, 22.0, 3.0)  # the ventricles have their own way to grow
    csf = np.clip(1 - gm - wm, 0, 1) ** 1.3 * np.exp(2.0 * thinned * sulcal)
    gm = gm**1.6 * np.exp(-0.8 * thinned * sulcal)
    wm = wm**1.6
    total = csf + gm + wm + 1e-6
    crisp = (_CSF * csf + _GM * gm + _WM * wm) / total
    sharp = 0.3 + 0.4 * _below(depth, 25.0, 4.0)  # deep nuclei are better drawn by the T1 itself
    return np.asarray((1 - sharp) * t1 + sharp * crisp)


def _fold(tissue: Array, field: Array, depth: Array, of: Anatomy) -> Array:
    """Sulci of the person's own, along the zeros of a random field in the outer 13 mm; then the surface."""
    thinned = 3.0 - of.cortex_mm
    shell = _below(depth, 13.0, 2.0)
    bank = 0.5 * shell * np.exp(-((field / (0.28 * of.cortex_mm)) ** 2))
    line = 0.62 * shell * np.exp(-((field / (0.24 + 0.34 * max(thinned, -0.3))) ** 2))
    folded = tissue * (1 - bank) + _GM * bank
    folded = folded * (1 - line) + _CSF * line
    return np.asarray(folded / (1 + np.exp(-(depth - 0.5) / 0.7)))


def _scan(intensity: Array, points_mm: Array, site: str, rng: np.random.Generator) -> Array:
    """Grey values: contrast, a bias field and noise; the second site is flatter and noisier."""
    second = site == SITES[1]
    gamma = np.exp(rng.normal(-0.1 if second else 0.0, 0.02))
    bias = np.exp(0.05 * _sample_grid(_random_field(rng, 35), points_mm, _COARSE_MM))
    noise = rng.standard_normal(intensity.shape, dtype=np.float32) * (0.025 if second else 0.015)
    return np.asarray(_WHITE * (intensity**gamma * bias + noise), np.float32)


def _below(value: Array, limit: float, width: float) -> Array:
    """1 well below the limit, 0 well above it."""
    return np.asarray(1 / (1 + np.exp((value - limit) / width)), np.float32)


def _random_field(rng: np.random.Generator, sigma_mm: float) -> Array:
    """Smooth noise of unit variance on the coarse grid."""
    shape = [-(-size * 2 // _COARSE_MM) for size in SHAPE]
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, sigma_mm / _COARSE_MM, mode="wrap", truncate=3.0)
    return np.asarray(smooth / smooth.std(), np.float32)


def _sample(array: Array, points_mm: Array, to_voxel: NDArray[np.float64]) -> Array:
    """Linear interpolation at world points; 0 outside the grid."""
    at = to_voxel[:3, :3].astype(np.float32) @ points_mm + to_voxel[:3, 3:].astype(np.float32)
    return np.asarray(ndimage.map_coordinates(array, at, order=1, mode="constant", prefilter=False))


def _sample_grid(array: Array, points_mm: Array, spacing_mm: int = 2) -> Array:
    """Linear interpolation on the output grid, or on one that is coarser; the edge goes on outside."""
    steps = np.array([[-spacing_mm], [spacing_mm], [spacing_mm]], np.float32)
    at = (points_mm - AFFINE[:3, 3:].astype(np.float32)) / steps
    return np.asarray(ndimage.map_coordinates(array, at, order=1, mode="nearest", prefilter=False))


# --- the cohort on disk ---------------------------------------------------------------------------------------


def make_cohort(
    folder: Path,
    n: int,
    *,
    random_state: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Person]:
    """Write a cohort as a BIDS derivative: one brain per person, participants.tsv and what describes them.

    Parameters
    ----------
    folder : Path
        Made where it is missing; files of the same names are replaced.
    n : int
        Number of people, at least 1.
    random_state : int, default 0
        Seed of the cohort.
    progress : callable, optional
        Called as ``progress(done, n)`` after each brain.

    Returns
    -------
    list of Person
        In the order of participants.tsv.

    Raises
    ------
    ValueError
        `n` is below 1.
    DependencyError
        nilearn is not installed.
    """
    if n < 1:
        raise ValueError(f"a made cohort must have at least 1 person; got n={n}")
    from featx.images.volume import write_volume  # here, so that the pure part needs no nibabel

    templates = load_templates()
    people = [draw_person(number, random_state=random_state) for number in range(1, n + 1)]
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "dataset_description.json", _DESCRIPTION)
    _write_json(folder / "participants.json", _COLUMNS)
    for done, person in enumerate(people, start=1):
        path = folder / image_path(person)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, make_brain(templates, person), AFFINE)
        if progress is not None:
            progress(done, n)
    _write_participants(folder / "participants.tsv", people)  # last: where it is, the brains are
    return people


def image_path(person: Person) -> Path:
    """Where in the cohort's folder a person's brain lies.

    Examples
    --------
    >>> image_path(draw_person(1)).name
    'sub-S0001_space-MNI152NLin6Asym_res-2_desc-brain_T1w.nii.gz'
    """
    name = f"{person.participant_id}_space-{SPACE}_res-2_desc-brain_T1w.nii.gz"
    return Path(person.participant_id) / "anat" / name


def _write_participants(path: Path, people: list[Person]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["participant_id", *_COLUMNS])
        for person in people:
            of = anatomy(person)
            truth = [f"{of.ventricle_mm:.3f}", f"{of.cortex_mm:.3f}", f"{of.head_scale:.4f}"]
            writer.writerow([person.participant_id, f"{person.age_years:.1f}", person.sex, person.site, *truth])


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


_DESCRIPTION = {
    "Name": "Made brains of featx: the MNI152 template with anatomy drawn at random",
    "BIDSVersion": "1.9.0",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "featx", "Description": "featx.images.synthetic; nobody was scanned"}],
}
_COLUMNS = {
    "age": {"Description": "age of the made person", "Units": "years"},
    "sex": {"Description": "sex of the made person", "Levels": {"F": "female", "M": "male"}},
    "site": {"Description": "made scanner: decides contrast and noise", "Levels": dict.fromkeys(SITES, "")},
    "true_ventricle": {"Description": "walls of the lateral ventricles outside the template's", "Units": "mm"},
    "true_cortex": {"Description": "thickness of the cortex", "Units": "mm"},
    "true_head_scale": {"Description": "length of the head as a multiple of the template's"},
}
