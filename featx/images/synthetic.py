"""A made cohort of brains with known truth, as a BIDS derivative. For the demo, the tests and the benchmarks.

Every brain is the MNI152 template (ICBM 2009, which nilearn ships) seen through one person's anatomy: a smooth
random displacement, sulci of the person's own, ventricles that widen and a cortex that thins with age, a head
that is larger in men, and a scanner's contrast, bias field and noise. A person is drawn from the cohort's seed and
the person's own number, so that person 7 is the same in a cohort of 10 and of 1000. The brains are on the grid of
FSL's MNI152 2 mm template (LAS), rigidly placed: unlike affinely registered brains they keep their size. (In the
population `varied` half of them are of the template's size, as registration leaves them.)

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
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy import ndimage

from featx.errors import DependencyError, known
from featx.images.fields import AFFINE, COARSE_MM, SHAPE, Array, below, random_field, sample, sample_grid, world_mm
from featx.images.scanners import SITES, TISSUES, VARIED, Scanner, find_scanner, scan

SPACE = "MNI152NLin6Asym"
AGES_YEARS = (20.0, 80.0)
POPULATIONS = tuple(SITES)

_CENTRE_MM = np.array([[0.0], [-18.0], [10.0]], np.float32)  # about which a head is scaled and turned
_MARGIN_MM = 14.0  # how far outside the template's brain a larger head may reach


@dataclass(frozen=True)
class Person:
    """One made person.

    Attributes
    ----------
    participant_id : str
        BIDS: sub-S0001 ... at `home`, sub-E0001 ... `elsewhere`, sub-V0001 ... in `varied`.
    age_years : float
        Uniform between the ends of `AGES_YEARS`.
    sex : str
        "F" or "M", even odds.
    site : str
        One of the population's (`featx.images.scanners.SITES`), even odds; decides the scanner, nothing else.
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


def draw_person(number: int, *, random_state: int = 0, population: str = POPULATIONS[0]) -> Person:
    """The person of this number in the cohort of this seed.

    Parameters
    ----------
    number, random_state : int
    population : str, default "home"
        "home"; "elsewhere": other scanners; or "varied": a scanner drawn for everybody, people who differ more, and
        half of them of the template's size.

    Raises
    ------
    ValueError
        The population is unknown.

    Examples
    --------
    >>> draw_person(1).participant_id
    'sub-S0001'
    >>> draw_person(1) == draw_person(1), draw_person(1).seed == draw_person(2).seed
    (True, False)
    """
    if population not in POPULATIONS:
        raise ValueError(f"a made population must be known; {population!r} is not; {known(POPULATIONS)}")
    at = POPULATIONS.index(population)
    apart = (at,) if at else ()  # people of the first one are who they were before there were others
    rng = np.random.default_rng((random_state, number, 0, *apart))
    return Person(
        participant_id=f"sub-{'SEV'[at]}{number:04d}",
        age_years=round(float(rng.uniform(*AGES_YEARS)), 1),
        sex=str(rng.choice(["F", "M"])),
        site=str(rng.choice(SITES[population])),
        seed=(random_state, number, 1, *apart),
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
    rng = np.random.default_rng((*person.seed, 0))
    own = rng.standard_normal(3)
    aged = (person.age_years - AGES_YEARS[0]) / (AGES_YEARS[1] - AGES_YEARS[0])
    ventricle, cortex = -0.8 + 4.6 * aged**1.3 + 0.45 * own[0], 3.0 - 0.85 * aged + 0.1 * own[1]
    narrowest = -1.5
    scale = (1.022 if person.sex == "M" else 0.978) + 0.022 * own[2]
    if person.site == VARIED:  # as far as real people of an age differ, and as late as their ventricles widen
        ventricle, cortex = -2.2 + 5.9 * aged**2 + (0.6 + 1.2 * aged) * own[0], 3.1 - 0.85 * aged + 0.17 * own[1]
        narrowest = -3.0
        if rng.random() < 0.5:  # an affine registration has taken the head's size
            scale = 1.0 + 0.008 * own[2]
    return Anatomy(
        ventricle_mm=float(np.clip(ventricle, narrowest, 6.0)),
        cortex_mm=float(np.clip(cortex, 1.8, 3.5)),
        head_scale=float(np.clip(scale, 0.9, 1.1)),
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
    world = world_mm()
    inside = sample(mask, world, to_voxel).reshape(SHAPE) > 0.5
    csf = sample(np.clip(1 - gm - wm, 0, 1) * mask, world, to_voxel).reshape(SHAPE)
    depth = _distance_mm(~inside)
    wall = _distance_mm(_lateral_ventricles(csf > 0.5, depth, world.reshape(3, *SHAPE)))
    push = np.stack([np.gradient(wall, 2.0, axis=axis) * np.sign(AFFINE[axis, axis]) for axis in range(3)])
    push *= np.exp(-np.abs(wall) / 12.0) / np.maximum(np.linalg.norm(push, axis=0), 1e-3)
    push = ndimage.gaussian_filter(push, (0, 1, 1, 1))
    voxels = np.flatnonzero(depth > -_MARGIN_MM)
    return Templates(t1, gm, wm, to_voxel, depth, wall, push.astype(np.float32), voxels, world[:, voxels])


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
    of, scanner = anatomy(person), find_scanner(person.site, person.seed)
    rng = np.random.default_rng((*person.seed, 1))
    where = _template_mm(templates, of, scanner, rng)
    depth = sample_grid(templates.depth, where)
    inside = depth > scanner.edge_mm
    where, depth = where[:, inside], depth[inside]
    tissue = _tissue(templates, where, depth, of)
    intensity = _fold(tissue, sample_grid(random_field(rng, 4.5), where, COARSE_MM), depth, of)
    return scan(intensity, inside, templates.voxels, scanner, rng)


def _template_mm(templates: Templates, of: Anatomy, scanner: Scanner, rng: np.random.Generator) -> Array:
    """Where in the template each output voxel of this person looks, in world mm."""
    tilt = np.deg2rad(rng.normal(0, scanner.tilt_deg, 3))
    turn = np.array([[1, -tilt[2], tilt[1]], [tilt[2], 1, -tilt[0]], [-tilt[1], tilt[0], 1]])
    shift = rng.normal(0, scanner.shift_mm, (3, 1))
    matrix = (turn / (of.head_scale * np.array(scanner.stretch))[:, None]).astype(np.float32)
    where = matrix @ (templates.points_mm - _CENTRE_MM) + _CENTRE_MM + shift.astype(np.float32)
    far, near = 1.4 * scanner.deform, 1.1 * scanner.deform
    wander = np.stack([far * random_field(rng, 22) + near * random_field(rng, 9) for _ in range(3)])
    where = where + np.stack([sample_grid(field, where, COARSE_MM) for field in wander])
    away = np.stack([sample_grid(axis, where) for axis in templates.push])
    return np.asarray(where - of.ventricle_mm * away, np.float32)


def _tissue(templates: Templates, where: Array, depth: Array, of: Anatomy) -> Array:
    """Intensity of the template seen from this person, with sulci as wide as this cortex leaves them."""
    t1, gm, wm = (sample(array, where, templates.to_voxel) for array in (templates.t1, templates.gm, templates.wm))
    thinned = 3.0 - of.cortex_mm
    sulcal = below(depth, 22.0, 3.0)  # the ventricles have their own way to grow
    csf = np.clip(1 - gm - wm, 0, 1) ** 1.3 * np.exp(2.0 * thinned * sulcal)
    gm = gm**1.6 * np.exp(-0.8 * thinned * sulcal)
    wm = wm**1.6
    total = csf + gm + wm + 1e-6
    crisp = (TISSUES[0] * csf + TISSUES[1] * gm + TISSUES[2] * wm) / total
    sharp = 0.3 + 0.4 * below(depth, 25.0, 4.0)  # deep nuclei are better drawn by the T1 itself
    return np.asarray((1 - sharp) * t1 + sharp * crisp)


def _fold(tissue: Array, field: Array, depth: Array, of: Anatomy) -> Array:
    """Sulci of the person's own, along the zeros of a random field in the outer 13 mm; then the surface."""
    thinned = 3.0 - of.cortex_mm
    shell = below(depth, 13.0, 2.0)
    bank = 0.5 * shell * np.exp(-((field / (0.28 * of.cortex_mm)) ** 2))
    line = 0.62 * shell * np.exp(-((field / (0.24 + 0.34 * max(thinned, -0.3))) ** 2))
    folded = tissue * (1 - bank) + TISSUES[1] * bank
    folded = folded * (1 - line) + TISSUES[0] * line
    return np.asarray(folded / (1 + np.exp(-(depth - 0.5) / 0.7)))


# --- the cohort on disk ---------------------------------------------------------------------------------------


def make_cohort(
    folder: Path,
    n: int,
    *,
    random_state: int = 0,
    population: str = POPULATIONS[0],
    n_jobs: int = 1,
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
    population : str, default "home"
        Of `POPULATIONS`; see `draw_person`.
    n_jobs : int, default 1
        Processes that make brains; the files are the same for every number of them.
    progress : callable, optional
        Called as ``progress(done, n)`` after each brain.

    Returns
    -------
    list of Person
        In the order of participants.tsv.

    Raises
    ------
    ValueError
        `n` is below 1, or the population is unknown.
    DependencyError
        nilearn is not installed.
    """
    if n < 1:
        raise ValueError(f"a made cohort must have at least 1 person; got n={n}")
    people = [draw_person(number, random_state=random_state, population=population) for number in range(1, n + 1)]
    templates = load_templates()
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "dataset_description.json", _DESCRIPTION)
    sites = {**_COLUMNS["site"], "Levels": dict.fromkeys(SITES[population], "")}
    _write_json(folder / "participants.json", {**_COLUMNS, "site": sites})
    made = (delayed(_write_brain)(folder, templates, person) for person in people)
    for done, _ in enumerate(Parallel(n_jobs=n_jobs, return_as="generator")(made), start=1):
        if progress is not None:
            progress(done, n)
    _write_participants(folder / "participants.tsv", people)  # last: where it is, the brains are
    return people


def _write_brain(folder: Path, templates: Templates, person: Person) -> None:
    from featx.images.volume import write_volume  # here, so that the pure part needs no nibabel

    path = folder / image_path(person)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, make_brain(templates, person), AFFINE)


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
_COLUMNS: dict[str, dict[str, Any]] = {
    "age": {"Description": "age of the made person", "Units": "years"},
    "sex": {"Description": "sex of the made person", "Levels": {"F": "female", "M": "male"}},
    "site": {"Description": "made scanner: decides contrast and noise"},
    "true_ventricle": {"Description": "walls of the lateral ventricles outside the template's", "Units": "mm"},
    "true_cortex": {"Description": "thickness of the cortex", "Units": "mm"},
    "true_head_scale": {"Description": "length of the head as a multiple of the template's"},
}
