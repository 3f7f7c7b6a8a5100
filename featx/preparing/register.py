"""Bias correction and registration by ANTs. The only module that imports ants.

Matrices are those of nibabel's world: they map RAS+ millimetres of the template to RAS+ millimetres of the image, as
ANTs' own transforms do in LPS+. Every point of a metric is sampled, on a regular lattice where not all are, and the
one seed is fixed: with one thread of ITK, which its own environment variable sets before ants is loaded, the same
volumes give the same matrices.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DependencyError, ImageError, first_line
from featx.images.volume import Volume, voxel_sizes_mm

# Degrees of freedom -> the transforms of ANTs that are fitted one after the other.
TRANSFORMS = {6: ("Rigid",), 7: ("Rigid", "Similarity"), 12: ("Rigid", "Affine")}
SEED = 1
SAMPLED = 0.25  # of the voxels of the template's grid, at each resolution
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_N4_ITERATIONS = [50, 50, 30]
_N4_SHRINK_MM = 4.0


@dataclass(frozen=True)
class Level:
    """One resolution of a registration.

    Attributes
    ----------
    shrink : int
        Every how many voxels of the template's grid one is taken.
    sigma_voxels : float
        Gaussian smoothing before that.
    iterations : int
        At most.
    """

    shrink: int
    sigma_voxels: float
    iterations: int


COARSE = (Level(4, 2.0, 60), Level(2, 1.0, 20))
FINE = (Level(4, 2.0, 100), Level(2, 1.0, 50), Level(1, 0.0, 10))


def version() -> str:
    """The version of antspyx, told without loading it.

    Raises
    ------
    DependencyError
        It is not installed.
    """
    try:
        return metadata.version("antspyx")
    except metadata.PackageNotFoundError as error:
        raise DependencyError(
            "`featx prepare` needs antspyx; it is not there; run pip install 'featx[prepare]'"
        ) from error


def correct_bias(volume: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Divide the smooth field of the coil out of a volume: N4 (Tustison 2010), measured inside a mask.

    Parameters
    ----------
    volume : Volume
    mask : ndarray of shape (I, J, K)
        Where there is tissue.

    Returns
    -------
    ndarray of shape (I, J, K), float32
        Grey values, 0 where they were 0.
    """
    ants = _ants()
    shrink = max(1, round(_N4_SHRINK_MM / float(voxel_sizes_mm(volume.affine).min())))
    try:
        corrected = ants.n4_bias_field_correction(
            _image(volume.data, volume.affine),
            mask=_image(mask, volume.affine),
            shrink_factor=shrink,
            convergence={"iters": _N4_ITERATIONS, "tol": 1e-6},
        )
    except (RuntimeError, ValueError) as error:
        raise _failed("bias correction", error) from error
    return np.asarray(corrected.numpy(), dtype=np.float32)


def align(
    fixed: Volume,
    moving: Volume,
    start: NDArray[np.float64],
    dof: int,
    levels: Sequence[Level] = FINE,
) -> NDArray[np.float64]:
    """Fit a linear transform by mutual information (Mattes 2003).

    Parameters
    ----------
    fixed, moving : Volume
        The template, and the image.
    start : ndarray of shape (4, 4)
        Where to begin; millimetres of `fixed` to millimetres of `moving`.
    dof : int
        A key of `TRANSFORMS`: 6 turns and shifts, 7 scales too, 12 scales and shears along all axes.
    levels : sequence of Level

    Returns
    -------
    ndarray of shape (4, 4)
        As `start`.

    Raises
    ------
    ImageError
        not-prepared: ANTs gave up.
    """
    with tempfile.TemporaryDirectory(prefix="featx-prepare-") as folder:
        first, out = Path(folder, "start.mat"), Path(folder, "out")
        _write_matrix(start, first)
        images = [_image(one.data, one.affine) for one in (fixed, moving)]  # held: ANTs gets pointers to them
        metric = f"MI[{_pointer(images[0])},{_pointer(images[1])},1,32,Regular,{SAMPLED}]"
        words = ["-d", "3", "-r", str(first)]
        for kind in TRANSFORMS[dof]:  # the last one is fitted at all levels, one before it need only come near
            here = levels if kind == TRANSFORMS[dof][-1] else levels[:1]
            words += ["-t", f"{kind}[0.1]", "-m", metric, *_schedule(here)]
        words += ["-o", str(out), "-z", "1", "-u", "0", "--float", "1", "--random-seed", str(SEED)]
        try:
            _ants().registration(words, None)
            return _read_matrix(out.with_name("out0GenericAffine.mat"))
        except (RuntimeError, ValueError) as error:
            raise _failed("registration", error) from error


def _schedule(levels: Sequence[Level]) -> list[str]:
    """Words of antsRegistration.

    Examples
    --------
    >>> _schedule((Level(4, 2.0, 100), Level(2, 1.0, 50)))
    ['-c', '[100x50,1e-6,10]', '-f', '4x2', '-s', '2.0x1.0vox']
    """
    iterations, shrinks, sigmas = (
        "x".join(str(getattr(level, name)) for level in levels) for name in ("iterations", "shrink", "sigma_voxels")
    )
    return ["-c", f"[{iterations},1e-6,10]", "-f", shrinks, "-s", f"{sigmas}vox"]


def _failed(what: str, error: Exception) -> ImageError:
    return ImageError(
        "not-prepared",
        f"an image must let itself be prepared; {what} failed on it ({first_line(error)}); look whether it is a "
        "T1-weighted head, whole and the right way up",
    )


def _ants() -> Any:
    import ants

    return ants


def _pointer(image: Any) -> str:
    from ants.internal import get_pointer_string

    return str(get_pointer_string(image))


# --- between nibabel's world and ITK's ------------------------------------------------------------------------


def _image(data: NDArray[Any], affine: NDArray[np.float64]) -> Any:
    """An array as an image of ANTs. Both index by (I, J, K); ITK's world is LPS+, so x and y change their signs."""
    lps = _TO_LPS @ affine
    sizes = voxel_sizes_mm(lps)
    values = np.ascontiguousarray(data, dtype=np.float32)
    return _ants().from_numpy(values, tuple(lps[:3, 3]), tuple(sizes), lps[:3, :3] / sizes)


def _write_matrix(matrix: NDArray[np.float64], path: Path) -> None:
    ants = _ants()
    lps = _TO_LPS @ matrix @ _TO_LPS
    transform = ants.create_ants_transform(
        transform_type="AffineTransform", dimension=3, matrix=lps[:3, :3], translation=lps[:3, 3]
    )
    ants.write_transform(transform, str(path))


def _read_matrix(path: Path) -> NDArray[np.float64]:
    transform = _ants().read_transform(str(path))
    numbers, centre = np.asarray(transform.parameters), np.asarray(transform.fixed_parameters)
    lps = np.eye(4)
    lps[:3, :3] = numbers[:9].reshape(3, 3)
    lps[:3, 3] = numbers[9:12] + centre - lps[:3, :3] @ centre  # ITK turns about a centre of its own
    matrix: NDArray[np.float64] = _TO_LPS @ lps @ _TO_LPS
    return matrix
